/* test_resnet.c - CLIP's ResNets against tests/golden/resnet: outputs, losses and gradients of open_clip with running
 * statistics and with those of the batch; the running ones after a step; recomputation, folders, training,
 * configurations, memory. */
#include <unistd.h>

#include "io/file.h"
#include "models/clip.h"
#include "models/clip_train.h"
#include "models/loss.h"
#include "models/tower_groups.h"
#include "tests/golden_check.h"
#include "tests/weights_check.h"

#define GOLDEN "tests/golden/resnet/"
static char tmp[512];
static vm_error err;
static const char *message(void) {
    static char text[1100];
    snprintf(text, sizeof text, "%s", err.msg);
    vm_error_clear(&err);
    return text;
}

TEST(goldens) {
    char out[600];
    int n_grads = 0, n_outs = 0;
    snprintf(out, sizeof out, "%s/out.safetensors", tmp);
    check_goldens(GOLDEN "open_clip", out, &n_grads, &n_outs),
        check_goldens(GOLDEN "open_clip_variant", out, &n_grads, &n_outs);
    EXPECT(n_grads > 250 && n_outs == 6);
    unlink(out);
}

/* --- steps
 * ----------------------------------------------------------------------------------------------------------- */
typedef struct {
    clip_model *m;
    clip_batch b;
} steps;

/* A golden model in memory of its own, and the pictures and texts of its case "train". */
static steps begin(const char *dir) {
    steps s = { 0 };
    char path[256];
    st_file *f = NULL;
    snprintf(path, sizeof path, GOLDEN "%s/golden.safetensors", dir);
    const size_t len = strlen(path) - strlen("/golden.safetensors");
    char model[256];
    snprintf(model, sizeof model, "%.*s", (int)len, path);
    if (clip_open(&s.m, vm_backend_cpu(), model, true, &err) || st_open(&f, path, &err)) MISMATCH("%s\n", err.msg);
    const st_tensor *px = st_find(f, "train/in.image"), *tx = st_find(f, "train/in.text");
    const int64_t n = px->shape[0], S = px->shape[2], T = tx->shape[1];
    s.b = (clip_batch){
        .n_orig = n, .T = T, .pixels = vm_alloc((size_t)px->len * 4), .ids = vm_calloc((size_t)(n * T), 4)
    };
    s.b.at = vm_calloc((size_t)n, 4), s.b.mask = vm_calloc((size_t)(n * T), 4);
    float *chw = numbers(f, px), *ids = numbers(f, tx);
    for (int64_t i = 0; i < px->len; i++)
        s.b.pixels[(i / (3 * S * S) * S * S + i % (S * S)) * 3 + i / (S * S) % 3] = chw[i];
    for (int64_t i = 0; i < n * T; i++) s.b.ids[i] = (int32_t)ids[i];
    clip_text_rows(&s.m->c, n, T, s.b.ids, NULL, s.b.at, s.b.mask);
    vm_free(chw), vm_free(ids);
    st_close(f);
    return s;
}
static void end(steps *s) {
    vm_free(s->b.pixels), vm_free(s->b.ids), vm_free(s->b.at), vm_free(s->b.mask);
    clip_free(s->m);
}

/* One step with learning rate 0; the gradient of every parameter, NULL for none, one after the other (vm_free). */
static float *gradients(steps *s, clip_train_config c, int64_t *len) {
    clip_trainer *t = NULL;
    clip_step done;
    c.adam = (vm_adam){ 0.9f, 0.98f, 1e-6f, 0 }, c.max_logit_scale = 100;
    if (clip_trainer_new(&t, &s->m->t, &c, &err) || clip_trainer_step(t, &s->b, 0, &done, &err))
        MISMATCH("%s\n", err.msg);
    float *all = vm_calloc((size_t)weight_count(&s->m->w) + 1, sizeof *all);
    *len = 0;
    for (int64_t i = 0; i < s->m->w.n; i++) {
        const vm_param *p = s->m->w.p[i];
        if (p->state) EXPECT(!p->grad && !p->m);
        if (!p->grad) continue;
        memcpy(all + *len, p->grad, (size_t)vm_param_count(p) * sizeof *all), *len += vm_param_count(p);
    }
    clip_trainer_free(t);
    return all;
}

