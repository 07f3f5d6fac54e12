/* train_detect.c - `vismin train detect`: opens data and model, trains (train_detect_task.c), writes the model. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/file.h"
#include "io/log.h"
#include "models/towers.h"
#include "pipeline/eval_command.h"
#include "pipeline/run.h"
#include "pipeline/train_detect.h"

enum { MOST_SCALES = 32 };
typedef struct {
    const vm_args *a;
    gdino *m;
    tok *t;
    vm_preprocess pp;
    detect_source *source;
    int scales[MOST_SCALES];
    media_places val_places;
} job;

/* --- options -------------------------------------------------------------------------------------------------------- */
static vm_status read_scales(job *j, detect_augment *o, vm_error *e) {
    const char *p = arg_str(j->a, "scales");
    o->scales = j->scales;
    for (char *end; p && *p; p = *end ? end + 1 : end) {
        const long side = strtol(p, &end, 10);
        if (end == p || (*end && *end != ',') || side < 16 || side > 16384 || o->n_scales == MOST_SCALES)
            return vm_fail(e, VM_EUSAGE, "--scales %s: expected up to %d sides from 16 to 16384 with commas between them", arg_str(j->a, "scales"), MOST_SCALES);
        j->scales[o->n_scales++] = (int)side;
    }
    return VM_OK;
}

static vm_status read_options(job *j, train_detect_options *o, vm_error *e) {
    const vm_args *a = j->a;
    *o = (train_detect_options){ .val = arg_str(a, "val"), .val_places = &j->val_places, .val_limit = arg_int(a, "val-limit"), .max_bad = arg_float(a, "max-bad") / 100, .dry_run = arg_flag(a, "dry-run") };
    o->augment = (detect_augment){ .flip = arg_float(a, "flip"), .crop = arg_float(a, "crop") };
    o->train = (gdino_train_config){ .deterministic = arg_flag(a, "deterministic"), .optimizer = train_read_adam(a), .seed = (uint64_t)arg_int(a, "seed"),
                                     .denoise = { arg_int(a, "denoise"), arg_float(a, "box-noise"), arg_float(a, "label-noise") } };
    o->train.optimizer.ema = arg_float(a, "ema");
    if (train_read_common(&o->run, a, e) || read_scales(j, &o->augment, e) || run_dtype(a, false, &o->train.dtype, e)) return e->status;
    o->run.keep_best = arg_flag(a, "keep-best");
    j->val_places.n_roots = arg_list(a, "val-images", &j->val_places.roots), j->val_places.n_map = arg_list(a, "map", &j->val_places.map);
    if (!o->run.out) return vm_fail(e, VM_EUSAGE, "train detect: --out DIR is needed");
    if (!o->val && (arg_given(a, "val-every") || arg_given(a, "val-limit") || o->run.keep_best))
        return vm_fail(e, VM_EUSAGE, "train detect: --val FILE says what to validate on");
    return arg_given(a, "init") == arg_given(a, "scratch")
               ? vm_fail(e, VM_EUSAGE, "train detect: one of --init DIR (weights to start from) and --scratch DIR (configuration only) is needed")
               : VM_OK;
}

/* --- model and data ------------------------------------------------------------------------------------------------- */
static bool begins(const char *name, const char *with) { return !strncmp(name, with, strlen(with)); }

/* Backbone, text encoder, the rest. */
enum { VISION, TEXT, REST, GROUPS };
static int group_of(const gdino *m, int64_t i) { return i >= m->own ? REST : begins(m->w.p[i]->name, "swin.") ? VISION : TEXT; }

/* Learning rates of the backbone and of the text encoder; a part with 0 stays as it is. */
static void set_rates(gdino *m, const vm_args *a) {
    const double rate[GROUPS] = { arg_float(a, "lr-vision"), arg_float(a, "lr-text"), 1 };
    for (int64_t i = 0; i < m->own; i++) {
        vm_param *p = m->w.p[i];
        p->lr_scale *= (float)rate[group_of(m, i)], p->trainable = p->trainable && rate[group_of(m, i)] > 0;
    }
}

