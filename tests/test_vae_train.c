/* test_vae_train.c - training steps of the autoencoder: parts of the loss, weights of pixels, it learns, what it says
 * to take of memory, bad input. */
#include "models/vae_train.h"
#include "tests/test.h"

enum { SIDE = 16, N = 2 };
static vm_error e;
static vm_image picture[N], mask[N];
static const vm_image *im[N], *focus[N];

static void prepare(void) {
    for (int k = 0; k < N; k++) {
        image_free(&picture[k]), image_free(&mask[k]);
        EXPECT(!image_new(&picture[k], SIDE, SIDE, 3, &e) && !image_new(&mask[k], SIDE, SIDE, 1, &e));
        for (int i = 0; i < SIDE * SIDE * 3; i++) picture[k].px[i] = (uint8_t)(k ? 255 - i / 4 : i / 3 % SIDE * 16);
        for (int i = 0; i < SIDE * SIDE; i++) mask[k].px[i] = i < SIDE * (5 + k) ? 255 : 0;
        im[k] = &picture[k], focus[k] = &mask[k];
    }
}

/* The last of `steps` steps of a fresh trainer. */
static vae_train_step go(vae_train_config c, const vm_image *const *masks, int steps, double lr) {
    vae *m = NULL;
    vae_trainer *t = NULL;
    vae_train_step s = { 0 };
    vm_error_clear(&e);
    c.optimizer = (optimizer_config){ .adam = { 0.9f, 0.999f, 1e-8f, 0 }, .clip_norm = 1 }, c.dtype = VM_F32, c.seed = 3;
    EXPECT(!vae_open(&m, vm_backend_cpu(), "tests/golden/pipeline/sd/vae", true, &e) && !vae_trainer_new(&t, m, &c, &e));
    for (int k = 0; k < steps && t; k++) EXPECT(!vae_trainer_step(t, N, im, masks, k, lr, &s, &e));
    vae_trainer_free(t), vae_free(m);
    return s;
}

TEST(parts_of_the_loss) {
    const vae_train_step plain = go((vae_train_config){ .l1 = true, .kl = 0.5 }, NULL, 1, 0);
    EXPECT_NEAR(plain.loss, plain.distance + 0.5 * plain.kl, 1e-5 * plain.loss);
    const vae_train_step chroma = go((vae_train_config){ .l1 = true, .kl = 0.5, .chroma = 1 }, NULL, 1, 0), twice = go((vae_train_config){ .l1 = true, .kl = 0.5, .chroma = 2 }, NULL, 1, 0);
    EXPECT(chroma.loss > plain.loss && chroma.distance == plain.distance);
    EXPECT_NEAR(twice.loss - plain.loss, 2 * (chroma.loss - plain.loss), 1e-4);
    const vae_train_step edges = go((vae_train_config){ .l1 = true, .kl = 0.5, .edges = 1 }, NULL, 1, 0);
    EXPECT(edges.loss > plain.loss && edges.grad_norm != plain.grad_norm);
    /* squares: an orthogonal part of d cannot have more than d, neighbours differ by at most twice as much */
    const vae_train_step a = go((vae_train_config){ 0 }, NULL, 1, 0), b = go((vae_train_config){ .chroma = 1 }, NULL, 1, 0), c = go((vae_train_config){ .edges = 1 }, NULL, 1, 0);
    EXPECT(b.loss - a.loss > 0 && b.loss - a.loss < a.loss && c.loss - a.loss > 0 && c.loss - a.loss < 9 * a.loss);
}

/* With one weight everywhere nothing changes; weights shift the loss, linear in them. */
TEST(weights_of_pixels) {
    const vae_train_config one = { .l1 = true, .focus = 1 }, four = { .l1 = true, .focus = 4 };
    const vae_train_step plain = go((vae_train_config){ .l1 = true }, NULL, 1, 0), same = go(one, focus, 1, 0), shifted = go(four, focus, 1, 0);
    EXPECT_NEAR(same.loss, plain.loss, 1e-5 * plain.loss);
    EXPECT(shifted.distance == plain.distance && shifted.loss != plain.loss);
    for (int k = 0; k < N; k++)
        for (int i = 0; i < SIDE * SIDE; i++) mask[k].px[i] = 255;
    EXPECT_NEAR(go(four, focus, 1, 0).loss, plain.loss, 1e-5 * plain.loss);
    prepare();
}

