/* tok_unigram.c - unigram tokenizers in the rules of their two libraries.
 *
 * tokenizer.json: the normalisers in their order, words between blanks, U+2581 for blanks, then unigram.h.
 *
 * spiece.model as SigLIP uses it: U+2581 before the text; of each piece between special tokens lower case of the whole, ASCII
 * punctuation removed, runs of blanks to one, none at the ends; then SentencePiece: replacements of its map, blanks at the
 * ends and in runs removed, U+2581 for blanks. The reference encodes the unknown piece with the text behind it and drops the
 * ids of the former, so that no blank is put before the text a second time; so does this file. */
#include "io/tok_unigram.h"

#include "io/text_repair.h"

static const char low_line[] = "\xe2\x96\x81"; /* U+2581 */
enum { LOW_LINE = 0x2581 };

static vm_status out_of_memory(vm_error *e, size_t bytes) { return vm_nomem(e, bytes, "a text to be tokenized"); }

/* What Python's str.isspace and the \s of its expressions mean: White_Space and the four separators of ASCII. */
static bool is_blank(int32_t c) { return uni_space(c) || (c >= 0x1c && c <= 0x1f); }
static bool is_punctuation(int32_t c) {
    return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
}

/* Without ASCII punctuation; runs of blanks as one; none at the ends. */
static void canonical(uni_text *t) {
    int64_t n = 0;
    bool blank = false;
    for (int64_t i = 0; i < t->n; i++) {
        int32_t c = t->c[i];
        if (is_punctuation(c)) continue;
        if (is_blank(c)) {
            blank = n > 0;
            continue;
        }
        if (blank) t->c[n++] = ' ';
        blank = false;
        t->c[n++] = c;
    }
    t->n = n;
}

/* --- SentencePiece ----------------------------------------------------------------------------------------------- */
/* What the text begins with, replaced: by its map, or the next character as it is. */
static charsmap_hit next_part(const charsmap *m, const char *s, size_t n) {
    static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */
    charsmap_hit hit = charsmap_find(m, s, n, false);
    if (hit.bytes) return hit;
    const char *p = s;
    if (uni_next(&p, s + n) == 0xfffd && memcmp(s, replacement, VM_MIN(n, (size_t)3))) return (charsmap_hit){ 1, replacement, 3 };
    return (charsmap_hit){ (size_t)(p - s), s, (size_t)(p - s) };
}

static bool add_blank(const struct tok_unigram *u, tok_text *out) {
    return u->escape ? tok_text_add(out, low_line, 3) : tok_text_add(out, " ", 1);
}

static bool normalise(const struct tok_unigram *u, const char *s, size_t n, tok_text *out) {
    int64_t from = out->n;
    while (u->squeeze && n) { /* blanks at the start */
        charsmap_hit h = next_part(&u->rules.map, s, n);
        if (h.n != 1 || *h.to != ' ') break;
        s += h.bytes, n -= h.bytes;
    }
    if (!n) return true;
    if (u->dummy_prefix && !add_blank(u, out)) return false;
    for (bool blank = u->squeeze; n;) {
        charsmap_hit h = next_part(&u->rules.map, s, n);
        s += h.bytes, n -= h.bytes;
        while (blank && h.n && *h.to == ' ') h.to++, h.n--;
        for (size_t i = 0; i < h.n; i++)
            if (h.to[i] == ' ' ? !add_blank(u, out) : !tok_text_add(out, h.to + i, 1)) return false;
        if (h.n) blank = u->squeeze && h.to[h.n - 1] == ' ';
    }
    size_t width = u->escape ? 3 : 1;
    while (u->squeeze && out->n - from >= (int64_t)width && !memcmp(out->s + out->n - width, u->escape ? low_line : " ", width)) out->n -= (int64_t)width;
    return true;
}

static vm_status clean_spiece(tok *t, const char *s, size_t bytes, tok_text *out, vm_error *e) {
    struct tok_unigram *u = t->uni;
    uni_text *a = &t->points, *b = &t->points2;
    a->n = b->n = 0;
    u->text.n = 0;
    bool ok = uni_decode(a, s, bytes) && (!u->lower || uni_lower_text(b, a, true));
    uni_text *x = u->lower ? b : a;
    if (ok) canonical(x);
    ok = ok && tok_text_add(&u->text, u->unk_text, strlen(u->unk_text)) && tok_put_points(&u->text, x);
    return ok && normalise(u, u->text.s, (size_t)u->text.n, out) ? VM_OK : out_of_memory(e, bytes);
}

