/* dir.c - directories: make, list, remove, sync, swap in whole; locks. See file.h. */
#include "io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

vm_status dir_make(const char *path, vm_error *e) {
    if (file_is_dir(path)) return VM_OK;
    char *p = vm_strdup(path);
    if (!p) return vm_nomem(e, strlen(path), "a file name");
    vm_status st = VM_OK;
    for (char *s = p + 1; !st; s++) {
        char c = *s;
        if (c && c != '/') continue;
        *s = 0;
        if (mkdir(p, 0777) && errno != EEXIST && !file_is_dir(p))
            st = vm_fail(e, VM_EIO, "%s: the directory cannot be made: %m", p);
        *s = c;
        if (!c) break;
    }
    if (!st && !file_is_dir(path))
        st = vm_fail(e, VM_EIO, "%s: a file of this name is in the way of a directory; move it", path);
    vm_free(p);
    return st;
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

vm_status dir_list(char ***names, int64_t *n, const char *path, vm_error *e) {
    *names = NULL, *n = 0;
    DIR *d = opendir(path);
    if (!d) return vm_fail(e, errno == ENOENT || errno == ENOTDIR || errno == EACCES ? VM_EINPUT : VM_EIO,
                           "%s: the directory cannot be read: %m", path);
    vm_status st = VM_OK;
    char *text = NULL;
    int64_t cap = 0, len = 0, count = 0;
    for (;;) {
        errno = 0;
        struct dirent *x = readdir(d);
        if (!x) break;
        if (!strcmp(x->d_name, ".") || !strcmp(x->d_name, "..")) continue;
        int64_t k = (int64_t)strlen(x->d_name) + 1;
        if (!vm_grow(&text, &cap, len + k, 1)) {
            st = vm_nomem(e, (size_t)(len + k), path);
            goto done;
        }
        memcpy(text + len, x->d_name, (size_t)k);
        len += k, count++;
    }
    if (errno) {
        st = vm_fail(e, VM_EIO, "%s: reading the directory failed: %m", path);
        goto done;
    }
    size_t head = (size_t)count * sizeof(char *);
    char **list = vm_alloc(head + (size_t)len + 1);
    if (!list) {
        st = vm_nomem(e, head + (size_t)len, path);
        goto done;
    }
    char *p = (char *)list + head;
    if (len) memcpy(p, text, (size_t)len);
    for (int64_t i = 0; i < count; i++) list[i] = p, p += strlen(p) + 1;
    if (count) qsort(list, (size_t)count, sizeof *list, by_bytes);
    *names = list, *n = count;
done:
    vm_free(text);
    closedir(d);
    return st;
}

/* Calls leave(path) for everything below path and then for path itself; links are not followed. */
static vm_status walk(const char *path, vm_status (*leave)(const char *path, bool is_dir, vm_error *e), vm_error *e) {
    struct stat s;
    if (lstat(path, &s)) return vm_fail(e, VM_EIO, "%s: cannot be looked at: %m", path);
    vm_status st = VM_OK;
    if (S_ISDIR(s.st_mode)) {
        char **names;
        int64_t n;
        st = dir_list(&names, &n, path, e);
        for (int64_t i = 0; i < n && !st; i++) {
            char *sub = path_join(path, names[i]);
            st = sub ? walk(sub, leave, e) : vm_nomem(e, strlen(path), "a file name");
            vm_free(sub);
        }
        vm_free(names);
    }
    return st ? st : leave(path, S_ISDIR(s.st_mode), e);
}

static vm_status remove_one(const char *path, bool is_dir, vm_error *e) {
    if (is_dir ? rmdir(path) : unlink(path)) return vm_fail(e, VM_EIO, "%s: cannot be removed: %m", path);
    return VM_OK;
}

static vm_status sync_one(const char *path, bool is_dir, vm_error *e) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return errno == ELOOP ? VM_OK : vm_fail(e, VM_EIO, "%s: cannot be opened to be synced: %m", path);
    vm_status st = VM_OK;
    /* EINVAL says that this kind of file cannot be synced (pipes, directories of some network file systems) */
    if (fsync(fd) && errno != EINVAL)
        st = vm_fail(e, VM_EIO, "%s: syncing the %s failed: %m", path, is_dir ? "directory" : "file");
    close(fd);
    return st;
}

vm_status dir_remove(const char *path, vm_error *e) {
    struct stat s;
    if (lstat(path, &s) && errno == ENOENT) return VM_OK;
    return walk(path, remove_one, e);
}

vm_status dir_sync(const char *path, vm_error *e) { return sync_one(path, true, e); }

vm_status dir_begin(char **tmp, const char *path, vm_error *e) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    *tmp = vm_asprintf("%.*s.tmp.%ld", (int)n, path, (long)getpid());
    if (!*tmp) return vm_nomem(e, n, "a file name");
    vm_status st = dir_remove(*tmp, e);
    if (!st) st = dir_make(*tmp, e);
    if (st) {
        vm_free(*tmp);
        *tmp = NULL;
    }
    return st;
}

