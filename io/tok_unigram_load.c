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

vm_status tok_unigram_normalizer(tok *t, json_value v, const char *type, vm_error *e) {
    return tok_steps_read(&t->uni->rules, v, type, e);
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

vm_status tok_unigram_decoder(tok *t, json_value v, const char *type, vm_error *e) {
    static const char *const others[] = { "Metaspace", "Replace", "Fuse", "Strip" }; /* blanks of U+2581, and the first one dropped */
    bool known = !strcmp(type, "ByteFallback");
    t->uni->bytes_out |= known;
    for (int k = 0; k < VM_LEN(others); k++) known |= !strcmp(type, others[k]);
    return known ? VM_OK : json_fail(v, e, "decoder %s is none of Metaspace, Replace, ByteFallback, Fuse, Strip", type);
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
    if (tok_unigram_new(t, e) || file_read(&t->uni->rules.blob, &bytes, path, 0, e)) return e->status;
    struct tok_unigram *u = t->uni;
    if (spiece_read(&f, u->rules.blob, bytes, path, e) || tok_open_beside(&d, dir, "tokenizer_config.json", e)) goto done;
    json_value config = json_root(d);
    const char *class = json_str(config, "tokenizer_class", "SiglipTokenizer", e);
    if (e->status) goto done;
    if (strcmp(class, "SiglipTokenizer"))
        json_fail(json_get(config, "tokenizer_class"), e, "%s is read from tokenizer.json, which is missing; spiece.model alone is read for SiglipTokenizer", class);
    else if (f.model != SPIECE_UNIGRAM || f.suffix)
        vm_fail(e, VM_EINPUT, "%s: %s, expected the unigram model of a SigLIP", path, f.suffix ? "blanks stand behind words" : "no unigram model");
    else if (charsmap_open(&u->rules.map, f.charsmap, f.charsmap_n, &inner))
        vm_fail(e, VM_EINPUT, "%s: %s", path, inner.msg);
    if (e->status || take_pieces(t, &f, path, e)) goto done;
    u->spiece = true, u->byte_fallback = u->bytes_out = f.byte_fallback;
    u->dummy_prefix = f.dummy_prefix, u->squeeze = f.squeeze, u->escape = f.escape;
    u->lower = json_bool(config, "do_lower_case", true, e);
    if (!t->info.context) t->info.context = 64;
    if (!e->status) add_specials(t, config, e);
done:
    spiece_free(&f);
    json_free(d);
    return e->status;
}
