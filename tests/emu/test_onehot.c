/* test_onehot.c - the tables of onehot.cu against tests/emu/onehot.txt, on VISMIN_TEST_DEVICE (emu, cuda:N). With the
 * argument print it prints what the device says in the form of that file.
 *
 * The stored tables follow the manual of the instruction set (PTX ISA: mma.m16n8k16, ldmatrix, shfl.sync, cp.async). A
 * line is the place in all tables where a run of entries begins, then the entries; entries not named are 0. */
#include "kernels/graph.h"
#include "tests/emu/onehot.h"
#include "tests/test.h"

vm_status onehot_run(vm_graph *g, int32_t *out, const uint8_t *bytes);
static int32_t got[ONEHOT_ALL], want[ONEHOT_ALL];

static void print_tables(void) {
    for (int i = 0; i < ONEHOT_ALL; i++) {
        if (!got[i]) continue;
        printf("%d", i);
        for (int n = 0; i < ONEHOT_ALL && got[i] && n < 32; n++) printf(" %d", got[i++]);
        printf("\n");
        i--;
    }
}

static bool read_tables(const char *path) {
    FILE *f = fopen(path, "r");
    char line[2000];
    while (f && fgets(line, sizeof line, f)) {
        char *p = line, *end;
        long at = strtol(p, &end, 10);
        for (p = end; at >= 0 && at < ONEHOT_ALL; p = end) {
            long x = strtol(p, &end, 10);
            if (end == p) break;
            want[at++] = (int32_t)x;
        }
    }
    return f && !fclose(f);
}

static void run_tables(void) {
    vm_error e = { 0 };
    const char *device = getenv("VISMIN_TEST_DEVICE");
    vm_backend *be = vm_backend_open(device ? device : "emu", &e);
    uint8_t bytes[16];
    for (int i = 0; i < 16; i++) bytes[i] = (uint8_t)(i + 1);
    if (!be || be->device != VM_CUDA_DEV) {
        MISMATCH("VISMIN_TEST_DEVICE is no device for kernels: %s\n", e.msg);
        return;
    }
    vm_graph *g = vm_graph_new(be, VM_F32);
    int32_t *out = be->alloc(be, sizeof got);
    uint8_t *in = be->alloc(be, sizeof bytes);
    EXPECT(!be->upload(be, in, bytes, sizeof bytes, &e));
    EXPECT(!onehot_run(g, out, in));
    EXPECT(!be->download(be, got, out, sizeof got, &e));
    be->free(be, out), be->free(be, in);
    vm_graph_free(g);
}

static void compare(int from, int to) {
    for (int i = from; i < to; i++) {
        test_checks++;
        if (got[i] != want[i])
            MISMATCH("entry %d of the table (%d in all): %d, want %d\n", i - from, i, got[i], want[i]);
    }
}
TEST(mma_bf16) { compare(ONEHOT_MMA_BF16, ONEHOT_MMA_F16); }
TEST(mma_f16) { compare(ONEHOT_MMA_F16, ONEHOT_LDMATRIX); }
TEST(ldmatrix) { compare(ONEHOT_LDMATRIX, ONEHOT_SHUFFLE); }
TEST(shuffles) { compare(ONEHOT_SHUFFLE, ONEHOT_CP_ASYNC); }
TEST(cp_async_fills_with_zeros) { compare(ONEHOT_CP_ASYNC, ONEHOT_BITS); }
TEST(votes_and_bits) { compare(ONEHOT_BITS, ONEHOT_ALL); }
TEST(device_runs) { run_tables(); EXPECT(read_tables("tests/emu/onehot.txt")); }

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "print")) {
        run_tables();
        print_tables();
        return test_bad != 0;
    }
    RUN(device_runs);
    RUN(mma_bf16);
    RUN(mma_f16);
    RUN(ldmatrix);
    RUN(shuffles);
    RUN(cp_async_fills_with_zeros);
    RUN(votes_and_bits);
    return test_end();
}
