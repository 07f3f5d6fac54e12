/* graph.h - the engine's vocabulary: values, nodes, graphs, parameters, ops.
 *
 * A model is a C function that appends nodes; nothing is computed while it builds. Shapes are inferred when a node is
 * appended, vm_plan gives every buffer its place in one arena by liveness, vm_run executes. Errors while building are
 * sticky: the first is kept in g->err and returned by vm_plan; constructors given value 0 (no value) return 0.
 *
 * Tensors are dense and row-major, at most 6 axes, sizes in `ne` slowest first. Letters: B batch, T tokens, C channels,
 * H W, NH heads, HS head size, V vocabulary. Images are [B,H,W,C]. A graph is used by one thread at a time. */
#ifndef VM_GRAPH_H
#define VM_GRAPH_H
#include <stdio.h>

#include "kernels/backend.h"
#include "kernels/base.h"

/* In the f64 test build every float tensor is double and ops run their plain loops (Makefile MODE=f64). */
#ifndef vm_real
#define vm_real float
#else
#define VM_F64_BUILD 1
#endif

enum { VM_AXES = 6, VM_MAX_IN = 16, VM_MAX_OUT = 8 };

typedef enum { VM_F32, VM_BF16, VM_F16, VM_I32, VM_U8, VM_NTYPES } vm_type; /* VM_F32 is vm_real */
size_t vm_type_size(vm_type t);
const char *vm_type_name(vm_type t); /* "f32", ... */

typedef int vm_val; /* index of a value in its graph; 0 = none */
typedef struct vm_graph vm_graph;
typedef struct vm_node vm_node;

/* Where the numbers of a parameter lie while nothing reads them as they stand: in a file. Products and convolutions of inference pack them from
 * there and keep that copy alone; for everything else vm_plan fetches them. One block of memory, freed with its parameter. */
typedef struct vm_origin {
    vm_status (*read)(const struct vm_origin *o, int64_t first, int64_t n, void *out, vm_error *e); /* numbers first .. first + n - 1, f32 */
} vm_origin;

/* A weight: belongs to the model, outlives graphs, shared by all plans. data is device memory or a mapped file. */
typedef struct vm_param {
    char *name;
    vm_type type;
    int nd;
    int64_t ne[VM_AXES];
    void *data;
    bool borrowed;    /* data is not ours to free (mapped file) */
    bool mapped;      /* data is borrowed and lies in a mapped file: pages that are given back come again when they are read */
    vm_origin *origin; /* of an f32 parameter on the processor: where the numbers lie while data is NULL; NULL = nowhere else */
    bool trainable;   /* vm_backward with wrt = NULL differentiates with respect to it */
    bool state;       /* kept with the model but never learnt (running statistics): not trainable, whatever is unfrozen */
    bool decay;       /* weight decay applies */
    float lr_scale;   /* multiplies the learning rate; 1 by default */
    vm_real *grad;    /* same shape; allocated by the first vm_backward that needs it */
    float *m, *v;     /* AdamW moments; allocated by the optimizer */
    vm_real *average; /* moving average of data (vm_average); NULL = none */
    const struct nn_lora *lora; /* a low-rank addition that the layers of models make (models/nn.h); not owned, NULL = none */
    struct nn_quant *quant; /* stands in codes and scales (models/weights.h), has no data then; freed with its weight set; NULL = none */
    uint64_t version; /* bumped whenever data changes: keys packed copies */
    uint32_t id;      /* unique in the process: random keys, packs */
    struct vm_pack *packs; /* re-laid copies for products and convolutions (onednn.h) */
    struct vm_gpu_pack *gpu_packs; /* the same in device memory (gpu_gemm.h) */
    vm_backend *be;
} vm_param;

vm_param *vm_param_new(vm_backend *be, const char *name, vm_type t, int nd, const int64_t *ne, vm_error *e); /* data zero */
vm_param *vm_param_shell(vm_backend *be, const char *name, vm_type t, int nd, const int64_t *ne, vm_error *e); /* data NULL */
vm_status vm_param_alloc(vm_param *p, vm_error *e); /* gives p zeroed memory of its own, unless it has some */
vm_status vm_param_fetch(vm_param *p, vm_error *e); /* numbers that lie at p's origin come into memory of its own; others stay where they are */
void vm_param_free(vm_param *p);
int64_t vm_param_count(const vm_param *p);
void vm_param_touch(vm_param *p); /* data changed: bump version */
/* All of p->data out of and into the memory of its backend. write bumps the version. */
vm_status vm_param_read(const vm_param *p, void *to, vm_error *e);
vm_status vm_param_write(vm_param *p, const void *from, vm_error *e);

