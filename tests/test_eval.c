/* The evaluation without files: items of every kind, the built-in models on many of them, tags, duplicates, limits. */
#include "tests/test.h"

#include <unistd.h>

#include "io/file.h"
#include "io/progress.h"
#include "kernels/backend.h"
#include "pipeline/eval_files.h"

static eval_set *new_set(void) {
    vm_error e = { 0 };
    eval_set *s = eval_set_new("made", &e);
    s->no_media = true;
    return s;
}

static const char *const words[] = { "a", "b", "c", "d", "e", "f", "g" };

static eval_record pair_record(const char *id) {
    return (eval_record){ .id = id, .n_captions = 2, .n_images = 2, .captions = words, .images = words };
}

/* n choices of K captions, or of K images; the right one goes round. */
static eval_set *choices(int64_t n, int K, bool of_captions) {
    eval_set *s = new_set();
    vm_error e = { 0 };
    int split = eval_set_split(s, "all");
    for (int64_t i = 0; i < n; i++) {
        char id[24];
        snprintf(id, sizeof id, "%lld", (long long)i);
        const eval_record r = { .id = id, .tag = i % 2 ? "odd" : "even", .n_captions = of_captions ? K : 1,
                                .n_images = of_captions ? 1 : K, .gold = (int)(i % K), .captions = words, .images = words };
        eval_set_add(s, split, EVAL_CHOICE, &r, "made", &e);
    }
    EXPECT(!e.status && s->n == n);
    return s;
}

static eval_set *pairs(int64_t n) {
    eval_set *s = new_set();
    vm_error e = { 0 };
    int split = eval_set_split(s, "all");
    for (int64_t i = 0; i < n; i++) {
        char id[24];
        snprintf(id, sizeof id, "%lld", (long long)i);
        eval_record r = pair_record(id);
        eval_set_add(s, split, EVAL_PAIR, &r, "made", &e);
    }
    EXPECT(!e.status && s->n == n);
    return s;
}

/* The result owns the set. */
static eval_result *run_as(eval_set *s, const char *model, eval_options o) {
    vm_error e = { 0 };
    eval_model *m = NULL;
    eval_result *r = NULL;
    EXPECT(!eval_model_open(&m, model, NULL, NULL, NULL, VM_F32, false, 11, &e) && !eval_run(&r, s, m, &o, &e));
    if (e.status) fprintf(stderr, "%s\n", e.msg), exit(1);
    r->own_set = s;
    EXPECT(!eval_result_extras(r, NULL, &e));
    eval_model_free(m);
    return r;
}

static double extra(const eval_result *r, const char *name) {
    for (int64_t k = 0; k < r->extras.n; k++)
        if (!strcmp(r->extras.row[k].name, name)) return r->extras.row[k].v.value;
    return NAN;
}

TEST(random_pairs_reach_chance) {
    eval_result *r = run_as(pairs(100000), "random", (eval_options){ 0 });
    for (int m = 0; m < PAIR_METRICS; m++) {
        EXPECT_NEAR(eval_share(r, &r->all, m).value, pair_chance[m], 0.005);
        EXPECT_NEAR(eval_chance(&r->all, m), pair_chance[m], 1e-9);
    }
    EXPECT_NEAR(extra(r, "group_match"), 0.5, 0.005);
    eval_result_free(r);
}

TEST(random_choices_reach_one_of_K) {
    for (int K = 2; K <= 7; K += 5)
        for (int captions = 0; captions < 2; captions++) {
            eval_result *r = run_as(choices(40000, K, captions), "random", (eval_options){ 0 });
            double sum = 0;
            for (int k = 1; k <= K; k++) sum += 1.0 / k;
            EXPECT_NEAR(eval_share(r, &r->all, 0).value, 1.0 / K, 0.01);
            EXPECT_NEAR(eval_chance(&r->all, 0), 1.0 / K, 1e-9);
            EXPECT_NEAR(extra(r, "mean_reciprocal_rank"), sum / K, 0.01);
            if (K < 5) EXPECT(isnan(extra(r, "recall_at_5")));
            else EXPECT_NEAR(extra(r, "recall_at_5"), 5.0 / K, 0.01);
            eval_result_free(r);
        }
}

