/* inpaint.c - `vismin inpaint`: what a mask marks in a picture is repainted after a text, and nothing else changes. */
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "pipeline/inpaint_stage.h"

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
    if (arg_npos(a)) return inpaint_run(a, e);
    paint p;
    vm_image im = { 0 }, mask = { 0 };
    const char *const missing = !arg_str(a, "image") ? "image FILE" : !arg_str(a, "prompt") ? "prompt TEXT" : !arg_str(a, "out") ? "out FILE.png" : NULL;
    if (missing) return vm_fail(e, VM_EUSAGE, "inpaint: --%s is needed", missing);
    if (!paint_check_out(a, e) && !image_read(&im, arg_str(a, "image"), &(image_options){ .alpha = ALPHA_WHITE }, e) && !mask_of(a, &im, &mask, e) && !paint_open(&p, "inpaint", a, e)) {
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
    { "edits", OPT_STR, NULL, "FILE", "RUN: edit instructions, JSON Lines, instead of those of RUN/instruct", 0, 0 },
    { "images", OPT_LIST, NULL, "DIR", "RUN: folder of the pictures; may be given several times", 0, 0 },
    { "map", OPT_LIST, NULL, "PREFIX=DIR", "RUN: names of pictures that begin with PREFIX stand in DIR", 0, 0 },
    { "allow-absolute", OPT_FLAG, NULL, NULL, "RUN: names of pictures may be paths of this machine", 0, 0 },
    { "detector", OPT_STR, NULL, "DIR", "RUN: Grounding DINO, for edits whose record has no boxes", 0, 0 },
    { "masks", OPT_STR, NULL, "DIR", "RUN: DIR/EDIT_ID.png or DIR/IMAGE_ID.png instead of boxes, white = repaint", 0, 0 },
    { "box-threshold", OPT_FLOAT, "0.25", "P", "RUN: boxes whose best token is more probable", 0, 1 },
    { "text-threshold", OPT_FLOAT, "0.25", "P", "RUN: words of a box", 0, 1 },
    { "nms", OPT_FLOAT, "0.7", "IOU", "RUN: drop boxes that overlap a better one by more; 1 keeps all", 0, 1 },
    { "min-box-area", OPT_FLOAT, "0.001", "PART", "RUN: drop boxes smaller than this part of the picture", 0, 1 },
    { "max-box-area", OPT_FLOAT, "0.85", "PART", "RUN: drop boxes at least as large", 0, 1 },
    { "max-boxes", OPT_INT, "5", "N", "RUN: only the N best boxes", 1, INPAINT_BOXES },
    { "calls", OPT_INT, "2", "N", "RUN: calls at most, each with steps, guidance and negative prompt drawn anew", 1, 16 },
    { "candidates", OPT_INT, "3", "N", "RUN: pictures of a call", 1, 16 },
    { "negative-p", OPT_FLOAT, "0.5", "P", "RUN: part of the calls that have the negative prompt", 0, 1 },
    { "prompt-order", OPT_STR, "phrase-first", "HOW", "RUN: phrase-first or caption-first", 0, 0 },
    JUDGE_OPTS,
    { "parity", OPT_LIST, NULL, "WHAT", "RUN: as the original did it: boxes, geometry, composite, prompt, ranking, sampler, all", 0, 0 },
    { "retry-failed", OPT_FLAG, NULL, NULL, "RUN: also take up edits again for which no place was found", 0, 0 },
    { "dry-run", OPT_FLAG, NULL, NULL, "RUN: list the edits and what became of them, as JSON lines", 0, 0 },
    { "limit", OPT_INT, "0", "N", "RUN: at most N edits; 0 = all", 0, 1 << 30 },
    STAGE_OPTS,
    { 0 },
};

const vm_command cmd_inpaint = {
    .name = "inpaint", .summary = "repaint a part of a picture after a text; edit instructions of a run to edited pictures",
    .usage = "--model DIR --image FILE --mask FILE --prompt TEXT --out FILE.png | RUN --model DIR",
    .about = "Outside the mask and its feather the original pixels come back, and it is said how many changed.\n"
             "With a run directory: for each edit the phrase is found, a mask made of its boxes, candidates are painted and judged, the best\n"
             "stays in RUN/images/. A run that was stopped goes on where it was; edits in error are taken up again.\n\n"
             "  vismin inpaint --model diffusers/stable-diffusion-xl-1.0-inpainting-0.1 --image dog.jpg --mask mask.png --prompt \"a cat\" --out cat.png\n"
             "  vismin inpaint run/ --model diffusers/stable-diffusion-xl-1.0-inpainting-0.1 --images coco/ --detector IDEA-Research/grounding-dino-tiny \\\n"
             "      --judge-model openai/clip-vit-large-patch14 --shard 3/8",
    .opts = opts, .max_pos = 1, .run = run,
};
