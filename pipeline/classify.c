/* classify.c - `vismin eval classify`: zero-shot classification. A class is the mean of the unit vectors of its name in
 * all templates, brought to length 1 again (A. Radford et al., arXiv 2103.00020, section 3.1.4); a picture belongs to the
 * class with the highest cosine. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/csv.h"
#include "io/log.h"
#include "pipeline/classify_data.h"
#include "pipeline/eval_command.h"
#include "pipeline/eval_vectors.h"
#include "pipeline/rank.h"
#include "pipeline/run.h"

enum { WEAKEST = 5 }; /* classes shown in the terminal */
static const char default_template[] = "a photo of a {}.";

typedef struct {
    classify_data data;
    char *text;             /* of the file of templates */
    const char **template;
    int64_t n_templates, cap_templates;
    int32_t *prompt;        /* [classes][templates]: number in set->captions */
    float *vector;          /* [classes][dim] */
    int32_t *class_row, *row, *which, *answer; /* of classes; of the pictures in use */
    int64_t *at, n;         /* pictures in use */
    eval_model *m;
    eval_vectors *v;
    rank_outcome *outcome;
    int64_t *n_of, *top1_of, *top5_of; /* of each class */
    estimate top1, top5, mean;
    int64_t n_invalid, n_empty; /* pictures without finite scores; classes without pictures */
} job;

/* --- prompts ------------------------------------------------------------------------------------------------------ */
static vm_status add_template(job *j, const char *text, const char *where, vm_error *e) {
    if (!strstr(text, "{}")) return vm_fail(e, VM_EUSAGE, "%s: template \"%s\" has no {} for the class", where, text);
    if (!vm_grow(&j->template, &j->cap_templates, j->n_templates + 1, sizeof *j->template))
        return vm_nomem(e, 256, "templates");
    j->template[j->n_templates++] = text;
    return VM_OK;
}

/* --template, then the lines of --templates; without both the default. */
static vm_status read_templates(job *j, const vm_args *a, vm_error *e) {
    const char *const *given, *file = arg_str(a, "templates");
    const int n = arg_list(a, "template", &given);
    size_t bytes = 0;
    for (int k = 0; k < n && !e->status; k++) add_template(j, given[k], "--template", e);
    if (!e->status && file && file_read(&j->text, &bytes, file, 0, e)) return e->status;
    int64_t number = 1;
    for (char *p = j->text, *end = p + bytes; file && p < end && !e->status; number++) {
        char where[600], *stop = memchr(p, '\n', (size_t)(end - p)), *next = stop ? stop + 1 : end;
        if (!stop) stop = end;
        if (stop > p && stop[-1] == '\r') stop--;
        *stop = 0;
        snprintf(where, sizeof where, "%.560s:%" PRId64, file, number);
        if (*p) add_template(j, p, where, e);
        p = next;
    }
    if (!e->status && !j->n_templates) add_template(j, default_template, "", e);
    return e->status;
}

static vm_status make_prompts(job *j, vm_error *e) {
    const classify_data *d = &j->data;
    int64_t T = j->n_templates;
    size_t cells;
    if (!vm_mul_sz((size_t)d->n_classes, (size_t)T * sizeof *j->prompt, &cells) || !(j->prompt = vm_alloc(cells)))
        return vm_nomem(e, 256, "prompts");
    for (int64_t i = 0; i < d->n_classes * T && !e->status; i++) {
        char *text = eval_caption_text(j->template[i % T], class_name(d, i / T));
        int64_t k = text ? keymap_put_text(&j->data.set->captions, text) : -1;
        if (k < 0) vm_nomem(e, 256, "prompts");
        j->prompt[i] = (int32_t)k;
        vm_free(text);
    }
    return e->status;
}

