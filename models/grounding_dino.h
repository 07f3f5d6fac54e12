/* grounding_dino.h - Grounding DINO (Liu et al. 2023): boxes in a picture for phrases of a text.
 *
 *   text     BERT, in which the tokens of a phrase see only each other; a linear layer to d columns
 *   picture  Swin maps, a projection and group norm each, further maps by strided convolutions: S cells of L maps
 *   encoder  per layer: attention of cells and tokens to each other; tokens among themselves; cells to points of all maps
 *   queries  the cells that match some token best give the first boxes
 *   decoder  per layer: queries among themselves, to the tokens, to points of the maps; each layer moves the boxes
 *   a query's logit for a token is the product of their rows
 *
 * Pictures of a batch may differ in size: zeros fill up to the largest, a mask says what is real. Folders of Hugging Face's
 * GroundingDinoForObjectDetection and MMGroundingDinoForObjectDetection. */
#ifndef VM_GROUNDING_DINO_H
#define VM_GROUNDING_DINO_H
#include "models/bert.h"
#include "models/matcher.h"
#include "models/swin.h"

enum { GDINO_LEVELS = 5, GDINO_LAYERS = 32 }; /* most maps, most layers of the decoder */

typedef struct {
    swin_config swin;
    bert_config bert;
    int64_t width, enc_layers, dec_layers, enc_mlp, dec_mlp, enc_heads, dec_heads, enc_points, dec_points, levels, queries;
    int64_t text_len;        /* tokens of a text that are looked at */
    double temperature;      /* of the positions of cells */
    float eps;
    vm_unary_kind act;
    bool shared_boxes;       /* one head for boxes serves all layers of the decoder */
    bool scaled;             /* MM Grounding DINO: logits are products / sqrt(d) + a bias, one for each layer and one for what is chosen by */
    bool shared_classes;     /* with one bias for all layers of the decoder */
    bool auxiliary;          /* the loss is asked of every layer of the decoder */
    bool learned;            /* the queries' first rows are parameters, else the rows of their cells */
    matcher_costs costs;
    double box_weight, giou_weight, focal; /* of the terms; focal: alpha of the first */
    double dropout, fusion_drop; /* what the file says of training; see gdino_drop */
} gdino_config;

typedef struct { vm_param *w, *b; } gdino_pair; /* of a linear layer or a norm */
typedef struct { gdino_pair q, k, v, out; } gdino_attn;
typedef struct { gdino_pair offsets, weights, value, out; } gdino_deform;
typedef struct {
    gdino_pair norm_vision, norm_text, vision, text, vision_value, text_value, vision_out, text_out; /* fusion */
    vm_param *vision_scale, *text_scale;
    gdino_attn self;                                /* text enhancer */
    gdino_pair self_norm, text_fc1, text_fc2, text_norm;
    gdino_deform deform;
    gdino_pair deform_norm, fc1, fc2, norm;
} gdino_encoder_layer;
typedef struct {
    gdino_attn self, text;
    gdino_deform deform;
    gdino_pair self_norm, text_norm, deform_norm, fc1, fc2, norm;
    gdino_pair box[3];                              /* the head for boxes */
    vm_param *class_bias;                           /* (1); NULL unless c.scaled */
} gdino_decoder_layer;

/* Probabilities in training; all 0 elsewhere. */
typedef struct {
    float dropout;       /* of numbers of what a layer of encoder or decoder adds */
    float fusion;        /* that a layer's fusion adds nothing to a picture and its text */
} gdino_drop;

typedef struct {
    gdino_config c;
    gdino_drop drop;
    weight_set w;
    swin swin;
    bert_text bert;
    gdino_pair project[GDINO_LEVELS], project_norm[GDINO_LEVELS], text;
    vm_param *level, *query;                        /* (L,d), (Q,d); query NULL unless c.learned */
    gdino_encoder_layer *enc;
    gdino_decoder_layer *dec;
    gdino_pair pick, pick_norm, pick_box[3], place[2], dec_norm; /* place: rows of boxes, as positions of queries */
    vm_param *pick_bias;
    int64_t own;                                    /* w.p[own..] are named as in files */
    const char *box_prefix, *swin_prefix;           /* of names in the file */
    st_file *file;
    char *unused;
} gdino;

bool gdino_is_gdino(const char *dir);
vm_status gdino_config_parse(gdino_config *c, json_value root, vm_error *e);
vm_status gdino_open(gdino **out, vm_backend *be, const char *dir, bool writable, vm_error *e);
void gdino_free(gdino *m); /* accepts NULL */
void gdino_map(const gdino *m, weight_map *map);
/* A model of the folder's config.json with random weights. (gdino_fresh.c) */
vm_status gdino_fresh(gdino **out, vm_backend *be, const char *dir, uint64_t seed, vm_error *e);
/* DIR/model.safetensors in Hugging Face's names. The folder's other files are the caller's. */
vm_status gdino_save(const gdino *m, const char *dir, st_dtype t, vm_error *e);
vm_status gdino_restore(gdino *m, const char *dir, vm_error *e); /* back, into a model of the same configuration */

