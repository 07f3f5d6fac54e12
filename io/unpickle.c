/* unpickle.c - see unpickle.h. */
#include "io/unpickle.h"

#include "io/utf8.h"

#include <stdio.h>
#include <string.h>

enum { MAX_STACK = 1000000 };
typedef enum {
    NAME_DICT, NAME_ARRAY, NAME_NDARRAY, NAME_DTYPE, NAME_SCALAR, NAME_TENSOR, NAME_PARAMETER,
    NAME_STORAGE /* + st_dtype */
} pk_name;

typedef struct {
    const char *module, *name;
    int64_t id;
} known_name;
static const known_name of_records[] = {
    { "collections", "OrderedDict", NAME_DICT },
    { "numpy.core.multiarray", "_reconstruct", NAME_ARRAY }, { "numpy._core.multiarray", "_reconstruct", NAME_ARRAY },
    { "numpy", "ndarray", NAME_NDARRAY },                    { "numpy", "dtype", NAME_DTYPE },
    { "numpy.core.multiarray", "scalar", NAME_SCALAR },      { "numpy._core.multiarray", "scalar", NAME_SCALAR },
};
static const known_name of_tensors[] = {
    { "collections", "OrderedDict", NAME_DICT },
    { "torch._utils", "_rebuild_tensor_v2", NAME_TENSOR },
    { "torch._utils", "_rebuild_parameter", NAME_PARAMETER },
    { "torch", "FloatStorage", NAME_STORAGE + ST_F32 },   { "torch", "DoubleStorage", NAME_STORAGE + ST_F64 },
    { "torch", "HalfStorage", NAME_STORAGE + ST_F16 },    { "torch", "BFloat16Storage", NAME_STORAGE + ST_BF16 },
    { "torch", "LongStorage", NAME_STORAGE + ST_I64 },    { "torch", "IntStorage", NAME_STORAGE + ST_I32 },
    { "torch", "ShortStorage", NAME_STORAGE + ST_I16 },   { "torch", "CharStorage", NAME_STORAGE + ST_I8 },
    { "torch", "ByteStorage", NAME_STORAGE + ST_U8 },     { "torch", "BoolStorage", NAME_STORAGE + ST_BOOL },
};

