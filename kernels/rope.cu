/* rope.cu - see rope.c. A thread turns N pairs of columns of one head, or passes N columns on: every element is read
 * and written once, the table comes from the second cache. */
#include "kernels/gpu.cuh"
#include "kernels/gpu_elem.cuh"

typedef struct {
    gpu_mem x, table, y;
    int64_t items, C, HS, half;  /* items: N pairs or N columns, over all rows */
    gpu_div per_row, per_head, table_rows;
    int64_t turning;             /* items of a row that belong to heads that turn; the others follow */
    float sign;
    bool pairs, add;
} rope_args;

template <int N> __global__ void rope_kernel(rope_args a) {
    GPU_FOR(i, 1, a.items) {
        int64_t item, unit, r, row = gpu_divide(i, a.per_row, &item);
        if (item < a.turning) {
            int64_t at = row * a.C + gpu_divide(item, a.per_head, &unit) * a.HS;
            gpu_divide(row, a.table_rows, &r);
            if (unit * N < a.half) {
                float c[N], s[N], x[2 * N], y[2 * N];
                int64_t j = unit * N, first = at + (a.pairs ? 2 * j : j),
                        second = at + (a.pairs ? 2 * j + N : a.half + j);
                gpu_load<N>(a.table, r * 2 * a.half + j, c);
                gpu_load<N>(a.table, r * 2 * a.half + a.half + j, s);
                gpu_load<N>(a.x, first, x);
                gpu_load<N>(a.x, second, x + N);
                if (a.pairs) {
#pragma unroll
                    for (int k = 0; k < N; k++) {
                        float p = x[2 * k], q = x[2 * k + 1], t = a.sign * s[k];
                        y[2 * k] = p * c[k] - q * t, y[2 * k + 1] = q * c[k] + p * t;
                    }
                } else {
#pragma unroll
                    for (int k = 0; k < N; k++) {
                        float p = x[k], q = x[N + k], t = a.sign * s[k];
                        y[k] = p * c[k] - q * t, y[N + k] = q * c[k] + p * t;
                    }
                }
                gpu_store<N>(a.y, first, y, a.add);
                gpu_store<N>(a.y, second, y + N, a.add);
                continue;
            }
            item = at - row * a.C + a.half + unit * N; /* columns of the head behind those that turn */
        } else {
            item = a.C - (a.per_row.d - item) * N;
        }
        float x[N];
        gpu_load<N>(a.x, row * a.C + item, x);
        gpu_store<N>(a.y, row * a.C + item, x, a.add);
    }
}

extern "C" vm_status rope_cuda(vm_graph *g, vm_node *n) {
    int64_t R = vm_rows(g, n->in[0]), C = vm_cols(g, n->in[0]), half = vm_cols(g, n->in[1]) / 2, HS = C / n->i[1];
    gpu_mem x = gpu_in(g, n, 0), table = gpu_in(g, n, 1), y = gpu_out(g, n, 0);
    if (!R || !C) return VM_OK;
    bool wide = HS % 8 == 0 && half % 8 == 0 && gpu_wide3(x, table, y);
    int64_t N = wide ? 8 : 1, per_head = (HS - half) / N, turning = n->i[2] * per_head;
    int64_t per_row = turning + (n->i[1] - n->i[2]) * HS / N;
    rope_args a = { x, table, y, R * per_row, C, HS, half, gpu_div_by(per_row), gpu_div_by(per_head),
                    gpu_div_by(vm_rows(g, n->in[1])), turning, (float)n->f[0], n->i[3] != 0, vm_adds(g, n, 0) };
    unsigned grid = gpu_grid(g, a.items, GPU_THREADS);
    return wide ? GPU_LAUNCH(g, (rope_kernel<8>), grid, GPU_THREADS, 0, a)
                : GPU_LAUNCH(g, (rope_kernel<1>), grid, GPU_THREADS, 0, a);
}
