/* Fuzzes the JPEG decoder. */
#include <string.h>

#include "io/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n < 3) return 0;
    uint8_t *d = vm_alloc(n);
    memcpy(d, data, n);
    memcpy(d, "\xff\xd8\xff", 3);
    for (int tolerant = 0; tolerant < 2; tolerant++) {
        vm_image im;
        image_decode(&im, d, n, "x", &(image_options){.tolerant = tolerant, .max_side = 256, .max_pixels = 1 << 14}, NULL);
        image_free(&im);
    }
    vm_free(d);
    if (vm_mem_used()) __builtin_trap();
    return 0;
}
