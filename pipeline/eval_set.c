/* eval_set.c - see eval_set.h. */
#include "pipeline/eval_set.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const char *keep(eval_set *s, const char *text) {
    int64_t i = keymap_put_text(&s->text, text);
    return i < 0 ? NULL : keymap_at(&s->text, i, NULL);
}

eval_set *eval_set_new(const char *name, vm_error *e) {
    eval_set *s = vm_calloc(1, sizeof *s);
    if (!s) return vm_nomem(e, sizeof *s, "a data set"), NULL;
    if ((s->name = keep(s, name))) return s;
    eval_set_free(s);
    return vm_nomem(e, strlen(name), "a data set"), NULL;
}

void eval_set_free(eval_set *s) {
    if (!s) return;
    keymap_free(&s->files), keymap_free(&s->splits), keymap_free(&s->tags), keymap_free(&s->captions), keymap_free(&s->images);
    keymap_free(&s->text), keymap_free(&s->ids);
    vm_free(s->item), vm_free(s->ref), vm_free(s->same_as), vm_free(s->rows), vm_free(s->fault);
    vm_free(s);
}

int eval_set_split(eval_set *s, const char *name) {
    int64_t k = keymap_put_text(&s->splits, name), before = s->cap_rows;
    if (k < 0 || !vm_grow(&s->rows, &s->cap_rows, k + 1, sizeof *s->rows)) return -1;
    if (s->cap_rows > before) memset(s->rows + before, 0, (size_t)(s->cap_rows - before) * sizeof *s->rows);
    return (int)k;
}

bool eval_set_full(const eval_set *s, int split) { return s->limit >= 1 && (double)s->rows[split] >= s->limit; }

/* --- records that cannot be scored -------------------------------------------------------------------------------- */
static vm_status add_fault(eval_set *s, int split, int tag, const char *id, const char *why, bool malformed,
                           vm_error *e) {
    if (!vm_grow(&s->fault, &s->cap_faults, s->n_faults + 1, sizeof *s->fault))
        return vm_nomem(e, sizeof *s->fault, "the list of faults");
    eval_fault f = { split, tag, id ? keep(s, id) : NULL, keep(s, why), split < 0 ? 0 : s->rows[split]++,
                     malformed };
    if (!f.why || (id && !f.id)) return vm_nomem(e, strlen(why), "the list of faults");
    s->fault[s->n_faults++] = f;
    return VM_OK;
}

vm_status eval_set_add_fault(eval_set *s, int split, const char *id, const char *why, vm_error *e) {
    if (s->on_error == EVAL_FAIL) return vm_fail(e, VM_EINPUT, "%s", why);
    return add_fault(s, split, -1, id, why, false, e);
}

vm_status eval_set_add_malformed(eval_set *s, int split, const char *id, const char *why, vm_error *e) {
    if (s->on_error == EVAL_FAIL) return vm_fail(e, VM_EINPUT, "%s", why);
    if (s->on_error == EVAL_SKIP_MEDIA)
        return vm_fail(e, VM_EINPUT, "%s (--on-error skip leaves such records out)", why);
    return add_fault(s, split, -1, id, why, true, e);
}

/* Takes over the sentence. */
static vm_status malformed(eval_set *s, int split, const char *id, char *why, vm_error *e) {
    if (!why) return vm_nomem(e, 256, "a sentence");
    eval_set_add_malformed(s, split, id, why, e);
    vm_free(why);
    return e->status;
}

/* --- items -------------------------------------------------------------------------------------------------------- */
static int64_t id_number(const keymap *ids, keymap *add, int split, const char *id) {
    char *key = vm_asprintf("%d %s", split, id);
    int64_t i = !key ? -1 : add ? keymap_put_text(add, key) : keymap_find(ids, key, strlen(key));
    vm_free(key);
    return i;
}

int64_t eval_set_find(const eval_set *s, const char *split, const char *id) {
    int64_t k = keymap_find(&s->splits, split, strlen(split)), i = k < 0 ? -1 : id_number(&s->ids, NULL, (int)k, id);
    return i < 0 ? -1 : s->same_as[i];
}

bool eval_degenerate(const eval_set *s, const eval_item *x) {
    const int32_t *caption = s->ref + x->at, *image = caption + x->n_captions;
    for (int i = 1; i < x->n_captions; i++)
        for (int j = 0; j < i; j++)
            if (caption[i] == caption[j]) return true;
    for (int i = 1; i < x->n_images; i++)
        for (int j = 0; j < i; j++)
            if (image[i] == image[j]) return true;
    return false;
}

/* A picture's key: its path, and behind the NUL its box when it has one. */
static int64_t put_picture(eval_set *s, const char *path, const int32_t *box) {
    size_t n = strlen(path);
    if (!box || box[2] <= 0 || box[3] <= 0) return keymap_put(&s->images, path, n);
    char *key = vm_alloc(n + 1 + 4 * sizeof *box);
    if (!key) return -1;
    memcpy(key, path, n + 1);
    memcpy(key + n + 1, box, 4 * sizeof *box);
    int64_t i = keymap_put(&s->images, key, n + 1 + 4 * sizeof *box);
    vm_free(key);
    return i;
}

eval_picture eval_picture_at(const eval_set *s, int64_t number) {
    size_t bytes;
    eval_picture p = { .path = keymap_at(&s->images, number, &bytes) };
    size_t n = strlen(p.path);
    p.boxed = bytes > n;
    if (p.boxed) memcpy(p.box, p.path + n + 1, sizeof p.box);
    return p;
}

