/* train_diffusion.c - `vismin train diffusion`: opens data and pipeline, trains the UNet (train_diffusion_task.c), writes the pipeline or the adapter. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/file.h"
#include "io/log.h"
#include "pipeline/eval_command.h"
#include "pipeline/run.h"
#include "pipeline/train_diffusion.h"

typedef struct {
    const vm_args *a;
    const char *dir;      /* of the pipeline */
    diffusion *d;
    diffusion_trainer *t;
    samples *data, *val;
    media_places places;
    diffusion_feed feed, look;
    lora_options lora;
    const char *adapter;
} job;

static vm_status read_options(job *j, train_diffusion_options *o, diffusion_train_config *c, vm_error *e) {
    const vm_args *a = j->a;
    *o = (train_diffusion_options){ .feed = &j->feed };
    *c = (diffusion_train_config){ .optimizer = train_read_adam(a), .deterministic = arg_flag(a, "deterministic"), .gamma = arg_float(a, "snr-gamma"), .outside = arg_float(a, "outside"),
                                  .keep = arg_int(a, "reuse") > 1 ? DIFFUSION_POOL : 0, .seed = (uint64_t)arg_int(a, "seed") };
    c->optimizer.ema = arg_float(a, "ema");
    c->recompute = arg_flag(a, "recompute");
    if (train_read_common(&o->run, a, e) || train_read_lora(&j->lora, &j->adapter, a, e)) return e->status;
    o->run.keep_best = arg_flag(a, "keep-best");
    if (!o->run.out) return vm_fail(e, VM_EUSAGE, "train diffusion: --out DIR is needed");
    if (!arg_given(a, "val") && (arg_given(a, "val-every") || o->run.keep_best)) return vm_fail(e, VM_EUSAGE, "train diffusion: --val FILE says what to validate on");
    if (arg_given(a, "init") == arg_given(a, "scratch"))
        return vm_fail(e, VM_EUSAGE, "train diffusion: one of --init DIR (a pipeline) and --scratch DIR (a pipeline whose UNet is a configuration) is needed");
    if (arg_given(a, "scratch") && (j->lora.r || j->adapter)) return vm_fail(e, VM_EUSAGE, "train diffusion: an adapter belongs to weights, --init DIR");
    return VM_OK;
}

static vm_status open_model(job *j, const diffusion_train_config *c, vm_error *e) {
    const vm_args *a = j->a;
    const bool scratch = arg_given(a, "scratch");
    vm_backend *be = run_backend(a, e);
    vm_type dtype;
    if (!be || run_dtype(a, true, &dtype, e) || !(j->dir = arg_model(a, arg_str(a, scratch ? "scratch" : "init"), e))) return e->status;
    const diffusion_options o = { .dtype = dtype, .deterministic = c->deterministic, .train = !j->lora.r && !j->adapter, .scratch = scratch, .seed = c->seed };
    if (diffusion_open(&j->d, be, j->dir, &o, e)) return e->status;
    if (diffusion_unused(j->d)) vm_warn("%s", diffusion_unused(j->d));
    return diffusion_trainer_new(&j->t, j->d, c, &j->lora, j->adapter, e);
}

static vm_status open_feed(job *j, const char *option, samples **s, diffusion_feed *f, vm_error *e) {
    const vm_args *a = j->a;
    *f = (diffusion_feed){ .places = &j->places, .size = (int)(arg_int(a, "size") ? arg_int(a, "size") : diffusion_size(j->d)), .batch = arg_int(a, "batch"),
                           .drop_text = arg_float(a, "drop-text"), .flip = arg_float(a, "flip"), .whole_mask = arg_float(a, "whole-mask"), .masks = diffusion_inpaints(j->d),
                           .reuse = arg_int(a, "reuse"), .seed = (uint64_t)arg_int(a, "seed") };
    return diffusion_feed_open(f, s, a, option, e);
}

