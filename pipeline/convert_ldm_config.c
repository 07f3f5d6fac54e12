/* convert_ldm_config.c - what the shapes of a single-file checkpoint say, as diffusers' configurations (convert_ldm.h). Not seen in weights, and
 * taken as in all published models: 8 heads where projections are convolutions, else heads of 64 columns; groups of norms; the noise schedule. */
#include <stdio.h>
#include <string.h>

#include "pipeline/convert_ldm.h"

static const char unet[] = "model.diffusion_model.", vae[] = "first_stage_model.";

/* The tensor PREFIX fmt..., or NULL. */
static const st_tensor *find(const weight_source *s, const char *prefix, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static const st_tensor *find(const weight_source *s, const char *prefix, const char *fmt, ...) {
    char name[256];
    int n = snprintf(name, sizeof name, "%s", prefix);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name + n, sizeof name - (size_t)n, fmt, ap);
    va_end(ap);
    return weight_find(s, name);
}

/* Its size along an axis; 0 and e when there is no such tensor. */
static int64_t side(const weight_source *s, const st_tensor *t, int axis, const char *what, vm_error *e) {
    if (t && t->nd > axis) return t->shape[axis];
    vm_fail(e, VM_EMODEL, "%s: no %s; a whole single-file checkpoint of Stable Diffusion is needed", s->path, what);
    return 0;
}

bool ldm_is(const weight_source *s, size_t *prefix) {
    static const char first[] = "model.diffusion_model.input_blocks.0.0.weight";
    for (int64_t i = 0; i < s->n; i++) {
        size_t n = strlen(s->t[i].name), m = sizeof first - 1;
        if (n < m || strcmp(s->t[i].name + n - m, first) || (n > m && s->t[i].name[n - m - 1] != '.')) continue;
        *prefix = n - m;
        return true;
    }
    return false;
}

static void read_unet(ldm_shapes *c, const weight_source *s, vm_error *e) {
    const st_tensor *t = find(s, unet, "input_blocks.0.0.weight");
    c->in = side(s, t, 1, "input_blocks.0.0.weight", e), c->out = side(s, find(s, unet, "out.2.weight"), 0, "out.2.weight", e);
    while (!find(s, unet, "input_blocks.%d.0.op.weight", (int)c->layers + 1) && c->layers < 8) c->layers++;
    for (c->levels = 0; c->levels < LDM_LEVELS; c->levels++) {
        int first = 1 + (int)(c->levels * (c->layers + 1)), depth = 0;
        if (!(t = find(s, unet, "input_blocks.%d.0.in_layers.2.weight", first))) break;
        while (find(s, unet, "input_blocks.%d.1.transformer_blocks.%d.norm1.weight", first, depth)) depth++;
        c->width[c->levels] = t->shape[0], c->depth[c->levels] = depth;
        if (depth && (t = find(s, unet, "input_blocks.%d.1.transformer_blocks.0.attn2.to_k.weight", first))) c->context = t->shape[1];
        if (depth && (t = find(s, unet, "input_blocks.%d.1.proj_in.weight", first))) c->linear = t->nd == 2;
    }
    while (find(s, unet, "middle_block.1.transformer_blocks.%d.norm1.weight", (int)c->middle)) c->middle++;
    if ((t = find(s, unet, "label_emb.0.0.weight"))) c->pooled = t->shape[1];
    c->xl = c->pooled > 0;
    if (!e->status && (!c->levels || !c->context)) vm_fail(e, VM_EMODEL, "%s: a UNet without levels or without attention to a text", s->path);
}

static void read_vae(ldm_shapes *c, const weight_source *s, vm_error *e) {
    const st_tensor *t;
    while (c->vae_levels < LDM_LEVELS && (t = find(s, vae, "encoder.down.%d.block.0.conv1.weight", (int)c->vae_levels))) c->vae_width[c->vae_levels++] = t->shape[0];
    while (find(s, vae, "encoder.down.0.block.%d.conv1.weight", (int)c->vae_layers)) c->vae_layers++;
    c->latent = side(s, find(s, vae, "post_quant_conv.weight"), 0, "first_stage_model.post_quant_conv.weight", e);
    if (!e->status && !c->vae_levels) vm_fail(e, VM_EMODEL, "%s: no first_stage_model.encoder", s->path);
}

