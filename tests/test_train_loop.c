/* test_train_loop.c - the training loop with data that go wrong at chosen steps: numbers that are not finite, errors of
 * the machine, and going on after them with the bits of an undisturbed run. */
#include <unistd.h>

#include "io/file.h"
#include "io/json.h"
#include "kernels/backend.h"
#include "models/clip.h"
#include "pipeline/checkpoint.h"
#include "pipeline/train_clip.h"
#include "pipeline/train_guard.h"
#include "pipeline/train_log.h"
#include "tests/test.h"

static char tmp[] = "/tmp/test_train_loopXXXXXX", base[600];
static vm_error err;

/* The world, with NaN in the pictures of steps nan_from..nan_to-1 and an error of the disk at step fail_at. */
typedef struct {
    clip_source s;
    clip_source *world;
    int64_t nan_from, nan_to, fail_at;
} disturbed;
static vm_status fill(const clip_source *x, int64_t step, int64_t slot, clip_slot *out, vm_error *e) {
    const disturbed *d = (const disturbed *)x;
    d->world->m = x->m, d->world->pp = x->pp, d->world->seed = x->seed, d->world->total_steps = x->total_steps;
    if (step == d->fail_at) return vm_fail(e, VM_EIO, "the disk is gone");
    if (d->world->fill(d->world, step, slot, out, e)) return e->status;
    if (step >= d->nan_from && step < d->nan_to && slot == 1) out->pixels[0][5] = NAN;
    return VM_OK;
}
static void release(clip_source *x) { (void)x; }

typedef struct {
    int64_t nan_from, nan_to, fail_at, steps, save_every, workers, threads;
} course;

/* Trains OUT/name; the SHA-256 of the last weights and moments goes to *bits (0 = no run to the end). */
static vm_status train(const char *name, course c, uint64_t *bits) {
    char out[700];
    const double mix[4] = { 1, 1, 1, 1 };
    disturbed d = { .nan_from = c.nan_from, .nan_to = c.nan_to, .fail_at = c.fail_at ? c.fail_at : -1 };
    clip_config config;
    clip_model *m = NULL;
    tok *t = NULL;
    vm_preprocess pp;
    vm_error_clear(&err);
    snprintf(out, sizeof out, "%s/%s", tmp, name);
    vm_threads(c.threads ? (int)c.threads : 1);
    if (clip_config_read(&config, base, &err) || tok_open(&t, base, &err) || preprocess_load(&pp, base, &err) ||
        dir_make(out, &err) || clip_source_world(&d.world, "pairs", 8, 0, mix, false, &err))
        MISMATCH("%s\n", err.msg);
    d.s = *d.world, d.s.fill = fill, d.s.free = release;
    config.text = (clip_tower){ 32, 1, 2, 64 }, config.vision = (clip_tower){ 32, 1, 2, 64 }, config.patch = 32,
    config.embed = 16;
    if (clip_new(&m, vm_backend_cpu(), &config, &err) || clip_init(m, 1, &err)) MISMATCH("%s\n", err.msg);
    train_clip_options o = { .workers = (int)c.workers, .seed = 3 };
    o.run = (train_options){ .out = out,
                             .command = "test",
                             .resume = true,
                             .steps = c.steps ? c.steps : 30,
                             .log_every = 1,
                             .save_every = c.save_every < 0 ? 0
                                           : c.save_every   ? c.save_every
                                                            : 10,
                             .keep_last = 2,
                             .schedule = { .kind = LR_CONST, .lr = 1e-3 } };
    o.train = (clip_train_config){ .loss.twin_weight = 1,
                                   .deterministic = true,
                                   .adam = { 0.9f, 0.98f, 1e-6f, 0.1f },
                                   .max_logit_scale = 4.6051702f };
    vm_status st = train_clip_run(&m->t, &d.s, t, &pp, NULL, &o, &err);
    *bits = 14695981039346656037u;
    for (int64_t i = 0; !st && i < m->w.n; i++)
        for (int k = 0; k < 3; k++) {
            const uint8_t *x = (const uint8_t *)(k == 0   ? (const void *)m->w.p[i]->data
                                                 : k == 1 ? m->w.p[i]->m
                                                          : m->w.p[i]->v);
            for (int64_t b = 0; x && b < vm_param_count(m->w.p[i]) * 4; b++) *bits = (*bits ^ x[b]) * 1099511628211u;
        }
    if (st) *bits = 0;
    d.world->free(d.world);
    clip_free(m);
    tok_free(t);
    EXPECT(vm_mem_used() == 0);
    vm_threads(0);
    return st;
}

