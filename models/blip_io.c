/* blip_io.c - BLIP directories of Hugging Face: configuration and tensor names, loading. */
#include <string.h>

#include "io/file.h"
#include "models/blip.h"

/* --- configuration -------------------------------------------------------------------------------------------------- */
/* The models of other tasks have the same model_type and other tensors. */
static void check_architecture(json_value root, vm_error *e) {
    json_value first = json_at(json_get(root, "architectures"), 0);
    if (e->status || !json_has(first)) return;
    const char *name = json_as_str(first, e);
    if (!e->status && strcmp(name, "BlipForImageTextRetrieval"))
        json_fail(first, e, "a %.60s is not supported; BlipForImageTextRetrieval is (blip-itm-base-coco and its like)", name);
}

/* image_size and patch_size: a number, or two equal ones. */
static int64_t square(json_value v, const char *key, int64_t dflt, int64_t max, vm_error *e) {
    int64_t side[2];
    if (json_get(v, key).kind != JSON_ARRAY) return json_int(v, key, dflt, 1, max, e);
    if (e->status || json_as_ints(json_get(v, key), side, 2, e) < 0) return dflt;
    if (side[0] != side[1] || side[0] < 1 || side[0] > max) json_fail(json_get(v, key), e, "found %d x %d, expected a square of 1 to %d", (int)side[0], (int)side[1], (int)max);
    return e->status ? dflt : side[0];
}

static vm_status read_config(blip_config *c, json_value root, vm_error *e) {
    json_value t = json_get(root, "text_config"), v = json_get(root, "vision_config");
    const char *type = json_str(root, "model_type", "", e);
    const int64_t W = 1 << 20;
    if (!e->status && strcmp(type, "blip")) return json_fail(json_get(root, "model_type"), e, "found \"%s\", expected \"blip\"", type);
    check_architecture(root, e);
    c->width = json_int(v, "hidden_size", 768, 1, W, e);
    c->layers = json_int(v, "num_hidden_layers", 12, 1, 1000, e);
    c->heads = json_int(v, "num_attention_heads", 12, 1, 1024, e);
    c->mlp = json_int(v, "intermediate_size", 3072, 1, W, e);
    c->eps = (float)json_num(v, "layer_norm_eps", 1e-5, 0, 1, e);
    c->act = towers_activation(v, "gelu", e);
    c->image_size = square(v, "image_size", 384, 1 << 14, e);
    c->patch = square(v, "patch_size", 16, 1 << 12, e);
    c->embed = json_int(root, "image_text_hidden_size", 256, 1, W, e);
    c->pad = json_int(t, "pad_token_id", 0, 0, 1 << 24, e);
    c->text = (bert_config){ .vocab = 30524, .heads = 8, .cross = c->width, .first_only = true };
    if (e->status || bert_config_parse(&c->text, t, e)) return e->status;
    if (c->width % c->heads) return json_fail(v, e, "%d heads do not divide the width %d", (int)c->heads, (int)c->width);
    if (c->patch > c->image_size) return json_fail(v, e, "patches of %d in images of %d", (int)c->patch, (int)c->image_size);
    if (!json_bool(t, "is_decoder", true, e) && !e->status)
        return json_fail(json_get(t, "is_decoder"), e, "a text encoder without cross-attention has no image-text matching head");
    return e->status;
}

vm_status blip_config_read(blip_config *c, const char *dir, vm_error *e) {
    char *path = path_join(dir, "config.json");
    *c = (blip_config){ 0 };
    if (!path) return vm_nomem(e, 256, "a path");
    json_doc *d = file_exists(path) ? json_open(path, e) : NULL;
    if (d) read_config(c, json_root(d), e);
    else if (!e->status) vm_fail(e, VM_EMODEL, "%s: no config.json; give the folder of a BLIP model", dir);
    json_free(d);
    vm_free(path);
    return e->status;
}

bool blip_is_blip(const char *dir) {
    char *path = path_join(dir, "config.json");
    vm_error none = { 0 };
    json_doc *d = path && file_exists(path) ? json_open(path, &none) : NULL;
    bool is = d && blip_family.is(json_root(d), false);
    json_free(d);
    vm_free(path);
    return is;
}

/* --- names ---------------------------------------------------------------------------------------------------------- */
void blip_map(const blip_model *m, weight_map *map) {
    static const nn_names names = { "self_attn.qkv.", "self_attn.projection.", "layer_norm1.", "layer_norm2.", "mlp.fc1.", "mlp.fc2.", true };
    const blip_config *c = &m->c;
    const int64_t V = c->width, P = c->patch, n = c->image_size / P, E = c->embed;
    tie_whole(map, m->class_embed, 3, (int64_t[]){ 1, 1, V }, 0, "vision_model.embeddings.class_embedding");
    tie_whole(map, m->vision_pos, 3, (int64_t[]){ 1, n * n + 1, V }, 0, "vision_model.embeddings.position_embedding");
    tie_whole(map, m->patch_w, 4, (int64_t[]){ V, 3, P, P }, 0, "vision_model.embeddings.patch_embedding.weight");
    tie_whole(map, m->patch_b, 1, &V, 0, "vision_model.embeddings.patch_embedding.bias");
    nn_tie_layers(map, m->vision, c->layers, V, c->mlp, &names, "vision_model.encoder.layers");
    tie_whole(map, m->post_w, 1, &V, 0, "vision_model.post_layernorm.weight");
    tie_whole(map, m->post_b, 1, &V, 0, "vision_model.post_layernorm.bias");
    bert_tie(&m->text, map, "text_encoder.", false);
    tie_whole(map, m->vision_proj_w, 2, m->vision_proj_w->ne, 0, "vision_proj.weight");
    tie_whole(map, m->vision_proj_b, 1, &E, 0, "vision_proj.bias");
    tie_whole(map, m->text_proj_w, 2, m->text_proj_w->ne, 0, "text_proj.weight");
    tie_whole(map, m->text_proj_b, 1, &E, 0, "text_proj.bias");
    tie_whole(map, m->itm_w, 2, m->itm_w->ne, 0, "itm_head.weight");
    tie_whole(map, m->itm_b, 1, m->itm_b->ne, 0, "itm_head.bias");
}

/* --- loading -------------------------------------------------------------------------------------------------------- */
vm_status blip_open(blip_model **out, vm_backend *be, const char *dir, bool writable, vm_error *e) {
    blip_config c;
    blip_model *m = NULL;
    weight_map map = { 0 };
    *out = NULL;
    if (!blip_config_read(&c, dir, e) && !blip_new(&m, be, &c, e) && !st_open(&m->file, dir, e)) {
        blip_map(m, &map);
        weights_load(&map, m->file, (const char *const[]){ "", NULL }, writable, &m->t.unused, e);
    }
    weight_map_free(&map);
    if (e->status) blip_free(m);
    else *out = m;
    return e->status;
}
