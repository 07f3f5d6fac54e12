/* edit_rules.c - the rules V01 to V11 of edits. See edit.h. */
#include <string.h>
#include <strings.h>

#include "io/unicode.h"
#include "io/words.h"
#include "pipeline/edit.h"
#include "pipeline/embedded.h"

/* --- tokens ------------------------------------------------------------------------------------------------------- */
/* Words, and single bytes of what stands between them; blanks and a final full stop do not count. */
enum { TOKENS = 512 };
typedef struct {
    word at[TOKENS];
    int n;
} tokens;

static void tokens_of(tokens *t, const char *text) {
    const char *p = text, *done = text;
    t->n = 0;
    for (word w; t->n < TOKENS;) {
        bool more = word_next(&p, &w);
        for (const char *end = more ? w.at : text + strlen(text); done < end && t->n < TOKENS; done++)
            if (!strchr(" \t\r\n", *done)) t->at[t->n++] = (word){ done, 1 };
        if (!more) break;
        if (t->n < TOKENS) t->at[t->n++] = w;
        done = p;
    }
    if (t->n && t->at[t->n - 1].len == 1 && *t->at[t->n - 1].at == '.') t->n--;
}

static bool same(word a, word b) { return a.len == b.len && !strncasecmp(a.at, b.at, (size_t)a.len); }
static bool is_article(word w) { return word_any(w, (const char *const[]){ "a", "an", "the" }, 3) >= 0; }

/* Verbs that follow the number of what was replaced. */
static bool agree(word a, word b) {
    static const char *const pairs[][2] = { { "is", "are" }, { "has", "have" }, { "was", "were" }, { "does", "do" } };
    for (int k = 0; k < VM_LEN(pairs); k++)
        if ((word_is(a, pairs[k][0]) && word_is(b, pairs[k][1])) ||
            (word_is(a, pairs[k][1]) && word_is(b, pairs[k][0])))
            return true;
    return false;
}

/* Is e the tokens of c with [from, to) replaced by those of q, but for an article before it (other, gone or new) and
 * verbs behind it? */
static bool only_replaced(const tokens *c, int from, int to, const tokens *q, const tokens *e) {
    for (int shift = -1; shift <= 1; shift++) {
        int before = from + shift;
        bool good = before >= 0 && e->n == c->n - (to - from) + q->n + shift;
        if (shift < 0) good = good && from > 0 && is_article(c->at[from - 1]);
        if (shift > 0) good = good && before <= e->n && is_article(e->at[before - 1]);
        for (int i = 0; good && i < from + VM_MIN(shift, 0); i++)
            good = same(c->at[i], e->at[i]) || (i == from - 1 && is_article(c->at[i]) && is_article(e->at[i]));
        for (int i = 0; good && i < q->n; i++) good = same(q->at[i], e->at[before + i]);
        for (int i = to, k = before + q->n; good && i < c->n; i++, k++)
            good = same(c->at[i], e->at[k]) || agree(c->at[i], e->at[k]);
        if (good) return true;
    }
    return false;
}

static int token_at(const tokens *t, const char *p) {
    int i = 0;
    while (i < t->n && t->at[i].at < p) i++;
    return i;
}

/* --- V01, V03, V04, V05: the captions ----------------------------------------------------------------------------- */
bool edit_substitute(char out[EDIT_TEXT], const char *caption, size_t from, size_t to, const char *phrase) {
    size_t n = from; /* up to and without an article that agrees with the phrase */
    const char *article = "";
    while (n && caption[n - 1] == ' ') n--;
    size_t end = n;
    while (n && caption[n - 1] != ' ') n--;
    size_t len = end - n;
    bool a = len == 1 && (caption[n] | 32) == 'a',
         an = len == 2 && (caption[n] | 32) == 'a' && (caption[n + 1] | 32) == 'n';
    bool capital = (a || an) && caption[n] == 'A';
    if (a || an) article = !strcmp(phrase_article(phrase), "a") ? (capital ? "A " : "a ") : capital ? "An " : "an ";
    else n = from;
    int wrote = snprintf(out, EDIT_TEXT, "%.*s%s%s%s", (int)n, caption, article, phrase, caption + to);
    if (n == 0 && !article[0] && caption[0] >= 'A' && caption[0] <= 'Z' && out[0] >= 'a' && out[0] <= 'z')
        out[0] = (char)(out[0] - 32);
    return wrote < EDIT_TEXT;
}

/* Where the phrase is replaced: of several places the one that the edited caption tells. */
static const char *find_span(const edit *x, const char *caption, word *span) {
    tokens c, q, e;
    int places = 0;
    *span = phrase_find(caption, x->selected);
    if (!span->at) return "V01";
    tokens_of(&c, caption), tokens_of(&q, x->edited), tokens_of(&e, x->caption);
    for (word w = *span; w.at; w = phrase_find(w.at + w.len, x->selected)) {
        int from = token_at(&c, w.at), to = token_at(&c, w.at + w.len);
        places++;
        if (x->caption[0] && only_replaced(&c, from, to, &q, &e)) return *span = w, NULL;
    }
    return places > 1 ? "V01" : NULL;
}

