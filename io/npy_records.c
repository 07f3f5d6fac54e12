/* npy_records.c - see npy_records.h. The header (numpy.lib.format): "\x93NUMPY", version (1, 2, 3 and 0), its length in
 * 2 or 4 bytes, and a Python literal {'descr': '|O', 'fortran_order': False, 'shape': (50000,), } that ends in a line
 * feed. */
#include "io/npy_records.h"

#include <string.h>

static vm_status bad(const char *path, vm_error *e, const char *what) {
    return vm_fail(e, VM_EINPUT, "%s: %s", path, what);
}

vm_status npy_open(npy_records *r, const uint8_t *data, size_t bytes, const char *path, vm_error *e) {
    *r = (npy_records){ 0 };
    if (bytes < 10 || memcmp(data, "\x93NUMPY", 6))
        return bad(path, e, "no NumPy file: it does not begin with \\x93NUMPY");
    int version = data[6], wide = version > 1;
    if (version < 1 || version > 3 || data[7])
        return bad(path, e, "a NumPy file of another version than 1.0, 2.0 and 3.0");
    if (bytes < 12) return bad(path, e, "the file is cut off within its header");
    size_t from = wide ? 12 : 10, len = data[8] | (size_t)data[9] << 8;
    if (wide) len |= (size_t)data[10] << 16 | (size_t)data[11] << 24;
    if (len > bytes - from) return bad(path, e, "the file is cut off within its header");
    if (!memmem(data + from, len, "'descr': '|O'", 13))
        return bad(path, e, "a NumPy file of numbers; records (an array of objects) are needed");
    if (unpickle(&r->u, data + from + len, bytes - from - len, path, UNPICKLE_RECORDS, e)) {
        npy_close(r);
        return e->status;
    }
    if (r->u.root.kind != PK_ARRAY) {
        npy_close(r);
        return bad(path, e, "its pickle holds no array");
    }
    r->n = r->u.dict[r->u.root.i].n;
    return VM_OK;
}

void npy_close(npy_records *r) {
    unpickle_free(&r->u);
    r->n = 0;
}

int64_t npy_first(const npy_records *r) { return r->u.dict[r->u.root.i].first; }
int64_t npy_after(const npy_records *r, int64_t place) { return r->u.pair[place].next; }

pk_value npy_get(const npy_records *r, int64_t place, const char *key) {
    pk_value v = r->u.pair[place].value;
    if (v.kind != PK_DICT || r->u.dict[v.i].n > NPY_MEMBERS) return (pk_value){ 0 };
    for (int64_t k = r->u.dict[v.i].first; k >= 0; k = r->u.pair[k].next) {
        pk_value name = r->u.pair[k].key;
        if (name.kind == PK_TEXT && name.n == strlen(key) && !memcmp(r->u.p + name.i, key, name.n))
            return r->u.pair[k].value;
    }
    return (pk_value){ 0 };
}

const char *npy_text(const npy_records *r, pk_value v, size_t *bytes) {
    if (v.kind != PK_TEXT) return NULL;
    *bytes = v.n;
    return (const char *)r->u.p + v.i;
}

bool npy_ints(const npy_records *r, pk_value v, int64_t n, int64_t *out) {
    if ((v.kind != PK_LIST && v.kind != PK_ARRAY) || r->u.dict[v.i].n != n) return false;
    int64_t i = 0;
    for (int64_t k = r->u.dict[v.i].first; k >= 0; k = r->u.pair[k].next) {
        pk_value x = r->u.pair[k].value;
        if (x.kind != PK_INT && x.kind != PK_BOOL) return false;
        out[i++] = x.i;
    }
    return true;
}
