/* safetensors.c - opening files, directories and shards; looking up and reading tensors. See safetensors.h; the checks
 * of a file's header are in st_header.c. */
#include "io/json.h"
#include "io/st_file.h"

#include <stdlib.h>
#include <string.h>

/* ---- opening ----------------------------------------------------------------------------------------------------- */
static st_part *new_part(st_file *f, vm_error *e) {
    if (!vm_grow(&f->parts, &f->cap_parts, f->n_parts + 1, sizeof *f->parts)) {
        vm_nomem(e, sizeof *f->parts, f->path);
        return NULL;
    }
    f->parts[f->n_parts] = (st_part){ 0 };
    return &f->parts[f->n_parts++];
}

static vm_status open_part(st_file *f, const char *path, vm_error *e) {
    st_part *p = new_part(f, e);
    if (!p) return VM_EDEVICE;
    vm_status st = file_map_open(&p->map, path, e);
    if (st) return st;
    p->name = p->map.path;
    return st_read_part(f, p->map.data, p->map.bytes, e);
}

/* The part of a shard's name in the index's directory; opens it when it is new. -1 on error; e is clear before. */
static int64_t shard(st_file *f, const char *dir, json_value v, vm_error *e) {
    const char *name = json_as_str(v, e);
    if (e->status) return -1;
    if (!name[0] || strchr(name, '/') || strchr(name, '\\') || name[0] == '.')
        return json_fail(v, e, "\"%.100s\" is no plain file name", name), -1;
    for (int64_t i = f->n_parts - 1; i >= 0; i--) /* neighbours in the index mostly share a shard */
        if (!strcmp(path_base(f->parts[i].name), name)) return i;
    char *path = path_join(dir, name);
    vm_status st = path ? open_part(f, path, e) : vm_nomem(e, strlen(name), "a file name");
    vm_free(path);
    return st ? -1 : f->n_parts - 1;
}

static vm_status open_index(st_file *f, vm_error *e) {
    vm_status st = VM_OK;
    vm_error mine = { 0 };
    char *dir = path_dir(f->path);
    json_doc *d = dir ? json_open(f->path, &mine) : NULL;
    if (!d) {
        st = dir ? vm_fail(e, mine.status, "%s", mine.msg) : vm_nomem(e, strlen(f->path), "a file name");
        goto done;
    }
    json_value map = json_get(json_root(d), "weight_map");
    if (map.kind != JSON_OBJECT) {
        st = json_fail(map, e, "is missing or no object; expected tensor names and their files");
        goto done;
    }
    for (json_iter it = json_each(map); json_next(&it);)
        if (shard(f, dir, it.value, &mine) < 0) {
            st = vm_fail(e, mine.status, "%s", mine.msg);
            goto done;
        }
    int64_t kept = 0;
    for (int64_t i = 0; i < f->n; i++) { /* shards may hold more than the index names */
        json_value v = json_get(map, f->t[i].name);
        const char *file = v.kind == JSON_STRING ? json_as_str(v, NULL) : "";
        if (!strcmp(file, path_base(f->parts[f->t[i].part].name))) f->t[kept++] = f->t[i];
    }
    f->n = kept;
    if (kept) qsort(f->t, (size_t)kept, sizeof *f->t, st_by_name);
    int64_t missing = json_len(map) - kept;
    for (json_iter it = json_each(map); missing && json_next(&it);)
        if (!st_find(f, it.key)) {
            st = json_fail(it.value, e, "the tensor is not in %.100s (%lld such tensors)", json_as_str(it.value, NULL),
                           (long long)missing);
            break;
        }
    if (f->n_meta) qsort(f->m, (size_t)f->n_meta, sizeof *f->m, st_by_key);
    int64_t kept_meta = 0;
    for (int64_t i = 0; i < f->n_meta; i++)
        if (!kept_meta || strcmp(f->m[kept_meta - 1].key, f->m[i].key)) f->m[kept_meta++] = f->m[i];
    f->n_meta = kept_meta;
done:
    json_free(d);
    vm_free(dir);
    return st;
}

static vm_status open_named(st_file **out, const char *path, vm_error *e) {
    *out = NULL;
    st_file *f = vm_calloc(1, sizeof *f);
    if (!f || !(f->path = vm_strdup(path))) {
        vm_free(f);
        return vm_nomem(e, sizeof *f, path);
    }
    size_t n = strlen(path);
    vm_status st = n > 5 && !strcmp(path + n - 5, ".json") ? open_index(f, e) : open_part(f, path, e);
    if (st) st_close(f);
    else *out = f;
    return st;
}

/* BASE.safetensors or its index in dir, or where neither is the variant fp16 of these; found = false when none is there. */
static vm_status open_in_dir(st_file **out, const char *dir, const char *base, bool *found, vm_error *e) {
    static const char *const ends[] = { "safetensors", "safetensors.index.json", "fp16.safetensors", "safetensors.index.fp16.json" };
    *found = false;
    vm_status st = VM_OK;
    for (int i = 0; i < VM_LEN(ends) && !*found && !st; i++) {
        char *path = vm_asprintf("%s/%s.%s", dir, base, ends[i]);
        if (!path) st = vm_nomem(e, strlen(dir), "a file name");
        else if ((*found = file_exists(path))) st = open_named(out, path, e);
        vm_free(path);
    }
    return st;
}

vm_status st_open_base(st_file **out, const char *dir, const char *base, vm_error *e) {
    bool found;
    *out = NULL;
    vm_status st = open_in_dir(out, dir, base, &found, e);
    if (st || found) return st;
    return vm_fail(e, VM_EMODEL, "%s: holds neither %s.safetensors nor %s.safetensors.index.json", dir, base, base);
}

