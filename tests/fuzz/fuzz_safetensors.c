/* fuzz_safetensors.c - any bytes as a safetensors file: refused with a sentence, or every tensor lies in the file. */
#include "io/safetensors.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    st_file *f;
    vm_error e = { 0 };
    size_t total = 0;
    if (st_open_memory(&f, data, bytes, "input", &e)) {
        if (e.status != VM_EINPUT || !e.msg[0] || f) __builtin_trap();
        return 0;
    }
    for (int64_t i = 0; i < st_len(f); i++) {
        const st_tensor *t = st_at(f, i);
        float x[16];
        int64_t n[16];
        if (st_find(f, t->name) != t || t->data < data || t->bytes > (size_t)(data + bytes - t->data)) __builtin_trap();
        st_read_f32(f, t, 0, VM_MIN(t->len, 16), x, NULL);
        st_read_i64(f, t, VM_MAX(t->len - 16, 0), VM_MIN(t->len, 16), n, NULL);
        total += t->bytes;
    }
    if (total != st_total_bytes(f) || total > bytes) __builtin_trap();
    for (int64_t i = 0; i < st_meta_len(f); i++) {
        const char *value, *key = st_meta_at(f, i, &value);
        if (st_meta(f, key) != value) __builtin_trap();
    }
    st_close(f);
    if (vm_mem_used()) __builtin_trap();
    return 0;
}
