/* test_train_detect.c - what a detector learns from: samples and what is done to them, batches, denoising queries, gradients of the whole loss. */
#include <unistd.h>

#include "models/gdino_train.h"
#include "models/scene.h"
#include "pipeline/detect_data.h"
#include "tests/test.h"

static char dir[64]; /* of the small model */

/* --- samples -------------------------------------------------------------------------------------------------------- */
static detect_sample sample_of(int w, int h) {
    detect_sample s = { 0 };
    vm_error e = { 0 };
    EXPECT(!image_new(&s.rgb, w, h, 3, &e));
    for (int i = 0; i < w * h; i++) s.rgb.px[3 * i] = (uint8_t)(i % w), s.rgb.px[3 * i + 1] = (uint8_t)(i / w), s.rgb.px[3 * i + 2] = 0;
    return s;
}

TEST(flips) {
    const detect_augment always = { .flip = 1 };
    for (int sides = 0; sides < 3; sides++) { /* never where a phrase says left or right */
        detect_sample s = sample_of(20, 10);
        vm_error e = { 0 };
        const char *const text = sides == 0 ? "a bright cup" : sides == 1 ? "cup on the left" : "right hand";
        EXPECT(!detect_sample_ask(&s, text, &e) && !detect_sample_add(&s, 0, (float[]){ 2, 1, 5, 4 }, &e));
        EXPECT(!detect_augment_sample(&s, &always, 1, 2, 3, &e));
        EXPECT(s.rgb.px[0] == (sides ? 0 : 19) && s.rgb.px[3 * 19] == (sides ? 19 : 0));
        EXPECT(s.box[0] == (sides ? 2 : 15) && s.box[2] == (sides ? 5 : 18) && s.box[1] == 1 && s.box[3] == 4);
        detect_sample_free(&s);
    }
}

TEST(crops) { /* pixels tell where a part was taken */
    const detect_augment always = { .crop = 1 };
    int whole = 0, gone = 0;
    for (uint64_t i = 0; i < 200; i++) {
        detect_sample s = sample_of(50, 40);
        vm_error e = { 0 };
        const float boxes[2][4] = { { 3, 4, 13, 16 }, { 36, 20, 48, 36 } };
        EXPECT(!detect_sample_ask(&s, "a cup", &e) && !detect_sample_ask(&s, "a dog", &e));
        for (int k = 0; k < 2; k++) EXPECT(!detect_sample_add(&s, k, boxes[k], &e));
        EXPECT(!detect_augment_sample(&s, &always, 7, i, 0, &e) && s.rgb.w >= 30 && s.rgb.h >= 24 && s.n >= 1 && s.phrases == 2);
        const float x = s.rgb.px[0], y = s.rgb.px[1];
        EXPECT(x + (float)s.rgb.w <= 50 && y + (float)s.rgb.h <= 40);
        for (int64_t n = 0; n < s.n; n++) {
            const int was = !strcmp(s.phrase[s.label[n]], "a dog");
            const float *b = s.box + 4 * n, *w = boxes[was];
            for (int k = 0; k < 4; k++) EXPECT(b[k] == fminf(fmaxf(w[k] - (k % 2 ? y : x), 0), (float)(k % 2 ? s.rgb.h : s.rgb.w)));
            EXPECT(b[2] - b[0] >= (w[2] - w[0]) / 2 - 1 && b[3] - b[1] >= (w[3] - w[1]) / 2 - 1);
        }
        whole += s.rgb.w > 45, gone += s.n == 1;
        detect_sample_free(&s);
    }
    EXPECT(whole > 10 && gone > 20);
}

/* --- batches -------------------------------------------------------------------------------------------------------- */
static void open_small(gdino **m, tok **t, vm_preprocess *pp, vm_error *e) {
    if (!detect_world_model(dir, e) && !gdino_fresh(m, vm_backend_cpu(), dir, 3, e) && !tok_open(t, dir, e)) preprocess_load(pp, dir, e);
    if (e->status) MISMATCH("%s\n", e->msg);
}

