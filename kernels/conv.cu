/* conv.cu - the convolutions of conv.c as products by the tiles of gpu_tile.cuh, without a matrix of patches in memory:
 *
 *   y    (pixels of y, N)   = patches of x (gathered, K = tap, channel) by weights (N, taps, C)
 *   dx   (pixels of x, C)   = patches of dy (K = tap, N) by weights (C, taps, N)
 *   dw   (N, taps C)        = dy^T (K = pixels of y) by patches of x (gathered)
 *
 * once per group. With strides, a pixel of x meets only the taps u with (p + pad - u dilation) % stride = 0: dx is made in
 * stride x stride phases, the pixels with p % stride alike, each a dense convolution with every stride-th tap, so no product with
 * a zero between pixels of dy is made.
 *
 * Gathering is arithmetic on the address of a chunk: a thread has one column of chunks (one tap and channel per stage) of up to
 * four rows, whose places in the picture it knows from the start; what lies in the padding is not read, cp.async fills in zeros.
 * Needs the channels of a group to be a multiple of a chunk (8, f32: 4); else elements are read one by one. Weights are in
 * channel-last order: constant ones are brought there once, others into a workspace at each run. dw returns in the published
 * order. FLOPs and bytes as in conv.c: x is read once per tap, from L2 and L1 except the first time. */
#include "kernels/gpu_tile.cuh"
extern "C" {
#include "kernels/gpu_conv.h"
}

/* What the two directions share: `to` is the picture that is made, `from` the one that is gathered. */
struct conv_args {
    const void *x, *w;
    int B, H, W, to_h, to_w;    /* from, to */
    int pitch, channels, outer; /* channels of `from`: of a pixel, of a group; of `to`: of a group */
    int kernel[2], stride[2], dilation[2], pad[2];
    int period[2];              /* back: taps of a phase are this far apart */
    bool back, whole_x, whole_w;
};

/* One axis of a phase: place i of `to` (of `count`) meets tap tap0 + u tap_step at place base + i stride + u step of `from`. */
struct conv_axis { int count, base, stride, step, taps, tap0, tap_step, to_stride; };
__device__ static inline conv_axis conv_axis_of(const conv_args &a, int d, int phase) {
    int to = d ? a.to_w : a.to_h, s = a.stride[d];
    conv_axis x = { to, -a.pad[d], s, a.dilation[d], a.kernel[d], 0, 1, 1 };
    if (!a.back) return x;
    int rest = (phase + a.pad[d]) % s, u = 0;
    while (u < a.period[d] && (int)((int64_t)u * a.dilation[d] % s) != rest) u++;
    x.count = phase < to ? (to - phase + s - 1) / s : 0;
    x.taps = u < a.period[d] && u < a.kernel[d] ? (a.kernel[d] - 1 - u) / a.period[d] + 1 : 0;
    x.base = (phase + a.pad[d] - u * a.dilation[d]) / s, x.stride = 1; /* exact where there are taps */
    x.step = -(int)((int64_t)a.period[d] * a.dilation[d] / s);
    x.tap0 = u, x.tap_step = a.period[d], x.to_stride = s;
    return x;
}

/* k = (tap u, tap v, channel) */
struct conv_k { fast_div channels, taps_w; };
__device__ __forceinline__ void conv_split(const conv_k &d, int k, int *u, int *v, int *c) {
    int tap = div_by(k, d.channels);
    *c = k - tap * (int)d.channels.d, *u = div_by(tap, d.taps_w), *v = tap - *u * (int)d.taps_w.d;
}

/* The pixel (y,x) of the picture that begins at `at`; outside of it any number. */
__device__ __forceinline__ int conv_place(int at, int y, int W, int x) { return (int)((unsigned)at + (unsigned)y * (unsigned)W + (unsigned)x); }

