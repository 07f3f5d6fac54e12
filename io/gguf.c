/* gguf.c - see gguf.h. */
#include "io/gguf.h"

#include <inttypes.h>
#include <string.h>

#include "io/file.h"

typedef enum { U8, I8, U16, I16, U32, I32, F32, BOOL, TEXT, LIST, U64, I64, F64, KINDS } kind;
static const uint8_t sizes[KINDS] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
enum { MOST_TENSORS = 1 << 20, MOST_VALUES = 1 << 20 };

typedef struct {
    char *key, *text; /* text: of TEXT */
    kind kind, of;    /* of: entries of LIST */
    int64_t n;        /* entries of LIST */
    const uint8_t *p, *end; /* of numbers and lists */
} value;

struct gguf {
    char *path;
    file_map map;
    value *v;
    gguf_tensor *t;
    int64_t n_v, n_t;
};

/* --- types ---------------------------------------------------------------------------------------------------------------- */
static const struct { uint32_t type; const char *name; int64_t each; size_t bytes; } types[] = {
    { 0, "F32", 1, 4 },        { 1, "F16", 1, 2 },        { 2, "Q4_0", 32, 18 },     { 3, "Q4_1", 32, 20 },     { 6, "Q5_0", 32, 22 },
    { 7, "Q5_1", 32, 24 },     { 8, "Q8_0", 32, 34 },     { 9, "Q8_1", 32, 36 },     { 10, "Q2_K", 256, 84 },   { 11, "Q3_K", 256, 110 },
    { 12, "Q4_K", 256, 144 },  { 13, "Q5_K", 256, 176 },  { 14, "Q6_K", 256, 210 },  { 15, "Q8_K", 256, 292 },  { 24, "I8", 1, 1 },
    { 25, "I16", 1, 2 },       { 26, "I32", 1, 4 },       { 27, "I64", 1, 8 },       { 28, "F64", 1, 8 },       { 30, "BF16", 1, 2 },
};
const char *gguf_type_name(uint32_t t) {
    for (int k = 0; k < VM_LEN(types); k++)
        if (types[k].type == t) return types[k].name;
    return "unknown";
}
bool gguf_type_size(uint32_t t, int64_t *each, size_t *bytes) {
    for (int k = 0; k < VM_LEN(types); k++)
        if (types[k].type == t) return *each = types[k].each, *bytes = types[k].bytes, true;
    return false;
}

/* --- reading -------------------------------------------------------------------------------------------------------------- */
typedef struct {
    const char *path;
    const uint8_t *begin, *p, *end;
    vm_error *e;
} cursor;

static bool take(cursor *c, void *to, size_t n) {
    if (c->e->status) return false;
    if ((size_t)(c->end - c->p) < n) {
        vm_fail(c->e, VM_EINPUT, "%s: the file ends at byte %zu, in the middle of its header", c->path, (size_t)(c->end - c->begin));
        return false;
    }
    if (to) memcpy(to, c->p, n);
    c->p += n;
    return true;
}
static uint32_t u32(cursor *c) {
    uint32_t x = 0;
    take(c, &x, 4);
    return x;
}
static uint64_t u64(cursor *c) {
    uint64_t x = 0;
    take(c, &x, 8);
    return x;
}
static gguf_text text(cursor *c) {
    uint64_t n = u64(c);
    gguf_text t = { (const char *)c->p, (size_t)n };
    if (n > (uint64_t)(c->end - c->p)) n = (uint64_t)(c->end - c->p) + 1; /* take says so */
    return take(c, NULL, (size_t)n) ? t : (gguf_text){ "", 0 };
}
/* A text of its own, ended by 0. */
static char *own_text(cursor *c, const char *what) {
    gguf_text t = text(c);
    if (c->e->status) return NULL;
    char *s = memchr(t.s, 0, t.bytes) ? NULL : vm_strndup(t.s, t.bytes);
    if (!s && memchr(t.s, 0, t.bytes)) vm_fail(c->e, VM_EINPUT, "%s: %s holds a byte 0", c->path, what);
    else if (!s) vm_nomem(c->e, t.bytes, what);
    return s;
}

static void read_value(cursor *c, value *v) {
    if (!(v->key = own_text(c, "a name in the metadata"))) return;
    uint32_t k = u32(c), of = k == LIST ? u32(c) : 0;
    v->kind = (kind)k, v->of = (kind)of;
    if (c->e->status) return;
    if (k >= KINDS || of >= KINDS || of == LIST) vm_fail(c->e, VM_EINPUT, "%s: %s has a value of type %u, which is not known", c->path, v->key, k == LIST ? of : k);
    else if (k == TEXT) v->text = own_text(c, v->key);
    else if (k != LIST) v->p = c->p, take(c, NULL, sizes[k]);
    else {
        uint64_t n = u64(c);
        v->p = c->p, v->n = (int64_t)n;
        if (n > (uint64_t)(c->end - c->p)) vm_fail(c->e, VM_EINPUT, "%s: %s has %" PRIu64 " entries, more than the file has bytes", c->path, v->key, n);
        else if (of != TEXT) take(c, NULL, (size_t)n * sizes[of]);
        for (uint64_t i = 0; i < n && of == TEXT && !c->e->status; i++) text(c);
    }
    v->end = c->p;
}

