/* emit.c - a module as C: its variables, then its functions, then the list by which a launch finds its kernels.
 *
 * A kernel becomes `static void k_NAME(const unsigned char *param)`; its parameters lie in one block, each at the next offset
 * that its alignment allows, as on the device. Another function becomes f_NAME(result, parameters), each a pointer to bytes,
 * as the .param variables of the caller are. Variables of .shared space are looked up once per thread: the first thread of a
 * block that asks takes a slot of the arena. */
#include "tests/emu/ptx/ptx.h"
#include <ctype.h>
#include <stdarg.h>
#include <string.h>

place at;

const char *fmt(const char *f, ...) {
    va_list a, b;
    va_start(a, f);
    va_copy(b, a);
    size_t n = (size_t)vsnprintf(NULL, 0, f, a);
    char *s = keep(n + 1);
    vsnprintf(s, n + 1, f, b);
    va_end(a), va_end(b);
    return s;
}
void out(const char *f, ...) {
    va_list a;
    va_start(a, f);
    vfprintf(at.m->out, f, a);
    va_end(a);
}

const char *c_name(const char *name) {
    size_t n = strlen(name);
    char *s = keep(n + 3);
    memcpy(s, name[0] == '%' ? "v_" : "n_", 2);
    for (size_t k = 0; k < n; k++) s[k + 2] = isalnum((unsigned char)name[k]) ? name[k] : '_';
    if (name[0] == '%') memmove(s + 2, s + 3, n);
    return s;
}

/* --- what names mean here --------------------------------------------------------------------------------------------- */
static const var *find_in(const var *v, const char *name) {
    for (; v; v = v->next) {
        if (!v->count) {
            if (!strcmp(v->name, name)) return v;
            continue;
        }
        size_t n = strlen(v->name);
        if (strncmp(v->name, name, n) || !isdigit((unsigned char)name[n])) continue;
        int k = 0;
        const char *p = name + n;
        while (isdigit((unsigned char)*p) && k < 100000000) k = 10 * k + *p++ - '0';
        if (!*p && k < v->count) return v;
    }
    return NULL;
}
const var *find_var(const char *name) {
    const var *v = NULL;
    for (scope *s = at.i ? at.i->in : NULL; s && !v; s = s->up) v = find_in(s->vars, name);
    if (!v && at.f) v = find_in(at.f->params, name);
    if (!v && at.f) v = find_in(at.f->results, name);
    return v ? v : find_in(at.m->vars, name);
}
const func *find_func(const char *name) {
    for (const func *f = at.m->funcs; f; f = f->next)
        if (!strcmp(f->name, name)) return f;
    return NULL;
}

const char *label_name(const char *name) {
    for (scope *s = at.i->in; s; s = s->up)
        for (struct label *l = s->labels; l; l = l->next)
            if (!strcmp(l->name, name)) return fmt("L%d_%s", s->id, c_name(name));
    unknown(fmt("no label '%s' here", name));
}

static const char *tail(const char *path) { return strrchr(path, '/') ? strrchr(path, '/') + 1 : path; }

static const char *source(int id) {
    for (struct source *s = at.m->sources; s; s = s->next)
        if (s->id == id) return tail(s->path);
    return NULL;
}
const char *site(void) {
    const item *i = at.i;
    const char *inner = i->loc_line ? source(i->loc_file) : NULL, *outer = i->outer_line ? source(i->outer_file) : NULL;
    const char *ptx = tail(at.m->path);
    if (!inner) return fmt("\"%s in %s\", %d", i->opcode, ptx, i->line);
    if (!outer || (i->outer_file == i->loc_file && i->outer_line == i->loc_line))
        return fmt("\"%s:%d (%s) in %s\", %d", inner, i->loc_line, i->opcode, ptx, i->line);
    return fmt("\"%s:%d (%s of %s:%d) in %s\", %d", outer, i->outer_line, i->opcode, inner, i->loc_line, ptx, i->line);
}

