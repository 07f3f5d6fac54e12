/* eval_spec.c - SPEC (arXiv 2312.00081): size, position, existence and count, each in both directions.
 *
 * SUBSET/image2text.json (one picture, K captions) and SUBSET/text2image.json (one caption, K pictures): JSON lists of
 * { query, keys: [K], label }; pictures are relative to the folder of the subset. All K options count. SPEC's own
 * number is the mean over the six subsets. */
#include <string.h>

#include "pipeline/eval_rows.h"

enum { SUBSETS = 6, OPTIONS = 64 };
#define TABLE(file)                                                                                                 \
    {                                                                                                               \
        { "absolute_spatial", "absolute_spatial/" file, false }, { "absolute_size", "absolute_size/" file, false }, \
            { "relative_size", "relative_size/" file, false },                                                      \
            { "relative_spatial", "relative_spatial/" file, false }, { "existence", "existence/" file, false }, {   \
            "count", "count/" file, false                                                                           \
        }                                                                                                           \
    }
static const eval_file to_text[SUBSETS] = TABLE("image2text.json"), to_image[SUBSETS] = TABLE("text2image.json");

static vm_status record(eval_row *r, vm_error *e) {
    bool captions = *(bool *)r->of->user; /* are the keys captions? */
    json_value list = json_need(r->value, "keys", JSON_ARRAY, &r->bad);
    const char *query = row_need(r, "query"), *key[OPTIONS];
    int64_t n = json_len(list), label = row_need_int(r, "label", 0, INT32_MAX);
    if (r->bad.status) return e->status;
    if (n < 2 || n > OPTIONS) json_fail(list, &r->bad, "found %lld options, expected 2 to %d", (long long)n, OPTIONS);
    else if (label >= n) row_fail(r, "label: found %lld, expected 0 to %lld", (long long)label, (long long)n - 1);
    for (int64_t k = 0; k < n && n <= OPTIONS; k++) key[k] = json_as_str(json_at(list, k), &r->bad);
    return row_add(r,
                   &(row_item){ .id = row_id(r, "id"),
                                .gold = (int)label,
                                .captions = captions ? key : &query,
                                .n_captions = captions ? (int)n : 1,
                                .images = captions ? &query : key,
                                .n_images = captions ? 1 : (int)n,
                                .folders = eval_split_name(r->of->set, r->split) },
                   e);
}

static vm_status read_file(const eval_reading *of, vm_error *e) { return eval_read_rows(of, ROWS_LIST, record, e); }

static vm_status load_to_text(eval_set *s, const eval_source *src, vm_error *e) {
    bool captions = true;
    return eval_read_splits(&(eval_reading){ .set = s, .src = src, .user = &captions }, to_text, SUBSETS, read_file, e);
}

static vm_status load_to_image(eval_set *s, const eval_source *src, vm_error *e) {
    bool captions = false;
    return eval_read_splits(&(eval_reading){ .set = s, .src = src, .user = &captions }, to_image, SUBSETS, read_file,
                            e);
}

const eval_dataset eval_spec_i2t = {
    .name = "spec_i2t",
    .summary = "size, position, existence, count; which caption: SUBSET/image2text.json of six subsets",
    .load = load_to_text,
};
const eval_dataset eval_spec_t2i = {
    .name = "spec_t2i",
    .summary = "the same, which picture: SUBSET/text2image.json",
    .load = load_to_image,
};
