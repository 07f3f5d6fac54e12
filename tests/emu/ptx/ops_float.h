/* ops_float.h - the floating-point half of ops.h. Results with KEEP_NAN, RELU, SAT ... follow the modes of the instruction. */
#ifndef PTX_OPS_FLOAT_H
#define PTX_OPS_FLOAT_H

/* --- bits and numbers ----------------------------------------------------------------------------------------------------- */
static inline float ptx_f32(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }
static inline uint32_t ptx_u32(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }
static inline double ptx_f64(uint64_t u) { double f; memcpy(&f, &u, 8); return f; }
static inline uint64_t ptx_u64(double f) { uint64_t u; memcpy(&u, &f, 8); return u; }

static inline uint32_t ptx_flush(uint32_t u, int mode) { return mode & FTZ && !(u & 0x7f800000u) ? u & 0x80000000u : u; }
static inline float get_f32(uint32_t u, int mode) { return ptx_f32(ptx_flush(u, mode)); }
static inline uint32_t put_f32(float x, int mode) {
    if (x != x) return mode & SAT ? 0 : 0x7fffffffu;
    if (mode & SAT) x = x > 0 ? x < 1 ? x : 1 : 0;
    if (mode & RELU) x = x > 0 ? x : 0;
    return ptx_flush(ptx_u32(x), mode);
}
static inline double get_f64(uint64_t u, int mode) { return (void)mode, ptx_f64(u); }
static inline uint64_t put_f64(double x, int mode) {
    if (x != x) return mode & SAT ? 0 : 0x7fffffffffffffffull;
    return ptx_u64(mode & SAT ? x > 0 ? x < 1 ? x : 1 : 0 : x);
}
static inline float get_bf16(uint16_t u, int mode) { return get_f32((uint32_t)u << 16, mode); }
static inline float get_f16(uint16_t u, int mode) {
    uint32_t a = u & 0x7fffu;
    if (mode & FTZ && a < 0x400) a = 0;
    float y = ptx_f32(a << 13) * 0x1p112f; /* exact: rebiases normal and subnormal numbers */
    return ptx_f32((a >= 0x7c00u ? 0x7f800000u | a << 13 : ptx_u32(y)) | (uint32_t)(u & 0x8000u) << 16);
}
static inline uint16_t narrow_bf16(uint32_t u, int mode) {
    u = ptx_flush(u, mode);
    if ((u & 0x7fffffffu) > 0x7f800000u) return mode & SAT ? 0 : 0x7fff;
    if (mode & ~FTZ) return (uint16_t)ptx_narrow(ptx_f32(u), 8, 7, mode);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}
static inline uint16_t narrow_f16(uint32_t u, int mode) {
    u = ptx_flush(u, mode);
    uint32_t a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return mode & SAT ? 0 : 0x7fff;
    if (mode & ~FTZ || a < 0x38800000u || a >= 0x477ff000u) return (uint16_t)ptx_narrow(ptx_f32(u), 5, 10, mode);
    return (uint16_t)((u >> 16 & 0x8000u) | ((a - (112u << 23) + 0xfffu + (a >> 13 & 1)) >> 13));
}
static inline uint32_t narrow_tf32(uint32_t u, int mode) {
    if ((u & 0x7fffffffu) >= 0x7f800000u) return (u & 0x7fffffu) ? 0x7fffffffu : u;
    return ptx_narrow(ptx_f32(u), 8, 10, mode) << 13;
}
static inline uint16_t put_f16(double x, int mode) { return x != x ? mode & SAT ? 0 : 0x7fff : (uint16_t)ptx_narrow(x, 5, 10, mode); }
static inline uint16_t put_bf16(double x, int mode) { return x != x ? mode & SAT ? 0 : 0x7fff : (uint16_t)ptx_narrow(x, 8, 7, mode); }

