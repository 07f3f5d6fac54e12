/* gguf_form.c - the block formats of GGUF as codes and scales, see llm_gguf.h. */
#include <string.h>

#include "models/llm_gguf.h"

static float f16(const uint8_t *p) {
    float x;
    st_to_f32(&x, ST_F16, p, 1);
    return x;
}

/* Where a form of 4 bits takes code i. */
static void put4(uint8_t *codes, int64_t i, int code) { codes[i / 2] |= (uint8_t)(i % 2 ? code : code << 4); }

/* What the blocks of a row go to: its codes, scales and zeros, at the place of weight k. */
typedef struct {
    uint8_t *codes;
    float *scales, *zeros;
} place;

/* d and m of 32 weights: d q + m, as (q - z) s. A block whose weights are all m keeps codes 0. */
static void put_offset(place *to, int b, float d, float m, bool *flat) {
    *flat = d == 0 && m != 0;
    to->scales[b] = *flat ? -m : d;
    to->zeros[b] = *flat ? 1 : d == 0 ? 0 : -m / d;
}

static void q4_0(const uint8_t *p, place to) {
    to.scales[0] = f16(p);
    for (int i = 0; i < 32; i++) put4(to.codes, i, i < 16 ? p[2 + i] & 15 : p[2 + i - 16] >> 4);
}
static void q4_1(const uint8_t *p, place to) {
    bool flat;
    put_offset(&to, 0, f16(p), f16(p + 2), &flat);
    for (int i = 0; i < 32 && !flat; i++) put4(to.codes, i, i < 16 ? p[4 + i] & 15 : p[4 + i - 16] >> 4);
}
static void q8_0(const uint8_t *p, place to) {
    to.scales[0] = f16(p);
    for (int i = 0; i < 32; i++) to.codes[i] = p[2 + i] ^ 0x80;
}
static void q4_k(const uint8_t *p, place to) {
    float d = f16(p), least = f16(p + 2);
    const uint8_t *s = p + 4, *q = p + 16;
    for (int b = 0; b < 8; b++) {
        int scale = b < 4 ? s[b] & 63 : (s[b + 4] & 15) | (s[b - 4] >> 6) << 4, off = b < 4 ? s[b + 4] & 63 : s[b + 4] >> 4 | (s[b] >> 6) << 4;
        bool flat;
        put_offset(&to, b, d * (float)scale, -least * (float)off, &flat);
        for (int i = 0; i < 32 && !flat; i++) put4(to.codes, b * 32 + i, q[b / 2 * 32 + i] >> (b % 2 ? 4 : 0) & 15);
    }
}
static void q6_k(const uint8_t *p, place to) {
    const uint8_t *low = p, *high = p + 128, *s = p + 192;
    float d = f16(p + 208);
    for (int b = 0; b < 16; b++) to.scales[b] = d * (float)(int8_t)s[b];
    for (int i = 0; i < 256; i++) {
        int half = i / 128, part = i % 128 / 32, l = i % 32;
        int code = (low[half * 64 + part % 2 * 32 + l] >> (part < 2 ? 0 : 4) & 15) | (high[half * 32 + l] >> 2 * part & 3) << 4;
        to.codes[i] = (uint8_t)(code + 96); /* of 128 + code - 32 */
    }
}

static const struct {
    uint32_t type;
    vm_quant_kind kind;
    int block;
    bool zeros;
    void (*unpack)(const uint8_t *p, place to);
} forms[] = {
    { GGUF_Q4_0, VM_INT4, 32, false, q4_0 }, { GGUF_Q4_1, VM_INT4, 32, true, q4_1 }, { GGUF_Q8_0, VM_INT8, 32, false, q8_0 },
    { GGUF_Q4_K, VM_INT4, 32, true, q4_k },  { GGUF_Q6_K, VM_INT8, 16, false, q6_k },
};

int64_t gguf_row(int64_t r, int64_t HS) {
    if (!HS) return r;
    int64_t in = r % HS;
    return r - in + (in < HS / 2 ? 2 * in : 2 * (in - HS / 2) + 1);
}

vm_status gguf_form(const gguf *g, const gguf_tensor *t, int64_t HS, int64_t row, int64_t rows, quant_form *q, vm_error *e) {
    int k = 0;
    while (k < VM_LEN(forms) && forms[k].type != t->type) k++;
    if (k == VM_LEN(forms))
        return vm_fail(e, VM_EMODEL, "%s: tensor %s is %s; F32, F16, BF16, Q4_0, Q4_1, Q8_0, Q4_K and Q6_K are read", gguf_path(g), t->name, gguf_type_name(t->type));
    const int64_t K = t->ne[t->nd - 1], per_byte = forms[k].kind == VM_INT8 ? 1 : 2, block = forms[k].block;
    int64_t each = 1;
    size_t bytes = 0;
    gguf_type_size(t->type, &each, &bytes);
    if (quant_form_make(q, forms[k].kind, rows, K, (int)block, forms[k].zeros, e)) return e->status;
#pragma omp parallel for schedule(static) if (rows * K > 100000)
    for (int64_t i = 0; i < rows; i++) {
        const uint8_t *p = t->data + (size_t)(gguf_row(row + i, HS) * (K / each)) * bytes;
        for (int64_t c = 0; c < K; c += each, p += bytes) {
            int64_t at = i * K + c;
            forms[k].unpack(p, (place){ q->own + at / per_byte, q->scales + at / block, q->zeros ? q->zeros + at / block : NULL });
        }
    }
    return VM_OK;
}
