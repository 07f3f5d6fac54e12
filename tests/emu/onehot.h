/* onehot.h - where each table of onehot.cu begins, in numbers. */
#ifndef VM_EMU_ONEHOT_H
#define VM_EMU_ONEHOT_H

enum {
    ONEHOT_MMA_BF16 = 0,                              /* [256 places of a][32 lanes][4]: place of b + 1 */
    ONEHOT_MMA_F16 = ONEHOT_MMA_BF16 + 256 * 128,
    ONEHOT_LDMATRIX = ONEHOT_MMA_F16 + 256 * 128,     /* [4 kinds][32 lanes][8 halves]: place of the element */
    ONEHOT_SHUFFLE = ONEHOT_LDMATRIX + 4 * 32 * 8,    /* [6 widths][32 distances][32 lanes][4 kinds]: lane */
    ONEHOT_CP_ASYNC = ONEHOT_SHUFFLE + 6 * 32 * 32 * 4, /* [17 sizes][32 bytes] */
    ONEHOT_BITS = ONEHOT_CP_ASYNC + 17 * 32,          /* [32 lanes][8] */
    ONEHOT_ALL = ONEHOT_BITS + 32 * 8
};

#endif
