/* test_siglip.c - SigLIP against tests/golden/siglip (make.py there): outputs, the sigmoid loss and all gradients of
 * transformers; saving; folders that are none. */
#include <unistd.h>

#include "io/file.h"
#include "models/embedder.h"
#include "models/siglip.h"
#include "tests/golden_check.h"
#include "tests/weights_check.h"

#define GOLDEN "tests/golden/siglip/"
static char dir[512];

static const char *in_dir(const char *name) {
    static char path[4][700];
    static int k;
    k = (k + 1) % 4;
    snprintf(path[k], sizeof path[k], "%s/%s", dir, name);
    return path[k];
}

TEST(goldens) {
    int grads = 0, outs = 0;
    check_goldens(GOLDEN "hf", in_dir("out.safetensors"), &grads, &outs);
    check_goldens(GOLDEN "variant", in_dir("out.safetensors"), &grads, &outs); /* bf16 in shards, other sizes */
    EXPECT(grads == 2 * 88 && outs == 8);
}

/* --- saving ------------------------------------------------------------------------------------------------------ */
TEST(saved_and_loaded) {
    for (int k = 0; k < 2; k++) {
        vm_error e = { 0 };
        towers *t = NULL, *again = NULL;
        const char *from = k ? GOLDEN "variant" : GOLDEN "hf";
        st_file *a = NULL, *b = NULL;
        dir_make(in_dir("saved"), &e);
        EXPECT(!towers_open(&t, vm_backend_cpu(), from, &(towers_options){ .how = TOWERS_READ }, &e) && t->family == &siglip_family && !t->unused);
        EXPECT(!t->family->save(t, in_dir("saved"), ST_F32, true, &e));
        EXPECT(!st_open(&a, from, &e) && !st_open(&b, in_dir("saved"), &e) && st_len(a) == st_len(b));
        for (int64_t i = 0; !e.status && i < st_len(a); i++) { /* every published name, shape and number */
            const st_tensor *x = st_at(a, i), *y = st_find(b, x->name);
            float *u = numbers(a, x), *v = y && y->len == x->len && y->nd == x->nd ? numbers(b, y) : NULL;
            if (!v || memcmp(u, v, (size_t)x->len * sizeof *u)) MISMATCH("%s: %s changed\n", from, x->name);
            vm_free(u), vm_free(v);
        }
        st_close(a), st_close(b);
        EXPECT(!towers_open(&again, vm_backend_cpu(), in_dir("saved"), &(towers_options){ .how = TOWERS_TRAIN }, &e));
        const siglip_config *x = &((siglip_model *)t)->c, *y = again ? &((siglip_model *)again)->c : NULL;
        EXPECT(y && x->text.eps == y->text.eps && x->text.act == y->text.act && x->vision.act == y->vision.act && x->pad == y->pad &&
               x->context == y->context && x->vision.mlp == y->vision.mlp && x->vision.heads == y->vision.heads);
        for (int64_t i = 0; again && i < t->w->n; i++)
            EXPECT(same_numbers(t->w->p[i], again->w->p[i]));
        for (int64_t i = 0; again && i < t->w->n; i++) memset(again->w->p[i]->data, 0, (size_t)vm_param_count(t->w->p[i]) * sizeof(float));
        EXPECT(again && !again->family->load(again, in_dir("saved"), &e));
        for (int64_t i = 0; again && i < t->w->n; i++)
            EXPECT(same_numbers(t->w->p[i], again->w->p[i]));
        towers_free(t), towers_free(again);
    }
}

TEST(fresh_weights) {
    vm_error e = { 0 };
    towers *a = NULL, *b = NULL;
    EXPECT(!towers_open(&a, vm_backend_cpu(), GOLDEN "hf", &(towers_options){ .how = TOWERS_FRESH, .seed = 3 }, &e));
    EXPECT(!towers_open(&b, vm_backend_cpu(), GOLDEN "hf", &(towers_options){ .how = TOWERS_FRESH, .seed = 4 }, &e));
    EXPECT_NEAR(towers_scale(a), 10, 1e-4);
    EXPECT(towers_bias(a) == -10 && ((float *)((siglip_model *)a)->post_w->data)[0] == 1 && ((float *)((siglip_model *)a)->post_b->data)[0] == 0);
    EXPECT(memcmp(((siglip_model *)a)->patch_w->data, ((siglip_model *)b)->patch_w->data, 64) != 0);
    towers_free(a), towers_free(b);
}

/* --- folders that are none --------------------------------------------------------------------------------------- */
static const char *said(const char *config) {
    static vm_error e;
    siglip_config c;
    vm_error_clear(&e);
    EXPECT(!file_write(in_dir("config.json"), config, strlen(config), &e));
    EXPECT(siglip_config_read(&c, dir, &e) != VM_OK);
    unlink(in_dir("config.json"));
    return e.msg;
}

