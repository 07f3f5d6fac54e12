/* unet_memory.c - what of a UNet depends on the text and on the time alone (unet.h), computed once for all steps of sampling. It lies in
 * parameters, which graphs share and which survive their runs; one graph writes them, every step's graph reads them. */
#include <string.h>

#include "models/unet.h"

/* Resnets and transformers in the order of unet_run. */
typedef struct {
    const diffuse_resnet *resnet[2 * UNET_LEVELS * (UNET_LAYERS + 1) + 2];
    const diffuse_transformer *attn[2 * UNET_LEVELS * (UNET_LAYERS + 1) + 2];
    int n, n_attn;
} parts;

static void add_level(parts *p, const unet_level *l) {
    for (int k = 0; k < l->n; k++) {
        p->resnet[p->n++] = &l->resnet[k];
        if (l->attn[k].block) p->attn[p->n_attn++] = &l->attn[k];
    }
}

static parts parts_of(const unet *m) {
    parts p = { .n = 0 };
    for (int s = 0; s < m->c.levels; s++) add_level(&p, &m->down[s]);
    add_level(&p, &m->middle);
    for (int s = 0; s < m->c.levels; s++) add_level(&p, &m->up[s]);
    return p;
}

static int64_t time_texts(const unet *m, const unet_memory *k) { return m->c.text_and_ids ? k->texts : 1; }

static vm_param *room(const unet *m, const char *name, vm_type type, int64_t rows, int64_t T, int64_t C, vm_error *e) {
    vm_param *p = e->status ? NULL : vm_param_new(m->w.be, name, type, 3, (int64_t[]){ rows, T, C }, e);
    if (p) p->trainable = false, p->state = true;
    return p;
}

vm_status unet_memory_new(unet_memory **out, const unet *m, vm_type type, int64_t B, int64_t texts, int64_t T, int64_t N, vm_error *e) {
    parts p = parts_of(m);
    unet_memory *k = *out = vm_calloc(1, sizeof *k);
    int64_t blocks = 0;
    if (!k) return vm_nomem(e, sizeof *k, "the memory of a UNet");
    for (int i = 0; i < p.n_attn; i++) blocks += p.attn[i]->n;
    *k = (unet_memory){ .B = B, .texts = texts, .T = T, .N = N, .kv = vm_calloc((size_t)blocks * 2 + 1, sizeof *k->kv), .time = vm_calloc((size_t)p.n, sizeof *k->time) };
    if (!k->kv || !k->time) vm_nomem(e, (size_t)blocks * sizeof *k->kv, "the memory of a UNet");
    for (int i = 0; i < p.n_attn; i++)
        for (int64_t b = 0; b < 2 * p.attn[i]->n && !e->status; b++)
            k->kv[k->n_kv++] = room(m, b % 2 ? "values of the text" : "keys of the text", type, B * texts, T, p.attn[i]->C, e);
    for (int i = 0; i < p.n && !e->status; i++)
        k->time[k->n_time++] = room(m, "times", VM_F32, 1, time_texts(m, k) * N, p.resnet[i]->time.w->ne[0], e);
    if (e->status) unet_memory_free(k), *out = NULL;
    return e->status;
}

void unet_memory_free(unet_memory *k) {
    if (!k) return;
    for (int64_t i = 0; i < k->n_kv; i++) vm_param_free(k->kv[i]);
    for (int64_t i = 0; i < k->n_time; i++) vm_param_free(k->time[i]);
    vm_free(k->kv), vm_free(k->time);
    vm_free(k);
}

int64_t unet_memory_rows(const unet *m, const unet_memory *k) { return m->c.text_and_ids ? k->B * k->texts : 1; }

void unet_memory_row(const unet *m, const unet_memory *k, int64_t call, int32_t *row) {
    int64_t n = unet_memory_rows(m, k);
    for (int64_t i = 0; i < n; i++) row[i] = (int32_t)(i % time_texts(m, k) * k->N + call);
}

/* x (texts,T,C), of each of B pictures the same, into p. */
static void keep_kv(vm_graph *g, const unet_memory *k, vm_param *p, vm_val x, vm_val at, vm_val len) {
    if (!x) return;
    vm_val all = vm_reshape(g, vm_broadcast(g, x, k->B), 3, (int64_t[]){ k->B * k->texts, k->T, vm_cols(g, x) });
    vm_kv_append(g, vm_weight(g, p), all, at, len, 0);
}

/* (texts n, 4 c0), text by text. */
static vm_val all_times(vm_graph *g, const unet *m, const unet_memory *k, int64_t n, bool pooled, int64_t P, int64_t ids) {
    int64_t texts = pooled ? k->texts : 1;
    unet_input in = { .timestep = vm_input(g, "times", VM_F32, 1, (int64_t[]){ texts * n }) };
    if (pooled) {
        in.text = vm_input(g, "pooled", VM_F32, 2, (int64_t[]){ texts * n, P });
        in.ids = vm_input(g, "ids", VM_F32, 2, (int64_t[]){ texts * n, ids });
    }
    return unet_time(g, m, &in);
}