/* --- modifiers ---------------------------------------------------------------------------------------------------------- */
void unknown(const char *why) {
    die(at.i->line, "%s: %s", at.i->opcode, why ? why : "the translator does not know this instruction");
}
bool take(const char *mod) {
    for (int k = 0; k < at.i->mods; k++)
        if (!at.i->used[k] && !strcmp(at.i->mod[k], mod)) return at.i->used[k] = true;
    return false;
}
const type *take_type_or_null(void) {
    for (int k = 0; k < at.i->mods; k++) {
        const type *t = at.i->used[k] ? NULL : type_of(at.i->mod[k]);
        if (t) return at.i->used[k] = true, t;
    }
    return NULL;
}
const type *take_type(void) {
    const type *t = take_type_or_null();
    if (!t) unknown("it has no type that the translator knows");
    return t;
}
const char *take_mode(void) {
    static const struct { const char *mod, *c; } modes[] = {
        { "rn", "RN" }, { "rz", "RZ" }, { "rm", "RM" }, { "rp", "RP" }, { "rna", "RNA" },
        { "rni", "RN" }, { "rzi", "RZ" }, { "rmi", "RM" }, { "rpi", "RP" },
        { "ftz", "FTZ" }, { "sat", "SAT" }, { "relu", "RELU" }, { "NaN", "KEEP_NAN" }, { "abs", "MAGNITUDE" },
        { "xorsign", "XORSIGN" }, { "satfinite", "SATFINITE" },
    };
    const char *s = "0";
    for (size_t k = 0; k < sizeof modes / sizeof *modes; k++)
        if (take(modes[k].mod)) s = fmt("%s | %s", s, modes[k].c);
    return s;
}

/* --- variables -------------------------------------------------------------------------------------------------------- */
static int64_t bytes_of(const var *v) { return v->elements * (v->t->bits / 8); }

static void declare_bytes(const var *v, const char *prefix) { /* .local, .param */
    out("    %sunsigned char %s[%lld] __attribute__((aligned(16)));\n", prefix, c_name(v->name), (long long)bytes_of(v));
}

static void module_variable(const var *v) {
    if (v->sp == SP_SHARED) { /* its address is its key */
        if (!v->external) out("static char key_%s;\n", c_name(v->name));
        return;
    }
    if (v->external) die(v->line, "'%s' is defined in another file", v->name);
    if (v->sp != SP_GLOBAL && v->sp != SP_CONST) die(v->line, "'%s' lies in a state space that modules have none of", v->name);
    out("static %s%s %s[%lld] __attribute__((aligned(%d))) = {", v->sp == SP_CONST ? "const " : "", c_type(v->t),
        c_name(v->name), (long long)(v->elements > 0 ? v->elements : 1), v->align);
    if (!v->inits) out(" 0");
    for (int k = 0; k < v->inits; k++) {
        if (!v->init[k].symbol) {
            out(" 0x%llx,", (unsigned long long)v->init[k].value & (~0ull >> (64 - v->t->bits)));
            continue;
        }
        const char *a = symbol_address(v->init[k].symbol);
        if (!a || v->t->bits != 64) die(v->line, "'%s' begins with the address of something unknown", v->name);
        out(" %s + %lld,", a, (long long)v->init[k].value);
    }
    out(" };\n");
}

static bool mentions(const operand *o, const char *name) {
    if (o->name && !strcmp(o->name, name)) return true;
    for (int k = 0; k < o->parts; k++)
        if (mentions(&o->part[k], name)) return true;
    return false;
}
static bool uses(const func *f, const char *name) {
    for (const item *i = f->items; i; i = i->next)
        for (int k = 0; k < i->ops; k++)
            if (mentions(&i->op[k], name)) return true;
    return false;
}

static void shared_slot(const func *f, const var *v, bool of_module) {
    const char *c = c_name(v->name);
    if (of_module && !uses(f, v->name)) return;
    if (v->external) {
        out("    const uint32_t %s = lane_shared_dynamic();\n", c);
        return;
    }
    if (!of_module) out("    static char key_%s;\n", c);
    out("    const uint32_t %s = lane_shared(&key_%s, %lld, %d, \"%s\");\n", c, c, (long long)bytes_of(v), v->align, v->name);
}

static void declare(const func *f, const scope *s) {
    for (const var *v = s->vars; v; v = v->next) switch (v->sp) {
        case SP_REG: {
            const char *c = c_name(v->name), *width = c_type(v->t);
            if (!v->count) out("    %s %s;\n", width, c);
            for (int k = 0; k < v->count; k++)
                out("%s%s%d%s", k % 16 ? ", " : fmt("    %s ", width), c, k, k % 16 == 15 || k == v->count - 1 ? ";\n" : "");
            break;
        }
        case SP_SHARED: shared_slot(f, v, false); break;
        case SP_LOCAL:
        case SP_PARAM: declare_bytes(v, ""); break;
        default: die(v->line, "'%s': a variable of this state space inside a function", v->name);
        }
}

