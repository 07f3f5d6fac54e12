/* train_clip_task.c - two towers as a task of the training loop: batches of clip_feed.h, steps of clip_train.h, scores
 * of train_val.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/log.h"
#include "pipeline/run.h"
#include "pipeline/train_clip.h"
#include "pipeline/train_data.h"

typedef struct {
    train_task task;
    const train_clip_options *o;
    vm_comm *comm;
    towers *m;
    clip_trainer *t;
    clip_source *source;
    clip_feed *feed;
    const clip_batch *batch;
    train_bad *bad;
    train_val *val; /* NULL = none */
    clip_step last;
    val_scores scores;
    double theta[CLIP_THETA_MAX];
} clip_task;

/* --- batches ----------------------------------------------------------------------------------------------------- */
static vm_status start(train_task *x, int64_t step, vm_error *e) {
    clip_task *c = (clip_task *)x;
    clip_feed_free(c->feed);
    c->feed = NULL;
    return clip_feed_open(&c->feed, c->source, step, c->o->run.steps, c->o->workers, e);
}

static vm_status batch(train_task *x, int64_t step, double *waited, vm_error *e) {
    clip_task *c = (clip_task *)x;
    clip_bad_list bad = { 0 };
    vm_error too_many = { 0 };
    int64_t per_epoch = clip_source_epoch(c->source);
    if (c->o->theta_reset && per_epoch &&
        step % per_epoch == 0) /* as CE-CLIP's code has it, with every pass over the data */
        clip_head_set_theta(clip_trainer_head(c->t), 0, NULL);
    clip_feed_next(c->feed, &c->batch, &bad, waited, e);
    if (train_bad_add(c->bad, &bad, &too_many) && !e->status) *e = too_many;
    return e->status;
}

/* --- steps ------------------------------------------------------------------------------------------------------- */
static vm_status step(train_task *x, double lr, double most_loss, double most_norm, train_step *out, vm_error *e) {
    clip_task *c = (clip_task *)x;
    clip_trainer_limit(c->t, most_loss, most_norm);
    if (clip_trainer_step(c->t, c->batch, lr, &c->last, e)) return e->status;
    *out = (train_step){ c->last.terms.loss, c->last.grad_norm, c->last.skipped };
    return VM_OK;
}

static int64_t updates(const train_task *x) { return clip_trainer_steps(((const clip_task *)x)->t); }

/* --- what is said ------------------------------------------------------------------------------------------------ */
static void log_terms(train_task *x, train_log *l) {
    clip_task *c = (clip_task *)x;
    const clip_loss_config *loss = &c->o->train.loss;
    const clip_terms *t = &c->last.terms;
    train_log_num(l, "itc", t->itc);
    if (loss->twin_weight > 0) train_log_num(l, "twin", t->twin);
    if (loss->imc_weight > 0) train_log_num(l, "imc", t->imc);
    if (loss->cmr_weight > 0) {
        train_log_num(l, "cmr", t->cmr);
        train_log_nums(l, "theta", clip_head_theta(clip_trainer_head(c->t), c->theta), c->theta);
    }
    train_log_num(l, "scale", c->last.scale);
}

/* "  twin 0.1234  scale 14.2": the terms that the run has. */
static void text_of(const train_task *x, char *out, size_t room) {
    const clip_task *c = (const clip_task *)x;
    const clip_loss_config *loss = &c->o->train.loss;
    const struct {
        const char *name;
        double x, weight;
    } terms[] = { { "twin", c->last.terms.twin, (double)loss->twin_weight },
                  { "imc", c->last.terms.imc, (double)loss->imc_weight },
                  { "cmr", c->last.terms.cmr, (double)loss->cmr_weight } };
    size_t at = 0;
    for (int k = 0; k < VM_LEN(terms); k++)
        if (terms[k].weight > 0) at += (size_t)snprintf(out + at, room - at, "  %s %.4f", terms[k].name, terms[k].x);
    snprintf(out + at, room - at, "  scale %.1f", c->last.scale);
}

