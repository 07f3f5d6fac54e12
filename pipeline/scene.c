/* scene.c - `vismin scene`: pictures, captions, boxes and minimal pairs of the miniature world as files.
 *
 *   --pairs N    original_images/ and edited_images/ CATEGORY_NNNN.png; CATEGORY.csv of the benchmark layout;
 *                pairs.json of the training layout (image, caption, negatives)
 *   --scenes N   images/NNNNNN.png; with --boxes boxes.json, phrases to look for as COCO annotations
 *   always       scenes.jsonl: one line per picture with caption, phrases, objects, boxes
 *   --sheet      sheet.png, the first pictures with their captions;  --chart: chart.png, all classes in all colours
 * Number i of a split is the same for ever: the seeds of the splits never meet (models/scene.h). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/csv.h"
#include "io/json.h"
#include "io/log.h"
#include "io/progress.h"
#include "pipeline/command.h"
#include "pipeline/run.h"
#include "pipeline/scene_boxes.h"
#include "pipeline/scene_edits.h"
#include "pipeline/scene_set.h"
#include "pipeline/scene_sheet.h"
#include "pipeline/scene_texts.h"

enum { SHEET_SCENES = 48, SHEET_PAIRS = 8 }; /* pairs: of each category */

typedef struct {
    const char *dir;
    scene_split split;
    uint64_t first; /* number of the first seed in the split */
    scene_opts opts;
    int64_t n;
    vm_out *lines; /* scenes.jsonl */
    int64_t pictures;
    scene_sheet sheet;
    bool with_sheet, with_boxes;
    scene_boxes boxes;
    progress *bar;
} job;

static vm_status write_picture(const job *j, const char *name, const uint8_t *rgb, int w, int h, vm_error *e) {
    uint8_t *png = NULL;
    size_t n;
    vm_image im = { .px = (uint8_t *)rgb, .w = w, .h = h, .c = 3 };
    char *path = path_join(j->dir, name);
    vm_status s = path ? image_encode_png(&png, &n, &im, NULL, 0, e) : vm_nomem(e, strlen(name), "a path");
    if (!s) s = file_write(path, png, n, e);
    vm_free(png);
    vm_free(path);
    return s;
}

static void put_word(json_writer *w, const char *key, const char *const *names, int i, int none) {
    if (i != none) json_put_str(w, key, names[i]);
}

static void put_object(json_writer *w, const scene_object *o) {
    scene_box b = scene_object_box(o);
    json_begin_object(w, NULL);
    json_put_str(w, "class", scene_class_name[o->class]);
    json_put_str(w, "colour", scene_colour_name[o->colour]);
    json_put_str(w, "texture", scene_texture_name[o->texture]);
    json_put_str(w, "size", scene_size_name[o->size]);
    json_begin_array(w, "box");
    json_put_int(w, NULL, b.x0);
    json_put_int(w, NULL, b.y0);
    json_put_int(w, NULL, b.x1);
    json_put_int(w, NULL, b.y1);
    json_close_array(w);
    json_close_object(w);
}

static void put_phrase(json_writer *w, const scene_text *t, const scene_phrase *p) {
    json_begin_object(w, NULL);
    json_put_text(w, "text", t->text + p->begin, (size_t)(p->end - p->begin));
    json_put_int(w, "begin", p->begin);
    json_put_int(w, "end", p->end);
    json_begin_array(w, "objects");
    for (int k = 0; k < SCENE_OBJECTS; k++)
        if (p->objects >> k & 1) json_put_int(w, NULL, k);
    json_close_array(w);
    json_close_object(w);
}

/* One picture and its line of scenes.jsonl. */
static vm_status write_scene(job *j, const char *id, const char *name, const scene *s, const scene_text *t,
                             vm_error *e) {
    uint8_t rgb[SCENE_BYTES];
    size_t bytes;
    json_writer w = json_to_memory(JSON_COMPACT);
    scene_render(s, rgb);
    vm_status st = write_picture(j, name, rgb, SCENE_SIDE, SCENE_SIDE, e);
    json_begin_object(&w, NULL);
    json_put_str(&w, "id", id);
    json_put_str(&w, "image_path", name);
    json_put_str(&w, "caption", t->text);
    put_word(&w, "relation", scene_relation_name, t->relation, SCENE_NO_RELATION);
    json_begin_array(&w, "phrases");
    for (int k = 0; k < t->n; k++) put_phrase(&w, t, &t->phrase[k]);
    json_close_array(&w);
    json_begin_array(&w, "objects");
    for (int k = 0; k < s->n; k++) put_object(&w, &s->object[k]);
    json_close_array(&w);
    json_put_str(&w, "background", scene_background_name[s->background]);
    json_put_int(&w, "seed", (int64_t)s->seed);
    json_close_object(&w);
    json_newline(&w);
    char *line = json_take(&w, &bytes, st ? NULL : e);
    if (!st) st = line ? vm_out_write(j->lines, line, bytes, e) : e->status;
    vm_free(line);
    j->pictures++;
    return st;
}

