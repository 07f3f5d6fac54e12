/* report_gallery.c - pairs to look at: pictures side by side, captions with what differs marked, scores. See
 * report_eval.h. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "pipeline/report_eval.h"

enum { WORDS = 96 }; /* longer captions stand without marks */

/* --- which words differ ------------------------------------------------------------------------------------------- */
typedef struct {
    const char *text;
    size_t len;
} word;

static int split_words(const char *s, word *w) {
    int n = 0;
    while (*(s += strspn(s, " \t\r\n"))) {
        size_t len = strcspn(s, " \t\r\n");
        if (n == WORDS) return -1;
        w[n++] = (word){ s, len };
        s += len;
    }
    return n;
}

static bool same(word a, word b) { return a.len == b.len && !memcmp(a.text, b.text, a.len); }

/* changed[i]: word i of a is in no longest common subsequence with b (the one found). */
static void mark_changes(const word *a, int n, const word *b, int m, bool *changed) {
    uint8_t longest[WORDS + 1][WORDS + 1] = { { 0 } }; /* of a[i..] and b[j..] */
    for (int i = n - 1; i >= 0; i--)
        for (int j = m - 1; j >= 0; j--)
            longest[i][j] = same(a[i], b[j]) ? (uint8_t)(longest[i + 1][j + 1] + 1)
                                             : VM_MAX(longest[i + 1][j], longest[i][j + 1]);
    for (int i = 0, j = 0; i < n;) {
        if (j < m && same(a[i], b[j])) changed[i++] = false, j++;
        else if (j < m && longest[i][j + 1] >= longest[i + 1][j]) j++;
        else changed[i++] = true;
    }
}

static void put_caption(page *p, const char *text, const char *other) {
    word a[WORDS], b[WORDS];
    bool changed[WORDS], open = false;
    int n = split_words(text, a), m = split_words(other, b);
    if (n < 0 || m < 0) {
        page_escaped(p, text);
        return;
    }
    mark_changes(a, n, b, m, changed);
    for (int i = 0; i < n; i++) {
        if (open && !changed[i]) page_html(p, "</mark>");
        if (i) page_html(p, " ");
        if (!open && changed[i]) page_html(p, "<mark>");
        open = changed[i];
        page_escaped_bytes(p, a[i].text, a[i].len);
    }
    if (open) page_html(p, "</mark>");
}

/* --- a pair ------------------------------------------------------------------------------------------------------- */
/* s: its scores; NULL when they are not needed */
static const eval_score *score_of(const eval_result *r, const eval_set *of, const eval_item *x, const float **s) {
    int64_t i = r->set == of ? x - of->item : eval_set_find(r->set, eval_split_name(of, x->split), x->id);
    if (i >= 0 && s) *s = eval_scores(r, &r->set->item[i]);
    return i >= 0 && r->score[i].scored ? &r->score[i] : NULL;
}

static void put_figure(page *p, const eval_set *set, const eval_item *x, int k) {
    const char *caption = eval_caption(set, x, k);
    page_html(p, "<figure>");
    page_picture(p, eval_image(set, x, k).path, caption);
    page_html(p, "<figcaption><i>%s</i>", k ? "picture 2, caption B" : "picture 1, caption A");
    put_caption(p, caption, eval_caption(set, x, !k));
    page_html(p, "</figcaption></figure>");
}

/* .243: room is short */
static void put_score(page *p, float s) {
    char text[32];
    snprintf(text, sizeof text, "%.3f", s);
    char *zero = strstr(text, "0.");
    if (zero && (zero == text || zero[-1] == '-')) memmove(zero, zero + 1, strlen(zero));
    page_html(p, "%s</td>", isfinite(s) ? text : "–");
}

static void put_pair(page *p, const report_eval *r, const eval_item *x) {
    const eval_set *set = r->model[0]->set;
    const eval_rule *rule = r->model[0]->rule;
    page_html(p, "<article class=\"pair\"><div class=\"two\">");
    put_figure(p, set, x, 0), put_figure(p, set, x, 1);
    page_html(p, "</div><table><thead><tr><th></th><th>A 1</th><th>A 2</th><th>B 1</th><th>B 2</th>");
    for (int t = 0; t < rule->n; t++) page_html(p, "<th class=\"v\">%s</th>", rule->metric[t]);
    page_html(p, "</tr></thead><tbody>");
    for (int m = 0; m < r->n; m++) {
        const float *s;
        const eval_score *y = score_of(r->model[m], set, x, &s);
        page_html(p, "<tr><th><span class=\"dot d%d\"></span>", m % PLOT_SERIES);
        page_escaped(p, r->model[m]->model);
        page_html(p, "</th>");
        for (int k = 0; k < 4; k++) {
            page_html(p, "<td%s>", k == 0 || k == 3 ? " class=\"own\"" : "");
            put_score(p, y ? s[k] : NAN);
        }
        for (int t = 0; t < rule->n; t++) {
            bool right = y && y->credit[t] > 0;
            page_html(p, "<td class=\"v\"><span class=\"%s\" title=\"%s %s\">%s</span></td>", right ? "y" : "n",
                      rule->metric[t],
                      !y      ? "not scored"
                      : right ? "right"
                              : "wrong",
                      !y      ? "–"
                      : right ? "✓"
                              : "✗");
        }
        page_html(p, "</tr>");
    }
    page_html(p, "</tbody></table></article>\n");
}

/* --- which pairs -------------------------------------------------------------------------------------------------- */
static bool models_disagree(const report_eval *r, const eval_item *x) {
    const eval_set *set = r->model[0]->set;
    int last = r->model[0]->rule->n - 1; /* group */
    const eval_score *first = score_of(r->model[0], set, x, NULL);
    for (int m = 1; m < r->n; m++) {
        const eval_score *y = score_of(r->model[m], set, x, NULL);
        if (first && y && y->credit[last] != first->credit[last]) return true;
    }
    return false;
}

/* Up to r->pairs items of a split. */
static int choose(const report_eval *r, int split, const eval_item **chosen) {
    const eval_set *set = r->model[0]->set;
    int n = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < set->n && n < (pass ? r->pairs : (r->pairs + 1) / 2); i++) {
            const eval_item *x = &set->item[i];
            bool there = x->split != split || !r->model[0]->score[i].scored;
            for (int k = 0; k < n && !there; k++) there = chosen[k] == x;
            if (!there && (pass || models_disagree(r, x))) chosen[n++] = x;
        }
    return n;
}

vm_status report_gallery(page *p, const report_eval *r, vm_error *e) {
    const eval_result *first = r->model[0];
    const eval_item **chosen = vm_alloc((size_t)VM_MAX(r->pairs, 1) * sizeof *chosen);
    if (!chosen) return vm_nomem(e, 64, "a gallery");
    page_text(p,
              "Words that differ are marked. A 1 is the score of caption A on picture 1, and so on; the bold ones "
              "belong together.%s",
              r->n > 1 ? " Shown first are pairs on which the models do not agree (at most half of each category), "
                         "then the others in the order of the data."
                       : "");
    for (int k = 0; k < first->n_splits; k++) {
        int n = choose(r, k, chosen);
        if (!n) continue;
        page_html(p, "<details open><summary>");
        page_escaped(p, eval_split_name(first->set, k));
        page_html(p, "<small>%d of %" PRId64 " pairs</small></summary><div class=\"pairs\">\n", n, first->tally[k].n);
        for (int i = 0; i < n; i++) put_pair(p, r, chosen[i]);
        page_html(p, "</div></details>\n");
    }
    vm_free(chosen);
    return e->status;
}
