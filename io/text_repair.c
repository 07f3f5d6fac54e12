/* text_repair.c - HTML unescaping and the repair of typed text.
 *
 * The steps and their order are those of the ftfy package with mojibake detection left out (a statistical heuristic);
 * unescaping follows the HTML standard as Python's html.unescape does. */
#include "io/text_repair.h"
#include <string.h>
#include <utf8proc.h>
#include "io/html_entities_table.h"

enum { NAME_MAX_LEN = 32, ROUNDS = 32 }; /* no entity name is longer; rounds bound the time on nested escapes */

/* windows-1252 meaning of 0x80-0x9f; unassigned codes stay */
static const int32_t cp1252[32] = {0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021,
                                   0x2c6,  0x2030, 0x160,  0x2039, 0x152,  0x8d,   0x17d,  0x8f,
                                   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
                                   0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e,  0x178};

/* Index of the name of n letters, -1 if none. */
static int find_entity(const char *name, int n) {
    int lo = 0, hi = VM_LEN(html_entity) - 1;
    while (lo <= hi) {
        int mid = (lo + hi) / 2, d = strncmp(name, html_entity[mid].name, (size_t)n);
        if (d == 0 && html_entity[mid].name[n]) d = -1;
        if (d == 0) return mid;
        if (d < 0) hi = mid - 1;
        else lo = mid + 1;
    }
    return -1;
}

static bool add_entity(uni_text *out, int k) {
    return uni_add(out, html_entity[k].a) && (!html_entity[k].b || uni_add(out, html_entity[k].b));
}

static bool ascii_alnum(int32_t c) { return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z'); }

/* Numeric reference at c[0..n) = "&#...": length with its semicolon, 0 if none; *value saturates. */
static int64_t read_number(const int32_t *c, int64_t n, int32_t *value) {
    int64_t i = 2;
    int base = i < n && (c[i] == 'x' || c[i] == 'X') ? 16 : 10;
    if (base == 16) i++;
    int64_t first = i;
    int32_t v = 0;
    for (; i < n; i++) {
        int32_t low = c[i] | 32, d = c[i] >= '0' && c[i] <= '9' ? c[i] - '0'
                                     : low >= 'a' && low <= 'f' ? low - 'a' + 10
                                                                : 99;
        if (c[i] > 127 || d >= base) break;
        if (v < 0x110000) v = v * base + d;
    }
    *value = v;
    if (i == first) return 0;
    return i < n && c[i] == ';' ? i + 1 : i;
}

/* The character a numeric reference means; -1 = none at all. */
static int32_t number_meaning(int32_t v) {
    if (v == 0) return 0xfffd;
    if (v == 0x0d) return v;
    if (v >= 0x80 && v <= 0x9f) return cp1252[v - 0x80];
    if (v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff)) return 0xfffd;
    if (v < 9 || v == 0x0b || (v >= 0x0e && v <= 0x1f) || v == 0x7f || (v >= 0xfdd0 && v <= 0xfdef) ||
        (v & 0xfffe) == 0xfffe)
        return -1;
    return v;
}

/* ASCII letters of a name behind '&' at c[1..n), at most NAME_MAX_LEN (no entity has more). */
static int read_name(const int32_t *c, int64_t n, char name[NAME_MAX_LEN + 1]) {
    int k = 0;
    while (k < NAME_MAX_LEN && k + 1 < n && ascii_alnum(c[k + 1])) name[k] = (char)c[k + 1], k++;
    name[k] = 0;
    return k;
}

/* Replaces the reference at c[0..n), c[0] == '&', by HTML 5 rules; returns its length (0 = none). */
static int64_t unescape_one(uni_text *out, const int32_t *c, int64_t n, bool *ok) {
    if (n > 1 && c[1] == '#') {
        int32_t v;
        int64_t used = read_number(c, n, &v);
        if (used && (v = number_meaning(v)) >= 0) *ok = uni_add(out, v);
        return used;
    }
    char name[NAME_MAX_LEN + 1];
    int k = read_name(c, n, name), hit;
    if (k + 1 < n && c[k + 1] == ';' && (hit = find_entity(name, k)) >= 0) {
        *ok = add_entity(out, hit);
        return k + 2;
    }
    for (; k > 1; k--) {
        hit = find_entity(name, k);
        if (hit < 0 || !html_entity[hit].bare) continue;
        *ok = add_entity(out, hit);
        return k + 1;
    }
    return 0;
}

