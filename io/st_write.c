/* st_write.c - writing safetensors: places are known before the first byte of data is. See safetensors.h. */
#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/utf8.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    char *name;
    st_dtype dtype;
    int nd;
    int64_t shape[ST_MAX_DIMS];
    int64_t number; /* of its declaration */
    size_t bytes, offset, written;
} entry;

typedef struct {
    char *key, *value;
} pair;

struct st_writer {
    char *path;
    vm_out *out;
    entry *t; /* sorted by name once the header is written */
    pair *m;
    int64_t n, n_meta, cap, cap_meta;
    size_t data_at; /* where the data begins in the file; 0 = not started */
    int flags;
};

vm_status st_writer_open(st_writer **out, const char *path, int flags, vm_error *e) {
    *out = NULL;
    st_writer *w = vm_calloc(1, sizeof *w);
    if (!w || !(w->path = vm_strdup(path))) {
        vm_free(w);
        return vm_nomem(e, sizeof *w, path);
    }
    w->flags = flags;
    vm_status st = vm_out_open(&w->out, path, e);
    if (st) st_writer_abort(w);
    else *out = w;
    return st;
}

static vm_status refuse(const st_writer *w, const char *name, const char *why, vm_error *e) {
    return vm_fail(e, VM_EINPUT, "%s: \"%.200s\" %s", w->path, name, why);
}

vm_status st_writer_meta(st_writer *w, const char *key, const char *value, vm_error *e) {
    if (w->data_at) return refuse(w, key, "is declared after the first data", e);
    if (utf8_bad(key, strlen(key)) < strlen(key) || utf8_bad(value, strlen(value)) < strlen(value))
        return refuse(w, key, "is metadata that is not UTF-8", e);
    for (int64_t i = 0; i < w->n_meta; i++)
        if (!strcmp(w->m[i].key, key)) return refuse(w, key, "is set twice", e);
    pair p = { vm_strdup(key), vm_strdup(value) };
    if (!p.key || !p.value || !vm_grow(&w->m, &w->cap_meta, w->n_meta + 1, sizeof p)) {
        vm_free(p.key), vm_free(p.value);
        return vm_nomem(e, strlen(value), w->path);
    }
    w->m[w->n_meta++] = p;
    return VM_OK;
}

vm_status st_writer_add(st_writer *w, const char *name, st_dtype t, int nd, const int64_t *shape, vm_error *e) {
    if (w->data_at) return refuse(w, name, "is declared after the first data", e);
    if (utf8_bad(name, strlen(name)) < strlen(name)) return refuse(w, name, "is no UTF-8 name", e);
    if (!strcmp(name, "__metadata__")) return refuse(w, name, "cannot be a tensor's name", e);
    if (nd < 0 || nd > ST_MAX_DIMS || !st_dtype_bytes(t))
        return refuse(w, name, "has a type or rank that is not written", e);
    entry x = { .dtype = t, .nd = nd, .bytes = st_dtype_bytes(t), .number = w->n };
    for (int i = 0; i < nd; i++) {
        x.shape[i] = shape[i];
        if (shape[i] < 0 || !vm_mul_sz(x.bytes, (size_t)shape[i], &x.bytes) || x.bytes > INT64_MAX)
            return refuse(w, name, "has a negative or too large shape", e);
    }
    if (!vm_grow(&w->t, &w->cap, w->n + 1, sizeof x) || !(x.name = vm_strdup(name)))
        return vm_nomem(e, sizeof x, w->path);
    w->t[w->n++] = x;
    return VM_OK;
}

static int by_name(const void *a, const void *b) { return strcmp(((const entry *)a)->name, ((const entry *)b)->name); }
static int by_key(const void *a, const void *b) { return strcmp(((const pair *)a)->key, ((const pair *)b)->key); }

static int by_number(const void *a, const void *b) {
    int64_t x = (*(entry *const *)a)->number, y = (*(entry *const *)b)->number;
    return (x > y) - (x < y);
}

static int by_size(const void *a, const void *b) {
    const entry *x = *(entry *const *)a, *y = *(entry *const *)b;
    size_t p = st_dtype_bytes(x->dtype), q = st_dtype_bytes(y->dtype);
    return p != q ? (p < q ? 1 : -1) : strcmp(x->name, y->name);
}

static char *header_text(st_writer *w, entry **order, size_t *bytes, vm_error *e) {
    json_writer j = json_to_memory(JSON_COMPACT);
    json_begin_object(&j, NULL);
    if (w->n_meta) {
        qsort(w->m, (size_t)w->n_meta, sizeof *w->m, by_key);
        json_begin_object(&j, "__metadata__");
        for (int64_t i = 0; i < w->n_meta; i++) json_put_str(&j, w->m[i].key, w->m[i].value);
        json_close_object(&j);
    }
    for (int64_t i = 0; i < w->n; i++) {
        const entry *t = order[i];
        json_begin_object(&j, t->name);
        json_put_str(&j, "dtype", st_dtype_name(t->dtype));
        json_begin_array(&j, "shape");
        for (int k = 0; k < t->nd; k++) json_put_int(&j, NULL, t->shape[k]);
        json_close_array(&j);
        json_begin_array(&j, "data_offsets");
        json_put_int(&j, NULL, (int64_t)t->offset);
        json_put_int(&j, NULL, (int64_t)(t->offset + t->bytes));
        json_close_array(&j);
        json_close_object(&j);
    }
    json_close_object(&j);
    return json_take(&j, bytes, e);
}

