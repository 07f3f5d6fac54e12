/* train_log.c - see train_log.h. */
#include "pipeline/train_log.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/file.h"
#include "io/json.h"
#include "io/keymap.h"
#include "io/log.h"
#include "io/tfevents.h"
#include "pipeline/page.h"

enum { MOST_VALUES = 96, MOST_NAME = 64 };

typedef struct {
    double *x, *y;
    int64_t n, cap_x, cap_y;
} curve;

struct train_log {
    char *dir, *path;
    int fd;
    int64_t bytes;    /* of log.jsonl */
    tfevents *events; /* NULL = could not be opened */
    keymap names;     /* of the curves */
    curve *curve;
    int64_t cap_curves;
    /* the line at hand */
    json_writer w;
    int64_t step;
    int n;
    char name[MOST_VALUES][MOST_NAME];
    double value[MOST_VALUES];
    bool warned;
};

static void warn_once(train_log *l, const char *text) {
    if (!l->warned) vm_warn("%s; training goes on, this part of its log is missing", text);
    l->warned = true;
}

/* --- curves ------------------------------------------------------------------------------------------------------- */
static void add_point(train_log *l, const char *name, int64_t step, double v) {
    int64_t k = keymap_put_text(&l->names, name), had = l->cap_curves;
    if (k < 0 || !vm_grow(&l->curve, &l->cap_curves, k + 1, sizeof *l->curve)) return;
    if (l->cap_curves > had) memset(l->curve + had, 0, (size_t)(l->cap_curves - had) * sizeof *l->curve);
    curve *c = &l->curve[k];
    if (!vm_grow(&c->x, &c->cap_x, c->n + 1, sizeof *c->x) || !vm_grow(&c->y, &c->cap_y, c->n + 1, sizeof *c->y))
        return;
    c->x[c->n] = (double)step, c->y[c->n++] = v;
}

static const curve *find_curve(const train_log *l, const char *name) {
    int64_t k = keymap_find(&l->names, name, strlen(name));
    return k < 0 || !l->curve[k].n ? NULL : &l->curve[k];
}

