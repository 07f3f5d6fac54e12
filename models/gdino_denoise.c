/* gdino_denoise.c - see gdino_denoise.h. Of G groups for M targets, query (g 2 + kind) M + t begins at target t: kind 0 is to find it,
 * kind 1 to find nothing. */
#include "models/gdino_denoise.h"

#include <math.h>
#include <string.h>

#include "kernels/philox.h"

static int64_t groups_of(int64_t queries, int64_t targets) { return queries / (2 * VM_MAX(targets, (int64_t)1)); }

int64_t gdino_denoise_count(const gdino_denoise *n, int64_t targets) {
    const int64_t M = VM_MAX(targets, (int64_t)1);
    return n->most ? VM_MAX(n->most / (2 * M), (int64_t)1) * 2 * M : 0;
}

static void put(vm_graph *g, const char *term, int64_t layer, bool last, vm_val v) {
    char name[64];
    snprintf(name, sizeof name, last ? "loss.%s_dn" : "loss.%s_dn_%d", term, (int)layer);
    vm_output(g, name, v);
}

vm_val gdino_denoise_loss(vm_graph *g, const gdino *m, const gdino_batch *b, const gdino_out *o, int64_t targets) {
    const int64_t B = b->B, N = b->noised, M = VM_MAX(targets, (int64_t)1), G = groups_of(N, M), T = gdino_tokens(&m->c, b), last = m->c.dec_layers - 1;
    vm_val wanted = vm_input(g, "gdino.noised_wanted", VM_F32, 3, (int64_t[]){ B, N, T }), norm = vm_input(g, "gdino.noised_norm", VM_F32, 1, (int64_t[]){ 1 });
    vm_val use = vm_input(g, "gdino.noised_use", VM_F32, 3, (int64_t[]){ B, N, T }), match = vm_input(g, "gdino.noised_match", VM_I32, 2, (int64_t[]){ B, G * M });
    vm_val boxes = vm_input(g, "gdino.noised_targets", VM_F32, 3, (int64_t[]){ B, G * M, 4 }), sum = 0;
    for (int64_t i = 0; i <= last; i++) {
        if (i < last && !m->c.auxiliary) continue;
        vm_val ce = vm_focal(g, o->noised_logits[i], wanted, use, norm, (float)m->c.focal, 2);
        vm_val l1 = vm_box_loss(g, o->noised_boxes[i], boxes, match, norm, VM_BOX_L1), giou = vm_box_loss(g, o->noised_boxes[i], boxes, match, norm, VM_BOX_GIOU);
        put(g, "ce", i, i == last, ce), put(g, "bbox", i, i == last, l1), put(g, "giou", i, i == last, giou);
        vm_val all = vm_binary(g, vm_scale(g, ce, 2, 0), vm_scale(g, l1, (float)m->c.box_weight, 0), VM_ADD);
        all = vm_binary(g, all, vm_scale(g, giou, (float)m->c.giou_weight, 0), VM_ADD);
        sum = sum ? vm_binary(g, sum, all, VM_ADD) : all;
    }
    return sum;
}

/* --- inputs --------------------------------------------------------------------------------------------------------- */
typedef struct {
    int64_t B, N, M, G, T, Q;
    float *boxes, *tokens, *bias, *wanted, *use, *targets, norm;
    int32_t *match;
} noised;

/* Corners of a box moved each by its own part of half a side, outwards or inwards, within the picture. */
static void move(const float *box, bool far, double noise, vm_rng *r, float *out) {
    double c[4];
    for (int k = 0; k < 4; k++) {
        const double half = (double)box[2 + k % 2] / 2, side = k < 2 ? -half : half, sign = vm_rng_below(r, 2) ? 1 : -1;
        c[k] = (double)box[k % 2] + side + sign * (vm_rng_f64(r) + far) * half * noise;
        c[k] = fmin(fmax(c[k], 0), 1);
    }
    for (int k = 0; k < 2; k++) out[k] = (float)((c[k] + c[2 + k]) / 2), out[2 + k] = (float)fabs(c[2 + k] - c[k]);
}

/* 1 / n at each of the n tokens of a phrase; or 1. */
static void mark(const int32_t *phrase, int64_t T, int32_t which, bool mean, float *out) {
    int64_t n = 0;
    for (int64_t i = 0; i < T; i++) n += phrase[i] == which + 1;
    for (int64_t i = 0; i < T && n; i++) out[i] = phrase[i] != which + 1 ? 0 : mean ? 1 / (float)n : 1;
}

