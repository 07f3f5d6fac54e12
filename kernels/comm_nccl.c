/* comm_nccl.c - the collectives of comm.h through NCCL: pointers are device memory, calls are queued on one stream. The library is
 * opened at run time, so the program starts where it is missing; its id travels over the host's communicator. Compiled where
 * NVIDIA's headers are. */
#include "kernels/comm.h"

#ifdef VM_HAVE_NCCL
#include <dlfcn.h>
#include <nccl.h>
#include <stdlib.h>

typedef struct {
    vm_comm c;
    vm_comm *host;
    void *lib;
    ncclComm_t nccl;
    cudaStream_t stream;
    ncclResult_t (*get_unique_id)(ncclUniqueId *);
    ncclResult_t (*init_rank)(ncclComm_t *, int, ncclUniqueId, int);
    ncclResult_t (*destroy)(ncclComm_t);
    ncclResult_t (*all_gather)(const void *, void *, size_t, ncclDataType_t, ncclComm_t, cudaStream_t);
    ncclResult_t (*reduce_scatter)(const void *, void *, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t);
    ncclResult_t (*all_reduce)(const void *, void *, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t);
    ncclResult_t (*broadcast)(const void *, void *, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t);
    const char *(*error_string)(ncclResult_t);
} nccl_comm;

static vm_status check(const nccl_comm *x, ncclResult_t rc, const char *what, vm_error *e) {
    if (rc == ncclSuccess) return VM_OK;
    return vm_fail(e, VM_EDEVICE, "NCCL %s failed: %s; start the same command again, it goes on from the last checkpoint", what, x->error_string(rc));
}

static vm_status all_gather(vm_comm *c, const float *from, int64_t n, float *to, vm_error *e) {
    nccl_comm *x = (nccl_comm *)c;
    return check(x, x->all_gather(from, to, (size_t)n, ncclFloat32, x->nccl, x->stream), "all_gather", e);
}

static vm_status reduce_scatter(vm_comm *c, const float *from, int64_t n, float *to, vm_error *e) {
    nccl_comm *x = (nccl_comm *)c;
    return check(x, x->reduce_scatter(from, to, (size_t)n, ncclFloat32, ncclSum, x->nccl, x->stream), "reduce_scatter", e);
}

static vm_status all_reduce(vm_comm *c, float *v, int64_t n, vm_comm_op op, vm_error *e) {
    nccl_comm *x = (nccl_comm *)c;
    ncclRedOp_t o = op == VM_COMM_SUM ? ncclSum : op == VM_COMM_MAX ? ncclMax : ncclMin;
    return check(x, x->all_reduce(v, v, (size_t)n, ncclFloat32, o, x->nccl, x->stream), "all_reduce", e);
}

static vm_status broadcast(vm_comm *c, void *v, size_t bytes, int root, vm_error *e) {
    nccl_comm *x = (nccl_comm *)c;
    return check(x, x->broadcast(v, v, bytes, ncclUint8, root, x->nccl, x->stream), "broadcast", e);
}

static vm_status all_reduce_f64(vm_comm *c, double *v, int64_t n, vm_comm_op op, vm_error *e) {
    vm_comm *host = ((nccl_comm *)c)->host;
    return host->all_reduce_f64(host, v, n, op, e);
}

static void end_all(vm_comm *c, int code) { ((nccl_comm *)c)->host->abort(((nccl_comm *)c)->host, code); }

static void close_nccl(vm_comm *c) {
    nccl_comm *x = (nccl_comm *)c;
    if (x->nccl) x->destroy(x->nccl);
    if (x->lib) dlclose(x->lib);
    vm_free(x);
}

/* Every function by name; false when one is missing. */
static bool load(nccl_comm *x) {
    const struct {
        void *to;
        const char *name;
    } f[] = { { &x->get_unique_id, "ncclGetUniqueId" },   { &x->init_rank, "ncclCommInitRank" }, { &x->destroy, "ncclCommDestroy" },
              { &x->all_gather, "ncclAllGather" },        { &x->reduce_scatter, "ncclReduceScatter" }, { &x->all_reduce, "ncclAllReduce" },
              { &x->broadcast, "ncclBroadcast" },         { &x->error_string, "ncclGetErrorString" } };
    for (int k = 0; k < VM_LEN(f); k++)
        if (!(*(void **)f[k].to = dlsym(x->lib, f[k].name))) return false;
    return true;
}

vm_status vm_comm_nccl(vm_comm **out, vm_comm *host, void *stream, vm_error *e) {
    ncclUniqueId id = { 0 };
    nccl_comm *x = vm_calloc(1, sizeof *x);
    *out = NULL;
    if (!x) return vm_nomem(e, sizeof *x, "a communicator");
    x->c = (vm_comm){ "nccl", host->rank, host->size, all_gather, reduce_scatter, all_reduce, broadcast, all_reduce_f64, end_all,
                      close_nccl };
    x->host = host, x->stream = stream;
    x->lib = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!x->lib || !load(x)) vm_fail(e, VM_EDEVICE, "libnccl.so.2 cannot be opened (%s); install NCCL or train on one GPU", x->lib ? "a function is missing" : dlerror());
    else if (host->rank == 0) check(x, x->get_unique_id(&id), "start", e);
    /* every rank must reach the broadcast, or the others wait for it */
    bool failed = e->status != VM_OK;
    vm_error shared = { 0 };
    if (vm_comm_any(host, &failed, &shared) || (!failed && host->broadcast(host, &id, sizeof id, 0, &shared))) vm_fail(e, shared.status, "%s", shared.msg);
    else if (failed) vm_fail(e, VM_EDEVICE, "NCCL could not be started on another rank");
    else check(x, x->init_rank(&x->nccl, host->size, id, host->rank), "start", e);
    if (e->status) close_nccl(&x->c);
    else *out = &x->c;
    return e->status;
}
#endif
