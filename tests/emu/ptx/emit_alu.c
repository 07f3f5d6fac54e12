/* emit_alu.c - arithmetic: integers, logic, comparisons, floating point, conversions. Functions of ops.h are named by what they
 * do and the type (add_32, mulhi_s64, fadd_f32 with its mode); operands are evaluated once. */
#include "tests/emu/ptx/ptx.h"
#include <string.h>

static bool base_is(const char *s) { return !strcmp(at.i->base, s); }
static bool one_of(const char *const *list) {
    for (; *list; list++)
        if (base_is(*list)) return true;
    return false;
}
static char sign(const type *t) { return t->kind == 's' ? 's' : 'u'; }

static const char *call(const char *f, int operands, const type *t, const char *more) {
    const char *s = fmt("%s(", f);
    for (int k = 1; k <= operands; k++) s = fmt("%s%s%s", s, k > 1 ? ", " : "", rd(k, t));
    return fmt("%s%s%s)", s, more ? ", " : "", more ? more : "");
}

/* --- integers --------------------------------------------------------------------------------------------------------------- */
static const type *half_or_double(const type *t, int bits) { return type_of(fmt("%c%d", t->kind, bits)); }

static bool carried(const type *t) { /* add.cc addc sub.cc subc, mad.cc, madc */
    bool in = strchr("c", at.i->base[strlen(at.i->base) - 1]) && !base_is("sub") && !base_is("add");
    bool sets = take("cc");
    if (!in && !sets) return false;
    char op[8] = { 0 };
    memcpy(op, at.i->base, 3);
    const char *a = rd(1, t), *b = rd(2, t);
    if (!strcmp(op, "mad")) {
        const char *part = take("hi") ? fmt("mulhi_%c%d", sign(t), t->bits) : (take("lo"), fmt("mul_%d", t->bits));
        a = fmt("%s(%s, %s)", part, a, b), b = rd(3, t);
        memcpy(op, "add", 4);
    }
    wr(0, t, fmt("carry_%s_%d(%s, %s, %s, %s, &carry)", op, t->bits, a, b, in ? "carry" : "0", sets ? "true" : "false"));
    return true;
}

static bool integer_multiply(void) { /* mul mad mul24 mad24 */
    bool add = !strncmp(at.i->base, "mad", 3), short24 = strstr(at.i->base, "24");
    const type *t = take_type();
    if (t->kind == 'f') return false;
    if (carried(t)) return true;
    bool wide = take("wide"), hi = !wide && take("hi");
    if (!wide && !hi) take("lo");
    if (short24) {
        if (hi) unknown("24-bit high products");
        const char *p = fmt("mul24_%c(%s, %s)", sign(t), rd(1, t), rd(2, t));
        wr(0, t, add ? fmt("add_32(%s, %s)", p, rd(3, t)) : p);
        return true;
    }
    const type *r = wide ? half_or_double(t, 2 * t->bits) : t;
    const char *p = wide ? call(fmt("mulwide_%c%d", sign(t), t->bits), 2, t, NULL)
                    : hi ? call(fmt("mulhi_%c%d", sign(t), t->bits), 2, t, NULL) : call(fmt("mul_%d", t->bits), 2, t, NULL);
    bool sat = add && take("sat");
    if (sat && (t->kind != 's' || t->bits != 32)) unknown("saturation of this type");
    wr(0, r, add ? fmt("%s%d(%s, %s)", sat ? "addsat_s" : "add_", r->bits, p, rd(3, r)) : p);
    return true;
}

