/* report_gallery.c - which items a page shows, by category. See report_eval.h; report_item.c shows one. */
#include <inttypes.h>
#include <math.h>

#include "pipeline/report_eval.h"

/* How sure the first model is of the right answer: of a pair the smallest of its four comparisons, of a choice the right
 * option against the best other one. Outcomes without scores: the share of metrics that are right. */
static double sureness(const eval_result *r, const eval_item *x) {
    const float *s;
    const eval_score *y = report_score(r, r->set, x, &s);
    if (r->rule->given || y->invalid) {
        double sum = 0;
        for (int m = 0; m < r->rule->n; m++) sum += (double)y->credit[m];
        return r->rule->given ? sum : -INFINITY;
    }
    if (x->kind == EVAL_CHOICE) return y->margin;
    double text = fmin((double)s[0] - (double)s[2], (double)s[3] - (double)s[1]),
           image = fmin((double)s[0] - (double)s[1], (double)s[3] - (double)s[2]);
    return fmin(text, image);
}

static bool models_disagree(const report_eval *r, const eval_item *x) {
    const eval_set *set = r->model[0]->set;
    int last = r->model[0]->rule->n - 1; /* group */
    const eval_score *first = report_score(r->model[0], set, x, NULL);
    for (int m = 1; m < r->n; m++) {
        const eval_score *y = report_score(r->model[m], set, x, NULL);
        if (first && y && y->credit[last] != first->credit[last]) return true;
    }
    return false;
}

/* Up to r->shown items of a split: those that differ between the models, at most half, then in the order of the data. */
static int choose_differing(const report_eval *r, int split, const eval_item **chosen) {
    const eval_set *set = r->model[0]->set;
    int n = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < set->n && n < (pass ? r->shown : (r->shown + 1) / 2); i++) {
            const eval_item *x = &set->item[i];
            bool there = x->split != split || !r->model[0]->score[i].scored;
            for (int k = 0; k < n && !there; k++) there = chosen[k] == x;
            if (!there && (pass || models_disagree(r, x))) chosen[n++] = x;
        }
    return n;
}

/* The r->shown least sure items of a split, the worst one first; equal ones in the order of the data. */
static int choose_worst(const report_eval *r, int split, const eval_item **chosen) {
    const eval_set *set = r->model[0]->set;
    int n = 0;
    for (int64_t i = 0; i < set->n; i++) {
        const eval_item *x = &set->item[i];
        if (x->split != split || !r->model[0]->score[i].scored) continue;
        double sure = sureness(r->model[0], x);
        int at = n;
        while (at > 0 && sureness(r->model[0], chosen[at - 1]) > sure) at--;
        if (at == r->shown) continue;
        n = VM_MIN(n + 1, r->shown);
        for (int k = n - 1; k > at; k--) chosen[k] = chosen[k - 1];
        chosen[at] = x;
    }
    return n;
}

vm_status report_gallery(page *p, const report_eval *r, vm_error *e) {
    const eval_result *first = r->model[0];
    bool pairs = first->set->kind == EVAL_PAIR, worst = r->order == GALLERY_WORST;
    const eval_item **chosen = vm_alloc((size_t)VM_MAX(r->shown, 1) * sizeof *chosen);
    if (!chosen) return vm_nomem(e, 64, "a gallery");
    page_text(p, "%s %s",
              pairs ? "Words that differ are marked. A 1 is the score of caption A on picture 1, and so on; the bold ones belong together."
                    : "The right option stands first, the others follow by score; words that differ are marked, and each "
                      "model's highest score is bold.",
              worst    ? "The smallest margin of the first model comes first: wrong answers by how far, then the closest right ones."
              : r->n > 1 ? "Shown first are items on which the models do not agree (at most half of each category), then "
                           "the others in the order of the data."
                         : "");
    for (int k = 0; k < first->n_splits; k++) {
        int n = worst ? choose_worst(r, k, chosen) : choose_differing(r, k, chosen);
        if (!n) continue;
        page_html(p, "<details open><summary>");
        page_escaped(p, eval_split_name(first->set, k));
        page_html(p, "<small>%d of %" PRId64 " %s</small></summary><div class=\"pairs\">\n", n, first->tally[k].n, pairs ? "pairs" : "items");
        for (int i = 0; i < n; i++) report_item(p, r, chosen[i]);
        page_html(p, "</div></details>\n");
    }
    vm_free(chosen);
    return e->status;
}
