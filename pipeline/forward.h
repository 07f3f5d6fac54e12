/* forward.h - one case of `vismin forward`: named inputs from a file, named results into one. */
#ifndef VM_FORWARD_H
#define VM_FORWARD_H
#include "io/safetensors.h"
#include "models/weights.h"

typedef struct forward_results forward_results;

typedef struct {
    const char *dir;    /* model directory of the case */
    const char *name;   /* case */
    const char *kind;   /* "forward", "loss", "generate", "adapter", "quantize" */
    const st_file *in;
    bool grad;
    vm_type dtype;
    vm_backend *be;
    forward_results *results;
} forward_case;

/* <case>/in.NAME; NULL when absent. */
const st_tensor *forward_tensor(const forward_case *c, const char *name);
const char *forward_string(const forward_case *c, const char *name); /* metadata <case>/in.NAME */
/* Whole tensors, vm_free; NULL and e when absent or unreadable. */
float *forward_f32(const forward_case *c, const char *name, vm_error *e);
int32_t *forward_i32(const forward_case *c, const char *name, vm_error *e);
/* One image batch (B,3,H,W) as (B,H,W,3). */
float *forward_pixels(const forward_case *c, const char *name, vm_error *e);

/* Maps: (B,C,H,W) in files, (B,H,W,C) in graphs. */
float *forward_map(const forward_case *c, const char *name, vm_error *e); /* in.NAME; vm_free */
float *forward_map_of(const forward_case *c, const st_tensor *t, vm_error *e); /* any tensor with four axes of the case's file; vm_free */
/* After a run: a value (B,H,W,C), which was an output, under <case>/NAME. */
vm_status forward_put_map(forward_case *c, const vm_graph *g, vm_val map, const char *name, vm_error *e);
/* The loss of golden files: mean of (map - in.target.NAME)^2, with an input "target.NAME", whose data the caller sets and frees. */
vm_val forward_distance(vm_graph *g, const forward_case *c, const char *name, vm_val map, float **data, vm_error *e);
/* Gradients of a loss with respect to all weights that can learn, and to n inputs, whose gradients become outputs. */
void forward_backward(vm_graph *g, const weight_set *w, int n, const vm_val *inputs, vm_val loss, vm_error *e);

/* Keeps a copy of an output under <case>/NAME. */
vm_status forward_put(forward_case *c, const char *name, int nd, const int64_t *ne, const float *data, vm_error *e);
/* A string of the metadata, <case>/NAME. */
vm_status forward_put_string(forward_case *c, const char *name, const char *text, vm_error *e);
/* The value of a graph's output under <case>/NAME. */
vm_status forward_put_output(forward_case *c, const vm_graph *g, const char *output, const char *name, vm_error *e);
/* All gradients of a map under <case>/grad.NAME. */
vm_status forward_put_grads(forward_case *c, const weight_map *m, vm_error *e);

/* A family: whether it is the one of this directory, and the run of a case. */
typedef struct {
    const char *name;
    bool (*is)(const char *dir);
    vm_status (*run)(forward_case *c, vm_error *e);
    const char *kinds; /* of cases that it knows beside "forward" and "loss": "generate adapter"; NULL = none */
} forward_family;
extern const forward_family forward_pipeline, forward_sampler, forward_vae, forward_unet, forward_clip_text, forward_bert, forward_llm, forward_swin, forward_gdino, forward_blip, forward_towers;

#endif
