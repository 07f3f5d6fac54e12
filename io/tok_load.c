/* tok_load.c - merges.txt, vocab.json with it, open_clip's merge list, and the small files beside a vocabulary. */
#include <stdlib.h>
#include <zlib.h>
#include "io/json.h"
#include "io/tok_parts.h"

enum { PLAIN_MAX = 64 << 20, PLAIN_MERGES = 49152 - 256 - 2 };

/* --- added tokens and merges ------------------------------------------------------------------------------------- */
vm_status tok_add_token(tok *t, const char *text, size_t bytes, int32_t id, int flags, vm_error *e) {
    vm_status s = vocab_add(&t->words, text, bytes, id, e);
    if (s) return s;
    if (!bytes) return vm_fail(e, VM_EINPUT, "added token %d: found an empty content", id);
    tok_added a = {.id = id,
                   .bytes = bytes,
                   .single_word = flags & ADDED_SINGLE_WORD,
                   .lstrip = flags & ADDED_LSTRIP,
                   .rstrip = flags & ADDED_RSTRIP,
                   .normalized = flags & ADDED_NORMALIZED,
                   .special = flags & ADDED_SPECIAL};
    if (!(a.text = vm_strndup(text, bytes)) || !vm_grow(&t->added, &t->added_cap, t->added_n + 1, sizeof a)) {
        vm_free(a.text);
        return vm_nomem(e, bytes, "an added token");
    }
    t->added[t->added_n++] = a;
    return VM_OK;
}

/* The merge of both[0..a_n) and the b_n bytes behind it. */
vm_status tok_add_merge(tok *t, const char *both, size_t a_n, size_t b_n, int32_t rank, vm_error *e) {
    struct {
        const char *s;
        size_t n;
        int32_t id;
    } part[3] = {{both, a_n, -1}, {both + a_n, b_n, -1}, {both, a_n + b_n, -1}};
    for (int i = 0; i < 3; i++) {
        part[i].id = vocab_find(&t->words, part[i].s, part[i].n);
        if (part[i].id < 0)
            return vm_fail(e, VM_EINPUT, "merge %d: \"%.*s\" is not in the vocabulary", rank,
                           (int)VM_MIN(part[i].n, 60), part[i].s);
    }
    if (!bpe_add(&t->merges, part[0].id, part[1].id, rank, part[2].id))
        return vm_nomem(e, a_n + b_n, "the merge rules");
    return VM_OK;
}

/* Splits "a b" at its only blank; false if it has none or more. */
bool tok_split_pair(const char *s, size_t n, size_t *a_n) {
    const char *blank = memchr(s, ' ', n);
    if (!blank || blank == s || blank == s + n - 1 || memchr(blank + 1, ' ', (size_t)(s + n - blank - 1)))
        return false;
    *a_n = (size_t)(blank - s);
    return true;
}

/* --- merges.txt and open_clip's list ----------------------------------------------------------------------------- */
/* Lines "a b" of text; grow: each makes a new entry. Stops behind max_n rules. */
static vm_status read_merges(tok *t, const char *path, const char *text, size_t bytes, bool grow, int64_t max_n,
                             vm_error *e) {
    const char *s = text, *end = text + bytes;
    int32_t rank = 0;
    for (int64_t line = 1; s < end && rank < max_n; line++) {
        const char *stop = memchr(s, '\n', (size_t)(end - s));
        size_t n = (size_t)((stop ? stop : end) - s), a_n;
        if (n && s[n - 1] == '\r') n--;
        bool header = line == 1 && memmem(s, n, "#version", 8);
        if (n && !header) {
            char both[1024];
            vm_error inner = {0};
            if (!tok_split_pair(s, n, &a_n) || n > sizeof both)
                return vm_fail(e, VM_EINPUT,
                               "%s:%lld: found \"%.*s\", expected two symbols with one blank between them", path,
                               (long long)line, (int)VM_MIN(n, 60), s);
            memcpy(both, s, a_n);
            memcpy(both + a_n, s + a_n + 1, n - a_n - 1);
            if (grow) vocab_add(&t->words, both, n - 1, (int32_t)t->words.n, &inner);
            if (!inner.status) tok_add_merge(t, both, a_n, n - a_n - 1, rank++, &inner);
            if (inner.status) return vm_fail(e, inner.status, "%s:%lld: %.900s", path, (long long)line, inner.msg);
        }
        s = stop ? stop + 1 : end;
    }
    return rank ? VM_OK : vm_fail(e, VM_EINPUT, "%s: found no merge rules, expected lines of two symbols", path);
}

