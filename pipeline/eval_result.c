/* eval_result.c - scores to outcomes, counts, shares and differences. See eval_result.h. */
#include "pipeline/eval_result.h"

#include <math.h>
#include <string.h>

/* --- rules -------------------------------------------------------------------------------------------------------- */
static const eval_rule rules[] = {
    { .name = "vismin", .kind = EVAL_PAIR, .n = 3, .metric = { "text", "image", "group" },
      .chance = { 1.0 / 4, 1.0 / 4, 1.0 / 6 } },
    { .name = "mmvp", .kind = EVAL_PAIR, .n = 1, .metric = { "pair" }, .chance = { 1.0 / 4 },
      .template = "a photo of {}" },
    { .name = "accuracy", .kind = EVAL_CHOICE, .n = 1, .metric = { "accuracy" }, .chance = { NAN } },
};

const eval_rule *eval_find_rule(eval_kind kind, const char *name, vm_error *e) {
    for (int k = 0; k < VM_LEN(rules); k++)
        if (rules[k].kind == kind && (!name || !strcmp(name, rules[k].name))) return &rules[k];
    vm_fail(e, VM_EUSAGE, "eval: --metric %s: expected %s", name,
            kind == EVAL_PAIR ? "vismin or mmvp for this data set of pairs" : "accuracy for this data set of choices");
    return NULL;
}

/* --- a result ----------------------------------------------------------------------------------------------------- */
eval_result *eval_result_new(const eval_set *set, const eval_rule *rule, const char *model, vm_error *e) {
    eval_result *r = vm_calloc(1, sizeof *r);
    if (r) {
        r->set = set, r->rule = rule, r->n_splits = (int)set->splits.n, r->model = vm_strdup(model);
        r->s = vm_calloc((size_t)set->n_ref + 1, sizeof *r->s);
        r->score = vm_calloc((size_t)set->n + 1, sizeof *r->score);
        r->tally = vm_calloc((size_t)r->n_splits + 1, sizeof *r->tally);
    }
    if (!r || !r->model || !r->s || !r->score || !r->tally) {
        eval_result_free(r);
        vm_nomem(e, (size_t)set->n * sizeof *r->score, "scores");
        return NULL;
    }
    return r;
}

void eval_result_free(eval_result *r) {
    if (!r) return;
    vm_free(r->model), vm_free(r->s), vm_free(r->score);
    vm_free(r->tally), vm_free(r->tag), vm_free(r->fault);
    keymap_free(&r->text);
    eval_extras_free(&r->extras);
    eval_set_free(r->own_set);
    vm_free(r);
}

float eval_probability(const eval_result *r, const eval_item *x, int k) {
    return r->calibrated ? 1 / (1 + expf(-(r->scale * r->s[x->at + k] + r->bias))) : NAN;
}

/* --- outcomes and counts ------------------------------------------------------------------------------------------ */
void eval_judge(const eval_result *r, const eval_item *x, eval_score *y) {
    const float *s = eval_scores(r, x);
    if (r->rule->given) return;
    if (x->kind == EVAL_PAIR) {
        pair_outcome o = pair_judge(s);
        y->invalid = o.invalid, y->tie = o.tie, y->match = o.match;
        if (r->rule->n == PAIR_METRICS)
            for (int m = 0; m < PAIR_METRICS; m++) y->credit[m] = o.right[m];
        else y->credit[0] = o.mmvp;
    } else {
        choice_outcome o = choice_judge(s, eval_n_scores(x), x->gold, r->ties);
        y->invalid = o.invalid, y->tie = o.tie, y->credit[0] = (float)o.credit, y->rank = o.rank, y->margin = o.margin;
    }
}

static bool blank(const char *s) { return !s[strspn(s, " \t\r\n")]; }

static double chance_of(const eval_rule *rule, int metric, const eval_item *x) {
    return isnan(rule->chance[metric]) ? 1.0 / eval_n_scores(x) : rule->chance[metric];
}

