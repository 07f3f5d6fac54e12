/* scene_edits.c - see scene_edits.h. An edit's record has, beside what `vismin inpaint` reads, the seed of its scene and the objects that are
 * repainted (bits), which the stage hands on. */
#include "pipeline/scene_edits.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/image.h"
#include "io/json.h"
#include "io/keymap.h"
#include "pipeline/stage_lines.h"

static const char background[] = "background";

typedef struct {
    const char *id, *image_id, *category;
    uint64_t seed;
    const scene *s;
    unsigned objects;
    const char *before, *after, *input, *edited;
} edit;

/* --- writing ------------------------------------------------------------------------------------------------------------ */
static void put_edit(json_writer *w, const edit *x) {
    char file[64];
    snprintf(file, sizeof file, "images/%s.png", x->image_id);
    json_begin_object(w, NULL);
    json_put_str(w, "edit_id", x->id), json_put_str(w, "image_id", x->image_id), json_put_str(w, "file", file);
    json_put_str(w, "caption", x->before), json_put_str(w, "edited_caption", x->after);
    json_put_str(w, "input_phrase", x->input), json_put_str(w, "edited_phrase", x->edited), json_put_str(w, "category", x->category);
    json_begin_array(w, "bounding_boxes");
    for (int i = 0; i < x->s->n; i++) {
        if (!(x->objects >> i & 1)) continue;
        const scene_box b = scene_object_square(&x->s->object[i]);
        const int side[] = { b.x0, b.y0, b.x1, b.y1 };
        json_begin_array(w, NULL);
        for (int k = 0; k < 4; k++) json_put_num(w, NULL, (double)side[k] / SCENE_SIDE);
        json_close_array(w);
    }
    json_close_array(w);
    json_put_int(w, "scene_seed", (int64_t)x->seed), json_put_int(w, "scene_objects", x->objects);
    json_close_object(w);
    json_newline(w);
}

typedef struct {
    const char *dir;
    vm_out *out;
    json_writer w;
    keymap images; /* those that are there */
} set;

static vm_status open_set(set *t, const char *dir, vm_error *e) {
    char *images = path_join(dir, "images");
    *t = (set){ .dir = dir };
    if (!images) return vm_nomem(e, 256, "a path");
    if (!dir_make(dir, e) && !dir_make(images, e) && (t->out = vm_out_in(dir, "edits.jsonl", e))) t->w = json_to_out(t->out, JSON_COMPACT);
    vm_free(images);
    return e->status;
}

static vm_status close_set(set *t, vm_error *e) {
    if (t->out) json_end(&t->w, e), vm_out_finish(t->out, e);
    keymap_free(&t->images);
    return e->status;
}

static vm_status add(set *t, const edit *x, vm_error *e) {
    put_edit(&t->w, x);
    if (keymap_find(&t->images, x->image_id, strlen(x->image_id)) >= 0) return e->status;
    char *path = vm_asprintf("%s/images/%s.png", t->dir, x->image_id);
    vm_image im = { 0 };
    if (!path || keymap_put_text(&t->images, x->image_id) < 0) vm_nomem(e, 256, "a picture");
    else if (!image_new(&im, SCENE_SIDE, SCENE_SIDE, 3, e)) scene_render(x->s, im.px), image_write_png(path, &im, NULL, 0, e);
    image_free(&im);
    vm_free(path);
    return e->status;
}

/* --- edits of scenes ------------------------------------------------------------------------------------------------------ */
/* The phrase of t that has this byte. */
static const scene_phrase *phrase_at(const scene_text *t, int at) {
    for (int k = 0; k < t->n; k++)
        if (t->phrase[k].begin <= at && at < t->phrase[k].end) return &t->phrase[k];
    return NULL;
}

enum { WORDS = 64 };
static void name_of(char out[WORDS], const scene_text *t, const scene_phrase *p) { snprintf(out, WORDS, "%.*s", p->end - p->name, t->text + p->name); }

/* A change of class or colour of scene `seed`; false when it does not allow one. */
static bool change(scene_pair *p, const scene *s, uint64_t seed, scene_category category, char input[WORDS], char edited[WORDS]) {
    if (!scene_edit(s, category, seed, p) || (category == SCENE_ATTRIBUTE && p->aspect != SCENE_OF_COLOUR)) return false;
    const scene_phrase *a = phrase_at(&p->text[0], p->change[0].begin), *b = phrase_at(&p->text[1], p->change[1].begin);
    if (!a || !b) return false;
    name_of(input, &p->text[0], a), name_of(edited, &p->text[1], b);
    return true;
}

