/* warp.cc - what the lanes of a warp do together: they meet, the last one does it for all.
 *
 * Every lane named in the mask must come, with the same operation, mask and place. */
#include "tests/emu/core.h"

namespace emu {
warp warps[MAX_WARPS];

enum { SYNC, SHFL, VOTE, REDUCE, MMA, LDMATRIX };
static const char *const op_name[] = { "__syncwarp", "shuffle", "vote", "__reduce", "mma", "ldmatrix" };

static bool same(const lane_op &a, const lane_op &b) {
    return a.op == b.op && a.mask == b.mask && a.at.line == b.at.line && a.at.file == b.at.file;
}

template <class F> static void meet(int op, uint32_t mask, place at, void *args, F all) {
    thread *t = now();
    warp *w = &warps[t->n / WARP];
    lane_op mine = { op, mask, at, args };
    if (!(mask >> t->lane & 1)) fail(at, "%s by lane %d, which is not in its mask %08x", op_name[op], t->lane, mask);
    if (mask & ~w->alive)
        fail(at, "%s with mask %08x, but only lanes %08x of the warp are there (the others have ended)", op_name[op],
             mask, w->alive);
    if (uint32_t met = w->here & mask) {
        int l = __builtin_ctz(met);
        const lane_op &o = w->lane[l];
        if (o.mask >> t->lane & 1 && !same(mine, o)) /* each waits for the other */
            fail(at, "%s with mask %08x, while lane %d of the warp does a %s with mask %08x at %s", op_name[op], mask,
                 l, op_name[o.op], o.mask, text(o.at).c_str());
    }
    w->lane[t->lane] = mine;
    w->here |= 1u << t->lane;
    bool last = (w->here & mask) == mask;
    for (uint32_t m = last ? mask : 0; m; m &= m - 1)
        last &= same(mine, w->lane[__builtin_ctz(m)]); /* else one comes later, from another group */
    if (!last) {
        wait_here(thread::WARP_OP, at);
        return;
    }
    all(w->lane);
    w->here &= ~mask;
    for (uint32_t m = mask & ~(1u << t->lane); m; m &= m - 1) make_ready(&threads[t->n - t->lane + __builtin_ctz(m)]);
}

void warp_lane_ends(thread *t) {
    warp *w = &warps[t->n / WARP];
    w->alive &= ~(1u << t->lane);
    for (uint32_t m = w->here; m; m &= m - 1) {
        const lane_op &o = w->lane[__builtin_ctz(m)];
        if (o.mask >> t->lane & 1)
            fail(o.at, "lane %d ends while lane %d waits for it in a %s with mask %08x", t->lane, __builtin_ctz(m),
                 op_name[o.op], o.mask);
    }
}

/* --- shuffles, votes, reductions --------------------------------------------------------------------------------- */
struct value { /* of one lane */
    uint64_t x, y;
    int how, arg, width;
};
static value *of(lane_op *lane, int l) { return (value *)lane[l].args; }

static int source(const value *v, int l) {
    int from = l & ~(v->width - 1), to = from + v->width, s = l;
    switch (v->how) {
    case EMU_SHFL_IDX: s = from + (v->arg & (v->width - 1)); break;
    case EMU_SHFL_UP: s = l - v->arg < from ? l : l - v->arg; break;
    case EMU_SHFL_DOWN: s = l + v->arg >= to ? l : l + v->arg; break;
    case EMU_SHFL_XOR: s = (l ^ v->arg) >= to ? l : l ^ v->arg; break;
    }
    return s;
}

static void vote(lane_op *lane, uint32_t mask) {
    uint32_t yes = 0;
    for (uint32_t m = mask; m; m &= m - 1)
        if (of(lane, __builtin_ctz(m))->x) yes |= 1u << __builtin_ctz(m);
    for (uint32_t m = mask; m; m &= m - 1) {
        value *v = of(lane, __builtin_ctz(m));
        v->y = v->how == EMU_BALLOT ? yes : v->how == EMU_ANY ? yes != 0 : yes == mask;
        if (v->how != EMU_MATCH_ANY) continue;
        v->y = 0;
        for (uint32_t k = mask; k; k &= k - 1)
            if (of(lane, __builtin_ctz(k))->x == v->x) v->y |= 1u << __builtin_ctz(k);
    }
}

static uint32_t combine(int how, uint32_t a, uint32_t b) {
    switch (how) {
    case EMU_RED_ADD: return a + b;
    case EMU_RED_MIN: return a < b ? a : b;
    case EMU_RED_MAX: return a > b ? a : b;
    case EMU_RED_MIN_S: return (int32_t)a < (int32_t)b ? a : b;
    case EMU_RED_MAX_S: return (int32_t)a > (int32_t)b ? a : b;
    case EMU_RED_AND: return a & b;
    case EMU_RED_OR: return a | b;
    default: return a ^ b;
    }
}

/* --- tensor cores: lane L, g = L/4, t = 2 (L mod 4) -------------------------------------------------------------- */
struct mma_args {
    int type;
    float *c;
    const uint32_t *a, *b;
};
static float half_of(int type, uint32_t pair, int high) {
    uint32_t h = high ? pair >> 16 : pair & 0xffff;
    union { uint32_t u; float f; } x = { h << 16 };
    if (type == EMU_BF16) return x.f;
    x.u = (h & 0x7fff) << 13;
    x.f *= 0x1p112f; /* subnormals become normal */
    if ((h & 0x7c00) == 0x7c00) x.u |= 0x7f800000;
    x.u |= (h & 0x8000) << 16;
    return x.f;
}

static void mma(lane_op *lane) {
    float a[16][16], b[16][8], c[16][8] = {};
    for (int l = 0; l < WARP; l++) {
        const mma_args *m = (const mma_args *)lane[l].args;
        int g = l / 4, t = l % 4 * 2;
        for (int i = 0; i < 4; i++)
            for (int h = 0; h < 2; h++) a[g + 8 * (i % 2)][t + h + 8 * (i / 2)] = half_of(m->type, m->a[i], h);
        for (int i = 0; i < 2; i++)
            for (int h = 0; h < 2; h++) b[t + h + 8 * i][g] = half_of(m->type, m->b[i], h);
    }
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++) c[i][j] += a[i][k] * b[k][j];
    for (int l = 0; l < WARP; l++) {
        float *d = ((const mma_args *)lane[l].args)->c;
        int g = l / 4, t = l % 4 * 2;
        d[0] += c[g][t], d[1] += c[g][t + 1], d[2] += c[g + 8][t], d[3] += c[g + 8][t + 1];
    }
}

