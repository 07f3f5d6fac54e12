/* grammar_spans.c - "one of the phrases of this text" as an enum of a schema. */
#include <string.h>

#include "io/grammar.h"
#include "io/unicode.h"

typedef struct {
    int64_t first, end; /* from the first letter or digit of a word to behind its last */
} word;
typedef struct {
    const char *s;
    int64_t n;
} span;

/* The words of the text; one without a letter or digit has first = end. */
static bool find_words(const char *text, word **w, int64_t *n) {
    const char *end = text + strlen(text);
    int64_t cap = 0;
    bool inside = false;
    for (const char *p = text; p < end;) {
        const char *from = p;
        int32_t c = uni_next(&p, end);
        bool letter = uni_letter(c) || uni_number(c) || uni_mark(c), blank = uni_space(c);
        if (!blank && !inside) {
            if (!vm_grow(w, &cap, *n + 1, sizeof **w)) return false;
            (*w)[(*n)++] = (word){ from - text, from - text };
        }
        inside = !blank;
        word *last = inside ? &(*w)[*n - 1] : NULL;
        if (!letter) continue;
        if (last->first == last->end) last->first = from - text;
        last->end = p - text;
    }
    return true;
}

void grammar_put_spans(json_writer *w, const char *key, const char *text, int most) {
    word *at = NULL;
    span *put = NULL;
    int64_t n = 0, k = 0, cap = 0;
    bool ok = find_words(text, &at, &n);
    json_begin_object(w, key);
    json_put_str(w, "type", "string");
    json_begin_array(w, "enum");
    for (int64_t i = 0; i < n && ok; i++)
        for (int64_t j = i; j < VM_MIN(n, i + most) && ok; j++) {
            if (at[i].first == at[i].end || at[j].first == at[j].end) continue;
            span s = { text + at[i].first, at[j].end - at[i].first };
            bool there = false;
            for (int64_t m = 0; m < k && !there; m++) there = put[m].n == s.n && !memcmp(put[m].s, s.s, (size_t)s.n);
            if (there) continue;
            if (!(ok = vm_grow(&put, &cap, k + 1, sizeof *put))) break;
            put[k++] = s;
            json_put_text(w, NULL, s.s, (size_t)s.n);
        }
    json_close_array(w);
    json_close_object(w);
    if (!ok && !w->status) w->status = vm_nomem(&w->err, (size_t)n * sizeof *at, "a schema");
    vm_free(at), vm_free(put);
}
