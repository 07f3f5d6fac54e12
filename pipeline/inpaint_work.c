/* inpaint_work.c - one edit of the stage: from its picture to the candidate that stays (inpaint_stage.h). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/log.h"
#include "kernels/philox.h"
#include "models/diffusion.h"
#include "pipeline/inpaint_stage.h"

/* A candidate and how it was made. */
typedef struct {
    vm_image im;
    uint64_t seed;
    int64_t steps;
    double guidance;
    const char *negative;
    judge_score score;
    edit_change change;
    bool black;
} candidate;

typedef struct {
    inpaint_job *j;
    const inpaint_edit *x;
    const stage_unit *u;
    vm_image im;
    inpaint_place place;
    char *prompt;
    candidate c[INPAINT_CANDIDATES];
    int n, best;
    diffusion_call call;   /* of the last call; prompt and sizes hold for all */
    diffusion_report report;
    double began;
} work;

/* --- prompts and draws -------------------------------------------------------------------------------------------------- */
char *inpaint_prompt(const inpaint_edit *x, bool caption_first, vm_error *e) {
    const char *comma = x->magic ? ", " : "", *magic = x->magic ? x->magic : "";
    size_t n = strlen(x->after);
    bool ends = n && strchr(".!?", x->after[n - 1]);
    char *p = caption_first ? vm_asprintf("%s%s %s%s%s", x->after, ends ? "" : ".", x->edited, comma, magic) : vm_asprintf("%s%s%s. %s", x->edited, comma, magic, x->after);
    if (!p) vm_nomem(e, n, "a prompt");
    return p;
}

const char *inpaint_negative(const vm_args *a) {
    return arg_given(a, "negative") ? arg_str(a, "negative")
                                    : "cropped, cut off at the border, half hidden, drawing, cartoon, computer graphics, plastic look, oversmoothed, deformed eyes, "
                                      "wrong anatomy, missing limbs, additional limbs, melted shapes, ugly, blurred, noisy, poor quality";
}

static uint64_t seed_of(const work *w, const char *what, int64_t k) {
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)k);
    return sha256_seed((uint64_t)arg_int(w->j->a, "seed"), 4, (const char *const[]){ what, w->x->image_id, w->x->id, number });
}

/* Steps and guidance from the lists that the model is drawn with, unless they are given; the negative prompt with a probability. */
static void draw_call(const work *w, int64_t call, diffusion_call *c) {
    static const double guidance[] = { 5, 6.5, 8, 9.5, 11 };
    const vm_args *a = w->j->a;
    vm_rng r = vm_rng_at(seed_of(w, "call", call), 0);
    int64_t steps = (diffusion_is_xl(w->j->paint.d) ? 20 : 35) + 5 * (int64_t)vm_rng_below(&r, diffusion_is_xl(w->j->paint.d) ? 6 : 8);
    double g = guidance[vm_rng_below(&r, VM_LEN(guidance))], p = vm_rng_f64(&r);
    c->steps = arg_given(a, "steps") ? arg_int(a, "steps") : steps;
    c->guidance = arg_given(a, "guidance") ? arg_float(a, "guidance") : g;
    c->negative = p < arg_float(a, "negative-p") ? inpaint_negative(a) : NULL;
}

/* --- candidates ----------------------------------------------------------------------------------------------------------- */
/* Nothing but black where it was repainted. */
static bool is_black(const vm_image *im, const vm_image *mask) {
    int most = 0;
    for (int64_t i = 0; i < (int64_t)im->w * im->h; i++)
        for (int k = 0; k < 3 && mask->px[i]; k++) most = VM_MAX(most, im->px[3 * i + k]);
    return most <= 2;
}

static vm_status make_call(work *w, int64_t call, vm_error *e) {
    inpaint_job *j = w->j;
    uint64_t seeds[INPAINT_CANDIDATES];
    vm_image out[INPAINT_CANDIDATES] = { { 0 } };
    edit_change change[INPAINT_CANDIDATES];
    diffusion_report r;
    diffusion_call c = paint_call(&j->paint);
    draw_call(w, call, &c);
    c.prompt = w->prompt, c.strength = arg_float(j->a, "strength"), c.n = j->each;
    c.truncate |= j->parity.prompt, c.as_published = j->parity.sampler;
    for (int64_t k = 0; k < c.n; k++) seeds[k] = (uint32_t)seed_of(w, "noise", call * j->each + k);
    if (paint_inpaint(&j->paint, &j->how, &w->im, &w->place.mask, &c, seeds, out, change, &r, e)) return e->status;
    for (int64_t k = 0; k < c.n; k++)
        w->c[w->n++] = (candidate){ .im = out[k], .seed = seeds[k], .steps = c.steps, .guidance = c.guidance, .negative = c.negative, .change = change[k],
                                    .black = is_black(&out[k], &w->place.mask), .score = { NAN, NAN, NAN, 0 } };
    w->report.dropped = r.dropped, w->report.batch = r.batch, w->report.tiled |= r.tiled, w->report.redone |= r.redone;
    c.image = &w->im;
    w->call = c;
    return VM_OK;
}

