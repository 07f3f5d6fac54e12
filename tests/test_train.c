/* test_train.c - training steps of CLIP: pairs are learnt by heart, a resumed run has the bits of an uninterrupted one,
 * a step without finite numbers changes nothing, and every allocation may fail. */
#include <unistd.h>

#include "io/file.h"
#include "models/clip.h"
#include "models/tower_groups.h"
#include "pipeline/clip_data.h"
#include "tests/test.h"

static char tmp[512];

typedef struct {
    clip_model *m;
    clip_trainer *t;
    tok *tok;
    vm_preprocess *pp;
    clip_source *source;
    clip_batch batch;
} training;

static const clip_train_config defaults = {
    .loss.twin_weight = 1, .adam = { 0.9f, 0.98f, 1e-6f, 0.1f }, .clip_norm = 1, .max_logit_scale = 4.6051702f
};

/* A small model of the world's kind: 2 layers of 64, patches of 16. */
static training begin(vm_type dtype, bool deterministic) {
    training x = { 0 };
    vm_error e = { 0 };
    clip_config c;
    clip_train_config tc = defaults;
    const double mix[4] = { 1, 1, 1, 1 };
    tc.dtype = dtype, tc.deterministic = deterministic;
    x.pp = vm_calloc(1, sizeof *x.pp);
    if (clip_world_model(tmp, &e) || clip_config_read(&c, tmp, &e) || tok_open(&x.tok, tmp, &e) ||
        preprocess_load(x.pp, tmp, &e))
        MISMATCH("%s\n", e.msg);
    c.text = (clip_tower){ 64, 2, 2, 128 }, c.vision = (clip_tower){ 64, 2, 2, 128 }, c.patch = 16, c.embed = 32;
    if (clip_new(&x.m, vm_backend_cpu(), &c, &e) || clip_init(x.m, 1, &e) || clip_trainer_new(&x.t, &x.m->t, &tc, &e) ||
        clip_source_world(&x.source, "pairs", 16, 0, mix, false, &e))
        MISMATCH("%s\n", e.msg);
    x.source->m = &x.m->t, x.source->t = x.tok, x.source->pp = x.pp, x.source->seed = 5, x.source->total_steps = 100;
    EXPECT(!clip_batch_new(&x.batch, x.source, &e));
    return x;
}
static void end(training *x) {
    clip_batch_free(&x->batch);
    x->source->free(x->source);
    clip_trainer_free(x->t);
    clip_free(x->m);
    tok_free(x->tok);
    vm_free(x->pp);
}
static clip_step step(training *x, int64_t data, double lr) {
    vm_error e = { 0 };
    clip_step s = { .terms.loss = NAN };
    if (clip_batch_fill(&x->batch, x->source, data, NULL, &e) || clip_trainer_step(x->t, &x->batch, lr, &s, &e))
        MISMATCH("%s\n", e.msg);
    return s;
}

TEST(pairs_by_heart) { /* 8 pictures and their minimal changes */
    training x = begin(VM_F32, false);
    clip_step s = step(&x, 0, 1e-3), first = s;
    int n = 1;
    for (; n < 300 && !(s.terms.loss < 0.05); n++) s = step(&x, 0, 1e-3);
    EXPECT(first.terms.loss > 2 && s.terms.loss < 0.05 && s.terms.itc < 0.05 && s.terms.twin < 0.05);
    EXPECT(clip_trainer_steps(x.t) == n && s.scale > 1 && s.scale <= 100.001);
    fprintf(stderr, "8 pairs by heart after %d steps\n", n);
    end(&x);
}