/* s = a rounded result, err = exact - s (at least its sign): the exact result rounded to odd. */
static inline double ptx_odd(double s, double err) {
    if (err == 0 || s - s != 0) return s;
    uint64_t u = ptx_u64(s);
    if ((err < 0) != (s < 0)) u--;
    return ptx_f64(u | 1);
}
static inline double ptx_sum_odd(double a, double b) {
    double s = a + b, t = s - a;
    return ptx_odd(s, (a - (s - t)) + (b - t));
}
static inline double ptx_div_odd(double a, double b) {
    double q = a / b, r = fma(-q, b, a);
    return r == 0 || r != r ? q : ptx_odd(q, (r < 0) == (b < 0) ? 1 : -1);
}
static inline double ptx_root_odd(double a) {
    double q = sqrt(a);
    return ptx_odd(q, fma(-q, q, a));
}
static inline float ptx_to_float(double odd, int mode) {
    float f = (float)odd;
    if (odd - odd != 0 || f == odd) return f;
    int round = mode & ROUND;
    if (round == RZ) round = odd < 0 ? RP : RM;
    if (round == RM && f > odd) return nextafterf(f, -INFINITY);
    if (round == RP && f < odd) return nextafterf(f, INFINITY);
    return f;
}

/* --- f32 --------------------------------------------------------------------------------------------------------------------- */
static inline uint32_t fadd_f32(uint32_t a, uint32_t b, int mode) {
    float x = get_f32(a, mode), y = get_f32(b, mode);
    return put_f32(mode & ROUND ? ptx_to_float(ptx_sum_odd(x, y), mode) : x + y, mode);
}
static inline uint32_t fsub_f32(uint32_t a, uint32_t b, int mode) { return fadd_f32(a, b ^ 0x80000000u, mode); }
static inline uint32_t fmul_f32(uint32_t a, uint32_t b, int mode) {
    float x = get_f32(a, mode), y = get_f32(b, mode);
    return put_f32(mode & ROUND ? ptx_to_float((double)x * y, mode) : x * y, mode);
}
static inline uint32_t ffma_f32(uint32_t a, uint32_t b, uint32_t c, int mode) {
    float x = get_f32(a, mode), y = get_f32(b, mode), z = get_f32(c, mode);
    return put_f32(mode & ROUND ? ptx_to_float(ptx_sum_odd((double)x * y, z), mode) : fmaf(x, y, z), mode);
}
static inline uint32_t fdiv_f32(uint32_t a, uint32_t b, int mode) {
    float x = get_f32(a, mode), y = get_f32(b, mode);
    return put_f32(mode & ROUND ? ptx_to_float(ptx_div_odd(x, y), mode) : x / y, mode);
}
static inline uint32_t fdiv_approx_f32(uint32_t a, uint32_t b, int mode) {
    float x = get_f32(a, mode), y = get_f32(b, mode);
    if (fabsf(y) > 0x1p126f && fabsf(y) < INFINITY) return put_f32(x * copysignf(0, y), mode); /* its reciprocal is flushed */
    return put_f32(x / y, mode);
}
static inline uint32_t frcp_f32(uint32_t a, int mode) { return fdiv_f32(0x3f800000u, a, mode); }
static inline uint32_t frcp_approx_f32(uint32_t a, int mode) { return fdiv_f32(0x3f800000u, a, mode); }
static inline uint32_t fsqrt_f32(uint32_t a, int mode) {
    float x = get_f32(a, mode);
    return put_f32(mode & ROUND ? ptx_to_float(ptx_root_odd(x), mode) : sqrtf(x), mode);
}
static inline uint32_t fsqrt_approx_f32(uint32_t a, int mode) { return fsqrt_f32(a, mode); }
static inline uint32_t rsqrt_f32(uint32_t a, int mode) { return put_f32((float)(1 / sqrt(get_f32(a, mode))), mode); }
static inline uint32_t ex2_f32(uint32_t a, int mode) { return put_f32(exp2f(get_f32(a, mode)), mode); }
static inline uint32_t lg2_f32(uint32_t a, int mode) { return put_f32(log2f(get_f32(a, mode)), mode); }
static inline uint32_t sin_f32(uint32_t a, int mode) { return put_f32(sinf(get_f32(a, mode)), mode); }
static inline uint32_t cos_f32(uint32_t a, int mode) { return put_f32(cosf(get_f32(a, mode)), mode); }
static inline uint32_t tanh_f32(uint32_t a, int mode) { return put_f32(tanhf(get_f32(a, mode)), mode); }
static inline uint32_t fneg_f32(uint32_t a, int mode) { return ptx_flush(a, mode) ^ 0x80000000u; }
static inline uint32_t fabs_f32(uint32_t a, int mode) { return ptx_flush(a, mode) & 0x7fffffffu; }
static inline uint32_t copysign_f32(uint32_t a, uint32_t b) { return (b & 0x7fffffffu) | (a & 0x80000000u); }
static inline uint32_t integral_f32(uint32_t a, int mode) {
    float x = get_f32(a, mode);
    int round = mode & ROUND;
    return put_f32(round == RZ ? truncf(x) : round == RM ? floorf(x) : round == RP ? ceilf(x) : nearbyintf(x), mode);
}
static inline uint32_t same_f32(uint32_t a, int mode) { return mode & SAT ? put_f32(get_f32(a, mode), mode) : ptx_flush(a, mode); }

