/* convert_ldm_names.c - names of latent diffusion to those of diffusers (convert_ldm.h).
 *
 *   UNet     input_blocks.I.J, middle_block.J, output_blocks.I.J -> down_blocks, mid_block, up_blocks: runs of `layers` (on the way up one more)
 *            resnets, each perhaps with a transformer behind it, and a resampling at the end of a run
 *   decoder  levels counted from the other end
 *   open_clip's text encoder: query, key and value are three parts of one tensor */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/convert_ldm.h"

const char *const ldm_folder[] = { "unet", "vae", "text_encoder", "text_encoder_2" };
const char *const ldm_file[] = { "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors", "model.safetensors", "model.safetensors" };

typedef struct { const char *from, *to; } pair;

/* What stands behind the prefix, or NULL. */
static const char *behind(const char *name, const char *prefix) {
    size_t n = strlen(prefix);
    return strncmp(name, prefix, n) ? NULL : name + n;
}

/* The first pair whose `from` the text begins with: BEFORE to REST. */
static bool replace(char out[200], const char *before, const char *text, const pair *p, int n) {
    for (int k = 0; k < n; k++) {
        const char *rest = behind(text, p[k].from);
        if (rest) return snprintf(out, 200, "%s%s%s", before, p[k].to, rest) < 200;
    }
    return false;
}

/* A number and the point behind it; *s moves there. */
static bool number(const char **s, int64_t *n) {
    char *end;
    *n = strtoll(*s, &end, 10);
    if (end == *s || *end != '.') return false;
    *s = end + 1;
    return true;
}

/* --- UNet ------------------------------------------------------------------------------------------------------------- */
static const pair resnet_parts[] = { { "in_layers.0.", "norm1." }, { "in_layers.2.", "conv1." }, { "emb_layers.1.", "time_emb_proj." },
                                     { "out_layers.0.", "norm2." }, { "out_layers.3.", "conv2." }, { "skip_connection.", "conv_shortcut." } };
static const pair unet_ends[] = { { "time_embed.0.", "time_embedding.linear_1." }, { "time_embed.2.", "time_embedding.linear_2." }, { "label_emb.0.0.", "add_embedding.linear_1." },
                                  { "label_emb.0.2.", "add_embedding.linear_2." }, { "input_blocks.0.0.", "conv_in." }, { "out.0.", "conv_norm_out." }, { "out.2.", "conv_out." },
                                  { "middle_block.1.", "mid_block.attentions.0." } };

/* A layer of block B: resnet, or else transformer. */
static bool layer_name(char out[200], const char *side, int64_t block, int64_t layer, const char *rest) {
    char before[64];
    snprintf(before, sizeof before, "%s.%d.resnets.%d.", side, (int)block, (int)layer);
    if (replace(out, before, rest, resnet_parts, VM_LEN(resnet_parts))) return true;
    snprintf(before, sizeof before, "%s.%d.attentions.%d.", side, (int)block, (int)layer);
    static const pair same[] = { { "norm.", "norm." }, { "proj_in.", "proj_in." }, { "proj_out.", "proj_out." }, { "transformer_blocks.", "transformer_blocks." } };
    return replace(out, before, rest, same, VM_LEN(same));
}

static bool unet_name(char out[200], const ldm_shapes *c, const char *s) {
    int64_t i, j, run = c->layers + 1;
    const char *rest;
    if (replace(out, "", s, unet_ends, VM_LEN(unet_ends))) return true;
    if ((rest = behind(s, "middle_block."))) {
        if (!number(&rest, &j)) return false;
        return replace(out, j ? "mid_block.resnets.1." : "mid_block.resnets.0.", rest, resnet_parts, VM_LEN(resnet_parts));
    }
    bool down = (rest = behind(s, "input_blocks.")) != NULL;
    if (!rest) rest = behind(s, "output_blocks.");
    if (!rest || !number(&rest, &i) || !number(&rest, &j)) return false;
    if (down) i--;
    const char *resample = behind(rest, down ? "op." : "conv.");
    if (resample) return snprintf(out, 200, down ? "down_blocks.%d.downsamplers.0.conv.%s" : "up_blocks.%d.upsamplers.0.conv.%s", (int)(i / run), resample) < 200;
    return layer_name(out, down ? "down_blocks" : "up_blocks", i / run, i % run, rest);
}