/* Scores of the last `each` candidates. */
static vm_status judge_call(work *w, vm_error *e) {
    judge *g = w->j->judge;
    vm_image im[INPAINT_CANDIDATES] = { { 0 } };
    judge_score s[INPAINT_CANDIDATES];
    int n = (int)w->j->each, first = w->n - n;
    if (!g) return VM_OK;
    for (int k = 0; k < n; k++) im[k] = w->c[first + k].im;
    const judge_task t = { w->x->before, w->x->after, w->place.box, g->where };
    if (g->kind->score(g, &t, n, im, s, e)) return e->status;
    for (int k = 0; k < n; k++) {
        if (isnan(s[k].score)) return vm_fail(e, VM_EMODEL, "the judge's scores are not finite; its weights are damaged");
        w->c[first + k].score = s[k];
    }
    return VM_OK;
}

/* The best score; of equal ones the least change outside, then the first. What is black only if all are. */
static bool better(const candidate *a, const candidate *b) {
    if (a->black != b->black) return !a->black;
    if (a->score.score != b->score.score && !isnan(a->score.score)) return a->score.score > b->score.score;
    return a->change.mean < b->change.mean;
}

static bool accepted(const work *w, const candidate *c) { return w->j->judge ? !c->black && c->score.score >= w->j->judge->accept : !c->black; }

/* Original ranking: in a shuffled order the first one that is accepted, else the last one. */
static int first_accepted(const work *w) {
    uint64_t key = seed_of(w, "order", 0);
    for (int i = 0; i < w->n; i++) {
        int k = (int)vm_shuffled(key, 0, (uint64_t)i, (uint64_t)w->n);
        if (accepted(w, &w->c[k]) || i + 1 == w->n) return k;
    }
    return 0;
}

static void rank(work *w) {
    w->best = 0;
    for (int k = 1; k < w->n; k++)
        if (better(&w->c[k], &w->c[w->best])) w->best = k;
    if (w->j->parity.ranking) w->best = first_accepted(w);
}

/* Calls until a candidate is accepted. *code: whose fault it is when one fails. */
static vm_status search(work *w, const char **code, vm_error *e) {
    *code = NULL;
    for (int64_t call = 0; call < w->j->calls; call++) {
        if (make_call(w, call, e)) return e->status;
        if (judge_call(w, e)) return *code = "judge_error", e->status;
        rank(w);
        if (!w->j->parity.ranking && accepted(w, &w->c[w->best])) break; /* the original made all calls first */
    }
    return VM_OK;
}

/* --- what is written -------------------------------------------------------------------------------------------------------- */
static void put_candidate(const work *w, const candidate *c, int index, json_writer *o) {
    json_begin_object(o, NULL);
    json_put_int(o, "index", index), json_put_int(o, "seed", (int64_t)c->seed), json_put_int(o, "steps", c->steps), json_put_num(o, "cfg", c->guidance);
    json_put_str(o, "negative", c->negative);
    if (w->j->judge) {
        json_put_num(o, "score", c->score.score), json_put_int(o, "n_questions", c->score.questions);
        json_put_num(o, "score_full", c->score.full), json_put_num(o, "score_crop", c->score.crop);
    }
    json_put_bool(o, "accepted", accepted(w, c));
    if (c->black) json_put_bool(o, "black", true);
    json_close_object(o);
}

static void put_place(const work *w, json_writer *o) {
    const inpaint_place *p = &w->place;
    json_put_str(o, "box_source", p->source);
    json_begin_array(o, "bounding_boxes");
    for (int k = 0; k < p->n; k++) {
        json_begin_array(o, NULL);
        for (int i = 0; i < 4; i++) json_put_f32(o, NULL, p->boxes[4 * k + i] / (float)(i % 2 ? w->im.h : w->im.w));
        json_close_array(o);
    }
    json_close_array(o);
    if (!strcmp(p->source, "detect")) {
        json_begin_array(o, "box_scores");
        for (int k = 0; k < p->n; k++) json_put_num(o, NULL, p->score[k]);
        json_close_array(o);
    }
    json_begin_object(o, "mask");
    json_put_str(o, "rule", p->n ? "boxes" : "file"), json_put_int(o, "grow", arg_int(w->j->a, "mask-grow")), json_put_int(o, "feather", w->j->how.feather);
    json_put_int(o, "pixels", edit_mask_count(&p->mask));
    json_close_object(o);
}