/* --- functions ---------------------------------------------------------------------------------------------------------- */
static void instruction(void) {
    item *i = at.i;
    out("    /* %d */ ", i->line);
    if (i->guard) {
        operand g = { .kind = OP_NAME, .name = i->guard, .negated = i->guard_not };
        out("if (%s) { ", rd_pred(&g));
    }
    if (!emit_alu() && !emit_move() && !emit_warp()) unknown(NULL);
    for (int k = 0; k < i->mods; k++)
        if (!i->used[k]) unknown(fmt("the translator does not know .%s here", i->mod[k]));
    out(i->guard ? " }\n" : "\n");
}

static void signature(const func *f) {
    if (f->entry) {
        out("static void k_%s(const unsigned char *param)", f->name);
        return;
    }
    out("static void f_%s(unsigned char *%s", c_name(f->name), f->results ? c_name(f->results->name) : "no_result");
    for (const var *v = f->params; v; v = v->next) out(", const unsigned char *%s", c_name(v->name));
    out(")");
}

static void function(func *f) {
    at = (place){ at.m, f, NULL };
    signature(f);
    out(" {\n");
    if (f->entry)
        for (const var *v = f->params; v; v = v->next)
            out("    const unsigned char *%s = param + %lld;\n", c_name(v->name), (long long)v->offset);
    for (const var *v = at.m->vars; v; v = v->next)
        if (v->sp == SP_SHARED) shared_slot(f, v, true);
    /* what single instructions need between two steps. No blocks per instruction: gcc's time grows with blocks times labels */
    out("    uint32_t carry = 0, x, m, a[8], b[4], c[4];\n    uint64_t old;\n    unsigned char *p;\n    bool inside, joined, met[2];\n");
    declare(f, f->top);
    for (item *i = f->items; i; i = i->next) {
        at.i = i;
        switch (i->kind) {
        case IT_OPEN: out("    {\n"), declare(f, i->in); break;
        case IT_CLOSE: out("    }\n"); break;
        case IT_LABEL: out("%s:;\n", label_name(i->label)); break;
        case IT_TARGETS: break;
        case IT_INS: instruction(); break;
        }
    }
    out("}\n\n");
}

static int64_t param_bytes(const func *f) {
    int64_t n = 0;
    for (const var *v = f->params; v; v = v->next) n = v->offset + bytes_of(v);
    return n;
}

static int64_t shared_bytes(const func *f) { /* static */
    int64_t n = 0;
    for (const var *v = at.m->vars; v; v = v->next)
        if (v->sp == SP_SHARED && !v->external && uses(f, v->name)) n += bytes_of(v);
    for (const item *i = f->items; i; i = i->next)
        if (i->kind == IT_OPEN)
            for (const var *v = i->in->vars; v; v = v->next)
                if (v->sp == SP_SHARED) n += bytes_of(v);
    if (f->top)
        for (const var *v = f->top->vars; v; v = v->next)
            if (v->sp == SP_SHARED) n += bytes_of(v);
    return n;
}

void emit_module(module *m) {
    at = (place){ .m = m };
    out("/* translated from %s, target %s */\n", tail(m->path), m->target ? m->target : "?");
    /* kernels are long: the compiler's time for them goes into -O0, which is enough when what they call is optimized */
    out("#pragma GCC push_options\n#pragma GCC optimize(\"O2\")\n#include \"tests/emu/ptx/ops.h\"\n#include \"tests/emu/ptx/lane.h\"\n"
        "#pragma GCC pop_options\n\n");
    for (var *v = m->vars; v; v = v->next) module_variable(v);
    for (func *f = m->funcs; f; f = f->next)
        if (f->defined) signature(f), out(";\n");
    out("\n");
    for (func *f = m->funcs; f; f = f->next)
        if (f->defined) function(f);
    int kernels = 0;
    for (func *f = m->funcs; f; f = f->next)
        if (f->entry && f->defined) out("extern void %s(void) __attribute__((weak));\n", f->name), kernels++;
    if (!kernels) return;
    out("static const lane_kernel kernels[] = {\n");
    for (func *f = m->funcs; f; f = f->next)
        if (f->entry && f->defined)
            out("    { \"%s\", %s, k_%s, %lld, %lld, %lld, \"%s\" },\n", f->name, f->name, f->name, (long long)param_bytes(f),
                (long long)f->max_threads, (long long)shared_bytes(f), tail(m->path));
    out("};\n__attribute__((constructor)) static void enlist(void) { lane_enlist(kernels, %d); }\n", kernels);
}
