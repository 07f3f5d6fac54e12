/* safetensors.h - weights and tensors in files: read (mapped, validated first) and written (atomic, deterministic).
 *
 * Layout: u64 little-endian N; N bytes of JSON {"NAME":{"dtype","shape","data_offsets":[begin,end]}, "__metadata__":
 * {string: string}}, padded with spaces; then the data, C-contiguous and little-endian.
 * Every rule is checked at opening: N <= 100,000,000 and within the file; the header is one strict JSON object that
 * begins with '{'; no name twice; end - begin = product(shape) * element size without overflow; tensors cover the data
 * without overlap or hole up to the last byte of the file. A dtype that is not known is listed but cannot be read. */
#ifndef VM_IO_SAFETENSORS_H
#define VM_IO_SAFETENSORS_H
#include "kernels/base.h"

typedef enum {
    ST_UNKNOWN, ST_BOOL, ST_U8, ST_I8, ST_F8_E4M3, ST_F8_E5M2, ST_I16, ST_U16, ST_F16, ST_BF16, ST_I32, ST_U32, ST_F32,
    ST_I64, ST_U64, ST_F64, ST_NDTYPES
} st_dtype;
enum { ST_MAX_DIMS = 8 };

const char *st_dtype_name(st_dtype t);  /* "BF16" as in files */
st_dtype st_dtype_of(const char *name); /* "BF16" or "bf16"; ST_UNKNOWN for others */
size_t st_dtype_bytes(st_dtype t);      /* 0 for ST_UNKNOWN */

typedef struct st_file st_file;
typedef struct {
    const char *name;
    st_dtype dtype;
    int nd;                     /* 0 = scalar with one element */
    int64_t shape[ST_MAX_DIMS];
    int64_t len;                /* elements */
    size_t bytes;
    const uint8_t *data;        /* in the mapped file, not aligned; valid until st_close */
    int32_t part;               /* number of the shard */
} st_tensor;

/* Opens a .safetensors file, a *.index.json with its shards, or a directory that holds BASE.safetensors (which wins) or
 * BASE.safetensors.index.json, for the first BASE of model, open_clip_model, diffusion_pytorch_model, adapter_model
 * that is there; or the variant fp16 (BASE.fp16.safetensors, BASE.safetensors.index.fp16.json) where it stands alone. From an index only the tensors of its weight_map are seen. Pickle and GGUF files are refused by name.
 * VM_EINPUT for malformed files, VM_EMODEL when a directory holds no weights, VM_EIO. */
vm_status st_open(st_file **out, const char *path, vm_error *e);
/* The same for a directory and one BASE, e.g. "adapter_model" or "diffusion_pytorch_model.fp16". */
vm_status st_open_base(st_file **out, const char *dir, const char *base, vm_error *e);
/* A file in memory (not copied), for tests and fuzzing. */
vm_status st_open_memory(st_file **out, const void *data, size_t bytes, const char *name, vm_error *e);
void st_close(st_file *f); /* accepts NULL */

int64_t st_len(const st_file *f);
const st_tensor *st_at(const st_file *f, int64_t i);             /* sorted by name (bytes) */
const st_tensor *st_find(const st_file *f, const char *name);    /* NULL if there is none */
const char *st_path(const st_file *f, const st_tensor *t);       /* the file that holds t; t NULL: what was opened */
size_t st_total_bytes(const st_file *f);                         /* of all tensors */
/* __metadata__ of the file (of the first shard that has the key); NULL if there is none. */
const char *st_meta(const st_file *f, const char *key);
int64_t st_meta_len(const st_file *f);
const char *st_meta_at(const st_file *f, int64_t i, const char **value); /* sorted by key */

/* Elements first .. first+n-1 as f32 (from every type but F8; f64 rounds to nearest even, BOOL gives 0 and 1). Also
 * finds files that were truncated since opening. VM_EINPUT for a type that cannot be read. */
vm_status st_read_f32(const st_file *f, const st_tensor *t, int64_t first, int64_t n, float *out, vm_error *e);
/* Integers and BOOL only. U64 beyond INT64_MAX is an error. */
vm_status st_read_i64(const st_file *f, const st_tensor *t, int64_t first, int64_t n, int64_t *out, vm_error *e);
/* Drops the pages of t from memory (after they were copied or packed); they can be read again. */
void st_release(const st_file *f, const st_tensor *t);

/* Conversions of n elements; src and dst need no alignment. To f16 and bf16: nearest even, overflow to infinity, NaN
 * stays NaN. Not for F8 and ST_UNKNOWN (false). st_from_f32 takes float types only. */
bool st_to_f32(float *dst, st_dtype t, const void *src, int64_t n);
bool st_from_f32(void *dst, st_dtype t, const float *src, int64_t n);

/* ---- writing ----
 * Declare all tensors and metadata, then write each tensor once, in any order; st_writer_commit puts the file in place.
 * Order in the file: element size descending, then name, so that all data is aligned and the same content gives the
 * same bytes; ST_KEEP_ORDER keeps the order of declaration. */
typedef struct st_writer st_writer;
enum { ST_KEEP_ORDER = 1 };
vm_status st_writer_open(st_writer **out, const char *path, int flags, vm_error *e);
vm_status st_writer_meta(st_writer *w, const char *key, const char *value, vm_error *e);
vm_status st_writer_add(st_writer *w, const char *name, st_dtype t, int nd, const int64_t *shape, vm_error *e);
/* The whole tensor as it stands in the file. The first put fixes the header; nothing can be declared after it. */
vm_status st_writer_put(st_writer *w, const char *name, const void *data, vm_error *e);
/* A part of it, from byte offset; each byte must be written once. */
vm_status st_writer_put_part(st_writer *w, const char *name, size_t offset, const void *data, size_t bytes,
                             vm_error *e);
/* The whole tensor from f32, converted to the declared float type. */
vm_status st_writer_put_f32(st_writer *w, const char *name, const float *data, vm_error *e);
vm_status st_writer_commit(st_writer *w, vm_error *e); /* VM_EINPUT when a tensor was not written; frees w */
void st_writer_abort(st_writer *w);                    /* accepts NULL */

#endif
