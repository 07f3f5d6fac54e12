/* tok_gguf.c - the tokenizer in a GGUF file's metadata: SentencePiece's byte pairs ("llama": pieces and scores), or byte-level pairs ("gpt2":
 * entries, merges and the name of the expression that cuts words), which become the tokenizer.json that the model was made from. */
#include <string.h>

#include "io/gguf.h"
#include "io/spiece.h"
#include "io/tok_parts.h"

enum { NORMAL = SPIECE_NORMAL, CONTROL = SPIECE_CONTROL, USER = SPIECE_USER }; /* token_type counts as SentencePiece does */

typedef struct {
    const gguf *g;
    const char *path;
    gguf_text *token;
    double *type, *score;
    int64_t n;
} words;

static vm_status read_words(words *w, vm_error *e) {
    int64_t types, scores;
    w->token = gguf_texts(w->g, "tokenizer.ggml.tokens", &w->n, e);
    w->type = gguf_nums(w->g, "tokenizer.ggml.token_type", &types, e), w->score = gguf_nums(w->g, "tokenizer.ggml.scores", &scores, e);
    if (!e->status && !w->n) return vm_fail(e, VM_EINPUT, "%s: has no tokenizer in its metadata; put the model's tokenizer.json beside it", w->path);
    if (!e->status && ((w->type && types != w->n) || (w->score && scores != w->n)))
        return vm_fail(e, VM_EINPUT, "%s: %lld tokens, but %lld types and %lld scores", w->path, (long long)w->n, (long long)types, (long long)scores);
    return e->status;
}
static int type_of(const words *w, int64_t i) { return w->type ? (int)w->type[i] : NORMAL; }

/* The entry that the metadata name; NULL = none. */
static const gguf_text *named(const words *w, const char *key, vm_error *e) {
    int64_t id = gguf_int(w->g, key, -1, 0, w->n - 1, e);
    return id >= 0 ? &w->token[id] : NULL;
}
static void take_name(tok *t, const words *w, int which, const char *key, vm_error *e) {
    const gguf_text *x = named(w, key, e);
    if (!x || e->status) return;
    vm_free(t->name[which]);
    if (!(t->name[which] = vm_strndup(x->s, x->bytes))) vm_nomem(e, x->bytes, key);
}

/* --- pieces and scores ---------------------------------------------------------------------------------------------------- */
static vm_status load_pieces(tok *t, const words *w, vm_error *e) {
    spiece_file f = { .model = SPIECE_BPE, .byte_fallback = true, .escape = true, .dummy_prefix = gguf_bool(w->g, "tokenizer.ggml.add_space_prefix", true, e) };
    f.piece = vm_calloc((size_t)w->n + 1, sizeof *f.piece);
    if (!f.piece) return vm_nomem(e, (size_t)w->n * sizeof *f.piece, "a tokenizer");
    for (f.n = 0; f.n < w->n; f.n++)
        f.piece[f.n] = (spiece){ w->token[f.n].s, w->token[f.n].bytes, w->score ? (float)w->score[f.n] : 0, (spiece_kind)type_of(w, f.n) };
    tok_take_spiece_bpe(t, &f, w->path, e);
    vm_free(f.piece);
    return e->status;
}

/* --- byte-level pairs ------------------------------------------------------------------------------------------------------- */
/* The expressions by their names in llama.cpp; NULL: that of GPT-2, which ByteLevel itself has. */
static const struct { const char *name, *expression; bool nfc, whole_first, bos; } cuts[] = {
    { "llama-bpe", "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", false, true, true },
    { "qwen2", "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", true, false, false },
    { "gpt-2", NULL, false, false, false },
};

static void put_added(json_writer *j, const words *w) {
    json_begin_array(j, "added_tokens");
    for (int64_t i = 0; i < w->n; i++) {
        if (type_of(w, i) != CONTROL && type_of(w, i) != USER) continue;
        json_begin_object(j, NULL);
        json_put_int(j, "id", i);
        json_put_text(j, "content", w->token[i].s, w->token[i].bytes);
        json_put_bool(j, "special", type_of(w, i) == CONTROL);
        json_close_object(j);
    }
    json_close_array(j);
}

static void put_model(json_writer *j, const words *w, const gguf_text *merge, int64_t n, bool whole_first) {
    json_begin_object(j, "model");
    json_put_str(j, "type", "BPE");
    json_put_bool(j, "ignore_merges", whole_first);
    json_begin_object(j, "vocab");
    for (int64_t i = 0; i < w->n; i++) {
        char *key = type_of(w, i) == CONTROL || type_of(w, i) == USER ? NULL : vm_strndup(w->token[i].s, w->token[i].bytes);
        if (key) json_put_int(j, key, i);
        vm_free(key);
    }
    json_close_object(j);
    json_begin_array(j, "merges");
    for (int64_t i = 0; i < n; i++) json_put_text(j, NULL, merge[i].s, merge[i].bytes);
    json_close_array(j);
    json_close_object(j);
}

