/* test_diffuse.c - UNets, autoencoders and text encoders of latent diffusion against tests/golden/unet, vae and clip_text: results, losses and all
 * gradients of diffusers (f32); maps of odd sizes; recomputed gradients, and the memory that they leave; configurations that cannot be. */
#include <unistd.h>

#include "io/file.h"
#include "models/clip_text.h"
#include "models/unet.h"
#include "models/vae.h"
#include "tests/golden_check.h"

static char tmp[512];

static void goldens(const char *model, int outs, int grads) {
    char out[600];
    int n_grads = 0, n_outs = 0;
    snprintf(out, sizeof out, "%s/out.safetensors", tmp);
    check_goldens(model, out, &n_grads, &n_outs);
    if (n_outs != outs || n_grads != grads) MISMATCH("%s: %d outputs, %d gradients\n", model, n_outs, n_grads);
    unlink(out);
}
TEST(unet_of_sdxl) { goldens("tests/golden/unet/sdxl", 2, 388); }
TEST(unet_of_sd) { goldens("tests/golden/unet/sd15", 1, 0); }
TEST(text_of_sd) { goldens("tests/golden/clip_text/sd15", 3, 36); }           /* end token by its id */
TEST(text_of_sdxl) { goldens("tests/golden/clip_text/projected", 3, 37); } /* by the largest id; a projection */
TEST(autoencoder) { goldens("tests/golden/vae", 5, 124); }

/* Files from before the attentions had one name: query, key, value, proj_attn, as convolutions of 1 x 1. */
TEST(old_names_of_the_attention) {
    static const char *const now[] = { "to_q", "to_k", "to_v", "to_out.0" }, *const before[] = { "query", "key", "value", "proj_attn" };
    char path[600], name[300];
    vm_error e = { 0 };
    st_file *f = NULL;
    st_writer *w = NULL;
    vae *a = NULL, *b = NULL;
    snprintf(path, sizeof path, "%s/diffusion_pytorch_model.safetensors", tmp);
    EXPECT(!st_open(&f, "tests/golden/vae", &e) && !st_writer_open(&w, path, 0, &e) && !file_copy_named("tests/golden/vae", tmp, "config.json", &e));
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; f && i < st_len(f); i++) {
            const st_tensor *t = st_at(f, i);
            int64_t ne[ST_MAX_DIMS] = { 1, 1, 1, 1 }, nd = t->nd;
            memcpy(ne, t->shape, (size_t)t->nd * sizeof *ne);
            snprintf(name, sizeof name, "%s", t->name);
            for (int k = 0; k < 4; k++) {
                char *at = strstr(name, now[k]);
                if (!at || !strstr(name, "mid_block.attentions")) continue;
                snprintf(at, sizeof name - (size_t)(at - name), "%s%s", before[k], t->name + (at - name) + strlen(now[k]));
                if (t->nd == 2) nd = 4, ne[2] = ne[3] = 1;
                break;
            }
            if (!pass) EXPECT(!st_writer_add(w, name, t->dtype, (int)nd, ne, &e));
            else EXPECT(!st_writer_put(w, name, t->data, &e));
        }
    st_close(f);
    EXPECT(!st_writer_commit(w, &e));
    EXPECT(!vae_open(&a, vm_backend_cpu(), "tests/golden/vae", true, &e) && !vae_open(&b, vm_backend_cpu(), tmp, true, &e));
    for (int64_t i = 0; a && b && i < a->w.n; i++)
        EXPECT(vm_param_count(a->w.p[i]) == vm_param_count(b->w.p[i]) && !memcmp(a->w.p[i]->data, b->w.p[i]->data, (size_t)vm_param_count(a->w.p[i]) * sizeof(vm_real)));
    vae_free(a), vae_free(b);
    unlink(path);
    snprintf(path, sizeof path, "%s/config.json", tmp);
    unlink(path);
}

/* --- recomputation ---------------------------------------------------------------------------------------------------- */
static vm_val distance(vm_graph *g, vm_val y) {
    vm_val loss = vm_mean(g, vm_unary(g, y, VM_SQUARE, VM_F32));
    vm_output(g, "loss", loss);
    return loss;
}