static bool same_state(const clip_model *a, const clip_model *b) {
    bool same = a->w.n == b->w.n;
    for (int64_t i = 0; same && i < a->w.n; i++) {
        const vm_param *p = a->w.p[i], *q = b->w.p[i];
        size_t bytes = (size_t)vm_param_count(p) * sizeof(float);
        same = !memcmp(p->data, q->data, bytes) && !memcmp(p->m, q->m, bytes) && !memcmp(p->v, q->v, bytes);
    }
    return same;
}
TEST(resumed_runs_have_the_same_bits) {
    for (int way = 0; way < (vm_cpu_has_bf16() ? 4 : 2); way++) {
        training a = begin(way & 2 ? VM_BF16 : VM_F32, way & 1), b = begin(way & 2 ? VM_BF16 : VM_F32, way & 1), c;
        char dir[600];
        vm_error e = { 0 };
        for (int k = 0; k < 6; k++) step(&a, k, 1e-3);
        for (int k = 0; k < 3; k++) step(&b, k, 1e-3);
        EXPECT(!same_state(a.m, b.m));
        snprintf(dir, sizeof dir, "%s/checkpoint", tmp);
        EXPECT(!dir_make(dir, &e) && !clip_trainer_save(b.t, dir, &e));
        end(&b);
        c = begin(way & 2 ? VM_BF16 : VM_F32, way & 1);
        if (clip_trainer_load(c.t, dir, 3, &e)) MISMATCH("%s\n", e.msg);
        for (int k = 3; k < 6; k++) step(&c, k, 1e-3);
        EXPECT(same_state(a.m, c.m) && clip_trainer_steps(c.t) == 6);
        end(&a), end(&c);
    }
}
TEST(steps_without_finite_numbers) {
    training x = begin(VM_F32, false), y = begin(VM_F32, false);
    vm_error e = { 0 };
    step(&x, 0, 1e-3), step(&y, 0, 1e-3);
    clip_step s;
    EXPECT(!clip_batch_fill(&x.batch, x.source, 1, NULL, &e));
    x.batch.pixels[7] = NAN;
    EXPECT(!clip_trainer_step(x.t, &x.batch, 1e-3, &s, &e) && s.skipped && isnan(s.terms.loss));
    EXPECT(same_state(x.m, y.m) && clip_trainer_steps(x.t) == 1);
    x.batch.pixels[7] = INFINITY;
    EXPECT(!clip_trainer_step(x.t, &x.batch, 1e-3, &s, &e) && s.skipped);
    EXPECT(same_state(x.m, y.m));
    EXPECT(!step(&x, 2, 1e-3).skipped && !step(&y, 2, 1e-3).skipped);
    EXPECT(same_state(x.m, y.m)); /* as if it had not been */
    end(&x), end(&y);
}
static double rate(lr_kind kind, int64_t step, int64_t warm, int64_t total) {
    return lr_at(&(lr_schedule){ kind, .lr = 2, .power = 2, .end = 0.5, .warm = warm, .total = total, .cooldown = 4 }, step);
}
TEST(steps_beyond_the_limits) {
    training x = begin(VM_F32, false), y = begin(VM_F32, false);
    step(&x, 0, 1e-3), step(&y, 0, 1e-3);
    clip_trainer_limit(x.t, 1e-3, INFINITY);
    EXPECT(step(&x, 1, 1e-3).skipped && same_state(x.m, y.m) && clip_trainer_steps(x.t) == 1);
    clip_trainer_limit(x.t, INFINITY, 1e-6);
    EXPECT(step(&x, 1, 1e-3).skipped && same_state(x.m, y.m));
    clip_trainer_limit(x.t, INFINITY, INFINITY);
    EXPECT(!step(&x, 2, 1e-3).skipped && !step(&y, 2, 1e-3).skipped && same_state(x.m, y.m));
    end(&x), end(&y);
}
TEST(learning_rates) {
    EXPECT_NEAR(rate(LR_COSINE, 0, 4, 10), 0.5, 0);
    EXPECT_NEAR(rate(LR_COSINE, 3, 4, 10), 2, 0);
    EXPECT_NEAR(rate(LR_COSINE, 4, 4, 10), 2, 0);
    EXPECT_NEAR(rate(LR_COSINE, 7, 4, 10), 1, 1e-15);
    EXPECT(rate(LR_COSINE, 9, 4, 10) > 0 && rate(LR_COSINE, 9, 4, 10) < 0.2);
    EXPECT_NEAR(rate(LR_COSINE, 0, 0, 1), 2, 0);
    EXPECT(isfinite(rate(LR_COSINE, 5, 5, 5)));
    for (int kind = LR_CONST; kind <= LR_CONST_COOLDOWN; kind++) {
        EXPECT_NEAR(rate(kind, 1, 4, 10), 1, 0);
        EXPECT_NEAR(rate(kind, 5, 4, 10), 2, 0);
    }
    EXPECT_NEAR(rate(LR_CONST, 9, 4, 10), 2, 0);
    EXPECT_NEAR(rate(LR_CONST_COOLDOWN, 6, 4, 10), 2, 0);
    EXPECT_NEAR(rate(LR_CONST_COOLDOWN, 8, 4, 10), 0.25 * 1.5 + 0.5, 1e-15); /* half way, squared */
    EXPECT_NEAR(rate(LR_CONST_COOLDOWN, 10, 4, 10), 0.5, 1e-15);
}
TEST(schedules_and_shapes) { /* batches of two shapes share weights, gradients and moments; the norm is clipped */
    training x = begin(VM_F32, false);
    vm_error e = { 0 };
    clip_step s;
    for (int k = 0; k < 4; k++) {
        EXPECT(!clip_batch_fill(&x.batch, x.source, k, NULL, &e));
        clip_batch b = x.batch;
        if (k & 1) b.n_twins = 0; /* the first rows are pairs of their own */
        EXPECT(!clip_trainer_step(x.t, &b, 1e-3, &s, &e) && !s.skipped && (s.terms.twin > 0) == !(k & 1));
    }
    EXPECT(clip_trainer_steps(x.t) == 4);
    float before = ((float *)x.m->class_embed->data)[0];
    step(&x, 9, 0); /* no rate, no change, not even decay */
    EXPECT(((float *)x.m->class_embed->data)[0] == before);
    end(&x);
}

