/* retrieval.c - `vismin eval retrieval`: pictures to captions and captions to pictures. A query's right answers are all
 * captions of its picture (or its picture), and one of them within the first k is a hit (rank.h). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/csv.h"
#include "io/log.h"
#include "pipeline/eval_command.h"
#include "pipeline/eval_vectors.h"
#include "pipeline/rank.h"
#include "pipeline/retrieval_data.h"
#include "pipeline/run.h"

enum { TO_TEXT, TO_IMAGE, DIRECTIONS };
static const char *const direction_name[DIRECTIONS] = { "image_to_text", "text_to_image" };

typedef struct {
    retrieval_data data;
    eval_model *m;
    eval_vectors *v;
    rank_list list[DIRECTIONS]; /* the queries of each direction: pictures that can be used; captions of these */
    int32_t *rows[DIRECTIONS];  /* of the lists */
    int32_t *which[DIRECTIONS]; /* of each query: number in data.names, in data.caption */
    int64_t *at[DIRECTIONS];    /* right answers, see rank_queries */
    int32_t *answer[DIRECTIONS];
    rank_outcome *outcome[DIRECTIONS];
    rank_summary sum[DIRECTIONS];
    int64_t n_broken, n_orphans; /* pictures that cannot be read; captions of pictures that are missing or broken */
    int64_t n_alone;             /* pictures without a caption in use: they are candidates only */
} job;

/* --- queries and candidates --------------------------------------------------------------------------------------- */
/* Numbers the pictures that can be used: of each name, its place among them, or -1. */
static int32_t *place_pictures(job *j, vm_error *e) {
    retrieval_data *d = &j->data;
    int32_t *place = vm_alloc((size_t)d->names.n * sizeof *place + 1), n = 0;
    j->rows[TO_TEXT] = vm_alloc((size_t)d->names.n * sizeof *place + 1);
    j->which[TO_TEXT] = vm_alloc((size_t)d->names.n * sizeof *place + 1);
    if (!place || !j->rows[TO_TEXT] || !j->which[TO_TEXT]) {
        vm_free(place);
        vm_nomem(e, (size_t)d->names.n * sizeof *place, "pictures");
        return NULL;
    }
    for (int64_t i = 0; i < d->names.n && !e->status; i++) {
        const char *why = d->image[i] < 0 ? NULL : eval_vectors_fault(j->v, d->image[i]);
        place[i] = -1;
        if (why && d->set->on_error == EVAL_FAIL) vm_fail(e, VM_EINPUT, "%s", why);
        else if (why) eval_set_add_fault(d->set, -1, keymap_at(&d->names, i, NULL), why, e), j->n_broken++;
        if (why || d->image[i] < 0) continue;
        place[i] = n, j->which[TO_TEXT][n] = (int32_t)i;
        j->rows[TO_TEXT][n++] = (int32_t)eval_vectors_content(j->v, d->image[i]);
    }
    j->list[TO_TEXT].n = n;
    return place;
}

