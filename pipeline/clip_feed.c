/* clip_feed.c - see clip_feed.h. Everything but the filling itself happens under one lock; the tokenizer, which serves
 * one thread at a time, has a lock of its own. */
#include "pipeline/clip_feed.h"

#include <pthread.h>
#include <signal.h>

#include "io/log.h"
#include "pipeline/run.h"

enum { MOST_WORKERS = 64, MOST_BATCHES = 4 };

typedef struct {
    int64_t step, taken, filled; /* slots that threads have taken, and filled */
    bool ready;
    clip_batch batch;
    clip_slot *slot;
    vm_error err; /* of the lowest slot that failed */
    int64_t err_slot;
} place;

struct clip_feed {
    const clip_source *s;
    int64_t next, end; /* the step that is asked for next */
    int n_places, n_workers;
    place place[MOST_BATCHES]; /* step k stands at k % n_places */
    pthread_t worker[MOST_WORKERS];
    pthread_mutex_t lock, tokens;
    pthread_cond_t work, done;
    bool stop, held; /* held: the batch of step next - 1 is in use */
};

static place *place_of(clip_feed *f, int64_t step) { return &f->place[step % f->n_places]; }

/* The earliest batch with a slot that nobody has taken; NULL = none for now. */
static place *find_work(clip_feed *f) {
    for (int64_t step = f->next; step < f->end && step < f->next - f->held + f->n_places; step++) {
        place *p = place_of(f, step);
        if (p->step == step && p->taken < clip_share_orig(f->s)) return p;
    }
    return NULL;
}

static void begin(clip_feed *f, place *p, int64_t step) {
    p->step = step, p->taken = p->filled = 0, p->ready = false, p->err_slot = INT64_MAX;
    vm_error_clear(&p->err);
}

static void fill_one(clip_feed *f, place *p) {
    int64_t i = p->taken++;
    vm_error e = { 0 };
    pthread_mutex_unlock(&f->lock);
    clip_batch_slot(&p->slot[i], &p->batch, f->s, i);
    f->s->fill(f->s, p->step, clip_share_slot(f->s, i), &p->slot[i], &e);
    pthread_mutex_lock(&f->lock);
    if (e.status && i < p->err_slot) p->err = e, p->err_slot = i;
    if (++p->filled < clip_share_orig(f->s)) return;
    if (!p->err.status) {
        pthread_mutex_unlock(&f->lock);
        pthread_mutex_lock(&f->tokens);
        clip_batch_finish(&p->batch, f->s, p->slot, &e);
        pthread_mutex_unlock(&f->tokens);
        pthread_mutex_lock(&f->lock);
        if (e.status) p->err = e;
    }
    p->ready = true;
    pthread_cond_broadcast(&f->done);
}