/* Parameters by their learning rates, steps and epochs. */
static void say_plan(const job *j, const train_detect_options *o) {
    static const char *const names[GROUPS] = { "backbone", "text encoder", "encoder, decoder and heads" };
    const double rate[GROUPS] = { arg_float(j->a, "lr-vision"), arg_float(j->a, "lr-text"), 1 };
    char epochs[64] = "";
    if (j->source->n) snprintf(epochs, sizeof epochs, ", %.2f epochs of %lld", (double)o->run.steps * (double)j->source->batch / (double)j->source->n, (long long)j->source->n);
    vm_info("%lld steps of %lld pictures%s", (long long)o->run.steps, (long long)j->source->batch, epochs);
    for (int k = 0; k < GROUPS; k++) {
        int64_t n = 0, learn = 0;
        for (int64_t i = 0; i < j->m->w.n; i++) {
            const vm_param *p = j->m->w.p[i];
            if (p->state || group_of(j->m, i) != k) continue;
            n += vm_param_count(p), learn += p->trainable ? vm_param_count(p) : 0;
        }
        vm_info("%s: %.2f M parameters, of which %.2f M learn, at %g", names[k], (double)n * 1e-6, (double)learn * 1e-6, rate[k] * o->run.schedule.lr);
    }
}

static void set_drops(gdino *m, const vm_args *a) {
    m->drop.dropout = (float)(arg_given(a, "dropout") ? arg_float(a, "dropout") : m->c.dropout);
    m->drop.fusion = (float)(arg_given(a, "fusion-drop") ? arg_float(a, "fusion-drop") : m->c.fusion_drop);
    m->swin.drop_path = (float)(arg_given(a, "drop-path") ? arg_float(a, "drop-path") : m->swin.c.drop_path);
}

static vm_status open_model(job *j, vm_backend *be, const char *dir, vm_error *e) {
    if (arg_str(j->a, "init") ? gdino_open(&j->m, be, dir, true, e) : gdino_fresh(&j->m, be, dir, (uint64_t)arg_int(j->a, "seed"), e)) return e->status;
    if (j->m->unused) vm_warn("%s", j->m->unused);
    j->m->c.auxiliary = !arg_flag(j->a, "no-auxiliary");
    set_rates(j->m, j->a), set_drops(j->m, j->a);
    return tok_open(&j->t, dir, e) ? e->status : preprocess_load(&j->pp, dir, e);
}

static vm_status read_curriculum(const vm_args *a, int64_t *one, int64_t *two, vm_error *e) {
    const char *text = arg_str(a, "curriculum");
    char *end = NULL, *last = NULL;
    *one = *two = 0;
    if (!text) return VM_OK;
    *one = strtoll(text, &end, 10), *two = *end == ',' ? strtoll(end + 1, &last, 10) : -1;
    if (end == text || *one < 0 || *two < *one || !last || *last) return vm_fail(e, VM_EUSAGE, "--curriculum %s: expected two steps with a comma between them, the second not before the first", text);
    return VM_OK;
}

static vm_status open_data(job *j, vm_error *e) {
    int64_t one, two;
    const media_places places = eval_places(j->a);
    const char *const *files;
    const int n = arg_list(j->a, "data", &files);
    if (read_curriculum(j->a, &one, &two, e)) return e->status;
    if (!n) return vm_fail(e, VM_EUSAGE, "train detect: --data FILE is needed, annotations in COCO's format, or world");
    for (int k = 0; k < n; k++)
        if (!strcmp(files[k], "world") && n > 1) return vm_fail(e, VM_EUSAGE, "--data world stands alone");
    if (!strcmp(files[0], "world") ? detect_source_world(&j->source, one, two, e)
                                   : detect_source_files(&j->source, files, n, &places, arg_int(j->a, "negatives"), e))
        return e->status;
    j->source->seed = (uint64_t)arg_int(j->a, "seed"), j->source->batch = arg_int(j->a, "batch");
    return VM_OK;
}

