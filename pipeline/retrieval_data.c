/* retrieval_data.c - see retrieval_data.h. */
#include "pipeline/retrieval_data.h"

#include <inttypes.h>
#include <string.h>

#include "io/file.h"
#include "io/samples.h"

/* The file of a name such as val2014/a.jpg: there, else without the folder. */
static char *find(const media_places *p, const char *name, vm_error *missing) {
    vm_error ignored = { 0 };
    char *path = media_find(p, NULL, name, missing);
    if (path || !strchr(name, '/') || strstr(name, "..") /* refused */ || !(path = media_find(p, NULL, path_base(name), &ignored))) return path;
    vm_error_clear(missing);
    return path;
}

/* The number of a picture; a new one is looked for. -1 when it is one too many. */
static int64_t picture(retrieval_data *d, const char *name, const retrieval_source *src, const media_places *places,
                       vm_error *e) {
    int64_t i = keymap_find(&d->names, name, strlen(name));
    if (i >= 0 || (src->pictures && d->names.n == src->pictures)) return i;
    vm_error missing = { 0 };
    i = keymap_put_text(&d->names, name);
    if (i < 0 || !vm_grow(&d->image, &d->cap_image, d->names.n, sizeof *d->image)) {
        vm_nomem(e, 256, "pictures");
        return -1;
    }
    char *path = find(places, name, &missing);
    d->image[i] = path ? (int32_t)keymap_put_text(&d->set->images, path) : -1;
    if (path ? d->image[i] < 0 : !missing.status) vm_nomem(e, 256, "pictures");
    else if (!path && src->on_error == EVAL_FAIL) *e = missing;
    else if (!path) eval_set_add_fault(d->set, -1, name, missing.msg, e);
    vm_free(path);
    return i;
}

static vm_status add_caption(retrieval_data *d, int64_t owner, const char *text, vm_error *e) {
    if (!vm_grow(&d->caption, &d->cap_caption, d->n_captions + 1, sizeof *d->caption) ||
        !vm_grow(&d->owner, &d->cap_owner, d->n_captions + 1, sizeof *d->owner))
        return vm_nomem(e, 256, "captions");
    int64_t k = keymap_put_text(&d->set->captions, text);
    if (k < 0) return vm_nomem(e, 256, "captions");
    d->caption[d->n_captions] = (int32_t)k, d->owner[d->n_captions++] = (int32_t)owner;
    return VM_OK;
}

static vm_status take_faults(retrieval_data *d, const samples *s, const char *path, vm_error *e) {
    for (int64_t k = 0; k < VM_MIN(s->n_faults, (int64_t)SAMPLES_FAULTS) && !e->status; k++)
        eval_set_add_malformed(d->set, -1, NULL, s->fault[k], e);
    if (!e->status && s->n_faults > SAMPLES_FAULTS) {
        char *why = vm_asprintf("%s: %" PRId64 " further records are malformed", path, s->n_faults - SAMPLES_FAULTS);
        if (!why) return vm_nomem(e, 256, "a sentence");
        eval_set_add_malformed(d->set, -1, NULL, why, e);
        vm_free(why);
    }
    return e->status;
}

static vm_status take_all(retrieval_data *d, const samples *s, const char *path, const retrieval_source *src,
                          const media_places *places, vm_error *e) {
    int32_t *n_of = vm_calloc((size_t)s->n + 1, sizeof *n_of); /* captions of each picture so far */
    if (!n_of) return vm_nomem(e, (size_t)s->n * sizeof *n_of, "captions");
    for (int64_t g = 0; g < s->n && !e->status; g++) {
        const sample_side *x = &s->side[s->group[g].first];
        if (x->archive >= 0) {
            vm_fail(e, VM_EINPUT, "%s: pictures in an archive; unpack it and give a JSON file or a table", path);
            break;
        }
        int64_t i = picture(d, sample_text(s, x->name), src, places, e);
        if (i < 0 || (src->captions && n_of[i] == src->captions)) continue;
        n_of[i]++;
        if (d->image[i] < 0) d->n_orphans++;
        else add_caption(d, i, sample_text(s, x->caption), e);
    }
    vm_free(n_of);
    return e->status;
}

vm_status retrieval_load(retrieval_data *d, const char *path, const retrieval_source *src, vm_error *e) {
    const samples_options o = { .image_key = src->image_key, .caption_key = src->caption_key, .originals_only = true,
                                .split = src->split };
    media_places places = { 0 };
    samples *s = NULL;
    *d = (retrieval_data){ .set = eval_set_new("retrieval", e) };
    if (!d->set || media_open(&places, &src->places, path, e)) goto done;
    d->set->on_error = src->on_error;
    if (samples_open(&s, 1, &path, &o, e) || take_faults(d, s, path, e)) goto done;
    if (src->split && strcmp(s->layout, "Karpathy JSON"))
        vm_fail(e, VM_EUSAGE, "%s: --split is for Karpathy's JSON, and this is %s", path, s->layout);
    else if (!s->n)
        vm_fail(e, VM_EINPUT, "%s: no pictures with captions in it%s%s", path, src->split ? ", none of the split " : "",
                src->split ? src->split : "");
    else take_all(d, s, path, src, &places, e);
done:
    samples_free(s);
    media_close(&places);
    if (e->status) retrieval_free(d);
    return e->status;
}

void retrieval_free(retrieval_data *d) {
    eval_set_free(d->set);
    keymap_free(&d->names);
    vm_free(d->image), vm_free(d->caption), vm_free(d->owner);
    *d = (retrieval_data){ 0 };
}