bool html_unescape(uni_text *out, const uni_text *in) {
    bool ok = true;
    for (int64_t i = 0; i < in->n && ok;) {
        int64_t used = in->c[i] == '&' ? unescape_one(out, in->c + i, in->n - i, &ok) : 0;
        if (!used) ok = uni_add(out, in->c[i]);
        i += used ? used : 1;
    }
    return ok;
}

/* A reference that cannot be mistaken: with semicolon, at most 24 letters; names in capitals count when their small
 * form exists (&EACUTE;). Returns how many code points it took (0 = none). */
static int64_t unescape_sure(uni_text *out, const int32_t *c, int64_t n, bool *ok) {
    int64_t end = 1 + (n > 1 && c[1] == '#'), first = end;
    while (end < n && end - first < 25 && ascii_alnum(c[end])) end++;
    if (end == first || end - first > 24 || end >= n || c[end] != ';') return 0;
    if (first == 2) {
        int32_t v;
        if (read_number(c, n, &v) != end + 1) return 0;
        v = number_meaning(v);
        if (v == ';') return 0;
        if (v >= 0) *ok = uni_add(out, v);
        return end + 1;
    }
    char name[NAME_MAX_LEN + 1];
    int k = read_name(c, n, name), hit = find_entity(name, k);
    if (hit >= 0) {
        *ok = add_entity(out, hit);
        return end + 1;
    }
    for (int p = k; p > 1; p--) { /* a prefix valid without semicolon makes capitals ambiguous */
        hit = find_entity(name, p);
        if (hit >= 0 && html_entity[hit].bare) return 0;
    }
    for (int i = 0; i < k; i++) {
        if (name[i] >= 'a' && name[i] <= 'z') return 0;
        if (name[i] >= 'A') name[i] = (char)(name[i] + 32);
    }
    if ((hit = find_entity(name, k)) < 0) return 0;
    int32_t pair[2] = {html_entity[hit].a, html_entity[hit].b};
    for (int i = 0; i < 2 && pair[i] && *ok; i++)
        *ok = pair[i] == 0xdf ? uni_add(out, 'S') && uni_add(out, 'S') : uni_add(out, utf8proc_toupper(pair[i]));
    return end + 1;
}

/* What a single ligature, digraph or full-width form stands for; count in *n, 0 = itself. */
static const int32_t *expand(int32_t c, int32_t buf[4], int *n) {
    static const struct {
        int32_t c;
        int32_t to[3];
    } ligature[] = {
        {0x132, {'I', 'J'}},    {0x133, {'i', 'j'}},   {0x149, {0x2bc, 'n'}},     {0x1c4, {'D', 0x17d}},
        {0x1c5, {'D', 0x17e}},  {0x1c6, {'d', 0x17e}}, {0x1c7, {'L', 'J'}},       {0x1c8, {'L', 'j'}},
        {0x1c9, {'l', 'j'}},    {0x1ca, {'N', 'J'}},   {0x1cb, {'N', 'j'}},       {0x1cc, {'n', 'j'}},
        {0x1f1, {'D', 'Z'}},    {0x1f2, {'D', 'z'}},   {0x1f3, {'d', 'z'}},       {0xfb00, {'f', 'f'}},
        {0xfb01, {'f', 'i'}},   {0xfb02, {'f', 'l'}},  {0xfb03, {'f', 'f', 'i'}}, {0xfb04, {'f', 'f', 'l'}},
        {0xfb05, {0x17f, 't'}}, {0xfb06, {'s', 't'}}};
    *n = 0;
    if (c < 0x132) return buf;
    if (c == 0x3000) {
        buf[0] = ' ';
        *n = 1;
    } else if (c >= 0xff01 && c < 0xfff0) {
        int bound = 0; /* decomposed, so composed again by form C below */
        utf8proc_ssize_t k = utf8proc_decompose_char(c, buf, 4, UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE, &bound);
        *n = k > 0 && k <= 4 ? (int)k : 0;
    } else if (c < 0x1f4 || (c >= 0xfb00 && c <= 0xfb06)) {
        for (int i = 0; i < VM_LEN(ligature); i++) {
            if (ligature[i].c != c) continue;
            *n = ligature[i].to[2] ? 3 : 2;
            return ligature[i].to;
        }
    }
    return buf;
}

