/* Fuzzes the decoders of BMP, GIF, lossless WebP and .npy, which are our own: the first byte picks the format. */
#include <string.h>

#include "io/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static const struct {
        const char *start;
        size_t n;
    } formats[] = {{"BM", 2}, {"GIF89a", 6}, {"RIFF\0\0\0\0WEBPVP8L\xff\xff\xff\x7f/", 21},
                 {"\x93NUMPY", 6}};
    if (!n--) return 0;
    const int f = data[0] % VM_LEN(formats);
    const size_t all = n + formats[f].n;
    uint8_t *d = vm_alloc(all);
    memcpy(d, formats[f].start, formats[f].n);
    memcpy(d + formats[f].n, data + 1, n);
    for (int k = 0; k < 4; k++) {
        const image_options o = {.alpha = k & 1 ? ALPHA_WHITE : ALPHA_KEEP, .tolerant = k & 2, .max_side = 256, .max_pixels = 1 << 14};
        vm_image im;
        image_decode(&im, d, all, "x", &o, NULL);
        image_free(&im);
    }
    vm_free(d);
    if (vm_mem_used()) __builtin_trap();
    return 0;
}
