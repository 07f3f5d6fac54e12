/* text_items.c - see text_items.h. */
#include "pipeline/text_items.h"

#include <string.h>

#include "pipeline/layout_run.h"
#include "pipeline/stage_lines.h"

typedef struct {
    text_items *l;
    keymap accepted;
    bool all;
} reading;

static vm_status add_verdict(void *ctx, const char *key, json_value rec, vm_error *e) {
    reading *r = ctx;
    const char *id = json_as_str(json_need(rec, "edit_id", JSON_STRING, e), e);
    if (!e->status && !strcmp(json_str(rec, "verdict", "", e), "accept") && keymap_put_text(&r->accepted, id) < 0)
        vm_nomem(e, 64, "verdicts");
    return e->status;
}

static char *copy(json_value rec, const char *name, bool need, vm_error *e) {
    const char *s = need ? json_as_str(json_need(rec, name, JSON_STRING, e), e) : json_str(rec, name, NULL, e);
    char *c = s && !e->status ? vm_strdup(s) : NULL;
    if (s && !e->status && !c) vm_nomem(e, strlen(s), "an edit");
    return c;
}

static text_item *next(text_items *l, vm_error *e) {
    if (!vm_grow(&l->item, &l->cap, l->n + 1, sizeof *l->item))
        return vm_nomem(e, sizeof *l->item, "edits and layouts"), NULL;
    l->item[l->n] = (text_item){ 0 };
    return &l->item[l->n++];
}

static vm_status add_edit(void *ctx, const char *key, json_value rec, vm_error *e) {
    reading *r = ctx;
    const char *id = json_as_str(json_need(rec, "edit_id", JSON_STRING, e), e);
    if (e->status || (!r->all && keymap_find(&r->accepted, id, strlen(id)) < 0)) return e->status;
    text_item *x = next(r->l, e);
    if (!x) return e->status;
    x->id = copy(rec, "edit_id", true, e), x->image = copy(rec, "image_id", true, e),
    x->caption = copy(rec, "caption", true, e);
    x->edited_caption = copy(rec, "edited_caption", true, e), x->input_phrase = copy(rec, "input_phrase", true, e);
    x->edited_phrase = copy(rec, "edited_phrase", true, e), x->region = copy(rec, "edited_region_phrase", false, e),
    x->category = copy(rec, "category", true, e);
    return e->status;
}

static vm_status add_layout(void *ctx, const char *id, const layout *l, vm_error *e) {
    text_item *x = next(ctx, e);
    if (!x) return e->status;
    json_writer w = json_to_memory(JSON_COMPACT);
    layout_put_json(&w, NULL, l);
    x->id = vm_strdup(id), x->image = vm_strdup(id), x->layout = json_take(&w, NULL, e);
    return x->id && x->image ? e->status : vm_nomem(e, 64, "a layout");
}

static vm_status read_edits(text_items *l, const char *run, const vm_args *a, bool asked, vm_error *e) {
    reading r = { .l = l, .all = arg_flag(a, "unvetted") };
    run_tags made, vetted;
    if (run_dir_tags(&made, run, "instruct", e) || (!made.n && !asked)) return e->status;
    if (!run_dir_tags(&vetted, run, "vet", e) && !vetted.n && !r.all && made.n)
        return vm_fail(e, VM_EINPUT,
                       "%s: its edits have not been vetted; run `vismin vet`, or give --unvetted to take all of them",
                       run);
    if (!r.all) stage_records(run, "vet", add_verdict, &r, e);
    if (!e->status) stage_records(run, "instruct", add_edit, &r, e);
    keymap_free(&r.accepted);
    return e->status;
}

vm_status text_items_read(text_items *l, const char *run, const vm_args *a, vm_error *e) {
    const char *of = arg_str(a, "of");
    bool edits = !strcmp(of, "edits"), layouts = !strcmp(of, "layouts"), both = !strcmp(of, "both");
    if (!edits && !layouts && !both) return vm_fail(e, VM_EUSAGE, "--of %s: expected edits, layouts or both", of);
    if (edits || both) read_edits(l, run, a, edits, e);
    l->edits = l->n;
    if (!e->status && (layouts || both)) layouts_each(run, add_layout, l, e);
    if (!e->status && !l->n)
        vm_fail(e, VM_EINPUT, "%s: no %s in it; make them with `vismin instruct` and `vismin vet`, or `vismin layout`",
                run,
                both    ? "accepted edits and no layouts"
                : edits ? "accepted edits"
                        : "layouts");
    return e->status;
}

void text_items_free(text_items *l) {
    for (int64_t i = 0; i < l->n; i++) {
        text_item *x = &l->item[i];
        vm_free(x->id), vm_free(x->image), vm_free(x->caption), vm_free(x->edited_caption), vm_free(x->input_phrase),
            vm_free(x->edited_phrase);
        vm_free(x->region), vm_free(x->category), vm_free(x->layout);
    }
    vm_free(l->item);
    *l = (text_items){ 0 };
}

vm_status text_item_layout(layout *l, const text_item *x, vm_error *e) {
    char why[LAYOUT_WHY];
    json_doc *d = json_parse(x->layout, strlen(x->layout), x->id, 0, e);
    if (d && !layout_from_json(l, json_root(d), why)) vm_fail(e, VM_EINPUT, "layout %s: %s", x->id, why);
    json_free(d);
    return e->status;
}
