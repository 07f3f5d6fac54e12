/* conv_direct.cu - convolutions in groups of few channels (depthwise): a thread per result sums over taps and the channels of its
 * group, from weights as they are published. 2 taps Cg FLOPs per result, which reads taps Cg values that its neighbours read too:
 * bound by the bytes of x and y. dw: a block sums 32 filters of one tap over a part of the pixels. */
#include "kernels/gpu_tile.cuh"
extern "C" {
#include "kernels/gpu_conv.h"
}

struct direct_args {
    gpu_mem x, w, y; /* of x or dx, of w or dw, of y or dy */
    int H, W, C, OH, OW, N, Cg, Ng, KH, KW, stride[2], dilation[2], pad[2];
    int64_t pixels; /* of y */
    gpu_div last, across, down; /* of the loop over results: its channels, columns, rows */
    const float *bias;
    int act;
    bool add;
};
/* A weight as products of type t have it. */
__device__ __forceinline__ float direct_weight(gpu_mem w, int64_t at, int t) {
    float x = gpu_get(w, at);
    return t == VM_F32 ? x : t == VM_BF16 ? to_f32(from_f32<bf16>(x)) : to_f32(from_f32<f16>(x));
}
__device__ __forceinline__ void direct_store(gpu_mem m, int64_t at, float x, bool add) { gpu_put(m, at, x + (add ? gpu_get(m, at) : 0.0f)); }

__global__ void direct_y(direct_args a, int64_t count) {
    GPU_FOR(at, 1, count) {
        int64_t n, i, j, b = gpu_divide(gpu_divide(gpu_divide(at, a.last, &n), a.across, &j), a.down, &i);
        int c0 = (int)n / a.Ng * a.Cg;
        float sum = 0;
        for (int u = 0; u < a.KH; u++)
            for (int v = 0; v < a.KW; v++) {
                int r = (int)i * a.stride[0] - a.pad[0] + u * a.dilation[0], q = (int)j * a.stride[1] - a.pad[1] + v * a.dilation[1];
                if ((unsigned)r >= (unsigned)a.H || (unsigned)q >= (unsigned)a.W) continue;
                for (int c = 0; c < a.Cg; c++)
                    sum = fmaf(gpu_get(a.x, ((b * a.H + r) * a.W + q) * a.C + c0 + c), direct_weight(a.w, ((n * a.Cg + c) * a.KH + u) * a.KW + v, a.x.t), sum);
            }
        direct_store(a.y, at, gpu_unary(a.act, sum + (a.bias ? a.bias[n] : 0.0f)), a.add);
    }
}

__global__ void direct_dx(direct_args a, int64_t count) {
    GPU_FOR(at, 1, count) {
        int64_t c, r, q, b = gpu_divide(gpu_divide(gpu_divide(at, a.last, &c), a.across, &q), a.down, &r);
        int n0 = (int)c / a.Cg * a.Ng, cc = (int)c % a.Cg;
        float sum = 0;
        for (int u = 0; u < a.KH; u++)
            for (int v = 0; v < a.KW; v++) {
                int i = (int)r + a.pad[0] - u * a.dilation[0], j = (int)q + a.pad[1] - v * a.dilation[1];
                if (i < 0 || j < 0 || i % a.stride[0] || j % a.stride[1]) continue;
                i /= a.stride[0], j /= a.stride[1];
                if (i >= a.OH || j >= a.OW) continue;
                for (int n = n0; n < n0 + a.Ng; n++)
                    sum = fmaf(gpu_get(a.y, ((b * a.OH + i) * a.OW + j) * a.N + n), direct_weight(a.w, (((int64_t)n * a.Cg + cc) * a.KH + u) * a.KW + v, a.y.t), sum);
            }
        direct_store(a.x, at, sum, a.add);
    }
}

