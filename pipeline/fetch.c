/* fetch.c - see fetch.h. The hub's interface:
 *   GET ENDPOINT/api/models/ORG/NAME/revision/REV?blobs=true   { "sha", "siblings": [ { "rfilename", "size", "blobId",
 *                                                                "lfs": { "sha256", "size" } } ] }
 *   GET ENDPOINT/ORG/NAME/resolve/COMMIT/PATH                  the file, often by a redirect to another host */
#include "pipeline/fetch.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/file.h"
#include "io/json.h"
#include "io/log.h"
#include "io/progress.h"
#include "pipeline/run.h"

struct fetcher {
    CURL *curl;
    struct curl_slist *headers;
    char *endpoint;
};

/* --- set-up ------------------------------------------------------------------------------------------------------- */
static bool is_on(const char *name) {
    const char *v = getenv(name);
    return v && v[0] && strcmp(v, "0") && strcasecmp(v, "false") && strcasecmp(v, "no") && strcasecmp(v, "off");
}

/* "Authorization: Bearer TOKEN", or NULL without a token. libcurl drops this header when a redirect leaves the host. */
static char *authorization(vm_error *e) {
    const char *token = getenv("HF_TOKEN"), *home = getenv("HF_HOME"), *user = getenv("HOME");
    char *path = NULL, *text = NULL, *line = NULL;
    if (!token || !token[0]) {
        path = home && home[0] ? path_join(home, "token") : vm_asprintf("%s/.cache/huggingface/token", user ? user : ".");
        if (path && file_exists(path) && !file_read(&text, NULL, path, 65536, e)) token = text;
    }
    if (token && token[0] && !e->status) {
        int n = (int)strcspn(token, " \t\r\n");
        if (n && !(line = vm_asprintf("Authorization: Bearer %.*s", n, token))) vm_nomem(e, (size_t)n, "a header");
    }
    vm_free(path), vm_free(text);
    return line;
}

vm_status fetch_open(fetcher **out, vm_error *e) {
    const char *endpoint = getenv("HF_ENDPOINT");
    *out = NULL;
    if (is_on("HF_HUB_OFFLINE")) return vm_fail(e, VM_EUSAGE, "HF_HUB_OFFLINE is set: nothing may be fetched; unset it for this command");
    fetcher *f = vm_calloc(1, sizeof *f);
    if (!f) return vm_nomem(e, sizeof *f, "a connection");
    f->endpoint = vm_strdup(endpoint && endpoint[0] ? endpoint : "https://huggingface.co");
    for (size_t n; f->endpoint && (n = strlen(f->endpoint)) && f->endpoint[n - 1] == '/';) f->endpoint[n - 1] = 0;
    char *token = authorization(e);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    f->curl = curl_easy_init();
    if (token) f->headers = curl_slist_append(NULL, token);
    if (!e->status && (!f->endpoint || !f->curl || (token && !f->headers))) vm_nomem(e, 256, "a connection");
    vm_free(token);
    if (e->status) fetch_close(f);
    else *out = f;
    return e->status;
}

void fetch_close(fetcher *f) {
    if (!f) return;
    if (f->curl) curl_easy_cleanup(f->curl);
    curl_slist_free_all(f->headers);
    vm_free(f->endpoint);
    vm_free(f);
    curl_global_cleanup();
}

/* --- one request -------------------------------------------------------------------------------------------------- */
typedef struct {
    fetcher *f;
    char *text; /* into memory, */
    int64_t len, cap;
    int fd; /* or into a file */
    int64_t at, from; /* bytes that are there; that were there before this request */
    int error; /* errno of a failed write */
    progress *bar;
} sink;

enum { MAX_TEXT = 256 << 20 };

