/* test_attention.c - attention in float at every processor level and on devices against double loops: output, lse,
 * all gradients; every kind of mask; lengths and pages of caches, with NaN in what they leave out, pages that sequences share; long rows; rows
 * that see nothing; NaN; independence of threads; messages. */
#include "tests/optest.h"

typedef struct {
    int B, Tq, Tk, NH, NKV, HS; /* Tk 0 = packed, as many keys as queries */
    int causal, window, masked, biased;
    vm_type type;
    float range; /* of q and k: large ones make rows with one dominant key */
    int lengths, block, probe; /* lengths: NaN beyond them; pages of `block` tokens (no gradients); see leaks */
    float cap;
    int texts; /* of a row: every query has a first key */
    int shared; /* pages that most sequences have in common with number 1 */
} shape;

/* The call in plain loops on double; views of q, k, v as in attention.h but in doubles. */
typedef struct {
    const shape *s;
    int Tk;
    const double *q, *k, *v, *mask, *bias;
    const double *len, *first; /* or NULL */
    int64_t row_q, row_k, row_v;
    double *y, *lse, *dq, *dk, *dv, *dbias, *slope;
} plain;

static int64_t bias_at(const plain *p, int b, int h, int i, int j) {
    const shape *s = p->s;
    int heads = s->biased < 0 ? 1 : s->NH, hh = heads > 1 ? h : 0, bb = abs(s->biased) == 4 ? b : 0;
    return (((int64_t)bb * heads + hh) * s->Tq + i) * p->Tk + j;
}

static void plain_row(const plain *p, const double *dy, int b, int h, int i, double *w) {
    const shape *s = p->s;
    int kv = h / (s->NH / s->NKV), HS = s->HS, len = p->len ? (int)p->len[b] : p->Tk, off = len - s->Tq;
    double scale = 1 / sqrt(HS), cap = (double)s->cap, most = -INFINITY, sum = 0, d = 0;
    const double *q = p->q + ((int64_t)b * s->Tq + i) * p->row_q + h * HS;
    int64_t at = ((int64_t)b * s->Tq + i) * s->NH * HS + h * HS;
    for (int j = 0; j < len; j++) {
        const double *k = p->k + ((int64_t)b * p->Tk + j) * p->row_k + kv * HS;
        w[j] = 0;
        for (int c = 0; c < HS; c++) w[j] += q[c] * k[c] * scale;
        p->slope[j] = 1 - (cap > 0 ? pow(tanh(w[j] / cap), 2) : 0);
        if (cap > 0) w[j] = cap * tanh(w[j] / cap);
        if (p->bias) w[j] += p->bias[bias_at(p, b, h, i, j)];
        if ((s->causal && j > i + off) || (p->first && j < p->first[b * s->Tq + i]) || (s->window && j <= i + off - s->window) ||
            (p->mask && !p->mask[b * p->Tk + j]))
            w[j] = -INFINITY;
        most = fmax(most, w[j]);
    }
    for (int j = 0; j < len; j++) sum += w[j] = w[j] == -INFINITY ? 0 : exp(w[j] - most);
    p->lse[((int64_t)b * s->NH + h) * s->Tq + i] = sum > 0 ? most + log(sum) : -INFINITY;
    for (int c = 0; c < HS; c++) p->y[at + c] = 0;
    for (int j = 0; j < len; j++) {
        const double *v = p->v + ((int64_t)b * p->Tk + j) * p->row_v + kv * HS;
        if (sum > 0) w[j] /= sum;
        for (int c = 0; c < HS; c++) p->y[at + c] += w[j] * v[c];
    }
    for (int c = 0; c < HS; c++) d += p->y[at + c] * dy[at + c];
    for (int j = 0; j < len && !s->block; j++) {
        int64_t kj = ((int64_t)b * p->Tk + j) * p->row_k + kv * HS, vj = ((int64_t)b * p->Tk + j) * p->row_v + kv * HS;
        double dp = -d;
        for (int c = 0; c < HS; c++) dp += dy[at + c] * p->v[vj + c];
        for (int c = 0; c < HS; c++) {
            p->dv[vj + c] += w[j] * dy[at + c];
            p->dk[kj + c] += w[j] * dp * p->slope[j] * scale * q[c];
            p->dq[q - p->q + c] += w[j] * dp * p->slope[j] * scale * p->k[kj + c];
        }
        if (p->bias) p->dbias[bias_at(p, b, h, i, j)] += w[j] * dp;
    }
}

static double *zeros(int64_t n) { return vm_calloc((size_t)n + 1, sizeof(double)); }