/* A step of a UNet on B maps of h x w; bytes: of its plan. */
static vm_graph *unet_step(unet *m, vm_type t, int64_t B, int64_t h, int64_t w, int64_t T, bool again, size_t *bytes) {
    const unet_config *c = &m->c;
    vm_graph *g = vm_graph_new(vm_backend_cpu(), t);
    g->training = g->deterministic = true, m->recompute = again;
    unet_input x = { .sample = vm_input(g, "sample", VM_F32, 4, (int64_t[]){ B, h, w, c->in }), .timestep = vm_input(g, "time", VM_F32, 1, &B),
                     .context = vm_input(g, "context", VM_F32, 3, (int64_t[]){ B, T, c->context }) };
    if (c->text_and_ids) {
        x.ids = vm_input(g, "ids", VM_F32, 2, (int64_t[]){ B, 6 });
        x.text = vm_input(g, "text", VM_F32, 2, (int64_t[]){ B, c->text_and_ids - 6 * c->time_ids });
    }
    vm_val loss = distance(g, unet_run(g, m, &x));
    vm_backward(g, 1, &loss, NULL, 0, NULL);
    *bytes = vm_plan_bytes(g);
    if (g->err.status) MISMATCH("%s\n", g->err.msg);
    return g;
}

static vm_graph *vae_step(vae *m, vm_type t, int64_t B, int64_t H, int64_t W, bool again, size_t *bytes) {
    vm_graph *g = vm_graph_new(vm_backend_cpu(), t);
    vm_val mean, logvar;
    g->training = g->deterministic = true, m->recompute = again;
    vae_encode(g, m, vm_input(g, "pixels", VM_F32, 4, (int64_t[]){ B, H, W, 3 }), &mean, &logvar);
    vm_val y = vae_decode(g, m, vae_sample(g, mean, logvar, vm_input(g, "noise", VM_F32, 4, g->v[mean].ne)));
    vm_val loss = vm_binary(g, distance(g, y), vae_kl(g, mean, logvar), VM_ADD);
    vm_backward(g, 1, &loss, NULL, 0, NULL);
    *bytes = vm_plan_bytes(g);
    if (g->err.status) MISMATCH("%s\n", g->err.msg);
    return g;
}

/* Numbers of all inputs. */
static void set_numbers(vm_graph *g) {
    static const char *const names[] = { "sample", "time", "context", "text", "ids", "pixels", "noise" };
    uint64_t seed = 5;
    for (int k = 0; k < VM_LEN(names); k++) {
        vm_val v = vm_find(g, names[k]);
        if (!v) continue;
        vm_real *in = vm_calloc((size_t)vm_count(g, v), sizeof *in);
        for (int64_t i = 0; i < vm_count(g, v); i++) in[i] = (vm_real)(test_rand(&seed) % 2001) / 1000 - 1;
        EXPECT(!vm_set(g, names[k], in));
        vm_free(in);
    }
}

/* Runs it on numbers of its own; copies of the loss and of all gradients behind one another; vm_free. */
static vm_real *gradients(vm_graph *g, const weight_set *w, int64_t *n) {
    vm_real *x = vm_calloc((size_t)weight_count(w) + 1, sizeof *x);
    set_numbers(g);
    EXPECT(!vm_run(g) && !vm_get(g, "loss", x) && x[0] > 0);
    *n = 1;
    for (int64_t i = 0; i < w->n; i++) {
        if (!w->p[i]->grad) continue;
        memcpy(x + *n, w->p[i]->grad, (size_t)vm_param_count(w->p[i]) * sizeof *x);
        *n += vm_param_count(w->p[i]);
    }
    return x;
}

static void same_bits(vm_graph *plain, size_t plain_bytes, vm_graph *again, size_t again_bytes, const weight_set *w, double part) {
    int64_t n, n2;
    vm_real *a = gradients(plain, w, &n), *b = gradients(again, w, &n2);
    EXPECT(n > 1 && n == n2 && !memcmp(a, b, (size_t)n * sizeof *a));
    if (!((double)again_bytes <= part * (double)plain_bytes)) MISMATCH("%zu bytes recomputed, %zu kept\n", again_bytes, plain_bytes);
    vm_free(a), vm_free(b);
    vm_graph_free(plain), vm_graph_free(again);
}

