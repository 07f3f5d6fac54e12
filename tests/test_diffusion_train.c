/* test_diffusion_train.c - training steps of a pipeline's UNet: it learns; a step is a function of seed and step; going on has the same bits; weights
 * by min-SNR; adapters; what is not finite is skipped. */
#include <stdlib.h>
#include <unistd.h>

#include "kernels/graph.h"
#include "models/diffusion_train.h"
#include "tests/test.h"

enum { SIDE = 16, N = 2 };
static vm_error e;
static char tmp[512];
static vm_image picture[N], mask[N];
static diffusion_sample batch[N];

static void prepare(bool masks) {
    for (int k = 0; k < N; k++) {
        image_free(&picture[k]), image_free(&mask[k]);
        EXPECT(!image_new(&picture[k], SIDE, SIDE, 3, &e) && !image_new(&mask[k], SIDE, SIDE, 1, &e));
        for (int i = 0; i < SIDE * SIDE * 3; i++) picture[k].px[i] = (uint8_t)(k ? 255 - i / 4 : i / 3 % SIDE * 16);
        for (int i = 0; i < SIDE * SIDE; i++) mask[k].px[i] = i % SIDE < 8 ? 255 : 0;
        batch[k] = (diffusion_sample){ .image = &picture[k], .mask = masks ? &mask[k] : NULL, .text = k ? "a blue ball" : "a red cat" };
    }
}

typedef struct { diffusion *d; diffusion_trainer *t; } pair;
static pair begin(bool xl, bool scratch, double gamma, const lora_options *adapter) {
    pair p = { NULL, NULL };
    const diffusion_train_config c = { .optimizer = { .adam = { 0.9f, 0.999f, 1e-8f, 0.01f }, .clip_norm = 1 }, .deterministic = true, .gamma = gamma, .outside = 1, .seed = 3 };
    vm_error_clear(&e);
    prepare(xl);
    EXPECT(!diffusion_open(&p.d, vm_backend_cpu(), xl ? "tests/golden/pipeline/xl" : "tests/golden/pipeline/sd",
                           &(diffusion_options){ .dtype = VM_F32, .deterministic = true, .train = !adapter, .scratch = scratch, .seed = 5 }, &e));
    if (p.d && diffusion_trainer_new(&p.t, p.d, &c, adapter ? adapter : &(lora_options){ 0 }, NULL, &e)) MISMATCH("%s\n", e.msg);
    return p;
}
static void end(pair *p) { diffusion_trainer_free(p->t), diffusion_free(p->d); }

static diffusion_train_step go(pair *p, int64_t step, double lr) {
    diffusion_train_step s = { 0 };
    EXPECT(!diffusion_trainer_step(p->t, N, batch, step, lr, &s, &e));
    return s;
}

/* The last ten errors of 120 steps against the first ten. */
static void learns(bool xl, bool scratch, const lora_options *adapter, double lr, double part) {
    pair p = begin(xl, scratch, 0, adapter);
    double first = 0, last = 0;
    for (int i = 0; i < 120; i++) {
        double error = go(&p, i % 10, lr).error; /* ten times and noises again and again */
        if (i < 10) first += error;
        if (i >= 110) last += error;
    }
    if (!(last < part * first)) MISMATCH("error %g after %g\n", last / 10, first / 10);
    test_checks++;
    end(&p);
}
TEST(learns_from_nothing) { learns(false, true, NULL, 3e-3, 0.6); }
TEST(learns_with_masks) { learns(true, true, NULL, 3e-3, 0.6); }
TEST(learns_by_an_adapter) { learns(false, false, &(lora_options){ .r = 4, .seed = 1 }, 3e-2, 0.99); }