static const char *const from_name[] = { "from.0", "from.1" }, *const to_name[] = { "to.0", "to.1" };

static void build(vm_graph *g, const unet *m, const unet_memory *k, int64_t n, bool pooled, int64_t P, int64_t n_ids) {
    parts p = parts_of(m);
    int64_t rows = k->B * k->texts, slot = 0, one = 1;
    diffuse_kv kv[DIFFUSE_BLOCKS];
    vm_val context = vm_input(g, "context", VM_F32, 3, (int64_t[]){ k->texts, k->T, m->c.context });
    vm_val at = vm_input(g, "at", VM_I32, 1, &rows), len = vm_input(g, "len", VM_I32, 1, &rows);
    for (int i = 0; i < p.n_attn; i++) {
        diffuse_transformer_kv(g, p.attn[i], context, kv);
        for (int64_t b = 0; b < p.attn[i]->n; b++) {
            keep_kv(g, k, k->kv[slot++], kv[b].k, at, len);
            keep_kv(g, k, k->kv[slot++], kv[b].v, at, len);
        }
    }
    vm_val t = all_times(g, m, k, n, pooled, P, n_ids), from[2], to[2]; /* times of text x begin at row x N */
    int64_t texts = time_texts(m, k);
    for (int64_t x = 0; x < texts; x++) from[x] = vm_input(g, from_name[x], VM_I32, 1, &one), to[x] = vm_input(g, to_name[x], VM_I32, 1, &one);
    for (int i = 0; i < p.n; i++) {
        vm_val y = t ? diffuse_resnet_time(g, p.resnet[i], t) : 0;
        for (int64_t x = 0; x < texts && y; x++) {
            vm_val part = vm_reshape(g, vm_slice(g, y, 0, x * n, n), 3, (int64_t[]){ 1, n, vm_cols(g, y) });
            vm_kv_append(g, vm_weight(g, k->time[i]), part, from[x], to[x], 0);
        }
    }
}

/* Each row of x (texts, C) n times: text by text, as the times are. */
static float *repeat(const float *x, int64_t texts, int64_t n, int64_t C) {
    float *y = vm_alloc((size_t)(texts * n * C) * sizeof *y + 1);
    for (int64_t i = 0; y && i < texts * n; i++) memcpy(y + i * C, x + i / n * C, (size_t)C * sizeof *y);
    return y;
}

static vm_status fill(vm_graph *g, const unet *m, const unet_memory *k, const float *context, const float *times, int64_t n, const float *pooled, int64_t P,
                      const float *ids, int64_t n_ids, vm_error *e) {
    int64_t rows = k->B * k->texts, texts = time_texts(m, k);
    int32_t *at = vm_calloc((size_t)rows * 2, sizeof *at);
    float *all = vm_alloc((size_t)(texts * n) * sizeof *all + 1), *text = pooled ? repeat(pooled, texts, n, P) : NULL, *sizes = ids ? repeat(ids, texts, n, n_ids) : NULL;
    if (!at || !all || (pooled && (!text || !sizes))) vm_nomem(e, (size_t)(texts * n) * sizeof *all, "times");
    else {
        for (int64_t i = 0; i < rows; i++) at[rows + i] = (int32_t)k->T;
        for (int64_t i = 0; i < texts * n; i++) all[i] = times[i % n];
        vm_set(g, "context", context), vm_set(g, "at", at), vm_set(g, "len", at + rows), vm_set(g, "times", all);
        if (pooled) vm_set(g, "pooled", text), vm_set(g, "ids", sizes);
        for (int64_t x = 0; x < texts; x++) {
            int32_t from = (int32_t)(x * k->N), to = (int32_t)(from + n);
            vm_set(g, from_name[x], &from), vm_set(g, to_name[x], &to);
        }
        if (!g->err.status && !vm_run(g)) vm_wait(g);
        if (g->err.status) *e = g->err;
    }
    vm_free(at), vm_free(all), vm_free(text), vm_free(sizes);
    return e->status;
}

vm_status unet_remember(const unet *m, unet_memory *k, vm_backend *be, vm_type type, const float *context, const float *times, int64_t n, const float *pooled,
                        const float *ids, int64_t n_ids, vm_error *e) {
    int64_t P = m->c.text_and_ids - n_ids * m->c.time_ids;
    if (m->c.text_and_ids && (!pooled || !ids || P < 1)) return vm_fail(e, VM_EMODEL, "this UNet needs a pooled text and sizes of the picture, of %lld columns together", (long long)m->c.text_and_ids);
    vm_graph *g = vm_graph_new(be, type);
    if (!g) return vm_nomem(e, sizeof *g, "a graph");
    build(g, m, k, n, m->c.text_and_ids, P, n_ids);
    if (vm_plan(g)) *e = g->err;
    else fill(g, m, k, context, times, n, pooled, P, ids, n_ids, e);
    vm_graph_free(g);
    return e->status;
}
