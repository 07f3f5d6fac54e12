/* emit_warp.c - what threads do together: barriers, shuffles, votes, tensor cores; and asynchronous copies. */
#include "tests/emu/ptx/ptx.h"
#include <string.h>

static bool base_is(const char *s) { return !strcmp(at.i->base, s); }
static const type *u32(void) { return type_of("u32"); }
static const type *pred(void) { return type_of("pred"); }

static void wr_pair(const type *t, const char *value, const char *flag) { /* d, or d|p */
    operand *d = &at.i->op[0];
    if (d->kind != OP_PAIR) {
        wr_op(d, t, value);
        return;
    }
    wr_op(&d->part[0], t, value);
    wr_op(&d->part[1], pred(), flag);
}

static bool is_zero(int k) { return k < at.i->ops && at.i->op[k].kind == OP_IMM && at.i->op[k].offset == 0; }

static void barrier(void) { /* bar.sync 0, barrier.sync.aligned 0, bar.red.popc.u32 d, 0, p, bar.warp.sync mask */
    if (take("warp")) {
        take("sync");
        out("emu_syncwarp(%s, %s);", rd(0, u32()), site());
        return;
    }
    take("cta"), take("aligned");
    if (take("sync")) {
        if (!is_zero(0) || at.i->ops != 1) unknown("barriers but the whole block's (number 0)");
        out("emu_barrier(%s);", site());
        return;
    }
    if (!take("red")) unknown(NULL);
    const char *op = take("popc") ? "EMU_COUNT" : take("or") ? "EMU_OR" : take("and") ? "EMU_AND" : NULL;
    const type *t = take_type();
    if (!op || !is_zero(1) || at.i->ops != 3) unknown("barriers but the whole block's (number 0)");
    const char *c = fmt("emu_barrier_vote(%s, %s, %s)", op, rd_pred(&at.i->op[2]), site());
    wr(0, t, t->kind == 'p' ? fmt("%s != 0", c) : fmt("(uint32_t)%s", c));
}

static void shfl(void) {
    static const char *const hows[] = { "up", "down", "bfly", "idx", NULL };
    if (!take("sync")) unknown("warp operations without .sync");
    int how = -1;
    for (int k = 0; hows[k]; k++)
        if (take(hows[k])) how = k;
    take_type();
    if (how < 0 || at.i->ops != 5) unknown("operands of another number than expected");
    out("x = lane_shfl(LANE_%s, %s, %s, %s, %s, &inside, %s); ", hows[how], rd(4, u32()), rd(1, u32()), rd(2, u32()),
        rd(3, u32()), site());
    wr_pair(u32(), "x", "inside");
}

static void vote(void) { /* vote.sync.ballot.b32 d, p, mask */
    if (!take("sync")) unknown("warp operations without .sync");
    const char *p = rd_pred(&at.i->op[1]), *mask = rd(2, u32());
    const char *op = take("ballot") ? "EMU_BALLOT" : take("any") ? "EMU_ANY" : take("all") ? "EMU_ALL" : take("uni") ? "" : NULL;
    const type *t = take_type();
    if (!op) unknown(NULL);
    if (!*op) {
        out("m = %s; x = emu_vote(EMU_BALLOT, m, %s, %s); ", mask, p, site());
        wr(0, t, "x == 0 || x == m");
        return;
    }
    const char *c = fmt("emu_vote(%s, %s, %s, %s)", op, mask, p, site());
    wr(0, t, t->kind == 'p' ? fmt("%s != 0", c) : c);
}

static void match(void) { /* match.any.sync.b32 d, a, mask; match.all.sync.b32 d|p, a, mask */
    bool all = take("all");
    if (!all) take("any");
    if (!take("sync")) unknown("warp operations without .sync");
    const type *t = take_type();
    out("m = %s; x = emu_vote(EMU_MATCH_ANY, m, %s, %s); ", rd(2, u32()), rd(1, t), site());
    wr_pair(u32(), all ? "x == m ? m : 0" : "x", "x == m");
}

static void redux(void) {
    static const char *const ops[] = { "add", "min", "max", "and", "or", "xor", NULL };
    static const char *const c[] = { "ADD", "MIN", "MAX", "AND", "OR", "XOR" };
    if (!take("sync")) unknown("warp operations without .sync");
    int op = -1;
    for (int k = 0; ops[k]; k++)
        if (take(ops[k])) op = k;
    const type *t = take_type();
    if (op < 0 || t->kind == 'f') unknown(NULL);
    bool s = t->kind == 's' && (op == 1 || op == 2);
    wr(0, t, fmt("emu_reduce(EMU_RED_%s%s, %s, %s, %s)", c[op], s ? "_S" : "", rd(2, u32()), rd(1, t), site()));
}

static void elect(void) { /* elect.sync d|p, mask: the lowest lane of the mask */
    take("sync");
    out("m = %s; emu_syncwarp(m, %s); ", rd(1, u32()), site());
    wr_pair(u32(), "(uint32_t)__builtin_ctz(m)", "(uint32_t)__builtin_ctz(m) == lane_id()");
}

/* --- tensor cores -------------------------------------------------------------------------------------------------------------- */
static void matrix(bool store) { /* ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {r...}, [p]; stmatrix [p], {r...} */
    take("sync"), take("aligned");
    if (!take("m8n8")) unknown(NULL);
    int n = take("x4") ? 4 : take("x2") ? 2 : (take("x1"), 1);
    bool trans = take("trans");
    if (!take("shared") && !take("shared::cta")) unknown("a generic address");
    const type *t = take_type();
    operand *r = &at.i->op[store], *p = &at.i->op[!store];
    if (t->bits != 16 || (n > 1 && (r->kind != OP_VECTOR || r->parts != n))) unknown("operands of another number than expected");
    operand *each = r->kind == OP_VECTOR ? r->part : r;
    for (int k = 0; k < n && store; k++) out("c[%d] = %s; ", k, rd_op(&each[k], u32()));
    out("lane_%smatrix(%d, %d, c, %s, %s); ", store ? "st" : "ld", n, trans, address(p, SP_SHARED), site());
    for (int k = 0; k < n && !store; k++) wr_op(&each[k], u32(), fmt("c[%d]", k));
}

