/* fuzz_csv.c - any text as a table: ends, and fields are terminated strings. The first byte chooses the delimiter. */
#include "io/csv.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (!bytes) return 0;
    csv_reader *r;
    csv_row row;
    vm_error e = { 0 };
    size_t rows = 0, text = 0;
    int flags = data[0] & 1 ? CSV_HEADER : 0;
    char delimiter = data[0] & 2 ? '\t' : data[0] & 4 ? ',' : 0;
    if (csv_open_text(&r, (const char *)data + 1, bytes - 1, "input", delimiter, flags, &e)) {
        if (!e.msg[0] || r) __builtin_trap();
        return 0;
    }
    for (int rc; (rc = csv_next(r, &row, &e)); rows++) {
        if (rc < 0 && e.status != VM_EINPUT) __builtin_trap();
        for (int64_t i = 0; rc > 0 && i < row.n; i++) text += strlen(row.field[i]) + 1;
        vm_error_clear(&e);
        if (rows > bytes || text > 2 * bytes) __builtin_trap();
    }
    csv_close(r);
    if (vm_mem_used()) __builtin_trap();
    return 0;
}
