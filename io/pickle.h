/* pickle.h - tensors of PyTorch checkpoints (.pt, .pth, .bin as torch.save writes them since 1.6), of which nothing is
 * ever executed.
 *
 * The file is a zip archive (zip.h): ROOT/data.pkl describes the objects (unpickle.h), ROOT/data/KEY is the
 * little-endian data of one storage. Tensors are found in nested dictionaries; their names are the keys on the way,
 * joined by dots:
 * {"epoch": 3, "state_dict": {"visual.proj": T}} gives "state_dict.visual.proj". Everything that is no tensor is passed
 * over. Checked at opening: a storage has exactly the bytes of its entry and one type; offset, shape and strides of
 * each tensor stay inside its storage; no tensor has more elements than that; no name twice; all tensors together are
 * at most 4 times the file. The file is mapped: what is not read costs no memory. */
#ifndef VM_IO_PICKLE_H
#define VM_IO_PICKLE_H
#include "io/safetensors.h"

typedef struct pt_file pt_file;

/* Whether the file begins as a zip archive. */
bool pt_is(const char *path);

/* VM_EINPUT for malformed or refused files (byte and reason are named), VM_EIO. */
vm_status pt_open(pt_file **out, const char *path, vm_error *e);
/* A file in memory (not copied), for tests and fuzzing. */
vm_status pt_open_memory(pt_file **out, const void *data, size_t bytes, const char *name, vm_error *e);
void pt_close(pt_file *f); /* accepts NULL */

/* t->data is NULL when the elements do not stand one after the other in the file (transposed or sliced views). */
int64_t pt_len(const pt_file *f);
const st_tensor *pt_at(const pt_file *f, int64_t i);          /* sorted by name (bytes) */
const st_tensor *pt_find(const pt_file *f, const char *name); /* NULL if there is none */
const char *pt_path(const pt_file *f);
size_t pt_bytes(const pt_file *f); /* of the file */

/* Elements first .. first+n-1 in row-major order, as st_read_f32. */
vm_status pt_read_f32(const pt_file *f, const st_tensor *t, int64_t first, int64_t n, float *out, vm_error *e);
/* The same as they are in the file: n * st_dtype_bytes(t->dtype) bytes. */
vm_status pt_read(const pt_file *f, const st_tensor *t, int64_t first, int64_t n, void *out, vm_error *e);
/* Drops the pages of t from memory; they can be read again. */
void pt_release(const pt_file *f, const st_tensor *t);

#endif
