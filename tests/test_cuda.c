/* test_cuda.c - the CUDA backend itself: captures and replays, ops of the host, faults, --check, profiles, and the sentences
 * where there is no device. Emulated builds run it on the emulated device, others on VISMIN_TEST_DEVICE. */
#include <string.h>

#include "kernels/backend_cuda.h"
#include "tests/optest.h"

static vm_backend *device(void) {
    vm_error e = { 0 };
#ifdef VM_EMU
    return vm_backend_open("emu", &e);
#else
    return op_on_device() ? vm_backend_open(op_device(), &e) : NULL;
#endif
}

/* An op y = x whose launcher is counted; `wrong` copies all but the first element. */
static int launches;
static bool wrong;
static vm_status infer(vm_graph *g, vm_node *n) {
    vm_value x = g->v[n->in[0]];
    vm_node_out(g, n, x.type, x.nd, x.ne);
    return VM_OK;
}
static vm_status copy_cpu(vm_graph *g, vm_node *n) {
    memcpy(vm_o(g, n, 0), vm_in(g, n, 0), (size_t)vm_count(g, n->in[0]) * vm_type_size(g->v[n->in[0]].type));
    return VM_OK;
}
static vm_status copy_cuda(vm_graph *g, vm_node *n) {
    size_t each = vm_type_size(g->v[n->in[0]].type), skip = wrong ? each : 0;
    launches++;
    return g->be->copy(g->be, (char *)vm_o(g, n, 0) + skip, (char *)vm_in(g, n, 0) + skip, (size_t)vm_count(g, n->in[0]) * each - skip, &g->err);
}
static vm_op counted = { .name = "counted", .infer = infer, .cuda = copy_cuda };
static vm_val copied(vm_graph *g, vm_val x) { return vm_append1(g, &counted, 1, &x, NULL); }

enum { N = 5 };
static vm_val input(vm_graph *g, const char *name) { return vm_input(g, name, VM_F32, 1, (int64_t[]){ N }); }
static void set(vm_graph *g, const char *name, float first) {
    float x[N];
    for (int i = 0; i < N; i++) x[i] = first + (float)i;
    EXPECT(!vm_set(g, name, x));
}
static bool is(vm_graph *g, const char *name, float first, float step) {
    float x[N];
    bool same = !vm_get(g, name, x);
    for (int i = 0; i < N; i++) same &= x[i] == first + step * (float)i;
    return same;
}

TEST(runs_are_replayed) {
    vm_graph *g = vm_graph_new(device(), VM_F32);
    vm_output(g, "y", vm_scale(g, copied(g, vm_scale(g, input(g, "x"), 2, 1)), 3, 0));
    launches = 0;
    for (int k = 0; k < 6; k++) {
        set(g, "x", (float)k);
        size_t before = vm_mem_used();
        EXPECT(!vm_run(g));
        EXPECT(k < 2 || vm_mem_used() == before); /* a replay takes no memory */
        EXPECT(is(g, "y", 3 * (2 * (float)k + 1), 6));
        EXPECT(launches == (k ? 2 : 1));
    }
    vm_output(g, "z", vm_scale(g, vm_find(g, "y"), 1, 1)); /* another plan: from the beginning */
    for (int k = 0; k < 3; k++) {
        set(g, "x", (float)k);
        EXPECT(!vm_run(g) && is(g, "z", 3 * (2 * (float)k + 1) + 1, 6));
        EXPECT(launches == (k ? 4 : 3));
    }
    vm_graph_free(g);
}

/* Plans that share an arena: it moves when a larger one comes, and what was captured is captured anew. */
TEST(arenas_move) {
    vm_arena arena = { 0 };
    vm_graph *g[2];
    for (int k = 0; k < 2; k++) {
        g[k] = vm_graph_new(device(), VM_F32);
        g[k]->shared = &arena;
        vm_output(g[k], "y", vm_scale(g[k], vm_input(g[k], "x", VM_F32, 1, (int64_t[]){ k ? 3000 : N }), 2, 0));
    }
    for (int run = 0; run < 3; run++) {
        set(g[0], "x", (float)run);
        EXPECT(!vm_run(g[0]) && is(g[0], "y", 2 * (float)run, 2));
    }
    float *x = vm_calloc(3000, sizeof *x);
    for (int run = 0; run < 3; run++) {
        EXPECT(!vm_set(g[1], "x", x) && !vm_run(g[1]));
        set(g[0], "x", (float)run);
        EXPECT(!vm_run(g[0]) && is(g[0], "y", 2 * (float)run, 2));
    }
    vm_free(x);
    for (int k = 0; k < 2; k++) vm_graph_free(g[k]);
    vm_arena_free(&arena);
}