/* What is wrong with the record, vm_free; NULL and no error when nothing is. */
static char *fault_of(const eval_set *s, eval_kind kind, const eval_record *r, const char *where) {
    int options = r->n_captions * r->n_images;
    if (s->n && kind != s->kind) return vm_asprintf("%s: id %s: pairs and choices in one data set", where, r->id);
    if (kind == EVAL_PAIR && (r->n_captions != 2 || r->n_images != 2))
        return vm_asprintf("%s: id %s: %d captions and %d pictures, expected 2 and 2", where, r->id, r->n_captions,
                           r->n_images);
    if (kind == EVAL_CHOICE && ((r->n_captions != 1 && r->n_images != 1) || options < 2))
        return vm_asprintf("%s: id %s: %d captions and %d pictures, expected one of the one and at least two of the "
                           "other",
                           where, r->id, r->n_captions, r->n_images);
    if (kind == EVAL_CHOICE && (r->gold < 0 || r->gold >= options))
        return vm_asprintf("%s: id %s: right option %d, expected 0 to %d", where, r->id, r->gold, options - 1);
    return NULL;
}

/* The numbers of captions and images behind s->ref. */
static vm_status put_refs(eval_set *s, const eval_record *r, vm_error *e) {
    if (!vm_grow(&s->ref, &s->cap_ref, s->n_ref + r->n_captions + r->n_images, sizeof *s->ref))
        return vm_nomem(e, (size_t)s->n_ref * sizeof *s->ref, "items");
    for (int k = 0; k < r->n_captions + r->n_images; k++) {
        int i = k - r->n_captions;
        int64_t number = i < 0 ? keymap_put_text(&s->captions, r->captions[k])
                               : put_picture(s, r->images[i], r->boxes ? r->boxes[i] : NULL);
        if (number < 0) return vm_nomem(e, 256, "captions and pictures");
        s->ref[s->n_ref + k] = (int32_t)number;
    }
    return VM_OK;
}

static bool same_item(const eval_set *s, const eval_item *x, const eval_item *y) {
    size_t n = (size_t)(x->n_captions + x->n_images);
    return x->n_captions == y->n_captions && x->n_images == y->n_images && x->gold == y->gold &&
           !memcmp(s->ref + x->at, s->ref + y->at, n * sizeof *s->ref);
}

vm_status eval_set_add(eval_set *s, int split, eval_kind kind, const eval_record *r, const char *where, vm_error *e) {
    char *why = fault_of(s, kind, r, where);
    if (why) return malformed(s, split, r->id, why, e);
    if (!s->n) s->kind = kind;
    eval_item x = { .split = split, .kind = kind, .tag = -1, .n_captions = r->n_captions, .n_images = r->n_images,
                    .gold = kind == EVAL_CHOICE ? r->gold : 0, .at = s->n_ref, .row = s->rows[split] };
    int64_t before = s->ids.n, number = id_number(&s->ids, &s->ids, split, r->id);
    if (number < 0 || put_refs(s, r, e) || !(x.id = keep(s, r->id)) || (r->group && !(x.group = keep(s, r->group))) ||
        (r->tag && (x.tag = (int)keymap_put_text(&s->tags, r->tag)) < 0) ||
        !vm_grow(&s->item, &s->cap, s->n + 1, sizeof x) ||
        !vm_grow(&s->same_as, &s->cap_ids, s->ids.n, sizeof *s->same_as))
        return vm_nomem(e, sizeof x, "items");
    if (number < before) { /* an id that is there already */
        eval_item *y = &s->item[s->same_as[number]];
        if (same_item(s, &x, y)) return s->n_twice++, VM_OK;
        if (s->dup == EVAL_DUP_FIRST) return s->n_twice++, VM_OK;
        if (s->dup == EVAL_DUP_LAST) {
            x.row = y->row, *y = x, s->n_twice++;
            s->n_ref += x.n_captions + x.n_images;
            return VM_OK;
        }
        return malformed(s, split, r->id,
                         vm_asprintf("%s: id %s stands twice in %s with different contents; --dup first or last says which one counts",
                                     where, r->id, eval_split_name(s, split)),
                         e);
    }
    s->n_ref += x.n_captions + x.n_images, s->rows[split]++;
    s->same_as[number] = s->n;
    s->item[s->n++] = x;
    return VM_OK;
}

vm_status eval_set_add_named(eval_set *s, const media_places *p, int split, eval_kind kind, const eval_record *r,
                             const char *const *folders, const char *where, vm_error *e) {
    vm_error missing = { 0 };
    if (eval_set_full(s, split)) return VM_OK;
    if (s->no_media) return eval_set_add(s, split, kind, r, where, e);
    char **path = vm_calloc((size_t)r->n_images + 1, sizeof *path), *why = NULL;
    bool whole = path != NULL;
    for (int k = 0; k < r->n_images && whole && !missing.status; k++)
        whole = (path[k] = media_find(p, folders ? folders[k] : NULL, r->images[k], &missing)) || missing.status;
    if (missing.status) {
        int64_t tag = r->tag ? keymap_put_text(&s->tags, r->tag) : -1;
        why = vm_asprintf("%s: id %s: %s", where, r->id, missing.msg);
        if (why && s->on_error == EVAL_FAIL) vm_fail(e, VM_EINPUT, "%s", why);
        else if (why) add_fault(s, split, (int)tag, r->id, why, false, e);
        else whole = false;
    } else if (whole) {
        eval_record found = *r;
        found.images = (const char *const *)path;
        eval_set_add(s, split, kind, &found, where, e);
    }
    if (!whole) vm_nomem(e, 256, "a path");
    for (int k = 0; k < r->n_images && path; k++) vm_free(path[k]);
    vm_free(path), vm_free(why);
    return e->status;
}
