/* test_graph_fuzz.c - random graphs: outputs and gradients must not depend on where the planner puts buffers, on sums
 * in place, or on recomputation. The oracle is the same graph with every buffer in a place of its own. */
#include "kernels/ops.h"
#include "tests/test.h"

enum { R = 6, C = 8, POOL = 40, N_PARAM = 5, N_INPUT = 3 };

typedef struct {
    bool separate, recompute;
} how;

typedef struct {
    vm_graph *g;
    vm_val in[N_INPUT], out[POOL];
    int n_out, kinds; /* kinds: bits of the shapes of operations that were drawn */
} net;

static vm_param *params[N_PARAM]; /* w (C,C), b (C), position table (R,C), norm weight (C), 3 x 3 kernels (C,9C) */

static int draw(uint64_t *s, int n) { return (int)(test_rand(s) % (uint64_t)n); }

/* One node that turns (R,C) values into an (R,C) value. */
static vm_val node(vm_graph *g, uint64_t *s, vm_val a, vm_val b, vm_val ids, int *kind) {
    static const vm_unary_kind acts[] = { VM_GELU, VM_TANH, VM_SIGMOID, VM_SQUARE, VM_SOFTPLUS, VM_SILU };
    int64_t rows[] = { R, C }, at = draw(s, R + 1), axis = draw(s, 2), cut = draw(s, (axis ? C : R) + 1);
    vm_val w = vm_weight(g, params[0]), bias = vm_weight(g, params[1]), t;
    (void)at;
    switch (*kind = draw(s, 25)) {
    case 0: return vm_scale(g, a, 0.5f, 0.1f);
    case 1: return vm_unary(g, a, acts[draw(s, VM_LEN(acts))], VM_F32);
    case 2: return vm_binary(g, a, b, VM_ADD);
    case 3: return vm_binary(g, a, b, VM_MUL);
    case 4: return vm_binary(g, a, b, VM_SUB);
    case 5: return vm_binary(g, a, vm_weight(g, params[2]), VM_ADD);
    case 6: return vm_binary(g, a, bias, VM_MUL);
    case 7: return vm_linear(g, a, w, bias, VM_NONE, 0, VM_F32);
    case 8: return vm_linear(g, a, w, bias, VM_NONE, b, VM_F32);
    case 9: return vm_linear(g, a, w, 0, VM_GELU, a, VM_F32);
    case 10: return vm_layernorm(g, a, vm_weight(g, params[3]), bias, 1e-5f, VM_F32);
    case 11: return vm_softmax(g, a);
    case 12: return vm_dropout(g, a, 0.3f);
    case 13: /* apart and together again, in the other order */
        t = vm_slice(g, a, (int)axis, cut, (axis ? C : R) - cut);
        return vm_concat(g, 2, (vm_val[]){ t, vm_slice(g, b, (int)axis, 0, cut) }, (int)axis);
    case 14: /* views of views */
        t = vm_reshape(g, a, 3, (int64_t[]){ R / 2, 2, C });
        t = vm_slice(g, t, 0, 1, R / 2 - 1);
        t = vm_reshape(g, t, 2, (int64_t[]){ R - 2, C });
        return vm_concat(g, 2, (vm_val[]){ vm_slice(g, t, 0, 1, 2), vm_slice(g, b, 0, 0, R - 2) }, 0);
    case 15: return vm_permute(g, vm_permute(g, a, (int[]){ 1, 0 }), (int[]){ 1, 0 });
    case 16: /* scores of a and b, rows mixed by them */
        t = vm_softmax(g, vm_matmul(g, a, b, false, true, 0.3f, VM_F32));
        return vm_matmul(g, t, draw(s, 2) ? a : b, false, false, 1, VM_F32);
    case 17: return vm_binary(g, a, vm_sum_axis(g, b, 0, 0.2f), VM_ADD);
    case 18: return vm_broadcast(g, vm_sum_axis(g, a, 0, 0.2f), R);
    case 19: return vm_embedding(g, a, ids);
    case 20: return vm_reshape(g, vm_scale(g, vm_reshape(g, a, 1, (int64_t[]){ R * C }), 0.7f, 0), 2, rows);
    case 21: /* rows as pixels of a picture */
        t = vm_reshape(g, a, 4, (int64_t[]){ 1, 3, R / 3, C }), b = vm_reshape(g, b, 4, (int64_t[]){ 1, 3, R / 3, C });
        t = vm_conv2d(g, t, vm_weight(g, params[4]), bias, (vm_conv){ .KH = 3, .KW = 3, .pad = { 1, 1, 1, 1 } },
                      VM_NONE, draw(s, 2) ? b : 0, VM_F32);
        return vm_reshape(g, t, 2, rows);
    case 22:
        return vm_batchnorm_batch(g, a, vm_weight(g, params[3]), bias, draw(s, 2) ? b : 0, 1e-5f,
                                  draw(s, 2) ? VM_RELU : VM_NONE, VM_F32, (vm_val[2]){ 0 });
    case 23: /* windows of 3 rows around each */
        t = vm_reshape(g, a, 4, (int64_t[]){ 1, R, 1, C });
        t = (draw(s, 2) ? vm_avgpool2d : vm_maxpool2d)(g, t, (vm_pool){ 3, 1, { 1, 1 }, { 1, 0, 1, 0 } }, VM_F32);
        return vm_reshape(g, t, 2, rows);
    default: /* attention: queries, keys and values may be one value */
        t = vm_reshape(g, a, 3, (int64_t[]){ 1, R, C });
        b = draw(s, 2) ? t : vm_reshape(g, b, 3, (int64_t[]){ 1, R, C });
        t = vm_attention(g, t, b, draw(s, 2) ? t : b, (vm_attn){ .NH = 2, .NKV = 2, .causal = draw(s, 2) });
        return vm_reshape(g, t, 2, rows);
    }
}

