/* forward.c - `vismin forward`: any model directory on the tensors of a file, with gradients. The contract is that of the
 * golden files: <case>/in.* in, <case>/out.*, <case>/loss, <case>/grad.* out. */
#include "pipeline/forward.h"

#include <string.h>

#include "io/file.h"
#include "pipeline/run.h"

static const forward_family *const families[] = { &forward_pipeline, &forward_sampler, &forward_vae, &forward_unet, &forward_clip_text, &forward_bert, &forward_llm, &forward_swin, &forward_gdino, &forward_blip, &forward_towers };

/* --- results ------------------------------------------------------------------------------------------------------- */
typedef struct {
    char *name;
    int nd;
    int64_t ne[VM_AXES];
    float *data;
    char *text; /* a string of the metadata instead of a tensor */
} result;
struct forward_results {
    result *r;
    int64_t n, cap;
};

static char *case_key(const forward_case *c, const char *part, const char *name) { return vm_asprintf("%s/%s%s", c->name, part, name); }

const st_tensor *forward_tensor(const forward_case *c, const char *name) {
    char *key = case_key(c, "in.", name);
    const st_tensor *t = key ? st_find(c->in, key) : NULL;
    vm_free(key);
    return t;
}

const char *forward_string(const forward_case *c, const char *name) {
    char *key = case_key(c, "in.", name);
    const char *s = key ? st_meta(c->in, key) : NULL;
    vm_free(key);
    return s;
}

static const st_tensor *need(const forward_case *c, const char *name, vm_error *e) {
    const st_tensor *t = forward_tensor(c, name);
    if (!t) vm_fail(e, VM_EINPUT, "%s: no tensor %s/in.%s", st_path(c->in, NULL), c->name, name);
    return t;
}

float *forward_f32(const forward_case *c, const char *name, vm_error *e) {
    const st_tensor *t = need(c, name, e);
    float *x = t ? vm_alloc((size_t)t->len * sizeof *x + 1) : NULL;
    if (t && !x) vm_nomem(e, (size_t)t->len * sizeof *x, name);
    if (x && st_read_f32(c->in, t, 0, t->len, x, e)) vm_free(x), x = NULL;
    return x;
}

int32_t *forward_i32(const forward_case *c, const char *name, vm_error *e) {
    const st_tensor *t = need(c, name, e);
    int64_t *wide = t ? vm_alloc((size_t)t->len * sizeof *wide + 1) : NULL;
    if (t && !wide) vm_nomem(e, (size_t)t->len * sizeof *wide, name);
    if (!wide || st_read_i64(c->in, t, 0, t->len, wide, e)) return vm_free(wide), NULL;
    int32_t *x = (int32_t *)wide; /* narrowed in place */
    for (int64_t i = 0; i < t->len; i++) {
        if (wide[i] > INT32_MAX || wide[i] < INT32_MIN) {
            vm_fail(e, VM_EINPUT, "%s: %s/in.%s: element %lld is %lld", st_path(c->in, NULL), c->name, name, (long long)i, (long long)wide[i]);
            vm_free(wide);
            return NULL;
        }
        int32_t v = (int32_t)wide[i];
        memcpy(x + i, &v, sizeof v);
    }
    return x;
}

float *forward_pixels(const forward_case *c, const char *name, vm_error *e) {
    const st_tensor *t = need(c, name, e);
    if (t && (t->nd != 4 || t->shape[1] != 3))
        vm_fail(e, VM_EINPUT, "%s: %s/in.%s: expected images [B,3,H,W]", st_path(c->in, NULL), c->name, name);
    float *chw = t && !e->status ? forward_f32(c, name, e) : NULL, *hwc = chw ? vm_alloc((size_t)t->len * sizeof *hwc + 1) : NULL;
    if (hwc) {
        int64_t HW = t->shape[2] * t->shape[3];
        for (int64_t b = 0; b < t->shape[0]; b++)
            for (int64_t k = 0; k < 3; k++)
                for (int64_t i = 0; i < HW; i++) hwc[(b * HW + i) * 3 + k] = chw[(b * 3 + k) * HW + i];
    }
    vm_free(chw);
    return hwc;
}

vm_status forward_put(forward_case *c, const char *name, int nd, const int64_t *ne, const float *data, vm_error *e) {
    forward_results *r = c->results;
    size_t n = 1;
    for (int k = 0; k < nd; k++) n *= (size_t)ne[k];
    if (!vm_grow(&r->r, &r->cap, r->n + 1, sizeof *r->r)) return vm_nomem(e, 64, name);
    result x = { .name = case_key(c, "", name), .nd = nd, .data = vm_alloc(n * sizeof(float) + 1) };
    if (!x.name || !x.data) return vm_free(x.name), vm_free(x.data), vm_nomem(e, n * sizeof(float), name);
    memcpy(x.ne, ne, (size_t)nd * sizeof *ne);
    memcpy(x.data, data, n * sizeof(float));
    r->r[r->n++] = x;
    return VM_OK;
}

vm_status forward_put_string(forward_case *c, const char *name, const char *text, vm_error *e) {
    forward_results *r = c->results;
    if (!vm_grow(&r->r, &r->cap, r->n + 1, sizeof *r->r)) return vm_nomem(e, 64, name);
    result x = { .name = case_key(c, "", name), .text = vm_strdup(text) };
    if (!x.name || !x.text) return vm_free(x.name), vm_free(x.text), vm_nomem(e, strlen(text), name);
    r->r[r->n++] = x;
    return VM_OK;
}

