/* experts.h - what experts.c and its kernels share: the products of the CPU, whose number of rows is known at the run only. */
#ifndef VM_EXPERTS_H
#define VM_EXPERTS_H
#include "kernels/gemm.h"

/* The rows of an expert are taken in chunks of 256, 64, or what is left rounded up to a power of two (copied and filled with zeros):
 * products of sizes 2^k, made when first needed. */
enum { EXPERTS_SIZES = 9, EXPERTS_ROWS = 1 << (EXPERTS_SIZES - 1) };
typedef struct { vm_gemm *of[EXPERTS_SIZES]; } experts_products;

/* k of the next chunk of `left` rows. */
static inline int experts_chunk(int64_t left) {
    int k = 0;
    if (left >= 256) return 8;
    if (left >= 64) return 6;
    while ((int64_t)1 << k < left) k++;
    return k;
}

#endif
