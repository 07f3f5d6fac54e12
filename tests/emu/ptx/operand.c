/* operand.c - operands as C expressions. Every register is an unsigned integer of its declared width (a predicate a bool), and
 * so is every value that an expression here stands for: floating point travels as bits, ops.h knows what they mean. */
#include "tests/emu/ptx/ptx.h"
#include <string.h>

const char *c_type(const type *t) {
    switch (t->bits) {
    case 1: return "bool";
    case 8: return "uint8_t";
    case 16: return "uint16_t";
    case 32: return "uint32_t";
    default: return "uint64_t";
    }
}

bool is_sink(const operand *o) { return o->kind == OP_NAME && !strcmp(o->name, "_"); }

/* Special registers: what lane.h calls them, and their width. */
static const struct special { const char *name, *c; int bits; } specials[] = {
    { "%tid.x", "lane_tid(0)", 32 },         { "%tid.y", "lane_tid(1)", 32 },         { "%tid.z", "lane_tid(2)", 32 },
    { "%ntid.x", "lane_ntid(0)", 32 },       { "%ntid.y", "lane_ntid(1)", 32 },       { "%ntid.z", "lane_ntid(2)", 32 },
    { "%ctaid.x", "lane_ctaid(0)", 32 },     { "%ctaid.y", "lane_ctaid(1)", 32 },     { "%ctaid.z", "lane_ctaid(2)", 32 },
    { "%nctaid.x", "lane_nctaid(0)", 32 },   { "%nctaid.y", "lane_nctaid(1)", 32 },   { "%nctaid.z", "lane_nctaid(2)", 32 },
    { "%laneid", "lane_id()", 32 },          { "%warpid", "lane_warp()", 32 },        { "WARP_SZ", "32u", 32 },
    { "%lanemask_eq", "(1u << lane_id())", 32 },
    { "%lanemask_lt", "((1u << lane_id()) - 1u)", 32 },
    { "%lanemask_le", "((2u << lane_id()) - 1u)", 32 },
    { "%lanemask_gt", "~((2u << lane_id()) - 1u)", 32 },
    { "%lanemask_ge", "~((1u << lane_id()) - 1u)", 32 },
    { "%clock", "(uint32_t)lane_clock()", 32 }, { "%clock_hi", "(uint32_t)(lane_clock() >> 32)", 32 },
    { "%clock64", "lane_clock()", 64 },      { "%globaltimer", "lane_clock()", 64 },
    { "%globaltimer_lo", "(uint32_t)lane_clock()", 32 },
    { "%dynamic_smem_size", "lane_dynamic_bytes()", 32 },
    { "%smid", "0u", 32 },                   { "%nsmid", "1u", 32 },                  { "%gridid", "0ull", 64 },
};
static const struct special *special_of(const char *name) {
    for (size_t k = 0; k < sizeof specials / sizeof *specials; k++)
        if (!strcmp(specials[k].name, name)) return &specials[k];
    return NULL;
}

const char *symbol_address(const char *name) {
    const var *v = find_var(name);
    if (!v || v->sp == SP_REG) return NULL;
    if (v->sp == SP_SHARED) return fmt("(uint64_t)%s", c_name(name)); /* its offset in the arena */
    return fmt("(uint64_t)(uintptr_t)%s", c_name(name));
}

static const char *constant(uint64_t v, int bits) {
    if (bits == 64) return fmt("0x%llxull", (unsigned long long)v);
    if (bits == 1) return v ? "true" : "false";
    return fmt("(uint%d_t)0x%xu", bits, (unsigned)(bits == 32 ? (uint32_t)v : bits == 16 ? (uint16_t)v : (uint8_t)v));
}

static const char *literal(const operand *o, const type *t) {
    if (o->float_bits) {
        if (o->float_bits != t->bits) unknown("a floating-point literal of another width than the instruction");
        return constant((uint64_t)o->offset, t->bits);
    }
    double d;
    memcpy(&d, &o->offset, 8);
    if (t->bits == 64) return constant((uint64_t)o->offset, 64);
    if (t->bits != 32) unknown("a decimal literal for this type");
    float f = (float)d;
    uint32_t u;
    memcpy(&u, &f, 4);
    return constant(u, 32);
}

