/* gdino_encoder.c - the layers of grounding_dino.h's encoder, and what it shares with the decoder.
 *
 *   fusion    v = LN v, t = LN t; v += a out(attention(v; t)), t += b out(attention(t; v)), both with the scores q k of
 *             q = vision_proj v, k = text_proj t; a, b learnt vectors
 *   text      t = LN(t + attention(t + place; t)) within phrases; t = LN(t + fc2(act(fc1 t)))
 *   vision    v = LN(v + deformable attention(v + place)); v = LN(v + fc2(act(fc1 v)))
 *
 * The reference subtracts the largest score of the batch before both softmaxes and clamps at 50000: the first changes nothing, the second
 * nothing below scores that a network in f32 never reaches. Deformable attention over S cells and the products of fc1 and fc2 are
 * most of the work. */
#include <math.h>

#include "models/gdino_parts.h"

vm_val gdino_linear(vm_graph *g, vm_val x, const gdino_pair *p, vm_unary_kind act, vm_val residual, vm_type out) {
    return nn_linear(g, x, p->w, p->b, act, residual, out);
}

vm_val gdino_norm(vm_graph *g, const gdino *m, vm_val x, const gdino_pair *p, vm_type out) {
    return nn_norm(g, x, p->w, p->b, m->c.eps, out);
}

vm_val gdino_mlp(vm_graph *g, const gdino *m, vm_val x, const gdino_pair *fc1, const gdino_pair *fc2, const gdino_pair *norm, float drop) {
    vm_val h = gdino_linear(g, x, fc1, m->c.act, 0, g->dtype);
    return gdino_norm(g, m, gdino_add(g, x, h, fc2, drop), norm, VM_F32);
}

vm_val gdino_add(vm_graph *g, vm_val x, vm_val h, const gdino_pair *p, float drop) {
    if (drop <= 0) return gdino_linear(g, h, p, VM_NONE, x, VM_F32);
    return vm_binary(g, vm_dropout(g, gdino_linear(g, h, p, VM_NONE, 0, VM_F32), drop), x, VM_ADD);
}

vm_val gdino_head(vm_graph *g, vm_val x, const gdino_pair *layer, int n) {
    for (int k = 0; k < n; k++) x = gdino_linear(g, x, &layer[k], k + 1 < n ? VM_RELU : VM_NONE, 0, k + 1 < n ? g->dtype : VM_F32);
    return x;
}

vm_val gdino_attend(vm_graph *g, const gdino_attn *a, vm_val q, vm_val k, vm_val v, vm_attn how, vm_val x, float drop) {
    q = gdino_linear(g, q, &a->q, VM_NONE, 0, g->dtype), k = gdino_linear(g, k, &a->k, VM_NONE, 0, g->dtype);
    v = gdino_linear(g, v, &a->v, VM_NONE, 0, g->dtype);
    return gdino_add(g, x, vm_attention(g, q, k, v, how), &a->out, drop);
}

vm_val gdino_spread(vm_graph *g, vm_val x, int64_t NH, int64_t P) {
    if (!x) return 0;
    int64_t ne[] = { NH, P, vm_dim(g, x, 0), vm_dim(g, x, 1), vm_dim(g, x, 2), 2 };
    return vm_permute(g, vm_reshape(g, vm_broadcast(g, x, NH * P), 6, ne), (const int[]){ 2, 3, 0, 4, 1, 5 });
}

vm_val gdino_repeat(vm_graph *g, vm_val x, int64_t n) {
    if (!x) return 0;
    int axes[VM_AXES] = { 1, 0 };
    for (int k = 2; k < VM_AXES; k++) axes[k] = k;
    return vm_permute(g, vm_broadcast(g, x, n), axes);
}

vm_val gdino_match(vm_graph *g, const gdino_state *s, vm_val q, vm_val t, vm_param *bias) {
    vm_val y = vm_matmul(g, q, t, false, true, bias ? 1 / sqrtf((float)s->d) : 1, VM_F32);
    if (bias) y = vm_binary(g, y, vm_weight(g, bias), VM_ADD);
    if (!y || !s->text_hide) return y;
    if (s->B == 1) return vm_binary(g, y, vm_reshape(g, s->text_hide, 1, &s->T), VM_ADD);
    return vm_binary(g, y, gdino_repeat(g, s->text_hide, vm_dim(g, y, 1)), VM_ADD);
}

