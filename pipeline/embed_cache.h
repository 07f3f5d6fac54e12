/* embed_cache.h - vectors of pictures and texts that outlive a run.
 *
 * DIR/XXXXXXXXXXXXXXXX.vectors, one file per identity: whatever the numbers depend on beside the content (weights,
 * precision, preprocessing, version of the program). Vectors of two identities never meet. Layout, little-endian:
 *   64 bytes        "VMVECTOR", u32 version, u32 dim, SHA-256 of the identity, 12 zeros, CRC-32C of the 60 bytes before
 *   32 + 4 dim + 4  key (SHA-256 over the content), dim f32, CRC-32C of these; again and again
 * Records are appended at once under a lock that ends with the process, so that several runs may share a folder and kill
 * -9 leaves at most one torn record, which the next writer cuts off. Nothing in a cache is needed: a file that is not
 * what it should be, a damaged record, a full disk give one warning, and the vectors are computed. All functions accept
 * a NULL cache. One thread at a time. */
#ifndef VM_EMBED_CACHE_H
#define VM_EMBED_CACHE_H
#include "io/image.h"

typedef struct embed_cache embed_cache;
typedef struct {
    uint8_t of[32];
} embed_key;

/* Makes the folder. *out NULL and VM_OK when the file in it cannot be used (warned). VM_EIO when there is no folder. */
vm_status embed_cache_open(embed_cache **out, const char *dir, const char *identity, int64_t dim, vm_error *e);
/* Writes what waits, says how many vectors were found and added, frees c. */
void embed_cache_close(embed_cache *c);

embed_key embed_key_text(const char *text);
/* Of a picture: what names its content (the sum of the file, a part of it), and how it is decoded. */
embed_key embed_key_picture(const char *content, const image_options *o);

/* The vector of that content, if it was there when the cache was opened. */
bool embed_cache_get(embed_cache *c, const embed_key *k, float *out);
/* Keeps a vector; every 32nd call writes. Vectors with numbers that are not finite are left out. */
void embed_cache_put(embed_cache *c, const embed_key *k, const float *v);
#endif
