/* random_cpu.c - pieces of VM_CHUNK elements from VM_CHUNK/4 Philox blocks, computed side by side in vector lanes. */
#include "kernels/cpu.h"
#include "kernels/philox.h"

enum { BLOCKS = VM_CHUNK / 4 };

/* word[k*BLOCKS + i] = word k of block i of the piece */
static void draw(const vm_graph *g, uint64_t node_key, int64_t piece, uint32_t *restrict word) {
    uint64_t key = g->seed, stream = g->step << 32 ^ node_key, first = (uint64_t)piece * BLOCKS;
#pragma omp simd
    for (int i = 0; i < BLOCKS; i++) {
        uint32_t w0, w1, w2, w3;
        vm_philox_words(key, stream, first + (uint64_t)i, &w0, &w1, &w2, &w3);
        word[i] = w0, word[BLOCKS + i] = w1, word[2 * BLOCKS + i] = w2, word[3 * BLOCKS + i] = w3;
    }
}

vm_status VM_KERNEL(dropout_cpu)(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    uint64_t key = n->i[1] ? (uint64_t)n->i[2] : n->key;
    const void *x = vm_in(g, n, 0);
    void *y = vm_o(g, n, 0);
    vm_type tx = g->v[n->in[0]].type, ty = g->v[n->out[0]].type;
    vm_real keep = (vm_real)(1 / (1 - n->f[0]));
    uint32_t dropped_below = (uint32_t)(n->f[0] * 0x1p32);
    bool add = vm_adds(g, n, 0);
#pragma omp parallel for schedule(static) if (N * 8 > VM_PAR_MIN)
    for (int64_t at = 0; at < N; at += VM_CHUNK) {
        vm_real x_[VM_CHUNK], y_[VM_CHUNK];
        uint32_t word[VM_CHUNK];
        int64_t m = VM_MIN((int64_t)VM_CHUNK, N - at);
        draw(g, key, at / VM_CHUNK, word);
        const vm_real *restrict a = vm_row(x, tx, at, m, x_);
        vm_real *restrict out = vm_row_into(y, ty, at, y_, add);
#pragma omp simd
        for (int64_t i = 0; i < m; i++) out[i] = (word[i] >= dropped_below ? keep : 0) * a[i];
        vm_row_done(y, ty, at, m, out, add);
    }
    return VM_OK;
}

#ifdef VM_F64_BUILD
static inline void sin_cos_turns(double t, double *s, double *c) {
    *s = sin(6.283185307179586477 * t);
    *c = cos(6.283185307179586477 * t);
}
#else
/* sin and cos of t turns, |t| <= 1/2: t is brought within a quarter by half turns, which change the sign; polynomials
 * fitted there, absolute error below 2e-7. */
static inline void sin_cos_turns(float t, float *s, float *c) {
    float half = nearbyintf(2 * t), r = t - 0.5f * half, u = r * r, sign = 1 - 2 * half * half; /* half is -1, 0 or 1 */
    float p = 39.5367083f, q = -24.9822723f;
    p = p * u - 76.5497826f;
    p = p * u + 81.6010041f;
    p = p * u - 41.341655f;
    p = p * u + 6.28318516f;
    q = q * u + 60.144021f;
    q = q * u - 85.453572f;
    q = q * u + 64.9393466f;
    q = q * u - 19.7392085f;
    q = q * u + 1.0f;
    *s = sign * p * r;
    *c = sign * q;
}
#endif

/* Box-Muller: words a, b of a block give two normals. The radius' uniform is never 0. */
static void normals(const uint32_t *restrict a, const uint32_t *restrict b, vm_real *restrict y0,
                    vm_real *restrict y1) {
#pragma omp simd
    for (int i = 0; i < BLOCKS; i++) {
        vm_real s, c, u = (vm_real)a[i] * (vm_real)0x1p-32 + (vm_real)0x1p-33;
        vm_real r = (vm_real)sqrt(-2 * vm_log(u < 1 ? u : 1));
        sin_cos_turns((vm_real)(int32_t)b[i] * (vm_real)0x1p-32, &s, &c);
        y0[i] = r * c, y1[i] = r * s;
    }
}

vm_status VM_KERNEL(randn_cpu)(vm_graph *g, vm_node *n) {
    int64_t N = vm_count(g, n->out[0]);
    void *y = vm_o(g, n, 0);
    vm_type ty = g->v[n->out[0]].type;
#pragma omp parallel for schedule(static) if (N * 8 > VM_PAR_MIN)
    for (int64_t at = 0; at < N; at += VM_CHUNK) {
        vm_real z[VM_CHUNK];
        uint32_t w[VM_CHUNK];
        int64_t m = VM_MIN((int64_t)VM_CHUNK, N - at);
        draw(g, n->key, at / VM_CHUNK, w);
        for (int k = 0; k < 4; k += 2)
            normals(w + k * BLOCKS, w + (k + 1) * BLOCKS, z + k * BLOCKS, z + (k + 1) * BLOCKS);
        if (ty == VM_F32) memcpy((vm_real *)y + at, z, (size_t)m * sizeof *z);
        else vm_row_end(y, ty, at, m, z);
    }
    return VM_OK;
}
