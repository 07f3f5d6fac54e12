/* clip_io.c - CLIP directories: configurations and tensor names of the two published layouts, loading, saving.
 * The activation is read, never guessed: QuickGELU and GELU weights look alike and score differently. */
#include <math.h>
#include <string.h>

#include "io/file.h"
#include "io/json.h"
#include "models/clip.h"

static const double clip_mean[3] = { 0.48145466, 0.4578275, 0.40821073 }, clip_std[3] = { 0.26862954, 0.26130258, 0.27577711 };

/* --- configurations ------------------------------------------------------------------------------------------------- */
static json_doc *open_in(const char *dir, const char *name, vm_error *e) {
    char *path = path_join(dir, name);
    json_doc *d = path ? json_open(path, e) : NULL;
    vm_free(path);
    return d;
}

static bool has_file(const char *dir, const char *name) {
    char *path = path_join(dir, name);
    bool there = path && file_exists(path);
    vm_free(path);
    return there;
}

/* Old files carry text_config_dict beside text_config; it overrides. */
static json_value part(json_value root, const char *name) {
    char dict[64];
    snprintf(dict, sizeof dict, "%s_dict", name);
    json_value v = json_get(root, dict);
    return json_has(v) && json_len(v) ? v : json_get(root, name);
}

static vm_status read_hf(clip_config *c, json_value root, vm_error *e) {
    json_value t = part(root, "text_config"), v = part(root, "vision_config");
    const char *type = json_str(root, "model_type", "", e);
    const int64_t W = 1 << 20;
    if (!e->status && strcmp(type, "clip")) json_fail(json_get(root, "model_type"), e, "found \"%s\", expected \"clip\"", type);
    c->layout = CLIP_HF;
    c->embed = json_int(root, "projection_dim", 512, 1, W, e);
    c->text = (clip_tower){ json_int(t, "hidden_size", 512, 1, W, e), json_int(t, "num_hidden_layers", 12, 1, 1000, e),
                            json_int(t, "num_attention_heads", 8, 1, 1024, e), json_int(t, "intermediate_size", 2048, 1, W, e) };
    c->vision = (clip_tower){ json_int(v, "hidden_size", 768, 1, W, e), json_int(v, "num_hidden_layers", 12, 1, 1000, e),
                              json_int(v, "num_attention_heads", 12, 1, 1024, e), json_int(v, "intermediate_size", 3072, 1, W, e) };
    c->vocab = json_int(t, "vocab_size", 49408, 1, 1 << 24, e);
    c->context = json_int(t, "max_position_embeddings", 77, 1, 1 << 16, e);
    c->image_size = json_int(v, "image_size", 224, 1, 1 << 14, e);
    c->patch = json_int(v, "patch_size", 32, 1, 1 << 12, e);
    c->bos = json_int(t, "bos_token_id", 49406, -1, 1 << 24, e);
    c->eos = json_int(t, "eos_token_id", 49407, -1, 1 << 24, e);
    c->pad = json_int(t, "pad_token_id", 1, -1, 1 << 24, e);
    c->pool_argmax = c->eos == 2;
    c->text_eps = (float)json_num(t, "layer_norm_eps", 1e-5, 0, 1, e);
    c->vision_eps = (float)json_num(v, "layer_norm_eps", 1e-5, 0, 1, e);
    if (!e->status && json_int(v, "num_channels", 3, 1, 16, e) != 3) json_fail(json_get(v, "num_channels"), e, "only 3 channels are supported");
    if (!e->status) c->text_act = towers_activation(t, "quick_gelu", e), c->vision_act = towers_activation(v, "quick_gelu", e);
    return e->status;
}

