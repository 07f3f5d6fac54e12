/* test_clip_loss.c - losses from features to gradients against tests/golden/loss (plain torch in double), at every processor
 * level; values known without a computation; equal captions; what is refused. */
#include "io/safetensors.h"
#include "models/clip_loss.h"
#include "tests/test.h"

enum { N, WITH, K, TEXT_ONLY, KIND, NEG_TXT, NEG_IMG, TWIN, IMC_W, IMC, CMR_W, THETA, FIXED, UPPER, REF_INVALID, SCALE, BIAS, PER_CELL };

static float *numbers(const st_file *f, const char *name, const char *what) {
    char key[128];
    vm_error e = { 0 };
    snprintf(key, sizeof key, "%s.%s", name, what);
    const st_tensor *t = st_find(f, key);
    if (!t) return NULL;
    float *x = vm_alloc((size_t)t->len * sizeof *x + 1);
    if (st_read_f32(f, t, 0, t->len, x, &e)) MISMATCH("%s\n", e.msg);
    return x;
}

/* Towers of which the loss sees temperature and bias alone. */
static vm_param *one_number(const char *name, double value) {
    vm_param *p = vm_param_new(vm_backend_cpu(), name, VM_F32, 1, (int64_t[]){ 1 }, NULL);
    *(float *)p->data = (float)value, p->trainable = true;
    return p;
}
static towers with_temperature(double value, double bias, int64_t E) {
    static weight_set none;
    none.be = vm_backend_cpu();
    towers m = { .w = &none, .embed = E };
    m.logit_scale = one_number("logit_scale", value), m.logit_bias = one_number("logit_bias", bias);
    return m;
}

static void near_all(const char *name, const char *what, const float *got, const float *want, int64_t n, double tol) {
    double scale = 1e-4;
    for (int64_t i = 0; want && i < n; i++) scale = fmax(scale, fabs((double)want[i]));
    for (int64_t i = 0; want && i < n; i++) {
        test_checks++;
        if (!(fabs((double)got[i] - (double)want[i]) <= tol * scale))
            MISMATCH("%s %s[%d] = %.9g, want %.9g (scale %.3g)\n", name, what, (int)i, (double)got[i], (double)want[i], scale);
    }
}

/* Logits up to 100 carry an error of 1e-5 of themselves: 2e-5 of losses and of the largest gradient. */
static void one(const st_file *f, const char *name, bool deterministic) {
    enum { E = 6, TOL_PPM = 20 };
    const double tol = TOL_PPM * 1e-6;
    vm_error e = { 0 };
    float *o = numbers(f, name, "options"), *img = numbers(f, name, "img"), *txt = numbers(f, name, "txt"), *valid = numbers(f, name, "valid");
    float *terms = numbers(f, name, "terms"), *di = numbers(f, name, "d_img"), *dt = numbers(f, name, "d_txt"), *ds = numbers(f, name, "d_scale"),
          *db = numbers(f, name, "d_bias"), *theta = numbers(f, name, "theta");
    clip_loss_config c = { .kind = (clip_loss)o[KIND], .neg_txt = o[NEG_TXT] > 0, .neg_img = o[NEG_IMG] > 0, .twin_weight = o[TWIN],
                           .imc_weight = o[IMC_W], .cmr_weight = o[CMR_W], .imc = (loss_imc_kind)o[IMC], .theta = (loss_theta_kind)o[THETA],
                           .theta_fixed = (double)o[FIXED], .theta_upper = (double)o[UPPER], .ref_invalid = o[REF_INVALID] > 0,
                           .sigmoid_mean = o[PER_CELL] > 0 ? LOSS_PER_CELL : LOSS_PER_ROW };
    clip_rows r = { (int64_t)o[N], (int64_t)(o[WITH] * o[K]), (int64_t)o[K], o[TEXT_ONLY] > 0, valid, NULL };
    int64_t n_img = 0, n_txt = 0;
    towers m = with_temperature((double)o[SCALE], (double)o[BIAS], E);
    clip_head *h;
    EXPECT(!clip_loss_rows(&c, &r, &n_img, &n_txt, &e) && !clip_head_new(&h, &m, &c, deterministic, &e));
    float *gi = vm_alloc((size_t)(n_img * E) * 4), *gt = vm_alloc((size_t)(n_txt * E) * 4);
    int steps = o[CMR_W] > 0 ? 3 : 1;
    for (int k = 0; k < steps; k++) {
        clip_terms got;
        if (clip_head_run(h, &r, img, txt, gi, gt, &got, &e)) MISMATCH("%s: %s\n", name, e.msg);
        clip_head_commit(h);
        const double have[] = { got.loss, got.itc, got.twin, got.imc, got.cmr };
        for (int i = 0; i < 5; i++) EXPECT_NEAR(have[i], (double)terms[k * 5 + i], tol * (1 + fabs((double)terms[k * 5 + i])));
    }
    near_all(name, "d_img", gi, di, n_img * E, 2 * tol);
    near_all(name, "d_txt", gt, dt, n_txt * E, 2 * tol);
    near_all(name, "d_scale", m.logit_scale->grad, ds, 1, 2 * tol);
    near_all(name, "d_bias", m.logit_bias->grad, db, 1, 2 * tol);
    double th[CLIP_THETA_MAX];
    EXPECT(clip_head_theta(h, th) == (theta ? (int)o[K] : 0));
    for (int k = 0; theta && k < (int)o[K]; k++) EXPECT_NEAR(th[k], (double)theta[k], 1e-4);
    clip_head_free(h);
    vm_param_free(m.logit_scale), vm_param_free(m.logit_bias);
    vm_free(o), vm_free(img), vm_free(txt), vm_free(valid), vm_free(terms), vm_free(di), vm_free(dt), vm_free(ds), vm_free(db), vm_free(theta);
    vm_free(gi), vm_free(gt);
}

