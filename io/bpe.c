/* bpe.c - merging with a linked list of symbols and a heap of candidate pairs. */
#include "io/bpe.h"
#include "io/vocab.h"

#define BPE_FREE UINT64_MAX

typedef struct bpe_node {
    int32_t id, prev, next; /* places of the neighbours, -1 = none; id -1 = merged away */
} node;

typedef struct bpe_candidate {
    int32_t rank, at; /* at: place of the left symbol */
    int32_t left, right;
} candidate;

void bpe_free(bpe *b) {
    vm_free(b->slot);
    vm_free(b->node);
    vm_free(b->heap);
    *b = (bpe){0};
}

static bpe_merge_entry *find_merge(const bpe *b, uint64_t pair) {
    uint64_t mask = (uint64_t)b->slots - 1, h = pair * 0x9e3779b97f4a7c15u;
    for (uint64_t i = (h ^ h >> 32) & mask;; i = (i + 1) & mask)
        if (b->slot[i].pair == pair || b->slot[i].pair == BPE_FREE) return &b->slot[i];
}

static bool grow_table(bpe *b) {
    int64_t old_n = b->slots, n = old_n ? 2 * old_n : 1024;
    bpe_merge_entry *old = b->slot, *slot = vm_alloc((size_t)n * sizeof *slot);
    if (!slot) return false;
    memset(slot, 0xff, (size_t)n * sizeof *slot);
    b->slot = slot;
    b->slots = n;
    for (int64_t i = 0; i < old_n; i++)
        if (old[i].pair != BPE_FREE) *find_merge(b, old[i].pair) = old[i];
    vm_free(old);
    return true;
}

bool bpe_add(bpe *b, int32_t left, int32_t right, int32_t rank, int32_t id) {
    if (2 * b->used >= b->slots && !grow_table(b)) return false;
    bpe_merge_entry *m = find_merge(b, (uint64_t)left << 32 | (uint32_t)right);
    b->used += m->pair == BPE_FREE;
    *m = (bpe_merge_entry){(uint64_t)left << 32 | (uint32_t)right, rank, id};
    return true;
}

static bool before(candidate a, candidate b) { return a.rank != b.rank ? a.rank < b.rank : a.at < b.at; }

