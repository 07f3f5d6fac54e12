/* paint_save.c - what is written of a picture that a diffusion model made (paint.h): the file, its texts, a line of JSON. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "pipeline/paint.h"

/* As web interfaces call the samplers. */
static const char *display_name(const sampler_config *c) {
    static const char *const names[][2] = { { "ddim", "DDIM" }, { "pndm", "PLMS" }, { "euler", "Euler" }, { "euler_karras", "Euler Karras" }, { "euler_a", "Euler a" },
        { "dpm++_2m", "DPM++ 2M" }, { "dpm++_2m_karras", "DPM++ 2M Karras" }, { "dpm++_3m", "DPM++ 3M" }, { "dpm++_3m_karras", "DPM++ 3M Karras" },
        { "dpm++_sde", "DPM++ 2M SDE" }, { "dpm++_sde_karras", "DPM++ 2M SDE Karras" }, { "ddpm", "DDPM" }, { "lcm", "LCM" } };
    for (int k = 0; k < VM_LEN(names); k++)
        if (!strcmp(names[k][0], sampler_name(c))) return names[k][1];
    return "DPM++";
}

/* PROMPT / Negative prompt: ... / Steps: N, Sampler: ..., vm_free. */
static char *parameters(const paint *p, const paint_record *x, const vm_image *im) {
    const diffusion_call *c = x->c;
    char strength[48] = "";
    if (c->image) snprintf(strength, sizeof strength, ", Denoising strength: %g", c->strength);
    return vm_asprintf("%s%s%s\nSteps: %lld, Sampler: %s, CFG scale: %g, Seed: %llu, Size: %dx%d, Model hash: %.10s, Model: %s%s, RNG: %s, Version: vismin " VM_VERSION, c->prompt,
                       c->negative ? "\nNegative prompt: " : "", c->negative ? c->negative : "", (long long)c->steps, display_name(diffusion_sampler(p->d)), c->guidance,
                       (unsigned long long)x->seed, im->w, im->h, p->hash, path_base(p->dir), strength, p->rng == NOISE_CPU ? "CPU" : "GPU");
}

void paint_put(const paint *p, const paint_record *x, json_writer *w) {
    const diffusion_call *c = x->c;
    char seed[32];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)x->seed);
    json_put_int(w, "schema", 1), json_put_str(w, "vismin_version", VM_VERSION);
    json_begin_object(w, "model");
    json_put_str(w, "file", p->dir);
    if (*p->hash) json_put_text(w, "sha256", p->hash, 16);
    if (arg_str(p->a, "adapter")) json_put_str(w, "adapter", arg_str(p->a, "adapter"));
    json_close_object(w);
    json_put_raw(w, "seed", seed, strlen(seed));
    json_put_str(w, "rng", p->rng == NOISE_CPU ? "cpu" : "philox");
    json_put_str(w, "prompt", c->prompt), json_put_str(w, "negative", c->negative);
    json_put_str(w, "sampler", sampler_name(diffusion_sampler(p->d)));
    json_put_int(w, "steps", c->steps), json_put_num(w, "cfg", c->guidance), json_put_num(w, "rescale", c->rescale);
    if (c->image) json_put_num(w, "strength", c->strength);
    json_put_int(w, "width", c->width), json_put_int(w, "height", c->height);
    json_put_str(w, "dtype", vm_type_name(p->dtype));
    json_put_int(w, "tokens_dropped", x->r->dropped);
    json_put_bool(w, "vae_tiled", x->r->tiled), json_put_bool(w, "vae_redone_f32", x->r->redone);
}

/* An object of these members and further ones; vm_free. */
static char *object(const paint *p, const paint_record *x, const char *path, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    if (path) json_put_str(&w, "image", path);
    paint_put(p, x, &w);
    json_close_object(&w);
    char *text = json_take(&w, NULL, e);
    if (!text || !x->more) return text;
    text[strlen(text) - 1] = 0;
    char *all = vm_asprintf("%s,%s}", text, x->more);
    if (!all) vm_nomem(e, strlen(text), "a text");
    vm_free(text);
    return all;
}

vm_status paint_save(const paint *p, const char *path, const vm_image *im, const paint_record *x, vm_error *e) {
    if (arg_flag(p->a, "no-metadata")) return image_write_png(path, im, NULL, 0, e);
    char *json = object(p, x, NULL, e), *lines = parameters(p, x, im);
    if (!lines) vm_nomem(e, 1024, "a text");
    if (!e->status) image_write_png(path, im, (const image_text[]){ { "parameters", lines }, { "vismin", json } }, 2, e);
    vm_free(json), vm_free(lines);
    return e->status;
}

/* NAME.png, or NAME-K.png of several; vm_free. */
static char *numbered(const char *path, int64_t k, int64_t n, vm_error *e) {
    size_t len = strlen(path);
    bool ends = len > 4 && !strcmp(path + len - 4, ".png");
    char *name = n == 1 ? vm_strdup(path) : vm_asprintf("%.*s-%lld.png", (int)(ends ? len - 4 : len), path, (long long)k);
    if (!name) vm_nomem(e, len, "a path");
    return name;
}

vm_status paint_check_out(const vm_args *a, vm_error *e) {
    char *first = numbered(arg_str(a, "out"), 0, arg_int(a, "count"), e);
    if (first) file_writable(first, e);
    vm_free(first);
    return e->status;
}

vm_status paint_save_all(const paint *p, const vm_image *im, const uint64_t *seeds, const diffusion_call *c, const diffusion_report *r, const char *const *more, vm_error *e) {
    const char *out = arg_str(p->a, "out");
    if (r->dropped) vm_warn("the prompt's last %lld tokens were cut off (--truncate)", (long long)r->dropped);
    for (int64_t k = 0; k < c->n && !e->status; k++) {
        const paint_record x = { c, r, seeds[k], more ? more[k] : NULL };
        char *path = numbered(out, k, c->n, e), *line = NULL;
        if (path && !paint_save(p, path, &im[k], &x, e) && arg_flag(p->a, "json") && (line = object(p, &x, path, e))) printf("%s\n", line);
        vm_free(path), vm_free(line);
    }
    return e->status;
}
