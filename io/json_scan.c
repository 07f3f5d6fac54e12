/* json_scan.c - the JSON tokenizer. See json_scan.h. */
#include "io/json_scan.h"

#include "io/utf8.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum { VALUE, FIRST_KEY, KEY, FIRST_VALUE, AFTER_VALUE, DONE, FAILED }; /* what may come next */
enum { NUMBER_ROOM = 1024 };                                            /* longest number that is accepted */

vm_status json_scan_fail(const json_scan *s, const char *at, const char *fmt, ...) {
    int64_t line = s->line;
    const char *start = s->text;
    for (const char *q = s->text; (q = memchr(q, '\n', (size_t)(at - q))); line++) start = ++q;
    char words[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(words, sizeof words, fmt, ap);
    va_end(ap);
    return vm_fail(s->e, VM_EINPUT, "%s:%lld:%lld: %s", s->name, (long long)line, (long long)(at - start + 1), words);
}

static json_token bad(json_scan *s, const char *at, const char *expected) {
    char found[32];
    const char *hint = "";
    int64_t left = s->end - at;
    if (left <= 0) snprintf(found, sizeof found, "the end");
    else if (*at > ' ' && *at < 127) snprintf(found, sizeof found, "'%c'", *at);
    else snprintf(found, sizeof found, "byte 0x%02x", (unsigned char)*at);
    if (left > 0 && *at == '\'') hint = "; strings stand in double quotes";
    else if (left > 0 && (*at == '/' || *at == '#')) hint = "; JSON has no comments";
    else if (left > 0 && (*at == 'N' || *at == 'I')) hint = "; not-a-number and infinity are written null";
    json_scan_fail(s, at, "found %s, expected %s%s", found, expected, hint);
    s->state = FAILED;
    return JSON_T_ERROR;
}

vm_status json_scan_start_at(json_scan *s, const char *text, size_t bytes, const char *name, int64_t line, int flags,
                             vm_error *e) {
    *s = (json_scan){
        .text = text, .p = text, .end = text + bytes, .name = name, .line = line, .flags = flags, .e = e
    };
    size_t ok = utf8_bad(text, bytes);
    if (ok < bytes) {
        s->state = FAILED;
        return json_scan_fail(s, text + ok, "byte 0x%02x is not UTF-8; save the file in UTF-8",
                              (unsigned char)text[ok]);
    }
    if (!(flags & JSON_STRICT) && bytes >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) s->p += 3;
    return VM_OK;
}

static void skip_blanks(json_scan *s) {
    for (;;) {
        while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t')) s->p++;
        if (!(s->flags & JSON_LENIENT) || s->end - s->p < 2 || s->p[0] != '/' || s->p[1] != '/') return;
        while (s->p < s->end && *s->p != '\n') s->p++;
        s->odd |= JSON_ODD_COMMENT;
    }
}

/* Four hexadecimal digits at p, or -1. */
static int hex4(const char *p, const char *end) {
    if (end - p < 4) return -1;
    int v = 0;
    for (int i = 0; i < 4; i++) {
        if (!isxdigit((unsigned char)p[i])) return -1;
        v = v * 16 + (p[i] <= '9' ? p[i] - '0' : (p[i] | 32) - 'a' + 10);
    }
    return v;
}

/* The low half of a surrogate pair as "\uDC00" at p, or -1. */
static int low_half(const char *p, const char *end) {
    int v = end - p >= 6 && p[0] == '\\' && p[1] == 'u' ? hex4(p + 2, end) : -1;
    return v >= 0xdc00 && v < 0xe000 ? v : -1;
}

/* s->p stands behind the opening quote; leaves it behind the closing one. */
static json_token string(json_scan *s, json_token t) {
    s->from = s->p;
    for (;; s->p++) {
        if (s->p == s->end) return bad(s, s->p, "the closing quote of a string");
        unsigned char c = (unsigned char)*s->p;
        if (c == '"') break;
        if (c < ' ') return bad(s, s->p, "no control character inside a string (write \\n, \\t or \\u00XX)");
        if (c != '\\') continue;
        const char *esc = s->p++;
        if (s->p == s->end || !memchr("\"\\/bfnrtu", *s->p, 9))
            return bad(s, s->p, "one of \" \\ / b f n r t u after a backslash");
        if (*s->p != 'u') continue;
        int v = hex4(s->p + 1, s->end);
        if (v < 0) return bad(s, esc, "four hexadecimal digits after \\u");
        s->p += 4;
        bool high = v >= 0xd800 && v < 0xdc00;
        if (high && low_half(s->p + 1, s->end) >= 0) s->p += 6;
        else if (v >= 0xd800 && v < 0xe000 && (s->flags & JSON_STRICT))
            return bad(s, esc, "both halves of a surrogate pair");
    }
    s->len = (size_t)(s->p++ - s->from);
    return t;
}

static bool digits(json_scan *s) {
    const char *p = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9') s->p++;
    return s->p > p;
}

static json_token number(json_scan *s) {
    s->from = s->p;
    if (*s->p == '-') s->p++;
    if (s->p < s->end && *s->p == '0') s->p++;
    else if (!digits(s)) return bad(s, s->p, "a digit");
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (!digits(s)) return bad(s, s->p, "a digit after the point");
    }
    if (s->p < s->end && (*s->p | 32) == 'e') {
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-')) s->p++;
        if (!digits(s)) return bad(s, s->p, "a digit of the exponent");
    }
    s->len = (size_t)(s->p - s->from);
    if (s->len >= NUMBER_ROOM) return bad(s, s->from, "a number of at most 1023 characters");
    return JSON_T_NUMBER;
}

