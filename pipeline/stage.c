/* stage.c - see stage.h. */
#include "pipeline/stage.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/hash.h"
#include "io/journal.h"
#include "io/log.h"
#include "pipeline/run.h"
#include "pipeline/stage_lines.h"

enum { REJECTS_BYTES = 64 << 20 };

struct stage {
    const vm_args *a;
    char *name, *run, *path; /* path: of the journal */
    char part[32];           /* "0003-of-0015" */
    uint64_t shard, shards;
    run_tags tags;
    journal *j, *rejects;
    stage_lines past;
    double started;
};

enum { PARTS = 9999 };

/* N of --shard any/N; 0 when it says something else. */
static int64_t any_of(const vm_args *a) {
    const char *text = arg_str(a, "shard");
    int n, end = 0;
    return sscanf(text, "any/%d%n", &n, &end) == 1 && end && !text[end] && n > 0 && n <= PARTS ? n : 0;
}

static vm_status read_shard(const vm_args *a, int64_t *part, int64_t *parts, vm_error *e) {
    const char *text = arg_str(a, "shard");
    int i, n, end = 0;
    if (sscanf(text, "%d/%d%n", &i, &n, &end) != 2 || text[end] || n < 1 || n > PARTS || i < 0 || i >= n)
        return vm_fail(e, VM_EUSAGE,
                       "--shard %s: expected I/N with I from 0 to N - 1 and N at most %d (or any/N in the text stages)",
                       text, PARTS);
    *part = i, *parts = n;
    return VM_OK;
}

static char *part_path(const stage *s, const char *what, const char *ending) {
    return vm_asprintf("%s/%s/%s-%s.%s", s->run, s->name, what, s->part, ending);
}

/* --wait: until the other process is gone. */
static vm_status open_journal(stage *s, vm_error *e) {
    for (bool said = false;; said = true) {
        vm_error busy = { 0 };
        if (!journal_open(&s->j, s->path, &busy)) break;
        if (busy.status != VM_ELOCKED || !arg_flag(s->a, "wait")) return *e = busy, e->status;
        if (!said) vm_info("%s; waiting for it", busy.msg);
        if (run_stopping()) return vm_fail(e, VM_ESTOP, "stopped while waiting for another process");
        usleep(100000);
    }
    if (journal_cut(s->j))
        vm_info("%s: an unfinished last line of %lld bytes was cut off", s->path, (long long)journal_cut(s->j));
    return VM_OK;
}

vm_status stage_open_part(stage **out, const char *name, const char *run, const char *config, const vm_args *a,
                          int64_t part, int64_t parts, vm_error *e) {
    stage *s = vm_calloc(1, sizeof *s);
    *out = NULL;
    if (!s) return vm_nomem(e, sizeof *s, name);
    s->a = a, s->started = run_seconds();
    s->shard = (uint64_t)part, s->shards = (uint64_t)parts;
    snprintf(s->part, sizeof s->part, "%04d-of-%04d", (int)part, (int)parts);
    if (!(s->name = vm_strdup(name)) || !(s->run = vm_strdup(run)) || !(s->path = part_path(s, "part", "jsonl")))
        vm_nomem(e, 256, name);
    run_dir_locks(a);
    if (!e->status && !run_dir_enter(&s->tags, run, name, config, a, e) && !open_journal(s, e))
        stage_lines_load(&s->past, run, name, &s->tags, false, e);
    if (e->status) stage_close(s, false, NULL, NULL);
    else *out = s;
    return e->status;
}

vm_status stage_open(stage **out, const char *name, const char *run, const char *config, const vm_args *a,
                     vm_error *e) {
    int64_t part = 0, parts = 1;
    *out = NULL;
    return read_shard(a, &part, &parts, e) ? e->status : stage_open_part(out, name, run, config, a, part, parts, e);
}

static vm_status work_on(stage *s, stage_work work, void *ctx, vm_error *e) {
    tally counts = { 0 };
    work(ctx, s, &counts, e);
    return stage_close(s, !e->status, &counts, e);
}

vm_status stage_parts(const char *name, const char *run, const char *config, const vm_args *a, stage_work work,
                      void *ctx, vm_error *e) {
    int64_t any = any_of(a), parts = VM_MAX(any, (int64_t)1), busy = 0;
    vm_status st = VM_OK;
    if (arg_flag(a, "no-lock") && (any || arg_flag(a, "wait")))
        return vm_fail(e, VM_EUSAGE, "%s goes by locks and does not work with --no-lock%s", any ? "--shard any/N" : "--wait",
                       any ? "; give each worker a part, --shard I/N" : "");
    for (int64_t i = 0; i < parts && !e->status; i++) {
        stage *s = NULL;
        vm_error own = { 0 };
        if (any ? stage_open_part(&s, name, run, config, a, i, parts, &own)
                : stage_open(&s, name, run, config, a, &own)) {
            if (any && own.status == VM_ELOCKED) busy++;
            else *e = own;
            continue;
        }
        vm_status one = work_on(s, work, ctx, e);
        st = VM_MAX(st, one);
    }
    if (busy && !e->status)
        vm_info("%s: %lld of %lld parts are with other workers", name, (long long)busy, (long long)parts);
    return e->status ? e->status : st;
}