static void *work(void *ctx) {
    clip_feed *f = ctx;
    pthread_mutex_lock(&f->lock);
    while (!f->stop) {
        place *p = find_work(f);
        if (p) fill_one(f, p);
        else pthread_cond_wait(&f->work, &f->lock);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

/* Threads that no signal interrupts: those are for the main one. */
static void start_workers(clip_feed *f, int n) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (f->n_workers < VM_MIN(n, (int)MOST_WORKERS) && !pthread_create(&f->worker[f->n_workers], NULL, work, f))
        f->n_workers++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (f->n_workers < n) vm_warn("%d of %d data threads could be started", f->n_workers, n);
}

int clip_feed_batches(int workers, double bytes) { return workers < 1 ? 1 : bytes > 512e6 ? 2 : bytes > 64e6 ? 3 : MOST_BATCHES; }

vm_status clip_feed_open(clip_feed **out, const clip_source *s, int64_t first, int64_t end, int workers, vm_error *e) {
    clip_feed *f = vm_calloc(1, sizeof *f);
    *out = f;
    if (!f) return vm_nomem(e, sizeof *f, "the data threads");
    pthread_mutex_init(&f->lock, NULL), pthread_mutex_init(&f->tokens, NULL);
    pthread_cond_init(&f->work, NULL), pthread_cond_init(&f->done, NULL);
    f->s = s, f->next = first, f->end = end;
    /* one in use and two ahead; large ones would fill the memory */
    double bytes = (double)(clip_share_orig(s) + clip_share_twins(s)) * (double)(s->m->image_size * s->m->image_size * 3) * sizeof(float);
    f->n_places = clip_feed_batches(workers, bytes);
    for (int k = 0; k < f->n_places && !e->status; k++) {
        place *p = &f->place[k];
        if (clip_batch_new(&p->batch, s, e)) break;
        if (!(p->slot = vm_calloc((size_t)clip_share_orig(s), sizeof *p->slot)))
            vm_nomem(e, (size_t)clip_share_orig(s) * sizeof *p->slot, "a batch");
    }
    if (e->status) {
        clip_feed_free(f);
        *out = NULL;
        return e->status;
    }
    for (int64_t step = first; step < first + f->n_places; step++) begin(f, place_of(f, step), step);
    if (workers > 0) start_workers(f, workers);
    return VM_OK;
}

static void empty_slot(clip_slot *x) {
    for (int k = 0; k <= CLIP_CHANGES; k++) vm_free(x->text[k]), x->text[k] = NULL;
    clip_bad_free(&x->bad);
}

void clip_feed_free(clip_feed *f) {
    if (!f) return;
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_cond_broadcast(&f->work);
    pthread_mutex_unlock(&f->lock);
    for (int k = 0; k < f->n_workers; k++) pthread_join(f->worker[k], NULL);
    for (int k = 0; k < f->n_places; k++) {
        for (int64_t i = 0; f->place[k].slot && i < clip_share_orig(f->s); i++) empty_slot(&f->place[k].slot[i]);
        vm_free(f->place[k].slot);
        clip_batch_free(&f->place[k].batch);
    }
    pthread_mutex_destroy(&f->lock), pthread_mutex_destroy(&f->tokens);
    pthread_cond_destroy(&f->work), pthread_cond_destroy(&f->done);
    vm_free(f);
}

/* Samples that were passed over, in the order of the slots; slots become empty. */
static vm_status collect(clip_feed *f, place *p, clip_bad_list *bad, vm_error *e) {
    for (int64_t i = 0; i < clip_share_orig(f->s); i++) {
        clip_bad_list *l = &p->slot[i].bad;
        for (int64_t k = 0; k < l->n && !e->status; k++) {
            if (!vm_grow(&bad->v, &bad->cap, bad->n + 1, sizeof *bad->v))
                vm_nomem(e, sizeof *bad->v, "the list of bad samples");
            else bad->v[bad->n++] = l->v[k], l->v[k].what = NULL;
        }
        empty_slot(&p->slot[i]);
    }
    return e->status;
}

vm_status clip_feed_next(clip_feed *f, const clip_batch **b, clip_bad_list *bad, double *waited, vm_error *e) {
    double t0 = run_seconds();
    pthread_mutex_lock(&f->lock);
    if (f->held) begin(f, place_of(f, f->next - 1), f->next - 1 + f->n_places); /* the one before is free again */
    f->held = false;
    pthread_cond_broadcast(&f->work);
    place *p = place_of(f, f->next);
    while (!p->ready) {
        if (!f->n_workers) fill_one(f, p);
        else pthread_cond_wait(&f->done, &f->lock);
    }
    f->next++, f->held = true;
    pthread_mutex_unlock(&f->lock);
    *waited = run_seconds() - t0;
    *b = &p->batch;
    vm_error error = p->err;
    if (collect(f, p, bad, e)) return e->status;
    if (error.status) *e = error;
    return e->status;
}

int64_t clip_feed_sample(const clip_feed *f, int64_t i) { return f->place[(f->next - 1) % f->n_places].slot[i].sample; }

int clip_feed_workers(int processors) { return VM_MAX(1, VM_MIN(processors / 2, 16)); }
