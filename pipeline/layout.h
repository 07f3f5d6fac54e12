/* layout.h - a layout: a caption, and a box for each object in it, on a canvas of 512 x 512.
 *
 * Boxes are x, y (top left corner), width and height in pixels; y grows downwards. The record is plain data, copied by
 * assignment. Three written forms:
 *     JSON       {"caption":..,"objects":[{"name":..,"box":[x,y,w,h]}],"background":..,"negative":..,"category":..}
 *     one line   Input: A, Bounding boxes: [('a cup', [10, 20, 90, 90])], Background prompt: B, Negative prompt: N,
 *                Category: C
 *     lines      [('a cup', [10, 20, 90, 90])]
 *                Background prompt: B
 *                Negative prompt: N
 *                Category: relation(left of)
 * Categories are relation(LABEL of relation.h) and counting(NUMBER WORD); others keep their text. */
#ifndef VM_LAYOUT_H
#define VM_LAYOUT_H
#include "io/json.h"
#include "pipeline/relation.h"

enum { LAYOUT_CANVAS = 512, LAYOUT_OBJECTS = 32, LAYOUT_TEXT = 512, LAYOUT_NAME = 128, LAYOUT_WHY = 192,
       LAYOUT_PRINT = 16384 };

typedef struct {
    char name[LAYOUT_NAME];
    int x, y, w, h;
} layout_object;

typedef struct {
    char caption[LAYOUT_TEXT], background[LAYOUT_TEXT], negative[LAYOUT_TEXT], category[LAYOUT_NAME];
    layout_object object[LAYOUT_OBJECTS];
    int n;
} layout;

/* ---- text (layout_text.c, layout_boxes.c) ---- */

/* The next layout at or behind *p, which moves behind it. False when there is none. problem is "" when the layout is
 * whole, else what is wrong with it. ended: the text ends because its writer was done, so a last category without
 * bracket is whole. Reads both text forms with everything that writers do to them; evaluates nothing. */
bool layout_next(const char **p, const char *end, bool ended, layout *l, char problem[LAYOUT_WHY]);

/* One line, or lines; into out. */
void layout_print_line(char out[LAYOUT_PRINT], const layout *l);
void layout_print_lines(char out[LAYOUT_PRINT], const layout *l);

/* The boxes in Python's or JSON's notation at *p: names and boxes into l->object. False: problem is set. */
bool layout_read_boxes(const char **p, const char *end, layout *l, char problem[LAYOUT_WHY]);

/* A category in its one form: lower case, relation(left of), counting(three); text that is neither stays. False when a
 * bracket is open or nothing is there. */
bool layout_category(char out[LAYOUT_NAME], const char *text);
/* A caption as layouts have it: without its full stop, cut to fit. */
void layout_caption(char out[LAYOUT_TEXT], const char *text);
relation layout_relation(const layout *l); /* of the category; REL_NONE */
int layout_number(const layout *l);        /* of counting(three): 3; -1 */

/* ---- JSON (layout_json.c) ---- */

/* The record of this page, or of the published files (prompt, bounding_boxes, background_prompt, negative_prompt).
 * False: problem is set. */
bool layout_from_json(layout *l, json_value v, char problem[LAYOUT_WHY]);
void layout_put_json(json_writer *w, const char *key, const layout *l);
void layout_put_members(json_writer *w, const layout *l); /* into an object that is open */

/* ---- geometry (layout_shape.c), all integers ---- */

int64_t layout_overlap(const layout_object *a, const layout_object *b);     /* area of what both cover */
bool layout_iou_above(const layout_object *a, const layout_object *b, int percent);
int layout_gap(const layout_object *a,
               const layout_object *b); /* pixels between them on the axis where it is widest; <= 0 touching */
bool layout_inside(const layout_object *o);                                 /* of the canvas */
/* Numbers up to `by` pixels outside the canvas are brought in, with the size of the rest. False: more than that. */
bool layout_clamp(layout_object *o, int by);
/* Do the boxes stand as the relation says, a the subject? *why says what is not so. */
bool layout_relation_holds(relation r, const layout_object *a, const layout_object *b, const char **why);

/* ---- edits (layout_edit.c, layout_count.c) ---- */

/* The twin of a relation: the two phrases of the caption change places (with their articles), each object keeps its
 * size and takes the centre of the other. Twice is identity. False when it has not two objects that the caption names
 * once. */
bool layout_swap(layout *out, const layout *l);
/* The objects whose centres are at least `distance` from every other's, in order; returns how many. */
int layout_isolated(const layout *l, int distance, int which[LAYOUT_OBJECTS]);
/* Without the k objects of `which` (all of one name): the caption counts the rest. False when it does not say how many
 * there were, or nothing would be left. */
bool layout_remove(layout *out, const layout *l, const int *which, int k);

/* How many of `name` (singular, without article) the caption says there are: the number before the noun in either form,
 * up to three words apart, "a" counting as one; -1 when it does not say. number and noun (may be NULL) are where. */
int layout_said(const char *caption, const char *name, word *number, word *noun);
/* The caption with that number exchanged; one takes the singular, and "is" for an "are" beside it. False when it does
 * not say `from`. */
bool layout_recount(char out[LAYOUT_TEXT], const char *caption, const char *name, int from, int to);

/* ---- rules (layout_check.c, layout_seen.c) ---- */

typedef enum {
    L_OK, L01, L02, L03, L04, L05, L06, L07, L08, L09, L10, L11, L12, L13, L14, L_CODES
} layout_code;
extern const char *const layout_code_rule[L_CODES]; /* one line each */

typedef struct {
    int clamp, margin, min_side;            /* pixels */
    int min_area, max_area;                 /* per mille of the canvas */
    int area_ratio, max_iou;                /* percent */
    int gap;                                /* pixels between counted boxes */
    int min_count, max_count;
    int background_words, min_words, max_words;
    int per_pair, per_label;                /* captions of one unordered pair, of one category; 0 = any number */
    int depth;                              /* 1: also relations that cannot be swapped */
} layout_rules;
extern const layout_rules layout_rules_default;
/* NAME=VALUE, a field of the struct. VM_EUSAGE with the names that there are. */
vm_status layout_rule_set(layout_rules *r, const char *text, vm_error *e);

void layout_rules_put(json_writer *w, const char *key, const layout_rules *r);          /* all of them, as an object */
vm_status layout_rules_read(layout_rules *r, json_value v, vm_error *e); /* what such an object says of them */

/* L02 to L12 and L14, the first that is broken, L_OK when none is; why says what (a warning about margins when L_OK).
 * Boxes slightly outside are brought in. */
layout_code layout_check(layout *l, const layout_rules *r, char why[LAYOUT_WHY]);

/* L13 over the layouts so far. */
typedef struct layout_seen layout_seen;
vm_status layout_seen_new(layout_seen **out, vm_error *e);
void layout_seen_free(layout_seen *s); /* accepts NULL */
/* L13 when its caption was there or its pair or category is full; else it is remembered and L_OK. VM_EDEVICE (e) is
 * the only error. */
layout_code layout_seen_add(layout_seen *s, const layout *l, const layout_rules *r, char why[LAYOUT_WHY], vm_error *e);
#endif