/* The whole of a file, unpacked if it is gzip. */
static vm_status read_gzip(char **text, size_t *bytes, const char *path, vm_error *e) {
    gzFile f = gzopen(path, "rb");
    int64_t n = 0, cap = 0, got = 0;
    *text = NULL;
    if (!f) return vm_fail(e, VM_EINPUT, "%s: cannot be opened", path);
    vm_status s = VM_OK;
    do {
        n += got;
        if (n > PLAIN_MAX)
            s = vm_fail(e, VM_EINPUT, "%s: more than %d bytes, expected a list of merges", path, PLAIN_MAX);
        else if (!vm_grow(text, &cap, n + (1 << 16), 1)) s = vm_nomem(e, (size_t)n, path);
    } while (!s && (got = gzread(f, *text + n, 1 << 16)) > 0);
    int code;
    const char *why = gzerror(f, &code);
    if (!s && (got < 0 || code < 0)) s = vm_fail(e, VM_EINPUT, "%s: broken gzip data: %s", path, why);
    gzclose(f);
    *bytes = (size_t)n;
    return s;
}

vm_status tok_load_plain(tok *t, const char *path, vm_error *e) {
    char *text = NULL;
    size_t bytes = 0;
    vm_status s = read_gzip(&text, &bytes, path, e);
    if (!strncmp(path_base(path), "bpe_simple_vocab", 16)) t->open_clip = true;
    for (int i = 0; i < 512 && !s; i++) { /* every byte, then every byte at the end of a word */
        char c[8];
        int n = uni_put(c, byte_char(byte_order(i & 255)));
        memcpy(c + n, "</w>", 4);
        s = vocab_add(&t->words, c, (size_t)n + (i < 256 ? 0 : 4), i, e);
    }
    if (!s) s = read_merges(t, path, text, bytes, true, PLAIN_MERGES, e);
    if (!s) s = tok_add_token(t, "<|startoftext|>", 15, (int32_t)t->words.n, ADDED_SPECIAL, e);
    if (!s) s = tok_add_token(t, "<|endoftext|>", 13, (int32_t)t->words.n, ADDED_SPECIAL, e);
    vm_free(text);
    return s;
}

vm_status tok_load_pair(tok *t, const char *vocab_path, const char *merges_path, vm_error *e) {
    char *text = NULL;
    size_t bytes = 0;
    vm_status s = tok_read_vocab_json(t, vocab_path, e);
    if (!s) s = file_read(&text, &bytes, merges_path, 0, e);
    if (!s) s = read_merges(t, merges_path, text, bytes, false, INT32_MAX, e);
    vm_free(text);
    return s;
}

/* --- the small files beside -------------------------------------------------------------------------------------- */
vm_status tok_open_beside(json_doc **d, const char *dir, const char *name, vm_error *e) {
    char *path = path_join(dir, name);
    *d = NULL;
    if (!path) return vm_nomem(e, strlen(dir), "a path");
    if (file_exists(path) && !file_is_dir(path)) *d = json_open(path, e);
    vm_free(path);
    return e->status;
}

/* "bos_token": "<s>" or {"content": "<s>", ...} or null. */
static vm_status read_name(tok *t, int which, json_value root, const char *key, vm_error *e) {
    json_value v = json_get(root, key);
    if (t->name[which] || !json_has(v)) return e->status;
    const char *s = v.kind == JSON_OBJECT ? json_str(v, "content", NULL, e) : json_as_str(v, e);
    if (s && !e->status && !(t->name[which] = vm_strdup(s))) return vm_nomem(e, strlen(s), key);
    return e->status;
}

