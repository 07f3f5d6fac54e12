/* fuzz_tfevents.c - any bytes as an event file that a training goes on with: what is kept lies in the file, and is kept
 * again. The first byte chooses the last step; sums are set right where it is odd, or nothing would be reached behind
 * them. */
#include "io/hash.h"
#include "io/tfevents.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void put_sum(uint8_t *to, const uint8_t *of, size_t n) {
    uint32_t c = crc32c(0, of, n);
    c = (c >> 15 | c << 17) + 0xa282ead8u;
    for (int k = 0; k < 4; k++) to[k] = (uint8_t)(c >> 8 * k);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (!bytes) return 0;
    size_t n = bytes - 1;
    int64_t last = data[0] >> 1;
    uint8_t *file = malloc(n + 1); /* exactly sized */
    memcpy(file, data + 1, n);
    for (size_t at = 0; data[0] % 2 && n - at >= 16;) {
        size_t len = file[at] % 64;
        memset(file + at, 0, 8), file[at] = (uint8_t)len;
        put_sum(file + at + 8, file + at, 8);
        if (len > n - at - 16) break;
        put_sum(file + at + 12 + len, file + at + 12, len);
        at += 16 + len;
    }
    int64_t good = tfevents_good(file, n, last);
    if (good > (int64_t)n || (good < 0 && !n)) __builtin_trap();
    if (good > 0 && tfevents_good(file, (size_t)good, last) != good) __builtin_trap();
    if (good > 0 && tfevents_good(file, (size_t)good, last + 1) != good) __builtin_trap();
    free(file);
    return 0;
}
