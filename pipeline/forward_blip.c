/* forward_blip.c - cases of `vismin forward` for BLIP, in the arguments of transformers: with use_itm_head (as when it is
 * absent) text b is read with picture b and itm_score is (B,2); without, it is the cosine of every picture and text. Loss
 * weighted_mean: mean(itm_score * in.weight.itm_score). */
#include <string.h>

#include "models/blip.h"
#include "pipeline/forward.h"

typedef struct {
    const st_tensor *ids, *pixels;
    bool itm;
    float *picture, *weight;
    int32_t *id, *given, *at, *mask;
} inputs;

static void inputs_free(inputs *x) {
    vm_free(x->picture), vm_free(x->weight), vm_free(x->id), vm_free(x->given), vm_free(x->at), vm_free(x->mask);
}

static vm_status read_inputs(inputs *x, const forward_case *c, const towers *t, vm_error *e) {
    const char *loss = forward_string(c, "loss");
    if (!strcmp(c->kind, "loss") && (!loss || strcmp(loss, "weighted_mean")))
        return vm_fail(e, VM_EINPUT, "%s: case %s: loss \"%s\" is not supported for a BLIP; weighted_mean is", st_path(c->in, NULL), c->name, loss ? loss : "");
    x->ids = forward_tensor(c, "input_ids"), x->pixels = forward_tensor(c, "pixel_values"), x->itm = true;
    if (!x->ids || !x->pixels || x->ids->nd != 2)
        return vm_fail(e, VM_EINPUT, "%s: case %s: in.input_ids (texts, tokens) and in.pixel_values are needed", st_path(c->in, NULL), c->name);
    if (forward_tensor(c, "use_itm_head")) {
        int32_t *flag = forward_i32(c, "use_itm_head", e);
        x->itm = flag && flag[0];
        vm_free(flag);
    }
    if (!e->status) x->picture = forward_pixels(c, "pixel_values", e);
    if (!e->status) x->id = forward_i32(c, "input_ids", e);
    if (!e->status && forward_tensor(c, "attention_mask")) x->given = forward_i32(c, "attention_mask", e);
    size_t n = (size_t)x->ids->len + 1;
    if (!e->status && (!(x->at = vm_alloc(n * sizeof *x->at)) || !(x->mask = vm_alloc(n * sizeof *x->mask)))) vm_nomem(e, n * 8, "the texts");
    if (e->status) return e->status;
    if (x->itm && x->ids->shape[0] != x->pixels->shape[0])
        return vm_fail(e, VM_EINPUT, "%s: case %s: %d texts and %d pictures; the matching head reads them in pairs", st_path(c->in, NULL), c->name,
                       (int)x->ids->shape[0], (int)x->pixels->shape[0]);
    for (int64_t i = 0; i < x->ids->len; i++) x->mask[i] = 1; /* without a mask padding is seen, as in the reference */
    if (x->given) t->family->text_rows(t, x->ids->shape[0], x->ids->shape[1], x->id, x->given, x->at, x->mask);
    return e->status;
}

static vm_val scores(vm_graph *g, const blip_model *m, const inputs *x) {
    const int64_t *s = x->pixels->shape, *k = x->ids->shape;
    vm_val ids = vm_input(g, "ids", VM_I32, 2, k), mask = vm_input(g, "mask", VM_I32, 2, k);
    vm_val rows = blip_image_rows(g, m, vm_input(g, "pixels", VM_F32, 4, (int64_t[]){ s[0], s[2], s[3], 3 }));
    vm_output(g, "rows", rows);
    if (x->itm) return blip_match(g, m, rows, ids, mask);
    return towers_logits(g, &m->t, towers_normalise(g, &m->t, blip_image_features(g, m, rows)), towers_normalise(g, &m->t, blip_text_features(g, m, ids, mask)));
}

static vm_status run(forward_case *c, vm_error *e) {
    blip_model *m = NULL;
    vm_graph *g = NULL;
    inputs x = { 0 };
    weight_map map = { 0 };
    bool loss = !strcmp(c->kind, "loss");
    if (blip_open(&m, c->be, c->dir, false, e)) return e->status;
    if (read_inputs(&x, c, &m->t, e)) goto done;
    if (!(g = vm_graph_new(c->be, c->dtype))) {
        vm_nomem(e, sizeof *g, "a graph");
        goto done;
    }
    g->training = loss && c->grad;
    vm_val y = scores(g, m, &x), value = 0;
    vm_output(g, "scores", y);
    if (loss && y) {
        const st_tensor *t = forward_tensor(c, "weight.itm_score");
        if (!t || t->len != vm_count(g, y)) vm_fail(e, VM_EINPUT, "%s: case %s: in.weight.itm_score of the shape of itm_score is needed", st_path(c->in, NULL), c->name);
        else x.weight = forward_f32(c, "weight.itm_score", e);
        if (e->status) goto done;
        value = vm_mean(g, vm_binary(g, y, vm_input(g, "weight", VM_F32, 2, (int64_t[]){ vm_dim(g, y, 0), vm_dim(g, y, 1) }), VM_MUL));
        vm_output(g, "loss", value);
        if (c->grad) vm_backward(g, 1, &value, NULL, 0, NULL);
    }
    vm_set(g, "pixels", x.picture), vm_set(g, "ids", x.id), vm_set(g, "mask", x.mask);
    if (x.weight) vm_set(g, "weight", x.weight);
    if (vm_run(g)) {
        *e = g->err;
        goto done;
    }
    forward_put_output(c, g, "scores", "out.itm_score", e);
    forward_put_output(c, g, "rows", "out.last_hidden_state", e);
    forward_put_output(c, g, "loss", "loss", e);
    blip_map(m, &map);
    if (loss && c->grad && !e->status) forward_put_grads(c, &map, e);
done:
    weight_map_free(&map);
    inputs_free(&x);
    vm_graph_free(g);
    blip_free(m);
    return e->status;
}

const forward_family forward_blip = { .name = "blip", .is = blip_is_blip, .run = run };