/* --- patches, flat: rows are pixels of `to` ----------------------------------------------------------------------------- */
struct conv_patches {
    const void *p;
    int H, W, pitch, rows;
    int base[2], stride[2], step[2];
    fast_div picture, row; /* of `to` */
    conv_k k;
    bool whole;
};
template <class T, int TILE, int SIDE> __device__ __forceinline__ void tile_aim(const conv_patches &s, tile_lines &l, int o0) {
    using size = tile_size<T, TILE>;
    constexpr int CPR = size::BK / size::E, STRIDE = size::THREADS / CPR;
#pragma unroll
    for (int i = 0; i < SIDE / STRIDE; i++) {
        int m = o0 + threadIdx.x / CPR + i * STRIDE, b = div_by(m, s.picture), q = m - b * (int)s.picture.d, r = div_by(q, s.row);
        l.at[i] = b * s.H * s.W;
        l.y[i] = m < s.rows ? s.base[0] + r * s.stride[0] : -(1 << 30); /* in no picture */
        l.x[i] = s.base[1] + (q - r * (int)s.row.d) * s.stride[1];
    }
}
template <class T, int TILE, int SIDE>
__device__ __forceinline__ void tile_fetch(const conv_patches &s, const tile_lines &l, unsigned char *to, int o0, int k0, int k1) {
    using size = tile_size<T, TILE>;
    constexpr int CPR = size::BK / size::E, STRIDE = size::THREADS / CPR, LINES = SIDE / STRIDE, E = size::E;
    int chunk = threadIdx.x % CPR, line = threadIdx.x / CPR, k = k0 + chunk * E, u, v, c;
    const T *p = (const T *)s.p;
    if constexpr (TILE != GPU_BIG)
        if (!s.whole) {
            vec<T, E> z[LINES];
#pragma unroll
            for (int e = 0; e < E; e++) {
                conv_split(s.k, k + e, &u, &v, &c);
#pragma unroll
                for (int i = 0; i < LINES; i++) {
                    int y = l.y[i] + u * s.step[0], x = l.x[i] + v * s.step[1];
                    bool in = k + e < k1 && (unsigned)y < (unsigned)s.H && (unsigned)x < (unsigned)s.W;
                    z[i].v[e] = in ? p[(int64_t)(l.at[i] + y * s.W + x) * s.pitch + c] : from_f32<T>(0);
                }
            }
#pragma unroll
            for (int i = 0; i < LINES; i++) st_vec<E>((T *)(to + tile_at<CPR>(line + i * STRIDE, chunk)), z[i]);
            return;
        }
    conv_split(s.k, k, &u, &v, &c);
#pragma unroll
    for (int i = 0; i < LINES; i++) {
        int y = l.y[i] + u * s.step[0], x = l.x[i] + v * s.step[1];
        bool in = k < k1 && (unsigned)y < (unsigned)s.H && (unsigned)x < (unsigned)s.W;
        cp_async16(to + tile_at<CPR>(line + i * STRIDE, chunk), p + (int64_t)conv_place(l.at[i], y, s.W, x) * s.pitch + c, in ? 16 : 0);
    }
}

/* --- weights, flat: rows are channels of `to`; some of the taps --------------------------------------------------------- */
struct conv_weights {
    const void *p;
    int outer, row; /* rows, elements of a row */
    int kernel_w, tap0[2], tap_step[2];
    conv_k k;
    bool whole;
};
__device__ __forceinline__ int conv_weight_at(const conv_weights &s, int k) {
    int u, v, c;
    conv_split(s.k, k, &u, &v, &c);
    return ((s.tap0[0] + u * s.tap_step[0]) * s.kernel_w + s.tap0[1] + v * s.tap_step[1]) * (int)s.k.channels.d + c;
}
template <class T, int TILE, int SIDE> __device__ __forceinline__ void tile_aim(const conv_weights &s, tile_lines &l, int o0) {}
template <class T, int TILE, int SIDE>
__device__ __forceinline__ void tile_fetch(const conv_weights &s, const tile_lines &l, unsigned char *to, int o0, int k0, int k1) {
    using size = tile_size<T, TILE>;
    constexpr int CPR = size::BK / size::E, STRIDE = size::THREADS / CPR, LINES = SIDE / STRIDE, E = size::E;
    int chunk = threadIdx.x % CPR, line = threadIdx.x / CPR, k = k0 + chunk * E;
    const T *p = (const T *)s.p + (int64_t)(o0 + line) * s.row;
    if constexpr (TILE != GPU_BIG)
        if (!s.whole) {
            vec<T, E> z[LINES];
#pragma unroll
            for (int e = 0; e < E; e++) {
                int at = conv_weight_at(s, k + e);
#pragma unroll
                for (int i = 0; i < LINES; i++)
                    z[i].v[e] = k + e < k1 && o0 + line + i * STRIDE < s.outer ? p[(int64_t)i * STRIDE * s.row + at] : from_f32<T>(0);
            }
#pragma unroll
            for (int i = 0; i < LINES; i++) st_vec<E>((T *)(to + tile_at<CPR>(line + i * STRIDE, chunk)), z[i]);
            return;
        }
    const T *from = p + conv_weight_at(s, k);
#pragma unroll
    for (int i = 0; i < LINES; i++)
        cp_async16(to + tile_at<CPR>(line + i * STRIDE, chunk), from + (int64_t)i * STRIDE * s.row,
                   k < k1 && o0 + line + i * STRIDE < s.outer ? 16 : 0);
}