static void read_text(ldm_text *x, const weight_source *s, bool without_last, bool projected, vm_error *e) {
    const char *layer = x->open_clip ? "transformer.resblocks.%d.ln_1.weight" : "text_model.encoder.layers.%d.layer_norm1.weight";
    const st_tensor *token = find(s, x->prefix, x->open_clip ? "token_embedding.weight" : "text_model.embeddings.token_embedding.weight"),
                    *place = find(s, x->prefix, x->open_clip ? "positional_embedding" : "text_model.embeddings.position_embedding.weight"),
                    *fc = find(s, x->prefix, x->open_clip ? "transformer.resblocks.0.mlp.c_fc.weight" : "text_model.encoder.layers.0.mlp.fc1.weight");
    x->vocab = side(s, token, 0, "token embedding of the text encoder", e), x->width = side(s, token, 1, "token embedding of the text encoder", e);
    x->context = side(s, place, 0, "position embedding of the text encoder", e), x->mlp = side(s, fc, 0, "first layer of the text encoder", e);
    char name[256];
    do snprintf(name, sizeof name, layer, (int)x->layers);
    while (find(s, x->prefix, "%s", name) && ++x->layers);
    if (without_last) x->layers--; /* Stable Diffusion 2 reads what the last layer would get */
    const st_tensor *p = find(s, x->prefix, "text_projection");
    if (projected) x->embed = side(s, p, 1, "text_projection", e);
}

/* Which encoders there are shows in their names. */
vm_status ldm_shapes_read(ldm_shapes *c, const weight_source *s, vm_error *e) {
    static const char hf[] = "cond_stage_model.transformer.", oc[] = "cond_stage_model.model.", xl1[] = "conditioner.embedders.0.transformer.",
                      xl2[] = "conditioner.embedders.1.model.", refiner[] = "conditioner.embedders.0.model.";
    *c = (ldm_shapes){ 0 };
    read_unet(c, s, e);
    if (!e->status) read_vae(c, s, e);
    if (e->status) return e->status;
    if (c->xl && find(s, refiner, "token_embedding.weight")) c->refiner = true, c->text[1] = (ldm_text){ .prefix = refiner, .open_clip = true };
    else if (c->xl) c->text[0] = (ldm_text){ .prefix = xl1 }, c->text[1] = (ldm_text){ .prefix = xl2, .open_clip = true };
    else if (find(s, oc, "token_embedding.weight")) c->text[0] = (ldm_text){ .prefix = oc, .open_clip = true };
    else c->text[0] = (ldm_text){ .prefix = hf };
    for (int k = 0; k < 2 && !e->status; k++)
        if (c->text[k].prefix) read_text(&c->text[k], s, !c->xl && c->text[k].open_clip, k == 1, e);
    return e->status;
}

/* --- configurations ------------------------------------------------------------------------------------------------------- */
static void put_ints(json_writer *w, const char *key, const int64_t *x, int64_t n) {
    json_begin_array(w, key);
    for (int64_t k = 0; k < n; k++) json_put_int(w, NULL, x[k]);
    json_close_array(w);
}

static void put_unet(json_writer *w, const ldm_shapes *c, int64_t size) {
    int64_t heads[LDM_LEVELS], depth[LDM_LEVELS], n = c->levels;
    for (int64_t k = 0; k < n; k++) heads[k] = c->linear ? VM_MAX(c->width[k] / 64, (int64_t)1) : 8, depth[k] = VM_MAX(c->depth[k], (int64_t)1);
    if (!c->depth[n - 1]) depth[n - 1] = VM_MAX(c->middle, (int64_t)1); /* the middle has that of the last level */
    json_put_str(w, "_class_name", "UNet2DConditionModel");
    json_put_int(w, "sample_size", size), json_put_int(w, "in_channels", c->in), json_put_int(w, "out_channels", c->out);
    put_ints(w, "block_out_channels", c->width, n), json_put_int(w, "layers_per_block", c->layers);
    json_begin_array(w, "down_block_types");
    for (int64_t k = 0; k < n; k++) json_put_str(w, NULL, c->depth[k] ? "CrossAttnDownBlock2D" : "DownBlock2D");
    json_close_array(w);
    json_begin_array(w, "up_block_types");
    for (int64_t k = n; k-- > 0;) json_put_str(w, NULL, c->depth[k] ? "CrossAttnUpBlock2D" : "UpBlock2D");
    json_close_array(w);
    json_put_str(w, "mid_block_type", "UNetMidBlock2DCrossAttn");
    put_ints(w, "attention_head_dim", heads, n), put_ints(w, "transformer_layers_per_block", depth, n);
    json_put_int(w, "cross_attention_dim", c->context), json_put_bool(w, "use_linear_projection", c->linear);
    json_put_int(w, "norm_num_groups", 32), json_put_num(w, "norm_eps", 1e-5);
    json_put_str(w, "act_fn", "silu"), json_put_bool(w, "flip_sin_to_cos", true), json_put_int(w, "freq_shift", 0), json_put_int(w, "downsample_padding", 1);
    if (!c->xl) return;
    json_put_str(w, "addition_embed_type", "text_time"), json_put_int(w, "addition_time_embed_dim", 256);
    json_put_int(w, "projection_class_embeddings_input_dim", c->pooled);
}