/* Gradients of all parameters of one batch, one after the other. */
static float *gradients(training *x, const clip_batch *b, int64_t chunk, const clip_loss_config *loss, clip_terms *terms, int64_t *n) {
    vm_error e = { 0 };
    clip_train_config c = defaults;
    c.chunk = chunk, c.loss = *loss;
    clip_trainer_free(x->t);
    if (clip_trainer_new(&x->t, &x->m->t, &c, &e) || clip_trainer_gradients(x->t, b, terms, &e)) MISMATCH("%s\n", e.msg);
    *n = weight_count(&x->m->w);
    float *all = vm_alloc((size_t)*n * sizeof *all), *at = all;
    for (int64_t i = 0; i < x->m->w.n; at += vm_param_count(x->m->w.p[i++]))
        memcpy(at, x->m->w.p[i]->grad, (size_t)vm_param_count(x->m->w.p[i]) * sizeof *at);
    return all;
}
TEST(chunks_have_the_gradients_of_the_whole) {
    const clip_loss_config losses[] = { { .kind = CLIP_ITC, .twin_weight = 1 },
                                        { .kind = CLIP_ITC_HN, .neg_txt = true, .imc_weight = 0.3f, .cmr_weight = 0.2f, .theta_upper = 10 },
                                        { .kind = CLIP_ITC_HN, .neg_img = true } };
    for (int l = 0; l < VM_LEN(losses); l++) {
        training x = begin(VM_F32, false);
        vm_error e = { 0 };
        clip_terms want, got;
        int64_t n;
        EXPECT(!clip_batch_fill(&x.batch, x.source, 0, NULL, &e));
        float *a = gradients(&x, &x.batch, 0, &losses[l], &want, &n), temperature = x.m->t.logit_scale->grad[0];
        double norm = 0, off;
        for (int64_t i = 0; i < n; i++) norm += (double)(a[i] * a[i]);
        for (int64_t chunk = 4; chunk <= 7; chunk += 3) { /* four equal ones; 7, 7 and 2 */
            float *b = gradients(&x, &x.batch, chunk, &losses[l], &got, &n);
            off = 0;
            for (int64_t i = 0; i < n; i++) off += (double)((a[i] - b[i]) * (a[i] - b[i]));
            EXPECT_NEAR(got.loss, want.loss, 1e-6);
            EXPECT(sqrt(off / norm) < 1e-5 && norm > 1e-6);
            EXPECT_NEAR(x.m->t.logit_scale->grad[0], temperature, 1e-5 * fabs((double)temperature)); /* and not 4 times it */
            vm_free(b);
        }
        vm_free(a);
        end(&x);
    }
}
TEST(memory_is_known_before) { /* captions here are shorter than the context, so the estimate is the upper bound */
    training x = begin(VM_F32, false);
    vm_error e = { 0 };
    clip_terms terms;
    clip_memory m[2];
    clip_rows r = { 8, 8, 1, false, NULL, NULL };
    int64_t n;
    EXPECT(!clip_batch_fill(&x.batch, x.source, 0, NULL, &e));
    for (int way = 0; way < 2; way++) {
        vm_free(gradients(&x, &x.batch, way ? 4 : 0, &defaults.loss, &terms, &n));
        EXPECT(!clip_trainer_memory(x.t, &r, &m[way], &e));
        size_t used = clip_trainer_bytes(x.t), said = m[way].activations + m[way].loss;
        EXPECT(used <= said + 4096 && used > said / 3);
        EXPECT(m[way].weights == (size_t)n * 4 && m[way].moments == (size_t)n * 8 && m[way].gradients == (size_t)n * 4);
    }
    EXPECT(m[1].activations < m[0].activations / 2 && m[1].features > 0 && !m[0].features);
    end(&x);
}
TEST(chunks_need_less_memory) {
    training x = begin(VM_F32, false);
    vm_error e = { 0 };
    clip_terms terms;
    int64_t n;
    EXPECT(!clip_batch_fill(&x.batch, x.source, 0, NULL, &e));
    vm_free(gradients(&x, &x.batch, 0, &defaults.loss, &terms, &n));
    size_t whole = clip_trainer_bytes(x.t);
    vm_free(gradients(&x, &x.batch, 4, &defaults.loss, &terms, &n));
    EXPECT(clip_trainer_bytes(x.t) < whole / 2);
    end(&x);
}

