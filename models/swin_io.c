/* swin_io.c - configurations, tensor names and folders of swin.h. */
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "models/swin.h"

static void read_ints(json_value v, const char *key, int64_t *out, int64_t n, const int64_t *dflt, vm_error *e) {
    json_value list = json_get(v, key);
    for (int64_t k = 0; k < n; k++) out[k] = dflt[VM_MIN(k, (int64_t)3)];
    if (json_has(list)) json_as_ints(list, out, n, e);
}

/* out_features by name ("stage2"), else out_indices; stage 0 of the file is the stem. */
static void read_outs(swin_config *c, json_value v, vm_error *e) {
    json_value names = json_get(v, "out_features"), ids = json_get(v, "out_indices");
    json_value list = json_has(names) ? names : ids;
    if (!json_has(list)) c->out[c->outs++] = (int)c->stages - 1;
    for (json_iter it = json_each(list); !e->status && json_next(&it);) {
        int64_t s = -1;
        if (it.value.kind == JSON_STRING) {
            const char *name = json_as_str(it.value, e);
            s = name && !strncmp(name, "stage", 5) ? strtoll(name + 5, NULL, 10) : -1;
        } else s = json_as_int(it.value, -100, 100, e), s += s < 0 ? c->stages + 1 : 0;
        if (!e->status && (s < 1 || s > c->stages || c->outs == SWIN_STAGES)) json_fail(it.value, e, "is no stage of %d", (int)c->stages);
        else c->out[c->outs++] = (int)s - 1;
    }
}

vm_status swin_config_parse(swin_config *c, json_value v, vm_error *e) {
    static const int64_t depths[] = { 2, 2, 6, 2 }, heads[] = { 3, 6, 12, 24 };
    json_value list = json_get(v, "depths");
    *c = (swin_config){ .stages = json_has(list) ? json_len(list) : 4 };
    if (c->stages < 1 || c->stages > SWIN_STAGES) return json_fail(list, e, "%d stages, 1 to %d are possible", (int)c->stages, SWIN_STAGES);
    c->patch = json_int(v, "patch_size", 4, 1, 64, e), c->width = json_int(v, "embed_dim", 96, 1, 1 << 14, e);
    c->window = json_int(v, "window_size", 7, 1, 64, e), c->mlp_ratio = json_num(v, "mlp_ratio", 4, 0.01, 64, e);
    c->qkv_bias = json_bool(v, "qkv_bias", true, e), c->eps = (float)json_num(v, "layer_norm_eps", 1e-5, 0, 1, e);
    c->drop_path = json_num(v, "drop_path_rate", 0.1, 0, 0.99, e);
    read_ints(v, "depths", c->depth, c->stages, depths, e), read_ints(v, "num_heads", c->heads, c->stages, heads, e);
    const char *act = json_str(v, "hidden_act", "gelu", e);
    if (e->status) return e->status;
    if ((c->act = nn_activation(act)) == VM_NONE) return json_fail(json_get(v, "hidden_act"), e, "activation \"%s\" is not known", act);
    if (json_bool(v, "use_absolute_embeddings", false, e)) return json_fail(json_get(v, "use_absolute_embeddings"), e, "is not supported");
    for (int s = 0; s < c->stages && !e->status; s++)
        if (c->depth[s] < 1 || c->depth[s] > 1000 || c->heads[s] < 1 || (c->width << s) % c->heads[s])
            json_fail(v, e, "stage %d: %d blocks of %d heads for width %d", s + 1, (int)c->depth[s], (int)c->heads[s], (int)(c->width << s));
    if (!e->status) read_outs(c, v, e);
    return e->status;
}

static void tie_linear(weight_map *map, vm_param *w, vm_param *b, const char *name) {
    tie_whole(map, w, w->nd, w->ne, 0, "%s.weight", name);
    if (b) tie_whole(map, b, 1, b->ne, 0, "%s.bias", name);
}

