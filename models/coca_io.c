/* coca_io.c - open_clip's CoCa directories: configuration and tensor names, loading. */
#include <string.h>

#include "io/file.h"
#include "models/coca.h"

/* --- configuration -------------------------------------------------------------------------------------------------- */
static json_value model_cfg(json_value root) {
    json_value m = json_get(root, "model_cfg");
    return json_has(m) ? m : root; /* open_clip's own model_configs/NAME.json */
}

bool coca_is_coca(json_value config) { return json_has(json_get(model_cfg(config), "multimodal_cfg")); }

/* Every option that is stated must be one that is built, or be switched off. */
static void known_only(json_value cfg, const char *const *known, vm_error *e) {
    for (json_iter it = json_each(cfg); !e->status && json_next(&it);) {
        bool fine = !json_has(it.value) || (it.value.kind == JSON_BOOL && !json_as_bool(it.value, e)) ||
                    (it.value.kind == JSON_OBJECT && !json_len(it.value));
        for (int k = 0; known[k] && !fine; k++) fine = !strcmp(it.key, known[k]);
        if (!fine) json_fail(it.value, e, "this option of open_clip is not supported in a CoCa; that of coca_ViT-B-32 and coca_ViT-L-14 are");
    }
}

static void read_tower(coca_tower *t, json_value v, int64_t width, vm_error *e) {
    t->width = json_int(v, "width", width, 1, 1 << 20, e);
    t->layers = json_int(v, "layers", 12, 1, 1000, e);
    t->mlp = (int64_t)((double)t->width * json_num(v, "mlp_ratio", 4, 0.01, 100, e));
}

static void divides(json_value v, int64_t heads, int64_t width, vm_error *e) {
    if (!e->status && width % heads) json_fail(v, e, "%d heads do not divide the width %d", (int)heads, (int)width);
}

