/* tok_words.c - writes a small CLIP tokenizer in which every given word is one token.
 *
 * Merges are learnt as byte-pair encoding learns them: the most frequent adjacent pair of all words becomes a symbol,
 * again and again, until each word is one symbol. Encoding replays the merges in this order, so it ends there too. */
#include <stdlib.h>
#include "io/file.h"
#include "io/json.h"
#include "io/tok_parts.h"

typedef struct {
    int32_t left, right;
} pair;

typedef struct {
    tok *rules;    /* normalisation and word boundaries of tokenizer.json */
    vocab words;   /* the distinct words */
    vocab entries; /* the vocabulary that is being made */
    int32_t *sym;  /* symbols of all words behind one another; -1 ends a word */
    int64_t sym_n, sym_cap;
    pair *merges, *seen;
    int64_t merges_n, merges_cap, seen_cap;
} learner;

static const char start_token[] = "<|startoftext|>", end_token[] = "<|endoftext|>";

static bool in_alphabet(char c) { return c > ' ' && c < 127 && !(c >= 'A' && c <= 'Z'); }

static vm_status add_entry(learner *l, const char *s, size_t n, vm_error *e) {
    return vocab_add(&l->entries, s, n, (int32_t)l->entries.n, e);
}

/* Characters, then characters at the end of a word. */
static vm_status add_alphabet(learner *l, vm_error *e) {
    vm_status s = VM_OK;
    for (int end = 0; end < 2; end++) {
        for (char c = '!'; c <= '~' && !s; c++) {
            char text[6] = {c, '<', '/', 'w', '>', 0};
            if (in_alphabet(c)) s = add_entry(l, text, end ? 5 : 1, e);
        }
    }
    return s;
}

static bool add_symbol(learner *l, int32_t id) {
    if (!vm_grow(&l->sym, &l->sym_cap, l->sym_n + 1, sizeof *l->sym)) return false;
    l->sym[l->sym_n++] = id;
    return true;
}

/* The words of a text that are new, as symbols. */
static vm_status add_text(learner *l, const char *text, vm_error *e) {
    tok_text clean = {0};
    vm_status s = l->rules->family->clean(l->rules, text, strlen(text), &clean, e);
    const char *p = clean.s, *end = p + clean.n;
    for (size_t n; !s && (n = tok_clip_word(l->rules, &p, end)); p += n) {
        if (vocab_find(&l->words, p, n) >= 0) continue;
        s = vocab_add(&l->words, p, n, (int32_t)l->words.n, e);
        for (size_t i = 0; i < n && !s; i++) {
            char symbol[6] = {p[i], '<', '/', 'w', '>', 0};
            int32_t id = vocab_find(&l->entries, symbol, i + 1 < n ? 1 : 5);
            if (id < 0)
                s = vm_fail(e, VM_EINPUT, "word \"%.*s\": found a character outside printable ASCII", (int)n, p);
            else if (!add_symbol(l, id)) s = vm_nomem(e, n, "the words of a vocabulary");
        }
        if (!s && !add_symbol(l, -1)) s = vm_nomem(e, n, "the words of a vocabulary");
    }
    vm_free(clean.s);
    return s;
}

static int by_ids(const void *a, const void *b) {
    const pair *x = a, *y = b;
    if (x->left != y->left) return x->left < y->left ? -1 : 1;
    return x->right < y->right ? -1 : x->right > y->right;
}

/* The most frequent pair, of equals the one with the smallest ids; false if all words are whole. */
static bool best_pair(learner *l, pair *best) {
    int64_t n = 0, most = 0;
    for (int64_t i = 0; i + 1 < l->sym_n; i++)
        if (l->sym[i] >= 0 && l->sym[i + 1] >= 0) l->seen[n++] = (pair){l->sym[i], l->sym[i + 1]};
    if (n) qsort(l->seen, (size_t)n, sizeof *l->seen, by_ids);
    for (int64_t i = 0, run = 0; i < n; i++) {
        run = i && !by_ids(&l->seen[i], &l->seen[i - 1]) ? run + 1 : 1;
        if (run > most) most = run, *best = l->seen[i];
    }
    return most > 0;
}

