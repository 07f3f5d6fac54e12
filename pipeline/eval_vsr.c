/* eval_vsr.c - VSR, Visual Spatial Reasoning (arXiv 2205.00363): one caption with a spatial relation, true or false of
 * a COCO picture. JSON Lines with image, caption, label, relation; splits random and zeroshot. --option task=
 *   negation  true captions only, each against the same with the relation turned round (the VisMin paper; the default)
 *   truth     all captions, each against its plain negation ("not ..."), which is right where the label is 0; no
 *             threshold is needed. Beside it: AUROC of the captions' scores, true against false
 * Results are broken down by VSR's seven categories of relations. --option negation=
 *   fixed     the relation is replaced as a whole word, once (the default)
 *   original  every occurrence of its letters, as the paper's code does: "on" becomes "not on" in "person" too */
#include <math.h>
#include <string.h>

#include "pipeline/eval_extra.h"
#include "pipeline/eval_rows.h"

static const eval_file files[] = {
    { "random_dev", "random/dev.jsonl", false },      { "random_train", "random/train.jsonl", true },
    { "random_test", "random/test.jsonl", true },     { "zeroshot_train", "zeroshot/train.jsonl", true },
    { "zeroshot_dev", "zeroshot/dev.jsonl", true },   { "zeroshot_test", "zeroshot/test.jsonl", true },
};
static const char *const options[] = { "task=negation|truth", "negation=fixed|original", NULL };
static const char *const tasks[] = { "negation", "truth", NULL };
static const char *const negations[] = { "fixed", "original", NULL };

/* Relations by category, what stands in the foil (NULL: "not " before it), and how the paper's code spells that. */
#define GROUP(name) { name, NULL, NULL }
#define TO(relation, foil) { relation, foil, NULL }
#define NOT(relation) { relation, NULL, NULL }
static const struct {
    const char *relation, *foil, *original;
} table[] = {
    GROUP("Adjacency"),
    TO("adjacent to", "nonadjacent to"), TO("alongside", "away from"), TO("at the side of", "away from"),
    TO("at the right side of", "at the left side of"), TO("at the left side of", "at the right side of"),
    TO("attached to", "disconnect from"), TO("at the back of", "at the front of"), NOT("ahead of"),
    TO("against", "away from"), TO("at the edge of", "far from the edge of"),
    GROUP("Directional"),
    TO("off", "on"), TO("past", "before"), TO("toward", "away from"), TO("down", "up"), NOT("deep down"), NOT("up"),
    NOT("away from"), NOT("along"), NOT("around"), NOT("from"), NOT("into"), NOT("to"),
    { "across", NULL, "not accross" }, NOT("across from"), NOT("through"), TO("down from", "up from"),
    GROUP("Orientation"),
    TO("facing", "facing away from"), TO("facing away from", "facing"), TO("parallel to", "perpendicular to"),
    TO("perpendicular to", "parallel to"),
    GROUP("Projective"),
    NOT("on top of"), NOT("beneath"), NOT("beside"), TO("behind", "in front of"), TO("left of", "right of"),
    TO("right of", "left of"), TO("under", "over"), TO("in front of", "behind"), TO("below", "above"),
    TO("above", "below"), TO("over", "under"), NOT("in the middle of"),
    GROUP("Proximity"),
    TO("by", "far away from"), TO("close to", "far from"), TO("near", "far from"), TO("far from", "close to"),
    TO("far away from", "by"),
    GROUP("Topological"),
    TO("connected to", "detached from"), TO("detached from", "connected to"),
    TO("has as a part", "does not have a part"), NOT("part of"), TO("contains", "does not contain"),
    TO("within", "outside of"), NOT("at"), NOT("on"), NOT("in"), NOT("with"), NOT("surrounding"), NOT("among"),
    { "consists of", "does not consist of", "does not consists of" }, NOT("out of"), NOT("between"),
    TO("inside", "outside"), TO("outside", "inside"), NOT("touching"),
    GROUP("Unallocated"),
    TO("beyond", "inside"), TO("next to", "far from"), NOT("opposite to"), NOT("after"), NOT("enclosed by"),
    TO("congruent", "incongruent"),
};
/* Verbs, which "not" cannot stand before. */
static const char *const verbs[][2] = {
    { "contains", "does not contain" }, { "consists of", "does not consist of" },
    { "has as a part", "does not have as a part" },
};

typedef struct {
    bool truth, original;
} task;

/* The place in the table, and its category; -1 = none. */
static int find_relation(const char *relation, const char **category) {
    *category = "Unallocated";
    for (int k = 0; k < VM_LEN(table); k++) {
        if (table[k].relation[0] < 'a') *category = table[k].relation;
        else if (!strcmp(table[k].relation, relation)) return k;
    }
    return -1;
}

/* What stands in the place of the relation; vm_free. */
static char *turn_round(const char *relation, int k, const task *t, vm_error *e) {
    const char *foil = k < 0 ? NULL : t->original && table[k].original ? table[k].original : table[k].foil;
    for (int v = 0; v < VM_LEN(verbs) && t->truth; v++)
        if (!strcmp(relation, verbs[v][0])) foil = verbs[v][1];
    if (t->truth && foil && strncmp(foil, "does not ", 9)) foil = NULL;
    char *out = foil ? vm_strdup(foil) : vm_asprintf("not %s", relation);
    if (!out) vm_nomem(e, 64, "a foil");
    return out;
}

