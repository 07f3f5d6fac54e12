/* weight_origin.c - matrices that stay in their file (vm_origin): the numbers of a parameter are rows of one or several of its tensors, in any type, and
 * are brought to f32 when they are asked for. */
#include "models/weights.h"

typedef struct {
    st_tensor t;
    int64_t at, rows, file_at; /* rows at.. of the parameter are rows file_at.. of the tensor */
} part;

typedef struct {
    vm_origin origin; /* what parameters point to */
    weight_source from;
    int64_t cols, n;
    part part[];
} in_file;

static vm_status read_numbers(const vm_origin *o, int64_t first, int64_t n, void *out, vm_error *e) {
    const in_file *x = (const in_file *)o;
    const weight_source *f = &x->from;
    for (int64_t k = 0; k < x->n; k++) {
        const part *p = &x->part[k];
        const int64_t begin = p->at * x->cols, from = VM_MAX(first, begin), to = VM_MIN(first + n, begin + p->rows * x->cols);
        if (from >= to) continue;
        if (f->read_f32(f->file, &p->t, p->file_at * x->cols + from - begin, to - from, (float *)out + (from - first), e)) return e->status;
        f->release(f->file, &p->t);
    }
    return VM_OK;
}

/* Rows at.. of p are rows file_at.. of a tensor of f, a file that lasts. */
vm_status weight_in_file(vm_param *p, const weight_source *f, const st_tensor *s, int64_t at, int64_t rows, int64_t file_at, vm_error *e) {
    in_file *x = (in_file *)p->origin;
    int64_t k = 0, n = x ? x->n : 0;
    if (f->read_f32(f->file, s, 0, 0, NULL, e)) return e->status; /* a type that cannot be read is said now */
    while (k < n && x->part[k].at != at) k++;
    if (k == n) {
        const size_t bytes = sizeof *x + (size_t)(n + 1) * sizeof *x->part;
        if (!(x = vm_realloc(p->origin, bytes))) return vm_nomem(e, bytes, p->name);
        p->origin = &x->origin;
        x->n = n + 1;
    }
    x->origin.read = read_numbers, x->from = *f, x->cols = vm_param_count(p) / p->ne[0];
    x->part[k] = (part){ *s, at, rows, file_at };
    vm_param_touch(p);
    return VM_OK;
}