/* The vectors of the classes from those of their prompts. */
static vm_status make_classes(job *j, vm_error *e) {
    int64_t C = j->data.n_classes, T = j->n_templates, E = eval_model_dim(j->m);
    double *sum = vm_alloc((size_t)E * sizeof *sum + 1);
    j->vector = vm_alloc((size_t)(C * E) * sizeof *j->vector + 1);
    j->class_row = vm_alloc((size_t)C * sizeof *j->class_row);
    int32_t *first = vm_alloc((size_t)j->data.names.n * sizeof *first + 1); /* the first class of each name */
    if (!sum || !j->vector || !j->class_row || !first) {
        vm_free(sum), vm_free(first);
        return vm_nomem(e, (size_t)(C * E) * sizeof *j->vector, "classes");
    }
    for (int64_t k = 0; k < j->data.names.n; k++) first[k] = -1;
    for (int64_t c = 0; c < C; c++) {
        double length = 0;
        memset(sum, 0, (size_t)E * sizeof *sum);
        for (int64_t t = 0; t < T; t++) {
            const float *v = eval_vectors_caption(j->v, j->prompt[c * T + t]);
            for (int64_t k = 0; k < E; k++) sum[k] += (double)v[k];
        }
        for (int64_t k = 0; k < E; k++) length += sum[k] * sum[k];
        for (int64_t k = 0; k < E; k++) j->vector[c * E + k] = (float)(sum[k] / sqrt(length)); /* 0 / 0: no number */
        int32_t *same = &first[j->data.name[c]];
        if (*same < 0) *same = (int32_t)c;
        j->class_row[c] = *same; /* classes of one name tie exactly */
    }
    vm_free(sum), vm_free(first);
    return VM_OK;
}

/* --- pictures ----------------------------------------------------------------------------------------------------- */
/* The pictures that can be used, and their right answers. */
static vm_status choose_pictures(job *j, vm_error *e) {
    classify_data *d = &j->data;
    size_t n = (size_t)d->n + 1;
    j->row = vm_alloc(n * sizeof *j->row), j->which = vm_alloc(n * sizeof *j->which);
    j->answer = vm_alloc(n * sizeof *j->answer), j->at = vm_alloc(n * sizeof *j->at);
    j->outcome = vm_alloc(n * sizeof *j->outcome);
    if (!j->row || !j->which || !j->answer || !j->at || !j->outcome) return vm_nomem(e, n * sizeof *j->outcome, "pictures");
    for (int64_t i = 0; i < d->n && !e->status; i++) {
        const char *why = eval_vectors_fault(j->v, d->image[i]), *path = eval_picture_at(d->set, d->image[i]).path;
        if (why && d->set->on_error == EVAL_FAIL) vm_fail(e, VM_EINPUT, "%s", why);
        else if (why) eval_set_add_fault(d->set, -1, path, why, e);
        if (why) continue;
        j->row[j->n] = (int32_t)eval_vectors_content(j->v, d->image[i]);
        j->which[j->n] = (int32_t)i, j->answer[j->n] = d->label[i], j->at[j->n] = j->n;
        j->n++;
    }
    j->at[j->n] = j->n;
    if (!e->status && !j->n) {
        eval_say_faults(d->set, 0, NULL, d->n, NULL);
        vm_fail(e, VM_EINPUT, "no picture could be read");
    }
    return e->status;
}

