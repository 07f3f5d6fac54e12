/* backend_cuda.c - the CUDA device: memory, copies, and the run of a planned graph on one stream. In test builds
 * (VM_EMU) the same file runs on the emulated device of tests/emu.
 *
 * Everything is queued on one stream in the order of the calls; upload may return before its copy is done, but not before `src`
 * may be changed; download waits. What a kernel cannot take (gpu_fault) stands in the device block and is found at the next wait. */
#include "kernels/backend_cuda.h"

#ifdef VM_HAVE_CUDA
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#ifdef VM_EMU
#include "tests/emu/cudart.h"
#else
#include <cuda_runtime_api.h>
#endif

enum { DEVICES = 64, OLDEST_ARCH = 80 };

/* What is kept of a planned graph (g->kept). */
typedef struct {
    const vm_node *n;
    void *p;
} table;
typedef struct kept {
    struct kept *next; /* all graphs of the device: a fault names one of them */
    vm_graph *g;
    uint64_t id;
    table *tables;
    int64_t n_tables, cap_tables;
} kept;

typedef struct {
    vm_cuda c;
    char name[16];
    kept *graphs;
    uint64_t next_id;
    const vm_node *running; /* whose launcher is at work: errors name it */
} cuda_device;

static cuda_device *of(vm_backend *be) { return (cuda_device *)(void *)be; }

/* --- errors -------------------------------------------------------------------------------------------------------- */
/* One sentence and what to do; the code's own text in front where there is nothing better to say. */
static vm_status failed(const cuda_device *d, vm_error *e, int code, const char *what) {
    const char *text = cudaGetErrorString((cudaError_t)code);
    switch (code) {
    case cudaSuccess: return VM_OK;
    case cudaErrorMemoryAllocation:
        return vm_fail(e, VM_EDEVICE, "%s: out of GPU memory at %s; take a smaller batch or --device cpu", d->name, what);
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
        return vm_fail(e, VM_EDEVICE, "%s: this program has no code for sm_%d that its driver can load (%s: %s); build with CUARCH=%d or update the driver",
                       d->name, d->c.arch, what, text, d->c.arch);
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorMisalignedAddress:
        return vm_fail(e, VM_EDEVICE, "%s: a kernel failed before %s was done (%s); this is a bug of the program: --check finds the kernel", d->name,
                       what, text);
    default: return vm_fail(e, VM_EDEVICE, "%s: %s failed: %s (CUDA error %d)", d->name, what, text, code);
    }
}

static const char *node_name(const vm_node *n, char *buf, size_t size) {
    snprintf(buf, size, "%s%sop %s", n->label ? n->label : "", n->label ? ": " : "", n->op->name);
    return buf;
}

vm_status gpu_launched(vm_graph *g, int code) {
    char buf[160];
    const cuda_device *d = of(g->be);
    return code ? failed(d, &g->err, code, d->running ? node_name(d->running, buf, sizeof buf) : "a launch") : VM_OK;
}

static vm_status faulted(cuda_device *d, const vm_gpu_block *b, vm_error *e) {
    char buf[160];
    const kept *k = d->graphs;
    while (k && k->id != b->fault_graph) k = k->next;
    const char *name = k && b->fault_node < k->g->n_n ? node_name(&k->g->n[b->fault_node], buf, sizeof buf) : "an op of an earlier graph";
    int code = cudaMemsetAsync(&d->c.block->faulted, 0, sizeof d->c.block->faulted, d->c.stream);
    vm_fail(e, VM_EINPUT, "%s: %s met the value %" PRId64 ", which is out of range", d->name, name, b->fault_value);
    return failed(d, e, code, "clearing the fault");
}

/* --- memory -------------------------------------------------------------------------------------------------------- */
static void *cuda_room(vm_backend *be, size_t bytes) {
    void *p = NULL;
    if (!cudaMalloc(&p, VM_MAX(bytes, (size_t)1))) return p;
    cudaGetLastError(); /* forget it: the caller says what the memory was for */
    return NULL;
}
static void cuda_free(vm_backend *be, void *p) {
    if (p) cudaFree(p);
}
static void *cuda_alloc(vm_backend *be, size_t bytes) {
    void *p = cuda_room(be, bytes);
    if (p && cudaMemsetAsync(p, 0, VM_MAX(bytes, (size_t)1), of(be)->c.stream)) return cuda_free(be, p), NULL;
    return p;
}

