/* optim_cpu.c - see optim.c. Sums run over fixed chunks added in order: the thread count does not change a bit. */
#include "kernels/cpu.h"

enum { CHUNK = 1 << 16 };

static double sqsum(const vm_real *restrict x, int64_t n) {
    double s = 0;
    for (int64_t at = 0; at < n; at += 1024) { /* f32 inside 1024, double across */
        vm_real t = 0;
        int64_t m = VM_MIN((int64_t)1024, n - at);
#pragma omp simd reduction(+ : t)
        for (int64_t i = 0; i < m; i++) t += x[at + i] * x[at + i];
        s += (double)t;
    }
    return s;
}

vm_status VM_KERNEL(grad_sqnorm_cpu)(vm_graph *g, vm_node *n) {
    vm_param *const *list = n->cache;
    double total = 0;
    for (int64_t k = 0; k < n->i[0]; k++) {
        const vm_real *x = list[k]->grad;
        int64_t N = x ? vm_param_count(list[k]) : 0, chunks = (N + CHUNK - 1) / CHUNK;
        for (int64_t c0 = 0; c0 < chunks; c0 += 64) {
            double part[64];
            int64_t nc = VM_MIN((int64_t)64, chunks - c0);
#pragma omp parallel for schedule(static) if (nc > 1)
            for (int64_t c = 0; c < nc; c++) {
                int64_t at = (c0 + c) * CHUNK;
                part[c] = sqsum(x + at, VM_MIN((int64_t)CHUNK, N - at));
            }
            for (int64_t c = 0; c < nc; c++) total += part[c];
        }
    }
    *(vm_real *)vm_o(g, n, 0) = (vm_real)total;
    return VM_OK;
}

vm_status VM_KERNEL(adamw_cpu)(vm_graph *g, vm_node *n) {
    vm_param *p = n->ptr;
    const vm_real *hyper = vm_in(g, n, 0);
    const vm_real lr = hyper[0] * p->lr_scale, c1 = hyper[1], c2 = hyper[2], scale = hyper[3];
    const vm_real b1 = (vm_real)n->f[0], b2 = (vm_real)n->f[1], eps = (vm_real)n->f[2];
    const vm_real keep = p->decay ? 1 - lr * (vm_real)n->f[3] : 1, step = lr / c1, r2 = 1 / c2;
    vm_real *restrict w = p->data;
    const vm_real *restrict d = p->grad;
    float *restrict m = p->m, *restrict v = p->v;
    int64_t N = d ? vm_param_count(p) : 0;
#pragma omp parallel for simd schedule(static) if (N > VM_PAR_MIN)
    for (int64_t i = 0; i < N; i++) {
        vm_real x = d[i] * scale;
        vm_real a = b1 * m[i] + (1 - b1) * x, b = b2 * v[i] + (1 - b2) * x * x;
        m[i] = (float)a, v[i] = (float)b;
        w[i] = w[i] * keep - step * a / ((vm_real)sqrtf((float)(b * r2)) + eps);
    }
    return VM_OK;
}

vm_status VM_KERNEL(average_cpu)(vm_graph *g, vm_node *n) {
    const vm_param *p = n->ptr;
    const vm_real d = *(const vm_real *)vm_in(g, n, 0), *restrict w = p->data;
    vm_real *restrict a = p->average;
    int64_t N = vm_param_count(p);
#pragma omp parallel for simd schedule(static) if (N > VM_PAR_MIN)
    for (int64_t i = 0; i < N; i++) a[i] = d * a[i] + (1 - d) * w[i];
    return VM_OK;
}
