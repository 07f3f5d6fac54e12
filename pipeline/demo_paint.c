/* demo_paint.c - see demo_paint.h. */
#include "pipeline/demo_paint.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "pipeline/demo_call.h"
#include "pipeline/run.h"
#include "pipeline/scene_edits.h"
#include "pipeline/scene_sheet.h"
#include "pipeline/stage_lines.h"

extern const vm_command cmd_inpaint;

enum { SHOWN = 24, COLUMNS = 4, WORDS = 48 };
struct demo_paint {
    char *sheet;              /* a picture of pairs */
    scene_score first, best;  /* of one candidate; of the best of six */
    double seconds;
};

/* --- running ------------------------------------------------------------------------------------------------------- */
static vm_status paint(const char *run, const char *edits, const char *images, const char *weights, bool ranked, int64_t seed, vm_error *e) {
    char s[24], *model = path_join(weights, "inpaint"), *judge = path_join(weights, "clip-hn");
    snprintf(s, sizeof s, "%" PRId64, seed);
    const char *const plain[] = { "--judge", "none", "--calls", "1", "--candidates", "1", NULL };
    const char *const judged[] = { "--judge-model", judge, "--judge-on", "full", "--accept", "1", NULL }; /* all six are made */
    const char *word[WORDS] = { run, "--edits", edits, "--images", images, "--model", model, "--steps", "20", "--guidance", "3", "--size", "64", "--fit", "stretch",
                                    "--mask-grow", "2", "--feather", "2", "--max-boxes", "6", "--seed", s };
    int n = 0, k = 0;
    while (word[n]) n++;
    for (const char *const *more = ranked ? judged : plain; more[k]; k++) word[n++] = more[k];
    if (!model || !judge) vm_nomem(e, 256, "a path");
    else demo_call(&cmd_inpaint, word, e);
    vm_free(model), vm_free(judge);
    return e->status;
}

/* --- the sheet ------------------------------------------------------------------------------------------------------ */
typedef struct {
    const char *run;
    scene_sheet sheet;
    int64_t all, at;
    int shown;
} showing;

static void halves(sheet_half h[2], const char *before, const char *after, const char *input, const char *edited) {
    const char *a = strstr(before, input), *b = strstr(after, edited);
    h[0].text = before, h[1].text = after;
    if (a) h[0].begin = (int)(a - before), h[0].end = h[0].begin + (int)strlen(input);
    if (b) h[1].begin = (int)(b - after), h[1].end = h[1].begin + (int)strlen(edited);
}

static vm_status show(void *ctx, const char *key, json_value rec, vm_error *e) {
    showing *w = ctx;
    const int64_t at = w->at++;
    if (w->shown == SHOWN || at * SHOWN / VM_MAX(w->all, (int64_t)1) < w->shown) return VM_OK;
    uint8_t rgb[SCENE_BYTES];
    sheet_half h[2] = { { .rgb = rgb } };
    scene s;
    vm_image im = { 0 };
    char *path = path_join(w->run, json_str(rec, "image", "", e));
    halves(h, json_str(rec, "caption", "", e), json_str(rec, "edited_caption", "", e), json_str(rec, "input_phrase", "", e), json_str(rec, "edited_phrase", "", e));
    scene_sample((uint64_t)json_int(rec, "scene_seed", 0, 0, INT64_MAX, e), NULL, &s);
    scene_render(&s, rgb);
    if (!path) vm_nomem(e, 256, "a path");
    if (!e->status && !image_read(&im, path, NULL, e)) {
        h[1].rgb = im.px;
        sheet_add_halves(&w->sheet, h);
        w->shown++;
    }
    image_free(&im);
    vm_free(path);
    return e->status;
}

static vm_status draw_sheet(demo_paint *d, const char *run, vm_error *e) {
    showing w = { .run = run, .all = d->best.edits };
    if (!(d->sheet = path_join(run, "painted.png"))) return vm_nomem(e, 256, "a path");
    if (!sheet_new(&w.sheet, (int)VM_MIN(w.all, (int64_t)SHOWN), COLUMNS, 2, e) && !stage_records(run, "inpaint", show, &w, e)) image_write_png(d->sheet, &w.sheet.im, NULL, 0, e);
    image_free(&w.sheet.im);
    return e->status;
}

vm_status demo_paint_run(demo_paint **out, const char *dir, const char *run, const char *weights, int64_t edits, int64_t seed, vm_error *e) {
    demo_paint *d = *out = vm_calloc(1, sizeof *d);
    char *list = path_join(dir, "edits.jsonl"), *first = path_join(dir, "first");
    const double began = run_seconds();
    if (!d || !list || !first) vm_nomem(e, sizeof *d, "the pictures");
    else if (!dir_remove(dir, e) && !scene_edits_of_run(dir, run, edits, edits / 3, e) && !dir_make(first, e) && !paint(first, list, dir, weights, false, seed, e) &&
             !scene_score_run(first, &d->first, e) && !paint(dir, list, dir, weights, true, seed, e) && !scene_score_run(dir, &d->best, e))
        draw_sheet(d, dir, e);
    if (d) d->seconds = run_seconds() - began;
    vm_free(list), vm_free(first);
    return e->status;
}

void demo_paint_free(demo_paint *d) {
    if (!d) return;
    vm_free(d->sheet);
    vm_free(d);
}

/* --- showing ---------------------------------------------------------------------------------------------------------- */
static double part(scene_share x) { return 100 * (double)x.right / (double)VM_MAX(x.all, (int64_t)1); }

void demo_paint_print(const demo_paint *d) {
    printf("%" PRId64 " edits painted: class right %.0f %%, colour %.0f %%, removed %.0f %% (first candidate: %.0f, %.0f, %.0f %%); %" PRId64 " changed outside the mask; in %.1f s\n",
           d->best.edits, part(d->best.class), part(d->best.colour), part(d->best.removed), part(d->first.class), part(d->first.colour), part(d->first.removed), d->best.touched,
           d->seconds);
}

void demo_paint_page(page *p, const demo_paint *d) {
    static const char *const columns[] = { "", "class right", "colour right", "removed", "changed outside the mask" };
    const scene_score *of[] = { &d->first, &d->best };
    const char *cell[2 * VM_LEN(columns)] = { "first candidate", NULL, NULL, NULL, NULL, "best of six" };
    char text[2][4][48];
    page_section(p, "painted", "Instructions become pictures");
    page_text(p,
              "The small inpainting model of weights/tiny/inpaint paints accepted instructions into their scenes and takes objects away, %" PRId64 " edits "
              "in all (inpaint): two calls of three candidates, ranked by the margin of the small CLIP between both captions. The oracle of the miniature world draws "
              "every object in every colour into the place and says which one the picture is nearest to. Beyond the mask and its feather the original pixels "
              "stay.",
              d->best.edits);
    for (int k = 0; k < 2; k++) {
        const scene_share x[] = { of[k]->class, of[k]->colour, of[k]->removed };
        for (int i = 0; i < 3; i++) {
            snprintf(text[k][i], sizeof text[k][i], "%.1f %% of %" PRId64, part(x[i]), x[i].all);
            cell[k * (int)VM_LEN(columns) + i + 1] = text[k][i];
        }
        snprintf(text[k][3], sizeof text[k][3], "%" PRId64 " of %" PRId64, of[k]->touched, of[k]->edits);
        cell[k * (int)VM_LEN(columns) + 4] = text[k][3];
    }
    page_table(p, VM_LEN(columns), columns, 2, cell);
    page_sheet(p, d->sheet, "scenes and the pictures painted from their edit instructions, with both captions");
}