/* Pictures and texts. Kept by the caller until gdino_fill. */
typedef struct {
    int64_t B, H, W, T;
    const float *pixels;      /* (B,H,W,3), normalised, zeros below and on the right */
    const int32_t *real;      /* (B,H,W): 0 = not in the picture; NULL = all are */
    const int32_t *ids;       /* (B,T), padded on the right */
    const int32_t *types;     /* (B,T); NULL = 0 */
    const int32_t *mask;      /* (B,T): 0 = padding; NULL = none */
    bool shared;              /* one text for all pictures: ids, types (T), no mask, and instead of BERT its rows are an input */
    const float *rows;        /* (T,d) of shared texts: what gdino_text_rows computes */
    vm_param *cells;          /* (B,S,d) of gdino_cells_new: what gdino_see wrote is read instead of pixels; NULL = none */
    int64_t noised;           /* further queries of the decoder whose targets are known (gdino_denoise.h); 0 = none */
} gdino_batch;
int64_t gdino_tokens(const gdino_config *c, const gdino_batch *b); /* of T those that are looked at */

typedef struct {
    vm_val pixels;                                  /* the input; 0 where cells are read */
    vm_val logits[GDINO_LAYERS], boxes[GDINO_LAYERS]; /* of a layer of the decoder: (B,Q,tokens), (B,Q,4) as cx, cy, w, h; 0 = not asked for */
    vm_val first_logits, first_boxes;               /* before the decoder; for the loss */
    vm_val pick_logits, pick_boxes;                 /* what the queries were chosen by: as the above, with gradients */
    vm_val noised_logits[GDINO_LAYERS], noised_boxes[GDINO_LAYERS]; /* (B,noised,tokens), (B,noised,4) */
    vm_val text_mask;                               /* (B,tokens) i32 */
} gdino_out;
/* all: logits and boxes of every layer, else of the last. Then gdino_fill once before the first run and for every batch of the
 * same sizes and with masks where this one has masks. */
vm_status gdino_forward(vm_graph *g, const gdino *m, const gdino_batch *b, bool all, gdino_out *out);
vm_status gdino_fill(vm_graph *g, const gdino *m, const gdino_batch *b, vm_error *e);
/* The text side by itself, (B,T,d) f32: many pictures can be asked for what it is computed for once. */
vm_val gdino_text_rows(vm_graph *g, const gdino *m, const gdino_batch *b);
vm_status gdino_fill_text(vm_graph *g, const gdino *m, const gdino_batch *b, vm_error *e);

/* The picture side by itself, from pixels to b->cells: a picture can be asked for many texts. real must be NULL. (gdino_vision.c) */
vm_param *gdino_cells_new(const gdino *m, int64_t B, int64_t H, int64_t W, vm_error *e); /* NULL when memory is out */
void gdino_see(vm_graph *g, const gdino *m, const gdino_batch *b);
vm_status gdino_fill_seen(vm_graph *g, const gdino *m, const gdino_batch *b, vm_error *e);

/* --- text (gdino_text.c) --- */
bool gdino_ends_phrase(int32_t id); /* [CLS], [SEP], "." and "?" of BERT's uncased vocabulary */
/* Of one text of T tokens: sees (n,n) 1 where token i sees j, position (n): places within phrases; n <= T. */
void gdino_phrases(const int32_t *ids, int64_t T, int64_t n, uint8_t *sees, int32_t *position);
/* Tokens of the phrases of one text: label (n), 0 = no phrase, else 1 + its number; the number of phrases. */
int64_t gdino_labels(const int32_t *ids, int64_t n, int32_t *label);

/* --- loss (gdino_loss.c) --- */
typedef struct {
    int64_t n;                /* boxes of a picture */
    const int32_t *label;     /* (n): numbers of phrases of its text */
    const float *box;         /* (n,4): cx, cy, w, h in parts of the picture */
} gdino_target;
typedef struct {              /* kept for the life of the graph */
    matcher matcher;
    int64_t tokens;
} gdino_loss;
/* The loss [1], whose terms are outputs "loss.NAME": ce, bbox, giou, cardinality_error of the last layer, with auxiliary ones of layer i
 * _i, and of the first boxes _enc. Needs gdino_forward with all = c.auxiliary. most: targets of a picture. */
vm_val gdino_loss_of(vm_graph *g, const gdino *m, const gdino_batch *b, const gdino_out *o, int64_t most, gdino_loss *l);
vm_status gdino_loss_fill(vm_graph *g, const gdino_batch *b, const gdino_target *t, const gdino_loss *l, vm_error *e);

/* --- post-processing (gdino_detect.c) --- */
typedef struct {
    float box[4];             /* x0, y0, x1, y1 in pixels */
    float score;              /* probability of its best token */
    int64_t query;
} gdino_box;
/* Boxes of one picture of H x W with a score above the threshold, in the order of the queries; logits (Q,n), boxes (Q,4). found: room
 * for Q. Returns how many. */
int64_t gdino_detect(const float *logits, const float *boxes, int64_t Q, int64_t n, double threshold, double H, double W, gdino_box *found);
/* Tokens of a query with a probability above the threshold, without [CLS]: indices into the text. Returns how many; room for n. */
int64_t gdino_phrase(const float *logits, int64_t n, int64_t text_len, double threshold, int32_t *index);
#endif
