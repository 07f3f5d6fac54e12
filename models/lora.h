/* lora.h - low-rank adapters (Hu et al. 2021), as PEFT directories have them: adapter_config.json and
 * adapter_model.safetensors with base_model.model.MODULE.lora_A.weight (r,in) and .lora_B.weight (out,r).
 *
 *   y = W x + b + s B (A x),  s = alpha / r, or alpha / sqrt(r) with rslora;  merged: W + s B A.
 *
 * DoRA (Liu et al. 2024), use_dora, has a magnitude for each row more, .lora_magnitude_vector (out):
 *   y = b + m/n (W x + s B (A x)),  n = norm of the rows of W + s B A, through which no gradient goes;  merged: m/n (W + s B A).
 *
 * MODULE is the path in Hugging Face's model, such as text_model.encoder.layers.0.self_attn.q_proj: the model's weight_map says
 * where its weight is. A and B are parameters of the model's weight set, so that optimizer and gradients know them; the published
 * layouts of the model do not. */
#ifndef VM_LORA_H
#define VM_LORA_H
#include "models/weights.h"

typedef struct lora lora;

typedef struct lora_options {
    int64_t r;
    double alpha;           /* 0 = r */
    const char *targets;    /* last names of modules, with commas; NULL = all of usual */
    const char *usual;      /* the names that the model has */
    uint64_t seed;
    bool dora;              /* magnitudes, too: those of the rows of W */
} lora_options;

/* A fresh adapter of the layers in hf, the map of Hugging Face's names: A uniform in +-1/sqrt(in), B zero, so that it changes nothing
 * yet. What else learns is the caller's business. VM_EUSAGE when no module has such a name. */
vm_status lora_new(lora **out, weight_set *w, const weight_map *hf, const lora_options *o, vm_error *e);
/* The same from a PEFT directory. VM_EMODEL for what it asks that is not done here (biases, whole modules, patterns). */
vm_status lora_open(lora **out, weight_set *w, const weight_map *hf, const char *dir, vm_error *e);
/* Values from a directory that lora_save wrote for this very adapter. */
vm_status lora_load(lora *l, const char *dir, vm_error *e);
/* Into an existing directory. base: the name of the model that it belongs to, may be NULL. */
vm_status lora_save(const lora *l, const char *dir, const char *base, vm_error *e);
/* DoRA: the norms of the rows, again where W, A or B have changed. After every update, before the next run; nothing to do for LoRA. */
vm_status lora_refresh(lora *l, vm_error *e);
/* Adds s B A to the weights, which must be writable, and frees the adapter; *l is NULL then. */
vm_status lora_merge(lora **l, vm_error *e);
void lora_map(const lora *l, weight_map *m);   /* A, B and magnitudes under their names in the file */
bool lora_has(const vm_param *p);              /* is p an A, a B or a magnitude? */
int64_t lora_count(const lora *l);             /* elements of them; 0 for NULL */
const char *lora_text(const lora *l);          /* "rank 8, alpha 16, 42 modules" */
void lora_free(lora *l);                       /* accepts NULL */

#endif
