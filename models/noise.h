/* noise.h - the standard normal numbers that a picture begins with, as other programs draw them from the same seed. Every picture has a stream
 * of its own, so that it does not depend on the batch it stands in.
 *
 *   NOISE_CPU      torch's generator of the processor (diffusers, ComfyUI): Mersenne Twister 19937 (Matsumoto and Nishimura 1998) of the lower
 *                  32 bits of the seed, 24 bits a number, Box-Muller on blocks of 16: eight radii, then eight angles
 *   NOISE_PHILOX   torch's generator of CUDA devices (the web interface's default): Philox 4x32-10, block (draw, element), Box-Muller */
#ifndef VM_NOISE_H
#define VM_NOISE_H
#include "kernels/base.h"

typedef enum { NOISE_CPU, NOISE_PHILOX, NOISE_GIVEN } noise_kind;
typedef struct {
    noise_kind kind;
    uint64_t seed;
    uint32_t mt[624];   /* CPU: state and place in it */
    int at;
    uint32_t draws;     /* maps drawn so far */
    /* GIVEN: the next n numbers, in the order of the reference */
    vm_status (*given)(void *ctx, int64_t n, float *out, vm_error *e);
    void *ctx;
} noise;
noise noise_begin(noise_kind kind, uint64_t seed);
/* The next map: numbers in the order (C,HW), as torch fills a tensor, laid out as (HW,C). */
vm_status noise_map(noise *s, int64_t C, int64_t HW, float *out, vm_error *e);
#endif
