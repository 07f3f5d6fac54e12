/* tok_unigram_load.c - where the rules and pieces of unigram tokenizers stand: in tokenizer.json, or in spiece.model with
 * tokenizer_config.json beside it. */
#include "io/json.h"
#include "io/tok_unigram.h"

/* --- tokenizer.json ---------------------------------------------------------------------------------------------- */
vm_status tok_unigram_model(tok *t, json_value model, vm_error *e) {
    if (tok_unigram_new(t, e)) return e->status;
    t->uni->unk = (int32_t)json_as_int(json_need(model, "unk_id", JSON_INT, e), 0, VOCAB_MAX_ID - 1, e);
    t->uni->byte_fallback = json_bool(model, "byte_fallback", false, e);
    return e->status;
}

static int base64_digit(char c) {
    return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : c >= '0' && c <= '9' ? c - '0' + 52 : c == '+' ? 62 : c == '/' ? 63 : -1;
}

static vm_status read_map(tok *t, json_value v, vm_error *e) {
    struct tok_unigram *u = t->uni;
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

/* One ASCII character of a class, escaped or not; *x is left on its last byte. -1 = something else. */
static int class_member(const char **x) {
    if (**x == '\\') {
        (*x)++;
        if (!**x || ((**x | 32) >= 'a' && (**x | 32) <= 'z') || (**x >= '0' && **x <= '9')) return -1;
    }
    return (unsigned char)**x < 128 ? **x : -1;
}

/* The expressions that stand in published files: \s, one character, or a class [...] of ASCII characters, then +, {2,} or
 * nothing. */
static bool read_expression(tok_step *p, const char *x) {
    if (!strncmp(x, "\\s", 2)) {
        p->spaces = true, x += 2;
    } else if (*x == '[' && x[1] != '^') {
        for (x++; *x && *x != ']'; x++) {
            if (x[0] == '\\' && x[1] == 's') {
                p->spaces = true, x++;
                continue;
            }
            int low = class_member(&x), high = low;
            if (x[1] == '-' && x[2] && x[2] != ']') x += 2, high = class_member(&x);
            if (low < 0 || high < low) return false;
            for (int c = low; c <= high; c++) p->set[c] = true;
        }
        if (*x++ != ']') return false;
    } else if ((unsigned char)*x < 128 && *x && !strchr(".*+?()|^$\\{}[]", *x)) {
        p->set[(unsigned char)*x++] = true;
    } else {
        return false;
    }
    p->each = !*x, p->least = 1;
    if (!strcmp(x, "{2,}")) return p->least = 2, true;
    return !*x || !strcmp(x, "+");
}

static char *copy_of(json_value v, const char *key, vm_error *e) {
    const char *s = json_str(v, key, "", e);
    char *x = s ? vm_strdup(s) : NULL;
    if (!x && !e->status) vm_nomem(e, 16, key);
    return x;
}

vm_status tok_unigram_normalizer(tok *t, json_value v, const char *type, vm_error *e) {
    struct tok_unigram *u = t->uni;
    if (u->steps == MAX_STEPS) return json_fail(v, e, "more than %d normalizers", MAX_STEPS);
    tok_step *p = &u->step[u->steps++];
    json_value pattern = json_get(v, "pattern");
    if (!strcmp(type, "Precompiled")) return p->kind = STEP_MAP, read_map(t, v, e);
    if (!strcmp(type, "Lowercase")) return p->kind = STEP_LOWER, VM_OK;
    if (!strcmp(type, "NFC")) return p->kind = STEP_NFC, VM_OK;
    if (!strcmp(type, "Strip")) {
        p->kind = STEP_STRIP, p->left = json_bool(v, "strip_left", true, e), p->right = json_bool(v, "strip_right", true, e);
        return e->status;
    }
    if (!strcmp(type, "Prepend")) return p->kind = STEP_PREPEND, p->text = copy_of(v, "prepend", e), e->status;
    if (!strcmp(type, "Replace")) {
        const char *regex = json_str(pattern, "Regex", NULL, e);
        p->kind = regex ? STEP_RUNS : STEP_REPLACE;
        p->text = copy_of(v, "content", e);
        if (!e->status && !regex) p->from = copy_of(pattern, "String", e);
        if (e->status || (regex ? read_expression(p, regex) : p->from[0] != 0)) return e->status;
        return json_fail(v, e, "the pattern \"%.60s\" is not understood; known are a string, \\s, a character or a class of ASCII characters, with + or {2,}",
                         regex ? regex : "");
    }
    return json_fail(v, e, "normalizer %s is none of Precompiled, Lowercase, NFC, Strip, Prepend, Replace", type);
}

vm_status tok_unigram_pre_tokenizer(tok *t, json_value v, const char *type, vm_error *e) {
    struct tok_unigram *u = t->uni;
    if (!strcmp(type, "WhitespaceSplit") && !u->meta) return u->words = true, VM_OK;
    if (strcmp(type, "Metaspace")) return json_fail(v, e, "pre_tokenizer %s is none of WhitespaceSplit, Metaspace", type);
    const char *mark = json_str(v, "replacement", "\xe2\x96\x81", e);
    const char *scheme = json_str(v, "prepend_scheme", json_bool(v, "add_prefix_space", true, e) ? "always" : "never", e);
    if (e->status) return e->status;
    if (strcmp(mark, "\xe2\x96\x81")) return json_fail(v, e, "replacement \"%.8s\", expected U+2581", mark);
    if (strcmp(scheme, "always") && strcmp(scheme, "never")) return json_fail(v, e, "prepend_scheme \"%.20s\", expected always or never", scheme);
    u->meta = true, u->prefix = scheme[0] == 'a', u->parts = json_bool(v, "split", true, e);
    return e->status;
}

/* --- spiece.model ------------------------------------------------------------------------------------------------ */
static vm_status take_pieces(tok *t, const spiece_file *f, const char *path, vm_error *e) {
    struct tok_unigram *u = t->uni;
    for (int64_t i = 0; i < f->n; i++) {
        const spiece *p = &f->piece[i];
        vm_error inner = { 0 };
        if (p->kind == SPIECE_USER)
            return vm_fail(e, VM_EINPUT, "%s: piece %lld is user-defined, which the tokenizer of a SigLIP has not; use tokenizer.json", path, (long long)i);
        if (p->kind == SPIECE_UNKNOWN && u->unk < 0) {
            u->unk = (int32_t)i;
            if (!(u->unk_text = vm_strndup(p->text, p->bytes))) return vm_nomem(e, p->bytes, path);
        }
        if (vocab_find(&t->words, p->text, p->bytes) >= 0)
            return vm_fail(e, VM_EINPUT, "%s: piece %lld, \"%.*s\", stands twice", path, (long long)i, (int)VM_MIN(p->bytes, (size_t)40), p->text);
        if (tok_unigram_add(t, p->text, p->bytes, (double)p->score, p->kind, &inner)) return vm_fail(e, inner.status, "%s: %s", path, inner.msg);
    }
    return u->unk >= 0 ? VM_OK : vm_fail(e, VM_EINPUT, "%s: none of the %lld pieces is the unknown one", path, (long long)f->n);
}

/* The special tokens that tokenizer_config.json lists; those of the class when it lists none. */
static vm_status add_specials(tok *t, json_value config, vm_error *e) {
    static const struct { int name; const char *usual; } usual[] = { { TOK_EOS, "</s>" }, { TOK_UNK, "<unk>" }, { TOK_PADDING, "</s>" } };
    json_value list = json_get(config, "added_tokens_decoder");
    if (json_has(list)) return tok_read_decoder(t, list, e);
    for (int k = 0; k < VM_LEN(usual) && !e->status; k++) {
        size_t n;
        int32_t id = tok_find_name(t, usual[k].name, usual[k].usual, NULL);
        bool there = id < 0;
        for (int64_t i = 0; i < t->added_n; i++) there |= t->added[i].id == id;
        const char *entry = there ? NULL : vocab_text(&t->words, id, &n);
        char *text = entry ? vm_strndup(entry, n) : NULL; /* adding may move the vocabulary */
        if (entry && !text) vm_nomem(e, n, "an added token");
        if (text) tok_add_token(t, text, n, id, ADDED_SPECIAL | ADDED_LSTRIP | ADDED_RSTRIP, e);
        vm_free(text);
    }
    return e->status;
}

vm_status tok_load_spiece(tok *t, const char *path, const char *dir, vm_error *e) {
    spiece_file f = { 0 };
    json_doc *d = NULL;
    size_t bytes = 0;
    vm_error inner = { 0 };
    if (tok_unigram_new(t, e) || file_read(&t->uni->blob, &bytes, path, 0, e)) return e->status;
    struct tok_unigram *u = t->uni;
    if (spiece_read(&f, u->blob, bytes, path, e) || tok_open_beside(&d, dir, "tokenizer_config.json", e)) goto done;
    json_value config = json_root(d);
    const char *class = json_str(config, "tokenizer_class", "SiglipTokenizer", e);
    if (e->status) goto done;
    if (strcmp(class, "SiglipTokenizer"))
        json_fail(json_get(config, "tokenizer_class"), e, "%s is read from tokenizer.json, which is missing; spiece.model alone is read for SiglipTokenizer", class);
    else if (f.model != SPIECE_UNIGRAM || f.suffix)
        vm_fail(e, VM_EINPUT, "%s: %s, expected the unigram model of a SigLIP", path, f.suffix ? "blanks stand behind words" : "no unigram model");
    else if (charsmap_open(&u->map, f.charsmap, f.charsmap_n, &inner))
        vm_fail(e, VM_EINPUT, "%s: %s", path, inner.msg);
    if (e->status || take_pieces(t, &f, path, e)) goto done;
    u->spiece = true, u->byte_fallback = f.byte_fallback;
    u->dummy_prefix = f.dummy_prefix, u->squeeze = f.squeeze, u->escape = f.escape;
    u->lower = json_bool(config, "do_lower_case", true, e);
    if (!t->info.context) t->info.context = 64;
    if (!e->status) add_specials(t, config, e);
done:
    spiece_free(&f);
    json_free(d);
    return e->status;
}
