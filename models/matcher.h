/* matcher.h - which prediction answers for which object: the cheapest assignment of targets to queries (Carion et al. 2020, DETR),
 * made on the host between two nodes of a graph. */
#ifndef VM_MATCHER_H
#define VM_MATCHER_H
#include "kernels/ops.h"

/* The cheapest assignment (Jonker & Volgenant 1987): cost (R,C) of row r in column c, finite; col[r] gets the column of row r, -1 where
 * there are more rows than columns. O(min^2 max), in double. Of several cheapest ones the result is always the same. */
vm_status matcher_assign(const double *cost, int64_t R, int64_t C, int32_t *col, vm_error *e);

/* Cost of query q for target t: class * mean over the tokens v of its label of (pos - neg) + box * |b_q - b_t|_1 - giou * GIoU, with
 *   p = sigmoid(logit),  pos = alpha (1-p)^gamma (-log(p + 1e-8)),  neg = (1-alpha) p^gamma (-log(1 - p + 1e-8)).
 * What is not finite costs FLT_MAX. Published weights: 1, 5, 2, alpha 0.25, gamma 2 (Grounding DINO). */
typedef struct { double class, box, giou, alpha, gamma; } matcher_costs;

/* Sizes of a batch: at most T targets an image. Kept by the caller for the life of the graph. */
typedef struct {
    matcher_costs costs;
    int64_t B, Q, V, T;
} matcher;

/* Fills cost (Q,T) of one image: logits (Q,V), boxes (Q,4), labels (T,V) of 0 and 1, targets (T,4); boxes (cx,cy,w,h). */
void matcher_cost(const matcher_costs *c, int64_t Q, int64_t V, int64_t T, const vm_real *logits, const vm_real *boxes,
                  const vm_real *labels, const vm_real *targets, double *cost);

/* A host node: logits (B,Q,V), boxes (B,Q,4), labels (B,T,V), targets (B,T,4), all f32, counts (B) i32 (how many of an image's T targets
 * there are) -> match (B,T) i32, the query of each target, -1 for none: what vm_box_loss reads. */
vm_val matcher_node(vm_graph *g, const matcher *m, vm_val logits, vm_val boxes, vm_val labels, vm_val targets, vm_val counts);

#endif
