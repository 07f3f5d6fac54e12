/* cuda_run.c - runs of planned graphs on the CUDA device.
 *
 * The first run calls the launchers node by node: they fill their caches, and modules are loaded. The second captures every
 * stretch of nodes between two ops of the host into a CUDA graph, later ones replay it: one launch for a stretch, no allocation
 * and no wait. What varies from run to run (seed, step) stands in the device block; whether gradients of parameters add up
 * (g->accumulate) chooses between two captures. Runs with something to do that others have not (vm_op.due), and those that
 * are profiled, go node by node.
 *
 * An op of the host waits for its inputs, which come to pinned memory, and queues its results. It may run other graphs of the
 * same device meanwhile. */
#include "kernels/backend_cuda.h"

#ifdef VM_HAVE_CUDA
#include <stddef.h>
#include <string.h>
#include <time.h>

#include "kernels/cuda_parts.h"
#include "kernels/gpu_gemm.h"

typedef struct {
    const vm_node *n;
    void *p;
} table;

/* Nodes [from, to): one op of the host, or a stretch for the device. */
typedef struct {
    int64_t from, to;
    bool host;
    char *pinned;            /* of a host op: inputs and results, one after the other */
    cudaGraphExec_t exec[2]; /* of a stretch, without and with accumulate; NULL = not captured */
} part;

struct cuda_kept {
    cuda_kept *next;
    vm_graph *g;
    uint64_t id;
    part *parts;
    int64_t n_parts, cap_parts;
    bool ran[2];             /* without and with accumulate */
    table *tables;
    int64_t n_tables, cap_tables;
};

/* --- names and errors -------------------------------------------------------------------------------------------------- */
static const char *node_name(const vm_node *n, char *buf, size_t size) {
    snprintf(buf, size, "%s%sop %s", n->label ? n->label : "", n->label ? ": " : "", n->op->name);
    return buf;
}

const char *cuda_fault_name(const cuda_device *d, const vm_gpu_block *b, char *buf, size_t size) {
    const cuda_kept *k = d->graphs;
    while (k && k->id != b->fault_graph) k = k->next;
    if (k && b->fault_node < k->g->n_n) return node_name(&k->g->n[b->fault_node], buf, size);
    snprintf(buf, size, "an op of an earlier graph");
    return buf;
}

vm_status gpu_launched(vm_graph *g, int code) {
    char buf[160];
    const cuda_device *d = cuda_of(g->be);
    return code ? cuda_failed(d, &g->err, code, d->running ? node_name(d->running, buf, sizeof buf) : "a launch") : VM_OK;
}

/* --- what a graph keeps ---------------------------------------------------------------------------------------------- */
static bool skipped(const vm_node *n) { return n->dead || n->op->view; }

static vm_status cut(cuda_kept *k, vm_graph *g) {
    for (int64_t i = 0; i < g->n_n; i++) {
        if (skipped(&g->n[i])) continue;
        bool host = g->n[i].op->host, more = !host && k->n_parts && !k->parts[k->n_parts - 1].host;
        if (!more) {
            if (!vm_grow(&k->parts, &k->cap_parts, k->n_parts + 1, sizeof *k->parts)) return vm_nomem(&g->err, sizeof *k->parts, "a run");
            k->parts[k->n_parts++] = (part){ .from = i, .host = host };
        }
        k->parts[k->n_parts - 1].to = i + 1;
    }
    return VM_OK;
}

static cuda_kept *keep(cuda_device *d, vm_graph *g) {
    if (g->kept) return g->kept;
    cuda_kept *k = vm_calloc(1, sizeof *k);
    if (!k) return vm_nomem(&g->err, sizeof *k, "a run"), NULL;
    *k = (cuda_kept){ .next = d->graphs, .g = g, .id = ++d->next_id };
    d->graphs = k;
    g->kept = k;
    if (!cut(k, g)) return k;
    cuda_forget(g->be, g);
    return NULL;
}

void cuda_forget(vm_backend *be, vm_graph *g) {
    cuda_kept *k = g->kept, **at = &cuda_of(be)->graphs;
    if (!k) return;
    while (*at != k) at = &(*at)->next;
    *at = k->next;
    for (int64_t i = 0; i < k->n_parts; i++) {
        for (int a = 0; a < 2; a++)
            if (k->parts[i].exec[a]) cudaGraphExecDestroy(k->parts[i].exec[a]);
        if (k->parts[i].pinned) cudaFreeHost(k->parts[i].pinned);
    }
    for (int64_t i = 0; i < k->n_tables; i++) be->free(be, k->tables[i].p);
    vm_free(k->parts);
    vm_free(k->tables);
    vm_free(k);
    g->kept = NULL;
}

