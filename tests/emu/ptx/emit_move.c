/* emit_move.c - what moves values: mov, loads and stores, atomics, addresses, branches, calls. */
#include "tests/emu/ptx/ptx.h"
#include <string.h>

static bool base_is(const char *s) { return !strcmp(at.i->base, s); }
static void take_all(void) { memset(at.i->used, 1, sizeof at.i->used); }
static const type *bits(int n) { return type_of(fmt("b%d", n)); }

static void mov(void) {
    const type *t = take_type();
    if (at.i->ops != 2) unknown("it takes two operands");
    operand *d = &at.i->op[0], *a = &at.i->op[1];
    if (d->kind != OP_VECTOR && a->kind != OP_VECTOR) {
        wr(0, t, rd(1, t));
    } else if (d->kind != OP_VECTOR) { /* the first part is the lowest */
        const type *p = bits(t->bits / a->parts);
        const char *c = "";
        for (int k = 0; k < a->parts; k++)
            c = fmt("%s%s(%s)%s << %d", c, k ? " | " : "", c_type(t), rd_op(&a->part[k], p), k * p->bits);
        wr(0, t, c);
    } else {
        if (a->kind == OP_VECTOR) unknown("a vector from a vector");
        const type *p = bits(t->bits / d->parts);
        out("old = %s; ", rd(1, t)); /* a part may be the register that is taken apart */
        for (int k = 0; k < d->parts; k++)
            if (!is_sink(&d->part[k])) wr_op(&d->part[k], p, fmt("(%s)(old >> %d)", c_type(p), k * p->bits));
    }
}

/* --- memory -------------------------------------------------------------------------------------------------------------- */
static space take_space(void) {
    static const struct { const char *mod; space sp; } spaces[] = {
        { "global", SP_GLOBAL }, { "shared", SP_SHARED }, { "shared::cta", SP_SHARED }, { "local", SP_LOCAL }, { "const", SP_CONST },
        { "param", SP_PARAM },   { "param::entry", SP_PARAM }, { "param::func", SP_PARAM },
    };
    for (size_t k = 0; k < sizeof spaces / sizeof *spaces; k++)
        if (take(spaces[k].mod)) return spaces[k].sp;
    return SP_GENERIC;
}
/* Memory order, scope and caching: one thread runs at a time, so they change nothing here. */
static void take_hints(void) {
    static const char *const hints[] = { "weak", "relaxed", "acquire", "release", "acq_rel", "volatile", "mmio", "cta", "gpu", "sys",
                                         "ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc", "unified", "noftz" };
    for (size_t k = 0; k < sizeof hints / sizeof *hints; k++) take(hints[k]);
    for (int k = 0; k < at.i->mods; k++)
        if (!strncmp(at.i->mod[k], "L1::", 4) || !strncmp(at.i->mod[k], "L2::", 4)) at.i->used[k] = true;
}

/* A pointer to `bytes` bytes at the address, after the checks of its state space. */
static const char *memory(const operand *o, space sp, int bytes, const char *kind) {
    const char *a = address(o, sp);
    const var *v = o->name ? find_var(o->name) : NULL;
    if (sp == SP_PARAM) {
        if (!v) unknown(NULL);
        if (v->sp == SP_REG) return fmt("(void *)(uintptr_t)(%s)", a); /* of a parameter whose address was taken */
        int64_t room = v->elements * (v->t->bits / 8);
        if (o->offset < 0 || o->offset + bytes > room) unknown(fmt("'%s' has %lld bytes", v->name, (long long)room));
        return fmt("(void *)(uintptr_t)(%s)", a);
    }
    if (sp == SP_SHARED) return fmt("lane_shared_at(%s, %d, %s, %s)", a, bytes, kind, site());
    const char *name = sp == SP_LOCAL ? "local" : sp == SP_CONST ? "const" : "global";
    return fmt("lane_%s_at(%s, %d, %s, %s)", name, a, bytes, kind, site());
}

static void load_store(bool store) {
    take_hints();
    space sp = take_space();
    int n = take("v2") ? 2 : take("v4") ? 4 : take("v8") ? 8 : 1;
    const type *t = take_type();
    operand *value = &at.i->op[store], *where = &at.i->op[!store];
    if (at.i->ops < 2 || (n > 1 && (value->kind != OP_VECTOR || value->parts != n))) unknown("operands of another number than expected");
    const char *c = c_type(t);
    const char *p = memory(where, sp, n * t->bits / 8, store ? "EMU_WRITE" : "EMU_READ");
    if (n == 1) {
        if (store) out("*(%s *)%s = %s;", c, p, rd_op(value, t));
        else wr_op(value, t, fmt("*(const %s *)%s", c, p));
        return;
    }
    out("p = %s; ", p);
    for (int k = 0; k < n; k++) {
        if (store) out("((%s *)p)[%d] = %s; ", c, k, rd_op(&value->part[k], t));
        else if (!is_sink(&value->part[k])) wr_op(&value->part[k], t, fmt("((const %s *)p)[%d]", c, k));
    }
}

