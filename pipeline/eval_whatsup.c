/* eval_whatsup.c - What'sUp (arXiv 2310.19785): photographs (controlled) and renders (clevr) of two objects in four
 * arrangements, four captions that differ in the preposition.
 *
 * JSON list of { image_path, caption_options: [4] }, the first option is right. Files are called
 * OBJECT_PREPOSITION_OBJECT.jpeg; the four pictures of two objects are a set. --option options=2 keeps, of the wrong
 * captions, the one with the opposite preposition only. Beside accuracy:
 *   pair accuracy  of the pictures of two opposite prepositions, both right
 *   set accuracy   of the sets, all four right
 * A pair or set counts when all of its pictures were scored. */
#include <ctype.h>
#include <string.h>

#include "io/log.h"
#include "pipeline/eval_extra.h"
#include "pipeline/eval_rows.h"

enum { PREPOSITIONS = 6 };
static const struct {
    const char *token, *name, *words; /* in names of files, as tag, in captions */
    int opposite, place;              /* place in the set: 0 and 1, 2 and 3 are opposites */
} preposition[PREPOSITIONS] = {
    { "left_of", "left", "left", 1, 0 },
    { "right_of", "right", "right", 0, 1 },
    { "on", "on", "on", 3, 2 },
    { "under", "under", "under", 2, 3 },
    { "in-front_of", "front", "in front of", 5, 2 },
    { "behind", "behind", "behind", 4, 3 },
};
static const char *const options[] = { "options=4|2", NULL };
static const char *const ways[] = { "4", "2", NULL };
static const eval_file controlled[] = { { "default", "controlled_images_dataset.json", false } };
static const eval_file clevr[] = { { "default", "controlled_clevr_dataset.json", false } };

/* The last "_TOKEN_" of the name, so that an object called "left_of_shoe" does no harm; -1 = none. */
static int find_preposition(const char *name, const char **at) {
    int found = -1;
    *at = NULL;
    for (const char *p = name; (p = strchr(p, '_')); p++)
        for (int k = 0; k < PREPOSITIONS; k++) {
            size_t n = strlen(preposition[k].token);
            if (!strncmp(p + 1, preposition[k].token, n) && p[n + 1] == '_') *at = p, found = k;
        }
    return found;
}

/* Number of the option that has the words of preposition k; -1 = none. */
static int option_with(const char *const *option, int n, int k) {
    for (int i = 0; i < n; i++)
        if (eval_find_words(option[i], preposition[k].words)) return i;
    return -1;
}

static vm_status record(eval_row *r, vm_error *e) {
    json_value list = json_need(r->value, "caption_options", JSON_ARRAY, &r->bad);
    const char *path = row_need(r, "image_path"), *image = path_base(path), *at, *option[4];
    if (!r->bad.status && json_len(list) != 4)
        json_fail(list, &r->bad, "found %lld captions, expected 4", (long long)json_len(list));
    for (int k = 0; k < 4; k++) option[k] = json_as_str(json_at(list, k), &r->bad);
    int p = find_preposition(image, &at), n = 4;
    if (p < 0) row_fail(r, "image_path %s: expected OBJECT_PREPOSITION_OBJECT.jpeg", path);
    if (r->bad.status) return e->status;
    if (!eval_find_words(option[0], preposition[p].words))
        vm_warn("%s: the first caption, \"%s\", is not what the name %s says", row_where(r), option[0], image);
    if (*(bool *)r->of->user) {
        int foil = option_with(option, 4, preposition[p].opposite);
        if (foil < 1) row_fail(r, "none of the wrong captions has \"%s\"", preposition[preposition[p].opposite].words);
        else option[1] = option[foil], n = 2;
    }
    const char *tail = at + 1 + strlen(preposition[p].token), *dot = strrchr(tail, '.');
    char *id = vm_strndup(image, dot ? (size_t)(dot - image) : strlen(image)),
         *group =
             id ? vm_asprintf("%.*s%.*s", (int)(at - image), image, (int)(dot ? dot - tail : (int)strlen(tail)), tail)
                : NULL;
    if (!group) vm_nomem(e, 64, "an id");
    else
        row_add(r,
                &(row_item){ .id = id,
                             .tag = preposition[p].name,
                             .group = group,
                             .captions = option,
                             .n_captions = n,
                             .images = &image,
                             .n_images = 1,
                             .folders = "controlled_images:controlled_clevr:data/controlled_images:"
                                        "data/controlled_clevr:images" },
                e);
    vm_free(id), vm_free(group);
    return e->status;
}

