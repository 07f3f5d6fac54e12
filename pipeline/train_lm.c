/* train_lm.c - `vismin train lm`: opens texts and model, trains (train_lm_task.c), writes the model or the adapter. */
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "pipeline/run.h"
#include "pipeline/train_lm.h"

typedef struct {
    const vm_args *a;
    const char *dir; /* the model, or its configuration */
    llm *m;
    tok *t;
    lm_data data, val;
    lora_options lora;
    const char *adapter;
} job;

/* --- what it starts from ----------------------------------------------------------------------------------------- */
static vm_status open_model(job *j, vm_backend *be, vm_error *e) {
    const char *init = arg_str(j->a, "init");
    bool adapts = j->lora.r || j->adapter;
    llm_config c;
    if (init && llm_open(&j->m, be, j->dir, !adapts, e)) return e->status;
    if (!init && !llm_config_read(&c, j->dir, e)) llm_new(&j->m, be, &c, (uint64_t)arg_int(j->a, "seed"), e);
    if (e->status) return e->status;
    if (j->m->unused) vm_warn("%s", j->m->unused);
    if (adapts && llm_adapt(j->m, &j->lora, j->adapter, e)) return e->status;
    if (j->m->adapter)
        vm_info("adapter: %s, %.2f M parameters", lora_text(j->m->adapter), (double)lora_count(j->m->adapter) * 1e-6);
    return VM_OK;
}

static vm_status find_model(job *j, vm_error *e) {
    const char *init = arg_str(j->a, "init"), *config = arg_str(j->a, "init-config");
    if (!init == !config)
        return vm_fail(e, VM_EUSAGE,
                       "train lm: one of --init DIR (weights to start from) and --init-config DIR (configuration only) "
                       "is needed");
    j->dir = arg_model(j->a, init ? init : config, e);
    return e->status;
}

/* --- texts ------------------------------------------------------------------------------------------------------- */
static vm_status read_texts(job *j, const char *option, lm_data *d, vm_error *e) {
    const char *const *paths, *layout = arg_str(j->a, "chat-template");
    int n = arg_list(j->a, option, &paths);
    const llm_config *c = &j->m->c;
    lm_options o = { .end = c->stops ? c->stop[0] : tok_get_info(j->t)->eos, .longest = arg_int(j->a, "max-length") };
    if (!o.longest || o.longest > c->context) o.longest = c->context;
    if (!n) return VM_OK;
    if (!strcmp(layout, "auto")) chat_of(&o.chat, j->dir, e);
    else if (strcmp(layout, "none")) o.chat = chat_by_name(layout, e);
    if (e->status || lm_data_read(d, paths, n, j->t, &o, e)) return e->status;
    double most = arg_float(j->a, "max-bad") / 100, lines = (double)(d->n + d->bad + d->empty);
    if ((double)d->bad > most * lines)
        return vm_fail(e, VM_EINPUT, "%lld of %.0f lines cannot be used, more than --max-bad %g %%; the first: %s",
                       (long long)d->bad, lines, 100 * most, d->first_bad);
    if (d->bad) vm_warn("%lld lines are left out; the first: %s", (long long)d->bad, d->first_bad);
    if (d->empty)
        vm_warn("%lld texts have nothing to learn within %lld tokens and are left out", (long long)d->empty,
                (long long)o.longest);
    if (d->cut) vm_warn("%lld texts are longer than %lld tokens and were cut", (long long)d->cut, (long long)o.longest);
    if (o.end < 0) vm_warn("%s: no end token is named, so texts have no mark of their end", j->dir);
    vm_info("--%s: %lld texts, %lld tokens, of which %lld are learnt", option, (long long)d->n, (long long)d->n_ids,
            (long long)d->marked);
    return VM_OK;
}