/* Gradients relative to the largest of the tensor, at least `scale`: they are sums of terms that cancel. */
static void compare(const op_case *c, const char *what, vm_val v, const double *want, double tol, double scale) {
    for (int64_t i = 0; i < vm_count(c->g, v); i++) scale = fmax(scale, fabs(want[i]));
    for (int64_t i = 0; i < vm_count(c->g, v); i++) {
        double got = op_get(c, v, i);
        test_checks++;
        if (!(fabs(got - want[i]) <= tol * scale))
            MISMATCH("%s at level %d: [%lld] = %.9g, want %.9g (scale %.3g)\n", what, c->level, (long long)i, got,
                     want[i], scale);
    }
}

static double *zeros_of(const op_case *c, vm_val v) { return zeros(vm_count(c->g, v)); }

/* Input k of rows of C columns: row r of the cache is not there. */
static void no_row(op_case *c, int k, int64_t r, int64_t C) {
    for (int64_t i = 0; i < C; i++) op_put(c, k, r * C + i, NAN);
}

/* Lengths from none to all of the keys, NaN in the rows of inputs k and v beyond them. */
static vm_val lengths_of(op_case *c, const shape *s, int Tk, int k, int ck) {
    vm_val v = op_input(c, VM_I32, 1, (int64_t[]){ s->B }, 0, 1);
    for (int b = 0; b < s->B; b++) {
        int len = b == 0 && s->B > 2 ? 0 : Tk - b * (Tk / (s->B + 1));
        op_put(c, c->n_x - 1, b, len);
        for (int j = len; j < Tk && k >= 0 && !s->block; j++)
            no_row(c, k, (int64_t)b * Tk + j, ck), no_row(c, k + 1, (int64_t)b * Tk + j, ck);
    }
    return v;
}

/* Pages in a scattered order; what no sequence has, and what lies beyond lengths, is NaN. flat: k and v as
 * (B,Tk,ck). */
static vm_val pages_of(op_case *c, const shape *s, int Tk, int ck, const double *len, double *flat[2]) {
    int n = Tk / s->block, P = s->B * n + 2;
    vm_val v = op_input(c, VM_I32, 2, (int64_t[]){ s->B, n }, 0, 1);
    for (int p = 0; p < 2; p++)
        for (int r = 0; r < s->block; r++)
            for (int k = 1; k < 3; k++) no_row(c, k, (int64_t)(P - 1 - p) * s->block + r, ck);
    for (int i = 0; i < s->B * n; i++)
        op_put(c, c->n_x - 1, i, (i * 7 + 3) % (s->B * n)); /* 7 and B n have no common factor */
    for (int b = 2; b < s->B; b++)
        for (int p = 0; p < s->shared - b % 2 && b % 4 != 3; p++) op_put(c, c->n_x - 1, b * n + p, c->x[c->n_x - 1][n + p]);
    for (int b = 0; b < s->B; b++)
        for (int j = 0; j < Tk; j++) {
            int64_t page = (int64_t)c->x[c->n_x - 1][b * n + j / s->block], row = page * s->block + j % s->block;
            if (len && j >= len[b]) no_row(c, 1, row, ck), no_row(c, 2, row, ck);
            for (int k = 0; k < 2; k++)
                memcpy(flat[k] + ((int64_t)b * Tk + j) * ck, c->x[k + 1] + row * ck, (size_t)ck * sizeof(double));
        }
    for (int b = 0; b < s->B && len; b++)
        for (int p = ((int)len[b] + s->block - 1) / s->block; p < n; p++)
            op_put(c, c->n_x - 1, b * n + p, -1); /* never read */
    return v;
}

/* Texts of odd sizes side by side: where the text of each query begins, along Tk keys. The last one of a second row begins
 * behind all keys. */
static vm_val firsts_of(op_case *c, const shape *s, int Tk) {
    vm_val v = op_input(c, VM_I32, 2, (int64_t[]){ s->B, s->Tq }, 0, 1);
    for (int b = 0; b < s->B; b++)
        for (int i = 0, text = 0, begin = -b; i < s->Tq; i++) {
            if (i >= s->Tq * (2 * text + b + 1) / (2 * s->texts)) begin = VM_MAX(i + Tk - s->Tq, 0), text++;
            op_put(c, c->n_x - 1, b * s->Tq + i, b == 1 && i == s->Tq - 1 ? Tk + 3 : begin);
        }
    return v;
}

/* A leak probe: scores of all real keys are far below 0, growing (1) or falling (2) along the keys, so that what a
 * kernel admits wrongly, zeros of padding or the next key, takes all. */