static vm_status read_file(const eval_reading *of, vm_error *e) {
    const char *way = eval_variant(of->src, "options", "4", ways, e);
    bool two = way && *way == '2';
    eval_reading r = *of;
    r.user = &two;
    return way ? eval_read_rows(&r, ROWS_LIST, record, e) : e->status;
}

static vm_status load_controlled(eval_set *s, const eval_source *src, vm_error *e) {
    return eval_read_splits(&(eval_reading){ .set = s, .src = src }, controlled, 1, read_file, e);
}

static vm_status load_clevr(eval_set *s, const eval_source *src, vm_error *e) {
    return eval_read_splits(&(eval_reading){ .set = s, .src = src }, clevr, 1, read_file, e);
}

/* --- pairs and sets ----------------------------------------------------------------------------------------------- */
typedef struct {
    bool scored[4], right[4];
} picture_set;

static vm_status extra(const eval_result *r, eval_extras *out, vm_error *e) {
    const eval_set *s = r->set;
    keymap names = { 0 };
    picture_set *set = vm_calloc((size_t)s->n + 1, sizeof *set);
    int64_t pairs = 0, right_pairs = 0, sets = 0, right_sets = 0;
    if (!set) return vm_nomem(e, (size_t)s->n * sizeof *set, "sets of pictures");
    for (int64_t i = 0; i < s->n && !e->status; i++) {
        const eval_item *x = &s->item[i];
        int64_t k = keymap_put_text(&names, x->group);
        const char *tag = eval_tag_name(s, x->tag);
        int place = 0;
        for (int p = 0; p < PREPOSITIONS; p++)
            if (!strcmp(preposition[p].name, tag)) place = preposition[p].place;
        if (k < 0) vm_nomem(e, 64, "sets of pictures");
        else set[k].scored[place] = r->score[i].scored, set[k].right[place] = r->score[i].credit[0] >= 1;
    }
    for (int64_t k = 0; k < names.n && !e->status; k++) {
        const bool *in = set[k].scored, *right = set[k].right;
        for (int p = 0; p < 4; p += 2)
            pairs += in[p] && in[p + 1], right_pairs += in[p] && in[p + 1] && right[p] && right[p + 1];
        if (!(in[0] && in[1] && in[2] && in[3])) continue;
        sets++, right_sets += right[0] && right[1] && right[2] && right[3];
    }
    keymap_free(&names);
    vm_free(set);
    if (!e->status && pairs)
        eval_extra_add(out, "overall", "pair accuracy", share_estimate((double)right_pairs, pairs), pairs, e);
    if (!e->status && sets)
        eval_extra_add(out, "overall", "set accuracy", share_estimate((double)right_sets, sets), sets, e);
    return e->status;
}

const eval_dataset eval_whatsup_controlled = {
    .name = "whatsup_controlled",
    .summary = "where one object is to another, photographs: controlled_images_dataset.json, controlled_images/",
    .counts = "default:~412",
    .variants = options,
    .load = load_controlled,
    .extra = extra,
};
const eval_dataset eval_whatsup_clevr = {
    .name = "whatsup_clevr",
    .summary = "the same, renders: controlled_clevr_dataset.json, controlled_clevr/",
    .counts = "default:~408",
    .variants = options,
    .load = load_clevr,
    .extra = extra,
};
