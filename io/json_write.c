/* json_write.c - JSON as it is written: one value after the other, never an invalid byte. See json.h. */
#include "io/json.h"
#include "io/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FLUSH_AT = 1 << 16 };

json_writer json_to_memory(json_style style) { return (json_writer){ .style = style, .first = true }; }

json_writer json_to_out(vm_out *out, json_style style) {
    return (json_writer){ .style = style, .first = true, .out = out };
}

json_writer json_to_stream(FILE *f, json_style style) {
    return (json_writer){ .style = style, .first = true, .stream = f };
}

static void flush(json_writer *w) {
    if (w->status || !w->len || !(w->out || w->stream)) return;
    if (w->out) w->status = vm_out_write(w->out, w->text, (size_t)w->len, &w->err);
    else if (fwrite(w->text, 1, (size_t)w->len, w->stream) != (size_t)w->len)
        w->status = vm_fail(&w->err, VM_EIO, "standard output: writing failed: %m");
    w->len = 0;
}

static void put(json_writer *w, const char *s, size_t n) {
    if (w->status) return;
    if (!vm_grow(&w->text, &w->cap, w->len + (int64_t)n + 1, 1)) {
        w->status = vm_nomem(&w->err, (size_t)w->len + n, "JSON text");
        return;
    }
    if (n) memcpy(w->text + w->len, s, n);
    w->text[w->len += (int64_t)n] = 0;
    if (w->len > FLUSH_AT) flush(w);
}

static void puts_(json_writer *w, const char *s) { put(w, s, strlen(s)); }

static void new_line(json_writer *w) {
    puts_(w, "\n");
    for (int i = 0; i < w->depth; i++) puts_(w, "  ");
}