vm_val gdino_look(vm_graph *g, const gdino_state *s, const gdino_deform *p, vm_val q, vm_val maps, vm_val at, vm_val over, vm_val span,
                  vm_val x, float drop) {
    if (!q || !maps || !at) return 0;
    vm_value to = g->v[at];
    vm_val value = gdino_linear(g, maps, &p->value, VM_NONE, 0, s->keep ? VM_F32 : g->dtype);
    if (s->keep) value = vm_cast(g, vm_binary(g, value, s->keep, VM_MUL), g->dtype);
    vm_val off = vm_reshape(g, gdino_linear(g, q, &p->offsets, VM_NONE, 0, VM_F32), to.nd, to.ne);
    vm_val w = vm_reshape(g, gdino_linear(g, q, &p->weights, VM_NONE, 0, VM_F32), 4, (int64_t[]){ to.ne[0], to.ne[1], to.ne[2], to.ne[3] * to.ne[4] });
    off = over ? vm_binary(g, off, over, VM_DIV) : vm_binary(g, off, span, VM_MUL);
    vm_val y = vm_deform_attention(g, value, vm_binary(g, off, at, VM_ADD), vm_softmax(g, w), s->L, s->level, g->dtype);
    return gdino_add(g, x, y, &p->out, drop);
}

/* --- a layer -------------------------------------------------------------------------------------------------------- */
/* x + scale out(y) */
static vm_val add_scaled(vm_graph *g, vm_val x, vm_val y, const gdino_pair *out, vm_param *scale, float drop) {
    y = vm_binary(g, gdino_linear(g, y, out, VM_NONE, 0, VM_F32), vm_weight(g, scale), VM_MUL);
    return vm_binary(g, nn_drop_path(g, y, drop), x, VM_ADD);
}

static void fuse(vm_graph *g, const gdino *m, const gdino_encoder_layer *l, const gdino_state *s, vm_val *vision, vm_val *text) {
    const int NH = (int)m->c.enc_heads / 2;
    vm_val v = gdino_norm(g, m, *vision, &l->norm_vision, VM_F32), t = gdino_norm(g, m, *text, &l->norm_text, VM_F32);
    vm_val q = gdino_linear(g, v, &l->vision, VM_NONE, 0, g->dtype), k = gdino_linear(g, t, &l->text, VM_NONE, 0, g->dtype);
    vm_val of_v = gdino_linear(g, v, &l->vision_value, VM_NONE, 0, g->dtype), of_t = gdino_linear(g, t, &l->text_value, VM_NONE, 0, g->dtype);
    vm_val to_v = vm_attention(g, q, k, of_t, (vm_attn){ .NH = NH, .NKV = NH, .key_mask = s->text_mask });
    vm_val to_t = vm_attention(g, k, q, of_v, (vm_attn){ .NH = NH, .NKV = NH, .key_mask = s->cells });
    *vision = add_scaled(g, v, to_v, &l->vision_out, l->vision_scale, m->drop.fusion);
    *text = add_scaled(g, t, to_t, &l->text_out, l->text_scale, m->drop.fusion);
}

static vm_val enhance(vm_graph *g, const gdino *m, const gdino_encoder_layer *l, const gdino_state *s, vm_val t) {
    const int NH = (int)m->c.enc_heads / 2;
    vm_val placed = vm_binary(g, t, s->text_place, VM_ADD);
    t = gdino_attend(g, &l->self, placed, placed, t, (vm_attn){ .NH = NH, .NKV = NH, .bias = s->text_bias }, t, 0);
    return gdino_mlp(g, m, gdino_norm(g, m, t, &l->self_norm, VM_F32), &l->text_fc1, &l->text_fc2, &l->text_norm, 0);
}

void gdino_encode(vm_graph *g, const gdino *m, const gdino_state *s, vm_val *vision, vm_val *text) {
    for (int64_t i = 0; i < m->c.enc_layers; i++) {
        const gdino_encoder_layer *l = &m->enc[i];
        vm_scope(g, l->norm.w->name);
        fuse(g, m, l, s, vision, text);
        *text = enhance(g, m, l, s, *text);
        vm_val x = *vision;
        x = gdino_look(g, s, &l->deform, vm_binary(g, x, s->place, VM_ADD), x, s->at, s->size, 0, x, m->drop.dropout);
        *vision = gdino_mlp(g, m, gdino_norm(g, m, x, &l->deform_norm, VM_F32), &l->fc1, &l->fc2, &l->norm, m->drop.dropout);
    }
}
