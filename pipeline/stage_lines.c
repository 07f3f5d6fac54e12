/* stage_lines.c - see stage_lines.h. */
#include "pipeline/stage_lines.h"

#include <stdlib.h>
#include <string.h>

#include "io/journal.h"

const char *const stage_state_name[] = { "new", "ok", "void", "error" };

static vm_status take_line(stage_lines *l, const run_tags *tags, bool keep, const char *path, const journal_line *line,
                           int part, vm_error *e) {
    json_doc *d = json_parse_at(line->text, line->bytes, path, line->number, 0, e);
    json_value v = json_root(d);
    const char *k = json_as_str(json_need(v, "k", JSON_STRING, e), e),
               *h = json_as_str(json_need(v, "h", JSON_STRING, e), e);
    const char *st = json_as_str(json_need(v, "st", JSON_STRING, e), e);
    stage_entry x = { .part = part,
                      .more = json_bool(v, "more", false, e),
                      .t = (int)json_int(v, "t", 0, 0, 1 << 20, e) };
    for (int s = STAGE_OK; s <= STAGE_ERROR; s++)
        if (!strcmp(st, stage_state_name[s])) x.state = (stage_state)s;
    if (!e->status && x.state == STAGE_NEW)
        json_fail(json_get(v, "st"), e, "found \"%.20s\", expected ok, void or error", st);
    if (!e->status && strlen(h) != 16) json_fail(json_get(v, "h"), e, "found \"%.40s\", expected 16 digits", h);
    if (!e->status && !run_tag_counts(tags, h)) l->stale++;
    else if (!e->status) {
        memcpy(x.h, h, 17);
        int64_t known = l->key.n, i = keymap_put_text(&l->key, k);
        if (i < 0 || (i == known && !vm_grow(&l->entry, &l->cap, i + 1, sizeof *l->entry)))
            vm_nomem(e, strlen(k), path);
        else {
            if (i == known) l->entry[l->n++] = (stage_entry){ 0 };
            size_t crc = sizeof ",\"crc\":\"01234567\"}" - 1; /* how every line of a journal ends */
            if ((keep || x.more) && !(x.line = vm_asprintf("%.*s}", (int)(line->bytes - crc), line->text)))
                vm_nomem(e, line->bytes, path);
            vm_free(l->entry[i].line);
            l->entry[i] = x;
        }
    }
    json_free(d);
    return e->status;
}

static vm_status read_part(stage_lines *l, const run_tags *tags, bool keep, const char *path, int part, vm_error *e) {
    journal_reader *r;
    journal_line line;
    if (journal_reader_open(&r, path, e)) return e->status;
    int rc = 1;
    while (!e->status && (rc = journal_next(r, &line, e)) > 0) take_line(l, tags, keep, path, &line, part, e);
    journal_reader_close(r);
    return e->status;
}

static bool is_part(const char *name) {
    int i, n, end = 0;
    return sscanf(name, "part-%d-of-%d.jsonl%n", &i, &n, &end) == 2 && end && !name[end];
}

vm_status stage_lines_load(stage_lines *l, const char *run, const char *name, const run_tags *tags, bool keep,
                           vm_error *e) {
    run_tags own;
    char *dir = path_join(run, name), **names = NULL;
    int64_t n = 0;
    *l = (stage_lines){ 0 };
    if (!dir) return vm_nomem(e, strlen(run), "a path");
    if (!tags && !run_dir_tags(&own, run, name, e)) tags = &own;
    if (!e->status && file_is_dir(dir)) dir_list(&names, &n, dir, e);
    for (int64_t i = 0; i < n && !e->status; i++) {
        if (!is_part(names[i])) continue;
        char *path = path_join(dir, names[i]);
        if (!path || !vm_grow(&l->part, &l->cap_parts, l->parts + 1, sizeof *l->part))
            vm_nomem(e, strlen(dir), "a path"), vm_free(path);
        else l->part[l->parts++] = path, read_part(l, tags, keep, path, (int)l->parts - 1, e);
    }
    vm_free(names), vm_free(dir);
    if (e->status) stage_lines_free(l);
    return e->status;
}

void stage_lines_free(stage_lines *l) {
    for (int64_t i = 0; i < l->n; i++) vm_free(l->entry[i].line);
    for (int64_t i = 0; i < l->parts; i++) vm_free(l->part[i]);
    vm_free(l->entry), vm_free(l->part);
    keymap_free(&l->key);
    *l = (stage_lines){ 0 };
}

static int by_key(const void *a, const void *b, void *ctx) {
    const keymap *m = ctx;
    return strcmp(keymap_at(m, *(const int64_t *)a, NULL), keymap_at(m, *(const int64_t *)b, NULL));
}

int64_t *stage_order(const stage_lines *l, vm_error *e) {
    int64_t *order = vm_alloc((size_t)(l->n + 1) * sizeof *order);
    if (!order) return vm_nomem(e, (size_t)l->n * sizeof *order, "the order of units"), NULL;
    for (int64_t i = 0; i < l->n; i++) order[i] = i;
    qsort_r(order, (size_t)l->n, sizeof *order, by_key, (void *)&l->key);
    return order;
}

vm_status stage_records(const char *run, const char *name, stage_record_fn each, void *ctx, vm_error *e) {
    stage_lines l;
    if (stage_lines_load(&l, run, name, NULL, true, e)) return e->status;
    int64_t *order = stage_order(&l, e);
    for (int64_t i = 0; i < l.n && !e->status; i++) {
        const stage_entry *x = &l.entry[order[i]];
        if (x->state != STAGE_OK) continue;
        json_doc *d = json_parse(x->line, strlen(x->line), l.part[x->part], 0, e);
        for (json_iter it = json_each(json_get(json_root(d), "recs")); json_next(&it) && !e->status;)
            each(ctx, keymap_at(&l.key, order[i], NULL), it.value, e);
        json_free(d);
    }
    vm_free(order);
    stage_lines_free(&l);
    return e->status;
}
