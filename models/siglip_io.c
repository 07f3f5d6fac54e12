/* siglip_io.c - SigLIP directories of Hugging Face: configuration and tensor names, loading, saving. */
#include <string.h>

#include "io/file.h"
#include "models/siglip.h"

/* --- configuration -------------------------------------------------------------------------------------------------- */
static void read_tower(siglip_tower *t, json_value v, vm_error *e) {
    const int64_t W = 1 << 20;
    *t = (siglip_tower){ json_int(v, "hidden_size", 768, 1, W, e), json_int(v, "num_hidden_layers", 12, 1, 1000, e),
                         json_int(v, "num_attention_heads", 12, 1, 1024, e), json_int(v, "intermediate_size", 3072, 1, W, e),
                         (float)json_num(v, "layer_norm_eps", 1e-6, 0, 1, e), VM_NONE };
    t->act = towers_activation(v, "gelu_pytorch_tanh", e);
    if (!e->status && t->width % t->heads) json_fail(v, e, "%d heads do not divide the width %d", (int)t->heads, (int)t->width);
}

static vm_status read_config(siglip_config *c, json_value root, vm_error *e) {
    json_value t = json_get(root, "text_config"), v = json_get(root, "vision_config");
    const char *type = json_str(root, "model_type", "", e);
    if (!e->status && strcmp(type, "siglip")) return json_fail(json_get(root, "model_type"), e, "found \"%s\", expected \"siglip\"", type);
    read_tower(&c->text, t, e);
    if (!e->status) read_tower(&c->vision, v, e);
    c->vocab = json_int(t, "vocab_size", 32000, 1, 1 << 24, e);
    c->context = json_int(t, "max_position_embeddings", 64, 1, 1 << 16, e);
    c->pad = json_int(t, "pad_token_id", 1, -1, 1 << 24, e);
    c->image_size = json_int(v, "image_size", 224, 1, 1 << 14, e);
    c->patch = json_int(v, "patch_size", 16, 1, 1 << 12, e);
    int64_t out = json_int(t, "projection_size", c->text.width, 1, 1 << 20, e);
    if (e->status) return e->status;
    if (out != c->vision.width)
        return json_fail(root, e, "texts become %d numbers and pictures %d; a SigLIP needs projection_size of text_config = hidden_size of vision_config", (int)out,
                         (int)c->vision.width);
    if (c->patch > c->image_size) return json_fail(v, e, "patches of %d in images of %d", (int)c->patch, (int)c->image_size);
    if (c->pad >= c->vocab) return json_fail(t, e, "pad_token_id %d in a vocabulary of %d", (int)c->pad, (int)c->vocab);
    if (json_int(v, "num_channels", 3, 1, 16, e) != 3) return json_fail(json_get(v, "num_channels"), e, "only 3 channels are supported");
    if (!json_bool(v, "vision_use_head", true, e)) json_fail(json_get(v, "vision_use_head"), e, "a vision tower without its pooling head gives no features");
    return e->status;
}

vm_status siglip_config_read(siglip_config *c, const char *dir, vm_error *e) {
    char *path = path_join(dir, "config.json");
    *c = (siglip_config){ 0 };
    if (!path) return vm_nomem(e, 256, "a path");
    if (!file_exists(path)) {
        vm_fail(e, VM_EMODEL, "%s: no config.json; give the folder of a SigLIP model", dir);
    } else {
        json_doc *d = json_open(path, e);
        if (d) read_config(c, json_root(d), e);
        json_free(d);
    }
    vm_free(path);
    return e->status;
}

bool siglip_is_siglip(const char *dir) {
    siglip_config c;
    vm_error e = { 0 };
    return !siglip_config_read(&c, dir, &e);
}

