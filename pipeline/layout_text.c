/* layout_text.c - layouts as text: records found among prose, fields behind their labels, the two printed forms.
 *
 * A record begins at "Input:" or "Caption:", or at a list of boxes where no such label stands before it (the caption is
 * empty then), and ends where the next begins. Numbers of a list ("9."), Markdown fences and stars, commas before
 * labels, final full stops, a Category on the line of the negative prompt: all let pass. */
#include "io/utf8.h"
#include "pipeline/layout.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Labels; those of one kind mean the same. */
enum { CAPTION, BOXES, BACKGROUND, NEGATIVE, CATEGORY, LABELS };
static const char *const labels[LABELS][2] = { { "input", "caption" },
                                               { "bounding boxes", "objects" },
                                               { "background prompt", "background" },
                                               { "negative prompt", "negative" },
                                               { "category", NULL } };

/* Is a label of this kind at p (in a text that begins at from)? Returns the place behind its colon, or NULL. */
static const char *label_at(const char *from, const char *p, const char *end, int kind) {
    if (p > from && (isalnum((unsigned char)p[-1]) || p[-1] == '_')) return NULL;
    for (int i = 0; i < 2 && labels[kind][i]; i++) {
        size_t n = strlen(labels[kind][i]);
        if ((size_t)(end - p) <= n || strncasecmp(p, labels[kind][i], n)) continue;
        const char *q = p + n;
        while (q < end && (*q == ' ' || *q == '*')) q++;
        if (q >= end || *q != ':') continue;
        while (++q < end && *q == '*') {}
        return q;
    }
    return NULL;
}

/* At the start of a line, behind blanks and the number of a list, a bracket that opens a list of objects. */
static bool list_at(const char *from, const char *p, const char *end) {
    if (*p != '[') return false;
    const char *q = p;
    while (q > from && q[-1] != '\n' &&
           (isspace((unsigned char)q[-1]) || isdigit((unsigned char)q[-1]) || q[-1] == '.'))
        q--;
    if (q > from && q[-1] != '\n') return false;
    for (p++; p < end && isspace((unsigned char)*p);) p++;
    return p < end && strchr("([{]'\"", *p);
}

/* The first place at or behind p where a record begins; *caption is behind its label, or NULL. end when
 * there is none. */
static const char *record_start(const char *from, const char *p, const char *end, const char **caption) {
    for (*caption = NULL; p < end; p++) {
        if (*p == '[' && list_at(from, p, end)) return p;
        char c = (char)(*p | 32);
        if (c != 'i' && c != 'c' && c != 'b' && c != 'o') continue;
        if ((*caption = label_at(from, p, end, CAPTION)) || label_at(from, p, end, BOXES)) return p;
    }
    return end;
}

static bool blank(char c) { return (unsigned char)c <= ' '; }

/* What stands on the first line between two places, without blanks, quotes, stars, final commas and full stops around
 * it. False when it does not fit. */
static bool field(char *out, size_t room, const char *from, const char *to) {
    const char *line = memchr(from, '\n', (size_t)(to - from));
    if (line) to = line;
    while (from < to && (blank(*from) || *from == '*')) from++;
    while (to > from && (blank(to[-1]) || strchr(",*`.", to[-1]))) to--;
    if (to - from >= 2 && (*from == '"' || *from == '\'') && to[-1] == *from) from++, to--;
    while (from < to && blank(*from)) from++;
    while (to > from && (to[-1] == '.' || blank(to[-1]))) to--;
    size_t n = (size_t)(to - from), k = 0;
    if (n >= room || utf8_bad(from, n) < n) return false;
    for (size_t i = 0; i < n; i++) {
        char c = (unsigned char)from[i] < ' ' ? ' ' : from[i];
        if (c != ' ' || (k && out[k - 1] != ' ')) out[k++] = c;
    }
    out[k] = 0;
    return true;
}

static bool nothing(const char *s) {
    return !strcasecmp(s, "none") || !strcasecmp(s, "n/a") || !strcmp(s, "-") || !strcasecmp(s, "no") ||
           !strcasecmp(s, "empty");
}

