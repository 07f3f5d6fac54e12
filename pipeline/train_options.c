/* train_options.c - the options of `vismin train clip` and what they mean. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/run.h"
#include "pipeline/train_clip.h"

static vm_status read_loss(clip_loss_config *c, const vm_args *a, vm_error *e) {
    static const char *const losses[] = { "itc", "itc-hn", "sigmoid", NULL }, *const sides[] = { "both", "text", "image", NULL },
                      *const imc[] = { "itc-positive", "ref-head", "ref-2023", NULL };
    int side = train_one_of(a, "hard-negatives", sides, e);
    *c = (clip_loss_config){ .kind = (clip_loss)train_one_of(a, "loss", losses, e), .neg_txt = side != 2, .neg_img = side != 1,
                             .twin_weight = (float)arg_float(a, "twin-weight"), .imc_weight = (float)arg_float(a, "imc-weight"),
                             .cmr_weight = (float)arg_float(a, "cmr-weight"), .imc = (loss_imc_kind)train_one_of(a, "imc", imc, e),
                             .theta_upper = arg_float(a, "cmr-bound"), .sigmoid_mean = arg_flag(a, "ref-sigmoid-mean") ? LOSS_PER_CELL : LOSS_PER_ROW, .ref_invalid = arg_flag(a, "ref-invalid"),
                             .dedup = arg_flag(a, "dedup-captions"), .feature_grad = 1 / (float)arg_int(a, "ref-grad-scale") };
    const char *theta = arg_str(a, "cmr-threshold");
    char *end;
    c->theta = !strcmp(theta, "mean") ? LOSS_THETA_MEAN : !strcmp(theta, "max") ? LOSS_THETA_MAX : LOSS_THETA_FIXED;
    if (c->theta == LOSS_THETA_FIXED && (c->theta_fixed = strtod(theta, &end), end == theta || *end || !isfinite(c->theta_fixed)))
        vm_fail(e, VM_EUSAGE, "--cmr-threshold %s: known are mean, max, and a number", theta);
    if (c->kind != CLIP_ITC_HN && arg_given(a, "hard-negatives")) vm_fail(e, VM_EUSAGE, "--hard-negatives goes with --loss itc-hn");
    return e->status;
}

/* "vision,embeddings" */
static vm_status read_frozen(tower_groups *g, const char *text, vm_error *e) {
    const struct { const char *name; bool *on; } known[] = { { "vision", &g->vision }, { "text", &g->text }, { "embeddings", &g->embeddings }, { "scale", &g->scale },
                                                               { "statistics", &g->stats } };
    for (const char *at = text ? text : ""; *at && !e->status; at += *at == ',') {
        size_t n = strcspn(at, ",");
        int k = 0;
        while (k < VM_LEN(known) && (strlen(known[k].name) != n || strncmp(at, known[k].name, n))) k++;
        if (k < VM_LEN(known)) *known[k].on = true;
        else vm_fail(e, VM_EUSAGE, "--freeze %s: known are vision, text, embeddings, scale, statistics", text);
        at += n;
    }
    return e->status;
}

static vm_status read_groups(tower_groups *g, const vm_args *a, vm_error *e) {
    *g = (tower_groups){ .unlock_vision = arg_int(a, "unlock-last-vision"), .unlock_text = arg_int(a, "unlock-last-text"),
                         .lr_vision = arg_float(a, "lr-vision"), .lr_text = arg_float(a, "lr-text"), .layer_decay = arg_float(a, "layer-decay") };
    return read_frozen(g, arg_str(a, "freeze"), e);
}