static void evidence(const train_task *x, json_writer *w) {
    const clip_task *c = (const clip_task *)x;
    const clip_terms *t = &c->last.terms;
    json_put_num(w, "itc", t->itc), json_put_num(w, "twin", t->twin), json_put_num(w, "imc", t->imc),
        json_put_num(w, "cmr", t->cmr);
    json_put_num(w, "scale", c->last.scale);
    json_begin_array(w, "samples");
    for (int64_t i = 0; i < clip_share_orig(c->source); i++) {
        int64_t sample = clip_feed_sample(c->feed, i);
        if (c->source->name) json_put_str(w, NULL, c->source->name(c->source, sample));
        else json_put_int(w, NULL, sample);
    }
    json_close_array(w);
}

static vm_status validate(train_task *x, double *rank, vm_error *e) {
    clip_task *c = (clip_task *)x;
    if (!train_val_run(c->val, &c->scores, e)) *rank = train_val_rank(&c->scores, c->o->best_by);
    return e->status;
}
static void log_validation(const train_task *x, train_log *l) { train_val_log(&((const clip_task *)x)->scores, l); }

/* --- state ------------------------------------------------------------------------------------------------------- */
static vm_status save(train_task *x, const char *dir, vm_error *e) {
    clip_task *c = (clip_task *)x;
    x->kept.n = clip_head_theta(clip_trainer_head(c->t), c->theta);
    return clip_trainer_save(c->t, dir, e);
}
static vm_status load(train_task *x, const char *dir, int64_t n, vm_error *e) {
    return clip_trainer_load(((clip_task *)x)->t, dir, n, e);
}
static void loaded(train_task *x) {
    clip_task *c = (clip_task *)x;
    clip_head_set_theta(clip_trainer_head(c->t), (int)x->kept.n, c->theta);
}

/* --- memory ------------------------------------------------------------------------------------------------------ */
static double gb(size_t bytes) { return (double)bytes * 1e-9; }

/* What the run will take, against what there is. */
static vm_status say_memory(const clip_task *c, vm_error *e) {
    clip_rows r = {
        clip_share_orig(c->source), clip_share_twins(c->source), c->source->K, c->source->text_only, NULL, NULL
    };
    clip_memory m;
    if (clip_trainer_memory(c->t, &r, &m, e)) return e->status;
    m.batch *= (size_t)clip_feed_batches(c->o->workers, (double)m.batch);
    size_t all = m.weights + m.gradients + m.moments + m.average + m.activations + m.loss + m.features + m.batch,
           has = run_memory();
    vm_info("memory: weights %.2f GB, gradients %.2f, moments %.2f, average %.2f, activations %.2f, loss and features "
            "%.2f, batches %.2f: %.2f GB",
            gb(m.weights), gb(m.gradients), gb(m.moments), gb(m.average), gb(m.activations), gb(m.loss + m.features),
            gb(m.batch), gb(all));
    if (has && all > has)
        vm_warn("that is more than the %.2f GB of this machine; --chunk N and --recompute need less for the same "
                "result",
                gb(has));
    return VM_OK;
}

vm_status train_clip_run(towers *m, clip_source *source, tok *t, const vm_preprocess *pp, train_val *val,
                         const train_clip_options *o, vm_error *e) {
    clip_task c = { .o = o, .m = m, .source = source, .val = val, .comm = o->run.comm ? o->run.comm : vm_comm_self() };
    clip_train_config config = o->train;
    config.comm = c.comm;
    source->m = m, source->t = t, source->pp = pp, source->seed = o->seed, source->total_steps = o->run.steps;
    c.task = (train_task){ .w = m->w,
                           .digest = source->digest,
                           .samples = source->n_orig + source->n_twins,
                           .start = start,
                           .batch = batch,
                           .step = step,
                           .updates = updates,
                           .log = log_terms,
                           .text = text_of,
                           .evidence = evidence,
                           .validate = val ? validate : NULL,
                           .log_validation = log_validation,
                           .save = save,
                           .load = load,
                           .loaded = loaded,
                           .kept = { "theta", c.theta, 0, CLIP_THETA_MAX } };
    if (!clip_trainer_new(&c.t, m, &config, e) && clip_trainer_way(c.t))
        vm_info("%d processes, sums of gradients by %s", c.comm->size, clip_trainer_way(c.t));
    if (!e->status && !say_memory(&c, e) && !o->dry_run &&
        !train_bad_open(&c.bad, o->run.out, c.comm->rank, source->n_groups, o->max_bad, e))
        train_loop_run(&c.task, &o->run, e);
    clip_feed_free(c.feed);
    train_bad_close(c.bad);
    clip_trainer_free(c.t);
    return e->status;
}
