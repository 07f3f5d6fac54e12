/* eval_valse.c - VALSE (arXiv 2112.07566): a caption and a foil in eleven instruments of seven phenomena.
 *
 * One JSON object per instrument, the keys are ids; fields image_file, caption, foil, mturk { caption: how many of
 * three annotators found that only the caption fits }. --option filter=
 *   official  at least 2 votes, VALSE's own definition of valid (the default)
 *   strict    3 votes, what the VisMin paper's code keeps
 *   none      all; some of them have a foil that is the caption
 * Records that the filter takes off are no part of the benchmark. Numbers: metrics.h, valse_judge. */
#include <string.h>

#include "pipeline/eval_extra.h"
#include "pipeline/eval_rows.h"

static const eval_file files[] = {
    { "existence", "existence.json", false },
    { "plurals", "plurals.json", false },
    { "counting_hard", "counting-hard.json", false },
    { "counting_small", "counting-small-quant.json", false },
    { "counting_adversarial", "counting-adversarial.json", false },
    { "relations", "relations.json", false },
    { "action replace", "action-replacement.json", false },
    { "actant swap", "actant-swap.json", false },
    { "coref", "coreference-standard.json", false },
    { "coref_hard", "coreference-hard.json", false },
    { "foil_it", "foil-it.json", false },
};
static const struct {
    const char *name, *splits[4];
} groups[] = {
    { "Existence", { "existence" } },
    { "Plurality", { "plurals" } },
    { "Counting", { "counting_hard", "counting_small", "counting_adversarial" } },
    { "Relations", { "relations" } },
    { "Actions", { "action replace", "actant swap" } },
    { "Coreference", { "coref", "coref_hard" } },
    { "Foil-it", { "foil_it" } },
};
static const char *const options[] = { "filter=official|strict|none", NULL };
static const char *const filters[] = { "official", "strict", "none", NULL };

static vm_status record(eval_row *r, vm_error *e) {
    int least = *(int *)r->of->user;
    json_value mturk = json_get(r->value, "mturk");
    const char *captions[] = { row_need(r, "caption"), row_need(r, "foil") }, *image = row_need(r, "image_file");
    if (least && json_as_int(json_get(mturk, "caption"), 0, 3, &r->bad) < least && !r->bad.status) return VM_OK;
    return row_add(r, &(row_item){ .id = r->key, .captions = captions, .n_captions = 2, .images = &image, .n_images = 1,
                                   .folders = "images" }, e);
}

static vm_status read_file(const eval_reading *of, vm_error *e) {
    const char *filter = eval_variant(of->src, "filter", "official", filters, e);
    int least = !filter ? 0 : !strcmp(filter, "official") ? 2 : !strcmp(filter, "strict") ? 3 : 0;
    eval_reading r = *of;
    r.user = &least;
    return filter ? eval_read_rows(&r, ROWS_MEMBERS, record, e) : e->status;
}

static vm_status load(eval_set *s, const eval_source *src, vm_error *e) {
    return eval_read_splits(&(eval_reading){ .set = s, .src = src }, files, VM_LEN(files), read_file, e);
}

/* The numbers of the items of some splits (NULL: all); the caption is score 0, the foil score 1. */
static vm_status judge(const eval_result *r, const char *const *splits, int n_splits, valse_scores *v, int64_t *n,
                       vm_error *e) {
    const eval_set *s = r->set;
    size_t bytes = ((size_t)s->n + 1) * sizeof(float);
    float *x[4];
    for (int k = 0; k < 4; k++) x[k] = vm_alloc(bytes);
    *n = 0;
    for (int64_t i = 0; i < s->n && x[0] && x[1] && x[2] && x[3]; i++) {
        const eval_item *item = &s->item[i];
        bool in = !splits;
        for (int k = 0; k < n_splits && splits && splits[k]; k++)
            in |= !strcmp(splits[k], eval_split_name(s, item->split));
        if (!in || !r->score[i].scored) continue;
        for (int k = 0; k < 2; k++) x[k][*n] = eval_scores(r, item)[k], x[2 + k][*n] = eval_probability(r, item, k);
        ++*n;
    }
    if (!x[0] || !x[1] || !x[2] || !x[3]) vm_nomem(e, bytes, "scores");
    else valse_judge(*n, x[0], x[1], r->calibrated ? x[2] : NULL, r->calibrated ? x[3] : NULL, v, e);
    for (int k = 0; k < 4; k++) vm_free(x[k]);
    return e->status;
}

static void put(eval_extras *out, const char *scope, const valse_scores *v, int64_t n, vm_error *e) {
    eval_extra_add(out, scope, "acc_r", v->acc_r, n, e), eval_extra_add(out, scope, "auroc", v->auroc, n, e);
    eval_extra_add(out, scope, "p_c", v->p_c, n, e), eval_extra_add(out, scope, "p_f", v->p_f, n, e);
    eval_extra_add(out, scope, "acc", v->acc, n, e), eval_extra_add(out, scope, "min(p_c,p_f)", v->min, n, e);
}

static vm_status extra(const eval_result *r, eval_extras *out, vm_error *e) {
    valse_scores v;
    int64_t n;
    for (int k = 0; k < r->n_splits && !e->status; k++) {
        const char *split = eval_split_name(r->set, k);
        if (!judge(r, &split, 1, &v, &n, e) && n) put(out, split, &v, n, e);
    }
    for (int k = 0; k < VM_LEN(groups) && !e->status; k++) { /* all items of the group */
        char name[64];
        snprintf(name, sizeof name, "group %s", groups[k].name);
        if (!judge(r, groups[k].splits, VM_LEN(groups[k].splits), &v, &n, e) && n)
            eval_extra_add(out, name, "acc_r", v.acc_r, n, e), eval_extra_add(out, name, "auroc", v.auroc, n, e);
    }
    if (!e->status && !judge(r, NULL, 0, &v, &n, e) && n) put(out, "overall", &v, n, e);
    return e->status;
}

const eval_dataset eval_valse_v2 = {
    .name = "valse_v2",
    .summary = "captions and foils of seven phenomena: existence.json ... foil-it.json, pictures of five data sets",
    .counts = "existence:505 plurals:851 counting_hard:868 counting_small:900 counting_adversarial:691 relations:535 "
              "action replace:648 actant swap:949 coref:708 coref_hard:104 foil_it:943\n"
              "filter=strict existence:410 plurals:617 counting_hard:598 counting_small:637 counting_adversarial:522 "
              "relations:321 action replace:428 actant swap:756 coref:499 coref_hard:69 foil_it:811\n"
              "filter=none existence:534 plurals:1000 counting_hard:1000 counting_small:1000 counting_adversarial:756 "
              "relations:614 action replace:779 actant swap:1042 coref:916 coref_hard:141 foil_it:1000",
    .variants = options,
    .load = load,
    .extra = extra,
};
