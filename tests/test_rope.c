/* test_rope.c - rotary embeddings and sinusoids against double loops: far positions, every scaling against its
 * formula, pairs of columns, columns and heads that pass. */
#include "tests/optest.h"

static double tol(vm_type t) { return t == VM_F16 ? 0x1p-10 : op_tol(t); }

/* --- tables ------------------------------------------------------------------------------------------------------- */
static const int32_t places[] = { 0, 1, 2, 511, 4095, 8191, 32767, 65537, 131071, 131072, -5, 77777 };
TEST(table) { /* cosine and sine of the f32 angle: no error but the last rounding */
    op_case c = op_begin(VM_F32);
    vm_rope_kind k = { .columns = 128, .base = 500000 };
    vm_val pos = op_input(&c, VM_I32, 2, (int64_t[]){ 3, 4 }, 0, 1);
    for (int i = 0; i < 12; i++) op_put(&c, 0, i, places[i]);
    vm_val t = vm_rope_table(c.g, pos, &k);
    EXPECT(c.g->v[t].nd == 3 && c.g->v[t].ne[2] == 128);
    vm_output(c.g, "t", t);
    OP_LEVELS(&c)
        for (int i = 0; i < 12; i++)
            for (int j = 0; j < 64; j++) {
                float power = (float)pow(500000, (double)((float)(2 * j) / 128.0f)), f = 1.0f / power,
                      a = (float)places[i] * f;
                EXPECT_NEAR(op_get(&c, t, i * 128 + j), cos((double)a), 6.1e-8);
                EXPECT_NEAR(op_get(&c, t, i * 128 + 64 + j), sin((double)a), 6.1e-8);
            }
    op_end(&c);
}
static void frequencies(const vm_rope_kind *k, const double *want, double amplitude) {
    float f[64];
    double a;
    vm_rope_frequencies(k, f, &a);
    for (int i = 0; i < k->columns / 2; i++) EXPECT_NEAR((double)f[i], want[i], 4e-7 * want[i]);
    EXPECT_NEAR(a, amplitude, 1e-12);
}
TEST(scalings) {
    double want[64];
    float divisors[8];
#define EACH(n) for (int i = 0; i < (n) / 2; i++)
    vm_rope_kind k = { .columns = 16, .base = 10000, .scaling = VM_ROPE_LINEAR, .factor = 4 };
    EACH(16) want[i] = pow(10000, -i / 8.0) / 4;
    frequencies(&k, want, 1);

    k = (vm_rope_kind){ .columns = 16, .base = 10000, .scaling = VM_ROPE_DYNAMIC, .factor = 2, .original = 512,
                        .length = 2048 };
    EACH(16) want[i] = pow(10000 * pow(2 * 2048 / 512.0 - 1, 16 / 14.0), -i / 8.0);
    frequencies(&k, want, 1);
    k.length = 512;
    EACH(16) want[i] = pow(10000, -i / 8.0);
    frequencies(&k, want, 1);

    /* Llama 3.1: three bands */
    k = (vm_rope_kind){ .columns = 16, .base = 500000, .scaling = VM_ROPE_LLAMA3, .factor = 8, .low = 1, .high = 4,
                        .original = 8192 };
    EACH(16) {
        double f = pow(500000, -i / 8.0), wave = 2 * M_PI / f, s = (8192 / wave - 1) / 3;
        want[i] = wave < 8192 / 4.0 ? f : wave > 8192 ? f / 8 : (1 - s) * f / 8 + s * f;
    }
    frequencies(&k, want, 1);
    EXPECT(want[0] == 1 && want[7] < 1e-5 * 0.25);

    /* YaRN: pairs up to 10 of 32 keep their frequency, those from 23 on are divided */
    k = (vm_rope_kind){ .columns = 64, .base = 10000, .scaling = VM_ROPE_YARN, .factor = 16, .original = 4096 };
    double low = floor(64 * log(4096 / (32 * 2 * M_PI)) / (2 * log(10000))),
           high = ceil(64 * log(4096 / (2 * M_PI)) / (2 * log(10000)));
    EXPECT(low == 10 && high == 23);
    EACH(64) {
        double ramp = fmin(fmax((i - low) / (high - low), 0), 1), f = pow(10000, -i / 32.0);
        want[i] = f / 16 * ramp + f * (1 - ramp);
    }
    frequencies(&k, want, 0.1 * log(16) + 1);
    k.attention = 1.5;
    frequencies(&k, want, 1.5);

    for (int i = 0; i < 8; i++) divisors[i] = 1 + 0.5f * (float)i;
    k = (vm_rope_kind){ .columns = 16, .base = 10000, .scaling = VM_ROPE_LONG, .factor = 32, .original = 4096,
                        .divisors = divisors };
    EACH(16) want[i] = pow(10000, -i / 8.0) / (1 + 0.5 * i);
    frequencies(&k, want, sqrt(1 + log(32) / log(4096)));
}

