/* json.c - documents: json-c's tree filled from our tokens, and getters that say what is wrong where. See json.h. */
#include "io/json.h"

#define json_bool json_c_bool /* json-c has a type of this name */
#include <json-c/json.h>
#undef json_bool
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct json_doc {
    char *name;
    struct json_object *root;
    unsigned odd;
};

/* Members of one name: the second one takes the place of the first, which is kept for the comparison. */
typedef struct {
    struct json_object *old, *in;
    char *key;
    const char *from; /* where the second name stands */
} doubled;
typedef struct {
    doubled *x;
    int64_t n, cap;
} doubles;

/* ---- reading ----------------------------------------------------------------------------------------------------- */
/* The line of each value is kept as its user data, for messages. */
static struct json_object *with_line(struct json_object *o, int64_t line) {
    if (o) json_object_set_userdata(o, (void *)(intptr_t)line, NULL);
    return o;
}

static struct json_object *leaf(const json_scan *s, json_token t, char *scratch) {
    int64_t v;
    switch (t) {
    case JSON_T_OBJECT: return json_object_new_object();
    case JSON_T_ARRAY: return json_object_new_array();
    case JSON_T_STRING: return json_object_new_string_len(scratch, (int)json_scan_text(s, scratch));
    case JSON_T_TRUE:
    case JSON_T_FALSE: return json_object_new_boolean(t == JSON_T_TRUE);
    default: return json_scan_int(s, &v) ? json_object_new_int64(v) : json_object_new_double(json_scan_num(s));
    }
}

static bool scan_all(json_scan *s, size_t *longest) {
    json_token t;
    while ((t = json_scan_next(s)) > JSON_T_END)
        if (t == JSON_T_KEY || t == JSON_T_STRING) *longest = VM_MAX(*longest, s->len);
    return t == JSON_T_END;
}

static vm_status add_double(doubles *d, struct json_object *old, struct json_object *in, const char *key,
                            const json_scan *s) {
    if (!vm_grow(&d->x, &d->cap, d->n + 1, sizeof *d->x) || !(d->x[d->n].key = vm_strdup(key)))
        return vm_nomem(s->e, sizeof *d->x, s->name);
    d->x[d->n].old = json_object_get(old), d->x[d->n].in = in, d->x[d->n].from = s->from;
    d->n++;
    return VM_OK;
}

/* All is read: are those of one name equal? Frees the list. */
static vm_status settle_doubles(doubles *d, const json_scan *s, vm_status st) {
    for (int64_t i = 0; i < d->n; i++) {
        struct json_object *new = NULL;
        json_object_object_get_ex(d->x[i].in, d->x[i].key, &new);
        if (!st && !json_object_equal(d->x[i].old, new))
            st = json_scan_fail(s, d->x[i].from,
                                "the name \"%.200s\" stands twice in one object, with different values", d->x[i].key);
        json_object_put(d->x[i].old);
        vm_free(d->x[i].key);
    }
    vm_free(d->x);
    return st;
}

/* s stands at the start of a text that scan_all has accepted. key and scratch have room for its longest string. */
static vm_status build(json_scan *s, json_doc *d, char *key, char *scratch, doubles *twice) {
    struct json_object *open[JSON_MAX_DEPTH];
    int64_t line = s->line;
    const char *seen = s->text;
    for (json_token t; (t = json_scan_next(s)) > JSON_T_END;) {
        for (const char *q; (q = memchr(seen, '\n', (size_t)(s->from - seen))); line++) seen = q + 1;
        seen = s->from; /* what has no line feed is not searched again */
        if (t == JSON_T_OBJECT_END || t == JSON_T_ARRAY_END) continue;
        struct json_object *up = s->depth - (t == JSON_T_OBJECT || t == JSON_T_ARRAY) > 0
                                     ? open[s->depth - 1 - (t == JSON_T_OBJECT || t == JSON_T_ARRAY)]
                                     : NULL;
        if (t == JSON_T_KEY) {
            size_t n = json_scan_text(s, key);
            key[n] = 0;
            if (memchr(key, 0, n)) return json_scan_fail(s, s->from, "a name holds the character U+0000");
            struct json_object *old;
            if (!json_object_object_get_ex(up, key, &old)) continue;
            if (!(s->flags & JSON_LENIENT))
                return json_scan_fail(s, s->from, "the name \"%.200s\" stands twice in one object", key);
            s->odd |= JSON_ODD_TWICE;
            if (add_double(twice, old, up, key, s)) return VM_EDEVICE;
            continue;
        }
        int64_t whole;
        if (t == JSON_T_NUMBER && !json_scan_int(s, &whole) && !isfinite(json_scan_num(s)))
            return json_scan_fail(s, s->from, "the number %.*s is beyond the range of double numbers",
                                  (int)VM_MIN(s->len, 40), s->from);
        struct json_object *o = t == JSON_T_NULL ? NULL : with_line(leaf(s, t, scratch), line);
        if (t != JSON_T_NULL && !o) return vm_nomem(s->e, s->len, d->name);
        if (t == JSON_T_STRING && s->len > INT32_MAX) {
            json_object_put(o);
            return json_scan_fail(s, s->from, "a string of more than 2 GiB");
        }
        int rc = 0;
        if (!up) d->root = o;
        else if (json_object_is_type(up, json_type_array)) rc = json_object_array_add(up, o);
        else rc = json_object_object_add(up, key, o);
        if (rc) {
            json_object_put(o);
            return vm_nomem(s->e, s->len, d->name);
        }
        if (t == JSON_T_OBJECT || t == JSON_T_ARRAY) open[s->depth - 1] = o;
    }
    return VM_OK;
}

