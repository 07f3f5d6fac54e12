/* gpu.c - every family of CUDA kernels against what the same device does at most in the same run: a copy in its memory, and its
 * largest matrix product in f32 and bf16. One JSON line per row, a table, and a roofline as SVG.
 *
 *   gpu [--device cuda:0] [--seconds S] [--svg FILE] [--tiny] [ROW...]     all rows when none is named
 *
 * Time is the wall clock over runs that are queued without waiting (replayed CUDA graphs), so launches overlap as they do in a
 * model. bytes and FLOP are what the op must at least move and do (vm_node_cost); what fits the second-level cache may exceed
 * 100 % of the copy. --tiny: small sizes and few runs, to see that every row works. */
#include "bench/measure.h"
#include "kernels/cpu.h"
#include "kernels/ops.h"
#include "kernels/peak.h"
#include "kernels/philox.h"
#include "bench/gpu_plot.h"
#include "kernels/gpu_choice.h"

enum { RUNS = 20, MOST = 256 };

static vm_backend *be;
static bool tiny;
static double peak[VM_NTYPES], copy_rate;
static bench_point points[MOST];
static int n_points;

/* --- measuring -------------------------------------------------------------------------------------------------------- */
static double run_some(vm_graph *g, int n) {
    double t0 = seconds(CLOCK_MONOTONIC);
    for (int k = 0; k < n; k++)
        if (vm_run(g)) die(&g->err);
    if (vm_wait(g)) die(&g->err);
    return (seconds(CLOCK_MONOTONIC) - t0) / n;
}

/* Random numbers into all inputs (zeros would need less power, and so raise the clock of products); ids become 0. */
static void fill(vm_graph *g) {
    enum { BLOCK = 1 << 20 };
    static float numbers[BLOCK];
    static uint16_t halves[BLOCK];
    static int32_t ids[BLOCK];
    vm_error e = { 0 };
    vm_rng r = vm_rng_at(1, 1);
    for (int i = 0; i < BLOCK && !numbers[0]; i++) numbers[BLOCK - 1 - i] = (float)vm_rng_normal(&r);
    for (int i = 0; i < BLOCK; i++) halves[i] = vm_f32_to_bf16(numbers[i]);
    for (int64_t v = 1; v < g->n_v; v++) {
        const vm_value *x = &g->v[v];
        if (x->kind != VM_INPUT) continue;
        const void *from = x->type == VM_F32 ? (const void *)numbers : x->type == VM_BF16 ? (const void *)halves : ids;
        const size_t each = vm_type_size(x->type);
        for (int64_t at = 0, n = vm_count(g, (vm_val)v); at < n; at += BLOCK)
            if (be->upload(be, (char *)x->data + (size_t)at * each, from, (size_t)VM_MIN(n - at, (int64_t)BLOCK) * each, &e)) die(&e);
    }
}

/* Takes the graph. Ops without a kernel are said, not passed over. */
static void row(const char *family, const char *name, vm_graph *g) {
    double gbytes, gflop, best = 1e30, start = seconds(CLOCK_MONOTONIC);
    if (!wanted(family) && !wanted(name)) goto done;
    if (vm_plan(g)) {
        printf("{\"section\":\"gpu\",\"family\":\"%s\",\"name\":\"%s\",\"error\":\"%s\"}\n", family, name, g->err.msg);
        goto done;
    }
    fill(g);
    gflop = graph_gflop(g, &gbytes);
    run_some(g, 1), run_some(g, 1); /* loads modules; captures */
    for (int r = 0; r < 3 || seconds(CLOCK_MONOTONIC) - start < budget; r++) {
        double t = run_some(g, tiny ? 1 : RUNS);
        best = t < best ? t : best;
        if (tiny) break;
    }
    double roof = VM_MAX(gflop * 1e9 / peak[g->dtype], gbytes * 1e9 / copy_rate);
    printf("{\"section\":\"gpu\",\"family\":\"%s\",\"name\":\"%s\",\"dtype\":\"%s\",\"us\":%.3f,\"gflops\":%.1f,\"gbs\":%.1f,\"of_roof\":%.3f}\n", family,
           name, vm_type_name(g->dtype), best * 1e6, gflop / best, gbytes / best, roof / best);
    fflush(stdout);
    if (n_points < MOST) {
        bench_point *p = &points[n_points++];
        *p = (bench_point){ .gflop = gflop, .gbytes = gbytes, .seconds = best, .roof = roof, .bf16 = g->dtype == VM_BF16 };
        snprintf(p->name, sizeof p->name, "%s %s", name, vm_type_name(g->dtype));
        snprintf(p->family, sizeof p->family, "%s", family);
    }
done:
    vm_graph_free(g);
}

