/* classify_data.c - see classify_data.h. */
#include "pipeline/classify_data.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "io/csv.h"
#include "io/json.h"

enum { DEPTH = 4 }; /* of folders below that of a class */

/* --- classes ------------------------------------------------------------------------------------------------------ */
/* A new class. `where` ("file:line") for an error. */
static vm_status add_class(classify_data *d, const char *key, const char *name, const char *where, vm_error *e) {
    int64_t before = d->keys.n, k = keymap_put_text(&d->keys, key), m = keymap_put_text(&d->names, name);
    if (k < 0 || m < 0 || !vm_grow(&d->name, &d->cap_name, d->keys.n, sizeof *d->name))
        return vm_nomem(e, 256, "classes");
    if (k < before) return vm_fail(e, VM_EINPUT, "%s: the class %s stands twice", where, key);
    d->name[k] = (int32_t)m, d->n_classes = d->keys.n;
    return VM_OK;
}

/* Without a TAB the key is the number of the class behind a NUL-free mark, so that names may repeat. */
static vm_status add_line(classify_data *d, char *line, const char *where, vm_error *e) {
    char *tab = strchr(line, '\t'), number[32];
    const char *name = tab ? tab + 1 : line;
    if (tab) *tab = 0;
    if (!name[strspn(name, " \t")] || (tab && !*line))
        return vm_fail(e, VM_EINPUT, "%s: an empty %s; every line is one class", where, tab && !*line ? "key" : "name");
    snprintf(number, sizeof number, "\x01%" PRId64, d->n_classes);
    return add_class(d, tab ? line : number, name, where, e);
}

static vm_status read_lines(classify_data *d, const char *path, char *text, size_t bytes, vm_error *e) {
    int64_t number = 1, keyed = 0;
    if (bytes >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) text += 3, bytes -= 3;
    for (char *p = text, *end = p + bytes; p < end && !e->status; number++) {
        char where[600], *stop = memchr(p, '\n', (size_t)(end - p)), *next = stop ? stop + 1 : end;
        snprintf(where, sizeof where, "%.560s:%" PRId64, path, number);
        if (!stop) stop = end;
        if (stop > p && stop[-1] == '\r') stop--;
        *stop = 0;
        if (strlen(p) != (size_t)(stop - p)) return vm_fail(e, VM_EINPUT, "%s: a character U+0000", where);
        keyed += strchr(p, '\t') != NULL;
        add_line(d, p, where, e);
        if (!e->status && keyed && keyed != d->n_classes)
            vm_fail(e, VM_EINPUT, "%s: some lines have a key (KEY TAB NAME) and others have none", where);
        p = next;
    }
    return e->status;
}

static vm_status read_array(classify_data *d, const char *path, const char *text, size_t bytes, vm_error *e) {
    json_doc *doc = json_parse(text, bytes, path, 0, e);
    char number[32];
    for (json_iter it = json_each(json_root(doc)); !e->status && json_next(&it);) {
        const char *name = json_as_str(it.value, e);
        snprintf(number, sizeof number, "\x01%" PRId64, d->n_classes);
        if (name && !*name) json_fail(it.value, e, "an empty name");
        else if (name) add_class(d, number, name, path, e);
    }
    json_free(doc);
    return e->status;
}

static vm_status read_classes(classify_data *d, const char *path, vm_error *e) {
    char *text;
    size_t bytes;
    if (file_read(&text, &bytes, path, 0, e)) return e->status;
    if (text[strspn(text, " \t\r\n")] == '[') read_array(d, path, text, bytes, e);
    else read_lines(d, path, text, bytes, e);
    vm_free(text);
    if (!e->status && d->n_classes < 2)
        vm_fail(e, VM_EINPUT, "%s: %" PRId64 " classes, expected at least two, one per line", path, d->n_classes);
    d->named = true;
    return e->status;
}

static bool keyed(const classify_data *d) { return d->n_classes && class_key(d, 0)[0] != 1; }

/* The class that goes by the name, -1 when there is none or there are several. */
static int64_t by_name(const classify_data *d, const char *name) {
    int64_t m = keymap_find(&d->names, name, strlen(name)), found = -1;
    for (int64_t c = 0; m >= 0 && c < d->n_classes; c++) {
        if (d->name[c] != m) continue;
        if (found >= 0) return -1;
        found = c;
    }
    return found;
}

/* --- pictures ----------------------------------------------------------------------------------------------------- */
static bool full(const classify_data *d, const classify_source *src, int64_t c) {
    return src->limit && d->n_of[c] >= src->limit;
}

