/* report_item.c - one item to look at: pictures, captions with what differs marked, scores of every model. See
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
const eval_score *report_score(const eval_result *r, const eval_set *of, const eval_item *x, const float **s) {
    int64_t i = r->set == of ? x - of->item : eval_set_find(r->set, eval_split_name(of, x->split), x->id);
    if (i >= 0 && s) *s = eval_scores(r, &r->set->item[i]);
    return i >= 0 && r->score[i].scored ? &r->score[i] : NULL;
}

static void put_picture(page *p, const eval_set *set, const eval_item *x, int k, const char *alt) {
    eval_picture of = eval_image(set, x, k);
    page_picture(p, of.path, of.boxed ? of.box : NULL, alt);
}

static void put_figure(page *p, const eval_set *set, const eval_item *x, int k) {
    const char *caption = eval_caption(set, x, k);
    page_html(p, "<figure>");
    put_picture(p, set, x, k, caption);
    page_html(p, "<figcaption><i>%s</i>", k ? "picture 2, caption B" : "picture 1, caption A");
    put_caption(p, caption, eval_caption(set, x, !k));
    page_html(p, "</figcaption></figure>");
}

static void put_verdict(page *p, const eval_score *y, const char *metric, int t) {
    bool right = y && y->credit[t] > 0;
    page_html(p, "<td class=\"v\"><span class=\"%s\" title=\"%s %s\">%s</span></td>", right ? "y" : "n", metric,
              !y      ? "not scored"
              : right ? "right"
                      : "wrong",
              !y      ? "–"
              : right ? "✓"
                      : "✗");
}

static void put_model(page *p, const report_eval *r, int m) {
    page_html(p, "<tr><th><span class=\"dot d%d\"></span>", m % PLOT_SERIES);
    page_escaped(p, r->model[m]->model);
    page_html(p, "</th>");
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
        const eval_score *y = report_score(r->model[m], set, x, &s);
        put_model(p, r, m);
        for (int k = 0; k < 4; k++) {
            page_html(p, "<td%s>", k == 0 || k == 3 ? " class=\"own\"" : "");
            put_score(p, y ? s[k] : NAN);
        }
        for (int t = 0; t < rule->n; t++) put_verdict(p, y, rule->metric[t], t);
        page_html(p, "</tr>");
    }
    page_html(p, "</tbody></table></article>\n");
}

/* --- a choice ----------------------------------------------------------------------------------------------------- */
enum { OPTIONS = 12 }; /* shown: the right one, then the others by the first model's scores */

static void put_score_or_none(page *p, const float *s, int k, int best) {
    page_html(p, "<td%s>", k == best ? " class=\"own\"" : "");
    put_score(p, s ? s[k] : NAN);
}

/* The option with the highest score; -1 without scores. */
static int best_of(const float *s, int K) {
    int best = -1;
    for (int k = 0; s && k < K; k++)
        if (isfinite(s[k]) && (best < 0 || s[k] > s[best])) best = k;
    return best;
}

/* order[0] is the right option; the others follow from the highest score of s (NULL: as they stand). */
static void order_options(const eval_item *x, const float *s, int K, int *order) {
    int n = 0;
    order[n++] = x->gold;
    for (int k = 0; k < K; k++) {
        if (k == x->gold) continue;
        int at = n++;
        for (; s && at > 1 && s[order[at - 1]] < s[k]; at--) order[at] = order[at - 1];
        order[at] = k;
    }
}

/* Options are rows: a caption or the number of a picture, then each model's score, its highest one bold. */
static void put_options(page *p, const report_eval *r, const eval_item *x, const int *order, int K, int shown) {
    const eval_set *set = r->model[0]->set;
    bool captions = x->n_captions > 1;
    page_html(p, "<table class=\"options\"><thead><tr><th></th>");
    for (int m = 0; m < r->n; m++) {
        page_html(p, "<th title=\"");
        page_escaped(p, r->model[m]->model);
        page_html(p, "\"><span class=\"dot d%d\"></span></th>", m % PLOT_SERIES);
    }
    page_html(p, "</tr></thead><tbody>");
    for (int i = 0; i < shown; i++) {
        int k = order[i];
        page_html(p, "<tr><th>%s", i ? "" : "<span class=\"y\">✓</span> ");
        if (captions) put_caption(p, eval_caption(set, x, k), eval_caption(set, x, order[i ? 0 : 1]));
        else page_html(p, "picture %d", i + 1);
        page_html(p, "</th>");
        for (int m = 0; m < r->n; m++) {
            const float *s = NULL;
            if (!report_score(r->model[m], set, x, &s)) s = NULL;
            put_score_or_none(p, s, k, best_of(s, K));
        }
        page_html(p, "</tr>");
    }
    if (shown < K) page_html(p, "<tr><th>and %d more</th></tr>", K - shown);
    page_html(p, "<tr><th></th>");
    for (int m = 0; m < r->n; m++)
        put_verdict(p, report_score(r->model[m], set, x, NULL), r->model[m]->rule->metric[0], 0);
    page_html(p, "</tr></tbody></table>");
}

static void put_choice(page *p, const report_eval *r, const eval_item *x) {
    const eval_set *set = r->model[0]->set;
    int K = eval_n_scores(x), shown = VM_MIN(K, (int)OPTIONS), *order = vm_alloc((size_t)K * sizeof *order);
    const float *s = NULL;
    if (!order) return; /* the page lacks one item then */
    if (!report_score(r->model[0], set, x, &s)) s = NULL;
    order_options(x, s, K, order);
    page_html(p, "<article class=\"pair\"><div class=\"%s\">", x->n_images > 1 ? "two" : "one");
    for (int i = 0; i < (x->n_images > 1 ? shown : 1); i++) {
        int k = x->n_images > 1 ? order[i] : 0;
        page_html(p, "<figure>");
        put_picture(p, set, x, k, x->n_images > 1 ? eval_caption(set, x, 0) : eval_caption(set, x, x->gold));
        if (x->n_images > 1) page_html(p, "<figcaption><i>picture %d%s</i></figcaption>", i + 1, i ? "" : ", the right one");
        page_html(p, "</figure>");
    }
    page_html(p, "</div>");
    if (x->n_images > 1) {
        page_html(p, "<p class=\"said\">");
        page_escaped(p, eval_caption(set, x, 0));
        page_html(p, "</p>");
    }
    put_options(p, r, x, order, K, shown);
    page_html(p, "</article>\n");
    vm_free(order);
}

void report_item(page *p, const report_eval *r, const eval_item *x) {
    if (x->kind == EVAL_PAIR) put_pair(p, r, x);
    else put_choice(p, r, x);
}
