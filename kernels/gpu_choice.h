/* gpu_choice.h - which implementation of a matrix product a CUDA device takes: a table of what was measured on real devices, our
 * kernels where nothing was. And NVIDIA's cuBLASLt as that other implementation, opened at run time where it is installed. */
#ifndef VM_GPU_CHOICE_H
#define VM_GPU_CHOICE_H
#include "kernels/gpu_gemm.h"

typedef enum { VM_GPU_OURS, VM_GPU_CUBLASLT } vm_gpu_by;

vm_gpu_by vm_gpu_choice(const vm_graph *g, const vm_gpu_product *p);
/* Benchmarks and tests: every later product that cuBLASLt can do is done so, or none; -1 = by the table again. */
void vm_gpu_choose(int by);

/* --- gpu_blas.c --------------------------------------------------------------------------------------------------------- */
/* Opens the library (file NULL: under its usual names). VM_EDEVICE and one sentence when it is not there. */
vm_status vm_gpu_blas_open(const char *file, vm_error *e);
bool vm_gpu_blas_can(const vm_gpu_product *p); /* the library has this product, with its end in the same kernel */
vm_status vm_gpu_blas_run(vm_graph *g, const vm_gpu_product *p); /* workspace: vm_scratch */

#endif
