/* resnet.c - see resnet.h. In graphs without training each normalisation is part of its convolution; in training it is
 * one node with the ReLU and the sum that follow. */
#include "models/resnet.h"

#include <math.h>
#include <string.h>

static const float EPS = 1e-5f, MOMENTUM = 0.1f;

/* --- parameters --------------------------------------------------------------------------------------------------- */
static void new_conv(weight_set *w, resnet_conv *c, int64_t in, int64_t out, int K, int stride, const char *name) {
    static const char *const parts[] = { "norm.weight", "norm.bias", "norm.mean", "norm.var" };
    const int64_t ne[] = { out, in * K * K }, one[] = { 1 };
    c->K = K, c->stride = stride;
    c->w = weight_new(w, 2, ne, "%s.weight", name);
    for (int k = 0; k < 4; k++) c->norm[k] = (k < 2 ? weight_new : weight_state)(w, 1, &out, "%s.%s", name, parts[k]);
    c->count = weight_state(w, 1, one, "%s.norm.count", name);
    c->folded.w = vm_param_shell(w->be, "folded.weight", VM_F32, 2, ne, &w->err);
    c->folded.b = vm_param_shell(w->be, "folded.bias", VM_F32, 1, &out, &w->err);
}

static void new_block(weight_set *w, resnet_block *b, int64_t in, int64_t inner, int shrink, int64_t number) {
    char name[64];
    const int64_t sizes[] = { in, inner, inner, 4 * inner };
    b->shrink = shrink;
    for (int k = 0; k < 3; k++) {
        snprintf(name, sizeof name, "vision.%d.conv%d", (int)number, k + 1);
        new_conv(w, &b->conv[k], sizes[k], sizes[k + 1], k == 1 ? 3 : 1, 1, name);
    }
    snprintf(name, sizeof name, "vision.%d.down", (int)number);
    if (shrink > 1 || in != 4 * inner) new_conv(w, &b->down, in, 4 * inner, 1, 1, name);
}

vm_status resnet_new(resnet **out, weight_set *w, const resnet_config *c, vm_error *e) {
    resnet *r = *out = vm_calloc(1, sizeof *r);
    if (!r) return vm_nomem(e, sizeof *r, "a ResNet");
    r->c = *c;
    for (int s = 0; s < RESNET_STAGES; s++) r->n_blocks += c->blocks[s];
    if (!(r->block = vm_calloc((size_t)r->n_blocks + 1, sizeof *r->block)))
        return vm_nomem(e, sizeof *r->block, "a ResNet");
    const int64_t W = c->width, C = W * 32, n = c->image_size / RESNET_SHRINK, sizes[] = { 3, W / 2, W / 2, W };
    char name[64];
    for (int k = 0; k < 3; k++) {
        snprintf(name, sizeof name, "vision.stem.conv%d", k + 1);
        new_conv(w, &r->stem[k], sizes[k], sizes[k + 1], 3, k ? 1 : 2, name);
    }
    int64_t in = W, number = 0;
    for (int s = 0; s < RESNET_STAGES; s++)
        for (int64_t i = 0; i < c->blocks[s]; i++, number++) {
            new_block(w, &r->block[number], in, W << s, s && !i ? 2 : 1, number);
            in = 4 * W << s;
        }
    r->pos = weight_new(w, 2, (int64_t[]){ n * n + 1, C }, "vision.pool.pos");
    vm_param **const linear[][2] = {
        { &r->q_w, &r->q_b }, { &r->k_w, &r->k_b }, { &r->v_w, &r->v_b }, { &r->out_w, &r->out_b }
    };
    static const char *const names[] = { "q", "k", "v", "out" };
    for (int k = 0; k < 4; k++) {
        const int64_t rows = k < 3 ? C : c->embed;
        *linear[k][0] = weight_new(w, 2, (int64_t[]){ rows, C }, "vision.pool.%s.weight", names[k]);
        *linear[k][1] = weight_new(w, 1, &rows, "vision.pool.%s.bias", names[k]);
    }
    return w->err.status ? (*e = w->err).status : VM_OK;
}

static void free_conv(resnet_conv *c) { vm_param_free(c->folded.w), vm_param_free(c->folded.b); }

void resnet_free(resnet *r) {
    if (!r) return;
    for (int k = 0; k < 3; k++) free_conv(&r->stem[k]);
    for (int64_t i = 0; r->block && i < r->n_blocks; i++) {
        for (int k = 0; k < 3; k++) free_conv(&r->block[i].conv[k]);
        free_conv(&r->block[i].down);
    }
    vm_free(r->block);
    vm_free(r);
}

