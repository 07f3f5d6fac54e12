/* test_matcher.c - assignments against all permutations, costs against the formulas, the node in a graph. */
#include "models/matcher.h"
#include "tests/test.h"

/* The cheapest total over all ways to give rows r.. of (R,C), R <= C, columns not in `used`. */
static double cheapest(const double *c, int64_t R, int64_t C, int64_t r, unsigned used) {
    double best = INFINITY;
    if (r == R) return 0;
    for (int64_t j = 0; j < C; j++)
        if (!(used >> j & 1)) best = fmin(best, c[r * C + j] + cheapest(c, R, C, r + 1, used | 1u << j));
    return best;
}
/* Total of an assignment in which every column stands at most once, and min(R,C) rows have one. */
static double total(const double *c, int64_t R, int64_t C, const int32_t *col) {
    double sum = 0;
    int64_t n = 0;
    for (int64_t r = 0; r < R; r++) {
        EXPECT(col[r] >= -1 && col[r] < C);
        for (int64_t s = 0; s < r; s++) EXPECT(col[r] < 0 || col[r] != col[s]);
        if (col[r] >= 0) sum += c[r * C + col[r]], n++;
    }
    EXPECT(n == VM_MIN(R, C));
    return sum;
}

TEST(small_ones_against_all_permutations) {
    uint64_t s = 3;
    for (int64_t R = 0; R <= 6; R++)
        for (int64_t C = 0; C <= 7; C++)
            for (int kind = 0; kind < 4; kind++) { /* any reals, few different values (ties), large ones, all equal */
                double c[42], t[42];
                int32_t col[7];
                for (int64_t i = 0; i < R * C; i++) {
                    double u = test_uniform(&s);
                    c[i] = kind == 0 ? u : kind == 1 ? floor(3 * u) : kind == 2 ? (u > 0.5 ? 3.4e38 : u) : 7;
                }
                for (int64_t r = 0; r < R; r++)
                    for (int64_t j = 0; j < C; j++) t[j * R + r] = c[r * C + j];
                double want = R <= C ? cheapest(c, R, C, 0, 0) : cheapest(t, C, R, 0, 0);
                EXPECT(!matcher_assign(c, R, C, col, NULL));
                EXPECT_NEAR(total(c, R, C, col), want, 1e-9 * (1 + fabs(want)));
            }
}

/* No exchange of two columns and no free column makes a large one cheaper; a planted optimum is found. */
TEST(large_ones) {
    enum { R = 60, C = 200 };
    uint64_t s = 8;
    double *c = vm_alloc(R * C * sizeof *c);
    int32_t col[R];
    for (int planted = 0; planted < 2; planted++) {
        for (int i = 0; i < R * C; i++) c[i] = test_uniform(&s);
        for (int r = 0; r < R && planted; r++) c[r * C + (r * 37 + 5) % C] = -2; /* all others are above -1 */
        EXPECT(!matcher_assign(c, R, C, col, NULL));
        double sum = total(c, R, C, col);
        if (planted) EXPECT_NEAR(sum, -2.0 * R, 0);
        for (int r = 0; r < R; r++) {
            bool used[C] = { false };
            for (int q = 0; q < R; q++) used[col[q]] = true;
            for (int j = 0; j < C; j++) EXPECT(used[j] || c[r * C + j] >= c[r * C + col[r]]);
            for (int q = 0; q < r; q++)
                EXPECT(c[r * C + col[q]] + c[q * C + col[r]] >= c[r * C + col[r]] + c[q * C + col[q]] - 1e-12);
        }
    }
    vm_free(c);
}

enum { B = 2, Q = 5, V = 3, T = 3 };
static const matcher SIZES = { { 1, 5, 2, 0.25, 2 }, B, Q, V, T };

static void values(vm_real *logits, vm_real *boxes, vm_real *labels, vm_real *targets) {
    uint64_t s = 21;
    for (int i = 0; i < B * Q * V; i++) logits[i] = (vm_real)(4 * test_uniform(&s));
    for (int i = 0; i < B * Q * 4; i++) boxes[i] = (vm_real)(i % 4 < 2 ? 0.5 + 0.2 * test_uniform(&s) : 0.3 + 0.2 * test_uniform(&s));
    for (int i = 0; i < B * T * 4; i++) targets[i] = (vm_real)(i % 4 < 2 ? 0.5 + 0.2 * test_uniform(&s) : 0.3 + 0.2 * test_uniform(&s));
    for (int i = 0; i < B * T * V; i++) labels[i] = i % V == i / V % V || i % V == 0;
}

