/* train_loop.c - the training loop around clip_train.h. Data, weights, moments and the logs of a run are at any moment
 * such that the same command line goes on: a checkpoint is a directory that appears whole, batches are a function of
 * (seed, step), and the logs are cut back to the checkpoint. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "io/file.h"
#include "io/log.h"
#include "pipeline/checkpoint.h"
#include "pipeline/run.h"
#include "pipeline/train_parts.h"

/* --- what is said ------------------------------------------------------------------------------------------------- */
/* "  twin 0.1234" of the terms that the run has. */
static const char *term_text(char text[96], const clip_loss_config *c, const clip_terms *t) {
    const struct {
        const char *name;
        double x, weight;
    } terms[] = { { "twin", t->twin, (double)c->twin_weight },
                  { "imc", t->imc, (double)c->imc_weight },
                  { "cmr", t->cmr, (double)c->cmr_weight } };
    size_t at = 0;
    text[0] = 0;
    for (int k = 0; k < VM_LEN(terms); k++)
        if (terms[k].weight > 0) at += (size_t)snprintf(text + at, 96 - at, "  %s %.4f", terms[k].name, terms[k].x);
    return text;
}

static void log_step(train_loop *l, const clip_step *s, double lr) {
    if (!l->log) return;
    const clip_loss_config *c = &l->o.train.loss;
    double now = run_seconds(), steps = (double)VM_MAX(l->step - l->at_log, (int64_t)1), theta[CLIP_THETA_MAX];
    double rate = steps * (double)(l->source->n_orig + l->source->n_twins) / VM_MAX(now - l->t_log, 1e-9);
    train_log_begin(l->log, l->step);
    train_log_num(l->log, "loss", s->terms.loss), train_log_num(l->log, "itc", s->terms.itc);
    if (c->twin_weight > 0) train_log_num(l->log, "twin", s->terms.twin);
    if (c->imc_weight > 0) train_log_num(l->log, "imc", s->terms.imc);
    if (c->cmr_weight > 0) {
        train_log_num(l->log, "cmr", s->terms.cmr);
        train_log_nums(l->log, "theta", clip_head_theta(clip_trainer_head(l->t), theta), theta);
    }
    train_log_num(l->log, "lr", lr), train_log_num(l->log, "scale", s->scale),
        train_log_num(l->log, "grad_norm", s->grad_norm);
    train_log_num(l->log, "samples_per_s", rate);
    train_log_num(l->log, "data_s", l->waited / steps); /* a step waited for its data */
    train_log_flag(l->log, "skipped", s->skipped);
    train_log_end(l->log);
    char terms[96];
    double left =
        (now - l->t0) / (double)VM_MAX(l->step - l->o.first_step, (int64_t)1) * (double)(l->o.steps - l->step);
    vm_info("step %lld/%lld  loss %.4f%s  lr %.2e  scale %.1f  %.0f samples/s  %d:%02d left", (long long)l->step,
            (long long)l->o.steps, s->terms.loss, term_text(terms, c, &s->terms), lr, s->scale, rate, (int)(left / 60),
            (int)left % 60);
    if (l->unsaved)
        vm_warn("the newest checkpoint is that of step %lld: the last one could not be written",
                (long long)VM_MAX(l->saved_step, (int64_t)0));
    l->t_log = now, l->at_log = l->step, l->waited = 0;
}

static void write_report(train_loop *l) {
    char title[64];
    if (!l->log) return;
    snprintf(title, sizeof title, "Training, step %lld of %lld", (long long)l->step, (long long)l->o.steps);
    train_log_report(l->log, title, l->o.command);
}

/* --- checkpoints -------------------------------------------------------------------------------------------------- */
static void wait_for_room(train_loop *l, const char *why) {
    if (!l->unsaved) vm_warn("%s; the training waits for room in %s", why, l->o.out);
    l->unsaved = true;
    for (int k = 0; k < 50 && !run_stopping(); k++) nanosleep(&(struct timespec){ 0, 100 * 1000 * 1000 }, NULL);
}

