/* box_counts.c - see box_counts.h. */
#include "pipeline/box_counts.h"

#include <stdlib.h>
#include <string.h>

static const double sweep[] = { 0.25, 0.30, 0.35, 0.40, 0.45 };

typedef struct {
    const boxes_item *b;
    int64_t order;
    bool used;                 /* an annotation that is found; a found box that another one covers */
} item;

static int by_question(const void *a, const void *b) { /* picture, category, best first */
    const item *x = a, *y = b;
    if (x->b->image != y->b->image) return x->b->image < y->b->image ? -1 : 1;
    if (x->b->category != y->b->category) return x->b->category < y->b->category ? -1 : 1;
    if (x->b->score != y->b->score) return x->b->score > y->b->score ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* Marks boxes that a better one covers by more than nms. */
static void suppress(item *found, int64_t n, double nms) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < i && !found[i].used; k++)
            found[i].used = !found[k].used && boxes_overlap(found[i].b->box, found[k].b->box, false) > nms;
}

/* The annotation that box d overlaps most by at least a half: a free one, else a crowd; -1 = none. */
static int64_t hit(const item *truth, int64_t G, const boxes_item *d) {
    int64_t best = -1;
    double most = 0.5;
    for (int pass = 0; pass < 2 && best < 0; pass++)
        for (int64_t g = 0; g < G; g++) {
            const boxes_item *t = truth[g].b;
            const double o = t->crowd != (pass == 1) || truth[g].used ? 0 : boxes_overlap(d->box, t->box, t->crowd);
            if (o >= most) most = o, best = g;
        }
    return best;
}

static int64_t above(const item *found, int64_t D, double threshold) {
    int64_t n = 0;
    for (int64_t d = 0; d < D; d++) n += !found[d].used && found[d].b->score > threshold;
    return n;
}

static int64_t gap(int64_t a, int64_t b) { return a > b ? a - b : b - a; }

static void count_numbers(box_counts *c, const item *found, int64_t D, int64_t G, double threshold) {
    const int64_t n = above(found, D, threshold), first = above(found, D, sweep[0]);
    bool same = true;
    for (int k = 1; k < VM_LEN(sweep); k++) same &= above(found, D, sweep[k]) == first;
    c->counted++, c->right += n == G, c->off += gap(n, G);
    c->present += G > 0, c->present_right += G > 0 && n == G;
    c->steady += same, c->steady_right += same && first == G;
}

static void question(box_counts *c, item *truth, int64_t G, item *found, int64_t D, double threshold, double nms) {
    int64_t crowds = 0;
    for (int64_t g = 0; g < G; g++) crowds += truth[g].b->crowd;
    if (G == 1 && !crowds) c->alone++, c->pointed += D && boxes_overlap(found[0].b->box, truth[0].b->box, false) >= 0.5;
    suppress(found, D, nms);
    c->truths += G - crowds;
    for (int64_t d = 0; d < D; d++) {
        if (found[d].used || !(found[d].b->score > threshold)) continue;
        const int64_t g = hit(truth, G, found[d].b);
        if (g >= 0 && truth[g].b->crowd) continue;
        c->boxes++;
        if (g >= 0) truth[g].used = true, c->hits++;
    }
    if (!G) c->absent++, c->silent += above(found, D, threshold) == 0;
    if (!crowds) count_numbers(c, found, D, G, threshold);
}

static void add(box_counts *to, const box_counts *c) {
    for (size_t k = 0; k < sizeof *c / sizeof(int64_t); k++) ((int64_t *)to)[k] += ((const int64_t *)c)[k];
}

vm_status box_count(const boxes_set *s, const boxes_item *found, int64_t n, double threshold, double nms, box_counts *all, box_counts *each,
                    vm_error *e) {
    item *truth = vm_alloc((size_t)s->n_truths * sizeof *truth + 1), *mine = vm_alloc((size_t)n * sizeof *mine + 1);
    int64_t i = 0, j = 0;
    *all = (box_counts){ 0 };
    memset(each, 0, (size_t)s->n_categories * sizeof *each);
    if (!truth || !mine) vm_nomem(e, (size_t)n * sizeof *mine, "counts of boxes");
    for (int64_t k = 0; k < s->n_truths && !e->status; k++) truth[k] = (item){ &s->truth[k], k, false };
    for (int64_t k = 0; k < n && !e->status; k++) mine[k] = (item){ &found[k], k, false };
    if (!e->status && s->n_truths) qsort(truth, (size_t)s->n_truths, sizeof *truth, by_question);
    if (!e->status && n) qsort(mine, (size_t)n, sizeof *mine, by_question);
    for (int64_t im = 0; im < s->n_images && !e->status; im++)
        for (int64_t c = 0; c < s->n_categories; c++) {
            int64_t G = 0, D = 0;
            while (i + G < s->n_truths && truth[i + G].b->image == im && truth[i + G].b->category == c) G++;
            while (j + D < n && mine[j + D].b->image == im && mine[j + D].b->category == c) D++;
            if (boxes_asks(&s->image[im], c)) {
                box_counts one = { 0 };
                question(&one, truth + i, G, mine + j, D, threshold, nms);
                add(all, &one), add(&each[c], &one);
            }
            i += G, j += D;
        }
    vm_free(truth), vm_free(mine);
    return e->status;
}
