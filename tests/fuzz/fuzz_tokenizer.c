/* fuzz_tokenizer.c - libFuzzer target: inputs that start with '{' are tokenizer.json, with '#' merges.txt, with '[' vocab.txt,
 * with a gzip mark open_clip's list; all others are texts for both CLIP flavours, WordPiece and two byte-pair tokenizers, encoded and decoded
 * again. Runs in the repository root. */
#include "io/file.h"
#include "io/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN "tests/golden/tokenizer/"
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static char folder[] = "/dev/shm/fuzz_tokenizer_XXXXXX"; /* in memory: these files are written at every execution */
static char json_path[64], merges_path[64], plain_path[64], lines_path[64];
/* the vocabulary beside merges.txt: few entries, as it is read anew each time */
static const char vocabulary[] = "{\"a\":0,\"b\":1,\"c\":2,\"a</w>\":3,\"b</w>\":4,\"c</w>\":5,\"ab\":6,\"bc\":7,\"ab</w>\":8,"
                                 "\"bc</w>\":9,\"abc</w>\":10,\"<|startoftext|>\":11,\"<|endoftext|>\":12}";
static tok *all[5];

static void require(bool ok) {
    if (!ok) abort();
}

static void start(void) {
    vm_error e = {0};
    char path[64];
    require(mkdtemp(folder) != NULL);
    snprintf(json_path, sizeof json_path, "%s/tokenizer.json", folder);
    snprintf(merges_path, sizeof merges_path, "%s/merges.txt", folder);
    snprintf(plain_path, sizeof plain_path, "%s/list.txt.gz", folder);
    snprintf(lines_path, sizeof lines_path, "%s/vocab.txt", folder);
    snprintf(path, sizeof path, "%s/vocab.json", folder);
    require(!file_write(path, vocabulary, sizeof vocabulary - 1, &e));
    require(!tok_open(&all[0], GOLDEN "hf", &e) && !tok_open(&all[1], GOLDEN "open_clip", &e) && !tok_open(&all[2], GOLDEN "bert", &e));
    require(!tok_open(&all[3], GOLDEN "bytes_llama3", &e) && !tok_open(&all[4], GOLDEN "pieces_first", &e));
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    vm_error e = {0};
    tok *t = NULL;
    if (!all[0]) start();
    const char *path = bytes && data[0] == '{' ? json_path : bytes && data[0] == '#' ? merges_path
                       : bytes && data[0] == '[' ? lines_path : plain_path;
    if (path != plain_path || (bytes && data[0] == 0x1f)) {
        FILE *f = fopen(path, "wb"); /* plain: file_write syncs */
        require(f && fwrite(data, 1, bytes, f) == bytes && !fclose(f));
        if (tok_open(&t, path, &e)) require(e.status != VM_OK && e.msg[0]);
        else check_text(t, "Abc A caf\xc3\xa9's <|endoftext|> &amp; 12 \xce\xa3 <x> a", 44);
        tok_free(t);
        return 0;
    }
    for (int i = 0; i < 5; i++) check_text(all[i], (const char *)data, bytes);
    return 0;
}
