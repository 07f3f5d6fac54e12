/* tar.c - see tar.h. A header is a block of 512 bytes: name 100, mode 8, uid 8, gid 8, size 12, mtime 12, checksum 8,
 * type 1, link 100, "ustar" 6, version 2, owner 32, group 32, device 16, prefix 155. */
#include "io/tar.h"

#include <stdio.h>
#include <string.h>

#include "io/utf8.h"

enum { BLOCK = 512, SIZE_AT = 124, SUM_AT = 148, TYPE_AT = 156, MAGIC_AT = 257, PREFIX_AT = 345 };

tar_reader tar_open(const void *data, size_t bytes, const char *path) {
    return (tar_reader){ .data = data, .bytes = bytes, .path = path };
}

static int bad(const tar_reader *t, vm_error *e, const char *what) {
    vm_fail(e, VM_EINPUT, "%s: byte %zu: %s", t->path, t->at, what);
    return -1;
}

/* Octal digits, ended by a blank, a NUL or the field; or base 256 where the first bit is set. -1 = no number. */
static int64_t number(const uint8_t *p, int n) {
    int64_t v = 0;
    if (*p & 0x80) {
        if (*p != 0x80) return -1; /* negative, or more than 64 bits */
        for (int k = 1; k < n; k++) {
            if (v >> 54) return -1;
            v = v << 8 | p[k];
        }
        return v;
    }
    int k = 0;
    while (k < n && p[k] == ' ') k++;
    for (; k < n && p[k] >= '0' && p[k] <= '7'; k++) v = v << 3 | (p[k] - '0');
    return k < n && p[k] && p[k] != ' ' ? -1 : v;
}

static bool sum_fits(const uint8_t *h) {
    int64_t sum = 0;
    for (int k = 0; k < BLOCK; k++) sum += k >= SUM_AT && k < SUM_AT + 8 ? ' ' : h[k];
    return number(h + SUM_AT, 8) == sum;
}

static bool empty(const uint8_t *h) {
    for (int k = 0; k < BLOCK; k++)
        if (h[k]) return false;
    return true;
}

/* "PREFIX/NAME" of a header. */
static void take_name(tar_reader *t, const uint8_t *h) {
    bool ustar = !memcmp(h + MAGIC_AT, "ustar\0", 6);
    int prefix = ustar ? (int)strnlen((const char *)h + PREFIX_AT, 155) : 0, name = (int)strnlen((const char *)h, 100);
    snprintf(t->name, sizeof t->name, "%.*s%s%.*s", prefix, (const char *)h + PREFIX_AT, prefix ? "/" : "", name,
             (const char *)h);
}

/* The records "LENGTH KEY=VALUE\n" of a pax header that matter here: path and size. What is wrong, or NULL. */
static const char *take_pax(tar_reader *t, const uint8_t *p, size_t n, bool *named, int64_t *size) {
    for (size_t at = 0; at < n;) {
        size_t len = 0, k = at;
        for (; k < n && p[k] >= '0' && p[k] <= '9' && len < n; k++) len = 10 * len + (size_t)(p[k] - '0');
        const uint8_t *key = p + k + 1, *is = k < n && p[k] == ' ' ? memchr(key, '=', n - k - 1) : NULL;
        if (!is || len > n - at || key > p + at + len || is >= p + at + len || p[at + len - 1] != '\n')
            return "a pax header that is no list of records";
        size_t n_key = (size_t)(is - key), n_value = (size_t)(p + at + len - 1 - (is + 1));
        if (n_key == 4 && !memcmp(key, "path", 4)) {
            if (n_value >= TAR_NAME) return "a name of more than 4095 bytes";
            memcpy(t->name, is + 1, n_value), t->name[n_value] = 0, *named = true;
        } else if (n_key == 4 && !memcmp(key, "size", 4)) {
            int64_t v = 0;
            for (size_t i = 0; i < n_value; i++) {
                uint8_t c = is[1 + i];
                if (c < '0' || c > '9' || v > INT64_MAX / 100) return "a pax header with a size that is no number";
                v = 10 * v + (c - '0');
            }
            *size = v;
        } else if (n_key >= 10 && !memcmp(key, "GNU.sparse", 10)) {
            return "a sparse file; pack it without --sparse";
        }
        at += len;
    }
    return NULL;
}

int tar_next(tar_reader *t, tar_entry *entry, vm_error *e) {
    bool named = false;
    int64_t pax_size = -1;
    for (;;) {
        const uint8_t *h = t->data + t->at;
        size_t left = t->bytes - t->at;
        if (!t->at && left >= 2 && h[0] == 0x1f && h[1] == 0x8b)
            return bad(t, e, "the archive is compressed by gzip; unpack it with gunzip");
        if (!left)
            return bad(t, e,
                       t->at ? "the archive is cut off: it ends without its empty blocks" : "the archive is empty");
        if (left < BLOCK)
            return bad(t, e,
                       t->at ? "the archive is cut off within a header" : "no tar archive: shorter than one block");
        if (empty(h)) return 0;
        if (!sum_fits(h))
            return bad(t, e,
                       t->at ? "the header's sum does not fit: the archive is damaged"
                             : "no tar archive: the sum of the first header does not fit");
        int64_t size = number(h + SIZE_AT, 12);
        uint8_t type = h[TYPE_AT];
        bool extension = type == 'x' || type == 'g' || type == 'L' || type == 'K';
        if (!extension && pax_size >= 0) size = pax_size;
        if (!named && !extension) take_name(t, h);
        if (size < 0) return bad(t, e, "a size that is no number");
        left -= BLOCK;
        if ((uint64_t)size > left) {
            char *shown = extension ? NULL : t->name;
            vm_fail(e, VM_EINPUT, "%s: byte %zu: the archive is cut off: %s has %lld bytes and %zu are left", t->path,
                    t->at, shown && utf8_bad(shown, strlen(shown)) == strlen(shown) ? shown : "an entry",
                    (long long)size, left);
            return -1;
        }
        const uint8_t *data = h + BLOCK;
        size_t padded =
            VM_MIN(((size_t)size + BLOCK - 1) / BLOCK * BLOCK, left); /* a last entry without padding is whole */
        const char *wrong = NULL;
        if (type == 'x') wrong = take_pax(t, data, (size_t)size, &named, &pax_size);
        else if (type == 'L' && size >= TAR_NAME) wrong = "a name of more than 4095 bytes";
        else if (type == 'L') memcpy(t->name, data, (size_t)size), t->name[size] = 0, named = true;
        else if (type == 'S') wrong = "a sparse file; pack it without --sparse";
        if (wrong) return bad(t, e, wrong);
        t->at += BLOCK + padded;
        if (extension) continue;
        bool folder = t->name[0] && t->name[strlen(t->name) - 1] == '/'; /* as archives before ustar mark them */
        if ((type == '0' || type == 0 || type == '7') && !folder) {
            *entry = (tar_entry){ t->name, data, (size_t)size };
            return 1;
        }
        named = false, pax_size = -1;
    }
}
