/* hash.c - CRC-32C and SHA-256. See hash.h.
 *
 * CRC-32C: reflected polynomial 0x82f63b78, initial and final complement. Eight bytes a step by tables built at the
 * first call ("slicing by 8"), or by the processor's own instruction.
 * SHA-256: FIPS 180-4, section 6.2. */
#include "io/hash.h"

#include "io/file.h"

#include <pthread.h>
#include <string.h>

/* ---- CRC-32C ----------------------------------------------------------------------------------------------------- */
static uint32_t table[8][256];
static bool has_instruction;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void prepare(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c >> 1 ^ (c & 1 ? 0x82f63b78 : 0);
        table[0][i] = c;
    }
    for (int t = 1; t < 8; t++)
        for (int i = 0; i < 256; i++) table[t][i] = table[t - 1][i] >> 8 ^ table[0][table[t - 1][i] & 255];
#ifdef __x86_64__
    has_instruction = __builtin_cpu_supports("sse4.2");
#endif
}

static uint64_t load8(const uint8_t *p) {
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--) v = v << 8 | p[i];
    return v;
}

static uint32_t by_table(uint32_t c, const uint8_t *p, size_t n) {
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t v = load8(p) ^ c;
        c = 0;
        for (int i = 0; i < 8; i++) c ^= table[7 - i][v >> 8 * i & 255];
    }
    while (n--) c = c >> 8 ^ table[0][(c ^ *p++) & 255];
    return c;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t c, const uint8_t *p, size_t n) {
    uint64_t w = c;
    for (; n >= 8; n -= 8, p += 8) w = __builtin_ia32_crc32di(w, load8(p));
    c = (uint32_t)w;
    while (n--) c = __builtin_ia32_crc32qi(c, *p++);
    return c;
}
#else
static uint32_t by_instruction(uint32_t c, const uint8_t *p, size_t n) { return by_table(c, p, n); }
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes) {
    pthread_once(&once, prepare);
    return ~(has_instruction ? by_instruction : by_table)(~crc, data, bytes);
}

/* ---- SHA-256 ----------------------------------------------------------------------------------------------------- */
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotr(uint32_t x, int n) { return x >> n | x << (32 - n); }

/* One round; the caller renames the eight variables instead of moving them. */
#define ROUND(a, b, c, d, e, f, g, h, i)                                                                              \
    do {                                                                                                              \
        h += (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i];                           \
        d += h;                                                                                                       \
        h += (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));                                \
    } while (0)

static void compress(uint32_t state[8], const uint8_t *p) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++, p += 4) w[i] = (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
    for (int i = 16; i < 64; i++) {
        uint32_t x = w[i - 15], y = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (rotr(x, 7) ^ rotr(x, 18) ^ x >> 3) + (rotr(y, 17) ^ rotr(y, 19) ^ y >> 10);
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i += 8) {
        ROUND(a, b, c, d, e, f, g, h, i);
        ROUND(h, a, b, c, d, e, f, g, i + 1);
        ROUND(g, h, a, b, c, d, e, f, i + 2);
        ROUND(f, g, h, a, b, c, d, e, i + 3);
        ROUND(e, f, g, h, a, b, c, d, i + 4);
        ROUND(d, e, f, g, h, a, b, c, i + 5);
        ROUND(c, d, e, f, g, h, a, b, i + 6);
        ROUND(b, c, d, e, f, g, h, a, i + 7);
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

void sha256_start(sha256 *s) {
    *s = (sha256){ .h = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                          0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 } };
}

void sha256_add(sha256 *s, const void *data, size_t bytes) {
    const uint8_t *p = data;
    while (bytes) {
        size_t held = s->bytes % 64, k = VM_MIN(bytes, 64 - held);
        if (k < 64) memcpy(s->block + held, p, k);
        if (held + k == 64) compress(s->h, k < 64 ? s->block : p);
        s->bytes += k, p += k, bytes -= k;
    }
}

void sha256_end(sha256 *s, uint8_t digest[32]) {
    static const uint8_t pad[64] = { 0x80 };
    uint8_t bits[8];
    for (int i = 0; i < 8; i++) bits[i] = (uint8_t)(s->bytes * 8 >> (56 - 8 * i));
    sha256_add(s, pad, 1 + (119 - s->bytes % 64) % 64);
    sha256_add(s, bits, 8);
    for (int i = 0; i < 32; i++) digest[i] = (uint8_t)(s->h[i / 4] >> (24 - 8 * (i % 4)));
}

void hex_text(char *out, const uint8_t *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        *out++ = "0123456789abcdef"[bytes[i] >> 4];
        *out++ = "0123456789abcdef"[bytes[i] & 15];
    }
    *out = 0;
}

void sha256_hex(char out[65], const void *data, size_t bytes) {
    sha256 s;
    uint8_t d[32];
    sha256_start(&s);
    sha256_add(&s, data, bytes);
    sha256_end(&s, d);
    hex_text(out, d, 32);
}

static void add_number(sha256 *s, uint64_t v) {
    uint8_t b[8];
    for (int k = 0; k < 8; k++) b[k] = (uint8_t)(v >> 8 * k);
    sha256_add(s, b, 8);
}

static void add_parts(sha256 *s, int n, const char *const *part) {
    for (int k = 0; k < n; k++) {
        add_number(s, strlen(part[k]));
        sha256_add(s, part[k], strlen(part[k]));
    }
}

void sha256_parts(char out[65], int n, const char *const *part) {
    sha256 s;
    uint8_t d[32];
    sha256_start(&s);
    add_parts(&s, n, part);
    sha256_end(&s, d);
    hex_text(out, d, 32);
}

uint64_t sha256_seed(uint64_t seed, int n, const char *const *part) {
    sha256 s;
    uint8_t d[32];
    uint64_t v = 0;
    sha256_start(&s);
    add_number(&s, seed);
    add_parts(&s, n, part);
    sha256_end(&s, d);
    for (int k = 0; k < 8; k++) v |= (uint64_t)d[k] << 8 * k;
    return v;
}

vm_status sha256_file(char out[65], const char *path, vm_error *e) {
    file_map m;
    vm_status st = file_map_open(&m, path, e);
    if (st) return st;
    sha256 s;
    uint8_t d[32];
    sha256_start(&s);
    for (size_t at = 0, n; at < m.bytes; at += n) { /* whatever its size, little of the file is in memory at a time */
        n = VM_MIN(m.bytes - at, (size_t)16 << 20);
        sha256_add(&s, m.data + at, n);
        file_map_release(&m, m.data + at, n);
    }
    sha256_end(&s, d);
    hex_text(out, d, 32);
    file_map_close(&m);
    return VM_OK;
}
