/* deform.cu - see deform.c. A thread per head and 8 (or 1) of its columns walks over all points of a query: 4 gathers of 16 or 32 bytes
 * each; locations and weights are the same for the threads of a head and come from L1. Bound by gathers from L2. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_deform.cuh"

template <int V> __global__ void deform_kernel(gpu_mem value, const float *loc, const float *weight, gpu_mem out, deform_call s, int64_t n) {
    GPU_FOR(e, V, n) {
        int64_t c, h, q, row = gpu_divide(e, s.HS, &c), b = gpu_divide(gpu_divide(row, s.NH, &h), s.q, &q), line = s.NH.d * s.HS.d;
        float sum[V], v[V];
#pragma unroll
        for (int k = 0; k < V; k++) sum[k] = 0.0f;
        int64_t at = row * s.LP.d;
        for (int l = 0; l < s.L; l++) {
            int H = s.H[l], W = s.W[l];
            int64_t map = ((b * s.S + s.begin[l]) * s.NH.d + h) * s.HS.d + c;
            for (int p = 0; p < s.P; p++, at++) {
                deform_point d;
                if (!deform_locate(loc, at, H, W, &d)) continue;
                float a = weight[at];
#pragma unroll
                for (int k = 0; k < 4; k++) {
                    int y = d.y0 + k / 2, x = d.x0 + k % 2;
                    if (y < 0 || x < 0 || y >= H || x >= W) continue;
                    float w = a * (k / 2 ? d.fy : 1.0f - d.fy) * (k % 2 ? d.fx : 1.0f - d.fx);
                    gpu_load<V>(value, map + ((int64_t)y * W + x) * line, v);
#pragma unroll
                    for (int i = 0; i < V; i++) sum[i] = fmaf(w, v[i], sum[i]);
                }
            }
        }
        gpu_store<V>(out, e, sum, false);
    }
}

extern "C" vm_status deform_attention_cuda(vm_graph *g, vm_node *n) {
    deform_call s = deform_call_of(g, n, 0);
    gpu_mem v = gpu_in(g, n, 0), y = gpu_out(g, n, 0);
    int64_t N = vm_count(g, n->out[0]);
    if (!N) return VM_OK;
    return GPU_EACH(g, deform_kernel, s.HS.d % 8 == 0 && gpu_wide(v, y), N, v, (const float *)vm_in(g, n, 1), (const float *)vm_in(g, n, 2), y, s, N);
}
