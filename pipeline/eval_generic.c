/* eval_generic.c - a benchmark of one's own without code: a table of pairs, or of choices (JSON Lines, JSON list, CSV).
 *
 *   pairs   id, category, image_0, image_1, caption_0, caption_1 (also image0, text_0, caption0, image_path,
 *           edited_image_path, caption, edited_caption); category is the split, "default" without one
 *   choice  id, image or images, caption or captions, label (the right option, from 0), tag, category; in CSV the
 *           options stand in caption_0, caption_1, ... or image_0, image_1, ... */
#include <string.h>

#include "pipeline/eval_rows.h"

enum { OPTIONS = 64 };
static const char pair_files[] = "pairs.jsonl pairs.csv pairs.json data.jsonl data.csv",
                  choice_files[] = "choice.jsonl choice.csv choice.json data.jsonl data.csv";

/* The split of the record; false when it is not wanted. */
static bool find_split(eval_row *r, vm_error *e) {
    const char *category = row_text(r, "category split");
    if (row_split(r, category && *category ? category : "default", e)) return true;
    vm_error_clear(&r->bad);
    return false;
}

static vm_status pair(eval_row *r, vm_error *e) {
    const char *captions[] = { row_need(r, "caption_0 text_0 caption0 text0 caption"),
                               row_need(r, "caption_1 text_1 caption1 text1 edited_caption") },
               *images[] = { row_need(r, "image_0 image0 image_path"),
                             row_need(r, "image_1 image1 edited_image_path") };
    if (!find_split(r, e)) return e->status;
    return row_add_pair(r,
                        &(row_item){ .id = row_id(r, "id idx edit_id"),
                                     .tag = row_text(r, "tag"),
                                     .captions = captions,
                                     .n_captions = 2,
                                     .images = images,
                                     .n_images = 2,
                                     .folders = "images" },
                        e);
}

/* The options: a list (JSON), NAME_0, NAME_1, ..., or one text. How many; 0 and r->bad when there are none. */
static int find_options(eval_row *r, const char *one, const char *many, const char *option[OPTIONS]) {
    char field[32];
    json_value list = json_get(r->value, json_has(json_get(r->value, many)) ? many : one);
    int n = 0;
    if (list.kind == JSON_ARRAY) {
        if (json_len(list) > OPTIONS)
            json_fail(list, &r->bad, "found %lld options, at most %d", (long long)json_len(list), OPTIONS);
        for (; n < json_len(list) && n < OPTIONS; n++) option[n] = json_as_str(json_at(list, n), &r->bad);
        return n;
    }
    for (const char *text; n < OPTIONS; n++) { /* empty cells of a table: fewer options in this row */
        snprintf(field, sizeof field, "%s_%d", one, n);
        if (!(text = row_text(r, field)) || (r->csv && !*text)) break;
        option[n] = text;
    }
    if (!n) option[n++] = row_need(r, one);
    return n;
}

static vm_status choice(eval_row *r, vm_error *e) {
    const char *captions[OPTIONS], *images[OPTIONS], *tag = row_text(r, "tag");
    int n_captions = find_options(r, "caption", "captions", captions),
        n_images = find_options(r, "image", "images", images), options = n_captions * n_images;
    int64_t label = row_need_int(r, "label", 0, INT32_MAX);
    if (!r->bad.status && ((n_captions > 1 && n_images > 1) || options < 2))
        row_fail(r, "found %d captions and %d pictures, expected one of the one and at least two of the other",
                 n_captions, n_images);
    if (!r->bad.status && label >= options)
        row_fail(r, "label: found %lld, expected 0 to %d", (long long)label, options - 1);
    if (!find_split(r, e)) return e->status;
    return row_add(r, &(row_item){ .id = row_id(r, "id idx"), .tag = tag && *tag ? tag : NULL, .gold = (int)label,
                                   .captions = captions, .n_captions = n_captions, .images = images,
                                   .n_images = n_images, .folders = "images" }, e);
}

static vm_status read_pairs(const eval_reading *of, vm_error *e) { return eval_read_rows(of, ROWS_LIST, pair, e); }
static vm_status read_choices(const eval_reading *of, vm_error *e) { return eval_read_rows(of, ROWS_LIST, choice, e); }

/* A file alone may have any name; the records say their splits. */
static vm_status load(eval_set *s, const eval_source *src, const char *files,
                      vm_status (*read)(const eval_reading *r, vm_error *e), vm_error *e) {
    eval_reading r = { .set = s, .src = src, .split = -1 };
    if (!file_is_dir(src->data)) return r.file = src->data, read(&r, e);
    char *path = eval_first_file(src->data, files, e);
    if (path) r.file = path, read(&r, e);
    else if (!e->status)
        vm_fail(e, VM_EINPUT, "%s: none of the files %s in this folder; --data takes such a folder or one file",
                src->data, files);
    vm_free(path);
    return e->status;
}

static vm_status load_pairs(eval_set *s, const eval_source *src, vm_error *e) {
    return load(s, src, pair_files, read_pairs, e);
}
static vm_status load_choice(eval_set *s, const eval_source *src, vm_error *e) {
    return load(s, src, choice_files, read_choices, e);
}

const eval_dataset eval_pairs = {
    .name = "pairs",
    .summary = "your own pairs: .jsonl, .csv or .json with image_0, image_1, caption_0, caption_1",
    .load = load_pairs,
};
const eval_dataset eval_choice = {
    .name = "choice",
    .summary = "your own choices: .jsonl, .csv or .json with image or images, caption or captions, label",
    .load = load_choice,
};
