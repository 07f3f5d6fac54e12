/* test_rows.c - embedding and pick: values, gradients that do not depend on threads, ids out of range. */
#include "tests/optest.h"

/* hot: that share of the ids is 1, as padding is */
static void embedding_case(vm_type t, int64_t V, int64_t C, int64_t N, double hot) {
    op_case c = op_begin(VM_BF16);
    vm_val table = op_input(&c, t, 2, (int64_t[]){ V, C }, -1, 1), ids = op_input(&c, VM_I32, 2, (int64_t[]){ 1, N },
        0, (double)V);
    vm_val r = op_input(&c, VM_BF16, 3, (int64_t[]){ 1, N, C }, -1, 1), y = vm_embedding(c.g, table, ids);
    vm_val ys[] = { y, vm_embedding(c.g, table, ids) };
    for (int64_t i = 0; i < N; i++)
        if (0.5 + 0.5 * test_uniform(&c.state) < hot) op_put(&c, 1, i, 1);
    vm_output(c.g, "y", y);
    vm_backward(c.g, 2, ys, (vm_val[]){ r, r }, 1, &table);
    vm_val d = vm_grad(c.g, table);
    vm_output(c.g, "d", d);
    double *want = vm_alloc((size_t)(N * C) * sizeof(double) + 1), *back = vm_calloc((size_t)(V * C) + 1,
        sizeof(double));
    for (int64_t i = 0; i < N * C; i++) {
        int64_t at = (int64_t)c.x[1][i / C] * C + i % C;
        want[i] = c.x[0][at], back[at] += 2 * c.x[2][i];
    }
    void *bits = NULL;
    OP_LEVELS(&c) {
        op_near(&c, "embedding", y, want, C, 0);
        op_near(&c, "gradient", d, back, C, OP_TOL_F32);
    }
    for (int n = 1; n <= op_thread_counts(); n++) {
        vm_threads(n);
        op_run(&c);
        op_same(&c, d, &bits);
    }
    vm_threads(0);
    vm_free(bits), vm_free(want), vm_free(back);
    op_end(&c);
}
TEST(embedding) {
    for (int t = VM_F32; t <= VM_F16; t++) {
        embedding_case((vm_type)t, 50, 200, op_rows(700, 260), 0);
        embedding_case((vm_type)t, 101, 33, 257, 0.5);
        embedding_case((vm_type)t, 31, 128, 256, 1);
        embedding_case((vm_type)t, 3, 1, 5, 0);
        embedding_case((vm_type)t, 7, 1030, 2, 0);
        embedding_case((vm_type)t, 7, 5, 0, 0);
    }
}

/* the gradient of a table that is a parameter: rows that nobody asks for are zeros at the first run, and keep what they have later */
TEST(table_gradient_in_place) {
    enum { V = 9, C = 12, N = 5 };
    vm_param *p = vm_param_new(op_backend(), "table", VM_F32, 2, (int64_t[]){ V, C }, NULL);
    op_case c = op_begin(VM_F32);
    vm_val ids = op_input(&c, VM_I32, 1, (int64_t[]){ N }, 0, 4), r = op_input(&c, VM_F32, 2, (int64_t[]){ N, C }, -1, 1);
    vm_val y = vm_embedding(c.g, vm_weight(c.g, p), ids);
    vm_backward(c.g, 1, &y, &r, 0, NULL);
    double want[V * C] = { 0 };
    float got[V * C];
    for (int i = 0; i < N * C; i++) want[(int)c.x[0][i / C] * C + i % C] += c.x[1][i];
    for (int i = 0; i < V * C; i++) got[i] = NAN;
    EXPECT(!c.g->be->upload(c.g->be, p->grad, got, sizeof got, &c.g->err));
    for (int run = 1; run <= 3; run++) {
        c.g->accumulate = run > 1;
        EXPECT(op_run(&c) && !c.g->be->download(c.g->be, got, p->grad, sizeof got, &c.g->err));
        for (int i = 0; i < V * C; i++) EXPECT_NEAR(got[i], run * want[i], 1e-5);
    }
    op_end(&c);
    vm_param_free(p);
}

TEST(pick) {
    enum { B = 5, T = 7 };
    static const int64_t sizes[] = { 1030, 1024, 1, 8, 0 };
    for (int how = 0; how < 3 * VM_LEN(sizes); how++) {
        vm_type t = (vm_type)(how % 3);
        int64_t C = sizes[how / 3];
        op_case c = op_begin(VM_BF16);
        vm_val x = op_input(&c, t, 3, (int64_t[]){ B, T, C }, -1, 1), idx = op_input(&c, VM_I32, 1, (int64_t[]){ B }, 0, T);
        vm_val r = op_input(&c, VM_F32, 2, (int64_t[]){ B, C }, -1, 1), y = vm_pick(c.g, x, idx);
        vm_output(c.g, "y", y);
        vm_backward(c.g, 2, (vm_val[]){ y, vm_pick(c.g, x, idx) }, (vm_val[]){ r, r }, 1, &x);
        vm_val dx = vm_grad(c.g, x);
        vm_output(c.g, "dx", dx);
        OP_LEVELS(&c)
            for (int64_t i = 0; i < B * T * C; i++) {
                bool picked = i / C % T == (int)c.x[1][i / C / T];
                int64_t at = i / C / T * C + i % C;
                if (picked) EXPECT(op_get(&c, y, at) == c.x[0][i]);
                EXPECT_NEAR(op_get(&c, dx, i), picked ? 2 * c.x[2][at] : 0, t == VM_F32 ? 0 : 2 * OP_TOL_BF16);
            }
        op_end(&c);
    }
}

static void bad_id(bool pick, double id, const char *words) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, pick ? 3 : 2, (int64_t[]){ 4, 3, 2 }, 0, 1);
    vm_val ids = op_input(&c, VM_I32, 1, (int64_t[]){ 4 }, 0, 3), y = pick ? vm_pick(c.g, x, ids) : vm_embedding(c.g,
        x, ids);
    op_put(&c, 1, 2, id);
    vm_output(c.g, "y", y);
    vm_set(c.g, "x0", c.raw[0]), vm_set(c.g, "x1", c.raw[1]);
    EXPECT((op_on_device() ? (vm_run(c.g), vm_wait(c.g)) : vm_run(c.g)) == VM_EINPUT);
    char value[32];
    snprintf(value, sizeof value, "the value %.0f", id);
    EXPECT_HAS(c.g->err.msg, op_on_device() ? pick ? "op pick" : "op embedding" : words);
    EXPECT_HAS(c.g->err.msg, op_on_device() ? value : words);
    op_end(&c);
}
TEST(ids_out_of_range) {
    bad_id(false, 4, "embedding: id 4 at position 2, the table has 4 rows");
    bad_id(false, -1, "embedding: id -1 at position 2");
    bad_id(true, 3, "pick: id 3 at position 2, the table has 3 rows");
    bad_id(true, -7, "pick: id -7");
}

int main(void) {
    RUN(embedding);
    RUN(table_gradient_in_place);
    RUN(pick);
    RUN(ids_out_of_range);
    return test_end();
}
