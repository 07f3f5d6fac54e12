/* ops.h - what the instructions of PTX compute, for the C that the translator writes. Values are bits: f32 travels as
 * uint32_t. Follows the PTX ISA where C would not: arithmetic wraps, shifts by more than the width give 0 or the sign,
 * min and max prefer numbers to NaN, NaN results are the canonical ones, conversions saturate, .ftz flushes.
 *
 * Directed rounding, and f16 and bf16: the exact result is first rounded to odd in double precision (the last bit says
 * "inexact"), from which any narrower format rounds correctly. Approximations (ex2, rcp, sin) are the C library's. */
#ifndef PTX_OPS_H
#define PTX_OPS_H
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { RN = 0, RZ = 1, RM = 2, RP = 3, RNA = 4, ROUND = 7, FTZ = 8, SAT = 16, RELU = 32, KEEP_NAN = 64,
       MAGNITUDE = 128, XORSIGN = 256, SATFINITE = 512, FROM64 = 1024 };

/* ops.c: x rounded to 1 + exp_bits + man_bits bits; x rounded to odd if it is not exact */
uint32_t ptx_narrow(double x, int exp_bits, int man_bits, int mode);
double ptx_directed(char op, double a, double b, double c, int mode); /* f64 + * / r(oot) f(ma) in that rounding */
double ptx_round_int(uint64_t x, bool minus, int mode);               /* x or -x as f64 */
uint64_t ptx_to_int(double x, bool is_signed, int bits, int mode);    /* clamped; FROM64: x came from f64 */