typedef enum { VM_TEMP, VM_INPUT, VM_PARAM, VM_GRAD } vm_kind;

typedef struct {
    const char *name;      /* inputs, outputs and params; else NULL */
    vm_kind kind;
    vm_type type;
    int nd;
    int64_t ne[VM_AXES];
    int node;              /* producing node, -1 for inputs and params */
    vm_val root;           /* whose storage this shares (a view's source, an in-place sum's old sum); itself if none */
    vm_val orig;           /* for a recomputed clone: the value it repeats; else itself */
    int64_t view_at;       /* offset in elements into root */
    bool is_view;          /* shares its root's storage by definition (vm_node_view), not by plan */
    vm_param *param;       /* VM_PARAM and VM_GRAD */
    bool is_output, wants_grad;
    vm_val grad;           /* gradient value during vm_backward */
    int first, last;       /* liveness, on roots: node indices */
    size_t offset;         /* place in the arena, on roots */
    void *data;            /* address after vm_plan; what kernels read */
} vm_value;

typedef vm_status (*vm_kernel)(vm_graph *g, vm_node *n);

/* x86-64 kernels are compiled once per level (v2, v3 = AVX2+FMA, v4 = AVX-512) from the same *_cpu.c file; other
 * processors have one. VM_CPU(f) is the initialiser of vm_op.cpu, after VM_CPU_DECLARE(f). */
#if defined(__x86_64__) && !defined(VM_F64_BUILD) && !defined(VM_EMU)
enum { VM_LEVELS = 3 };
#define VM_CPU_DECLARE(f) vm_status f##_v2(vm_graph *, vm_node *), f##_v3(vm_graph *, vm_node *), f##_v4(vm_graph *, vm_node *)
#define VM_CPU(f) { f##_v2, f##_v3, f##_v4 }
#else
enum { VM_LEVELS = 1 };
#define VM_CPU_DECLARE(f) vm_status f##_base(vm_graph *, vm_node *)
#define VM_CPU(f) { f##_base }
#endif

/* CUDA kernels (NAME.cu) are in the program where it was built with a toolkit, and in the emulated builds. */
#ifdef VM_HAVE_CUDA
#define VM_CUDA_DECLARE(f) vm_status f(vm_graph *, vm_node *)
#define VM_CUDA(f) f
#else
#define VM_CUDA_DECLARE(f) struct vm_graph
#define VM_CUDA(f) NULL
#endif

typedef struct vm_op {
    const char *name;
    vm_status (*infer)(vm_graph *g, vm_node *n);      /* checks inputs, calls vm_node_out for each output */
    void (*grad)(vm_graph *g, const vm_node *n);      /* appends gradient nodes; NULL = vm_backward refuses by name */
    void (*cost)(const vm_graph *g, const vm_node *n, double *flops, double *bytes); /* NULL = no FLOPs, all operands once */
    vm_kernel cpu[VM_LEVELS];
    vm_kernel cuda;
    unsigned acc_outs;   /* bit k: the kernel can add onto out[k] (see vm_node.acc) instead of writing it */
    bool no_grad;        /* outputs never carry gradients (indices, comparisons) */
    bool view;           /* no kernel: out[0] shares the storage of in[0]. (An op with a kernel may have such outputs too.) */
    bool stateful;       /* writes parameters or calls the host: may not be recomputed */
    bool host;           /* its CPU kernel runs on every device, on copies in host memory */
    int acc_in;          /* out[0] begins as in[acc_in] (a residual), which only the sum reads; 0 = none */
    bool (*packs)(const vm_graph *g, const vm_node *n, int k); /* of the parameter in[k] the CPU kernel reads a packed copy alone; NULL = never */
    bool over;           /* the CPU kernel may write out[0] where in[0] stands: it reads no place of in[0] after it wrote it */
    void (*free_node)(vm_node *n); /* releases n->cache */
    /* What a run means for the host beside the kernel's work (versions of parameters): called by the backend at every run, also
     * where the device replays launches and no launcher is called. */
    void (*ran)(vm_graph *g, vm_node *n);
    /* Whether this run has work for the node; NULL = every run has. A device leaves the others out of what it replays. */
    bool (*due)(const vm_graph *g, const vm_node *n);
} vm_op;

