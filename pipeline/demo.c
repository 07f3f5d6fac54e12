/* demo.c - `vismin demo`: the main job from end to end on the miniature world, in minutes.
 *
 * Turns captions into checked edit instructions with questions (demo_texts.h) and those into pictures (demo_paint.h). Renders a benchmark of minimal changes, scores the committed plain CLIP on it, fine-tunes that CLIP with hard negatives,
 * scores it again, and writes a page. Two more columns keep the claim honest: the control, which had the same budget of
 * ordinary captions, and the result of a long fine-tuning. The number of steps is fixed, so the same seed gives the same result. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "pipeline/demo_paint.h"
#include "pipeline/demo_texts.h"
#include "pipeline/detect_sheet.h"
#include "pipeline/eval_files.h"
#include "pipeline/report_eval.h"
#include "pipeline/run.h"
#include "pipeline/scene_set.h"
#include "pipeline/train_clip.h"

enum { PLAIN, CONTROL, LIVE, LONG, COLUMNS };
static const char *const column_name[COLUMNS] = { "plain", "plain + same budget of plain captions", "after the live fine-tuning", "after the long fine-tuning" };

typedef struct {
    const vm_args *a;
    const char *out, *weights;
    char *data;                   /* the benchmark */
    int64_t pairs, steps, rows;
    vm_backend *be;
    vm_type dtype;
    eval_result *r[COLUMNS];
    demo_texts *texts;
    demo_paint *paint;
} demo;

/* What the live run does, and what weights/clip.sh gives the control: keep them together. */
static const double live_mix[4] = { 1, 0.8, 0.3, 1.7 }; /* object, attribute, relation, counting */
static const double live_plain_share = 0.2, live_lr = 6e-4;
static const int64_t live_warmup = 20;

enum { BOXES_SHOWN = 18 }; /* scenes on the page */
static const double boxes_threshold = 0.4;

static vm_status score(demo *d, int column, towers *m, tok *t, const vm_preprocess *pp, vm_error *e) {
    embedder *x = NULL;
    eval_model *em = NULL;
    double t0 = run_seconds();
    if (!embedder_wrap(&x, m, t, pp, d->dtype, e) && !eval_model_wrap(&em, x, column_name[column], vm_type_name(d->dtype), e) &&
        !eval_data(&d->r[column], em, "vismin", d->data, (double)d->pairs, &(eval_options){ .exif_rotate = true }, e))
        vm_info("scored %s in %.1f s", column_name[column], run_seconds() - t0);
    eval_model_free(em);
    embedder_free(x);
    return e->status;
}

typedef struct {
    towers *m;
    tok *t;
    vm_preprocess pp;
} loaded;

static vm_status load(loaded *l, const demo *d, const char *name, bool writable, vm_error *e) {
    char *dir = path_join(d->weights, name);
    *l = (loaded){ 0 };
    if (!dir) return vm_nomem(e, 256, "a path");
    if (!towers_open(&l->m, d->be, dir, &(towers_options){ .how = writable ? TOWERS_TRAIN : TOWERS_READ }, e) && !tok_open(&l->t, dir, e)) preprocess_load(&l->pp, dir, e);
    vm_free(dir);
    return e->status;
}
static void unload(loaded *l) {
    towers_free(l->m);
    tok_free(l->t);
}

/* Scores the plain model, trains it on pairs, scores it again. */
static vm_status live(demo *d, vm_error *e) {
    loaded l;
    clip_source *source = NULL;
    char *run_dir = path_join(d->out, "run");
    if (load(&l, d, "clip-plain", true, e) || score(d, PLAIN, l.m, l.t, &l.pp, e)) goto done;
    if (clip_source_world(&source, "pairs", d->rows, live_plain_share, live_mix, false, e)) goto done;
    train_clip_options o = { .workers = clip_feed_workers(vm_num_threads()), .seed = (uint64_t)arg_int(d->a, "seed") };
    o.run = (train_options){ .out = run_dir, .command = arg_line(d->a), .resume = false, .steps = d->steps, .log_every = 20, .keep_last = 1,
                             .schedule = { LR_COSINE, .lr = live_lr, .warm = live_warmup } };
    o.train = (clip_train_config){ .loss.twin_weight = 1, .dtype = d->dtype, .clip_norm = 1, .max_logit_scale = 4.6051702f, .adam = { 0.9f, 0.98f, 1e-6f, 0.05f } };
    if (!run_dir || dir_remove(run_dir, e) || dir_make(run_dir, e)) goto done;
    if (!train_clip_run(l.m, source, l.t, &l.pp, NULL, &o, e)) score(d, LIVE, l.m, l.t, &l.pp, e);
done:
    if (source) source->free(source);
    unload(&l);
    vm_free(run_dir);
    return e->status;
}