TEST(costs) {
    vm_real logits[B * Q * V], boxes[B * Q * 4], labels[B * T * V], targets[B * T * 4];
    double cost[Q * T];
    values(logits, boxes, labels, targets);
    logits[1] = -(vm_real)INFINITY, boxes[3 * 4] = (vm_real)NAN;
    matcher_cost(&SIZES.costs, Q, V, T, logits, boxes, labels, targets, cost);
    for (int q = 0; q < Q; q++)
        for (int t = 0; t < T; t++) {
            double sum = 0, n = 0, l1 = 0, a[4], b[4];
            for (int v = 0; v < V; v++) {
                double p = 1 / (1 + exp(-(double)logits[q * V + v]));
                if (labels[t * V + v] == 0) continue;
                sum += 0.25 * (1 - p) * (1 - p) * -log(p + 1e-8) - 0.75 * p * p * -log(1 - p + 1e-8), n++;
            }
            for (int k = 0; k < 4; k++) l1 += fabs((double)boxes[q * 4 + k] - (double)targets[t * 4 + k]);
            for (int k = 0; k < 4; k++) {
                double side = k < 2 ? -0.5 : 0.5;
                a[k] = (double)boxes[q * 4 + k % 2] + side * (double)boxes[q * 4 + 2 + k % 2];
                b[k] = (double)targets[t * 4 + k % 2] + side * (double)targets[t * 4 + 2 + k % 2];
            }
            double I = fmax(0, fmin(a[2], b[2]) - fmax(a[0], b[0])) * fmax(0, fmin(a[3], b[3]) - fmax(a[1], b[1]));
            double U = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - I;
            double around = (fmax(a[2], b[2]) - fmin(a[0], b[0])) * (fmax(a[3], b[3]) - fmin(a[1], b[1]));
            double want = sum / n + 5 * l1 - 2 * (I / U - (around - U) / around);
            if (q == 3) EXPECT(cost[q * T + t] > 3.4e38 && isfinite(cost[q * T + t]));
            else EXPECT_NEAR(cost[q * T + t], want, 1e-5 * fabs(want));
        }
}

TEST(node) {
    vm_real logits[B * Q * V], boxes[B * Q * 4], labels[B * T * V], targets[B * T * 4];
    int32_t counts[B] = { 2, 0 }, match[B * T];
    double cost[Q * T];
    values(logits, boxes, labels, targets);
    vm_graph *g = vm_graph_new(vm_backend_cpu(), VM_F32);
    vm_val l = vm_input(g, "logits", VM_F32, 3, (int64_t[]){ B, Q, V }), b = vm_input(g, "boxes", VM_F32, 3, (int64_t[]){ B, Q, 4 });
    vm_val y = vm_input(g, "labels", VM_F32, 3, (int64_t[]){ B, T, V }), t = vm_input(g, "targets", VM_F32, 3, (int64_t[]){ B, T, 4 });
    vm_val n = vm_input(g, "counts", VM_I32, 1, (int64_t[]){ B }), m = matcher_node(g, &SIZES, l, b, y, t, n);
    vm_output(g, "match", m);
    vm_set(g, "logits", logits), vm_set(g, "boxes", boxes), vm_set(g, "labels", labels), vm_set(g, "targets", targets);
    vm_set(g, "counts", counts);
    EXPECT(!vm_run(g) && !vm_get(g, "match", match));
    matcher_cost(&SIZES.costs, Q, V, 2, logits, boxes, labels, targets, cost);
    double best = INFINITY;
    for (int i = 0; i < Q; i++)
        for (int j = 0; j < Q; j++)
            if (i != j) best = fmin(best, cost[i * 2] + cost[j * 2 + 1]);
    EXPECT_NEAR(cost[match[0] * 2] + cost[match[1] * 2 + 1], best, 1e-12);
    EXPECT(match[2] == -1 && match[3] == -1 && match[4] == -1 && match[5] == -1);
    counts[1] = 4;
    vm_set(g, "counts", counts);
    EXPECT(vm_run(g) == VM_EINPUT);
    EXPECT_HAS(g->err.msg, "image 1 has 4 targets, there is room for 3");
    vm_graph_free(g);
    g = vm_graph_new(vm_backend_cpu(), VM_F32);
    l = vm_input(g, "logits", VM_F32, 2, (int64_t[]){ B, Q });
    EXPECT(!matcher_node(g, &SIZES, l, l, l, l, l));
    EXPECT_HAS(g->err.msg, "matching: input 0 is f32 [2,5], 30 entries are needed");
    vm_graph_free(g);
}

int main(void) {
    RUN(small_ones_against_all_permutations);
    RUN(large_ones);
    RUN(costs);
    RUN(node);
    return test_end();
}
