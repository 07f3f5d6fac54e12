/* weights.c - see weights.h. */
#include "models/weights.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "kernels/philox.h"
#include "models/quantised.h"

vm_status quant_read(const vm_param *p, int64_t first, int64_t n, float *out, vm_error *e); /* quantised.c */
vm_status weight_in_file(vm_param *p, const weight_source *f, const st_tensor *s, int64_t at, int64_t rows, int64_t file_at, vm_error *e); /* weight_origin.c */

static vm_param *new_param(weight_set *w, int nd, const int64_t *ne, const char *fmt, va_list ap) {
    char name[256];
    vsnprintf(name, sizeof name, fmt, ap);
    if (!vm_grow(&w->p, &w->cap, w->n + 1, sizeof *w->p)) return vm_nomem(&w->err, sizeof *w->p, name), NULL;
    vm_param *p = vm_param_shell(w->be, name, VM_F32, nd, ne, &w->err);
    if (p) w->p[w->n++] = p;
    return p;
}

vm_param *weight_new(weight_set *w, int nd, const int64_t *ne, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vm_param *p = new_param(w, nd, ne, fmt, ap);
    va_end(ap);
    return p;
}

vm_param *weight_state(weight_set *w, int nd, const int64_t *ne, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vm_param *p = new_param(w, nd, ne, fmt, ap);
    va_end(ap);
    if (p) p->state = true, p->trainable = p->decay = false;
    return p;
}

int64_t weight_count(const weight_set *w) {
    int64_t n = 0;
    for (int64_t i = 0; i < w->n; i++) n += w->p[i]->state ? 0 : vm_param_count(w->p[i]);
    return n;
}

void weights_swap_average(weight_set *w) {
    for (int64_t i = 0; i < w->n; i++) {
        vm_param *p = w->p[i];
        if (!p->average) continue;
        vm_real *x = p->data;
        p->data = p->average, p->average = x;
        vm_param_touch(p);
    }
}

void weights_free(weight_set *w) {
    for (int64_t i = 0; i < w->n; i++) vm_free(w->p[i]->quant), vm_param_free(w->p[i]);
    vm_free(w->p);
    *w = (weight_set){ 0 };
}

/* --- maps ---------------------------------------------------------------------------------------------------------- */
static void tie(weight_map *m, weight_tie t, const char *fmt, va_list ap) {
    char name[256];
    vsnprintf(name, sizeof name, fmt, ap);
    if (!t.p) {
        vm_nomem(&m->err, sizeof t, name);
        return;
    }
    if (!vm_grow(&m->t, &m->cap, m->n + 1, sizeof *m->t) || !(t.name = vm_strdup(name))) {
        vm_nomem(&m->err, sizeof t, name);
        return;
    }
    m->t[m->n++] = t;
}

static int64_t rows_of(const vm_param *p) { return p->nd ? p->ne[0] : 1; }
static int64_t cols_of(const vm_param *p) { return rows_of(p) ? vm_param_count(p) / rows_of(p) : 0; }

void tie_whole(weight_map *m, vm_param *p, int nd, const int64_t *ne, int flags, const char *fmt, ...) {
    weight_tie t = { .p = p, .rows = p ? rows_of(p) : 0, .nd = nd, .flags = flags };
    if (nd) memcpy(t.ne, ne, (size_t)nd * sizeof *ne);
    va_list ap;
    va_start(ap, fmt);
    tie(m, t, fmt, ap);
    va_end(ap);
}

void tie_rows(weight_map *m, vm_param *p, int64_t at, int64_t rows, int64_t file_at, int nd, const int64_t *ne, const char *fmt, ...) {
    weight_tie t = { .p = p, .at = at, .rows = rows, .file_at = file_at, .nd = nd };
    memcpy(t.ne, ne, (size_t)nd * sizeof *ne);
    va_list ap;
    va_start(ap, fmt);
    tie(m, t, fmt, ap);
    va_end(ap);
}

void weight_map_free(weight_map *m) {
    for (int64_t i = 0; i < m->n; i++) vm_free(m->t[i].name);
    vm_free(m->t);
    *m = (weight_map){ 0 };
}

