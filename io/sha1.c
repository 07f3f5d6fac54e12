/* sha1.c - see sha1.h. */
#include "io/sha1.h"

#include <string.h>

#include "io/hash.h"

static uint32_t rotl(uint32_t x, int n) { return x << n | x >> (32 - n); }

/* FIPS 180-4, 6.1.2. */
static void compress(uint32_t h[5], const uint8_t *p) {
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int t = 0; t < 16; t++)
        w[t] = (uint32_t)p[4 * t] << 24 | (uint32_t)p[4 * t + 1] << 16 | (uint32_t)p[4 * t + 2] << 8 | p[4 * t + 3];
    for (int t = 16; t < 80; t++) w[t] = rotl(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    for (int t = 0; t < 80; t++) {
        uint32_t f = t < 20   ? ((b & c) ^ (~b & d)) + 0x5a827999
                     : t < 40 ? (b ^ c ^ d) + 0x6ed9eba1
                     : t < 60 ? ((b & c) ^ (b & d) ^ (c & d)) + 0x8f1bbcdc
                              : (b ^ c ^ d) + 0xca62c1d6;
        uint32_t next = rotl(a, 5) + f + e + w[t];
        e = d, d = c, c = rotl(b, 30), b = a, a = next;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
}

void sha1_start(sha1 *s) { *s = (sha1){ .h = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 } }; }

void sha1_add(sha1 *s, const void *data, size_t bytes) {
    const uint8_t *p = data;
    while (bytes) {
        size_t at = s->bytes % 64, n = VM_MIN(bytes, 64 - at);
        memcpy(s->block + at, p, n);
        s->bytes += n, p += n, bytes -= n;
        if (at + n == 64) compress(s->h, s->block);
    }
}

void sha1_end(sha1 *s, uint8_t digest[20]) {
    static const uint8_t pad[64] = { 0x80 };
    uint64_t bits = s->bytes * 8;
    uint8_t length[8];
    for (int k = 0; k < 8; k++) length[k] = (uint8_t)(bits >> (56 - 8 * k));
    sha1_add(s, pad, 1 + (119 - s->bytes % 64) % 64);
    sha1_add(s, length, 8);
    for (int k = 0; k < 20; k++) digest[k] = (uint8_t)(s->h[k / 4] >> (24 - 8 * (k % 4)));
}

void sha1_hex(char out[41], const void *data, size_t bytes) {
    sha1 s;
    uint8_t digest[20];
    sha1_start(&s);
    sha1_add(&s, data, bytes);
    sha1_end(&s, digest);
    hex_text(out, digest, sizeof digest);
}
