/* inpaint_stage.c - see inpaint_stage.h: the run over all edits. */
#include "pipeline/inpaint_stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/journal.h"
#include "io/log.h"
#include "io/progress.h"
#include "pipeline/stage_lines.h"

/* --- options ---------------------------------------------------------------------------------------------------------------- */
static vm_status read_parity(inpaint_parity *p, const vm_args *a, vm_error *e) {
    const struct { const char *name; bool *on; } known[] = { { "boxes", &p->boxes }, { "geometry", &p->geometry }, { "composite", &p->composite },
                                                             { "prompt", &p->prompt }, { "ranking", &p->ranking }, { "sampler", &p->sampler } };
    const char *const *given;
    for (int i = 0, n = arg_list(a, "parity", &given); i < n; i++) {
        bool all = !strcmp(given[i], "all"), found = all;
        for (int k = 0; k < VM_LEN(known); k++)
            if (all || !strcmp(known[k].name, given[i])) *known[k].on = found = true;
        if (!found) return vm_fail(e, VM_EUSAGE, "--parity %s: known are boxes, geometry, composite, prompt, ranking, sampler, all", given[i]);
    }
    return VM_OK;
}

static vm_status check(const vm_args *a, inpaint_job *j, vm_error *e) {
    const char *order = arg_str(a, "prompt-order");
    static const char *const single[] = { "image", "mask", "prompt", "out", "preview" };
    for (int k = 0; k < VM_LEN(single); k++)
        if (arg_given(a, single[k])) return vm_fail(e, VM_EUSAGE, "inpaint: --%s is for one picture, and a run directory is given", single[k]);
    if (strcmp(order, "phrase-first") && strcmp(order, "caption-first")) return vm_fail(e, VM_EUSAGE, "--prompt-order %s: phrase-first or caption-first", order);
    j->calls = arg_int(a, "calls"), j->each = arg_int(a, "candidates");
    if (j->calls * j->each > INPAINT_CANDIDATES) return vm_fail(e, VM_EUSAGE, "%lld calls of %lld candidates: at most %d together", (long long)j->calls, (long long)j->each, INPAINT_CANDIDATES);
    return read_parity(&j->parity, a, e);
}

static vm_status open_places(inpaint_job *j, vm_error *e) {
    const char *const *list;
    media_places p = { .allow_absolute = arg_flag(j->a, "allow-absolute") };
    p.n_map = arg_list(j->a, "map", &list), p.map = list;
    p.n_roots = arg_list(j->a, "images", &list), p.roots = list;
    return media_open(&j->places, &p, j->run, e);
}

/* The original way: stretched to 1024 x 1024 first, drawn at the model's size. */
static vm_status open_models(inpaint_job *j, vm_error *e) {
    const char *dir = arg_str(j->a, "detector");
    if (paint_open(&j->paint, "inpaint", j->a, e) || paint_edit_read(&j->how, &j->paint, e)) return e->status;
    j->paint.quiet = true;
    if (j->parity.geometry) j->how.fit = EDIT_STRETCH, j->how.twice = 1024, j->how.only_masked = -1;
    if (j->parity.composite) j->how.composite = false;
    if (judge_open(&j->judge, j->a, e) || !dir) return e->status;
    vm_backend *be = run_backend(j->a, e);
    if (!be || !(dir = arg_model(j->a, dir, e)) || detector_open(&j->detector, be, j->paint.dtype, dir, e)) return e->status;
    if (detector_unused(j->detector)) vm_warn("%s", detector_unused(j->detector));
    if (!(j->detector_dir = vm_strdup(dir))) vm_nomem(e, 256, "a path");
    return e->status;
}