static bool integer(void) {
    static const char *const plain2[] = { "and", "or", "xor", NULL }, *const signed2[] = { "min", "max", "div", "rem", NULL };
    const type *u32 = type_of("u32");
    if (one_of(plain2)) {
        const type *t = take_type();
        const char *op = base_is("and") ? "&" : base_is("or") ? "|" : "^";
        wr(0, t, fmt("(%s)(%s %s %s)", c_type(t), rd(1, t), op, rd(2, t)));
    } else if (base_is("not") || base_is("cnot")) {
        const type *t = take_type();
        wr(0, t, fmt("(%s)%s%s", c_type(t), t->kind == 'p' || base_is("cnot") ? "!" : "~", rd(1, t)));
    } else if (one_of(signed2)) {
        const type *t = take_type();
        bool relu = take("relu");
        const char *c = call(fmt("%s_%c%d", at.i->base, sign(t), t->bits), 2, t, NULL);
        if (at.i->ops == 4) c = fmt("%s_%c%d(%s, %s)", at.i->base, sign(t), t->bits, c, rd(3, t)); /* min and max of three */
        wr(0, t, relu ? fmt("max_s%d(%s, 0)", t->bits, c) : c);
    } else if (base_is("shl") || base_is("shr")) {
        const type *t = take_type();
        bool arithmetic = base_is("shr") && t->kind == 's';
        const operand *n = &at.i->op[2];
        if (!arithmetic && t->bits >= 32 && at.i->ops == 3 && n->kind == OP_IMM && n->offset >= 0 && n->offset < t->bits)
            wr(0, t, fmt("%s %s %d", rd(1, t), base_is("shl") ? "<<" : ">>", (int)n->offset));
        else wr(0, t, fmt("%s%s_%d(%s, %s)", arithmetic ? "s" : "", at.i->base, t->bits, rd(1, t), rd(2, u32)));
    } else if (base_is("shf")) {
        const char *side = take("l") ? "l" : (take("r"), "r"), *how = take("wrap") ? "wrap" : (take("clamp"), "clamp");
        wr(0, take_type(), call(fmt("shf_%s_%s", side, how), 3, u32, NULL));
    } else if (base_is("popc") || base_is("clz") || base_is("brev")) {
        const type *t = take_type();
        wr(0, base_is("brev") ? t : u32, call(fmt("%s_%d", at.i->base, t->bits), 1, t, NULL));
    } else if (base_is("bfind")) {
        bool amount = take("shiftamt");
        const type *t = take_type();
        wr(0, u32, call(fmt("bfind_%c%d", sign(t), t->bits), 1, t, amount ? "true" : "false"));
    } else if (base_is("bfe")) {
        const type *t = take_type();
        wr(0, t, fmt("bfe_%c%d(%s, %s, %s)", sign(t), t->bits, rd(1, t), rd(2, u32), rd(3, u32)));
    } else if (base_is("bfi")) {
        const type *t = take_type();
        wr(0, t, fmt("bfi_%d(%s, %s, %s, %s)", t->bits, rd(1, t), rd(2, t), rd(3, u32), rd(4, u32)));
    } else if (base_is("bmsk")) {
        bool wrap = take("wrap");
        if (!wrap) take("clamp");
        wr(0, take_type(), call("bmsk", 2, u32, wrap ? "true" : "false"));
    } else if (base_is("szext")) {
        bool wrap = take("wrap");
        if (!wrap) take("clamp");
        const type *t = take_type();
        wr(0, t, call(fmt("szext_%c", sign(t)), 2, t, wrap ? "true" : "false"));
    } else if (base_is("prmt")) {
        static const char *const modes[] = { "f4e", "b4e", "rc8", "ecl", "ecr", "rc16", NULL };
        int mode = 0;
        for (int k = 0; modes[k]; k++)
            if (take(modes[k])) mode = k + 1;
        wr(0, take_type(), call("prmt", 3, u32, fmt("%d", mode)));
    } else if (base_is("lop3")) {
        wr(0, take_type(), call("lop3", 4, u32, NULL));
    } else if (base_is("sad")) {
        const type *t = take_type();
        wr(0, t, call(fmt("sad_%c%d", sign(t), t->bits), 3, t, NULL));
    } else if (base_is("dp4a") || base_is("dp2a")) {
        const char *part = base_is("dp2a") ? take("hi") ? ", 2" : (take("lo"), ", 0") : "";
        const type *a = take_type(), *b = take_type();
        wr(0, u32, fmt("%s(%s, %s, %s, %d, %d%s)", at.i->base, rd(1, a), rd(2, b), rd(3, u32), a->kind == 's', b->kind == 's', part));
    } else return false;
    return true;
}