/* Gradients of weights: the first contribution writes or adds, by g->accumulate, and later ones add. */
TEST(gradients_accumulate) {
    vm_backend *be = device();
    vm_graph *g = vm_graph_new(be, VM_F32);
    vm_param *p = vm_param_new(be, "p", VM_F32, 1, (int64_t[]){ N }, NULL);
    vm_val w = vm_weight(g, p), y[2] = { vm_scale(g, w, 2, 0), vm_scale(g, w, 3, 0) }, seed[2] = { input(g, "a"), input(g, "b") };
    vm_output(g, "y", y[0]);
    vm_backward(g, 2, y, seed, 0, NULL);
    float got[N], want[N] = { 0 };
    for (int run = 0; run < 8; run++) {
        g->accumulate = run % 4 > 0; /* two rounds: each way node by node, captured, replayed */
        set(g, "a", (float)run), set(g, "b", 1);
        EXPECT(!vm_run(g) && !vm_wait(g) && !be->download(be, got, p->grad, sizeof got, &g->err));
        for (int i = 0; i < N; i++) want[i] = (g->accumulate ? want[i] : 0) + 2 * (float)(run + i) + 3 * (float)(1 + i);
        EXPECT(!memcmp(got, want, sizeof got));
    }
    vm_graph_free(g);
    vm_param_free(p);
}

/* --- ops of the host ------------------------------------------------------------------------------------------------------ */
static vm_status add_one(void *ctx, int n_in, const void *const *in, int n_out, void *const *out, vm_error *e) {
    vm_graph *inner = ctx; /* a graph of the same device runs meanwhile */
    float x[N];
    if (inner && (vm_set(inner, "x", in[0]) || vm_run(inner) || vm_get(inner, "y", x))) return *e = inner->err, e->status;
    for (int i = 0; i < N; i++) ((float *)out[0])[i] = (inner ? x[i] : ((const float *)in[0])[i]) + 1, ((float *)out[1])[i] = -1;
    return VM_OK;
}
static vm_status refuse(void *ctx, int n_in, const void *const *in, int n_out, void *const *out, vm_error *e) {
    return vm_fail(e, VM_EINPUT, "refused");
}

TEST(host_ops_between_stretches) {
    vm_backend *be = device();
    vm_graph *inner = vm_graph_new(be, VM_F32), *g = vm_graph_new(be, VM_F32);
    const vm_shape shapes[2] = { { VM_F32, 1, { N } }, { VM_F32, 1, { N } } };
    inner->seed = 77;
    vm_output(inner, "y", vm_scale(inner, input(inner, "x"), 10, 0));
    vm_val x = vm_scale(g, input(g, "x"), 2, 0), h[2], h2[2];
    EXPECT(vm_host(g, "add one", add_one, inner, 1, &x, 2, shapes, h));
    vm_val y = copied(g, vm_scale(g, h[0], 1, 0.5f));
    EXPECT(vm_host(g, "again", add_one, NULL, 1, &y, 2, shapes, h2));
    vm_output(g, "y", h2[0]);
    launches = 0;
    for (int k = 0; k < 5; k++) {
        set(g, "x", (float)k);
        EXPECT(!vm_run(g) && is(g, "y", 20 * (float)k + 2.5f, 20));
        EXPECT(launches == (k ? 2 : 1));
    }
    vm_graph_free(g);
    g = vm_graph_new(be, VM_F32);
    x = vm_scale(g, input(g, "x"), 2, 0);
    EXPECT(vm_host(g, "no", refuse, NULL, 1, &x, 2, shapes, h));
    vm_output(g, "y", h[0]);
    set(g, "x", 0);
    EXPECT(vm_run(g) == VM_EINPUT);
    EXPECT_STR(g->err.msg, "refused");
    vm_graph_free(g);
    vm_graph_free(inner);
}

/* Seed and step reach kernels behind an op of the host, whose graph has its own, in the first run and in replays. */
TEST(random_numbers_of_the_run) {
    vm_backend *be = device();
    vm_graph *inner = vm_graph_new(be, VM_F32), *g = vm_graph_new(be, VM_F32);
    const vm_shape shapes[2] = { { VM_F32, 1, { 400 } }, { VM_F32, 1, { N } } };
    const int64_t n = 400;
    vm_check c = { 0 };
    float y[4][400], *x = vm_calloc(400, sizeof *x);
    inner->seed = 77, g->seed = 5;
    vm_output(inner, "y", vm_scale(inner, input(inner, "x"), 10, 0));
    vm_val in = vm_input(g, "x", VM_F32, 1, &n), h[2];
    EXPECT(vm_host(g, "add one", add_one, inner, 1, &in, 2, shapes, h));
    vm_output(g, "y", vm_dropout(g, vm_scale(g, in, 1, 1), 0.5f)), vm_output(g, "h", h[0]);
    for (int run = 0; run < 4; run++) { /* node by node, captured, replayed with another step, checked */
        g->step = run == 2, be->check = run == 3 ? &c : NULL;
        EXPECT(!vm_set(g, "x", x));
        if (vm_run(g) || vm_get(g, "y", y[run])) MISMATCH("%s\n", g->err.msg);
    }
    be->check = NULL;
    EXPECT(!memcmp(y[0], y[1], sizeof y[0]) && memcmp(y[0], y[2], sizeof y[0]) && !memcmp(y[0], y[3], sizeof y[0]));
    vm_free(x);
    vm_graph_free(g);
    vm_graph_free(inner);
}

