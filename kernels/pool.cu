/* pool.cu - see pool.c. A thread has N neighbouring channels of one output (or, backward, input) pixel. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"
extern "C" {
#include "kernels/pool.h"
}

typedef struct {
    vm_pool k;
    int64_t H, W, OH, OW, n;  /* n: elements that the loop is over */
    gpu_div C, rows, columns; /* of what the loop is over */
} shape;

/* Rows (axis 0) or columns (1) of window i of the picture: first..end, and the tap that first is. */
static __device__ __forceinline__ void window(const shape &s, int axis, int64_t i, int64_t *first, int64_t *end,
                                              int64_t *tap) {
    int64_t K = axis ? s.k.KW : s.k.KH, n = axis ? s.W : s.H, at = i * s.k.stride[axis] - s.k.pad[axis];
    *first = at > 0 ? at : 0, *end = at + K < n ? at + K : n, *tap = *first - at;
}
/* Windows first..end that hold row (axis 0) or column (1) r. */
static __device__ __forceinline__ void holders(const shape &s, int axis, int64_t r, int64_t *first, int64_t *end) {
    int K = axis ? s.k.KW : s.k.KH, st = s.k.stride[axis], at = (int)r + s.k.pad[axis];
    int64_t n = axis ? s.OW : s.OH;
    *first = at < K ? 0 : (at - K) / st + 1, *end = at / st + 1 < n ? at / st + 1 : n;
}
/* Pixel (b, i, j) and channel c of element e */
static __device__ __forceinline__ void place(const shape &s, int64_t e, int64_t *b, int64_t *i, int64_t *j,
                                             int64_t *c) {
    *b = gpu_divide(gpu_divide(gpu_divide(e, s.C, c), s.columns, j), s.rows, i);
}

template <int N> __global__ void avgpool_kernel(gpu_mem x, gpu_mem y, shape s, float scale) {
    GPU_FOR(e, N, s.n) {
        int64_t b, i, j, c, r0, r1, q0, q1, tap;
        float v[N], sum[N];
        place(s, e, &b, &i, &j, &c);
        window(s, 0, i, &r0, &r1, &tap), window(s, 1, j, &q0, &q1, &tap);
#pragma unroll
        for (int k = 0; k < N; k++) sum[k] = 0.0f;
        for (int64_t r = r0; r < r1; r++)
            for (int64_t q = q0; q < q1; q++) {
                gpu_load<N>(x, ((b * s.H + r) * s.W + q) * s.C.d + c, v);
#pragma unroll
                for (int k = 0; k < N; k++) sum[k] += v[k];
            }
#pragma unroll
        for (int k = 0; k < N; k++) sum[k] *= scale;
        gpu_store<N>(y, e, sum, false);
    }
}
template <int N> __global__ void maxpool_kernel(gpu_mem x, gpu_mem y, uint8_t *winners, shape s) {
    GPU_FOR(e, N, s.n) {
        int64_t b, i, j, c, r0, r1, q0, q1, u0, v0;
        float v[N], best[N];
        vec<uint8_t, N> win;
        place(s, e, &b, &i, &j, &c);
        window(s, 0, i, &r0, &r1, &u0), window(s, 1, j, &q0, &q1, &v0);
#pragma unroll
        for (int k = 0; k < N; k++) best[k] = 0.0f, win.v[k] = 0;
        for (int64_t r = r0; r < r1; r++)
            for (int64_t q = q0; q < q1; q++) {
                bool first = r == r0 && q == q0;
                uint8_t tap = (uint8_t)((r - r0 + u0) * s.k.KW + q - q0 + v0);
                gpu_load<N>(x, ((b * s.H + r) * s.W + q) * s.C.d + c, v);
#pragma unroll
                for (int k = 0; k < N; k++)
                    if (first || v[k] > best[k] || (v[k] != v[k] && best[k] == best[k]))
                        best[k] = v[k], win.v[k] = tap; /* NaN wins */
            }
        gpu_store<N>(y, e, best, false);
        st_vec<N>(winners + e, win);
    }
}
/* scale: the share of dy that a winner gets; winners NULL: all of the window win. */
template <int N>
__global__ void pool_back_kernel(gpu_mem dy, const uint8_t *winners, gpu_mem dx, shape s, float scale, bool add) {
    GPU_FOR(e, N, s.n) {
        int64_t b, r, q, c, i0, i1, j0, j1;
        float d[N], sum[N];
        place(s, e, &b, &r, &q, &c);
        holders(s, 0, r, &i0, &i1), holders(s, 1, q, &j0, &j1);
#pragma unroll
        for (int k = 0; k < N; k++) sum[k] = 0.0f;
        for (int64_t i = i0; i < i1; i++)
            for (int64_t j = j0; j < j1; j++) {
                int64_t at = ((b * s.OH + i) * s.OW + j) * s.C.d + c;
                int tap = (int)((r + s.k.pad[0] - i * s.k.stride[0]) * s.k.KW + q + s.k.pad[1] - j * s.k.stride[1]);
                vec<uint8_t, N> win;
                gpu_load<N>(dy, at, d);
                if (winners) win = ld_vec<N>(winners + at);
#pragma unroll
                for (int k = 0; k < N; k++) sum[k] += winners && win.v[k] != tap ? 0.0f : scale * d[k];
            }
        gpu_store<N>(dx, e, sum, add);
    }
}

