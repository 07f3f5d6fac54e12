/* text2img.c - `vismin text2img` and `vismin img2img`: pictures from a text, or from a picture and a text. */
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "pipeline/paint.h"

static vm_status check(const vm_args *a, const char *what, vm_error *e) {
    if (!arg_str(a, "prompt")) return vm_fail(e, VM_EUSAGE, "%s: --prompt TEXT is needed", what);
    if (!arg_str(a, "out")) return vm_fail(e, VM_EUSAGE, "%s: --out FILE.png is needed", what);
    return paint_check_out(a, e);
}

/* The size that was asked for, else `dflt` cut to what the model can. */
static int64_t side(const paint *p, const char *name, int64_t dflt) {
    int64_t unit = diffusion_multiple(p->d);
    return arg_int(p->a, name) ? arg_int(p->a, name) : VM_MAX(dflt / unit, (int64_t)1) * unit;
}

static vm_status make(paint *p, diffusion_call *c, vm_error *e) {
    diffusion_report r;
    uint64_t *seeds = paint_seeds(p, &c->n, e);
    vm_image *out = seeds ? vm_calloc((size_t)c->n, sizeof *out) : NULL;
    if (seeds && !out) vm_nomem(e, (size_t)c->n * sizeof *out, "pictures");
    if (out && !paint_run(p, c, seeds, out, &r, e)) paint_save_all(p, out, seeds, c, &r, NULL, e);
    for (int64_t k = 0; out && k < c->n; k++) image_free(&out[k]);
    vm_free(out), vm_free(seeds);
    return e->status;
}

/* A model that repaints draws where all of a gray picture is to be repainted. */
static vm_status all_masked(vm_image *gray, vm_image *white, diffusion_call *c, vm_error *e) {
    if (image_new(gray, (int)c->width, (int)c->height, 3, e) || image_new(white, (int)c->width, (int)c->height, 1, e)) return e->status;
    memset(gray->px, 128, (size_t)(c->width * c->height * 3)), memset(white->px, 255, (size_t)(c->width * c->height));
    c->image = gray, c->mask = white;
    return VM_OK;
}

static vm_status run_text(const vm_args *a, vm_error *e) {
    paint p;
    vm_image gray = { 0 }, white = { 0 };
    if (check(a, "text2img", e) || paint_open(&p, "text2img", a, e)) return e->status;
    diffusion_call c = paint_call(&p);
    c.prompt = arg_str(a, "prompt"), c.width = side(&p, "width", diffusion_size(p.d)), c.height = side(&p, "height", diffusion_size(p.d));
    if (!diffusion_inpaints(p.d) || !all_masked(&gray, &white, &c, e)) make(&p, &c, e);
    image_free(&gray), image_free(&white);
    paint_close(&p);
    return e->status;
}

static vm_status run_picture(const vm_args *a, vm_error *e) {
    paint p;
    vm_image im;
    if (check(a, "img2img", e)) return e->status;
    if (!arg_str(a, "image")) return vm_fail(e, VM_EUSAGE, "img2img: --image FILE is needed");
    if (image_read(&im, arg_str(a, "image"), &(image_options){ .alpha = ALPHA_WHITE }, e)) return e->status;
    if (!paint_open(&p, "img2img", a, e)) {
        diffusion_call c = paint_call(&p);
        c.prompt = arg_str(a, "prompt"), c.image = &im, c.strength = arg_float(a, "strength");
        c.width = side(&p, "width", im.w), c.height = side(&p, "height", im.h);
        make(&p, &c, e);
        paint_close(&p);
    }
    image_free(&im);
    return e->status;
}

#define SIZES                                                                                                                \
    { "width", OPT_INT, "0", "N", "of the picture; 0 = as it is, or the model's", 0, 16384 },                                 \
        { "height", OPT_INT, "0", "N", "of the picture; 0 = as it is, or the model's", 0, 16384 }

static const vm_opt text_opts[] = { PAINT_SINGLE_OPTS, PAINT_OPTS, SIZES, { 0 } };
const vm_command cmd_text2img = {
    .name = "text2img", .summary = "pictures from a text, with Stable Diffusion 1, 2 or XL", .usage = "--model DIR --prompt TEXT --out FILE.png",
    .about = "Seeds give the pictures that diffusers makes of them with a generator on the CPU (--rng philox: on a GPU). PNG files say how\n"
             "they were made, as web interfaces read it and as JSON.\n\n"
             "  vismin text2img --model stabilityai/stable-diffusion-2-1-base --prompt \"a red bicycle\" --count 4 --out bicycle.png",
    .opts = text_opts, .max_pos = 0, .run = run_text,
};

static const vm_opt picture_opts[] = {
    PAINT_SINGLE_OPTS, PAINT_OPTS, SIZES,
    { "image", OPT_STR, NULL, "FILE", "the picture to begin with", 0, 0 },
    { "strength", OPT_FLOAT, "0.75", "P", "part of the steps that are made; less keeps more of the picture", 0, 1 },
    { 0 },
};
const vm_command cmd_img2img = {
    .name = "img2img", .summary = "a picture drawn again after a text", .usage = "--model DIR --image FILE --prompt TEXT --out FILE.png",
    .about = "  vismin img2img --model stabilityai/stable-diffusion-2-1-base --image sketch.png --prompt \"an oil painting of a bridge\" --out bridge.png",
    .opts = picture_opts, .max_pos = 0, .run = run_picture,
};
