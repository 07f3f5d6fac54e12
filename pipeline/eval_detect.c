/* eval_detect.c - `vismin eval detect`: how good boxes for phrases are, those of a file or those that a model finds. */
#include <inttypes.h>
#include <string.h>

#include "io/log.h"
#include "pipeline/eval_command.h"
#include "pipeline/eval_detect.h"
#include "pipeline/run.h"

/* A file of results: its name without the ending. */
static vm_status name_results(eval_detect *x, const vm_args *a, const char *file, vm_error *e) {
    const char *base = path_base(file), *dot = strrchr(base, '.'), *given = arg_str(a, "name");
    char *name = given ? vm_strdup(given) : vm_asprintf("%.*s", (int)(dot ? dot - base : (ptrdiff_t)strlen(base)), base);
    if (!name) return vm_nomem(e, 256, "a name");
    eval_model_describe(&x->m, name, NULL, NULL, e);
    vm_free(name);
    return e->status;
}

static vm_status score(eval_detect *x, const vm_args *a, vm_error *e) {
    const size_t n = (size_t)x->set.n_categories + 1;
    x->each = vm_calloc(n, sizeof *x->each), x->each_count = vm_calloc(n, sizeof *x->each_count);
    if (!x->each || !x->each_count) return vm_nomem(e, n * sizeof *x->each, "scores of phrases");
    if (box_score(&x->set, x->found, x->n, false, &x->phrases, x->each, e) || box_score(&x->set, x->found, x->n, true, &x->pooled, NULL, e)) return e->status;
    for (int k = 0; k < 2; k++)
        if (box_bootstrap(&x->set, x->found, x->n, k, k ? &x->pooled : &x->phrases, arg_int(a, "resamples"), (uint64_t)arg_int(a, "seed"), &x->sure[k], e)) return e->status;
    return box_count(&x->set, x->found, x->n, x->threshold, x->nms, &x->counts, x->each_count, e);
}

/* Boxes of the model; dir: where the journal stands, or NULL. */
static vm_status find(eval_detect *x, const vm_args *a, const char *model, const char *data, vm_type dtype, const char *dir, vm_error *e) {
    const media_places given = eval_places(a);
    media_places places = { 0 };
    detector *d = NULL;
    char *journal = dir ? path_join(dir, "found.jsonl") : NULL;
    eval_detect_source src = { .places = &places, .journal = journal, .fresh = arg_flag(a, "fresh"), .limit = arg_int(a, "limit") };
    src.how = (detector_options){ .threshold = arg_float(a, "min-score"), .text_threshold = 0.25, .nms = 1, .max_area = arg_float(a, "max-area"),
                                  .most = arg_int(a, "max-boxes"), .batch = arg_int(a, "batch") };
    vm_backend *be = run_backend(a, e);
    if (be && !media_open(&places, &given, data, e) && !detector_open(&d, be, dtype, model, e)) {
        if (detector_unused(d)) vm_warn("%s", detector_unused(d));
        eval_detect_run(x, d, &src, e);
    }
    detector_free(d);
    media_close(&places);
    vm_free(journal);
    return e->status;
}

static void say_faults(const eval_detect *x) {
    for (int64_t k = 0; k < VM_MIN(x->faults.n, (int64_t)10); k++) vm_warn("%s", keymap_at(&x->faults, k, NULL));
    if (x->faults.n) vm_warn("%" PRId64 " pictures could not be read; they are left out with their annotations", x->faults.n);
}

