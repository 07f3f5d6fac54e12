/* detect_world.c - the miniature world for detectors: scenes with questions, and the directory of a small Grounding DINO. */
#include <string.h>

#include "io/file.h"
#include "kernels/philox.h"
#include "models/scene.h"
#include "pipeline/detect_data.h"

typedef struct {
    detect_source s;
    bool curriculum;
} world;

static vm_status sample(const detect_source *source, int64_t step, int64_t slot, detect_sample *out, clip_bad_list *bad, vm_error *e) {
    const world *w = (const world *)source;
    const double at = source->steps ? (double)step / (double)source->steps : 1;
    const scene_opts limit = { SCENE_MIX, !w->curriculum || at >= 0.18 ? 0 : at < 0.06 ? 1 : 2 };
    scene s;
    scene_question q[SCENE_QUESTIONS];
    uint32_t x[4];
    vm_philox(source->seed, (uint64_t)step, (uint64_t)slot, x);
    const uint64_t seed = scene_seed(SCENE_TRAIN, ((uint64_t)x[0] << 8 | x[1] >> 24) & (((uint64_t)1 << 40) - 1));
    scene_sample(seed, &limit, &s);
    const int asked = scene_ask(&s, seed, q);
    out->id = (int64_t)seed;
    if (image_new(&out->rgb, SCENE_SIDE, SCENE_SIDE, 3, e)) return e->status;
    scene_render(&s, out->rgb.px);
    for (int k = 0; k < asked && !detect_sample_ask(out, q[k].text, e); k++)
        for (int i = 0; i < s.n; i++) {
            if (!(q[k].objects >> i & 1)) continue;
            const scene_box b = scene_object_box(&s.object[i]);
            if (detect_sample_add(out, k, (float[]){ (float)b.x0, (float)b.y0, (float)b.x1, (float)b.y1 }, e)) return e->status;
        }
    return e->status;
}

static void release(detect_source *s) { vm_free(s); }

vm_status detect_source_world(detect_source **out, bool curriculum, vm_error *e) {
    world *w = vm_calloc(1, sizeof *w);
    *out = NULL;
    if (!w) return vm_nomem(e, sizeof *w, "the world");
    w->curriculum = curriculum, w->s.sample = sample, w->s.free = release;
    *out = &w->s;
    return VM_OK;
}

/* --- the small model's directory ------------------------------------------------------------------------------------ */
static const char config[] =
    "{\n  \"architectures\": [\"GroundingDinoForObjectDetection\"],\n  \"model_type\": \"grounding-dino\",\n  \"dtype\": \"float32\",\n"
    "  \"backbone_config\": {\n    \"model_type\": \"swin\", \"image_size\": 128, \"patch_size\": 4, \"num_channels\": 3, \"embed_dim\": 32,\n"
    "    \"depths\": [2, 2, 2], \"num_heads\": [2, 4, 8], \"window_size\": 8, \"mlp_ratio\": 4.0, \"qkv_bias\": true, \"drop_path_rate\": 0.0,\n"
    "    \"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-05, \"out_features\": [\"stage2\", \"stage3\"], \"out_indices\": [2, 3]\n  },\n"
    "  \"text_config\": {\n    \"model_type\": \"bert\", \"vocab_size\": %lld, \"hidden_size\": 64, \"num_hidden_layers\": 2, \"num_attention_heads\": 4,\n"
    "    \"intermediate_size\": 256, \"hidden_act\": \"gelu\", \"max_position_embeddings\": 16, \"type_vocab_size\": 2, \"layer_norm_eps\": 1e-12,\n"
    "    \"pad_token_id\": 0\n  },\n"
    "  \"use_timm_backbone\": false,\n  \"d_model\": 64,\n  \"encoder_layers\": 2,\n  \"decoder_layers\": 2,\n  \"encoder_ffn_dim\": 128,\n"
    "  \"decoder_ffn_dim\": 128,\n  \"encoder_attention_heads\": 4,\n  \"decoder_attention_heads\": 4,\n  \"encoder_n_points\": 4,\n"
    "  \"decoder_n_points\": 4,\n  \"num_feature_levels\": 3,\n  \"num_queries\": 16,\n  \"max_text_len\": 16,\n  \"activation_function\": \"relu\",\n"
    "  \"positional_embedding_temperature\": 20,\n  \"position_embedding_type\": \"sine\",\n  \"query_dim\": 4,\n  \"two_stage\": true,\n"
    "  \"embedding_init_target\": true,\n  \"decoder_bbox_embed_share\": true,\n  \"two_stage_bbox_embed_share\": false,\n  \"auxiliary_loss\": true,\n"
    "  \"dropout\": 0.0,\n  \"fusion_droppath\": 0.0,\n  \"fusion_dropout\": 0.0,\n  \"attention_dropout\": 0.0,\n  \"activation_dropout\": 0.0,\n"
    "  \"text_enhancer_dropout\": 0.0,\n  \"class_cost\": 1.0,\n  \"bbox_cost\": 5.0,\n  \"giou_cost\": 2.0,\n  \"bbox_loss_coefficient\": 5.0,\n"
    "  \"giou_loss_coefficient\": 2.0,\n  \"focal_alpha\": 0.25,\n  \"layer_norm_eps\": 1e-05\n}\n";