template <class T, int TILE>
__global__ void __launch_bounds__((tile_size<T, TILE>::THREADS), (tile_size<T, TILE>::BLOCKS))
conv(conv_args a, tile_out o, tile_grid g) {
    GPU_SHARED_DYN(unsigned char, smem);
    tile_block t = tile_of<T, TILE>(g);
    int phase = 0;
    if (a.back) {
        int phases = a.stride[0] * a.stride[1];
        phase = t.z % phases, t.z /= phases; /* the group remains */
    }
    conv_axis h = conv_axis_of(a, 0, phase / a.stride[1]), w = conv_axis_of(a, 1, phase % a.stride[1]);
    g.M = a.B * h.count * w.count, g.K = h.taps * w.taps * a.channels;
    if (t.m0 >= g.M) return; /* of the whole block: a phase with fewer pixels */
    conv_k k = { fast_div_by((uint32_t)(a.channels ? a.channels : 1)), fast_div_by((uint32_t)(w.taps ? w.taps : 1)) };
    fast_div picture = fast_div_by((uint32_t)(h.count * w.count)), row = fast_div_by((uint32_t)w.count);
    conv_patches x = { (const T *)a.x + (int64_t)t.z * a.channels, a.H, a.W, a.pitch, g.M, { h.base, w.base }, { h.stride, w.stride },
                       { h.step, w.step }, picture, row, k, a.whole_x };
    int size = a.kernel[0] * a.kernel[1] * a.channels;
    conv_weights f = { (const T *)a.w + (int64_t)t.z * a.outer * size, a.outer, size, a.kernel[1], { h.tap0, w.tap0 },
                       { h.tap_step, w.tap_step }, k, a.whole_w };
    tile_pixels px = { picture, row, a.to_h, a.to_w, { phase / a.stride[1], phase % a.stride[1] }, { h.to_stride, w.to_stride } };
    tile_product<T, TILE, false, false>(smem, x, f, o, px, g, t);
}

