/* diffusion.c - networks of latent diffusion with random weights: one evaluation of a UNet, one picture of an autoencoder. One JSON line per row on
 * stdout (measure.h); a second line says how much memory the weights take in the row's type, the plan's arena, and what the process
 * had at most beyond the weights and what it began with (of one row alone).
 *
 * Rows: "sd2 b1" "sd2 b2" (inpainting, 512 x 512; b2 is a guided step), "vae decode", "vae encode" (512 x 512); only when named: "sdxl b1"
 * (inpainting, 1024 x 1024; with model files 5 GB of memory in bf16 and 10 in f32, with random weights three and two times as much). */
#include "bench/models.h"
#include "kernels/philox.h"
#include "models/unet.h"
#include "models/vae.h"

static const char sd2[] =
    "{\"_class_name\": \"UNet2DConditionModel\", \"sample_size\": 64, \"in_channels\": 9, \"out_channels\": 4, \"block_out_channels\": [320, 640, 1280, 1280],"
    " \"down_block_types\": [\"CrossAttnDownBlock2D\", \"CrossAttnDownBlock2D\", \"CrossAttnDownBlock2D\", \"DownBlock2D\"],"
    " \"up_block_types\": [\"UpBlock2D\", \"CrossAttnUpBlock2D\", \"CrossAttnUpBlock2D\", \"CrossAttnUpBlock2D\"],"
    " \"attention_head_dim\": [5, 10, 20, 20], \"cross_attention_dim\": 1024, \"use_linear_projection\": true, \"layers_per_block\": 2}";
static const char sdxl[] =
    "{\"_class_name\": \"UNet2DConditionModel\", \"sample_size\": 128, \"in_channels\": 9, \"out_channels\": 4, \"block_out_channels\": [320, 640, 1280],"
    " \"down_block_types\": [\"DownBlock2D\", \"CrossAttnDownBlock2D\", \"CrossAttnDownBlock2D\"],"
    " \"up_block_types\": [\"CrossAttnUpBlock2D\", \"CrossAttnUpBlock2D\", \"UpBlock2D\"], \"attention_head_dim\": [5, 10, 20],"
    " \"transformer_layers_per_block\": [1, 2, 10], \"cross_attention_dim\": 2048, \"use_linear_projection\": true, \"layers_per_block\": 2,"
    " \"addition_embed_type\": \"text_time\", \"addition_time_embed_dim\": 256, \"projection_class_embeddings_input_dim\": 2816}";
static const char autoencoder[] =
    "{\"_class_name\": \"AutoencoderKL\", \"sample_size\": 512, \"in_channels\": 3, \"out_channels\": 3, \"latent_channels\": 4, \"layers_per_block\": 2,"
    " \"block_out_channels\": [128, 256, 512, 512], \"norm_num_groups\": 32, \"scaling_factor\": 0.18215}";

static double begun_mb; /* memory of the process before there was a model */

static void run_graph(void *ctx) {
    vm_graph *g = ctx;
    if (vm_run(g)) die(&g->err);
}

/* Numbers of an input, around 0. */
static void fill(vm_graph *g, const char *name) {
    vm_val v = vm_find(g, name);
    if (!v) return;
    int64_t n = vm_count(g, v);
    float *x = vm_alloc((size_t)n * sizeof *x);
    vm_rng r = vm_rng_at(1, 2);
    for (int64_t i = 0; x && i < n; i++) x[i] = 2 * vm_rng_f32(&r) - 1;
    if (!x || vm_set(g, name, x)) die(&g->err);
    vm_free(x);
}

/* MB of the weights that a graph reads, in its type. */
static double weights_of(const vm_graph *g) {
    int64_t n = 0;
    for (vm_val v = 1; v < g->n_v; v++)
        if (g->v[v].kind == VM_PARAM && g->v[v].root == v) n += vm_count(g, v);
    return (double)n * (double)vm_type_size(g->dtype) / 1048576;
}

