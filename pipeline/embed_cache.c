/* embed_cache.c - see embed_cache.h. */
#include "pipeline/embed_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/keymap.h"
#include "io/log.h"

enum { HEADER = 64, KEY = sizeof(embed_key), WAITING = 32, VERSION = 1 };
static const char magic[8] = { 'V', 'M', 'V', 'E', 'C', 'T', 'O', 'R' };

struct embed_cache {
    char *path;
    int fd;
    size_t record; /* bytes */
    int64_t dim;
    uint8_t identity[32];
    file_map old;     /* the file as it was when it was opened */
    keymap keys;      /* all that is known to be in the file or to wait */
    int64_t *at;      /* of each key: number of the record in old, LATER = added since */
    int64_t cap_at;
    uint8_t *waiting; /* WAITING records */
    int64_t n_waiting;
    int64_t known;    /* records of the file whose keys are in keys */
    int64_t found, added, damaged;
    bool mute;        /* something failed: nothing is written any more */
};
enum { LATER = -1 };

/* --- keys --------------------------------------------------------------------------------------------------------- */
embed_key embed_key_text(const char *text) {
    embed_key k;
    sha256 s;
    sha256_start(&s);
    sha256_add(&s, "text", 5);
    sha256_add(&s, text, strlen(text));
    sha256_end(&s, k.of);
    return k;
}

embed_key embed_key_picture(const char *content, const image_options *o) {
    const int32_t how[] = { (int32_t)o->alpha, o->stored_orientation, o->tolerant };
    embed_key k;
    sha256 s;
    sha256_start(&s);
    sha256_add(&s, "picture", 8);
    sha256_add(&s, how, sizeof how);
    sha256_add(&s, content, strlen(content));
    sha256_end(&s, k.of);
    return k;
}

/* --- the file ----------------------------------------------------------------------------------------------------- */
static bool lock_file(int fd, short type) {
    struct flock l = { .l_type = type, .l_whence = SEEK_SET };
    int rc;
    do rc = fcntl(fd, F_OFD_SETLKW, &l);
    while (rc < 0 && errno == EINTR);
    return rc == 0;
}