static const char processor[] =
    "{\n  \"image_processor_type\": \"GroundingDinoImageProcessor\",\n  \"do_resize\": true,\n  \"size\": {\"shortest_edge\": 128, \"longest_edge\": 1333},\n"
    "  \"resample\": 2,\n  \"do_rescale\": true,\n  \"rescale_factor\": 0.00392156862745098,\n  \"do_normalize\": true,\n"
    "  \"image_mean\": [0.485, 0.456, 0.406],\n  \"image_std\": [0.229, 0.224, 0.225],\n  \"do_pad\": true,\n  \"do_convert_annotations\": true\n}\n";

static const char tokenizer[] =
    "{\n  \"tokenizer_class\": \"BertTokenizer\",\n  \"do_lower_case\": true,\n  \"unk_token\": \"[UNK]\",\n  \"sep_token\": \"[SEP]\",\n"
    "  \"pad_token\": \"[PAD]\",\n  \"cls_token\": \"[CLS]\",\n  \"mask_token\": \"[MASK]\",\n  \"model_max_length\": 16\n}\n";

enum { UNKNOWN = 100, START = 101, END = 102, MASK = 103, PERIOD = 1012, QUESTION = 1029, FIRST_WORD = 1030 };

/* Entry id of the vocabulary. The marks that the model knows by number stand where BERT has them; between them nothing is used. */
static void put_entry(vm_out *o, int id, vm_error *e) {
    const char *mark = !id ? "[PAD]" : id == UNKNOWN ? "[UNK]" : id == START ? "[CLS]" : id == END ? "[SEP]" : id == MASK ? "[MASK]" : id == PERIOD ? "." : id == QUESTION ? "?" : NULL;
    if (mark) vm_out_printf(o, e, "%s\n", mark);
    else vm_out_printf(o, e, "[unused%d]\n", id);
}

static vm_status write_text(const char *dir, const char *name, const char *text, size_t bytes, vm_error *e) {
    char *path = path_join(dir, name);
    if (!path) return vm_nomem(e, 256, "a path");
    file_write(path, text, bytes, e);
    vm_free(path);
    return e->status;
}

vm_status detect_world_model(const char *dir, vm_error *e) {
    const char *const *words;
    const int n = scene_words(&words);
    if (dir_make(dir, e)) return e->status;
    vm_out *o = vm_out_in(dir, "vocab.txt", e);
    for (int id = 0; id < FIRST_WORD && o; id++) put_entry(o, id, e);
    for (int k = 0; k < n && o; k++) vm_out_printf(o, e, "%s\n", words[k]);
    vm_out_finish(o, e);
    char *text = vm_asprintf(config, (long long)(FIRST_WORD + n));
    if (!text) return vm_nomem(e, sizeof config, "a configuration");
    if (!e->status && !write_text(dir, "preprocessor_config.json", processor, sizeof processor - 1, e) &&
        !write_text(dir, "tokenizer_config.json", tokenizer, sizeof tokenizer - 1, e))
        write_text(dir, "config.json", text, strlen(text), e);
    vm_free(text);
    return e->status;
}