/* The same numbers are drawn in the same order whatever `h` says. */
static net build(uint64_t seed, how h) {
    uint64_t s = seed;
    net x = { .g = vm_graph_new(vm_backend_cpu(), VM_F32) };
    vm_graph *g = x.g;
    vm_val pool[POOL], outs[4], wrt[N_INPUT + N_PARAM], seeds[4];
    int n = 0, n_wrt = 0, n_out = 1 + draw(&s, 3);
    bool open = false, own = draw(&s, 2);
    g->training = true, g->separate = h.separate, g->seed = seed;
    for (int k = 0; k < N_INPUT; k++) {
        char name[16];
        snprintf(name, sizeof name, "x%d", k);
        pool[n++] = x.in[k] = vm_input(g, name, VM_F32, 2, (int64_t[]){ R, C });
    }
    vm_val ids = vm_input(g, "ids", VM_I32, 1, (int64_t[]){ R });
    for (int k = 0, n_nodes = 6 + draw(&s, 18); k < n_nodes && n < POOL; k++) {
        bool flip = draw(&s, 4) == 0;
        if (h.recompute && flip) open ? vm_checkpoint_end(g) : vm_checkpoint_begin(g), open = !open;
        int kind, from = draw(&s, 3) ? VM_MAX(0, n - 4) : 0; /* mostly recent values */
        vm_val a = pool[from + draw(&s, n - from)], b = pool[from + draw(&s, n - from)];
        pool[n++] = node(g, &s, a, b, ids, &kind);
        x.kinds |= 1 << kind;
    }
    if (open) vm_checkpoint_end(g);
    for (int k = 0; k < n_out; k++) {
        char name[16];
        outs[k] = pool[k ? draw(&s, n) : n - 1];
        snprintf(name, sizeof name, "y%d", k);
        if (draw(&s, 3))
            vm_output(g, name, x.out[x.n_out++] = outs[k]); /* some end as nothing but a gradient's start */
        seeds[k] = own ? pool[draw(&s, n)] : 0;
    }
    for (int k = 0; k < N_INPUT; k++)
        if (draw(&s, 3)) wrt[n_wrt++] = x.in[k];
    for (int k = 0; k < N_PARAM; k++)
        if (draw(&s, 3)) wrt[n_wrt++] = vm_weight(g, params[k]);
    vm_backward(g, n_out, outs, seeds, n_wrt, wrt);
    for (int k = 0; k < n_wrt; k++) {
        char name[16];
        snprintf(name, sizeof name, "d%d", k);
        if (vm_grad(g, wrt[k])) vm_output(g, name, x.out[x.n_out++] = vm_grad(g, wrt[k]));
    }
    return x;
}