vm_status st_open(st_file **out, const char *path, vm_error *e) {
    static const char *const bases[] = { "model", "open_clip_model", "diffusion_pytorch_model", "adapter_model" };
    *out = NULL;
    if (!file_is_dir(path)) return open_named(out, path, e);
    for (int i = 0; i < VM_LEN(bases); i++) {
        bool found;
        vm_status st = open_in_dir(out, path, bases[i], &found, e);
        if (st || found) return st;
    }
    return vm_fail(e, VM_EMODEL,
                   "%s: holds no weights (model.safetensors, its index, or the same for open_clip_model, "
                   "diffusion_pytorch_model, adapter_model); turn .bin and .pt files into one with `vismin convert`",
                   path);
}

vm_status st_open_memory(st_file **out, const void *data, size_t bytes, const char *name, vm_error *e) {
    *out = NULL;
    st_file *f = vm_calloc(1, sizeof *f);
    st_part *p = f && (f->path = vm_strdup(name)) ? new_part(f, e) : NULL;
    vm_status st = VM_EDEVICE;
    if (!p) {
        vm_nomem(e, sizeof *f, name);
    } else {
        p->name = f->path;
        st = st_read_part(f, data, bytes, e);
    }
    if (st) st_close(f);
    else *out = f;
    return st;
}

void st_close(st_file *f) {
    if (!f) return;
    for (int64_t i = 0; i < f->n_parts; i++) {
        file_map_close(&f->parts[i].map);
        vm_free(f->parts[i].text);
    }
    vm_free(f->parts), vm_free(f->t), vm_free(f->m), vm_free(f->path), vm_free(f);
}

/* ---- looking and reading ----------------------------------------------------------------------------------------- */
int64_t st_len(const st_file *f) { return f->n; }
const st_tensor *st_at(const st_file *f, int64_t i) { return &f->t[i]; }

const st_tensor *st_find(const st_file *f, const char *name) {
    st_tensor key = { .name = name };
    return f->n ? bsearch(&key, f->t, (size_t)f->n, sizeof *f->t, st_by_name) : NULL;
}

const char *st_path(const st_file *f, const st_tensor *t) { return t ? f->parts[t->part].name : f->path; }

size_t st_total_bytes(const st_file *f) {
    size_t n = 0;
    for (int64_t i = 0; i < f->n; i++) n += f->t[i].bytes;
    return n;
}

int64_t st_meta_len(const st_file *f) { return f->n_meta; }

const char *st_meta_at(const st_file *f, int64_t i, const char **value) {
    *value = f->m[i].value;
    return f->m[i].key;
}

const char *st_meta(const st_file *f, const char *key) {
    for (int64_t a = 0, z = f->n_meta; a < z;) {
        int64_t i = (a + z) / 2;
        int c = strcmp(key, f->m[i].key);
        if (!c) return f->m[i].value;
        if (c < 0) z = i;
        else a = i + 1;
    }
    return NULL;
}

static vm_status check_read(const st_file *f, const st_tensor *t, int64_t first, int64_t n, vm_error *e) {
    const st_part *p = &f->parts[t->part];
    if (first < 0 || n < 0 || first > t->len || n > t->len - first)
        return vm_fail(e, VM_EINPUT, "%s: tensor \"%.200s\": %lld elements from %lld asked for, it has %lld", p->name,
                       t->name, (long long)n, (long long)first, (long long)t->len);
    return p->map.path ? file_map_check(&p->map, e) : VM_OK;
}

static vm_status refuse(const st_file *f, const st_tensor *t, const char *as, vm_error *e) {
    return vm_fail(e, VM_EINPUT, "%s: tensor \"%.200s\" of type %s cannot be read as %s", st_path(f, t), t->name,
                   st_dtype_name(t->dtype), as);
}

vm_status st_read_f32(const st_file *f, const st_tensor *t, int64_t first, int64_t n, float *out, vm_error *e) {
    vm_status st = check_read(f, t, first, n, e);
    if (st) return st;
    if (st_to_f32(out, t->dtype, t->data + (size_t)first * st_dtype_bytes(t->dtype), n)) return VM_OK;
    return refuse(f, t, "numbers", e);
}

vm_status st_read_i64(const st_file *f, const st_tensor *t, int64_t first, int64_t n, int64_t *out, vm_error *e) {
    vm_status st = check_read(f, t, first, n, e);
    if (st) return st;
    size_t each = st_dtype_bytes(t->dtype);
    const uint8_t *p = t->data + (size_t)first * each;
    bool is_signed = t->dtype == ST_I8 || t->dtype == ST_I16 || t->dtype == ST_I32 || t->dtype == ST_I64;
    bool is_unsigned = t->dtype == ST_U8 || t->dtype == ST_U16 || t->dtype == ST_U32 || t->dtype == ST_U64;
    if (!is_signed && !is_unsigned && t->dtype != ST_BOOL) return refuse(f, t, "integers", e);
    for (int64_t i = 0; i < n; i++, p += each) {
        uint64_t v = 0;
        memcpy(&v, p, each);
        if (is_signed && each < 8 && v >> (8 * each - 1)) v |= ~(uint64_t)0 << 8 * each;
        if (t->dtype == ST_U64 && v > INT64_MAX)
            return vm_fail(e, VM_EINPUT, "%s: tensor \"%.200s\": %llu is beyond 2^63-1", st_path(f, t), t->name,
                           (unsigned long long)v);
        out[i] = t->dtype == ST_BOOL ? v != 0 : (int64_t)v;
    }
    return VM_OK;
}

void st_release(const st_file *f, const st_tensor *t) { file_map_release(&f->parts[t->part].map, t->data, t->bytes); }
