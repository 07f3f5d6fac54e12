/* tok_json.c - tokenizer.json and vocab.json.
 *
 * Vocabularies and merges of up to millions of entries are read straight from the text, token by token; the rest of
 * tokenizer.json is small and read as a document, from a copy of the text in which the two are blanked out. */
#include <math.h>

#include "io/json.h"
#include "io/json_scan.h"
#include "io/tok_unigram.h"

/* Puts the place in front of an error of a function that knows none. */
static vm_status scan_place(json_scan *s, const vm_error *inner, vm_error *e) {
    if (inner->status == VM_EINPUT) return json_scan_fail(s, s->from, "%s", inner->msg);
    return vm_fail(e, inner->status, "%s", inner->msg);
}

/* --- vocabulary and merges in JSON ------------------------------------------------------------------------------- */
/* The current string of the scan behind what scratch holds already. */
static bool take_text(json_scan *s, tok_text *scratch, size_t *bytes) {
    if (!vm_grow(&scratch->s, &scratch->cap, scratch->n + (int64_t)s->len + 1, 1)) return false;
    *bytes = json_scan_text(s, scratch->s + scratch->n);
    scratch->n += (int64_t)*bytes;
    return true;
}

/* The scan stands behind the opening brace of {"token": id, ...}. */
static vm_status read_vocab(tok *t, json_scan *s, vm_error *e) {
    json_token k;
    while ((k = json_scan_next(s)) == JSON_T_KEY) {
        int64_t id;
        size_t n;
        vm_error inner = {0};
        t->clean_text.n = 0;
        if (!take_text(s, &t->clean_text, &n)) return vm_nomem(e, s->len, "the vocabulary");
        k = json_scan_next(s);
        if (k == JSON_T_ERROR) return e->status;
        if (k != JSON_T_NUMBER || !json_scan_int(s, &id) || id < 0 || id >= VOCAB_MAX_ID)
            return json_scan_fail(s, s->from, "found \"%.*s\" for token \"%.*s\", expected an id from 0 to %d",
                                  (int)VM_MIN(s->len, 20), s->from, (int)VM_MIN(n, 40), t->clean_text.s,
                                  VOCAB_MAX_ID - 1);
        if (vocab_add(&t->words, t->clean_text.s, n, (int32_t)id, &inner)) return scan_place(s, &inner, e);
    }
    if (k == JSON_T_ERROR) return e->status;
    return t->words.n ? VM_OK : json_scan_fail(s, s->p - 1, "found no entries, expected a vocabulary");
}

vm_status tok_read_vocab_json(tok *t, const char *path, vm_error *e) {
    char *text = NULL;
    size_t bytes = 0;
    json_scan scan;
    vm_status s = file_read(&text, &bytes, path, 0, e);
    if (!s) s = json_scan_start(&scan, text, bytes, path, 0, e);
    if (!s) {
        json_token k = json_scan_next(&scan);
        if (k == JSON_T_OBJECT) s = read_vocab(t, &scan, e);
        else
            s = k == JSON_T_ERROR ? e->status
                                  : json_scan_fail(&scan, scan.from, "expected an object of tokens and ids");
        if (!s && json_scan_next(&scan) != JSON_T_END) s = e->status;
    }
    vm_free(text);
    return s;
}

/* The scan stands behind the opening bracket of ["a b", ...] or [["a", "b"], ...]. */
static vm_status read_merge_list(tok *t, json_scan *s, vm_error *e) {
    json_token k;
    tok_text *both = &t->clean_text;
    for (int32_t rank = 0; (k = json_scan_next(s)) != JSON_T_ARRAY_END; rank++) {
        size_t a_n = 0, n = 0;
        bool ok = k == JSON_T_STRING || k == JSON_T_ARRAY;
        const char *from = s->from;
        both->n = 0;
        if (k == JSON_T_STRING) {
            if (!take_text(s, both, &n)) return vm_nomem(e, s->len, "the merge rules");
            ok = tok_split_pair(both->s, n, &a_n);
            if (ok) memmove(both->s + a_n, both->s + a_n + 1, --n - a_n);
        }
        for (int i = 0; i < 2 && ok && k == JSON_T_ARRAY; i++) {
            ok = json_scan_next(s) == JSON_T_STRING;
            if (ok && !take_text(s, both, i ? &n : &a_n)) return vm_nomem(e, s->len, "the merge rules");
            n = (size_t)both->n;
        }
        if (ok && k == JSON_T_ARRAY) ok = json_scan_next(s) == JSON_T_ARRAY_END;
        if (e->status) return e->status;
        if (!ok) return json_scan_fail(s, from, "merge %d: expected \"a b\" or [\"a\", \"b\"]", rank);
        vm_error inner = {0};
        if (tok_add_merge(t, both->s, a_n, n - a_n, rank, &inner)) return scan_place(s, &inner, e);
    }
    return VM_OK;
}

