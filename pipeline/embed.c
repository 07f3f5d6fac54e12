/* embed.c - `vismin embed`: unit vectors of pictures and texts, and how alike they are. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/json.h"
#include "io/log.h"
#include "io/progress.h"
#include "pipeline/eval_vectors.h"
#include "pipeline/run.h"

/* Names in the order they were given, without those that could not be read, and a row of E numbers for each. */
typedef struct {
    const char **name;
    float *v;
    int64_t n, cap_name, cap_v;
} vectors;

typedef struct {
    embedder *x;
    eval_model *m;     /* around x */
    embed_cache *cache;
    int64_t E, bad;
    const char *dtype;
    eval_set *set;     /* the different paths and texts */
    eval_vectors *v;   /* and their vectors */
    int32_t *number;   /* in the set: of each picture, then of each text */
    vectors images, texts;
    char *lines; /* the text of --text, cut at line feeds */
    progress *p;
} job;

/* Room for one more; its row is filled later. */
static vm_status add_name(vectors *l, const char *name, int64_t E, vm_error *e) {
    if (!vm_grow(&l->name, &l->cap_name, l->n + 1, sizeof *l->name) ||
        !vm_grow(&l->v, &l->cap_v, (l->n + 1) * E, sizeof *l->v))
        return vm_nomem(e, (size_t)(l->n * E) * sizeof *l->v, "vectors");
    l->name[l->n++] = name;
    return VM_OK;
}

static void keep_row(vectors *l, int64_t to, const char *name, const float *row, int64_t E) {
    l->name[to] = name;
    memcpy(l->v + to * E, row, (size_t)E * sizeof *row);
}

/* --- texts -------------------------------------------------------------------------------------------------------- */
/* --texts, then the lines of --text. */
static vm_status read_texts(job *j, const vm_args *a, vm_error *e) {
    const char *const *given, *file = arg_str(a, "text");
    const int n = arg_list(a, "texts", &given);
    size_t bytes;
    for (int k = 0; k < n && !e->status; k++) add_name(&j->texts, given[k], j->E, e);
    if (e->status || !file || file_read(&j->lines, &bytes, file, 0, e)) return e->status;
    int64_t number = 1;
    for (char *p = j->lines, *end = p + bytes; p < end && !e->status; number++) {
        char *stop = memchr(p, '\n', (size_t)(end - p)), *next = stop ? stop + 1 : end;
        if (!stop) stop = end;
        if (stop > p && stop[-1] == '\r') stop--;
        *stop = 0;
        if (strlen(p) != (size_t)(stop - p))
            return vm_fail(e, VM_EINPUT, "%s:%" PRId64 ": a character U+0000; give one text per line", file, number);
        add_name(&j->texts, p, j->E, e);
        p = next;
    }
    return e->status;
}

/* --- vectors ------------------------------------------------------------------------------------------------------ */
static vm_status number_all(job *j, vm_error *e) {
    int64_t n = j->images.n + j->texts.n;
    if (!(j->set = eval_set_new("embed", e))) return e->status;
    if (!(j->number = vm_alloc((size_t)n * sizeof *j->number + 1))) vm_nomem(e, (size_t)n * sizeof *j->number, "names");
    for (int64_t i = 0; i < n && !e->status; i++) {
        const bool text = i >= j->images.n;
        int64_t k = text ? keymap_put_text(&j->set->captions, j->texts.name[i - j->images.n])
                         : keymap_put_text(&j->set->images, j->images.name[i]);
        if (k < 0) vm_nomem(e, 256, "names");
        else j->number[i] = (int32_t)k;
    }
    const eval_options o = { .exif_rotate = true, .cache = j->cache };
    return e->status ? e->status : eval_vectors_new(&j->v, j->set, j->m, &o, NULL, e);
}

