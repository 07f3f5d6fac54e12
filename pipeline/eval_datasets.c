/* eval_datasets.c - the table of benchmarks, and what is the same for all of them: options, splits, limits. A new one is
 * a file pipeline/eval_NAME.c with `const eval_dataset eval_NAME` and its name in the list below. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "io/file.h"
#include "pipeline/eval_set.h"
#include "pipeline/run.h"

#define DATASETS(X) \
    X(vismin) X(winoground) X(eqben) X(eqben_all) X(mmvp) \
    X(valse_v2) X(sugarcrepe) X(whatsup_controlled) X(whatsup_clevr) X(coco_spatial) X(gqa_spatial) \
    X(spec_i2t) X(spec_t2i) X(imagecode) X(countbench) X(vsr) \
    X(aro_vg_relation) X(aro_vg_attribution) X(aro_coco_order) X(aro_flickr_order) \
    X(pairs) X(choice)

#define DECLARE(name) extern const eval_dataset eval_##name;
DATASETS(DECLARE)
#define LIST(name) &eval_##name,
const eval_dataset *const eval_datasets[] = { DATASETS(LIST) NULL };

const eval_dataset *eval_find_dataset(const char *name, vm_error *e) {
    const char *known[VM_LEN(eval_datasets)];
    int n = 0;
    for (; eval_datasets[n]; n++)
        if (!strcmp(known[n] = eval_datasets[n]->name, name)) return eval_datasets[n];
    const char *near = args_nearest(name, known, n);
    vm_fail(e, VM_EUSAGE, "eval: unknown --dataset %s%s%s; --list names all", name, near ? ", did you mean " : "",
            near ? near : "");
    return NULL;
}

/* --- options and splits ------------------------------------------------------------------------------------------- */
bool eval_wants(const eval_source *src, const char *split) {
    for (int k = 0; k < src->n_splits; k++)
        if (!strcmp(src->splits[k], split)) return true;
    return src->n_splits == 0;
}

static size_t key_len(const char *variant) { return strcspn(variant, "="); }

/* "a, b or c" */
static void enumerate(char *out, size_t bytes, const char *const *words) {
    size_t at = 0;
    *out = 0;
    for (int k = 0; words[k] && at < bytes; k++)
        at += (size_t)snprintf(out + at, bytes - at, "%s%s", !k ? "" : words[k + 1] ? ", " : " or ", words[k]);
}

const char *eval_variant(const eval_source *src, const char *key, const char *dflt, const char *const *allowed,
                         vm_error *e) {
    const char *value = dflt;
    char known[256];
    for (int k = 0; k < src->n_variants; k++)
        if (key_len(src->variants[k]) == strlen(key) && !strncmp(src->variants[k], key, strlen(key)))
            value = src->variants[k] + strlen(key) + 1;
    if (!allowed || !value) return value;
    for (int k = 0; allowed[k]; k++)
        if (!strcmp(allowed[k], value)) return value;
    enumerate(known, sizeof known, allowed);
    vm_fail(e, VM_EUSAGE, "eval: --option %s=%s: expected %s", key, value, known);
    return NULL;
}

static vm_status check_variants(const eval_dataset *d, const eval_source *src, vm_error *e) {
    static const char *const none[] = { NULL };
    const char *const *known = d->variants ? d->variants : none;
    char names[256];
    for (int k = 0; k < src->n_variants; k++) {
        const char *v = src->variants[k];
        int at = 0;
        if (!v[key_len(v)]) return vm_fail(e, VM_EUSAGE, "eval: --option %s: expected KEY=VALUE", v);
        while (known[at] && (key_len(known[at]) != key_len(v) || strncmp(known[at], v, key_len(v)))) at++;
        if (known[at]) continue;
        enumerate(names, sizeof names, known);
        return vm_fail(e, VM_EUSAGE, "eval: --option %s: %s has %s%s", v, d->name,
                       known[0] ? "the options " : "no options", names);
    }
    return VM_OK;
}

/* --- loading ------------------------------------------------------------------------------------------------------ */
/* Is the record within the limit of its split? */
static bool within(const eval_set *s, int split, int64_t row) {
    if (s->limit <= 0 || split < 0) return true;
    return (double)row < (s->limit < 1 ? ceil(s->limit * (double)s->rows[split]) : s->limit);
}

/* Takes off what is behind the limit of each split. Item i has the id number i as long as nothing is taken off. */
static void cut(eval_set *s) {
    int64_t n = 0, faults = 0;
    for (int64_t i = 0; i < s->n; i++) {
        bool in = within(s, s->item[i].split, s->item[i].row);
        s->same_as[i] = in ? n : -1;
        if (in) s->item[n++] = s->item[i];
    }
    for (int64_t i = 0; i < s->n_faults; i++)
        if (within(s, s->fault[i].split, s->fault[i].row)) s->fault[faults++] = s->fault[i];
    s->n = n, s->n_faults = faults;
}

static vm_status check(const eval_set *s, const eval_source *src, vm_error *e) {
    for (int k = 0; k < src->n_splits; k++)
        if (keymap_find(&s->splits, src->splits[k], strlen(src->splits[k])) < 0)
            return vm_fail(e, VM_EUSAGE, "eval: --split %s: %s has no such split in %s", src->splits[k], s->name,
                           src->data);
    if (!s->n && !s->n_faults) return vm_fail(e, VM_EINPUT, "%s: no records in it", src->data);
    return VM_OK;
}

vm_status eval_load(eval_set **out, const eval_dataset *d, const eval_source *src, vm_error *e) {
    eval_source all = *src;
    eval_set *s = eval_set_new(d->name, e);
    *out = NULL;
    if (!s || media_open(&all.places, &src->places, src->data, e)) {
        eval_set_free(s);
        return e->status;
    }
    s->limit = src->limit, s->on_error = src->on_error, s->dup = src->dup, s->no_media = src->no_media;
    if (!check_variants(d, src, e) && !d->load(s, &all, e) && !check(s, src, e)) cut(s);
    media_close(&all.places);
    if (e->status) eval_set_free(s);
    else *out = s;
    return e->status;
}

/* --- further numbers ---------------------------------------------------------------------------------------------- */
vm_status eval_extra_add(eval_extras *x, const char *scope, const char *name, estimate v, int64_t n, vm_error *e) {
    int64_t a = keymap_put_text(&x->text, scope), b = keymap_put_text(&x->text, name);
    if (a < 0 || b < 0 || !vm_grow(&x->row, &x->cap, x->n + 1, sizeof *x->row))
        return vm_nomem(e, sizeof *x->row, "the results");
    x->row[x->n++] = (eval_extra){ keymap_at(&x->text, a, NULL), keymap_at(&x->text, b, NULL), v, n };
    return VM_OK;
}

void eval_extras_free(eval_extras *x) {
    vm_free(x->row);
    keymap_free(&x->text);
    *x = (eval_extras){ 0 };
}
