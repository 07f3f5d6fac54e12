/* eval_sugarcrepe.c - SugarCrepe (arXiv 2306.14610): a caption and a fluent hard negative of one COCO val2017 picture.
 *
 * {replace,swap}_{obj,att,rel}.json, add_{obj,att}.json: an object, keys are decimal numbers and give the order; fields
 * filename, caption, negative_caption. The authors report the mean over all items; besides it stand the means over the
 * files of each type of change. */
#include <string.h>

#include "io/log.h"
#include "pipeline/eval_extra.h"
#include "pipeline/eval_rows.h"

static const eval_file files[] = {
    { "replace_obj", "replace_obj.json", false }, { "replace_att", "replace_att.json", false },
    { "replace_rel", "replace_rel.json", false }, { "swap_obj", "swap_obj.json", false },
    { "swap_att", "swap_att.json", false },       { "add_obj", "add_obj.json", false },
    { "add_att", "add_att.json", false },
};

static vm_status record(eval_row *r, vm_error *e) {
    const char *captions[] = { row_need(r, "caption"), row_need(r, "negative_caption") },
               *image = row_need(r, "filename");
    if (!strcmp(eval_split_name(r->of->set, r->split), "swap_obj") && !strcmp(r->key, "108"))
        vm_warn("%s: has record 108, which its authors withdrew; the current file has 245 records", r->of->file);
    return row_add(r, &(row_item){ .id = r->key, .captions = captions, .n_captions = 2, .images = &image, .n_images = 1,
                                   .folders = "val2017:images/val2017:images" }, e);
}

static vm_status read_file(const eval_reading *of, vm_error *e) {
    return eval_read_rows(of, ROWS_MEMBERS | ROWS_BY_KEY, record, e);
}

static vm_status load(eval_set *s, const eval_source *src, vm_error *e) {
    return eval_read_splits(&(eval_reading){ .set = s, .src = src }, files, VM_LEN(files), read_file, e);
}

static vm_status extra(const eval_result *r, eval_extras *out, vm_error *e) {
    extra_mean_of_splits(r, out, "replace", "replace_obj replace_att replace_rel", e);
    extra_mean_of_splits(r, out, "swap", "swap_obj swap_att", e);
    return extra_mean_of_splits(r, out, "add", "add_obj add_att", e);
}

const eval_dataset eval_sugarcrepe = {
    .name = "sugarcrepe",
    .summary = "fluent hard negatives: replace_obj.json ... add_att.json, pictures of COCO val2017",
    .counts = "replace_obj:1652 replace_att:788 replace_rel:1406 swap_obj:245 swap_att:666 add_obj:2062 add_att:692",
    .load = load,
    .extra = extra,
};