/* Options of open_clip that change the computation and that this file does not build. */
static void refuse_unknown(json_value cfg, vm_error *e) {
    static const char *const off[] = { "timm_model_name", "hf_model_name", "hf_tokenizer_name", "ls_init_value", "attentional_pool", "no_ln_pre",
                                       "final_ln_after_pool", "embed_cls", "no_causal_mask", "qk_norm", "scaled_cosine_attn", "pos_embed_type",
                                       "norm_kwargs", "act_kwargs", "init_logit_bias", "input_patchnorm", "global_average_pool" };
    for (int k = 0; k < VM_LEN(off) && !e->status; k++) {
        json_value v = json_get(cfg, off[k]);
        if (!json_has(v) || (v.kind == JSON_BOOL && !json_as_bool(v, e))) continue;
        if (v.kind == JSON_STRING && !strcmp(json_as_str(v, e), "learnable")) continue;
        if (v.kind == JSON_OBJECT && !json_len(v)) continue;
        json_fail(v, e, "this variant of CLIP is not supported yet; plain ViT and text towers are");
    }
    const char *pool = json_str(cfg, "pool_type", "tok", e);
    if (!e->status && strcmp(pool, "tok") && strcmp(pool, "argmax")) json_fail(json_get(cfg, "pool_type"), e, "pooling \"%s\" is not supported", pool);
}

static json_value model_cfg(json_value root) {
    json_value m = json_get(root, "model_cfg");
    return json_has(m) ? m : root; /* open_clip's own model_configs/NAME.json */
}

static void read_vit(clip_config *c, json_value v, vm_error *e) {
    c->vision.width = json_int(v, "width", 768, 1, 1 << 20, e), c->vision.layers = json_int(v, "layers", 12, 1, 1000, e);
    int64_t head = json_int(v, "head_width", 64, 1, 4096, e);
    if (!e->status && c->vision.width % head) json_fail(json_get(v, "head_width"), e, "%d does not divide the width %d", (int)head, (int)c->vision.width);
    c->vision.heads = e->status ? 1 : c->vision.width / head;
    c->vision.mlp = (int64_t)((double)c->vision.width * json_num(v, "mlp_ratio", 4, 0.01, 100, e));
    c->patch = json_int(v, "patch_size", 32, 1, 1 << 12, e);
}

/* "layers" are the blocks of four stages; "patch_size" says nothing here. */
static void read_resnet(clip_config *c, json_value v, vm_error *e) {
    json_value layers = json_get(v, "layers");
    if (!e->status && json_len(layers) != RESNET_STAGES)
        json_fail(layers, e, "%d stages, a ResNet has %d", (int)json_len(layers), RESNET_STAGES);
    for (int k = 0; k < RESNET_STAGES && !e->status; k++) {
        c->blocks[k] = json_as_int(json_at(layers, k), 1, 1000, e);
        c->vision.layers += c->blocks[k];
    }
    c->vision.width = json_int(v, "width", 64, 1, 1 << 12, e);
    int64_t head = json_int(v, "head_width", 64, 1, 4096, e);
    if (!e->status && (c->vision.width % 2 || c->vision.width * 32 % head))
        json_fail(v, e, "a ResNet of width %d with heads of %d; even widths are needed, 32 times as wide as some heads", (int)c->vision.width, (int)head);
    if (!e->status && c->image_size % RESNET_SHRINK)
        json_fail(json_get(v, "image_size"), e, "%d pixels for a ResNet, which needs a multiple of %d", (int)c->image_size, RESNET_SHRINK);
    c->vision.heads = e->status ? 1 : c->vision.width * 32 / head;
    c->patch = RESNET_SHRINK, c->vision_act = VM_RELU;
}