/* --- comparison and choice ------------------------------------------------------------------------------------------------------ */
static const char *const comparisons[] = {
    "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan", NULL
};
static const char *take_comparison(void) {
    for (int k = 0; comparisons[k]; k++)
        if (take(comparisons[k])) return comparisons[k];
    unknown("no comparison that the translator knows");
}
/* a <how> b as a C condition; half: 0 or 1 of two values in a register, -1 when there is one */
static const char *compare(const char *how, const type *t, bool ftz, int half) {
    const char *a = rd(1, t), *b = rd(2, t);
    if (t->kind == 'f') {
        const char *one = t->lanes == 2 ? t->brain ? "bf16" : "f16" : t->name;
        if (half >= 0) a = fmt("(uint16_t)(%s >> %d)", a, 16 * half), b = fmt("(uint16_t)(%s >> %d)", b, 16 * half);
        return fmt("fcmp_%s(%s, %s, CMP_%s, %s)", one, a, b, how, ftz ? "FTZ" : "0");
    }
    static const struct { const char *how, *c; } ops[] = {
        { "eq", "==" }, { "ne", "!=" }, { "lt", "<" }, { "le", "<=" }, { "gt", ">" }, { "ge", ">=" },
        { "lo", "<" }, { "ls", "<=" }, { "hi", ">" }, { "hs", ">=" },
    };
    const char *cast = t->kind == 's' ? fmt("(int%d_t)", t->bits) : "";
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++)
        if (!strcmp(how, ops[k].how)) return fmt("(%s(%s) %s %s(%s))", cast, a, ops[k].c, cast, b);
    unknown("a comparison of floating point for integers");
}

static bool comparison(void) { /* setp set selp slct testp */
    const type *pred = type_of("pred");
    if (base_is("setp") || base_is("set")) {
        const char *how = take_comparison(), *join = NULL;
        if (take("and")) join = "&";
        else if (take("or")) join = "|";
        else if (take("xor")) join = "^";
        bool ftz = take("ftz");
        const type *result = base_is("set") ? take_type() : pred, *t = take_type();
        const char *third = join ? rd_pred(&at.i->op[3]) : NULL;
        operand *d = &at.i->op[0];
        if (base_is("set")) {
            if (t->lanes == 2) unknown("set of two values");
            const char *c = compare(how, t, ftz, -1);
            if (join) c = fmt("(%s %s (%s))", c, join, third);
            wr(0, result, fmt("%s ? %s : 0", c, result->kind == 'f' ? "0x3f800000u" : "0xffffffffu"));
            return true;
        }
        bool halves = t->lanes == 2;
        if (d->kind != OP_PAIR) {
            const char *c = compare(how, t, ftz, halves ? 0 : -1);
            wr_op(d, pred, join ? fmt("%s %s (%s)", c, join, third) : c);
            return true;
        }
        if (join) out("joined = %s; ", third); /* it may be one of the results */
        out("met[0] = %s; met[1] = %s; ", compare(how, t, ftz, halves ? 0 : -1), halves ? compare(how, t, ftz, 1) : "!met[0]");
        for (int k = 0; k < 2; k++) wr_op(&d->part[k], pred, join ? fmt("met[%d] %s joined", k, join) : fmt("met[%d]", k));
    } else if (base_is("selp")) {
        const type *t = take_type();
        wr(0, t, fmt("%s ? %s : %s", rd_pred(&at.i->op[3]), rd(1, t), rd(2, t)));
    } else if (base_is("slct")) {
        bool ftz = take("ftz");
        const type *t = take_type(), *c = take_type();
        if (c->kind == 'f') wr(0, t, fmt("fcmp_f32(%s, 0, CMP_ge, %s) ? %s : %s", rd(3, c), ftz ? "FTZ" : "0", rd(1, t), rd(2, t)));
        else wr(0, t, fmt("(int32_t)%s >= 0 ? %s : %s", rd(3, c), rd(1, t), rd(2, t)));
    } else if (base_is("testp")) {
        static const char *const kinds[] = { "finite", "infinite", "number", "notanumber", "normal", "subnormal", NULL };
        const char *kind = NULL;
        for (int k = 0; kinds[k]; k++)
            if (take(kinds[k])) kind = kinds[k];
        const type *t = take_type();
        if (!kind) unknown(NULL);
        wr(0, pred, fmt("testp_%s(%s, TEST_%s)", t->name, rd(1, t), kind));
    } else return false;
    return true;
}

