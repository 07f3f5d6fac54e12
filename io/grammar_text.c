/* grammar_text.c - grammars in the notation of grammar.h; what the pattern of a schema shares with it. */
#include <string.h>

#include "io/grammar_parts.h"
#include "io/unicode.h"

enum { DEEPEST = 200, MOST_COUNT = 1 << 24 };

vm_status gx_fail(const gx_reader *r, const char *fmt, ...) {
    char words[512];
    va_list a;
    va_start(a, fmt);
    vsnprintf(words, sizeof words, fmt, a);
    va_end(a);
    return vm_fail(r->e, VM_EINPUT, "%s:%lld: %s", r->b->name, (long long)r->line, words);
}

/* Bytes of a text that a message shows. */
static int shown(const gx_reader *r, const char *s) { return (int)VM_MIN(r->end - s, (ptrdiff_t)12); }

/* --- counts and classes ------------------------------------------------------------------------------------------- */
static int64_t number(gx_reader *r) {
    int64_t v = -1;
    for (; r->s < r->end && *r->s >= '0' && *r->s <= '9'; r->s++)
        v = VM_MIN((v < 0 ? 0 : v) * 10 + (*r->s - '0'), (int64_t)MOST_COUNT + 1);
    return v;
}

int32_t gx_read_counts(gx_reader *r, int32_t x) {
    for (; r->s < r->end && x >= 0 && !r->e->status; r->s++) {
        int64_t lo = 0, hi = -1;
        if (*r->s == '+') lo = 1;
        else if (*r->s == '?') hi = 1;
        else if (*r->s == '{') {
            const char *from = r->s++;
            lo = hi = number(r);
            if (r->s < r->end && *r->s == ',') r->s++, hi = number(r);
            if (r->s == r->end || *r->s != '}' || lo < 0)
                return gx_fail(r, "a count \"%.*s\", expected {m}, {m,} or {m,n}", shown(r, from), from), -1;
            if (lo > MOST_COUNT || hi > MOST_COUNT) return gx_fail(r, "a count above %d", MOST_COUNT), -1;
            if (hi >= 0 && hi < lo)
                return gx_fail(r, "a count from %lld to %lld; the larger one comes second", (long long)lo,
                               (long long)hi),
                       -1;
        } else if (*r->s != '*') break;
        x = gx_repeat(r->b, x, lo, hi);
    }
    return x;
}

vm_status gx_read_class(gx_reader *r, gx_escape *escape, gx_range **out, int64_t *n) {
    int64_t cap = 0;
    *out = NULL, *n = 0;
    bool negated = ++r->s < r->end && *r->s == '^';
    if (negated) r->s++;
    for (bool range = false; !r->e->status; range = false) {
        gx_range got[2][GX_CLASS_ROOM];
        int k[2] = { 0 };
        if (r->s == r->end || *r->s == '\n') return gx_fail(r, "a class [ without its ]");
        if (*r->s == ']') break;
        for (int side = 0; side < 1 + range; side++) {
            if (*r->s == '\\') {
                if (!escape(r, got[side], &k[side])) return r->e->status;
            } else {
                int32_t c = uni_next(&r->s, r->end);
                got[side][0] = (gx_range){ c, c }, k[side] = 1;
            }
            if (!side && r->end - r->s > 1 && *r->s == '-' && r->s[1] != ']') range = true, r->s++;
        }
        if (range) {
            if (k[0] != 1 || k[1] != 1 || got[0][0].lo != got[0][0].hi || got[1][0].lo != got[1][0].hi ||
                got[0][0].lo > got[1][0].hi)
                return gx_fail(r, "a range in a class goes from a character to one behind it");
            got[0][0].hi = got[1][0].hi;
        }
        if (!vm_grow(out, &cap, *n + k[0], sizeof **out)) return vm_nomem(r->e, sizeof **out, "a grammar");
        memcpy(*out + *n, got[0], (size_t)k[0] * sizeof **out);
        *n += k[0];
    }
    r->s++;
    return negated ? gx_negate(out, n, r->e) : r->e->status;
}

/* --- the notation ------------------------------------------------------------------------------------------------- */
static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static size_t name_length(const gx_reader *r) {
    size_t n = 0;
    while (r->s + n < r->end && is_name(r->s[n])) n++;
    return n;
}

/* Blanks and comments; lines too, where they do not end the rule. */
static void skip(gx_reader *r, bool lines) {
    for (; r->s < r->end; r->s++) {
        if (*r->s == '#')
            while (r->s + 1 < r->end && r->s[1] != '\n') r->s++;
        else if (*r->s == '\n' && lines) r->line++;
        else if (*r->s != ' ' && *r->s != '\t' && *r->s != '\r') break;
    }
}

static int hex(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool escape(gx_reader *r, gx_range *out, int *n) {
    static const char from[] = "nrt\"\\[]^-.", to[] = "\n\r\t\"\\[]^-.";
    char c = r->end - r->s > 1 ? r->s[1] : 0;
    const char *at = c ? strchr(from, c) : NULL;
    int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    int32_t v = at ? (unsigned char)to[at - from] : 0;
    if (!at && (!digits || r->end - r->s < 2 + digits))
        return gx_fail(r, "an escape \\%c; known are \\n \\r \\t \\\" \\\\ \\xHH \\uHHHH \\UHHHHHHHH", c ? c : ' '),
               false;
    for (int i = 0; i < digits; i++) {
        int h = hex(r->s[2 + i]);
        if (h < 0 || v > 0x10ffff) return gx_fail(r, "\\%c has %d hexadecimal digits, up to 10ffff", c, digits), false;
        v = v * 16 + h;
    }
    if (v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff)) return gx_fail(r, "\\%c names no character", c), false;
    r->s += 2 + digits;
    out[0] = (gx_range){ v, v }, *n = 1;
    return true;
}

