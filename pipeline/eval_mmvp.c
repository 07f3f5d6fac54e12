/* eval_mmvp.c - MMVP-VLM (arXiv 2401.06209): 135 pairs of statements and pictures in 9 visual patterns.
 *
 * Questions.csv: a header and rows of question id, pattern, statement; two rows after each other are a pair. Pictures:
 * FOLDER/PATTERN/ID.jpg. Statements are formatted (eval_format_caption) unless --option captions=raw; `--metric mmvp`
 * is the authors' score, with "a photo of " before the statement. */
#include <string.h>

#include "pipeline/eval_rows.h"

enum { PATTERNS = 9 };
static const eval_file files[] = { { "default", "Questions.csv", false } };
static const char *const options[] = { "captions=format|raw", NULL };
static const char *const caption_kinds[] = { "format", "raw", NULL };
/* in the order in which the patterns first occur */
static const char *const display[PATTERNS] = {
    "Orientation and Direction",         "Presence of Specific Features", "State and Condition",
    "Quantity and Count",                "Positional and Relational Context", "Color and Appearance",
    "Structural Characteristics",        "Texts",                         "Viewpoint and Perspective",
};
typedef struct {
    keymap patterns; /* names of folders, in the order in which they occur */
    bool raw;
    char *id, *pattern, *text, *where; /* of the first row of a pair; NULL = none */
    int64_t number;
} state;

/* The three columns, whatever they are called. */
static bool columns(eval_row *r) {
    if (r->row->n >= 3) return true;
    vm_fail(&r->fatal, VM_EINPUT, "%s: found %lld columns, expected question id, pattern and statement", r->of->file,
            (long long)r->row->n);
    return false;
}

/* Bad rows are reported by the second reading. */
static vm_status find_patterns(const char *path, keymap *patterns, vm_error *e) {
    csv_reader *t = NULL;
    csv_row row;
    vm_error bad = { 0 };
    if (csv_open(&t, path, 0, CSV_HEADER, e)) return e->status;
    for (int rc; !e->status && (rc = csv_next(t, &row, &bad)); vm_error_clear(&bad))
        if (rc > 0 && row.n >= 3 && keymap_put_text(patterns, row.field[1]) < 0) vm_nomem(e, 64, "patterns");
    csv_close(t);
    return e->status;
}

static void forget(state *x) {
    vm_free(x->id), vm_free(x->pattern), vm_free(x->text), vm_free(x->where);
    x->id = x->pattern = x->text = x->where = NULL;
}

static char *statement(const state *x, const char *text, vm_error *e) {
    char *s = x->raw ? vm_strdup(text) : eval_format_caption(text, e);
    if (!s) vm_nomem(e, strlen(text), "a statement");
    return s;
}

static vm_status alone(const eval_reading *of, const char *where, const char *id, vm_error *e) {
    char *why = vm_asprintf("%s: id %s: the other statement of its pair is missing", where, id);
    if (why) eval_set_add_fault(of->set, of->split, id, why, e);
    else vm_nomem(e, 256, "a sentence");
    vm_free(why);
    return e->status;
}

/* Rows 2 k and 2 k + 1 are a pair, bad rows counted: nothing moves up when one is left out. */
static vm_status record(eval_row *r, vm_error *e) {
    state *x = r->of->user;
    if (!columns(r)) return e->status;
    const char *id = r->row->field[0], *pattern = r->row->field[1];
    if (x->id && x->number / 2 != r->number / 2) {
        alone(r->of, x->where, x->id, e);
        forget(x);
    }
    if (!x->id && r->number % 2) return e->status ? e->status : alone(r->of, row_where(r), id, e);
    char *text = statement(x, r->row->field[2], e);
    if (!x->id) {
        x->id = vm_strdup(id), x->pattern = vm_strdup(pattern), x->text = text, x->where = vm_strdup(row_where(r));
        x->number = r->number;
        return x->id && x->pattern && x->where && text ? e->status : vm_nomem(e, 256, "a statement");
    }
    int64_t p = keymap_find(&x->patterns, x->pattern, strlen(x->pattern));
    char *name = vm_asprintf("%s-%s", x->id, id), *image[] = { vm_asprintf("%s/%s.jpg", x->pattern, x->id),
                                                              vm_asprintf("%s/%s.jpg", pattern, id) };
    if (!name || !image[0] || !image[1]) vm_nomem(e, 256, "a pair");
    else if (strcmp(x->pattern, pattern))
        row_fail(r, "pattern \"%s\", but the first row of this pair has \"%s\"; rows come in pairs", pattern,
                 x->pattern);
    else
        row_add_pair(r, &(row_item){ .id = name, .tag = x->patterns.n == PATTERNS && p >= 0 ? display[p] : x->pattern,
                                     .captions = (const char *[]){ x->text, text }, .n_captions = 2,
                                     .images = (const char *const *)image, .n_images = 2,
                                     .folders = "MLLM_VLM Images:MMVP_VLM_Images:images" }, e);
    vm_free(name), vm_free(image[0]), vm_free(image[1]), vm_free(text);
    forget(x);
    return e->status;
}

static vm_status read_file(const eval_reading *of, vm_error *e) {
    const char *kind = eval_variant(of->src, "captions", "format", caption_kinds, e);
    state x = { .raw = kind && !strcmp(kind, "raw") };
    eval_reading r = *of;
    r.user = &x;
    if (kind && !find_patterns(of->file, &x.patterns, e) && !eval_read_rows(&r, 0, record, e) && x.id)
        alone(of, x.where, x.id, e);
    forget(&x);
    keymap_free(&x.patterns);
    return e->status;
}

static vm_status load(eval_set *s, const eval_source *src, vm_error *e) {
    return eval_read_splits(&(eval_reading){ .set = s, .src = src }, files, VM_LEN(files), read_file, e);
}

const eval_dataset eval_mmvp = {
    .name = "mmvp",
    .summary = "nine visual patterns: Questions.csv and \"MLLM_VLM Images\"/",
    .counts = "default:135",
    .variants = options,
    .load = load,
};
