/* paint.c - see paint.h: the model, and pictures by seeds. What is written: paint_save.c. Edits: paint_edit.c. */
#include "pipeline/paint.h"

#include <string.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/log.h"
#include "io/progress.h"

/* --- the model ------------------------------------------------------------------------------------------------------ */
/* Of the UNet's weights: of a single file its own hash, of several that of their hashes. */
static vm_status hash_weights(paint *p, vm_error *e) {
    char **names = NULL, *dir = path_join(p->dir, "unet"), all[65] = "";
    int64_t n = 0, files = 0;
    sha256 of_all;
    uint8_t digest[32];
    sha256_start(&of_all);
    if (!dir) vm_nomem(e, 256, "a path");
    else dir_list(&names, &n, dir, e);
    for (int64_t i = 0; i < n && !e->status; i++) {
        size_t len = strlen(names[i]);
        char *path = len > 12 && !strcmp(names[i] + len - 12, ".safetensors") ? path_join(dir, names[i]) : NULL;
        if (path && !sha256_file(all, path, e)) sha256_add(&of_all, all, 64), files++;
        vm_free(path);
    }
    sha256_end(&of_all, digest);
    if (files == 1) memcpy(p->hash, all, sizeof all);
    else hex_text(p->hash, digest, 32);
    vm_free(names), vm_free(dir);
    return e->status;
}

vm_status paint_open(paint *p, const char *what, const vm_args *a, vm_error *e) {
    *p = (paint){ .a = a, .what = what };
    const char *rng = arg_str(a, "rng"), *wanted = arg_str(a, "sampler"), *vae = arg_model(a, arg_str(a, "vae"), e);
    p->rng = !strcmp(rng, "philox") ? NOISE_PHILOX : NOISE_CPU;
    if (p->rng == NOISE_CPU && strcmp(rng, "cpu")) return vm_fail(e, VM_EUSAGE, "--rng %s: known are cpu, philox", rng);
    if (!arg_str(a, "model")) return vm_fail(e, VM_EUSAGE, "%s: --model DIR is needed, the folder of a diffusers pipeline", what);
    vm_backend *be = run_backend(a, e);
    if (e->status || !be || run_dtype(a, true, &p->dtype, e) || !(p->dir = arg_model(a, arg_str(a, "model"), e))) return e->status;
    const diffusion_options o = { .vae = vae, .adapter = arg_str(a, "adapter"), .dtype = p->dtype, .deterministic = arg_flag(a, "deterministic"), .tile = arg_int(a, "vae-tile") };
    if (diffusion_open(&p->d, be, p->dir, &o, e)) return e->status;
    if (diffusion_unused(p->d)) vm_warn("%s", diffusion_unused(p->d));
    if (wanted) sampler_by_name(diffusion_sampler(p->d), wanted, e);
    if (!e->status && !arg_flag(a, "no-metadata")) hash_weights(p, e);
    if (e->status) paint_close(p);
    return e->status;
}

void paint_close(paint *p) {
    diffusion_free(p->d);
    p->d = NULL;
}

diffusion_call paint_call(const paint *p) {
    const vm_args *a = p->a;
    return (diffusion_call){ .negative = arg_str(a, "negative"), .truncate = arg_flag(a, "truncate"), .steps = arg_given(a, "steps") ? arg_int(a, "steps") : 30,
                             .guidance = arg_given(a, "guidance") ? arg_float(a, "guidance") : 7.5, .rescale = arg_float(a, "rescale"), .strength = 1, .batch = arg_int(a, "batch") };
}

uint64_t *paint_seeds(const paint *p, int64_t *n, vm_error *e) {
    *n = arg_int(p->a, "count");
    uint64_t *seeds = vm_alloc((size_t)*n * sizeof *seeds);
    if (!seeds) return vm_nomem(e, (size_t)*n * sizeof *seeds, "seeds"), NULL;
    for (int64_t k = 0; k < *n; k++) seeds[k] = (uint64_t)arg_int(p->a, "seed") + (uint64_t)k;
    return seeds;
}

/* --- pictures --------------------------------------------------------------------------------------------------------- */
typedef struct {
    paint *p;
    progress *bar;
    const char *preview;
    int64_t every, W, H, n;
    vm_error *e;
} watcher;

static bool watch(void *ctx, const diffusion_step *s) {
    watcher *w = ctx;
    if (!w->bar && !w->p->quiet) w->bar = progress_start(w->p->what, s->calls * w->n, "steps");
    progress_add(w->bar, s->n);
    if (w->preview && s->first == 0 && (s->call + 1) % w->every == 0) {
        vm_image im = { 0 };
        if (!diffusion_preview(w->p->d, s->latents, s->w, s->h, &im, w->e)) image_write_png(w->preview, &im, NULL, 0, w->e);
        image_free(&im);
    }
    return !w->e->status && (w->p->quiet || !run_stopping());
}

vm_status paint_run(paint *p, diffusion_call *c, const uint64_t *seeds, vm_image *out, diffusion_report *r, vm_error *e) {
    bool single = !p->quiet;
    watcher w = { .p = p, .preview = single ? arg_str(p->a, "preview") : NULL, .every = single ? arg_int(p->a, "preview-every") : 1, .n = c->n, .e = e };
    int64_t px = c->width * c->height * 3;
    float *rgb = vm_alloc((size_t)(c->n * px) * sizeof *rgb);
    noise *streams = vm_alloc((size_t)c->n * sizeof *streams);
    if (!rgb || !streams) vm_nomem(e, (size_t)(c->n * px) * sizeof *rgb, "pictures");
    else {
        for (int64_t k = 0; k < c->n; k++) streams[k] = noise_begin(p->rng, seeds[k]);
        c->noise = streams, c->watch = watch, c->ctx = &w;
        memset(out, 0, (size_t)c->n * sizeof *out);
        diffusion_run(p->d, c, rgb, r, e);
    }
    for (int64_t k = 0; k < c->n && !e->status; k++) diffusion_image(&out[k], rgb + k * px, c->width, c->height, e);
    for (int64_t k = 0; k < c->n && e->status && streams && rgb; k++) image_free(&out[k]);
    c->noise = NULL, c->watch = NULL;
    progress_end(w.bar);
    vm_free(rgb), vm_free(streams);
    return e->status;
}