static long http_status(CURL *c) {
    long status = 0;
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

static size_t on_data(char *data, size_t one, size_t n, void *ctx) {
    sink *s = ctx;
    n *= one;
    if (run_stopping()) return 0;
    if (http_status(s->f->curl) >= 300) return n; /* words about an error */
    if (s->fd < 0) {
        if (s->len + (int64_t)n > MAX_TEXT || !vm_grow(&s->text, &s->cap, s->len + (int64_t)n + 1, 1)) return 0;
        memcpy(s->text + s->len, data, n);
        s->text[s->len += (int64_t)n] = 0;
        return n;
    }
    if (s->at && s->at == s->from && http_status(s->f->curl) == 200) { /* the server sends all of it again */
        if (ftruncate(s->fd, 0) || lseek(s->fd, 0, SEEK_SET)) return s->error = errno, (size_t)0;
        s->at = s->from = 0;
    }
    for (size_t done = 0; done < n;) {
        ssize_t k = write(s->fd, data + done, n - done);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return s->error = errno ? errno : EIO, (size_t)0;
        done += (size_t)k;
    }
    s->at += (int64_t)n;
    progress_add(s->bar, (int64_t)n);
    return n;
}

/* Stops a transfer that waits for data as well as one that gets some. */
static int on_tick(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) { return run_stopping(); }

static vm_status explain(const sink *s, const char *url, CURLcode rc, const char *words, vm_error *e) {
    long status = http_status(s->f->curl);
    if (run_stopping()) return vm_fail(e, VM_ESTOP, "stopped while %s was fetched; the same command goes on", url);
    if (s->error) return vm_fail(e, VM_EIO, "%s: writing failed: %s; the same command goes on when there is room", url, strerror(s->error));
    if (rc != CURLE_OK) return vm_fail(e, VM_EIO, "%s: %s; the same command goes on", url, words[0] ? words : curl_easy_strerror(rc));
    if (status == 401 || status == 403)
        return vm_fail(e, VM_EINPUT, "%s: refused (HTTP %ld); does the model exist? If it is gated, accept its terms on the hub and set HF_TOKEN", url, status);
    if (status == 404) return vm_fail(e, VM_EINPUT, "%s: not found (HTTP 404); check name and revision", url);
    return vm_fail(e, VM_EIO, "%s: the server answered HTTP %ld; try again later", url, status);
}

/* Fetches url into the sink. Temporary failures (connection, 429, 5xx) are tried again, up to four times in all. */
static vm_status request(sink *s, const char *url, vm_error *e) {
    CURL *c = s->f->curl;
    char words[CURL_ERROR_SIZE], range[32];
    for (int attempt = 1;; attempt++) {
        words[0] = 0;
        curl_easy_reset(c);
        curl_easy_setopt(c, CURLOPT_URL, url);
        curl_easy_setopt(c, CURLOPT_HTTPHEADER, s->f->headers);
        curl_easy_setopt(c, CURLOPT_USERAGENT, "vismin/" VM_VERSION);
        curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
        curl_easy_setopt(c, CURLOPT_MAXREDIRS, 8L);
        curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 30L);
        curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L); /* no byte for a minute: the peer is gone */
        curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, 60L);
        curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(c, CURLOPT_ERRORBUFFER, words);
        curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
        curl_easy_setopt(c, CURLOPT_WRITEDATA, s);
        curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_tick);
        if (s->fd < 0) curl_easy_setopt(c, CURLOPT_ACCEPT_ENCODING, "");
        s->len = 0, s->from = s->at;
        if (s->at > 0) {
            snprintf(range, sizeof range, "%lld-", (long long)s->at);
            curl_easy_setopt(c, CURLOPT_RANGE, range);
        }
        CURLcode rc = curl_easy_perform(c);
        long status = http_status(c);
        if (rc == CURLE_OK && status >= 200 && status < 300) return VM_OK;
        if (s->at > 0 && status == 416) { /* what is there is longer than the file, or all of it: start anew */
            if (ftruncate(s->fd, 0) || lseek(s->fd, 0, SEEK_SET)) s->error = errno;
            s->at = 0;
        } else if (run_stopping() || s->error || (rc == CURLE_OK && status != 429 && status < 500) || rc == CURLE_COULDNT_RESOLVE_HOST ||
                   rc == CURLE_COULDNT_CONNECT || rc == CURLE_URL_MALFORMAT || rc == CURLE_UNSUPPORTED_PROTOCOL) {
            return explain(s, url, rc, words, e);
        }
        if (attempt == 4 || s->error) return explain(s, url, rc, words, e);
        vm_info("%s: %s; trying again", url, rc == CURLE_OK ? "the server is busy" : curl_easy_strerror(rc));
        for (int tenth = 0; tenth < 5 << attempt && !run_stopping(); tenth++) usleep(100000);
    }
}

