/* train_clip.c - `vismin train clip`: the loop around clip_train.h. Data, weights, moments and the log of a run are at any
 * moment such that the same command line goes on: a checkpoint is a directory that appears whole, batches are a function
 * of (seed, step), and the log is cut back to the checkpoint. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/json.h"
#include "io/log.h"
#include "pipeline/checkpoint.h"
#include "pipeline/clip_data.h"
#include "pipeline/run.h"
#include "pipeline/train_clip.h"

/* --- set-up --------------------------------------------------------------------------------------------------------- */
static vm_status parse_mix(const char *text, double mix[4], vm_error *e) {
    char end;
    if (sscanf(text, "%lf:%lf:%lf:%lf%c", &mix[0], &mix[1], &mix[2], &mix[3], &end) != 4)
        return vm_fail(e, VM_EUSAGE, "--mix %s: four numbers object:attribute:relation:counting are needed", text);
    double sum = 0;
    for (int k = 0; k < 4; k++) {
        if (!(mix[k] >= 0)) return vm_fail(e, VM_EUSAGE, "--mix %s: a weight is negative", text);
        sum += mix[k];
    }
    return sum > 0 ? VM_OK : vm_fail(e, VM_EUSAGE, "--mix %s: all weights are 0", text);
}

static vm_status open_source(clip_source **out, const vm_args *a, vm_error *e) {
    const char *data = arg_str(a, "data");
    int64_t rows = arg_int(a, "batch");
    double mix[4];
    if (!data) return vm_fail(e, VM_EUSAGE, "train clip: --data FILE.json or --data world:KIND is needed");
    if (parse_mix(arg_str(a, "mix"), mix, e)) return e->status;
    if (!strncmp(data, "world:", 6)) return clip_source_world(out, data + 6, rows, arg_float(a, "plain-share"), mix, arg_flag(a, "curriculum"), e);
    clip_json_options o = { .path = data, .edits = !arg_flag(a, "no-edits"), .augment = !arg_flag(a, "no-augment") };
    o.n_images = arg_list(a, "images", &o.images);
    o.n_categories = arg_list(a, "category", &o.categories);
    return clip_source_json(out, &o, rows, e);
}

static vm_status open_model(towers **out, vm_backend *be, const char *dir, const vm_args *a, vm_error *e) {
    const char *init = arg_str(a, "init");
    towers_options o = { .how = init ? TOWERS_TRAIN : TOWERS_FRESH, .seed = (uint64_t)arg_int(a, "seed") };
    if (arg_given(a, "init") == arg_given(a, "scratch")) return vm_fail(e, VM_EUSAGE, "train clip: one of --init DIR (weights to start from) and --scratch DIR (configuration only) is needed");
    return towers_open(out, be, dir, &o, e);
}

/* --- a run ---------------------------------------------------------------------------------------------------------- */
typedef struct {
    train_clip_options o;
    towers *m;
    clip_trainer *t;
    clip_source *source;
    clip_batch batch;
    int64_t step, skipped_in_row;
    FILE *log;
    double t0, t_log;
    int64_t at_log;
} loop;

static void put_number(FILE *f, const char *key, double v) {
    if (isfinite(v)) fprintf(f, ",\"%s\":%.9g", key, v);
    else fprintf(f, ",\"%s\":null", key);
}

static void log_step(loop *l, const clip_step *s, double lr) {
    double now = run_seconds(), rate = (double)(l->step - l->at_log) * (double)(l->source->n_orig + l->source->n_twins) / VM_MAX(now - l->t_log, 1e-9);
    fprintf(l->log, "{\"step\":%lld", (long long)l->step);
    put_number(l->log, "loss", s->loss), put_number(l->log, "itc", s->itc);
    if (l->source->n_twins) put_number(l->log, "twin", s->twin);
    put_number(l->log, "lr", lr), put_number(l->log, "scale", s->scale), put_number(l->log, "grad_norm", s->grad_norm);
    put_number(l->log, "samples_per_s", rate);
    fprintf(l->log, ",\"skipped\":%s}\n", s->skipped ? "true" : "false");
    fflush(l->log); /* a log that cannot be written never ends a training */
    double left = (now - l->t0) / (double)VM_MAX(l->step - l->o.first_step, (int64_t)1) * (double)(l->o.steps - l->step);
    vm_info("step %lld/%lld  loss %.4f  twin %.4f  lr %.2e  scale %.1f  %.0f samples/s  %d:%02d left", (long long)l->step, (long long)l->o.steps, s->loss,
            s->twin, lr, s->scale, rate, (int)(left / 60), (int)left % 60);
    l->t_log = now, l->at_log = l->step;
}