/* A picture that cannot be read is named, counted and left out. */
static vm_status embed_images(job *j, vm_error *e) {
    const int64_t n = j->images.n, step = embedder_batch(j->x);
    int64_t good = 0;
    for (int64_t i = 0; i < n && !run_stopping(); i += step) {
        int64_t m = VM_MIN(step, n - i);
        if (eval_vectors_need(j->v, m, j->number + i, 0, NULL, e)) return e->status;
        for (int64_t k = i; k < i + m; k++) {
            const char *why = eval_vectors_fault(j->v, j->number[k]);
            if (why) vm_warn("%s", why), j->bad++, progress_add_bad(j->p, 1);
            else keep_row(&j->images, good++, j->images.name[k], eval_vectors_image(j->v, j->number[k]), j->E);
            if (!why) progress_add(j->p, 1);
        }
    }
    j->images.n = good;
    return VM_OK;
}

static vm_status embed_texts(job *j, const int32_t *number, vm_error *e) {
    const int64_t step = embedder_batch(j->x);
    for (int64_t i = 0; i < j->texts.n && !run_stopping(); i += step) {
        int64_t m = VM_MIN(step, j->texts.n - i);
        if (eval_vectors_need(j->v, 0, NULL, m, number + i, e)) return e->status;
        for (int64_t k = i; k < i + m; k++)
            keep_row(&j->texts, k, j->texts.name[k], eval_vectors_caption(j->v, number[k]), j->E);
        progress_add(j->p, m);
    }
    return VM_OK;
}

/* --- results ------------------------------------------------------------------------------------------------------ */
static void put_names(json_writer *w, const char *key, const vectors *l) {
    json_begin_array(w, key);
    for (int64_t i = 0; i < l->n; i++) json_put_str(w, NULL, l->name[i]);
    json_close_array(w);
}

static vm_status declare(st_writer *w, const char *name, const vectors *l, int64_t E, vm_error *e) {
    json_writer names = json_to_memory(JSON_COMPACT);
    put_names(&names, NULL, l);
    char *text = json_take(&names, NULL, e);
    if (text && !st_writer_meta(w, name, text, e)) st_writer_add(w, name, ST_F32, 2, (int64_t[]){ l->n, E }, e);
    vm_free(text);
    return e->status;
}

static vm_status write_safetensors(const job *j, const char *model, const char *path, vm_error *e) {
    st_writer *w = NULL;
    char scale[32];
    snprintf(scale, sizeof scale, "%.9g", towers_scale(embedder_towers(j->x)));
    if (st_writer_open(&w, path, 0, e) || st_writer_meta(w, "model", model, e) ||
        st_writer_meta(w, "dtype", j->dtype, e) || st_writer_meta(w, "logit_scale", scale, e))
        goto done;
    if (j->images.n) declare(w, "images", &j->images, j->E, e);
    if (j->texts.n && !e->status) declare(w, "texts", &j->texts, j->E, e);
    if (j->images.n && !e->status) st_writer_put_f32(w, "images", j->images.v, e);
    if (j->texts.n && !e->status) st_writer_put_f32(w, "texts", j->texts.v, e);
done:
    if (w && !e->status) st_writer_commit(w, e);
    else st_writer_abort(w);
    return e->status;
}

static void put_lines(json_writer *w, const char *kind, const vectors *l, int64_t E) {
    for (int64_t i = 0; i < l->n; i++) {
        json_begin_object(w, NULL);
        json_put_str(w, kind, l->name[i]);
        json_begin_array(w, "embedding");
        for (int64_t k = 0; k < E; k++) json_put_f32(w, NULL, l->v[i * E + k]);
        json_close_array(w);
        json_close_object(w);
        json_newline(w);
    }
}

static vm_status write_lines(const job *j, const char *path, vm_error *e) {
    vm_out *out = NULL;
    const bool to_stdout = !strcmp(path, "-");
    if (!to_stdout && vm_out_open(&out, path, e)) return e->status;
    json_writer w = to_stdout ? json_to_stream(stdout, JSON_COMPACT) : json_to_out(out, JSON_COMPACT);
    put_lines(&w, "image", &j->images, j->E);
    put_lines(&w, "text", &j->texts, j->E);
    vm_status st = json_end(&w, e);
    if (out && !st) st = vm_out_commit(out, e);
    else if (out) vm_out_abort(out);
    return st;
}

