/* eval_extra.c - see eval_extra.h. */
#include "pipeline/eval_extra.h"

#include <math.h>
#include <string.h>

typedef struct {
    double sum;
    int64_t n, items;
} mean;

static void take(mean *m, const eval_tally *t) {
    if (t->n) m->sum += t->correct[0] / (double)t->n, m->n++, m->items += t->n;
}

static vm_status put(eval_extras *out, const char *scope, const char *name, const mean *m, vm_error *e) {
    if (!m->n) return e->status;
    return eval_extra_add(out, scope, name, (estimate){ m->sum / (double)m->n, NAN, NAN }, m->items, e);
}

vm_status extra_mean_of_splits(const eval_result *r, eval_extras *out, const char *name, const char *splits,
                               vm_error *e) {
    mean m = { 0 };
    for (const char *at = splits; *at;) {
        size_t n = strcspn(at, " ");
        int64_t k = keymap_find(&r->set->splits, at, n);
        if (k >= 0) take(&m, &r->tally[k]);
        at += n + (at[n] == ' ');
    }
    return put(out, "average", name, &m, e);
}

vm_status extra_mean_of_tags(const eval_result *r, eval_extras *out, const char *name, int64_t least, vm_error *e) {
    mean m = { 0 };
    for (int64_t k = 0; k < r->n_tags; k++)
        if (r->tag[k].n >= least) take(&m, &r->tag[k]);
    return put(out, "overall", name, &m, e);
}
