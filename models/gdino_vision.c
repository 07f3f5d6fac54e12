/* gdino_vision.c - the picture side of grounding_dino.h: maps of the backbone, each through a projection to d columns and a group norm;
 * further maps by convolutions of stride 2, the first of which reads the backbone's last map as it is.
 *
 * A cell's position is (y, x) counted over real cells, from 0 to 2 pi, as sines and cosines, d/2 columns each; its map adds a learnt
 * row. */
#include "models/gdino_parts.h"

enum { GROUPS = 32 };

int64_t gdino_levels(const gdino_config *c, int64_t H, int64_t W, int64_t level[][2]) {
    int64_t cells = 0, size[2] = { (H + c->swin.patch - 1) / c->swin.patch, (W + c->swin.patch - 1) / c->swin.patch };
    int64_t map[SWIN_STAGES][2];
    for (int s = 0; s < c->swin.stages; s++)
        for (int k = 0; k < 2; k++) map[s][k] = size[k], size[k] = (size[k] + 1) / 2;
    for (int l = 0; l < c->levels; l++)
        for (int k = 0; k < 2; k++)
            level[l][k] = l < c->swin.outs ? map[c->swin.out[l]][k] : (level[l - 1][k] - 1) / 2 + 1;
    for (int l = 0; l < c->levels; l++) cells += level[l][0] * level[l][1];
    return cells;
}

static vm_val flat(vm_graph *g, vm_val x, int64_t B, int64_t d) {
    return x ? vm_reshape(g, x, 3, (int64_t[]){ B, vm_count(g, x) / (B * d), d }) : 0;
}

static vm_val maps_of(vm_graph *g, const gdino *m, const gdino_state *s, vm_val pixels) {
    vm_val map[SWIN_STAGES] = { 0 }, all[GDINO_LEVELS], last = 0;
    const vm_conv half = { .KH = 3, .KW = 3, .stride = { 2, 2 }, .pad = { 1, 1, 1, 1 } };
    swin_features(g, &m->swin, pixels, map);
    for (int l = 0; l < s->L; l++) {
        const gdino_pair *p = &m->project[l], *n = &m->project_norm[l];
        const int outs = m->c.swin.outs;
        vm_scope(g, p->w->name);
        if (l < outs) last = gdino_linear(g, map[l], p, VM_NONE, 0, VM_F32);
        else last = vm_conv2d(g, l == outs ? map[outs - 1] : last, vm_weight(g, p->w), vm_weight(g, p->b), half, VM_NONE, 0, VM_F32);
        last = vm_groupnorm(g, last, vm_weight(g, n->w), vm_weight(g, n->b), GROUPS, 1e-5f, VM_NONE, VM_F32);
        all[l] = flat(g, last, s->B, s->d);
    }
    return vm_concat(g, s->L, all, 1);
}

vm_param *gdino_cells_new(const gdino *m, int64_t B, int64_t H, int64_t W, vm_error *e) {
    int64_t level[GDINO_LEVELS][2], S = gdino_levels(&m->c, H, W, level);
    vm_param *p = vm_param_new(m->w.be, "cells", VM_F32, 3, (int64_t[]){ B, S, m->c.width }, e);
    if (p) p->trainable = false, p->state = true;
    return p;
}

void gdino_see(vm_graph *g, const gdino *m, const gdino_batch *b) {
    gdino_state s = { .B = b->B, .d = m->c.width, .L = (int)m->c.levels };
    vm_val x = maps_of(g, m, &s, vm_input(g, "gdino.pixels", VM_F32, 4, (int64_t[]){ b->B, b->H, b->W, 3 }));
    vm_kv_append(g, vm_weight(g, b->cells), x, vm_input(g, "gdino.from", VM_I32, 1, &b->B), vm_input(g, "gdino.to", VM_I32, 1, &b->B), 0);
}

vm_val gdino_vision(vm_graph *g, const gdino *m, const gdino_batch *b, gdino_state *s, vm_val pixels) {
    const int64_t B = s->B, S = s->S, L = s->L, P = m->c.enc_points;
    vm_val x = b->cells ? vm_weight(g, b->cells) : maps_of(g, m, s, pixels);
    if (x && vm_dim(g, x, 1) != S) return vm_bad(g, "%d cells of all maps, %d are expected", (int)vm_dim(g, x, 1), (int)S), 0;
    if (b->real) {
        s->cells = vm_input(g, "gdino.cells", VM_I32, 2, (int64_t[]){ B, S });
        vm_val kept = vm_input(g, "gdino.kept", VM_F32, 2, (int64_t[]){ B, S });
        s->keep = vm_permute(g, vm_broadcast(g, kept, s->d), (const int[]){ 1, 2, 0 });
    }
    vm_val yx = vm_input(g, "gdino.yx", VM_F32, 3, (int64_t[]){ B, S, 2 }), level = vm_input(g, "gdino.level", VM_I32, 1, &S);
    vm_sinusoid_kind k = { .C = (int)s->d / 2, .period = m->c.temperature, .layout = VM_SIN_COS_PAIRS };
    vm_val place = vm_reshape(g, vm_sinusoid(g, yx, k, VM_F32), 3, (int64_t[]){ B, S, s->d });
    s->place = vm_binary(g, place, vm_embedding(g, vm_weight(g, m->level), level), VM_ADD);
    s->at = gdino_spread(g, vm_input(g, "gdino.at", VM_F32, 4, (int64_t[]){ B, S, L, 2 }), m->c.enc_heads, P);
    s->size = vm_input(g, "gdino.size", VM_F32, 3, (int64_t[]){ L, P, 2 });
    s->ratio = vm_input(g, "gdino.ratio", VM_F32, 3, (int64_t[]){ B, L, 4 });
    s->cell_box = vm_input(g, "gdino.cell_box", VM_F32, 3, (int64_t[]){ B, S, 4 });
    s->cell_use = vm_input(g, "gdino.cell_use", VM_F32, 2, (int64_t[]){ B, S });
    s->limits = vm_input(g, "gdino.limits", VM_F32, 1, (int64_t[]){ 2 });
    return x;
}
