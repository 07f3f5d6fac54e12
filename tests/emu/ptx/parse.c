/* parse.c - tokens to a module: variables with their initial values, functions with parameters, and each body as a list of
 * items (instructions, labels, scopes). Debug sections, pragmas and tuning directives are passed over. */
#include "tests/emu/ptx/ptx.h"
#include <stdlib.h>
#include <string.h>

static token *t;
static module *m;

static const type types[] = {
    { "b8", 'b', 8, 1, false },     { "u8", 'u', 8, 1, false },      { "s8", 's', 8, 1, false },
    { "b16", 'b', 16, 1, false },   { "u16", 'u', 16, 1, false },    { "s16", 's', 16, 1, false },
    { "b32", 'b', 32, 1, false },   { "u32", 'u', 32, 1, false },    { "s32", 's', 32, 1, false },
    { "b64", 'b', 64, 1, false },   { "u64", 'u', 64, 1, false },    { "s64", 's', 64, 1, false },
    { "f16", 'f', 16, 1, false },   { "f16x2", 'f', 32, 2, false },  { "bf16", 'f', 16, 1, true },
    { "bf16x2", 'f', 32, 2, true }, { "f32", 'f', 32, 1, false },    { "f64", 'f', 64, 1, false },
    { "f32x2", 'f', 64, 2, false }, { "tf32", 't', 32, 1, false },   { "pred", 'p', 1, 1, false },
};
const type *type_of(const char *name) {
    for (size_t k = 0; k < sizeof types / sizeof *types; k++)
        if (!strcmp(types[k].name, name)) return &types[k];
    return NULL;
}

static bool is(const char *s) { return t->kind != TOK_END && t->kind != TOK_STRING && !strcmp(t->s, s); }
static bool accept(const char *s) { return is(s) ? t++, true : false; }
static void expect(const char *s) {
    if (!accept(s)) die(t->line, "expected '%s', found '%s'", s, t->s);
}
static const char *word(void) {
    if (t->kind != TOK_WORD) die(t->line, "expected a name, found '%s'", t->s);
    return t++->s;
}
static int64_t integer(void) {
    bool minus = accept("-");
    if (t->kind != TOK_NUMBER) die(t->line, "expected a number, found '%s'", t->s);
    const char *s = t->s;
    char *end;
    uint64_t v = s[0] == '0' && (s[1] == 'b' || s[1] == 'B') ? strtoull(s + 2, &end, 2) : strtoull(s, &end, 0);
    if (*end == 'U') end++;
    if (*end) die(t->line, "'%s' is no integer", s);
    t++;
    return minus ? (int64_t)(0 - v) : (int64_t)v;
}

static operand operand_one(void);
static operand *operand_list(const char *end, int *n) {
    operand *list = NULL;
    int room = 0;
    *n = 0;
    while (!accept(end)) {
        if (*n) expect(",");
        if (*n == room) {
            operand *wider = keep((size_t)(room = 2 * room + 4) * sizeof *wider);
            if (*n) memcpy(wider, list, (size_t)*n * sizeof *list);
            list = wider;
        }
        list[(*n)++] = operand_one();
    }
    return list;
}

static operand number_operand(void) {
    operand o = { .kind = OP_IMM };
    const char *s = t->s[0] == '-' ? t[1].s : t->s;
    if (is("-") && t[1].kind == TOK_NUMBER) s = t[1].s;
    bool hex = s[0] == '0' && (s[1] == 'x' || s[1] == 'X');
    if (s[0] == '0' && strchr("fFdD", s[1] ? s[1] : '?')) {
        char *end;
        o.kind = OP_FLOAT, o.float_bits = s[1] == 'f' || s[1] == 'F' ? 32 : 64;
        if (accept("-")) die(t->line, "minus before a literal of bits");
        o.offset = (int64_t)strtoull(s + 2, &end, 16);
        if (*end) die(t->line, "'%s' is no floating-point literal", s);
        t++;
    } else if (!hex && strpbrk(s, ".eE")) {
        double v = accept("-") ? -strtod(s, NULL) : strtod(s, NULL);
        o.kind = OP_FLOAT;
        memcpy(&o.offset, &v, 8);
        t++;
    } else o.offset = integer();
    return o;
}

static operand operand_one(void) {
    operand o = { .kind = OP_NAME };
    if (accept("{")) {
        o.kind = OP_VECTOR, o.part = operand_list("}", &o.parts);
    } else if (accept("(")) {
        o.kind = OP_VECTOR, o.part = operand_list(")", &o.parts);
    } else if (accept("[")) {
        o.kind = OP_ADDR;
        if (t->kind == TOK_WORD) o.name = word();
        else o.offset = integer();
        if (accept("+")) o.offset += integer();
        else if (is("-")) o.offset += integer();
        expect("]");
    } else if (accept("!")) {
        o.negated = true, o.name = word();
    } else if (t->kind == TOK_NUMBER || is("-")) {
        o = number_operand();
    } else {
        o.name = word();
        if (accept("+")) o.offset = integer();
        if (accept("|")) {
            operand *pair = keep(2 * sizeof *pair);
            pair[0] = o, pair[1] = operand_one();
            o = (operand){ .kind = OP_PAIR, .part = pair, .parts = 2 };
        }
    }
    return o;
}