/* Lines of log.jsonl: how many, and a member of the one of a step (NaN = none). */
static double logged(const char *name, int64_t step, const char *member, int *lines) {
    char path[800];
    double v = NAN;
    snprintf(path, sizeof path, "%s/%s/log.jsonl", tmp, name);
    FILE *f = fopen(path, "r");
    char line[4000];
    *lines = 0;
    while (f && fgets(line, sizeof line, f)) {
        vm_error e = { 0 };
        json_doc *d = json_parse(line, strlen(line), "log", 0, &e);
        json_value at = json_get(json_root(d), member);
        ++*lines;
        if (json_int(json_root(d), "step", -1, 0, INT64_MAX, &e) == step && json_has(at)) v = json_as_num(at, &e);
        EXPECT(d && !e.status);
        json_free(d);
    }
    if (f) fclose(f);
    return v;
}
static bool exists(const char *name, const char *file) {
    char path[800];
    snprintf(path, sizeof path, "%s/%s/%s", tmp, name, file);
    return file_exists(path);
}
static int64_t events(const char *name) { /* bytes */
    char path[800];
    snprintf(path, sizeof path, "%s/%s/tensorboard/events.out.tfevents.vismin", tmp, name);
    return file_bytes(path);
}

TEST(an_undisturbed_run) {
    uint64_t bits, again;
    int lines;
    EXPECT(train("whole", (course){ 0 }, &bits) == VM_OK && bits);
    logged("whole", 30, "loss", &lines);
    EXPECT(lines == 30 && events("whole") > 0 && exists("whole", "report/index.html") && exists("whole", "run.json"));
    EXPECT(exists("whole", "checkpoints/step-00000020/manifest.json") && exists("whole", "checkpoints/step-00000030") &&
           !exists("whole", "checkpoints/step-00000010"));
    EXPECT(!exists("whole", "bad_samples.jsonl") && !exists("whole", "nonfinite-00000001.json"));
    EXPECT(train("threads", (course){ .workers = 3, .threads = 3 }, &again) == VM_OK && again == bits);
    EXPECT(train("one", (course){ .workers = 1, .threads = 1 }, &again) == VM_OK && again == bits);
}
TEST(going_on_has_the_same_bits) { /* after an error at every kind of step, with other numbers of threads */
    uint64_t whole, bits;
    EXPECT(train("whole", (course){ 0 }, &whole) == VM_OK && whole); /* finished already: nothing is done */
    int64_t at[] = { 3, 10, 11, 19, 29 };
    for (int k = 0; k < VM_LEN(at); k++) {
        char name[32];
        int lines;
        snprintf(name, sizeof name, "on%d", k);
        EXPECT(train(name, (course){ .fail_at = at[k], .workers = 2 }, &bits) == VM_EIO);
        EXPECT_STR(err.msg, "the disk is gone");
        EXPECT(train(name, (course){ .threads = 1 + k % 3, .workers = k % 3 }, &bits) == VM_OK && bits == whole);
        logged(name, 30, "loss", &lines);
        EXPECT(lines == 30);
        EXPECT(events(name) == events("whole")); /* no step twice, none missing */
    }
}
TEST(three_bad_steps_are_skipped) {
    uint64_t bits;
    int lines;
    EXPECT(train("three", (course){ .nan_from = 12, .nan_to = 15 }, &bits) == VM_OK);
    EXPECT(isnan(logged("three", 13, "loss", &lines)) && isfinite(logged("three", 16, "loss", &lines)) && lines == 30);
    EXPECT_NEAR(logged("three", 20, "lr", &lines), 1e-3, 1e-12);
    EXPECT(exists("three", "nonfinite-00000013.json") && exists("three", "nonfinite-00000015.json") &&
           !exists("three", "nonfinite-00000016.json"));
    char path[800];
    snprintf(path, sizeof path, "%s/three/nonfinite-00000013.json", tmp);
    vm_error_clear(&err);
    json_doc *d = json_open(path, &err);
    EXPECT(json_len(json_get(json_root(d), "samples")) == 4 && json_get(json_root(d), "loss").kind == JSON_NULL);
    json_value data = json_get(json_get(json_get(json_root(d), "parameters"), "text.proj"), "data");
    EXPECT(json_int(data, "nonfinite", -1, 0, 1, &err) == 0 && json_num(data, "max_abs", 0, 0, 10, &err) > 0);
    json_free(d);
}
TEST(the_fourth_goes_back) {
    uint64_t bits, again;
    int lines;
    EXPECT(train("back", (course){ .nan_from = 12, .nan_to = 16 }, &bits) == VM_OK && bits);
    EXPECT_NEAR(logged("back", 10, "lr", &lines), 1e-3, 1e-12);
    EXPECT_NEAR(logged("back", 11, "lr", &lines), 0.5e-3, 1e-12); /* from the checkpoint on */
    EXPECT(lines == 30 - 4);                                      /* steps 13 to 16 are passed over */
    EXPECT(isnan(logged("back", 14, "lr", &lines)) && isfinite(logged("back", 17, "loss", &lines)));
    /* interrupted after that, and before the next checkpoint, and behind it: the same */
    EXPECT(train("back2", (course){ .nan_from = 12, .nan_to = 16, .fail_at = 17 }, &again) == VM_EIO);
    EXPECT(train("back2", (course){ .nan_from = 12, .nan_to = 16 }, &again) == VM_OK && again == bits);
    EXPECT(train("back3", (course){ .nan_from = 12, .nan_to = 16, .fail_at = 25 }, &again) == VM_EIO);
    EXPECT(train("back3", (course){ 0 }, &again) == VM_OK && again == bits); /* the checkpoint knows */
    EXPECT(events("back3") == events("back"));
}
TEST(no_end_of_bad_steps) {
    uint64_t bits;
    EXPECT(train("end", (course){ .nan_from = 12, .nan_to = 99 }, &bits) == VM_EMODEL);
    EXPECT_HAS(err.msg, "no finite numbers up to step");
    EXPECT_HAS(err.msg, "after going back 3 times with half the learning rate; lower --lr");
    EXPECT(exists("end", "checkpoints/step-00000010")); /* good ones stay */
    EXPECT(train("none", (course){ .nan_from = 12, .nan_to = 99, .save_every = -1 }, &bits) == VM_EMODEL);
    EXPECT_HAS(
        err.msg,
        "no finite numbers at step 16, and no checkpoint to go back to; lower --lr, or save earlier (--save-every)");
}