double train_log_last(const train_log *l, const char *name) {
    const curve *c = find_curve(l, name);
    return c ? c->y[c->n - 1] : NAN;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */
/* The points of a line of an earlier process; false when it is none, or of a later step. */
static bool take_line(train_log *l, const char *line, size_t bytes, int64_t last) {
    vm_error bad = { 0 };
    json_doc *d = json_parse(line, bytes, l->path, 0, &bad);
    json_value root = json_root(d);
    int64_t step = json_int(root, "step", -1, 0, INT64_MAX, &bad);
    bool good = d && !bad.status && step >= 0 && step <= last;
    for (json_iter it = json_each(root); good && json_next(&it);) {
        char name[MOST_NAME];
        int k = 0;
        if (!strcmp(it.key, "step")) continue;
        if (it.value.kind == JSON_INT || it.value.kind == JSON_DOUBLE)
            add_point(l, it.key, step, json_as_num(it.value, &bad));
        for (json_iter at = json_each(it.value); it.value.kind == JSON_ARRAY && json_next(&at); k++) {
            snprintf(name, sizeof name, "%.50s.%d", it.key, k);
            if (at.value.kind == JSON_INT || at.value.kind == JSON_DOUBLE)
                add_point(l, name, step, json_as_num(at.value, &bad));
        }
    }
    json_free(d);
    return good;
}

/* Reads log.jsonl up to the step, and cuts off the rest. */
static vm_status open_lines(train_log *l, int64_t step, vm_error *e) {
    char *text = NULL;
    size_t bytes = 0;
    if (file_exists(l->path) && file_read(&text, &bytes, l->path, 0, e)) return e->status;
    for (char *line = text, *end; text && (end = memchr(line, '\n', (size_t)(text + bytes - line))); line = end + 1) {
        if (!take_line(l, line, (size_t)(end - line), step)) break;
        l->bytes = end + 1 - text;
    }
    vm_free(text);
    l->fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (l->fd < 0 || ftruncate(l->fd, (off_t)l->bytes))
        return vm_fail(e, VM_EIO, "%s: cannot be opened for writing: %m", l->path);
    return VM_OK;
}

static void open_events(train_log *l, int64_t step) {
    char *dir = path_join(l->dir, "tensorboard"), *path = dir ? path_join(dir, "events.out.tfevents.vismin") : NULL;
    vm_error e = { 0 };
    if (!path) vm_nomem(&e, 256, "a path");
    else if (!dir_make(dir, &e)) tfevents_open(&l->events, path, step, &e);
    if (e.status) warn_once(l, e.msg);
    vm_free(path), vm_free(dir);
}

vm_status train_log_open(train_log **out, const char *dir, int64_t step, vm_error *e) {
    train_log *l = vm_calloc(1, sizeof *l);
    *out = l;
    if (!l) return vm_nomem(e, sizeof *l, "the log");
    l->fd = -1;
    if (!(l->dir = vm_strdup(dir)) || !(l->path = path_join(dir, "log.jsonl"))) vm_nomem(e, 256, "a path");
    else if (!open_lines(l, step, e)) open_events(l, step);
    if (!e->status) return VM_OK;
    train_log_close(l);
    *out = NULL;
    return e->status;
}

void train_log_close(train_log *l) {
    if (!l) return;
    if (l->fd >= 0) close(l->fd);
    tfevents_close(l->events);
    for (int64_t k = 0; k < l->names.n && k < l->cap_curves; k++) vm_free(l->curve[k].x), vm_free(l->curve[k].y);
    keymap_free(&l->names);
    vm_free(l->curve), vm_free(l->dir), vm_free(l->path), vm_free(l);
}

/* --- lines -------------------------------------------------------------------------------------------------------- */
void train_log_begin(train_log *l, int64_t step) {
    l->w = json_to_memory(JSON_COMPACT);
    l->step = step, l->n = 0;
    json_begin_object(&l->w, NULL);
    json_put_int(&l->w, "step", step);
}

static void remember(train_log *l, const char *name, double v) {
    if (!isfinite(v) || l->n == MOST_VALUES) return;
    snprintf(l->name[l->n], MOST_NAME, "%s", name);
    l->value[l->n++] = v;
}

/* Nine digits: what a float holds. */
static void put_num(train_log *l, const char *name, double v) {
    char text[40];
    int n = isfinite(v) ? snprintf(text, sizeof text, "%.9g", v) : snprintf(text, sizeof text, "null");
    json_put_raw(&l->w, name, text, (size_t)n);
}

void train_log_num(train_log *l, const char *name, double v) {
    put_num(l, name, v);
    remember(l, name, v);
}

void train_log_nums(train_log *l, const char *name, int n, const double *v) {
    char each[MOST_NAME];
    json_begin_array(&l->w, name);
    for (int k = 0; k < n; k++) {
        snprintf(each, sizeof each, "%.50s.%d", name, k);
        put_num(l, NULL, v[k]);
        remember(l, each, v[k]);
    }
    json_close_array(&l->w);
}

void train_log_flag(train_log *l, const char *name, bool v) { json_put_bool(&l->w, name, v); }

/* The line by one write; a short one is taken back. */
static void write_line(train_log *l, const char *text, size_t bytes) {
    ssize_t k;
    do k = write(l->fd, text, bytes);
    while (k < 0 && errno == EINTR);
    if (k == (ssize_t)bytes) {
        l->bytes += k;
        return;
    }
    char why[256];
    snprintf(why, sizeof why, "%.150s: writing stopped: %s", l->path, k < 0 ? strerror(errno) : "no room");
    if (k > 0 && ftruncate(l->fd, (off_t)l->bytes)) l->bytes += k;
    warn_once(l, why);
}

void train_log_end(train_log *l) {
    vm_error e = { 0 };
    size_t bytes = 0;
    const char *tags[MOST_VALUES];
    char tag[MOST_VALUES][MOST_NAME + 8];
    json_close_object(&l->w);
    json_newline(&l->w);
    char *text = json_take(&l->w, &bytes, &e);
    if (text) write_line(l, text, bytes);
    vm_free(text);
    for (int k = 0; k < l->n; k++) {
        const char *name = l->name[k], *in = !strncmp(name, "val_", 4)     ? "val/"
                                             : !strncmp(name, "bench_", 6) ? "bench/"
                                                                           : "train/";
        snprintf(tag[k], sizeof tag[k], "%s%s", in, *in == 'v' ? name + 4 : *in == 'b' ? name + 6 : name);
        tags[k] = tag[k];
        add_point(l, name, l->step, l->value[k]);
    }
    if (l->events && l->n) tfevents_put(l->events, (double)time(NULL), l->step, l->n, tags, l->value, &e);
    if (e.status) warn_once(l, e.msg);
}

/* --- the page ----------------------------------------------------------------------------------------------------- */
typedef struct {
    const char *title, *names[7];
    bool log_y;
} picture;
static const picture pictures[] = {
    { "Loss", { "loss", "val_loss" }, false },
    { "Its terms", { "itc", "twin", "imc", "cmr" }, false },
    { "Margins of the rank term", { "theta.0", "theta.1", "theta.2", "theta.3" }, false },
    { "Validation: the right one is found first", { "val_i2t_r1", "val_t2i_r1" }, false },
    { "Validation: among the first 5 and 10", { "val_i2t_r5", "val_t2i_r5", "val_i2t_r10", "val_t2i_r10" }, false },
    { "Validation: rank of the right one",
      { "val_i2t_mean_rank", "val_t2i_mean_rank", "val_i2t_median_rank", "val_t2i_median_rank" },
      true },
    { "Benchmark: mean scores", { "bench_text", "bench_image", "bench_group" }, false },
    { "Learning rate", { "lr" }, false },
    { "Temperature", { "scale" }, false },
    { "Norm of the gradient", { "grad_norm" }, true },
    { "Samples per second", { "samples_per_s" }, false },
    { "Seconds that a step waited for data", { "data_s" }, false },
};

static void add_picture(const train_log *l, page *p, const picture *x) {
    plot_series s[VM_LEN(x->names)];
    int n = 0;
    for (int k = 0; k < VM_LEN(x->names) && x->names[k]; k++) {
        const curve *c = find_curve(l, x->names[k]);
        if (c) s[n++] = (plot_series){ x->names[k], c->x, c->y, c->n };
    }
    if (n)
        page_curves(p, &(plot_curves){ .title = x->title, .x_label = "step", .series = s, .n = n, .log_y = x->log_y });
}

void train_log_report(train_log *l, const char *title, const char *subtitle) {
    char *dir = path_join(l->dir, "report"), step[32], loss[32], val[32], speed[32];
    vm_error e = { 0 };
    if (!dir) return;
    if (!dir_make(dir, &e)) {
        page *p = page_begin(dir, title, subtitle, &e);
        const char *const facts[] = { "loss", "val_loss", "samples_per_s" };
        char *const text[] = { loss, val, speed };
        for (int k = 0; k < VM_LEN(facts); k++) {
            double v = train_log_last(l, facts[k]);
            snprintf(text[k], 32, isfinite(v) ? "%.4g" : "none", v);
        }
        snprintf(step, sizeof step, "%lld", (long long)l->step);
        page_facts(
            p, 4,
            (page_fact[]){
                { "step", step }, { "loss", loss }, { "validation loss", val }, { "samples per second", speed } });
        page_section(p, "curves", "Curves");
        for (int k = 0; k < VM_LEN(pictures); k++) add_picture(l, p, &pictures[k]);
        page_end(p, &e);
    }
    if (e.status) warn_once(l, e.msg);
    vm_free(dir);
}