TEST(configurations) {
    vm_error e = { 0 };
    siglip_config c;
    EXPECT(siglip_config_read(&c, dir, &e) == VM_EMODEL);
    EXPECT_HAS(e.msg, "no config.json; give the folder of a SigLIP model");
    EXPECT_HAS(said("{\"model_type\":\"clip\"}"), "found \"clip\", expected \"siglip\"");
    EXPECT_HAS(said("{\"model_type\":\"siglip\",\"text_config\":{\"hidden_size\":10,\"num_attention_heads\":3}}"), "3 heads do not divide the width 10");
    EXPECT_HAS(said("{\"model_type\":\"siglip\",\"vision_config\":{\"hidden_size\":64,\"num_attention_heads\":4}}"),
               "texts become 768 numbers and pictures 64; a SigLIP needs projection_size");
    EXPECT_HAS(said("{\"model_type\":\"siglip\",\"vision_config\":{\"hidden_act\":\"softsign\"}}"), "activation \"softsign\" is not known");
    EXPECT_HAS(said("{\"model_type\":\"siglip\",\"vision_config\":{\"patch_size\":300}}"), "patches of 300 in images of 224");
    EXPECT_HAS(said("{\"model_type\":\"siglip\",\"vision_config\":{\"vision_use_head\":false}}"), "without its pooling head gives no features");
    EXPECT_HAS(said("{\"model_type\":\"siglip\",\"vision_config\":{\"num_channels\":4}}"), "only 3 channels");
    EXPECT_HAS(said("{\"model_type\":\"siglip\",\"text_config\":{\"pad_token_id\":32000}}"), "pad_token_id 32000 in a vocabulary of 32000");
    EXPECT_HAS(said("{\"model_type\":\"siglip\",\"text_config\":{\"num_hidden_layers\":0}}"), "num_hidden_layers");
    EXPECT_HAS(said("{\"model_type\":\"siglip\""), "config.json");
    vm_error_clear(&e);
    const char plain[] = "{\"model_type\":\"siglip\"}"; /* the published base model says no more */
    EXPECT(!file_write(in_dir("config.json"), plain, sizeof plain - 1, &e) && !siglip_config_read(&c, dir, &e));
    EXPECT(c.text.width == 768 && c.vision.layers == 12 && c.text.act == VM_GELU_TANH && c.vocab == 32000 && c.context == 64 && c.pad == 1 &&
           c.text.eps == 1e-6f && c.image_size == 224 && c.patch == 16 && c.vision.mlp == 3072);
    unlink(in_dir("config.json"));
}

TEST(weights_of_another_shape) {
    static const char *const change[][2] = {
        { "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3" }, /* more layers than the file has */
        { "\"patch_size\": 8", "\"patch_size\": 6" },
    };
    static const char *const want[] = { "32 tensors missing: ", "2 of another shape: vision_model.embeddings.patch_embedding.weight" };
    vm_error e = { 0 };
    char *config = NULL, *weights = NULL;
    size_t n = 0, bytes = 0;
    EXPECT(!file_read(&config, &n, GOLDEN "hf/config.json", 0, &e) && !file_read(&weights, &bytes, GOLDEN "hf/model.safetensors", 0, &e) &&
           !file_write(in_dir("model.safetensors"), weights, bytes, &e));
    for (int k = 0; k < 2; k++) {
        siglip_model *m = NULL;
        char *text = vm_strdup(config);
        for (char *at = text; (at = strstr(at, change[k][0])); at++) memcpy(at, change[k][1], strlen(change[k][1]));
        EXPECT(!file_write(in_dir("config.json"), text, n, &e));
        EXPECT(siglip_open(&m, vm_backend_cpu(), dir, false, &e) == VM_EMODEL && !m);
        EXPECT_HAS(e.msg, want[k]);
        vm_error_clear(&e);
        vm_free(text);
    }
    EXPECT(!file_write(in_dir("config.json"), config, n, &e) && !file_write(in_dir("model.safetensors"), weights, bytes - 100, &e));
    towers *t = NULL;
    EXPECT(towers_open(&t, vm_backend_cpu(), dir, &(towers_options){ .how = TOWERS_READ }, &e) != VM_OK && !t);
    EXPECT_HAS(e.msg, "model.safetensors");
    vm_free(config), vm_free(weights);
    unlink(in_dir("config.json")), unlink(in_dir("model.safetensors"));
}

TEST(families) {
    vm_error e = { 0 };
    towers *t = NULL;
    EXPECT(towers_open(&t, vm_backend_cpu(), dir, &(towers_options){ .how = TOWERS_READ }, &e) == VM_EMODEL && !t && !towers_is(dir));
    EXPECT_HAS(e.msg, "no config.json and no open_clip_config.json; give the folder of a model");
    vm_error_clear(&e);
    EXPECT(!file_write(in_dir("config.json"), "{\"model_type\":\"t5\"}", 19, &e));
    EXPECT(towers_open(&t, vm_backend_cpu(), dir, &(towers_options){ .how = TOWERS_READ }, &e) == VM_EMODEL && !t && !towers_is(dir));
    EXPECT_HAS(e.msg, "model_type \"t5\" is no model of pictures and texts; known are ");
    EXPECT_HAS(e.msg, " siglip");
    unlink(in_dir("config.json"));
    EXPECT(towers_is(GOLDEN "hf") && towers_is("tests/golden/clip/hf") && towers_is("tests/golden/clip/open_clip"));
}

