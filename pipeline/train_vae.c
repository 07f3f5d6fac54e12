/* train_vae.c - `vismin train vae`: the autoencoder of latent diffusion as a task of the training loop; batches of diffusion_feed.h, steps of
 * vae_train.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "models/vae_train.h"
#include "pipeline/diffusion_feed.h"
#include "pipeline/eval_command.h"
#include "pipeline/run.h"
#include "pipeline/train_loop.h"

typedef struct {
    train_task task;
    const vm_args *a;
    char *dir;             /* of the autoencoder */
    vae *m;
    vae_trainer *t;
    samples *data, *val;
    media_places places;
    diffusion_feed feed, look;
    const vm_image **im, **focus; /* focus NULL: none */
    int64_t step;
    vae_train_step last;
    double val_distance, deviation; /* deviation: of latents, at the last validation or at the end */
} job;

static const vm_image *const *pictures(job *j, const diffusion_feed *f) {
    for (int64_t k = 0; k < f->batch; k++) {
        j->im[k] = f->sample[k].image;
        if (j->focus) j->focus[k] = &f->focus[k];
    }
    return j->im;
}

/* --- the task ---------------------------------------------------------------------------------------------------------- */
static vm_status start(train_task *x, int64_t step, vm_error *e) { return VM_OK; }

static vm_status batch(train_task *x, int64_t step, double *waited, vm_error *e) {
    job *j = (job *)x;
    double began = run_seconds();
    j->step = step;
    diffusion_feed_batch(&j->feed, step, e);
    *waited = run_seconds() - began;
    return e->status;
}

static vm_status step(train_task *x, double lr, double most_loss, double most_norm, train_step *out, vm_error *e) {
    job *j = (job *)x;
    vae_trainer_limit(j->t, most_loss, most_norm);
    if (vae_trainer_step(j->t, j->feed.batch, pictures(j, &j->feed), j->focus, j->step, lr, &j->last, e)) return e->status;
    *out = (train_step){ j->last.loss, j->last.grad_norm, j->last.skipped };
    return VM_OK;
}

static int64_t updates(const train_task *x) { return vae_trainer_updates(((const job *)x)->t); }
static void log_parts(train_task *x, train_log *l) {
    const job *j = (const job *)x;
    train_log_num(l, "distance", j->last.distance), train_log_num(l, "kl", j->last.kl), train_log_num(l, "bad_pictures", (double)j->feed.bad);
}
static void text_of(const train_task *x, char *out, size_t room) { snprintf(out, room, "  distance %.4f  kl %.3f", ((const job *)x)->last.distance, ((const job *)x)->last.kl); }

static void evidence(const train_task *x, json_writer *w) {
    const diffusion_feed *f = &((const job *)x)->feed;
    json_begin_array(w, "samples");
    for (int64_t i = 0; i < f->batch; i++) json_put_int(w, NULL, f->chosen[i]);
    json_close_array(w);
}

/* Every picture of the feed once: the mean distance, and the deviation of the latents. */
static vm_status look_at(job *j, diffusion_feed *f, int64_t most, double *distance, vm_error *e) {
    double sum = 0, squares = 0;
    int64_t all = 0;
    for (int64_t at = 0; at < f->n && at < most && !e->status; at += f->batch) {
        vae_train_step s;
        double d;
        if (run_stopping()) return e->status = VM_ESTOP;
        int64_t n = diffusion_feed_rows(f, at, e);
        if (n && !e->status && !vae_trainer_look(j->t, n, pictures(j, f), INT64_C(1) << 40 | at, &s, &d, e)) sum += s.distance * (double)n, squares += d * d * (double)n, all += n;
    }
    *distance = sum / (double)VM_MAX(all, (int64_t)1), j->deviation = sqrt(squares / (double)VM_MAX(all, (int64_t)1));
    return e->status;
}

static vm_status validate(train_task *x, double *rank, vm_error *e) {
    job *j = (job *)x;
    if (!look_at(j, &j->look, INT64_MAX, &j->val_distance, e)) vm_info("validation: distance %.5f, deviation of latents %.4f", j->val_distance, j->deviation);
    *rank = j->val_distance;
    return e->status;
}
static void log_validation(const train_task *x, train_log *l) { train_log_num(l, "val_distance", ((const job *)x)->val_distance); }
static vm_status save(train_task *x, const char *dir, vm_error *e) { return vae_trainer_save(((job *)x)->t, dir, e); }
static vm_status load(train_task *x, const char *dir, int64_t n, vm_error *e) { return vae_trainer_load(((job *)x)->t, dir, n, e); }

/* --- what it starts from and what is written ----------------------------------------------------------------------------------- */
/* A folder of an autoencoder, or of a pipeline that has one. */
static vm_status find_folder(job *j, const char *option, vm_error *e) {
    const char *given = arg_model(j->a, arg_str(j->a, option), e);
    if (!given) return e->status;
    j->dir = diffusion_is(given) ? path_join(given, "vae") : vm_strdup(given);
    return j->dir ? VM_OK : vm_nomem(e, 256, "a path");
}

