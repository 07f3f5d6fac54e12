/* charsmap.h - the character replacements that a SentencePiece model carries ("precompiled_charsmap").
 *
 * A blob: u32 size of a trie in bytes; the trie, u32 units of a double array (Aoe 1989, in the layout of darts-clone);
 * then replacements, each ended by a zero byte. All little-endian. The value of a key is the place of its replacement.
 * Every access is checked against the blob: it comes from files. */
#ifndef VM_IO_CHARSMAP_H
#define VM_IO_CHARSMAP_H
#include "kernels/base.h"

typedef struct {
    const uint8_t *trie; /* units * 4 bytes; NULL = no replacements */
    uint32_t units;
    const char *text;
    size_t text_n;
} charsmap;

/* A view of the blob, which must outlive it; an empty blob replaces nothing. VM_EINPUT without the name of a file. */
vm_status charsmap_open(charsmap *m, const void *blob, size_t bytes, vm_error *e);

typedef struct {
    size_t bytes;   /* of the key; 0 = none matches */
    const char *to; /* its replacement, n bytes */
    size_t n;
} charsmap_hit;
/* The longest key that s begins with, or the shortest. */
charsmap_hit charsmap_find(const charsmap *m, const char *s, size_t bytes, bool shortest);
#endif