/* --- the guard by itself
 * ---------------------------------------------------------------------------------------------- */
TEST(spikes) {
    train_guard g = train_guard_new(4);
    double loss, norm;
    for (int k = 0; k < GUARD_WINDOW; k++) {
        train_guard_limits(&g, &loss, &norm);
        EXPECT(isinf(loss) && isinf(norm)); /* not before the window is full */
        train_step s = { .loss = 2 + (k & 1), .grad_norm = 10 };
        EXPECT(train_guard_see(&g, k, &s, "run", &err) == GUARD_GOOD);
    }
    train_guard_limits(&g, &loss, &norm);
    EXPECT_NEAR(loss, 2.5 + 4 * 0.5, 1e-12);
    EXPECT_NEAR(norm, 10, 1e-9);
    train_step spike = { .loss = 50, .grad_norm = 10, .skipped = true }, nan = { .loss = NAN, .grad_norm = 1, .skipped = true };
    EXPECT(train_guard_see(&g, 200, &nan, "run", &err) == GUARD_SKIPPED);
    train_guard_limits(&g, &loss, &norm);
    EXPECT_NEAR(loss, 2.5 + 4 * 0.5, 1e-12); /* a NaN is no part of the window */
    EXPECT(train_guard_see(&g, 201, &spike, "run", &err) == GUARD_SKIPPED);
    train_guard_limits(&g, &loss, &norm);
    EXPECT(loss > 10); /* a spike is: a level that stays is none for long */
    g.skip_z = 0;
    train_guard_limits(&g, &loss, &norm);
    EXPECT(isinf(loss));
}

