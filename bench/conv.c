/* conv.c - convolutions, batch normalisation and pooling with the sizes of RN50, of a latent diffusion UNet and of its
 * autoencoder: forward in inference, and one training pass (forward, gradients of input and weight). GFLOP/s; those
 * bound by memory are 0. One JSON line per row (measure.h). */
#include "bench/measure.h"
#include "kernels/ops.h"

typedef struct {
    const char *name;
    int64_t B, H, C, N;
    vm_conv k;
} conv_case;

#define SAME3 { .KH = 3, .KW = 3, .pad = { 1, 1, 1, 1 } }
static const conv_case convs[] = {
    { "stem 3x3/2 224x3 to 32", 8, 224, 3, 32, { .KH = 3, .KW = 3, .stride = { 2, 2 }, .pad = { 1, 1, 1, 1 } } },
    { "stem 3x3 112x32 to 64", 8, 112, 32, 64, SAME3 },
    { "rn50 3x3 56x64", 8, 56, 64, 64, SAME3 },
    { "rn50 3x3 14x256", 8, 14, 256, 256, SAME3 },
    { "rn50 3x3 7x512", 8, 7, 512, 512, SAME3 },
    { "rn50 1x1 56x64 to 256", 8, 56, 64, 256, { .KH = 1, .KW = 1 } },
    { "unet 3x3 64x320", 2, 64, 320, 320, SAME3 },
    { "unet 3x3 32x640", 2, 32, 640, 640, SAME3 },
    { "unet 3x3 8x2560 to 1280", 2, 8, 2560, 1280, SAME3 },
    { "unet 3x3/2 32x640", 2, 32, 640, 640, { .KH = 3, .KW = 3, .stride = { 2, 2 }, .pad = { 1, 1, 1, 1 } } },
    { "vae 3x3 256x128", 1, 256, 128, 128, SAME3 },
    { "depthwise 7x7 56x96", 8, 56, 96, 96, { .KH = 7, .KW = 7, .pad = { 3, 3, 3, 3 }, .groups = 96 } },
};

static void run(void *ctx) {
    vm_graph *g = ctx;
    if (vm_run(g)) die(&g->err);
}

/* Builds y(x) in a graph of its own and measures it; training: with gradients of x and w. */
static void row(const char *name, vm_type t, bool training, int64_t B, int64_t H, int64_t C, vm_param *w,
                vm_val (*build)(vm_graph *, vm_val, const void *), const void *ctx) {
    char full[80];
    snprintf(full, sizeof full, "%s%s", name, training ? ", training" : "");
    if (!wanted(name)) return;
    vm_graph *g = vm_graph_new(vm_backend_cpu(), t);
    const int64_t ne[] = { B, H, H, C };
    g->training = training;
    vm_val x = vm_input(g, "x", t, 4, ne), y = build(g, x, ctx);
    vm_output(g, "y", y);
    if (training) {
        vm_backward(g, 1, &y, NULL, w ? 2 : 1, (vm_val[]){ x, w ? vm_weight(g, w) : 0 });
        vm_output(g, "dx", vm_grad(g, x));
    }
    if (vm_plan(g)) die(&g->err); /* zeros are as good as other numbers */
    measure("conv", full, t, graph_gflop(g, NULL), B, run, g);
    vm_graph_free(g);
}

typedef struct {
    const conv_case *c;
    vm_param *w;
} conv_ctx;
static vm_val build_conv(vm_graph *g, vm_val x, const void *ctx) {
    const conv_ctx *c = ctx;
    return vm_conv2d(g, x, vm_weight(g, c->w), 0, c->c->k, VM_NONE, 0, g->dtype);
}
static vm_val build_norm(vm_graph *g, vm_val x, const void *ctx) {
    vm_param *const *p = ctx;
    vm_val stats[2], w = vm_weight(g, p[0]), b = vm_weight(g, p[1]);
    return g->training ? vm_batchnorm_batch(g, x, w, b, 0, 1e-5f, VM_RELU, g->dtype, stats)
                       : vm_batchnorm(g, x, w, b, b, w, 0, 1e-5f, VM_RELU, g->dtype);
}
static vm_val build_pool(vm_graph *g, vm_val x, const void *ctx) {
    return vm_avgpool2d(g, x, (vm_pool){ .KH = 2, .KW = 2 }, g->dtype);
}

int main(int argc, char **argv) {
    bench_begin(argc, argv);
    for (int t = VM_F32; t <= VM_BF16; t++) {
        if (!wanted_dtype((vm_type)t)) continue;
        for (int k = 0; k < VM_LEN(convs); k++)
            for (int training = 0; training < 2; training++) {
                const conv_case *c = &convs[k];
                int64_t groups = c->k.groups ? c->k.groups : 1, ne[] = { c->N, c->C / groups * c->k.KH * c->k.KW };
                vm_param *w = vm_param_new(vm_backend_cpu(), "w", VM_F32, 2, ne, NULL);
                row(c->name, (vm_type)t, training, c->B, c->H, c->C, w, build_conv, &(conv_ctx){ c, w });
                vm_param_free(w);
            }
        for (int training = 0; training < 2; training++) {
            vm_param *p[2];
            for (int k = 0; k < 2; k++) p[k] = vm_param_new(vm_backend_cpu(), "p", VM_F32, 1, (int64_t[]){ 256 }, NULL);
            row("batchnorm relu 56x256", (vm_type)t, training, 8, 56, 256, p[0], build_norm, p);
            row("avgpool 2x2 56x256", (vm_type)t, training, 8, 56, 256, NULL, build_pool, NULL);
            vm_param_free(p[0]), vm_param_free(p[1]);
        }
    }
    return 0;
}
