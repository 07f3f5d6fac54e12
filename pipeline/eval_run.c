/* eval_run.c - see eval_run.h. The journal:
 *   {"run":{"schema":1,"dataset":...,"model":...,"weights_sha256":...},"crc":...}    the first line
 *   {"id","split","tag","judged_with","key","captions","images","boxes","gold",
 *    "scores":{"c0_i0",...} or [...],"truncated",METRIC...,"crc"}                    one line per item
 * key: the first 16 digits of the SHA-256 over split, id, kind, right option, captions and contents of the pictures.
 * pipeline/eval_read.c reads it, too. */
#include "pipeline/eval_run.h"

#include <inttypes.h>
#include <string.h>

#include "io/hash.h"
#include "io/journal.h"
#include "io/json.h"
#include "io/log.h"
#include "io/progress.h"
#include "pipeline/eval_files.h"
#include "pipeline/eval_vectors.h"
#include "pipeline/run.h"

enum { KEY = 17 };

/* What the journal has of an item; the scores stand in the result. */
typedef struct {
    char key[KEY]; /* "" = nothing */
    bool truncated;
} known;

typedef struct {
    const eval_set *set;
    const eval_model *m;
    const eval_options *o;
    eval_result *r;
    eval_vectors *v;
    const char *template;
    journal *j;
    known *known;
    bool *given; /* EVAL_GIVEN: items that the file has scores of; NULL for other models */
    progress *bar;
} run;

/* --- the journal -------------------------------------------------------------------------------------------------- */
/* The identity of a run; scores of another one never mix with these. */
static char *identity(const run *x, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_begin_object(&w, "run");
    json_put_int(&w, "schema", 1);
    json_put_str(&w, "version", VM_VERSION);
    json_put_str(&w, "dataset", x->set->name);
    json_put_str(&w, "model", x->m->name);
    json_put_str(&w, "weights_sha256", x->m->weights_sha256[0] ? x->m->weights_sha256 : NULL);
    json_put_str(&w, "activation", x->m->activation);
    json_put_str(&w, "precision", x->m->precision);
    if (x->m->head) json_put_str(&w, "head", x->m->head);
    json_put_int(&w, "seed", x->m->kind == EVAL_RANDOM ? (int64_t)x->m->seed : 0);
    json_put_str(&w, "metric", x->r->rule->name);
    json_put_str(&w, "ties", tie_rule_name[x->r->ties]);
    json_put_str(&w, "template", x->template);
    json_put_f32(&w, "temperature", x->r->temperature);
    json_put_bool(&w, "allow_truncated", x->o->allow_truncated);
    json_put_bool(&w, "exif_rotate", x->o->exif_rotate);
    json_put_str(&w, "alpha", image_alpha_name[x->o->alpha]);
    json_put_int(&w, "max_pixels", x->o->max_pixels);
    json_close_object(&w);
    json_close_object(&w);
    return json_take(&w, NULL, e);
}

/* A line as json_writer made it, without its crc: "}" in place of ',"crc":"01234567"}'. */
static bool same_line(const journal_line *line, const char *text) {
    size_t n = strlen(text) - 1;
    return line->bytes > n && !memcmp(line->text, text, n) && !strncmp(line->text + n, ",\"crc\":", 7);
}

static void remember(run *x, json_value line) {
    vm_error ignored = { 0 };
    known k = { .truncated = json_bool(line, "truncated", false, &ignored) };
    const char *id = json_str(line, "id", NULL, &ignored), *split = json_str(line, "split", NULL, &ignored),
               *key = json_str(line, "key", "", &ignored);
    int64_t i = id && split ? eval_set_find(x->set, split, id) : -1;
    /* an item that is not in the set (any more), or of another form */
    if (ignored.status || i < 0 || strlen(key) != KEY - 1 || !eval_get_scores(x->r, &x->set->item[i], line)) return;
    memcpy(k.key, key, KEY);
    x->known[i] = k;
}

