/* train_loop.c - see train_loop.h. */
#include "pipeline/train_loop.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "io/file.h"
#include "io/log.h"
#include "pipeline/checkpoint.h"
#include "pipeline/run.h"
#include "pipeline/train_parts.h"

/* --- what is said ------------------------------------------------------------------------------------------------ */
static void log_step(train_loop *l, const train_step *s, double lr) {
    if (!l->log) return;
    double now = run_seconds(), steps = (double)VM_MAX(l->step - l->at_log, (int64_t)1);
    double rate = steps * (double)l->task->samples / VM_MAX(now - l->t_log, 1e-9);
    train_log_begin(l->log, l->step);
    train_log_num(l->log, "loss", s->loss);
    l->task->log(l->task, l->log);
    train_log_num(l->log, "lr", lr), train_log_num(l->log, "grad_norm", s->grad_norm);
    train_log_num(l->log, "samples_per_s", rate);
    train_log_num(l->log, "data_s", l->waited / steps); /* a step waited for its data */
    train_log_flag(l->log, "skipped", s->skipped);
    train_log_end(l->log);
    char terms[128] = "";
    double left = (now - l->t0) / (double)VM_MAX(l->step - l->first_step, (int64_t)1) * (double)(l->o.steps - l->step);
    l->task->text(l->task, terms, sizeof terms);
    vm_info("step %lld/%lld  loss %.4f%s  lr %.2e  %.0f samples/s  %d:%02d left", (long long)l->step,
            (long long)l->o.steps, s->loss, terms, lr, rate, (int)(left / 60), (int)left % 60);
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

/* --- checkpoints ------------------------------------------------------------------------------------------------- */
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

/* --- going back -------------------------------------------------------------------------------------------------- */
/* Data and logs for going on behind l->step. */
static vm_status start_at(train_loop *l, vm_error *e) {
    train_log_close(l->log);
    l->log = NULL;
    l->t_log = run_seconds(), l->at_log = l->step, l->waited = 0;
    if (l->task->start(l->task, l->step, e)) return e->status;
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

/* --- validation -------------------------------------------------------------------------------------------------- */
static vm_status validate(train_loop *l, vm_error *e) {
    double value;
    bool late = l->val_due; /* the checkpoint of this step exists already, and says that this was missing */
    l->val_due = true;
    if (l->task->validate(l->task, &value, e)) {
        if (e->status == VM_ESTOP) vm_error_clear(e); /* the loop sees the signal itself */
        return e->status;
    }
    l->val_due = false;
    bool best = l->o.keep_best && !isnan(value) && !(value >= l->best); /* l->best NaN: the first one */
    if (best) l->best = value, l->best_step = l->step;
    if (best || late) l->saved_step = -1;
    if (late && save(l, false, e))
        return e->status; /* before the line of the log, or killing it could give the line twice */
    train_log_begin(l->log, l->step);
    l->task->log_validation(l->task, l->log);
    train_log_end(l->log);
    return best ? save(l, false, e) : VM_OK;
}

/* --- steps ------------------------------------------------------------------------------------------------------- */
/* What a step that was not taken leaves behind: a line, and evidence. Every rank has the same numbers, and its own
 * samples. */
static void tell_skipped(train_loop *l, const train_step *s) {
    bool spike = isfinite(s->loss) && isfinite(s->grad_norm);
    if (!l->comm->rank)
        vm_warn("step %lld: loss %.4f, gradient %.3g: %s; skipped", (long long)l->step, s->loss, s->grad_norm,
                spike ? "a spike" : "not finite");
    if (!spike) train_guard_dump(l->o.out, l->comm->rank, l->step, s, l->task);
}

static vm_status one_step(train_loop *l, vm_error *e) {
    train_step s = { 0 };
    double lr = lr_at(&l->o.schedule, l->step) * l->guard.lr_factor, loss, norm, waited = 0;
    if (l->task->batch(l->task, l->step, &waited, e)) return e->status;
    l->waited += waited;
    if (train_guard_passes(&l->guard, l->step)) {
        vm_info("step %lld: its batch is passed over", (long long)l->step + 1);
        l->step++;
        return VM_OK;
    }
    train_guard_limits(&l->guard, &loss, &norm);
    if (l->task->step(l->task, lr, loss, norm, &s, e)) return e->status;
    guard_verdict v = train_guard_see(&l->guard, l->step, &s, l->o.out, e);
    l->step++;
    if (v != GUARD_GOOD) tell_skipped(l, &s);
    if (v == GUARD_REWIND) return e->status ? e->status : go_back(l, e);
    if (l->step % l->o.log_every == 0 || l->step == l->o.steps || l->step == 1) log_step(l, &s, lr);
    return VM_OK;
}

/* Never saved: what is not finite. *back: the loop stands at an earlier step now. */
static vm_status check_weights(train_loop *l, bool *back, vm_error *e) {
    const char *name = train_guard_check(l->task->w);
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
    if ((val && l->task->validate && validate(l, e)) || (due && !last && save(l, false, e))) return e->status;
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

static vm_status begin(train_loop *l, vm_error *e) {
    bool resumed = false, first = !l->comm->rank;
    if (first && !l->o.resume && checkpoint_any(l->o.out))
        return vm_fail(e, VM_EUSAGE,
                       "%s: holds checkpoints and --resume never would mix two runs; give another --out, or remove "
                       "them",
                       l->o.out);
    if (first && train_run_begin(l, e)) return e->status;
    if (l->o.resume && train_state_read(l, false, &resumed, e)) return e->status;
    if (resumed) vm_info("going on at step %lld of %lld", (long long)l->step, (long long)l->o.steps);
    l->first_step = l->step;
    if ((first && check_room(l, resumed, e)) || start_at(l, e)) return e->status;
    l->t0 = run_seconds();
    return VM_OK;
}

vm_status train_loop_run(train_task *t, const train_options *o, vm_error *e) {
    train_loop l = {
        .o = *o, .task = t, .guard = train_guard_new(o->skip_z), .comm = o->comm ? o->comm : vm_comm_self()
    };
    l.best = NAN, l.best_step = l.saved_step = -1;
    l.o.schedule.total = o->steps;
    if (!begin(&l, e)) run_steps(&l, e);
    train_log_close(l.log);
    return e->status;
}