static double cosine(const float *a, const float *b, int64_t E) {
    double s = 0;
    for (int64_t k = 0; k < E; k++) s += (double)a[k] * b[k];
    return s;
}

/* At most so many characters (UTF-8), filled up with blanks to width. */
static void print_name(const char *s, int most, int width) {
    int n = 0;
    for (; *s && (n < most || (*s & 0xc0) == 0x80); s++) {
        n += (*s & 0xc0) != 0x80;
        putchar((unsigned char)*s < 32 || *s == 127 ? '?' : *s);
    }
    printf("%*s", VM_MAX(width - n, 0), "");
}

/* Pictures against texts; one kind alone against itself. */
static vm_status print_similarity(const job *j, bool json, vm_error *e) {
    const vectors *r = j->images.n ? &j->images : &j->texts, *c = j->texts.n ? &j->texts : &j->images;
    if (json) {
        json_writer w = json_to_stream(stdout, JSON_COMPACT);
        json_begin_object(&w, NULL);
        put_names(&w, "rows", r), put_names(&w, "columns", c);
        json_begin_array(&w, "cosine");
        for (int64_t i = 0; i < r->n; i++) {
            json_begin_array(&w, NULL);
            for (int64_t k = 0; k < c->n; k++)
                json_put_f32(&w, NULL, (float)cosine(r->v + i * j->E, c->v + k * j->E, j->E));
            json_close_array(&w);
        }
        json_close_array(&w);
        json_close_object(&w);
        json_newline(&w);
        return json_end(&w, e);
    }
    for (int64_t k = 0; k < c->n; k++) printf("[%" PRId64 "] ", k + 1), print_name(c->name[k], 1000, 0), putchar('\n');
    printf("%-40s", "");
    for (int64_t k = 0; k < c->n; k++) {
        char head[32];
        snprintf(head, sizeof head, "[%" PRId64 "]", k + 1);
        printf(" %8s", head);
    }
    putchar('\n');
    for (int64_t i = 0; i < r->n; i++) {
        print_name(r->name[i], 40, 40);
        for (int64_t k = 0; k < c->n; k++) printf(" %8.4f", cosine(r->v + i * j->E, c->v + k * j->E, j->E));
        putchar('\n');
    }
    return VM_OK;
}

/* --- the command -------------------------------------------------------------------------------------------------- */
static vm_status write_results(const job *j, const vm_args *a, vm_error *e) {
    const char *out = arg_str(a, "out");
    size_t n = out ? strlen(out) : 0;
    if (n > 12 && !strcmp(out + n - 12, ".safetensors")) write_safetensors(j, arg_pos(a, 0), out, e);
    else if (out) write_lines(j, out, e);
    if (!e->status && arg_flag(a, "similarity")) print_similarity(j, arg_flag(a, "json"), e);
    return e->status;
}

static vm_status check_args(const vm_args *a, vm_error *e) {
    const char *out = arg_str(a, "out");
    size_t n = out ? strlen(out) : 0;
    bool known = out && (!strcmp(out, "-") || (n > 12 && !strcmp(out + n - 12, ".safetensors")) ||
                         (n > 6 && !strcmp(out + n - 6, ".jsonl")));
    if (arg_npos(a) < 2 && !arg_given(a, "text") && !arg_given(a, "texts"))
        return vm_fail(e, VM_EUSAGE, "embed: nothing to embed: name pictures, --texts \"...\" or --text FILE");
    if (!out && !arg_flag(a, "similarity")) return vm_fail(e, VM_EUSAGE, "embed: --out FILE or --similarity is needed");
    if (out && !known)
        return vm_fail(e, VM_EUSAGE,
                       "--out %s: the name must end in .safetensors or .jsonl, or be - for JSON lines on stdout", out);
    if (out && !strcmp(out, "-") && arg_flag(a, "similarity"))
        return vm_fail(e, VM_EUSAGE, "embed: --out - and --similarity would both write to stdout; give --out a file");
    return out ? file_writable(out, e) : VM_OK;
}

