/* test_grounding_dino.c - Grounding DINO against tests/golden/grounding_dino: logits, boxes, detections with their phrases, all losses and
 * gradients of transformers (f32, weights in bf16); phrases of texts; spellings of files; configurations that cannot be. */
#include <unistd.h>

#include "io/file.h"
#include "models/detector.h"
#include "models/grounding_dino.h"
#include "tests/golden_check.h"

static char tmp[512];
static const char variant[] = "tests/golden/grounding_dino/variant";

TEST(goldens) {
    char out[600];
    int n_grads = 0, n_outs = 0;
    snprintf(out, sizeof out, "%s/out.safetensors", tmp);
    check_goldens(variant, out, &n_grads, &n_outs);
    if (n_grads != 372 || n_outs != 10) MISMATCH("%d gradients, %d outputs\n", n_grads, n_outs);
    unlink(out);
}

/* --- texts ---------------------------------------------------------------------------------------------------------- */
static void phrases(const int32_t *ids, int64_t T, int64_t n, const int32_t *block, const int32_t *position) {
    uint8_t sees[144];
    int32_t at[12];
    gdino_phrases(ids, T, n, sees, at);
    for (int64_t i = 0; i < n; i++) {
        EXPECT(at[i] == position[i]);
        for (int64_t j = 0; j < n; j++) EXPECT(sees[i * n + j] == (i == j || (block[i] && block[i] == block[j])));
    }
}
TEST(texts) {
    const int32_t two[] = { 101, 7, 8, 1012, 9, 1029, 102 }, shorter[] = { 101, 7, 1012, 102, 0, 0 }, open[] = { 101, 7, 1012, 5, 6 };
    /* The last delimiter of all ends no phrase; that of a shorter text does. */
    phrases(two, 7, 7, (int32_t[]){ 0, 1, 1, 1, 2, 2, 0 }, (int32_t[]){ 0, 0, 1, 2, 0, 1, 0 });
    phrases(shorter, 6, 6, (int32_t[]){ 0, 1, 1, 2, 0, 0 }, (int32_t[]){ 0, 0, 1, 0, 0, 0 });
    phrases(open, 5, 5, (int32_t[]){ 0, 1, 1, 0, 0 }, (int32_t[]){ 0, 0, 1, 0, 0 });
    phrases(two, 7, 5, (int32_t[]){ 0, 1, 1, 1, 2 }, (int32_t[]){ 0, 0, 1, 2, 0 }); /* cut, but its phrases as before */
    int32_t label[7];
    EXPECT(gdino_labels(two, 7, label) == 2 && !memcmp(label, (int32_t[]){ 0, 1, 1, 0, 2, 0, 0 }, sizeof label));
    EXPECT(gdino_labels(shorter, 6, label) == 1 && !memcmp(label, (int32_t[]){ 0, 1, 0, 0, 0, 0 }, 6 * sizeof *label));
}

TEST(detections) {
    const float logits[] = { 9, -1, 0.5f, 9, -9, -9, -9, -9, 0, 1, -INFINITY, 3 }, boxes[] = { 0.5f, 0.25f, 0.5f, 0.5f, 0, 0, 0, 0, 0.5f, 0.5f, 1, 1 };
    gdino_box found[3];
    int32_t index[4];
    EXPECT(gdino_detect(logits, boxes, 3, 4, 0.5, 10, 20, found) == 2 && found[0].query == 0 && found[1].query == 2);
    EXPECT(found[0].box[0] == 5 && found[0].box[1] == 0 && found[0].box[2] == 15 && found[0].box[3] == 5);
    EXPECT(fabsf(found[1].score - 0.95257413f) < 1e-6f && found[1].box[2] == 20 && found[1].box[3] == 10);
    EXPECT(gdino_phrase(logits, 4, 64, 0.5, index) == 2 && index[0] == 2 && index[1] == 3);
    EXPECT(gdino_phrase(logits, 4, 4, 0.5, index) == 1 && index[0] == 2); /* the last place of all never counts */
    EXPECT(gdino_phrase(logits + 8, 4, 64, 0.7, index) == 2 && index[0] == 1);
}

