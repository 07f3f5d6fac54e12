/* tok_parts.h - what the tokenizer files share: the handle, the hooks of a family, the loaders. Not for callers. */
#ifndef VM_IO_TOK_PARTS_H
#define VM_IO_TOK_PARTS_H
#include "io/bpe.h"
#include "io/json.h"
#include "io/tokenizer.h"
#include "io/unicode.h"
#include "io/vocab.h"

/* A growing string of bytes. */
typedef struct {
    char *s;
    int64_t n, cap;
} tok_text;
bool tok_text_add(tok_text *t, const char *s, size_t bytes);

/* A token that is cut out of the text before anything else looks at it. */
typedef struct {
    int32_t id;
    char *text; /* as it stands in the text: normalised when that is searched */
    size_t bytes;
    bool single_word, lstrip, rstrip, normalized, special;
} tok_added;

/* What makes a family; each hook returns VM_EDEVICE when memory is out. */
typedef struct {
    /* Normalises a piece of text; appends UTF-8 to out. */
    vm_status (*clean)(tok *t, const char *s, size_t bytes, tok_text *out, vm_error *e);
    /* Splits clean text into words and appends their ids. */
    vm_status (*split)(tok *t, const char *s, size_t bytes, tok_ids *out, vm_error *e);
    /* Appends the bytes that an entry stands for; *blank: a blank follows if text follows. */
    bool (*spell)(const tok *t, int32_t id, tok_text *out, bool *blank);
    /* Called once all is loaded: special tokens, tables, checks. name stands in messages. */
    vm_status (*ready)(tok *t, const char *name, vm_error *e);
    /* NULL, or: the whole text before added tokens are cut out of it; appends UTF-8 to out. */
    vm_status (*prepare)(tok *t, const char *s, size_t bytes, tok_text *out, vm_error *e);
    bool blank_before; /* spell writes the blank before a word, which falls away at the start; added tokens are words too */
} tok_family;

/* What falls away of a decoded text: one blank at its start, or all of its first token. */
typedef enum { TOK_STRIP_NOTHING, TOK_STRIP_ONE, TOK_STRIP_FIRST } tok_strip;

enum { TOK_BOS, TOK_EOS, TOK_PADDING, TOK_UNK, TOK_CLS, TOK_SEP, TOK_MASK, TOK_NAMES }; /* special tokens that the small files name */

enum { TOK_CLIP_CONTEXT = 77 }; /* of open_clip, when its configuration states none */
enum { TOK_MARK_ADDED = 1, TOK_MARK_SPECIAL = 2 };

struct tok {
    const tok_family *family;
    tok_info info;
    char *name[TOK_NAMES]; /* NULL = not stated */
    vocab words;
    tok_added *added;
    int64_t added_n, added_cap;
    int64_t added_at[256];  /* 1 + index of the first one that starts with this byte, 0 = none; longest first */
    uint8_t *mark;          /* [vocab_len] TOK_MARK_* */
    tok_ids prefix, suffix; /* special tokens around every text */
    int64_t cut_len;        /* truncation stated in the files, 0 = none */
    int64_t pad_len, pad_multiple;
    bool cut_left, pad_left;
    bool suffix_once;       /* not behind a text that ends in it */
    bool canonical;         /* open_clip: texts without punctuation, in lower case (tokenizer_kwargs) */
    bool siglip;            /* the class that tokenizer_config.json names */
    bool from_json; /* tokenizer.json stated the rules */
    bool hf_layout; /* the directory has config.json */
    /* CLIP */
    bool open_clip;           /* open_clip's rules, else those of tokenizer.json */
    bool nfc, squeeze, lower; /* normalisers of tokenizer.json */
    bool literals;            /* its pattern names the special tokens */
    bpe merges;
    bpe_cache cache;
    int32_t inner_id[256], last_id[256]; /* entry of a byte inside and at the end of a word, -1 = none */
    struct {
        bool clean, ideographs, strip, lower; /* what the normaliser does */
        char inside[16];                      /* what stands before entries that go on a word: "##" */
        int64_t most_chars, longest;          /* longer words are unknown; bytes of the longest entry with `inside` before it */
    } bert;
    struct tok_unigram *uni;
    struct tok_bpe *bpe;
    tok_strip strip;
    const char *all;        /* the text that is being encoded */
    bool begins;            /* what split gets stands at its beginning */
    const tok_span *plain;  /* spans of it without special tokens */
    int64_t n_plain;
    /* scratch */
    uni_text points, points2;
    tok_text clean_text, out_text, whole_text;
};

extern const tok_family tok_clip, tok_bert, tok_unigram, tok_bpe;

/* Adds an added token; its entry joins the vocabulary. */
vm_status tok_add_token(tok *t, const char *text, size_t bytes, int32_t id, int flags, vm_error *e);
enum { ADDED_SINGLE_WORD = 1, ADDED_LSTRIP = 2, ADDED_RSTRIP = 4, ADDED_NORMALIZED = 8, ADDED_SPECIAL = 16 };