/* --- the command ------------------------------------------------------------------------------------------------- */
static vm_status read_options(train_lm_options *o, const vm_args *a, job *j, vm_error *e) {
    const char *const *files;
    *o = (train_lm_options){ .batch = arg_int(a, "batch"),
                             .pieces = arg_int(a, "accum"),
                             .in_order = arg_flag(a, "in-order"),
                             .packs = arg_flag(a, "packing"),
                             .dry_run = arg_flag(a, "dry-run"),
                             .seed = (uint64_t)arg_int(a, "seed") };
    o->train = (llm_train_config){ .optimizer = train_read_adam(a),
                                   .deterministic = arg_flag(a, "deterministic"),
                                   .recompute = arg_flag(a, "recompute") };
    o->train.optimizer.ema = arg_float(a, "ema");
    if (train_read_common(&o->run, a, e) || train_read_lora(&j->lora, &j->adapter, a, e) ||
        run_dtype(a, true, &o->train.dtype, e))
        return e->status;
    o->run.keep_best = arg_flag(a, "keep-best");
    if (!o->run.out) return vm_fail(e, VM_EUSAGE, "train lm: --out DIR is needed");
    if (!arg_list(a, "data", &files)) return vm_fail(e, VM_EUSAGE, "train lm: --data FILE is needed");
    if (o->batch % o->pieces)
        return vm_fail(e, VM_EUSAGE, "--batch %lld is no multiple of --accum %lld", (long long)o->batch,
                       (long long)o->pieces);
    if (!arg_list(a, "val", &files) && (arg_given(a, "val-every") || o->run.keep_best))
        return vm_fail(e, VM_EUSAGE, "train lm: --val FILE says what to validate on");
    return VM_OK;
}

static vm_status export_model(const job *j, const char *out, const char *name, vm_error *e) {
    const st_dtype t = st_dtype_of(arg_str(j->a, "save-dtype"));
    char *dir = path_join(out, name);
    if (!dir) return vm_nomem(e, 256, "a path");
    if (!dir_make(dir, e) &&
        !(j->m->adapter ? lora_save(j->m->adapter, dir, j->dir, e) : llm_save(j->m, j->dir, dir, t, e)))
        vm_info("%s in %s", j->m->adapter ? "adapter" : "model", dir);
    vm_free(dir);
    return e->status;
}

static vm_status export_all(const job *j, const train_lm_options *o, vm_error *e) {
    bool adapter = j->m->adapter != NULL;
    if (export_model(j, o->run.out, adapter ? "adapter" : "model", e) || o->train.optimizer.ema <= 0) return e->status;
    weights_swap_average(&j->m->w);
    export_model(j, o->run.out, adapter ? "adapter-ema" : "model-ema", e);
    weights_swap_average(&j->m->w);
    return e->status;
}

static vm_status run(const vm_args *a, vm_error *e) {
    job j = { .a = a };
    train_lm_options o;
    file_lock lock = { .fd = -1 };
    if (read_options(&o, a, &j, e)) return e->status;
    vm_backend *be = run_backend(a, e);
    if (!be || (!o.dry_run && (dir_make(o.run.out, e) || file_lock_take(&lock, o.run.out, e))) || find_model(&j, e) ||
        open_model(&j, be, e) || tok_open(&j.t, j.dir, e) || read_texts(&j, "data", &j.data, e) ||
        read_texts(&j, "val", &j.val, e))
        goto done;
    if (tok_get_info(j.t)->vocab_len > j.m->c.vocab) {
        vm_fail(e, VM_EMODEL, "%s: the tokenizer has %lld tokens and the model %lld", j.dir,
                (long long)tok_get_info(j.t)->vocab_len, (long long)j.m->c.vocab);
        goto done;
    }
    if (arg_given(a, "epochs")) o.run.steps = (int64_t)(arg_float(a, "epochs") * (double)j.data.n / (double)o.batch);
    if (o.run.steps < 1) {
        vm_fail(e, VM_EUSAGE, "train lm: no steps: give --steps N, or --epochs X with a batch smaller than the data");
        goto done;
    }
    vm_info("%.2f M parameters, %lld texts a step, %s products", (double)weight_count(&j.m->w) * 1e-6,
            (long long)o.batch, vm_type_name(o.train.dtype));
    if (!train_lm_run(j.m, &j.data, j.val.n ? &j.val : NULL, &o, e) && !o.dry_run) export_all(&j, &o, e);
done:
    file_lock_free(&lock);
    lm_data_free(&j.data), lm_data_free(&j.val);
    tok_free(j.t);
    llm_free(j.m);
    return e->status;
}

