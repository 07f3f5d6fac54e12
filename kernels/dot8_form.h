/* dot8_form.h - how codes of weights and rounded rows of x stand for the products of dot8.h. */
#ifndef VM_DOT8_FORM_H
#define VM_DOT8_FORM_H
#include "kernels/quant.h"

/* Columns of x that share a scale; bytes of a register of codes, its lanes; rows of x that share a pass over the codes. Of all S the
 * largest error |rint(S t)/S - t| of the 16 numbers of NF4 is least for this one: 0.0029 (0.0037 for 127). */
enum { DOT8_GROUP = 32, DOT8_BYTES = 64, DOT8_LANES = 16, DOT8_ROWS = 8 };
#define DOT8_NF4 123.25f

/* x as codes meet it, for each register of codes and row of x: lines of 64 bytes. 8 bits: x, start, scale. 4 bits: x of the codes in the
 * high halves (even columns), of those in the low halves, start, scale. start: 16 i32 (f32 with zeros), scale: 16 f32. */
typedef struct {
    vm_quant_kind kind;
    bool zeros;
} dot8_kind;
static inline int64_t dot8_columns(vm_quant_kind k) { return k == VM_INT8 ? DOT8_BYTES : 2 * DOT8_BYTES; }
static inline int64_t dot8_lines(vm_quant_kind k) { return k == VM_INT8 ? 3 : 4; }
static inline int64_t dot8_registers(vm_quant_kind k, int64_t K) { return (K + dot8_columns(k) - 1) / dot8_columns(k); }

/* Whether blocks are whole registers, or whole lanes of one; or all is one block. */
static inline bool dot8_fits(vm_quant_kind k, int64_t K, int64_t block) {
    int64_t columns = dot8_columns(k);
    return (k == VM_INT8 || K % 2 == 0) && (block % columns == 0 || (columns % block == 0 && block % (columns / DOT8_LANES) == 0) || block >= K);
}

/* Bytes of M rows of x. */
static inline int64_t dot8_room(vm_quant_kind k, int64_t M, int64_t K) {
    return (M + DOT8_ROWS - 1) / DOT8_ROWS * DOT8_ROWS * dot8_registers(k, K) * dot8_lines(k) * DOT8_BYTES;
}
#endif
