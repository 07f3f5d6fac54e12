/* st_file.h - an open safetensors file as safetensors.c and st_header.c see it. */
#ifndef VM_IO_ST_FILE_H
#define VM_IO_ST_FILE_H
#include "io/file.h"
#include "io/safetensors.h"

typedef struct {
    file_map map;        /* all-zero for a file in memory */
    const char *name;    /* for messages: map.path, or what the caller said */
    const uint8_t *data; /* the data block */
    size_t bytes;
    char *text;          /* names and metadata, unescaped */
} st_part; /* one file */

typedef struct {
    const char *key, *value;
    int32_t part;
} st_meta_pair;

struct st_file {
    char *path;
    st_part *parts;
    st_tensor *t;
    st_meta_pair *m;
    int64_t n_parts, n, n_meta, cap_parts, cap, cap_meta;
};

/* Checks the bytes of the newest part (its name is set) and appends its tensors, sorted by name, and its metadata. */
vm_status st_read_part(st_file *f, const uint8_t *base, size_t bytes, vm_error *e);

/* Orders for qsort: tensors by name; metadata by key and part. */
int st_by_name(const void *a, const void *b);
int st_by_key(const void *a, const void *b);
#endif
