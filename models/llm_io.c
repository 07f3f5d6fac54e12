/* llm_io.c - configurations and tensor names of decoder-only language models. */
#include <math.h>
#include <string.h>

#include "io/file.h"
#include "models/llm_gguf.h"

vm_status llm_make(llm **out, vm_backend *be, const llm_config *c, vm_error *e); /* llm.c */

/* What the classes of the reference mean by a key that is missing. */
typedef struct {
    const char *type;
    int64_t vocab, width, mlp, layers, heads, NKV; /* NKV 0 = as many as heads */
    double eps, theta;
    int64_t window;
    bool qkv_bias, fused, gemma, tied;
    int64_t experts; /* 0 = one MLP */
} family;
static const family families[] = {
    { "llama", 32000, 4096, 11008, 32, 32, 0, 1e-6, 1e4, 0, false, false, false, false, 0 },
    { "mistral", 32000, 4096, 14336, 32, 32, 8, 1e-6, 1e4, 4096, false, false, false, false, 0 },
    { "mixtral", 32000, 4096, 14336, 32, 32, 8, 1e-5, 1e6, 0, false, false, false, false, 8 },
    { "qwen2", 151936, 4096, 22016, 32, 32, 32, 1e-6, 1e4, 4096, true, false, false, false, 0 },
    { "phi3", 32064, 3072, 8192, 32, 32, 0, 1e-5, 1e4, 0, false, true, false, false, 0 },
    { "gemma", 256000, 3072, 24576, 28, 16, 16, 1e-6, 1e4, 0, false, false, true, true, 0 },
};

static const family *find_family(const char *type) {
    for (int k = 0; k < VM_LEN(families); k++)
        if (!strcmp(families[k].type, type)) return &families[k];
    return NULL;
}

/* --- configuration -------------------------------------------------------------------------------------------------- */
void llm_config_free(llm_config *c) {
    vm_free(c->short_divisors), vm_free(c->long_divisors);
    c->short_divisors = c->long_divisors = NULL;
}

static float *read_divisors(json_value v, const char *key, int64_t n, vm_error *e) {
    json_value list = json_need(v, key, JSON_ARRAY, e);
    double *x = vm_alloc((size_t)n * sizeof *x);
    float *f = vm_alloc((size_t)n * sizeof *f);
    if (!x || !f) vm_nomem(e, (size_t)n * sizeof *x, key);
    if (!e->status && json_len(list) != n) json_fail(list, e, "found %lld numbers, expected %lld: half the columns of a head", (long long)json_len(list), (long long)n);
    if (!e->status) json_as_nums(list, x, n, e);
    for (int64_t i = 0; i < n && !e->status; i++) f[i] = (float)x[i];
    vm_free(x);
    return f;
}

