/* layout_run.c - see layout_run.h. */
#include "pipeline/layout_run.h"

#include <string.h>

#include "io/hash.h"
#include "pipeline/stage_lines.h"

vm_status layout_id(char id[17], const layout *l, vm_error *e) {
    char hex[65];
    size_t n;
    json_writer w = json_to_memory(JSON_COMPACT);
    layout_put_json(&w, NULL, l);
    char *text = json_take(&w, &n, e);
    if (!text) return e->status;
    sha256_hex(hex, text, n);
    memcpy(id, hex, 16);
    id[16] = 0;
    vm_free(text);
    return VM_OK;
}

vm_status layout_put_record(json_writer *w, const layout *l, const char *from, vm_error *e) {
    char id[17];
    if (layout_id(id, l, e)) return e->status;
    json_begin_object(w, NULL);
    json_put_str(w, "layout_id", id);
    if (from) json_put_str(w, "from", from);
    layout_put_members(w, l);
    json_close_object(w);
    return VM_OK;
}

typedef struct {
    layout_fn each;
    void *ctx;
    layout_seen *seen;
    layout_rules rules;
    const stage *shard; /* its units only; NULL = all */
} reading;

static vm_status record(void *ctx, const char *key, json_value rec, vm_error *e) {
    reading *r = ctx;
    layout l;
    char why[LAYOUT_WHY];
    if (r->shard && !stage_mine(r->shard, key)) return VM_OK;
    if (!layout_from_json(&l, rec, why)) return vm_fail(e, VM_EINPUT, "layout %s: %s", key, why);
    if (layout_seen_add(r->seen, &l, &r->rules, why, e) || e->status) return e->status;
    return r->each(r->ctx, json_str(rec, "layout_id", "", e), &l, e);
}

/* L13 as it was configured. */
static vm_status rules_of(layout_rules *r, const char *run, vm_error *e) {
    *r = layout_rules_default;
    char *config = run_dir_config(run, "layout", e);
    if (!config) return e->status;
    json_doc *d = json_parse(config, strlen(config), "manifest.json", 0, e);
    if (d) layout_rules_read(r, json_get(json_root(d), "rules"), e);
    json_free(d);
    vm_free(config);
    return e->status;
}

static vm_status read_all(reading *r, const char *run, vm_error *e) {
    if (!rules_of(&r->rules, run, e) && !layout_seen_new(&r->seen, e)) stage_records(run, "layout", record, r, e);
    layout_seen_free(r->seen);
    return e->status;
}

vm_status layouts_each(const char *run, layout_fn each, void *ctx, vm_error *e) {
    return read_all(&(reading){ .each = each, .ctx = ctx }, run, e);
}

typedef struct {
    const char *kind;
    int64_t n;
} counter;

static vm_status count(void *ctx, const char *id, const layout *l, vm_error *e) {
    counter *c = ctx;
    c->n += !strncmp(l->category, c->kind, strlen(c->kind));
    return VM_OK;
}

vm_status layouts_count(const char *run, const char *kind, const stage *s, int64_t *n, vm_error *e) {
    counter c = { kind, 0 };
    read_all(&(reading){ .each = count, .ctx = &c, .shard = s }, run, e);
    *n = c.n;
    return e->status;
}