/* last: nothing comes after it, so what cannot be written is an error; else training goes on without. */
static vm_status save(train_loop *l, bool last, vm_error *e) {
    if (l->saved_step == l->step) return VM_OK;
    while (!l->comm->rank && checkpoint_save(l->o.out, l->step, (checkpoint_keep){ l->o.keep_last, l->best_step },
                                             train_state_write, l, e)) {
        if (e->status != VM_EIO) return e->status;
        if (l->o.wait_for_room && !run_stopping()) {
            wait_for_room(l, e->msg);
            vm_error_clear(e);
            continue;
        }
        if (last) return e->status;
        vm_warn("%s; training goes on, the next checkpoint is tried at step %lld", e->msg,
                (long long)(l->step + l->o.save_every));
        vm_error_clear(e); /* a full disk must not cost the run */
        l->unsaved = true;
        return VM_OK;
    }
    l->saved_step = l->step, l->unsaved = false;
    write_report(l);
    return VM_OK;
}

/* Room for the new checkpoint beside the one that it replaces, and a fifth more. */
static vm_status check_room(const train_loop *l, bool resumed, vm_error *e) {
    int64_t bytes = train_state_bytes(l), room;
    double need = (resumed ? 1.1 : 2.2) * (double)bytes;
    if (file_disk_free(&room, l->o.out, e)) return e->status;
    if ((double)room >= need) return VM_OK;
    return vm_fail(e, VM_EIO,
                   "%s: %.1f MB are free and checkpoints of %.1f MB need %.1f MB; make room or give another --out",
                   l->o.out, (double)room / 1e6, (double)bytes / 1e6, need / 1e6);
}

/* --- going back --------------------------------------------------------------------------------------------------- */
/* Feed and logs for going on behind l->step. */
static vm_status start_at(train_loop *l, vm_error *e) {
    clip_feed_free(l->feed);
    train_log_close(l->log);
    l->feed = NULL, l->log = NULL;
    l->t_log = run_seconds(), l->at_log = l->step, l->waited = 0;
    if (clip_feed_open(&l->feed, l->source, l->step, l->o.steps, l->o.workers, e)) return e->status;
    return l->comm->rank ? VM_OK : train_log_open(&l->log, l->o.out, l->step, e);
}

/* The guard has spoken: the newest checkpoint, half the learning rate. */
static vm_status go_back(train_loop *l, vm_error *e) {
    bool found;
    int64_t from = l->step;
    if (train_state_read(l, true, &found, e)) return e->status;
    if (!found)
        return vm_fail(e, VM_EMODEL,
                       "%s: no finite numbers at step %lld, and no checkpoint to go back to; lower --lr, or save "
                       "earlier (--save-every)",
                       l->o.out, (long long)from);
    vm_warn("step %lld: going back to step %lld, with %g of the learning rate and without the batches that failed",
            (long long)from, (long long)l->step, l->guard.lr_factor);
    return start_at(l, e);
}

/* --- validation --------------------------------------------------------------------------------------------------- */
static vm_status validate(train_loop *l, vm_error *e) {
    val_scores s;
    bool late = l->val_due; /* the checkpoint of this step exists already, and says that this was missing */
    l->val_due = true;
    if (train_val_run(l->val, &s, e)) {
        if (e->status == VM_ESTOP) vm_error_clear(e); /* the loop sees the signal itself */
        return e->status;
    }
    l->val_due = false;
    double value = train_val_rank(&s, l->o.best_by);
    bool best = l->o.keep_best && !isnan(value) && !(value >= l->best); /* l->best NaN: the first one */
    if (best) l->best = value, l->best_step = l->step;
    if (best || late) l->saved_step = -1;
    if (late && save(l, false, e))
        return e->status; /* before the line of the log, or killing it could give the line twice */
    train_log_begin(l->log, l->step);
    train_val_log(&s, l->log);
    train_log_end(l->log);
    return best ? save(l, false, e) : VM_OK;
}

