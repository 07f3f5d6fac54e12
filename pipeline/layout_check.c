/* layout_check.c - the rules L02 to L12 and L14 of one layout. L01 (is it whole) is the readers' affair, L13 (was it
 * there before) that of layout_seen.c. */
#include "pipeline/layout.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const layout_code_rule[L_CODES] = {
    [L_OK] = "accepted",
    [L01] = "the layout is whole",
    [L02] = "boxes lie on the canvas, sides of at least 24 px",
    [L03] = "boxes cover 1.5 to 60 % of the canvas",
    [L04] = "relation: two boxes of different things, the smaller at least half of the larger",
    [L05] = "relation: boxes overlap by at most 5 %",
    [L06] = "counting: 2 to 10 boxes, 4 px apart",
    [L07] = "counting: caption, category and boxes agree in number",
    [L08] = "relation: boxes stand as the caption says",
    [L09] = "relation: each object stands in the caption once, outside of the other",
    [L10] = "relation: one relation in the caption, that of the category",
    [L11] = "background of 1 to 12 words; neither it nor the negative prompt names an object",
    [L12] = "caption of 3 to 30 words, one sentence",
    [L13] = "no caption twice, at most 20 of a pair",
    [L14] = "the swapped caption is English: no its, no comparison, both objects of one number",
};

const layout_rules layout_rules_default = {
    .clamp = 8, .margin = 8, .min_side = 24, .min_area = 15, .max_area = 600, .area_ratio = 50, .max_iou = 5, .gap = 4,
    .min_count = 2, .max_count = 10, .background_words = 12, .min_words = 3, .max_words = 30, .per_pair = 20,
};

static const struct { const char *name; size_t at;
} fields[] = {
#define F(x) { #x, offsetof(layout_rules, x) }
    F(clamp),     F(margin),    F(min_side),         F(min_area),  F(max_area),  F(area_ratio), F(max_iou),   F(gap),
    F(min_count), F(max_count), F(background_words), F(min_words), F(max_words), F(per_pair),   F(per_label), F(depth),
#undef F
};
enum { RULE_MOST = 1000000 };
static int *value_of(layout_rules *r, int i) { return (int *)((char *)r + fields[i].at); }

vm_status layout_rule_set(layout_rules *r, const char *text, vm_error *e) {
    char names[400] = "";
    const char *is = strchr(text, '=');
    for (int i = 0; i < VM_LEN(fields); i++) {
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? ", " : "", fields[i].name);
        if (!is || strlen(fields[i].name) != (size_t)(is - text) || strncmp(text, fields[i].name, (size_t)(is - text)))
            continue;
        char *end;
        long v = strtol(is + 1, &end, 10);
        if (end == is + 1 || *end || v < 0 || v > RULE_MOST)
            return vm_fail(e, VM_EUSAGE, "rule %s: found \"%s\", expected a number from 0 to %d", fields[i].name,
                           is + 1, RULE_MOST);
        *value_of(r, i) = (int)v;
        return VM_OK;
    }
    return vm_fail(e, VM_EUSAGE, "rule \"%s\": expected NAME=NUMBER with a name of %s", text, names);
}

void layout_rules_put(json_writer *w, const char *key, const layout_rules *r) {
    layout_rules copy = *r;
    json_begin_object(w, key);
    for (int i = 0; i < VM_LEN(fields); i++) json_put_int(w, fields[i].name, *value_of(&copy, i));
    json_close_object(w);
}

vm_status layout_rules_read(layout_rules *r, json_value v, vm_error *e) {
    for (int i = 0; i < VM_LEN(fields); i++)
        *value_of(r, i) = (int)json_int(v, fields[i].name, *value_of(r, i), 0, RULE_MOST, e);
    return e->status;
}

/* fail(L05, "...", ...): the reason, and the code. */
#define fail(code, ...) (snprintf(why, LAYOUT_WHY, __VA_ARGS__), (code))