static vm_status add_picture(classify_data *d, int64_t c, const char *path, vm_error *e) {
    if (!vm_grow(&d->image, &d->cap_image, d->n + 1, sizeof *d->image) ||
        !vm_grow(&d->label, &d->cap_label, d->n + 1, sizeof *d->label))
        return vm_nomem(e, 256, "pictures");
    int64_t i = keymap_put_text(&d->set->images, path);
    if (i < 0) return vm_nomem(e, 256, "pictures");
    d->image[d->n] = (int32_t)i, d->label[d->n++] = (int32_t)c, d->n_of[c]++;
    return VM_OK;
}

static bool is_picture(const char *name) {
    static const char *const endings[] = { "jpg", "jpeg", "png", "webp", "bmp", "gif", "npy" };
    const char *dot = strrchr(name, '.');
    for (int k = 0; dot && k < VM_LEN(endings); k++)
        if (!strcasecmp(dot + 1, endings[k])) return true;
    return false;
}

static vm_status add_folder(classify_data *d, const classify_source *src, int64_t c, const char *dir, int depth,
                            vm_error *e) {
    char **names = NULL;
    int64_t n = 0;
    if (dir_list(&names, &n, dir, e)) return e->status;
    for (int64_t i = 0; i < n && !e->status && !full(d, src, c); i++) {
        char *path = path_join(dir, names[i]);
        if (!path) vm_nomem(e, 256, "a path");
        else if (file_is_dir(path)) depth < DEPTH ? add_folder(d, src, c, path, depth + 1, e) : VM_OK;
        else if (is_picture(names[i])) add_picture(d, c, path, e);
        vm_free(path);
    }
    vm_free(names);
    return e->status;
}

/* The classes of n folders; -1 in of[] for what cannot be told. */
static vm_status match_folders(classify_data *d, const char *dir, int64_t n, char *const *names, int64_t *of,
                               const classify_source *src, vm_error *e) {
    int64_t unknown = -1;
    for (int64_t i = 0; i < n && !e->status; i++) {
        if (!src->classes) {
            if (!add_class(d, names[i], names[i], dir, e)) of[i] = i;
            continue;
        }
        of[i] = keyed(d) ? keymap_find(&d->keys, names[i], strlen(names[i])) : by_name(d, names[i]);
        if (of[i] < 0 && unknown < 0) unknown = i;
    }
    if (e->status || unknown < 0) return e->status;
    if (keyed(d) || n != d->n_classes)
        return vm_fail(e, VM_EINPUT,
                       "%s/%s: no class of %s is called so, and %" PRId64 " folders are not %" PRId64
                       " classes in their order; lines may be FOLDER TAB NAME",
                       dir, names[unknown], src->classes, n, d->n_classes);
    d->by_order = true;
    for (int64_t i = 0; i < n; i++) of[i] = i;
    return VM_OK;
}

static vm_status load_folders(classify_data *d, const char *dir, const classify_source *src, vm_error *e) {
    char **names = NULL;
    int64_t n = 0, all = 0, *of = NULL;
    if (dir_list(&names, &all, dir, e)) return e->status;
    for (int64_t i = 0; i < all; i++) { /* files beside the folders are none of our business */
        char *path = path_join(dir, names[i]);
        if (!path) vm_nomem(e, 256, "a path");
        else if (file_is_dir(path) && names[i][0] != '.') names[n++] = names[i];
        vm_free(path);
    }
    if (!e->status && n < 2)
        vm_fail(e, VM_EINPUT, "%s: %" PRId64 " folders, expected one for each class", dir, n);
    if (!e->status && !(of = vm_alloc((size_t)n * sizeof *of))) vm_nomem(e, (size_t)n * sizeof *of, "classes");
    if (!e->status) match_folders(d, dir, n, names, of, src, e);
    if (!e->status && !(d->n_of = vm_calloc((size_t)d->n_classes, sizeof *d->n_of))) vm_nomem(e, 64, "classes");
    for (int64_t i = 0; i < n && !e->status; i++) {
        char *path = path_join(dir, names[i]);
        if (path) add_folder(d, src, of[i], path, 0, e);
        else vm_nomem(e, 256, "a path");
        vm_free(path);
    }
    vm_free(names), vm_free(of);
    return e->status;
}

