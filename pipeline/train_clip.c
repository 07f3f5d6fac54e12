/* train_clip.c - `vismin train clip`: opens data and model, trains (train_clip_task.c), writes the model. */
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/log.h"
#include "pipeline/run.h"
#include "pipeline/train_clip.h"
#include "pipeline/train_data.h"

/* --- set-up ------------------------------------------------------------------------------------------------------- */
static vm_status open_model(towers **out, vm_backend *be, const char *dir, const vm_args *a, vm_error *e) {
    const char *init = arg_str(a, "init");
    towers_options o = { .how = init ? TOWERS_TRAIN : TOWERS_FRESH, .seed = (uint64_t)arg_int(a, "seed") };
    if (arg_given(a, "init") == arg_given(a, "scratch")) return vm_fail(e, VM_EUSAGE, "train clip: one of --init DIR (weights to start from) and --scratch DIR (configuration only) is needed");
    if (run_activation(a, &o.activation, e)) return e->status;
    return towers_open(out, be, dir, &o, e);
}

/* --- the command ---------------------------------------------------------------------------------------------------- */
/* OUT/NAME: weights in both layouts, with the tokenizer and processor files of the model it began with; or the adapter. */
static vm_status export_one(const towers *m, const char *from, const char *out, const char *name, const char *dtype, vm_error *e) {
    char *dir = path_join(out, name);
    st_dtype t = st_dtype_of(dtype);
    if (!dir) return vm_nomem(e, 256, "a path");
    if (m->lora) {
        if (!dir_make(dir, e) && !lora_save(m->lora, dir, from, e)) vm_info("adapter in %s", dir);
    } else if (!dir_make(dir, e) && !m->family->save(m, dir, t, true, e) && !towers_copy_processors(from, dir, true, e)) vm_info("model in %s", dir);
    vm_free(dir);
    return e->status;
}

/* Processes that do not do the same thing would wait for each other forever. */
static vm_status agree(vm_comm *c, const clip_source *s, const train_clip_options *o, vm_error *e) {
    bool same;
    uint64_t x = (uint64_t)crc32c(crc32c(0, o->run.command, strlen(o->run.command)), s->digest, strlen(s->digest)) << 32 | (uint32_t)o->run.steps;
    if (vm_comm_same(c, x, &same, e) || same) return e->status;
    return vm_fail(e, VM_EUSAGE, "rank %d of %d: options or data differ between the processes; start all of them with one command on the same files", c->rank, c->size);
}

static vm_status export_model(const towers *m, const char *from, const char *out, const char *dtype, bool average, vm_error *e) {
    if (export_one(m, from, out, m->lora ? "adapter" : "model", dtype, e) || !average) return e->status;
    weights_swap_average(m->w);
    export_one(m, from, out, m->lora ? "adapter-ema" : "model-ema", dtype, e);
    weights_swap_average(m->w);
    return e->status;
}