/* The scan stands behind the opening bracket of [["piece", score], ...]. */
static vm_status read_piece_list(tok *t, json_scan *s, vm_error *e) {
    json_token k;
    for (int64_t id = 0; (k = json_scan_next(s)) != JSON_T_ARRAY_END; id++) {
        const char *from = s->from;
        size_t n = 0;
        double score = 0;
        vm_error inner = {0};
        t->clean_text.n = 0;
        bool ok = k == JSON_T_ARRAY && json_scan_next(s) == JSON_T_STRING && id < VOCAB_MAX_ID;
        if (ok && !take_text(s, &t->clean_text, &n)) return vm_nomem(e, s->len, "the vocabulary");
        ok = ok && json_scan_next(s) == JSON_T_NUMBER && isfinite(score = json_scan_num(s)) && json_scan_next(s) == JSON_T_ARRAY_END;
        if (e->status) return e->status;
        if (!ok) return json_scan_fail(s, from, "entry %lld: expected [\"piece\", score]", (long long)id);
        if (tok_unigram_add(t, t->clean_text.s, n, score, 1, &inner)) return scan_place(s, &inner, e);
    }
    if (t->uni->n && t->uni->unk < t->uni->n) return VM_OK;
    return json_scan_fail(s, s->p - 1, "found %lld entries, expected more than the unk_id %d", (long long)t->uni->n, t->uni->unk);
}

/* --- tokenizer.json ---------------------------------------------------------------------------------------------- */
/* The places of "vocab" and "merges" in "model": scans behind their opening brackets. */
typedef struct {
    json_scan vocab, merges;
    bool has_vocab, has_merges, pieces; /* pieces: the vocabulary is a list of them with scores */
} big_parts;

static bool key_is(const json_scan *s, const char *name) {
    return s->len == strlen(name) && !memcmp(s->from, name, s->len);
}

/* Passes over an object or array; blanks what is in it in the copy, line feeds stay for the line numbers. */
static bool skip_blanked(json_scan *s, json_token k, const char *text, char *copy) {
    const char *from = s->p;
    if (!json_scan_skip(s, k)) return false;
    for (const char *c = from; c < s->p - 1; c++)
        if (*c != '\n') copy[c - text] = ' ';
    return true;
}

static bool find_model_parts(json_scan *s, const char *text, char *copy, big_parts *parts) {
    json_token k;
    while ((k = json_scan_next(s)) == JSON_T_KEY) {
        bool vocabulary = key_is(s, "vocab"), merges = key_is(s, "merges");
        if (!vocabulary && !merges) {
            if (!json_scan_skip(s, k)) return false;
            continue;
        }
        k = json_scan_next(s);
        if (vocabulary) parts->pieces = k == JSON_T_ARRAY;
        if (k != (vocabulary && !parts->pieces ? JSON_T_OBJECT : JSON_T_ARRAY)) {
            if (k == JSON_T_OBJECT || k == JSON_T_ARRAY) {
                if (!json_scan_skip(s, k)) return false;
            } else if (k == JSON_T_ERROR) {
                return false;
            }
            continue;
        }
        if (vocabulary) parts->vocab = *s, parts->has_vocab = true;
        else parts->merges = *s, parts->has_merges = true;
        if (!skip_blanked(s, k, text, copy)) return false;
    }
    return k != JSON_T_ERROR;
}

static vm_status find_parts(const char *text, size_t bytes, const char *path, char *copy, big_parts *parts,
                            vm_error *e) {
    json_scan s;
    vm_status st = json_scan_start(&s, text, bytes, path, 0, e);
    if (st) return st;
    json_token k = json_scan_next(&s);
    if (k != JSON_T_OBJECT) return k == JSON_T_ERROR ? e->status : json_scan_fail(&s, s.from, "expected an object");
    bool ok = true;
    while (ok && (k = json_scan_next(&s)) == JSON_T_KEY) {
        if (!key_is(&s, "model")) {
            ok = json_scan_skip(&s, k);
            continue;
        }
        k = json_scan_next(&s);
        if (k == JSON_T_OBJECT) ok = find_model_parts(&s, text, copy, parts);
        else ok = k == JSON_T_ARRAY ? json_scan_skip(&s, k) : k != JSON_T_ERROR;
    }
    return e->status;
}

vm_status tok_add_json(tok *t, json_value v, int64_t id, vm_error *e) {
    size_t n = 0;
    const char *text = json_as_text(json_need(v, "content", JSON_STRING, e), &n, e);
    int flags = json_bool(v, "single_word", false, e) * ADDED_SINGLE_WORD +
                json_bool(v, "lstrip", false, e) * ADDED_LSTRIP +
                json_bool(v, "rstrip", false, e) * ADDED_RSTRIP +
                json_bool(v, "normalized", false, e) * ADDED_NORMALIZED +
                json_bool(v, "special", false, e) * ADDED_SPECIAL;
    vm_error inner = {0};
    if (e->status || !tok_add_token(t, text, n, (int32_t)id, flags, &inner)) return e->status;
    if (inner.status == VM_EINPUT) return json_fail(v, e, "%s", inner.msg);
    *e = inner;
    return e->status;
}