/* Newer files have rope_parameters, older ones rope_theta and rope_scaling. */
static void read_rope(llm_config *c, json_value root, double theta, vm_error *e) {
    json_value p = json_get(root, "rope_parameters"), s = json_has(p) ? p : json_get(root, "rope_scaling");
    vm_rope_kind *k = &c->rope;
    double part = json_num(root, "partial_rotary_factor", json_num(p, "partial_rotary_factor", 1, 0, 1, e), 0, 1, e);
    k->columns = (int)((double)c->HS * part) / 2 * 2;
    k->base = json_num(p, "rope_theta", json_num(root, "rope_theta", theta, 1, 1e12, e), 1, 1e12, e);
    k->original = json_int(s, "original_max_position_embeddings", json_int(root, "original_max_position_embeddings", c->context, 1, 1 << 24, e), 1, 1 << 24, e);
    const char *type = json_str(s, "rope_type", json_str(s, "type", "default", e), e);
    if (e->status) return;
    if (!strcmp(type, "linear")) k->scaling = VM_ROPE_LINEAR;
    else if (!strcmp(type, "dynamic")) k->scaling = VM_ROPE_DYNAMIC;
    else if (!strcmp(type, "llama3")) k->scaling = VM_ROPE_LLAMA3;
    else if (!strcmp(type, "yarn")) k->scaling = VM_ROPE_YARN;
    else if (!strcmp(type, "longrope") || !strcmp(type, "su")) k->scaling = VM_ROPE_LONG;
    else if (strcmp(type, "default"))
        json_fail(s, e, "rope_type \"%s\" is none of default, linear, dynamic, llama3, yarn, longrope", type);
    k->factor = json_num(s, "factor", 1, 1e-3, 1e6, e);
    k->attention = json_num(s, "attention_factor", 0, 0, 1e6, e);
    if (k->scaling == VM_ROPE_LLAMA3)
        k->low = json_num(s, "low_freq_factor", 1, 0, 1e6, e), k->high = json_num(s, "high_freq_factor", 4, 0, 1e6, e);
    if (k->scaling == VM_ROPE_YARN) {
        k->low = json_num(s, "beta_slow", 1, 0, 1e6, e), k->high = json_num(s, "beta_fast", 32, 0, 1e6, e);
        k->exact = !json_bool(s, "truncate", true, e);
    }
    if (k->scaling == VM_ROPE_LONG && !e->status) {
        k->factor = (double)c->context / (double)k->original;
        c->short_divisors = read_divisors(s, "short_factor", k->columns / 2, e);
        c->long_divisors = e->status ? NULL : read_divisors(s, "long_factor", k->columns / 2, e);
    }
}

static void read_stops(llm_config *c, json_value v, vm_error *e) {
    int64_t n = v.kind == JSON_ARRAY ? json_len(v) : json_has(v);
    for (int64_t i = 0; i < n && !e->status; i++) {
        int32_t id = (int32_t)json_as_int(v.kind == JSON_ARRAY ? json_at(v, i) : v, 0, INT32_MAX, e);
        bool there = c->stops == LLM_STOPS;
        for (int k = 0; k < c->stops; k++) there |= c->stop[k] == id;
        if (!there) c->stop[c->stops++] = id;
    }
}

static vm_status read_config(llm_config *c, json_value root, vm_error *e) {
    const char *type = json_str(root, "model_type", "", e), *act;
    const family *f = find_family(type);
    const int64_t W = 1 << 20;
    if (e->status) return e->status;
    if (!f) return json_fail(json_get(root, "model_type"), e, "\"%s\" is no language model that is read: llama, mistral, mixtral, qwen2, phi3, gemma", type);
    c->vocab = json_int(root, "vocab_size", f->vocab, 1, 1 << 24, e);
    c->width = json_int(root, "hidden_size", f->width, 1, W, e);
    c->mlp = json_int(root, "intermediate_size", f->mlp, 1, W, e);
    c->layers = json_int(root, "num_hidden_layers", f->layers, 1, 1000, e);
    c->NH = json_int(root, "num_attention_heads", f->heads, 1, 4096, e);
    c->NKV = json_int(root, "num_key_value_heads", f->NKV ? f->NKV : c->NH, 1, 4096, e);
    c->HS = json_int(root, "head_dim", f->gemma ? 256 : c->width / VM_MAX(c->NH, 1), 1, 4096, e);
    c->context = json_int(root, "max_position_embeddings", 4096, 1, 1 << 24, e);
    c->eps = (float)json_num(root, "rms_norm_eps", f->eps, 0, 1, e);
    c->tied = json_bool(root, "tie_word_embeddings", f->tied, e);
    c->gemma = f->gemma, c->fused = f->fused;
    c->qkv_bias = json_bool(root, "attention_bias", f->qkv_bias, e);
    c->out_bias = !strcmp(f->type, "llama") && c->qkv_bias;
    c->mlp_bias = json_bool(root, "mlp_bias", false, e);
    if (f->experts) {
        c->experts = json_int(root, "num_local_experts", f->experts, 1, 4096, e);
        c->chosen = json_int(root, "num_experts_per_tok", 2, 1, VM_MAX(c->experts, (int64_t)1), e);
    }
    bool windowed = strcmp(f->type, "qwen2") || json_bool(root, "use_sliding_window", false, e);
    json_value window = json_get(root, "sliding_window");
    if (windowed) c->window = json_has(window) ? json_as_int(window, 1, 1 << 24, e) : window.kind == JSON_NULL ? 0 : f->window;
    if (!strcmp(f->type, "qwen2")) c->window_from = json_int(root, "max_window_layers", 28, 0, 1000, e);
    c->bos = (int32_t)json_int(root, "bos_token_id", -1, -1, INT32_MAX, e), c->pad = (int32_t)json_int(root, "pad_token_id", -1, -1, INT32_MAX, e);
    read_stops(c, json_get(root, "eos_token_id"), e);
    act = json_str(root, "hidden_act", f->gemma ? "gelu_pytorch_tanh" : "silu", e);
    if (f->gemma) act = json_str(root, "hidden_activation", "gelu_pytorch_tanh", e); /* its files' hidden_act is wrong, as the reference has it */
    if (e->status) return e->status;
    if ((c->act = nn_activation(act)) == VM_NONE) return json_fail(json_get(root, "hidden_act"), e, "activation \"%s\" is not known", act);
    if (c->NH % c->NKV) return json_fail(root, e, "%d heads for keys do not divide %d heads", (int)c->NKV, (int)c->NH);
    read_rope(c, root, f->theta, e);
    return e->status;
}

