/* quantised.h - matrices that files have in 8 and 4 bits: as codes and scales (kernels/quant.h) for products that read these, or as
 * numbers. Three layouts of safetensors, told by config.json's quantization_config and the names of tensors:
 *
 *   bitsandbytes  W.weight U8 with .absmax, .quant_map, .quant_state.bitsandbytes__nf4 (and .nested_*: scales in 8 bits themselves);
 *                 or W.weight I8 with W.SCB, 127 times the scale of each row (beside the other layouts, too: the head). Floats under load_in_4bit or load_in_8bit are quantised now
 *   gptq          W.qweight I32 (K/8,N), word k has columns 8k.. from its low bits on; W.qzeros (G,N/8), less one before version 2;
 *                 W.scales (G,N); W.g_idx (K): the group of each column
 *   awq           W.qweight I32 (K,N/8), W.qzeros (G,N/8), both with rows 0,2,4,6,1,3,5,7 of a word's eight; W.scales (G,N)
 *
 * Sources: Dettmers et al. 2022 and 2023, Frantar et al. 2023, Lin et al. 2024; the files of their libraries. */
#ifndef VM_QUANTISED_H
#define VM_QUANTISED_H
#include "io/json.h"
#include "kernels/quant.h"
#include "models/weights.h"

/* Rows of a matrix in codes and scales, in host memory. */
struct quant_form {
    vm_quant_kind kind;
    int64_t N, K;
    int block;            /* INT8: 0 = a whole row */
    const uint8_t *codes; /* in the mapped file, or own */
    uint8_t *own;
    float *scales;        /* or, with nested */
    uint8_t *scale_codes;
    float *zeros, *nested; /* NULL = none */
    int32_t *order;        /* (K): which column of x stands where; NULL = all in their places */
};
void quant_form_free(quant_form *q);
/* Room for own codes, scales and what else is asked for. */
vm_status quant_form_make(quant_form *q, vm_quant_kind kind, int64_t N, int64_t K, int block, bool zeros, vm_error *e);
/* Numbers first .. first + n - 1 of the matrix, columns in their own order. */
void quant_form_numbers(const quant_form *q, int64_t first, int64_t n, float *out);
/* Gives parameter p the form, whose memory becomes that of parameters of the set (and the form is empty then). */
vm_status quant_form_keep(quant_form *q, weight_set *set, vm_param *p, vm_error *e);
/* Gives expert `at` of parameter p (E,N,K) the form, which is copied and then empty. VM_EMODEL: the experts before it are of another kind. */
vm_status quant_form_keep_expert(quant_form *q, weight_set *set, vm_param *p, int64_t at, vm_error *e);

/* Whether t is a matrix of numbers that is worth 8 or 4 bits: of a layer or an expert, no router of experts. */
bool quantised_can_be(const st_tensor *t);

typedef struct quantised quantised;
/* The tensors of f under the names of plain weights, those of quantised matrices with dtype ST_UNKNOWN. config: the model's config.json, whose
 * document is not needed later; *q NULL when nothing is quantised. f outlives q, q the source. VM_EMODEL: a way of quantising that is not read. */
vm_status quantised_open(quantised **q, const st_file *f, json_value config, vm_error *e);
weight_source quantised_source(const quantised *q);
void quantised_free(quantised *q); /* accepts NULL */

#endif