/* --- patches, steep: K are pixels of y, columns are taps and channels of x ------------------------------------------------ */
struct conv_columns {
    const void *p;
    int H, W, pitch, outer;
    int stride[2], dilation[2], pad[2];
    fast_div picture, row; /* of y */
    conv_k k;
    bool whole;
};
/* Of a column: its channel, and where it meets the picture for pixel (0,0) of y; beyond the last in no picture. */
__device__ __forceinline__ int conv_column(const conv_columns &s, int o, int *y, int *x) {
    int u, v, c;
    conv_split(s.k, o, &u, &v, &c);
    *y = o < s.outer ? u * s.dilation[0] - s.pad[0] : -(1 << 30), *x = v * s.dilation[1] - s.pad[1];
    return c;
}
template <class T, int TILE, int SIDE> __device__ __forceinline__ void tile_aim(const conv_columns &s, tile_lines &l, int o0) {
    constexpr int E = tile_size<T, TILE>::E, CPR = SIDE / E;
    l.at[0] = conv_column(s, o0 + (int)(threadIdx.x % CPR) * E, &l.y[0], &l.x[0]);
}
template <class T, int TILE, int SIDE>
__device__ __forceinline__ void tile_fetch(const conv_columns &s, const tile_lines &l, unsigned char *to, int o0, int k0, int k1) {
    using size = tile_size<T, TILE>;
    constexpr int E = size::E, CPR = SIDE / E, STRIDE = size::THREADS / CPR, LINES = size::BK / STRIDE;
    int chunk = threadIdx.x % CPR, line = threadIdx.x / CPR, at[LINES], y[LINES], x[LINES];
    const T *p = (const T *)s.p;
#pragma unroll
    for (int i = 0; i < LINES; i++) {
        int k = k0 + line + i * STRIDE, b = div_by(k, s.picture), q = k - b * (int)s.picture.d, r = div_by(q, s.row);
        at[i] = k < k1 ? b * s.H * s.W : -1, y[i] = r * s.stride[0], x[i] = (q - r * (int)s.row.d) * s.stride[1];
    }
    if constexpr (TILE != GPU_BIG)
        if (!s.whole) {
            vec<T, E> z[LINES];
#pragma unroll
            for (int e = 0; e < E; e++) {
                int dy, dx, c = conv_column(s, o0 + chunk * E + e, &dy, &dx);
#pragma unroll
                for (int i = 0; i < LINES; i++) {
                    int r = y[i] + dy, q = x[i] + dx;
                    bool in = at[i] >= 0 && (unsigned)r < (unsigned)s.H && (unsigned)q < (unsigned)s.W;
                    z[i].v[e] = in ? p[(int64_t)(at[i] + r * s.W + q) * s.pitch + c] : from_f32<T>(0);
                }
            }
#pragma unroll
            for (int i = 0; i < LINES; i++) st_vec<E>((T *)(to + tile_at<CPR>(line + i * STRIDE, chunk)), z[i]);
            return;
        }
#pragma unroll
    for (int i = 0; i < LINES; i++) {
        int r = y[i] + l.y[0], q = x[i] + l.x[0];
        bool in = at[i] >= 0 && (unsigned)r < (unsigned)s.H && (unsigned)q < (unsigned)s.W;
        cp_async16(to + tile_at<CPR>(line + i * STRIDE, chunk), p + (int64_t)conv_place(at[i], r, s.W, q) * s.pitch + l.at[0], in ? 16 : 0);
    }
}

template <class T, int TILE>
__global__ void __launch_bounds__((tile_size<T, TILE>::THREADS), (tile_size<T, TILE>::BLOCKS))
conv_dw(tile_matrix<true> dy, conv_columns x, tile_out o, tile_grid g) {
    GPU_SHARED_DYN(unsigned char, smem);
    tile_block t = tile_of<T, TILE>(g);
    dy.p = (const T *)dy.p + (int64_t)t.z * dy.step;
    x.p = (const T *)x.p + (int64_t)t.z * x.k.channels.d;
    tile_product<T, TILE, true, true>(smem, dy, x, o, tile_pixels{}, g, t);
}

/* --- weights in the order of the kernels ----------------------------------------------------------------------------------- */
/* from (N, Cg, taps) to (N, taps, Cg); back: to (groups, Cg, taps, Ng) */
__global__ void relay_weights(gpu_mem from, gpu_mem to, int64_t n, gpu_div taps, gpu_div Cg, gpu_div Ng, bool back) {
    GPU_FOR(i, 1, n) {
        int64_t tap, a, b, q = gpu_divide(gpu_divide(i, back ? Ng : Cg, &a), taps, &tap), c = a, filter = q;
        if (back) filter = gpu_divide(q, Cg, &c) * Ng.d + a;
        b = (filter * Cg.d + c) * taps.d + tap;
        gpu_put(to, i, gpu_get(from, b));
    }
}
enum { KEY_BACK, KEY_TAPS, KEY_CG, KEY_NG };
static vm_status relay(vm_graph *g, const void *from, vm_type ft, void *to, vm_type tt, int64_t n, const int64_t key[4]) {
    gpu_mem x = { (void *)(uintptr_t)from, (int)ft }, y = { to, (int)tt };
    return GPU_LAUNCH(g, relay_weights, gpu_grid(g, n, GPU_THREADS), GPU_THREADS, 0, x, y, n, gpu_div_by(key[KEY_TAPS]), gpu_div_by(key[KEY_CG]),
                      gpu_div_by(key[KEY_NG]), key[KEY_BACK] != 0);
}
static vm_status make_relay(vm_graph *g, const vm_param *p, const vm_gpu_pack *k) {
    return relay(g, p->data, p->type, k->data, k->type, vm_param_count(p), k->key);
}
static const void *weights(vm_graph *g, vm_node *n, vm_val w, vm_type t, vm_gpu_pack want) {
    const vm_value *x = &g->v[w];
    want.type = t, want.make = make_relay;
    if (vm_gpu_packs(g, w)) return vm_gpu_packed(g, x->param, want);
    return relay(g, x->data, x->type, vm_o(g, n, 1), t, vm_count(g, w), want.key) ? NULL : vm_o(g, n, 1);
}

