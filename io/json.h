/* json.h - JSON in and out.
 *
 * Reading: the tokenizer of json_scan.h checks the whole text first (grammar, UTF-8, depth, text after the end) and
 * then fills json-c's tree, so nothing that json-c's own parser lets pass is let pass here: comments, single quotes,
 * NaN, raw line feeds, duplicate members. Tolerated: a byte-order mark and trailing commas; with JSON_LENIENT, for files
 * that people have written, comments, NaN, and a second member with the name and the value of an earlier one. Integers keep 64 bits,
 * larger ones become doubles, which are always finite. Errors name file, line and column, or file, line and field:
 *     config.json:14: text_config.hidden_size: found "768", expected an integer from 1 to 65536
 *
 *     json_doc *d = json_open("config.json", e);
 *     json_value text = json_get(json_root(d), "text_config");      // may be missing: all getters take that
 *     int64_t width = json_int(text, "hidden_size", 512, 1, 65536, e);
 *     const char *act = json_str(text, "hidden_act", "quick_gelu", e);
 *     if (e->status) goto done;                                      // the first error is kept
 *
 * Values and strings live as long as the document. */
#ifndef VM_IO_JSON_H
#define VM_IO_JSON_H
#include "io/file.h"
#include "io/json_scan.h" /* JSON_STRICT */

typedef struct json_doc json_doc;
typedef enum {
    JSON_MISSING, JSON_NULL, JSON_BOOL, JSON_INT, JSON_DOUBLE, JSON_STRING, JSON_ARRAY, JSON_OBJECT
} json_kind;

/* A place in a document; passed by value, owns nothing. All-zero is a missing value. */
typedef struct {
    json_kind kind;
    const json_doc *doc;
    const void *node, *parent; /* json-c objects */
    const char *key;           /* name in the parent object, or NULL */
    int64_t index;             /* position in the parent array */
} json_value;

/* NULL on error (e is set). The name stands in messages. json_free accepts NULL. */
json_doc *json_open(const char *path, vm_error *e);
/* DIR/config.json of a model; VM_EMODEL when there is none, with what the folder should be. */
json_doc *json_config(const char *dir, const char *what, vm_error *e);
json_doc *json_parse(const char *text, size_t bytes, const char *name, int flags, vm_error *e); /* flags: JSON_... */
/* The same for a text that begins in this line of its file (1 = the first). */
json_doc *json_parse_at(const char *text, size_t bytes, const char *name, int64_t line, int flags, vm_error *e);
void json_free(json_doc *d);
json_value json_root(const json_doc *d); /* missing when d is NULL */
const char *json_name(const json_doc *d);
unsigned json_odd(const json_doc *d); /* JSON_ODD_...: what was tolerated in it */

/* Members and elements. An absent key, or a value of another kind, gives a missing value that remembers its name. */
json_value json_get(json_value object, const char *key);
json_value json_at(json_value array, int64_t i);
int64_t json_len(json_value v); /* members or elements; 0 for all other kinds */
static inline bool json_has(json_value v) { return v.kind > JSON_NULL; } /* there and not null */

/* for (json_iter it = json_each(v); json_next(&it);) use(it.key, it.value);  objects in file order; arrays: key NULL */
typedef struct {
    const char *key;
    json_value value, of;
    void *at_;
    int64_t i_;
} json_iter;
json_iter json_each(json_value v);
bool json_next(json_iter *it);

/* Members with a default: missing and null give dflt; a value of another kind or outside [min, max] sets e (VM_EINPUT)
 * and gives dflt. 3.0 counts as the integer 3. Numbers are finite. */
int64_t json_int(json_value object, const char *key, int64_t dflt, int64_t min, int64_t max, vm_error *e);
double json_num(json_value object, const char *key, double dflt, double min, double max, vm_error *e);
bool json_bool(json_value object, const char *key, bool dflt, vm_error *e);
const char *json_str(json_value object, const char *key, const char *dflt, vm_error *e); /* no NUL inside */

/* The value itself, which must be there. On error e is set and the result is min, 0, false, "", NULL. */
int64_t json_as_int(json_value v, int64_t min, int64_t max, vm_error *e);
double json_as_num(json_value v, vm_error *e);
bool json_as_bool(json_value v, vm_error *e);
const char *json_as_str(json_value v, vm_error *e);
const char *json_as_text(json_value v, size_t *bytes, vm_error *e);                /* may hold NULs */
json_value json_need(json_value object, const char *key, json_kind kind, vm_error *e); /* of this kind, or error */
/* Array of exactly n (n >= 0) or at most -n numbers into out; returns the length, -1 on error. */
int64_t json_as_ints(json_value v, int64_t *out, int64_t n, vm_error *e);
int64_t json_as_nums(json_value v, double *out, int64_t n, vm_error *e);

/* The line of the value in its file, of what holds it when it is null or missing; 0 = not known. */
int64_t json_line(json_value v);

/* Sets e to "FILE:LINE: FIELD: <your words>"; returns VM_EINPUT. For checks of the caller's own. */
vm_status json_fail(json_value v, vm_error *e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* ---- writing ----
 * One function per kind; key is NULL inside arrays and at the top. Numbers are the shortest text that reads back to the
 * same value; NaN and infinities become null. Strings: bytes that are not UTF-8 become U+FFFD. Errors are sticky and
 * reported by json_end or json_take.
 *
 *     json_writer w = json_to_memory(JSON_COMPACT);
 *     json_begin_object(&w, NULL);  json_put_str(&w, "name", "a");  json_close_object(&w); */
typedef enum { JSON_COMPACT, JSON_PRETTY } json_style; /* pretty: two blanks per level, a line feed at the end */
typedef struct {
    char *text; /* what is not flushed yet, NUL-terminated once non-empty */
    int64_t len, cap;
    vm_out *out;  /* NULL = memory only */
    FILE *stream; /* or this */
    json_style style;
    vm_status status;
    vm_error err;
    int depth;
    bool first, broken; /* nothing since the bracket; the last item stands on a line of its own */
} json_writer;

json_writer json_to_memory(json_style style);
json_writer json_to_out(vm_out *out, json_style style);   /* caller commits out afterwards */
json_writer json_to_stream(FILE *f, json_style style);    /* stdout */
/* Flushes, checks, frees the writer. */
vm_status json_end(json_writer *w, vm_error *e);
/* For json_to_memory: the text (vm_free) and its length without the final NUL; NULL on error. Frees the writer. */
char *json_take(json_writer *w, size_t *bytes, vm_error *e);
/* For json_to_memory: the text as the file DIR/NAME, whole or not at all. Frees the writer. */
vm_status json_save(json_writer *w, const char *dir, const char *name, vm_error *e);

void json_begin_object(json_writer *w, const char *key);
void json_close_object(json_writer *w);
void json_begin_array(json_writer *w, const char *key);
void json_close_array(json_writer *w);
void json_put_str(json_writer *w, const char *key, const char *s); /* NULL gives null */
void json_put_text(json_writer *w, const char *key, const char *s, size_t bytes);
void json_put_int(json_writer *w, const char *key, int64_t v);
void json_put_num(json_writer *w, const char *key, double v);
void json_put_f32(json_writer *w, const char *key, float v);
void json_put_bool(json_writer *w, const char *key, bool v);
void json_put_null(json_writer *w, const char *key);
void json_put_raw(json_writer *w, const char *key, const char *json, size_t bytes); /* valid JSON, copied as it is */
void json_put_value(json_writer *w, const char *key, json_value v);                 /* a copy of v and all below it */
void json_newline(json_writer *w); /* between records of JSON Lines */

#endif