static vm_status bad(const unpickler *u, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static vm_status bad(const unpickler *u, const char *fmt, ...) {
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return vm_fail(u->e, VM_EINPUT, "%s: byte %zu: %s", u->name, u->at, text);
}

/* --- memory, stack, memo ------------------------------------------------------------------------------------------ */
/* Room for one more element of an array. A few bytes of pickle can ask for many: their sum is bounded. */
static bool room(unpickler *u, void *array, int64_t *cap, int64_t n, size_t each) {
    if (n < *cap) return true;
    size_t most = VM_MAX((size_t)32 << 20, 2 * u->bytes) << u->records;
    size_t more = (size_t)VM_MAX(n, (int64_t)64) * 2 * each - (u->records ? (size_t)*cap * each : 0);
    if (more > most || u->used > most - more)
        return bad(u, "more objects than %zu bytes of pickle should hold", u->bytes), false;
    int64_t old = *cap;
    if (!vm_grow(array, cap, n + 1, each)) return vm_nomem(u->e, more, u->name), false;
    u->used += (size_t)(*cap - old) * each;
    return true;
}

static vm_status push(unpickler *u, pk_kind kind, int64_t i, uint32_t n) {
    if (u->n_stack >= MAX_STACK) return bad(u, "more than %d values on the stack", MAX_STACK);
    if (!room(u, &u->stack, &u->cap_stack, u->n_stack, sizeof *u->stack)) return u->e->status;
    u->stack[u->n_stack++] = (pk_value){ (uint8_t)kind, n, i };
    return VM_OK;
}

/* Values above the topmost mark. */
static int64_t above_mark(const unpickler *u) { return u->n_stack - (u->n_mark ? u->mark[u->n_mark - 1] : 0); }

/* Takes n values off; they still stand at the returned place. NULL when there are fewer. */
static const pk_value *pop(unpickler *u, int64_t n) {
    if (above_mark(u) < n) return bad(u, "the stack is empty"), NULL;
    u->n_stack -= n;
    return u->stack + u->n_stack;
}

/* All values above the mark, and the mark. */
static const pk_value *pop_mark(unpickler *u, int64_t *n) {
    if (!u->n_mark) return bad(u, "no mark on the stack"), NULL;
    *n = above_mark(u);
    u->n_stack -= *n, u->n_mark--;
    return u->stack + u->n_stack;
}

static vm_status put_memo(unpickler *u, uint64_t at) {
    if (at >= MAX_STACK) return bad(u, "memo entry %llu, at most %d are kept", (unsigned long long)at, MAX_STACK);
    if (!above_mark(u)) return bad(u, "the stack is empty");
    while (u->n_memo <= (int64_t)at) {
        if (!room(u, &u->memo, &u->cap_memo, u->n_memo, sizeof *u->memo)) return u->e->status;
        u->memo[u->n_memo++] = (pk_value){ 0 };
    }
    u->memo[at] = u->stack[u->n_stack - 1];
    return VM_OK;
}

static vm_status get_memo(unpickler *u, uint64_t at) {
    if (at >= (uint64_t)u->n_memo || u->memo[at].kind == PK_UNSET)
        return bad(u, "memo entry %llu is empty", (unsigned long long)at);
    pk_value v = u->memo[at];
    return push(u, v.kind, v.i, v.n);
}

/* --- values ------------------------------------------------------------------------------------------------------- */
static vm_status push_tuple(unpickler *u, const pk_value *v, int64_t n) {
    int64_t first = u->n_item;
    for (int64_t k = 0; k < n; k++) {
        if (!room(u, &u->item, &u->cap_item, u->n_item, sizeof *u->item)) return u->e->status;
        u->item[u->n_item++] = v[k];
    }
    return push(u, PK_TUPLE, first, (uint32_t)n);
}

static vm_status push_dict(unpickler *u) {
    if (!room(u, &u->dict, &u->cap_dict, u->n_dict, sizeof *u->dict)) return u->e->status;
    u->dict[u->n_dict] = (pk_dict){ -1, -1, 0 };
    return push(u, PK_DICT, u->n_dict++, 0);
}

static vm_status add_pair(unpickler *u, int64_t dict, pk_value key, pk_value value) {
    if (!room(u, &u->pair, &u->cap_pair, u->n_pair, sizeof *u->pair)) return u->e->status;
    pk_dict *d = &u->dict[dict];
    u->pair[u->n_pair] = (pk_pair){ key, value, -1 };
    if (d->last >= 0) u->pair[d->last].next = u->n_pair;
    else d->first = u->n_pair;
    d->last = u->n_pair++, d->n++;
    return VM_OK;
}

/* n keys and values into the dict on top of the stack. */
static vm_status set_items(unpickler *u, const pk_value *v, int64_t n) {
    if (n % 2) return bad(u, "a key without a value");
    if (!above_mark(u) || u->stack[u->n_stack - 1].kind != PK_DICT)
        return bad(u, "items for something that is no dictionary");
    for (int64_t k = 0; k < n; k += 2)
        if (add_pair(u, u->stack[u->n_stack - 1].i, v[k], v[k + 1])) return u->e->status;
    return VM_OK;
}

static vm_status push_list(unpickler *u) {
    int64_t at = -1;
    if (u->records) {
        if (!room(u, &u->dict, &u->cap_dict, u->n_dict, sizeof *u->dict)) return u->e->status;
        u->dict[at = u->n_dict++] = (pk_dict){ -1, -1, 0 };
    }
    return push(u, PK_LIST, at, 0);
}

/* n elements to the end of the list on top of the stack. */
static vm_status append(unpickler *u, const pk_value *v, int64_t n) {
    if (!above_mark(u) || u->stack[u->n_stack - 1].kind != PK_LIST)
        return bad(u, "elements for something that is no list");
    for (int64_t k = 0; k < n && u->records; k++)
        if (add_pair(u, u->stack[u->n_stack - 1].i, (pk_value){ 0 }, v[k])) return u->e->status;
    return VM_OK;
}

static vm_status push_text(unpickler *u, size_t at, uint64_t n) {
    if (n > u->bytes - at) return bad(u, "a text of %llu bytes reaches beyond the end", (unsigned long long)n);
    if (n > UINT32_MAX) return bad(u, "a text of %llu bytes", (unsigned long long)n);
    if (utf8_bad((const char *)u->p + at, (size_t)n) != n) return bad(u, "a text that is not UTF-8");
    return push(u, PK_TEXT, (int64_t)at, (uint32_t)n);
}

static bool text_is(const unpickler *u, pk_value v, const char *s) {
    return v.kind == PK_TEXT && v.n == strlen(s) && !memcmp(u->p + v.i, s, v.n);
}

static vm_status push_name(unpickler *u, const uint8_t *module, size_t n_module, const uint8_t *name, size_t n_name) {
    const known_name *names = u->records ? of_records : of_tensors;
    for (int k = 0; k < (u->records ? VM_LEN(of_records) : VM_LEN(of_tensors)); k++)
        if (strlen(names[k].module) == n_module && strlen(names[k].name) == n_name &&
            !memcmp(names[k].module, module, n_module) && !memcmp(names[k].name, name, n_name))
            return push(u, PK_NAME, names[k].id, 0);
    char text[128];
    size_t n = 0;
    for (size_t k = 0; k < n_module + 1 + n_name && n < sizeof text - 1;
         k++) { /* hostile names must not reach a terminal as they are */
        uint8_t c = k < n_module ? module[k] : k == n_module ? '.' : name[k - n_module - 1];
        text[n++] = c >= 32 && c < 127 ? (char)c : '?';
    }
    text[n] = 0;
    if (u->records)
        return bad(u,
                   "the name %s is refused: nothing of a pickle is executed, and arrays of plain records need only "
                   "NumPy's own",
                   text);
    return bad(u,
               "the name %s is refused: nothing of a pickle is executed, and tensors need only OrderedDict, torch "
               "storages and "
               "_rebuild_tensor_v2; save the bare weights with torch.save(model.state_dict(), FILE)",
               text);
}

/* --- storages and tensors ----------------------------------------------------------------------------------------- */
/* ('storage', torch.FloatStorage, key, location, elements) */
static vm_status push_storage(unpickler *u, pk_value id) {
    const pk_value *x = id.kind == PK_TUPLE && id.n == 5 ? u->item + id.i : NULL;
    if (!x || !text_is(u, x[0], "storage") || x[1].kind != PK_NAME || x[1].i <= NAME_STORAGE || x[2].kind != PK_TEXT ||
        x[3].kind != PK_TEXT || x[4].kind != PK_INT || x[4].i < 0)
        return bad(u, "BINPERSID of something that is no storage (\"storage\", type, key, place, elements)");
    if (!room(u, &u->storage, &u->cap_storage, u->n_storage, sizeof *u->storage)) return u->e->status;
    u->storage[u->n_storage] = (pk_storage){ (st_dtype)(x[1].i - NAME_STORAGE), x[4].i, x[2].i, x[2].n };
    return push(u, PK_STORAGE, u->n_storage++, 0);
}

static bool take_sizes(const unpickler *u, pk_value v, int64_t *out) {
    for (uint32_t k = 0; k < v.n; k++) {
        pk_value x = u->item[v.i + k];
        if (x.kind != PK_INT || x.i < 0) return false;
        out[k] = x.i;
    }
    return true;
}

/* (storage, offset, shape, strides, requires_grad, hooks[, metadata]) */
static vm_status push_tensor(unpickler *u, pk_value args) {
    const pk_value *x = args.n == 6 || args.n == 7 ? u->item + args.i : NULL;
    pk_tensor t = { 0 };
    if (!x || x[0].kind != PK_STORAGE || x[1].kind != PK_INT || x[1].i < 0 || x[2].kind != PK_TUPLE ||
        x[3].kind != PK_TUPLE)
        return bad(u, "_rebuild_tensor_v2 with other arguments than (storage, offset, shape, strides, ...)");
    if (x[2].n != x[3].n || x[2].n > ST_MAX_DIMS)
        return bad(u, "a tensor with %u sizes and %u strides; at most %d of each are read", x[2].n, x[3].n,
                   ST_MAX_DIMS);
    t.storage = x[0].i, t.offset = x[1].i, t.nd = (int)x[2].n;
    if (!take_sizes(u, x[2], t.shape) || !take_sizes(u, x[3], t.stride))
        return bad(u, "a tensor with sizes or strides that are no integers from 0");
    if (!room(u, &u->tensor, &u->cap_tensor, u->n_tensor, sizeof *u->tensor)) return u->e->status;
    u->tensor[u->n_tensor] = t;
    return push(u, PK_TENSOR, u->n_tensor++, 0);
}

/* --- NumPy -------------------------------------------------------------------------------------------------------- */
/* ("i8", False, True): a letter and its bytes. The byte order follows by BUILD and is checked there. */
static vm_status push_dtype(unpickler *u, pk_value args) {
    pk_value t = args.n == 3 ? u->item[args.i] : (pk_value){ 0 };
    const char *s = (const char *)u->p + t.i;
    if (t.kind != PK_TEXT || t.n != 2 || !memchr("Oiufb", s[0], 5) || !memchr("1248", s[1], 4))
        return bad(u, "a NumPy type other than objects, integers, floats and truth is refused");
    return push(u, PK_DTYPE, s[0], (uint32_t)(s[1] - '0'));
}

/* (dtype, the bytes of one number); floats lose their value, which no record needs. */
static vm_status push_scalar(unpickler *u, pk_value args) {
    const pk_value *x = args.n == 2 ? u->item + args.i : NULL;
    if (!x || x[0].kind != PK_DTYPE || x[0].i == 'O' || x[1].kind != PK_BYTES || x[1].n != x[0].n)
        return bad(u, "a NumPy number with other arguments than its type and its bytes");
    int64_t v = 0;
    for (uint32_t k = x[1].n; k-- > 0;) v = (int64_t)((uint64_t)v << 8 | u->p[x[1].i + k]);
    if (x[0].i == 'i' && x[1].n < 8 && v >> (8 * x[1].n - 1)) v -= (int64_t)1 << 8 * x[1].n;
    if (x[0].i == 'f') return push(u, PK_FLOAT, 0, 0);
    return push(u, x[0].i == 'b' ? PK_BOOL : PK_INT, v, 0);
}

/* The array that BUILD fills stands in a dict of one pair, so that all references to it see the list. */
static vm_status push_array(unpickler *u, pk_value args) {
    const pk_value *x = args.n == 3 ? u->item + args.i : NULL;
    if (!x || x[0].kind != PK_NAME || x[0].i != NAME_NDARRAY)
        return bad(u, "_reconstruct of something that is no numpy.ndarray");
    if (!room(u, &u->dict, &u->cap_dict, u->n_dict, sizeof *u->dict)) return u->e->status;
    u->dict[u->n_dict] = (pk_dict){ -1, -1, 0 };
    return push(u, PK_ARRAY, u->n_dict++, 0);
}

/* (version, (n,), dtype, in Fortran's order, [elements]) */
static vm_status build_array(unpickler *u, pk_value a, pk_value state) {
    const pk_value *x = state.kind == PK_TUPLE && state.n == 5 ? u->item + state.i : NULL;
    if (!x || x[1].kind != PK_TUPLE || x[1].n != 1 || x[2].kind != PK_DTYPE || x[2].i != 'O' || x[4].kind != PK_LIST)
        return bad(u, "an array that is no one-dimensional array of objects");
    int64_t n = u->dict[x[4].i].n;
    if (u->item[x[1].i].kind != PK_INT || u->item[x[1].i].i != n)
        return bad(u, "an array whose length is not that of its %lld elements", (long long)n);
    u->dict[a.i] = u->dict[x[4].i];
    return push(u, PK_ARRAY, a.i, 0);
}

/* (version, byte order, None, None, None, -1, -1, flags) */
static vm_status build_dtype(unpickler *u, pk_value t, pk_value state) {
    pk_value order = state.kind == PK_TUPLE && state.n == 8 ? u->item[state.i + 1] : (pk_value){ 0 };
    if (order.kind != PK_TEXT || order.n != 1 || !memchr("|<=", u->p[order.i], 3))
        return bad(u, "a NumPy type that is not little-endian");
    return push(u, PK_DTYPE, t.i, t.n);
}

static vm_status reduce(unpickler *u) {
    const pk_value *x = pop(u, 2);
    if (!x) return u->e->status;
    pk_value f = x[0], args = x[1];
    if (f.kind != PK_NAME || args.kind != PK_TUPLE) return bad(u, "REDUCE of something that is no name with arguments");
    if (f.i == NAME_DICT && !args.n) return push_dict(u);
    if (f.i == NAME_ARRAY) return push_array(u, args);
    if (f.i == NAME_DTYPE) return push_dtype(u, args);
    if (f.i == NAME_SCALAR) return push_scalar(u, args);
    if (f.i == NAME_TENSOR) return push_tensor(u, args);
    if (f.i == NAME_PARAMETER && args.n == 3 && u->item[args.i].kind == PK_TENSOR)
        return push(u, PK_TENSOR, u->item[args.i].i, 0);
    return bad(u, "REDUCE with arguments that are refused");
}

/* The attributes of a state dict (_metadata: versions of modules), the contents of an array, the rest of a type. */
static vm_status build(unpickler *u) {
    const pk_value *x = pop(u, 2);
    if (!x) return u->e->status;
    if (x[0].kind == PK_ARRAY) return build_array(u, x[0], x[1]);
    if (x[0].kind == PK_DTYPE) return build_dtype(u, x[0], x[1]);
    if (x[0].kind != PK_DICT || x[1].kind != PK_DICT)
        return bad(u, "BUILD of something else than a dictionary is refused");
    return push(u, PK_DICT, x[0].i, 0);
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */
static uint64_t little(const uint8_t *p, int n) {
    uint64_t v = 0;
    while (n-- > 0) v = v << 8 | p[n];
    return v;
}

static int64_t signed_little(const uint8_t *p, int n) {
    uint64_t v = little(p, n);
    if (n > 0 && n < 8 && v >> (8 * n - 1)) v |= ~(uint64_t)0 << 8 * n;
    return (int64_t)v;
}

/* Bytes of the argument that every use of the opcode has; -1 = refused. */
static int argument(const unpickler *u, uint8_t op) {
    if (u->records && (op == 'C' || op == 'B')) return op == 'C' ? 1 : 4;
    if (u->records && op == 'Q') return -1;
    switch (op) {
    case '.': case '(': case 'N': case 0x88: case 0x89: case ')': case 't': case 0x85: case 0x86: case 0x87: case ']':
    case 'a': case 'e': case '}': case 's': case 'u': case 0x94: case 'Q': case 'c': case 0x93: case 'R': case 'b':
        return 0;
    case 0x80: case 'K': case 0x8a: case 0x8c: case 'q': case 'h': return 1;
    case 'M': return 2;
    case 'J': case 'X': case 'r': case 'j': return 4;
    case 0x95: case 'G': case 0x8d: return 8;
    default: return -1;
    }
}

/* "MODULE\nNAME\n" at *next, which moves behind it. */
static vm_status global(unpickler *u, size_t *next) {
    const uint8_t *from[2] = { 0 };
    size_t n[2] = { 0 };
    for (int k = 0; k < 2; k++) {
        const uint8_t *end = memchr(u->p + *next, '\n', u->bytes - *next);
        if (!end) return bad(u, "a name without end");
        from[k] = u->p + *next, n[k] = (size_t)(end - from[k]);
        *next += n[k] + 1;
    }
    return push_name(u, from[0], n[0], from[1], n[1]);
}

/* One opcode; x is its argument, *next the byte behind it. */
static vm_status step(unpickler *u, uint8_t op, const uint8_t *x, int n_x, size_t *next) {
    uint64_t v = little(x, n_x);
    const pk_value *p;
    int64_t n = 0;
    switch (op) {
    case 0x80:
        return v >= 2 && v <= 5 && u->at == 0
                   ? VM_OK
                   : bad(u, "pickle protocol %llu; 2 to 5 are read, stated once at the beginning",
                         (unsigned long long)v);
    case 0x95:
        return v <= u->bytes - *next ? VM_OK
                                     : bad(u, "a frame of %llu bytes reaches beyond the end", (unsigned long long)v);
    case '(':
        if (u->n_mark >= MAX_STACK) return bad(u, "more than %d marks", MAX_STACK);
        if (!room(u, &u->mark, &u->cap_mark, u->n_mark, sizeof *u->mark)) return u->e->status;
        u->mark[u->n_mark++] = u->n_stack;
        return VM_OK;
    case 'N': return push(u, PK_NONE, 0, 0);
    case 0x88:
    case 0x89: return push(u, PK_BOOL, op == 0x88, 0);
    case 'K':
    case 'M': return push(u, PK_INT, (int64_t)v, 0);
    case 'J': return push(u, PK_INT, signed_little(x, 4), 0);
    case 0x8a: /* LONG1 */
        if (v > 8 || v > u->bytes - *next)
            return bad(u, "an integer of %llu bytes; at most 8 are read", (unsigned long long)v);
        *next += (size_t)v;
        return push(u, PK_INT, signed_little(x + 1, (int)v), 0);
    case 'G': return push(u, PK_FLOAT, 0, 0); /* no tensor depends on one */
    case 'X':
    case 0x8c:
    case 0x8d:
        if (push_text(u, *next, v)) return u->e->status;
        *next += (size_t)v;
        return VM_OK;
    case 'C':
    case 'B':
        if (v > u->bytes - *next) return bad(u, "%llu bytes reach beyond the end", (unsigned long long)v);
        *next += (size_t)v;
        return push(u, PK_BYTES, (int64_t)(*next - (size_t)v), (uint32_t)v);
    case ')': return push(u, PK_TUPLE, 0, 0);
    case 't': return (p = pop_mark(u, &n)) ? push_tuple(u, p, n) : u->e->status;
    case 0x85:
    case 0x86:
    case 0x87: n = op - 0x84; return (p = pop(u, n)) ? push_tuple(u, p, n) : u->e->status;
    case ']': return push_list(u);
    case 'a': return (p = pop(u, 1)) ? append(u, p, 1) : u->e->status;
    case 'e': return (p = pop_mark(u, &n)) ? append(u, p, n) : u->e->status;
    case '}': return push_dict(u);
    case 's': return (p = pop(u, 2)) ? set_items(u, p, 2) : u->e->status;
    case 'u': return (p = pop_mark(u, &n)) ? set_items(u, p, n) : u->e->status;
    case 'q':
    case 'r': return put_memo(u, v);
    case 0x94: return put_memo(u, (uint64_t)u->n_memo);
    case 'h':
    case 'j': return get_memo(u, v);
    case 'Q': return (p = pop(u, 1)) ? push_storage(u, *p) : u->e->status;
    case 'c': return global(u, next);
    case 0x93:
        if (!(p = pop(u, 2))) return u->e->status;
        if (p[0].kind != PK_TEXT || p[1].kind != PK_TEXT) return bad(u, "STACK_GLOBAL without two texts");
        return push_name(u, u->p + p[0].i, p[0].n, u->p + p[1].i, p[1].n);
    case 'R': return reduce(u);
    default: return build(u);
    }
}

vm_status unpickle(unpickler *u, const uint8_t *data, size_t bytes, const char *name, unpickle_what what, vm_error *e) {
    *u = (unpickler){ .p = data, .bytes = bytes, .name = name, .records = what == UNPICKLE_RECORDS, .e = e };
    size_t next = 0;
    /* never NULL: where nothing is popped from is a place, too */
    if (!room(u, &u->stack, &u->cap_stack, 0, sizeof *u->stack)) return e->status;
    for (bool stop = false; !stop;) {
        u->at = next;
        if (next >= bytes) return bad(u, "the pickle ends without STOP");
        uint8_t op = data[next++];
        int n = argument(u, op);
        if (n < 0)
            return bad(
                u, "opcode 0x%02x%s%.1s%s is refused: only what plain %s need is read, and nothing is executed",
                op, op > 32 && op < 127 ? " '" : "", op > 32 && op < 127 ? (const char *)data + u->at : "",
                op > 32 && op < 127 ? "'" : "", u->records ? "records" : "tensors");
        if ((size_t)n > bytes - next) return bad(u, "the pickle is cut off within an opcode");
        if (u->at == 0 && op != 0x80) return bad(u, "no pickle: the protocol is missing");
        next += (size_t)n;
        stop = op == '.';
        if (!stop && step(u, op, data + next - n, n, &next)) return e->status;
    }
    if (next != bytes) return bad(u, "%zu bytes behind the end of the pickle", bytes - next);
    if (u->n_stack != 1 || u->n_mark)
        return bad(u, "STOP with %lld values on the stack, expected one", (long long)u->n_stack);
    u->root = u->stack[0];
    return VM_OK;
}

void unpickle_free(unpickler *u) {
    vm_free(u->dict), vm_free(u->pair), vm_free(u->storage), vm_free(u->tensor);
    vm_free(u->stack), vm_free(u->memo), vm_free(u->item), vm_free(u->mark);
    *u = (unpickler){ 0 };
}
