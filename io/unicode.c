/* unicode.c - UTF-8, classes, normal forms and lower case over utf8proc's tables.
 *
 * NFC = canonical decomposition, canonical ordering, composition (Unicode Standard Annex 15). utf8proc orders by
 * bubbling, which is quadratic in a long run of marks; here runs are sorted stably by counting. */
#include "io/unicode.h"
#include <string.h>
#include <utf8proc.h>

void uni_free(uni_text *t) {
    vm_free(t->c);
    *t = (uni_text){0};
}

bool uni_add(uni_text *t, int32_t c) {
    if (t->n == t->cap && !vm_grow(&t->c, &t->cap, t->n + 1, sizeof *t->c)) return false;
    t->c[t->n++] = c;
    return true;
}

int uni_len(unsigned char b) { return b < 0xc2 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : b < 0xf5 ? 4 : 1; }

int32_t uni_next(const char **p, const char *end) {
    const unsigned char *s = (const unsigned char *)*p;
    unsigned char b = s[0];
    int len = uni_len(b);
    if (b < 0x80) {
        (*p)++;
        return b;
    }
    if (len == 1) { /* a continuation byte or one that never occurs */
        (*p)++;
        return 0xfffd;
    }
    /* the second byte's range excludes overlong forms, surrogates and values beyond U+10FFFF */
    unsigned lo = b == 0xe0 ? 0xa0 : b == 0xf0 ? 0x90 : 0x80, hi = b == 0xed ? 0x9f : b == 0xf4 ? 0x8f : 0xbf;
    int32_t c = b & (0xff >> (len + 1));
    for (int i = 1; i < len; i++) {
        if (*p + i >= end || s[i] < lo || s[i] > hi) {
            *p += i;
            return 0xfffd;
        }
        c = c << 6 | (s[i] & 0x3f);
        lo = 0x80;
        hi = 0xbf;
    }
    *p += len;
    return c;
}

int uni_put(char *out, int32_t c) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    int len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (int i = len - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    out[0] = (char)((0xf00 >> len & 0xff) | c);
    return len;
}

bool uni_decode(uni_text *t, const char *s, size_t bytes) {
    if (bytes > INT64_MAX / 8 || !vm_grow(&t->c, &t->cap, t->n + (int64_t)bytes, sizeof *t->c)) return false;
    for (const char *end = s + bytes; s < end;) t->c[t->n++] = uni_next(&s, end);
    return true;
}

