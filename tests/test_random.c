/* test_random.c - Philox against its published vectors; dropout masks and normals against a loop over single blocks. */
#include "kernels/philox.h"
#include "tests/optest.h"

/* Random123's known answers for philox4x32-10 */
TEST(published_vectors) {
    static const struct { uint64_t index, stream, key; uint32_t want[4]; } v[] = {
        { 0, 0, 0, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { UINT64_MAX, UINT64_MAX, UINT64_MAX, { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { 0x85a308d3243f6a88, 0x0370734413198a2e, 0x299f31d0a4093822, { 0xd16cfe09, 0x94fdcceb, 0x5001e420,
            0x24126ea1 } },
    };
    for (int k = 0; k < VM_LEN(v); k++) {
        uint32_t out[4];
        vm_philox(v[k].key, v[k].stream, v[k].index, out);
        EXPECT(!memcmp(out, v[k].want, sizeof out));
    }
}

/* word of element e in the stream of a node: pieces of 1024 elements, 256 blocks each, word by word */
static uint32_t word(const vm_graph *g, uint64_t node_key, int64_t e) {
    uint32_t out[4];
    vm_philox(g->seed, g->step << 32 ^ node_key, (uint64_t)(e / 1024 * 256 + e % 256), out);
    return out[e % 1024 / 256];
}

enum { N = 7001 };

TEST(dropout_mask) {
    op_case c = op_begin(VM_BF16);
    vm_val first = vm_scale(c.g, op_input(&c, VM_F32, 1, (int64_t[]){ N }, 1, 2), 1, 0);
    vm_val y = vm_dropout(c.g, first, 0.25f);
    vm_output(c.g, "y", y);
    uint64_t key = c.g->n[c.g->v[y].node].key;
    double want[2][N];
    for (int step = 0; step < 2; step++) {
        c.g->step = (uint64_t)step;
        int kept = 0;
        for (int i = 0; i < N; i++) {
            bool keep = word(c.g, key, i) >= 0x40000000u;
            kept += keep, want[step][i] = keep ? c.x[0][i] / 0.75 : 0;
        }
        EXPECT_NEAR(kept, 0.75 * N, 4 * sqrt(0.25 * 0.75 * N)); /* four standard deviations */
    }
    EXPECT(memcmp(want[0], want[1], sizeof want[0]) != 0);
    for (int step = 0; step < 2; step++) {
        c.g->step = (uint64_t)step, c.level = -1;
        OP_LEVELS(&c) op_near(&c, "dropout", y, want[step], N, 1e-6);
    }
    for (int t = 1; t <= op_thread_counts(); t++) {
        vm_threads(t);
        op_run(&c);
        op_near(&c, "dropout", y, want[1], N, 1e-6);
    }
    vm_threads(0);
    EXPECT(vm_dropout(c.g, first, 0) == first && !vm_dropout(c.g, first, 1));
    EXPECT_HAS(c.g->err.msg, "dropout: probability 1 is not in [0, 1)");
    op_end(&c);
}

/* Gradients draw the same mask again, add up, and take any type and place. */
TEST(dropout_gradient) {
    for (int t = VM_F32; t <= VM_F16; t++)
        for (int64_t n = 1; n < 3000; n += n < 9 ? 1 : 509) {
            op_case c = op_begin(VM_BF16);
            c.g->step = 7;
            vm_val x = (n % 2 ? op_view : op_input)(&c, (vm_type)t, 1, &n, 1, 2), y = vm_dropout(c.g, x, 0.5f);
            vm_val r = op_input(&c, VM_F32, 1, &n, 1, 2), ys[] = { y, vm_dropout(c.g, x, 0.25f) };
            uint64_t key[] = { c.g->n[c.g->v[y].node].key, c.g->n[c.g->v[ys[1]].node].key };
            vm_output(c.g, "y", y);
            vm_backward(c.g, 2, ys, (vm_val[]){ r, r }, 1, &x);
            vm_output(c.g, "dx", vm_grad(c.g, x));
            double want[3000], dx[3000];
            for (int64_t i = 0; i < n; i++) {
                bool first = word(c.g, key[0], i) >= 0x80000000u, second = word(c.g, key[1], i) >= 0x40000000u;
                want[i] = first ? 2 * c.x[0][i + n % 2] : 0, dx[i] = c.x[1][i] * (2 * first + second / 0.75);
            }
            OP_LEVELS(&c) {
                op_near(&c, "dropout", y, want, n, 0);
                op_near(&c, "dx", vm_grad(c.g, x), dx, n, 2 * op_tol((vm_type)t));
            }
            op_end(&c);
        }
}

TEST(normals) {
    op_case c = op_begin(VM_BF16);
    c.g->seed = 42;
    int64_t n = N;
    vm_val y = vm_randn(c.g, VM_F32, 1, &n), z = vm_randn(c.g, VM_BF16, 1, &n), half = vm_randn(c.g, VM_F16, 1, &n), none = vm_randn(c.g, VM_F32, 2,
        (int64_t[]){ 0, 3 });
    vm_output(c.g, "y", y), vm_output(c.g, "z", z), vm_output(c.g, "half", half), vm_output(c.g, "none", none);
    double want[3][N], moment[5] = { 0 };
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < N; i++) { /* words 0 and 1 of a block give elements of words 0 and 1,
            2 and 3 the others */
            int64_t even = i % 1024 / 256 % 2 ? i - 256 : i;
            uint64_t key = c.g->n[c.g->v[k == 2 ? half : k ? z : y].node].key;
            double u = ((double)word(c.g, key, even) + 0.5) * 0x1p-32, turns = (double)(int32_t)word(c.g, key,
                even + 256) * 0x1p-32;
            double r = sqrt(-2 * log(u));
            want[k][i] = i == even ? r * cos(2 * M_PI * turns) : r * sin(2 * M_PI * turns);
        }
    for (int i = 0; i < N; i++)
        for (int p = 1; p <= 4; p++) moment[p] += pow(want[0][i], p) / N;
    EXPECT_NEAR(moment[1], 0, 4 / sqrt(N));
    EXPECT_NEAR(moment[2], 1, 4 * sqrt(2.0 / N));
    EXPECT_NEAR(moment[3], 0, 4 * sqrt(15.0 / N));
    EXPECT_NEAR(moment[4], 3, 4 * sqrt(96.0 / N));
    OP_LEVELS(&c) {
        for (int i = 0; i < N; i++) { /* where u is near 1, log(u) of the float u has an absolute error of 6e-8 */
            EXPECT_NEAR(op_get(&c, y, i), want[0][i], 4e-4);
            if (fabs(want[0][i]) > 0.1) EXPECT_NEAR(op_get(&c, y, i), want[0][i], 1e-5);
        }
        op_near(&c, "bf16", z, want[1], N, OP_TOL_BF16);
        op_near(&c, "f16", half, want[2], N, 0x1p-10);
    }
    op_end(&c);
}

int main(void) {
    RUN(published_vectors);
    RUN(dropout_mask);
    RUN(dropout_gradient);
    RUN(normals);
    return test_end();
}