static float shared_part(const float *a, const float *b) {
    float w = fminf(a[2], b[2]) - fmaxf(a[0], b[0]), h = fminf(a[3], b[3]) - fmaxf(a[1], b[1]), in = w > 0 && h > 0 ? w * h : 0;
    return in / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - in);
}
static bool above(const detector_box *all, int64_t n, const detector_box *b, float part) { /* a better one of its phrase covers it */
    for (int64_t i = 0; i < n && all[i].score >= b->score; i++)
        if (all[i].phrase == b->phrase && memcmp(all[i].box, b->box, sizeof b->box) && shared_part(all[i].box, b->box) > part) return true;
    return false;
}
TEST(overlaps) { /* 2 x 2 boxes, a quarter or a half of one on the other: 1/7, 1/3 */
    const detector_box have[] = { { .box = { 0, 0, 2, 2 }, .phrase = 0 }, { .box = { 10, 0, 12, 2 }, .phrase = 1 } };
    const struct { detector_box b; float part; } cases[] = {
        { { .box = { 1, 1, 3, 3 }, .phrase = 0 }, 1 / 7.0f }, { { .box = { 10, 1, 12, 3 }, .phrase = 1 }, 1 / 3.0f },
        { { .box = { 10, 1, 12, 3 }, .phrase = 0 }, 0 },      { { .box = { 2, 0, 4, 2 }, .phrase = 0 }, 0 },
        { { .box = { 0, 0, 2, 2 }, .phrase = 0 }, 1 },        { { .box = { 0, 0, 2, 2 }, .phrase = 2 }, 0 },
    };
    for (int k = 0; k < VM_LEN(cases); k++) {
        EXPECT(detector_covered(have, 2, &cases[k].b, fmax((double)cases[k].part - 0.01, 0)) == (cases[k].part > 0));
        EXPECT(!detector_covered(have, 2, &cases[k].b, (double)cases[k].part + 0.01));
    }
    EXPECT(!detector_covered(have, 0, &cases[0].b, 0));
}

TEST(detector) {
    const char *const ask[] = { " A red CAT", "the dog. fish?" };
    detector_options o = { .threshold = 0, .nms = 1, .max_area = 1 };
    detector *d = NULL;
    detector_box *all = NULL, *some = NULL;
    vm_image im;
    int64_t n = 0, k = 0;
    vm_error e = { 0 };
    EXPECT(!image_read(&im, "tests/golden/scene/chart.png", NULL, &e) && !detector_open(&d, vm_backend_cpu(), VM_F32, variant, &e) && !detector_ask(d, ask, 2, &e));
    if (e.status) MISMATCH("%s\n", e.msg);
    EXPECT(detector_count(d) == 3);
    EXPECT_STR(detector_phrase(d, 0), "a red cat");
    EXPECT_STR(detector_phrase(d, 1), "the dog");
    EXPECT_STR(detector_phrase(d, 2), "fish");
    EXPECT(!detector_run(d, &im, &o, &all, &n, &e) && n > 5);
    for (int64_t i = 0; i < n; i++) {
        EXPECT(!i || all[i].score <= all[i - 1].score);
        EXPECT(all[i].phrase >= 0 && all[i].phrase < 3 && all[i].words != NULL);
        EXPECT(all[i].box[0] >= 0 && all[i].box[0] < all[i].box[2] && all[i].box[2] <= (float)im.w);
        EXPECT(all[i].box[1] >= 0 && all[i].box[1] < all[i].box[3] && all[i].box[3] <= (float)im.h);
    }
    o.nms = 0;
    EXPECT(!detector_run(d, &im, &o, &some, &k, &e) && k > 0 && k < n);
    for (int64_t i = 0; i < k; i++) EXPECT(!above(some, k, &some[i], 0));
    for (int64_t i = 0, j = 0; i < n; i++) { /* what is gone was covered by what is left */
        if (j < k && !memcmp(all[i].box, some[j].box, sizeof all[i].box)) j++;
        else EXPECT(above(some, k, &all[i], 0));
    }
    detector_boxes_free(some, k);
    o = (detector_options){ .threshold = (double)all[3].score, .nms = 1, .max_area = 1 }; /* above, not at */
    EXPECT(!detector_run(d, &im, &o, &some, &k, &e) && k == 3);
    detector_boxes_free(some, k);
    o = (detector_options){ .nms = 1, .max_area = 1, .most = 2 };
    EXPECT(!detector_run(d, &im, &o, &some, &k, &e) && k == 2 && some[1].score == all[1].score);
    detector_boxes_free(some, k), detector_boxes_free(all, n);
    const char *const nothing[] = { " . ", "?" }, *const many[] = { "a man on the car in the house with a cat on the table and a dog at the tree a cat a dog a bird a fish a car a tree a house a table a man a woman a cat a dog a bird a fish a car a tree "
        "a house a table a man a woman a cat a dog a bird a fish a car a tree a house a table a man a woman" };
    EXPECT(detector_ask(d, nothing, 2, &e));
    EXPECT_HAS(e.msg, "no words to look for");
    e = (vm_error){ 0 };
    EXPECT(detector_ask(d, many, 1, &e));
    EXPECT_HAS(e.msg, "tokens, the model reads 64; look for fewer at once");
    detector_free(d), image_free(&im);
}