static void put_type(json_writer *j, const char *key, const char *type) {
    json_begin_object(j, key);
    json_put_str(j, "type", type);
}

/* The splitting of text into words. */
static void put_words(json_writer *j, const char *expression) {
    put_type(j, "pre_tokenizer", "Sequence");
    json_begin_array(j, "pretokenizers");
    if (expression) {
        put_type(j, NULL, "Split");
        json_begin_object(j, "pattern"), json_put_str(j, "Regex", expression), json_close_object(j);
        json_put_str(j, "behavior", "Isolated"), json_put_bool(j, "invert", false);
        json_close_object(j);
    }
    put_type(j, NULL, "ByteLevel");
    json_put_bool(j, "add_prefix_space", false), json_put_bool(j, "use_regex", !expression);
    json_close_object(j);
    json_close_array(j);
    json_close_object(j);
}

static vm_status load_pairs(tok *t, const words *w, vm_error *e) {
    const char *pre = gguf_str(w->g, "tokenizer.ggml.pre", "gpt-2", e);
    int64_t n = 0;
    size_t bytes = 0;
    int k = 0;
    while (k < VM_LEN(cuts) && strcmp(cuts[k].name, pre)) k++;
    if (e->status) return e->status;
    if (k == VM_LEN(cuts))
        return vm_fail(e, VM_EINPUT, "%s: words are cut as \"%s\", which is not known (llama-bpe, qwen2, gpt-2 are); put the model's tokenizer.json beside the file", w->path, pre);
    gguf_text *merge = gguf_texts(w->g, "tokenizer.ggml.merges", &n, e);
    json_writer j = json_to_memory(JSON_COMPACT);
    json_begin_object(&j, NULL);
    put_added(&j, w);
    if (cuts[k].nfc) put_type(&j, "normalizer", "NFC"), json_close_object(&j);
    put_words(&j, cuts[k].expression);
    put_type(&j, "decoder", "ByteLevel"), json_close_object(&j);
    put_model(&j, w, merge, n, cuts[k].whole_first);
    json_close_object(&j);
    char *text = json_take(&j, &bytes, e);
    if (text && !e->status) tok_load_json_text(t, text, bytes, w->path, e);
    vm_free(text), vm_free(merge);
    return e->status;
}

/* --- both -------------------------------------------------------------------------------------------------------------------- */
static vm_status add_end(const words *w, const char *want, bool dflt, const char *key, tok_ids *to, vm_error *e) {
    int64_t id = gguf_int(w->g, key, -1, 0, w->n - 1, e);
    if (gguf_bool(w->g, want, dflt, e) && id >= 0 && !e->status && !tok_ids_add(to, (int32_t)id)) return vm_nomem(e, 8, "special tokens");
    return e->status;
}

vm_status tok_load_gguf(tok *t, const char *path, vm_error *e) {
    words w = { .path = path };
    gguf *g = NULL;
    if (gguf_open(&g, path, e)) return e->status;
    w.g = g;
    const char *model = gguf_str(g, "tokenizer.ggml.model", "", e), *pre = gguf_str(g, "tokenizer.ggml.pre", "", e);
    bool pieces = !e->status && !strcmp(model, "llama"), pairs = !e->status && !strcmp(model, "gpt2");
    if (!read_words(&w, e) && !pieces && !pairs)
        vm_fail(e, VM_EINPUT, "%s: its tokenizer is a \"%s\", which is not read (llama, gpt2 are); put the model's tokenizer.json beside it", path, model);
    if (!e->status) pieces ? load_pieces(t, &w, e) : load_pairs(t, &w, e);
    take_name(t, &w, TOK_BOS, "tokenizer.ggml.bos_token_id", e), take_name(t, &w, TOK_EOS, "tokenizer.ggml.eos_token_id", e);
    take_name(t, &w, TOK_PADDING, "tokenizer.ggml.padding_token_id", e), take_name(t, &w, TOK_UNK, "tokenizer.ggml.unknown_token_id", e);
    if (!e->status) add_end(&w, "tokenizer.ggml.add_bos_token", pieces || !strcmp(pre, "llama-bpe"), "tokenizer.ggml.bos_token_id", &t->prefix, e);
    if (!e->status) add_end(&w, "tokenizer.ggml.add_eos_token", false, "tokenizer.ggml.eos_token_id", &t->suffix, e);
    vm_free(w.token), vm_free(w.type), vm_free(w.score);
    gguf_close(g);
    return e->status;
}
