/* clip_world.c - batches of the miniature world: scenes are drawn, captioned and rendered when they are needed. */
#include <string.h>

#include "io/file.h"
#include "kernels/philox.h"
#include "models/clip.h"
#include "models/scene.h"
#include "pipeline/clip_data.h"

typedef struct {
    clip_source s;
    bool pairs, spec, curriculum;
    double mix[SCENE_CATEGORIES];
} world;

/* Scenes grow: one object until 6 % of the run, two until 18 %, then all. */
static scene_opts limits(const world *w, int64_t step) {
    double at = w->s.total_steps ? (double)step / (double)w->s.total_steps : 1;
    return (scene_opts){ SCENE_MIX, !w->curriculum || at >= 0.18 ? 0 : at < 0.06 ? 1 : 2 };
}

static void draw(const world *w, const scene *s, float *pixels) {
    uint8_t rgb[SCENE_BYTES];
    scene_render(s, rgb);
    vm_image im = { .px = rgb, .w = SCENE_SIDE, .h = SCENE_SIDE, .c = 3 };
    preprocess_hwc(pixels, 0, w->s.pp, &im);
}

static void fill_plain(const world *w, uint64_t seed, const scene_opts *o, float *pixels, char *text) {
    scene s;
    scene_text t;
    scene_sample(seed, o, &s);
    scene_caption(&s, seed, SCENE_ORDINARY, &t);
    draw(w, &s, pixels);
    memcpy(text, t.text, sizeof t.text);
}

static void fill_pair(const world *w, uint64_t seed, const scene_opts *o, float *pixels[2], char *text[2]) {
    scene_pair p;
    scene_sample_pair(seed, scene_pick_category(seed, w->mix), o, &p);
    int only = w->spec ? (int)(seed & 1) : -1;
    for (int k = 0; k < 2; k++) {
        if (only >= 0 && k != only) continue;
        int to = only >= 0 ? 0 : k;
        draw(w, &p.scene[k], pixels[to]);
        memcpy(text[to], p.text[k].text, sizeof p.text[k].text);
    }
}

static vm_status fill(const clip_source *source, int64_t step, int64_t i, clip_slot *out, vm_error *e) {
    const world *w = (const world *)source;
    int64_t n_pairs = w->spec ? source->n_orig : source->n_twins;
    scene_opts o = limits(w, step);
    uint32_t x[4];
    vm_philox(source->seed, (uint64_t)step, (uint64_t)i, x);
    uint64_t seed = scene_seed(SCENE_TRAIN, ((uint64_t)x[0] << 8 | x[1] >> 24) & (((uint64_t)1 << 40) - 1));
    char text[2][SCENE_TEXT];
    out->sample = (int64_t)seed;
    if (i < n_pairs) fill_pair(w, seed, &o, out->pixels, (char *[]){ text[0], text[1] });
    else fill_plain(w, seed, &o, out->pixels[0], text[0]);
    for (int k = 0; k < (i < source->n_twins ? 2 : 1); k++)
        if (!(out->text[k] = vm_strdup(text[k]))) return vm_nomem(e, SCENE_TEXT, "a caption");
    return VM_OK;
}

static void release(clip_source *s) { vm_free(s); }

vm_status clip_source_world(clip_source **out, const char *kind, int64_t rows, double plain_share, const double mix[4], bool curriculum, vm_error *e) {
    bool pairs = !strcmp(kind, "pairs"), spec = !strcmp(kind, "spec");
    *out = NULL;
    if (!pairs && !spec && strcmp(kind, "plain")) return vm_fail(e, VM_EUSAGE, "world:%s: known are world:plain, world:pairs, world:spec", kind);
    world *w = vm_calloc(1, sizeof *w);
    if (!w) return vm_nomem(e, sizeof *w, "the world");
    w->pairs = pairs, w->spec = spec, w->curriculum = curriculum;
    memcpy(w->mix, mix, sizeof w->mix);
    int64_t plain = pairs ? (int64_t)((double)rows * plain_share + 0.5) : rows;
    w->s.n_twins = pairs ? (rows - plain) / 2 : 0;
    w->s.n_orig = rows - w->s.n_twins;
    w->s.fill = fill, w->s.free = release;
    *out = &w->s;
    return VM_OK;
}

/* --- the small model's directory -------------------------------------------------------------------------------------- */
static const char processor[] =
    "{\n  \"image_processor_type\": \"CLIPImageProcessor\",\n  \"do_resize\": true,\n  \"size\": {\"shortest_edge\": 64},\n  \"resample\": 3,\n"
    "  \"do_center_crop\": true,\n  \"crop_size\": {\"height\": 64, \"width\": 64},\n  \"do_rescale\": true,\n  \"rescale_factor\": 0.00392156862745098,\n"
    "  \"do_normalize\": true,\n  \"image_mean\": [0.48145466, 0.4578275, 0.40821073],\n  \"image_std\": [0.26862954, 0.26130258, 0.27577711],\n"
    "  \"do_convert_rgb\": true\n}\n";

vm_status clip_world_model(const char *dir, vm_error *e) {
    const char *const *words;
    int n = scene_words(&words);
    int64_t vocab = 0;
    if (dir_make(dir, e) || tok_write_word_vocab(dir, words, n, &vocab, e)) return e->status;
    clip_config c = { .text = { 128, 3, 4, 512 }, .vision = { 128, 6, 4, 512 }, .vocab = vocab, .context = 32, .image_size = SCENE_SIDE, .patch = 8,
                      .embed = 128, .bos = vocab - 2, .eos = vocab - 1, .pad = vocab - 1, .text_act = VM_QUICK_GELU, .vision_act = VM_QUICK_GELU,
                      .text_eps = 1e-5f, .vision_eps = 1e-5f };
    char *path = path_join(dir, "preprocessor_config.json");
    if (!path) return vm_nomem(e, 256, "a path");
    if (!file_write(path, processor, sizeof processor - 1, e)) clip_save_config(&c, dir, e);
    vm_free(path);
    return e->status;
}
