/* train_state.c - the state of a training in a checkpoint: the tensors of the task, and state.json with the rest.
 *
 * state.json: step, updates, run_id, command, options, data_sha256, best, and `tensors`: named lists of numbers, each
 * read back to the same bits. What a run goes on with must be what it began with: options that change its results and
 * the data are compared. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/json.h"
#include "io/log.h"
#include "pipeline/checkpoint.h"
#include "pipeline/run.h"
#include "pipeline/train_parts.h"

/* Options that may differ from one process of a run to the next: they do not change what is learnt. Data are compared
 * by their content. */
static const char *const free_options[] = {
    "out",       "threads",    "device",  "json",        "quiet",      "data",       "images",
    "map",       "check-data", "max-bad", "max-bad-row", "workers",    "log-every",  "save-every",
    "keep-last", "keep-best",  "resume",  "on-enospc",   "val",        "val-images", "val-every",
    "val-limit", "val-bench",  "preset",  "show",        "save-dtype", "dry-run",    "help",
    "check",
};

/* --- named tensors ------------------------------------------------------------------------------------------------ */
enum { MOST_TENSORS = 8 };
typedef struct {
    double counts[3];
    train_tensor t[MOST_TENSORS];
    int n;
} tensors;

static void add(tensors *s, const char *name, double *x, int64_t n, int64_t most) {
    s->t[s->n++] = (train_tensor){ name, x, n, most };
}

/* Everything that the loop carries from step to step beside weights and moments. */
static void list_tensors(tensors *s, train_loop *l) {
    train_guard *g = &l->guard;
    s->n = 0;
    if (l->task->kept.name) s->t[s->n++] = l->task->kept;
    s->counts[0] = g->lr_factor, s->counts[1] = (double)g->rewinds, s->counts[2] = (double)g->in_row;
    add(s, "guard", s->counts, 3, 3);
    add(s, "guard_passed", g->passed, g->n_passed, GUARD_PASSED);
    add(s, "window_loss", g->loss, g->n_window, GUARD_WINDOW);
    add(s, "window_norm", g->norm, g->n_window, GUARD_WINDOW);
}

static void put_tensors(json_writer *w, const tensors *s) {
    json_begin_object(w, "tensors");
    for (int k = 0; k < s->n; k++) {
        json_begin_array(w, s->t[k].name);
        for (int64_t i = 0; i < s->t[k].n; i++) json_put_num(w, NULL, s->t[k].x[i]);
        json_close_array(w);
    }
    json_close_object(w);
}

