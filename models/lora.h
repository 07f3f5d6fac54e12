/* lora.h - low-rank adapters of two towers (Hu et al. 2021), as PEFT directories have them: adapter_config.json and
 * adapter_model.safetensors with base_model.model.MODULE.lora_A.weight (r,in) and .lora_B.weight (out,r).
 *
 *   y = W x + b + s B (A x),  s = alpha / r, or alpha / sqrt(r) with rslora;  merged: W + s B A.
 *
 * MODULE is the path in Hugging Face's model, such as text_model.encoder.layers.0.self_attn.q_proj. A and B are parameters
 * of the towers' weight set, so that optimizer and gradients know them; the published layouts of the model do not. */
#ifndef VM_LORA_H
#define VM_LORA_H
#include "models/towers.h"

typedef struct tower_lora tower_lora;

typedef struct {
    int64_t r;
    double alpha;           /* 0 = r */
    const char *targets;    /* last names of modules, with commas; NULL = q_proj,k_proj,v_proj,out_proj,fc1,fc2 */
    uint64_t seed;
} lora_options;

/* A fresh adapter of all layers of both towers: A uniform in +-1/sqrt(in), B zero, so that it changes nothing yet. It becomes
 * m->lora and belongs to m; tower_groups_apply then freezes everything else. VM_EUSAGE when no module has such a name. */
vm_status lora_new(towers *m, const lora_options *o, vm_error *e);
/* The same from a PEFT directory. VM_EMODEL for what it asks that is not done here (DoRA, biases, whole modules, patterns). */
vm_status lora_open(towers *m, const char *dir, vm_error *e);
/* Values from a directory that lora_save wrote for this very adapter. */
vm_status lora_load(towers *m, const char *dir, vm_error *e);
/* Into an existing directory. base: the name of the model that it belongs to, may be NULL. */
vm_status lora_save(const towers *m, const char *dir, const char *base, vm_error *e);
/* Adds s B A to the weights, which must be writable, and takes the adapter off. */
vm_status lora_merge(towers *m, vm_error *e);
int64_t lora_count(const towers *m);       /* elements of A and B; 0 without an adapter */
const char *lora_text(const towers *m);    /* "rank 8, alpha 16, 42 modules" */
void lora_free(tower_lora *l);             /* by towers_free */

#endif
