/* forward_sampler.c - cases of `vismin forward` for the scheduler of a diffusion model: outputs of a network are given, the samples of every
 * step are asked for; or noise onto clean samples. */
#include <math.h>
#include <string.h>

#include "io/file.h"
#include "models/sampler.h"
#include "pipeline/forward.h"

static bool is(const char *dir) {
    char *path = path_join(dir, "scheduler_config.json");
    bool there = path && file_exists(path);
    vm_free(path);
    return there;
}

/* The number of a case, or dflt. */
static double number(const forward_case *c, const char *name, double dflt, vm_error *e) {
    if (!forward_tensor(c, name)) return dflt;
    float *x = forward_f32(c, name, e);
    double v = x ? (double)x[0] : dflt;
    vm_free(x);
    return v;
}

/* noise.K: what the reference drew, in order. */
static float *draw(const forward_case *c, int k, vm_error *e) {
    char *key = vm_asprintf("%s/noise.%d", c->name, k);
    const st_tensor *t = key ? st_find(c->in, key) : NULL;
    float *x = t ? vm_alloc((size_t)t->len * sizeof *x) : NULL;
    if (!t) vm_fail(e, VM_EINPUT, "%s: no tensor %s/noise.%d", st_path(c->in, NULL), c->name, k);
    else if (!x) vm_nomem(e, (size_t)t->len * sizeof *x, "noise");
    else st_read_f32(c->in, t, 0, t->len, x, e);
    vm_free(key);
    return x;
}

static vm_status put_schedule(forward_case *c, const sampler *s, vm_error *e) {
    int64_t n = sampler_calls(s), m;
    float *t = vm_alloc((size_t)n * sizeof *t);
    if (!t) return vm_nomem(e, (size_t)n * sizeof *t, "times");
    for (int64_t i = 0; i < n; i++) t[i] = (float)sampler_time(s, i);
    forward_put(c, "out.timesteps", 1, &n, t, e);
    const float *sigmas = sampler_sigmas(s, &m);
    if (sigmas && !e->status) forward_put(c, "out.sigmas", 1, &m, sigmas, e);
    vm_free(t);
    return e->status;
}

static vm_status trajectory(forward_case *c, sampler *s, const st_tensor *shape, int64_t first, double strength, vm_error *e) {
    int64_t n = sampler_calls(s) - first, len = 1, ne[VM_AXES];
    for (int k = 1; k < shape->nd; k++) len *= shape->shape[k];
    memcpy(ne, shape->shape, (size_t)shape->nd * sizeof *ne);
    float *out = forward_f32(c, "model_output", e), *x0 = forward_f32(c, "original_samples", e), *n0 = forward_f32(c, "noise", e);
    float *all = vm_alloc((size_t)((n + 1) * len) * sizeof *all), *in = vm_alloc((size_t)(n * len) * sizeof *in);
    if (!all || !in) vm_nomem(e, (size_t)(n * len) * sizeof *all, "samples");
    if (!e->status && shape->shape[0] != n) vm_fail(e, VM_EINPUT, "%s: %s/in.model_output has %lld steps, the sampler makes %lld", st_path(c->in, NULL), c->name, (long long)shape->shape[0], (long long)n);
    if (!e->status && strength < 1) sampler_add_noise(s, sampler_time(s, first), x0, n0, all, len);
    else for (int64_t i = 0; i < len && !e->status; i++) all[i] = (float)((double)n0[i] * sampler_noise_scale(s));
    for (int64_t k = 0, drawn = 0; k < n && !e->status; k++) {
        float *x = all + (k + 1) * len, *noise = sampler_draws(s) ? draw(c, (int)drawn++, e) : NULL;
        memcpy(x, x - len, (size_t)len * sizeof *x);
        if (!e->status) sampler_input(s, x, in + k * len), sampler_step(s, out + k * len, x, noise);
        vm_free(noise);
    }
    ne[0] = n;
    if (!e->status) forward_put(c, "out.model_input", shape->nd, ne, in, e);
    ne[0] = n + 1;
    if (!e->status) forward_put(c, "out.trajectory", shape->nd, ne, all, e);
    vm_free(out), vm_free(x0), vm_free(n0), vm_free(all), vm_free(in);
    return e->status;
}

static vm_status noising(forward_case *c, const sampler *s, const sampler_config *k, vm_error *e) {
    const st_tensor *t = forward_tensor(c, "original_samples"), *times = forward_tensor(c, "timesteps");
    float *x0 = forward_f32(c, "original_samples", e), *n0 = forward_f32(c, "noise", e), *at = forward_f32(c, "timesteps", e);
    float *noisy = t ? vm_alloc((size_t)t->len * sizeof *noisy) : NULL, *v = t ? vm_alloc((size_t)t->len * sizeof *v) : NULL;
    if (!e->status && (!noisy || !v)) vm_nomem(e, (size_t)t->len * sizeof *noisy, "samples");
    if (!e->status && times->len != t->shape[0]) vm_fail(e, VM_EINPUT, "%s: %s/in.timesteps has not one time a sample", st_path(c->in, NULL), c->name);
    for (int64_t b = 0, n = e->status ? 0 : t->len / t->shape[0]; !e->status && b < t->shape[0]; b++) {
        sampler_add_noise(s, (double)at[b], x0 + b * n, n0 + b * n, noisy + b * n, n);
        sampler_velocity(s, (double)at[b], x0 + b * n, n0 + b * n, v + b * n, n);
    }
    if (!e->status && !forward_put(c, "out.noisy_samples", t->nd, t->shape, noisy, e) && !forward_put(c, "out.velocity", t->nd, t->shape, v, e))
        forward_put(c, "out.alphas_cumprod", 1, &k->T, sampler_alphas(s), e);
    vm_free(x0), vm_free(n0), vm_free(at), vm_free(noisy), vm_free(v);
    return e->status;
}

static vm_status run(forward_case *c, vm_error *e) {
    sampler_config k;
    sampler *s = NULL;
    const st_tensor *outputs = forward_tensor(c, "model_output"), *x = forward_tensor(c, "original_samples");
    if (!x) return vm_fail(e, VM_EINPUT, "%s: no tensor %s/in.original_samples", st_path(c->in, NULL), c->name);
    if (sampler_config_read(&k, c->dir, e)) return e->status;
    k.eta = number(c, "eta", 0, e), k.whole_first = true;
    int64_t N = (int64_t)number(c, "num_inference_steps", 0, e);
    double strength = number(c, "strength", 1, e);
    int64_t first = VM_MAX(N - VM_MIN((int64_t)((double)N * strength + 1e-6), N), (int64_t)0);
    if (!e->status && !sampler_new(&s, &k, x->len, e) && !sampler_steps(s, N, first, e)) {
        if (!outputs) noising(c, s, &k, e);
        else if (!put_schedule(c, s, e)) trajectory(c, s, outputs, first, strength, e);
    }
    sampler_free(s);
    return e->status;
}

const forward_family forward_sampler = { .name = "sampler", .is = is, .run = run, .kinds = "schedule" };
