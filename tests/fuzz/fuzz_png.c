/* Fuzzes the PNG decoder: checksums are made right first, so that changes reach what lies behind them. */
#include <string.h>
#include <zlib.h>

#include "io/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fix_checksums(uint8_t *d, size_t n) {
    for (size_t at = 8; n - at >= 12;) {
        const size_t len = (size_t)d[at] << 24 | d[at + 1] << 16 | d[at + 2] << 8 | d[at + 3];
        if (len > n - at - 12) return;
        const uint32_t crc = (uint32_t)crc32(0, d + at + 4, (uInt)len + 4);
        for (int k = 0; k < 4; k++) d[at + 8 + len + (size_t)k] = (uint8_t)(crc >> (24 - 8 * k));
        at += 12 + len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n < 8) return 0;
    uint8_t *d = vm_alloc(n);
    memcpy(d, data, n);
    memcpy(d, "\x89PNG\r\n\x1a\n", 8);
    fix_checksums(d, n);
    for (int k = 0; k < 4; k++) {
        const image_options o = {.alpha = k & 1 ? ALPHA_WHITE : ALPHA_KEEP, .tolerant = k & 2, .max_side = 256, .max_pixels = 1 << 14};
        vm_image im;
        image_decode(&im, d, n, "x", &o, NULL);
        image_free(&im);
    }
    vm_free(d);
    if (vm_mem_used()) __builtin_trap();
    return 0;
}
