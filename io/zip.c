/* zip.c - see zip.h. */
#include "io/zip.h"

#include <stdlib.h>
#include <string.h>

enum { LOCAL = 30, CENTRAL = 46, END = 22, END64 = 56, LOCATOR = 20, MAX_COMMENT = 65535 };

static uint64_t little(const uint8_t *p, int n) {
    uint64_t v = 0;
    while (n-- > 0) v = v << 8 | p[n];
    return v;
}
static uint32_t u16(const uint8_t *p) { return (uint32_t)little(p, 2); }
static uint64_t u32(const uint8_t *p) { return little(p, 4); }
static bool is(const uint8_t *p, const char *sign) { return !memcmp(p, sign, 4); }

typedef struct {
    const uint8_t *p;
    size_t bytes;
    const char *name; /* of the archive */
    vm_error *e;
} archive;

/* What the directory says of an entry, and how far the entry reaches in the file. */
typedef struct {
    uint64_t header, stored, bytes, crc, end;
    uint32_t flags, method;
} place;

/* --- the end of the file: where the directory is ------------------------------------------------------------------ */
typedef struct {
    uint64_t n, bytes, at;
} directory;

static vm_status find_directory(const archive *a, directory *d) {
    size_t end = a->bytes, least = a->bytes > END + MAX_COMMENT ? a->bytes - END - MAX_COMMENT : 0;
    bool found = false;
    for (size_t at = a->bytes >= END ? a->bytes - END : 0; a->bytes >= END && !found && at + 1 > least; at--) {
        found = is(a->p + at, "PK\5\6") && u16(a->p + at + 20) == a->bytes - at - END;
        end = at;
        if (!at) break;
    }
    if (!found)
        return vm_fail(a->e, VM_EINPUT, "%s: a zip archive without its end record; the file is cut off or damaged",
                       a->name);
    const uint8_t *r = a->p + end;
    *d = (directory){ u16(r + 10), u32(r + 12), u32(r + 16) };
    if (u16(r + 4) || u16(r + 6) || u16(r + 8) != d->n)
        return vm_fail(a->e, VM_EINPUT, "%s: byte %zu: the zip archive is spread over several disks", a->name, end);
    if (end >= LOCATOR && is(r - LOCATOR, "PK\6\7")) {
        uint64_t at = little(r - LOCATOR + 8, 8);
        if (end < END64 + LOCATOR || at > end - LOCATOR - END64 || !is(a->p + at, "PK\6\6"))
            return vm_fail(a->e, VM_EINPUT, "%s: byte %zu: the zip64 end record is not where its locator says", a->name,
                           end - LOCATOR);
        directory small = *d;
        r = a->p + at;
        *d = (directory){ little(r + 32, 8), little(r + 40, 8), little(r + 48, 8) };
        if ((small.n != 0xffff && small.n != d->n) || (small.at != 0xffffffff && small.at != d->at) ||
            (small.bytes != 0xffffffff && small.bytes != d->bytes))
            return vm_fail(a->e, VM_EINPUT, "%s: the two end records of the zip archive contradict each other",
                           a->name);
        if (u32(r + 16) || u32(r + 20) || little(r + 24, 8) != d->n)
            return vm_fail(a->e, VM_EINPUT, "%s: byte %zu: the zip archive is spread over several disks", a->name,
                           (size_t)at);
        end = (size_t)at;
    }
    if (d->at > end || d->bytes != end - d->at)
        return vm_fail(
            a->e, VM_EINPUT,
            "%s: the zip directory of %llu bytes at byte %llu does not end at byte %zu, where its end record begins",
            a->name, (unsigned long long)d->bytes, (unsigned long long)d->at, end);
    if (d->n > d->bytes / CENTRAL)
        return vm_fail(a->e, VM_EINPUT, "%s: %llu zip entries in a directory of %llu bytes", a->name,
                       (unsigned long long)d->n, (unsigned long long)d->bytes);
    return VM_OK;
}