TEST(recomputed_gradients_are_the_same_bits) {
    vm_error e = { 0 };
    size_t plain, again;
    for (int k = 0; k < 2; k++) {
        unet *m = NULL;
        EXPECT(!unet_open(&m, vm_backend_cpu(), k ? "tests/golden/unet/sdxl" : "tests/golden/unet/sd15", true, &e));
        if (!m) continue;
        vm_graph *g = unet_step(m, VM_F32, 2, 11, 8, 7, false, &plain), *h = unet_step(m, VM_F32, 2, 11, 8, 7, true, &again);
        same_bits(g, plain, h, again, &m->w, 0.6);
        unet_free(m);
    }
    for (int k = 0; k < 2; k++) {
        vae *m = NULL;
        EXPECT(!vae_open(&m, vm_backend_cpu(), "tests/golden/vae", true, &e));
        if (!m) continue;
        vm_graph *g = vae_step(m, k ? VM_BF16 : VM_F32, 2, 24, 16, false, &plain), *h = vae_step(m, k ? VM_BF16 : VM_F32, 2, 24, 16, true, &again);
        same_bits(g, plain, h, again, &m->w, 0.6);
        vae_free(m);
    }
}

/* --- weights that are only run ------------------------------------------------------------------------------------------ */
/* What a network makes of given numbers, without learning, with weights of its own memory and with those of the file; vm_free. */
typedef struct {
    unet *u;
    vae *v;
    clip_text *c;
} network;

static vm_val append(vm_graph *g, const network *n) {
    const int64_t one = 1, ids[] = { 1, 9 };
    vm_val mean, logvar;
    if (n->c) return clip_text_run(g, n->c, vm_input(g, "tokens", VM_I32, 2, ids), vm_input(g, "end", VM_I32, 1, &one)).pooled;
    if (n->v) {
        vae_encode(g, n->v, vm_input(g, "pixels", VM_F32, 4, (int64_t[]){ 1, 24, 16, 3 }), &mean, &logvar);
        return vae_decode(g, n->v, mean);
    }
    const unet_config *c = &n->u->c;
    unet_input x = { .sample = vm_input(g, "sample", VM_F32, 4, (int64_t[]){ 1, 11, 8, c->in }), .timestep = vm_input(g, "time", VM_F32, 1, &one),
                     .context = vm_input(g, "context", VM_F32, 3, (int64_t[]){ 1, 7, c->context }), .ids = vm_input(g, "ids", VM_F32, 2, (int64_t[]){ 1, 6 }) };
    x.text = vm_input(g, "text", VM_F32, 2, (int64_t[]){ 1, c->text_and_ids - 6 * c->time_ids });
    return unet_run(g, n->u, &x);
}

static float *results(const network *n, vm_type t, int64_t *len) {
    const int32_t tokens[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 }, end = 6;
    vm_graph *g = vm_graph_new(vm_backend_cpu(), t);
    vm_val y = append(g, n);
    vm_output(g, "y", y);
    *len = y ? vm_count(g, y) : 0;
    float *out = vm_calloc((size_t)*len + 1, sizeof *out);
    if (n->c) EXPECT(!vm_set(g, "tokens", tokens) && !vm_set(g, "end", &end));
    else set_numbers(g);
    EXPECT(!vm_run(g) && !vm_get(g, "y", out));
    vm_graph_free(g);
    return out;
}

static vm_status open_network(network *n, int kind, bool writable, vm_error *e) {
    vm_backend *be = vm_backend_cpu();
    *n = (network){ 0 };
    return kind == 0   ? unet_open(&n->u, be, "tests/golden/unet/sdxl", writable, e)
           : kind == 1 ? vae_open(&n->v, be, "tests/golden/vae", writable, e)
                       : clip_text_open(&n->c, be, "tests/golden/pipeline/xl/text_encoder_2", writable, e);
}

