/* csv.c - see csv.h. */
#include "io/csv.h"

#include "io/utf8.h"

struct csv_reader {
    file_map map; /* all-zero for text in memory */
    char *name;
    const char *p, *end;
    char delimiter;
    int64_t line, columns;
    char **names; /* of the columns; NULL without header */
    char *text;   /* the current row's fields, unquoted, one after the other */
    int64_t *at;  /* where each begins in text */
    const char **field;
    int64_t text_len, text_cap, at_cap;
};

/* Passes over one line end at p, if there is one. */
static bool line_end(csv_reader *r) {
    if (r->p == r->end || (*r->p != '\n' && *r->p != '\r')) return false;
    if (*r->p == '\r' && r->p + 1 < r->end && r->p[1] == '\n') r->p++;
    r->p++, r->line++;
    return true;
}

static const char no_memory[] = "a row for which there is no memory";

static int bad_row(csv_reader *r, int64_t line, vm_error *e, const char *what) {
    vm_fail(e, what == no_memory ? VM_EDEVICE : VM_EINPUT, "%s:%lld: %s", r->name, (long long)line, what);
    while (r->p < r->end && !line_end(r)) r->p++;
    return -1;
}

/* Takes the field at p without its quotes to the end of r->text; r->p then stands behind it. What is wrong, or NULL. */
static const char *take_field(csv_reader *r) {
    bool quoted = r->p < r->end && *r->p == '"';
    const char *from = r->p += quoted, *end;
    if (quoted) {
        for (end = from; (end = memchr(end, '"', (size_t)(r->end - end))); end += 2)
            if (end + 1 == r->end || end[1] != '"') break;
        if (!end) {
            r->p = r->end;
            return "the quote that opens a field is never closed";
        }
        r->p = end + 1;
        for (const char *q = from; q < end; q++) r->line += *q == '\n' || (*q == '\r' && q[1] != '\n');
        if (r->p < r->end && *r->p != r->delimiter && *r->p != '\n' && *r->p != '\r')
            return "text follows the quote that closes a field; double the quotes inside fields";
    } else {
        while (r->p < r->end && *r->p != r->delimiter && *r->p != '\n' && *r->p != '\r') r->p++;
        end = r->p;
    }
    size_t len = (size_t)(end - from);
    if (memchr(from, 0, len)) return "a field holds a NUL byte";
    if (utf8_bad(from, len) < len) return "a field is not UTF-8; save the file in UTF-8";
    if (!vm_grow(&r->text, &r->text_cap, r->text_len + (int64_t)len + 1, 1)) return no_memory;
    char *o = r->text + r->text_len;
    for (; from < end; from++) {
        *o++ = *from;
        from += quoted && *from == '"';
    }
    *o++ = 0;
    r->text_len = o - r->text;
    return NULL;
}

int csv_next(csv_reader *r, csv_row *row, vm_error *e) {
    while (line_end(r)) {}
    if (r->p == r->end) return 0;
    int64_t n = 0, line = r->line;
    r->text_len = 0;
    for (bool more = true; more; n++) {
        bool room = vm_grow(&r->at, &r->at_cap, n + 1, sizeof *r->at);
        if (room) r->at[n] = r->text_len;
        const char *wrong = room ? take_field(r) : no_memory;
        if (wrong) return bad_row(r, line, e, wrong);
        more = r->p < r->end && *r->p == r->delimiter;
        r->p += more;
    }
    line_end(r);
    if (!r->columns) r->columns = n;
    if (n != r->columns) {
        vm_fail(e, VM_EINPUT, "%s:%lld: %lld fields, expected %lld as in the first row", r->name, (long long)line,
                (long long)n, (long long)r->columns);
        return -1;
    }
    if (!r->field && !(r->field = vm_alloc((size_t)n * sizeof *r->field))) return bad_row(r, line, e, no_memory);
    for (int64_t i = 0; i < n; i++) r->field[i] = r->text + r->at[i]; /* only now does the text stay where it is */
    *row = (csv_row){ .field = r->field, .n = n, .line = line };
    return 1;
}

