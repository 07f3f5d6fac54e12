/* fuzz_json.c - any text as JSON: what is read and written again reads the same; what is strict is also tolerated, and
 * what is tolerated is read by the lenient reader too. */
#include "io/json.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static char *written(const json_doc *d, json_style style, size_t *n) {
    json_writer w = json_to_memory(style);
    json_put_value(&w, NULL, json_root(d));
    char *s = json_take(&w, n, NULL);
    if (!s) __builtin_trap();
    return s;
}

static void touch(json_value v) {
    vm_error e = { 0 };
    json_as_int(v, -5, 5, &e);
    if (e.status && !strstr(e.msg, "expected an integer")) __builtin_trap();
    for (json_iter it = json_each(v); json_next(&it);) {
        json_value same = it.key ? json_get(v, it.key) : json_at(v, it.i_);
        if (same.kind != it.value.kind || same.node != it.value.node) __builtin_trap();
        touch(it.value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    vm_error e = { 0 };
    json_doc *strict = json_parse((const char *)data, bytes, "input", JSON_STRICT, NULL);
    json_doc *d = json_parse((const char *)data, bytes, "input", 0, &e);
    json_doc *lenient = json_parse((const char *)data, bytes, "input", JSON_LENIENT, NULL);
    if ((strict && !d) || (d && !lenient)) __builtin_trap();
    if (!d && (e.status != VM_EINPUT || !e.msg[0])) __builtin_trap();
    if (d) {
        size_t n, n2;
        char *a = written(d, bytes % 2 ? JSON_PRETTY : JSON_COMPACT, &n);
        json_doc *again = json_parse(a, n, "again", JSON_STRICT, NULL);
        if (!again) __builtin_trap();
        char *b = written(again, bytes % 2 ? JSON_PRETTY : JSON_COMPACT, &n2);
        if (n != n2 || memcmp(a, b, n)) __builtin_trap();
        vm_free(a), vm_free(b);
        json_free(again);
        if (bytes < 200) touch(json_root(d));
    }
    json_free(d), json_free(strict), json_free(lenient);
    if (vm_mem_used()) __builtin_trap();
    return 0;
}