vm_status stage_beside(const stage *s, const char *name, const char *config, stage_work work, void *ctx, vm_error *e) {
    stage *other = NULL;
    if (stage_open_part(&other, name, s->run, config, s->a, (int64_t)s->shard, (int64_t)s->shards, e)) return e->status;
    vm_status st = work_on(other, work, ctx, e);
    return e->status ? e->status : st;
}

int64_t stage_shards(const stage *s) { return (int64_t)s->shards; }
const char *stage_name(const stage *s) { return s->name; }
bool stage_mine(const stage *s, const char *shard) {
    return s->shards == 1 || sha256_seed(0, 1, &shard) % s->shards == s->shard;
}

static void input_hash(const stage *s, const char *input, char h[17]) {
    char hex[65];
    sha256_hex(hex, input, strlen(input));
    snprintf(h, 17, "%s%.8s", s->tags.tag[s->tags.n - 1], hex);
}

stage_past stage_find(const stage *s, const stage_unit *u) {
    char h[17];
    int64_t i = keymap_find(&s->past.key, u->key, strlen(u->key));
    if (i < 0) return (stage_past){ 0 };
    const stage_entry *x = &s->past.entry[i];
    input_hash(s, u->input, h);
    if (strcmp(h + 8, x->h + 8)) return (stage_past){ 0 }; /* of another input */
    return (stage_past){ .state = x->state, .more = x->more, .t = x->t, .line = x->line };
}

bool stage_done(const stage *s, const stage_unit *u) {
    stage_past p = stage_find(s, u);
    return (p.state == STAGE_OK || p.state == STAGE_VOID) && !p.more;
}

vm_status stage_put(stage *s, const stage_line *l, vm_error *e) {
    char h[17];
    size_t n;
    json_writer w = json_to_memory(JSON_COMPACT);
    input_hash(s, l->input, h);
    json_begin_object(&w, NULL);
    json_put_str(&w, "k", l->key), json_put_str(&w, "h", h), json_put_int(&w, "t", l->t);
    json_put_str(&w, "st", stage_state_name[l->state]);
    if (l->code) json_put_str(&w, "code", l->code);
    if (l->more) json_put_bool(&w, "more", true);
    const char *recs = l->recs ? l->recs : "[]";
    json_put_raw(&w, "recs", recs, strlen(recs));
    tally_put(l->why ? l->why : &(tally){ 0 }, &w, "why");
    if (l->in >= 0 || l->out >= 0) {
        json_begin_object(&w, "usage");
        json_put_int(&w, "in", l->in), json_put_int(&w, "out", l->out);
        json_close_object(&w);
    }
    json_put_int(&w, "ms", (int64_t)(l->ms + .5));
    json_close_object(&w);
    char *line = json_take(&w, &n, e);
    if (line) journal_append(s->j, line, n, e);
    vm_free(line);
    return e->status;
}

vm_status stage_reject(stage *s, const char *key, int t, const char *code, const char *text, vm_error *e) {
    size_t n;
    if (!s->rejects) {
        char *path = part_path(s, "rejects", "jsonl");
        if (!path) vm_nomem(e, 256, "a path");
        else journal_open(&s->rejects, path, e);
        vm_free(path);
    }
    if (e->status || journal_bytes(s->rejects) > REJECTS_BYTES) return e->status;
    json_writer w = json_to_memory(JSON_COMPACT);
    json_begin_object(&w, NULL);
    json_put_str(&w, "k", key), json_put_int(&w, "t", t), json_put_str(&w, "code", code),
        json_put_str(&w, "text", text);
    json_close_object(&w);
    char *line = json_take(&w, &n, e);
    if (line) journal_append(s->rejects, line, n, e);
    vm_free(line);
    return e->status;
}

vm_status stage_room(const stage *s, int64_t bytes, vm_error *e) {
    int64_t there = 0;
    if (file_disk_free(&there, s->run, e)) return e->status;
    if (there < bytes)
        return vm_fail(e, VM_EIO, "%s: %.1f MB are free and the records of %s need about %.1f MB; make room", s->run,
                       (double)there * 1e-6, s->name, (double)bytes * 1e-6);
    return VM_OK;
}

/* --- the end ------------------------------------------------------------------------------------------------------ */
typedef struct {
    int64_t units, state[STAGE_ERROR + 1], records, in, out;
    tally why, codes;
} totals;