static void quoted(json_writer *w, const char *s, size_t n) {
    static const char plain_escapes[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *end = s + n, *from = s;
    puts_(w, "\"");
    while (s < end) {
        unsigned char c = (unsigned char)*s;
        int k = c < 0x80 ? 1 : utf8_char(s, end);
        if (k && c >= ' ' && c != '"' && c != '\\') {
            s += k;
            continue;
        }
        put(w, from, (size_t)(s - from));
        char esc[8];
        const char *p = c ? strchr(plain_escapes, c) : NULL;
        if (!k) snprintf(esc, sizeof esc, "\xef\xbf\xbd");
        else if (p) snprintf(esc, sizeof esc, "\\%c", letters[p - plain_escapes]);
        else snprintf(esc, sizeof esc, "\\u%04x", c);
        puts_(w, esc);
        from = ++s;
    }
    put(w, from, (size_t)(s - from));
    puts_(w, "\"");
}

/* What stands before a value: comma, line feed, name. Scalars of a pretty array share a line. */
static void before(json_writer *w, const char *key, bool container) {
    bool pretty = w->style == JSON_PRETTY && w->depth;
    if (!w->first) puts_(w, ",");
    if (pretty && (key || container)) new_line(w);
    else if (pretty && !w->first) puts_(w, " ");
    w->first = false;
    w->broken = pretty && (key || container);
    if (!key) return;
    quoted(w, key, strlen(key));
    puts_(w, w->style == JSON_PRETTY ? ": " : ":");
}

static void begin(json_writer *w, const char *key, const char *bracket) {
    before(w, key, true);
    puts_(w, bracket);
    w->depth++;
    w->first = true, w->broken = false;
}

static void close_with(json_writer *w, const char *bracket) {
    w->depth--;
    if (w->broken) new_line(w);
    puts_(w, bracket);
    w->first = false, w->broken = w->style == JSON_PRETTY; /* a container was the last thing on its line */
}

void json_begin_object(json_writer *w, const char *key) { begin(w, key, "{"); }
void json_close_object(json_writer *w) { close_with(w, "}"); }
void json_begin_array(json_writer *w, const char *key) { begin(w, key, "["); }
void json_close_array(json_writer *w) { close_with(w, "]"); }

void json_put_raw(json_writer *w, const char *key, const char *json, size_t bytes) {
    before(w, key, false);
    put(w, json, bytes);
}

void json_put_text(json_writer *w, const char *key, const char *s, size_t bytes) {
    before(w, key, false);
    quoted(w, s, bytes);
}

void json_put_str(json_writer *w, const char *key, const char *s) {
    if (s) json_put_text(w, key, s, strlen(s));
    else json_put_null(w, key);
}

void json_put_null(json_writer *w, const char *key) { json_put_raw(w, key, "null", 4); }
void json_put_bool(json_writer *w, const char *key, bool v) { json_put_raw(w, key, v ? "true" : "false", v ? 4 : 5); }

void json_put_int(json_writer *w, const char *key, int64_t v) {
    char s[32];
    json_put_raw(w, key, s, (size_t)snprintf(s, sizeof s, "%lld", (long long)v));
}

/* The fewest digits that read back to the same number; 17 and 9 always do. */
static void put_shortest(json_writer *w, const char *key, double v, bool single) {
    char s[40];
    if (!isfinite(v)) {
        json_put_null(w, key);
        return;
    }
    for (int digits = single ? 6 : 15; digits <= (single ? 9 : 17); digits++) {
        snprintf(s, sizeof s, "%.*g", digits, v);
        if (single ? strtof(s, NULL) == (float)v : strtod(s, NULL) == v) break;
    }
    json_put_raw(w, key, s, strlen(s));
}

void json_put_num(json_writer *w, const char *key, double v) { put_shortest(w, key, v, false); }
void json_put_f32(json_writer *w, const char *key, float v) { put_shortest(w, key, (double)v, true); }

void json_put_value(json_writer *w, const char *key, json_value v) {
    size_t n;
    const char *s;
    switch (v.kind) {
    case JSON_OBJECT:
    case JSON_ARRAY:
        begin(w, key, v.kind == JSON_OBJECT ? "{" : "[");
        for (json_iter it = json_each(v); json_next(&it);) json_put_value(w, it.key, it.value);
        close_with(w, v.kind == JSON_OBJECT ? "}" : "]");
        break;
    case JSON_STRING:
        s = json_as_text(v, &n, NULL);
        json_put_text(w, key, s, n);
        break;
    case JSON_INT: json_put_int(w, key, json_as_int(v, INT64_MIN, INT64_MAX, NULL)); break;
    case JSON_DOUBLE: json_put_num(w, key, json_as_num(v, NULL)); break;
    case JSON_BOOL: json_put_bool(w, key, json_as_bool(v, NULL)); break;
    default: json_put_null(w, key);
    }
}

void json_newline(json_writer *w) {
    puts_(w, "\n");
    w->first = true, w->broken = false;
}

vm_status json_end(json_writer *w, vm_error *e) {
    if (w->style == JSON_PRETTY && !w->first) puts_(w, "\n");
    flush(w);
    if (w->stream && !w->status && fflush(w->stream))
        w->status = vm_fail(&w->err, VM_EIO, "standard output: writing failed: %m");
    vm_status st = w->status ? vm_fail(e, w->status, "%s", w->err.msg) : VM_OK;
    vm_free(w->text);
    *w = (json_writer){ 0 };
    return st;
}

char *json_take(json_writer *w, size_t *bytes, vm_error *e) {
    if (w->style == JSON_PRETTY && !w->first) puts_(w, "\n");
    put(w, "", 0);
    char *text = w->status ? NULL : w->text;
    if (bytes) *bytes = text ? (size_t)w->len : 0;
    if (!text) {
        vm_fail(e, w->status, "%s", w->err.msg);
        vm_free(w->text);
    }
    *w = (json_writer){ 0 };
    return text;
}

vm_status json_save(json_writer *w, const char *dir, const char *name, vm_error *e) {
    size_t bytes = 0;
    char *text = json_take(w, &bytes, e), *path = path_join(dir, name);
    vm_status st = !text ? e->status : path ? file_write(path, text, bytes, e) : vm_nomem(e, strlen(name), "a path");
    vm_free(text);
    vm_free(path);
    return st;
}
