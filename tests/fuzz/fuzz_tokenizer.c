/* fuzz_tokenizer.c - libFuzzer target for the files of tokenizers: inputs that start with '{' are tokenizer.json, with '#' merges.txt, with
 * '[' vocab.txt, all others open_clip's list. What opens encodes and decodes one text. (fuzz_tok_text.c: texts.) */
#include "tests/fuzz/tok_fuzz.h"
#include "io/file.h"

#include <stdio.h>
#include <string.h>

static char folder[] = "/dev/shm/fuzz_tokenizer_XXXXXX"; /* in memory: these files are written at every execution */
static char json_path[64], merges_path[64], plain_path[64], lines_path[64];
/* the vocabulary beside merges.txt: few entries, as it is read anew each time */
static const char vocabulary[] = "{\"a\":0,\"b\":1,\"c\":2,\"a</w>\":3,\"b</w>\":4,\"c</w>\":5,\"ab\":6,\"bc\":7,\"ab</w>\":8,"
                                 "\"bc</w>\":9,\"abc</w>\":10,\"<|startoftext|>\":11,\"<|endoftext|>\":12}";

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
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    vm_error e = {0};
    tok *t = NULL;
    if (!*json_path) start();
    const char *path = bytes && data[0] == '{' ? json_path : bytes && data[0] == '#' ? merges_path
                       : bytes && data[0] == '[' ? lines_path : plain_path;
    FILE *f = fopen(path, "wb"); /* plain: file_write syncs */
    require(f && fwrite(data, 1, bytes, f) == bytes && !fclose(f));
    if (tok_open(&t, path, &e)) require(e.status != VM_OK && e.msg[0]);
    else check_text(t, "Abc A caf\xc3\xa9's <|endoftext|> &amp; 12 \xce\xa3 <x> a", 44);
    tok_free(t);
    return 0;
}
