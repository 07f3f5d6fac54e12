/* inpaint_ground.c - where an edit takes place: boxes of the record, of a detector, or a mask file; and the mask of them (inpaint_stage.h). */
#include <math.h>
#include <string.h>

#include "io/file.h"
#include "pipeline/inpaint_stage.h"

enum { LEAST_SIDE = 8 };

static double part_of(const float *b, const vm_image *im) { return fmax((double)(b[2] - b[0]), 0) * fmax((double)(b[3] - b[1]), 0) / ((double)im->w * im->h); }

/* Drops what is too large; the best ones stay. */
static const char *choose(const inpaint_job *j, inpaint_place *p, const vm_image *im) {
    int kept = 0, found = p->n, most = j->parity.boxes ? INPAINT_BOXES : (int)arg_int(j->a, "max-boxes");
    for (int k = 0; k < found; k++) {
        if (part_of(p->boxes + 4 * k, im) >= arg_float(j->a, "max-box-area") || kept == most) continue;
        memmove(p->boxes + 4 * kept, p->boxes + 4 * k, 4 * sizeof *p->boxes);
        p->score[kept++] = p->score[k];
    }
    p->n = kept;
    return kept ? NULL : found ? "box_too_large" : "no_box";
}

/* [[x0, y0, x1, y1], ...] in parts of the picture. */
static bool of_record(const inpaint_edit *x, const vm_image *im, inpaint_place *p, vm_error *e) {
    json_value list = json_get(json_root(x->doc), "bounding_boxes");
    if (!json_has(list)) return false;
    p->source = "record";
    for (int64_t k = 0; k < json_len(list) && p->n < INPAINT_BOXES && !e->status; k++) {
        double b[4];
        if (json_as_nums(json_at(list, k), b, 4, e) < 0) break;
        for (int i = 0; i < 4; i++) p->boxes[4 * p->n + i] = (float)(b[i] * (i % 2 ? im->h : im->w));
        p->n++;
    }
    return true;
}

static void of_detector(inpaint_job *j, const inpaint_edit *x, const vm_image *im, inpaint_place *p, vm_error *e) {
    const bool all = j->parity.boxes;
    detector_options o = { .threshold = arg_float(j->a, "box-threshold"), .text_threshold = arg_float(j->a, "text-threshold"), .nms = all ? 1 : arg_float(j->a, "nms"),
                           .min_area = all ? 0 : arg_float(j->a, "min-box-area"), .max_area = 1, .most = INPAINT_BOXES };
    detector_box *found = NULL;
    int64_t n = 0;
    p->source = "detect";
    if (detector_ask(j->detector, &x->input, 1, e) || detector_run(j->detector, im, &o, &found, &n, e)) return;
    for (int64_t k = 0; k < n; k++) {
        memcpy(p->boxes + 4 * p->n, found[k].box, 4 * sizeof *p->boxes);
        p->score[p->n++] = (double)found[k].score;
    }
    detector_boxes_free(found, n);
}

/* DIR/EDIT_ID.png, else DIR/IMAGE_ID.png. */
static bool of_file(const inpaint_job *j, const inpaint_edit *x, const vm_image *im, inpaint_place *p, vm_error *e) {
    const char *dir = arg_str(j->a, "masks"), *names[] = { x->id, x->image_id };
    for (int k = 0; dir && k < 2 && !p->source && !e->status; k++) {
        char *path = vm_asprintf("%s/%s.png", dir, names[k]);
        vm_image given = { 0 };
        if (!path) vm_nomem(e, 256, "a path");
        else if (file_exists(path) && !image_read(&given, path, NULL, e) && !edit_mask_picture(&p->mask, &given, im->w, im->h, e)) {
            edit_mask_grow(&p->mask, (int)arg_int(j->a, "mask-grow"), e);
            p->source = "mask";
        }
        image_free(&given);
        vm_free(path);
    }
    return p->source != NULL;
}

/* Around all that is white. */
static void bound(inpaint_place *p) {
    const vm_image *m = &p->mask;
    float *b = p->box;
    b[0] = (float)m->w, b[1] = (float)m->h, b[2] = b[3] = 0;
    for (int y = 0; y < m->h; y++)
        for (int x = 0; x < m->w; x++)
            if (m->px[(size_t)y * (size_t)m->w + (size_t)x])
                b[0] = fminf(b[0], (float)x), b[1] = fminf(b[1], (float)y), b[2] = fmaxf(b[2], (float)x + 1), b[3] = fmaxf(b[3], (float)y + 1);
}

const char *inpaint_ground(inpaint_job *j, const inpaint_edit *x, const vm_image *im, inpaint_place *p, vm_error *e) {
    const char *code = NULL;
    *p = (inpaint_place){ 0 };
    if (!of_file(j, x, im, p, e) && !e->status) {
        if (!of_record(x, im, p, e) && j->detector) of_detector(j, x, im, p, e);
        if (e->status) return "ground_error";
        if ((code = choose(j, p, im))) return code;
        edit_mask_boxes(&p->mask, im->w, im->h, p->boxes, p->n, j->parity.boxes ? 0 : LEAST_SIDE, (int)arg_int(j->a, "mask-grow"), e);
    }
    if (e->status) return "ground_error";
    bound(p);
    return p->box[2] > p->box[0] ? NULL : "empty_mask";
}
