/* eval_vismin.c - VisMin's files to items: a CSV file per category, or the JSON of the training data.
 *
 * --data: a folder with {object,attribute,relation,counting}.csv or .json, or one such file. CSV: image_path, caption,
 * edited_image_path, edited_caption and edit_id (or id, idx), or image_0, text_0, image_1, text_1, id, category. JSON: a
 * list of { image_path, caption, negatives: [ { edited_image_path, edited_caption } ] }. Pictures are looked for below
 * original_images/ and edited_images/, and directly in every folder. */
#include <inttypes.h>
#include <string.h>

#include "io/csv.h"
#include "io/json.h"
#include "pipeline/eval_set.h"

static const char *const categories[] = { "object", "attribute", "relation", "counting" };
static const char *const folders[2] = { "original_images", "edited_images" };

typedef struct {
    eval_set *set;
    const char *file;
    const eval_source *src;
    char *name;                 /* category of records that name none: the file's name without its ending */
} loader;

/* -1 when it is not wanted, or memory is out. */
static int split_of(const loader *l, const char *category, vm_error *e) {
    const char *name = category && *category ? category : l->name;
    int split = eval_wants(l->src, name) ? eval_set_split(l->set, name) : -1;
    if (split < 0 && eval_wants(l->src, name)) vm_nomem(e, 64, "categories");
    return split;
}

/* One record with everything in it. */
static vm_status add(const loader *l, int split, const char *id, const char *const captions[2],
                     const char *const names[2], const char *where, vm_error *e) {
    const eval_record r = { .id = id, .n_captions = 2, .n_images = 2, .captions = captions, .images = names };
    return eval_set_add_named(l->set, &l->src->places, split, EVAL_PAIR, &r, folders, where, e);
}

/* --- CSV ---------------------------------------------------------------------------------------------------------- */
enum { IMAGE_0, CAPTION_0, IMAGE_1, CAPTION_1, ID, CATEGORY, COLUMNS };
static const char *const column_names[COLUMNS][6] = {
    [IMAGE_0] = { "image_path", "image_0", "image0" },
    [CAPTION_0] = { "caption", "text_0", "caption_0", "caption0" },
    [IMAGE_1] = { "edited_image_path", "image_1", "image1" },
    [CAPTION_1] = { "edited_caption", "text_1", "caption_1", "caption1" },
    [ID] = { "edit_id", "id", "idx" },
    [CATEGORY] = { "category" },
};

static vm_status find_columns(csv_reader *r, int64_t at[COLUMNS], vm_error *e) {
    for (int k = 0; k < COLUMNS; k++) {
        at[k] = -1;
        for (int a = 0; at[k] < 0 && column_names[k][a]; a++) at[k] = csv_column(r, column_names[k][a]);
        if (at[k] < 0 && k < ID && csv_need_column(r, column_names[k][0], e) < 0) return e->status;
    }
    return VM_OK;
}

static vm_status load_csv(loader *l, vm_error *e) {
    csv_reader *r = NULL;
    csv_row row;
    vm_error bad = { 0 };
    int64_t at[COLUMNS], n = 0;
    if (csv_open(&r, l->file, 0, CSV_HEADER, e) || find_columns(r, at, e)) goto done;
    for (int rc; !e->status && (rc = csv_next(r, &row, &bad)); n++) {
        if (rc < 0) {
            eval_set_add_malformed(l->set, at[CATEGORY] < 0 ? split_of(l, NULL, e) : -1, NULL, bad.msg, e);
            vm_error_clear(&bad);
            continue;
        }
        char number[32], where[512];
        const char *id = at[ID] >= 0 ? row.field[at[ID]] : "",
                   *category = at[CATEGORY] >= 0 ? row.field[at[CATEGORY]] : "";
        int split = split_of(l, category, e);
        snprintf(number, sizeof number, "%" PRId64, n);
        snprintf(where, sizeof where, "%s:%" PRId64, l->file, row.line);
        if (split >= 0)
            add(l, split, *id ? id : number,
                (const char *const[]){ row.field[at[CAPTION_0]], row.field[at[CAPTION_1]] },
                (const char *const[]){ row.field[at[IMAGE_0]], row.field[at[IMAGE_1]] }, where, e);
    }
done:
    csv_close(r);
    return e->status;
}

/* --- JSON --------------------------------------------------------------------------------------------------------- */
/* Text of a member that must be there. */
static const char *need(json_value v, const char *key, vm_error *e) {
    return json_as_str(json_need(v, key, JSON_STRING, e), e);
}

