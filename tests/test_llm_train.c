/* test_llm_train.c - steps of a language model: what counts, pieces of a batch, packed rows, recomputation, learning by heart,
 * adapters, and the bits of a run that goes on. */
#include <unistd.h>

#include "io/file.h"
#include "models/llm_train.h"
#include "tests/test.h"

static char tmp[] = "/tmp/test_llm_trainXXXXXX";
static vm_error err;
enum { V = 50, ROWS = 4, T = 16 };
static int32_t ids[ROWS * T], targets[ROWS * T];

static const llm_config config = { .vocab = V,
                                   .width = 32,
                                   .mlp = 48,
                                   .layers = 2,
                                   .context = 64,
                                   .NH = 4,
                                   .NKV = 2,
                                   .HS = 8,
                                   .eps = 1e-5f,
                                   .act = VM_SILU,
                                   .tied = true,
                                   .rope = { .columns = 8, .base = 10000, .factor = 1 },
                                   .bos = -1,
                                   .pad = -1,
                                   .stops = 0 };

static llm *fresh(void) {
    llm *m = NULL;
    if (llm_new(&m, vm_backend_cpu(), &config, 7, &err)) MISMATCH("%s\n", err.msg);
    return m;
}
static llm_trainer *trainer(llm *m, llm_train_config c) {
    llm_trainer *t = NULL;
    c.optimizer.adam = (vm_adam){ 0.9f, 0.95f, 1e-8f, 0.01f };
    if (llm_trainer_new(&t, m, &c, &err)) MISMATCH("%s\n", err.msg);
    return t;
}
/* Copies of all gradients behind one another; vm_free. */
static vm_real *gradients(const llm *m, int64_t *n) {
    vm_real *x = NULL;
    int64_t cap = 0;
    *n = 0;
    for (int64_t i = 0; i < m->w.n; i++) {
        int64_t k = m->w.p[i]->grad ? vm_param_count(m->w.p[i]) : 0;
        if (!vm_grow(&x, &cap, *n + k + 1, sizeof *x)) abort();
        if (k) memcpy(x + *n, m->w.p[i]->grad, (size_t)k * sizeof *x);
        *n += k;
    }
    return x;
}
static double difference(const vm_real *a, const vm_real *b, int64_t n) { /* of the norms' share */
    double d = 0, all = 0;
    for (int64_t i = 0; i < n; i++) d += pow((double)(a[i] - b[i]), 2), all += pow((double)a[i], 2);
    return sqrt(d / all);
}

/* Row r: r + 5 tokens that are there, of which the last r + 2 are learnt. */
static void make_batch(void) {
    uint64_t s = 3;
    for (int i = 0; i < ROWS * T; i++) ids[i] = (int32_t)(test_rand(&s) % V);
    for (int r = 0; r < ROWS; r++)
        for (int t = 0; t < T; t++) targets[r * T + t] = t >= 2 && t < r + 4 ? ids[r * T + t + 1] : -100;
}

TEST(pieces_have_the_gradients_of_the_whole) {
    llm *m = fresh();
    llm_trainer *t = trainer(m, (llm_train_config){ .dtype = VM_F32 }), *again;
    llm_train_step whole, parts;
    int64_t n, n2, counted;
    double loss, sum = 0;
    EXPECT(!llm_trainer_gradients(t, 1, &(llm_piece){ ROWS, T, ids, targets, NULL }, &whole, &err));
    vm_real *a = gradients(m, &n);
    EXPECT(whole.counted == 2 + 3 + 4 + 5 && n == weight_count(&m->w));
    EXPECT(!llm_trainer_gradients(
        t, 3,
        (llm_piece[]){ { 1, T, ids, targets, NULL }, { 2, T, ids + T, targets + T, NULL }, { 1, T, ids + 3 * T, targets + 3 * T, NULL } },
        &parts, &err));
    vm_real *b = gradients(m, &n2);
    EXPECT(n2 == n && parts.counted == whole.counted);
    EXPECT_NEAR(parts.loss, whole.loss, 1e-6);
    EXPECT_NEAR(difference(a, b, n), 0, 1e-5);
    for (int r = 0; r < ROWS; r++) { /* the mean over tokens, not over texts */
        EXPECT(!llm_trainer_loss(t, &(llm_piece){ 1, T, ids + r * T, targets + r * T, NULL }, &loss, &counted, &err) &&
               counted == r + 2);
        sum += loss * (double)counted / 14;
    }
    EXPECT_NEAR(sum, whole.loss, 1e-6);
    vm_free(b);
    llm_trainer_free(t);
    optimizer_bytes own;
    size_t kept = 0, again_kept = 0;
    t = trainer(m, (llm_train_config){ .dtype = VM_F32 });
    EXPECT(!llm_trainer_memory(t, ROWS, T, &own, &kept, &err) && own.moments == 2 * own.weights);
    llm_trainer_free(t);
    again = trainer(m, (llm_train_config){ .dtype = VM_F32, .recompute = true });
    EXPECT(!llm_trainer_memory(again, ROWS, T, &own, &again_kept, &err) && 3 * again_kept < 2 * kept);
    EXPECT(!llm_trainer_gradients(again, 1, &(llm_piece){ ROWS, T, ids, targets, NULL }, &parts, &err) &&
           parts.loss == whole.loss);
    b = gradients(m, &n2);
    EXPECT(n2 == n && !memcmp(a, b, (size_t)n * sizeof *a));
    llm_trainer_free(again);
    vm_free(a), vm_free(b);
    llm_free(m);
}

