/* preprocess.c - `vismin preprocess DIR IMAGE... --out FILE`: pictures as the vision tower of a model reads them. */
#include "models/preprocess.h"

#include <stdio.h>
#include <string.h>

#include "io/safetensors.h"
#include "pipeline/command.h"

static const char about[] =
    "Decodes each picture, resizes and crops it by the settings of the model directory, and writes for each file\n"
    "  NAME/pixel_values  f32 [3, height, width], rescaled and normalised\n"
    "  NAME/u8            u8 [height, width, 3], after resizing and cropping\n"
    "where NAME is the file's name without folders. A picture that becomes several pieces (quarters, tiles) gives\n"
    "NAME/pixel_values.0, NAME/u8.0 and so on.\n"
    "  vismin preprocess models/clip cat.png dog.jpg --out pixels.safetensors";

static const vm_opt opts[] = {
    {"out", OPT_STR, NULL, "FILE", "safetensors file to write (needed)", 0, 0},
    {"alpha", OPT_STR, "drop", "drop|white", "transparency is ignored, or laid over white", 0, 0},
    {"tolerant-images", OPT_FLAG, NULL, NULL, "keep the decoded part of truncated pictures", 0, 0},
    {NULL, OPT_FLAG, NULL, NULL, NULL, 0, 0}};

typedef struct {
    vm_image pieces[PREPROCESS_MAX_PIECES];
    int n;
    const char *name;
} fitted;

static char *tensor_name(const fitted *f, const char *what, int i) {
    return f->n > 1 ? vm_asprintf("%s/%s.%d", f->name, what, i) : vm_asprintf("%s/%s", f->name, what);
}

static vm_status read_picture(fitted *f, const vm_preprocess *p, const char *path, bool tolerant, vm_error *e) {
    vm_image rgb;
    vm_status st = image_read(&rgb, path, &(image_options){.alpha = p->alpha, .tolerant = tolerant}, e);
    f->name = path_base(path);
    if (!st) st = preprocess_fit_pieces(f->pieces, &f->n, p, &rgb, e);
    image_free(&rgb);
    return st;
}

static vm_status declare(st_writer *w, const fitted *f, vm_error *e) {
    vm_status st = VM_OK;
    for (int i = 0; !st && i < f->n; i++) {
        const vm_image *im = &f->pieces[i];
        char *px = tensor_name(f, "pixel_values", i), *u8 = tensor_name(f, "u8", i);
        if (!px || !u8) st = vm_nomem(e, 64, "a name");
        if (!st) st = st_writer_add(w, px, ST_F32, 3, (int64_t[]){3, im->h, im->w}, e);
        if (!st) st = st_writer_add(w, u8, ST_U8, 3, (int64_t[]){im->h, im->w, 3}, e);
        vm_free(px);
        vm_free(u8);
    }
    return st;
}

static vm_status put(st_writer *w, const fitted *f, const vm_preprocess *p, vm_error *e) {
    vm_status st = VM_OK;
    for (int i = 0; !st && i < f->n; i++) {
        const vm_image *im = &f->pieces[i];
        const size_t bytes = (size_t)im->w * (size_t)im->h * 3 * sizeof(float);
        float *values = vm_alloc(bytes);
        char *px = tensor_name(f, "pixel_values", i), *u8 = tensor_name(f, "u8", i);
        if (!px || !u8 || !values) st = vm_nomem(e, bytes, "pixel values");
        if (!st) preprocess_chw(values, p, im);
        if (!st) st = st_writer_put(w, px, values, e);
        if (!st) st = st_writer_put(w, u8, im->px, e);
        vm_free(px);
        vm_free(u8);
        vm_free(values);
    }
    return st;
}

static vm_status run(const vm_args *a, vm_error *e) {
    const int n = arg_npos(a) - 1;
    const char *out = arg_str(a, "out"), *alpha = arg_str(a, "alpha");
    if (!out) return vm_fail(e, VM_EUSAGE, "preprocess: --out FILE is missing; name the safetensors file to write");
    if (strcmp(alpha, "drop") && strcmp(alpha, "white"))
        return vm_fail(e, VM_EUSAGE, "preprocess: --alpha: found \"%s\", expected drop or white", alpha);
    vm_preprocess *p = vm_alloc(sizeof *p);
    fitted *all = vm_calloc((size_t)n, sizeof *all);
    st_writer *w = NULL;
    const char *dir = arg_model(a, arg_pos(a, 0), e);
    vm_status st = !dir ? e->status : p && all ? preprocess_load(p, dir, e) : vm_nomem(e, sizeof *p, "pictures");
    if (!st) p->alpha = strcmp(alpha, "white") ? ALPHA_DROP : ALPHA_WHITE;
    for (int i = 0; !st && i < n; i++) st = read_picture(&all[i], p, arg_pos(a, i + 1), arg_flag(a, "tolerant-images"), e);
    if (!st) st = st_writer_open(&w, out, 0, e);
    for (int i = 0; !st && i < n; i++) st = declare(w, &all[i], e);
    for (int i = 0; !st && i < n; i++) st = put(w, &all[i], p, e);
    if (!st) st = st_writer_commit(w, e);
    else st_writer_abort(w);
    for (int i = 0; all && i < n; i++)
        while (all[i].n) image_free(&all[i].pieces[--all[i].n]);
    vm_free(all);
    vm_free(p);
    return st;
}

const vm_command cmd_preprocess = {"preprocess", "pixel values of pictures, as a model's image processor makes them",
                                   "MODEL_DIR IMAGE... --out FILE", about, opts, 2, -1, run};
