/* lora.c - see lora.h. */
#include "models/lora.h"

#include <math.h>
#include <string.h>

#include "io/file.h"
#include "io/json.h"
#include "kernels/philox.h"
#include "models/nn.h"

typedef struct {
    char *module;    /* path in Hugging Face's model */
    vm_param *w, *a, *b;
    vm_param *m, *n;  /* DoRA: magnitudes, norms; else NULL */
    uint64_t of[3];   /* versions of w, a, b that n is made of */
    int64_t at, rows; /* of w */
} adapted;

struct lora {
    adapted *x;
    nn_lora *of;     /* one for each weight, which points here */
    int64_t n, cap, n_of;
    int64_t r;
    double alpha;
    bool rslora, dora;
    char *targets, text[96];
};

static double scale_of(const lora *l) { return l->alpha / (l->rslora ? sqrt((double)l->r) : (double)l->r); }

void lora_free(lora *l) {
    if (!l) return;
    for (int64_t i = 0; i < l->n; i++) {
        l->x[i].w->lora = NULL;
        vm_free(l->x[i].module);
    }
    vm_free(l->x), vm_free(l->of), vm_free(l->targets);
    vm_free(l);
}

/* --- which modules -------------------------------------------------------------------------------------------------- */
static bool in_list(const char *list, const char *name, size_t len) {
    for (const char *at = list; *at; at += *at == ',') {
        size_t n = strcspn(at, ",");
        if (n == len && !strncmp(at, name, n)) return true;
        at += n;
    }
    return false;
}

/* The module of a tie: "….layers.3.self_attn.q_proj.weight" without its end, when it is a matrix of a layer. */
static size_t module_of(const weight_tie *t, const char **last) {
    const char *end = strrchr(t->name, '.');
    if (t->nd != 2 || t->p->nd != 2 || t->flags || !end || strcmp(end, ".weight")) return 0;
    if (!strstr(t->name, ".layers.") && !strstr(t->name, ".transformer_blocks.")) return 0;
    for (*last = end; *last > t->name && (*last)[-1] != '.';) --*last;
    return (size_t)(end - t->name);
}

static vm_status add(lora *l, weight_set *w, const weight_tie *t, size_t len, vm_error *e) {
    int64_t part = 0, cols = t->p->ne[1];
    for (int64_t i = 0; i < l->n; i++) part += l->x[i].w == t->p;
    if (!vm_grow(&l->x, &l->cap, l->n + 1, sizeof *l->x)) return vm_nomem(e, sizeof *l->x, "the adapter");
    adapted *x = &l->x[l->n];
    *x = (adapted){ .w = t->p, .at = t->at, .rows = t->rows };
    if (!(x->module = vm_strndup(t->name, len))) return vm_nomem(e, len, "the adapter");
    l->n++;
    x->a = weight_new(w, 2, (int64_t[]){ l->r, cols }, "%s.%d.lora_a", t->p->name, (int)part);
    x->b = x->a ? weight_new(w, 2, (int64_t[]){ t->rows, l->r }, "%s.%d.lora_b", t->p->name, (int)part) : NULL;
    if (!x->b) return *e = w->err, e->status;
    if (vm_param_alloc(x->a, e) || vm_param_alloc(x->b, e) || !l->dora) return e->status;
    x->m = weight_new(w, 1, &t->rows, "%s.%d.lora_m", t->p->name, (int)part);
    x->n = x->m ? weight_state(w, 1, &t->rows, "%s.%d.norms", t->p->name, (int)part) : NULL;
    if (!x->n) return *e = w->err, e->status;
    return vm_param_alloc(x->m, e) ? e->status : vm_param_alloc(x->n, e);
}

