/* unet_io.c - configurations and parameters of unet.h, under their names in the files. */
#include <string.h>

#include "io/file.h"
#include "models/unet.h"

/* --- configuration -------------------------------------------------------------------------------------------------- */
/* What would change the computation and is not done here. */
static void refuse(json_value v, vm_error *e) {
    static const char *const null[] = { "class_embed_type", "encoder_hid_dim", "time_cond_proj_dim", "time_embedding_act_fn", "cross_attention_norm",
                                        "timestep_post_act", "num_class_embeds", "time_embedding_dim", "num_attention_heads" };
    static const char *const off[] = { "dual_cross_attention", "center_input_sample", "class_embeddings_concat", "resnet_skip_time_act" };
    static const struct { const char *key, *value; } text[] = { { "act_fn", "silu" }, { "mid_block_type", "UNetMidBlock2DCrossAttn" },
        { "resnet_time_scale_shift", "default" }, { "time_embedding_type", "positional" }, { "attention_type", "default" } };
    for (int k = 0; k < VM_LEN(null) && !e->status; k++)
        if (json_has(json_get(v, null[k]))) json_fail(json_get(v, null[k]), e, "is not supported");
    for (int k = 0; k < VM_LEN(off) && !e->status; k++)
        if (json_bool(v, off[k], false, e)) json_fail(json_get(v, off[k]), e, "is not supported");
    for (int k = 0; k < VM_LEN(text) && !e->status; k++)
        if (strcmp(json_str(v, text[k].key, text[k].value, e), text[k].value)) json_fail(json_get(v, text[k].key), e, "only \"%s\" is supported", text[k].value);
    if (!e->status && (json_int(v, "conv_in_kernel", 3, 1, 99, e) != 3 || json_int(v, "conv_out_kernel", 3, 1, 99, e) != 3))
        json_fail(v, e, "convolutions at the ends other than 3 x 3 are not supported");
}

/* "CrossAttnDownBlock2D" or "DownBlock2D" (up alike). */
static void read_blocks(json_value v, const char *key, const char *cross, const char *plain, const unet_config *c, bool *out, vm_error *e) {
    json_value list = json_need(v, key, JSON_ARRAY, e);
    if (!e->status && json_len(list) != c->levels) json_fail(list, e, "%d blocks for %d levels", (int)json_len(list), (int)c->levels);
    for (int64_t k = 0; k < c->levels && !e->status; k++) {
        const char *name = json_as_str(json_at(list, k), e);
        out[k] = name && !strcmp(name, cross);
        if (name && !out[k] && strcmp(name, plain)) json_fail(json_at(list, k), e, "\"%s\" is not supported", name);
    }
}

