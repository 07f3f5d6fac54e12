/* train_data.c - see train_data.h: options to sources, and the journal of bad samples. */
#include "pipeline/train_data.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/journal.h"
#include "io/json.h"
#include "io/keymap.h"
#include "io/log.h"
#include "pipeline/clip_check.h"

static vm_status parse_mix(const char *text, double mix[4], vm_error *e) {
    char end;
    if (sscanf(text, "%lf:%lf:%lf:%lf%c", &mix[0], &mix[1], &mix[2], &mix[3], &end) != 4)
        return vm_fail(e, VM_EUSAGE, "--mix %s: four numbers object:attribute:relation:counting are needed", text);
    double sum = 0;
    for (int k = 0; k < 4; k++) {
        if (!(mix[k] >= 0)) return vm_fail(e, VM_EUSAGE, "--mix %s: a weight is negative", text);
        sum += mix[k];
    }
    return sum > 0 ? VM_OK : vm_fail(e, VM_EUSAGE, "--mix %s: all weights are 0", text);
}

static vm_status read_pairing(clip_pairing *p, const char *name, vm_error *e) {
    static const char *const names[] = {
        [CLIP_GROUPED] = "grouped", [CLIP_ADJACENT] = "adjacent", [CLIP_SCATTER] = "scatter-ref"
    };
    for (int k = 0; k < VM_LEN(names); k++)
        if (!strcmp(name, names[k])) return *p = (clip_pairing)k, VM_OK;
    return vm_fail(e, VM_EUSAGE, "--pairing %s: known are grouped, adjacent, scatter-ref", name);
}

/* Where pictures are looked up when --images does not say: in the folders of the training files. */
static vm_status own_folders(char ***out, const char *const *paths, int n, vm_error *e) {
    char **dir = *out = vm_calloc((size_t)n + 1, sizeof *dir);
    for (int k = 0; dir && k < n; k++)
        if (!(dir[k] = file_is_dir(paths[k]) ? vm_strdup(paths[k]) : path_dir(paths[k])))
            return vm_nomem(e, 256, "a path");
    return dir ? VM_OK : vm_nomem(e, 256, "a path");
}

static vm_status too_many(int64_t bad, int64_t of, double most, const char *first, vm_error *e) {
    if ((double)bad <= most * (double)of) return VM_OK;
    return vm_fail(e, VM_EINPUT, "%lld of %lld records cannot be used, more than --max-bad %g %%; the first: %s",
                   (long long)bad, (long long)of, 100 * most, first);
}

static vm_status open_files(clip_source **out, const char *const *paths, int n, const vm_args *a, vm_error *e) {
    clip_files_options o = { .sole = arg_flag(a, "sole-negative"),
                             .augment = !arg_flag(a, "no-augment"),
                             .tolerant = arg_flag(a, "allow-truncated"),
                             .originals_only = arg_flag(a, "no-edits"),
                             .K = arg_int(a, "edits"),
                             .limit = arg_int(a, "limit"),
                             .most_in_row = arg_int(a, "max-bad-row"),
                             .seed = (uint64_t)arg_int(a, "seed") };
    samples_options so = { .image_key = arg_str(a, "csv-img-key"),
                           .caption_key = arg_str(a, "csv-caption-key"),
                           .image_name = arg_str(a, "image-name"),
                           .originals_only = arg_flag(a, "no-edits") };
    double most = arg_float(a, "max-bad") / 100;
    char **dirs = NULL;
    samples *s = NULL;
    so.n_categories = arg_list(a, "category", &so.categories);
    o.places.n_roots = arg_list(a, "images", &o.places.roots), o.places.n_map = arg_list(a, "map", &o.places.map);
    for (int k = 0; k < o.places.n_roots; k++)
        if (!file_is_dir(o.places.roots[k]))
            return vm_fail(e, VM_EINPUT, "--images %s: no such folder", o.places.roots[k]);
    if (read_pairing(&o.pairing, arg_str(a, "pairing"), e) || media_check(&o.places, e) ||
        samples_open(&s, n, paths, &so, e))
        goto done;
    if (!o.places.n_roots) {
        if (own_folders(&dirs, paths, n, e)) goto done;
        o.places.roots = (const char *const *)dirs, o.places.n_roots = n;
    }
    int64_t records = s->n + s->n_faults;
    if (arg_flag(a, "check-data")) {
        clip_check c;
        if (clip_check_data(&c, s, &o.places, e)) goto done;
        if (!arg_str(a, "out")) clip_check_print(&c, s, arg_flag(a, "json"), e);
        int64_t bad = s->n_faults + c.groups_missing;
        if (!e->status && !too_many(bad, records, most, c.first, e) && bad && !arg_str(a, "out"))
            vm_fail(e, VM_EPARTIAL, "%lld of %lld records cannot be used", (long long)bad, (long long)records);
        clip_check_free(&c);
        if (e->status || !arg_str(a, "out")) goto done;
    }
    if (s->n_faults && too_many(s->n_faults, records, most, s->fault[0], e)) goto done;
    if (s->n_faults)
        vm_warn("%lld of %lld records are left out (--check-data lists them); the first: %s", (long long)s->n_faults,
                (long long)records, s->fault[0]);
    vm_info("%s: %lld originals, %lld changes", s->layout, (long long)s->n, (long long)(s->n_sides - s->n));
    clip_source_files(out, s, &o, arg_int(a, "batch"), e);
    s = NULL;
done:
    samples_free(s);
    for (int k = 0; dirs && k < n; k++) vm_free(dirs[k]);
    vm_free(dirs);
    return e->status;
}

