/* train_presets.c - published recipes as values of options of `vismin train clip`. Each value names where it is from; what
 * the command line says wins. Batches are those of all GPUs together, in rows as --batch counts them. */
#include <stdio.h>
#include <string.h>

#include "pipeline/run.h"
#include "pipeline/train_clip.h"

typedef struct {
    const char *option, *value, *from;
} setting;
typedef struct {
    const char *name, *about;
    setting set[20];
} preset;

#define FORK "script of the VisMin training code"
#define CECLIP "script of the CE-CLIP training code"
#define OPEN_CLIP "open_clip's default for ViT models"
#define ADAM { "beta1", "0.9", OPEN_CLIP }, { "beta2", "0.98", OPEN_CLIP }, { "eps", "1e-6", OPEN_CLIP }

static const preset presets[] = {
    { "vismin-clip", "VisMin-CLIP (arXiv 2407.16772): originals and their edits as pairs of one batch; from OpenAI's ViT-L/14",
      { { "loss", "itc", FORK " (run_sd*.sh: no hard-negative flags)" }, { "lr", "5e-6", FORK }, { "wd", "0.1", FORK }, { "warmup", "50", FORK },
        { "epochs", "10", FORK }, { "seed", "42", FORK }, { "batch", "1024", "ours: what 4 GPUs hold is not published; 1024 to 1500" }, ADAM } },
    { "vismin-siglip", "VisMin-SigLIP (arXiv 2407.16772), from google/siglip-base-patch16-224",
      { { "loss", "sigmoid", FORK }, { "ref-sigmoid-mean", "1", "its loss is the mean over N x N" }, { "lr", "5e-6", FORK }, { "wd", "0.1", FORK },
        { "warmup", "50", FORK }, { "epochs", "10", FORK }, { "seed", "42", FORK }, { "batch", "1488", FORK ": 4 x 372" }, ADAM } },
    { "ce-clip", "CE-CLIP (Zhang et al. 2024) as published: hard negative captions, IMC with the match as the answer; from OpenAI's ViT-B/32",
      { { "loss", "itc-hn", CECLIP }, { "hard-negatives", "text", CECLIP }, { "imc-weight", "0.2", CECLIP " of 2024-02" }, { "imc", "itc-positive", "the paper" },
        { "cmr-weight", "0.2", CECLIP " of 2024-02" }, { "cmr-threshold", "mean", CECLIP }, { "cmr-bound", "10", CECLIP }, { "lr", "5e-6", CECLIP },
        { "wd", "0.1", CECLIP }, { "warmup", "50", CECLIP }, { "epochs", "5", "the published weights are epoch_5.pt" }, { "seed", "42", CECLIP },
        { "batch", "512", CECLIP " of 2024-02: 4 x 128" }, ADAM } },
    { "ceclip-head", "CE-CLIP as the last state of its code computes it (2024-03-27)",
      { { "loss", "itc-hn", CECLIP }, { "hard-negatives", "text", CECLIP }, { "imc-weight", "0.3", CECLIP }, { "imc", "ref-head", "its loss of 2024-03-27" },
        { "cmr-weight", "0.2", CECLIP }, { "cmr-threshold", "mean", CECLIP }, { "cmr-bound", "10", CECLIP }, { "cmr-reset", "1", "its epoch loop" },
        { "ref-invalid", "1", "its loss masks CMR only" }, { "ref-grad-scale", "4", "4 GPUs, features gathered without gradient" }, { "lr", "5e-6", CECLIP },
        { "wd", "0.1", CECLIP }, { "warmup", "50", CECLIP }, { "epochs", "10", CECLIP }, { "seed", "42", CECLIP }, { "batch", "1512", CECLIP ": 4 x 378" }, ADAM } },
    { "ceclip-single", "CE-CLIP's script for one GPU",
      { { "loss", "itc-hn", CECLIP }, { "hard-negatives", "text", CECLIP }, { "imc-weight", "0.3", CECLIP }, { "imc", "itc-positive", "the paper" },
        { "cmr-weight", "0.2", CECLIP }, { "cmr-threshold", "mean", CECLIP }, { "cmr-bound", "10", CECLIP }, { "lr", "5e-6", CECLIP }, { "wd", "0.1", CECLIP },
        { "warmup", "50", CECLIP }, { "epochs", "10", CECLIP }, { "seed", "42", CECLIP }, { "batch", "256", CECLIP }, ADAM } },
    { "negclip", "NegCLIP (Yuksekgonul et al. 2023): each picture with a similar one, each caption with a swapped one; from OpenAI's ViT-B/32",
      { { "loss", "itc-hn", "its code: pictures against all captions" }, { "hard-negatives", "text", "its code" }, { "lr", "1e-6", "its README" },
        { "wd", "0.2", OPEN_CLIP }, { "warmup", "50", "its README" }, { "epochs", "5", "its README" },
        { "batch", "1024", "its README: 256 captions, each with a picture alike and both with a negative" }, ADAM } },
    { "trohn-img", "CLIP on TROHN-Img: 200 pairs and 200 hard negatives in a batch",
      { { "loss", "itc", "its description" }, { "lr", "1e-6", "its description" }, { "wd", "0.1", "its description" }, { "warmup", "50", "its description" },
        { "epochs", "10", "its description" }, { "batch", "400", "its description" }, ADAM } },
};

static const preset *find(const char *name, vm_error *e) {
    const char *names[VM_LEN(presets)];
    char all[256] = "";
    for (int k = 0; k < VM_LEN(presets); k++) {
        if (!strcmp(name, presets[k].name)) return &presets[k];
        names[k] = presets[k].name;
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", k ? ", " : "", names[k]);
    }
    const char *near = args_nearest(name, names, VM_LEN(presets));
    vm_fail(e, VM_EUSAGE, "--preset %s: known are %s%s%s%s", name, all, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    return NULL;
}

vm_status train_preset_apply(const vm_args *a, vm_error *e) {
    const char *name = arg_str(a, "preset");
    const preset *p = name ? find(name, e) : NULL;
    for (const setting *s = p ? p->set : NULL; s && s->option && !e->status; s++) {
        bool other_length = !strcmp(s->option, "epochs") && arg_given(a, "steps"); /* what was given wins */
        if (!other_length) arg_default(a, s->option, s->value, e);
    }
    return e->status;
}

vm_status train_preset_show(const vm_args *a, vm_error *e) {
    const char *name = arg_str(a, "preset");
    const preset *one = name ? find(name, e) : NULL;
    if (e->status) return e->status;
    for (const preset *p = one ? one : presets; p < (one ? one + 1 : presets + VM_LEN(presets)); p++) {
        printf("%s%s: %s\n", p == presets || one ? "" : "\n", p->name, p->about);
        for (const setting *s = p->set; s->option; s++) {
            char given[160] = "";
            const char *now = arg_given(a, s->option) ? arg_str(a, s->option) : NULL;
            if (now) snprintf(given, sizeof given, "; the command line says %s", now);
            printf("  --%-16s %-12s %s%s\n", s->option, s->value, s->from, given);
        }
    }
    return VM_OK;
}
