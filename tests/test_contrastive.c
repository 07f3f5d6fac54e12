/* test_contrastive.c - the losses of all queries against all keys, with every gradient, against double loops: the
 * three targets, sigmoid, hidden and equal columns, sizes around the tiles of the device, gradients that add onto
 * others, one result of any number of threads. */
#include "tests/optest.h"

typedef struct {
    int M, N, E, target; /* target -1: sigmoid */
    int hide, pos, per_cell, twice; /* hide 1: some columns; 2: also rows, and equal numbers */
    double scale;
} shape;

typedef struct {
    const shape *s;
    const double *q, *k, *scale, *hide, *pos; /* pos: of sigmoid the bias */
    double loss, *dq, *dk, ds, *dpos;
} plain;

static bool is_self(const shape *s) { return s->target < 0 || s->target == VM_TARGET_SELF; }
static bool row_kept(const plain *p, int i) { return !is_self(p->s) || !p->hide || p->hide[i] >= 0; }
static bool visible(const plain *p, int i, int c) {
    if (!p->hide || (is_self(p->s) && c == i)) return true;
    return p->hide[c] >= 0 && !(is_self(p->s) && p->hide[c] == p->hide[i]);
}
static double dot(const plain *p, int i, int c) {
    double sum = 0;
    for (int e = 0; e < p->s->E; e++) sum += p->q[i * p->s->E + e] * p->k[c * p->s->E + e];
    return sum;
}
/* adds G, the gradient of logit (i,c) */
static void spread(plain *p, int i, int c, double G) {
    int E = p->s->E;
    p->ds += G * dot(p, i, c);
    for (int e = 0; e < E; e++) {
        p->dq[i * E + e] += G * *p->scale * p->k[c * E + e];
        p->dk[c * E + e] += G * *p->scale * p->q[i * E + e];
    }
}

static void softmax_loss(plain *p) {
    const shape *s = p->s;
    int rows = 0;
    for (int i = 0; i < s->M; i++) rows += row_kept(p, i);
    for (int i = 0; i < s->M; i++) {
        if (!row_kept(p, i)) continue;
        int t = is_self(s) ? i : 0;
        double most = p->pos ? *p->scale * p->pos[i] : -INFINITY, sum = 0;
        for (int c = 0; c < s->N; c++)
            if (visible(p, i, c)) most = fmax(most, *p->scale * dot(p, i, c));
        for (int c = 0; c < s->N; c++)
            if (visible(p, i, c)) sum += exp(*p->scale * dot(p, i, c) - most);
        if (p->pos) sum += exp(*p->scale * p->pos[i] - most);
        double lse = most + log(sum), at = s->target == VM_TARGET_POSITIVE ? p->pos[i] : dot(p, i, t);
        p->loss += (lse - *p->scale * at) / rows;
        for (int c = 0; c < s->N; c++) {
            bool right = c == t && s->target != VM_TARGET_POSITIVE;
            if (visible(p, i, c)) spread(p, i, c, (exp(*p->scale * dot(p, i, c) - lse) - right) / rows);
        }
        if (!p->pos) continue;
        double G = (exp(*p->scale * p->pos[i] - lse) - (s->target == VM_TARGET_POSITIVE)) / rows;
        p->ds += G * p->pos[i], p->dpos[i] += G * *p->scale;
    }
}

static void sigmoid_loss(plain *p) {
    const shape *s = p->s;
    double count = 0;
    for (int i = 0; i < s->M; i++)
        for (int c = 0; c < s->N && row_kept(p, i); c++) count += s->per_cell ? visible(p, i, c) : c == 0;
    for (int i = 0; i < s->M; i++)
        for (int c = 0; c < s->N && row_kept(p, i); c++) {
            double y = c == i ? 1 : -1, x = *p->scale * dot(p, i, c) + *p->pos, G = -y / (1 + exp(y * x)) / count;
            if (!visible(p, i, c)) continue;
            p->loss += log1p(exp(-y * x)) / count;
            spread(p, i, c, G);
            *p->dpos += G;
        }
}

