/* test_graph_errors.c - what constructors and plans say when they are used wrongly: one sentence that names the op,
 * what was given and what is needed; the first error stays, nothing later runs, no value 0 goes unnoticed. */
#include "kernels/ops.h"
#include "tests/test.h"

static vm_graph *g;
static vm_val x, ids, image, cube; /* f32 (4,6); i32 (4); f32 (2,8,8,3); f32 (2,4,6) */
static vm_param *w, *half, *shell;

static void begin(void) {
    g = vm_graph_new(vm_backend_cpu(), VM_F32);
    x = vm_input(g, "x", VM_F32, 2, (int64_t[]){ 4, 6 }), ids = vm_input(g, "ids", VM_I32, 1, (int64_t[]){ 4 });
    image = vm_input(g, "image", VM_F32, 4, (int64_t[]){ 2, 8, 8, 3 }),
    cube = vm_input(g, "cube", VM_F32, 3, (int64_t[]){ 2, 4, 6 });
}
/* Runs one wrong call in a graph of its own. */
#define WRONG(call, want)                                                                              \
    do {                                                                                               \
        begin();                                                                                       \
        vm_val y_ = (call);                                                                            \
        if (!y_ && !g->err.status) vm_output(g, "y", y_);                                              \
        EXPECT(!y_);                                                                                   \
        EXPECT_STR(g->err.msg, want);                                                                  \
        EXPECT(!vm_scale(g, x, 1, 0) && vm_plan(g) == VM_EMODEL && vm_run(g) == VM_EMODEL);             \
        EXPECT_STR(g->err.msg, want);                                                                  \
        vm_graph_free(g);                                                                              \
    } while (0)
#define NE(...) (int64_t[]){ __VA_ARGS__ }