static vm_status write_scenes(job *j, vm_error *e) {
    vm_status st = VM_OK;
    for (int64_t i = 0; i < j->n && !st; i++) {
        char id[32], name[48];
        scene s;
        scene_text t;
        uint64_t number = j->first + (uint64_t)i, seed = scene_seed(j->split, number);
        scene_sample(seed, &j->opts, &s);
        scene_caption(&s, seed, SCENE_ORDINARY, &t);
        snprintf(id, sizeof id, "%06" PRIu64, number);
        snprintf(name, sizeof name, "images/%s.png", id);
        st = write_scene(j, id, name, &s, &t, e);
        if (!st && j->with_boxes) st = scene_boxes_add(&j->boxes, (int64_t)number, name, &s, seed, e);
        if (j->with_sheet && i < SHEET_SCENES) sheet_add_scene(&j->sheet, &s, &t);
        progress_add(j->bar, 1);
        if (run_stopping()) return VM_ESTOP;
    }
    return st;
}

/* ---- pairs ---- */
static void put_change(json_writer *w, const char *key, const scene_pair *p, int k) {
    json_put_text(w, key, p->text[k].text + p->change[k].begin, (size_t)(p->change[k].end - p->change[k].begin));
}

static void put_pair(json_writer *w, const char *id, const char *original, const char *edited, const scene_pair *p) {
    json_begin_object(w, NULL);
    json_put_str(w, "image_id", id);
    json_put_str(w, "image_path", original);
    json_put_str(w, "caption", p->text[0].text);
    json_put_str(w, "source", "synthetic");
    json_begin_array(w, "negatives");
    json_begin_object(w, NULL);
    json_put_str(w, "edit_id", id);
    json_put_str(w, "edited_image_path", edited);
    json_put_str(w, "edited_caption", p->text[1].text);
    json_put_str(w, "category", scene_category_name[p->category]);
    json_put_str(w, "sub_category", scene_aspect_name[p->aspect]);
    put_change(w, "input_phrase", p, 0);
    put_change(w, "edited_phrase", p, 1);
    json_close_object(w);
    json_close_array(w);
    json_close_object(w);
}

static vm_status write_pair(job *j, scene_category category, uint64_t number, vm_out *csv, json_writer *w,
                            scene_pair *p, vm_error *e) {
    static const char *const folder[2] = { "original_images", "edited_images" };
    char id[48], name[2][80], line_id[64];
    vm_status st = VM_OK;
    scene_sample_pair(scene_seed(j->split, number), category, &j->opts, p);
    snprintf(id, sizeof id, "%s_%04" PRIu64, scene_category_name[category], number);
    for (int k = 0; k < 2 && !st; k++) {
        snprintf(name[k], sizeof name[k], "%s/%s.png", folder[k], id);
        snprintf(line_id, sizeof line_id, "%s/%d", id, k);
        st = write_scene(j, line_id, name[k], &p->scene[k], &p->text[k], e);
    }
    if (st) return st;
    const char *file = path_base(name[0]);
    put_pair(w, id, name[0], name[1], p);
    return csv_write_row(csv, ',', (const char *const[]){ file, p->text[0].text, file, p->text[1].text, id }, 5, e);
}

