/* st_convert.c - element types of safetensors and their conversion to and from f32. See safetensors.h.
 *
 * f16: 1 sign, 5 exponent (bias 15), 10 mantissa bits; below 2^-14 steps of 2^-24. bf16: the upper half of an f32.
 * The arithmetic is on integers, so it does not depend on the processor's treatment of subnormal numbers. */
#include "io/safetensors.h"

#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    size_t bytes;
} types[ST_NDTYPES] = {
    [ST_UNKNOWN] = { "unknown", 0 }, [ST_BOOL] = { "BOOL", 1 },       [ST_U8] = { "U8", 1 },   [ST_I8] = { "I8", 1 },
    [ST_F8_E4M3] = { "F8_E4M3", 1 }, [ST_F8_E5M2] = { "F8_E5M2", 1 }, [ST_I16] = { "I16", 2 }, [ST_U16] = { "U16", 2 },
    [ST_F16] = { "F16", 2 },         [ST_BF16] = { "BF16", 2 },       [ST_I32] = { "I32", 4 }, [ST_U32] = { "U32", 4 },
    [ST_F32] = { "F32", 4 },         [ST_I64] = { "I64", 8 },         [ST_U64] = { "U64", 8 }, [ST_F64] = { "F64", 8 },
};

const char *st_dtype_name(st_dtype t) { return types[t].name; }
size_t st_dtype_bytes(st_dtype t) { return types[t].bytes; }

st_dtype st_dtype_of(const char *name) {
    for (int t = ST_UNKNOWN + 1; t < ST_NDTYPES; t++)
        if (!strcasecmp(name, types[t].name)) return (st_dtype)t;
    return ST_UNKNOWN;
}

static float as_float(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static uint32_t as_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static float from_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, man = h & 0x3ff;
    uint32_t tiny = as_bits((float)man * 0x1p-24f), big = 0x7f800000 | man << 13, usual = (exp + 112) << 23 | man << 13;
    return as_float(sign | (exp == 0 ? tiny : exp == 31 ? big : usual));
}

static uint16_t to_f16(float f) {
    uint32_t u = as_bits(f), sign = u >> 16 & 0x8000, x = u & 0x7fffffff;
    uint32_t nan = 0x7e00 | (x >> 13 & 0x3ff);
    uint32_t tiny = as_bits(as_float(x) + 0.5f) - as_bits(0.5f); /* the sum's last place is 2^-24 */
    uint32_t usual = (x - (112u << 23) + 0xfff + (x >> 13 & 1)) >> 13;
    return (uint16_t)(sign | (x > 0x7f800000 ? nan : x >= 0x477ff000 ? 0x7c00 : x < 0x38800000 ? tiny : usual));
}

static float from_bf16(uint16_t h) { return as_float((uint32_t)h << 16); }

static uint16_t to_bf16(float f) {
    uint32_t u = as_bits(f);
    return (uint16_t)((u & 0x7fffffff) > 0x7f800000 ? u >> 16 | 0x40 : (u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* One loop per type; memcpy is how unaligned elements are read and written. */
#define READ(type, expr)                                                                                               \
    for (int64_t i = 0; i < n; i++) {                                                                                  \
        type x;                                                                                                        \
        memcpy(&x, (const char *)src + (size_t)i * sizeof x, sizeof x);                                                \
        float y = (expr);                                                                                              \
        memcpy((char *)dst + (size_t)i * 4, &y, 4);                                                                    \
    }                                                                                                                  \
    return true
#define WRITE(type, expr)                                                                                              \
    for (int64_t i = 0; i < n; i++) {                                                                                  \
        float x;                                                                                                       \
        memcpy(&x, (const char *)src + (size_t)i * 4, 4);                                                              \
        type y = (expr);                                                                                               \
        memcpy((char *)dst + (size_t)i * sizeof y, &y, sizeof y);                                                      \
    }                                                                                                                  \
    return true

bool st_to_f32(float *dst, st_dtype t, const void *src, int64_t n) {
    switch (t) {
    case ST_F32: READ(float, x);
    case ST_F16: READ(uint16_t, from_f16(x));
    case ST_BF16: READ(uint16_t, from_bf16(x));
    case ST_F64: READ(double, (float)x);
    case ST_BOOL: READ(uint8_t, x != 0);
    case ST_U8: READ(uint8_t, x);
    case ST_I8: READ(int8_t, x);
    case ST_U16: READ(uint16_t, x);
    case ST_I16: READ(int16_t, x);
    case ST_U32: READ(uint32_t, (float)x);
    case ST_I32: READ(int32_t, (float)x);
    case ST_U64: READ(uint64_t, (float)x);
    case ST_I64: READ(int64_t, (float)x);
    default: return false;
    }
}

bool st_from_f32(void *dst, st_dtype t, const float *src, int64_t n) {
    switch (t) {
    case ST_F32: WRITE(float, x);
    case ST_F16: WRITE(uint16_t, to_f16(x));
    case ST_BF16: WRITE(uint16_t, to_bf16(x));
    case ST_F64: WRITE(double, x);
    default: return false;
    }
}
