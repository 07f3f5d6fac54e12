/* swin.c - see swin.h. */
#include "models/swin.h"

#include <inttypes.h>
#include <string.h>

/* --- parameters ----------------------------------------------------------------------------------------------------- */
static void new_block(weight_set *w, swin_block *b, const swin_config *c, int s, int i) {
    int64_t C = c->width << s, M = (int64_t)((double)C * c->mlp_ratio), rel = (2 * c->window - 1) * (2 * c->window - 1);
    const struct { vm_param **p; int64_t out, in; const char *name; bool want; } parts[] = {
        { &b->ln1_w, C, 0, "ln1.weight", true },       { &b->ln1_b, C, 0, "ln1.bias", true },
        { &b->qkv_w, 3 * C, C, "qkv.weight", true },   { &b->qkv_b, 3 * C, 0, "qkv.bias", c->qkv_bias },
        { &b->bias, rel, c->heads[s], "relative", true },
        { &b->out_w, C, C, "out.weight", true },       { &b->out_b, C, 0, "out.bias", true },
        { &b->ln2_w, C, 0, "ln2.weight", true },       { &b->ln2_b, C, 0, "ln2.bias", true },
        { &b->fc1_w, M, C, "fc1.weight", true },       { &b->fc1_b, M, 0, "fc1.bias", true },
        { &b->fc2_w, C, M, "fc2.weight", true },       { &b->fc2_b, C, 0, "fc2.bias", true },
    };
    for (int k = 0; k < VM_LEN(parts); k++)
        if (parts[k].want)
            *parts[k].p = weight_new(w, parts[k].in ? 2 : 1, (int64_t[]){ parts[k].out, parts[k].in }, "swin.%d.%d.%s", s, i, parts[k].name);
}

vm_status swin_new(swin *m, weight_set *w, const swin_config *c, vm_error *e) {
    int64_t E = c->width, P = 3 * c->patch * c->patch;
    *m = (swin){ .c = *c };
    m->patch_w = weight_new(w, 2, (int64_t[]){ E, P }, "swin.patch.weight"), m->patch_b = weight_new(w, 1, &E, "swin.patch.bias");
    m->ln_w = weight_new(w, 1, &E, "swin.ln.weight"), m->ln_b = weight_new(w, 1, &E, "swin.ln.bias");
    for (int s = 0; s < c->stages; s++) {
        swin_stage *t = &m->stage[s];
        int64_t C = E << s, C4 = 4 * C, reduce[] = { 2 * C, C4 };
        if (!(t->block = vm_calloc((size_t)c->depth[s] + 1, sizeof *t->block))) return vm_nomem(e, 1024, "a Swin");
        for (int i = 0; i < c->depth[s]; i++) new_block(w, &t->block[i], c, s, i);
        if (s + 1 < c->stages) {
            t->merge_ln_w = weight_new(w, 1, &C4, "swin.%d.merge.ln.weight", s), t->merge_ln_b = weight_new(w, 1, &C4, "swin.%d.merge.ln.bias", s);
            t->merge_w = weight_new(w, 2, reduce, "swin.%d.merge.weight", s);
        }
        for (int k = 0; k < c->outs; k++)
            if (c->out[k] == s) t->norm_w = weight_new(w, 1, &C, "swin.%d.norm.weight", s), t->norm_b = weight_new(w, 1, &C, "swin.%d.norm.bias", s);
    }
    if (w->err.status) *e = w->err;
    return e->status;
}

void swin_free(swin *m) {
    for (int s = 0; s < SWIN_STAGES; s++) vm_free(m->stage[s].block), m->stage[s].block = NULL;
}

/* --- graph ---------------------------------------------------------------------------------------------------------- */
static const float norm_eps = 1e-5f; /* of the class, whatever the file says of the others */

/* (heads,T,T) of a block: a row of its table for each pair of places. */
static vm_val relative_bias(vm_graph *g, const swin *m, const swin_block *b, vm_val ids, int64_t NH) {
    int64_t T = m->c.window * m->c.window;
    vm_val rows = vm_reshape(g, vm_gather_rows(g, vm_weight(g, b->bias), ids), 3, (int64_t[]){ T, T, NH });
    return vm_permute(g, rows, (const int[]){ 2, 0, 1 });
}

/* The mask of rolled windows, for every head (windows,NH,T,T): an input (windows,T,T), one for each stage. */
static vm_val mask_of(vm_graph *g, const swin *m, int s, int64_t H, int64_t W) {
    char name[32];
    int64_t T = m->c.window * m->c.window, ne[] = { vm_window_count(H, W, (int)m->c.window), T, T };
    snprintf(name, sizeof name, "swin.mask.%d.%d.%d", s, (int)H, (int)W);
    vm_val v = vm_find(g, name), one = v ? v : vm_input(g, name, VM_F32, 3, ne);
    return vm_permute(g, vm_broadcast(g, one, m->c.heads[s]), (const int[]){ 1, 0, 2, 3 });
}

