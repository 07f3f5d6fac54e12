/* test_graph.c - the life of a graph: names, liveness, views, sums in place, checkpoint segments, host ops, seeds,
 * errors of every constructor, and the pictures of a graph. */
#include "kernels/ops.h"
#include "tests/test.h"

static vm_graph *new_graph(void) {
    vm_graph *g = vm_graph_new(vm_backend_cpu(), VM_F32);
    g->training = true;
    return g;
}
static vm_val matrix(vm_graph *g, const char *name, int64_t r, int64_t c) {
    return vm_input(g, name, VM_F32, 2, (int64_t[]){ r, c });
}
static vm_param *new_param(const char *name, int64_t r, int64_t c) {
    vm_param *p = vm_param_new(vm_backend_cpu(), name, VM_F32, 2, (int64_t[]){ r, c }, NULL);
    for (int64_t i = 0; i < r * c; i++) ((float *)p->data)[i] = (float)(i % 7) * 0.25f - 0.5f;
    return p;
}
static void ramp(vm_graph *g, const char *name) {
    vm_val v = vm_find(g, name);
    float *x = vm_alloc((size_t)vm_count(g, v) * sizeof *x);
    for (int64_t i = 0; i < vm_count(g, v); i++) x[i] = (float)(i % 11) * 0.125f - 0.5f;
    EXPECT(!vm_set(g, name, x));
    vm_free(x);
}
static float first(vm_graph *g, const char *name) {
    float *x = vm_calloc((size_t)vm_count(g, vm_find(g, name)), sizeof *x), y;
    if (vm_get(g, name, x)) MISMATCH("%s\n", g->err.msg);
    y = x[0];
    vm_free(x);
    return y;
}

/* --- memory ---------------------------------------------------------------------------------------------------------
 */
