/* boxes.c - see boxes.h. */
#include "pipeline/boxes.h"

#include <stdlib.h>
#include <string.h>

#include "io/json.h"

/* --- places of ids ------------------------------------------------------------------------------------------------- */
static int by_number(int64_t a, int64_t b) { return (a > b) - (a < b); }
static int by_image(const void *a, const void *b) { return by_number(((const boxes_image *)a)->id, ((const boxes_image *)b)->id); }
static int by_category(const void *a, const void *b) { return by_number(((const boxes_category *)a)->id, ((const boxes_category *)b)->id); }
static int by_value(const void *a, const void *b) { return by_number(*(const int64_t *)a, *(const int64_t *)b); }

static int64_t place_of_image(const boxes_set *s, json_value v, vm_error *e) {
    const boxes_image key = { .id = json_as_int(v, INT64_MIN, INT64_MAX, e) }, *at;
    if (e->status) return 0;
    if ((at = s->n_images ? bsearch(&key, s->image, (size_t)s->n_images, sizeof key, by_image) : NULL)) return at - s->image;
    json_fail(v, e, "no picture has the id %lld", (long long)key.id);
    return 0;
}

static int64_t place_of_category(const boxes_set *s, json_value v, vm_error *e) {
    const boxes_category key = { .id = json_as_int(v, INT64_MIN, INT64_MAX, e) }, *at;
    if (e->status) return 0;
    if ((at = s->n_categories ? bsearch(&key, s->category, (size_t)s->n_categories, sizeof key, by_category) : NULL)) return at - s->category;
    json_fail(v, e, "no category has the id %lld", (long long)key.id);
    return 0;
}

/* --- parts of the file --------------------------------------------------------------------------------------------- */
/* Memory for the elements of an array of the file. */
static void *room_for(json_value root, const char *key, size_t each, int64_t *n, vm_error *e) {
    json_value list = json_need(root, key, JSON_ARRAY, e);
    void *room = e->status ? NULL : vm_calloc((size_t)json_len(list) + 1, each);
    *n = e->status ? 0 : json_len(list);
    if (!room && !e->status) vm_nomem(e, (size_t)*n * each, key);
    return room;
}

static char *text_of(json_value v, vm_error *e) {
    char *text = vm_strdup(json_as_str(v, e));
    if (!text) vm_nomem(e, 256, "a name");
    return text;
}

static vm_status read_images(boxes_set *s, json_value root, vm_error *e) {
    if (!(s->image = room_for(root, "images", sizeof *s->image, &s->n_images, e))) return e->status;
    boxes_image *im = s->image;
    for (json_iter it = json_each(json_get(root, "images")); !e->status && json_next(&it); im++) {
        im->id = json_as_int(json_get(it.value, "id"), INT64_MIN, INT64_MAX, e);
        im->w = json_int(it.value, "width", 0, 0, 1 << 30, e), im->h = json_int(it.value, "height", 0, 0, 1 << 30, e);
        if (!e->status) im->file = text_of(json_get(it.value, "file_name"), e);
    }
    if (e->status) return e->status;
    qsort(s->image, (size_t)s->n_images, sizeof *s->image, by_image);
    for (int64_t i = 1; i < s->n_images; i++)
        if (s->image[i].id == s->image[i - 1].id) return json_fail(json_get(root, "images"), e, "two pictures have the id %lld", (long long)s->image[i].id);
    return VM_OK;
}

static vm_status read_categories(boxes_set *s, json_value root, vm_error *e) {
    if (!(s->category = room_for(root, "categories", sizeof *s->category, &s->n_categories, e))) return e->status;
    boxes_category *c = s->category;
    for (json_iter it = json_each(json_get(root, "categories")); !e->status && json_next(&it); c++) {
        c->id = json_as_int(json_get(it.value, "id"), INT64_MIN, INT64_MAX, e);
        if (!e->status) c->name = text_of(json_get(it.value, "name"), e);
    }
    if (e->status) return e->status;
    qsort(s->category, (size_t)s->n_categories, sizeof *s->category, by_category);
    for (int64_t i = 1; i < s->n_categories; i++)
        if (s->category[i].id == s->category[i - 1].id)
            return json_fail(json_get(root, "categories"), e, "two categories have the id %lld", (long long)s->category[i].id);
    return VM_OK;
}