/* --- floating point ----------------------------------------------------------------------------------------------------------------- */
static bool floating(const type *t) {
    static const char *const two[] = { "add", "sub", "mul", "div", "min", "max", NULL };
    static const char *const approx[] = { "ex2", "lg2", "sin", "cos", "tanh", "rsqrt", NULL };
    const char *n = t->name; /* f32 f64 f16 bf16 f16x2 bf16x2 f32x2, as in ops.h */
    if (base_is("fma") || base_is("mad")) {
        wr(0, t, call(fmt("ffma_%s", n), 3, t, take_mode()));
    } else if (base_is("div") && take("approx")) {
        wr(0, t, call("fdiv_approx_f32", 2, t, take_mode()));
    } else if (one_of(two)) {
        if (base_is("div")) take("full"); /* as good as exact */
        const char *f = fmt("f%s_%s", at.i->base, n), *mode = take_mode(), *c = call(f, 2, t, mode);
        bool three = at.i->ops == 4 && (base_is("min") || base_is("max"));
        wr(0, t, three ? fmt("%s(%s, %s, %s)", f, c, rd(3, t), mode) : c);
    } else if (base_is("neg") || base_is("abs")) {
        wr(0, t, call(fmt("f%s_%s", at.i->base, n), 1, t, take_mode()));
    } else if (base_is("copysign")) {
        wr(0, t, call(fmt("copysign_%s", n), 2, t, NULL));
    } else if (base_is("rcp") || base_is("sqrt")) {
        bool rough = take("approx");
        wr(0, t, call(fmt("f%s%s_%s", at.i->base, rough ? "_approx" : "", n), 1, t, take_mode()));
    } else if (one_of(approx)) {
        take("approx");
        wr(0, t, call(fmt("%s_%s", at.i->base, n), 1, t, take_mode()));
    } else return false;
    return true;
}

