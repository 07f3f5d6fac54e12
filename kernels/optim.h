/* optim.h - what optim.c and its kernels share. */
#ifndef VM_OPTIM_H
#define VM_OPTIM_H

enum { VM_SQNORM_CHUNK = 1 << 14 }; /* elements of a gradient that a block of a GPU sums */

#endif
