/* png_text.c - texts of PNG files (tEXt, and iTXt that is not compressed), by a walk over the chunks; PNG specification, 11.3.3. */
#include <string.h>
#include <zlib.h>

#include "io/file.h"
#include "io/image.h"

static size_t be32_at(const uint8_t *p) { return (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3]; }

/* What stands behind the keyword of a chunk; NULL when it is another text. */
static const uint8_t *body(const uint8_t *data, size_t n, bool international, const char *key) {
    const uint8_t *end = data + n, *p = memchr(data, 0, n);
    if (!p || (size_t)(p - data) != strlen(key) || memcmp(data, key, strlen(key))) return NULL;
    p++;
    if (!international) return p;
    if (end - p < 2 || *p) return NULL; /* compressed */
    p += 2;
    for (int skip = 0; skip < 2; skip++) { /* language, translated keyword */
        if (!(p = memchr(p, 0, (size_t)(end - p)))) return NULL;
        p++;
    }
    return p;
}

vm_status image_png_text(char **text, const char *path, const char *key, vm_error *e) {
    static const uint8_t signature[] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
    file_map m;
    *text = NULL;
    if (file_map_open(&m, path, e)) return e->status;
    if (m.bytes < 8 || memcmp(m.data, signature, 8)) vm_fail(e, VM_EINPUT, "%s: no PNG file", path);
    for (size_t at = 8; !e->status && !*text && m.bytes - at >= 12;) {
        const uint8_t *c = m.data + at, *found = NULL;
        size_t n = be32_at(c);
        if (n > m.bytes - at - 12) break;
        bool plain = !memcmp(c + 4, "tEXt", 4), international = !memcmp(c + 4, "iTXt", 4);
        if (plain || international) {
            if (crc32(0, c + 4, (uInt)n + 4) != be32_at(c + 8 + n)) vm_fail(e, VM_EINPUT, "%s: the chunk at byte %zu is damaged", path, at);
            else found = body(c + 8, n, international, key);
        }
        if (found && !(*text = vm_strndup((const char *)found, n - (size_t)(found - c - 8)))) vm_nomem(e, n, path);
        at += n + 12;
    }
    file_map_close(&m);
    return e->status;
}
