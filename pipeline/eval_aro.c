/* eval_aro.c - ARO (arXiv 2210.01936): relations and attributes of Visual Genome, and the order of words.
 *
 *   VG-Relation     visual_genome_relation.json: image_path, bbox_x, bbox_y, bbox_w, bbox_h, relation_name,
 *                   true_caption, false_caption. The number is the mean over relations.
 *   VG-Attribution  visual_genome_attribution.json: the same fields and attributes [a, b]. The number is the mean over
 *                   those pairs a_b that have 25 cases or more.
 *   COCO-Order, Flickr30k-Order  aro_coco_order.json, aro_flickr_order.json: { image, caption_options: [5] }, the first
 *                   one is right. The four perturbations are drawn with a part-of-speech tagger, so they are
 *                   exported once from a tool that has one, and then fixed.
 * Pictures of the first two are cropped to the box, and the wrong caption stands first as in the authors' code. */
#include <inttypes.h>
#include <string.h>

#include "io/log.h"
#include "pipeline/eval_extra.h"
#include "pipeline/eval_rows.h"

enum { ORDERS = 5, LEAST_CASES = 25 };
static const eval_file relation[] = { { "default", "visual_genome_relation.json", false } };
static const eval_file attribution[] = { { "default", "visual_genome_attribution.json", false } };
static const eval_file coco_order[] = { { "default", "aro_coco_order.json", false } };
static const eval_file flickr_order[] = { { "default", "aro_flickr_order.json", false } };

static vm_status add_crop(eval_row *r, const char *tag, vm_error *e) {
    static const char *const side[] = { "bbox_x", "bbox_y", "bbox_w", "bbox_h" };
    const char *captions[] = { row_need(r, "false_caption"), row_need(r, "true_caption") },
               *image = row_need(r, "image_path");
    int32_t box[1][4];
    for (int k = 0; k < 4; k++) box[0][k] = (int32_t)row_need_int(r, side[k], -(1 << 20), 1 << 20);
    if (!r->bad.status && (box[0][2] <= 0 || box[0][3] <= 0))
        vm_warn("%s: a box of %dx%d pixels; the whole picture counts", row_where(r), (int)box[0][2], (int)box[0][3]);
    return row_add(r, &(row_item){ .id = row_id(r, "id"), .tag = tag, .gold = 1, .captions = captions, .n_captions = 2,
                                   .images = &image, .n_images = 1, .boxes = box,
                                   .folders = "images:vg_images:VG_100K:VG_100K_2" }, e);
}

static vm_status relation_record(eval_row *r, vm_error *e) { return add_crop(r, row_need(r, "relation_name"), e); }

static vm_status attribution_record(eval_row *r, vm_error *e) {
    json_value pair = json_need(r->value, "attributes", JSON_ARRAY, &r->bad);
    const char *a = json_as_str(json_at(pair, 0), &r->bad), *b = json_as_str(json_at(pair, 1), &r->bad);
    char *tag = vm_asprintf("%s_%s", a, b);
    if (!tag) return vm_nomem(e, 64, "a tag");
    add_crop(r, tag, e);
    vm_free(tag);
    return e->status;
}

static vm_status order_record(eval_row *r, vm_error *e) {
    json_value list = json_need(r->value, "caption_options", JSON_ARRAY, &r->bad);
    const char *captions[ORDERS], *image = row_need(r, "image image_path");
    if (!r->bad.status && json_len(list) != ORDERS)
        json_fail(list, &r->bad, "found %lld captions, expected the right one and %d in other orders",
                  (long long)json_len(list), ORDERS - 1);
    for (int k = 0; k < ORDERS; k++) captions[k] = json_as_str(json_at(list, k), &r->bad);
    return row_add(r, &(row_item){ .id = row_id(r, "id"), .captions = captions, .n_captions = ORDERS, .images = &image,
                                   .n_images = 1, .folders = "images:coco:flickr30k-images" }, e);
}

static vm_status read_relation(const eval_reading *of, vm_error *e) {
    return eval_read_rows(of, ROWS_LIST, relation_record, e);
}
static vm_status read_attribution(const eval_reading *of, vm_error *e) {
    return eval_read_rows(of, ROWS_LIST, attribution_record, e);
}
static vm_status read_order(const eval_reading *of, vm_error *e) {
    return eval_read_rows(of, ROWS_LIST, order_record, e);
}

static vm_status load_relation(eval_set *s, const eval_source *src, vm_error *e) {
    return eval_read_splits(&(eval_reading){ .set = s, .src = src }, relation, 1, read_relation, e);
}
static vm_status load_attribution(eval_set *s, const eval_source *src, vm_error *e) {
    return eval_read_splits(&(eval_reading){ .set = s, .src = src }, attribution, 1, read_attribution, e);
}
static vm_status load_coco(eval_set *s, const eval_source *src, vm_error *e) {
    return eval_read_splits(&(eval_reading){ .set = s, .src = src }, coco_order, 1, read_order, e);
}
static vm_status load_flickr(eval_set *s, const eval_source *src, vm_error *e) {
    return eval_read_splits(&(eval_reading){ .set = s, .src = src }, flickr_order, 1, read_order, e);
}

static vm_status relation_extra(const eval_result *r, eval_extras *out, vm_error *e) {
    return extra_mean_of_tags(r, out, "mean over relations", 1, e);
}
static vm_status attribution_extra(const eval_result *r, eval_extras *out, vm_error *e) {
    return extra_mean_of_tags(r, out, "mean over pairs of attributes with 25 cases", LEAST_CASES, e);
}

const eval_dataset eval_aro_vg_relation = {
    .name = "aro_vg_relation",
    .summary = "who does what to whom: visual_genome_relation.json, images/ of Visual Genome",
    .counts = "default:~23937",
    .load = load_relation,
    .extra = relation_extra,
};
const eval_dataset eval_aro_vg_attribution = {
    .name = "aro_vg_attribution",
    .summary = "which object has which attribute: visual_genome_attribution.json, images/ of Visual Genome",
    .counts = "default:~28748",
    .load = load_attribution,
    .extra = attribution_extra,
};
const eval_dataset eval_aro_coco_order = {
    .name = "aro_coco_order",
    .summary = "five orders of the words of a COCO caption: aro_coco_order.json with caption_options",
    .load = load_coco,
};
const eval_dataset eval_aro_flickr_order = {
    .name = "aro_flickr_order",
    .summary = "the same, Flickr30k: aro_flickr_order.json with caption_options",
    .load = load_flickr,
};