/* dst (c,r) = src (r,c)^T */
static void transpose(float *restrict dst, const float *restrict src, int64_t r, int64_t c) {
    for (int64_t i = 0; i < r; i++)
        for (int64_t j = 0; j < c; j++) dst[j * r + i] = src[i * c + j];
}

/* --- loading ------------------------------------------------------------------------------------------------------- */
typedef struct {
    char text[700];
    int n;
} name_list;

static void note(name_list *l, const char *name, const char *what) {
    size_t at = strlen(l->text);
    if (l->n++ < 8) snprintf(l->text + at, sizeof l->text - at, "%s%s%s", at ? ", " : "", name, what);
}

static vm_status read_st(const void *file, const st_tensor *t, int64_t first, int64_t n, float *out, vm_error *e) {
    return st_read_f32(file, t, first, n, out, e);
}
static void release_st(const void *file, const st_tensor *t) { st_release(file, t); }
static vm_status read_pt(const void *file, const st_tensor *t, int64_t first, int64_t n, float *out, vm_error *e) {
    return pt_read_f32(file, t, first, n, out, e);
}
static void release_pt(const void *file, const st_tensor *t) { pt_release(file, t); }

weight_source weights_of_safetensors(const st_file *f) {
    return (weight_source){ f, st_path(f, NULL), st_at(f, 0), st_len(f), read_st, release_st, NULL, true };
}
weight_source weights_of_checkpoint(const pt_file *f) {
    return (weight_source){ f, pt_path(f), pt_at(f, 0), pt_len(f), read_pt, release_pt, NULL, false };
}

static int by_name(const void *a, const void *b) { return strcmp(((const st_tensor *)a)->name, ((const st_tensor *)b)->name); }

const st_tensor *weight_find(const weight_source *s, const char *name) {
    st_tensor key = { .name = name };
    return s->n ? bsearch(&key, s->t, (size_t)s->n, sizeof *s->t, by_name) : NULL;
}

static const st_tensor *look_up(const weight_source *f, const char *name, const char *const *prefixes) {
    for (; *prefixes; prefixes++) {
        char full[320];
        snprintf(full, sizeof full, "%s%s", *prefixes, name);
        const st_tensor *t = weight_find(f, full);
        if (t) return t;
    }
    return NULL;
}

/* Scalars are in the wild as [] and as [1]. */
static bool same_shape(const weight_tie *t, const st_tensor *s) {
    if (t->nd <= 1 && s->nd <= 1) return s->len == (t->nd ? t->ne[0] : 1);
    bool same = t->nd == s->nd;
    for (int k = 0; same && k < t->nd; k++) same = t->ne[k] == s->shape[k];
    return same;
}

/* Matrices that are only read keep the 16 bits that all their parts have in the file, or of a map without `keep` the tables alone; tables of codes become f16. */
static st_dtype bits16(vm_type t) { return t == VM_BF16 ? ST_BF16 : ST_F16; }
static bool on_processor(const vm_param *p) { return p->be->device == VM_CPU_DEV; }
static bool in_codes(const weight_source *f, const st_tensor *s) { return s->dtype == ST_UNKNOWN && f->quant; }
static void choose_types(const weight_map *m, const weight_source *f, const char *const *prefixes) {
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < m->n; i++) {
            const weight_tie *t = &m->t[i];
            const st_tensor *s = t->p->nd < 2 || t->p->data ? NULL : look_up(f, t->name, prefixes);
            if (!s || t->flags & ~W_TABLE || !(m->keep || (t->flags & W_TABLE && on_processor(t->p)))) continue;
            if (t->flags & W_TABLE && in_codes(f, s)) t->p->type = VM_F16;
            else if (pass == 0 && (s->dtype == ST_BF16 || s->dtype == ST_F16)) t->p->type = s->dtype == ST_BF16 ? VM_BF16 : VM_F16;
            else if (pass == 1 && s->dtype != bits16(t->p->type)) t->p->type = VM_F32;
        }
}

