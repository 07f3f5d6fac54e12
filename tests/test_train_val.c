/* test_train_val.c - ranks and scores of the validation against plain loops, ties and NaN among them; a whole
 * validation on a few pictures, with one that cannot be read. */
#include <unistd.h>

#include "io/file.h"
#include "io/image.h"
#include "kernels/backend.h"
#include "models/clip.h"
#include "pipeline/clip_data.h"
#include "pipeline/train_val.h"
#include "tests/test.h"

static char tmp[] = "/tmp/test_train_valXXXXXX";
static vm_error err;

TEST(ranks) {
    enum { N = 300, E = 4 }; /* more than a tile */
    static float a[N * E], b[N * E];
    static int32_t rank[N];
    uint64_t seed = 1;
    for (int k = 0; k < N * E; k++)
        a[k] = (float)(test_rand(&seed) % 7) - 3, b[k] = (float)(test_rand(&seed) % 7) - 3; /* many ties */
    a[5 * E] = NAN;
    vm_error_clear(&err);
    EXPECT(!train_val_ranks(vm_backend_cpu(), a, b, N, E, rank, &err));
    for (int i = 0; i < N; i++) {
        int want = 0;
        double own = 0;
        for (int e = 0; e < E; e++) own += (double)(a[i * E + e] * b[i * E + e]);
        for (int j = 0; j < N; j++) {
            double x = 0;
            for (int e = 0; e < E; e++) x += (double)(a[i * E + e] * b[j * E + e]);
            want += x >= own;
        }
        EXPECT(rank[i] == (i == 5 ? N : want));
    }
    EXPECT(vm_mem_used() == 0);
}

/* A file of n pairs, pictures of different colours; picture 2 is no picture. */
static void write_pairs(int n) {
    char path[700], *text = calloc(1, 100000), *p = text;
    p += sprintf(p, "image_path\tcaption\n");
    for (int k = 0; k < n; k++) {
        vm_image im;
        snprintf(path, sizeof path, "%s/%d.png", tmp, k);
        if (image_new(&im, 64, 64, 3, &err)) return;
        for (int i = 0; i < 64 * 64 * 3; i++) im.px[i] = (uint8_t)(40 * k + i % 5 * k);
        if (k == 2 ? file_write(path, "none", 4, &err) : image_write_png(path, &im, NULL, 0, &err))
            MISMATCH("%s\n", err.msg);
        image_free(&im);
        p += sprintf(p, "%d.png\t%s\n", k, k % 2 ? "a red circle" : "a blue square and a green circle");
    }
    snprintf(path, sizeof path, "%s/val.csv", tmp);
    if (file_write(path, text, (size_t)(p - text), &err)) MISMATCH("%s\n", err.msg);
    free(text);
}
TEST(a_validation) {
    char path[700];
    const char *data = path;
    clip_config c;
    clip_model *m = NULL;
    tok *t = NULL;
    vm_preprocess pp;
    train_val *v = NULL;
    val_scores s;
    vm_error_clear(&err);
    write_pairs(6);
    snprintf(path, sizeof path, "%s/base", tmp);
    if (clip_world_model(path, &err) || clip_config_read(&c, path, &err) || tok_open(&t, path, &err) ||
        preprocess_load(&pp, path, &err))
        MISMATCH("%s\n", err.msg);
    c.text = (clip_tower){ 32, 1, 2, 64 }, c.vision = (clip_tower){ 32, 1, 2, 64 }, c.patch = 32, c.embed = 16;
    if (clip_new(&m, vm_backend_cpu(), &c, &err) || clip_init(m, 1, &err)) MISMATCH("%s\n", err.msg);
    snprintf(path, sizeof path, "%s/val.csv", tmp);
    train_val_options o = { .data = &data, .n_data = 1, .batch = 2 };
    EXPECT(!train_val_open(&v, &o, &m->t, t, &pp, &err) && !train_val_run(v, &s, &err));
    EXPECT(s.n == 5 && s.bad == 1 && !s.has_bench);
    /* equal captions tie: three of five, and two of five */
    EXPECT(s.mean_rank[0] >= 2 && s.recall[0][0] == 0 && s.recall[0][1] == 1 && s.recall[0][2] == 1);
    EXPECT(s.mean_rank[1] >= 1 && s.median_rank[1] >= 1 && s.median_rank[1] <= 5);
    EXPECT(s.loss > 0 && s.loss < 2 && train_val_rank(&s, VAL_BEST_LOSS) == s.loss &&
           isnan(train_val_rank(&s, VAL_BEST_GROUP)));
    EXPECT_NEAR(train_val_rank(&s, VAL_BEST_RECALL), -(s.recall[0][0] + s.recall[1][0]) / 2, 0);
    train_val_free(v);
    o.limit = 2; /* two pairs that are sound */
    EXPECT(!train_val_open(&v, &o, &m->t, t, &pp, &err) && !train_val_run(v, &s, &err) && s.n == 2 && s.bad == 0);
    train_val_free(v);
    o.limit = 1;
    EXPECT(train_val_open(&v, &o, &m->t, t, &pp, &err) == VM_EINPUT && !v);
    EXPECT_HAS(err.msg, "val.csv: 1 pairs to validate on, at least 2 are needed");
    vm_error_clear(&err);
    o.limit = 0, o.bench = "/nowhere";
    EXPECT(train_val_open(&v, &o, &m->t, t, &pp, &err) == VM_EINPUT && !v);
    EXPECT_STR(err.msg, "--val-bench /nowhere: no such folder");
    clip_free(m);
    tok_free(t);
    EXPECT(vm_mem_used() == 0);
}

int main(void) {
    if (!mkdtemp(tmp)) return 1;
    RUN(ranks);
    RUN(a_validation);
    vm_error_clear(&err);
    dir_remove(tmp, &err);
    return test_end();
}