TEST(arena_is_reused) {
    vm_graph *g = new_graph();
    vm_val x = matrix(g, "x", 64, 64);
    for (int k = 0; k < 10; k++) x = vm_scale(g, x, 1, 1);
    vm_output(g, "y", x);
    EXPECT(!vm_plan(g));
    EXPECT(g->sum_bytes >= 11 * 64 * 64 * 4);
    EXPECT(g->arena_bytes <= 3 * (64 * 64 * 4 + 64)); /* the input, which stays, and two in turn */
    ramp(g, "x");
    EXPECT(!vm_run(g));
    EXPECT_NEAR((double)first(g, "y"), 9.5, 1e-6);
    EXPECT(!vm_run(g)); /* inputs outlive a run */
    EXPECT_NEAR((double)first(g, "y"), 9.5, 1e-6);
    vm_graph_free(g);
}
TEST(dead_nodes_are_dropped) {
    vm_graph *g = new_graph();
    vm_val x = matrix(g, "x", 4, 4), big = vm_broadcast(g, x, 1000), y = vm_scale(g, x, 2, 0);
    vm_scale(g, big, 1, 0);
    vm_output(g, "y", y);
    EXPECT(!vm_plan(g));
    int dead = 0;
    for (int64_t i = 0; i < g->n_n; i++) dead += g->n[i].dead;
    EXPECT(dead == 2);
    EXPECT(g->arena_bytes < 1000);
    vm_output(g, "big", big); /* wanted after all: the next run plans anew */
    ramp(g, "x");
    EXPECT(!vm_run(g));
    EXPECT(g->arena_bytes > 64000);
    vm_graph_free(g);
}
TEST(views_of_views) {
    vm_graph *g = new_graph();
    vm_val x = vm_scale(g, matrix(g, "in", 6, 4), 1, 0);
    vm_val a = vm_slice(g, x, 0, 2, 4), b = vm_reshape(g, a, 3, (int64_t[]){ 2, 2, 4 }), c = vm_slice(g, b, 0, 1, 1);
    for (int k = 0; k < 4; k++) x = vm_scale(g, x, 2, 0); /* would overwrite the first x if its views did not hold it */
    float y[8];
    vm_output(g, "c", c);
    vm_output(g, "x", x);
    ramp(g, "in");
    EXPECT(!vm_run(g) && !vm_get(g, "c", y));
    EXPECT((char *)vm_data(g, c) == (char *)vm_data(g, a) + 8 * 4);
    for (int i = 0; i < 8; i++) EXPECT_NEAR((double)y[i], (double)((16 + i) % 11) * 0.125 - 0.5, 1e-6);
    vm_graph_free(g);
}
TEST(views_of_parameters_follow) {
    vm_param *p = new_param("p", 6, 4);
    vm_graph *g = new_graph();
    vm_val v = vm_slice(g, vm_slice(g, vm_weight(g, p), 0, 2, 4), 0, 1, 2);
    vm_output(g, "y", vm_scale(g, v, 1, 0));
    EXPECT(!vm_run(g));
    EXPECT(first(g, "y") == ((float *)p->data)[12]);
    float *mapped = vm_calloc(24, sizeof *mapped), *own = p->data;
    mapped[12] = 42;
    p->data = mapped; /* as after loading anew */
    EXPECT(!vm_run(g));
    EXPECT(first(g, "y") == 42);
    p->data = own;
    vm_free(mapped);
    vm_graph_free(g);
    vm_param_free(p);
}
TEST(outputs_are_kept) {
    vm_graph *g = new_graph();
    vm_val x = matrix(g, "x", 8, 8), v[5];
    for (int k = 0; k < 5; k++) {
        char name[16];
        snprintf(name, sizeof name, "y%d", k);
        v[k] = x = k % 2 ? vm_reshape(g, vm_scale(g, x, 1, 1), 2, (int64_t[]){ 8, 8 }) : vm_scale(g, x, 1, 1);
        vm_output(g, name, x);
    }
    ramp(g, "x");
    EXPECT(!vm_run(g));
    for (int k = 0; k < 5; k++) EXPECT_NEAR((double)*(float *)vm_data(g, v[k]), k + 0.5, 1e-6);
    vm_output(g, "again", v[0]); /* a second name */
    EXPECT(vm_find(g, "again") == v[0] && vm_find(g, "y0") == v[0]);
    vm_graph_free(g);
}
/* y = old + x W^T stands in place only when nobody needs the old sum: here it is an output. */
TEST(an_output_is_not_summed_onto) {
    vm_param *p = new_param("w", 4, 4);
    vm_graph *g = new_graph();
    vm_val r = vm_scale(g, matrix(g, "x", 3, 4), 2, 0),
           y = vm_linear(g, vm_find(g, "x"), vm_weight(g, p), 0, VM_NONE, r, VM_F32);
    vm_output(g, "r", r);
    vm_output(g, "y", y);
    ramp(g, "x");
    EXPECT(!vm_run(g));
    EXPECT(vm_data(g, r) != vm_data(g, y));
    EXPECT_NEAR((double)first(g, "r"), -1, 1e-6);
    vm_graph_free(g);
    vm_param_free(p);
}

/* --- backward passes ------------------------------------------------------------------------------------------------
 */
