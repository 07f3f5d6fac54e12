/* forward_unet.c - cases of `vismin forward` for the UNet of a diffusion model. */
#include <string.h>

#include "models/unet.h"
#include "pipeline/forward.h"

/* An f32 tensor of the case as an input of the graph; 0 when it has none. */
static vm_val input(vm_graph *g, const forward_case *c, const char *name, float **data, vm_error *e) {
    const st_tensor *t = forward_tensor(c, name);
    if (!t || e->status) return 0;
    *data = forward_f32(c, name, e);
    return vm_input(g, name, VM_F32, t->nd, t->shape);
}

enum { TIME, CONTEXT, TEXT, IDS, SAMPLE, TARGET, INPUTS };
static const char *const names[INPUTS] = { "timestep", "encoder_hidden_states", "text_embeds", "time_ids", "sample", "target.sample" };

static vm_status run(forward_case *c, vm_error *e) {
    bool loss = !strcmp(c->kind, "loss"), grad = loss && c->grad;
    const st_tensor *s = forward_tensor(c, names[SAMPLE]);
    float *data[INPUTS] = { 0 };
    unet *m = NULL;
    vm_graph *g = NULL;
    if (!s || s->nd != 4) return vm_fail(e, VM_EINPUT, "%s: case %s: in.sample (B,C,H,W) is needed", st_path(c->in, NULL), c->name);
    if (!(data[SAMPLE] = forward_map(c, names[SAMPLE], e)) || unet_open(&m, c->be, c->dir, grad, e)) goto done;
    if (!(g = vm_graph_new(c->be, c->dtype))) {
        vm_nomem(e, sizeof *g, "a graph");
        goto done;
    }
    g->training = grad;
    unet_input x = { .sample = vm_input(g, names[SAMPLE], VM_F32, 4, (int64_t[]){ s->shape[0], s->shape[2], s->shape[3], s->shape[1] }),
                     .timestep = input(g, c, names[TIME], &data[TIME], e), .context = input(g, c, names[CONTEXT], &data[CONTEXT], e),
                     .text = input(g, c, names[TEXT], &data[TEXT], e), .ids = input(g, c, names[IDS], &data[IDS], e) };
    if (!e->status && (!x.timestep || !x.context)) vm_fail(e, VM_EINPUT, "%s: case %s: in.timestep and in.encoder_hidden_states are needed", st_path(c->in, NULL), c->name);
    if (e->status) goto done;
    vm_val y = unet_run(g, m, &x), d = loss ? forward_distance(g, c, "sample", y, &data[TARGET], e) : 0;
    vm_output(g, "out", y);
    if (loss) vm_output(g, "loss", d);
    if (grad) forward_backward(g, &m->w, x.text ? 3 : 2, (vm_val[]){ x.sample, x.context, x.text }, d, e);
    if (e->status) goto done;
    for (int k = 0; k < INPUTS; k++)
        if (data[k]) vm_set(g, names[k], data[k]);
    if (vm_run(g)) *e = g->err;
    if (!e->status) forward_put_map(c, g, y, "out.sample", e);
    if (loss && !e->status) forward_put_output(c, g, "loss", "loss", e);
    if (grad && !e->status && !forward_put_map(c, g, vm_grad(g, x.sample), "gradin.sample", e) && !forward_put_output(c, g, "gradin.1", "gradin.encoder_hidden_states", e) &&
        !forward_put_output(c, g, "gradin.2", "gradin.text_embeds", e))
        forward_put_grads(c, &m->map, e);
done:
    for (int k = 0; k < INPUTS; k++) vm_free(data[k]);
    vm_graph_free(g);
    unet_free(m);
    return e->status;
}

const forward_family forward_unet = { .name = "unet", .is = unet_is_unet, .run = run };