static vm_status cuda_upload(vm_backend *be, void *dst, const void *src, size_t bytes, vm_error *e) {
    if (!bytes) return VM_OK;
    return failed(of(be), e, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, of(be)->c.stream), "a copy to the device");
}
static vm_status cuda_copy(vm_backend *be, void *dst, const void *src, size_t bytes, vm_error *e) {
    if (!bytes || dst == src) return VM_OK;
    return failed(of(be), e, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, of(be)->c.stream), "a copy on the device");
}
static vm_status cuda_wait(vm_backend *be, vm_error *e) {
    cuda_device *d = of(be);
    vm_gpu_block b;
    int code = cudaMemcpyAsync(&b, d->c.block, sizeof b, cudaMemcpyDeviceToHost, d->c.stream);
    if (!code) code = cudaStreamSynchronize(d->c.stream);
    if (code) return failed(d, e, code, "waiting for the device");
    return b.faulted ? faulted(d, &b, e) : VM_OK;
}
static vm_status cuda_download(vm_backend *be, void *dst, const void *src, size_t bytes, vm_error *e) {
    int code = bytes ? cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, of(be)->c.stream) : cudaSuccess;
    if (code) return failed(of(be), e, code, "a copy from the device");
    return cuda_wait(be, e);
}

/* --- what a graph keeps ---------------------------------------------------------------------------------------------- */
static kept *keep(cuda_device *d, vm_graph *g) {
    if (g->kept) return g->kept;
    kept *k = vm_calloc(1, sizeof *k);
    if (!k) return vm_nomem(&g->err, sizeof *k, "a run"), NULL;
    *k = (kept){ .next = d->graphs, .g = g, .id = ++d->next_id };
    d->graphs = k;
    return g->kept = k;
}

static void cuda_forget(vm_backend *be, vm_graph *g) {
    kept *k = g->kept, **at = &of(be)->graphs;
    if (!k) return;
    while (*at != k) at = &(*at)->next;
    *at = k->next;
    for (int64_t i = 0; i < k->n_tables; i++) cuda_free(be, k->tables[i].p);
    vm_free(k->tables);
    vm_free(k);
    g->kept = NULL;
}

const void *gpu_table(vm_graph *g, const vm_node *n, const void *host, size_t bytes) {
    kept *k = g->kept;
    for (int64_t i = 0; i < k->n_tables; i++)
        if (k->tables[i].n == n) return k->tables[i].p;
    void *p = vm_grow(&k->tables, &k->cap_tables, k->n_tables + 1, sizeof *k->tables) ? g->be->room(g->be, bytes) : NULL;
    if (!p) return vm_nomem(&g->err, bytes, "a table of a kernel"), NULL;
    k->tables[k->n_tables++] = (table){ n, p };
    return g->be->upload(g->be, p, host, bytes, &g->err) ? NULL : p;
}

/* --- run --------------------------------------------------------------------------------------------------------------- */
static size_t value_bytes(const vm_graph *g, vm_val v) { return (size_t)vm_count(g, v) * vm_type_size(g->v[v].type); }

/* An op of the host: its CPU kernel between a download and an upload. */
static vm_status run_host(vm_graph *g, vm_node *n) {
    void *host[VM_MAX_IN + VM_MAX_OUT] = { 0 }, *device[VM_MAX_IN + VM_MAX_OUT] = { 0 };
    int m = n->n_in + n->n_out;
    vm_kernel f = n->op->cpu[VM_MIN(vm_cpu_level(), VM_LEVELS - 1)];
    for (int k = 0; k < m && !g->err.status; k++) {
        vm_val v = k < n->n_in ? n->in[k] : n->out[k - n->n_in];
        if (!v) continue;
        if (!(host[k] = vm_alloc(value_bytes(g, v) + 1))) vm_nomem(&g->err, value_bytes(g, v), n->op->name);
        else if (k < n->n_in) g->be->download(g->be, host[k], g->v[v].data, value_bytes(g, v), &g->err);
    }
    for (int k = 0; k < m; k++) {
        vm_value *x = &g->v[k < n->n_in ? n->in[k] : n->out[k - n->n_in]];
        device[k] = x->data, x->data = host[k];
    }
    vm_status st = g->err.status ? g->err.status : f(g, n);
    for (int k = m; k-- > 0;) g->v[k < n->n_in ? n->in[k] : n->out[k - n->n_in]].data = device[k];
    for (int k = n->n_in; k < m && !st; k++)
        st = g->be->upload(g->be, device[k], host[k], value_bytes(g, n->out[k - n->n_in]), &g->err);
    for (int k = 0; k < m; k++) vm_free(host[k]);
    return st;
}

static vm_status run_node(cuda_device *d, vm_graph *g, vm_node *n) {
    for (int k = 0; k < n->n_out; k++) { /* a sum that could not stand in place starts as a copy of the old one */
        vm_val old = n->acc[k];
        if (!old || g->v[old].kind == VM_GRAD || g->v[old].data == g->v[n->out[k]].data) continue;
        if (g->be->copy(g->be, g->v[n->out[k]].data, g->v[old].data, value_bytes(g, old), &g->err)) return g->err.status;
    }
    d->running = n;
    vm_status st = n->op->host ? run_host(g, n) : n->op->cuda(g, n);
    d->running = NULL;
    if (st && !g->err.status) vm_fail(&g->err, st, "%s: op %s failed", n->label ? n->label : "graph", n->op->name);
    return g->err.status;
}

