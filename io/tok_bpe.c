/* tok_bpe.c - byte-pair encoding as language models have it, in the rules of tokenizer.json.
 *
 * Two kinds of vocabularies. Byte-level (GPT-2, Llama 3, Qwen 2): an expression cuts the text into words, whose UTF-8 bytes are
 * the symbols, each spelled as a character (byte_char). SentencePiece's (Llama 2, Mistral): blanks are U+2581, the symbols are
 * the characters of the whole text, and those without an entry become their bytes <0xNN>. Then the pair with the lowest rank is
 * merged, again and again (bpe.c).
 *
 * Sources: Sennrich et al. 2016; the rules of Hugging Face's tokenizers library as its files state them. */
#include "io/tok_bpe.h"

#include <stdio.h>
#include <string.h>

static const char low_line[] = "\xe2\x96\x81"; /* U+2581 */
static bool is_line(const char *s, int64_t n) { return n >= 3 && !memcmp(s, low_line, 3); }

static vm_status out_of_memory(vm_error *e, size_t bytes) { return vm_nomem(e, bytes, "a text to be tokenized"); }

/* --- parts --------------------------------------------------------------------------------------------------------- */
static bool end_part(tok_pieces *p) {
    if (p->n && p->end[p->n - 1] == p->text.n) return true; /* nothing came */
    if (!p->n && !p->text.n) return true;
    if (!vm_grow(&p->end, &p->cap, p->n + 1, sizeof *p->end)) return false;
    p->end[p->n++] = p->text.n;
    return true;
}
static bool put_part(tok_pieces *p, const char *s, size_t n) { return tok_text_add(&p->text, s, n) && end_part(p); }

/* 1 done, 0 memory, -1 the expression takes too long */
static int cut_split(const tok_cut *c, const char *s, size_t n, tok_pieces *out) {
    size_t at = 0, from, to;
    int hit;
    while ((hit = regex_find(c->at, s, n, at, &from, &to)) > 0) {
        if (!c->no_gap && !put_part(out, s + at, from - at)) return 0;
        if (!c->no_match && !put_part(out, s + from, to - from)) return 0;
        at = to;
    }
    return hit < 0 ? -1 : c->no_gap || put_part(out, s + at, n - at);
}

static bool cut_meta(const tok_cut *c, bool first, const char *s, size_t n, tok_pieces *out) {
    bool marked = *s == ' ' || is_line(s, (int64_t)n);
    if (!marked && (c->prepend == META_ALWAYS || (c->prepend == META_FIRST && first)) && !tok_text_add(&out->text, low_line, 3)) return false;
    for (size_t i = 0; i < n;) {
        bool blank = s[i] == ' ', line = blank || is_line(s + i, (int64_t)(n - i));
        if (line && c->parts && !end_part(out)) return false;
        size_t k = i;
        while (!line && i < n && s[i] != ' ' && !is_line(s + i, (int64_t)(n - i))) i++;
        if (!(line ? tok_text_add(&out->text, low_line, 3) : tok_text_add(&out->text, s + k, i - k))) return false;
        if (line) i += blank ? 1 : 3;
    }
    return end_part(out);
}

/* begins: the text stands at the beginning of all. The parts are in t->bpe->a. */
static vm_status cut_all(tok *t, bool begins, const char *s, size_t bytes, vm_error *e) {
    struct tok_bpe *b = t->bpe;
    b->a.n = b->a.text.n = 0;
    bool ok = put_part(&b->a, s, bytes);
    for (int k = 0; k < b->cuts && ok; k++) {
        const tok_cut *c = &b->cut[k];
        b->b.n = b->b.text.n = 0;
        for (int64_t i = 0, from = 0; i < b->a.n && ok; from = b->a.end[i++]) {
            const char *part = b->a.text.s + from;
            size_t n = (size_t)(b->a.end[i] - from);
            if (c->kind == CUT_SPLIT) {
                int done = cut_split(c, part, n, &b->b);
                if (done < 0) return vm_fail(e, VM_EINPUT, "a text of %zu bytes: the tokenizer's expression takes too long on it", bytes);
                ok = done > 0;
            } else if (c->kind == CUT_META) {
                ok = cut_meta(c, begins && from == 0, part, n, &b->b);
            } else {
                ok = (*part == ' ' || tok_text_add(&b->b.text, " ", 1)) && put_part(&b->b, part, n);
            }
        }
        tok_pieces swap = b->a;
        b->a = b->b, b->b = swap;
    }
    return ok ? VM_OK : out_of_memory(e, bytes);
}

/* --- symbols ------------------------------------------------------------------------------------------------------- */
/* A part as the vocabulary spells it. */
static bool spell_part(struct tok_bpe *b, const char *s, size_t n) {
    b->spelled.n = 0;
    if (!b->bytes) return tok_text_add(&b->spelled, s, n);
    for (size_t i = 0; i < n; i++)
        if (!tok_put_point(&b->spelled, byte_char((unsigned char)s[i]))) return false;
    return true;
}

static bool add_unknown(tok *t, tok_ids *out, bool after_unknown) {
    return t->info.unk < 0 || (after_unknown && t->bpe->fuse_unk) || tok_ids_add(out, t->info.unk);
}

