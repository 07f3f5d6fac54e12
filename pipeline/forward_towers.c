/* forward_towers.c - cases of `vismin forward` for two towers of any family, in the names of the layout they were read from. */
#include <string.h>

#include "models/loss.h"
#include "models/towers.h"
#include "pipeline/forward.h"

typedef struct {
    const char *ids, *pixels, *image_out, *text_out;
} names;
static const names layouts[] = { { "input_ids", "pixel_values", "image_embeds", "text_embeds" },   /* Hugging Face */
                                 { "text", "image", "image_features", "text_features" } };         /* open_clip */

typedef struct {
    const names *n;
    float *pixels;
    const st_tensor *images; /* (B,3,H,W) in the file */
    int32_t *ids, *given, *at, *mask;
    int64_t B, T; /* texts */
} inputs;

static void inputs_free(inputs *x) {
    vm_free(x->pixels), vm_free(x->ids), vm_free(x->given), vm_free(x->at), vm_free(x->mask);
}

static vm_status read_inputs(inputs *x, const forward_case *c, const towers *t, vm_error *e) {
    x->n = &layouts[forward_tensor(c, layouts[1].ids) || forward_tensor(c, layouts[1].pixels)];
    const st_tensor *ids = forward_tensor(c, x->n->ids);
    if (ids && ids->nd == 2) {
        x->B = ids->shape[0], x->T = ids->shape[1];
        x->ids = forward_i32(c, x->n->ids, e);
        if (forward_tensor(c, "attention_mask")) x->given = forward_i32(c, "attention_mask", e);
        x->at = vm_calloc((size_t)x->B + 1, sizeof *x->at), x->mask = vm_calloc((size_t)(x->B * x->T) + 1, sizeof *x->mask);
        if (!e->status && (!x->at || !x->mask)) vm_nomem(e, (size_t)(x->B * x->T) * 4, "the texts");
        if (!e->status) t->family->text_rows(t, x->B, x->T, x->ids, x->given, x->at, x->mask);
    }
    if (!e->status && (x->images = forward_tensor(c, x->n->pixels))) x->pixels = forward_pixels(c, x->n->pixels, e);
    return e->status;
}

static vm_status set_inputs(vm_graph *g, const inputs *x, vm_error *e) {
    if (x->ids) vm_set(g, "ids", x->ids), vm_set(g, "at", x->at), vm_set(g, "mask", x->mask);
    if (x->pixels) vm_set(g, "pixels", x->pixels);
    if (!vm_run(g)) return VM_OK;
    *e = g->err;
    return e->status;
}

static vm_status write(forward_case *c, vm_graph *g, const names *n, const towers *t, vm_error *e) {
    static const char *const same[] = { "logits_per_image", "logits_per_text", "logits_i2t", "logits_t2i" };
    char out[64];
    snprintf(out, sizeof out, "out.%s", n->image_out);
    forward_put_output(c, g, "image", out, e);
    snprintf(out, sizeof out, "out.%s", n->text_out);
    forward_put_output(c, g, "text", out, e);
    for (int k = 0; k < VM_LEN(same); k++) {
        snprintf(out, sizeof out, "out.%s", same[k]);
        forward_put_output(c, g, same[k], out, e);
    }
    forward_put_output(c, g, "loss", "loss", e);
    if (!c->grad || !vm_find(g, "loss")) return e->status;
    weight_map map = { 0 };
    t->family->map(t, false, &map);
    forward_put_grads(c, &map, e);
    weight_map_free(&map);
    return e->status;
}