static vm_status read_journal(run *x, const char *mine, vm_error *e) {
    const char *path = x->o->journal;
    journal_reader *r = NULL;
    journal_line line;
    if (journal_reader_open(&r, path, e)) return e->status;
    for (int rc; !e->status && (rc = journal_next(r, &line, e)) > 0;) {
        if (line.number == 1) {
            if (!same_line(&line, mine))
                vm_fail(e, VM_EINPUT,
                        "%s: holds scores of another model or of other options (first line %.*s, now %s); choose "
                        "another --out or --name, or start anew with --fresh",
                        path, (int)VM_MIN(line.bytes, (size_t)300), line.text, mine);
            continue;
        }
        json_doc *d = json_parse(line.text, line.bytes, path, 0, e);
        if (d) remember(x, json_root(d));
        json_free(d);
    }
    journal_reader_close(r);
    return e->status;
}

static vm_status open_journal(run *x, vm_error *e) {
    const char *path = x->o->journal;
    char *mine = path ? identity(x, e) : NULL;
    if (!mine) return e->status;
    if (!journal_open(&x->j, path, e) && x->o->fresh && journal_lines(x->j)) {
        /* its lock has shown that nobody else is at work on it */
        journal *old = x->j;
        x->j = NULL;
        if (!journal_close(old, e)) file_write(path, "", 0, e);
        if (!e->status) journal_open(&x->j, path, e);
    }
    if (!e->status && journal_lines(x->j)) read_journal(x, mine, e);
    else if (!e->status) journal_append(x->j, mine, strlen(mine), e);
    vm_free(mine);
    return e->status;
}

static void put_boxes(const run *x, const eval_item *item, json_writer *w) {
    bool any = false;
    for (int k = 0; k < item->n_images; k++) any |= eval_image(x->set, item, k).boxed;
    if (!any) return;
    json_begin_array(w, "boxes");
    for (int k = 0; k < item->n_images; k++) {
        eval_picture p = eval_image(x->set, item, k);
        if (!p.boxed) {
            json_put_null(w, NULL);
            continue;
        }
        json_begin_array(w, NULL);
        for (int i = 0; i < 4; i++) json_put_int(w, NULL, p.box[i]);
        json_close_array(w);
    }
    json_close_array(w);
}

static vm_status write_line(run *x, const eval_item *item, const eval_score *y, const char *key, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    size_t bytes;
    json_begin_object(&w, NULL);
    json_put_str(&w, "id", item->id);
    json_put_str(&w, "split", eval_split_name(x->set, item->split));
    if (item->tag >= 0) json_put_str(&w, "tag", eval_tag_name(x->set, item->tag));
    if (item->group) json_put_str(&w, "judged_with", item->group);
    json_put_str(&w, "key", key);
    json_begin_array(&w, "captions");
    for (int k = 0; k < item->n_captions; k++) json_put_str(&w, NULL, eval_caption(x->set, item, k));
    json_close_array(&w);
    json_begin_array(&w, "images");
    for (int k = 0; k < item->n_images; k++) json_put_str(&w, NULL, eval_image(x->set, item, k).path);
    json_close_array(&w);
    put_boxes(x, item, &w);
    if (item->kind == EVAL_CHOICE) json_put_int(&w, "gold", item->gold);
    eval_put_scores(&w, x->r, item);
    if (y->truncated) json_put_bool(&w, "truncated", true);
    for (int m = 0; m < x->r->rule->n; m++)
        if (y->credit[m] == 0 || y->credit[m] == 1) json_put_bool(&w, x->r->rule->metric[m], y->credit[m] > 0);
        else json_put_f32(&w, x->r->rule->metric[m], y->credit[m]);
    json_close_object(&w);
    char *text = json_take(&w, &bytes, e);
    if (text) journal_append(x->j, text, bytes, e);
    vm_free(text);
    return e->status;
}