static vm_status write_category(job *j, scene_category category, json_writer *w, vm_error *e) {
    static const char *const header[] = { "image_path", "caption", "edited_image_path", "edited_caption", "edit_id" };
    vm_out *csv = NULL;
    char file[32];
    snprintf(file, sizeof file, "%s.csv", scene_category_name[category]);
    char *path = path_join(j->dir, file);
    vm_status st = path ? vm_out_open(&csv, path, e) : vm_nomem(e, sizeof file, "a path");
    if (!st) st = csv_write_row(csv, ',', header, VM_LEN(header), e);
    for (int64_t i = 0; i < j->n && !st; i++) {
        scene_pair p;
        st = write_pair(j, category, j->first + (uint64_t)i, csv, w, &p, e);
        if (!st && j->with_sheet && i < SHEET_PAIRS) sheet_add_pair(&j->sheet, &p);
        progress_add(j->bar, 1);
        if (!st && run_stopping()) st = VM_ESTOP;
    }
    if (st) vm_out_abort(csv);
    else st = vm_out_commit(csv, e);
    vm_free(path);
    return st;
}

static vm_status write_pairs(job *j, vm_error *e) {
    vm_out *out = NULL;
    char *path = path_join(j->dir, "pairs.json");
    vm_status st = path ? vm_out_open(&out, path, e) : vm_nomem(e, 16, "a path"), end;
    vm_free(path);
    if (st) return st;
    json_writer w = json_to_out(out, JSON_PRETTY);
    json_begin_array(&w, NULL);
    for (int c = 0; c < SCENE_CATEGORIES && !st; c++) st = write_category(j, (scene_category)c, &w, e);
    json_close_array(&w);
    end = json_end(&w, st ? NULL : e);
    if (st || (st = end)) vm_out_abort(out);
    else st = vm_out_commit(out, e);
    return st;
}

/* ---- the command ---- */
static vm_status write_chart(const job *j, vm_error *e) {
    static const int textures[SCENE_BACKGROUNDS] = { 0, 1, 2, 0 };
    const size_t part = (size_t)SCENE_CHART_W * SCENE_CHART_H * 3;
    uint8_t *rgb = vm_alloc(part * SCENE_BACKGROUNDS);
    if (!rgb) return vm_nomem(e, part * SCENE_BACKGROUNDS, "the chart");
    for (int b = 0; b < SCENE_BACKGROUNDS; b++) scene_chart(b, textures[b], rgb + (size_t)b * part);
    vm_status st = write_picture(j, "chart.png", rgb, SCENE_CHART_W, SCENE_CHART_H * SCENE_BACKGROUNDS, e);
    vm_free(rgb);
    return st;
}

static vm_status make_folders(const char *dir, bool pairs, bool scenes, vm_error *e) {
    const char *const names[] = { "original_images", "edited_images", "images" };
    vm_status st = dir_make(dir, e);
    for (int k = 0; k < 3 && !st; k++) {
        if (!(k < 2 ? pairs : scenes)) continue;
        char *path = path_join(dir, names[k]);
        st = path ? dir_make(path, e) : vm_nomem(e, 32, "a path");
        vm_free(path);
    }
    return st;
}

static vm_status read_split(scene_split *out, const char *name, vm_error *e) {
    static const char *const names[] = { "train", "source", "test", "val" };
    for (int k = 0; k < VM_LEN(names); k++)
        if (!strcmp(name, names[k])) return *out = (scene_split)k, VM_OK;
    return vm_fail(e, VM_EUSAGE, "--split %s: expected train, source, test or val", name);
}

static vm_status write_set(job *j, bool pairs, vm_error *e) {
    int64_t shown = VM_MIN(j->n, pairs ? SHEET_PAIRS : SHEET_SCENES);
    char *path = path_join(j->dir, "scenes.jsonl");
    vm_status st = path ? make_folders(j->dir, pairs, !pairs, e) : vm_nomem(e, 16, "a path");
    if (!st) st = vm_out_open(&j->lines, path, e);
    if (!st && j->with_sheet)
        st = sheet_new(&j->sheet, (int)shown * (pairs ? SCENE_CATEGORIES : 1), pairs ? 4 : 8, pairs ? 2 : 1, e);
    j->bar = progress_start("scene", pairs ? j->n * SCENE_CATEGORIES : j->n, pairs ? "pairs" : "scenes");
    if (!st) st = pairs ? write_pairs(j, e) : write_scenes(j, e);
    progress_end(j->bar);
    if (st) vm_out_abort(j->lines);
    else st = vm_out_commit(j->lines, e);
    if (!st && j->with_boxes) st = scene_boxes_save(&j->boxes, j->dir, "boxes.json", e);
    if (!st && j->with_sheet) st = write_picture(j, "sheet.png", j->sheet.im.px, j->sheet.im.w, j->sheet.im.h, e);
    image_free(&j->sheet.im);
    scene_boxes_free(&j->boxes);
    vm_free(path);
    return st;
}