static vm_status start(csv_reader *r, const char *text, size_t bytes, const char *name, char delimiter, int flags,
                       vm_error *e) {
    if (!(r->name = vm_strdup(name))) return vm_nomem(e, strlen(name), "a file name");
    if (bytes >= 2 && (!memcmp(text, "\xff\xfe", 2) || !memcmp(text, "\xfe\xff", 2)))
        return vm_fail(e, VM_EINPUT, "%s: is UTF-16; save it in UTF-8", name);
    r->p = text, r->end = text + bytes, r->line = 1;
    if (bytes >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) r->p += 3;
    size_t first = 0;
    while (r->p + first < r->end && r->p[first] != '\n' && r->p[first] != '\r') first++;
    char seen = ',';
    if (!memchr(r->p, ',', first)) seen = memchr(r->p, '\t', first) ? '\t' : memchr(r->p, ';', first) ? ';' : ',';
    r->delimiter = delimiter ? delimiter : seen;
    if (!(flags & CSV_HEADER)) return VM_OK;
    csv_row row;
    vm_error mine = { 0 };
    int rc = csv_next(r, &row, &mine);
    if (rc < 0) return vm_fail(e, mine.status, "%s", mine.msg);
    if (!rc) return vm_fail(e, VM_EINPUT, "%s: is empty; expected a row with the names of the columns", name);
    if (!(r->names = vm_calloc((size_t)row.n, sizeof *r->names))) return vm_nomem(e, (size_t)row.n, name);
    for (int64_t i = 0; i < row.n; i++)
        if (!(r->names[i] = vm_strdup(row.field[i]))) return vm_nomem(e, strlen(row.field[i]), name);
    return VM_OK;
}

vm_status csv_open_text(csv_reader **out, const char *text, size_t bytes, const char *name, char delimiter, int flags,
                        vm_error *e) {
    *out = NULL;
    csv_reader *r = vm_calloc(1, sizeof *r);
    if (!r) return vm_nomem(e, sizeof *r, name);
    vm_status st = start(r, text, bytes, name, delimiter, flags, e);
    if (st) csv_close(r);
    else *out = r;
    return st;
}

vm_status csv_open(csv_reader **out, const char *path, char delimiter, int flags, vm_error *e) {
    *out = NULL;
    file_map m;
    vm_status st = file_map_open(&m, path, e);
    if (st) return st;
    st = csv_open_text(out, (const char *)m.data, m.bytes, path, delimiter, flags, e);
    if (st) file_map_close(&m);
    else (*out)->map = m;
    return st;
}

void csv_close(csv_reader *r) {
    if (!r) return;
    for (int64_t i = 0; r->names && i < r->columns; i++) vm_free(r->names[i]);
    vm_free(r->names), vm_free(r->field), vm_free(r->at), vm_free(r->text), vm_free(r->name);
    file_map_close(&r->map);
    vm_free(r);
}

int64_t csv_columns(const csv_reader *r) { return r->columns; }

const char *csv_column_name(const csv_reader *r, int64_t i) {
    return r->names && i >= 0 && i < r->columns ? r->names[i] : NULL;
}

int64_t csv_column(const csv_reader *r, const char *name) {
    for (int64_t i = 0; r->names && i < r->columns; i++)
        if (!strcmp(r->names[i], name)) return i;
    return -1;
}

int64_t csv_need_column(const csv_reader *r, const char *name, vm_error *e) {
    int64_t i = csv_column(r, name);
    if (i >= 0) return i;
    char list[400] = "";
    for (size_t k = 0, n = 0; r->names && k < (size_t)r->columns && n < sizeof list - 1; k++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", k ? ", " : "", r->names[k]);
    vm_fail(e, VM_EINPUT, "%s: has no column \"%s\"; its columns are: %s", r->name, name, list);
    return -1;
}

vm_status csv_write_row(vm_out *o, char delimiter, const char *const *field, int64_t n, vm_error *e) {
    char special[] = { '"', '\n', '\r', delimiter, 0 };
    vm_status st = VM_OK;
    for (int64_t i = 0; i < n && !st; i++) {
        const char *s = field[i] ? field[i] : "";
        if (i) st = vm_out_write(o, &delimiter, 1, e);
        bool quotes = strpbrk(s, special) || (n == 1 && !*s); /* an empty line would be no row */
        if (quotes && !st) st = vm_out_text(o, "\"", e);
        for (const char *q; quotes && !st && (q = strchr(s, '"')); s = q + 1) {
            st = vm_out_write(o, s, (size_t)(q + 1 - s), e);
            if (!st) st = vm_out_text(o, "\"", e);
        }
        if (!st) st = vm_out_text(o, s, e);
        if (quotes && !st) st = vm_out_text(o, "\"", e);
    }
    return st ? st : vm_out_text(o, "\n", e);
}
