/* diffuse.c - see diffuse.h. */
#include "models/diffuse.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* --- parameters ----------------------------------------------------------------------------------------------------- */
enum { NAME = 200 };
static vm_param *make(diffuse_maker *m, int nd, const int64_t *ne, const int64_t *file, int file_nd, const char *name, const char *end) {
    vm_param *p = weight_new(m->w, nd, ne, "%s%s", name, end);
    if (p) tie_whole(m->map, p, file_nd, file, 0, "%s%s", name, end);
    return p;
}

#define NAMED(fmt)                                                                                                 \
    char name[NAME];                                                                                               \
    va_list ap;                                                                                                    \
    va_start(ap, fmt);                                                                                             \
    vsnprintf(name, sizeof name, fmt, ap);                                                                         \
    va_end(ap)

diffuse_pair diffuse_linear(diffuse_maker *m, int64_t out, int64_t in, bool bias, const char *fmt, ...) {
    NAMED(fmt);
    int64_t ne[] = { out, in };
    return (diffuse_pair){ make(m, 2, ne, ne, 2, name, ".weight"), bias ? make(m, 1, ne, ne, 1, name, ".bias") : NULL };
}

diffuse_pair diffuse_conv(diffuse_maker *m, int64_t out, int64_t in, int k, const char *fmt, ...) {
    NAMED(fmt);
    int64_t ne[] = { out, in * k * k }, file[] = { out, in, k, k };
    return (diffuse_pair){ make(m, 2, ne, file, 4, name, ".weight"), make(m, 1, ne, file, 1, name, ".bias") };
}

diffuse_pair diffuse_norm(diffuse_maker *m, int64_t C, const char *fmt, ...) {
    NAMED(fmt);
    return (diffuse_pair){ make(m, 1, &C, &C, 1, name, ".weight"), make(m, 1, &C, &C, 1, name, ".bias") };
}

vm_status diffuse_random(weight_set *w, uint64_t seed, vm_error *e) {
    for (int64_t i = 0; i < w->n && !e->status; i++) {
        vm_param *p = w->p[i];
        size_t n = strlen(p->name);
        bool norm = p->nd == 1 && n > 7 && !strcmp(p->name + n - 7, ".weight");
        if (p->nd > 1) weight_normal(p, seed, (uint64_t)i, sqrt(1 / (3.0 * (double)p->ne[1])), e);
        else weight_fill(p, norm, e);
    }
    return e->status;
}

void diffuse_resnet_new(diffuse_maker *m, diffuse_resnet *r, int64_t in, int64_t out, int64_t T, const char *name) {
    *r = (diffuse_resnet){ .norm1 = diffuse_norm(m, in, "%s.norm1", name), .conv1 = diffuse_conv(m, out, in, 3, "%s.conv1", name) };
    if (T) r->time = diffuse_linear(m, out, T, true, "%s.time_emb_proj", name);
    r->norm2 = diffuse_norm(m, out, "%s.norm2", name), r->conv2 = diffuse_conv(m, out, out, 3, "%s.conv2", name);
    if (in != out) r->shortcut = diffuse_conv(m, out, in, 1, "%s.conv_shortcut", name);
}

static diffuse_attn new_attn(diffuse_maker *m, int64_t C, int64_t D, const char *name) {
    return (diffuse_attn){ .q = diffuse_linear(m, C, C, false, "%s.to_q", name).w, .k = diffuse_linear(m, C, D, false, "%s.to_k", name).w,
                           .v = diffuse_linear(m, C, D, false, "%s.to_v", name).w, .out = diffuse_linear(m, C, C, true, "%s.to_out.0", name) };
}

static void new_block(diffuse_maker *m, diffuse_block *b, int64_t C, int64_t D, const char *name) {
    char part[NAME + 16];
    b->norm1 = diffuse_norm(m, C, "%s.norm1", name), b->norm2 = diffuse_norm(m, C, "%s.norm2", name), b->norm3 = diffuse_norm(m, C, "%s.norm3", name);
    snprintf(part, sizeof part, "%s.attn1", name);
    b->attn1 = new_attn(m, C, C, part);
    snprintf(part, sizeof part, "%s.attn2", name);
    b->attn2 = new_attn(m, C, D, part);
    b->ff1 = diffuse_linear(m, 8 * C, C, true, "%s.ff.net.0.proj", name), b->ff2 = diffuse_linear(m, C, 4 * C, true, "%s.ff.net.2", name);
}