TEST(goldens) {
    st_file *f = NULL;
    vm_error e = { 0 };
    int cases = 0;
    if (st_open(&f, "tests/golden/loss/loss.safetensors", &e)) MISMATCH("%s\n", e.msg);
    for (int64_t i = 0; f && i < st_len(f); i++) {
        char name[64];
        const char *dot = strrchr(st_at(f, i)->name, '.');
        if (strcmp(dot, ".options")) continue;
        snprintf(name, sizeof name, "%.*s", (int)(dot - st_at(f, i)->name), st_at(f, i)->name);
        for (int level = 0; level <= vm_cpu_level(); level++) {
            vm_cpu_force(level);
            one(f, name, level & 1);
            vm_cpu_force(-1);
        }
        cases++;
    }
    EXPECT(cases == 22);
    st_close(f);
}

/* --- batches of our own ---------------------------------------------------------------------------------------------- */
typedef struct {
    float *img, *txt, *d_img, *d_txt;
    int64_t n_img, n_txt;
    clip_terms terms;
    float d_scale;
} answer;

static answer ask(const clip_loss_config *c, const clip_rows *r, double scale, const float *from) {
    enum { E = 16 };
    answer a = { 0 };
    vm_error e = { 0 };
    towers m = with_temperature(scale, 0, E);
    clip_head *h = NULL;
    if (clip_loss_rows(c, r, &a.n_img, &a.n_txt, &e)) MISMATCH("%s\n", e.msg);
    size_t n = (size_t)VM_MAX(a.n_img, a.n_txt) * E;
    a.img = vm_alloc(n * 4), a.txt = vm_alloc(n * 4), a.d_img = vm_alloc(n * 4), a.d_txt = vm_alloc(n * 4);
    uint64_t s = 3;
    for (size_t i = 0; i < n; i++) {
        a.img[i] = (float)test_uniform(&s), a.txt[i] = (float)test_uniform(&s);
        if (from) a.txt[i] = a.img[i] = from[i];
    }
    if (clip_head_new(&h, &m, c, false, &e) || clip_head_run(h, r, a.img, a.txt, a.d_img, a.d_txt, &a.terms, &e))
        MISMATCH("%s\n", e.msg);
    a.d_scale = m.logit_scale->grad ? m.logit_scale->grad[0] : NAN;
    clip_head_free(h);
    vm_param_free(m.logit_scale), vm_param_free(m.logit_bias);
    return a;
}
static void answer_free(answer *a) { vm_free(a->img), vm_free(a->txt), vm_free(a->d_img), vm_free(a->d_txt); }

