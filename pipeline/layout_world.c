/* layout_world.c - reads the tables of things and scenes, and finds what goes together. See layout_enum.h. */
#include "pipeline/layout_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/csv.h"

static bool copy(char *out, size_t room, const char *s) {
    int n = snprintf(out, room, "%s", s);
    return n > 0 && (size_t)n < room;
}

/* Names of contexts, separated by blanks, as bits. */
static vm_status contexts(layout_world *w, uint64_t *bits, const char *names, const char *file, int64_t line,
                          vm_error *e) {
    *bits = 0;
    for (const char *p = names; *p;) {
        size_t n = strcspn(p, " ");
        int64_t i = n ? keymap_put(&w->context, p, n) : 0;
        if (i < 0) return vm_nomem(e, n, "contexts");
        if (i >= 64)
            return vm_fail(e, VM_EINPUT, "%s:%lld: \"%.*s\" is context number 65; at most 64", file, (long long)line,
                           (int)n, p);
        if (n) *bits |= (uint64_t)1 << i;
        p += n + (p[n] == ' ');
    }
    return *bits ? VM_OK : vm_fail(e, VM_EINPUT, "%s:%lld: no contexts; name at least one", file, (long long)line);
}

/* What a row says, or "" where there is no such column. */
static const char *cell(const csv_reader *r, const csv_row *row, const char *column) {
    int64_t i = csv_column(r, column);
    return i < 0 ? "" : row->field[i];
}

static vm_status numbers(thing *t, const char *size, const char *aspect, const char *file, int64_t line, vm_error *e) {
    char *end[2];
    long v[2] = { strtol(size, &end[0], 10), *aspect ? strtol(aspect, &end[1], 10) : 100 };
    if (!*aspect) end[1] = (char *)aspect;
    if (!*size || *end[0] || v[0] < 1 || v[0] > 5)
        return vm_fail(e, VM_EINPUT, "%s:%lld: size_class: found \"%s\", expected 1 to 5", file, (long long)line, size);
    if (*end[1] || v[1] < 25 || v[1] > 400)
        return vm_fail(e, VM_EINPUT, "%s:%lld: aspect: found \"%s\", expected 25 to 400 (100 * width / height)", file,
                       (long long)line, aspect);
    t->size = (int)v[0], t->aspect = (int)v[1];
    return VM_OK;
}

static vm_status thing_of(layout_world *w, thing *t, const csv_reader *r, const csv_row *row, const char *file,
                          vm_error *e) {
    char text[WORDS_MAX];
    const char *article = cell(r, row, "article"), *plural = cell(r, row, "plural");
    *t = (thing){ .stackable = !strcmp(cell(r, row, "stackable"), "yes"),
                  .countable = strcmp(cell(r, row, "countable"), "no") != 0 };
    bool ok = copy(t->name, sizeof t->name, cell(r, row, "name")) && phrase_bare(t->name) == t->name;
    snprintf(text, sizeof text, "%s %s", *article ? article : phrase_article(t->name), t->name);
    ok = ok && copy(t->phrase, sizeof t->phrase, text);
    phrase_plural(text, t->name);
    ok = ok && copy(t->plural, sizeof t->plural, *plural ? plural : text);
    phrase_head(text, t->name);
    ok = ok && copy(t->head, sizeof t->head, text);
    if (!ok)
        return vm_fail(e, VM_EINPUT, "%s:%lld: name: found \"%s\", expected a noun of at most %d bytes without article",
                       file, (long long)row->line, cell(r, row, "name"), WORLD_NAME - 1);
    if (numbers(t, cell(r, row, "size_class"), cell(r, row, "aspect"), file, row->line, e)) return e->status;
    return contexts(w, &t->contexts, cell(r, row, "contexts"), file, row->line, e);
}

static vm_status add_thing(layout_world *w, const thing *t, vm_error *e) {
    int64_t i = 0;
    while (i < w->things && strcmp(w->thing[i].name, t->name)) i++;
    if (i == w->things && !vm_grow(&w->thing, &w->cap[0], ++w->things, sizeof *t))
        return w->things--, vm_nomem(e, sizeof *t, "things");
    w->thing[i] = *t;
    return VM_OK;
}

