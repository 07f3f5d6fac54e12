/* tok_clip.c - the byte-pair encoding of CLIP in the rules of its two libraries.
 *
 * tokenizer.json: form C, whitespace runs to one blank, lower case of each character on its own. open_clip: repair of
 * typed text, HTML unescaped twice, whitespace runs to one blank, lower case of the whole text (final sigma).
 * Then words: 's 't 're 've 'm 'll 'd, runs of letters, single digits, runs of anything else but blanks. Their UTF-8
 * bytes are the symbols, the last one marked with </w>, and are merged by rank. */
#include "io/text_repair.h"
#include "io/tok_parts.h"

int32_t byte_char(int byte) {
    if ((byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174) return byte;
    return 256 + (byte < 33 ? byte : byte == 173 ? 67 : byte - 127 + 33);
}

int char_byte(int32_t c) {
    if (c < 256) return c >= 0 && byte_char(c) == c ? c : -1;
    c -= 256;
    return c < 33 ? c : c < 67 ? c - 33 + 127 : c == 67 ? 173 : -1;
}

int byte_order(int i) {
    return i < 94 ? i + 33 : i < 106 ? i - 94 + 161 : i < 188 ? i - 106 + 174 : char_byte(256 + i - 188);
}

/* --- normalisation ----------------------------------------------------------------------------------------------- */
static vm_status out_of_memory(vm_error *e, size_t bytes) { return vm_nomem(e, bytes, "a text to be tokenized"); }

/* Plain ASCII needs neither Unicode nor repair. */
static bool clean_ascii(const tok *t, const char *s, size_t bytes, tok_text *out) {
    if (!vm_grow(&out->s, &out->cap, out->n + (int64_t)bytes, 1)) return false;
    char *o = out->s + out->n;
    bool space = false, squeeze = t->open_clip || t->squeeze, lower = t->open_clip || t->lower;
    for (size_t i = 0; i < bytes; i++) {
        char c = s[i];
        bool was = space;
        space = squeeze && (c == ' ' || (c >= 9 && c <= 13));
        if (space && was) continue;
        *o++ = space ? ' ' : lower && c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    out->n = o - out->s;
    return true;
}

static void squeeze_blanks(uni_text *t) {
    int64_t n = 0;
    bool space = false;
    for (int64_t i = 0; i < t->n; i++) {
        bool was = space;
        space = uni_space(t->c[i]);
        if (!space || !was) t->c[n++] = space ? ' ' : t->c[i];
    }
    t->n = n;
}

static bool put_all(tok_text *out, const uni_text *t) {
    if (!vm_grow(&out->s, &out->cap, out->n + 4 * t->n, 1)) return false;
    for (int64_t i = 0; i < t->n; i++) out->n += uni_put(out->s + out->n, t->c[i]);
    return true;
}

static void swap_points(tok *t) {
    uni_text x = t->points;
    t->points = t->points2;
    t->points2 = x;
    t->points2.n = 0;
}

static bool clean_unicode(tok *t, const char *s, size_t bytes, tok_text *out) {
    uni_text *a = &t->points, *b = &t->points2;
    a->n = b->n = 0;
    if (!uni_decode(a, s, bytes)) return false;
    if (t->open_clip) {
        if (!text_repair(a, b)) return false;
        for (int twice = 0; twice < 2; twice++) {
            b->n = 0;
            if (!html_unescape(b, a)) return false;
            swap_points(t);
        }
    } else if (t->nfc && !uni_nfc(a, b)) {
        return false;
    }
    if (t->open_clip || t->squeeze) squeeze_blanks(a);
    b->n = 0;
    if (t->open_clip || t->lower) {
        if (!uni_lower_text(b, a, t->open_clip)) return false;
        swap_points(t);
    }
    return put_all(out, a);
}

static vm_status clean(tok *t, const char *s, size_t bytes, tok_text *out, vm_error *e) {
    bool ascii = t->open_clip ? text_is_plain(s, bytes) : true;
    for (size_t i = 0; i < bytes && ascii; i++) ascii = (unsigned char)s[i] < 0x80;
    bool ok = ascii ? clean_ascii(t, s, bytes, out) : clean_unicode(t, s, bytes, out);
    return ok ? VM_OK : out_of_memory(e, bytes);
}

/* --- words ------------------------------------------------------------------------------------------------------- */
typedef enum { OTHER, SPACE, LETTER, DIGIT } char_class;

/* Class of the character at *s, which moves behind it. Under open_clip's caseless pattern U+0345 matches no class, as
 * its capital is a letter and itself is none: it vanishes like a blank. */
static char_class next_class(const tok *t, const char **s, const char *end) {
    unsigned char b = (unsigned char)**s;
    if (b < 0x80) {
        (*s)++;
        return b == ' ' || b - 9u < 5u ? SPACE : (b | 32u) - 'a' < 26u ? LETTER : b - '0' + 0u < 10u ? DIGIT : OTHER;
    }
    int32_t c = uni_next(s, end);
    return uni_space(c) || (c == 0x345 && t->open_clip) ? SPACE
           : uni_letter(c)                              ? LETTER
           : uni_number(c)                              ? DIGIT
                                                        : OTHER;
}

/* Length of 's 't 'm 'd 're 've 'll at s, else 0. long_s: U+017F counts as s (caseless matching). */
static size_t contraction(const char *s, const char *end, bool long_s) {
    if (end - s < 2 || *s != '\'') return 0;
    if (s[1] == 's' || s[1] == 't' || s[1] == 'm' || s[1] == 'd') return 2;
    if (end - s < 3) return 0;
    if (long_s && !memcmp(s + 1, "\xc5\xbf", 2)) return 3;
    return !memcmp(s + 1, "re", 2) || !memcmp(s + 1, "ve", 2) || !memcmp(s + 1, "ll", 2) ? 3 : 0;
}

/* Length of the literal at s, 0 if it is not there; long_s: U+017F counts as s. */
static size_t literal(const char *s, const char *end, const char *want, bool long_s) {
    const char *p = s;
    for (; *want; want++) {
        if (p < end && *p == *want) p++;
        else if (long_s && *want == 's' && end - p >= 2 && !memcmp(p, "\xc5\xbf", 2)) p += 2;
        else return 0;
    }
    return (size_t)(p - s);
}

size_t tok_clip_word(const tok *t, const char **s, const char *end) {
    const char *p = *s, *from = p;
    char_class k = SPACE;
    while (p < end && k == SPACE) from = p, k = next_class(t, &p, end);
    *s = from;
    if (k == SPACE) {
        *s = end;
        return 0;
    }
    size_t n = contraction(from, end, t->open_clip);
    if (!n && t->open_clip && *from == '<') {
        n = literal(from, end, "<start_of_text>", true);
        if (!n) n = literal(from, end, "<end_of_text>", true);
    }
    if (n) return n;
    while (k != DIGIT && p < end) {
        const char *q = p;
        if (next_class(t, &q, end) != k) break;
        p = q;
    }
    return (size_t)(p - from);
}

static vm_status add_word(tok *t, const char *s, size_t n, tok_ids *out, vm_error *e) {
    int64_t ids_n, first = out->n;
    const int32_t *ids = bpe_cache_get(&t->cache, s, n, &ids_n);
    if (!vm_grow(&out->id, &out->cap, out->n + (int64_t)(ids ? (size_t)ids_n : n), sizeof *out->id))
        return out_of_memory(e, n);
    int32_t *sym = out->id + first;
    if (ids) {
        for (int64_t i = 0; i < ids_n; i++) sym[i] = ids[i];
        out->n += ids_n;
        return VM_OK;
    }
    ids_n = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t id = (i + 1 < n ? t->inner_id : t->last_id)[(unsigned char)s[i]];
        if (id < 0) id = t->info.unk;
        if (id >= 0) sym[ids_n++] = id;
    }
    if ((ids_n = bpe_merge(&t->merges, sym, ids_n)) < 0) return out_of_memory(e, n);
    out->n += ids_n;
    bpe_cache_put(&t->cache, s, n, sym, ids_n);
    return VM_OK;
}

static vm_status split(tok *t, const char *s, size_t bytes, tok_ids *out, vm_error *e) {
    const char *end = s + bytes, *stop = NULL; /* stop: end of a special token that is being split */
    for (size_t n; (n = tok_clip_word(t, &s, stop ? stop : end)) || stop; s += n) {
        /* tokenizer.json matches a special token as a whole and splits it by the rules of words: it ends a run */
        size_t whole = 0;
        if (n && t->literals && !stop && *s == '<') {
            whole = literal(s, end, "<|startoftext|>", false);
            if (!whole) whole = literal(s, end, "<|endoftext|>", false);
        }
        if (!n || whole) {
            stop = whole ? s + whole : NULL;
            n = 0;
            continue;
        }
        int32_t special = !t->open_clip || *s != '<'                    ? -1
                          : n == 15 && !memcmp(s, "<start_of_text>", n) ? t->info.bos
                          : n == 13 && !memcmp(s, "<end_of_text>", n)   ? t->info.eos
                                                                        : -1;
        if (special >= 0 && !tok_ids_add(out, special)) return out_of_memory(e, n);
        if (special < 0 && add_word(t, s, n, out, e)) return VM_EDEVICE;
    }
    return VM_OK;
}

/* --- back to text ------------------------------------------------------------------------------------------------ */
static bool spell(const tok *t, int32_t id, tok_text *out, bool *blank) {
    size_t n;
    const char *s = vocab_text(&t->words, id, &n), *end;
    *blank = n >= 4 && !memcmp(s + n - 4, "</w>", 4);
    end = s + n - (*blank ? 4 : 0);
    while (s < end) {
        const char *from = s;
        int b = char_byte(uni_next(&s, end));
        char byte = (char)b;
        if (!(b >= 0 ? tok_text_add(out, &byte, 1) : tok_text_add(out, from, (size_t)(s - from)))) return false;
    }
    return true;
}

/* Which entries begin and end a text, lengths, and what else follows from the files. */
static vm_status set_specials(tok *t, vm_error *e) {
    tok_info *info = &t->info;
    vm_status s = VM_OK;
    t->open_clip = t->open_clip && !t->hf_layout;
    info->bos = tok_find_name(t, TOK_BOS, "<|startoftext|>", "<start_of_text>");
    info->eos = tok_find_name(t, TOK_EOS, "<|endoftext|>", "<end_of_text>");
    if (!t->from_json) {
        info->unk = tok_find_name(t, TOK_UNK, "<|endoftext|>", NULL);
        t->nfc = t->squeeze = t->lower = t->literals = true;
    }
    if (t->open_clip) { /* its own lengths, and special tokens are words of the text like any other */
        if (!info->context) info->context = TOK_CLIP_CONTEXT;
        t->cut_len = info->context;
        t->cut_left = t->pad_left = t->literals = false;
        t->pad_len = t->pad_multiple = 0;
        info->pad = 0;
        for (int64_t i = 0; i < t->added_n; i++) vm_free(t->added[i].text);
        t->added_n = 0;
    } else if (info->pad < 0) {
        info->pad = tok_find_name(t, TOK_PADDING, "<|endoftext|>", NULL);
    }
    if (t->open_clip || !t->from_json) {
        t->prefix.n = t->suffix.n = 0;
        if (info->bos >= 0 && !tok_ids_add(&t->prefix, info->bos)) s = vm_nomem(e, 8, "special tokens");
        if (info->eos >= 0 && !tok_ids_add(&t->suffix, info->eos)) s = vm_nomem(e, 8, "special tokens");
    }
    int32_t ends[2] = {info->bos, info->eos};
    for (int i = 0; i < 2 && !s && !t->open_clip && !t->from_json; i++) {
        size_t n;
        const char *text = vocab_text(&t->words, ends[i], &n);
        if (text) s = tok_add_token(t, text, n, ends[i], ADDED_SPECIAL, e);
    }
    return s;
}

static vm_status ready(tok *t, const char *name, vm_error *e) {
    if (set_specials(t, e)) return e->status;
    for (int b = 0; b < 256; b++) {
        char s[8];
        int n = uni_put(s, byte_char(b));
        t->inner_id[b] = vocab_find(&t->words, s, (size_t)n);
        memcpy(s + n, "</w>", 4);
        t->last_id[b] = vocab_find(&t->words, s, (size_t)n + 4);
    }
    if (t->last_id['a'] < 0)
        return vm_fail(e, VM_EINPUT,
                       "%s: vocabulary: found no entry \"a</w>\", expected the byte-pair vocabulary of CLIP", name);
    if (t->info.bos < 0 || t->info.eos < 0)
        return vm_fail(e, VM_EINPUT, "%s: vocabulary: found no %s, expected <|startoftext|> and <|endoftext|>", name,
                       t->info.bos < 0 ? "start token" : "end token");
    return VM_OK;
}

const tok_family tok_clip = { .clean = clean, .split = split, .spell = spell, .ready = ready };