/* Logits with the text side in the graph, and with its rows computed apart. */
TEST(rows_of_a_text) {
    const int32_t ids[] = { 101, 300, 301, 1012, 302, 303, 1012, 102 };
    enum { T = 8, SIDE = 32 };
    gdino *m = NULL;
    vm_error e = { 0 };
    vm_real pixels[2 * SIDE * SIDE * 3], *logits[2] = { 0 }, *rows = NULL;
    int32_t twice[2 * T];
    uint64_t seed = 5;
    for (int i = 0; i < 2 * SIDE * SIDE * 3; i++) pixels[i] = (vm_real)((double)(test_rand(&seed) >> 11) * 0x1p-53 - 0.5);
    for (int i = 0; i < 2 * T; i++) twice[i] = ids[i % T];
    EXPECT(!gdino_open(&m, vm_backend_cpu(), variant, false, &e));
    const gdino_batch alone = { .B = 1, .T = T, .ids = ids };
    vm_graph *g = vm_graph_new(m->w.be, VM_F32);
    vm_output(g, "rows", gdino_text_rows(g, m, &alone));
    rows = vm_alloc((size_t)(T * m->c.width) * sizeof *rows);
    EXPECT(!vm_plan(g) && !gdino_fill_text(g, m, &alone, &e) && !vm_run(g) && !vm_get(g, "rows", rows));
    vm_graph_free(g);
    const int64_t n = 2 * m->c.queries * T;
    for (int k = 0; k < 2; k++) {
        const gdino_batch b = { .B = 2, .H = SIDE, .W = SIDE, .T = T, .pixels = (float *)pixels, .ids = k ? ids : twice, .shared = k, .rows = (float *)rows };
        gdino_out o;
        g = vm_graph_new(m->w.be, VM_F32);
        gdino_forward(g, m, &b, false, &o);
        vm_output(g, "logits", o.logits[m->c.dec_layers - 1]);
        logits[k] = vm_alloc((size_t)n * sizeof *logits[k]);
        EXPECT(!vm_plan(g) && !gdino_fill(g, m, &b, &e) && !vm_run(g) && !vm_get(g, "logits", logits[k]));
        vm_graph_free(g);
    }
    for (int64_t i = 0; i < n; i++) EXPECT_NEAR((double)logits[1][i], (double)logits[0][i], 1e-4);
    vm_free(rows), vm_free(logits[0]), vm_free(logits[1]);
    gdino_free(m);
}

