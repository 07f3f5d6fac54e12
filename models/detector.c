/* detector.c - see detector.h. */
#include "models/detector.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/tokenizer.h"
#include "models/grounding_dino.h"
#include "models/preprocess.h"

struct detector {
    vm_backend *be;
    vm_type dtype;
    gdino *m;
    tok *t;
    vm_preprocess pre;
    tok_ids ids;
    int32_t *label;          /* of each token: 0, or 1 + its phrase */
    char **phrase;
    int64_t n;
    vm_graph *g;             /* for pictures of h x w with this text; NULL = to be made */
    int64_t h, w;
};

vm_status detector_open(detector **out, vm_backend *be, vm_type dtype, const char *dir, vm_error *e) {
    detector *d = vm_calloc(1, sizeof *d);
    *out = NULL;
    if (!d) return vm_nomem(e, sizeof *d, "a detector");
    d->be = be, d->dtype = dtype;
    if (!gdino_is_gdino(dir)) vm_fail(e, VM_EMODEL, "%s: no Grounding DINO; its config.json says \"model_type\": \"grounding-dino\"", dir);
    else if (!gdino_open(&d->m, be, dir, false, e) && !tok_open(&d->t, dir, e)) preprocess_load(&d->pre, dir, e);
    if (e->status) detector_free(d);
    else *out = d;
    return e->status;
}

static void forget_text(detector *d) {
    for (int64_t k = 0; k < d->n; k++) vm_free(d->phrase[k]);
    vm_free(d->phrase), vm_free(d->label);
    vm_graph_free(d->g);
    d->phrase = NULL, d->label = NULL, d->g = NULL, d->n = 0;
}

