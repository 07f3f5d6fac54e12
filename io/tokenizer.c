/* tokenizer.c - opening, encoding and decoding; what is special to a family is behind tok_family.
 *
 * Encoding: added tokens are cut out of the raw text (leftmost, longest first); the pieces between are normalised,
 * added tokens that want normalised text are cut out of that, and what remains is split into words. Tokens are cut
 * off to the length limit before the special ones come around them, so those survive. */
#include "io/file.h"
#include "io/gguf.h"
#include "io/tok_parts.h"

bool tok_text_add(tok_text *t, const char *s, size_t bytes) {
    if (!vm_grow(&t->s, &t->cap, t->n + (int64_t)bytes + 1, 1)) return false;
    if (bytes) memcpy(t->s + t->n, s, bytes);
    t->n += (int64_t)bytes;
    return true;
}

bool tok_ids_add(tok_ids *ids, int32_t id) {
    if (ids->n == ids->cap && !vm_grow(&ids->id, &ids->cap, ids->n + 1, sizeof *ids->id)) return false;
    ids->id[ids->n++] = id;
    return true;
}

void tok_ids_free(tok_ids *ids) {
    vm_free(ids->id);
    *ids = (tok_ids){0};
}

/* --- opening ----------------------------------------------------------------------------------------------------- */
static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

/* Opens the first of the known files in the directory. */
static vm_status open_dir(tok *t, const char *dir, vm_error *e) {
    static const char *const known[] = {"tokenizer.json", "vocab.json", "vocab.txt", "bpe_simple_vocab_16e6.txt.gz",
                                        "bpe_simple_vocab_16e6.txt", "spiece.model", "tokenizer.model", "merges.txt"};
    char *path[VM_LEN(known)] = {0};
    enum { SPIECE = VM_LEN(known) - 3, MODEL };
    int hit = -1;
    vm_status s = VM_OK;
    for (int i = 0; i < VM_LEN(known) && !s; i++)
        if (!(path[i] = path_join(dir, known[i]))) s = vm_nomem(e, strlen(dir), "a path");
    for (int i = VM_LEN(known) - 1; i >= 0 && !s; i--)
        if (file_exists(path[i])) hit = i;
    if (hit == 0 && t->siglip && file_exists(path[SPIECE])) hit = SPIECE; /* that class reads no tokenizer.json */
    if (s) goto done;
    if (hit < 0)
        s = vm_fail(e, VM_EINPUT,
                    "%s: no tokenizer found; expected tokenizer.json, vocab.json with merges.txt, vocab.txt, spiece.model, tokenizer.model "
                    "or bpe_simple_vocab_16e6.txt.gz: copy them there from the model's repository",
                    dir);
    else if (hit == 0) s = tok_load_json(t, path[0], e);
    else if (hit == 1) s = tok_load_pair(t, path[1], path[VM_LEN(known) - 1], e);
    else if (hit == 2) s = tok_load_vocab_txt(t, path[2], dir, e);
    else if (hit == SPIECE) s = tok_load_spiece(t, path[hit], dir, e);
    else if (hit == MODEL) s = tok_load_spiece_bpe(t, path[hit], dir, e);
    else s = tok_load_plain(t, path[hit], e);
done:
    for (int i = 0; i < VM_LEN(known); i++) vm_free(path[i]);
    return s;
}

/* The tokenizer.json beside a GGUF file, or what its metadata say. */
static vm_status gguf_or_beside(tok *t, const char *path, const char *dir, vm_error *e) {
    char *beside = path_join(dir, "tokenizer.json");
    if (!beside) return vm_nomem(e, strlen(dir), "a path");
    vm_status s = file_exists(beside) ? tok_load_json(t, beside, e) : tok_load_gguf(t, path, e);
    vm_free(beside);
    return s;
}

