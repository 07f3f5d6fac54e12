/* text_out.h - a text that grows. A failed growth is kept and said by text_take. */
#ifndef VM_TEXT_OUT_H
#define VM_TEXT_OUT_H
#include <string.h>

#include "kernels/base.h"

typedef struct {
    char *s; /* terminated once it is not empty */
    int64_t n, cap;
    bool failed;
} text_out;

static inline void text_add(text_out *o, const char *s, size_t n) {
    if (o->failed || !vm_grow(&o->s, &o->cap, o->n + (int64_t)n + 1, 1)) {
        o->failed = true;
        return;
    }
    if (n) memcpy(o->s + o->n, s, n);
    o->s[o->n += (int64_t)n] = 0;
}
static inline void text_put(text_out *o, const char *s) { text_add(o, s, strlen(s)); }

/* The text (vm_free), "" when nothing was added; NULL and e when memory ran out. */
static inline char *text_take(text_out *o, vm_error *e) {
    char *s = o->failed ? NULL : o->s ? o->s : vm_strdup("");
    if (!s) vm_free(o->s), vm_nomem(e, (size_t)o->n, "a text");
    *o = (text_out){ 0 };
    return s;
}
#endif