/* want holds n gradients; terms that cancel are as large as `size` */
static void near(const op_case *c, const char *what, vm_val v, const double *want, double size) {
    for (int64_t i = 0; i < vm_count(c->g, v); i++) size = fmax(size, fabs(want[i]));
    for (int64_t i = 0; i < vm_count(c->g, v); i++) {
        double got = op_get(c, v, i);
        test_checks++;
        if (!(fabs(got - want[i]) <= 2e-5 * size))
            MISMATCH("%s at level %d: [%lld] = %.9g, want %.9g (scale %.3g)\n", what, c->level, (long long)i, got,
                     want[i], size);
    }
}

static void check(shape s) {
    op_case c = op_begin(VM_F32);
    bool sigmoid = s.target < 0;
    vm_val q = op_input(&c, VM_F32, 2, (int64_t[]){ s.M, s.E }, -1, 1),
           k = op_input(&c, VM_F32, 2, (int64_t[]){ s.N, s.E }, -1, 1);
    vm_val scale = op_input(&c, VM_F32, 1, (int64_t[]){ 1 }, s.scale, s.scale), hide = 0, pos = 0;
    if (s.pos || sigmoid) pos = op_input(&c, VM_F32, 1, (int64_t[]){ sigmoid ? 1 : s.M }, -1, 1);
    plain p = { .s = &s, .q = c.x[0], .k = c.x[1], .scale = c.x[2], .pos = pos ? c.x[3] : NULL };
    if (s.hide) {
        hide = op_input(&c, VM_I32, 1, (int64_t[]){ s.N }, 0, 1);
        p.hide = c.x[c.n_x - 1];
        for (int i = 0; i < s.N; i++)
            op_put(&c, c.n_x - 1, i, i % 5 == 3 && (s.hide > 1 || i >= s.M) ? -1 : s.hide > 1 ? i % 11 : i);
    }
    vm_val loss = sigmoid ? vm_pair_sigmoid(c.g, q, k, scale, pos, hide, s.per_cell)
                          : vm_contrastive(c.g, q, k, scale, hide, pos, (vm_target)s.target);
    vm_val wrt[4] = { q, k, scale, pos }, outs[5] = { loss },
           seeds[5] = { op_input(&c, VM_F32, 1, (int64_t[]){ 1 }, 1, 1) };
    int n = pos ? 4 : 3, n_out = 1;
    static const char *const name[] = { "dq", "dk", "ds", "dpos" };
    double *want[4], seed = 0.25; /* what a second use adds */
    for (int i = 0; i < n; i++) {
        want[i] = vm_calloc((size_t)vm_count(c.g, wrt[i]) + 1, sizeof(double));
        if (!s.twice || (sigmoid && (i == 1 || i == 2))) continue; /* a case has at most 8 inputs */
        vm_value v = c.g->v[wrt[i]];
        outs[n_out] = wrt[i], seeds[n_out++] = op_input(&c, VM_F32, v.nd, v.ne, seed, seed);
        for (int64_t j = 0; j < vm_count(c.g, wrt[i]); j++) want[i][j] = seed;
    }
    p.dq = want[0], p.dk = want[1], p.ds = want[2][0], p.dpos = pos ? want[3] : NULL;
    if (sigmoid) sigmoid_loss(&p);
    else softmax_loss(&p);
    want[2][0] = p.ds;
    vm_output(c.g, "loss", loss);
    vm_backward(c.g, n_out, outs, seeds, n, wrt);
    for (int i = 0; i < n; i++) vm_output(c.g, name[i], vm_grad(c.g, wrt[i]));
    OP_LEVELS(&c) {
        EXPECT_NEAR(op_get(&c, loss, 0), p.loss, 2e-5 * fmax(fabs(p.loss), 0.01));
        for (int i = 0; i < n; i++) near(&c, name[i], vm_grad(c.g, wrt[i]), want[i], i == 2 ? 0.1 : 0.01 * s.scale);
    }
    void *bits[5] = { 0 };
    for (int threads = 1; threads <= 3; threads += 2) {
        vm_threads(threads);
        op_run(&c);
        op_same(&c, loss, &bits[4]);
        for (int i = 0; i < n; i++) op_same(&c, vm_grad(c.g, wrt[i]), &bits[i]);
    }
    vm_threads(0);
    for (int i = 0; i < 5; i++) vm_free(bits[i]);
    for (int i = 0; i < n; i++) vm_free(want[i]);
    op_end(&c);
}

