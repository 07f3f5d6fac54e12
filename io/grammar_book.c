/* grammar_book.c - expressions of a grammar: see grammar_parts.h. */
#include <stdlib.h>
#include <string.h>

#include "io/grammar_parts.h"

static int32_t add(gx_book *b, gx x) {
    if (b->failed || b->n >= INT32_MAX || !vm_grow(&b->x, &b->cap, b->n + 1, sizeof *b->x)) return b->failed = true, -1;
    b->x[b->n] = x;
    return (int32_t)b->n++;
}

int32_t gx_literal(gx_book *b, const char *s, size_t n) {
    if (!vm_grow(&b->bytes, &b->bytes_cap, b->n_bytes + (int64_t)n + 1, 1)) return b->failed = true, -1;
    if (n) memcpy(b->bytes + b->n_bytes, s, n);
    b->n_bytes += (int64_t)n;
    return add(b, (gx){ .kind = GX_LITERAL, .first = b->n_bytes - (int64_t)n, .n = (int64_t)n });
}

static int by_start(const void *a, const void *b) {
    const gx_range *x = a, *y = b;
    return x->lo != y->lo ? (x->lo < y->lo ? -1 : 1) : 0;
}

/* Sorted and joined where they touch. */
static int64_t join(gx_range *r, int64_t n) {
    int64_t k = 0;
    qsort(r, (size_t)n, sizeof *r, by_start);
    for (int64_t i = 0; i < n; i++) {
        if (k && r[i].lo <= r[k - 1].hi + 1) r[k - 1].hi = VM_MAX(r[k - 1].hi, r[i].hi);
        else r[k++] = r[i];
    }
    return k;
}

int32_t gx_set(gx_book *b, gx_range *r, int64_t n) {
    n = n ? join(r, n) : 0;
    if (!vm_grow(&b->range, &b->ranges_cap, b->n_ranges + n + 1, sizeof *r)) return b->failed = true, -1;
    if (n) memcpy(b->range + b->n_ranges, r, (size_t)n * sizeof *r);
    b->n_ranges += n;
    return add(b, (gx){ .kind = GX_SET, .first = b->n_ranges - n, .n = n });
}

int32_t gx_list(gx_book *b, gx_kind all_or_any, const int32_t *x, int64_t n) {
    if (n == 1) return x[0];
    for (int64_t i = 0; i < n; i++)
        if (x[i] < 0) return b->failed = true, -1;
    if (!vm_grow(&b->member, &b->members_cap, b->n_members + n + 1, sizeof *x)) return b->failed = true, -1;
    if (n) memcpy(b->member + b->n_members, x, (size_t)n * sizeof *x);
    b->n_members += n;
    return add(b, (gx){ .kind = all_or_any, .first = b->n_members - n, .n = n });
}

int32_t gx_pair(gx_book *b, gx_kind all_or_any, int32_t x, int32_t y) {
    return gx_list(b, all_or_any, (int32_t[]){ x, y }, 2);
}

int32_t gx_repeat(gx_book *b, int32_t x, int64_t lo, int64_t hi) {
    if (x < 0) return b->failed = true, -1;
    return lo == 1 && hi == 1 ? x : add(b, (gx){ .kind = GX_REPEAT, .first = x, .n = 1, .lo = lo, .hi = hi });
}

int32_t gx_call(gx_book *b, int32_t rule) { return rule < 0 ? -1 : add(b, (gx){ .kind = GX_CALL, .first = rule }); }
int32_t gx_chars(gx_book *b, int64_t lo, int64_t hi) { return add(b, (gx){ .kind = GX_CHARS, .lo = lo, .hi = hi }); }

int32_t gx_rule_of(gx_book *b, const char *name, size_t n, int64_t line) {
    for (int64_t i = 0; i < b->n_rules; i++)
        if (strlen(b->rule[i].name) == n && !memcmp(b->rule[i].name, name, n)) return (int32_t)i;
    return gx_rule_new(b, name, n, line);
}

int32_t gx_rule_new(gx_book *b, const char *name, size_t n, int64_t line) {
    char *own = b->n_rules < GX_MOST_RULES ? vm_strndup(name, n) : NULL;
    b->full |= b->n_rules >= GX_MOST_RULES;
    if (!own || !vm_grow(&b->rule, &b->rules_cap, b->n_rules + 1, sizeof *b->rule))
        return vm_free(own), b->failed = true, -1;
    b->rule[b->n_rules] = (gx_rule){ own, -1, line };
    return (int32_t)b->n_rules++;
}

void gx_book_free(gx_book *b) {
    for (int64_t i = 0; i < b->n_rules; i++) vm_free(b->rule[i].name);
    vm_free(b->x), vm_free(b->bytes), vm_free(b->range), vm_free(b->member), vm_free(b->rule);
    *b = (gx_book){ 0 };
}

vm_status gx_negate(gx_range **r, int64_t *n, vm_error *e) {
    int64_t k = *n ? join(*r, *n) : 0, m = 0;
    gx_range *out = vm_alloc((size_t)(k + 2) * sizeof *out);
    int32_t at = 0;
    if (!out) return vm_nomem(e, (size_t)(k + 2) * sizeof *out, "a grammar");
    for (int64_t i = 0; i <= k; i++) {
        int32_t stop = i < k ? (*r)[i].lo : 0x110000;
        if (at < stop) out[m++] = (gx_range){ at, stop - 1 };
        if (i < k) at = (*r)[i].hi + 1;
    }
    vm_free(*r);
    *r = out, *n = m;
    return VM_OK;
}