/* Weights learn of their additions. */
static vm_status attach(lora *l, const weight_set *w, vm_error *e) {
    l->of = vm_calloc((size_t)l->n + 1, sizeof *l->of);
    if (!l->of) return vm_nomem(e, (size_t)l->n * sizeof *l->of, "the adapter");
    for (int64_t i = 0; i < w->n; i++) {
        vm_param *p = w->p[i];
        nn_lora *of = NULL;
        for (int64_t k = 0; k < l->n; k++) {
            const adapted *x = &l->x[k];
            if (x->w != p) continue;
            if (!of) of = &l->of[l->n_of++];
            if (of->n == NN_LORA_PARTS) return vm_fail(e, VM_EMODEL, "%s: more than %d adapters of one weight", p->name, NN_LORA_PARTS);
            of->scale = (float)scale_of(l);
            of->part[of->n++] = (nn_lora_part){ x->a, x->b, x->at, x->rows, x->m, x->n };
        }
        if (of) p->lora = of;
    }
    snprintf(l->text, sizeof l->text, "rank %d, alpha %g, %d modules%s", (int)l->r, l->alpha, (int)l->n, l->dora ? ", magnitudes" : "");
    return VM_OK;
}

/* An adapter for the modules that `wanted` says yes to. */
static vm_status make(lora *l, weight_set *w, const weight_map *hf, bool (*wanted)(void *ctx, const char *module, size_t len, const char *last), void *ctx, vm_error *e) {
    for (int64_t i = 0; i < hf->n && !e->status; i++) {
        const char *last;
        size_t len = module_of(&hf->t[i], &last);
        if (len && wanted(ctx, hf->t[i].name, len, last)) add(l, w, &hf->t[i], len, e);
    }
    return e->status ? e->status : attach(l, w, e);
}

/* --- norms ---------------------------------------------------------------------------------------------------------- */
/* A row of W + s B A; w: that of W, replaced. */
static void add_row(vm_real *w, const vm_real *a, const vm_real *b, int64_t r, int64_t C, double s) {
    for (int64_t k = 0; k < r; k++) {
        const vm_real by = (vm_real)(s * (double)b[k]);
        for (int64_t c = 0; c < C; c++) w[c] += by * a[k * C + c];
    }
}

static double norm_of(const vm_real *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* Numbers of a parameter of the adapter on the host; vm_free. */
static vm_real *numbers(const vm_param *p, vm_error *e) {
    vm_real *x = vm_alloc((size_t)vm_param_count(p) * sizeof *x);
    if (!x) return vm_nomem(e, (size_t)vm_param_count(p) * sizeof *x, p->name), NULL;
    return vm_param_read(p, x, e) ? vm_free(x), NULL : x;
}

static vm_status norms_of(const lora *l, const adapted *x, vm_param *to, vm_error *e) {
    enum { ROWS = 256 }; /* of W at a time */
    const int64_t C = x->a->ne[1], r = x->a->ne[0];
    vm_real *a = numbers(x->a, e), *b = a ? numbers(x->b, e) : NULL, *n = vm_alloc((size_t)x->rows * sizeof *n);
    float *w = vm_alloc((size_t)(ROWS * C) * sizeof *w);
    vm_real *row = vm_alloc((size_t)C * sizeof *row);
    if (!e->status && (!n || !w || !row)) vm_nomem(e, (size_t)(ROWS * C) * sizeof *w, "norms of an adapter");
    for (int64_t at = 0; at < x->rows && !e->status; at += ROWS) {
        int64_t rows = VM_MIN((int64_t)ROWS, x->rows - at);
        if (weight_read(x->w, (x->at + at) * C, rows * C, w, e)) break;
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t c = 0; c < C; c++) row[c] = (vm_real)w[i * C + c];
            add_row(row, a, b + (at + i) * r, r, C, scale_of(l));
            n[at + i] = (vm_real)norm_of(row, C);
        }
    }
    if (!e->status) vm_param_write(to, n, e);
    vm_free(a), vm_free(b), vm_free(n), vm_free(w), vm_free(row);
    return e->status;
}

vm_status lora_refresh(lora *l, vm_error *e) {
    for (int64_t i = 0; l && l->dora && i < l->n && !e->status; i++) {
        adapted *x = &l->x[i];
        const uint64_t now[] = { x->w->version, x->a->version, x->b->version };
        if (!memcmp(now, x->of, sizeof now) || norms_of(l, x, x->n, e)) continue;
        memcpy(x->of, now, sizeof now);
    }
    return e->status;
}

/* --- fresh ---------------------------------------------------------------------------------------------------------- */
static bool is_target(void *ctx, const char *module, size_t len, const char *last) { return in_list(ctx, last, (size_t)(module + len - last)); }

