/* eval_pairs.c - see eval_pairs.h. */
#include "pipeline/eval_pairs.h"

#include <math.h>
#include <string.h>

#include "pipeline/eval_vectors.h"

enum { SLICE = 32 }; /* captions read with a picture at a time */

typedef struct {
    int64_t content; /* -1 = free */
    uint64_t used;   /* clock of the last use */
    float *rows;
} slot;

struct eval_pairs {
    const eval_set *set;
    const eval_model *m;
    const char *template;
    int64_t floats; /* that the model keeps of a picture */
    slot kept[EVAL_PAIRS_KEPT];
    uint64_t clock;
    float *score;   /* by place */
    bool *cut;      /* by caption */
};

vm_status eval_pairs_new(eval_pairs **out, const eval_set *set, const eval_model *m, const char *template, vm_error *e) {
    eval_pairs *p = vm_calloc(1, sizeof *p);
    *out = NULL;
    if (p) {
        p->set = set, p->m = m, p->template = template, p->floats = eval_model_row_floats(m);
        p->score = vm_alloc(((size_t)set->n_ref + 1) * sizeof *p->score);
        p->cut = vm_calloc((size_t)set->captions.n + 1, sizeof *p->cut);
        for (int k = 0; k < EVAL_PAIRS_KEPT; k++) p->kept[k].content = -1;
    }
    if (!p || !p->score || !p->cut) {
        eval_pairs_free(p);
        return vm_nomem(e, (size_t)set->n_ref * sizeof *p->score, "scores of pairs");
    }
    for (int64_t i = 0; i <= set->n_ref; i++) p->score[i] = NAN;
    *out = p;
    return VM_OK;
}

void eval_pairs_free(eval_pairs *p) {
    if (!p) return;
    for (int k = 0; k < EVAL_PAIRS_KEPT; k++) vm_free(p->kept[k].rows);
    vm_free(p->score), vm_free(p->cut);
    vm_free(p);
}

static const slot *find(const eval_pairs *p, int64_t content) {
    for (int k = 0; k < EVAL_PAIRS_KEPT; k++)
        if (p->kept[k].content == content) return &p->kept[k];
    return NULL;
}

bool eval_pairs_keeps(const eval_pairs *p, int64_t content) { return find(p, content) != NULL; }

vm_status eval_pairs_put(eval_pairs *p, int64_t n, const vm_image *const *images, const int64_t *contents, vm_error *e) {
    size_t bytes;
    float *rows = vm_mul_sz((size_t)n * (size_t)p->floats, sizeof *rows, &bytes) ? vm_alloc(bytes + 1) : NULL;
    if (!rows) return vm_nomem(e, (size_t)(n * p->floats) * sizeof *rows, "what the model keeps of pictures");
    eval_model_embed_rows(p->m, n, images, rows, e);
    for (int64_t i = 0; i < n && !e->status; i++) {
        slot *oldest = &p->kept[0];
        for (int k = 1; k < EVAL_PAIRS_KEPT; k++)
            if (p->kept[k].used < oldest->used) oldest = &p->kept[k];
        if (!oldest->rows && !(oldest->rows = vm_alloc((size_t)p->floats * sizeof *rows + 1))) {
            vm_nomem(e, (size_t)p->floats * sizeof *rows, "what the model keeps of a picture");
            break;
        }
        memcpy(oldest->rows, rows + i * p->floats, (size_t)p->floats * sizeof *rows);
        oldest->content = contents[i], oldest->used = ++p->clock;
    }
    vm_free(rows);
    return e->status;
}

/* At most SLICE pairs of one picture. */
static vm_status read_slice(eval_pairs *p, const float *rows, int n, const eval_pair *const *pairs, vm_error *e) {
    char *made[SLICE] = { 0 };
    const char *text[SLICE] = { NULL };
    bool cut[SLICE];
    float score[SLICE];
    for (int k = 0; k < n && !e->status; k++) {
        text[k] = made[k] = eval_caption_text(p->template, keymap_at(&p->set->captions, pairs[k]->caption, NULL));
        if (!text[k]) vm_nomem(e, 256, "a caption");
    }
    if (!e->status && !eval_model_match(p->m, rows, n, text, score, cut, e))
        for (int k = 0; k < n; k++) p->score[pairs[k]->place] = score[k], p->cut[pairs[k]->caption] = cut[k];
    for (int k = 0; k < n; k++) vm_free(made[k]);
    return e->status;
}

vm_status eval_pairs_read(eval_pairs *p, int64_t content, int64_t n, const eval_pair *pairs, vm_error *e) {
    const eval_pair *mine[SLICE];
    slot *s = &p->kept[find(p, content) - p->kept];
    int m = 0;
    s->used = ++p->clock;
    for (int64_t i = 0; i < n && !e->status; i++) {
        if (pairs[i].content != content) continue;
        mine[m++] = &pairs[i];
        if (m == SLICE) read_slice(p, s->rows, m, mine, e), m = 0;
    }
    return e->status || !m ? e->status : read_slice(p, s->rows, m, mine, e);
}

float eval_pairs_score(const eval_pairs *p, int64_t place) { return p->score[place]; }
bool eval_pairs_cut(const eval_pairs *p, int64_t caption) { return p->cut[caption]; }