static const char *check_captions(edit *x, const char *caption, word span, bool repair) {
    tokens c, q, e;
    char a[WORDS_MAX], b[WORDS_MAX];
    const char *bad = NULL;
    tokens_of(&c, caption), tokens_of(&q, x->edited), tokens_of(&e, x->caption);
    if (x->caption[0] && !phrase_find(x->caption, x->edited).at) bad = "V03";
    else if (x->caption[0] && !only_replaced(&c, token_at(&c, span.at), token_at(&c, span.at + span.len), &q, &e))
        bad = "V04";
    if (bad && !repair) return bad;
    if (bad || !x->caption[0]) {
        x->repaired = bad != NULL;
        if (!edit_substitute(x->caption, caption, (size_t)(span.at - caption), (size_t)(span.at + span.len - caption),
                             x->edited))
            return "V11";
    }
    phrase_key(a, x->caption), phrase_key(b, caption);
    return strcmp(a, b) ? NULL : "V05";
}

/* --- V02, V06 to V11: the phrases --------------------------------------------------------------------------------- */
/* The phrase as a key, its head in the singular. */
static void root_of(char out[WORDS_MAX], const char *phrase) {
    char one[WORDS_MAX];
    phrase_singular(one, phrase);
    phrase_key(out, one);
}

typedef enum { NUMBERS, SIZES, RELATIONS } word_class;

static bool in_relations(word w, const char *file, int column) {
    for (const embedded_file *f = embedded_files; f->name; f++) {
        if (strcmp(f->name, file)) continue;
        for (const char *p = strchr(f->text, '\n'); p && *++p; p = strchr(p, '\n')) {
            for (int k = 0; k < column && p; k++) p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL;
            if (p && strcspn(p, ",\r\n") == (size_t)w.len && !strncasecmp(p, w.at, (size_t)w.len)) return true;
        }
    }
    return false;
}

static bool of_class(word w, word_class kind) {
    static const char *const vague[] = { "both",     "pair",     "couple",  "dozen",    "dozens",   "several",
                                         "many",     "few",      "some",    "single",   "double",   "triple",
                                         "multiple", "numerous", "hundred", "hundreds", "thousand", "half" };
    static const char *const sizes[] = { "big",     "bigger",   "biggest",     "small",     "smaller",   "smallest",
                                         "large",   "larger",   "largest",     "little",    "tiny",      "tinier",
                                         "huge",    "giant",    "gigantic",    "enormous",  "massive",   "tall",
                                         "taller",  "tallest",  "short",       "shorter",   "shortest",  "long",
                                         "longer",  "longest",  "mini",        "miniature", "oversized", "wide",
                                         "wider",   "narrow",   "narrower",    "thick",     "thicker",   "thin",
                                         "thinner", "colossal", "medium-sized" };
    if (kind == NUMBERS)
        return word_number(w) >= 0 || (w.len && *w.at >= '0' && *w.at <= '9') || word_any(w, vague, VM_LEN(vague)) >= 0;
    if (kind == SIZES) return word_any(w, sizes, VM_LEN(sizes)) >= 0;
    return in_relations(w, "vsr_relations.csv", 1) || in_relations(w, "relations.csv", 2);
}

/* The words of that class in the phrase, in order, joined by blanks. */
static void words_of_class(char out[EDIT_TEXT], const char *phrase, word_class kind) {
    size_t n = 0;
    for (word w; word_next(&phrase, &w) && n + (size_t)w.len + 2 < EDIT_TEXT;)
        if (of_class(w, kind)) n += (size_t)snprintf(out + n, EDIT_TEXT - n, "%.*s ", w.len, w.at);
    out[n] = 0;
}

/* +1 several, -1 one, 0 a noun of one form (sheep, scissors, bread). */
static int number_of(const char *phrase) {
    char key[WORDS_MAX], form[WORDS_MAX];
    phrase_key(key, phrase);
    if (noun_is_pair(key)) return 0;
    phrase_singular(form, key);
    if (strcmp(form, key)) return 1;
    phrase_plural(form, key);
    return strcmp(form, key) ? -1 : 0;
}

static bool class_changed(const edit *x) {
    char a[EDIT_TEXT], b[EDIT_TEXT];
    for (int k = NUMBERS; k <= RELATIONS; k++) {
        words_of_class(a, x->selected, (word_class)k), words_of_class(b, x->edited, (word_class)k);
        if (strcasecmp(a, b)) return true;
    }
    return number_of(x->selected) * number_of(x->edited) < 0;
}

/* Does one row of the table hold both? They are the phrases, or what is left of them without the words that they share
 * at both ends. */
