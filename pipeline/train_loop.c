/* train_loop.c - the training loop around clip_train.h. Data, weights, moments and the log of a run are at any moment such
 * that the same command line goes on: a checkpoint is a directory that appears whole, batches are a function of
 * (seed, step), and the log is cut back to the checkpoint. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/json.h"
#include "io/file.h"
#include "io/log.h"
#include "pipeline/checkpoint.h"
#include "pipeline/run.h"
#include "pipeline/train_clip.h"
#include "pipeline/train_data.h"

typedef struct {
    train_clip_options o;
    towers *m;
    clip_trainer *t;
    clip_source *source;
    clip_feed *feed;
    train_bad *bad;
    int64_t step, skipped_in_row;
    FILE *log;       /* of rank 0 */
    vm_comm *comm;
    double t0, t_log;
    int64_t at_log;
    double waited;          /* seconds for data since the last log line */
} loop;

static void put_number(FILE *f, const char *key, double v) {
    if (isfinite(v)) fprintf(f, ",\"%s\":%.9g", key, v);
    else fprintf(f, ",\"%s\":null", key);
}

static void put_thresholds(loop *l, double cmr) {
    double theta[CLIP_THETA_MAX];
    int n = clip_head_theta(clip_trainer_head(l->t), theta);
    put_number(l->log, "cmr", cmr);
    fprintf(l->log, ",\"theta\":[");
    for (int k = 0; k < n; k++) fprintf(l->log, "%s%.9g", k ? "," : "", theta[k]);
    fprintf(l->log, "]");
}

/* "  twin 0.1234" of the terms that the run has. */
static const char *term_text(char text[96], const clip_loss_config *c, const clip_terms *t) {
    const struct { const char *name; double x, weight; } terms[] = { { "twin", t->twin, (double)c->twin_weight },
                                                                     { "imc", t->imc, (double)c->imc_weight },
                                                                     { "cmr", t->cmr, (double)c->cmr_weight } };
    size_t at = 0;
    text[0] = 0;
    for (int k = 0; k < VM_LEN(terms); k++)
        if (terms[k].weight > 0) at += (size_t)snprintf(text + at, 96 - at, "  %s %.4f", terms[k].name, terms[k].x);
    return text;
}

static void log_step(loop *l, const clip_step *s, double lr) {
    double now = run_seconds(), rate = (double)(l->step - l->at_log) * (double)(l->source->n_orig + l->source->n_twins) / VM_MAX(now - l->t_log, 1e-9);
    fprintf(l->log, "{\"step\":%lld", (long long)l->step);
    put_number(l->log, "loss", s->terms.loss), put_number(l->log, "itc", s->terms.itc);
    const clip_loss_config *c = &l->o.train.loss;
    if (c->twin_weight > 0) put_number(l->log, "twin", s->terms.twin);
    if (c->imc_weight > 0) put_number(l->log, "imc", s->terms.imc);
    if (c->cmr_weight > 0) put_thresholds(l, s->terms.cmr);
    put_number(l->log, "lr", lr), put_number(l->log, "scale", s->scale), put_number(l->log, "grad_norm", s->grad_norm);
    put_number(l->log, "samples_per_s", rate);
    put_number(l->log, "data_s", l->waited / (double)VM_MAX(l->step - l->at_log, (int64_t)1)); /* a step waited for data */
    fprintf(l->log, ",\"skipped\":%s}\n", s->skipped ? "true" : "false");
    fflush(l->log); /* a log that cannot be written never ends a training */
    char terms[96];
    double left = (now - l->t0) / (double)VM_MAX(l->step - l->o.first_step, (int64_t)1) * (double)(l->o.steps - l->step);
    vm_info("step %lld/%lld  loss %.4f%s  lr %.2e  scale %.1f  %.0f samples/s  %d:%02d left", (long long)l->step, (long long)l->o.steps, s->terms.loss,
            term_text(terms, &l->o.train.loss, &s->terms), lr, s->scale, rate, (int)(left / 60), (int)left % 60);
    l->t_log = now, l->at_log = l->step, l->waited = 0;
}