static const vm_opt opts[] = {
    { "data", OPT_LIST, NULL, "FILE", "JSON lines of prompt and completion, of messages, or of text (repeatable)", 0,
      0 },
    { "init", OPT_STR, NULL, "DIR", "model directory to start from", 0, 0 },
    { "init-config", OPT_STR, NULL, "DIR", "configuration and tokenizer to train from random weights", 0, 0 },
    { "out", OPT_STR, NULL, "DIR", "run directory: checkpoints/, log.jsonl, model/ or adapter/", 0, 0 },
    { "lora", OPT_STR, NULL, "R[,ALPHA]", "train a low-rank adapter alone; RUN/adapter is a PEFT directory", 0, 0 },
    { "lora-targets", OPT_STR, NULL, "LIST",
      "modules with an adapter, of q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj; all when not given", 0, 0 },
    { "dora", OPT_FLAG, NULL, NULL, "the adapter of --lora has magnitudes, too (DoRA)", 0, 0 },
    { "adapter", OPT_STR, NULL, "DIR", "go on from this adapter, a PEFT directory", 0, 0 },
    { "chat-template", OPT_STR, "auto", "NAME",
      "layout of messages: auto (the model's own), none, or one that `vismin generate --help` names", 0, 0 },
    { "max-length", OPT_INT, "0", "N", "tokens of a text at most, the rest is cut off; 0 = the model's context", 0,
      1 << 24 },
    { "max-bad", OPT_FLOAT, "1", "PERCENT", "of lines that may be unusable; more end the run with status 3", 0, 100 },
    { "in-order", OPT_FLAG, NULL, NULL,
      "texts in the order of the files, again and again; else a new order every epoch", 0, 0 },
    { "batch", OPT_INT, "32", "N", "texts of a step", 1, 65536 },
    { "accum", OPT_INT, "1", "K",
      "a step in K pieces of texts of like length, exact for loss and gradients: less memory, less padding", 1, 4096 },
    { "packing", OPT_FLAG, NULL, NULL,
      "texts one behind the other in rows, each seeing itself alone, instead of side by side with padding: the same step "
      "in less time. Off unless given, as in TRL, but --batch counts texts all the same",
      0, 0 },
    TRAIN_RECOMPUTE_OPT,
    TRAIN_COMMON_OPTS("2e-5", "50"),
    TRAIN_ADAM_OPTS("0.01", "0.999", "1e-8", "1"),
    { "ema", OPT_FLOAT, "0", "D", "also keep a moving average of the weights with this decay, RUN/model-ema; 0 = none",
      0, 0.999999 },
    { "val", OPT_LIST, NULL, "FILE", "texts to validate on: loss and perplexity (repeatable)", 0, 0 },
    { "keep-best", OPT_FLAG, NULL, NULL, "with --val, the checkpoint of the best validation stays", 0, 0 },
    TRAIN_DRY_RUN_OPT,
    { 0 },
};

const vm_command cmd_train_lm = {
    .name = "train lm",
    .summary = "fine-tune or train a language model, whole or by a low-rank adapter",
    .usage = "--data FILE (--init DIR | --init-config DIR) --out RUN [options]",
    .about = "Llama, Mistral, Qwen2, Phi-3 or Gemma weights. Of {\"prompt\", \"completion\"} the completion is learnt, "
             "of {\"messages\"} what the assistant\n"
             "says, of {\"text\"} all. The texts of a step are sorted by length and padded on the right in --accum "
             "pieces,\nor packed into rows with --packing; padding is not learnt.\n"
             "The loss is the mean over all learnt tokens of the step. Kill it at any time: the same command goes on "
             "from the last checkpoint\n"
             "with the same result.\n\n"
             "  vismin train lm --data edits.jsonl --init mistral-7b/ --lora 16,32 --batch 32 --accum 8 --lr 2e-4 "
             "--epochs 2 --out run/\n"
             "  vismin train lm --data world/texts.jsonl --init-config world/model --batch 64 --steps 4000 --lr 2e-3 "
             "--out run/\n",
    .opts = opts,
    .run = run,
};
