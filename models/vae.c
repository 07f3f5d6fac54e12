/* vae.c - see vae.h. */
#include "models/vae.h"

#include <string.h>

#include "io/file.h"

static const float eps = 1e-6f; /* of all norms */

/* --- configuration -------------------------------------------------------------------------------------------------- */
static vm_status read_config(vae_config *c, json_value v, vm_error *e) {
    json_value widths = json_need(v, "block_out_channels", JSON_ARRAY, e);
    *c = (vae_config){ .levels = json_len(widths) };
    if (!e->status && (c->levels < 1 || c->levels > VAE_LEVELS)) return json_fail(widths, e, "%d levels, 1 to %d are possible", (int)c->levels, VAE_LEVELS);
    json_as_ints(widths, c->width, c->levels, e);
    c->in = json_int(v, "in_channels", 3, 1, 64, e), c->out = json_int(v, "out_channels", 3, 1, 64, e);
    c->latent = json_int(v, "latent_channels", 4, 1, 1024, e), c->layers = json_int(v, "layers_per_block", 1, 1, VAE_LAYERS, e);
    c->groups = json_int(v, "norm_num_groups", 32, 1, 1 << 12, e), c->attention = json_bool(v, "mid_block_add_attention", true, e);
    c->quant = json_bool(v, "use_quant_conv", true, e), c->post_quant = json_bool(v, "use_post_quant_conv", true, e);
    c->scale = json_num(v, "scaling_factor", 0.18215, 1e-6, 1e6, e), c->shift = json_num(v, "shift_factor", 0, -1e6, 1e6, e);
    c->sample = json_int(v, "sample_size", 32, 1, 1 << 16, e);
    if (!e->status && strcmp(json_str(v, "act_fn", "silu", e), "silu")) json_fail(json_get(v, "act_fn"), e, "only \"silu\" is supported");
    if (!e->status && json_has(json_get(v, "latents_mean"))) json_fail(json_get(v, "latents_mean"), e, "is not supported");
    for (int k = 0; k < c->levels && !e->status; k++)
        if (c->width[k] < 1 || c->width[k] % c->groups) json_fail(widths, e, "level %d: %d channels in %d groups", k, (int)c->width[k], (int)c->groups);
    return e->status;
}

static const char folder[] = "the vae folder of a diffusion model";

bool vae_is_vae(const char *dir) {
    vm_error none = { 0 };
    json_doc *d = json_config(dir, folder, &none);
    bool is = d && !strcmp(json_str(json_root(d), "_class_name", "", &none), "AutoencoderKL");
    json_free(d);
    return is;
}

vm_status vae_config_read(vae_config *c, const char *dir, vm_error *e) {
    json_doc *d = json_config(dir, folder, e);
    if (d) read_config(c, json_root(d), e);
    json_free(d);
    return e->status;
}

/* --- parameters ----------------------------------------------------------------------------------------------------- */
static void new_resnet(diffuse_maker *k, vae_level *l, int j, int64_t in, int64_t out, const char *name) {
    char part[128];
    snprintf(part, sizeof part, "%s.resnets.%d", name, j);
    diffuse_resnet_new(k, &l->resnet[j], in, out, 0, part);
    l->n = j + 1;
}

/* Published before the library joined its attentions: other names, and perhaps convolutions of 1 x 1. */
static diffuse_pair attn_linear(diffuse_maker *k, const st_file *f, int64_t C, const char *now, const char *before, const char *name) {
    char key[120];
    snprintf(key, sizeof key, "%s.%s.weight", name, before);
    const st_tensor *t = f ? st_find(f, key) : NULL;
    if (!t) return diffuse_linear(k, C, C, true, "%s.%s", name, now);
    return t->nd == 4 ? diffuse_conv(k, C, C, 1, "%s.%s", name, before) : diffuse_linear(k, C, C, true, "%s.%s", name, before);
}

static void new_middle(diffuse_maker *k, const st_file *f, vae_middle *m, int64_t C, bool attention, const char *half) {
    char name[96];
    snprintf(name, sizeof name, "%s.mid_block.resnets.0", half);
    diffuse_resnet_new(k, &m->first, C, C, 0, name);
    if (attention) {
        snprintf(name, sizeof name, "%s.mid_block.attentions.0", half);
        m->norm = diffuse_norm(k, C, "%s.group_norm", name);
        diffuse_pair q = attn_linear(k, f, C, "to_q", "query", name), key = attn_linear(k, f, C, "to_k", "key", name), v = attn_linear(k, f, C, "to_v", "value", name);
        m->attn = (diffuse_attn){ q.w, key.w, v.w, q.b, key.b, v.b, attn_linear(k, f, C, "to_out.0", "proj_attn", name) };
    }
    snprintf(name, sizeof name, "%s.mid_block.resnets.1", half);
    diffuse_resnet_new(k, &m->second, C, C, 0, name);
}

