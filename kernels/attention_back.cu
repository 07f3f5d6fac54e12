/* attention_back.cu - the backward passes on the GPU (formulas: attention.c, layout: gpu_flash.cuh).
 *
 * Four kernels, none of which sums across blocks, so no atomics and one order of every sum:
 *   delta   D = <dY, Y> of every row, one warp each;
 *   dq      64 queries of one head a block, over tiles of keys: S and dP again, dQ += dS K with dS from registers;
 *   dkv     64 keys of one key head a block, over its query heads and tiles of queries: S^T = K Q^T and dP^T = V dY^T,
 *           so that P^T and dS^T are left factors in registers of dV += P^T dY and dK += dS^T Q; lse and D lie along
 *           the columns;
 *   dbias   64 x 32 entries of the bias a block, over the sequences and heads that share them.
 * Heads wider than 128 columns (f32: 64, for want of registers) have their gradients in several blocks. Bound by
 * tensor cores. */
#include "kernels/gpu_flash.cuh"

__global__ void __launch_bounds__(FLASH_THREADS) flash_delta(flash a) {
    int64_t rows = (int64_t)a.B * a.NH * a.Tq, row = (int64_t)blockIdx.x * FLASH_WARPS + threadIdx.x / 32;
    if (row >= rows) return;
    int64_t bh = row / a.Tq;
    int b = (int)(bh / a.NH), h = (int)(bh % a.NH), i = (int)(row % a.Tq);
    int64_t y = flash_at(a, a.y, b, h, i), dy = flash_at(a, a.dy, b, h, i);
    float sum = 0;
    for (int c = threadIdx.x % 32; c < a.HS; c += 32) sum = fmaf(gpu_get(a.y.m, y + c), gpu_get(a.dy.m, dy + c), sum);
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) a.delta[row] = sum;
}

/* lse and D of the thread's two rows of queries; rows that are not there have P = 0. */
__device__ __forceinline__ void row_stats(const flash &a, int b, int h, int r0, float lse[2], float d[2]) {
    for (int e = 0; e < 2; e++) {
        int r = r0 + (int)threadIdx.x % 32 / 4 + 8 * e;
        int64_t at = ((int64_t)b * a.NH + h) * a.Tq + r;
        lse[e] = r < a.Tq ? flash_lse2(a.lse[at]) : INFINITY, d[e] = r < a.Tq ? a.delta[at] : 0.0f;
    }
}