/* --- integers of 16, 32 and 64 bits ------------------------------------------------------------------------------------- */
#define PTX_INT(N, W)                                                                                                  \
    static inline uint##N##_t add_##N(uint##N##_t a, uint##N##_t b) { return (uint##N##_t)((uint64_t)a + b); }         \
    static inline uint##N##_t sub_##N(uint##N##_t a, uint##N##_t b) { return (uint##N##_t)((uint64_t)a - b); }         \
    static inline uint##N##_t mul_##N(uint##N##_t a, uint##N##_t b) { return (uint##N##_t)((uint64_t)a * b); }         \
    static inline uint##N##_t neg_##N(uint##N##_t a) { return (uint##N##_t)(0 - (uint64_t)a); }                        \
    static inline uint##N##_t abs_##N(uint##N##_t a) { return (int##N##_t)a < 0 ? neg_##N(a) : a; }                    \
    static inline uint##N##_t mulhi_u##N(uint##N##_t a, uint##N##_t b) { return (uint##N##_t)((unsigned W)a * b >> N); } \
    static inline uint##N##_t mulhi_s##N(uint##N##_t a, uint##N##_t b) {                                               \
        return (uint##N##_t)((W)(int##N##_t)a * (int##N##_t)b >> N);                                                   \
    }                                                                                                                  \
    static inline uint##N##_t min_u##N(uint##N##_t a, uint##N##_t b) { return a < b ? a : b; }                         \
    static inline uint##N##_t max_u##N(uint##N##_t a, uint##N##_t b) { return a > b ? a : b; }                         \
    static inline uint##N##_t min_s##N(uint##N##_t a, uint##N##_t b) { return (int##N##_t)a < (int##N##_t)b ? a : b; } \
    static inline uint##N##_t max_s##N(uint##N##_t a, uint##N##_t b) { return (int##N##_t)a > (int##N##_t)b ? a : b; } \
    /* by zero: all ones, and the dividend as remainder, as the hardware's software does */                            \
    static inline uint##N##_t div_u##N(uint##N##_t a, uint##N##_t b) { return b ? a / b : (uint##N##_t)~0ull; }        \
    static inline uint##N##_t rem_u##N(uint##N##_t a, uint##N##_t b) { return b ? a % b : a; }                         \
    static inline uint##N##_t div_s##N(uint##N##_t a, uint##N##_t b) {                                                 \
        if (!b) return (uint##N##_t)~0ull;                                                                             \
        if (b == (uint##N##_t)~0ull) return neg_##N(a);                                                                \
        return (uint##N##_t)((int##N##_t)a / (int##N##_t)b);                                                           \
    }                                                                                                                  \
    static inline uint##N##_t rem_s##N(uint##N##_t a, uint##N##_t b) {                                                 \
        if (!b) return a;                                                                                              \
        return b == (uint##N##_t)~0ull ? 0 : (uint##N##_t)((int##N##_t)a % (int##N##_t)b);                             \
    }                                                                                                                  \
    static inline uint##N##_t sad_u##N(uint##N##_t a, uint##N##_t b, uint##N##_t c) {                                  \
        return add_##N(c, a < b ? sub_##N(b, a) : sub_##N(a, b));                                                      \
    }                                                                                                                  \
    static inline uint##N##_t sad_s##N(uint##N##_t a, uint##N##_t b, uint##N##_t c) {                                  \
        return add_##N(c, (int##N##_t)a < (int##N##_t)b ? sub_##N(b, a) : sub_##N(a, b));                              \
    }                                                                                                                  \
    static inline uint##N##_t shl_##N(uint##N##_t a, uint32_t n) { return n >= N ? 0 : (uint##N##_t)((uint64_t)a << n); } \
    static inline uint##N##_t shr_##N(uint##N##_t a, uint32_t n) { return n >= N ? 0 : (uint##N##_t)(a >> n); }        \
    static inline uint##N##_t sshr_##N(uint##N##_t a, uint32_t n) {                                                    \
        return (uint##N##_t)((int##N##_t)a >> (n >= N ? N - 1 : n));                                                   \
    }
PTX_INT(16, int)
PTX_INT(32, long long)
PTX_INT(64, __int128)

static inline uint32_t mulwide_u16(uint16_t a, uint16_t b) { return (uint32_t)a * b; }
static inline uint32_t mulwide_s16(uint16_t a, uint16_t b) { return (uint32_t)((int16_t)a * (int16_t)b); }
static inline uint64_t mulwide_u32(uint32_t a, uint32_t b) { return (uint64_t)a * b; }
static inline uint64_t mulwide_s32(uint32_t a, uint32_t b) { return (uint64_t)((int64_t)(int32_t)a * (int32_t)b); }
static inline uint32_t mul24_u(uint32_t a, uint32_t b) { return (a & 0xffffffu) * (b & 0xffffffu); }
static inline uint32_t mul24_s(uint32_t a, uint32_t b) { return (uint32_t)((int32_t)(a << 8) >> 8) * (uint32_t)((int32_t)(b << 8) >> 8); }
static inline uint32_t clamp32(int64_t x) { return (uint32_t)(x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : x); }
static inline uint32_t addsat_s32(uint32_t a, uint32_t b) { return clamp32((int64_t)(int32_t)a + (int32_t)b); }
static inline uint32_t subsat_s32(uint32_t a, uint32_t b) { return clamp32((int64_t)(int32_t)a - (int32_t)b); }
/* The carry of .cc: out of an addition, or the borrow of a subtraction. */
#define PTX_CARRY(N, W)                                                                                                \
    static inline uint##N##_t carry_add_##N(uint##N##_t a, uint##N##_t b, uint32_t in, bool sets, uint32_t *c) {       \
        W s = (W)a + b + in;                                                                                           \
        if (sets) *c = (uint32_t)(s >> N) & 1;                                                                         \
        return (uint##N##_t)s;                                                                                         \
    }                                                                                                                  \
    static inline uint##N##_t carry_sub_##N(uint##N##_t a, uint##N##_t b, uint32_t in, bool sets, uint32_t *c) {       \
        W s = (W)a - b - in;                                                                                           \
        if (sets) *c = (uint32_t)(s >> N) & 1;                                                                         \
        return (uint##N##_t)s;                                                                                         \
    }
PTX_CARRY(32, uint64_t)
PTX_CARRY(64, unsigned __int128)

static inline uint32_t popc_32(uint32_t a) { return (uint32_t)__builtin_popcount(a); }
static inline uint32_t popc_64(uint64_t a) { return (uint32_t)__builtin_popcountll(a); }
static inline uint32_t clz_32(uint32_t a) { return a ? (uint32_t)__builtin_clz(a) : 32; }
static inline uint32_t clz_64(uint64_t a) { return a ? (uint32_t)__builtin_clzll(a) : 64; }
static inline uint64_t brev_64(uint64_t a) {
    a = (a >> 1 & 0x5555555555555555ull) | (a & 0x5555555555555555ull) << 1;
    a = (a >> 2 & 0x3333333333333333ull) | (a & 0x3333333333333333ull) << 2;
    a = (a >> 4 & 0x0f0f0f0f0f0f0f0full) | (a & 0x0f0f0f0f0f0f0f0full) << 4;
    return __builtin_bswap64(a);
}
static inline uint32_t brev_32(uint32_t a) { return (uint32_t)(brev_64(a) >> 32); }
/* The highest bit that is set (signed: that differs from the sign), or its distance from the top. */
#define PTX_BITS(N)                                                                                                    \
    static inline uint32_t bfind_u##N(uint##N##_t a, bool amount) {                                                    \
        return !a ? 0xffffffffu : amount ? clz_##N(a) : N - 1 - clz_##N(a);                                            \
    }                                                                                                                  \
    static inline uint32_t bfind_s##N(uint##N##_t a, bool amount) { return bfind_u##N((int##N##_t)a < 0 ? ~a : a, amount); } \
    static inline uint##N##_t bfe_u##N(uint##N##_t a, uint32_t from, uint32_t n) {                                     \
        from &= 255, n &= 255;                                                                                         \
        uint##N##_t x = shr_##N(a, from);                                                                              \
        return n >= N ? x : (uint##N##_t)(x & (((uint##N##_t)1 << n) - 1));                                            \
    }                                                                                                                  \
    static inline uint##N##_t bfe_s##N(uint##N##_t a, uint32_t from, uint32_t n) {                                     \
        from &= 255, n &= 255;                                                                                         \
        if (!n) return 0;                                                                                              \
        uint32_t last = from + n - 1 < N - 1 ? from + n - 1 : N - 1; /* its bit is the sign, where the field ends early */ \
        uint##N##_t fill = a >> last & 1 ? (uint##N##_t)~(uint##N##_t)0 : 0, x = 0;                                    \
        uint32_t have = from > last ? 0 : last - from + 1;                                                             \
        x = bfe_u##N(a, from, have);                                                                                   \
        return have >= N ? x : x | (uint##N##_t)(fill << have);                                                        \
    }                                                                                                                  \
    static inline uint##N##_t bfi_##N(uint##N##_t a, uint##N##_t b, uint32_t at, uint32_t n) {                         \
        at &= 255, n &= 255;                                                                                           \
        uint##N##_t mask = n >= N ? (uint##N##_t)~(uint##N##_t)0 : (((uint##N##_t)1 << n) - 1);                        \
        mask = shl_##N(mask, at);                                                                                      \
        return (b & ~mask) | (shl_##N(a, at) & mask);                                                                  \
    }
