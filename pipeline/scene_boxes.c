/* scene_boxes.c - see scene_boxes.h. */
#include "pipeline/scene_boxes.h"

static void begin(scene_boxes *b) {
    if (b->open) return;
    b->open = true, b->images = json_to_memory(JSON_COMPACT), b->annotations = json_to_memory(JSON_COMPACT);
    json_begin_array(&b->images, NULL), json_begin_array(&b->annotations, NULL);
}

static void put_box(scene_boxes *b, int64_t image, int64_t category, scene_box x) {
    json_writer *w = &b->annotations;
    const int box[] = { x.x0, x.y0, x.x1 - x.x0, x.y1 - x.y0 };
    json_begin_object(w, NULL);
    json_put_int(w, "id", ++b->n), json_put_int(w, "image_id", image), json_put_int(w, "category_id", category);
    json_begin_array(w, "bbox");
    for (int k = 0; k < 4; k++) json_put_int(w, NULL, box[k]);
    json_close_array(w);
    json_put_int(w, "area", box[2] * box[3]), json_put_int(w, "iscrowd", 0);
    json_close_object(w);
}

vm_status scene_boxes_add(scene_boxes *b, int64_t id, const char *file, const scene *s, uint64_t seed, vm_error *e) {
    scene_question q[SCENE_QUESTIONS];
    const int n = scene_ask(s, seed, q);
    int64_t category[SCENE_QUESTIONS];
    begin(b);
    for (int k = 0; k < n; k++)
        if ((category[k] = 1 + keymap_put_text(&b->phrases, q[k].text)) < 1) return vm_nomem(e, 64, "phrases");
    json_begin_object(&b->images, NULL);
    json_put_int(&b->images, "id", id), json_put_str(&b->images, "file_name", file);
    json_put_int(&b->images, "width", SCENE_SIDE), json_put_int(&b->images, "height", SCENE_SIDE);
    json_begin_array(&b->images, "neg_category_ids");
    for (int k = 0; k < n; k++)
        if (!q[k].objects) json_put_int(&b->images, NULL, category[k]);
    json_close_array(&b->images), json_close_object(&b->images);
    for (int k = 0; k < n; k++)
        for (int i = 0; i < s->n; i++)
            if (q[k].objects >> i & 1) put_box(b, id, category[k], scene_object_box(&s->object[i]));
    return VM_OK;
}

/* The member `key` of w: what the writer x has, which is freed. */
static void put_part(json_writer *w, const char *key, json_writer *x, vm_error *e) {
    size_t bytes = 0;
    json_close_array(x);
    char *text = json_take(x, &bytes, e);
    if (text) json_put_raw(w, key, text, bytes);
    vm_free(text);
}

vm_status scene_boxes_save(scene_boxes *b, const char *dir, const char *name, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    begin(b);
    json_begin_object(&w, NULL);
    put_part(&w, "images", &b->images, e);
    json_begin_array(&w, "categories");
    for (int64_t k = 0; k < b->phrases.n; k++) {
        json_begin_object(&w, NULL);
        json_put_int(&w, "id", k + 1), json_put_str(&w, "name", keymap_at(&b->phrases, k, NULL));
        json_close_object(&w);
    }
    json_close_array(&w);
    put_part(&w, "annotations", &b->annotations, e);
    json_close_object(&w), json_newline(&w);
    b->open = false;
    return json_save(&w, dir, name, e) ? e->status : VM_OK;
}

void scene_boxes_free(scene_boxes *b) {
    vm_error ignored = { 0 };
    if (b->open) vm_free(json_take(&b->images, NULL, &ignored)), vm_free(json_take(&b->annotations, NULL, &ignored));
    keymap_free(&b->phrases);
    *b = (scene_boxes){ 0 };
}