/* --- steps -------------------------------------------------------------------------------------------------------- */
/* As CE-CLIP's code has it, thresholds begin again with every pass over the data. */
static void new_epoch(train_loop *l) {
    int64_t per_epoch = clip_source_epoch(l->source);
    if (l->o.theta_reset && per_epoch && l->step % per_epoch == 0)
        clip_head_set_theta(clip_trainer_head(l->t), 0, NULL);
}

static vm_status next_batch(train_loop *l, const clip_batch **b, vm_error *e) {
    clip_bad_list bad = { 0 };
    vm_error too_many = { 0 };
    double waited;
    clip_feed_next(l->feed, b, &bad, &waited, e);
    if (train_bad_add(l->bad, &bad, &too_many) && !e->status) *e = too_many;
    l->waited += waited;
    return e->status;
}

/* What a step that was not taken leaves behind: a line, and evidence. Every rank has the same numbers, and its own
 * samples. */
static void tell_skipped(train_loop *l, const clip_step *s) {
    bool spike = isfinite(s->terms.loss) && isfinite(s->grad_norm);
    if (!l->comm->rank)
        vm_warn("step %lld: loss %.4f, gradient %.3g: %s; skipped", (long long)l->step, s->terms.loss, s->grad_norm,
                spike ? "a spike" : "not finite");
    if (!spike) train_guard_dump(l->o.out, l->comm->rank, l->step, s, l->m->w, l->source, l->feed);
}

static vm_status one_step(train_loop *l, vm_error *e) {
    clip_step s = { 0 };
    const clip_batch *batch;
    double lr = clip_lr(&l->o.schedule, l->step) * l->guard.lr_factor, loss, norm;
    new_epoch(l);
    if (next_batch(l, &batch, e)) return e->status;
    if (train_guard_passes(&l->guard, l->step)) {
        vm_info("step %lld: its batch is passed over", (long long)l->step + 1);
        l->step++;
        return VM_OK;
    }
    train_guard_limits(&l->guard, &loss, &norm);
    clip_trainer_limit(l->t, loss, norm);
    if (clip_trainer_step(l->t, batch, lr, &s, e)) return e->status;
    guard_verdict v = train_guard_see(&l->guard, l->step, &s, l->o.out, e);
    l->step++;
    if (v != GUARD_GOOD) tell_skipped(l, &s);
    if (v == GUARD_REWIND) return e->status ? e->status : go_back(l, e);
    if (l->step % l->o.log_every == 0 || l->step == l->o.steps || l->step == 1) log_step(l, &s, lr);
    return VM_OK;
}

/* Never saved: what is not finite. *back: the loop stands at an earlier step now. */
static vm_status check_weights(train_loop *l, bool *back, vm_error *e) {
    const char *name = train_guard_check(l->m->w);
    *back = name != NULL;
    if (!name) return VM_OK;
    vm_warn("step %lld: %s holds numbers that are not finite", (long long)l->step, name);
    return train_guard_spoilt(&l->guard, l->step - 1, l->o.out, e) ? e->status : go_back(l, e);
}

/* What stands between a step and the next: validation, checkpoint. */
static vm_status after_step(train_loop *l, vm_error *e) {
    double began = run_seconds();
    bool last = l->step == l->o.steps, due = l->o.save_every && l->step % l->o.save_every == 0, back = false;
    bool val = last || (l->o.val_every && l->step % l->o.val_every == 0);
    if ((due || val) && (check_weights(l, &back, e) || back)) return e->status;
    if ((val && l->val && validate(l, e)) || (due && !last && save(l, false, e))) return e->status;
    l->t_log += run_seconds() - began; /* no part of the rate */
    return VM_OK;
}

/* Has a signal come, to any rank? */
static vm_status stopping(train_loop *l, bool *stop, vm_error *e) {
    *stop = run_stopping();
    return vm_comm_any(l->comm, stop, e);
}