static vm_status read_added(tok *t, json_value list, vm_error *e) {
    if (json_has(list) && list.kind != JSON_ARRAY) return json_fail(list, e, "expected an array of added tokens");
    for (json_iter it = json_each(list); !e->status && json_next(&it);) {
        int64_t id = json_as_int(json_need(it.value, "id", JSON_INT, e), 0, VOCAB_MAX_ID - 1, e);
        tok_add_json(t, it.value, id, e);
    }
    return e->status;
}

/* Calls step for v, or for every element when v is a Sequence of them. */
typedef vm_status (*json_step)(tok *t, json_value v, const char *type, vm_error *e);
static vm_status each_step(tok *t, json_value v, const char *list, json_step step, vm_error *e) {
    if (!json_has(v)) return VM_OK;
    const char *type = json_as_str(json_need(v, "type", JSON_STRING, e), e);
    if (e->status) return e->status;
    if (strcmp(type, "Sequence")) return step(t, v, type, e);
    vm_status s = VM_OK;
    for (json_iter it = json_each(json_need(v, list, JSON_ARRAY, e)); !s && json_next(&it);)
        s = each_step(t, it.value, list, step, e);
    return s ? s : e->status;
}

static vm_status read_normalizer(tok *t, json_value v, const char *type, vm_error *e) {
    if (!strcmp(type, "NFC")) {
        t->nfc = true;
    } else if (!strcmp(type, "Lowercase")) {
        t->lower = true;
    } else if (!strcmp(type, "Replace") && !strcmp(json_str(json_get(v, "pattern"), "Regex", "", e), "\\s+") &&
               !strcmp(json_str(v, "content", "", e), " ")) {
        t->squeeze = true;
    } else {
        return json_fail(v, e, "normalizer %s is none that CLIP has (NFC, Replace of \\s+ by a blank, Lowercase)",
                         type);
    }
    return e->status;
}

static vm_status read_pre_tokenizer(tok *t, json_value v, const char *type, vm_error *e) {
    if (!strcmp(type, "ByteLevel")) return VM_OK;
    const char *words = "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";
    const char *specials = "<\\|startoftext\\|>|<\\|endoftext\\|>|";
    const char *found = json_str(json_get(v, "pattern"), "Regex", "", e), *rest = found;
    if (e->status) return e->status;
    if (!strncmp(found, specials, strlen(specials))) rest += strlen(specials);
    if (strcmp(type, "Split") || strcmp(rest, words))
        return json_fail(v, e, "pre_tokenizer %s with pattern \"%.80s\" is none that CLIP has", type, found);
    t->literals = rest > found;
    return VM_OK;
}

static vm_status add_end(tok_ids *list, int64_t id, vm_error *e) {
    return tok_ids_add(list, (int32_t)id) ? VM_OK : vm_nomem(e, 8, "special tokens");
}

static vm_status read_post_processor(tok *t, json_value v, const char *type, vm_error *e) {
    vm_status s = VM_OK;
    if (!strcmp(type, "ByteLevel")) return VM_OK;
    if (!strcmp(type, "RobertaProcessing") || !strcmp(type, "BertProcessing")) {
        int64_t cls = json_as_int(json_at(json_need(v, "cls", JSON_ARRAY, e), 1), 0, VOCAB_MAX_ID - 1, e);
        int64_t sep = json_as_int(json_at(json_need(v, "sep", JSON_ARRAY, e), 1), 0, VOCAB_MAX_ID - 1, e);
        if ((s = e->status) || (s = add_end(&t->prefix, cls, e))) return s;
        return add_end(&t->suffix, sep, e);
    }
    if (strcmp(type, "TemplateProcessing")) return json_fail(v, e, "post_processor %s is not known", type);
    bool behind = false;
    for (json_iter it = json_each(json_need(v, "single", JSON_ARRAY, e)); !s && json_next(&it);) {
        json_value special = json_get(it.value, "SpecialToken");
        if (!json_has(special)) {
            behind = true;
            continue;
        }
        json_value known = json_get(json_get(v, "special_tokens"), json_str(special, "id", "", e));
        json_value ids = json_need(known, "ids", JSON_ARRAY, e);
        for (json_iter id = json_each(ids); !s && json_next(&id);) {
            int64_t k = json_as_int(id.value, 0, VOCAB_MAX_ID - 1, e);
            s = e->status ? e->status : add_end(behind ? &t->suffix : &t->prefix, k, e);
        }
    }
    return s ? s : e->status;
}

