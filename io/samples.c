/* samples.c - see samples.h: which reader takes a file, and the growing list of groups that they fill. */
#include "io/samples.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/samples_parts.h"

const char *const sample_category[SAMPLE_CATEGORIES] = { "object", "attribute", "relation", "counting" };
const char *const sample_image_keys[] = { "image_path", "filepath", "image", "file_name", NULL };
const char *const sample_caption_keys[] = { "caption", "title", "text", "captions", NULL };
const char *const sample_augmented[SAMPLES_AUGMENTED] = { "relation_aug_caption", "adj_aug_caption", "noun_aug_caption",
                                                          "verb_aug_caption" };

/* --- what readers call -------------------------------------------------------------------------------------------- */
vm_status samples_fault(samples_builder *b, const char *fmt, ...) {
    samples *s = b->s;
    if (s->n_faults++ >= SAMPLES_FAULTS) return VM_OK;
    vm_error text = { 0 };
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text.msg, sizeof text.msg, fmt, ap);
    va_end(ap);
    if (!vm_grow(&s->fault, &s->cap_faults, s->n_faults, sizeof *s->fault) ||
        !(s->fault[s->n_faults - 1] = vm_strdup(text.msg))) {
        s->n_faults--;
        return vm_nomem(b->e, sizeof text.msg, "the list of faults");
    }
    return VM_OK;
}

int64_t samples_room(samples_builder *b, size_t n) {
    samples *s = b->s;
    if (vm_grow(&s->text, &s->cap_text, s->text_len + (int64_t)n + 1, 1)) return s->text_len;
    vm_nomem(b->e, (size_t)s->text_len + n, "the captions");
    return -1;
}

int64_t samples_close_text(samples_builder *b, int64_t at, size_t n) {
    b->s->text[at + (int64_t)n] = 0;
    b->s->text_len = at + (int64_t)n + 1;
    return at;
}

int64_t samples_text(samples_builder *b, const char *text, size_t n) {
    int64_t at = samples_room(b, n);
    if (at < 0) return -1;
    if (n) memcpy(b->s->text + at, text, n);
    return samples_close_text(b, at, n);
}

sample_side *samples_side(samples_builder *b) {
    samples *s = b->s;
    if (!vm_grow(&s->side, &s->cap_sides, s->n_sides + 1, sizeof *s->side)) {
        vm_nomem(b->e, (size_t)s->n_sides * sizeof *s->side, "the samples");
        return NULL;
    }
    b->open.n++;
    s->side[s->n_sides] = (sample_side){ .name = -1, .caption = -1, .archive = -1, .category = -1, .valid = true };
    return &s->side[s->n_sides++];
}

bool samples_begin(samples_builder *b) {
    b->open = (sample_group){ b->s->n_sides, 0 };
    b->text_from = b->s->text_len;
    return samples_side(b) != NULL;
}

void samples_drop(samples_builder *b) {
    b->s->n_sides = b->open.first, b->s->text_len = b->text_from;
    b->open.n = 0;
}

static bool blank(const char *s) { return s[strspn(s, " \t\r\n")] == 0; }

/* What keeps a side from being used, or NULL. */
static const char *unfit(const samples_builder *b, const sample_side *x, bool original) {
    const samples *s = b->s;
    if (x->caption < 0) return original ? "no caption" : "a change without a caption";
    if (blank(s->text + x->caption)) return original ? "the caption is empty" : "the caption of a change is empty";
    if (original && x->name < 0) return "no picture";
    if (x->name >= 0 && !s->text[x->name])
        return original ? "the name of the picture is empty" : "the name of a change's picture is empty";
    return NULL;
}

vm_status samples_keep(samples_builder *b, const char *where) {
    samples *s = b->s;
    const sample_side *x = s->side + b->open.first;
    const char *what = unfit(b, x, true);
    for (int64_t k = 1; k < b->open.n && !what; k++) {
        what = unfit(b, x + k, false);
        if (!what && (x[k].name < 0) != (b->any_change ? s->captions_only : x[1].name < 0))
            what = "some changes have pictures and some captions only; train on them one after the other";
    }
    if (what) {
        samples_drop(b);
        return samples_fault(b, "%s: %s", where, what);
    }
    if (!vm_grow(&s->group, &s->cap_groups, s->n + 1, sizeof *s->group))
        return vm_nomem(b->e, sizeof *s->group, "the samples");
    if (b->open.n > 1) s->captions_only = x[1].name < 0, b->any_change = true;
    s->group[s->n++] = b->open;
    return VM_OK;
}

int samples_category(const char *name, size_t n) {
    for (int k = 0; k < SAMPLE_CATEGORIES; k++)
        if (strlen(sample_category[k]) == n && !memcmp(sample_category[k], name, n)) return k;
    return -1;
}