/* Queries of both directions, and which answers are right. */
static vm_status join(job *j, vm_error *e) {
    retrieval_data *d = &j->data;
    int64_t n = 0, contents;
    int32_t *place = place_pictures(j, e);
    if (!place || e->status) {
        vm_free(place);
        return e->status;
    }
    int64_t pictures = j->list[TO_TEXT].n;
    size_t captions = (size_t)d->n_captions + 1;
    j->rows[TO_IMAGE] = vm_alloc(captions * sizeof *place), j->which[TO_IMAGE] = vm_alloc(captions * sizeof *place);
    for (int k = 0; k < DIRECTIONS; k++) j->answer[k] = vm_alloc(captions * sizeof *place);
    j->at[TO_TEXT] = vm_calloc((size_t)pictures + 2, sizeof *j->at[0]);
    j->at[TO_IMAGE] = vm_alloc((captions + 1) * sizeof *j->at[0]);
    if (!j->rows[TO_IMAGE] || !j->which[TO_IMAGE] || !j->answer[0] || !j->answer[1] || !j->at[0] || !j->at[1]) {
        vm_free(place);
        return vm_nomem(e, captions * sizeof *place, "captions");
    }
    int64_t *from = j->at[TO_TEXT] + 1; /* counts, then beginnings, then ends of each picture's captions */
    for (int64_t c = 0; c < d->n_captions; c++) {
        int32_t p = place[d->owner[c]];
        if (p < 0) continue;
        j->which[TO_IMAGE][n] = (int32_t)c, j->rows[TO_IMAGE][n] = d->caption[c];
        j->at[TO_IMAGE][n] = n, j->answer[TO_IMAGE][n++] = p;
        from[p + 1]++;
    }
    j->at[TO_IMAGE][n] = n;
    for (int64_t p = 0; p < pictures; p++) j->n_alone += from[p + 1] == 0, from[p + 1] += from[p];
    for (int64_t c = 0; c < n; c++) j->answer[TO_TEXT][from[j->answer[TO_IMAGE][c]]++] = (int32_t)c;
    j->list[TO_IMAGE].n = n, j->n_orphans = d->n_orphans + d->n_captions - n;
    for (int k = 0; k < DIRECTIONS; k++)
        j->list[k].row = j->rows[k], j->list[k].dim = eval_model_dim(j->m);
    j->list[TO_TEXT].table = eval_vectors_contents(j->v, &contents), j->list[TO_TEXT].rows = contents;
    j->list[TO_IMAGE].table = eval_vectors_caption(j->v, 0), j->list[TO_IMAGE].rows = d->set->captions.n;
    vm_free(place);
    if (!n) {
        eval_say_faults(d->set, 0, NULL, d->names.n, NULL);
        vm_fail(e, VM_EINPUT, "no picture with a caption could be read");
    }
    return e->status;
}

static vm_status rank_all(job *j, vm_error *e) {
    for (int k = 0; k < DIRECTIONS && !e->status; k++) {
        int64_t n = j->list[k].n;
        if (!(j->outcome[k] = vm_alloc((size_t)n * sizeof *j->outcome[k] + 1)))
            return vm_nomem(e, (size_t)n * sizeof *j->outcome[k], "ranks");
        if (!rank_queries(&j->list[k], &j->list[!k], j->at[k], j->answer[k],
                          k == TO_TEXT ? "pictures to captions" : "captions to pictures", j->outcome[k], e))
            rank_summarise(&j->sum[k], j->outcome[k], n, e);
    }
    return e->status;
}

/* --- results ------------------------------------------------------------------------------------------------------ */
static double sum_of_recalls(const job *j) {
    double sum = 0;
    for (int k = 0; k < DIRECTIONS; k++)
        for (int c = 0; c < RANK_CUTS; c++) sum += j->sum[k].recall[c].value;
    return sum;
}

static double percent(double share) { return round(1e12 * share) / 1e10; } /* NaN: null */

static void put_direction(json_writer *w, const job *j, int k) {
    const rank_summary *s = &j->sum[k];
    char key[32];
    json_begin_object(w, direction_name[k]);
    json_put_int(w, "n", s->n);
    json_put_int(w, "candidates", j->list[!k].n);
    json_put_int(w, "n_invalid", s->n_invalid);
    for (int c = 0; c < RANK_CUTS; c++) {
        snprintf(key, sizeof key, "recall@%d", rank_cut[c]);
        json_put_num(w, key, percent(s->recall[c].value));
    }
    json_begin_object(w, "ci95");
    for (int c = 0; c < RANK_CUTS; c++) {
        snprintf(key, sizeof key, "recall@%d", rank_cut[c]);
        json_begin_array(w, key);
        json_put_num(w, NULL, percent(s->recall[c].low));
        json_put_num(w, NULL, percent(s->recall[c].high));
        json_close_array(w);
    }
    json_close_object(w);
    json_put_num(w, "median_rank", s->median);
    json_put_num(w, "mean_rank", s->mean);
    json_put_num(w, "mean_reciprocal_rank", s->inverse);
    json_close_object(w);
}