/* --- groups ------------------------------------------------------------------------------------------------------ */
static const tower_groups all_learn = { .unlock_vision = -1, .unlock_text = -1, .lr_vision = 1, .lr_text = 1, .layer_decay = 1 };

static const vm_param *named(const clip_model *m, const char *name) {
    for (int64_t i = 0; i < m->w.n; i++)
        if (!strcmp(m->w.p[i]->name, name)) return m->w.p[i];
    MISMATCH("no parameter %s\n", name);
    return m->w.p[0];
}
/* Tensors and elements with and without weight decay, as open_clip's layout counts them. */
static void count_groups(const char *arch, const int64_t want[4]) {
    vm_error e = { 0 };
    clip_config c = clip_config_blank();
    clip_model *m = NULL;
    weight_map map = { 0 };
    int64_t got[4] = { 0 };
    if (clip_config_named(&c, arch, &e) || clip_new(&m, vm_backend_cpu(), &c, &e)) MISMATCH("%s\n", e.msg);
    clip_map(m, CLIP_OPEN, &map);
    for (int64_t i = 0; i < map.n; i++) {
        int64_t n = 1;
        if (i && !strcmp(map.t[i].name, map.t[i - 1].name)) continue;
        for (int k = 0; k < map.t[i].nd; k++) n *= map.t[i].ne[k];
        got[map.t[i].p->decay ? 2 : 0]++, got[map.t[i].p->decay ? 3 : 1] += n;
    }
    for (int k = 0; k < 4; k++) EXPECT(got[k] == want[k]);
    weight_map_free(&map);
    clip_free(m);
}
TEST(decay_groups_of_published_models) {
    count_groups("ViT-B-32-quickgelu", (int64_t[]){ 200, 204545, 102, 151072768 });
    count_groups("ViT-L-14-quickgelu", (int64_t[]){ 296, 445953, 150, 427170560 });
}
TEST(what_learns_and_how_fast) {
    training x = begin(VM_F32, false);
    vm_error e = { 0 };
    tower_groups c = all_learn;
    c.layer_decay = 0.5, c.lr_text = 0.1, c.scale = true, c.unlock_vision = 1;
    EXPECT(!tower_groups_apply(&x.m->t, &c, &e));
    EXPECT(!named(x.m, "logit_scale")->trainable && !named(x.m, "vision.patch")->trainable && !named(x.m, "vision.0.fc1.weight")->trainable);
    EXPECT(named(x.m, "vision.1.fc1.weight")->trainable && named(x.m, "vision.post.weight")->trainable && named(x.m, "vision.proj")->trainable);
    const struct { const char *name; double rate; } rates[] = { { "text.token_embed", 0.0125 }, { "text.pos", 0.0125 }, { "text.0.fc1.weight", 0.025 },
                                                                 { "text.1.ln1.weight", 0.05 }, { "text.proj", 0.1 }, { "text.ln.bias", 0.1 },
                                                                 { "vision.1.fc1.weight", 0.5 }, { "vision.proj", 1 } };
    for (int k = 0; k < VM_LEN(rates); k++) EXPECT_NEAR(named(x.m, rates[k].name)->lr_scale, rates[k].rate, 1e-7);
    step(&x, 0, 1e-3); /* what is frozen has neither gradient nor moments */
    EXPECT(!named(x.m, "vision.0.fc1.weight")->grad && !named(x.m, "vision.patch")->m && !named(x.m, "logit_scale")->grad);
    EXPECT(named(x.m, "vision.1.q.weight")->m && named(x.m, "text.token_embed")->m);
    end(&x);
}
TEST(frozen_towers) { /* whole and in chunks: the other one learns the same */
    float *got[2];
    int64_t n = 0;
    for (int way = 0; way < 2; way++) {
        training x = begin(VM_F32, false);
        vm_error e = { 0 };
        clip_train_config tc = defaults;
        tower_groups c = all_learn;
        c.vision = true;
        tc.chunk = way ? 5 : 0;
        clip_trainer_free(x.t);
        EXPECT(!tower_groups_apply(&x.m->t, &c, &e) && !clip_trainer_new(&x.t, &x.m->t, &tc, &e));
        float before = ((float *)x.m->class_embed->data)[0];
        step(&x, 0, 1e-3);
        EXPECT(((float *)x.m->class_embed->data)[0] == before && !x.m->vision_proj->grad && x.m->text_proj->grad);
        n = vm_param_count(x.m->text_proj);
        memcpy(got[way] = vm_alloc((size_t)n * 4), x.m->text_proj->grad, (size_t)n * 4);
        end(&x);
    }
    for (int64_t i = 0; i < n; i++) EXPECT_NEAR(got[1][i], got[0][i], 1e-6);
    vm_free(got[0]), vm_free(got[1]);
}
TEST(groups_that_are_refused) {
    training x = begin(VM_F32, false);
    vm_error e = { 0 };
    tower_groups c = all_learn;
    c.unlock_text = 3;
    EXPECT(tower_groups_apply(&x.m->t, &c, &e) == VM_EUSAGE);
    EXPECT_STR(e.msg, "--unlock-last-text 3: the text tower has 2 layers");
    vm_error_clear(&e);
    c = all_learn, c.vision = c.text = c.scale = true;
    EXPECT(tower_groups_apply(&x.m->t, &c, &e) == VM_EUSAGE);
    EXPECT_STR(e.msg, "everything is frozen: nothing is left to learn");
    end(&x);
}

