/* detector.c - see detector.h. */
#include "models/detector_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>


const char *const detector_status_name[] = { "ok", "no_box", "box_too_large", "box_too_small", "low_score" };

static vm_status open_rest(detector **out, detector *d, const char *dir, vm_error *e) {
    detector_plans_begin(d);
    if (!e->status && !tok_open(&d->t, dir, e)) preprocess_load(&d->pre, dir, e);
    if (e->status) detector_free(d);
    else *out = d;
    return e->status;
}

vm_status detector_open(detector **out, vm_backend *be, vm_type dtype, const char *dir, vm_error *e) {
    detector *d = vm_calloc(1, sizeof *d);
    *out = NULL;
    if (!d) return vm_nomem(e, sizeof *d, "a detector");
    d->be = be, d->dtype = dtype, d->owns = true;
    if (!gdino_is_gdino(dir)) vm_fail(e, VM_EMODEL, "%s: no Grounding DINO; its config.json says \"model_type\": \"grounding-dino\"", dir);
    else gdino_open(&d->m, be, dir, false, e);
    return open_rest(out, d, dir, e);
}

vm_status detector_wrap(detector **out, gdino *m, vm_type dtype, const char *dir, vm_error *e) {
    detector *d = vm_calloc(1, sizeof *d);
    *out = NULL;
    if (!d) return vm_nomem(e, sizeof *d, "a detector");
    d->be = m->w.be, d->dtype = dtype, d->m = m;
    return open_rest(out, d, dir, e);
}

static void forget_text(detector *d) {
    for (int64_t k = 0; k < d->n; k++) vm_free(d->phrase[k]);
    vm_free(d->phrase), vm_free(d->label), vm_free(d->rows);
    d->phrase = NULL, d->label = NULL, d->rows = NULL, d->n = 0;
}

void detector_free(detector *d) {
    if (!d) return;
    forget_text(d);
    detector_plans_free(d);
    tok_ids_free(&d->ids);
    tok_free(d->t);
    if (d->owns) gdino_free(d->m);
    vm_free(d);
}

const char *detector_unused(const detector *d) { return d->m->unused; }
int64_t detector_count(const detector *d) { return d->n; }
const char *detector_phrase(const detector *d, int64_t k) { return d->phrase[k]; }

/* --- text ----------------------------------------------------------------------------------------------------------- */
/* TEXT PHRASE. - lower-cased, trimmed, with one period. TEXT is freed. */
static char *with_phrase(char *text, const char *phrase) {
    size_t n = strlen(phrase), at = strspn(phrase, " \t\n");
    while (n > at && strchr(" \t\n", phrase[n - 1])) n--;
    bool ends = n > at && (phrase[n - 1] == '.' || phrase[n - 1] == '?');
    char *all = n > at ? vm_asprintf("%s%s%.*s%s", text, *text ? " " : "", (int)(n - at), phrase + at, ends ? "" : ".") : vm_strdup(text);
    for (char *p = all; p && *p; p++)
        if (*p >= 'A' && *p <= 'Z') *p = (char)(*p + 'a' - 'A');
    vm_free(text);
    return all;
}

/* What the tokens of phrase k say. */
static char *phrase_of(detector *d, int64_t k, vm_error *e) {
    int64_t n = 0;
    char *text = NULL;
    int32_t *id = vm_alloc((size_t)d->ids.n * sizeof *id + 1);
    for (int64_t i = 0; id && i < d->ids.n; i++)
        if (d->label[i] == k + 1) id[n++] = d->ids.id[i];
    if (!id) vm_nomem(e, (size_t)d->ids.n * sizeof *id, "a phrase");
    else tok_decode(d->t, id, n, true, &text, NULL, e);
    vm_free(id);
    return text;
}

static char *text_of(const char *const *phrases, int64_t n, vm_error *e) {
    char *text = vm_strdup("");
    for (int64_t k = 0; k < n && text; k++) text = with_phrase(text, phrases[k]);
    if (!text) vm_nomem(e, 1024, "phrases");
    return text;
}

