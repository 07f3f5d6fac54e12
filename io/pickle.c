/* pickle.c - see pickle.h. */
#include "io/pickle.h"

#include "io/file.h"
#include "io/unpickle.h"
#include "io/zip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 32, MAX_NAME = 512, MAX_VISITS = 1000000 };

/* Where the elements of a tensor are: its st_tensor.part is the index here. */
typedef struct {
    const uint8_t *first; /* element 0, 0, ... */
    size_t span;          /* bytes from it to the end of the last element */
    int64_t stride[ST_MAX_DIMS];
} view;

struct pt_file {
    file_map map; /* all-zero for a file in memory */
    char *path;
    const uint8_t *data;
    size_t bytes;
    zip_dir zip;
    st_tensor *t;
    view *v;
    char *text; /* names */
    int64_t n, cap_t, cap_v;
};

/* --- storages ----------------------------------------------------------------------------------------------------- */
typedef struct {
    pt_file *f;
    const unpickler *u;
    const zip_entry **entry; /* of each storage */
    const char *pkl;         /* name of the pickle, for messages */
    char root[MAX_NAME];
    char path[MAX_NAME]; /* of the dictionary being walked */
    int64_t n_text, cap_text, visits;
    vm_error *e;
} walk;

static vm_status check_storages(walk *w) {
    const unpickler *u = w->u;
    uint8_t *type = vm_calloc((size_t)w->f->zip.n + 1, 1); /* of each entry; 0 = not seen yet */
    w->entry = vm_calloc((size_t)u->n_storage + 1, sizeof *w->entry);
    if (!type || !w->entry) vm_nomem(w->e, (size_t)u->n_storage * sizeof *w->entry, w->f->path);
    for (int64_t i = 0; i < u->n_storage && !w->e->status; i++) {
        const pk_storage *s = &u->storage[i];
        char name[2 * MAX_NAME];
        int n = snprintf(name, sizeof name, "%s/data/%.*s", w->root, (int)VM_MIN(s->n_key, (uint32_t)MAX_NAME),
                         (const char *)u->p + s->key);
        const zip_entry *z = n < (int)sizeof name ? zip_find(&w->f->zip, name) : NULL;
        size_t bytes;
        if (!z) vm_fail(w->e, VM_EINPUT, "%s: the storage %.100s is not in the archive", w->pkl, name);
        else if (!vm_mul_sz((size_t)s->len, st_dtype_bytes(s->dtype), &bytes) || bytes != z->bytes)
            vm_fail(w->e, VM_EINPUT, "%s: storage %.100s: %lld elements of %s, but %zu bytes in the archive", w->pkl,
                    name, (long long)s->len, st_dtype_name(s->dtype), z->bytes);
        else if (type[z - w->f->zip.entry] && type[z - w->f->zip.entry] != s->dtype)
            vm_fail(w->e, VM_EINPUT, "%s: storage %.100s is used as %s and as %s", w->pkl, name,
                    st_dtype_name((st_dtype)type[z - w->f->zip.entry]), st_dtype_name(s->dtype));
        else type[z - w->f->zip.entry] = (uint8_t)s->dtype, w->entry[i] = z;
    }
    vm_free(type);
    return w->e->status;
}

/* --- tensors ------------------------------------------------------------------------------------------------------ */
static vm_status refuse(const walk *w, const char *why) {
    return vm_fail(w->e, VM_EINPUT, "%s: tensor \"%.200s\": %s", w->pkl, w->path, why);
}

/* Fills x and v from p; false when the tensor would leave its storage. */
static bool place(st_tensor *x, view *v, const pk_tensor *p, const pk_storage *s, const zip_entry *z) {
    size_t each = st_dtype_bytes(s->dtype), len = 1, last = (size_t)p->offset, dense = 1;
    bool in_order = true, empty = false;
    for (int k = 0; k < p->nd; k++) empty |= !p->shape[k];
    *x = (st_tensor){ .dtype = s->dtype, .nd = p->nd };
    for (int k = p->nd - 1; k >= 0; k--) {
        size_t reach, size = (size_t)p->shape[k], stride = (size_t)p->stride[k];
        x->shape[k] = p->shape[k], v->stride[k] = p->stride[k];
        if (empty) continue;
        if (!vm_mul_sz(len, size, &len) || len > (size_t)s->len) return false;
        if (size > 1 && (!vm_mul_sz(size - 1, stride, &reach) || !vm_add_sz(last, reach, &last))) return false;
        if (size > 1) in_order &= stride == dense, dense *= size;
    }
    if (empty) len = 0;
    if (len ? last >= (size_t)s->len : p->offset > s->len) return false;
    x->len = (int64_t)len, x->bytes = len * each;
    v->first = z->data + (size_t)p->offset * each;
    v->span = len ? (last - (size_t)p->offset + 1) * each : 0;
    if (in_order || !len) x->data = v->first;
    return true;
}