/* --- building ----------------------------------------------------------------------------------------------------------- */
static int64_t cut(int64_t n) { return tiny ? VM_MAX(n / 32, (int64_t)16) : n; }
static vm_graph *graph(vm_type t, bool training) {
    vm_graph *g = vm_graph_new(be, t);
    vm_error e = { 0 };
    if (!g) vm_nomem(&e, sizeof *g, "a graph"), die(&e);
    g->training = training;
    return g;
}
static vm_val in(vm_graph *g, const char *name, vm_type t, int nd, const int64_t *ne) { return vm_input(g, name, t, nd, ne); }
#define NE(...) (int64_t[]){ __VA_ARGS__ }

/* Results, and with training the gradients of n values. */
static void finish(vm_graph *g, vm_val y, int n, const vm_val *wrt) {
    char name[16];
    vm_output(g, "y", y);
    if (!g->training) return;
    vm_backward(g, 1, &y, NULL, n, wrt);
    for (int k = 0; k < n; k++) {
        snprintf(name, sizeof name, "d%d", k);
        if (vm_grad(g, wrt[k])) vm_output(g, name, vm_grad(g, wrt[k]));
    }
}

/* Also by cuBLASLt where it can be opened and has the product (f32 results with a bias; all without). */
static void linear(const char *name, vm_type t, bool training, int64_t M, int64_t K, int64_t N, vm_unary_kind act) {
    static const char *const families[] = { "linear", "cublaslt" };
    vm_error none = { 0 };
    const int ways = strcmp(be->name, "emu") && !vm_gpu_blas_open(NULL, &none) ? 2 : 1;
    for (int way = 0; way < ways; way++) {
        vm_graph *g = graph(t, training);
        vm_val x = in(g, "x", t, 2, NE(cut(M), cut(K))), w = in(g, "w", t, 2, NE(cut(N), cut(K)));
        vm_val b = act == VM_NONE ? 0 : in(g, "b", VM_F32, 1, NE(cut(N)));
        vm_gpu_choose(way);
        finish(g, vm_linear(g, x, w, b, act, 0, t), b ? 3 : 2, (vm_val[]){ x, w, b });
        row(families[way], name, g);
    }
    vm_gpu_choose(-1);
}

static void attention(const char *name, vm_type t, bool training, int64_t B, int64_t T, int NH, int64_t HS, bool causal) {
    vm_graph *g = graph(t, training);
    B = tiny ? 1 : B, T = cut(T), NH = tiny ? 2 : NH;
    vm_val qkv = in(g, "qkv", t, 3, NE(B, T, 3 * NH * HS));
    finish(g, vm_attention_packed(g, qkv, (vm_attn){ .NH = NH, .NKV = NH, .causal = causal }), 1, &qkv);
    row("attention", name, g);
}

static void convolution(const char *name, vm_type t, bool training, int64_t B, int64_t H, int64_t C, int64_t N, int k, int stride, int groups) {
    vm_graph *g = graph(t, training);
    const vm_conv c = { .KH = k, .KW = k, .stride = { stride, stride }, .pad = { k / 2, k / 2, k / 2, k / 2 }, .groups = groups };
    B = tiny ? 1 : B, H = tiny ? 8 : H, C = groups > 1 ? C : cut(C), N = groups > 1 ? N : cut(N);
    vm_val x = in(g, "x", t, 4, NE(B, H, H, C)), w = in(g, "w", t, 2, NE(N, C / groups * k * k));
    finish(g, vm_conv2d(g, x, w, 0, c, VM_NONE, 0, t), 2, (vm_val[]){ x, w });
    row("conv", name, g);
}

