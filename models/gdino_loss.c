/* gdino_loss.c - what grounding_dino.h learns from: boxes with phrases of the text.
 *
 *   Each target gets a query of its own, the cheapest assignment (matcher.h). With N targets in the batch, at least 1:
 *   ce = 1/N sum over queries and tokens of the focal loss, wanted are the tokens of the phrase of a query's target
 *   bbox = 1/N sum |box - target|_1;  giou = 1/N sum 1 - GIoU
 *   loss = sum over stages of 2 ce + 5 bbox + 2 giou (of the configuration)
 *
 * Stages are the last layer of the decoder, with auxiliary losses the others too, and the queries before the decoder, whose boxes have
 * no gradient. Beside them the cardinality error: how far the number of queries with a token above 1/2 is from that of the targets. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/gdino_parts.h"

/* in logits (B,Q,T), match (B,M), labels (B,M,T), counts (B); out wanted (B,Q,T), cardinality error [1] */
static vm_status make_wanted(void *ctx, int n_in, const void *const *in, int n_out, void *const *out, vm_error *e) {
    const matcher *m = &((const gdino_loss *)ctx)->matcher;
    const vm_real *logits = in[0], *labels = in[2];
    const int32_t *match = in[1], *counts = in[3];
    vm_real *wanted = out[0], error = 0;
    memset(wanted, 0, (size_t)(m->B * m->Q * m->V) * sizeof *wanted);
    for (int64_t b = 0; b < m->B; b++) {
        int64_t sure = 0;
        for (int64_t t = 0; t < m->T; t++)
            if (match[b * m->T + t] >= 0)
                memcpy(wanted + (b * m->Q + match[b * m->T + t]) * m->V, labels + (b * m->T + t) * m->V, (size_t)m->V * sizeof *wanted);
        for (int64_t q = 0; q < m->Q; q++) {
            bool any = false;
            for (int64_t v = 0; v < m->V; v++) any |= logits[(b * m->Q + q) * m->V + v] > 0;
            sure += any;
        }
        error += (vm_real)llabs(sure - counts[b]) / (vm_real)m->B;
    }
    *(vm_real *)out[1] = error;
    return VM_OK;
}

typedef struct { vm_val targets, labels, counts, norm, tokens; } asked;

static void put(vm_graph *g, const char *term, const char *stage, vm_val v) {
    char name[64];
    snprintf(name, sizeof name, "loss.%s%s", term, stage);
    vm_output(g, name, v);
}

static vm_val stage(vm_graph *g, const gdino *m, gdino_loss *l, const asked *a, vm_val logits, vm_val boxes, const char *name) {
    const matcher *k = &l->matcher;
    const vm_shape shapes[] = { { VM_F32, 3, { k->B, k->Q, k->V } }, { VM_F32, 1, { 1 } } };
    vm_val match = matcher_node(g, k, logits, boxes, a->labels, a->targets, a->counts), made[2] = { 0 };
    if (!match || !vm_host(g, "targets", make_wanted, l, 4, (vm_val[]){ logits, match, a->labels, a->counts }, 2, shapes, made)) return 0;
    vm_val ce = vm_focal(g, logits, made[0], a->tokens, a->norm, (float)m->c.focal, 2);
    vm_val l1 = vm_box_loss(g, boxes, a->targets, match, a->norm, VM_BOX_L1), giou = vm_box_loss(g, boxes, a->targets, match, a->norm, VM_BOX_GIOU);
    put(g, "ce", name, ce), put(g, "bbox", name, l1), put(g, "giou", name, giou), put(g, "cardinality_error", name, made[1]);
    vm_val sum = vm_binary(g, vm_scale(g, ce, 2, 0), vm_scale(g, l1, (float)m->c.box_weight, 0), VM_ADD);
    return vm_binary(g, sum, vm_scale(g, giou, (float)m->c.giou_weight, 0), VM_ADD);
}