/* --- f64 --------------------------------------------------------------------------------------------------------------------- */
#define PTX_F64(OP, A, B, C, EXACT)                                                                              \
    put_f64(mode & ROUND ? ptx_directed(OP, A, B, C, mode) : (EXACT), mode)
static inline uint64_t fadd_f64(uint64_t a, uint64_t b, int mode) {
    double x = ptx_f64(a), y = ptx_f64(b);
    return PTX_F64('+', x, y, 0, x + y);
}
static inline uint64_t fsub_f64(uint64_t a, uint64_t b, int mode) { return fadd_f64(a, b ^ 1ull << 63, mode); }
static inline uint64_t fmul_f64(uint64_t a, uint64_t b, int mode) {
    double x = ptx_f64(a), y = ptx_f64(b);
    return PTX_F64('*', x, y, 0, x * y);
}
static inline uint64_t ffma_f64(uint64_t a, uint64_t b, uint64_t c, int mode) {
    double x = ptx_f64(a), y = ptx_f64(b), z = ptx_f64(c);
    return PTX_F64('f', x, y, z, fma(x, y, z));
}
static inline uint64_t fdiv_f64(uint64_t a, uint64_t b, int mode) {
    double x = ptx_f64(a), y = ptx_f64(b);
    return PTX_F64('/', x, y, 0, x / y);
}
static inline uint64_t frcp_f64(uint64_t a, int mode) { return fdiv_f64(0x3ff0000000000000ull, a, mode); }
static inline uint64_t fsqrt_f64(uint64_t a, int mode) {
    double x = ptx_f64(a);
    return PTX_F64('r', x, 0, 0, sqrt(x));
}
/* 20 bits, from and into the upper half; the lower half is zero */
static inline uint64_t ptx_rough(double x) { return put_f64(x, 0) & (x != x ? ~0ull : 0xffffffff00000000ull); }
static inline double ptx_upper(uint64_t a) { return ptx_f64((a >> 52 & 0x7ff ? a : a & 1ull << 63) & 0xffffffff00000000ull); }
static inline uint64_t frcp_approx_f64(uint64_t a, int mode) { return (void)mode, ptx_rough(1 / ptx_upper(a)); }
static inline uint64_t rsqrt_f64(uint64_t a, int mode) { return (void)mode, ptx_rough(1 / sqrt(ptx_upper(a))); }
static inline uint64_t fneg_f64(uint64_t a, int mode) { return (void)mode, a ^ 1ull << 63; }
static inline uint64_t fabs_f64(uint64_t a, int mode) { return (void)mode, a & ~(1ull << 63); }
static inline uint64_t copysign_f64(uint64_t a, uint64_t b) { return (b & ~(1ull << 63)) | (a & 1ull << 63); }
static inline uint64_t integral_f64(uint64_t a, int mode) {
    double x = ptx_f64(a);
    int round = mode & ROUND;
    return put_f64(round == RZ ? trunc(x) : round == RM ? floor(x) : round == RP ? ceil(x) : nearbyint(x), mode);
}
static inline uint64_t same_f64(uint64_t a, int mode) { return mode & SAT ? put_f64(ptx_f64(a), mode) : a; }

