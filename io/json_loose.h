/* json_loose.h - JSON values in what a language model wrote: prose around them, Markdown fences, single or typographic
 * quotes, trailing commas, names without quotes, Python's None, True, False and tuples, raw line feeds in strings,
 * missing brackets around several objects, a cut end.
 *
 * A value is rewritten as strict JSON, which json_parse then reads: nothing is ever executed, and what comes out is
 * what any reader of JSON would see.
 *
 *     json_loose s = json_loose_start(text, bytes);
 *     while (json_loose_next(&s, '{', &d, e)) use(json_root(d)), json_free(d);        // every outermost object
 */
#ifndef VM_IO_JSON_LOOSE_H
#define VM_IO_JSON_LOOSE_H
#include "io/json.h"

enum { JSON_LOOSE_DEPTH = 8, JSON_LOOSE_VALUES = 64, JSON_LOOSE_BYTES = 1 << 20, JSON_LOOSE_WORK = 4 << 20 };

typedef struct {
    const char *text, *p, *end; /* p: where the search goes on */
    size_t from, to;            /* the value that was just read stands there in the text */
    int found;                  /* values so far */
    int broken;                 /* openings that began no value */
    size_t work;            /* bytes that were looked at, again and again where openings are broken; there is a limit */
    bool cut;               /* the text ended inside of a value, which was dropped */
} json_loose;

/* Of longer texts the first JSON_LOOSE_BYTES count. */
json_loose json_loose_start(const char *text, size_t bytes);
/* The next value that begins with `open`, '{' or '['. True: *d is it (json_free). False: there is none any more
 * (JSON_LOOSE_VALUES at most), or memory is out (e is set). An object inside of an array counts when '{' is asked for,
 * one inside of another object only when that one is broken. What is nested deeper than JSON_LOOSE_DEPTH, or has two
 * members of one name with different values, is no value. */
bool json_loose_next(json_loose *s, char open, json_doc **d, vm_error *e);
/* A member whatever its case, and whether its name is written with '_', ' ' or '-': "SelectedPhrase",
 * "selected_phrase". Missing when there is none. */
json_value json_loose_get(json_value object, const char *name);
/* A text or a number as text: strings as they are, numbers as written; NULL for everything else. number: room for 32
 * bytes. */
const char *json_loose_text(json_value v, char number[32]);
#endif