vm_status lora_new(lora **out, weight_set *w, const weight_map *hf, const lora_options *o, vm_error *e) {
    lora *l = vm_calloc(1, sizeof *l);
    *out = NULL;
    if (!l) return vm_nomem(e, sizeof *l, "the adapter");
    l->dora = o->dora, l->r = o->r, l->alpha = o->alpha > 0 ? o->alpha : (double)o->r;
    l->targets = vm_strdup(o->targets ? o->targets : o->usual);
    if (!l->targets) vm_nomem(e, 64, "the adapter");
    else if (!make(l, w, hf, is_target, l->targets, e) && !l->n)
        vm_fail(e, VM_EUSAGE, "no layer has a module named %s; known are %s", l->targets, o->usual);
    for (int64_t i = 0; i < l->n && !e->status; i++) {
        vm_param *a = l->x[i].a;
        vm_rng r = vm_rng_at(o->seed, 0x10a0 + (uint64_t)i);
        double most = 1 / sqrt((double)a->ne[1]); /* Kaiming's uniform with slope sqrt 5, PEFT's default */
        vm_mirror x;
        if (vm_mirror_open(&x, a->be, a->data, (size_t)vm_param_count(a) * sizeof(vm_real), false, e)) break;
        for (int64_t k = 0; k < vm_param_count(a); k++) ((vm_real *)x.host)[k] = (vm_real)(most * (2 * vm_rng_f64(&r) - 1));
        vm_mirror_close(&x, true, e);
        vm_param_touch(a);
        if (l->dora) norms_of(l, &l->x[i], l->x[i].m, e); /* B is zero */
    }
    if (!e->status) lora_refresh(l, e);
    if (e->status) lora_free(l);
    else *out = l;
    return e->status;
}

/* --- PEFT directories ------------------------------------------------------------------------------------------------ */
static const char prefix[] = "base_model.model.";

/* What changes the computation and is not done here. */
static vm_status read_config(lora *l, const char *dir, vm_error *e) {
    static const char *const off[] = { "lora_bias", "fan_in_fan_out" }, *const none[] = { "modules_to_save", "rank_pattern", "alpha_pattern",
                                                                                                     "layer_replication", "trainable_token_indices" };
    char *path = path_join(dir, "adapter_config.json");
    json_doc *d = path ? json_open(path, e) : NULL;
    json_value root = json_root(d);
    vm_free(path);
    if (!e->status && strcmp(json_str(root, "peft_type", "", e), "LORA")) json_fail(json_get(root, "peft_type"), e, "only LORA adapters are read");
    if (!e->status && strcmp(json_str(root, "bias", "none", e), "none")) json_fail(json_get(root, "bias"), e, "adapters with biases are not read");
    for (int k = 0; k < VM_LEN(off) && !e->status; k++)
        if (json_bool(root, off[k], false, e)) json_fail(json_get(root, off[k]), e, "is not supported");
    for (int k = 0; k < VM_LEN(none) && !e->status; k++)
        if (json_has(json_get(root, none[k])) && json_len(json_get(root, none[k]))) json_fail(json_get(root, none[k]), e, "is not supported");
    json_value init = json_get(root, "init_lora_weights");
    const char *way = init.kind == JSON_STRING && !e->status ? json_as_str(init, e) : "";
    if (!e->status && *way && strcmp(way, "gaussian") && strcmp(way, "eva") && strcmp(way, "orthogonal"))
        json_fail(init, e, "\"%s\" belongs to changed base weights, which this directory has not", way);
    l->r = json_int(root, "r", 8, 1, 1 << 16, e), l->alpha = json_num(root, "lora_alpha", 8, -1e9, 1e9, e);
    l->rslora = json_bool(root, "use_rslora", false, e), l->dora = json_bool(root, "use_dora", false, e);
    json_free(d);
    return e->status;
}

enum { SIDES = 3 };
static const char *const side_name[SIDES] = { "lora_A.weight", "lora_B.weight", "lora_magnitude_vector" };
static vm_param *side_of(const adapted *x, int side) { return side == 0 ? x->a : side == 1 ? x->b : x->m; }

