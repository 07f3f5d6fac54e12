/* tok_steps.c - see tok_steps.h. */
#include "io/tok_steps.h"

#include <string.h>
#include <utf8proc.h>

bool tok_put_point(tok_text *out, int32_t c) {
    char utf8[4];
    int n = uni_put(utf8, c);
    return tok_text_add(out, utf8, (size_t)n);
}

bool tok_put_points(tok_text *out, const uni_text *t) {
    for (int64_t i = 0; i < t->n; i++)
        if (!tok_put_point(out, t->c[i])) return false;
    return true;
}

bool tok_put_valid(tok_text *out, const char *s, size_t bytes) {
    const char *end = s + bytes;
    if (!tok_text_add(out, "", 0)) return false;
    while (s < end) {
        const char *p = s, *from = s;
        while (p < end && (unsigned char)*p < 0x80) p++; /* most text */
        s = p;
        if (p > from && !tok_text_add(out, from, (size_t)(p - from))) return false;
        if (s < end && !tok_put_point(out, uni_next(&s, end))) return false;
    }
    return true;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */
static int base64_digit(char c) {
    return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : c >= '0' && c <= '9' ? c - '0' + 52 : c == '+' ? 62 : c == '/' ? 63 : -1;
}

static vm_status read_map(tok_steps *u, json_value v, vm_error *e) {
    json_value text = json_get(v, "precompiled_charsmap");
    if (!json_has(text)) return VM_OK; /* null: replaces nothing */
    size_t n = 0, out = 0;
    const char *s = json_as_text(text, &n, e);
    vm_error inner = { 0 };
    uint32_t bits = 0;
    if (e->status) return e->status;
    if (u->blob) return json_fail(v, e, "a second normalizer Precompiled, expected one");
    if (!(u->blob = vm_alloc(n + 1))) return vm_nomem(e, n, "the character map");
    for (size_t i = 0, k = 0; i < n && s[i] != '='; i++) {
        int d = base64_digit(s[i]);
        if (d < 0) return json_fail(text, e, "character %zu is no Base64", i);
        bits = bits << 6 | (uint32_t)d;
        if (++k % 4 == 0)
            for (int b = 2; b >= 0; b--) u->blob[out++] = (char)(bits >> 8 * b);
        else if (i + 1 == n || s[i + 1] == '=')
            for (size_t b = 0; b + 1 < k % 4; b++) u->blob[out++] = (char)(bits >> (6 * (k % 4) - 8 * (b + 1)));
    }
    if (charsmap_open(&u->map, u->blob, out, &inner)) return json_fail(text, e, "%s", inner.msg);
    return VM_OK;
}

static char *copy_of(json_value v, const char *key, vm_error *e) {
    const char *s = json_str(v, key, "", e);
    char *x = s ? vm_strdup(s) : NULL;
    if (!x && !e->status) vm_nomem(e, 16, key);
    return x;
}

vm_status tok_steps_read(tok_steps *l, json_value v, const char *type, vm_error *e) {
    if (l->n == TOK_STEPS) return json_fail(v, e, "more than %d normalizers", TOK_STEPS);
    tok_step *p = &l->step[l->n++];
    json_value pattern = json_get(v, "pattern");
    if (!strcmp(type, "Precompiled")) return p->kind = STEP_MAP, read_map(l, v, e);
    if (!strcmp(type, "Lowercase")) return p->kind = STEP_LOWER, VM_OK;
    if (!strcmp(type, "NFC")) return p->kind = STEP_NFC, VM_OK;
    if (!strcmp(type, "NFD")) return p->kind = STEP_NFD, VM_OK;
    if (!strcmp(type, "Strip")) {
        p->kind = STEP_STRIP, p->left = json_bool(v, "strip_left", true, e), p->right = json_bool(v, "strip_right", true, e);
        return e->status;
    }
    if (!strcmp(type, "Prepend")) return p->kind = STEP_PREPEND, p->text = copy_of(v, "prepend", e), e->status;
    if (strcmp(type, "Replace")) return json_fail(v, e, "normalizer %s is none of Precompiled, Lowercase, NFC, NFD, Strip, Prepend, Replace", type);
    vm_error inner = { 0 };
    const char *expression = json_str(pattern, "Regex", NULL, e), *string = expression ? "" : json_str(pattern, "String", "", e);
    p->kind = STEP_REPLACE, p->text = copy_of(v, "content", e);
    if (e->status) return e->status;
    if (!expression && !*string) return json_fail(v, e, "the pattern is empty");
    if (!regex_new(&p->find, expression ? expression : string, !expression, &inner)) return VM_OK;
    return inner.status == VM_EINPUT ? json_fail(v, e, "%s", inner.msg) : vm_fail(e, inner.status, "%s", inner.msg);
}

vm_status tok_steps_add(tok_steps *l, tok_step_kind kind, const char *from, const char *text, vm_error *e) {
    tok_step *p = &l->step[l->n++];
    *p = (tok_step){ .kind = kind, .text = vm_strdup(text) };
    if (!p->text) return vm_nomem(e, 16, "a normalizer");
    return from ? regex_new(&p->find, from, true, e) : VM_OK;
}

void tok_steps_free(tok_steps *l) {
    for (int k = 0; k < l->n; k++) regex_free(l->step[k].find), vm_free(l->step[k].text);
    vm_free(l->blob), vm_free(l->text.s), vm_free(l->other.s);
}

/* --- applying ----------------------------------------------------------------------------------------------------- */
/* The map as the library applies it: characters of a reader's kind (graphemes) below 6 bytes as a whole, else each code point;
 * each by the shortest key that it begins with. */
static bool map_text(const charsmap *m, const char *s, size_t n, tok_text *out) {
    const char *end = s + n;
    while (s < end) {
        const char *stop = s;
        utf8proc_int32_t state = 0;
        for (int32_t c = uni_next(&stop, end); stop < end;) {
            const char *p = stop;
            int32_t d = uni_next(&p, end);
            if (utf8proc_grapheme_break_stateful(c, d, &state)) break;
            c = d, stop = p;
        }
        for (bool whole = stop - s < 6; s < stop; whole = false) {
            const char *p = stop;
            if (!whole) p = s, uni_next(&p, stop);
            charsmap_hit h = charsmap_find(m, s, (size_t)(p - s), true);
            if (whole && !h.bytes) continue;
            if (!(h.bytes ? tok_text_add(out, h.to, h.n) : tok_text_add(out, s, (size_t)(p - s)))) return false;
            s = p;
        }
    }
    return true;
}

static bool replace(const tok_step *p, const char *s, size_t n, tok_text *out) {
    size_t at = 0, from, to, len = strlen(p->text);
    for (int hit; (hit = regex_find(p->find, s, n, at, &from, &to)); at = to)
        if (hit < 0 || !tok_text_add(out, s + at, from - at) || !tok_text_add(out, p->text, len)) return false;
    return tok_text_add(out, s + at, n - at);
}

static bool lower_or_form(tok *t, tok_step_kind kind, const char *s, size_t n, tok_text *out) {
    uni_text *a = &t->points, *b = &t->points2;
    a->n = b->n = 0;
    if (!uni_decode(a, s, n)) return false;
    if (kind == STEP_LOWER) return uni_lower_text(b, a, false) && tok_put_points(out, b);
    return (kind == STEP_NFC ? uni_nfc(a, b) : uni_nfd(a, b)) && tok_put_points(out, a);
}

static bool strip(tok *t, const tok_step *p, const char *s, size_t n, tok_text *out) {
    uni_text *a = &t->points;
    a->n = 0;
    if (!uni_decode(a, s, n)) return false;
    int64_t from = 0, to = a->n;
    while (p->left && from < to && uni_space(a->c[from])) from++;
    while (p->right && from < to && uni_space(a->c[to - 1])) to--;
    for (int64_t i = from; i < to; i++)
        if (!tok_put_point(out, a->c[i])) return false;
    return true;
}

static bool apply(tok *t, const tok_steps *l, const tok_step *p, const char *s, size_t n, tok_text *out) {
    switch (p->kind) {
        case STEP_MAP: return map_text(&l->map, s, n, out);
        case STEP_LOWER:
        case STEP_NFC:
        case STEP_NFD: return lower_or_form(t, p->kind, s, n, out);
        case STEP_REPLACE: return replace(p, s, n, out);
        case STEP_STRIP: return strip(t, p, s, n, out);
        case STEP_PREPEND: return !n || (tok_text_add(out, p->text, strlen(p->text)) && tok_text_add(out, s, n));
    }
    return false;
}

vm_status tok_steps_apply(tok *t, tok_steps *l, const char *s, size_t bytes, tok_text *out, vm_error *e) {
    tok_text *from = &l->text, *to = &l->other;
    from->n = 0;
    bool ok = tok_put_valid(from, s, bytes);
    for (int k = 0; k < l->n && ok; k++) {
        to->n = 0;
        ok = tok_text_add(to, "", 0) && apply(t, l, &l->step[k], from->s, (size_t)from->n, to);
        tok_text *swap = from;
        from = to, to = swap;
    }
    return ok && tok_text_add(out, from->s, (size_t)from->n) ? VM_OK : vm_nomem(e, bytes, "a text to be tokenized");
}