TEST(a_step_is_a_function_of_seed_and_step) {
    pair a = begin(true, false, 5, NULL), b = begin(true, false, 5, NULL);
    for (int i = 0; i < 3; i++) {
        diffusion_train_step x = go(&a, i, 1e-3), y = go(&b, i, 1e-3);
        EXPECT(x.loss == y.loss && x.grad_norm == y.grad_norm && !x.skipped && x.loss > 0);
    }
    double before, other;
    EXPECT(!diffusion_trainer_loss(a.t, N, batch, 7, &before, &e) && !diffusion_trainer_loss(a.t, N, batch, 8, &other, &e));
    EXPECT(before != other); /* other noise */
    EXPECT(!diffusion_trainer_loss(b.t, N, batch, 7, &other, &e) && before == other);
    end(&a), end(&b);
}

TEST(going_on_has_the_same_bits) {
    pair a = begin(false, false, 0, NULL), b = begin(false, true, 0, NULL); /* b begins elsewhere */
    for (int i = 0; i < 2; i++) go(&a, i, 1e-3);
    EXPECT(!diffusion_trainer_save(a.t, tmp, &e) && !diffusion_trainer_load(b.t, tmp, diffusion_trainer_updates(a.t), &e));
    EXPECT(diffusion_trainer_updates(b.t) == 2);
    for (int i = 2; i < 4; i++) {
        diffusion_train_step x = go(&a, i, 1e-3), y = go(&b, i, 1e-3);
        EXPECT(x.loss == y.loss && x.grad_norm == y.grad_norm);
    }
    end(&a), end(&b);
}

/* Samples with keys are encoded once, and the numbers are the same; a key is believed. */
TEST(kept_samples) {
    pair a = begin(true, false, 0, NULL), b = begin(true, false, 0, NULL);
    const diffusion_train_config c = { .optimizer = { .adam = { 0.9f, 0.999f, 1e-8f, 0.01f }, .clip_norm = 1 }, .deterministic = true, .outside = 1, .keep = 3, .seed = 3 };
    diffusion_trainer_free(b.t), b.t = NULL;
    EXPECT(!diffusion_trainer_new(&b.t, b.d, &c, &(lora_options){ 0 }, NULL, &e));
    for (int i = 0; i < 4; i++) {
        for (int k = 0; k < N; k++) batch[k].key = 0;
        diffusion_train_step x = go(&a, i, 1e-3);
        for (int k = 0; k < N; k++) batch[k].key = k + 1 + (i > 2) * 3; /* at last they take the place of the first */
        diffusion_train_step y = go(&b, i, 1e-3);
        EXPECT(x.loss == y.loss && x.grad_norm == y.grad_norm);
    }
    double same, kept;
    batch[0].text = "a black ship";
    EXPECT(!diffusion_trainer_loss(b.t, N, batch, 9, &kept, &e));
    batch[0].key = 0;
    EXPECT(!diffusion_trainer_loss(b.t, N, batch, 9, &same, &e) && same != kept);
    end(&a), end(&b);
}

/* The error outside the mask counts less; the weights have the mean 1. */
TEST(weight_outside) {
    pair a = begin(true, false, 0, NULL), b = begin(true, false, 0, NULL);
    const diffusion_train_config c = { .optimizer = { .adam = { 0.9f, 0.999f, 1e-8f, 0.01f } }, .deterministic = true, .outside = 0, .seed = 3 };
    diffusion_trainer_free(b.t), b.t = NULL;
    EXPECT(!diffusion_trainer_new(&b.t, b.d, &c, &(lora_options){ 0 }, NULL, &e));
    diffusion_train_step x = go(&a, 0, 0), y = go(&b, 0, 0);
    EXPECT(x.loss == x.error && y.error == x.error && y.loss != x.loss && y.loss > 0);
    for (int k = 0; k < N; k++)
        for (int i = 0; i < SIDE * SIDE; i++) mask[k].px[i] = 255; /* nothing is outside */
    x = go(&a, 1, 0), y = go(&b, 1, 0);
    EXPECT(x.loss == y.loss);
    end(&a), end(&b);
}

