/* charsmap.c - see charsmap.h. */
#include "io/charsmap.h"

#include <string.h>

static uint32_t u32_at(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

vm_status charsmap_open(charsmap *m, const void *blob, size_t bytes, vm_error *e) {
    const uint8_t *p = blob;
    *m = (charsmap){ 0 };
    if (!bytes) return VM_OK;
    if (bytes < 4) return vm_fail(e, VM_EINPUT, "precompiled_charsmap of %zu bytes, expected at least 4", bytes);
    size_t size = u32_at(p);
    if (size % 4 || size > bytes - 4)
        return vm_fail(e, VM_EINPUT, "precompiled_charsmap states a trie of %zu bytes, expected a multiple of 4 and at most %zu", size, bytes - 4);
    m->trie = p + 4, m->units = (uint32_t)(size / 4);
    m->text = (const char *)p + 4 + size, m->text_n = bytes - 4 - size;
    if (m->text_n && m->text[m->text_n - 1]) return vm_fail(e, VM_EINPUT, "the last replacement of precompiled_charsmap has no end");
    return VM_OK;
}

/* A unit: bits 0-7 label, 8 has a value below it, 9 and 10-30 offset of the children; 31 set: it is a value, bits 0-30. */
static uint32_t offset_of(uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }

charsmap_hit charsmap_find(const charsmap *m, const char *s, size_t bytes, bool shortest) {
    charsmap_hit hit = { 0 };
    if (!m->units) return hit;
    uint32_t at = offset_of(u32_at(m->trie));
    for (size_t i = 0; i < bytes; i++) {
        uint8_t c = (uint8_t)s[i];
        at ^= c;
        if (!c || at >= m->units) break;
        uint32_t unit = u32_at(m->trie + 4 * (size_t)at);
        if ((unit & 0x800000ffu) != c) break;
        at ^= offset_of(unit);
        if (!(unit >> 8 & 1)) continue;
        if (at >= m->units) break;
        size_t value = u32_at(m->trie + 4 * (size_t)at) & 0x7fffffffu;
        if (value >= m->text_n) break;
        hit = (charsmap_hit){ i + 1, m->text + value, strlen(m->text + value) };
        if (shortest) break;
    }
    return hit;
}