/* Running statistics of the model against the golden's state.* */
static void check_state(const steps *s, const char *dir, int batches) {
    char path[256], name[300];
    st_file *f = NULL;
    weight_map map = { 0 };
    int n = 0;
    snprintf(path, sizeof path, GOLDEN "%s/golden.safetensors", dir);
    EXPECT(!st_open(&f, path, &err));
    clip_map(s->m, CLIP_OPEN, &map);
    for (int64_t i = 0; i < map.n; i++) {
        const vm_param *p = map.t[i].p;
        if (!p->state) continue;
        snprintf(name, sizeof name, "train/state.%s", map.t[i].name);
        const st_tensor *t = st_find(f, name);
        float *want = t ? numbers(f, t) : NULL;
        EXPECT(t && t->len == vm_param_count(p));
        for (int64_t k = 0; t && k < t->len; k++) {
            double got = (double)((float *)p->data)[k];
            if (map.t[i].flags & W_COUNT) EXPECT(got == 7 + batches && want[k] == 8);
            else if (batches == 1) near(name, k, got, (double)want[k], 1e-5 * (1 + fabs((double)want[k])));
        }
        vm_free(want), n++;
    }
    EXPECT(n > 60);
    weight_map_free(&map);
    st_close(f);
}

TEST(running_statistics_follow_the_batches) {
    static const char *const dirs[] = { "open_clip", "open_clip_variant" };
    for (int k = 0; k < 2; k++)
        for (int recompute = 0; recompute < 2; recompute++) { /* what is computed twice counts once */
            steps s = begin(dirs[k]);
            int64_t n;
            s.m->t.stats = TOWERS_TRACKED, s.m->t.recompute = recompute;
            vm_free(gradients(&s, (clip_train_config){ 0 }, &n));
            EXPECT(n == weight_count(&s.m->w));
            check_state(&s, dirs[k], 1);
            end(&s);
        }
}
TEST(chunks_count_once) {
    steps s = begin("open_clip");
    int64_t n;
    s.m->t.stats = TOWERS_TRACKED;
    vm_free(gradients(&s, (clip_train_config){ .chunk = 2 }, &n));
    check_state(&s, "open_clip", 2); /* two chunks */
    end(&s);
}
TEST(recomputed_gradients_are_the_same_bits) {
    for (int stats = TOWERS_GIVEN; stats <= TOWERS_BATCH; stats++) {
        float *g[2];
        int64_t n[2];
        for (int k = 0; k < 2; k++) {
            steps s = begin("open_clip");
            s.m->t.stats = (towers_stats)stats, s.m->t.recompute = k;
            g[k] = gradients(&s, (clip_train_config){ 0 }, &n[k]);
            end(&s);
        }
        EXPECT(n[0] == n[1] && !memcmp(g[0], g[1], (size_t)n[0] * sizeof *g[0]));
        vm_free(g[0]), vm_free(g[1]);
    }
}
TEST(deterministic_steps_do_not_depend_on_threads) {
    float *g[3];
    int64_t n;
    for (int k = 0; k < 3; k++) {
        vm_threads(k + 1);
        steps s = begin("open_clip");
        s.m->t.stats = TOWERS_BATCH;
        g[k] = gradients(&s, (clip_train_config){ .deterministic = true }, &n);
        end(&s);
    }
    vm_threads(0);
    EXPECT(!memcmp(g[0], g[1], (size_t)n * sizeof *g[0]) && !memcmp(g[0], g[2], (size_t)n * sizeof *g[0]));
    for (int k = 0; k < 3; k++) vm_free(g[k]);
}

/* Weights change between runs of one inference graph: the folded ones follow. */
TEST(inference_follows_training) {
    steps s = begin("open_clip");
    clip_trainer *t = NULL;
    clip_step done;
    clip_train_config c = { .adam = { 0.9f, 0.98f, 1e-6f, 0 }, .max_logit_scale = 100 };
    float y[3][4 * 12];
    s.m->t.stats = TOWERS_TRACKED;
    EXPECT(!clip_trainer_new(&t, &s.m->t, &c, &err));
    vm_graph *g[2];
    for (int k = 0; k < 2; k++) {
        if (k) EXPECT(!clip_trainer_step(t, &s.b, 0.01, &done, &err));
        g[k] = vm_graph_new(vm_backend_cpu(), VM_F32);
        vm_output(g[k], "y", towers_images(g[k], &s.m->t, 4));
        for (int j = 0; j <= k; j++)
            EXPECT(!vm_set(g[j], "pixels", s.b.pixels) && !vm_run(g[j]) && !vm_get(g[j], "y", y[k + j]));
    }
    EXPECT(memcmp(y[0], y[1], sizeof y[0]) != 0);  /* the old graph sees the new weights */
    EXPECT(memcmp(y[1], y[2], sizeof y[0]) == 0); /* as a new one does */
    /* and as one that does not fold */
    vm_graph *apart = vm_graph_new(vm_backend_cpu(), VM_F32);
    apart->training = true, s.m->t.stats = TOWERS_GIVEN;
    vm_output(apart, "y", towers_images(apart, &s.m->t, 4));
    EXPECT(!vm_set(apart, "pixels", s.b.pixels) && !vm_run(apart) && !vm_get(apart, "y", y[0]));
    for (int k = 0; k < 4 * 12; k++) EXPECT_NEAR((double)y[1][k], (double)y[0][k], 1e-5);
    vm_graph_free(g[0]), vm_graph_free(g[1]), vm_graph_free(apart);
    clip_trainer_free(t);
    end(&s);
}

