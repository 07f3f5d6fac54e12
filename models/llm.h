/* llm.h - decoder-only language models: Llama (2, 3, vicuna), Mistral, Mixtral, Qwen2, Phi-3 and Gemma in the folders of Hugging Face.
 *
 *   x = embed[ids]                                                    (Gemma: times sqrt(H))
 *   x += o(attention(rope(q h), rope(k h), v h)),  h = RMSNorm(x)     causal, sliding window where the model has one
 *   x += down(act(gate h) * up h),                 h = RMSNorm(x)     (Mixtral: a weighted sum of the chosen experts' own)
 *   logits = head RMSNorm(x)                                          (tied: head = embed)
 *
 * A GGUF file of the architectures llama (also Mixtral's) and qwen2 stands for a folder wherever one is asked for.
 * RMSNorm multiplies by w, Gemma's by 1 + w. Sources: Touvron et al. 2023, Jiang et al. 2023 and 2024; the configuration files. */
#ifndef VM_LLM_H
#define VM_LLM_H
#include "io/gguf.h"
#include "io/json.h"
#include "models/lora.h"
#include "models/nn.h"

enum { LLM_STOPS = 8 };
typedef struct {
    int64_t vocab, width, mlp, layers, context; /* context: max_position_embeddings */
    int64_t NH, NKV, HS;
    float eps;
    vm_unary_kind act;
    int64_t window, window_from;     /* 0 = none; layers from window_from on */
    bool qkv_bias, out_bias, mlp_bias, tied;
    bool gemma;                      /* norms by 1 + w, embeddings times sqrt(H) */
    bool fused;                      /* Phi-3's files: qkv_proj, gate_up_proj */
    int64_t experts, chosen;         /* Mixtral: experts of a layer, those that a token is sent to; 0 = one MLP */
    bool experts_joined;             /* its files: all experts of a layer in one tensor, else tensors of their own */
    vm_rope_kind rope;               /* without divisors */
    float *short_divisors, *long_divisors; /* longrope, HS/2 each; NULL */
    int32_t bos, pad, stop[LLM_STOPS];     /* -1 = none */
    int stops;
} llm_config;

typedef struct {
    vm_param *ln1, *q_w, *q_b, *k_w, *k_b, *v_w, *v_b, *o_w, *o_b, *ln2;
    vm_param *gate_w, *gate_b, *up_w, *up_b, *down_w, *down_b; /* weights of experts: (E,I,H), (E,I,H), (E,H,I) */
    vm_param *router;                                         /* (E,H); NULL without experts */
} llm_layer;

typedef struct {
    llm_config c;
    weight_set w;
    llm_layer *layer;
    vm_param *embed, *norm, *head; /* (V,H), (H), (V,H); head = embed when tied */
    st_file *file;
    gguf *gguf;                    /* or this */
    char *unused;                  /* a warning about tensors that the model does not know; NULL = none */
    char prefix[8];                /* of names in the file: "model." or "" */
    lora *adapter;                 /* NULL = none */
    bool recompute;                /* in training, keep only the inputs of layers and compute the rest again in the backward pass */
} llm;

vm_status llm_config_read(llm_config *c, const char *dir, vm_error *e);
void llm_config_free(llm_config *c);
bool llm_is_llm(const char *dir); /* whether config.json names one of these families */
/* writable: weights get memory of their own, to be trained. VM_EMODEL: weights are missing or of another shape. */
vm_status llm_open(llm **out, vm_backend *be, const char *dir, bool writable, vm_error *e);
/* Fresh random weights: normal with deviation 0.02, those that end a residual branch by 1/sqrt(2 layers) less; norms 1 (Gemma 0). */
vm_status llm_new(llm **out, vm_backend *be, const llm_config *c, uint64_t seed, vm_error *e);
void llm_free(llm *m); /* accepts NULL */
void llm_map(const llm *m, weight_map *map); /* the names of the files */
/* Into an existing directory: model.safetensors; the same with the other files of the model that it began with (configuration, with the
 * type of the weights, and tokenizer). */
vm_status llm_save_weights(const llm *m, const char *dir, st_dtype t, vm_error *e);
vm_status llm_save(const llm *m, const char *from, const char *dir, st_dtype t, vm_error *e);
/* Puts an adapter on it: a fresh one, or with dir that of a PEFT directory. Only it learns then. */
vm_status llm_adapt(llm *m, const lora_options *fresh, const char *dir, vm_error *e);

/* Hidden states behind the last norm, (B,T,H) f32. ids, positions (B,T) i32; key_mask (B,T) i32 or 0. first (B,T) i32 or 0: several
 * texts in a row, first is where that of each token begins (vm_attn). length: tokens of the longest sequence that the plan is for,
 * which some kinds of rotary embedding depend on. */
vm_val llm_hidden(vm_graph *g, const llm *m, vm_val ids, vm_val positions, vm_val key_mask, vm_val first, int64_t length);
vm_val llm_logits(vm_graph *g, const llm *m, vm_val hidden); /* (...,H) -> (...,V) f32 */
/* Mean of -log p over the targets (B,T) i32, -100 = none; target t stands behind token t (labels are shifted by the caller). */
vm_val llm_loss(vm_graph *g, const llm *m, vm_val hidden, vm_val targets);
#endif