vm_status train_data_open(clip_source **out, const vm_args *a, vm_error *e) {
    const char *const *data;
    int n = arg_list(a, "data", &data);
    double mix[4];
    *out = NULL;
    if (!n) return vm_fail(e, VM_EUSAGE, "train clip: --data FILE or --data world:KIND is needed");
    if (parse_mix(arg_str(a, "mix"), mix, e)) return e->status;
    if (strncmp(data[0], "world:", 6)) return open_files(out, data, n, a, e);
    if (n > 1) return vm_fail(e, VM_EUSAGE, "--data %s: the world cannot be mixed with other data", data[0]);
    if (arg_flag(a, "check-data")) return vm_fail(e, VM_EUSAGE, "--check-data: the world has no files");
    return clip_source_world(out, data[0] + 6, arg_int(a, "batch"), arg_float(a, "plain-share"), mix,
                             arg_flag(a, "curriculum"), e);
}

/* --- bad samples -------------------------------------------------------------------------------------------------- */
struct train_bad {
    char *path;
    journal *j;  /* opened for the first sample */
    keymap seen; /* numbers of samples */
    int64_t samples;
    double most;
};

/* Those of earlier runs. */
static vm_status read_seen(train_bad *b, vm_error *e) {
    journal_reader *r = NULL;
    journal_line line;
    if (journal_reader_open(&r, b->path, e)) return e->status;
    while (!e->status && journal_next(r, &line, e) > 0) {
        json_doc *d = json_parse(line.text, line.bytes, b->path, 0, e);
        int64_t sample = json_int(json_root(d), "sample", -1, 0, INT64_MAX, e);
        if (!e->status && keymap_put(&b->seen, &sample, sizeof sample) < 0) vm_nomem(e, 64, "the bad samples");
        json_free(d);
    }
    journal_reader_close(r);
    return e->status;
}

vm_status train_bad_open(train_bad **out, const char *dir, int rank, int64_t n_samples, double most, vm_error *e) {
    train_bad *b = vm_calloc(1, sizeof *b);
    *out = b;
    char name[48] = "bad_samples.jsonl";
    if (rank) snprintf(name, sizeof name, "bad_samples.rank%d.jsonl", rank);
    if (!b || !(b->path = path_join(dir, name))) return vm_nomem(e, sizeof *b, "the bad samples");
    b->samples = n_samples, b->most = most;
    return read_seen(b, e);
}

void train_bad_close(train_bad *b) {
    vm_error ignored = { 0 };
    if (!b) return;
    journal_close(b->j, &ignored);
    keymap_free(&b->seen);
    vm_free(b->path), vm_free(b);
}

int64_t train_bad_count(const train_bad *b) { return b->seen.n; }

static vm_status add_one(train_bad *b, const clip_bad *x, vm_error *e) {
    int64_t n = b->seen.n;
    if (keymap_put(&b->seen, &x->sample, sizeof x->sample) < 0) return vm_nomem(e, 64, "the bad samples");
    if (b->seen.n == n) return VM_OK;
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_put_int(&w, "sample", x->sample), json_put_int(&w, "step", x->step), json_put_str(&w, "what", x->what);
    json_close_object(&w);
    size_t bytes;
    vm_error full = { 0 };
    char *text = json_take(&w, &bytes, e);
    if (text && ((!b->j && journal_open(&b->j, b->path, &full)) || journal_append(b->j, text, bytes, &full)))
        vm_warn("%s", full.msg); /* a list never ends a training */
    vm_free(text);
    if (b->seen.n <= 3) vm_warn("step %lld: passed over: %s", (long long)x->step, x->what);
    return e->status;
}

vm_status train_bad_add(train_bad *b, clip_bad_list *l, vm_error *e) {
    for (int64_t k = 0; k < l->n && !e->status; k++) {
        if (add_one(b, &l->v[k], e)) break;
        if (b->samples && (double)b->seen.n > b->most * (double)b->samples)
            vm_fail(e, VM_EINPUT,
                    "%lld of %lld samples are unreadable, more than --max-bad %g %%; the last: %.500s (all are in %s)",
                    (long long)b->seen.n, (long long)b->samples, 100 * b->most, l->v[k].what, b->path);
    }
    clip_bad_free(l);
    return e->status;
}
