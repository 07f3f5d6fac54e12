/* tar.h - tar archives (POSIX.1-1988 ustar, POSIX.1-2001 pax, GNU long names), looked at where they lie in memory.
 *
 *     tar_reader t = tar_open(map.data, map.bytes, path);
 *     for (int rc; (rc = tar_next(&t, &entry, e)); )      1 a file, 0 the end, -1 e is set
 *
 * Regular files only: folders, links and devices are passed over. Checked: the sum of every header, sizes against the
 * archive, and that it ends with an empty block as every writer leaves one - so a cut archive is noticed wherever it
 * was cut. Compressed archives and sparse files are refused by name. */
#ifndef VM_IO_TAR_H
#define VM_IO_TAR_H
#include "kernels/base.h"

enum { TAR_NAME = 4096 };

typedef struct {
    const uint8_t *data;
    size_t bytes, at;    /* at: the next header */
    const char *path;    /* of the archive, in messages */
    char name[TAR_NAME]; /* of the entry at hand */
} tar_reader;

typedef struct {
    const char *name; /* valid until the next call */
    const uint8_t *data;
    size_t bytes;
} tar_entry;

/* data stays where it is and must outlive the reader, as must path. */
tar_reader tar_open(const void *data, size_t bytes, const char *path);
int tar_next(tar_reader *t, tar_entry *entry, vm_error *e); /* VM_EINPUT */
#endif