static vm_status read_box(const boxes_set *s, json_value v, boxes_item *b, vm_error *e) {
    b->image = place_of_image(s, json_get(v, "image_id"), e);
    if (!e->status) b->category = place_of_category(s, json_get(v, "category_id"), e);
    if (!e->status && json_as_nums(json_get(v, "bbox"), b->box, 4, e) == 4 && (b->box[2] < 0 || b->box[3] < 0))
        json_fail(json_get(v, "bbox"), e, "found a negative width or height, expected x, y, width, height");
    b->area = b->box[2] * b->box[3];
    return e->status;
}

static vm_status read_truths(boxes_set *s, json_value root, vm_error *e) {
    boxes_item *all = room_for(root, "annotations", sizeof *all, &s->n_truths, e), *b = all;
    for (json_iter it = json_each(json_get(root, "annotations")); !e->status && json_next(&it); b++) {
        if (read_box(s, it.value, b, e)) break;
        b->area = json_num(it.value, "area", b->area, 0, 1e18, e), b->crowd = json_int(it.value, "iscrowd", 0, 0, 1, e) != 0;
        s->image[b->image].end++;
    }
    if (!e->status && !(s->truth = vm_alloc((size_t)s->n_truths * sizeof *all + 1))) vm_nomem(e, (size_t)s->n_truths * sizeof *all, "annotations");
    int64_t at = 0;
    for (int64_t i = 0; i < s->n_images && !e->status; i++) { /* counts become places */
        boxes_image *im = &s->image[i];
        const int64_t n = im->end;
        im->first = im->end = at, at += n;
    }
    for (int64_t i = 0; i < s->n_truths && !e->status; i++) s->truth[s->image[all[i].image].end++] = all[i];
    vm_free(all);
    return e->status;
}

/* The categories that a picture is asked for: those of its annotations and of the list. */
static vm_status read_asked(boxes_set *s, boxes_image *im, json_value list, vm_error *e) {
    int64_t n = 0, kept = 0;
    if (!(im->asked = vm_alloc((size_t)(json_len(list) + im->end - im->first) * sizeof *im->asked + 1)))
        return vm_nomem(e, (size_t)json_len(list) * sizeof *im->asked, "categories of a picture");
    for (json_iter it = json_each(list); !e->status && json_next(&it);) im->asked[n++] = place_of_category(s, it.value, e);
    for (int64_t i = im->first; i < im->end; i++) im->asked[n++] = s->truth[i].category;
    qsort(im->asked, (size_t)n, sizeof *im->asked, by_value);
    for (int64_t i = 0; i < n; i++)
        if (!kept || im->asked[kept - 1] != im->asked[i]) im->asked[kept++] = im->asked[i];
    im->n_asked = kept;
    return e->status;
}

static vm_status read_lists(boxes_set *s, json_value root, vm_error *e) {
    for (json_iter it = json_each(json_get(root, "images")); !e->status && json_next(&it);) {
        json_value list = json_get(it.value, "neg_category_ids");
        if (!json_has(list)) continue;
        if (list.kind != JSON_ARRAY) return json_fail(list, e, "expected an array of category ids");
        int64_t at = place_of_image(s, json_get(it.value, "id"), e);
        if (!e->status) read_asked(s, &s->image[at], list, e);
    }
    return e->status;
}

