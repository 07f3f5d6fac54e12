/* gdino_parts.h - what the files of grounding_dino.h share. */
#ifndef VM_GDINO_PARTS_H
#define VM_GDINO_PARTS_H
#include "models/grounding_dino.h"

/* The values of a graph that many layers read. Masks are 0 where nothing is padded. */
typedef struct {
    int64_t B, S, T, Q, d;          /* Q: queries of the decoder, noised ones among them */
    int L;
    int64_t level[GDINO_LEVELS][2]; /* H, W */
    vm_val cells;                   /* (B,S) i32: 0 = padding */
    vm_val keep;                    /* (B,S,d) f32: 0 = padding */
    vm_val place;                   /* (B,S,d): positions of cells with their level */
    vm_val at;                      /* (B,S,NH,L,P,2): where a cell lies in each map, for every point that it reads */
    vm_val size;                    /* (L,P,2): W, H of the maps, for every point */
    vm_val ratio;                   /* (B,L,4): parts of the maps that are real, x, y, x, y */
    vm_val cell_box, cell_use;      /* (B,S,4): logits of the box around a cell, infinite where there is none; (B,S): 0 there */
    vm_val query_bias;              /* (B,1,Q,Q) f32: -1e30 where a query does not see another; 0 = all see all */
    vm_val limits;                  /* (2): 1e-5, 1e-5 - 1 */
    vm_val text_mask;               /* (B,T) i32 */
    vm_val text_bias;               /* (B,1,T,T) f32: -1e30 where a token does not see another */
    vm_val text_position;           /* (B,T) i32: places within phrases */
    vm_val text_place;              /* (B,T,d): the same as sines */
    vm_val text_hide;               /* (B,T) f32: 0, or -infinity at padding */
} gdino_state;

/* The model of a folder's config.json, its parameters without numbers. (gdino_io.c) */
vm_status gdino_new(gdino **out, vm_backend *be, const char *dir, vm_error *e);
vm_status gdino_new_of(gdino **out, vm_backend *be, const gdino_config *c, vm_error *e);
/* Sizes of the maps of a picture; returns their cells. */
int64_t gdino_levels(const gdino_config *c, int64_t H, int64_t W, int64_t level[][2]);

vm_val gdino_linear(vm_graph *g, vm_val x, const gdino_pair *p, vm_unary_kind act, vm_val residual, vm_type out);
vm_val gdino_norm(vm_graph *g, const gdino *m, vm_val x, const gdino_pair *p, vm_type out);
/* norm(x + fc2(act(fc1 x))) */
vm_val gdino_mlp(vm_graph *g, const gdino *m, vm_val x, const gdino_pair *fc1, const gdino_pair *fc2, const gdino_pair *norm, float drop);
/* A stack of n linear layers with relu between them, f32 in the end. */
vm_val gdino_head(vm_graph *g, vm_val x, const gdino_pair *layer, int n);
/* x + W h + b, of which the latter is dropped with a probability, f32 */
vm_val gdino_add(vm_graph *g, vm_val x, vm_val h, const gdino_pair *p, float drop);
/* x + out(attention(q; k, v)), f32 */
vm_val gdino_attend(vm_graph *g, const gdino_attn *a, vm_val q, vm_val k, vm_val v, vm_attn how, vm_val x, float drop);
/* x + out(deformable attention of queries (B,Q,d) to points of maps (B,S,d)). at (B,Q,NH,L,P,2) is where offsets begin; they are divided by
 * over (L,P,2), or, over being 0, multiplied by span (as at). */
vm_val gdino_look(vm_graph *g, const gdino_state *s, const gdino_deform *p, vm_val q, vm_val maps, vm_val at, vm_val over, vm_val span,
                  vm_val x, float drop);
/* x (B,Q,L,2) for every head and point: (B,Q,NH,L,P,2). */
vm_val gdino_spread(vm_graph *g, vm_val x, int64_t NH, int64_t P);
/* x (B,...) -> (B,n,...) */
vm_val gdino_repeat(vm_graph *g, vm_val x, int64_t n);
/* Products of rows q (B,N,d) with the tokens t (B,T,d), with a bias (1) scaled by 1/sqrt(d): (B,N,T) f32, -infinity at padding. */
vm_val gdino_match(vm_graph *g, const gdino_state *s, vm_val q, vm_val t, vm_param *bias);

/* The text (B,T,d) before the encoder; the cells (B,S,d), and into s what the later parts need. */
vm_val gdino_text(vm_graph *g, const gdino *m, const gdino_batch *b, gdino_state *s);
vm_val gdino_vision(vm_graph *g, const gdino *m, const gdino_batch *b, gdino_state *s, vm_val pixels);
void gdino_encode(vm_graph *g, const gdino *m, const gdino_state *s, vm_val *vision, vm_val *text);
/* The cells that become queries: logits of their boxes (B,Q,4) and their rows (B,Q,d), without gradient. */
void gdino_pick(vm_graph *g, const gdino *m, const gdino_state *s, vm_val vision, vm_val text, vm_val *box, vm_val *rows, gdino_out *o);
void gdino_decode(vm_graph *g, const gdino *m, const gdino_state *s, vm_val vision, vm_val text, vm_val x, vm_val ref, bool all,
                  gdino_out *o);
#endif