/* Fixes all places, writes the header and reserves the room. */
static vm_status start(st_writer *w, vm_error *e) {
    if (w->data_at) return VM_OK;
    vm_status st = VM_OK;
    char *text = NULL;
    size_t bytes = 0, pad, total = 0;
    entry **order = vm_alloc((size_t)w->n * sizeof *order);
    if (!order) return vm_nomem(e, (size_t)w->n * sizeof *order, w->path);
    if (w->n) qsort(w->t, (size_t)w->n, sizeof *w->t, by_name);
    for (int64_t i = 1; i < w->n; i++)
        if (!strcmp(w->t[i - 1].name, w->t[i].name)) {
            st = refuse(w, w->t[i].name, "is declared twice", e);
            goto done;
        }
    for (int64_t i = 0; i < w->n; i++) order[i] = &w->t[i];
    if (w->n) qsort(order, (size_t)w->n, sizeof *order, w->flags & ST_KEEP_ORDER ? by_number : by_size);
    for (int64_t i = 0; i < w->n; i++) {
        order[i]->offset = total;
        if (!vm_add_sz(total, order[i]->bytes, &total) || total > INT64_MAX / 2) {
            st = vm_fail(e, VM_EINPUT, "%s: all tensors together are too large for a file", w->path);
            goto done;
        }
    }
    if (!(text = header_text(w, order, &bytes, e))) {
        st = VM_EDEVICE;
        goto done;
    }
    pad = -bytes % 8; /* data aligned to 8 bytes */
    if (bytes + pad > 100000000) {
        st = vm_fail(e, VM_EINPUT, "%s: a header of %zu bytes, at most 100000000 can be read; split the file", w->path,
                     bytes);
        goto done;
    }
    uint8_t head[8];
    for (int i = 0; i < 8; i++) head[i] = (uint8_t)((uint64_t)(bytes + pad) >> 8 * i);
    if ((st = vm_out_reserve(w->out, 8 + bytes + pad + total, e)) || (st = vm_out_write_at(w->out, 0, head, 8, e)) ||
        (st = vm_out_write_at(w->out, 8, text, bytes, e)) ||
        (st = vm_out_write_at(w->out, 8 + bytes, "        ", pad, e)))
        goto done;
    w->data_at = 8 + bytes + pad;
done:
    vm_free(text), vm_free(order);
    return st;
}

static entry *find(st_writer *w, const char *name, vm_error *e) {
    if (start(w, e)) return NULL;
    entry key = { .name = (char *)(uintptr_t)name };
    entry *x = w->n ? bsearch(&key, w->t, (size_t)w->n, sizeof *w->t, by_name) : NULL;
    if (!x) refuse(w, name, "was not declared", e);
    return x;
}

static vm_status write_part(st_writer *w, entry *x, size_t offset, const void *data, size_t bytes, vm_error *e) {
    if (offset > x->bytes || bytes > x->bytes - offset || bytes > x->bytes - x->written)
        return refuse(w, x->name, "is written twice or beyond its end", e);
    x->written += bytes;
    return vm_out_write_at(w->out, w->data_at + x->offset + offset, data, bytes, e);
}

static vm_status failed(const vm_error *e) { return e && e->status ? e->status : VM_EINPUT; }

vm_status st_writer_put_part(st_writer *w, const char *name, size_t offset, const void *data, size_t bytes,
                             vm_error *e) {
    entry *x = find(w, name, e);
    return x ? write_part(w, x, offset, data, bytes, e) : failed(e);
}

vm_status st_writer_put(st_writer *w, const char *name, const void *data, vm_error *e) {
    entry *x = find(w, name, e);
    return x ? write_part(w, x, 0, data, x->bytes, e) : failed(e);
}

vm_status st_writer_put_f32(st_writer *w, const char *name, const float *data, vm_error *e) {
    entry *x = find(w, name, e);
    if (!x) return failed(e);
    if (x->dtype == ST_F32) return write_part(w, x, 0, data, x->bytes, e);
    uint8_t buf[1 << 15];
    size_t each = st_dtype_bytes(x->dtype), len = x->bytes / each;
    vm_status st = VM_OK;
    for (size_t i = 0, k; i < len && !st; i += k) {
        k = VM_MIN(len - i, sizeof buf / each);
        if (!st_from_f32(buf, x->dtype, data + i, (int64_t)k))
            return refuse(w, name, "is of an integer type and cannot be written from f32", e);
        st = write_part(w, x, i * each, buf, k * each, e);
    }
    return st;
}

static void free_writer(st_writer *w) {
    for (int64_t i = 0; i < w->n; i++) vm_free(w->t[i].name);
    for (int64_t i = 0; i < w->n_meta; i++) vm_free(w->m[i].key), vm_free(w->m[i].value);
    vm_free(w->t), vm_free(w->m), vm_free(w->path), vm_free(w);
}

vm_status st_writer_commit(st_writer *w, vm_error *e) {
    vm_status st = start(w, e);
    for (int64_t i = 0; i < w->n && !st; i++)
        if (w->t[i].written != w->t[i].bytes) st = refuse(w, w->t[i].name, "was declared and not (wholly) written", e);
    if (st) {
        st_writer_abort(w);
        return st;
    }
    st = vm_out_commit(w->out, e);
    free_writer(w);
    return st;
}

void st_writer_abort(st_writer *w) {
    if (!w) return;
    vm_out_abort(w->out);
    free_writer(w);
}