/* The control's scores of the same pairs, from its predictions.csv, which has more pairs than may be shown. */
static vm_status read_control(demo *d, vm_error *e) {
    char *path = path_join(d->weights, "clip-control/predictions.csv");
    const eval_set *set = d->r[PLAIN]->set;
    eval_result *r = d->r[CONTROL] = eval_result_new(set, d->r[PLAIN]->rule, column_name[CONTROL], e);
    int64_t found;
    if (!path) vm_nomem(e, 256, "a path");
    if (!e->status && !eval_read_scores(r, path, &found, NULL, e) && found < set->n)
        vm_fail(e, VM_EINPUT, "%s: scores of %lld of %lld pairs; run `make weights/clip`", path, (long long)found, (long long)set->n);
    if (!e->status) eval_result_tally(r, e);
    vm_free(path);
    return e->status;
}

static vm_status committed(demo *d, vm_error *e) {
    loaded l;
    if (!load(&l, d, "clip-hn", false, e)) score(d, LONG, l.m, l.t, &l.pp, e);
    unload(&l);
    return e->status ? e->status : read_control(d, e);
}

/* The small detector on held-out scenes: DATA/boxes.png. */
static vm_status draw_boxes(demo *d, const char *path, vm_error *e) {
    char *dir = path_join(d->weights, "grounding_dino");
    detector *net = NULL;
    vm_image sheet = { 0 };
    const double t0 = run_seconds();
    if (!dir) return vm_nomem(e, 256, "a path");
    if (!detector_open(&net, d->be, VM_F32, dir, e) && !detect_sheet(&sheet, net, SCENE_TEST, BOXES_SHOWN, 6, boxes_threshold, e) &&
        !image_write_png(path, &sheet, NULL, 0, e))
        vm_info("looked for phrases in %d scenes in %.1f s", BOXES_SHOWN, run_seconds() - t0);
    image_free(&sheet);
    detector_free(net);
    vm_free(dir);
    return e->status;
}

static void put_boxes(page *p, const char *path) {
    page_section(p, "boxes", "Boxes");
    page_text(p, "The small detector of weights/tiny (Grounding DINO, 1.2 M parameters) in held-out scenes: what it finds for each phrase with a score above %g. "
                 "Phrases in red are not in the scene.", boxes_threshold);
    page_sheet(p, path, "scenes with the boxes that were found, and the phrases below");
}

static vm_status page_of(demo *d, vm_error *e) {
    report_eval v = { .model = (const eval_result *const *)d->r, .n = COLUMNS, .control = CONTROL, .shown = 8, .seed = 1 };
    char *log = path_join(d->out, "run/log.jsonl"), *sheet = path_join(d->data, "sheet.png"), *boxes = path_join(d->data, "boxes.png");
    if (!log || !sheet || !boxes || draw_boxes(d, boxes, e)) {
        vm_free(log), vm_free(sheet), vm_free(boxes);
        return e->status ? e->status : vm_nomem(e, 256, "a path");
    }
    double *x = NULL, *y[2] = { NULL };
    int64_t n = 0;
    page *p = page_begin(d->out, "Learning minimal changes", "CLIP in a miniature world: pictures and captions that differ in one thing.", e);
    page_section(p, "what", "What was done");
    page_text(p, "%lld pairs of held-out scenes in each of four categories were rendered. The plain model has learnt from ordinary captions only. The live "
                 "fine-tuning saw %lld batches of %lld pictures: originals and their minimal changes in one batch, so that each is the other's hard negative, "
                 "and a two-way term within each pair. The control had as many steps of the same size on ordinary captions. The long fine-tuning is the live "
                 "one with more steps.", (long long)d->pairs, (long long)d->steps, (long long)d->rows);
    page_sheet(p, sheet, "pairs of the benchmark side by side, with their captions");
    demo_texts_page(p, d->texts);
    demo_paint_page(p, d->paint);
    page_section(p, "scores", "Scores");
    report_scores(p, &v, e);
    page_section(p, "differences", "Against the control");
    page_text(p, "What hard negatives add, beyond more training: the difference from the control on the same pairs.");
    report_differences(p, &v, e);
    page_section(p, "training", "The live fine-tuning");
    if (!e->status && !report_read_curve(log, "step", "loss", &x, &y[0], &n, e))
        page_curves(p, &(plot_curves){ .title = "Loss", .x_label = "step", .series = &(plot_series){ "loss", x, y[0], n }, .n = 1 });
    vm_free(x), x = NULL;
    if (!e->status && !report_read_curve(log, "step", "twin", &x, &y[1], &n, e))
        page_curves(p, &(plot_curves){ .title = "Two-way term within pairs (ln 2 = guessing)", .x_label = "step", .series = &(plot_series){ "twin", x, y[1], n }, .n = 1,
                                       .level_name = "ln 2", .level = 0.693147 });
    vm_free(x), vm_free(y[0]), vm_free(y[1]);
    page_section(p, "pairs", "Pairs");
    report_gallery(p, &v, e);
    put_boxes(p, boxes);
    page_section(p, "meaning", "What the numbers mean");
    report_meaning(p, EVAL_PAIR);
    vm_free(log), vm_free(sheet), vm_free(boxes);
    if (!e->status) return page_end(p, e);
    page_abort(p);
    return e->status;
}

