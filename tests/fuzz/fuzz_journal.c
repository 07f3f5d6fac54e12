/* fuzz_journal.c - any bytes as a journal: opening keeps exactly the good lines before the end, or stops and changes
 * nothing. The first byte says how many good lines stand before the rest. */
#include "io/file.h"
#include "io/hash.h"
#include "io/journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static char path[64];
    if (!path[0]) snprintf(path, sizeof path, "/dev/shm/vismin-fuzz-%ld", (long)getpid());
    int good = bytes ? data[0] % 4 : 0;
    FILE *f = fopen(path, "w");
    if (!f) return 0;
    for (int i = 0; i < good; i++) fprintf(f, "{\"crc\":\"%08x\"}\n", crc32c(0, "{", 1));
    if (bytes) fwrite(data + 1, 1, bytes - 1, f);
    fclose(f);
    int64_t before = file_bytes(path), lines = 0;
    journal_reader *r;
    journal_line line;
    vm_error e = { 0 };
    if (journal_reader_open(&r, path, &e)) __builtin_trap();
    int rc;
    while ((rc = journal_next(r, &line, &e)) > 0) lines++;
    journal_reader_close(r);
    vm_error_clear(&e);
    if (lines < good) __builtin_trap();
    journal *j;
    if (journal_open(&j, path, &e)) {
        if (rc != -1 || e.status != VM_EINPUT || file_bytes(path) != before) __builtin_trap();
    } else {
        if (rc || journal_lines(j) != lines || journal_bytes(j) + journal_cut(j) != before) __builtin_trap();
        if (file_bytes(path) != journal_bytes(j)) __builtin_trap();
        if (journal_append(j, "{}", 2, &e) || journal_close(j, &e)) __builtin_trap();
    }
    char lock[80];
    snprintf(lock, sizeof lock, "%s.lock", path);
    unlink(path), unlink(lock);
    if (vm_mem_used()) __builtin_trap();
    return 0;
}