/* The record: the edit's own members, then how it was made. */
static char *record(work *w, const char *image, const char *path, vm_error *e) {
    static const char *const ours[] = { "bounding_boxes", "box_source", "box_scores", "mask", "candidates", "image", "input_image_path", "chosen", "score", "accepted", "status" };
    const candidate *c = &w->c[w->best];
    json_writer o = json_to_memory(JSON_COMPACT);
    json_begin_object(&o, NULL);
    for (json_iter it = json_each(json_root(w->x->doc)); json_next(&it);) {
        int k = 0;
        while (k < VM_LEN(ours) && strcmp(ours[k], it.key)) k++;
        if (k == VM_LEN(ours)) json_put_value(&o, it.key, it.value);
    }
    json_put_str(&o, "status", "ok"), json_put_str(&o, "image", image), json_put_str(&o, "input_image_path", path);
    put_place(w, &o);
    diffusion_call made = w->call;
    made.steps = c->steps, made.guidance = c->guidance, made.negative = c->negative;
    const paint_record how = { &made, &w->report, c->seed, NULL };
    json_begin_object(&o, "diffusion");
    paint_put(&w->j->paint, &how, &o);
    json_close_object(&o);
    json_begin_array(&o, "candidates");
    for (int k = 0; k < w->n; k++) put_candidate(w, &w->c[k], k, &o);
    json_close_array(&o);
    json_put_int(&o, "chosen", w->best);
    if (w->j->judge) json_put_num(&o, "score", c->score.score);
    json_put_bool(&o, "accepted", accepted(w, c));
    json_begin_object(&o, "outside");
    json_put_int(&o, "pixels", c->change.outside), json_put_int(&o, "changed", c->change.changed), json_put_int(&o, "most", c->change.most), json_put_num(&o, "mean", c->change.mean);
    json_close_object(&o);
    json_close_object(&o);
    return json_take(&o, NULL, e);
}

/* IMAGE_ID as a folder: what is no plain name becomes its hash. */
static char *image_name(const inpaint_edit *x, const char *ending, vm_error *e) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    char hex[65];
    bool fits = *x->image_id && x->image_id[0] != '.' && strlen(x->image_id) < 100 && strspn(x->image_id, plain) == strlen(x->image_id);
    sha256_hex(hex, x->image_id, strlen(x->image_id));
    char *s = vm_asprintf("images/%.99s/%s%s.png", fits ? x->image_id : hex, x->id, ending);
    if (!s) vm_nomem(e, 256, "a path");
    return s;
}

static vm_status make_folder(const char *path, vm_error *e) {
    char *dir = path_dir(path);
    if (!dir) return vm_nomem(e, 256, "a path");
    dir_make(dir, e);
    vm_free(dir);
    return e->status;
}

/* Configuration and input in one, beside the record in the picture's file: what a line that is lost is made of. */
static void unit_hash(const inpaint_job *j, const stage_unit *u, char h[65]) { sha256_parts(h, 2, (const char *const[]){ j->tag, u->input }); }

static vm_status put_line(const work *w, stage_state state, const char *code, const char *rec, vm_error *e) {
    char *recs = rec ? vm_asprintf("[%s]", rec) : NULL;
    const stage_line l = { .key = w->u->key, .input = w->u->input, .state = state, .code = code, .recs = recs, .t = 1, .in = -1, .out = -1, .ms = 1e3 * (run_seconds() - w->began) };
    if (rec && !recs) vm_nomem(e, strlen(rec), "a record");
    else stage_put(w->j->stage, &l, e);
    vm_free(recs);
    return e->status;
}

static vm_status save(work *w, const char *original, vm_error *e) {
    char *image = image_name(w->x, "", e), *path = image ? path_join(w->j->run, image) : NULL, *rec = image ? record(w, image, original, e) : NULL, h[65], *more = NULL;
    unit_hash(w->j, w->u, h);
    if (image && !path) vm_nomem(e, 256, "a path");
    if (rec && !(more = vm_asprintf("\"h\":\"%s\",\"record\":%s", h, rec))) vm_nomem(e, strlen(rec), "a record");
    if (!e->status && !make_folder(path, e)) {
        diffusion_call made = w->call;
        const candidate *c = &w->c[w->best];
        made.steps = c->steps, made.guidance = c->guidance, made.negative = c->negative;
        const paint_record how = { &made, &w->report, c->seed, more };
        if (!paint_save(&w->j->paint, path, &c->im, &how, e)) put_line(w, STAGE_OK, NULL, rec, e);
    }
    vm_free(image), vm_free(path), vm_free(rec), vm_free(more);
    return e->status;
}

