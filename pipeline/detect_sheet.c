/* detect_sheet.c - see detect_sheet.h. */
#include "pipeline/detect_sheet.h"

#include <string.h>

#include "pipeline/box_draw.h"
#include "pipeline/letters.h"

enum { ZOOM = 3, SHOWN = SCENE_SIDE * ZOOM, GAP = 14, LINE = LETTER_H + 2, HIGH = SHOWN + SCENE_QUESTIONS * LINE + 2 * GAP };

static const uint8_t ink[] = { 45, 48, 56 }, red[] = { 200, 60, 20 };

/* A scene with frames, enlarged. */
static vm_status draw(vm_image *big, const vm_image *small, const scene_question *q, const detector_found *f, vm_error *e) {
    if (image_new(big, SHOWN, SHOWN, 3, e)) return e->status;
    for (int y = 0; y < SHOWN; y++)
        for (int x = 0; x < SHOWN; x++) memcpy(big->px + 3 * (y * SHOWN + x), small->px + 3 * (y / ZOOM * SCENE_SIDE + x / ZOOM), 3);
    for (int64_t k = f->n; k-- > 0;) {
        float box[4];
        char text[32];
        for (int i = 0; i < 4; i++) box[i] = f->box[k].box[i] * ZOOM;
        snprintf(text, sizeof text, "%s %.2f", scene_class_name[q[f->box[k].phrase].class], (double)f->box[k].score);
        box_frame(big, box, f->box[k].phrase, text);
    }
    return VM_OK;
}

static void place(vm_image *sheet, const vm_image *big, int x, int y) {
    for (int k = 0; k < SHOWN; k++) memcpy(sheet->px + 3 * ((size_t)(y + k) * (size_t)sheet->w + (size_t)x), big->px + 3 * k * SHOWN, 3 * SHOWN);
}

static vm_status one(vm_image *sheet, detector *d, uint64_t seed, double threshold, int x, int y, vm_error *e) {
    const detector_options how = { .threshold = threshold, .text_threshold = 0.25, .nms = 0.5, .max_area = 1 };
    const char *text[SCENE_QUESTIONS];
    scene s;
    scene_question q[SCENE_QUESTIONS];
    uint8_t rgb[SCENE_BYTES];
    const vm_image small = { .px = rgb, .w = SCENE_SIDE, .h = SCENE_SIDE, .c = 3 }, *all = &small;
    vm_image big = { 0 };
    detector_found f;
    scene_sample(seed, NULL, &s);
    scene_render(&s, rgb);
    const int n = scene_ask(&s, seed, q);
    for (int k = 0; k < n; k++) text[k] = q[k].text;
    if (detector_ask(d, text, n, e)) return e->status;
    if (detector_count(d) != n) return vm_fail(e, VM_EMODEL, "%d phrases are %d to the detector's tokenizer", n, (int)detector_count(d));
    if (detector_run_many(d, 1, &all, &how, &f, e)) return e->status;
    if (!draw(&big, &small, q, &f, e)) place(sheet, &big, x, y);
    for (int k = 0; k < n && !e->status; k++) letters_draw(sheet, x, y + SHOWN + 4 + k * LINE, 1, q[k].text, q[k].objects ? ink : red);
    image_free(&big);
    detector_found_free(&f);
    return e->status;
}

vm_status detect_sheet(vm_image *out, detector *d, scene_split split, int n, int columns, double threshold, vm_error *e) {
    if (image_new(out, columns * (SHOWN + GAP) + GAP, (n + columns - 1) / columns * HIGH + GAP, 3, e)) return e->status;
    memset(out->px, 250, (size_t)out->w * (size_t)out->h * 3);
    for (int k = 0; k < n && !e->status; k++)
        one(out, d, scene_seed(split, (uint64_t)k), threshold, GAP + k % columns * (SHOWN + GAP), GAP + k / columns * HIGH, e);
    if (e->status) image_free(out);
    return e->status;
}
