/* mpi_train.c - run by mpirun (cli_mpi.sh): training steps whose batch is spread over ranks against one process with the whole
 * batch: losses, the temperature, gradients, weights after a few steps. Rank 0 prints one line. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "models/clip.h"
#include "models/clip_train.h"

enum { S = 32, L = 16, STEPS = 4 };

/* The whole batch: pixels and captions from a counter; some captions are equal. */
typedef struct {
    int64_t n_orig, n_twins, K, rows;
    float *pixels, *valid;
    int32_t *ids, *at, *mask;
} rows;

static float number(int64_t k) { return (float)((k * 7919 + 13) % 2003) / 1001.5f - 1; }

static rows make(int64_t n_orig, int64_t with, int64_t K, int64_t seed) {
    rows b = { n_orig, with * K, K, n_orig + with * K, NULL, NULL, NULL, NULL, NULL };
    b.pixels = vm_alloc((size_t)(b.rows * S * S * 3) * 4), b.ids = vm_alloc((size_t)(b.rows * L) * 4), b.valid = vm_alloc((size_t)b.n_twins * 4 + 4);
    b.at = vm_alloc((size_t)b.rows * 4), b.mask = vm_alloc((size_t)(b.rows * L) * 4);
    for (int64_t i = 0; i < b.rows * S * S * 3; i++) b.pixels[i] = number(i + seed * 1000003);
    for (int64_t i = 0; i < b.n_twins; i++) b.valid[i] = i % 5 != 3;
    for (int64_t i = 0; i < b.rows; i++) {
        int64_t len = 3 + (i * 5 + seed) % (L - 4), word = i % 6 == 5 ? 1 : i; /* rows 5, 11, ...: the caption of row 1 */
        if (i % 6 == 5) len = 3 + (5 + seed) % (L - 4);
        b.at[i] = (int32_t)len - 1;
        for (int64_t t = 0; t < L; t++) {
            b.ids[i * L + t] = (int32_t)(t == 0 ? 30 : t == len - 1 ? 31 : t < len ? (word * 11 + t * t + seed) % 29 : 31);
            b.mask[i * L + t] = t < len;
        }
    }
    return b;
}

static void drop(rows *b) { vm_free(b->pixels), vm_free(b->ids), vm_free(b->at), vm_free(b->mask), vm_free(b->valid); }

static int64_t take(const rows *b, rows *to, int64_t at, int64_t from, int64_t n) {
    memcpy(to->pixels + at * S * S * 3, b->pixels + from * S * S * 3, (size_t)(n * S * S * 3) * 4);
    memcpy(to->ids + at * L, b->ids + from * L, (size_t)(n * L) * 4), memcpy(to->mask + at * L, b->mask + from * L, (size_t)(n * L) * 4);
    memcpy(to->at + at, b->at + from, (size_t)n * 4);
    return at + n;
}

/* The rows of one rank: its share of the originals with changes, of those without, and of each column of changes. */
static rows part(const rows *b, int rank, int W) {
    int64_t with = b->n_twins / b->K / W, rest = (b->n_orig - with * W) / W, at;
    rows p = make(with + rest, with, b->K, 0);
    at = take(b, &p, 0, rank * with, with);
    at = take(b, &p, at, W * with + rank * rest, rest);
    for (int64_t k = 0; k < b->K; k++) {
        at = take(b, &p, at, b->n_orig + k * W * with + rank * with, with);
        memcpy(p.valid + k * with, b->valid + k * W * with + rank * with, (size_t)with * 4);
    }
    return p;
}

static clip_model *model(vm_error *e) {
    clip_config c = { .text = { 32, 2, 2, 64 }, .vision = { 32, 2, 2, 64 }, .vocab = 32, .context = L, .image_size = S, .patch = 8, .embed = 24, .bos = 30,
                      .eos = 31, .pad = 31, .text_act = VM_QUICK_GELU, .vision_act = VM_QUICK_GELU, .text_eps = 1e-5f, .vision_eps = 1e-5f };
    clip_model *m = NULL;
    if (!clip_new(&m, vm_backend_cpu(), &c, e)) clip_init(m, 3, e);
    return m;
}

