/* bert.h - BERT (Devlin et al. 2019): a bidirectional post-norm transformer over tokens, with the cross-attention that BLIP
 * adds to every layer.
 *
 *   x = LN(word[ids] + position + type)
 *   x = LN(x + out(attention(x, x)))   [ x = LN(x + out(attention(x, rows of a picture))) ]   x = LN(x + fc2(act(fc1 x)))
 *
 * A part of other models (BLIP's texts), which own the weights and give the prefix of the names; and a model of its own:
 * Hugging Face BertModel directories, sentence encoders among them. */
#ifndef VM_BERT_H
#define VM_BERT_H
#include "io/json.h"
#include "models/nn.h"

typedef struct {
    int64_t vocab, width, layers, heads, mlp, positions;
    int64_t types;         /* kinds of segments; 0 = none */
    int64_t cross;         /* columns of the rows that cross-attention reads; 0 = no cross-attention */
    float eps;
    vm_unary_kind act;
    bool first_only;       /* the last layer is for row 0 alone: bert_first works, bert_hidden does not */
    bool pooler;
} bert_config;

typedef struct {
    vm_param *qkv_w, *qkv_b;                      /* (3C,C), (3C); NULL when split */
    vm_param *q_w, *q_b, *k_w, *k_b, *v_w, *v_b;
    vm_param *out_w, *out_b, *ln_w, *ln_b;
} bert_attn;
typedef struct {
    bert_attn self, cross;
    vm_param *fc1_w, *fc1_b, *fc2_w, *fc2_b, *ln_w, *ln_b;
} bert_layer;

typedef struct {
    bert_config c;
    vm_param *word, *position, *type, *ln_w, *ln_b, *pool_w, *pool_b;
    bert_layer *layer;
} bert_text;

/* From a text_config or the config.json of a BERT: types 0 and cross as they are in *c beforehand, everything else read. */
vm_status bert_config_parse(bert_config *c, json_value v, vm_error *e);
/* Makes the parameters in w, named "NAME.part"; errors go to w->err and the result. bert_text_free releases what is not in w. */
vm_status bert_text_new(bert_text *m, weight_set *w, const bert_config *c, const char *name, vm_error *e);
void bert_text_free(bert_text *m);
/* Hugging Face names behind the prefix ("text_encoder."); gamma: LayerNorm.gamma and .beta, as very old files have them. */
void bert_tie(const bert_text *m, weight_map *map, const char *prefix, bool gamma);

typedef struct {
    vm_val ids;            /* (B,T) i32, T <= positions */
    vm_val types;          /* (B,T) i32; 0 = all of kind 0 */
    vm_val positions;      /* (B,T) i32; 0 = 0..T-1 */
    vm_val key_mask;       /* (B,T) i32: 0 = no row sees this one; 0 = all are seen */
    vm_val bias;           /* (B,1,T,T) or (1,T,T) f32, added to the scores of self-attention, -1e30 hides; 0 = none */
    vm_val rows;           /* (I,S,cross) f32 or act: cross-attention of texts k B/I .. to rows[k]; 0 = none takes place */
} bert_input;
vm_val bert_hidden(vm_graph *g, const bert_text *m, const bert_input *in); /* (B,T,C) f32 */
vm_val bert_first(vm_graph *g, const bert_text *m, const bert_input *in);  /* (B,C) f32: row 0 of the above */
vm_val bert_pool(vm_graph *g, const bert_text *m, vm_val first);           /* (B,C) -> (B,C): tanh(W x + b) */
/* Mean of hidden (B,T,C) over the tokens of the mask (B,T) f32, unit length: what sentence encoders compute -> (B,C). */
vm_val bert_sentence(vm_graph *g, vm_val hidden, vm_val mask);

/* --- a directory of its own ---------------------------------------------------------------------------------------- */
typedef struct {
    bert_text text;
    weight_set w;
    bool gamma;
    char prefix[8];        /* of the names in the file: "" or "bert." */
    char *unused;          /* warning of the loader, or NULL */
    st_file *file;         /* mapped weights that parameters may borrow */
} bert_model;
bool bert_is_bert(const char *dir);
vm_status bert_open(bert_model **out, vm_backend *be, const char *dir, bool writable, vm_error *e);
void bert_free(bert_model *m); /* accepts NULL */
void bert_map(const bert_model *m, weight_map *map);
#endif
