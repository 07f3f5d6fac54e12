/* gdino_config.c - config.json of a Grounding DINO, as Hugging Face's classes read it. */
#include "models/gdino_layouts.h"

static void put_ints(json_writer *w, const char *key, const int64_t *x, int64_t n) {
    json_begin_array(w, key);
    for (int64_t k = 0; k < n; k++) json_put_int(w, NULL, x[k]);
    json_close_array(w);
}

/* With a point, without which Python would take it for an integer and refuse it. */
static void put_float(json_writer *w, const char *key, double x) {
    char text[32];
    if (x == (double)(int64_t)x) json_put_raw(w, key, text, (size_t)snprintf(text, sizeof text, "%.1f", x));
    else json_put_num(w, key, x);
}

static void put_swin(json_writer *w, const swin_config *c) {
    int64_t out[SWIN_STAGES];
    json_begin_object(w, "backbone_config");
    json_put_str(w, "model_type", "swin");
    json_put_int(w, "image_size", c->window * c->patch << (c->stages - 1)); /* one window in the last stage */
    json_put_int(w, "patch_size", c->patch), json_put_int(w, "num_channels", 3), json_put_int(w, "embed_dim", c->width);
    put_ints(w, "depths", c->depth, c->stages), put_ints(w, "num_heads", c->heads, c->stages);
    json_put_int(w, "window_size", c->window), put_float(w, "mlp_ratio", c->mlp_ratio), json_put_bool(w, "qkv_bias", c->qkv_bias);
    json_put_str(w, "hidden_act", nn_activation_name(c->act)), json_put_f32(w, "layer_norm_eps", c->eps), put_float(w, "drop_path_rate", c->drop_path);
    json_begin_array(w, "out_features");
    for (int k = 0; k < c->outs; k++) {
        char name[24];
        snprintf(name, sizeof name, "stage%d", c->out[k] + 1), out[k] = c->out[k] + 1;
        json_put_str(w, NULL, name);
    }
    json_close_array(w);
    put_ints(w, "out_indices", out, c->outs);
    json_close_object(w);
}

static void put_bert(json_writer *w, const bert_config *c) {
    json_begin_object(w, "text_config");
    json_put_str(w, "model_type", "bert");
    json_put_int(w, "vocab_size", c->vocab), json_put_int(w, "hidden_size", c->width), json_put_int(w, "num_hidden_layers", c->layers);
    json_put_int(w, "num_attention_heads", c->heads), json_put_int(w, "intermediate_size", c->mlp), json_put_int(w, "max_position_embeddings", c->positions);
    json_put_int(w, "type_vocab_size", c->types), json_put_str(w, "hidden_act", nn_activation_name(c->act)), json_put_f32(w, "layer_norm_eps", c->eps);
    json_put_int(w, "pad_token_id", 0);
    json_close_object(w);
}

vm_status gdino_config_save(const gdino_config *c, const char *dir, vm_error *e) {
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    json_begin_array(&w, "architectures");
    json_put_str(&w, NULL, c->scaled ? "MMGroundingDinoForObjectDetection" : "GroundingDinoForObjectDetection");
    json_close_array(&w);
    json_put_str(&w, "model_type", c->scaled ? "mm-grounding-dino" : "grounding-dino");
    put_swin(&w, &c->swin), put_bert(&w, &c->bert);
    const struct { const char *key; int64_t x; } ints[] = {
        { "d_model", c->width }, { "encoder_layers", c->enc_layers }, { "decoder_layers", c->dec_layers }, { "encoder_ffn_dim", c->enc_mlp },
        { "decoder_ffn_dim", c->dec_mlp }, { "encoder_attention_heads", c->enc_heads }, { "decoder_attention_heads", c->dec_heads },
        { "encoder_n_points", c->enc_points }, { "decoder_n_points", c->dec_points }, { "num_feature_levels", c->levels }, { "num_queries", c->queries },
        { "max_text_len", c->text_len }, { "query_dim", 4 }, { "positional_embedding_temperature", (int64_t)c->temperature },
    };
    const struct { const char *key; double x; } nums[] = {
        { "class_cost", c->costs.class }, { "bbox_cost", c->costs.box }, { "giou_cost", c->costs.giou },
        { "bbox_loss_coefficient", c->box_weight }, { "giou_loss_coefficient", c->giou_weight }, { "focal_alpha", c->focal }, { "dropout", c->dropout },
        { "fusion_droppath", c->fusion_drop },
    };
    const struct { const char *key; bool x; } flags[] = {
        { "two_stage", true }, { "use_timm_backbone", false }, { "embedding_init_target", c->learned }, { "decoder_bbox_embed_share", c->shared_boxes },
        { "two_stage_bbox_embed_share", false }, { "auxiliary_loss", c->auxiliary },
    };
    for (int k = 0; k < VM_LEN(ints); k++) json_put_int(&w, ints[k].key, ints[k].x);
    for (int k = 0; k < VM_LEN(nums); k++) put_float(&w, nums[k].key, nums[k].x);
    for (int k = 0; k < VM_LEN(flags); k++) json_put_bool(&w, flags[k].key, flags[k].x);
    if (c->scaled) json_put_bool(&w, "decoder_cls_embed_share", c->shared_classes);
    json_put_str(&w, "activation_function", nn_activation_name(c->act)), json_put_str(&w, "position_embedding_type", "sine");
    json_put_f32(&w, "layer_norm_eps", c->eps);
    json_close_object(&w);
    return json_save(&w, dir, "config.json", e);
}

vm_status gdino_processor_save(const char *dir, int64_t shortest, vm_error *e) {
    static const double mean[] = { 0.485, 0.456, 0.406 }, std[] = { 0.229, 0.224, 0.225 };
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    json_put_str(&w, "image_processor_type", "GroundingDinoImageProcessor");
    json_put_bool(&w, "do_resize", true);
    json_begin_object(&w, "size");
    json_put_int(&w, "shortest_edge", shortest), json_put_int(&w, "longest_edge", 1333);
    json_close_object(&w);
    json_put_int(&w, "resample", 2), json_put_bool(&w, "do_rescale", true), json_put_num(&w, "rescale_factor", 1. / 255), json_put_bool(&w, "do_normalize", true);
    for (int k = 0; k < 2; k++) {
        json_begin_array(&w, k ? "image_std" : "image_mean");
        for (int c = 0; c < 3; c++) json_put_num(&w, NULL, k ? std[c] : mean[c]);
        json_close_array(&w);
    }
    json_put_bool(&w, "do_pad", true), json_put_bool(&w, "do_convert_annotations", true);
    json_close_object(&w);
    return json_save(&w, dir, "preprocessor_config.json", e);
}