/* MM Grounding DINO scales the same products and adds a bias: another order of cells does not come of it. */
TEST(scaled_logits) {
    const int32_t ids[] = { 101, 300, 301, 1012, 302, 1012, 102 };
    enum { T = 7, SIDE = 40 };
    gdino *m = NULL;
    vm_error e = { 0 };
    vm_real pixels[SIDE * SIDE * 3], *logits[2] = { 0 };
    uint64_t seed = 6;
    for (int i = 0; i < SIDE * SIDE * 3; i++) pixels[i] = (vm_real)((double)(test_rand(&seed) >> 11) * 0x1p-53 - 0.5);
    EXPECT(!gdino_open(&m, vm_backend_cpu(), variant, true, &e));
    const int64_t n = m->c.queries * T, last = m->c.dec_layers - 1;
    for (int k = 0; k < 2; k++) {
        const gdino_batch b = { .B = 1, .H = SIDE, .W = SIDE, .T = T, .pixels = (float *)pixels, .ids = ids };
        gdino_out o;
        for (int64_t i = 0; i <= last && k; i++) {
            m->dec[i].class_bias = weight_new(&m->w, 1, (int64_t[]){ 1 }, "class_embed.%d.bias", (int)i);
            EXPECT(!weight_fill(m->dec[i].class_bias, -0.5 * (double)i, &e));
        }
        if (k) m->pick_bias = weight_new(&m->w, 1, (int64_t[]){ 1 }, "pick.bias"), weight_fill(m->pick_bias, 3, &e);
        vm_graph *g = vm_graph_new(m->w.be, VM_F32);
        gdino_forward(g, m, &b, false, &o);
        vm_output(g, "logits", o.logits[last]);
        logits[k] = vm_alloc((size_t)n * sizeof *logits[k]);
        EXPECT(!vm_plan(g) && !gdino_fill(g, m, &b, &e) && !vm_run(g) && !vm_get(g, "logits", logits[k]));
        vm_graph_free(g);
    }
    for (int64_t i = 0; i < n; i++) EXPECT_NEAR((double)logits[1][i], (double)logits[0][i] / 8 - 0.5 * (double)last, 1e-4); /* d = 64 */
    vm_free(logits[0]), vm_free(logits[1]);
    gdino_free(m);
}

