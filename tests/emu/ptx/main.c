/* main.c - ptx2c FILE.ptx OUT.c [NAME]: translates; NAME is what reports call the file (default FILE.ptx). */
#include "tests/emu/ptx/ptx.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *die_path;
static const char *out_path;

void die(int line, const char *f, ...) {
    va_list a;
    va_start(a, f);
    fprintf(stderr, "%s:%d: ", die_path ? die_path : "ptx2c", line);
    vfprintf(stderr, f, a);
    fputc('\n', stderr);
    va_end(a);
    if (out_path) remove(out_path); /* no half-written translation */
    exit(1);
}

static char *slurp(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) die(0, "cannot be read");
    size_t n = 0, room = 1 << 16;
    char *s = malloc(room + 1);
    while (s) {
        n += fread(s + n, 1, room - n, f);
        if (n < room) break;
        s = realloc(s, (room *= 2) + 1);
    }
    if (!s) die(0, "out of memory");
    s[n] = 0;
    fclose(f);
    return s;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: ptx2c FILE.ptx OUT.c [NAME]\n");
        return 2;
    }
    die_path = argv[1];
    module m = { .path = argc > 3 ? argv[3] : argv[1] };
    parse(&m, lex(argv[1], slurp(argv[1])));
    m.out = fopen(argv[2], "w");
    if (!m.out) die(0, "%s cannot be written", argv[2]);
    out_path = argv[2];
    emit_module(&m);
    if (fclose(m.out)) die(0, "%s cannot be written", argv[2]);
    return 0;
}
