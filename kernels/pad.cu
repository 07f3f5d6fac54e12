/* pad.cu - see pad.c. A warp has a segment of a row of the box (pad.h): where the row lies is computed once for it. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"
extern "C" {
#include "kernels/pad.h"
}

enum { SEGMENT = 1024 }; /* elements of a warp */

/* outwards: rows of the padded tensor are written from those inside; else the other way round. width: of the rows
 * written. */
template <int N> __global__ void pad_kernel(gpu_mem x, gpu_mem y, const vm_pad_box *box, int64_t items, int64_t width,
                                            bool outwards, bool add) {
    int64_t last = box->nd - 1, run = box->n[last], all = box->all[last], before = box->before[last];
    int64_t segments = (width + SEGMENT - 1) / SEGMENT;
    int lane = threadIdx.x % 32;
    for (int64_t i = (int64_t)blockIdx.x * (GPU_THREADS / 32) + threadIdx.x / 32; i < items;
         i += (int64_t)gridDim.x * (GPU_THREADS / 32)) {
        int64_t row = i / segments, j = i % segments * SEGMENT, end = j + SEGMENT < width ? j + SEGMENT : width;
        int64_t from = outwards ? vm_pad_in(box, row) : vm_pad_out(box, row);
        for (j += lane * N; j < end; j += 32 * N) {
            int64_t at = outwards ? j - before : j + before;
            bool there = !outwards || (from >= 0 && at >= 0 && at < run);
            float v[N];
#pragma unroll
            for (int k = 0; k < N; k++) v[k] = 0.0f;
            if (there) gpu_load<N>(x, from * (outwards ? run : all) + at, v);
            else if (add) continue;
            gpu_store<N>(y, row * width + j, v, add);
        }
    }
}

static vm_status move(vm_graph *g, vm_node *n, bool outwards) {
    vm_pad_box b = vm_pad_box_of(&g->v[outwards ? n->in[0] : n->out[0]], n->i);
    gpu_mem x = gpu_in(g, n, 0), y = gpu_out(g, n, 0);
    int64_t run = b.n[b.nd - 1], all = b.all[b.nd - 1], width = outwards ? all : run, rows = vm_pad_rows(&b, outwards);
    if (!vm_count(g, n->out[0])) return VM_OK;
    const vm_pad_box *box = (const vm_pad_box *)gpu_table(g, n, &b, sizeof b);
    if (!box) return g->err.status;
    bool wide = run % 8 == 0 && all % 8 == 0 && b.before[b.nd - 1] % 8 == 0 && gpu_wide(x, y), add = vm_adds(g, n, 0);
    int64_t items = rows * ((width + SEGMENT - 1) / SEGMENT);
    unsigned grid = gpu_grid(g, items, GPU_THREADS / 32);
    return wide ? GPU_LAUNCH(g, (pad_kernel<8>), grid, GPU_THREADS, 0, x, y, box, items, width, outwards, add)
                : GPU_LAUNCH(g, (pad_kernel<1>), grid, GPU_THREADS, 0, x, y, box, items, width, outwards, add);
}
extern "C" vm_status pad_cuda(vm_graph *g, vm_node *n) { return move(g, n, true); }
extern "C" vm_status crop_cuda(vm_graph *g, vm_node *n) { return move(g, n, false); }