/* --- the command ---------------------------------------------------------------------------------------------------- */
static vm_status copy_config(const char *from, const char *to, vm_error *e) {
    char *src = path_join(from, "config.json"), *dst = path_join(to, "config.json"), *text = NULL;
    size_t bytes = 0;
    if (!src || !dst) vm_nomem(e, 256, "a path");
    else if (!file_read(&text, &bytes, src, 0, e)) file_write(dst, text, bytes, e);
    vm_free(src), vm_free(dst), vm_free(text);
    return e->status;
}

/* OUT/NAME: weights, with the configuration, tokenizer and processor files of the model it began with. */
static vm_status export_model(const job *j, const char *from, const char *out, const char *name, vm_error *e) {
    const st_dtype t = st_dtype_of(arg_str(j->a, "save-dtype"));
    char *dir = path_join(out, name);
    if (!dir) return vm_nomem(e, 256, "a path");
    if (!dir_make(dir, e) && !gdino_save(j->m, dir, t, e) && !copy_config(from, dir, e) && !towers_copy_processors(from, dir, true, e)) vm_info("model in %s", dir);
    vm_free(dir);
    return e->status;
}

static vm_status train(job *j, train_detect_options *o, vm_error *e) {
    const vm_args *a = j->a;
    const char *dir = train_begins(a, e);
    char *world = NULL, room[] = "/tmp/vismin-detect.XXXXXX"; /* --scratch world: its own configuration, written into the run directory */
    if (e->status) return e->status;
    if (!strcmp(dir, "world")) {
        if (o->dry_run && !mkdtemp(room)) return vm_fail(e, VM_EIO, "%s: cannot be made: %m", room);
        if (!(dir = world = o->dry_run ? vm_strdup(room) : path_join(o->run.out, "base"))) return vm_nomem(e, 256, "a path");
        detect_world_model(dir, e);
    }
    o->dir = dir;
    vm_backend *be = e->status ? NULL : run_backend(a, e);
    if (be && !open_data(j, e) && !open_model(j, be, dir, e)) {
        if (arg_given(a, "epochs")) o->run.steps = (int64_t)(arg_float(a, "epochs") * (double)j->source->n / (double)j->source->batch);
        if (o->run.steps < 1) vm_fail(e, VM_EUSAGE, "train detect: no steps: give --steps N, or of files --epochs X");
        else {
            vm_info("%.2f M parameters, %lld pictures a step, %s products", (double)weight_count(&j->m->w) * 1e-6, (long long)j->source->batch, vm_type_name(o->train.dtype));
            say_plan(j, o);
            train_detect_run(j->m, j->source, j->t, &j->pp, o, e);
        }
    }
    if (world && o->dry_run) dir_remove(world, e->status ? NULL : e);
    if (!e->status && !o->dry_run && !export_model(j, dir, o->run.out, "model", e) && o->train.optimizer.ema > 0) {
        weights_swap_average(&j->m->w);
        export_model(j, dir, o->run.out, "model-ema", e);
    }
    vm_free(world);
    return e->status;
}

static vm_status run(const vm_args *a, vm_error *e) {
    job j = { .a = a };
    train_detect_options o;
    file_lock lock = { .fd = -1 };
    if (!read_options(&j, &o, e) && (o.dry_run || (!dir_make(o.run.out, e) && !file_lock_take(&lock, o.run.out, e)))) train(&j, &o, e);
    file_lock_free(&lock);
    if (j.source) j.source->free(j.source);
    tok_free(j.t);
    gdino_free(j.m);
    return e->status;
}