vm_status detector_fits(detector *d, const char *const *phrases, int64_t n, int64_t *fit, vm_error *e) {
    int64_t low = 0, high = n; /* so many fit; no more than so many do */
    for (int64_t k = n; low < high && !e->status; k = (low + high + 1) / 2) {
        char *text = text_of(phrases, k, e);
        if (text && !tok_encode(d->t, text, strlen(text), 0, 0, &d->ids, e)) {
            if (d->ids.n <= d->m->c.text_len) low = k;
            else high = k - 1;
        }
        vm_free(text);
    }
    *fit = low;
    forget_text(d); /* the tokens are others now */
    return e->status;
}

static vm_status compute_rows(detector *d, vm_error *e) {
    const size_t bytes = (size_t)(d->ids.n * d->m->c.width) * sizeof *d->rows;
    const gdino_batch b = { .B = 1, .T = d->ids.n, .ids = d->ids.id };
    vm_graph *g = detector_plan_for(d, NULL, e);
    if (!g) return e->status;
    if (!(d->rows = vm_alloc(bytes))) return vm_nomem(e, bytes, "a text");
    if (!gdino_fill_text(g, d->m, &b, e) && (vm_run(g) || vm_get(g, "rows", d->rows))) *e = g->err;
    return e->status;
}

vm_status detector_ask(detector *d, const char *const *phrases, int64_t n, vm_error *e) {
    forget_text(d);
    char *text = text_of(phrases, n, e);
    if (!text) return e->status;
    if (!tok_encode(d->t, text, strlen(text), 0, 0, &d->ids, e)) {
        d->label = vm_alloc((size_t)d->ids.n * sizeof *d->label + 1);
        int64_t many = d->label ? gdino_labels(d->ids.id, d->ids.n, d->label) : 0;
        if (!d->label || !(d->phrase = vm_calloc((size_t)many + 1, sizeof *d->phrase))) vm_nomem(e, 1024, "phrases");
        else if (!many) vm_fail(e, VM_EINPUT, "\"%s\": no words to look for", text);
        else if (d->ids.n > d->m->c.text_len)
            vm_fail(e, VM_EINPUT, "the phrases are %lld tokens, the model reads %lld; look for fewer at once", (long long)d->ids.n, (long long)d->m->c.text_len);
        for (; d->n < many && !e->status; d->n++) d->phrase[d->n] = phrase_of(d, d->n, e);
        if (!e->status) compute_rows(d, e);
    }
    vm_free(text);
    return e->status;
}

/* --- boxes of a picture --------------------------------------------------------------------------------------------- */
static float area(const float *b) { return fmaxf(b[2] - b[0], 0) * fmaxf(b[3] - b[1], 0); }

static float overlap(const float *a, const float *b) { /* intersection over union */
    float both[4] = { fmaxf(a[0], b[0]), fmaxf(a[1], b[1]), fminf(a[2], b[2]), fminf(a[3], b[3]) }, in = area(both), all = area(a) + area(b) - in;
    return all > 0 ? in / all : 0;
}

static int better(const void *a, const void *b) {
    const gdino_box *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score) - (x->score > y->score) : (x->query > y->query) - (x->query < y->query);
}

/* The phrase of the best token; phrases of queries whose best token is none of a phrase (a period) are those of the best that is. */
static int64_t best_phrase(const detector *d, const float *logits) {
    int64_t best = -1;
    for (int64_t i = 0; i < d->ids.n; i++)
        if (d->label[i] && (best < 0 || logits[i] > logits[best])) best = i;
    return best < 0 ? 0 : d->label[best] - 1;
}

static char *words_of(detector *d, const float *logits, double threshold, vm_error *e) {
    char *text = NULL;
    int32_t *id = vm_alloc((size_t)d->ids.n * sizeof *id + 1);
    if (!id) return vm_nomem(e, (size_t)d->ids.n * sizeof *id, "words"), NULL;
    int64_t all = gdino_phrase(logits, d->ids.n, d->m->c.text_len, threshold, id), n = 0;
    for (int64_t i = 0; i < all; i++)
        if (d->label[id[i]]) id[n++] = d->ids.id[id[i]]; /* periods and [SEP] are no words */
    tok_decode(d->t, id, n, true, &text, NULL, e);
    vm_free(id);
    return text;
}

bool detector_covered(const detector_box *better_ones, int64_t n, const detector_box *b, double nms) {
    for (int64_t k = 0; k < n; k++)
        if (better_ones[k].phrase == b->phrase && (double)overlap(better_ones[k].box, b->box) > nms) return true;
    return false;
}