static vm_status judge(job *j, vm_error *e) {
    int64_t C = j->data.n_classes, E = eval_model_dim(j->m), contents, top1 = 0, top5 = 0;
    rank_list pictures = { .row = j->row, .n = j->n, .dim = E };
    rank_list classes = { .table = j->vector, .rows = C, .dim = E, .row = j->class_row, .n = C };
    pictures.table = eval_vectors_contents(j->v, &contents), pictures.rows = contents;
    if (rank_queries(&pictures, &classes, j->at, j->answer, NULL, j->outcome, e)) return e->status;
    float *right = vm_alloc((size_t)j->n * sizeof *right + 1); /* class by class */
    const float **of = vm_alloc((size_t)C * sizeof *of);
    int64_t *fill = vm_calloc((size_t)C + 1, sizeof *fill);
    j->n_of = vm_calloc((size_t)C, sizeof *j->n_of), j->top1_of = vm_calloc((size_t)C, sizeof *j->n_of),
    j->top5_of = vm_calloc((size_t)C, sizeof *j->n_of);
    if (!right || !of || !fill || !j->n_of || !j->top1_of || !j->top5_of) {
        vm_nomem(e, (size_t)j->n * sizeof *right, "results");
        goto done;
    }
    for (int64_t i = 0; i < j->n; i++) j->n_of[j->answer[i]]++, fill[j->answer[i] + 1]++;
    for (int64_t c = 0; c < C; c++) fill[c + 1] += fill[c], of[c] = right + fill[c], j->n_empty += !j->n_of[c];
    for (int64_t i = 0; i < j->n; i++) {
        const rank_outcome *x = &j->outcome[i];
        int32_t c = j->answer[i];
        bool first = x->rank == 1, among = x->rank >= 1 && x->rank <= 5;
        right[fill[c]++] = first;
        j->n_invalid += !x->rank, top1 += first, top5 += among, j->top1_of[c] += first, j->top5_of[c] += among;
    }
    j->top1 = share_estimate((double)top1, j->n), j->top5 = share_estimate((double)top5, j->n);
    paired_bootstrap((int)C, j->n_of, of, NULL, BOOTSTRAP_RESAMPLES, 0, NULL, &j->mean, e);
done:
    vm_free(right), vm_free(of), vm_free(fill);
    return e->status;
}

/* --- results ------------------------------------------------------------------------------------------------------ */
static double percent(double share) { return round(1e12 * share) / 1e10; } /* NaN: null */

static void put_interval(json_writer *w, const char *key, const estimate *x) {
    json_begin_array(w, key);
    json_put_num(w, NULL, percent(x->low));
    json_put_num(w, NULL, percent(x->high));
    json_close_array(w);
}

static void put_json(json_writer *w, const job *j, const vm_args *a, const eval_facts *f) {
    const classify_data *d = &j->data;
    json_begin_object(w, NULL);
    json_put_int(w, "schema", 1);
    json_put_str(w, "task", "classification");
    json_put_bool(w, "partial", arg_int(a, "limit") > 0);
    json_put_int(w, "n", j->n);
    json_put_int(w, "n_skipped", d->set->n_faults);
    json_put_int(w, "n_invalid", j->n_invalid);
    json_put_int(w, "n_classes", d->n_classes);
    json_put_int(w, "n_classes_without_pictures", j->n_empty);
    json_put_num(w, "top1", percent(j->top1.value));
    json_put_num(w, "top5", percent(j->top5.value));
    json_put_num(w, "mean_per_class", percent(j->mean.value));
    json_begin_object(w, "ci95");
    put_interval(w, "top1", &j->top1), put_interval(w, "top5", &j->top5), put_interval(w, "mean_per_class", &j->mean);
    json_close_object(w);
    json_put_num(w, "chance", percent(1.0 / (double)d->n_classes));
    json_begin_array(w, "classes");
    for (int64_t c = 0; c < d->n_classes; c++) {
        json_begin_object(w, NULL);
        json_put_str(w, "name", class_name(d, c));
        json_put_int(w, "n", j->n_of[c]);
        json_put_int(w, "top1", j->top1_of[c]);
        json_put_int(w, "top5", j->top5_of[c]);
        json_close_object(w);
    }
    json_close_array(w);
    eval_put_model(w, j->m);
    json_begin_object(w, "options");
    json_put_str(w, "data", f->data);
    json_put_str(w, "classes", arg_str(a, "classes"));
    json_put_bool(w, "classes_by_order", d->by_order);
    json_begin_array(w, "templates");
    for (int64_t t = 0; t < j->n_templates; t++) json_put_str(w, NULL, j->template[t]);
    json_close_array(w);
    if (arg_int(a, "limit")) json_put_int(w, "limit", arg_int(a, "limit"));
    json_put_bool(w, "allow_truncated", f->options->allow_truncated);
    json_put_bool(w, "exif_rotate", f->options->exif_rotate);
    json_put_str(w, "alpha", image_alpha_name[f->options->alpha]);
    json_close_object(w);
    eval_put_facts(w, f);
    json_close_object(w);
    json_newline(w);
}