vm_status scene_write_pairs(const char *dir, scene_split split, int64_t n, bool sheet, vm_error *e) {
    job j = { .dir = dir, .split = split, .n = n, .opts = { SCENE_MIX, 0 }, .with_sheet = sheet };
    return write_set(&j, true, e);
}

static vm_status write_texts(const job *j, const vm_args *a, vm_error *e) {
    scene_texts o = { .prompts = arg_str(a, "prompt-dir"), .split = j->split, .first = j->first, .n = j->n, .curriculum = arg_flag(a, "curriculum"),
                      .model = arg_flag(a, "model"), .task = arg_str(a, "task") };
    return dir_make(j->dir, e) ? e->status : scene_write_texts(j->dir, &o, e);
}

static void put_share(json_writer *w, const char *name, scene_share x) {
    json_begin_object(w, name);
    json_put_int(w, "right", x.right), json_put_int(w, "of", x.all);
    json_close_object(w);
}

static vm_status print_score(const vm_args *a, vm_error *e) {
    scene_score s;
    if (scene_score_run(arg_str(a, "score"), &s, e)) return e->status;
    if (!arg_flag(a, "json")) {
        const struct { const char *name; scene_share x; } rows[] = { { "class", s.class }, { "colour", s.colour }, { "removal", s.removed } };
        for (int k = 0; k < VM_LEN(rows); k++)
            printf("%-8s %5.1f %%  (%" PRId64 " of %" PRId64 " objects)\n", rows[k].name, 100 * (double)rows[k].x.right / (double)VM_MAX(rows[k].x.all, (int64_t)1), rows[k].x.right,
                   rows[k].x.all);
        printf("%" PRId64 " of %" PRId64 " pictures changed outside the mask\n", s.touched, s.edits);
        return VM_OK;
    }
    json_writer w = json_to_stream(stdout, JSON_COMPACT);
    json_begin_object(&w, NULL);
    put_share(&w, "class", s.class), put_share(&w, "colour", s.colour), put_share(&w, "removal", s.removed);
    json_put_int(&w, "pictures", s.edits), json_put_int(&w, "changed_outside", s.touched);
    json_close_object(&w);
    json_newline(&w);
    return json_end(&w, e);
}

static vm_status run(const vm_args *a, vm_error *e) {
    job j = { .dir = arg_str(a, "out"), .with_sheet = arg_flag(a, "sheet"), .with_boxes = arg_flag(a, "boxes") };
    bool pairs = arg_given(a, "pairs"), scenes = arg_given(a, "scenes"), chart = arg_flag(a, "chart"), texts = arg_given(a, "texts"), edits = arg_given(a, "edits");
    if (arg_given(a, "score")) return print_score(a, e);
    if (!j.dir) return vm_fail(e, VM_EUSAGE, "--out DIR is missing: say where the pictures go");
    if (pairs + scenes + texts + edits > 1)
        return vm_fail(e, VM_EUSAGE,
                       "--pairs, --scenes, --texts and --edits are sets of their own: give one of them, and the others folders of their own");
    if (!pairs && !scenes && !chart && !texts && !edits)
        return vm_fail(e, VM_EUSAGE, "nothing to do: give --pairs N, --scenes N, --texts N, --edits N, --chart or --score RUN");
    if (j.with_boxes && !scenes) return vm_fail(e, VM_EUSAGE, "--boxes goes with --scenes N");
    if (arg_int(a, "seed") < 0)
        return vm_fail(e, VM_EUSAGE, "--seed %" PRId64 ": expected 0 or more", arg_int(a, "seed"));
    vm_status st = read_split(&j.split, arg_str(a, "split"), e);
    if (st) return st;
    j.first = (uint64_t)arg_int(a, "seed");
    j.n = arg_int(a, pairs ? "pairs" : texts ? "texts" : edits ? "edits" : "scenes");
    if (j.first + (uint64_t)j.n > UINT64_C(1) << 40)
        return vm_fail(e, VM_EUSAGE,
                       "--seed %" PRIu64 ": a split holds 2^40 seeds, the last one asked for lies behind them",
                       j.first);
    j.opts = (scene_opts){ SCENE_MIX, (int)arg_int(a, "max-objects") };
    if (pairs || scenes) st = write_set(&j, pairs, e);
    else if (texts) st = write_texts(&j, a, e);
    else if (edits) st = scene_write_edits(j.dir, j.split, j.first, j.n, e);
    else st = make_folders(j.dir, false, false, e);
    if (!st && chart) st = write_chart(&j, e);
    if (!st && arg_flag(a, "json")) {
        json_writer w = json_to_stream(stdout, JSON_COMPACT);
        json_begin_object(&w, NULL);
        json_put_str(&w, "out", j.dir);
        json_put_int(&w, "pictures", j.pictures);
        json_close_object(&w);
        json_newline(&w);
        st = json_end(&w, e);
    }
    return st;
}

