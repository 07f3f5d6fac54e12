/* journal.h - append-only JSON Lines that survive kill -9, full disks and power loss.
 *
 * A line is one JSON object whose last member is "crc":"8 hex", the CRC-32C of the line's bytes before that member (the
 * comma before it included):   {"k":"a1","st":"ok","crc":"5d9d1bf4"}
 * Each record is one write() in append mode; one writer at a time (lock on PATH.lock, VM_ELOCKED names its owner). When
 * opened for writing a bad last line is cut off: it was being written when the process ended. A bad line elsewhere
 * stops with its number, because something else than a crash has damaged the file. After a short write (disk full) the
 * file is cut back to the last whole record. A failed sync is never retried: the journal takes no more records, and
 * what is on disk shows at the next opening. */
#ifndef VM_IO_JOURNAL_H
#define VM_IO_JOURNAL_H
#include "kernels/base.h"

typedef struct journal journal;

/* Opens for appending, makes the file if needed, locks, checks every line, cuts a bad last one. VM_ELOCKED, VM_EINPUT
 * (bad line), VM_EIO. */
vm_status journal_open(journal **out, const char *path, vm_error *e);
/* Appends the JSON object `text` (one line, no "crc" of its own) and its crc. It is in the file when this returns, and
 * on the disk after the next sync: with every 64th record, with the first one 5 seconds after the last sync, at
 * journal_sync and at journal_close. After VM_EIO for want of room the journal can be used on. */
vm_status journal_append(journal *j, const char *text, size_t bytes, vm_error *e);
vm_status journal_sync(journal *j, vm_error *e);
vm_status journal_close(journal *j, vm_error *e); /* syncs, unlocks, frees; accepts NULL */
/* Where lines before the last one are damaged: the file is copied to PATH.bad and goes on without them; *lost is their number. For those whose
 * records can be made again. VM_ELOCKED: somebody writes it. */
vm_status journal_salvage(const char *path, int64_t *lost, vm_error *e);
int64_t journal_lines(const journal *j);
int64_t journal_bytes(const journal *j);
int64_t journal_cut(const journal *j); /* bytes of the bad last line that opening cut off */

/* Reading, also while another process appends: a bad last line counts as the end. */
typedef struct journal_reader journal_reader;
typedef struct {
    const char *text; /* the whole object with its crc, without line feed; not terminated; valid until the next call */
    size_t bytes;
    int64_t number;   /* from 1 */
} journal_line;
/* A missing file is an empty journal. */
vm_status journal_reader_open(journal_reader **out, const char *path, vm_error *e);
int journal_next(journal_reader *r, journal_line *line, vm_error *e); /* 1 line, 0 end, -1 bad line before the last */
void journal_reader_close(journal_reader *r);

/* True when the bytes (without line feed) are a line as above. Only the crc and the braces are checked; a line whose
 * crc is right is what a writer once passed. */
bool journal_line_ok(const char *text, size_t bytes);
#endif
