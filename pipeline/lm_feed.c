/* lm_feed.c - see lm_feed.h. */
#include "pipeline/lm_feed.h"

#include <string.h>

#include "kernels/philox.h"

enum { STEP = 16, ROW = 1024 };

static int64_t length(const lm_feed *f, int64_t text) { return text < 0 ? 0 : f->d->text[text].n; }

/* Rows of a piece: as many texts, or as many rows as the tokens of that many texts of mean length fill. Wide enough for
 * the kernels to have work side by side, and the same for the whole run, so that sizes of pieces are few. */
static int64_t rows_of(const lm_feed *f) {
    int64_t each = f->texts / f->pieces, longest = ROW;
    if (!f->packs || !f->d || !f->d->n) return each;
    for (int64_t i = 0; i < f->d->n; i++) longest = VM_MAX(longest, f->d->text[i].n);
    return VM_MAX(each * f->d->n_ids / f->d->n / longest, (int64_t)1);
}

vm_status lm_feed_new(lm_feed *f, vm_error *e) {
    f->width = rows_of(f);
    const int64_t rows = f->width * f->pieces;
    f->chosen = vm_calloc((size_t)f->texts + 1, sizeof *f->chosen);
    f->row = vm_calloc((size_t)f->texts + 1, sizeof *f->row), f->at = vm_calloc((size_t)f->texts + 1, sizeof *f->at);
    f->filled = vm_calloc((size_t)rows, sizeof *f->filled);
    f->piece = vm_calloc((size_t)f->pieces, sizeof *f->piece);
    return f->chosen && f->row && f->at && f->filled && f->piece
               ? VM_OK
               : vm_nomem(e, (size_t)f->texts * 3 * sizeof *f->chosen, "a batch");
}

void lm_feed_free(lm_feed *f) {
    vm_free(f->id), vm_free(f->target), vm_free(f->first);
    vm_free(f->chosen), vm_free(f->piece), vm_free(f->row), vm_free(f->at), vm_free(f->filled);
    *f = (lm_feed){ 0 };
}

/* Longest first; equal ones in the order in which they were drawn (insertion sort: a step is short and half sorted). */
static void sort(lm_feed *f) {
    for (int64_t i = 1; i < f->texts; i++) {
        int64_t x = f->chosen[i], k = i;
        for (; k && length(f, f->chosen[k - 1]) < length(f, x); k--) f->chosen[k] = f->chosen[k - 1];
        f->chosen[k] = x;
    }
}

/* Few different sizes, as each is a plan of its own: multiples of 16 up to 16 * parts, then parts / 2 to every doubling. */
static int64_t rounded(int64_t n, int64_t parts) {
    int64_t step = STEP;
    while (n > parts * step) step *= 2;
    return (n + step - 1) / step * step;
}

static int64_t emptiest(const lm_feed *f) {
    int64_t best = 0;
    for (int64_t r = 1; r < f->width * f->pieces; r++)
        if (f->filled[r] < f->filled[best]) best = r;
    return best;
}

/* Places for the chosen texts, and the sizes of the pieces. Packed rows differ little from step to step, so their sizes may
 * be finer. */
static void arrange(lm_feed *f) {
    sort(f);
    f->tokens = 0;
    memset(f->filled, 0, (size_t)(f->width * f->pieces) * sizeof *f->filled);
    for (int64_t i = 0; i < f->texts; i++) {
        int64_t n = length(f, f->chosen[i]), r = f->packs ? emptiest(f) : i;
        f->row[i] = r, f->at[i] = f->filled[r];
        f->filled[r] += n, f->tokens += n;
    }
    for (int64_t k = 0; k < f->pieces; k++) {
        int64_t most = 1;
        for (int64_t r = 0; r < f->width; r++) most = VM_MAX(most, f->filled[k * f->width + r]);
        f->piece[k] = (llm_piece){ .B = f->width, .T = rounded(most, f->packs ? 32 : 8) };
    }
}

/* Room for the pieces, without texts: a place that holds none is packed as a text of its own. */
static vm_status clear(lm_feed *f, vm_error *e) {
    int64_t all = 0;
    for (int64_t k = 0; k < f->pieces; k++) all += f->piece[k].B * f->piece[k].T;
    if (all > f->room) {
        vm_free(f->id), vm_free(f->target), vm_free(f->first);
        f->id = vm_alloc((size_t)all * sizeof *f->id), f->target = vm_alloc((size_t)all * sizeof *f->target);
        f->first = vm_alloc((size_t)all * sizeof *f->first), f->room = 0;
        if (!f->id || !f->target || !f->first) return vm_nomem(e, (size_t)all * 3 * sizeof *f->id, "a batch");
        f->room = all;
    }
    for (int64_t k = 0, at = 0; k < f->pieces; at += f->piece[k].B * f->piece[k].T, k++) {
        llm_piece *p = &f->piece[k];
        p->ids = f->id + at, p->targets = f->target + at, p->first = f->packs ? f->first + at : NULL;
        for (int64_t i = 0; i < p->B * p->T; i++)
            f->id[at + i] = 0, f->target[at + i] = -100, f->first[at + i] = (int32_t)(i % p->T);
    }
    return VM_OK;
}

static vm_status deal(lm_feed *f, vm_error *e) {
    arrange(f);
    if (clear(f, e)) return e->status;
    for (int64_t i = 0; i < f->texts; i++) {
        const llm_piece *p = &f->piece[f->row[i] / f->width];
        const int64_t n = length(f, f->chosen[i]),
                      at = p->ids - f->id + f->row[i] % f->width * p->T + f->at[i];
        const lm_text *x = n ? &f->d->text[f->chosen[i]] : NULL;
        for (int64_t t = 0; t < n; t++) {
            f->id[at + t] = f->d->id[x->at + t], f->first[at + t] = (int32_t)f->at[i];
            if (t + 1 < n && f->d->learnt[x->at + t + 1]) f->target[at + t] = f->d->id[x->at + t + 1];
        }
    }
    return VM_OK;
}

static void choose(lm_feed *f, int64_t step) {
    for (int64_t i = 0; i < f->texts; i++) {
        uint64_t at = (uint64_t)step * (uint64_t)f->texts + (uint64_t)i, n = (uint64_t)f->d->n;
        f->chosen[i] = (int64_t)(f->in_order ? at % n : vm_shuffled(f->seed, at / n, at % n, n));
    }
}

vm_status lm_feed_batch(lm_feed *f, int64_t step, vm_error *e) {
    choose(f, step);
    return deal(f, e);
}

vm_status lm_feed_rows(lm_feed *f, int64_t first, vm_error *e) {
    for (int64_t i = 0; i < f->texts; i++) f->chosen[i] = first + i < f->d->n ? first + i : -1;
    return deal(f, e);
}

double lm_feed_fill(lm_feed *f, int64_t steps, int64_t *B, int64_t *T) {
    int64_t tokens = 0, places = 0;
    *B = f->width, *T = 1;
    steps = VM_MIN(steps, (f->d->n + f->texts - 1) / f->texts);
    for (int64_t step = 0; step < steps; step++) {
        choose(f, step);
        arrange(f);
        tokens += f->tokens;
        for (int64_t k = 0; k < f->pieces; k++)
            places += f->piece[k].B * f->piece[k].T, *T = VM_MAX(*T, f->piece[k].T);
    }
    return (double)tokens / (double)VM_MAX(places, (int64_t)1);
}