/* --- rotation ----------------------------------------------------------------------------------------------------- */
static void check(int64_t B, int64_t T, int NH, int turned, int64_t HS, int cols, bool pairs, bool shared, vm_type tx,
                  vm_type ty) {
    op_case c = op_begin(VM_BF16);
    int64_t C = NH * HS, R = B * T, RT = shared ? T : R;
    vm_rope_kind k = { .columns = cols, .base = 10000 };
    vm_val x = op_input(&c, tx, 3, (int64_t[]){ B, T, C }, -2, 2);
    vm_val r = op_input(&c, ty, 3, (int64_t[]){ B, T, C }, -1, 1);
    vm_val pos = shared ? op_input(&c, VM_I32, 1, (int64_t[]){ T }, 0, 1)
                        : op_input(&c, VM_I32, 2, (int64_t[]){ B, T }, 0, 1);
    for (int64_t i = 0; i < RT; i++) op_put(&c, 2, i, (double)(i * 37 % 1000));
    vm_val y = vm_rope(c.g, x, vm_rope_table(c.g, pos, &k), NH, turned, pairs, ty);
    vm_val outs[] = { y, x }, seeds[] = { r, op_input(&c, tx, 3, (int64_t[]){ B, T, C }, -1, 1) };
    vm_backward(c.g, 2, outs, seeds, 1, &x); /* a second use of x: the gradient adds */
    vm_output(c.g, "y", y), vm_output(c.g, "dx", vm_grad(c.g, x));
    double *want = vm_calloc((size_t)(R * C) + 1, 8), *dx = vm_calloc((size_t)(R * C) + 1, 8);
    for (int64_t i = 0; i < R * C; i++) want[i] = c.x[0][i], dx[i] = c.x[1][i];
    for (int64_t row = 0; row < R; row++)
        for (int64_t h = 0; h < turned; h++)
            for (int64_t i = 0; i < cols / 2; i++) {
                int64_t at = row * C + h * HS, a = at + (pairs ? 2 * i : i),
                        b = at + (pairs ? 2 * i + 1 : cols / 2 + i);
                float f = 1.0f / (float)pow(10000, (double)((float)(2 * i) / (float)cols));
                double p = (double)((float)c.x[2][row % RT] * f), co = cos(p), si = sin(p);
                want[a] = c.x[0][a] * co - c.x[0][b] * si, want[b] = c.x[0][b] * co + c.x[0][a] * si;
                dx[a] = c.x[1][a] * co + c.x[1][b] * si, dx[b] = c.x[1][b] * co - c.x[1][a] * si;
            }
    for (int64_t i = 0; i < R * C; i++) dx[i] += c.x[3][i];
    OP_LEVELS(&c) {
        op_near(&c, "y", y, want, HS, tol(ty));
        op_near(&c, "dx", vm_grad(c.g, x), dx, HS, 2 * tol(tx));
    }
    vm_free(want), vm_free(dx);
    op_end(&c);
}
TEST(rotation) {
    const vm_type t[] = { VM_F32, VM_BF16, VM_F16 };
    for (int pairs = 0; pairs < 2; pairs++)
        for (int k = 0; k < 3; k++) {
            check(2, 5, 4, 4, 64, 64, pairs, false, t[k], t[k]);
            check(2, 3, 6, 5, 80, 32, pairs, true, t[k], VM_F32); /* a part of the columns; packed q, k and v */
            check(1, 7, 3, 3, 6, 6, pairs, false, t[k], VM_BF16);
            check(1, 3, 5, 4, 22, 10, pairs, false, t[k], t[k]);  /* heads that no vector divides */
            check(3, 1, 1, 1, 2, 2, pairs, true, VM_F32, t[k]);
        }
    check(1, 3, 2, 2, 16, 8, false, false, VM_F32, VM_F32); /* half a vector turns */
    check(1, 2, 33, 30, 128, 128, false, false, VM_BF16, VM_BF16);
    check(1, 2, 2, 0, 8, 8, false, false, VM_F32, VM_F32);
    check(0, 3, 2, 2, 8, 8, false, false, VM_F32, VM_F32), check(2, 0, 2, 2, 8, 8, false, true, VM_F32, VM_F32);
}
TEST(other_positions) { /* one plan, several runs: positions are an input */
    op_case c = op_begin(VM_F32);
    vm_rope_kind k = { .columns = 16, .base = 10000 };
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 1, 16 }, -1, 1);
    vm_val pos = op_input(&c, VM_I32, 1, (int64_t[]){ 1 }, 0, 1);
    vm_val y = vm_rope(c.g, x, vm_rope_table(c.g, pos, &k), 1, 1, false, VM_F32);
    vm_output(c.g, "y", y);
    EXPECT(!vm_plan(c.g));
    for (int p = 0; p < 5; p++) {
        op_put(&c, 1, 0, 1000 * p);
        op_run(&c);
        EXPECT_NEAR(op_get(&c, y, 0), c.x[0][0] * cos(1000 * p) - c.x[0][8] * sin(1000 * p), 1e-6);
    }
    op_end(&c);
}
TEST(distances_alone_matter) { /* products of turned rows depend on the difference of their positions */
    op_case c = op_begin(VM_F32);
    vm_rope_kind k = { .columns = 64, .base = 10000 };
    vm_val x = op_input(&c, VM_F32, 3, (int64_t[]){ 1, 4, 64 }, -1, 1),
           pos = op_input(&c, VM_I32, 1, (int64_t[]){ 4 }, 0, 1);
    const int at[] = { 5, 2, 1005, 1002 };
    for (int i = 0; i < 4; i++) op_put(&c, 1, i, at[i]);
    for (int i = 0; i < 128; i++) op_put(&c, 0, 128 + i, c.x[0][i]);
    vm_val y = vm_rope(c.g, x, vm_rope_table(c.g, pos, &k), 1, 1, false, VM_F32);
    vm_output(c.g, "y", y);
    OP_LEVELS(&c) {
        double near = 0, far = 0;
        for (int i = 0; i < 64; i++)
            near += op_get(&c, y, i) * op_get(&c, y, 64 + i), far += op_get(&c, y, 128 + i) * op_get(&c, y, 192 + i);
        EXPECT_NEAR(near, far, 1e-3);
    }
    op_end(&c);
}