/* What a judge could not score is not thrown away. */
static vm_status keep_candidates(work *w, vm_error *e) {
    for (int k = 0; k < w->n && !e->status; k++) {
        char ending[32];
        snprintf(ending, sizeof ending, ".candidate-%d", k);
        char *image = image_name(w->x, ending, e), *path = image ? path_join(w->j->run, image) : NULL;
        if (image && !path) vm_nomem(e, 256, "a path");
        if (path && !make_folder(path, e)) image_write_png(path, &w->c[k].im, NULL, 0, e);
        vm_free(image), vm_free(path);
    }
    return e->status;
}

/* --- one edit ------------------------------------------------------------------------------------------------------------------ */
/* The record in the file of an earlier run of the same configuration, whose line is lost; NULL = none. */
static char *adopt(work *w, vm_error *e) {
    char h[65], *image = image_name(w->x, "", e), *path = image ? path_join(w->j->run, image) : NULL, *text = NULL, *rec = NULL;
    vm_error none = { 0 };
    unit_hash(w->j, w->u, h);
    json_doc *d = NULL;
    if (path && file_exists(path) && !image_png_text(&text, path, "vismin", &none) && text && (d = json_parse(text, strlen(text), path, 0, &none)) &&
        !strcmp(json_str(json_root(d), "h", "", &none), h)) {
        vm_image whole = { 0 };
        json_writer o = json_to_memory(JSON_COMPACT);
        json_put_value(&o, NULL, json_get(json_root(d), "record"));
        rec = json_take(&o, NULL, e);
        if (image_read(&whole, path, NULL, &none)) vm_free(rec), rec = NULL; /* the pixels are damaged */
        image_free(&whole);
    }
    json_free(d);
    vm_free(text), vm_free(path), vm_free(image);
    return rec;
}

/* The end of a unit in error: said, counted, taken up again by the next run. */
static vm_status failed(work *w, const char *code, vm_error *e) {
    vm_error why = *e;
    vm_warn("%s: %s: %s", w->x->id, code, why.msg);
    vm_error_clear(e);
    if (!strcmp(code, "judge_error")) keep_candidates(w, e);
    return e->status ? e->status : put_line(w, STAGE_ERROR, code, NULL, e);
}

static const char *code_of(const vm_error *e) { return e->status == VM_EDEVICE ? "oom" : e->status == VM_EMODEL ? "not_finite" : "bad_image"; }

static vm_status run(work *w, vm_error *e) {
    const char *code = NULL;
    char *path = inpaint_picture(w->j, w->x, e);
    if (!path || image_read(&w->im, path, &(image_options){ .alpha = ALPHA_WHITE }, e)) failed(w, "bad_image", e);
    else if ((code = inpaint_ground(w->j, w->x, &w->im, &w->place, e))) {
        if (e->status) failed(w, code, e);
        else put_line(w, STAGE_VOID, code, NULL, e);
    } else {
        bool caption_first = !strcmp(arg_str(w->j->a, "prompt-order"), "caption-first");
        if ((w->prompt = inpaint_prompt(w->x, caption_first, e)) && !search(w, &code, e)) save(w, path, e);
        if (e->status && e->status != VM_EIO && e->status != VM_ESTOP && e->status != VM_EUSAGE) failed(w, code ? code : code_of(e), e);
    }
    vm_free(path);
    return e->status;
}

vm_status inpaint_work(inpaint_job *j, const inpaint_edit *x, const stage_unit *u, vm_error *e) {
    work *w = vm_calloc(1, sizeof *w);
    if (!w) return vm_nomem(e, sizeof *w, "an edit");
    w->j = j, w->x = x, w->u = u, w->began = run_seconds();
    char *rec = adopt(w, e);
    if (rec) put_line(w, STAGE_OK, NULL, rec, e);
    else if (!e->status) run(w, e);
    for (int k = 0; k < w->n; k++) image_free(&w->c[k].im);
    image_free(&w->im), image_free(&w->place.mask);
    vm_free(w->prompt), vm_free(rec);
    vm_free(w);
    return e->status;
}
