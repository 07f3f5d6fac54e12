/* Image processors against transformers and open_clip, settings that are refused. preprocess.safetensors is made by make.py
 * beside it: settings as they stand in the files of a model directory, pictures, pixel values. */
#include <string.h>

#include "io/file.h"
#include "io/safetensors.h"
#include "models/preprocess.h"
#include "tests/test.h"

static st_file *cases;
static char folder[512];

/* A model directory with one file of this text. */
static void make_model(const char *file, const char *text) {
    static const char *const all[] = {"preprocessor_config.json", "processor_config.json", "open_clip_config.json"};
    vm_error e = {0};
    for (int i = 0; i < VM_LEN(all); i++) {
        char *path = path_join(folder, all[i]);
        remove(path);
        if (!strcmp(all[i], file)) EXPECT(file_write(path, text, strlen(text), &e) == VM_OK);
        vm_free(path);
    }
}

static void check_values(const char *name, const vm_preprocess *p, const vm_image *im, const st_tensor *want) {
    if (!want || want->shape[1] != im->h || want->shape[2] != im->w) {
        MISMATCH("%s: %dx%d pixels, want another size\n", name, im->w, im->h);
        return;
    }
    const int64_t n = want->len;
    float *chw = vm_alloc(want->bytes), *hwc = vm_alloc((size_t)im->h * (size_t)(3 * im->w + 5) * sizeof *hwc), worst = 0;
    preprocess_chw(chw, p, im);
    preprocess_hwc(hwc, 3 * im->w + 5, p, im);
    for (int64_t i = 0; i < n; i++) {
        float v;
        memcpy(&v, want->data + 4 * i, 4);
        const int64_t c = i / (im->w * im->h), y = i / im->w % im->h, x = i % im->w;
        worst = fmaxf(worst, fabsf(chw[i] - v));
        if (hwc[y * (3 * im->w + 5) + 3 * x + c] != chw[i]) worst = 1e9f;
    }
    EXPECT_NEAR(worst, 0, 1e-6);
    if (!(worst <= 1e-6f)) MISMATCH("%s\n", name);
    vm_free(chw);
    vm_free(hwc);
}

static void check_case(const char *meta_key, const char *text) {
    char name[96], key[128];
    snprintf(name, sizeof name, "%s", meta_key);
    char *file = strchr(name, '/');
    *file++ = 0;
    make_model(file, text);
    snprintf(key, sizeof key, "%s/in", name);
    const st_tensor *in = st_find(cases, key);
    vm_preprocess *p = vm_alloc(sizeof *p);
    vm_image pieces[PREPROCESS_MAX_PIECES];
    const vm_image rgb = {.px = (uint8_t *)in->data, .w = (int)in->shape[1], .h = (int)in->shape[0], .c = 3};
    vm_error e = {0};
    int n = 0, h, w;
    if (preprocess_load(p, folder, &e) || preprocess_fit_pieces(pieces, &n, p, &rgb, &e)) MISMATCH("%s: %s\n", name, e.msg);
    for (int k = 0; k < n; k++) {
        if (n > 1) snprintf(key, sizeof key, "%s/out.%d", name, k);
        else snprintf(key, sizeof key, "%s/out", name);
        check_values(key, p, &pieces[k], st_find(cases, key));
        if (n == 1 && preprocess_fixed_size(p, &h, &w)) EXPECT(pieces[k].h == h && pieces[k].w == w);
        image_free(&pieces[k]);
    }
    snprintf(key, sizeof key, "%s/out.%d", name, n);
    EXPECT(n && !st_find(cases, key));
    vm_free(p);
}

TEST(processors_equal_the_references) {
    EXPECT(st_meta_len(cases) == 45);
    for (int64_t i = 0; i < st_meta_len(cases); i++) {
        const char *text, *key = st_meta_at(cases, i, &text);
        check_case(key, text);
    }
}

#define STATS "\"image_mean\":[0.5,0.5,0.5],\"image_std\":[0.5,0.5,0.5]"
#define CLIP "\"image_processor_type\":\"CLIPImageProcessor\","

