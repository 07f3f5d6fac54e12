/* keymap.h - byte strings and their numbers: the first different string is 0, the next 1, ... A set, a dictionary of
 * names, a pool of strings that stay where they are. */
#ifndef VM_IO_KEYMAP_H
#define VM_IO_KEYMAP_H
#include "kernels/base.h"

typedef struct {
    struct keymap_key *key;     /* n of them, in the order of arrival */
    int64_t n, cap;
    int64_t *slot, slots;       /* open addressing: number of the key + 1, 0 = free; slots is a power of two */
    struct keymap_chunk *chunk; /* where the strings stand */
} keymap; /* all-zero = empty */

/* The number of the string, -1 when it is not in the map. */
int64_t keymap_find(const keymap *m, const void *key, size_t bytes);
/* The same, added when it is new (then the number is the old m->n). -1 when memory is out. */
int64_t keymap_put(keymap *m, const void *key, size_t bytes);
int64_t keymap_put_text(keymap *m, const char *text);
/* String number i, NUL-terminated; stays valid until keymap_free. bytes may be NULL. */
const char *keymap_at(const keymap *m, int64_t i, size_t *bytes);
void keymap_free(keymap *m); /* and zeroes it */
#endif