/* --- checkpoints --------------------------------------------------------------------------------------------------- */
static vm_status one_file(const char *dir, const void *ctx, vm_error *e) {
    char path[800];
    snprintf(path, sizeof path, "%s/x", dir);
    return file_write(path, ctx, strlen(ctx), e);
}
TEST(the_best_and_the_last_stay) {
    char out[600], path[700], *dir = NULL;
    snprintf(out, sizeof out, "%s/keep", tmp);
    vm_error_clear(&err);
    EXPECT(!checkpoint_any(out));
    for (int64_t step = 1; step <= 6; step++)
        EXPECT(!checkpoint_save(out, step, (checkpoint_keep){ 2, step < 2 ? -1 : 2 }, one_file, "abc", &err));
    EXPECT(checkpoint_any(out));
    for (int step = 1; step <= 6; step++) {
        snprintf(path, sizeof path, "keep/checkpoints/step-%08d", step);
        EXPECT(exists("", path) == (step == 2 || step >= 5));
    }
    EXPECT(exists("", "keep/checkpoints/best/x") && exists("", "keep/checkpoints/latest/x"));
    /* killed before the links moved and the old ones went */
    snprintf(path, sizeof path, "%s/checkpoints/step-00000003", out);
    EXPECT(!dir_make(path, &err) && !checkpoint_tidy(out, 6, (checkpoint_keep){ 2, 2 }, &err) && !exists("", "keep/checkpoints/step-00000003"));
    EXPECT(exists("", "keep/checkpoints/step-00000002") && exists("", "keep/checkpoints/step-00000005"));
    snprintf(path, sizeof path, "%s/checkpoints/.link", out);
    EXPECT(!file_write(path, "x", 1, &err) && !checkpoint_tidy(out, 6, (checkpoint_keep){ 2, 2 }, &err) && access(path, F_OK));
    snprintf(path, sizeof path, "%s/checkpoints/step-00000006/x", out);
    EXPECT(!file_write(path, "abd", 3, &err)); /* damaged: the one before it counts */
    EXPECT(!checkpoint_newest(&dir, out, &err) && dir);
    EXPECT_HAS(dir, "step-00000005");
    vm_free(dir);
    EXPECT(vm_mem_used() == 0);
}

/* --- logs --------------------------------------------------------------------------------------------------------- */
static void put(train_log *l, int64_t step, double loss) {
    train_log_begin(l, step);
    train_log_num(l, "loss", loss);
    train_log_nums(l, "theta", 2, (double[]){ loss, 1 });
    train_log_flag(l, "skipped", false);
    train_log_end(l);
}
TEST(torn_logs) {
    char dir[600], path[700], *text = NULL;
    train_log *l;
    snprintf(dir, sizeof dir, "%s/logs", tmp), snprintf(path, sizeof path, "%s/log.jsonl", dir);
    vm_error_clear(&err);
    EXPECT(!dir_make(dir, &err) && !train_log_open(&l, dir, 0, &err));
    for (int k = 1; k <= 5; k++) put(l, k, k == 2 ? NAN : k);
    EXPECT_NEAR(train_log_last(l, "loss"), 5, 0);
    EXPECT(isnan(train_log_last(l, "lr")));
    train_log_close(l);
    EXPECT(!file_read(&text, NULL, path, 0, &err));
    EXPECT_HAS(text, "{\"step\":2,\"loss\":null,\"theta\":[null,1],\"skipped\":false}\n{\"step\":3,\"loss\":3,"
                     "\"theta\":[3,1],\"skipped\":false}\n");
    size_t whole = strlen(text);
    for (size_t len = 0; len <= whole; len++) { /* killed at any byte */
        EXPECT(!file_write(path, text, len, &err) && !train_log_open(&l, dir, 4, &err));
        put(l, 5, 5);
        double last = train_log_last(l, "theta.0");
        train_log_close(l);
        EXPECT(last == 5);
        char *again = NULL;
        size_t n;
        EXPECT(!file_read(&again, &n, path, 0, &err) && n && again[n - 1] == '\n' && strstr(again, "{\"step\":5,"));
        if (len == whole) EXPECT(n == whole); /* step 5 was cut off and came again */
        vm_free(again);
    }
    vm_free(text);
    EXPECT(vm_mem_used() == 0);
}

int main(void) {
    if (!mkdtemp(tmp)) return 1;
    snprintf(base, sizeof base, "%s/base", tmp);
    if (clip_world_model(base, &err)) return 1;
    RUN(an_undisturbed_run);
    RUN(going_on_has_the_same_bits);
    RUN(three_bad_steps_are_skipped);
    RUN(the_fourth_goes_back);
    RUN(no_end_of_bad_steps);
    RUN(spikes);
    RUN(the_best_and_the_last_stay);
    RUN(torn_logs);
    vm_error_clear(&err);
    dir_remove(tmp, &err);
    return test_end();
}