json_doc *json_parse_at(const char *text, size_t bytes, const char *name, int64_t line, int flags, vm_error *e) {
    json_scan s;
    size_t longest = 0;
    if (json_scan_start_at(&s, text, bytes, name, line, flags, e) || !scan_all(&s, &longest)) return NULL;
    json_doc *d = vm_calloc(1, sizeof *d);
    char *key = vm_alloc(longest + 1), *scratch = vm_alloc(longest + 1);
    vm_status st = VM_OK;
    if (!d || !key || !scratch || !(d->name = vm_strdup(name))) {
        st = vm_nomem(e, longest, name);
        goto done;
    }
    json_scan_start_at(&s, text, bytes, name, line, flags, e);
    doubles twice = { 0 };
    st = settle_doubles(&twice, &s, build(&s, d, key, scratch, &twice));
    d->odd = s.odd;
done:
    vm_free(key), vm_free(scratch);
    if (!st) return d;
    json_free(d);
    return NULL;
}

json_doc *json_parse(const char *text, size_t bytes, const char *name, int flags, vm_error *e) {
    return json_parse_at(text, bytes, name, 1, flags, e);
}

json_doc *json_open(const char *path, vm_error *e) {
    char *text;
    size_t bytes;
    if (file_read(&text, &bytes, path, 0, e)) return NULL;
    json_doc *d = json_parse(text, bytes, path, 0, e);
    vm_free(text);
    return d;
}

json_doc *json_config(const char *dir, const char *what, vm_error *e) {
    char *path = path_join(dir, "config.json");
    json_doc *d = path && file_exists(path) ? json_open(path, e) : NULL;
    if (!path) vm_nomem(e, 256, "a path");
    else if (!d && !e->status) vm_fail(e, VM_EMODEL, "%s: no config.json; give %s", dir, what);
    vm_free(path);
    return d;
}

void json_free(json_doc *d) {
    if (!d) return;
    json_object_put(d->root);
    vm_free(d->name);
    vm_free(d);
}

/* ---- places ------------------------------------------------------------------------------------------------------ */
static struct json_object *object_of(const void *node) { return (struct json_object *)(uintptr_t)node; }

static json_kind kind_of(const struct json_object *o) {
    static const json_kind kinds[] = { [json_type_null] = JSON_NULL,     [json_type_boolean] = JSON_BOOL,
                                       [json_type_double] = JSON_DOUBLE, [json_type_int] = JSON_INT,
                                       [json_type_object] = JSON_OBJECT, [json_type_array] = JSON_ARRAY,
                                       [json_type_string] = JSON_STRING };
    return kinds[json_object_get_type(o)];
}

json_value json_root(const json_doc *d) {
    return d ? (json_value){ .kind = kind_of(d->root), .doc = d, .node = d->root } : (json_value){ 0 };
}

const char *json_name(const json_doc *d) { return d->name; }
unsigned json_odd(const json_doc *d) { return d->odd; }

json_value json_get(json_value object, const char *key) {
    if (object.kind <= JSON_NULL && object.parent) return object; /* name the outermost thing that is missing */
    struct json_object *o;
    json_value v = { .doc = object.doc, .parent = object.node, .key = key };
    if (object.kind != JSON_OBJECT || !json_object_object_get_ex(object_of(object.node), key, &o)) return v;
    v.kind = kind_of(o), v.node = o;
    return v;
}

json_value json_at(json_value array, int64_t i) {
    if (array.kind <= JSON_NULL && array.parent) return array;
    json_value v = { .doc = array.doc, .parent = array.node, .index = i };
    if (i < 0 || i >= json_len(array) || array.kind != JSON_ARRAY) return v;
    struct json_object *o = json_object_array_get_idx(object_of(array.node), (size_t)i);
    v.kind = kind_of(o), v.node = o;
    return v;
}