/* --- what is written -------------------------------------------------------------------------------------------------------- */
/* The files of a pipeline but the UNet's weights: linked where that can be, else copied. */
static vm_status copy_files(const char *from, const char *to, bool weights, vm_error *e) {
    char **names = NULL;
    int64_t n = 0;
    if (dir_make(to, e) || dir_list(&names, &n, from, e)) return e->status;
    for (int64_t i = 0; i < n && !e->status; i++) {
        char *src = path_join(from, names[i]), *dst = path_join(to, names[i]);
        bool weight = strstr(names[i], ".safetensors") != NULL, unet = !strcmp(names[i], "unet");
        if (!src || !dst) vm_nomem(e, 256, "a path");
        else if (file_is_dir(src)) copy_files(src, dst, weights && !unet, e);
        else if ((weights || !weight) && (unlink(dst), link(src, dst))) file_copy_named(from, to, names[i], e);
        vm_free(src), vm_free(dst);
    }
    vm_free(names);
    return e->status;
}

static vm_status export_pipeline(const job *j, const char *out, const char *name, vm_error *e) {
    const st_dtype t = st_dtype_of(arg_str(j->a, "save-dtype"));
    const lora *adapter = diffusion_trainer_adapter(j->t);
    char *dir = path_join(out, name), *unet = dir ? path_join(dir, "unet") : NULL;
    if (!unet) vm_nomem(e, 256, "a path");
    else if (adapter) dir_make(dir, e), lora_save(adapter, dir, j->dir, e);
    else if (!copy_files(j->dir, dir, true, e)) diffusion_trainer_export(j->t, unet, t, e);
    if (!e->status) vm_info("%s in %s", adapter ? "adapter" : "pipeline", dir);
    vm_free(dir), vm_free(unet);
    return e->status;
}

static vm_status export_all(const job *j, const train_diffusion_options *o, vm_error *e) {
    bool adapter = diffusion_trainer_adapter(j->t) != NULL;
    if (export_pipeline(j, o->run.out, adapter ? "adapter" : "model", e) || arg_float(j->a, "ema") <= 0) return e->status;
    weights_swap_average(diffusion_trainer_weights(j->t));
    export_pipeline(j, o->run.out, adapter ? "adapter-ema" : "model-ema", e);
    weights_swap_average(diffusion_trainer_weights(j->t));
    return e->status;
}

static vm_status say_memory(const job *j, vm_error *e) {
    optimizer_bytes own;
    size_t activations, frozen;
    if (!diffusion_trainer_memory(j->t, j->feed.batch, j->feed.size, j->feed.size, &own, &activations, &frozen, e))
        train_say_memory(&own, activations, "", frozen, "autoencoder and texts", "--batch N, --size N, --lora R and --recompute");
    return e->status;
}

/* --- the command ------------------------------------------------------------------------------------------------------------- */
static vm_status work(job *j, train_diffusion_options *o, const diffusion_train_config *c, vm_error *e) {
    const char *const *paths;
    const media_places given = eval_places(j->a);
    if (!arg_list(j->a, "data", &paths)) return vm_fail(e, VM_EUSAGE, "train diffusion: --data FILE is needed, or --data world");
    if (media_open(&j->places, &given, paths[0], e) || open_model(j, c, e) || open_feed(j, "data", &j->data, &j->feed, e)) return e->status;
    if (arg_given(j->a, "val")) {
        if (open_feed(j, "val", &j->val, &j->look, e)) return e->status;
        o->look = &j->look;
    }
    if (diffusion_feed_steps(&j->feed, j->a, "train diffusion", &o->run.steps, e)) return e->status;
    vm_info("%.2f M parameters of the UNet learn, %lld pictures of %d x %d a step, of %lld", (double)weight_count(diffusion_trainer_weights(j->t)) * 1e-6, (long long)j->feed.batch,
            j->feed.size, j->feed.size, (long long)j->feed.n);
    if (say_memory(j, e) || arg_flag(j->a, "dry-run")) return e->status;
    return train_diffusion_run(j->t, o, e) ? e->status : export_all(j, o, e);
}

