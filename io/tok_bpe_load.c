/* tok_bpe_load.c - where the rules of byte-pair tokenizers stand: in tokenizer.json, or in SentencePiece's tokenizer.model with
 * tokenizer_config.json beside it. */
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/spiece.h"
#include "io/tok_bpe.h"

static const char low_line[] = "\xe2\x96\x81"; /* U+2581 */

static vm_status start(tok *t, vm_error *e) {
    t->family = &tok_bpe;
    return (t->bpe = vm_calloc(1, sizeof *t->bpe)) ? VM_OK : vm_nomem(e, sizeof *t->bpe, "a tokenizer");
}

/* --- tokenizer.json ------------------------------------------------------------------------------------------------ */
vm_status tok_bpe_model(tok *t, json_value model, vm_error *e) {
    if (start(t, e)) return e->status;
    const char *prefix = json_str(model, "continuing_subword_prefix", "", e);
    t->bpe->byte_fallback = json_bool(model, "byte_fallback", false, e);
    t->bpe->fuse_unk = json_bool(model, "fuse_unk", false, e);
    t->bpe->whole_first = json_bool(model, "ignore_merges", false, e);
    if (!e->status && *prefix)
        return json_fail(model, e, "continuing_subword_prefix \"%.20s\" is not supported, expected none", prefix);
    return e->status;
}

vm_status tok_bpe_normalizer(tok *t, json_value v, const char *type, vm_error *e) {
    return tok_steps_read(&t->bpe->rules, v, type, e);
}

static vm_status add_cut(tok *t, json_value v, tok_cut **c, vm_error *e) {
    if (t->bpe->cuts == TOK_CUTS) return json_fail(v, e, "more than %d pre_tokenizers", TOK_CUTS);
    *c = &t->bpe->cut[t->bpe->cuts++];
    return VM_OK;
}

static vm_status add_expression(tok *t, json_value v, const char *pattern, bool literal, vm_error *e) {
    vm_error inner = { 0 };
    tok_cut *c = NULL;
    if (add_cut(t, v, &c, e)) return e->status;
    if (!regex_new(&c->at, pattern, literal, &inner)) return VM_OK;
    return inner.status == VM_EINPUT ? json_fail(v, e, "%s", inner.msg) : vm_fail(e, inner.status, "%s", inner.msg);
}

static vm_status read_split(tok *t, json_value v, vm_error *e) {
    json_value pattern = json_need(v, "pattern", JSON_OBJECT, e);
    const char *expression = json_str(pattern, "Regex", NULL, e), *string = json_str(pattern, "String", "", e),
               *behavior = json_str(v, "behavior", "Isolated", e);
    bool invert = json_bool(v, "invert", false, e), removed = !strcmp(behavior, "Removed");
    if (e->status) return e->status;
    if (!removed && strcmp(behavior, "Isolated"))
        return json_fail(v, e, "behavior \"%.30s\" is not supported, expected Isolated or Removed", behavior);
    if (add_expression(t, v, expression ? expression : string, !expression, e)) return e->status;
    tok_cut *c = &t->bpe->cut[t->bpe->cuts - 1];
    c->no_match = removed && !invert, c->no_gap = removed && invert;
    return VM_OK;
}

static vm_status read_metaspace(tok *t, json_value v, vm_error *e) {
    const char *mark = json_str(v, "replacement", low_line, e);
    const char *scheme = json_str(v, "prepend_scheme", json_bool(v, "add_prefix_space", true, e) ? "always" : "never", e);
    tok_cut *c = NULL;
    if (e->status || add_cut(t, v, &c, e)) return e->status;
    if (strcmp(mark, low_line)) return json_fail(v, e, "replacement \"%.8s\", expected U+2581", mark);
    *c = (tok_cut){ .kind = CUT_META, .parts = json_bool(v, "split", true, e),
                    .prepend = !strcmp(scheme, "always") ? META_ALWAYS : !strcmp(scheme, "first") ? META_FIRST : META_NEVER };
    if (c->prepend == META_NEVER && strcmp(scheme, "never"))
        return json_fail(v, e, "prepend_scheme \"%.20s\", expected first, always or never", scheme);
    return e->status;
}

vm_status tok_bpe_pre_tokenizer(tok *t, json_value v, const char *type, vm_error *e) {
    static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    if (!strcmp(type, "Split")) return read_split(t, v, e);
    if (!strcmp(type, "Metaspace")) return read_metaspace(t, v, e);
    if (!strcmp(type, "Digits")) return add_expression(t, v, json_bool(v, "individual_digits", false, e) ? "\\p{N}" : "\\p{N}+", false, e);
    if (strcmp(type, "ByteLevel")) return json_fail(v, e, "pre_tokenizer %s is none of Split, Metaspace, Digits, ByteLevel", type);
    t->bpe->bytes = true;
    if (json_bool(v, "add_prefix_space", true, e)) {
        tok_cut *c = NULL;
        if (add_cut(t, v, &c, e)) return e->status;
        c->kind = CUT_BYTES;
    }
    return json_bool(v, "use_regex", true, e) ? add_expression(t, v, gpt2, false, e) : e->status;
}

vm_status tok_bpe_decoder(tok *t, json_value v, const char *type, vm_error *e) {
    if (!strcmp(type, "Strip")) {
        if (json_int(v, "start", 0, 0, 1 << 20, e) > 0 && !strcmp(json_str(v, "content", "", e), " ")) t->strip = TOK_STRIP_ONE;
    } else if (!strcmp(type, "Metaspace")) {
        const char *scheme = json_str(v, "prepend_scheme", json_bool(v, "add_prefix_space", true, e) ? "always" : "never", e);
        if (!e->status && strcmp(scheme, "never")) t->strip = TOK_STRIP_FIRST;
    } else if (strcmp(type, "Replace") && strcmp(type, "ByteFallback") && strcmp(type, "Fuse") && strcmp(type, "ByteLevel")) {
        return json_fail(v, e, "decoder %s is none of Replace, ByteFallback, Fuse, Strip, Metaspace, ByteLevel", type);
    }
    return e->status;
}