/* The texts of make_batch in two rows with a gap behind them: loss and gradients are those of the texts side by side, also
 * with windows, and with rotary embeddings that stretch for the longest text. */
TEST(packed_rows) {
    enum { LONG = 32 };
    int32_t id[2 * LONG], target[2 * LONG], first[2 * LONG];
    for (int i = 0; i < 2 * LONG; i++) id[i] = 7, target[i] = -100, first[i] = i % LONG;
    for (int r = 0, at[2] = { 0 }; r < ROWS; r++)
        for (int t = 0, row = r % 2, begin = at[row]; t < r + 5; t++) {
            int i = row * LONG + at[row]++;
            id[i] = ids[r * T + t], target[i] = targets[r * T + t], first[i] = begin;
        }
    for (int kind = 0; kind < 4; kind++) {
        llm_train_step apart, packed;
        llm_config c = config;
        int64_t n, n2;
        if (kind == 1) c.window = 3;
        if (kind == 2) c.rope.scaling = VM_ROPE_DYNAMIC, c.rope.factor = 2, c.rope.original = 8;
        llm *m = NULL;
        if (llm_new(&m, vm_backend_cpu(), &c, 7, &err)) MISMATCH("%s\n", err.msg);
        llm_trainer *t = trainer(m, (llm_train_config){ .dtype = VM_F32, .recompute = kind == 3 });
        /* as long as the longest text, which is what the embedding stretches for */
        int32_t a_id[ROWS * (ROWS + 4)], a_target[ROWS * (ROWS + 4)];
        for (int i = 0; i < ROWS * (ROWS + 4); i++) {
            int at = i / (ROWS + 4) * T + i % (ROWS + 4);
            a_id[i] = ids[at], a_target[i] = targets[at];
        }
        EXPECT(!llm_trainer_gradients(t, 1, &(llm_piece){ ROWS, ROWS + 4, a_id, a_target, NULL }, &apart, &err));
        vm_real *a = gradients(m, &n);
        EXPECT(!llm_trainer_gradients(t, 1, &(llm_piece){ 2, LONG, id, target, first }, &packed, &err));
        vm_real *b = gradients(m, &n2);
        EXPECT(n == n2 && packed.counted == apart.counted && packed.counted == 14);
        EXPECT_NEAR(packed.loss, apart.loss, 1e-6);
        EXPECT_NEAR(difference(a, b, n), 0, 1e-5);
        vm_free(a), vm_free(b);
        llm_trainer_free(t);
        llm_free(m);
    }
}

/* Padding, and what stands before the learnt part's end, says nothing about earlier tokens. */
TEST(what_does_not_count) {
    llm *m = fresh();
    llm_trainer *t = trainer(m, (llm_train_config){ .dtype = VM_F32 });
    int32_t other[ROWS * T];
    double a, b;
    int64_t n;
    memcpy(other, ids, sizeof ids);
    for (int r = 0; r < ROWS; r++)
        for (int k = r + 5; k < T; k++) other[r * T + k] = (other[r * T + k] + 1) % V;
    EXPECT(!llm_trainer_loss(t, &(llm_piece){ ROWS, T, ids, targets, NULL }, &a, &n, &err) &&
           !llm_trainer_loss(t, &(llm_piece){ ROWS, T, other, targets, NULL }, &b, &n, &err));
    EXPECT(a == b);
    other[0] = (ids[0] + 1) % V; /* but what stands before does */
    EXPECT(!llm_trainer_loss(t, &(llm_piece){ ROWS, T, other, targets, NULL }, &b, &n, &err) && a != b);
    llm_train_step s;
    int32_t none[ROWS * T];
    for (int i = 0; i < ROWS * T; i++) none[i] = -100;
    EXPECT(!llm_trainer_step(t, 1, &(llm_piece){ ROWS, T, ids, none, NULL }, 1e-3, &s, &err) && s.skipped && !s.counted &&
           !llm_trainer_updates(t));
    llm_trainer_limit(t, 0.1, INFINITY);
    EXPECT(!llm_trainer_step(t, 1, &(llm_piece){ ROWS, T, ids, targets, NULL }, 1e-3, &s, &err) && s.skipped &&
           s.counted == 14);
    llm_trainer_free(t);
    llm_free(m);
}

