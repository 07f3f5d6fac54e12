/* test_box_score.c - COCO's numbers against those of pycocotools (tests/golden/boxes), and small cases by hand; intervals against scoring
 * every resample as a set of its own. */
#include "io/file.h"
#include "io/json.h"
#include "kernels/backend.h"
#include "kernels/philox.h"
#include "pipeline/box_bootstrap.h"
#include "pipeline/box_counts.h"
#include "tests/test.h"

static const char golden[] = "tests/golden/boxes/";

static json_doc *expected(vm_error *e) { return json_open("tests/golden/boxes/expected.json", e); }

TEST(as_pycocotools) {
    static const char *const sizes[] = { "", "_small", "_medium", "_large" };
    vm_error e = { 0 };
    boxes_set s;
    boxes_item *found = NULL;
    int64_t n = 0;
    box_scores all = { 0 }, each[4];
    char path[64], key[24];
    json_doc *d = expected(&e);
    json_value want = json_get(json_root(d), "all");
    snprintf(path, sizeof path, "%struth.json", golden);
    EXPECT(!boxes_open(&s, path, &e) && s.n_categories == 4);
    snprintf(path, sizeof path, "%sfound.json", golden);
    EXPECT(!boxes_read_found(&s, path, &found, &n, &e) && n > 300);
    EXPECT(!box_score(&s, found, n, false, &all, each, &e));
    EXPECT_NEAR(all.ap50, json_as_num(json_get(want, "AP50"), &e), 1e-12);
    EXPECT_NEAR(all.ap75, json_as_num(json_get(want, "AP75"), &e), 1e-12);
    for (int k = 0; k < BOX_SIZES; k++) {
        snprintf(key, sizeof key, "AP%s", sizes[k]);
        EXPECT_NEAR(all.ap[k], json_as_num(json_get(want, key), &e), 1e-12);
        snprintf(key, sizeof key, "AR%s", k ? sizes[k] : "_100");
        EXPECT_NEAR(all.ar_size[k], json_as_num(json_get(want, key), &e), 1e-12);
    }
    for (int k = 0; k < 3; k++) {
        snprintf(key, sizeof key, "AR_%d", box_cuts[k]);
        EXPECT_NEAR(all.ar[k], json_as_num(json_get(want, key), &e), 1e-12);
    }
    for (int64_t c = 0; c < 4; c++) {
        json_value v = json_get(json_get(json_root(d), "AP_of"), s.category[c].name);
        if (json_has(v)) EXPECT_NEAR(each[c].ap[0], json_as_num(v, &e), 1e-12);
        else EXPECT(isnan(each[c].ap[0]));
    }
    EXPECT(!e.status);
    json_free(d), vm_free(found), boxes_close(&s);
}

/* The scores of a set in which picture i stands times[i] times. */
static box_scores score_copies(const boxes_set *s, const boxes_item *found, int64_t n, const int *times, bool pooled) {
    boxes_set c = *s;
    boxes_item *boxes = vm_alloc((size_t)(24 * n) * sizeof *boxes);
    int64_t m = 0;
    box_scores all;
    vm_error e = { 0 };
    c.image = vm_alloc(24 * sizeof *c.image), c.truth = vm_alloc((size_t)(24 * s->n_truths) * sizeof *c.truth), c.n_images = c.n_truths = 0;
    for (int64_t i = 0; i < s->n_images; i++)
        for (int k = 0; k < times[i]; k++) {
            boxes_image *im = &c.image[c.n_images];
            *im = s->image[i], im->first = c.n_truths;
            for (int64_t t = s->image[i].first; t < s->image[i].end; t++) c.truth[c.n_truths] = s->truth[t], c.truth[c.n_truths++].image = c.n_images;
            for (int64_t b = 0; b < n; b++)
                if (found[b].image == i) boxes[m] = found[b], boxes[m++].image = c.n_images;
            im->end = c.n_truths, c.n_images++;
        }
    if (box_score(&c, boxes, m, pooled, &all, NULL, &e)) MISMATCH("%s\n", e.msg);
    vm_free(c.image), vm_free(c.truth), vm_free(boxes);
    return all;
}
static bool same_interval(estimate a, estimate b) { return fabs(a.value - b.value) < 1e-12 && fabs(a.low - b.low) < 1e-12 && fabs(a.high - b.high) < 1e-12; }

