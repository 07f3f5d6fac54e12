/* st_header.c - the header of a safetensors file: every rule of safetensors.h.
 *
 * It is read twice with the strict tokenizer: first its grammar is checked and its entries are counted, then they are
 * taken, so the memory used is bounded by the header's own length. No offset leaves this file unchecked. */
#include "io/json_scan.h"
#include "io/st_file.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 100000000 };

typedef struct {
    json_scan s;
    char *room; /* where the next string goes */
} header;

/* The current token's text, kept in the part's text block: unescaping and the quotes make room for the final 0. */
static const char *keep(header *h) {
    char *s = h->room;
    size_t n = json_scan_text(&h->s, s);
    s[n] = 0;
    h->room += n + 1;
    return memchr(s, 0, n) ? NULL : s;
}

/* Up to max integers from 0 of an array; their number, or -1 with the error set. */
static int int_list(header *h, const char *tensor, const char *field, int64_t *out, int max) {
    json_scan *s = &h->s;
    json_token t = json_scan_next(s);
    if (t != JSON_T_ARRAY) {
        json_scan_fail(s, s->from, "tensor \"%.200s\": %s is no array of integers", tensor, field);
        return -1;
    }
    int n = 0;
    while ((t = json_scan_next(s)) != JSON_T_ARRAY_END) {
        int64_t v;
        if (t != JSON_T_NUMBER || !json_scan_int(s, &v) || v < 0) {
            json_scan_fail(s, s->from, "tensor \"%.200s\": %s holds %.*s, expected integers from 0 to 2^63-1", tensor,
                           field, (int)VM_MIN(s->len, 40), s->from);
            return -1;
        }
        if (n == max) {
            json_scan_fail(s, s->from, "tensor \"%.200s\": %s has more than %d entries", tensor, field, max);
            return -1;
        }
        out[n++] = v;
    }
    return n;
}

/* The object behind a tensor's name. */
static vm_status read_tensor(st_tensor *t, header *h, const st_part *p) {
    json_scan *s = &h->s;
    const char *at = s->from;
    int64_t span[2];
    char dtype[16] = "";
    int n_span = -1;
    bool has_shape = false;
    if (json_scan_next(s) != JSON_T_OBJECT) return json_scan_fail(s, at, "tensor \"%.200s\" is no object", t->name);
    while (json_scan_next(s) == JSON_T_KEY) {
        char key[16];
        if (s->len > 12) key[0] = 0; /* no field of ours is longer, even unescaped */
        else key[json_scan_text(s, key)] = 0;
        const char *twice = NULL;
        if (!strcmp(key, "dtype")) {
            if (dtype[0]) twice = key;
            if (json_scan_next(s) != JSON_T_STRING)
                return json_scan_fail(s, s->from, "tensor \"%.200s\": dtype is no string", t->name);
            if (s->len < sizeof dtype) dtype[json_scan_text(s, dtype)] = 0;
            if (!dtype[0]) dtype[0] = '?', dtype[1] = 0; /* longer than any that is known */
        } else if (!strcmp(key, "shape")) {
            if (has_shape) twice = key;
            has_shape = true;
            if ((t->nd = int_list(h, t->name, "shape", t->shape, ST_MAX_DIMS)) < 0) return VM_EINPUT;
        } else if (!strcmp(key, "data_offsets")) {
            if (n_span >= 0) twice = key;
            if ((n_span = int_list(h, t->name, "data_offsets", span, 2)) < 0) return VM_EINPUT;
        } else {
            json_scan_skip(s, JSON_T_KEY);
        }
        if (twice) return json_scan_fail(s, at, "tensor \"%.200s\": %s stands twice", t->name, twice);
    }
    if (!dtype[0] || !has_shape || n_span != 2)
        return json_scan_fail(s, at, "tensor \"%.200s\" lacks %s", t->name,
                              !dtype[0] ? "dtype" : !has_shape ? "shape" : "two data_offsets");
    if (span[0] > span[1] || (uint64_t)span[1] > p->bytes)
        return json_scan_fail(s, at, "tensor \"%.200s\": data_offsets [%lld, %lld] do not lie in the %zu bytes of data",
                              t->name, (long long)span[0], (long long)span[1], p->bytes);
    t->dtype = st_dtype_of(dtype);
    t->data = p->data + span[0];
    t->bytes = (size_t)(span[1] - span[0]);
    size_t len = 1, bytes;
    for (int i = 0; i < t->nd; i++)
        if (!vm_mul_sz(len, (size_t)t->shape[i], &len) || len > INT64_MAX)
            return json_scan_fail(s, at, "tensor \"%.200s\": the product of its shape overflows", t->name);
    t->len = (int64_t)len;
    if (t->dtype == ST_UNKNOWN) return VM_OK;
    if (!vm_mul_sz(len, st_dtype_bytes(t->dtype), &bytes) || bytes != t->bytes)
        return json_scan_fail(s, at, "tensor \"%.200s\": %lld elements of %s, but data_offsets span %zu bytes", t->name,
                              (long long)t->len, dtype, t->bytes);
    return VM_OK;
}