static vm_status add_tensor(walk *w, const pk_tensor *p) {
    pt_file *f = w->f;
    int64_t n = (int64_t)strlen(w->path) + 1;
    size_t most = VM_MIN(VM_MAX((size_t)16 << 20, f->bytes), (size_t)1 << 30);
    if ((size_t)w->n_text + (size_t)f->n * (sizeof *f->t + sizeof *f->v) > most)
        return refuse(w, "too many tensors for the size of the file");
    if (!vm_grow(&f->t, &f->cap_t, f->n + 1, sizeof *f->t) || !vm_grow(&f->v, &f->cap_v, f->n + 1, sizeof *f->v) ||
        !vm_grow(&f->text, &w->cap_text, w->n_text + n, 1))
        return vm_nomem(w->e, sizeof *f->t, f->path);
    f->v[f->n] = (view){ 0 };
    if (!place(&f->t[f->n], &f->v[f->n], p, &w->u->storage[p->storage], w->entry[p->storage]))
        return refuse(w, "its offset, shape and strides do not stay inside its storage");
    f->t[f->n].part = (int32_t)w->n_text; /* until names have settled */
    memcpy(f->text + w->n_text, w->path, (size_t)n);
    w->n_text += n, f->n++;
    return VM_OK;
}

/* Appends ".KEY" to the path; its old length is returned, 0 with the error set when it gets too long. */
static vm_status enter(walk *w, pk_value key, size_t *old) {
    char number[32];
    const char *text = number;
    size_t n = *old = strlen(w->path), more;
    if (key.kind == PK_INT) more = (size_t)snprintf(number, sizeof number, "%lld", (long long)key.i);
    else text = (const char *)w->u->p + key.i, more = key.n;
    if (memchr(text, 0, more)) return refuse(w, "a key below it holds the character U+0000");
    if (more + 2 > MAX_NAME - n) return refuse(w, "the names below it are longer than 510 bytes");
    if (n) w->path[n++] = '.';
    memcpy(w->path + n, text, more);
    w->path[n + more] = 0;
    return VM_OK;
}

/* The tensors in a dictionary and those below it. A dictionary may be met in several places, or within itself. */
static vm_status walk_dict(walk *w, const pk_dict *d, int depth) {
    const unpickler *u = w->u;
    if (depth > MAX_DEPTH) return refuse(w, "dictionaries nested deeper than 32");
    for (int64_t i = d->first; i >= 0; i = u->pair[i].next) {
        const pk_pair *p = &u->pair[i];
        size_t old;
        if (++w->visits > MAX_VISITS) return refuse(w, "more than 1000000 entries of dictionaries");
        if ((p->value.kind != PK_DICT && p->value.kind != PK_TENSOR) ||
            (p->key.kind != PK_TEXT && p->key.kind != PK_INT))
            continue;
        if (enter(w, p->key, &old)) return w->e->status;
        vm_status st = p->value.kind == PK_DICT ? walk_dict(w, &u->dict[p->value.i], depth + 1)
                                                : add_tensor(w, &u->tensor[p->value.i]);
        if (st) return st;
        w->path[old] = 0;
    }
    return VM_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const st_tensor *)a)->name, ((const st_tensor *)b)->name);
}