bool uni_space(int32_t c) {
    if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

bool uni_letter(int32_t c) {
    if (c < 0x80) return (c | 32) >= 'a' && (c | 32) <= 'z';
    utf8proc_category_t k = utf8proc_category(c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool uni_number(int32_t c) {
    if (c < 0x80) return c >= '0' && c <= '9';
    utf8proc_category_t k = utf8proc_category(c);
    return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

bool uni_punctuation(int32_t c) {
    utf8proc_category_t k = utf8proc_category(c);
    return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

bool uni_mark(int32_t c) { return c >= 0x300 && utf8proc_category(c) == UTF8PROC_CATEGORY_MN; }

bool uni_control(int32_t c) {
    utf8proc_category_t k = utf8proc_category(c);
    return k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CO;
}

int uni_lower(int32_t c, int32_t out[2]) {
    out[0] = c < 0x80 ? (c >= 'A' && c <= 'Z' ? c + 32 : c) : utf8proc_tolower(c);
    if (c != 0x130) return 1;
    out[0] = 'i'; /* the only full lower-case mapping that is longer than the simple one */
    out[1] = 0x307;
    return 2;
}

/* Case_Ignorable: marks, formats, modifiers and the punctuation that stands inside words. */
static bool case_ignorable(int32_t c) {
    static const int32_t inside[] = {0x27,   0x2e,   0x3a,   0xb7,   0x387,  0x55f,  0x5f4,  0x2018, 0x2019,
                                     0x2024, 0x2027, 0xfe13, 0xfe52, 0xfe55, 0xff07, 0xff0e, 0xff1a};
    for (int i = 0; i < VM_LEN(inside); i++)
        if (c == inside[i]) return true;
    utf8proc_category_t k = utf8proc_category(c);
    return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_ME || k == UTF8PROC_CATEGORY_CF ||
           k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_SK;
}

/* Cased, for code points that are not case-ignorable. */
static bool cased(int32_t c) {
    utf8proc_category_t k = utf8proc_category(c);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT || c == 0xaa ||
           c == 0xba || (c >= 0x2160 && c <= 0x217f) || (c >= 0x24b6 && c <= 0x24e9) ||
           (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
}

bool uni_lower_text(uni_text *out, const uni_text *in, bool final_sigma) {
    bool after_cased = false; /* the last code point before that is not case-ignorable is cased */
    int64_t next = 0;         /* first index > i that is not case-ignorable, when next > i */
    for (int64_t i = 0; i < in->n; i++) {
        int32_t c = in->c[i], low[2];
        int n = uni_lower(c, low);
        if (c == 0x3a3 && final_sigma && after_cased) {
            if (next <= i) next = i + 1;
            while (next < in->n && case_ignorable(in->c[next])) next++;
            if (next == in->n || !cased(in->c[next])) low[0] = 0x3c2;
        }
        if (final_sigma && !case_ignorable(c)) after_cased = cased(c);
        for (int k = 0; k < n; k++)
            if (!uni_add(out, low[k])) return false;
    }
    return true;
}

static int mark_class(int32_t c) { return c < 0x300 ? 0 : utf8proc_get_property(c)->combining_class; }

/* Stable sort of the marks c[0..n) by class; tmp has room for n. */
static void order_marks(int32_t *c, int64_t n, int32_t *tmp) {
    if (n <= 16) {
        for (int64_t i = 1; i < n; i++) {
            int32_t m = c[i];
            int64_t k = i;
            for (; k > 0 && mark_class(c[k - 1]) > mark_class(m); k--) c[k] = c[k - 1];
            c[k] = m;
        }
        return;
    }
    int64_t start[257] = {0};
    for (int64_t i = 0; i < n; i++) start[mark_class(c[i]) + 1]++;
    for (int k = 0; k < 256; k++) start[k + 1] += start[k];
    for (int64_t i = 0; i < n; i++) tmp[start[mark_class(c[i])]++] = c[i];
    memcpy(c, tmp, (size_t)n * sizeof *c);
}

/* Canonical decomposition of t, ordered, into out; t is scratch afterwards. */
static bool decompose(uni_text *t, uni_text *out) {
    out->n = 0;
    for (int64_t i = 0; i < t->n; i++) {
        int32_t part[8];
        int bound = 0;
        utf8proc_ssize_t n = utf8proc_decompose_char(t->c[i], part, VM_LEN(part), UTF8PROC_DECOMPOSE, &bound);
        if (n < 1 || n > VM_LEN(part)) part[0] = t->c[i], n = 1;
        for (int k = 0; k < n; k++)
            if (!uni_add(out, part[k])) return false;
    }
    if (!vm_grow(&t->c, &t->cap, out->n, sizeof *t->c)) return false;
    for (int64_t i = 0; i < out->n;) {
        int64_t start = i;
        while (i < out->n && mark_class(out->c[i])) i++;
        if (i > start + 1) order_marks(out->c + start, i - start, t->c);
        i += i == start;
    }
    return true;
}

static void swap(uni_text *a, uni_text *b) {
    uni_text was = *a;
    *a = *b;
    *b = was;
}

/* Index of the first character that a normal form may change: c or higher. */
static int64_t first_from(const uni_text *t, int32_t c) {
    int64_t i = 0;
    while (i < t->n && t->c[i] < c) i++;
    return i;
}

bool uni_nfd(uni_text *t, uni_text *tmp) {
    if (first_from(t, 0xc0) == t->n) return true;
    if (!decompose(t, tmp)) return false;
    swap(t, tmp);
    return true;
}

bool uni_nfc(uni_text *t, uni_text *tmp) {
    if (first_from(t, 0x300) == t->n) return true;
    if (!decompose(t, tmp)) return false;
    utf8proc_ssize_t n = utf8proc_normalize_utf32(tmp->c, tmp->n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    swap(t, tmp);
    if (n >= 0) t->n = n;
    return true;
}
