/* gpu_choice.c - see gpu_choice.h. A line is entered with the numbers that it comes from: `make bench-gpu` prints both. */
#include "kernels/gpu_choice.h"

#include "kernels/backend_cuda.h"

/* Products of at least these sizes on devices of one architecture. The first line that fits counts. */
typedef struct {
    int arch;
    vm_type type;
    int64_t M, N, K;
    vm_gpu_by by;
} choice;

/* Nothing has been measured on a device yet. */
static const choice measured[] = { { .arch = 0 } };

static int chosen = -1;
void vm_gpu_choose(int by) { chosen = by; }

static vm_gpu_by look_up(int arch, const vm_gpu_product *p) {
    for (const choice *c = measured; c->arch; c++)
        if (c->arch == arch && c->type == p->type && p->M >= c->M && p->N >= c->N && p->K >= c->K) return c->by;
    return VM_GPU_OURS;
}

vm_gpu_by vm_gpu_choice(const vm_graph *g, const vm_gpu_product *p) {
    vm_gpu_by by = chosen >= 0 ? (vm_gpu_by)chosen : g->deterministic ? VM_GPU_OURS : look_up(gpu_of(g)->arch, p);
    vm_error none = { 0 };
    return by == VM_GPU_CUBLASLT && vm_gpu_blas_can(p) && !vm_gpu_blas_open(NULL, &none) ? VM_GPU_CUBLASLT : VM_GPU_OURS;
}
