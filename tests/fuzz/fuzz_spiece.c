/* fuzz_spiece.c - any bytes as a spiece.model: refused with a sentence, or a tokenizer whose ids are of the vocabulary;
 * never more memory than is promised. */
#include "io/file.h"
#include "io/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static char path[] = "/dev/shm/fuzz_spiece_XXXXXX.model"; /* in memory: it is written at every execution */

static void require(bool ok) {
    if (!ok) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const char text[] = "A Caf\xc3\xa9's <unk> 12 \xef\xac\x81\xcc\x81 </s> x\xe2\x96\x81 \xff y";
    vm_error e = {0};
    tok *t;
    tok_ids ids = {0};
    char *back;
    if (strchr(path, 'X')) require(mkstemps(path, 6) >= 0);
    FILE *f = fopen(path, "wb"); /* plain: file_write syncs */
    require(f && fwrite(data, 1, bytes, f) == bytes && !fclose(f));
    vm_mem_limit((size_t)64 << 20);
    if (tok_open(&t, path, &e)) {
        require(e.status == VM_EINPUT && e.msg[0] && !t);
    } else {
        require(!tok_encode(t, text, sizeof text - 1, TOK_PAD, 0, &ids, &e));
        for (int64_t i = 0; i < ids.n; i++) require(ids.id[i] >= 0 && ids.id[i] < tok_get_info(t)->vocab_len);
        if (!tok_decode(t, ids.id, ids.n, true, &back, NULL, &e)) vm_free(back);
    }
    tok_ids_free(&ids);
    tok_free(t);
    require(!vm_mem_used());
    return 0;
}
