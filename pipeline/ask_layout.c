/* ask_layout.c - template questions on a layout: where things are and how many, on the whole picture; what a crop
 * shows. */
#include <stdio.h>
#include <string.h>

#include "pipeline/ask_question.h"

enum { HEADS = LAYOUT_OBJECTS + 1 };

static void heads_of(const layout *l, char head[LAYOUT_OBJECTS][WORDS_MAX], const char *heads[HEADS]) {
    for (int i = 0; i < l->n; i++) phrase_head(head[i], l->object[i].name), heads[i] = head[i];
    heads[l->n] = NULL;
}

/* Words of a relation and of its opposite, as answers and in questions. */
static const struct { const char *is, *other, *where, *not_where; } ways[REL_SWAPPABLE] = {
    [REL_LEFT] = { "to the left of", "to the right of", "on the left", "on the right" },
    [REL_RIGHT] = { "to the right of", "to the left of", "on the right", "on the left" },
    [REL_TOP] = { "on top of", "underneath", "at the top", "at the bottom" },
    [REL_BOTTOM] = { "underneath", "on top of", "at the bottom", "at the top" },
    [REL_BELOW] = { "below", "above", "at the bottom", "at the top" },
    [REL_ABOVE] = { "above", "below", "at the top", "at the bottom" },
    [REL_UNDER] = { "under", "above", "at the bottom", "at the top" },
};

static void relation_questions(questions *l, const layout *x, relation r, int subject, const char *const *heads,
                               vm_error *e) {
    const char *a = phrase_bare(x->object[subject].name), *b = phrase_bare(x->object[!subject].name);
    char some[ASK_TEXT], one[WORDS_MAX], bare[WORDS_MAX];
    bool several;
    snprintf(bare, sizeof bare, "%s", a);
    phrase_singular(one, bare);
    bool many = strcmp(one, bare) || noun_is_pair(bare); /* both are: L14 */
    const char *is = many ? "are" : "is", *Is = many ? "Are" : "Is";
    ask_whether(l, heads, ASK_RELATION, true, e, "%s the %s %s the %s?", Is, a, ways[r].is, b);
    ask_whether(l, heads, ASK_RELATION, false, e, "%s the %s %s the %s?", Is, b, ways[r].is, a);
    ask_which(l, heads, ASK_RELATION, ways[r].where, ways[r].not_where, e,
              "Where %s the %s, seen from the %s?", is, a, b);
    ask_which(l, heads, ASK_RELATION, a, b, e, "Which of the two %s %s?", is, ways[r].where);
    for (int i = 0; i < 2; i++) {
        ask_some(some, x->object[i].name, &several);
        ask_whether(l, heads, ASK_EXIST, true, e, "%s there %s in the picture?", several ? "Are" : "Is", some);
    }
}

static void number_choices(question *q, int n) {
    char text[16];
    snprintf(text, sizeof text, "%d", n), ask_choice(q, text);
    for (int d = 1; d <= 2; d++)
        for (int s = -1; s <= 1; s += 2) {
            if (n + s * d < 0) continue;
            snprintf(text, sizeof text, "%d", n + s * d), ask_choice(q, text);
        }
}

/* How many of the layout's objects have the name of object i, and is i the first of them? */
static int same_name(const layout *l, int i, char name[WORDS_MAX], bool *first) {
    char other[WORDS_MAX], bare[WORDS_MAX];
    int n = 0;
    snprintf(bare, sizeof bare, "%s", phrase_bare(l->object[i].name));
    phrase_singular(name, bare);
    *first = true;
    for (int j = 0; j < l->n; j++) {
        snprintf(bare, sizeof bare, "%s", phrase_bare(l->object[j].name));
        phrase_singular(other, bare);
        if (strcmp(name, other)) continue;
        n++;
        if (j < i) *first = false;
    }
    return n;
}

static void count_questions(questions *l, const layout *x, const char *const *heads, vm_error *e) {
    char name[WORDS_MAX], many[WORDS_MAX];
    bool first;
    for (int i = 0; i < x->n; i++) {
        question q;
        int n = same_name(x, i, name, &first);
        if (!first) continue;
        phrase_plural(many, name);
        ask_text(&q, ASK_COUNT, "How many %s are there in the picture?", many);
        number_choices(&q, n), ask_mix(&q);
        questions_add(l, &q, heads, e);
        ask_whether(l, heads, ASK_COUNT, true, e, "Are there exactly %d %s in the picture?", n, n == 1 ? name : many);
        ask_whether(l, heads, ASK_COUNT, false, e, "Are there exactly %d %s in the picture?", n + 1, many);
        if (n > 1) ask_whether(l, heads, ASK_COUNT, false, e, "Are there fewer than %d %s in the picture?", n, many);
        ask_whether(l, heads, ASK_EXIST, true, e, "Does the picture show %s?", many);
    }
}

vm_status ask_of_layout(questions *global, const layout *l, vm_error *e) {
    char (*head)[WORDS_MAX] = vm_alloc(LAYOUT_OBJECTS * sizeof *head);
    const char *heads[HEADS], *why;
    int subject;
    if (!head) return vm_nomem(e, LAYOUT_OBJECTS * sizeof *head, "questions");
    heads_of(l, head, heads);
    relation want = layout_relation(l),
             r = l->n == 2 && want != REL_NONE
                     ? relation_read(l->caption, l->object[0].name, l->object[1].name, &subject, &why)
                     : REL_NONE;
    if (r != REL_NONE && r < REL_SWAPPABLE) relation_questions(global, l, r, subject, heads, e);
    else if (layout_number(l) >= 0) count_questions(global, l, heads, e);
    vm_free(head);
    return e->status;
}

vm_status ask_of_object(questions *local, const layout *l, int i, vm_error *e) {
    char some[ASK_TEXT], other[ASK_TEXT], name[WORDS_MAX], many[WORDS_MAX], head[2][WORDS_MAX];
    const char *heads[3] = { head[0], head[1], NULL };
    bool several, first;
    question q;
    int others = -1;
    same_name(l, i, name, &first);
    phrase_plural(many, name);
    for (int j = 0; j < l->n && others < 0; j++) {
        char n[WORDS_MAX], bare[WORDS_MAX];
        snprintf(bare, sizeof bare, "%s", phrase_bare(l->object[j].name));
        phrase_singular(n, bare);
        if (strcmp(n, name)) others = j;
    }
    phrase_head(head[0], l->object[i].name), phrase_head(head[1], l->object[others < 0 ? i : others].name);
    ask_some(some, l->object[i].name, &several);
    ask_whether(local, heads, ASK_EXIST, true, e, "%s there %s in this picture?", several ? "Are" : "Is", some);
    ask_whether(local, heads, ASK_EXIST, true, e, "Can you see %s here?", some);
    if (others >= 0) {
        bool more;
        ask_some(other, l->object[others].name, &more);
        ask_which(local, heads, ASK_IDENTITY, some, other, e, "What does this picture show?");
        ask_whether(local, heads, ASK_ABSENT, false, e, "%s there %s in this picture?", more ? "Are" : "Is", other);
        ask_whether(local, heads, ASK_ABSENT, false, e, "Can you see %s here?", other);
    } else ask_which(local, heads, ASK_IDENTITY, some, "something else", e, "What does this picture show?");
    if (!several) {
        ask_text(&q, ASK_COUNT, "How many %s does this picture show?", many);
        number_choices(&q, 1), ask_mix(&q);
        questions_add(local, &q, heads, e);
        ask_whether(local, heads, ASK_COUNT, false, e, "Is there more than one %s in this picture?", name);
    }
    return e->status;
}