TEST(by_heart) { /* in bf16, too */
    for (int k = 0; k < 2; k++) {
        llm *m = fresh();
        llm_trainer *t = trainer(m, (llm_train_config){ .dtype = k ? VM_BF16 : VM_F32, .optimizer.clip_norm = 1 });
        llm_train_step s, first;
        EXPECT(!llm_trainer_step(t, 1, &(llm_piece){ ROWS, T, ids, targets, NULL }, 5e-3, &first, &err));
        EXPECT_NEAR(first.loss, log(V), 0.5);
        for (int i = 0; i < 100; i++)
            EXPECT(!llm_trainer_step(t, 1, &(llm_piece){ ROWS, T, ids, targets, NULL }, 5e-3, &s, &err));
        EXPECT(s.loss < 0.05 && llm_trainer_updates(t) == 101);
        llm_trainer_free(t);
        llm_free(m);
    }
}

/* Two steps, then on from their checkpoint in another process: bit for bit as four. */
static void goes_on(bool adapter) {
    llm *m[2];
    llm_trainer *t[2];
    llm_train_step s;
    const llm_piece p = { ROWS, T, ids, targets, NULL };
    for (int k = 0; k < 2; k++) {
        m[k] = fresh();
        if (adapter) EXPECT(!llm_adapt(m[k], &(lora_options){ .r = 3, .seed = 5 }, NULL, &err));
        t[k] = trainer(m[k], (llm_train_config){ .dtype = VM_F32 });
    }
    for (int i = 0; i < 2; i++) EXPECT(!llm_trainer_step(t[0], 1, &p, 1e-2, &s, &err));
    if (llm_trainer_save(t[0], tmp, &err) || llm_trainer_load(t[1], tmp, 2, &err)) MISMATCH("%s\n", err.msg);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 2; i++) EXPECT(!llm_trainer_step(t[k], 1, &p, 1e-2, &s, &err));
    llm *start = fresh();
    for (int64_t i = 0; i < m[0]->w.n; i++) {
        const vm_param *a = m[0]->w.p[i], *b = m[1]->w.p[i];
        size_t bytes = (size_t)vm_param_count(a) * sizeof(vm_real);
        EXPECT(!memcmp(a->data, b->data, bytes));
        if (adapter && i < start->w.n)
            EXPECT(!memcmp(a->data, start->w.p[i]->data, bytes) && !a->grad); /* the base is as it was */
        if (adapter && i >= start->w.n) EXPECT(a->grad && a->m);
    }
    llm_free(start);
    for (int k = 0; k < 2; k++) llm_trainer_free(t[k]), llm_free(m[k]);
}
TEST(going_on_has_the_same_bits) { goes_on(false); }
TEST(going_on_with_an_adapter) { goes_on(true); }

TEST(saved_models_compute_the_same) {
    llm *m = NULL, *back = NULL;
    char dir[600];
    double a, b;
    int64_t n;
    const llm_piece p = { ROWS, T, ids, targets, NULL };
    snprintf(dir, sizeof dir, "%s/saved", tmp);
    for (int k = 0; k < 2; k++) { /* Phi-3's files have fused tensors */
        const char *from = k ? "tests/golden/llm/phi3" : "tests/golden/llm/llama";
        if (llm_open(&m, vm_backend_cpu(), from, true, &err) || dir_make(dir, &err) ||
            llm_save(m, from, dir, ST_F32, &err) || llm_open(&back, vm_backend_cpu(), dir, false, &err))
            MISMATCH("%s\n", err.msg);
        llm_trainer *x = trainer(m, (llm_train_config){ .dtype = VM_F32 }),
                    *y = trainer(back, (llm_train_config){ .dtype = VM_F32 });
        EXPECT(!llm_trainer_loss(x, &p, &a, &n, &err) && !llm_trainer_loss(y, &p, &b, &n, &err) && a == b);
        llm_trainer_free(x), llm_trainer_free(y);
        llm_free(m), llm_free(back);
    }
    char *text = NULL;
    snprintf(dir, sizeof dir, "%s/saved/config.json", tmp);
    EXPECT(!file_read(&text, NULL, dir, 0, &err));
    EXPECT_HAS(text, "\"torch_dtype\": \"float32\"");
    vm_free(text);
}

TEST(learning_rates) {
    lr_schedule s = { LR_LINEAR, .lr = 2, .warm = 4, .total = 12 };
    EXPECT_NEAR(lr_at(&s, 0), 0.5, 1e-12);
    EXPECT_NEAR(lr_at(&s, 4), 2, 1e-12);
    EXPECT_NEAR(lr_at(&s, 10), 0.5, 1e-12);
}

int main(void) {
    if (!mkdtemp(tmp)) return 1;
    vm_threads(1);
    make_batch();
    RUN(pieces_have_the_gradients_of_the_whole);
    RUN(packed_rows);
    RUN(what_does_not_count);
    RUN(by_heart);
    RUN(going_on_has_the_same_bits);
    RUN(going_on_with_an_adapter);
    RUN(saved_models_compute_the_same);
    RUN(learning_rates);
    EXPECT(vm_mem_used() == 0);
    dir_remove(tmp, &err);
    return test_end();
}