/* --- entries ------------------------------------------------------------------------------------------------------ */
/* Zip64 extra field: 8 bytes for each given number that is all ones, in this order. False when one is missing. */
static bool widen(const uint8_t *x, size_t bytes, uint64_t **v, int n) {
    int need = 0;
    for (int k = 0; k < n; k++) need += *v[k] == 0xffffffff;
    while (need && bytes >= 4) {
        size_t len = u16(x + 2);
        if (len > bytes - 4) return false;
        if (u16(x) == 1) {
            const uint8_t *p = x + 4;
            for (int k = 0; k < n; k++)
                if (*v[k] == 0xffffffff) {
                    if (p + 8 > x + 4 + len) return false;
                    *v[k] = little(p, 8), p += 8;
                }
            return true;
        }
        x += 4 + len, bytes -= 4 + len;
    }
    return !need;
}

/* The descriptor behind the data: [sign] crc stored bytes, sizes of 4 or of 8 bytes. Its length, 0 when none fits. */
static size_t descriptor(const uint8_t *p, size_t room, const place *x) {
    for (int sign = 1; sign >= 0; sign--)
        for (int wide = 0; wide < 2; wide++) {
            const uint8_t *q = p + 4 * sign;
            int w = wide ? 8 : 4;
            size_t len = (size_t)(4 * sign + 4 + 2 * w);
            if (len <= room && (!sign || is(p, "PK\7\10")) && u32(q) == x->crc && little(q + 4, w) == x->stored &&
                little(q + 4 + w, w) == x->bytes)
                return len;
        }
    return 0;
}

/* The entry's own header against the directory, whose name has n bytes at `name`. limit: where the directory begins. */
static vm_status check_local(const archive *a, place *x, const uint8_t *name, size_t n, uint64_t limit,
                             zip_entry *out) {
    const char *wrong = NULL;
    bool inside = x->header <= limit && limit - x->header >= LOCAL;
    const uint8_t *h = a->p + (inside ? x->header : 0);
    if (!inside || !is(h, "PK\3\4")) {
        wrong = "has no header of its own where the directory says";
        goto done;
    }
    uint64_t stored = u32(h + 18), bytes = u32(h + 22), at = x->header + LOCAL;
    size_t n_extra = u16(h + 28);
    if (u16(h + 26) != n || limit - at < n + n_extra || memcmp(h + LOCAL, name, n)) {
        wrong = "has another name in its own header";
        goto done;
    }
    bool later = (u16(h + 6) & 8) && !stored && !bytes;
    if (!widen(h + LOCAL + n, n_extra, (uint64_t *[]){ &bytes, &stored }, 2) || u16(h + 8) != x->method ||
        (u16(h + 6) & 1)) {
        wrong = "has a header of its own that says something else";
        goto done;
    }
    at += n + n_extra;
    if (x->stored > limit - at) {
        wrong = "reaches into the directory";
        goto done;
    }
    x->end = at + x->stored;
    if (u16(h + 6) & 8) {
        size_t len = descriptor(a->p + x->end, (size_t)(limit - x->end), x);
        if (!len && later) wrong = "has no descriptor with the directory's sizes behind its data";
        x->end += len;
    }
    if (!later && (stored != x->stored || bytes != x->bytes)) wrong = "has other sizes in its own header";
    *out = (zip_entry){ .data = x->method ? NULL : a->p + at, .bytes = (size_t)x->stored };
done:
    if (!wrong) return VM_OK;
    return vm_fail(a->e, VM_EINPUT, "%s: zip entry \"%.*s\" at byte %llu %s", a->name, (int)VM_MIN(n, (size_t)200),
                   (const char *)name, (unsigned long long)x->header, wrong);
}