void diffuse_transformer_new(diffuse_maker *m, diffuse_transformer *t, int64_t C, int64_t NH, int64_t n, int64_t D, bool conv, const char *name) {
    char part[NAME];
    *t = (diffuse_transformer){ .norm = diffuse_norm(m, C, "%s.norm", name), .n = n, .C = C, .NH = NH };
    t->in = conv ? diffuse_conv(m, C, C, 1, "%s.proj_in", name) : diffuse_linear(m, C, C, true, "%s.proj_in", name);
    if (!(t->block = vm_calloc((size_t)n + 1, sizeof *t->block))) {
        vm_nomem(&m->w->err, (size_t)n * sizeof *t->block, name);
        return;
    }
    for (int64_t k = 0; k < n; k++) {
        snprintf(part, sizeof part, "%s.transformer_blocks.%d", name, (int)k);
        new_block(m, &t->block[k], C, D, part);
    }
    t->out = conv ? diffuse_conv(m, C, C, 1, "%s.proj_out", name) : diffuse_linear(m, C, C, true, "%s.proj_out", name);
}

void diffuse_transformer_free(diffuse_transformer *t) {
    vm_free(t->block);
    t->block = NULL;
}

/* --- graphs --------------------------------------------------------------------------------------------------------- */
vm_val diffuse_act(vm_graph *g, vm_val x) { return vm_cast(g, x, g->dtype); }

vm_val diffuse_conv_run(vm_graph *g, vm_val x, const diffuse_pair *c, int k, int stride, vm_val residual, vm_type out) {
    int pad = k / 2;
    vm_conv how = { .KH = k, .KW = k, .stride = { stride, stride }, .pad = { pad, pad, pad, pad } };
    return vm_conv2d(g, diffuse_act(g, x), vm_weight(g, c->w), vm_weight(g, c->b), how, VM_NONE, residual, out);
}

vm_val diffuse_groupnorm(vm_graph *g, vm_val x, const diffuse_pair *n, int groups, float eps, vm_unary_kind act, vm_type out) {
    return vm_groupnorm(g, x, vm_weight(g, n->w), vm_weight(g, n->b), groups, eps, act, out);
}

vm_val diffuse_up(vm_graph *g, vm_val x, const diffuse_pair *c, int64_t H, int64_t W, vm_type out) {
    return diffuse_conv_run(g, vm_resize(g, x, H, W, VM_NEAREST, g->dtype), c, 3, 1, 0, out);
}

/* Adds t (B,C) or (1,C) to every pixel of x (B,H,W,C). */
static vm_val add_to_pixels(vm_graph *g, vm_val x, vm_val t) {
    if (!x || !t) return 0;
    int64_t B = vm_dim(g, x, 0), HW = vm_dim(g, x, 1) * vm_dim(g, x, 2), C = vm_dim(g, x, 3);
    if (vm_dim(g, t, 0) == 1) return vm_binary(g, x, vm_reshape(g, t, 1, &C), VM_ADD);
    vm_val all = vm_permute(g, vm_broadcast(g, t, HW), (const int[]){ 1, 0, 2 });
    return vm_binary(g, x, vm_reshape(g, all, 4, (int64_t[]){ B, vm_dim(g, x, 1), vm_dim(g, x, 2), C }), VM_ADD);
}

vm_val diffuse_resnet_time(vm_graph *g, const diffuse_resnet *r, vm_val temb) {
    return nn_linear(g, temb, r->time.w, r->time.b, VM_NONE, 0, VM_F32);
}

/* The shortcut before the norm: where x is not needed any more, the norm may stand in its place. */
vm_val diffuse_resnet_run(vm_graph *g, const diffuse_resnet *r, vm_val x, vm_val time, int groups, float eps) {
    if (!x) return 0;
    const vm_type t = g->v[x].type;
    vm_scope(g, r->norm1.w->name);
    vm_val shortcut = r->shortcut.w ? diffuse_conv_run(g, x, &r->shortcut, 1, 1, 0, t) : x;
    vm_val h = diffuse_conv_run(g, diffuse_groupnorm(g, x, &r->norm1, groups, eps, VM_SILU, g->dtype), &r->conv1, 3, 1, 0, t);
    if (r->time.w) h = add_to_pixels(g, h, time);
    return diffuse_conv_run(g, diffuse_groupnorm(g, h, &r->norm2, groups, eps, VM_SILU, g->dtype), &r->conv2, 3, 1, shortcut, t);
}

