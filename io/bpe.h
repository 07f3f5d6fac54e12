/* bpe.h - byte-pair encoding: a table of merges, the merging of one word, and a cache of words already merged.
 *
 * The same for all flavours: what the symbols stand for (bytes, characters, with or without an end-of-word mark) is
 * the caller's business; here they are ids. */
#ifndef VM_IO_BPE_H
#define VM_IO_BPE_H
#include "kernels/base.h"

typedef struct {
    uint64_t pair; /* left id << 32 | right id; BPE_FREE in free slots */
    int32_t rank, id;
} bpe_merge_entry;

/* All-zero is empty; bpe_free releases it. */
typedef struct {
    bpe_merge_entry *slot; /* hash table, size a power of two */
    int64_t slots, used;
    struct bpe_node *node; /* scratch: the symbols of a word as a linked list */
    struct bpe_candidate *heap;
    int64_t node_cap, heap_cap;
} bpe;

void bpe_free(bpe *b);
/* Adds the merge of two ids into one; of two rules for a pair the later one counts. False when memory is out. */
bool bpe_add(bpe *b, int32_t left, int32_t right, int32_t rank, int32_t id);
/* Merges sym[0..n) in place: always the adjacent pair of lowest rank, the leftmost of equals, until no pair is in the
 * table. O(n log n). Returns the new length, -1 when memory is out. */
int64_t bpe_merge(bpe *b, int32_t *sym, int64_t n);

/* Words and their ids. Emptied when full, so memory stays bounded. All-zero is empty. */
typedef struct {
    struct bpe_word *slot;
    char *bytes;
    int32_t *ids;
    int64_t words, bytes_n, ids_n;
} bpe_cache;

void bpe_cache_free(bpe_cache *c);
/* The ids of a word, their number in *n; NULL when it is not there. Valid until the next put. */
const int32_t *bpe_cache_get(const bpe_cache *c, const char *word, size_t bytes, int64_t *n);
/* Keeps a word; does nothing for long ones or when memory is out (the cache is only for speed). */
void bpe_cache_put(bpe_cache *c, const char *word, size_t bytes, const int32_t *ids, int64_t n);
#endif