static vm_status open_file(tok *t, const char *path, const char *dir, vm_error *e) {
    const char *base = path_base(path);
    bool vocabulary = !strcmp(base, "vocab.json"), merges = !strcmp(base, "merges.txt");
    char *other = path_join(dir, vocabulary ? "merges.txt" : "vocab.json");
    vm_status s;
    if (!other) return vm_nomem(e, strlen(dir), "a path");
    if (gguf_is(path)) s = gguf_or_beside(t, path, dir, e);
    else if (vocabulary) s = tok_load_pair(t, path, other, e);
    else if (!strcmp(base, "vocab.txt")) s = tok_load_vocab_txt(t, path, dir, e);
    else if (merges && file_exists(other)) s = tok_load_pair(t, other, path, e);
    else if (ends_with(base, ".json")) s = tok_load_json(t, path, e);
    else if (!strcmp(base, "tokenizer.model")) s = tok_load_spiece_bpe(t, path, dir, e);
    else if (ends_with(base, ".model")) s = tok_load_spiece(t, path, dir, e);
    else s = tok_load_plain(t, path, e);
    vm_free(other);
    return s;
}

vm_status tok_open(tok **out, const char *path, vm_error *e) {
    *out = NULL;
    tok *t = vm_calloc(1, sizeof *t);
    bool is_dir = file_is_dir(path);
    char *dir = is_dir ? vm_strdup(path) : path_dir(path);
    vm_status s;
    if (!t || !dir) {
        s = vm_nomem(e, sizeof *t, "a tokenizer");
        goto done;
    }
    t->info = (tok_info){.bos = -1, .eos = -1, .pad = -1, .unk = -1};
    if (!is_dir && !file_exists(path)) {
        s = vm_fail(e, VM_EINPUT, "%s: no such file or directory, expected a tokenizer", path);
        goto done;
    }
    s = tok_load_settings(t, dir, e);
    if (!s) s = is_dir ? open_dir(t, dir, e) : open_file(t, path, dir, e);
    if (!s) s = tok_load_finish(t, path, e);
done:
    vm_free(dir);
    if (s) tok_free(t);
    else *out = t;
    return s;
}

void tok_free(tok *t) {
    if (!t) return;
    for (int64_t i = 0; i < t->added_n; i++) vm_free(t->added[i].text);
    vm_free(t->added);
    vm_free(t->mark);
    vocab_free(&t->words);
    tok_ids_free(&t->prefix);
    tok_ids_free(&t->suffix);
    bpe_free(&t->merges);
    bpe_cache_free(&t->cache);
    uni_free(&t->points);
    uni_free(&t->points2);
    vm_free(t->clean_text.s);
    vm_free(t->out_text.s);
    vm_free(t->whole_text.s);
    tok_unigram_free(t->uni);
    tok_bpe_free(t->bpe);
    for (int i = 0; i < TOK_NAMES; i++) vm_free(t->name[i]);
    vm_free(t);
}

const tok_info *tok_get_info(const tok *t) { return &t->info; }
const char *tok_entry(const tok *t, int32_t id, size_t *bytes) { return vocab_text(&t->words, id, bytes); }
int32_t tok_find(const tok *t, const char *entry, size_t bytes) { return vocab_find(&t->words, entry, bytes); }

/* --- encoding ---------------------------------------------------------------------------------------------------- */
static bool is_word_char(int32_t c) { return c == '_' || uni_letter(c) || uni_number(c); }

static bool word_before(const char *begin, const char *s) {
    if (s == begin) return false;
    const char *p = s - 1;
    while (p > begin && s - p < 4 && ((unsigned char)*p & 0xc0) == 0x80) p--;
    return is_word_char(uni_next(&p, s));
}

static bool word_after(const char *s, const char *end) { return s < end && is_word_char(uni_next(&s, end)); }

/* Whether s stands in a span where special tokens do not count; those are looked for in the text as it is. */
static bool in_plain(const tok *t, const char *s) {
    size_t at = (size_t)(s - t->all);
    for (int64_t i = 0; i < t->n_plain && t->plain[i].from <= at; i++)
        if (at < t->plain[i].to) return true;
    return false;
}

