/* file_out.c - writing a file whole or not at all. See file.h. */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROOM = 1 << 18 };

struct vm_out {
    char *path, *tmp; /* tmp NULL: written directly */
    int fd;
    vm_error err;
    size_t streamed, held; /* bytes accepted by vm_out_write; of those still in buf */
    char buf[ROOM];
};

static vm_status fail(vm_out *o, vm_error *e, vm_status s, const char *what) {
    if (!o->err.status) vm_fail(&o->err, s, "%s: %s: %m", o->path, what);
    return vm_fail(e, o->err.status, "%s", o->err.msg);
}

/* at < 0: at the file's own position */
static vm_status write_all(vm_out *o, const char *p, size_t n, int64_t at, vm_error *e) {
    for (size_t done = 0; done < n;) {
        size_t want = VM_MIN(n - done, (size_t)1 << 30);
        ssize_t k = at < 0 ? write(o->fd, p + done, want) : pwrite(o->fd, p + done, want, (off_t)(at + (int64_t)done));
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) {
            bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
            vm_fail(&o->err, VM_EIO, "%s: writing stopped at byte %zu, %zu bytes more were to come: %m%s", o->path,
                    (at < 0 ? o->streamed - o->held : (size_t)at) + done, n - done,
                    full ? "; make room and run again" : "");
            return vm_fail(e, VM_EIO, "%s", o->err.msg);
        }
        done += (size_t)k;
    }
    return VM_OK;
}

static vm_status flush(vm_out *o, vm_error *e) {
    if (o->err.status) return vm_fail(e, o->err.status, "%s", o->err.msg);
    vm_status st = write_all(o, o->buf, o->held, -1, e);
    if (!st) o->held = 0;
    return st;
}

