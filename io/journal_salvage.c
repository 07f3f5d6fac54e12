/* journal_salvage.c - a journal that something else than a crash has damaged (journal.h). */
#include <string.h>

#include "io/file.h"
#include "io/journal.h"

/* Whole lines one after the other; false at the end or at a last line without its line feed. */
static bool next_line(const char **p, const char *end, const char **line, size_t *n) {
    const char *feed = *p < end ? memchr(*p, '\n', (size_t)(end - *p)) : NULL;
    if (!feed) return false;
    *line = *p, *n = (size_t)(feed - *p), *p = feed + 1;
    return true;
}

vm_status journal_salvage(const char *path, int64_t *lost, vm_error *e) {
    char *text = NULL, *bad = NULL;
    const char *p, *line;
    size_t bytes = 0, n;
    file_lock lock = { .fd = -1 };
    *lost = 0;
    if (!file_exists(path) || file_lock_take(&lock, path, e)) return e->status;
    if (!file_read(&text, &bytes, path, (size_t)1 << 40, e)) {
        for (p = text; next_line(&p, text + bytes, &line, &n);) *lost += p < text + bytes && !journal_line_ok(line, n); /* the last one is journal_open's */
        vm_out *o = NULL;
        if (*lost && !(bad = vm_asprintf("%s.bad", path))) vm_nomem(e, strlen(path), "a path");
        if (bad && !file_write(bad, text, bytes, e) && !vm_out_open(&o, path, e)) {
            for (p = text; next_line(&p, text + bytes, &line, &n);)
                if (journal_line_ok(line, n)) vm_out_write(o, line, n + 1, e);
            vm_out_finish(o, e);
        }
    }
    file_lock_free(&lock);
    vm_free(text), vm_free(bad);
    return e->status;
}