/* Names, order, and the bounds that hold for all tensors together. */
static vm_status settle(walk *w) {
    pt_file *f = w->f;
    size_t total = 0, most;
    for (int64_t i = 0; i < f->n; i++) f->t[i].name = f->text + f->t[i].part, f->t[i].part = (int32_t)i;
    if (f->n) qsort(f->t, (size_t)f->n, sizeof *f->t, by_name);
    if (!vm_mul_sz(f->bytes, 4, &most)) most = SIZE_MAX;
    for (int64_t i = 0; i < f->n; i++) {
        if (i && !strcmp(f->t[i - 1].name, f->t[i].name))
            return vm_fail(w->e, VM_EINPUT, "%s: the name \"%.200s\" stands twice", w->pkl, f->t[i].name);
        if (!vm_add_sz(total, f->t[i].bytes, &total) || total > most)
            return vm_fail(w->e, VM_EINPUT, "%s: tensors that share storages add up to more than 4 times the file",
                           w->pkl);
    }
    return VM_OK;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */
/* The one ROOT/data.pkl of the archive. */
static const zip_entry *find_pickle(walk *w) {
    const zip_dir *z = &w->f->zip;
    const zip_entry *found = NULL;
    for (int64_t i = 0; i < z->n; i++) {
        size_t n = strlen(z->entry[i].name);
        if (n < 10 || n - 9 >= sizeof w->root || strcmp(z->entry[i].name + n - 9, "/data.pkl")) continue;
        if (found)
            return vm_fail(w->e, VM_EINPUT, "%s: holds both %.100s and %.100s", w->f->path, found->name,
                           z->entry[i].name),
                   NULL;
        found = &z->entry[i];
        snprintf(w->root, sizeof w->root, "%.*s", (int)(n - 9), found->name);
    }
    if (!found)
        vm_fail(w->e, VM_EINPUT, "%s: a zip archive, but no PyTorch checkpoint: there is no data.pkl in it",
                w->f->path);
    return found;
}

static const zip_entry *beside(const walk *w, const char *name) {
    char path[2 * MAX_NAME];
    snprintf(path, sizeof path, "%s/%s", w->root, name);
    return zip_find(&w->f->zip, path);
}

static vm_status read_all(pt_file *f, vm_error *e) {
    walk w = { .f = f, .e = e };
    unpickler u = { 0 };
    if (f->bytes < 4 || memcmp(f->data, "PK\3\4", 4)) {
        bool old = f->bytes > 2 && f->data[0] == 0x80 && f->data[1] >= 2 && f->data[1] <= 5;
        return vm_fail(
            e, VM_EINPUT, "%s: %s", f->path,
            old ? "a checkpoint of PyTorch before 1.6 or a bare pickle; load it there and save it anew with torch.save"
                : "no PyTorch checkpoint: it does not begin as a zip archive");
    }
    const zip_entry *pkl = zip_open(&f->zip, f->data, f->bytes, f->path, e) ? NULL : find_pickle(&w);
    char *name = pkl ? vm_asprintf("%s: %s", f->path, pkl->name) : NULL;
    if (!pkl || !name) {
        if (!e->status) vm_nomem(e, 256, "a file name");
        goto done;
    }
    w.u = &u, w.pkl = name;
    const zip_entry *order = beside(&w, "byteorder");
    if (order && order->bytes == 3 && !memcmp(order->data, "big", 3)) {
        vm_fail(e, VM_EINPUT, "%s: was written on a big-endian machine; load it in PyTorch and save it anew", f->path);
        goto done;
    }
    if (beside(&w, "constants.pkl")) {
        vm_fail(e, VM_EINPUT,
                "%s: a TorchScript program, not a checkpoint; save its weights with "
                "torch.save(torch.jit.load(FILE).state_dict(), OUT)",
                f->path);
        goto done;
    }
    for (int64_t i = 0; i < f->zip.n && !e->status; i++)
        if (!f->zip.entry[i].data)
            vm_fail(e, VM_EINPUT,
                    "%s: zip entry \"%.200s\" is compressed; torch.save stores all as they are, save the file anew",
                    f->path, f->zip.entry[i].name);
    if (e->status || unpickle(&u, pkl->data, pkl->bytes, name, UNPICKLE_TENSORS, e) || check_storages(&w)) goto done;
    if (u.root.kind != PK_DICT) vm_fail(e, VM_EINPUT, "%s: holds no dictionary of tensors", name);
    else if (!walk_dict(&w, &u.dict[u.root.i], 0)) settle(&w);
done:
    unpickle_free(&u);
    vm_free(w.entry);
    vm_free(name);
    return e->status;
}

static vm_status open_any(pt_file **out, const char *path, const void *data, size_t bytes, vm_error *e) {
    vm_error own = { 0 };
    pt_file *f = vm_calloc(1, sizeof *f);
    *out = NULL;
    if (!f || !(f->path = vm_strdup(path))) {
        vm_free(f);
        return vm_nomem(e, sizeof *f, path);
    }
    f->data = data, f->bytes = bytes;
    if (data || !file_map_open(&f->map, path, &own)) {
        if (!data) f->data = f->map.data, f->bytes = f->map.bytes;
        read_all(f, &own);
    }
    if (own.status) {
        pt_close(f);
        return vm_fail(e, own.status, "%s", own.msg);
    }
    *out = f;
    return VM_OK;
}

vm_status pt_open(pt_file **out, const char *path, vm_error *e) { return open_any(out, path, NULL, 0, e); }
vm_status pt_open_memory(pt_file **out, const void *data, size_t bytes, const char *name, vm_error *e) {
    return open_any(out, name, data ? data : "", bytes, e);
}

bool pt_is(const char *path) {
    char head[4] = { 0 };
    FILE *f = file_bytes(path) >= 4 ? fopen(path, "rb") : NULL;
    bool zip = f && fread(head, 1, 4, f) == 4 && !memcmp(head, "PK\3\4", 4);
    if (f) fclose(f);
    return zip;
}

void pt_close(pt_file *f) {
    if (!f) return;
    file_map_close(&f->map);
    zip_close(&f->zip);
    vm_free(f->t), vm_free(f->v), vm_free(f->text), vm_free(f->path), vm_free(f);
}

/* --- looking and reading ------------------------------------------------------------------------------------------ */
int64_t pt_len(const pt_file *f) { return f->n; }
const st_tensor *pt_at(const pt_file *f, int64_t i) { return &f->t[i]; }
const char *pt_path(const pt_file *f) { return f->path; }
size_t pt_bytes(const pt_file *f) { return f->bytes; }

const st_tensor *pt_find(const pt_file *f, const char *name) {
    st_tensor key = { .name = name };
    return f->n ? bsearch(&key, f->t, (size_t)f->n, sizeof *f->t, by_name) : NULL;
}

/* Offset in elements of element i in row-major order. */
static int64_t element(const st_tensor *t, const view *v, int64_t i) {
    int64_t at = 0;
    for (int k = t->nd - 1; k >= 0; k--) at += i % t->shape[k] * v->stride[k], i /= t->shape[k];
    return at;
}

static vm_status check(const pt_file *f, const st_tensor *t, int64_t first, int64_t n, vm_error *e) {
    if (first < 0 || n < 0 || first > t->len || n > t->len - first)
        return vm_fail(e, VM_EINPUT, "%s: tensor \"%.200s\": %lld elements from %lld asked for, it has %lld", f->path,
                       t->name, (long long)n, (long long)first, (long long)t->len);
    return f->map.path ? file_map_check(&f->map, e) : VM_OK;
}

static void copy(const pt_file *f, const st_tensor *t, int64_t first, int64_t n, uint8_t *out) {
    const size_t each = st_dtype_bytes(t->dtype);
    const view *v = &f->v[t->part];
    if (t->data && n) memcpy(out, t->data + (size_t)first * each, (size_t)n * each);
    for (int64_t i = 0; !t->data && i < n; i++)
        memcpy(out + (size_t)i * each, v->first + (size_t)element(t, v, first + i) * each, each);
}

vm_status pt_read(const pt_file *f, const st_tensor *t, int64_t first, int64_t n, void *out, vm_error *e) {
    if (check(f, t, first, n, e)) return VM_EINPUT;
    copy(f, t, first, n, out);
    return VM_OK;
}

vm_status pt_read_f32(const pt_file *f, const st_tensor *t, int64_t first, int64_t n, float *out, vm_error *e) {
    const size_t each = st_dtype_bytes(t->dtype);
    uint8_t some[4096];
    const int64_t most = (int64_t)(sizeof some / each);
    if (check(f, t, first, n, e)) return VM_EINPUT;
    if (t->data) st_to_f32(out, t->dtype, t->data + (size_t)first * each, n);
    for (int64_t k = 0; !t->data && k < n; k += most) { /* by handfuls */
        copy(f, t, first + k, VM_MIN(most, n - k), some);
        st_to_f32(out + k, t->dtype, some, VM_MIN(most, n - k));
    }
    return VM_OK;
}

void pt_release(const pt_file *f, const st_tensor *t) {
    if (f->map.path) file_map_release(&f->map, f->v[t->part].first, f->v[t->part].span);
}
