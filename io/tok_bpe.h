/* tok_bpe.h - what the reader and the encoder of the byte-pair tokenizers of language models share. Not for callers. */
#ifndef VM_IO_TOK_BPE_H
#define VM_IO_TOK_BPE_H
#include "io/tok_steps.h"

/* How a text is cut into parts that are merged each for itself. */
typedef enum {
    CUT_SPLIT, /* at the matches of an expression */
    CUT_META,  /* blanks become U+2581 */
    CUT_BYTES  /* a blank before each part that has none */
} tok_cut_kind;
typedef enum { META_NEVER, META_FIRST, META_ALWAYS } tok_meta; /* U+2581 before a part that has none: of the text's beginning, of all */
typedef struct {
    tok_cut_kind kind;
    regex *at;             /* SPLIT */
    bool no_match, no_gap; /* SPLIT: matches, or what stands between them, fall away */
    tok_meta prepend;      /* META */
    bool parts;            /* META: a new part before each U+2581 */
} tok_cut;
enum { TOK_CUTS = 8 };

typedef struct {
    tok_text text;
    int64_t *end; /* of each part */
    int64_t n, cap;
} tok_pieces;

struct tok_bpe {
    tok_steps rules;
    tok_cut cut[TOK_CUTS];
    int cuts;
    bool bytes;         /* entries are spelled in byte characters, and there is one for each byte */
    bool byte_fallback; /* characters without an entry become <0x00> ... <0xFF> */
    bool fuse_unk;      /* unknown characters in a row are one */
    bool whole_first;   /* a part that is an entry is not merged */
    int32_t byte_id[256];
    tok_pieces a, b;    /* scratch */
    tok_text spelled;
};
#endif