vm_status train_clip_read(train_clip_options *o, const vm_args *a, vm_error *e) {
    static const char *const best[] = { "loss", "recall", "group", "none", NULL };
    if (train_preset_apply(a, e)) return e->status;
    int by = train_one_of(a, "keep-best", best, e);
    int64_t chunk = arg_int(a, "chunk"), pieces = arg_int(a, "accum"), batch = arg_int(a, "batch");
    optimizer_config adam = train_read_adam(a);
    *o = (train_clip_options){ .best_by = (val_best)VM_MIN(by, 2), .seed = (uint64_t)arg_int(a, "seed"), .recompute = arg_flag(a, "recompute"),
                               .theta_reset = arg_flag(a, "cmr-reset"), .dry_run = arg_flag(a, "dry-run"), .max_bad = arg_float(a, "max-bad") / 100,
                               .workers = arg_given(a, "workers") ? (int)arg_int(a, "workers") : clip_feed_workers(vm_num_threads()) };
    o->train = (clip_train_config){ .deterministic = arg_flag(a, "deterministic"), .chunk = pieces > 1 ? (batch + pieces - 1) / pieces : chunk,
                                    .clip_norm = adam.clip_norm, .max_logit_scale = 4.6051702f, .ema = arg_float(a, "ema"), .adam = adam.adam };
    if (e->status || train_read_common(&o->run, a, e)) return e->status;
    o->run.keep_best = by < 3;
    if (!o->run.out) return vm_fail(e, VM_EUSAGE, "train clip: --out DIR is needed");
    if (pieces > 1 && chunk) return vm_fail(e, VM_EUSAGE, "--chunk and --accum say the same; give one");
    if (read_loss(&o->train.loss, a, e) || read_groups(&o->groups, a, e) || train_read_lora(&o->lora, &o->adapter, a, e)) return e->status;
    return run_dtype(a, true, &o->train.dtype, e);
}

vm_status train_clip_read_val(train_val_options *v, const train_clip_options *o, const vm_args *a, vm_error *e) {
    *v = (train_val_options){ .bench = arg_str(a, "val-bench"), .limit = arg_int(a, "val-limit"), .batch = arg_int(a, "batch"), .loss = o->train.loss,
                              .dtype = o->train.dtype, .image_key = arg_str(a, "csv-img-key"), .caption_key = arg_str(a, "csv-caption-key"),
                              .image_name = arg_str(a, "image-name") };
    v->n_data = arg_list(a, "val", &v->data);
    v->places.n_roots = arg_list(a, "val-images", &v->places.roots), v->places.n_map = arg_list(a, "map", &v->places.map);
    if (!v->places.n_roots) v->places.n_roots = arg_list(a, "images", &v->places.roots);
    if (!v->n_data && !v->bench && (arg_given(a, "val-every") || arg_given(a, "val-limit") || arg_given(a, "val-images")))
        return vm_fail(e, VM_EUSAGE, "train clip: --val FILE or --val-bench DIR says what to validate on");
    if (arg_given(a, "keep-best") && o->run.keep_best && !(o->best_by == VAL_BEST_GROUP ? v->bench != NULL : v->n_data > 0))
        return vm_fail(e, VM_EUSAGE, "--keep-best %s needs %s", arg_str(a, "keep-best"), o->best_by == VAL_BEST_GROUP ? "--val-bench DIR" : "--val FILE");
    return VM_OK;
}