static const st_tensor *tensor(const st_file *f, const char *module, size_t len, int side) {
    char name[400];
    snprintf(name, sizeof name, "%s%.*s.%s", prefix, (int)len, module, side_name[side]);
    return st_find(f, name);
}
static bool is_there(void *ctx, const char *module, size_t len, const char *last) { return tensor(ctx, module, len, 0) != NULL; }

static vm_status read_into(vm_param *p, const st_file *f, const st_tensor *t, vm_error *e) {
    vm_mirror x;
    if (vm_mirror_open(&x, p->be, p->data, (size_t)t->len * sizeof(float), false, e)) return e->status;
    st_read_f32(f, t, 0, t->len, x.host, e);
    vm_param_touch(p);
    vm_mirror_close(&x, !e->status, e);
    return e->status;
}

static vm_status read_side(const lora *l, const adapted *x, int side, const st_file *f, vm_error *e) {
    vm_param *p = side_of(x, side);
    const st_tensor *t = tensor(f, x->module, strlen(x->module), side);
    char want[64];
    if (!t) return vm_fail(e, VM_EMODEL, "%s: no %.*s of %s", st_path(f, NULL), (int)strcspn(side_name[side], "."), side_name[side], x->module);
    bool fits = t->nd == p->nd;
    for (int k = 0; k < p->nd && fits; k++) fits = t->shape[k] == p->ne[k];
    if (fits) return read_into(p, f, t, e);
    snprintf(want, sizeof want, p->nd == 2 ? "(%lld,%lld)" : "(%lld)", (long long)p->ne[0], (long long)p->ne[1]);
    return vm_fail(e, VM_EMODEL, "%s: %s is not %s, as rank and model want it", st_path(f, t), t->name, want);
}

static vm_status read_values(lora *l, const st_file *f, vm_error *e) {
    const int sides = l->dora ? 3 : 2;
    for (int64_t i = 0; i < l->n && !e->status; i++)
        for (int side = 0; side < sides && !e->status; side++) read_side(l, &l->x[i], side, f, e);
    if (!e->status && st_len(f) != sides * l->n) { /* something that belongs nowhere: name it */
        for (int64_t k = 0; k < st_len(f) && !e->status; k++) {
            const char *name = st_at(f, k)->name;
            bool known = false;
            for (int64_t i = 0; i < l->n && !known; i++)
                for (int side = 0; side < sides; side++) known |= st_at(f, k) == tensor(f, l->x[i].module, strlen(l->x[i].module), side);
            if (!known) vm_fail(e, VM_EMODEL, "%s: %s fits no layer of this model", st_path(f, NULL), name);
        }
    }
    return e->status ? e->status : lora_refresh(l, e);
}

vm_status lora_open(lora **out, weight_set *w, const weight_map *hf, const char *dir, vm_error *e) {
    lora *l = vm_calloc(1, sizeof *l);
    *out = NULL;
    st_file *f = NULL;
    if (!l) return vm_nomem(e, sizeof *l, "the adapter");
    if (!read_config(l, dir, e) && !st_open_base(&f, dir, "adapter_model", e) && !make(l, w, hf, is_there, f, e)) read_values(l, f, e);
    /* what targets a saved copy names: the last names of its modules */
    for (int64_t i = 0; i < l->n && !e->status; i++) {
        const char *last = strrchr(l->x[i].module, '.') + 1;
        if (l->targets && in_list(l->targets, last, strlen(last))) continue;
        char *more = vm_asprintf("%s%s%s", l->targets ? l->targets : "", l->targets ? "," : "", last);
        vm_free(l->targets);
        if (!(l->targets = more)) vm_nomem(e, 64, "the adapter");
    }
    st_close(f);
    if (e->status) lora_free(l);
    else *out = l;
    return e->status;
}

vm_status lora_load(lora *l, const char *dir, vm_error *e) {
    st_file *f = NULL;
    if (!st_open_base(&f, dir, "adapter_model", e)) read_values(l, f, e);
    st_close(f);
    return e->status;
}