static float probability(float x) { return 1 / (1 + expf(-x)); }

/* What the boxes of a picture are made of: Q queries with their tokens. */
typedef struct {
    const float *logits, *boxes;
    int64_t *phrase;         /* of each query */
    int64_t *large, *small, *over; /* of each phrase: boxes that were left out for their size, or because there were enough */
    gdino_box *all;
} queries;

static vm_status queries_new(queries *x, const detector *d, vm_error *e) {
    const size_t Q = (size_t)d->m->c.queries, n = (size_t)d->n;
    x->phrase = vm_alloc((Q + 3 * n) * sizeof *x->phrase), x->all = vm_alloc(Q * sizeof *x->all);
    if (!x->phrase || !x->all) return vm_nomem(e, Q * sizeof *x->all, "boxes");
    x->large = x->phrase + Q, x->small = x->large + n, x->over = x->small + n;
    return VM_OK;
}

/* Phrases of queries; the best score of each phrase. */
static void judge(const detector *d, queries *x, detector_answer *a) {
    const int64_t T = d->ids.n;
    memset(x->large, 0, 3 * (size_t)d->n * sizeof *x->large);
    for (int64_t q = 0; q < d->m->c.queries; q++) {
        const float *row = x->logits + q * T;
        float best = -INFINITY;
        for (int64_t i = 0; i < T; i++) best = fmaxf(best, row[i]);
        const int64_t k = x->phrase[q] = best_phrase(d, row);
        a[k].best = fmaxf(a[k].best, probability(best));
    }
}

/* Boxes within the picture, of the wanted size, that no better one of the same phrase covers. */
static vm_status choose(detector *d, const vm_image *rgb, const detector_options *o, queries *x, detector_found *f, vm_error *e) {
    const float whole = (float)rgb->w * (float)rgb->h;
    const int64_t N = gdino_detect(x->logits, x->boxes, d->m->c.queries, d->ids.n, o->threshold, (double)rgb->h, (double)rgb->w, x->all);
    judge(d, x, f->answer);
    qsort(x->all, (size_t)N, sizeof *x->all, better);
    for (int64_t i = 0; i < N && !e->status; i++) {
        detector_box *b = &f->box[f->n];
        *b = (detector_box){ .score = x->all[i].score, .phrase = x->phrase[x->all[i].query] };
        if ((double)f->answer[b->phrase].best < o->min_score) continue;
        for (int k = 0; k < 4; k++) b->box[k] = fminf(fmaxf(x->all[i].box[k], 0), (float)(k % 2 ? rgb->h : rgb->w));
        const float part = area(b->box) / whole;
        const bool large = (double)part > o->max_area, small = !large && ((double)part < o->min_area || !(part > 0));
        x->large[b->phrase] += large, x->small[b->phrase] += small;
        if (large || small || detector_covered(f->box, f->n, b, o->nms)) continue;
        if (o->most && f->n == o->most) x->over[b->phrase]++;
        else if ((b->words = words_of(d, x->logits + x->all[i].query * d->ids.n, o->text_threshold, e))) f->answer[b->phrase].boxes++, f->n++;
    }
    for (int64_t k = 0; k < d->n; k++) {
        detector_answer *a = &f->answer[k];
        a->status = a->boxes + x->over[k] ? DETECTOR_FOUND : !((double)a->best > o->threshold) ? DETECTOR_NO_BOX : (double)a->best < o->min_score ? DETECTOR_WEAK
                  : x->small[k] ? DETECTOR_TOO_SMALL : x->large[k] ? DETECTOR_TOO_LARGE : DETECTOR_NO_BOX;
    }
    return e->status;
}