/* to: (parts, N * Cg * taps); blocks: filters / 32, then parts, then (channel, tap) */
enum { DW_LANES = 32, DW_WARPS = 8 };
__global__ void direct_dw(direct_args a, float *to, bool add, int parts, int64_t each) {
    GPU_SHARED(float, sums, [DW_WARPS][DW_LANES]);
    int lane = threadIdx.x % DW_LANES, warp = threadIdx.x / DW_LANES, wide = (a.N + DW_LANES - 1) / DW_LANES;
    int n = (int)(blockIdx.x % wide) * DW_LANES + lane, part = (int)(blockIdx.x / wide % parts), col = (int)(blockIdx.x / wide / parts);
    int taps = a.KH * a.KW, tap = col % taps, c = (n < a.N ? n / a.Ng : 0) * a.Cg + col / taps;
    int u = tap / a.KW * a.dilation[0] - a.pad[0], v = tap % a.KW * a.dilation[1] - a.pad[1];
    int64_t end = (part + 1) * each < a.pixels ? (part + 1) * each : a.pixels;
    float sum = 0;
    for (int64_t p = part * each + warp; p < end && n < a.N; p += DW_WARPS) {
        int64_t i, j, b = gpu_divide(gpu_divide(p, a.across, &j), a.down, &i);
        int r = (int)i * a.stride[0] + u, q = (int)j * a.stride[1] + v;
        if ((unsigned)r < (unsigned)a.H && (unsigned)q < (unsigned)a.W)
            sum = fmaf(gpu_get(a.y, p * a.N + n), gpu_get(a.x, ((b * a.H + r) * a.W + q) * a.C + c), sum);
    }
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp || n >= a.N) return;
    sum = 0;
#pragma unroll
    for (int k = 0; k < DW_WARPS; k++) sum += sums[k][lane];
    int64_t size = (int64_t)a.N * a.Cg * taps, at = part * size + (int64_t)n * a.Cg * taps + col;
    to[at] = sum + (add ? to[at] : 0.0f);
}

static vm_status run_dw(vm_graph *g, vm_node *n, const direct_args &a) {
    int parts = vm_gpu_plan_of(n).splits;
    float *dw = (float *)vm_o(g, n, 0), *partial = vm_gpu_partial(g, n);
    int64_t cols = (int64_t)a.Cg * a.KH * a.KW, blocks = gpu_blocks(a.N, DW_LANES) * cols * parts, count = a.N * cols;
    if (blocks > 0x7fffffff || count > 0x7fffffff) return vm_fail(&g->err, VM_EDEVICE, "%s: its weight is too large for the device", n->op->name);
    if (GPU_LAUNCH(g, direct_dw, (unsigned)blocks, DW_LANES * DW_WARPS, 0, a, partial ? partial : dw, a.add && !partial, parts,
                   (a.pixels + parts - 1) / parts))
        return g->err.status;
    if (!partial) return VM_OK;
    tile_out o = {};
    o.c = dw, o.ld = count, o.partial = partial, o.alpha = 1, o.add = a.add, o.type = VM_F32, o.whole = gpu_aligned(dw, count, 4, 4);
    return tile_sum_parts(g, o, tile_grid{ 1, (int)count, 0, 1, parts, 0, 0, 0 });
}

extern "C" vm_status vm_conv_direct(vm_graph *g, vm_node *n, vm_convolve_what what) {
    vm_conv k = vm_conv_of(n);
    bool y = what == CONVOLVE_Y, dx = what == CONVOLVE_DX;
    direct_args a = {};
    a.y = y ? gpu_out(g, n, 0) : gpu_in(g, n, 0), a.x = y ? gpu_in(g, n, 0) : dx ? gpu_out(g, n, 0) : gpu_in(g, n, 1);
    a.w = what == CONVOLVE_DW ? gpu_out(g, n, 0) : gpu_in(g, n, 1);
    const int64_t *px = g->v[y ? n->in[0] : dx ? n->out[0] : n->in[1]].ne, *py = g->v[y ? n->out[0] : n->in[0]].ne;
    a.H = (int)px[1], a.W = (int)px[2], a.C = (int)px[3], a.OH = (int)py[1], a.OW = (int)py[2], a.N = (int)py[3];
    a.Cg = a.C / k.groups, a.Ng = a.N / k.groups, a.KH = k.KH, a.KW = k.KW, a.pixels = py[0] * py[1] * py[2];
    for (int d = 0; d < 2; d++) a.stride[d] = k.stride[d], a.dilation[d] = k.dilation[d], a.pad[d] = k.pad[d];
    const int64_t *loop = dx ? px : py;
    a.down = gpu_div_by(loop[1]), a.across = gpu_div_by(loop[2]), a.last = gpu_div_by(loop[3]);
    a.add = vm_adds(g, n, 0);
    if (what == CONVOLVE_DW) return run_dw(g, n, a);
    int64_t count = vm_count(g, n->out[0]);
    if (dx) return GPU_LAUNCH(g, direct_dx, gpu_grid(g, count, GPU_THREADS), GPU_THREADS, 0, a, count);
    a.bias = (const float *)vm_in(g, n, 2), a.act = (int)n->i[VM_CONV_ACT];
    return GPU_LAUNCH(g, direct_y, gpu_grid(g, count, GPU_THREADS), GPU_THREADS, 0, a, count);
}
