/* eval_command.c - see eval_command.h. */
#include "pipeline/eval_command.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/log.h"
#include "pipeline/run.h"

enum { REASONS = 10 }; /* said on stderr; all of them stand in skipped.jsonl */

eval_model *eval_open_model(const vm_args *a, vm_error *e) {
    const char *given = arg_pos(a, 0), *name = arg_str(a, "name");
    bool built_in = eval_model_is_built_in(given);
    const char *model = built_in ? given : arg_model(a, given, e);
    eval_model *m = NULL;
    vm_type dtype = VM_F32;
    towers_options o = { .how = TOWERS_READ };
    vm_backend *be = built_in || !model ? NULL : run_backend(a, e);
    if (!built_in && (!be || run_dtype(a, true, &dtype, e) || run_activation(a, &o.activation, e))) return NULL;
    if (!name && !built_in && strcmp(model, given)) name = given; /* not the commit, which is its folder's name */
    eval_model_open(&m, model, name, be, &o, dtype, arg_flag(a, "deterministic"), (uint64_t)arg_int(a, "seed"), e);
    return m;
}

vm_status eval_open_vectors(const vm_args *a, eval_model **m, embed_cache **cache, vm_error *e) {
    *m = NULL, *cache = NULL;
    if (eval_model_is_built_in(arg_pos(a, 0)))
        return vm_fail(e, VM_EUSAGE, "%s has no vectors; give a model directory", arg_pos(a, 0));
    if (!(*m = eval_open_model(a, e))) return e->status;
    if (embedder_towers((*m)->x)->unused) vm_warn("%s", embedder_towers((*m)->x)->unused);
    return eval_model_cache(*m, arg_str(a, "embed-cache"), cache, e);
}

int eval_word(const vm_args *a, const char *option, const char *const *words, int n, vm_error *e) {
    const char *given = arg_str(a, option);
    char known[128] = "";
    for (int k = 0; k < n; k++) {
        if (!strcmp(given, words[k])) return k;
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", !k ? "" : k + 1 < n ? ", " : " or ",
                 words[k]);
    }
    vm_fail(e, VM_EUSAGE, "eval: --%s %s: expected %s", option, given, known);
    return 0;
}

media_places eval_places(const vm_args *a) {
    media_places p = { .allow_absolute = arg_flag(a, "allow-absolute") };
    p.n_roots = arg_list(a, "images", &p.roots), p.n_map = arg_list(a, "map", &p.map);
    return p;
}

vm_status eval_picture_options(const vm_args *a, eval_options *o, vm_error *e) {
    static const char *const alphas[] = { "drop", "white", "black" };
    static const image_alpha alpha_of[] = { ALPHA_DROP, ALPHA_WHITE, ALPHA_BLACK };
    o->allow_truncated = arg_flag(a, "allow-truncated"), o->exif_rotate = arg_flag(a, "exif-rotate");
    o->max_pixels = arg_int(a, "max-pixels");
    o->alpha = alpha_of[eval_word(a, "alpha", alphas, VM_LEN(alphas), e)];
    return e->status;
}

char *eval_make_folder(const vm_args *a, const char *task, const eval_model *m, vm_error *e) {
    const char *out = arg_str(a, "out");
    char *dir = out ? vm_asprintf("%s/%s/%s", out, task, m->slug) : NULL;
    if (out && !dir) vm_nomem(e, 256, "a path");
    else if (dir) dir_make(dir, e);
    return dir;
}

void eval_say_faults(const eval_set *s, int64_t n, const eval_fault *fault, int64_t records, const char *dir) {
    int64_t all = s->n_faults + n;
    for (int64_t i = 0; i < VM_MIN(all, (int64_t)REASONS); i++)
        vm_warn("%s", i < s->n_faults ? s->fault[i].why : fault[i - s->n_faults].why);
    if (all > REASONS) vm_warn("... and %" PRId64 " more", all - REASONS);
    if (all)
        vm_warn("%" PRId64 " of %" PRId64 " records were not scored%s%s%s%s", all, records,
                s->on_error == EVAL_WRONG ? " and count as wrong" : "", dir ? "; listed in " : "", dir ? dir : "",
                dir ? "/skipped.jsonl" : "");
}