template <class T, int HC> __global__ void __launch_bounds__(FLASH_THREADS, 2) flash_dq(flash a) {
    const int NT = FLASH_BACK_COLS / 8, CT = HC / 8;
    GPU_SHARED_DYN(T, room);
    unsigned u = blockIdx.x;
    int tile = a.tiles - 1 - (int)(u % (unsigned)a.tiles);
    u /= (unsigned)a.tiles;
    int chunk = (int)(u % (unsigned)a.chunks);
    u /= (unsigned)a.chunks;
    int h = (int)(u % (unsigned)a.NH), b = (int)(u / (unsigned)a.NH), kv = h / a.group;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, per_block = (int)blockDim.x / 2, row0 = tile * per_block;
    int c0 = chunk * a.cols, len = flash_len(a, b), ld = flash_ld<T>(a.HSp);
    T *q = room, *dy = q + per_block * ld, *stage = dy + per_block * ld;
    const int32_t *mask = a.mask ? a.mask + (int64_t)b * a.Tk : NULL;
    int lo = flash_lo(a, len, b, row0), hi = flash_hi(a, len, flash_clamp(row0 + per_block - 1, 0, a.Tq - 1));
    int begin = lo / a.bn, end = (hi + a.bn - 1) / a.bn;

    flash_sees w = flash_sees_keys(a, len, b, h, row0 + warp * 16);
    float o[CT][4], lse[2], d[2];
    flash_zero<CT>(o);
    row_stats(a, b, h, row0 + warp * 16, lse, d);
    flash_load<T>(a, q, ld, a.q, b, h, row0, per_block, 0, a.Tq, 0, a.HSp);
    flash_load<T>(a, dy, ld, a.dy, b, h, row0, per_block, 0, a.Tq, 0, a.HSp);
    cp_async_commit();
    for (int next = begin, it = begin; it < end; it++) {
        for (; next < end && next < it + a.stages; next++) {
            T *k = stage + next % a.stages * a.bn * 2 * ld;
            int n = hi - next * a.bn < a.bn ? (hi - next * a.bn + 15) / 16 * 16 : a.bn;
            flash_load<T>(a, k, ld, a.k, b, kv, next * a.bn, n, lo, hi, 0, a.HSp);
            flash_load<T>(a, k + a.bn * ld, ld, a.v, b, kv, next * a.bn, n, lo, hi, 0, a.HSp);
            cp_async_commit();
        }
        if (next > it + 1) cp_async_wait<1>();
        else cp_async_wait<0>();
        __syncthreads();
        const T *k = stage + it % a.stages * a.bn * 2 * ld, *v = k + a.bn * ld;
        int k0 = it * a.bn, n = hi - k0 < a.bn ? (hi - k0 + 15) / 16 * 16 : a.bn;
        if (k0 < w.any_hi && k0 + n > w.any_lo) {
            float s[NT][4], dp[NT][4];
            flash_zero<NT>(s), flash_zero<NT>(dp);
            flash_nt<NT>(s, q + warp * 16 * ld, ld, k, ld, a.HSp, n);
            flash_nt<NT>(dp, dy + warp * 16 * ld, ld, v, ld, a.HSp, n);
            flash_ds<NT>(a, s, dp, w, k0, n, mask, lse, d, false, true);
            flash_nn<NT, CT>(o, dp, k + c0, ld, n, flash_clamp(a.HSp - c0, 0, a.cols));
        }
        __syncthreads();
    }
    cp_async_wait<0>();
    int r = row0 + warp * 16 + lane / 4;
    int64_t at0 = r < a.Tq ? flash_at(a, a.dq, b, h, r) : -1, at1 = r + 8 < a.Tq ? flash_at(a, a.dq, b, h, r + 8) : -1;
    flash_store<CT>(a, a.dq, o, at0, at1, a.scale, a.scale, c0);
}