static void atomic(bool gives) { /* atom d, [a], b, c; red [a], b */
    take_hints();
    space sp = take_space();
    static const char *const names[] = { "add", "exch", "cas", "min", "max", "inc", "dec", "and", "or", "xor", NULL };
    const char *op = NULL;
    for (int k = 0; names[k]; k++)
        if (take(names[k])) op = names[k];
    if (!op) unknown("no operation that the translator knows");
    const type *t = take_type();
    if (sp != SP_GENERIC && sp != SP_GLOBAL && sp != SP_SHARED) unknown(NULL);
    char s = t->kind == 's' ? 's' : 'u';
    bool exch = !strcmp(op, "exch");
    const char *x = rd(1 + gives, t), *old = fmt("(%s)old", c_type(t));
    out("p = %s; old = *(%s *)p; ", memory(&at.i->op[gives], sp, t->bits / 8, exch ? "LANE_EXCHANGE" : "LANE_ATOMIC"), c_type(t));
    if (!strcmp(op, "cas")) out("if (old == %s) *(%s *)p = %s; ", x, c_type(t), rd(2 + gives, t));
    else if (exch) out("*(%s *)p = %s; ", c_type(t), x);
    else if (!strcmp(op, "inc")) out("*(%s *)p = old >= %s ? 0 : old + 1; ", c_type(t), x);
    else if (!strcmp(op, "dec")) out("*(%s *)p = old == 0 || old > %s ? %s : old - 1; ", c_type(t), x, x);
    else if (!strcmp(op, "and") || !strcmp(op, "or") || !strcmp(op, "xor"))
        out("*(%s *)p = old %s %s; ", c_type(t), op[0] == 'a' ? "&" : op[0] == 'o' ? "|" : "^", x);
    else if (t->kind == 'f') out("*(%s *)p = f%s_%s(%s, %s, 0); ", c_type(t), op, t->name, old, x);
    else if (!strcmp(op, "add")) out("*(%s *)p = add_%d(%s, %s); ", c_type(t), t->bits, old, x);
    else out("*(%s *)p = %s_%c%d(%s, %s); ", c_type(t), op, s, t->bits, old, x);
    if (gives) wr(0, t, old);
}

static void cvta(void) {
    bool to = take("to");
    space sp = take_space();
    const type *t = take_type();
    const char *a = at.i->op[1].kind == OP_NAME && !find_var(at.i->op[1].name) ? NULL : rd(1, t);
    if (!a) unknown("the address of something unknown");
    if (sp == SP_SHARED) a = to ? fmt("lane_to_shared(%s)", a) : fmt("lane_from_shared(%s)", a);
    wr(0, t, a);
}

static void isspacep(void) {
    space sp = take_space();
    const type *t = type_of("u64");
    const char *a = rd(1, t);
    const char *of = sp == SP_SHARED ? "shared" : sp == SP_LOCAL ? "local" : sp == SP_GLOBAL ? "global" : NULL;
    if (!of) unknown(NULL);
    wr(0, type_of("pred"), fmt("lane_is_%s(%s)", of, a));
}

/* --- branches and calls ------------------------------------------------------------------------------------------------------- */
static void brx(void) {
    take("idx"), take("uni");
    const item *targets = NULL;
    if (at.i->ops == 2)
        for (const item *i = at.f->items; i; i = i->next)
            if (i->kind == IT_TARGETS && !strcmp(i->label, at.i->op[1].name)) targets = i;
    if (!targets) unknown("its list of targets is missing");
    out("switch (%s) { ", rd(0, type_of("u32")));
    for (int k = 0; k < targets->ops; k++) out("case %d: goto %s; ", k, label_name(targets->op[k].name));
    out("default: emu_trap(\"a branch outside of its table\", %s); }", site());
}

static void call(void) {
    take("uni");
    operand *o = at.i->op;
    bool result = o[0].kind == OP_VECTOR;
    int k = result;
    if (k >= at.i->ops || o[k].kind != OP_NAME) unknown("no function is named");
    const func *f = find_func(o[k].name);
    if (!f) unknown("calls through a register");
    if (!f->defined) unknown(fmt("'%s' has no body", f->name));
    const char *args = result && o[0].parts ? c_name(o[0].part[0].name) : "NULL";
    if (k + 1 < at.i->ops)
        for (int j = 0; j < o[k + 1].parts; j++) args = fmt("%s, %s", args, c_name(o[k + 1].part[j].name));
    out("f_%s(%s);", c_name(f->name), args);
}

bool emit_move(void) {
    if (base_is("mov")) mov();
    else if (base_is("ld") || base_is("ldu")) load_store(false);
    else if (base_is("st")) load_store(true);
    else if (base_is("atom")) atomic(true);
    else if (base_is("red")) atomic(false);
    else if (base_is("cvta")) cvta();
    else if (base_is("isspacep")) isspacep();
    else if (base_is("bra")) take("uni"), out("goto %s;", label_name(at.i->op[0].name));
    else if (base_is("brx")) brx();
    else if (base_is("call")) call();
    else if (base_is("ret") || (base_is("exit") && at.f->entry)) take("uni"), out("return;");
    else if (base_is("trap")) out("emu_trap(\"trap\", %s);", site());
    else if (base_is("nanosleep")) take_type(), out("emu_yield(%s);", site());
    else if (base_is("prefetch") || base_is("prefetchu") || base_is("membar") || base_is("griddepcontrol") || base_is("setmaxnreg"))
        take_all();
    else if (base_is("fence")) { /* of memory; those of the async proxy belong to copies that are not known here */
        for (int k = 0; k < at.i->mods; k++)
            if (!strncmp(at.i->mod[k], "proxy", 5) || !strncmp(at.i->mod[k], "mbarrier", 8)) unknown(NULL);
        take_all();
    } else return false;
    return true;
}
