/* eval.c - `vismin eval`: a model on a benchmark. Results go to OUT/DATASET/MODEL/ and as a table to stdout. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io/log.h"
#include "pipeline/eval_files.h"
#include "pipeline/run.h"

enum { REASONS = 10 }; /* said on stderr; all of them stand in skipped.jsonl */

typedef struct {
    const char *name;
    vm_status (*load)(eval_set *s, const char *data, const media_places *places, vm_error *e);
} dataset;
static const dataset datasets[] = { { "vismin", eval_load_vismin } };

static const dataset *find_dataset(const char *name, vm_error *e) {
    const char *known[VM_LEN(datasets)];
    for (int k = 0; k < VM_LEN(datasets); k++) {
        known[k] = datasets[k].name;
        if (!strcmp(name, known[k])) return &datasets[k];
    }
    const char *near = args_nearest(name, known, VM_LEN(known));
    vm_fail(e, VM_EUSAGE, "eval: unknown --dataset %s%s%s", name,
            near ? ", did you mean " : "; known: ", near ? near : "vismin");
    return NULL;
}

/* Says what was not scored or not a number; how many. */
static int64_t say_faults(const eval_result *r, const char *dir) {
    int64_t n = r->set->n_faults + r->n_faults, records = r->set->n + r->set->n_faults;
    for (int64_t i = 0; i < VM_MIN(n, (int64_t)REASONS); i++)
        vm_warn("%s", i < r->set->n_faults ? r->set->fault[i].why : r->fault[i - r->set->n_faults].why);
    if (n > REASONS) vm_warn("... and %" PRId64 " more", n - REASONS);
    if (n)
        vm_warn("%" PRId64 " of %" PRId64 " records were not scored%s%s%s", n, records, dir ? "; listed in " : "",
                dir ? dir : "", dir ? "/skipped.jsonl" : "");
    int64_t invalid = 0;
    for (int k = 0; k < r->n_splits; k++) invalid += r->tally[k].n_invalid;
    if (invalid) vm_warn("%" PRId64 " pairs have scores that are not numbers; they count as wrong", invalid);
    if (r->set->n_twice)
        vm_warn("%" PRId64 " records stand twice with the same contents; they count once", r->set->n_twice);
    return n + invalid;
}

static void set_started(eval_facts *f) {
    time_t now = time(NULL);
    struct tm t;
    gmtime_r(&now, &t);
    strftime(f->started, sizeof f->started, "%Y-%m-%dT%H:%M:%SZ", &t);
}

static eval_model *open_model(const vm_args *a, vm_error *e) {
    const char *name = arg_pos(a, 0);
    bool built_in = eval_model_is_built_in(name);
    eval_model *m = NULL;
    vm_type dtype = VM_F32;
    vm_backend *be = built_in ? NULL : run_backend(a, e);
    if (!built_in && (!be || run_dtype(a, true, &dtype, e))) return NULL;
    eval_model_open(&m, name, arg_str(a, "name"), be, dtype, arg_flag(a, "deterministic"), (uint64_t)arg_int(a, "seed"),
                    e);
    return m;
}

/* OUT/DATASET/MODEL, made; NULL and no error without --out. */
static char *make_folder(const vm_args *a, const eval_model *m, vm_error *e) {
    const char *out = arg_str(a, "out");
    char *dir = out ? vm_asprintf("%s/%s/%s", out, arg_str(a, "dataset"), m->slug) : NULL;
    if (out && !dir) vm_nomem(e, 256, "a path");
    else if (dir) dir_make(dir, e);
    return dir;
}

static vm_status show(const vm_args *a, const eval_result *r, const eval_model *m, const eval_facts *f, vm_error *e) {
    if (!arg_flag(a, "json")) return eval_print_table(stdout, r, m), VM_OK;
    json_writer w = json_to_stream(stdout, JSON_PRETTY);
    eval_put_json(&w, r, m, f);
    return json_end(&w, e);
}