static void push(candidate *heap, int64_t *n, candidate c) {
    int64_t i = (*n)++;
    for (; i && before(c, heap[(i - 1) / 2]); i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = c;
}

static candidate pop(candidate *heap, int64_t *n) {
    candidate top = heap[0], last = heap[--*n];
    int64_t i = 0;
    for (int64_t k; (k = 2 * i + 1) < *n; i = k) {
        if (k + 1 < *n && before(heap[k + 1], heap[k])) k++;
        if (!before(heap[k], last)) break;
        heap[i] = heap[k];
    }
    heap[i] = last;
    return top;
}

/* Offers the pair whose left symbol is at place i. */
static void offer(const bpe *b, candidate *heap, int64_t *n, int32_t i) {
    if (i < 0 || b->node[i].next < 0) return;
    int32_t left = b->node[i].id, right = b->node[b->node[i].next].id;
    if (left < 0 || right < 0) return;
    const bpe_merge_entry *m = find_merge(b, (uint64_t)left << 32 | (uint32_t)right);
    if (m->pair != BPE_FREE) push(heap, n, (candidate){m->rank, i, left, right});
}

int64_t bpe_merge(bpe *b, int32_t *sym, int64_t n) {
    if (n < 2 || !b->slots) return n;
    /* at most n - 1 pairs at the start, and every merge takes one symbol away and offers two pairs */
    if (n > INT32_MAX / 4 || !vm_grow(&b->node, &b->node_cap, n, sizeof *b->node) ||
        !vm_grow(&b->heap, &b->heap_cap, 3 * n, sizeof *b->heap))
        return -1;
    node *list = b->node;
    int64_t heap_n = 0;
    for (int32_t i = 0; i < n; i++) list[i] = (node){sym[i], i - 1, i + 1 < n ? i + 1 : -1};
    for (int32_t i = 0; i < n; i++) offer(b, b->heap, &heap_n, i);
    while (heap_n) {
        candidate c = pop(b->heap, &heap_n);
        node *left = &list[c.at];
        if (left->id != c.left || left->next < 0 || list[left->next].id != c.right)
            continue; /* one of them is gone */
        node *right = &list[left->next];
        left->id = find_merge(b, (uint64_t)c.left << 32 | (uint32_t)c.right)->id;
        right->id = -1;
        left->next = right->next;
        if (left->next >= 0) list[left->next].prev = c.at;
        offer(b, b->heap, &heap_n, left->prev);
        offer(b, b->heap, &heap_n, c.at);
    }
    int64_t out = 0;
    for (int32_t i = 0; i >= 0; i = list[i].next) sym[out++] = list[i].id;
    return out;
}

/* --- cache ------------------------------------------------------------------------------------------------------- */
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
enum { CACHE_SCALE = 1 << 10 }; /* soon full, and quickly made for each input */
#else
enum { CACHE_SCALE = 1 };
#endif
enum {
    CACHE_SLOTS = (1 << 16) / CACHE_SCALE,
    CACHE_WORDS = CACHE_SLOTS / 2,
    CACHE_BYTES = (1 << 20) / CACHE_SCALE,
    CACHE_IDS = (1 << 19) / CACHE_SCALE,
    WORD_LONG = 64
};

typedef struct bpe_word {
    uint64_t hash;
    int32_t at, ids_at;
    uint16_t len, ids_n;
    bool used;
} word_slot;

void bpe_cache_free(bpe_cache *c) {
    vm_free(c->slot);
    vm_free(c->bytes);
    vm_free(c->ids);
    *c = (bpe_cache){0};
}

static word_slot *find_word(const bpe_cache *c, uint64_t hash, const char *word, size_t bytes) {
    for (uint64_t i = hash & (CACHE_SLOTS - 1);; i = (i + 1) & (CACHE_SLOTS - 1)) {
        word_slot *s = &c->slot[i];
        if (!s->used || (s->hash == hash && s->len == bytes && !memcmp(c->bytes + s->at, word, bytes))) return s;
    }
}

const int32_t *bpe_cache_get(const bpe_cache *c, const char *word, size_t bytes, int64_t *n) {
    if (!c->slot || bytes > WORD_LONG) return NULL;
    const word_slot *s = find_word(c, hash_bytes(word, bytes), word, bytes);
    if (!s->used) return NULL;
    *n = s->ids_n;
    return c->ids + s->ids_at;
}

void bpe_cache_put(bpe_cache *c, const char *word, size_t bytes, const int32_t *ids, int64_t n) {
    if (bytes > WORD_LONG || n > WORD_LONG) return;
    if (!c->slot) {
        c->slot = vm_calloc(CACHE_SLOTS, sizeof *c->slot);
        c->bytes = vm_alloc(CACHE_BYTES);
        c->ids = vm_alloc(CACHE_IDS * sizeof *c->ids);
        if (!c->slot || !c->bytes || !c->ids) {
            bpe_cache_free(c);
            return;
        }
    }
    if (c->words >= CACHE_WORDS || c->bytes_n + (int64_t)bytes > CACHE_BYTES || c->ids_n + n > CACHE_IDS) {
        memset(c->slot, 0, CACHE_SLOTS * sizeof *c->slot);
        c->words = c->bytes_n = c->ids_n = 0;
    }
    uint64_t hash = hash_bytes(word, bytes);
    word_slot *s = find_word(c, hash, word, bytes);
    *s = (word_slot){hash, (int32_t)c->bytes_n, (int32_t)c->ids_n, (uint16_t)bytes, (uint16_t)n, true};
    memcpy(c->bytes + c->bytes_n, word, bytes);
    memcpy(c->ids + c->ids_n, ids, (size_t)n * sizeof *ids);
    c->words++;
    c->bytes_n += (int64_t)bytes;
    c->ids_n += n;
}