/* --- pictures ------------------------------------------------------------------------------------------------------- */
/* B fitted pictures of one size, numbers which[], through the network. */
static vm_status run_batch(detector *d, int64_t B, const int64_t *which, const vm_image *fitted, const vm_image *const *rgb, const detector_options *o,
                           queries *x, detector_found *out, vm_error *e) {
    const int64_t h = fitted[which[0]].h, w = fitted[which[0]].w, Q = d->m->c.queries, T = d->ids.n;
    detector_sight *s = detector_sight_for(d, B, h, w, e);
    if (!s || detector_see(d, s, which, fitted, e)) return e->status;
    const gdino_batch b = { .B = B, .H = h, .W = w, .T = T, .ids = d->ids.id, .shared = true, .rows = d->rows, .cells = s->cells };
    vm_graph *g = detector_plan_for(d, s, e);
    float *logits = vm_alloc((size_t)(B * Q * (T + 4)) * sizeof *logits), *boxes = logits ? logits + B * Q * T : NULL;
    if (!logits) vm_nomem(e, (size_t)(B * Q * (T + 4)) * sizeof *logits, "boxes");
    if (!e->status && !gdino_fill(g, d->m, &b, e) && (vm_run(g) || vm_get(g, "logits", logits) || vm_get(g, "boxes", boxes))) *e = g->err;
    for (int64_t k = 0; k < B && !e->status; k++) {
        x->logits = logits + k * Q * T, x->boxes = boxes + k * Q * 4;
        choose(d, rgb[which[k]], o, x, &out[which[k]], e);
    }
    vm_free(logits);
    return e->status;
}

/* Groups of one size, in the order of their first pictures. */
static vm_status run_groups(detector *d, int64_t N, const vm_image *const *rgb, vm_image *fitted, const detector_options *o, detector_found *out,
                            vm_error *e) {
    const int64_t most = VM_MAX(o->batch, (int64_t)1);
    queries x = { 0 };
    int64_t *which = vm_alloc((size_t)most * sizeof *which);
    bool *done = vm_calloc((size_t)N + 1, 1);
    if (!which || !done) vm_nomem(e, (size_t)N, "groups of pictures");
    else queries_new(&x, d, e);
    for (int64_t i = 0; i < N && !e->status; i++) {
        int64_t B = 0;
        for (int64_t k = i; k < N && B < most && !done[i]; k++)
            if (!done[k] && fitted[k].h == fitted[i].h && fitted[k].w == fitted[i].w) which[B++] = k;
        for (int64_t k = 0; k < B; k++) done[which[k]] = true;
        if (B) run_batch(d, B, which, fitted, rgb, o, &x, out, e);
    }
    vm_free(which), vm_free(done), vm_free(x.phrase), vm_free(x.all);
    return e->status;
}

vm_status detector_run_many(detector *d, int64_t N, const vm_image *const *rgb, const detector_options *o, detector_found *out, vm_error *e) {
    vm_image *fitted = vm_calloc((size_t)N + 1, sizeof *fitted);
    for (int64_t i = 0; i < N; i++) out[i] = (detector_found){ 0 };
    if (!d->rows) vm_fail(e, VM_EINPUT, "no phrases to look for");
    else if (!fitted) vm_nomem(e, (size_t)N * sizeof *fitted, "pictures");
    for (int64_t i = 0; i < N && !e->status; i++) {
        out[i].box = vm_calloc((size_t)d->m->c.queries, sizeof *out->box), out[i].answer = vm_calloc((size_t)d->n, sizeof *out->answer);
        if (!out[i].box || !out[i].answer) vm_nomem(e, (size_t)d->m->c.queries * sizeof *out->box, "boxes");
        else preprocess_fit_image(&fitted[i], &d->pre, rgb[i], e);
    }
    if (!e->status) run_groups(d, N, rgb, fitted, o, out, e);
    for (int64_t i = 0; i < N && fitted; i++) image_free(&fitted[i]);
    vm_free(fitted);
    for (int64_t i = 0; i < N && e->status; i++) detector_found_free(&out[i]);
    return e->status;
}

void detector_found_free(detector_found *f) {
    detector_boxes_free(f->box, f->n);
    vm_free(f->answer);
    *f = (detector_found){ 0 };
}

vm_status detector_run(detector *d, const vm_image *rgb, const detector_options *o, detector_box **found, int64_t *n, vm_error *e) {
    detector_found f;
    detector_run_many(d, 1, &rgb, o, &f, e);
    *found = f.box, *n = f.n;
    vm_free(f.answer);
    return e->status;
}

void detector_boxes_free(detector_box *found, int64_t n) {
    for (int64_t k = 0; k < n; k++) vm_free(found[k].words);
    vm_free(found);
}