/* Files in 16 bits: the numbers are the same, no matrix that products alone read is in memory but packed, and a table has its 16 bits. */
TEST(weights_that_only_run_are_packed_from_the_file) {
    for (int kind = 0; kind < 3; kind++)
        for (int t = VM_F32; t <= VM_BF16; t++) {
            network own, file;
            vm_error e = { 0 };
            int64_t n, n2;
            const size_t before = vm_mem_used();
            if (open_network(&own, kind, true, &e) || open_network(&file, kind, false, &e)) {
                MISMATCH("%s\n", e.msg);
                continue;
            }
            float *a = results(&own, (vm_type)t, &n), *b = results(&file, (vm_type)t, &n2);
            EXPECT(n > 4 && n == n2 && !memcmp(a, b, (size_t)n * sizeof *a));
            const weight_set *w = kind == 0 ? &file.u->w : kind == 1 ? &file.v->w : &file.c->w, *v = kind == 0 ? &own.u->w : kind == 1 ? &own.v->w : &own.c->w;
            int64_t away = 0, matrices = 0;
            for (int64_t i = 0; i < w->n; i++) {
                const vm_param *p = w->p[i];
                float some[50]; /* from the middle, in fused matrices across a seam */
                const int64_t at = vm_param_count(p) / 3 - VM_MIN(vm_param_count(p) / 3, (int64_t)25), len = VM_MIN(vm_param_count(p) - at, (int64_t)VM_LEN(some));
                EXPECT(!weight_read(p, at, len, some, &e) && !memcmp(some, (const float *)v->p[i]->data + at, (size_t)len * sizeof *some));
                if (p->nd < 2 || (kind == 2 && (p == file.c->token || p == file.c->position))) continue;
                matrices++, away += !p->data && p->packs;
            }
            EXPECT(matrices > 8 && away == matrices);
            if (kind == 2) EXPECT(file.c->token->type == VM_F16 && file.c->token->mapped && !file.c->token->packs && file.c->position->data);
            vm_free(a), vm_free(b);
            unet_free(own.u), vae_free(own.v), clip_text_free(own.c), unet_free(file.u), vae_free(file.v), clip_text_free(file.c);
            EXPECT(vm_mem_used() == before);
        }
}

/* The UNet of Stable Diffusion 2 on a picture of 512 x 512. */
TEST(recomputed_plans_need_less_memory) {
    static const char config[] =
        "{\"attention_head_dim\":[5,10,20,20],\"block_out_channels\":[320,640,1280,1280],\"cross_attention_dim\":1024,\"in_channels\":9,\"layers_per_block\":2,"
        "\"down_block_types\":[\"CrossAttnDownBlock2D\",\"CrossAttnDownBlock2D\",\"CrossAttnDownBlock2D\",\"DownBlock2D\"],\"use_linear_projection\":true,"
        "\"up_block_types\":[\"UpBlock2D\",\"CrossAttnUpBlock2D\",\"CrossAttnUpBlock2D\",\"CrossAttnUpBlock2D\"]}";
    char path[600];
    vm_error e = { 0 };
    size_t plain, again;
    unet *m = NULL;
    snprintf(path, sizeof path, "%s/config.json", tmp);
    EXPECT(!file_write(path, config, strlen(config), &e) && !unet_new(&m, vm_backend_cpu(), tmp, &e));
    if (m) EXPECT(weight_count(&m->w) == 865925124);
    for (int k = 0; m && k < 2; k++) {
        vm_graph_free(unet_step(m, k ? VM_BF16 : VM_F32, 1, 64, 64, 77, false, &plain));
        vm_graph_free(unet_step(m, k ? VM_BF16 : VM_F32, 1, 64, 64, 77, true, &again));
        if (!((double)again * 4 < (double)plain)) MISMATCH("%s: %zu bytes recomputed, %zu kept\n", k ? "bf16" : "f32", again, plain);
        test_checks++;
    }
    unet_free(m);
    unlink(path);
}

