/* shape_cpu.c - see shape.c. Copies move runs of bytes; element types matter to cast and to sums only. */
#include "kernels/cpu.h"

static void extents(const vm_value *x, int64_t axis, int64_t *outer, int64_t *inner) {
    *outer = *inner = 1;
    for (int k = 0; k < x->nd; k++) *(k < axis ? outer : inner) *= k == axis ? 1 : x->ne[k];
}

vm_status VM_KERNEL(slice_cpu)(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]], y = g->v[n->out[0]];
    int64_t outer, inner, N = x.ne[n->i[0]];
    extents(&x, n->i[0], &outer, &inner);
    size_t run = (size_t)(n->i[2] * inner) * vm_type_size(x.type), step = (size_t)(N * inner) * vm_type_size(x.type);
    const char *from = (const char *)x.data + (size_t)(n->i[1] * inner) * vm_type_size(x.type);
#pragma omp parallel for schedule(static) if (outer * (int64_t)run > 4 * VM_PAR_MIN)
    for (int64_t o = 0; o < outer; o++) memcpy((char *)y.data + (size_t)o * run, from + (size_t)o * step, run);
    return VM_OK;
}

vm_status VM_KERNEL(slice_back_cpu)(vm_graph *g, vm_node *n) {
    enum { PIECE = 1024 };
    vm_value dy = g->v[n->in[0]], dx = g->v[n->out[0]];
    int64_t outer, inner, N = dx.ne[n->i[0]];
    extents(&dx, n->i[0], &outer, &inner);
    bool add = vm_adds(g, n, 0);
    if (!add && vm_count(g, n->out[0])) memset(dx.data, 0, (size_t)vm_count(g, n->out[0]) * vm_type_size(dx.type));
#pragma omp parallel for schedule(static) if (outer * N * inner > VM_PAR_MIN)
    for (int64_t o = 0; o < outer; o++)
        for (int64_t j = 0; j < n->i[2] * inner; j += PIECE) {
            vm_real from[PIECE], to_[PIECE];
            int64_t m = VM_MIN((int64_t)PIECE, n->i[2] * inner - j), at = (o * N + n->i[1]) * inner + j;
            const vm_real *r = vm_row(dy.data, dy.type, o * n->i[2] * inner + j, m, from);
            vm_real *to = vm_row_begin(dx.data, dx.type, at, to_);
            if (add && dx.type == VM_BF16) vm_row(dx.data, dx.type, at, m, to_);
#pragma omp simd
            for (int64_t i = 0; i < m; i++) to[i] = (add ? to[i] : 0) + r[i];
            vm_row_end(dx.data, dx.type, at, m, to);
        }
    return VM_OK;
}

vm_status VM_KERNEL(concat_cpu)(vm_graph *g, vm_node *n) {
    vm_value y = g->v[n->out[0]];
    int64_t outer, inner;
    size_t at = 0, size = vm_type_size(y.type);
    extents(&y, n->i[0], &outer, &inner);
    size_t step = (size_t)(y.ne[n->i[0]] * inner) * size;
    for (int k = 0; k < n->n_in; k++) {
        size_t run = (size_t)(vm_dim(g, n->in[k], (int)n->i[0]) * inner) * size;
        const char *x = vm_in(g, n, k);
#pragma omp parallel for schedule(static) if (outer * (int64_t)run > 4 * VM_PAR_MIN)
        for (int64_t o = 0; o < outer; o++) memcpy((char *)y.data + (size_t)o * step + at, x + (size_t)o * run, run);
        at += run;
    }
    return VM_OK;
}

/* Walks the output; the innermost run is a strided read, contiguous when the last axis stays. */
vm_status VM_KERNEL(permute_cpu)(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]], y = g->v[n->out[0]];
    int nd = y.nd;
    int64_t stride[VM_AXES], count = vm_count(g, n->out[0]), inner = nd ? y.ne[nd - 1] : 1, rows = inner ? count / inner : 0;
    size_t size = vm_type_size(x.type);
    for (int k = 0; k < nd; k++) {
        stride[k] = 1;
        for (int a = (int)n->i[k] + 1; a < nd; a++) stride[k] *= x.ne[a];
    }
    int64_t last = nd ? stride[nd - 1] : 1;
#pragma omp parallel for schedule(static) if (count > VM_PAR_MIN)
    for (int64_t r = 0; r < rows; r++) {
        int64_t from = 0, left = r;
        for (int k = nd - 2; k >= 0; k--) from += left % y.ne[k] * stride[k], left /= y.ne[k];
        const char *s = (const char *)x.data + (size_t)from * size;
        char *d = (char *)y.data + (size_t)(r * inner) * size;
        if (last == 1) memcpy(d, s, (size_t)inner * size);
        else
            for (int64_t j = 0; j < inner; j++) memcpy(d + (size_t)j * size, s + (size_t)(j * last) * size, size);
    }
    return VM_OK;
}

/* --- cast ------------------------------------------------------------------------------------------------------------ */
static float half_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;
    union { uint32_t u; float f; } x;
    if (e == 0) return (sign ? -1.0f : 1.0f) * (float)m * 0x1p-24f;
    x.u = sign | (e == 31 ? 0x7f800000u : (e + 112) << 23) | m << 13;
    return x.f;
}
static uint16_t f32_to_half(float f) {
    union { float f; uint32_t u; } x = { f };
    uint16_t sign = (uint16_t)(x.u >> 16 & 0x8000);
    float a = fabsf(f);
    if (f != f) return 0x7e00;
    if (a >= 65520.0f) return sign | 0x7c00;
    if (a < 0x1p-14f) return sign | (uint16_t)nearbyintf(a * 0x1p24f);
    x.f = a;
    x.u += 0xfff + (x.u >> 13 & 1); /* to nearest even */
    return sign | (uint16_t)((x.u - (112u << 23)) >> 13);
}

vm_status VM_KERNEL(cast_cpu)(vm_graph *g, vm_node *n) {
    enum { PIECE = 2048 };
    vm_type tx = g->v[n->in[0]].type, ty = g->v[n->out[0]].type;
    const void *x = vm_in(g, n, 0);
    void *y = vm_o(g, n, 0);
    int64_t N = vm_count(g, n->in[0]);
#pragma omp parallel for schedule(static) if (N > VM_PAR_MIN)
    for (int64_t at = 0; at < N; at += PIECE) {
        vm_real tmp[PIECE];
        int64_t m = VM_MIN((int64_t)PIECE, N - at);
        const vm_real *r = tmp;
        if (tx == VM_F16)
            for (int64_t i = 0; i < m; i++) tmp[i] = (vm_real)half_to_f32(((const uint16_t *)x)[at + i]);
        else r = vm_row(x, tx, at, m, tmp);
        if (ty == VM_F16)
            for (int64_t i = 0; i < m; i++) ((uint16_t *)y)[at + i] = f32_to_half((float)r[i]);
        else if (ty == VM_BF16) vm_row_end(y, ty, at, m, r);
        else memcpy((vm_real *)y + at, r, (size_t)m * sizeof *r);
    }
    return VM_OK;
}