/* An object that its caption names is taken away, or one of a group; false when there is none, or nothing would be left. */
static bool removal(const scene *s, uint64_t seed, scene_text *before, scene_text *after, char input[WORDS], unsigned *objects) {
    const int i = (int)(seed % s->n);
    scene rest = *s;
    if (s->n < 2) return false;
    *objects = 1u << i;
    scene_take_out(&rest, *objects);
    scene_caption(s, seed, SCENE_SPECIFIC, before), scene_caption(&rest, seed, SCENE_SPECIFIC, after);
    for (int k = 0; k < before->n; k++)
        if (before->phrase[k].objects & *objects) return name_of(input, before, &before->phrase[k]), strcmp(before->text, after->text) != 0;
    return false;
}

static vm_status add_removal(set *t, uint64_t number, scene_split split, int64_t serial, bool *done, vm_error *e) {
    char id[48], image[24], input[WORDS];
    const uint64_t seed = scene_seed(split, number);
    scene s;
    scene_text before, after;
    unsigned objects;
    scene_sample(seed, NULL, &s);
    if (!(*done = removal(&s, seed, &before, &after, input, &objects))) return VM_OK;
    snprintf(id, sizeof id, "removal-%06" PRId64, serial), snprintf(image, sizeof image, "%06" PRIu64, number);
    return add(t, &(edit){ id, image, scene_category_name[SCENE_COUNTING], seed, &s, objects, before.text, after.text, input, background }, e);
}

static vm_status add_change(set *t, uint64_t number, scene_split split, scene_category category, int64_t serial, bool *done, vm_error *e) {
    char id[48], image[24], input[WORDS], edited[WORDS];
    const uint64_t seed = scene_seed(split, number);
    scene s;
    scene_pair p;
    scene_sample(seed, NULL, &s);
    if (!(*done = change(&p, &s, seed, category, input, edited))) return VM_OK;
    snprintf(id, sizeof id, "%s-%06" PRId64, scene_category_name[category], serial), snprintf(image, sizeof image, "%06" PRIu64, number);
    return add(t, &(edit){ id, image, scene_category_name[category], seed, &s, p.touched, p.text[0].text, p.text[1].text, input, edited }, e);
}

vm_status scene_write_edits(const char *dir, scene_split split, uint64_t first, int64_t n, vm_error *e) {
    set t;
    uint64_t at = first;
    bool done;
    if (open_set(&t, dir, e)) return e->status;
    for (int kind = 0; kind < 3; kind++)
        for (int64_t k = 0; k < n && !e->status; at++) {
            if (kind == 2 ? add_removal(&t, at, split, k, &done, e) : add_change(&t, at, split, kind ? SCENE_ATTRIBUTE : SCENE_OBJECT, k, &done, e)) break;
            k += done;
        }
    return close_set(&t, e);
}

/* --- edits that the language model proposed ------------------------------------------------------------------------------ */
typedef struct {
    set *t;
    keymap accepted, taken; /* ids; captions and categories that have an edit */
    int64_t left;
} proposals;

static vm_status take_verdict(void *ctx, const char *key, json_value rec, vm_error *e) {
    proposals *p = ctx;
    if (!strcmp(json_str(rec, "verdict", "", e), "accept") && keymap_put_text(&p->accepted, json_str(rec, "edit_id", "", e)) < 0) return vm_nomem(e, 64, "edits");
    return e->status;
}

/* The objects that the edit's phrase speaks of; 0 = the caption is none of the world, or the scene has no such thing. */
static unsigned objects_of(const scene *s, const char *caption, const char *phrase) {
    scene_text t;
    const char *at = strstr(caption, phrase);
    if (!at || strlen(caption) >= SCENE_TEXT || !scene_parse(caption, &t)) return 0;
    const scene_phrase *p = phrase_at(&t, (int)(at - caption));
    return p ? scene_matches(s, p) : 0;
}

static vm_status take_edit(void *ctx, const char *key, json_value rec, vm_error *e) {
    proposals *p = ctx;
    edit x = { .id = json_str(rec, "edit_id", "", e), .image_id = json_str(rec, "image_id", "", e), .category = json_str(rec, "category", "", e),
               .before = json_str(rec, "caption", "", e), .after = json_str(rec, "edited_caption", "", e), .input = json_str(rec, "input_phrase", "", e),
               .edited = json_str(rec, "edited_phrase", "", e) };
    uint64_t number;
    scene s;
    bool sized = strstr(x.input, scene_size_name[0]) != NULL || strstr(x.input, scene_size_name[1]) != NULL;
    bool stays = (strstr(x.input, scene_size_name[0]) != NULL) == (strstr(x.edited, scene_size_name[0]) != NULL) &&
                 (strstr(x.input, scene_size_name[1]) != NULL) == (strstr(x.edited, scene_size_name[1]) != NULL);
    if (e->status || p->left < 1 || (sized && !stays) || keymap_find(&p->accepted, x.id, strlen(x.id)) < 0 || sscanf(x.image_id, "%" SCNu64, &number) != 1) return e->status;
    const char *attribute = scene_category_name[SCENE_ATTRIBUTE]; /* attribute(color), attribute(texture) */
    if (strcmp(x.category, scene_category_name[SCENE_OBJECT]) && strncmp(x.category, attribute, strlen(attribute))) return VM_OK;
    scene_sample(x.seed = scene_seed(SCENE_SOURCE, number), NULL, &s);
    x.s = &s;
    if (!(x.objects = objects_of(&s, x.before, x.input)) || keymap_find(&p->taken, key, strlen(key)) >= 0) return VM_OK;
    if (keymap_put_text(&p->taken, key) < 0) return vm_nomem(e, 64, "edits");
    p->left--;
    return add(p->t, &x, e);
}