/* The class with the lowest share of right pictures among those that are not below `from`; -1 at the end. */
static int64_t next_weakest(const job *j, int64_t last) {
    int64_t found = -1;
    for (int64_t c = 0; c < j->data.n_classes; c++) {
        if (!j->n_of[c]) continue;
        double x = (double)j->top1_of[c] / (double)j->n_of[c];
        double l = last < 0 ? -1 : (double)j->top1_of[last] / (double)j->n_of[last];
        double b = found < 0 ? 2 : (double)j->top1_of[found] / (double)j->n_of[found];
        if ((x > l || (x == l && c > last)) && x < b) found = c;
    }
    return found;
}

static void print_row(const char *name, int64_t n, const estimate *x) {
    printf("%-22s %9" PRId64 "  %6.2f [%.1f, %.1f]\n", name, n, 100 * x->value, 100 * x->low, 100 * x->high);
}

static void print_table(const job *j) {
    printf("%s, %" PRId64 " classes, %" PRId64 " template%s, %% of pictures [95 %% interval]\n\n", j->m->name,
           j->data.n_classes, j->n_templates, j->n_templates == 1 ? "" : "s");
    print_row("top-1", j->n, &j->top1);
    print_row("top-5", j->n, &j->top5);
    print_row("mean over classes", j->n, &j->mean);
    printf("%-22s %9s  %6.2f\n\nweakest classes (top-1)\n", "chance", "", 100.0 / (double)j->data.n_classes);
    int64_t c = -1;
    for (int k = 0; k < WEAKEST && (c = next_weakest(j, c)) >= 0; k++) {
        estimate x = share_estimate((double)j->top1_of[c], j->n_of[c]);
        print_row(class_name(&j->data, c), j->n_of[c], &x);
    }
}

static void write_table(const job *j, const char *dir, vm_error *e) {
    static const char *const header[] = { "class", "pictures", "top1", "top5" };
    vm_out *csv = vm_out_in(dir, "table.csv", e), *md = csv ? vm_out_in(dir, "table.md", e) : NULL;
    if (md) csv_write_row(csv, ',', header, VM_LEN(header), e);
    for (int64_t c = 0; c < j->data.n_classes && md && !e->status; c++) {
        char n[24], top1[24] = "", top5[24] = "";
        snprintf(n, sizeof n, "%" PRId64, j->n_of[c]);
        if (j->n_of[c]) snprintf(top1, sizeof top1, "%.2f", 100 * (double)j->top1_of[c] / (double)j->n_of[c]);
        if (j->n_of[c]) snprintf(top5, sizeof top5, "%.2f", 100 * (double)j->top5_of[c] / (double)j->n_of[c]);
        csv_write_row(csv, ',', (const char *const[]){ class_name(&j->data, c), n, top1, top5 }, 4, e);
    }
    if (md)
        vm_out_printf(md, e,
                      "| | pictures | %% |\n|---|---:|---:|\n| top-1 | %" PRId64 " | %.2f |\n| top-5 | %" PRId64
                      " | %.2f |\n| mean over classes | %" PRId64 " | %.2f |\n",
                      j->n, 100 * j->top1.value, j->n, 100 * j->top5.value, j->n, 100 * j->mean.value);
    vm_out_finish(md, e), vm_out_finish(csv, e);
}

