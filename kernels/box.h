/* box.h - overlap of two boxes and its derivatives, for the kernels of box.c on either device. Every
 * function is static inline and needs nothing of the host. */
#ifndef VM_BOX_H
#define VM_BOX_H
#ifndef VM_GPU_CUH /* which has it, as C */
#include "kernels/graph.h"
#endif
#ifdef __CUDACC__
#define BOX_INLINE __host__ __device__ static inline
#else
#define BOX_INLINE static inline
#endif

typedef struct { vm_real x0, y0, x1, y1; } box_corners;

/* From (cx,cy,w,h), or from corners as they are. */
BOX_INLINE box_corners box_of(const vm_real *p, bool centre) {
    box_corners b = { p[0], p[1], p[2], p[3] };
    if (!centre) return b;
    b.x0 = p[0] - p[2] / 2, b.y0 = p[1] - p[3] / 2, b.x1 = p[0] + p[2] / 2, b.y1 = p[1] + p[3] / 2;
    return b;
}

/* Area in both, in either, and of the smallest box around them; width and height of the first and of the last. */
typedef struct { vm_real iw, ih, cw, ch, I, U, C; } box_overlap;

BOX_INLINE box_overlap box_overlap_of(box_corners a, box_corners b) {
    box_overlap o;
    vm_real iw = (a.x1 < b.x1 ? a.x1 : b.x1) - (a.x0 > b.x0 ? a.x0 : b.x0);
    vm_real ih = (a.y1 < b.y1 ? a.y1 : b.y1) - (a.y0 > b.y0 ? a.y0 : b.y0);
    o.iw = iw > 0 ? iw : 0, o.ih = ih > 0 ? ih : 0;
    o.cw = (a.x1 > b.x1 ? a.x1 : b.x1) - (a.x0 < b.x0 ? a.x0 : b.x0);
    o.ch = (a.y1 > b.y1 ? a.y1 : b.y1) - (a.y0 < b.y0 ? a.y0 : b.y0);
    o.I = o.iw * o.ih;
    o.U = (a.x1 - a.x0) * (a.y1 - a.y0) + (b.x1 - b.x0) * (b.y1 - b.y0) - o.I;
    o.C = o.cw * o.ch;
    return o;
}

/* I/U - (C - U)/C; denominators are not guarded (empty boxes on one point give NaN) */
BOX_INLINE vm_real box_giou(box_corners a, box_corners b) {
    box_overlap o = box_overlap_of(a, b);
    return o.I / o.U - (o.C - o.U) / o.C;
}

/* d += up * derivative of box_giou(a, b) by a, as (x0,y0,x1,y1), or as (cx,cy,w,h). Each edge of the intersection and of the box
 * around belongs to the box that is strictly inside, or outside. */
BOX_INLINE void box_giou_back(box_corners a, box_corners b, bool centre, vm_real up, vm_real d[4]) {
    box_overlap o = box_overlap_of(a, b);
    vm_real w = a.x1 - a.x0, h = a.y1 - a.y0;
    /* giou = I/U + U/C - 1, U = A + B - I */
    vm_real dU = 1 / o.C - o.I / (o.U * o.U), dI = 1 / o.U - dU, dC = -o.U / (o.C * o.C);
    vm_real ix = o.iw > 0 ? dI * o.ih : 0, iy = o.ih > 0 ? dI * o.iw : 0;
    vm_real x0 = -dU * h - (a.x0 > b.x0 ? ix : 0) - (a.x0 < b.x0 ? dC * o.ch : 0);
    vm_real y0 = -dU * w - (a.y0 > b.y0 ? iy : 0) - (a.y0 < b.y0 ? dC * o.cw : 0);
    vm_real x1 = dU * h + (a.x1 < b.x1 ? ix : 0) + (a.x1 > b.x1 ? dC * o.ch : 0);
    vm_real y1 = dU * w + (a.y1 < b.y1 ? iy : 0) + (a.y1 > b.y1 ? dC * o.cw : 0);
    if (centre) {
        d[0] += up * (x0 + x1), d[1] += up * (y0 + y1), d[2] += up * (x1 - x0) / 2, d[3] += up * (y1 - y0) / 2;
    } else {
        d[0] += up * x0, d[1] += up * y0, d[2] += up * x1, d[3] += up * y1;
    }
}

#endif