TEST(oracle_is_always_right) {
    for (int k = 0; k < 3; k++) {
        eval_result *r = run_as(k ? choices(60, 6, k == 2) : pairs(60), "oracle", (eval_options){ 0 });
        for (int m = 0; m < r->rule->n; m++) EXPECT(eval_share(r, &r->all, m).value == 1 && r->all.correct[m] == 60);
        EXPECT(r->all.ties == 0 && r->all.n_invalid == 0);
        if (k) EXPECT(extra(r, "mean_reciprocal_rank") == 1 && extra(r, "recall_at_1") == 1 && extra(r, "mean_margin") == 1);
        eval_result_free(r);
    }
    eval_result *r = run_as(pairs(10), "oracle", (eval_options){ .metric = "mmvp" });
    EXPECT(r->rule->n == 1 && eval_share(r, &r->all, 0).value == 1);
    eval_result_free(r);
}

TEST(constant_is_never_right_where_ties_are_wrong) {
    static const double want[] = { 0, 1.0 / 6, 1 };
    for (int t = TIES_WRONG; t <= TIES_FIRST; t++) {
        eval_result *r = run_as(choices(60, 6, true), "constant", (eval_options){ .ties = (tie_rule)t });
        EXPECT_NEAR(eval_share(r, &r->all, 0).value, want[t], 1e-6);
        EXPECT(r->all.ties == 60);
        eval_result_free(r);
        r = run_as(pairs(60), "constant", (eval_options){ .ties = (tie_rule)t });
        for (int m = 0; m < PAIR_METRICS; m++) EXPECT(eval_share(r, &r->all, m).value == 0);
        EXPECT(r->all.ties == 60 && extra(r, "group_match") == 0);
        eval_result_free(r);
    }
}

TEST(tags_are_counted_apart) {
    vm_error e = { 0 };
    eval_result *r = run_as(choices(10, 2, true), "oracle", (eval_options){ 0 });
    for (int64_t i = 0; i < 10; i += 2) r->s[r->set->item[i].at + r->set->item[i].gold] = -1; /* the even ones wrong */
    r->s[r->set->item[1].at] = NAN;
    EXPECT(!eval_result_tally(r, &e));
    EXPECT(r->n_tags == 2);
    EXPECT_STR(eval_tag_name(r->set, r->tag[0].tag), "even");
    EXPECT(r->tag[0].n == 5 && r->tag[0].correct[0] == 0 && r->tag[1].n == 5 && r->tag[1].correct[0] == 4);
    EXPECT(r->tag[1].n_invalid == 1 && r->all.n_invalid == 1 && r->tally[0].n_margin == 9);
    EXPECT_NEAR(eval_mean_of_tags(r, 0, 0), 0.4, 1e-12);
    eval_result_free(r);
}

TEST(odd_items_are_counted) {
    vm_error e = { 0 };
    eval_set *s = new_set();
    int split = eval_set_split(s, "all");
    const char *const same[] = { "x", "x" }, *const blank[] = { "x", " " };
    eval_record r = { .id = "0", .n_captions = 2, .n_images = 1, .captions = same, .images = words };
    EXPECT(!eval_set_add(s, split, EVAL_CHOICE, &r, "made", &e));
    r.id = "1", r.captions = blank;
    EXPECT(!eval_set_add(s, split, EVAL_CHOICE, &r, "made", &e));
    eval_result *x = run_as(s, "oracle", (eval_options){ 0 });
    EXPECT(x->all.n_degenerate == 1 && x->all.n_empty == 1 && x->all.n == 2);
    eval_result_free(x);
}

