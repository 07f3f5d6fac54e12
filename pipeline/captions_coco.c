/* captions_coco.c - COCO's caption files (https://cocodataset.org/#format-data): an object with "images" [{"id",
 * "file_name", "width", "height"}] and "annotations" [{"id", "image_id", "caption"}]. They are read token by token: the
 * one of 2017 has 600,000 captions in 90 MB. */
#include <stdlib.h>
#include <string.h>

#include "io/hash.h"
#include "io/json_scan.h"
#include "io/keymap.h"
#include "io/words.h"
#include "pipeline/captions.h"

typedef struct {
    int64_t id, width, height, chosen; /* chosen: annotation, -1 = none yet */
    uint64_t rank;                     /* of the chosen one: the smallest wins */
    char *file;
} picture;

typedef struct {
    int64_t id, image;
    char *text;
} annotation;

typedef struct {
    json_scan s;
    picture *p;
    annotation *a;
    int64_t n, cap, n_a, cap_a;
    keymap by_id; /* of pictures */
} coco;

static bool is(const json_scan *s, const char *name) {
    return s->len == strlen(name) && !memcmp(s->from, name, s->len);
}

static bool take_int(coco *c, int64_t *v) {
    json_token t = json_scan_next(&c->s);
    if (t == JSON_T_NUMBER && json_scan_int(&c->s, v)) return true;
    if (t != JSON_T_ERROR) json_scan_fail(&c->s, c->s.from, "expected an integer");
    return false;
}

static bool take_text(coco *c, char **v) {
    json_token t = json_scan_next(&c->s);
    if (t != JSON_T_STRING) {
        if (t != JSON_T_ERROR) json_scan_fail(&c->s, c->s.from, "expected a string");
        return false;
    }
    vm_free(*v);
    if (!(*v = vm_alloc(c->s.len + 1))) return vm_nomem(c->s.e, c->s.len, "a caption"), false;
    size_t n = json_scan_text(&c->s, *v);
    (*v)[n] = 0;
    for (char *nul; (nul = memchr(*v, 0, n));) *nul = 1; /* a control character, for which the caption is left out */
    return true;
}

static bool take_picture(coco *c) {
    picture *p = &c->p[c->n++];
    *p = (picture){ .id = -1, .chosen = -1 };
    json_token t;
    while ((t = json_scan_next(&c->s)) == JSON_T_KEY)
        if (!(is(&c->s, "id")          ? take_int(c, &p->id)
              : is(&c->s, "width")     ? take_int(c, &p->width)
              : is(&c->s, "height")    ? take_int(c, &p->height)
              : is(&c->s, "file_name") ? take_text(c, &p->file)
                                       : json_scan_skip(&c->s, JSON_T_KEY)))
            return false;
    return t == JSON_T_OBJECT_END;
}

static bool take_annotation(coco *c) {
    annotation *a = &c->a[c->n_a++];
    *a = (annotation){ .id = -1, .image = -1 };
    json_token t;
    while ((t = json_scan_next(&c->s)) == JSON_T_KEY)
        if (!(is(&c->s, "id")         ? take_int(c, &a->id)
              : is(&c->s, "image_id") ? take_int(c, &a->image)
              : is(&c->s, "caption")  ? take_text(c, &a->text)
                                      : json_scan_skip(&c->s, JSON_T_KEY)))
            return false;
    if (t == JSON_T_OBJECT_END && (!a->text || a->image < 0))
        return json_scan_fail(&c->s, c->s.from,
                              "an annotation without \"image_id\" or \"caption\" (is this a file of captions?)"),
               false;
    return t == JSON_T_OBJECT_END;
}

static bool take_list(coco *c, bool pictures) {
    json_token t = json_scan_next(&c->s);
    if (t != JSON_T_ARRAY) return t != JSON_T_ERROR && json_scan_fail(&c->s, c->s.from, "expected an array") == VM_OK;
    while ((t = json_scan_next(&c->s)) == JSON_T_OBJECT) {
        bool room = pictures ? vm_grow(&c->p, &c->cap, c->n + 1, sizeof *c->p)
                             : vm_grow(&c->a, &c->cap_a, c->n_a + 1, sizeof *c->a);
        if (!room) return vm_nomem(c->s.e, sizeof *c->p, "captions"), false;
        if (!(pictures ? take_picture(c) : take_annotation(c))) return false;
    }
    return t == JSON_T_ARRAY_END;
}

