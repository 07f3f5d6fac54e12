/* detect.c - `vismin detect`: boxes for phrases in pictures, as text, JSON lines, COCO results, and drawn. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "models/detector.h"
#include "pipeline/run.h"

typedef struct {
    const vm_args *a;
    detector *d;
    detector_options how;
    json_writer coco;
    int64_t boxes;
} job;

/* --- results -------------------------------------------------------------------------------------------------------- */
static void put_corners(json_writer *w, const float *b) {
    json_begin_array(w, "box");
    for (int k = 0; k < 4; k++) json_put_f32(w, NULL, b[k]);
    json_close_array(w);
}

static vm_status print_json(const job *j, const char *path, const vm_image *im, const detector_box *b, int64_t n, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_put_str(&w, "image", path);
    json_put_int(&w, "width", im->w), json_put_int(&w, "height", im->h);
    json_put_num(&w, "threshold", j->how.threshold), json_put_num(&w, "text_threshold", j->how.text_threshold);
    json_begin_array(&w, "boxes");
    for (int64_t i = 0; i < n; i++) {
        json_begin_object(&w, NULL);
        put_corners(&w, b[i].box);
        json_put_f32(&w, "score", b[i].score);
        json_put_str(&w, "phrase", detector_phrase(j->d, b[i].phrase)), json_put_str(&w, "words", b[i].words);
        json_close_object(&w);
    }
    json_close_array(&w), json_close_object(&w);
    char *line = json_take(&w, NULL, e);
    if (line) printf("%s\n", line);
    vm_free(line);
    return e->status;
}

static void print_text(const job *j, const char *path, const detector_box *b, int64_t n) {
    printf("%s: %" PRId64 " %s\n", path, n, n == 1 ? "box" : "boxes");
    for (int64_t i = 0; i < n; i++)
        printf("  %.3f  %7.1f %7.1f %7.1f %7.1f  %s\n", (double)b[i].score, (double)b[i].box[0], (double)b[i].box[1], (double)b[i].box[2],
               (double)b[i].box[3], detector_phrase(j->d, b[i].phrase));
}

/* The number at the end of a file's name ("COCO_val2014_000000000042.jpg"), as COCO counts its pictures; else its place on the command line. */
static int64_t coco_id(const char *path, int place) {
    const char *base = path_base(path), *dot = strrchr(base, '.'), *p = dot ? dot : base + strlen(base), *end = p;
    int64_t id = 0;
    while (p > base && p[-1] >= '0' && p[-1] <= '9') p--;
    if (p == end || end - p > 18) return place;
    for (; p < end; p++) id = 10 * id + *p - '0';
    return id;
}

static void put_coco(job *j, const char *path, int place, const detector_box *b, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const float *c = b[i].box, box[] = { c[0], c[1], c[2] - c[0], c[3] - c[1] };
        json_begin_object(&j->coco, NULL);
        json_put_int(&j->coco, "image_id", coco_id(path, place)), json_put_int(&j->coco, "category_id", b[i].phrase + 1);
        json_begin_array(&j->coco, "bbox");
        for (int k = 0; k < 4; k++) json_put_f32(&j->coco, NULL, box[k]);
        json_close_array(&j->coco);
        json_put_f32(&j->coco, "score", b[i].score);
        json_close_object(&j->coco);
    }
}

/* --- pictures ------------------------------------------------------------------------------------------------------- */
/* Pixels that a box covers, whole ones, grown and within the picture: first and one behind the last. */
static void cover(const float *b, int grow, const vm_image *im, int x[2], int y[2]) {
    x[0] = VM_MAX((int)b[0] - grow, 0), x[1] = VM_MIN((int)b[2] + grow, im->w);
    y[0] = VM_MAX((int)b[1] - grow, 0), y[1] = VM_MIN((int)b[3] + grow, im->h);
}

