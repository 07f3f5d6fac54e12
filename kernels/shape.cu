/* shape.cu - see shape.c. Slices, concatenations and permutations that keep the last axis move runs of bytes, 16 at a
 * time where addresses and strides allow it; the other permutations transpose planes through a tile of shared memory,
 * so that both sides are read and written along their rows. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"
extern "C" {
#include "kernels/shape.h"
}

/* --- copies --------------------------------------------------------------------------------------------------------- */
/* A walk in units of the size that moves at once. */
typedef struct {
    int nd;
    gpu_div ne[VM_AXES];
    int64_t from[VM_AXES], to[VM_AXES];
} gpu_walk;

static __device__ __forceinline__ void walk_to(const gpu_walk &w, int64_t i, int64_t *from, int64_t *to) {
    *from = *to = 0;
#pragma unroll
    for (int a = VM_AXES - 1; a >= 0; a--) {
        if (a >= w.nd) continue;
        int64_t r;
        i = gpu_divide(i, w.ne[a], &r);
        *from += r * w.from[a], *to += r * w.to[a];
    }
}
template <class T, int N> __global__ void copy_along_kernel(const T *x, T *y, gpu_walk w, int64_t n) {
    GPU_FOR(i, 1, n) {
        int64_t from, to;
        walk_to(w, i, &from, &to);
        st_vec<N>(y + to * N, ld_vec<N>(x + from * N));
    }
}
/* Queues the copy along w, whose strides are in elements of `size` bytes; y is contiguous along the last axis. Where x is,
 * too, as much moves at once as all addresses are multiples of. */
static vm_status copy_along(vm_graph *g, const void *x, void *y, vm_walk w, size_t size) {
    gpu_walk u;
    int last = w.nd - 1;
    int64_t n = 1, each = (int64_t)size, unit = each, bits = (int64_t)((uintptr_t)x | (uintptr_t)y) | w.ne[last] * each;
    for (int a = 0; a <= last; a++) {
        n *= w.ne[a];
        if (a < last) bits |= (w.from[a] | w.to[a]) * each;
    }
    if (!n) return VM_OK;
    while (w.from[last] == 1 && unit < 16 && bits % (2 * unit) == 0) unit *= 2;
    int64_t together = unit / each;
    w.ne[last] /= together, n /= together;
    u.nd = w.nd;
    for (int a = 0; a < VM_AXES; a++) {
        int64_t in_one = a < last ? together : 1;
        u.ne[a] = gpu_div_by(a <= last ? w.ne[a] : 1);
        u.from[a] = a <= last ? w.from[a] / in_one : 0, u.to[a] = a <= last ? w.to[a] / in_one : 0;
    }
    unsigned blocks = gpu_grid(g, n, GPU_THREADS);
    switch (unit) {
        case 16:
            return GPU_LAUNCH(g, (copy_along_kernel<uint32_t, 4>), blocks, GPU_THREADS, 0, (const uint32_t *)x,
                              (uint32_t *)y, u, n);
        case 8:
            return GPU_LAUNCH(g, (copy_along_kernel<uint32_t, 2>), blocks, GPU_THREADS, 0, (const uint32_t *)x,
                              (uint32_t *)y, u, n);
        case 4:
            return GPU_LAUNCH(g, (copy_along_kernel<uint32_t, 1>), blocks, GPU_THREADS, 0, (const uint32_t *)x,
                              (uint32_t *)y, u, n);
        case 2:
            return GPU_LAUNCH(g, (copy_along_kernel<uint16_t, 1>), blocks, GPU_THREADS, 0, (const uint16_t *)x,
                              (uint16_t *)y, u, n);
        default:
            return GPU_LAUNCH(g, (copy_along_kernel<uint8_t, 1>), blocks, GPU_THREADS, 0, (const uint8_t *)x,
                              (uint8_t *)y, u, n);
    }
}
/* `rows` runs of `run` elements that lie x_step and y_step apart */
static vm_status copy_runs(vm_graph *g, const void *x, int64_t x_step, void *y, int64_t y_step, int64_t rows,
                           int64_t run, size_t size) {
    vm_walk w;
    w.nd = 2;
    w.ne[0] = rows, w.from[0] = x_step, w.to[0] = y_step;
    w.ne[1] = run, w.from[1] = w.to[1] = 1;
    return copy_along(g, x, y, w, size);
}

extern "C" vm_status slice_cuda(vm_graph *g, vm_node *n) {
    const vm_value *x = &g->v[n->in[0]];
    int64_t outer, inner, run;
    vm_extents(x, n->i[0], &outer, &inner);
    run = n->i[2] * inner;
    const char *from = (const char *)x->data + (size_t)(n->i[1] * inner) * vm_type_size(x->type);
    return copy_runs(g, from, x->ne[n->i[0]] * inner, vm_o(g, n, 0), run, outer, run, vm_type_size(x->type));
}
extern "C" vm_status concat_cuda(vm_graph *g, vm_node *n) {
    const vm_value *y = &g->v[n->out[0]];
    int64_t outer, inner;
    size_t at = 0, size = vm_type_size(y->type);
    vm_extents(y, n->i[0], &outer, &inner);
    for (int k = 0; k < n->n_in; k++) {
        int64_t run = vm_dim(g, n->in[k], (int)n->i[0]) * inner;
        vm_status st =
            copy_runs(g, vm_in(g, n, k), run, (char *)y->data + at, y->ne[n->i[0]] * inner, outer, run, size);
        if (st) return st;
        at += (size_t)run * size;
    }
    return VM_OK;
}

/* Elements `from` .. of each row of dx: dy in the run that begins at `before`, 0 beside it. Adding, only the run is
 * walked. */