static vm_status read_lengths(tok *t, json_value root, vm_error *e) {
    json_value cut = json_get(root, "truncation"), pad = json_get(root, "padding");
    enum { LEN_MAX = 1 << 24 };
    if (json_has(cut)) {
        t->cut_len = json_int(cut, "max_length", 0, 1, LEN_MAX, e);
        t->cut_left = !strcmp(json_str(cut, "direction", "Right", e), "Left");
    }
    if (json_has(pad)) {
        json_value fixed = json_get(pad, "strategy");
        if (fixed.kind == JSON_OBJECT) t->pad_len = json_int(fixed, "Fixed", 0, 0, LEN_MAX, e);
        t->pad_multiple = json_int(pad, "pad_to_multiple_of", 0, 0, LEN_MAX, e);
        t->pad_left = !strcmp(json_str(pad, "direction", "Right", e), "Left");
        t->info.pad = (int32_t)json_int(pad, "pad_id", 0, 0, VOCAB_MAX_ID - 1, e);
    }
    return e->status;
}

static vm_status read_rules(tok *t, json_value root, vm_error *e) {
    json_value model = json_need(root, "model", JSON_OBJECT, e);
    const char *kind = json_str(model, "type", "BPE", e), *suffix = json_str(model, "end_of_word_suffix", "", e);
    vm_status s = e->status;
    bool pieces = !strcmp(kind, "WordPiece"), scored = !strcmp(kind, "Unigram"), pairs = !strcmp(kind, "BPE"), clip = pairs && !strcmp(suffix, "</w>");
    if (!s && pieces) s = tok_bert_model(t, model, e);
    else if (!s && scored) s = tok_unigram_model(t, model, e);
    else if (!s && pairs && !*suffix) s = tok_bpe_model(t, model, e);
    else if (!s && !clip)
        s = json_fail(model, e, "a %s model with end_of_word_suffix \"%.20s\" is not supported; expected byte pairs without one or with CLIP's </w>, "
                                "WordPiece or Unigram", kind, suffix);
    if (!s) json_need(model, "vocab", scored ? JSON_ARRAY : JSON_OBJECT, e);
    if (!s && !pieces && !scored) json_need(model, "merges", JSON_ARRAY, e);
    json_step normalizer = scored ? tok_unigram_normalizer : pieces ? tok_bert_normalizer : clip ? read_normalizer : tok_bpe_normalizer;
    json_step pre_tokenizer = scored ? tok_unigram_pre_tokenizer : pieces ? tok_bert_pre_tokenizer : clip ? read_pre_tokenizer : tok_bpe_pre_tokenizer;
    if (!s) s = each_step(t, json_get(root, "normalizer"), "normalizers", normalizer, e);
    if (!s) s = each_step(t, json_get(root, "pre_tokenizer"), "pretokenizers", pre_tokenizer, e);
    if (!s) s = each_step(t, json_get(root, "post_processor"), "processors", read_post_processor, e);
    if (!s && !pieces && !clip) s = each_step(t, json_get(root, "decoder"), "decoders", scored ? tok_unigram_decoder : tok_bpe_decoder, e);
    if (!s) s = read_lengths(t, root, e);
    return s ? s : e->status;
}

vm_status tok_load_json(tok *t, const char *path, vm_error *e) {
    char *text = NULL;
    size_t bytes = 0;
    vm_status s = file_read(&text, &bytes, path, 0, e);
    if (!s) s = tok_load_json_text(t, text, bytes, path, e);
    vm_free(text);
    return s;
}

vm_status tok_load_json_text(tok *t, const char *text, size_t bytes, const char *path, vm_error *e) {
    char *copy = vm_strndup(text, bytes);
    json_doc *d = NULL;
    big_parts parts = {.has_vocab = false};
    vm_status s = copy ? VM_OK : vm_nomem(e, bytes, path);
    if (!s) s = find_parts(text, bytes, path, copy, &parts, e);
    if (!s && !(d = json_parse(copy, bytes, path, 0, e))) s = e->status;
    if (s) goto done;
    json_value root = json_root(d);
    s = read_rules(t, root, e);
    if (!s) s = parts.pieces ? read_piece_list(t, &parts.vocab, e) : read_vocab(t, &parts.vocab, e);
    if (!s && parts.has_merges && (!t->family || t->bpe)) s = read_merge_list(t, &parts.merges, e);
    if (!s) s = read_added(t, json_get(root, "added_tokens"), e);
    const char *unk = s ? NULL : json_str(json_get(root, "model"), "unk_token", NULL, e);
    if (unk) t->info.unk = vocab_find(&t->words, unk, strlen(unk));
    t->from_json = true;
    if (!s) s = e->status;
done:
    json_free(d);
    vm_free(copy);
    return s;
}
