/* lex.c - PTX text to tokens. Dots belong to words: `ld.global.v4.f32` and `.reg` are one word each, `%tid.x` too; numbers are
 * decimal, 0x, 0b, octal, with U, 0fXXXXXXXX, 0dXXXXXXXXXXXXXXXX, or decimal with a point. Comments are dropped. */
#include "tests/emu/ptx/ptx.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

void *keep(size_t bytes) {
    static char *block;
    static size_t left;
    bytes = (bytes + 15) & ~(size_t)15;
    if (bytes > left) {
        left = bytes > 1 << 20 ? bytes : 1 << 20;
        block = calloc(1, left);
        if (!block) die(0, "out of memory");
    }
    void *p = block;
    block += bytes, left -= bytes;
    return p;
}

char *keep_str(const char *s, size_t n) {
    char *p = keep(n + 1);
    memcpy(p, s, n);
    return p;
}

static bool word_char(int c) { return isalnum(c) || c == '_' || c == '$' || c == '%' || c == '.' || c == ':'; }

token *lex(const char *path, char *text) {
    size_t room = 1024, n = 0;
    token *t = malloc(room * sizeof *t);
    int line = 1;
    (void)path;
    for (char *p = text;;) {
        while (isspace((unsigned char)*p)) line += *p++ == '\n';
        if (p[0] == '/' && p[1] == '/') {
            while (*p && *p != '\n') p++;
            continue;
        }
        if (p[0] == '/' && p[1] == '*') {
            for (p += 2; *p && !(p[0] == '*' && p[1] == '/'); p++) line += *p == '\n';
            if (*p) p += 2;
            continue;
        }
        if (n == room) t = realloc(t, (room *= 2) * sizeof *t);
        if (!t) die(line, "out of memory");
        token *k = &t[n++];
        *k = (token){ TOK_END, "", line };
        if (!*p) return t;
        char *begin = p;
        if (*p == '"') {
            for (p++; *p && *p != '"'; p++) line += *p == '\n';
            k->kind = TOK_STRING, k->s = keep_str(begin + 1, (size_t)(p - begin - 1));
            if (*p) p++;
        } else if (isdigit((unsigned char)*p)) {
            while (isalnum((unsigned char)*p) || *p == '.' ||
                   ((*p == '+' || *p == '-') && (p[-1] == 'e' || p[-1] == 'E') && begin[1] != 'x' && begin[1] != 'f' && begin[1] != 'd'))
                p++;
            k->kind = TOK_NUMBER, k->s = keep_str(begin, (size_t)(p - begin));
        } else if (word_char((unsigned char)*p)) {
            while (word_char((unsigned char)*p)) {
                if (*p == ':' && p[1] != ':') break; /* a label's colon; `.L2::128B` is a word */
                p += *p == ':' ? 2 : 1;
            }
            if (p == begin) p++, k->kind = TOK_PUNCT; /* ':' */
            else k->kind = TOK_WORD;
            k->s = keep_str(begin, (size_t)(p - begin));
        } else {
            k->kind = TOK_PUNCT, k->s = keep_str(p++, 1);
        }
    }
}