static void put_json(json_writer *w, const job *j, const vm_args *a, const eval_facts *f) {
    json_begin_object(w, NULL);
    json_put_int(w, "schema", 1);
    json_put_str(w, "task", "retrieval");
    json_put_bool(w, "partial", arg_int(a, "limit") > 0);
    json_put_int(w, "n_pictures", j->list[TO_TEXT].n);
    json_put_int(w, "n_captions", j->list[TO_IMAGE].n);
    json_put_int(w, "n_skipped", j->data.set->n_faults);
    json_put_int(w, "n_skipped_captions", j->n_orphans);
    json_put_int(w, "n_pictures_without_caption", j->n_alone);
    for (int k = 0; k < DIRECTIONS; k++) put_direction(w, j, k);
    json_put_num(w, "sum_of_recalls", percent(sum_of_recalls(j)));
    eval_put_model(w, j->m);
    json_begin_object(w, "options");
    json_put_str(w, "data", f->data);
    json_put_str(w, "split", arg_str(a, "split"));
    if (arg_int(a, "limit")) json_put_int(w, "limit", arg_int(a, "limit"));
    if (arg_int(a, "captions")) json_put_int(w, "captions", arg_int(a, "captions"));
    json_put_str(w, "template", f->options->template);
    json_put_bool(w, "allow_truncated", f->options->allow_truncated);
    json_put_bool(w, "exif_rotate", f->options->exif_rotate);
    json_put_str(w, "alpha", image_alpha_name[f->options->alpha]);
    json_close_object(w);
    eval_put_facts(w, f);
    json_close_object(w);
    json_newline(w);
}

static void print_table(const job *j) {
    char cell[64];
    printf("%s, retrieval among %" PRId64 " pictures and %" PRId64 " captions, %% of queries [95 %% interval]\n\n%-16s %9s",
           j->m->name, j->list[TO_TEXT].n, j->list[TO_IMAGE].n, "", "queries");
    for (int c = 0; c < RANK_CUTS; c++) snprintf(cell, sizeof cell, "recall@%d", rank_cut[c]), printf("  %-20s", cell);
    printf("  %11s  %9s\n", "median rank", "mean rank");
    for (int k = 0; k < DIRECTIONS; k++) {
        const rank_summary *s = &j->sum[k];
        printf("%-16s %9" PRId64, k == TO_TEXT ? "image to text" : "text to image", s->n);
        for (int c = 0; c < RANK_CUTS; c++) {
            const estimate *x = &s->recall[c];
            snprintf(cell, sizeof cell, "%6.2f [%.1f, %.1f]", 100 * x->value, 100 * x->low, 100 * x->high);
            printf("  %-20s", cell);
        }
        printf("  %11.1f  %9.2f\n", s->median, s->mean);
    }
    printf("\nsum of the six recalls: %.2f\n", 100 * sum_of_recalls(j));
}

static void write_table(const job *j, const char *dir, vm_error *e) {
    static const char *const header[] = { "direction", "queries", "recall@1", "recall@5", "recall@10", "median_rank", "mean_rank" };
    vm_out *md = vm_out_in(dir, "table.md", e), *csv = md ? vm_out_in(dir, "table.csv", e) : NULL;
    for (int k = -1; k < DIRECTIONS && csv && !e->status; k++) {
        char text[VM_LEN(header)][32];
        const char *field[VM_LEN(header)];
        for (int c = 0; c < VM_LEN(header); c++) field[c] = k < 0 ? header[c] : text[c];
        if (k >= 0) {
            const rank_summary *s = &j->sum[k];
            snprintf(text[0], 32, "%s", direction_name[k]), snprintf(text[1], 32, "%" PRId64, s->n);
            for (int c = 0; c < RANK_CUTS; c++) snprintf(text[2 + c], 32, "%.2f", 100 * s->recall[c].value);
            snprintf(text[5], 32, "%.1f", s->median), snprintf(text[6], 32, "%.2f", s->mean);
        }
        csv_write_row(csv, ',', field, VM_LEN(header), e);
        for (int c = 0; c < VM_LEN(header); c++) vm_out_printf(md, e, "| %s ", field[c]);
        vm_out_text(md, k < 0 ? "|\n|---|---:|---:|---:|---:|---:|---:|\n" : "|\n", e);
    }
    vm_out_finish(csv, e), vm_out_finish(md, e);
}

