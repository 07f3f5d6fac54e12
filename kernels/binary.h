/* binary.h - what binary.c and its kernels share. */
#ifndef VM_BINARY_H
#define VM_BINARY_H
#include "kernels/ops.h"

enum { VM_DIV_B, VM_MAXIMUM_A, VM_MAXIMUM_B }; /* -dy a/b^2; dy where a is larger; dy where b is larger */

#endif
