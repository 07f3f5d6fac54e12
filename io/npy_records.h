/* npy_records.h - NumPy files (.npy) that hold a one-dimensional array of dictionaries, as numpy.save writes them for
 * an array of objects: a header and a pickle, of which nothing is ever executed (unpickle.h).
 *
 *     npy_records r;
 *     if (npy_open(&r, data, bytes, path, e)) return e->status;
 * for (int64_t k = npy_first(&r); k >= 0; k = npy_after(&r, k)) text = npy_text(&r, npy_get(&r, k, "caption"), &len);
 */
#ifndef VM_IO_NPY_RECORDS_H
#define VM_IO_NPY_RECORDS_H
#include "io/unpickle.h"

enum { NPY_MEMBERS = 256 };
typedef struct {
    unpickler u;
    int64_t n; /* elements */
} npy_records;

/* data must outlive r. VM_EINPUT, VM_EDEVICE. */
vm_status npy_open(npy_records *r, const uint8_t *data, size_t bytes, const char *path, vm_error *e);
void npy_close(npy_records *r); /* accepts all-zero */
/* Elements of the array one after the other: places, -1 = the end. */
int64_t npy_first(const npy_records *r);
int64_t npy_after(const npy_records *r, int64_t place);
/* The member of the dictionary at a place; kind PK_UNSET when it is no dictionary, has no member of the
 * name, or more than NPY_MEMBERS. */
pk_value npy_get(const npy_records *r, int64_t place, const char *key);
/* Not terminated; NULL when v is no text. */
const char *npy_text(const npy_records *r, pk_value v, size_t *bytes);
/* The first n integers or truth values of a list or array of exactly n; false when it is none. */
bool npy_ints(const npy_records *r, pk_value v, int64_t n, int64_t *out);
#endif
