/* magic_rules.c - see magic_rules.h. */
#include "pipeline/magic_rules.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "io/csv.h"
#include "io/keymap.h"

const char *const magic_code_rule[M_CODES] = {
    [M_OK] = "accepted",
    [M01] = "1 to 8 words",
    [M02] = "names the thing of the phrase, or a kind of it (kinds.csv)",
    [M03] = "mentions nothing else of the caption",
    [M04] = "no numbers",
    [M05] = "no version twice, and not the phrase itself",
    [M06] = "plain text",
};

struct magic_kinds {
    keymap pair; /* "noun kind" */
};

vm_status magic_kinds_new(magic_kinds **out, const char *text, const char *name, vm_error *e) {
    csv_reader *r;
    csv_row row;
    magic_kinds *k = *out = vm_calloc(1, sizeof *k);
    if (!k) return vm_nomem(e, sizeof *k, name);
    if (!csv_open_text(&r, text, strlen(text), name, ',', CSV_HEADER, e)) {
        int64_t noun = csv_need_column(r, "noun", e), also = csv_need_column(r, "also", e);
        while (!e->status && csv_next(r, &row, e) > 0) {
            const char *p = row.field[also];
            for (word w; !e->status && word_next(&p, &w);) {
                char *pair = vm_asprintf("%s %.*s", row.field[noun], w.len, w.at);
                if (!pair || keymap_put_text(&k->pair, pair) < 0) vm_nomem(e, 64, name);
                vm_free(pair);
            }
        }
        csv_close(r);
    }
    if (e->status) magic_kinds_free(k), *out = NULL;
    return e->status;
}

void magic_kinds_free(magic_kinds *k) {
    if (!k) return;
    keymap_free(&k->pair);
    vm_free(k);
}

/* Does the text name the thing, or a kind of it? */
static bool names(const char *text, const char *head, const magic_kinds *kinds) {
    if (phrase_mentions(text, head)) return true;
    for (word w; kinds && word_next(&text, &w);) {
        char one[WORDS_MAX], noun[WORDS_MAX], pair[2 * WORDS_MAX];
        snprintf(one, sizeof one, "%.*s", w.len, w.at);
        phrase_head(noun, one);
        snprintf(pair, sizeof pair, "%s %s", head, noun);
        if (keymap_find(&kinds->pair, pair, strlen(pair)) >= 0) return true;
    }
    return false;
}

/* A word of the caption that says something, and that the phrase does not have. */
static bool foreign(word w, const char *phrase) {
    static const char *const small[] = { "the",   "and",  "with", "for",   "from", "into", "onto", "over",
                                         "under", "near", "that", "this",  "its",  "his",  "her",  "their",
                                         "are",   "was",  "were", "has",   "have", "had",  "out",  "off",
                                         "not",   "very", "some", "while", "who",  "which" };
    char text[WORDS_MAX];
    if (w.len < 3 || w.len >= WORDS_MAX || word_any(w, small, VM_LEN(small)) >= 0) return false;
    snprintf(text, sizeof text, "%.*s", w.len, w.at);
    return !phrase_mentions(phrase, text);
}

magic_code magic_check(const char *text, const char *phrase, const char *caption, const variants *v,
                       const magic_kinds *kinds) {
    char head[WORDS_MAX], a[WORDS_MAX], b[WORDS_MAX];
    int n = word_count(text);
    for (const char *s = text; *s; s++)
        if ((unsigned char)*s < ' ' || strchr("{}[]<>|\\\"*_#", *s)) return M06;
    if (strstr(text, "://")) return M06;
    if (n < 1 || n > 8 || strlen(text) >= MAGIC_TEXT) return M01;
    phrase_head(head, phrase);
    if (!names(text, head, kinds)) return M02;
    const char *p = caption;
    for (word w; word_next(&p, &w);) {
        if (!foreign(w, phrase) || w.len >= WORDS_MAX) continue;
        snprintf(a, sizeof a, "%.*s", w.len, w.at);
        phrase_head(b, a);
        if (phrase_mentions(text, b)) return M03;
    }
    p = text;
    for (word w; word_next(&p, &w);)
        if (word_number(w) >= 0 && !word_is(w, "no") &&
            !phrase_find(phrase, (snprintf(a, sizeof a, "%.*s", w.len, w.at), a)).at)
            return M04;
    phrase_key(a, text), phrase_key(b, phrase);
    if (!strcmp(a, b)) return M05;
    for (int i = 0; i < v->n; i++) {
        phrase_key(b, v->text[i]);
        if (!strcmp(a, b)) return M05;
    }
    return M_OK;
}

magic_code magic_add(variants *v, const char *text, const char *phrase, const char *caption, const magic_kinds *kinds) {
    char out[4 * MAGIC_TEXT];
    size_t k = 0;
    for (; *text && k + 1 < sizeof out; text++)
        if (*text != ' ' || (k && out[k - 1] != ' ')) out[k++] = *text;
    while (k && (out[k - 1] == ' ' || out[k - 1] == '.' || out[k - 1] == ',')) k--;
    out[k] = 0;
    if (isupper((unsigned char)out[0]) && !isupper((unsigned char)out[1]))
        out[0] = (char)tolower((unsigned char)out[0]);
    magic_code c = magic_check(out, phrase, caption, v, kinds);
    if (!c && v->n < MAGIC_MOST) snprintf(v->text[v->n++], MAGIC_TEXT, "%.*s", MAGIC_TEXT - 1, out);
    return c;
}

char *magic_prompt(const variants *v, const char *phrase, const char *caption) {
    char list[MAGIC_USED * (MAGIC_TEXT + 2) + 1] = "";
    for (int i = 0; i < v->n && i < MAGIC_USED; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), ", %s", v->text[i]);
    return vm_asprintf("%s%s. %s", phrase, list, caption);
}

vm_status magic_fit(variants *v, const char *phrase, const char *caption, tok *t, int64_t most, int *gone,
                    vm_error *e) {
    tok_ids ids = { 0 };
    int used = VM_MIN(v->n, MAGIC_USED);
    *gone = 0;
    for (; used > 0 && !e->status; used--) {
        variants some = *v;
        some.n = used;
        char *text = magic_prompt(&some, phrase, caption);
        if (!text) vm_nomem(e, 256, "a prompt");
        else tok_encode(t, text, strlen(text), 0, 0, &ids, e);
        vm_free(text);
        if (!e->status && ids.n <= most) break;
    }
    tok_ids_free(&ids);
    if (used < VM_MIN(v->n, MAGIC_USED)) *gone = v->n - used, v->n = used;
    return e->status;
}
