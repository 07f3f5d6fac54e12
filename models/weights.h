/* weights.h - parameters of a model, and the maps between them and the names in published files.
 *
 * A model makes its parameters once, in the shapes its graph wants (query, key and value fused, convolution kernels as
 * matrices). A weight_map ties parts of them to the tensors of one published layout: rows of a parameter to rows of a
 * file tensor, possibly transposed. Loading, saving and naming of gradients all go through such a map, so a layout is
 * described in one place and a model can be written in several. */
#ifndef VM_WEIGHTS_H
#define VM_WEIGHTS_H
#include "io/pickle.h"
#include "io/safetensors.h"
#include "kernels/graph.h"

typedef struct {
    vm_backend *be;
    vm_param **p;
    int64_t n, cap;
    vm_error err; /* sticky */
} weight_set;

/* A new f32 parameter without data; the name is printf-style and for people. NULL (and w->err) when memory is out. */
vm_param *weight_new(weight_set *w, int nd, const int64_t *ne, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* The same for numbers that are kept and saved with the model but not learnt: statistics. */
vm_param *weight_state(weight_set *w, int nd, const int64_t *ne, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
int64_t weight_count(const weight_set *w); /* elements of all that can learn */
void weights_free(weight_set *w);
/* Parameters that have a moving average take its place, and it theirs; the same again takes it back. */
void weights_swap_average(weight_set *w);

/* A matrix (N,K) in 8 or 4 bits as vm_linear_q reads it, or a stack of experts (E,N,K) as vm_experts_q does, in place of the numbers of a
 * parameter. */
typedef struct nn_quant {
    int kind, block; /* vm_quant_kind; weights that share a scale, 0 = a row */
    vm_param *codes, *scales, *zeros, *nested; /* zeros, nested: NULL = none */
    vm_param *order; /* (K) or (E,K) i32: which column of x stands where; NULL = all in their places */
} nn_quant;

enum { W_TRANSPOSED = 1, W_COUNT = 2, W_CLONE = 4, W_TABLE = 8 };
typedef struct {
    char *name;         /* in the file */
    vm_param *p;
    int64_t at, rows;   /* rows of the parameter as a matrix [rows][cols] */
    int64_t file_at;    /* first of the same number of rows in the file tensor */
    int nd;             /* shape of the whole file tensor */
    int64_t ne[VM_AXES];
    int flags;          /* W_TRANSPOSED: the file tensor [cols][rows] is p's transpose; whole matrices only.
                         * W_COUNT: whole numbers below 2^24, an I64 in the file; 0 where the file has none.
                         * W_TABLE: rows are looked up: in 16 bits at least.
                         * W_CLONE: the same numbers a second time, in files alone: only compared, behind the tie that gives them */
} weight_tie;

typedef struct {
    weight_tie *t;
    int64_t n, cap;
    weight_set *keep;   /* loading what is not to be written: matrices stay in 16 bits, or in codes and scales, where the file has them
                         * so; these become parameters of this set. NULL: all become f32 */
    vm_error err;
} weight_map;

/* The whole parameter, whose file tensor has shape ne (as many elements). */
void tie_whole(weight_map *m, vm_param *p, int nd, const int64_t *ne, int flags, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* Rows at.. of p to rows file_at.. of a file tensor of shape ne. */
void tie_rows(weight_map *m, vm_param *p, int64_t at, int64_t rows, int64_t file_at, int nd, const int64_t *ne, const char *fmt, ...)
    __attribute__((format(printf, 8, 9)));
void weight_map_free(weight_map *m);

typedef struct quant_form quant_form;
/* Tensors by name in some file: safetensors, or a PyTorch checkpoint. Borrows the file. A tensor's data may be NULL
 * (strided), then it can only be read. */
typedef struct {
    const void *file;
    const char *path;   /* for messages */
    const st_tensor *t; /* sorted by name */
    int64_t n;
    vm_status (*read_f32)(const void *file, const st_tensor *t, int64_t first, int64_t n, float *out, vm_error *e);
    void (*release)(const void *file, const st_tensor *t);
    /* Rows row .. row + rows - 1 of a tensor of dtype ST_UNKNOWN as codes and scales (quantised.h); NULL = there are none. */
    vm_status (*quant)(const void *file, const st_tensor *t, int64_t row, int64_t rows, struct quant_form *q, vm_error *e);
    bool lasts;         /* the file stays open while there are parameters that were read from it */
} weight_source;
weight_source weights_of_safetensors(const st_file *f);
weight_source weights_of_checkpoint(const pt_file *f);
const st_tensor *weight_find(const weight_source *s, const char *name); /* NULL if there is none */

/* Fills all parameters of the map from s. Names are looked up under each of prefixes (NULL-ended; "" first usually).
 * writable: parameters get memory of their own; else an untouched tensor stays mapped, other matrices stay in the file until they are packed or
 * fetched (vm_origin), and tables stay in its 16 bits, both where the file lasts and on the processor. Everything that is missing, of another shape,
 * or (said as a warning in *unused, NULL when none, vm_free) unexpected is named in one message: VM_EMODEL. */
vm_status weights_load_from(weight_map *m, const weight_source *s, const char *const *prefixes, bool writable, char **unused, vm_error *e);
vm_status weights_load(weight_map *m, const st_file *f, const char *const *prefixes, bool writable, char **unused, vm_error *e);

/* Writes every file tensor of the map. what: 0 = data, 1 = gradients (parameters without one are written as zeros).
 * Names get the prefix. The writer must be open; tensors are declared by weights_declare first. */
vm_status weights_declare(const weight_map *m, st_writer *w, const char *prefix, st_dtype t, vm_error *e);
/* One whole file tensor, put together from the parts that begin at tie i; *len elements, vm_free. what as below. */
float *weights_gather(const weight_map *m, int64_t i, int what, int64_t *len, vm_error *e);
vm_status weights_write(const weight_map *m, st_writer *w, const char *prefix, int what, vm_error *e);

/* A file of all the map's tensors, as type t, written whole or not at all. meta: keys and values in turn, NULL-ended; a value of "" is
 * left out; NULL = none beside "format": "pt". */
vm_status weights_save(const weight_map *m, const char *dir, const char *file, st_dtype t, const char *const *meta, vm_error *e);
/* Back from the file BASE of a directory (st_open_base), into memory of the parameters' own. */
vm_status weights_restore(weight_map *m, const char *dir, const char *base, vm_error *e);

/* Numbers first .. first + n - 1 of a parameter of any type. */
vm_status weight_read(const vm_param *p, int64_t first, int64_t n, float *out, vm_error *e);

/* Numbers for a fresh parameter: normal with a stream of random numbers of its own, or all v. */
vm_status weight_normal(vm_param *p, uint64_t seed, uint64_t stream, double std, vm_error *e);
vm_status weight_fill(vm_param *p, double v, vm_error *e);
vm_real weight_scalar(const vm_param *p); /* its one number; NaN when the device does not give it */

#endif
