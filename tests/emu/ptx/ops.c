/* ops.c - the rare and the slow of ops.h: roundings by definition. */
#include "tests/emu/ptx/ops.h"
#include <fenv.h>

/* Sign, exponent and mantissa of a number of format (exp_bits, man_bits) nearest to x in the direction of mode. */
uint32_t ptx_narrow(double x, int exp_bits, int man_bits, int mode) {
    uint32_t sign = signbit(x) ? 1u << (exp_bits + man_bits) : 0, inf = ((1u << exp_bits) - 1) << man_bits;
    double a = fabs(x);
    if (x != x) return mode & SAT ? 0 : inf | ((1u << man_bits) - 1);
    if (sign && mode & (RELU | SAT)) return 0;
    if (mode & SAT && a > 1) a = 1;
    if (a == 0) return sign;
    if (a == INFINITY) return sign | (mode & SATFINITE ? inf - 1 : inf);
    int round = mode & ROUND, least = 2 - (1 << (exp_bits - 1)), e = ilogb(a);
    if (round == RM) round = sign ? RP : RZ;
    else if (round == RP) round = sign ? RZ : RP;
    if (e < least) e = least; /* subnormal: the same step as the smallest normal numbers */
    double q = ldexp(a, man_bits - e), r = floor(q), rest = q - r;
    bool up = round == RP ? rest > 0 : round == RNA ? rest >= 0.5 : round == RN && (rest > 0.5 || (rest == 0.5 && fmod(r, 2) == 1));
    uint32_t code = ((uint32_t)(e - least) << man_bits) + (uint32_t)r + up;
    if (code >= inf) code = round == RZ || mode & SATFINITE ? inf - 1 : inf;
    if (mode & FTZ && !(code >> man_bits)) code = 0;
    return sign | code;
}

static int direction(int mode) {
    return (mode & ROUND) == RZ ? FE_TOWARDZERO : (mode & ROUND) == RM ? FE_DOWNWARD : FE_UPWARD;
}
double ptx_directed(char op, double a, double b, double c, int mode) {
    volatile double x = a, y = b, z = c, r;
    int was = fegetround();
    fesetround(direction(mode));
    switch (op) {
    case '+': r = x + y; break;
    case '*': r = x * y; break;
    case '/': r = x / y; break;
    case 'r': r = sqrt(x); break;
    default: r = fma(x, y, z); break;
    }
    fesetround(was);
    return r;
}
double ptx_round_int(uint64_t x, bool minus, int mode) {
    volatile double hi = (double)(x >> 32) * 0x1p32, lo = (double)(uint32_t)x, r;
    int was = fegetround();
    fesetround(direction(mode));
    r = minus ? -hi - lo : hi + lo;
    fesetround(was);
    return r;
}

uint64_t ptx_to_int(double x, bool is_signed, int bits, int mode) {
    int round = mode & ROUND;
    if (x != x) return mode & FROM64 || bits == 64 ? 1ull << (bits - 1) : 0;
    x = round == RZ ? trunc(x) : round == RM ? floor(x) : round == RP ? ceil(x) : nearbyint(x);
    if (is_signed) {
        double top = ldexp(1, bits - 1);
        if (x >= top) return ~0ull >> (65 - bits);
        return (uint64_t)(x < -top ? -(int64_t)(~0ull >> (65 - bits)) - 1 : (int64_t)x);
    }
    if (x <= 0) return 0;
    return x >= ldexp(1, bits) ? ~0ull >> (64 - bits) : (uint64_t)x;
}