PTX_BITS(32)
PTX_BITS(64)
static inline uint32_t bmsk(uint32_t a, uint32_t b, bool wrap) { /* b ones from bit a */
    if (wrap) a &= 31, b &= 31;
    return shl_32(b >= 32 ? 0xffffffffu : (1u << b) - 1, a);
}
static inline uint32_t szext_u(uint32_t a, uint32_t n, bool wrap) {
    if (wrap) n &= 31;
    return n >= 32 ? a : a & ((1u << n) - 1);
}
static inline uint32_t szext_s(uint32_t a, uint32_t n, bool wrap) {
    if (wrap) n &= 31;
    return n >= 32 ? a : n == 0 ? 0 : (uint32_t)((int32_t)(a << (32 - n)) >> (32 - n));
}
static inline uint32_t shf_l(uint32_t a, uint32_t b, uint32_t n) { return (uint32_t)(((uint64_t)b << 32 | a) << n >> 32); }
static inline uint32_t shf_l_wrap(uint32_t a, uint32_t b, uint32_t n) { return shf_l(a, b, n & 31); }
static inline uint32_t shf_l_clamp(uint32_t a, uint32_t b, uint32_t n) { return n >= 32 ? a : shf_l(a, b, n); }
static inline uint32_t shf_r_wrap(uint32_t a, uint32_t b, uint32_t n) { return (uint32_t)(((uint64_t)b << 32 | a) >> (n & 31)); }
static inline uint32_t shf_r_clamp(uint32_t a, uint32_t b, uint32_t n) { return n >= 32 ? b : shf_r_wrap(a, b, n); }
static inline uint32_t prmt(uint32_t a, uint32_t b, uint32_t c, int mode) {
    static const uint16_t pick[6][4] = { { 0x3210, 0x4321, 0x5432, 0x6543 }, { 0x5670, 0x6701, 0x7012, 0x0123 },
                                         { 0x0000, 0x1111, 0x2222, 0x3333 }, { 0x3210, 0x3211, 0x3222, 0x3333 },
                                         { 0x0000, 0x1110, 0x2210, 0x3210 }, { 0x1010, 0x3232, 0x1010, 0x3232 } };
    uint64_t both = (uint64_t)b << 32 | a;
    uint32_t by = mode ? pick[mode - 1][c & 3] : c, r = 0;
    for (int k = 0; k < 4; k++) {
        uint32_t sel = by >> (4 * k) & 15, byte = (uint32_t)(both >> (8 * (sel & 7))) & 255;
        if (sel & 8) byte = byte & 128 ? 255 : 0;
        r |= byte << (8 * k);
    }
    return r;
}
static inline uint32_t lop3(uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
    uint32_t r = 0;
    if (table & 1) r |= ~a & ~b & ~c;
    if (table & 2) r |= ~a & ~b & c;
    if (table & 4) r |= ~a & b & ~c;
    if (table & 8) r |= ~a & b & c;
    if (table & 16) r |= a & ~b & ~c;
    if (table & 32) r |= a & ~b & c;
    if (table & 64) r |= a & b & ~c;
    if (table & 128) r |= a & b & c;
    return r;
}
static inline int32_t ptx_byte(uint32_t x, int k, bool s) { return s ? (int8_t)(x >> (8 * k)) : (uint8_t)(x >> (8 * k)); }
static inline uint32_t dp4a(uint32_t a, uint32_t b, uint32_t c, bool sa, bool sb) {
    for (int k = 0; k < 4; k++) c += (uint32_t)(ptx_byte(a, k, sa) * ptx_byte(b, k, sb));
    return c;
}
static inline uint32_t dp2a(uint32_t a, uint32_t b, uint32_t c, bool sa, bool sb, int from) {
    for (int k = 0; k < 2; k++) {
        int32_t x = sa ? (int16_t)(a >> (16 * k)) : (uint16_t)(a >> (16 * k));
        c += (uint32_t)(x * ptx_byte(b, from + k, sb));
    }
    return c;
}

