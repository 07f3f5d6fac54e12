/* unigram.h - segmentation by a unigram language model (Kudo 2018): of all ways to write a text as pieces, the one with the
 * greatest sum of scores. A character that is no piece is an unknown of the least score - 10; runs of unknowns are one. */
#ifndef VM_IO_UNIGRAM_H
#define VM_IO_UNIGRAM_H
#include "io/tokenizer.h"

typedef struct {
    const char *s;
    uint32_t bytes;
    int32_t id;
    double score;
} unigram_piece;

typedef struct {
    unigram_piece *p; /* sorted by text */
    int64_t n, cap;
    int64_t first[257];  /* of those that begin with a byte */
    double unknown;      /* score of an unknown character */
    int32_t unk;         /* its id */
    bool f32;            /* scores are added in single precision (SentencePiece), else in double (tokenizer.json) */
    bool bytes_too;      /* unknown characters become their bytes instead */
    int32_t byte[256];   /* ids of these */
    struct { double *score; int64_t *from; int32_t *id; int64_t cap[3]; } best; /* scratch: of the best way up to each byte */
} unigram;

/* Pieces in any order, then ready: least is the least score of any. Texts are borrowed. False when memory is out. */
bool unigram_add(unigram *u, const char *s, size_t bytes, int32_t id, double score);
void unigram_ready(unigram *u, double least);
void unigram_free(unigram *u);

/* Appends the ids of the UTF-8 text. False when memory is out. */
bool unigram_encode(unigram *u, const char *s, size_t bytes, tok_ids *out);
#endif