static void fill(vm_image *im, int x0, int x1, int y0, int y1, const uint8_t *colour) {
    for (int y = VM_MAX(y0, 0); y < VM_MIN(y1, im->h); y++)
        for (int x = VM_MAX(x0, 0); x < VM_MIN(x1, im->w); x++) memcpy(im->px + ((size_t)y * (size_t)im->w + (size_t)x) * (size_t)im->c, colour, (size_t)im->c);
}

/* A frame in the colour of the phrase, as wide as the picture lets it be seen. */
static void frame(vm_image *im, const detector_box *b) {
    static const uint8_t colours[][3] = { { 230, 25, 75 }, { 0, 130, 200 }, { 60, 180, 75 }, { 255, 200, 0 }, { 145, 30, 180 }, { 245, 130, 48 },
                                          { 70, 240, 240 }, { 240, 50, 230 } };
    const uint8_t *c = colours[b->phrase % VM_LEN(colours)];
    int x[2], y[2], t = VM_MAX(VM_MIN(im->w, im->h) / 200, 1);
    cover(b->box, 0, im, x, y);
    fill(im, x[0], x[1], y[0], y[0] + t, c), fill(im, x[0], x[1], y[1] - t, y[1], c);
    fill(im, x[0], x[0] + t, y[0], y[1], c), fill(im, x[1] - t, x[1], y[0], y[1], c);
}

static vm_status write_picture(const char *dir, const char *path, const vm_image *im, vm_error *e) {
    const char *base = path_base(path), *dot = strrchr(base, '.');
    char *name = vm_asprintf("%.*s.png", dot ? (int)(dot - base) : (int)strlen(base), base), *to = name ? path_join(dir, name) : NULL;
    if (!to) vm_nomem(e, 256, "a path");
    else if (!dir_make(dir, e)) image_write_png(to, im, NULL, 0, e);
    vm_free(name), vm_free(to);
    return e->status;
}

/* The mask is white where a box is; the picture gets its frames, the best on top. */
static vm_status draw(const job *j, const char *path, vm_image *im, const detector_box *b, int64_t n, vm_error *e) {
    const char *frames = arg_str(j->a, "annotated"), *masks = arg_str(j->a, "masks");
    vm_image mask = { 0 };
    if (masks && !image_new(&mask, im->w, im->h, 1, e)) {
        memset(mask.px, 0, (size_t)im->w * (size_t)im->h);
        for (int64_t i = 0; i < n; i++) {
            int x[2], y[2];
            cover(b[i].box, (int)arg_int(j->a, "mask-grow"), im, x, y);
            fill(&mask, x[0], x[1], y[0], y[1], (const uint8_t[]){ 255 });
        }
        write_picture(masks, path, &mask, e);
    }
    image_free(&mask);
    for (int64_t i = n - 1; i >= 0 && frames; i--) frame(im, &b[i]);
    return frames && !e->status ? write_picture(frames, path, im, e) : e->status;
}

/* --- the command ---------------------------------------------------------------------------------------------------- */
static vm_status one(job *j, int place, vm_error *e) {
    const char *path = arg_pos(j->a, place);
    vm_image im;
    detector_box *b = NULL;
    int64_t n = 0;
    if (image_read(&im, path, NULL, e)) return e->status;
    if (!detector_run(j->d, &im, &j->how, &b, &n, e)) {
        if (arg_flag(j->a, "json")) print_json(j, path, &im, b, n, e);
        else print_text(j, path, b, n);
        put_coco(j, path, place, b, n);
        if (!e->status) draw(j, path, &im, b, n, e);
    }
    j->boxes += n;
    detector_boxes_free(b, n);
    image_free(&im);
    fflush(stdout);
    return e->status;
}

static vm_status save_coco(job *j, const char *path, vm_error *e) {
    size_t bytes = 0;
    json_close_array(&j->coco);
    char *text = json_take(&j->coco, &bytes, e);
    if (text && path && !e->status) file_write(path, text, bytes, e);
    vm_free(text);
    return e->status;
}