vm_status llm_config_read(llm_config *c, const char *dir, vm_error *e) {
    char *path = path_join(dir, "config.json"), *more = path_join(dir, "generation_config.json");
    *c = (llm_config){ .bos = -1, .pad = -1 };
    if (!path || !more) vm_nomem(e, 256, "a path");
    else if (!file_exists(path)) vm_fail(e, VM_EMODEL, "%s: no config.json; give the folder of a language model", dir);
    json_doc *d = e->status ? NULL : json_open(path, e), *d2 = d && file_exists(more) ? json_open(more, e) : NULL;
    if (d2) read_stops(c, json_get(json_root(d2), "eos_token_id"), e); /* it wins: chat models stop at more ids */
    if (d && !e->status) read_config(c, json_root(d), e);
    json_free(d), json_free(d2);
    vm_free(path), vm_free(more);
    if (e->status) llm_config_free(c);
    return e->status;
}

bool llm_is_llm(const char *dir) {
    if (gguf_is(dir)) return file_exists(dir);
    char *path = path_join(dir, "config.json");
    vm_error none = { 0 };
    json_doc *d = path && file_exists(path) ? json_open(path, &none) : NULL;
    bool is = d && find_family(json_str(json_root(d), "model_type", "", &none));
    json_free(d);
    vm_free(path);
    return is;
}

/* --- names ---------------------------------------------------------------------------------------------------------- */
/* Rows of a tensor that several parameters share: "NAME.part". */
static void tie_parts(weight_map *map, int n, vm_param *const *p, const char *name) {
    int64_t all = 0, at = 0;
    for (int k = 0; k < n; k++) all += p[k]->ne[0];
    for (int k = 0; k < n; at += p[k++]->ne[0])
        tie_rows(map, p[k], 0, p[k]->ne[0], at, p[k]->nd, (int64_t[]){ all, p[k]->ne[1] }, "%s", name);
}

static void tie(weight_map *map, vm_param *p, const char *layer, const char *name) {
    if (p) tie_whole(map, p, p->nd, p->ne, 0, "%s%s", layer, name);
}

/* Experts: w1 (gate), w3 (up) and w2 (down) of each; or gate_up_proj (E,2I,H), whose rows are each expert's gate, then its up, and
 * down_proj (E,H,I). */
