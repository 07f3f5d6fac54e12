/* inpaint.c - `vismin inpaint`: what a mask marks in a picture is repainted after a text, and nothing else changes. */
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "pipeline/paint.h"

/* --mask, else the --box options. */
static vm_status mask_of(const vm_args *a, const vm_image *im, vm_image *mask, vm_error *e) {
    const char *const *boxes, *path = arg_str(a, "mask");
    int n = arg_list(a, "box", &boxes), grow = (int)arg_int(a, "mask-grow");
    if (path) {
        vm_image given = { 0 };
        if (!image_read(&given, path, NULL, e) && !edit_mask_picture(mask, &given, im->w, im->h, e)) edit_mask_grow(mask, grow, e);
        image_free(&given);
        return e->status;
    }
    if (!n) return vm_fail(e, VM_EUSAGE, "inpaint: --mask FILE or --box X0,Y0,X1,Y1 is needed");
    float *b = vm_alloc((size_t)n * 4 * sizeof *b);
    if (!b) return vm_nomem(e, (size_t)n * 16, "boxes");
    for (int k = 0, end; k < n && !e->status; k++)
        if (sscanf(boxes[k], "%f,%f,%f,%f%n", &b[4 * k], &b[4 * k + 1], &b[4 * k + 2], &b[4 * k + 3], &end) != 4 || boxes[k][end])
            vm_fail(e, VM_EUSAGE, "--box %s: expected X0,Y0,X1,Y1 in pixels", boxes[k]);
    if (!e->status) edit_mask_boxes(mask, im->w, im->h, b, n, 8, grow, e);
    vm_free(b);
    return e->status;
}

static char *change_text(const edit_change *c, vm_error *e) {
    char *s = vm_asprintf("\"outside\":{\"pixels\":%lld,\"changed\":%lld,\"most\":%d,\"mean\":%.6g}", (long long)c->outside, (long long)c->changed, c->most, c->mean);
    if (!s) vm_nomem(e, 128, "a text");
    return s;
}

static vm_status make(paint *p, const vm_image *im, const vm_image *mask, vm_error *e) {
    diffusion_call c = paint_call(p);
    diffusion_report r;
    paint_edit how;
    uint64_t *seeds = paint_seeds(p, &c.n, e);
    vm_image *out = seeds ? vm_calloc((size_t)c.n, sizeof *out) : NULL;
    edit_change *changes = seeds ? vm_calloc((size_t)c.n, sizeof *changes) : NULL;
    char **more = seeds ? vm_calloc((size_t)c.n, sizeof *more) : NULL;
    if (seeds && (!out || !changes || !more)) vm_nomem(e, (size_t)c.n * sizeof *out, "pictures");
    c.prompt = arg_str(p->a, "prompt"), c.strength = arg_float(p->a, "strength");
    if (!e->status && !paint_edit_read(&how, p, e) && !paint_inpaint(p, &how, im, mask, &c, seeds, out, changes, &r, e)) {
        for (int64_t k = 0; k < c.n && !e->status; k++) {
            more[k] = change_text(&changes[k], e);
            vm_info("seed %llu: %lld of %lld pixels outside the mask and its feather have changed, by %d at most", (unsigned long long)seeds[k],
                    (long long)changes[k].changed, (long long)changes[k].outside, changes[k].most);
        }
        if (!e->status) paint_save_all(p, out, seeds, &c, &r, (const char *const *)more, e);
    }
    for (int64_t k = 0; out && k < c.n; k++) image_free(&out[k]);
    for (int64_t k = 0; more && k < c.n; k++) vm_free(more[k]);
    vm_free(out), vm_free(changes), vm_free(more), vm_free(seeds);
    return e->status;
}

static vm_status run(const vm_args *a, vm_error *e) {
    paint p;
    vm_image im = { 0 }, mask = { 0 };
    const char *const missing = !arg_str(a, "image") ? "image FILE" : !arg_str(a, "prompt") ? "prompt TEXT" : !arg_str(a, "out") ? "out FILE.png" : NULL;
    if (missing) return vm_fail(e, VM_EUSAGE, "inpaint: --%s is needed", missing);
    if (!image_read(&im, arg_str(a, "image"), &(image_options){ .alpha = ALPHA_WHITE }, e) && !mask_of(a, &im, &mask, e) && !paint_open(&p, "inpaint", a, e)) {
        make(&p, &im, &mask, e);
        paint_close(&p);
    }
    image_free(&im), image_free(&mask);
    return e->status;
}

static const vm_opt opts[] = {
    { "image", OPT_STR, NULL, "FILE", "the picture", 0, 0 },
    { "mask", OPT_STR, NULL, "FILE", "white = repaint", 0, 0 },
    { "box", OPT_LIST, NULL, "X0,Y0,X1,Y1", "instead of a mask: a box in pixels; may be given several times", 0, 0 },
    PAINT_SINGLE_OPTS, PAINT_OPTS, PAINT_EDIT_OPTS,
    { 0 },
};

const vm_command cmd_inpaint = {
    .name = "inpaint", .summary = "repaint a part of a picture after a text", .usage = "--model DIR --image FILE --mask FILE --prompt TEXT --out FILE.png",
    .about = "Outside the mask and its feather the original pixels come back, and it is said how many changed.\n\n"
             "  vismin inpaint --model diffusers/stable-diffusion-xl-1.0-inpainting-0.1 --image dog.jpg --mask mask.png --prompt \"a cat\" --out cat.png",
    .opts = opts, .max_pos = 0, .run = run,
};