static void row(vm_graph *g, const char *name, int64_t items) {
    static const char *const inputs[] = { "sample", "time", "context", "text", "ids" };
    if (vm_plan(g)) die(&g->err);
    for (int k = 0; k < VM_LEN(inputs); k++) fill(g, inputs[k]);
    measure("diffusion", name, g->dtype, graph_gflop(g, NULL), items, run_graph, g);
    double weights = weights_of(g);
    printf("{\"program\":\"vismin\",\"section\":\"diffusion memory\",\"name\":\"%s\",\"dtype\":\"%s\",\"weights_mb\":%.0f,\"arena_mb\":%.0f,\"beyond_mb\":%.0f}\n", name,
           vm_type_name(g->dtype), weights, (double)g->arena_bytes / 1048576, peak_mb() - weights - begun_mb);
    fflush(stdout);
    if (profile) bench_profile(g, name, run_graph, g);
    vm_graph_free(g);
}

static vm_graph *new_graph(vm_type t) {
    vm_error e = { 0 };
    vm_graph *g = vm_graph_new(vm_backend_cpu(), t);
    if (!g) vm_nomem(&e, sizeof *g, "a graph"), die(&e);
    return g;
}

static void unet_rows(const char *name, const char *config, int64_t side, vm_type t) {
    char title[2][32];
    vm_error e = { 0 };
    bool fresh;
    unet *m;
    for (int k = 0; k < 2; k++) snprintf(title[k], sizeof title[k], "%s b%d", name, k + 1);
    bool named = n_rows > 0 || !strcmp(name, "sd2");
    if (!named || (!wanted(title[0]) && !wanted(title[1]))) return;
    char *dir = bench_folder(name, config, &fresh);
    if (fresh ? unet_fresh(&m, vm_backend_cpu(), dir, 1, &e) : unet_open(&m, vm_backend_cpu(), dir, false, &e)) die(&e);
    for (int64_t B = 1; B <= 2; B++) {
        if (!wanted(title[B - 1])) continue;
        vm_graph *g = new_graph(t);
        unet_input in = { .sample = vm_input(g, "sample", VM_F32, 4, (int64_t[]){ B, side, side, m->c.in }), .timestep = vm_input(g, "time", VM_F32, 1, &B),
                          .context = vm_input(g, "context", VM_F32, 3, (int64_t[]){ B, 77, m->c.context }) };
        if (m->c.text_and_ids) {
            in.text = vm_input(g, "text", VM_F32, 2, (int64_t[]){ B, m->c.text_and_ids - 6 * m->c.time_ids });
            in.ids = vm_input(g, "ids", VM_F32, 2, (int64_t[]){ B, 6 });
        }
        vm_output(g, "y", unet_run(g, m, &in));
        row(g, title[B - 1], B);
    }
    unet_free(m);
    bench_folder_free(dir, fresh);
}

static void vae_rows(vm_type t) {
    static const char *const title[] = { "vae decode", "vae encode" };
    vm_error e = { 0 };
    bool fresh;
    vae *m;
    if (!wanted(title[0]) && !wanted(title[1])) return;
    char *dir = bench_folder("vae", autoencoder, &fresh);
    if (fresh ? vae_fresh(&m, vm_backend_cpu(), dir, 1, &e) : vae_open(&m, vm_backend_cpu(), dir, false, &e)) die(&e);
    for (int k = 0; k < 2; k++) {
        if (!wanted(title[k])) continue;
        vm_graph *g = new_graph(t);
        vm_val mean, logvar;
        if (k) vae_encode(g, m, vm_input(g, "sample", VM_F32, 4, (int64_t[]){ 1, 512, 512, 3 }), &mean, &logvar), vm_output(g, "mean", mean), vm_output(g, "logvar", logvar);
        else vm_output(g, "y", vae_decode(g, m, vm_input(g, "sample", VM_F32, 4, (int64_t[]){ 1, 64, 64, 4 })));
        row(g, title[k], 1);
    }
    vae_free(m);
    bench_folder_free(dir, fresh);
}

int main(int argc, char **argv) {
    bench_begin(argc, argv);
    begun_mb = status_mb("VmRSS");
    for (int t = VM_F32; t <= VM_BF16; t++) {
        if (!wanted_dtype((vm_type)t)) continue;
        vae_rows((vm_type)t);
        unet_rows("sd2", sd2, 64, (vm_type)t);
        unet_rows("sdxl", sdxl, 128, (vm_type)t);
    }
    return 0;
}