bool layout_category(char out[LAYOUT_NAME], const char *text) {
    char sub[LAYOUT_NAME] = "";
    const char *open = strchr(text, '('), *close = open ? strchr(open, ')') : NULL;
    size_t n = open ? (size_t)(open - text) : strlen(text), k = 0;
    while (n && text[n - 1] == ' ') n--;
    while (*text == ' ') text++, n -= n > 0;
    if (!n || n >= LAYOUT_NAME || (open && !close)) return false;
    for (; k < n; k++) out[k] = (char)tolower((unsigned char)text[k]);
    out[k] = 0;
    if (!open) return true;
    for (const char *p = open + 1; p < close && strlen(sub) + 1 < sizeof sub; p++)
        if (*p != ' ' || (sub[0] && p + 1 < close && p[1] != ' ')) sub[strlen(sub)] = (char)tolower((unsigned char)*p);
    relation r = relation_of_label(sub);
    const char *p = sub;
    word w;
    int number = word_next(&p, &w) && !word_next(&p, &w) ? word_number((word){ sub, (int)strlen(sub) }) : -1;
    const char *label = !strcmp(out, "relation") && r != REL_NONE       ? relations[r].label
                        : !strcmp(out, "counting") && number_word(number) ? number_word(number)
                                                                          : sub;
    return (size_t)snprintf(out + k, LAYOUT_NAME - k, "(%s)", label) < LAYOUT_NAME - k;
}

void layout_caption(char out[LAYOUT_TEXT], const char *text) {
    size_t n = strlen(text);
    while (n >= LAYOUT_TEXT || (n && ((unsigned char)text[n] & 0xc0) == 0x80)) n--;
    while (n && (text[n - 1] == '.' || text[n - 1] == ' ')) n--;
    memcpy(out, text, n);
    out[n] = 0;
}

static bool sub_label(const layout *l, const char *of, char sub[LAYOUT_NAME]) {
    size_t n = strlen(of), len = strlen(l->category);
    if (strncmp(l->category, of, n) || l->category[n] != '(' || l->category[len - 1] != ')') return false;
    snprintf(sub, LAYOUT_NAME, "%.*s", (int)(len - n - 2), l->category + n + 1);
    return true;
}

relation layout_relation(const layout *l) {
    char sub[LAYOUT_NAME];
    return sub_label(l, "relation", sub) ? relation_of_label(sub) : REL_NONE;
}

int layout_number(const layout *l) {
    char sub[LAYOUT_NAME];
    return sub_label(l, "counting", sub) ? word_number((word){ sub, (int)strlen(sub) }) : -1;
}

/* The number of the next item, at the end of a record: "...\n10. " */
static const char *without_number(const char *from, const char *to) {
    const char *p = to;
    while (p > from && (isspace((unsigned char)p[-1]) || p[-1] == '*')) p--;
    if (p == from || p[-1] != '.') return to;
    for (p--; p > from && isdigit((unsigned char)p[-1]);) p--;
    return p > from && p[-1] == '\n' ? p : to;
}

/* The fields behind the boxes. last: nothing follows the record. */
static void fields(const char *p, const char *end, bool last, bool ended, layout *l, char problem[LAYOUT_WHY]) {
    const char *value[LABELS] = { 0 }, *stop[LABELS] = { 0 };
    char text[LAYOUT_TEXT];
    int open = -1;
    for (const char *q = p; q < end; q++) {
        char c = (char)(*q | 32);
        if (c != 'b' && c != 'n' && c != 'c') continue;
        for (int k = BACKGROUND; k < LABELS; k++) {
            const char *behind = label_at(p, q, end, k);
            if (!behind) continue;
            if (value[k]) {
                snprintf(problem, LAYOUT_WHY, "%s stands there twice", labels[k][0]);
                return;
            }
            if (open >= 0) stop[open] = q;
            value[open = k] = behind;
            q = behind - 1;
            break;
        }
    }
    if (open >= 0) stop[open] = end;
    if (last && !ended && (open != CATEGORY || !memchr(value[CATEGORY], ')', (size_t)(end - value[CATEGORY]))))
        snprintf(problem, LAYOUT_WHY, "cut: the text ends inside the layout");
    else if (!value[BACKGROUND] || !value[CATEGORY])
        snprintf(problem, LAYOUT_WHY, "no %s", labels[value[BACKGROUND] ? CATEGORY : BACKGROUND][0]);
    else if (!field(l->background, LAYOUT_TEXT, value[BACKGROUND], stop[BACKGROUND]))
        snprintf(problem, LAYOUT_WHY, "background prompt: too long, or no UTF-8");
    else if (value[NEGATIVE] && !field(l->negative, LAYOUT_TEXT, value[NEGATIVE], stop[NEGATIVE]))
        snprintf(problem, LAYOUT_WHY, "negative prompt: too long, or no UTF-8");
    else if (!field(text, LAYOUT_NAME, value[CATEGORY], stop[CATEGORY]) || !layout_category(l->category, text))
        snprintf(problem, LAYOUT_WHY,
                 "category: found nothing or an open bracket, expected relation(...) or counting(...)");
    if (nothing(l->negative)) l->negative[0] = 0;
}

