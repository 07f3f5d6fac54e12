/* tower_groups.h - which parameters of two towers learn, and how fast: freezing, learning rates per tower and per depth.
 * It reads the names that all families give their parameters: "vision." or "text.", then the number of the layer or what
 * the embedding or the head is called. Weight decay is the model's own business (vm_param.decay): open_clip's rule, no decay
 * for tensors of fewer than two axes and the temperature. */
#ifndef VM_TOWER_GROUPS_H
#define VM_TOWER_GROUPS_H
#include "models/towers.h"

typedef struct {
    bool vision, text, embeddings, scale; /* frozen: towers, what stands before the first layers, temperature and bias */
    bool stats;                           /* frozen: statistics of batch normalisation, which else are those of each batch */
    int64_t unlock_vision, unlock_text;   /* -1, or: only the last N layers and the head of this tower learn */
    double lr_vision, lr_text;            /* multiply the learning rate of a tower; 0 is no rate: freeze it */
    double layer_decay;                   /* (0,1]: each layer below the head learns this much slower than the one above it
                                           * (ELECTRA, BEiT): layer k of L at layer_decay^(L-k), counted from 0, embeddings at ^(L+1) */
} tower_groups;

/* Sets trainable and lr_scale of every parameter; with an adapter (lora.h) it alone learns. VM_EUSAGE when nothing is left to
 * learn or a tower has fewer layers. */
vm_status tower_groups_apply(towers *m, const tower_groups *c, vm_error *e);

#endif
