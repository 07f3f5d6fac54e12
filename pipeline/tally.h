/* tally.h - counts by name: of rejected records by rule, of answers by what became of them. Names are short words of
 * the program. */
#ifndef VM_TALLY_H
#define VM_TALLY_H
#include <stdio.h>
#include <string.h>

#include "io/json.h"

enum { TALLY_NAMES = 48 };
typedef struct {
    char name[TALLY_NAMES][24];
    int64_t n[TALLY_NAMES];
    int used;
} tally;

/* Counts of names that find no room any more are lost; there are far fewer names than room. */
static inline void tally_add(tally *t, const char *name, int64_t n) {
    int k = 0;
    while (k < t->used && strcmp(t->name[k], name)) k++;
    if (k == TALLY_NAMES) return;
    if (k == t->used) snprintf(t->name[t->used++], sizeof t->name[0], "%s", name), t->n[k] = 0;
    t->n[k] += n;
}

static inline int64_t tally_of(const tally *t, const char *name) {
    for (int k = 0; k < t->used; k++)
        if (!strcmp(t->name[k], name)) return t->n[k];
    return 0;
}

/* Members of an object. What is no count is passed over. */
static inline void tally_read(tally *t, json_value object) {
    for (json_iter it = json_each(object); json_next(&it);) {
        vm_error e = { 0 };
        tally_add(t, it.key, json_as_int(it.value, 0, INT64_MAX, &e));
    }
}

static inline void tally_put(const tally *t, json_writer *w, const char *key) {
    json_begin_object(w, key);
    for (int k = 0; k < t->used; k++) json_put_int(w, t->name[k], t->n[k]);
    json_close_object(w);
}
#endif
