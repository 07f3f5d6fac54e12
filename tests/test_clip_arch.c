/* test_clip_arch.c - CLIP weights without a configuration: sizes from shapes and names, a whole checkpoint against what
 * open_clip computes with it. */
#include <unistd.h>

#include "io/file.h"
#include "models/clip.h"
#include "tests/test.h"

#define GOLDEN "tests/golden/pt/"
static vm_error err;
static char folder[200];

static const char *message(void) {
    static char text[1100];
    snprintf(text, sizeof text, "%s", err.msg);
    vm_error_clear(&err);
    return text;
}

static clip_config small(void) {
    clip_config c = clip_config_blank();
    c.vision = (clip_tower){ 128, 3, 2, 200 }, c.text = (clip_tower){ 64, 2, 1, 256 };
    c.vocab = 50, c.context = 9, c.image_size = 24, c.patch = 8, c.embed = 20;
    c.text_act = c.vision_act = VM_QUICK_GELU, c.text_eps = c.vision_eps = 1e-5f;
    c.bos = 48, c.eos = 49, c.pool_argmax = true;
    return c;
}

static bool same_sizes(const clip_config *a, const clip_config *b) {
    return !memcmp(&a->vision, &b->vision, sizeof a->vision) && !memcmp(&a->text, &b->text, sizeof a->text) &&
           a->vocab == b->vocab && a->context == b->context && a->image_size == b->image_size && a->patch == b->patch &&
           a->embed == b->embed;
}

/* A model of the configuration with random weights, saved in one layout. */
static st_file *saved(const clip_config *c, clip_layout layout) {
    clip_model *m;
    st_file *f = NULL;
    EXPECT(!clip_new(&m, vm_backend_cpu(), c, &err) && !clip_init(m, 1, &err) &&
           !clip_save_layout(m, folder, layout, ST_F16, &err));
    clip_free(m);
    EXPECT(!st_open_base(&f, folder, layout == CLIP_HF ? "model" : "open_clip_model", &err));
    return f;
}

TEST(sizes_from_shapes) {
    for (int layout = CLIP_HF; layout <= CLIP_OPEN; layout++) {
        clip_config want = small(), got;
        clip_layout found;
        char prefix[256];
        st_file *f = saved(&want, (clip_layout)layout);
        if (!f) return;
        weight_source s = weights_of_safetensors(f);
        EXPECT(!clip_find(&found, prefix, &s, &err) && found == (clip_layout)layout && !prefix[0]);
        EXPECT(!clip_config_infer(&got, found, prefix, &s, &err) && same_sizes(&got, &want));
        EXPECT(got.text_act == VM_NONE && got.vision_act == VM_NONE && got.eos == 49 && got.layout == found);
        st_close(f);
    }
}

TEST(what_shapes_cannot_say) {
    clip_config c = small(), got;
    c.text.width = 96, c.text.heads = 3, c.text.mlp = 384;
    st_file *f = saved(&c, CLIP_OPEN);
    if (!f) return;
    weight_source s = weights_of_safetensors(f);
    EXPECT(clip_config_infer(&got, CLIP_OPEN, "", &s, &err) == VM_EMODEL);
    EXPECT_HAS(message(), "the widths 128 and 96 are no multiples of 64; state it with --arch FILE.json");
    EXPECT(clip_config_infer(&got, CLIP_OPEN, "module.", &s, &err) == VM_EMODEL);
    EXPECT_HAS(message(), "the tensor module.visual.conv1.weight is missing");
    weight_source none = s;
    none.n = 0;
    char prefix[256];
    clip_layout layout;
    EXPECT(clip_find(&layout, prefix, &none, &err) == VM_EMODEL);
    EXPECT_HAS(message(), "no CLIP among its 0 tensors");
    st_close(f);
}