static layout_code boxes(layout *l, const layout_rules *r, char *why) {
    for (int i = 0; i < l->n; i++) {
        layout_object *o = &l->object[i], was = *o;
        if (!layout_clamp(o, r->clamp))
            return fail(L02, "%s: the box [%d, %d, %d, %d] leaves the canvas", o->name, was.x, was.y, was.w, was.h);
        if (o->w < r->min_side || o->h < r->min_side)
            return fail(L02, "%s: a box of %d x %d, expected sides of at least %d", o->name, o->w, o->h, r->min_side);
        int64_t area = (int64_t)o->w * o->h, canvas = (int64_t)LAYOUT_CANVAS * LAYOUT_CANVAS;
        if (1000 * area < r->min_area * canvas || 1000 * area > r->max_area * canvas)
            return fail(L03, "%s: the box covers %.1f %% of the canvas", o->name,
                        100.0 * (double)area / (double)canvas);
        if (VM_MIN(o->x, o->y) < r->margin || VM_MAX(o->x + o->w, o->y + o->h) > LAYOUT_CANVAS - r->margin)
            snprintf(why, LAYOUT_WHY, "%s: nearer than %d px to the edge", o->name, r->margin);
    }
    return L_OK;
}

static layout_code pair(const layout *l, const layout_rules *r, char *why) {
    if (l->n != 2) return fail(L04, "%d boxes, expected 2", l->n);
    const layout_object *a = &l->object[0], *b = &l->object[1];
    char head[2][WORDS_MAX];
    phrase_head(head[0], a->name), phrase_head(head[1], b->name);
    if (!strcmp(head[0], head[1])) return fail(L04, "both objects are %.100s", head[0]);
    int64_t area[2] = { (int64_t)a->w * a->h, (int64_t)b->w * b->h };
    if (100 * VM_MIN(area[0], area[1]) < r->area_ratio * VM_MAX(area[0], area[1]))
        return fail(L04, "one box is less than %d %% of the other", r->area_ratio);
    if (layout_iou_above(a, b, r->max_iou)) return fail(L05, "the boxes overlap by more than %d %%", r->max_iou);
    return L_OK;
}

static layout_code pair_caption(const layout *l, const layout_rules *r, char *why) {
    const layout_object *o = l->object;
    const char *bare[2] = { phrase_bare(o[0].name), phrase_bare(o[1].name) }, *wrong = "";
    for (int i = 0; i < 2; i++) {
        int n = phrase_count(l->caption, bare[i]);
        if (n != 1) return fail(L09, "\"%s\" stands in the caption %d times, expected once", bare[i], n);
        if (phrase_find(bare[i], bare[!i]).at) return fail(L09, "\"%s\" stands in \"%s\"", bare[!i], bare[i]);
    }
    int subject;
    relation said = relation_read(l->caption, bare[0], bare[1], &subject, &wrong), want = layout_relation(l);
    word at;
    if (relation_words(l->caption, &at, 1) == 0) return fail(L10, "no relation word in the caption");
    if (said == REL_NONE) return fail(strstr(wrong, "several") ? L10 : L08, "%s", wrong);
    if (want == REL_NONE) return fail(L10, "category %s names no relation", l->category);
    if (said != want && relations[said].inverse == want && relation_words(l->caption, &at, 1) == 2)
        subject = !subject, said = want;
    if (said != want)
        return fail(L10, "the caption says %s, the category %s", relations[said].label, relations[want].label);
    if (want >= REL_SWAPPABLE) return r->depth ? L_OK : fail(L10, "%s cannot be swapped", relations[want].label);
    if (!layout_relation_holds(want, &o[subject], &o[!subject], &wrong))
        return fail(L08, "%s: %s", relations[want].label, wrong);
    return L_OK;
}

/* Both phrases are of one thing, or both of several: else verbs disagree after the swap. */
static bool same_number(const char *a, const char *b) {
    bool several[2];
    const char *name[2] = { a, b };
    for (int i = 0; i < 2; i++) {
        char one[WORDS_MAX];
        phrase_singular(one, name[i]);
        several[i] = strcmp(one, name[i]) || noun_is_pair(name[i]);
    }
    return several[0] == several[1];
}