TEST(what_learns) {
    steps s = begin("open_clip");
    const tower_groups all = {
        .unlock_vision = -1, .unlock_text = -1, .lr_vision = 1, .lr_text = 1, .layer_decay = 0.5
    };
    tower_groups c = all;
    resnet *r = s.m->resnet;
    int64_t n;
    EXPECT(!tower_groups_apply(&s.m->t, &c, &err) && s.m->t.stats == TOWERS_TRACKED);
    EXPECT(!r->stem[0].norm[2]->trainable && !r->stem[0].count->trainable && r->stem[0].norm[0]->trainable);
    EXPECT(r->pos->lr_scale == 1 && r->block[4].conv[0].w->lr_scale == 0.5f && r->stem[2].w->lr_scale == 0x1p-6f);
    EXPECT(r->stem[0].w->decay && r->pos->decay && !r->stem[0].norm[0]->decay && !r->q_b->decay);
    /* frozen layers keep their statistics, the others follow */
    c.unlock_vision = 1;
    EXPECT(!tower_groups_apply(&s.m->t, &c, &err));
    vm_free(gradients(&s, (clip_train_config){ 0 }, &n));
    EXPECT(((float *)r->block[4].conv[0].count->data)[0] == 8 && ((float *)r->block[3].conv[0].count->data)[0] == 7);
    c = all, c.stats = true;
    EXPECT(!tower_groups_apply(&s.m->t, &c, &err) && s.m->t.stats == TOWERS_GIVEN);
    vm_free(gradients(&s, (clip_train_config){ 0 }, &n));
    EXPECT(((float *)r->block[4].conv[0].count->data)[0] == 8 && n == weight_count(&s.m->w));
    end(&s);
}

/* --- folders
 * --------------------------------------------------------------------------------------------------------- */
static bool same_weights(const clip_model *a, const clip_model *b) {
    bool same = a->w.n == b->w.n;
    for (int64_t i = 0; same && i < a->w.n; i++) same = same_numbers(a->w.p[i], b->w.p[i]);
    return same;
}
TEST(folders) {
    steps s = begin("open_clip");
    clip_model *again = NULL, *half = NULL;
    st_file *f = NULL;
    ((float *)s.m->resnet->stem[1].count->data)[0] = 12345678;
    EXPECT(!s.m->t.family->save(&s.m->t, tmp, ST_F32, false, &err));
    EXPECT(!clip_open(&again, vm_backend_cpu(), tmp, false, &err) && same_weights(s.m, again));
    EXPECT(again && !memcmp(&again->c.blocks, &s.m->c.blocks, sizeof again->c.blocks) && again->c.vision.heads == 4);
    EXPECT(again && again->c.text_act == VM_QUICK_GELU && again->c.vision_act == VM_RELU);
    weight_fill(s.m->resnet->pos, 0, &err), weight_fill(s.m->resnet->stem[1].count, 0, &err);
    EXPECT(!s.m->t.family->load(&s.m->t, tmp, &err) && again &&
           same_weights(s.m, again)); /* as a resumed training does */
    /* in half precision the statistics stay as they are */
    EXPECT(!clip_save(s.m, tmp, ST_F16, true, &err) && !st_open_base(&f, tmp, "open_clip_model", &err));
    EXPECT(f && st_find(f, "visual.bn1.running_var")->dtype == ST_F32 &&
           st_find(f, "visual.bn2.num_batches_tracked")->dtype == ST_I64 &&
           st_find(f, "visual.conv1.weight")->dtype == ST_F16);
    EXPECT(!clip_open(&half, vm_backend_cpu(), tmp, false, &err));
    EXPECT(half && ((float *)half->resnet->stem[1].count->data)[0] == 12345678);
    EXPECT(clip_save_layout(s.m, tmp, CLIP_HF, ST_F32, &err) == VM_EMODEL);
    EXPECT_HAS(message(), "Hugging Face has no CLIP with a ResNet; open_clip has");
    clip_free(again), clip_free(half);
    st_close(f);
    end(&s);
}
/* A count may be missing, as where statistics were frozen; other tensors may not. */
TEST(missing_tensors) {
    for (int k = 0; k < 2; k++) {
        const char *skip = k ? "visual.layer2.1.bn3.running_var" : "visual.layer2.1.bn3.num_batches_tracked";
        clip_model *m = NULL;
        st_file *f = NULL;
        st_writer *w = NULL;
        char path[600], *text = NULL;
        size_t len;
        EXPECT(!file_read(&text, &len, GOLDEN "open_clip/open_clip_config.json", 0, &err));
        snprintf(path, sizeof path, "%s/open_clip_config.json", tmp);
        EXPECT(!file_write(path, text, len, &err) && !st_open(&f, GOLDEN "open_clip", &err));
        vm_free(text);
        snprintf(path, sizeof path, "%s/open_clip_model.safetensors", tmp);
        EXPECT(!st_writer_open(&w, path, 0, &err));
        for (int pass = 0; pass < 2; pass++)
            for (int64_t i = 0; i < st_len(f); i++) {
                const st_tensor *t = st_at(f, i);
                if (!strcmp(t->name, skip)) continue;
                EXPECT(!(pass ? st_writer_put(w, t->name, t->data, &err)
                              : st_writer_add(w, t->name, t->dtype, t->nd, t->shape, &err)));
            }
        EXPECT(!st_writer_commit(w, &err));
        st_close(f);
        vm_status st = clip_open(&m, vm_backend_cpu(), tmp, false, &err);
        EXPECT(st == (k ? VM_EMODEL : VM_OK));
        if (k) EXPECT_HAS(message(), "1 tensors missing: visual.layer2.1.bn3.running_var");
        else
            EXPECT(((float *)m->resnet->block[2].conv[2].count->data)[0] == 0 &&
                   ((float *)m->resnet->block[1].conv[2].count->data)[0] == 7);
        clip_free(m);
    }
}

