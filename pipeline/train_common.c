/* train_common.c - the options that all trainings share, and what they mean. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/log.h"
#include "models/lora.h"
#include "pipeline/run.h"
#include "pipeline/train_loop.h"

int train_one_of(const vm_args *a, const char *option, const char *const *known, vm_error *e) {
    const char *given = arg_str(a, option);
    char all[128] = "";
    for (int k = 0; known[k]; k++) {
        if (!strcmp(given, known[k])) return k;
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", k ? ", " : "", known[k]);
    }
    vm_fail(e, VM_EUSAGE, "--%s %s: known are %s", option, given, all);
    return 0;
}

vm_status train_read_common(train_options *o, const vm_args *a, vm_error *e) {
    static const char *const schedules[] = { "cosine", "const", "const-cooldown", "linear", NULL }, *const resume[] = {
        "auto", "never", "force", NULL
    };
    static const char *const full[] = { "continue", "pause", NULL }, *const types[] = { "f32", "f16", "bf16", NULL };
    int how = train_one_of(a, "resume", resume, e);
    train_one_of(a, "save-dtype", types, e); /* st_dtype_of reads it at the end */
    *o = (train_options){ .out = arg_str(a, "out"),
                          .command = arg_line(a),
                          .args = a,
                          .resume = how != 1,
                          .resume_forced = how == 2,
                          .wait_for_room = train_one_of(a, "on-enospc", full, e) == 1,
                          .skip_z = arg_float(a, "skip-z"),
                          .steps = arg_int(a, "steps"),
                          .log_every = arg_int(a, "log-every"),
                          .save_every = arg_int(a, "save-every"),
                          .val_every = arg_int(a, "val-every"),
                          .keep_last = (int)arg_int(a, "keep-last") };
    o->schedule = (lr_schedule){ .kind = (lr_kind)train_one_of(a, "schedule", schedules, e),
                                 .lr = arg_float(a, "lr"),
                                 .warm = arg_int(a, "warmup"),
                                 .cooldown = arg_int(a, "cooldown"),
                                 .power = arg_float(a, "cooldown-power"),
                                 .end = arg_float(a, "cooldown-end") };
    if (e->status) return e->status;
    if (arg_given(a, "cooldown") != (o->schedule.kind == LR_CONST_COOLDOWN))
        return vm_fail(e, VM_EUSAGE, "--schedule const-cooldown and --cooldown N go together");
    if (arg_given(a, "steps") && arg_given(a, "epochs"))
        return vm_fail(e, VM_EUSAGE, "--steps and --epochs say the same; give one");
    return VM_OK;
}

void train_say_memory(const optimizer_bytes *own, size_t activations, const char *of, size_t others, const char *named, const char *less) {
    const size_t all = own->weights + own->gradients + own->moments + own->average + activations + others, has = run_memory();
    char more[128] = "";
    if (others) snprintf(more, sizeof more, ", %s %.2f", named, (double)others * 1e-9);
    vm_info("memory: weights %.2f GB, gradients %.2f, moments %.2f, average %.2f%s, activations %.2f%s: %.2f GB", (double)own->weights * 1e-9,
            (double)own->gradients * 1e-9, (double)own->moments * 1e-9, (double)own->average * 1e-9, more, (double)activations * 1e-9, of, (double)all * 1e-9);
    if (has && all > has) vm_warn("that is more than the %.2f GB of this machine; %s need less", (double)has * 1e-9, less);
}

optimizer_config train_read_adam(const vm_args *a) {
    return (optimizer_config){ .adam = { (float)arg_float(a, "beta1"), (float)arg_float(a, "beta2"),
                                         (float)arg_float(a, "eps"), (float)arg_float(a, "wd") },
                               .clip_norm = (float)arg_float(a, "clip-norm") };
}

const char *train_begins(const vm_args *a, vm_error *e) {
    const char *init = arg_str(a, "init"), *scratch = arg_str(a, "scratch");
    return !init && scratch && !strcmp(scratch, "world") ? scratch : arg_model(a, init ? init : scratch, e);
}

vm_status train_read_lora(lora_options *l, const char **adapter, const vm_args *a, vm_error *e) {
    const char *text = arg_str(a, "lora");
    char *end = NULL;
    *l = (lora_options){ .targets = arg_str(a, "lora-targets"),
                         .seed = (uint64_t)arg_int(a, "seed"),
                         .dora = arg_flag(a, "dora") },
    *adapter = arg_str(a, "adapter");
    if (text) l->r = strtoll(text, &end, 10);
    if (text && *end == ',') l->alpha = strtod(end + 1, &end);
    if (text && (*end || l->r < 1 || l->r > 65536 || !(l->alpha >= 0)))
        return vm_fail(e, VM_EUSAGE, "--lora %s: a rank, or rank,alpha is needed", text);
    if (text && *adapter)
        return vm_fail(e, VM_EUSAGE, "--lora makes a new adapter and --adapter goes on with one; give one of them");
    if ((l->targets || l->dora) && !text)
        return vm_fail(e, VM_EUSAGE, "--%s goes with --lora", l->dora ? "dora" : "lora-targets");
    return VM_OK;
}