static vm_status split_spiece(tok *t, const char *s, size_t bytes, tok_ids *out, vm_error *e) {
    int64_t before = out->n, drop = t->uni->unk_ids;
    if (!unigram_encode(&t->uni->model, s, bytes, out)) return out_of_memory(e, bytes);
    if (out->n - before >= drop) {
        memmove(out->id + before, out->id + before + drop, (size_t)(out->n - before - drop) * sizeof *out->id);
        out->n -= drop;
    }
    return VM_OK;
}

/* --- tokenizer.json ---------------------------------------------------------------------------------------------- */
/* One word: blanks as U+2581, one before it, and each part that begins with one by itself. */
static bool add_word(struct tok_unigram *u, const char *s, size_t n, tok_ids *out) {
    tok_text *w = &u->other;
    w->n = 0;
    if (!u->meta) return unigram_encode(&u->model, s, n, out);
    bool marked = *s == ' ' || (n >= 3 && !memcmp(s, low_line, 3));
    if (u->prefix && !marked && !tok_text_add(w, low_line, 3)) return false;
    for (size_t i = 0; i < n; i++)
        if (s[i] == ' ' ? !tok_text_add(w, low_line, 3) : !tok_text_add(w, s + i, 1)) return false;
    for (int64_t from = 0, to; from < w->n; from = to) {
        to = from + 1;
        while (to < w->n && !(u->parts && w->n - to >= 3 && !memcmp(w->s + to, low_line, 3))) to++;
        if (!unigram_encode(&u->model, w->s + from, (size_t)(to - from), out)) return false;
    }
    return true;
}

static vm_status split_json(tok *t, const char *s, size_t bytes, tok_ids *out, vm_error *e) {
    struct tok_unigram *u = t->uni;
    const char *end = s + bytes;
    bool ok = true;
    if (!u->words) return add_word(u, s, bytes, out) ? VM_OK : out_of_memory(e, bytes);
    while (s < end && ok) {
        const char *stop = s, *p = s;
        while (p < end && !uni_space(uni_next(&p, end))) stop = p;
        if (stop > s) ok = add_word(u, s, (size_t)(stop - s), out);
        s = p;
    }
    return ok ? VM_OK : out_of_memory(e, bytes);
}

/* --- hooks ------------------------------------------------------------------------------------------------------- */
static vm_status clean(tok *t, const char *s, size_t bytes, tok_text *out, vm_error *e) {
    return t->uni->spiece ? clean_spiece(t, s, bytes, out, e) : tok_steps_apply(t, &t->uni->rules, s, bytes, out, e);
}

static vm_status split(tok *t, const char *s, size_t bytes, tok_ids *out, vm_error *e) {
    return t->uni->spiece ? split_spiece(t, s, bytes, out, e) : split_json(t, s, bytes, out, e);
}

/* The whole text before anything is cut out of it. SigLIP: U+2581 before it and none within. open_clip (the SigLIP models
 * that it has): repaired, unescaped twice, low lines as blanks, no punctuation, lower case, runs of blanks to one. */
static vm_status prepare(tok *t, const char *s, size_t bytes, tok_text *out, vm_error *e) {
    uni_text *a = &t->points, *b = &t->points2;
    bool ok = true;
    a->n = b->n = 0;
    if (t->uni->spiece) {
        ok = tok_text_add(out, low_line, 3) && uni_decode(a, s, bytes);
        for (int64_t i = 0; i < a->n && ok; i++) ok = tok_put_point(out, a->c[i] == LOW_LINE ? ' ' : a->c[i]);
    } else if (t->canonical) {
        ok = uni_decode(a, s, bytes) && (text_is_plain(s, bytes) || text_repair(a, b));
        for (int k = 0; k < 2 && ok; k++) {
            b->n = 0;
            ok = html_unescape(b, a);
            uni_text swap = *a;
            *a = *b, *b = swap;
        }
        for (int64_t i = 0; i < a->n && ok; i++)
            if (a->c[i] == '_') a->c[i] = ' ';
        b->n = 0;
        if (ok) canonical(a), ok = uni_lower_text(b, a, true) && tok_put_points(out, b);
    } else {
        ok = tok_text_add(out, s, bytes);
    }
    return ok ? VM_OK : out_of_memory(e, bytes);
}