TEST(sizes_from_shapes) {
    st_file *f = NULL;
    clip_config c, want;
    clip_layout layout;
    char prefix[256];
    EXPECT(!st_open(&f, GOLDEN "open_clip_variant", &err) &&
           !clip_config_read(&want, GOLDEN "open_clip_variant", &err));
    weight_source s = weights_of_safetensors(f);
    EXPECT(!clip_find(&layout, prefix, &s, &err) && layout == CLIP_OPEN && !prefix[0]);
    EXPECT(clip_config_infer(&c, layout, prefix, &s, &err) == VM_EMODEL); /* texts of width 12: heads cannot be seen */
    EXPECT_HAS(message(), "are no multiples of 64");
    EXPECT(!memcmp(c.blocks, want.blocks, sizeof c.blocks) && c.vision.width == 2 && c.image_size == 96 &&
           c.embed == 10 && c.vision.layers == 6 && c.vision.heads == 1 && c.vision_act == VM_RELU &&
           c.text_act == VM_NONE && c.context == 9 && c.vocab == 30);
    st_close(f);
}
TEST(sizes_by_name) {
    clip_config c;
    EXPECT(!clip_config_named(&c, "RN50", &err) && c.blocks[3] == 3 && c.vision.heads == 32 && c.embed == 1024 &&
           c.text.heads == 8 && c.text_act == VM_NONE && c.vision_act == VM_RELU);
    EXPECT(!clip_config_named(&c, "RN50x4-quickgelu", &err) && c.vision.heads == 40 && c.image_size == 288 &&
           c.text_act == VM_QUICK_GELU && c.vision_act == VM_RELU && c.text.width == 640);
    EXPECT(!clip_config_named(&c, "RN101", &err) && c.blocks[2] == 23 && c.vision.layers == 33);
    clip_model *m = NULL; /* the number of parameters that open_clip counts */
    EXPECT(!clip_config_named(&c, "RN50", &err) && !clip_new(&m, vm_backend_cpu(), &c, &err) &&
           weight_count(&m->w) == 102007137);
    clip_free(m);
}