static void make(vae *m) {
    const vae_config *c = &m->c;
    diffuse_maker k = { &m->w, &m->map };
    const int n = (int)c->levels;
    int64_t x = c->width[0], last = c->width[n - 1], z = c->latent;
    char name[64];
    vae_half *h = &m->encoder;
    h->conv_in = diffuse_conv(&k, x, c->in, 3, "encoder.conv_in");
    for (int s = 0; s < n; s++) {
        snprintf(name, sizeof name, "encoder.down_blocks.%d", s);
        for (int j = 0; j < c->layers; j++) new_resnet(&k, &h->level[s], j, x, c->width[s], name), x = c->width[s];
        if (s + 1 < n) h->level[s].resample = diffuse_conv(&k, x, x, 3, "%s.downsamplers.0.conv", name);
    }
    new_middle(&k, m->file, &h->middle, last, c->attention, "encoder");
    h->norm_out = diffuse_norm(&k, last, "encoder.conv_norm_out"), h->conv_out = diffuse_conv(&k, 2 * z, last, 3, "encoder.conv_out");
    if (c->quant) m->quant = diffuse_conv(&k, 2 * z, 2 * z, 1, "quant_conv");
    if (c->post_quant) m->post_quant = diffuse_conv(&k, z, z, 1, "post_quant_conv");
    h = &m->decoder;
    h->conv_in = diffuse_conv(&k, last, z, 3, "decoder.conv_in");
    new_middle(&k, m->file, &h->middle, last, c->attention, "decoder");
    x = last;
    for (int s = 0; s < n; s++) {
        snprintf(name, sizeof name, "decoder.up_blocks.%d", s);
        for (int j = 0; j <= c->layers; j++) new_resnet(&k, &h->level[s], j, x, c->width[n - 1 - s], name), x = c->width[n - 1 - s];
        if (s + 1 < n) h->level[s].resample = diffuse_conv(&k, x, x, 3, "%s.upsamplers.0.conv", name);
    }
    h->norm_out = diffuse_norm(&k, x, "decoder.conv_norm_out"), h->conv_out = diffuse_conv(&k, c->out, x, 3, "decoder.conv_out");
}

/* Without weights yet; f, which is owned from here on, names the tensors, NULL: as they are called now. */
static vae *new_vae(vm_backend *be, const vae_config *c, st_file *f, vm_error *e) {
    vae *m = vm_calloc(1, sizeof *m);
    if (!m) return st_close(f), vm_nomem(e, sizeof *m, "an autoencoder"), NULL;
    m->w.be = be, m->file = f, m->c = *c;
    make(m);
    if (m->w.err.status) *e = m->w.err;
    else if (m->map.err.status) *e = m->map.err;
    return m;
}

vm_status vae_open(vae **out, vm_backend *be, const char *dir, bool writable, vm_error *e) {
    st_file *f = NULL;
    vae_config c;
    *out = NULL;
    if (vae_config_read(&c, dir, e) || st_open_base(&f, dir, "diffusion_pytorch_model", e)) return e->status;
    vae *m = new_vae(be, &c, f, e);
    if (!e->status) weights_load(&m->map, m->file, (const char *const[]){ "", NULL }, writable, &m->unused, e);
    if (e->status) vae_free(m);
    else *out = m;
    return e->status;
}

vm_status vae_fresh(vae **out, vm_backend *be, const char *dir, uint64_t seed, vm_error *e) {
    vae_config c;
    *out = NULL;
    if (vae_config_read(&c, dir, e)) return e->status;
    vae *m = new_vae(be, &c, NULL, e);
    if (!e->status) diffuse_random(&m->w, seed, e);
    if (e->status) vae_free(m);
    else *out = m;
    return e->status;
}

void vae_free(vae *m) {
    if (!m) return;
    weight_map_free(&m->map);
    weights_free(&m->w);
    vm_free(m->unused);
    st_close(m->file);
    vm_free(m);
}

/* --- graphs --------------------------------------------------------------------------------------------------------- */
static void begin(vm_graph *g, const vae *m) {
    if (m->recompute && g->training) vm_checkpoint_begin(g);
}
static vm_val end(vm_graph *g, const vae *m, vm_val x) {
    if (m->recompute && g->training) vm_checkpoint_end(g);
    return x;
}

/* Large maps stay in the type of products when nothing is learnt: in f32, a few of them are the whole memory. */
enum { LARGE = 1 << 24 };
static vm_type map_type(const vm_graph *g, int64_t elements) { return g->training || elements < LARGE ? VM_F32 : g->dtype; }

static vm_val resnet(vm_graph *g, const vae *m, const diffuse_resnet *r, vm_val x) {
    begin(g, m);
    return end(g, m, diffuse_resnet_run(g, r, x, 0, (int)m->c.groups, eps));
}

static vm_val conv(vm_graph *g, const vae *m, const diffuse_pair *c, vm_val x) {
    begin(g, m);
    return end(g, m, diffuse_conv_run(g, x, c, 3, 1, 0, map_type(g, x ? vm_rows(g, x) * c->w->ne[0] : 0)));
}