struct vm_node {
    const vm_op *op;
    int n_in, n_out;
    vm_val in[VM_MAX_IN], out[VM_MAX_OUT];
    /* out[k] = in-place sum: the kernel adds its result onto acc[k], whose storage out[k] shares. Kernels ask
     * vm_adds(g, n, k); for parameter gradients the answer depends on whether this is the first contribution. */
    vm_val acc[VM_MAX_OUT];
    bool acc_first[VM_MAX_OUT]; /* VM_GRAD only: first contribution in node order; writes unless g->accumulate */
    int64_t i[16];
    double f[4];
    void *ptr;        /* op-specific, not owned */
    void *cache;      /* op-specific, owned (primitives, tables); freed by op->free_node */
    uint64_t key;     /* random stream; clones keep the original's */
    int segment;      /* recompute segment, 0 = none */
    const char *label;/* scope at building time, for profiles ("vision.3") */
    bool dead;        /* nothing needs it: skipped */
    double t_sum;     /* profile: seconds */
    int64_t t_n;
};

/* Memory that several graphs take turns in: what a run leaves there is gone when another of them runs. Belongs to the
 * caller, who frees it after the graphs. It grows with the largest plan. */
typedef struct {
    vm_backend *be;
    char *p;
    size_t bytes;
} vm_arena;
void vm_arena_free(vm_arena *a);

struct vm_graph {
    vm_backend *be;
    vm_type dtype;       /* type of matmul inputs: VM_F32 or VM_BF16 */
    bool training;       /* keep what the backward pass needs; no fused activations */
    bool deterministic;  /* bits of a row independent of thread count and co-scheduled rows */
    bool rounded;        /* on the processor, few rows are rounded to 8 bits for products with weights in codes (vm_linear_q) */
    bool accumulate;     /* run time: parameter gradients add to what earlier runs of this step left */
    bool profile;
    bool separate;       /* tests of the planner: every buffer in a place of its own, no sum in place */
    bool apart;          /* tests of kernels: every buffer an allocation of its own, so that an overrun hits no neighbour */
    void **piece; int64_t n_piece; /* these allocations, by value */
    uint64_t seed, step; /* run time: key of random ops */
    vm_error err;
    vm_value *v; int64_t n_v, cap_v;   /* v[0] is unused */
    struct vm_named { char *name; vm_val v; } *named; int64_t n_named, cap_named; /* inputs and outputs */
    vm_node *n; int64_t n_n, cap_n;
    int segment, n_segments;
    int64_t back_from;   /* first node of the backward pass being appended */
    const char *scope;
    bool planned;
    char *arena; size_t arena_bytes, sum_bytes; /* plan: arena against the sum of all activations */
    vm_arena *shared;    /* set before vm_plan: the arena lies there; NULL = memory of its own */
    double *trace; int64_t n_trace;             /* begin,end per node of the last run when profiling */
    char *scratch; size_t scratch_bytes; /* vm_scratch */
    void *kept;          /* the backend's own for this plan (captured launches); vm_backend.forget frees it */
};

/* --- life of a graph ----------------------------------------------------------------------------------------------- */
vm_graph *vm_graph_new(vm_backend *be, vm_type dtype); /* NULL when memory is out */
void vm_graph_free(vm_graph *g);

/* A tensor that the caller fills before each run. */
vm_val vm_input(vm_graph *g, const char *name, vm_type t, int nd, const int64_t *ne);
vm_val vm_weight(vm_graph *g, vm_param *p);          /* the same value each time for the same p */
void vm_output(vm_graph *g, const char *name, vm_val v); /* keeps v's storage until the next run; a value may have several names */
vm_val vm_find(const vm_graph *g, const char *name);     /* input or output by name; 0 = none */

vm_status vm_plan(vm_graph *g);  /* liveness, arena, addresses; returns the sticky error if any */
size_t vm_plan_bytes(vm_graph *g); /* what vm_plan would take, without taking it; 0 and g->err when it would fail */
vm_status vm_run(vm_graph *g);   /* on a device it only queues: what goes wrong there is reported by vm_wait, vm_get, vm_set */
vm_status vm_wait(vm_graph *g);  /* until all runs are done */
vm_status vm_set(vm_graph *g, const char *name, const void *data);  /* copies the whole input in */
vm_status vm_get(vm_graph *g, const char *name, void *data);        /* copies the whole output out (f32 for bf16 values) */
void *vm_data(const vm_graph *g, vm_val v);              /* address after vm_plan, device memory */