/* Only names count here. */
static vm_status find_in(const char *const *names, int n, char prefix[256], clip_layout *layout) {
    st_tensor t[4] = { 0 };
    for (int k = 0; k < n; k++) t[k].name = names[k];
    weight_source s = { .path = "t", .t = t, .n = n };
    return clip_find(layout, prefix, &s, &err);
}

TEST(prefixes) {
    char prefix[256];
    clip_layout layout;
    EXPECT(!find_in((const char *const[]){ "state_dict.module.visual.conv1.weight" }, 1, prefix, &layout) &&
           layout == CLIP_OPEN);
    EXPECT_STR(prefix, "state_dict.module.");
    EXPECT(!find_in(
        (const char *const[]){ "ema.visual.conv1.weight", "state_dict.visual.conv1.weight", "z.visual.conv1.weight" },
        3, prefix, &layout));
    EXPECT_STR(prefix, "state_dict.");
    EXPECT(find_in((const char *const[]){ "a.visual.conv1.weight", "b.visual.conv1.weight" }, 2, prefix, &layout) ==
           VM_EMODEL);
    EXPECT_HAS(message(), "holds several CLIP models");
    EXPECT(find_in((const char *const[]){ "notvisual.conv1.weight", "x" }, 2, prefix, &layout) == VM_EMODEL);
    EXPECT_HAS(message(), "no CLIP among its 2 tensors");
    EXPECT(
        !find_in((const char *const[]){ "clip.vision_model.embeddings.patch_embedding.weight" }, 1, prefix, &layout) &&
        layout == CLIP_HF);
}

TEST(sizes_by_name) {
    clip_config c;
    EXPECT(!clip_config_named(&c, "ViT-L-14", &err) && c.vision_act == VM_NONE && c.vision.heads == 16 &&
           c.patch == 14 && c.text.heads == 12);
    EXPECT(!clip_config_named(&c, "ViT-B-32-quickgelu", &err) && c.vision_act == VM_QUICK_GELU &&
           c.text_act == VM_QUICK_GELU && c.embed == 512);
    EXPECT(!clip_config_named(&c, "ViT-bigG-14", &err) && c.vision.heads == 16 && c.vision.mlp == 8192 &&
           c.text.layers == 32);
    EXPECT(clip_config_named(&c, "ViT-X-1", &err) == VM_EUSAGE);
    EXPECT_HAS(message(), "--arch ViT-X-1: no file *.json and no known name; known are ViT-S-32");
    EXPECT(clip_config_named(&c, "-quickgelu", &err) == VM_EUSAGE);
    message();
}

TEST(activation_is_stated_or_unknown) {
    static const struct {
        const char *text;
        vm_unary_kind act;
    } files[] = {
        { "{\"embed_dim\":8,\"vision_cfg\":{\"width\":64},\"text_cfg\":{}}", VM_NONE },
        { "{\"embed_dim\":8,\"quick_gelu\":false,\"vision_cfg\":{\"width\":64},\"text_cfg\":{}}", VM_GELU },
        { "{\"model_cfg\":{\"embed_dim\":8,\"quick_gelu\":true,\"vision_cfg\":{\"width\":64},\"text_cfg\":{}}}",
          VM_QUICK_GELU },
        { "{\"model_type\":\"clip\",\"text_config\":{},\"vision_config\":{}}", VM_NONE },
        { "{\"model_type\":\"clip\",\"text_config\":{\"hidden_act\":\"gelu\"},\"vision_config\":{\"hidden_act\":"
          "\"gelu\"}}",
          VM_GELU },
    };
    char path[300];
    snprintf(path, sizeof path, "%s/c.json", folder);
    for (int k = 0; k < VM_LEN(files); k++) {
        clip_config c;
        EXPECT(!file_write(path, files[k].text, strlen(files[k].text), &err) && !clip_config_file(&c, path, &err));
        EXPECT(c.vision_act == files[k].act && c.text_act == files[k].act);
        EXPECT_STR(message(), "");
    }
}