static void tie_block(weight_map *map, const swin_block *b, const char *name) {
    static const char *const part[] = { "query", "key", "value" };
    int64_t C = b->out_w->ne[0], square[] = { C, C };
    char text[320];
    for (int k = 0; k < 3; k++) {
        tie_rows(map, b->qkv_w, k * C, C, 0, 2, square, "%s.attention.self.%s.weight", name, part[k]);
        if (b->qkv_b) tie_rows(map, b->qkv_b, k * C, C, 0, 1, &C, "%s.attention.self.%s.bias", name, part[k]);
    }
    tie_whole(map, b->bias, 2, b->bias->ne, 0, "%s.attention.self.relative_position_bias_table", name);
    const struct { vm_param *w, *b; const char *end; } parts[] = {
        { b->ln1_w, b->ln1_b, "layernorm_before" }, { b->out_w, b->out_b, "attention.output.dense" }, { b->ln2_w, b->ln2_b, "layernorm_after" },
        { b->fc1_w, b->fc1_b, "intermediate.dense" }, { b->fc2_w, b->fc2_b, "output.dense" },
    };
    for (int k = 0; k < VM_LEN(parts); k++) {
        snprintf(text, sizeof text, "%s.%s", name, parts[k].end);
        tie_linear(map, parts[k].w, parts[k].b, text);
    }
}

void swin_tie(const swin *m, weight_map *map, const char *prefix) {
    char text[256];
    int64_t P = m->c.patch;
    tie_whole(map, m->patch_w, 4, (int64_t[]){ m->c.width, 3, P, P }, 0, "%sembeddings.patch_embeddings.projection.weight", prefix);
    tie_whole(map, m->patch_b, 1, m->patch_b->ne, 0, "%sembeddings.patch_embeddings.projection.bias", prefix);
    snprintf(text, sizeof text, "%sembeddings.norm", prefix);
    tie_linear(map, m->ln_w, m->ln_b, text);
    for (int s = 0; s < m->c.stages; s++) {
        const swin_stage *t = &m->stage[s];
        for (int i = 0; i < m->c.depth[s]; i++) {
            snprintf(text, sizeof text, "%sencoder.layers.%d.blocks.%d", prefix, s, i);
            tie_block(map, &t->block[i], text);
        }
        if (t->merge_w) {
            snprintf(text, sizeof text, "%sencoder.layers.%d.downsample.norm", prefix, s);
            tie_linear(map, t->merge_ln_w, t->merge_ln_b, text);
            snprintf(text, sizeof text, "%sencoder.layers.%d.downsample.reduction", prefix, s);
            tie_linear(map, t->merge_w, NULL, text);
        }
        snprintf(text, sizeof text, "%shidden_states_norms.stage%d", prefix, s + 1);
        if (t->norm_w) tie_linear(map, t->norm_w, t->norm_b, text);
    }
}

/* --- folders -------------------------------------------------------------------------------------------------------- */
static const char folder[] = "the folder of a Swin backbone";

bool swin_is_swin(const char *dir) {
    vm_error none = { 0 };
    json_doc *d = json_config(dir, folder, &none);
    bool is = d && !strcmp(json_str(json_root(d), "model_type", "", &none), "swin");
    json_free(d);
    return is;
}

vm_status swin_open(swin_model **out, vm_backend *be, const char *dir, bool writable, vm_error *e) {
    swin_model *m = vm_calloc(1, sizeof *m);
    swin_config c;
    weight_map map = { 0 };
    json_doc *d = m ? json_config(dir, folder, e) : NULL;
    *out = NULL;
    if (!m) return vm_nomem(e, sizeof *m, "a Swin");
    m->w.be = be;
    if (d && !swin_config_parse(&c, json_root(d), e) && !swin_new(&m->net, &m->w, &c, e) && !st_open(&m->file, dir, e)) {
        swin_tie(&m->net, &map, "");
        weights_load(&map, m->file, (const char *const[]){ "", "swin.", NULL }, writable, &m->unused, e);
    }
    weight_map_free(&map);
    json_free(d);
    if (e->status) swin_close(m);
    else *out = m;
    return e->status;
}

void swin_close(swin_model *m) {
    if (!m) return;
    weights_free(&m->w);
    swin_free(&m->net);
    vm_free(m->unused);
    st_close(m->file);
    vm_free(m);
}
