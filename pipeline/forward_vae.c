/* forward_vae.c - cases of `vismin forward` for the autoencoder of a diffusion model: mean and log variance, a sample with given noise, what is
 * decoded from it, and the loss of golden files: mean squared distance from a target and 0.1 KL. */
#include <string.h>

#include "models/vae.h"
#include "pipeline/forward.h"

/* noise.0 (B,z,h,w) of the case as (B,h,w,z); NULL when it has none. */
static float *noise_of(const forward_case *c, int64_t B, int64_t h, int64_t w, int64_t z, vm_error *e) {
    char *key = vm_asprintf("%s/noise.0", c->name);
    const st_tensor *t = key ? st_find(c->in, key) : NULL;
    vm_free(key);
    if (!t) return NULL;
    if (t->nd == 4 && t->shape[0] == B && t->shape[1] == z && t->shape[2] == h && t->shape[3] == w) return forward_map_of(c, t, e);
    vm_fail(e, VM_EINPUT, "%s: %s/noise.0 has not the shape of the latents", st_path(c->in, NULL), c->name);
    return NULL;
}

static vm_status run(forward_case *c, vm_error *e) {
    bool loss = !strcmp(c->kind, "loss"), grad = loss && c->grad;
    const st_tensor *s = forward_tensor(c, "sample");
    float *pixels = forward_map(c, "sample", e), *target = NULL, *noise = NULL;
    vae *m = NULL;
    vm_graph *g = NULL;
    if (!pixels || vae_open(&m, c->be, c->dir, grad, e)) goto done;
    if (!(g = vm_graph_new(c->be, c->dtype))) {
        vm_nomem(e, sizeof *g, "a graph");
        goto done;
    }
    g->training = grad;
    vm_val x = vm_input(g, "sample", VM_F32, 4, (int64_t[]){ s->shape[0], s->shape[2], s->shape[3], s->shape[1] }), mean, logvar, z = 0, y = 0, l = 0, kl = 0;
    vae_encode(g, m, x, &mean, &logvar);
    vm_output(g, "mean", mean), vm_output(g, "logvar", logvar);
    if (mean) noise = noise_of(c, s->shape[0], vm_dim(g, mean, 1), vm_dim(g, mean, 2), m->c.latent, e);
    if (noise && !e->status) {
        z = vae_sample(g, mean, logvar, vm_input(g, "noise", VM_F32, 4, g->v[mean].ne)), y = vae_decode(g, m, z);
        vm_output(g, "latent", z), vm_output(g, "y", y);
    }
    if (loss && !e->status) {
        kl = vae_kl(g, mean, logvar);
        l = vm_binary(g, forward_distance(g, c, "sample", y, &target, e), vm_scale(g, kl, 0.1f, 0), VM_ADD);
        vm_output(g, "loss.kl", kl), vm_output(g, "loss", l);
        if (grad) forward_backward(g, &m->w, 1, &x, l, e);
    }
    if (e->status) goto done;
    vm_set(g, "sample", pixels);
    if (noise) vm_set(g, "noise", noise);
    if (target) vm_set(g, "target.sample", target);
    if (vm_run(g)) *e = g->err;
    const struct { vm_val v; const char *name; } maps[] = { { mean, "out.mean" }, { logvar, "out.logvar" }, { z, "out.latent" }, { y, "out.sample" } };
    for (int k = 0; k < VM_LEN(maps) && !e->status; k++) forward_put_map(c, g, maps[k].v, maps[k].name, e);
    if (loss && !e->status && !forward_put_output(c, g, "loss", "loss", e)) forward_put_output(c, g, "loss.kl", "loss.kl", e);
    if (grad && !e->status && !forward_put_map(c, g, vm_grad(g, x), "gradin.sample", e)) forward_put_grads(c, &m->map, e);
done:
    vm_free(pixels), vm_free(target), vm_free(noise);
    vm_graph_free(g);
    vae_free(m);
    return e->status;
}

const forward_family forward_vae = { .name = "vae", .is = vae_is_vae, .run = run };