static space space_of(const char *s) {
    static const char *const names[] = { "", ".global", ".shared", ".local", ".const", ".param", ".reg" };
    for (int k = 1; k <= SP_REG; k++)
        if (!strcmp(s, names[k])) return (space)k;
    return SP_GENERIC;
}

/* One variable behind its state space: alignment, type, name; t stands behind the name and its brackets. */
static var *variable(space sp) {
    var *v = keep(sizeof *v);
    v->sp = sp, v->elements = 1;
    bool pointee = false;
    while (t->kind == TOK_WORD && t->s[0] == '.') {
        const char *s = t++->s;
        if (!strcmp(s, ".align")) {
            int align = (int)integer();
            if (!pointee) v->align = align;
        } else if (type_of(s + 1)) v->t = type_of(s + 1);
        else if (!strcmp(s, ".ptr") || space_of(s)) pointee = true; /* .u64 .ptr .global .align 1: of what it points to */
        else if (!strcmp(s, ".attribute")) while (!accept(")")) t++;
        else die(t[-1].line, "unknown attribute '%s' of a variable", s);
    }
    if (!v->t) die(t->line, "variable without a type");
    v->line = t->line, v->name = word();
    if (accept("<")) v->count = (int)integer(), expect(">");
    while (accept("[")) {
        if (accept("]")) { v->elements = -1; continue; }
        v->elements *= integer();
        expect("]");
    }
    int natural = v->t->bits < 8 ? 1 : v->t->bits / 8;
    if (v->align < natural) v->align = natural;
    return v;
}

static void initial_values(var *v) {
    struct init *list = keep((size_t)(v->elements > 0 ? v->elements : 1) * sizeof *list);
    bool braces = accept("{");
    do {
        struct init e = { NULL, 0 };
        if (braces && is("}")) break;
        if (v->inits >= v->elements) die(t->line, "more initial values than '%s' has elements", v->name);
        if (t->kind == TOK_WORD) {
            e.symbol = word();
            if (!strcmp(e.symbol, "generic")) expect("("), e.symbol = word(), expect(")");
            if (is("(")) die(t->line, "initial value %s(...) is not known here", e.symbol);
            if (accept("+")) e.value = integer();
        } else {
            operand o = number_operand();
            e.value = o.offset;
            if (o.kind == OP_FLOAT && o.float_bits == 0 && v->t->bits == 32) {
                double d;
                memcpy(&d, &o.offset, 8);
                float f = (float)d;
                uint32_t u;
                memcpy(&u, &f, 4);
                e.value = u;
            }
        }
        list[v->inits++] = e;
    } while (braces && accept(","));
    if (braces) expect("}");
    v->init = list;
}

static void variables(space sp, bool external, var ***end) { /* up to the semicolon: `.reg .b32 a, b<3>;` */
    var *first = variable(sp);
    for (var *v = first;;) {
        v->external = external;
        if (accept("=")) initial_values(v);
        **end = v, *end = &v->next;
        if (!accept(",")) break;
        token *name = t;
        v = keep(sizeof *v);
        *v = *first, v->next = NULL, v->count = 0, v->elements = 1, v->init = NULL, v->inits = 0;
        v->name = word(), v->line = name->line;
        if (accept("<")) v->count = (int)integer(), expect(">");
        while (accept("[")) v->elements *= integer(), expect("]");
    }
    expect(";");
}

static var *parameters(void) { /* behind the opening parenthesis */
    var *list = NULL, **end = &list;
    int64_t offset = 0;
    while (!accept(")")) {
        if (list) expect(",");
        space sp = space_of(word());
        if (sp != SP_PARAM) die(t->line, "parameters in registers are not known here");
        var *v = variable(sp);
        offset = (offset + v->align - 1) / v->align * v->align;
        v->offset = offset, offset += v->elements * (v->t->bits / 8);
        *end = v, end = &v->next;
    }
    return list;
}

static item *new_item(func *f, scope *in, item_kind kind) {
    item *i = keep(sizeof *i);
    i->kind = kind, i->line = t->line, i->in = in;
    *f->items_end = i, f->items_end = &i->next;
    return i;
}

static scope *new_scope(scope *up) {
    static int id;
    scope *s = keep(sizeof *s);
    s->up = up, s->id = id++, s->vars_end = &s->vars;
    return s;
}