static void write_predictions(const job *j, const char *dir, vm_error *e) {
    static const char *const header[] = { "image", "label", "predicted", "rank", "label_score", "predicted_score" };
    vm_out *o = vm_out_in(dir, "predictions.csv", e);
    if (o) csv_write_row(o, ',', header, VM_LEN(header), e);
    for (int64_t i = 0; i < j->n && o && !e->status; i++) {
        const rank_outcome *x = &j->outcome[i];
        char rank[24], right[24], first[24];
        snprintf(rank, sizeof rank, "%" PRId64, x->rank);
        snprintf(right, sizeof right, "%.9g", x->s_right), snprintf(first, sizeof first, "%.9g", x->s_first);
        csv_write_row(o, ',',
                      (const char *const[]){ eval_picture_at(j->data.set, j->data.image[j->which[i]]).path,
                                             class_name(&j->data, j->answer[i]), class_name(&j->data, x->first),
                                             x->rank ? rank : "", right, first },
                      VM_LEN(header), e);
    }
    vm_out_finish(o, e);
}

/* confusion.csv: a row for each true class, a column for each predicted one. */
static void write_confusion(const job *j, const char *dir, vm_error *e) {
    int64_t C = j->data.n_classes;
    int64_t *n = NULL;
    size_t cells;
    char(*text)[24] = vm_alloc((size_t)C * sizeof *text);
    const char **field = vm_alloc(((size_t)C + 1) * sizeof *field);
    if (vm_mul_sz((size_t)C, (size_t)C, &cells)) n = vm_calloc(cells, sizeof *n);
    vm_out *o = n && text && field ? vm_out_in(dir, "confusion.csv", e) : NULL;
    if (!n || !text || !field) vm_nomem(e, (size_t)C * (size_t)C * sizeof *n, "a table of classes");
    for (int64_t i = 0; o && i < j->n; i++) n[j->answer[i] * C + j->outcome[i].first]++;
    for (int64_t r = -1; o && r < C && !e->status; r++) {
        field[0] = r < 0 ? "class" : class_name(&j->data, r);
        for (int64_t c = 0; c < C; c++) {
            if (r >= 0) snprintf(text[c], sizeof text[c], "%" PRId64, n[r * C + c]);
            field[1 + c] = r < 0 ? class_name(&j->data, c) : text[c];
        }
        csv_write_row(o, ',', field, C + 1, e);
    }
    vm_out_finish(o, e);
    vm_free(n), vm_free(text), vm_free(field);
}

static vm_status write_files(const job *j, const vm_args *a, const eval_facts *f, const char *dir, vm_error *e) {
    write_table(j, dir, e);
    if (!e->status) write_predictions(j, dir, e);
    if (!e->status) write_confusion(j, dir, e);
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
    eval_vectors_free(j->v);
    eval_model_free(j->m);
    classify_free(&j->data);
    vm_free(j->text), vm_free(j->template), vm_free(j->prompt), vm_free(j->vector), vm_free(j->class_row);
    vm_free(j->row), vm_free(j->which), vm_free(j->answer), vm_free(j->at), vm_free(j->outcome);
    vm_free(j->n_of), vm_free(j->top1_of), vm_free(j->top5_of);
}