/* --- lists -------------------------------------------------------------------------------------------------------- */
/* Paths of a repository become paths of this machine: none may leave the snapshot. */
static bool path_is_safe(const char *p) {
    if (!p[0] || p[0] == '/' || strchr(p, '\\')) return false;
    for (const char *part = p; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL) {
        size_t n = strcspn(part, "/");
        if (!n || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.')) return false;
    }
    return true;
}

static vm_status add_file(fetch_list *l, json_value v, size_t *used, vm_error *e) {
    const char *path = json_as_str(json_need(v, "rfilename", JSON_STRING, e), e);
    json_value lfs = json_get(v, "lfs");
    if (e->status) return e->status;
    if (!path_is_safe(path)) return json_fail(v, e, "the file name \"%.200s\" leads out of the model's folder", path);
    if (!vm_grow(&l->file, &l->cap, l->n + 1, sizeof *l->file)) return vm_nomem(e, sizeof *l->file, "a list of files");
    fetch_file *f = &l->file[l->n++];
    *f = (fetch_file){ .bytes = json_int(json_has(lfs) ? lfs : v, "size", -1, 0, INT64_MAX, e) };
    const char *hash = json_str(lfs, "sha256", json_has(lfs) ? "" : json_str(v, "blobId", "", e), e);
    size_t n = strlen(hash);
    if ((n == 40 || n == 64) && strspn(hash, "0123456789abcdef") == n) memcpy(f->hash, hash, n + 1);
    f->path = memcpy(l->text + *used, path, strlen(path) + 1);
    *used += strlen(path) + 1;
    return e->status;
}

vm_status fetch_files(fetch_list *l, fetcher *f, const hub_name *n, vm_error *e) {
    sink s = { .f = f, .fd = -1 };
    size_t used = 0;
    *l = (fetch_list){ 0 };
    char *url = vm_asprintf("%s/api/models/%s/revision/%s?blobs=true", f->endpoint, n->repo, n->revision);
    if (!url) return vm_nomem(e, 256, "an address");
    json_doc *d = request(&s, url, e) ? NULL : json_parse(s.text ? s.text : "", (size_t)s.len, url, 0, e);
    const char *commit = json_str(json_root(d), "sha", "", e);
    json_value files = d ? json_need(json_root(d), "siblings", JSON_ARRAY, e) : (json_value){ 0 };
    if (!e->status && !hub_is_commit(commit)) vm_fail(e, VM_EINPUT, "%s: found sha \"%.60s\", expected a commit", url, commit);
    if (!e->status) memcpy(l->commit, commit, 41);
    if (!e->status && !(l->text = vm_alloc((size_t)s.len + 1))) vm_nomem(e, (size_t)s.len, "a list of files");
    for (json_iter it = json_each(files); !e->status && json_next(&it);) add_file(l, it.value, &used, e);
    json_free(d);
    vm_free(s.text), vm_free(url);
    if (e->status) fetch_list_free(l);
    return e->status;
}

void fetch_list_free(fetch_list *l) {
    vm_free(l->file), vm_free(l->text);
    *l = (fetch_list){ 0 };
}

/* --- files -------------------------------------------------------------------------------------------------------- */
/* snapshots/COMMIT/PATH -> ../../blobs/HASH, with one more ".." for every folder in PATH. */
static vm_status link_file(const char *folder, const char *commit, const fetch_file *file, vm_error *e) {
    int depth = 2;
    for (const char *p = file->path; (p = strchr(p, '/')); p++) depth++;
    char *link = vm_asprintf("%s/snapshots/%s/%s", folder, commit, file->path), *dir = link ? path_dir(link) : NULL;
    char *tmp = link ? vm_asprintf("%s.tmp.%d", link, (int)getpid()) : NULL, *target = vm_asprintf("%*sblobs/%s", 3 * depth, "", file->hash);
    for (int k = 0; target && k < depth; k++) memcpy(target + 3 * k, "../", 3);
    if (!dir || !target || !tmp) vm_nomem(e, 256, "a path");
    else if (!dir_make(dir, e)) {
        unlink(tmp);
        if (symlink(target, tmp) || rename(tmp, link)) vm_fail(e, VM_EIO, "%s: cannot make the link: %s", link, strerror(errno));
    }
    vm_free(link), vm_free(dir), vm_free(target), vm_free(tmp);
    return e->status;
}

/* Waits while another process of this machine fetches the same file. */
static vm_status wait_for_lock(file_lock *lock, const char *path, vm_error *e) {
    for (bool said = false;; said = true) {
        vm_error busy = { 0 };
        if (!file_lock_take(lock, path, &busy)) return VM_OK;
        if (busy.status != VM_ELOCKED) return *e = busy, e->status;
        if (!said) vm_info("%s; waiting for it", busy.msg);
        if (run_stopping()) return vm_fail(e, VM_ESTOP, "stopped while waiting for another process");
        usleep(200000);
    }
}

/* A path as part of an address: all but letters, digits and "/-_.~" as %XX (RFC 3986). vm_free. */
static char *escape(const char *path) {
    static const char hex[] = "0123456789ABCDEF";
    char *text = vm_alloc(3 * strlen(path) + 1), *to = text;
    for (const char *p = path; text && *p; p++) {
        uint8_t c = (uint8_t)*p;
        if (c < 128 && (isalnum(c) || strchr("/-_.~", c))) *to++ = *p;
        else *to++ = '%', *to++ = hex[c >> 4], *to++ = hex[c & 15];
    }
    if (text) *to = 0;
    return text;
}

static vm_status download(fetcher *f, const hub_name *n, const char *commit, const fetch_file *file, const char *blob, vm_error *e) {
    char *part = vm_asprintf("%s.incomplete", blob), *path = escape(file->path);
    char *url = path ? vm_asprintf("%s/%s/resolve/%s/%s", f->endpoint, n->repo, commit, path) : NULL;
    sink s = { .f = f, .fd = part && url ? open(part, O_RDWR | O_CREAT | O_CLOEXEC, 0644) : -1 };
    bool good = false;
    if (!part || !url) {
        vm_nomem(e, 256, "a path");
    } else if (s.fd < 0) {
        vm_fail(e, VM_EIO, "%s: cannot be written: %s", part, strerror(errno));
    } else {
        s.at = lseek(s.fd, 0, SEEK_END);
        if (file->bytes >= 0 && s.at > file->bytes) s.at = ftruncate(s.fd, 0) ? s.at : lseek(s.fd, 0, SEEK_SET);
        s.bar = progress_start(file->path, file->bytes, "bytes");
        progress_skip(s.bar, s.at);
        if (s.at != file->bytes || file->bytes <= 0) request(&s, url, e);
        progress_end(s.bar);
        if (!e->status && fsync(s.fd)) vm_fail(e, VM_EIO, "%s: cannot be synced: %s", part, strerror(errno));
    }
    if (s.fd >= 0) close(s.fd);
    if (!e->status && !hub_verify(&good, part, file->hash, e)) {
        if (!good) {
            unlink(part);
            vm_fail(e, VM_EINPUT, "%s: the contents do not have the hash %s that the hub names; they were thrown away, try again", url, file->hash);
        } else if (rename(part, blob)) {
            vm_fail(e, VM_EIO, "%s: cannot be renamed: %s", part, strerror(errno));
        }
    }
    vm_free(part), vm_free(path), vm_free(url);
    return e->status;
}

vm_status fetch_one(bool *fresh, fetcher *f, const hub_name *n, const char *commit, const fetch_file *file, vm_error *e) {
    char *folder = hub_folder(n->repo), *root = hub_root();
    char *blobs = folder ? path_join(folder, "blobs") : NULL, *blob = blobs ? path_join(blobs, file->hash) : NULL;
    char *locks = root && folder ? vm_asprintf("%s/.locks/%s", root, path_base(folder)) : NULL, *name = locks ? path_join(locks, file->hash) : NULL;
    file_lock lock = { .fd = -1 };
    *fresh = false;
    if (!blob || !name) vm_nomem(e, 256, "a path");
    else if (!file->hash[0]) vm_fail(e, VM_EINPUT, "%s: the hub names no hash for %s", n->repo, file->path);
    else if (!dir_make(blobs, e) && !dir_make(locks, e) && !wait_for_lock(&lock, name, e)) {
        if (!file_exists(blob) && !download(f, n, commit, file, blob, e)) *fresh = true;
        if (!e->status) link_file(folder, commit, file, e);
    }
    file_lock_free(&lock);
    vm_free(folder), vm_free(root), vm_free(blobs), vm_free(blob), vm_free(locks), vm_free(name);
    return e->status;
}

vm_status fetch_finish(const hub_name *n, const char *commit, vm_error *e) {
    char *folder = hub_folder(n->repo), *ref = folder ? vm_asprintf("%s/refs/%s", folder, n->revision) : NULL, *dir = ref ? path_dir(ref) : NULL;
    if (!dir) vm_nomem(e, 256, "a path");
    else if (!hub_is_commit(n->revision) && !dir_make(dir, e)) file_write(ref, commit, 40, e);
    vm_free(folder), vm_free(ref), vm_free(dir);
    return e->status;
}
