/* eval_result.c - scores to counts, shares and differences. */
#include <math.h>
#include <string.h>

#include "pipeline/eval_run.h"

eval_result *eval_result_new(const eval_set *set, const char *model, vm_error *e) {
    eval_result *r = vm_calloc(1, sizeof *r);
    if (r) {
        r->set = set, r->n_splits = (int)set->splits.n, r->model = vm_strdup(model);
        r->score = vm_calloc((size_t)set->n + 1, sizeof *r->score),
        r->tally = vm_calloc((size_t)r->n_splits + 1, sizeof *r->tally);
    }
    if (!r || !r->model || !r->score || !r->tally) {
        eval_result_free(r);
        vm_nomem(e, (size_t)set->n * sizeof *r->score, "scores");
        return NULL;
    }
    return r;
}

void eval_result_free(eval_result *r) {
    if (!r) return;
    vm_free(r->model), vm_free(r->score), vm_free(r->tally), vm_free(r->fault);
    keymap_free(&r->text);
    eval_set_free(r->own_set);
    vm_free(r);
}

void eval_result_tally(eval_result *r) {
    memset(r->tally, 0, (size_t)r->n_splits * sizeof *r->tally);
    for (int64_t i = 0; i < r->set->n; i++) {
        const eval_item *x = &r->set->item[i];
        eval_score *y = &r->score[i];
        eval_tally *t = &r->tally[x->split];
        if (!y->scored) {
            t->n_skipped++;
            continue;
        }
        y->o = pair_judge(y->s);
        t->n++, t->n_invalid += y->o.invalid, t->ties += y->o.tie;
        t->n_degenerate += x->caption[0] == x->caption[1] || x->image[0] == x->image[1];
        for (int m = 0; m < PAIR_METRICS; m++) t->correct[m] += y->o.right[m];
    }
    for (int64_t i = 0; i < r->set->n_faults; i++)
        if (r->set->fault[i].split >= 0) r->tally[r->set->fault[i].split].n_skipped++;
}

estimate eval_share(const eval_result *r, int split, pair_metric metric) {
    int64_t n = 0, correct = 0;
    for (int k = 0; k < r->n_splits; k++)
        if (split < 0 || k == split) n += r->tally[k].n, correct += r->tally[k].correct[metric];
    return share_estimate(correct, n);
}

vm_status eval_difference(const eval_result *r, const eval_result *control, pair_metric metric, const char *leave_out,
                          uint64_t seed, estimate *each, estimate *mean, vm_error *e) {
    int K = r->n_splits;
    size_t items = (size_t)r->set->n + 1;
    uint8_t *a = vm_alloc(items), *b = vm_alloc(items);
    const uint8_t **from_a = vm_alloc(((size_t)K + 1) * sizeof *from_a),
                  **from_b = vm_alloc(((size_t)K + 1) * sizeof *from_b);
    int64_t *n = vm_calloc((size_t)K + 1, sizeof *n), at = 0;
    *mean = (estimate){ NAN, NAN, NAN };
    if (!a || !b || !from_a || !from_b || !n) {
        vm_nomem(e, items, "a comparison");
        goto done;
    }
    for (int k = 0; k < K; k++) {
        from_a[k] = a + at, from_b[k] = b + at;
        if (leave_out && !strcmp(leave_out, eval_split_name(r->set, k))) continue;
        for (int64_t i = 0; i < r->set->n; i++) {
            const eval_item *x = &r->set->item[i];
            if (x->split != k || !r->score[i].scored) continue;
            int64_t j = control ? eval_set_find(control->set, eval_split_name(r->set, k), x->id) : i;
            if (control && (j < 0 || !control->score[j].scored)) continue;
            a[at] = r->score[i].o.right[metric], b[at] = control ? control->score[j].o.right[metric] : 0;
            at++, n[k]++;
        }
    }
    paired_bootstrap(K, n, from_a, from_b, BOOTSTRAP_RESAMPLES, seed, each, mean, e);
done:
    vm_free(a), vm_free(b), vm_free(from_a), vm_free(from_b), vm_free(n);
    return e->status;
}