static bool is_dropped(int32_t c) {
    return c < 9 || c == 0x0b || (c >= 0x0e && c < 0x20) || c == 0x7f || (c >= 0x206a && c < 0x2070) || c == 0xfeff ||
           (c >= 0xfff9 && c < 0xfffd);
}

/* Straight quotes and plain line ends; what is dropped is ESC's and the control characters' business. */
static int32_t plain_form(int32_t c) {
    if (c == 0x2bc || (c >= 0x2018 && c <= 0x201b)) return '\'';
    if (c >= 0x201c && c <= 0x201f) return '"';
    if (c == '\r' || c == 0x2028 || c == 0x2029) return '\n';
    return c;
}

/* Length of a terminal colour code at c[0..n), c[0] == ESC; 0 if it is none. */
static int64_t terminal_code(const int32_t *c, int64_t n) {
    if (n < 3 || c[1] != '[') return 0;
    int64_t i = 2;
    while (i < n && ((c[i] >= '0' && c[i] <= '9') || c[i] == ';')) i++;
    return i < n && c[i] < 128 && uni_letter(c[i]) ? i + 1 : 0;
}

/* One round over t in place; each step sees the whole result of the one before. */
static bool repair_round(uni_text *t, uni_text *tmp, bool references) {
    bool ok = true;
    tmp->n = 0;
    for (int64_t i = 0; i < t->n && ok;) {
        int64_t used = t->c[i] == '&' && references ? unescape_sure(tmp, t->c + i, t->n - i, &ok) : 0;
        if (!used) ok = uni_add(tmp, t->c[i]);
        i += used ? used : 1;
    }
    t->n = 0;
    for (int64_t i = 0; i < tmp->n && ok; i++) {
        int32_t c = tmp->c[i], buf[4];
        int n;
        if (c >= 0x80 && c < 0xa0) c = cp1252[c - 0x80];
        const int32_t *to = expand(c, buf, &n);
        if (!n) buf[0] = c, to = buf, n = 1;
        for (int k = 0; k < n && ok; k++) ok = uni_add(t, plain_form(to[k]));
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < t->n;) {
        int64_t code = t->c[i] == 27 ? terminal_code(t->c + i, t->n - i) : 0;
        if (!code && !is_dropped(t->c[i])) t->c[kept++] = t->c[i];
        i += code ? code : 1;
    }
    t->n = kept;
    return ok && uni_nfc(t, tmp);
}

/* Start of the line that holds the first '<'; the length if there is none. */
static int64_t find_markup(const uni_text *t) {
    int64_t line = 0;
    for (int64_t i = 0; i < t->n; i++) {
        if (t->c[i] == '\n') line = i + 1;
        if (t->c[i] == '<') return line;
    }
    return t->n;
}

static bool append(uni_text *t, const int32_t *c, int64_t n) {
    if (!vm_grow(&t->c, &t->cap, t->n + n + 1, sizeof *t->c)) return false;
    if (n) memcpy(t->c + t->n, c, (size_t)n * sizeof *c);
    t->n += n;
    return true;
}

bool text_repair(uni_text *t, uni_text *tmp) {
    /* The line that first holds '<' and all behind it are markup and keep their references. Lines do not influence
     * each other otherwise, so two parts are enough. */
    int64_t markup = find_markup(t), all = t->n;
    uni_text part = {0}, before = {0}, result = {0};
    bool ok = true;
    for (int p = 0; p < 2 && ok; p++) {
        part.n = 0;
        ok = append(&part, t->c + (p ? markup : 0), p ? all - markup : markup);
        for (int round = 0; round < ROUNDS && ok; round++) {
            before.n = 0;
            ok = append(&before, part.c, part.n) && repair_round(&part, tmp, !p);
            if (ok && part.n == before.n && !memcmp(part.c, before.c, (size_t)part.n * sizeof *part.c)) break;
        }
        ok = ok && append(&result, part.c, part.n);
    }
    uni_text old = *t;
    *t = result;
    uni_free(&old);
    uni_free(&part);
    uni_free(&before);
    return ok;
}

bool text_is_plain(const char *s, size_t bytes) {
    bool plain = true;
    for (size_t i = 0; i < bytes; i++)
        plain &= (s[i] >= 32 && s[i] < 127 && s[i] != '&') || s[i] == '\n' || s[i] == '\t';
    return plain;
}
