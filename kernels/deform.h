/* deform.h - what deform.c and its kernels share: attributes of the nodes, and the cells that points are sorted by. */
#ifndef VM_DEFORM_H
#define VM_DEFORM_H
#include "kernels/graph.h"

/* vm_node.i: heights and widths of the maps in 0..9, then these. OUT: type of y; in the backward node which of the three
 * gradients are wanted, one bit each. */
enum { DEFORM_MAX_LEVELS = 5, DEFORM_LEVELS = 10, DEFORM_HEADS, DEFORM_POINTS, DEFORM_OUT };

/* The sort splits the queries of a map of a head into this many runs, each counted and placed by one warp. */
enum { DEFORM_RUNS = 8 };

/* A point lies in the cell of its upper left corner: (H+1) (W+1) of them, as corners from -1 on have a part in the map. */
static inline int64_t deform_cells(int64_t H, int64_t W) { return (H + 1) * (W + 1); }
static inline int64_t deform_bins(const int64_t *i) {
    int64_t n = 0;
    for (int64_t l = 0; l < i[DEFORM_LEVELS]; l++) n += deform_cells(i[2 * l], i[2 * l + 1]);
    return n;
}

#endif