/* All outputs, one after the other. */
static float *results(net *x, uint64_t seed, int64_t *len) {
    float *all = vm_calloc(POOL * R * C, sizeof *all), data[R * C];
    int32_t ids[R];
    *len = 0;
    for (int again = 0; again < 2; again++) { /* the second run begins in a used arena */
        uint64_t s = seed + 1000;
        for (int k = 0; k < N_INPUT; k++) {
            char name[16];
            snprintf(name, sizeof name, "x%d", k);
            for (int i = 0; i < R * C; i++) data[i] = (float)test_uniform(&s);
            vm_set(x->g, name, data);
        }
        for (int i = 0; i < R; i++) ids[i] = draw(&s, R);
        vm_set(x->g, "ids", ids);
        if (vm_run(x->g)) MISMATCH("seed %d: %s\n", (int)seed, x->g->err.msg);
    }
    for (int k = 0; k < x->n_out && !x->g->err.status; k++) {
        int64_t n = vm_count(x->g, x->out[k]);
        memcpy(all + *len, vm_data(x->g, x->out[k]), (size_t)n * sizeof *all);
        *len += n;
    }
    return all;
}

static void compare(uint64_t seed, how h, const char *what, const float *want, int64_t n_want, size_t *bytes) {
    net x = build(seed, h);
    int64_t n;
    float *got = results(&x, seed, &n);
    EXPECT(n == n_want);
    for (int64_t i = 0; i < VM_MIN(n, n_want); i++) {
        test_checks++;
        if (memcmp(&got[i], &want[i], sizeof *got)) {
            MISMATCH("seed %d, %s: result %d is %.9g, with separate buffers %.9g\n", (int)seed, what, (int)i,
                     (double)got[i], (double)want[i]);
            break;
        }
    }
    *bytes += x.g->arena_bytes;
    vm_free(got);
    vm_graph_free(x.g);
}

TEST(places_do_not_matter) {
    size_t apart = 0, planned = 0, recomputed = 0;
    int kinds = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        net x = build(seed, (how){ .separate = true });
        int64_t n;
        float *want = results(&x, seed, &n);
        apart += x.g->arena_bytes, kinds |= x.kinds;
        if (x.g->err.status) MISMATCH("seed %d: %s\n", (int)seed, x.g->err.msg);
        compare(seed, (how){ .separate = false }, "planned", want, n, &planned);
        compare(seed, (how){ .recompute = true }, "recomputed", want, n, &recomputed);
        compare(seed, (how){ .recompute = true, .separate = true }, "recomputed apart", want, n, &(size_t){ 0 });
        vm_free(want);
        vm_graph_free(x.g);
    }
    EXPECT(kinds == (1 << 25) - 1);
    EXPECT(planned < apart * 3 / 4);
    (void)recomputed;
}

int main(void) {
    const int64_t CC[] = { C, C }, RC[] = { R, C }, C9C[] = { C, 9 * C };
    const int64_t *const ne[] = { CC, CC, RC, CC, C9C };
    for (int k = 0; k < N_PARAM; k++) {
        uint64_t s = (uint64_t)k;
        params[k] = vm_param_new(vm_backend_cpu(), "p", VM_F32, k % 2 ? 1 : 2, ne[k], NULL);
        for (int64_t i = 0; i < vm_param_count(params[k]); i++) ((float *)params[k]->data)[i] = (float)test_uniform(&s);
    }
    RUN(places_do_not_matter);
    for (int k = 0; k < N_PARAM; k++) vm_param_free(params[k]);
    return test_end();
}