/* Has a signal come, to any rank? */
static vm_status stopping(loop *l, bool *stop, vm_error *e) {
    *stop = run_stopping();
    return vm_comm_any(l->comm, stop, e);
}

static vm_status write_state(const char *dir, const void *ctx, vm_error *e) {
    const loop *l = ctx;
    if (clip_trainer_save(l->t, dir, e)) return e->status;
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    json_put_int(&w, "step", l->step);
    json_put_int(&w, "updates", clip_trainer_steps(l->t));
    json_put_int(&w, "steps", l->o.steps);
    json_put_int(&w, "seed", (int64_t)l->o.seed);
    json_put_str(&w, "command", l->o.command);
    if (l->o.args) arg_put_all(l->o.args, &w, "options");
    double theta[CLIP_THETA_MAX];
    json_begin_array(&w, "theta"); /* thresholds of CMR */
    for (int k = 0, n = clip_head_theta(clip_trainer_head(l->t), theta); k < n; k++) json_put_num(&w, NULL, theta[k]);
    json_close_array(&w);
    json_close_object(&w);
    return json_save(&w, dir, "state.json", e);
}

/* The newest good checkpoint, NULL when there is none: rank 0 looks, all go on from the same one. */
static vm_status newest(loop *l, char **dir, vm_error *e) {
    char path[4096] = "";
    *dir = NULL;
    if (!l->comm->rank && !checkpoint_newest(dir, l->o.out, e) && *dir) snprintf(path, sizeof path, "%s", *dir);
    if (e->status || l->comm->broadcast(l->comm, path, sizeof path, 0, e)) return e->status;
    if (l->comm->rank && path[0] && !(*dir = vm_strdup(path))) return vm_nomem(e, sizeof path, "a path");
    return VM_OK;
}

static vm_status save(loop *l, vm_error *e) {
    return l->comm->rank ? VM_OK : checkpoint_save(l->o.out, l->step, l->o.keep_last, write_state, l, e);
}

/* Goes on where the newest good checkpoint stands; without one, at step 0. */
static vm_status resume(loop *l, vm_error *e) {
    char *dir = NULL;
    if (newest(l, &dir, e) || !dir) return e->status;
    char *path = path_join(dir, "state.json");
    json_doc *d = path ? json_open(path, e) : NULL;
    json_value root = json_root(d);
    l->step = json_int(root, "step", 0, 0, INT64_MAX, e);
    int64_t updates = json_int(root, "updates", 0, 0, INT64_MAX, e);
    const char *command = json_str(root, "command", "", e);
    double theta[CLIP_THETA_MAX];
    int n_theta = 0;
    for (json_iter it = json_each(json_get(root, "theta")); n_theta < CLIP_THETA_MAX && json_next(&it);) theta[n_theta++] = json_as_num(it.value, e);
    if (!e->status && strcmp(command, l->o.command))
        vm_fail(e, VM_EINPUT, "%s: was made by another command:\n  %s\ngive the same options, or another --out", dir, command);
    if (!e->status && !clip_trainer_load(l->t, dir, updates, e)) vm_info("going on at step %lld of %lld", (long long)l->step, (long long)l->o.steps);
    if (!e->status) clip_head_set_theta(clip_trainer_head(l->t), n_theta, theta);
    json_free(d);
    vm_free(path);
    vm_free(dir);
    return e->status;
}

/* As CE-CLIP's code has it, thresholds begin again with every pass over the data. */
static void new_epoch(loop *l) {
    int64_t per_epoch = clip_source_epoch(l->source);
    if (l->o.theta_reset && per_epoch && l->step % per_epoch == 0) clip_head_set_theta(clip_trainer_head(l->t), 0, NULL);
}