static void make_probe(op_case *c, const shape *s, int Tk, int cq, int ck) {
    for (int64_t i = 0; i < (int64_t)s->B * s->Tq * cq; i++) op_put(c, 0, i, 2 + c->x[0][i]);
    for (int64_t r = 0; r < (int64_t)s->B * Tk; r++) {
        double along = (double)(r % Tk) / Tk;
        for (int i = 0; i < ck; i++)
            op_put(c, 1, r * ck + i, -3 - 8 * (s->probe == 1 ? 1 - along : along) + 0.1 * c->x[1][r * ck + i]);
    }
}

static void check(shape s) {
    op_case c = op_begin(s.type);
    bool packed = s.Tk == 0;
    int Tk = packed ? s.Tq : s.Tk, cq = s.NH * s.HS, ck = s.NKV * s.HS, n = packed ? 1 : 3;
    double range = s.range ? (double)s.range : 1;
    vm_attn a = { .NH = s.NH, .NKV = s.NKV, .causal = s.causal, .window = s.window, .softcap = s.cap };
    plain p = { .s = &s, .Tk = Tk, .row_q = cq, .row_k = ck, .row_v = ck };
    vm_val in[5];
    c.g->training = true;
    if (packed) in[0] = op_input(&c, s.type, 3, (int64_t[]){ s.B, s.Tq, cq + 2 * ck }, -range, range);
    for (int k = 0; k < 3 && !packed; k++)
        in[k] = k && s.block
                    ? op_input(&c, s.type, 3, (int64_t[]){ s.B * (Tk / s.block) + 2, s.block, ck }, -range, range)
                    : op_input(&c, s.type, 3, (int64_t[]){ s.B, k ? Tk : s.Tq, k ? ck : cq }, -range, range);
    if (s.probe) make_probe(&c, &s, Tk, cq, ck);
    vm_val dy = op_input(&c, s.type, 3, (int64_t[]){ s.B, s.Tq, cq }, -1, 1);
    if (s.masked) {
        a.key_mask = op_input(&c, VM_I32, 2, (int64_t[]){ s.B, Tk }, -0.9, 1.9);
        p.mask = c.x[c.n_x - 1];
        for (int j = 0; j < Tk && s.B > 1; j++) op_put(&c, c.n_x - 1, j, 0); /* the first batch sees nothing */
    }
    if (s.biased) {
        int64_t ne[4] = { s.B, s.biased < 0 ? 1 : s.NH, s.Tq, Tk };
        int nd = abs(s.biased);
        in[n] = a.bias = op_input(&c, VM_F32, nd, ne + 4 - nd, -1, 1);
        p.bias = c.x[c.n_x - 1];
    }
    double *flat[2] = { zeros((int64_t)s.B * Tk * ck), zeros((int64_t)s.B * Tk * ck) };
    if (s.lengths) {
        a.lengths = lengths_of(&c, &s, Tk, packed ? -1 : 1, ck);
        p.len = c.x[c.n_x - 1];
    }
    if (s.texts) {
        a.first = firsts_of(&c, &s, Tk);
        p.first = c.x[c.n_x - 1];
    }
    if (s.block) a.pages = pages_of(&c, &s, Tk, ck, p.len, flat);
    int wanted = s.block ? 0 : n + (s.biased != 0);
    vm_val y = packed ? vm_attention_packed(c.g, in[0], a) : vm_attention(c.g, in[0], in[1], in[2], a), lse = y + 1;
    if (wanted) vm_backward(c.g, 1, &y, &dy, wanted, in);
    vm_output(c.g, "y", y);
    vm_output(c.g, "lse", lse);
    for (int k = 0; k < wanted; k++)
        vm_output(c.g, (const char *[]){ "g0", "g1", "g2", "g3" }[k], vm_grad(c.g, in[k]));

    double *grad[4] = { 0 }, *w = zeros(Tk);
    for (int k = 0; k < wanted; k++) grad[k] = zeros_of(&c, in[k]);
    p.y = zeros_of(&c, y), p.lse = zeros_of(&c, lse), p.slope = zeros(Tk), p.dbias = grad[n];
    p.q = c.x[0];
    p.k = packed ? p.q + cq : s.block ? flat[0] : c.x[1];
    p.v = packed ? p.k + ck : s.block ? flat[1] : c.x[2];
    p.dq = grad[0], p.dk = packed ? p.dq + cq : grad[1], p.dv = packed ? p.dk + ck : grad[2];
    if (packed) p.row_q = p.row_k = p.row_v = cq + 2 * ck;
    for (int b = 0; b < s.B; b++)
        for (int h = 0; h < s.NH; h++)
            for (int i = 0; i < s.Tq; i++) plain_row(&p, c.x[n], b, h, i, w);

    /* f32: sums of up to thousands of products. bf16: inputs are equal on both sides; Y and gradients are rounded to
     * 8 bits, and so are P and dS where products are taken in bf16 */
    bool rounds = op_on_device() && s.type != VM_F32; /* on tensor cores narrow heads round as well */
    double least = s.probe ? 4 : rounds ? 0.1 : 0.01;
    double tol = s.type == VM_F32 ? 2e-5 : s.type == VM_F16 ? 0x1p-9 : 0x1p-7;
    OP_LEVELS(&c) {
        op_near(&c, "y", y, p.y, VM_MAX(s.HS, 1), tol);
        op_near(&c, "lse", lse, p.lse, VM_MAX(s.Tq, 1), 2e-5);
        for (int k = 0; k < n && wanted; k++)
            compare(&c, packed ? "dqkv" : k == 0 ? "dq" : k == 1 ? "dk" : "dv", vm_grad(c.g, in[k]), grad[k], tol,
                    least);
        if (s.biased && wanted) compare(&c, "dbias", vm_grad(c.g, in[n]), grad[n], tol, least);
    }
    /* the same bits from one thread and from three; what a device does is in no way left to chance, and its lanes
     * change the order */
    vm_val kept[6] = { y, lse };
    int n_kept = 2;
    for (int k = 0; k < wanted; k++) kept[n_kept++] = vm_grad(c.g, in[k]);
    void *bits[6] = { 0 };
    for (int threads = 1; threads <= 3 && !op_on_device(); threads += 2) {
        vm_threads(threads);
        op_run(&c);
        for (int k = 0; k < n_kept; k++) op_same(&c, kept[k], &bits[k]);
    }
    vm_threads(0);
    for (int k = 0; k < n_kept; k++) vm_free(bits[k]);
    for (int k = 0; k < 4; k++) vm_free(grad[k]);
    vm_free(w), vm_free(p.y), vm_free(p.lse), vm_free(p.slope), vm_free(flat[0]), vm_free(flat[1]);
    op_end(&c);
}
static bool also_f16; /* on devices, whose f16 kernels are those of bf16 but for the type: some tests do */
static void check_types(shape s) {
    s.type = VM_F32, check(s);
    s.type = VM_BF16, check(s);
    if (!op_on_device() || also_f16) s.type = VM_F16, check(s);
}