/* --- launchers -------------------------------------------------------------------------------------------------------------- */
template <class T, int TILE> static vm_status launch(vm_graph *g, const conv_args &a, const tile_out &o, const tile_grid &gr, unsigned blocks) {
    using size = tile_size<T, TILE>;
    if (GPU_LAUNCH(g, (conv<T, TILE>), blocks, size::THREADS, size::SMEM, a, o, gr)) return g->err.status;
    return o.partial ? tile_sum_parts(g, o, gr) : VM_OK;
}
template <class T> static vm_status run(vm_graph *g, vm_node *n, conv_args a, tile_out o, const vm_conv_plan &s, vm_type t) {
    tile_grid gr;
    unsigned blocks = 0;
    constexpr int E = 16 / (int)sizeof(T);
    vm_gpu_plan plan = vm_gpu_plan_of(n);
    a.whole_x = a.channels % E == 0 && a.pitch % E == 0 && (uintptr_t)a.x % 16 == 0;
    a.whole_w = a.channels % E == 0 && (uintptr_t)a.w % 16 == 0;
    if (!a.whole_x || !a.whole_w) plan.tile = GPU_SMALL;
    if (tile_grid_of(g, plan, t, s.batch, s.M, s.N, s.K, &gr, &blocks)) return g->err.status;
    return plan.tile == GPU_BIG ? launch<T, GPU_BIG>(g, a, o, gr, blocks) : launch<T, GPU_SMALL>(g, a, o, gr, blocks);
}

/* Places in pictures are 32-bit numbers. */
static bool too_large(vm_graph *g, const vm_node *n, const vm_value *x) {
    if ((double)x->ne[0] * (double)x->ne[1] * (double)x->ne[2] < (double)(1 << 30) && x->ne[3] < 1 << 30) return false;
    vm_fail(&g->err, VM_EDEVICE, "%s: %lld pictures of %lld x %lld are too many for the device; take a smaller batch", n->op->name,
            (long long)x->ne[0], (long long)x->ne[1], (long long)x->ne[2]);
    return true;
}

/* y, or dx (back), of node n: `to` is made from `from` */
static vm_status convolve(vm_graph *g, vm_node *n, bool back) {
    vm_conv k = vm_conv_of(n);
    const vm_value *from = &g->v[n->in[0]], *to = &g->v[n->out[0]];
    vm_conv_plan s = vm_conv_plan_of(g, n, back ? CONVOLVE_DX : CONVOLVE_Y);
    if (!vm_count(g, n->out[0])) return VM_OK;
    if (too_large(g, n, from) || too_large(g, n, to)) return g->err.status;
    if (s.direct) return vm_conv_direct(g, n, back ? CONVOLVE_DX : CONVOLVE_Y);
    conv_args a = {};
    a.x = from->data, a.B = (int)from->ne[0], a.H = (int)from->ne[1], a.W = (int)from->ne[2], a.pitch = (int)from->ne[3];
    a.to_h = (int)to->ne[1], a.to_w = (int)to->ne[2], a.channels = a.pitch / k.groups, a.outer = (int)to->ne[3] / k.groups, a.back = back;
    a.kernel[0] = k.KH, a.kernel[1] = k.KW;
    for (int d = 0; d < 2; d++) {
        a.stride[d] = k.stride[d], a.dilation[d] = k.dilation[d], a.pad[d] = k.pad[d];
        a.period[d] = vm_conv_period(&k, d);
    }
    vm_gpu_pack want = {};
    want.key[KEY_BACK] = back, want.key[KEY_TAPS] = (int64_t)k.KH * k.KW;
    want.key[KEY_CG] = back ? a.outer : a.channels, want.key[KEY_NG] = back ? a.channels : a.outer;
    if (vm_count(g, n->in[1]) && !(a.w = weights(g, n, n->in[1], from->type, want))) return g->err.status;
    tile_out o = {};
    o.c = to->data, o.ld = to->ne[3], o.step = a.outer, o.partial = vm_gpu_partial(g, n), o.alpha = 1, o.add = vm_adds(g, n, 0);
    o.type = (int)to->type, o.whole = a.outer % 4 == 0 && gpu_aligned(o.c, o.ld, to->type == VM_F32 ? 4 : 2, 4);
    o.map = back && k.stride[0] * k.stride[1] > 1 ? OUT_PIXELS : OUT_MATRIX;
    if (!back) o.bias = (const float *)vm_in(g, n, 2), o.bias_step = a.outer, o.act = (int)n->i[VM_CONV_ACT];
    if (from->type == VM_F32) return run<float>(g, n, a, o, s, VM_F32);
    return from->type == VM_BF16 ? run<bf16>(g, n, a, o, s, VM_BF16) : run<f16>(g, n, a, o, s, VM_F16);
}
extern "C" vm_status conv2d_cuda(vm_graph *g, vm_node *n) { return convolve(g, n, false); }
extern "C" vm_status conv2d_dx_cuda(vm_graph *g, vm_node *n) { return convolve(g, n, true); }