TEST(batches_of_the_world) {
    gdino *m = NULL;
    tok *t = NULL;
    vm_preprocess pp;
    detect_source *s = NULL;
    detect_batch a, b;
    detect_augment none = { 0 };
    vm_error e = { 0 };
    open_small(&m, &t, &pp, &e);
    EXPECT(m->c.queries == 16 && weight_count(&m->w) > 1000000 && weight_count(&m->w) < 1500000);
    EXPECT(!detect_source_world(&s, 6, 18, &e));
    s->batch = 6, s->seed = 4;
    int64_t most = 0;
    for (int64_t step = 0; step < 40; step += 13) { /* 0: one object; 13: two; then all */
        EXPECT(!detect_batch_make(&a, s, &none, &pp, t, 16, step, &e) && !detect_batch_make(&b, s, &none, &pp, t, 16, step, &e));
        EXPECT(a.b.B == 6 && a.b.H == 128 && a.b.W == 128 && !a.b.real && (a.b.T == 8 || a.b.T == 16) && a.b.mask);
        EXPECT(!memcmp(a.b.pixels, b.b.pixels, sizeof(float) * 6 * 128 * 128 * 3) && !memcmp(a.b.ids, b.b.ids, sizeof(int32_t) * 6 * (size_t)a.b.T));
        for (int k = 0; k < 6; k++) {
            int32_t label[16];
            const int64_t phrases = gdino_labels(a.b.ids + k * a.b.T, a.b.T, label);
            EXPECT(a.b.ids[k * a.b.T] == 101 && phrases >= 1 && phrases <= 3 && a.target[k].n >= 1 && a.sample[k] == b.sample[k]);
            for (int64_t i = 0; i < a.target[k].n; i++) {
                const float *box = a.target[k].box + 4 * i;
                EXPECT(a.target[k].label[i] < phrases && box[2] > 0.1f && box[2] < 0.5f && box[0] - box[2] / 2 >= 0 && box[1] + box[3] / 2 <= 1);
            }
            if (step < 6) EXPECT(a.target[k].n == 1);
            most = VM_MAX(most, a.target[k].n);
        }
        detect_batch_free(&a), detect_batch_free(&b);
    }
    EXPECT(most > 1);
    s->free(s), tok_free(t), gdino_free(m);
}

/* Two phrases too many for the text, of which the absent one goes; pictures of two sizes. */
static vm_status two_sizes(const detect_source *s, int64_t step, int64_t slot, detect_sample *out, clip_bad_list *bad, vm_error *e) {
    *out = sample_of(slot ? 60 : 64, slot ? 64 : 60);
    const char *const phrases[] = { "small red striped ball", "large blue dotted moon", "small white striped cup" };
    for (int k = 0; k < 3; k++)
        if (detect_sample_ask(out, phrases[k], e)) return e->status;
    return detect_sample_add(out, 0, (float[]){ 1, 2, 21, 32 }, e) || detect_sample_add(out, 2, (float[]){ 10, 10, 20, 20 }, e) ? e->status : VM_OK;
}

TEST(batches_of_two_sizes) {
    gdino *m = NULL;
    tok *t = NULL;
    vm_preprocess pp;
    detect_batch b;
    detect_source s = { .batch = 2, .sample = two_sizes, .seed = 9 };
    const int scales[] = { 64 };
    vm_error e = { 0 };
    open_small(&m, &t, &pp, &e);
    EXPECT(!detect_batch_make(&b, &s, &(detect_augment){ .scales = scales, .n_scales = 1 }, &pp, t, 16, 0, &e));
    EXPECT(b.b.H == 68 && b.b.W == 68 && b.b.real && b.b.T == 16);
    for (int k = 0; k < 2; k++) {
        int32_t label[16];
        EXPECT(gdino_labels(b.b.ids + 16 * k, 16, label) == 2 && b.target[k].n == 2 && b.target[k].label[0] != b.target[k].label[1]);
        EXPECT(b.b.real[k * 68 * 68 + 67 * 68 + 63] == (k == 1) && b.b.real[k * 68 * 68 + 63 * 68 + 67] == (k == 0));
        EXPECT_NEAR((double)b.target[k].box[0], 11. / (k ? 60 : 64), 1e-6);
        EXPECT_NEAR((double)b.target[k].box[3], 30. / (k ? 64 : 60), 1e-6);
    }
    detect_batch_free(&b);
    EXPECT(detect_batch_make(&b, &s, &(detect_augment){ 0 }, &pp, t, 5, 0, &e));
    EXPECT_HAS(e.msg, "is longer than the model reads");
    detect_batch_free(&b), tok_free(t), gdino_free(m);
}