int64_t json_len(json_value v) {
    if (v.kind == JSON_ARRAY) return (int64_t)json_object_array_length(object_of(v.node));
    return v.kind == JSON_OBJECT ? json_object_object_length(object_of(v.node)) : 0;
}

json_iter json_each(json_value v) {
    json_iter it = { .of = v, .i_ = -1 };
    if (v.kind == JSON_OBJECT) it.at_ = json_object_get_object(object_of(v.node))->head;
    return it;
}

bool json_next(json_iter *it) {
    it->i_++;
    if (it->of.kind == JSON_ARRAY) {
        it->value = json_at(it->of, it->i_);
        return it->i_ < json_len(it->of);
    }
    struct lh_entry *x = it->at_;
    if (!x) return false;
    struct json_object *o = (struct json_object *)(uintptr_t)lh_entry_v(x);
    it->key = lh_entry_k(x);
    it->value = (json_value){ .kind = kind_of(o), .doc = it->of.doc, .node = o, .parent = it->of.node, .key = it->key };
    it->at_ = x->next;
    return true;
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */
typedef struct {
    char s[300];
    size_t n;
} path_text;

static void append_step(path_text *p, const char *key, int64_t index) {
    size_t room = sizeof p->s - p->n;
    int k = key ? snprintf(p->s + p->n, room, "%s%.100s", p->n ? "." : "", key)
                : snprintf(p->s + p->n, room, "[%lld]", (long long)index);
    p->n += VM_MIN((size_t)k, room - 1);
}

/* json-c keeps no parents; messages are rare, so the way to a node is searched. */
static bool find_path(json_value at, const void *node, path_text *p) {
    if (at.node == node) return true;
    size_t n = p->n;
    for (json_iter it = json_each(at); json_next(&it);) {
        if (it.value.kind < JSON_ARRAY && it.value.node != node) continue;
        append_step(p, it.key, it.i_);
        if (find_path(it.value, node, p)) return true;
        p->s[p->n = n] = 0;
    }
    return false;
}

int64_t json_line(json_value v) {
    const void *known = v.node ? v.node : v.parent;
    return known ? (int64_t)(intptr_t)json_object_get_userdata(object_of(known)) : 0;
}

vm_status json_fail(json_value v, vm_error *e, const char *fmt, ...) {
    char words[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(words, sizeof words, fmt, ap);
    va_end(ap);
    if (!v.doc) return vm_fail(e, VM_EINPUT, "%s", words);
    path_text p = { .s = "" };
    if (v.node) {
        find_path(json_root(v.doc), v.node, &p);
    } else if (v.parent) {
        find_path(json_root(v.doc), v.parent, &p);
        append_step(&p, v.key, v.index);
    }
    char line[32] = "";
    if (json_line(v)) snprintf(line, sizeof line, ":%lld", (long long)json_line(v));
    return vm_fail(e, VM_EINPUT, "%s%s: %s%s%s", v.doc->name, line, p.s, p.n ? ": " : "", words);
}

static vm_status mismatch(json_value v, vm_error *e, const char *expected) {
    switch (v.kind) {
    case JSON_MISSING: return json_fail(v, e, "is missing, expected %s", expected);
    case JSON_NULL: return json_fail(v, e, "found null, expected %s", expected);
    case JSON_ARRAY: return json_fail(v, e, "found an array of %lld, expected %s", (long long)json_len(v), expected);
    case JSON_OBJECT: return json_fail(v, e, "found an object, expected %s", expected);
    case JSON_DOUBLE:
        return json_fail(v, e, "found %.10g, expected %s", json_object_get_double(object_of(v.node)), expected);
    default: break;
    }
    const char *found = json_object_to_json_string_ext(object_of(v.node), JSON_C_TO_STRING_NOSLASHESCAPE);
    return json_fail(v, e, "found %.60s, expected %s", found ? found : "another value", expected);
}

/* ---- values ------------------------------------------------------------------------------------------------------ */
int64_t json_as_int(json_value v, int64_t min, int64_t max, vm_error *e) {
    if (v.kind == JSON_INT) {
        int64_t x = json_object_get_int64(object_of(v.node));
        if (x >= min && x <= max) return x;
    } else if (v.kind == JSON_DOUBLE) {
        double d = json_object_get_double(object_of(v.node));
        bool whole = d >= -0x1p53 && d <= 0x1p53 && d == (double)(int64_t)d;
        if (whole && d >= (double)min && d <= (double)max) return (int64_t)d;
    }
    char expected[96];
    if (min == INT64_MIN && max == INT64_MAX) snprintf(expected, sizeof expected, "an integer");
    else if (max == INT64_MAX) snprintf(expected, sizeof expected, "an integer of at least %lld", (long long)min);
    else snprintf(expected, sizeof expected, "an integer from %lld to %lld", (long long)min, (long long)max);
    mismatch(v, e, expected);
    return min;
}

static double number_in(json_value v, double min, double max, vm_error *e) {
    if (v.kind == JSON_INT || v.kind == JSON_DOUBLE) {
        double d = json_object_get_double(object_of(v.node));
        if (d >= min && d <= max) return d;
    }
    char expected[96] = "a finite number";
    if (min > -DBL_MAX || max < DBL_MAX)
        snprintf(expected, sizeof expected, "a number from %g to %g", min, max);
    mismatch(v, e, expected);
    return 0;
}

double json_as_num(json_value v, vm_error *e) { return number_in(v, -DBL_MAX, DBL_MAX, e); }

bool json_as_bool(json_value v, vm_error *e) {
    if (v.kind == JSON_BOOL) return json_object_get_boolean(object_of(v.node));
    mismatch(v, e, "true or false");
    return false;
}

const char *json_as_text(json_value v, size_t *bytes, vm_error *e) {
    *bytes = 0;
    if (v.kind != JSON_STRING) {
        mismatch(v, e, "a string");
        return "";
    }
    *bytes = (size_t)json_object_get_string_len(object_of(v.node));
    return json_object_get_string(object_of(v.node));
}

const char *json_as_str(json_value v, vm_error *e) {
    size_t n;
    const char *s = json_as_text(v, &n, e);
    if (strlen(s) == n) return s;
    json_fail(v, e, "the string holds the character U+0000");
    return "";
}

int64_t json_int(json_value object, const char *key, int64_t dflt, int64_t min, int64_t max, vm_error *e) {
    json_value v = json_get(object, key);
    vm_error mine = { 0 };
    int64_t x = json_has(v) ? json_as_int(v, min, max, &mine) : dflt;
    if (!mine.status) return x;
    vm_fail(e, mine.status, "%s", mine.msg);
    return dflt;
}

double json_num(json_value object, const char *key, double dflt, double min, double max, vm_error *e) {
    json_value v = json_get(object, key);
    vm_error mine = { 0 };
    double x = json_has(v) ? number_in(v, min, max, &mine) : dflt;
    if (!mine.status) return x;
    vm_fail(e, mine.status, "%s", mine.msg);
    return dflt;
}

bool json_bool(json_value object, const char *key, bool dflt, vm_error *e) {
    json_value v = json_get(object, key);
    if (json_has(v) && v.kind != JSON_BOOL) mismatch(v, e, "true or false");
    return v.kind == JSON_BOOL ? json_as_bool(v, e) : dflt;
}

const char *json_str(json_value object, const char *key, const char *dflt, vm_error *e) {
    json_value v = json_get(object, key);
    if (json_has(v) && v.kind != JSON_STRING) mismatch(v, e, "a string");
    return v.kind == JSON_STRING ? json_as_str(v, e) : dflt;
}

json_value json_need(json_value object, const char *key, json_kind kind, vm_error *e) {
    static const char *const names[] = { "a value",  "null",     "true or false", "an integer",
                                         "a number", "a string", "an array",      "an object" };
    json_value v = json_get(object, key);
    bool fits = v.kind == kind || (kind == JSON_DOUBLE && v.kind == JSON_INT) || (kind == JSON_MISSING && v.kind);
    if (!fits) mismatch(v, e, names[kind]);
    return v;
}

/* Length of an array of exactly n or at most -n, or -1. */
static int64_t length_of(json_value v, int64_t n, vm_error *e) {
    char expected[64];
    snprintf(expected, sizeof expected, "an array of %s%lld numbers", n < 0 ? "at most " : "", llabs(n));
    if (v.kind == JSON_ARRAY && (n < 0 ? json_len(v) <= -n : json_len(v) == n)) return json_len(v);
    mismatch(v, e, expected);
    return -1;
}

int64_t json_as_ints(json_value v, int64_t *out, int64_t n, vm_error *e) {
    int64_t len = length_of(v, n, e);
    vm_error mine = { 0 };
    for (int64_t i = 0; i < len; i++) out[i] = json_as_int(json_at(v, i), INT64_MIN, INT64_MAX, &mine);
    return mine.status ? vm_fail(e, mine.status, "%s", mine.msg), -1 : len;
}

int64_t json_as_nums(json_value v, double *out, int64_t n, vm_error *e) {
    int64_t len = length_of(v, n, e);
    vm_error mine = { 0 };
    for (int64_t i = 0; i < len; i++) out[i] = json_as_num(json_at(v, i), &mine);
    return mine.status ? vm_fail(e, mine.status, "%s", mine.msg), -1 : len;
}
