/* json_lines.c - see json_lines.h. */
#include "io/json_lines.h"

#include <string.h>

struct json_lines {
    file_map map; /* all-zero for text in memory */
    char *name;
    const char *p, *end;
    int64_t line; /* where p stands */
    bool cut;
    int flags;
};

vm_status json_lines_open_text(json_lines **out, const char *text, size_t bytes, const char *name, int flags,
                               vm_error *e) {
    json_lines *r = vm_calloc(1, sizeof *r);
    *out = NULL;
    if (!r || !(r->name = vm_strdup(name))) {
        vm_free(r);
        return vm_nomem(e, sizeof *r, name);
    }
    r->p = text, r->end = text + bytes, r->line = 1, r->flags = flags;
    *out = r;
    return VM_OK;
}

vm_status json_lines_open(json_lines **out, const char *path, int flags, vm_error *e) {
    file_map m;
    *out = NULL;
    vm_status st = file_map_open(&m, path, e);
    if (st) return st;
    st = json_lines_open_text(out, (const char *)m.data, m.bytes, path, flags, e);
    if (st) file_map_close(&m);
    else (*out)->map = m;
    return st;
}

void json_lines_close(json_lines *r) {
    if (!r) return;
    file_map_close(&r->map);
    vm_free(r->name);
    vm_free(r);
}

int json_lines_next(json_lines *r, json_doc **d, vm_error *e) {
    *d = NULL;
    while (r->p < r->end) {
        const char *from = r->p, *feed = memchr(from, '\n', (size_t)(r->end - from)), *to = feed ? feed : r->end;
        int64_t line = r->line;
        r->p = feed ? feed + 1 : r->end, r->line += feed != NULL, r->cut = !feed;
        bool blank = true;
        for (const char *q = from; q < to && blank; q++) blank = *q == ' ' || *q == '\t' || *q == '\r';
        if (blank) continue;
        *d = json_parse_at(from, (size_t)(to - from), r->name, line, r->flags, e);
        return *d ? 1 : -1;
    }
    return 0;
}

bool json_lines_cut(const json_lines *r) { return r->cut; }