bool samples_wanted(const samples_builder *b, int category) {
    for (int k = 0; k < b->o->n_categories; k++)
        if (category >= 0 && !strcmp(b->o->categories[k], sample_category[category])) return true;
    return !b->o->n_categories;
}

int samples_key_rank(const char *const *keys, const char *given, const char *key, size_t n) {
    if (given) return strlen(given) == n && !memcmp(given, key, n) ? 0 : -1;
    for (int k = 0; keys[k]; k++)
        if (strlen(keys[k]) == n && !memcmp(keys[k], key, n)) return k;
    return -1;
}

int64_t samples_image_name(samples_builder *b, int64_t image_id) {
    const char *pattern = b->o->image_name ? b->o->image_name : "COCO_train2014_{}.jpg", *hole = strstr(pattern, "{}");
    char text[512];
    int n = snprintf(text, sizeof text, "%.*s%012lld%s", hole ? (int)(hole - pattern) : 0, pattern, (long long)image_id,
                     hole ? hole + 2 : "");
    return samples_text(b, text, (size_t)VM_MIN(n, (int)sizeof text - 1));
}

/* --- files -------------------------------------------------------------------------------------------------------- */
static vm_status read_memory(samples_builder *b, const void *data, size_t bytes, const char *path) {
    const char *text = data;
    size_t at = 0;
    if (bytes > 262 && !memcmp(text + 257, "ustar", 5))
        return b->s->layout = "tar", samples_read_tar(b, data, bytes, path);
    if (bytes >= 6 && !memcmp(text, "\x93NUMPY", 6))
        return b->s->layout = "NumPy", samples_read_npy(b, data, bytes, path);
    if (bytes >= 2 && !memcmp(text, "\x1f\x8b", 2))
        return vm_fail(b->e, VM_EINPUT, "%s: is compressed by gzip; unpack it with gunzip", path);
    if (bytes >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) at = 3;
    while (at < bytes && strchr(" \t\r\n", text[at]) && text[at]) at++;
    if (at == bytes) return vm_fail(b->e, VM_EINPUT, "%s: the file is empty", path);
    if (text[at] == '[' || text[at] == '{') return samples_read_json(b, text, bytes, path);
    return b->s->layout = "table", samples_read_table(b, text, bytes, path);
}

static bool ends(const char *name, const char *with) {
    size_t n = strlen(name), w = strlen(with);
    return n > w && !strcmp(name + n - w, with);
}

static vm_status read_path(samples_builder *b, const char *path);

static vm_status read_folder(samples_builder *b, const char *path) {
    char **names = NULL;
    int64_t n = 0, found = 0;
    if (dir_list(&names, &n, path, b->e)) return b->e->status;
    for (int64_t i = 0; i < n && !b->e->status; i++) {
        if (!ends(names[i], ".tar") && !ends(names[i], ".npy")) continue;
        char *file = path_join(path, names[i]);
        if (!file) vm_nomem(b->e, 256, "a path");
        else read_path(b, file);
        vm_free(file);
        found++;
    }
    vm_free(names);
    if (!b->e->status && !found)
        vm_fail(b->e, VM_EINPUT, "%s: the folder holds no .tar and no .npy file; name the file itself", path);
    return b->e->status;
}

/* "a{08..10}b" -> a08b, a09b, a10b; as many digits as the first number has. */
static vm_status read_range(samples_builder *b, const char *path, const char *open, const char *dots,
                            const char *close) {
    long long from = strtoll(open + 1, NULL, 10), to = strtoll(dots + 2, NULL, 10);
    if (to < from || to - from > 1000000)
        return vm_fail(b->e, VM_EUSAGE, "%s: the range {%lld..%lld} holds no number, or more than a million", path,
                       from, to);
    for (long long k = from; k <= to && !b->e->status; k++) {
        char *one = vm_asprintf("%.*s%0*lld%s", (int)(open - path), path, (int)(dots - open - 1), k, close + 1);
        if (!one) vm_nomem(b->e, 256, "a path");
        else read_path(b, one);
        vm_free(one);
    }
    return b->e->status;
}

static vm_status read_path(samples_builder *b, const char *path) {
    const char *open = strchr(path, '{'), *dots = open ? strstr(open, "..") : NULL,
               *close = dots ? strchr(dots, '}') : NULL;
    file_map m = { 0 };
    if (close && open + 1 + strspn(open + 1, "0123456789") == dots && dots > open + 1 && dots - open < 19 &&
        dots + 2 + strspn(dots + 2, "0123456789") == close && close > dots + 2 && close - dots < 20)
        return read_range(b, path, open, dots, close);
    if (file_is_dir(path)) return read_folder(b, path);
    if (file_map_open(&m, path, b->e)) return b->e->status;
    read_memory(b, m.data, m.bytes, path);
    file_map_close(&m);
    return b->e->status;
}

