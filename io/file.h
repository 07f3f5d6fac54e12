/* file.h - files, whole or not at all: read, map, write through a temporary neighbour and a rename.
 *
 * Whatever writes a file of its own goes through vm_out (or file_write): the bytes stand in PATH.tmp.PID until
 * vm_out_commit has written, synced and renamed them, so a reader never sees half a file. A failed or short write
 * (ENOSPC, EDQUOT, EFBIG; SIGXFSZ must be ignored, main does) is VM_EIO with the file's name and the bytes. */
#ifndef VM_IO_FILE_H
#define VM_IO_FILE_H
#include "kernels/base.h"

#include <stdio.h>

/* Reads a whole file or pipe ("-" is standard input); *data is NUL-terminated behind its *bytes (which may hold NULs),
 * freed with vm_free. bytes may be NULL. VM_EINPUT when it cannot be opened or is longer than max_bytes (0 = 2 GiB);
 * VM_EIO when reading fails. */
vm_status file_read(char **data, size_t *bytes, const char *path, size_t max_bytes, vm_error *e);

/* A file mapped read-only, private. When another process truncates the file afterwards, touching the lost pages raises
 * SIGBUS: file_of_address tells a signal handler which file it was. file_map_check finds it beforehand. */
typedef struct {
    const uint8_t *data; /* page-aligned; not NULL even for an empty file */
    size_t bytes;
    int fd;
    char *path;
} file_map;
vm_status file_map_open(file_map *m, const char *path, vm_error *e);
vm_status file_map_check(const file_map *m, vm_error *e); /* VM_EINPUT when the file has become shorter */
void file_map_release(const file_map *m, const void *from, size_t bytes); /* drops pages from memory; still readable */
void file_map_close(file_map *m); /* accepts all-zero; zeroes *m */
const char *file_of_address(const void *p); /* path of the mapped file around p, or NULL; async-signal-safe */

/* Streaming writer of one file. "-" and paths that exist but are no regular files (/dev/stdout, a pipe) are written
 * directly. Errors are sticky: after one, all calls return it and commit removes the temporary. */
typedef struct vm_out vm_out;
vm_status vm_out_open(vm_out **out, const char *path, vm_error *e);
vm_status vm_out_write(vm_out *o, const void *data, size_t bytes, vm_error *e); /* buffered */
vm_status vm_out_text(vm_out *o, const char *text, vm_error *e);
vm_status vm_out_printf(vm_out *o, vm_error *e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Reserves the file's full length, so that a disk too small shows before the work; regular files only. */
vm_status vm_out_reserve(vm_out *o, size_t bytes, vm_error *e);
/* Writes at an offset, independent of the streaming position; regular files only. */
vm_status vm_out_write_at(vm_out *o, size_t offset, const void *data, size_t bytes, vm_error *e);
size_t vm_out_bytes(const vm_out *o);               /* streamed so far */
vm_status vm_out_commit(vm_out *o, vm_error *e);    /* flush, fsync, rename, fsync of the directory; frees o */
void vm_out_abort(vm_out *o);                       /* removes the temporary, frees o; accepts NULL */
vm_out *vm_out_in(const char *dir, const char *name, vm_error *e); /* of the file DIR/NAME; NULL on error */
void vm_out_finish(vm_out *o, vm_error *e);         /* commit, or abort when e is set; accepts NULL */

/* Whether PATH could be written now, leaving nothing behind: before long work whose result goes there. */
vm_status file_writable(const char *path, vm_error *e);
/* A whole file at once, atomically. */
vm_status file_write(const char *path, const void *data, size_t bytes, vm_error *e);
/* The file `name` of one folder into another one, when there is such a file. */
vm_status file_copy_named(const char *from, const char *to, const char *name, vm_error *e);

/* A directory that appears complete or not at all (checkpoints): dir_begin makes the empty PATH.tmp.PID and returns its
 * name (vm_free) to write into; dir_commit syncs every file and directory below it, swaps it with PATH and removes the
 * old PATH; dir_abort removes it. */
vm_status dir_begin(char **tmp, const char *path, vm_error *e);
vm_status dir_commit(const char *tmp, const char *path, vm_error *e);
void dir_abort(const char *tmp);

vm_status dir_make(const char *path, vm_error *e);   /* mkdir -p */
vm_status dir_remove(const char *path, vm_error *e); /* rm -r, does not follow links; fine when missing */
vm_status dir_sync(const char *path, vm_error *e);   /* fsync of the directory itself */
/* Names in a directory without . and .., sorted by bytes; *names is one block, freed with vm_free. */
vm_status dir_list(char ***names, int64_t *n, const char *path, vm_error *e);
/* Removes *.tmp.PID left in a directory by processes that are gone from this host and not touched for older_s seconds
 * (other hosts may still write theirs: pass 0 only under a lock). Returns how many, errors are not reported. */
int64_t dir_sweep(const char *path, int64_t older_s);

bool file_exists(const char *path);     /* a file, directory or anything else */
bool file_is_dir(const char *path);
int64_t file_bytes(const char *path);   /* size of a regular file; -1 when there is none */
/* Bytes that an ordinary user may still write on the file system of path (or its nearest existing parent). */
vm_status file_disk_free(int64_t *bytes, const char *path, vm_error *e);

char *path_join(const char *dir, const char *name); /* name alone when it is absolute or dir is ""; vm_free */
char *path_dir(const char *path);                   /* "a/b" of "a/b/c", "." of "c"; vm_free */
const char *path_base(const char *path);            /* "c" of "a/b/c", inside path */

/* An exclusive lock on PATH.lock (fcntl OFD lock, freed by the kernel when the process ends), whose text names the
 * owner. VM_ELOCKED names host, process and since when. The file stays. */
typedef struct {
    int fd; /* -1 = none; { .fd = -1 } before the first use */
} file_lock;
vm_status file_lock_take(file_lock *l, const char *path, vm_error *e);
void file_lock_free(file_lock *l);
/* For file systems that grant none: from now on every lock of this process counts as taken, whoever else has it. False when that was so
 * already. */
bool file_locks_off(void);

#endif
