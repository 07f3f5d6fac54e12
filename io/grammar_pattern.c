/* grammar_pattern.c - the pattern of a schema: a regular expression over the characters of a string, written as JSON
 * writes them. */
#include <string.h>

#include "io/grammar_parts.h"
#include "io/unicode.h"

enum { DEEPEST = 100 };
static const char quoted[] = "\"\\\n\r\t\b\f", letter[] = "\"\\nrtbf";

static bool escape(gx_reader *r, gx_range *out, int *n) {
    static const gx_range digit[] = { { '0', '9' } },
                          word[] = { { '0', '9' }, { 'A', 'Z' }, { '_', '_' }, { 'a', 'z' } },
                          blank[] = { { '\t', '\r' }, { ' ', ' ' } };
    char c = r->end - r->s > 1 ? r->s[1] : 0;
    r->s += 2;
    if (c == 'd') memcpy(out, digit, sizeof digit), *n = VM_LEN(digit);
    else if (c == 'w') memcpy(out, word, sizeof word), *n = VM_LEN(word);
    else if (c == 's') memcpy(out, blank, sizeof blank), *n = VM_LEN(blank);
    else {
        static const char from[] = "nrtbf", to[] = "\n\r\t\b\f";
        const char *at = c ? strchr(from, c) : NULL;
        if (!at && (!c || (c & 0x80) || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')))
            return gx_fail(r, "pattern: \\%c is not supported; known are \\d \\w \\s \\n \\r \\t and marks",
                           c ? c : ' '),
                   false;
        int32_t v = at ? to[at - from] : c;
        out[0] = (gx_range){ v, v }, *n = 1;
    }
    return true;
}

/* One character of the set. Quotes, backslashes and controls of a set that names them are escapes; of `.` and [^...]
 * they do not come. */
static int32_t characters(gx_reader *r, gx_range *range, int64_t n, bool named) {
    gx_range *kept = vm_alloc((size_t)(3 * n + 1) * sizeof *kept);
    gx_items any = { 0 };
    int64_t k = 0;
    bool ok = kept != NULL;
    for (int64_t i = 0; i < n && ok; i++) {
        static const gx_range plain[] = { { ' ', '!' }, { '#', '[' }, { ']', 0x10ffff } };
        for (int j = 0; j < VM_LEN(plain); j++) {
            gx_range both = { VM_MAX(range[i].lo, plain[j].lo), VM_MIN(range[i].hi, plain[j].hi) };
            if (both.lo <= both.hi) kept[k++] = both;
        }
        for (int j = 0; quoted[j] && named && ok; j++)
            if (quoted[j] >= range[i].lo && quoted[j] <= range[i].hi)
                ok = gx_add(&any, gx_literal(r->b, (char[]){ '\\', letter[j] }, 2));
    }
    if (ok && (k || !any.n)) ok = gx_add(&any, gx_set(r->b, kept, k));
    int32_t x = ok ? gx_list(r->b, GX_ANY, any.x, any.n) : -1;
    if (x < 0) vm_nomem(r->e, (size_t)n * sizeof *kept, "a grammar");
    vm_free(kept), vm_free(any.x);
    return x;
}

static int32_t choices(gx_reader *r, int depth);

static int32_t item(gx_reader *r, int depth) {
    gx_range one[GX_CLASS_ROOM], *range;
    int n = 1;
    int64_t many;
    int32_t x = -1;
    if (*r->s == '(') {
        r->s++;
        if (r->end - r->s > 1 && *r->s == '?') {
            if (r->s[1] != ':') return gx_fail(r, "pattern: (?%c is not supported, groups are ( and (?:", r->s[1]), -1;
            r->s += 2;
        }
        x = choices(r, depth + 1);
        if (r->e->status) return -1;
        if (r->s == r->end) return gx_fail(r, "pattern: a group ( without its )"), -1;
        r->s++;
    } else if (*r->s == '[') {
        bool negated = r->end - r->s > 1 && r->s[1] == '^';
        if (!gx_read_class(r, escape, &range, &many)) x = characters(r, range, many, !negated);
        vm_free(range);
    } else if (*r->s == '.') {
        r->s++;
        x = characters(r, (gx_range[]){ { 0, 0x10ffff } }, 1, false);
    } else if (*r->s == '\\') {
        if (escape(r, one, &n)) x = characters(r, one, n, true);
    } else if (strchr("*+?{^$", *r->s)) {
        return gx_fail(r, "pattern: \"%c\" stands where a character is expected", *r->s), -1;
    } else {
        int32_t c = uni_next(&r->s, r->end);
        x = characters(r, (gx_range[]){ { c, c } }, 1, true);
    }
    if (r->e->status) return -1;
    const char *from = r->s;
    x = gx_read_counts(r, x);
    if (r->s - from > 1 && r->s[-1] == '?' && strchr("*+?}", r->s[-2]))
        return gx_fail(r, "pattern: lazy repetitions are not supported"), -1;
    return x;
}

static int32_t choices(gx_reader *r, int depth) {
    gx_items any = { 0 }, all = { 0 };
    int32_t x = -1;
    bool ok = true;
    if (depth > DEEPEST) return gx_fail(r, "pattern: groups in each other, more than %d deep", DEEPEST), -1;
    for (;; r->s++) {
        all.n = 0;
        while (ok && !r->e->status && r->s < r->end && *r->s != '|' && *r->s != ')') ok = gx_add(&all, item(r, depth));
        ok = ok && gx_add(&any, gx_list(r->b, GX_ALL, all.x, all.n));
        if (!ok || r->e->status || r->s == r->end || *r->s == ')') break;
    }
    if (ok && !depth && r->s < r->end) gx_fail(r, "pattern: a ) without its (");
    else if (ok) x = gx_list(r->b, GX_ANY, any.x, any.n);
    if (x < 0 && !r->e->status) vm_nomem(r->e, 64, "a grammar");
    vm_free(any.x), vm_free(all.x);
    return x;
}

int32_t gx_pattern(gx_book *b, const char *pattern, json_value where, vm_error *e) {
    size_t n = strlen(pattern);
    gx_reader r = { b, pattern + 1, pattern + n - 1, json_line(where), e };
    bool escaped = false; /* the dollar */
    for (size_t i = n - 1; i-- > 0 && pattern[i] == '\\';) escaped = !escaped;
    if (n < 2 || pattern[0] != '^' || pattern[n - 1] != '$' || escaped)
        return json_fail(where, e, "\"%s\" is not anchored; patterns are supported as ^...$", pattern), -1;
    return choices(&r, 0);
}
