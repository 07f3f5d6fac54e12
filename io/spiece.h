/* spiece.h - the model file of SentencePiece (spiece.model, tokenizer.model): a protocol buffer with the pieces, their
 * scores and kinds, and the rules by which text is normalised. Only what encoding needs is read; unknown fields are passed
 * over. Source: sentencepiece_model.proto of the library. */
#ifndef VM_IO_SPIECE_H
#define VM_IO_SPIECE_H
#include "kernels/base.h"

typedef enum { SPIECE_NORMAL = 1, SPIECE_UNKNOWN, SPIECE_CONTROL, SPIECE_USER, SPIECE_UNUSED, SPIECE_BYTE } spiece_kind;
typedef enum { SPIECE_UNIGRAM = 1, SPIECE_BPE, SPIECE_WORD, SPIECE_CHAR } spiece_model;

typedef struct {
    const char *text; /* in the file's bytes, not terminated */
    size_t bytes;
    float score;
    spiece_kind kind;
} spiece;

typedef struct spiece_file {
    spiece *piece;
    int64_t n, cap;
    spiece_model model;
    bool byte_fallback, suffix; /* suffix: blanks go to the end of words */
    bool dummy_prefix, squeeze, escape; /* a blank before the text; blanks at the ends and in runs removed; blanks as U+2581 */
    const char *charsmap;       /* in the file's bytes; NULL = none */
    size_t charsmap_n;
} spiece_file;

/* Of the file's bytes, which must outlive it; name stands in messages. VM_EINPUT: no such file, cut off, ids or text that
 * cannot be. spiece_free in any case. */
vm_status spiece_read(spiece_file *f, const void *data, size_t bytes, const char *name, vm_error *e);
void spiece_free(spiece_file *f);
#endif
