/* train_lm_task.c - a language model as a task of the training loop: batches of lm_data.h, steps of llm_train.h. */
#include <math.h>
#include <stdio.h>

#include "io/log.h"
#include "pipeline/run.h"
#include "pipeline/train_lm.h"

typedef struct {
    train_task task;
    const train_lm_options *o;
    llm_trainer *t;
    lm_feed feed, look; /* look: of the validation */
    llm_train_step last;
    double since;                        /* when the tokens were counted from */
    int64_t learnt, tokens, places;      /* since the last line: tokens learnt, of texts, and all that was computed */
    int64_t rate;
    double val_loss;
} lm_task;

static vm_status start(train_task *x, int64_t step, vm_error *e) {
    lm_task *c = (lm_task *)x;
    c->since = run_seconds(), c->learnt = c->tokens = c->places = 0;
    return VM_OK;
}

static vm_status batch(train_task *x, int64_t step, double *waited, vm_error *e) {
    lm_task *c = (lm_task *)x;
    double began = run_seconds();
    lm_feed_batch(&c->feed, step, e);
    *waited = run_seconds() - began;
    return e->status;
}

static vm_status step(train_task *x, double lr, double most_loss, double most_norm, train_step *out, vm_error *e) {
    lm_task *c = (lm_task *)x;
    llm_trainer_limit(c->t, most_loss, most_norm);
    if (llm_trainer_step(c->t, (int)c->feed.pieces, c->feed.piece, lr, &c->last, e)) return e->status;
    *out = (train_step){ c->last.loss, c->last.grad_norm, c->last.skipped };
    c->learnt += c->last.counted, c->tokens += c->feed.tokens;
    for (int64_t k = 0; k < c->feed.pieces; k++) c->places += c->feed.piece[k].B * c->feed.piece[k].T;
    return VM_OK;
}

static int64_t updates(const train_task *x) { return llm_trainer_updates(((const lm_task *)x)->t); }

/* --- what is said ------------------------------------------------------------------------------------------------ */
static void log_tokens(train_task *x, train_log *l) {
    lm_task *c = (lm_task *)x;
    double now = run_seconds();
    double places = (double)VM_MAX(c->places, (int64_t)1);
    c->rate = (int64_t)((double)c->tokens / VM_MAX(now - c->since, 1e-9));
    train_log_num(l, "learnt_share", (double)c->learnt / places); /* of all places that are computed */
    train_log_num(l, "fill", (double)c->tokens / places);         /* those that are no padding */
    train_log_num(l, "tokens_per_s", (double)c->rate);
    c->since = now, c->learnt = c->tokens = c->places = 0;
}

static void text_of(const train_task *x, char *out, size_t room) {
    snprintf(out, room, "  %lld tokens/s", (long long)((const lm_task *)x)->rate);
}

static void evidence(const train_task *x, json_writer *w) {
    const lm_task *c = (const lm_task *)x;
    json_put_int(w, "learnt_tokens", c->last.counted);
    json_begin_array(w, "samples"); /* numbers of the texts that were not left out, from 0 */
    for (int64_t i = 0; i < c->feed.texts; i++) json_put_int(w, NULL, c->feed.chosen[i]);
    json_close_array(w);
}

/* --- validation -------------------------------------------------------------------------------------------------- */
static vm_status validate(train_task *x, double *rank, vm_error *e) {
    lm_task *c = (lm_task *)x;
    double sum = 0, loss;
    int64_t all = 0, n;
    for (int64_t at = 0; at < c->look.d->n && !e->status; at += c->look.texts) {
        if (run_stopping()) return e->status = VM_ESTOP;
        if (lm_feed_rows(&c->look, at, e)) break;
        for (int64_t k = 0; k < c->look.pieces && !llm_trainer_loss(c->t, &c->look.piece[k], &loss, &n, e); k++)
            sum += loss * (double)n, all += n;
    }
    *rank = c->val_loss = sum / (double)VM_MAX(all, (int64_t)1);
    if (!e->status) vm_info("validation: loss %.4f, perplexity %.3f a token", c->val_loss, exp(c->val_loss));
    return e->status;
}
static void log_validation(const train_task *x, train_log *l) {
    const lm_task *c = (const lm_task *)x;
    train_log_num(l, "val_loss", c->val_loss), train_log_num(l, "val_perplexity", exp(c->val_loss));
}

/* --- state ------------------------------------------------------------------------------------------------------- */
static vm_status save(train_task *x, const char *dir, vm_error *e) {
    return llm_trainer_save(((lm_task *)x)->t, dir, e);
}
static vm_status load(train_task *x, const char *dir, int64_t n, vm_error *e) {
    return llm_trainer_load(((lm_task *)x)->t, dir, n, e);
}

/* What the run will take for its largest piece, against what there is. */
static vm_status say_memory(lm_task *c, vm_error *e) {
    optimizer_bytes own;
    size_t activations;
    int64_t B, T;
    double fill = lm_feed_fill(&c->feed, c->o->run.steps, &B, &T);
    vm_info("a step has %lld pieces of %lld rows, up to %lld tokens long, %.1f %% filled", (long long)c->feed.pieces,
            (long long)B, (long long)T, 100 * fill);
    if (llm_trainer_memory(c->t, B, T, &own, &activations, e)) return e->status;
    train_say_memory(&own, activations, " for the largest piece", 0, NULL, "--accum K, --recompute, --max-length N and --lora R");
    return VM_OK;
}

vm_status train_lm_run(llm *m, const lm_data *data, const lm_data *val, const train_lm_options *o, vm_error *e) {
    lm_task c = { .o = o };
    c.task = (train_task){ .w = &m->w,
                           .digest = data->digest,
                           .samples = o->batch,
                           .start = start,
                           .batch = batch,
                           .step = step,
                           .updates = updates,
                           .log = log_tokens,
                           .text = text_of,
                           .evidence = evidence,
                           .validate = val ? validate : NULL,
                           .log_validation = log_validation,
                           .save = save,
                           .load = load };
    c.feed = (lm_feed){ .d = data, .texts = o->batch, .pieces = o->pieces, .seed = o->seed, .in_order = o->in_order,
                        .packs = o->packs };
    c.look = (lm_feed){ .d = val, .texts = o->batch / o->pieces, .pieces = 1, .packs = o->packs };
    if (!llm_trainer_new(&c.t, m, &o->train, e) && !lm_feed_new(&c.feed, e) && !lm_feed_new(&c.look, e) &&
        !say_memory(&c, e) && !o->dry_run)
        train_loop_run(&c.task, &o->run, e);
    lm_feed_free(&c.feed), lm_feed_free(&c.look);
    llm_trainer_free(c.t);
    return e->status;
}
