/* detect.c - `vismin detect`: boxes for phrases in pictures, as text, JSON lines, COCO results, and drawn.
 *
 * Every picture and every phrase ends in a status of its own: a picture that cannot be read leaves neither boxes nor an older mask of its name. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/file.h"
#include "io/log.h"
#include "models/detector.h"
#include "models/edit_mask.h"
#include "pipeline/box_draw.h"
#include "pipeline/run.h"

enum { WINDOWS = 4 }; /* batches of pictures that are held at a time, so that those of one size meet */

typedef struct {
    const vm_args *a;
    detector *d;
    detector_options how;
    json_writer coco;
    int64_t boxes, bad;
    vm_error first;            /* of the pictures that could not be read */
} job;

/* --- results -------------------------------------------------------------------------------------------------------- */
static void put_corners(json_writer *w, const float *b) {
    json_begin_array(w, "box");
    for (int k = 0; k < 4; k++) json_put_f32(w, NULL, b[k]);
    json_close_array(w);
}

static void put_answers(json_writer *w, const job *j, const detector_found *f) {
    json_begin_array(w, "phrases");
    for (int64_t k = 0; k < detector_count(j->d); k++) {
        const detector_answer *x = &f->answer[k];
        json_begin_object(w, NULL);
        json_put_str(w, "phrase", detector_phrase(j->d, k)), json_put_str(w, "status", detector_status_name[x->status]);
        json_put_int(w, "boxes", x->boxes), json_put_f32(w, "best", x->best);
        json_close_object(w);
    }
    json_close_array(w);
}

static vm_status print_line(json_writer *w, vm_error *e) {
    json_close_object(w);
    char *line = json_take(w, NULL, e);
    if (line) printf("%s\n", line);
    vm_free(line);
    return e->status;
}

static vm_status print_json(const job *j, const char *path, const vm_image *im, const detector_found *f, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_put_str(&w, "image", path), json_put_str(&w, "status", "ok");
    json_put_int(&w, "width", im->w), json_put_int(&w, "height", im->h);
    json_put_num(&w, "threshold", j->how.threshold), json_put_num(&w, "text_threshold", j->how.text_threshold);
    json_begin_array(&w, "boxes");
    for (int64_t i = 0; i < f->n; i++) {
        const detector_box *b = &f->box[i];
        json_begin_object(&w, NULL);
        put_corners(&w, b->box);
        json_put_f32(&w, "score", b->score);
        json_put_str(&w, "phrase", detector_phrase(j->d, b->phrase)), json_put_str(&w, "words", b->words);
        json_close_object(&w);
    }
    json_close_array(&w);
    put_answers(&w, j, f);
    return print_line(&w, e);
}