/* --- sinusoids ---------------------------------------------------------------------------------------------------- */
static void sines(int C, double period, double shift, double scale, int layout, vm_type ty, double lo, double hi) {
    op_case c = op_begin(VM_F32);
    int64_t half = C / 2, N = 6;
    vm_val t = op_input(&c, VM_F32, 2, (int64_t[]){ 3, 2 }, lo, hi);
    vm_val r = op_input(&c, ty, 3, (int64_t[]){ 3, 2, C }, -1, 1);
    vm_val y = vm_sinusoid(c.g, t, (vm_sinusoid_kind){ C, period, shift, scale, (vm_sinusoid_layout)layout }, ty);
    vm_val outs[] = { y, t }, seeds[] = { r, op_input(&c, VM_F32, 2, (int64_t[]){ 3, 2 }, -1, 1) };
    vm_backward(c.g, 2, outs, seeds, 1, &t);
    vm_output(c.g, "y", y), vm_output(c.g, "dt", vm_grad(c.g, t));
    double *want = vm_calloc((size_t)(N * C), 8), dt[6] = { 0 }, most = 0;
    for (int64_t i = 0; i < N * half; i++) {
        int64_t row = i / half, k = i % half, s = layout == 2 ? 2 * k : layout == 1 ? half + k : k,
                co = layout == 2 ? 2 * k + 1 : layout == 1 ? k : half + k;
        float e = (float)-log(period) * (float)k / (float)((double)half - shift), f = (float)exp((double)e);
        float a = (float)scale * ((float)c.x[0][row] * f);
        want[row * C + s] = sin((double)a), want[row * C + co] = cos((double)a);
        dt[row] += (double)f * scale * (c.x[1][row * C + s] * cos((double)a) - c.x[1][row * C + co] * sin((double)a));
        most = fmax(most, (double)f * fabs(scale) * (double)half);
    }
    OP_LEVELS(&c) {
        op_near(&c, "y", y, want, C, ty == VM_F32 ? 1e-6 : tol(ty));
        for (int i = 0; i < 6; i++) EXPECT_NEAR(op_get(&c, vm_grad(c.g, t), i), dt[i] + c.x[2][i], 1e-6 * (1 + most));
    }
    vm_free(want);
    op_end(&c);
}
TEST(sinusoid) {
    const vm_type t[] = { VM_F32, VM_BF16, VM_F16 };
    for (int k = 0; k < 3; k++) {
        sines(320, 10000, 0, 1, VM_COS_SIN, t[k], 0, 1000); /* timesteps */
        sines(128, 20, 0, 2 * M_PI, VM_SIN_COS_PAIRS, t[k], 0, 1);
        sines(16, 0.01, 0, 1, VM_SIN_COS_PAIRS, t[k], 0, 1); /* boxes of GLIGEN: frequencies 100^(k/8) */
        sines(33, 10000, 1, 1, VM_SIN_COS, t[k], 0, 100);
        sines(2, 10000, 0, 1, VM_COS_SIN, t[k], -3, 3), sines(1, 10000, 0, 1, VM_SIN_COS, t[k], -3, 3);
        sines(1024, 10000, 0, 1, VM_SIN_COS, t[k], 0, 1000);
    }
}