template <class T, int HC> __global__ void __launch_bounds__(FLASH_THREADS, 2) flash_dkv(flash a) {
    const int NT = FLASH_BACK_COLS / 8, CT = HC / 8;
    GPU_SHARED_DYN(T, room);
    unsigned u = blockIdx.x;
    int tile = (int)(u % (unsigned)a.tiles);
    u /= (unsigned)a.tiles;
    int chunk = (int)(u % (unsigned)a.chunks);
    u /= (unsigned)a.chunks;
    int kv = (int)(u % (unsigned)a.NKV), b = (int)(u / (unsigned)a.NKV);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, per_block = (int)blockDim.x / 2, row0 = tile * per_block;
    int c0 = chunk * a.cols, len = flash_len(a, b), ld = flash_ld<T>(a.HSp), stats = 2 * FLASH_BACK_COLS;
    float *stat = (float *)room; /* [stages][lse, D][columns] */
    T *k = (T *)(stat + a.stages * stats), *v = k + per_block * ld, *stage = v + per_block * ld;
    /* queries that see some key of the block, head after head: tile `it` of all is the tile begin + it % per_head of
     * its head */
    int most = row0 + per_block < len ? row0 + per_block : len;
    int lo = flash_from(a, len, row0), hi = row0 < len ? flash_to(a, len, b, most - 1) : 0;
    int begin = lo / a.bn, per_head = hi > lo ? (hi + a.bn - 1) / a.bn - begin : 0, end = per_head * a.group;

    float dk[CT][4], dv[CT][4];
    flash_zero<CT>(dk), flash_zero<CT>(dv);
    flash_load<T>(a, k, ld, a.k, b, kv, row0, per_block, 0, len, 0, a.HSp);
    flash_load<T>(a, v, ld, a.v, b, kv, row0, per_block, 0, len, 0, a.HSp);
    cp_async_commit();
    flash_sees w = flash_sees_queries(a, len, b, kv * a.group, row0 + warp * 16);
    for (int next = 0, it = 0; it < end; it++) {
        for (; next < end && next < it + a.stages; next++) {
            int h = kv * a.group + next / per_head, q0 = (begin + next % per_head) * a.bn;
            int n = hi - q0 < a.bn ? (hi - q0 + 15) / 16 * 16 : a.bn;
            T *q = stage + next % a.stages * a.bn * 2 * ld;
            flash_load<T>(a, q, ld, a.q, b, h, q0, n, lo, hi, 0, a.HSp);
            flash_load<T>(a, q + a.bn * ld, ld, a.dy, b, h, q0, n, lo, hi, 0, a.HSp);
            cp_async_commit();
            for (int c = threadIdx.x; c < FLASH_BACK_COLS; c += (int)blockDim.x) {
                int64_t at = ((int64_t)b * a.NH + h) * a.Tq + q0 + c;
                float *to = stat + next % a.stages * stats + c;
                to[0] = q0 + c < hi ? flash_lse2(a.lse[at]) : INFINITY;
                to[FLASH_BACK_COLS] = q0 + c < hi ? a.delta[at] : 0.0f;
            }
        }
        if (next > it + 1) cp_async_wait<1>();
        else cp_async_wait<0>();
        __syncthreads();
        const T *q = stage + it % a.stages * a.bn * 2 * ld, *dy = q + a.bn * ld;
        const float *lse = stat + it % a.stages * stats;
        int q0 = (begin + it % per_head) * a.bn;
        int n = hi - q0 < a.bn ? (hi - q0 + 15) / 16 * 16 : a.bn, cols = flash_clamp(a.HSp - c0, 0, a.cols);
        if (it && it % per_head == 0) w.bias[0] += a.bias_h, w.bias[1] += a.bias_h; /* the next head */
        if (q0 < w.any_hi && q0 + n > w.any_lo) {
            float s[NT][4], dp[NT][4];
            flash_zero<NT>(s), flash_zero<NT>(dp);
            flash_nt<NT>(s, k + warp * 16 * ld, ld, q, ld, a.HSp, n);
            flash_nt<NT>(dp, v + warp * 16 * ld, ld, dy, ld, a.HSp, n);
            flash_ds<NT>(a, s, dp, w, q0, n, NULL, lse, lse + FLASH_BACK_COLS, true, true);
            flash_nn<NT, CT>(dv, s, dy + c0, ld, n, cols);
            flash_nn<NT, CT>(dk, dp, q + c0, ld, n, cols);
        }
        __syncthreads();
    }
    cp_async_wait<0>();
    int j = row0 + warp * 16 + lane / 4;
    if (a.dk.m.p) {
        int64_t at0 = j < a.Tk ? flash_at(a, a.dk, b, kv, j) : -1,
                at1 = j + 8 < a.Tk ? flash_at(a, a.dk, b, kv, j + 8) : -1;
        flash_store<CT>(a, a.dk, dk, at0, at1, a.scale, a.scale, c0);
    }
    if (a.dv.m.p) {
        int64_t at0 = j < a.Tk ? flash_at(a, a.dv, b, kv, j) : -1,
                at1 = j + 8 < a.Tk ? flash_at(a, a.dv, b, kv, j + 8) : -1;
        flash_store<CT>(a, a.dv, dv, at0, at1, 1.0f, 1.0f, c0);
    }
}