TEST(clip_shapes) {
    check_types((shape){ 2, 50, 0, 3, 3, 64, .causal = 0 });
    check_types((shape){ 2, 77, 0, 2, 2, 64, .causal = 1 });
    check_types((shape){ 2, 77, 0, 2, 2, 64, .causal = 1, .masked = 1 });
}
TEST(odd_sizes) {
    static const int heads[] = { 1, 2, 3, 7, 16, 17, 40, 72, 80, 129, 256 };
    for (int k = 0; k < VM_LEN(heads); k++)
        check_types((shape){ 1, 5 + k, 3 + 2 * k, 2, 1, heads[k], .causal = k % 2 });
    for (int T = 1; T < 40; T++) check_types((shape){ 1, T, 0, 1, 1, 10, .causal = T % 2 });
}
TEST(masks) {
    check_types((shape){ 2, 33, 0, 4, 2, 24, .causal = 1, .window = 5 });
    check_types((shape){ 2, 9, 31, 2, 2, 24, .causal = 1 });
    check_types((shape){ 2, 31, 9, 2, 2, 24, .causal = 1 }); /* the first 22 queries see nothing */
    check_types((shape){ 2, 31, 9, 2, 2, 24, .window = 4 });
    check_types((shape){ 3, 20, 18, 6, 2, 8, .masked = 1, .window = 7 });
}
TEST(biases) {
    static const int kinds[] = { 3, -3, 4, -4 };
    for (int k = 0; k < 4; k++) {
        check_types((shape){ 2, 49, 0, 3, 3, 32, .biased = kinds[k], .masked = k == 2 });
        check_types((shape){ 2, 6, 21, 2, 1, 16, .biased = kinds[k], .causal = 1 });
    }
}
TEST(long_rows) {
    check_types((shape){ 1, 700, 0, 1, 1, 64, .causal = 1 });
    check_types((shape){ 1, 300, 900, 1, 1, 40, .masked = 1 });
    check_types((shape){ 1, 513, 0, 2, 1, 20, .causal = 1, .window = 150, .range = 4 });
    check_types((shape){ 1, 40, 97, 2, 1, 160, .biased = 3 });
}
TEST(large_scores) { /* differences of hundreds: no overflow, one key takes all */
    check((shape){ 1, 20, 400, 2, 2, 64, .range = 12 });
}
TEST(tiles) { /* one below, at and above the tiles of the device, and the head sizes of published models */
    also_f16 = true;
    check_types((shape){ 1, 15, 63, 1, 1, 8, .causal = 1 });
    check_types((shape){ 1, 16, 64, 2, 1, 32, .masked = 1 });
    check_types((shape){ 1, 17, 65, 1, 1, 40, .biased = 3 });
    check_types((shape){ 1, 63, 17, 1, 1, 64, .causal = 0 });
    check_types((shape){ 1, 64, 16, 2, 2, 72, .causal = 1, .window = 9 });
    check_types((shape){ 1, 65, 15, 1, 1, 80, .masked = 1 });
    check_types((shape){ 2, 33, 31, 1, 1, 96, .causal = 1 });
    check_types((shape){ 1, 128, 0, 1, 1, 128, .causal = 1 });
    check_types((shape){ 1, 34, 49, 1, 1, 160, .biased = -3 });
    check_types((shape){ 1, 48, 32, 1, 1, 256, .causal = 1 });
    check_types((shape){ 1, 197, 0, 2, 1, 32, .causal = 0 });
    also_f16 = false;
}
TEST(texts) { /* several in a row, each of which sees itself */
    also_f16 = true;
    check_types((shape){ 1, 40, 0, 2, 1, 24, .texts = 3, .causal = 1 });
    check_types((shape){ 2, 33, 0, 4, 2, 16, .texts = 4, .causal = 1, .window = 5 });
    also_f16 = false;
    check_types((shape){ 3, 150, 0, 2, 2, 40, .texts = 2, .causal = 1, .masked = 1 });
    check_types((shape){ 2, 61, 0, 1, 1, 17, .texts = 5 });
    check_types((shape){ 2, 20, 50, 2, 1, 72, .texts = 2, .causal = 1, .lengths = 1 });
    check_types((shape){ 2, 31, 9, 2, 2, 24, .texts = 3, .causal = 1, .biased = 3 });
    check_types((shape){ 1, 700, 0, 1, 1, 64, .texts = 23, .causal = 1, .cap = 5 });
    check_types((shape){ 2, 3, 600, 8, 2, 32, .texts = 1, .causal = 1, .lengths = 1 }); /* heads of a group as rows */
    check_types((shape){ 2, 4, 60, 2, 1, 24, .block = 5, .texts = 2, .causal = 1, .lengths = 1 });
    for (int T = 1; T < 36; T++) check_types((shape){ 2, T, 0, 1, 1, 8, .texts = 1 + T % 7, .causal = 1 });
}
TEST(leaks) {
    for (int probe = 1; probe <= 2; probe++) {
        check_types((shape){ 1, 33, 65, 1, 1, 16, .probe = probe });
        check_types((shape){ 2, 20, 50, 2, 1, 24, .probe = probe, .causal = 1 });
        check_types((shape){ 2, 70, 67, 1, 1, 16, .probe = probe, .causal = 1, .window = 11 });
        check_types((shape){ 2, 17, 63, 1, 1, 16, .probe = probe, .masked = 1 });
        check_types((shape){ 2, 70, 70, 1, 1, 16, .probe = probe, .texts = 4, .causal = 1 });
        check_types((shape){ 3, 3, 61, 2, 1, 16, .probe = probe, .lengths = 1, .causal = 1 });
    }
}
TEST(lengths) {
    check_types((shape){ 3, 20, 70, 2, 1, 24, .lengths = 1 });
    check_types((shape){ 3, 40, 37, 2, 2, 16, .lengths = 1, .causal = 1, .masked = 1 });
    check_types((shape){ 2, 50, 90, 2, 1, 40, .lengths = 1, .causal = 1, .window = 20, .biased = 4 });
    check_types((shape){ 4, 19, 0, 2, 1, 8, .lengths = 1, .biased = 3 });
}
TEST(decoding) { /* few queries: heads of a group are rows of one tile, keys are split */
    also_f16 = true;
    check_types((shape){ 3, 1, 70, 8, 2, 64, .lengths = 1, .causal = 1 });
    check_types((shape){ 2, 1, 600, 6, 2, 32, .lengths = 1 });
    check_types((shape){ 1, 8, 800, 4, 1, 40, .causal = 1, .window = 300 });
    check_types((shape){ 1, 5, 1100, 2, 2, 136, .masked = 1, .biased = 3 });
    check_types((shape){ 3, 3, 513, 9, 3, 20, .lengths = 1, .causal = 1, .cap = 3 });
    for (int probe = 1; probe <= 2; probe++)
        check_types((shape){ 1, 4, 700, 2, 1, 16, .probe = probe, .causal = 1, .window = 333 });
    also_f16 = false;
}
TEST(pages) {
    check_types((shape){ 2, 1, 64, 4, 2, 32, .block = 16, .lengths = 1, .causal = 1 });
    check_types((shape){ 3, 4, 60, 2, 1, 24, .block = 5, .lengths = 1, .causal = 1, .window = 7 });
    check_types((shape){ 1, 40, 96, 2, 2, 40, .block = 32, .causal = 1 });
    check_types((shape){ 3, 2, 640, 4, 1, 16, .block = 64, .lengths = 1, .causal = 1, .masked = 1 });
}
/* Rows of several sequences on one tile of keys, which end at different places and have pages of their own among those that they share. */
TEST(shared_pages) {
    static const int heads[] = { 32, 40, 64, 96, 128, 256 };
    check_types((shape){ 3, 1, 320, 4, 2, 32, .block = 32, .shared = 5, .lengths = 1, .causal = 1 });
    if (op_on_device()) return;
    for (int k = 0; k < VM_LEN(heads); k++) {
        check_types((shape){ 6, 1, 480, 8, k % 2 ? 8 : 2, heads[k], .block = 32, .shared = 4, .lengths = 1, .causal = 1 });
        check_types((shape){ 5, 1 + 3 * k, 416, 4, 1 + k % 2, heads[k], .block = 16, .shared = 7, .lengths = 1, .causal = 1, .window = k % 3 * 90 });
    }
    check_types((shape){ 6, 1, 480, 8, 2, 64, .block = 32, .shared = 4, .lengths = 1 });
    check_types((shape){ 4, 2, 640, 6, 2, 24, .block = 64, .shared = 2, .lengths = 1, .causal = 1, .masked = 1, .cap = 3 });
    check_types((shape){ 4, 1, 300, 6, 3, 16, .block = 5, .shared = 30, .lengths = 1, .biased = 4 });
    check_types((shape){ 5, 3, 300, 4, 4, 17, .block = 12, .shared = 12, .texts = 2, .causal = 1 });
    check_types((shape){ 71, 1, 192, 8, 1, 32, .block = 32, .shared = 1, .lengths = 1, .causal = 1 }); /* more rows than a task has */
    check_types((shape){ 3, 16, 200, 20, 1, 256, .block = 8, .shared = 12, .lengths = 1, .causal = 1 }); /* and heads */
}

