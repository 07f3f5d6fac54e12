/* eval_run.c - see eval_run.h. The journal:
 *   {"run":{"schema":1,"dataset":...,"model":...,"weights_sha256":...},"crc":...}          the first line
 *   {"id","split","key","captions","images","scores":{"c0_i0",...},"text","image","group","crc"}  one line per item
 * key: the first 16 digits of the SHA-256 over category, id, captions and contents of the pictures. */
#include "pipeline/eval_run.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "io/hash.h"
#include "io/journal.h"
#include "io/json.h"
#include "io/progress.h"
#include "pipeline/eval_vectors.h"
#include "pipeline/run.h"

enum { KEY = 17 };
static const char *const score_name[4] = { "c0_i0", "c0_i1", "c1_i0", "c1_i1" }; /* s[2 c + i] */

/* What the journal has of an item. */
typedef struct {
    char key[KEY]; /* "" = nothing */
    float s[4];
} known;

typedef struct {
    const eval_set *set;
    const eval_model *m;
    const eval_options *o;
    eval_result *r;
    eval_vectors *v;
    journal *j;
    known *known;
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
    json_put_str(&w, "precision", x->m->precision);
    json_put_int(&w, "seed", x->m->kind == EVAL_RANDOM ? (int64_t)x->m->seed : 0);
    json_put_bool(&w, "allow_truncated", x->o->allow_truncated);
    json_put_bool(&w, "exif_rotate", x->o->exif_rotate);
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
    known k = { .key = "" };
    const char *id = json_str(line, "id", NULL, &ignored), *split = json_str(line, "split", NULL, &ignored),
               *key = json_str(line, "key", "", &ignored);
    json_value scores = json_get(line, "scores");
    int64_t i = id && split ? eval_set_find(x->set, split, id) : -1;
    for (int n = 0; n < 4; n++) {
        json_value s = json_get(scores, score_name[n]);
        k.s[n] = s.kind == JSON_NULL ? NAN : (float)json_as_num(s, &ignored);
    }
    if (ignored.status || i < 0 || strlen(key) != KEY - 1) return; /* an item that is not in the set (any more) */
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

static vm_status write_line(run *x, const eval_item *item, const eval_score *y, const char *key, vm_error *e) {
    json_writer w = json_to_memory(JSON_COMPACT);
    size_t bytes;
    json_begin_object(&w, NULL);
    json_put_str(&w, "id", item->id);
    json_put_str(&w, "split", eval_split_name(x->set, item->split));
    json_put_str(&w, "key", key);
    json_begin_array(&w, "captions");
    for (int k = 0; k < 2; k++) json_put_str(&w, NULL, eval_caption(x->set, item, k));
    json_close_array(&w);
    json_begin_array(&w, "images");
    for (int k = 0; k < 2; k++) json_put_str(&w, NULL, eval_image(x->set, item, k));
    json_close_array(&w);
    json_begin_object(&w, "scores");
    for (int k = 0; k < 4; k++) json_put_f32(&w, score_name[k], y->s[k]);
    json_close_object(&w);
    for (int m = 0; m < PAIR_METRICS; m++) json_put_bool(&w, pair_metric_name[m], y->o.right[m]);
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
    for (int k = 0; k < item->n_captions; k++)
        sha256_add(&s, eval_caption(x->set, item, k), strlen(eval_caption(x->set, item, k)) + 1);
    key[0] = 0;
    for (int k = 0; k < item->n_images; k++) {
        const char *sum;
        if (eval_vectors_sum(x->v, item->image[k], &sum, e) || !sum) return e->status;
        sha256_add(&s, sum, strlen(sum) + 1);
    }
    sha256_end(&s, digest);
    hex_text(key, digest, (KEY - 1) / 2);
    return VM_OK;
}

static vm_status skip(run *x, const eval_item *item, vm_error *e) {
    eval_result *r = x->r;
    const char *why = NULL;
    for (int k = 0; k < item->n_images && !why; k++) why = eval_vectors_fault(x->v, item->image[k]);
    if (!why) return VM_OK;
    char *text = vm_asprintf("%s %s: %s", eval_split_name(x->set, item->split), item->id, why);
    int64_t n = text ? keymap_put_text(&r->text, text) : -1;
    if (n >= 0 && x->o->strict) vm_fail(e, VM_EINPUT, "%s", text);
    vm_free(text);
    if (n < 0 || !vm_grow(&r->fault, &r->cap_faults, r->n_faults + 1, sizeof *r->fault))
        return vm_nomem(e, 256, "the list of faults");
    r->fault[r->n_faults++] = (eval_fault){ item->split, item->id, keymap_at(&r->text, n, NULL) };
    progress_add_bad(x->bar, 1);
    return e->status;
}

/* Items from .. to: those that the journal does not know are embedded and scored. */
static vm_status score_block(run *x, int64_t from, int64_t to, const eval_item **todo, char (*keys)[KEY], vm_error *e) {
    int64_t n = 0;
    for (int64_t i = from; i < to; i++) {
        const eval_item *item = &x->set->item[i];
        if (key_of(x, item, keys[n], e)) return e->status;
        if (keys[n][0] && x->known && !strcmp(keys[n], x->known[i].key)) {
            x->r->score[i].scored = true;
            memcpy(x->r->score[i].s, x->known[i].s, sizeof x->known[i].s);
            progress_skip(x->bar, 1);
        } else {
            todo[n++] = item;
        }
    }
    if (eval_vectors_fill(x->v, n, todo, e)) return e->status;
    for (int64_t k = 0; k < n && !e->status; k++) {
        const eval_item *item = todo[k];
        eval_score *y = &x->r->score[item - x->set->item];
        if (eval_vectors_fault(x->v, item->image[0]) || eval_vectors_fault(x->v, item->image[1])) {
            skip(x, item, e);
            continue;
        }
        for (int c = 0; c < 2; c++)
            for (int i = 0; i < 2; i++) y->s[2 * c + i] = eval_vectors_score(x->v, item, c, i);
        y->scored = true, y->o = pair_judge(y->s);
        if (x->j) write_line(x, item, y, keys[k], e);
        progress_add(x->bar, 1);
    }
    return e->status;
}

vm_status eval_run(eval_result **out, const eval_set *set, const eval_model *m, const eval_options *o, vm_error *e) {
    run x = { .set = set, .m = m, .o = o };
    int64_t block = o->batch > 0 ? o->batch : 64, at = 0;
    const eval_item **todo = vm_alloc((size_t)block * sizeof *todo);
    char(*keys)[KEY] = vm_alloc((size_t)(block + 1) * sizeof *keys);
    *out = NULL;
    x.known = o->journal ? vm_calloc((size_t)set->n + 1, sizeof *x.known) : NULL;
    if (!todo || !keys || (o->journal && !x.known)) {
        vm_nomem(e, (size_t)set->n * sizeof *x.known, "a list of items");
        goto done;
    }
    if (!(x.r = eval_result_new(set, m->name, e)) || eval_vectors_new(&x.v, set, m, o, e) || open_journal(&x, e))
        goto done;
    x.bar = progress_start(m->name, set->n, "pairs");
    for (; at < set->n && !e->status && !run_stopping(); at += block)
        score_block(&x, at, VM_MIN(at + block, set->n), todo, keys, e);
    progress_end(x.bar);
    if (!e->status && at < set->n)
        vm_fail(e, VM_ESTOP, "stopped after %" PRId64 " of %" PRId64 " pairs%s", at, set->n,
                o->journal ? "; the same command goes on from there" : "");
done:;
    vm_error closing = { 0 };
    if (x.j && journal_close(x.j, &closing) && (!e->status || e->status == VM_ESTOP)) *e = closing;
    eval_vectors_free(x.v);
    vm_free(x.known), vm_free(todo), vm_free(keys);
    if (e->status) eval_result_free(x.r);
    else eval_result_tally(x.r), *out = x.r;
    return e->status;
}

vm_status eval_vismin_run(eval_result **out, const eval_model *m, const char *data, const media_places *places,
                          int64_t limit, const eval_options *o, vm_error *e) {
    eval_set *set = eval_set_new("vismin", limit, o->strict, e);
    *out = NULL;
    if (set && !eval_load_vismin(set, data, places, e) && !eval_run(out, set, m, o, e)) (*out)->own_set = set;
    else eval_set_free(set);
    return e->status;
}
