/* edit.c - reading and writing edits. See edit.h; the rules are in edit_rules.c. */
#include "pipeline/edit.h"

#include <string.h>
#include <strings.h>

#include "io/grammar.h"
#include "io/hash.h"
#include "io/json_loose.h"
#include "io/words.h"

const char *const edit_attribute[EDIT_ATTRIBUTES] = { "color",    "pattern", "shape",    "appearance",
                                                      "material", "state",   "condition" };

/* --- fields ------------------------------------------------------------------------------------------------------- */
/* Blanks in order, without quotes around all of it. False when it is longer than a field may be. */
static bool tidy(char out[EDIT_TEXT], const char *s) {
    size_t n = 0;
    for (; *s; s++) {
        bool blank = *s == ' ' || *s == '\t' || *s == '\n' || *s == '\r';
        if (n + 1 >= EDIT_TEXT) return false;
        if (!blank) out[n++] = *s;
        else if (n && out[n - 1] != ' ') out[n++] = ' ';
    }
    while (n && out[n - 1] == ' ') n--;
    out[n] = 0;
    return true;
}

/* A phrase has no article and no punctuation around it: these are the caption's. */
static void tidy_phrase(char s[EDIT_TEXT]) {
    const char *p = s, *from = NULL, *to = s;
    for (word w; word_next(&p, &w); to = p)
        if (!from) from = w.at;
    if (!from) return;
    s[to - s] = 0;
    const char *bare = phrase_bare(from);
    memmove(s, bare, strlen(bare) + 1);
}

/* "Attribute (Colour)", "color" and the like as "attribute(color)"; what is neither stays, for V07. */
static void tidy_category(char out[40], const char *given, const char *want) {
    char key[WORDS_MAX];
    phrase_key(key, given);
    if (!strncmp(key, "category ", 9)) memmove(key, key + 9, strlen(key + 9) + 1);
    char *sub = strchr(key, ' ');
    const char *kind = !strncmp(key, "attribute", 9) ? (sub ? sub + 1 : "") : key;
    if (!strcmp(kind, "colour")) kind = "color";
    for (int k = 0; k < EDIT_ATTRIBUTES; k++)
        if (!strcmp(kind, edit_attribute[k])) return (void)snprintf(out, 40, "attribute(%s)", edit_attribute[k]);
    if (!key[0] && want) snprintf(out, 40, "%s", want);
    else if (!strncmp(key, "object", 6) && (!key[6] || key[6] == ' ')) snprintf(out, 40, "object");
    else snprintf(out, 40, "%.39s", key);
}

/* Insertions, deletions and replacements of bytes between two texts, up to a limit. */
static int distance(const char *a, const char *b, int limit) {
    int row[EDIT_TEXT + 1], n = (int)strlen(b), m = (int)strlen(a);
    if (n > EDIT_TEXT || m - n > limit || n - m > limit) return limit + 1;
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 1; i <= m; i++) {
        int diag = row[0], least = row[0] = i;
        for (int j = 1; j <= n; j++) {
            int up = row[j], best = VM_MIN(VM_MIN(up, row[j - 1]) + 1, diag + (a[i - 1] != b[j - 1]));
            diag = up, row[j] = best, least = VM_MIN(least, best);
        }
        if (least > limit) return limit + 1;
    }
    return row[n];
}

static bool same_caption(const char *given, const char *caption) {
    char a[WORDS_MAX], b[WORDS_MAX];
    phrase_key(a, given), phrase_key(b, caption);
    int limit = VM_MAX(5, (int)strlen(b) / 20);
    return distance(a, b, limit) <= limit;
}

/* --- an answer ---------------------------------------------------------------------------------------------------- */
/* One of the members as text, "" when it is missing; false when it is too long. */
static bool field(char out[EDIT_TEXT], json_value v, const char *name) {
    char number[32];
    const char *s = json_loose_text(json_loose_get(v, name), number);
    return tidy(out, s ? s : "");
}

static const char *read_edit(edit *x, json_value v, const char *caption, const char *want) {
    char given[EDIT_TEXT], category[EDIT_TEXT];
    if (!field(x->selected, v, "SelectedPhrase") || !field(x->edited, v, "EditedPhrase") ||
        !field(x->region, v, "EditedRegionPhrase") || !field(x->caption, v, "EditedCaption") ||
        !field(given, v, "InputCaption") || !field(category, v, "Category"))
        return "too_long";
    tidy_phrase(x->selected), tidy_phrase(x->edited);
    tidy_category(x->category, category, want);
    if (!x->selected[0] || !x->edited[0]) return "no_phrase";
    return given[0] && !same_caption(given, caption) ? "other_caption" : NULL;
}

/* Is there nothing but an empty list? */
static bool is_empty_list(const char *answer, size_t bytes) {
    const char *at = memchr(answer, '[', bytes), *end = answer + bytes;
    if (!at) return false;
    for (at++; at < end && strchr(" \t\r\n", *at); at++) {
    }
    return at < end && *at == ']';
}