/* --- items -------------------------------------------------------------------------------------------------------- */
/* key "" when a picture cannot be read. */
static vm_status key_of(run *x, const eval_item *item, char key[KEY], vm_error *e) {
    sha256 s;
    uint8_t digest[32];
    const char *split = eval_split_name(x->set, item->split);
    sha256_start(&s);
    sha256_add(&s, split, strlen(split) + 1);
    sha256_add(&s, item->id, strlen(item->id) + 1);
    int32_t form[3] = { (int32_t)item->kind, item->gold, item->n_captions };
    sha256_add(&s, form, sizeof form);
    for (int k = 0; k < item->n_captions; k++)
        sha256_add(&s, eval_caption(x->set, item, k), strlen(eval_caption(x->set, item, k)) + 1);
    key[0] = 0;
    for (int k = 0; k < item->n_images; k++) {
        const char *sum;
        if (eval_vectors_sum(x->v, eval_image_number(x->set, item, k), &sum, e) || !sum) return e->status;
        sha256_add(&s, sum, strlen(sum) + 1);
    }
    sha256_end(&s, digest);
    hex_text(key, digest, (KEY - 1) / 2);
    return VM_OK;
}

/* Why the item cannot be scored, or NULL. */
static const char *fault_of(const run *x, const eval_item *item) {
    const char *why = x->given && !x->given[item - x->set->item] ? "no scores in the file" : NULL;
    for (int k = 0; k < item->n_images && !why; k++)
        why = eval_vectors_fault(x->v, eval_image_number(x->set, item, k));
    return why;
}

static vm_status skip(run *x, const eval_item *item, const char *why, vm_error *e) {
    eval_result *r = x->r;
    char *text = vm_asprintf("%s %s: %s", eval_split_name(x->set, item->split), item->id, why);
    int64_t n = text ? keymap_put_text(&r->text, text) : -1;
    if (n >= 0 && x->set->on_error == EVAL_FAIL) vm_fail(e, VM_EINPUT, "%s", text);
    vm_free(text);
    if (n < 0 || !vm_grow(&r->fault, &r->cap_faults, r->n_faults + 1, sizeof *r->fault))
        return vm_nomem(e, 256, "the list of faults");
    r->fault[r->n_faults++] =
        (eval_fault){ item->split, item->tag, item->id, keymap_at(&r->text, n, NULL), item->row, false };
    progress_add_bad(x->bar, 1);
    return e->status;
}

static void score(run *x, const eval_item *item, eval_score *y) {
    for (int c = 0; c < item->n_captions && !x->given; c++)
        for (int i = 0; i < item->n_images; i++)
            x->r->s[item->at + c * item->n_images + i] = eval_vectors_score(x->v, item, c, i);
    y->scored = true, y->truncated |= eval_vectors_truncated(x->v, item);
    eval_judge(x->r, item, y);
}

/* Items from .. to: those that the journal does not know are embedded and scored. */
static vm_status score_block(run *x, int64_t from, int64_t to, const eval_item **todo, char (*keys)[KEY], vm_error *e) {
    int64_t n = 0;
    for (int64_t i = from; i < to; i++) {
        const eval_item *item = &x->set->item[i];
        if (key_of(x, item, keys[n], e)) return e->status;
        if (keys[n][0] && x->known && !strcmp(keys[n], x->known[i].key)) {
            x->r->score[i].scored = true, x->r->score[i].truncated = x->known[i].truncated;
            progress_skip(x->bar, 1);
        } else {
            todo[n++] = item;
        }
    }
    if (eval_vectors_fill(x->v, n, todo, e)) return e->status;
    for (int64_t k = 0; k < n && !e->status; k++) {
        eval_score *y = &x->r->score[todo[k] - x->set->item];
        const char *why = fault_of(x, todo[k]);
        if (why) {
            skip(x, todo[k], why, e);
            continue;
        }
        score(x, todo[k], y);
        if (x->j) write_line(x, todo[k], y, keys[k], e);
        progress_add(x->bar, 1);
    }
    return e->status;
}