template <class T> __global__ void __launch_bounds__(FLASH_THREADS, 2) flash_dbias(flash a) {
    const int NT = FLASH_BACK_COLS / 8;
    GPU_SHARED_DYN(T, room);
    unsigned u = blockIdx.x, key_tiles = (unsigned)((a.Tk + a.bn - 1) / a.bn);
    int k0 = (int)(u % key_tiles) * a.bn;
    u /= key_tiles;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, per_block = (int)blockDim.x / 2;
    int row0 = (int)(u % (unsigned)a.tiles) * per_block;
    u /= (unsigned)a.tiles; /* the map */
    int heads = a.NH / a.maps_h, b0 = (int)(u / (unsigned)heads) * a.maps_b, h0 = (int)(u % (unsigned)heads) * a.maps_h;
    int ld = flash_ld<T>(a.HSp), n = a.Tk - k0 < a.bn ? (a.Tk - k0 + 15) / 16 * 16 : a.bn;
    T *q = room, *dy = q + per_block * ld, *k = dy + per_block * ld, *v = k + a.bn * ld;
    float sum[NT][4];
    flash_zero<NT>(sum);
    for (int it = 0; it < a.maps_b * a.maps_h; it++) {
        int b = b0 + it / a.maps_h, h = h0 + it % a.maps_h, kv = h / a.group, len = flash_len(a, b);
        flash_load<T>(a, q, ld, a.q, b, h, row0, per_block, 0, a.Tq, 0, a.HSp);
        flash_load<T>(a, dy, ld, a.dy, b, h, row0, per_block, 0, a.Tq, 0, a.HSp);
        flash_load<T>(a, k, ld, a.k, b, kv, k0, n, 0, len, 0, a.HSp);
        flash_load<T>(a, v, ld, a.v, b, kv, k0, n, 0, len, 0, a.HSp);
        cp_async_commit();
        cp_async_wait<0>();
        __syncthreads();
        flash_sees w = flash_sees_keys(a, len, b, h, row0 + warp * 16);
        if (k0 < w.any_hi && k0 + n > w.any_lo) {
            float s[NT][4], dp[NT][4], lse[2], d[2];
            row_stats(a, b, h, row0 + warp * 16, lse, d);
            flash_zero<NT>(s), flash_zero<NT>(dp);
            flash_nt<NT>(s, q + warp * 16 * ld, ld, k, ld, a.HSp, n);
            flash_nt<NT>(dp, dy + warp * 16 * ld, ld, v, ld, a.HSp, n);
            flash_ds<NT>(a, s, dp, w, k0, n, a.mask ? a.mask + (int64_t)b * a.Tk : NULL, lse, d, false, false);
#pragma unroll
            for (int p = 0; p < NT; p++)
#pragma unroll
                for (int e = 0; e < 4; e++) sum[p][e] += dp[p][e];
        }
        __syncthreads();
    }
    float *out = a.dbias + (int64_t)u * a.Tq * a.Tk;
#pragma unroll
    for (int p = 0; p < NT; p++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            int i = row0 + warp * 16 + lane / 4 + e / 2 * 8, j = k0 + p * 8 + 2 * (lane % 4) + e % 2;
            if (i < a.Tq && j < a.Tk && p * 8 < a.bn) out[(int64_t)i * a.Tk + j] = sum[p][e];
        }
}

/* --- launchers ---------------------------------------------------------------------------------------------------- */
static size_t row_bytes(const flash *a, size_t size) { return (size_t)a->HSp * size + 16; }

/* The call of a backward node, and D into out[k]. */
static vm_status begin(vm_graph *g, vm_node *n, const attn_call *c, int k, flash *a) {
    vm_type T = flash_type(c);
    *a = flash_of(g, n, c, T);
    a->y = flash_rows_of(c, &c->y, T), a->dy = flash_rows_of(c, &c->dy, T);
    a->lse = (float *)vm_in(g, n, ATTN_LSE), a->delta = (float *)vm_o(g, n, k);
    int64_t rows = c->B * c->NH * c->Tq;
    return rows ? GPU_LAUNCH(g, flash_delta, gpu_blocks(rows, FLASH_WARPS), FLASH_THREADS, 0, *a) : VM_OK;
}

