/* forward_llm.c - cases of `vismin forward` for language models: logits of whole sequences, the loss with all gradients, greedy
 * generation through the cache of keys and values. */
#include <string.h>

#include "io/file.h"
#include "models/llm_decode.h"
#include "pipeline/forward.h"

/* The ids (B,T) and what goes with them. */
typedef struct {
    const st_tensor *shape;
    int32_t *ids, *mask, *positions, *targets; /* mask NULL = nothing is hidden */
} batch;

static void batch_free(batch *b) { vm_free(b->ids), vm_free(b->mask), vm_free(b->positions), vm_free(b->targets); }

static int32_t *read_like(const forward_case *c, const char *name, const st_tensor *like, vm_error *e) {
    const st_tensor *t = forward_tensor(c, name);
    if (!t || e->status) return NULL;
    if (t->nd != 2 || t->shape[0] != like->shape[0] || t->shape[1] != like->shape[1])
        return vm_fail(e, VM_EINPUT, "%s: %s/in.%s has not the shape of in.input_ids", st_path(c->in, NULL), c->name, name), NULL;
    return forward_i32(c, name, e);
}

static vm_status batch_read(batch *b, const forward_case *c, bool loss, vm_error *e) {
    *b = (batch){ .shape = forward_tensor(c, "input_ids") };
    if (!b->shape || b->shape->nd != 2)
        return vm_fail(e, VM_EINPUT, "%s: case %s: in.input_ids (texts, tokens) is needed", st_path(c->in, NULL), c->name);
    int64_t T = b->shape->shape[1], n = b->shape->len;
    b->ids = forward_i32(c, "input_ids", e);
    b->mask = read_like(c, "attention_mask", b->shape, e);
    b->positions = e->status ? NULL : vm_alloc((size_t)n * sizeof(int32_t) + 1);
    if (loss && !e->status && !forward_tensor(c, "labels")) vm_fail(e, VM_EINPUT, "%s: no tensor %s/in.labels", st_path(c->in, NULL), c->name);
    int32_t *labels = loss ? read_like(c, "labels", b->shape, e) : NULL;
    b->targets = labels;
    if (!e->status && !b->positions) vm_nomem(e, (size_t)n * sizeof(int32_t), "positions");
    for (int64_t i = 0; i < n && !e->status; i++) {
        b->positions[i] = (int32_t)(i % T); /* the slot, as the reference's plain forward has it */
        if (labels) b->targets[i] = i % T + 1 < T ? labels[i + 1] : -100;
    }
    return e->status;
}

static vm_status run_graph(forward_case *c, llm *m, const batch *b, bool loss, vm_error *e) {
    vm_graph *g = vm_graph_new(c->be, c->dtype);
    int64_t T = b->shape->shape[1];
    if (!g) return vm_nomem(e, sizeof *g, "a graph");
    g->training = loss && c->grad;
    vm_val ids = vm_input(g, "ids", VM_I32, 2, b->shape->shape), positions = vm_input(g, "positions", VM_I32, 2, b->shape->shape);
    vm_val mask = b->mask ? vm_input(g, "mask", VM_I32, 2, b->shape->shape) : 0;
    vm_val hidden = llm_hidden(g, m, ids, positions, mask, 0, T);
    if (loss) {
        vm_val l = llm_loss(g, m, hidden, vm_input(g, "targets", VM_I32, 2, b->shape->shape));
        vm_output(g, "loss", l);
        if (c->grad) vm_backward(g, 1, &l, NULL, 0, NULL);
        vm_set(g, "targets", b->targets);
    } else {
        vm_output(g, "logits", llm_logits(g, m, hidden));
    }
    vm_set(g, "ids", b->ids), vm_set(g, "positions", b->positions);
    if (mask) vm_set(g, "mask", b->mask);
    if (vm_run(g)) *e = g->err;
    if (!e->status) forward_put_output(c, g, loss ? "loss" : "logits", loss ? "loss" : "out.logits", e);
    vm_graph_free(g);
    return e->status;
}

/* --- generate ----------------------------------------------------------------------------------------------------------- */
static int32_t largest(const float *x, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return (int32_t)best;
}

/* The texts, each without its padding, and N tokens more of each; end tokens do not end them. */
static vm_status generate_all(llm_engine *en, const llm *m, const batch *b, int64_t N, float *tokens, float *logits, vm_error *e) {
    int64_t B = b->shape->shape[0], T = b->shape->shape[1], V = m->c.vocab;
    llm_seq s[LLM_SLOTS] = { { 0 } }, *all[LLM_SLOTS];
    int32_t next[LLM_SLOTS], *ids = vm_alloc((size_t)T * sizeof *ids + 1);
    float *now = vm_alloc((size_t)(B * V) * sizeof *now + 1);
    if (!ids || !now) vm_nomem(e, (size_t)(B * V) * sizeof *now, "logits");
    for (int64_t k = 0; k < B && !e->status; k++) {
        int64_t n = 0;
        for (int64_t t = 0; t < T; t++)
            if (!b->mask || b->mask[k * T + t]) ids[n++] = b->ids[k * T + t];
        all[k] = &s[k];
        llm_prefill(en, &s[k], ids, n, now + k * V, e);
    }
    for (int64_t i = 0; i < N && !e->status; i++) {
        for (int64_t k = 0; k < B; k++) {
            next[k] = largest(now + k * V, V);
            tokens[k * N + i] = (float)next[k];
            memcpy(logits + (k * N + i) * V, now + k * V, (size_t)V * sizeof *logits);
        }
        if (i + 1 < N) llm_decode(en, (int)B, all, next, now, e);
    }
    for (int64_t k = 0; k < B; k++) llm_seq_free(en, &s[k]);
    vm_free(ids), vm_free(now);
    return e->status;
}

