/* tok_unigram.h - what the reader and the encoder of unigram tokenizers share. Not for callers. */
#ifndef VM_IO_TOK_UNIGRAM_H
#define VM_IO_TOK_UNIGRAM_H
#include "io/spiece.h"
#include "io/tok_steps.h"
#include "io/unigram.h"

struct tok_unigram {
    unigram model;
    double *score;          /* by id */
    uint8_t *kind;          /* by id: spiece_kind, NORMAL in a tokenizer.json */
    int64_t n, cap_score, cap_kind;
    int32_t unk;
    bool byte_fallback, bytes_out; /* bytes_out: decoding makes bytes of the pieces of bytes again */
    tok_steps rules;        /* of tokenizer.json; the map of spiece.model as well */
    bool words, meta, prefix, parts; /* split at blanks; blanks as U+2581; one before every word; split before each */
    /* spiece.model, with the rules of SigLIP */
    bool spiece, lower, dummy_prefix, squeeze, escape;
    char *unk_text;         /* the unknown piece, which is put before each text and cut off again */
    int64_t unk_ids;        /* as so many ids */
    tok_text text, other;   /* scratch */
};

/* Makes t->uni. */
vm_status tok_unigram_new(tok *t, vm_error *e);
#endif