TEST(errors) {
    op_case c = op_begin(VM_F32);
    vm_val x = op_input(&c, VM_F32, 2, (int64_t[]){ 6, 8 }, 0, 1);
    vm_val pos = op_input(&c, VM_I32, 1, (int64_t[]){ 4 }, 0, 1);
    vm_rope_kind k = { .columns = 8, .base = 10000 }, odd = k, far = k;
    vm_val t = vm_rope_table(c.g, pos, &k);
    odd.columns = 7, far.scaling = VM_ROPE_YARN, far.factor = 2;
    WRONG(vm_rope(c.g, x, t, 1, 1, false, VM_F32), "rope: a table [4,8] for x [6,8]");
    WRONG(vm_rope(c.g, x, t, 2, 2, false, VM_F32), "rope: 8 rotated columns of heads of 4");
    WRONG(vm_rope(c.g, x, t, 3, 3, false, VM_F32), "rope: 3 of 3 heads in 8 columns");
    WRONG(vm_rope_table(c.g, pos, &odd), "rope: 7 rotated columns, an even number up to 1024 is needed");
    WRONG(vm_rope_table(c.g, pos, &far), "rope: this scaling needs the original length");
    WRONG(vm_rope_table(c.g, x, &k), "rope: positions are f32, i32 is needed");
    WRONG(vm_sinusoid(c.g, x, (vm_sinusoid_kind){ .C = 2, .shift = 1 }, VM_F32),
          "sinusoid: a shift of 1 for 1 frequencies");
    op_end(&c);
}

int main(void) {
    RUN(table);
    RUN(scalings);
    RUN(rotation);
    RUN(other_positions);
    RUN(distances_alone_matter);
    RUN(sinusoid);
    RUN(errors);
    return test_end();
}