TEST(intervals) {
    enum { R = 60, SEED = 11 };
    vm_error e = { 0 };
    boxes_set s;
    boxes_item *found = NULL;
    int64_t n = 0;
    EXPECT(!boxes_open(&s, "tests/golden/boxes/truth.json", &e) && s.n_images == 24 && !boxes_read_found(&s, "tests/golden/boxes/found.json", &found, &n, &e));
    for (int64_t i = 0; i < n; i++) found[i].score += 1e-9 * (double)i; /* no two alike: copies of a box then stand together */
    for (int pooled = 0; pooled < 2; pooled++) {
        double draws[3][R];
        box_scores all;
        box_intervals sure, again, other;
        EXPECT(!box_score(&s, found, n, pooled, &all, NULL, &e));
        for (int r = 0; r < R; r++) {
            vm_rng rng = vm_rng_at(SEED, (uint64_t)r);
            int times[24] = { 0 };
            for (int i = 0; i < 24; i++) times[vm_rng_below(&rng, 24)]++;
            const box_scores one = score_copies(&s, found, n, times, pooled);
            draws[0][r] = one.ap[0], draws[1][r] = one.ap50, draws[2][r] = one.ap75;
        }
        vm_threads(2);
        EXPECT(!box_bootstrap(&s, found, n, pooled, &all, R, SEED, &sure, &e));
        vm_threads(1);
        EXPECT(!box_bootstrap(&s, found, n, pooled, &all, R, SEED, &again, &e) && !memcmp(&sure, &again, sizeof sure));
        EXPECT(!box_bootstrap(&s, found, n, pooled, &all, R, SEED + 1, &other, &e) && memcmp(&sure, &other, sizeof sure));
        EXPECT(same_interval(sure.ap, percentile_interval(all.ap[0], draws[0], R)) && same_interval(sure.ap50, percentile_interval(all.ap50, draws[1], R)));
        EXPECT(same_interval(sure.ap75, percentile_interval(all.ap75, draws[2], R)));
        EXPECT(sure.ap.low < all.ap[0] && sure.ap.high > all.ap[0] && sure.ap.high - sure.ap.low < 0.3);
        EXPECT(!box_bootstrap(&s, found, n, pooled, &all, 0, SEED, &sure, &e) && sure.ap50.value == all.ap50 && isnan(sure.ap50.low));
    }
    EXPECT(!e.status);
    vm_free(found), boxes_close(&s);
}

static boxes_set two_pictures(vm_error *e) {
    static const char text[] =
        "{\"images\":[{\"id\":4,\"file_name\":\"b\"},{\"id\":2,\"file_name\":\"a\",\"neg_category_ids\":[30]}],"
        "\"categories\":[{\"id\":10,\"name\":\"cat\"},{\"id\":20,\"name\":\"dog\"},{\"id\":30,\"name\":\"cow\"}],\"annotations\":["
        "{\"image_id\":2,\"category_id\":10,\"bbox\":[0,0,10,10]},{\"image_id\":4,\"category_id\":20,\"bbox\":[5,5,20,20]}]}";
    boxes_set s = { 0 };
    file_write("build/two_pictures.json", text, sizeof text - 1, e);
    boxes_open(&s, "build/two_pictures.json", e);
    return s;
}

TEST(pictures_ask_for_what_they_list) {
    vm_error e = { 0 };
    boxes_set s = two_pictures(&e);
    EXPECT(!e.status && s.n_images == 2 && s.image[0].id == 2 && s.image[0].end == 1 && s.image[1].first == 1);
    EXPECT(boxes_asks(&s.image[0], 0) && !boxes_asks(&s.image[0], 1) && boxes_asks(&s.image[0], 2) && boxes_asks(&s.image[1], 2));
    EXPECT(boxes_asked(&s, &s.image[0]) == 2 && boxes_asked(&s, &s.image[1]) == 3);
    boxes_close(&s);
}

/* A better box for an absent phrase costs nothing where nobody asked for it; pooled, a phrase's false box costs the others. */
TEST(pooled) {
    vm_error e = { 0 };
    boxes_set s = two_pictures(&e);
    boxes_item found[] = { { .image = 0, .category = 0, .box = { 0, 0, 10, 10 }, .area = 100, .score = 0.5 },
                           { .image = 1, .category = 1, .box = { 5, 5, 20, 20 }, .area = 400, .score = 0.4 },
                           { .image = 0, .category = 1, .box = { 5, 5, 20, 20 }, .area = 400, .score = 0.9 },
                           { .image = 0, .category = 2, .box = { 0, 0, 10, 10 }, .area = 100, .score = 0.8 } };
    box_scores all = { 0 };
    EXPECT(!box_score(&s, found, 4, false, &all, NULL, &e));
    EXPECT_NEAR(all.ap[0], 1, 1e-12);
    EXPECT(isnan(all.ap[BOX_LARGE]) && isnan(all.ap[BOX_MEDIUM]));
    EXPECT(!box_score(&s, found, 3, true, &all, NULL, &e));
    EXPECT_NEAR(all.ap[0], 1, 1e-12);
    EXPECT(!box_score(&s, found, 4, true, &all, NULL, &e)); /* precisions 0, 1/2, 2/3: at every recall 2/3 is to come */
    EXPECT_NEAR(all.ap50, 2. / 3, 1e-12);
    EXPECT(!box_score(&s, found, 0, true, &all, NULL, &e) && all.ap[0] == 0 && all.ar[2] == 0);
    boxes_close(&s);
}