static vm_status learn(learner *l, vm_error *e) {
    pair best;
    if (!vm_grow(&l->seen, &l->seen_cap, l->sym_n + 1, sizeof *l->seen))
        return vm_nomem(e, (size_t)l->sym_n, "merges");
    while (best_pair(l, &best)) {
        char both[500];
        size_t a, b;
        const char *left = vocab_text(&l->entries, best.left, &a), *right = vocab_text(&l->entries, best.right, &b);
        if (a + b > sizeof both) return vm_fail(e, VM_EINPUT, "word \"%.60s...\": longer than 500 characters", left);
        memcpy(both, left, a);
        memcpy(both + a, right, b);
        int32_t id = vocab_find(&l->entries, both, a + b);
        if (id < 0) {
            id = (int32_t)l->entries.n;
            vm_status s = add_entry(l, both, a + b, e);
            if (s) return s;
        }
        if (!vm_grow(&l->merges, &l->merges_cap, l->merges_n + 1, sizeof *l->merges)) return vm_nomem(e, 8, "merges");
        l->merges[l->merges_n++] = best;
        int64_t n = 0;
        for (int64_t i = 0; i < l->sym_n; i++) {
            bool hit = i + 1 < l->sym_n && l->sym[i] == best.left && l->sym[i + 1] == best.right;
            l->sym[n++] = hit ? id : l->sym[i];
            i += hit;
        }
        l->sym_n = n;
    }
    return VM_OK;
}

/* --- files ------------------------------------------------------------------------------------------------------- */
static void put_entry(json_writer *w, const char *key, const learner *l, int32_t id) {
    size_t n;
    const char *s = vocab_text(&l->entries, id, &n);
    json_put_text(w, key, s, n);
}

static void put_vocab(json_writer *w, const char *key, const learner *l) {
    json_begin_object(w, key);
    for (int32_t id = 0; id < l->entries.n; id++) {
        char name[512];
        size_t n;
        const char *s = vocab_text(&l->entries, id, &n);
        snprintf(name, sizeof name, "%.*s", (int)n, s);
        json_put_int(w, name, id);
    }
    json_close_object(w);
}

static void put_named(json_writer *w, const char *key, const char *const names[][2], int n) {
    json_begin_object(w, key);
    for (int i = 0; i < n; i++) json_put_str(w, names[i][0], names[i][1]);
    json_close_object(w);
}

static void put_ends(json_writer *w, const learner *l, const char *key, int32_t id) {
    json_begin_array(w, key);
    put_entry(w, NULL, l, id);
    json_put_int(w, NULL, id);
    json_close_array(w);
}

static void put_byte_level(json_writer *w, const char *key) {
    json_begin_object(w, key);
    json_put_str(w, "type", "ByteLevel");
    json_put_bool(w, "add_prefix_space", false);
    json_put_bool(w, "trim_offsets", true);
    json_put_bool(w, "use_regex", true);
    json_close_object(w);
}

static void put_pattern(json_writer *w, const char *regex) {
    json_begin_object(w, "pattern");
    json_put_str(w, "Regex", regex);
    json_close_object(w);
}

static void put_added(json_writer *w, const learner *l, int32_t id) {
    json_begin_object(w, NULL);
    json_put_int(w, "id", id);
    put_entry(w, "content", l, id);
    json_put_bool(w, "single_word", false);
    json_put_bool(w, "lstrip", false);
    json_put_bool(w, "rstrip", false);
    json_put_bool(w, "normalized", false);
    json_put_bool(w, "special", true);
    json_close_object(w);
}

static void put_rules(json_writer *w) {
    json_begin_object(w, "normalizer");
    json_put_str(w, "type", "Sequence");
    json_begin_array(w, "normalizers");
    put_named(w, NULL, (const char *const[][2]){{"type", "NFC"}}, 1);
    json_begin_object(w, NULL);
    json_put_str(w, "type", "Replace");
    put_pattern(w, "\\s+");
    json_put_str(w, "content", " ");
    json_close_object(w);
    put_named(w, NULL, (const char *const[][2]){{"type", "Lowercase"}}, 1);
    json_close_array(w);
    json_close_object(w);
    json_begin_object(w, "pre_tokenizer");
    json_put_str(w, "type", "Sequence");
    json_begin_array(w, "pretokenizers");
    json_begin_object(w, NULL);
    json_put_str(w, "type", "Split");
    put_pattern(
        w, "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+");
    json_put_str(w, "behavior", "Removed");
    json_put_bool(w, "invert", true);
    json_close_object(w);
    put_byte_level(w, NULL);
    json_close_array(w);
    json_close_object(w);
}