static shape shape_of(const vm_graph *g, const vm_node *n, vm_val x, vm_val y, bool back) {
    const int64_t *a = g->v[x].ne, *b = g->v[y].ne, *over = back ? a : b;
    shape s = {
        vm_pool_of(n),      a[1], a[2], b[1], b[2], vm_count(g, back ? x : y), gpu_div_by(a[3]), gpu_div_by(over[1]),
        gpu_div_by(over[2])
    };
    return s;
}
extern "C" vm_status avgpool_cuda(vm_graph *g, vm_node *n) {
    shape s = shape_of(g, n, n->in[0], n->out[0], false);
    gpu_mem x = gpu_in(g, n, 0), y = gpu_out(g, n, 0);
    if (!s.n) return VM_OK;
    return GPU_EACH(g, avgpool_kernel, s.C.d % 8 == 0 && gpu_wide(x, y), s.n, x, y, s, 1.0f / (float)(s.k.KH * s.k.KW));
}
extern "C" vm_status maxpool_cuda(vm_graph *g, vm_node *n) {
    shape s = shape_of(g, n, n->in[0], n->out[0], false);
    gpu_mem x = gpu_in(g, n, 0), y = gpu_out(g, n, 0), winners = gpu_out(g, n, 1);
    if (!s.n) return VM_OK;
    return GPU_EACH(g, maxpool_kernel, s.C.d % 8 == 0 && gpu_wide3(x, y, winners), s.n, x, y, (uint8_t *)winners.p, s);
}
static vm_status back(vm_graph *g, vm_node *n, float scale, const uint8_t *winners) {
    shape s = shape_of(g, n, n->out[0], n->in[0], true);
    gpu_mem dy = gpu_in(g, n, 0), dx = gpu_out(g, n, 0);
    if (!s.n) return VM_OK;
    return GPU_EACH(g, pool_back_kernel, s.C.d % 8 == 0 && gpu_wide(dy, dx) && gpu_on16(winners), s.n, dy, winners, dx,
                    s, scale, vm_adds(g, n, 0));
}
extern "C" vm_status avgpool_back_cuda(vm_graph *g, vm_node *n) {
    vm_pool k = vm_pool_of(n);
    return back(g, n, 1.0f / (float)(k.KH * k.KW), NULL);
}
extern "C" vm_status maxpool_back_cuda(vm_graph *g, vm_node *n) {
    return back(g, n, 1.0f, (const uint8_t *)vm_in(g, n, 1));
}
