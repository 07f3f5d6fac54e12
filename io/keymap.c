/* keymap.c - see keymap.h. */
#include "io/keymap.h"

#include <string.h>

typedef struct keymap_key {
    uint64_t hash;
    const char *text;
    size_t bytes;
} keymap_key;

typedef struct keymap_chunk {
    struct keymap_chunk *next;
    size_t used, bytes;
    char text[];
} keymap_chunk;

/* FNV-1a, then a finaliser: slots are taken from the low bits. */
static uint64_t hash_of(const void *key, size_t bytes) {
    const uint8_t *p = key;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes; i++) h = (h ^ p[i]) * 0x100000001b3u;
    return (h ^ (h >> 32)) * 0x9e3779b97f4a7c15u ^ (h >> 29);
}

/* The slot of the key, or the free one where it belongs. */
static int64_t slot_of(const keymap *m, uint64_t hash, const void *key, size_t bytes) {
    int64_t mask = m->slots - 1, s = (int64_t)(hash & (uint64_t)mask);
    for (; m->slot[s]; s = (s + 1) & mask) {
        const keymap_key *k = &m->key[m->slot[s] - 1];
        if (k->hash == hash && k->bytes == bytes && !memcmp(k->text, key, bytes)) break;
    }
    return s;
}

int64_t keymap_find(const keymap *m, const void *key, size_t bytes) {
    return m->slots ? m->slot[slot_of(m, hash_of(key, bytes), key, bytes)] - 1 : -1;
}

static bool widen(keymap *m) {
    int64_t slots = m->slots ? 2 * m->slots : 64, *slot = vm_calloc((size_t)slots, sizeof *slot);
    if (!slot) return false;
    vm_free(m->slot);
    m->slot = slot, m->slots = slots;
    for (int64_t i = 0; i < m->n; i++) {
        int64_t s = (int64_t)(m->key[i].hash & (uint64_t)(slots - 1));
        while (slot[s]) s = (s + 1) & (slots - 1);
        slot[s] = i + 1;
    }
    return true;
}

static const char *keep(keymap *m, const void *key, size_t bytes) {
    keymap_chunk *c = m->chunk;
    if (!c || c->bytes - c->used <= bytes) {
        size_t room = VM_MAX(bytes + 1, (size_t)1 << 15), all;
        if (!vm_add_sz(sizeof *c, room, &all) || !(c = vm_alloc(all))) return NULL;
        c->next = m->chunk, c->used = 0, c->bytes = room;
        m->chunk = c;
    }
    char *to = c->text + c->used;
    memcpy(to, key, bytes);
    to[bytes] = 0;
    c->used += bytes + 1;
    return to;
}

int64_t keymap_put(keymap *m, const void *key, size_t bytes) {
    if (m->slots <= 2 * m->n && !widen(m)) return -1;
    uint64_t hash = hash_of(key, bytes);
    int64_t s = slot_of(m, hash, key, bytes);
    if (m->slot[s]) return m->slot[s] - 1;
    if (!vm_grow(&m->key, &m->cap, m->n + 1, sizeof *m->key)) return -1;
    const char *text = keep(m, key, bytes);
    if (!text) return -1;
    m->key[m->n] = (keymap_key){ hash, text, bytes };
    m->slot[s] = m->n + 1;
    return m->n++;
}

int64_t keymap_put_text(keymap *m, const char *text) { return keymap_put(m, text, strlen(text)); }

const char *keymap_at(const keymap *m, int64_t i, size_t *bytes) {
    if (bytes) *bytes = m->key[i].bytes;
    return m->key[i].text;
}

void keymap_free(keymap *m) {
    while (m->chunk) {
        keymap_chunk *next = m->chunk->next;
        vm_free(m->chunk);
        m->chunk = next;
    }
    vm_free(m->key);
    vm_free(m->slot);
    *m = (keymap){ 0 };
}