TEST(learns) {
    const vae_train_config c = { .l1 = true, .kl = 1e-6, .chroma = 1, .edges = 0.3, .focus = 3 };
    EXPECT(go(c, focus, 80, 3e-3).loss < 0.7 * go(c, focus, 1, 0).loss);
}

/* What is said before the first step: it grows with the batch by as much as what is taken then, and less is said when activations are
 * recomputed. */
TEST(memory) {
    enum { MORE = 8 };
    const vm_image *many[MORE * N];
    double said[3], took[3];
    for (int k = 0; k < MORE * N; k++) many[k] = im[k % N];
    for (int k = 0; k < 3; k++) { /* as it is, more pictures, recomputed */
        vae *m = NULL;
        vae_trainer *t = NULL;
        vae_train_step s;
        optimizer_bytes own;
        size_t activations;
        const int64_t n = k == 1 ? MORE * N : N;
        const vae_train_config c = { .optimizer = { .adam = { 0.9f, 0.999f, 1e-8f, 0 }, .ema = 0.9 }, .l1 = true, .recompute = k == 2 };
        EXPECT(!vae_open(&m, vm_backend_cpu(), "tests/golden/pipeline/sd/vae", true, &e) && !vae_trainer_new(&t, m, &c, &e));
        EXPECT(!vae_trainer_memory(t, n, SIDE, SIDE, &own, &activations, &e));
        EXPECT(own.weights == (size_t)weight_count(&m->w) * 4 && own.gradients == own.weights && own.moments == 2 * own.weights && own.average == own.weights);
        const size_t before = vm_mem_used();
        EXPECT(!vae_trainer_step(t, n, many, NULL, 0, 1e-3, &s, &e));
        took[k] = (double)(vm_mem_used() - before), said[k] = (double)(own.gradients + own.moments + own.average + activations);
        EXPECT(took[k] > said[k]); /* graph and primitives stand beside it */
        vae_trainer_free(t), vae_free(m);
    }
    EXPECT_NEAR((took[1] - took[0]) / (said[1] - said[0]), 1, 0.05);
    EXPECT(said[2] < said[0]);
}

TEST(bad_input) {
    vae *m = NULL;
    vae_trainer *t = NULL;
    vae_train_step s;
    const vae_train_config c = { .l1 = true, .focus = 2 };
    EXPECT(!vae_open(&m, vm_backend_cpu(), "tests/golden/pipeline/sd/vae", true, &e) && !vae_trainer_new(&t, m, &c, &e));
    EXPECT(vae_trainer_step(t, N, im, NULL, 0, 0, &s, &e) == VM_EINPUT);
    EXPECT_HAS(e.msg, "a focus goes with masks");
    vm_error_clear(&e);
    vm_image small = { 0 };
    EXPECT(!image_new(&small, SIDE, SIDE - 2, 1, &e));
    focus[1] = &small;
    EXPECT(vae_trainer_step(t, N, im, focus, 0, 0, &s, &e) == VM_EINPUT);
    EXPECT_HAS(e.msg, "picture 1 of a batch");
    vm_error_clear(&e);
    image_free(&small);
    prepare();
    vae_trainer_free(t), vae_free(m);
}

int main(void) {
    vm_threads(1);
    prepare();
    RUN(parts_of_the_loss);
    RUN(weights_of_pixels);
    RUN(learns);
    RUN(memory);
    RUN(bad_input);
    for (int k = 0; k < N; k++) image_free(&picture[k]), image_free(&mask[k]);
    return test_end();
}