/* .loc file line column [, function_name label [+ n], inlined_at file line column]: the innermost place; the one without
 * inlined_at that stands before lies in the kernel itself */
static void location(item *at_place) {
    int f = (int)integer(), l = (int)integer();
    integer();
    if (l) at_place->loc_file = f, at_place->loc_line = l;
    if (!is(",")) {
        if (l) at_place->outer_file = f, at_place->outer_line = l;
        return;
    }
    expect(","), expect("function_name");
    word();
    if (accept("+")) integer();
    expect(","), expect("inlined_at");
    integer(), integer(), integer();
}

static void instruction(item *i) {
    if (accept("@")) i->guard_not = accept("!"), i->guard = word();
    i->line = t->line;
    i->opcode = word();
    char *s = keep_str(i->opcode, strlen(i->opcode));
    i->base = s;
    while ((s = strchr(s, '.')) != NULL) {
        *s++ = 0;
        if (i->mods == 24) die(i->line, "%s: too many modifiers", i->opcode);
        i->mod[i->mods++] = s;
    }
    i->op = operand_list(";", &i->ops);
}

static void body(func *f) { /* behind the opening brace */
    scope *in = f->top = new_scope(NULL);
    item here = { 0 };
    for (;;) {
        if (t->kind == TOK_END) die(f->line, "'%s' does not end", f->name);
        if (accept("{")) {
            in = new_scope(in);
            new_item(f, in, IT_OPEN);
        } else if (accept("}")) {
            if (!in->up) return;
            new_item(f, in, IT_CLOSE);
            in = in->up;
        } else if (accept(".loc")) {
            location(&here);
        } else if (accept(".pragma")) {
            while (!accept(";")) t++;
        } else if (t->kind == TOK_WORD && space_of(t->s)) {
            space sp = space_of(t++->s);
            variables(sp, false, &in->vars_end);
        } else if (t->kind == TOK_WORD && t[1].kind == TOK_PUNCT && t[1].s[0] == ':') {
            item *i = new_item(f, in, IT_LABEL);
            i->label = word();
            expect(":");
            if (accept(".branchtargets")) {
                i->kind = IT_TARGETS, i->op = operand_list(";", &i->ops);
                continue;
            }
            struct label *l = keep(sizeof *l);
            l->name = i->label, l->next = in->labels, in->labels = l;
        } else {
            item *i = new_item(f, in, IT_INS);
            i->loc_file = here.loc_file, i->loc_line = here.loc_line;
            i->outer_file = here.outer_file, i->outer_line = here.outer_line;
            instruction(i);
        }
    }
}

static void function(bool entry) {
    func *f = keep(sizeof *f);
    f->entry = entry, f->items_end = &f->items;
    if (!entry && accept("(")) f->results = parameters();
    f->line = t->line, f->name = word();
    if (accept("(")) f->params = parameters();
    while (!is("{") && !is(";")) { /* .maxntid 128, 1, 1  .minnctapersm 2  .noreturn ... */
        if (t->kind == TOK_END) die(f->line, "'%s' has no body", f->name);
        if (accept(".maxntid") || accept(".reqntid")) {
            f->max_threads = integer();
            while (accept(",")) f->max_threads *= integer();
        } else t++;
    }
    if (accept("{")) f->defined = true, body(f);
    else expect(";");
    for (func *g = m->funcs; g; g = g->next)
        if (!strcmp(g->name, f->name) && !g->defined && f->defined) { /* declared before: now the body */
            func *next = g->next;
            *g = *f, g->next = next;
            if (g->items == NULL) g->items_end = &g->items;
            return;
        }
    *m->funcs_end = f, m->funcs_end = &f->next;
}

void parse(module *into, token *tokens) {
    t = tokens, m = into;
    m->vars_end = &m->vars, m->funcs_end = &m->funcs;
    bool external = false;
    while (t->kind != TOK_END) {
        if (accept(".version") || accept(".address_size")) t++;
        else if (accept(".target")) {
            m->target = word();
            while (accept(",")) t++;
        } else if (accept(".file")) {
            struct source *s = keep(sizeof *s);
            s->id = (int)integer(), s->path = t++->s, s->next = m->sources, m->sources = s;
            while (accept(",")) integer();
        } else if (accept(".section")) {
            while (!accept("}")) t++;
        } else if (accept(".pragma")) {
            while (!accept(";")) t++;
        } else if (accept(".visible") || accept(".weak") || accept(".common")) {
            continue;
        } else if (accept(".extern")) {
            external = true;
            continue;
        } else if (accept(".entry")) function(true);
        else if (accept(".func")) function(false);
        else if (t->kind == TOK_WORD && space_of(t->s)) {
            space sp = space_of(t++->s);
            variables(sp, external, &m->vars_end);
        } else die(t->line, "unknown directive '%s'", t->s);
        external = false;
    }
}