enum { LAYERS = 4 };
static vm_graph *deep(vm_param **w, bool recompute, size_t *bytes) {
    vm_graph *g = new_graph();
    g->seed = 4, g->step = 2;
    vm_val x = matrix(g, "x", 64, 32);
    for (int k = 0; k < LAYERS; k++) {
        if (recompute) vm_checkpoint_begin(g);
        vm_val h = vm_linear(g, x, vm_weight(g, w[0]), 0, VM_GELU, 0, VM_F32);
        h = vm_linear(g, vm_dropout(g, h, 0.25f), vm_weight(g, w[1]), 0, VM_NONE, 0, VM_F32);
        x = vm_binary(g, x, h, VM_ADD);
        if (recompute) vm_checkpoint_end(g);
    }
    vm_val loss = vm_mean(g, vm_unary(g, x, VM_SQUARE, VM_F32));
    vm_output(g, "loss", loss);
    vm_backward(g, 1, &loss, NULL, 0, NULL);
    EXPECT(!vm_plan(g));
    *bytes = g->arena_bytes;
    ramp(g, "x");
    EXPECT(!vm_run(g));
    return g;
}
TEST(recomputation) {
    vm_param *w[] = { new_param("w0", 256, 32), new_param("w1", 32, 256) };
    float *kept[2] = { NULL }, loss = 0;
    size_t bytes[2];
    for (int r = 0; r < 2; r++) {
        vm_graph *g = deep(w, r, &bytes[r]);
        for (int k = 0; k < 2; k++) {
            if (!r) memcpy(kept[k] = vm_alloc(256 * 32 * 4), w[k]->grad, 256 * 32 * 4);
            else EXPECT(!memcmp(kept[k], w[k]->grad, 256 * 32 * 4));
        }
        if (!r) loss = first(g, "loss");
        else EXPECT(first(g, "loss") == loss);
        vm_graph_free(g);
    }
    EXPECT(bytes[1] * 2 < bytes[0]);
    for (int k = 0; k < 2; k++) vm_free(kept[k]), vm_param_free(w[k]);
}
static vm_status count_calls(void *ctx, int n_in, const void *const *in, int n_out, void *const *out, vm_error *e) {
    ++*(int *)ctx;
    for (int k = 0; k < n_out; k++) ((float *)out[k])[0] = ((const float *)in[0])[0] + (float)k;
    return *(int *)ctx == 3 ? vm_fail(e, VM_EINPUT, "the third time is too much") : VM_OK;
}
static const vm_shape one_number = { VM_F32, 1, { 1 } };
TEST(segments_are_checked) {
    int calls = 0;
    vm_graph *g = new_graph();
    vm_val x = matrix(g, "x", 1, 1), out[1];
    vm_checkpoint_begin(g);
    vm_val y = vm_scale(g, x, 2, 0);
    EXPECT(vm_host(g, "count", count_calls, &calls, 1, &y, 1, &one_number, out));
    vm_val z = vm_binary(g, y, out[0], VM_MUL);
    vm_checkpoint_end(g);
    vm_backward(g, 1, &z, NULL, 1, &x);
    EXPECT_STR(g->err.msg, "host writes state and may not stand in a checkpoint segment");
    vm_graph_free(g);
    g = new_graph();
    x = matrix(g, "x", 1, 1);
    vm_checkpoint_begin(g);
    vm_checkpoint_begin(g);
    EXPECT_STR(g->err.msg, "checkpoint segments do not nest");
    vm_graph_free(g);
    g = new_graph();
    x = matrix(g, "x", 1, 1);
    vm_checkpoint_begin(g);
    y = vm_scale(g, x, 2, 0);
    vm_backward(g, 1, &y, NULL, 1, &x);
    EXPECT_STR(g->err.msg, "a checkpoint segment is still open at the backward pass");
    vm_graph_free(g);
}
TEST(host_ops) {
    int calls = 0;
    vm_graph *g = new_graph();
    vm_val x = matrix(g, "x", 1, 1), out[2], more[9];
    EXPECT(vm_host(g, "count", count_calls, &calls, 1, &x, 2, (vm_shape[]){ one_number, one_number }, out));
    vm_output(g, "y", vm_binary(g, out[0], out[1], VM_ADD));
    ramp(g, "x");
    EXPECT(!vm_run(g) && calls == 1);
    EXPECT_NEAR((double)first(g, "y"), 0, 1e-6);
    EXPECT(!vm_run(g) && calls == 2);
    EXPECT(vm_run(g) == VM_EINPUT);
    EXPECT_STR(g->err.msg, "the third time is too much");
    EXPECT(!vm_run(g) && calls == 4); /* a failed run is no reason not to start another */
    vm_shape nine[9];
    for (int k = 0; k < 9; k++) nine[k] = one_number;
    EXPECT(!vm_host(g, "many", count_calls, &calls, 1, &x, 9, nine, more));
    EXPECT_STR(g->err.msg, "host: more than 8 outputs");
    EXPECT(vm_run(g) == VM_EMODEL && calls == 4); /* an error of building is not forgotten */
    vm_graph_free(g);
}
TEST(seeds_and_inputs) {
    vm_param *p = new_param("w", 3, 4), *frozen = new_param("f", 3, 4);
    frozen->trainable = false;
    vm_graph *g = new_graph();
    vm_val x = matrix(g, "x", 2, 4), seed = matrix(g, "seed", 2, 3),
           ids = vm_input(g, "ids", VM_I32, 1, (int64_t[]){ 2 });
    vm_val y = vm_linear(g, x, vm_weight(g, p), 0, VM_NONE, 0, VM_F32),
           z = vm_linear(g, vm_embedding(g, vm_weight(g, frozen), ids), vm_weight(g, p), 0, VM_NONE, 0, VM_F32);
    vm_backward(g, 2, (vm_val[]){ y, z }, (vm_val[]){ seed, 0 }, 1, &x); /* z does not depend on x */
    EXPECT(vm_grad(g, x) && !vm_grad(g, vm_weight(g, p)) && !p->grad && !frozen->grad);
    vm_output(g, "dx", vm_grad(g, x));
    ramp(g, "seed"), ramp(g, "x");
    EXPECT(!vm_set(g, "ids", (int32_t[]){ 0, 1 }));
    EXPECT(!vm_run(g));
    float dx[8];
    EXPECT(!vm_get(g, "dx", dx));
    for (int i = 0; i < 8; i++) {
        double want = 0;
        for (int n = 0; n < 3; n++) want += ((i / 4 * 3 + n) * 0.125 - 0.5) * (double)((float *)p->data)[n * 4 + i % 4];
        EXPECT_NEAR((double)dx[i], want, 1e-6);
    }
    vm_graph_free(g);
    g = new_graph(); /* wrt NULL: what is trainable and reached */
    x = matrix(g, "x", 2, 4);
    y = vm_linear(g, x, vm_weight(g, p), 0, VM_NONE, 0, VM_F32),
    z = vm_linear(g, x, vm_weight(g, frozen), 0, VM_NONE, 0, VM_F32);
    vm_backward(g, 2, (vm_val[]){ y, z }, NULL, 0, NULL);
    EXPECT(p->grad && !frozen->grad && !vm_grad(g, x));
    vm_graph_free(g);
    vm_param_free(p), vm_param_free(frozen);
}
TEST(two_backward_passes_add) {
    vm_param *p = new_param("w", 3, 4);
    float once[12];
    for (int twice = 0; twice < 2; twice++) {
        vm_graph *g = new_graph();
        vm_val x = matrix(g, "x", 2, 4), y = vm_sum(g, vm_linear(g, x, vm_weight(g, p), 0, VM_NONE, 0, VM_F32));
        for (int k = 0; k <= twice; k++) vm_backward(g, 1, &y, NULL, 0, NULL);
        ramp(g, "x");
        for (int run = 0; run < 2; run++) { /* each run begins anew */
            EXPECT(!vm_run(g));
            for (int i = 0; i < 12; i++)
                EXPECT_NEAR((double)p->grad[i], twice ? 2 * (double)once[i] : (double)p->grad[i], 1e-6);
        }
        if (!twice) memcpy(once, p->grad, sizeof once);
        vm_graph_free(g);
    }
    vm_param_free(p);
}
TEST(missing_rules_are_named) {
    vm_graph *g = new_graph();
    vm_val x = matrix(g, "x", 2, 4), y = vm_scale(g, x, 1, 0);
    vm_backward(g, 1, &y, NULL, 1, &x);
    vm_val dx = vm_grad(g, x);
    EXPECT(dx);
    vm_val s = matrix(g, "s", 2, 4), t = vm_unary(g, s, VM_GELU, VM_F32);
    vm_backward(g, 1, &t, NULL, 1, &s);
    vm_val ds = vm_grad(g, s);
    vm_backward(g, 1, &ds, NULL, 1, &s); /* second derivatives: unary_back has no rule */
    EXPECT_STR(g->err.msg, "op unary_back has no gradient rule");
    EXPECT(vm_plan(g) == VM_EMODEL);
    vm_graph_free(g);
    g = vm_graph_new(vm_backend_cpu(), VM_F32); /* not for training */
    vm_param *p = new_param("w", 3, 4);
    x = matrix(g, "x", 2, 4), y = vm_linear(g, x, vm_weight(g, p), 0, VM_GELU, 0, VM_F32);
    vm_backward(g, 1, &y, NULL, 1, &x);
    EXPECT_HAS(g->err.msg, "build the graph with g->training");
    vm_graph_free(g);
    vm_param_free(p);
}

