/* eval_vismin.c - the VisMin benchmark in its three forms.
 *
 *   tables     FOLDER/{object,attribute,relation,counting}.csv with image_path, caption, edited_image_path,
 *              edited_caption, edit_id; pictures below original_images/ and edited_images/
 *   published  records image_0, text_0, image_1, text_1, id, category: data.jsonl or data.csv, as
 *              io/hf_export.py writes it; the four questions of a record are not read
 *   training   JSON lists of { image_path, caption, negatives: [ { edited_image_path, edited_caption } ] }
 *
 * Caption and image 0 are the original. A record's split is its category, or the name of its file; ids count from 0 in
 * each category. */
#include <inttypes.h>
#include <string.h>

#include "pipeline/eval_rows.h"

static const eval_file files[] = {
    { "object", "object.csv object.json object.jsonl", false },
    { "attribute", "attribute.csv attribute.json attribute.jsonl", false },
    { "relation", "relation.csv relation.json relation.jsonl", false },
    { "counting", "counting.csv counting.json counting.jsonl", false },
};

static const char image_0[] = "image_path image_0 image0", caption_0[] = "caption text_0 caption_0 caption0",
                  image_1[] = "edited_image_path image_1 image1",
                  caption_1[] = "edited_caption text_1 caption_1 caption1", ids[] = "edit_id id idx";

/* from: where caption and picture 0 stand; r for those of the edit */
static vm_status add_pair(eval_row *r, eval_row *from, const char *id, vm_error *e) {
    static const char *const folder[] = { "original_images:images", "edited_images:images" };
    const char *category = row_text(r, "category");
    if (!category || !*category) category = row_text(from, "category");
    if (!category || !*category) category = r->of->user;
    const char *captions[] = { row_need(from, caption_0), row_need(r, caption_1) },
               *images[] = { row_need(from, image_0), row_need(r, image_1) };
    if (from->bad.status) r->bad = from->bad;
    if (!row_split(r, category, e)) {
        vm_error_clear(&r->bad);
        return e->status;
    }
    return row_add_pair(
        r,
        &(row_item){
            .id = id, .captions = captions, .n_captions = 2, .images = images, .n_images = 2, .folder = folder },
        e);
}

static vm_status edit(eval_row *r, vm_error *e) {
    eval_row record = *r->up;
    char number[64];
    snprintf(number, sizeof number, "%" PRId64 "-%" PRId64, r->number, r->index);
    const char *id = row_text(r, "edit_id");
    return add_pair(r, &record, id && *id ? id : number, e);
}

static vm_status record(eval_row *r, vm_error *e) {
    if (r->csv || row_has(r, image_1)) return add_pair(r, r, row_id(r, ids), e);
    json_value edits = json_need(r->value, "negatives", JSON_ARRAY, &r->bad);
    return row_each(r, edits, edit, e);
}

static vm_status read_file(const eval_reading *of, vm_error *e) {
    const char *base = path_base(of->file), *dot = strrchr(base, '.');
    char *name = vm_strndup(base, dot ? (size_t)(dot - base) : strlen(base));
    eval_reading r = *of;
    r.user = name;
    if (!name) vm_nomem(e, 64, "a category");
    else eval_read_rows(&r, ROWS_LIST, record, e);
    vm_free(name);
    return e->status;
}

static vm_status load(eval_set *s, const eval_source *src, vm_error *e) {
    eval_reading r = { .set = s, .src = src, .file = src->data, .split = -1 };
    if (!file_is_dir(src->data)) return read_file(&r, e);
    char *all = eval_first_file(src->data, "data.jsonl data.csv data.json", e);
    if (!all) return e->status ? e->status : eval_read_splits(&r, files, VM_LEN(files), read_file, e);
    r.file = all;
    read_file(&r, e);
    vm_free(all);
    return e->status;
}

const eval_dataset eval_vismin = {
    .name = "vismin",
    .summary =
        "minimal changes: object.csv, attribute.csv, relation.csv, counting.csv (or .json), data.jsonl, or one file",
    .counts = "object:579 attribute:294 relation:622 counting:589",
    .load = load,
};