static bool write_at(int fd, const void *data, size_t bytes, int64_t at) {
    for (const uint8_t *p = data; bytes;) {
        ssize_t n = pwrite(fd, p, bytes, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        p += n, at += n, bytes -= (size_t)n;
    }
    return true;
}

static void make_header(const embed_cache *c, uint8_t h[HEADER]) {
    const uint32_t number[2] = { VERSION, (uint32_t)c->dim };
    memset(h, 0, HEADER);
    memcpy(h, magic, sizeof magic), memcpy(h + 8, number, sizeof number), memcpy(h + 16, c->identity, 32);
    uint32_t crc = crc32c(0, h, HEADER - 4);
    memcpy(h + HEADER - 4, &crc, sizeof crc);
}

static bool record_ok(const embed_cache *c, const uint8_t *r) {
    uint32_t crc;
    memcpy(&crc, r + c->record - 4, sizeof crc);
    return crc == crc32c(0, r, c->record - 4);
}

/* Ties a key to a place, unless it has one. false when memory is out. */
static bool tie(embed_cache *c, const uint8_t *key, int64_t at) {
    int64_t before = c->keys.n, i = keymap_put(&c->keys, key, KEY);
    if (i < 0 || !vm_grow(&c->at, &c->cap_at, c->keys.n, sizeof *c->at)) return false;
    if (i == before) c->at[i] = at;
    return true;
}

static void give_up(embed_cache *c, const char *why) {
    if (!c->mute) vm_warn("%s: %s; nothing more is kept in it", c->path, why);
    c->mute = true;
}

/* Header and records of the mapped file. What is wrong with it, or NULL. */
static const char *read_old(embed_cache *c) {
    uint8_t want[HEADER];
    make_header(c, want);
    if (c->old.bytes < HEADER || memcmp(c->old.data, want, sizeof magic)) return "is no file of vectors";
    if (memcmp(c->old.data, want, HEADER)) return "holds vectors of another model or its header is damaged";
    c->known = (int64_t)((c->old.bytes - HEADER) / c->record);
    for (int64_t i = 0; i < c->known; i++) {
        const uint8_t *r = c->old.data + HEADER + (size_t)i * c->record;
        if (!record_ok(c, r)) c->damaged++;
        else if (!tie(c, r, i)) return "needs more memory than there is";
    }
    if (c->damaged)
        vm_warn("%s: %" PRId64 " of %" PRId64 " vectors are damaged and are computed again; delete the file to be rid of "
                "this",
                c->path, c->damaged, c->known);
    return NULL;
}

/* A new file gets its header. What is wrong, or NULL. */
static const char *open_file(embed_cache *c, vm_error *bad) {
    uint8_t header[HEADER], found[HEADER];
    const char *why = NULL;
    ssize_t there;
    if ((c->fd = open(c->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666)) < 0) return strerror(errno);
    if (!lock_file(c->fd, F_WRLCK)) return strerror(errno);
    make_header(c, header);
    there = pread(c->fd, found, HEADER, 0);
    if (there < 0) why = strerror(errno);
    else if (there < HEADER && !memcmp(found, header, (size_t)there) && !write_at(c->fd, header, HEADER, 0))
        why = strerror(errno); /* a new file, or one whose maker was killed */
    if (!why && file_map_open(&c->old, c->path, bad)) why = bad->msg;
    if (!why) why = read_old(c);
    lock_file(c->fd, F_UNLCK);
    return why;
}

static void free_cache(embed_cache *c) {
    if (!c) return;
    if (c->fd >= 0) close(c->fd);
    file_map_close(&c->old);
    keymap_free(&c->keys);
    vm_free(c->at), vm_free(c->waiting), vm_free(c->path);
    vm_free(c);
}

vm_status embed_cache_open(embed_cache **out, const char *dir, const char *identity, int64_t dim, vm_error *e) {
    embed_cache *c = vm_calloc(1, sizeof *c);
    vm_error bad = { 0 };
    char name[17];
    sha256 s;
    *out = NULL;
    if (!c) return vm_nomem(e, sizeof *c, "a cache");
    sha256_start(&s);
    sha256_add(&s, identity, strlen(identity));
    sha256_end(&s, c->identity);
    hex_text(name, c->identity, 8);
    c->fd = -1, c->dim = dim, c->record = KEY + (size_t)dim * sizeof(float) + 4;
    c->path = vm_asprintf("%s/%s.vectors", dir, name), c->waiting = vm_alloc(WAITING * c->record);
    if (!c->path || !c->waiting) vm_nomem(e, WAITING * c->record, "a cache");
    else if (!dir_make(dir, e)) {
        const char *why = open_file(c, &bad);
        if (!why) return *out = c, VM_OK;
        vm_warn("%s: %s; it is ignored, and nothing is kept in it", c->path, why);
    }
    free_cache(c);
    return e->status;
}

/* --- use ---------------------------------------------------------------------------------------------------------- */
bool embed_cache_get(embed_cache *c, const embed_key *k, float *out) {
    int64_t i = c ? keymap_find(&c->keys, k->of, KEY) : -1;
    if (i < 0 || c->at[i] == LATER) return false;
    memcpy(out, c->old.data + HEADER + (size_t)c->at[i] * c->record + KEY, (size_t)c->dim * sizeof *out);
    c->found++;
    return true;
}

/* Keys that other processes have added since. */
static bool learn(embed_cache *c, int64_t records) {
    for (; c->known < records; c->known++) {
        uint8_t key[KEY];
        off_t at = HEADER + (off_t)c->known * (off_t)c->record;
        if (pread(c->fd, key, KEY, at) != KEY || !tie(c, key, LATER)) return false;
    }
    return true;
}

/* Appends what waits behind the last whole record; a torn one is cut off. */
static void flush(embed_cache *c) {
    int64_t n = c->n_waiting;
    if (!n || c->mute) return;
    if (!lock_file(c->fd, F_WRLCK)) {
        give_up(c, strerror(errno));
        return;
    }
    off_t size = lseek(c->fd, 0, SEEK_END);
    int64_t records = size < HEADER ? 0 : (int64_t)((size_t)(size - HEADER) / c->record);
    int64_t end = HEADER + records * (int64_t)c->record;
    if (size < HEADER) {
        give_up(c, "somebody has cut the file short");
    } else if (end < size && ftruncate(c->fd, (off_t)end)) {
        give_up(c, strerror(errno));
    } else if (!write_at(c->fd, c->waiting, (size_t)n * c->record, end)) {
        give_up(c, strerror(errno));
        if (ftruncate(c->fd, (off_t)end)) {} /* else the next writer does it */
    } else if (!learn(c, records)) {
        give_up(c, "it cannot be read any more");
    } else {
        c->added += n, c->known = records + n, c->n_waiting = 0;
    }
    lock_file(c->fd, F_UNLCK);
}

void embed_cache_put(embed_cache *c, const embed_key *k, const float *v) {
    if (!c || c->mute || keymap_find(&c->keys, k->of, KEY) >= 0) return;
    for (int64_t i = 0; i < c->dim; i++)
        if (!isfinite(v[i])) return;
    if (!tie(c, k->of, LATER)) {
        give_up(c, "no memory for more vectors");
        return;
    }
    uint8_t *r = c->waiting + (size_t)c->n_waiting++ * c->record;
    memcpy(r, k->of, KEY), memcpy(r + KEY, v, (size_t)c->dim * sizeof *v);
    uint32_t crc = crc32c(0, r, c->record - 4);
    memcpy(r + c->record - 4, &crc, sizeof crc);
    if (c->n_waiting == WAITING) flush(c);
}

void embed_cache_close(embed_cache *c) {
    if (!c) return;
    flush(c);
    vm_info("%s: %" PRId64 " vectors found, %" PRId64 " added", c->path, c->found, c->added);
    free_cache(c);
}
