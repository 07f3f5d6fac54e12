/* detect_world.c - the miniature world for detectors: scenes with questions, and the directory of a small Grounding DINO. */
#include "io/file.h"
#include "kernels/philox.h"
#include "models/gdino_layouts.h"
#include "models/scene.h"
#include "pipeline/detect_data.h"

typedef struct {
    detect_source s;
    int64_t one, two;
} world;

static vm_status sample(const detect_source *source, int64_t step, int64_t slot, detect_sample *out, clip_bad_list *bad, vm_error *e) {
    const world *w = (const world *)source;
    const scene_opts limit = { SCENE_MIX, step < w->one ? 1 : step < w->two ? 2 : 0 };
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

vm_status detect_source_world(detect_source **out, int64_t one, int64_t two, vm_error *e) {
    world *w = vm_calloc(1, sizeof *w);
    *out = NULL;
    if (!w) return vm_nomem(e, sizeof *w, "the world");
    w->one = one, w->two = two, w->s.sample = sample, w->s.free = release;
    *out = &w->s;
    return VM_OK;
}

/* --- the small model's directory ------------------------------------------------------------------------------------ */
static gdino_config small(int64_t vocab) {
    gdino_config c = { .width = 64, .enc_layers = 2, .dec_layers = 2, .enc_mlp = 128, .dec_mlp = 128, .enc_heads = 4, .dec_heads = 4, .enc_points = 4, .dec_points = 4,
                       .levels = 3, .queries = 16, .text_len = 16, .temperature = 20, .eps = 1e-5f, .act = VM_RELU, .shared_boxes = true, .auxiliary = true,
                       .learned = true, .costs = { 1, 5, 2, 0.25, 2 }, .box_weight = 5, .giou_weight = 2, .focal = 0.25 };
    c.swin = (swin_config){ .patch = 4, .width = 32, .window = 8, .stages = 3, .depth = { 2, 2, 2 }, .heads = { 2, 4, 8 }, .mlp_ratio = 4, .qkv_bias = true,
                            .act = VM_GELU, .eps = 1e-5f, .outs = 2, .out = { 1, 2 } };
    c.bert = (bert_config){ .vocab = vocab, .width = 64, .layers = 2, .heads = 4, .mlp = 256, .positions = 16, .types = 2, .eps = 1e-12f, .act = VM_GELU };
    return c;
}

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

vm_status detect_world_model(const char *dir, vm_error *e) {
    const char *const *words;
    const int n = scene_words(&words);
    if (dir_make(dir, e)) return e->status;
    vm_out *o = vm_out_in(dir, "vocab.txt", e);
    for (int id = 0; id < FIRST_WORD && o; id++) put_entry(o, id, e);
    for (int k = 0; k < n && o; k++) vm_out_printf(o, e, "%s\n", words[k]);
    vm_out_finish(o, e);
    const gdino_config c = small(FIRST_WORD + n);
    char *path = path_join(dir, "tokenizer_config.json");
    if (!path) return vm_nomem(e, 256, "a path");
    if (!e->status && !file_write(path, tokenizer, sizeof tokenizer - 1, e) && !gdino_processor_save(dir, 2 * SCENE_SIDE, e)) gdino_config_save(&c, dir, e);
    vm_free(path);
    return e->status;
}
