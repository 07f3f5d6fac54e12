/* forward_swin.c - cases of `vismin forward` for a Swin backbone: its feature maps, and the loss that golden files define: the sum over maps
 * of the mean squared distance from a target. */
#include <string.h>

#include "models/swin.h"
#include "pipeline/forward.h"

static vm_status run(forward_case *c, vm_error *e) {
    bool loss = !strcmp(c->kind, "loss");
    swin_model *m = NULL;
    const st_tensor *t = forward_tensor(c, "pixel_values");
    float *pixels = NULL, *targets[SWIN_STAGES] = { 0 };
    vm_val maps[SWIN_STAGES] = { 0 }, sum = 0;
    vm_graph *g = NULL;
    if (!(pixels = forward_pixels(c, "pixel_values", e)) || swin_open(&m, c->be, c->dir, loss && c->grad, e)) goto done;
    if (!(g = vm_graph_new(c->be, c->dtype))) {
        vm_nomem(e, sizeof *g, "a graph");
        goto done;
    }
    g->training = loss && c->grad;
    vm_val x = vm_input(g, "pixels", VM_F32, 4, (int64_t[]){ t->shape[0], t->shape[2], t->shape[3], 3 });
    swin_features(g, &m->net, x, maps);
    for (int k = 0; k < m->net.c.outs && maps[k] && !e->status; k++) {
        char name[64];
        snprintf(name, sizeof name, "feature_maps.%d", k);
        vm_output(g, name, vm_permute(g, maps[k], (const int[]){ 0, 3, 1, 2 }));
        vm_val d = loss ? forward_distance(g, c, name, maps[k], &targets[k], e) : 0;
        sum = sum ? vm_binary(g, sum, d, VM_ADD) : d;
    }
    if (loss && !e->status) {
        vm_output(g, "loss", sum);
        if (c->grad) forward_backward(g, &m->w, 1, &x, sum, e);
    }
    if (e->status || swin_constants(g, &m->net, e)) goto done;
    vm_set(g, "pixels", pixels);
    for (int k = 0; k < m->net.c.outs && loss; k++) {
        char name[64];
        snprintf(name, sizeof name, "target.feature_maps.%d", k);
        vm_set(g, name, targets[k]);
    }
    if (vm_run(g)) *e = g->err;
    for (int k = 0; k < m->net.c.outs && !e->status; k++) {
        char name[64], out[80];
        snprintf(name, sizeof name, "feature_maps.%d", k), snprintf(out, sizeof out, "out.%s", name);
        forward_put_output(c, g, name, out, e);
    }
    if (loss && !e->status) forward_put_output(c, g, "loss", "loss", e);
    if (loss && c->grad && !e->status) forward_put_map(c, g, vm_grad(g, x), "gradin.pixel_values", e);
    if (loss && c->grad && !e->status) {
        weight_map map = { 0 };
        swin_tie(&m->net, &map, "");
        if (map.err.status) *e = map.err;
        else forward_put_grads(c, &map, e);
        weight_map_free(&map);
    }
done:
    for (int k = 0; k < SWIN_STAGES; k++) vm_free(targets[k]);
    vm_free(pixels);
    vm_graph_free(g);
    swin_close(m);
    return e->status;
}

const forward_family forward_swin = { .name = "swin", .is = swin_is_swin, .run = run };