static vm_status open_feed(job *j, const char *option, samples **s, diffusion_feed *f, vm_error *e) {
    const vm_args *a = j->a;
    *f = (diffusion_feed){ .places = &j->places, .size = (int)(arg_int(a, "size") ? arg_int(a, "size") : j->m->c.sample), .batch = arg_int(a, "batch"), .flip = arg_float(a, "flip"),
                           .holes = arg_float(a, "holes"), .objects = arg_float(a, "focus") > 0, .crowded = arg_float(a, "crowded"), .seed = (uint64_t)arg_int(a, "seed") };
    return diffusion_feed_open(f, s, a, option, e);
}

/* The configuration it began with; the scale is measured: latents times it have the deviation 1 that diffusion begins with. */
static vm_status write_config(const job *j, const char *dir, vm_error *e) {
    json_doc *d = json_config(j->dir, "the vae folder of a diffusion model", e);
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    for (json_iter it = json_each(json_root(d)); json_next(&it);)
        if (strcmp(it.key, "scaling_factor")) json_put_value(&w, it.key, it.value);
    json_put_num(&w, "scaling_factor", 1 / fmax(j->deviation, 1e-6));
    json_close_object(&w);
    json_free(d);
    return json_save(&w, dir, "config.json", e);
}

static vm_status export_model(const job *j, const char *out, const char *name, vm_error *e) {
    const st_dtype t = st_dtype_of(arg_str(j->a, "save-dtype"));
    char *dir = path_join(out, name);
    if (!dir) return vm_nomem(e, 256, "a path");
    if (!dir_make(dir, e) && !write_config(j, dir, e) && !vae_trainer_export(j->t, dir, t, e)) vm_info("autoencoder in %s, scale %.5f", dir, 1 / fmax(j->deviation, 1e-6));
    vm_free(dir);
    return e->status;
}

static vm_status export_all(job *j, const char *out, vm_error *e) {
    enum { ENOUGH = 256 }; /* pictures that the scale is measured on */
    double distance;
    if (look_at(j, &j->feed, ENOUGH, &distance, e) || export_model(j, out, "model", e) || arg_float(j->a, "ema") <= 0) return e->status;
    weights_swap_average(&j->m->w);
    if (!look_at(j, &j->feed, ENOUGH, &distance, e)) export_model(j, out, "model-ema", e);
    weights_swap_average(&j->m->w);
    return e->status;
}

static vm_status say_memory(const job *j, vm_error *e) {
    optimizer_bytes own;
    size_t activations;
    if (!vae_trainer_memory(j->t, j->feed.batch, j->feed.size, j->feed.size, &own, &activations, e))
        train_say_memory(&own, activations, "", 0, NULL, "--batch N, --size N and --recompute");
    return e->status;
}

/* --- the command ------------------------------------------------------------------------------------------------------------- */
static vm_status work(job *j, train_options *o, vm_error *e) {
    const vm_args *a = j->a;
    const char *const *paths;
    const bool scratch = arg_given(a, "scratch");
    const media_places given = eval_places(a);
    const char *loss = arg_str(a, "loss");
    vae_train_config c = { .optimizer = train_read_adam(a), .deterministic = arg_flag(a, "deterministic"), .l1 = !strcmp(loss, "l1"), .kl = arg_float(a, "kl"), .chroma = arg_float(a, "chroma"), .edges = arg_float(a, "edges"), .focus = arg_float(a, "focus"), .seed = (uint64_t)arg_int(a, "seed") };
    char digest[65];
    c.optimizer.ema = arg_float(a, "ema");
    c.recompute = arg_flag(a, "recompute");
    if (!c.l1 && strcmp(loss, "l2")) return vm_fail(e, VM_EUSAGE, "--loss %s: l1 or l2", loss);
    if (!arg_list(a, "data", &paths)) return vm_fail(e, VM_EUSAGE, "train vae: --data FILE is needed, or --data world");
    vm_backend *be = run_backend(a, e);
    if (!be || run_dtype(a, true, &c.dtype, e) || media_open(&j->places, &given, paths[0], e) || find_folder(j, scratch ? "scratch" : "init", e)) return e->status;
    if (scratch ? vae_fresh(&j->m, be, j->dir, c.seed, e) : vae_open(&j->m, be, j->dir, true, e)) return e->status;
    if (vae_trainer_new(&j->t, j->m, &c, e) || open_feed(j, "data", &j->data, &j->feed, e) || (arg_given(a, "val") && open_feed(j, "val", &j->val, &j->look, e))) return e->status;
    const size_t n = (size_t)j->feed.batch;
    if (!(j->im = vm_calloc(n, sizeof *j->im)) || (c.focus > 0 && !(j->focus = vm_calloc(n, sizeof *j->focus)))) return vm_nomem(e, n * sizeof *j->im, "a batch");
    if (c.focus > 0 && j->data) return vm_fail(e, VM_EUSAGE, "train vae: --focus knows the objects of --data world alone");
    if (diffusion_feed_steps(&j->feed, a, "train vae", &o->steps, e)) return e->status;
    diffusion_feed_digest(&j->feed, digest);
    j->task = (train_task){ .w = &j->m->w, .digest = digest, .samples = j->feed.batch, .start = start, .batch = batch, .step = step, .updates = updates, .log = log_parts, .text = text_of,
                            .evidence = evidence, .validate = j->val ? validate : NULL, .log_validation = log_validation, .save = save, .load = load };
    vm_info("%.2f M parameters learn, %lld pictures of %d x %d a step, of %lld", (double)weight_count(&j->m->w) * 1e-6, (long long)j->feed.batch, j->feed.size, j->feed.size, (long long)j->feed.n);
    if (say_memory(j, e) || arg_flag(a, "dry-run")) return e->status;
    return train_loop_run(&j->task, o, e) ? e->status : export_all(j, o->out, e);
}