/* --- texts and pictures ------------------------------------------------------------------------------------------ */
TEST(rows_and_sizes) {
    vm_error e = { 0 };
    towers *t = NULL;
    EXPECT(!towers_open(&t, vm_backend_cpu(), GOLDEN "hf", &(towers_options){ .how = TOWERS_READ }, &e));
    const int32_t ids[] = { 5, 1, 1, 6, 7, 1 }, given[] = { 1, 1, 0, 1, 1, 1 };
    int32_t at[2], mask[6];
    EXPECT(t->family->text_rows(t, 2, 3, ids, NULL, at, mask) == 3 && at[0] == 2 && at[1] == 2);
    for (int i = 0; i < 6; i++) EXPECT(mask[i] == 1); /* pads are seen */
    EXPECT(t->family->text_rows(t, 2, 3, ids, given, at, mask) == 3 && !memcmp(mask, given, sizeof given));
    vm_graph *g = vm_graph_new(vm_backend_cpu(), VM_F32);
    EXPECT(!t->family->image(g, t, vm_input(g, "px", VM_F32, 4, (int64_t[]){ 1, 24, 25, 3 })));
    EXPECT_STR(g->err.msg, "images of 24 x 25 for a model of 24 x 24; preprocess them first");
    vm_graph_free(g);
    g = vm_graph_new(vm_backend_cpu(), VM_F32);
    EXPECT(!towers_texts(g, t, 1, 13));
    EXPECT_STR(g->err.msg, "texts of 13 tokens for a context of 12");
    vm_graph_free(g);
    towers_free(t);
}

static void copy(const char *from, const char *to) {
    vm_error e = { 0 };
    char *data = NULL;
    size_t n = 0;
    EXPECT(!file_read(&data, &n, from, 0, &e) && !file_write(in_dir(to), data, n, &e));
    vm_free(data);
}

/* The vector of a text is that of its ids, padded by hand to the whole context. */
TEST(embedder_pads_to_the_context) {
    static const char *const files[] = { "hf/config.json", "hf/model.safetensors", "hf/preprocessor_config.json", "spiece/spiece.model",
                                         "spiece/tokenizer_config.json" };
    vm_error e = { 0 };
    char from[200];
    embedder *x = NULL;
    const char *texts[] = { "The dog's toy!", "" };
    float got[2 * 24], want[2 * 24];
    int32_t ids[24], at[2] = { 11, 11 }, mask[24];
    for (int k = 0; k < VM_LEN(files); k++) snprintf(from, sizeof from, GOLDEN "%s", files[k]), copy(from, strchr(files[k], '/') + 1);
    if (embedder_open(&x, vm_backend_cpu(), dir, NULL, VM_F32, true, &e) || embedder_texts(x, 2, texts, got, &e)) MISMATCH("%s\n", e.msg);
    tok *k = NULL;
    tok_ids list = { 0 };
    EXPECT(!tok_open(&k, dir, &e));
    for (int i = 0; i < 24; i++) ids[i] = 1, mask[i] = 1;
    for (int i = 0; i < 2; i++) {
        EXPECT(!tok_encode(k, texts[i], strlen(texts[i]), 0, 12, &list, &e) && list.n > 0 && list.n < 12);
        memcpy(ids + 12 * i, list.id, (size_t)list.n * sizeof *ids);
    }
    vm_graph *g = vm_graph_new(vm_backend_cpu(), VM_F32);
    g->deterministic = true;
    vm_output(g, "y", towers_texts(g, embedder_towers(x), 2, 12));
    EXPECT(!vm_set(g, "ids", ids) && !vm_set(g, "at", at) && !vm_set(g, "mask", mask) && !vm_run(g) && !vm_get(g, "y", want));
    for (int i = 0; i < 48; i++) EXPECT_NEAR(got[i], want[i], 1e-6);
    vm_graph_free(g);
    tok_ids_free(&list);
    tok_free(k);
    embedder_free(x);
}

int main(int argc, char **argv) {
    snprintf(dir, sizeof dir, "%s/siglip.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(dir)) return 1;
    RUN(goldens);
    RUN(saved_and_loaded);
    RUN(fresh_weights);
    RUN(configurations);
    RUN(weights_of_another_shape);
    RUN(families);
    RUN(rows_and_sizes);
    RUN(embedder_pads_to_the_context);
    vm_error e = { 0 };
    dir_remove(dir, &e);
    return test_end();
}