TEST(known_values) { /* at scale 0 every choice is a draw: ln 5N from images, ln N from captions */
    clip_loss_config c = { .kind = CLIP_ITC_HN, .neg_txt = true, .imc_weight = 1, .imc = LOSS_IMC_POSITIVE };
    clip_rows r = { 30, 120, 4, true, NULL, NULL };
    answer a = ask(&c, &r, -100, NULL);
    EXPECT_NEAR(a.terms.itc, (log(150) + log(30)) / 2, 1e-5);
    EXPECT_NEAR(a.terms.imc, log(121), 1e-5);
    EXPECT_NEAR(a.terms.loss, a.terms.itc + a.terms.imc, 1e-6);
    answer_free(&a);
}
TEST(equal_captions) { /* rows 0 and 2 have one caption: neither is the other's negative, so only 1 competes with them */
    clip_loss_config c = { .kind = CLIP_ITC, .dedup = true };
    int32_t same[] = { 0, 1, 0, 3 };
    clip_rows r = { 4, 0, 1, false, NULL, same };
    answer a = ask(&c, &r, -100, NULL);
    EXPECT_NEAR(a.terms.itc, (2 * log(3) + 2 * log(4)) / 4, 1e-5);
    answer_free(&a);
}
TEST(feature_gradients_alone_are_scaled) { /* as the reference's gathering without gradients: 1/W of the towers' */
    clip_loss_config c = { .kind = CLIP_ITC };
    clip_rows r = { 6, 0, 1, false, NULL, NULL };
    answer a = ask(&c, &r, 1, NULL);
    c.feature_grad = 0.25f;
    answer b = ask(&c, &r, 1, NULL);
    EXPECT(a.d_scale == b.d_scale && a.terms.loss == b.terms.loss);
    for (int k = 0; k < 6 * 16; k++) EXPECT(b.d_img[k] == 0.25f * a.d_img[k] && b.d_txt[k] == 0.25f * a.d_txt[k]);
    answer_free(&a), answer_free(&b);
}
TEST(many_tiles) { /* 700 x 2800 logits in tiles of 256: the mean of the loss of rows is that of rows one by one */
    clip_loss_config c = { .kind = CLIP_ITC_HN, .neg_txt = true };
    clip_rows r = { 700, 2100, 3, true, NULL, NULL };
    answer a = ask(&c, &r, 1, NULL);
    double sum = 0, s = exp(1);
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < 700; i++) {
            const float *q = side ? a.txt : a.img, *k = side ? a.img : a.txt;
            double total = 0, own = 0;
            for (int j = 0; j < (side ? 700 : 2800); j++) {
                double x = 0;
                for (int d = 0; d < 16; d++) x += (double)(q[i * 16 + d] * k[j * 16 + d]);
                total += exp(s * x);
                if (i == j) own = s * x;
            }
            sum += (log(total) - own) / 1400;
        }
    EXPECT_NEAR(a.terms.itc, sum, 1e-4);
    answer_free(&a);
}
TEST(what_is_refused) {
    vm_error e = { 0 };
    int64_t a, b;
    clip_loss_config itc = { .kind = CLIP_ITC }, imc = { .kind = CLIP_ITC, .imc_weight = 1 }, cmr = { .kind = CLIP_ITC_HN, .neg_txt = true, .cmr_weight = 1 };
    EXPECT(clip_loss_rows(&itc, &(clip_rows){ 4, 4, 1, true, NULL, NULL }, &a, &b, &e) == VM_EUSAGE);
    EXPECT_STR(e.msg, "the changes of this data have captions only; use itc-hn with hard negatives from text, and no twin term");
    vm_error_clear(&e);
    EXPECT(clip_loss_rows(&imc, &(clip_rows){ 4, 0, 1, false, NULL, NULL }, &a, &b, &e) == VM_EUSAGE);
    EXPECT_STR(e.msg, "the IMC and CMR terms need changed captions, and this data has none");
    vm_error_clear(&e);
    EXPECT(clip_loss_rows(&itc, &(clip_rows){ 4, 6, 1, false, NULL, NULL }, &a, &b, &e) == VM_EUSAGE);
    EXPECT_STR(e.msg, "6 changes do not make 1 columns of at most 4 originals");
    vm_error_clear(&e);
    EXPECT(clip_loss_rows(&cmr, &(clip_rows){ 4, 260, 65, true, NULL, NULL }, &a, &b, &e) == VM_EUSAGE);
    EXPECT_STR(e.msg, "CMR has at most 64 columns of changes");
    vm_error_clear(&e);
    clip_loss_config sigmoid = { .kind = CLIP_SIGMOID };
    towers m = with_temperature(1, 0, 4), without = m;
    clip_head *h;
    without.logit_bias = NULL;
    EXPECT(clip_head_new(&h, &without, &sigmoid, false, &e) == VM_EUSAGE);
    EXPECT_STR(e.msg, "the sigmoid loss is for models with a bias of logits, such as SigLIP; this one has none");
    clip_head_free(h);
    vm_param_free(m.logit_scale), vm_param_free(m.logit_bias);
}

int main(void) {
    RUN(goldens);
    RUN(known_values);
    RUN(equal_captions);
    RUN(feature_gradients_alone_are_scaled);
    RUN(many_tiles);
    RUN(what_is_refused);
    return test_end();
}
