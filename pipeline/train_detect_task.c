/* train_detect_task.c - a detector as a task of the training loop: batches of detect_data.h, steps of gdino_train.h, average precision of
 * all phrases in one list as validation. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/log.h"
#include "pipeline/eval_detect.h"
#include "pipeline/run.h"
#include "pipeline/train_data.h"
#include "pipeline/train_detect.h"

typedef struct {
    train_task task;
    const train_detect_options *o;
    gdino *m;
    gdino_trainer *t;
    detect_source *source;
    tok *tok;
    const vm_preprocess *pp;
    detect_batch batch;
    int64_t step;
    train_bad *bad;
    gdino_step last;
    box_scores scores;
    box_counts counts;
} detect_task;

/* --- batches ---------------------------------------------------------------------------------------------------------- */
static vm_status start(train_task *x, int64_t step, vm_error *e) { return VM_OK; }

static vm_status batch(train_task *x, int64_t step, double *waited, vm_error *e) {
    detect_task *d = (detect_task *)x;
    vm_error too_many = { 0 };
    const double from = run_seconds();
    detect_batch_free(&d->batch);
    detect_batch_make(&d->batch, d->source, &d->o->augment, d->pp, d->tok, d->m->c.text_len, step, e);
    if (train_bad_add(d->bad, &d->batch.bad, &too_many) && !e->status) *e = too_many;
    *waited = run_seconds() - from, d->step = step;
    return e->status;
}

/* --- steps ------------------------------------------------------------------------------------------------------------ */
static vm_status step(train_task *x, double lr, double most_loss, double most_norm, train_step *out, vm_error *e) {
    detect_task *d = (detect_task *)x;
    if (gdino_trainer_step(d->t, &d->batch.b, d->batch.target, (uint64_t)d->step, lr, most_loss, most_norm, &d->last, e)) return e->status;
    *out = (train_step){ d->last.loss, d->last.grad_norm, d->last.skipped };
    return VM_OK;
}
static int64_t updates(const train_task *x) { return gdino_trainer_updates(((const detect_task *)x)->t); }

/* --- what is said ------------------------------------------------------------------------------------------------------ */
typedef struct { const char *name; double x; } term;
enum { TERMS = 7 };
static int terms_of(const detect_task *d, term t[TERMS]) {
    const gdino_step *s = &d->last;
    const term all[TERMS] = { { "ce", s->ce }, { "bbox", s->bbox }, { "giou", s->giou }, { "pick_ce", s->pick_ce }, { "pick_bbox", s->pick_bbox },
                              { "pick_giou", s->pick_giou }, { "noised", s->noised } };
    memcpy(t, all, sizeof all);
    return d->o->train.denoise.most ? TERMS : TERMS - 1;
}

static void log_terms(train_task *x, train_log *l) {
    term t[TERMS];
    const int n = terms_of((const detect_task *)x, t);
    for (int k = 0; k < n; k++) train_log_num(l, t[k].name, t[k].x);
}

static void text_of(const train_task *x, char *out, size_t room) {
    const gdino_step *s = &((const detect_task *)x)->last;
    snprintf(out, room, "  ce %.3f  L1 %.3f  GIoU %.3f  pick %.3f %.3f", s->ce, s->bbox, s->giou, s->pick_ce, s->pick_giou);
}

static void evidence(const train_task *x, json_writer *w) {
    const detect_task *d = (const detect_task *)x;
    term t[TERMS];
    const int n = terms_of(d, t);
    for (int k = 0; k < n; k++) json_put_num(w, t[k].name, t[k].x);
    json_begin_array(w, "samples");
    for (int64_t k = 0; k < d->batch.b.B; k++) json_put_int(w, NULL, d->batch.sample[k]);
    json_close_array(w);
}

/* --- validation -------------------------------------------------------------------------------------------------------- */
static vm_status measure(detect_task *d, eval_detect *x, vm_error *e) {
    detector *net = NULL;
    media_places places = { 0 };
    const media_places none = { 0 };
    eval_detect_source src = { .places = &places, .limit = d->o->val_limit, .how = { .threshold = 0.01, .text_threshold = 0.25, .nms = 1, .max_area = 1 } };
    if (!boxes_open(&x->set, d->o->val, e) && !media_open(&places, d->o->val_places ? d->o->val_places : &none, d->o->val, e) &&
        !detector_wrap(&net, d->m, d->o->train.dtype, d->o->dir, e) && !eval_detect_run(x, net, &src, e) &&
        !box_score(&x->set, x->found, x->n, true, &d->scores, NULL, e)) {
        if (!(x->each_count = vm_calloc((size_t)x->set.n_categories + 1, sizeof *x->each_count))) vm_nomem(e, 1024, "counts of phrases");
        else box_count(&x->set, x->found, x->n, 0.35, 0.5, &d->counts, x->each_count, e);
    }
    detector_free(net);
    media_close(&places);
    return e->status;
}