static vm_status read_config(coca_config *c, json_value root, vm_error *e) {
    static const char *const in_text[] = { "context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "embed_cls", "output_tokens", "pad_id", NULL };
    static const char *const in_vision[] = { "image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size", "attentional_pool",
                                             "attn_pooler_heads", "attn_pooler_queries", "output_tokens", "patch_dropout", NULL };
    static const char *const in_model[] = { "embed_dim", "vision_cfg", "text_cfg", "multimodal_cfg", "custom_text", "quick_gelu", "init_logit_scale", NULL };
    json_value m = model_cfg(root), t = json_get(m, "text_cfg"), v = json_get(m, "vision_cfg");
    if (!coca_is_coca(root)) return json_fail(m, e, "there is no multimodal_cfg, which makes a CoCa");
    if (!json_has(t) || !json_has(v)) return json_fail(m, e, "text_cfg and vision_cfg are needed");
    known_only(m, in_model, e), known_only(t, in_text, e), known_only(v, in_vision, e);
    if (e->status) return e->status;
    if (!json_bool(t, "embed_cls", false, e)) return json_fail(t, e, "a CoCa without embed_cls is not supported");
    json_value pool = json_get(v, "attentional_pool");
    if (pool.kind != JSON_BOOL) return json_fail(json_has(pool) ? pool : v, e, "attentional_pool: only true is supported, one pooling for both uses");
    if (!json_as_bool(pool, e)) return json_fail(pool, e, "attentional_pool: only true is supported, one pooling for both uses");
    read_tower(&c->text, t, 512, e), read_tower(&c->vision, v, 768, e);
    c->text.heads = json_int(t, "heads", 8, 1, 1024, e);
    int64_t head = json_int(v, "head_width", 64, 1, 4096, e);
    c->embed = json_int(m, "embed_dim", 512, 1, 1 << 20, e);
    c->vocab = json_int(t, "vocab_size", 49408, 2, 1 << 24, e), c->context = json_int(t, "context_length", 77, 1, 1 << 16, e);
    c->pad = (int32_t)json_int(t, "pad_id", 0, 0, 1 << 24, e);
    c->image_size = json_int(v, "image_size", 224, 1, 1 << 14, e), c->patch = json_int(v, "patch_size", 16, 1, 1 << 12, e);
    c->queries = json_int(v, "attn_pooler_queries", 256, 1, 1 << 16, e), c->pool_heads = json_int(v, "attn_pooler_heads", 8, 1, 1024, e);
    c->act = json_bool(m, "quick_gelu", false, e) ? VM_QUICK_GELU : VM_GELU;
    if (e->status) return e->status;
    if (c->vision.width % head) return json_fail(json_get(v, "head_width"), e, "%d does not divide the width %d", (int)head, (int)c->vision.width);
    c->vision.heads = c->vision.width / head;
    divides(t, c->text.heads, c->text.width, e), divides(v, c->pool_heads, c->embed, e);
    if (!e->status && c->patch > c->image_size) json_fail(v, e, "patches of %d in images of %d", (int)c->patch, (int)c->image_size);
    return e->status;
}

vm_status coca_config_read(coca_config *c, const char *dir, vm_error *e) {
    char *path = path_join(dir, "open_clip_config.json");
    *c = (coca_config){ 0 };
    if (!path) return vm_nomem(e, 256, "a path");
    json_doc *d = file_exists(path) ? json_open(path, e) : NULL;
    if (d) read_config(c, json_root(d), e);
    else if (!e->status) vm_fail(e, VM_EMODEL, "%s: no open_clip_config.json; give the folder of a CoCa model", dir);
    json_free(d);
    vm_free(path);
    return e->status;
}

/* --- names ---------------------------------------------------------------------------------------------------------- */
static void map_pool(const coca_model *m, weight_map *map) {
    const int64_t V = m->c.vision.width, E = m->c.embed, joined[] = { 3 * E, E };
    vm_param *const w[] = { m->q_w, m->k_w, m->v_w }, *const b[] = { m->q_b, m->k_b, m->v_b };
    tie_whole(map, m->query, 2, m->query->ne, 0, "visual.attn_pool.query");
    for (int k = 0; k < 3; k++) { /* one tensor where rows are as wide as queries */
        if (V == E) tie_rows(map, w[k], 0, E, k * E, 2, joined, "visual.attn_pool.attn.in_proj_weight");
        else tie_whole(map, w[k], 2, w[k]->ne, 0, "visual.attn_pool.attn.%c_proj_weight", "qkv"[k]);
    }
    for (int k = 0; k < 3; k++) tie_rows(map, b[k], 0, E, k * E, 1, joined, "visual.attn_pool.attn.in_proj_bias");
    tie_whole(map, m->out_w, 2, m->out_w->ne, 0, "visual.attn_pool.attn.out_proj.weight");
    tie_whole(map, m->out_b, 1, &E, 0, "visual.attn_pool.attn.out_proj.bias");
    tie_whole(map, m->ln_q_w, 1, &E, 0, "visual.attn_pool.ln_q.weight"), tie_whole(map, m->ln_q_b, 1, &E, 0, "visual.attn_pool.ln_q.bias");
    tie_whole(map, m->ln_k_w, 1, &V, 0, "visual.attn_pool.ln_k.weight"), tie_whole(map, m->ln_k_b, 1, &V, 0, "visual.attn_pool.ln_k.bias");
}

void coca_map(const coca_model *m, weight_map *map) {
    const coca_config *c = &m->c;
    const int64_t T = c->text.width, V = c->vision.width, E = c->embed, P = c->patch, TE[] = { T, E };
    tie_whole(map, m->t.logit_scale, 0, NULL, 0, "logit_scale");
    tie_whole(map, m->token_embed, 2, m->token_embed->ne, 0, "text.token_embedding.weight");
    tie_whole(map, m->text_class, 1, &T, 0, "text.cls_emb");
    tie_whole(map, m->text_pos, 2, m->text_pos->ne, 0, "text.positional_embedding");
    tie_whole(map, m->text_ln_w, 1, &T, 0, "text.ln_final.weight"), tie_whole(map, m->text_ln_b, 1, &T, 0, "text.ln_final.bias");
    tie_whole(map, m->text_proj, 2, TE, W_TRANSPOSED, "text.text_projection");
    nn_tie_layers(map, m->text, c->text.layers, T, c->text.mlp, &nn_names_open_clip, "text.transformer.resblocks");
    tie_whole(map, m->class_embed, 1, &V, 0, "visual.class_embedding");
    tie_whole(map, m->patch_w, 4, (int64_t[]){ V, 3, P, P }, 0, "visual.conv1.weight");
    tie_whole(map, m->vision_pos, 2, m->vision_pos->ne, 0, "visual.positional_embedding");
    tie_whole(map, m->pre_w, 1, &V, 0, "visual.ln_pre.weight"), tie_whole(map, m->pre_b, 1, &V, 0, "visual.ln_pre.bias");
    nn_tie_layers(map, m->vision, c->vision.layers, V, c->vision.mlp, &nn_names_open_clip, "visual.transformer.resblocks");
    map_pool(m, map);
    tie_whole(map, m->post_w, 1, &E, 0, "visual.ln_post.weight"), tie_whole(map, m->post_b, 1, &E, 0, "visual.ln_post.bias");
    tie_whole(map, m->vision_proj, 2, m->vision_proj->ne, W_TRANSPOSED, "visual.proj");
}

/* --- loading -------------------------------------------------------------------------------------------------------- */
/* The tensors of the file without those of the captioning decoder; *kept is vm_free. */
static vm_status without_decoder(weight_source *s, st_tensor **kept, vm_error *e) {
    int64_t n = 0;
    if (!(*kept = vm_alloc((size_t)s->n * sizeof **kept + 1))) return vm_nomem(e, (size_t)s->n * sizeof **kept, "the list of tensors");
    for (int64_t i = 0; i < s->n; i++)
        if (strncmp(s->t[i].name, "text_decoder.", 13) && strncmp(s->t[i].name, "module.text_decoder.", 20)) (*kept)[n++] = s->t[i];
    s->t = *kept, s->n = n;
    return VM_OK;
}

vm_status coca_open(coca_model **out, vm_backend *be, const char *dir, bool writable, vm_error *e) {
    coca_config c;
    coca_model *m = NULL;
    st_file *f = NULL;
    st_tensor *kept = NULL;
    weight_map map = { 0 };
    *out = NULL;
    if (coca_config_read(&c, dir, e) || coca_new(&m, be, &c, e)) goto done;
    char *own = path_join(dir, "open_clip_model.safetensors"), *parts = path_join(dir, "open_clip_model.safetensors.index.json");
    if (own && parts && (file_exists(own) || file_exists(parts))) st_open_base(&f, dir, "open_clip_model", e);
    else st_open(&f, dir, e);
    vm_free(own), vm_free(parts);
    if (e->status) goto done;
    m->file = f;
    weight_source s = weights_of_safetensors(f);
    if (without_decoder(&s, &kept, e)) goto done;
    coca_map(m, &map);
    weights_load_from(&map, &s, (const char *const[]){ "", "module.", NULL }, writable, &m->t.unused, e);
done:
    weight_map_free(&map);
    vm_free(kept);
    if (e->status) coca_free(m);
    else *out = m;
    return e->status;
}