static void tie_experts(weight_map *map, const llm_config *c, const llm_layer *l, const char *layer) {
    vm_param *const part[] = { l->gate_w, l->up_w, l->down_w };
    const int64_t up[] = { c->experts, 2 * c->mlp, c->width };
    if (c->experts_joined) {
        tie(map, l->router, layer, "mlp.gate.weight");
        for (int64_t i = 0; i < 2 * c->experts; i++) tie_rows(map, part[i % 2], i / 2, 1, i, 3, up, "%smlp.experts.gate_up_proj", layer);
        tie(map, l->down_w, layer, "mlp.experts.down_proj");
        return;
    }
    tie(map, l->router, layer, "block_sparse_moe.gate.weight");
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < c->experts; i++)
            tie_rows(map, part[k], i, 1, 0, 2, part[k]->ne + 1, "%sblock_sparse_moe.experts.%d.w%d.weight", layer, (int)i, k == 0 ? 1 : k == 1 ? 3 : 2);
}

void llm_map(const llm *m, weight_map *map) {
    char layer[64], name[128];
    tie_whole(map, m->embed, 2, m->embed->ne, W_TABLE, "%sembed_tokens.weight", m->prefix);
    for (int64_t i = 0; i < m->c.layers; i++) {
        const llm_layer *l = &m->layer[i];
        snprintf(layer, sizeof layer, "%slayers.%d.", m->prefix, (int)i);
        tie(map, l->ln1, layer, "input_layernorm.weight"), tie(map, l->ln2, layer, "post_attention_layernorm.weight");
        tie(map, l->o_w, layer, "self_attn.o_proj.weight"), tie(map, l->o_b, layer, "self_attn.o_proj.bias");
        if (m->c.experts) tie_experts(map, &m->c, l, layer);
        else tie(map, l->down_w, layer, "mlp.down_proj.weight"), tie(map, l->down_b, layer, "mlp.down_proj.bias");
        if (m->c.fused) {
            snprintf(name, sizeof name, "%sself_attn.qkv_proj.weight", layer);
            tie_parts(map, 3, (vm_param *[]){ l->q_w, l->k_w, l->v_w }, name);
            snprintf(name, sizeof name, "%smlp.gate_up_proj.weight", layer);
            tie_parts(map, 2, (vm_param *[]){ l->gate_w, l->up_w }, name);
            continue;
        }
        tie(map, l->q_w, layer, "self_attn.q_proj.weight"), tie(map, l->q_b, layer, "self_attn.q_proj.bias");
        tie(map, l->k_w, layer, "self_attn.k_proj.weight"), tie(map, l->k_b, layer, "self_attn.k_proj.bias");
        tie(map, l->v_w, layer, "self_attn.v_proj.weight"), tie(map, l->v_b, layer, "self_attn.v_proj.bias");
        if (m->c.experts) continue;
        tie(map, l->gate_w, layer, "mlp.gate_proj.weight"), tie(map, l->gate_b, layer, "mlp.gate_proj.bias");
        tie(map, l->up_w, layer, "mlp.up_proj.weight"), tie(map, l->up_b, layer, "mlp.up_proj.bias");
    }
    tie(map, m->norm, m->prefix, "norm.weight");
    if (m->head != m->embed) tie_whole(map, m->head, 2, m->head->ne, 0, "lm_head.weight");
}

vm_status llm_adapt(llm *m, const lora_options *fresh, const char *dir, vm_error *e) {
    weight_map hf = { 0 };
    lora_options o = fresh ? *fresh : (lora_options){ 0 };
    o.usual = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj";
    llm_map(m, &hf);
    if (hf.err.status) *e = hf.err;
    else if (dir) lora_open(&m->adapter, &m->w, &hf, dir, e);
    else lora_new(&m->adapter, &m->w, &hf, &o, e);
    weight_map_free(&hf);
    for (int64_t i = 0; i < m->w.n && !e->status; i++) m->w.p[i]->trainable = lora_has(m->w.p[i]);
    return e->status;
}

static bool has_joined_experts(const llm *m) {
    char name[64];
    snprintf(name, sizeof name, "%slayers.0.mlp.gate.weight", m->prefix);
    return m->c.experts && st_find(m->file, name);
}