/* --- f16 and bf16: computed in double, rounded once ---------------------------------------------------------------------------- */
#define PTX_HALF(T)                                                                                                    \
    static inline uint16_t fadd_##T(uint16_t a, uint16_t b, int mode) {                                                \
        return put_##T(ptx_sum_odd(get_##T(a, mode), get_##T(b, mode)), mode);                                         \
    }                                                                                                                  \
    static inline uint16_t fsub_##T(uint16_t a, uint16_t b, int mode) { return fadd_##T(a, b ^ 0x8000u, mode); }       \
    static inline uint16_t fmul_##T(uint16_t a, uint16_t b, int mode) {                                                \
        return put_##T((double)get_##T(a, mode) * get_##T(b, mode), mode);                                             \
    }                                                                                                                  \
    static inline uint16_t ffma_##T(uint16_t a, uint16_t b, uint16_t c, int mode) {                                    \
        return put_##T(ptx_sum_odd((double)get_##T(a, mode) * get_##T(b, mode), get_##T(c, mode)), mode);              \
    }                                                                                                                  \
    static inline uint16_t ex2_##T(uint16_t a, int mode) { return put_##T(exp2(get_##T(a, mode)), mode); }             \
    static inline uint16_t tanh_##T(uint16_t a, int mode) { return put_##T(tanh(get_##T(a, mode)), mode); }            \
    static inline uint16_t fneg_##T(uint16_t a, int mode) { return (void)mode, a ^ 0x8000u; }                          \
    static inline uint16_t fabs_##T(uint16_t a, int mode) { return (void)mode, a & 0x7fffu; }                          \
    static inline uint16_t same_##T(uint16_t a, int mode) { return put_##T(get_##T(a, mode), mode); }                  \
    static inline uint16_t integral_##T(uint16_t a, int mode) {                                                        \
        return put_##T(ptx_f32(integral_f32(ptx_u32(get_##T(a, mode)), mode & ROUND)), mode);                          \
    }
PTX_HALF(f16)
PTX_HALF(bf16)

/* --- minimum, maximum, comparison: the same for every format ---------------------------------------------------------------------- */
enum { CMP_eq, CMP_ne, CMP_lt, CMP_le, CMP_gt, CMP_ge, CMP_equ, CMP_neu, CMP_ltu, CMP_leu, CMP_gtu, CMP_geu, CMP_num, CMP_nan };
static inline bool ptx_compare(double x, double y, int how) {
    bool nan = x != x || y != y;
    switch (how) {
    case CMP_num: return !nan;
    case CMP_nan: return nan;
    case CMP_eq: return x == y;
    case CMP_ne: return !nan && x != y;
    case CMP_lt: return x < y;
    case CMP_le: return x <= y;
    case CMP_gt: return x > y;
    case CMP_ge: return x >= y;
    case CMP_equ: return nan || x == y;
    case CMP_neu: return nan || x != y;
    case CMP_ltu: return nan || x < y;
    case CMP_leu: return nan || x <= y;
    case CMP_gtu: return nan || x > y;
    default: return nan || x >= y;
    }
}
enum { TEST_finite, TEST_infinite, TEST_number, TEST_notanumber, TEST_normal, TEST_subnormal };
#define PTX_ORDER(T, U, SIGN, QUIET)                                                                                   \
    static inline bool fcmp_##T(U a, U b, int how, int mode) { return ptx_compare(get_##T(a, mode), get_##T(b, mode), how); } \
    static inline U ptx_pick_##T(U a, U b, int mode, bool largest) {                                                   \
        U sign = (U)((a ^ b) & (U)(SIGN));                                                                             \
        if (mode & MAGNITUDE) a &= (U)~(U)(SIGN), b &= (U)~(U)(SIGN);                                                  \
        double x = get_##T(a, mode), y = get_##T(b, mode);                                                             \
        U r;                                                                                                           \
        if (x != x || y != y) {                                                                                        \
            if (mode & KEEP_NAN || (x != x && y != y)) return QUIET;                                                   \
            r = x != x ? b : a;                                                                                        \
        } else if (x == y) r = largest ? (U)(a & b) : (U)(a | b); /* differ at most in the sign of zero */             \
        else r = (x > y) == largest ? a : b;                                                                           \
        if (mode & FTZ && get_##T(r, mode) == 0) r &= (U)(SIGN);                                                       \
        return mode & XORSIGN ? (U)((r & (U)~(U)(SIGN)) | sign) : r;                                                   \
    }                                                                                                                  \
    static inline U fmin_##T(U a, U b, int mode) { return ptx_pick_##T(a, b, mode, false); }                           \
    static inline U fmax_##T(U a, U b, int mode) { return ptx_pick_##T(a, b, mode, true); }