/* --- state: an op that writes what outlives the run, and hands it on as a view (how key/value caches work) ------- */
static vm_status append_kernel(vm_graph *g, vm_node *n) { /* in: state (rows, C), row (C), at i32 [1]; out: the state */
    int64_t C = vm_cols(g, n->in[1]);
    memcpy((float *)vm_in(g, n, 0) + *(int32_t *)vm_in(g, n, 2) * C, vm_in(g, n, 1), (size_t)C * sizeof(float));
    return VM_OK;
}
static vm_status append_infer(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]];
    vm_node_view(g, n, n->in[0], 0, x.nd, x.ne);
    return VM_OK;
}
static const vm_op append_op = { .name = "append",
                                 .infer = append_infer,
                                 .cpu = { append_kernel, append_kernel, append_kernel },
                                 .no_grad = true,
                                 .stateful = true };
static vm_graph *cached(vm_param *state) {
    vm_graph *g = new_graph();
    vm_val row = vm_scale(g, matrix(g, "row", 1, 4), 2, 0), at = vm_input(g, "at", VM_I32, 1, (int64_t[]){ 1 });
    vm_val all = vm_append1(g, &append_op, 3, (vm_val[]){ vm_weight(g, state), row, at }, NULL);
    vm_output(g, "sum", vm_sum(g, vm_slice(g, all, 0, 0, 3))); /* reads what was just written */
    return g;
}
TEST(state_is_shared_by_plans) {
    vm_param *state = new_param("cache", 3, 4);
    memset(state->data, 0, 12 * sizeof(float));
    state->trainable = false;
    vm_graph *g[2] = { cached(state), cached(state) };
    for (int t = 0; t < 3; t++) {
        EXPECT(!vm_set(g[t & 1], "row", (float[4]){ 1, 1, 1, (float)t }) && !vm_set(g[t & 1], "at", (int32_t[1]){ t }));
        EXPECT(!vm_run(g[t & 1]));
        EXPECT_NEAR((double)first(g[t & 1], "sum"), t == 0 ? 6 : t == 1 ? 14 : 24, 0);
    }
    EXPECT(((float *)state->data)[11] == 4);
    vm_graph_free(g[0]), vm_graph_free(g[1]);
    vm_param_free(state);
}
/* A backend may keep something per plan (captured launches); it is told when addresses change and when the graph goes.
 */