/* Weights min(SNR, gamma)/SNR: 1 without bound, smaller with one. */
/* What is said before the first step grows with the batch by as much as what is taken then. */
TEST(memory) {
    enum { MORE = 8 };
    double said[2], took[2];
    size_t activations, frozen[2];
    optimizer_bytes own;
    for (int k = 0; k < 2; k++) {
        pair a = begin(true, false, 0, NULL);
        const int64_t n = k ? MORE * N : N;
        diffusion_sample many[MORE * N];
        for (int i = 0; i < MORE * N; i++) many[i] = batch[i % N];
        EXPECT(!diffusion_trainer_memory(a.t, n, SIDE, SIDE, &own, &activations, &frozen[k], &e));
        EXPECT(own.weights == (size_t)weight_count(diffusion_trainer_weights(a.t)) * 4 && own.gradients == own.weights && own.moments == 2 * own.weights);
        const size_t before = vm_mem_used();
        diffusion_train_step s;
        EXPECT(!diffusion_trainer_step(a.t, n, many, 0, 1e-3, &s, &e));
        took[k] = (double)(vm_mem_used() - before), said[k] = (double)(own.gradients + own.moments + activations);
        EXPECT(took[k] > said[k]); /* texts, graphs and primitives stand beside it */
        if (k) EXPECT(diffusion_trainer_memory(a.t, n, SIDE + 1, SIDE, &own, &activations, &frozen[k], &e) == VM_EINPUT);
        vm_error_clear(&e);
        end(&a);
    }
    EXPECT(frozen[0] == frozen[1] && frozen[0] > 0);
    EXPECT_NEAR((took[1] - took[0]) / (said[1] - said[0]), 1, 0.15);
}

TEST(min_snr) {
    pair off = begin(false, false, 0, NULL), wide = begin(false, false, 1e9, NULL), five = begin(false, false, 0.01, NULL);
    diffusion_train_step a = go(&off, 0, 0), b = go(&wide, 0, 0), c = go(&five, 0, 0);
    EXPECT_NEAR(b.loss, a.loss, 1e-6 * a.loss);
    EXPECT(a.loss == a.error && c.error == a.error && c.loss < a.loss);
    end(&off), end(&wide), end(&five);
}

TEST(texts_count_and_can_be_dropped) {
    pair p = begin(true, false, 0, NULL);
    double with, without;
    EXPECT(!diffusion_trainer_loss(p.t, N, batch, 1, &with, &e));
    batch[0].text = batch[1].text = NULL;
    EXPECT(!diffusion_trainer_loss(p.t, N, batch, 1, &without, &e) && with != without);
    batch[0].mask = NULL;
    EXPECT(diffusion_trainer_loss(p.t, N, batch, 1, &without, &e) == VM_EINPUT);
    EXPECT_HAS(e.msg, "with a mask of it");
    vm_error_clear(&e);
    end(&p);
}

TEST(limits) {
    pair p = begin(false, false, 0, NULL);
    diffusion_trainer_limit(p.t, 1e-9, INFINITY);
    EXPECT(go(&p, 0, 1e-3).skipped && diffusion_trainer_updates(p.t) == 0);
    diffusion_trainer_limit(p.t, INFINITY, INFINITY);
    EXPECT(!go(&p, 0, 1e-3).skipped && diffusion_trainer_updates(p.t) == 1);
    end(&p);
}

int main(int argc, char **argv) {
    char cmd[600];
    snprintf(tmp, sizeof tmp, "%s/train.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    vm_threads(1);
    RUN(learns_from_nothing);
    RUN(learns_with_masks);
    RUN(learns_by_an_adapter);
    RUN(a_step_is_a_function_of_seed_and_step);
    RUN(going_on_has_the_same_bits);
    RUN(kept_samples);
    RUN(weight_outside);
    RUN(memory);
    RUN(min_snr);
    RUN(texts_count_and_can_be_dropped);
    RUN(limits);
    for (int k = 0; k < N; k++) image_free(&picture[k]), image_free(&mask[k]);
    snprintf(cmd, sizeof cmd, "rm -r %s", tmp);
    EXPECT(system(cmd) == 0);
    return test_end();
}