PTX_ORDER(f32, uint32_t, 0x80000000u, 0x7fffffffu)
PTX_ORDER(f64, uint64_t, 1ull << 63, 0x7fffffffffffffffull)
PTX_ORDER(f16, uint16_t, 0x8000u, 0x7fff)
PTX_ORDER(bf16, uint16_t, 0x8000u, 0x7fff)
static inline bool testp_f64(uint64_t a, int what) {
    double x = ptx_f64(a);
    return what == TEST_finite ? isfinite(x) : what == TEST_infinite ? isinf(x) : what == TEST_number ? !isnan(x)
         : what == TEST_notanumber ? isnan(x) : what == TEST_normal ? isnormal(x) : fpclassify(x) == FP_SUBNORMAL;
}
static inline bool testp_f32(uint32_t a, int what) {
    float x = ptx_f32(a);
    if (what == TEST_normal) return isnormal(x);
    if (what == TEST_subnormal) return fpclassify(x) == FP_SUBNORMAL;
    return testp_f64(ptx_u64(x), what);
}

/* --- two in a register ---------------------------------------------------------------------------------------------------------------- */
#define PTX_TWO(T, T2, U, U2, N)                                                                                       \
    static inline U2 fneg_##T2(U2 a, int m) { return (U2)fneg_##T((U)(a >> N), m) << N | fneg_##T((U)a, m); }          \
    static inline U2 fabs_##T2(U2 a, int m) { return (U2)fabs_##T((U)(a >> N), m) << N | fabs_##T((U)a, m); }          \
    static inline U2 fadd_##T2(U2 a, U2 b, int m) { return (U2)fadd_##T((U)(a >> N), (U)(b >> N), m) << N | fadd_##T((U)a, (U)b, m); } \
    static inline U2 fsub_##T2(U2 a, U2 b, int m) { return (U2)fsub_##T((U)(a >> N), (U)(b >> N), m) << N | fsub_##T((U)a, (U)b, m); } \
    static inline U2 fmul_##T2(U2 a, U2 b, int m) { return (U2)fmul_##T((U)(a >> N), (U)(b >> N), m) << N | fmul_##T((U)a, (U)b, m); } \
    static inline U2 fmin_##T2(U2 a, U2 b, int m) { return (U2)fmin_##T((U)(a >> N), (U)(b >> N), m) << N | fmin_##T((U)a, (U)b, m); } \
    static inline U2 fmax_##T2(U2 a, U2 b, int m) { return (U2)fmax_##T((U)(a >> N), (U)(b >> N), m) << N | fmax_##T((U)a, (U)b, m); } \
    static inline U2 ffma_##T2(U2 a, U2 b, U2 c, int m) {                                                              \
        return (U2)ffma_##T((U)(a >> N), (U)(b >> N), (U)(c >> N), m) << N | ffma_##T((U)a, (U)b, (U)c, m);            \
    }                                                                                                                  \
    static inline U2 ex2_##T2(U2 a, int m) { return (U2)ex2_##T((U)(a >> N), m) << N | ex2_##T((U)a, m); }             \
    static inline U2 tanh_##T2(U2 a, int m) { return (U2)tanh_##T((U)(a >> N), m) << N | tanh_##T((U)a, m); }
