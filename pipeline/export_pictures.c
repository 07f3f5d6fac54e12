/* export_pictures.c - edited pictures in the layout of the original project: DIR/IMAGE_ID/EDIT_ID.png and DIR/IMAGE_ID/annotations.json,
 *   {"input_caption", "input_image_path", "annotations": [{the edit, "bounding_boxes", "diffusion_params", "scores": {PNG: {"tifa_score"}}, ...}]}
 * with all that our record says beside what was published. */
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "pipeline/export.h"

/* One record, as text; image_id and edit_id stand in it. */
typedef struct { char *image, *id, *text; } picture;
typedef struct {
    picture *p;
    int64_t n, cap;
} pictures;

static vm_status gather(void *ctx, const char *key, json_value rec, vm_error *e) {
    pictures *l = ctx;
    json_writer w = json_to_memory(JSON_COMPACT);
    json_put_value(&w, NULL, rec);
    picture p = { vm_strdup(json_as_str(json_need(rec, "image_id", JSON_STRING, e), e)), vm_strdup(key), json_take(&w, NULL, e) };
    if (!e->status && (!p.image || !p.id || !vm_grow(&l->p, &l->cap, l->n + 1, sizeof p))) vm_nomem(e, sizeof p, "records");
    if (e->status) vm_free(p.image), vm_free(p.id), vm_free(p.text);
    else l->p[l->n++] = p;
    return e->status;
}

static int by_image(const void *a, const void *b) {
    const picture *x = a, *y = b;
    int c = strcmp(x->image, y->image);
    return c ? c : strcmp(x->id, y->id);
}

/* What the original recorded, then the record. */
static void put(json_writer *w, const char *png, json_value rec, vm_error *e) {
    json_value how = json_get(rec, "diffusion");
    json_begin_object(w, NULL);
    for (json_iter it = json_each(rec); json_next(&it);)
        if (strcmp(it.key, "image") && strcmp(it.key, "input_image_path")) json_put_value(w, it.key, it.value);
    json_begin_object(w, "diffusion_params");
    json_put_value(w, "num_inference_steps", json_get(how, "steps")), json_put_value(w, "guidance_scale", json_get(how, "cfg"));
    json_put_bool(w, "use_negative_prompt", json_has(json_get(how, "negative")));
    json_close_object(w);
    json_begin_object(w, "scores");
    json_begin_object(w, png);
    if (json_has(json_get(rec, "score"))) json_put_value(w, "tifa_score", json_get(rec, "score"));
    json_close_object(w), json_close_object(w);
    json_close_object(w);
}

static vm_status copy_file(const char *from, const char *to, vm_error *e) {
    file_map m;
    if (file_map_open(&m, from, e)) return e->status;
    file_write(to, m.data, m.bytes, e);
    file_map_close(&m);
    return e->status;
}

/* The edits of one picture: p[0] to p[n - 1]. */
static vm_status write_picture(const char *run, const char *dir, const picture *p, int64_t n, vm_error *e) {
    char *folder = NULL;
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    for (int64_t k = 0; k < n && !e->status; k++) {
        json_doc *d = json_parse(p[k].text, strlen(p[k].text), "record", 0, e);
        json_value rec = json_root(d);
        const char *image = json_as_str(json_need(rec, "image", JSON_STRING, e), e); /* images/NAME/EDIT_ID.png */
        char *from = path_join(run, image), *name = path_dir(image), *to = NULL, *png = NULL;
        if (!folder && name && (folder = path_join(dir, path_base(name)))) dir_make(folder, e);
        if (folder) to = path_join(folder, path_base(image)), png = vm_strdup(to);
        if (!from || !name || !to || !png) vm_nomem(e, 256, "a path");
        if (!e->status && !copy_file(from, to, e)) {
            if (!k) {
                json_put_value(&w, "input_caption", json_get(rec, json_has(json_get(rec, "caption")) ? "caption" : "input_caption"));
                json_put_value(&w, "input_image_path", json_get(rec, "input_image_path"));
                json_begin_array(&w, "annotations");
            }
            put(&w, png, rec, e);
        }
        vm_free(from), vm_free(name), vm_free(to), vm_free(png);
        json_free(d);
    }
    json_close_array(&w), json_close_object(&w);
    if (!e->status) json_save(&w, folder, "annotations.json", e);
    else vm_free(json_take(&w, NULL, &(vm_error){ 0 }));
    vm_free(folder);
    return e->status;
}

static vm_status write_all(const char *run, const char *dir, vm_error *e) {
    pictures l = { 0 };
    int64_t originals = 0;
    stage_records(run, "inpaint", gather, &l, e);
    if (l.n) qsort(l.p, (size_t)l.n, sizeof *l.p, by_image);
    if (!l.n && !e->status) vm_fail(e, VM_EINPUT, "%s: inpaint has made no pictures here that could be exported", run);
    for (int64_t i = 0, n; i < l.n && !e->status; i += n) {
        for (n = 1; i + n < l.n && !strcmp(l.p[i + n].image, l.p[i].image);) n++;
        write_picture(run, dir, l.p + i, n, e);
        originals++;
    }
    if (!e->status) vm_info("%lld edits of %lld pictures in %s", (long long)l.n, (long long)originals, dir);
    for (int64_t i = 0; i < l.n; i++) vm_free(l.p[i].image), vm_free(l.p[i].id), vm_free(l.p[i].text);
    vm_free(l.p);
    return e->status;
}

const export_layout export_inpaint = { .stage = "inpaint", .folder = write_all };