static vm_status read_metadata(st_file *f, header *h) {
    json_scan *s = &h->s;
    if (json_scan_next(s) != JSON_T_OBJECT) return json_scan_fail(s, s->from, "__metadata__ is no object");
    while (json_scan_next(s) == JSON_T_KEY) {
        st_meta_pair m = { .part = (int32_t)f->n_parts - 1 };
        const char *at = s->from;
        m.key = keep(h);
        if (json_scan_next(s) != JSON_T_STRING)
            return json_scan_fail(s, s->from, "__metadata__ holds something else than strings");
        m.value = keep(h);
        if (!m.key || !m.value) return json_scan_fail(s, at, "__metadata__ holds the character U+0000");
        if (!vm_grow(&f->m, &f->cap_meta, f->n_meta + 1, sizeof m)) return vm_nomem(s->e, sizeof m, "metadata");
        f->m[f->n_meta++] = m;
    }
    return VM_OK;
}

static int by_place(const void *a, const void *b) {
    const st_tensor *x = a, *y = b;
    if (x->data != y->data) return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

int st_by_name(const void *a, const void *b) {
    return strcmp(((const st_tensor *)a)->name, ((const st_tensor *)b)->name);
}

int st_by_key(const void *a, const void *b) {
    const st_meta_pair *x = a, *y = b;
    int c = strcmp(x->key, y->key);
    return c ? c : x->part - y->part;
}

/* Tensors must follow each other from the first byte of the data to the last: nothing hidden, nothing used twice. */
static vm_status check_cover(const st_part *p, st_tensor *t, int64_t n, vm_error *e) {
    size_t end = 0;
    if (n) qsort(t, (size_t)n, sizeof *t, by_place);
    for (int64_t i = 0; i < n; i++) {
        size_t begin = (size_t)(t[i].data - p->data);
        if (begin != end)
            return vm_fail(e, VM_EINPUT, "%s: tensor \"%.200s\" begins at byte %zu of the data, expected %zu (%s)",
                           p->name, t[i].name, begin, end,
                           begin < end ? "it overlaps the one before" : "the bytes between belong to none");
        end = begin + t[i].bytes;
    }
    if (end != p->bytes)
        return vm_fail(e, VM_EINPUT, "%s: the tensors end at byte %zu of the data, the file at %zu", p->name, end,
                       p->bytes);
    return VM_OK;
}

/* Appends the tensors and metadata of p, the newest part of f. */
static vm_status read_header(st_file *f, st_part *p, const char *text, size_t bytes, vm_error *e) {
    header h;
    int64_t first = f->n, first_meta = f->n_meta, count = 0;
    char *where = vm_asprintf("%s: header", p->name);
    if (!where) return vm_nomem(e, strlen(p->name), "a file name");
    vm_status st = json_scan_start(&h.s, text, bytes, where, JSON_STRICT, e);
    json_token t = JSON_T_END;
    while (!st && (t = json_scan_next(&h.s)) > JSON_T_END) count += t == JSON_T_KEY && h.s.depth == 1;
    if (st || t == JSON_T_ERROR) {
        st = VM_EINPUT;
        goto done;
    }
    p->text = h.room = vm_alloc(bytes);
    if (!h.room || !vm_grow(&f->t, &f->cap, f->n + count, sizeof *f->t)) {
        st = vm_nomem(e, bytes + (size_t)count * sizeof *f->t, p->name);
        goto done;
    }
    json_scan_start(&h.s, text, bytes, where, JSON_STRICT, e);
    json_scan_next(&h.s);
    bool seen_meta = false;
    while (!st && json_scan_next(&h.s) == JSON_T_KEY) {
        st_tensor x = { .part = (int32_t)f->n_parts - 1 };
        const char *at = h.s.from;
        x.name = keep(&h);
        if (!x.name) {
            st = json_scan_fail(&h.s, at, "a tensor's name holds the character U+0000");
        } else if (!strcmp(x.name, "__metadata__")) {
            st = seen_meta ? json_scan_fail(&h.s, at, "__metadata__ stands twice") : read_metadata(f, &h);
            seen_meta = true;
        } else if (!(st = read_tensor(&x, &h, p))) {
            f->t[f->n++] = x;
        }
    }
    if (st || (st = check_cover(p, f->t + first, f->n - first, e))) goto done;
    if (f->n > first) qsort(f->t + first, (size_t)(f->n - first), sizeof *f->t, st_by_name);
    for (int64_t i = first + 1; i < f->n && !st; i++)
        if (!strcmp(f->t[i - 1].name, f->t[i].name))
            st = vm_fail(e, VM_EINPUT, "%s: the name \"%.200s\" stands twice", where, f->t[i].name);
    if (f->n_meta > first_meta) qsort(f->m + first_meta, (size_t)(f->n_meta - first_meta), sizeof *f->m, st_by_key);
    for (int64_t i = first_meta + 1; i < f->n_meta && !st; i++)
        if (!strcmp(f->m[i - 1].key, f->m[i].key))
            st = vm_fail(e, VM_EINPUT, "%s: __metadata__ has \"%.200s\" twice", where, f->m[i].key);
done:
    vm_free(where);
    return st;
}

/* What else a file of weights may be. */
static const char *other_format(const uint8_t *p, size_t n) {
    if (n >= 9 && p[8] == '{' && !(p[4] | p[5] | p[6] | p[7])) return NULL; /* as every safetensors file */
    if (n >= 4 && !memcmp(p, "PK\3\4", 4))
        return "a PyTorch or zip file, whose pickle is never executed; turn it into safetensors with `vismin convert`";
    if (n >= 2 && p[0] == 0x80 && p[1] >= 2 && p[1] <= 5)
        return "a pickle file, which is never executed; turn it into safetensors with `vismin convert`";
    if (n >= 4 && !memcmp(p, "GGUF", 4)) return "a GGUF file; use the original safetensors weights";
    if (n >= 12 && !memcmp(p, "version http", 12)) return "a Git LFS pointer; fetch the weights with `git lfs pull`";
    if (n >= 1 && p[0] == '<') return "a web page; download the file again";
    return NULL;
}

vm_status st_read_part(st_file *f, const uint8_t *base, size_t bytes, vm_error *e) {
    st_part *p = &f->parts[f->n_parts - 1];
    const char *other = other_format(base, bytes);
    if (other) return vm_fail(e, VM_EINPUT, "%s: is %s", p->name, other);
    if (bytes < 8) return vm_fail(e, VM_EINPUT, "%s: %zu bytes long, too short for a safetensors file", p->name, bytes);
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--) n = n << 8 | base[i];
    if (n > MAX_HEADER)
        return vm_fail(e, VM_EINPUT, "%s: a header of %llu bytes, at most %d are accepted; no safetensors file?",
                       p->name, (unsigned long long)n, MAX_HEADER);
    if (n > bytes - 8)
        return vm_fail(e, VM_EINPUT, "%s: a header of %llu bytes, but only %zu bytes follow; the file is cut off",
                       p->name, (unsigned long long)n, bytes - 8);
    if (n == 0 || base[8] != '{')
        return vm_fail(e, VM_EINPUT, "%s: the header does not begin with '{'; no safetensors file?", p->name);
    p->data = base + 8 + n, p->bytes = bytes - 8 - (size_t)n;
    return read_header(f, p, (const char *)base + 8, (size_t)n, e);
}