static void count(const eval_result *r, eval_tally *t, const eval_item *x, const eval_score *y) {
    bool empty = false;
    int K = eval_n_scores(x);
    for (int m = 0; m < r->rule->n; m++) t->chance[m] += chance_of(r->rule, m, x);
    t->n++;
    if (!y->scored) { /* --on-error wrong */
        t->n_skipped++;
        return;
    }
    for (int k = 0; k < x->n_captions; k++) empty |= blank(eval_caption(r->set, x, k));
    t->n_scored++, t->n_invalid += y->invalid, t->ties += y->tie, t->n_degenerate += eval_degenerate(r->set, x);
    t->n_truncated += y->truncated, t->n_empty += empty, t->match += y->match;
    for (int m = 0; m < r->rule->n; m++) t->correct[m] += (double)y->credit[m];
    if (x->kind != EVAL_CHOICE) return;
    t->n_long += K >= 5;
    if (y->invalid) return;
    t->n_margin++, t->margin += y->margin, t->reciprocal += 1 / y->rank;
    if (K >= 5) t->within_1 += y->rank <= 1, t->within_5 += y->rank <= 5;
}

/* The tallies of the tags: those of one split stand together, in the order in which they first occur. */
static vm_status find_tags(eval_result *r, int64_t *of_item, vm_error *e) {
    const eval_set *s = r->set;
    keymap seen = { 0 };
    r->n_tags = 0;
    for (int k = 0; k < r->n_splits && s->tags.n; k++)
        for (int64_t i = 0; i < s->n; i++) {
            int pair[2] = { k, s->item[i].tag };
            if (s->item[i].split != k || pair[1] < 0) continue;
            of_item[i] = keymap_put(&seen, pair, sizeof pair);
            if (of_item[i] < 0 || !vm_grow(&r->tag, &r->cap_tags, seen.n, sizeof *r->tag)) {
                keymap_free(&seen);
                return vm_nomem(e, sizeof *r->tag, "counts");
            }
            if (seen.n > r->n_tags) r->tag[r->n_tags++] = (eval_tally){ .split = k, .tag = pair[1] };
        }
    keymap_free(&seen);
    return VM_OK;
}

/* Records that never became items. */
static void count_fault(eval_result *r, const eval_fault *f) {
    bool wrong = r->set->on_error == EVAL_WRONG;
    eval_tally *to[3] = { &r->all, f->split >= 0 ? &r->tally[f->split] : NULL, NULL };
    for (int64_t t = 0; t < r->n_tags && f->tag >= 0; t++)
        if (r->tag[t].split == f->split && r->tag[t].tag == f->tag) to[2] = &r->tag[t];
    for (int k = 0; k < 3; k++) {
        if (!to[k]) continue;
        to[k]->n_skipped++, to[k]->n += wrong;
        for (int m = 0; m < r->rule->n && wrong; m++)
            to[k]->chance[m] += isnan(r->rule->chance[m]) ? 0 : r->rule->chance[m]; /* it had no options */
    }
}

vm_status eval_result_tally(eval_result *r, vm_error *e) {
    const eval_set *s = r->set;
    int64_t *tag = vm_alloc((size_t)s->n * sizeof *tag + 1);
    if (!tag || find_tags(r, tag, e)) {
        vm_free(tag);
        return vm_nomem(e, (size_t)s->n * sizeof *tag, "counts");
    }
    for (int k = 0; k < r->n_splits; k++) r->tally[k] = (eval_tally){ .split = k, .tag = -1 };
    r->all = (eval_tally){ .split = -1, .tag = -1 };
    for (int64_t i = 0; i < s->n; i++) {
        const eval_item *x = &s->item[i];
        eval_score *y = &r->score[i];
        eval_tally *to[3] = { &r->tally[x->split], &r->all, x->tag >= 0 ? &r->tag[tag[i]] : NULL };
        if (y->scored) eval_judge(r, x, y);
        for (int k = 0; k < 3 && to[k]; k++) {
            if (y->scored || s->on_error == EVAL_WRONG) count(r, to[k], x, y);
            else to[k]->n_skipped++;
        }
    }
    for (int64_t i = 0; i < s->n_faults; i++) count_fault(r, &s->fault[i]);
    vm_free(tag);
    return VM_OK;
}

