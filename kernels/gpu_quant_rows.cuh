/* gpu_quant_rows.cuh - products of up to LQ_ROWS rows of x with a quantised weight, as blocks of linear_q_rows.cu and experts_q.cu make them:
 * decoding. Bound by the bytes of the codes.
 *
 * A warp makes R results for every row of x: it reads R rows of codes 16 bytes per lane and step (32 weights of 4 bits, 16 of 8), brings
 * them to f32 and multiplies. x lies in shared memory as f32, a segment at a time, in the order in which the lanes want it: four numbers
 * of each lane side by side, so that a load of 16 bytes touches every bank once; R rows share it. Few rows of the weight: R = 1, so that
 * there are blocks enough. Per weight and row of x there is one multiply-add, and about four instructions to unpack that all rows of x
 * share. Sums of a row are made by one warp in a fixed order. */
#ifndef VM_GPU_QUANT_ROWS_CUH
#define VM_GPU_QUANT_ROWS_CUH
#include "kernels/gpu_quant.cuh"

enum { LQ_WARPS = 4, LQ_SHARED = 8192 /* floats of x */ };

typedef struct {
    gpu_mem x, y;
    gpu_codes w;
    const float *bias;
    int M;
    bool add, wide; /* wide: rows of x may be read 4 at a time */
} lq_call;

__device__ __forceinline__ void lq_put(const lq_call &c, int64_t m, int64_t n, float v) {
    v += c.bias ? c.bias[n] : 0.0f;
    gpu_store<1>(c.y, m * c.w.N + n, &v, c.add);
}

/* BITS 4 or 8; MT >= M rows of x; R rows of the weight per warp, those of block number `block`. xs, table: LQ_SHARED and 16 floats of shared
 * memory. The bits of a result depend neither on MT nor on R. */