static vm_status save_config(const lora *l, const char *dir, const char *base, vm_error *e) {
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    json_put_str(&w, "peft_type", "LORA");
    json_put_str(&w, "base_model_name_or_path", base);
    json_put_int(&w, "r", l->r);
    json_put_num(&w, "lora_alpha", l->alpha);
    json_put_num(&w, "lora_dropout", 0);
    json_begin_array(&w, "target_modules");
    for (const char *at = l->targets; *at; at += *at == ',') {
        size_t n = strcspn(at, ",");
        json_put_text(&w, NULL, at, n);
        at += n;
    }
    json_close_array(&w);
    json_put_str(&w, "bias", "none");
    json_put_bool(&w, "use_rslora", l->rslora);
    json_put_bool(&w, "use_dora", l->dora);
    json_put_bool(&w, "fan_in_fan_out", false);
    json_put_bool(&w, "init_lora_weights", true);
    json_put_bool(&w, "inference_mode", true);
    json_put_null(&w, "task_type");
    json_put_null(&w, "modules_to_save");
    json_put_null(&w, "revision");
    json_begin_object(&w, "rank_pattern");
    json_close_object(&w);
    json_begin_object(&w, "alpha_pattern");
    json_close_object(&w);
    json_close_object(&w);
    return json_save(&w, dir, "adapter_config.json", e);
}

vm_status lora_save(const lora *l, const char *dir, const char *base, vm_error *e) {
    weight_map m = { 0 };
    lora_map(l, &m);
    if (m.err.status) *e = m.err;
    else if (!weights_save(&m, dir, "adapter_model.safetensors", ST_F32, NULL, e)) save_config(l, dir, base, e);
    weight_map_free(&m);
    return e->status;
}

/* --- the rest --------------------------------------------------------------------------------------------------------- */
static vm_status merge_one(const lora *l, const adapted *x, vm_error *e) {
    const int64_t C = x->w->ne[1], r = x->a->ne[0];
    const double s = scale_of(l);
    vm_mirror ma = { 0 }, mb = { 0 }, mw = { 0 };
    vm_real *m = x->m ? numbers(x->m, e) : NULL, *n = m ? numbers(x->n, e) : NULL;
    if (!e->status && !vm_mirror_open(&ma, x->a->be, x->a->data, (size_t)(r * C) * sizeof(vm_real), true, e) &&
        !vm_mirror_open(&mb, x->b->be, x->b->data, (size_t)(x->rows * r) * sizeof(vm_real), true, e) &&
        !vm_mirror_open(&mw, x->w->be, (vm_real *)x->w->data + x->at * C, (size_t)(x->rows * C) * sizeof(vm_real), true, e)) {
        const vm_real *a = ma.host, *b = mb.host;
        vm_real *w = mw.host;
        for (int64_t o = 0; o < x->rows; o++)
            for (int64_t c = 0; c < C; c++) {
                double sum = 0;
                for (int64_t k = 0; k < r; k++) sum += (double)b[o * r + k] * (double)a[k * C + c];
                w[o * C + c] = (vm_real)(((double)w[o * C + c] + s * sum) * (m ? (double)m[o] / (double)n[o] : 1));
            }
        vm_param_touch(x->w);
    }
    vm_mirror_close(&ma, false, NULL), vm_mirror_close(&mb, false, NULL);
    vm_mirror_close(&mw, !e->status, e);
    vm_free(m), vm_free(n);
    return e->status;
}

vm_status lora_merge(lora **l, vm_error *e) {
    if (lora_refresh(*l, e)) return e->status;
    for (int64_t i = 0; *l && i < (*l)->n; i++)
        if (merge_one(*l, &(*l)->x[i], e)) return e->status;
    lora_free(*l);
    *l = NULL;
    return VM_OK;
}

void lora_map(const lora *l, weight_map *m) {
    for (int64_t i = 0; i < l->n; i++)
        for (int side = 0; side < (l->dora ? 3 : 2); side++) {
            vm_param *p = side_of(&l->x[i], side);
            tie_whole(m, p, p->nd, p->ne, 0, "%s%s.%s", prefix, l->x[i].module, side_name[side]);
        }
}

bool lora_has(const vm_param *p) { return strstr(p->name, ".lora_") != NULL; }

int64_t lora_count(const lora *l) {
    int64_t n = 0;
    for (int64_t i = 0; l && i < l->n; i++) n += vm_param_count(l->x[i].a) + vm_param_count(l->x[i].b) + (l->dora ? l->x[i].rows : 0);
    return n;
}

const char *lora_text(const lora *l) { return l ? l->text : ""; }
