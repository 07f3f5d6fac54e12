/* onednn.c - see onednn.h. */
#include "kernels/graph.h"

void vm_packs_free(vm_param *p); /* called by vm_param_free */

#ifdef VM_F64_BUILD
void vm_packs_free(vm_param *p) {}
#else
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/onednn.h"

dnnl_engine_t dnn_engine;
dnnl_stream_t dnn_stream;

bool dnn_start(vm_error *e) {
    bool ok = true;
#pragma omp critical(vm_onednn_start)
    if (!dnn_stream)
        ok = !dnnl_engine_create(&dnn_engine, dnnl_cpu, 0) &&
             !dnnl_stream_create(&dnn_stream, dnn_engine, dnnl_stream_default_flags);
    if (!ok) vm_fail(e, VM_EDEVICE, "oneDNN could not start its CPU engine");
    return ok;
}

bool dnn_epilogue(dnnl_primitive_attr_t attr, float alpha, vm_unary_kind act, bool add, vm_type t) {
    static const struct { vm_unary_kind k; dnnl_alg_kind_t alg; float alpha; } acts[] = {
        { VM_RELU, dnnl_eltwise_relu, 0 },           { VM_QUICK_GELU, dnnl_eltwise_swish, 1.702f },
        { VM_GELU, dnnl_eltwise_gelu_erf, 0 },       { VM_GELU_TANH, dnnl_eltwise_gelu_tanh, 0 },
        { VM_SILU, dnnl_eltwise_swish, 1 },          { VM_SIGMOID, dnnl_eltwise_logistic, 0 },
        { VM_TANH, dnnl_eltwise_tanh, 0 },
    };
    dnnl_post_ops_t po;
    if (dnnl_post_ops_create(&po)) return false;
    bool ok = alpha == 1 || !DNN_APPEND_ELTWISE(po, dnnl_eltwise_linear, alpha);
    if (act != VM_NONE) {
        int k = 0;
        while (k < VM_LEN(acts) && acts[k].k != act) k++;
        ok = ok && k < VM_LEN(acts) && !DNN_APPEND_ELTWISE(po, acts[k].alg, acts[k].alpha);
    }
    if (add) ok = ok && !DNN_APPEND_SUM(po, dnn_type(t));
    ok = ok && !dnnl_primitive_attr_set_post_ops(attr, po) &&
         !dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    dnnl_post_ops_destroy(po);
    return ok;
}

int dnn_make(dnn_product *p, dnnl_primitive_desc_t pd) {
    dnn_layout scratch = { 0 };
    p->scratch_bytes = dnn_query(pd, dnnl_query_scratchpad_md, &scratch) ? dnn_bytes(&scratch) : 0;
    dnn_layout_free(&scratch);
    return (int)dnnl_primitive_create(&p->prim, pd);
}

void dnn_product_free(dnn_product *p) {
    if (p->prim) dnnl_primitive_destroy(p->prim);
    p->prim = NULL;
}

int dnn_execute(const dnn_product *p, int n, dnnl_exec_arg_t *args, char *scratch) {
    dnnl_memory_t m = NULL;
    dnn_layout l = { 0 };
    dnnl_dims_t d = { (int64_t)p->scratch_bytes }, one = { 1 };
    int code = -1;
    if (p->scratch_bytes) {
        if (!dnn_strided(&l, 1, d, dnnl_u8, one) || (code = (int)dnn_memory(&m, &l, scratch))) goto done;
        args[n++] = (dnnl_exec_arg_t){ DNNL_ARG_SCRATCHPAD, m };
    }
    code = (int)dnnl_primitive_execute(p->prim, dnn_stream, n, args);
done:
    dnn_memory_free(m);
    dnn_layout_free(&l);
    return code;
}