bool resnet_init(const resnet *r, const vm_param *p, double *std, double *value) {
    const size_t n = strlen(p->name);
    const double C = 32 * (double)r->c.width;
    if (strncmp(p->name, "vision.", 7)) return false;
    if (p->nd == 2 && !strncmp(p->name, "vision.pool.", 12)) *std = 1 / sqrt(C);
    else if (!strncmp(p->name, "vision.pool.", 12) || p->nd == 2)
        *std = 1 / sqrt(3 * (p->nd == 2 ? (double)p->ne[1] : C)); /* of U(+-1/sqrt(fan in)) */
    else if (n > 4 && !strcmp(p->name + n - 4, ".var")) *value = 1;
    else if (n > 12 && !strcmp(p->name + n - 12, ".norm.weight")) *value = 1;
    for (int64_t i = 0; i < r->n_blocks; i++)
        if (p == r->block[i].conv[2].norm[0]) *value = 0; /* blocks begin as the identity */
    return true;
}

/* --- names -------------------------------------------------------------------------------------------------------- */
static void map_conv(weight_map *map, const resnet_conv *c, const char *conv, const char *norm) {
    static const char *const parts[] = { "weight", "bias", "running_mean", "running_var" };
    const int64_t N = c->w->ne[0], K = c->K;
    tie_whole(map, c->w, 4, (int64_t[]){ N, c->w->ne[1] / (K * K), K, K }, 0, "visual.%s.weight", conv);
    for (int k = 0; k < 4; k++) tie_whole(map, c->norm[k], 1, &N, 0, "visual.%s.%s", norm, parts[k]);
    tie_whole(map, c->count, 0, NULL, W_COUNT, "visual.%s.num_batches_tracked", norm);
}

void resnet_map(const resnet *r, weight_map *map) {
    const int64_t C = 32 * r->c.width, n = r->c.image_size / RESNET_SHRINK, E = r->c.embed;
    char conv[64], norm[64];
    for (int k = 0; k < 3; k++) {
        snprintf(conv, sizeof conv, "conv%d", k + 1), snprintf(norm, sizeof norm, "bn%d", k + 1);
        map_conv(map, &r->stem[k], conv, norm);
    }
    const resnet_block *b = r->block;
    for (int s = 0; s < RESNET_STAGES; s++)
        for (int i = 0; i < (int)r->c.blocks[s]; i++, b++) {
            for (int k = 0; k < 3; k++) {
                snprintf(conv, sizeof conv, "layer%d.%d.conv%d", s + 1, i, k + 1);
                snprintf(norm, sizeof norm, "layer%d.%d.bn%d", s + 1, i, k + 1);
                map_conv(map, &b->conv[k], conv, norm);
            }
            snprintf(conv, sizeof conv, "layer%d.%d.downsample.0", s + 1, i),
                snprintf(norm, sizeof norm, "layer%d.%d.downsample.1", s + 1, i);
            if (b->down.w) map_conv(map, &b->down, conv, norm);
        }
    tie_whole(map, r->pos, 2, (int64_t[]){ n * n + 1, C }, 0, "visual.attnpool.positional_embedding");
    vm_param *const linear[][2] = {
        { r->k_w, r->k_b }, { r->q_w, r->q_b }, { r->v_w, r->v_b }, { r->out_w, r->out_b }
    };
    for (int k = 0; k < 4; k++) {
        const int64_t ne[] = { k < 3 ? C : E, C };
        tie_whole(map, linear[k][0], 2, ne, 0, "visual.attnpool.%c_proj.weight", "kqvc"[k]);
        tie_whole(map, linear[k][1], 1, ne, 0, "visual.attnpool.%c_proj.bias", "kqvc"[k]);
    }
}

/* --- graph -------------------------------------------------------------------------------------------------------- */
enum { MOST_STATS = 4 };
typedef struct { /* statistics of the batch in one block, to be tracked behind its checkpoint segment */
    const resnet_conv *conv[MOST_STATS];
    vm_val stats[MOST_STATS][2];
    int64_t rows[MOST_STATS];
    int n;
} seen;

/* act(norm(x * w) [+ residual]) */
static vm_val conv(vm_graph *g, const resnet_conv *c, towers_stats how, vm_val x, vm_unary_kind act, vm_val residual,
                   vm_type out, seen *s) {
    const vm_conv k = {
        .KH = c->K, .KW = c->K, .stride = { c->stride, c->stride }, .pad = { c->K / 2, c->K / 2, c->K / 2, c->K / 2 }
    };
    vm_scope(g, c->w->name);
    if (!g->training) {
        vm_batchnorm_fold(g, c->w, c->norm, EPS, (vm_folded *)(uintptr_t)&c->folded); /* a cache of the model */
        vm_unary_kind fused = residual ? VM_NONE : act;
        x = vm_conv2d(g, x, vm_weight(g, c->folded.w), vm_weight(g, c->folded.b), k, fused, residual, out);
        return fused == act ? x : vm_unary(g, x, act, out);
    }
    vm_val w = vm_weight(g, c->norm[0]), b = vm_weight(g, c->norm[1]), y;
    x = vm_conv2d(g, x, vm_weight(g, c->w), 0, k, VM_NONE, 0, g->dtype);
    if (how == TOWERS_GIVEN || !c->norm[0]->trainable)
        return vm_batchnorm(g, x, w, b, vm_weight(g, c->norm[2]), vm_weight(g, c->norm[3]), residual, EPS, act, out);
    y = vm_batchnorm_batch(g, x, w, b, residual, EPS, act, out, s->stats[s->n]);
    if (y) s->rows[s->n] = vm_rows(g, x), s->conv[s->n++] = c;
    return y;
}