static void read_tensor(cursor *c, gguf_tensor *t, uint64_t *offset) {
    if (!(t->name = own_text(c, "a tensor's name"))) return;
    uint32_t nd = u32(c);
    size_t len = 1;
    if (!c->e->status && (nd < 1 || nd > 4)) vm_fail(c->e, VM_EINPUT, "%s: tensor %s has %u axes, 1 to 4 are possible", c->path, t->name, nd);
    if (c->e->status) return;
    t->nd = (int)nd;
    for (int k = t->nd - 1; k >= 0 && !c->e->status; k--) {
        t->ne[k] = (int64_t)u64(c);
        if (t->ne[k] < 0 || !vm_mul_sz(len, (size_t)t->ne[k], &len) || len > INT64_MAX)
            vm_fail(c->e, VM_EINPUT, "%s: tensor %s: the product of its sizes overflows", c->path, t->name);
    }
    t->type = u32(c), *offset = u64(c), t->len = (int64_t)len;
}

/* Where the data of a tensor lies. */
static vm_status place(cursor *c, gguf_tensor *t, size_t data, uint64_t offset) {
    int64_t each = 1;
    size_t bytes = 0, all = (size_t)(c->end - c->begin);
    if (!gguf_type_size(t->type, &each, &bytes)) return vm_fail(c->e, VM_EINPUT, "%s: tensor %s has type %u, which is not known", c->path, t->name, t->type);
    if (t->ne[t->nd - 1] % each) return vm_fail(c->e, VM_EINPUT, "%s: tensor %s: rows of %" PRId64 " are no whole blocks of %s", c->path, t->name, t->ne[t->nd - 1], gguf_type_name(t->type));
    if (!vm_mul_sz((size_t)(t->len / each), bytes, &t->bytes) || offset > all || data > all - offset || t->bytes > all - offset - data)
        return vm_fail(c->e, VM_EINPUT, "%s: tensor %s does not lie in the file, which may be cut off", c->path, t->name);
    t->data = c->begin + data + offset;
    return VM_OK;
}

static vm_status read_all(gguf *g, cursor *c) {
    char magic[4] = "";
    take(c, magic, 4);
    uint32_t version = u32(c);
    uint64_t n_t = u64(c), n_v = u64(c), *offset = NULL;
    if (!c->e->status && memcmp(magic, "GGUF", 4)) vm_fail(c->e, VM_EINPUT, "%s: is no GGUF file", c->path);
    else if (!c->e->status && version != 2 && version != 3) vm_fail(c->e, VM_EINPUT, "%s: version %u of GGUF, 2 and 3 are read", c->path, version);
    else if (!c->e->status && (n_t > MOST_TENSORS || n_v > MOST_VALUES)) vm_fail(c->e, VM_EINPUT, "%s: %" PRIu64 " tensors and %" PRIu64 " values cannot be", c->path, n_t, n_v);
    if (c->e->status) return c->e->status;
    g->v = vm_calloc((size_t)n_v + 1, sizeof *g->v), g->t = vm_calloc((size_t)n_t + 1, sizeof *g->t), offset = vm_calloc((size_t)n_t + 1, sizeof *offset);
    if (!g->v || !g->t || !offset) vm_nomem(c->e, (size_t)n_t * sizeof *g->t, c->path);
    for (uint64_t i = 0; i < n_v && !c->e->status; i++) read_value(c, &g->v[g->n_v++]);
    for (uint64_t i = 0; i < n_t && !c->e->status; i++) read_tensor(c, &g->t[g->n_t++], &offset[i]);
    size_t align = c->e->status ? 1 : (size_t)gguf_int(g, "general.alignment", 32, 1, 1 << 20, c->e), at = (size_t)(c->p - c->begin);
    size_t data = (at + align - 1) / align * align;
    for (int64_t i = 0; i < g->n_t && !c->e->status; i++) place(c, &g->t[i], data, offset[i]);
    vm_free(offset);
    return c->e->status;
}

vm_status gguf_open_memory(gguf **out, const void *data, size_t bytes, const char *name, vm_error *e) {
    gguf *g = vm_calloc(1, sizeof *g);
    cursor c = { name, data, data, (const uint8_t *)data + bytes, e };
    *out = NULL;
    if (!g || !(g->path = vm_strdup(name))) vm_nomem(e, sizeof *g, name);
    else read_all(g, &c);
    if (e->status) gguf_close(g);
    else *out = g;
    return e->status;
}

vm_status gguf_open(gguf **out, const char *path, vm_error *e) {
    file_map m = { 0 };
    *out = NULL;
    if (file_map_open(&m, path, e)) return e->status;
    if (gguf_open_memory(out, m.data, m.bytes, path, e)) file_map_close(&m);
    else (*out)->map = m;
    return e->status;
}

void gguf_close(gguf *g) {
    if (!g) return;
    for (int64_t i = 0; i < g->n_v; i++) vm_free(g->v[i].key), vm_free(g->v[i].text);
    for (int64_t i = 0; i < g->n_t; i++) vm_free(g->t[i].name);
    vm_free(g->v), vm_free(g->t), vm_free(g->path);
    if (g->map.path) file_map_close(&g->map);
    vm_free(g);
}

