/* bert_io.c - BERT's configuration and Hugging Face names; BertModel directories. */
#include <string.h>

#include "io/file.h"
#include "models/bert.h"
#include "models/towers.h"

/* --- configuration -------------------------------------------------------------------------------------------------- */
vm_status bert_config_parse(bert_config *c, json_value v, vm_error *e) {
    const int64_t W = 1 << 20;
    c->vocab = json_int(v, "vocab_size", c->vocab, 1, 1 << 24, e);
    c->width = json_int(v, "hidden_size", 768, 1, W, e);
    c->layers = json_int(v, "num_hidden_layers", 12, 1, 1000, e);
    c->heads = json_int(v, "num_attention_heads", c->heads, 1, 1024, e);
    c->mlp = json_int(v, "intermediate_size", 3072, 1, W, e);
    c->positions = json_int(v, "max_position_embeddings", 512, 1, 1 << 20, e);
    if (c->types) c->types = json_int(v, "type_vocab_size", c->types, 1, 1 << 10, e);
    c->eps = (float)json_num(v, "layer_norm_eps", 1e-12, 0, 1, e);
    c->act = towers_activation(v, "gelu", e);
    const char *kind = json_str(v, "position_embedding_type", "absolute", e);
    if (e->status) return e->status;
    if (c->width % c->heads) return json_fail(v, e, "%d heads do not divide the width %d", (int)c->heads, (int)c->width);
    if (strcmp(kind, "absolute"))
        return json_fail(json_get(v, "position_embedding_type"), e, "positions \"%s\" are not supported; \"absolute\" ones are", kind);
    return VM_OK;
}

/* --- names ---------------------------------------------------------------------------------------------------------- */
static void tie_linear(weight_map *map, vm_param *w, vm_param *b, const char *name) {
    tie_whole(map, w, 2, w->ne, 0, "%s.weight", name);
    tie_whole(map, b, 1, b->ne, 0, "%s.bias", name);
}

static void tie_norm(weight_map *map, vm_param *w, vm_param *b, const char *name, bool gamma) {
    tie_whole(map, w, 1, w->ne, 0, "%s.LayerNorm.%s", name, gamma ? "gamma" : "weight");
    tie_whole(map, b, 1, b->ne, 0, "%s.LayerNorm.%s", name, gamma ? "beta" : "bias");
}

/* name: "PREFIXencoder.layer.N.attention" */
static void tie_attn(weight_map *map, const bert_attn *a, int64_t C, const char *name, bool gamma) {
    static const char *const part[] = { "query", "key", "value" };
    vm_param *const w[] = { a->q_w, a->k_w, a->v_w }, *const b[] = { a->q_b, a->k_b, a->v_b };
    char text[200];
    for (int k = 0; k < 3; k++) {
        snprintf(text, sizeof text, "%s.self.%s", name, part[k]);
        if (!a->qkv_w) tie_linear(map, w[k], b[k], text);
        else {
            tie_rows(map, a->qkv_w, k * C, C, 0, 2, (int64_t[]){ C, C }, "%s.weight", text);
            tie_rows(map, a->qkv_b, k * C, C, 0, 1, &C, "%s.bias", text);
        }
    }
    snprintf(text, sizeof text, "%s.output.dense", name);
    tie_linear(map, a->out_w, a->out_b, text);
    snprintf(text, sizeof text, "%s.output", name);
    tie_norm(map, a->ln_w, a->ln_b, text, gamma);
}