static int forgotten;
static void forget(vm_backend *be, vm_graph *g) { forgotten++, g->kept = NULL; }
TEST(backends_forget_plans) {
    vm_backend be = *vm_backend_cpu();
    be.forget = forget;
    vm_graph *g = vm_graph_new(&be, VM_F32);
    vm_param *p = new_param("p", 2, 2);
    vm_output(g, "y", vm_scale(g, vm_weight(g, p), 2, 0));
    EXPECT(!vm_run(g) && !vm_run(g) && forgotten == 1);
    void *own = p->data;
    float other[4] = { 0 };
    p->data = other;
    EXPECT(!vm_run(g) && forgotten == 2);
    p->data = own;
    vm_graph_free(g);
    EXPECT(forgotten == 3);
    vm_param_free(p);
}

/* --- looking in ------------------------------------------------------------------------------------------------------
 */
TEST(pictures) {
    vm_param *p = new_param("weight", 3, 4);
    vm_graph *g = new_graph();
    char *text = NULL;
    size_t n = 0;
    vm_scope(g, "layer.1");
    vm_val y = vm_linear(g, matrix(g, "x", 2, 4), vm_weight(g, p), 0, VM_NONE, 0, VM_F32);
    y = vm_reshape(g, y, 1, (int64_t[]){ 6 });
    vm_output(g, "y", y);
    FILE *f = open_memstream(&text, &n);
    vm_dot(g, f);
    fclose(f);
    EXPECT_HAS(text, "digraph vismin {");
    EXPECT_HAS(text, "\"x\\nf32 [2,4]\"");
    EXPECT_HAS(text, "\"weight\\nf32 [3,4]\"");
    EXPECT_HAS(text, "\"linear\\nlayer.1\"");
    EXPECT_HAS(text, "n0 -> n1 [label=\"f32 [2,3]\"]");
    free(text);
    g->profile = true;
    ramp(g, "x");
    for (int k = 0; k < 3; k++) EXPECT(!vm_run(g));
    f = open_memstream(&text, &n);
    vm_trace_json(g, f);
    fclose(f);
    EXPECT_HAS(text, "{\"traceEvents\":[\n{\"name\":\"linear\",\"cat\":\"layer.1\",\"ph\":\"X\"");
    EXPECT_HAS(text, "\n]}\n");
    EXPECT(!strstr(text, "reshape")); /* views cost nothing and have no event */
    free(text);
    f = open_memstream(&text, &n);
    vm_profile(g, f, 1e11, 1e10);
    fclose(f);
    EXPECT_HAS(text, "\nlinear                          3 ");
    EXPECT_HAS(text, "\nall                             3 ");
    EXPECT(!strstr(text, "nan") && !strstr(text, "inf"));
    free(text);
    double flops, bytes;
    vm_node_cost(g, &g->n[0], &flops, &bytes);
    EXPECT(flops == 2 * 2 * 3 * 4 && bytes == (2 * 4 + 3 * 4 + 2 * 3) * 4);
    vm_graph_free(g);
    vm_param_free(p);
}

