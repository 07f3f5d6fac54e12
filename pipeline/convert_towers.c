/* convert_towers.c - model folders in, one model folder out: an adapter merged into its base, weights of several models
 * averaged (WiSE-FT, Wortsman et al. 2022: between a model and its fine-tuned self; model soups: the mean of several). */
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "models/lora.h"
#include "models/towers.h"
#include "pipeline/convert.h"
#include "pipeline/run.h"

static vm_status average(towers *m, const char *const *others, int n, const vm_args *a, vm_error *e) {
    if (arg_given(a, "alpha") && n != 1) return vm_fail(e, VM_EUSAGE, "--alpha goes with one --average; of several models the mean is taken");
    for (int k = 0; k < n && !e->status; k++) {
        towers *b = NULL;
        double alpha = arg_given(a, "alpha") ? arg_float(a, "alpha") : 1.0 / (k + 2);
        const char *dir = arg_model(a, others[k], e);
        if (dir && !towers_open(&b, vm_backend_cpu(), dir, &(towers_options){ .how = TOWERS_READ }, e) && towers_blend(m, b, alpha, e) == VM_EMODEL) {
            vm_error why = *e;
            vm_error_clear(e);
            vm_fail(e, VM_EMODEL, "--average %s: %s", others[k], why.msg);
        }
        towers_free(b);
    }
    if (!e->status && arg_given(a, "alpha")) vm_info("%g of the first model and %g of the second", 1 - arg_float(a, "alpha"), arg_float(a, "alpha"));
    else if (!e->status) vm_info("mean of %d models", n + 1);
    return e->status;
}

vm_status convert_towers(const vm_args *a, const char *from, const char *out, st_dtype type, bool both, vm_error *e) {
    const char *adapter = arg_str(a, "merge"), *const *others;
    int n = arg_list(a, "average", &others);
    towers *m = NULL;
    char *tmp = NULL;
    if (!file_is_dir(from)) return vm_fail(e, VM_EUSAGE, "%s: --merge and --average start from a model folder", from);
    if (adapter && n) return vm_fail(e, VM_EUSAGE, "--merge and --average are two conversions; make one after the other");
    if (towers_open(&m, vm_backend_cpu(), from, &(towers_options){ .how = TOWERS_TRAIN }, e)) return e->status;
    if (adapter && !towers_adapt(m, NULL, adapter, e)) {
        vm_info("adapter: %s", lora_text(m->lora));
        lora_merge(&m->lora, e);
    }
    if (!e->status && n) average(m, others, n, a, e);
    if (!e->status && !dir_begin(&tmp, out, e)) {
        if (!m->family->save(m, tmp, type, both, e) && !towers_copy_processors(from, tmp, true, e)) dir_commit(tmp, out, e);
        if (e->status) dir_abort(tmp);
        else vm_info("model in %s", out);
    }
    vm_free(tmp);
    towers_free(m);
    return e->status;
}