static void put_vae(json_writer *w, const ldm_shapes *c, int64_t size) {
    json_put_str(w, "_class_name", "AutoencoderKL");
    json_put_int(w, "in_channels", 3), json_put_int(w, "out_channels", 3), json_put_int(w, "latent_channels", c->latent);
    put_ints(w, "block_out_channels", c->vae_width, c->vae_levels), json_put_int(w, "layers_per_block", c->vae_layers);
    json_begin_array(w, "down_block_types");
    for (int64_t k = 0; k < c->vae_levels; k++) json_put_str(w, NULL, "DownEncoderBlock2D");
    json_close_array(w);
    json_begin_array(w, "up_block_types");
    for (int64_t k = 0; k < c->vae_levels; k++) json_put_str(w, NULL, "UpDecoderBlock2D");
    json_close_array(w);
    json_put_int(w, "norm_num_groups", 32), json_put_str(w, "act_fn", "silu");
    json_put_int(w, "sample_size", size << (c->vae_levels - 1)), json_put_num(w, "scaling_factor", c->xl ? 0.13025 : 0.18215);
}

static void put_text(json_writer *w, const ldm_text *x) {
    json_begin_array(w, "architectures");
    json_put_str(w, NULL, x->embed ? "CLIPTextModelWithProjection" : "CLIPTextModel");
    json_close_array(w);
    json_put_str(w, "model_type", "clip_text_model");
    json_put_int(w, "vocab_size", x->vocab), json_put_int(w, "max_position_embeddings", x->context), json_put_int(w, "hidden_size", x->width);
    json_put_int(w, "intermediate_size", x->mlp), json_put_int(w, "num_hidden_layers", x->layers), json_put_int(w, "num_attention_heads", VM_MAX(x->width / 64, (int64_t)1));
    json_put_int(w, "projection_dim", x->embed ? x->embed : x->width), json_put_str(w, "hidden_act", x->open_clip ? "gelu" : "quick_gelu");
    json_put_num(w, "layer_norm_eps", 1e-5), json_put_int(w, "bos_token_id", x->vocab - 2), json_put_int(w, "eos_token_id", x->vocab - 1);
}

void ldm_put_config(json_writer *w, const ldm_shapes *c, ldm_component k, int64_t size) {
    json_begin_object(w, NULL);
    if (k == LDM_UNET) put_unet(w, c, size);
    else if (k == LDM_VAE) put_vae(w, c, size);
    else put_text(w, &c->text[k - LDM_TEXT]);
    json_close_object(w);
}

void ldm_put_scheduler(json_writer *w, const ldm_shapes *c, const char *prediction) {
    json_begin_object(w, NULL);
    json_put_str(w, "_class_name", c->xl ? "EulerDiscreteScheduler" : "PNDMScheduler");
    json_put_int(w, "num_train_timesteps", 1000), json_put_num(w, "beta_start", 0.00085), json_put_num(w, "beta_end", 0.012), json_put_str(w, "beta_schedule", "scaled_linear");
    json_put_int(w, "steps_offset", 1), json_put_str(w, "timestep_spacing", "leading"), json_put_str(w, "prediction_type", prediction);
    json_put_bool(w, "clip_sample", false), json_put_bool(w, "set_alpha_to_one", false), json_put_bool(w, "skip_prk_steps", true);
    json_close_object(w);
}

static void put_part(json_writer *w, const char *name, const char *library, const char *class) {
    json_begin_array(w, name);
    json_put_str(w, NULL, library), json_put_str(w, NULL, class);
    json_close_array(w);
}

void ldm_put_index(json_writer *w, const ldm_shapes *c) {
    const bool mask = c->in == 2 * c->latent + 1;
    json_begin_object(w, NULL);
    json_put_str(w, "_class_name", c->refiner ? "StableDiffusionXLImg2ImgPipeline" : c->xl ? mask ? "StableDiffusionXLInpaintPipeline" : "StableDiffusionXLPipeline"
                                                                         : mask ? "StableDiffusionInpaintPipeline" : "StableDiffusionPipeline");
    json_put_str(w, "_diffusers_version", "0.30.0"); /* whose layout this is; loaders ask */
    put_part(w, "unet", "diffusers", "UNet2DConditionModel"), put_part(w, "vae", "diffusers", "AutoencoderKL");
    put_part(w, "scheduler", "diffusers", c->xl ? "EulerDiscreteScheduler" : "PNDMScheduler");
    for (int k = 0; k < (c->xl ? 2 : 1); k++) {
        const char *model = !c->text[k].prefix ? NULL : c->text[k].embed ? "CLIPTextModelWithProjection" : "CLIPTextModel";
        put_part(w, ldm_folder[LDM_TEXT + k], model ? "transformers" : NULL, model);
        put_part(w, k ? "tokenizer_2" : "tokenizer", model ? "transformers" : NULL, model ? "CLIPTokenizer" : NULL);
    }
    if (c->xl) json_put_bool(w, "force_zeros_for_empty_prompt", !c->refiner), json_put_bool(w, "requires_aesthetics_score", c->refiner);
    else {
        put_part(w, "safety_checker", NULL, NULL), put_part(w, "feature_extractor", NULL, NULL);
        json_put_bool(w, "requires_safety_checker", false);
    }
    json_close_object(w);
}
