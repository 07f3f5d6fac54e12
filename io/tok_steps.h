/* tok_steps.h - the normalizers of a tokenizer.json, one after the other. Not for callers. */
#ifndef VM_IO_TOK_STEPS_H
#define VM_IO_TOK_STEPS_H
#include "io/charsmap.h"
#include "io/regex.h"
#include "io/tok_parts.h"

typedef enum { STEP_MAP, STEP_LOWER, STEP_NFC, STEP_NFD, STEP_REPLACE, STEP_STRIP, STEP_PREPEND } tok_step_kind;
typedef struct {
    tok_step_kind kind;
    regex *find;      /* REPLACE */
    char *text;       /* REPLACE, PREPEND: what stands in its place */
    bool left, right; /* STRIP */
} tok_step;
enum { TOK_STEPS = 16 };

typedef struct {
    tok_step step[TOK_STEPS];
    int n;
    charsmap map;
    char *blob;           /* what the map lies in */
    tok_text text, other; /* scratch */
} tok_steps;

/* One more step, from its object in the file, or put together (from: a string to replace, NULL = none). */
vm_status tok_steps_read(tok_steps *l, json_value v, const char *type, vm_error *e);
vm_status tok_steps_add(tok_steps *l, tok_step_kind kind, const char *from, const char *text, vm_error *e);
void tok_steps_free(tok_steps *l);
/* Appends the normalised text, which is valid UTF-8. VM_EDEVICE: memory, or a pattern that takes too long. */
vm_status tok_steps_apply(tok *t, tok_steps *l, const char *s, size_t bytes, tok_text *out, vm_error *e);

bool tok_put_point(tok_text *out, int32_t c);
bool tok_put_points(tok_text *out, const uni_text *t);
bool tok_put_valid(tok_text *out, const char *s, size_t bytes); /* invalid bytes as U+FFFD */
#endif