static vm_status read_config(unet_config *c, json_value v, vm_error *e) {
    json_value widths = json_need(v, "block_out_channels", JSON_ARRAY, e);
    *c = (unet_config){ .levels = json_len(widths) };
    if (!e->status && (c->levels < 1 || c->levels > UNET_LEVELS)) return json_fail(widths, e, "%d levels, 1 to %d are possible", (int)c->levels, UNET_LEVELS);
    refuse(v, e);
    if (e->status) return e->status;
    int n = (int)c->levels;
    c->in = json_int(v, "in_channels", 4, 1, 1024, e), c->out = json_int(v, "out_channels", 4, 1, 1024, e);
    c->layers = json_int(v, "layers_per_block", 2, 1, UNET_LAYERS, e);
    json_as_ints(widths, c->width, n, e);
    diffuse_ints(v, "attention_head_dim", 8, n, c->heads, e);
    json_value reverse = json_get(v, "reverse_transformer_layers_per_block");
    diffuse_ints(v, "transformer_layers_per_block", 1, n, c->depth, e);
    for (int k = 0; k < n; k++) c->up_depth[k] = c->depth[n - 1 - k];
    if (json_has(reverse)) json_as_ints(reverse, c->up_depth, n, e);
    read_blocks(v, "down_block_types", "CrossAttnDownBlock2D", "DownBlock2D", c, c->cross, e);
    read_blocks(v, "up_block_types", "CrossAttnUpBlock2D", "UpBlock2D", c, c->up_cross, e);
    c->context = json_int(v, "cross_attention_dim", 1280, 1, 1 << 16, e), c->groups = json_int(v, "norm_num_groups", 32, 1, 1 << 12, e);
    c->eps = (float)json_num(v, "norm_eps", 1e-5, 0, 1, e), c->linear = json_bool(v, "use_linear_projection", false, e);
    c->flip = json_bool(v, "flip_sin_to_cos", true, e), c->freq_shift = json_num(v, "freq_shift", 0, 0, 1, e);
    c->sample = json_int(v, "sample_size", 64, 1, 1 << 16, e);
    const char *add = json_str(v, "addition_embed_type", "", e);
    if (!e->status && *add && strcmp(add, "text_time")) json_fail(json_get(v, "addition_embed_type"), e, "only \"text_time\" is supported");
    if (!e->status && *add) {
        c->time_ids = json_as_int(json_need(v, "addition_time_embed_dim", JSON_INT, e), 1, 1 << 16, e);
        c->text_and_ids = json_as_int(json_need(v, "projection_class_embeddings_input_dim", JSON_INT, e), 1, 1 << 20, e);
    }
    for (int k = 0; k < n && !e->status; k++)
        if (c->width[k] < 1 || c->width[k] % c->groups || c->width[k] % c->heads[k])
            json_fail(v, e, "level %d: %d channels in %d groups and %d heads", k, (int)c->width[k], (int)c->groups, (int)c->heads[k]);
    for (int k = 0; k < n && !e->status; k++)
        if (c->depth[k] > DIFFUSE_BLOCKS || c->up_depth[k] > DIFFUSE_BLOCKS)
            json_fail(json_get(v, "transformer_layers_per_block"), e, "at most %d blocks of a transformer are possible", DIFFUSE_BLOCKS);
    return e->status;
}

static const char folder[] = "the unet folder of a diffusion model";

bool unet_is_unet(const char *dir) {
    vm_error none = { 0 };
    json_doc *d = json_config(dir, folder, &none);
    bool is = d && !strcmp(json_str(json_root(d), "_class_name", "", &none), "UNet2DConditionModel");
    json_free(d);
    return is;
}

vm_status unet_config_read(unet_config *c, const char *dir, vm_error *e) {
    json_doc *d = json_config(dir, folder, e);
    if (d) read_config(c, json_root(d), e);
    json_free(d);
    return e->status;
}

/* --- parameters ----------------------------------------------------------------------------------------------------- */
static void new_attn(diffuse_maker *k, unet_level *l, int j, const unet_config *c, int64_t C, int64_t heads, int64_t depth, const char *name) {
    char part[128];
    snprintf(part, sizeof part, "%s.attentions.%d", name, j);
    diffuse_transformer_new(k, &l->attn[j], C, heads, depth, c->context, !c->linear, part);
}

static void new_resnet(diffuse_maker *k, unet_level *l, int j, int64_t in, int64_t out, int64_t T, const char *name) {
    char part[128];
    snprintf(part, sizeof part, "%s.resnets.%d", name, j);
    diffuse_resnet_new(k, &l->resnet[j], in, out, T, part);
    l->n = VM_MAX(l->n, j + 1);
}

