/* fuzz_tar.c - any bytes as a tar archive: ends with a sentence or with members that lie in it, one behind the other.
 * Sums of headers are set right where the first byte says so, or nothing would be reached behind them. */
#include "io/tar.h"
#include "tests/tar_parts.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (!bytes) return 0;
    size_t n = bytes - 1, files = 0;
    uint8_t *file = malloc(n + 1), *copy = file; /* exactly sized */
    memcpy(file, data + 1, n);
    for (size_t at = 0; data[0] % 2 && at + 512 <= n && at < 16 * 512; at += 512) tar_sum(file + at);
    tar_reader r = tar_open(copy, n, "input");
    tar_entry x;
    vm_error e = { 0 };
    const uint8_t *after = file;
    int rc;
    while ((rc = tar_next(&r, &x, &e)) > 0) {
        if (x.data < after || x.bytes > n || x.data + x.bytes > file + n || strlen(x.name) >= TAR_NAME)
            __builtin_trap();
        after = x.data + x.bytes;
        if (++files > n / 512 + 1) __builtin_trap();
    }
    if ((rc < 0) != (e.status == VM_EINPUT) || (rc < 0 && !e.msg[0])) __builtin_trap();
    free(file);
    if (vm_mem_used()) __builtin_trap();
    return 0;
}
