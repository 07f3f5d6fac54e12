/* test_convert_ldm.c - single-file checkpoints of Stable Diffusion: the pipelines of tests/golden/pipeline under the names of latent diffusion, converted
 * back; what cannot be converted. Names as in the published code: ldm.modules.diffusionmodules.openaimodel, .model, open_clip's text tower. */
#include <stdlib.h>
#include <unistd.h>

#include "io/safetensors.h"
#include "pipeline/command.h"
#include "tests/test.h"

extern const vm_command cmd_convert;
static char tmp[512];
static vm_error e;

/* text with every FROM as TO, in place. */
static void swap(char *text, const char *from, const char *to) {
    char out[256];
    for (char *p; (p = strstr(text, from));) {
        snprintf(out, sizeof out, "%.*s%s%s", (int)(p - text), text, to, p + strlen(from));
        if (!strcmp(out, text)) return;
        strcpy(text, out);
        if (strstr(to, from)) return;
    }
}

static void resnet_names(char *s) {
    static const char *const pairs[][2] = { { "norm1", "in_layers.0" }, { "conv1", "in_layers.2" }, { "time_emb_proj", "emb_layers.1" }, { "norm2", "out_layers.0" },
                                            { "conv2", "out_layers.3" }, { "conv_shortcut", "skip_connection" } };
    for (int k = 0; k < VM_LEN(pairs); k++) swap(s, pairs[k][0], pairs[k][1]);
}

/* Two levels of one resnet, the lower one with attention. */
static void unet_name(const char *name, char *out) {
    static const char *const ends[][2] = { { "time_embedding.linear_1.", "time_embed.0." }, { "time_embedding.linear_2.", "time_embed.2." }, { "add_embedding.linear_1.", "label_emb.0.0." },
        { "add_embedding.linear_2.", "label_emb.0.2." }, { "conv_in.", "input_blocks.0.0." }, { "conv_norm_out.", "out.0." }, { "conv_out.", "out.2." },
        { "mid_block.resnets.0.", "middle_block.0." }, { "mid_block.attentions.0.", "middle_block.1." }, { "mid_block.resnets.1.", "middle_block.2." },
        { "down_blocks.0.resnets.0.", "input_blocks.1.0." }, { "down_blocks.0.downsamplers.0.conv.", "input_blocks.2.0.op." }, { "down_blocks.1.resnets.0.", "input_blocks.3.0." },
        { "down_blocks.1.attentions.0.", "input_blocks.3.1." }, { "up_blocks.0.resnets.0.", "output_blocks.0.0." }, { "up_blocks.0.attentions.0.", "output_blocks.0.1." },
        { "up_blocks.0.resnets.1.", "output_blocks.1.0." }, { "up_blocks.0.attentions.1.", "output_blocks.1.1." }, { "up_blocks.0.upsamplers.0.conv.", "output_blocks.1.2.conv." },
        { "up_blocks.1.resnets.0.", "output_blocks.2.0." }, { "up_blocks.1.resnets.1.", "output_blocks.3.0." } };
    for (int k = 0; k < VM_LEN(ends); k++) {
        size_t n = strlen(ends[k][0]);
        if (strncmp(name, ends[k][0], n)) continue;
        sprintf(out, "model.diffusion_model.%s%s", ends[k][1], name + n);
        if (strstr(ends[k][0], "resnets")) resnet_names(out);
        return;
    }
    MISMATCH("%s\n", name);
}

static void vae_name(const char *name, char *out) {
    static const char *const pairs[][2] = { { "mid_block.resnets.0", "mid.block_1" }, { "mid_block.resnets.1", "mid.block_2" }, { "mid_block.attentions.0", "mid.attn_1" },
        { "encoder.down_blocks.0.resnets.", "encoder.down.0.block." }, { "encoder.down_blocks.1.resnets.", "encoder.down.1.block." }, { "encoder.down_blocks.0.downsamplers.0", "encoder.down.0.downsample" },
        { "decoder.up_blocks.0.resnets.", "decoder.up.1.block." }, { "decoder.up_blocks.1.resnets.", "decoder.up.0.block." }, { "decoder.up_blocks.0.upsamplers.0", "decoder.up.1.upsample" },
        { "conv_norm_out", "norm_out" }, { "conv_shortcut", "nin_shortcut" }, { "group_norm", "norm" }, { "to_q", "q" }, { "to_k", "k" }, { "to_v", "v" }, { "to_out.0", "proj_out" } };
    sprintf(out, "first_stage_model.%s", name);
    for (int k = 0; k < VM_LEN(pairs); k++) swap(out, pairs[k][0], pairs[k][1]);
}

static float *all(const st_file *f, const st_tensor *t) {
    float *x = vm_alloc((size_t)t->len * sizeof *x + 1);
    EXPECT(!st_read_f32(f, t, 0, t->len, x, &e));
    return x;
}

/* A checkpoint being made: tensors are declared first, then written. */
typedef struct { st_writer *w; bool write; } maker;
static void put(maker *m, const char *name, int nd, const int64_t *ne, const float *x) {
    if (!m->write) EXPECT(!st_writer_add(m->w, name, ST_F16, nd, ne, &e));
    else EXPECT(!st_writer_put_f32(m->w, name, x, &e));
}

