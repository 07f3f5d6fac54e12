/* tfevents.c - see tfevents.h. */
#include "io/tfevents.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/file.h"
#include "io/hash.h"

enum { HEAD = 12, TAIL = 4 }; /* bytes of a record before and behind its data */

struct tfevents {
    char *path;
    uint8_t *buf; /* the record that is being made */
    int64_t n, cap;
    int fd;
    int64_t bytes; /* of the file */
    bool nomem;
};

static uint32_t masked(const void *data, size_t n) {
    uint32_t c = crc32c(0, data, n);
    return (c >> 15 | c << 17) + 0xa282ead8u;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */
static void put(tfevents *t, const void *data, size_t n) {
    if (t->nomem || !vm_grow(&t->buf, &t->cap, t->n + (int64_t)n, 1)) t->nomem = true;
    else memcpy(t->buf + t->n, data, n), t->n += (int64_t)n;
}
static void put_little(tfevents *t, uint64_t v, int bytes) {
    uint8_t b[8];
    for (int k = 0; k < bytes; k++) b[k] = (uint8_t)(v >> 8 * k);
    put(t, b, (size_t)bytes);
}
static void put_varint(tfevents *t, uint64_t v) {
    for (; v >> 7; v >>= 7) put_little(t, (v & 127) | 128, 1);
    put_little(t, v, 1);
}
static void put_field(tfevents *t, int field, int wire) { put_varint(t, (uint64_t)field << 3 | (uint64_t)wire); }
static int varint_bytes(uint64_t v) {
    int n = 1;
    while (v >>= 7) n++;
    return n;
}
static void put_double(tfevents *t, int field, double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_field(t, field, 1), put_little(t, bits, 8);
}

/* Value: tag and number. */
static size_t value_bytes(const char *tag) { return 1 + (size_t)varint_bytes(strlen(tag)) + strlen(tag) + 5; }
static void put_value(tfevents *t, const char *tag, double v) {
    float f = (float)v;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    put_field(t, 1, 2), put_varint(t, value_bytes(tag));
    put_field(t, 1, 2), put_varint(t, strlen(tag)), put(t, tag, strlen(tag));
    put_field(t, 2, 5), put_little(t, bits, 4);
}

static void begin(tfevents *t) {
    t->n = 0, t->nomem = false;
    put_little(t, 0, 8), put_little(t, 0, 4); /* HEAD, filled in by finish */
}

/* Closes the record and writes it with one call; a short write is taken back. */
static vm_status finish(tfevents *t, vm_error *e) {
    size_t n = (size_t)t->n - HEAD;
    uint32_t c = t->nomem ? 0 : masked(t->buf + HEAD, n);
    put_little(t, c, 4);
    if (t->nomem) return vm_nomem(e, n, t->path);
    for (int k = 0; k < 8; k++) t->buf[k] = (uint8_t)((uint64_t)n >> 8 * k);
    c = masked(t->buf, 8);
    for (int k = 0; k < 4; k++) t->buf[8 + k] = (uint8_t)(c >> 8 * k);
    ssize_t k;
    do k = write(t->fd, t->buf, (size_t)t->n);
    while (k < 0 && errno == EINTR);
    if (k == t->n) return t->bytes += t->n, VM_OK;
    vm_fail(e, VM_EIO, "%s: writing stopped: %s", t->path, k < 0 ? strerror(errno) : "no room");
    if (k > 0 && ftruncate(t->fd, (off_t)t->bytes)) t->nomem = true;
    return VM_EIO;
}

vm_status tfevents_put(tfevents *t, double wall_time, int64_t step, int n, const char *const *tags,
                       const double *values, vm_error *e) {
    uint64_t bytes = 0;
    for (int k = 0; k < n; k++) bytes += 1 + (uint64_t)varint_bytes(value_bytes(tags[k])) + value_bytes(tags[k]);
    begin(t);
    put_double(t, 1, wall_time);
    put_field(t, 2, 0), put_varint(t, (uint64_t)step);
    put_field(t, 5, 2), put_varint(t, bytes);
    for (int k = 0; k < n; k++) put_value(t, tags[k], values[k]);
    return finish(t, e);
}

/* --- what is there already ---------------------------------------------------------------------------------------- */
static uint64_t little(const uint8_t *p, int n) {
    uint64_t v = 0;
    while (n-- > 0) v = v << 8 | p[n];
    return v;
}

/* A varint at *p, which moves behind it; 0 at the end of the data. */
static uint64_t varint(const uint8_t **p, const uint8_t *end) {
    uint64_t v = 0;
    for (int shift = 0; *p < end; shift += 7) {
        uint8_t b = *(*p)++;
        if (shift < 64) v |= (uint64_t)(b & 127) << shift;
        if (!(b & 128)) return v;
    }
    return 0;
}

/* The step of an Event; 0 when it has none. */
static int64_t step_of(const uint8_t *p, size_t n) {
    for (const uint8_t *end = p + n; p < end;) {
        uint64_t key = varint(&p, end), len = key & 7;
        if (key == (2 << 3)) return (int64_t)varint(&p, end);
        if (len == 0) varint(&p, end);
        len = len == 1 ? 8 : len == 5 ? 4 : len == 2 ? varint(&p, end) : 0;
        if (len > (uint64_t)(end - p)) break;
        p += len;
    }
    return 0;
}

int64_t tfevents_good(const uint8_t *data, size_t bytes, int64_t last_step) {
    size_t at = 0;
    while (bytes - at >= HEAD + TAIL) {
        const uint8_t *p = data + at;
        uint64_t n = little(p, 8);
        if (little(p + 8, 4) != masked(p, 8)) break;
        if (n > bytes - at - HEAD - TAIL || little(p + HEAD + n, 4) != masked(p + HEAD, n)) break;
        if (step_of(p + HEAD, n) > last_step) break;
        at += HEAD + n + TAIL;
    }
    return bytes && !at ? -1 : (int64_t)at;
}

vm_status tfevents_open(tfevents **out, const char *path, int64_t last_step, vm_error *e) {
    tfevents *t = vm_calloc(1, sizeof *t);
    file_map m = { 0 };
    *out = t;
    if (!t || !(t->path = vm_strdup(path))) {
        vm_free(t);
        *out = NULL;
        return vm_nomem(e, sizeof *t, path);
    }
    t->fd = -1;
    if (file_exists(path)) {
        if (file_map_open(&m, path, e)) goto fail;
        t->bytes = tfevents_good(m.data, m.bytes, last_step);
        file_map_close(&m);
        if (t->bytes < 0) {
            vm_fail(e, VM_EINPUT, "%s: is no event file of TensorBoard; move it away", path);
            goto fail;
        }
    }
    if ((t->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) < 0 ||
        ftruncate(t->fd, (off_t)t->bytes)) {
        vm_fail(e, VM_EIO, "%s: cannot be opened for appending: %m", path);
        goto fail;
    }
    if (t->bytes) return VM_OK;
    begin(t);
    put_field(t, 3, 2), put_varint(t, 13), put(t, "brain.Event:2", 13);
    if (!finish(t, e)) return VM_OK;
fail:
    tfevents_close(t);
    *out = NULL;
    return e->status;
}

void tfevents_close(tfevents *t) {
    if (!t) return;
    if (t->fd >= 0) close(t->fd);
    vm_free(t->path), vm_free(t->buf), vm_free(t);
}
