/* main.cu - `bugs list` prints the bugs, `bugs N` runs one: exit status 0 when the results are right, 1 when they are
 * wrong. `bugs 0` runs all kernels without any. */
#include "kernels/gpu.cuh"
#include "tests/emu/bugs/bugs.h"

#include <string.h>

vm_graph *bug_graph;

static const struct {
    int (*run)(int);
    const char *suite, *what;
} list[] = {
    { NULL, "", "" },
#define X(name, suite, what) { run_##suite, #suite, what },
    BUG_LIST(X)
#undef X
};

int main(int argc, char **argv) {
    static vm_graph g;
    static vm_cuda device;
    cudaStream_t s;
    int k = argc > 1 ? atoi(argv[1]) : 0, bad = 0;
    if (argc > 1 && !strcmp(argv[1], "list")) {
        for (int i = 1; i < BUGS; i++) printf("%d %s: %s\n", i, list[i].suite, list[i].what);
        return 0;
    }
    if (k < 0 || k >= BUGS) return 2;
    if (cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking)) return 3;
    device.stream = s, g.be = &device.be, bug_graph = &g;
    if (k) bad = list[k].run(k);
    else bad = run_rows(0) + 2 * run_gemm(0) + 4 * run_flash(0) + 8 * run_reduce(0) + 16 * run_host(0);
    if (bad) fprintf(stderr, "wrong results (%d)\n", bad);
    cudaStreamDestroy(s);
    return bad != 0;
}