static vm_status check_options(const samples_options *o, vm_error *e) {
    for (int k = 0; k < o->n_categories; k++)
        if (samples_category(o->categories[k], strlen(o->categories[k])) < 0)
            return vm_fail(e, VM_EUSAGE, "category %s: known are object, attribute, relation, counting",
                           o->categories[k]);
    if (o->image_name && (!strstr(o->image_name, "{}") || strlen(o->image_name) > 400))
        return vm_fail(e, VM_EUSAGE, "image name %s: {} must stand for the number of the picture", o->image_name);
    return VM_OK;
}

static vm_status finish(samples **out, samples_builder *b) {
    samples *s = b->s;
    if (!b->e->status && s->n_archives) {
        if (!vm_grow(&s->archive_from, &s->cap_from, s->n_archives + 1, sizeof *s->archive_from))
            vm_nomem(b->e, 64, "the archives");
        else s->archive_from[s->n_archives] = s->n;
        if (s->archive_from && s->archive_from[0] > 0)
            vm_fail(b->e, VM_EUSAGE, "tar archives and other files cannot be mixed in one training");
    }
    if (!b->e->status) return *out = s, VM_OK;
    samples_free(s);
    return b->e->status;
}

static samples *begin(samples_builder *b, const samples_options *o, vm_error *e) {
    samples *s = vm_calloc(1, sizeof *s);
    *b = (samples_builder){ .s = s, .o = o, .e = e };
    if (!s) vm_nomem(e, sizeof *s, "the samples");
    else if (!check_options(o, e)) return s;
    vm_free(s);
    return NULL;
}

vm_status samples_open(samples **out, int n, const char *const *paths, const samples_options *o, vm_error *e) {
    samples_builder b;
    *out = NULL;
    if (!begin(&b, o, e)) return e->status;
    for (int k = 0; k < n && !e->status; k++) {
        bool archives = b.s->n_archives > 0;
        if (!read_path(&b, paths[k]) && archives && strcmp(b.s->layout, "tar"))
            vm_fail(e, VM_EUSAGE, "tar archives and other files cannot be mixed in one training");
    }
    return finish(out, &b);
}

vm_status samples_open_memory(samples **out, const void *data, size_t bytes, const char *name, const samples_options *o,
                              vm_error *e) {
    samples_builder b;
    *out = NULL;
    if (!begin(&b, o, e)) return e->status;
    read_memory(&b, data, bytes, name);
    return finish(out, &b);
}

void samples_free(samples *s) {
    if (!s) return;
    for (int64_t k = 0; k < s->n_archives; k++) vm_free(s->archive[k]);
    for (int64_t k = 0; k < VM_MIN(s->n_faults, (int64_t)SAMPLES_FAULTS); k++) vm_free(s->fault[k]);
    vm_free(s->text), vm_free(s->side), vm_free(s->group), vm_free(s->archive), vm_free(s->archive_from),
        vm_free(s->fault);
    vm_free(s);
}

void samples_digest(const samples *s, char hex[65]) {
    sha256 h;
    uint8_t digest[32];
    sha256_start(&h);
    for (int64_t g = 0; g < s->n; g++) {
        const sample_group *x = &s->group[g];
        sha256_add(&h, &x->n, sizeof x->n);
        for (int64_t k = x->first; k < x->first + x->n; k++) {
            const sample_side *d = &s->side[k];
            const char *name = d->name < 0 ? "" : s->text + d->name, *caption = s->text + d->caption;
            const uint8_t flags[2] = { (uint8_t)(d->category + 1), d->valid };
            sha256_add(&h, name, strlen(name) + 1), sha256_add(&h, caption, strlen(caption) + 1),
                sha256_add(&h, flags, 2);
        }
    }
    sha256_end(&h, digest);
    hex_text(hex, digest, sizeof digest);
}

vm_status sample_read(const samples *s, const sample_side *side, uint8_t **data, vm_error *e) {
    const char *path = s->archive[side->archive], *name = s->text + side->name;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *data = NULL;
    if (fd < 0) return vm_fail(e, VM_EIO, "%s: cannot be opened: %m", path);
    if (!(*data = vm_alloc((size_t)VM_MAX(side->bytes, (int64_t)1)))) vm_nomem(e, (size_t)side->bytes, name);
    for (int64_t done = 0; done < side->bytes && !e->status;) {
        ssize_t k = pread(fd, *data + done, (size_t)(side->bytes - done), (off_t)(side->at + done));
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) vm_fail(e, VM_EIO, "%s: reading %s failed: %m", path, name);
        else if (!k)
            vm_fail(e, VM_EIO, "%s: has become shorter: %s stood at byte %lld", path, name, (long long)side->at);
        done += k;
    }
    close(fd);
    if (e->status) vm_free(*data), *data = NULL;
    return e->status;
}
