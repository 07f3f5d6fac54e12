/* train_diffusion_task.c - a diffusion model's UNet as a task of the training loop: batches of diffusion_feed.h, steps of diffusion_train.h. */
#include <stdio.h>

#include "io/log.h"
#include "pipeline/run.h"
#include "pipeline/train_diffusion.h"

typedef struct {
    train_task task;
    diffusion_trainer *t;
    diffusion_feed *feed, *look;
    int64_t step;
    diffusion_train_step last;
    double val_loss;
} diffusion_task;

static vm_status start(train_task *x, int64_t step, vm_error *e) { return VM_OK; }

static vm_status batch(train_task *x, int64_t step, double *waited, vm_error *e) {
    diffusion_task *c = (diffusion_task *)x;
    double began = run_seconds();
    c->step = step;
    diffusion_feed_batch(c->feed, step, e);
    *waited = run_seconds() - began;
    return e->status;
}

static vm_status step(train_task *x, double lr, double most_loss, double most_norm, train_step *out, vm_error *e) {
    diffusion_task *c = (diffusion_task *)x;
    diffusion_trainer_limit(c->t, most_loss, most_norm);
    if (diffusion_trainer_step(c->t, c->feed->batch, c->feed->sample, c->step, lr, &c->last, e)) return e->status;
    *out = (train_step){ c->last.loss, c->last.grad_norm, c->last.skipped };
    return VM_OK;
}

static int64_t updates(const train_task *x) { return diffusion_trainer_updates(((const diffusion_task *)x)->t); }

static void log_error(train_task *x, train_log *l) {
    const diffusion_task *c = (const diffusion_task *)x;
    train_log_num(l, "error", c->last.error), train_log_num(l, "bad_pictures", (double)c->feed->bad);
}
static void text_of(const train_task *x, char *out, size_t room) { snprintf(out, room, "  error %.4f", ((const diffusion_task *)x)->last.error); }

static void evidence(const train_task *x, json_writer *w) {
    const diffusion_feed *f = ((const diffusion_task *)x)->feed;
    json_begin_array(w, "samples"); /* numbers of the pictures that have a text, from 0 */
    for (int64_t i = 0; i < f->batch; i++) json_put_int(w, NULL, f->chosen[i]);
    json_close_array(w);
}

/* Every picture once, with times and noise that are the same at each validation. */
static vm_status validate(train_task *x, double *rank, vm_error *e) {
    diffusion_task *c = (diffusion_task *)x;
    double sum = 0, loss;
    int64_t all = 0;
    for (int64_t at = 0; at < c->look->n && !e->status; at += c->look->batch) {
        if (run_stopping()) return e->status = VM_ESTOP;
        int64_t n = diffusion_feed_rows(c->look, at, e);
        if (n && !e->status && !diffusion_trainer_loss(c->t, n, c->look->sample, INT64_C(1) << 40 | at, &loss, e)) sum += loss * (double)n, all += n;
    }
    *rank = c->val_loss = sum / (double)VM_MAX(all, (int64_t)1);
    if (!e->status) vm_info("validation: error %.4f", c->val_loss);
    return e->status;
}
static void log_validation(const train_task *x, train_log *l) { train_log_num(l, "val_loss", ((const diffusion_task *)x)->val_loss); }

static vm_status save(train_task *x, const char *dir, vm_error *e) { return diffusion_trainer_save(((diffusion_task *)x)->t, dir, e); }
static vm_status load(train_task *x, const char *dir, int64_t n, vm_error *e) { return diffusion_trainer_load(((diffusion_task *)x)->t, dir, n, e); }

vm_status train_diffusion_run(diffusion_trainer *t, const train_diffusion_options *o, vm_error *e) {
    char digest[65];
    diffusion_feed_digest(o->feed, digest);
    diffusion_task c = { .t = t, .feed = o->feed, .look = o->look };
    c.task = (train_task){ .w = diffusion_trainer_weights(t), .digest = digest, .samples = o->feed->batch, .start = start, .batch = batch, .step = step, .updates = updates,
                           .log = log_error, .text = text_of, .evidence = evidence, .validate = o->look ? validate : NULL, .log_validation = log_validation,
                           .save = save, .load = load };
    return train_loop_run(&c.task, &o->run, e);
}
