/* llm_gguf.h - language models in GGUF files (architectures llama, which Mistral's have too, and qwen2): their configuration, and their
 * tensors under the names and in the order of rows of Hugging Face's files; of Mixtral, each expert's under its own, whether the file has
 * them in tensors of their own or all of a layer in one. Q4_0, Q4_1, Q8_0, Q4_K and Q6_K stay in 4 and 8 bits
 * (kernels/quant.h), F16 and BF16 in 16.
 *
 *   Q4_0  32 weights: f16 d, then codes of 4 bits, the first 16 in the low halves:  d (q - 8)
 *   Q4_1  the same with f16 m:  d q + m
 *   Q8_0  32 weights: f16 d, i8 q:  d q
 *   Q4_K  256 weights: f16 d and dmin, 8 pairs of 6 bits (s, m) for 32 weights each, codes:  d s q - dmin m
 *   Q6_K  256 weights: low 4 and high 2 bits of codes, 16 scales i8 for 16 weights each, f16 d:  d s (q - 32)
 *
 * llama's query and key rows stand by turns, (i, i + HS/2) side by side. Source: ggml's block formats. */
#ifndef VM_LLM_GGUF_H
#define VM_LLM_GGUF_H
#include "models/llm.h"
#include "models/quantised.h"

vm_status llm_gguf_config(llm_config *c, const gguf *g, vm_error *e);

typedef struct llm_gguf llm_gguf;
/* g outlives it, and the source. */
vm_status llm_gguf_open(llm_gguf **out, const gguf *g, const llm_config *c, vm_error *e);
weight_source llm_gguf_source(const llm_gguf *s);
void llm_gguf_free(llm_gguf *s); /* accepts NULL */

int64_t gguf_row(int64_t r, int64_t HS); /* the row of the file that is row r of the matrix */
/* Rows row .. row + rows - 1 of a matrix in blocks. HS: heads whose rows stand by turns; 0 = in their order. VM_EMODEL: another type. */
vm_status gguf_form(const gguf *g, const gguf_tensor *t, int64_t HS, int64_t row, int64_t rows, quant_form *q, vm_error *e);

#endif