TEST(old_spellings_are_read) {
    vm_preprocess *p = vm_alloc(sizeof *p);
    vm_error e = {0};
    int h, w;
    make_model("preprocessor_config.json",
               "{\"feature_extractor_type\":\"CLIPFeatureExtractor\",\"size\":224,\"crop_size\":200,\"resample\":3," STATS "}");
    EXPECT(preprocess_load(p, folder, &e) == VM_OK);
    EXPECT(p->fit == FIT_SHORTEST && p->shortest == 224 && preprocess_fixed_size(p, &h, &w) && h == 200 && w == 200);
    EXPECT_NEAR(p->value[1][255], 1, 1e-6);
    make_model("preprocessor_config.json", "{\"image_processor_type\":\"BlipImageProcessorFast\",\"size\":384,\"resample\":3," STATS "}");
    EXPECT(preprocess_load(p, folder, &e) == VM_OK);
    EXPECT(p->fit == FIT_EXACT && p->h == 384 && p->w == 384 && !p->crop_h);
    make_model("open_clip_config.json", "{\"model_cfg\":{\"vision_cfg\":{\"image_size\":[30,40]}},\"preprocess_cfg\":"
                                        "{\"mean\":[0,0,0],\"std\":[1,1,1],\"resize_mode\":\"squash\"}}");
    EXPECT(preprocess_load(p, folder, &e) == VM_OK);
    EXPECT(p->fit == FIT_EXACT && p->h == 30 && p->w == 40 && p->filter == RESIZE_BICUBIC);
    vm_free(p);
}

TEST(settings_are_never_guessed) {
    static const struct {
        const char *file, *text, *want;
    } table[] = {
        {"preprocessor_config.json", "{", "preprocessor_config.json"},
        {"preprocessor_config.json", "{}", "image_processor_type"},
        {"preprocessor_config.json", "{\"image_processor_type\":\"FooImageProcessor\"}", "\"FooImageProcessor\" is not known"},
        {"preprocessor_config.json", "{\"image_processor_type\":\"CLIPTokenizer\"}", "is not known"},
        {"preprocessor_config.json", "{" CLIP "\"resample\":3,\"crop_size\":9," STATS "}", "size"},
        {"preprocessor_config.json", "{" CLIP "\"size\":9,\"crop_size\":9," STATS "}", "resample"},
        {"preprocessor_config.json", "{" CLIP "\"size\":9,\"crop_size\":9,\"resample\":0," STATS "}", "found 0, expected 1 (lanczos)"},
        {"preprocessor_config.json", "{" CLIP "\"size\":9,\"crop_size\":9,\"resample\":6," STATS "}", "resample"},
        {"preprocessor_config.json", "{" CLIP "\"size\":9,\"resample\":3," STATS "}", "crop_size"},
        {"preprocessor_config.json", "{" CLIP "\"size\":9,\"crop_size\":{\"height\":3},\"resample\":3," STATS "}", "width"},
        {"preprocessor_config.json", "{" CLIP "\"size\":0,\"crop_size\":9,\"resample\":3," STATS "}", "size"},
        {"preprocessor_config.json", "{" CLIP "\"size\":99999,\"crop_size\":9,\"resample\":3," STATS "}", "size"},
        {"preprocessor_config.json", "{" CLIP "\"size\":{\"longest_edge\":9},\"crop_size\":9,\"resample\":3," STATS "}", "shortest_edge"},
        {"preprocessor_config.json",
         "{" CLIP "\"size\":{\"longest_edge\":9,\"shortest_edge\":9},\"crop_size\":9,\"resample\":3," STATS "}", "no rule for both"},
        {"preprocessor_config.json", "{" CLIP "\"size\":9,\"crop_size\":9,\"resample\":3,\"image_std\":[1,1,1]}", "image_mean"},
        {"preprocessor_config.json", "{" CLIP "\"size\":9,\"crop_size\":9,\"resample\":3,\"image_mean\":[1,1],\"image_std\":[1,1,1]}",
         "image_mean"},
        {"preprocessor_config.json", "{" CLIP "\"size\":9,\"crop_size\":9,\"resample\":3,\"image_mean\":[1,1,1],\"image_std\":[1,0,1]}",
         "greater than 0"},
        {"preprocessor_config.json", "{\"image_processor_type\":\"LlavaNextImageProcessor\",\"size\":{\"shortest_edge\":9},\"resample\":3," STATS "}",
         "image_grid_pinpoints"},
        {"preprocessor_config.json",
         "{\"image_processor_type\":\"LlavaNextImageProcessor\",\"size\":9,\"resample\":3,\"image_grid_pinpoints\":[[9,10]]," STATS "}",
         "multiples of the tile side 9"},
        {"preprocessor_config.json",
         "{\"image_processor_type\":\"LlavaNextImageProcessor\",\"size\":9,\"resample\":3,\"image_grid_pinpoints\":[]," STATS "}", "no grid"},
        {"preprocessor_config.json",
         "{\"image_processor_type\":\"LlavaNextImageProcessor\",\"size\":9,\"resample\":3,\"image_grid_pinpoints\":[[900,900]]," STATS "}",
         "at most 64 tiles"},
        {"processor_config.json", "{\"tokenizer\":{}}", "no preprocessor_config.json"},
        {"processor_config.json", "{\"image_processor\":{" CLIP "\"size\":9}}", "image_processor.resample"},
        {"open_clip_config.json", "{}", "preprocess_cfg"},
        {"open_clip_config.json", "{\"preprocess_cfg\":{\"size\":9,\"std\":[1,1,1]}}", "mean"},
        {"open_clip_config.json", "{\"preprocess_cfg\":{\"mean\":[0,0,0],\"std\":[1,1,1]}}", "image_size"},
        {"open_clip_config.json", "{\"preprocess_cfg\":{\"size\":[1,2,3],\"mean\":[0,0,0],\"std\":[1,1,1]}}", "size"},
        {"open_clip_config.json", "{\"preprocess_cfg\":{\"size\":9,\"mean\":[0,0,0],\"std\":[1,1,1],\"resize_mode\":\"x\"}}",
         "found \"x\", expected shortest"},
        {"open_clip_config.json", "{\"preprocess_cfg\":{\"size\":9,\"mean\":[0,0,0],\"std\":[1,1,1],\"interpolation\":\"box\"}}",
         "found \"box\", expected bicubic"},
        {"none", "", "no preprocessor_config.json"},
    };
    vm_preprocess *p = vm_alloc(sizeof *p);
    for (int i = 0; i < VM_LEN(table); i++) {
        vm_error e = {0};
        make_model(table[i].file, table[i].text);
        EXPECT(preprocess_load(p, folder, &e) == VM_EINPUT);
        EXPECT_HAS(e.msg, table[i].want);
    }
    vm_free(p);
}