typedef enum { LAYERNORM, RMSNORM, BATCHNORM, SOFTMAX, GELU, SUM, PERMUTE, DROPOUT, ADD } simple;
static void rows_of(simple what, const char *family, const char *name, vm_type t, bool training, int64_t R, int64_t C) {
    vm_graph *g = graph(t, training);
    R = cut(R), C = cut(C);
    vm_val x = in(g, "x", what == SOFTMAX || what == SUM || what == ADD ? VM_F32 : t, 2, NE(R, C)), w = 0, b = 0, y = 0, stats[2];
    if (what <= BATCHNORM) w = in(g, "w", VM_F32, 1, &C), b = in(g, "b", VM_F32, 1, &C);
    switch (what) {
    case LAYERNORM: y = vm_layernorm(g, x, w, b, 1e-5f, t); break;
    case RMSNORM: y = vm_rmsnorm(g, x, w, 1e-5f, t); break;
    case BATCHNORM: y = training ? vm_batchnorm_batch(g, x, w, b, 0, 1e-5f, VM_RELU, t, stats) : vm_batchnorm(g, x, w, b, b, w, 0, 1e-5f, VM_RELU, t); break;
    case SOFTMAX: y = vm_softmax(g, x); break;
    case GELU: y = vm_unary(g, x, VM_GELU, t); break;
    case SUM: y = vm_sum(g, x); break;
    case PERMUTE: y = vm_permute(g, x, (const int[]){ 1, 0 }); break;
    case DROPOUT: y = vm_dropout(g, x, 0.1f); break;
    case ADD: y = vm_binary(g, x, in(g, "row", VM_F32, 1, &C), VM_ADD); break;
    }
    finish(g, y, w ? 3 : 1, (vm_val[]){ x, w, b });
    row(family, name, g);
}

typedef enum { GROUPNORM, NEAREST, BILINEAR, WINDOW, PAD } pictures;
static void maps_of(pictures what, const char *family, const char *name, vm_type t, bool training, int64_t B, int64_t H,
                    int64_t C) {
    vm_graph *g = graph(t, training);
    B = tiny ? 1 : B, H = tiny ? 8 : H, C = tiny ? 64 : C;
    vm_val x = in(g, "x", t, 4, NE(B, H, H, C)), w = 0, b = 0, y = 0;
    if (what == GROUPNORM) w = in(g, "w", VM_F32, 1, &C), b = in(g, "b", VM_F32, 1, &C);
    switch (what) {
    case GROUPNORM: y = vm_groupnorm(g, x, w, b, 32, 1e-5f, VM_SILU, t); break;
    case NEAREST: y = vm_resize(g, x, 2 * H, 2 * H, VM_NEAREST, t); break;
    case BILINEAR: y = vm_resize(g, x, 2 * H, 2 * H, VM_BILINEAR, t); break;
    case WINDOW: y = vm_window(g, x, 7, 3); break;
    case PAD: y = vm_pad(g, x, NE(0, 0, 0, 0), NE(0, 1, 1, 0)); break;
    }
    finish(g, y, w ? 3 : 1, (vm_val[]){ x, w, b });
    row(family, name, g);
}

/* What stands between the products of a language model and of a diffusion model's transformer. */
static void gates(vm_type t, bool training) {
    vm_graph *g = graph(t, training);
    vm_val x = in(g, "x", t, 2, NE(cut(4096), 2 * cut(11008)));
    finish(g, vm_glu_packed(g, x, true, VM_SILU, t), 1, &x);
    row("elements", "swiglu 4096x11008", g);
    g = graph(t, training);
    x = in(g, "x", t, 2, NE(cut(8192), 2 * cut(5120)));
    finish(g, vm_glu_packed(g, x, false, VM_GELU, t), 1, &x);
    row("elements", "geglu 8192x5120", g);
    g = graph(t, training);
    const int64_t T = cut(4096);
    x = in(g, "x", t, 2, NE(T, 32 * 128));
    vm_val table = vm_rope_table(g, in(g, "pos", VM_I32, 1, &T), &(vm_rope_kind){ .columns = 128, .base = 10000 });
    finish(g, vm_rope(g, x, table, 32, 32, false, t), 1, &x);
    row("elements", "rope 4096x32x128", g);
}

