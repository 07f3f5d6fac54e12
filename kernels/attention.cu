/* attention.cu - the forward pass on the GPU (formulas: attention.c, layout: gpu_flash.cuh).
 *
 * A block has 64 queries of one head, 16 a warp, and walks over tiles of keys: S = Q K^T, running maximum and sum
 * per row, Y += P V with P from registers (Dao 2023). Heads wider than 128 columns have their results in several
 * blocks, each of which makes all scores. Where queries are few (decoding), the query heads of one key head are rows
 * of one matrix, and the keys are split over blocks whose results a second kernel adds in their order. Bound by
 * tensor cores; when decoding by reading K and V once. */
#include "kernels/gpu_flash.cuh"

template <class T, int HC> __global__ void __launch_bounds__(FLASH_THREADS, 2) flash_forward(flash a) {
    const int NT = FLASH_COLS / 8, CT = HC / 8;
    GPU_SHARED_DYN(T, room);
    /* which block: tiles of queries fastest, those that see most keys first */
    unsigned u = blockIdx.x;
    int tile = a.tiles - 1 - (int)(u % (unsigned)a.tiles);
    u /= (unsigned)a.tiles;
    int chunk = (int)(u % (unsigned)a.chunks);
    u /= (unsigned)a.chunks;
    int split = (int)(u % (unsigned)a.splits);
    u /= (unsigned)a.splits;
    int h = (int)(u % (unsigned)(a.NH / a.heads)) * a.heads, b = (int)(u / (unsigned)(a.NH / a.heads)),
        kv = h / a.group;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, per_block = (int)blockDim.x / 2, row0 = tile * per_block;
    int c0 = chunk * a.cols, len = flash_len(a, b), ld = flash_ld<T>(a.HSp), ldv = flash_ld<T>(a.cols);
    T *q = room, *stage = q + per_block * ld;
    const int32_t *mask = a.mask ? a.mask + (int64_t)b * a.Tk : NULL;

    /* keys that some row of the block sees, and this split's share of their tiles */
    int first = a.heads > 1 ? 0 : row0, last = a.heads > 1 ? a.Tq - 1 : flash_clamp(row0 + per_block - 1, 0, a.Tq - 1);
    int lo = flash_lo(a, len, b, first), hi = flash_hi(a, len, last), begin = lo / a.bn, end = (hi + a.bn - 1) / a.bn;
    int share = end > begin ? (end - begin + a.splits - 1) / a.splits : 0;
    begin += split * share;
    if (begin + share < end) end = begin + share;

    flash_sees w = flash_sees_keys(a, len, b, h, row0 + warp * 16);
    float o[CT][4], m[2] = { -INFINITY, -INFINITY }, l[2] = { 0, 0 };
    flash_zero<CT>(o);
    flash_load<T>(a, q, ld, a.q, b, h, row0, per_block, 0, a.rows, 0, a.HSp);
    cp_async_commit();
    for (int next = begin, it = begin; it < end; it++) {
        for (; next < end && next < it + a.stages; next++) { /* tiles in flight */
            T *k = stage + next % a.stages * a.bn * (ld + ldv);
            int n = hi - next * a.bn < a.bn ? (hi - next * a.bn + 15) / 16 * 16 : a.bn;
            flash_load<T>(a, k, ld, a.k, b, kv, next * a.bn, n, lo, hi, 0, a.HSp);
            flash_load<T>(a, k + a.bn * ld, ldv, a.v, b, kv, next * a.bn, n, lo, hi, c0, a.cols);
            cp_async_commit();
        }
        if (next > it + 1) cp_async_wait<1>();
        else cp_async_wait<0>();
        __syncthreads();
        const T *k = stage + it % a.stages * a.bn * (ld + ldv), *v = k + a.bn * ld;
        int k0 = it * a.bn, n = hi - k0 < a.bn ? (hi - k0 + 15) / 16 * 16 : a.bn;
        if (k0 < w.any_hi && k0 + n > w.any_lo) {
            float s[NT][4];
            flash_zero<NT>(s);
            flash_nt<NT>(s, q + warp * 16 * ld, ld, k, ld, a.HSp, n);
            flash_scores<NT>(a, s, w, k0, n, mask);
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float largest = m[e], sum = 0;
#pragma unroll
                for (int p = 0; p < NT; p++) largest = fmaxf(largest, fmaxf(s[p][2 * e], s[p][2 * e + 1]));
                largest = fmaxf(largest, __shfl_xor_sync(GPU_ALL, largest, 1));
                largest = fmaxf(largest, __shfl_xor_sync(GPU_ALL, largest, 2));
                float base = largest == -INFINITY ? 0.0f : largest; /* all hidden so far: exp2(-inf) = 0 */
                float f = fast_exp2(m[e] - base);
#pragma unroll
                for (int p = 0; p < NT; p++) {
                    s[p][2 * e] = fast_exp2(s[p][2 * e] - base), s[p][2 * e + 1] = fast_exp2(s[p][2 * e + 1] - base);
                    sum += s[p][2 * e] + s[p][2 * e + 1];
                }
                m[e] = largest, l[e] = l[e] * f + sum;
#pragma unroll
                for (int c = 0; c < CT; c++) o[c][2 * e] *= f, o[c][2 * e + 1] *= f;
            }
            flash_nn<NT, CT>(o, s, v, ldv, n, a.cols);
        }
        __syncthreads(); /* the stage is free */
    }
    cp_async_wait<0>();

    int64_t at[2], row[2];
    float f[2];