/* --- gradients ----------------------------------------------------------------------------------------------------- */
/* Appends the backward pass of sum_k <seeds[k], outputs[k]>; seeds NULL or seeds[k] 0 = ones (scalars: the loss itself).
 * wrt: values (inputs, weights) to differentiate with respect to; NULL = every trainable parameter in the graph.
 * Parameter gradients land in param->grad; gradients of inputs are found by vm_grad. A second call adds to the gradients of
 * parameters. Parameters that the outputs do not depend on are left alone. */
void vm_backward(vm_graph *g, int n, const vm_val *outputs, const vm_val *seeds, int n_wrt, const vm_val *wrt);
vm_val vm_grad(const vm_graph *g, vm_val v);             /* gradient value of v after vm_backward; 0 = none */
/* Nodes built between begin and end are recomputed in the backward pass instead of kept. */
void vm_checkpoint_begin(vm_graph *g);
void vm_checkpoint_end(vm_graph *g);

/* --- for op files: building ---------------------------------------------------------------------------------------- */
/* Appends a node and infers its outputs; attributes must be set through `init` (may be NULL) before inference.
 * Any in[k] == 0 for k < n_required makes the result NULL (error propagation). The pointer is valid until the next append. */
vm_node *vm_append(vm_graph *g, const vm_op *op, int n_in, const vm_val *in, const vm_node *init);
vm_val vm_append1(vm_graph *g, const vm_op *op, int n_in, const vm_val *in, const vm_node *init); /* out[0], or 0 */
void vm_node_out(vm_graph *g, vm_node *n, vm_type t, int nd, const int64_t *ne); /* from infer: next output */
void vm_node_view(vm_graph *g, vm_node *n, vm_val of, int64_t at, int nd, const int64_t *ne); /* shares storage at element `at` */
vm_status vm_bad(vm_graph *g, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* sticky VM_EUSAGE-free error (VM_EMODEL) */
bool vm_same_shape(const vm_graph *g, vm_val a, vm_val b);
int64_t vm_count(const vm_graph *g, vm_val v);           /* elements */
int64_t vm_rows(const vm_graph *g, vm_val v);            /* product of all axes but the last */
int64_t vm_cols(const vm_graph *g, vm_val v);            /* last axis */
int64_t vm_dim(const vm_graph *g, vm_val v, int axis);   /* negative axes count from the end */
char *vm_shape_text(const vm_graph *g, vm_val v, char buf[64]); /* "[2,3,4]" */

/* --- for op files: gradient rules ---------------------------------------------------------------------------------- */
vm_val vm_dy(const vm_graph *g, const vm_node *n, int k); /* gradient of out[k]; 0 when nothing depends on it */
bool vm_wants(const vm_graph *g, vm_val v);               /* whether anything needs the gradient of v */
/* dv (an output of a node just appended) is a contribution to v's gradient. Sums onto an earlier contribution, in place
 * where the producing kernel can. Ignored when v does not want one. */
void vm_add_grad(vm_graph *g, vm_val v, vm_val dv);

/* --- for kernels --------------------------------------------------------------------------------------------------- */
static inline void *vm_in(const vm_graph *g, const vm_node *n, int k) { return n->in[k] ? g->v[n->in[k]].data : NULL; }
static inline void *vm_o(const vm_graph *g, const vm_node *n, int k) { return n->out[k] ? g->v[n->out[k]].data : NULL; }
static inline bool vm_adds(const vm_graph *g, const vm_node *n, int k) {
    return n->acc[k] && (!n->acc_first[k] || g->accumulate);
}

/* At least this much memory, aligned to 64, until the kernel returns: for libraries that say only when they run how much they
 * need. One block per graph; what the plan can know is a further output of the node instead. NULL (and g->err) when out. */
void *vm_scratch(vm_graph *g, size_t bytes);

/* --- looking in ---------------------------------------------------------------------------------------------------- */
void vm_dot(const vm_graph *g, FILE *f);
void vm_trace_json(const vm_graph *g, FILE *f);          /* Chrome trace of the last profiled run */
/* Per op (and label): calls, ms, GFLOP/s, GB/s and share of the roofline given by peaks in FLOP/s and B/s. */
void vm_profile(const vm_graph *g, FILE *f, double peak_flops, double peak_bytes);
void vm_node_cost(const vm_graph *g, const vm_node *n, double *flops, double *bytes);
void vm_scope(vm_graph *g, const char *label);           /* label of nodes appended from now on; a literal or model-owned string */

#endif