TEST(best_grid_of_llava_next) {
    vm_preprocess *p = vm_calloc(1, sizeof *p);
    static const int grids[5][2] = {{336, 672}, {672, 336}, {672, 672}, {1008, 336}, {336, 1008}};
    static const int sizes[][4] = {{480, 640, 672, 672}, {300, 900, 336, 1008}, {1000, 200, 1008, 336}, {100, 190, 336, 672}, {50, 50, 336, 672}};
    memcpy(p->grid, grids, sizeof grids);
    p->n_grids = 5;
    for (int i = 0; i < VM_LEN(sizes); i++) {
        int h = 0, w = 0;
        preprocess_best_grid(p, sizes[i][0], sizes[i][1], &h, &w);
        if (h != sizes[i][2] || w != sizes[i][3]) MISMATCH("%dx%d: grid %dx%d\n", sizes[i][0], sizes[i][1], h, w);
    }
    vm_free(p);
}

TEST(one_pixel_is_not_split) {
    vm_preprocess *p = vm_alloc(sizeof *p);
    vm_image pieces[PREPROCESS_MAX_PIECES];
    vm_error e = {0};
    uint8_t px[3] = {1, 2, 3};
    int n;
    make_model("preprocessor_config.json", "{\"image_processor_type\":\"Idefics2ImageProcessor\",\"do_image_splitting\":true,\"size\":"
                                           "{\"shortest_edge\":3,\"longest_edge\":9},\"resample\":2," STATS "}");
    EXPECT(preprocess_load(p, folder, &e) == VM_OK);
    EXPECT(preprocess_fit_pieces(pieces, &n, p, &(vm_image){.px = px, .w = 1, .h = 1, .c = 3}, &e) == VM_EINPUT);
    EXPECT_HAS(e.msg, "cannot be split");
    EXPECT(n == 0);
    vm_free(p);
}

int main(int argc, char **argv) {
    vm_error e = {0};
    snprintf(folder, sizeof folder, "%s/preprocess.XXXXXX", argc > 1 ? argv[1] : "build");
    if (!mkdtemp(folder)) return perror(folder), 1;
    if (st_open(&cases, "tests/golden/image/preprocess.safetensors", &e)) return fprintf(stderr, "%s\n", e.msg), 1;
    RUN(processors_equal_the_references);
    RUN(old_spellings_are_read);
    RUN(settings_are_never_guessed);
    RUN(best_grid_of_llava_next);
    RUN(one_pixel_is_not_split);
    st_close(cases);
    dir_remove(folder, &e);
    return test_end();
}