/* Loaders. The settings (tokenizer_config.json, special_tokens_map.json, open_clip_config.json, all optional) come
 * first, then one of the vocabularies, then what follows from both. */
vm_status tok_load_settings(tok *t, const char *dir, vm_error *e);
vm_status tok_load_json(tok *t, const char *path, vm_error *e);
vm_status tok_load_json_text(tok *t, const char *text, size_t bytes, const char *path, vm_error *e); /* text as in such a file */
vm_status tok_load_pair(tok *t, const char *vocab_path, const char *merges_path, vm_error *e);
/* bpe_simple_vocab_16e6.txt, packed or not, or a merges.txt on its own */
vm_status tok_load_plain(tok *t, const char *path, vm_error *e);
/* vocab.txt, one entry per line, and what stands beside it in dir */
vm_status tok_load_vocab_txt(tok *t, const char *path, const char *dir, vm_error *e);
/* spiece.model with the rules of SigLIP, and what stands beside it in dir */
vm_status tok_load_spiece(tok *t, const char *path, const char *dir, vm_error *e);
/* tokenizer.model with byte pairs (Llama 2), and what stands beside it in dir */
vm_status tok_load_spiece_bpe(tok *t, const char *path, const char *dir, vm_error *e);
struct spiece_file;
vm_status tok_take_spiece_bpe(tok *t, const struct spiece_file *f, const char *path, vm_error *e); /* what both of these make of pieces */
/* the metadata of a GGUF file */
vm_status tok_load_gguf(tok *t, const char *path, vm_error *e);
/* *d = a JSON file of the directory; NULL and no error when there is none */
vm_status tok_open_beside(json_doc **d, const char *dir, const char *name, vm_error *e);
vm_status tok_load_finish(tok *t, const char *path, vm_error *e);
/* The id of the special token that the files name, else of one of the usual ones; -1 = none. */
int32_t tok_find_name(const tok *t, int which, const char *usual, const char *usual2);

/* Pieces of the loaders. A merge is both[0..a_n) with the b_n bytes behind it; messages name no file. */
vm_status tok_read_vocab_json(tok *t, const char *path, vm_error *e);
vm_status tok_add_merge(tok *t, const char *both, size_t a_n, size_t b_n, int32_t rank, vm_error *e);
bool tok_split_pair(const char *s, size_t n, size_t *a_n); /* "a b" at its only blank; false if it has none or more */

/* The character that stands for a byte in byte-level vocabularies and back (-1 = none): printable bytes stand for
 * themselves, the others for U+0100 onwards. order: bytes as CLIP numbers them, the printable ones first. */
int32_t byte_char(int byte);
int char_byte(int32_t c);
int byte_order(int i);

/* Adds the token {"content", "single_word", "lstrip", "rstrip", "normalized", "special"}. */
vm_status tok_add_json(tok *t, json_value v, int64_t id, vm_error *e);

/* Adds all of "added_tokens_decoder": {"30522": {"content": "[DEC]", ...}, ...}. */
vm_status tok_read_decoder(tok *t, json_value list, vm_error *e);

/* Parts of a tokenizer.json with a unigram model. */
vm_status tok_unigram_model(tok *t, json_value model, vm_error *e);
vm_status tok_unigram_normalizer(tok *t, json_value v, const char *type, vm_error *e);
vm_status tok_unigram_pre_tokenizer(tok *t, json_value v, const char *type, vm_error *e);
vm_status tok_unigram_decoder(tok *t, json_value v, const char *type, vm_error *e);
vm_status tok_unigram_add(tok *t, const char *s, size_t bytes, double score, int kind, vm_error *e); /* the next entry */
void tok_unigram_free(struct tok_unigram *u);
vm_status tok_bpe_model(tok *t, json_value model, vm_error *e);
vm_status tok_bpe_normalizer(tok *t, json_value v, const char *type, vm_error *e);
vm_status tok_bpe_pre_tokenizer(tok *t, json_value v, const char *type, vm_error *e);
vm_status tok_bpe_decoder(tok *t, json_value v, const char *type, vm_error *e);
void tok_bpe_free(struct tok_bpe *b);

/* Parts of a tokenizer.json with a WordPiece model. */
vm_status tok_bert_model(tok *t, json_value model, vm_error *e);
vm_status tok_bert_normalizer(tok *t, json_value v, const char *type, vm_error *e);
vm_status tok_bert_pre_tokenizer(tok *t, json_value v, const char *type, vm_error *e);

/* Length of the next word of clean text, *s moved behind what is dropped before it; 0 at the end. */
size_t tok_clip_word(const tok *t, const char **s, const char *end);
#endif
