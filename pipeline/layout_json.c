/* layout_json.c - layouts as JSON: the record of layout.h, and that of the published files, which calls its members
 * otherwise. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/json_loose.h"
#include "pipeline/layout.h"

static bool bad(char problem[LAYOUT_WHY], const char *field, const char *what) {
    snprintf(problem, LAYOUT_WHY, "%s: %s", field, what);
    return false;
}

/* The first member of these that is there. */
static json_value member(json_value v, const char *a, const char *b, const char *c) {
    json_value found = json_loose_get(v, a);
    if (!json_has(found) && b) found = json_loose_get(v, b);
    if (!json_has(found) && c) found = json_loose_get(v, c);
    return found;
}

/* A string of one line into out, without blanks and full stop around it. */
static bool text(char *out, size_t room, json_value v, const char *name, char problem[LAYOUT_WHY]) {
    size_t n, k = 0;
    const char *s = v.kind == JSON_STRING ? json_as_text(v, &n, NULL) : NULL;
    if (!s) return bad(problem, name, "expected a string");
    for (size_t i = 0; i < n; i++) {
        char c = (unsigned char)s[i] < ' ' ? ' ' : s[i];
        if (c == ' ' && (!k || out[k - 1] == ' ')) continue;
        if (k + 1 >= room) return bad(problem, name, "too long");
        out[k++] = c;
    }
    while (k && (out[k - 1] == ' ' || out[k - 1] == '.')) k--;
    out[k] = 0;
    return true;
}

static bool object(layout_object *o, json_value v, char problem[LAYOUT_WHY]) {
    bool pair = v.kind == JSON_ARRAY;
    json_value box = pair ? json_at(v, 1) : member(v, "box", "bounding_box", "bbox");
    double n[4];
    if (!text(o->name, sizeof o->name, pair ? json_at(v, 0) : json_loose_get(v, "name"), "objects: name", problem))
        return false;
    if (!o->name[0]) return bad(problem, "objects: name", "expected a name that is not empty");
    if (box.kind != JSON_ARRAY || json_as_nums(box, n, 4, NULL) != 4)
        return bad(problem, "objects: box", "expected four numbers");
    for (int i = 0; i < 4; i++) n[i] = floor(fmin(fmax(n[i], -1e6), 1e6) + 0.5);
    o->x = (int)n[0], o->y = (int)n[1], o->w = (int)n[2], o->h = (int)n[3];
    return true;
}

bool layout_from_json(layout *l, json_value v, char problem[LAYOUT_WHY]) {
    char category[LAYOUT_NAME];
    json_value objects = member(v, "objects", "bounding_boxes", NULL),
               negative = member(v, "negative", "negative_prompt", NULL);
    *l = (layout){ 0 };
    problem[0] = 0;
    if (v.kind != JSON_OBJECT) return bad(problem, "layout", "expected an object");
    if (!text(l->caption, LAYOUT_TEXT, member(v, "caption", "prompt", NULL), "caption", problem) ||
        !text(l->background, LAYOUT_TEXT, member(v, "background", "background_prompt", NULL), "background", problem) ||
        (json_has(negative) && !text(l->negative, LAYOUT_TEXT, negative, "negative", problem)) ||
        !text(category, LAYOUT_NAME, json_loose_get(v, "category"), "category", problem))
        return false;
    if (!layout_category(l->category, category))
        return bad(problem, "category", "expected relation(...) or counting(...)");
    if (objects.kind != JSON_ARRAY) return bad(problem, "objects", "expected an array");
    if (json_len(objects) > LAYOUT_OBJECTS) return bad(problem, "objects", "expected at most 32");
    for (json_iter it = json_each(objects); json_next(&it); l->n++)
        if (!object(&l->object[l->n], it.value, problem)) return false;
    return true;
}

void layout_put_members(json_writer *w, const layout *l) {
    json_put_str(w, "caption", l->caption);
    json_begin_array(w, "objects");
    for (int i = 0; i < l->n; i++) {
        const layout_object *o = &l->object[i];
        json_begin_object(w, NULL);
        json_put_str(w, "name", o->name);
        json_begin_array(w, "box");
        json_put_int(w, NULL, o->x), json_put_int(w, NULL, o->y), json_put_int(w, NULL, o->w),
            json_put_int(w, NULL, o->h);
        json_close_array(w);
        json_close_object(w);
    }
    json_close_array(w);
    json_put_str(w, "background", l->background);
    json_put_str(w, "negative", l->negative);
    json_put_str(w, "category", l->category);
}

void layout_put_json(json_writer *w, const char *key, const layout *l) {
    json_begin_object(w, key);
    layout_put_members(w, l);
    json_close_object(w);
}
