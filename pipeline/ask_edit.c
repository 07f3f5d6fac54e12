/* ask_edit.c - template questions on an edit. Global ones compare the captions before and after; local ones ask what is on the crop: the new phrase
 * is there, the old one is not. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "pipeline/ask_question.h"

/* What the questions are made of. */
typedef struct {
    char now[ASK_TEXT], was[ASK_TEXT];           /* "a green kite", "a red kite" */
    char the_now[ASK_TEXT], noun[WORDS_MAX];     /* "the green kite", "kite" */
    char new_words[ASK_TEXT], old_words[ASK_TEXT]; /* what differs when the heads are the same: "green", "red" */
    bool now_several, was_several;
    const char *heads[3];
    char head[2][WORDS_MAX];
} parts;

static void lower_first(char *s) {
    if (isupper((unsigned char)s[0]) && !isupper((unsigned char)s[1])) s[0] = (char)tolower((unsigned char)s[0]);
}

/* Takes the words that both begin and end with away; both are left empty when nothing sensible remains. */
static void difference(char *a_out, char *b_out, const char *a, const char *b) {
    word x[64], y[64];
    int n = 0, m = 0, from = 0, to = 0;
    for (const char *p = phrase_bare(a); n < 64 && word_next(&p, &x[n]);) n++;
    for (const char *p = phrase_bare(b); m < 64 && word_next(&p, &y[m]);) m++;
#define SAME(i, j) (x[i].len == y[j].len && !strncasecmp(x[i].at, y[j].at, (size_t)x[i].len))
    while (from < n && from < m && SAME(from, from)) from++;
    while (to < n - from && to < m - from && SAME(n - 1 - to, m - 1 - to)) to++;
#undef SAME
    a_out[0] = b_out[0] = 0;
    if (from >= n - to || from >= m - to) return;
    snprintf(a_out, ASK_TEXT, "%.*s", (int)(x[n - 1 - to].at + x[n - 1 - to].len - x[from].at), x[from].at);
    snprintf(b_out, ASK_TEXT, "%.*s", (int)(y[m - 1 - to].at + y[m - 1 - to].len - y[from].at), y[from].at);
}

static void parts_of(parts *p, const ask_edit *x) {
    const char *region = x->region && strlen(x->region) < ASK_TEXT / 2 && phrase_bare(x->region) != x->region ? x->region : x->edited_phrase;
    ask_some(p->now, region, &p->now_several);
    ask_some(p->was, x->input_phrase, &p->was_several);
    lower_first(p->now), lower_first(p->was);
    snprintf(p->the_now, sizeof p->the_now, "the %s", phrase_bare(x->edited_phrase));
    phrase_head(p->head[0], x->edited_phrase), phrase_head(p->head[1], x->input_phrase);
    p->heads[0] = p->head[0], p->heads[1] = p->head[1], p->heads[2] = NULL;
    difference(p->new_words, p->old_words, x->edited_phrase, x->input_phrase);
    snprintf(p->noun, sizeof p->noun, "%s", p->head[0]);
    char one[WORDS_MAX], bare[WORDS_MAX];
    snprintf(bare, sizeof bare, "%s", phrase_bare(x->edited_phrase));
    phrase_singular(one, bare);
    if (strcmp(one, bare)) phrase_plural(p->noun, p->head[0]);
}

static const char *is(bool several) { return several ? "are" : "is"; }
static const char *Is(bool several) { return several ? "Are" : "Is"; }

/* Adds what passes the rules. A template that an odd phrase makes no question of is left out. */
static void add(questions *l, const question *q, const parts *p, vm_error *e) { questions_add(l, q, p->heads, e); }

static void local_questions(questions *l, const ask_edit *x, const parts *p, vm_error *e) {
    question q = { 0 };
    bool attribute = !strncasecmp(x->category, "attribute", 9) && p->new_words[0] && strcmp(p->head[0], p->head[1]) == 0;
    ask_text(&q, ASK_EXIST, "%s there %s in this picture?", Is(p->now_several), p->now), ask_yes_no(&q, true), add(l, &q, p, e);
    ask_text(&q, ASK_ABSENT, "%s there %s in this picture?", Is(p->was_several), p->was), ask_yes_no(&q, false), add(l, &q, p, e);
    if (attribute) {
        ask_text(&q, ASK_ATTRIBUTE, "Which word fits the %s in this picture?", p->noun);
        ask_choice(&q, p->new_words), ask_choice(&q, p->old_words), ask_mix(&q), add(l, &q, p, e);
        ask_text(&q, ASK_ATTRIBUTE, "Would you call the %s in this picture %s?", p->noun, p->new_words), ask_yes_no(&q, true), add(l, &q, p, e);
        ask_text(&q, ASK_ATTRIBUTE, "Would you call the %s in this picture %s?", p->noun, p->old_words), ask_yes_no(&q, false), add(l, &q, p, e);
    } else {
        ask_text(&q, ASK_IDENTITY, "What does this picture show?");
        ask_choice(&q, p->now), ask_choice(&q, p->was), ask_mix(&q), add(l, &q, p, e);
        ask_text(&q, ASK_IDENTITY, "%s this %s rather than %s?", Is(p->now_several), p->now, p->was), ask_yes_no(&q, true), add(l, &q, p, e);
    }
    ask_text(&q, ASK_EXIST, "Can you see %s here?", p->now), ask_yes_no(&q, true), add(l, &q, p, e);
    ask_text(&q, ASK_ABSENT, "Can you see %s here?", p->was), ask_yes_no(&q, false), add(l, &q, p, e);
}

static void global_questions(questions *l, const ask_edit *x, const parts *p, vm_error *e) {
    question q = { 0 };
    ask_text(&q, ASK_IDENTITY, "Which description fits the picture?");
    ask_choice(&q, x->edited_caption), ask_choice(&q, x->caption), ask_mix(&q), add(l, &q, p, e);
    ask_text(&q, ASK_EXIST, "Does \"%s\" describe the picture?", x->edited_caption), ask_yes_no(&q, true), add(l, &q, p, e);
    ask_text(&q, ASK_ABSENT, "Does \"%s\" describe the picture?", x->caption), ask_yes_no(&q, false), add(l, &q, p, e);
    ask_text(&q, ASK_EXIST, "Does the picture contain %s?", p->now), ask_yes_no(&q, true), add(l, &q, p, e);
    ask_text(&q, ASK_ABSENT, "Does the picture contain %s?", p->was), ask_yes_no(&q, false), add(l, &q, p, e);
    ask_text(&q, ASK_IDENTITY, "Which of these %s in the picture?", is(p->now_several && p->was_several));
    ask_choice(&q, p->now), ask_choice(&q, p->was), ask_mix(&q), add(l, &q, p, e);
}

vm_status ask_of_edit(questions *global, questions *local, const ask_edit *x, vm_error *e) {
    parts *p = vm_calloc(1, sizeof *p);
    if (!p) return vm_nomem(e, sizeof *p, "questions");
    parts_of(p, x);
    local_questions(local, x, p, e);
    global_questions(global, x, p, e);
    vm_free(p);
    return e->status;
}