/* What the lines of this shard's journal amount to, of whatever run they are. */
static vm_status sum_up(const stage *s, totals *t, vm_error *e) {
    stage_lines l;
    *t = (totals){ 0 };
    if (stage_lines_load(&l, s->run, s->name, &s->tags, true, e)) return e->status;
    for (int64_t i = 0; i < l.n && !e->status; i++) {
        const stage_entry *x = &l.entry[i];
        if (strcmp(l.part[x->part], s->path)) continue;
        json_doc *d = json_parse(x->line, strlen(x->line), s->path, 0, e);
        json_value v = json_root(d), usage = json_get(v, "usage");
        t->units++, t->state[x->state]++;
        t->records += json_len(json_get(v, "recs"));
        t->in += json_int(usage, "in", 0, -1, INT64_MAX, e), t->out += json_int(usage, "out", 0, -1, INT64_MAX, e);
        tally_read(&t->why, json_get(v, "why"));
        const char *code = json_str(v, "code", NULL, e);
        if (code) tally_add(&t->codes, code, 1);
        json_free(d);
    }
    stage_lines_free(&l);
    return e->status;
}

static void put_totals(json_writer *w, const stage *s, const totals *t) {
    json_put_str(w, "stage", s->name), json_put_str(w, "shard", s->part);
    json_put_int(w, "units", t->units);
    for (int k = STAGE_OK; k <= STAGE_ERROR; k++) json_put_int(w, stage_state_name[k], t->state[k]);
    json_put_int(w, "records", t->records);
    tally_put(&t->codes, w, "codes"), tally_put(&t->why, w, "rejected");
    json_put_int(w, "tokens_in", t->in), json_put_int(w, "tokens_out", t->out);
}

static vm_status write_done(const stage *s, const totals *t, vm_error *e) {
    char hex[65], *name = vm_asprintf("%s/part-%s.done", s->name, s->part);
    json_writer w = json_to_memory(JSON_PRETTY);
    if (!name) return vm_nomem(e, 64, "a name");
    if (!sha256_file(hex, s->path, e)) {
        json_begin_object(&w, NULL);
        put_totals(&w, s, t);
        json_put_int(&w, "lines", journal_lines(s->j)), json_put_int(&w, "bytes", journal_bytes(s->j));
        json_put_str(&w, "sha256", hex);
        json_close_object(&w);
    }
    json_save(&w, s->run, name, e);
    vm_free(name);
    return e->status;
}

static char *stats_text(const stage *s, const totals *t, const tally *extra, json_style style, vm_error *e) {
    double wall = run_seconds() - s->started;
    json_writer w = json_to_memory(style);
    json_begin_object(&w, NULL);
    put_totals(&w, s, t);
    tally_put(extra ? extra : &(tally){ 0 }, &w, "run");
    json_put_num(&w, "wall_s", wall);
    json_put_num(&w, "tokens_per_s", (double)(extra ? tally_of(extra, "tokens_out") : 0) / VM_MAX(wall, 1e-9));
    json_close_object(&w);
    return json_take(&w, NULL, e);
}

static vm_status write_stats(const stage *s, const totals *t, const tally *extra, vm_error *e) {
    const char *file = arg_str(s->a, "stats-json");
    char *text = file ? stats_text(s, t, extra, JSON_PRETTY, e) : NULL;
    if (text) file_write(file, text, strlen(text), e);
    vm_free(text);
    text = arg_flag(s->a, "json") && !e->status ? stats_text(s, t, extra, JSON_COMPACT, e) : NULL;
    if (text) printf("%s\n", text);
    vm_free(text);
    return e->status;
}

static vm_status finish(stage *s, const tally *extra, vm_error *e) {
    totals t;
    if (journal_sync(s->j, e) || sum_up(s, &t, e) || write_done(s, &t, e) || write_stats(s, &t, extra, e))
        return e->status;
    vm_info("%s: %lld units, %lld ok with %lld records, %lld void, %lld in error", s->name, (long long)t.units,
            (long long)t.state[STAGE_OK], (long long)t.records, (long long)t.state[STAGE_VOID],
            (long long)t.state[STAGE_ERROR]);
    if (arg_flag(s->a, "explain") && !arg_flag(s->a, "json")) {
        for (int k = 0; k < t.why.used; k++) printf("%s\t%lld\n", t.why.name[k], (long long)t.why.n[k]);
        for (int k = 0; k < t.codes.used; k++) printf("%s\t%lld\n", t.codes.name[k], (long long)t.codes.n[k]);
    }
    return t.state[STAGE_ERROR] ? VM_EPARTIAL : VM_OK;
}

vm_status stage_close(stage *s, bool finished, const tally *extra, vm_error *e) {
    vm_error none = { 0 };
    if (!s) return VM_OK;
    if (!e) e = &none;
    vm_status st = finished && !e->status ? finish(s, extra, e) : VM_OK;
    journal_close(s->j, e), journal_close(s->rejects, e);
    stage_lines_free(&s->past);
    vm_free(s->name), vm_free(s->run), vm_free(s->path);
    vm_free(s);
    return e->status ? e->status : st;
}
