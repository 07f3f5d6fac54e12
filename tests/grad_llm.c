/* grad_llm.c - a language model in double precision: several texts packed into one row have the loss and the gradients of the
 * same texts apart. */
#include "models/llm_train.h"
#include "tests/test.h"

enum { V = 30, TEXTS = 5, LONGEST = 9, ROW = 32 };

static const llm_config config = { .vocab = V, .width = 24, .mlp = 20, .layers = 2, .context = 64, .NH = 6, .NKV = 3,
                                   .HS = 4, .eps = 1e-5f, .act = VM_SILU, .tied = true,
                                   .rope = { .columns = 4, .base = 10000, .factor = 1 }, .bos = -1, .pad = -1 };
static vm_error err;

/* Loss and gradients behind one another; vm_free. */
static double *step(llm *m, const llm_piece *p, int64_t *n) {
    llm_trainer *t = NULL;
    llm_train_step s = { 0 };
    const llm_train_config c = { .dtype = VM_F32 };
    double *x = vm_calloc((size_t)weight_count(&m->w) + 1, sizeof *x);
    EXPECT(!llm_trainer_new(&t, m, &c, &err) && !llm_trainer_gradients(t, 1, p, &s, &err));
    x[0] = s.loss, *n = 1;
    for (int64_t i = 0; i < m->w.n; i++)
        for (int64_t k = 0; k < vm_param_count(m->w.p[i]); k++) x[(*n)++] = m->w.p[i]->grad[k];
    llm_trainer_free(t);
    return x;
}

static void check(int window) {
    static const int lengths[TEXTS] = { 9, 1, 7, 4, 8 };
    int32_t id[TEXTS * LONGEST] = { 0 }, target[TEXTS * LONGEST], row[ROW] = { 0 }, row_target[ROW], first[ROW];
    llm_config c = config;
    llm *m = NULL;
    int64_t n, n2;
    c.window = window;
    for (int i = 0; i < TEXTS * LONGEST; i++) target[i] = -100;
    for (int i = 0; i < ROW; i++) row_target[i] = -100, first[i] = i;
    for (int r = 0, at = 0; r < TEXTS; at += lengths[r++])
        for (int t = 0; t < lengths[r]; t++) {
            int i = r * LONGEST + t;
            row[at + t] = id[i] = (i * 7 + 3) % V, first[at + t] = at;
            if (t + 1 < lengths[r] && t >= r % 3) row_target[at + t] = target[i] = ((i + 1) * 7 + 3) % V;
        }
    EXPECT(!llm_new(&m, vm_backend_cpu(), &c, 5, &err));
    double *a = step(m, &(llm_piece){ TEXTS, LONGEST, id, target, NULL }, &n),
           *b = step(m, &(llm_piece){ 1, ROW, row, row_target, first }, &n2), size = 0, most = 0;
    EXPECT(n == n2 && n == weight_count(&m->w) + 1);
    EXPECT_NEAR(a[0], log(V), 0.5);
    for (int64_t i = 0; i < n; i++) size = fmax(size, fabs(a[i])), most = fmax(most, fabs(a[i] - b[i]));
    EXPECT_NEAR(most / size, 0, 1e-13);
    vm_free(a), vm_free(b);
    llm_free(m);
}

TEST(packed) { check(0); }
TEST(packed_with_windows) { check(3); }

int main(void) {
    RUN(packed);
    RUN(packed_with_windows);
    EXPECT(vm_mem_used() == 0);
    return test_end();
}
