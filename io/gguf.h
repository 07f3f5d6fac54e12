/* gguf.h - GGUF files (llama.cpp): metadata, and tensors in plain types or in blocks of quantised weights. Read only, mapped.
 *
 * Layout, little-endian: "GGUF", u32 version (2 or 3), u64 tensors, u64 metadata; each of these as name (u64 length, bytes), u32 type,
 * value; each tensor as name, u32 axes, u64 sizes (the fastest first), u32 type, u64 offset; then, from the next multiple of
 * general.alignment on, the data. Everything is checked at opening: no tensor and no text lies outside the file.
 * Source: the specification in ggml's repository, docs/gguf.md. */
#ifndef VM_IO_GGUF_H
#define VM_IO_GGUF_H
#include "kernels/base.h"

/* Types of tensors, numbered as in files; others are known by name and size only. */
enum { GGUF_F32 = 0, GGUF_F16 = 1, GGUF_Q4_0 = 2, GGUF_Q4_1 = 3, GGUF_Q8_0 = 8, GGUF_Q4_K = 12, GGUF_Q6_K = 14, GGUF_BF16 = 30 };
const char *gguf_type_name(uint32_t t);                    /* "Q4_K"; "unknown" */
bool gguf_type_size(uint32_t t, int64_t *each, size_t *bytes); /* weights of a block and its bytes; false: not known */

typedef struct {
    char *name;
    uint32_t type;
    int nd;
    int64_t ne[4]; /* as elsewhere: the slowest first */
    int64_t len;   /* elements */
    size_t bytes;
    const uint8_t *data;
} gguf_tensor;

typedef struct gguf gguf;
/* VM_EINPUT: no GGUF file, or a malformed one. */
vm_status gguf_open(gguf **out, const char *path, vm_error *e);
vm_status gguf_open_memory(gguf **out, const void *data, size_t bytes, const char *name, vm_error *e); /* not copied */
void gguf_close(gguf *g); /* accepts NULL */
bool gguf_is(const char *path); /* by the end of its name */
const char *gguf_path(const gguf *g);

int64_t gguf_len(const gguf *g);
const gguf_tensor *gguf_at(const gguf *g, int64_t i);           /* in the order of the file */
void gguf_release(const gguf *g, const gguf_tensor *t);         /* drops its pages from memory; they can be read again */
const gguf_tensor *gguf_find(const gguf *g, const char *name);  /* NULL if there is none */

/* Metadata; a missing key gives dflt, another kind of value or one out of range is VM_EINPUT. */
bool gguf_has(const gguf *g, const char *key);
int64_t gguf_int(const gguf *g, const char *key, int64_t dflt, int64_t min, int64_t max, vm_error *e); /* of an array: its largest entry */
double gguf_num(const gguf *g, const char *key, double dflt, vm_error *e);
bool gguf_bool(const gguf *g, const char *key, bool dflt, vm_error *e);
const char *gguf_str(const gguf *g, const char *key, const char *dflt, vm_error *e);
typedef struct { const char *s; size_t bytes; } gguf_text; /* in the file, not terminated */
/* Arrays: *n entries, vm_free; NULL and *n 0 when there is no such key. */
gguf_text *gguf_texts(const gguf *g, const char *key, int64_t *n, vm_error *e);
double *gguf_nums(const gguf *g, const char *key, int64_t *n, vm_error *e);

#endif