/* Rows of a parameter in 16 bits: the same bits, or numbers rounded to it. */
enum { SOME = 1 << 22 }; /* numbers that are brought to f32 at a time */
static vm_status fill_bits(const weight_tie *t, const weight_source *f, const st_tensor *s, vm_error *e) {
    vm_param *p = t->p;
    const int64_t cols = cols_of(p), n = t->rows * cols;
    vm_mirror dst;
    if (s->data && t->rows == rows_of(p) && s->len == vm_param_count(p) && ((uintptr_t)s->data & 1) == 0 && on_processor(p)) {
        p->data = (void *)(uintptr_t)s->data, p->borrowed = p->mapped = true;
        vm_param_touch(p);
        return VM_OK;
    }
    if (vm_param_alloc(p, e) || vm_mirror_open(&dst, p->be, (uint16_t *)p->data + t->at * cols, (size_t)n * 2, false, e)) return e->status;
    vm_param_touch(p);
    if (s->data) memcpy(dst.host, s->data + (size_t)(t->file_at * cols) * 2, (size_t)n * 2);
    float *some = s->data ? NULL : vm_alloc((size_t)VM_MIN(n, SOME) * sizeof *some + 1);
    if (!s->data && !some) vm_nomem(e, SOME * sizeof *some, p->name);
    for (int64_t k = 0, m; k < n && some && !e->status; k += m) {
        m = VM_MIN((int64_t)SOME, n - k);
        if (!f->read_f32(f->file, s, t->file_at * cols + k, m, some, e)) st_from_f32((uint16_t *)dst.host + k, bits16(p->type), some, m);
    }
    vm_free(some);
    f->release(f->file, s);
    return vm_mirror_close(&dst, !e->status, e);
}

/* A parameter that stays in codes and scales, or one expert of it. */
static vm_status fill_codes(const weight_tie *t, const weight_source *f, const st_tensor *s, weight_set *set, vm_error *e) {
    const vm_param *p = t->p;
    quant_form q = { 0 };
    if (p->nd == 2 && t->rows == rows_of(p) && !t->flags)
        return f->quant(f->file, s, t->file_at, t->rows, &q, e) ? e->status : quant_form_keep(&q, set, t->p, e);
    if (p->nd != 3 || s->nd != 2 || t->rows != 1 || t->flags)
        return vm_fail(e, VM_EMODEL, "%s: %s: experts of a layer in one tensor are not read in 8 and 4 bits; use the model's weights in 16 bits", f->path, s->name);
    if (!f->quant(f->file, s, 0, p->ne[1], &q, e)) quant_form_keep_expert(&q, set, t->p, t->at, e);
    f->release(f->file, s);
    return e->status;
}

static vm_status fill(const weight_tie *t, const weight_source *f, const st_tensor *s, bool writable, weight_set *keep, vm_error *e) {
    vm_param *p = t->p;
    int64_t cols = cols_of(p);
    if (p->quant && !in_codes(f, s))
        return vm_fail(e, VM_EMODEL, "%s: %s is not quantised, other experts of its layer are; use the model's weights in 16 bits", f->path, s->name);
    if (p->type != VM_F32) return fill_bits(t, f, s, e);
    if (keep && in_codes(f, s) && p->nd > 1 && !p->data) return fill_codes(t, f, s, keep, e);
    bool whole = t->rows == rows_of(p) && s->len == vm_param_count(p) && !(t->flags & ~W_TABLE);
    bool as_is = whole && s->dtype == ST_F32 && s->data && ((uintptr_t)s->data & 3) == 0;
    if (!writable && as_is && !p->data && on_processor(p)) {
        p->data = (void *)(uintptr_t)s->data; /* read only: nothing writes a parameter of a graph without optimizer */
        p->borrowed = p->mapped = true;
        vm_param_touch(p);
        return VM_OK;
    }
    if (!writable && f->lasts && p->nd > 1 && !p->data && on_processor(p) && !(t->flags & (W_TRANSPOSED | W_COUNT)) && vm_param_count(p))
        return weight_in_file(p, f, s, t->at, t->rows, t->file_at, e);
    if (vm_param_alloc(p, e)) return e->status;
    vm_param_touch(p);
    vm_status st = VM_OK;
    if (as_is && !on_processor(p)) { /* from the mapped file to the device, without a copy between */
        st = vm_param_write(p, s->data, e);
        f->release(f->file, s);
        return st;
    }
    vm_mirror dst;
    if (vm_mirror_open(&dst, p->be, (float *)p->data + t->at * cols, (size_t)(t->rows * cols) * sizeof(float), false, e)) return e->status;
    if (t->flags & W_TRANSPOSED) {
        float *tmp = vm_alloc((size_t)s->len * sizeof *tmp);
        if (!tmp) st = vm_nomem(e, (size_t)s->len * sizeof *tmp, s->name);
        else if (!(st = f->read_f32(f->file, s, 0, s->len, tmp, e))) transpose(dst.host, tmp, cols, t->rows);
        vm_free(tmp);
    } else {
        st = f->read_f32(f->file, s, t->file_at * cols, t->rows * cols, dst.host, e);
    }
    if (vm_mirror_close(&dst, !st, e)) st = e->status;
    if (writable) f->release(f->file, s);
    return st;
}

