/* journal.c - see journal.h. */
#include "io/journal.h"

#include "io/file.h"
#include "io/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TAIL = sizeof "\"crc\":\"01234567\"}" - 1, SYNC_RECORDS = 64, SYNC_SECONDS = 5 };

struct journal {
    char *path, *line; /* line: the record that is being written */
    int64_t line_cap, bytes, lines, cut;
    int fd, unsynced;
    time_t synced_at;
    file_lock lock;
    vm_error broken; /* set when nothing can be appended any more */
};

/* Not mapped: the writer may cut an unfinished record off while it is read. */
struct journal_reader {
    char *path, *buf;
    int64_t pos, len, cap; /* the next line begins at buf[pos]; bytes in buf */
    int64_t number, good;  /* good lines so far, and where the last one ends in the file */
    int fd;
};

bool journal_line_ok(const char *text, size_t bytes) {
    if (bytes < 1 + TAIL || text[0] != '{' || memchr(text, '\n', bytes)) return false;
    char want[TAIL + 1];
    size_t n = bytes - TAIL;
    snprintf(want, sizeof want, "\"crc\":\"%08x\"}", crc32c(0, text, n));
    return !memcmp(text + n, want, TAIL);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */
vm_status journal_reader_open(journal_reader **out, const char *path, vm_error *e) {
    *out = NULL;
    journal_reader *r = vm_calloc(1, sizeof *r);
    if (!r || !(r->path = vm_strdup(path))) {
        vm_free(r);
        return vm_nomem(e, sizeof *r, path);
    }
    if ((r->fd = open(path, O_RDONLY | O_CLOEXEC)) < 0 && errno != ENOENT) {
        bool wrong_name = errno == EACCES || errno == ENOTDIR;
        vm_status st = vm_fail(e, wrong_name ? VM_EINPUT : VM_EIO, "%s: cannot be opened: %m", path);
        journal_reader_close(r);
        return st;
    }
    *out = r;
    return VM_OK;
}

/* Reads more behind what is held: 1 done, 0 end of file, -1 error. */
static int fill(journal_reader *r, vm_error *e) {
    if (r->fd < 0) return 0;
    if (r->pos) memmove(r->buf, r->buf + r->pos, (size_t)(r->len - r->pos));
    r->len -= r->pos, r->pos = 0;
    if (!vm_grow(&r->buf, &r->cap, r->len + 65536, 1)) return vm_nomem(e, (size_t)r->len, r->path), -1;
    ssize_t k;
    do k = read(r->fd, r->buf + r->len, (size_t)(r->cap - r->len));
    while (k < 0 && errno == EINTR);
    if (k < 0) return vm_fail(e, VM_EIO, "%s: reading failed: %m", r->path), -1;
    r->len += k;
    return k > 0;
}

int journal_next(journal_reader *r, journal_line *line, vm_error *e) {
    int64_t n = 0; /* length of the line as far as it is held */
    for (const char *feed = NULL; !feed;) {
        int64_t held = r->len - r->pos;
        if (held > n) feed = memchr(r->buf + r->pos + n, '\n', (size_t)(held - n));
        n = feed ? feed - (r->buf + r->pos) : held;
        int rc = feed ? 1 : fill(r, e);
        if (rc <= 0) return rc;
    }
    if (!journal_line_ok(r->buf + r->pos, (size_t)n)) {
        int rc = r->pos + n + 1 < r->len ? 1 : fill(r, e);
        if (rc <= 0) return rc;
        vm_fail(e, VM_EINPUT,
                "%s:%lld: the line is damaged (its crc does not fit) and others follow; restore the file, or copy its "
                "good lines with `vismin compact`",
                r->path, (long long)r->number + 1);
        return -1;
    }
    *line = (journal_line){ .text = r->buf + r->pos, .bytes = (size_t)n, .number = ++r->number };
    r->pos += n + 1, r->good += n + 1;
    return 1;
}

void journal_reader_close(journal_reader *r) {
    if (!r) return;
    if (r->fd >= 0) close(r->fd);
    vm_free(r->path), vm_free(r->buf), vm_free(r);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */
static vm_status fail(journal *j, vm_error *e, const char *what) {
    vm_fail(&j->broken, VM_EIO, "%s: %s: %m; nothing more is written, run again to go on", j->path, what);
    return vm_fail(e, VM_EIO, "%s", j->broken.msg);
}

/* Counts the good lines of the file and where they end. */
static vm_status scan(journal *j, vm_error *e) {
    journal_reader *r;
    journal_line line;
    vm_status st = journal_reader_open(&r, j->path, e);
    if (st) return st;
    int rc;
    while ((rc = journal_next(r, &line, e)) > 0) {}
    if (rc < 0) st = e && e->status ? e->status : VM_EINPUT;
    j->lines = r->number, j->bytes = r->good;
    j->cut = VM_MAX(file_bytes(j->path), 0) - j->bytes;
    journal_reader_close(r);
    return st;
}

vm_status journal_open(journal **out, const char *path, vm_error *e) {
    *out = NULL;
    char *dir = NULL;
    journal *j = vm_calloc(1, sizeof *j);
    if (!j) return vm_nomem(e, sizeof *j, path);
    j->fd = j->lock.fd = -1;
    vm_status st;
    if (!(j->path = vm_strdup(path)) || !(dir = path_dir(path))) {
        st = vm_nomem(e, strlen(path), "a file name");
        goto done;
    }
    if ((st = file_lock_take(&j->lock, path, e))) goto done;
    bool is_new = !file_exists(path);
    if ((j->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) < 0) {
        st = vm_fail(e, VM_EIO, "%s: cannot be opened for appending: %m", path);
        goto done;
    }
    if ((st = scan(j, e))) goto done;
    if (j->cut && (ftruncate(j->fd, (off_t)j->bytes) || fdatasync(j->fd)))
        st = fail(j, e, "its unfinished last line cannot be cut off");
    if (!st && is_new) st = dir_sync(dir, e);
    j->synced_at = time(NULL);
done:
    vm_free(dir);
    if (st) journal_close(j, NULL);
    else *out = j;
    return st;
}

vm_status journal_sync(journal *j, vm_error *e) {
    if (j->broken.status) return vm_fail(e, j->broken.status, "%s", j->broken.msg);
    if (j->unsynced && fdatasync(j->fd)) return fail(j, e, "syncing failed");
    j->unsynced = 0;
    j->synced_at = time(NULL);
    return VM_OK;
}

vm_status journal_append(journal *j, const char *text, size_t bytes, vm_error *e) {
    if (j->broken.status) return vm_fail(e, j->broken.status, "%s", j->broken.msg);
    if (bytes < 2 || text[0] != '{' || text[bytes - 1] != '}' || memchr(text, '\n', bytes))
        return vm_fail(e, VM_EINPUT, "%s: a record must be one JSON object on one line", j->path);
    if (!vm_grow(&j->line, &j->line_cap, (int64_t)bytes + TAIL + 2, 1)) return vm_nomem(e, bytes, j->path);
    size_t n = bytes - 1; /* without the brace */
    memcpy(j->line, text, n);
    while (n > 1 && (j->line[n - 1] == ' ' || j->line[n - 1] == '\t')) n--;
    if (n > 1) j->line[n++] = ',';
    n += (size_t)snprintf(j->line + n, TAIL + 2, "\"crc\":\"%08x\"}\n", crc32c(0, j->line, n));
    ssize_t k;
    do k = write(j->fd, j->line, n);
    while (k < 0 && errno == EINTR);
    if (k != (ssize_t)n) {
        if (k >= 0) errno = ENOSPC; /* a short write says that the device or a limit is full, without saying which */
        vm_error full = { 0 };
        vm_fail(&full, VM_EIO, "%s: %zd of %zu bytes of a record were written: %m; make room and run again", j->path,
                VM_MAX(k, 0), n);
        if (ftruncate(j->fd, (off_t)j->bytes)) fail(j, NULL, "cutting back an unfinished record failed");
        return vm_fail(e, VM_EIO, "%s", full.msg);
    }
    j->bytes += (int64_t)n, j->lines++;
    if (++j->unsynced >= SYNC_RECORDS || time(NULL) - j->synced_at >= SYNC_SECONDS) return journal_sync(j, e);
    return VM_OK;
}

vm_status journal_close(journal *j, vm_error *e) {
    if (!j) return VM_OK;
    vm_status st = j->fd < 0 ? VM_OK : journal_sync(j, e);
    if (j->fd >= 0) close(j->fd);
    file_lock_free(&j->lock);
    vm_free(j->path), vm_free(j->line), vm_free(j);
    return st;
}

int64_t journal_lines(const journal *j) { return j->lines; }
int64_t journal_bytes(const journal *j) { return j->bytes; }
int64_t journal_cut(const journal *j) { return j->cut; }