static vm_status train(const vm_args *a, vm_comm *comm, vm_error *e) {
    const char *dir = train_begins(a, e), *out = arg_str(a, "out");
    char *world = NULL; /* --scratch world: its own configuration, written into the run directory */
    towers *m = NULL;
    clip_source *source = NULL;
    tok *t = NULL, *val_tok = NULL; /* the first belongs to the data threads */
    train_val *val = NULL;
    train_val_options vo;
    vm_preprocess pp;
    file_lock lock = { .fd = -1 };
    train_clip_options o;
    if (e->status) return e->status;
    if (arg_flag(a, "show")) return train_preset_show(a, e);
    if (arg_flag(a, "check-data") && !out) { /* alone: nothing is trained */
        train_data_open(&source, a, e);
        return e->status;
    }
    if (train_clip_read(&o, a, e) || train_clip_read_val(&vo, &o, a, e)) return e->status;
    if (dir && !strcmp(dir, "world")) {
        if (!(dir = world = path_join(out, "base"))) return vm_nomem(e, 256, "a path");
        if (clip_world_model(dir, e)) goto done;
    }
    vm_backend *be = run_backend(a, e);
    if (!be || train_data_open(&source, a, e) || open_model(&m, be, dir, a, e)) goto done;
    m->recompute = o.recompute;
    if ((o.lora.r || o.adapter) && towers_adapt(m, &o.lora, o.adapter, e)) goto done;
    if (m->lora) vm_info("adapter: %s, %.2f M parameters", lora_text(m->lora), (double)lora_count(m->lora) * 1e-6);
    if (tower_groups_apply(m, &o.groups, e) || tok_open(&t, dir, e) || preprocess_load(&pp, dir, e)) goto done;
    if (!o.dry_run && dir_make(out, e)) goto done;
    o.run.comm = comm;
    if (clip_source_share(source, comm->rank, comm->size, e)) goto done;
    if (!comm->rank && !o.dry_run && file_lock_take(&lock, out, e)) goto done; /* one lock for all ranks */
    double epochs = arg_given(a, "steps") ? 0 : arg_float(a, "epochs");
    if (epochs > 0 && !source->n_groups) vm_fail(e, VM_EUSAGE, "--epochs: the world has no end; give --steps");
    else if (epochs > 0) o.run.steps = (int64_t)(epochs * (double)clip_source_epoch(source));
    if (!e->status && o.run.steps < 1) vm_fail(e, VM_EUSAGE, "train clip: no steps: give --steps N, or --epochs X with a batch smaller than the data");
    if (e->status || agree(comm, source, &o, e)) goto done;
    bool validates = (vo.n_data || vo.bench) && !comm->rank && !o.dry_run; /* rank 0, for all */
    if (validates && (tok_open(&val_tok, dir, e) || train_val_open(&val, &vo, m, val_tok, &pp, e))) goto done;
    vm_info("%.2f M parameters, %lld originals and %lld edits a step, %s products", (double)weight_count(m->w) * 1e-6, (long long)source->n_orig,
            (long long)source->n_twins, vm_type_name(o.train.dtype));
    if (!train_clip_run(m, source, t, &pp, val, &o, e) && !comm->rank && !o.dry_run) export_model(m, dir, out, arg_str(a, "save-dtype"), o.train.ema > 0, e);
done:
    file_lock_free(&lock);
    train_val_free(val);
    tok_free(t), tok_free(val_tok);
    if (source) source->free(source);
    towers_free(m);
    vm_free(world);
    return e->status;
}

static vm_status run(const vm_args *a, vm_error *e) {
    vm_comm *comm;
    if (vm_comm_open(&comm, e)) return e->status;
    if (comm->rank) log_set(log_to_stderr, NULL, LOG_WARN); /* rank 0 says what goes on */
    train(a, comm, e);
    if (comm->size > 1 && e->status && e->status != VM_ESTOP) {
        vm_warn("rank %d of %d ends all: %s", comm->rank, comm->size, e->msg);
        comm->abort(comm, e->status); /* the others wait for this one */
    }
    vm_comm_close(comm);
    return e->status;
}

const vm_command cmd_train_clip = {
    .name = "train clip", .summary = "fine-tune or train CLIP with hard negatives", .usage = "--data WHAT (--init DIR | --scratch DIR) --out RUN [options]",
    .about = "Trains both towers. Originals and their edits share a batch, so each is the other's hard negative. Kill it at any time:\n"
             "the same command goes on from the last checkpoint with the same result.\n\n"
             "  vismin train clip --data train.json --images coco/ --init clip-vit-large-patch14 --batch 256 --epochs 10 --out run/\n"
             "  vismin train clip --data 'shards/{000..010}.tar' --init clip-vit-base-patch32 --out run/\n"
             "  vismin train clip --data train.json --images coco/ --check-data\n"
             "  vismin train clip --data world:pairs --init weights/tiny/clip-plain --twin-weight 1 --batch 160 --steps 300 --lr 6e-4 --out run/\n\n"
             "Training files are known by their first bytes: VisMin's JSON; COCO's captions; JSON Lines of VisMin's samples, of CE-CLIP's\n"
             "records or of pictures with captions; CE-CLIP's .npy records; comma or tab separated tables; WebDataset tar shards.\n"
             "A picture that cannot be read is passed over, listed in RUN/bad_samples.jsonl, and replaced by another one.\n",
    .opts = train_clip_opts, .run = run,
};
