/* tokenizer.h - text to token ids and back.
 *
 * One handle for every family; which one a model uses is read from its files, and callers never ask. Implemented:
 * CLIP byte-pair encoding in the rules of its two libraries (tok_clip.c), BERT's WordPiece (tok_bert.c), unigram models (tok_unigram.c),
 * byte pairs of language models (tok_bpe.c). A new family fills a tok_family (tok_parts.h), which a loader chooses.
 *
 * A handle keeps a cache of words and scratch memory: it serves one thread at a time. */
#ifndef VM_IO_TOKENIZER_H
#define VM_IO_TOKENIZER_H
#include "kernels/base.h"

typedef struct tok tok;

/* What callers may want to know. Ids are -1 when the model has no such token. */
typedef struct {
    int64_t vocab_len;          /* one more than the highest id */
    int32_t bos, eos, pad, unk; /* start, end, padding, unknown */
    int64_t context;            /* tokens the model takes, special ones included; 0 = not stated */
} tok_info;

/* A growing list of ids, all-zero when empty; tok_ids_free releases it. */
typedef struct {
    int32_t *id;
    int64_t n, cap;
} tok_ids;

enum {
    TOK_NO_SPECIAL = 1, /* do not add the start and end tokens (those written in the text still count) */
    TOK_PAD = 2         /* fill up with info.pad to max_len */
};

/* Opens the tokenizer of a model directory: tokenizer.json, else vocab.json with merges.txt, else vocab.txt, else
 * bpe_simple_vocab_16e6.txt[.gz], else spiece.model (before tokenizer.json when the class is SiglipTokenizer), else tokenizer.model; or a file of one of these kinds, or a GGUF file, whose metadata count when no tokenizer.json stands beside it. tokenizer_config.json, special_tokens_map.json and
 * open_clip_config.json beside it are read for special tokens and the context length. A directory that has
 * open_clip_config.json and no config.json follows open_clip's rules, all others those of tokenizer.json.
 * Errors: VM_EINPUT (a file is missing or malformed), VM_EIO, VM_EDEVICE (memory). */
vm_status tok_open(tok **out, const char *path, vm_error *e);
void tok_free(tok *t); /* accepts NULL */
const tok_info *tok_get_info(const tok *t);

/* Replaces out by the ids of the UTF-8 text (invalid bytes count as U+FFFD) with the special tokens of the model.
 * max_len 0: truncation and padding as the files state them (none, usually; never with WordPiece). max_len > 0: tokens are cut from the end
 * so that at most max_len remain, the end token among them; TOK_PAD pads up to it. Errors: VM_EDEVICE (memory). */
vm_status tok_encode(tok *t, const char *text, size_t bytes, int flags, int64_t max_len, tok_ids *out, vm_error *e);
/* The same; in these spans of the text, which ascend and do not overlap, special tokens are not looked for: what is spelled like one is
 * text. (A family whose `prepare` rewrites the text, unigram, has none of them.) */
typedef struct {
    size_t from, to; /* bytes */
} tok_span;
vm_status tok_encode_plain(tok *t, const char *text, size_t bytes, int flags, int64_t max_len, const tok_span *plain, int64_t n, tok_ids *out, vm_error *e);
bool tok_ids_add(tok_ids *ids, int32_t id); /* false when memory is out */
void tok_ids_free(tok_ids *ids);

/* Text of one vocabulary entry as the file spells it, *bytes long, not terminated; NULL if there is none. */
const char *tok_entry(const tok *t, int32_t id, size_t *bytes);
/* Id of an entry, added tokens included; -1 if there is none. */
int32_t tok_find(const tok *t, const char *entry, size_t bytes);

/* Text of ids, skipping special tokens unless keep_special. The caller vm_frees *text (terminated, UTF-8: invalid
 * sequences become U+FFFD), *bytes long; bytes may be NULL. Ids outside the vocabulary are an error (VM_EINPUT). */
vm_status tok_decode(tok *t, const int32_t *ids, int64_t n, bool keep_special, char **text, size_t *bytes,
                     vm_error *e);

/* Streaming decode: feed ids one by one, get the text that is certain by now. All-zero state starts a text.
 * *text is valid until the next call on t and terminated; it may be empty. id -1 flushes what was held back. */
typedef struct {
    char held[8]; /* bytes of an unfinished character */
    int held_len;
    int64_t blanks; /* blanks that only count when text follows */
    bool started;   /* some text came out */
    bool begun;     /* the first token is through */
} tok_stream;
vm_status tok_decode_next(tok *t, tok_stream *s, int32_t id, bool keep_special, const char **text, size_t *bytes,
                          vm_error *e);

/* The bytes that an id adds inside a text, *n of them, valid until the next call on t; none for special tokens and ids without an entry. */
vm_status tok_spell(tok *t, int32_t id, const char **bytes, size_t *n, vm_error *e);
/* What decoding drops of the first token that adds to a text: 0 nothing, 1 one blank, 2 all blanks; -1: the bytes of tokens do
 * not add up to a text (CLIP's). */
int tok_drops_blanks(const tok *t);

/* Writes a CLIP tokenizer (vocab.json, merges.txt, tokenizer.json, tokenizer_config.json, special_tokens_map.json) to
 * the directory, in which every word of the n texts is one token: merges are learnt from the words until each is
 * whole. Entries: printable ASCII without capitals (CLIP lower-cases), the same with </w>, merges, <|startoftext|>,
 * <|endoftext|>; other characters become the unknown token. *vocab_len may be NULL. The directory must exist.
 * Errors: VM_EINPUT (a word outside ASCII), VM_EIO, VM_EDEVICE. */
vm_status tok_write_word_vocab(const char *dir, const char *const *words, int n, int64_t *vocab_len, vm_error *e);
#endif
