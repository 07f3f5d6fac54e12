/* gpu_gemm.c - see gpu_gemm.h.
 *
 * The plan minimises an estimate in units of one round of the small tile (64 x 64 x 64 bytes of K) on one multiprocessor: blocks
 * are dealt to multiprocessors evenly, each costs its rounds and a fixed start, parts of K cost the bytes of their sums. The big
 * tile does four units of work for three of time: it reads half as many bytes of shared memory per product. */
#include "kernels/gpu_gemm.h"

#include <string.h>

#include "kernels/backend_cuda.h"

static int forced_tile = -1, forced_splits;
void vm_gpu_force(int tile, int splits) { forced_tile = tile, forced_splits = splits; }

static const struct { int m, n, k_bytes; double round, start; } tiles[GPU_TILES] = {
    { 128, 128, 64, 3, 12 }, { 64, 64, 64, 1, 6 }, { 16, 64, 128, 1, 6 }
};
enum { MOST_SPLITS = 64, LEAST_ROUNDS = 4 };
#define MOST_PARTIALS ((int64_t)1 << 25) /* elements: 128 MiB */

static int64_t up(int64_t n, int64_t d) { return (n + d - 1) / d; }

int64_t vm_gpu_rounds(vm_gpu_tile tile, vm_type t, int64_t K) {
    return up(K, tiles[tile].k_bytes / (t == VM_F32 ? 4 : 2));
}

static double estimate(vm_gpu_tile tile, int splits, vm_type t, int64_t batch, int64_t M, int64_t N, int64_t K, int sms) {
    int64_t rounds = vm_gpu_rounds(tile, t, K), blocks = batch * up(M, tiles[tile].m) * up(N, tiles[tile].n) * splits;
    double sums = splits > 1 ? (double)(splits * batch * M * N) * 8 / 5000 / sms + 8 : 0;
    return (double)up(blocks, sms) * ((double)up(rounds, splits) * tiles[tile].round + tiles[tile].start) + sums;
}

vm_gpu_plan vm_gpu_product_plan(const vm_graph *g, vm_type t, int64_t batch, int64_t M, int64_t N, int64_t K, bool flat, bool fixed) {
    int sms = gpu_of(g)->sms;
    vm_gpu_plan best = { GPU_SMALL, 1 };
    double least = -1;
    for (int tile = 0; tile < GPU_TILES; tile++) {
        if (tile == GPU_SKINNY ? !flat || M > 16 : flat && M <= 16) continue;
        if (forced_tile >= 0 && forced_tile < GPU_SKINNY && tile != GPU_SKINNY && tile != forced_tile) continue;
        int64_t rounds = VM_MAX(vm_gpu_rounds((vm_gpu_tile)tile, t, K), (int64_t)1);
        int64_t first = forced_splits && !fixed ? VM_MIN(rounds, (int64_t)forced_splits) : 1;
        int64_t last = forced_splits || fixed ? first : VM_MIN(rounds / LEAST_ROUNDS, (int64_t)MOST_SPLITS);
        for (int64_t s = first; s == first || (s <= last && s * batch * M * N <= MOST_PARTIALS); s++) {
            double cost = estimate((vm_gpu_tile)tile, (int)s, t, batch, M, N, K, sms);
            if (least < 0 || cost < least) least = cost, best = (vm_gpu_plan){ (vm_gpu_tile)tile, (int)s };
        }
    }
    return best;
}

static void keep(vm_graph *g, vm_node *n, vm_gpu_plan plan, int64_t count) {
    n->i[15] = plan.splits * GPU_TILES + (int)plan.tile;
    if (plan.splits > 1) vm_node_out(g, n, VM_F32, 1, (int64_t[]){ plan.splits * count });
}
vm_gpu_plan vm_gpu_plan_of(const vm_node *n) {
    return (vm_gpu_plan){ (vm_gpu_tile)(n->i[15] % GPU_TILES), (int)(n->i[15] / GPU_TILES) };
}
float *vm_gpu_partial(const vm_graph *g, const vm_node *n) {
    return vm_gpu_plan_of(n).splits > 1 ? vm_o(g, n, n->n_out - 1) : NULL;
}

void vm_gpu_planned(vm_graph *g, vm_node *n, vm_type t, int64_t batch, int64_t M, int64_t N, int64_t K, bool flat, bool fixed) {
    if (g->be->device == VM_CUDA_DEV) keep(g, n, vm_gpu_product_plan(g, t, batch, M, N, K, flat, fixed), batch * M * N);
}

void vm_gpu_planned_sums(vm_graph *g, vm_node *n, int64_t rows, int64_t cols) {
    if (g->be->device != VM_CUDA_DEV) return;
    int64_t wanted = up(4 * gpu_of(g)->sms, VM_MAX(up(cols, 128), (int64_t)1)), splits = VM_MIN(wanted, up(rows, 64));
    if (forced_splits) splits = VM_MIN((int64_t)forced_splits, rows);
    keep(g, n, (vm_gpu_plan){ GPU_SMALL, (int)VM_MAX(splits, (int64_t)1) }, cols);
}

/* --- copies of constant weights ------------------------------------------------------------------------------------- */
static vm_status bring_up(vm_graph *g, vm_param *p, vm_gpu_pack *k) {
    if (k->version == p->version) return VM_OK;
    vm_status st = k->make(g, p, k);
    if (!st) k->version = p->version;
    return st;
}

const void *vm_gpu_packed(vm_graph *g, vm_param *p, vm_gpu_pack want) {
    vm_gpu_pack *k = p->gpu_packs;
    while (k && (k->type != want.type || k->make != want.make || memcmp(k->key, want.key, sizeof k->key))) k = k->next;
    if (!k) {
        size_t bytes = (size_t)vm_param_count(p) * vm_type_size(want.type);
        k = vm_calloc(1, sizeof *k);
        if (k) *k = want, k->data = g->be->alloc(g->be, bytes);
        if (!k || !k->data) return vm_free(k), vm_nomem(&g->err, bytes, p->name), NULL;
        k->next = p->gpu_packs, p->gpu_packs = k;
    }
    return bring_up(g, p, k) ? NULL : k->data;
}

vm_status vm_gpu_packs_refresh(vm_graph *g) {
    for (int64_t v = 1; v < g->n_v; v++)
        for (vm_gpu_pack *k = vm_gpu_packs(g, (vm_val)v) ? g->v[v].param->gpu_packs : NULL; k; k = k->next)
            if (bring_up(g, g->v[v].param, k)) return g->err.status;
    return VM_OK;
}

void vm_gpu_packs_free(vm_param *p) {
    for (vm_gpu_pack *k = p->gpu_packs, *next; k; k = next) {
        next = k->next;
        p->be->free(p->be, k->data);
        vm_free(k);
    }
    p->gpu_packs = NULL;
}