/* A clone must be what its parameter has got already. */
static vm_status check_clone(const weight_tie *t, const weight_source *f, const st_tensor *s, vm_error *e) {
    const int64_t n = vm_param_count(t->p);
    float *x = vm_alloc((size_t)n * 2 * sizeof *x + 1);
    if (!x) return vm_nomem(e, (size_t)n * 2 * sizeof *x, s->name);
    if (!f->read_f32(f->file, s, 0, n, x, e) && !weight_read(t->p, 0, n, x + n, e) && memcmp(x, x + n, (size_t)n * sizeof *x))
        vm_fail(e, VM_EMODEL, "%s: %s is not the same as %s, though the model has both as one", f->path, s->name, t->p->name);
    vm_free(x);
    return e->status;
}

static bool harmless(const char *name) { /* buffers that old files carry */
    size_t n = strlen(name);
    const char *const ends[] = { "position_ids", "rotary_emb.inv_freq", ".attn.masked_bias", "attn_mask", "relative_position_index",
                                 ".swin.layernorm.weight", ".swin.layernorm.bias" };
    for (int k = 0; k < VM_LEN(ends); k++)
        if (n >= strlen(ends[k]) && !strcmp(name + n - strlen(ends[k]), ends[k])) return true;
    const char *const exact[] = { "input_resolution", "context_length", "vocab_size" }; /* scalars of OpenAI archives */
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    for (int k = 0; k < VM_LEN(exact); k++)
        if (!strcmp(last, exact[k])) return true;
    return false;
}

vm_status weights_load_from(weight_map *m, const weight_source *f, const char *const *prefixes, bool writable, char **unused, vm_error *e) {
    name_list missing = { .n = 0 }, shapes = { .n = 0 }, extra = { .n = 0 };
    bool *used = vm_calloc((size_t)f->n + 1, sizeof *used);
    if (unused) *unused = NULL;
    if (m->err.status) return *e = m->err, e->status;
    if (!used) return vm_nomem(e, (size_t)f->n, "the list of tensors");
    for (int64_t i = 0; i < m->n; i++) {
        if (i && !strcmp(m->t[i].name, m->t[i - 1].name)) continue; /* a further part of the same tensor */
        const st_tensor *s = look_up(f, m->t[i].name, prefixes);
        if (!s) {
            if (!(m->t[i].flags & W_COUNT)) note(&missing, m->t[i].name, "");
            continue;
        }
        used[s - f->t] = true;
        if (!same_shape(&m->t[i], s)) {
            char text[128];
            size_t at = (size_t)snprintf(text, sizeof text, " (file");
            for (int k = 0; k < s->nd && at < 60; k++) at += (size_t)snprintf(text + at, sizeof text - at, " %" PRId64, s->shape[k]);
            at += (size_t)snprintf(text + at, sizeof text - at, ", config");
            for (int k = 0; k < m->t[i].nd && at < 110; k++)
                at += (size_t)snprintf(text + at, sizeof text - at, " %" PRId64, m->t[i].ne[k]);
            snprintf(text + at, sizeof text - at, ")");
            note(&shapes, m->t[i].name, text);
        }
    }
    for (int64_t i = 0; i < f->n; i++)
        if (!used[i] && !harmless(f->t[i].name)) note(&extra, f->t[i].name, "");
    vm_free(used);
    if (missing.n || shapes.n)
        return vm_fail(e, VM_EMODEL, "%s: %d tensors missing%s%.240s; %d of another shape%s%.240s; %d unexpected%s%.240s", f->path,
                       missing.n, missing.n ? ": " : "", missing.text, shapes.n, shapes.n ? ": " : "", shapes.text, extra.n,
                       extra.n ? ": " : "", extra.text);
    if ((m->keep || f->lasts) && !writable) choose_types(m, f, prefixes);
    for (int64_t i = 0; i < m->n; i++) {
        const st_tensor *s = look_up(f, m->t[i].name, prefixes);
        if (m->t[i].flags & W_CLONE ? check_clone(&m->t[i], f, s, e) : s ? fill(&m->t[i], f, s, writable, writable ? NULL : m->keep, e) : weight_fill(m->t[i].p, 0, e))
            return e->status;
    }
    if (unused && extra.n) *unused = vm_asprintf("%s: %d tensors not used: %s%s", f->path, extra.n, extra.text, extra.n > 8 ? ", ..." : "");
    return VM_OK;
}

