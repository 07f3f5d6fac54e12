/* judge.c - see judge.h. */
#include "pipeline/judge.h"

#include <math.h>
#include <string.h>

static const judge_kind *const kinds[] = { &judge_clip };

vm_status judge_open(judge **out, const vm_args *a, vm_error *e) {
    static const char *const places[] = { "full", "crop", "both" };
    const char *name = arg_str(a, "judge"), *where = arg_str(a, "judge-on");
    int k = 0, w = 0;
    *out = NULL;
    while (w < VM_LEN(places) && strcmp(places[w], where)) w++;
    if (w == VM_LEN(places)) return vm_fail(e, VM_EUSAGE, "--judge-on %s: known are full, crop, both", where);
    if (!strcmp(name, "none")) return VM_OK;
    while (k < VM_LEN(kinds) && strcmp(kinds[k]->name, name)) k++;
    if (k == VM_LEN(kinds)) return vm_fail(e, VM_EUSAGE, "--judge %s: known are clip, none", name);
    judge *j = *out = vm_calloc(1, sizeof *j);
    if (!j) return vm_nomem(e, sizeof *j, "a judge");
    j->kind = kinds[k], j->where = (judge_where)(w + 1);
    j->accept = arg_given(a, "accept") ? arg_float(a, "accept") : kinds[k]->accept;
    if (j->kind->open(j, a, e)) judge_close(j), *out = NULL;
    return e->status;
}

void judge_close(judge *j) {
    if (j) j->kind->close(j);
    vm_free(j);
}

void judge_crop(const float box[4], int w, int h, int crop[4]) {
    const int side[2] = { w, h };
    for (int k = 0; k < 2; k++) {
        double pad = 0.1 * (double)(box[k + 2] - box[k]), a = floor((double)box[k] - pad), b = ceil((double)box[k + 2] + pad), more = fmin(64, side[k]) - (b - a);
        if (more > 0) a -= floor(more / 2), b += more - floor(more / 2);
        if (a < 0) b = fmin(b - a, side[k]), a = 0;
        if (b > side[k]) a = fmax(a - (b - side[k]), 0), b = side[k];
        crop[k] = (int)a, crop[k + 2] = (int)b;
    }
}