/* --- shares ------------------------------------------------------------------------------------------------------- */
estimate eval_share(const eval_result *r, const eval_tally *t, int metric) {
    return share_estimate(t->correct[metric], t->n);
}

double eval_chance(const eval_tally *t, int metric) { return t->n ? t->chance[metric] / (double)t->n : NAN; }

double eval_mean_of_tags(const eval_result *r, int split, int metric) {
    double sum = 0;
    int64_t n = 0;
    for (int64_t k = 0; k < r->n_tags; k++)
        if ((split < 0 || r->tag[k].split == split) && r->tag[k].n)
            sum += r->tag[k].correct[metric] / (double)r->tag[k].n, n++;
    return n ? sum / (double)n : NAN;
}

static vm_status add_extras(eval_result *r, const char *scope, const eval_tally *t, vm_error *e) {
    eval_extras *x = &r->extras;
    const estimate reciprocal = { t->n ? t->reciprocal / (double)t->n : NAN, NAN, NAN },
                   margin = { t->n_margin ? t->margin / (double)t->n_margin : NAN, NAN, NAN };
    if (!t->n_scored) return VM_OK;
    if (r->rule->kind == EVAL_PAIR)
        return eval_extra_add(x, scope, "group_match", share_estimate((double)t->match, t->n), t->n, e);
    eval_extra_add(x, scope, "mean_reciprocal_rank", reciprocal, t->n, e);
    if (t->n_long) {
        eval_extra_add(x, scope, "recall_at_1", share_estimate((double)t->within_1, t->n_long), t->n_long, e);
        eval_extra_add(x, scope, "recall_at_5", share_estimate((double)t->within_5, t->n_long), t->n_long, e);
    }
    return eval_extra_add(x, scope, "mean_margin", margin, t->n_margin, e);
}

vm_status eval_result_extras(eval_result *r, const eval_dataset *d, vm_error *e) {
    eval_extras_free(&r->extras);
    for (int k = 0; k < r->n_splits && !e->status; k++) add_extras(r, eval_split_name(r->set, k), &r->tally[k], e);
    if (!e->status && r->n_splits != 1) add_extras(r, "overall", &r->all, e);
    if (!e->status && d && d->extra) d->extra(r, &r->extras, e);
    return e->status;
}

vm_status eval_difference(const eval_result *r, const eval_result *control, int metric, const char *leave_out,
                          uint64_t seed, estimate *each, estimate *mean, vm_error *e) {
    int K = r->n_splits;
    size_t items = (size_t)(r->set->n + r->set->n_faults) + 1;
    float *a = vm_alloc(items * sizeof *a), *b = vm_alloc(items * sizeof *b);
    const float **from_a = vm_alloc(((size_t)K + 1) * sizeof *from_a),
                **from_b = vm_alloc(((size_t)K + 1) * sizeof *from_b);
    int64_t *n = vm_calloc((size_t)K + 1, sizeof *n), at = 0;
    *mean = (estimate){ NAN, NAN, NAN };
    if (!a || !b || !from_a || !from_b || !n) {
        vm_nomem(e, items * sizeof *a, "a comparison");
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
            a[at] = r->score[i].credit[metric], b[at] = control ? control->score[j].credit[metric] : 0;
            at++, n[k]++;
        }
        for (; !control && n[k] < r->tally[k].n; n[k]++, at++) a[at] = b[at] = 0; /* --on-error wrong */
    }
    paired_bootstrap(K, n, from_a, from_b, BOOTSTRAP_RESAMPLES, seed, each, mean, e);
done:
    vm_free(a), vm_free(b), vm_free(from_a), vm_free(from_b), vm_free(n);
    return e->status;
}
