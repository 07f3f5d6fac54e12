/* fuzz_lm_data.c - any bytes as texts for the training of a language model: lines are refused with a sentence and
 * counted, or they are texts within their length with something to learn, and batches of them are whole. The first byte
 * chooses layout, length and end token. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/file.h"
#include "pipeline/lm_feed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check(const lm_data *d, int64_t longest) {
    int64_t at = 0;
    for (int64_t i = 0; i < d->n; i++) {
        const lm_text *x = &d->text[i];
        bool learns = false;
        if (x->at != at || x->n < 2 || x->n > longest) __builtin_trap();
        for (int64_t k = 1; k < x->n; k++) learns |= d->learnt[x->at + k];
        if (!learns) __builtin_trap();
        at += x->n;
    }
    if (at != d->n_ids || (d->bad > 0) != (d->first_bad[0] != 0) || strlen(d->digest) != 64) __builtin_trap();
}

static void batches(const lm_data *d, bool packs) {
    lm_feed f = { .d = d, .texts = 4, .pieces = 2, .seed = 1, .packs = packs };
    vm_error e = { 0 };
    if (lm_feed_new(&f, &e) || lm_feed_batch(&f, 3, &e)) __builtin_trap();
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < f.piece[k].B * f.piece[k].T; i++)
            if (f.piece[k].ids[i] < 0 || f.piece[k].targets[i] < -100) __builtin_trap();
    lm_feed_free(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static tok *t;
    static char path[64];
    static const char *const layouts[] = { "raw", "chatml", "llama2", "vicuna" };
    vm_error e = { 0 };
    lm_data d = { 0 };
    if (!bytes) return 0;
    if (!t) {
        snprintf(path, sizeof path, "/dev/shm/fuzz_lm_data.%d", (int)getpid());
        if (tok_open(&t, "tests/golden/tokenizer/bytes_qwen2", &e)) __builtin_trap();
    }
    const lm_options o = { .chat = data[0] & 1 ? chat_by_name(layouts[data[0] >> 1 & 3], &e) : NULL,
                           .end = data[0] & 8 ? 2 : -1,
                           .longest = data[0] & 16 ? 5 : 1000 };
    if (file_write(path, data + 1, bytes - 1, &e)) __builtin_trap();
    if (!lm_data_read(&d, (const char *const[]){ path }, 1, t, &o, &e)) check(&d, o.longest), batches(&d, false), batches(&d, true);
    else if (e.status != VM_EINPUT || !e.msg[0]) __builtin_trap();
    lm_data_free(&d);
    unlink(path);
    return 0;
}