static void expect_malformed(eval_set *s, eval_kind kind, eval_record r, const char *words_of_error) {
    vm_error e = { 0 };
    int64_t before = s->n, faults = s->n_faults;
    s->on_error = EVAL_SKIP_MEDIA;
    EXPECT(eval_set_add(s, 0, kind, &r, "f:3", &e) == VM_EINPUT && s->n == before);
    EXPECT_HAS(e.msg, words_of_error);
    EXPECT_HAS(e.msg, "f:3");
    vm_error_clear(&e);
    s->on_error = EVAL_SKIP;
    EXPECT(!eval_set_add(s, 0, kind, &r, "f:3", &e) && s->n == before && s->n_faults == faults + 1);
}

TEST(malformed_records) {
    eval_set *s = choices(2, 3, true);
    const eval_record good = { .id = "x", .n_captions = 3, .n_images = 1, .captions = words, .images = words };
    eval_record r = good;
    r.gold = 3, expect_malformed(s, EVAL_CHOICE, r, "right option 3, expected 0 to 2");
    r.gold = -1, expect_malformed(s, EVAL_CHOICE, r, "right option -1, expected 0 to 2");
    r = good, r.n_captions = 1, expect_malformed(s, EVAL_CHOICE, r, "at least two");
    r = good, r.n_images = 2, expect_malformed(s, EVAL_CHOICE, r, "expected one of the one");
    expect_malformed(s, EVAL_PAIR, pair_record("p"), "pairs and choices in one data set");
    r = good, r.id = "1", expect_malformed(s, EVAL_CHOICE, r, "id 1 stands twice in all with different contents");
    eval_set_free(s);
    s = pairs(1);
    r = pair_record("y"), r.n_captions = 3, expect_malformed(s, EVAL_PAIR, r, "3 captions and 2 pictures");
    eval_set_free(s);
}

TEST(boxes_make_different_pictures) {
    vm_error e = { 0 };
    eval_set *s = new_set();
    int split = eval_set_split(s, "all");
    const int32_t boxes[2][4] = { { 1, 2, 30, 40 }, { 0, 0, 0, 5 } }; /* the second one is empty: the whole picture */
    const char *const files[] = { "f.png", "f.png" };
    const eval_record r = { .id = "0", .n_captions = 1, .n_images = 2, .captions = words, .images = files, .boxes = boxes };
    EXPECT(!eval_set_add(s, split, EVAL_CHOICE, &r, "made", &e) && s->images.n == 2);
    eval_picture p = eval_image(s, &s->item[0], 0), q = eval_image(s, &s->item[0], 1);
    EXPECT_STR(p.path, "f.png");
    EXPECT(p.boxed && p.box[0] == 1 && p.box[1] == 2 && p.box[2] == 30 && p.box[3] == 40 && !q.boxed);
    eval_set_free(s);
}

TEST(duplicates) {
    static const int want[] = { 1, 0, 2 }; /* right option that counts, by eval_dup; the first case is an error */
    for (int d = EVAL_DUP_MALFORMED; d <= EVAL_DUP_LAST; d++) {
        vm_error e = { 0 };
        eval_set *s = choices(1, 3, true);
        s->dup = (eval_dup)d;
        eval_record r = { .id = "0", .tag = "even", .n_captions = 3, .n_images = 1, .captions = words, .images = words };
        EXPECT(!eval_set_add(s, 0, EVAL_CHOICE, &r, "made", &e) && s->n_twice == 1); /* the same again */
        r.gold = 2;
        EXPECT(eval_set_add(s, 0, EVAL_CHOICE, &r, "made", &e) == (d ? VM_OK : VM_EINPUT));
        EXPECT(s->n == 1 && (!d || s->item[0].gold == want[d]));
        eval_set_free(s);
    }
}

/* --- files -------------------------------------------------------------------------------------------------------- */
static char dir[64];

