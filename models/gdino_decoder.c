/* gdino_decoder.c - queries of grounding_dino.h: which cells they begin at, and the layers that move their boxes.
 *
 *   pick     o = LN(W memory), memory zero at padding and at cells whose box leaves the picture; score = largest product with a token;
 *            the Q best cells give boxes sigmoid(head(o) + logit of the box around the cell)
 *   layer    place = mlp(sines of the box); x = LN(x + attention(x + place; x)); x = LN(x + attention(x + place; text));
 *            x = LN(x + deformable attention(x + place)), around the box and in its size; x = LN(x + fc2(act(fc1 x)))
 *            box = sigmoid(head(x) + logit(box))
 *   outputs  y = LN x, with one norm for all layers; logits y text^T; boxes sigmoid(head(y) + logit(box before the layer))
 *
 * Boxes go from layer to layer without gradients. */
#include "models/gdino_parts.h"

/* log(x / (1-x)) of x held within 1e-5 and 1 - 1e-5 */
static vm_val logit(vm_graph *g, const gdino_state *s, vm_val x) {
    vm_val low = vm_slice(g, s->limits, 0, 0, 1), high = vm_slice(g, s->limits, 0, 1, 1); /* the second for -x */
    x = vm_binary(g, vm_scale(g, vm_binary(g, x, low, VM_MAXIMUM), -1, 0), high, VM_MAXIMUM);
    x = vm_scale(g, x, -1, 0);
    return vm_unary(g, vm_binary(g, x, vm_scale(g, x, -1, 1), VM_DIV), VM_LOG, VM_F32);
}

void gdino_pick(vm_graph *g, const gdino *m, const gdino_state *s, vm_val vision, vm_val text, vm_val *box, vm_val *rows, gdino_out *out) {
    vm_val use = vm_permute(g, vm_broadcast(g, s->cell_use, s->d), (const int[]){ 1, 2, 0 }), best, index;
    vm_scope(g, m->pick.w->name);
    vm_val o = gdino_norm(g, m, gdino_linear(g, vm_binary(g, vision, use, VM_MUL), &m->pick, VM_NONE, 0, VM_F32), &m->pick_norm, VM_F32);
    vm_val score = vm_topk(g, gdino_match(g, s, o, text, m->pick_bias), 1, &best);
    if (score) vm_topk(g, vm_reshape(g, score, 2, (int64_t[]){ s->B, s->S }), m->c.queries, &index);
    if (!score || !index) return;
    vm_val found = vm_gather_rows(g, o, index);
    vm_val around = vm_binary(g, gdino_head(g, found, m->pick_box, 3), vm_gather_rows(g, s->cell_box, index), VM_ADD);
    out->pick_logits = gdino_match(g, s, found, text, m->pick_bias), out->pick_boxes = vm_unary(g, around, VM_SIGMOID, VM_F32);
    *rows = vm_detach(g, found), *box = vm_detach(g, around);
}

/* Sines of y, x, w, h of boxes (B,Q,4), through the network that makes positions of them. */
static vm_val place_of(vm_graph *g, const gdino *m, const gdino_state *s, vm_val box) {
    vm_val part[] = { vm_slice(g, box, 2, 1, 1), vm_slice(g, box, 2, 0, 1), vm_slice(g, box, 2, 2, 2) };
    vm_sinusoid_kind k = { .C = (int)s->d / 2, .scale = 6.283185307179586, .layout = VM_SIN_COS_PAIRS };
    vm_val sines = vm_sinusoid(g, vm_concat(g, 3, part, 2), k, g->dtype);
    return gdino_head(g, vm_reshape(g, sines, 3, (int64_t[]){ s->B, s->Q, 2 * s->d }), m->place, 2);
}

static vm_val layer(vm_graph *g, const gdino *m, const gdino_decoder_layer *l, const gdino_state *s, vm_val x, vm_val box, vm_val vision, vm_val text) {
    const int NH = (int)m->c.dec_heads;
    const int64_t Q = s->Q, P = m->c.dec_points;
    const float drop = m->drop.dropout;
    /* The box in each map: parts of the picture, as parts of what is real of the map. */
    vm_val in_map = vm_binary(g, gdino_repeat(g, s->ratio, Q), vm_permute(g, vm_broadcast(g, box, s->L), (const int[]){ 1, 2, 0, 3 }), VM_MUL);
    vm_val at = gdino_spread(g, vm_slice(g, in_map, 3, 0, 2), NH, P);
    vm_val span = vm_scale(g, gdino_spread(g, vm_slice(g, in_map, 3, 2, 2), NH, P), 0.5f / (float)P, 0);
    vm_val first = vm_reshape(g, vm_slice(g, in_map, 2, 0, 1), 3, (int64_t[]){ s->B, Q, 4 }), place = place_of(g, m, s, first);
    vm_val placed = vm_binary(g, x, place, VM_ADD);
    x = gdino_norm(g, m, gdino_attend(g, &l->self, placed, placed, x, (vm_attn){ .NH = NH, .NKV = NH, .bias = s->query_bias }, x, drop), &l->self_norm, VM_F32);
    vm_attn to_text = { .NH = NH, .NKV = NH, .key_mask = s->text_mask };
    x = gdino_norm(g, m, gdino_attend(g, &l->text, vm_binary(g, x, place, VM_ADD), text, text, to_text, x, drop), &l->text_norm, VM_F32);
    x = gdino_norm(g, m, gdino_look(g, s, &l->deform, vm_binary(g, x, place, VM_ADD), vision, at, 0, span, x, drop), &l->deform_norm, VM_F32);
    return gdino_mlp(g, m, x, &l->fc1, &l->fc2, &l->norm, drop);
}

