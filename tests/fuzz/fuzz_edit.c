/* fuzz_edit.c - any text as a language model's answer. First line: the caption. What is found in the rest is JSON; strict JSON is read as what it is;
 * an edit that passes the rules says what it is said to say, and passes them again. */
#include "pipeline/edit.h"

#include <string.h>

#include "io/json_loose.h"
#include "io/words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static char *written(json_value v) {
    json_writer w = json_to_memory(JSON_COMPACT);
    json_put_value(&w, NULL, v);
    char *s = json_take(&w, NULL, NULL);
    if (!s) __builtin_trap();
    return s;
}

static int depth(json_value v) {
    int most = 0;
    for (json_iter it = json_each(v); json_next(&it);) most = VM_MAX(most, depth(it.value));
    return most + (v.kind == JSON_ARRAY || v.kind == JSON_OBJECT);
}

static void check_loose(const char *text, size_t n) {
    vm_error e = { 0 };
    json_doc *d, *strict = json_parse(text, n, "input", JSON_STRICT, NULL);
    json_loose s = json_loose_start(text, n);
    bool first = true;
    for (; json_loose_next(&s, '{', &d, &e); first = false) {
        if (s.from >= s.to || s.to > n || text[s.from] != '{') __builtin_trap();
        if (strict && first && json_root(strict).kind == JSON_OBJECT && depth(json_root(strict)) <= JSON_LOOSE_DEPTH) {
            char *a = written(json_root(strict)), *b = written(json_root(d));
            if (strcmp(a, b)) __builtin_trap();
            vm_free(a), vm_free(b);
        }
        json_free(d);
    }
    if (e.status) __builtin_trap();
    if (strict && first && json_root(strict).kind == JSON_OBJECT && depth(json_root(strict)) <= JSON_LOOSE_DEPTH) __builtin_trap();
    json_free(strict);
}

static void check_edits(const char *caption, const char *answer, size_t n, const char *want, bool repair) {
    edits l;
    tally why = { 0 };
    vm_error e = { 0 };
    if (edit_parse(&l, answer, n, caption, want, &why, &e)) __builtin_trap();
    for (int k = 0; k < l.n; k++) {
        edit *x = &l.e[k], again;
        if (edit_check(x, caption, want, repair)) continue;
        if (!phrase_find(caption, x->selected).at || !phrase_find(x->caption, x->edited).at || !x->region[0]) __builtin_trap();
        again = *x;
        if (edit_check(&again, caption, want, false)) __builtin_trap();
        if (strcmp(again.caption, x->caption) || strcmp(again.region, x->region)) __builtin_trap();
    }
    edits_free(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    char *text = vm_strndup((const char *)data, bytes), *line = strchr(text, '\n'), *answer = line ? line + 1 : text + strlen(text);
    size_t n = strlen(answer);
    if (line) *line = 0;
    check_loose(answer, n);
    check_edits(text, answer, n, "object", bytes % 2), check_edits(text, answer, n, "attribute", bytes % 2);
    vm_free(text);
    if (vm_mem_used()) __builtin_trap();
    return 0;
}
