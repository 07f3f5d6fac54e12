/* gpu_deform.cuh - what the kernels of deform.cu and deform_back.cu share: sizes of a call, and where a point lies. */
#ifndef VM_GPU_DEFORM_CUH
#define VM_GPU_DEFORM_CUH
#include "kernels/gpu_elem.cuh"
extern "C" {
#include "kernels/deform.h"
}

typedef struct {
    int H[DEFORM_MAX_LEVELS], W[DEFORM_MAX_LEVELS];
    int64_t begin[DEFORM_MAX_LEVELS + 1]; /* first cell of each map */
    int64_t bins[DEFORM_MAX_LEVELS];      /* first bin of each map (deform_cells) */
    int64_t B, S, Q, n_bins;
    int L, P;
    gpu_div NH, HS, q, LP, p;
} deform_call;

static inline deform_call deform_call_of(const vm_graph *g, const vm_node *n, int first) {
    const vm_value *v = &g->v[n->in[first]];
    deform_call c = {};
    c.B = v->ne[0], c.S = v->ne[1], c.Q = vm_dim(g, n->in[first + 1], 1), c.n_bins = deform_bins(n->i);
    c.L = (int)n->i[DEFORM_LEVELS], c.P = (int)n->i[DEFORM_POINTS];
    c.NH = gpu_div_by(n->i[DEFORM_HEADS]), c.HS = gpu_div_by(v->ne[2] / n->i[DEFORM_HEADS]);
    c.q = gpu_div_by(c.Q), c.LP = gpu_div_by((int64_t)c.L * c.P), c.p = gpu_div_by(c.P);
    for (int l = 0; l < c.L; l++) {
        c.H[l] = (int)n->i[2 * l], c.W[l] = (int)n->i[2 * l + 1];
        c.begin[l + 1] = c.begin[l] + (int64_t)c.H[l] * c.W[l];
        if (l + 1 < c.L) c.bins[l + 1] = c.bins[l] + deform_cells(c.H[l], c.W[l]);
    }
    return c;
}

/* The cell of the upper left corner, -1 from it on, and the fractions behind it. */
typedef struct {
    int x0, y0;
    float fx, fy;
} deform_point;
__device__ __forceinline__ bool deform_locate(const float *loc, int64_t at, int H, int W, deform_point *p) {
    float x = fmaf(loc[2 * at], (float)W, -0.5f), y = fmaf(loc[2 * at + 1], (float)H, -0.5f);
    if (!(x > -1.0f && y > -1.0f && x < (float)W && y < (float)H)) return false; /* NaN too */
    float xf = floorf(x), yf = floorf(y);
    p->x0 = (int)xf, p->y0 = (int)yf, p->fx = x - xf, p->fy = y - yf;
    return true;
}

#endif
