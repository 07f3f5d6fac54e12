/* eval_detect_run.c - a detector over the pictures of a boxes_set. Pictures that are asked for the same phrases go together; phrases that
 * are too many for one text go in several.
 *
 * The journal: {"run":{...}} first, then {"image_id":7,"found":[[category_id,x,y,w,h,score],...]} for each picture that was read. */
#include <inttypes.h>
#include <string.h>

#include "io/journal.h"
#include "io/log.h"
#include "io/progress.h"
#include "pipeline/eval_detect.h"
#include "pipeline/run.h"

enum { WINDOWS = 4 }; /* batches of pictures that are held at a time, so that pictures of one size meet */

typedef struct {
    eval_detect *x;
    detector *d;
    const eval_detect_source *src;
    journal *j;
    bool *done;                 /* pictures that the journal knows */
    progress *bar;
    int64_t *category;          /* of the phrases that were asked last */
    int64_t n_category;
} run;

/* --- the journal -------------------------------------------------------------------------------------------------- */
static char *identity(const run *r, vm_error *e) {
    const detector_options *o = &r->src->how;
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_begin_object(&w, "run");
    json_put_int(&w, "schema", 1), json_put_str(&w, "version", VM_VERSION), json_put_str(&w, "files_sha256", r->x->m.files_sha256);
    json_put_str(&w, "precision", r->x->m.precision);
    json_put_num(&w, "min_score", o->threshold), json_put_num(&w, "max_area", o->max_area), json_put_int(&w, "max_boxes", o->most);
    json_close_object(&w), json_close_object(&w);
    return json_take(&w, NULL, e);
}

static vm_status add(eval_detect *x, boxes_item b, vm_error *e) {
    if (!vm_grow(&x->found, &x->cap, x->n + 1, sizeof *x->found)) return vm_nomem(e, (size_t)x->n * sizeof *x->found, "found boxes");
    x->found[x->n++] = b;
    return VM_OK;
}

static int64_t image_of(const boxes_set *s, int64_t id) {
    for (int64_t low = 0, high = s->n_images; low < high;) {
        int64_t at = (low + high) / 2;
        if (s->image[at].id == id) return at;
        if (s->image[at].id < id) low = at + 1;
        else high = at;
    }
    return -1;
}

static int64_t category_of(const boxes_set *s, int64_t id) {
    for (int64_t k = 0; k < s->n_categories; k++)
        if (s->category[k].id == id) return k;
    return -1;
}

static void remember(run *r, json_value line, vm_error *e) {
    const int64_t at = image_of(&r->x->set, json_int(line, "image_id", -1, INT64_MIN, INT64_MAX, e)), before = r->x->n;
    if (at < 0 || r->done[at]) return;
    for (json_iter it = json_each(json_get(line, "found")); !e->status && json_next(&it);) {
        double v[6];
        if (json_as_nums(it.value, v, 6, e) != 6) return;
        boxes_item b = { .image = at, .category = category_of(&r->x->set, (int64_t)v[0]), .box = { v[1], v[2], v[3], v[4] }, .area = v[3] * v[4], .score = v[5] };
        if (b.category < 0) { /* of other annotations: found anew */
            r->x->n = before;
            return;
        }
        add(r->x, b, e);
    }
    r->done[at] = true;
}

static vm_status read_journal(run *r, const char *mine, vm_error *e) {
    journal_reader *in = NULL;
    journal_line line;
    if (journal_reader_open(&in, r->src->journal, e)) return e->status;
    for (int rc; !e->status && (rc = journal_next(in, &line, e)) > 0;) {
        const size_t n = strlen(mine) - 1;
        if (line.number == 1 && (line.bytes < n || memcmp(line.text, mine, n)))
            vm_fail(e, VM_EINPUT, "%s: holds boxes of another model or of other options; choose another --out or --name, or start anew with --fresh",
                    r->src->journal);
        if (line.number == 1) continue;
        json_doc *d = json_parse(line.text, line.bytes, r->src->journal, 0, e);
        if (d) remember(r, json_root(d), e);
        json_free(d);
    }
    journal_reader_close(in);
    return e->status;
}

static vm_status open_journal(run *r, vm_error *e) {
    char *mine = r->src->journal ? identity(r, e) : NULL;
    if (!mine) return e->status;
    if (!journal_open(&r->j, r->src->journal, e) && r->src->fresh && journal_lines(r->j)) {
        journal *old = r->j; /* its lock has shown that nobody else is at work on it */
        r->j = NULL;
        if (!journal_close(old, e) && !file_write(r->src->journal, "", 0, e)) journal_open(&r->j, r->src->journal, e);
    }
    if (!e->status && journal_lines(r->j)) read_journal(r, mine, e);
    else if (!e->status) journal_append(r->j, mine, strlen(mine), e);
    vm_free(mine);
    return e->status;
}

