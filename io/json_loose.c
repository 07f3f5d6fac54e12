/* json_loose.c - see json_loose.h. */
#include "io/json_loose.h"

#include <string.h>

#include "io/utf8.h"

/* What is written while a value is read. */
typedef struct {
    const char *p, *end;
    char *out;
    int64_t n, cap;
    int depth;
    bool cut, failed; /* the text ended; memory is out */
} rewrite;

static void put(rewrite *r, const char *s, size_t n) {
    if (r->failed || !vm_grow(&r->out, &r->cap, r->n + (int64_t)n + 1, 1)) {
        r->failed = true;
        return;
    }
    memcpy(r->out + r->n, s, n);
    r->n += (int64_t)n;
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_name(char c) {
    return c == '_' || c == '-' || is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static void blanks(rewrite *r) {
    while (r->p < r->end && is_space(*r->p)) r->p++;
}

/* --- strings ------------------------------------------------------------------------------------------------------ */
/* Quotes that may open a string: bytes of the quote, and which ones close it. 0 = none. */
static int quote_at(const char *p, const char *end, int *kind) {
    if (p >= end) return 0;
    if (*p == '"' || *p == '\'' || *p == '`') return *kind = *p, 1;
    if (end - p < 3 || memcmp(p, "\xe2\x80", 2)) return 0;
    unsigned char c = (unsigned char)p[2]; /* U+2018 to U+201F */
    if (c < 0x98 || c > 0x9f) return 0;
    return *kind = c <= 0x9b ? '\'' + 256 : '"' + 256, 3;
}

/* Does a quote at q end the string? What follows decides for quotes that stand in texts too: "the dog's", "a "big"
 * dog". */
static bool closes(const rewrite *r, const char *q, int bytes) {
    const char *p = q + bytes;
    while (p < r->end && (is_space(*p))) p++;
    return p >= r->end || *p == ',' || *p == '}' || *p == ']' || *p == ')' || *p == ':';
}

static void put_char(rewrite *r, const char *p, int n) {
    char code[8];
    unsigned char c = (unsigned char)*p;
    if (n == 1 && (c == '"' || c == '\\')) put(r, (char[]){ '\\', (char)c }, 2);
    else if (n == 1 && c < 32) put(r, code, (size_t)snprintf(code, sizeof code, "\\u%04x", c));
    else put(r, p, (size_t)n);
}

static bool hex4(const char *p, const char *end) {
    for (int k = 0; k < 4; k++)
        if (p + k >= end || !strchr("0123456789abcdefABCDEF", p[k]) || !p[k]) return false;
    return true;
}

/* Behind a backslash. */
static void put_escape(rewrite *r) {
    char c = r->p < r->end ? *r->p : 0;
    if (c == 'u' && hex4(r->p + 1, r->end)) put(r, "\\", 1), put(r, r->p, 5), r->p += 5;
    else if (c && strchr("\"\\/bfnrt", c)) put(r, "\\", 1), put(r, r->p++, 1);
    else if (c == '\'' || c == '`') put(r, r->p++, 1);
    else put(r, "\\\\", 2);
}

static bool string(rewrite *r) {
    int kind = 0, other = 0, n = quote_at(r->p, r->end, &kind);
    r->p += n;
    put(r, "\"", 1);
    while (r->p < r->end) {
        int q = quote_at(r->p, r->end, &other);
        bool same = q && (other == kind || (kind >= 256 && other == kind - 256));
        if (same && closes(r, r->p, q)) {
            r->p += q;
            put(r, "\"", 1);
            return true;
        }
        int len = utf8_char(r->p, r->end);
        if (*r->p == '\\') r->p++, put_escape(r);
        else if (!len) put(r, "\xef\xbf\xbd", 3), r->p++;
        else put_char(r, r->p, len), r->p += len;
    }
    r->cut = true;
    return false;
}

/* --- values ------------------------------------------------------------------------------------------------------- */
static bool value(rewrite *r);

/* A number as JSON has it; +5, .5, 5. and 007 are rewritten. */
static bool number(rewrite *r) {
    if (*r->p == '-') put(r, r->p++, 1);
    else if (*r->p == '+') r->p++;
    while (r->p + 1 < r->end && *r->p == '0' && is_digit(r->p[1])) r->p++;
    bool digits = r->p < r->end && is_digit(*r->p);
    if (!digits) put(r, "0", 1);
    for (; r->p < r->end && is_digit(*r->p); r->p++) put(r, r->p, 1);
    if (r->p < r->end && *r->p == '.') {
        r->p++;
        bool more = r->p < r->end && is_digit(*r->p);
        if (more) put(r, ".", 1);
        for (; r->p < r->end && is_digit(*r->p); r->p++) put(r, r->p, 1);
        digits |= more;
    }
    if (digits && r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
        const char *q = r->p + 1;
        if (q < r->end && (*q == '-' || *q == '+')) q++;
        if (q < r->end && is_digit(*q)) {
            while (q < r->end && is_digit(*q)) q++;
            put(r, r->p, (size_t)(q - r->p));
            r->p = q;
        }
    }
    return digits;
}

/* true, None, a name without quotes. */
static bool word(rewrite *r, bool as_name) {
    static const char *const known[][2] = { { "true", "true" },   { "True", "true" }, { "false", "false" },
                                            { "False", "false" }, { "null", "null" }, { "None", "null" } };
    const char *from = r->p;
    while (r->p < r->end && is_name(*r->p)) r->p++;
    size_t n = (size_t)(r->p - from);
    if (!n) return false;
    if (r->p == r->end) return r->cut = true, false;
    for (int k = 0; k < VM_LEN(known) && !as_name; k++)
        if (n == strlen(known[k][0]) && !memcmp(from, known[k][0], n))
            return put(r, known[k][1], strlen(known[k][1])), true;
    if (!as_name) return false;
    put(r, "\"", 1), put(r, from, n), put(r, "\"", 1);
    return true;
}

/* Behind the opening bracket, up to and with the closing one. Commas may be missing between objects, and stand where
 * nothing follows. */
static bool members(rewrite *r, char close) {
    bool first = true, object = close == '}';
    int kind;
    put(r, object ? "{" : "[", 1);
    for (;;) {
        blanks(r);
        while (r->p < r->end && *r->p == ',') r->p++, blanks(r);
        if (r->p >= r->end) return r->cut = true, false;
        if (*r->p == close) {
            r->p++;
            put(r, object ? "}" : "]", 1);
            return true;
        }
        if (!first) put(r, ",", 1);
        first = false;
        if (object) {
            if (!(quote_at(r->p, r->end, &kind) ? string(r) : word(r, true))) return false;
            blanks(r);
            if (r->p >= r->end) return r->cut = true, false;
            if (*r->p != ':' && *r->p != '=') return false;
            r->p++;
            put(r, ":", 1);
        }
        if (!value(r)) return false;
    }
}

static bool value(rewrite *r) {
    int kind;
    blanks(r);
    if (r->p >= r->end) return r->cut = true, false;
    char c = *r->p;
    if (quote_at(r->p, r->end, &kind)) return string(r);
    if (c == '{' || c == '[' || c == '(') {
        r->p++;
        if (++r->depth > JSON_LOOSE_DEPTH) return false;
        bool good = members(r, c == '{' ? '}' : c == '[' ? ']' : ')');
        r->depth--;
        return good;
    }
    if (is_digit(c) || c == '-' || c == '+' || c == '.') return number(r);
    return word(r, false);
}

json_loose json_loose_start(const char *text, size_t bytes) {
    return (json_loose){ .text = text, .p = text, .end = text + VM_MIN(bytes, (size_t)JSON_LOOSE_BYTES) };
}

static json_doc *parse(const rewrite *r, vm_error *e) {
    vm_error own = { 0 };
    json_doc *d = json_parse(r->out, (size_t)r->n, "answer", 0, &own);
    if (!d && own.status == VM_EDEVICE) *e = own;
    return d;
}

bool json_loose_next(json_loose *s, char open, json_doc **d, vm_error *e) {
    rewrite r = { .end = s->end };
    *d = NULL;
    while (!*d && !e->status && s->found < JSON_LOOSE_VALUES && s->work < JSON_LOOSE_WORK && s->p < s->end) {
        const char *at = memchr(s->p, open, (size_t)(s->end - s->p));
        if (!at) break;
        r.p = at, r.n = 0, r.depth = 0, r.cut = false;
        bool good = value(&r);
        s->work += (size_t)(r.p - at);
        if (r.failed) vm_nomem(e, (size_t)r.n, "an answer");
        else if (good && (*d = parse(&r, e))) {
            s->from = (size_t)(at - s->text), s->to = (size_t)(r.p - s->text), s->p = r.p, s->found++;
        } else {
            s->broken++, s->cut |= r.cut;
            s->p = at + 1;
        }
    }
    if (!*d) s->p = s->end;
    vm_free(r.out);
    return *d != NULL;
}

/* --- members ------------------------------------------------------------------------------------------------------ */
static bool same_name(const char *a, const char *b) {
    for (;; a++, b++) {
        while (*a == '_' || *a == ' ' || *a == '-') a++;
        while (*b == '_' || *b == ' ' || *b == '-') b++;
        char x = *a >= 'A' && *a <= 'Z' ? (char)(*a + 32) : *a, y = *b >= 'A' && *b <= 'Z' ? (char)(*b + 32) : *b;
        if (x != y) return false;
        if (!x) return true;
    }
}

json_value json_loose_get(json_value object, const char *name) {
    if (object.kind != JSON_OBJECT) return (json_value){ 0 };
    for (json_iter it = json_each(object); json_next(&it);)
        if (same_name(it.key, name)) return it.value;
    return (json_value){ 0 };
}

const char *json_loose_text(json_value v, char number[32]) {
    vm_error e = { 0 };
    if (v.kind == JSON_STRING) {
        const char *s = json_as_str(v, &e);
        return e.status ? NULL : s; /* a NUL inside */
    }
    if (v.kind == JSON_INT) snprintf(number, 32, "%lld", (long long)json_as_int(v, INT64_MIN, INT64_MAX, &e));
    else if (v.kind == JSON_DOUBLE) snprintf(number, 32, "%.9g", json_as_num(v, &e));
    else return NULL;
    return number;
}
