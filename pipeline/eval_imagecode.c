/* eval_imagecode.c - ImageCoDe (arXiv 2203.15867): a caption and pictures from one set of ten similar ones.
 *
 * --option task=
 *   simple  two pictures: valid_simple.json, a list of { directory, pos_idx, neg_idx, caption } (the default)
 *   full    all ten: valid_data.json, { directory: { "index": caption } }
 * image-sets/DIRECTORY/img<n>.jpg, ten in each directory; an index counts them by n, which is a frame's number for sets
 * from videos. Captions lose the blanks at their ends. */
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/eval_rows.h"

enum { SET = 10 };
static const eval_file simple[] = { { "default", "valid_simple.json data/valid_simple.json", false } };
static const eval_file full[] = { { "default", "valid_data.json data/valid_data.json", false } };
static const char *const options[] = { "task=simple|full", NULL };
static const char *const tasks[] = { "simple", "full", NULL };

/* The pictures of a set, as names below a root; from img<n>. */
typedef struct {
    char *name[SET];
    int n;
} picture_set;

static void free_set(picture_set *x) {
    for (int k = 0; k < x->n; k++) vm_free(x->name[k]);
    x->n = 0;
}

static int64_t frame_of(const char *name) {
    char *end;
    if (strncmp(name, "img", 3) || !isdigit((unsigned char)name[3])) return -1;
    int64_t n = strtoll(name + 3, &end, 10);
    return *end == '.' ? n : -1;
}

static int by_frame(const void *a, const void *b) {
    int64_t x = frame_of(*(char *const *)a), y = frame_of(*(char *const *)b);
    return (x > y) - (x < y);
}

/* The folder of the set below one of the roots, vm_free; NULL = none. */
static char *find_folder(const eval_row *r, const char *directory) {
    static const char *const below[] = { "image-sets/", "data/image-sets/", "images/", "" };
    const media_places *p = &r->of->src->places;
    for (int k = 0; k < p->n_roots; k++)
        for (int b = 0; b < VM_LEN(below); b++) {
            char *dir = vm_asprintf("%s/%s%s", p->roots[k], below[b], directory);
            if (dir && file_is_dir(dir)) return dir;
            vm_free(dir);
        }
    return NULL;
}

/* False with r->bad (a bad name) or *missing (vm_free) when there is no such set. */
static bool open_set(eval_row *r, const char *directory, picture_set *x, char **missing, vm_error *e) {
    char *dir = strstr(directory, "..") || *directory == '/' ? NULL : find_folder(r, directory), **names = NULL;
    int64_t n = 0, m = 0;
    *x = (picture_set){ 0 };
    if (strstr(directory, "..") || *directory == '/')
        row_fail(r, "directory %s: a name below image-sets/ is expected", directory);
    else if (!dir) {
        *missing = vm_asprintf("%s: folder image-sets/%s not found; --images names further folders", row_where(r),
                               directory);
        if (!*missing) vm_nomem(e, 256, "a sentence");
    } else if (!dir_list(&names, &n, dir, e)) {
        for (int64_t i = 0; i < n; i++)
            if (frame_of(names[i]) >= 0) names[m++] = names[i];
        qsort(names, (size_t)m, sizeof *names, by_frame);
        if (m > SET) row_fail(r, "%s: found %" PRId64 " pictures, expected at most %d", dir, m, SET);
        for (; x->n < m && m <= SET; x->n++)
            if (!(x->name[x->n] = vm_asprintf("%s/%s", directory, names[x->n]))) {
                vm_nomem(e, 256, "a path");
                break;
            }
    }
    vm_free(names), vm_free(dir);
    return !*missing && !r->bad.status && !e->status;
}

/* The item whose pictures are these numbers of the set. */
static vm_status add(eval_row *r, const char *id, const char *directory, const char *text, const int64_t *index, int n,
                     int gold, vm_error *e) {
    picture_set x = { 0 };
    const char *images[SET];
    char *missing = NULL, *caption = eval_trimmed(text, e);
    if (caption && !r->bad.status && open_set(r, directory, &x, &missing, e)) {
        for (int k = 0; k < n; k++) {
            if (index[k] >= x.n)
                row_fail(r, "picture %" PRId64 " of %s, which has %d", index[k], directory, x.n);
            images[k] = x.name[VM_MIN(index[k], x.n - 1)];
        }
        row_add(r, &(row_item){ .id = id, .tag = strncmp(directory, "open-images", 11) ? "video" : "open-images",
                                .gold = gold, .captions = (const char *const *)&caption, .n_captions = 1,
                                .images = images, .n_images = n, .folders = "image-sets:data/image-sets:images" }, e);
    } else if (missing && !eval_set_full(r->of->set, r->split)) {
        eval_set_add_fault(r->of->set, r->split, id, missing, e);
    }
    free_set(&x);
    vm_free(missing), vm_free(caption);
    return e->status;
}

static vm_status simple_record(eval_row *r, vm_error *e) {
    const int64_t index[2] = { row_need_int(r, "pos_idx", 0, SET - 1), row_need_int(r, "neg_idx", 0, SET - 1) };
    if (index[0] == index[1]) row_fail(r, "pos_idx and neg_idx are both %" PRId64, index[0]);
    return add(r, row_id(r, "id"), row_need(r, "directory"), row_need(r, "caption"), index, 2, 0, e);
}

/* A member "index": caption of a directory. */
static vm_status full_caption(eval_row *r, vm_error *e) {
    static const int64_t all[SET] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 };
    const char *text = json_as_str(r->value, &r->bad), *directory = r->up->key;
    char *id = vm_asprintf("%s-%s", directory, r->key);
    if (!id) return vm_nomem(e, 64, "an id");
    if (!isdigit((unsigned char)r->key[0]) || r->key[1])
        row_fail(r, "picture %.60s of %s, expected 0 to 9", r->key, directory);
    add(r, id, directory, text, all, SET, r->key[0] - '0', e);
    vm_free(id);
    return e->status;
}

static vm_status full_record(eval_row *r, vm_error *e) { return row_each(r, r->value, full_caption, e); }

static vm_status read_simple(const eval_reading *of, vm_error *e) {
    return eval_read_rows(of, ROWS_LIST, simple_record, e);
}
static vm_status read_full(const eval_reading *of, vm_error *e) {
    return eval_read_rows(of, ROWS_MEMBERS, full_record, e);
}

static vm_status load(eval_set *s, const eval_source *src, vm_error *e) {
    const char *task = eval_variant(src, "task", "simple", tasks, e);
    bool ten = task && !strcmp(task, "full");
    eval_reading r = { .set = s, .src = src };
    return task ? eval_read_splits(&r, ten ? full : simple, 1, ten ? read_full : read_simple, e) : e->status;
}

const eval_dataset eval_imagecode = {
    .name = "imagecode",
    .summary = "which of similar pictures: valid_simple.json or valid_data.json, and image-sets/",
    .counts = "default:2302",
    .variants = options,
    .load = load,
};