/* --- cvt ------------------------------------------------------------------------------------------------------------------------------ */
static void cvt(void) {
    bool pack = take("pack");
    const char *mode = take_mode();
    const type *d = take_type(), *a = take_type(), *u32 = type_of("u32"), *f32 = type_of("f32");
    if (pack) { /* cvt.pack.sat.s8.s32.b32 d, a, b, c: a above b above the low half of c; .s16.s32: a above b */
        const type *more = take_type_or_null();
        if (a->kind != 's' || a->bits != 32) unknown(NULL);
        if (more) wr(0, u32, fmt("pack8_%c(%s, %s, %s)", sign(d), rd(1, u32), rd(2, u32), rd(3, u32)));
        else wr(0, u32, fmt("pack16_%c(%s, %s)", sign(d), rd(1, u32), rd(2, u32)));
        return;
    }
    if (d->lanes == 2) { /* cvt.rn.bf16x2.f32 d, hi, lo */
        if (a != f32) unknown(NULL);
        const char *one = d->brain ? "bf16" : "f16";
        wr(0, d, fmt("(uint32_t)narrow_%s(%s, %s) << 16 | narrow_%s(%s, %s)", one, rd(1, a), mode, one, rd(2, a), mode));
        return;
    }
    bool fd = d->kind == 'f' || d->kind == 't', fa = a->kind == 'f';
    const char *x = rd(1, a);
    if (!fd && !fa) { /* integers: widened by the sign of the source, cut or clamped to the result */
        const char *wide = fmt("(%s64_t)%s%s", a->kind == 's' ? "int" : "uint", a->kind == 's' ? fmt("(int%d_t)", a->bits) : "", x);
        if (strstr(mode, "SAT")) wr(0, d, fmt("(%s)clamp_%c%c(%s, %d)", c_type(d), sign(a), sign(d), wide, d->bits));
        else wr(0, d, fmt("(%s)(%s)", c_type(d), wide));
    } else if (fd && !fa) {
        wr(0, d, fmt("%cint_%s(%s%s, %s)", sign(a), d->name, a->kind == 's' ? fmt("(int%d_t)", a->bits) : "", x, mode));
    } else if (!fd) {
        wr(0, d, fmt("(%s)ptx_to_int(get_%s(%s, %s), %d, %d, %s%s)", c_type(d), a->name, x, mode, d->kind == 's', d->bits, mode,
                     a->bits == 64 ? " | FROM64" : ""));
    } else if (d->kind == 't') {
        wr(0, u32, fmt("narrow_tf32(%s, %s)", x, mode));
    } else if (d == a) { /* rounding to an integer, saturation, flushing */
        bool integral = false;
        for (int k = 0; k < at.i->mods; k++) integral |= strlen(at.i->mod[k]) == 3 && at.i->mod[k][2] == 'i' && at.i->mod[k][0] == 'r';
        wr(0, d, fmt("%s_%s(%s, %s)", integral ? "integral" : "same", d->name, x, mode));
    } else {
        wr(0, d, fmt("%s_%s(%s, %s)", a->name, d->name, x, mode));
    }
}

bool emit_alu(void) {
    static const char *const shared_names[] = { "add", "sub", "mul", "mad", "div", "min", "max", "neg", "abs", NULL };
    if (base_is("cvt")) return cvt(), true;
    if (base_is("addc") || base_is("subc") || base_is("madc")) return carried(take_type());
    if (base_is("mul24") || base_is("mad24")) return integer_multiply();
    if (one_of(shared_names)) {
        const type *t = NULL;
        for (int k = 0; k < at.i->mods && !t; k++) t = type_of(at.i->mod[k]);
        if (!t) unknown("it has no type that the translator knows");
        if (t->kind == 'f') return floating(take_type());
        if (base_is("mul") || base_is("mad")) return integer_multiply();
        if (base_is("add") || base_is("sub")) {
            take_type();
            if (carried(t)) return true;
            if (t->lanes == 2 || strchr(t->name, 'x')) unknown(NULL);
            bool sat = take("sat");
            if (sat && (t->kind != 's' || t->bits != 32)) unknown("saturation of this type");
            if (!sat && t->bits >= 32) wr(0, t, fmt("%s %s %s", rd(1, t), base_is("add") ? "+" : "-", rd(2, t))); /* wraps as it is */
            else wr(0, t, call(fmt("%s%s%d", at.i->base, sat ? "sat_s" : "_", t->bits), 2, t, NULL));
            return true;
        }
        if (base_is("neg") || base_is("abs")) {
            take_type();
            wr(0, t, call(fmt("%s_%d", at.i->base, t->bits), 1, t, NULL));
            return true;
        }
        return integer();
    }
    static const char *const float_only[] = { "fma", "rcp", "sqrt", "rsqrt", "ex2", "lg2", "sin", "cos", "tanh", "copysign", NULL };
    if (one_of(float_only)) return floating(take_type());
    return comparison() || integer();
}