/* Pictures of two sizes, three in one batch: the boxes that each of them gets alone, and what became of each phrase. */
TEST(many_pictures) {
    const char *const ask[] = { "a cat", "the dog" };
    detector_options o = { .threshold = 0, .nms = 1, .max_area = 1, .batch = 3 };
    detector *d = NULL;
    detector_found f[4], one;
    vm_image im[4];
    const vm_image *rgb[4];
    int64_t fit = 0;
    vm_error e = { 0 };
    for (int k = 0; k < 4; k++) {
        EXPECT(!image_new(&im[k], k == 1 ? 48 : 64, 64, 3, &e));
        for (int i = 0; i < im[k].w * im[k].h * 3; i++) im[k].px[i] = (uint8_t)(i * (7 + 4 * k) % 251);
        rgb[k] = &im[k];
    }
    EXPECT(!detector_open(&d, vm_backend_cpu(), VM_F32, variant, &e) && !detector_ask(d, ask, 2, &e) && !detector_run_many(d, 4, rgb, &o, f, &e));
    if (e.status) MISMATCH("%s\n", e.msg);
    for (int k = 0; k < 4 && !e.status; k++) {
        EXPECT(!detector_run_many(d, 1, &rgb[k], &o, &one, &e) && one.n == f[k].n && one.n > 0);
        for (int64_t i = 0; i < one.n && i < f[k].n; i++) {
            EXPECT_NEAR((double)one.box[i].score, (double)f[k].box[i].score, 1e-5);
            for (int c = 0; c < 4; c++) EXPECT_NEAR((double)one.box[i].box[c], (double)f[k].box[i].box[c], 1e-2);
        }
        int64_t sum = 0;
        for (int p = 0; p < 2; p++) {
            const detector_answer *a = &f[k].answer[p];
            EXPECT(a->status == (a->boxes ? DETECTOR_FOUND : DETECTOR_NO_BOX));
            sum += a->boxes;
        }
        EXPECT(sum == f[k].n);
        detector_found_free(&one);
    }
    const float top = fmaxf(f[0].answer[0].best, f[0].answer[1].best);
    for (int k = 0; k < 4; k++) detector_found_free(&f[k]);
    const struct { detector_options o; detector_status s; } cases[] = { /* of the phrase with the best box */
        { { .threshold = 1, .nms = 1, .max_area = 1 }, DETECTOR_NO_BOX },       { { .nms = 1, .max_area = 0 }, DETECTOR_TOO_LARGE },
        { { .nms = 1, .max_area = 1, .min_area = 1 }, DETECTOR_TOO_SMALL },     { { .nms = 1, .max_area = 1, .min_score = 1 }, DETECTOR_WEAK },
        { { .nms = 1, .max_area = 1, .min_score = (double)top }, DETECTOR_FOUND },
    };
    for (int k = 0; k < VM_LEN(cases); k++) {
        EXPECT(!detector_run_many(d, 1, rgb, &cases[k].o, &one, &e));
        const int best = one.answer[1].best > one.answer[0].best;
        EXPECT(one.answer[best].status == cases[k].s && (one.answer[best].boxes > 0) == (cases[k].s == DETECTOR_FOUND));
        EXPECT(one.answer[best].best == top && (cases[k].s == DETECTOR_FOUND || !one.n));
        detector_found_free(&one);
    }
    const char *const many[] = { "a man on the car in the house with a cat on the table", "and a dog at the tree a cat a dog a bird a fish a car a tree",
                                 "a house a table a man a woman a cat a dog a bird a fish a car a tree a house a table a man a woman a cat a dog a bird" };
    EXPECT(!detector_fits(d, many, 3, &fit, &e) && fit == 2);
    EXPECT(!detector_fits(d, many, 2, &fit, &e) && fit == 2);
    EXPECT(!detector_fits(d, many + 2, 1, &fit, &e) && fit <= 1);
    EXPECT(detector_run_many(d, 1, rgb, &o, &one, &e) == VM_EINPUT);
    EXPECT_HAS(e.msg, "no phrases to look for");
    detector_free(d);
    for (int k = 0; k < 4; k++) image_free(&im[k]);
}

/* A file in 16 bits that is only run: the same boxes, and no matrix that products alone read is in memory but packed. */
TEST(weights_of_the_file_find_the_same) {
    const char *const ask[] = { "a cat", "the dog" };
    const detector_options o = { .threshold = 0, .nms = 1, .max_area = 1 };
    vm_error e = { 0 };
    vm_image im;
    const vm_image *rgb = &im;
    EXPECT(!image_new(&im, 64, 64, 3, &e));
    for (int i = 0; i < im.w * im.h * 3; i++) im.px[i] = (uint8_t)(i * 7 % 251);
    for (int t = VM_F32; t <= VM_BF16; t++) {
        gdino *m[2] = { NULL };
        detector *d[2] = { NULL };
        detector_found f[2];
        const size_t before = vm_mem_used();
        for (int k = 0; k < 2; k++) {
            EXPECT(!gdino_open(&m[k], vm_backend_cpu(), variant, k == 0, &e) && !detector_wrap(&d[k], m[k], (vm_type)t, variant, &e));
            EXPECT(!detector_ask(d[k], ask, 2, &e) && !detector_run_many(d[k], 1, &rgb, &o, &f[k], &e));
        }
        if (e.status) {
            MISMATCH("%s\n", e.msg);
            return;
        }
        EXPECT(f[0].n > 5 && f[0].n == f[1].n);
        for (int64_t i = 0; i < f[0].n && i < f[1].n; i++) EXPECT(f[0].box[i].score == f[1].box[i].score && !memcmp(f[0].box[i].box, f[1].box[i].box, sizeof f[0].box[i].box));
        int64_t packed = 0, both = 0, rest = 0;
        for (int64_t i = 0; i < m[1]->w.n; i++) {
            const vm_param *p = m[1]->w.p[i];
            if (p->nd < 2) continue;
            packed += p->packs && !p->data, both += p->packs && p->data, rest += !p->packs;
        }
        EXPECT(packed > 100 && both == 0 && rest < 20 && m[1]->bert.word->type == VM_BF16 && m[1]->bert.word->mapped);
        for (int k = 0; k < 2; k++) detector_found_free(&f[k]), detector_free(d[k]), gdino_free(m[k]);
        EXPECT(vm_mem_used() == before);
    }
    image_free(&im);
}