#pragma unroll
    for (int e = 0; e < 2; e++) {
        int r = row0 + warp * 16 + lane / 4 + 8 * e;
        l[e] += __shfl_xor_sync(GPU_ALL, l[e], 1);
        l[e] += __shfl_xor_sync(GPU_ALL, l[e], 2);
        at[e] = r < a.rows ? flash_at(a, a.y, b, h, r) : -1;
        row[e] = ((int64_t)b * a.NH + h) * a.Tq + r; /* heads follow each other */
        f[e] = l[e] > 0 || l[e] != l[e] ? 1.0f / l[e] : 0.0f;
    }
    if (a.splits == 1) {
        flash_store<CT>(a, a.y, o, at[0], at[1], f[0], f[1], c0);
        for (int e = 0; e < 2; e++)
            if (at[e] >= 0 && chunk == 0 && lane % 4 == 0) a.lse[row[e]] = m[e] * FLASH_LN2 + logf(l[e]);
        return;
    }
    float *stat = a.part + (int64_t)a.B * a.NH * a.Tq * a.splits * a.HS;
    flash_rows part = { { a.part, VM_F32 }, 0, 0, false, false };
    int64_t at0 = at[0] < 0 ? -1 : (row[0] * a.splits + split) * a.HS,
            at1 = at[1] < 0 ? -1 : (row[1] * a.splits + split) * a.HS;
    flash_store<CT>(a, part, o, at0, at1, 1.0f, 1.0f, c0);
    for (int e = 0; e < 2; e++)
        if (at[e] >= 0 && chunk == 0 && lane % 4 == 0)
            stat[(row[e] * a.splits + split) * 2] = m[e], stat[(row[e] * a.splits + split) * 2 + 1] = l[e];
}

/* One warp a row: y = sum of the splits' results, each relative to the largest maximum, in their order. */
__global__ void __launch_bounds__(FLASH_THREADS) flash_combine(flash a) {
    int64_t rows = (int64_t)a.B * a.NH * a.Tq, row = (int64_t)blockIdx.x * FLASH_WARPS + threadIdx.x / 32;
    int lane = threadIdx.x % 32;
    if (row >= rows) return;
    const float *part = a.part + row * a.splits * a.HS, *stat = a.part + rows * a.splits * a.HS + row * a.splits * 2;
    float m = lane < a.splits ? stat[lane * 2] : -INFINITY, largest = warp_max(m);
    float w = lane < a.splits ? fast_exp2(m - (largest == -INFINITY ? 0.0f : largest)) : 0.0f;
    float l = warp_sum(lane < a.splits ? w * stat[lane * 2 + 1] : 0.0f);
    w *= l > 0 || l != l ? 1.0f / l : 0.0f;
    int64_t bh = row / a.Tq, at = flash_at(a, a.y, (int)(bh / a.NH), (int)(bh % a.NH), (int)(row % a.Tq));
    for (int c0 = 0; c0 < a.HS; c0 += 32) {
        float y = 0;
        for (int s = 0; s < a.splits; s++) {
            float ws = __shfl_sync(GPU_ALL, w, s);
            if (c0 + lane < a.HS) y = fmaf(ws, part[(int64_t)s * a.HS + c0 + lane], y);
        }
        if (c0 + lane < a.HS) gpu_put(a.y.m, at + c0 + lane, y);
    }
    if (lane == 0) a.lse[row] = largest * FLASH_LN2 + logf(l);
}

/* --- launchers ---------------------------------------------------------------------------------------------------- */
vm_type flash_type(const attn_call *c) {
    bool same = c->q.type == c->k.type && c->q.type == c->v.type;
    return same ? c->q.type : VM_F32;
}

flash_rows flash_rows_of(const attn_call *c, const attn_rows *x, vm_type T) {
    int64_t size = (int64_t)vm_type_size(x->type);
    flash_rows r = { { x->p ? (char *)x->p + x->at * size : NULL, (int)x->type }, x->row, (int)x->T, false, false };
    r.fast = x->type == T && (uintptr_t)r.m.p % 16 == 0 && x->row * size % 16 == 0 && c->HS * size % 16 == 0;
    return r;
}