vm_status scene_edits_of_run(const char *dir, const char *run, int64_t most, int64_t removals, vm_error *e) {
    set t;
    proposals p = { .t = &t, .left = most };
    bool done;
    if (open_set(&t, dir, e)) return e->status;
    if (!stage_records(run, "vet", take_verdict, &p, e)) stage_records(run, "instruct", take_edit, &p, e);
    for (int64_t k = 0, at = 0; k < removals && !e->status; at++)
        if (!add_removal(&t, (uint64_t)at, SCENE_SOURCE, k, &done, e)) k += done;
    keymap_free(&p.accepted), keymap_free(&p.taken);
    return close_set(&t, e);
}

/* --- the oracle ------------------------------------------------------------------------------------------------------------ */
typedef struct {
    const char *run;
    scene_score *sum;
} scoring;

static void judge(const scene *s, unsigned objects, const scene_phrase *want, const uint8_t *rgb, scene_score *sum) {
    for (int i = 0; i < s->n; i++) {
        scene_seen seen;
        if (!(objects >> i & 1)) continue;
        scene_look(s, i, rgb, &seen);
        if (!want) {
            sum->removed.all++, sum->removed.right += seen.nothing;
            continue;
        }
        sum->class.all++, sum->class.right += !seen.nothing && seen.class == want->class;
        if (want->colour != SCENE_UNSAID) sum->colour.all++, sum->colour.right += !seen.nothing && seen.colour == want->colour;
    }
}

static vm_status take_picture(void *ctx, const char *key, json_value rec, vm_error *e) {
    scoring *c = ctx;
    const char *file = json_str(rec, "image", "", e), *after = json_str(rec, "edited_caption", "", e), *edited = json_str(rec, "edited_phrase", "", e);
    const int64_t seed = json_int(rec, "scene_seed", -1, -1, INT64_MAX, e), objects = json_int(rec, "scene_objects", 0, 0, (1 << SCENE_OBJECTS) - 1, e);
    const int64_t changed = json_int(json_get(rec, "outside"), "changed", 0, 0, INT64_MAX, e);
    scene s;
    scene_text t;
    vm_image im = { 0 };
    if (e->status) return e->status;
    if (seed < 0 || !objects) return vm_fail(e, VM_EINPUT, "%s: edit %s is none of the miniature world (scene_seed, scene_objects)", c->run, key);
    const bool gone = !strcmp(edited, background);
    const char *at = strstr(after, edited);
    const scene_phrase *want = !gone && at && scene_parse(after, &t) ? phrase_at(&t, (int)(at - after)) : NULL;
    if (!gone && !want) return vm_fail(e, VM_EINPUT, "%s: edit %s: \"%s\" is no phrase of the caption \"%s\"", c->run, key, edited, after);
    char *path = path_join(c->run, file);
    if (!path) return vm_nomem(e, 256, "a path");
    if (!image_read(&im, path, NULL, e) && (im.w != SCENE_SIDE || im.h != SCENE_SIDE)) vm_fail(e, VM_EINPUT, "%s: %d x %d pixels; a scene has %d x %d", path, im.w, im.h, SCENE_SIDE, SCENE_SIDE);
    if (!e->status) {
        scene_sample((uint64_t)seed, NULL, &s);
        judge(&s, (unsigned)objects, want, im.px, c->sum);
        c->sum->edits++, c->sum->touched += changed > 0;
    }
    image_free(&im);
    vm_free(path);
    return e->status;
}

vm_status scene_score_run(const char *run, scene_score *out, vm_error *e) {
    scoring c = { run, out };
    *out = (scene_score){ 0 };
    if (stage_records(run, "inpaint", take_picture, &c, e)) return e->status;
    return out->edits ? VM_OK : vm_fail(e, VM_EINPUT, "%s: no pictures; `vismin inpaint` makes them", run);
}