const void *gpu_table(vm_graph *g, const vm_node *n, const void *host, size_t bytes) {
    cuda_kept *k = g->kept;
    for (int64_t i = 0; i < k->n_tables; i++)
        if (k->tables[i].n == n) return k->tables[i].p;
    void *p = vm_grow(&k->tables, &k->cap_tables, k->n_tables + 1, sizeof *k->tables) ? g->be->room(g->be, bytes) : NULL;
    if (!p) return vm_nomem(&g->err, bytes, "a table of a kernel"), NULL;
    k->tables[k->n_tables++] = (table){ n, p };
    return g->be->upload(g->be, p, host, bytes, &g->err) ? NULL : p;
}

/* --- ops of the host --------------------------------------------------------------------------------------------------- */
static size_t value_bytes(const vm_graph *g, vm_val v) { return (size_t)vm_count(g, v) * vm_type_size(g->v[v].type); }
static vm_val operand(const vm_node *n, int k) { return k < n->n_in ? n->in[k] : n->out[k - n->n_in]; }

static vm_status run_host(cuda_device *d, part *p, vm_graph *g) {
    vm_node *n = &g->n[p->from];
    const vm_kernel f = n->op->cpu[VM_MIN(vm_cpu_level(), VM_LEVELS - 1)];
    const int m = n->n_in + n->n_out;
    size_t at[VM_MAX_IN + VM_MAX_OUT + 1] = { 0 };
    void *device[VM_MAX_IN + VM_MAX_OUT];
    for (int k = 0; k < m; k++) at[k + 1] = at[k] + (operand(n, k) ? (value_bytes(g, operand(n, k)) + 63) / 64 * 64 : 0);
    if (!p->pinned && cudaMallocHost((void **)&p->pinned, at[m] + 1)) return vm_nomem(&g->err, at[m], "an op of the host");
    for (int k = 0; k < n->n_in; k++) {
        vm_val v = n->in[k];
        if (!v || !value_bytes(g, v)) continue;
        int code = cudaMemcpyAsync(p->pinned + at[k], g->v[v].data, value_bytes(g, v), cudaMemcpyDeviceToHost, d->c.stream);
        if (code) return cuda_failed(d, &g->err, code, "a copy from the device");
    }
    if (g->be->wait(g->be, &g->err)) return g->err.status;
    for (int k = 0; k < m; k++) { /* the kernel of the processor finds host addresses */
        vm_value *x = &g->v[operand(n, k)];
        device[k] = x->data, x->data = operand(n, k) ? p->pinned + at[k] : NULL;
    }
    vm_status st = f(g, n);
    for (int k = m; k-- > 0;) g->v[operand(n, k)].data = device[k];
    for (int k = n->n_in; k < m && !st; k++)
        st = g->be->upload(g->be, device[k], p->pinned + at[k], value_bytes(g, operand(n, k)), &g->err);
    return st;
}

/* --- nodes of the device ----------------------------------------------------------------------------------------------- */
static bool is_due(const vm_graph *g, const vm_node *n) { return !n->op->due || n->op->due(g, n); }

static vm_status run_node(cuda_device *d, vm_graph *g, vm_node *n) {
    for (int k = 0; k < n->n_out; k++) { /* a sum that could not stand in place starts as a copy of the old one */
        vm_val old = n->acc[k];
        if (!old || g->v[old].kind == VM_GRAD || g->v[old].data == g->v[n->out[k]].data) continue;
        if (g->be->copy(g->be, g->v[n->out[k]].data, g->v[old].data, value_bytes(g, old), &g->err)) return g->err.status;
    }
    d->running = n;
    vm_status st = n->op->cuda(g, n);
    d->running = NULL;
    if (st && !g->err.status) vm_fail(&g->err, st, "%s: op %s failed", n->label ? n->label : "graph", n->op->name);
    return g->err.status;
}

/* What varies, in stream order; again for each stretch, because a graph that an op of the host ran has put its own there. */
static vm_status tell(cuda_device *d, vm_graph *g) {
    const cuda_kept *k = g->kept;
    vm_gpu_block b = { .seed = g->seed, .step = g->step, .graph = k->id };
    return g->be->upload(g->be, d->c.block, &b, offsetof(vm_gpu_block, fault_graph), &g->err);
}

static vm_status launch_each(cuda_device *d, part *p, vm_graph *g) {
    for (int64_t i = p->from; i < p->to; i++) {
        vm_node *n = &g->n[i];
        if (skipped(n) || !is_due(g, n)) continue;
        if (g->be->check ? cuda_checked(g, n, run_node) : run_node(d, g, n)) return g->err.status;
        if (n->op->ran) n->op->ran(g, n);
    }
    return VM_OK;
}