template <class T, int HC> static vm_status back(vm_graph *g, flash *a) {
    size_t row = row_bytes(a, sizeof(T));
    vm_status s = VM_OK;
    if (a->dq.m.p && a->B && a->Tq) {
        int warps = flash_fit(g, a, a->Tq, 2 * row, 2 * row, 2, FLASH_BACK_COLS), rows = warps * 16;
        if (!warps) return g->err.status;
        size_t bytes = 2 * row * (size_t)(rows + a->stages * a->bn);
        a->tiles = (a->Tq + rows - 1) / rows;
        s = GPU_SMEM(g, (flash_dq<T, HC>), bytes);
        if (!s)
            s = GPU_LAUNCH(g, (flash_dq<T, HC>), (unsigned)((int64_t)a->tiles * a->chunks * a->B * a->NH),
                           (unsigned)(warps * 32), bytes, *a);
    }
    if (!s && (a->dk.m.p || a->dv.m.p) && a->B && a->Tk) {
        size_t stat = 2 * FLASH_BACK_COLS * sizeof(float);
        int warps = flash_fit(g, a, a->Tk, 2 * row, 2 * row + stat / 16, 2, FLASH_BACK_COLS), rows = warps * 16;
        if (!warps) return g->err.status;
        size_t bytes = 2 * row * (size_t)(rows + a->stages * a->bn) + (size_t)a->stages * stat;
        a->tiles = (a->Tk + rows - 1) / rows;
        s = GPU_SMEM(g, (flash_dkv<T, HC>), bytes);
        if (!s)
            s = GPU_LAUNCH(g, (flash_dkv<T, HC>), (unsigned)((int64_t)a->tiles * a->chunks * a->B * a->NKV),
                           (unsigned)(warps * 32), bytes, *a);
    }
    return s;
}

extern "C" vm_status attention_back_cuda(vm_graph *g, vm_node *n) {
    attn_call c = attn_of(g, n);
    flash a;
    vm_val val[3] = { 0, 0, 0 };
    int next = 0;
    for (int k = 0; k < 3; k++)
        if (n->i[ATTN_WANT] >> k & 1) val[k] = n->out[next++];
    vm_status s = begin(g, n, &c, n->n_out - 1, &a);
    if (s) return s;
    attn_rows part[3];
    attn_parts(&c, n->i[ATTN_PACKED] != 0, g, val[0], val[1], val[2], part);
    a.dq = flash_rows_of(&c, &part[0], part[0].type), a.dk = flash_rows_of(&c, &part[1], part[1].type);
    a.dv = flash_rows_of(&c, &part[2], part[2].type);
    bool narrow = a.cols <= 64;
    switch (flash_type(&c)) {
    case VM_BF16: return narrow ? back<bf16, 64>(g, &a) : back<bf16, 128>(g, &a);
    case VM_F16: return narrow ? back<f16, 64>(g, &a) : back<f16, 128>(g, &a);
    default: flash_chunk(&a, 64); return back<float, 64>(g, &a);
    }
}

template <class T> static vm_status bias_back(vm_graph *g, flash *a, int64_t maps) {
    size_t row = row_bytes(a, sizeof(T));
    int warps = flash_fit(g, a, a->Tq, 2 * row, 2 * row, 1, FLASH_BACK_COLS), rows = warps * 16;
    if (!warps) return g->err.status;
    size_t bytes = 2 * row * (size_t)(rows + a->bn);
    a->tiles = (a->Tq + rows - 1) / rows;
    vm_status s = GPU_SMEM(g, flash_dbias<T>, bytes);
    int64_t blocks = maps * a->tiles * ((a->Tk + a->bn - 1) / a->bn);
    return s ? s : GPU_LAUNCH(g, flash_dbias<T>, (unsigned)blocks, (unsigned)(warps * 32), bytes, *a);
}

extern "C" vm_status attention_bias_back_cuda(vm_graph *g, vm_node *n) {
    attn_call c = attn_of(g, n);
    flash a;
    vm_status s = begin(g, n, &c, 1, &a);
    const vm_value *bias = &g->v[n->in[ATTN_BIAS]];
    int64_t heads = bias->ne[bias->nd - 3], batches = bias->nd == 4 ? bias->ne[0] : 1;
    if (s || batches * heads * c.Tq * c.Tk == 0) return s;
    a.maps_h = (int)(c.NH / heads), a.maps_b = (int)(c.B / batches), a.dbias = (float *)vm_o(g, n, 0);
    switch (flash_type(&c)) {
    case VM_BF16: return bias_back<bf16>(g, &a, batches * heads);
    case VM_F16: return bias_back<f16>(g, &a, batches * heads);
    default: return bias_back<float>(g, &a, batches * heads);
    }
}
