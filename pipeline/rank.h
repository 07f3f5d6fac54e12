/* rank.h - where the right answers stand when candidates are sorted by their score for a query.
 *
 * score(q, c) = <v_q, v_c>; higher scores come first, equal ones in the order of the candidates. The rank of a query is
 * that of the first of its right answers, from 1; recall@k is the share of queries whose rank is at most k. The matrix
 * of scores is made in blocks of rows (at most 64 MiB), never whole. */
#ifndef VM_RANK_H
#define VM_RANK_H
#include "pipeline/metrics.h"

/* n vectors, the same one as often as you like: vector i is row row[i] of a table [rows][dim]. Candidates that are the
 * same row tie exactly, whatever the rounding. */
typedef struct {
    const float *table;
    int64_t rows, dim;
    const int32_t *row;
    int64_t n;
} rank_list;

typedef struct {
    int64_t rank;         /* 0: no right answer, or its score is not a number */
    int32_t right, first; /* numbers of the candidates: the first of the right ones, the first of all; -1 = none */
    float s_right, s_first;
} rank_outcome;

/* out[i] for query i, whose right answers are the candidates answer[at[i]] .. answer[at[i + 1] - 1]. A score that is not
 * a number comes behind all others. what: name of the progress, NULL = none. */
vm_status rank_queries(const rank_list *queries, const rank_list *candidates, const int64_t *at, const int32_t *answer,
                       const char *what, rank_outcome *out, vm_error *e);

enum { RANK_CUTS = 3 };
extern const int rank_cut[RANK_CUTS]; /* 1, 5, 10 */
typedef struct {
    int64_t n, n_invalid;         /* queries; of them those with rank 0, which are within no cut */
    estimate recall[RANK_CUTS];   /* with Wilson's interval */
    double median, mean, inverse; /* of the valid ranks (an even number: mean of the two in the middle), of 1 / rank */
} rank_summary;
vm_status rank_summarise(rank_summary *out, const rank_outcome *x, int64_t n, vm_error *e);
#endif
