/* experts_q.h - what experts_q.c and its kernels share: inputs and outputs of the nodes. */
#ifndef VM_EXPERTS_Q_H
#define VM_EXPERTS_Q_H
#include "kernels/linear_q.h"

/* Inputs: x or dy and the weights as linear_q.h has them (LQ_X .. LQ_NESTED), then these. vm_node.i as there, LQ_N and LQ_K of one expert. */
enum { EQ_OFFSETS = LQ_N_DX, EQ_ORDER, EQ_N_IN };
/* Outputs behind the result. Forward: EQ_ROOM of the few rows (linear_q_cpu.h). EQ_TILE of a weight, its EQ_RESULTS, EQ_FILLED rows of x or
 * dy for one product; EQ_MOVED: with an order rows of x, or of dx in f32, whose columns stand as those of the codes, EQ_BACK: where each
 * column of dx stands there. On a device all but EQ_MOVED are empty. */
enum { EQ_ROOM = 1, EQ_TILE, EQ_RESULTS, EQ_FILLED, EQ_MOVED, EQ_BACK };

#endif