/* Noised queries stand before the model's own. */
static void put(vm_graph *g, const gdino *m, const gdino_state *s, int64_t i, vm_val logits, vm_val boxes, gdino_out *o) {
    const int64_t N = s->Q - m->c.queries;
    o->logits[i] = logits, o->boxes[i] = boxes;
    if (!N) return;
    o->noised_logits[i] = vm_slice(g, logits, 1, 0, N), o->noised_boxes[i] = vm_slice(g, boxes, 1, 0, N);
    o->logits[i] = vm_slice(g, logits, 1, N, m->c.queries), o->boxes[i] = vm_slice(g, boxes, 1, N, m->c.queries);
}

void gdino_decode(vm_graph *g, const gdino *m, const gdino_state *s, vm_val vision, vm_val text, vm_val x, vm_val box, bool all, gdino_out *o) {
    if (!x || !box) return;
    for (int64_t i = 0; i < m->c.dec_layers; i++) {
        const gdino_decoder_layer *l = &m->dec[i];
        const bool last = i + 1 == m->c.dec_layers;
        vm_scope(g, l->norm.w->name);
        vm_val from = logit(g, s, box);
        x = layer(g, m, l, s, x, box, vision, text);
        if (all || last) {
            vm_val y = gdino_norm(g, m, x, &m->dec_norm, VM_F32);
            vm_val boxes = vm_unary(g, vm_binary(g, gdino_head(g, y, l->box, 3), from, VM_ADD), VM_SIGMOID, VM_F32);
            put(g, m, s, i, gdino_match(g, s, y, text, l->class_bias), boxes, o);
        }
        if (!last) box = vm_detach(g, vm_unary(g, vm_binary(g, gdino_head(g, x, l->box, 3), from, VM_ADD), VM_SIGMOID, VM_F32));
    }
}

/* Rows of noised queries: the mean of the text's rows that are the tokens of their phrases. */
static void add_noised(vm_graph *g, gdino_state *s, int64_t N, vm_val text, vm_val *x, vm_val *ref) {
    vm_val tokens = vm_input(g, "gdino.noised_tokens", VM_F32, 3, (int64_t[]){ s->B, N, s->T });
    vm_val rows = vm_matmul(g, tokens, vm_detach(g, text), false, false, 1, VM_F32);
    vm_val boxes = vm_input(g, "gdino.noised_boxes", VM_F32, 3, (int64_t[]){ s->B, N, 4 });
    s->query_bias = vm_input(g, "gdino.noised_bias", VM_F32, 4, (int64_t[]){ s->B, 1, s->Q, s->Q });
    *x = vm_concat(g, 2, (vm_val[]){ rows, *x }, 1), *ref = vm_concat(g, 2, (vm_val[]){ boxes, *ref }, 1);
}

vm_status gdino_forward(vm_graph *g, const gdino *m, const gdino_batch *b, bool all, gdino_out *o) {
    gdino_state s = { .B = b->B, .T = gdino_tokens(&m->c, b), .Q = m->c.queries + b->noised, .d = m->c.width, .L = (int)m->c.levels };
    vm_val box = 0, rows = 0;
    *o = (gdino_out){ .pixels = b->cells ? 0 : vm_input(g, "gdino.pixels", VM_F32, 4, (int64_t[]){ b->B, b->H, b->W, 3 }) };
    s.S = gdino_levels(&m->c, b->H, b->W, s.level);
    vm_val raw = gdino_text(g, m, b, &s), text = raw, vision = gdino_vision(g, m, b, &s, o->pixels);
    gdino_encode(g, m, &s, &vision, &text);
    gdino_pick(g, m, &s, vision, text, &box, &rows, o);
    vm_val x = m->query ? vm_broadcast(g, vm_weight(g, m->query), b->B) : rows, ref = vm_unary(g, box, VM_SIGMOID, VM_F32);
    o->text_mask = s.text_mask, o->first_boxes = ref;
    o->first_logits = gdino_match(g, &s, x, raw, m->pick_bias); /* against the text before the encoder, as the reference has it */
    if (b->noised) add_noised(g, &s, b->noised, text, &x, &ref);
    gdino_decode(g, m, &s, vision, text, x, ref, all, o);
    vm_scope(g, NULL);
    return g->err.status;
}
