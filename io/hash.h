/* hash.h - CRC-32C (journals, event files), SHA-256 (content identities, manifests). SHA-1 stands in sha1.h. */
#ifndef VM_IO_HASH_H
#define VM_IO_HASH_H
#include "kernels/base.h"

/* CRC-32C (Castagnoli, RFC 3720 appendix B.4) of data after what gave crc; start with 0. */
uint32_t crc32c(uint32_t crc, const void *data, size_t bytes);

/* SHA-256 (FIPS 180-4), streaming. */
typedef struct {
    uint32_t h[8];
    uint64_t bytes;
    uint8_t block[64];
} sha256;
void sha256_start(sha256 *s);
void sha256_add(sha256 *s, const void *data, size_t bytes);
void sha256_end(sha256 *s, uint8_t digest[32]);

/* As 64 hexadecimal digits and a final 0. */
void sha256_hex(char out[65], const void *data, size_t bytes);
/* Of n terminated texts, each preceded by its length, so that ("ab", "c") and ("a", "bc") differ. */
void sha256_parts(char out[65], int n, const char *const *part);
/* 64 bits of the same behind a number: the seed of something that has these names. */
uint64_t sha256_seed(uint64_t seed, int n, const char *const *part);
/* Of a whole file. Errors as file_map_open. */
vm_status sha256_file(char out[65], const char *path, vm_error *e);
/* n bytes as 2n lower-case hexadecimal digits and a final 0. */
void hex_text(char *out, const uint8_t *bytes, size_t n);
#endif