static double difference(const clip_model *a, const clip_model *b, bool gradients) {
    double worst = 0;
    for (int64_t i = 0; i < a->w.n; i++) {
        const float *x = gradients ? (float *)a->w.p[i]->grad : a->w.p[i]->data, *y = gradients ? (float *)b->w.p[i]->grad : b->w.p[i]->data;
        double scale = 1e-12, diff = 0;
        for (int64_t k = 0; x && y && k < vm_param_count(a->w.p[i]); k++)
            scale = fmax(scale, fabs((double)y[k])), diff = fmax(diff, fabs((double)x[k] - (double)y[k]));
        /* gradients that cancel (key biases) are rounding errors on both sides: 1e-7 of what is summed */
        worst = fmax(worst, diff / fmax(scale, gradients ? 1e-4 : 1e-3));
    }
    return worst;
}

static double compare(vm_comm *c, const char *name, clip_train_config tc, int64_t n_orig, int64_t with, int64_t K, vm_error *e) {
    clip_model *one = model(e), *many = model(e);
    clip_trainer *a = NULL, *b = NULL;
    double worst = 0;
    tc.dtype = VM_F32, tc.deterministic = true, tc.max_logit_scale = 4.6f, tc.adam = (vm_adam){ 0.9f, 0.98f, 1e-6f, 0.1f };
    clip_trainer_new(&a, &one->t, &tc, e);
    tc.comm = c;
    clip_trainer_new(&b, &many->t, &tc, e);
    for (int64_t s = 0; s < STEPS && !e->status; s++) {
        rows whole = make(n_orig, with, K, s), mine = part(&whole, c->rank, c->size);
        clip_batch x = { .n_orig = whole.n_orig, .n_twins = whole.n_twins, .K = K, .T = L, .pixels = whole.pixels, .ids = whole.ids, .at = whole.at,
                         .mask = whole.mask, .valid = K > 1 ? whole.valid : NULL };
        clip_batch y = { .n_orig = mine.n_orig, .n_twins = mine.n_twins, .K = K, .T = L, .pixels = mine.pixels, .ids = mine.ids, .at = mine.at,
                         .mask = mine.mask, .valid = K > 1 ? mine.valid : NULL };
        clip_step p, q;
        if (!clip_trainer_step(a, &x, 1e-3, &p, e) && !clip_trainer_step(b, &y, 1e-3, &q, e)) {
            worst = fmax(worst, 10 * fabs(p.terms.loss - q.terms.loss) / fabs(p.terms.loss)); /* 1e-5, where gradients have 1e-4 */
            worst = fmax(worst, fabs(p.scale - q.scale) / p.scale);
            /* from the second step on weights differ by roundings that AdamW makes larger: gradients are compared at the first */
            if (!s) worst = fmax(worst, difference(many, one, true));
        }
        drop(&whole), drop(&mine);
    }
    if (e->status) fprintf(stderr, "%s: %s\n", name, e->msg), worst = 1;
    vm_comm *all = c;
    vm_error over = { 0 };
    all->all_reduce_f64(all, &worst, 1, VM_COMM_MAX, &over);
    if (!c->rank) printf("%s: worst difference %.2e\n", name, worst);
    clip_trainer_free(a), clip_trainer_free(b);
    clip_free(one), clip_free(many);
    return worst;
}

int main(void) {
    vm_error e = { 0 };
    vm_comm *c;
    double worst = 0;
    if (vm_comm_open(&c, &e)) return fprintf(stderr, "%s\n", e.msg), 1;
    vm_threads(1);
    worst = fmax(worst, compare(c, "itc", (clip_train_config){ .loss.kind = CLIP_ITC, .loss.twin_weight = 1 }, 12, 6, 1, &e));
    worst = fmax(worst, compare(c, "chunks", (clip_train_config){ .loss.kind = CLIP_ITC, .loss.twin_weight = 1, .chunk = 2 }, 12, 6, 1, &e));
    worst = fmax(worst, compare(c, "equal captions", (clip_train_config){ .loss.kind = CLIP_ITC, .loss.dedup = true }, 12, 12, 1, &e));
    worst = fmax(worst, compare(c, "hard negatives", (clip_train_config){ .loss = { .kind = CLIP_ITC_HN, .neg_txt = true, .neg_img = true,
        .imc_weight = 0.3f, .cmr_weight = 0.2f, .theta = LOSS_THETA_MEAN, .theta_upper = 10 } }, 12, 6, 3, &e));
    if (!c->rank) printf("%d ranks against one: %s\n", c->size, worst < 1e-4 ? "equal" : "DIFFERENT");
    vm_comm_close(c);
    return !(worst < 1e-4);
}
