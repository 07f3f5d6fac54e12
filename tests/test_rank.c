/* Ranks against sorting everything: ties, repeated vectors, several right answers, blocks, scores that are no numbers. */
#include "tests/test.h"

#include "pipeline/rank.h"

/* Small whole numbers: products are exact in f32, and ties abound. */
static void fill(uint64_t *seed, float *x, int64_t n, int values) {
    for (int64_t i = 0; i < n; i++) x[i] = (float)((int)(test_rand(seed) % (unsigned)values) - values / 2);
}

static const double *sort_by;
static int before(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return sort_by[x] != sort_by[y] ? (sort_by[x] > sort_by[y] ? -1 : 1) : (x > y) - (x < y);
}

/* The definition, word by word. */
static rank_outcome by_sorting(const rank_list *q, const rank_list *c, int64_t i, const int32_t *answer, int64_t n) {
    double *s = malloc((size_t)c->n * sizeof *s);
    int *order = malloc((size_t)c->n * sizeof *order);
    rank_outcome o = { .right = -1, .first = -1 };
    for (int64_t j = 0; j < c->n; j++) {
        s[j] = 0, order[j] = (int)j;
        for (int64_t d = 0; d < q->dim; d++)
            s[j] += (double)q->table[q->row[i] * q->dim + d] * (double)c->table[c->row[j] * c->dim + d];
    }
    sort_by = s;
    qsort(order, (size_t)c->n, sizeof *order, before);
    o.first = order[0];
    for (int64_t j = c->n; j-- > 0;)
        for (int64_t k = 0; k < n; k++)
            if (order[j] == answer[k]) o.rank = j + 1, o.right = order[j];
    free(s), free(order);
    return o;
}

enum { DIM = 7 };

static void compare(int64_t nq, int64_t nc, int64_t rows_q, int64_t rows_c, int most, int values, uint64_t seed) {
    vm_error e = { 0 };
    float *tq = malloc((size_t)(rows_q * DIM) * sizeof *tq), *tc = malloc((size_t)(rows_c * DIM) * sizeof *tc);
    int32_t *rq = malloc((size_t)nq * sizeof *rq), *rc = malloc((size_t)nc * sizeof *rc),
            *answer = malloc((size_t)(nq * most + 1) * sizeof *answer);
    int64_t *at = malloc((size_t)(nq + 1) * sizeof *at);
    rank_outcome *got = malloc((size_t)nq * sizeof *got);
    fill(&seed, tq, rows_q * DIM, values), fill(&seed, tc, rows_c * DIM, values);
    for (int64_t i = 0; i < nq; i++) rq[i] = (int32_t)(test_rand(&seed) % (uint64_t)rows_q);
    for (int64_t i = 0; i < nc; i++) rc[i] = (int32_t)(test_rand(&seed) % (uint64_t)rows_c);
    at[0] = 0;
    for (int64_t i = 0; i < nq; i++) {
        int n = (int)(test_rand(&seed) % (unsigned)(most + 1)); /* sometimes none */
        at[i + 1] = at[i] + n;
        for (int k = 0; k < n; k++) answer[at[i] + k] = (int32_t)(test_rand(&seed) % (uint64_t)nc);
    }
    rank_list q = { tq, rows_q, DIM, rq, nq }, c = { tc, rows_c, DIM, rc, nc };
    EXPECT(!rank_queries(&q, &c, at, answer, NULL, got, &e));
    for (int64_t i = 0; i < nq; i++) {
        rank_outcome want = by_sorting(&q, &c, i, answer + at[i], at[i + 1] - at[i]);
        if (got[i].rank != want.rank || got[i].right != want.right || got[i].first != want.first)
            MISMATCH("query %lld: rank %lld right %d first %d, want %lld %d %d\n", (long long)i, (long long)got[i].rank,
                     got[i].right, got[i].first, (long long)want.rank, want.right, want.first);
        test_checks++;
    }
    free(tq), free(tc), free(rq), free(rc), free(answer), free(at), free(got);
}