/* A picture that is asked for other phrases right away is not looked at again: what its cells were is seen where the backbone's weights change and
 * nobody says so. Other pixels, and weights that are said to have changed, are looked at. */
TEST(pictures_are_seen_once) {
    const char *const ask[] = { "a cat", "the dog" };
    detector_options o = { .threshold = 0, .nms = 1, .max_area = 1, .most = 1 };
    float score[6];
    gdino *m = NULL;
    vm_error e = { 0 };
    vm_image im;
    EXPECT(!image_new(&im, 64, 64, 3, &e) && !gdino_open(&m, vm_backend_cpu(), variant, true, &e));
    for (int i = 0; i < im.w * im.h * 3; i++) im.px[i] = (uint8_t)(i * 7 % 251);
    detector *d[2] = { NULL }; /* the second is a new one each time */
    EXPECT(!detector_wrap(&d[0], m, VM_F32, variant, &e));
    for (int step = 0; step < 3; step++) {
        if (step == 1) im.px[100] ^= 255;
        if (step == 2) ((vm_real *)m->swin.patch_b->data)[0] += 3;
        EXPECT(!detector_wrap(&d[1], m, VM_F32, variant, &e));
        for (int k = 0; k < 2; k++) { /* the phrase of the step before was another one */
            detector_box *all = NULL;
            int64_t n = 0;
            EXPECT(!detector_ask(d[k], &ask[step % 2], 1, &e) && !detector_run(d[k], &im, &o, &all, &n, &e) && n == 1);
            score[2 * step + k] = n ? all[0].score : 0;
            detector_boxes_free(all, n);
        }
        detector_free(d[1]);
    }
    EXPECT(score[0] == score[1] && score[2] == score[3] && score[4] != score[5]);
    vm_param_touch(m->swin.patch_b);
    detector_box *all = NULL;
    int64_t n = 0;
    EXPECT(!detector_run(d[0], &im, &o, &all, &n, &e) && n == 1 && all[0].score == score[5]);
    detector_boxes_free(all, n), detector_free(d[0]);
    gdino_free(m), image_free(&im);
}

/* --- files ---------------------------------------------------------------------------------------------------------- */
static void put_tensor(st_writer *w, const char *name, const st_tensor *t, bool other, bool declare, vm_error *e) {
    if (declare) st_writer_add(w, name, t->dtype, t->nd, t->shape, e);
    else if (!other) st_writer_put(w, name, t->data, e);
    else {
        void *zeros = vm_calloc((size_t)t->len, 4);
        st_writer_put(w, name, zeros, e);
        vm_free(zeros);
    }
}

