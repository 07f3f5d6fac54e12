/* interpolate.h - which pixels of a row (or column) an output pixel reads, in whole numbers: the same on every
 * device.
 *
 * Output i lies at (mul i + add) / den of the source, at least 0: i0 is the whole part, i1 = i0 + 1 (at most the
 * last), and the fraction is the weight of i1. Nearest takes i0 alone. */
#ifndef VM_INTERPOLATE_H
#define VM_INTERPOLATE_H
#include "kernels/both.h"
#include "kernels/graph.h"

enum { VM_RESIZE_MAX = 16384 }; /* pixels a side: products fit 32 bits */

typedef struct {
    int32_t in, out, mul, add, den, mix; /* mix: i1 is read too */
} vm_resize_axis;

typedef struct {
    int32_t i0, i1;
    vm_real w1; /* of i1; i0 has 1 - w1 */
} vm_resize_tap;

/* kind: vm_resize_kind */
VM_BOTH vm_resize_axis vm_resize_axis_of(int kind, int64_t in, int64_t out) {
    vm_resize_axis a;
    a.in = (int32_t)in, a.out = (int32_t)out, a.mix = kind != 0;
    a.mul = kind == 0 ? a.in : kind == 1 ? 2 * a.in : a.in - 1;
    a.add = kind == 1 ? a.in - a.out : 0;
    a.den = kind == 0 ? a.out : kind == 1 ? 2 * a.out : a.out > 1 ? a.out - 1 : 1;
    return a;
}

VM_BOTH vm_resize_tap vm_resize_at(const vm_resize_axis *a, int32_t i) {
    vm_resize_tap t;
    int32_t num = a->mul * i + a->add;
    num = num > 0 ? num : 0;
    t.i0 = num / a->den;
    t.i1 = a->mix && t.i0 + 1 < a->in ? t.i0 + 1 : t.i0;
    t.w1 = a->mix ? (vm_real)(num - t.i0 * a->den) / (vm_real)a->den : 0;
    return t;
}

/* The first output whose i0 is at least q */
VM_BOTH int32_t vm_resize_first(const vm_resize_axis *a, int32_t q) {
    int32_t num = q * a->den - a->add, i;
    if (q <= 0 || num <= 0) return 0;
    i = a->mul > 0 ? (num + a->mul - 1) / a->mul : a->out;
    return i < a->out ? i : a->out;
}
/* Outputs from..to are those that read source pixel q, with vm_resize_weight. */
VM_BOTH int32_t vm_resize_from(const vm_resize_axis *a, int32_t q) { return vm_resize_first(a, a->mix ? q - 1 : q); }
VM_BOTH int32_t vm_resize_to(const vm_resize_axis *a, int32_t q) { return vm_resize_first(a, q + 1); }
VM_BOTH vm_real vm_resize_weight(const vm_resize_axis *a, int32_t i, int32_t q) {
    vm_resize_tap t = vm_resize_at(a, i);
    return (t.i0 == q ? 1 - t.w1 : 0) + (t.i1 == q ? t.w1 : 0);
}

#endif
