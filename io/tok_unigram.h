/* tok_unigram.h - what the reader and the encoder of unigram tokenizers share. Not for callers. */
#ifndef VM_IO_TOK_UNIGRAM_H
#define VM_IO_TOK_UNIGRAM_H
#include "io/charsmap.h"
#include "io/spiece.h"
#include "io/tok_parts.h"
#include "io/unigram.h"

/* One normaliser of a tokenizer.json. Those with a set replace runs of at least `least` characters of it by text; a run
 * of any length when `each` is not set, else character by character. */
typedef enum { STEP_MAP, STEP_LOWER, STEP_NFC, STEP_REPLACE, STEP_RUNS, STEP_STRIP, STEP_PREPEND } tok_step_kind;
typedef struct {
    tok_step_kind kind;
    bool set[128], spaces;  /* RUNS: ASCII characters; every Unicode blank */
    bool each;              /* RUNS: one by one */
    int least;
    char *from, *text;      /* REPLACE: a string; RUNS, REPLACE, PREPEND: what stands in its place */
    bool left, right;       /* STRIP */
} tok_step;
enum { MAX_STEPS = 16 };

struct tok_unigram {
    unigram model;
    double *score;          /* by id */
    uint8_t *kind;          /* by id: spiece_kind, NORMAL in a tokenizer.json */
    int64_t n, cap_score, cap_kind;
    int32_t unk;
    bool byte_fallback;
    charsmap map;
    char *blob;             /* what the map lies in: the file, or its unpacked Base64 */
    /* tokenizer.json */
    tok_step step[MAX_STEPS];
    int steps;
    bool words, meta, prefix, parts; /* split at blanks; blanks as U+2581; one before every word; split before each */
    /* spiece.model, with the rules of SigLIP */
    bool spiece, lower, dummy_prefix, squeeze, escape;
    char *unk_text;         /* the unknown piece, which is put before each text and cut off again */
    int64_t unk_ids;        /* as so many ids */
    tok_text text, other;   /* scratch */
};

/* Makes t->uni. */
vm_status tok_unigram_new(tok *t, vm_error *e);
void tok_step_free(tok_step *s);
#endif