vm_status weights_load(weight_map *m, const st_file *f, const char *const *prefixes, bool writable, char **unused, vm_error *e) {
    weight_source s = weights_of_safetensors(f);
    return weights_load_from(m, &s, prefixes, writable, unused, e);
}

/* --- saving -------------------------------------------------------------------------------------------------------- */
static char *prefixed(const char *prefix, const char *name, char buf[320]) {
    snprintf(buf, 320, "%s%s", prefix, name);
    return buf;
}

vm_status weights_declare(const weight_map *m, st_writer *w, const char *prefix, st_dtype t, vm_error *e) {
    char name[320];
    if (m->err.status) return *e = m->err, e->status;
    for (int64_t i = 0; i < m->n; i++) {
        const weight_tie *x = &m->t[i];
        if (x->file_at) continue; /* declared with the part that begins at row 0 */
        st_dtype type = x->flags & W_COUNT ? ST_I64 : x->p->state ? ST_F32 : t; /* statistics are kept as they are */
        if (st_writer_add(w, prefixed(prefix, x->name, name), type, x->nd, x->ne, e)) return e->status;
    }
    return VM_OK;
}

float *weights_gather(const weight_map *m, int64_t i, int what, int64_t *len, vm_error *e) {
    const weight_tie *x = &m->t[i];
    *len = 1;
    for (int k = 0; k < x->nd; k++) *len *= x->ne[k];
    float *all = vm_calloc((size_t)*len + 1, sizeof *all);
    if (!all) return vm_nomem(e, (size_t)*len * sizeof *all, x->name), NULL;
    for (; i < m->n && !strcmp(m->t[i].name, x->name); i++) { /* parts of one tensor stand next to each other */
        const weight_tie *y = &m->t[i];
        int64_t cols = cols_of(y->p);
        const vm_real *src = what ? y->p->grad : y->p->data;
        vm_mirror at;
        if (!what && (y->p->quant || y->p->origin || y->p->type != VM_F32) && !(y->flags & W_TRANSPOSED)) {
            if (weight_read(y->p, y->at * cols, y->rows * cols, all + y->file_at * cols, e)) return vm_free(all), NULL;
            continue;
        }
        if (!src) continue;
        if (vm_mirror_open(&at, y->p->be, src + y->at * cols, (size_t)(y->rows * cols) * sizeof *src, true, e)) return vm_free(all), NULL;
        src = at.host;
        if (y->flags & W_TRANSPOSED) {
            for (int64_t r = 0; r < y->rows; r++)
                for (int64_t c = 0; c < cols; c++) all[c * y->rows + r] = (float)src[r * cols + c];
        } else {
            for (int64_t k = 0; k < y->rows * cols; k++) all[y->file_at * cols + k] = (float)src[k];
        }
        vm_mirror_close(&at, false, NULL);
    }
    return all;
}

static vm_status put_count(st_writer *w, const char *name, const float *x, int64_t n, vm_error *e) {
    int64_t *whole = vm_alloc((size_t)n * sizeof *whole + 1);
    if (!whole) return vm_nomem(e, (size_t)n * sizeof *whole, name);
    for (int64_t i = 0; i < n; i++) whole[i] = (int64_t)x[i];
    vm_status st = st_writer_put(w, name, whole, e);
    vm_free(whole);
    return st;
}