/* The scores of a file into the result; which items have them. */
static vm_status read_given(run *x, vm_error *e) {
    int64_t found, others;
    if (x->m->kind != EVAL_GIVEN) return VM_OK;
    if (!(x->given = vm_calloc((size_t)x->set->n + 1, 1))) return vm_nomem(e, (size_t)x->set->n, "scores");
    if (eval_read_scores(x->r, x->m->scores, &found, &others, e)) return e->status;
    for (int64_t i = 0; i < x->set->n; i++)
        x->given[i] = x->r->score[i].scored, x->r->score[i].scored = false;
    if (others) vm_warn("%s: %" PRId64 " of its records are not in the data set", x->m->scores, others);
    return VM_OK;
}

vm_status eval_run(eval_result **out, const eval_set *set, const eval_model *m, const eval_options *o, vm_error *e) {
    run x = { .set = set, .m = m, .o = o };
    int64_t block = o->batch > 0 ? o->batch : 64, at = 0;
    const eval_rule *rule = eval_find_rule(set->kind, o->metric, e);
    const eval_item **todo = vm_alloc((size_t)block * sizeof *todo);
    char(*keys)[KEY] = vm_alloc((size_t)(block + 1) * sizeof *keys);
    *out = NULL;
    x.known = o->journal ? vm_calloc((size_t)set->n + 1, sizeof *x.known) : NULL;
    if (!rule || !todo || !keys || (o->journal && !x.known)) {
        vm_nomem(e, (size_t)set->n * sizeof *x.known, "a list of items");
        goto done;
    }
    x.template = o->template ? o->template : rule->template;
    if (x.template && !strstr(x.template, "{}")) {
        vm_fail(e, VM_EUSAGE, "eval: --template %s: no {} in it, which stands for the caption", x.template);
        goto done;
    }
    if (!(x.r = eval_result_new(set, rule, m->name, e))) goto done;
    x.r->temperature = o->temperature, x.r->ties = o->ties, x.r->calibrated = m->calibrated, x.r->scale = m->logit_scale, x.r->bias = m->logit_bias;
    if (eval_vectors_new(&x.v, set, m, o, x.template, e) || open_journal(&x, e) || read_given(&x, e)) goto done;
    x.bar = progress_start(m->name, set->n, "items");
    for (; at < set->n && !e->status && !run_stopping(); at += block)
        score_block(&x, at, VM_MIN(at + block, set->n), todo, keys, e);
    progress_end(x.bar);
    if (!e->status && at < set->n)
        vm_fail(e, VM_ESTOP, "stopped after %" PRId64 " of %" PRId64 " items%s", at, set->n,
                o->journal ? "; the same command goes on from there" : "");
    if (!e->status && eval_vectors_empty_boxes(x.v))
        vm_warn("%" PRId64 " boxes have nothing of their picture in them; the whole picture was taken",
                eval_vectors_empty_boxes(x.v));
done:;
    vm_error closing = { 0 };
    if (x.j && journal_close(x.j, &closing) && (!e->status || e->status == VM_ESTOP)) *e = closing;
    eval_vectors_free(x.v);
    vm_free(x.known), vm_free(x.given), vm_free(todo), vm_free(keys);
    if (!e->status) eval_result_tally(x.r, e);
    if (e->status) eval_result_free(x.r);
    else *out = x.r;
    return e->status;
}

vm_status eval_data(eval_result **out, const eval_model *m, const char *dataset, const char *data, double limit,
                    const eval_options *o, vm_error *e) {
    const eval_dataset *d = eval_find_dataset(dataset, e);
    eval_set *set = NULL;
    *out = NULL;
    if (!d || eval_load(&set, d, &(eval_source){ .data = data, .limit = limit }, e)) return e->status;
    if (!eval_run(out, set, m, o, e)) (*out)->own_set = set;
    else eval_set_free(set);
    return e->status;
}