static const char *query_name(const job *j, int direction, int64_t place) {
    int32_t i = j->which[direction][place];
    return direction == TO_TEXT ? keymap_at(&j->data.names, i, NULL)
                                : keymap_at(&j->data.set->captions, j->data.caption[i], NULL);
}

/* ranks.csv: one row per query. */
static void write_ranks(const job *j, const char *dir, vm_error *e) {
    static const char *const header[] = { "direction", "query", "rank", "right", "right_score", "first", "first_score" };
    vm_out *o = vm_out_in(dir, "ranks.csv", e);
    if (o) csv_write_row(o, ',', header, VM_LEN(header), e);
    for (int k = 0; k < DIRECTIONS && o; k++)
        for (int64_t i = 0; i < j->list[k].n && !e->status; i++) {
            const rank_outcome *x = &j->outcome[k][i];
            char rank[24], right[24], first[24];
            snprintf(rank, sizeof rank, "%" PRId64, x->rank);
            snprintf(right, sizeof right, "%.9g", x->s_right), snprintf(first, sizeof first, "%.9g", x->s_first);
            csv_write_row(o, ',',
                          (const char *const[]){ direction_name[k], query_name(j, k, i), x->rank ? rank : "",
                                                 x->right < 0 ? "" : query_name(j, !k, x->right), x->right < 0 ? "" : right,
                                                 x->first < 0 ? "" : query_name(j, !k, x->first), first },
                          VM_LEN(header), e);
        }
    vm_out_finish(o, e);
}

static vm_status write_files(const job *j, const vm_args *a, const eval_facts *f, const char *dir, vm_error *e) {
    write_table(j, dir, e);
    if (!e->status) write_ranks(j, dir, e);
    if (!e->status) eval_write_skipped(j->data.set, 0, NULL, dir, e);
    if (e->status) return e->status;
    json_writer w = json_to_memory(JSON_PRETTY); /* the last one: it says that the others are whole */
    put_json(&w, j, a, f);
    return json_save(&w, dir, "results.json", e);
}

static vm_status show(const job *j, const vm_args *a, const eval_facts *f, vm_error *e) {
    if (!arg_flag(a, "json")) return print_table(j), VM_OK;
    json_writer w = json_to_stream(stdout, JSON_PRETTY);
    put_json(&w, j, a, f);
    return json_end(&w, e);
}

/* --- the command -------------------------------------------------------------------------------------------------- */
static void free_job(job *j) {
    for (int k = 0; k < DIRECTIONS; k++)
        vm_free(j->rows[k]), vm_free(j->which[k]), vm_free(j->at[k]), vm_free(j->answer[k]), vm_free(j->outcome[k]);
    eval_vectors_free(j->v);
    eval_model_free(j->m);
    retrieval_free(&j->data);
}

