/* convert_ldm.h - single-file checkpoints of Stable Diffusion 1, 2, XL and the refiner, whose tensors have the names of the original code (latent
 * diffusion): what each is called in diffusers' folders, and what its shapes say about the networks. */
#ifndef VM_CONVERT_LDM_H
#define VM_CONVERT_LDM_H
#include "io/json.h"
#include "models/weights.h"
#include "pipeline/command.h"

enum { LDM_LEVELS = 8 };
typedef enum { LDM_UNET, LDM_VAE, LDM_TEXT, LDM_TEXT_2, LDM_COMPONENTS } ldm_component;
extern const char *const ldm_folder[LDM_COMPONENTS]; /* "unet", "vae", "text_encoder", "text_encoder_2" */
extern const char *const ldm_file[LDM_COMPONENTS];   /* of its weights */

/* Of one text encoder. */
typedef struct {
    const char *prefix; /* in the checkpoint; NULL = there is none */
    bool open_clip;     /* names and activation of open_clip */
    int64_t width, layers, mlp, vocab, context, embed; /* layers: those that are written */
} ldm_text;
typedef struct {
    bool xl, refiner, linear; /* linear: proj_in is no convolution */
    int64_t in, out, levels, layers, width[LDM_LEVELS], depth[LDM_LEVELS], middle, context, pooled; /* depth: blocks of a transformer, 0 = none; pooled: columns of label_emb */
    int64_t vae_levels, vae_layers, vae_width[LDM_LEVELS], latent;
    ldm_text text[2];         /* of text_encoder, text_encoder_2 */
} ldm_shapes;
/* Is it one? *prefix: bytes of a training checkpoint's own prefix before the names. */
bool ldm_is(const weight_source *s, size_t *prefix);
vm_status ldm_shapes_read(ldm_shapes *c, const weight_source *s, vm_error *e); /* VM_EMODEL: what is missing */

/* Where a tensor goes; a fused one goes to three. */
typedef struct {
    ldm_component to;
    char name[200];
    int64_t row, rows;  /* of the first axis; rows 0 = all */
    bool transposed, flat; /* flat: without its last two axes, which are 1 */
} ldm_target;
/* Number of targets, 0 to 3; 0: no part of the networks (moving averages, optimizer, tables). */
int ldm_targets(const ldm_shapes *c, const st_tensor *t, ldm_target out[3]);

/* config.json of a component, scheduler_config.json, model_index.json. prediction: "epsilon" or "v_prediction". */
void ldm_put_config(json_writer *w, const ldm_shapes *c, ldm_component k, int64_t size);
void ldm_put_scheduler(json_writer *w, const ldm_shapes *c, const char *prediction);
void ldm_put_index(json_writer *w, const ldm_shapes *c);

/* `vismin convert` of such a checkpoint into the new folder `out`. type ST_UNKNOWN: as stored. */
vm_status convert_ldm(const vm_args *a, const weight_source *s, size_t prefix, const char *out, st_dtype type, vm_error *e);
#endif
