/* clip_text.h - a CLIP text transformer by itself, as Stable Diffusion conditions on it: folders of Hugging Face's CLIPTextModel and
 * CLIPTextModelWithProjection (SDXL's second), and whole CLIPs, of which the text half is read. Every row goes on to the end, other than in clip.h,
 * where one does.
 *
 *   x = token + position embeddings; causal pre-norm layers (nn_layer); final LN; pooled: the row of the end token, projected where there
 *   is a projection */
#ifndef VM_CLIP_TEXT_H
#define VM_CLIP_TEXT_H
#include "models/nn.h"

typedef struct {
    int64_t vocab, context, width, layers, heads, mlp, embed; /* embed: columns of the projection, where the file has one */
    int64_t eos;
    bool pool_argmax;   /* the row of the largest id is the end token's (configurations with eos_token_id 2) */
    vm_unary_kind act;
    float eps;
} clip_text_config;

typedef struct {
    clip_text_config c;
    weight_set w;
    weight_map map;
    vm_param *token, *position, *ln_w, *ln_b, *projection; /* projection (embed, width), or NULL */
    nn_layer *layer;
    st_file *file;
    char *unused;
} clip_text;

bool clip_text_is(const char *dir);
vm_status clip_text_config_read(clip_text_config *c, const char *dir, vm_error *e);
vm_status clip_text_open(clip_text **out, vm_backend *be, const char *dir, bool writable, vm_error *e);
void clip_text_free(clip_text *m); /* accepts NULL */

typedef struct {
    vm_val last;        /* (B,T,C), behind the final norm: the context of Stable Diffusion 1 and 2 */
    vm_val penultimate; /* (B,T,C), what the last layer reads, without a norm: SDXL's */
    vm_val pooled;      /* (B,C), or (B,embed) with a projection */
} clip_text_states;
/* ids (B,T) i32, T <= context, padding included: every token sees all before it. end (B) i32: row of the end token, or 0: no pooled. */
clip_text_states clip_text_run(vm_graph *g, const clip_text *m, vm_val ids, vm_val end);

/* Host side: end[b] of ids (B,T). */
void clip_text_end(const clip_text_config *c, int64_t B, int64_t T, const int32_t *ids, int32_t *end);
#endif
