/* eval_eqben.c - EqBen (arXiv 2303.14465): pairs from videos and synthetic scenes.
 *
 * Records { image0, image1, caption0, caption1 }, pictures relative to the root. They stand in one list, or below
 * objects and lists to any depth: VIDEO -> [...] (YouCook2, GEBC), VIDEO -> SUBJECT -> [...] (AG, whose captions are
 * lists: the first one counts). The first part of the path is the source of the pair and its tag. Captions are
 * formatted (eval_format_caption). */
#include <inttypes.h>
#include <string.h>

#include "pipeline/eval_rows.h"

static const eval_file subset[] = { { "default", "eqben_subset_10percent_final.json data.json data.jsonl", false } };
static const eval_file everything[] = { { "default", "all_select.json data.json data.jsonl", false } };

/* The caption, or the first of a list; formatted, vm_free. */
static char *caption(eval_row *r, const char *a, const char *b, vm_error *e) {
    json_value v = json_get(r->value, json_has(json_get(r->value, a)) ? a : b);
    const char *text = json_as_str(v.kind == JSON_ARRAY ? json_at(v, 0) : v, &r->bad);
    return eval_format_caption(text, e);
}

/* "eqbenag/video/0001.png" -> "eqbenag-video-0001#17": the first three parts, and the number of the record, since they
 * need not be unique */
static char *make_id(const char *path, int64_t number, vm_error *e) {
    char *id = vm_asprintf("%s#%" PRId64, path, number);
    int parts = 0;
    for (char *p = id; p && *p && *p != '#'; p++) {
        if (*p != '/') continue;
        *p = '-';
        if (++parts < 3) continue;
        char *tail = strrchr(p, '#');
        memmove(p, tail, strlen(tail) + 1);
        break;
    }
    char *png = id ? strstr(id, ".png#") : NULL;
    if (png) memmove(png, png + 4, strlen(png + 4) + 1);
    if (!id) vm_nomem(e, strlen(path), "an id");
    return id;
}

static vm_status record(eval_row *r, vm_error *e) {
    int64_t *number = r->of->user;
    const char *images[] = { row_need(r, "image0 image_0"), row_need(r, "image1 image_1") };
    while (*images[0] == '/') images[0]++;
    char *text[] = { caption(r, "caption0", "caption_0", e), caption(r, "caption1", "caption_1", e) },
         *id = make_id(images[0], (*number)++, e), *tag = vm_strndup(images[0], strcspn(images[0], "/"));
    if (!tag) vm_nomem(e, 64, "a tag");
    row_add_pair(r,
                 &(row_item){ .id = id,
                              .tag = tag && images[0][strlen(tag)] ? tag : NULL,
                              .captions = (const char *const *)text,
                              .n_captions = 2,
                              .images = images,
                              .n_images = 2,
                              .folders = "image_subset:images" },
                 e);
    vm_free(text[0]), vm_free(text[1]), vm_free(id), vm_free(tag);
    return e->status;
}

static vm_status walk(eval_row *r, vm_error *e) {
    bool leaf = r->value.kind == JSON_OBJECT && row_has(r, "image0 image_0 image1 image_1 caption0 caption_0");
    if (leaf) return record(r, e);
    if (r->value.kind == JSON_OBJECT || r->value.kind == JSON_ARRAY) return row_each(r, r->value, walk, e);
    json_fail(r->value, &r->bad, "expected a record with image0, image1, caption0 and caption1, or a list of them");
    return e->status;
}

static vm_status read_file(const eval_reading *of, vm_error *e) {
    int64_t number = 0;
    eval_reading r = *of;
    r.user = &number;
    return eval_read_rows(&r, ROWS_LIST | ROWS_MEMBERS | ROWS_ANY, walk, e);
}

static vm_status load_subset(eval_set *s, const eval_source *src, vm_error *e) {
    return eval_read_splits(&(eval_reading){ .set = s, .src = src }, subset, 1, read_file, e);
}

static vm_status load_all(eval_set *s, const eval_source *src, vm_error *e) {
    return eval_read_splits(&(eval_reading){ .set = s, .src = src }, everything, 1, read_file, e);
}

const eval_dataset eval_eqben = {
    .name = "eqben",
    .summary = "pairs of video frames and renders, a tenth: eqben_subset_10percent_final.json and image_subset/",
    .load = load_subset,
};
const eval_dataset eval_eqben_all = {
    .name = "eqben_all",
    .summary = "the same, all of it: all_select.json and the folders of pictures",
    .load = load_all,
};