static vm_status write_state(const char *dir, const void *ctx, vm_error *e) {
    const loop *l = ctx;
    if (clip_trainer_save(l->t, dir, e)) return e->status;
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    json_put_int(&w, "step", l->step);
    json_put_int(&w, "updates", clip_trainer_steps(l->t));
    json_put_int(&w, "steps", l->o.steps);
    json_put_int(&w, "seed", (int64_t)l->o.seed);
    json_put_str(&w, "command", l->o.command);
    json_close_object(&w);
    return json_save(&w, dir, "state.json", e);
}

/* Goes on where the newest good checkpoint stands; without one, at step 0. */
static vm_status resume(loop *l, vm_error *e) {
    char *dir = NULL;
    if (checkpoint_newest(&dir, l->o.out, e) || !dir) return e->status;
    char *path = path_join(dir, "state.json");
    json_doc *d = path ? json_open(path, e) : NULL;
    json_value root = json_root(d);
    l->step = json_int(root, "step", 0, 0, INT64_MAX, e);
    int64_t updates = json_int(root, "updates", 0, 0, INT64_MAX, e);
    const char *command = json_str(root, "command", "", e);
    if (!e->status && strcmp(command, l->o.command))
        vm_fail(e, VM_EINPUT, "%s: was made by another command:\n  %s\ngive the same options, or another --out", dir, command);
    if (!e->status && !clip_trainer_load(l->t, dir, updates, e)) vm_info("going on at step %lld of %lld", (long long)l->step, (long long)l->o.steps);
    json_free(d);
    vm_free(path);
    vm_free(dir);
    return e->status;
}

/* Three steps in a row without finite numbers end the run: the last checkpoint is good. */
static vm_status one_step(loop *l, vm_error *e) {
    clip_step s;
    double lr = clip_lr(l->o.lr, l->step, l->o.warmup, l->o.steps);
    if (clip_batch_fill(&l->batch, l->source, l->step, e) || clip_trainer_step(l->t, &l->batch, lr, &s, e)) return e->status;
    l->step++;
    l->skipped_in_row = s.skipped ? l->skipped_in_row + 1 : 0;
    if (s.skipped) vm_warn("step %lld: loss or gradient is not finite; skipped", (long long)l->step);
    if (l->step % l->o.log_every == 0 || l->step == l->o.steps || l->step == 1) log_step(l, &s, lr);
    if (l->skipped_in_row > 3) return vm_fail(e, VM_EMODEL, "%s: no finite loss in 4 steps up to step %lld; lower --lr", l->o.out, (long long)l->step);
    return VM_OK;
}

vm_status train_clip_run(towers *m, clip_source *source, tok *t, const vm_preprocess *pp, const train_clip_options *o, vm_error *e) {
    loop l = { .o = *o, .m = m, .source = source };
    clip_train_config c = o->train;
    source->m = m, source->t = t, source->pp = pp, source->seed = o->seed, source->total_steps = o->steps;
    if (clip_trainer_new(&l.t, m, &c, e) || clip_batch_new(&l.batch, source, e)) goto done;
    if (o->resume && resume(&l, e)) goto done;
    l.o.first_step = l.step;
    if (!(l.log = checkpoint_log(o->out, l.step, e))) goto done;
    l.t0 = l.t_log = run_seconds(), l.at_log = l.step;
    while (l.step < o->steps && !run_stopping()) {
        if (one_step(&l, e)) goto done;
        bool due = o->save_every && l.step % o->save_every == 0 && l.step < o->steps;
        if (due && checkpoint_save(o->out, l.step, o->keep_last, write_state, &l, e)) {
            if (e->status != VM_EIO) goto done;
            vm_warn("%s; training goes on, the next checkpoint is tried at step %lld", e->msg, (long long)(l.step + o->save_every));
            vm_error_clear(e); /* a full disk must not cost the run */
        }
    }
    if (checkpoint_save(o->out, l.step, o->keep_last, write_state, &l, e)) goto done;
    if (l.step < o->steps) vm_fail(e, VM_ESTOP, "stopped at step %lld of %lld; the same command goes on", (long long)l.step, (long long)o->steps);
done:
    if (l.log) fclose(l.log);
    clip_batch_free(&l.batch);
    clip_trainer_free(l.t);
    return e->status;
}