static vm_status read_open_clip(clip_config *c, json_value root, vm_error *e) {
    json_value m = model_cfg(root);
    json_value t = json_get(m, "text_cfg"), v = json_get(m, "vision_cfg");
    const int64_t W = 1 << 20;
    if (!e->status && (!json_has(t) || !json_has(v))) json_fail(m, e, "text_cfg and vision_cfg are needed");
    if (!e->status) refuse_unknown(t, e), refuse_unknown(v, e), refuse_unknown(m, e);
    bool quick = json_bool(m, "quick_gelu", false, e);
    c->layout = CLIP_OPEN;
    c->embed = json_int(m, "embed_dim", 512, 1, W, e);
    c->text.width = json_int(t, "width", 512, 1, W, e), c->text.layers = json_int(t, "layers", 12, 1, 1000, e);
    c->text.heads = json_int(t, "heads", 8, 1, 1024, e);
    c->text.mlp = (int64_t)((double)c->text.width * json_num(t, "mlp_ratio", 4, 0.01, 100, e));
    c->vocab = json_int(t, "vocab_size", 49408, 2, 1 << 24, e), c->context = json_int(t, "context_length", 77, 1, 1 << 16, e);
    c->image_size = json_int(v, "image_size", 224, 1, 1 << 14, e);
    c->bos = c->vocab - 2, c->eos = c->vocab - 1, c->pad = 0, c->pool_argmax = true;
    c->text_eps = c->vision_eps = 1e-5f, c->norm_eps = 1e-12f;
    c->text_act = c->vision_act = quick ? VM_QUICK_GELU : VM_GELU, c->act_assumed = !json_has(json_get(m, "quick_gelu"));
    if (json_get(v, "layers").kind == JSON_ARRAY) read_resnet(c, v, e);
    else read_vit(c, v, e);
    double stats[3];
    json_value pp = json_get(root, "preprocess_cfg");
    if (!e->status && json_has(json_get(pp, "mean")) && json_as_nums(json_get(pp, "mean"), stats, 3, e) == 3) memcpy(c->mean, stats, sizeof stats);
    if (!e->status && json_has(json_get(pp, "std")) && json_as_nums(json_get(pp, "std"), stats, 3, e) == 3) memcpy(c->std, stats, sizeof stats);
    return e->status;
}

void clip_set_activation(clip_config *c, vm_unary_kind k) {
    c->text_act = k, c->act_assumed = false;
    if (!clip_is_resnet(c)) c->vision_act = k;
}

clip_config clip_config_blank(void) {
    clip_config c = { 0 };
    memcpy(c.mean, clip_mean, sizeof clip_mean), memcpy(c.std, clip_std, sizeof clip_std);
    return c;
}

static vm_status read_config(clip_config *c, json_doc *d, vm_error *e) {
    json_value root = json_root(d);
    bool open_clip = json_has(json_get(model_cfg(root), "vision_cfg"));
    *c = clip_config_blank();
    if (e->status) return e->status;
    if (open_clip) read_open_clip(c, root, e);
    else read_hf(c, root, e);
    const clip_tower *t[] = { &c->text, &c->vision };
    for (int k = 0; k < 2 && !e->status; k++)
        if (t[k]->width % t[k]->heads && !(k && clip_is_resnet(c)))
            vm_fail(e, VM_EMODEL, "%s: %d heads do not divide the width %d", json_name(d), (int)t[k]->heads, (int)t[k]->width);
    if (!e->status && c->patch > c->image_size)
        vm_fail(e, VM_EMODEL, "%s: patches of %d in images of %d", json_name(d), (int)c->patch, (int)c->image_size);
    return e->status;
}

vm_status clip_config_read(clip_config *c, const char *dir, vm_error *e) {
    bool hf = has_file(dir, "config.json");
    if (!hf && !has_file(dir, "open_clip_config.json"))
        return vm_fail(e, VM_EMODEL, "%s: no config.json and no open_clip_config.json; give the folder of a CLIP model", dir);
    json_doc *d = open_in(dir, hf ? "config.json" : "open_clip_config.json", e);
    vm_status st = read_config(c, d, e);
    json_free(d);
    return st;
}

vm_status clip_config_file(clip_config *c, const char *path, vm_error *e) {
    json_doc *d = json_open(path, e);
    json_value root = json_root(d);
    if (!read_config(c, d, e) && c->act_assumed) clip_set_activation(c, VM_NONE);
    else if (!e->status && c->layout == CLIP_HF) {
        if (!json_has(json_get(part(root, "text_config"), "hidden_act"))) c->text_act = VM_NONE;
        if (!json_has(json_get(part(root, "vision_config"), "hidden_act"))) c->vision_act = VM_NONE;
    }
    json_free(d);
    return e->status;
}

bool clip_is_clip(const char *dir) {
    clip_config c;
    vm_error e = { 0 };
    return !clip_config_read(&c, dir, &e);
}