/* Everything that results depend on. */
static char *config_of(const inpaint_job *j, vm_error *e) {
    const vm_args *a = j->a;
    static const char *const texts[] = { "vae", "adapter", "rng", "prompt-order", "fit", "composite", "masks" };
    static const char *const ints[] = { "size", "only-masked", "mask-grow", "feather", "seed", "calls", "candidates", "max-boxes", "vae-tile" };
    static const char *const nums[] = { "rescale", "strength", "negative-p", "box-threshold", "text-threshold", "nms", "min-box-area", "max-box-area" };
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_put_str(&w, "model", *j->paint.hash ? j->paint.hash : j->paint.dir);
    json_put_str(&w, "sampler", sampler_name(diffusion_sampler(j->paint.d))), json_put_str(&w, "dtype", vm_type_name(j->paint.dtype));
    for (int k = 0; k < VM_LEN(texts); k++) json_put_str(&w, texts[k], arg_str(a, texts[k]));
    for (int k = 0; k < VM_LEN(ints); k++) json_put_int(&w, ints[k], arg_int(a, ints[k]));
    for (int k = 0; k < VM_LEN(nums); k++) json_put_num(&w, nums[k], arg_float(a, nums[k]));
    json_put_int(&w, "steps", arg_given(a, "steps") ? arg_int(a, "steps") : 0), json_put_num(&w, "guidance", arg_given(a, "guidance") ? arg_float(a, "guidance") : 0);
    json_put_str(&w, "negative", inpaint_negative(a)), json_put_bool(&w, "truncate", arg_flag(a, "truncate"));
    json_put_str(&w, "detector", j->detector_dir);
    json_put_str(&w, "judge", j->judge ? j->judge->kind->name : "none");
    if (j->judge) json_put_str(&w, "judge_model", j->judge->kind->model(j->judge)), json_put_int(&w, "judge_on", j->judge->where), json_put_num(&w, "accept", j->judge->accept);
    const inpaint_parity *p = &j->parity;
    json_put_int(&w, "parity", p->boxes | p->geometry << 1 | p->composite << 2 | p->prompt << 3 | p->ranking << 4 | p->sampler << 5);
    json_close_object(&w);
    return json_take(&w, NULL, e);
}

/* --- pictures ---------------------------------------------------------------------------------------------------------------- */
char *inpaint_picture(const inpaint_job *j, const inpaint_edit *x, vm_error *e) {
    char name[64];
    size_t digits = strspn(x->image_id, "0123456789");
    vm_error none = { 0 };
    if (x->file) return media_find(&j->places, NULL, x->file, e);
    if (digits && digits <= 12 && !x->image_id[digits]) { /* as COCO names its pictures */
        snprintf(name, sizeof name, "%012lld.jpg", atoll(x->image_id));
        char *found = media_find(&j->places, "train2017:val2017", name, &none);
        if (found) return found;
    }
    char *with = vm_asprintf("%s.jpg", x->image_id), *found = with ? media_find(&j->places, NULL, with, e) : NULL;
    if (!with) vm_nomem(e, 64, "a path");
    vm_free(with);
    return found;
}

/* --- dry run ------------------------------------------------------------------------------------------------------------------- */
static vm_status print_unit(const inpaint_job *j, const inpaint_edit *x, const stage_lines *past, vm_error *e) {
    int64_t i = keymap_find(&past->key, x->id, strlen(x->id));
    vm_error none = { 0 };
    char *prompt = inpaint_prompt(x, !strcmp(arg_str(j->a, "prompt-order"), "caption-first"), e), *path = inpaint_picture(j, x, &none);
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_put_str(&w, "edit_id", x->id), json_put_str(&w, "image_id", x->image_id), json_put_str(&w, "image", path);
    json_put_str(&w, "look_for", x->input), json_put_str(&w, "prompt", prompt);
    json_put_str(&w, "state", stage_state_name[i < 0 ? STAGE_NEW : past->entry[i].state]);
    json_close_object(&w);
    char *line = json_take(&w, NULL, e);
    if (line) printf("%s\n", line);
    vm_free(line), vm_free(path), vm_free(prompt);
    return e->status;
}

static vm_status dry_run(const inpaint_job *j, const inpaint_edits *l, vm_error *e) {
    stage_lines past = { 0 };
    if (stage_lines_load(&past, j->run, "inpaint", NULL, false, e)) return e->status;
    for (int64_t i = 0; i < l->n && !e->status; i++) print_unit(j, &l->e[i], &past, e);
    stage_lines_free(&past);
    return e->status;
}

/* --- the run --------------------------------------------------------------------------------------------------------------------- */
/* Lines that something else than a crash has damaged: the records stand in the pictures' files too. Without locks the journals
 * that others write cannot be told, and all are left alone: a damaged one stops its run. */
