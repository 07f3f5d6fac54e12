/* mpi_comm.c - run by mpirun (cli_mpi.sh): every collective against what it must give. Prints one line on rank 0. */
#include <stdio.h>

#include "kernels/comm.h"

int main(void) {
    vm_error e = { 0 };
    vm_comm *c;
    if (vm_comm_open(&c, &e)) return fprintf(stderr, "%s\n", e.msg), 1;
    int W = c->size, r = c->rank, bad = 0;
    enum { N = 1001 };
    static float from[64 * N], to[64 * N], x[N];
    for (int i = 0; i < W * N; i++) from[i] = (float)(r * 7 + i % 13);
    bad += c->all_gather(c, from, N, to, &e) != VM_OK;
    for (int q = 0; q < W; q++)
        for (int i = 0; i < N; i++) bad += to[q * N + i] != (float)(q * 7 + i % 13);
    bad += c->reduce_scatter(c, from, N, x, &e) != VM_OK;
    for (int i = 0; i < N; i++) bad += x[i] != (float)(7 * W * (W - 1) / 2 + W * ((r * N + i) % 13));
    for (int i = 0; i < N; i++) x[i] = (float)(r + i);
    bad += c->all_reduce(c, x, N, VM_COMM_SUM, &e) != VM_OK;
    for (int i = 0; i < N; i++) bad += x[i] != (float)(W * (W - 1) / 2 + W * i);
    double d[2] = { r, -r };
    bad += c->all_reduce_f64(c, d, 2, VM_COMM_MIN, &e) || d[0] != 0 || d[1] != 1 - W;
    int word = r == W - 1 ? 4711 : 0;
    bad += c->broadcast(c, &word, sizeof word, W - 1, &e) || word != 4711;
    bool flag = r == W - 1, same, other;
    bad += vm_comm_any(c, &flag, &e) || !flag;
    bad += vm_comm_same(c, 0x123456789abcdefull, &same, &e) || !same;
    bad += vm_comm_same(c, 0x123456789abcdefull + (r ? 1 : 0), &other, &e) || other != (W == 1);
    int64_t lo, hi;
    vm_comm_share(c, 10, &lo, &hi);
    double rows = (double)(hi - lo);
    bad += c->all_reduce_f64(c, &rows, 1, VM_COMM_SUM, &e) || rows != 10;
    double total = bad;
    c->all_reduce_f64(c, &total, 1, VM_COMM_SUM, &e);
    if (!r) printf("%s %d ranks: %d wrong\n", c->name, W, (int)total);
    vm_comm_close(c);
    return total != 0;
}
