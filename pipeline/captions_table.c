/* captions_table.c - captions from lists of all kinds, and of the miniature world. */
#include <string.h>

#include "io/csv.h"
#include "io/hash.h"
#include "io/json_lines.h"
#include "models/scene.h"
#include "pipeline/captions.h"

/* The file's name without folder and ending. */
static char *stem(const char *path, vm_error *e) {
    const char *base = path_base(path), *dot = strrchr(base, '.');
    char *s = vm_strndup(base, dot && dot > base ? (size_t)(dot - base) : strlen(base));
    if (!s) vm_nomem(e, 64, "a name");
    return s;
}

/* --- VSR ---------------------------------------------------------------------------------------------------------- */
static vm_status take_vsr(captions *l, json_value v, vm_error *own, vm_error *e) {
    const char *image = json_as_str(json_need(v, "image", JSON_STRING, own), own),
               *text = json_as_str(json_need(v, "caption", JSON_STRING, own), own);
    const char *link = json_str(v, "image_link", "", own);
    json_value label = json_get(v, "label");
    bool is_true = label.kind == JSON_BOOL ? json_as_bool(label, own) : json_int(v, "label", 0, 0, 1, own) == 1;
    if (own->status) return captions_bad(l, own, e);
    char *id = is_true ? stem(image, e) : NULL;
    if (id)
        captions_add(l,
                     &(caption){ .image_id = id,
                                 .caption = (char *)text,
                                 .file = (char *)image,
                                 .source = (char *)"vsr",
                                 .split = (char *)(strstr(link, "val2017") ? "val2017" : "train2017") },
                     e);
    vm_free(id);
    return e->status;
}

/* --- JSON Lines --------------------------------------------------------------------------------------------------- */
static const char *const picture_names[] = { "image_id", "image", "file", "image_path", "filepath" };

static vm_status take_json(captions *l, json_value v, const char *split, vm_error *own, vm_error *e) {
    char number[32];
    const char *text = json_as_str(json_need(v, "caption", JSON_STRING, own), own), *image = NULL;
    for (int k = 0; k < VM_LEN(picture_names) && !image && !own->status; k++) {
        json_value x = json_get(v, picture_names[k]);
        if (x.kind == JSON_INT)
            snprintf(number, sizeof number, "%lld", (long long)json_as_int(x, INT64_MIN, INT64_MAX, own)),
                image = number;
        else if (json_has(x)) image = json_as_str(x, own);
    }
    if (!own->status && !image)
        json_fail(v, own, "names no picture; expected one of image_id, image, file, image_path, filepath");
    if (own->status) return captions_bad(l, own, e);
    bool is_file = strchr(image, '.') != NULL;
    char *id = is_file ? stem(image, e) : vm_strdup(image);
    if (id)
        captions_add(l,
                     &(caption){ .image_id = id,
                                 .caption = (char *)text,
                                 .file = (char *)(is_file ? image : json_str(v, "file", NULL, own)),
                                 .source = (char *)"list",
                                 .split = (char *)split },
                     e);
    else vm_nomem(e, 64, "a name");
    vm_free(id);
    return e->status;
}

static vm_status read_lines(captions *l, const char *path, bool vsr, const char *split, vm_error *e) {
    json_lines *r = NULL;
    json_doc *d;
    vm_error own = { 0 };
    if (json_lines_open(&r, path, 0, e)) return e->status;
    for (int rc; !e->status && (rc = json_lines_next(r, &d, &own)); vm_error_clear(&own)) {
        if (rc < 0) captions_bad(l, &own, e);
        else if (vsr) take_vsr(l, json_root(d), &own, e);
        else take_json(l, json_root(d), split, &own, e);
        json_free(d);
    }
    json_lines_close(r);
    return e->status;
}

vm_status captions_vsr(captions *l, const char *path, vm_error *e) { return read_lines(l, path, true, NULL, e); }

/* --- tables and plain text ---------------------------------------------------------------------------------------- */
static vm_status read_csv(captions *l, const char *path, const char *split, vm_error *e) {
    csv_reader *r = NULL;
    csv_row row;
    vm_error own = { 0 };
    if (csv_open(&r, path, 0, CSV_HEADER, e)) return e->status;
    int64_t text = csv_need_column(r, "caption", e), image = -1;
    for (int k = 0; k < VM_LEN(picture_names) && image < 0; k++) image = csv_column(r, picture_names[k]);
    if (!e->status && image < 0) csv_need_column(r, "image", e);
    for (int rc; !e->status && (rc = csv_next(r, &row, &own)); vm_error_clear(&own)) {
        if (rc < 0) {
            captions_bad(l, &own, e);
            continue;
        }
        bool is_file = strchr(row.field[image], '.') != NULL;
        char *id = stem(row.field[image], e);
        if (id)
            captions_add(l,
                         &(caption){ .image_id = id,
                                     .caption = (char *)row.field[text],
                                     .file = is_file ? (char *)row.field[image] : NULL,
                                     .source = (char *)"list",
                                     .split = (char *)split },
                         e);
        vm_free(id);
    }
    csv_close(r);
    return e->status;
}

/* A caption without a picture is named by a hash of itself. */
static vm_status read_text(captions *l, const char *path, const char *split, vm_error *e) {
    char *text = NULL, hex[65];
    if (file_read(&text, NULL, path, 0, e)) return e->status;
    for (char *p = text; p && *p && !e->status;) {
        char *stop = strchr(p, '\n');
        if (stop) *stop = 0;
        if (p[strspn(p, " \t\r")]) {
            sha256_hex(hex, p, strcspn(p, "\r"));
            hex[12] = 0;
            captions_add(
                l, &(caption){ .image_id = hex, .caption = p, .source = (char *)"text", .split = (char *)split }, e);
        }
        p = stop ? stop + 1 : NULL;
    }
    vm_free(text);
    return e->status;
}

static bool ends(const char *s, const char *tail) {
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && !strcmp(s + n - k, tail);
}

vm_status captions_table(captions *l, const char *path, const char *split, vm_error *e) {
    if (ends(path, ".jsonl") || ends(path, ".ndjson")) return read_lines(l, path, false, split, e);
    if (ends(path, ".csv") || ends(path, ".tsv")) return read_csv(l, path, split, e);
    return read_text(l, path, split, e);
}

/* --- the miniature world ------------------------------------------------------------------------------------------ */
vm_status captions_world(captions *l, int64_t first, int64_t n, const char *split, bool specific, vm_error *e) {
    static const char *const names[] = { "train", "source", "test", "val" };
    int set = 0;
    while (set < VM_LEN(names) && strcmp(names[set], split)) set++;
    if (set == VM_LEN(names))
        return vm_fail(e, VM_EUSAGE, "--split %s: expected train, source, test or val with --world", split);
    for (int64_t i = 0; i < n && !e->status; i++) {
        scene s;
        scene_text t;
        char id[32], file[48];
        uint64_t seed = scene_seed((scene_split)set, (uint64_t)(first + i));
        scene_sample(seed, NULL, &s);
        scene_caption(&s, seed, specific ? SCENE_SPECIFIC : SCENE_ORDINARY, &t);
        snprintf(id, sizeof id, "%06lld", (long long)(first + i)), snprintf(file, sizeof file, "images/%s.png", id);
        captions_add(l,
                     &(caption){ .image_id = id,
                                 .caption = t.text,
                                 .file = file,
                                 .source = (char *)"world",
                                 .split = (char *)split,
                                 .width = SCENE_SIDE,
                                 .height = SCENE_SIDE },
                     e);
    }
    return e->status;
}