static void track(vm_graph *g, towers_stats how, const seen *s) {
    for (int k = 0; how == TOWERS_TRACKED && k < s->n; k++) {
        const resnet_conv *c = s->conv[k];
        vm_running_stats(g, s->stats[k], s->rows[k], c->norm[2], c->norm[3], c->count, MOMENTUM);
    }
}

static vm_val pool(vm_graph *g, vm_val x, int n, vm_type out) {
    return n == 1 ? x : vm_avgpool2d(g, x, (vm_pool){ .KH = n, .KW = n }, out);
}

/* x (B,H,W,C) f32 -> (B,H/shrink,W/shrink,4 inner) f32; between convolutions in the graph's type */
static vm_val block(vm_graph *g, const resnet_block *b, const towers *t, vm_val x) {
    seen s = { .n = 0 };
    const bool again = t->recompute && g->training;
    if (again) vm_checkpoint_begin(g);
    vm_val in = g->dtype == VM_F32 ? x : vm_cast(g, x, g->dtype);
    vm_val h = conv(g, &b->conv[0], t->stats, in, VM_RELU, 0, g->dtype, &s);
    h = pool(g, conv(g, &b->conv[1], t->stats, h, VM_RELU, 0, g->dtype, &s), b->shrink, g->dtype);
    if (b->down.w) x = conv(g, &b->down, t->stats, pool(g, in, b->shrink, g->dtype), VM_NONE, 0, VM_F32, &s);
    x = conv(g, &b->conv[2], t->stats, h, VM_RELU, x, VM_F32, &s);
    if (again) vm_checkpoint_end(g);
    track(g, t->stats, &s);
    return x;
}

/* x (B,T,C): softmax attention of the mean of all places to itself and all places -> (B,E) */
static vm_val attention_pool(vm_graph *g, const resnet *r, vm_val x) {
    if (!x) return 0;
    const int64_t B = vm_dim(g, x, 0), T = vm_dim(g, x, 1), C = vm_dim(g, x, 2), one[] = { B, 1, C }, flat[] = { B, C };
    vm_val mean = vm_reshape(g, vm_sum_axis(g, x, 1, 1 / (float)T), 3, one);
    x = vm_binary(g, vm_concat(g, 2, (vm_val[]){ mean, x }, 1), vm_weight(g, r->pos), VM_ADD);
    vm_val q = vm_reshape(g, vm_slice(g, x, 1, 0, 1), 2, flat);
    q = vm_reshape(g, nn_linear(g, q, r->q_w, r->q_b, VM_NONE, 0, g->dtype), 3, one);
    vm_val k = nn_linear(g, x, r->k_w, r->k_b, VM_NONE, 0, g->dtype),
           v = nn_linear(g, x, r->v_w, r->v_b, VM_NONE, 0, g->dtype);
    x = vm_attention(g, q, k, v, (vm_attn){ .NH = (int)r->c.heads, .NKV = (int)r->c.heads });
    return nn_linear(g, vm_reshape(g, x, 2, flat), r->out_w, r->out_b, VM_NONE, 0, VM_F32);
}

vm_val resnet_features(vm_graph *g, const resnet *r, const towers *t, vm_val pixels) {
    seen s = { .n = 0 };
    vm_val x = pixels;
    for (int k = 0; k < 3; k++) x = conv(g, &r->stem[k], t->stats, x, VM_RELU, 0, g->dtype, &s);
    track(g, t->stats, &s);
    x = pool(g, x, 2, VM_F32);
    for (int64_t i = 0; i < r->n_blocks; i++) x = block(g, &r->block[i], t, x);
    vm_scope(g, "vision.pool");
    if (x) x = vm_reshape(g, x, 3, (int64_t[]){ vm_dim(g, x, 0), vm_dim(g, x, 1) * vm_dim(g, x, 2), vm_dim(g, x, 3) });
    x = attention_pool(g, r, x);
    vm_scope(g, NULL);
    return x;
}