PTX_TWO(f16, f16x2, uint16_t, uint32_t, 16)
PTX_TWO(bf16, bf16x2, uint16_t, uint32_t, 16)
PTX_TWO(f32, f32x2, uint32_t, uint64_t, 32)

/* --- conversions ------------------------------------------------------------------------------------------------------------------------ */
static inline uint16_t f32_f16(uint32_t a, int mode) { return narrow_f16(a, mode); }
static inline uint16_t f32_bf16(uint32_t a, int mode) { return narrow_bf16(a, mode); }
static inline uint32_t f16_f32(uint16_t a, int mode) { return put_f32(get_f16(a, 0), mode); }
static inline uint32_t bf16_f32(uint16_t a, int mode) { return put_f32(get_bf16(a, 0), mode); }
static inline uint64_t f32_f64(uint32_t a, int mode) { return put_f64(get_f32(a, mode), mode); }
static inline uint64_t f16_f64(uint16_t a, int mode) { return put_f64(get_f16(a, 0), mode); }
static inline uint64_t bf16_f64(uint16_t a, int mode) { return put_f64(get_bf16(a, 0), mode); }
static inline uint32_t f64_f32(uint64_t a, int mode) { return put_f32(ptx_to_float(ptx_f64(a), mode), mode); }
static inline uint16_t f64_f16(uint64_t a, int mode) { return put_f16(ptx_f64(a), mode); }
static inline uint16_t f64_bf16(uint64_t a, int mode) { return put_bf16(ptx_f64(a), mode); }
static inline uint16_t f16_bf16(uint16_t a, int mode) { return put_bf16(get_f16(a, 0), mode); }
static inline uint16_t bf16_f16(uint16_t a, int mode) { return put_f16(get_bf16(a, 0), mode); }

/* An integer as a double, rounded to odd when it has more than 53 bits. */
static inline double ptx_uint_odd(uint64_t x) {
    if (x >> 53) x = (x & ~0x7ffull) | (uint64_t)((x & 0x7ff) != 0) << 11;
    return (double)x;
}
static inline double ptx_sint_odd(int64_t x) { return x < 0 ? -ptx_uint_odd(0 - (uint64_t)x) : ptx_uint_odd((uint64_t)x); }
static inline uint32_t sint_f32(int64_t x, int mode) { return put_f32(mode & ROUND ? ptx_to_float(ptx_sint_odd(x), mode) : (float)x, mode); }
static inline uint32_t uint_f32(uint64_t x, int mode) { return put_f32(mode & ROUND ? ptx_to_float(ptx_uint_odd(x), mode) : (float)x, mode); }
static inline uint64_t sint_f64(int64_t x, int mode) {
    double y = mode & ROUND ? ptx_round_int(x < 0 ? 0 - (uint64_t)x : (uint64_t)x, x < 0, mode) : (double)x;
    return put_f64(y, mode);
}
static inline uint64_t uint_f64(uint64_t x, int mode) { return put_f64(mode & ROUND ? ptx_round_int(x, false, mode) : (double)x, mode); }
static inline uint16_t sint_f16(int64_t x, int mode) { return put_f16(ptx_sint_odd(x), mode); }
static inline uint16_t uint_f16(uint64_t x, int mode) { return put_f16(ptx_uint_odd(x), mode); }
static inline uint16_t sint_bf16(int64_t x, int mode) { return put_bf16(ptx_sint_odd(x), mode); }
static inline uint16_t uint_bf16(uint64_t x, int mode) { return put_bf16(ptx_uint_odd(x), mode); }

#endif
