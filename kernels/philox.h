/* philox.h - random numbers that are a function of (key, stream, index): Philox 4x32 with 10 rounds.
 *
 * J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. The 128-bit counter
 * is {index low, index high, stream low, stream high}, the 64-bit key is the seed. Nothing is carried from one block to
 * the next, so any thread, rank or device can make any number of any sequence. Integers are the same everywhere;
 * normals use the C library's log, cos and sin, whose last bit may differ between libraries. */
#ifndef VM_PHILOX_H
#define VM_PHILOX_H
#include <math.h>
#include <stdint.h>

/* One block: four words. In variables of their own, so that loops over blocks vectorise. */
static inline void vm_philox_words(uint64_t key, uint64_t stream, uint64_t index, uint32_t *w0, uint32_t *w1,
                                   uint32_t *w2, uint32_t *w3) {
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1, c3 = (uint32_t)p0;
    }
    *w0 = c0, *w1 = c1, *w2 = c2, *w3 = c3;
}
static inline void vm_philox(uint64_t key, uint64_t stream, uint64_t index, uint32_t out[4]) {
    vm_philox_words(key, stream, index, &out[0], &out[1], &out[2], &out[3]);
}

/* 32 bits to [0, 1), exact. */
static inline float vm_unit_f32(uint32_t x) { return (float)(x >> 8) * 0x1p-24f; }
static inline double vm_unit_f64(uint32_t hi, uint32_t lo) {
    return (double)((((uint64_t)hi << 32) | lo) >> 11) * 0x1p-53;
}

/* Two independent standard normals of one block (Box-Muller). */
static inline void vm_normal2(const uint32_t x[4], double out[2]) {
    double r = sqrt(-2 * log(1 - vm_unit_f64(x[0], x[1]))), angle = 6.283185307179586 * vm_unit_f64(x[2], x[3]);
    out[0] = r * cos(angle), out[1] = r * sin(angle);
}

/* Where i stands in the permutation of 0 ... n-1 (i < n <= 2^62) that belongs to (key, stream), without making it: a
 * Feistel network of six rounds over the next even number of bits, walked again while the result is not below n (Black
 * and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002). */
static inline uint64_t vm_shuffled(uint64_t key, uint64_t stream, uint64_t i, uint64_t n) {
    int half = 3;
    while (n > (uint64_t)1 << 2 * half) half++;
    uint64_t mask = ((uint64_t)1 << half) - 1;
    do {
        uint64_t left = i >> half, right = i & mask;
        for (uint64_t round = 0; round < 6; round++) {
            uint32_t x[4];
            vm_philox(key, stream, round << 32 | right, x);
            uint64_t next = left ^ (x[0] & mask);
            left = right, right = next;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}

/* The same numbers read one after the other. */
typedef struct {
    uint64_t key, stream, index; /* index of the next block */
    uint32_t block[4];
    int left; /* words of the block not used yet */
} vm_rng;

static inline vm_rng vm_rng_at(uint64_t key, uint64_t stream) { return (vm_rng){ .key = key, .stream = stream }; }

static inline uint32_t vm_rng_u32(vm_rng *r) {
    if (!r->left) {
        vm_philox(r->key, r->stream, r->index++, r->block);
        r->left = 4;
    }
    return r->block[4 - r->left--];
}

/* 0 ... n-1, n > 0; the bias is below n / 2^32. */
static inline uint32_t vm_rng_below(vm_rng *r, uint32_t n) { return (uint32_t)(((uint64_t)vm_rng_u32(r) * n) >> 32); }
static inline float vm_rng_f32(vm_rng *r) { return vm_unit_f32(vm_rng_u32(r)); } /* [0, 1) */
static inline double vm_rng_f64(vm_rng *r) {
    uint32_t hi = vm_rng_u32(r);
    return vm_unit_f64(hi, vm_rng_u32(r));
}
/* One standard normal; takes four words. */
static inline double vm_rng_normal(vm_rng *r) {
    uint32_t x[4];
    double z[2];
    for (int k = 0; k < 4; k++) x[k] = vm_rng_u32(r);
    vm_normal2(x, z);
    return z[0];
}

#endif
