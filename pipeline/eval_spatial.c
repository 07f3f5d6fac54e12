/* eval_spatial.c - COCO-spatial and GQA-spatial of the What'sUp project: a caption and the same with the opposite
 * preposition, on natural pictures.
 *
 * coco_qa_{one,two}_obj.json, vg_qa_{one,two}_obj.json: JSON lists of [picture number, right caption, wrong caption].
 * COCO pictures are %012d.jpg of val2017, those of GQA NUMBER.jpg. Captions are formatted (eval_format_caption). Tag:
 * the preposition, which for one object is the last word. */
#include <inttypes.h>
#include <string.h>

#include "pipeline/eval_rows.h"

static const eval_file coco_files[] = { { "one", "coco_qa_one_obj.json", false },
                                        { "two", "coco_qa_two_obj.json", false } };
static const eval_file gqa_files[] = { { "one", "vg_qa_one_obj.json", false }, { "two", "vg_qa_two_obj.json", false } };
typedef struct {
    bool coco;
} source;

/* Into tag (of 64 bytes). */
static void find_tag(char *tag, const char *caption, bool one, bool coco) {
    static const char *const prepositions[2][4] = { { "left of", "right of", "front of", "behind" },
                                                    { "left of", "right of", "above", NULL } };
    const char *word = caption, *found = coco ? "below" : "top";
    size_t end = strlen(caption);
    while (end && strchr(" .", caption[end - 1])) end--;
    for (size_t i = 0; i < end; i++)
        if (caption[i] == ' ') word = caption + i + 1;
    for (int k = 3; k >= 0; k--)
        if (prepositions[coco][k] && strstr(caption, prepositions[coco][k])) found = prepositions[coco][k];
    if (one) snprintf(tag, 64, "%.*s", (int)(end - (size_t)(word - caption)), word);
    else snprintf(tag, 64, "%s", found);
}

static vm_status record(eval_row *r, vm_error *e) {
    const source *from = r->of->user;
    json_value v = r->value, picture = json_at(v, 0);
    char number[32], id[32], tag[64], name[300];
    if (v.kind != JSON_ARRAY || json_len(v) != 3)
        return json_fail(v, &r->bad, "expected [picture number, right caption, wrong caption]"), VM_OK;
    const char *right = json_as_str(json_at(v, 1), &r->bad), *wrong = json_as_str(json_at(v, 2), &r->bad),
               *text = number, *image = name;
    if (picture.kind == JSON_STRING) text = json_as_str(picture, &r->bad);
    else snprintf(number, sizeof number, "%" PRId64, json_as_int(picture, 0, INT64_MAX, &r->bad));
    size_t digits = strlen(text);
    if (from->coco && digits < 12) snprintf(name, sizeof name, "%.*s%s.jpg", (int)(12 - digits), "000000000000", text);
    else snprintf(name, sizeof name, "%.200s.jpg", text);
    snprintf(id, sizeof id, "%" PRId64, r->number);
    find_tag(tag, right, !strcmp(eval_split_name(r->of->set, r->split), "one"), from->coco);
    char *captions[] = { eval_format_caption(right, e), eval_format_caption(wrong, e) };
    row_add(r,
            &(row_item){ .id = id,
                         .tag = tag,
                         .captions = (const char *const *)captions,
                         .n_captions = 2,
                         .images = &image,
                         .n_images = 1,
                         .folders = from->coco ? "val2017:images/val2017:images" : "vg_images:gqa_images:images" },
            e);
    vm_free(captions[0]), vm_free(captions[1]);
    return e->status;
}

static vm_status read_file(const eval_reading *of, vm_error *e) {
    return eval_read_rows(of, ROWS_LIST | ROWS_ANY, record, e);
}

static vm_status load_coco(eval_set *s, const eval_source *src, vm_error *e) {
    source from = { .coco = true };
    return eval_read_splits(&(eval_reading){ .set = s, .src = src, .user = &from }, coco_files, 2, read_file, e);
}

static vm_status load_gqa(eval_set *s, const eval_source *src, vm_error *e) {
    source from = { .coco = false };
    return eval_read_splits(&(eval_reading){ .set = s, .src = src, .user = &from }, gqa_files, 2, read_file, e);
}

const eval_dataset eval_coco_spatial = {
    .name = "coco_spatial",
    .summary = "where objects are in COCO val2017: coco_qa_one_obj.json, coco_qa_two_obj.json, val2017/",
    .counts = "one:~2247 two:~440",
    .load = load_coco,
};
const eval_dataset eval_gqa_spatial = {
    .name = "gqa_spatial",
    .summary = "where objects are in GQA: vg_qa_one_obj.json, vg_qa_two_obj.json, vg_images/",
    .counts = "one:~1160 two:~291",
    .load = load_gqa,
};