static json_token word(json_scan *s, const char *w, json_token t) {
    size_t n = strlen(w);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, w, n)) return bad(s, s->p, "a value");
    s->from = s->p, s->len = n, s->p += n;
    return t;
}

/* One of the three numbers that are none, as null. */
static json_token no_number(json_scan *s) {
    static const char *const words[] = { "NaN", "Infinity", "-Infinity" };
    for (int k = 0; k < VM_LEN(words) && s->flags & JSON_LENIENT; k++) {
        size_t n = strlen(words[k]);
        if ((size_t)(s->end - s->p) < n || memcmp(s->p, words[k], n)) continue;
        s->odd |= JSON_ODD_NUMBER;
        return word(s, words[k], JSON_T_NULL);
    }
    return JSON_T_END; /* none of them */
}

static json_token value(json_scan *s) {
    if (s->p == s->end) return bad(s, s->p, "a value");
    char c = *s->p;
    json_token t;
    if (c == '{' || c == '[') {
        if (s->depth == JSON_MAX_DEPTH) return bad(s, s->p, "at most 512 levels of nesting");
        uint8_t bit = (uint8_t)(1u << s->depth % 8), *b = &s->in_object[s->depth / 8];
        *b = (uint8_t)(c == '{' ? *b | bit : *b & ~bit);
        s->depth++;
        s->from = s->p++, s->len = 1;
        s->state = c == '{' ? FIRST_KEY : FIRST_VALUE;
        return c == '{' ? JSON_T_OBJECT : JSON_T_ARRAY;
    }
    if (c == '"') s->p++, t = string(s, JSON_T_STRING);
    else if ((t = no_number(s)) != JSON_T_END) {}
    else if (c == '-' || (c >= '0' && c <= '9')) t = number(s);
    else if (c == 't') t = word(s, "true", JSON_T_TRUE);
    else if (c == 'f') t = word(s, "false", JSON_T_FALSE);
    else if (c == 'n') t = word(s, "null", JSON_T_NULL);
    else return bad(s, s->p, "a value");
    if (t != JSON_T_ERROR) s->state = s->depth ? AFTER_VALUE : DONE;
    return t;
}

