/* gpu_unary.cuh - the functions of unary.c and their derivatives on one f32 value, for unary.cu and for epilogues. */
#ifndef VM_GPU_UNARY_CUH
#define VM_GPU_UNARY_CUH
#include "kernels/gpu.cuh"
extern "C" {
#include "kernels/ops.h"
}

__device__ __forceinline__ float gpu_sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
/* Phi(x), and phi(x) = e^(-x^2/2)/sqrt(2 pi): the polynomial of vm_normal (cpu.h), so that both devices agree */
__device__ __forceinline__ float gpu_normal(float x, float *phi) {
    float a = fabsf(x), z = a < 14.0f ? a : 14.0f, e = expf(-0.5f * z * z), p = 1.21707205e-06f;
    p = fmaf(p, z, -2.79102661e-05f);
    p = fmaf(p, z, 0.000286034834f);
    p = fmaf(p, z, -0.00175925602f);
    p = fmaf(p, z, 0.00742515642f);
    p = fmaf(p, z, -0.023564062f);
    p = fmaf(p, z, 0.0604962442f);
    p = fmaf(p, z, -0.132183538f);
    p = fmaf(p, z, 0.249832536f);
    p = fmaf(p, z, -0.39892803f);
    p = fmaf(p, z, 0.499999785f);
    *phi = 0.398942280f * e;
    return x > 0.0f ? 1.0f - e * p : e * p;
}
/* (1 + tanh(u))/2 = s(2u) */
__device__ __forceinline__ float gpu_gelu_tanh_gate(float x) {
    return gpu_sigmoid(1.59576912160573071176f * (x + 0.044715f * x * x * x));
}
__device__ __forceinline__ float gpu_swish_slope(float x, float beta) {
    float s = gpu_sigmoid(beta * x);
    return s * (1.0f + beta * x * (1.0f - s));
}

/* f(x) */
__device__ __forceinline__ float gpu_unary(int kind, float x) {
    float phi;
    switch (kind) {
        case VM_RELU: return x < 0.0f ? 0.0f : x; /* keeps NaN */
        case VM_QUICK_GELU: return x * gpu_sigmoid(1.702f * x);
        case VM_GELU: return x * gpu_normal(x, &phi);
        case VM_GELU_TANH: return x * gpu_gelu_tanh_gate(x);
        case VM_SILU: return x * gpu_sigmoid(x);
        case VM_SIGMOID: return gpu_sigmoid(x);
        case VM_TANH: return tanhf(x);
        case VM_EXP: return expf(x);
        case VM_LOG: return logf(x);
        case VM_SQUARE: return x * x;
        case VM_SQRT: return sqrtf(x);
        case VM_SOFTPLUS: return (x > 0.0f ? x : 0.0f) + log1pf(expf(-fabsf(x))); /* no overflow */
        case VM_NEG: return -x;
        default: return x;
    }
}
/* f'(x) d */
__device__ __forceinline__ float gpu_unary_slope(int kind, float x, float d) {
    float s, cdf, phi;
    switch (kind) {
        case VM_RELU: return x > 0.0f ? d : 0.0f;
        case VM_QUICK_GELU: return d * gpu_swish_slope(x, 1.702f);
        case VM_GELU: cdf = gpu_normal(x, &phi); return d * (cdf + x * phi);
        case VM_GELU_TANH:
            s = gpu_gelu_tanh_gate(x);
            return d * (s + x * s * (1.0f - s) * 1.59576912160573071176f * (1.0f + 3.0f * 0.044715f * x * x));
        case VM_SILU: return d * gpu_swish_slope(x, 1.0f);
        case VM_SIGMOID: s = gpu_sigmoid(x); return d * s * (1.0f - s);
        case VM_TANH: s = tanhf(x); return d * (1.0f - s * s);
        case VM_EXP: return d * expf(x);
        case VM_LOG: return d / x;
        case VM_SQUARE: return d * 2.0f * x;
        case VM_SQRT: return d * 0.5f / sqrtf(x);
        case VM_SOFTPLUS: return d * gpu_sigmoid(x);
        case VM_NEG: return -d;
        default: return d;
    }
}

#endif