/* --- tokenizer.model ----------------------------------------------------------------------------------------------- */
/* Two pieces that make a piece. The better piece is merged first; of equal ones that with the lower id. */
typedef struct {
    float score;
    int32_t left, right, id;
} merge;

static int better_first(const void *a, const void *b) {
    const merge *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    return x->left < y->left ? -1 : x->left > y->left;
}

/* The file has no merges: they are all ways to cut a piece into two others. */
static vm_status derive_merges(tok *t, const spiece_file *f, const char *path, vm_error *e) {
    merge *list = NULL;
    int64_t n = 0, cap = 0;
    for (int64_t id = 0; id < f->n && !e->status; id++) {
        const spiece *p = &f->piece[id];
        if (p->kind != SPIECE_NORMAL) continue;
        for (const char *s = p->text, *end = s + p->bytes; s < end;) {
            uni_next(&s, end);
            size_t k = (size_t)(s - p->text);
            int32_t left = vocab_find(&t->words, p->text, k), right = vocab_find(&t->words, s, p->bytes - k);
            if (s == end || left < 0 || right < 0 || f->piece[left].kind != SPIECE_NORMAL || f->piece[right].kind != SPIECE_NORMAL) continue;
            if (!vm_grow(&list, &cap, n + 1, sizeof *list)) vm_nomem(e, (size_t)n * sizeof *list, path);
            else list[n++] = (merge){ p->score, left, right, (int32_t)id };
            if (e->status) break;
        }
    }
    if (n) qsort(list, (size_t)n, sizeof *list, better_first);
    for (int64_t i = 0; i < n && i < INT32_MAX && !e->status; i++)
        if (!bpe_add(&t->merges, list[i].left, list[i].right, (int32_t)i, list[i].id)) vm_nomem(e, (size_t)n * sizeof *list, path);
    vm_free(list);
    return e->status;
}

static vm_status take_pieces(tok *t, const spiece_file *f, const char *path, vm_error *e) {
    for (int64_t i = 0; i < f->n && !e->status; i++) {
        const spiece *p = &f->piece[i];
        vm_error inner = { 0 };
        bool control = p->kind == SPIECE_CONTROL || p->kind == SPIECE_UNKNOWN;
        if (vocab_find(&t->words, p->text, p->bytes) >= 0)
            return vm_fail(e, VM_EINPUT, "%s: piece %lld, \"%.*s\", stands twice", path, (long long)i, (int)VM_MIN(p->bytes, (size_t)40), p->text);
        if (control || p->kind == SPIECE_USER) tok_add_token(t, p->text, p->bytes, (int32_t)i, control ? ADDED_SPECIAL : 0, &inner);
        else vocab_add(&t->words, p->text, p->bytes, (int32_t)i, &inner);
        if (p->kind == SPIECE_UNKNOWN) t->info.unk = (int32_t)i;
        if (inner.status) vm_fail(e, inner.status, "%s: %s", path, inner.msg);
    }
    return e->status;
}

static vm_status add_end(tok *t, json_value config, const char *key, bool dflt, int which, const char *usual, tok_ids *to, vm_error *e) {
    int32_t id = tok_find_name(t, which, usual, NULL);
    if (json_bool(config, key, dflt, e) && id >= 0 && !tok_ids_add(to, id)) return vm_nomem(e, 8, "special tokens");
    return e->status;
}

vm_status tok_take_spiece_bpe(tok *t, const spiece_file *f, const char *path, vm_error *e) {
    if ((!t->bpe && start(t, e)) || take_pieces(t, f, path, e) || derive_merges(t, f, path, e)) return e->status;
    t->bpe->byte_fallback = f->byte_fallback, t->bpe->fuse_unk = true;
    t->strip = TOK_STRIP_ONE;
    if (f->dummy_prefix) tok_steps_add(&t->bpe->rules, STEP_PREPEND, NULL, low_line, e);
    return e->status ? e->status : tok_steps_add(&t->bpe->rules, STEP_REPLACE, " ", low_line, e);
}

vm_status tok_load_spiece_bpe(tok *t, const char *path, const char *dir, vm_error *e) {
    spiece_file f = { 0 };
    json_doc *d = NULL;
    size_t bytes = 0;
    if (start(t, e) || file_read(&t->bpe->rules.blob, &bytes, path, 0, e)) return e->status;
    struct tok_bpe *b = t->bpe;
    if (spiece_read(&f, b->rules.blob, bytes, path, e) || tok_open_beside(&d, dir, "tokenizer_config.json", e)) goto done;
    json_value config = json_root(d);
    if (f.model != SPIECE_BPE || f.suffix || f.squeeze || !f.escape || f.charsmap_n)
        vm_fail(e, VM_EINPUT, "%s: %s; put the tokenizer.json of the model beside it", path,
                f.model != SPIECE_BPE ? "no byte-pair model" : "it normalises text in ways that are read from tokenizer.json only");
    if (e->status || tok_take_spiece_bpe(t, &f, path, e)) goto done;
    if (!e->status) tok_read_decoder(t, json_get(config, "added_tokens_decoder"), e);
    if (!e->status) add_end(t, config, "add_bos_token", true, TOK_BOS, "<s>", &t->prefix, e);
    if (!e->status) add_end(t, config, "add_eos_token", false, TOK_EOS, "</s>", &t->suffix, e);
done:
    spiece_free(&f);
    json_free(d);
    return e->status;
}
