/* fetch.h - files of a model hub over HTTP, into the shared cache (io/hub.h). The only place that opens a socket for
 * models, and only when `vismin weights get` asks for it. */
#ifndef VM_FETCH_H
#define VM_FETCH_H
#include "io/hub.h"

/* A file of a repository as the hub lists it. */
typedef struct {
    const char *path; /* in the repository */
    int64_t bytes;    /* -1 = not said */
    char hash[65];    /* SHA-256 of large files, git's SHA-1 of others: the blob's name; "" = not said */
} fetch_file;

typedef struct {
    char commit[41];
    fetch_file *file;
    int64_t n, cap;
    char *text; /* the paths */
} fetch_list;

typedef struct fetcher fetcher;
/* endpoint: $HF_ENDPOINT, else the public hub. Token: $HF_TOKEN, else the file $HF_HOME/token; it is sent to the
 * endpoint's host only, and to no other one after a redirect. VM_EUSAGE when $HF_HUB_OFFLINE forbids it. */
vm_status fetch_open(fetcher **out, vm_error *e);
void fetch_close(fetcher *f); /* accepts NULL */

/* The files of a revision. */
vm_status fetch_files(fetch_list *l, fetcher *f, const hub_name *n, vm_error *e);
void fetch_list_free(fetch_list *l);

/* One file into the cache: ROOT/.../blobs/HASH.incomplete, continued where an earlier attempt ended, verified, renamed, and
 * linked from snapshots/COMMIT. *fresh: bytes were fetched. Another process at work on it: waits for it. VM_EIO: the
 * server or the disk failed, VM_EINPUT: refused, or wrong contents; what is there stays for the next attempt. */
vm_status fetch_one(bool *fresh, fetcher *f, const hub_name *n, const char *commit, const fetch_file *file, vm_error *e);
/* refs/REVISION = commit: after all files are there. */
vm_status fetch_finish(const hub_name *n, const char *commit, vm_error *e);
#endif