void detector_free(detector *d) {
    if (!d) return;
    forget_text(d);
    tok_ids_free(&d->ids);
    tok_free(d->t);
    gdino_free(d->m);
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

vm_status detector_ask(detector *d, const char *const *phrases, int64_t n, vm_error *e) {
    char *text = vm_strdup("");
    forget_text(d);
    for (int64_t k = 0; k < n && text; k++) text = with_phrase(text, phrases[k]);
    if (!text) return vm_nomem(e, 1024, "phrases");
    if (!tok_encode(d->t, text, strlen(text), 0, 0, &d->ids, e)) {
        d->label = vm_alloc((size_t)d->ids.n * sizeof *d->label + 1);
        int64_t many = d->label ? gdino_labels(d->ids.id, d->ids.n, d->label) : 0;
        if (!d->label || !(d->phrase = vm_calloc((size_t)many + 1, sizeof *d->phrase))) vm_nomem(e, 1024, "phrases");
        else if (!many) vm_fail(e, VM_EINPUT, "\"%s\": no words to look for", text);
        else if (d->ids.n > d->m->c.text_len)
            vm_fail(e, VM_EINPUT, "the phrases are %lld tokens, the model reads %lld; look for fewer at once", (long long)d->ids.n, (long long)d->m->c.text_len);
        for (; d->n < many && !e->status; d->n++) d->phrase[d->n] = phrase_of(d, d->n, e);
    }
    vm_free(text);
    return e->status;
}

/* --- a picture ------------------------------------------------------------------------------------------------------ */
static gdino_batch batch_of(const detector *d, const float *pixels) {
    return (gdino_batch){ .B = 1, .H = d->h, .W = d->w, .T = d->ids.n, .pixels = pixels, .ids = d->ids.id };
}

static vm_status plan(detector *d, int64_t h, int64_t w, vm_error *e) {
    gdino_out o;
    if (d->g && d->h == h && d->w == w) return VM_OK;
    vm_graph_free(d->g);
    d->h = h, d->w = w;
    if (!(d->g = vm_graph_new(d->be, d->dtype))) return vm_nomem(e, sizeof *d->g, "a graph");
    gdino_batch b = batch_of(d, NULL);
    gdino_forward(d->g, d->m, &b, false, &o);
    vm_output(d->g, "logits", o.logits[d->m->c.dec_layers - 1]), vm_output(d->g, "boxes", o.boxes[d->m->c.dec_layers - 1]);
    if (vm_plan(d->g)) *e = d->g->err;
    return e->status;
}

static vm_status run(detector *d, const vm_image *rgb, float *logits, float *boxes, vm_error *e) {
    vm_image fitted = { 0 };
    float *pixels = NULL;
    if (preprocess_fit_image(&fitted, &d->pre, rgb, e) || plan(d, fitted.h, fitted.w, e)) goto done;
    if (!(pixels = vm_alloc((size_t)fitted.h * (size_t)fitted.w * 3 * sizeof *pixels))) {
        vm_nomem(e, (size_t)fitted.h * (size_t)fitted.w * 3 * sizeof *pixels, "a picture");
        goto done;
    }
    preprocess_hwc(pixels, 0, &d->pre, &fitted);
    gdino_batch b = batch_of(d, pixels);
    if (!gdino_fill(d->g, d->m, &b, e) && (vm_run(d->g) || vm_get(d->g, "logits", logits) || vm_get(d->g, "boxes", boxes))) *e = d->g->err;
done:
    if (e->status) vm_graph_free(d->g), d->g = NULL;
    vm_free(pixels);
    image_free(&fitted);
    return e->status;
}

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

/* Boxes within the picture, of the wanted size, that no better one of the same phrase covers. */
static vm_status choose(detector *d, const vm_image *rgb, const detector_options *o, const float *logits, gdino_box *all, int64_t N, detector_box *found,
                        int64_t *n, vm_error *e) {
    const float whole = (float)rgb->w * (float)rgb->h;
    qsort(all, (size_t)N, sizeof *all, better);
    for (int64_t i = 0; i < N && !e->status && (!o->most || *n < o->most); i++) {
        const float *row = logits + all[i].query * d->ids.n;
        detector_box *b = &found[*n];
        *b = (detector_box){ .score = all[i].score, .phrase = best_phrase(d, row) };
        for (int k = 0; k < 4; k++) b->box[k] = fminf(fmaxf(all[i].box[k], 0), (float)(k % 2 ? rgb->h : rgb->w));
        float part = area(b->box) / whole;
        bool keep = (double)part >= o->min_area && (double)part <= o->max_area && part > 0 && !detector_covered(found, *n, b, o->nms);
        if (keep && (b->words = words_of(d, row, o->text_threshold, e))) ++*n;
    }
    return e->status;
}

vm_status detector_run(detector *d, const vm_image *rgb, const detector_options *o, detector_box **found, int64_t *n, vm_error *e) {
    const int64_t Q = d->m->c.queries, T = d->ids.n;
    *found = NULL, *n = 0;
    if (!d->n) return vm_fail(e, VM_EINPUT, "no phrases to look for");
    float *logits = vm_alloc((size_t)(Q * (T + 4)) * sizeof *logits), *boxes = logits + Q * T;
    gdino_box *all = vm_alloc((size_t)Q * sizeof *all);
    *found = vm_calloc((size_t)Q, sizeof **found);
    if (!logits || !all || !*found) vm_nomem(e, (size_t)(Q * T) * sizeof *logits, "boxes");
    else if (!run(d, rgb, logits, boxes, e)) {
        int64_t N = gdino_detect(logits, boxes, Q, T, o->threshold, (double)rgb->h, (double)rgb->w, all);
        choose(d, rgb, o, logits, all, N, *found, n, e);
    }
    vm_free(logits), vm_free(all);
    if (e->status) detector_boxes_free(*found, *n), *found = NULL, *n = 0;
    return e->status;
}

void detector_boxes_free(detector_box *found, int64_t n) {
    for (int64_t k = 0; k < n; k++) vm_free(found[k].words);
    vm_free(found);
}