/* --- names ---------------------------------------------------------------------------------------------------------- */
static void map_vit(const clip_model *m, bool hf, weight_map *map) {
    const clip_config *c = &m->c;
    const int64_t V = c->vision.width, E = c->embed, P = c->patch, n = c->image_size / P, EV[] = { E, V }, VE[] = { V, E };
    tie_whole(map, m->class_embed, 1, &V, 0, hf ? "vision_model.embeddings.class_embedding" : "visual.class_embedding");
    tie_whole(map, m->patch_embed, 4, (int64_t[]){ V, 3, P, P }, 0, hf ? "vision_model.embeddings.patch_embedding.weight" : "visual.conv1.weight");
    tie_whole(map, m->vision_pos, 2, (int64_t[]){ n * n + 1, V }, 0, hf ? "vision_model.embeddings.position_embedding.weight" : "visual.positional_embedding");
    tie_whole(map, m->pre_w, 1, &V, 0, hf ? "vision_model.pre_layrnorm.weight" : "visual.ln_pre.weight");
    tie_whole(map, m->pre_b, 1, &V, 0, hf ? "vision_model.pre_layrnorm.bias" : "visual.ln_pre.bias");
    tie_whole(map, m->post_w, 1, &V, 0, hf ? "vision_model.post_layernorm.weight" : "visual.ln_post.weight");
    tie_whole(map, m->post_b, 1, &V, 0, hf ? "vision_model.post_layernorm.bias" : "visual.ln_post.bias");
    tie_whole(map, m->vision_proj, 2, hf ? EV : VE, hf ? 0 : W_TRANSPOSED, hf ? "visual_projection.weight" : "visual.proj");
}

void clip_map(const clip_model *m, clip_layout layout, weight_map *map) {
    const clip_config *c = &m->c;
    const bool hf = layout == CLIP_HF;
    const int64_t T = c->text.width, E = c->embed, ET[] = { E, T }, TE[] = { T, E };
    const nn_names *names = hf ? &nn_names_hf : &nn_names_open_clip;
    tie_whole(map, m->t.logit_scale, 0, NULL, 0, "logit_scale");
    tie_whole(map, m->token_embed, 2, (int64_t[]){ c->vocab, T }, 0, hf ? "text_model.embeddings.token_embedding.weight" : "token_embedding.weight");
    tie_whole(map, m->text_pos, 2, (int64_t[]){ c->context, T }, 0, hf ? "text_model.embeddings.position_embedding.weight" : "positional_embedding");
    tie_whole(map, m->text_ln_w, 1, &T, 0, hf ? "text_model.final_layer_norm.weight" : "ln_final.weight");
    tie_whole(map, m->text_ln_b, 1, &T, 0, hf ? "text_model.final_layer_norm.bias" : "ln_final.bias");
    tie_whole(map, m->text_proj, 2, hf ? ET : TE, hf ? 0 : W_TRANSPOSED, hf ? "text_projection.weight" : "text_projection");
    if (m->resnet) resnet_map(m->resnet, map);
    else map_vit(m, hf, map);
    nn_tie_layers(map, m->text, c->text.layers, T, c->text.mlp, names, hf ? "text_model.encoder.layers" : "transformer.resblocks");
    if (!m->resnet)
        nn_tie_layers(map, m->vision, c->vision.layers, c->vision.width, c->vision.mlp, names,
                      hf ? "vision_model.encoder.layers" : "visual.transformer.resblocks");
}

/* --- loading -------------------------------------------------------------------------------------------------------- */
vm_status clip_load(clip_model *m, const weight_source *s, const char *prefix, bool writable, vm_error *e) {
    weight_map map = { 0 };
    char module[300], text[300], module_text[300];
    snprintf(module, sizeof module, "%smodule.", prefix), snprintf(text, sizeof text, "%stext.", prefix);
    snprintf(module_text, sizeof module_text, "%smodule.text.", prefix);
    clip_map(m, m->c.layout, &map);
    weights_load_from(&map, s, (const char *const[]){ prefix, module, text, module_text, NULL }, writable, &m->t.unused, e);
    weight_map_free(&map);
    return e->status;
}

/* vismin and those who follow it write the activation beside the weights. */
static vm_status read_activation(clip_config *c, const st_file *f, const char *dir, vm_error *e) {
    const char *said = st_meta(f, "activation");
    vm_unary_kind k = said ? nn_activation(said) : VM_NONE;
    if (k == VM_NONE || k == c->text_act) c->act_assumed &= k == VM_NONE;
    else if (c->act_assumed) clip_set_activation(c, k);
    else return vm_fail(e, VM_EMODEL, "%s: the weights say activation %s, the configuration %s; correct the one that is wrong", dir, said, nn_activation_name(c->text_act));
    return VM_OK;
}

