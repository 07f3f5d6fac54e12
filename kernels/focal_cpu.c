/* focal_cpu.c - see focal.c. */
#include "kernels/chunks.h"
#include "kernels/cpu.h"

typedef struct {
    const vm_value *x;
    const vm_real *y, *w;
    vm_real alpha, gamma;
} call;

static call call_of(const vm_graph *g, const vm_node *n) {
    return (call){ &g->v[n->in[0]], vm_in(g, n, 1), vm_in(g, n, 2), (vm_real)n->f[0], (vm_real)n->f[1] };
}

typedef struct {
    vm_real p, m, scale, ce; /* scale: w alpha_t m^gamma */
} parts;

static inline parts parts_of(const call *c, vm_real x, vm_real y, vm_real w) {
    vm_real p = vm_sigmoid(x), m = p * (1 - y) + vm_sigmoid(-x) * y;
    vm_real power = c->gamma == 2 ? m * m : c->gamma == 0 ? 1 : m > 0 ? vm_exp(c->gamma * vm_log(m)) : 0;
    vm_real alpha = c->alpha < 0 ? 1 : c->alpha * y + (1 - c->alpha) * (1 - y);
    return (parts){ p, m, w * alpha * power, vm_softplus(x) - (y == 0 ? 0 : x * y) };
}

vm_status VM_KERNEL(focal_cpu)(vm_graph *g, vm_node *n) {
    call c = call_of(g, n);
    int64_t N = vm_count(g, n->in[0]), chunks = vm_count(g, n->out[1]);
    const vm_real *norm = vm_in(g, n, 3);
    vm_real *y = vm_o(g, n, 0), *part = vm_o(g, n, 1);
#pragma omp parallel for schedule(static) if (N > VM_PAR_MIN / 8)
    for (int64_t k = 0; k < chunks; k++) {
        vm_real tmp[VM_CHUNK], l[VM_CHUNK];
        part[k] = 0;
        for (int64_t i = vm_chunk_begin(N, chunks, k), end = vm_chunk_begin(N, chunks, k + 1), m; i < end; i += m) {
            m = VM_MIN((int64_t)VM_CHUNK, end - i);
            const vm_real *x = vm_row(c.x->data, c.x->type, i, m, tmp);
            for (int64_t j = 0; j < m; j++) {
                vm_real w = c.w ? c.w[i + j] : 1;
                parts s = parts_of(&c, w != 0 ? x[j] : 0, c.y[i + j], w);
                l[j] = s.scale * s.ce;
            }
            part[k] += vm_row_sum(l, m);
        }
    }
    *y = vm_row_sum(part, chunks) / *norm;
    return VM_OK;
}

vm_status VM_KERNEL(focal_back_cpu)(vm_graph *g, vm_node *n) {
    call c = call_of(g, n);
    int64_t N = vm_count(g, n->in[0]);
    vm_value dx = g->v[n->out[0]];
    vm_real scale = *(const vm_real *)vm_in(g, n, 4) / *(const vm_real *)vm_in(g, n, 3);
    bool add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (N > VM_PAR_MIN / 8)
    for (int64_t i = 0; i < N; i += VM_CHUNK) {
        vm_real tmp[VM_CHUNK], out[VM_CHUNK];
        int64_t m = VM_MIN((int64_t)VM_CHUNK, N - i);
        const vm_real *x = vm_row(c.x->data, c.x->type, i, m, tmp);
        vm_real *d = vm_row_into(dx.data, dx.type, i, out, add);
        for (int64_t j = 0; j < m; j++) {
            vm_real w = c.w ? c.w[i + j] : 1, y = c.y[i + j];
            parts s = parts_of(&c, w != 0 ? x[j] : 0, y, w);
            vm_real q = s.m > 0 ? c.gamma * (2 * y - 1) * s.p * (1 - s.p) * s.ce / s.m : 0;
            d[j] = scale * s.scale * ((s.p - y) - q);
        }
        vm_row_done(dx.data, dx.type, i, m, d, add);
    }
    return VM_OK;
}