/* The boxes of a picture, which are found[from..]. */
static vm_status write_line(run *r, int64_t image, int64_t from, vm_error *e) {
    const boxes_set *s = &r->x->set;
    size_t bytes = 0;
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_put_int(&w, "image_id", s->image[image].id);
    json_begin_array(&w, "found");
    for (int64_t i = from; i < r->x->n; i++) {
        const boxes_item *b = &r->x->found[i];
        json_begin_array(&w, NULL);
        json_put_int(&w, NULL, s->category[b->category].id);
        for (int k = 0; k < 4; k++) json_put_num(&w, NULL, b->box[k]);
        json_put_num(&w, NULL, b->score);
        json_close_array(&w);
    }
    json_close_array(&w), json_close_object(&w);
    char *text = json_take(&w, &bytes, e);
    if (text) journal_append(r->j, text, bytes, e);
    vm_free(text);
    return e->status;
}

/* --- phrases ------------------------------------------------------------------------------------------------------ */
/* The name of a category as one phrase: what ends a phrase becomes a blank. */
static char *phrase_of(const boxes_set *s, int64_t category) {
    char *text = vm_strdup(s->category[category].name);
    for (char *p = text; p && *p; p++)
        if (*p == '.' || *p == '?') *p = ' ';
    return text;
}

/* Asks for as many of the categories as fit one text; *n: how many. */
static vm_status ask(run *r, const int64_t *category, int64_t *n, vm_error *e) {
    if (*n >= r->n_category && r->n_category && !memcmp(category, r->category, (size_t)r->n_category * sizeof *category))
        return *n = r->n_category, VM_OK; /* as the last time */
    char **text = vm_calloc((size_t)*n, sizeof *text);
    int64_t all = *n, fit = 0;
    if (!text) return vm_nomem(e, (size_t)all * sizeof *text, "phrases");
    for (int64_t k = 0; k < all && !e->status; k++)
        if (!(text[k] = phrase_of(&r->x->set, category[k]))) vm_nomem(e, 256, "a phrase");
    r->n_category = 0;
    if (!e->status && !detector_fits(r->d, (const char *const *)text, all, &fit, e)) {
        if (!fit) vm_fail(e, VM_EINPUT, "category %" PRId64 ": \"%.80s\" is longer than the model reads", r->x->set.category[category[0]].id, text[0]);
        else if (!detector_ask(r->d, (const char *const *)text, fit, e) && detector_count(r->d) != fit)
            vm_fail(e, VM_EINPUT, "%" PRId64 " categories make %" PRId64 " phrases: the name of one of them is empty to the model's tokenizer", fit, detector_count(r->d));
    }
    for (int64_t k = 0; k < all; k++) vm_free(text[k]);
    vm_free(text);
    if (e->status) return e->status;
    memcpy(r->category, category, (size_t)fit * sizeof *category);
    return r->n_category = *n = fit, VM_OK;
}

/* --- pictures ----------------------------------------------------------------------------------------------------- */
static vm_status read_picture(run *r, int64_t image, vm_image *out, vm_error *e) {
    char *path = media_find(r->src->places, NULL, r->x->set.image[image].file, e);
    if (path) image_read(out, path, NULL, e);
    vm_free(path);
    if (!e->status || e->status != VM_EINPUT) return e->status;
    if (keymap_put_text(&r->x->faults, e->msg) < 0) return vm_nomem(e, 256, "the list of faults");
    vm_error_clear(e);
    progress_add_bad(r->bar, 1);
    boxes_leave_out(&r->x->set, image);
    return VM_OK;
}

