/* data_check.c - `vismin data check`: is a copy of a benchmark whole? Records against the published numbers, pictures
 * that are missing, records that decide nothing, and the sums of the annotation files. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/json.h"
#include "io/log.h"
#include "pipeline/command.h"
#include "pipeline/eval_result.h"
#include "pipeline/run.h"

enum { REASONS = 10 };

/* One split: what is expected and what is there. */
typedef struct {
    const char *name;      /* as long as the set */
    int64_t expected;      /* -1 = not known */
    bool about, on_request;
    int64_t records, missing, malformed, degenerate; /* records: all of them, whatever is wrong with them */
} split_state;

/* Is what is there other than it should be? */
static bool off(const split_state *x) {
    return x->missing || x->malformed || x->degenerate || (x->expected >= 0 && !x->about && x->records != x->expected);
}

/* --- what is expected --------------------------------------------------------------------------------------------- */
/* The line of counts that holds with these options; NULL = not known. */
static const char *line_of(const eval_dataset *d, const eval_source *src) {
    const char *found = d->counts;
    for (int k = 0; k < src->n_variants && d->counts; k++) {
        const char *v = src->variants[k];
        size_t key = strcspn(v, "=") + 1;
        for (const char *line = strchr(d->counts, '\n'); line; line = strchr(line + 1, '\n')) {
            if (strncmp(line + 1, v, key)) continue; /* lines of other options */
            if (!strncmp(line + 1, v, strlen(v)) && line[1 + strlen(v)] == ' ') return line + 2 + strlen(v);
        }
    }
    return found;
}

/* Reads "SPLIT:~N?" at p; the next entry, or NULL behind the last. */
static const char *next_count(const char *p, char name[64], split_state *x) {
    if (!p || !*p || *p == '\n') return NULL;
    size_t n = strcspn(p, ":");
    char *end;
    snprintf(name, 64, "%.*s", (int)n, p);
    *x = (split_state){ .about = p[n + 1] == '~' };
    x->expected = strtoll(p + n + 1 + x->about, &end, 10);
    x->on_request = *end == '?';
    end += x->on_request;
    return *end == ' ' ? end + 1 : end;
}

static vm_status add_split(split_state **x, int64_t *n, int64_t *cap, split_state y, vm_error *e) {
    if (!vm_grow(x, cap, *n + 1, sizeof y)) return vm_nomem(e, sizeof y, "splits");
    (*x)[(*n)++] = y;
    return VM_OK;
}

/* The splits of the set, then those that are expected in this folder and not there. */
static vm_status find_splits(split_state **x, int64_t *n, eval_set *s, const eval_dataset *d, const eval_source *src,
                             vm_error *e) {
    int64_t cap = 0;
    for (int64_t k = 0; k < s->splits.n && !e->status; k++)
        add_split(x, n, &cap, (split_state){ .name = eval_split_name(s, (int)k), .expected = -1 }, e);
    char name[64];
    split_state y;
    for (const char *p = line_of(d, src); !e->status && (p = next_count(p, name, &y));) {
        int64_t k = keymap_find(&s->splits, name, strlen(name));
        if (k >= 0) {
            (*x)[k].expected = y.expected, (*x)[k].about = y.about;
        } else if (file_is_dir(src->data) && eval_wants(src, name) && !(y.on_request && !src->n_splits)) {
            int64_t text = keymap_put_text(&s->text, name);
            if (text < 0) return vm_nomem(e, 64, "splits");
            y.name = keymap_at(&s->text, text, NULL), y.about = false;
            add_split(x, n, &cap, y, e);
        }
    }
    return e->status;
}

static void count(split_state *x, const eval_set *s, split_state *unknown) {
    for (int64_t i = 0; i < s->n; i++)
        x[s->item[i].split].records++, x[s->item[i].split].degenerate += eval_degenerate(s, &s->item[i]);
    for (int64_t i = 0; i < s->n_faults; i++) {
        split_state *y = s->fault[i].split < 0 ? unknown : &x[s->fault[i].split];
        y->records++, y->malformed += s->fault[i].malformed, y->missing += !s->fault[i].malformed;
    }
}

/* --- output ------------------------------------------------------------------------------------------------------- */
static void put_number(char out[32], int64_t v, bool about) {
    if (v < 0) snprintf(out, 32, "not known");
    else snprintf(out, 32, "%s%" PRId64, about ? "about " : "", v);
}

static void print_split(const split_state *x) {
    char expected[32];
    put_number(expected, x->expected, x->about);
    printf("%-22s %8" PRId64 " %12s %14" PRId64 " %10" PRId64 " %11" PRId64 "  %s\n", x->name, x->records, expected,
           x->missing, x->malformed, x->degenerate, off(x) ? "off" : "ok");
}

static void put_split(json_writer *w, const split_state *x) {
    json_begin_object(w, x->name);
    json_put_int(w, "records", x->records);
    if (x->expected < 0) json_put_null(w, "expected");
    else json_put_int(w, "expected", x->expected);
    json_put_bool(w, "expected_confirmed", x->expected >= 0 && !x->about);
    json_put_int(w, "missing_pictures", x->missing);
    json_put_int(w, "malformed", x->malformed);
    json_put_int(w, "degenerate", x->degenerate);
    json_put_bool(w, "ok", !off(x));
    json_close_object(w);
}

typedef struct {
    const eval_dataset *d;
    const eval_set *set;
    const split_state *split;
    int64_t n;
    const char (*sum)[65]; /* one per file of the set */
    bool ok;
} report;

