/* eval_winoground.c - Winoground (arXiv 2204.03162): 400 pairs whose captions have the same words in another order.
 *
 * examples.jsonl with id, image_0, image_1, caption_0, caption_1, tag, secondary_tag, num_main_preds, collapsed_tag and
 * images/NAME.png; or data.jsonl with the same fields, as io/hf_export.py writes it. Captions are taken as
 * they are. --option tag= chooses the field by which the results are broken down. */
#include "pipeline/eval_rows.h"

static const eval_file files[] = {
    { "default", "data.jsonl data.csv examples.jsonl data/examples.jsonl winoground.jsonl", false }
};
static const char *const options[] = { "tag=collapsed_tag|tag|secondary_tag|num_main_preds", NULL };
static const char *const tags[] = { "collapsed_tag", "tag", "secondary_tag", "num_main_preds", NULL };

static vm_status record(eval_row *r, vm_error *e) {
    eval_row other = *r; /* a second number as text */
    const char *captions[] = { row_need(r, "caption_0 caption0 text_0"), row_need(r, "caption_1 caption1 text_1") },
               *images[] = { row_need(r, "image_0 image0"), row_need(r, "image_1 image1") };
    const char *field = r->of->user, *tag = row_has(r, field) ? row_id(&other, field) : NULL;
    return row_add_pair(r,
                        &(row_item){ .id = row_id(r, "id"),
                                     .tag = tag && *tag ? tag : NULL,
                                     .captions = captions,
                                     .n_captions = 2,
                                     .images = images,
                                     .n_images = 2,
                                     .folders = "images:data/images" },
                        e);
}

static vm_status read_file(const eval_reading *of, vm_error *e) {
    const char *tag = eval_variant(of->src, "tag", "collapsed_tag", tags, e);
    eval_reading r = *of;
    r.user = (void *)(uintptr_t)tag;
    return tag ? eval_read_rows(&r, ROWS_LIST, record, e) : e->status;
}

static vm_status load(eval_set *s, const eval_source *src, vm_error *e) {
    return eval_read_splits(&(eval_reading){ .set = s, .src = src }, files, VM_LEN(files), read_file, e);
}

const eval_dataset eval_winoground = {
    .name = "winoground",
    .summary = "same words, other order: examples.jsonl or data.jsonl, and images/",
    .counts = "default:400",
    .variants = options,
    .load = load,
};