/* Two graphs in one arena: it grows with the larger one, and both stay right when they run in turns. */
TEST(graphs_that_share_an_arena) {
    vm_arena arena = { 0 };
    vm_graph *g[2];
    size_t bytes[2];
    for (int k = 0; k < 2; k++) {
        g[k] = vm_graph_new(vm_backend_cpu(), VM_F32);
        g[k]->shared = &arena;
        vm_val x = vm_input(g[k], "x", VM_F32, 1, (int64_t[]){ k ? 5000 : 10 });
        vm_output(g[k], "y", vm_scale(g[k], vm_unary(g[k], x, VM_SQUARE, VM_F32), 2, 1));
        bytes[k] = vm_plan_bytes(g[k]);
        EXPECT(bytes[k] > 0 && !g[k]->arena);
    }
    for (int turn = 0; turn < 4; turn++)
        for (int k = 0; k < 2; k++) {
            static float x[5000], y[5000];
            for (int i = 0; i < 5000; i++) x[i] = (float)(i % 7 + turn);
            EXPECT(!vm_set(g[k], "x", x) && !vm_run(g[k]) && !vm_get(g[k], "y", y));
            for (int i = 0; i < (k ? 5000 : 10); i++) EXPECT(y[i] == 2 * x[i] * x[i] + 1);
        }
    EXPECT(arena.bytes >= bytes[1] && arena.bytes < bytes[1] + 128 && g[0]->arena == g[1]->arena);
    vm_graph_free(g[0]), vm_graph_free(g[1]);
    vm_arena_free(&arena);
}

int main(void) {
    RUN(arena_is_reused);
    RUN(dead_nodes_are_dropped);
    RUN(views_of_views);
    RUN(views_of_parameters_follow);
    RUN(outputs_are_kept);
    RUN(an_output_is_not_summed_onto);
    RUN(recomputation);
    RUN(segments_are_checked);
    RUN(host_ops);
    RUN(seeds_and_inputs);
    RUN(two_backward_passes_add);
    RUN(missing_rules_are_named);
    RUN(state_is_shared_by_plans);
    RUN(backends_forget_plans);
    RUN(pictures);
    RUN(graphs_that_share_an_arena);
    return test_end();
}
