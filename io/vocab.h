/* vocab.h - the entries of a vocabulary: strings by id and ids by string. */
#ifndef VM_IO_VOCAB_H
#define VM_IO_VOCAB_H
#include <string.h>
#include "kernels/base.h"

enum { VOCAB_MAX_ID = 1 << 22 }; /* keeps a single wild id from asking for gigabytes */

/* All-zero is empty; vocab_free releases it. */
typedef struct {
    char *bytes; /* all strings behind one another */
    int64_t bytes_n, bytes_cap;
    int64_t *start; /* [n] place of entry id in bytes, -1 = no such id */
    int32_t *len;   /* [n] */
    int64_t n, start_cap, len_cap;
    int32_t *slot; /* hash table of ids, -1 = free; size is a power of two */
    int64_t slots, used;
} vocab;

void vocab_free(vocab *v);
/* Adds an entry. A string that is there already gets the new id; an id that is there already with another string is
 * refused (VM_EINPUT, the message names no file: callers put that in front). */
vm_status vocab_add(vocab *v, const char *s, size_t bytes, int32_t id, vm_error *e);
int32_t vocab_find(const vocab *v, const char *s, size_t bytes);   /* -1 = none */
const char *vocab_text(const vocab *v, int32_t id, size_t *bytes); /* NULL = none; not terminated */

/* 64-bit hash of a string (multiply and fold, eight bytes at a time). */
static inline uint64_t hash_bytes(const char *s, size_t n) {
    uint64_t h = 0x9e3779b97f4a7c15u ^ n;
    while (n) {
        uint64_t w = 0;
        size_t k = n < 8 ? n : 8;
        if (k == 8) memcpy(&w, s, 8);
        else
            for (size_t i = 0; i < k; i++) w |= (uint64_t)(unsigned char)s[i] << 8 * i;
        unsigned __int128 m = (unsigned __int128)(h ^ w) * 0xd6e8feb86659fd93u;
        h = (uint64_t)m ^ (uint64_t)(m >> 64);
        s += k;
        n -= k;
    }
    return h ^ h >> 29;
}
#endif