static const char *in_dir(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

/* What is written is read back: items, scores, counts, further numbers. */
static void round_trip(eval_set *s, eval_options o) {
    vm_error e = { 0 };
    eval_model *m = NULL;
    eval_result *r = NULL, *back = NULL;
    char journal[128];
    snprintf(journal, sizeof journal, "%s", in_dir("samples.jsonl"));
    o.journal = journal, o.fresh = true;
    EXPECT(!eval_model_open(&m, "random", NULL, NULL, NULL, VM_F32, false, 3, &e) && !eval_run(&r, s, m, &o, &e));
    EXPECT(!eval_result_extras(r, NULL, &e));
    const eval_facts f = { .data = "d", .command = "c", .options = &o, .source = &(eval_source){ .data = "d" } };
    EXPECT(!eval_write_files(r, m, &f, dir, &e) && !eval_read_files(&back, dir, &e));
    if (e.status) fprintf(stderr, "%s\n", e.msg), exit(1);
    EXPECT(back->rule == r->rule && back->ties == r->ties && back->n_splits == r->n_splits && back->n_tags == r->n_tags);
    EXPECT_STR(back->set->name, "made");
    EXPECT(back->set->n == s->n && back->extras.n == r->extras.n && back->extras.n > 0);
    EXPECT_NEAR(back->extras.row[0].v.value, r->extras.row[0].v.value, 1e-15);
    for (int k = 0; k < r->rule->n; k++) EXPECT(back->all.correct[k] == r->all.correct[k] && back->all.chance[k] == r->all.chance[k]);
    for (int64_t i = 0; i < s->n; i++) {
        const eval_item *x = &s->item[i], *y = &back->set->item[i];
        EXPECT(!strcmp(x->id, y->id) && x->gold == y->gold && x->n_captions == y->n_captions && x->n_images == y->n_images);
        EXPECT((!x->group && !y->group) || (x->group && y->group && !strcmp(x->group, y->group)));
        EXPECT(!memcmp(eval_scores(r, x), eval_scores(back, y), (size_t)eval_n_scores(x) * sizeof(float)));
        eval_picture p = eval_image(s, x, 0), q = eval_image(back->set, y, 0);
        EXPECT(!strcmp(p.path, q.path) && p.boxed == q.boxed && (!p.boxed || !memcmp(p.box, q.box, sizeof p.box)));
    }
    eval_result_free(back);
    /* the file of scores as a model */
    char given[160];
    snprintf(given, sizeof given, "scores:%s", in_dir("predictions.csv"));
    eval_model *file = NULL;
    EXPECT(!eval_model_open(&file, given, NULL, NULL, NULL, VM_F32, false, 0, &e));
    EXPECT(!eval_run(&back, s, file, &(eval_options){ .metric = o.metric, .ties = o.ties }, &e));
    for (int k = 0; k < r->rule->n; k++) EXPECT(back->all.correct[k] == r->all.correct[k] && back->all.n == r->all.n);
    eval_result_free(back), eval_result_free(r);
    eval_model_free(file), eval_model_free(m);
    eval_set_free(s);
}

static eval_set *uneven(void) {
    vm_error e = { 0 };
    eval_set *s = choices(9, 3, false);
    const int32_t boxes[5][4] = { { 1, 2, 3, 4 } };
    const eval_record r = { .id = "long", .tag = "odd", .group = "set 1", .n_captions = 1, .n_images = 5, .gold = 4,
                            .captions = words, .images = words, .boxes = boxes };
    EXPECT(!eval_set_add(s, eval_set_split(s, "other"), EVAL_CHOICE, &r, "made", &e));
    return s;
}

TEST(results_are_read_back) {
    round_trip(pairs(20), (eval_options){ 0 });
    round_trip(pairs(20), (eval_options){ .metric = "mmvp" });
    round_trip(choices(20, 4, true), (eval_options){ .ties = TIES_HALF });
    round_trip(uneven(), (eval_options){ .ties = TIES_FIRST });
}

/* Journals of changed items, and scores that do not fit, are not taken. */
TEST(stale_and_strange_scores) {
    vm_error e = { 0 };
    eval_model *m = NULL;
    eval_result *r = NULL;
    char path[128];
    snprintf(path, sizeof path, "%s", in_dir("scores.csv"));
    static const struct {
        const char *text, *words;
    } t[] = { { "category,id,T0_I0,T0_I1,T1_I0,T1_I1\nall,0,1,0,0,x\n", ":2: column T1_I1: found \"x\", expected a number" },
              { "category,id,T0_I0,T0_I1,T1_I0,T1_I1\nall,0,1,0,0,1\nall,0,1,0,0,1\n", ":3: all 0 stands twice" },
              { "category,id,T0_I0,T0_I1,T1_I0\nall,0,1,0,0\n", "T1_I1" },
              { "category,T0_I0,T0_I1,T1_I0,T1_I1\nall,1,0,0,1\n", "id" } };
    for (int k = 0; k < VM_LEN(t); k++) {
        eval_set *s = pairs(3);
        eval_result *x = eval_result_new(s, eval_find_rule(EVAL_PAIR, NULL, &e), "x", &e);
        int64_t found;
        EXPECT(!file_write(path, t[k].text, strlen(t[k].text), &e));
        EXPECT(eval_read_scores(x, path, &found, NULL, &e) == VM_EINPUT);
        EXPECT_HAS(e.msg, t[k].words);
        vm_error_clear(&e);
        eval_result_free(x), eval_set_free(s);
    }
    /* without categories: fine as long as ids are unique; records without scores are left out */
    const char *plain = "id,T0_I0,T0_I1,T1_I0,T1_I1\n1,1,0,0,1\n7,1,0,0,1\n";
    char given[160];
    snprintf(given, sizeof given, "scores:%s", path);
    EXPECT(!file_write(path, plain, strlen(plain), &e) && !eval_model_open(&m, given, NULL, NULL, NULL, VM_F32, false, 0, &e));
    eval_set *s = pairs(3);
    EXPECT(!eval_run(&r, s, m, &(eval_options){ 0 }, &e));
    EXPECT(r->all.n == 1 && r->all.n_skipped == 2 && r->all.correct[PAIR_GROUP] == 1);
    EXPECT_HAS(r->fault[0].why, "no scores in the file");
    eval_result_free(r), r = NULL;
    eval_record again = pair_record("1");
    EXPECT(!eval_set_add(s, eval_set_split(s, "more"), EVAL_PAIR, &again, "made", &e));
    EXPECT(eval_run(&r, s, m, &(eval_options){ 0 }, &e) == VM_EINPUT);
    EXPECT_HAS(e.msg, "id 1 is in all and in more; a column category has to say which");
    eval_model_free(m);
    eval_set_free(s);
}

/* A picture of two halves: the box of one half is to a model what a file with that half is. */
static void write_halves(const char *name, int w, bool right) {
    vm_error e = { 0 };
    vm_image im;
    EXPECT(!image_new(&im, w, 32, 3, &e));
    for (int k = 0; k < w * 32; k++) {
        bool blue = k % w >= 32 || right;
        memcpy(im.px + 3 * k, blue ? (uint8_t[]){ 10, 20, 240 } : (uint8_t[]){ 250, 30, 5 }, 3);
    }
    EXPECT(!image_write_png(in_dir(name), &im, NULL, 0, &e));
    image_free(&im);
}

TEST(boxes_are_what_the_model_sees) {
    vm_error e = { 0 };
    write_halves("both.png", 64, false), write_halves("red.png", 32, false), write_halves("blue.png", 32, true);
    const char *const names[] = { "both.png", "red.png", "both.png", "blue.png", "both.png", "both.png" };
    const int32_t boxes[][4] = { { 0, 0, 32, 32 }, { 0 }, { 32, 0, 400, 400 }, { 0 }, { 0 }, { 90, 0, 5, 5 } };
    const eval_record r = { .id = "0", .n_captions = 1, .n_images = 6, .captions = words, .images = names, .boxes = boxes };
    const char *const roots[] = { dir };
    eval_set *s = eval_set_new("made", &e);
    eval_model *m = NULL;
    eval_result *x = NULL;
    EXPECT(!eval_set_add_named(s, &(media_places){ .roots = roots, .n_roots = 1 }, eval_set_split(s, "all"), EVAL_CHOICE,
                               &r, NULL, "made", &e) && s->n == 1);
    EXPECT(!eval_model_open(&m, "weights/tiny/clip-plain", NULL, vm_backend_open("cpu", &e), NULL, VM_F32, false, 0, &e));
    EXPECT(!eval_run(&x, s, m, &(eval_options){ 0 }, &e));
    if (e.status) fprintf(stderr, "%s\n", e.msg), exit(1);
    EXPECT_NEAR(x->s[0], x->s[1], 1e-6); /* left half */
    EXPECT_NEAR(x->s[2], x->s[3], 1e-6); /* right half; the box is cut to the picture */
    EXPECT_NEAR(x->s[4], x->s[5], 1e-6); /* nothing of the box is inside: the whole picture */
    EXPECT(fabsf(x->s[0] - x->s[4]) > 1e-4f && fabsf(x->s[2] - x->s[4]) > 1e-4f && fabsf(x->s[0] - x->s[2]) > 1e-4f);
    eval_result_free(x);
    eval_model_free(m);
    eval_set_free(s);
}

/* --- data sets ---------------------------------------------------------------------------------------------------- */
static const char *const keys[] = { "shape", "seed", NULL };

static vm_status load_made(eval_set *s, const eval_source *src, vm_error *e) {
    static const char *const shapes[] = { "round", "square", NULL };
    const char *shape = eval_variant(src, "shape", "round", shapes, e);
    for (int k = 0; k < 2 && !e->status; k++) {
        const char *name = k ? "two" : "one";
        if (!eval_wants(src, name)) continue;
        int split = eval_set_split(s, name);
        for (int i = 0; i < 10 && !e->status; i++) {
            char id[8];
            snprintf(id, sizeof id, "%d", i);
            eval_record r = pair_record(id);
            r.tag = shape;
            if (i == 3) eval_set_add_fault(s, split, id, "no picture", e);
            else eval_set_add(s, split, EVAL_PAIR, &r, "made", e);
        }
    }
    return e->status;
}
static const eval_dataset made = { .name = "made", .summary = "s", .variants = keys, .load = load_made };

static eval_set *load(eval_source src, vm_error *e) {
    eval_set *s = NULL;
    src.data = ".", src.no_media = true;
    vm_error_clear(e);
    eval_load(&s, &made, &src, e);
    return s;
}

TEST(splits_and_options) {
    vm_error e = { 0 };
    eval_set *s = load((eval_source){ .splits = (const char *const[]){ "two" }, .n_splits = 1 }, &e);
    EXPECT(s && s->n == 9 && s->n_faults == 1 && s->splits.n == 1);
    eval_set_free(s);
    s = load((eval_source){ .variants = (const char *const[]){ "shape=round", "shape=square" }, .n_variants = 2 }, &e);
    EXPECT_STR(eval_tag_name(s, s->item[0].tag), "square");
    eval_set_free(s);
    EXPECT(!load((eval_source){ .splits = (const char *const[]){ "three" }, .n_splits = 1 }, &e) && e.status == VM_EUSAGE);
    EXPECT_HAS(e.msg, "--split three: made has no such split");
    EXPECT(!load((eval_source){ .variants = (const char *const[]){ "shape=oval" }, .n_variants = 1 }, &e) && e.status == VM_EUSAGE);
    EXPECT_HAS(e.msg, "--option shape=oval: expected round or square");
    EXPECT(!load((eval_source){ .variants = (const char *const[]){ "form=oval" }, .n_variants = 1 }, &e) && e.status == VM_EUSAGE);
    EXPECT_HAS(e.msg, "made has the options shape or seed");
    EXPECT(!load((eval_source){ .variants = (const char *const[]){ "shape" }, .n_variants = 1 }, &e) && e.status == VM_EUSAGE);
    EXPECT_HAS(e.msg, "expected KEY=VALUE");
}

/* Records that cannot be scored count for a limit: the same ones stand in every run. */
TEST(limits) {
    static const struct {
        double limit;
        int64_t n, faults;
    } t[] = { { 0, 18, 2 }, { 3, 6, 0 }, { 4, 6, 2 }, { 0.5, 8, 2 }, { 0.25, 6, 0 }, { 0.01, 2, 0 }, { 100, 18, 2 } };
    for (int k = 0; k < VM_LEN(t); k++) {
        vm_error e = { 0 };
        eval_set *s = load((eval_source){ .limit = t[k].limit }, &e);
        EXPECT(s->n == t[k].n && s->n_faults == t[k].faults);
        for (int64_t i = 0; i < s->n; i++) EXPECT(eval_set_find(s, eval_split_name(s, s->item[i].split), s->item[i].id) == i);
        if (t[k].limit == 3) EXPECT(eval_set_find(s, "one", "5") == -1);
        eval_set_free(s);
    }
}

TEST(faults_count_as_wrong_if_asked) {
    vm_error e = { 0 };
    eval_result *r = run_as(load((eval_source){ .on_error = EVAL_WRONG }, &e), "oracle", (eval_options){ 0 });
    EXPECT(r->tally[0].n == 10 && r->tally[0].n_scored == 9 && r->tally[0].n_skipped == 1 && r->all.n == 20);
    EXPECT_NEAR(eval_share(r, &r->all, 0).value, 0.9, 1e-12);
    estimate mean;
    EXPECT(!eval_difference(r, NULL, PAIR_GROUP, NULL, 0, NULL, &mean, &e));
    EXPECT_NEAR(mean.value, 0.9, 1e-7);
    eval_result_free(r);
    EXPECT(!load((eval_source){ .on_error = EVAL_FAIL }, &e) && e.status == VM_EINPUT);
}

TEST(unknown_metrics_and_templates) {
    vm_error e = { 0 };
    eval_model *m = NULL;
    eval_result *r = NULL;
    eval_set *s = choices(2, 2, true);
    EXPECT(!eval_model_open(&m, "oracle", NULL, NULL, NULL, VM_F32, false, 0, &e));
    EXPECT(eval_run(&r, s, m, &(eval_options){ .metric = "mmvp" }, &e) == VM_EUSAGE && !r);
    EXPECT_HAS(e.msg, "--metric mmvp: expected accuracy");
    vm_error_clear(&e);
    EXPECT(eval_run(&r, s, m, &(eval_options){ .template = "a photo" }, &e) == VM_EUSAGE && !r);
    EXPECT_HAS(e.msg, "no {} in it");
    eval_model_free(m);
    eval_set_free(s);
}

TEST(every_failing_allocation_is_reported) {
    int failed = 0;
    for (int64_t n = 0; n < 4000; n += n < 60 ? 1 : 37) {
        vm_error e = { 0 };
        eval_set *s = choices(30, 3, false);
        eval_model *m = NULL;
        eval_result *r = NULL;
        EXPECT(!eval_model_open(&m, "random", NULL, NULL, NULL, VM_F32, false, 0, &e));
        vm_mem_fail_after(n);
        if (!eval_run(&r, s, m, &(eval_options){ 0 }, &e)) eval_result_extras(r, NULL, &e);
        vm_mem_fail_after(-1);
        EXPECT(!e.status || e.status == VM_EDEVICE);
        failed += e.status != VM_OK;
        eval_result_free(r);
        eval_model_free(m);
        eval_set_free(s);
    }
    EXPECT(failed > 20);
}

int main(void) {
    vm_error e = { 0 };
    progress_set_mode(PROGRESS_NONE);
    snprintf(dir, sizeof dir, "/tmp/vismin-test-eval-%d", (int)getpid());
    if (dir_make(dir, &e)) return 1;
    RUN(random_pairs_reach_chance);
    RUN(random_choices_reach_one_of_K);
    RUN(oracle_is_always_right);
    RUN(constant_is_never_right_where_ties_are_wrong);
    RUN(tags_are_counted_apart);
    RUN(odd_items_are_counted);
    RUN(malformed_records);
    RUN(boxes_make_different_pictures);
    RUN(duplicates);
    RUN(splits_and_options);
    RUN(limits);
    RUN(faults_count_as_wrong_if_asked);
    RUN(unknown_metrics_and_templates);
    RUN(every_failing_allocation_is_reported);
    RUN(results_are_read_back);
    RUN(stale_and_strange_scores);
    RUN(boxes_are_what_the_model_sees);
    dir_remove(dir, &e);
    return test_end();
}