/* Three steps in a row without finite numbers end the run: the last checkpoint is good. */
static vm_status one_step(loop *l, vm_error *e) {
    clip_step s;
    clip_bad_list bad = { 0 };
    const clip_batch *batch;
    double waited, lr = clip_lr(&l->o.schedule, l->step);
    new_epoch(l);
    clip_feed_next(l->feed, &batch, &bad, &waited, e);
    vm_error too_many = { 0 };
    if (train_bad_add(l->bad, &bad, &too_many) && !e->status) *e = too_many;
    if (e->status || clip_trainer_step(l->t, batch, lr, &s, e)) return e->status;
    l->waited += waited;
    l->step++;
    l->skipped_in_row = s.skipped ? l->skipped_in_row + 1 : 0;
    if (s.skipped) vm_warn("step %lld: loss or gradient is not finite; skipped", (long long)l->step);
    if (l->log && (l->step % l->o.log_every == 0 || l->step == l->o.steps || l->step == 1)) log_step(l, &s, lr);
    if (l->skipped_in_row > 3) return vm_fail(e, VM_EMODEL, "%s: no finite loss in 4 steps up to step %lld; lower --lr", l->o.out, (long long)l->step);
    return VM_OK;
}

static double gb(size_t bytes) { return (double)bytes * 1e-9; }

/* What the run will take, against what there is. */
static vm_status say_memory(const loop *l, vm_error *e) {
    clip_rows r = { clip_share_orig(l->source), clip_share_twins(l->source), l->source->K, l->source->text_only, NULL, NULL };
    clip_memory m;
    if (clip_trainer_memory(l->t, &r, &m, e)) return e->status;
    m.batch *= (size_t)clip_feed_batches(l->o.workers, (double)m.batch);
    size_t all = m.weights + m.gradients + m.moments + m.average + m.activations + m.loss + m.features + m.batch, has = run_memory();
    vm_info("memory: weights %.2f GB, gradients %.2f, moments %.2f, average %.2f, activations %.2f, loss and features %.2f, batches %.2f: %.2f GB", gb(m.weights),
            gb(m.gradients), gb(m.moments), gb(m.average), gb(m.activations), gb(m.loss + m.features), gb(m.batch), gb(all));
    if (has && all > has) vm_warn("that is more than the %.2f GB of this machine; --chunk N and --recompute need less for the same result", gb(has));
    return VM_OK;
}

vm_status train_clip_run(towers *m, clip_source *source, tok *t, const vm_preprocess *pp, const train_clip_options *o, vm_error *e) {
    loop l = { .o = *o, .m = m, .source = source };
    clip_train_config c = o->train;
    bool stop = false;
    l.comm = c.comm = o->comm ? o->comm : vm_comm_self();
    l.o.schedule.total = o->steps;
    source->m = m, source->t = t, source->pp = pp, source->seed = o->seed, source->total_steps = o->steps;
    if (clip_trainer_new(&l.t, m, &c, e) || say_memory(&l, e) || o->dry_run ||
        train_bad_open(&l.bad, o->out, l.comm->rank, source->n_groups, o->max_bad, e))
        goto done;
    if (o->resume && resume(&l, e)) goto done;
    l.o.first_step = l.step;
    if (clip_feed_open(&l.feed, source, l.step, o->steps, o->workers, e)) goto done;
    if (!l.comm->rank && !(l.log = checkpoint_log(o->out, l.step, e))) goto done;
    l.t0 = l.t_log = run_seconds(), l.at_log = l.step;
    while (l.step < o->steps && !stopping(&l, &stop, e) && !stop) {
        if (one_step(&l, e)) goto done;
        bool due = o->save_every && l.step % o->save_every == 0 && l.step < o->steps;
        if (due && save(&l, e)) {
            if (e->status != VM_EIO) goto done;
            vm_warn("%s; training goes on, the next checkpoint is tried at step %lld", e->msg, (long long)(l.step + o->save_every));
            vm_error_clear(e); /* a full disk must not cost the run */
        }
    }
    if (e->status || save(&l, e)) goto done;
    if (l.step < o->steps) vm_fail(e, VM_ESTOP, "stopped at step %lld of %lld; the same command goes on", (long long)l.step, (long long)o->steps);
done:
    if (l.log) fclose(l.log);
    clip_feed_free(l.feed);
    train_bad_close(l.bad);
    clip_trainer_free(l.t);
    return e->status;
}