/* --- the network in training ---------------------------------------------------------------------------------------- */
typedef struct {
    vm_graph *g;
    gdino_loss l;
    gdino_batch b;
} net;

static void build(net *out, const gdino *m, const detect_batch *x, const gdino_denoise *noise, bool backward, vm_error *e) {
    net n = { .b = x->b };
    gdino_out o;
    n.b.noised = gdino_denoise_count(noise, 8);
    n.g = vm_graph_new(m->w.be, VM_F32);
    n.g->training = true, n.g->seed = 5, n.g->step = 1;
    gdino_forward(n.g, m, &n.b, true, &o);
    o.first_logits = o.pick_logits, o.first_boxes = o.pick_boxes;
    vm_val loss = gdino_loss_of(n.g, m, &n.b, &o, 8, &out->l);
    if (n.b.noised) loss = vm_binary(n.g, loss, gdino_denoise_loss(n.g, m, &n.b, &o, 8), VM_ADD);
    vm_output(n.g, "sum", loss), vm_output(n.g, "logits", o.logits[m->c.dec_layers - 1]), vm_output(n.g, "boxes", o.boxes[m->c.dec_layers - 1]);
    if (backward) vm_backward(n.g, 1, &loss, NULL, 0, NULL);
    if (vm_plan(n.g)) *e = n.g->err;
    out->g = n.g, out->b = n.b;
}

static double run_net(net *n, const gdino *m, const detect_batch *x, const gdino_denoise *noise, vm_error *e) {
    vm_real sum = NAN;
    if (e->status || gdino_fill(n->g, m, &n->b, e) || gdino_loss_fill(n->g, &n->b, x->target, &n->l, e)) return NAN;
    if (n->b.noised && gdino_denoise_fill(n->g, m, &n->b, x->target, 8, noise, 11, 1, e)) return NAN;
    if (vm_run(n->g) || vm_get(n->g, "sum", &sum)) *e = n->g->err;
    return (double)sum;
}

typedef struct {
    gdino *m;
    tok *t;
    vm_preprocess pp;
    detect_source *s;
    detect_batch x;
} setting;

static setting set_up(vm_error *e) {
    setting y = { 0 };
    open_small(&y.m, &y.t, &y.pp, e);
    for (int64_t i = 0; i < y.m->w.n; i++) /* as after a while: nothing is exactly zero */
        if (vm_param_count(y.m->w.p[i]) > 1 && y.m->w.p[i]->nd == 2 && ((vm_real *)y.m->w.p[i]->data)[0] == 0) weight_normal(y.m->w.p[i], 8, (uint64_t)i, 0.02, e);
    EXPECT(!detect_source_world(&y.s, 0, 0, e));
    y.s->batch = 2, y.s->seed = 2;
    EXPECT(!detect_batch_make(&y.x, y.s, &(detect_augment){ 0 }, &y.pp, y.t, 16, 5, e));
    if (e->status) MISMATCH("%s\n", e->msg);
    return y;
}

static void tear_down(setting *y) { detect_batch_free(&y->x), y->s->free(y->s), tok_free(y->t), gdino_free(y->m); }

TEST(own_queries_do_not_see_noised_ones) {
    vm_error e = { 0 };
    setting y = set_up(&e);
    const gdino_denoise none = { 0 }, some = { 40, 1, 0.5 };
    EXPECT(gdino_denoise_count(&some, 8) == 32 && gdino_denoise_count(&some, 3) == 36 && gdino_denoise_count(&some, 30) == 60 && !gdino_denoise_count(&none, 8));
    net a, b;
    build(&a, y.m, &y.x, &none, false, &e), build(&b, y.m, &y.x, &some, false, &e);
    const double plain = run_net(&a, y.m, &y.x, &none, &e), more = run_net(&b, y.m, &y.x, &some, &e);
    EXPECT(!e.status && more > plain + 0.1);
    const int64_t n = 2 * y.m->c.queries * y.x.b.T;
    vm_real *p = vm_alloc((size_t)n * sizeof *p), *q = vm_alloc((size_t)n * sizeof *q);
    EXPECT(!vm_get(a.g, "logits", p) && !vm_get(b.g, "logits", q));
    for (int64_t i = 0; i < n; i++) EXPECT(p[i] == q[i] || fabs((double)(p[i] - q[i])) < 2e-3);
    EXPECT(!vm_get(a.g, "boxes", p) && !vm_get(b.g, "boxes", q));
    for (int64_t i = 0; i < 2 * y.m->c.queries * 4; i++) EXPECT_NEAR((double)p[i], (double)q[i], 1e-4);
    vm_free(p), vm_free(q), vm_graph_free(a.g), vm_graph_free(b.g), tear_down(&y);
}