static bool put_symbols(tok *t, const char *s, size_t n, tok_ids *out) {
    const struct tok_bpe *b = t->bpe;
    const char *end = s + n;
    for (bool unknown = false, was; s < end;) {
        const char *from = s;
        bool ok = true;
        was = unknown, unknown = false;
        if (b->bytes) {
            int32_t id = b->byte_id[(unsigned char)*s++];
            unknown = id < 0;
            ok = unknown ? add_unknown(t, out, was) : tok_ids_add(out, id);
        } else {
            uni_next(&s, end);
            int32_t id = vocab_find(&t->words, from, (size_t)(s - from));
            if (id >= 0) ok = tok_ids_add(out, id);
            else if (b->byte_fallback)
                for (; from < s && ok; from++) ok = tok_ids_add(out, b->byte_id[(unsigned char)*from]);
            else ok = add_unknown(t, out, was), unknown = true;
        }
        if (!ok) return false;
    }
    return true;
}

static bool add_part(tok *t, const char *s, size_t n, tok_ids *out) {
    int64_t ids_n, first = out->n;
    const int32_t *ids = bpe_cache_get(&t->cache, s, n, &ids_n);
    for (int64_t i = 0; ids && i < ids_n; i++)
        if (!tok_ids_add(out, ids[i])) return false;
    if (ids) return true;
    int32_t whole = -1;
    if (t->bpe->whole_first) {
        if (!spell_part(t->bpe, s, n)) return false;
        whole = vocab_find(&t->words, t->bpe->spelled.s, (size_t)t->bpe->spelled.n);
    }
    if (whole >= 0 ? !tok_ids_add(out, whole) : !put_symbols(t, s, n, out)) return false;
    if (out->n == first) return true; /* nothing stands for it, and there is no unknown token: dropped, as in the library */
    int64_t merged = whole >= 0 ? 1 : bpe_merge(&t->merges, out->id + first, out->n - first);
    if (merged < 0) return false;
    out->n = first + merged;
    bpe_cache_put(&t->cache, s, n, out->id + first, merged);
    return true;
}

/* --- hooks --------------------------------------------------------------------------------------------------------- */
static vm_status clean(tok *t, const char *s, size_t bytes, tok_text *out, vm_error *e) {
    return tok_steps_apply(t, &t->bpe->rules, s, bytes, out, e);
}

static vm_status split(tok *t, const char *s, size_t bytes, tok_ids *out, vm_error *e) {
    struct tok_bpe *b = t->bpe;
    if (cut_all(t, t->begins, s, bytes, e)) return e->status;
    for (int64_t i = 0, from = 0; i < b->a.n; from = b->a.end[i++])
        if (!add_part(t, b->a.text.s + from, (size_t)(b->a.end[i] - from), out)) return out_of_memory(e, bytes);
    return VM_OK;
}

static bool spell_bytes(const char *s, size_t n, tok_text *out) {
    for (const char *end = s + n; s < end;) {
        const char *from = s;
        int byte = char_byte(uni_next(&s, end));
        char c = (char)byte;
        if (!(byte >= 0 ? tok_text_add(out, &c, 1) : tok_text_add(out, from, (size_t)(s - from)))) return false;
    }
    return true;
}

static bool spell(const tok *t, int32_t id, tok_text *out, bool *blank) {
    size_t n;
    const char *s = vocab_text(&t->words, id, &n), *end = s + n;
    const struct tok_bpe *b = t->bpe;
    *blank = false;
    if (b->bytes) return spell_bytes(s, n, out);
    unsigned byte;
    char text[8] = "";
    if (b->byte_fallback && n == 6) memcpy(text, s, 6);
    if (b->byte_fallback && sscanf(text, "<0x%2X>", &byte) == 1 && b->byte_id[byte] == id) {
        char c = (char)byte;
        return tok_text_add(out, &c, 1);
    }
    while (s < end) {
        bool line = is_line(s, end - s);
        if (!(line ? tok_text_add(out, " ", 1) : tok_text_add(out, s, 1))) return false;
        s += line ? 3 : 1;
    }
    return true;
}

static vm_status ready(tok *t, const char *name, vm_error *e) {
    struct tok_bpe *b = t->bpe;
    tok_info *info = &t->info;
    info->bos = tok_find_name(t, TOK_BOS, NULL, NULL), info->eos = tok_find_name(t, TOK_EOS, NULL, NULL);
    if (info->bos < 0 && t->prefix.n) info->bos = t->prefix.id[0];
    if (info->unk < 0) info->unk = tok_find_name(t, TOK_UNK, NULL, NULL);
    if (info->pad < 0) info->pad = tok_find_name(t, TOK_PADDING, NULL, NULL);
    int missing = -1;
    for (int k = 0; k < 256; k++) {
        char s[8];
        int n = b->bytes ? uni_put(s, byte_char(k)) : snprintf(s, sizeof s, "<0x%02X>", (unsigned)k);
        if ((b->byte_id[k] = vocab_find(&t->words, s, (size_t)n)) < 0 && missing < 0) missing = k;
    }
    if (missing >= 0 && b->bytes && info->unk < 0)
        return vm_fail(e, VM_EINPUT, "%s: vocabulary: no entry for byte %d, expected one for each byte or an unk_token", name, missing);
    b->byte_fallback = b->byte_fallback && missing < 0; /* all of them or none, as the library has it */
    return VM_OK;
}

const tok_family tok_bpe = { .clean = clean, .split = split, .spell = spell, .ready = ready };

void tok_bpe_free(struct tok_bpe *b) {
    if (!b) return;
    tok_steps_free(&b->rules);
    for (int k = 0; k < b->cuts; k++) regex_free(b->cut[k].at);
    vm_free(b->a.text.s), vm_free(b->a.end), vm_free(b->b.text.s), vm_free(b->b.end), vm_free(b->spelled.s);
    vm_free(b);
}
