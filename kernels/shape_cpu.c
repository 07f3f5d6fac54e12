/* shape_cpu.c - see shape.c. Copies move runs of bytes; element types matter to cast and to sums only. */
#include "kernels/cpu.h"
#include "kernels/shape.h"

vm_status VM_KERNEL(slice_cpu)(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]], y = g->v[n->out[0]];
    int64_t outer, inner, N = x.ne[n->i[0]];
    vm_extents(&x, n->i[0], &outer, &inner);
    size_t run = (size_t)(n->i[2] * inner) * vm_type_size(x.type), step = (size_t)(N * inner) * vm_type_size(x.type);
    const char *from = (const char *)x.data + (size_t)(n->i[1] * inner) * vm_type_size(x.type);
#pragma omp parallel for schedule(static) if (outer * (int64_t)run > 4 * VM_PAR_MIN)
    for (int64_t o = 0; o < outer; o++) memcpy((char *)y.data + (size_t)o * run, from + (size_t)o * step, run);
    return VM_OK;
}

vm_status VM_KERNEL(slice_back_cpu)(vm_graph *g, vm_node *n) {
    vm_value dy = g->v[n->in[0]], dx = g->v[n->out[0]];
    int64_t outer, inner, N = dx.ne[n->i[0]];
    vm_extents(&dx, n->i[0], &outer, &inner);
    size_t size = vm_type_size(dx.type);
    int64_t run = n->i[2] * inner, before = n->i[1] * inner, after = (N - n->i[1] - n->i[2]) * inner;
    bool add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (outer * N * inner > VM_PAR_MIN)
    for (int64_t o = 0; o < outer; o++) {
        int64_t row = o * N * inner;
        if (!add) {
            memset((char *)dx.data + (size_t)row * size, 0, (size_t)before * size);
            memset((char *)dx.data + (size_t)(row + before + run) * size, 0, (size_t)after * size);
        }
        for (int64_t j = 0; j < run; j += VM_CHUNK) {
            vm_real from[VM_CHUNK];
            int64_t m = VM_MIN((int64_t)VM_CHUNK, run - j), at = row + before + j;
            const vm_real *r = vm_row(dy.data, dy.type, o * run + j, m, from);
            if (!add && dx.type == VM_F32) memcpy((vm_real *)dx.data + at, r, (size_t)m * sizeof *r);
            else vm_row_done(dx.data, dx.type, at, m, r, add);
        }
    }
    return VM_OK;
}

vm_status VM_KERNEL(concat_cpu)(vm_graph *g, vm_node *n) {
    vm_value y = g->v[n->out[0]];
    int64_t outer, inner;
    size_t at = 0, size = vm_type_size(y.type);
    vm_extents(&y, n->i[0], &outer, &inner);
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

/* --- permute ------------------------------------------------------------------------------------------------------ */
/* y[j*ldy + i] = x[i*ldx + j], i < m, j < n: by tiles, so that the lines read with a stride stay in the first cache. */
enum { TILE = 32 };
#define TRANSPOSE(name, type)                                                                                      \
    static void name(const type *restrict x, int64_t ldx, type *restrict y, int64_t ldy, int64_t m, int64_t n) {   \
        for (int64_t j0 = 0; j0 < n; j0 += TILE)                                                                   \
            for (int64_t i0 = 0; i0 < m; i0 += TILE)                                                               \
                for (int64_t j = j0; j < VM_MIN(j0 + TILE, n); j++)                                                \
                    for (int64_t i = i0; i < VM_MIN(i0 + TILE, m); i++) y[j * ldy + i] = x[i * ldx + j];            \
    }
TRANSPOSE(transpose1, uint8_t)
TRANSPOSE(transpose2, uint16_t)
TRANSPOSE(transpose4, uint32_t)
TRANSPOSE(transpose8, uint64_t)

static void transpose(size_t size, const char *x, int64_t ldx, char *y, int64_t ldy, int64_t m, int64_t n) {
    if (size == 1) transpose1((const uint8_t *)x, ldx, (uint8_t *)y, ldy, m, n);
    if (size == 2) transpose2((const uint16_t *)x, ldx, (uint16_t *)y, ldy, m, n);
    if (size == 4) transpose4((const uint32_t *)x, ldx, (uint32_t *)y, ldy, m, n);
    if (size == 8) transpose8((const uint64_t *)x, ldx, (uint64_t *)y, ldy, m, n);
}

/* The last axis stays: runs are copied. Else x's last axis is axis k of y, and every plane (k, last) is transposed. */
vm_status VM_KERNEL(permute_cpu)(vm_graph *g, vm_node *n) {
    enum { BAND = 4 * TILE };
    vm_value x = g->v[n->in[0]];
    int64_t count = vm_count(g, n->in[0]);
    size_t size = vm_type_size(x.type);
    char *y = vm_o(g, n, 0);
    if (!count) return VM_OK;
    vm_walk w = vm_walk_of(&x, n->i);
    int last = w.nd - 1, k = last;
    while (w.from[k] != 1) k--;
    int64_t m = w.ne[last], width = w.ne[k], bands = k == last ? 1 : (width + BAND - 1) / BAND;
    int64_t planes = count / m / (k == last ? 1 : width);
#pragma omp parallel for schedule(static) if (count > VM_PAR_MIN)
    for (int64_t task = 0; task < planes * bands; task++) {
        int64_t from = 0, to = 0, left = task / bands, j = task % bands * BAND;
        for (int a = last - 1; a >= 0; a--) {
            if (a == k) continue;
            from += left % w.ne[a] * w.from[a], to += left % w.ne[a] * w.to[a], left /= w.ne[a];
        }
        const char *s = (const char *)x.data + (size_t)from * size;
        if (k == last) memcpy(y + (size_t)to * size, s, (size_t)m * size);
        else
            transpose(size, s + (size_t)j * size, w.from[last], y + (size_t)(to + j * w.to[k]) * size, w.to[k], m,
                      VM_MIN((int64_t)BAND, width - j));
    }
    return VM_OK;
}

/* --- cast --------------------------------------------------------------------------------------------------------- */
vm_status VM_KERNEL(cast_cpu)(vm_graph *g, vm_node *n) {
    vm_type tx = g->v[n->in[0]].type, ty = g->v[n->out[0]].type;
    const void *x = vm_in(g, n, 0);
    void *y = vm_o(g, n, 0);
    int64_t N = vm_count(g, n->in[0]);
#pragma omp parallel for schedule(static) if (N > VM_PAR_MIN)
    for (int64_t at = 0; at < N; at += VM_CHUNK) {
        vm_real x_[VM_CHUNK];
        int64_t m = VM_MIN((int64_t)VM_CHUNK, N - at);
        if (ty == VM_F32) vm_row(x, tx, at, m, (vm_real *)y + at);
        else vm_row_end(y, ty, at, m, vm_row(x, tx, at, m, x_));
    }
    return VM_OK;
}
