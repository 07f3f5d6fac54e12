/* test_loss.c - the training losses against double loops, and what is known of them without a computation: with scale 0
 * every choice is a draw; a batch of one pair has loss 0; negatives that are far away cost nothing. */
#include "models/loss.h"
#include "tests/optest.h"

static double dot(const double *a, const double *b, int64_t E) {
    double s = 0;
    for (int64_t k = 0; k < E; k++) s += a[k] * b[k];
    return s;
}
/* mean over the first B rows of q of -log softmax(s q k^T)[i][i] */
static double half(const double *q, const double *k, int64_t B, int64_t N, int64_t E, double s) {
    double loss = 0;
    for (int64_t i = 0; i < B; i++) {
        double sum = 0;
        for (int64_t j = 0; j < N; j++) sum += exp(s * (dot(q + i * E, k + j * E, E) - dot(q + i * E, k + i * E, E)));
        loss += log(sum);
    }
    return loss / (double)B;
}
static double twins(const double *img, const double *txt, int64_t n, int64_t at, int64_t E, double s) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < 2; k++) {
            int64_t me = (i + k * at) * E, other = (i + (1 - k) * at) * E;
            double right = dot(img + me, txt + me, E);
            sum += log1p(exp(s * (dot(img + me, txt + other, E) - right))) +
                   log1p(exp(s * (dot(img + other, txt + me, E) - right)));
        }
    return sum / (4 * (double)n);
}

typedef struct {
    double nce, twins;
} losses;

static losses run(int64_t n_img, int64_t n_txt, int64_t E, int64_t B, int64_t n_twins, double scale, losses *want) {
    op_case c = op_begin(VM_F32);
    vm_val img = op_input(&c, VM_F32, 2, (int64_t[]){ n_img, E }, -1, 1),
           txt = op_input(&c, VM_F32, 2, (int64_t[]){ n_txt, E }, -1, 1);
    vm_val s = op_input(&c, VM_F32, 1, (int64_t[]){ 1 }, 0, 1);
    op_put(&c, 2, 0, scale);
    vm_val nce = loss_info_nce(c.g, img, txt, s, B, 0, 0), t = n_twins ? loss_twins(c.g, img, txt, s, n_twins, B, 1, 0) : 0;
    vm_output(c.g, "nce", nce);
    if (t) vm_output(c.g, "twins", t);
    losses got = { NAN, NAN };
    if (op_run(&c)) got = (losses){ op_get(&c, nce, 0), t ? op_get(&c, t, 0) : 0 };
    want->nce = (half(c.x[0], c.x[1], B, n_txt, E, scale) + half(c.x[1], c.x[0], B, n_img, E, scale)) / 2;
    want->twins = n_twins ? twins(c.x[0], c.x[1], n_twins, B, E, scale) : 0;
    op_end(&c);
    return got;
}

TEST(against_double) {
    const int64_t sizes[][5] = { { 4, 4, 8, 4, 0 },  { 5, 9, 3, 3, 0 },      { 6, 6, 16, 3, 3 },
                                 { 5, 5, 16, 3, 2 }, { 64, 128, 24, 64, 0 }, { 2, 2, 1, 1, 1 } };
    for (int k = 0; k < VM_LEN(sizes); k++)
        for (double scale = 0.5; scale < 101; scale *= 10) {
            losses want, got = run(sizes[k][0], sizes[k][1], sizes[k][2], sizes[k][3], sizes[k][4], scale, &want);
            EXPECT_NEAR(got.nce, want.nce, 2e-5 * (1 + want.nce)); /* logits of size scale carry their own roundings */
            EXPECT_NEAR(got.twins, want.twins, 2e-5 * (1 + want.twins));
        }
}
TEST(known_values) {
    losses want, got = run(8, 20, 5, 8, 0, 0, &want);
    EXPECT_NEAR(got.nce, (log(20) + log(8)) / 2, 1e-6);
    got = run(8, 8, 5, 4, 4, 0, &want);
    EXPECT_NEAR(got.twins, log(2), 1e-6);
    got = run(1, 1, 5, 1, 0, 50, &want);
    EXPECT(got.nce == 0);
}
TEST(no_features) {
    vm_graph *g = vm_graph_new(vm_backend_cpu(), VM_F32);
    EXPECT(!loss_info_nce(g, 0, 0, 0, 3, 0, 0) && !loss_twins(g, 0, 0, 0, 1, 1, 1, 0));
    vm_val x = vm_input(g, "x", VM_F32, 2, (int64_t[]){ 3, 4 }), s = vm_input(g, "s", VM_F32, 1, (int64_t[]){ 1 });
    EXPECT(!loss_twins(g, x, x, s, 2, 2, 1, 0)); /* rows 2 and 3 of 3 */
    EXPECT_STR(g->err.msg, "slice: 2 entries from 2 of axis 0 of [3,4]");
    vm_graph_free(g);
}

static void thresholds(loss_theta_kind kind, const double want[2]) { /* the second column has no valid cell */
    const float g[] = { 10, 20 }, d[] = { 4, 8, 0, 0 }, valid[] = { 1, 1, 0, 0 };
    double theta[] = { 1, 7 };
    loss_theta(theta, kind, 10, 2, 2, g, d, valid);
    for (int k = 0; k < 2; k++) EXPECT_NEAR(theta[k], want[k], 1e-12);
}
TEST(adaptive_thresholds) {
    thresholds(LOSS_THETA_MEAN, (double[]){ 9, 7 });
    thresholds(LOSS_THETA_MAX, (double[]){ 2.4, 7 });
    thresholds(LOSS_THETA_FIXED, (double[]){ 1, 7 });
    double theta[] = { 3 };
    loss_theta(theta, LOSS_THETA_MEAN, 2, 1, 1, (float[]){ 5 }, (float[]){ 1 }, NULL); /* 4, the bound is 2 */
    EXPECT(theta[0] == 2);
    loss_theta(theta, LOSS_THETA_MEAN, 2, 1, 1, (float[]){ 1 }, (float[]){ 5 }, NULL);
    EXPECT(theta[0] == 0);
    loss_theta(theta, LOSS_THETA_MEAN, 2, 1, 1, (float[]){ NAN }, (float[]){ 5 }, NULL);
    EXPECT(theta[0] == 0);
}

int main(void) {
    RUN(adaptive_thresholds);
    RUN(against_double);
    RUN(known_values);
    RUN(no_features);
    return test_end();
}
