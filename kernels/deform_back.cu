/* deform_back.cu - gradients of deformable attention (deform.c), without atomics on sums.
 *
 * Locations and weights: 8 lanes per point make the four dot products <dy, corner>.
 *
 * Values: a cell of a map gets parts from all points whose square of corners touches it: points are sorted by the cell of their upper
 * left corner (a counting sort, one per head and batch entry), then each cell sums over the four cells of points around it, in each in
 * the order of the queries. The sort splits the queries into DEFORM_RUNS runs: a warp counts its run's points in each cell (integer
 * atomics: any order counts alike), a prefix sum over (cell, run) gives places, the same warp puts its points there 32 at a time, those of
 * one cell in the order of their lanes. So the order in a cell is that of the queries, and the result the same at every run. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_deform.cuh"

enum { LANES_PER_POINT = 8, SCAN_THREADS = 1024 };

/* --- locations and weights ---------------------------------------------------------------------------------------------- */
template <int V>
__global__ void deform_point_kernel(gpu_mem dy, gpu_mem value, const float *loc, const float *weight, float *dloc, float *dweight, deform_call s,
                                    int64_t points, bool add_loc, bool add_weight) {
    int64_t at = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / LANES_PER_POINT, k, l_p, h, q, line = s.NH.d * s.HS.d;
    bool exists = at < points;
    int64_t row = gpu_divide(exists ? at : 0, s.LP, &k), b = gpu_divide(gpu_divide(row, s.NH, &h), s.q, &q);
    int l = (int)gpu_divide(k, s.p, &l_p), lane = threadIdx.x % LANES_PER_POINT;
    float dot[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
    deform_point d = { 0, 0, 0.0f, 0.0f };
    int64_t map = ((b * s.S + s.begin[l]) * s.NH.d + h) * s.HS.d;
    int H = s.H[l], W = s.W[l];
    if (exists && deform_locate(loc, at, H, W, &d))
        for (int64_t c = lane * V; c < s.HS.d; c += LANES_PER_POINT * V) {
            float u[V], v[V];
            gpu_load<V>(dy, row * s.HS.d + c, u);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int y = d.y0 + j / 2, x = d.x0 + j % 2;
                if (y < 0 || x < 0 || y >= H || x >= W) continue;
                gpu_load<V>(value, map + ((int64_t)y * W + x) * line + c, v);
#pragma unroll
                for (int i = 0; i < V; i++) dot[j] = fmaf(u[i], v[i], dot[j]);
            }
        }
#pragma unroll
    for (int o = LANES_PER_POINT / 2; o; o /= 2)
#pragma unroll
        for (int j = 0; j < 4; j++) dot[j] += __shfl_xor_sync(GPU_ALL, dot[j], o);
    if (!exists || lane) return;
    float a = weight[at], ex = 1.0f - d.fx, ey = 1.0f - d.fy;
    if (dloc) {
        float dx = (float)W * a * (ey * (dot[1] - dot[0]) + d.fy * (dot[3] - dot[2]));
        float dY = (float)H * a * (ex * (dot[2] - dot[0]) + d.fx * (dot[3] - dot[1]));
        dloc[2 * at] = dx + (add_loc ? dloc[2 * at] : 0.0f), dloc[2 * at + 1] = dY + (add_loc ? dloc[2 * at + 1] : 0.0f);
    }
    if (dweight) {
        float da = ey * (ex * dot[0] + d.fx * dot[1]) + d.fy * (ex * dot[2] + d.fx * dot[3]);
        dweight[at] = da + (add_weight ? dweight[at] : 0.0f);
    }
}

/* --- values: the sort --------------------------------------------------------------------------------------------------- */
/* Point i of task (b,h), in the order (q, l, p): its place in loc and weight, and its bin, -1 outside the map. */
__device__ __forceinline__ int64_t deform_at(const deform_call &s, int64_t task, int64_t i, int64_t *k) {
    int64_t h, b = gpu_divide(task, s.NH, &h), q = gpu_divide(i, s.LP, k);
    return ((b * s.Q + q) * s.NH.d + h) * s.LP.d + *k;
}
__device__ __forceinline__ int deform_bin(const deform_call &s, const float *loc, int64_t task, int64_t i) {
    int64_t k, p, at = deform_at(s, task, i, &k);
    int l = (int)gpu_divide(k, s.p, &p);
    deform_point d;
    if (!deform_locate(loc, at, s.H[l], s.W[l], &d)) return -1;
    return (int)(s.bins[l] + (int64_t)(d.y0 + 1) * (s.W[l] + 1) + d.x0 + 1);
}