static void part(maker *m, const char *model, const char *file, void (*rename)(const char *, char *), bool square) {
    char path[300], name[300];
    st_file *f = NULL;
    snprintf(path, sizeof path, "%s/%s", model, file);
    EXPECT(!st_open(&f, path, &e));
    for (int64_t i = 0; f && i < st_len(f); i++) {
        const st_tensor *t = st_at(f, i);
        float *x = all(f, t);
        rename(t->name, name);
        bool conv = square && strstr(t->name, "mid_block.attentions.0.to_") && t->nd == 2;
        put(m, name, conv ? 4 : t->nd, conv ? (int64_t[]){ t->shape[0], t->shape[1], 1, 1 } : t->shape, x);
        vm_free(x);
    }
    st_close(f);
}

static const char *const prefix_1 = "cond_stage_model.transformer.", *const prefix_xl = "conditioner.embedders.0.transformer.";
static void text_name(const char *name, char *out) { sprintf(out, "%s%s%s", prefix_1, strncmp(name, "text_model.", 11) ? "text_model." : "", name); }
static void text_name_xl(const char *name, char *out) { sprintf(out, "%s%s%s", prefix_xl, strncmp(name, "text_model.", 11) ? "text_model." : "", name); }

/* open_clip's tower of two layers: query, key and value in one, the projection turned. */
static void open_clip(maker *m, const char *path) {
    static const char pre[] = "conditioner.embedders.1.model.";
    static const char *const pairs[][2] = { { "text_model.", "" }, { "encoder.layers.", "transformer.resblocks." }, { "layer_norm1", "ln_1" }, { "layer_norm2", "ln_2" }, { "mlp.fc1", "mlp.c_fc" },
        { "mlp.fc2", "mlp.c_proj" }, { "self_attn.out_proj", "attn.out_proj" }, { "embeddings.position_embedding.weight", "positional_embedding" },
        { "embeddings.token_embedding", "token_embedding" }, { "final_layer_norm", "ln_final" }, { "text_projection.weight", "text_projection" } };
    st_file *f = NULL;
    char name[300], rest[256];
    EXPECT(!st_open(&f, path, &e));
    for (int64_t i = 0; f && i < st_len(f); i++) {
        const st_tensor *t = st_at(f, i);
        snprintf(rest, sizeof rest, "%s", t->name);
        for (int k = 0; k < VM_LEN(pairs); k++) swap(rest, pairs[k][0], pairs[k][1]);
        float *x = all(f, t), *y = vm_alloc((size_t)t->len * 3 * sizeof *y + 1);
        char *fused = strstr(rest, "self_attn.q_proj.");
        snprintf(name, sizeof name, "%s%s", pre, rest);
        if (fused) {
            snprintf(name, sizeof name, "%s%.*sattn.in_proj_%s", pre, (int)(fused - rest), rest, fused + 17);
            for (int k = 0; k < 3; k++) {
                char one[256];
                snprintf(one, sizeof one, "%s", t->name);
                *(strstr(one, "self_attn.q_proj.") + 10) = "qkv"[k];
                const st_tensor *s = st_find(f, one);
                float *z = all(f, s);
                memcpy(y + k * t->len, z, (size_t)t->len * sizeof *y);
                vm_free(z);
            }
            put(m, name, t->nd, (int64_t[]){ 3 * t->shape[0], t->nd > 1 ? t->shape[1] : 0 }, y);
        } else if (!strcmp(rest, "text_projection")) {
            for (int64_t r = 0; r < t->shape[0]; r++)
                for (int64_t c = 0; c < t->shape[1]; c++) y[c * t->shape[0] + r] = x[r * t->shape[1] + c];
            put(m, name, 2, (int64_t[]){ t->shape[1], t->shape[0] }, y);
        } else if (!strstr(rest, "self_attn.k_proj") && !strstr(rest, "self_attn.v_proj")) put(m, name, t->nd, t->shape, x);
        vm_free(x), vm_free(y);
    }
    st_close(f);
}

static void make_file(const char *path, bool xl) {
    maker m = { 0 };
    int64_t one = 1;
    const char *model = xl ? "tests/golden/pipeline/xl" : "tests/golden/pipeline/sd";
    EXPECT(!st_writer_open(&m.w, path, 0, &e));
    for (int pass = 0; pass < 2; pass++) {
        m.write = pass;
        part(&m, model, xl ? "unet/diffusion_pytorch_model.safetensors.index.fp16.json" : "unet", unet_name, false);
        part(&m, model, xl ? "vae/diffusion_pytorch_model.fp16.safetensors" : "vae", vae_name, true);
        part(&m, model, xl ? "text_encoder/model.fp16.safetensors" : "text_encoder", xl ? text_name_xl : text_name, false);
        if (xl) open_clip(&m, "tests/golden/pipeline/xl/text_encoder_2/model.fp16.safetensors");
        put(&m, "model_ema.decay", 1, &one, (float[]){ 0.5f }); /* no part of the networks */
    }
    EXPECT(!st_writer_commit(m.w, &e));
}