static void print_text(const job *j, const char *path, const detector_found *f) {
    printf("%s: %" PRId64 " %s\n", path, f->n, f->n == 1 ? "box" : "boxes");
    for (int64_t i = 0; i < f->n; i++) {
        const detector_box *b = &f->box[i];
        printf("  %.3f  %7.1f %7.1f %7.1f %7.1f  %s\n", (double)b->score, (double)b->box[0], (double)b->box[1], (double)b->box[2], (double)b->box[3],
               detector_phrase(j->d, b->phrase));
    }
    for (int64_t k = 0; k < detector_count(j->d); k++)
        if (f->answer[k].status != DETECTOR_FOUND)
            printf("  %s  %s, best score %.3f\n", detector_status_name[f->answer[k].status], detector_phrase(j->d, k), (double)f->answer[k].best);
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
/* DIR/NAME.png for the picture; NULL and e when memory is out. */
static char *picture_path(const char *dir, const char *path, vm_error *e) {
    const char *base = path_base(path), *dot = strrchr(base, '.');
    char *name = vm_asprintf("%.*s.png", dot ? (int)(dot - base) : (int)strlen(base), base), *to = name ? path_join(dir, name) : NULL;
    if (!to) vm_nomem(e, 256, "a path");
    vm_free(name);
    return to;
}

static vm_status write_picture(const char *dir, const char *path, const vm_image *im, vm_error *e) {
    char *to = picture_path(dir, path, e);
    if (to && !dir_make(dir, e)) image_write_png(to, im, NULL, 0, e);
    vm_free(to);
    return e->status;
}

static vm_status draw_mask(const job *j, const char *dir, const char *path, const vm_image *im, const detector_found *f, vm_error *e) {
    vm_image mask = { 0 };
    float *boxes = vm_alloc((size_t)f->n * 4 * sizeof *boxes + 1);
    for (int64_t i = 0; i < f->n && boxes; i++) memcpy(boxes + 4 * i, f->box[i].box, sizeof f->box[i].box);
    if (!boxes) vm_nomem(e, (size_t)f->n * 4 * sizeof *boxes, "a mask");
    else if (!edit_mask_boxes(&mask, im->w, im->h, boxes, f->n, (int)arg_int(j->a, "mask-min-side"), (int)arg_int(j->a, "mask-grow"), e) &&
             !edit_mask_feather(&mask, (int)arg_int(j->a, "mask-feather"), e))
        write_picture(dir, path, &mask, e);
    image_free(&mask);
    vm_free(boxes);
    return e->status;
}

/* The mask is white where a box is; the picture gets its frames with phrases and scores, the best on top. */
static vm_status draw(const job *j, const char *path, vm_image *im, const detector_found *f, vm_error *e) {
    const char *frames = arg_str(j->a, "annotated"), *masks = arg_str(j->a, "masks");
    if (masks && draw_mask(j, masks, path, im, f, e)) return e->status;
    for (int64_t i = f->n - 1; i >= 0 && frames && !e->status; i--) {
        const detector_box *b = &f->box[i];
        char *text = vm_asprintf("%s %.2f", detector_phrase(j->d, b->phrase), (double)b->score);
        if (text) box_frame(im, b->box, b->phrase, text);
        else vm_nomem(e, 256, "a label");
        vm_free(text);
    }
    return frames && !e->status ? write_picture(frames, path, im, e) : e->status;
}

/* What an earlier run drew of this picture must not be taken for the answer. */
static void remove_drawn(const job *j, const char *path) {
    static const char *const options[] = { "annotated", "masks" };
    for (int k = 0; k < VM_LEN(options); k++) {
        vm_error ignored = { 0 };
        char *to = arg_str(j->a, options[k]) ? picture_path(arg_str(j->a, options[k]), path, &ignored) : NULL;
        if (to) unlink(to);
        vm_free(to);
    }
}

/* --- the command ---------------------------------------------------------------------------------------------------- */
static vm_status answer(job *j, int place, vm_image *im, const detector_found *f, vm_error *e) {
    const char *path = arg_pos(j->a, place);
    if (arg_flag(j->a, "json")) print_json(j, path, im, f, e);
    else print_text(j, path, f);
    put_coco(j, path, place, f->box, f->n);
    j->boxes += f->n;
    return e->status ? e->status : draw(j, path, im, f, e);
}

/* A picture that cannot be read: recorded, and the others go on. */
static vm_status failed(job *j, int place, vm_error *e) {
    const char *path = arg_pos(j->a, place);
    if (e->status != VM_EINPUT && e->status != VM_EIO) return e->status;
    if (!j->bad++) j->first = *e;
    vm_warn("%s", e->msg);
    remove_drawn(j, path);
    if (!arg_flag(j->a, "json")) {
        printf("%s: ground_error: %s\n", path, e->msg);
        vm_error_clear(e);
        return VM_OK;
    }
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_put_str(&w, "image", path), json_put_str(&w, "status", "ground_error"), json_put_str(&w, "error", e->msg);
    json_begin_array(&w, "boxes"), json_close_array(&w);
    vm_error_clear(e);
    return print_line(&w, e);
}

/* Pictures from place `at` on, as many as are held at a time; returns how many. */
static int window(job *j, int at, vm_error *e) {
    enum { MOST = 64 };
    const int n = VM_MIN(VM_MIN((int)j->how.batch * WINDOWS, MOST), arg_npos(j->a) - at);
    vm_image im[MOST] = { 0 };
    const vm_image *rgb[MOST];
    detector_found found[MOST];
    vm_error read[MOST] = { 0 };
    int good = 0;
    for (int k = 0; k < n; k++)
        if (!image_read(&im[k], arg_pos(j->a, at + k), NULL, &read[k])) rgb[good++] = &im[k];
    if (good) detector_run_many(j->d, good, rgb, &j->how, found, e);
    for (int k = 0, g = 0; k < n && !e->status; k++) {
        if (read[k].status) *e = read[k], failed(j, at + k, e);
        else answer(j, at + k, &im[k], &found[g++], e);
    }
    for (int g = 0; g < good; g++) detector_found_free(&found[g]);
    for (int k = 0; k < n; k++) image_free(&im[k]);
    fflush(stdout);
    return n;
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
    job j = { .a = a, .how = { .threshold = arg_float(a, "box-threshold"), .text_threshold = arg_float(a, "text-threshold"), .nms = arg_float(a, "nms"),
                               .min_area = arg_float(a, "min-area"), .max_area = arg_float(a, "max-area"), .min_score = arg_float(a, "min-box-score"), .most = arg_int(a, "max-boxes"),
                               .batch = arg_int(a, "batch") } };
    vm_type dtype;
    if (!n) return vm_fail(e, VM_EUSAGE, "detect: --phrase TEXT is needed: what to look for, once or several times");
    if (!(dir = arg_model(a, arg_pos(a, 0), e)) || (arg_str(a, "coco") && file_writable(arg_str(a, "coco"), e))) return e->status;
    vm_backend *be = run_backend(a, e);
    if (!be || run_dtype(a, true, &dtype, e)) return e->status;
    j.coco = json_to_memory(JSON_COMPACT);
    json_begin_array(&j.coco, NULL);
    if (!detector_open(&j.d, be, dtype, dir, e) && !detector_ask(j.d, phrases, n, e)) {
        if (detector_unused(j.d)) vm_warn("%s", detector_unused(j.d));
        for (int64_t k = 0; k < detector_count(j.d); k++)
            if (strstr(detector_phrase(j.d, k), "[UNK]")) vm_warn("phrase \"%s\": the model's vocabulary does not have all of its words", detector_phrase(j.d, k));
        int k = 1;
        while (k < arg_npos(a) && !e->status && !run_stopping()) k += window(&j, k, e);
        if (!e->status && j.bad == arg_npos(a) - 1) *e = j.first; /* none could be read */
        if (!e->status) vm_info("%" PRId64 " boxes in %d pictures, box threshold %g, text threshold %g", j.boxes, k - 1, j.how.threshold, j.how.text_threshold);
    }
    vm_error lost = { 0 };
    save_coco(&j, e->status ? NULL : arg_str(a, "coco"), e->status ? &lost : e);
    detector_free(j.d);
    if (!e->status && j.bad) vm_warn("%" PRId64 " of %d pictures could not be read", j.bad, arg_npos(a) - 1);
    return e->status ? e->status : run_stopping() ? VM_ESTOP : j.bad ? VM_EPARTIAL : VM_OK;
}

static const vm_opt opts[] = {
    { "phrase", OPT_LIST, NULL, "TEXT", "what to look for; may be given several times", 0, 0 },
    { "box-threshold", OPT_FLOAT, "0.35", "P", "boxes whose best token is more probable", 0, 1 },
    { "text-threshold", OPT_FLOAT, "0.25", "P", "words of a box: tokens that are more probable", 0, 1 },
    { "nms", OPT_FLOAT, "0.7", "IOU", "drop boxes that overlap a better one of the same phrase by more; 1 keeps all", 0, 1 },
    { "min-area", OPT_FLOAT, "0", "PART", "drop boxes smaller than this part of the picture", 0, 1 },
    { "max-area", OPT_FLOAT, "0.85", "PART", "drop boxes larger than this part of the picture", 0, 1 },
    { "min-box-score", OPT_FLOAT, "0", "P", "a phrase whose best box scores less is not in the picture, and gets none", 0, 1 },
    { "max-boxes", OPT_INT, "0", "N", "only the N best boxes of a picture; 0 = all", 0, 1 << 20 },
    { "batch", OPT_INT, "1", "N", "pictures of one size in the network at a time", 1, 16 },
    { "coco", OPT_STR, NULL, "FILE", "write COCO results: image_id is the number in the file's name, category_id counts phrases from 1", 0, 0 },
    { "annotated", OPT_STR, NULL, "DIR", "write DIR/NAME.png: the picture with its boxes, phrases and scores, a colour for each phrase", 0, 0 },
    { "masks", OPT_STR, NULL, "DIR", "write DIR/NAME.png: white where a box is, black elsewhere", 0, 0 },
    { "mask-grow", OPT_INT, "0", "PX", "pixels by which boxes of a mask grow on every side", 0, 1 << 14 },
    { "mask-feather", OPT_INT, "0", "PX", "pixels over which a mask falls from white to black outside of its boxes", 0, 1 << 12 },
    { "mask-min-side", OPT_INT, "8", "PX", "boxes of a mask are at least so wide and high", 0, 1 << 14 },
    { 0 },
};

const vm_command cmd_detect = {
    .name = "detect", .summary = "find what phrases name in pictures: boxes, masks", .usage = "MODEL_DIR IMAGE... --phrase TEXT [--phrase TEXT ...]",
    .about = "Looks for phrases with Grounding DINO. Boxes are x0 y0 x1 y1 in pixels of the picture as it is seen, best first; their\n"
             "score is the probability of the best token. --json prints a line for each picture, with a status for each phrase: ok, no_box,\n"
             "box_too_large (--max-area), box_too_small (--min-area), low_score (--min-box-score); ground_error for a picture that cannot be\n"
             "read (exit code 1 when others can).\n\n"
             "  vismin detect IDEA-Research/grounding-dino-tiny street.jpg --phrase \"a red car\" --phrase \"a dog\" --masks masks/",
    .opts = opts, .min_pos = 2, .max_pos = -1, .run = run,
};
