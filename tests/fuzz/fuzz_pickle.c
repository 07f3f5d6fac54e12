/* fuzz_pickle.c - any bytes as a PyTorch checkpoint, or (first byte odd) as the pickle within a good archive: refused
 * with a sentence, or every element of every tensor can be read; never more memory than is promised. */
#include "io/pickle.h"
#include "tests/checkpoint_parts.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const float floats[6] = { 0, 0.5f, 1, 1.5f, 2, 2.5f };
    pt_file *f;
    vm_error e = { 0 };
    if (!bytes) return 0;
    uint8_t *archive = malloc(bytes + 2000);
    size_t n = bytes - 1;
    if (data[0] % 2)
        n = zip_make(archive,
                     (zip_part[]){ { "r/data.pkl", data + 1, n },
                                   { "r/data/0", floats, sizeof floats },
                                   { "r/data/1", floats, 8 } },
                     3, data[0] >> 1 & 7)
                .bytes;
    else memcpy(archive, data + 1, n);
    uint8_t *file = malloc(n + 1); /* exactly sized */
    memcpy(file, archive, n);
    vm_mem_limit((size_t)64 << 20);
    if (pt_open_memory(&f, file, n, "input", &e)) {
        if (e.status != VM_EINPUT || !e.msg[0] || f) __builtin_trap();
    } else {
        for (int64_t i = 0; i < pt_len(f); i++) {
            const st_tensor *t = pt_at(f, i);
            float x[16];
            if (pt_find(f, t->name) != t || t->bytes > n) __builtin_trap();
            for (int64_t k = 0; k < t->len; k += 16)
                if (pt_read_f32(f, t, k, VM_MIN(t->len - k, 16), x, &e)) __builtin_trap();
        }
        pt_close(f);
    }
    free(file);
    free(archive);
    if (vm_mem_used()) __builtin_trap();
    return 0;
}