static vm_status validate(train_task *y, double *rank, vm_error *e) {
    detect_task *d = (detect_task *)y;
    eval_detect x = { 0 };
    const bool average = d->o->train.optimizer.ema > 0;
    snprintf(x.m.name, sizeof x.m.name, "validation");
    if (average) weights_swap_average(&d->m->w); /* what will be exported */
    measure(d, &x, e);
    if (average) weights_swap_average(&d->m->w);
    if (!e->status) {
        vm_info("validation: AP50 %.1f, AP %.1f of all phrases in one; %.1f %% of absent phrases without a box", 100 * d->scores.ap50, 100 * d->scores.ap[0],
                100 * (double)d->counts.silent / (double)VM_MAX(d->counts.absent, (int64_t)1));
        *rank = isnan(d->scores.ap50) ? NAN : -d->scores.ap50;
    }
    vm_free(x.found), vm_free(x.each_count), keymap_free(&x.faults), boxes_close(&x.set);
    return e->status;
}

static double part(int64_t a, int64_t n) { return n ? (double)a / (double)n : NAN; }

static void log_validation(const train_task *x, train_log *l) {
    const detect_task *d = (const detect_task *)x;
    const box_counts *c = &d->counts;
    train_log_num(l, "val_ap", d->scores.ap[0]), train_log_num(l, "val_ap50", d->scores.ap50), train_log_num(l, "val_ar100", d->scores.ar[2]);
    train_log_num(l, "val_recall", part(c->hits, c->truths)), train_log_num(l, "val_pointing", part(c->pointed, c->alone));
    train_log_num(l, "val_absent_silent", part(c->silent, c->absent)), train_log_num(l, "val_counting", part(c->right, c->counted));
}

/* --- state ------------------------------------------------------------------------------------------------------------- */
static vm_status save(train_task *x, const char *dir, vm_error *e) { return gdino_trainer_save(((detect_task *)x)->t, dir, e); }
static vm_status load(train_task *x, const char *dir, int64_t n, vm_error *e) { return gdino_trainer_load(((detect_task *)x)->t, dir, n, e); }

/* What a step takes with the largest of the first batches, whose sizes depend on pictures, phrases and --scales. */
static vm_status say_memory(detect_task *d, vm_error *e) {
    enum { BATCHES = 4 };
    optimizer_bytes own = { 0 };
    size_t most = 0, bytes;
    char of[128] = "";
    for (int64_t k = 0; k < VM_MIN((int64_t)BATCHES, d->o->run.steps) && !e->status; k++) {
        detect_batch b = { 0 };
        if (!detect_batch_make(&b, d->source, &d->o->augment, d->pp, d->tok, d->m->c.text_len, k, e) && !gdino_trainer_memory(d->t, &b.b, b.target, &own, &bytes, e) && bytes > most) {
            most = bytes;
            snprintf(of, sizeof of, " for the largest of the first batches, %lld pictures of %lld x %lld with %lld tokens", (long long)b.b.B, (long long)b.b.W, (long long)b.b.H,
                     (long long)b.b.T);
        }
        detect_batch_free(&b);
    }
    if (!e->status) train_say_memory(&own, most, of, 0, NULL, "--batch N, smaller --scales, --denoise 0, --lr-vision 0 and --lr-text 0");
    return e->status;
}

vm_status train_detect_run(gdino *m, detect_source *source, tok *t, const vm_preprocess *pp, const train_detect_options *o, vm_error *e) {
    detect_task d = { .o = o, .m = m, .source = source, .tok = t, .pp = pp };
    d.task = (train_task){ .w = &m->w, .digest = source->digest, .samples = source->batch, .start = start, .batch = batch, .step = step, .updates = updates,
                           .log = log_terms, .text = text_of, .evidence = evidence, .validate = o->val ? validate : NULL,
                           .log_validation = log_validation, .save = save, .load = load };
    if (!gdino_trainer_new(&d.t, m, &o->train, e) && !say_memory(&d, e) && !o->dry_run && !train_bad_open(&d.bad, o->run.out, 0, source->n, o->max_bad, e)) train_loop_run(&d.task, &o->run, e);
    detect_batch_free(&d.batch);
    train_bad_close(d.bad);
    gdino_trainer_free(d.t);
    return e->status;
}