static vm_status generate(forward_case *c, const llm *m, const batch *b, vm_error *e) {
    int64_t B = b->shape->shape[0], T = b->shape->shape[1], V = m->c.vocab;
    int32_t *most = forward_i32(c, "max_new_tokens", e);
    int64_t N = most ? most[0] : 0;
    llm_engine *en = NULL;
    vm_free(most);
    if (!e->status && (N < 1 || B > LLM_SLOTS))
        vm_fail(e, VM_EINPUT, "%s: case %s: %lld texts with %lld further tokens; 1 to %d texts and at least 1 token are possible", st_path(c->in, NULL), c->name,
                (long long)B, (long long)N, LLM_SLOTS);
    if (e->status) return e->status;
    float *tokens = vm_alloc((size_t)(B * N) * sizeof *tokens), *logits = vm_alloc((size_t)(B * N * V) * sizeof *logits);
    if (!tokens || !logits) vm_nomem(e, (size_t)(B * N * V) * sizeof *logits, "logits");
    llm_engine_options o = { .tokens = B * (T + N + LLM_CHUNK), .longest = T + N, .cache = c->dtype };
    if (!e->status && !llm_engine_new(&en, m, c->dtype, &o, e) && !generate_all(en, m, b, N, tokens, logits, e) &&
        !forward_put(c, "out.tokens", 2, (int64_t[]){ B, N }, tokens, e))
        forward_put(c, "out.logits", 3, (int64_t[]){ B, N, V }, logits, e);
    llm_engine_free(en);
    vm_free(tokens), vm_free(logits);
    return e->status;
}

/* --- adapters and quantised weights ----------------------------------------------------------------------------------------------------------- */
/* in.adapter: a folder beside the file of the case. */
static vm_status adapt(const forward_case *c, llm *m, vm_error *e) {
    const char *adapter = forward_string(c, "adapter");
    char *beside = adapter ? path_dir(st_path(c->in, NULL)) : NULL, *dir = beside ? path_join(beside, adapter) : NULL;
    if (adapter && !dir) vm_nomem(e, 256, "a path");
    if (dir) llm_adapt(m, NULL, dir, e);
    vm_free(beside), vm_free(dir);
    return e->status;
}

/* in.parameters: names of weights whose values are asked for. */
static vm_status put_weights(forward_case *c, const weight_map *map, vm_error *e) {
    const char *list = forward_string(c, "parameters");
    json_doc *d = list ? json_parse(list, strlen(list), "in.parameters", 0, e) : NULL;
    for (json_iter it = json_each(json_root(d)); !e->status && json_next(&it);) {
        const char *name = json_as_str(it.value, e);
        int64_t i = 0, len = 0;
        while (name && i < map->n && strcmp(map->t[i].name, name)) i++;
        if (!name || i == map->n) {
            vm_fail(e, VM_EINPUT, "%s: case %s: the model has no weight %s", st_path(c->in, NULL), c->name, name ? name : "");
            break;
        }
        float *x = weights_gather(map, i, 0, &len, e);
        char *key = vm_asprintf("out.weight.%s", name);
        if (x && key) forward_put(c, key, map->t[i].nd, map->t[i].ne, x, e);
        vm_free(x), vm_free(key);
    }
    json_free(d);
    return e->status;
}

/* Weights with an adapter folded in, or those that are quantised as numbers. */
static vm_status expand(forward_case *c, vm_error *e) {
    bool merge = !strcmp(c->kind, "adapter");
    llm *m = NULL;
    weight_map map = { 0 };
    if (!llm_open(&m, c->be, c->dir, merge, e) && (!merge || (!adapt(c, m, e) && !lora_merge(&m->adapter, e)))) {
        llm_map(m, &map);
        if (map.err.status) *e = map.err;
        else put_weights(c, &map, e);
    }
    weight_map_free(&map);
    llm_free(m);
    return e->status;
}

/* --- a case ------------------------------------------------------------------------------------------------------------- */
static vm_status put_grads(forward_case *c, const llm *m, vm_error *e) {
    weight_map map = { 0 };
    if (m->adapter) lora_map(m->adapter, &map);
    else llm_map(m, &map);
    if (map.err.status) *e = map.err;
    else forward_put_grads(c, &map, e);
    weight_map_free(&map);
    return e->status;
}

static vm_status run(forward_case *c, vm_error *e) {
    bool loss = !strcmp(c->kind, "loss");
    llm *m = NULL;
    batch b = { 0 };
    if (!strcmp(c->kind, "adapter") || !strcmp(c->kind, "quantize")) return expand(c, e);
    if (loss && strcmp(forward_string(c, "loss") ? forward_string(c, "loss") : "", "lm"))
        return vm_fail(e, VM_EINPUT, "%s: case %s: in.loss is not \"lm\", the only loss of a language model", st_path(c->in, NULL), c->name);
    if (!batch_read(&b, c, loss, e) && !llm_open(&m, c->be, c->dir, loss && c->grad && !forward_string(c, "adapter"), e) && !adapt(c, m, e)) {
        if (!strcmp(c->kind, "generate")) generate(c, m, &b, e);
        else if (!run_graph(c, m, &b, loss, e) && loss && c->grad) put_grads(c, m, e);
    }
    batch_free(&b);
    llm_free(m);
    return e->status;
}

const forward_family forward_llm = { .name = "language model", .is = llm_is_llm, .run = run, .kinds = "generate adapter quantize" };