vm_status weights_write(const weight_map *m, st_writer *w, const char *prefix, int what, vm_error *e) {
    char name[320];
    for (int64_t i = 0; i < m->n; i++) {
        if (i && !strcmp(m->t[i].name, m->t[i - 1].name)) continue;
        int64_t len;
        float *all = weights_gather(m, i, what, &len, e);
        if (!all) return e->status;
        prefixed(prefix, m->t[i].name, name);
        vm_status st = m->t[i].flags & W_COUNT ? put_count(w, name, all, len, e) : st_writer_put_f32(w, name, all, e);
        vm_free(all);
        if (st) return st;
    }
    return VM_OK;
}

vm_status weights_save(const weight_map *m, const char *dir, const char *file, st_dtype t, const char *const *meta, vm_error *e) {
    st_writer *w = NULL;
    char *path = path_join(dir, file);
    if (!path) return vm_nomem(e, 256, "a path");
    if (!st_writer_open(&w, path, 0, e)) st_writer_meta(w, "format", "pt", e);
    for (; meta && *meta && !e->status; meta += 2)
        if (meta[1][0]) st_writer_meta(w, meta[0], meta[1], e);
    if (!e->status && !weights_declare(m, w, "", t, e)) weights_write(m, w, "", 0, e);
    if (w && !e->status) st_writer_commit(w, e);
    else st_writer_abort(w);
    vm_free(path);
    return e->status;
}

vm_status weights_restore(weight_map *m, const char *dir, const char *base, vm_error *e) {
    st_file *f = NULL;
    if (!st_open_base(&f, dir, base, e)) weights_load(m, f, (const char *const[]){ "", NULL }, true, NULL, e);
    st_close(f);
    return e->status;
}

vm_status weight_read(const vm_param *p, int64_t first, int64_t n, float *out, vm_error *e) {
    vm_mirror at;
    size_t each = vm_type_size(p->type);
    if (p->quant) return quant_read(p, first, n, out, e);
    if (!p->data && p->origin) return p->origin->read(p->origin, first, n, out, e);
    if (!p->data) return vm_fail(e, VM_EMODEL, "%s has no numbers", p->name);
    if (vm_mirror_open(&at, p->be, (const char *)p->data + (size_t)first * each, (size_t)n * each, true, e)) return e->status;
    if (p->type == VM_F32)
        for (int64_t i = 0; i < n; i++) out[i] = (float)((const vm_real *)at.host)[i];
    else st_to_f32(out, bits16(p->type), at.host, n);
    return vm_mirror_close(&at, false, e);
}

/* --- fresh numbers --------------------------------------------------------------------------------------------------- */
static vm_status fresh(vm_param *p, vm_mirror *x, vm_error *e) {
    if (vm_param_alloc(p, e)) return e->status;
    vm_param_touch(p);
    return vm_mirror_open(x, p->be, p->data, (size_t)vm_param_count(p) * sizeof(vm_real), false, e);
}

vm_status weight_normal(vm_param *p, uint64_t seed, uint64_t stream, double std, vm_error *e) {
    vm_mirror x;
    vm_rng r = vm_rng_at(seed, stream);
    if (fresh(p, &x, e)) return e->status;
    for (int64_t i = 0; i < vm_param_count(p); i++) ((vm_real *)x.host)[i] = (vm_real)(std * vm_rng_normal(&r));
    return vm_mirror_close(&x, true, e);
}

vm_status weight_fill(vm_param *p, double v, vm_error *e) {
    vm_mirror x;
    if (fresh(p, &x, e)) return e->status;
    for (int64_t i = 0; i < vm_param_count(p); i++) ((vm_real *)x.host)[i] = (vm_real)v;
    return vm_mirror_close(&x, true, e);
}

vm_real weight_scalar(const vm_param *p) {
    vm_real x = (vm_real)NAN;
    vm_error none = { 0 };
    return vm_param_read(p, &x, &none) ? (vm_real)NAN : x;
}