/* The first label of boxes, or bracket that begins them, from p on; *behind is where the list is. NULL: none before
 * end. */
static const char *boxes_at(const char *from, const char *p, const char *end, const char **behind) {
    for (; p < end; p++) {
        if ((*p | 32) == 'b' || (*p | 32) == 'o')
            if ((*behind = label_at(from, p, end, BOXES))) return p;
        if (*p == '[' && list_at(from, p, end)) return *behind = p;
    }
    return NULL;
}

bool layout_next(const char **p, const char *end, bool ended, layout *l, char problem[LAYOUT_WHY]) {
    const char *from = *p, *caption, *next, *list, *start = record_start(from, from, end, &caption);
    *l = (layout){ 0 };
    problem[0] = 0;
    if (start == end) {
        *p = end;
        return false;
    }
    const char *bound = end;
    if (caption) bound = record_start(from, caption, end, &next);
    if (bound < end && next) { /* another caption before any boxes */
        *p = bound;
        snprintf(problem, LAYOUT_WHY, "no bounding boxes");
        return true;
    }
    const char *boxes = boxes_at(from, caption ? caption : start, end, &list);
    if (!boxes) {
        *p = end;
        snprintf(problem, LAYOUT_WHY, ended ? "no bounding boxes" : "cut: the text ends inside the layout");
        return true;
    }
    if (!caption && list != boxes) { /* a completion that goes on behind "Input:" */
        caption = start;
        while (caption > from && caption[-1] != '\n') caption--;
    }
    while (caption && caption < boxes && isspace((unsigned char)*caption)) caption++;
    if (caption && !field(l->caption, LAYOUT_TEXT, caption, boxes))
        snprintf(problem, LAYOUT_WHY, "caption: too long, or no UTF-8");
    char *wrong = problem[0] ? (char[LAYOUT_WHY]){ 0 } : problem;
    bool ok = layout_read_boxes(&list, end, l, wrong);
    bound = record_start(from, list, end, &next);
    *p = bound;
    for (int i = 0; ok && i < l->n; i++)
        if (utf8_bad(l->object[i].name, strlen(l->object[i].name)) < strlen(l->object[i].name)) {
            ok = false;
            if (!problem[0]) snprintf(problem, LAYOUT_WHY, "boxes: a name is no UTF-8");
        }
    if (ok && !problem[0])
        fields(list, bound < end ? without_number(list, bound) : bound, bound == end, ended, l, problem);
    return true;
}

typedef struct {
    char *out;
    int n;
} printer;

static void put(printer *o, const char *s, int len) {
    if (o->n + len >= LAYOUT_PRINT) len = LAYOUT_PRINT - 1 - o->n;
    memcpy(o->out + o->n, s, (size_t)len);
    o->out[o->n += len] = 0;
}

static void puts_(printer *o, const char *s) { put(o, s, (int)strlen(s)); }

/* As Python writes strings: in single quotes unless those stand in it and double ones do not. */
static void put_name(printer *o, const char *s) {
    const char *q = strchr(s, '\'') && !strchr(s, '"') ? "\"" : "'";
    puts_(o, q);
    for (; *s; s++) {
        if (*s == *q || *s == '\\') put(o, "\\", 1);
        put(o, s, 1);
    }
    puts_(o, q);
}

static void put_boxes(printer *o, const layout *l) {
    puts_(o, "[");
    for (int i = 0; i < l->n; i++) {
        const layout_object *b = &l->object[i];
        char numbers[64];
        puts_(o, i ? ", (" : "(");
        put_name(o, b->name);
        snprintf(numbers, sizeof numbers, ", [%d, %d, %d, %d])", b->x, b->y, b->w, b->h);
        puts_(o, numbers);
    }
    puts_(o, "]");
}

static void print(printer *o, const layout *l, const char *const *between) {
    put_boxes(o, l);
    puts_(o, between[0]), puts_(o, l->background);
    puts_(o, between[1]);
    if (l->negative[0]) puts_(o, " "), puts_(o, l->negative);
    puts_(o, between[2]), puts_(o, l->category);
}

void layout_print_line(char out[LAYOUT_PRINT], const layout *l) {
    printer o = { out, 0 };
    puts_(&o, "Input: "), puts_(&o, l->caption), puts_(&o, ", Bounding boxes: ");
    print(&o, l, (const char *const[]){ ", Background prompt: ", ", Negative prompt:", ", Category: " });
}

void layout_print_lines(char out[LAYOUT_PRINT], const layout *l) {
    printer o = { out, 0 };
    print(&o, l, (const char *const[]){ "\nBackground prompt: ", "\nNegative prompt:", "\nCategory: " });
}
