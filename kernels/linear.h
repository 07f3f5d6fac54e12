/* linear.h - what other op files need of linear.c. */
#ifndef VM_LINEAR_H
#define VM_LINEAR_H
#include "kernels/graph.h"

enum { VM_FEW_ROWS = 8 }; /* rows of x that share a pass over a weight as it stands in memory (few_rows.h) */
/* Whether the processor takes rows by eights: the one way that gives a row the same bits among any others. */
static inline bool vm_stays_few(const vm_graph *g, int64_t M) { return M <= VM_FEW_ROWS || g->deterministic; }
static inline int64_t vm_few_room(int64_t K) { return VM_FEW_ROWS * ((K + 15) / 16 * 16); } /* numbers of x that these take */
/* x and a weight in bf16: so many rows of x are multiplied by pairs (few_pairs.h), where their bits may depend on how many they are and
 * the processor can; on others by eights as well. Measured on Zen 5: fewer rows are bound by memory, more are faster as a product. */
enum { VM_LEAST_PAIR_ROWS = 5, VM_PAIR_ROWS = 16 };
static inline bool vm_stays_pairs(const vm_graph *g, vm_type x, vm_type w, int64_t M) {
    return x == VM_BF16 && w == VM_BF16 && M >= VM_LEAST_PAIR_ROWS && M <= VM_PAIR_ROWS && !g->deterministic;
}
static inline int64_t vm_pair_room(int64_t M, int64_t K) { return VM_MAX(M * ((K + 31) / 32 * 32) / 2, vm_few_room(K)); } /* as floats */
/* Of a weight, lines of per_line numbers of type t: as many as stay in the caches near the cores. */
static inline int64_t vm_tile_lines(int64_t lines, int64_t per_line, vm_type t) {
    int64_t fit = (int64_t)(((size_t)2 << 20) / ((size_t)VM_MAX(per_line, (int64_t)1) * vm_type_size(t))) / 64 * 64;
    return VM_MIN(lines, VM_MAX(fit, (int64_t)64));
}

/* A weight that stays in memory as its file has it, in 16 bits: nothing is packed, products read it where it lies. Graphs that train
 * bring it to the type of the product in a node of its own. */
static inline bool vm_stays(const vm_graph *g, vm_val w) {
    const vm_value *x = &g->v[w];
    return x->kind == VM_PARAM && (x->type == VM_BF16 || x->type == VM_F16) && !g->training && g->be->device == VM_CPU_DEV;
}

/* A constant weight, of which products read a copy that is packed once. */
static inline bool vm_linear_packs(const vm_graph *g, vm_val w) {
    return g->v[w].kind == VM_PARAM && g->v[w].root == w && !vm_stays(g, w) && !g->training && !g->deterministic;
}

vm_val vm_column_sums(vm_graph *g, vm_val dy); /* dy (...,N) -> (N) f32: the gradient of a bias */

#endif