static const char *refused(const char *config, bool of_vae) {
    static char out[1100];
    char path[600];
    vm_error e = { 0 };
    unet_config u;
    vae_config v;
    snprintf(path, sizeof path, "%s/config.json", tmp);
    EXPECT(!file_write(path, config, strlen(config), &e));
    if (of_vae) vae_config_read(&v, tmp, &e);
    else unet_config_read(&u, tmp, &e);
    snprintf(out, sizeof out, "%s", e.msg);
    unlink(path);
    return out;
}
#define BLOCKS "\"block_out_channels\":[32,64],\"down_block_types\":[\"CrossAttnDownBlock2D\",\"DownBlock2D\"],\"up_block_types\":[\"UpBlock2D\",\"CrossAttnUpBlock2D\"]"
/* Maps of 512 x 512 and 64 channels stay in 16 bits where products are in 16 bits, and norms stand in their places; not in training. */
TEST(large_maps_in_half_the_memory) {
    static const char config[] = "{\"block_out_channels\":[64,64],\"down_block_types\":[\"DownEncoderBlock2D\",\"DownEncoderBlock2D\"],"
                                 "\"up_block_types\":[\"UpDecoderBlock2D\",\"UpDecoderBlock2D\"],\"layers_per_block\":1,\"mid_block_add_attention\":false}";
    const double map = 512 * 512 * 64;
    char path[600];
    vm_error e = { 0 };
    vae *m = NULL;
    snprintf(path, sizeof path, "%s/config.json", tmp);
    EXPECT(!file_write(path, config, strlen(config), &e) && !vae_fresh(&m, vm_backend_cpu(), tmp, 1, &e));
    for (int k = 0; m && k < 4; k++) {
        vm_graph *g = vm_graph_new(vm_backend_cpu(), k % 2 ? VM_BF16 : VM_F32);
        g->training = k > 1;
        vm_output(g, "y", vae_decode(g, m, vm_input(g, "z", VM_F32, 4, (int64_t[]){ 1, 256, 256, 4 })));
        double maps = (double)vm_plan_bytes(g) / map, most = k == 0 ? 12.5 : k == 1 ? 6.5 : 99, least = k == 3 ? 8 : 0; /* a map, its norm, a result */
        if (!(maps < most && maps > least)) MISMATCH("case %d: %g bytes for a number of a map\n", k, maps);
        test_checks++;
        vm_graph_free(g);
    }
    vae_free(m);
    unlink(path);
}

TEST(configurations) {
    EXPECT_STR(refused("{" BLOCKS "}", false), "");
    EXPECT_HAS(refused("{}", false), "block_out_channels");
    EXPECT_HAS(refused("{" BLOCKS ",\"attention_type\":\"gated\"}", false), "only \"default\" is supported");
    EXPECT_HAS(refused("{" BLOCKS ",\"class_embed_type\":\"timestep\"}", false), "class_embed_type: is not supported");
    EXPECT_HAS(refused("{" BLOCKS ",\"dual_cross_attention\":true}", false), "dual_cross_attention: is not supported");
    EXPECT_HAS(refused("{" BLOCKS ",\"attention_head_dim\":[5,8]}", false), "level 0: 32 channels in 32 groups and 5 heads");
    EXPECT_HAS(refused("{" BLOCKS ",\"conv_in_kernel\":5}", false), "other than 3 x 3");
    EXPECT_HAS(refused("{\"block_out_channels\":[32],\"down_block_types\":[\"AttnDownBlock2D\"],\"up_block_types\":[\"UpBlock2D\"]}", false), "\"AttnDownBlock2D\" is not supported");
    EXPECT_HAS(refused("{\"block_out_channels\":[32],\"down_block_types\":[],\"up_block_types\":[\"UpBlock2D\"]}", false), "0 blocks for 1 levels");
    EXPECT_STR(refused("{\"block_out_channels\":[32,64]}", true), "");
    EXPECT_HAS(refused("{\"block_out_channels\":[33]}", true), "level 0: 33 channels in 32 groups");
    EXPECT_HAS(refused("{\"block_out_channels\":[32],\"act_fn\":\"relu\"}", true), "only \"silu\" is supported");
}

int main(int argc, char **argv) {
    snprintf(tmp, sizeof tmp, "%s/diffuse.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    vm_threads(1); /* small maps: threads would wait for each other */
    RUN(unet_of_sdxl);
    RUN(unet_of_sd);
    RUN(text_of_sd);
    RUN(text_of_sdxl);
    RUN(autoencoder);
    RUN(old_names_of_the_attention);
    RUN(recomputed_gradients_are_the_same_bits);
    RUN(weights_that_only_run_are_packed_from_the_file);
    RUN(recomputed_plans_need_less_memory);
    RUN(large_maps_in_half_the_memory);
    RUN(configurations);
    rmdir(tmp);
    return test_end();
}