/* The longest added token that starts at s, or NULL. */
static const tok_added *added_at(const tok *t, const char *begin, const char *s, const char *end, bool normalized) {
    int64_t i = t->added_at[(unsigned char)*s] - 1;
    if (i < 0) return NULL;
    for (; i < t->added_n && t->added[i].text[0] == *s; i++) {
        const tok_added *a = &t->added[i];
        if (a->normalized != normalized || (size_t)(end - s) < a->bytes || memcmp(s, a->text, a->bytes)) continue;
        if (a->special && !normalized && t->n_plain && in_plain(t, s)) continue;
        bool inside = a->single_word && (word_before(begin, s) || word_after(s + a->bytes, end));
        return inside ? NULL : a;
    }
    return NULL;
}

static const char *skip_blanks(const char *s, const char *end) {
    while (s < end) {
        const char *p = s;
        if (!uni_space(uni_next(&p, end))) break;
        s = p;
    }
    return s;
}

static const char *skip_blanks_back(const char *begin, const char *s) {
    while (s > begin) {
        const char *p = s - 1, *q;
        while (p > begin && s - p < 4 && ((unsigned char)*p & 0xc0) == 0x80) p--;
        q = p;
        if (!uni_space(uni_next(&q, s)) || q != s) break;
        s = p;
    }
    return s;
}

static vm_status encode_piece(tok *t, const char *s, size_t bytes, bool normalized, tok_ids *out, vm_error *e);

/* Text without added tokens of this kind: normalise it and look for the other kind, or split it. */
static vm_status encode_plain(tok *t, const char *s, size_t bytes, bool normalized, tok_ids *out, vm_error *e) {
    if (!bytes) return VM_OK;
    if (normalized) {
        t->begins &= s == t->clean_text.s;
        return t->family->split(t, s, bytes, out, e);
    }
    t->begins = s == t->all;
    t->clean_text.n = 0;
    vm_status st = t->family->clean(t, s, bytes, &t->clean_text, e);
    return st ? st : encode_piece(t, t->clean_text.s, (size_t)t->clean_text.n, true, out, e);
}

static vm_status encode_piece(tok *t, const char *s, size_t bytes, bool normalized, tok_ids *out, vm_error *e) {
    const char *begin = s, *plain = s, *end = s + bytes;
    vm_status st = VM_OK;
    while (s < end && !st) {
        const tok_added *a = added_at(t, begin, s, end, normalized);
        if (!a) {
            s++;
            continue;
        }
        const char *stop = s + a->bytes, *cut = s;
        if (a->lstrip) cut = skip_blanks_back(plain, s);
        if (a->rstrip) stop = skip_blanks(stop, end);
        st = encode_plain(t, plain, (size_t)(cut - plain), normalized, out, e);
        if (!st && !tok_ids_add(out, a->id)) st = vm_nomem(e, sizeof(int32_t), "token ids");
        plain = s = stop;
    }
    return st ? st : encode_plain(t, plain, (size_t)(end - plain), normalized, out, e);
}

/* Moves ids[from..n) to the start of the body and shortens the list, so that keep ids of the body remain. */
static void cut_body(tok_ids *out, int64_t body, int64_t keep, bool left) {
    int64_t drop = out->n - body - keep;
    if (drop <= 0) return;
    if (left) memmove(out->id + body, out->id + body + drop, (size_t)keep * sizeof *out->id);
    out->n -= drop;
}

static bool pad_to(const tok *t, tok_ids *out, int64_t len) {
    int64_t old = out->n;
    if (old >= len) return true;
    if (!vm_grow(&out->id, &out->cap, len, sizeof *out->id)) return false;
    int32_t *pads = out->id + old;
    if (t->pad_left) {
        memmove(out->id + len - old, out->id, (size_t)old * sizeof *out->id);
        pads = out->id;
    }
    for (int64_t i = 0; i < len - old; i++) pads[i] = VM_MAX(t->info.pad, 0);
    out->n = len;
    return true;
}