/* A picture with two cats (one a crowd's neighbour) and no dog: what each number takes into account. */
TEST(questions) {
    vm_error e = { 0 };
    boxes_set s = two_pictures(&e);
    boxes_item found[] = { { .image = 0, .category = 0, .box = { 0, 0, 10, 9 }, .area = 90, .score = 0.9 },    /* right */
                           { .image = 0, .category = 0, .box = { 0, 0, 9, 9 }, .area = 81, .score = 0.8 },     /* covered by it */
                           { .image = 0, .category = 0, .box = { 50, 0, 9, 9 }, .area = 81, .score = 0.41 },   /* wrong, not at .45 */
                           { .image = 0, .category = 2, .box = { 0, 0, 9, 9 }, .area = 81, .score = 0.3 },     /* absent, below .35 */
                           { .image = 1, .category = 1, .box = { 40, 40, 20, 20 }, .area = 400, .score = 0.2 }, /* best, and wrong */
                           { .image = 1, .category = 2, .box = { 1, 1, 5, 5 }, .area = 25, .score = 0.7 } };   /* absent */
    box_counts c, each[3];
    EXPECT(!box_count(&s, found, 6, 0.35, 0.5, &c, each, &e));
    EXPECT(c.truths == 2 && c.hits == 1 && c.boxes == 3);       /* questions: 0 cat, 0 cow; 1 cat, 1 dog, 1 cow */
    EXPECT(c.alone == 2 && c.pointed == 1);
    EXPECT(c.absent == 3 && c.silent == 2 && each[2].absent == 2 && each[2].silent == 1);
    EXPECT(c.counted == 5 && c.right == 2 && c.present == 2 && c.present_right == 0 && c.off == 3);
    EXPECT(c.steady == 3 && c.steady_right == 1);               /* 1 cat: none at all; 1 dog: 0 of 1; 1 cow: 1 of 0 */
    s.truth[0].crowd = true;
    EXPECT(!box_count(&s, found, 6, 0.35, 0.5, &c, each, &e));
    EXPECT(each[0].truths == 0 && each[0].boxes == 1 && each[0].counted == 1 && each[0].alone == 0 && each[0].absent == 1);
    EXPECT(!box_count(&s, found, 6, 0.35, 1, &c, each, &e) && c.boxes == 2); /* both boxes lie in the crowd */
    s.truth[0].crowd = false;
    EXPECT(!box_count(&s, found, 6, 0.35, 1, &c, each, &e) && c.boxes == 4 && c.hits == 1);
    boxes_close(&s);
}

static void refuses(const char *text, const char *why) {
    vm_error e = { 0 };
    boxes_set s;
    boxes_item *found = NULL;
    int64_t n;
    const bool results = text[0] == '[';
    file_write("build/bad_boxes.json", text, strlen(text), &e);
    s = results ? two_pictures(&e) : (boxes_set){ 0 };
    EXPECT((results ? boxes_read_found(&s, "build/bad_boxes.json", &found, &n, &e) : boxes_open(&s, "build/bad_boxes.json", &e)) == VM_EINPUT);
    EXPECT_HAS(e.msg, why);
    EXPECT_HAS(e.msg, "build/bad_boxes.json:1");
    boxes_close(&s);
}
TEST(bad_files) {
    refuses("{\"images\":[{\"id\":1,\"file_name\":\"a\"},{\"id\":1,\"file_name\":\"b\"}]}", "two pictures have the id 1");
    refuses("{\"images\":[],\"categories\":[{\"id\":3,\"name\":\"a\"},{\"id\":3,\"name\":\"b\"}]}", "two categories have the id 3");
    refuses("{\"images\":[{\"id\":1}]}", "file_name");
    refuses("{\"images\":[],\"categories\":[],\"annotations\":[{\"image_id\":1,\"category_id\":1,\"bbox\":[0,0,1,1]}]}", "no picture has the id 1");
    refuses("{\"images\":[],\"categories\":[]}", "annotations");
    refuses("[{\"image_id\":2,\"category_id\":11,\"bbox\":[0,0,1,1],\"score\":1}]", "no category has the id 11");
    refuses("[{\"image_id\":2,\"category_id\":10,\"bbox\":[0,0,1],\"score\":1}]", "bbox");
    refuses("[{\"image_id\":2,\"category_id\":10,\"bbox\":[0,0,-1,2],\"score\":1}]", "negative");
    refuses("[{\"image_id\":2,\"category_id\":10,\"bbox\":[0,0,1,2]}]", "score");
}

int main(void) {
    RUN(as_pycocotools);
    RUN(intervals);
    RUN(pictures_ask_for_what_they_list);
    RUN(pooled);
    RUN(questions);
    RUN(bad_files);
    return test_end();
}
