/* bm25.c - see bm25.h. */
#include "pipeline/bm25.h"

#include <math.h>
#include <string.h>

#include "io/keymap.h"
#include "io/words.h"

typedef struct {
    int32_t word, doc, count;
} posting;

struct bm25 {
    keymap words;
    posting *p; /* of each document in turn */
    int64_t n, cap;
    int64_t *docs; /* (words): in how many documents */
    int64_t cap_docs;
    int32_t *length; /* (N) */
    int64_t N;
    double mean;
};

static int64_t word_id(const keymap *m, keymap *add, word w) {
    char key[64];
    int n = VM_MIN(w.len, 63);
    for (int i = 0; i < n; i++) key[i] = w.at[i] >= 'A' && w.at[i] <= 'Z' ? (char)(w.at[i] + 32) : w.at[i];
    return add ? keymap_put(add, key, (size_t)n) : keymap_find(m, key, (size_t)n);
}

static vm_status add_text(bm25 *b, const char *text, int32_t doc, vm_error *e) {
    int64_t from = b->n;
    for (word w; word_next(&text, &w);) {
        int64_t before = b->words.n, id = word_id(NULL, &b->words, w), i = from;
        if (id < 0 || !vm_grow(&b->p, &b->cap, b->n + 1, sizeof *b->p) ||
            !vm_grow(&b->docs, &b->cap_docs, id + 1, sizeof *b->docs))
            return vm_nomem(e, 64, "demonstrations");
        if (id == before) b->docs[id] = 0;
        while (i < b->n && b->p[i].word != id) i++;
        if (i == b->n) b->p[b->n++] = (posting){ (int32_t)id, doc, 0 }, b->docs[id]++;
        b->p[i].count++, b->length[doc]++;
    }
    return VM_OK;
}

vm_status bm25_new(bm25 **out, const char *const *text, int64_t n, vm_error *e) {
    bm25 *b = vm_calloc(1, sizeof *b);
    *out = NULL;
    if (!b || !(b->length = vm_calloc((size_t)n + 1, sizeof *b->length))) {
        bm25_free(b);
        return vm_nomem(e, (size_t)n, "demonstrations");
    }
    b->N = n;
    for (int64_t i = 0; i < n && !e->status; i++) add_text(b, text[i], (int32_t)i, e), b->mean += b->length[i];
    b->mean = n ? VM_MAX(b->mean / (double)n, 1.0) : 1;
    if (e->status) bm25_free(b);
    else *out = b;
    return e->status;
}

void bm25_free(bm25 *b) {
    if (!b) return;
    keymap_free(&b->words);
    vm_free(b->p), vm_free(b->docs), vm_free(b->length);
    vm_free(b);
}

vm_status bm25_score(const bm25 *b, const char *query, double *score, vm_error *e) {
    const double k1 = 1.2, bb = .75;
    int32_t *asked = vm_calloc((size_t)b->words.n + 1, sizeof *asked);
    if (!asked) return vm_nomem(e, (size_t)b->words.n, "demonstrations");
    for (word w; word_next(&query, &w);) {
        int64_t id = word_id(&b->words, NULL, w);
        if (id >= 0) asked[id]++;
    }
    for (int64_t i = 0; i < b->N; i++) score[i] = 0;
    for (int64_t i = 0; i < b->n; i++) {
        const posting *p = &b->p[i];
        if (!asked[p->word]) continue;
        double n = (double)b->docs[p->word], idf = log(1 + ((double)b->N - n + .5) / (n + .5)), f = p->count;
        score[p->doc] += asked[p->word] * idf * f * (k1 + 1) / (f + k1 * (1 - bb + bb * b->length[p->doc] / b->mean));
    }
    vm_free(asked);
    return VM_OK;
}