static vm_status scan(coco *c, const char *path, const file_map *m, vm_error *e) {
    bool images = false, annotations = false, good = true;
    if (json_scan_start(&c->s, (const char *)m->data, m->bytes, path, 0, e)) return e->status;
    if (json_scan_next(&c->s) != JSON_T_OBJECT) good = false;
    for (json_token t; good && (t = json_scan_next(&c->s)) == JSON_T_KEY;) {
        if (is(&c->s, "images")) images = true, good = take_list(c, true);
        else if (is(&c->s, "annotations")) annotations = true, good = take_list(c, false);
        else good = json_scan_skip(&c->s, JSON_T_KEY);
    }
    if (!e->status && (!images || !annotations))
        vm_fail(e, VM_EINPUT, "%s: no \"images\" and \"annotations\", expected COCO's file of captions", path);
    return e->status;
}

/* How much each caption wants to be its picture's: the smallest is. */
static uint64_t rank_of(const annotation *a, int64_t at, captions_pick pick, uint64_t seed) {
    char id[48];
    int n = word_count(a->text);
    bool control = false;
    for (const char *p = a->text; *p; p++) control |= (unsigned char)*p < 32 && !strchr(" \t\r\n", *p);
    if (n < CAPTION_LEAST || n > CAPTION_MOST || control) return UINT64_MAX; /* would be left out */
    if (pick == PICK_FIRST) return (uint64_t)at;
    if (pick == PICK_LONGEST) return (uint64_t)(CAPTION_MOST - n) << 32 | (uint64_t)(uint32_t)at;
    snprintf(id, sizeof id, "%lld %lld", (long long)a->image, (long long)a->id);
    return sha256_seed(seed, 1, (const char *[]){ id });
}

static vm_status index_pictures(coco *c, const char *path, vm_error *e) {
    for (int64_t i = 0; i < c->n && !e->status; i++) {
        int64_t before = c->by_id.n, k = keymap_put(&c->by_id, &c->p[i].id, sizeof c->p[i].id);
        if (k < 0) vm_nomem(e, 64, "pictures");
        else if (k < before || k != i)
            vm_fail(e, VM_EINPUT, "%s: the picture %lld is listed twice", path, (long long)c->p[i].id);
    }
    return e->status;
}

static vm_status add(captions *l, const coco *c, const annotation *a, const picture *p, const char *split,
                     vm_error *e) {
    char image[24], id[24];
    snprintf(image, sizeof image, "%lld", (long long)p->id), snprintf(id, sizeof id, "%lld", (long long)a->id);
    return captions_add(l,
                        &(caption){ .image_id = image,
                                    .caption = a->text,
                                    .id = a->id >= 0 ? id : NULL,
                                    .file = p->file,
                                    .source = (char *)"coco",
                                    .split = (char *)split,
                                    .width = p->width,
                                    .height = p->height },
                        e);
}

static vm_status choose(captions *l, coco *c, const char *path, captions_pick pick, uint64_t seed, const char *split,
                        vm_error *e) {
    for (int64_t i = 0; i < c->n_a && !e->status; i++) {
        annotation *a = &c->a[i];
        int64_t k = keymap_find(&c->by_id, &a->image, sizeof a->image);
        if (k < 0) {
            vm_error why = { 0 };
            vm_fail(&why, VM_EINPUT, "%s: annotation %lld is of picture %lld, which is not listed", path,
                    (long long)a->id, (long long)a->image);
            captions_bad(l, &why, e);
            continue;
        }
        uint64_t rank = rank_of(a, i, pick, seed);
        if (pick == PICK_ALL) add(l, c, a, &c->p[k], split, e);
        else if (c->p[k].chosen < 0 || rank < c->p[k].rank) c->p[k].chosen = i, c->p[k].rank = rank;
    }
    for (int64_t k = 0; k < c->n && pick != PICK_ALL && !e->status; k++)
        if (c->p[k].chosen >= 0) add(l, c, &c->a[c->p[k].chosen], &c->p[k], split, e);
    return e->status;
}

vm_status captions_coco(captions *l, const char *path, captions_pick pick, uint64_t seed, const char *split,
                        vm_error *e) {
    file_map m = { 0 };
    coco c = { 0 };
    if (!file_map_open(&m, path, e) && !scan(&c, path, &m, e) && !index_pictures(&c, path, e))
        choose(l, &c, path, pick, seed, split, e);
    for (int64_t i = 0; i < c.n; i++) vm_free(c.p[i].file);
    for (int64_t i = 0; i < c.n_a; i++) vm_free(c.a[i].text);
    vm_free(c.p), vm_free(c.a);
    keymap_free(&c.by_id);
    file_map_close(&m);
    return e->status;
}
