/* linear_q_cpu.h - for *_cpu.c files only: products of some rows of x with a weight in codes, which linear_q.c has for all rows and one
 * weight, experts_q.c for the rows of each expert. Each is compiled once per processor level where it stands. */
#ifndef VM_LINEAR_Q_CPU_H
#define VM_LINEAR_Q_CPU_H
#include "kernels/cpu.h"
#include "kernels/linear_q.h"

typedef struct {
    vm_quant_weight w;
    const vm_value *x, *y; /* rows of K and N numbers */
    const vm_real *bias;   /* (N); NULL = none */
    bool add;              /* onto what y holds */
    bool deterministic;    /* lq_rounded_rows: bits of a row do not depend on how many others there are; at most VM_ROUNDED_ROWS rows else */
    void *room;            /* lq_few_rows: f32 (LQ_ROWS, lq_room(K)); lq_rounded_rows: dot8_room(kind, M, K) bytes */
} lq_product;

/* Rows first .. first + M of y from those of x, with one pass over the codes for each LQ_ROWS of them: linear_q_cpu.c. The same with x
 * rounded to 8 bits: linear_q8_cpu.c. */
void VM_KERNEL(lq_few_rows)(const lq_product *p, int64_t first, int64_t M);
void VM_KERNEL(lq_rounded_rows)(const lq_product *p, int64_t first, int64_t M);

/* Rows n0 .. n0 + lines and columns k0 .. k0 + m of the weight as a dense tile of type t. */
void VM_KERNEL(lq_tile)(const vm_quant_weight *w, int64_t n0, int64_t lines, int64_t k0, int64_t m, void *tile, vm_type t);

#endif
