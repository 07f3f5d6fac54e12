/* markup_check.h - is a text well-formed markup? Elements closed in order, attributes quoted, & only in references, no
 * bytes that are no UTF-8. Knows the elements of HTML that have no end. */
#ifndef VM_MARKUP_CHECK_H
#define VM_MARKUP_CHECK_H
#include "io/utf8.h"
#include "tests/test.h"

/* NULL when it is, else what is wrong (static memory). */
static inline const char *markup_fault(const char *s) {
    static char why[200];
    char open[64][24];
    int depth = 0;
    if (utf8_bad(s, strlen(s)) != strlen(s)) return "no UTF-8";
    while (*s) {
        if (*s == '&') {
            size_t n = strcspn(s, ";");
            if (n > 6 || !s[n]) return snprintf(why, sizeof why, "bare &: %.40s", s), why;
        }
        if (*s == '>') return snprintf(why, sizeof why, "bare >: %.40s", s), why;
        if (*s++ != '<') continue;
        bool end = *s == '/', decl = *s == '!';
        s += end || decl;
        size_t n = strcspn(s, " \n\t/>");
        char name[24];
        if (n >= sizeof name || (!decl && !n)) return snprintf(why, sizeof why, "bad tag: %.40s", s), why;
        snprintf(name, sizeof name, "%.*s", (int)n, s);
        char quote = 0;
        for (s += n; *s && (quote || *s != '>'); s++) {
            if (quote ? *s == quote : *s == '"' || *s == '\'') quote = quote ? 0 : *s;
            else if (*s == '<') return snprintf(why, sizeof why, "< inside of %s", name), why;
        }
        if (!*s) return snprintf(why, sizeof why, "%s has no end", name), why;
        bool closed = s[-1] == '/';
        s++;
        if (decl || closed || !strcmp(name, "meta") || !strcmp(name, "img")) continue;
        if (!end && depth == 64) return "too deep";
        if (!end) strcpy(open[depth++], name);
        else if (!depth || strcmp(open[--depth], name))
            return snprintf(why, sizeof why, "</%s> closes %.23s", name, depth >= 0 ? open[depth] : "nothing"), why;
        if (!end && !strcmp(name, "style") && !(s = strstr(s, "</style>"))) return "style has no end";
    }
    return depth ? snprintf(why, sizeof why, "%s stays open", open[depth - 1]), why : NULL;
}

static inline char *slurp(const char *path) {
    FILE *f = fopen(path, "rb");
    char *s = f ? calloc(1, 1 << 20) : NULL;
    if (s && !fread(s, 1, (1 << 20) - 1, f)) s[0] = 0;
    if (f) fclose(f);
    return s;
}
#endif
