/* fuzz_tok_text.c - libFuzzer target: texts for both CLIP flavours, WordPiece and two byte-pair tokenizers, encoded and decoded again. Runs in
 * the repository root. (fuzz_tokenizer.c: their files.) */
#include "tests/fuzz/tok_fuzz.h"

#define GOLDEN "tests/golden/tokenizer/"
static tok *all[5];

static void start(void) {
    static const char *const folder[] = { GOLDEN "hf", GOLDEN "open_clip", GOLDEN "bert", GOLDEN "bytes_llama3", GOLDEN "pieces_first" };
    vm_error e = {0};
    for (int i = 0; i < 5; i++) require(!tok_open(&all[i], folder[i], &e));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (!all[0]) start();
    for (int i = 0; i < 5; i++) check_text(all[i], (const char *)data, bytes);
    return 0;
}