vm_status tok_load_settings(tok *t, const char *dir, vm_error *e) {
    static const char *const file[] = {"tokenizer_config.json", "special_tokens_map.json", "open_clip_config.json"};
    static const char *const key[TOK_NAMES] = {"bos_token", "eos_token", "pad_token", "unk_token",
                                               "cls_token", "sep_token", "mask_token"};
    vm_status s = VM_OK;
    for (int f = 0; f < VM_LEN(file) && !s; f++) {
        json_doc *d;
        if ((s = tok_open_beside(&d, dir, file[f], e)) || !d) continue;
        json_value root = json_root(d);
        for (int i = 0; i < TOK_NAMES && f < 2 && !s; i++) s = read_name(t, i, root, key[i], e);
        if (f == 0) {
            t->siglip = !strcmp(json_str(root, "tokenizer_class", "", e), "SiglipTokenizer");
            double n = json_num(root, "model_max_length", 0, -1e300, 1e300, e); /* "none" is written as 1e30 */
            t->info.context = n >= 1 && n < 1 << 24 ? (int64_t)n : 0;
        }
        if (f == 2) {
            json_value text = json_get(json_get(root, "model_cfg"), "text_cfg");
            t->info.context = json_int(text, "context_length", TOK_CLIP_CONTEXT, 1, 1 << 24, e);
            t->open_clip = !json_str(text, "hf_tokenizer_name", NULL, e);
            t->canonical = !strcmp(json_str(json_get(text, "tokenizer_kwargs"), "clean", "", e), "canonicalize");
        }
        s = e->status;
        json_free(d);
    }
    char *config = path_join(dir, "config.json");
    t->hf_layout = config && file_exists(config);
    vm_free(config);
    return s;
}

int32_t tok_find_name(const tok *t, int which, const char *dflt, const char *dflt2) {
    const char *name[3] = {t->name[which], dflt, dflt2};
    for (int i = 0; i < 3; i++) {
        int32_t id = name[i] ? vocab_find(&t->words, name[i], strlen(name[i])) : -1;
        if (id >= 0) return id;
    }
    return -1;
}

static int by_first_byte(const void *a, const void *b) {
    const tok_added *x = a, *y = b;
    unsigned char cx = (unsigned char)x->text[0], cy = (unsigned char)y->text[0];
    if (cx != cy) return cx < cy ? -1 : 1;
    return x->bytes != y->bytes ? (x->bytes > y->bytes ? -1 : 1) : 0; /* the longest first */
}

/* Order and marks that encoding and decoding look up; texts of normalised tokens are normalised. */
static vm_status index_added(tok *t, const char *path, vm_error *e) {
    if (!(t->mark = vm_calloc((size_t)t->words.n + 1, 1))) return vm_nomem(e, (size_t)t->words.n, "the vocabulary");
    for (int64_t i = 0; i < t->added_n; i++) {
        tok_added *a = &t->added[i];
        t->mark[a->id] = a->special ? TOK_MARK_SPECIAL | TOK_MARK_ADDED : TOK_MARK_ADDED;
        if (!a->normalized) continue;
        t->clean_text.n = 0;
        vm_status s = t->family->clean(t, a->text, a->bytes, &t->clean_text, e);
        if (s) return s;
        if (!t->clean_text.n)
            return vm_fail(e, VM_EINPUT, "%s: added token %d: its content \"%.60s\" vanishes when normalised", path,
                           a->id, a->text);
        char *text = vm_strndup(t->clean_text.s, (size_t)t->clean_text.n);
        if (!text) return vm_nomem(e, a->bytes, "an added token");
        vm_free(a->text);
        a->text = text;
        a->bytes = (size_t)t->clean_text.n;
    }
    if (t->info.bos >= 0) t->mark[t->info.bos] |= TOK_MARK_SPECIAL;
    if (t->info.eos >= 0) t->mark[t->info.eos] |= TOK_MARK_SPECIAL;
    if (t->added_n) qsort(t->added, (size_t)t->added_n, sizeof *t->added, by_first_byte);
    for (int64_t i = t->added_n; i-- > 0;) t->added_at[(unsigned char)t->added[i].text[0]] = i + 1;
    return VM_OK;
}

/* Ids that every encoding may add; models look them up unasked. */
static vm_status check_ids(const tok *t, const char *path, const char *what, const int32_t *id, int64_t n, vm_error *e) {
    for (int64_t i = 0; i < n; i++)
        if (id[i] >= t->words.n)
            return vm_fail(e, VM_EINPUT, "%s: %s has id %d, but the vocabulary ends at %lld", path, what, id[i], (long long)t->words.n - 1);
    return VM_OK;
}

vm_status tok_load_finish(tok *t, const char *path, vm_error *e) {
    t->info.vocab_len = t->words.n;
    if (check_ids(t, path, "a token that post_processor adds", t->prefix.id, t->prefix.n, e) ||
        check_ids(t, path, "a token that post_processor adds", t->suffix.id, t->suffix.n, e) ||
        check_ids(t, path, "the padding token", &t->info.pad, 1, e)) return e->status;
    if (!t->family) t->family = &tok_clip;
    vm_status s = t->family->ready(t, path, e);
    return s ? s : index_added(t, path, e);
}