static vm_status run(const vm_args *a, vm_error *e) {
    const char *given = arg_pos(a, 0), *data = arg_str(a, "data"), *model = NULL;
    const bool results = file_exists(given) && !file_is_dir(given);
    eval_facts f = { .command = arg_line(a), .data = data };
    const double from = run_seconds();
    eval_detect x = { .threshold = arg_float(a, "threshold"), .nms = arg_float(a, "nms"), .ran = !results };
    vm_type dtype = VM_F32;
    char *dir = NULL;
    if (!data) return vm_fail(e, VM_EUSAGE, "eval detect: --data FILE is needed: annotations in COCO's format");
    if (!results && (!(model = arg_model(a, given, e)) || run_dtype(a, true, &dtype, e))) return e->status;
    if (results && arg_int(a, "limit")) return vm_fail(e, VM_EUSAGE, "eval detect: --limit goes with a model; %s is a file of results", given);
    eval_facts_start(&f);
    if (results ? name_results(&x, a, given, e) : eval_model_describe(&x.m, arg_str(a, "name"), model, vm_type_name(dtype), e)) return e->status;
    if (boxes_open(&x.set, data, e)) return e->status;
    if (!(dir = eval_make_folder(a, "detect", &x.m, e)) && e->status) goto done;
    if (results ? boxes_read_found(&x.set, given, &x.found, &x.n, e) : find(&x, a, model, data, dtype, dir, e)) goto done;
    if (x.faults.n && x.faults.n == x.set.n_images) {
        vm_fail(e, VM_EINPUT, "none of %" PRId64 " pictures could be read: %s", x.faults.n, keymap_at(&x.faults, 0, NULL));
        goto done;
    }
    if (score(&x, a, e)) goto done;
    f.wall_s = run_seconds() - from;
    if (dir && eval_detect_write(&x, a, &f, dir, e)) goto done;
    say_faults(&x);
    if (arg_flag(a, "json")) {
        json_writer w = json_to_stream(stdout, JSON_PRETTY);
        eval_detect_put(&w, &x, a, &f);
        json_end(&w, e);
    } else {
        eval_detect_print(&x, data);
    }
done:;
    const bool faults = x.faults.n > 0;
    vm_free(dir), vm_free(x.found), vm_free(x.each), vm_free(x.each_count);
    keymap_free(&x.faults), boxes_close(&x.set);
    return e->status ? e->status : faults ? VM_EPARTIAL : VM_OK;
}

static const vm_opt opts[] = {
    { "data", OPT_STR, NULL, "FILE", "annotations as COCO has them; neg_category_ids of a picture: phrases to ask besides those it has", 0, 0 },
    EVAL_PLACE_OPTS,
    { "threshold", OPT_FLOAT, "0.35", "P", "recall, precision, absent phrases and counting: boxes with a larger score", 0, 1 },
    { "nms", OPT_FLOAT, "0.5", "IOU", "the same: without boxes that a better one of the phrase overlaps by more", 0, 1 },
    { "min-score", OPT_FLOAT, "0.01", "P", "boxes of a model: those with a larger score", 0, 1 },
    { "max-boxes", OPT_INT, "300", "N", "boxes of a model: the N best of a text; 0 = all", 0, 1 << 20 },
    { "max-area", OPT_FLOAT, "1", "PART", "boxes of a model: none that covers more of the picture", 0, 1 },
    { "batch", OPT_INT, "4", "N", "pictures of one size and with the same phrases at a time", 1, 1024 },
    { "limit", OPT_INT, "0", "N", "only the first N pictures; 0 = all", 0, 1e9 },
    { "resamples", OPT_INT, "2000", "N", "of pictures, for 95 % intervals of average precision; 0 = no intervals", 0, 1e6 },
    { "name", OPT_STR, NULL, "NAME", "the model's name in tables and folders (default: its folder's, or the file's)", 0, 0 },
    { "out", OPT_STR, NULL, "DIR", "write results.json, table.md, table.csv, phrases.csv, detections.json to DIR/detect/MODEL/", 0, 0 },
    { "fresh", OPT_FLAG, NULL, NULL, "begin anew instead of going on with what DIR has", 0, 0 },
    { 0 },
};

const vm_command cmd_eval_detect = {
    .name = "eval detect",
    .summary = "boxes for phrases: COCO's average precision, recall, absent phrases, counting",
    .usage = "MODEL|RESULTS.json --data FILE [--out DIR]",
    .about = "Every category's name is a phrase. Average precision and recall are COCO's, as pycocotools computes them; a second row takes the\n"
             "phrases of all pictures as one list, in which their scores must be comparable. Intervals are those of resampled pictures (bootstrap). The numbers below them are of boxes above\n"
             "--threshold, as they are used. Pictures that cannot be read are left out, counted and listed (exit code 1).\n\n"
             "  vismin eval detect grounding-dino-tiny/ --data instances_val2017.json --images coco/val2017 --out results\n"
             "  vismin eval detect found.json --data instances_val2017.json\n\n"
             "With --out an interrupted run goes on where it was.",
    .opts = opts,
    .min_pos = 1,
    .max_pos = 1,
    .run = run,
};