static vm_status run(const vm_args *a, vm_error *e) {
    job j = { .a = a };
    train_options o;
    file_lock lock = { .fd = -1 };
    if (train_read_common(&o, a, e)) return e->status;
    o.keep_best = arg_flag(a, "keep-best");
    if (!o.out) return vm_fail(e, VM_EUSAGE, "train vae: --out DIR is needed");
    if (!arg_given(a, "val") && (arg_given(a, "val-every") || o.keep_best)) return vm_fail(e, VM_EUSAGE, "train vae: --val FILE says what to validate on");
    if (arg_given(a, "init") == arg_given(a, "scratch")) return vm_fail(e, VM_EUSAGE, "train vae: one of --init DIR (weights to start from) and --scratch DIR (configuration only) is needed");
    if (arg_flag(a, "dry-run") || (!dir_make(o.out, e) && !file_lock_take(&lock, o.out, e))) work(&j, &o, e);
    file_lock_free(&lock);
    diffusion_feed_free(&j.feed), diffusion_feed_free(&j.look);
    samples_free(j.data), samples_free(j.val);
    media_close(&j.places);
    vae_trainer_free(j.t);
    vae_free(j.m);
    vm_free(j.im), vm_free(j.focus), vm_free(j.dir);
    return e->status;
}

static const vm_opt opts[] = {
    DIFFUSION_DATA_OPTS,
    { "init", OPT_STR, NULL, "DIR", "autoencoder, or a pipeline with one, to start from", 0, 0 },
    { "scratch", OPT_STR, NULL, "DIR", "configuration alone: random weights", 0, 0 },
    { "out", OPT_STR, NULL, "DIR", "run directory: checkpoints/, log.jsonl, model/", 0, 0 },
    { "size", OPT_INT, "0", "N", "side of the pictures; 0 = the model's", 0, 4096 },
    { "batch", OPT_INT, "16", "N", "pictures of a step", 1, 4096 },
    { "flip", OPT_FLOAT, "0", "P", "part of the pictures that are mirrored", 0, 1 },
    { "loss", OPT_STR, "l1", "NAME", "distance of pictures: l1 or l2", 0, 0 },
    { "chroma", OPT_FLOAT, "0", "X", "weight of the same distance of colours without their brightness", 0, 1e6 },
    { "edges", OPT_FLOAT, "0", "X", "weight of the same distance of differences between neighbours", 0, 1e6 },
    { "focus", OPT_FLOAT, "0", "W", "world: pixels of objects count W times; 0 = off", 0, 1e6 },
    { "crowded", OPT_FLOAT, "0", "P", "world: part of the scenes that are full of objects", 0, 1 },
    { "holes", OPT_FLOAT, "0", "P", "part of the pictures that have gray boxes, as an inpainting model reads them", 0, 1 },
    { "kl", OPT_FLOAT, "1e-6", "X", "weight of the KL divergence of the latents from a normal distribution", 0, 1e6 },
    TRAIN_COMMON_OPTS("1e-4", "100"),
    TRAIN_ADAM_OPTS("0.01", "0.999", "1e-8", "1"),
    TRAIN_RECOMPUTE_OPT,
    TRAIN_DRY_RUN_OPT,
    { "ema", OPT_FLOAT, "0", "D", "also keep a moving average of the weights with this decay, RUN/model-ema; 0 = none", 0, 0.999999 },
    { "val", OPT_LIST, NULL, "FILE", "pictures to validate on (repeatable)", 0, 0 },
    { "keep-best", OPT_FLAG, NULL, NULL, "with --val, the checkpoint of the best validation stays", 0, 0 },
    { 0 },
};

const vm_command cmd_train_vae = {
    .name = "train vae",
    .summary = "fine-tune or train the autoencoder of a diffusion model",
    .usage = "--data FILE (--init DIR | --scratch DIR) --out RUN [options]",
    .about = "L1 or squared distance of pictures plus KL. RUN/model is an ordinary diffusers folder whose scaling_factor is measured at the end.\n"
             "Kill it at any time: the same command goes on from the last checkpoint with the same result.\n\n"
             "  vismin train vae --data world --scratch weights/tiny/inpaint --focus 5 --chroma 1 --edges 0.3 --steps 8000 --lr 2e-3 --out run/\n",
    .opts = opts,
    .run = run,
};