vm_status tok_encode_plain(tok *t, const char *text, size_t bytes, int flags, int64_t max_len, const tok_span *plain, int64_t n, tok_ids *out, vm_error *e) {
    t->plain = plain, t->n_plain = t->family->prepare ? 0 : n;
    vm_status s = tok_encode(t, text, bytes, flags, max_len, out, e);
    t->plain = NULL, t->n_plain = 0;
    return s;
}

vm_status tok_encode(tok *t, const char *text, size_t bytes, int flags, int64_t max_len, tok_ids *out, vm_error *e) {
    out->n = 0;
    bool special = !(flags & TOK_NO_SPECIAL), ok = true;
    int64_t before = special ? t->prefix.n : 0, behind = special ? t->suffix.n : 0;
    int64_t limit = max_len > 0 ? max_len : t->cut_len;
    if (t->family->prepare) {
        t->whole_text.n = 0;
        if (t->family->prepare(t, text, bytes, &t->whole_text, e)) return e->status;
        text = t->whole_text.s, bytes = (size_t)t->whole_text.n;
    }
    for (int64_t i = 0; i < before && ok; i++) ok = tok_ids_add(out, t->prefix.id[i]);
    t->all = text;
    vm_status s = ok ? encode_piece(t, text, bytes, false, out, e) : vm_nomem(e, bytes, "token ids");
    if (s) return s;
    if (limit > 0) cut_body(out, before, VM_MAX(limit - before - behind, 0), t->cut_left);
    if (t->suffix_once && behind == 1 && out->n > before && out->id[out->n - 1] == t->suffix.id[0]) behind = 0;
    for (int64_t i = 0; i < behind && ok; i++) ok = tok_ids_add(out, t->suffix.id[i]);
    if (limit > 0 && out->n > limit) { /* not even room for the special tokens: the last ones stay */
        memmove(out->id, out->id + out->n - limit, (size_t)limit * sizeof *out->id);
        out->n = limit;
    }
    if (max_len > 0) {
        ok = ok && (!(flags & TOK_PAD) || pad_to(t, out, max_len));
    } else if (ok) {
        int64_t len = VM_MAX(out->n, t->pad_len), m = t->pad_multiple;
        ok = pad_to(t, out, m > 0 ? (len + m - 1) / m * m : len);
    }
    return ok ? VM_OK : vm_nomem(e, bytes, "token ids");
}

/* --- decoding ---------------------------------------------------------------------------------------------------- */
/* Bytes to characters: what is not UTF-8 becomes U+FFFD, an unfinished character at the end is held back. */
static bool put_characters(tok_stream *st, const char *s, int64_t n, bool flush, tok_text *out) {
    const char *end = s + n;
    while (s < end) {
        if (!flush && end - s < uni_len((unsigned char)*s)) {
            const char *p = s;
            uni_next(&p, end);
            if (p == end) { /* everything up to the end may still become a character */
                memcpy(st->held, s, (size_t)(end - s));
                st->held_len = (int)(end - s);
                return true;
            }
        }
        int32_t c = uni_next(&s, end);
        char utf8[4];
        int len = uni_put(utf8, c);
        if (!tok_text_add(out, utf8, (size_t)len)) return false;
    }
    return true;
}

static bool spell(tok *t, int32_t id, tok_text *out, bool *blank) {
    size_t n;
    const char *s = vocab_text(&t->words, id, &n);
    if (t->mark[id] & TOK_MARK_ADDED && !t->family->blank_before) return tok_text_add(out, s, n);
    return t->family->spell(t, id, out, blank);
}

