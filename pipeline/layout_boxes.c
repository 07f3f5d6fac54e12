/* layout_boxes.c - lists of boxes as language models write them: Python's tuples, lists, dictionaries, JSON. Read by
 * hand, nothing is evaluated. The grammar, with what is let pass:
 *
 *     list = "[" [ item { "," item } [","] ] "]"  or  "No objects"
 *     item = "(" name "," box ")" | "[" name "," box "]" | "{" pairs "}"
 *     pairs: name, and box, bounding_box or bbox
 *     box  = "[" number "," number "," number "," number "]", or in round brackets */
#include "pipeline/layout.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

typedef struct {
    const char *p, *end;
    char *problem; /* "" so far */
} reader;

static bool bad(reader *r, const char *what) {
    if (!r->problem[0]) {
        int n = (int)VM_MIN((int64_t)16, r->end - r->p);
        for (int i = 0; i < n; i++)
            if (!isprint((unsigned char)r->p[i])) n = i;
        if (r->p >= r->end) snprintf(r->problem, LAYOUT_WHY, "boxes: the text ends, expected %s", what);
        else snprintf(r->problem, LAYOUT_WHY, "boxes: found \"%.*s\", expected %s", n, r->p, what);
    }
    return false;
}

static void blanks(reader *r) {
    while (r->p < r->end && isspace((unsigned char)*r->p)) r->p++;
}

static bool take(reader *r, char c) {
    blanks(r);
    if (r->p >= r->end || *r->p != c) return false;
    r->p++;
    return true;
}

/* Length of the quote at p: ' " or their curly kin; *kind is ' or ". 0 = none. */
static int quote(const char *p, const char *end, char *kind) {
    static const char *const curly[] = { "\xe2\x80\x98", "\xe2\x80\x99", "\xe2\x80\x9c", "\xe2\x80\x9d" };
    if (p >= end) return 0;
    if (*p == '\'' || *p == '"') return *kind = *p, 1;
    for (int i = 0; i < 4; i++)
        if (end - p >= 3 && !memcmp(p, curly[i], 3)) return *kind = i < 2 ? '\'' : '"', 3;
    return 0;
}

/* Does a quote before p end a string? What follows then is a comma, a colon or a bracket: 'a dog's toy' goes on. */
static bool ends_string(const char *p, const char *end) {
    while (p < end && isspace((unsigned char)*p)) p++;
    return p >= end || strchr(",:)]}", *p);
}

/* A quoted string; line feeds and tabs inside become blanks, a final full stop goes. */
static bool string(reader *r, char *out, size_t room) {
    char kind, k;
    size_t n = 0;
    blanks(r);
    int q = quote(r->p, r->end, &kind), open = q;
    if (!q) return bad(r, "a name in quotes");
    for (r->p += q; r->p < r->end;) {
        q = quote(r->p, r->end, &k);
        if (q && k == kind && (open > 1 || q == 1) && ends_string(r->p + q, r->end)) {
            r->p += q;
            while (n && (out[n - 1] == ' ' || out[n - 1] == '.')) n--;
            out[n] = 0;
            return n ? true : bad(r, "a name that is not empty");
        }
        char c = *r->p++;
        if (c == '\\' && r->p < r->end) {
            c = *r->p++;
            if (c == 'n' || c == 't' || c == 'r') c = ' ';
        }
        if ((unsigned char)c < ' ') c = ' ';
        if (c == ' ' && (!n || out[n - 1] == ' ')) continue;
        if (n + 1 >= room) return bad(r, "a shorter name");
        out[n++] = c;
    }
    return bad(r, "the end of the name");
}

static bool number(reader *r, int *out) {
    blanks(r);
    const char *p = r->p;
    bool minus = p < r->end && *p == '-', digits = false;
    double v = 0, unit = 1;
    for (p += minus; p < r->end && isdigit((unsigned char)*p); p++, digits = true) v = fmin(10 * v + (*p - '0'), 1e6);
    if (p < r->end && *p == '.')
        for (p++; p < r->end && isdigit((unsigned char)*p); p++) v += (*p - '0') * (unit /= 10);
    if (!digits) return bad(r, "a number");
    r->p = p;
    *out = (int)floor((minus ? -v : v) + 0.5);
    return true;
}

static bool box(reader *r, layout_object *o) {
    int *const to[] = { &o->x, &o->y, &o->w, &o->h };
    bool round = take(r, '(');
    if (!round && !take(r, '[')) return bad(r, "a box [x, y, width, height]");
    for (int i = 0; i < 4; i++) {
        if (i && !take(r, ',')) return bad(r, "four numbers");
        if (!number(r, to[i])) return false;
    }
    take(r, ',');
    return take(r, round ? ')' : ']') ? true : bad(r, "the end of the box after four numbers");
}

static bool pairs(reader *r, layout_object *o) {
    int have = 0;
    do {
        char key[24];
        if (!string(r, key, sizeof key) || !take(r, ':')) return bad(r, "a member and a colon");
        if (!strcasecmp(key, "name")) {
            if (!string(r, o->name, sizeof o->name)) return false;
            have |= 1;
        } else if (!strcasecmp(key, "box") || !strcasecmp(key, "bounding_box") || !strcasecmp(key, "bbox")) {
            if (!box(r, o)) return false;
            have |= 2;
        } else return bad(r, "the members name and box");
        if (!take(r, ',')) break;
        blanks(r);
    } while (r->p < r->end && *r->p != '}');
    if (!take(r, '}')) return bad(r, "the end of the object");
    return have == 3 ? true : bad(r, "a name and a box before it");
}

static bool item(reader *r, layout_object *o) {
    if (take(r, '{')) return pairs(r, o);
    bool round = take(r, '(');
    if (!round && !take(r, '[')) return bad(r, "an object (\"name\", [x, y, width, height])");
    if (!string(r, o->name, sizeof o->name)) return false;
    if (!take(r, ',') && !take(r, ':')) return bad(r, "a comma after the name");
    if (!box(r, o)) return false;
    take(r, ',');
    return take(r, round ? ')' : ']') ? true : bad(r, "the end of the object");
}

bool layout_read_boxes(const char **p, const char *end, layout *l, char problem[LAYOUT_WHY]) {
    static const char none[] = "no objects";
    reader r = { *p, end, problem };
    problem[0] = 0;
    l->n = 0;
    blanks(&r);
    bool ok = true;
    if (end - r.p >= (int)sizeof none - 1 && !strncasecmp(r.p, none, sizeof none - 1)) {
        r.p += sizeof none - 1;
        take(&r, '.');
    } else if (!take(&r, '[')) ok = bad(&r, "a list of boxes");
    else
        while (!take(&r, ']')) {
            if (l->n == LAYOUT_OBJECTS) ok = bad(&r, "at most 32 objects");
            if (!ok || !(ok = item(&r, &l->object[l->n]))) break;
            l->n++;
            blanks(&r);
            if (!take(&r, ',') && (r.p >= end || *r.p != ']')) {
                ok = bad(&r, "a comma or the end of the list");
                break;
            }
        }
    *p = r.p;
    return ok;
}
