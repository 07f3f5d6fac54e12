/* clip_loss.h - from the features of a whole batch to the loss and the gradients of these features: the one place where a
 * loss is computed, whether the batch went through the towers whole, in chunks, or on several machines. It is a graph of
 * its own with the temperature as its only parameter; logits are never stored (vm_contrastive). */
#ifndef VM_CLIP_LOSS_H
#define VM_CLIP_LOSS_H
#include "models/loss.h"
#include "models/towers.h"

typedef enum { CLIP_ITC, CLIP_ITC_HN, CLIP_SIGMOID } clip_loss;

typedef struct {
    clip_loss kind;         /* ITC: originals and changes are all pairs; ITC_HN: changes only widen the softmax of originals;
                             * SIGMOID: all pairs, for models with a bias */
    loss_mean sigmoid_mean;
    bool neg_txt, neg_img;  /* ITC_HN: by their captions, by their pictures */
    float twin_weight;      /* of the twin term; 0 = off */
    float imc_weight, cmr_weight; /* of CE-CLIP's two terms; 0 = off */
    loss_imc_kind imc;
    loss_theta_kind theta;
    double theta_fixed, theta_upper; /* fixed: its value; else the bound of the adaptive ones, which start at 0 */
    bool ref_invalid;       /* as in CE-CLIP's code, places without a change count as negatives in ITC and IMC */
    bool dedup;             /* equal captions in a batch are no negatives of each other */
    float feature_grad;     /* multiplies the gradients of all features, not that of the temperature; 0 = 1 */
} clip_loss_config;

/* The rows of a batch: n_orig originals; then n_twins changes, K for each of the first n_twins / K originals, column by column
 * (loss.h). text_only: changes have captions and no pictures. */
typedef struct {
    int64_t n_orig, n_twins, K;
    bool text_only;
    const float *valid;   /* (n_twins) or NULL: 0 where a row only fills the place of a change */
    const int32_t *same;  /* (n_orig + n_twins): rows with equal captions have equal numbers >= 0; read for dedup only */
} clip_rows;

/* Rows of pictures and of captions that a loss reads of such a batch; VM_EUSAGE when it wants what the batch has not. */
vm_status clip_loss_rows(const clip_loss_config *c, const clip_rows *r, int64_t *n_img, int64_t *n_txt, vm_error *e);

typedef struct {
    double loss, itc, twin, imc, cmr; /* loss = itc + weights times the others */
} clip_terms;

typedef struct clip_head clip_head;
/* VM_EUSAGE for SIGMOID with a model that has no bias. */
vm_status clip_head_new(clip_head **out, const towers *m, const clip_loss_config *c, bool deterministic, vm_error *e); /* keeps m */
void clip_head_free(clip_head *h);
/* img (n_img,E), txt (n_txt,E), normalised -> terms; d_img and d_txt of the same sizes; the temperature's gradient in its
 * parameter unless that is frozen. All on the host. */
vm_status clip_head_run(clip_head *h, const clip_rows *r, const vm_real *img, const vm_real *txt, vm_real *d_img, vm_real *d_txt,
                        clip_terms *out, vm_error *e);
/* The step was taken: thresholds of CMR move by what the last run saw. */
void clip_head_commit(clip_head *h);
enum { CLIP_THETA_MAX = 64 }; /* columns */
int clip_head_theta(const clip_head *h, double theta[CLIP_THETA_MAX]); /* number of columns so far; 0 = CMR is off or has not run */
void clip_head_set_theta(clip_head *h, int n, const double *theta);    /* of a checkpoint; n 0 = as at the start */
size_t clip_head_bytes(const clip_head *h);                            /* of its plan so far */
vm_status clip_head_plan(clip_head *h, const clip_rows *r, vm_error *e); /* makes the plan of such a batch */

#endif