/* clip.pt with everything between its bytes and the features. */
TEST(checkpoint_of_open_clip) {
    clip_config c;
    clip_model *m = NULL;
    clip_layout layout;
    char prefix[256];
    pt_file *f = NULL;
    st_file *g = NULL;
    EXPECT(!clip_config_file(&c, GOLDEN "clip.json", &err) && !pt_open(&f, GOLDEN "clip.pt", &err) &&
           !st_open(&g, GOLDEN "clip_case.safetensors", &err));
    if (err.status) {
        fprintf(stderr, "%s\n", message());
        return;
    }
    weight_source s = weights_of_checkpoint(f);
    EXPECT(!clip_find(&layout, prefix, &s, &err) && !clip_new(&m, vm_backend_cpu(), &c, &err) &&
           !clip_load(m, &s, prefix, false, &err));
    EXPECT_HAS(m->t.unused ? m->t.unused : "", "1 tensors not used: optimizer.state.0.exp_avg");
    float pixels[2 * 3 * 256], hwc[2 * 3 * 256], got[3 * 12], want[3 * 12];
    int64_t wide[24];
    int32_t ids[24], at[3], mask[24];
    EXPECT(!st_read_f32(g, st_find(g, "c/in.image"), 0, VM_LEN(pixels), pixels, &err) &&
           !st_read_i64(g, st_find(g, "c/in.text"), 0, 24, wide, &err));
    for (int i = 0; i < 24; i++) ids[i] = (int32_t)wide[i];
    for (int i = 0; i < VM_LEN(pixels); i++) hwc[(i / 768 * 256 + i % 256) * 3 + i / 256 % 3] = pixels[i];
    clip_text_rows(&m->c, 3, 8, ids, NULL, at, mask);
    vm_graph *graph = vm_graph_new(vm_backend_cpu(), VM_F32);
    vm_val px = vm_input(graph, "px", VM_F32, 4, (int64_t[]){ 2, 16, 16, 3 }),
           id = vm_input(graph, "ids", VM_I32, 2, (int64_t[]){ 3, 8 });
    vm_val row = vm_input(graph, "at", VM_I32, 1, (int64_t[]){ 3 }),
           see = vm_input(graph, "mask", VM_I32, 2, (int64_t[]){ 3, 8 });
    vm_output(graph, "images", towers_normalise(graph, &m->t, clip_image_features(graph, m, px)));
    vm_output(graph, "texts", towers_normalise(graph, &m->t, clip_text_features(graph, m, id, row, see)));
    EXPECT(!vm_set(graph, "px", hwc) && !vm_set(graph, "ids", ids) && !vm_set(graph, "at", at) &&
           !vm_set(graph, "mask", mask) && !vm_run(graph));
    static const char *const outs[] = { "images", "texts" };
    for (int k = 0; k < 2; k++) {
        char name[32];
        int n = (2 + k) * 12;
        snprintf(name, sizeof name, "c/out.%s", outs[k]);
        EXPECT(!vm_get(graph, outs[k], got) && !st_read_f32(g, st_find(g, name), 0, n, want, &err));
        for (int i = 0; i < n; i++) EXPECT_NEAR(got[i], want[i], 2e-6);
    }
    vm_graph_free(graph);
    clip_free(m);
    pt_close(f);
    st_close(g);
    EXPECT_STR(message(), "");
}

int main(int argc, char **argv) {
    snprintf(folder, sizeof folder, "%s/clip_arch.XXXXXX", argc > 1 ? argv[1] : ".");
    if (!mkdtemp(folder)) return 1;
    RUN(sizes_from_shapes);
    RUN(what_shapes_cannot_say);
    RUN(prefixes);
    RUN(sizes_by_name);
    RUN(activation_is_stated_or_unknown);
    RUN(checkpoint_of_open_clip);
    dir_remove(folder, NULL);
    return test_end();
}
