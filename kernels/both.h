/* both.h - for small functions that kernels of the CPU and of CUDA share. */
#ifndef VM_BOTH_H
#define VM_BOTH_H
#include <stdint.h>

#ifdef __CUDACC__
#define VM_BOTH __host__ __device__ static __forceinline__
#else
#define VM_BOTH static inline
#endif

#endif