/* --- what goes wrong ------------------------------------------------------------------------------------------------------ */
TEST(check_names_the_wrong_kernel) {
    vm_backend *be = device();
    vm_check c = { 0 };
    for (int k = 0; k < 2; k++) {
        vm_graph *g = vm_graph_new(be, VM_F32);
        vm_val x = vm_scale(g, input(g, "x"), 2, 3);
        vm_scope(g, "layer.1");
        vm_output(g, "y", vm_scale(g, copied(g, x), 1, 1));
        set(g, "x", 0);
        wrong = k == 1, be->check = &c;
        EXPECT(vm_run(g) == (wrong ? VM_EDEVICE : VM_OK));
        if (wrong) EXPECT_HAS(g->err.msg, "layer.1: op counted (node 1) differs from the processor in output 0 f32 [5]: element 0 is");
        else EXPECT(c.ops == 3 && c.values == 3 * N && c.worst < 1 && is(g, "y", 4, 2));
        be->check = NULL, wrong = false;
        vm_graph_free(g);
    }
}

TEST(faults_name_op_and_value) {
    vm_graph *g = vm_graph_new(device(), VM_F32);
    vm_scope(g, "words");
    vm_output(g, "y", vm_embedding(g, vm_input(g, "table", VM_F32, 2, (int64_t[]){ 4, N }), vm_input(g, "ids", VM_I32, 1, (int64_t[]){ 3 })));
    if (vm_plan(g)) { /* its kernel is not there yet */
        EXPECT_HAS(g->err.msg, "op embedding has no CUDA kernel");
    } else {
        float table[4 * N] = { 0 }, y[3 * N];
        for (int k = 0; k < 4; k++) { /* also from a captured run, and a run after it is well */
            EXPECT(!vm_set(g, "table", table) && !vm_set(g, "ids", (int32_t[]){ 0, k % 2 ? 3 : 44, 1 }) && !vm_run(g));
            EXPECT(vm_get(g, "y", y) == (k % 2 ? VM_OK : VM_EINPUT));
            if (k % 2 == 0) EXPECT_HAS(g->err.msg, "words: op embedding met the value 44, which is out of range");
        }
    }
    vm_graph_free(g);
}

TEST(profiles_time_every_op) {
    vm_graph *g = vm_graph_new(device(), VM_F32);
    vm_output(g, "y", copied(g, vm_scale(g, input(g, "x"), 2, 0)));
    set(g, "x", 1);
    for (int k = 0; k < 3; k++) {
        g->profile = k > 0;
        EXPECT(!vm_run(g) && is(g, "y", 2, 2));
    }
    for (int64_t i = 0; i < g->n_n; i++)
        EXPECT(g->n[i].t_n == 2 && g->n[i].t_sum >= 0 && g->trace[2 * i + 1] >= g->trace[2 * i]);
    vm_graph_free(g);
}

TEST(devices_that_are_not_there) {
    static const struct { const char *name, *says; vm_status st; } bad[] = {
        { "cud", "unknown", VM_EUSAGE }, { "cuda:", NULL, VM_OK }, { "cuda:x", NULL, VM_OK }, { "cuda:999", NULL, VM_EDEVICE }, { "gpu", "known are", VM_EUSAGE }
    };
    for (int k = 0; k < VM_LEN(bad); k++) {
        vm_error e = { 0 };
        EXPECT(!vm_backend_open(bad[k].name, &e));
        EXPECT(e.status == (bad[k].st ? bad[k].st : e.status) && (e.status == VM_EUSAGE || e.status == VM_EDEVICE));
        EXPECT_HAS(e.msg, bad[k].says ? bad[k].says : "--device");
    }
    EXPECT(vm_backend_open("cpu", NULL) == vm_backend_cpu());
}

int main(void) {
    for (int k = 0; k < VM_LEVELS; k++) counted.cpu[k] = copy_cpu;
    RUN(devices_that_are_not_there);
    if (device()) {
        RUN(runs_are_replayed);
        RUN(arenas_move);
        RUN(gradients_accumulate);
        RUN(host_ops_between_stretches);
        RUN(random_numbers_of_the_run);
        RUN(check_names_the_wrong_kernel);
        RUN(faults_name_op_and_value);
        RUN(profiles_time_every_op);
    }
    return test_end();
}
