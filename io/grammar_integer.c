/* grammar_integer.c - the integers of a range, as decimal digits. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/grammar_parts.h"

static int32_t digits(gx_book *b, char lo, char hi) { return gx_set(b, (gx_range[]){ { lo, hi } }, 1); }
static bool all(const char *s, char c, int n) { return (int)strspn(s, (char[]){ c, 0 }) >= n; }

/* The numbers lo to hi, both of n digits. */
static int32_t between(gx_book *b, const char *lo, const char *hi, int n) {
    static const char zeros[] = "000000000000000000", nines[] = "999999999999999999";
    gx_items any = { 0 };
    bool ok = true;
    if (!n) return gx_literal(b, "", 0);
    if (all(lo, '0', n) && all(hi, '9', n)) return gx_repeat(b, digits(b, '0', '9'), n, n);
    if (*lo == *hi) return gx_pair(b, GX_ALL, gx_literal(b, lo, 1), between(b, lo + 1, hi + 1, n - 1));
    char from = *lo, to = *hi; /* first digits behind which all may come */
    if (!all(lo + 1, '0', n - 1))
        ok = gx_add(&any, gx_pair(b, GX_ALL, gx_literal(b, lo, 1), between(b, lo + 1, nines, n - 1))), from++;
    if (!all(hi + 1, '9', n - 1))
        ok = ok && gx_add(&any, gx_pair(b, GX_ALL, gx_literal(b, hi, 1), between(b, zeros, hi + 1, n - 1))), to--;
    if (from <= to)
        ok = ok &&
             gx_add(&any, gx_pair(b, GX_ALL, digits(b, from, to), gx_repeat(b, digits(b, '0', '9'), n - 1, n - 1)));
    int32_t x = ok ? gx_list(b, GX_ANY, any.x, any.n) : -1;
    vm_free(any.x);
    return x;
}

/* 1 <= lo <= hi: by the number of digits; lengths that are complete come together. */
static int32_t positive(gx_book *b, int64_t lo, int64_t hi) {
    gx_items any = { 0 };
    int whole = 0, last = 0, n = 1;
    bool ok = true;
    for (int64_t from = 1; from <= hi && ok; from *= 10, n++) {
        int64_t a = VM_MAX(lo, from), z = VM_MIN(hi, 10 * from - 1);
        char s[24], t[24];
        if (a > z) continue;
        if (a == from && z == 10 * from - 1) {
            whole = whole ? whole : n, last = n;
            continue;
        }
        snprintf(s, sizeof s, "%" PRId64, a), snprintf(t, sizeof t, "%" PRId64, z);
        ok = gx_add(&any, between(b, s, t, n));
    }
    if (whole)
        ok = ok && gx_add(&any, gx_pair(b, GX_ALL, digits(b, '1', '9'),
                                        gx_repeat(b, digits(b, '0', '9'), whole - 1, last - 1)));
    int32_t x = ok ? gx_list(b, GX_ANY, any.x, any.n) : -1;
    vm_free(any.x);
    return x;
}

int32_t gx_integer(gx_book *b, int64_t lo, int64_t hi) {
    gx_items any = { 0 };
    bool ok = true;
    if (lo < 0) ok = gx_add(&any, gx_pair(b, GX_ALL, gx_literal(b, "-", 1), positive(b, VM_MAX(-hi, (int64_t)1), -lo)));
    if (lo <= 0 && hi >= 0) ok = ok && gx_add(&any, gx_literal(b, "0", 1));
    if (hi > 0) ok = ok && gx_add(&any, positive(b, VM_MAX(lo, (int64_t)1), hi));
    int32_t x = ok ? gx_list(b, GX_ANY, any.x, any.n) : -1;
    vm_free(any.x);
    return x;
}