static void make(unet *m) {
    const unet_config *c = &m->c;
    diffuse_maker k = { &m->w, &m->map };
    const int n = (int)c->levels;
    int64_t c0 = c->width[0], T = 4 * c0, skip[UNET_LEVELS * (UNET_LAYERS + 1) + 1], top = 0, x = c0;
    char name[64];
    m->time1 = diffuse_linear(&k, T, c0, true, "time_embedding.linear_1"), m->time2 = diffuse_linear(&k, T, T, true, "time_embedding.linear_2");
    if (c->text_and_ids) {
        m->add1 = diffuse_linear(&k, T, c->text_and_ids, true, "add_embedding.linear_1");
        m->add2 = diffuse_linear(&k, T, T, true, "add_embedding.linear_2");
    }
    m->conv_in = diffuse_conv(&k, c0, c->in, 3, "conv_in");
    skip[top++] = c0;
    for (int s = 0; s < n; s++) {
        snprintf(name, sizeof name, "down_blocks.%d", s);
        for (int j = 0; j < c->layers; j++) {
            new_resnet(&k, &m->down[s], j, x, c->width[s], T, name);
            if (c->cross[s]) new_attn(&k, &m->down[s], j, c, c->width[s], c->heads[s], c->depth[s], name);
            skip[top++] = x = c->width[s];
        }
        if (s + 1 == n) continue;
        m->down[s].resample = diffuse_conv(&k, x, x, 3, "%s.downsamplers.0.conv", name);
        skip[top++] = x;
    }
    new_resnet(&k, &m->middle, 0, x, x, T, "mid_block");
    new_attn(&k, &m->middle, 0, c, x, c->heads[n - 1], c->depth[n - 1], "mid_block");
    new_resnet(&k, &m->middle, 1, x, x, T, "mid_block");
    for (int s = 0; s < n; s++) {
        int64_t C = c->width[n - 1 - s];
        snprintf(name, sizeof name, "up_blocks.%d", s);
        for (int j = 0; j <= c->layers; j++) {
            new_resnet(&k, &m->up[s], j, x + skip[--top], C, T, name);
            if (c->up_cross[s]) new_attn(&k, &m->up[s], j, c, C, c->heads[n - 1 - s], c->up_depth[s], name);
            x = C;
        }
        if (s + 1 < n) m->up[s].resample = diffuse_conv(&k, C, C, 3, "%s.upsamplers.0.conv", name);
    }
    m->norm_out = diffuse_norm(&k, c0, "conv_norm_out"), m->conv_out = diffuse_conv(&k, c->out, c0, 3, "conv_out");
}

vm_status unet_new(unet **out, vm_backend *be, const char *dir, vm_error *e) {
    unet *m = *out = vm_calloc(1, sizeof *m);
    if (!m) return vm_nomem(e, sizeof *m, "a UNet");
    m->w.be = be;
    if (!unet_config_read(&m->c, dir, e)) {
        make(m);
        if (m->w.err.status) *e = m->w.err;
        else if (m->map.err.status) *e = m->map.err;
    }
    if (e->status) unet_free(m), *out = NULL;
    return e->status;
}

vm_status unet_open(unet **out, vm_backend *be, const char *dir, bool writable, vm_error *e) {
    if (unet_new(out, be, dir, e)) return e->status;
    unet *m = *out;
    if (!st_open_base(&m->file, dir, "diffusion_pytorch_model", e))
        weights_load(&m->map, m->file, (const char *const[]){ "", NULL }, writable, &m->unused, e);
    if (e->status) unet_free(m), *out = NULL;
    return e->status;
}

vm_status unet_fresh(unet **out, vm_backend *be, const char *dir, uint64_t seed, vm_error *e) {
    if (!unet_new(out, be, dir, e) && diffuse_random(&(*out)->w, seed, e)) unet_free(*out), *out = NULL;
    return e->status;
}

static void free_level(unet_level *l) {
    for (int k = 0; k <= UNET_LAYERS; k++) diffuse_transformer_free(&l->attn[k]);
}

void unet_free(unet *m) {
    if (!m) return;
    for (int s = 0; s < UNET_LEVELS; s++) free_level(&m->down[s]), free_level(&m->up[s]);
    free_level(&m->middle);
    weight_map_free(&m->map);
    weights_free(&m->w);
    vm_free(m->unused);
    st_close(m->file);
    vm_free(m);
}
