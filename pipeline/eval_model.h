/* eval_model.h - what can be evaluated: a directory of two towers, one of three that look at nothing and test the
 * evaluation, or the scores of a file. */
#ifndef VM_EVAL_MODEL_H
#define VM_EVAL_MODEL_H
#include "models/embedder.h"
#include "pipeline/embed_cache.h"

typedef enum {
    EVAL_TOWERS,
    EVAL_RANDOM,   /* independent uniform scores, a function of seed, category and id */
    EVAL_ORACLE,   /* 1 where caption and image belong together, else 0 */
    EVAL_CONSTANT, /* 0.5 always: every comparison is a tie */
    EVAL_GIVEN     /* the scores of a file, of an earlier run or another program: eval_read_scores */
} eval_model_kind;

typedef struct {
    eval_model_kind kind;
    char name[200];          /* in tables */
    char slug[80];           /* the name made fit for a folder */
    char weights_sha256[65]; /* of the weight file, of the list of sums when there are several; "" = no file */
    char files_sha256[65];   /* of the names and contents of all files that a model directory is read from */
    const char *precision, *activation; /* NULL = none */
    bool deterministic;
    int64_t image_size;     /* 0 = none */
    float logit_scale, logit_bias; /* logit = scale * cosine + bias; scale 0 = none */
    bool calibrated;        /* 1 / (1 + exp(-logit)) is the probability that text and picture fit */
    const char *head;       /* "itc" or "itm" of a model that has both (eval_model_choose); NULL = it has one */
    uint64_t seed;
    const char *scores;     /* EVAL_GIVEN: the file */
    embedder *x;            /* NULL = none */
    bool owns_x;
} eval_model;

/* "random", "oracle", "constant", "scores:FILE" or a model directory; the string must stay. name NULL: the last part of
 * the path. o as for towers_open, NULL = as the files say. */
vm_status eval_model_open(eval_model **out, const char *model, const char *name, vm_backend *be, const towers_options *o,
                          vm_type dtype, bool deterministic, uint64_t seed, vm_error *e);
/* Around an embedder in use elsewhere, which is not owned; precision as shown in the results. */
vm_status eval_model_wrap(eval_model **out, embedder *x, const char *name, const char *precision, vm_error *e);
/* Name and slug of a model that is no towers, and the sums of its files. name NULL: the last part of dir; dir NULL: no files. */
vm_status eval_model_describe(eval_model *m, const char *name, const char *dir, const char *precision, vm_error *e);
/* The sums of the files of the directory that a wrapped model came from. */
vm_status eval_model_hash(eval_model *m, const char *dir, vm_error *e);
void eval_model_free(eval_model *m); /* accepts NULL */
/* Which head of the model scores: "itc", the cosine of the two towers, which all have; "itm", which reads text and picture
 * together: logit = score = log p/(1-p) of the probability p that they fit. VM_EUSAGE when the model has no such head.
 * named: its name was chosen and stays; else that of an itm head gets -itm, so that results of both stand side by side. */
vm_status eval_model_choose(eval_model *m, const char *head, bool named, vm_error *e);
/* True when open would give one that needs no weights. */
bool eval_model_is_built_in(const char *model);

/* Values of a vector that eval_model_embed_* writes; 0: the model has scores of its own (eval_model_score), or reads
 * pairs. */
int64_t eval_model_dim(const eval_model *m);
/* n pictures, n texts (UTF-8) -> unit vectors out (n, dim). cut[i]: text i is longer than the model takes. */
vm_status eval_model_embed_images(const eval_model *m, int64_t n, const vm_image *const *images, float *out,
                                  vm_error *e);
vm_status eval_model_embed_texts(const eval_model *m, int64_t n, const char *const *texts, float *out, bool *cut,
                                 vm_error *e);
/* Is the text longer than the model takes? */
vm_status eval_model_cuts(const eval_model *m, const char *text, bool *cut, vm_error *e);
/* The cache of the model's vectors in that folder; *out NULL without error when there is none to be had (warned), or dir
 * is NULL, or the model has no vectors or no files. */
vm_status eval_model_cache(const eval_model *m, const char *dir, embed_cache **out, vm_error *e);
/* Of a head that reads pairs: values that it keeps of a picture, 0 = it is none; n pictures -> out (n, values); the values of
 * one picture with n texts -> scores out (n). */
int64_t eval_model_row_floats(const eval_model *m);
vm_status eval_model_embed_rows(const eval_model *m, int64_t n, const vm_image *const *images, float *out, vm_error *e);
vm_status eval_model_match(const eval_model *m, const float *rows, int64_t n, const char *const *texts, float *out, bool *cut,
                           vm_error *e);
/* The score of number k (of caption k / images, image k % images) of an item of a built-in model. right: what the oracle
 * is asked for. */
float eval_model_score(const eval_model *m, const char *split, const char *id, int k, bool right);
#endif