void bert_tie(const bert_text *m, weight_map *map, const char *prefix, bool gamma) {
    const bert_config *c = &m->c;
    char text[160];
    tie_whole(map, m->word, 2, m->word->ne, W_TABLE, "%sembeddings.word_embeddings.weight", prefix);
    tie_whole(map, m->position, 2, m->position->ne, 0, "%sembeddings.position_embeddings.weight", prefix);
    if (m->type) tie_whole(map, m->type, 2, m->type->ne, 0, "%sembeddings.token_type_embeddings.weight", prefix);
    snprintf(text, sizeof text, "%sembeddings", prefix);
    tie_norm(map, m->ln_w, m->ln_b, text, gamma);
    for (int64_t i = 0; i < c->layers; i++) {
        const bert_layer *l = &m->layer[i];
        snprintf(text, sizeof text, "%sencoder.layer.%d.attention", prefix, (int)i);
        tie_attn(map, &l->self, c->width, text, gamma);
        snprintf(text, sizeof text, "%sencoder.layer.%d.crossattention", prefix, (int)i);
        if (c->cross) tie_attn(map, &l->cross, c->width, text, gamma);
        snprintf(text, sizeof text, "%sencoder.layer.%d.intermediate.dense", prefix, (int)i);
        tie_linear(map, l->fc1_w, l->fc1_b, text);
        snprintf(text, sizeof text, "%sencoder.layer.%d.output.dense", prefix, (int)i);
        tie_linear(map, l->fc2_w, l->fc2_b, text);
        snprintf(text, sizeof text, "%sencoder.layer.%d.output", prefix, (int)i);
        tie_norm(map, l->ln_w, l->ln_b, text, gamma);
    }
    snprintf(text, sizeof text, "%spooler.dense", prefix);
    if (m->pool_w) tie_linear(map, m->pool_w, m->pool_b, text);
}

/* --- directories ---------------------------------------------------------------------------------------------------- */
static vm_status read_config(bert_config *c, const char *dir, vm_error *e) {
    char *path = path_join(dir, "config.json");
    *c = (bert_config){ .vocab = 30522, .heads = 12, .types = 2, .pooler = true };
    if (!path) return vm_nomem(e, 256, "a path");
    json_doc *d = file_exists(path) ? json_open(path, e) : NULL;
    if (!d && !e->status) vm_fail(e, VM_EMODEL, "%s: no config.json; give the folder of a BERT model", dir);
    json_value root = json_root(d);
    const char *type = json_str(root, "model_type", "", e);
    if (!e->status && strcmp(type, "bert")) json_fail(json_get(root, "model_type"), e, "found \"%s\", expected \"bert\"", type);
    if (!e->status && (json_bool(root, "is_decoder", false, e) || json_bool(root, "add_cross_attention", false, e)))
        json_fail(root, e, "a BERT that is a decoder is not supported; encoders are");
    if (!e->status) bert_config_parse(c, root, e);
    json_free(d);
    vm_free(path);
    return e->status;
}

bool bert_is_bert(const char *dir) {
    char *path = path_join(dir, "config.json");
    vm_error none = { 0 };
    json_doc *d = path && file_exists(path) ? json_open(path, &none) : NULL;
    bool is = d && !strcmp(json_str(json_root(d), "model_type", "", &none), "bert");
    json_free(d);
    vm_free(path);
    return is;
}

static bool ends(const char *name, const char *end) {
    size_t n = strlen(name), k = strlen(end);
    return n >= k && !strcmp(name + n - k, end);
}

/* Prefix, spelling of norms and whether there is a pooler, from the names in the file. */
static void look(bert_model *m, bert_config *c) {
    c->pooler = false;
    for (int64_t i = 0; i < st_len(m->file); i++) {
        const char *name = st_at(m->file, i)->name;
        if (!strcmp(name, "bert.embeddings.word_embeddings.weight")) snprintf(m->prefix, sizeof m->prefix, "bert.");
        m->gamma |= ends(name, "embeddings.LayerNorm.gamma");
        c->pooler |= ends(name, "pooler.dense.weight");
    }
}

vm_status bert_open(bert_model **out, vm_backend *be, const char *dir, bool writable, vm_error *e) {
    bert_config c;
    bert_model *m = vm_calloc(1, sizeof *m);
    weight_map map = { 0 };
    *out = NULL;
    if (!m) return vm_nomem(e, sizeof *m, "a BERT model");
    m->w.be = be;
    if (!read_config(&c, dir, e) && !st_open(&m->file, dir, e)) {
        look(m, &c);
        if (!bert_text_new(&m->text, &m->w, &c, "text", e)) {
            bert_map(m, &map);
            weights_load(&map, m->file, (const char *const[]){ "", NULL }, writable, &m->unused, e);
        }
    }
    weight_map_free(&map);
    if (e->status) bert_free(m);
    else *out = m;
    return e->status;
}

void bert_free(bert_model *m) {
    if (!m) return;
    weights_free(&m->w);
    bert_text_free(&m->text);
    vm_free(m->unused);
    st_close(m->file);
    vm_free(m);
}

void bert_map(const bert_model *m, weight_map *map) { bert_tie(&m->text, map, m->prefix, m->gamma); }
