/* fuzz_gguf.c - any bytes as a GGUF file: refused with a sentence, or every tensor lies in it, and metadata can be asked for. */
#include "io/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    gguf *g;
    vm_error e = { 0 }, none = { 0 };
    int64_t n;
    if (gguf_open_memory(&g, data, bytes, "input", &e)) {
        if (e.status != VM_EINPUT || !e.msg[0] || g) __builtin_trap();
        return 0;
    }
    for (int64_t i = 0; i < gguf_len(g); i++) {
        const gguf_tensor *t = gguf_at(g, i);
        if (t->data < data || t->bytes > (size_t)(data + bytes - t->data)) __builtin_trap();
    }
    gguf_int(g, "llama.block_count", 0, 1, 1000, &none), gguf_str(g, "general.architecture", "", &none), gguf_bool(g, "tokenizer.ggml.add_bos_token", true, &none);
    vm_free(gguf_texts(g, "tokenizer.ggml.tokens", &n, &none));
    vm_free(gguf_nums(g, "tokenizer.ggml.scores", &n, &none));
    gguf_close(g);
    if (vm_mem_used()) __builtin_trap();
    return 0;
}