const vm_opt train_clip_opts[] = {
    { "data", OPT_LIST, NULL, "WHAT", "training file, folder of shards, or world:plain, world:pairs, world:spec (repeatable)", 0, 0 },
    { "images", OPT_LIST, NULL, "DIR", "where pictures are looked up (repeatable); without it beside the training file", 0, 0 },
    { "map", OPT_LIST, NULL, "PREFIX=DIR", "pictures whose names begin with PREFIX stand in DIR (repeatable)", 0, 0 },
    { "pairing", OPT_STR, "grouped", "HOW", "grouped: originals and their edits in one batch, in a new order every epoch; adjacent: rows in one order; "
      "scatter-ref: rows in any order", 0, 0 },
    { "edits", OPT_INT, NULL, "K", "grouped: edits of each original in a batch, drawn anew every epoch; 1, of CE-CLIP's records 4", 1, CLIP_CHANGES },
    { "sole-negative", OPT_FLAG, NULL, NULL, "one edit of each original, drawn once for the whole run", 0, 0 },
    { "limit", OPT_INT, "0", "N", "only so many originals, drawn by the seed; 0 = all", 0, 1e12 },
    { "csv-img-key", OPT_STR, NULL, "NAME", "column or member with the picture; else image_path, filepath, image, file_name", 0, 0 },
    { "csv-caption-key", OPT_STR, NULL, "NAME", "column or member with the caption; else caption, title, text", 0, 0 },
    { "image-name", OPT_STR, NULL, "PATTERN", "picture of a CE-CLIP record, {} = 12 digits of its image_id; else COCO_train2014_{}.jpg", 0, 0 },
    { "check-data", OPT_FLAG, NULL, NULL, "look at all records and for all pictures first; without --out print the result and end", 0, 0 },
    { "max-bad", OPT_FLOAT, "1", "PERCENT", "of records or pictures that may be unusable; more end the run with status 3", 0, 100 },
    { "max-bad-row", OPT_INT, "100", "N", "unreadable samples one after the other that end the run", 1, 1e9 },
    { "allow-truncated", OPT_FLAG, NULL, NULL, "use what there is of truncated pictures, as the original code does", 0, 0 },
    { "workers", OPT_INT, NULL, "N", "threads that read and crop pictures ahead of the training; 0 = none; else half the processors", 0, 64 },
    { "init", OPT_STR, NULL, "DIR", "model directory to start from", 0, 0 },
    RUN_ACTIVATION,
    { "scratch", OPT_STR, NULL, "DIR", "model directory to train from random weights; world: the small built-in one", 0, 0 },
    { "out", OPT_STR, NULL, "DIR", "run directory: checkpoints/, log.jsonl, model/", 0, 0 },
    { "preset", OPT_STR, NULL, "NAME", "a published recipe (vismin-clip, vismin-siglip, ce-clip, ceclip-head, ceclip-single, negclip, trohn-img); options given win", 0, 0 },
    { "show", OPT_FLAG, NULL, NULL, "print the values of the preset, or of all, with the source of each number, and end", 0, 0 },
    { "loss", OPT_STR, "itc", "NAME", "itc: originals and edits are all pairs; itc-hn: edits are extra columns only; sigmoid: all pairs, SigLIP", 0, 0 },
    { "twin-weight", OPT_FLOAT, "0", "X", "weight of the two-way terms within each original and its edit", 0, 100 },
    { "hard-negatives", OPT_STR, "both", "OF", "itc-hn: what widens the softmax of originals: text, image or both", 0, 0 },
    { "imc-weight", OPT_FLOAT, "0", "X", "weight of CE-CLIP's intra-modal term: captions against changed captions; CE-CLIP uses 0.2 or 0.3", 0, 100 },
    { "imc", OPT_STR, "itc-positive", "KIND", "itc-positive: as published; ref-head, ref-2023: as two states of CE-CLIP's code", 0, 0 },
    { "cmr-weight", OPT_FLOAT, "0", "X", "weight of CE-CLIP's rank term: image to caption above image to changed caption; CE-CLIP uses 0.2", 0, 100 },
    { "cmr-threshold", OPT_STR, "mean", "KIND", "margin, per column of changes: mean or max (adaptive), or a fixed number of logits", 0, 0 },
    { "cmr-bound", OPT_FLOAT, "10", "X", "largest adaptive margin, in logits", 0, 1000 },
    { "cmr-reset", OPT_FLAG, NULL, NULL, "adaptive margins begin at 0 in every epoch, as in CE-CLIP's code", 0, 0 },
    { "ref-invalid", OPT_FLAG, NULL, NULL, "places without a change count as negatives in ITC and IMC, as in CE-CLIP's code", 0, 0 },
    { "ref-sigmoid-mean", OPT_FLAG, NULL, NULL, "sigmoid: mean over all N x N cells, 1/N of the loss, as VisMin's code has it", 0, 0 },
    { "dedup-captions", OPT_FLAG, NULL, NULL, "rows of a batch with equal captions are no negatives of each other", 0, 0 },
    { "ref-grad-scale", OPT_INT, "1", "W", "divides the towers' gradients by W: open_clip's default on W GPUs, which Adam mostly hides", 1, 65536 },
    { "batch", OPT_INT, "128", "N", "pictures of a step, those of edits included", 2, 65536 },
    { "chunk", OPT_INT, "0", "N", "at most N rows in a tower at a time, same gradients as without (but a ResNet normalises each chunk by itself); 0 = all", 0, 65536 },
    { "accum", OPT_INT, "1", "K", "the same in other words: a step in K pieces, exact for loss and temperature", 1, 65536 },
    TRAIN_RECOMPUTE_OPT,
    TRAIN_COMMON_OPTS("5e-6", "50"),
    TRAIN_ADAM_OPTS("0.1", "0.98", "1e-6", "0"),
    { "freeze", OPT_STR, NULL, "LIST", "what does not learn: of vision, text, embeddings, scale, statistics (of a ResNet's normalisation), with commas", 0, 0 },
    { "unlock-last-vision", OPT_INT, "-1", "N", "of the vision tower only the last N layers and the head learn; -1 = all do", -1, 1000 },
    { "unlock-last-text", OPT_INT, "-1", "N", "the same of the text tower", -1, 1000 },
    { "lr-vision", OPT_FLOAT, "1", "X", "multiplies the learning rate of the vision tower", 1e-9, 1e9 },
    { "lr-text", OPT_FLOAT, "1", "X", "multiplies that of the text tower", 1e-9, 1e9 },
    { "lora", OPT_STR, NULL, "R[,ALPHA]", "train a low-rank adapter of both towers alone; RUN/adapter is a PEFT directory", 0, 0 },
    { "lora-targets", OPT_STR, NULL, "LIST", "modules with an adapter, of q_proj,k_proj,v_proj,out_proj,fc1,fc2; all when not given", 0, 0 },
    { "dora", OPT_FLAG, NULL, NULL, "the adapter of --lora has magnitudes, too (DoRA)", 0, 0 },
    { "adapter", OPT_STR, NULL, "DIR", "go on from this adapter, a PEFT directory", 0, 0 },
    { "ema", OPT_FLOAT, "0", "D", "also keep a moving average of the weights with this decay, RUN/model-ema; 0 = none", 0, 0.999999 },
    { "layer-decay", OPT_FLOAT, "1", "X", "each layer learns X times as fast as the one above it", 0.01, 1 },
    { "mix", OPT_STR, "1:1:1:1", "O:A:R:C", "world:pairs: weights of object, attribute, relation, counting", 0, 0 },
    { "plain-share", OPT_FLOAT, "0", "X", "world:pairs: part of the rows that are ordinary scenes", 0, 0.9 },
    { "curriculum", OPT_FLAG, NULL, NULL, "world: one object per scene until 6 % of the run, two until 18 %", 0, 0 },
    { "category", OPT_LIST, NULL, "NAME", "only edits of this category (repeatable)", 0, 0 },
    { "no-edits", OPT_FLAG, NULL, NULL, "originals only (a control)", 0, 0 },
    { "no-augment", OPT_FLAG, NULL, NULL, "centre crops instead of random ones", 0, 0 },
    TRAIN_DRY_RUN_OPT,
    { "keep-best", OPT_STR, "loss", "WHAT", "with --val, the checkpoint of the best validation stays: by loss, recall (R@1), group (--val-bench), or none", 0, 0 },
    { "val", OPT_LIST, NULL, "FILE", "training file to validate on: loss, ranks, R@1, R@5, R@10 (repeatable)", 0, 0 },
    { "val-images", OPT_LIST, NULL, "DIR", "where its pictures are looked up (repeatable); else as --images", 0, 0 },
    { "val-bench", OPT_STR, NULL, "DIR", "benchmark in VisMin's layout to validate on: text, image and group scores", 0, 0 },
    { "val-limit", OPT_INT, "0", "N", "only the first N pairs of --val; 0 = all", 0, 1e9 },
    { 0 },
};