/* Integers that saturate on conversion. */
static inline uint64_t clamp_ss(int64_t x, int bits) {
    int64_t top = (int64_t)(~0ull >> (65 - bits));
    return (uint64_t)(x > top ? top : x < -top - 1 ? -top - 1 : x);
}
static inline uint64_t clamp_su(int64_t x, int bits) {
    uint64_t top = ~0ull >> (64 - bits);
    return x < 0 ? 0 : (uint64_t)x > top ? top : (uint64_t)x;
}
static inline uint64_t clamp_uu(uint64_t x, int bits) { return x > ~0ull >> (64 - bits) ? ~0ull >> (64 - bits) : x; }
static inline uint64_t clamp_us(uint64_t x, int bits) { return x > ~0ull >> (65 - bits) ? ~0ull >> (65 - bits) : x; }
static inline uint32_t pack8_s(uint32_t a, uint32_t b, uint32_t c) {
    return ((uint32_t)clamp_ss((int32_t)a, 8) & 255) << 8 | ((uint32_t)clamp_ss((int32_t)b, 8) & 255) | c << 16;
}
static inline uint32_t pack8_u(uint32_t a, uint32_t b, uint32_t c) {
    return (uint32_t)clamp_su((int32_t)a, 8) << 8 | (uint32_t)clamp_su((int32_t)b, 8) | c << 16;
}
static inline uint32_t pack16_s(uint32_t a, uint32_t b) {
    return ((uint32_t)clamp_ss((int32_t)a, 16) & 0xffffu) << 16 | ((uint32_t)clamp_ss((int32_t)b, 16) & 0xffffu);
}
static inline uint32_t pack16_u(uint32_t a, uint32_t b) {
    return (uint32_t)clamp_su((int32_t)a, 16) << 16 | (uint32_t)clamp_su((int32_t)b, 16);
}

#include "tests/emu/ptx/ops_float.h"
#endif
