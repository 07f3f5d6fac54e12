/* tok_fuzz.h - what the targets for tokenizers share: a text encoded and decoded again. */
#include "io/tokenizer.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void require(bool ok) {
    if (!ok) abort();
}

/* Ids stay below vocab_len, lengths are kept, decoding accepts what encoding made. */
static void check_text(tok *t, const char *text, size_t bytes) {
    vm_error e = {0};
    tok_ids ids = {0};
    char *back;
    for (int64_t max_len = 0; max_len < 9; max_len += 4) {
        require(!tok_encode(t, text, bytes, max_len == 8 ? TOK_PAD : 0, max_len, &ids, &e));
        require(!max_len || ids.n <= max_len);
        for (int64_t i = 0; i < ids.n; i++) require(ids.id[i] >= 0 && ids.id[i] < tok_get_info(t)->vocab_len);
    }
    require(!tok_encode(t, text, bytes, TOK_NO_SPECIAL, 0, &ids, &e));
    if (!tok_decode(t, ids.id, ids.n, true, &back, NULL, &e)) vm_free(back);
    tok_ids_free(&ids);
}