static vm_status run(const vm_args *a, vm_error *e) {
    static const char *const policies[] = { "skip", "fail" };
    const char *data = arg_str(a, "data");
    retrieval_source source = { .places = eval_places(a), .split = arg_str(a, "split"), .image_key = arg_str(a, "image-key"),
                                .caption_key = arg_str(a, "caption-key"), .pictures = arg_int(a, "limit"),
                                .captions = arg_int(a, "captions") };
    eval_options o = { .template = arg_str(a, "template") };
    eval_facts f = { .command = arg_line(a), .options = &o };
    double from = run_seconds();
    char *dir = NULL, *real = data ? realpath(data, NULL) : NULL;
    embed_cache *cache = NULL;
    job j = { 0 };
    int64_t faults = 0;
    if (!data) return vm_fail(e, VM_EUSAGE, "eval retrieval: --data FILE is needed");
    if (arg_str(a, "on-error")) source.on_error = eval_word(a, "on-error", policies, 2, e) ? EVAL_FAIL : EVAL_SKIP;
    if (o.template && !strstr(o.template, "{}"))
        vm_fail(e, VM_EUSAGE, "eval retrieval: --template %s: no {} for the caption", o.template);
    eval_facts_start(&f);
    f.data = real ? real : data;
    if (e->status || eval_picture_options(a, &o, e) || retrieval_load(&j.data, data, &source, e)) goto done;
    if (eval_open_vectors(a, &j.m, &cache, e) || (!(dir = eval_make_folder(a, "retrieval", j.m, e)) && e->status)) goto done;
    o.cache = cache;
    if (eval_vectors_new(&j.v, j.data.set, j.m, &o, o.template, e) || eval_vectors_all(j.v, j.m->name, e) || join(&j, e) ||
        rank_all(&j, e))
        goto done;
    f.wall_s = run_seconds() - from;
    if (dir && write_files(&j, a, &f, dir, e)) goto done;
    faults = j.data.set->n_faults;
    eval_say_faults(j.data.set, 0, NULL, j.data.names.n, dir);
    if (j.n_orphans) vm_warn("%" PRId64 " captions belong to pictures that cannot be used; they are left out", j.n_orphans);
    show(&j, a, &f, e);
done:
    embed_cache_close(cache);
    free_job(&j);
    vm_free(dir);
    free(real);
    return e->status ? e->status : faults ? VM_EPARTIAL : VM_OK;
}

static const vm_opt opts[] = {
    { "data", OPT_STR, NULL, "FILE", "pictures and their captions: COCO, Karpathy, JSON Lines, or a table", 0, 0 },
    { "split", OPT_STR, NULL, "NAME", "of Karpathy's JSON: test, val, train or restval; unset: all", 0, 0 },
    EVAL_PLACE_OPTS,
    { "image-key", OPT_STR, NULL, "NAME", "column or member with the picture (known: image_path, filepath, image, file_name)",
      0, 0 },
    { "caption-key", OPT_STR, NULL, "NAME", "column or member with the caption (known: caption, title, text, captions)", 0, 0 },
    { "captions", OPT_INT, "0", "N", "at most the first N captions of each picture; 0 = all", 0, 1000 },
    { "limit", OPT_INT, "0", "N", "only the first N pictures; 0 = all", 0, 1e9 },
    { "template", OPT_STR, NULL, "TEXT", "text with {} for the caption", 0, 0 },
    { "out", OPT_STR, NULL, "DIR", "write results.json, table.md, table.csv, ranks.csv to DIR/retrieval/MODEL/", 0, 0 },
    EVAL_MODEL_OPTS,
    { "on-error", OPT_STR, NULL, "POLICY", "skip or fail; unset: skip missing pictures, fail on bad annotations", 0, 0 },
    EVAL_PICTURE_OPTS,
    { 0 },
};

const vm_command cmd_eval_retrieval = {
    .name = "eval retrieval",
    .summary = "recall@1, 5 and 10 from pictures to captions and back",
    .usage = "MODEL --data FILE [--out DIR]",
    .about = "Every picture looks for its captions among all captions, and every caption for its picture. All captions of a "
             "picture\n"
             "are right; equal scores stand in the order of the file. Pictures that cannot be read are left out with their\n"
             "captions, counted and listed (exit code 1).\n\n"
             "  vismin eval retrieval clip/ --data captions_val2017.json --images coco/val2017 --captions 5 --out results\n"
             "  vismin eval retrieval clip/ --data dataset_coco.json --split test --images coco --embed-cache cache\n\n"
             "FILE: COCO captions, dataset_coco.json or dataset_flickr30k.json, an array or lines of {\"image\", \"caption\"} "
             "(a text\n"
             "or a list), or a table with such columns. With --embed-cache an interrupted run goes on where it was.",
    .opts = opts,
    .min_pos = 1,
    .max_pos = 1,
    .run = run,
};
