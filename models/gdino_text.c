/* gdino_text.c - the text side of grounding_dino.h: phrases, and BERT within them.
 *
 * A phrase is what lies between two of [CLS], [SEP], "." and "?", with the one that ends it. Its tokens see each other and count
 * their positions from 0; the first token, whatever ends at the last place of the padded text, and padding see only themselves. */
#include <string.h>

#include "models/gdino_parts.h"

bool gdino_ends_phrase(int32_t id) { return id == 101 || id == 102 || id == 1012 || id == 1029; }

void gdino_phrases(const int32_t *ids, int64_t T, int64_t n, uint8_t *sees, int32_t *position) {
    memset(sees, 0, (size_t)(n * n));
    memset(position, 0, (size_t)n * sizeof *position);
    for (int64_t i = 0; i < n; i++) sees[i * n + i] = 1;
    for (int64_t from = 0, end = 0; end < T; end++) { /* a phrase is from..end */
        if (!gdino_ends_phrase(ids[end])) continue;
        for (int64_t i = from; i <= end && i < n && end > 0 && end < T - 1; i++) {
            position[i] = (int32_t)(i - from);
            for (int64_t j = from; j <= end && j < n; j++) sees[i * n + j] = 1;
        }
        from = end + 1;
    }
}

int64_t gdino_labels(const int32_t *ids, int64_t n, int32_t *label) {
    int64_t phrases = 0;
    for (int64_t i = 0; i < n; i++) {
        bool ends = gdino_ends_phrase(ids[i]) || ids[i] == 0; /* 0: padding */
        bool goes_on = i && !ends && label[i - 1];
        label[i] = ends ? 0 : (int32_t)(goes_on ? phrases : ++phrases);
    }
    return phrases;
}

/* What the layers beyond BERT look at, too. */
static void masks(vm_graph *g, const gdino_batch *b, gdino_state *s) {
    const int64_t bt[] = { s->B, s->T }, mask[] = { s->B, 1, s->T, s->T };
    vm_sinusoid_kind k = { .C = (int)s->d, .scale = 6.283185307179586, .layout = VM_SIN_COS_PAIRS };
    if (b->mask) s->text_mask = vm_input(g, "gdino.text_mask", VM_I32, 2, bt), s->text_hide = vm_input(g, "gdino.text_hide", VM_F32, 2, bt);
    s->text_bias = vm_input(g, "gdino.phrases", VM_F32, 4, mask);
    s->text_position = vm_input(g, "gdino.positions", VM_I32, 2, bt);
    s->text_place = vm_sinusoid(g, s->text_position, k, VM_F32);
}

vm_val gdino_text(vm_graph *g, const gdino *m, const gdino_batch *b, gdino_state *s) {
    const int64_t bt[] = { s->B, s->T };
    masks(g, b, s);
    if (b->shared) return vm_broadcast(g, vm_input(g, "gdino.rows", VM_F32, 2, (int64_t[]){ s->T, s->d }), s->B);
    bert_input in = { .ids = vm_input(g, "gdino.ids", VM_I32, 2, bt), .positions = s->text_position, .bias = s->text_bias };
    if (b->types) in.types = vm_input(g, "gdino.types", VM_I32, 2, bt);
    vm_val x = bert_hidden(g, &m->bert, &in);
    vm_scope(g, m->text.w->name);
    return gdino_linear(g, x, &m->text, VM_NONE, 0, VM_F32);
}

vm_val gdino_text_rows(vm_graph *g, const gdino *m, const gdino_batch *b) {
    gdino_state s = { .B = b->B, .T = gdino_tokens(&m->c, b), .d = m->c.width };
    return gdino_text(g, m, b, &s);
}
