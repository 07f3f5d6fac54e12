/* eval_set.c - see eval_set.h. */
#include "pipeline/eval_set.h"

#include <inttypes.h>
#include <string.h>

eval_set *eval_set_new(const char *name, int64_t limit, bool strict, vm_error *e) {
    eval_set *s = vm_calloc(1, sizeof *s);
    if (!s) return vm_nomem(e, sizeof *s, "a data set"), NULL;
    s->name = name, s->limit = limit, s->strict = strict;
    return s;
}

void eval_set_free(eval_set *s) {
    if (!s) return;
    keymap_free(&s->splits), keymap_free(&s->captions), keymap_free(&s->images), keymap_free(&s->text),
        keymap_free(&s->ids);
    vm_free(s->item);
    vm_free(s->same_as);
    vm_free(s->fault);
    vm_free(s);
}

int eval_set_split(eval_set *s, const char *name) { return (int)keymap_put_text(&s->splits, name); }

bool eval_set_full(const eval_set *s, int split) {
    int64_t n = 0;
    if (!s->limit) return false;
    for (int64_t i = 0; i < s->n; i++) n += s->item[i].split == split;
    for (int64_t i = 0; i < s->n_faults; i++) n += s->fault[i].split == split;
    return n >= s->limit;
}

static const char *keep(eval_set *s, const char *text) {
    int64_t i = keymap_put_text(&s->text, text);
    return i < 0 ? NULL : keymap_at(&s->text, i, NULL);
}

vm_status eval_set_add_fault(eval_set *s, int split, const char *id, const char *why, vm_error *e) {
    if (s->strict) return vm_fail(e, VM_EINPUT, "%s", why);
    if (!vm_grow(&s->fault, &s->cap_faults, s->n_faults + 1, sizeof *s->fault))
        return vm_nomem(e, sizeof *s->fault, "the list of faults");
    eval_fault f = { split, id ? keep(s, id) : NULL, keep(s, why) };
    if (!f.why || (id && !f.id)) return vm_nomem(e, strlen(why), "the list of faults");
    s->fault[s->n_faults++] = f;
    return VM_OK;
}

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

vm_status eval_set_add_pair(eval_set *s, int split, const char *id, const char *const captions[2],
                            const char *const images[2], const char *where, vm_error *e) {
    eval_item x = { .split = split, .n_captions = 2, .n_images = 2 };
    for (int k = 0; k < 2; k++) {
        x.caption[k] = (int32_t)keymap_put_text(&s->captions, captions[k]);
        x.image[k] = (int32_t)keymap_put_text(&s->images, images[k]);
        if (x.caption[k] < 0 || x.image[k] < 0) return vm_nomem(e, strlen(captions[k]), "captions");
    }
    int64_t before = s->ids.n, number = id_number(&s->ids, &s->ids, split, id);
    if (number >= 0 && number < before) {
        const eval_item *y = &s->item[s->same_as[number]];
        if (!memcmp(x.caption, y->caption, sizeof x.caption) && !memcmp(x.image, y->image, sizeof x.image))
            return s->n_twice++, VM_OK;
        char *why = vm_asprintf("%s: id %s stands twice in %s with different contents; the first one counts", where, id,
                                eval_split_name(s, split));
        vm_status st = why ? eval_set_add_fault(s, split, id, why, e) : vm_nomem(e, 256, "a sentence");
        vm_free(why);
        return st;
    }
    if (number < 0 || !(x.id = keep(s, id)) || !vm_grow(&s->item, &s->cap, s->n + 1, sizeof x) ||
        !vm_grow(&s->same_as, &s->cap_ids, s->ids.n, sizeof *s->same_as))
        return vm_nomem(e, sizeof x, "items");
    s->same_as[number] = s->n;
    s->item[s->n++] = x;
    return VM_OK;
}