/* The variant under other names: moved to the decoder, a second time there (the same or not), or with the backbone below "swin.". */
enum { MOVED = 1, COPIED = 2, DIFFERENT = 4, NESTED = 8 };
static const char *opened(int how) {
    static const char prefix[] = "model.backbone.conv_encoder.model.";
    static char said[1100];
    char path[600], config[600], name[300], *from = realpath("tests/golden/grounding_dino/variant/config.json", NULL);
    vm_error e = { 0 };
    st_file *f = NULL;
    st_writer *w = NULL;
    gdino *m = NULL, *as = NULL;
    snprintf(path, sizeof path, "%s/model.safetensors", tmp), snprintf(config, sizeof config, "%s/config.json", tmp);
    EXPECT(from && !symlink(from, config));
    if (!st_open(&f, variant, &e)) st_writer_open(&w, path, 0, &e);
    for (int declare = 1; declare >= 0; declare--)
        for (int64_t i = 0; w && i < st_len(f) && !e.status; i++) {
            const st_tensor *t = st_at(f, i);
            bool box = !strncmp(t->name, "bbox_embed", 10), map = strstr(t->name, "hidden_states_norms") || strstr(t->name, ".swin."), nested;
            nested = how & NESTED && !strncmp(t->name, prefix, sizeof prefix - 1) && !map;
            if (nested) snprintf(name, sizeof name, "%sswin.%s", prefix, t->name + sizeof prefix - 1);
            else snprintf(name, sizeof name, "%s%s", box && how & MOVED ? "model.decoder." : "", t->name);
            put_tensor(w, name, t, false, declare, &e);
            snprintf(name, sizeof name, "model.decoder.%s", t->name);
            if (box && how & COPIED) put_tensor(w, name, t, how & DIFFERENT, declare, &e);
        }
    if (w && !e.status) st_writer_commit(w, &e);
    vm_backend *be = vm_backend_cpu();
    if (!e.status && !gdino_open(&m, be, tmp, true, &e) && !gdino_open(&as, be, variant, true, &e)) {
        EXPECT(!m->unused && !as->unused && m->w.n == as->w.n);
        for (int64_t i = 0; i < m->w.n; i++)
            EXPECT(!memcmp(m->w.p[i]->data, as->w.p[i]->data, (size_t)vm_param_count(m->w.p[i]) * sizeof(vm_real)));
    }
    snprintf(said, sizeof said, "%s", e.msg);
    gdino_free(m), gdino_free(as), st_close(f), free(from);
    unlink(path), unlink(config);
    return said;
}
TEST(spellings) {
    EXPECT_STR(opened(0), "");
    EXPECT_STR(opened(MOVED), "");
    EXPECT_STR(opened(COPIED), "");
    EXPECT_STR(opened(NESTED), "");
    EXPECT_HAS(opened(COPIED | DIFFERENT), "model.decoder.bbox_embed.0.layers.0.weight is not the same as bbox_embed.0.layers.0.weight");
}

static const char *refused(const char *config) {
    static char out[1100];
    vm_error e = { 0 };
    gdino_config c;
    json_doc *d = json_parse(config, strlen(config), "config.json", 0, &e);
    gdino_config_parse(&c, json_root(d), &e);
    json_free(d);
    snprintf(out, sizeof out, "%s", e.msg);
    return out;
}
TEST(configurations) {
    EXPECT_STR(refused("{}"), "");
    EXPECT_HAS(refused("{\"two_stage\":false}"), "only true is supported");
    EXPECT_HAS(refused("{\"query_dim\":2}"), "only 4 is supported");
    EXPECT_HAS(refused("{\"backbone_config\":{\"model_type\":\"resnet\"}}"), "backbone \"resnet\" is not supported");
    EXPECT_HAS(refused("{\"text_config\":{\"model_type\":\"roberta\"}}"), "text encoder \"roberta\" is not supported");
    EXPECT_HAS(refused("{\"position_embedding_type\":\"learned\"}"), "positions \"learned\" are not supported");
    EXPECT_HAS(refused("{\"d_model\":72}"), "d_model 72 is no multiple of 32");
    EXPECT_HAS(refused("{\"encoder_attention_heads\":5}"), "do not divide d_model 256");
    EXPECT_HAS(refused("{\"encoder_ffn_dim\":100}"), "8 attention heads do not divide encoder_ffn_dim 100");
    EXPECT_HAS(refused("{\"num_feature_levels\":2}"), "num_feature_levels 2 for 3 maps");
    EXPECT_HAS(refused("{\"activation_function\":\"mish\"}"), "activation \"mish\" is not known");
}

int main(int argc, char **argv) {
    snprintf(tmp, sizeof tmp, "%s/gdino.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    RUN(goldens);
    RUN(texts);
    RUN(detections);
    RUN(overlaps);
    RUN(detector);
    RUN(rows_of_a_text);
    RUN(scaled_logits);
    RUN(many_pictures);
    RUN(weights_of_the_file_find_the_same);
    RUN(pictures_are_seen_once);
    RUN(spellings);
    RUN(configurations);
    rmdir(tmp);
    return test_end();
}
