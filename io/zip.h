/* zip.h - archives whose entries stand in them uncompressed (PyTorch checkpoints), looked at where they lie in memory.
 *
 * Checked at opening (APPNOTE 6.3.9): the directory lies in the file and ends where its end record begins; no entry
 * is encrypted or on another disk; name and sizes of its local header (or of the descriptor behind its data) are
 * those of the directory; entries do not overlap; no name stands twice. Zip64 is read. Check sums are not compared.
 * Compressed entries are listed without data. */
#ifndef VM_IO_ZIP_H
#define VM_IO_ZIP_H
#include "kernels/base.h"

typedef struct {
    const char *name;
    const uint8_t *data; /* NULL when compressed */
    size_t bytes;        /* in the archive */
} zip_entry;

typedef struct {
    zip_entry *entry; /* sorted by name (bytes) */
    int64_t n;
    char *text; /* the names */
} zip_dir;

/* data stays where it is and must outlive z; name stands in messages. VM_EINPUT for malformed archives. */
vm_status zip_open(zip_dir *z, const uint8_t *data, size_t bytes, const char *name, vm_error *e);
void zip_close(zip_dir *z);                                    /* accepts all-zero; zeroes *z */
const zip_entry *zip_find(const zip_dir *z, const char *name); /* NULL if there is none */

#endif
