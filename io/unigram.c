/* unigram.c - see unigram.h. Best paths from left to right (Viterbi): best[k] is the best way to write the first k bytes. Of
 * equal sums the one whose last piece begins first stays, as in both libraries. */
#include "io/unigram.h"

#include <stdlib.h>
#include <string.h>

#include "io/unicode.h"

static const double penalty = 10;

bool unigram_add(unigram *u, const char *s, size_t bytes, int32_t id, double score) {
    if (!bytes || bytes > UINT32_MAX) return true; /* nothing to be found in a text */
    if (!vm_grow(&u->p, &u->cap, u->n + 1, sizeof *u->p)) return false;
    u->p[u->n++] = (unigram_piece){ s, (uint32_t)bytes, id, score };
    return true;
}

static int by_text(const void *a, const void *b) {
    const unigram_piece *x = a, *y = b;
    int c = memcmp(x->s, y->s, VM_MIN(x->bytes, y->bytes));
    return c ? c : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

void unigram_ready(unigram *u, double least) {
    if (u->n) qsort(u->p, (size_t)u->n, sizeof *u->p, by_text);
    int64_t i = 0;
    for (int b = 0; b <= 256; b++) {
        while (i < u->n && (unsigned char)u->p[i].s[0] < b) i++;
        u->first[b] = i;
    }
    u->unknown = u->f32 ? (double)((float)least - (float)penalty) : least - penalty;
}

void unigram_free(unigram *u) {
    vm_free(u->p), vm_free(u->best.score), vm_free(u->best.from), vm_free(u->best.id);
    *u = (unigram){ 0 };
}

static bool room(unigram *u, int64_t n) {
    return vm_grow(&u->best.score, &u->best.cap[0], n, sizeof *u->best.score) && vm_grow(&u->best.from, &u->best.cap[1], n, sizeof *u->best.from) &&
           vm_grow(&u->best.id, &u->best.cap[2], n, sizeof *u->best.id);
}

static void offer(unigram *u, int64_t from, int64_t to, int32_t id, double score) {
    double sum = u->best.score[from] + score;
    if (u->f32) sum = (double)(float)sum;
    if (u->best.from[to] >= 0 && !(sum > u->best.score[to])) return;
    u->best.score[to] = sum, u->best.from[to] = from, u->best.id[to] = id;
}

/* First place in [lo,hi) whose byte at depth is at least c; all of them are longer than depth. */
static int64_t lower(const unigram *u, int64_t lo, int64_t hi, size_t depth, int c) {
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if ((unsigned char)u->p[mid].s[depth] < c) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

/* All pieces that the text begins with at `at`; whether its first character, len bytes, is one. */
static bool pieces_at(unigram *u, const char *s, int64_t n, int64_t at, int64_t len) {
    int64_t lo = u->first[(unsigned char)s[at]], hi = u->first[(unsigned char)s[at] + 1];
    bool single = false;
    for (int64_t depth = 1; lo < hi; depth++) { /* [lo,hi): pieces with these first `depth` bytes */
        if (u->p[lo].bytes == depth) {
            offer(u, at, at + depth, u->p[lo].id, u->p[lo].score);
            single |= depth == len;
            while (lo < hi && u->p[lo].bytes == depth) lo++;
        }
        if (at + depth >= n) break;
        int c = (unsigned char)s[at + depth];
        lo = lower(u, lo, hi, (size_t)depth, c);
        hi = lower(u, lo, hi, (size_t)depth, c + 1);
    }
    return single;
}

/* Turns the path, which is known from its end (from[k] = where the piece that ends at k begins), and writes it out. */
static bool put(unigram *u, const char *s, int64_t n, tok_ids *out) {
    int64_t *next = u->best.from, to = -1;
    for (int64_t at = n; at > 0;) {
        int64_t before = next[at];
        next[at] = to, to = at, at = before;
    }
    bool was_unknown = false;
    for (int64_t from = 0; to > 0; from = to, to = next[to]) {
        int32_t id = u->best.id[to];
        bool unknown = id == u->unk;
        for (int64_t i = from; unknown && u->bytes_too && i < to; i++)
            if (!tok_ids_add(out, u->byte[(unsigned char)s[i]])) return false;
        if (!(unknown && (u->bytes_too || was_unknown)) && !tok_ids_add(out, id)) return false;
        was_unknown = unknown;
    }
    return true;
}

bool unigram_encode(unigram *u, const char *s, size_t bytes, tok_ids *out) {
    int64_t n = (int64_t)bytes;
    if (!n) return true;
    if (!room(u, n + 1)) return false;
    for (int64_t i = 1; i <= n; i++) u->best.from[i] = -1;
    u->best.score[0] = 0;
    for (int64_t at = 0; at < n;) {
        int64_t len = VM_MIN((int64_t)uni_len((unsigned char)s[at]), n - at);
        if (!pieces_at(u, s, n, at, len)) offer(u, at, at + len, u->unk, u->unknown);
        at += len;
    }
    return put(u, s, n, out);
}
