/* box_score.c - see box_score.h. Phrases of pictures are cells; a cell is matched once for each size, a list of cells summed up. */
#include "pipeline/box_score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const int box_cuts[3] = { 1, 10, BOX_MOST };
static const double area_from[BOX_SIZES] = { 0, 0, 1024, 9216 }, area_to[BOX_SIZES] = { 1e10, 1024, 9216, 1e10 };

static double overlap_at(int t) { return t == BOX_OVERLAPS - 1 ? 0.95 : 0.5 + t * ((0.95 - 0.5) / 9); }
static double recall_at(int r) { return r == BOX_RECALLS - 1 ? 1 : r * (1.0 / 100); }

/* An item in its place: cells are runs of equal category and image. */
typedef struct {
    const boxes_item *b;
    int64_t order;
} placed;

static int by_cell(const void *a, const void *b) {
    const placed *x = a, *y = b;
    int64_t d = x->b->category != y->b->category ? x->b->category - y->b->category
              : x->b->image != y->b->image       ? x->b->image - y->b->image
                                                 : 0;
    if (d) return d < 0 ? -1 : 1;
    if (x->b->score != y->b->score) return x->b->score > y->b->score ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* What became of a found box, a bit for each overlap. */
typedef struct {
    double score;
    int64_t order, image;
    int rank;                  /* within its cell */
    uint16_t right, ignored;
} verdict;

static int by_score(const void *a, const void *b) {
    const verdict *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* Verdicts of one list of cells, and how many annotations they had to find. */
typedef struct {
    verdict *v[BOX_SIZES];
    int64_t n[BOX_SIZES], wanted[BOX_SIZES];
} verdicts;

typedef struct {
    const placed *truth, *found;
    int64_t n_truths, n_found;
    double *overlap;           /* (found, truths) of a cell */
    int64_t *by_use;           /* its annotations, those that count first */
    bool *taken;
    size_t room;               /* cells of `overlap` */
    int64_t most;              /* annotations that fit the lists */
} work;

static vm_status make_room(work *w, int64_t found, int64_t truths, vm_error *e) {
    const size_t need = (size_t)(found * truths);
    if (need > w->room) {
        vm_free(w->overlap);
        w->room = 0;
        if (!(w->overlap = vm_alloc(need * sizeof *w->overlap))) return vm_nomem(e, need * sizeof *w->overlap, "overlaps");
        w->room = need;
    }
    if (truths <= w->most) return VM_OK;
    vm_free(w->by_use), vm_free(w->taken);
    w->by_use = vm_alloc((size_t)truths * sizeof *w->by_use), w->taken = vm_alloc((size_t)truths * sizeof *w->taken);
    w->most = w->by_use && w->taken ? truths : 0;
    return w->most ? VM_OK : vm_nomem(e, (size_t)truths * sizeof *w->by_use, "annotations of a cell");
}

static bool counts(const boxes_item *b, int size) { return !b->crowd && b->area >= area_from[size] && b->area <= area_to[size]; }

/* The annotation that found box d takes at overlap t: the one it overlaps most, of equal ones the later; one that counts before those
 * that do not. -1 = none. */
static int64_t take(const work *w, const placed *truth, int64_t G, int64_t use, int64_t d, double t) {
    int64_t best = -1;
    double most = VM_MIN(t, 1 - 1e-10);
    for (int64_t k = 0; k < G && (k != use || best < 0); k++) { /* behind `use` are those that do not count */
        const int64_t g = w->by_use[k];
        const double o = w->overlap[d * G + g];
        if ((w->taken[g] && !truth[g].b->crowd) || o < most) continue;
        most = o, best = g;
    }
    return best;
}

static void match_cell(work *w, const placed *truth, int64_t G, const placed *found, int64_t D, int size, verdicts *out) {
    int64_t use = 0, rest = G;
    verdict *v = out->v[size] + out->n[size];
    for (int64_t g = 0; g < G; g++)
        if (counts(truth[g].b, size)) w->by_use[use++] = g;
    for (int64_t g = G; g-- > 0;)
        if (!counts(truth[g].b, size)) w->by_use[--rest] = g;
    for (int64_t d = 0; d < D; d++) v[d] = (verdict){ .score = found[d].b->score, .order = out->n[size] + d, .image = found[d].b->image, .rank = (int)d };
    for (int t = 0; t < BOX_OVERLAPS; t++) {
        memset(w->taken, 0, (size_t)G * sizeof *w->taken);
        for (int64_t d = 0; d < D; d++) {
            const int64_t g = take(w, truth, G, use, d, overlap_at(t));
            const double area = found[d].b->area;
            const bool ignored = g >= 0 ? !counts(truth[g].b, size) : area < area_from[size] || area > area_to[size];
            if (g >= 0) w->taken[g] = true;
            v[d].right |= (uint16_t)((g >= 0) << t), v[d].ignored |= (uint16_t)(ignored << t);
        }
    }
    out->n[size] += D, out->wanted[size] += use;
}

/* The cells of a category, or of all (-1), one after the other. */
static vm_status match_all(work *w, int64_t category, verdicts *out, vm_error *e) {
    for (int64_t i = 0, j = 0; (i < w->n_truths || j < w->n_found) && !e->status;) {
        const boxes_item *a = i < w->n_truths ? w->truth[i].b : NULL, *b = j < w->n_found ? w->found[j].b : NULL;
        const bool from_truth = !b || (a && (a->category != b->category ? a->category < b->category : a->image <= b->image));
        const int64_t c = (from_truth ? a : b)->category, im = (from_truth ? a : b)->image;
        int64_t G = 0, D = 0;
        while (i + G < w->n_truths && w->truth[i + G].b->category == c && w->truth[i + G].b->image == im) G++;
        while (j + D < w->n_found && w->found[j + D].b->category == c && w->found[j + D].b->image == im) D++;
        const int64_t kept = VM_MIN(D, (int64_t)BOX_MOST);
        if ((category < 0 || category == c) && !make_room(w, kept, VM_MAX(G, (int64_t)1), e)) {
            for (int64_t d = 0; d < kept; d++)
                for (int64_t g = 0; g < G; g++) w->overlap[d * G + g] = boxes_overlap(w->found[j + d].b->box, w->truth[i + g].b->box, w->truth[i + g].b->crowd);
            for (int size = 0; size < BOX_SIZES; size++) match_cell(w, w->truth + i, G, w->found + j, kept, size, out);
        }
        i += G, j += D;
    }
    return e->status;
}

/* --- curves -------------------------------------------------------------------------------------------------------- */
double box_mean_precision(const double *r, double *p, int64_t n) {
    double sum = 0;
    for (int64_t i = n; i-- > 1;) p[i - 1] = VM_MAX(p[i - 1], p[i]);
    for (int64_t i = 0, k = 0; k < BOX_RECALLS; k++) {
        while (i < n && r[i] < recall_at((int)k)) i++;
        sum += i < n ? p[i] : 0;
    }
    return sum / BOX_RECALLS;
}

/* Mean precision over BOX_RECALLS recalls, and the last recall, at overlap t of verdicts with a rank below `most`, which are
 * sorted by score. curve: room for twice as many numbers as there are verdicts. */
static void curve(const verdict *v, int64_t n, int64_t wanted, int t, int most, double *room, double *precision, double *recall) {
    double *r = room, *p = room + n;
    int64_t kept = 0, right = 0, wrong = 0;
    for (int64_t i = 0; i < n; i++) {
        if (v[i].rank >= most) continue;
        const bool hit = v[i].right >> t & 1, ignored = v[i].ignored >> t & 1;
        right += hit && !ignored, wrong += !hit && !ignored;
        r[kept] = (double)right / (double)wanted;
        p[kept++] = (double)right / ((double)(right + wrong) + 2.220446049250313e-16);
    }
    *recall = kept ? r[kept - 1] : 0;
    *precision = box_mean_precision(r, p, kept);
}

static vm_status sum_up(verdicts *v, box_scores *s, vm_error *e) {
    const double none = NAN;
    *s = (box_scores){ { none, none, none, none }, none, none, { none, none, none }, { none, none, none, none } };
    for (int size = 0; size < BOX_SIZES; size++) {
        const int64_t n = v->n[size];
        double *room = vm_alloc((size_t)(2 * n) * sizeof *room + 1), ap[BOX_OVERLAPS], r, mean = 0;
        if (!room) return vm_nomem(e, (size_t)(2 * n) * sizeof *room, "a curve");
        if (n) qsort(v->v[size], (size_t)n, sizeof *v->v[size], by_score);
        for (int k = size ? 2 : 0; k < 3 && v->wanted[size]; k++) {
            double recalls = 0;
            for (int t = 0; t < BOX_OVERLAPS; t++) {
                curve(v->v[size], n, v->wanted[size], t, box_cuts[k], room, &ap[t], &r);
                recalls += r / BOX_OVERLAPS;
            }
            if (!size) s->ar[k] = recalls;
            if (k == 2) s->ar_size[size] = recalls;
        }
        for (int t = 0; t < BOX_OVERLAPS && v->wanted[size]; t++) mean += ap[t] / BOX_OVERLAPS;
        if (v->wanted[size]) s->ap[size] = mean;
        if (!size && v->wanted[size]) s->ap50 = ap[0], s->ap75 = ap[5];
        vm_free(room);
    }
    return VM_OK;
}

/* --- means over categories ----------------------------------------------------------------------------------------- */
enum { NUMBERS = sizeof(box_scores) / sizeof(double) };

static void add(double *sum, int64_t *n, const box_scores *s) {
    const double *x = (const double *)s;
    for (int k = 0; k < NUMBERS; k++)
        if (!isnan(x[k])) sum[k] += x[k], n[k]++;
}

/* One more list of verdicts, in their order. */
static vm_status keep_list(const work *w, const verdicts *v, box_verdicts *to, vm_error *e) {
    const int64_t at = to->first[to->lists], truth = to->first_truth[to->lists], n = v->n[BOX_ALL];
    int64_t wanted = 0;
    if (!vm_grow(&to->v, &to->cap_v, at + n + 1, sizeof *to->v) || !vm_grow(&to->truth, &to->cap_truth, truth + w->n_truths + 1, sizeof *to->truth))
        return vm_nomem(e, (size_t)n * sizeof *to->v, "verdicts of boxes");
    for (int64_t i = 0; i < n; i++) to->v[at + i] = (box_verdict){ v->v[BOX_ALL][i].image, v->v[BOX_ALL][i].right, v->v[BOX_ALL][i].ignored };
    for (int64_t i = 0; i < w->n_truths; i++)
        if (counts(w->truth[i].b, BOX_ALL)) to->truth[truth + wanted++] = w->truth[i].b->image;
    to->lists++, to->first[to->lists] = at + n, to->first_truth[to->lists] = truth + wanted;
    return VM_OK;
}

static vm_status score_of(work *w, int64_t category, verdicts *v, box_scores *out, box_verdicts *keep, vm_error *e) {
    memset(v->n, 0, sizeof v->n), memset(v->wanted, 0, sizeof v->wanted);
    if (match_all(w, category, v, e) || sum_up(v, out, e)) return e->status;
    return keep ? keep_list(w, v, keep, e) : VM_OK;
}

/* Only the part of the lists that is of one category. */
static work part_of(const work *w, int64_t *truth, int64_t *found, int64_t category) {
    work x = *w;
    const int64_t i = *truth, j = *found;
    while (*truth < w->n_truths && w->truth[*truth].b->category == category) ++*truth;
    while (*found < w->n_found && w->found[*found].b->category == category) ++*found;
    x.truth += i, x.n_truths = *truth - i, x.found += j, x.n_found = *found - j;
    return x;
}

static vm_status score_each(work *w, int64_t categories, verdicts *v, box_scores *all, box_scores *each, box_verdicts *keep, vm_error *e) {
    double sum[NUMBERS] = { 0 };
    int64_t n[NUMBERS] = { 0 }, truth = 0, found = 0;
    for (int64_t c = 0; c < categories && !e->status; c++) {
        box_scores one;
        work x = part_of(w, &truth, &found, c);
        score_of(&x, c, v, &one, keep, e);
        w->overlap = x.overlap, w->by_use = x.by_use, w->taken = x.taken, w->room = x.room, w->most = x.most;
        if (each) each[c] = one;
        add(sum, n, &one);
    }
    for (int k = 0; k < NUMBERS; k++) ((double *)all)[k] = n[k] ? sum[k] / (double)n[k] : NAN;
    return e->status;
}

static vm_status judge(const boxes_set *s, const boxes_item *found, int64_t n, bool pooled, box_scores *all, box_scores *each, box_verdicts *keep, vm_error *e) {
    placed *truth = vm_alloc((size_t)s->n_truths * sizeof *truth + 1), *kept = vm_alloc((size_t)n * sizeof *kept + 1);
    work w = { .truth = truth, .found = kept, .n_truths = s->n_truths };
    verdicts v = { 0 };
    bool room = truth && kept;
    for (int size = 0; size < BOX_SIZES; size++) room &= (v.v[size] = vm_alloc((size_t)n * sizeof *v.v[size] + 1)) != NULL;
    if (!room) vm_nomem(e, (size_t)n * sizeof(verdict) * BOX_SIZES, "scores of boxes");
    for (int64_t i = 0; i < s->n_truths && room; i++) truth[i] = (placed){ &s->truth[i], i };
    for (int64_t i = 0; i < n && room; i++)
        if (boxes_asks(&s->image[found[i].image], found[i].category)) kept[w.n_found++] = (placed){ &found[i], i };
    if (room && s->n_truths) qsort(truth, (size_t)s->n_truths, sizeof *truth, by_cell);
    if (w.n_found) qsort(kept, (size_t)w.n_found, sizeof *kept, by_cell);
    if (room && pooled) score_of(&w, -1, &v, all, keep, e);
    else if (room) score_each(&w, s->n_categories, &v, all, each, keep, e);
    for (int size = 0; size < BOX_SIZES; size++) vm_free(v.v[size]);
    vm_free(truth), vm_free(kept), vm_free(w.overlap), vm_free(w.by_use), vm_free(w.taken);
    return e->status;
}

vm_status box_score(const boxes_set *s, const boxes_item *found, int64_t n, bool pooled, box_scores *all, box_scores *each, vm_error *e) {
    return judge(s, found, n, pooled, all, each, NULL, e);
}

void box_verdicts_free(box_verdicts *v) {
    vm_free(v->first), vm_free(v->first_truth), vm_free(v->v), vm_free(v->truth);
    *v = (box_verdicts){ 0 };
}

vm_status box_judge(const boxes_set *s, const boxes_item *found, int64_t n, bool pooled, box_verdicts *out, vm_error *e) {
    const size_t lists = pooled ? 1 : (size_t)s->n_categories;
    box_scores all;
    *out = (box_verdicts){ .first = vm_calloc(lists + 1, sizeof *out->first), .first_truth = vm_calloc(lists + 1, sizeof *out->first_truth) };
    if (!out->first || !out->first_truth) vm_nomem(e, lists * sizeof *out->first, "verdicts of boxes");
    else judge(s, found, n, pooled, &all, NULL, out, e);
    if (e->status) box_verdicts_free(out);
    return e->status;
}
