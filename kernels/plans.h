/* plans.h - plans that are kept for shapes that come again. A shape that is new takes the place of the one that was not asked for longest. */
#ifndef VM_PLANS_H
#define VM_PLANS_H
#include "kernels/graph.h"

enum { VM_PLANS = 24, VM_PLANS_KEY = 8 };

/* The caller sets the first part once and leaves the rest zeroed. A key is a struct of int64_t alone, at most VM_PLANS_KEY of them. */
typedef struct {
    vm_backend *be;
    vm_type dtype;
    int most;        /* plans at a time, 1 to VM_PLANS */
    vm_arena *arena; /* where all of them take turns; NULL = each has memory of its own */
    /* Appends the nodes of a key's plan, which will stand at a place 0 .. most - 1; a wrong constructor's error stays in g. */
    vm_status (*build)(void *ctx, vm_graph *g, int place, const void *key, vm_error *e);
    void (*forget)(void *ctx, int place); /* frees what else `build` made for a place, whose plan is gone, or failed; NULL = nothing */
    void *ctx;

    uint64_t clock;
    struct vm_plans_kept {
        vm_graph *g; /* NULL = free */
        uint64_t used;
        int64_t key[VM_PLANS_KEY]; /* then 0 */
    } kept[VM_PLANS];
} vm_plans;

/* The planned graph of a key: a kept one, or a new one. *place (place may be NULL): where it stands. NULL: *e says why, and the place is free. */
vm_graph *vm_plans_get(vm_plans *p, const void *key, size_t key_bytes, int *place, vm_error *e);
vm_graph *vm_plans_last(const vm_plans *p); /* the one that was asked for last; NULL = none is kept */
/* What the plan of a key takes (vm_plan_bytes), which is not kept; 0 and *e when it would fail. The place that it stood at is free then. */
size_t vm_plans_bytes(vm_plans *p, const void *key, size_t key_bytes, vm_error *e);
void vm_plans_forget(vm_plans *p, int place);
void vm_plans_free(vm_plans *p); /* forgets all; before their arena is freed */

#endif
