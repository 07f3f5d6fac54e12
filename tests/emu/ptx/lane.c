/* lane.c - see lane.h. Warp operations that the device's emulation has no entry for are made of shuffles. */
#include "tests/emu/ptx/lane.h"
#include "tests/emu/ptx/ops.h"
#include <stdio.h>
#include <stdlib.h>

/* --- the list of kernels ---------------------------------------------------------------------------------------------------- */
static struct list { const lane_kernel *k; int n; struct list *next; } *lists;

void lane_enlist(const lane_kernel *k, int n) {
    struct list *l = malloc(sizeof *l);
    if (!l) abort();
    *l = (struct list){ k, n, lists };
    lists = l;
}
const lane_kernel *lane_find(const void *host) {
    const lane_kernel *found = NULL;
    for (struct list *l = lists; l; l = l->next)
        for (int i = 0; i < l->n; i++) {
            if (!l->k[i].host || (const void *)(uintptr_t)l->k[i].host != host) continue;
            const lane_kernel *k = &l->k[i]; /* a template of a header may be in several files, but then it is one and the same */
            if (found && (k->param_bytes != found->param_bytes || k->shared_bytes != found->shared_bytes || k->max_threads != found->max_threads))
                emu_trap("two files have a kernel of one name; the linker keeps one of them", found->name, 0);
            found = &l->k[i];
        }
    return found;
}
const lane_kernel *lane_named(const char *name) {
    for (struct list *l = lists; l; l = l->next)
        for (int i = 0; i < l->n; i++)
            if (!strcmp(l->k[i].name, name)) return &l->k[i];
    return NULL;
}

uint64_t lane_clock(void) {
    static uint64_t ticks;
    return ticks += 16;
}

uint32_t lane_shared(const void *key, size_t bytes, int align, const char *name) {
    if (align > 16) emu_trap("a shared array with an alignment above 16", name, 0);
    return emu_shared_offset(emu_shared(key, bytes, name, 0));
}

bool lane_is_local(uint64_t a) { /* near the stack pointer: fibers have stacks of at most 256 KiB */
    uint64_t here = (uint64_t)(uintptr_t)__builtin_frame_address(0);
    return a - here + (256 << 10) < 512 << 10;
}

/* --- shuffles ------------------------------------------------------------------------------------------------------------------ */
uint32_t lane_shfl(int how, uint32_t mask, uint32_t x, uint32_t b, uint32_t c, bool *inside, const char *file, int line) {
    int lane = (int)lane_id(), segment = (int)(c >> 8 & 31), clamp = (int)(c & 31), by = (int)(b & 31);
    int first = lane & segment, last = (lane & segment) | (clamp & ~segment), from = lane;
    switch (how) {
    case LANE_up: from = lane - by, *inside = from >= last; break;
    case LANE_down: from = lane + by, *inside = from <= last; break;
    case LANE_bfly: from = lane ^ by, *inside = from <= last; break;
    default: from = first | (by & ~segment), *inside = from <= last; break;
    }
    if (!*inside) from = lane;
    return (uint32_t)emu_shfl(EMU_SHFL_IDX, mask, x, from, 32, file, line);
}

/* --- matrices -------------------------------------------------------------------------------------------------------------------- */
static uint32_t from_lane(uint32_t x, int l, const char *file, int line) {
    return (uint32_t)emu_shfl(EMU_SHFL_IDX, 0xffffffffu, x, l, 32, file, line);
}

/* The reverse of ldmatrix: lane 8m+r gives the address of row r of tile m; register m holds row g, columns t, t+1. */
void lane_stmatrix(int tiles, int trans, const uint32_t *r, uint32_t to, const char *file, int line) {
    int lane = (int)lane_id(), g = lane / 4, t = lane % 4 * 2;
    for (int m = 0; m < tiles; m++) {
        for (int i = 0; i < 2; i++) {
            int row = trans ? t + i : g, column = trans ? g : t + i;
            uint32_t at = from_lane(to, 8 * m + row, file, line);
            uint16_t *p = lane_shared_at(at + 2 * (uint32_t)column, 2, EMU_WRITE, file, line);
            *p = (uint16_t)(r[m] >> 16 * i);
        }
    }
}

/* Value j of a row (column) of k values, whose registers stand in w[register][lane of the four]: per 32-bit word 1, 2 or 4. */
static double element(int type, const uint32_t w[][4], int rows2, int half, int j) {
    int each = type == LANE_TF32 ? 1 : type == LANE_S8 || type == LANE_U8 ? 4 : 2;
    int word = j / each, l = word % 4, reg = word / 4; /* four lanes hold four words beside each other, the next four follow */
    uint32_t u = w[rows2 ? 2 * reg + half : reg][l] >> j % each * (32 / each);
    switch (type) {
    case LANE_BF16: return get_bf16((uint16_t)u, 0);
    case LANE_F16: return get_f16((uint16_t)u, 0);
    case LANE_TF32: return ptx_f32(u & 0xffffe000u);
    case LANE_S8: return (int8_t)u;
    default: return (uint8_t)u;
    }
}

void lane_mma(int a_type, int b_type, int k, int f16_sums, int saturate, uint32_t *c, const uint32_t *a, const uint32_t *b,
              const char *file, int line) {
    int lane = (int)lane_id(), g = lane / 4, t = lane % 4 * 2;
    int nb = k * (a_type == LANE_TF32 ? 32 : a_type >= LANE_S8 ? 8 : 16) / 128, na = 2 * nb;
    uint32_t wa[8][4], wb[2][4][4];
    for (int i = 0; i < na; i++)
        for (int l = 0; l < 4; l++) wa[i][l] = from_lane(a[i], 4 * g + l, file, line);
    for (int column = 0; column < 2; column++)
        for (int i = 0; i < nb; i++)
            for (int l = 0; l < 4; l++) wb[column][i][l] = from_lane(b[i], 4 * (t + column) + l, file, line);
    for (int i = 0; i < 4; i++) { /* (g,t), (g,t+1), (g+8,t), (g+8,t+1) */
        float sum = 0;
        int64_t whole = 0;
        for (int j = 0; j < k; j++) {
            double x = element(a_type, wa, 1, i / 2, j), y = element(b_type, wb[i % 2], 0, 0, j);
            if (a_type >= LANE_S8) whole += (int64_t)(x * y);
            else sum = (float)(sum + x * y);
        }
        if (a_type >= LANE_S8) {
            whole += (int32_t)c[i];
            c[i] = saturate ? clamp32(whole) : (uint32_t)whole;
        } else if (f16_sums) {
            uint32_t *w = &c[i / 2];
            int at = i % 2 * 16;
            uint16_t r = put_f16((double)sum + get_f16((uint16_t)(*w >> at), 0), 0);
            *w = (*w & ~(0xffffu << at)) | (uint32_t)r << at;
        } else c[i] = put_f32(sum + ptx_f32(c[i]), 0);
    }
}