static layout_code twin(const layout *l, char *why) {
    static const char *const tied[] = { "its",    "it",      "their",      "them",  "they",   "his",     "her",
                                        "him",    "itself",  "themselves", "than",  "bigger", "smaller", "larger",
                                        "taller", "shorter", "longer",     "wider", "higher", "lower" };
    const char *p = l->caption;
    layout swapped;
    for (word w; word_next(&p, &w);)
        if (word_any(w, tied, VM_LEN(tied)) >= 0) return fail(L14, "\"%.*s\" does not survive a swap", w.len, w.at);
    if (!same_number(phrase_bare(l->object[0].name), phrase_bare(l->object[1].name)))
        return fail(L14, "one object is several, the other is not");
    return layout_swap(&swapped, l) ? L_OK : fail(L14, "the phrases cannot be exchanged");
}

static layout_code counted(const layout *l, const layout_rules *r, char *why) {
    if (l->n < r->min_count || l->n > r->max_count)
        return fail(L06, "%d boxes, expected %d to %d", l->n, r->min_count, r->max_count);
    for (int i = 0; i < l->n; i++)
        for (int j = 0; j < i; j++)
            if (layout_gap(&l->object[i], &l->object[j]) < r->gap)
                return fail(L06, "boxes %d and %d are nearer than %d px", j + 1, i + 1, r->gap);
    int numbers = 0, groups = 0, label = layout_number(l);
    bool labelled = false;
    const char *p = l->caption;
    for (word w; word_next(&p, &w);) numbers += word_number(w) >= 0;
    for (int i = 0; i < l->n; i++) {
        char name[WORDS_MAX], other[WORDS_MAX];
        int n = 0;
        bool first = true;
        phrase_singular(name, phrase_bare(l->object[i].name));
        for (int j = 0; j < l->n; j++) {
            phrase_singular(other, phrase_bare(l->object[j].name));
            if (strcmp(other, name)) continue;
            n++, first &= j >= i;
        }
        if (!first) continue;
        int said = layout_said(l->caption, name, NULL, NULL);
        if (said != n) return fail(L07, "%d boxes of \"%.60s\", the caption says %d", n, name, VM_MAX(said, 0));
        groups++, labelled |= label == n;
    }
    if (!labelled) return fail(L07, "category %s, no thing is there so often", l->category);
    return numbers > groups ? fail(L07, "%d numbers in the caption for %d kinds of things", numbers, groups) : L_OK;
}

static layout_code texts(const layout *l, const layout_rules *r, char *why) {
    int words = word_count(l->background), said = word_count(l->caption);
    if (words < 1 || words > r->background_words) return fail(L11, "a background of %d words", words);
    for (int i = 0; i < l->n; i++) {
        char head[WORDS_MAX];
        phrase_head(head, l->object[i].name);
        if (phrase_mentions(l->background, head)) return fail(L11, "the background names the %.100s", head);
        if (phrase_mentions(l->negative, head)) return fail(L11, "the negative prompt names the %.100s", head);
    }
    if (said < r->min_words || said > r->max_words) return fail(L12, "a caption of %d words", said);
    size_t end = strlen(l->caption);
    while (end && strchr(".!? ", l->caption[end - 1])) end--;
    for (size_t i = 0; i < end; i++)
        if (l->caption[i] == '\n' || (strchr(".!?", l->caption[i]) && l->caption[i + 1] == ' '))
            return fail(L12, "more than one sentence");
    return L_OK;
}

layout_code layout_check(layout *l, const layout_rules *r, char why[LAYOUT_WHY]) {
    bool related = !strncmp(l->category, "relation", 8), counting = !strncmp(l->category, "counting", 8);
    layout_code c = L_OK;
    why[0] = 0;
    if (!related && !counting) return fail(L10, "category %s, expected relation(...) or counting(...)", l->category);
    if (!l->n) return fail(related ? L04 : L06, "no boxes");
    if ((c = texts(l, r, why)) || (c = boxes(l, r, why))) return c;
    char margin[LAYOUT_WHY];
    snprintf(margin, sizeof margin, "%s", why);
    if (related) {
        if ((c = pair(l, r, why)) || (c = pair_caption(l, r, why)) || (c = twin(l, why))) return c;
    } else if ((c = counted(l, r, why))) return c;
    snprintf(why, LAYOUT_WHY, "%s", margin);
    return L_OK;
}
