/* test_diffuse.c - UNets, autoencoders and text encoders of latent diffusion against tests/golden/unet, vae and clip_text: results, losses and all
 * gradients of diffusers (f32); maps of odd sizes; configurations that cannot be. */
#include <unistd.h>

#include "io/file.h"
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
    RUN(unet_of_sdxl);
    RUN(unet_of_sd);
    RUN(text_of_sd);
    RUN(text_of_sdxl);
    RUN(autoencoder);
    RUN(old_names_of_the_attention);
    RUN(configurations);
    rmdir(tmp);
    return test_end();
}
