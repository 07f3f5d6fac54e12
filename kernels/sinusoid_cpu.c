/* sinusoid_cpu.c - see sinusoid.c: a row at a time, its sines and cosines in one vectorised loop. Bound by
 * arithmetic. */
#include "kernels/sinusoid.h"

#include "kernels/cpu.h"

static vm_real number(const void *t, vm_type type, int64_t i) {
    return type == VM_I32 ? (vm_real)((const int32_t *)t)[i] : ((const vm_real *)t)[i];
}

static void sines(const vm_frequencies *q, vm_real t, vm_real *restrict s, vm_real *restrict c) {
    const float *restrict f = q->f;
    vm_real scale = q->scale;
#pragma omp simd
    for (int64_t i = 0; i < q->n; i++) {
        vm_real a = t * (vm_real)f[i];
        vm_sincos(scale * a, &s[i], &c[i]);
    }
}

vm_status VM_KERNEL(sinusoid_cpu)(vm_graph *g, vm_node *n) {
    const vm_frequencies *q = n->ptr;
    const void *t = vm_in(g, n, 0);
    void *y = vm_o(g, n, 0);
    vm_type tt = g->v[n->in[0]].type, ty = g->v[n->out[0]].type;
    int64_t R = vm_count(g, n->in[0]), C = n->i[1];
    int layout = (int)n->i[2];
#pragma omp parallel for schedule(static) if (R * C * 16 > VM_PAR_MIN)
    for (int64_t r = 0; r < R; r++) {
        vm_real s[VM_FREQUENCIES], c[VM_FREQUENCIES], y_[2 * VM_FREQUENCIES + 1], *out = vm_row_begin(y, ty, r * C, y_);
        sines(q, number(t, tt, r), s, c);
        if (C > 2 * q->n) out[C - 1] = 0;
        for (int64_t i = 0; i < q->n; i++) {
            out[vm_sin_at(layout, q->n, i)] = q->amplitude * s[i];
            out[vm_cos_at(layout, q->n, i)] = q->amplitude * c[i];
        }
        vm_row_end(y, ty, r * C, C, out);
    }
    return VM_OK;
}

vm_status VM_KERNEL(sinusoid_back_cpu)(vm_graph *g, vm_node *n) {
    const vm_frequencies *q = n->ptr;
    const void *dy = vm_in(g, n, 0), *t = vm_in(g, n, 1);
    vm_real *dt = vm_o(g, n, 0);
    vm_type td = g->v[n->in[0]].type;
    int64_t R = vm_count(g, n->in[1]), C = n->i[1];
    int layout = (int)n->i[2];
    bool add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (R * C * 16 > VM_PAR_MIN)
    for (int64_t r = 0; r < R; r++) {
        vm_real s[VM_FREQUENCIES], c[VM_FREQUENCIES], d_[2 * VM_FREQUENCIES + 1], sum = 0;
        const vm_real *d = vm_row(dy, td, r * C, C, d_);
        sines(q, number(t, g->v[n->in[1]].type, r), s, c);
        for (int64_t i = 0; i < q->n; i++)
            sum += (vm_real)q->f[i] * (d[vm_sin_at(layout, q->n, i)] * c[i] - d[vm_cos_at(layout, q->n, i)] * s[i]);
        sum *= q->scale * q->amplitude;
        dt[r] = add ? dt[r] + sum : sum;
    }
    return VM_OK;
}