/* --- the command ---------------------------------------------------------------------------------------------------- */
/* OUT/model: weights in both layouts, with the tokenizer and processor files of the model it began with. */
static vm_status export_model(const towers *m, const char *from, const char *out, const char *dtype, vm_error *e) {
    char *dir = path_join(out, "model");
    st_dtype t = !strcmp(dtype, "f16") ? ST_F16 : !strcmp(dtype, "bf16") ? ST_BF16 : ST_F32;
    if (!dir) return vm_nomem(e, 256, "a path");
    if (!dir_make(dir, e) && !m->family->save(m, dir, t, true, e) && !towers_copy_processors(from, dir, true, e)) vm_info("model in %s", dir);
    vm_free(dir);
    return e->status;
}

static vm_status run(const vm_args *a, vm_error *e) {
    const char *dir = arg_str(a, "init") ? arg_str(a, "init") : arg_str(a, "scratch"), *out = arg_str(a, "out");
    char *world = NULL; /* --scratch world: its own configuration, written into the run directory */
    towers *m = NULL;
    clip_source *source = NULL;
    tok *t = NULL;
    vm_preprocess pp;
    file_lock lock = { .fd = -1 };
    train_clip_options o = { .out = out, .command = arg_line(a), .resume = strcmp(arg_str(a, "resume"), "never") != 0, .steps = arg_int(a, "steps"),
                             .warmup = arg_int(a, "warmup"), .log_every = arg_int(a, "log-every"), .save_every = arg_int(a, "save-every"),
                             .keep_last = (int)arg_int(a, "keep-last"), .seed = (uint64_t)arg_int(a, "seed"), .lr = arg_float(a, "lr") };
    o.train = (clip_train_config){ .twin_weight = (float)arg_float(a, "twin-weight"), .deterministic = arg_flag(a, "deterministic"),
                                   .clip_norm = (float)arg_float(a, "clip-norm"), .max_logit_scale = 4.6051702f,
                                   .adam = { (float)arg_float(a, "beta1"), (float)arg_float(a, "beta2"), (float)arg_float(a, "eps"), (float)arg_float(a, "wd") } };
    if (!out) return vm_fail(e, VM_EUSAGE, "train clip: --out DIR is needed");
    if (dir && !strcmp(dir, "world")) {
        if (!(dir = world = path_join(out, "base"))) return vm_nomem(e, 256, "a path");
        if (clip_world_model(dir, e)) goto done;
    }
    if (!strcmp(arg_str(a, "loss"), "itc-hn")) o.train.loss = CLIP_ITC_HN;
    else if (strcmp(arg_str(a, "loss"), "itc")) {
        vm_fail(e, VM_EUSAGE, "--loss %s: known are itc, itc-hn", arg_str(a, "loss"));
        goto done;
    }
    vm_backend *be = run_backend(a, e);
    if (!be || run_dtype(a, true, &o.train.dtype, e) || open_source(&source, a, e) || open_model(&m, be, dir, a, e)) goto done;
    if (tok_open(&t, dir, e) || preprocess_load(&pp, dir, e) || dir_make(out, e) || file_lock_take(&lock, out, e)) goto done;
    if (arg_given(a, "epochs") && !source->n_groups) vm_fail(e, VM_EUSAGE, "--epochs: the world has no end; give --steps");
    if (arg_given(a, "epochs")) o.steps = (int64_t)(arg_float(a, "epochs") * (double)(source->n_groups / source->n_orig));
    if (!e->status && o.steps < 1) vm_fail(e, VM_EUSAGE, "train clip: no steps: give --steps N, or --epochs X with a batch smaller than the data");
    if (e->status) goto done;
    vm_info("%.2f M parameters, %lld originals and %lld edits a step, %s products", (double)weight_count(m->w) * 1e-6, (long long)source->n_orig,
            (long long)source->n_twins, vm_type_name(o.train.dtype));
    if (!train_clip_run(m, source, t, &pp, &o, e)) export_model(m, dir, out, arg_str(a, "save-dtype"), e);
done:
    file_lock_free(&lock);
    tok_free(t);
    if (source) source->free(source);
    towers_free(m);
    vm_free(world);
    return e->status;
}

