/* export.c - `vismin export` and `vismin import`: a stage as the file of the original project, or its records as JSON
 * lines. */
#include "pipeline/export.h"

#include <string.h>

#include "io/hash.h"
#include "io/log.h"
#include "pipeline/run.h"

static const export_layout *const layouts[] = { &export_instruct, &export_vet, &export_layouts,
                                                &export_magic,    &export_ask, &export_inpaint };

static const export_layout *find_layout(const char *name, vm_error *e) {
    char known[200] = "";
    for (int k = 0; k < VM_LEN(layouts); k++) {
        if (!strcmp(layouts[k]->stage, name)) return layouts[k];
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", k ? ", " : "", layouts[k]->stage);
    }
    vm_fail(e, VM_EUSAGE, "stage %s has no published layout; there are: %s", name, known);
    return NULL;
}

/* --- levels ------------------------------------------------------------------------------------------------------- */
static void close_inner(export_nest *n, json_writer *w) {
    if (n->inner) n->list ? json_close_array(w) : json_close_object(w);
    vm_free(n->inner);
    n->inner = NULL;
}

void export_end(export_nest *n, json_writer *w) {
    close_inner(n, w);
    if (n->outer) json_close_object(w);
    vm_free(n->outer);
    n->outer = NULL;
}

vm_status export_level(export_nest *n, json_writer *w, const char *outer, const char *inner, vm_error *e) {
    if (n->outer && strcmp(n->outer, outer)) export_end(n, w);
    if (!n->outer) {
        if (!(n->outer = vm_strdup(outer))) return vm_nomem(e, strlen(outer), "a name");
        json_begin_object(w, outer);
    }
    if (!inner) return VM_OK;
    if (n->inner && strcmp(n->inner, inner)) close_inner(n, w);
    if (!n->inner) {
        if (!(n->inner = vm_strdup(inner))) return vm_nomem(e, strlen(inner), "a name");
        if (n->list) json_begin_array(w, inner);
        else json_begin_object(w, inner);
    }
    return VM_OK;
}

/* --- export ------------------------------------------------------------------------------------------------------- */
static vm_status put_line(void *ctx, const char *key, json_value rec, vm_error *e) {
    json_writer *w = ctx;
    json_put_value(w, NULL, rec);
    json_newline(w);
    return VM_OK;
}

static vm_status run_export(const vm_args *a, vm_error *e) {
    const char *run = arg_pos(a, 0), *name = arg_pos(a, 1), *format = arg_str(a, "format"), *out = arg_str(a, "out");
    bool lines = !strcmp(format, "jsonl");
    run_tags tags;
    vm_out *o = NULL;
    if (!lines && strcmp(format, "original"))
        return vm_fail(e, VM_EUSAGE, "--format %s: expected original or jsonl", format);
    const export_layout *l = lines ? NULL : find_layout(name, e);
    if (e->status || run_dir_tags(&tags, run, name, e)) return e->status;
    if (!tags.n) return vm_fail(e, VM_EINPUT, "%s: the stage %s has not run here", run, name);
    if (l && l->folder && !strcmp(out, "-"))
        return vm_fail(e, VM_EUSAGE, "export %s: --out DIR is needed, its layout is a folder", name);
    if (l && l->folder) return l->folder(run, out, e);
    if (vm_out_open(&o, out, e)) return e->status;
    json_writer w = json_to_out(o, lines ? JSON_COMPACT : JSON_PRETTY);
    if (lines) stage_records(run, name, put_line, &w, e);
    else l->write(&w, run, e);
    json_end(&w, e);
    vm_out_finish(o, e);
    return e->status;
}

static const vm_opt export_opts[] = {
    { "format", OPT_STR, "original", "NAME",
      "original (the published layout) or jsonl (the stage's records, one a line)", 0, 0 },
    { "out", OPT_STR, "-", "FILE", "where it goes, of inpaint a folder; - is stdout", 0, 0 },
    { 0 },
};

const vm_command cmd_export = {
    .name = "export",
    .summary = "what a stage has made, in the published layout or as JSON lines",
    .usage = "RUN STAGE [--format original|jsonl] [--out FILE]",
    .about = "  vismin export run instruct --out llm_edits.json          {image_id: {caption: [edits]}}\n"
             "  vismin export run vet --out filtered.json                {image_id: {edit_id: {\"reject\", "
             "\"output\"}}}\n"
             "  vismin export run layout --out llm_layout.json           {id: {\"prompt\", \"bounding_boxes\", "
             "\"background_prompt\", ...}}\n"
             "  vismin export run magic --out magic_prompt.json          {image_id: {edit_id: [texts]}}\n"
             "  vismin export run ask --out qa_annotations.json          {image_id: {edit_id: "
             "{\"generated_questions_full_caption\", ...}}}\n"
             "  vismin export run inpaint --out coco_sdxl_edited_train/  IMAGE_ID/EDIT_ID.png, "
             "IMAGE_ID/annotations.json\n"
             "  vismin export run instruct --format jsonl | head",
    .opts = export_opts,
    .min_pos = 2,
    .max_pos = 2,
    .run = run_export,
};

/* --- import ------------------------------------------------------------------------------------------------------- */
static vm_status run_import(const vm_args *a, vm_error *e) {
    const char *run = arg_pos(a, 0), *file = arg_pos(a, 2);
    const export_layout *l = find_layout(arg_pos(a, 1), e);
    char hex[65], config[128];
    stage *s = NULL;
    if (!l || sha256_file(hex, file, e)) return e->status;
    if (!l->read) return vm_fail(e, VM_EUSAGE, "stage %s cannot be read back from its published layout", l->stage);
    json_doc *d = json_open(file, e);
    vm_status st = VM_OK;
    snprintf(config, sizeof config, "{\"imported\":\"%s\"}", hex);
    if (d && !stage_open(&s, l->stage, run, config, a, e)) {
        l->read(s, json_root(d), e);
        st = stage_close(s, !e->status, NULL, e);
    }
    json_free(d);
    return e->status ? e->status : st;
}

static const vm_opt import_opts[] = { STAGE_OPTS, { 0 } };

const vm_command cmd_import = {
    .name = "import",
    .summary = "a file of the published layout becomes a stage of a run directory",
    .usage = "RUN STAGE FILE",
    .about = "Ids of the file are kept. The stages behind it go on from there.\n\n"
             "  vismin import run instruct edit_suggestion_train2017.json",
    .opts = import_opts,
    .min_pos = 3,
    .max_pos = 3,
    .run = run_import,
};