TEST(against_sorting) {
    compare(40, 60, 40, 60, 5, 9, 1);
    compare(40, 60, 40, 60, 1, 2, 2);   /* ties everywhere */
    compare(300, 50, 20, 7, 3, 5, 3);   /* repeated vectors, two blocks of queries */
    compare(1, 1, 1, 1, 1, 9, 4);
    compare(3, 500, 3, 500, 100, 5, 5);
}

/* The first of two equal captions comes first, whichever is asked for. */
TEST(equal_scores_by_number) {
    vm_error e = { 0 };
    const float table[] = { 1, 0, 0, 1 };
    const int32_t zero[] = { 0 }, same[] = { 0, 0, 1, 0 }, answer[] = { 3 };
    rank_list q = { table, 2, 2, zero, 1 }, c = { table, 2, 2, same, 4 };
    rank_outcome o;
    EXPECT(!rank_queries(&q, &c, (int64_t[]){ 0, 1 }, answer, NULL, &o, &e));
    EXPECT(o.rank == 3 && o.first == 0 && o.right == 3 && o.s_right == 1 && o.s_first == 1);
}

TEST(not_a_number_is_last) {
    vm_error e = { 0 };
    const float table[] = { 1, NAN, -1 };
    const int32_t zero[] = { 0 }, row[] = { 1, 2, 0 };
    rank_list q = { table, 3, 1, zero, 1 }, c = { table, 3, 1, row, 3 };
    rank_outcome o;
    EXPECT(!rank_queries(&q, &c, (int64_t[]){ 0, 1 }, (int32_t[]){ 1 }, NULL, &o, &e));
    EXPECT(o.rank == 2 && o.first == 2);
    EXPECT(!rank_queries(&q, &c, (int64_t[]){ 0, 1 }, (int32_t[]){ 0 }, NULL, &o, &e));
    EXPECT(o.rank == 0);
}

static rank_summary summary(int64_t n, const int64_t *rank) {
    vm_error e = { 0 };
    rank_outcome o[16] = { { 0 } };
    rank_summary s;
    for (int64_t i = 0; i < n; i++) o[i].rank = rank[i];
    EXPECT(!rank_summarise(&s, o, n, &e));
    return s;
}

TEST(summaries) {
    rank_summary s = summary(6, (int64_t[]){ 1, 5, 6, 10, 11, 0 });
    EXPECT(s.n == 6 && s.n_invalid == 1 && s.median == 6);
    EXPECT_NEAR(s.mean, 33.0 / 5, 1e-12);
    EXPECT_NEAR(s.inverse, (1 + 1.0 / 5 + 1.0 / 6 + 1.0 / 10 + 1.0 / 11) / 5, 1e-12);
    EXPECT_NEAR(s.recall[0].value, 1.0 / 6, 1e-12);
    EXPECT_NEAR(s.recall[1].value, 2.0 / 6, 1e-12);
    EXPECT_NEAR(s.recall[2].value, 4.0 / 6, 1e-12);
    EXPECT(summary(4, (int64_t[]){ 9, 1, 4, 2 }).median == 3);
    EXPECT(isnan(summary(0, NULL).median) && isnan(summary(0, NULL).recall[0].value));
}

TEST(out_of_memory) {
    const float table[] = { 1, 0, 0, 1 };
    const int32_t row[] = { 0, 1 };
    rank_list l = { table, 2, 2, row, 2 };
    rank_outcome o[2];
    for (int n = 0; n < 3; n++) {
        vm_error e = { 0 };
        size_t held = vm_mem_used();
        vm_mem_fail_after(n);
        EXPECT(rank_queries(&l, &l, (int64_t[]){ 0, 1, 2 }, row, NULL, o, &e) == VM_EDEVICE);
        vm_mem_fail_after(-1);
        EXPECT_HAS(e.msg, "out of memory");
        EXPECT(vm_mem_used() == held);
    }
}

int main(void) {
    RUN(against_sorting);
    RUN(equal_scores_by_number);
    RUN(not_a_number_is_last);
    RUN(summaries);
    RUN(out_of_memory);
    return test_end();
}
