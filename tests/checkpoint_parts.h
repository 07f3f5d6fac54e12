/* checkpoint_parts.h - pieces of PyTorch checkpoints for tests and fuzzers: opcodes as text, and a zip archive of
 * stored entries written by hand. */
#ifndef VM_CHECKPOINT_PARTS_H
#define VM_CHECKPOINT_PARTS_H
#include <stdint.h>
#include <string.h>

/* --- opcodes (protocol 2) ----------------------------------------------------------------------------------------- */
#define PK_BEGIN "\x80\2"
#define PK_ODICT "ccollections\nOrderedDict\n)R"
#define PK_REBUILD "ctorch._utils\n_rebuild_tensor_v2\n"
/* The storage data/0 of 6 floats. */
#define PK_STORAGE_OF(type, key, n) "((X\7\0\0\0storagectorch\n" type "\nX\1\0\0\0" key "X\3\0\0\0cpu" n "tQ"
#define PK_STORAGE PK_STORAGE_OF("FloatStorage", "0", "K\6")
#define PK_TAIL "\x89" PK_ODICT "tR"
/* A tensor; shape and stride are opcodes of two tuples, at one integer. */
#define PK_TENSOR(at, shape, stride) PK_REBUILD PK_STORAGE at shape stride PK_TAIL
#define PK_W "X\1\0\0\0w"
#define PK_GOOD PK_BEGIN "}" PK_W PK_TENSOR("K\0", "K\2K\3\x86", "K\3K\1\x86") "s."

/* --- archives ----------------------------------------------------------------------------------------------------- */
typedef struct {
    const char *name;
    const void *data;
    size_t bytes;
} zip_part;

/* Sizes behind the data, as torch writes them; the end record of zip64; sizes and places in zip64 fields. */
enum { ZIP_LATER = 1, ZIP_64 = 2, ZIP_WIDE = 4 };

typedef struct {
    size_t bytes, local[8], central[8], directory, end64, locator, end;
} zip_made;

static inline void zip_number(uint8_t *p, uint64_t v, int n) {
    for (int i = 0; i < n; i++) p[i] = (uint8_t)(v >> 8 * i);
}

static inline size_t zip_record(uint8_t *p, const char *sign, const uint32_t *v, const int *width, int n) {
    size_t at = 4;
    memcpy(p, sign, 4);
    for (int i = 0; i < n; i++) zip_number(p + at, v[i], width[i]), at += (size_t)width[i];
    return at;
}

/* out needs room for all parts and 200 bytes more for each. Check sums are 0. */
static inline zip_made zip_make(uint8_t *out, const zip_part *part, int n, int flags) {
    zip_made z = { 0 };
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        uint32_t bytes = (uint32_t)part[i].bytes, len = (uint32_t)strlen(part[i].name), later = flags & ZIP_LATER;
        z.local[i] = at;
        at += zip_record(out + at, "PK\3\4",
                         (uint32_t[]){ 0, later ? 8 : 0, 0, 0, 0, 0, later ? 0 : bytes, later ? 0 : bytes, len, 0 },
                         (int[]){ 2, 2, 2, 2, 2, 4, 4, 4, 2, 2 }, 10);
        memcpy(out + at, part[i].name, len), at += len;
        if (bytes) memcpy(out + at, part[i].data, bytes);
        at += bytes;
        if (later) at += zip_record(out + at, "PK\7\10", (uint32_t[]){ 0, bytes, bytes }, (int[]){ 4, 4, 4 }, 3);
    }
    z.directory = at;
    for (int i = 0; i < n; i++) {
        uint32_t bytes = (uint32_t)part[i].bytes, len = (uint32_t)strlen(part[i].name);
        uint32_t wide = flags & ZIP_WIDE ? 0xffffffff : 0;
        z.central[i] = at;
        at += zip_record(out + at, "PK\1\2",
                         (uint32_t[]){ 0, 0, flags & ZIP_LATER ? 8 : 0, 0, 0, 0, 0, bytes | wide, bytes | wide, len,
                                       wide ? 28 : 0, 0, 0, 0, 0, (uint32_t)z.local[i] | wide },
                         (int[]){ 2, 2, 2, 2, 2, 2, 4, 4, 4, 2, 2, 2, 2, 2, 4, 4 }, 16);
        memcpy(out + at, part[i].name, len), at += len;
        if (!wide) continue;
        zip_number(out + at, 1, 2), zip_number(out + at + 2, 24, 2);
        zip_number(out + at + 4, bytes, 8), zip_number(out + at + 12, bytes, 8),
            zip_number(out + at + 20, z.local[i], 8), at += 28;
    }
    uint32_t size = (uint32_t)(at - z.directory);
    if (flags & ZIP_64) {
        z.end64 = at;
        memset(out + at, 0, 76);
        memcpy(out + at, "PK\6\6", 4), zip_number(out + at + 4, 44, 8);
        zip_number(out + at + 24, (uint64_t)n, 8), zip_number(out + at + 32, (uint64_t)n, 8);
        zip_number(out + at + 40, size, 8), zip_number(out + at + 48, z.directory, 8);
        z.locator = at + 56;
        memcpy(out + at + 56, "PK\6\7", 4), zip_number(out + at + 64, at, 8), zip_number(out + at + 72, 1, 4);
        at += 76;
    }
    z.end = at;
    at += zip_record(out + at, "PK\5\6", (uint32_t[]){ 0, 0, (uint32_t)n, (uint32_t)n, size, (uint32_t)z.directory, 0 },
                     (int[]){ 2, 2, 2, 2, 4, 4, 2 }, 7);
    z.bytes = at;
    return z;
}

static const float checkpoint_data[6] = { 0, 0.5f, 1, 1.5f, 2, 2.5f };

/* A checkpoint of a pickle and the storage data/0. */
static inline zip_made zip_checkpoint(uint8_t *out, const void *pickle, size_t bytes, int flags) {
    const zip_part parts[] = { { "r/data.pkl", pickle, bytes },
                               { "r/byteorder", "little", 6 },
                               { "r/data/0", checkpoint_data, sizeof checkpoint_data } };
    return zip_make(out, parts, 3, flags);
}
#endif
