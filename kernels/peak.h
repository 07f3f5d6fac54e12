/* peak.h - what this machine can do at most, measured with all threads: the ceilings that profiles are held against. */
#ifndef VM_PEAK_H
#define VM_PEAK_H
#include "kernels/graph.h"

/* FLOP/s of independent multiply-adds in registers, at the processor level in use: VM_F32, or VM_BF16 (dot products of
 * pairs; 0 when the processor has none). A tenth of a second. */
double vm_peak_flops(vm_type t);
/* Bytes/s of reading memory far larger than the caches; 0 when there is no memory for it. */
double vm_peak_read(void);

/* The same of any backend; of a device: its largest matrix product, and a copy in its memory, which reads and writes. */
double vm_peak_flops_on(vm_backend *be, vm_type t);
double vm_peak_read_on(vm_backend *be);

const char *vm_level_name(int level);      /* of vm_cpu_level: "AVX-512", ... */
const char *vm_gemm_library(char buf[64]); /* "oneDNN 2.7.3" */
#endif