static const vm_opt opts[] = {
    { "data", OPT_LIST, NULL, "FILE", "annotations as COCO has them, categories being phrases (repeatable); or world, scenes made on the fly", 0, 0 },
    EVAL_PLACE_OPTS,
    { "negatives", OPT_INT, "8", "N", "absent phrases of a picture that has no neg_category_ids, drawn anew in every epoch", 0, 1 << 16 },
    { "curriculum", OPT_STR, NULL, "A,B", "world: one object per scene in the first A steps, two until step B", 0, 0 },
    { "init", OPT_STR, NULL, "DIR", "model directory to start from", 0, 0 },
    { "scratch", OPT_STR, NULL, "DIR", "model directory to train from random weights; world: the small built-in one", 0, 0 },
    { "out", OPT_STR, NULL, "DIR", "run directory: checkpoints/, log.jsonl, model/", 0, 0 },
    { "batch", OPT_INT, "4", "N", "pictures of a step", 1, 4096 },
    { "scales", OPT_STR, NULL, "LIST", "shorter sides, one of them for each batch: 480,512,...,800; else as the image processor says", 0, 0 },
    { "flip", OPT_FLOAT, "0.5", "P", "probability of a mirrored picture; never where a phrase says left or right", 0, 1 },
    { "crop", OPT_FLOAT, "0", "P", "probability of a part of the picture, with sides of at least 60 %", 0, 1 },
    { "lr-vision", OPT_FLOAT, "0.1", "X", "multiplies the learning rate of the backbone; 0 = it stays as it is", 0, 1e9 },
    { "lr-text", OPT_FLOAT, "0.1", "X", "multiplies that of the text encoder; 0 = it stays as it is", 0, 1e9 },
    { "no-auxiliary", OPT_FLAG, NULL, NULL, "the loss is asked of the decoder's last layer alone", 0, 0 },
    { "denoise", OPT_INT, "0", "N", "denoising queries of a picture, in groups of all its targets twice; 0 = none (published: 200)", 0, 1 << 16 },
    { "box-noise", OPT_FLOAT, "1", "X", "of denoising queries: corners off by up to X half sides", 0, 2 },
    { "label-noise", OPT_FLOAT, "0.25", "P", "of denoising queries: probability of another phrase", 0, 1 },
    { "dropout", OPT_FLOAT, NULL, "P", "of what layers of encoder and decoder add; else as config.json says", 0, 0.9 },
    { "fusion-drop", OPT_FLOAT, NULL, "P", "probability that a fusion adds nothing; else as config.json says", 0, 0.9 },
    { "drop-path", OPT_FLOAT, NULL, "P", "probability that the backbone's last block adds nothing, less before it; else as config.json says", 0, 0.9 },
    TRAIN_DRY_RUN_OPT,
    TRAIN_COMMON_OPTS("1e-4", "1000"),
    TRAIN_ADAM_OPTS("1e-4", "0.999", "1e-8", "0.1"),
    { "ema", OPT_FLOAT, "0", "D", "also keep a moving average of the weights with this decay, RUN/model-ema; 0 = none", 0, 0.999999 },
    { "max-bad", OPT_FLOAT, "1", "PERCENT", "of pictures that may be unreadable; more end the run with status 3", 0, 100 },
    { "val", OPT_STR, NULL, "FILE", "annotations to validate on: average precision, of the moving average where there is one", 0, 0 },
    { "val-images", OPT_LIST, NULL, "DIR", "where its pictures are looked up (repeatable)", 0, 0 },
    { "val-limit", OPT_INT, "0", "N", "only the first N pictures of --val; 0 = all", 0, 1e9 },
    { "keep-best", OPT_FLAG, NULL, NULL, "with --val, the checkpoint of the best AP50 stays", 0, 0 },
    { 0 },
};

const vm_command cmd_train_detect = {
    .name = "train detect", .summary = "Grounding DINO on boxes with phrases", .usage = "--data FILE|world --init DIR|--scratch DIR --out RUN",
    .about = "Hungarian matching; focal loss over tokens, L1 and GIoU of boxes, of every layer of the decoder and of the boxes that queries are chosen\n"
             "by. RUN/model loads in transformers. A killed run goes on with the same command, bit for bit.\n\n"
             "  vismin train detect --data instances_train2017.json --images coco/train2017 --init grounding-dino-tiny/ --epochs 12 --scales 480,640,800 --crop 0.5 --out run\n"
             "  vismin train detect --data world --scratch world --steps 8000 --batch 16 --lr 5e-4 --lr-vision 1 --lr-text 1 --curriculum 500,1500 --out run",
    .opts = opts, .max_pos = 0, .run = run,
};