template <int BITS, int MT, int R> __device__ __forceinline__ void lq_rows(lq_call &c, int64_t block, float (&xs)[LQ_SHARED], float (&table)[16]) {
    constexpr int EACH = 128 / BITS, STEP = 32 * EACH, SEGMENT = LQ_SHARED / MT; /* weights per lane, per warp, per row of x in shared memory */
    int lane = threadIdx.x % 32;
    int64_t n0 = (block * LQ_WARPS + threadIdx.x / 32) * R, K = c.w.K;
    float sum[R][MT];
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
        for (int m = 0; m < MT; m++) sum[r][m] = 0.0f;
    gpu_table_fill(table);
    c.w.table = table;
    for (int64_t first = 0; first < K; first += SEGMENT) {
        __syncthreads();
        for (int i = threadIdx.x * 4; i < MT * SEGMENT; i += LQ_WARPS * 32 * 4) {
            int m = i / SEGMENT, at = i % SEGMENT, chunk = at / STEP, of = at % STEP / EACH, j = at % EACH;
            int64_t k = first + at;
            float v[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
            if (m < c.M && c.wide && k + 4 <= K) gpu_load<4>(c.x, m * K + k, v);
            else
#pragma unroll
                for (int e = 0; e < 4; e++) v[e] = m < c.M && k + e < K ? gpu_get(c.x, m * K + k + e) : 0.0f;
            vec<float, 4> u = { { v[0], v[1], v[2], v[3] } };
            st_vec<4>(&xs[m * SEGMENT + chunk * STEP + j / 4 * 128 + of * 4], u);
        }
        __syncthreads();
        for (int chunk = 0; chunk < SEGMENT / STEP; chunk++) {
            int64_t k = first + chunk * STEP + lane * EACH;
            vec<uint32_t, 4> code[R];
            float s[R], zs[R];
#pragma unroll
            for (int r = 0; r < R; r++) {
                code[r] = vec<uint32_t, 4>{ { 0, 0, 0, 0 } }, s[r] = zs[r] = 0.0f; /* all weights 0 */
                if (k >= K || n0 + r >= c.w.N) continue;
                int64_t b = gpu_block_of(c.w, n0 + r, k);
                code[r] = ld_vec<4>((const uint32_t *)(c.w.codes + ((n0 + r) * K + k) * BITS / 8));
                s[r] = gpu_scale(c.w, b), zs[r] = gpu_zero(c.w, b) * s[r];
            }
#pragma unroll
            for (int j = 0; j < EACH; j += 4) {
                float w[R][4];
#pragma unroll
                for (int r = 0; r < R; r++)
#pragma unroll
                    for (int e = 0; e < 4; e++)
                        w[r][e] = BITS == 8 ? fmaf(gpu_float_of(code[r].v[(j + e) / 4 % 4] >> (j + e) % 4 * 8 & 255u), s[r], -zs[r])
                                            : gpu_weight4(c.w, gpu_nibble(code[r].v[(j + e) / 8 % 4], (j + e) % 8), s[r], zs[r]);
#pragma unroll
                for (int m = 0; m < MT; m++) {
                    vec<float, 4> x = ld_vec<4>(&xs[m * SEGMENT + chunk * STEP + j / 4 * 128 + lane * 4]);
#pragma unroll
                    for (int r = 0; r < R; r++)
#pragma unroll
                        for (int e = 0; e < 4; e++) sum[r][m] = fmaf(w[r][e], x.v[e], sum[r][m]);
                }
            }
        }
    }
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
        for (int m = 0; m < MT; m++) {
            float v = warp_sum(sum[r][m]);
            if (lane == (r * MT + m) % 32 && m < c.M && n0 + r < c.w.N) lq_put(c, m, n0 + r, v);
        }
}

/* --- any blocks, any alignment: weight by weight --------------------------------------------------------------------------- */
/* A warp per row n of the weight, and up to LQ_ROWS rows of x from m0 on. */
__device__ __forceinline__ void lq_any(const lq_call &c, int64_t n, int64_t m0) {
    int lane = threadIdx.x % 32;
    float sum[LQ_ROWS] = { 0.0f };
    if (n >= c.w.N) return;
    for (int64_t k = lane; k < c.w.K; k += 32) {
        float w = gpu_weight(c.w, n, k);
#pragma unroll
        for (int m = 0; m < LQ_ROWS; m++)
            if (m0 + m < c.M) sum[m] = fmaf(w, gpu_get(c.x, (m0 + m) * c.w.K + k), sum[m]);
    }
#pragma unroll
    for (int m = 0; m < LQ_ROWS; m++) {
        float v = warp_sum(sum[m]);
        if (lane == m && m0 + m < c.M) lq_put(c, m0 + m, n, v);
    }
}
/* Element (m,k) of dx; c.x is dy, c.y dx. */
__device__ __forceinline__ void lq_dx_any(const lq_call &c, int64_t m, int64_t k) {
    float sum = 0.0f;
    for (int64_t n = 0; n < c.w.N; n++) sum = fmaf(gpu_get(c.x, m * c.w.N + n), gpu_weight(c.w, n, k), sum);
    gpu_store<1>(c.y, m * c.w.K + k, &sum, c.add);
}

/* --- launchers ---------------------------------------------------------------------------------------------------------------- */
/* Whether lq_rows takes the weight: 16 bytes of codes of a row have one scale. */
static inline bool lq_rows_take(const gpu_codes &w) {
    int64_t each = w.kind == VM_INT8 ? 16 : 32;
    return w.K % each == 0 && !w.flat && (w.block.d % each == 0 || w.G == 1) && gpu_on16(w.codes);
}
/* Whether several rows of the weight per warp leave two blocks for each multiprocessor; rows: those at work. */
static inline bool lq_rows_many(const vm_graph *g, int64_t rows) { return rows >= (int64_t)gpu_of(g)->sms * LQ_WARPS * 4 * 2; }

static inline lq_call lq_call_of(vm_graph *g, vm_node *n, const float *bias) {
    lq_call c = { gpu_in(g, n, LQ_X), gpu_out(g, n, 0), gpu_codes_of(g, n), bias, (int)vm_rows(g, n->in[LQ_X]), vm_adds(g, n, 0), false };
    c.wide = gpu_on16(c.x.p) && c.w.K % 8 == 0;
    return c;
}

#endif
