/* layout_shape.c - geometry of boxes in integers: overlap, gaps, bounds, relations. See layout.h.
 *
 * Centres are doubled, so that they are whole. A relation holds (main axis: the one it speaks of) when
 *     the centres differ in its direction, on the main axis at least 1.2 times as much as on the other and by 12 % of
 *         the canvas;
 *     the intervals on the main axis overlap by at most 15 % of the shorter;
 *     on top of, under: the boxes overlap sideways by half of the narrower;
 *     on top of: the gap is -10 % of the upper box to 32 px. */
#include "pipeline/layout.h"

#include <stdlib.h>
#include <string.h>

static int64_t shared(int a, int a_len, int b, int b_len) { /* length that two intervals share; negative: the gap */
    return (int64_t)VM_MIN(a + a_len, b + b_len) - VM_MAX(a, b);
}

int64_t layout_overlap(const layout_object *a, const layout_object *b) {
    int64_t w = shared(a->x, a->w, b->x, b->w), h = shared(a->y, a->h, b->y, b->h);
    return w > 0 && h > 0 ? w * h : 0;
}

bool layout_iou_above(const layout_object *a, const layout_object *b, int percent) {
    int64_t both = layout_overlap(a, b), all = (int64_t)a->w * a->h + (int64_t)b->w * b->h - both;
    return both * 100 > all * percent;
}

int layout_gap(const layout_object *a, const layout_object *b) {
    int64_t w = shared(a->x, a->w, b->x, b->w), h = shared(a->y, a->h, b->y, b->h);
    return (int)-VM_MIN(w, h);
}

bool layout_inside(const layout_object *o) {
    return o->x >= 0 && o->y >= 0 && o->w > 0 && o->h > 0 && o->x + o->w <= LAYOUT_CANVAS &&
           o->y + o->h <= LAYOUT_CANVAS;
}

static bool clamp(int *at, int *len, int by) {
    if (*at < -by || *at + *len > LAYOUT_CANVAS + by || *at >= LAYOUT_CANVAS) return false;
    if (*at < 0) *len += *at, *at = 0;
    if (*at + *len > LAYOUT_CANVAS) *len = LAYOUT_CANVAS - *at;
    return *len > 0;
}

bool layout_clamp(layout_object *o, int by) { return clamp(&o->x, &o->w, by) && clamp(&o->y, &o->h, by); }

bool layout_relation_holds(relation r, const layout_object *a, const layout_object *b, const char **why) {
    int64_t dx = 2 * (a->x - b->x) + a->w - b->w,
            dy = 2 * (a->y - b->y) + a->h - b->h; /* twice the distance of centres */
    bool sideways = r == REL_LEFT || r == REL_RIGHT, less = r == REL_LEFT || r == REL_TOP || r == REL_ABOVE;
    int64_t d = sideways ? dx : dy, across = llabs(sideways ? dy : dx);
    int64_t wide = shared(a->x, a->w, b->x, b->w), high = shared(a->y, a->h, b->y, b->h);
    if (r < 0 || r >= REL_SWAPPABLE) return *why = "boxes do not tell depth or containment", false;
    if (less ? d >= 0 : d <= 0) return *why = "the boxes stand the other way round", false;
    if (10 * llabs(d) < 12 * across) return *why = "the boxes stand apart along the other axis", false;
    if (100 * llabs(d) < 2 * 12 * LAYOUT_CANVAS) return *why = "the centres are nearer than 12 % of the canvas", false;
    if (100 * (sideways ? wide : high) > 15 * (sideways ? VM_MIN(a->w, b->w) : VM_MIN(a->h, b->h)))
        return *why = "the boxes overlap along the axis of the relation", false;
    if ((r == REL_TOP || r == REL_UNDER) && 2 * wide < VM_MIN(a->w, b->w))
        return *why = "one box is not over the other", false;
    if (r == REL_TOP && (-high > 32 || 10 * high > a->h))
        return *why = "the upper box does not stand on the lower one", false;
    return true;
}