static vm_status run(const vm_args *a, vm_error *e) {
    job j = { .a = a };
    train_diffusion_options o;
    diffusion_train_config c;
    file_lock lock = { .fd = -1 };
    if (read_options(&j, &o, &c, e)) return e->status;
    if (arg_flag(a, "dry-run") || (!dir_make(o.run.out, e) && !file_lock_take(&lock, o.run.out, e))) work(&j, &o, &c, e);
    file_lock_free(&lock);
    diffusion_feed_free(&j.feed), diffusion_feed_free(&j.look);
    samples_free(j.data), samples_free(j.val);
    media_close(&j.places);
    diffusion_trainer_free(j.t);
    diffusion_free(j.d);
    return e->status;
}

static const vm_opt opts[] = {
    DIFFUSION_DATA_OPTS,
    { "init", OPT_STR, NULL, "DIR", "pipeline to start from", 0, 0 },
    { "scratch", OPT_STR, NULL, "DIR", "pipeline whose UNet is a configuration alone: random weights", 0, 0 },
    { "out", OPT_STR, NULL, "DIR", "run directory: checkpoints/, log.jsonl, model/ or adapter/", 0, 0 },
    { "size", OPT_INT, "0", "N", "side of the pictures; 0 = the model's", 0, 4096 },
    { "batch", OPT_INT, "16", "N", "pictures of a step", 1, 4096 },
    { "drop-text", OPT_FLOAT, "0.1", "P", "part of the texts that are dropped, for guidance", 0, 1 },
    { "flip", OPT_FLOAT, "0", "P", "part of the pictures that are mirrored", 0, 1 },
    { "whole-mask", OPT_FLOAT, "0.25", "P", "inpainting: part of the masks that are the whole picture; the others are boxes", 0, 1 },
    { "reuse", OPT_INT, "1", "N", "world: each scene is encoded once and learnt from N times, with other noise", 1, 1000 },
    { "outside", OPT_FLOAT, "1", "W", "inpainting: weight of the error outside the mask; 1 = as inside", 0, 1 },
    { "snr-gamma", OPT_FLOAT, "0", "G", "weights by min-SNR, 5 in the paper; 0 = off", 0, 1e6 },
    { "lora", OPT_STR, NULL, "R[,ALPHA]", "train a low-rank adapter alone; RUN/adapter is a PEFT directory", 0, 0 },
    { "lora-targets", OPT_STR, NULL, "LIST", "modules with an adapter, of to_q,to_k,to_v; all when not given", 0, 0 },
    { "dora", OPT_FLAG, NULL, NULL, "the adapter of --lora has magnitudes, too (DoRA)", 0, 0 },
    { "adapter", OPT_STR, NULL, "DIR", "go on from this adapter, a PEFT directory", 0, 0 },
    TRAIN_COMMON_OPTS("1e-5", "100"),
    TRAIN_ADAM_OPTS("0.01", "0.999", "1e-8", "1"),
    TRAIN_RECOMPUTE_OPT,
    TRAIN_DRY_RUN_OPT,
    { "ema", OPT_FLOAT, "0", "D", "also keep a moving average of the weights with this decay, RUN/model-ema; 0 = none", 0, 0.999999 },
    { "val", OPT_LIST, NULL, "FILE", "pictures with captions to validate on (repeatable)", 0, 0 },
    { "keep-best", OPT_FLAG, NULL, NULL, "with --val, the checkpoint of the best validation stays", 0, 0 },
    { 0 },
};

const vm_command cmd_train_diffusion = {
    .name = "train diffusion",
    .summary = "fine-tune or train the UNet of a diffusion model, whole or by a low-rank adapter",
    .usage = "--data FILE (--init DIR | --scratch DIR) --out RUN [options]",
    .about = "What the model predicts (noise, v) is its own; an inpainting model learns with random masks. RUN/model is an ordinary diffusers\n"
             "folder. Kill it at any time: the same command goes on from the last checkpoint with the same result.\n\n"
             "  vismin train diffusion --data captions_train2017.json --images train2017/ --init stable-diffusion-2-inpainting/ --batch 16 --epochs 1 --out run/\n"
             "  vismin train diffusion --data world --scratch weights/tiny/inpaint --outside 0.1 --steps 8000 --lr 1e-3 --ema 0.999 --out run/\n",
    .opts = opts,
    .run = run,
};