vm_status clip_open(clip_model **out, vm_backend *be, const char *dir, bool writable, vm_error *e) {
    clip_config c;
    clip_model *m = NULL;
    st_file *f = NULL;
    *out = NULL;
    if (clip_config_read(&c, dir, e)) goto done;
    if (c.layout == CLIP_OPEN && has_file(dir, "open_clip_model.safetensors")) st_open_base(&f, dir, "open_clip_model", e);
    else st_open(&f, dir, e);
    if (e->status || read_activation(&c, f, dir, e) || clip_new(&m, be, &c, e)) goto done;
    weight_source s = weights_of_safetensors(f);
    clip_load(m, &s, "", writable, e);
done:
    if (m && !e->status) {
        m->file = f;
        *out = m;
    } else {
        clip_free(m);
        st_close(f);
    }
    return e->status;
}

/* --- saving --------------------------------------------------------------------------------------------------------- */
vm_status clip_save_config(const clip_config *c, const char *dir, vm_error *e) {
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    json_begin_array(&w, "architectures");
    json_put_str(&w, NULL, "CLIPModel");
    json_close_array(&w);
    json_put_str(&w, "model_type", "clip");
    json_put_int(&w, "projection_dim", c->embed);
    json_put_num(&w, "logit_scale_init_value", 2.6592);
    json_put_str(&w, "torch_dtype", "float32");
    for (int k = 0; k < 2; k++) {
        const clip_tower *t = k ? &c->vision : &c->text;
        json_begin_object(&w, k ? "vision_config" : "text_config");
        json_put_str(&w, "model_type", k ? "clip_vision_model" : "clip_text_model");
        json_put_int(&w, "hidden_size", t->width);
        json_put_int(&w, "intermediate_size", t->mlp);
        json_put_int(&w, "num_hidden_layers", t->layers);
        json_put_int(&w, "num_attention_heads", t->heads);
        json_put_str(&w, "hidden_act", nn_activation_name(k ? c->vision_act : c->text_act));
        json_put_f32(&w, "layer_norm_eps", k ? c->vision_eps : c->text_eps);
        json_put_int(&w, "projection_dim", c->embed);
        if (k) {
            json_put_int(&w, "image_size", c->image_size);
            json_put_int(&w, "patch_size", c->patch);
            json_put_int(&w, "num_channels", 3);
        } else {
            json_put_int(&w, "vocab_size", c->vocab);
            json_put_int(&w, "max_position_embeddings", c->context);
            json_put_int(&w, "bos_token_id", c->bos);
            json_put_int(&w, "eos_token_id", c->eos);
            json_put_int(&w, "pad_token_id", c->pad);
        }
        json_close_object(&w);
    }
    json_close_object(&w);
    return json_save(&w, dir, "config.json", e);
}

static void put_three(json_writer *w, const char *key, const double v[3]) {
    json_begin_array(w, key);
    for (int k = 0; k < 3; k++) json_put_num(w, NULL, v[k]);
    json_close_array(w);
}

static vm_status save_open_clip_config(const clip_config *c, const char *dir, vm_error *e) {
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    json_begin_object(&w, "model_cfg");
    json_put_int(&w, "embed_dim", c->embed);
    json_put_bool(&w, "quick_gelu", c->text_act == VM_QUICK_GELU);
    json_begin_object(&w, "vision_cfg");
    json_put_int(&w, "image_size", c->image_size);
    if (clip_is_resnet(c)) json_begin_array(&w, "layers");
    for (int k = 0; k < RESNET_STAGES && clip_is_resnet(c); k++) json_put_int(&w, NULL, c->blocks[k]);
    if (clip_is_resnet(c)) json_close_array(&w);
    else json_put_int(&w, "layers", c->vision.layers);
    json_put_int(&w, "width", c->vision.width);
    json_put_int(&w, "head_width", c->vision.width * (clip_is_resnet(c) ? 32 : 1) / c->vision.heads);
    if (!clip_is_resnet(c)) json_put_int(&w, "patch_size", c->patch);
    if (!clip_is_resnet(c) && c->vision.mlp != 4 * c->vision.width) json_put_num(&w, "mlp_ratio", (double)c->vision.mlp / (double)c->vision.width);
    json_close_object(&w);
    json_begin_object(&w, "text_cfg");
    json_put_int(&w, "context_length", c->context);
    json_put_int(&w, "vocab_size", c->vocab);
    json_put_int(&w, "width", c->text.width);
    json_put_int(&w, "heads", c->text.heads);
    json_put_int(&w, "layers", c->text.layers);
    if (c->text.mlp != 4 * c->text.width) json_put_num(&w, "mlp_ratio", (double)c->text.mlp / (double)c->text.width);
    json_close_object(&w);
    json_close_object(&w);
    json_begin_object(&w, "preprocess_cfg");
    put_three(&w, "mean", c->mean);
    put_three(&w, "std", c->std);
    json_put_str(&w, "interpolation", "bicubic");
    json_put_str(&w, "resize_mode", "shortest");
    json_put_int(&w, "size", c->image_size);
    json_put_str(&w, "mode", "RGB");
    json_put_int(&w, "fill_color", 0);
    json_close_object(&w);
    json_close_object(&w);
    return json_save(&w, dir, "open_clip_config.json", e);
}

