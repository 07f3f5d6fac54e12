/* fuzz_layout.c - any text as layouts: ends, moves on, and what is read and printed reads the same. The first byte says
 * whether the text is whole. */
#include "pipeline/layout.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void again(const layout *l) {
    static char text[LAYOUT_PRINT];
    static layout m;
    char problem[LAYOUT_WHY];
    layout_print_lines(text, l);
    const char *p = text, *end = text + strlen(text);
    if (!l->n || !l->background[0] || end - text + 1 >= LAYOUT_PRINT) return;
    for (const char *s = l->background; *s; s++) /* a text that itself looks like a label */
        if (strchr(":[]'\"*`", *s)) return;
    for (const char *s = l->negative; *s; s++)
        if (strchr(":[]'\"*`", *s)) return;
    if (strchr(l->category, ':') || strchr(l->category, '[') || !strchr(l->category, ')')) return;
    if (!layout_next(&p, end, true, &m, problem) || problem[0]) __builtin_trap();
    if (m.n != l->n || strcmp(m.background, l->background) || strcmp(m.negative, l->negative)) __builtin_trap();
    for (int i = 0; i < m.n; i++) {
        const layout_object *a = &m.object[i], *b = &l->object[i];
        if (strcmp(a->name, b->name) || a->x != b->x || a->y != b->y || a->w != b->w || a->h != b->h) __builtin_trap();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static layout l, twin, less;
    if (!bytes) return 0;
    const char *p = (const char *)data + 1, *end = (const char *)data + bytes, *before = p;
    char problem[LAYOUT_WHY], why[LAYOUT_WHY];
    while (layout_next(&p, end, data[0] & 1, &l, problem)) {
        if (p <= before || p > end || l.n < 0 || l.n > LAYOUT_OBJECTS) __builtin_trap();
        before = p;
        if (problem[0]) continue;
        again(&l);
        if (layout_check(&l, &layout_rules_default, why) && !why[0]) __builtin_trap();
        if (layout_swap(&twin, &l) && !layout_swap(&twin, &twin)) __builtin_trap();
        if (l.n) layout_remove(&less, &l, (int[]){ 0 }, 1);
    }
    if (p != end) __builtin_trap();
    return 0;
}