vm_val gdino_loss_of(vm_graph *g, const gdino *m, const gdino_batch *b, const gdino_out *o, int64_t most, gdino_loss *l) {
    const int64_t B = b->B, Q = m->c.queries, T = gdino_tokens(&m->c, b), M = VM_MAX(most, (int64_t)1), last = m->c.dec_layers - 1;
    *l = (gdino_loss){ .matcher = { m->c.costs, B, Q, T, M }, .tokens = T };
    asked a = { .targets = vm_input(g, "gdino.targets", VM_F32, 3, (int64_t[]){ B, M, 4 }), .labels = vm_input(g, "gdino.labels", VM_F32, 3, (int64_t[]){ B, M, T }),
                .counts = vm_input(g, "gdino.counts", VM_I32, 1, &B), .norm = vm_input(g, "gdino.norm", VM_F32, 1, (int64_t[]){ 1 }) };
    if (b->mask) a.tokens = gdino_repeat(g, vm_input(g, "gdino.tokens", VM_F32, 2, (int64_t[]){ B, T }), Q);
    vm_val sum = vm_binary(g, stage(g, m, l, &a, o->logits[last], o->boxes[last], ""), stage(g, m, l, &a, o->first_logits, o->first_boxes, "_enc"), VM_ADD);
    for (int64_t i = 0; i < last && m->c.auxiliary; i++) {
        char name[16];
        snprintf(name, sizeof name, "_%d", (int)i);
        sum = vm_binary(g, sum, stage(g, m, l, &a, o->logits[i], o->boxes[i], name), VM_ADD);
    }
    return sum;
}

/* labels (M,T) of a picture's targets: 1 at the tokens of their phrases. */
static vm_status mark(const gdino_batch *b, int64_t k, const gdino_target *t, int64_t T, int32_t *phrase, float *labels, vm_error *e) {
    int64_t phrases = gdino_labels(b->ids + k * b->T, T, phrase);
    for (int64_t i = 0; i < t->n; i++) {
        if (t->label[i] < 0 || t->label[i] >= phrases)
            return vm_fail(e, VM_EINPUT, "picture %lld: box %lld is of phrase %d, its text has %lld", (long long)k, (long long)i, (int)t->label[i], (long long)phrases);
        for (int64_t j = 0; j < T; j++) labels[i * T + j] = phrase[j] == t->label[i] + 1;
    }
    return VM_OK;
}

vm_status gdino_loss_fill(vm_graph *g, const gdino_batch *b, const gdino_target *t, const gdino_loss *l, vm_error *e) {
    const int64_t B = b->B, T = l->tokens, M = l->matcher.T;
    float *room = vm_calloc((size_t)(B * M * 4 + B * M * T + B * T) + 1, sizeof *room), *labels = room + B * M * 4, *tokens = labels + B * M * T, norm = 0;
    int32_t *ints = vm_alloc((size_t)(B + T) * sizeof *ints + 1), *phrase = ints + B;
    if (!room || !ints) vm_nomem(e, (size_t)(B * M * (T + 4)) * sizeof *room, "targets");
    for (int64_t k = 0; k < B && !e->status; k++) {
        if (t[k].n > M) vm_fail(e, VM_EINPUT, "picture %lld has %lld boxes, there is room for %lld", (long long)k, (long long)t[k].n, (long long)M);
        else mark(b, k, &t[k], T, phrase, labels + k * M * T, e);
        if (e->status) break;
        if (t[k].n) memcpy(room + k * M * 4, t[k].box, (size_t)t[k].n * 4 * sizeof *room);
        ints[k] = (int32_t)t[k].n, norm += (float)t[k].n;
        for (int64_t i = 0; i < T; i++) tokens[k * T + i] = !b->mask || b->mask[k * b->T + i];
    }
    norm = fmaxf(norm, 1);
    if (!e->status && (vm_set(g, "gdino.targets", room) || vm_set(g, "gdino.labels", labels) || vm_set(g, "gdino.counts", ints) ||
                       vm_set(g, "gdino.norm", &norm) || (b->mask && vm_set(g, "gdino.tokens", tokens))))
        *e = g->err;
    vm_free(room), vm_free(ints);
    return e->status;
}
