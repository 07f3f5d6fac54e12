/* towers.h - two towers: any model with a picture tower and a text tower into one space, whatever its family.
 *
 * A family's model (clip_model, ...) begins with a `towers`, which says what a user of features needs: sizes, parameters,
 * temperature, graphs of the two towers, the host side of the texts, loading and saving. The embedder, the evaluation, the
 * embed command and the trainer know nothing else. A new family fills a towers_family and joins the table in towers.c. */
#ifndef VM_TOWERS_H
#define VM_TOWERS_H
#include "io/json.h"
#include "io/tokenizer.h"
#include "models/nn.h"

struct lora_options;
typedef struct towers towers;

typedef enum {
    TOWERS_READ,     /* weights may stay in the mapped file */
    TOWERS_TRAIN,    /* weights in memory of their own */
    TOWERS_FRESH     /* configuration only: random weights of `seed` */
} towers_how;

typedef struct {
    towers_how how;
    uint64_t seed;
    /* VM_NONE, or what the user says: used where the files do not state the activation, VM_EUSAGE where they state another one. */
    vm_unary_kind activation;
    /* An activation that nobody states is the default of the library that wrote the files; else VM_EUSAGE asks for it. */
    bool library_default;
} towers_options;

/* What batch normalisation (ResNet towers) uses in training graphs: its running statistics; those of the batch; those of the
 * batch, and the running ones follow them at each run. */
typedef enum { TOWERS_GIVEN, TOWERS_BATCH, TOWERS_TRACKED } towers_stats;

typedef struct {
    const char *name; /* "clip" */
    /* Whether a config.json (open_clip false) or an open_clip_config.json is of this family. */
    bool (*is)(json_value config, bool open_clip);
    vm_status (*open)(towers **out, vm_backend *be, const char *dir, const towers_options *o, vm_error *e);
    void (*free)(towers *t);
    /* pixels (B,S,S,3) f32, normalised -> (B,E) f32, not normalised. */
    vm_val (*image)(vm_graph *g, const towers *t, vm_val pixels);
    /* ids (B,T) i32, T <= context; at (B), mask (B,T) i32 as text_rows fills them -> (B,E) f32, not normalised. */
    vm_val (*text)(vm_graph *g, const towers *t, vm_val ids, vm_val at, vm_val mask);
    /* at[b]: row of the text feature; mask[b][t]: 1 where it may look. attention_mask (B,T) or NULL. Returns the number of columns that
     * matter: later ones may be cut off. */
    int64_t (*text_rows)(const towers *t, int64_t B, int64_t T, const int32_t *ids, const int32_t *attention_mask, int32_t *at, int32_t *mask);
    /* Configuration and weights into an existing directory; both: in every published layout that can say what the model is. */
    vm_status (*save)(const towers *t, const char *dir, st_dtype type, bool both, vm_error *e);
    /* The names of Hugging Face's layout, or of the layout that the model was read from. */
    void (*map)(const towers *t, bool hf, weight_map *map);
    /* The weights of a directory that save wrote, into a model made with TOWERS_TRAIN or TOWERS_FRESH: bit for bit when f32. */
    vm_status (*load)(towers *t, const char *dir, vm_error *e);
    /* A head that reads a picture and a text together; NULL, as row counts are 0, where there is none. pixels -> (I,rows,row_width) f32
     * of I pictures; these, and ids and mask (B,T) of texts, B/I for each picture -> (B): log p/(1-p) of the probability p that they fit. */
    vm_val (*rows)(vm_graph *g, const towers *t, vm_val pixels);
    vm_val (*match)(vm_graph *g, const towers *t, vm_val rows, vm_val ids, vm_val mask);
} towers_family;

struct towers {
    const towers_family *family;
    weight_set *w;
    vm_param *logit_scale, *logit_bias; /* [1]: a logarithm, NULL = none, as 0; added to logits, NULL = none */
    int64_t image_size, context, vocab, embed;
    int64_t rows, row_width; /* of a picture, for the head that reads both */
    int32_t pad;            /* fills texts up to the columns of a batch */
    float norm_eps;         /* of the normalisation of features: x / max(|x|, eps); 0 = plain division */
    vm_unary_kind text_act, vision_act;
    bool act_assumed;       /* the files do not state it; weights trained with another one look alike */
    bool recompute;         /* training: keep only the input of each layer */
    towers_stats stats;     /* training: of batch normalisations that are not frozen */
    char *unused;           /* warning of the loader, or NULL */
    struct lora *lora;      /* an adapter on it (lora.h), or NULL */
};

/* The family is read from config.json, else from open_clip_config.json. VM_EMODEL when it is none of the known ones. */
vm_status towers_open(towers **out, vm_backend *be, const char *dir, const towers_options *o, vm_error *e);
bool towers_is(const char *dir); /* whether open would know the family */
void towers_free(towers *t);     /* accepts NULL */
/* Puts an adapter on it: a fresh one, or with dir that of a PEFT directory. tower_groups_apply then freezes everything else. */
vm_status towers_adapt(towers *t, const struct lora_options *fresh, const char *dir, vm_error *e);
/* Weights of a: (1 - alpha) a + alpha b. a must be writable; VM_EMODEL when b is of another kind or size. */
vm_status towers_blend(towers *a, const towers *b, double alpha, vm_error *e);
extern const towers_family *const towers_families[]; /* NULL-ended */
extern const towers_family clip_family, siglip_family, blip_family, coca_family;
/* hidden_act of a tower's configuration; dflt when it is not stated. */
vm_unary_kind towers_activation(json_value config, const char *dflt, vm_error *e);

/* Features of graph inputs "pixels" (n,S,S,3), and "ids" (n,T), "at" (n), "mask" (n,T): unit vectors (n,E). */
vm_val towers_images(vm_graph *g, const towers *t, int64_t n);
vm_val towers_texts(vm_graph *g, const towers *t, int64_t n, int64_t T);
vm_val towers_normalise(vm_graph *g, const towers *t, vm_val features);
/* exp(logit_scale) * a b^T + logit_bias: a (M,E), b (N,E) -> (M,N) */
vm_val towers_logits(vm_graph *g, const towers *t, vm_val a, vm_val b);
float towers_scale(const towers *t); /* exp(logit_scale); 1 when there is none */
float towers_bias(const towers *t);  /* 0 when there is none */

/* Texts as the text tower reads them: n texts cut to the context; rows n..B-1 are empty. ids and mask have room for B * context, at for
 * B; on return they hold (B,*T), where *T is a multiple of 8 or the whole context. */
vm_status towers_encode(const towers *t, tok *k, int64_t n, int64_t B, const char *const *texts, int32_t *ids, int32_t *at, int32_t *mask, int64_t *T, vm_error *e);

/* The tokenizer files of one model directory into another, and those of the image processor. */
vm_status towers_copy_processors(const char *from, const char *to, bool images, vm_error *e);

#endif
