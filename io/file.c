/* file.c - reading and mapping files, names of paths. See file.h. */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Opens for reading; a name that does not lead to a file is the user's mistake, all else the system's. */
static vm_status open_input(int *out, const char *path, struct stat *s, vm_error *e) {
    int fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : dup(0);
    if (fd >= 0 && fstat(fd, s) == 0) {
        *out = fd;
        if (!S_ISDIR(s->st_mode)) return VM_OK;
        errno = EISDIR;
    }
    bool wrong_name = errno == ENOENT || errno == ENOTDIR || errno == EACCES || errno == EISDIR || errno == ELOOP ||
                      errno == ENAMETOOLONG;
    vm_status st = vm_fail(e, wrong_name ? VM_EINPUT : VM_EIO, "%s: cannot be opened: %m", path);
    if (fd >= 0) close(fd);
    *out = -1;
    return st;
}

vm_status file_read(char **data, size_t *bytes, const char *path, size_t max_bytes, vm_error *e) {
    *data = NULL;
    if (bytes) *bytes = 0;
    if (!max_bytes) max_bytes = (size_t)1 << 31;
    struct stat s;
    int fd;
    vm_status st = open_input(&fd, path, &s, e);
    if (st) return st;
    char *p = NULL;
    size_t n = 0, room = S_ISREG(s.st_mode) ? (size_t)s.st_size + 1 : 65536; /* one more byte shows the end */
    if (S_ISREG(s.st_mode) && room - 1 > max_bytes) {
        st = vm_fail(e, VM_EINPUT, "%s: %zu bytes long, at most %zu are accepted", path, room - 1, max_bytes);
        goto done;
    }
    for (;;) {
        if (!p || n == room) {
            if (p) room += room / 2 + 4096;
            char *q = vm_realloc(p, room + 1);
            if (!q) {
                st = vm_nomem(e, room, path);
                goto done;
            }
            p = q;
        }
        ssize_t k = read(fd, p + n, VM_MIN(room - n, (size_t)1 << 30));
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) {
            st = vm_fail(e, VM_EIO, "%s: reading failed at byte %zu: %m", path, n);
            goto done;
        }
        if (k == 0) break;
        n += (size_t)k;
        if (n > max_bytes) {
            st = vm_fail(e, VM_EINPUT, "%s: longer than the %zu bytes that are accepted", path, max_bytes);
            goto done;
        }
    }
    p[n] = 0;
    *data = p;
    if (bytes) *bytes = n;
    p = NULL;
done:
    vm_free(p);
    close(fd);
    return st;
}

/* ---- maps: a table of those that are open, which a signal handler reads without locks ---------------------------- */
static struct {
    _Atomic(const uint8_t *) from; /* NULL = free; written last */
    size_t bytes;
    const char *path;
} maps[1024];
static pthread_mutex_t maps_lock = PTHREAD_MUTEX_INITIALIZER;

static void remember(const file_map *m) {
    pthread_mutex_lock(&maps_lock);
    for (int i = 0; i < VM_LEN(maps); i++)
        if (!atomic_load(&maps[i].from)) {
            maps[i].bytes = m->bytes, maps[i].path = m->path;
            atomic_store(&maps[i].from, m->data);
            break;
        }
    pthread_mutex_unlock(&maps_lock);
}

static void forget(const file_map *m) {
    for (int i = 0; i < VM_LEN(maps); i++)
        if (atomic_load(&maps[i].from) == m->data) atomic_store(&maps[i].from, NULL);
}

const char *file_of_address(const void *p) {
    for (int i = 0; i < VM_LEN(maps); i++) {
        const uint8_t *from = atomic_load(&maps[i].from);
        if (from && (uintptr_t)p >= (uintptr_t)from && (uintptr_t)p - (uintptr_t)from < maps[i].bytes)
            return maps[i].path;
    }
    return NULL;
}

vm_status file_map_open(file_map *m, const char *path, vm_error *e) {
    *m = (file_map){ .fd = -1 };
    struct stat s;
    int fd;
    vm_status st = open_input(&fd, path, &s, e);
    if (st) return st;
    m->fd = fd;
    if (!S_ISREG(s.st_mode)) {
        file_map_close(m);
        return vm_fail(e, VM_EINPUT, "%s: no regular file; copy it to one first", path);
    }
    m->path = vm_strdup(path);
    m->bytes = (size_t)s.st_size;
    void *p = MAP_FAILED;
    if (m->path) p = m->bytes ? mmap(NULL, m->bytes, PROT_READ, MAP_PRIVATE, fd, 0) : (void *)(uintptr_t)"";
    if (p == MAP_FAILED) {
        st = m->path ? vm_fail(e, VM_EIO, "%s: mapping %zu bytes failed: %m", path, m->bytes)
                     : vm_nomem(e, strlen(path), "a file name");
        file_map_close(m);
        return st;
    }
    m->data = p;
    if (m->bytes) remember(m);
    return VM_OK;
}

vm_status file_map_check(const file_map *m, vm_error *e) {
    struct stat s;
    if (fstat(m->fd, &s)) return vm_fail(e, VM_EIO, "%s: its size cannot be read: %m", m->path);
    if ((uint64_t)s.st_size < m->bytes)
        return vm_fail(e, VM_EINPUT, "%s: was cut from %zu to %lld bytes while in use; restore it and run again",
                       m->path, m->bytes, (long long)s.st_size);
    return VM_OK;
}

void file_map_release(const file_map *m, const void *from, size_t bytes) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), a = (uintptr_t)from & ~(page - 1), z = (uintptr_t)from + bytes;
    if (m->bytes && bytes) madvise((void *)a, z - a, MADV_DONTNEED);
}

void file_map_close(file_map *m) {
    if (m->data && m->bytes) {
        forget(m);
        munmap((void *)(uintptr_t)m->data, m->bytes);
    }
    if (m->path || m->fd > 0) close(m->fd);
    vm_free(m->path);
    *m = (file_map){ 0 };
}

/* ---- names ------------------------------------------------------------------------------------------------------- */
bool file_exists(const char *path) {
    struct stat s;
    return stat(path, &s) == 0;
}

bool file_is_dir(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

int64_t file_bytes(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISREG(s.st_mode) ? (int64_t)s.st_size : -1;
}

vm_status file_disk_free(int64_t *bytes, const char *path, vm_error *e) {
    char *p = vm_strdup(path);
    struct statvfs v;
    int rc = -1;
    while (p && (rc = statvfs(p, &v)) && errno == ENOENT && strcmp(p, ".") && strcmp(p, "/")) {
        char *up = path_dir(p);
        vm_free(p);
        p = up;
    }
    vm_status st = !p   ? vm_nomem(e, strlen(path), "a file name")
                   : rc ? vm_fail(e, VM_EIO, "%s: free disk space cannot be read: %m", path)
                        : VM_OK;
    vm_free(p);
    *bytes = st ? 0 : (int64_t)VM_MIN((uint64_t)v.f_bavail * v.f_frsize, (uint64_t)INT64_MAX);
    return st;
}

char *path_join(const char *dir, const char *name) {
    size_t n = strlen(dir);
    if (!n || name[0] == '/') return vm_strdup(name);
    return vm_asprintf("%s%s%s", dir, dir[n - 1] == '/' ? "" : "/", name);
}

char *path_dir(const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    while (n > 0 && path[n - 1] != '/') n--;
    while (n > 1 && path[n - 1] == '/') n--;
    return n ? vm_strndup(path, n) : vm_strdup(".");
}

const char *path_base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
