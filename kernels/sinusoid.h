/* sinusoid.h - what sinusoid.c and rope.c know of each other, and sine and cosine that vectorise. */
#ifndef VM_SINUSOID_H
#define VM_SINUSOID_H
#include <math.h>

#include "kernels/both.h"
#include "kernels/graph.h"

enum { VM_FREQUENCIES = 512 };

/* y (...,C) from t (...): column pair i holds amplitude sin(a) and cos(a), a = scale (t f[i]), rounded to f32 as
 * written. */
typedef struct {
    int64_t n; /* pairs; C is 2n, or 2n+1 with a last column of zeros */
    vm_real scale, amplitude;
    float f[VM_FREQUENCIES];
} vm_frequencies;

/* layout: vm_sinusoid_layout. *q is copied. t: f32 or i32. */
vm_val vm_sinusoid_of(vm_graph *g, vm_val t, int64_t C, int layout, const vm_frequencies *q, vm_type out);

/* Places of sine and cosine of pair i among the columns of a row. */
VM_BOTH int64_t vm_sin_at(int layout, int64_t n, int64_t i) {
    return layout == 0 ? i : layout == 1 ? n + i : 2 * i;
}
VM_BOTH int64_t vm_cos_at(int layout, int64_t n, int64_t i) {
    return layout == 0 ? n + i : layout == 1 ? i : 2 * i + 1;
}

/* Both within 1 ulp of f32 for |x| up to 10^6: x - k pi/2 in double (pi/2 in two parts), polynomials on [-pi/4,
 * pi/4]. k comes out of the last bits of a double near 1.5 2^52. */
#ifdef VM_F64_BUILD
static inline void vm_sincos(vm_real x, vm_real *s, vm_real *c) { *s = sin(x), *c = cos(x); }
#else
VM_BOTH void vm_sincos(float x, float *s, float *c) {
    union { double d; uint64_t u; } t = { (double)x * 0.63661977236758134308 + 0x1.8p52 };
    double k = t.d - 0x1.8p52, r = (double)x - k * 1.57079632673412561417;
    r -= k * 6.07710050650619224932e-11;
    double z = r * r, p = -1.0 / 39916800, q = 1.0 / 479001600;
    p = p * z + 1.0 / 362880;
    p = p * z - 1.0 / 5040;
    p = p * z + 1.0 / 120;
    p = p * z - 1.0 / 6;
    q = q * z - 1.0 / 3628800;
    q = q * z + 1.0 / 40320;
    q = q * z - 1.0 / 720;
    q = q * z + 1.0 / 24;
    q = q * z - 0.5;
    float a = (float)(r + r * z * p), b = (float)(1 + z * q);
    float sine = t.u & 1 ? b : a, cosine = t.u & 1 ? a : b;
    *s = t.u & 2 ? -sine : sine, *c = (t.u + 1) & 2 ? -cosine : cosine;
}
#endif

#endif