int dnn_reorder(dnn_product *p, const dnn_layout *from, const dnn_layout *to, bool add) {
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_post_ops_t po = NULL;
    int code = -1;
    if (dnnl_primitive_attr_create(&attr) || dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user) ||
        dnnl_post_ops_create(&po) || (add && DNN_APPEND_SUM(po, dnnl_data_type_undef)) ||
        dnnl_primitive_attr_set_post_ops(attr, po))
        goto done;
    if (!(code = (int)dnn_reorder_pd(&pd, from, to, attr))) code = dnn_make(p, pd);
done:
    if (po) dnnl_post_ops_destroy(po);
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (attr) dnnl_primitive_attr_destroy(attr);
    return code;
}

/* --- packed weights ----------------------------------------------------------------------------------------------- */
struct vm_pack {
    struct vm_pack *next;
    dnn_layout from, to; /* both: a square weight and its transpose may want equal layouts */
    uint64_t version;
    void *data;
};

void vm_packs_free(vm_param *p) {
    for (struct vm_pack *k = p->packs, *next; k; k = next) {
        next = k->next;
        dnn_layout_free(&k->from), dnn_layout_free(&k->to);
        vm_free(k->data);
        vm_free(k);
    }
    p->packs = NULL;
}

/* What is packed need not lie in memory twice: whole pages of a mapped file go, and come again when somebody reads them. */
static void give_back(const vm_param *p) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), a = ((uintptr_t)p->data + page - 1) & ~(page - 1);
    uintptr_t z = ((uintptr_t)p->data + (size_t)vm_param_count(p) * vm_type_size(p->type)) & ~(page - 1);
    if (p->mapped && a < z) madvise((void *)a, z - a, MADV_DONTNEED);
}

/* The numbers of p; those that lie at its origin in *own, which the caller frees. */
static void *numbers(const vm_param *p, void **own, vm_error *e) {
    const size_t bytes = (size_t)vm_param_count(p) * vm_type_size(p->type);
    if (p->data || !p->origin) return p->data;
    if (!(*own = vm_alloc(bytes))) return vm_nomem(e, bytes, p->name), NULL;
    return p->origin->read(p->origin, 0, vm_param_count(p), *own, e) ? NULL : *own;
}

static int repack(const vm_param *p, struct vm_pack *k, vm_error *e) {
    dnn_product r = { 0 };
    dnnl_memory_t mf = NULL, mt = NULL;
    char *scratch = NULL;
    void *own = NULL, *from = numbers(p, &own, e);
    int code = from ? dnn_reorder(&r, &k->from, &k->to, false) : 0;
    if (!from || code || (code = (int)dnn_memory(&mf, &k->from, from)) || (code = (int)dnn_memory(&mt, &k->to, k->data)))
        goto done;
    if (r.scratch_bytes && !(scratch = vm_alloc(r.scratch_bytes))) {
        vm_nomem(e, r.scratch_bytes, p->name);
        goto done;
    }
    dnnl_exec_arg_t args[3] = { { DNNL_ARG_FROM, mf }, { DNNL_ARG_TO, mt } };
    if (!(code = dnn_execute(&r, 2, args, scratch))) k->version = p->version;
done:
    dnn_memory_free(mf), dnn_memory_free(mt);
    dnn_product_free(&r);
    vm_free(scratch), vm_free(own);
    return code;
}

const void *dnn_pack(vm_param *p, const dnn_layout *from, const dnn_layout *to, int *code, vm_error *e) {
    struct vm_pack *k = p->packs;
    while (k && !(dnn_equal(&k->from, from) && dnn_equal(&k->to, to))) k = k->next;
    *code = 0;
    if (!k) {
        k = vm_calloc(1, sizeof *k);
        if (k) k->data = vm_alloc(dnn_bytes(to));
        if (!k || !k->data || !dnn_copy(&k->from, from) || !dnn_copy(&k->to, to)) {
            if (k) vm_free(k->data), dnn_layout_free(&k->from);
            vm_free(k);
            return vm_nomem(e, dnn_bytes(to), p->name), NULL;
        }
        k->next = p->packs, p->packs = k;
    }
    if (k->version == p->version) return k->data;
    *code = repack(p, k, e);
    give_back(p);
    return k->version == p->version ? k->data : NULL;
}
#endif