static int32_t quoted(gx_reader *r) {
    char *text = vm_alloc((size_t)(r->end - r->s)), c[4];
    int64_t n = 0;
    int32_t x = -1;
    if (!text) return vm_nomem(r->e, (size_t)(r->end - r->s), "a grammar"), -1;
    for (r->s++; !r->e->status; ) {
        gx_range one;
        int k;
        if (r->s == r->end || *r->s == '\n') gx_fail(r, "a literal without its closing \"");
        else if (*r->s == '"') break;
        else if (*r->s != '\\') text[n++] = *r->s++;
        else if (escape(r, &one, &k)) {
            k = uni_put(c, one.lo);
            memcpy(text + n, c, (size_t)k), n += k;
        }
    }
    r->s++;
    if (!r->e->status) x = gx_literal(r->b, text, (size_t)n);
    vm_free(text);
    return x;
}

static int32_t class(gx_reader *r) {
    gx_range *range;
    int64_t n;
    int32_t x = -1;
    if (!gx_read_class(r, escape, &range, &n)) x = gx_set(r->b, range, n);
    vm_free(range);
    return x;
}

static int32_t alternatives(gx_reader *r, int depth);

static int32_t item(gx_reader *r, int depth) {
    size_t n = name_length(r);
    int32_t x;
    if (n) {
        x = gx_call(r->b, gx_rule_of(r->b, r->s, n, r->line));
        r->s += n;
    } else if (*r->s == '"') x = quoted(r);
    else if (*r->s == '[') x = class(r);
    else if (*r->s == '.') r->s++, x = gx_set(r->b, (gx_range[]){ { 0, 0x10ffff } }, 1);
    else if (*r->s == '(') {
        r->s++;
        x = alternatives(r, depth + 1);
        if (r->e->status) return -1;
        if (r->s == r->end || *r->s != ')') return gx_fail(r, "a group ( without its )"), -1;
        r->s++;
    } else
        return gx_fail(r, "found \"%.*s\", expected a name, \"literal\", [class], . or (group)",
                       r->s < r->end ? uni_len((unsigned char)*r->s) : 0, r->s),
               -1;
    skip(r, depth > 0);
    return r->e->status ? -1 : gx_read_counts(r, x);
}

static bool sequence_ends(const gx_reader *r) {
    return r->s == r->end || *r->s == '|' || *r->s == ')' || *r->s == '\n';
}

/* Up to the end of the rule, of the group. An alternative may be empty. */
static int32_t alternatives(gx_reader *r, int depth) {
    gx_items any = { 0 }, all = { 0 };
    int32_t x = -1;
    bool ok = true;
    if (depth > DEEPEST) return gx_fail(r, "groups in each other, more than %d deep", DEEPEST), -1;
    for (;;) {
        skip(r, true);
        all.n = 0;
        while (ok && !r->e->status && !sequence_ends(r)) {
            ok = gx_add(&all, item(r, depth));
            skip(r, depth > 0);
        }
        ok = ok && gx_add(&any, gx_list(r->b, GX_ALL, all.x, all.n));
        if (!ok || r->e->status || r->s == r->end || *r->s != '|') break;
        r->s++;
    }
    if (ok) x = gx_list(r->b, GX_ANY, any.x, any.n);
    if (x < 0 && !r->e->status) vm_nomem(r->e, 64, "a grammar");
    vm_free(any.x), vm_free(all.x);
    return x;
}

static vm_status rule(gx_reader *r) {
    size_t n = name_length(r);
    int64_t line = r->line;
    if (!n) return gx_fail(r, "found \"%.*s\", expected a rule: NAME ::= ...", shown(r, r->s), r->s);
    int32_t i = gx_rule_of(r->b, r->s, n, line);
    if (i < 0) return vm_nomem(r->e, n, "a grammar");
    r->s += n;
    skip(r, false);
    if (r->end - r->s < 3 || memcmp(r->s, "::=", 3))
        return gx_fail(r, "rule \"%s\": expected ::= behind the name", r->b->rule[i].name);
    if (r->b->rule[i].body >= 0) return gx_fail(r, "rule \"%s\" is there already", r->b->rule[i].name);
    r->s += 3;
    int32_t x = alternatives(r, 0);
    if (r->e->status) return r->e->status;
    if (r->s < r->end && *r->s == ')') return gx_fail(r, "a ) without its (");
    r->b->rule[i].body = x;
    return VM_OK;
}

vm_status grammar_from_text(grammar **out, const char *text, size_t bytes, const char *name, vm_error *e) {
    gx_book b = { .name = name };
    gx_reader r = { &b, text, text + bytes, 1, e };
    *out = NULL;
    if (gx_rule_of(&b, "root", 4, 0) < 0) vm_nomem(e, 64, "a grammar");
    for (;;) {
        skip(&r, true);
        if (e->status || r.s == r.end) break;
        rule(&r);
    }
    if (b.full) vm_error_clear(e), vm_fail(e, VM_EINPUT, "%s: more than %d rules", name, GX_MOST_RULES);
    if (!e->status && b.rule[0].body < 0) vm_fail(e, VM_EINPUT, "%s: no rule \"root\", which is the whole text", name);
    if (!e->status) return grammar_finish(out, &b, e);
    gx_book_free(&b);
    return e->status;
}