vm_status vm_out_open(vm_out **out, const char *path, vm_error *e) {
    *out = NULL;
    vm_out *o = vm_alloc(sizeof *o);
    if (!o) return vm_nomem(e, sizeof *o, path);
    memset(o, 0, offsetof(vm_out, buf));
    bool to_stdout = !strcmp(path, "-");
    o->path = vm_strdup(to_stdout ? "standard output" : path);
    struct stat s;
    bool direct = to_stdout || (stat(path, &s) == 0 && !S_ISREG(s.st_mode));
    if (!direct) o->tmp = vm_asprintf("%s.tmp.%ld", path, (long)getpid());
    vm_status st = VM_OK;
    if (!o->path || (!direct && !o->tmp)) st = vm_nomem(e, strlen(path), "a file name");
    else if (to_stdout) o->fd = 1;
    else if (direct) o->fd = open(path, O_WRONLY | O_CLOEXEC);
    else o->fd = open(o->tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (!st && o->fd < 0) st = vm_fail(e, VM_EIO, "%s: cannot be written: %m", path);
    if (st) vm_free(o->path), vm_free(o->tmp), vm_free(o);
    else *out = o;
    return st;
}

vm_status vm_out_write(vm_out *o, const void *data, size_t bytes, vm_error *e) {
    if (o->held + bytes > ROOM && flush(o, e)) return o->err.status;
    if (o->err.status) return vm_fail(e, o->err.status, "%s", o->err.msg);
    o->streamed += bytes;
    if (bytes > ROOM) {
        o->streamed -= bytes;
        vm_status st = write_all(o, data, bytes, -1, e);
        o->streamed += bytes;
        return st;
    }
    if (bytes) memcpy(o->buf + o->held, data, bytes);
    o->held += bytes;
    return VM_OK;
}

vm_status vm_out_text(vm_out *o, const char *text, vm_error *e) { return vm_out_write(o, text, strlen(text), e); }

vm_status vm_out_printf(vm_out *o, vm_error *e, const char *fmt, ...) {
    char small[512], *big = NULL;
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    vm_status st = VM_OK;
    if (n >= (int)sizeof small) {
        if ((big = vm_alloc((size_t)n + 1))) vsnprintf(big, (size_t)n + 1, fmt, again);
        else st = vm_nomem(e, (size_t)n, o->path);
    }
    if (!st && n > 0) st = vm_out_write(o, big ? big : small, (size_t)n, e);
    va_end(ap), va_end(again);
    vm_free(big);
    return st;
}

vm_status vm_out_reserve(vm_out *o, size_t bytes, vm_error *e) {
    if (o->err.status) return vm_fail(e, o->err.status, "%s", o->err.msg);
    if (!o->tmp) return errno = ESPIPE, fail(o, e, VM_EIO, "a regular file is needed");
    if (!bytes || fallocate(o->fd, 0, 0, (off_t)bytes) == 0) return VM_OK;
    if (errno == EOPNOTSUPP || errno == ENOSYS) { /* a file system without reservation: only the length is set */
        if (ftruncate(o->fd, (off_t)bytes) == 0) return VM_OK;
    }
    vm_fail(&o->err, VM_EIO, "%s: no room for its %zu bytes: %m; make room and run again", o->path, bytes);
    return vm_fail(e, VM_EIO, "%s", o->err.msg);
}

vm_status vm_out_write_at(vm_out *o, size_t offset, const void *data, size_t bytes, vm_error *e) {
    if (o->err.status) return vm_fail(e, o->err.status, "%s", o->err.msg);
    if (!o->tmp) return errno = ESPIPE, fail(o, e, VM_EIO, "a regular file is needed");
    return write_all(o, data, bytes, (int64_t)offset, e);
}

size_t vm_out_bytes(const vm_out *o) { return o->streamed; }

static void discard(vm_out *o) {
    if (o->fd > 1) close(o->fd);
    if (o->tmp) unlink(o->tmp);
    vm_free(o->path), vm_free(o->tmp), vm_free(o);
}

vm_status vm_out_commit(vm_out *o, vm_error *e) {
    vm_status st = flush(o, e);
    if (!st && o->tmp && fsync(o->fd)) st = fail(o, e, VM_EIO, "syncing failed");
    int fd = o->fd;
    o->fd = -1;
    if (fd > 1 && close(fd) && errno != EINTR && !st) st = fail(o, e, VM_EIO, "closing failed");
    if (!st && o->tmp) {
        if (rename(o->tmp, o->path)) {
            st = fail(o, e, VM_EIO, "renaming the finished file failed");
        } else {
            vm_free(o->tmp);
            o->tmp = NULL;
            char *dir = path_dir(o->path);
            st = dir ? dir_sync(dir, e) : vm_nomem(e, strlen(o->path), "a file name");
            vm_free(dir);
        }
    }
    discard(o);
    return st;
}

void vm_out_abort(vm_out *o) {
    if (o) discard(o);
}

vm_status file_writable(const char *path, vm_error *e) {
    vm_out *o;
    if (!vm_out_open(&o, path, e)) vm_out_abort(o);
    return e->status;
}

vm_status file_write(const char *path, const void *data, size_t bytes, vm_error *e) {
    vm_out *o;
    vm_status st = vm_out_open(&o, path, e);
    if (st) return st;
    if ((st = vm_out_write(o, data, bytes, e))) {
        vm_out_abort(o);
        return st;
    }
    return vm_out_commit(o, e);
}

vm_out *vm_out_in(const char *dir, const char *name, vm_error *e) {
    char *path = path_join(dir, name);
    vm_out *o = NULL;
    if (!path) vm_nomem(e, 256, "a path");
    else vm_out_open(&o, path, e);
    vm_free(path);
    return o;
}

void vm_out_finish(vm_out *o, vm_error *e) {
    if (!o) return;
    if (e->status) vm_out_abort(o);
    else vm_out_commit(o, e);
}

vm_status file_copy_named(const char *from, const char *to, const char *name, vm_error *e) {
    char *src = path_join(from, name), *dst = path_join(to, name), *data = NULL;
    size_t bytes = 0;
    if (!src || !dst) vm_nomem(e, 256, "a path");
    else if (file_exists(src) && !file_read(&data, &bytes, src, 0, e)) file_write(dst, data, bytes, e);
    vm_free(data), vm_free(src), vm_free(dst);
    return e->status;
}
