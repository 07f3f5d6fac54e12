/* eval_rows.c - records of annotation files, their fields and texts. See eval_rows.h. */
#include "pipeline/eval_rows.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "io/json_lines.h"
#include "io/log.h"
#include "io/unicode.h"
#include "io/utf8.h"

/* --- text --------------------------------------------------------------------------------------------------------- */
/* An annotation file as UTF-8. */
typedef struct {
    const char *p;
    size_t bytes;
    file_map map;
    char *mended; /* a copy without the bytes that are none; NULL = the file is all right */
} utf8_file;

static void close_text(utf8_file *t) {
    vm_free(t->mended);
    file_map_close(&t->map);
}

/* Bytes that are no UTF-8 become U+FFFD, with a warning. UTF-16 is left to the readers, which name it. */
static vm_status open_text(utf8_file *t, const char *path, vm_error *e) {
    *t = (utf8_file){ 0 };
    if (file_map_open(&t->map, path, e)) return e->status;
    t->p = (const char *)t->map.data, t->bytes = t->map.bytes;
    size_t bad = utf8_bad(t->p, t->bytes), room;
    bool utf16 = t->bytes >= 2 && (!memcmp(t->p, "\xff\xfe", 2) || !memcmp(t->p, "\xfe\xff", 2));
    if (bad == t->bytes || utf16) return VM_OK;
    if (!vm_mul_sz(t->bytes, 3, &room) || !(t->mended = vm_alloc(room))) {
        close_text(t);
        return vm_nomem(e, t->bytes, path);
    }
    char *o = t->mended;
    int64_t line = 1, odd = 0;
    for (const char *q = t->p; q < t->p + bad; q++) line += *q == '\n';
    for (const char *q = t->p, *end = q + t->bytes; q < end;) {
        odd += !utf8_char(q, end);
        o += uni_put(o, uni_next(&q, end));
    }
    vm_warn("%s:%" PRId64 ": byte 0x%02x is not UTF-8; %" PRId64 " such places are read as U+FFFD", path, line,
            (unsigned char)t->p[bad], odd);
    t->p = t->mended, t->bytes = (size_t)(o - t->mended);
    return VM_OK;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */
/* Calls one, and settles what was wrong with the record. */
static vm_status visit(eval_row *r, eval_row_fn one, vm_error *e) {
    one(r, e);
    if (r->fatal.status) return vm_fail(e, r->fatal.status, "%s", r->fatal.msg);
    if (e->status || !r->bad.status) return e->status;
    if (r->bad.status == VM_EDEVICE) return vm_fail(e, VM_EDEVICE, "%s", r->bad.msg);
    return eval_set_add_malformed(r->of->set, r->split, NULL, r->bad.msg, e);
}

static vm_status visit_value(const eval_reading *of, int flags, int64_t number, const char *key, json_value v,
                             eval_row_fn one, vm_error *e) {
    eval_row r = { .of = of, .split = of->split, .line = json_line(v), .number = number, .key = key, .value = v };
    if (v.kind != JSON_OBJECT && !(flags & ROWS_ANY)) json_fail(v, &r.bad, "expected a record, { ... }");
    if (r.bad.status) return eval_set_add_malformed(of->set, of->split, NULL, r.bad.msg, e);
    return visit(&r, one, e);
}

typedef struct {
    int64_t key;
    json_iter at;
} member;

static int by_key(const void *a, const void *b) {
    const member *x = a, *y = b;
    return (x->key > y->key) - (x->key < y->key);
}

static bool decimal(const char *s, int64_t *v) {
    size_t n = strspn(s, "0123456789");
    *v = n && n < 18 ? strtoll(s, NULL, 10) : 0;
    return n && n < 18 && !s[n];
}

static vm_status read_by_key(const eval_reading *of, json_value root, int flags, eval_row_fn one, vm_error *e) {
    int64_t n = 0;
    member *m = vm_alloc((size_t)json_len(root) * sizeof *m + 1);
    if (!m) return vm_nomem(e, (size_t)json_len(root) * sizeof *m, of->file);
    for (json_iter it = json_each(root); json_next(&it) && !e->status; n++) {
        m[n] = (member){ .at = it };
        if (decimal(it.key, &m[n].key)) continue;
        vm_error bad = { 0 };
        json_fail(it.value, &bad, "the name of the record is no decimal number");
        eval_set_add_malformed(of->set, of->split, it.key, bad.msg, e);
        n--;
    }
    qsort(m, (size_t)n, sizeof *m, by_key);
    for (int64_t k = 0; k < n && !e->status; k++)
        visit_value(of, flags, k, m[k].at.key, m[k].at.value, one, e);
    vm_free(m);
    return e->status;
}

/* Says what was tolerated. */
static void say_odd(const eval_reading *of, unsigned odd) {
    char list[120] = "";
    static const char *const words[] = { "trailing commas", "comments", "NaN or Infinity, read as null",
                                         "names that stand twice with the same value" };
    for (int k = 0; k < VM_LEN(words); k++)
        if (odd >> k & 1)
            snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", *list ? ", " : "", words[k]);
    if (odd) vm_warn("%s: is not quite JSON: %s", of->file, list);
}

static vm_status read_json(const eval_reading *of, const utf8_file *t, int flags, eval_row_fn one, vm_error *e) {
    json_doc *d = json_parse(t->p, t->bytes, of->file, JSON_LENIENT, e);
    json_value root = json_root(d);
    bool list = flags & ROWS_LIST, members = flags & ROWS_MEMBERS;
    if (!d) return e->status;
    if (!(list && root.kind == JSON_ARRAY) && !(members && root.kind == JSON_OBJECT))
        json_fail(root, e, "expected %s", !members ? "a list of records, [ ... ]"
                                          : !list  ? "an object with a record for each id, { ... }"
                                                   : "records in [ ... ] or { ... }");
    else if (root.kind == JSON_OBJECT && flags & ROWS_BY_KEY) read_by_key(of, root, flags, one, e);
    else
        for (json_iter it = json_each(root); !e->status && json_next(&it);)
            visit_value(of, flags, it.i_, it.key, it.value, one, e);
    say_odd(of, json_odd(d));
    json_free(d);
    return e->status;
}

static vm_status read_lines(const eval_reading *of, const utf8_file *t, int flags, eval_row_fn one, vm_error *e) {
    json_lines *lines;
    json_doc *d;
    int64_t n = 0;
    unsigned odd = 0;
    vm_error bad = { 0 };
    if (json_lines_open_text(&lines, t->p, t->bytes, of->file, JSON_LENIENT, e)) return e->status;
    for (int rc; !e->status && (rc = json_lines_next(lines, &d, &bad)); n++) {
        if (rc > 0) odd |= json_odd(d), visit_value(of, flags, n, NULL, json_root(d), one, e);
        else if (bad.status == VM_EDEVICE) *e = bad;
        else if (json_lines_cut(lines)) vm_warn("%s: the last line is left out; is the file cut off?", bad.msg);
        else eval_set_add_malformed(of->set, of->split, NULL, bad.msg, e);
        json_free(d);
        vm_error_clear(&bad);
    }
    json_lines_close(lines);
    say_odd(of, odd);
    return e->status;
}

static vm_status read_table(const eval_reading *of, const utf8_file *file, eval_row_fn one, vm_error *e) {
    csv_reader *t = NULL;
    csv_row row;
    int64_t n = 0;
    vm_error bad = { 0 };
    if (csv_open_text(&t, file->p, file->bytes, of->file, 0, CSV_HEADER, e)) return e->status;
    for (int rc; !e->status && (rc = csv_next(t, &row, &bad)); n++) {
        eval_row r = { .of = of, .split = of->split, .line = row.line, .number = n, .csv = t, .row = &row };
        if (rc > 0) visit(&r, one, e);
        else if (bad.status == VM_EDEVICE) *e = bad;
        else eval_set_add_malformed(of->set, of->split, NULL, bad.msg, e);
        vm_error_clear(&bad);
    }
    csv_close(t);
    return e->status;
}

static bool ends_in(const char *path, const char *ending) {
    size_t n = strlen(path), m = strlen(ending);
    return n > m && !strcmp(path + n - m, ending);
}

vm_status eval_read_rows(const eval_reading *r, int flags, eval_row_fn one, vm_error *e) {
    if (keymap_put_text(&r->set->files, r->file) < 0) return vm_nomem(e, 256, "names of files");
    utf8_file t;
    if (open_text(&t, r->file, e)) return e->status;
    if (ends_in(r->file, ".csv") || ends_in(r->file, ".tsv")) read_table(r, &t, one, e);
    else if (ends_in(r->file, ".jsonl")) read_lines(r, &t, flags, one, e);
    else read_json(r, &t, flags, one, e);
    close_text(&t);
    return e->status;
}

vm_status row_each(const eval_row *up, json_value of, eval_row_fn one, vm_error *e) {
    for (json_iter it = json_each(of); !e->status && json_next(&it);) {
        eval_row r = { .of = up->of, .split = up->split, .line = json_line(it.value), .number = up->number,
                       .index = it.i_, .key = it.key, .value = it.value, .up = up };
        visit(&r, one, e);
    }
    return e->status;
}

/* --- fields ------------------------------------------------------------------------------------------------------- */
const char *row_where(const eval_row *r) {
    static _Thread_local char where[4200];
    snprintf(where, sizeof where, "%s:%" PRId64, r->of->file, r->line);
    return where;
}

void row_fail(eval_row *r, const char *fmt, ...) {
    char words[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(words, sizeof words, fmt, ap);
    va_end(ap);
    vm_fail(&r->bad, VM_EINPUT, "%s: %s", row_where(r), words);
}

/* The next of the names in word; NULL behind the last. */
static const char *next_name(const char *names, char word[64]) {
    while (*names == ' ') names++;
    size_t n = strcspn(names, " ");
    snprintf(word, 64, "%.*s", (int)n, names);
    return n ? names + n : NULL;
}

/* A field: its text in CSV, its value in JSON. */
typedef struct {
    const char *text;
    json_value v;
} field;

static bool find(const eval_row *r, const char *names, field *f) {
    char word[64];
    *f = (field){ 0 };
    while ((names = next_name(names, word))) {
        if (r->csv) {
            int64_t k = csv_column(r->csv, word);
            if (k >= 0) return f->text = r->row->field[k], true;
        } else if (r->value.kind == JSON_OBJECT && json_has(f->v = json_get(r->value, word))) {
            return true;
        }
    }
    return false;
}

bool row_has(const eval_row *r, const char *names) {
    field f;
    return find(r, names, &f);
}

/* Says that none of the names is there, and what is. */
static void missing(eval_row *r, const char *names) {
    char seen[400] = "", wanted[200] = "", word[64];
    size_t n = 0;
    for (const char *at = names; (at = next_name(at, word)) && n < sizeof wanted;)
        n += (size_t)snprintf(wanted + n, sizeof wanted - n, "%s\"%s\"", n ? " or " : "", word);
    n = 0;
    for (int64_t k = 0; r->csv && k < csv_columns(r->csv) && n < sizeof seen; k++)
        n += (size_t)snprintf(seen + n, sizeof seen - n, "%s%s", k ? ", " : "", csv_column_name(r->csv, k));
    for (json_iter it = json_each(r->value); json_next(&it) && n < sizeof seen && it.key;)
        n += (size_t)snprintf(seen + n, sizeof seen - n, "%s%s", n ? ", " : "", it.key);
    if (r->csv)
        vm_fail(&r->fatal, VM_EINPUT, "%s: has no column %s; its columns are: %s", r->of->file, wanted, seen);
    else row_fail(r, "has no field %s; its fields are: %s", wanted, seen);
}

const char *row_text(eval_row *r, const char *names) {
    field f;
    if (!find(r, names, &f)) return NULL;
    return r->csv ? f.text : json_as_str(f.v, &r->bad);
}

const char *row_need(eval_row *r, const char *names) {
    const char *text = row_text(r, names);
    if (!text) missing(r, names);
    return text ? text : "";
}

const char *row_id(eval_row *r, const char *names) {
    field f;
    bool there = find(r, names, &f);
    if (there && r->csv && *f.text) return f.text;
    if (there && f.v.kind == JSON_STRING) return json_as_str(f.v, &r->bad);
    int64_t number = there && !r->csv ? json_as_int(f.v, INT64_MIN, INT64_MAX, &r->bad) : r->number;
    snprintf(r->id, sizeof r->id, "%" PRId64, number);
    return r->id;
}

int64_t row_int(eval_row *r, const char *names, int64_t dflt, int64_t min, int64_t max) {
    field f;
    if (!find(r, names, &f)) return dflt;
    if (!r->csv) return json_as_int(f.v, min, max, &r->bad);
    char *end;
    long long v = strtoll(f.text, &end, 10);
    while (*end == ' ') end++;
    if (end == f.text || *end || v < min || v > max) {
        row_fail(r, "%s: found \"%.60s\", expected an integer from %" PRId64 " to %" PRId64, names, f.text, min, max);
        return min;
    }
    return v;
}

int64_t row_need_int(eval_row *r, const char *names, int64_t min, int64_t max) {
    if (row_has(r, names)) return row_int(r, names, min, min, max);
    missing(r, names);
    return min;
}

/* --- items -------------------------------------------------------------------------------------------------------- */
bool row_split(eval_row *r, const char *name, vm_error *e) {
    if (!eval_wants(r->of->src, name)) return false;
    r->split = eval_set_split(r->of->set, name);
    if (r->split < 0) vm_nomem(e, 64, "splits");
    return r->split >= 0;
}

static vm_status add(eval_row *r, eval_kind kind, const row_item *x, vm_error *e) {
    eval_record y = { .id = x->id, .tag = x->tag, .group = x->group, .captions = x->captions, .images = x->images,
                      .n_captions = x->n_captions, .n_images = x->n_images, .gold = x->gold, .boxes = x->boxes };
    if (r->bad.status || r->fatal.status || e->status) return e->status;
    const char **folder = x->folder ? NULL : vm_alloc((size_t)x->n_images * sizeof *folder + 1);
    if (!x->folder && !folder) return vm_nomem(e, (size_t)x->n_images * sizeof *folder, "folders");
    for (int k = 0; k < x->n_images && folder; k++) folder[k] = x->folders;
    eval_set_add_named(r->of->set, &r->of->src->places, r->split, kind, &y, x->folder ? x->folder : folder,
                       row_where(r), e);
    vm_free(folder);
    return e->status;
}

vm_status row_add(eval_row *r, const row_item *x, vm_error *e) { return add(r, EVAL_CHOICE, x, e); }
vm_status row_add_pair(eval_row *r, const row_item *x, vm_error *e) { return add(r, EVAL_PAIR, x, e); }

/* --- texts -------------------------------------------------------------------------------------------------------- */
/* text[from, to) without white space at its ends. */
static void trim(const char *text, const char **from, const char **to) {
    const char *p = text, *end = text + strlen(text), *last = text;
    for (*from = NULL; p < end;) {
        const char *at = p;
        bool blank = uni_space(uni_next(&p, end));
        if (!blank) *from = *from ? *from : at, last = p;
    }
    *from = *from ? *from : end;
    *to = last > *from ? last : *from;
}

char *eval_trimmed(const char *text, vm_error *e) {
    const char *from, *to;
    trim(text, &from, &to);
    char *out = vm_strndup(from, (size_t)(to - from));
    if (!out) vm_nomem(e, strlen(text), "a caption");
    return out;
}

char *eval_format_caption(const char *text, vm_error *e) {
    const char *from, *to, *rest;
    char first[8] = "";
    trim(text, &from, &to);
    rest = from;
    if (from < to) first[uni_put(first, utf8proc_toupper(uni_next(&rest, to)))] = 0;
    char *out = vm_asprintf("%s%.*s%s", first, (int)(to - rest), rest, from == to || to[-1] == '.' ? "" : ".");
    if (!out) vm_nomem(e, strlen(text), "a caption");
    return out;
}

static bool word_byte(char c) { return isalnum((unsigned char)c) || (unsigned char)c >= 0x80; }

const char *eval_find_words(const char *text, const char *words) {
    size_t n = strlen(words);
    for (const char *p = text; n && (p = strcasestr(p, words)); p++)
        if ((p == text || !word_byte(p[-1])) && !word_byte(p[n])) return p;
    return NULL;
}
