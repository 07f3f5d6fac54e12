/* unpickle.h - the tree of values that a pickle of tensors, or of NumPy's arrays of objects, describes; for pickle.c and
 * npy_records.c only.
 *
 * A pickle is a program of one-byte opcodes for a stack machine whose GLOBAL and REDUCE opcodes name and call any
 * function of Python. This reader has no such call. It knows the opcodes that torch.save writes (protocols 2 to 5):
 *   PROTO FRAME STOP MARK, NONE NEWTRUE NEWFALSE, BININT BININT1 BININT2 LONG1 BINFLOAT, BINUNICODE and its two sizes,
 *   EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3, EMPTY_LIST APPEND APPENDS, EMPTY_DICT SETITEM SETITEMS,
 *   BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET, BINPERSID, GLOBAL STACK_GLOBAL, REDUCE, BUILD;
 * the names collections.OrderedDict, torch._utils._rebuild_tensor_v2, torch._utils._rebuild_parameter and
 * torch.*Storage of the ten plain types, which stand for nothing but themselves; REDUCE of the first three; BUILD of an
 * OrderedDict, whose attributes are dropped. Anything else ends the reading with the opcode and its offset. Lists keep
 * no elements: no tensor of a state dict stands in one.
 *
 * A pickle of records (UNPICKLE_RECORDS) is what numpy.save writes for an array of objects: no storages and no names of
 * torch, but lists with their elements, SHORT_BINBYTES and BINBYTES, and the names numpy.ndarray, numpy.dtype,
 * numpy.core.multiarray._reconstruct and .scalar (also numpy._core), which stand for a one-dimensional array of objects
 * and for single integers and floats. */
#ifndef VM_IO_UNPICKLE_H
#define VM_IO_UNPICKLE_H
#include "io/safetensors.h"

typedef enum {
    PK_UNSET,
    PK_NONE,
    PK_BOOL,
    PK_INT,
    PK_FLOAT,
    PK_TEXT,
    PK_TUPLE,
    PK_LIST,
    PK_DICT,
    PK_NAME,
    PK_STORAGE,
    PK_TENSOR,
    PK_BYTES,
    PK_DTYPE,
    PK_ARRAY
} pk_kind;

/* i is the number itself (bool, int); offset of a text or of bytes, n long, in the pickle; first of n items of a tuple;
 * index of a dict, storage, tensor; index of the dict whose values are the elements of a list or array, -1 = none; pk_name
 * of a name; letter of a dtype ('O' objects, 'i' and 'u' integers, 'f' floats, 'b' truth) of n bytes. */
typedef struct {
    uint8_t kind;
    uint32_t n;
    int64_t i;
} pk_value;

typedef struct {
    pk_value key, value;
    int64_t next; /* pair of the same dict; -1 = last */
} pk_pair;
typedef struct {
    int64_t first, last, n; /* pairs; -1 = none; how many */
} pk_dict;
typedef struct {
    st_dtype dtype;
    int64_t len;
    int64_t key; /* offset of its n_key bytes in the pickle: the archive's data/KEY */
    uint32_t n_key;
} pk_storage;
typedef struct { /* shape and strides as they stand: not checked against the storage */
    int64_t storage, offset, shape[ST_MAX_DIMS], stride[ST_MAX_DIMS];
    int nd;
} pk_tensor;

typedef struct {
    const uint8_t *p;
    size_t bytes;
    const char *name; /* in messages */
    pk_value root;
    pk_dict *dict;
    pk_pair *pair;
    pk_storage *storage;
    pk_tensor *tensor;
    int64_t n_dict, n_pair, n_storage, n_tensor;
    /* the machine */
    pk_value *stack, *memo, *item; /* item: elements of tuples */
    int64_t *mark;                 /* heights of the stack */
    int64_t n_stack, n_memo, n_item, n_mark;
    int64_t cap_dict, cap_pair, cap_storage, cap_tensor, cap_stack, cap_memo, cap_item, cap_mark;
    size_t at, used; /* offset of the current opcode; bytes of memory */
    bool records;
    vm_error *e;
} unpickler;

typedef enum { UNPICKLE_TENSORS, UNPICKLE_RECORDS } unpickle_what;
/* Reads all of data, which must outlive u. Stack and memo hold at most 10^6 values, all memory is at most max(32 MB,
 * 2 * bytes), of records max(64 MB, 4 * bytes). VM_EINPUT. */
vm_status unpickle(unpickler *u, const uint8_t *data, size_t bytes, const char *name, unpickle_what what, vm_error *e);
void unpickle_free(unpickler *u); /* accepts all-zero */

#endif