static vm_status run(const vm_args *a, vm_error *e) {
    static const char *const policies[] = { "skip", "fail" };
    const char *data = arg_str(a, "data");
    classify_source source = { .places = eval_places(a), .classes = arg_str(a, "classes"), .limit = arg_int(a, "limit"),
                               .image_key = arg_str(a, "image-key"), .label_key = arg_str(a, "label-key") };
    eval_options o = { 0 };
    eval_facts f = { .command = arg_line(a), .options = &o };
    double from = run_seconds();
    char *dir = NULL, *real = data ? realpath(data, NULL) : NULL;
    embed_cache *cache = NULL;
    job j = { 0 };
    int64_t faults = 0;
    if (!data) return vm_fail(e, VM_EUSAGE, "eval classify: --data DIR is needed");
    if (arg_str(a, "on-error")) source.on_error = eval_word(a, "on-error", policies, 2, e) ? EVAL_FAIL : EVAL_SKIP;
    eval_facts_start(&f);
    f.data = real ? real : data;
    if (e->status || eval_picture_options(a, &o, e) || read_templates(&j, a, e) || classify_load(&j.data, data, &source, e))
        goto done;
    if (j.data.by_order) vm_info("folders are not called as the classes are; they are taken in the order of their names");
    if (make_prompts(&j, e) || eval_open_vectors(a, &j.m, &cache, e)) goto done;
    if (!(dir = eval_make_folder(a, "classification", j.m, e)) && e->status) goto done;
    o.cache = cache;
    if (eval_vectors_new(&j.v, j.data.set, j.m, &o, NULL, e) || eval_vectors_all(j.v, j.m->name, e) || make_classes(&j, e) ||
        choose_pictures(&j, e) || judge(&j, e))
        goto done;
    f.wall_s = run_seconds() - from;
    if (dir && write_files(&j, a, &f, dir, e)) goto done;
    faults = j.data.set->n_faults;
    eval_say_faults(j.data.set, 0, NULL, j.n + faults, dir);
    if (j.n_invalid) vm_warn("%" PRId64 " pictures have scores that are not numbers; they count as wrong", j.n_invalid);
    show(&j, a, &f, e);
done:
    embed_cache_close(cache);
    free_job(&j);
    vm_free(dir);
    free(real);
    return e->status ? e->status : faults || j.n_invalid ? VM_EPARTIAL : VM_OK;
}

static const vm_opt opts[] = {
    { "data", OPT_STR, NULL, "PATH", "a folder with a folder of pictures for each class, or a table of pictures and labels", 0,
      0 },
    { "classes", OPT_STR, NULL, "FILE", "names of the classes, one per line (or KEY TAB NAME), or a JSON array", 0, 0 },
    { "templates", OPT_STR, NULL, "FILE", "prompts with {} for the name, one per line; the class is their mean", 0, 0 },
    { "template", OPT_LIST, NULL, "TEXT", "a prompt (repeatable); without any: \"a photo of a {}.\"", 0, 0 },
    EVAL_PLACE_OPTS,
    { "image-key", OPT_STR, NULL, "NAME", "column with the picture (known: image_path, filepath, image, file_name)", 0, 0 },
    { "label-key", OPT_STR, NULL, "NAME", "column with the class (known: label, class, category, target)", 0, 0 },
    { "limit", OPT_INT, "0", "N", "only the first N pictures of each class; 0 = all", 0, 1e9 },
    { "out", OPT_STR, NULL, "DIR", "write results, predictions and confusions to DIR/classification/MODEL/", 0, 0 },
    EVAL_MODEL_OPTS,
    { "on-error", OPT_STR, NULL, "POLICY", "skip or fail; unset: skip unreadable pictures, fail on bad rows", 0, 0 },
    EVAL_PICTURE_OPTS,
    { 0 },
};

const vm_command cmd_eval_classify = {
    .name = "eval classify",
    .summary = "zero-shot classification: top-1, top-5, mean over classes",
    .usage = "MODEL --data PATH [--classes FILE] [--templates FILE] [--out DIR]",
    .about = "A picture gets the class whose prompt is nearest to it. Several templates make an ensemble: the mean of their\n"
             "unit vectors. A folder is the class that is called so in FILE, else (as many folders as classes) the one at its "
             "place in\n"
             "the order of names; a label is a name, a key or a number from 0. Without FILE folders and labels are the names.\n\n"
             "  vismin eval classify clip/ --data imagenet/val --classes names.txt --templates prompts.txt --out results\n"
             "  vismin eval classify clip/ --data pets.csv --images pets/ --classes pets.txt --template \"a photo of a {}, a pet.\"",
    .opts = opts,
    .min_pos = 1,
    .max_pos = 1,
    .run = run,
};