/* What language and diffusion models add: group norm with SiLU, gated units, rotary embedding. */
static void newer(vm_type t, bool training) {
    vm_graph *g = graph(t, training);
    const int64_t C = tiny ? 64 : 320, H = tiny ? 8 : 64, R = cut(8192), F = cut(11008);
    vm_val x = in(g, "x", t, 4, NE(tiny ? 1 : 4, H, H, C)), w = in(g, "w", VM_F32, 1, &C), b = in(g, "b", VM_F32, 1, &C);
    finish(g, vm_groupnorm(g, x, w, b, 32, 1e-5f, VM_SILU, t), 3, (vm_val[]){ x, w, b });
    row("norm", "groupnorm 4x64x64x320 silu", g);
    g = graph(t, training);
    vm_val value = in(g, "value", t, 2, NE(R, F)), gate = in(g, "gate", t, 2, NE(R, F));
    finish(g, vm_glu(g, value, gate, VM_SILU, t), 2, (vm_val[]){ value, gate });
    row("elements", "swiglu 8192x11008", g);
}

static void losses(void) {
    vm_graph *g = graph(VM_F32, true);
    const int64_t B = cut(8192), V = tiny ? 100 : 49408;
    vm_val x = in(g, "x", VM_F32, 2, NE(B, V));
    finish(g, vm_cross_entropy(g, x, in(g, "target", VM_I32, 1, &B)), 1, &x);
    row("loss", "cross entropy 8192x49408, training", g);
    g = graph(VM_F32, true);
    vm_val q = in(g, "q", VM_F32, 2, NE(cut(4096), cut(512))), k = in(g, "k", VM_F32, 2, NE(cut(4096), cut(512)));
    finish(g, vm_contrastive(g, q, k, in(g, "s", VM_F32, 1, NE(1)), 0, 0, VM_TARGET_SELF), 2, (vm_val[]){ q, k });
    row("loss", "contrastive 4096x512, training", g);
}

static void others(void) {
    vm_graph *g = graph(VM_F32, true);
    vm_val table = in(g, "table", VM_F32, 2, NE(cut(49408), cut(512))), ids = in(g, "ids", VM_I32, 1, NE(cut(64 * 77)));
    finish(g, vm_embedding(g, table, ids), 1, &table);
    row("rows", "embedding 4928 of 49408x512, training", g);
    vm_error e = { 0 };
    vm_param *p = vm_param_new(be, "p", VM_F32, 1, NE(tiny ? 1000 : (int64_t)1 << 26), &e);
    if (!p || !(p->grad = be->alloc(be, (size_t)vm_param_count(p) * sizeof *p->grad))) die(&e);
    g = graph(VM_F32, false);
    vm_adamw(g, p, in(g, "hyper", VM_F32, 1, NE(4)), (vm_adam){ 0.9f, 0.98f, 1e-6f, 0.1f });
    row("optimizer", "adamw 67M", g);
    vm_param_free(p);
}