static vm_status cuda_run(vm_backend *be, vm_graph *g) {
    cuda_device *d = of(be);
    kept *k = keep(d, g);
    if (!k) return g->err.status;
    vm_gpu_block b = { .seed = g->seed, .step = g->step, .graph = k->id };
    if (be->upload(be, d->c.block, &b, offsetof(vm_gpu_block, fault_graph), &g->err)) return g->err.status;
    for (int64_t i = 0; i < g->n_n; i++) {
        vm_node *n = &g->n[i];
        if (!n->dead && !n->op->view && run_node(d, g, n)) return g->err.status;
    }
    for (int64_t i = 0; i < g->n_n; i++)
        if (!g->n[i].dead && g->n[i].op->ran) g->n[i].op->ran(g, &g->n[i]);
    return VM_OK;
}

/* --- opening ------------------------------------------------------------------------------------------------------------ */
static vm_status no_device(vm_error *e, int ordinal, int code, int n) {
    switch (code) {
    case cudaSuccess:
        return vm_fail(e, VM_EDEVICE, "cuda:%d: this machine has %d CUDA device%s; use cuda:0%s or --device cpu", ordinal, n, n == 1 ? "" : "s",
                       n > 1 ? " and up" : "");
    case cudaErrorInsufficientDriver:
        return vm_fail(e, VM_EDEVICE, "cuda:%d: no NVIDIA driver, or one older than this program's CUDA %d.%d; install or update the driver, or use --device cpu",
                       ordinal, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    case cudaErrorNoDevice:
        return vm_fail(e, VM_EDEVICE, "cuda:%d: the NVIDIA driver finds no device (CUDA_VISIBLE_DEVICES?); use --device cpu", ordinal);
    default:
        return vm_fail(e, VM_EDEVICE, "cuda:%d: CUDA does not start: %s (error %d); use --device cpu", ordinal,
                       cudaGetErrorString((cudaError_t)code), code);
    }
}

static int attribute(int device, int which) {
    int x = 0;
    return cudaDeviceGetAttribute(&x, (enum cudaDeviceAttr)which, device) ? 0 : x;
}

static vm_status start(cuda_device *d, int ordinal, vm_error *e) {
    int n = 0, code = cudaGetDeviceCount(&n);
    if (code || ordinal >= n) return no_device(e, ordinal, code, n);
    d->c.device = ordinal;
    d->c.arch = 10 * attribute(ordinal, cudaDevAttrComputeCapabilityMajor) + attribute(ordinal, cudaDevAttrComputeCapabilityMinor);
    d->c.sms = attribute(ordinal, cudaDevAttrMultiProcessorCount);
    d->c.smem_block = (size_t)attribute(ordinal, cudaDevAttrMaxSharedMemoryPerBlockOptin);
    if (d->c.arch < OLDEST_ARCH)
        return vm_fail(e, VM_EDEVICE, "%s: its architecture is sm_%d and kernels need sm_%d (Ampere) or newer; use --device cpu", d->name, d->c.arch,
                       OLDEST_ARCH);
    if ((code = cudaSetDevice(ordinal))) return failed(d, e, code, "opening the device");
    if ((code = cudaStreamCreateWithFlags((cudaStream_t *)&d->c.stream, cudaStreamNonBlocking))) return failed(d, e, code, "opening a stream");
    d->c.block = cuda_alloc(&d->c.be, sizeof *d->c.block);
    return d->c.block ? VM_OK : vm_nomem(e, sizeof *d->c.block, d->name);
}

vm_backend *vm_backend_cuda(int ordinal, vm_error *e) {
    static cuda_device *device[DEVICES];
    if (ordinal < 0 || ordinal >= DEVICES) return no_device(e, ordinal, cudaErrorNoDevice, 0), NULL;
    if (device[ordinal]) return &device[ordinal]->c.be;
    cuda_device *d = vm_calloc(1, sizeof *d);
    if (!d) return vm_nomem(e, sizeof *d, "the device"), NULL;
#ifdef VM_EMU
    snprintf(d->name, sizeof d->name, "emu");
#else
    snprintf(d->name, sizeof d->name, "cuda:%d", ordinal);
#endif
    d->c.be = (vm_backend){ .name = d->name, .device = VM_CUDA_DEV, .alloc = cuda_alloc, .room = cuda_room, .free = cuda_free,
                            .upload = cuda_upload, .download = cuda_download, .copy = cuda_copy, .run = cuda_run,
                            .forget = cuda_forget, .wait = cuda_wait };
    if (start(d, ordinal, e)) {
        if (d->c.stream) cudaStreamDestroy(d->c.stream);
        vm_free(d);
        return NULL;
    }
    return &(device[ordinal] = d)->c.be;
}
#endif