static const vm_opt opts[] = {
    { "data", OPT_STR, NULL, "WHAT", "VisMin training JSON, or world:plain, world:pairs, world:spec", 0, 0 },
    { "images", OPT_LIST, NULL, "DIR", "where image paths of the JSON are looked up (repeatable)", 0, 0 },
    { "init", OPT_STR, NULL, "DIR", "model directory to start from", 0, 0 },
    { "scratch", OPT_STR, NULL, "DIR", "model directory to train from random weights; world: the small built-in one", 0, 0 },
    { "out", OPT_STR, NULL, "DIR", "run directory: checkpoints/, log.jsonl, model/", 0, 0 },
    { "loss", OPT_STR, "itc", "NAME", "itc: originals and edits are all pairs; itc-hn: edits are extra columns only", 0, 0 },
    { "twin-weight", OPT_FLOAT, "0", "X", "weight of the two-way terms within each original and its edit", 0, 100 },
    { "batch", OPT_INT, "128", "N", "rows of a step, originals and edits together", 2, 65536 },
    { "steps", OPT_INT, "0", "N", "steps of the whole run", 0, 1e9 },
    { "epochs", OPT_FLOAT, NULL, "X", "instead of --steps: passes over the originals", 0, 1e6 },
    { "lr", OPT_FLOAT, "5e-6", "X", "peak learning rate; cosine to 0 after the warm-up", 0, 10 },
    { "warmup", OPT_INT, "50", "N", "steps of linear warm-up", 0, 1e9 },
    { "wd", OPT_FLOAT, "0.1", "X", "decoupled weight decay of matrices", 0, 10 },
    { "beta1", OPT_FLOAT, "0.9", "X", "AdamW", 0, 1 },
    { "beta2", OPT_FLOAT, "0.98", "X", "AdamW", 0, 1 },
    { "eps", OPT_FLOAT, "1e-6", "X", "AdamW", 0, 1 },
    { "clip-norm", OPT_FLOAT, "0", "X", "largest L2 norm of all gradients; 0 = off", 0, 1e9 },
    { "mix", OPT_STR, "1:1:1:1", "O:A:R:C", "world:pairs: weights of object, attribute, relation, counting", 0, 0 },
    { "plain-share", OPT_FLOAT, "0", "X", "world:pairs: part of the rows that are ordinary scenes", 0, 0.9 },
    { "curriculum", OPT_FLAG, NULL, NULL, "world: one object per scene until 6 % of the run, two until 18 %", 0, 0 },
    { "category", OPT_LIST, NULL, "NAME", "JSON: only edits of this category (repeatable)", 0, 0 },
    { "no-edits", OPT_FLAG, NULL, NULL, "JSON: originals only (a control)", 0, 0 },
    { "no-augment", OPT_FLAG, NULL, NULL, "JSON: centre crops instead of random ones", 0, 0 },
    { "log-every", OPT_INT, "10", "N", "steps between log lines", 1, 1e9 },
    { "save-every", OPT_INT, "500", "N", "steps between checkpoints; 0 = at the end only", 0, 1e9 },
    { "keep-last", OPT_INT, "2", "N", "checkpoints kept", 1, 1000 },
    { "resume", OPT_STR, "auto", "WHEN", "auto: go on from the newest checkpoint; never: start anew", 0, 0 },
    { "save-dtype", OPT_STR, "f32", "TYPE", "type of the exported weights: f32, f16, bf16", 0, 0 },
    { 0 },
};

const vm_command cmd_train_clip = {
    .name = "train clip", .summary = "fine-tune or train CLIP with hard negatives", .usage = "--data WHAT (--init DIR | --scratch DIR) --out RUN [options]",
    .about = "Trains both towers. Originals and their edits share a batch, so each is the other's hard negative. Kill it at any time:\n"
             "the same command goes on from the last checkpoint with the same result.\n\n"
             "  vismin train clip --data train.json --images coco/ --init clip-vit-large-patch14 --batch 256 --epochs 10 --out run/\n"
             "  vismin train clip --data world:pairs --init weights/tiny/clip-plain --twin-weight 1 --batch 160 --steps 300 --lr 6e-4 --out run/",
    .opts = opts, .run = run,
};