/* Along the gradient the loss changes by its length: all parts at once, dropout and noise being the same at both ends. */
TEST(gradient_of_the_whole_loss) {
    vm_error e = { 0 };
    setting y = set_up(&e);
    const gdino_denoise noise = { 32, 1, 0.25 };
    EXPECT(!weight_fill(y.m->pick_norm.w, 0.1, &e) && !weight_fill(y.m->dec_norm.w, 0.1, &e)); /* no part of the loss is so large that it hides the others */
    y.m->drop = (gdino_drop){ 0.1f, 0.1f }, y.m->swin.drop_path = 0.1f;
    net n;
    build(&n, y.m, &y.x, &noise, true, &e);
    run_net(&n, y.m, &y.x, &noise, &e);
    double square = 0, side[2];
    const char *still = NULL;
    for (int64_t i = 0; i < y.m->w.n; i++) {
        const vm_param *p = y.m->w.p[i];
        double own = 0;
        for (int64_t k = 0; k < vm_param_count(p) && p->grad; k++) own += (double)p->grad[k] * (double)p->grad[k];
        if (own == 0 && !strstr(p->name, "key.bias") && !strstr(p->name, "text_proj.bias") && !strstr(p->name, "vision_proj.bias")) still = p->name;
        square += own;
    }
    if (still) MISMATCH("%s has no gradient\n", still); /* what queries are chosen by learns, too */
    const double step = 0.1 / square; /* the loss changes by so much */
    for (int s = 0; s < 2; s++) {
        for (int64_t i = 0; i < y.m->w.n; i++) {
            vm_param *p = y.m->w.p[i];
            for (int64_t k = 0; k < vm_param_count(p) && p->grad; k++) ((vm_real *)p->data)[k] += (vm_real)((s ? -2 : 1) * step) * p->grad[k];
            vm_param_touch(p);
        }
        net at;
        build(&at, y.m, &y.x, &noise, false, &e);
        side[s] = run_net(&at, y.m, &y.x, &noise, &e);
        vm_graph_free(at.g);
    }
    EXPECT(!e.status);
    EXPECT_NEAR((side[0] - side[1]) / (2 * step * square), 1, 0.05);
    vm_graph_free(n.g), tear_down(&y);
}

TEST(dropout_is_a_function_of_the_step) {
    vm_error e = { 0 };
    setting y = set_up(&e);
    const gdino_denoise none = { 0 };
    net plain;
    build(&plain, y.m, &y.x, &none, false, &e);
    const double without = run_net(&plain, y.m, &y.x, &none, &e);
    y.m->drop = (gdino_drop){ 0.2f, 0 };
    net n;
    build(&n, y.m, &y.x, &none, false, &e);
    const double one = run_net(&n, y.m, &y.x, &none, &e), again = run_net(&n, y.m, &y.x, &none, &e);
    n.g->step = 2;
    const double two = run_net(&n, y.m, &y.x, &none, &e);
    EXPECT(!e.status && one == again && one != two && one != without);
    y.m->drop = (gdino_drop){ 0 }, y.m->swin.drop_path = 0.5f;
    net path;
    build(&path, y.m, &y.x, &none, false, &e);
    EXPECT(run_net(&path, y.m, &y.x, &none, &e) != without);
    vm_graph_free(plain.g), vm_graph_free(n.g), vm_graph_free(path.g), tear_down(&y);
}

int main(void) {
    snprintf(dir, sizeof dir, "build/test_train_detect.%d", (int)getpid());
    RUN(flips);
    RUN(crops);
    RUN(batches_of_the_world);
    RUN(batches_of_two_sizes);
    RUN(own_queries_do_not_see_noised_ones);
    RUN(gradient_of_the_whole_loss);
    RUN(dropout_is_a_function_of_the_step);
    vm_error e = { 0 };
    dir_remove(dir, &e);
    return test_end();
}
