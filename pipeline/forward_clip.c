/* forward_clip.c - CLIP cases of `vismin forward`, in the names of both layouts. */
#include <string.h>

#include "models/clip.h"
#include "models/loss.h"
#include "pipeline/forward.h"

typedef struct {
    const char *ids, *pixels, *image_out, *text_out;
} names;
static const names hf = { "input_ids", "pixel_values", "image_embeds", "text_embeds" };
static const names oc = { "text", "image", "image_features", "text_features" };

typedef struct {
    float *pixels;
    int32_t *ids, *given, *at, *mask;
    int64_t B, T; /* texts */
} inputs;

static void inputs_free(inputs *x) {
    vm_free(x->pixels), vm_free(x->ids), vm_free(x->given), vm_free(x->at), vm_free(x->mask);
}

static vm_status read_inputs(inputs *x, const forward_case *c, const clip_config *cfg, const names *n, vm_error *e) {
    const st_tensor *t = forward_tensor(c, n->ids);
    if (t && t->nd == 2) {
        x->B = t->shape[0], x->T = t->shape[1];
        x->ids = forward_i32(c, n->ids, e);
        if (forward_tensor(c, "attention_mask")) x->given = forward_i32(c, "attention_mask", e);
        x->at = vm_calloc((size_t)x->B + 1, sizeof *x->at), x->mask = vm_calloc((size_t)(x->B * x->T) + 1, sizeof *x->mask);
        if (!e->status && (!x->at || !x->mask)) vm_nomem(e, (size_t)(x->B * x->T) * 4, "the texts");
        if (!e->status) clip_text_rows(cfg, x->B, x->T, x->ids, x->given, x->at, x->mask);
    }
    if (!e->status && forward_tensor(c, n->pixels)) x->pixels = forward_pixels(c, n->pixels, e);
    return e->status;
}

static vm_status set_inputs(vm_graph *g, const inputs *x, vm_error *e) {
    if (x->ids) vm_set(g, "ids", x->ids), vm_set(g, "at", x->at), vm_set(g, "mask", x->mask);
    if (x->pixels) vm_set(g, "pixels", x->pixels);
    if (!vm_run(g)) return VM_OK;
    *e = g->err;
    return e->status;
}

static vm_status write(forward_case *c, vm_graph *g, const names *n, const clip_model *m, vm_error *e) {
    char out[64];
    snprintf(out, sizeof out, "out.%s", n->image_out);
    forward_put_output(c, g, "image", out, e);
    snprintf(out, sizeof out, "out.%s", n->text_out);
    forward_put_output(c, g, "text", out, e);
    forward_put_output(c, g, "logits", "out.logits_per_image", e);
    forward_put_output(c, g, "i2t", "out.logits_i2t", e);
    forward_put_output(c, g, "t2i", "out.logits_t2i", e);
    forward_put_output(c, g, "loss", "loss", e);
    if (!c->grad || !vm_find(g, "loss")) return e->status;
    weight_map map = { 0 };
    clip_map(m, m->c.layout, &map);
    forward_put_grads(c, &map, e);
    weight_map_free(&map);
    return e->status;
}

static vm_status run(forward_case *c, vm_error *e) {
    clip_model *m = NULL;
    vm_graph *g = NULL;
    inputs x = { 0 };
    int32_t *pairs = NULL;
    bool loss = !strcmp(c->kind, "loss");
    if (clip_open(&m, c->be, c->dir, false, e)) return e->status;
    const names *n = m->c.layout == CLIP_HF ? &hf : &oc;
    if (read_inputs(&x, c, &m->c, n, e)) goto done;
    if (!(g = vm_graph_new(c->be, c->dtype))) {
        vm_nomem(e, sizeof *g, "a graph");
        goto done;
    }
    g->training = loss && c->grad;
    vm_val img = 0, txt = 0;
    if (x.pixels) {
        const st_tensor *t = forward_tensor(c, n->pixels);
        vm_val px = vm_input(g, "pixels", VM_F32, 4, (int64_t[]){ t->shape[0], t->shape[2], t->shape[3], 3 });
        vm_output(g, "image", img = towers_normalise(g, &m->t, clip_image_features(g, m, px)));
    }
    if (x.ids) {
        vm_val ids = vm_input(g, "ids", VM_I32, 2, (int64_t[]){ x.B, x.T }), at = vm_input(g, "at", VM_I32, 1, &x.B);
        vm_val mask = vm_input(g, "mask", VM_I32, 2, (int64_t[]){ x.B, x.T });
        vm_output(g, "text", txt = towers_normalise(g, &m->t, clip_text_features(g, m, ids, at, mask)));
    }
    if (img && txt && !loss) vm_output(g, "logits", towers_logits(g, &m->t, img, txt));
    if (loss) {
        if (!(pairs = forward_i32(c, "num_pairs", e))) goto done;
        int64_t B = pairs[0];
        if (!img || !txt || B < 1 || B > vm_dim(g, img, 0) || B > vm_dim(g, txt, 0)) {
            vm_fail(e, VM_EINPUT, "%s: case %s: num_pairs %d does not fit the images and texts", st_path(c->in, NULL), c->name, (int)B);
            goto done;
        }
        vm_val scale = vm_unary(g, vm_weight(g, m->t.logit_scale), VM_EXP, VM_F32), value = loss_info_nce(g, img, txt, scale, B, 0, 0);
        vm_output(g, "i2t", towers_logits(g, &m->t, vm_slice(g, img, 0, 0, B), txt)), vm_output(g, "t2i", towers_logits(g, &m->t, vm_slice(g, txt, 0, 0, B), img));
        vm_output(g, "loss", value);
        if (c->grad) vm_backward(g, 1, &value, NULL, 0, NULL);
    }
    if (!set_inputs(g, &x, e)) write(c, g, n, m, e);
done:
    inputs_free(&x);
    vm_free(pairs);
    vm_graph_free(g);
    clip_free(m);
    return e->status;
}

const forward_family forward_clip = { "clip", clip_is_clip, run };