/* --- names ---------------------------------------------------------------------------------------------------------- */
void siglip_map(const siglip_model *m, weight_map *map) {
    static const nn_names head = { "attention.in_proj_", "attention.out_proj.", NULL, "layernorm.", "mlp.fc1.", "mlp.fc2.", true };
    const siglip_config *c = &m->c;
    const int64_t one[] = { 1 }, T = c->text.width, V = c->vision.width, P = c->patch, n = c->image_size / P;
    tie_whole(map, m->t.logit_scale, 1, one, 0, "logit_scale");
    tie_whole(map, m->t.logit_bias, 1, one, 0, "logit_bias");
    tie_whole(map, m->token_embed, 2, (int64_t[]){ c->vocab, T }, 0, "text_model.embeddings.token_embedding.weight");
    tie_whole(map, m->text_pos, 2, (int64_t[]){ c->context, T }, 0, "text_model.embeddings.position_embedding.weight");
    tie_whole(map, m->text_ln_w, 1, &T, 0, "text_model.final_layer_norm.weight");
    tie_whole(map, m->text_ln_b, 1, &T, 0, "text_model.final_layer_norm.bias");
    tie_whole(map, m->text_head_w, 2, (int64_t[]){ V, T }, 0, "text_model.head.weight");
    tie_whole(map, m->text_head_b, 1, &V, 0, "text_model.head.bias");
    tie_whole(map, m->patch_w, 4, (int64_t[]){ V, 3, P, P }, 0, "vision_model.embeddings.patch_embedding.weight");
    tie_whole(map, m->patch_b, 1, &V, 0, "vision_model.embeddings.patch_embedding.bias");
    tie_whole(map, m->vision_pos, 2, (int64_t[]){ n * n, V }, 0, "vision_model.embeddings.position_embedding.weight");
    tie_whole(map, m->post_w, 1, &V, 0, "vision_model.post_layernorm.weight");
    tie_whole(map, m->post_b, 1, &V, 0, "vision_model.post_layernorm.bias");
    tie_whole(map, m->probe, 3, (int64_t[]){ 1, 1, V }, 0, "vision_model.head.probe");
    nn_tie_layer(map, &m->head, V, c->vision.mlp, &head, "vision_model.head.");
    nn_tie_layers(map, m->text, c->text.layers, T, c->text.mlp, &nn_names_hf, "text_model.encoder.layers");
    nn_tie_layers(map, m->vision, c->vision.layers, V, c->vision.mlp, &nn_names_hf, "vision_model.encoder.layers");
}

/* --- loading and saving --------------------------------------------------------------------------------------------- */
vm_status siglip_open(siglip_model **out, vm_backend *be, const char *dir, bool writable, vm_error *e) {
    siglip_config c;
    siglip_model *m = NULL;
    weight_map map = { 0 };
    *out = NULL;
    if (!siglip_config_read(&c, dir, e) && !siglip_new(&m, be, &c, e) && !st_open(&m->file, dir, e)) {
        siglip_map(m, &map);
        weights_load(&map, m->file, (const char *const[]){ "", NULL }, writable, &m->t.unused, e);
    }
    weight_map_free(&map);
    if (e->status) siglip_free(m);
    else *out = m;
    return e->status;
}

static vm_status save_config(const siglip_config *c, const char *dir, vm_error *e) {
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    json_begin_array(&w, "architectures");
    json_put_str(&w, NULL, "SiglipModel");
    json_close_array(&w);
    json_put_str(&w, "model_type", "siglip");
    json_put_str(&w, "torch_dtype", "float32");
    for (int k = 0; k < 2; k++) {
        const siglip_tower *t = k ? &c->vision : &c->text;
        json_begin_object(&w, k ? "vision_config" : "text_config");
        json_put_str(&w, "model_type", k ? "siglip_vision_model" : "siglip_text_model");
        json_put_int(&w, "hidden_size", t->width);
        json_put_int(&w, "intermediate_size", t->mlp);
        json_put_int(&w, "num_hidden_layers", t->layers);
        json_put_int(&w, "num_attention_heads", t->heads);
        json_put_str(&w, "hidden_act", nn_activation_name(t->act));
        json_put_f32(&w, "layer_norm_eps", t->eps);
        if (k) {
            json_put_int(&w, "image_size", c->image_size);
            json_put_int(&w, "patch_size", c->patch);
            json_put_int(&w, "num_channels", 3);
        } else {
            json_put_int(&w, "vocab_size", c->vocab);
            json_put_int(&w, "max_position_embeddings", c->context);
            json_put_int(&w, "pad_token_id", c->pad);
            json_put_int(&w, "projection_size", c->vision.width);
        }
        json_close_object(&w);
    }
    json_close_object(&w);
    return json_save(&w, dir, "config.json", e);
}

vm_status siglip_save(const siglip_model *m, const char *dir, st_dtype t, vm_error *e) {
    weight_map map = { 0 };
    siglip_map(m, &map);
    weights_save(&map, dir, "model.safetensors", t, NULL, e);
    weight_map_free(&map);
    return e->status ? e->status : save_config(&m->c, dir, e);
}