static void put_tokenizer(json_writer *w, const learner *l) {
    int32_t end = (int32_t)l->entries.n - 1;
    json_begin_object(w, NULL);
    json_put_str(w, "version", "1.0");
    json_put_null(w, "truncation");
    json_put_null(w, "padding");
    json_begin_array(w, "added_tokens");
    put_added(w, l, end - 1);
    put_added(w, l, end);
    json_close_array(w);
    put_rules(w);
    json_begin_object(w, "post_processor");
    json_put_str(w, "type", "RobertaProcessing");
    put_ends(w, l, "sep", end);
    put_ends(w, l, "cls", end - 1);
    json_put_bool(w, "trim_offsets", false);
    json_put_bool(w, "add_prefix_space", false);
    json_close_object(w);
    put_byte_level(w, "decoder");
    json_begin_object(w, "model");
    json_put_str(w, "type", "BPE");
    json_put_null(w, "dropout");
    json_put_str(w, "unk_token", end_token);
    json_put_str(w, "continuing_subword_prefix", "");
    json_put_str(w, "end_of_word_suffix", "</w>");
    json_put_bool(w, "fuse_unk", false);
    json_put_bool(w, "byte_fallback", false);
    json_put_bool(w, "ignore_merges", false);
    put_vocab(w, "vocab", l);
    json_begin_array(w, "merges");
    for (int64_t i = 0; i < l->merges_n; i++) {
        json_begin_array(w, NULL);
        put_entry(w, NULL, l, l->merges[i].left);
        put_entry(w, NULL, l, l->merges[i].right);
        json_close_array(w);
    }
    json_close_array(w);
    json_close_object(w);
    json_close_object(w);
}

static void put_specials(json_writer *w, const learner *l) {
    (void)l;
    put_named(
        w, NULL,
        (const char *const[][2]){
            {"bos_token", start_token}, {"eos_token", end_token}, {"unk_token", end_token}, {"pad_token", end_token}},
        4);
}

static void put_config(json_writer *w, const learner *l) {
    (void)l;
    json_begin_object(w, NULL);
    json_put_str(w, "tokenizer_class", "CLIPTokenizer");
    json_put_int(w, "model_max_length", 77);
    json_put_bool(w, "do_lower_case", true);
    json_put_str(w, "bos_token", start_token);
    json_put_str(w, "eos_token", end_token);
    json_put_str(w, "unk_token", end_token);
    json_put_str(w, "pad_token", end_token);
    json_close_object(w);
}

static void put_vocab_file(json_writer *w, const learner *l) { put_vocab(w, NULL, l); }

static vm_status write_json(const char *dir, const char *name, const learner *l,
                            void (*put)(json_writer *, const learner *), vm_error *e) {
    json_writer w = json_to_memory(JSON_PRETTY);
    put(&w, l);
    return json_save(&w, dir, name, e);
}

static vm_status write_merges(const char *dir, const learner *l, vm_error *e) {
    tok_text all = {0};
    char *path = path_join(dir, "merges.txt");
    bool ok = path && tok_text_add(&all, "#version: 0.2\n", 14);
    for (int64_t i = 0; i < l->merges_n && ok; i++) {
        size_t a, b;
        const char *left = vocab_text(&l->entries, l->merges[i].left, &a),
                   *right = vocab_text(&l->entries, l->merges[i].right, &b);
        ok = tok_text_add(&all, left, a) && tok_text_add(&all, " ", 1) && tok_text_add(&all, right, b) &&
             tok_text_add(&all, "\n", 1);
    }
    vm_status s = ok ? file_write(path, all.s, (size_t)all.n, e) : vm_nomem(e, (size_t)all.n, "merges.txt");
    vm_free(path);
    vm_free(all.s);
    return s;
}

vm_status tok_write_word_vocab(const char *dir, const char *const *words, int n, int64_t *vocab_len, vm_error *e) {
    learner l = {.rules = vm_calloc(1, sizeof *l.rules)};
    vm_status s = l.rules ? add_alphabet(&l, e) : vm_nomem(e, sizeof *l.rules, "a vocabulary");
    if (!s) l.rules->family = &tok_clip, l.rules->nfc = l.rules->squeeze = l.rules->lower = true;
    for (int i = 0; i < n && !s; i++) s = add_text(&l, words[i], e);
    if (!s) s = learn(&l, e);
    if (!s) s = add_entry(&l, start_token, strlen(start_token), e);
    if (!s) s = add_entry(&l, end_token, strlen(end_token), e);
    if (!s) s = write_json(dir, "vocab.json", &l, put_vocab_file, e);
    if (!s) s = write_merges(dir, &l, e);
    if (!s) s = write_json(dir, "tokenizer.json", &l, put_tokenizer, e);
    if (!s) s = write_json(dir, "tokenizer_config.json", &l, put_config, e);
    if (!s) s = write_json(dir, "special_tokens_map.json", &l, put_specials, e);
    if (!s && vocab_len) *vocab_len = l.entries.n;
    tok_free(l.rules);
    vocab_free(&l.words);
    vocab_free(&l.entries);
    vm_free(l.sym);
    vm_free(l.merges);
    vm_free(l.seen);
    return s;
}
