/* gpu_conv.h - a convolution of conv.c as a product on a CUDA device: its sizes, and which kernels make it. */
#ifndef VM_GPU_CONV_H
#define VM_GPU_CONV_H
#include "kernels/convolve.h"
#include "kernels/gpu_gemm.h"

typedef struct {
    int64_t M, N, K, batch; /* of the product; batch: groups, times phases of a gradient with strides (conv.cu) */
    bool direct;            /* groups of few channels: sums without a product (conv_direct.cu), bound by memory */
} vm_conv_plan;
vm_conv_plan vm_conv_plan_of(const vm_graph *g, const vm_node *n, vm_convolve_what what); /* conv.c */
/* Taps that meet one pixel of x along an axis (0 rows, 1 columns) are this far apart. */
static inline int vm_conv_period(const vm_conv *k, int axis) {
    int a = k->stride[axis], b = k->dilation[axis];
    while (b) {
        int r = a % b;
        a = b, b = r;
    }
    return k->stride[axis] / a;
}
vm_status vm_conv_direct(vm_graph *g, vm_node *n, vm_convolve_what what);                 /* conv_direct.cu */

#endif
