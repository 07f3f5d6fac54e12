/* bm25.h - which of a few texts are about the same thing: Okapi BM25 (Robertson et al. 1994) over words without case,
 * k1 = 1.2, b = 0.75.
 *
 *   score(q, d) = sum over the words of q of idf(w) f(w,d) (k1 + 1) / (f(w,d) + k1 (1 - b + b |d| / mean |d|))
 *   idf(w) = ln(1 + (N - n(w) + 0.5) / (n(w) + 0.5)) */
#ifndef VM_BM25_H
#define VM_BM25_H
#include "kernels/base.h"

typedef struct bm25 bm25;
vm_status bm25_new(bm25 **out, const char *const *text, int64_t n, vm_error *e); /* texts are copied in part */
void bm25_free(bm25 *b); /* accepts NULL */
/* score (N) of every text for the query. */
vm_status bm25_score(const bm25 *b, const char *query, double *score, vm_error *e);
#endif
