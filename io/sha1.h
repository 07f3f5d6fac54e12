/* sha1.h - SHA-1 (FIPS 180-4), for names that others give to contents: git, downloaders of lists of addresses. For nothing
 * that must be safe against forgery. */
#ifndef VM_IO_SHA1_H
#define VM_IO_SHA1_H
#include "kernels/base.h"

typedef struct {
    uint32_t h[5];
    uint64_t bytes;
    uint8_t block[64];
} sha1;
void sha1_start(sha1 *s);
void sha1_add(sha1 *s, const void *data, size_t bytes);
void sha1_end(sha1 *s, uint8_t digest[20]);
void sha1_hex(char out[41], const void *data, size_t bytes); /* all at once, as 40 hexadecimal digits and a final 0 */
#endif