/* found boxes of pictures at[0..n), which are asked for the same categories. */
static vm_status look(run *r, int64_t n, const int64_t *at, const vm_image *const *rgb, const int64_t *category, int64_t n_category, vm_error *e) {
    detector_found *f = vm_calloc((size_t)n, sizeof *f);
    boxes_item **of = vm_calloc((size_t)n, sizeof *of);
    int64_t *many = vm_calloc((size_t)(2 * n), sizeof *many);
    if (!f || !of || !many) vm_nomem(e, (size_t)n * sizeof *f, "pictures");
    for (int64_t from = 0, take; from < n_category && !e->status; from += take) {
        take = n_category - from;
        if (ask(r, category + from, &take, e) || detector_run_many(r->d, n, rgb, &r->src->how, f, e)) break;
        for (int64_t i = 0; i < n; i++) {
            for (int64_t k = 0; k < f[i].n && !e->status; k++) {
                const float *c = f[i].box[k].box;
                boxes_item b = { .image = at[i], .category = category[from + f[i].box[k].phrase], .score = (double)f[i].box[k].score,
                                 .box = { (double)c[0], (double)c[1], (double)c[2] - (double)c[0], (double)c[3] - (double)c[1] } };
                b.area = b.box[2] * b.box[3];
                if (!vm_grow(&of[i], &many[n + i], many[i] + 1, sizeof b)) vm_nomem(e, sizeof b, "found boxes");
                else of[i][many[i]++] = b;
            }
            detector_found_free(&f[i]);
        }
    }
    for (int64_t i = 0; i < n && of && many; i++) {
        const int64_t before = r->x->n;
        for (int64_t k = 0; k < many[i] && !e->status; k++) add(r->x, of[i][k], e);
        if (!e->status && r->j) write_line(r, at[i], before, e);
        vm_free(of[i]);
    }
    if (!e->status) progress_add(r->bar, n);
    vm_free(f), vm_free(of), vm_free(many);
    return e->status;
}

static bool same_question(const boxes_image *a, const boxes_image *b) {
    if (!a->asked || !b->asked) return !a->asked && !b->asked;
    return a->n_asked == b->n_asked && !memcmp(a->asked, b->asked, (size_t)a->n_asked * sizeof *a->asked);
}

/* Pictures from `*at` on that are asked for the same, as many as are held at a time. */
static vm_status window(run *r, int64_t *at, int64_t end, const int64_t *all, vm_error *e) {
    const int64_t most = VM_MAX(r->src->how.batch, (int64_t)1) * WINDOWS, first = *at;
    const boxes_image *im = r->x->set.image;
    int64_t *which = vm_alloc((size_t)most * sizeof *which), n = 0;
    vm_image *held = vm_calloc((size_t)most, sizeof *held);
    const vm_image **rgb = vm_alloc((size_t)most * sizeof *rgb);
    if (!which || !held || !rgb) vm_nomem(e, (size_t)most * sizeof *held, "pictures");
    for (; *at < end && n < most && !e->status && same_question(&im[first], &im[*at]); ++*at) {
        if (r->done[*at] || read_picture(r, *at, &held[n], e) || im[*at].left_out) continue;
        rgb[n] = &held[n], which[n++] = *at;
    }
    if (!e->status && n) look(r, n, which, rgb, im[first].asked ? im[first].asked : all, boxes_asked(&r->x->set, &im[which[0]]), e);
    for (int64_t k = 0; k < n; k++) image_free(&held[k]);
    vm_free(which), vm_free(held), vm_free(rgb);
    return e->status;
}

vm_status eval_detect_run(eval_detect *x, detector *d, const eval_detect_source *src, vm_error *e) {
    run r = { .x = x, .d = d, .src = src };
    const int64_t C = x->set.n_categories, end = src->limit ? VM_MIN(src->limit, x->set.n_images) : x->set.n_images;
    int64_t *all = vm_alloc((size_t)C * sizeof *all + 1), at = 0, known = 0;
    r.category = vm_alloc((size_t)C * sizeof *all + 1), r.done = vm_calloc((size_t)x->set.n_images + 1, 1);
    if (!all || !r.category || !r.done) vm_nomem(e, (size_t)C * sizeof *all, "categories");
    for (int64_t k = 0; k < C && !e->status; k++) all[k] = k;
    for (int64_t i = end; i < x->set.n_images && !e->status; i++) boxes_leave_out(&x->set, i);
    if (!e->status) open_journal(&r, e);
    for (int64_t i = 0; i < end && r.done; i++) known += r.done[i];
    r.bar = progress_start(x->m.name, end, "pictures");
    progress_skip(r.bar, known);
    while (at < end && !e->status && !run_stopping()) window(&r, &at, end, all, e);
    progress_end(r.bar);
    if (!e->status && at < end)
        vm_fail(e, VM_ESTOP, "stopped at picture %" PRId64 " of %" PRId64 "%s", at, end, src->journal ? "; the same command goes on from there" : "");
    vm_error closing = { 0 };
    if (r.j && journal_close(r.j, &closing) && !e->status) *e = closing;
    vm_free(all), vm_free(r.category), vm_free(r.done);
    return e->status;
}
