/* tok_bert_load.c - where WordPiece's rules and entries stand: in tokenizer.json, or in vocab.txt with
 * tokenizer_config.json and added_tokens.json beside it. */
#include <stdlib.h>

#include "io/json.h"
#include "io/tok_parts.h"

enum { MOST_CHARS = 100, MOST_CHARS_LIMIT = 10000 };

static vm_status set_inside(tok *t, json_value v, const char *mark, vm_error *e) {
    if (strlen(mark) >= sizeof t->bert.inside) return json_fail(v, e, "found \"%.40s\", expected at most %d bytes", mark, (int)sizeof t->bert.inside - 1);
    memcpy(t->bert.inside, mark, strlen(mark) + 1);
    return VM_OK;
}

/* --- tokenizer.json ---------------------------------------------------------------------------------------------- */
vm_status tok_bert_model(tok *t, json_value model, vm_error *e) {
    const char *mark = json_str(model, "continuing_subword_prefix", "##", e);
    t->family = &tok_bert;
    t->bert.most_chars = json_int(model, "max_input_chars_per_word", MOST_CHARS, 1, MOST_CHARS_LIMIT, e);
    return e->status ? e->status : set_inside(t, json_get(model, "continuing_subword_prefix"), mark, e);
}

vm_status tok_bert_normalizer(tok *t, json_value v, const char *type, vm_error *e) {
    if (strcmp(type, "BertNormalizer"))
        return json_fail(v, e, "normalizer %s is none that WordPiece has (BertNormalizer)", type);
    t->bert.clean = json_bool(v, "clean_text", true, e);
    t->bert.ideographs = json_bool(v, "handle_chinese_chars", true, e);
    t->bert.lower = json_bool(v, "lowercase", true, e);
    t->bert.strip = json_bool(v, "strip_accents", t->bert.lower, e);
    return e->status;
}

vm_status tok_bert_pre_tokenizer(tok *t, json_value v, const char *type, vm_error *e) {
    (void)t;
    if (!strcmp(type, "BertPreTokenizer")) return VM_OK;
    return json_fail(v, e, "pre_tokenizer %s is none that WordPiece has (BertPreTokenizer)", type);
}

/* --- vocab.txt --------------------------------------------------------------------------------------------------- */
static vm_status read_lines(tok *t, const char *path, vm_error *e) {
    char *text = NULL;
    size_t bytes = 0;
    vm_status s = file_read(&text, &bytes, path, 0, e);
    const char *p = text, *end = text + bytes;
    for (int64_t id = 0; !s && p < end; id++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((stop ? stop : end) - p);
        vm_error inner = { 0 };
        if (id >= VOCAB_MAX_ID) s = vm_fail(e, VM_EINPUT, "%s: more than %d lines, expected a vocabulary", path, VOCAB_MAX_ID);
        else if (vocab_add(&t->words, p, n && p[n - 1] == '\r' ? n - 1 : n, (int32_t)id, &inner))
            s = vm_fail(e, inner.status, "%s:%lld: %.900s", path, (long long)id + 1, inner.msg);
        p = stop ? stop + 1 : end;
    }
    if (!s && !t->words.n) s = vm_fail(e, VM_EINPUT, "%s: found no entries, expected one per line", path);
    vm_free(text);
    return s;
}

vm_status tok_read_decoder(tok *t, json_value list, vm_error *e) {
    if (json_has(list) && list.kind != JSON_OBJECT) return json_fail(list, e, "expected an object of ids and tokens");
    for (json_iter it = json_each(list); !e->status && json_next(&it);) {
        char *stop;
        long id = strtol(it.key, &stop, 10);
        if (stop == it.key || *stop || id < 0 || id >= VOCAB_MAX_ID)
            return json_fail(it.value, e, "found the key \"%.40s\", expected an id from 0 to %d", it.key, VOCAB_MAX_ID - 1);
        tok_add_json(t, it.value, id, e);
    }
    return e->status;
}

/* added_tokens.json: {"[DEC]": 30522, ...} */
static vm_status read_added(tok *t, json_value list, vm_error *e) {
    if (list.kind != JSON_OBJECT) return json_fail(list, e, "expected an object of tokens and ids");
    for (json_iter it = json_each(list); !e->status && json_next(&it);) {
        int64_t id = json_as_int(it.value, 0, VOCAB_MAX_ID - 1, e);
        vm_error inner = { 0 };
        if (e->status || !tok_add_token(t, it.key, strlen(it.key), (int32_t)id, ADDED_SPECIAL, &inner)) continue;
        if (inner.status == VM_EINPUT) json_fail(it.value, e, "%s", inner.msg);
        else *e = inner;
    }
    return e->status;
}

/* The special tokens of BERT that the vocabulary has and no file states. */
static vm_status add_usual(tok *t, vm_error *e) {
    static const struct { int name; const char *usual; } names[] = {
        { TOK_PADDING, "[PAD]" }, { TOK_UNK, "[UNK]" }, { TOK_CLS, "[CLS]" }, { TOK_SEP, "[SEP]" }, { TOK_MASK, "[MASK]" }
    };
    vm_status s = VM_OK;
    for (int k = 0; k < VM_LEN(names) && !s; k++) {
        size_t n;
        int32_t id = tok_find_name(t, names[k].name, names[k].usual, NULL);
        bool there = id < 0;
        for (int64_t i = 0; i < t->added_n; i++) there |= t->added[i].id == id;
        const char *entry = there ? NULL : vocab_text(&t->words, id, &n);
        char *text = entry ? vm_strndup(entry, n) : NULL; /* adding may move the vocabulary */
        if (entry && !text) s = vm_nomem(e, n, "an added token");
        if (text) s = tok_add_token(t, text, n, id, ADDED_SPECIAL, e);
        vm_free(text);
    }
    return s;
}

vm_status tok_load_vocab_txt(tok *t, const char *path, const char *dir, vm_error *e) {
    json_doc *config = NULL, *added = NULL;
    t->family = &tok_bert;
    t->bert.most_chars = MOST_CHARS;
    memcpy(t->bert.inside, "##", 3);
    if (read_lines(t, path, e)) return e->status;
    if (!tok_open_beside(&config, dir, "tokenizer_config.json", e)) tok_open_beside(&added, dir, "added_tokens.json", e);
    json_value root = json_root(config);
    if (!e->status) {
        t->bert.clean = true;
        t->bert.lower = json_bool(root, "do_lower_case", true, e);
        t->bert.ideographs = json_bool(root, "tokenize_chinese_chars", true, e);
        t->bert.strip = json_bool(root, "strip_accents", t->bert.lower, e);
    }
    if (!e->status) tok_read_decoder(t, json_get(root, "added_tokens_decoder"), e);
    if (!e->status && added) read_added(t, json_root(added), e);
    if (!e->status) add_usual(t, e);
    json_free(config), json_free(added);
    return e->status;
}