/* --- memory ------------------------------------------------------------------------------------------------------ */
static vm_status whole_life(vm_error *e) {
    clip_config c = { .text = { 8, 2, 2, 8 },
                      .vision = { 8, 2, 2, 8 },
                      .vocab = 12,
                      .context = 4,
                      .image_size = 4,
                      .patch = 2,
                      .embed = 4,
                      .text_act = VM_GELU,
                      .vision_act = VM_GELU,
                      .text_eps = 1e-5f,
                      .vision_eps = 1e-5f };
    clip_model *m = NULL;
    clip_trainer *t = NULL;
    float pixels[4 * 4 * 4 * 3] = { 0 };
    int32_t ids[16], at[4] = { 3, 3, 3, 3 }, mask[16];
    clip_batch b = { .n_orig = 2, .n_twins = 2, .T = 4, .pixels = pixels, .ids = ids, .at = at, .mask = mask };
    clip_step s;
    for (int i = 0; i < 16; i++) ids[i] = i % 12, mask[i] = 1, pixels[i * 7] = (float)i;
    if (!clip_new(&m, vm_backend_cpu(), &c, e)) m->t.recompute = true;
    if (m && !clip_init(m, 1, e) && !clip_trainer_new(&t, &m->t, &defaults, e))
        for (int k = 0; k < 2 && !e->status; k++) clip_trainer_step(t, &b, 1e-3, &s, e);
    clip_trainer_free(t);
    clip_free(m);
    return e->status;
}
TEST(any_allocation_may_fail) {
    vm_error e = { 0 };
    if (whole_life(&e)) MISMATCH("%s\n", e.msg);
    size_t used = vm_mem_used();
    int64_t n = 0;
    for (; n < 100000; n++) {
        vm_error_clear(&e);
        vm_mem_fail_after(n);
        vm_status st = whole_life(&e);
        vm_mem_fail_after(-1);
        EXPECT(vm_mem_used() == used); /* nothing leaks on any way out */
        if (!st) break;
        EXPECT(st == VM_EDEVICE);
        EXPECT_HAS(e.msg, "out of memory: ");
    }
    EXPECT(n > 300 && n < 100000);
    fprintf(stderr, "%lld allocations\n", (long long)n);
}

int main(int argc, char **argv) {
    snprintf(tmp, sizeof tmp, "%s/train.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    RUN(pairs_by_heart);
    RUN(resumed_runs_have_the_same_bits);
    RUN(steps_without_finite_numbers);
    RUN(steps_beyond_the_limits);
    RUN(learning_rates);
    RUN(schedules_and_shapes);
    RUN(chunks_have_the_gradients_of_the_whole);
    RUN(memory_is_known_before);
    RUN(chunks_need_less_memory);
    RUN(decay_groups_of_published_models);
    RUN(what_learns_and_how_fast);
    RUN(frozen_towers);
    RUN(groups_that_are_refused);
    RUN(any_allocation_may_fail);
    vm_error e = { 0 };
    dir_remove(tmp, &e);
    return test_end();
}