static bool spell(const tok *t, int32_t id, tok_text *out, bool *blank) {
    size_t n;
    const char *s = vocab_text(&t->words, id, &n);
    const struct tok_unigram *u = t->uni;
    *blank = false;
    for (int b = 0; b < 256 && u->bytes_out && u->model.bytes_too && n == 6; b++)
        if (u->model.byte[b] == id) return tok_text_add(out, &(char){ (char)b }, 1);
    for (size_t i = 0; i < n;) {
        bool line = n - i >= 3 && !memcmp(s + i, low_line, 3);
        if (!(line ? tok_text_add(out, " ", 1) : tok_text_add(out, s + i, 1))) return false;
        i += line ? 3 : 1;
    }
    return true;
}

/* Pieces of special tokens are found in texts by tokenizer.json's library, and are not by SentencePiece. */
static vm_status make_model(tok *t, const char *name, vm_error *e) {
    struct tok_unigram *u = t->uni;
    double least = 0;
    bool none = true, bytes = u->byte_fallback;
    u->model.f32 = u->spiece, u->model.unk = u->unk;
    for (int32_t id = 0; id < u->n; id++) {
        size_t n;
        const char *s = vocab_text(&t->words, id, &n);
        if (u->kind[id] == SPIECE_NORMAL && (none || u->score[id] < least)) least = u->score[id], none = false;
        if (s && u->kind[id] == SPIECE_NORMAL && !unigram_add(&u->model, s, n, id, u->score[id])) return vm_nomem(e, n, name);
    }
    for (int b = 0; b < 256 && bytes; b++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", b);
        bytes = (u->model.byte[b] = vocab_find(&t->words, text, 6)) >= 0;
    }
    u->model.bytes_too = bytes;
    unigram_ready(&u->model, least);
    return VM_OK;
}

static vm_status ready(tok *t, const char *name, vm_error *e) {
    struct tok_unigram *u = t->uni;
    tok_info *info = &t->info;
    info->unk = u->unk;
    info->bos = tok_find_name(t, TOK_BOS, NULL, NULL);
    info->eos = tok_find_name(t, TOK_EOS, "</s>", NULL);
    if (info->pad < 0) info->pad = tok_find_name(t, TOK_PADDING, u->spiece ? "</s>" : "<pad>", "</s>");
    t->canonical &= !t->hf_layout;
    if (make_model(t, name, e) || !u->spiece) return e->status;
    if (info->eos < 0) return vm_fail(e, VM_EINPUT, "%s: found no end token </s> among the pieces, expected the model file of a SigLIP tokenizer", name);
    if (!tok_ids_add(&t->suffix, info->eos)) return vm_nomem(e, 8, "special tokens");
    t->suffix_once = true;
    tok_ids ids = { 0 };
    u->text.n = 0;
    bool ok = normalise(u, u->unk_text, strlen(u->unk_text), &u->text) && unigram_encode(&u->model, u->text.s, (size_t)u->text.n, &ids);
    u->unk_ids = ids.n;
    tok_ids_free(&ids);
    return ok ? VM_OK : out_of_memory(e, 16);
}

const tok_family tok_unigram = { .clean = clean, .split = split, .spell = spell, .ready = ready, .prepare = prepare, .blank_before = true };

/* --- life -------------------------------------------------------------------------------------------------------- */
vm_status tok_unigram_new(tok *t, vm_error *e) {
    t->family = &tok_unigram;
    if (!(t->uni = vm_calloc(1, sizeof *t->uni))) return vm_nomem(e, sizeof *t->uni, "a tokenizer");
    t->uni->unk = -1;
    return VM_OK;
}

vm_status tok_unigram_add(tok *t, const char *s, size_t bytes, double score, int kind, vm_error *e) {
    struct tok_unigram *u = t->uni;
    if (!vm_grow(&u->score, &u->cap_score, u->n + 1, sizeof *u->score) || !vm_grow(&u->kind, &u->cap_kind, u->n + 1, sizeof *u->kind))
        return vm_nomem(e, bytes, "the pieces");
    u->score[u->n] = score, u->kind[u->n] = (uint8_t)kind;
    return vocab_add(&t->words, s, bytes, (int32_t)u->n++, e);
}

void tok_unigram_free(struct tok_unigram *u) {
    if (!u) return;
    unigram_free(&u->model);
    vm_free(u->score), vm_free(u->kind), vm_free(u->unk_text), vm_free(u->text.s), vm_free(u->other.s);
    tok_steps_free(&u->rules);
    vm_free(u);
}