static const vm_opt opts[] = {
    { "out", OPT_STR, NULL, "DIR", "folder of the files; made when missing", 0, 0 },
    { "pairs", OPT_INT, NULL, "N", "minimal pairs of each of the four categories", 1, 1e6 },
    { "scenes", OPT_INT, NULL, "N", "single pictures with ordinary captions", 1, 1e7 },
    { "texts", OPT_INT, NULL, "N", "questions to a language model about captions, with right answers: DIR/texts.jsonl", 1, 1e8 },
    { "edits", OPT_INT, NULL, "N", "for `vismin inpaint`: N edits each of a class, of a colour, and removals, with boxes: DIR/edits.jsonl", 1, 1e6 },
    { "score", OPT_STR, NULL, "RUN", "what the oracle sees in the pictures that `vismin inpaint` made of such edits: shares of right classes, colours, removals", 0, 0 },
    { "task", OPT_STR, NULL, "NAME", "texts: of one stage alone, such as instruct.object; else a mix of all", 0, 0 },
    { "prompt-dir", OPT_STR, "weights/tiny/llm/prompts", "DIR", "texts: templates of the prompts, STAGE.CATEGORY.txt", 0, 0 },
    { "curriculum", OPT_FLAG, NULL, NULL, "texts: one object per caption in the first 5 %, two until 15 %", 0, 0 },
    { "model", OPT_FLAG, NULL, NULL, "texts: also DIR/model, configuration and tokenizer of a small model with the words of the texts", 0, 0 },
    { "split", OPT_STR, "test", "NAME", "train, source, test or val: seeds that never meet", 0, 0 },
    { "max-objects", OPT_INT, "0", "N", "at most so many objects; 0 = up to six (pairs: object and attribute)", 0, 6 },
    { "boxes", OPT_FLAG, NULL, NULL, "with --scenes, also DIR/boxes.json: phrases, present and absent, with their boxes, for `eval detect`", 0, 0 },
    { "sheet", OPT_FLAG, NULL, NULL, "also DIR/sheet.png: the first of them with their captions", 0, 0 },
    { "chart", OPT_FLAG, NULL, NULL, "also DIR/chart.png: all classes in all colours", 0, 0 },
    { 0 },
};

const vm_command cmd_scene = {
    .name = "scene",
    .summary = "pictures, captions and minimal pairs of the miniature world",
    .usage = "--out DIR --pairs N | --scenes N | --texts N | --edits N | --chart [options] | --score RUN",
    .about =
        "Small scenes (64x64; 12 classes, 8 colours, 3 textures, 2 sizes, 4 backgrounds) with exact captions, boxes\n"
        "and minimal changes, drawn from seeds. --seed is the number of the first one; same numbers, same bytes.\n\n"
        "  vismin scene --out bench --pairs 250 --sheet          the benchmark: 1,000 pairs in the VisMin layout\n"
        "  vismin scene --out pool --scenes 48 --split source\n"
        "  vismin scene --out lm --texts 300000 --split train --curriculum --model      for `vismin train lm`\n"
        "  vismin scene --out run --edits 100 --split val        for `vismin inpaint run --edits run/edits.jsonl`; then vismin scene --score run\n\n"
        "Writes CATEGORY.csv with original_images/ and edited_images/, pairs.json for training, scenes.jsonl with\n"
        "phrases and boxes (x0, y0, x1, y1 in pixels, the ends exclusive).",
    .opts = opts,
    .max_pos = 0,
    .run = run,
};