vm_status tok_spell(tok *t, int32_t id, const char **bytes, size_t *n, vm_error *e) {
    tok_text *out = &t->clean_text;
    bool blank = false;
    out->n = 0;
    *bytes = "", *n = 0;
    if (!vocab_text(&t->words, id, n) || t->mark[id] & TOK_MARK_SPECIAL) return *n = 0, VM_OK;
    if (!spell(t, id, out, &blank)) return vm_nomem(e, *n, "a token's text");
    *bytes = out->s, *n = (size_t)out->n;
    return VM_OK;
}

int tok_drops_blanks(const tok *t) {
    if (t->family == &tok_clip) return -1;
    if (t->family->blank_before) return 1; /* of tokens before any text has come: those of a blank alone add nothing */
    return t->strip == TOK_STRIP_FIRST ? 2 : t->strip == TOK_STRIP_ONE;
}

vm_status tok_decode_next(tok *t, tok_stream *st, int32_t id, bool keep_special, const char **text,
                          size_t *text_bytes, vm_error *e) {
    size_t n;
    tok_text *bytes = &t->clean_text, *out = &t->out_text;
    bool blank = false, ok = true;
    bytes->n = out->n = 0;
    *text = "";
    *text_bytes = 0;
    if (id != -1 && !vocab_text(&t->words, id, &n))
        return vm_fail(e, VM_EINPUT, "token id %d: not in the vocabulary, expected 0 to %lld", id,
                       (long long)t->info.vocab_len - 1);
    int mark = id == -1 ? 0 : t->mark[id];
    if (mark & TOK_MARK_SPECIAL && !keep_special) return VM_OK;
    ok = tok_text_add(bytes, st->held, (size_t)st->held_len);
    st->held_len = 0;
    if (ok && id != -1) ok = spell(t, id, bytes, &blank);
    if (ok && t->strip && !st->begun && id != -1) {
        int64_t kept = 0, dropped = 0;
        for (int64_t i = 0; i < bytes->n; i++) {
            bool drop = bytes->s[i] == ' ' && (t->strip == TOK_STRIP_FIRST || i == 0);
            if (!drop) bytes->s[kept++] = bytes->s[i];
            dropped += drop;
        }
        bytes->n -= dropped, st->begun = true;
    }
    if (ok && t->family->blank_before && !st->started && bytes->n && bytes->s[0] == ' ')
        memmove(bytes->s, bytes->s + 1, (size_t)--bytes->n);
    if (ok && bytes->n && st->started)
        for (; st->blanks && ok; st->blanks--) ok = tok_text_add(out, " ", 1);
    st->blanks = bytes->n && ok ? 0 : st->blanks;
    /* a character does not go on behind a blank */
    if (ok && bytes->n) ok = put_characters(st, bytes->s, bytes->n, id == -1 || blank, out);
    st->started |= out->n > 0;
    st->blanks += blank;
    if (!ok || !tok_text_add(out, "", 1)) return vm_nomem(e, (size_t)bytes->n, "decoded text");
    *text = out->s;
    *text_bytes = (size_t)out->n - 1;
    return VM_OK;
}

vm_status tok_decode(tok *t, const int32_t *ids, int64_t n, bool keep_special, char **text, size_t *text_bytes,
                     vm_error *e) {
    tok_stream st = {0};
    tok_text all = {0};
    vm_status s = VM_OK;
    *text = NULL;
    for (int64_t i = 0; i <= n && !s; i++) {
        const char *part;
        size_t bytes;
        s = tok_decode_next(t, &st, i < n ? ids[i] : -1, keep_special, &part, &bytes, e);
        if (!s && !tok_text_add(&all, part, bytes)) s = vm_nomem(e, bytes, "decoded text");
    }
    if (!s && !tok_text_add(&all, "", 1)) s = vm_nomem(e, 1, "decoded text");
    if (s) vm_free(all.s);
    else *text = all.s;
    if (!s && text_bytes) *text_bytes = (size_t)all.n - 1;
    return s;
}