static json_token close_container(json_scan *s, bool object) {
    s->from = s->p++, s->len = 1;
    s->state = --s->depth ? AFTER_VALUE : DONE;
    return object ? JSON_T_OBJECT_END : JSON_T_ARRAY_END;
}

json_token json_scan_next(json_scan *s) {
    if (s->state == FAILED) return JSON_T_ERROR;
    skip_blanks(s);
    if (s->state == DONE) return s->p == s->end ? JSON_T_END : bad(s, s->p, "nothing after the end of the text");
    bool object = s->depth && (s->in_object[(s->depth - 1) / 8] >> (s->depth - 1) % 8 & 1), closes, comma = false;
    if (s->state == AFTER_VALUE && s->p < s->end && *s->p == ',') {
        s->p++, comma = true;
        skip_blanks(s);
    }
    closes = s->p < s->end && *s->p == (object ? '}' : ']');
    switch (s->state) {
    case AFTER_VALUE:
        if (closes && !(comma && (s->flags & JSON_STRICT))) {
            s->odd |= comma ? JSON_ODD_COMMA : 0;
            return close_container(s, object);
        }
        if (!comma) return bad(s, s->p, object ? "',' or '}'" : "',' or ']'");
        if (!object) return value(s);
        break;
    case FIRST_VALUE:
        return closes ? close_container(s, object) : value(s);
    case FIRST_KEY:
        if (closes) return close_container(s, object);
        break;
    default: /* VALUE: at the top, or after a key */
        return value(s);
    }
    if (s->p == s->end || *s->p != '"') return bad(s, s->p, "a name in double quotes");
    s->p++;
    if (!string(s, JSON_T_KEY)) return JSON_T_ERROR;
    skip_blanks(s);
    if (s->p == s->end || *s->p != ':') return bad(s, s->p, "':'");
    s->p++;
    s->state = VALUE;
    return JSON_T_KEY;
}

bool json_scan_skip(json_scan *s, json_token t) {
    if (t == JSON_T_KEY) t = json_scan_next(s);
    if (t != JSON_T_OBJECT && t != JSON_T_ARRAY) return t != JSON_T_ERROR;
    for (int level = s->depth - 1; s->depth > level;)
        if (json_scan_next(s) == JSON_T_ERROR) return false;
    return true;
}

static char *put_utf8(char *o, int c) {
    static const unsigned char lead[] = { 0, 0xc0, 0xe0, 0xf0 };
    int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    *o++ = (char)(lead[more] | c >> 6 * more);
    while (more--) *o++ = (char)(0x80 | (c >> 6 * more & 63));
    return o;
}

size_t json_scan_text(const json_scan *s, char *out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char *o = out;
    for (const char *p = s->from, *end = p + s->len; p < end;) {
        const char *esc = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((esc ? esc : end) - p);
        memcpy(o, p, plain);
        o += plain, p += plain;
        if (!esc) break;
        if (p[1] != 'u') {
            *o++ = to[strchr(from, p[1]) - from];
            p += 2;
            continue;
        }
        int c = hex4(p + 2, end), low = low_half(p + 6, end);
        p += 6;
        if (c >= 0xd800 && c < 0xe000) {
            if (c < 0xdc00 && low >= 0) c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00), p += 6;
            else c = 0xfffd;
        }
        o = put_utf8(o, c);
    }
    return (size_t)(o - out);
}

bool json_scan_int(const json_scan *s, int64_t *v) {
    bool negative = s->from[0] == '-';
    int64_t x = 0;
    for (size_t i = negative; i < s->len; i++) {
        if (s->from[i] < '0' || s->from[i] > '9') return false;
        int d = negative ? '0' - s->from[i] : s->from[i] - '0';
        if (__builtin_mul_overflow(x, 10, &x) || __builtin_add_overflow(x, d, &x)) return false;
    }
    *v = x;
    return x || !negative; /* -0 is a double */
}

double json_scan_num(const json_scan *s) {
    char text[NUMBER_ROOM];
    memcpy(text, s->from, s->len);
    text[s->len] = 0;
    return strtod(text, NULL);
}