const char *rd_pred(const operand *o) {
    if (o->kind == OP_IMM) return o->offset ? "true" : "false";
    const var *v = o->kind == OP_NAME ? find_var(o->name) : NULL;
    if (!v || v->sp != SP_REG || v->t->kind != 'p') unknown("an operand that should be a predicate is none");
    return fmt("%s%s", o->negated ? "!" : "", c_name(o->name));
}

const char *rd_op(const operand *o, const type *t) {
    if (t->kind == 'p') return rd_pred(o);
    if (o->kind == OP_IMM) return constant((uint64_t)o->offset, t->bits);
    if (o->kind == OP_FLOAT) return literal(o, t);
    if (o->kind != OP_NAME || o->negated) unknown("an operand of this form");
    const struct special *s = special_of(o->name);
    if (s) return fmt("(%s)%s", c_type(t), s->c);
    const var *v = find_var(o->name);
    if (!v) unknown(fmt("'%s' is not declared", o->name));
    if (v->sp != SP_REG) return fmt("(%s)(%s + %lldu)", c_type(t), symbol_address(o->name), (long long)o->offset);
    if (v->t->kind == 'p') unknown(fmt("'%s' is a predicate", o->name));
    if (v->t->bits == t->bits) return c_name(o->name);
    if (v->t->bits < t->bits) unknown(fmt("'%s' is narrower than .%s", o->name, t->name));
    return fmt("(%s)%s", c_type(t), c_name(o->name));
}
const char *rd(int k, const type *t) {
    if (k >= at.i->ops) unknown(fmt("operand %d is missing", k + 1));
    return rd_op(&at.i->op[k], t);
}

void wr_op(const operand *o, const type *t, const char *c) {
    if (is_sink(o)) {
        out("(void)(%s);", c);
        return;
    }
    const var *v = o->kind == OP_NAME ? find_var(o->name) : NULL;
    if (!v || v->sp != SP_REG) unknown("the result does not go to a register");
    if ((t->kind == 'p') != (v->t->kind == 'p')) unknown(fmt("'%s' is not of type .%s", o->name, t->name));
    if (v->t->bits < t->bits) unknown(fmt("'%s' is narrower than .%s", o->name, t->name));
    const char *r = c_name(o->name);
    if (v->t->bits == t->bits) out("%s = %s;", r, c);
    else if (t->kind == 's') out("%s = (%s)(int%d_t)(%s);", r, c_type(v->t), t->bits, c);
    else out("%s = (%s)(%s);", r, c_type(t), c);
}
void wr(int k, const type *t, const char *c) {
    if (k >= at.i->ops) unknown("the result is missing");
    wr_op(&at.i->op[k], t, c);
}

const char *address(const operand *o, space sp) {
    if (o->kind != OP_ADDR) unknown("an address is expected in brackets");
    if (!o->name) return fmt("0x%llxull", (unsigned long long)o->offset);
    const var *v = find_var(o->name);
    if (!v) unknown(fmt("'%s' is not declared", o->name));
    if (v->sp == SP_PARAM) return fmt("(uint64_t)(uintptr_t)%s + %lldu", c_name(o->name), (long long)o->offset);
    const char *base = v->sp == SP_REG ? c_name(o->name) : symbol_address(o->name);
    if (v->sp != SP_REG && sp != v->sp && sp != SP_GENERIC) unknown(fmt("'%s' lies in another state space", o->name));
    if (v->sp != SP_REG && sp == SP_GENERIC && v->sp == SP_SHARED) base = fmt("lane_from_shared(%s)", base);
    if (sp == SP_SHARED) return fmt("(uint32_t)((uint32_t)%s + (uint32_t)%lldll)", base, (long long)o->offset);
    if (v->sp == SP_REG && v->t->bits != 64) unknown(fmt("'%s' has %d bits, an address here 64", o->name, v->t->bits));
    return o->offset ? fmt("%s + (uint64_t)%lldll", base, (long long)o->offset) : base;
}