/* --- tables ------------------------------------------------------------------------------------------------------- */
/* The column of the given name, else the first known one. */
static int64_t column(const csv_reader *r, const char *path, const char *given, const char *const *known,
                      const char *option, vm_error *e) {
    if (given) return csv_need_column(r, given, e);
    for (int k = 0; known[k]; k++)
        if (csv_column(r, known[k]) >= 0) return csv_column(r, known[k]);
    vm_fail(e, VM_EINPUT, "%s: no column is called %s, %s or %s; name it by --%s", path, known[0], known[1], known[2],
            option);
    return -1;
}

static int64_t class_of(const classify_data *d, const char *label) {
    int64_t c = keymap_find(&d->keys, label, strlen(label)), number = 0;
    if (c < 0) c = by_name(d, label);
    if (c >= 0 || !*label || strspn(label, "0123456789") != strlen(label) || strlen(label) > 9) return c;
    for (const char *s = label; *s; s++) number = 10 * number + (*s - '0');
    return number < d->n_classes ? number : -1;
}

static vm_status add_row(classify_data *d, const classify_source *src, const media_places *places, const char *image,
                         const char *label, const char *where, vm_error *e) {
    int64_t c = class_of(d, label);
    vm_error missing = { 0 };
    if (c < 0) {
        char *why = vm_asprintf("%s: label %s is no class of %s", where, label, src->classes);
        if (why) eval_set_add_malformed(d->set, -1, image, why, e);
        else vm_nomem(e, 256, "a sentence");
        vm_free(why);
        return e->status;
    }
    if (full(d, src, c)) return VM_OK;
    char *path = media_find(places, NULL, image, &missing);
    if (path) add_picture(d, c, path, e);
    else if (missing.status) {
        char *why = vm_asprintf("%s: %s", where, missing.msg);
        if (!why) vm_nomem(e, 256, "a sentence");
        else if (src->on_error == EVAL_FAIL) vm_fail(e, VM_EINPUT, "%s", why);
        else eval_set_add_fault(d->set, -1, image, why, e);
        vm_free(why);
    } else vm_nomem(e, 256, "a path");
    vm_free(path);
    return e->status;
}

/* With src->classes unset a first pass collects the labels, in the order of their first appearance. */
static vm_status load_table(classify_data *d, const char *path, const classify_source *src, bool collect, vm_error *e) {
    static const char *const images[] = { "image_path", "filepath", "image", "file_name", NULL },
                      *const labels[] = { "label", "class", "category", "target", NULL };
    csv_reader *r = NULL;
    csv_row row;
    vm_error bad = { 0 };
    media_places places = { 0 };
    int64_t image = -1, label = -1;
    if (csv_open(&r, path, 0, CSV_HEADER, e) || media_open(&places, &src->places, path, e)) goto done;
    if ((image = column(r, path, src->image_key, images, "image-key", e)) < 0 ||
        (label = column(r, path, src->label_key, labels, "label-key", e)) < 0)
        goto done;
    for (int rc; !e->status && (rc = csv_next(r, &row, &bad));) {
        char where[600];
        if (rc < 0 && !collect) eval_set_add_malformed(d->set, -1, NULL, bad.msg, e);
        vm_error_clear(&bad);
        if (rc < 0) continue;
        snprintf(where, sizeof where, "%.560s:%" PRId64, path, row.line);
        const char *name = row.field[label];
        if (!collect) add_row(d, src, &places, row.field[image], name, where, e);
        else if (keymap_find(&d->keys, name, strlen(name)) < 0) add_class(d, name, name, where, e);
    }
done:
    media_close(&places);
    csv_close(r);
    return e->status;
}

vm_status classify_load(classify_data *d, const char *data, const classify_source *src, vm_error *e) {
    *d = (classify_data){ .set = eval_set_new("classification", e) };
    if (!d->set) return e->status;
    d->set->on_error = src->on_error;
    if (src->classes && read_classes(d, src->classes, e)) goto done;
    if (file_is_dir(data)) {
        load_folders(d, data, src, e);
    } else if (src->classes || !load_table(d, data, src, true, e)) {
        if (!(d->n_of = vm_calloc((size_t)d->n_classes + 1, sizeof *d->n_of))) vm_nomem(e, 64, "classes");
        else load_table(d, data, src, false, e);
    }
    if (!e->status && !d->n && !d->set->n_faults) vm_fail(e, VM_EINPUT, "%s: no pictures in it", data);
done:
    if (e->status) classify_free(d);
    return e->status;
}

void classify_free(classify_data *d) {
    eval_set_free(d->set);
    keymap_free(&d->keys), keymap_free(&d->names);
    vm_free(d->name), vm_free(d->image), vm_free(d->label), vm_free(d->n_of);
    *d = (classify_data){ 0 };
}