static const char *place_of(json_value v, vm_error *at) {
    json_fail(v, at, "a pair"); /* "FILE:LINE: FIELD: a pair" */
    char *tail = strstr(at->msg, ": a pair");
    if (tail) *tail = 0;
    return at->msg;
}

static vm_status load_edit(loader *l, json_value record, json_value edit, int64_t r, int64_t k, vm_error *e) {
    vm_error bad = { 0 }, at = { 0 };
    char number[64];
    const char *caption = need(record, "caption", &bad), *image = need(record, "image_path", &bad);
    const char *edited_caption = need(edit, "edited_caption", &bad),
               *edited_image = need(edit, "edited_image_path", &bad);
    const char *category = json_str(edit, "category", json_str(record, "category", NULL, &bad), &bad),
               *id = json_str(edit, "edit_id", NULL, &bad);
    int split = split_of(l, category, e);
    if (split < 0) return e->status;
    if (bad.status) return eval_set_add_malformed(l->set, split, NULL, bad.msg, e);
    snprintf(number, sizeof number, "%" PRId64 "-%" PRId64, r, k);
    return add(l, split, id && *id ? id : number, (const char *const[]){ caption, edited_caption },
               (const char *const[]){ image, edited_image }, place_of(edit, &at), e);
}

static vm_status load_json(loader *l, vm_error *e) {
    json_doc *d = json_open(l->file, e);
    json_iter it = json_each(json_root(d));
    if (d && json_root(d).kind != JSON_ARRAY)
        json_fail(json_root(d), e, "expected a list of records with image_path, caption and negatives");
    for (int64_t r = 0; !e->status && json_next(&it); r++) {
        vm_error bad = { 0 };
        json_value edits = json_need(it.value, "negatives", JSON_ARRAY, &bad);
        if (bad.status) {
            eval_set_add_malformed(l->set, -1, NULL, bad.msg, e);
            continue;
        }
        for (int64_t k = 0; k < json_len(edits) && !e->status; k++) load_edit(l, it.value, json_at(edits, k), r, k, e);
    }
    json_free(d);
    return e->status;
}

/* --- which files -------------------------------------------------------------------------------------------------- */
static bool ends_in(const char *path, const char *ending) {
    size_t n = strlen(path), m = strlen(ending);
    return n > m && !strcmp(path + n - m, ending);
}

static vm_status load_file(loader *l, const char *path, vm_error *e) {
    const char *base = path_base(path), *dot = strrchr(base, '.');
    l->file = path;
    l->name = vm_strndup(base, dot ? (size_t)(dot - base) : strlen(base));
    if (!l->name) vm_nomem(e, 64, "categories");
    else if (ends_in(path, ".json")) load_json(l, e);
    else load_csv(l, e);
    vm_free(l->name);
    return e->status;
}

static vm_status load_folder(loader *l, const char *dir, vm_error *e) {
    int found = 0;
    for (int k = 0; k < VM_LEN(categories) && !e->status; k++) {
        char *csv = vm_asprintf("%s/%s.csv", dir, categories[k]), *json = vm_asprintf("%s/%s.json", dir, categories[k]);
        const char *path = csv && file_exists(csv) ? csv : json && file_exists(json) ? json : NULL;
        if (!csv || !json) vm_nomem(e, 256, "a path");
        else if (!path || !eval_wants(l->src, categories[k])) found += path != NULL;
        else if (eval_set_split(l->set, categories[k]) < 0) vm_nomem(e, 64, "categories");
        else found++, load_file(l, path, e);
        vm_free(csv), vm_free(json);
    }
    if (!e->status && !found)
        vm_fail(e, VM_EINPUT,
                "%s: no object.csv, attribute.csv, relation.csv or counting.csv (or .json) in this folder; --data "
                "takes such a folder or one file",
                dir);
    return e->status;
}

static vm_status load(eval_set *s, const eval_source *src, vm_error *e) {
    loader l = { .set = s, .src = src };
    return file_is_dir(src->data) ? load_folder(&l, src->data, e) : load_file(&l, src->data, e);
}

const eval_dataset eval_vismin = {
    .name = "vismin",
    .summary = "minimal changes: folder with object.csv, attribute.csv, relation.csv, counting.csv (or .json), or one file",
    .counts = "object:579 attribute:294 relation:622 counting:589",
    .load = load,
};