TEST(targets) {
    for (int pos = 0; pos < 2; pos++) {
        check((shape){ 65, 65, 16, VM_TARGET_SELF, .pos = pos, .scale = 3 });
        check((shape){ 63, 130, 17, VM_TARGET_SELF, .hide = 1, .pos = pos, .scale = 5 });
        check((shape){ 40, 70, 15, VM_TARGET_SELF, .hide = 2, .pos = pos, .scale = 4 });
        check((shape){ 17, 64, 65, VM_TARGET_FIRST, .pos = pos, .scale = 1 });
        check((shape){ 64, 15, 1, VM_TARGET_FIRST, .hide = 1, .pos = pos, .scale = 2 });
    }
    check((shape){ 33, 66, 20, VM_TARGET_POSITIVE, .pos = 1, .scale = 6 });
    check((shape){ 5, 31, 64, VM_TARGET_POSITIVE, .hide = 2, .pos = 1, .scale = 2 });
    check((shape){ 1, 1, 7, VM_TARGET_SELF, .scale = 9 });
}
TEST(sigmoid) {
    for (int per_cell = 0; per_cell < 2; per_cell++) {
        check((shape){ 65, 65, 18, -1, .per_cell = per_cell, .scale = 3 });
        check((shape){ 30, 67, 33, -1, .hide = 2, .per_cell = per_cell, .scale = 2 });
        check((shape){ 1, 3, 4, -1, .hide = 1, .per_cell = per_cell, .scale = 2 });
    }
}
TEST(several_parts) { /* of the keys */
    check((shape){ 9, 300, 12, VM_TARGET_SELF, .scale = 10 });
    check((shape){ 3, 500, 5, VM_TARGET_FIRST, .hide = 2, .scale = 10 });
}
TEST(second_use) {
    check((shape){ 20, 25, 30, VM_TARGET_SELF, .hide = 2, .scale = 2, .twice = 1 });
    check((shape){ 12, 25, 30, -1, .hide = 2, .scale = 2, .twice = 1 });
}
TEST(empty) {
    check((shape){ 0, 5, 4, VM_TARGET_SELF, .scale = 2 });
    check((shape){ 3, 0, 4, VM_TARGET_POSITIVE, .pos = 1, .scale = 2 });
    check((shape){ 0, 2, 4, -1, .scale = 2 });
}
/* scale 100: the loss of a row that is right is far smaller than its logits */
TEST(small_loss_keeps_its_digits) {
    op_case c = op_begin(VM_F32);
    vm_val q = op_input(&c, VM_F32, 2, (int64_t[]){ 1, 2 }, 0, 0),
           k = op_input(&c, VM_F32, 2, (int64_t[]){ 2, 2 }, 0, 0),
           s = op_input(&c, VM_F32, 1, (int64_t[]){ 1 }, 100, 100);
    op_put(&c, 0, 0, 1), op_put(&c, 1, 0, 1), op_put(&c, 1, 2, 0.9), op_put(&c, 1, 3, 0.4);
    vm_val loss = vm_contrastive(c.g, q, k, s, 0, 0, VM_TARGET_SELF);
    vm_output(c.g, "loss", loss);
    double want = log1p(exp(100 * (c.x[1][2] - 1)));
    OP_LEVELS(&c) EXPECT_NEAR(op_get(&c, loss, 0), want, 2e-3 * want);
    op_end(&c);
}

int main(void) {
    RUN(targets);
    RUN(sigmoid);
    RUN(several_parts);
    RUN(second_use);
    RUN(empty);
    RUN(small_loss_keeps_its_digits);
    return test_end();
}