static void read_tensors(train_loop *l, json_value root, bool back, vm_error *e) {
    tensors s;
    train_guard *g = &l->guard;
    list_tensors(&s, l);
    const int own = l->task->kept.name != NULL; /* comes first */
    json_value all = json_need(root, "tensors", JSON_OBJECT, e);
    for (int k = 0; k < (back ? own : s.n) && !e->status; k++) {
        json_value list = json_need(all, s.t[k].name, JSON_ARRAY, e);
        if ((s.t[k].n = json_len(list)) > s.t[k].most)
            json_fail(list, e, "%lld numbers, at most %lld are expected", (long long)s.t[k].n, (long long)s.t[k].most);
        else json_as_nums(list, s.t[k].x, -s.t[k].most, e);
    }
    if (e->status) return;
    if (own) l->task->kept.n = s.t[0].n;
    if (l->task->loaded) l->task->loaded(l->task);
    if (back) return;
    g->lr_factor = s.counts[0], g->rewinds = (int64_t)s.counts[1], g->in_row = (int64_t)s.counts[2];
    g->n_passed = s.t[own + 1].n, g->n_window = VM_MIN(s.t[own + 2].n, s.t[own + 3].n);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */
vm_status train_state_write(const char *dir, const void *loop, vm_error *e) {
    train_loop *l = (train_loop *)(uintptr_t)loop;
    tensors s;
    if (l->task->save(l->task, dir, e)) return e->status;
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    json_put_int(&w, "step", l->step);
    json_put_int(&w, "updates", l->task->updates(l->task));
    json_put_int(&w, "steps", l->o.steps);
    json_put_str(&w, "run_id", l->run_id);
    json_put_str(&w, "version", VM_VERSION);
    json_put_str(&w, "command", l->o.command);
    json_put_str(&w, "data_sha256", l->task->digest);
    if (l->o.args) arg_put_all(l->o.args, &w, "options");
    json_begin_object(&w, "best");
    json_put_num(&w, "value", l->best), json_put_int(&w, "step", l->best_step);
    json_close_object(&w);
    json_put_bool(&w, "validation_due", l->val_due);
    list_tensors(&s, l);
    put_tensors(&w, &s);
    json_close_object(&w);
    return json_save(&w, dir, "state.json", e);
}

int64_t train_state_bytes(const train_loop *l) {
    int64_t n = 1 << 16; /* configuration, state, manifest */
    const weight_set *w = l->task->w;
    for (int64_t i = 0; i < w->n; i++) n += vm_param_count(w->p[i]) * (w->p[i]->trainable ? 12 : 4);
    return n;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */
static bool is_free(const char *name) {
    for (int k = 0; k < VM_LEN(free_options); k++)
        if (!strcmp(name, free_options[k])) return true;
    return false;
}

static char *text_of(json_value v) {
    vm_error ignored = { 0 };
    json_writer w = json_to_memory(JSON_COMPACT);
    json_put_value(&w, NULL, v);
    return json_take(&w, NULL, &ignored);
}

/* The first option whose value then and now differs: "--lr was 0.001 and is 1e-05 now". */
static vm_status compare_options(const train_loop *l, json_value then, char *what, size_t room, vm_error *e) {
    size_t bytes;
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    arg_put_all(l->o.args, &w, "options");
    json_close_object(&w);
    char *text = json_take(&w, &bytes, e);
    json_doc *d = text ? json_parse(text, bytes, "options", 0, e) : NULL;
    what[0] = 0;
    for (json_iter it = json_each(then); d && !what[0] && json_next(&it);) {
        json_value now = json_get(json_get(json_root(d), "options"), it.key);
        if (is_free(it.key) || now.kind == JSON_MISSING) continue;
        char *a = text_of(it.value), *b = text_of(now);
        if (!a || !b) vm_nomem(e, 256, "an option");
        else if (strcmp(a, b)) snprintf(what, room, "--%s was %.200s and is %.200s now", it.key, a, b);
        vm_free(a), vm_free(b);
    }
    json_free(d);
    vm_free(text);
    return e->status;
}

/* Is the checkpoint one of this run? */
static vm_status compare(const train_loop *l, const char *dir, json_value root, vm_error *e) {
    char what[600] = "";
    const char *digest = json_str(root, "data_sha256", "", e);
    if (e->status) return e->status;
    if (l->o.args && compare_options(l, json_get(root, "options"), what, sizeof what, e)) return e->status;
    if (!what[0] && strcmp(digest, l->task->digest))
        snprintf(what, sizeof what, "the training data are not those it began with");
    if (!what[0]) return VM_OK;
    if (l->o.resume_forced) {
        if (!l->comm->rank) vm_warn("%s: %s", dir, what);
        return VM_OK;
    }
    return vm_fail(e, VM_EINPUT,
                   "%s: was made by another command: %s; give the same, another --out, or --resume force\n  %s", dir,
                   what, json_str(root, "command", "", e));
}

/* The newest good checkpoint, NULL when there is none: rank 0 looks, all go on from the same one. */
static vm_status newest(train_loop *l, char **dir, vm_error *e) {
    char path[4096] = "";
    *dir = NULL;
    if (!l->comm->rank && !checkpoint_newest(dir, l->o.out, e) && *dir) snprintf(path, sizeof path, "%s", *dir);
    if (e->status || l->comm->broadcast(l->comm, path, sizeof path, 0, e)) return e->status;
    if (l->comm->rank && path[0] && !(*dir = vm_strdup(path))) return vm_nomem(e, sizeof path, "a path");
    return VM_OK;
}

vm_status train_state_read(train_loop *l, bool back, bool *found, vm_error *e) {
    char *dir = NULL;
    *found = false;
    if (newest(l, &dir, e) || !dir) return e->status;
    char *path = path_join(dir, "state.json");
    json_doc *d = path ? json_open(path, e) : NULL;
    json_value root = json_root(d), best = json_get(root, "best");
    int64_t step = json_int(root, "step", 0, 0, INT64_MAX, e), updates = json_int(root, "updates", 0, 0, INT64_MAX, e);
    double value = json_has(json_get(best, "value")) ? json_as_num(json_get(best, "value"), e) : NAN;
    int64_t best_step = json_int(best, "step", -1, -1, INT64_MAX, e);
    bool due = json_bool(root, "validation_due", false, e);
    if (!path) vm_nomem(e, 256, "a path");
    if (!e->status && !compare(l, dir, root, e) && !l->task->load(l->task, dir, updates, e)) {
        read_tensors(l, root, back, e);
        l->step = l->saved_step = step, l->best = value, l->best_step = best_step, l->val_due = due && l->task->validate;
        *found = true;
        if (!e->status && !l->comm->rank && !back) checkpoint_tidy(l->o.out, step, (checkpoint_keep){ l->o.keep_last, best_step }, e);
    }
    json_free(d);
    vm_free(path);
    vm_free(dir);
    return e->status;
}

vm_status train_run_begin(train_loop *l, vm_error *e) {
    char *path = path_join(l->o.out, "run.json"), began[32];
    uint8_t random[8] = { 0 };
    time_t now = time(NULL);
    struct tm tm;
    if (!path) return vm_nomem(e, 256, "a path");
    if (file_exists(path)) {
        json_doc *d = json_open(path, e);
        snprintf(l->run_id, sizeof l->run_id, "%.16s", json_str(json_root(d), "run_id", "", e));
        json_free(d);
    } else if (getrandom(random, sizeof random, 0) != sizeof random) {
        vm_fail(e, VM_EIO, "no random numbers for the id of the run: %m");
    } else {
        hex_text(l->run_id, random, sizeof random);
        strftime(began, sizeof began, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
        json_writer w = json_to_memory(JSON_PRETTY);
        json_begin_object(&w, NULL);
        json_put_str(&w, "run_id", l->run_id), json_put_str(&w, "began", began),
            json_put_str(&w, "version", VM_VERSION);
        json_put_str(&w, "command", l->o.command);
        json_close_object(&w);
        json_save(&w, l->o.out, "run.json", e);
    }
    vm_free(path);
    return e->status;
}