void flash_chunk(flash *a, int most) {
    a->chunks = (a->HSp + most - 1) / most, a->cols = ((a->HSp + a->chunks - 1) / a->chunks + 15) / 16 * 16;
}

flash flash_of(vm_graph *g, vm_node *n, const attn_call *c, vm_type T) {
    flash a = {};
    a.q = flash_rows_of(c, &c->q, T), a.k = flash_rows_of(c, &c->k, T), a.v = flash_rows_of(c, &c->v, T);
    a.k.paged = a.v.paged = c->pages != NULL;
    a.mask = c->mask, a.lengths = c->lengths, a.pages = c->pages, a.first = c->firsts;
    a.bias = c->bias, a.bias_b = c->bias_b, a.bias_h = c->bias_h;
    a.B = (int)c->B, a.Tq = (int)c->Tq, a.Tk = (int)c->Tk, a.NH = (int)c->NH, a.NKV = (int)c->NKV;
    a.group = a.NH / a.NKV, a.HS = (int)c->HS, a.HSp = (a.HS + 15) / 16 * 16;
    a.window = (int)VM_MIN(c->window, (int64_t)1 << 30), a.causal = c->causal;
    a.n_pages = (int)c->n_pages, a.block = (int)c->block, a.P = (int)c->P;
    a.scale = (float)c->scale, a.cap = (float)c->softcap;
    a.heads = 1, a.rows = a.Tq, a.splits = 1;
    flash_chunk(&a, 128);
    a.fault = gpu_of(g)->block, a.node = gpu_node(g, n);
    return a;
}

int flash_fit(vm_graph *g, flash *a, int64_t rows, size_t row_bytes, size_t col_bytes, int most_stages, int most_cols) {
    int warps = rows <= 16 ? 1 : rows <= 32 ? 2 : FLASH_WARPS;
    size_t most = gpu_of(g)->smem_block;
    for (int half = 1; half >= 0; half--) /* two blocks to a multiprocessor, else whatever fits */
        for (int w = warps; w >= (half ? warps : 1); w /= 2)
            for (a->stages = most_stages; a->stages >= (half ? most_stages : 1); a->stages--)
                for (a->bn = most_cols; a->bn >= 16; a->bn /= 2)
                    if ((size_t)w * 16 * row_bytes + (size_t)(a->stages * a->bn) * col_bytes <=
                        (half ? most / 2 : most))
                        return w;
    vm_fail(&g->err, VM_EDEVICE, "attention: heads of %d columns do not fit into %zu bytes of shared memory", a->HS,
            most);
    return 0;
}

template <class T, int HC> static vm_status forward(vm_graph *g, flash *a) {
    size_t row = (size_t)(a->HSp * (int)sizeof(T) + 16), col = row + (size_t)(a->cols * (int)sizeof(T) + 16);
    int warps = flash_fit(g, a, a->rows, row, col, 2, FLASH_COLS);
    if (!warps) return g->err.status;
    size_t bytes = (size_t)warps * 16 * row + (size_t)(a->stages * a->bn) * col;
    a->tiles = (a->rows + warps * 16 - 1) / (warps * 16);
    int64_t blocks = (int64_t)a->tiles * a->chunks * a->splits * a->B * (a->NH / a->heads);
    vm_status s = GPU_SMEM(g, (flash_forward<T, HC>), bytes);
    return s ? s : GPU_LAUNCH(g, (flash_forward<T, HC>), (unsigned)blocks, (unsigned)(warps * 32), bytes, *a);
}

extern "C" vm_status attention_cuda(vm_graph *g, vm_node *n) {
    attn_call c = attn_of(g, n);
    vm_type T = flash_type(&c);
    flash a = flash_of(g, n, &c, T);
    const vm_value *y = &g->v[n->out[0]];
    attn_rows out = { y->data, y->type, 0, c.NH * c.HS, c.Tq };
    int64_t rows = c.B * c.NH * c.Tq;
    if (rows == 0) return VM_OK;
    a.y = flash_rows_of(&c, &out, y->type), a.lse = (float *)vm_o(g, n, 1), a.part = (float *)vm_o(g, n, 2);
    a.splits = (int)attn_splits(g, &c);
    if (a.Tq <= ATTN_FEW && a.group > 1) a.heads = a.group, a.rows = a.heads * a.Tq;
    bool narrow = a.cols <= 64;
    vm_status s = T == VM_BF16  ? (narrow ? forward<bf16, 64>(g, &a) : forward<bf16, 128>(g, &a))
                  : T == VM_F16 ? (narrow ? forward<f16, 64>(g, &a) : forward<f16, 128>(g, &a))
                                : forward<float, 128>(g, &a);
    if (s || a.splits == 1) return s;
    return GPU_LAUNCH(g, flash_combine, gpu_blocks(rows, FLASH_WARPS), FLASH_THREADS, 0, a);
}