static vm_val middle(vm_graph *g, const vae *m, const vae_middle *l, vm_val x) {
    x = resnet(g, m, &l->first, x);
    if (l->attn.q && x) {
        int64_t B = vm_dim(g, x, 0), H = vm_dim(g, x, 1), W = vm_dim(g, x, 2), C = vm_dim(g, x, 3), ne[] = { B, H * W, C };
        vm_scope(g, l->norm.w->name);
        begin(g, m);
        vm_val h = vm_reshape(g, diffuse_groupnorm(g, x, &l->norm, (int)m->c.groups, eps, VM_NONE, g->dtype), 3, ne);
        vm_val y = diffuse_attend(g, &l->attn, vm_reshape(g, x, 3, ne), h, diffuse_keys(g, &l->attn, h), 1);
        x = end(g, m, vm_reshape(g, y, 4, (int64_t[]){ B, H, W, C }));
    }
    return resnet(g, m, &l->second, x);
}

static vm_val ending(vm_graph *g, const vae *m, const vae_half *h, vm_val x) {
    vm_scope(g, h->norm_out.w->name);
    begin(g, m);
    x = diffuse_groupnorm(g, x, &h->norm_out, (int)m->c.groups, eps, VM_SILU, g->dtype);
    return end(g, m, diffuse_conv_run(g, x, &h->conv_out, 3, 1, 0, VM_F32));
}

/* Halved with zeros below and on the right alone. */
static vm_val halve(vm_graph *g, const vae *m, vm_val x, const diffuse_pair *c) {
    vm_conv how = { .KH = 3, .KW = 3, .stride = { 2, 2 }, .pad = { 0, 0, 1, 1 } };
    begin(g, m);
    vm_type out = map_type(g, x ? vm_count(g, x) / 4 : 0);
    return end(g, m, vm_conv2d(g, diffuse_act(g, x), vm_weight(g, c->w), vm_weight(g, c->b), how, VM_NONE, 0, out));
}

static vm_val twice(vm_graph *g, const vae *m, vm_val x, const diffuse_pair *c) {
    begin(g, m);
    return end(g, m, x ? diffuse_up(g, x, c, 2 * vm_dim(g, x, 1), 2 * vm_dim(g, x, 2), map_type(g, 4 * vm_count(g, x))) : 0);
}

/* Within [low, high], with the gradient of what is inside: high - max(high - max(x, low), 0). */
static vm_val clamp(vm_graph *g, vm_val x, float low, float high) {
    vm_val above = vm_scale(g, vm_unary(g, vm_scale(g, x, 1, -low), VM_RELU, VM_F32), 1, low);
    return vm_scale(g, vm_unary(g, vm_scale(g, above, -1, high), VM_RELU, VM_F32), -1, high);
}

void vae_encode(vm_graph *g, const vae *m, vm_val pixels, vm_val *mean, vm_val *logvar) {
    const vae_half *h = &m->encoder;
    vm_scope(g, h->conv_in.w->name);
    vm_val x = conv(g, m, &h->conv_in, pixels);
    for (int s = 0; s < m->c.levels; s++) {
        for (int k = 0; k < h->level[s].n; k++) x = resnet(g, m, &h->level[s].resnet[k], x);
        if (h->level[s].resample.w) x = halve(g, m, x, &h->level[s].resample);
    }
    x = ending(g, m, h, middle(g, m, &h->middle, x));
    if (m->quant.w) x = diffuse_conv_run(g, x, &m->quant, 1, 1, 0, VM_F32);
    *mean = vm_slice(g, x, 3, 0, m->c.latent);
    *logvar = clamp(g, vm_slice(g, x, 3, m->c.latent, m->c.latent), -30, 20);
}

vm_val vae_sample(vm_graph *g, vm_val mean, vm_val logvar, vm_val noise) {
    vm_val deviation = vm_unary(g, vm_scale(g, logvar, 0.5f, 0), VM_EXP, VM_F32);
    return vm_binary(g, mean, vm_binary(g, deviation, noise, VM_MUL), VM_ADD);
}

vm_val vae_decode(vm_graph *g, const vae *m, vm_val latent) {
    const vae_half *h = &m->decoder;
    vm_scope(g, h->conv_in.w->name);
    vm_val x = m->post_quant.w ? diffuse_conv_run(g, latent, &m->post_quant, 1, 1, 0, VM_F32) : latent;
    x = middle(g, m, &h->middle, conv(g, m, &h->conv_in, x));
    for (int s = 0; s < m->c.levels; s++) {
        for (int k = 0; k < h->level[s].n; k++) x = resnet(g, m, &h->level[s].resnet[k], x);
        if (h->level[s].resample.w) x = twice(g, m, x, &h->level[s].resample);
    }
    return ending(g, m, h, x);
}

vm_val vae_kl(vm_graph *g, vm_val mean, vm_val logvar) {
    vm_val sum = vm_binary(g, vm_unary(g, mean, VM_SQUARE, VM_F32), vm_unary(g, logvar, VM_EXP, VM_F32), VM_ADD);
    return vm_scale(g, vm_mean(g, vm_binary(g, sum, logvar, VM_SUB)), 0.5f, -0.5f);
}