vm_status forward_put_output(forward_case *c, const vm_graph *g, const char *output, const char *name, vm_error *e) {
    vm_val v = vm_find(g, output);
    if (!v) return VM_OK;
    float *x = vm_alloc((size_t)vm_count(g, v) * sizeof *x + 1);
    if (!x) return vm_nomem(e, (size_t)vm_count(g, v) * sizeof *x, name);
    vm_status st = vm_get((vm_graph *)(uintptr_t)g, output, x);
    if (!st) st = forward_put(c, name, g->v[v].nd, g->v[v].ne, x, e);
    else *e = g->err;
    vm_free(x);
    return st;
}

vm_status forward_put_grads(forward_case *c, const weight_map *m, vm_error *e) {
    for (int64_t i = 0; i < m->n && !e->status; i++) {
        if (i && !strcmp(m->t[i].name, m->t[i - 1].name)) continue; /* a further part of the same tensor */
        if (m->t[i].p->state) continue;
        int64_t len = 0;
        float *x = weights_gather(m, i, 1, &len, e);
        char *name = vm_asprintf("grad.%s", m->t[i].name);
        if (x && name) forward_put(c, name, m->t[i].nd ? m->t[i].nd : 1, m->t[i].nd ? m->t[i].ne : &len, x, e);
        vm_free(x);
        vm_free(name);
    }
    return e->status;
}

/* --- the command --------------------------------------------------------------------------------------------------- */
static vm_status write_results(const forward_results *r, const char *path, vm_error *e) {
    st_writer *w = NULL;
    if (st_writer_open(&w, path, 0, e)) return e->status;
    for (int64_t i = 0; i < r->n && !e->status; i++) {
        const result *x = &r->r[i];
        if (x->text) st_writer_meta(w, x->name, x->text, e);
        else st_writer_add(w, x->name, ST_F32, x->nd, x->ne, e);
    }
    for (int64_t i = 0; i < r->n && !e->status; i++)
        if (!r->r[i].text) st_writer_put_f32(w, r->r[i].name, r->r[i].data, e);
    if (!e->status) st_writer_commit(w, e);
    else st_writer_abort(w);
    return e->status;
}

static bool can(const forward_family *f, const char *kind) {
    const char *at = f->kinds ? strstr(f->kinds, kind) : NULL;
    size_t n = strlen(kind);
    return !strcmp(kind, "forward") || !strcmp(kind, "loss") || (at && (at == f->kinds || at[-1] == ' ') && (!at[n] || at[n] == ' '));
}

static vm_status run_case(forward_case *c, const char *model, bool *done, vm_error *e) {
    const char *component = forward_string(c, "component");
    char *dir = component ? path_join(model, component) : vm_strdup(model);
    *done = false;
    if (!dir) return vm_nomem(e, 256, "a path");
    c->dir = dir;
    for (int k = 0; k < VM_LEN(families); k++)
        if (families[k]->is(dir)) {
            *done = can(families[k], c->kind);
            if (*done) families[k]->run(c, e);
            break;
        }
    vm_free(dir);
    return e->status;
}

static vm_status run(const vm_args *a, vm_error *e) {
    const char *in = arg_str(a, "in"), *out = arg_str(a, "out"), *only = arg_str(a, "case"), *model = arg_model(a, arg_pos(a, 0), e);
    forward_results results = { 0 };
    st_file *f = NULL;
    vm_type dtype;
    int n_done = 0;
    if (!in || !out) return vm_fail(e, VM_EUSAGE, "forward: --in FILE and --out FILE are needed");
    if (!model || file_writable(out, e) || run_dtype(a, false, &dtype, e) || st_open(&f, in, e)) return e->status;
    vm_backend *be = run_backend(a, e);
    for (int64_t i = 0; be && i < st_meta_len(f) && !e->status; i++) {
        const char *kind, *key = st_meta_at(f, i, &kind), *slash = strrchr(key, '/');
        if (!slash || strcmp(slash, "/kind")) continue;
        char *name = vm_strndup(key, (size_t)(slash - key));
        if (name && (!only || !strcmp(only, name))) {
            forward_case c = { .name = name, .kind = kind, .in = f, .grad = arg_flag(a, "grad"), .dtype = dtype, .be = be, .results = &results };
            bool done;
            run_case(&c, model, &done, e);
            n_done += done;
        }
        vm_free(name);
    }
    if (!e->status && only && !n_done) vm_fail(e, VM_EINPUT, "%s: no case %s that model %s can run", in, only, model);
    if (!e->status && !n_done) vm_fail(e, VM_EINPUT, "%s: no case that model %s can run", in, model);
    if (!e->status) write_results(&results, out, e);
    for (int64_t i = 0; i < results.n; i++) vm_free(results.r[i].name), vm_free(results.r[i].data), vm_free(results.r[i].text);
    vm_free(results.r);
    st_close(f);
    return e->status;
}

static const vm_opt opts[] = {
    { "in", OPT_STR, NULL, "FILE", "safetensors file with CASE/in.* tensors and CASE/kind strings", 0, 0 },
    { "out", OPT_STR, NULL, "FILE", "safetensors file to write", 0, 0 },
    { "case", OPT_STR, NULL, "NAME", "only this case", 0, 0 },
    { "grad", OPT_FLAG, NULL, NULL, "also write gradients of losses: CASE/grad.* and CASE/gradin.*", 0, 0 },
    { 0 },
};

const vm_command cmd_forward = {
    .name = "forward", .summary = "run a model on tensors of a file, with gradients", .usage = "MODEL_DIR --in FILE --out FILE [--case NAME] [--grad]",
    .about = "Checks a model against any other implementation: the input file names cases, each with its input tensors; results are\n"
             "written under the same case names. The default type is f32.\n\n"
             "  vismin forward model/ --in golden.safetensors --out out.safetensors --grad",
    .opts = opts, .min_pos = 1, .max_pos = 1, .run = run,
};