static vm_status convert(const char *in, const char *out, const char *words) {
    const char *argv[] = { in, out, "--quiet", "--tokenizer", words };
    vm_args *a = NULL;
    bool done;
    vm_error_clear(&e);
    if (!args_parse(&a, &cmd_convert, words ? 5 : 3, (char **)(uintptr_t)argv, &done, &e)) cmd_convert.run(a, &e);
    args_free(a);
    return e.status;
}

/* Every tensor is what it was; text encoders may have a prefix. */
static void same(const char *want_path, const char *got_dir, const char *component) {
    char path[700];
    st_file *want = NULL, *got = NULL;
    snprintf(path, sizeof path, "%s/%s", got_dir, component);
    EXPECT(!st_open(&want, want_path, &e) && !st_open(&got, path, &e) && st_len(want) == st_len(got));
    for (int64_t i = 0; want && got && i < st_len(want); i++) {
        const st_tensor *t = st_at(want, i), *u = st_find(got, t->name);
        char name[300];
        snprintf(name, sizeof name, "text_model.%s", t->name);
        if (!u) u = st_find(got, name);
        if (!u || u->nd != t->nd || u->dtype != ST_F16 || memcmp(u->shape, t->shape, (size_t)t->nd * sizeof *t->shape) || u->bytes != t->bytes || memcmp(u->data, t->data, t->bytes))
            MISMATCH("%s: %s\n", component, t->name);
        test_checks++;
    }
    st_close(want), st_close(got);
}

static const char *text_of(const char *dir, const char *name) {
    static char text[4096];
    char path[700];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "r");
    text[f ? fread(text, 1, sizeof text - 1, f) : 0] = 0;
    if (f) fclose(f);
    return text;
}

TEST(stable_diffusion_1) {
    char file[600], out[600];
    snprintf(file, sizeof file, "%s/sd.safetensors", tmp), snprintf(out, sizeof out, "%s/sd", tmp);
    make_file(file, false);
    EXPECT(!convert(file, out, "tests/golden/pipeline/sd/tokenizer"));
    same("tests/golden/pipeline/sd/unet", out, "unet"), same("tests/golden/pipeline/sd/vae", out, "vae"), same("tests/golden/pipeline/sd/text_encoder", out, "text_encoder");
    EXPECT_HAS(text_of(out, "model_index.json"), "\"StableDiffusionPipeline\"");
    EXPECT_HAS(text_of(out, "unet/config.json"), "\"layers_per_block\": 1");
    EXPECT_HAS(text_of(out, "vae/config.json"), "\"scaling_factor\": 0.18215");
    EXPECT_HAS(text_of(out, "scheduler/scheduler_config.json"), "\"PNDMScheduler\"");
    EXPECT_HAS(text_of(out, "tokenizer/tokenizer_config.json"), "\"pad_token\": \"<|endoftext|>\"");
    EXPECT(convert(file, out, NULL) == VM_EUSAGE); /* a folder that is not empty */
    snprintf(out, sizeof out, "%s/other", tmp);
    EXPECT(convert(file, out, NULL) == VM_EUSAGE);
    EXPECT_HAS(e.msg, "--tokenizer DIR");
    EXPECT(convert(file, out, "tests/golden/vae") == VM_EINPUT);
    EXPECT_HAS(e.msg, "no vocab.json in it");
    EXPECT(access(out, F_OK) != 0);
}

TEST(sdxl_inpainting) {
    char file[600], out[600];
    snprintf(file, sizeof file, "%s/xl.safetensors", tmp), snprintf(out, sizeof out, "%s/xl", tmp);
    make_file(file, true);
    EXPECT(!convert(file, out, "tests/golden/pipeline/xl/tokenizer"));
    same("tests/golden/pipeline/xl/unet/diffusion_pytorch_model.safetensors.index.fp16.json", out, "unet");
    same("tests/golden/pipeline/xl/vae/diffusion_pytorch_model.fp16.safetensors", out, "vae");
    same("tests/golden/pipeline/xl/text_encoder/model.fp16.safetensors", out, "text_encoder"), same("tests/golden/pipeline/xl/text_encoder_2/model.fp16.safetensors", out, "text_encoder_2");
    EXPECT_HAS(text_of(out, "model_index.json"), "\"StableDiffusionXLInpaintPipeline\"");
    EXPECT_HAS(text_of(out, "unet/config.json"), "\"projection_class_embeddings_input_dim\": 32");
    EXPECT_HAS(text_of(out, "vae/config.json"), "\"scaling_factor\": 0.13025");
    EXPECT_HAS(text_of(out, "tokenizer_2/tokenizer_config.json"), "\"pad_token\": \"!\"");
}

int main(int argc, char **argv) {
    char cmd[600];
    snprintf(tmp, sizeof tmp, "%s/ldm.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    RUN(stable_diffusion_1);
    RUN(sdxl_inpainting);
    snprintf(cmd, sizeof cmd, "rm -r %s", tmp);
    EXPECT(system(cmd) == 0);
    return test_end();
}