vm_status edit_parse(edits *out, const char *answer, size_t bytes, const char *caption, const char *want, tally *why,
                     vm_error *e) {
    json_loose s = json_loose_start(answer, bytes);
    json_doc *d;
    *out = (edits){ .none = is_empty_list(answer, bytes) };
    while (json_loose_next(&s, '{', &d, e)) {
        json_value root = json_root(d), list = json_loose_get(root, "edits");
        bool wrapped = list.kind ==
                       JSON_ARRAY; /* {"edits": [...]}: what servers make of a list when they want an object */
        out->none |= wrapped && !json_len(list);
        for (int64_t i = 0; i < (wrapped ? json_len(list) : 1) && out->n < EDIT_MOST; i++) {
            if (!out->e && !(out->e = vm_calloc(EDIT_MOST, sizeof *out->e))) {
                vm_nomem(e, EDIT_MOST * sizeof *out->e, "edits");
                break;
            }
            edit *x = &out->e[out->n];
            *x = (edit){ .from = s.from, .to = s.to };
            const char *bad = read_edit(x, wrapped ? json_at(list, i) : root, caption, want);
            if (bad && !(wrapped && !json_len(list))) tally_add(why, bad, 1);
            out->n += !bad;
        }
        json_free(d);
    }
    out->cut = s.cut, out->none &= !out->n;
    if (e->status) edits_free(out);
    return e->status;
}

void edits_free(edits *l) {
    vm_free(l->e);
    *l = (edits){ 0 };
}

/* --- records ------------------------------------------------------------------------------------------------------ */
void edit_id(char id[17], const char *image_id, const char *caption, const edit *x) {
    char hex[65];
    sha256_parts(hex, 6, (const char *[]){ image_id, caption, x->category, x->selected, x->edited, x->caption });
    memcpy(id, hex, 16);
    id[16] = 0;
}

void edit_put(json_writer *w, const char *image_id, const char *file, const char *caption, const edit *x) {
    char id[17];
    edit_id(id, image_id, caption, x);
    json_begin_object(w, NULL);
    json_put_str(w, "edit_id", id), json_put_str(w, "image_id", image_id);
    if (file) json_put_str(w, "file", file);
    json_put_str(w, "caption", caption);
    json_put_str(w, "input_phrase", x->selected), json_put_str(w, "edited_phrase", x->edited);
    json_put_str(w, "edited_region_phrase", x->region), json_put_str(w, "edited_caption", x->caption);
    json_put_str(w, "category", x->category);
    if (x->repaired) json_put_bool(w, "repaired", true);
    json_close_object(w);
}

static void put_text(json_writer *w, const char *key, int most) {
    json_begin_object(w, key);
    json_put_str(w, "type", "string"), json_put_int(w, "minLength", 1), json_put_int(w, "maxLength", most);
    json_close_object(w);
}

enum { SPAN_WORDS = 8 };
char *edit_schema(const char *caption, const char *want, int choices, vm_error *e) {
    static const char *const fields[] = { "SelectedPhrase", "EditedPhrase", "EditedRegionPhrase", "EditedCaption",
                                          "Category" };
    json_writer w = json_to_memory(JSON_COMPACT);
    bool object = !want || !strcmp(want, "object"), attribute = !want || !strcmp(want, "attribute");
    json_begin_object(&w, NULL);
    json_put_str(&w, "type", "array"), json_put_int(&w, "minItems", attribute ? 0 : 1), json_put_int(&w, "maxItems", 6);
    json_begin_object(&w, "items");
    json_put_str(&w, "type", "object");
    json_begin_object(&w, "properties");
    if (SPAN_WORDS * word_count(caption) <= choices) grammar_put_spans(&w, fields[0], caption, SPAN_WORDS);
    else put_text(&w, fields[0], 120);
    put_text(&w, fields[1], 120), put_text(&w, fields[2], 120);
    put_text(&w, fields[3], (int)VM_MIN(strlen(caption) + 100, (size_t)EDIT_TEXT - 1));
    json_begin_object(&w, fields[4]);
    json_put_str(&w, "type", "string");
    json_begin_array(&w, "enum");
    if (object) json_put_str(&w, NULL, "object");
    for (int k = 0; k < EDIT_ATTRIBUTES && attribute; k++) {
        char name[40];
        snprintf(name, sizeof name, "attribute(%s)", edit_attribute[k]);
        json_put_str(&w, NULL, name);
    }
    json_close_array(&w);
    json_close_object(&w);
    json_close_object(&w);
    json_begin_array(&w, "required");
    for (int k = 0; k < VM_LEN(fields); k++) json_put_str(&w, NULL, fields[k]);
    json_close_array(&w);
    json_put_bool(&w, "additionalProperties", false);
    json_close_object(&w);
    json_close_object(&w);
    return json_take(&w, NULL, e);
}