static bool in_one_row(const char *a, const char *b) {
    for (const embedded_file *f = embedded_files; f->name; f++) {
        if (strcmp(f->name, "synonyms.csv")) continue;
        for (const char *p = f->text; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
            bool has_a = false, has_b = false;
            for (const char *q = p; *q && *q != '\n'; q += *q == ',') {
                size_t n = strcspn(q, ",\r\n");
                has_a |= n == strlen(a) && !memcmp(q, a, n), has_b |= n == strlen(b) && !memcmp(q, b, n);
                q += n;
                if (*q == '\r') q++;
            }
            if (has_a && has_b) return true;
        }
    }
    return false;
}

static bool are_synonyms(const edit *x) {
    char a[WORDS_MAX], b[WORDS_MAX];
    root_of(a, x->selected), root_of(b, x->edited);
    if (in_one_row(a, b)) return true;
    char *p = a, *q = b;
    for (;;) { /* whole words that both begin with */
        size_t n = strcspn(p, " "), m = strcspn(q, " ");
        if (n != m || memcmp(p, q, n) || !p[n] || !q[m]) break;
        p += n + 1, q += m + 1;
    }
    for (;;) { /* and end with */
        char *s = strrchr(p, ' '), *t = strrchr(q, ' ');
        if (!s || !t || strcmp(s, t)) break;
        *s = *t = 0;
    }
    return in_one_row(p, q);
}

static bool ends_with(const char *s, const char *tail) { /* whole words */
    size_t n = strlen(s), k = strlen(tail);
    return n > k && !strcmp(s + n - k, tail) && s[n - k - 1] == ' ';
}

static bool is_strange(int32_t c) { return c == 0xfffd || (uni_control(c) && c != 0x200c && c != 0x200d); }

static bool has_strange(const char *s) {
    for (const char *p = s, *end = s + strlen(s); p < end;)
        if (is_strange(uni_next(&p, end))) return true;
    return false;
}

/* What the caption has itself is none. */
static bool is_residue(const char *s, const char *caption) {
    static const char *const marks[] = {
        "http:",        "https:",       "www.", "](",     "**", "```", "</",           "/>",
        "<|",           "|>",           "<s>",  "[INST]", "{",  "}",   "InputCaption", "SelectedPhrase",
        "EditedPhrase", "EditedCaption"
    };
    for (int k = 0; k < VM_LEN(marks); k++)
        if (strcasestr(s, marks[k]) && !strcasestr(caption, marks[k])) return true;
    return has_strange(s) && !has_strange(caption);
}

static const char *check_phrases(const edit *x, const char *want) {
    char a[WORDS_MAX], b[WORDS_MAX], head[2][WORDS_MAX];
    int n = word_count(x->selected), m = word_count(x->edited);
    bool object = !strcmp(x->category, "object"),
         attribute = !strncmp(x->category, "attribute", 9) && (!x->category[9] || x->category[9] == '(');
    root_of(a, x->selected), root_of(b, x->edited);
    phrase_head(head[0], x->selected), phrase_head(head[1], x->edited);
    if (!m || !strcmp(a, b)) return "V02";
    if (m > 8 || m > 2 * n + 3) return "V06";
    if (object && (ends_with(a, b) || ends_with(b, a))) return "V10";
    if (!object && !attribute) return "V07";
    if (want && strncmp(x->category, want, strlen(want))) return "V07";
    if (attribute && x->category[9]) { /* attribute(KIND), of those that there are */
        bool known = false;
        for (int k = 0; k < EDIT_ATTRIBUTES; k++)
            known |= !strncmp(x->category + 10, edit_attribute[k], strlen(edit_attribute[k]));
        if (!known) return "V07";
    }
    if (!strcmp(head[0], head[1]) == object) return "V07";
    if (class_changed(x)) return "V08";
    return are_synonyms(x) ? "V09" : NULL;
}

/* The edited phrase with its article, the first letter upper case. A region phrase that does not hold the edited phrase
 * is written anew. */
static void fill_region(edit *x) {
    char head[WORDS_MAX], one[WORDS_MAX], key[WORDS_MAX], single[WORDS_MAX];
    if (x->region[0] && phrase_find(x->region, x->edited).at) return;
    const char *p = x->edited;
    word first;
    bool counted = word_next(&p, &first) && of_class(first, NUMBERS);
    phrase_key(key, x->edited), phrase_singular(one, key), phrase_key(single, one);
    phrase_head(head, x->edited);
    bool plural = strcmp(key, single) || noun_is_pair(x->edited);
    snprintf(x->region, EDIT_TEXT, "%s%s%.1000s", counted || plural ? "" : phrase_article(x->edited),
             counted || plural ? "" : " ", x->edited);
    if (x->region[0] >= 'a' && x->region[0] <= 'z') x->region[0] = (char)(x->region[0] - 32);
}

const char *edit_check(edit *x, const char *caption, const char *want, bool repair) {
    word span;
    const char *const field[] = { x->selected, x->edited, x->region, x->caption };
    for (int k = 0; k < VM_LEN(field); k++)
        if (is_residue(field[k], caption)) return "V11";
    const char *bad = find_span(x, caption, &span);
    if (!bad) bad = check_phrases(x, want);
    if (!bad) bad = check_captions(x, caption, span, repair);
    if (!bad) fill_region(x);
    return bad;
}