/* The table of the page, for the terminal. */
static void print_table(const demo *d) {
    const eval_result *first = d->r[PLAIN];
    printf("\ntext / image / group score in %%, %lld pairs a category\n%-40s", (long long)d->pairs, "");
    for (int k = 0; k < first->n_splits; k++) printf(" %18s", eval_split_name(first->set, k));
    printf(" %14s\n", "mean group");
    for (int c = 0; c < COLUMNS; c++) {
        const eval_result *r = d->r[c];
        double mean = 0;
        printf("%-40s", column_name[c]);
        for (int k = 0; k < r->n_splits; k++) {
            double v[PAIR_METRICS];
            for (int m = 0; m < PAIR_METRICS; m++) v[m] = 100 * eval_share(r, &r->tally[k], m).value;
            printf("  %5.1f/%5.1f/%5.1f", v[0], v[1], v[2]);
            mean += v[2] / r->n_splits;
        }
        printf(" %14.1f\n", mean);
    }
}

static vm_status print_claim(const demo *d, vm_error *e) {
    estimate mean, without;
    for (int c = LIVE; c <= LONG; c++) {
        if (eval_difference(d->r[c], d->r[CONTROL], PAIR_GROUP, NULL, 1, NULL, &mean, e) ||
            eval_difference(d->r[c], d->r[CONTROL], PAIR_GROUP, "relation", 1, NULL, &without, e))
            return e->status;
        printf("%s against the control, mean group: %+.1f [%+.1f, %+.1f]; without relation %+.1f [%+.1f, %+.1f]\n", column_name[c], 100 * mean.value, 100 * mean.low,
               100 * mean.high, 100 * without.value, 100 * without.low, 100 * without.high);
    }
    return VM_OK;
}

static vm_status texts(demo *d, vm_error *e) {
    char *dir = path_join(d->out, "texts"), *pictures = path_join(d->out, "pictures");
    if (!dir || !pictures) vm_nomem(e, 256, "a path");
    else if (!demo_texts_run(&d->texts, dir, d->weights, arg_int(d->a, "captions"), arg_int(d->a, "seed"), e))
        demo_paint_run(&d->paint, pictures, dir, d->weights, arg_int(d->a, "edits"), arg_int(d->a, "seed"), e);
    vm_free(dir), vm_free(pictures);
    return e->status;
}

static vm_status run(const vm_args *a, vm_error *e) {
    demo d = { .a = a, .out = arg_str(a, "out"), .weights = arg_str(a, "weights"), .pairs = arg_int(a, "pairs"), .steps = arg_int(a, "steps"), .rows = arg_int(a, "batch") };
    double t0 = run_seconds();
    if (!(d.be = run_backend(a, e)) || run_dtype(a, true, &d.dtype, e)) return e->status;
    if (!(d.data = path_join(d.out, "data"))) return vm_nomem(e, 256, "a path");
    if (dir_make(d.out, e) || scene_write_pairs(d.data, SCENE_TEST, d.pairs, true, e)) goto done;
    vm_info("rendered %lld pairs into %s", (long long)d.pairs * SCENE_CATEGORIES, d.data);
    if (texts(&d, e) || live(&d, e) || committed(&d, e) || page_of(&d, e)) goto done;
    demo_texts_print(d.texts);
    demo_paint_print(d.paint);
    print_table(&d);
    if (!print_claim(&d, e)) printf("%s/index.html written in %.0f s; open it in a browser\n", d.out, run_seconds() - t0);
done:
    for (int c = 0; c < COLUMNS; c++) eval_result_free(d.r[c]);
    demo_texts_free(d.texts);
    demo_paint_free(d.paint);
    vm_free(d.data);
    return e->status;
}

static const vm_opt opts[] = {
    { "out", OPT_STR, "report", "DIR", "folder of the page", 0, 0 },
    { "weights", OPT_STR, "weights/tiny", "DIR", "folder of the small models", 0, 0 },
    { "captions", OPT_INT, "48", "N", "captions for the language model", 1, 100000 },
    { "edits", OPT_INT, "36", "N", "edits that are painted, and a third as many removals", 3, 100000 },
    { "pairs", OPT_INT, "100", "N", "pairs of each category; the control is known for 250", 1, 250 },
    { "steps", OPT_INT, "320", "N", "steps of the live fine-tuning", 1, 100000 },
    { "batch", OPT_INT, "160", "N", "pictures of a step", 8, 4096 },
    { 0 },
};

const vm_command cmd_demo = {
    .name = "demo", .summary = "the main job on the embedded miniature world, with a report page", .usage = "[--out DIR] [options]",
    .about = "Turns captions into edit instructions, checks them and asks questions about them, with the language model of weights/tiny; paints\n"
             "the edits into their pictures with its diffusion model; renders minimal-change pairs, scores the plain CLIP of weights/tiny,\n"
             "fine-tunes it with hard negatives (about two minutes on two cores), scores it again and writes report/index.html. Same seed, same\n"
             "result.",
    .opts = opts, .max_pos = 0, .run = run,
};
