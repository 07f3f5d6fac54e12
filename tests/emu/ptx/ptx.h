/* ptx.h - the translator from PTX (what nvcc -ptx writes) to C: one C function per .entry and .func, registers as locals,
 * branches as gotos. What it does not know stops it with file, line and opcode: that is the signal to teach it.
 *
 *   lex.c      text -> tokens                      emit.c        module: variables, functions, registry of kernels
 *   parse.c    tokens -> module, functions, items  emit_move.c   ld st mov cvta, calls, branches, atomics, special registers
 *   operand.c  operands -> C expressions           emit_alu.c    integer, logic and floating-point instructions, cvt
 *   main.c     command line                        emit_warp.c   barriers, shuffles, votes, tensor cores, cp.async
 *
 * The C that comes out stands on ops.h (what each instruction computes) and lane.h (memory, barriers, warps). */
#ifndef PTX_H
#define PTX_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* --- tokens ----------------------------------------------------------------------------------------------------------- */
typedef enum {
    TOK_END,
    TOK_WORD,   /* identifier, opcode with its dots, register, directive (.reg) */
    TOK_NUMBER, /* integer or floating-point literal */
    TOK_STRING,
    TOK_PUNCT   /* one character */
} tok_kind;
typedef struct {
    tok_kind kind;
    const char *s; /* its text, owned by the arena */
    int line;
} token;

/* --- what a module holds ---------------------------------------------------------------------------------------------- */
typedef enum { SP_GENERIC, SP_GLOBAL, SP_SHARED, SP_LOCAL, SP_CONST, SP_PARAM, SP_REG } space;
typedef struct type {
    const char *name;  /* "u32" */
    char kind;         /* b u s f, p = predicate, t = tf32 */
    int bits;          /* of the whole */
    int lanes;         /* 2 for f16x2, bf16x2, f32x2 */
    bool brain;        /* bf16 */
} type;

typedef enum { OP_NAME, OP_IMM, OP_FLOAT, OP_ADDR, OP_VECTOR, OP_PAIR } op_kind;
typedef struct operand {
    op_kind kind;
    bool negated;         /* !%p1 */
    const char *name;     /* OP_NAME, base of OP_ADDR (NULL: absolute) */
    int64_t offset;       /* OP_IMM: the value; OP_NAME and OP_ADDR: + offset */
    int float_bits;       /* OP_FLOAT: 32 (0f), 64 (0d), 0 (decimal literal); bits in offset */
    struct operand *part; /* OP_VECTOR, OP_PAIR, and the parentheses of a call */
    int parts;
} operand;

typedef struct var { /* variable, parameter, or register (count > 0: %r<count>) */
    const char *name;
    space sp;
    const type *t;
    int64_t elements; /* of an array; 1 otherwise; -1: [] of an extern */
    int count, align;
    bool external;
    int line;
    int64_t offset;   /* of a kernel's parameter in its block */
    struct init { const char *symbol; int64_t value; } *init;
    int inits;
    struct var *next;
} var;

typedef enum { IT_INS, IT_LABEL, IT_OPEN, IT_CLOSE, IT_TARGETS } item_kind;
typedef struct item {
    item_kind kind;
    int line;                               /* of the PTX */
    int loc_file, loc_line, outer_file, outer_line; /* of the source: the innermost function, the kernel; 0: not known */
    const char *label;    /* IT_LABEL, IT_TARGETS */
    struct scope *in;     /* the scope it stands in; IT_OPEN: the one it opens */
    const char *guard;    /* predicate, NULL: always */
    bool guard_not;
    const char *opcode;   /* whole text, for messages */
    const char *base, *mod[24];
    bool used[24];
    int mods;
    operand *op;          /* IT_TARGETS: the labels */
    int ops;
    struct item *next;
} item;

typedef struct scope {
    struct scope *up;
    int id;
    var *vars, **vars_end;
    struct label { const char *name; struct label *next; } *labels;
} scope;

typedef struct func {
    const char *name;
    bool entry, defined;
    var *params, *results; /* linked in order */
    scope *top;
    int64_t max_threads; /* .maxntid; 0: not said */
    item *items, **items_end;
    int line;
    struct func *next;
} func;

typedef struct module {
    const char *path, *target;
    var *vars, **vars_end;
    func *funcs, **funcs_end;
    struct source { int id; const char *path; struct source *next; } *sources;
    FILE *out;
} module;

/* --- lex.c, main.c ------------------------------------------------------------------------------------------------------ */
void *keep(size_t bytes);                         /* zeroed memory for the life of the program */
char *keep_str(const char *s, size_t n);
token *lex(const char *path, char *text);         /* ends with TOK_END */
_Noreturn void die(int line, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
extern const char *die_path;                      /* the file that die names */

/* --- parse.c -------------------------------------------------------------------------------------------------------------- */
void parse(module *m, token *t);
const type *type_of(const char *name);            /* NULL: no type has that name */

/* --- emit.c ------------------------------------------------------------------------------------------------------------------ */
void emit_module(module *m);
const char *c_name(const char *ptx_name);         /* %r1 -> v_r1 */
const char *fmt(const char *f, ...) __attribute__((format(printf, 1, 2)));
void out(const char *f, ...) __attribute__((format(printf, 1, 2)));
typedef struct {                                  /* what is being emitted */
    module *m;
    func *f;
    item *i;
} place;
extern place at;
const var *find_var(const char *name);            /* register, parameter or variable that `name` means here; NULL */
const func *find_func(const char *name);
const char *label_name(const char *name);         /* of the innermost scope that has it */
const char *site(void);                           /* C expression of the place: a string literal and the line */

/* --- modifiers of the instruction being emitted: what nobody takes is an error --------------------------------------------- */
bool take(const char *mod);                       /* whether it has .mod, which is then accounted for */
const type *take_type(void);                      /* its next type; an error when there is none */
const type *take_type_or_null(void);
int take_round(void);                             /* next of rn rz rm rp rna (and the integer forms); -1: none */
const char *take_mode(void);                      /* of floating point: "RN | FTZ | SAT" as C */
_Noreturn void unknown(const char *why);          /* file, line, opcode */

/* --- operand.c --------------------------------------------------------------------------------------------------------------- */
const char *rd(int k, const type *t);             /* operand k as an unsigned integer of the type's width */
const char *rd_op(const operand *o, const type *t);
const char *rd_pred(const operand *o);
void wr(int k, const type *t, const char *c);     /* operand k = c, of type t; widened to the register by its sign */
void wr_op(const operand *o, const type *t, const char *c);
bool is_sink(const operand *o);
const char *c_type(const type *t);                /* uint32_t ... */
const char *symbol_address(const char *name);     /* C expression, 64 bits; NULL if no variable has that name */
const char *address(const operand *o, space sp);  /* of an OP_ADDR: C expression (64 bits; shared: offset into the arena) */

/* --- the families: each says whether it knows the opcode --------------------------------------------------------------------- */
bool emit_move(void);
bool emit_alu(void);
bool emit_warp(void);
#endif