static void all_rows(void) {
    for (int k = 0; k < 2; k++) {
        const vm_type t = k ? VM_BF16 : VM_F32;
        for (int training = 0; training < 2; training++) {
            linear("mlp 64x50x768 to 3072 gelu", t, training, 64 * 50, 768, 3072, VM_GELU);
            linear("mlp 64x50x3072 to 768", t, training, 64 * 50, 3072, 768, VM_NONE);
            linear("qkv 32x257x1024 to 3072", t, training, 32 * 257, 1024, 3072, VM_NONE);
            linear("4096x4096x4096", t, training, 4096, 4096, 4096, VM_NONE);
            attention("pictures 64x50x12x64", t, training, 64, 50, 12, 64, false);
            attention("pictures 32x257x16x64", t, training, 32, 257, 16, 64, false);
            attention("texts 64x77x8x64 causal", t, training, 64, 77, 8, 64, true);
            attention("long 2x4096x32x128 causal", t, training, 2, 4096, 32, 128, true);
            convolution("rn50 3x3 56x64", t, training, 32, 56, 64, 64, 3, 1, 1);
            convolution("rn50 3x3 14x256", t, training, 32, 14, 256, 256, 3, 1, 1);
            convolution("unet 3x3 64x320", t, training, 4, 64, 320, 320, 3, 1, 1);
            convolution("unet 3x3/2 32x640", t, training, 4, 32, 640, 640, 3, 2, 1);
            convolution("depthwise 7x7 56x96", t, training, 32, 56, 96, 96, 7, 1, 96);
            rows_of(LAYERNORM, "norm", "layernorm 16448x1024", t, training, 64 * 257, 1024);
            rows_of(RMSNORM, "norm", "rmsnorm 8192x4096", t, training, 8192, 4096);
            rows_of(BATCHNORM, "norm", "batchnorm 100352x256", t, training, 32 * 56 * 56, 256);
            rows_of(GELU, "elements", "gelu 16448x4096", t, training, 64 * 257, 4096);
            rows_of(DROPOUT, "elements", "dropout 16448x1024", t, training, 64 * 257, 1024);
            newer(t, training);
            maps_of(GROUPNORM, "norm", "groupnorm silu 4x64x64x320", t, training, 4, 64, 320);
            maps_of(GROUPNORM, "norm", "groupnorm silu 1x512x512x256", t, training, 1, 512, 256);
            maps_of(NEAREST, "shapes", "nearest x2 4x32x32x1280", t, training, 4, 32, 1280);
            maps_of(BILINEAR, "shapes", "bilinear x2 4x64x64x256", t, training, 4, 64, 256);
            maps_of(WINDOW, "shapes", "windows of 7 16x56x56x192", t, training, 16, 56, 192);
            maps_of(PAD, "shapes", "pad 1x512x512x128", t, training, 1, 512, 128);
            gates(t, training);
        }
        linear("decode 1x4096 to 11008", t, false, 1, 4096, 11008, VM_NONE);
        linear("decode 16x4096 to 11008", t, false, 16, 4096, 11008, VM_NONE);
        rows_of(PERMUTE, "shapes", "transpose 8192x8192", t, false, 8192, 8192);
    }
    rows_of(SOFTMAX, "norm", "softmax 16384x1024", VM_F32, true, 16384, 1024);
    rows_of(SUM, "elements", "sum 16384x4096", VM_F32, false, 16384, 4096);
    rows_of(ADD, "elements", "row added to 16384x4096", VM_F32, true, 16384, 4096);
    losses();
    others();
}

int main(int argc, char **argv) {
    const char *svg = NULL, *device = "cuda:0";
    vm_error e = { 0 };
    int n = 1;
    budget = 0.5;
    for (int k = 1; k < argc; k++) { /* the rest is of all benchmarks */
        if (!strcmp(argv[k], "--device") && k + 1 < argc) device = argv[++k];
        else if (!strcmp(argv[k], "--svg") && k + 1 < argc) svg = argv[++k];
        else if (!strcmp(argv[k], "--tiny")) tiny = true;
        else argv[n++] = argv[k];
    }
    bench_begin(n, argv);
    if (!(be = vm_backend_open(device, &e))) die(&e);
    peak[VM_F32] = vm_peak_flops_on(be, VM_F32), peak[VM_BF16] = vm_peak_flops_on(be, VM_BF16), copy_rate = vm_peak_read_on(be);
    if (peak[VM_F32] <= 0 || peak[VM_BF16] <= 0 || copy_rate <= 0) vm_fail(&e, VM_EDEVICE, "%s: its peaks could not be measured", be->name), die(&e);
    printf("{\"section\":\"peaks\",\"device\":\"%s\",\"f32_gflops\":%.1f,\"bf16_gflops\":%.1f,\"copy_gbs\":%.1f,\"tiny\":%s}\n", be->name,
           peak[VM_F32] * 1e-9, peak[VM_BF16] * 1e-9, copy_rate * 1e-9, tiny ? "true" : "false");
    all_rows();
    bench_table(stderr, points, n_points);
    if (svg && bench_roofline(svg, points, n_points, peak[VM_F32], peak[VM_BF16], copy_rate)) vm_fail(&e, VM_EIO, "%s: cannot be written: %m", svg), die(&e);
    return 0;
}
