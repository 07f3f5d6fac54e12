/* ask_edit.c - template questions on an edit. Global ones compare the captions before and after; local ones ask what is
 * on the crop: the new phrase is there, the old one is not. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "pipeline/ask_question.h"

/* What the questions are made of. */
typedef struct {
    char now[ASK_TEXT], was[ASK_TEXT];             /* "a green kite", "a red kite" */
    char noun[WORDS_MAX];                          /* "kite" */
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
    const char *region = x->region && strlen(x->region) < ASK_TEXT / 2 && phrase_bare(x->region) != x->region
                             ? x->region
                             : x->edited_phrase;
    ask_some(p->now, region, &p->now_several);
    ask_some(p->was, x->input_phrase, &p->was_several);
    lower_first(p->now), lower_first(p->was);
    phrase_head(p->head[0], x->edited_phrase), phrase_head(p->head[1], x->input_phrase);
    p->heads[0] = p->head[0], p->heads[1] = p->head[1], p->heads[2] = NULL;
    difference(p->new_words, p->old_words, x->edited_phrase, x->input_phrase);
    snprintf(p->noun, sizeof p->noun, "%s", p->head[0]);
    char one[WORDS_MAX], bare[WORDS_MAX];
    snprintf(bare, sizeof bare, "%s", phrase_bare(x->edited_phrase));
    phrase_singular(one, bare);
    if (strcmp(one, bare)) phrase_plural(p->noun, p->head[0]);
}

/* An odd phrase may make a question that breaks the rules: it is left out. */
static void local_questions(questions *l, const ask_edit *x, const parts *p, vm_error *e) {
    const char *const *of = p->heads, *Is = p->now_several ? "Are" : "Is", *Was = p->was_several ? "Are" : "Is";
    bool same_thing = !strcmp(p->head[0], p->head[1]) && p->new_words[0];
    ask_whether(l, of, ASK_EXIST, true, e, "%s there %s in this picture?", Is, p->now);
    ask_whether(l, of, ASK_ABSENT, false, e, "%s there %s in this picture?", Was, p->was);
    if (!strncasecmp(x->category, "attribute", 9) && same_thing) {
        const char *call = "Would you call the %s in this picture %s?";
        ask_which(l, of, ASK_ATTRIBUTE, p->new_words, p->old_words, e,
                  "Which word fits the %s in this picture?", p->noun);
        ask_whether(l, of, ASK_ATTRIBUTE, true, e, call, p->noun, p->new_words);
        ask_whether(l, of, ASK_ATTRIBUTE, false, e, call, p->noun, p->old_words);
    } else {
        ask_which(l, of, ASK_IDENTITY, p->now, p->was, e, "What does this picture show?");
        ask_whether(l, of, ASK_IDENTITY, true, e, "%s this %s rather than %s?", Is, p->now, p->was);
    }
    ask_whether(l, of, ASK_EXIST, true, e, "Can you see %s here?", p->now);
    ask_whether(l, of, ASK_ABSENT, false, e, "Can you see %s here?", p->was);
}

static void global_questions(questions *l, const ask_edit *x, const parts *p, vm_error *e) {
    const char *const *of = p->heads, *are = p->now_several && p->was_several ? "are" : "is";
    ask_which(l, of, ASK_IDENTITY, x->edited_caption, x->caption, e, "Which description fits the picture?");
    ask_whether(l, of, ASK_EXIST, true, e, "Does \"%s\" describe the picture?", x->edited_caption);
    ask_whether(l, of, ASK_ABSENT, false, e, "Does \"%s\" describe the picture?", x->caption);
    ask_whether(l, of, ASK_EXIST, true, e, "Does the picture contain %s?", p->now);
    ask_whether(l, of, ASK_ABSENT, false, e, "Does the picture contain %s?", p->was);
    ask_which(l, of, ASK_IDENTITY, p->now, p->was, e, "Which of these %s in the picture?", are);
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