/* One warp per run of a task. bin[task][run][.] = how many of its points lie there; or, placing, where the next goes. */
template <bool PLACE> __global__ void deform_sort_kernel(const float *loc, int32_t *bin, int32_t *list, deform_call s, int64_t points) {
    int64_t task = blockIdx.x / DEFORM_RUNS, run = blockIdx.x % DEFORM_RUNS;
    int64_t first = points * run / DEFORM_RUNS, end = points * (run + 1) / DEFORM_RUNS;
    int lane = threadIdx.x;
    bin += blockIdx.x * s.n_bins;
    if (!PLACE) {
        for (int64_t i = lane; i < s.n_bins; i += 32) bin[i] = 0;
        __syncwarp();
    }
    for (int64_t i0 = first; i0 < end; i0 += 32) {
        int64_t i = i0 + lane;
        int b = i < end ? deform_bin(s, loc, task, i) : -1;
        if (!PLACE) {
            if (b >= 0) atomicAdd(bin + b, 1);
            continue;
        }
        unsigned same = __match_any_sync(GPU_ALL, b);
        int before = __popc(same & ((1u << lane) - 1)), at = b >= 0 ? bin[b] : 0;
        __syncwarp();
        if (b >= 0 && before == 0) bin[b] = at + __popc(same);
        if (b >= 0) list[task * points + at + before] = (int32_t)i;
        __syncwarp();
    }
}

/* Counts to places, cell by cell and in each run by run. A block per task. */
__global__ void deform_scan_kernel(int32_t *bin, int64_t n_bins) {
    GPU_SHARED(int, warp_sum_of, [32]);
    GPU_SHARED(int, total, [1]);
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, before = 0;
    bin += blockIdx.x * DEFORM_RUNS * n_bins;
    for (int64_t i0 = 0; i0 < n_bins; i0 += SCAN_THREADS) {
        int64_t i = i0 + threadIdx.x;
        int sum = 0, up;
        for (int r = 0; r < DEFORM_RUNS && i < n_bins; r++) sum += bin[r * n_bins + i];
        up = sum;
        for (int o = 1; o < 32; o *= 2) {
            int y = __shfl_up_sync(GPU_ALL, up, o);
            if (lane >= o) up += y;
        }
        if (lane == 31) warp_sum_of[warp] = up;
        __syncthreads();
        int place = before + up - sum;
        for (int w = 0; w < warp; w++) place += warp_sum_of[w];
        if (threadIdx.x == SCAN_THREADS - 1) *total = place + sum;
        for (int r = 0; r < DEFORM_RUNS && i < n_bins; r++) {
            int count = bin[r * n_bins + i];
            bin[r * n_bins + i] = place, place += count;
        }
        __syncthreads();
        before = *total;
    }
}