vm_status boxes_open(boxes_set *s, const char *path, vm_error *e) {
    json_doc *d = json_open(path, e);
    json_value root = json_root(d);
    *s = (boxes_set){ 0 };
    if (d && !read_images(s, root, e) && !read_categories(s, root, e) && !read_truths(s, root, e)) read_lists(s, root, e);
    json_free(d);
    if (e->status) boxes_close(s);
    return e->status;
}

void boxes_close(boxes_set *s) {
    for (int64_t i = 0; i < s->n_images && s->image; i++) vm_free(s->image[i].file), vm_free(s->image[i].asked);
    for (int64_t i = 0; i < s->n_categories && s->category; i++) vm_free(s->category[i].name);
    vm_free(s->image), vm_free(s->category), vm_free(s->truth);
    *s = (boxes_set){ 0 };
}

void boxes_leave_out(boxes_set *s, int64_t image) {
    boxes_image *im = &s->image[image];
    const int64_t n = im->end - im->first;
    memmove(s->truth + im->first, s->truth + im->end, (size_t)(s->n_truths - im->end) * sizeof *s->truth);
    im->left_out = true, im->end = im->first, s->n_truths -= n;
    for (int64_t i = image + 1; i < s->n_images; i++) s->image[i].first -= n, s->image[i].end -= n;
}

bool boxes_asks(const boxes_image *im, int64_t category) {
    return !im->left_out && (!im->asked || bsearch(&category, im->asked, (size_t)im->n_asked, sizeof category, by_value) != NULL);
}

int64_t boxes_asked(const boxes_set *s, const boxes_image *im) {
    return im->left_out ? 0 : im->asked ? im->n_asked : s->n_categories;
}

/* --- results of a detector ----------------------------------------------------------------------------------------- */
vm_status boxes_read_found(const boxes_set *s, const char *path, boxes_item **found, int64_t *n, vm_error *e) {
    json_doc *d = json_open(path, e);
    json_value root = json_root(d);
    *found = NULL, *n = 0;
    if (d && root.kind != JSON_ARRAY) json_fail(root, e, "expected an array of results: image_id, category_id, bbox, score");
    if (!e->status && !(*found = vm_calloc((size_t)json_len(root) + 1, sizeof **found))) vm_nomem(e, (size_t)json_len(root) * sizeof **found, "results");
    for (json_iter it = json_each(root); !e->status && json_next(&it); ++*n) {
        boxes_item *b = *found + *n;
        if (!read_box(s, it.value, b, e)) b->score = json_as_num(json_get(it.value, "score"), e);
    }
    json_free(d);
    if (e->status) vm_free(*found), *found = NULL, *n = 0;
    return e->status;
}

vm_status boxes_write_found(const boxes_set *s, const boxes_item *found, int64_t n, const char *path, vm_error *e) {
    size_t bytes = 0;
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_array(&w, NULL);
    for (int64_t i = 0; i < n; i++) {
        json_begin_object(&w, NULL);
        json_put_int(&w, "image_id", s->image[found[i].image].id), json_put_int(&w, "category_id", s->category[found[i].category].id);
        json_begin_array(&w, "bbox");
        for (int k = 0; k < 4; k++) json_put_num(&w, NULL, found[i].box[k]);
        json_close_array(&w);
        json_put_num(&w, "score", found[i].score);
        json_close_object(&w);
    }
    json_close_array(&w);
    char *text = json_take(&w, &bytes, e);
    if (text) file_write(path, text, bytes, e);
    vm_free(text);
    return e->status;
}

double boxes_overlap(const double *a, const double *b, bool b_is_crowd) {
    double w = VM_MIN(a[0] + a[2], b[0] + b[2]) - VM_MAX(a[0], b[0]), h = VM_MIN(a[1] + a[3], b[1] + b[3]) - VM_MAX(a[1], b[1]);
    if (w <= 0 || h <= 0) return 0;
    double in = w * h, own = a[2] * a[3];
    return in / (b_is_crowd ? own : own + b[2] * b[3] - in);
}