template <int N> __global__ void slice_back_kernel(gpu_mem dy, gpu_mem dx, gpu_div walked, int64_t from, int64_t before,
                                                   int64_t run, int64_t row, int64_t n, bool add) {
    GPU_FOR(i, N, n) {
        int64_t c, o = gpu_divide(i, walked, &c);
        float v[N];
#pragma unroll
        for (int k = 0; k < N; k++) v[k] = 0.0f;
        c += from;
        if (c >= before && c < before + run) gpu_load<N>(dy, o * run + c - before, v);
        gpu_store<N>(dx, o * row + c, v, add);
    }
}
extern "C" vm_status slice_back_cuda(vm_graph *g, vm_node *n) {
    const vm_value *x = &g->v[n->out[0]];
    gpu_mem dy = gpu_in(g, n, 0), dx = gpu_out(g, n, 0);
    bool add = vm_adds(g, n, 0);
    int64_t outer, inner;
    vm_extents(x, n->i[0], &outer, &inner);
    int64_t run = n->i[2] * inner, before = n->i[1] * inner, row = x->ne[n->i[0]] * inner, walked = add ? run : row;
    bool wide = gpu_wide(dy, dx) && (run | before | row) % 8 == 0;
    if (outer * walked == 0) return VM_OK;
    return GPU_EACH(g, slice_back_kernel, wide, outer * walked, dy, dx, gpu_div_by(walked), add ? before : 0, before,
                    run, row, outer * walked, add);
}

/* --- permute ------------------------------------------------------------------------------------------------------ */
enum { TILE = 32, LINES = 8, NARROW = 8 };
/* Plane p of `planes`: y[j*to + i] = x[i*from + j], i < m, j < width. A block moves one tile. */
typedef struct {
    gpu_walk planes;
    gpu_div tiles_i, tiles_j;
    int64_t m, width, from, to;
} transposition;

template <class T> __global__ void permute_kernel(const T *x, T *y, transposition s) {
    GPU_SHARED(T, tile, [TILE][TILE + 1]);
    int64_t ti, tj, from, to, plane = gpu_divide(gpu_divide(blockIdx.x, s.tiles_i, &ti), s.tiles_j, &tj);
    walk_to(s.planes, plane, &from, &to);
    int64_t i0 = ti * TILE, j0 = tj * TILE;
#pragma unroll
    for (int r = threadIdx.y; r < TILE; r += LINES)
        if (i0 + r < s.m && j0 + threadIdx.x < s.width)
            tile[r][threadIdx.x] = x[from + (i0 + r) * s.from + j0 + threadIdx.x];
    __syncthreads();
#pragma unroll
    for (int r = threadIdx.y; r < TILE; r += LINES)
        if (j0 + r < s.width && i0 + threadIdx.x < s.m)
            y[to + (j0 + r) * s.to + i0 + threadIdx.x] = tile[threadIdx.x][r];
}

extern "C" vm_status permute_cuda(vm_graph *g, vm_node *n) {
    const vm_value *x = &g->v[n->in[0]];
    size_t size = vm_type_size(x->type);
    int64_t count = vm_count(g, n->in[0]);
    void *y = vm_o(g, n, 0);
    if (!count) return VM_OK;
    vm_walk w = vm_walk_of(x, n->i);
    int last = w.nd - 1, k = last;
    while (w.from[k] != 1) k--; /* the axis of y that is x's last */
    /* with one side of a plane that narrow a tile would be nearly empty, and its lines are in the cache until all is read */
    if (k == last || w.ne[last] <= NARROW || w.ne[k] <= NARROW) return copy_along(g, x->data, y, w, size);
    transposition s;
    s.m = w.ne[last], s.from = w.from[last], s.width = w.ne[k], s.to = w.to[k];
    s.tiles_i = gpu_div_by(gpu_blocks(s.m, TILE)), s.tiles_j = gpu_div_by(gpu_blocks(s.width, TILE));
    s.planes.nd = 0;
    for (int a = 0; a < VM_AXES; a++) {
        int at = s.planes.nd;
        if (a < last && a != k)
            s.planes.ne[at] = gpu_div_by(w.ne[a]), s.planes.from[at] = w.from[a], s.planes.to[at] = w.to[a],
            s.planes.nd++;
    }
    for (int a = s.planes.nd; a < VM_AXES; a++) s.planes.ne[a] = gpu_div_by(1), s.planes.from[a] = s.planes.to[a] = 0;
    unsigned blocks = (unsigned)(count / s.m / s.width * s.tiles_i.d * s.tiles_j.d);
    dim3 block(TILE, LINES);
    if (size == 4)
        return GPU_LAUNCH(g, permute_kernel<uint32_t>, blocks, block, 0, (const uint32_t *)x->data, (uint32_t *)y, s);
    if (size == 2)
        return GPU_LAUNCH(g, permute_kernel<uint16_t>, blocks, block, 0, (const uint16_t *)x->data, (uint16_t *)y, s);
    return GPU_LAUNCH(g, permute_kernel<uint8_t>, blocks, block, 0, (const uint8_t *)x->data, (uint8_t *)y, s);
}

/* --- cast --------------------------------------------------------------------------------------------------------- */
template <int N> __global__ void cast_kernel(gpu_mem x, gpu_mem y, int64_t n) {
    GPU_FOR(i, N, n) {
        float v[N];
        gpu_load_to<N>(x, i, n, v);
        gpu_store_to<N>(y, i, n, v, false);
    }
}
extern "C" vm_status cast_cuda(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    gpu_mem x = gpu_in(g, n, 0), y = gpu_out(g, n, 0);
    if (!N) return VM_OK;
    return GPU_EACH(g, cast_kernel, gpu_wide(x, y), N, x, y, N);
}