/* The caption with every (all) or the first place of old replaced, vm_free. */
static char *replace(const char *caption, const char *at, const char *old, const char *new, bool all, vm_error *e) {
    char *out = vm_asprintf("%.*s%s%s", (int)(at - caption), caption, new, at + strlen(old));
    for (const char *p; out && all && (at = strstr(at + strlen(old), old));) {
        size_t tail = strlen(at); /* what is behind the place is still as it was */
        p = out + strlen(out) - tail;
        char *next = vm_asprintf("%.*s%s%s", (int)(p - out), out, new, p + strlen(old));
        vm_free(out);
        out = next;
    }
    if (!out) vm_nomem(e, strlen(caption), "a caption");
    return out;
}

static vm_status record(eval_row *r, vm_error *e) {
    const task *t = r->of->user;
    const char *caption = row_need(r, "caption"), *relation = row_need(r, "relation"), *image = row_need(r, "image"),
               *category;
    int64_t label = row_need_int(r, "label", 0, 1);
    if (r->bad.status || (!t->truth && !label)) return e->status;
    int k = find_relation(relation, &category);
    const char *at = t->original && !t->truth ? strstr(caption, relation) : eval_find_words(caption, relation);
    if (!at || !*relation) {
        row_fail(r, "the caption \"%s\" lacks its relation \"%s\"", caption, relation);
        return e->status;
    }
    char *foil = turn_round(relation, k, t, e), *other = NULL;
    if (foil) other = replace(caption, at, relation, foil, t->original && !t->truth, e);
    if (other)
        row_add(r, &(row_item){ .id = row_id(r, "id"), .tag = category, .gold = label ? 0 : 1,
                                .captions = (const char *[]){ caption, other }, .n_captions = 2, .images = &image,
                                .n_images = 1,
                                .folders = "train2017:val2017:images:images/train2017:images/val2017" }, e);
    vm_free(foil), vm_free(other);
    return e->status;
}

static vm_status read_file(const eval_reading *of, vm_error *e) { return eval_read_rows(of, ROWS_LIST, record, e); }

static vm_status load(eval_set *s, const eval_source *src, vm_error *e) {
    const char *kind = eval_variant(src, "task", "negation", tasks, e),
               *negation = eval_variant(src, "negation", "fixed", negations, e);
    if (!kind || !negation) return e->status;
    task t = { .truth = !strcmp(kind, "truth"), .original = !strcmp(negation, "original") };
    return eval_read_splits(&(eval_reading){ .set = s, .src = src, .user = &t }, files, VM_LEN(files), read_file, e);
}

/* AUROC of the captions of a split, of one tag (-1: all). */
static vm_status add_auroc(const eval_result *r, int split, int tag, eval_extras *out, vm_error *e) {
    const eval_set *s = r->set;
    float *side[2] = { vm_alloc(((size_t)s->n + 1) * sizeof(float)), vm_alloc(((size_t)s->n + 1) * sizeof(float)) };
    int64_t n[2] = { 0, 0 };
    estimate v;
    for (int64_t i = 0; i < s->n && side[0] && side[1]; i++) {
        const eval_item *x = &s->item[i];
        if (x->split == split && (tag < 0 || x->tag == tag) && r->score[i].scored)
            side[x->gold][n[x->gold]++] = eval_scores(r, x)[0];
    }
    if (!side[0] || !side[1]) vm_nomem(e, (size_t)s->n * sizeof(float), "scores");
    else if (n[0] && n[1] && !auroc(side[0], n[0], side[1], n[1], &v, e)) {
        char name[80];
        snprintf(name, sizeof name, "auroc%s%s", tag < 0 ? "" : " ", tag < 0 ? "" : eval_tag_name(s, tag));
        eval_extra_add(out, eval_split_name(s, split), name, v, n[0] + n[1], e);
    }
    vm_free(side[0]), vm_free(side[1]);
    return e->status;
}

static vm_status extra(const eval_result *r, eval_extras *out, vm_error *e) {
    for (int k = 0; k < r->n_splits && !e->status; k++) {
        add_auroc(r, k, -1, out, e); /* nothing without false captions, as in task=negation */
        for (int t = 0; t < (int)r->set->tags.n && !e->status; t++) add_auroc(r, k, t, out, e);
    }
    return e->status;
}

const eval_dataset eval_vsr = {
    .name = "vsr",
    .summary = "spatial relations, true or turned round: random/dev.jsonl (others by --split), pictures of COCO 2017",
    .counts = "random_dev:564 random_train:3876? random_test:1181? zeroshot_train:1799? zeroshot_dev:167? "
              "zeroshot_test:629?\n"
              "task=truth random_dev:1097 random_train:7680? random_test:2195? zeroshot_train:3489? zeroshot_dev:340? "
              "zeroshot_test:1222?",
    .variants = options,
    .load = load,
    .extra = extra,
};