/* --- captures ------------------------------------------------------------------------------------------------------------ */
static vm_status capture(cuda_device *d, part *p, vm_graph *g) {
    cudaGraph_t made = NULL;
    int code = cudaStreamBeginCapture(d->c.stream, cudaStreamCaptureModeThreadLocal);
    if (code) return cuda_failed(d, &g->err, code, "a capture");
    for (int64_t i = p->from; i < p->to && !g->err.status; i++)
        if (!skipped(&g->n[i]) && is_due(g, &g->n[i])) run_node(d, g, &g->n[i]);
    code = cudaStreamEndCapture(d->c.stream, &made); /* also after an error: the stream must come out of it */
    if (!g->err.status) cuda_failed(d, &g->err, code, "a capture");
    if (!g->err.status) cuda_failed(d, &g->err, cudaGraphInstantiate(&p->exec[g->accumulate], made, 0), "making a captured graph");
    if (made) cudaGraphDestroy(made);
    return g->err.status;
}

static vm_status replay(cuda_device *d, part *p, vm_graph *g) {
    if (!p->exec[g->accumulate] && capture(d, p, g)) return g->err.status;
    if (cuda_failed(d, &g->err, cudaGraphLaunch(p->exec[g->accumulate], d->c.stream), "a captured graph")) return g->err.status;
    for (int64_t i = p->from; i < p->to; i++)
        if (!skipped(&g->n[i]) && g->n[i].op->ran) g->n[i].op->ran(g, &g->n[i]);
    return VM_OK;
}

/* --- profiles ------------------------------------------------------------------------------------------------------------ */
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Node by node between events; waits. */
static vm_status run_profiled(cuda_device *d, cuda_kept *k, vm_graph *g) {
    cudaEvent_t *at = vm_calloc((size_t)g->n_n + 1, sizeof *at);
    int code = 0;
    if (g->n_trace < g->n_n) {
        vm_free(g->trace);
        g->trace = vm_calloc((size_t)g->n_n, 2 * sizeof *g->trace);
        g->n_trace = g->trace ? g->n_n : 0;
    }
    if (!at || !g->trace) vm_nomem(&g->err, (size_t)g->n_n * sizeof *at, "a profile");
    for (int64_t i = 0; i <= g->n_n && !g->err.status && !code; i++) code = cudaEventCreate(&at[i]);
    double t0 = now();
    for (int64_t j = 0; j < k->n_parts && !g->err.status && !code; j++) {
        part *p = &k->parts[j];
        if (!p->host && tell(d, g)) break;
        for (int64_t i = p->from; i < p->to && !g->err.status && !code; i++) {
            vm_node *n = &g->n[i];
            code = cudaEventRecord(at[i], d->c.stream);
            if (skipped(n) || !is_due(g, n)) continue;
            if (p->host ? run_host(d, p, g) : run_node(d, g, n)) break;
            if (n->op->ran) n->op->ran(g, n);
        }
        if (!code) code = cudaEventRecord(at[p->to], d->c.stream);
    }
    if (!g->err.status && !code && !g->be->wait(g->be, &g->err)) {
        const int64_t first = k->n_parts ? k->parts[0].from : 0;
        for (int64_t j = 0; j < k->n_parts; j++)
            for (int64_t i = k->parts[j].from; i < k->parts[j].to && !code; i++) {
                float begin = 0, end = 0;
                code = cudaEventElapsedTime(&begin, at[first], at[i]);
                if (!code) code = cudaEventElapsedTime(&end, at[first], at[i + 1]);
                if (skipped(&g->n[i])) continue;
                g->trace[2 * i] = t0 + 1e-3 * (double)begin, g->trace[2 * i + 1] = t0 + 1e-3 * (double)end;
                g->n[i].t_sum += 1e-3 * (double)(end - begin), g->n[i].t_n++;
            }
    }
    for (int64_t i = 0; at && i <= g->n_n; i++)
        if (at[i]) cudaEventDestroy(at[i]);
    vm_free(at);
    return code && !g->err.status ? cuda_failed(d, &g->err, code, "a profile") : g->err.status;
}

/* --- run ------------------------------------------------------------------------------------------------------------------- */
vm_status cuda_run(vm_backend *be, vm_graph *g) {
    cuda_device *d = cuda_of(be);
    cuda_kept *k = keep(d, g);
    if (!k || cuda_failed(d, &g->err, cudaSetDevice(d->c.device), "choosing the device")) return g->err.status;
    if (vm_gpu_packs_refresh(g)) return g->err.status;
    if (g->profile) return run_profiled(d, k, g);
    bool plain = !k->ran[g->accumulate] || be->check;
    for (int64_t i = 0; i < g->n_n && !plain; i++) plain = !skipped(&g->n[i]) && g->n[i].op->due && g->n[i].op->due(g, &g->n[i]);
    for (int64_t j = 0; j < k->n_parts; j++) {
        part *p = &k->parts[j];
        if (p->host ? run_host(d, p, g) : tell(d, g) || (plain ? launch_each(d, p, g) : replay(d, p, g))) return g->err.status;
    }
    k->ran[g->accumulate] = true;
    return VM_OK;
}
#endif