vm_status layout_world_add(layout_world *w, const char *objects, const char *name, vm_error *e) {
    csv_reader *r;
    csv_row row;
    thing t;
    w->listed = false;
    if (csv_open_text(&r, objects, strlen(objects), name, ',', CSV_HEADER, e)) return e->status;
    if (csv_need_column(r, "name", e) >= 0 && csv_need_column(r, "size_class", e) >= 0 &&
        csv_need_column(r, "contexts", e) >= 0)
        while (csv_next(r, &row, e) > 0 && !e->status)
            if (!thing_of(w, &t, r, &row, name, e)) add_thing(w, &t, e);
    csv_close(r);
    return e->status;
}

static vm_status add_scenes(layout_world *w, const char *text, const char *name, vm_error *e) {
    csv_reader *r;
    csv_row row;
    if (csv_open_text(&r, text, strlen(text), name, ',', CSV_HEADER, e)) return e->status;
    if (csv_need_column(r, "place", e) >= 0 && csv_need_column(r, "background", e) >= 0 &&
        csv_need_column(r, "contexts", e) >= 0)
        while (csv_next(r, &row, e) > 0 && !e->status) {
            scene s = { .contexts = 0 };
            if (!copy(s.place, sizeof s.place, cell(r, &row, "place")) ||
                !copy(s.background, sizeof s.background, cell(r, &row, "background")))
                vm_fail(e, VM_EINPUT, "%s:%lld: place and background: expected 1 to %d bytes each", name,
                        (long long)row.line, 2 * WORLD_NAME - 1);
            else if (contexts(w, &s.contexts, cell(r, &row, "contexts"), name, row.line, e)) break;
            else if (!vm_grow(&w->scene, &w->cap[1], w->scenes + 1, sizeof s)) vm_nomem(e, sizeof s, "scenes");
            else w->scene[w->scenes++] = s;
        }
    csv_close(r);
    return e->status;
}

vm_status layout_world_new(layout_world **out, const char *objects, const char *objects_name, const char *scenes,
                           const char *scenes_name, vm_error *e) {
    layout_world *w = *out = vm_calloc(1, sizeof *w);
    if (!w) return vm_nomem(e, sizeof *w, "things and scenes");
    if (layout_world_add(w, objects, objects_name, e) || add_scenes(w, scenes, scenes_name, e)) {
        layout_world_free(w);
        *out = NULL;
    }
    return e->status;
}

void layout_world_free(layout_world *w) {
    if (!w) return;
    vm_free(w->thing), vm_free(w->scene), vm_free(w->pair), vm_free(w->spot);
    keymap_free(&w->context);
    vm_free(w);
}

static bool fits(const scene *s, const thing *a, const thing *b) {
    return (s->contexts & a->contexts & b->contexts) && !phrase_mentions(s->background, a->head) &&
           !phrase_mentions(s->background, b->head) && !phrase_mentions(s->place, a->head);
}

const scene *layout_world_scene(const layout_world *w, const thing *a, const thing *b, uint32_t i, int *n) {
    *n = 0;
    for (int64_t k = 0; k < w->scenes; k++) *n += fits(&w->scene[k], a, b);
    if (!*n) return NULL;
    int left = (int)(i % (uint32_t)*n);
    const scene *s = w->scene;
    while (!fits(s, a, b) || left--) s++;
    return s;
}

static bool together(const thing *a, const thing *b) {
    return (a->contexts & b->contexts) && abs(a->size - b->size) <= 1 && strcmp(a->head, b->head) &&
           !phrase_find(a->name, b->name).at && !phrase_find(b->name, a->name).at && !noun_is_pair(a->name) &&
           !noun_is_pair(b->name) && strcmp(a->name, a->plural) && strcmp(b->name, b->plural);
}

static bool put(thing_pair **list, int64_t *n, int64_t *cap, int64_t a, int64_t b) {
    if (!vm_grow(list, cap, *n + 1, sizeof **list)) return false;
    (*list)[(*n)++] = (thing_pair){ (int)a, (int)b };
    return true;
}

vm_status layout_world_list(layout_world *w, vm_error *e) {
    if (w->listed) return VM_OK;
    w->pairs = w->spots = 0;
    bool ok = true;
    for (int64_t i = 0; ok && i < w->things; i++) {
        const thing *a = &w->thing[i];
        for (int64_t j = i + 1; ok && j < w->things; j++)
            if (together(a, &w->thing[j])) ok = put(&w->pair, &w->pairs, &w->cap[2], i, j);
        for (int64_t j = 0; ok && a->countable && j < w->scenes; j++)
            if (fits(&w->scene[j], a, a)) ok = put(&w->spot, &w->spots, &w->cap[3], i, j);
    }
    w->listed = ok;
    return ok ? VM_OK : vm_nomem(e, sizeof(thing_pair), "pairs of things");
}
