/* vocab.c - strings in one block, an open-addressing table of ids over them. */
#include "io/vocab.h"

void vocab_free(vocab *v) {
    vm_free(v->bytes);
    vm_free(v->start);
    vm_free(v->len);
    vm_free(v->slot);
    *v = (vocab){0};
}

static int64_t find_slot(const vocab *v, const char *s, size_t n) {
    int64_t mask = v->slots - 1, i = (int64_t)(hash_bytes(s, n) & (uint64_t)mask);
    for (;; i = (i + 1) & mask) {
        int32_t id = v->slot[i];
        if (id < 0 || ((size_t)v->len[id] == n && !memcmp(v->bytes + v->start[id], s, n))) return i;
    }
}

static bool rehash(vocab *v) {
    int64_t old_n = v->slots, n = old_n ? 2 * old_n : 1024;
    int32_t *old = v->slot, *slot = vm_alloc((size_t)n * sizeof *slot);
    if (!slot) return false;
    memset(slot, 0xff, (size_t)n * sizeof *slot);
    v->slot = slot;
    v->slots = n;
    for (int64_t i = 0; i < old_n; i++) {
        if (old[i] < 0) continue;
        int32_t id = old[i];
        v->slot[find_slot(v, v->bytes + v->start[id], (size_t)v->len[id])] = id;
    }
    vm_free(old);
    return true;
}

vm_status vocab_add(vocab *v, const char *s, size_t bytes, int32_t id, vm_error *e) {
    if (id < 0 || id >= VOCAB_MAX_ID)
        return vm_fail(e, VM_EINPUT, "token \"%.*s\" has id %d, expected 0 to %d", (int)VM_MIN(bytes, 40), s, id,
                       VOCAB_MAX_ID - 1);
    if (id < v->n && v->start[id] >= 0) {
        if ((size_t)v->len[id] == bytes && !memcmp(v->bytes + v->start[id], s, bytes)) return VM_OK;
        return vm_fail(e, VM_EINPUT, "tokens \"%.*s\" and \"%.*s\" have the same id %d", VM_MIN(v->len[id], 40),
                       v->bytes + v->start[id], (int)VM_MIN(bytes, 40), s, id);
    }
    if (bytes > INT32_MAX || (2 * v->used >= v->slots && !rehash(v)) ||
        !vm_grow(&v->bytes, &v->bytes_cap, v->bytes_n + (int64_t)bytes + 1, 1) ||
        !vm_grow(&v->start, &v->start_cap, id + 1, sizeof *v->start) ||
        !vm_grow(&v->len, &v->len_cap, id + 1, sizeof *v->len))
        return vm_nomem(e, bytes, "the vocabulary");
    for (; v->n <= id; v->n++) v->start[v->n] = -1, v->len[v->n] = 0;
    v->start[id] = v->bytes_n;
    v->len[id] = (int32_t)bytes;
    memcpy(v->bytes + v->bytes_n, s, bytes);
    v->bytes_n += (int64_t)bytes;
    int64_t k = find_slot(v, s, bytes);
    v->used += v->slot[k] < 0;
    v->slot[k] = id;
    return VM_OK;
}

int32_t vocab_find(const vocab *v, const char *s, size_t bytes) {
    return v->slots ? v->slot[find_slot(v, s, bytes)] : -1;
}

const char *vocab_text(const vocab *v, int32_t id, size_t *bytes) {
    if (id < 0 || id >= v->n || v->start[id] < 0) return NULL;
    *bytes = (size_t)v->len[id];
    return v->bytes + v->start[id];
}