static vm_status run(const vm_args *a, vm_error *e) {
    const char *const *phrases, *dir;
    const int64_t n = arg_list(a, "phrase", &phrases);
    job j = { .a = a, .how = { .threshold = arg_float(a, "threshold"), .text_threshold = arg_float(a, "text-threshold"), .nms = arg_float(a, "nms"),
                               .min_area = arg_float(a, "min-area"), .max_area = arg_float(a, "max-area"), .most = arg_int(a, "max-boxes") } };
    vm_type dtype;
    if (!n) return vm_fail(e, VM_EUSAGE, "detect: --phrase TEXT is needed: what to look for, once or several times");
    if (!(dir = arg_model(a, arg_pos(a, 0), e))) return e->status;
    vm_backend *be = run_backend(a, e);
    if (!be || run_dtype(a, true, &dtype, e)) return e->status;
    j.coco = json_to_memory(JSON_COMPACT);
    json_begin_array(&j.coco, NULL);
    if (!detector_open(&j.d, be, dtype, dir, e) && !detector_ask(j.d, phrases, n, e)) {
        if (detector_unused(j.d)) vm_warn("%s", detector_unused(j.d));
        int k = 1;
        for (; k < arg_npos(a) && !e->status && !run_stopping(); k++) one(&j, k, e);
        if (!e->status) vm_info("%" PRId64 " boxes in %d pictures, threshold %g, text threshold %g", j.boxes, k - 1, j.how.threshold, j.how.text_threshold);
    }
    vm_error lost = { 0 };
    save_coco(&j, e->status ? NULL : arg_str(a, "coco"), e->status ? &lost : e);
    detector_free(j.d);
    return e->status ? e->status : run_stopping() ? VM_ESTOP : VM_OK;
}

static const vm_opt opts[] = {
    { "phrase", OPT_LIST, NULL, "TEXT", "what to look for; may be given several times", 0, 0 },
    { "threshold", OPT_FLOAT, "0.25", "P", "boxes whose best token is more probable", 0, 1 },
    { "text-threshold", OPT_FLOAT, "0.25", "P", "words of a box: tokens that are more probable", 0, 1 },
    { "nms", OPT_FLOAT, "1", "IOU", "drop boxes that overlap a better one of the same phrase by more; 1 keeps all", 0, 1 },
    { "min-area", OPT_FLOAT, "0", "PART", "drop boxes smaller than this part of the picture", 0, 1 },
    { "max-area", OPT_FLOAT, "1", "PART", "drop boxes larger than this part of the picture", 0, 1 },
    { "max-boxes", OPT_INT, "0", "N", "only the N best boxes of a picture; 0 = all", 0, 1 << 20 },
    { "coco", OPT_STR, NULL, "FILE", "write COCO results: image_id is the number in the file's name, category_id counts phrases from 1", 0, 0 },
    { "annotated", OPT_STR, NULL, "DIR", "write DIR/NAME.png: the picture with its boxes, a colour for each phrase", 0, 0 },
    { "masks", OPT_STR, NULL, "DIR", "write DIR/NAME.png: white where a box is, black elsewhere", 0, 0 },
    { "mask-grow", OPT_INT, "0", "PX", "pixels by which boxes of a mask grow on every side", 0, 1 << 14 },
    { 0 },
};

const vm_command cmd_detect = {
    .name = "detect", .summary = "find what phrases name in pictures: boxes, masks", .usage = "MODEL_DIR IMAGE... --phrase TEXT [--phrase TEXT ...]",
    .about = "Looks for phrases with Grounding DINO. Boxes are x0 y0 x1 y1 in pixels of the picture as it is seen, best first; their\n"
             "score is the probability of the best token. --json prints a line for each picture.\n\n"
             "  vismin detect IDEA-Research/grounding-dino-tiny street.jpg --phrase \"a red car\" --phrase \"a dog\" --masks masks/",
    .opts = opts, .min_pos = 2, .max_pos = -1, .run = run,
};