static vm_status run_steps(train_loop *l, vm_error *e) {
    bool stop = false, back;
    if (l->val_due && validate(l, e)) return e->status;
    while (l->step < l->o.steps && !stopping(l, &stop, e) && !stop)
        if (one_step(l, e) || after_step(l, e)) return e->status;
    if (e->status || (stop && check_weights(l, &back, e)) || save(l, true, e)) return e->status;
    write_report(l);
    if (l->step < l->o.steps)
        vm_fail(e, VM_ESTOP, "stopped at step %lld of %lld; the same command goes on", (long long)l->step,
                (long long)l->o.steps);
    return e->status;
}

static double gb(size_t bytes) { return (double)bytes * 1e-9; }

/* What the run will take, against what there is. */
static vm_status say_memory(const train_loop *l, vm_error *e) {
    clip_rows r = {
        clip_share_orig(l->source), clip_share_twins(l->source), l->source->K, l->source->text_only, NULL, NULL
    };
    clip_memory m;
    if (clip_trainer_memory(l->t, &r, &m, e)) return e->status;
    m.batch *= (size_t)clip_feed_batches(l->o.workers, (double)m.batch);
    size_t all = m.weights + m.gradients + m.moments + m.average + m.activations + m.loss + m.features + m.batch,
           has = run_memory();
    vm_info("memory: weights %.2f GB, gradients %.2f, moments %.2f, average %.2f, activations %.2f, loss and features "
            "%.2f, "
            "batches %.2f: %.2f GB",
            gb(m.weights), gb(m.gradients), gb(m.moments), gb(m.average), gb(m.activations), gb(m.loss + m.features),
            gb(m.batch), gb(all));
    if (has && all > has)
        vm_warn(
            "that is more than the %.2f GB of this machine; --chunk N and --recompute need less for the same result",
            gb(has));
    return VM_OK;
}

static vm_status begin(train_loop *l, vm_error *e) {
    bool resumed = false, first = !l->comm->rank;
    if (first && !l->o.resume && checkpoint_any(l->o.out))
        return vm_fail(
            e, VM_EUSAGE,
            "%s: holds checkpoints and --resume never would mix two runs; give another --out, or remove them",
            l->o.out);
    if ((first && train_run_begin(l, e)) ||
        train_bad_open(&l->bad, l->o.out, l->comm->rank, l->source->n_groups, l->o.max_bad, e))
        return e->status;
    if (l->o.resume && train_state_read(l, false, &resumed, e)) return e->status;
    if (resumed) vm_info("going on at step %lld of %lld", (long long)l->step, (long long)l->o.steps);
    l->o.first_step = l->step;
    if ((first && check_room(l, resumed, e)) || start_at(l, e)) return e->status;
    l->t0 = run_seconds();
    return VM_OK;
}

vm_status train_clip_run(towers *m, clip_source *source, tok *t, const vm_preprocess *pp, train_val *val,
                         const train_clip_options *o, vm_error *e) {
    train_loop l = { .o = *o, .m = m, .source = source, .val = val, .guard = train_guard_new(o->skip_z) };
    l.best = NAN, l.best_step = l.saved_step = -1;
    l.comm = l.o.train.comm = o->comm ? o->comm : vm_comm_self();
    l.o.schedule.total = o->steps;
    source->m = m, source->t = t, source->pp = pp, source->seed = o->seed, source->total_steps = o->steps;
    if (!clip_trainer_new(&l.t, m, &l.o.train, e) && clip_trainer_way(l.t))
        vm_info("%d processes, sums of gradients by %s", l.comm->size, clip_trainer_way(l.t));
    if (!e->status && !say_memory(&l, e) && !o->dry_run && !begin(&l, e))
        run_steps(&l, e);
    clip_feed_free(l.feed);
    train_log_close(l.log);
    train_bad_close(l.bad);
    clip_trainer_free(l.t);
    return e->status;
}