static int registers(const char *name, int k) { /* name[] of the vector at operand k */
    operand *o = &at.i->op[k];
    int n = o->kind == OP_VECTOR ? o->parts : 1;
    for (int j = 0; j < n; j++) out("%s[%d] = %s; ", name, j, rd_op(o->kind == OP_VECTOR ? &o->part[j] : o, u32()));
    return n;
}

static void mma(void) { /* mma.sync.aligned.m16n8kK.row.col.D.A.B.C {d}, {a}, {b}, {c} */
    static const char *const shapes[] = { "m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32", NULL };
    int k = 0;
    take("sync"), take("aligned"), take("row"), take("col");
    for (int j = 0; shapes[j]; j++)
        if (take(shapes[j])) k = 4 << j;
    bool sat = take("satfinite");
    const type *d = take_type(), *a = take_type(), *b = take_type(), *c = take_type();
    bool integers = a->bits == 8 && b->bits == 8 && a->kind != 'f' && (k == 16 || k == 32);
    bool halves = a == b && a->kind == 'f' && a->bits == 16 && a->lanes == 1 && (k == 8 || k == 16);
    bool tf32 = a == b && a->kind == 't' && (k == 4 || k == 8);
    if (at.i->ops != 4 || !(integers || halves || tf32) || (sat && !integers)) unknown("a shape or types that the translator does not know");
    bool f16_sums = c->bits == 16;
    if (c != d && !(c->kind == 'f' && d->kind == 'f' && !f16_sums && d->bits == 32)) unknown("sums of two types");
    if (at.i->op[1].parts > 8 || at.i->op[2].parts > 4 || at.i->op[3].parts > 4) unknown("operands of another number than expected");
    int na = registers("a", 1), nb = registers("b", 2), nc = registers("c", 3);
    int words = k * (integers ? 8 : halves ? 16 : 32) / 128; /* registers of b; a has twice as many rows */
    if (na != 2 * words || nb != words || nc != (f16_sums ? 2 : 4)) unknown("operands of another number than expected");
    const char *where = site();
    if (halves && k == 16 && !f16_sums)
        out("emu_mma_16816(%s, (float *)c, a, b, %s); ", a->brain ? "EMU_BF16" : "EMU_F16", where);
    else
        out("lane_mma(LANE_%s, LANE_%s, %d, %d, %d, c, a, b, %s); ", tf32 ? "TF32" : integers ? a->kind == 's' ? "S8" : "U8" : a->brain ? "BF16" : "F16",
            tf32 ? "TF32" : integers ? b->kind == 's' ? "S8" : "U8" : a->brain ? "BF16" : "F16", k, f16_sums, sat, where);
    for (int j = 0; j < nc; j++) wr_op(&at.i->op[0].part[j], u32(), fmt("c[%d]", j));
}

/* --- cp.async ------------------------------------------------------------------------------------------------------------------- */
static void cp(void) {
    if (!take("async")) unknown(NULL);
    if (take("commit_group")) {
        out("emu_cp_async_commit();");
    } else if (take("wait_group")) {
        if (at.i->op[0].kind != OP_IMM) unknown("the number of groups is no constant");
        out("emu_cp_async_wait(%lld);", (long long)at.i->op[0].offset);
    } else if (take("wait_all")) {
        out("emu_cp_async_commit(); emu_cp_async_wait(0);");
    } else { /* cp.async.cg.shared.global [dst], [src], bytes, src_bytes */
        bool cg = take("cg");
        if (!cg && !take("ca")) unknown(NULL);
        if (!(take("shared") || take("shared::cta")) || !take("global")) unknown("spaces but shared and global");
        for (int k = 0; k < at.i->mods; k++)
            if (!strncmp(at.i->mod[k], "L2::", 4) && strcmp(at.i->mod[k], "L2::cache_hint")) at.i->used[k] = true;
        if (at.i->ops < 3 || at.i->ops > 4 || at.i->op[2].kind != OP_IMM) unknown("operands of another number than expected");
        int bytes = (int)at.i->op[2].offset;
        if (bytes != 16 && (cg || (bytes != 4 && bytes != 8))) unknown("a copy of this size");
        const char *src = at.i->ops == 4 ? fmt("(int)%s", rd(3, u32())) : fmt("%d", bytes);
        if (at.i->ops == 4 && at.i->op[3].kind == OP_NAME && find_var(at.i->op[3].name)->t->kind == 'p') unknown("a copy under a predicate");
        out("lane_cp_async(%s, %s, %d, %s, %s);", address(&at.i->op[0], SP_SHARED), address(&at.i->op[1], SP_GLOBAL), bytes, src, site());
    }
}

bool emit_warp(void) {
    if (base_is("bar") || base_is("barrier")) barrier();
    else if (base_is("shfl")) shfl();
    else if (base_is("vote")) vote();
    else if (base_is("match")) match();
    else if (base_is("redux")) redux();
    else if (base_is("elect")) elect();
    else if (base_is("activemask")) take_type(), wr(0, u32(), "0xffffffffu");
    else if (base_is("ldmatrix")) matrix(false);
    else if (base_is("stmatrix")) matrix(true);
    else if (base_is("mma")) mma();
    else if (base_is("cp")) cp();
    else return false;
    return true;
}