static vm_status open_model(job *j, const vm_args *a, vm_error *e) {
    vm_type dtype;
    towers_options o = { .how = TOWERS_READ };
    vm_backend *be = run_backend(a, e);
    const char *model = arg_model(a, arg_pos(a, 0), e), *cache = arg_str(a, "embed-cache");
    if (!model || !be || run_dtype(a, true, &dtype, e) || run_activation(a, &o.activation, e) ||
        embedder_open(&j->x, be, model, &o, dtype, arg_flag(a, "deterministic"), e))
        return e->status;
    j->E = embedder_dim(j->x), j->dtype = vm_type_name(dtype);
    if (embedder_towers(j->x)->unused) vm_warn("%s", embedder_towers(j->x)->unused);
    if (eval_model_wrap(&j->m, j->x, model, j->dtype, e) || !cache) return e->status;
    j->m->deterministic = arg_flag(a, "deterministic");
    if (!eval_model_hash(j->m, model, e)) eval_model_cache(j->m, cache, &j->cache, e);
    return e->status;
}

static vm_status run(const vm_args *a, vm_error *e) {
    job j = { 0 };
    if (check_args(a, e)) return e->status;
    if (open_model(&j, a, e) || read_texts(&j, a, e)) goto done;
    for (int k = 1; k < arg_npos(a); k++)
        if (add_name(&j.images, arg_pos(a, k), j.E, e)) goto done;
    if (number_all(&j, e)) goto done;
    const int32_t *texts = j.number + j.images.n;
    j.p = progress_start("embed", j.images.n + j.texts.n, "items");
    if (!embed_images(&j, e)) embed_texts(&j, texts, e);
    progress_end(j.p);
    if (!e->status && run_stopping()) vm_fail(e, VM_ESTOP, "stopped; nothing was written");
    if (!e->status && !write_results(&j, a, e) && j.bad)
        vm_fail(e, VM_EPARTIAL, "%" PRId64 " of %d pictures could not be read and are left out", j.bad,
                arg_npos(a) - 1);
done:
    embed_cache_close(j.cache);
    eval_vectors_free(j.v);
    eval_set_free(j.set);
    eval_model_free(j.m);
    vm_free(j.images.name), vm_free(j.images.v), vm_free(j.texts.name), vm_free(j.texts.v);
    vm_free(j.lines), vm_free(j.number);
    embedder_free(j.x);
    return e->status;
}

static const vm_opt opts[] = {
    { "texts", OPT_LIST, NULL, "TEXT", "a text (repeatable)", 0, 0 },
    { "text", OPT_STR, NULL, "FILE", "texts, one per line; - is stdin", 0, 0 },
    { "out", OPT_STR, NULL, "FILE", "*.safetensors, *.jsonl, or - for JSON lines on stdout", 0, 0 },
    { "embed-cache", OPT_STR, NULL, "DIR", "keep vectors of pictures and texts in DIR for later runs of the same model", 0,
      0 },
    RUN_ACTIVATION,
    { "similarity", OPT_FLAG, NULL, NULL, "print cosines of pictures and texts (or of one kind among itself)", 0, 0 },
    { 0 },
};

const vm_command cmd_embed = {
    .name = "embed",
    .summary = "vectors of pictures and texts, and how alike they are",
    .usage = "MODEL_DIR [IMAGE...] [--texts TEXT] [--text FILE] (--out FILE | --similarity)",
    .about = "Unit vectors of a CLIP model. A safetensors file holds the tensors `images` and `texts`, one row each, "
             "with the names as JSON\n"
             "lists under the same keys of its metadata; JSON lines hold one object {\"image\" or \"text\", "
             "\"embedding\"} each. Pictures that cannot\n"
             "be read are named and left out (exit code 1).\n\n"
             "  vismin embed clip/ *.jpg --text captions.txt --out vectors.safetensors\n"
             "  vismin embed clip/ cat.png dog.png --texts \"a cat\" --texts \"a dog\" --similarity",
    .opts = opts,
    .min_pos = 1,
    .max_pos = -1,
    .run = run,
};