/* Exchanges in one step where the file system can; else PATH.old holds the old content between two renames. */
static vm_status swap(const char *tmp, const char *path, char **old, vm_error *e) {
    *old = NULL;
    struct stat s;
    if (lstat(path, &s) == 0) {
        if (renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RENAME_EXCHANGE) == 0) {
            *old = vm_strdup(tmp);
            return *old ? VM_OK : vm_nomem(e, strlen(tmp), "a file name");
        }
        if (errno != EINVAL && errno != ENOSYS) return vm_fail(e, VM_EIO, "%s: cannot be replaced: %m", path);
        if (!(*old = vm_asprintf("%s.old", path))) return vm_nomem(e, strlen(path), "a file name");
        vm_status st = dir_remove(*old, e);
        if (st) return st;
        if (rename(path, *old)) return vm_fail(e, VM_EIO, "%s: cannot be moved aside: %m", path);
    }
    return rename(tmp, path) ? vm_fail(e, VM_EIO, "%s: renaming the finished directory failed: %m", path) : VM_OK;
}

vm_status dir_commit(const char *tmp, const char *path, vm_error *e) {
    char *name = NULL, *old = NULL, *up = NULL;
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    vm_status st = VM_OK;
    if (!(name = vm_strndup(path, n)) || !(up = path_dir(name))) {
        st = vm_nomem(e, n, "a file name");
        goto done;
    }
    if ((st = walk(tmp, sync_one, e)) || (st = swap(tmp, name, &old, e)) || (st = dir_sync(up, e))) goto done;
    if (old) st = dir_remove(old, e);
done:
    vm_free(name), vm_free(old), vm_free(up);
    return st;
}

void dir_abort(const char *tmp) {
    if (tmp) dir_remove(tmp, NULL);
}

int64_t dir_sweep(const char *path, int64_t older_s) {
    char **names;
    int64_t n, swept = 0;
    if (dir_list(&names, &n, path, NULL)) return 0;
    for (int64_t i = 0; i < n; i++) {
        const char *dot = strrchr(names[i], '.');
        if (!dot || dot - names[i] < 5 || memcmp(dot - 4, ".tmp", 4) || !dot[1] || strlen(dot) > 11) continue;
        if (strspn(dot + 1, "0123456789") != strlen(dot + 1)) continue;
        long pid = strtol(dot + 1, NULL, 10);
        char *p = path_join(path, names[i]);
        struct stat s;
        if (p && pid > 0 && kill((pid_t)pid, 0) && errno == ESRCH && lstat(p, &s) == 0 &&
            time(NULL) - s.st_mtime >= older_s && dir_remove(p, NULL) == VM_OK)
            swept++;
        vm_free(p);
    }
    vm_free(names);
    return swept;
}

/* ---- lock -------------------------------------------------------------------------------------------------------- */
static bool no_locks;
bool file_locks_off(void) {
    bool was = no_locks;
    no_locks = true;
    return !was;
}

vm_status file_lock_take(file_lock *l, const char *path, vm_error *e) {
    l->fd = -1;
    if (no_locks) return VM_OK;
    char *name = vm_asprintf("%s.lock", path), owner[256] = "";
    if (!name) return vm_nomem(e, strlen(path), "a file name");
    vm_status st = VM_OK;
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        st = vm_fail(e, VM_EIO, "%s: cannot be opened: %m", name);
        goto done;
    }
    struct flock f = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    if (fcntl(fd, F_OFD_SETLK, &f)) {
        if (errno != EAGAIN && errno != EACCES) {
            st = vm_fail(e, VM_EIO, "%s: the file system grants no lock: %m; the stages of run directories take --no-lock", name);
            goto done;
        }
        ssize_t n = pread(fd, owner, sizeof owner - 1, 0);
        owner[n > 0 ? n : 0] = 0;
        owner[strcspn(owner, "\n")] = 0;
        st = vm_fail(e, VM_ELOCKED, "%s: locked by %s; wait for it to end, or take another shard", path,
                     owner[0] ? owner : "another process");
        goto done;
    }
    char host[128] = "localhost", since[32];
    gethostname(host, sizeof host - 1);
    time_t now = time(NULL);
    struct tm tm;
    strftime(since, sizeof since, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    int n = snprintf(owner, sizeof owner, "host %s, process %ld, since %s\n", host, (long)getpid(), since);
    /* the text is for people only: a full disk must not prevent the lock */
    if (ftruncate(fd, 0) == 0 && pwrite(fd, owner, (size_t)n, 0) != n && ftruncate(fd, 0)) owner[0] = 0;
    l->fd = fd;
    fd = -1;
done:
    if (fd >= 0) close(fd);
    vm_free(name);
    return st;
}

void file_lock_free(file_lock *l) {
    if (l->fd >= 0) close(l->fd);
    l->fd = -1;
}