template <class T, int TILE>
static vm_status launch_dw(vm_graph *g, const tile_matrix<true> &dy, const conv_columns &x, const tile_out &o, const tile_grid &gr, unsigned blocks) {
    using size = tile_size<T, TILE>;
    if (GPU_LAUNCH(g, (conv_dw<T, TILE>), blocks, size::THREADS, size::SMEM, dy, x, o, gr)) return g->err.status;
    return o.partial ? tile_sum_parts(g, o, gr) : VM_OK;
}
template <class T> static vm_status run_dw(vm_graph *g, vm_node *n, const vm_conv_plan &s) {
    vm_conv k = vm_conv_of(n);
    const vm_value *dy = &g->v[n->in[0]], *x = &g->v[n->in[1]];
    vm_gpu_plan plan = vm_gpu_plan_of(n);
    tile_grid gr;
    unsigned blocks = 0;
    constexpr int E = 16 / (int)sizeof(T);
    int64_t N = dy->ne[3], Ng = N / k.groups, C = x->ne[3], Cg = C / k.groups;
    tile_matrix<true> a = { dy->data, N, Ng, (int)Ng, Ng % E == 0 && gpu_aligned(dy->data, N, sizeof(T), E) };
    conv_columns b = { x->data, (int)x->ne[1], (int)x->ne[2], (int)C, (int)s.N, { k.stride[0], k.stride[1] }, { k.dilation[0], k.dilation[1] },
                       { k.pad[0], k.pad[1] }, fast_div_by((uint32_t)(dy->ne[1] * dy->ne[2])), fast_div_by((uint32_t)dy->ne[2]),
                       { fast_div_by((uint32_t)Cg), fast_div_by((uint32_t)k.KW) }, Cg % E == 0 && gpu_aligned(x->data, C, sizeof(T), E) };
    tile_out o = {};
    o.c = vm_o(g, n, 0), o.ld = Cg * k.KH * k.KW, o.step = Ng * o.ld, o.partial = vm_gpu_partial(g, n), o.alpha = 1, o.add = vm_adds(g, n, 0);
    o.type = VM_F32, o.map = OUT_TAPS, o.taps = k.KH * k.KW, o.channels = fast_div_by((uint32_t)Cg);
    if (!a.whole || !b.whole) plan.tile = GPU_SMALL;
    if (tile_grid_of(g, plan, x->type, s.batch, s.M, s.N, s.K, &gr, &blocks)) return g->err.status;
    return plan.tile == GPU_BIG ? launch_dw<T, GPU_BIG>(g, a, b, o, gr, blocks) : launch_dw<T, GPU_SMALL>(g, a, b, o, gr, blocks);
}
extern "C" vm_status conv2d_dw_cuda(vm_graph *g, vm_node *n) {
    vm_conv_plan s = vm_conv_plan_of(g, n, CONVOLVE_DW);
    vm_type t = g->v[n->in[1]].type;
    if (!vm_count(g, n->out[0])) return VM_OK;
    if (too_large(g, n, &g->v[n->in[0]]) || too_large(g, n, &g->v[n->in[1]])) return g->err.status;
    if (s.direct) return vm_conv_direct(g, n, CONVOLVE_DW);
    return t == VM_F32 ? run_dw<float>(g, n, s) : t == VM_BF16 ? run_dw<bf16>(g, n, s) : run_dw<f16>(g, n, s);
}