TEST(graphs) {
    WRONG(vm_input(g, "x", VM_F32, 1, NE(3)), "two inputs named x");
    WRONG(vm_input(g, "n", VM_F32, 7, NE(1, 1, 1, 1, 1, 1, 1)), "a tensor of 7 axes, at most 6");
    WRONG(vm_input(g, "n", VM_F32, 2, NE(2, -1)), "a tensor is too large, or less than empty: axis 1 has -1 entries");
    WRONG(vm_input(g, "n", VM_U8, 2, NE((int64_t)1 << 32, (int64_t)1 << 32)),
          "a tensor is too large, or less than empty: axis 1 has 4294967296 entries");
    WRONG(vm_input(g, "n", VM_U8, 1, NE(INT64_MAX)),
          "a tensor is too large, or less than empty: axis 0 has 9223372036854775807 entries");
    WRONG((vm_output(g, "x", ids), 0), "two values named x");
    WRONG((vm_output(g, "y", 0), 0), "output y has no value");
    WRONG((vm_scope(g, "text.3"), vm_reshape(g, x, 1, NE(5))), "text.3: reshape: [4,6] does not have 5 elements");
}
TEST(shapes) {
    WRONG(vm_reshape(g, x, 7, NE(1, 1, 1, 1, 1, 4, 6)), "reshape: 7 axes, at most 6");
    WRONG(vm_reshape(g, x, 2, NE(5, 5)), "reshape: [4,6] does not have 25 elements");
    WRONG(vm_slice(g, x, 1, 4, 3), "slice: 3 entries from 4 of axis 1 of [4,6]");
    WRONG(vm_slice(g, x, 2, 0, 1), "slice: 1 entries from 0 of axis 2 of [4,6]");
    WRONG(vm_slice(g, x, 0, -1, 1), "slice: 1 entries from -1 of axis 0 of [4,6]");
    WRONG(vm_slice(g, x, 0, INT64_MAX, 2), "slice: 2 entries from 9223372036854775807 of axis 0 of [4,6]");
    WRONG(vm_concat(g, 0, NULL, 0), "concat: nothing to join");
    WRONG(vm_concat(g, 2, (vm_val[]){ x, cube }, 0), "concat: [2,4,6] f32 does not fit [4,6] f32 on axis 0");
    WRONG(vm_concat(g, 1, &x, 2), "concat: no axis 2 in tensors of 2 axes");
    WRONG(vm_concat(g, 17, (vm_val[]){ x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x }, 0),
          "concat: 17 inputs, at most 16");
    WRONG(vm_permute(g, x, (int[]){ 0, 0 }), "permute: an axis is named twice");
    WRONG(vm_permute(g, x, (int[]){ 0, 2 }), "permute: no axis 2 in a tensor of 2 axes");
    WRONG(vm_cast(g, ids, VM_F32), "cast: input 0 is i32[4], a float tensor is needed");
    WRONG(vm_cast(g, x, VM_I32), "cast: to i32, a float type is needed");
}
TEST(products) {
    WRONG(vm_linear(g, x, cube, 0, VM_NONE, 0, VM_F32), "linear: x [4,6] does not fit weight [2,4,6]");
    WRONG(vm_linear(g, x, vm_weight(g, w), vm_weight(g, w), VM_NONE, 0, VM_F32), "linear: bias [5,6] for 5 outputs");
    WRONG(vm_linear(g, x, vm_weight(g, w), 0, VM_NONE, x, VM_F32), "linear: residual [4,6] for an output [4,5]");
    WRONG(vm_linear(g, x, vm_weight(g, w), vm_weight(g, half), VM_NONE, 0, VM_F32),
          "linear: input 2 is bf16, f32 is needed");
    WRONG(vm_linear(g, ids, vm_weight(g, w), 0, VM_NONE, 0, VM_F32), "linear: i32 x f32 -> f32 is not possible");
    WRONG(vm_linear(g, x, vm_weight(g, w), 0, VM_NONE, 0, VM_BF16), "linear: f32 x f32 -> bf16 is not possible");
    WRONG(vm_matmul(g, x, x, false, false, 1, VM_F32), "matmul: [4,6] f32 does not fit [4,6] f32");
    WRONG(vm_attention(g, cube, cube, cube, (vm_attn){ .NH = 4, .NKV = 4 }),
          "attention: [2,4,6] has not 4 heads of 1 to 512 columns");
    WRONG(vm_attention(g, cube, cube, cube, (vm_attn){ .NH = 3, .NKV = 2 }),
          "attention: 3 query heads do not divide among 2 key heads");
    WRONG(vm_attention(g, cube, cube, cube, (vm_attn){ .NH = 2, .NKV = 2, .key_mask = ids }),
          "attention: the key mask is i32[4], i32[2,4] is needed");
    WRONG(vm_attention_packed(g, x, (vm_attn){ .NH = 1, .NKV = 1 }),
          "attention: input 0 is [4,6], (B,T,columns) is needed");
}
TEST(elements) {
    WRONG(vm_unary(g, ids, VM_GELU, VM_F32), "unary: input 0 is i32[4], a float tensor is needed");
    WRONG(vm_binary(g, x, ids, VM_ADD), "binary: input 1 is i32[4], a float tensor is needed");
    WRONG(vm_binary(g, x, cube, VM_MUL),
          "mul: [4,6] and [2,4,6]; the second must be the whole, a trailing part, or one element");
    WRONG(vm_sum_axis(g, x, 2, 1), "sum_axis: axis 2 of a tensor of 2 axes");
    WRONG(vm_broadcast(g, x, -1), "a tensor is too large, or less than empty: axis 0 has -1 entries");
    WRONG(vm_dropout(g, x, 1), "dropout: probability 1 is not in [0, 1)");
    WRONG(vm_dropout(g, x, NAN), "dropout: probability nan is not in [0, 1)");
    WRONG(vm_randn(g, VM_I32, 1, NE(3)), "randn: numbers of type i32");
    WRONG(vm_randn(g, VM_F32, 7, NE(3)), "randn: a tensor of 7 axes, at most 6");
}
TEST(rows) {
    WRONG(vm_layernorm(g, x, vm_weight(g, w), 0, 1e-5f, VM_F32), "layernorm: input 1 is [5,6], 6 entries are needed");
    WRONG(vm_layernorm(g, x, 0, x, 1e-5f, VM_F32), "layernorm: input 2 is [4,6], 6 entries are needed");
    WRONG(vm_embedding(g, x, x), "embedding: input 1 is f32, i32 is needed");
    WRONG(vm_embedding(g, cube, ids), "embedding: a table of 2 axes is needed, this one has 3");
    WRONG(vm_pick(g, cube, ids), "pick: one index for each of 2 sequences is needed");
    WRONG(vm_cross_entropy(g, cube, ids), "cross_entropy: input 1 is [4], 8 entries are needed");
    WRONG(vm_softmax(g, ids), "softmax: input 0 is i32[4], a float tensor is needed");
    WRONG(vm_patchify(g, cube, 4, VM_F32), "patchify: images (B,H,W,C) of at least 4 pixels a side are needed");
    WRONG(vm_patchify(g, image, 0, VM_F32), "patchify: patches of 0 pixels, 1 to 1024 are possible");
}
TEST(optimizer) {
    WRONG((vm_adamw(g, w, x, (vm_adam){ 0 }), 0), "adamw: hyper must be 4 f32 values");
    WRONG((vm_adamw(g, half, vm_reshape(g, vm_slice(g, x, 0, 0, 1), 1, NE(6)), (vm_adam){ 0 }), 0),
          "adamw: hyper must be 4 f32 values");
    WRONG((vm_adamw(g, half, vm_input(g, "h", VM_F32, 1, NE(4)), (vm_adam){ 0 }), 0),
          "adamw: half is stored as bf16; masters are f32");
    WRONG((vm_adamw(g, shell, vm_input(g, "h", VM_F32, 1, NE(4)), (vm_adam){ 0 }), 0),
          "adamw: shell has no data; load or initialise the weights first");
    w->borrowed = true;
    WRONG((vm_adamw(g, w, vm_input(g, "h", VM_F32, 1, NE(4)), (vm_adam){ 0 }), 0),
          "adamw: w is mapped from a file; load weights for writing");
    w->borrowed = false;
}
/* No value in, no value out, and the plan says so. */
TEST(no_value) {
    begin();
    const vm_val none[] = {
        vm_linear(g, 0, x, 0, VM_NONE, 0, VM_F32),
        vm_linear(g, x, 0, 0, VM_NONE, 0, VM_F32),
        vm_matmul(g, x, 0, false, false, 1, VM_F32),
        vm_binary(g, x, 0, VM_ADD),
        vm_embedding(g, x, 0),
        vm_cross_entropy(g, x, 0),
        vm_pick(g, cube, 0),
        vm_slice(g, 0, 0, 0, 1),
        vm_concat(g, 2, (vm_val[]){ x, 0 }, 0),
        vm_attention(g, cube, 0, cube, (vm_attn){ .NH = 1, .NKV = 1 }),
        vm_reshape(g, 0, 1, NE(1)),
        vm_permute(g, 0, (int[]){ 0 }),
        vm_cast(g, 0, VM_F32),
        vm_unary(g, 0, VM_GELU, VM_F32),
        vm_scale(g, 0, 1, 0),
        vm_sum(g, 0),
        vm_mean(g, 0),
        vm_sum_axis(g, 0, 0, 1),
        vm_broadcast(g, 0, 2),
        vm_layernorm(g, 0, 0, 0, 0, VM_F32),
        vm_rmsnorm(g, 0, 0, 0, VM_F32),
        vm_l2norm(g, 0, 0),
        vm_softmax(g, 0),
        vm_patchify(g, 0, 2, VM_F32),
        vm_conv2d(g, 0, x, 0, (vm_conv){ .KH = 1, .KW = 1 }, VM_NONE, 0, VM_F32),
        vm_batchnorm(g, 0, x, x, x, x, 0, 0, VM_NONE, VM_F32),
        vm_avgpool2d(g, 0, (vm_pool){ .KH = 2, .KW = 2 }, VM_F32),
        vm_maxpool2d(g, 0, (vm_pool){ .KH = 2, .KW = 2 }, VM_F32),
        vm_dropout(g, 0, 0.5f),
        vm_weight(g, NULL),
    };
    for (int k = 0; k < VM_LEN(none); k++) EXPECT(none[k] == 0);
    vm_output(g, "y", none[0]);
    EXPECT(vm_plan(g) == VM_EMODEL);
    vm_graph_free(g);
}
TEST(runs) {
    begin();
    float y[24];
    EXPECT(vm_get(g, "y", y) == VM_EMODEL);
    EXPECT_STR(g->err.msg, "the graph has no output y");
    vm_error_clear(&g->err);
    vm_output(g, "y", vm_embedding(g, x, ids));
    EXPECT(vm_get(g, "y", y) == VM_EMODEL);
    EXPECT_STR(g->err.msg, "output y is asked for before a run");
    vm_error_clear(&g->err);
    EXPECT(vm_set(g, "z", y) == VM_EMODEL);
    EXPECT_STR(g->err.msg, "the graph has no input z");
    vm_error_clear(&g->err);
    EXPECT(!vm_set(g, "ids", (int32_t[]){ 0, 3, 4, 1 }));
    EXPECT(vm_run(g) != VM_OK);
    EXPECT_HAS(g->err.msg, "4");
    EXPECT(!vm_set(g, "ids", (int32_t[]){ 0, 3, 2, 1 }) && !vm_run(g)); /* a bad input does not spoil the graph */
    vm_graph_free(g);
}

int main(void) {
    vm_backend *be = vm_backend_cpu();
    w = vm_param_new(be, "w", VM_F32, 2, NE(5, 6), NULL), half = vm_param_new(be, "half", VM_BF16, 1, NE(5), NULL);
    shell = vm_param_shell(be, "shell", VM_F32, 1, NE(5), NULL);
    RUN(graphs);
    RUN(shapes);
    RUN(products);
    RUN(elements);
    RUN(rows);
    RUN(optimizer);
    RUN(no_value);
    RUN(runs);
    vm_param_free(w), vm_param_free(half), vm_param_free(shell);
    return test_end();
}