static void fill_picture(noised *x, const gdino_batch *b, int64_t k, const gdino_target *t, const gdino_denoise *n, const int32_t *phrase, int64_t phrases,
                         vm_rng *r) {
    for (int64_t q = 0; q < x->N; q++) {
        const int64_t j = q % x->M, kind = q / x->M % 2, group = q / x->M / 2, at = k * x->N + q;
        float *box = x->boxes + at * 4;
        for (int i = 0; i < 4; i++) box[i] = 0.5f;
        if (!kind) x->match[(k * x->G + group) * x->M + j] = j < t->n ? (int32_t)q : -1;
        if (j >= t->n) continue;
        const bool other = vm_rng_f64(r) < n->label_noise;
        const int32_t label = other ? (int32_t)vm_rng_below(r, (uint32_t)phrases) : t->label[j];
        move(t->box + 4 * j, kind, n->box_noise, r, box);
        mark(phrase, x->T, label, true, x->tokens + at * x->T);
        if (!kind) mark(phrase, x->T, t->label[j], false, x->wanted + at * x->T);
        if (!kind) memcpy(x->targets + ((k * x->G + group) * x->M + j) * 4, t->box + 4 * j, 4 * sizeof *box);
        for (int64_t i = 0; i < x->T; i++) x->use[at * x->T + i] = !b->mask || b->mask[k * b->T + i];
    }
    x->norm += (float)(t->n * x->G);
    for (int64_t i = 0; i < x->Q; i++) /* who sees whom: itself, its group's filled places, all see the model's own */
        for (int64_t j = 0; j < x->Q; j++) {
            const bool free = j >= x->N, filled = free || j % x->M < t->n, mates = i < x->N && j < x->N && i / x->M / 2 == j / x->M / 2;
            x->bias[(k * x->Q + i) * x->Q + j] = i == j || free || (mates && filled) ? 0 : -1e30f;
        }
}

static vm_status set_all(vm_graph *g, const noised *x, vm_error *e) {
    const float norm = fmaxf(x->norm, 1);
    if (vm_set(g, "gdino.noised_boxes", x->boxes) || vm_set(g, "gdino.noised_tokens", x->tokens) || vm_set(g, "gdino.noised_bias", x->bias) ||
        vm_set(g, "gdino.noised_wanted", x->wanted) || vm_set(g, "gdino.noised_use", x->use) || vm_set(g, "gdino.noised_targets", x->targets) ||
        vm_set(g, "gdino.noised_match", x->match) || vm_set(g, "gdino.noised_norm", &norm))
        *e = g->err;
    return e->status;
}

vm_status gdino_denoise_fill(vm_graph *g, const gdino *m, const gdino_batch *b, const gdino_target *t, int64_t targets, const gdino_denoise *n,
                             uint64_t seed, uint64_t step, vm_error *e) {
    noised x = { .B = b->B, .N = b->noised, .M = VM_MAX(targets, (int64_t)1), .T = gdino_tokens(&m->c, b), .Q = b->noised + m->c.queries };
    x.G = groups_of(x.N, x.M);
    const int64_t BN = x.B * x.N, tokens = BN * x.T, bias = x.B * x.Q * x.Q, wanted = x.B * x.G * x.M;
    float *room = vm_calloc((size_t)(BN * 4 + 3 * tokens + bias + wanted * 4) + 1, sizeof *room);
    int32_t *ints = vm_alloc((size_t)(wanted + x.T) * sizeof *ints + 1), *phrase = ints + wanted;
    if (!room || !ints) vm_nomem(e, (size_t)(tokens + bias) * sizeof *room, "noised queries");
    else {
        x.boxes = room, x.tokens = x.boxes + BN * 4, x.wanted = x.tokens + tokens, x.use = x.wanted + tokens, x.bias = x.use + tokens, x.targets = x.bias + bias;
        x.match = ints;
        for (int64_t k = 0; k < x.B; k++) {
            vm_rng r = vm_rng_at(seed, step << 16 | (uint64_t)k);
            const int64_t phrases = gdino_labels(b->ids + k * b->T, x.T, phrase);
            fill_picture(&x, b, k, &t[k], n, phrase, VM_MAX(phrases, (int64_t)1), &r);
        }
        set_all(g, &x, e);
    }
    vm_free(room), vm_free(ints);
    return e->status;
}
