/* ask_question.c - see ask_question.h. */
#include "pipeline/ask_question.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "io/hash.h"

const char *const ask_kind_name[ASK_KINDS] = { "exist", "absent", "identity", "attribute", "count", "relation" };

const char *const ask_code_rule[Q_CODES] = {
    [Q_OK] = "accepted",
    [Q01] = "a question of 3 to 60 words that ends with a question mark",
    [Q02] = "2 to 5 choices, different but for case, articles and punctuation",
    [Q03] = "the answer is one of the choices",
    [Q04] = "question or choices name a thing that the scope is about",
    [Q05] = "exist is answered yes, absent no",
    [Q06] = "no question twice",
    [Q07] = "at most 8 questions of a scope",
};

void questions_free(questions *l) {
    vm_free(l->q);
    *l = (questions){ 0 };
}

question *questions_next(questions *l, vm_error *e) {
    if (!vm_grow(&l->q, &l->cap, l->n + 1, sizeof *l->q)) return vm_nomem(e, sizeof *l->q, "questions"), NULL;
    l->q[l->n] = (question){ 0 };
    return &l->q[l->n++];
}

static void write_text(question *q, ask_kind kind, const char *fmt, va_list ap) {
    *q = (question){ .kind = kind };
    vsnprintf(q->question, sizeof q->question, fmt, ap);
}

void ask_text(question *q, ask_kind kind, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    write_text(q, kind, fmt, ap);
    va_end(ap);
}

void ask_choice(question *q, const char *text) {
    for (int i = 0; i < q->n; i++)
        if (!strcasecmp(q->choice[i], text)) return;
    if (q->n < ASK_CHOICES) snprintf(q->choice[q->n++], ASK_TEXT, "%s", text);
}

void ask_yes_no(question *q, bool yes) {
    ask_choice(q, "yes"), ask_choice(q, "no");
    q->answer = !yes;
}

void ask_mix(question *q) {
    uint64_t seed = sha256_seed(0, 2, (const char *[]){ q->question, q->choice[0] });
    for (int i = q->n - 1; i > 0; i--) {
        char t[ASK_TEXT];
        int j = (int)((seed >> (8 * i)) % (uint64_t)(i + 1));
        memcpy(t, q->choice[i], ASK_TEXT), memcpy(q->choice[i], q->choice[j], ASK_TEXT),
            memcpy(q->choice[j], t, ASK_TEXT);
        q->answer = q->answer == i ? j : q->answer == j ? i : q->answer;
    }
}

void ask_some(char out[ASK_TEXT], const char *phrase, bool *several) {
    static const char *const settled[] = { "a",   "an",    "the",  "some", "no",      "his",     "her",
                                           "its", "their", "this", "that", "another", "several", "many" };
    char one[WORDS_MAX], many[WORDS_MAX], bare[WORDS_MAX];
    const char *p = phrase;
    word first = { phrase, 0 };
    bool led = word_next(&p, &first) && word_any(first, settled, VM_LEN(settled)) >= 0;
    int number = word_number(first);
    snprintf(bare, sizeof bare, "%s", phrase_bare(phrase));
    phrase_singular(one, bare), phrase_plural(many, bare);
    bool pair = noun_is_pair(bare), same = !strcmp(one, many) && !pair;
    *several = number > 1 || pair || (!same && strcmp(one, bare));
    const char *lead = led || number >= 0 || *several || same ? "" : phrase_article(bare);
    snprintf(out, ASK_TEXT, "%s%s%s", lead, *lead ? " " : "", phrase);
    if (led) out[0] = (char)tolower((unsigned char)out[0]);
}

static bool yes_no(const question *q) {
    return q->n == 2 && ((!strcmp(q->choice[0], "yes") && !strcmp(q->choice[1], "no")) ||
                         (!strcmp(q->choice[0], "no") && !strcmp(q->choice[1], "yes")));
}

static bool about(const question *q, const char *const *nouns) {
    for (; *nouns; nouns++) {
        if (phrase_mentions(q->question, *nouns)) return true;
        for (int i = 0; i < q->n; i++)
            if (phrase_mentions(q->choice[i], *nouns)) return true;
    }
    return false;
}

ask_code question_check(const question *q, const char *const *nouns) {
    int words = word_count(q->question);
    size_t len = strlen(q->question);
    if (words < 3 || words > 60 || q->question[len - 1] != '?') return Q01;
    if (q->n < 2 || q->n > ASK_CHOICES) return Q02;
    for (int i = 0; i < q->n; i++) {
        char a[WORDS_MAX], b[WORDS_MAX];
        phrase_key(a, q->choice[i]);
        if (!a[0]) return Q02;
        for (int j = 0; j < i; j++) {
            phrase_key(b, q->choice[j]);
            if (!strcmp(a, b)) return Q02;
        }
    }
    if (q->answer < 0 || q->answer >= q->n) return Q03;
    if (!about(q, nouns)) return Q04;
    if ((q->kind == ASK_EXIST || q->kind == ASK_ABSENT) && yes_no(q) &&
        strcmp(q->choice[q->answer], q->kind == ASK_EXIST ? "yes" : "no"))
        return Q05;
    return Q_OK;
}

bool questions_have(const questions *l, const question *q) {
    char a[WORDS_MAX], b[WORDS_MAX];
    phrase_key(a, q->question);
    for (int i = 0; i < l->n; i++) {
        phrase_key(b, l->q[i].question);
        if (!strcmp(a, b) && (yes_no(q) || !strcmp(q->choice[q->answer], l->q[i].choice[l->q[i].answer]))) return true;
    }
    return false;
}

ask_code questions_add(questions *l, const question *q, const char *const *nouns, vm_error *e) {
    ask_code c = question_check(q, nouns);
    if (c) return c;
    if (questions_have(l, q)) return Q06;
    if (l->n >= ASK_SCOPE) return Q07;
    question copy = *q, *to = questions_next(l, e);
    if (to) *to = copy;
    return Q_OK;
}

bool questions_balanced(const questions *l) {
    for (int i = 0; i < l->n; i++)
        if (yes_no(&l->q[i]) && !strcmp(l->q[i].choice[l->q[i].answer], "no")) return true;
    return false;
}

void ask_whether(questions *l, const char *const *nouns, ask_kind kind, bool yes, vm_error *e, const char *fmt, ...) {
    question q;
    va_list ap;
    va_start(ap, fmt);
    write_text(&q, kind, fmt, ap);
    va_end(ap);
    ask_yes_no(&q, yes);
    questions_add(l, &q, nouns, e);
}

void ask_which(questions *l, const char *const *nouns, ask_kind kind, const char *right, const char *wrong, vm_error *e,
               const char *fmt, ...) {
    question q;
    va_list ap;
    va_start(ap, fmt);
    write_text(&q, kind, fmt, ap);
    va_end(ap);
    ask_choice(&q, right), ask_choice(&q, wrong), ask_mix(&q);
    questions_add(l, &q, nouns, e);
}