static vm_status print_json(const report *r, vm_error *e) {
    json_writer w = json_to_stream(stdout, JSON_PRETTY);
    json_begin_object(&w, NULL);
    json_put_str(&w, "dataset", r->d->name);
    json_begin_object(&w, "splits");
    for (int64_t k = 0; k < r->n; k++) put_split(&w, &r->split[k]);
    json_close_object(&w);
    json_put_int(&w, "same_twice", r->set->n_twice);
    json_begin_object(&w, "sha256");
    for (int64_t k = 0; k < r->set->files.n; k++) json_put_str(&w, keymap_at(&r->set->files, k, NULL), r->sum[k]);
    json_close_object(&w);
    json_put_bool(&w, "ok", r->ok);
    json_close_object(&w);
    return json_end(&w, e);
}

static void print_table(const report *r) {
    printf("%-22s %8s %12s %14s %10s %11s\n", r->d->name, "records", "expected", "missing media", "malformed",
           "degenerate");
    for (int64_t k = 0; k < r->n; k++) print_split(&r->split[k]);
    printf("\nsha256 of the annotation files\n");
    for (int64_t k = 0; k < r->set->files.n; k++) printf("%s  %s\n", r->sum[k], keymap_at(&r->set->files, k, NULL));
}

static void say_faults(const eval_set *s) {
    for (int64_t i = 0; i < VM_MIN(s->n_faults, (int64_t)REASONS); i++) vm_warn("%s", s->fault[i].why);
    if (s->n_faults > REASONS) vm_warn("... and %" PRId64 " more", s->n_faults - REASONS);
    if (s->n_twice) vm_warn("%" PRId64 " records stand twice; they count once", s->n_twice);
}

/* --- the command -------------------------------------------------------------------------------------------------- */
static vm_status run(const vm_args *a, vm_error *e) {
    eval_source src = { .data = arg_str(a, "data"), .seed = (uint64_t)arg_int(a, "seed"), .on_error = EVAL_SKIP,
                        .places.allow_absolute = arg_flag(a, "allow-absolute") };
    eval_set *set = NULL;
    split_state *split = NULL, unknown = { .name = "(no split)", .expected = -1 };
    char(*sum)[65] = NULL;
    int64_t n = 0, cap = 0;
    bool ok = true;
    src.places.n_roots = arg_list(a, "images", &src.places.roots),
    src.places.n_map = arg_list(a, "map", &src.places.map);
    src.n_splits = arg_list(a, "split", &src.splits), src.n_variants = arg_list(a, "option", &src.variants);
    const eval_dataset *d = eval_find_dataset(arg_pos(a, 0), e);
    if (!d) return e->status;
    if (!src.data) return vm_fail(e, VM_EUSAGE, "data check: --data PATH is needed");
    if (eval_load(&set, d, &src, e) || find_splits(&split, &n, set, d, &src, e)) goto done;
    count(split, set, &unknown);
    cap = n;
    if (unknown.records) add_split(&split, &n, &cap, unknown, e);
    if (!(sum = vm_alloc((size_t)set->files.n * sizeof *sum + 1))) vm_nomem(e, 65, "sums");
    for (int64_t k = 0; k < set->files.n && !e->status; k++) sha256_file(sum[k], keymap_at(&set->files, k, NULL), e);
    if (e->status) goto done;
    for (int64_t k = 0; k < n; k++) ok &= !off(&split[k]);
    say_faults(set);
    const report r = { .d = d, .set = set, .split = split, .n = n, .sum = (const char(*)[65])sum, .ok = ok };
    if (arg_flag(a, "json")) print_json(&r, e);
    else print_table(&r);
done:
    vm_free(sum), vm_free(split);
    eval_set_free(set);
    return e->status ? e->status : ok ? VM_OK : VM_EPARTIAL;
}

static const vm_opt opts[] = {
    { "data", OPT_STR, NULL, "PATH", "folder or file of the annotations", 0, 0 },
    { "images", OPT_LIST, NULL, "DIR", "look for pictures here first (repeatable)", 0, 0 },
    { "map", OPT_LIST, NULL, "PREFIX=DIR", "picture names that begin with PREFIX stand in DIR (repeatable)", 0, 0 },
    { "split", OPT_LIST, NULL, "NAME", "only this split (repeatable)", 0, 0 },
    { "option", OPT_LIST, NULL, "KEY=VALUE", "of the data set, as in `vismin eval --list` (repeatable)", 0, 0 },
    { "allow-absolute", OPT_FLAG, NULL, NULL, "picture names that begin with / may be paths of this machine", 0, 0 },
    { 0 },
};

const vm_command cmd_data_check = {
    .name = "data check",
    .summary = "is a copy of a benchmark whole: counts, pictures, sums",
    .usage = "DATASET --data PATH [--images DIR]",
    .about =
        "Reads the annotations of a benchmark (`vismin eval --list` names all), looks for every picture, and compares\n"
        "the number of records of each split with the published one. missing media: a picture of the record is not\n"
        "there. malformed: the annotation says something impossible. degenerate: two options of the record are the\n"
        "same, so that every answer is a tie. The exit code is 1 when anything is off.\n\n"
        "  vismin data check valse_v2 --data VALSE/data --images coco/val2017 --images visual7w\n"
        "  vismin data check vsr --data vsr/ --split zeroshot_test --images coco/train2017 --json",
    .opts = opts,
    .min_pos = 1,
    .max_pos = 1,
    .run = run,
};
