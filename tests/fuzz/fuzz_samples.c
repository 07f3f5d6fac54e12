/* fuzz_samples.c - any bytes as a training file: JSON of every layout, tables, NumPy's records, archives (first byte
 * odd: with the sums of their headers set right). Refused with a sentence, or every group is whole; never more memory
 * than is promised. */
#include "io/samples.h"
#include "tests/tar_parts.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check(const samples *s, size_t n) {
    int64_t sides = 0;
    char hex[65];
    for (int64_t g = 0; g < s->n; g++) {
        const sample_group *x = &s->group[g];
        if (x->n < 1 || x->first < sides || x->first + x->n > s->n_sides) __builtin_trap();
        sides = x->first + x->n;
        for (int64_t k = x->first; k < sides; k++) {
            const sample_side *d = &s->side[k];
            if (d->caption < 0 || d->caption >= s->text_len || d->name >= s->text_len || (k == x->first && d->name < 0))
                __builtin_trap();
            if (!*sample_text(s, d->caption) || (d->name >= 0 && !*sample_text(s, d->name))) __builtin_trap();
            if (k > x->first && (d->name < 0) != s->captions_only) __builtin_trap();
            if (d->archive >= 0 && (d->archive >= s->n_archives || d->at + d->bytes > (int64_t)n)) __builtin_trap();
        }
    }
    for (int64_t k = 0; k < s->n_faults && k < SAMPLES_FAULTS; k++)
        if (!s->fault[k][0]) __builtin_trap();
    if (s->text_len && s->text[s->text_len - 1]) __builtin_trap();
    samples_digest(s, hex);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (!bytes) return 0;
    size_t n = bytes - 1;
    uint8_t *file = malloc(n + 1); /* exactly sized */
    const char *category = "relation";
    samples_options o = { .originals_only = data[0] >> 1 & 1,
                          .n_categories = data[0] >> 2 & 1,
                          .categories = &category };
    samples *s;
    vm_error e = { 0 };
    memcpy(file, data + 1, n);
    for (size_t at = 0; data[0] % 2 && at + 512 <= n && at < 16 * 512; at += 512) tar_sum(file + at);
    vm_mem_limit((size_t)100 << 20);
    if (samples_open_memory(&s, file, n, "input", &o, &e)) {
        if (e.status != VM_EINPUT || !e.msg[0] || s) __builtin_trap();
    } else {
        check(s, n);
        samples_free(s);
    }
    free(file);
    if (vm_mem_used()) __builtin_trap();
    return 0;
}