static const char *said(const char *vision) {
    char path[600], text[600];
    clip_config c;
    snprintf(path, sizeof path, "%s/open_clip_config.json", tmp);
    snprintf(text, sizeof text, "{\"embed_dim\":8,\"vision_cfg\":{%s},\"text_cfg\":{\"width\":8,\"heads\":2}}", vision);
    EXPECT(!file_write(path, text, strlen(text), &err));
    clip_config_read(&c, tmp, &err);
    return message();
}
TEST(configurations) {
    EXPECT_STR(said("\"layers\":[3,4,6,3],\"width\":64,\"patch_size\":null"), "");
    EXPECT_HAS(said("\"layers\":[3,4,6],\"width\":64"), "3 stages, a ResNet has 4");
    EXPECT_HAS(said("\"layers\":[3,4,0,3],\"width\":64"), "layers");
    EXPECT_HAS(said("\"layers\":[3,4,\"a\",3],\"width\":64"), "layers");
    EXPECT_HAS(said("\"layers\":[3,4,6,3],\"width\":9"), "a ResNet of width 9 with heads of 64");
    EXPECT_HAS(said("\"layers\":[3,4,6,3],\"width\":64,\"head_width\":100"), "a ResNet of width 64 with heads of 100");
    EXPECT_HAS(said("\"layers\":[3,4,6,3],\"width\":64,\"image_size\":200"),
               "200 pixels for a ResNet, which needs a multiple of 32");
    EXPECT_HAS(said("\"layers\":[3,4,6,3],\"timm_model_name\":\"x\""), "this variant of CLIP is not supported yet");
}

/* --- memory
 * ---------------------------------------------------------------------------------------------------------- */
static vm_status whole_life(vm_error *e) {
    clip_config c = { .text = { 8, 1, 2, 8 },
                      .vision = { 2, 4, 1, 0 },
                      .blocks = { 1, 1, 1, 1 },
                      .vocab = 12,
                      .context = 4,
                      .image_size = 32,
                      .patch = 32,
                      .embed = 4,
                      .text_act = VM_GELU,
                      .vision_act = VM_RELU,
                      .text_eps = 1e-5f,
                      .vision_eps = 1e-5f };
    clip_model *m = NULL;
    clip_trainer *t = NULL;
    vm_graph *g = NULL;
    static float pixels[2 * 32 * 32 * 3];
    int32_t ids[8] = { 1, 2, 3, 11, 4, 5, 6, 11 }, at[2] = { 3, 3 }, mask[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };
    clip_batch b = { .n_orig = 2, .T = 4, .pixels = pixels, .ids = ids, .at = at, .mask = mask };
    clip_train_config tc = { .adam = { 0.9f, 0.98f, 1e-6f, 0 }, .max_logit_scale = 100 };
    clip_step s;
    for (int i = 0; i < VM_LEN(pixels); i++) pixels[i] = (float)(i % 7) - 3;
    if (!clip_new(&m, vm_backend_cpu(), &c, e)) m->t.recompute = true, m->t.stats = TOWERS_TRACKED;
    if (m && !clip_init(m, 1, e) && !clip_trainer_new(&t, &m->t, &tc, e) && !clip_trainer_step(t, &b, 1e-3, &s, e)) {
        if (!(g = vm_graph_new(vm_backend_cpu(), VM_F32))) vm_nomem(e, sizeof *g, "a graph");
        else vm_output(g, "y", towers_images(g, &m->t, 2));
        if (g && (vm_plan(g) || vm_set(g, "pixels", pixels) || vm_run(g))) *e = g->err;
    }
    vm_graph_free(g);
    clip_trainer_free(t);
    clip_free(m);
    return e->status;
}
TEST(any_allocation_may_fail) {
    vm_error e = { 0 };
    if (whole_life(&e)) MISMATCH("%s\n", e.msg);
    size_t used = vm_mem_used();
    int64_t n = 0;
    for (; n < 100000; n += n < 600 ? 7 : 23) { /* a part of the thousands; which one moves with every change */
        vm_error_clear(&e);
        vm_mem_fail_after(n);
        vm_status st = whole_life(&e);
        vm_mem_fail_after(-1);
        EXPECT(vm_mem_used() == used);
        if (!st) break;
        EXPECT(st == VM_EDEVICE);
        EXPECT_HAS(e.msg, "out of memory: ");
    }
    EXPECT(n > 600 && n < 100000);
}

int main(int argc, char **argv) {
    snprintf(tmp, sizeof tmp, "%s/resnet_XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    RUN(goldens);
    RUN(running_statistics_follow_the_batches);
    RUN(chunks_count_once);
    RUN(recomputed_gradients_are_the_same_bits);
    RUN(deterministic_steps_do_not_depend_on_threads);
    RUN(inference_follows_training);
    RUN(what_learns);
    RUN(folders);
    RUN(missing_tensors);
    RUN(sizes_from_shapes);
    RUN(sizes_by_name);
    RUN(configurations);
    RUN(any_allocation_may_fail);
    dir_remove(tmp, &err);
    return test_end();
}