diffuse_kv diffuse_keys(vm_graph *g, const diffuse_attn *a, vm_val from) {
    return (diffuse_kv){ nn_linear(g, from, a->k, a->k_b, VM_NONE, 0, g->dtype), nn_linear(g, from, a->v, a->v_b, VM_NONE, 0, g->dtype) };
}

vm_val diffuse_attend(vm_graph *g, const diffuse_attn *a, vm_val x, vm_val h, diffuse_kv to, int NH) {
    vm_val q = nn_linear(g, h, a->q, a->q_b, VM_NONE, 0, g->dtype);
    return nn_linear(g, vm_attention(g, q, to.k, to.v, (vm_attn){ .NH = NH, .NKV = NH }), a->out.w, a->out.b, VM_NONE, x, VM_F32);
}

void diffuse_transformer_kv(vm_graph *g, const diffuse_transformer *t, vm_val context, diffuse_kv *kv) {
    vm_val from = diffuse_act(g, context);
    for (int64_t k = 0; k < t->n; k++) {
        vm_scope(g, t->block[k].norm2.w->name);
        kv[k] = diffuse_keys(g, &t->block[k].attn2, from);
    }
}

vm_val diffuse_transformer_run(vm_graph *g, const diffuse_transformer *t, vm_val x, const diffuse_kv *kv, int groups, bool again) {
    if (!x) return 0;
    int64_t B = vm_dim(g, x, 0), H = vm_dim(g, x, 1), W = vm_dim(g, x, 2);
    const float eps = 1e-5f;
    vm_scope(g, t->norm.w->name);
    if (again) vm_checkpoint_begin(g);
    vm_val y = vm_reshape(g, diffuse_groupnorm(g, x, &t->norm, groups, 1e-6f, VM_NONE, g->dtype), 3, (int64_t[]){ B, H * W, t->C });
    y = nn_linear(g, y, t->in.w, t->in.b, VM_NONE, 0, VM_F32);
    for (int64_t k = 0; k < t->n; k++) {
        const diffuse_block *b = &t->block[k];
        vm_scope(g, b->norm1.w->name);
        if (again && k) vm_checkpoint_end(g), vm_checkpoint_begin(g); /* what stands before and behind goes with the first and the last block */
        vm_val h = nn_norm(g, y, b->norm1.w, b->norm1.b, eps, g->dtype);
        y = diffuse_attend(g, &b->attn1, y, h, diffuse_keys(g, &b->attn1, h), (int)t->NH);
        y = diffuse_attend(g, &b->attn2, y, nn_norm(g, y, b->norm2.w, b->norm2.b, eps, g->dtype), kv[k], (int)t->NH);
        h = nn_linear(g, nn_norm(g, y, b->norm3.w, b->norm3.b, eps, g->dtype), b->ff1.w, b->ff1.b, VM_NONE, 0, g->dtype);
        y = nn_linear(g, vm_glu_packed(g, h, false, VM_GELU, g->dtype), b->ff2.w, b->ff2.b, VM_NONE, y, VM_F32);
    }
    vm_val skip = vm_reshape(g, x, 3, (int64_t[]){ B, H * W, t->C });
    y = vm_reshape(g, nn_linear(g, diffuse_act(g, y), t->out.w, t->out.b, VM_NONE, skip, VM_F32), 4, (int64_t[]){ B, H, W, t->C });
    if (again) vm_checkpoint_end(g);
    return y;
}

void diffuse_ints(json_value v, const char *key, int64_t dflt, int n, int64_t *out, vm_error *e) {
    json_value x = json_get(v, key);
    if (x.kind == JSON_ARRAY) json_as_ints(x, out, n, e);
    else for (int k = 0; k < n; k++) out[k] = json_int(v, key, dflt, 1, 1 << 20, e);
}
