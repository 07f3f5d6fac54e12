/* loss.c - see loss.h. */
#include "models/loss.h"

#include <math.h>

static vm_val rows(vm_graph *g, vm_val x, int64_t at, int64_t n) {
    return vm_dim(g, x, 0) == n ? x : vm_slice(g, x, 0, at, n);
}

vm_val loss_info_nce(vm_graph *g, vm_val img, vm_val txt, vm_val scale, int64_t B, vm_val hide_txt, vm_val hide_img) {
    if (!img || !txt || !scale) return 0;
    vm_val i2t = vm_contrastive(g, rows(g, img, 0, B), txt, scale, hide_txt, 0, VM_TARGET_SELF);
    vm_val t2i = vm_contrastive(g, rows(g, txt, 0, B), img, scale, hide_img, 0, VM_TARGET_SELF);
    return vm_scale(g, vm_binary(g, i2t, t2i, VM_ADD), 0.5f, 0);
}

/* <a_i, b_i> of rows: b (n,E), a (n,E) or (K,n,E) */
static vm_val row_dots(vm_graph *g, vm_val a, vm_val b) {
    vm_val x = vm_binary(g, a, b, VM_MUL);
    return x ? vm_sum_axis(g, x, g->v[x].nd - 1, 1) : 0;
}

/* (K n, E) -> (K,n,E): change k of original i is [k][i]. */
static vm_val columns(vm_graph *g, vm_val x, int64_t n, int64_t K) {
    return x ? vm_reshape(g, x, 3, (int64_t[]){ K, n, vm_cols(g, x) }) : 0;
}

/* Mean over all cells, or over the valid ones. */
static vm_val mean_of_valid(vm_graph *g, vm_val x, vm_val valid) {
    if (!valid) return vm_mean(g, x);
    vm_val n = vm_binary(g, vm_sum(g, valid), vm_scale(g, vm_sum(g, valid), 0, 1), VM_MAXIMUM); /* none: 0 / 1 */
    return vm_binary(g, vm_sum(g, vm_binary(g, x, valid, VM_MUL)), n, VM_DIV);
}

vm_val loss_twins(vm_graph *g, vm_val img, vm_val txt, vm_val scale, int64_t n, int64_t at, int64_t K, vm_val valid) {
    if (!img || !txt || !scale) return 0;
    vm_val i = vm_slice(g, img, 0, 0, n), t = vm_slice(g, txt, 0, 0, n);
    vm_val ci = columns(g, vm_slice(g, img, 0, at, K * n), n, K), ct = columns(g, vm_slice(g, txt, 0, at, K * n), n, K);
    vm_val right[2] = { row_dots(g, i, t), row_dots(g, ci, ct) }; /* (n), (K,n) */
    vm_val wrong[2] = { row_dots(g, ct, i), row_dots(g, ci, t) }, sum = 0;
    for (int w = 0; w < 2; w++)
        for (int r = 0; r < 2; r++) {
            vm_val x = vm_binary(g, vm_binary(g, wrong[w], right[r], VM_SUB), scale, VM_MUL);
            vm_val term = vm_unary(g, x, VM_SOFTPLUS, VM_F32);
            sum = sum ? vm_binary(g, sum, term, VM_ADD) : term;
        }
    return vm_scale(g, mean_of_valid(g, sum, valid), 0.25f, 0);
}

vm_val loss_imc(vm_graph *g, vm_val img, vm_val txt, vm_val neg, vm_val scale, vm_val hide, loss_imc_kind kind) {
    if (!img || !txt || !neg || !scale) return 0;
    vm_val right = kind == LOSS_IMC_REF_HEAD ? 0 : row_dots(g, img, txt);
    return vm_contrastive(g, txt, neg, scale, hide, right, kind == LOSS_IMC_POSITIVE ? VM_TARGET_POSITIVE : VM_TARGET_FIRST);
}

rank_loss loss_rank(vm_graph *g, vm_val img, vm_val txt, vm_val neg, vm_val scale, vm_val theta, vm_val valid, int64_t n, int64_t K) {
    rank_loss r = { 0 };
    if (!img || !txt || !neg || !scale || !theta) return r;
    vm_val i = rows(g, img, 0, n), t = rows(g, txt, 0, n);
    r.g = vm_binary(g, row_dots(g, i, t), scale, VM_MUL);
    r.d = vm_binary(g, row_dots(g, columns(g, neg, n, K), i), scale, VM_MUL);
    vm_val over = vm_unary(g, vm_binary(g, vm_binary(g, r.d, r.g, VM_SUB), theta, VM_ADD), VM_RELU, VM_F32);
    r.loss = vm_mean(g, valid ? vm_binary(g, over, valid, VM_MUL) : over);
    return r;
}

void loss_theta(double *theta, loss_theta_kind kind, double upper, int64_t n, int64_t K, const vm_real *g, const vm_real *d, const vm_real *valid) {
    double mean = 0;
    for (int64_t i = 0; i < n; i++) mean += (double)g[i] / (double)n;
    for (int64_t k = 0; k < K && kind != LOSS_THETA_FIXED; k++) {
        double sum = 0, most = -INFINITY;
        int64_t seen = 0;
        for (int64_t i = 0; i < n; i++) {
            double v = valid ? (double)valid[k * n + i] : 1;
            sum += v * (double)d[k * n + i], seen += v != 0;
            most = fmax(most, v * ((double)g[i] - (double)d[k * n + i]));
        }
        if (!seen) continue;
        double next = kind == LOSS_THETA_MAX ? most / 5 : mean - sum / (double)seen;
        if (isfinite(next)) theta[k] = fmin(fmax(next, 0), upper);
    }
}

vm_val loss_sigmoid(vm_graph *g, vm_val img, vm_val txt, vm_val scale, vm_val bias, vm_val hide, loss_mean mean) {
    return vm_pair_sigmoid(g, img, txt, scale, bias, hide, mean == LOSS_PER_CELL);
}