/* Sequences whose keys are equal: once in pages of their own, once in common ones, once each alone. */
static void same_bits(vm_type type, int NH, int HS, int window, bool masked) {
    enum { B = 5, NKV = 2, BLOCK = 32, PAGES = 12 };
    static const int length[B] = { 300, 384, 290, 320, 257 }; /* also of sequences that have all pages in common */
    const int64_t C = NKV * HS, ny = B * NH * HS;
    op_case c = op_begin(type);
    vm_val q = op_input(&c, type, 3, (int64_t[]){ B, 1, NH * HS }, -1, 1), k = op_input(&c, type, 3, (int64_t[]){ B * PAGES, BLOCK, C }, -1, 1);
    vm_val v = op_input(&c, type, 3, (int64_t[]){ B * PAGES, BLOCK, C }, -1, 1), len = op_input(&c, VM_I32, 1, (int64_t[]){ B }, 0, 1);
    vm_val pages = op_input(&c, VM_I32, 2, (int64_t[]){ B, PAGES }, 0, 1), mask = op_input(&c, VM_I32, 2, (int64_t[]){ B, BLOCK * PAGES }, 0, 4);
    for (int b = 1; b < B; b++)
        for (int64_t e = 0; e < PAGES * BLOCK * C; e++)
            for (int i = 1; i < 3; i++) op_put(&c, i, b * PAGES * BLOCK * C + e, c.x[i][e]);
    vm_val y = vm_attention(c.g, q, k, v, (vm_attn){ .NH = NH, .NKV = NKV, .causal = true, .window = window, .lengths = len, .pages = pages,
                                                     .key_mask = masked ? mask : 0 }), lse = y + 1;
    vm_output(c.g, "y", y), vm_output(c.g, "lse", lse);
    double *first = zeros(ny), *first_lse = zeros(B * NH);
    OP_LEVELS(&c) for (int way = 0; way < 2 + B; way++) { /* 0: own pages, 1: common ones, then one sequence alone */
        for (int b = 0; b < B; b++) {
            op_put(&c, 3, b, way < 2 || way - 2 == b ? length[b] : 0);
            for (int p = 0; p < PAGES; p++) op_put(&c, 4, b * PAGES + p, way == 1 && b != 3 && (b != 4 || p < 7) ? p : b * PAGES + p);
        }
        op_run(&c);
        for (int64_t i = 0; i < ny; i++) {
            if (way == 0) first[i] = op_get(&c, y, i);
            else if (way == 1 || i / (NH * HS) == way - 2) EXPECT(op_get(&c, y, i) == first[i]);
        }
        for (int64_t i = 0; i < B * NH; i++) {
            if (way == 0) first_lse[i] = op_get(&c, lse, i);
            else if (way == 1 || i / NH == way - 2) EXPECT(op_get(&c, lse, i) == first_lse[i]);
        }
    }
    vm_free(first), vm_free(first_lse);
    op_end(&c);
}
TEST(sharing_changes_no_bit) {
    for (int t = VM_F32; t <= VM_F16; t++) {
        same_bits((vm_type)t, 8, 64, 0, false);
        same_bits((vm_type)t, 2, 24, 100, false);
        same_bits((vm_type)t, 14, 32, 0, true);
    }
}
TEST(caps) {
    check_types((shape){ 2, 21, 37, 2, 1, 24, .cap = 1.5f, .range = 3, .causal = 1 });
    check_types((shape){ 1, 40, 0, 2, 2, 16, .cap = 50, .range = 4, .biased = 3 });
}
TEST(bad_cache) { /* lengths beyond the keys and pages that do not exist end the run */
    for (int bad = 0; bad < 3; bad++) {
        op_case c = op_begin(VM_F32);
        vm_val q = op_input(&c, VM_F32, 3, (int64_t[]){ 2, 1, 8 }, -1, 1),
               k = op_input(&c, VM_F32, 3, (int64_t[]){ 3, 4, 8 }, -1, 1),
               len = op_input(&c, VM_I32, 1, (int64_t[]){ 2 }, 5, 5.9),
               pages = op_input(&c, VM_I32, 2, (int64_t[]){ 2, 2 }, 0, 0);
        if (bad == 0) op_put(&c, 2, 1, 9);
        if (bad == 1) op_put(&c, 3, 3, 3);
        if (bad == 2) op_put(&c, 3, 0, -1);
        vm_output(c.g, "y", vm_attention(c.g, q, k, k, (vm_attn){ .NH = 1, .NKV = 1, .lengths = len, .pages = pages }));
        for (int i = 0; i < 4; i++) vm_set(c.g, (const char *[]){ "x0", "x1", "x2", "x3" }[i], c.raw[i]);
        if (!vm_run(c.g)) vm_wait(c.g);
        EXPECT(c.g->err.status == VM_EINPUT);
        if (op_on_device()) EXPECT_HAS(c.g->err.msg, ((const char *[]){ "value 9", "value 3", "value -1" }[bad]));
        else
            EXPECT_HAS(c.g->err.msg, ((const char *[]){ "length 9 of sequence 1", "page 3 of sequence 1",
                                                        "page -1 of sequence 0" }[bad]));
        op_end(&c);
    }
}
TEST(falling_first) { /* first keys that fall end the run */
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 3, (int64_t[]){ 2, 6, 24 }, -1, 1),
           first = op_input(&c, VM_I32, 2, (int64_t[]){ 2, 6 }, 3, 3.9);
    op_put(&c, 1, 6 + 4, 2);
    vm_output(c.g, "y", vm_attention_packed(c.g, x, (vm_attn){ .NH = 1, .NKV = 1, .first = first }));
    for (int i = 0; i < 2; i++) vm_set(c.g, i ? "x1" : "x0", c.raw[i]);
    if (!vm_run(c.g)) vm_wait(c.g);
    EXPECT(c.g->err.status == VM_EINPUT);
    EXPECT_HAS(c.g->err.msg, op_on_device() ? "value 2" : "first key 2 of query 4 of sequence 1, after 3");
    op_end(&c);
}
TEST(degenerate) {
    check_types((shape){ 1, 1, 0, 1, 1, 1, .causal = 1 });
    check_types((shape){ 3, 0, 5, 2, 2, 8, .causal = 0 });
    check_types((shape){ 0, 4, 5, 2, 2, 8, .causal = 0 });
    check_types((shape){ 1, 3, 1, 2, 2, 8, .causal = 1 });
}
TEST(nothing_to_see) { /* no keys at all: zeros and -inf */
    op_case c = op_begin(VM_F32);
    vm_val q = op_input(&c, VM_F32, 3, (int64_t[]){ 2, 3, 8 }, -1, 1),
           k = op_input(&c, VM_F32, 3, (int64_t[]){ 2, 0, 8 }, -1, 1);
    vm_val y = vm_attention(c.g, q, k, k, (vm_attn){ .NH = 2, .NKV = 2 });
    vm_output(c.g, "y", y);
    vm_output(c.g, "lse", y + 1);
    OP_LEVELS(&c) {
        for (int i = 0; i < 48; i++) EXPECT(op_get(&c, y, i) == 0);
        for (int i = 0; i < 12; i++) EXPECT(op_get(&c, y + 1, i) == -INFINITY);
    }
    op_end(&c);
}
TEST(nan_stays) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 3, (int64_t[]){ 1, 20, 24 }, -1, 1);
    vm_val y = vm_attention_packed(c.g, x, (vm_attn){ .NH = 1, .NKV = 1, .causal = true });
    op_put(&c, 0, 7 * 24 + 8, NAN); /* a key: rows that see it are NaN, earlier ones are not */
    vm_output(c.g, "y", y);
    OP_LEVELS(&c)
        for (int i = 0; i < 20; i++) EXPECT(isnan(op_get(&c, y, i * 8)) == (i >= 7));
    op_end(&c);
}
TEST(some_gradients) { /* only values want one: the others are not computed, and its bits are the same */
    void *bits = NULL;
    for (int only = 0; only < 2; only++) {
        op_case c = op_begin(VM_F32);
        vm_val in[3];
        for (int k = 0; k < 3; k++) in[k] = op_input(&c, VM_F32, 3, (int64_t[]){ 2, 11, 12 }, -1, 1);
        vm_val y = vm_attention(c.g, in[0], in[1], in[2], (vm_attn){ .NH = 3, .NKV = 3 });
        vm_backward(c.g, 1, &y, NULL, only ? 1 : 3, only ? in + 2 : in);
        vm_output(c.g, "dv", vm_grad(c.g, in[2]));
        EXPECT(!only || !vm_grad(c.g, in[0]));
        if (op_run(&c)) op_same(&c, vm_grad(c.g, in[2]), &bits);
        op_end(&c);
    }
    vm_free(bits);
}
TEST(messages) {
    static const struct { int NH, NKV; float scale; int64_t q, k, mask, bias; const char *words; } bad[] = {
        { 3, 2, 0, 24, 16, 0, 0, "3 query heads do not divide among 2" },
        { 5, 5, 0, 24, 24, 0, 0, "[2,4,24] has not 5 heads" },
        { 3, 3, 0, 24, 16, 0, 0, "do not fit keys or values [2,6,16]" },
        { 3, 3, -1, 24, 24, 0, 0, "scale -1 is not positive" },
        { 3, 3, 0, 24, 24, 7, 0, "i32[2,6] is needed" },
        { 3, 3, 0, 24, 24, 6, 2, "the bias is f32[2,4,6]" },
        { 1, 1, 0, 1024, 1024, 0, 0, "1 heads of 1 to 512" },
        { 3, 3, 0, 24, 24, -5, 0, "the first keys are i32[2,5], i32[2,4] is needed" },
    };
    for (int t = 0; t < VM_LEN(bad); t++) {
        vm_graph *g = vm_graph_new(vm_backend_cpu(), VM_F32);
        vm_attn a = { .NH = bad[t].NH, .NKV = bad[t].NKV, .scale = bad[t].scale };
        vm_val q = vm_input(g, "q", VM_F32, 3, (int64_t[]){ 2, 4, bad[t].q }),
               k = vm_input(g, "k", VM_F32, 3, (int64_t[]){ 2, 6, bad[t].k });
        if (bad[t].mask < 0) a.first = vm_input(g, "first", VM_I32, 2, (int64_t[]){ 2, -bad[t].mask });
        if (bad[t].mask > 0) a.key_mask = vm_input(g, "mask", VM_I32, 2, (int64_t[]){ 2, bad[t].mask });
        if (bad[t].bias) a.bias = vm_input(g, "bias", VM_F32, 3, (int64_t[]){ bad[t].bias, 4, 6 });
        EXPECT(vm_attention(g, q, k, k, a) == 0);
        EXPECT_HAS(g->err.msg, bad[t].words);
        vm_graph_free(g);
    }
}

int main(void) {
    RUN(clip_shapes);
    RUN(odd_sizes);
    RUN(masks);
    RUN(biases);
    RUN(long_rows);
    RUN(large_scores);
    RUN(tiles);
    RUN(texts);
    RUN(leaks);
    RUN(lengths);
    RUN(decoding);
    RUN(pages);
    RUN(shared_pages);
    if (!op_on_device()) RUN(sharing_changes_no_bit);
    RUN(caps);
    RUN(bad_cache);
    RUN(falling_first);
    RUN(degenerate);
    RUN(nothing_to_see);
    RUN(nan_stays);
    RUN(some_gradients);
    RUN(messages);
    return test_end();
}