/* --- autoencoder ------------------------------------------------------------------------------------------------------- */
static bool vae_name(char out[200], const ldm_shapes *c, const char *s, bool *flat) {
    static const pair ends[] = { { "quant_conv.", "quant_conv." }, { "post_quant_conv.", "post_quant_conv." }, { "encoder.conv_in.", "encoder.conv_in." },
                                 { "encoder.conv_out.", "encoder.conv_out." }, { "encoder.norm_out.", "encoder.conv_norm_out." }, { "decoder.conv_in.", "decoder.conv_in." },
                                 { "decoder.conv_out.", "decoder.conv_out." }, { "decoder.norm_out.", "decoder.conv_norm_out." } };
    static const pair attn[] = { { "norm.", "group_norm." }, { "q.", "to_q." }, { "k.", "to_k." }, { "v.", "to_v." }, { "proj_out.", "to_out.0." } };
    static const pair resnet[] = { { "norm1.", "norm1." }, { "norm2.", "norm2." }, { "conv1.", "conv1." }, { "conv2.", "conv2." }, { "nin_shortcut.", "conv_shortcut." } };
    const bool encoder = behind(s, "encoder.") != NULL;
    const char *rest = encoder ? behind(s, "encoder.") : behind(s, "decoder."), *half = encoder ? "encoder" : "decoder";
    char before[96];
    int64_t level, layer;
    if (replace(out, "", s, ends, VM_LEN(ends))) return true;
    if (!rest) return false;
    for (int k = 1; k <= 2; k++) {
        snprintf(before, sizeof before, "mid.block_%d.", k);
        const char *part = behind(rest, before);
        snprintf(before, sizeof before, "%s.mid_block.resnets.%d.", half, k - 1);
        if (part) return replace(out, before, part, resnet, VM_LEN(resnet));
    }
    const char *part = behind(rest, "mid.attn_1.");
    snprintf(before, sizeof before, "%s.mid_block.attentions.0.", half);
    if (part) return *flat = true, replace(out, before, part, attn, VM_LEN(attn));
    if (!(rest = behind(rest, encoder ? "down." : "up.")) || !number(&rest, &level)) return false;
    const char *blocks = encoder ? "down_blocks" : "up_blocks";
    if (!encoder) level = c->vae_levels - 1 - level;
    if ((part = behind(rest, encoder ? "downsample.conv." : "upsample.conv.")))
        return snprintf(out, 200, "%s.%s.%d.%s.0.conv.%s", half, blocks, (int)level, encoder ? "downsamplers" : "upsamplers", part) < 200;
    if (!(rest = behind(rest, "block.")) || !number(&rest, &layer)) return false;
    snprintf(before, sizeof before, "%s.%s.%d.resnets.%d.", half, blocks, (int)level, (int)layer);
    return replace(out, before, rest, resnet, VM_LEN(resnet));
}

/* --- text encoders ------------------------------------------------------------------------------------------------------ */
static const pair open_clip_ends[] = { { "positional_embedding", "text_model.embeddings.position_embedding.weight" }, { "token_embedding.weight", "text_model.embeddings.token_embedding.weight" },
                                       { "ln_final.", "text_model.final_layer_norm." } };
static const pair open_clip_layer[] = { { "ln_1.", "layer_norm1." }, { "ln_2.", "layer_norm2." }, { "attn.out_proj.", "self_attn.out_proj." }, { "mlp.c_fc.", "mlp.fc1." }, { "mlp.c_proj.", "mlp.fc2." } };

static int open_clip_targets(const ldm_text *x, ldm_component to, const char *s, ldm_target out[3]) {
    static const char *const letters[] = { "q", "k", "v" };
    int64_t n;
    char before[64];
    out[0] = (ldm_target){ .to = to };
    if (!strcmp(s, "text_projection")) {
        if (!x->embed) return 0;
        snprintf(out[0].name, sizeof out[0].name, "text_projection.weight"), out[0].transposed = true;
        return 1;
    }
    if (replace(out[0].name, "", s, open_clip_ends, VM_LEN(open_clip_ends))) return 1;
    const char *rest = behind(s, "transformer.resblocks.");
    if (!rest || !number(&rest, &n) || n >= x->layers) return 0;
    snprintf(before, sizeof before, "text_model.encoder.layers.%d.", (int)n);
    const char *fused = behind(rest, "attn.in_proj_");
    for (int k = 0; fused && k < 3; k++) {
        out[k] = (ldm_target){ .to = to, .row = k * x->width, .rows = x->width };
        snprintf(out[k].name, sizeof out[k].name, "%sself_attn.%s_proj.%s", before, letters[k], fused);
    }
    return fused ? 3 : replace(out[0].name, before, rest, open_clip_layer, VM_LEN(open_clip_layer));
}

static int text_targets(const ldm_text *x, ldm_component to, const char *s, ldm_target out[3]) {
    if (x->open_clip) return open_clip_targets(x, to, s, out);
    out[0] = (ldm_target){ .to = to };
    if (!behind(s, "text_model.") || strstr(s, "position_ids")) return 0;
    return snprintf(out[0].name, sizeof out[0].name, "%s", s) < (int)sizeof out[0].name;
}

int ldm_targets(const ldm_shapes *c, const st_tensor *t, ldm_target out[3]) {
    const char *s;
    out[0] = (ldm_target){ .to = LDM_UNET };
    if ((s = behind(t->name, "model.diffusion_model."))) return unet_name(out[0].name, c, s);
    out[0].to = LDM_VAE;
    if ((s = behind(t->name, "first_stage_model."))) {
        bool flat = false;
        bool known = vae_name(out[0].name, c, s, &flat);
        out[0].flat = flat && t->nd == 4;
        return known;
    }
    for (int k = 0; k < 2; k++)
        if (c->text[k].prefix && (s = behind(t->name, c->text[k].prefix))) return text_targets(&c->text[k], k ? LDM_TEXT_2 : LDM_TEXT, s, out);
    return 0;
}