/* InfoNCE: the first num_pairs rows are pairs, further ones extra columns. */
static vm_val clip_loss(vm_graph *g, const forward_case *c, const towers *t, vm_val img, vm_val txt, vm_error *e) {
    int32_t *pairs = forward_i32(c, "num_pairs", e);
    int64_t B = pairs ? pairs[0] : 0;
    vm_free(pairs);
    if (e->status) return 0;
    if (!img || !txt || B < 1 || B > vm_dim(g, img, 0) || B > vm_dim(g, txt, 0)) {
        vm_fail(e, VM_EINPUT, "%s: case %s: num_pairs %d does not fit the images and texts", st_path(c->in, NULL), c->name, (int)B);
        return 0;
    }
    vm_output(g, "logits_i2t", towers_logits(g, t, vm_slice(g, img, 0, 0, B), txt));
    vm_output(g, "logits_t2i", towers_logits(g, t, vm_slice(g, txt, 0, 0, B), img));
    return loss_info_nce(g, img, txt, vm_unary(g, vm_weight(g, t->logit_scale), VM_EXP, VM_F32), B, 0, 0);
}

static vm_val sigmoid_loss(vm_graph *g, const forward_case *c, const towers *t, vm_val img, vm_val txt, vm_error *e) {
    if (!img || !txt || vm_dim(g, img, 0) != vm_dim(g, txt, 0) || !t->logit_bias) {
        vm_fail(e, VM_EINPUT, "%s: case %s: the sigmoid loss needs as many images as texts, and a model with logit_bias", st_path(c->in, NULL), c->name);
        return 0;
    }
    return loss_sigmoid(g, img, txt, vm_unary(g, vm_weight(g, t->logit_scale), VM_EXP, VM_F32), vm_weight(g, t->logit_bias), 0, LOSS_PER_ROW);
}

static vm_status run(forward_case *c, vm_error *e) {
    towers *t = NULL;
    vm_graph *g = NULL;
    inputs x = { 0 };
    const char *kind = forward_string(c, "loss"), *mode = forward_string(c, "mode"); /* "train": batch normalisation by the batch */
    bool loss = !strcmp(c->kind, "loss");
    if (towers_open(&t, c->be, c->dir, &(towers_options){ .how = TOWERS_READ, .library_default = true }, e) || read_inputs(&x, c, t, e)) goto done;
    if (!(g = vm_graph_new(c->be, c->dtype))) {
        vm_nomem(e, sizeof *g, "a graph");
        goto done;
    }
    g->training = loss && c->grad;
    if (mode && !strcmp(mode, "train")) t->stats = TOWERS_BATCH;
    vm_val img = 0, txt = 0, value = 0;
    if (x.pixels) { /* of the size in the file: another one is named by the model */
        const int64_t *s = x.images->shape;
        vm_output(g, "image", img = towers_normalise(g, t, t->family->image(g, t, vm_input(g, "pixels", VM_F32, 4, (int64_t[]){ s[0], s[2], s[3], 3 }))));
    }
    if (x.ids) vm_output(g, "text", txt = towers_texts(g, t, x.B, x.T));
    if (img && txt && !loss)
        vm_output(g, "logits_per_image", towers_logits(g, t, img, txt)), vm_output(g, "logits_per_text", towers_logits(g, t, txt, img));
    if (loss) {
        bool sigmoid = kind && !strcmp(kind, "siglip"), caption = kind && !strcmp(kind, "coca");
        if (kind && !sigmoid && strcmp(kind, "clip")) {
            vm_fail(e, VM_EINPUT, "%s: case %s: loss \"%s\" is not supported for two towers; clip and siglip are%s", st_path(c->in, NULL), c->name, kind,
                    caption ? " (the captioning decoder of a CoCa is not built)" : "");
            goto done;
        }
        value = sigmoid ? sigmoid_loss(g, c, t, img, txt, e) : clip_loss(g, c, t, img, txt, e);
        if (e->status) goto done;
        vm_output(g, "loss", value);
        if (c->grad) vm_backward(g, 1, &value, NULL, 0, NULL);
    }
    if (!set_inputs(g, &x, e)) write(c, g, x.n, t, e);
done:
    inputs_free(&x);
    vm_graph_free(g);
    towers_free(t);
    return e->status;
}

const forward_family forward_towers = { .name = "towers", .is = towers_is, .run = run };