struct ldmatrix_args {
    uint32_t *r;
    const void *row;
};
static void ldmatrix(lane_op *lane, int tiles, bool trans, place at) {
    const thread *t0 = &threads[now()->n - now()->lane];
    const emu_thread *me = emu_now;
    uint16_t tile[4][8][8];
    for (int l = 0; l < 8 * tiles; l++) { /* lane l reads row l mod 8 of tile l / 8 */
        const void *row = ((const ldmatrix_args *)lane[l].args)->row;
        emu_now = t0 + l;
        if (!in_shared(row)) fail(at, "ldmatrix from %p, which is not shared memory", row);
        access(row, 16, EMU_READ, at);
        __builtin_memcpy(tile[l / 8][l % 8], row, 16);
    }
    emu_now = me;
    for (int l = 0; l < WARP; l++)
        for (int m = 0; m < tiles; m++) {
            int g = l / 4, t = l % 4 * 2;
            uint32_t lo = trans ? tile[m][t][g] : tile[m][g][t], hi = trans ? tile[m][t + 1][g] : tile[m][g][t + 1];
            ((const ldmatrix_args *)lane[l].args)->r[m] = lo | hi << 16;
        }
}
} /* namespace emu */

using namespace emu;

void emu_syncwarp(uint32_t mask, const char *file, int line) {
    int w = now()->n / WARP;
    meet(SYNC, mask, { file, line, NULL }, NULL, [=](lane_op *) { clock_join(w, mask); });
}

uint64_t emu_shfl(int mode, uint32_t mask, uint64_t x, int arg, int width, const char *file, int line) {
    value v = { x, 0, mode, arg, width };
    place at = { file, line, NULL };
    if (width < 1 || width > WARP || width & (width - 1))
        fail(at, "a shuffle of width %d, which is no power of two up to 32", width);
    meet(SHFL, mask, at, &v, [=](lane_op *lane) {
        for (uint32_t m = mask; m; m &= m - 1) {
            int l = __builtin_ctz(m), s = source(of(lane, l), l);
            of(lane, l)->y = s >= 0 && s < WARP && mask >> s & 1 ? of(lane, s)->x : ~(uint64_t)0;
        }
    });
    return v.y;
}
uint32_t emu_vote(int op, uint32_t mask, uint64_t x, const char *file, int line) {
    value v = { x, 0, op, 0, 0 };
    meet(VOTE, mask, { file, line, NULL }, &v, [=](lane_op *lane) { vote(lane, mask); });
    return (uint32_t)v.y;
}
uint32_t emu_reduce(int op, uint32_t mask, uint32_t x, const char *file, int line) {
    value v = { x, 0, op, 0, 0 };
    meet(REDUCE, mask, { file, line, NULL }, &v, [=](lane_op *lane) {
        uint32_t y = (uint32_t)of(lane, __builtin_ctz(mask))->x;
        for (uint32_t m = mask & (mask - 1); m; m &= m - 1) y = combine(op, y, (uint32_t)of(lane, __builtin_ctz(m))->x);
        for (uint32_t m = mask; m; m &= m - 1) of(lane, __builtin_ctz(m))->y = y;
    });
    return (uint32_t)v.y;
}
void emu_mma_16816(int type, float *c, const uint32_t *a, const uint32_t *b, const char *file, int line) {
    mma_args m = { type, c, a, b };
    meet(MMA, ~0u, { file, line, NULL }, &m, [](lane_op *lane) { mma(lane); });
}
void emu_ldmatrix(int tiles, int trans, uint32_t *r, const void *smem, const char *file, int line) {
    ldmatrix_args m = { r, smem };
    place at = { file, line, NULL };
    meet(LDMATRIX, ~0u, at, &m, [=](lane_op *lane) { ldmatrix(lane, tiles, trans, at); });
}