static vm_status save_weights(const clip_model *m, const char *dir, clip_layout layout, st_dtype t, vm_error *e) {
    const char *const meta[] = { "activation", nn_activation_name(m->c.text_act), "source_sha256", m->source_sha256, NULL };
    weight_map map = { 0 };
    clip_map(m, layout, &map);
    weights_save(&map, dir, layout == CLIP_HF ? "model.safetensors" : "open_clip_model.safetensors", t, meta, e);
    weight_map_free(&map);
    return e->status;
}

/* Open_clip has one activation for all transformers of a model. */
static bool open_clip_can(const clip_config *c) {
    return (c->text_act == c->vision_act || clip_is_resnet(c)) && (c->text_act == VM_QUICK_GELU || c->text_act == VM_GELU);
}

vm_status clip_save_layout(const clip_model *m, const char *dir, clip_layout layout, st_dtype t, vm_error *e) {
    const clip_config *c = &m->c;
    if (layout == CLIP_HF && m->resnet) return vm_fail(e, VM_EMODEL, "%s: Hugging Face has no CLIP with a ResNet; open_clip has", dir);
    if (layout == CLIP_HF) return save_weights(m, dir, CLIP_HF, t, e) ? e->status : clip_save_config(c, dir, e);
    if (!open_clip_can(c))
        return vm_fail(e, VM_EMODEL, "%s: open_clip knows one activation for both towers, quick_gelu or gelu; this model has %s and %s", dir,
                       nn_activation_name(c->text_act), nn_activation_name(c->vision_act));
    return save_weights(m, dir, CLIP_OPEN, t, e) ? e->status : save_open_clip_config(c, dir, e);
}

vm_status clip_save(const clip_model *m, const char *dir, st_dtype t, bool both, vm_error *e) {
    if (!m->resnet && clip_save_layout(m, dir, CLIP_HF, t, e)) return e->status;
    return m->resnet || (both && open_clip_can(&m->c)) ? clip_save_layout(m, dir, CLIP_OPEN, t, e) : VM_OK;
}

vm_status clip_save_processor(const clip_config *c, const char *dir, vm_error *e) {
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    json_put_str(&w, "image_processor_type", "CLIPImageProcessor");
    json_put_bool(&w, "do_convert_rgb", true);
    json_put_bool(&w, "do_resize", true);
    json_begin_object(&w, "size");
    json_put_int(&w, "shortest_edge", c->image_size);
    json_close_object(&w);
    json_put_int(&w, "resample", 3); /* bicubic */
    json_put_bool(&w, "do_center_crop", true);
    json_begin_object(&w, "crop_size");
    json_put_int(&w, "height", c->image_size);
    json_put_int(&w, "width", c->image_size);
    json_close_object(&w);
    json_put_bool(&w, "do_rescale", true);
    json_put_num(&w, "rescale_factor", 1.0 / 255);
    json_put_bool(&w, "do_normalize", true);
    put_three(&w, "image_mean", c->mean);
    put_three(&w, "image_std", c->std);
    json_close_object(&w);
    return json_save(&w, dir, "preprocessor_config.json", e);
}