/* --- values: the sum ---------------------------------------------------------------------------------------------------- */
/* After placing, bin[last run] ends each cell's part of the list, which begins where the one before ends. */
template <int V>
__global__ void deform_value_kernel(gpu_mem dy, const float *loc, const float *weight, const int32_t *bin, const int32_t *list, gpu_mem dv, deform_call s,
                                    gpu_div by_S, int64_t points, int64_t n, bool add) {
    GPU_FOR(e, V, n) {
        int64_t c, h, cell, k, b = gpu_divide(gpu_divide(gpu_divide(e, s.HS, &c), s.NH, &h), by_S, &cell), task = b * s.NH.d + h;
        const int32_t *ends = bin + (task * DEFORM_RUNS + DEFORM_RUNS - 1) * s.n_bins, *ids = list + task * points;
        int l = 0;
        while (cell >= s.begin[l + 1]) l++;
        int H = s.H[l], W = s.W[l], y = (int)((cell - s.begin[l]) / W), x = (int)(cell - s.begin[l] - (int64_t)y * W);
        float sum[V], v[V];
#pragma unroll
        for (int j = 0; j < V; j++) sum[j] = 0.0f;
        for (int j = 0; j < 4; j++) { /* upper left corners at (y-1 | y, x-1 | x) */
            int64_t i = s.bins[l] + (int64_t)(y + j / 2) * (W + 1) + x + j % 2;
            for (int32_t m = i ? ends[i - 1] : 0; m < ends[i]; m++) {
                int64_t at = deform_at(s, task, ids[m], &k);
                deform_point d;
                if (!deform_locate(loc, at, H, W, &d)) continue;
                float w = weight[at] * (j / 2 ? 1.0f - d.fy : d.fy) * (j % 2 ? 1.0f - d.fx : d.fx);
                gpu_load<V>(dy, gpu_divide(at, s.LP, &k) * s.HS.d + c, v);
#pragma unroll
                for (int t = 0; t < V; t++) sum[t] = fmaf(w, v[t], sum[t]);
            }
        }
        gpu_store<V>(dv, e, sum, add);
    }
}

static vm_status value_gradient(vm_graph *g, vm_node *n, const deform_call *s, const float *loc, const float *weight, int64_t points) {
    gpu_mem dy = gpu_in(g, n, 0), dv = gpu_out(g, n, 0);
    int64_t N = vm_count(g, n->out[0]), tasks = s->B * s->NH.d;
    int32_t *bin = (int32_t *)vm_o(g, n, 3), *list = (int32_t *)vm_o(g, n, 4);
    if (!N) return VM_OK;
    vm_status st = GPU_LAUNCH(g, deform_sort_kernel<false>, (unsigned)(tasks * DEFORM_RUNS), 32, 0, loc, bin, list, *s, points);
    if (!st) st = GPU_LAUNCH(g, deform_scan_kernel, (unsigned)tasks, SCAN_THREADS, 0, bin, s->n_bins);
    if (!st) st = GPU_LAUNCH(g, deform_sort_kernel<true>, (unsigned)(tasks * DEFORM_RUNS), 32, 0, loc, bin, list, *s, points);
    if (st) return st;
    return GPU_EACH(g, deform_value_kernel, s->HS.d % 8 == 0 && gpu_wide(dy, dv), N, dy, loc, weight, bin, list, dv, *s, gpu_div_by(s->S), points, N,
                    vm_adds(g, n, 0));
}

extern "C" vm_status deform_attention_back_cuda(vm_graph *g, vm_node *n) {
    deform_call s = deform_call_of(g, n, 1);
    gpu_mem dy = gpu_in(g, n, 0), v = gpu_in(g, n, 1);
    const float *loc = (const float *)vm_in(g, n, 2), *weight = (const float *)vm_in(g, n, 3);
    int64_t want = n->i[DEFORM_OUT], points = vm_count(g, n->in[3]);
    float *dloc = want & 2 ? (float *)vm_o(g, n, 1) : NULL, *dweight = want & 4 ? (float *)vm_o(g, n, 2) : NULL;
    if (want & 1) {
        vm_status st = value_gradient(g, n, &s, loc, weight, s.Q * s.LP.d);
        if (st) return st;
    }
    if (!points || !(want & 6)) return VM_OK;
    unsigned blocks = gpu_blocks(points * LANES_PER_POINT, GPU_THREADS);
    return s.HS.d % 4 == 0 && gpu_wide(dy, v) ? GPU_LAUNCH(g, deform_point_kernel<4>, blocks, GPU_THREADS, 0, dy, v, loc, weight, dloc, dweight, s, points,
                                                           vm_adds(g, n, 1), vm_adds(g, n, 2))
                                              : GPU_LAUNCH(g, deform_point_kernel<1>, blocks, GPU_THREADS, 0, dy, v, loc, weight, dloc, dweight, s, points,
                                                           vm_adds(g, n, 1), vm_adds(g, n, 2));
}