static vm_val attend(vm_graph *g, const swin *m, const swin_block *b, int s, vm_val x, vm_val ids, bool rolled, float drop) {
    int64_t B = vm_dim(g, x, 0), H = vm_dim(g, x, 1), W = vm_dim(g, x, 2), NH = m->c.heads[s], T = m->c.window * m->c.window;
    int w = (int)m->c.window, shift = rolled ? w / 2 : 0;
    vm_val y = vm_window(g, nn_norm(g, x, b->ln1_w, b->ln1_b, m->c.eps, g->dtype), w, shift), bias = relative_bias(g, m, b, ids, NH);
    if (rolled) {
        vm_val all = vm_broadcast(g, vm_binary(g, mask_of(g, m, s, H, W), bias, VM_ADD), B);
        bias = vm_reshape(g, all, 4, (int64_t[]){ B * vm_window_count(H, W, w), NH, T, T });
    }
    y = vm_attention_packed(g, nn_linear(g, y, b->qkv_w, b->qkv_b, VM_NONE, 0, g->dtype), (vm_attn){ .NH = (int)NH, .NKV = (int)NH, .bias = bias });
    y = nn_linear(g, y, b->out_w, b->out_b, VM_NONE, 0, VM_F32);
    return vm_binary(g, x, nn_drop_path(g, vm_unwindow(g, y, B, H, W, w, shift), drop), VM_ADD);
}

static vm_val mlp(vm_graph *g, const swin *m, const swin_block *b, vm_val x, float drop) {
    vm_val h = nn_linear(g, nn_norm(g, x, b->ln2_w, b->ln2_b, m->c.eps, g->dtype), b->fc1_w, b->fc1_b, m->c.act, 0, g->dtype);
    if (drop <= 0) return nn_linear(g, h, b->fc2_w, b->fc2_b, VM_NONE, x, VM_F32);
    return vm_binary(g, x, nn_drop_path(g, nn_linear(g, h, b->fc2_w, b->fc2_b, VM_NONE, 0, VM_F32), drop), VM_ADD);
}

static vm_val embed(vm_graph *g, const swin *m, vm_val pixels) {
    int64_t P = m->c.patch, B = vm_dim(g, pixels, 0), H = vm_dim(g, pixels, 1), W = vm_dim(g, pixels, 2);
    int64_t after[] = { 0, (P - H % P) % P, (P - W % P) % P, 0 };
    vm_scope(g, m->patch_w->name);
    if (after[1] || after[2]) pixels = vm_pad(g, pixels, (int64_t[4]){ 0 }, after);
    vm_val x = nn_linear(g, vm_patchify(g, pixels, (int)P, g->dtype), m->patch_w, m->patch_b, VM_NONE, 0, VM_F32);
    return vm_reshape(g, nn_norm(g, x, m->ln_w, m->ln_b, norm_eps, VM_F32), 4, (int64_t[]){ B, (H + after[1]) / P, (W + after[2]) / P, m->c.width });
}

void swin_features(vm_graph *g, const swin *m, vm_val pixels, vm_val *maps) {
    const int64_t T = m->c.window * m->c.window, n = T * T;
    int64_t blocks = 0, at = 0;
    for (int s = 0; s < m->c.stages; s++) blocks += m->c.depth[s];
    vm_val ids = vm_input(g, "swin.relative", VM_I32, 1, &n), x = pixels ? embed(g, m, pixels) : 0;
    for (int s = 0, k = 0; s < m->c.stages; s++) {
        const swin_stage *t = &m->stage[s];
        for (int i = 0; x && i < m->c.depth[s]; i++) {
            vm_scope(g, t->block[i].ln1_w->name);
            const float drop = m->drop_path * (float)at++ / (float)VM_MAX(blocks - 1, (int64_t)1);
            x = attend(g, m, &t->block[i], s, x, ids, i % 2, drop);
            x = x ? mlp(g, m, &t->block[i], x, drop) : 0;
        }
        if (k < m->c.outs && m->c.out[k] == s) maps[k++] = x ? nn_norm(g, x, t->norm_w, t->norm_b, norm_eps, VM_F32) : 0;
        if (!x || !t->merge_w) continue;
        vm_scope(g, t->merge_w->name);
        x = nn_linear(g, nn_norm(g, vm_patch_merge(g, x), t->merge_ln_w, t->merge_ln_b, norm_eps, g->dtype), t->merge_w, NULL, VM_NONE, 0, VM_F32);
    }
    vm_scope(g, NULL);
}

vm_status swin_constants(vm_graph *g, const swin *m, vm_error *e) {
    const int w = (int)m->c.window;
    const int64_t T = w * w;
    int32_t *ids = vm_alloc((size_t)(T * T) * sizeof *ids);
    if (!ids) return vm_nomem(e, (size_t)(T * T) * sizeof *ids, "relative positions");
    vm_window_relative(ids, w);
    if (vm_set(g, "swin.relative", ids)) *e = g->err;
    vm_free(ids);
    for (int64_t k = 0; k < g->n_named && !e->status; k++) {
        int s, H, W;
        const char *name = g->named[k].name;
        if (sscanf(name, "swin.mask.%d.%d.%d", &s, &H, &W) != 3) continue;
        int64_t n = vm_window_count(H, W, w);
        float *mask = vm_alloc((size_t)(n * T * T) * sizeof *mask);
        if (!mask) vm_nomem(e, (size_t)(n * T * T) * sizeof *mask, "masks of windows");
        else vm_window_mask(mask, H, W, w, w / 2);
        if (!e->status && vm_set(g, name, mask)) *e = g->err;
        vm_free(mask);
    }
    return e->status;
}