static vm_status run(const vm_args *a, vm_error *e) {
    const char *data = arg_str(a, "data");
    media_places places = { 0 };
    places.n_roots = arg_list(a, "images", &places.roots), places.n_map = arg_list(a, "map", &places.map);
    eval_options o = { .batch = arg_int(a, "batch"), .fresh = arg_flag(a, "fresh"), .strict = arg_flag(a, "strict"),
                       .allow_truncated = arg_flag(a, "allow-truncated"), .exif_rotate = arg_flag(a, "exif-rotate") };
    eval_facts f = { .command = arg_line(a), .options = &o };
    double from = run_seconds();
    eval_set *set = NULL;
    eval_model *m = NULL;
    eval_result *r = NULL;
    char *dir = NULL, *journal = NULL, *real = NULL;
    int64_t faults = 0;
    if (!data) return vm_fail(e, VM_EUSAGE, "eval: --data FOLDER is needed");
    const dataset *d = find_dataset(arg_str(a, "dataset"), e);
    if (!d) return e->status;
    set_started(&f);
    real = realpath(data, NULL);
    f.data = real ? real : data;
    if (!(set = eval_set_new(d->name, arg_int(a, "limit"), o.strict, e)) || d->load(set, data, &places, e)) goto done;
    if (!(m = open_model(a, e)) || (!(dir = make_folder(a, m, e)) && e->status) || e->status) goto done;
    if (dir && !(journal = path_join(dir, "samples.jsonl"))) {
        vm_nomem(e, 256, "a path");
        goto done;
    }
    o.journal = journal;
    if (eval_run(&r, set, m, &o, e)) goto done;
    f.wall_s = run_seconds() - from;
    if (dir && eval_write_files(r, m, &f, dir, e)) goto done;
    faults = say_faults(r, dir);
    show(a, r, m, &f, e);
done:
    eval_result_free(r);
    eval_model_free(m);
    eval_set_free(set);
    vm_free(dir), vm_free(journal);
    free(real);
    return e->status ? e->status : faults ? VM_EPARTIAL : VM_OK;
}

static const vm_opt opts[] = {
    { "dataset", OPT_STR, "vismin", "NAME", "the benchmark: vismin", 0, 0 },
    { "data", OPT_STR, NULL, "PATH",
      "folder with object.csv, attribute.csv, relation.csv, counting.csv, or one .csv or .json file", 0, 0 },
    { "images", OPT_LIST, NULL, "DIR", "look for pictures here first (repeatable)", 0, 0 },
    { "map", OPT_LIST, NULL, "PREFIX=DIR", "picture names that begin with PREFIX stand in DIR (repeatable)", 0, 0 },
    { "out", OPT_STR, NULL, "DIR", "write results to DIR/DATASET/MODEL/; what is there already is not computed again",
      0, 0 },
    { "name", OPT_STR, NULL, "NAME", "the model's name in tables and folders (default: its folder's)", 0, 0 },
    { "batch", OPT_INT, "64", "N", "pairs worked on together; no score depends on it", 1, 4096 },
    { "limit", OPT_INT, "0", "N", "only the first N records of each category; 0 = all", 0, 1e9 },
    { "fresh", OPT_FLAG, NULL, NULL, "forget the scores that DIR/DATASET/MODEL has", 0, 0 },
    { "strict", OPT_FLAG, NULL, NULL, "end at the first record that cannot be scored", 0, 0 },
    { "allow-truncated", OPT_FLAG, NULL, NULL, "use the part of a truncated picture that is there", 0, 0 },
    { "exif-rotate", OPT_FLAG, NULL, NULL, "turn pictures as their EXIF orientation says", 0, 0 },
    { 0 },
};

const vm_command cmd_eval = {
    .name = "eval",
    .summary = "score a model on a benchmark of minimal changes",
    .usage = "MODEL --data PATH [--dataset vismin] [--out DIR]",
    .about =
        "MODEL is a CLIP directory, or random, oracle or constant, which look at nothing and test data and scoring.\n"
        "A pair has two captions and two pictures. text: each picture prefers its caption; image: each caption prefers "
        "its\n"
        "picture; group: both. Ties are wrong. Records that cannot be scored are counted and listed, and the exit code "
        "is 1.\n\n"
        "  vismin eval models/ViT-B-32 --data vismin-bench/ --out results/\n"
        "  vismin eval models/ViT-B-32 --data train.json --map /coco=/data/coco --images /data --json\n\n"
        "An interrupted run goes on where it was: every score is kept in DIR/DATASET/MODEL/samples.jsonl.",
    .opts = opts,
    .min_pos = 1,
    .max_pos = 1,
    .run = run,
};