/* One record of the directory at *p with `left` bytes to its end. */
static vm_status read_entry(const archive *a, const uint8_t **p, size_t left, uint64_t limit, place *x, zip_entry *out,
                            char *text) {
    const uint8_t *r = *p;
    if (left < CENTRAL || !is(r, "PK\1\2"))
        return vm_fail(a->e, VM_EINPUT, "%s: byte %zu: no record of the zip directory", a->name, (size_t)(r - a->p));
    size_t n = u16(r + 28), n_extra = u16(r + 30), len = CENTRAL + n + n_extra + u16(r + 32);
    if (left < len)
        return vm_fail(a->e, VM_EINPUT, "%s: byte %zu: a record of the zip directory reaches beyond it", a->name,
                       (size_t)(r - a->p));
    *x = (place){ .flags = u16(r + 8),
                  .method = u16(r + 10),
                  .crc = u32(r + 16),
                  .stored = u32(r + 20),
                  .bytes = u32(r + 24),
                  .header = u32(r + 42) };
    memcpy(text, r + CENTRAL, n);
    text[n] = 0;
    const char *wrong = !n || memchr(text, 0, n) ? "has no proper name"
                        : (x->flags & 1)         ? "is encrypted"
                        : u16(r + 34)            ? "lies on another disk"
                        : !widen(r + CENTRAL + n, n_extra, (uint64_t *[]){ &x->bytes, &x->stored, &x->header }, 3)
                            ? "lacks its zip64 sizes"
                        : !x->method && x->stored != x->bytes ? "is stored with another size than its own"
                                                              : NULL;
    if (wrong) return vm_fail(a->e, VM_EINPUT, "%s: zip entry \"%.200s\" %s", a->name, text, wrong);
    *p = r + len;
    vm_status st = check_local(a, x, r + CENTRAL, n, limit, out);
    out->name = text;
    return st;
}

static int by_place(const void *a, const void *b) {
    const place *x = a, *y = b;
    return (x->header > y->header) - (x->header < y->header);
}
static int by_name(const void *a, const void *b) {
    return strcmp(((const zip_entry *)a)->name, ((const zip_entry *)b)->name);
}

vm_status zip_open(zip_dir *z, const uint8_t *data, size_t bytes, const char *name, vm_error *e) {
    archive a = { data, bytes, name, e };
    directory d = { 0 };
    *z = (zip_dir){ 0 };
    vm_status st = find_directory(&a, &d);
    if (st) return st;
    size_t n = (size_t)d.n;
    place *x = vm_calloc(n + 1, sizeof *x);
    z->entry = vm_calloc(n + 1, sizeof *z->entry);
    z->text = vm_alloc((size_t)d.bytes + 1); /* a name and its final 0 are shorter than their record */
    if (!x || !z->entry || !z->text) st = vm_nomem(e, (size_t)d.bytes, name);
    const uint8_t *p = data + d.at;
    char *text = z->text;
    for (size_t i = 0; i < n && !st; i++) {
        st = read_entry(&a, &p, (size_t)(data + d.at + d.bytes - p), d.at, &x[i], &z->entry[i], text);
        if (!st) text += strlen(text) + 1, z->n++;
    }
    if (!st && p != data + d.at + d.bytes)
        st = vm_fail(e, VM_EINPUT, "%s: bytes behind the last record of the zip directory", name);
    if (!st && n) qsort(x, n, sizeof *x, by_place), qsort(z->entry, n, sizeof *z->entry, by_name);
    for (size_t i = 1; i < n && !st; i++) {
        if (x[i].header < x[i - 1].end)
            st = vm_fail(e, VM_EINPUT, "%s: two zip entries overlap at byte %llu", name,
                         (unsigned long long)x[i].header);
        else if (!strcmp(z->entry[i - 1].name, z->entry[i].name))
            st = vm_fail(e, VM_EINPUT, "%s: zip entry \"%.200s\" stands twice", name, z->entry[i].name);
    }
    vm_free(x);
    if (st) zip_close(z);
    return st;
}

void zip_close(zip_dir *z) {
    vm_free(z->entry);
    vm_free(z->text);
    *z = (zip_dir){ 0 };
}

const zip_entry *zip_find(const zip_dir *z, const char *name) {
    zip_entry key = { .name = name };
    return z->n ? bsearch(&key, z->entry, (size_t)z->n, sizeof *z->entry, by_name) : NULL;
}