bool gguf_is(const char *path) {
    size_t n = strlen(path);
    return n > 5 && !strcmp(path + n - 5, ".gguf");
}
const char *gguf_path(const gguf *g) { return g->path; }
int64_t gguf_len(const gguf *g) { return g->n_t; }
const gguf_tensor *gguf_at(const gguf *g, int64_t i) { return &g->t[i]; }
void gguf_release(const gguf *g, const gguf_tensor *t) {
    if (g->map.path) file_map_release(&g->map, t->data, t->bytes);
}
const gguf_tensor *gguf_find(const gguf *g, const char *name) {
    for (int64_t i = 0; i < g->n_t; i++)
        if (!strcmp(g->t[i].name, name)) return &g->t[i];
    return NULL;
}

/* --- metadata ------------------------------------------------------------------------------------------------------------- */
static const value *find(const gguf *g, const char *key) {
    for (int64_t i = 0; i < g->n_v; i++)
        if (!strcmp(g->v[i].key, key)) return &g->v[i];
    return NULL;
}
bool gguf_has(const gguf *g, const char *key) { return find(g, key) != NULL; }

#define NUMBER(type)                   \
    {                                  \
        type x;                        \
        memcpy(&x, p, sizeof x);       \
        return (double)x;              \
    }
static double number(kind k, const uint8_t *p) {
    switch (k) {
    case I8: NUMBER(int8_t)
    case U16: NUMBER(uint16_t)
    case I16: NUMBER(int16_t)
    case U32: NUMBER(uint32_t)
    case I32: NUMBER(int32_t)
    case F32: NUMBER(float)
    case U64: NUMBER(uint64_t)
    case I64: NUMBER(int64_t)
    case F64: NUMBER(double)
    default: return (double)*p;
    }
}
static bool is_number(kind k) { return k < KINDS && k != TEXT && k != LIST; }
static vm_status other(const gguf *g, const char *key, const char *want, vm_error *e) { return vm_fail(e, VM_EINPUT, "%s: %s is no %s", g->path, key, want); }

double gguf_num(const gguf *g, const char *key, double dflt, vm_error *e) {
    const value *v = find(g, key);
    if (!v || e->status) return dflt;
    if (is_number(v->kind)) return number(v->kind, v->p);
    if (v->kind != LIST || !v->n || !is_number(v->of)) return other(g, key, "number", e), dflt;
    double most = number(v->of, v->p);
    for (int64_t i = 1; i < v->n; i++) most = VM_MAX(most, number(v->of, v->p + (size_t)i * sizes[v->of]));
    return most;
}

int64_t gguf_int(const gguf *g, const char *key, int64_t dflt, int64_t min, int64_t max, vm_error *e) {
    double x = gguf_num(g, key, (double)dflt, e);
    if (e->status || !gguf_has(g, key)) return dflt;
    if (!(x >= (double)min && x <= (double)max) || x != (double)(int64_t)x) {
        vm_fail(e, VM_EINPUT, "%s: %s: found %g, expected an integer from %" PRId64 " to %" PRId64, g->path, key, x, min, max);
        return dflt;
    }
    return (int64_t)x;
}

bool gguf_bool(const gguf *g, const char *key, bool dflt, vm_error *e) {
    const value *v = find(g, key);
    if (!v || e->status) return dflt;
    return v->kind == BOOL ? *v->p != 0 : (other(g, key, "truth value", e), dflt);
}

const char *gguf_str(const gguf *g, const char *key, const char *dflt, vm_error *e) {
    const value *v = find(g, key);
    if (!v || e->status) return dflt;
    return v->kind == TEXT ? v->text : (other(g, key, "text", e), dflt);
}

gguf_text *gguf_texts(const gguf *g, const char *key, int64_t *n, vm_error *e) {
    const value *v = find(g, key);
    *n = 0;
    if (!v || e->status) return NULL;
    if (v->kind != LIST || v->of != TEXT) return other(g, key, "list of texts", e), NULL;
    gguf_text *list = vm_alloc((size_t)v->n * sizeof *list + 1);
    cursor c = { g->path, v->p, v->p, v->end, e };
    if (!list) return vm_nomem(e, (size_t)v->n * sizeof *list, key), NULL;
    for (*n = 0; *n < v->n; ++*n) list[*n] = text(&c);
    return list;
}

double *gguf_nums(const gguf *g, const char *key, int64_t *n, vm_error *e) {
    const value *v = find(g, key);
    *n = 0;
    if (!v || e->status) return NULL;
    if (v->kind != LIST || !is_number(v->of)) return other(g, key, "list of numbers", e), NULL;
    double *list = vm_alloc((size_t)v->n * sizeof *list + 1);
    if (!list) return vm_nomem(e, (size_t)v->n * sizeof *list, key), NULL;
    for (*n = 0; *n < v->n; ++*n) list[*n] = number(v->of, v->p + (size_t)*n * sizes[v->of]);
    return list;
}