static vm_status mend_journals(const inpaint_job *j, vm_error *e) {
    if (arg_flag(j->a, "no-lock")) return VM_OK;
    char *dir = path_join(j->run, "inpaint"), **names = NULL;
    int64_t n = 0;
    if (!dir) return vm_nomem(e, 256, "a path");
    if (file_is_dir(dir)) dir_list(&names, &n, dir, e);
    for (int64_t i = 0; i < n && !e->status; i++) {
        size_t len = strlen(names[i]);
        int64_t lost = 0;
        vm_error busy = { 0 };
        if (strncmp(names[i], "part-", 5) || len < 6 || strcmp(names[i] + len - 6, ".jsonl")) continue;
        char *path = path_join(dir, names[i]);
        if (!path) vm_nomem(e, 256, "a path");
        else if (journal_salvage(path, &lost, &busy) && busy.status != VM_ELOCKED) *e = busy;
        if (lost) vm_warn("%s: %lld damaged lines; the file as it was is %s.bad, their edits are taken up again", path, (long long)lost, path);
        vm_free(path);
    }
    vm_free(names), vm_free(dir);
    return e->status;
}

static bool wanted(const inpaint_job *j, const stage_unit *u) {
    stage_past p = stage_find(j->stage, u);
    return p.state == STAGE_NEW || p.state == STAGE_ERROR || (p.state == STAGE_VOID && arg_flag(j->a, "retry-failed"));
}

/* Of one part. */
static vm_status work_all(void *ctx, stage *s, tally *counts, vm_error *e) {
    inpaint_job *j = ctx;
    const inpaint_edits *l = &j->edits;
    j->stage = s;
    int64_t todo = 0, done = 0, limit = arg_int(j->a, "limit");
    progress *bar = NULL;
    for (int pass = 0; pass < 2 && !e->status; pass++) { /* counted first */
        if (pass) bar = progress_start("inpaint", limit ? VM_MIN(limit, todo) : todo, "edits");
        for (int64_t i = 0; i < l->n && !e->status; i++) {
            const stage_unit u = { .key = l->e[i].id, .shard = l->e[i].image_id, .input = l->e[i].about };
            if (!stage_mine(j->stage, u.shard) || !wanted(j, &u)) continue;
            if (!pass) {
                todo++;
                continue;
            }
            if (limit && done == limit) break;
            if (run_stopping()) vm_fail(e, VM_ESTOP, "stopped after %lld edits; the same command goes on", (long long)done);
            else if (!stage_room(j->stage, 16 << 20, e) && !inpaint_work(j, &l->e[i], &u, e)) progress_add(bar, 1), done++;
        }
    }
    progress_end(bar);
    return e->status;
}

static vm_status run_stage(inpaint_job *j, vm_error *e) {
    if (open_models(j, e) || mend_journals(j, e)) return e->status;
    char *config = config_of(j, e);
    vm_status st = e->status;
    stage *s = NULL;
    if (config) sha256_hex(j->tag, config, strlen(config));
    if (config && !arg_int(j->a, "limit")) st = stage_parts("inpaint", j->run, config, j->a, work_all, j, e);
    else if (config && !stage_open(&s, "inpaint", j->run, config, j->a, e)) { /* some of the part: it is not finished */
        work_all(j, s, &(tally){ 0 }, e);
        stage_close(s, false, NULL, e);
    }
    vm_free(config);
    return e->status ? e->status : st;
}

vm_status inpaint_run(const vm_args *a, vm_error *e) {
    inpaint_job j = { .a = a, .run = arg_pos(a, 0) };
    vm_status st = VM_OK;
    if (!check(a, &j, e) && !open_places(&j, e) && !inpaint_edits_read(&j.edits, j.run, a, e)) st = arg_flag(a, "dry-run") ? dry_run(&j, &j.edits, e) : run_stage(&j, e);
    inpaint_edits_free(&j.edits);
    media_close(&j.places);
    judge_close(j.judge);
    detector_free(j.detector);
    paint_close(&j.paint);
    vm_free(j.detector_dir);
    return e->status ? e->status : st;
}
