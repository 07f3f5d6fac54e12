/* clip_check.c - see clip_check.h. */
#include "pipeline/clip_check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/json.h"
#include "io/progress.h"
#include "pipeline/clip_data.h"

/* Is there a file of some bytes? e says what is wrong. */
static bool found(const samples *s, const sample_side *x, const media_places *p, vm_error *e) {
    const char *name = sample_text(s, x->name);
    if (x->archive >= 0)
        return x->bytes > 0 ||
               (vm_fail(e, VM_EINPUT, "%s: %s: the picture is empty", s->archive[x->archive], name), false);
    char *path = clip_files_find(p, name, e);
    bool there = path && file_bytes(path) != 0;
    if (path && !there) vm_fail(e, VM_EINPUT, "%s: the picture is empty", path);
    vm_free(path);
    return there;
}

static vm_status note(clip_check *c, const vm_error *why, vm_error *e) {
    if (!c->first[0]) snprintf(c->first, sizeof c->first, "%.590s", why->msg);
    if (c->missing++ < CHECK_LISTED && !(c->listed[c->missing - 1] = vm_strdup(why->msg)))
        return vm_nomem(e, 256, "the missing pictures");
    return VM_OK;
}

vm_status clip_check_data(clip_check *c, const samples *s, const media_places *p, vm_error *e) {
    *c = (clip_check){ .originals = s->n };
    if (s->n_faults) snprintf(c->first, sizeof c->first, "%.590s", s->fault[0]);
    progress *bar = progress_start("check-data", s->n, "records");
    for (int64_t g = 0; g < s->n && !e->status; g++) {
        bool lacks = false;
        for (int64_t k = 0; k < s->group[g].n && !e->status; k++) {
            const sample_side *x = &s->side[s->group[g].first + k];
            vm_error why = { 0 };
            if (k) c->changes[x->category < 0 ? SAMPLE_CATEGORIES : x->category]++, c->invalid += !x->valid;
            if (x->name < 0 || c->cut) continue;
            c->pictures++;
            if (found(s, x, p, &why)) continue;
            lacks = true;
            if (why.status != VM_EINPUT) *e = why;
            else note(c, &why, e);
            c->cut = c->missing >= CHECK_MISSING;
        }
        c->groups_missing += lacks;
        progress_add(bar, 1);
    }
    progress_end(bar);
    return e->status;
}

void clip_check_free(clip_check *c) {
    for (int k = 0; k < CHECK_LISTED; k++) vm_free(c->listed[k]);
    *c = (clip_check){ 0 };
}

static vm_status print_json(const clip_check *c, const samples *s, vm_error *e) {
    json_writer w = json_to_stream(stdout, JSON_PRETTY);
    json_begin_object(&w, NULL);
    json_put_str(&w, "layout", s->layout);
    json_put_int(&w, "originals", c->originals);
    json_begin_object(&w, "changes");
    for (int k = 0; k <= SAMPLE_CATEGORIES; k++)
        json_put_int(&w, k < SAMPLE_CATEGORIES ? sample_category[k] : "without category", c->changes[k]);
    json_close_object(&w);
    json_put_int(&w, "invalid changes", c->invalid);
    json_put_int(&w, "bad records", s->n_faults);
    json_put_int(&w, "pictures looked for", c->pictures);
    json_put_int(&w, "pictures missing", c->missing);
    json_put_bool(&w, "ended early", c->cut);
    json_begin_array(&w, "faults");
    for (int64_t k = 0; k < VM_MIN(s->n_faults, (int64_t)SAMPLES_FAULTS); k++) json_put_str(&w, NULL, s->fault[k]);
    for (int64_t k = 0; k < VM_MIN(c->missing, (int64_t)CHECK_LISTED); k++) json_put_str(&w, NULL, c->listed[k]);
    json_close_array(&w);
    json_close_object(&w);
    return json_end(&w, e);
}

vm_status clip_check_print(const clip_check *c, const samples *s, bool json, vm_error *e) {
    if (json) return print_json(c, s, e);
    printf("%-28s %s\n%-28s %10" PRId64 "\n", "layout", s->layout, "originals", c->originals);
    for (int k = 0; k <= SAMPLE_CATEGORIES; k++)
        if (c->changes[k])
            printf("changes: %-19s %10" PRId64 "\n", k < SAMPLE_CATEGORIES ? sample_category[k] : "without category",
                   c->changes[k]);
    if (c->invalid) printf("%-28s %10" PRId64 "\n", "changes that fill a place", c->invalid);
    printf("%-28s %10" PRId64 "\n%-28s %10" PRId64 "\n", "records that are left out", s->n_faults,
           "pictures looked for", c->pictures);
    printf("%-28s %10" PRId64 "%s\n", "pictures missing", c->missing, c->cut ? " (the search ended there)" : "");
    for (int64_t k = 0; k < VM_MIN(s->n_faults, (int64_t)CHECK_LISTED); k++) printf("  %s\n", s->fault[k]);
    if (s->n_faults > CHECK_LISTED) printf("  ... and %" PRId64 " more\n", s->n_faults - CHECK_LISTED);
    for (int64_t k = 0; k < VM_MIN(c->missing, (int64_t)CHECK_LISTED); k++) printf("  %s\n", c->listed[k]);
    if (c->missing > CHECK_LISTED) printf("  ... and %" PRId64 " more\n", c->missing - CHECK_LISTED);
    return VM_OK;
}