/* The tensors of a folder. */
static vm_status load_folder(llm *m, const char *dir, bool writable, vm_error *e) {
    weight_map map = { .keep = &m->w };
    quantised *q = NULL;
    json_doc *d = NULL;
    if (!st_open(&m->file, dir, e) && (d = json_config(dir, "a language model", e)) && !quantised_open(&q, m->file, json_root(d), e)) {
        snprintf(m->prefix, sizeof m->prefix, "%s", st_find(m->file, "embed_tokens.weight") ? "" : "model.");
        m->c.experts_joined = has_joined_experts(m);
        llm_map(m, &map);
        weight_source s = q ? quantised_source(q) : weights_of_safetensors(m->file);
        weights_load_from(&map, &s, (const char *const[]){ "", NULL }, writable, &m->unused, e);
    }
    weight_map_free(&map);
    quantised_free(q);
    json_free(d);
    return e->status;
}

static vm_status load_gguf(llm *m, bool writable, vm_error *e) {
    weight_map map = { .keep = &m->w };
    llm_gguf *q = NULL;
    snprintf(m->prefix, sizeof m->prefix, "model.");
    llm_map(m, &map);
    if (!llm_gguf_open(&q, m->gguf, &m->c, e)) {
        weight_source s = llm_gguf_source(q);
        weights_load_from(&map, &s, (const char *const[]){ "", NULL }, writable, &m->unused, e);
    }
    weight_map_free(&map);
    llm_gguf_free(q);
    return e->status;
}

vm_status llm_open(llm **out, vm_backend *be, const char *dir, bool writable, vm_error *e) {
    llm_config c;
    llm *m = NULL;
    gguf *g = NULL;
    *out = NULL;
    if (gguf_is(dir) ? gguf_open(&g, dir, e) || llm_gguf_config(&c, g, e) : llm_config_read(&c, dir, e)) return gguf_close(g), e->status;
    if (llm_make(&m, be, &c, e) && !m) llm_config_free(&c), gguf_close(g);
    if (m) m->gguf = g;
    if (!e->status) g ? load_gguf(m, writable, e) : load_folder(m, dir, writable, e);
    if (e->status) llm_free(m);
    else *out = m;
    return e->status;
}

/* --- saving ----------------------------------------------------------------------------------------------------------- */
vm_status llm_save_weights(const llm *m, const char *dir, st_dtype t, vm_error *e) {
    weight_map map = { 0 };
    llm_map(m, &map);
    if (map.err.status) *e = map.err;
    else weights_save(&map, dir, "model.safetensors", t, NULL, e);
    weight_map_free(&map);
    return e->status;
}

/* config.json as it was, but for the type of the weights, which are numbers now whatever they were. */
static vm_status save_config(const char *from, const char *dir, st_dtype t, vm_error *e) {
    char *path = path_join(from, "config.json");
    json_doc *d = path ? json_open(path, e) : NULL;
    if (!path) vm_nomem(e, 256, "a path");
    vm_free(path);
    if (!d) return e->status;
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    for (json_iter it = json_each(json_root(d)); json_next(&it);)
        if (strcmp(it.key, "dtype") && strcmp(it.key, "torch_dtype") && strcmp(it.key, "quantization_config")) json_put_value(&w, it.key, it.value);
    json_put_str(&w, "torch_dtype", t == ST_F16 ? "float16" : t == ST_BF16 ? "bfloat16" : "float32");
    json_close_object(&w);
    json_free(d);
    return json_save(&w, dir, "config.json", e);
}

vm_status llm_save(const llm *m, const char *from, const char *dir, st_dtype t, vm_error *e) {
    static const char *const others[] = { "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
                                          "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json" };
    if (llm_save_weights(m, dir, t, e) || save_config(from, dir, t, e)) return e->status;
    for (int k = 0; k < VM_LEN(others) && !e->status; k++) file_copy_named(from, dir, others[k], e);
    return e->status;
}
