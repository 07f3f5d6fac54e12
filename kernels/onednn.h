/* onednn.h - oneDNN for the files that use it (gemm.c, convolve.c): its 2.x (Debian 12) and 3.x (Debian 13) under one
 * set of names, the engine of the process, primitives with their scratch, re-laid copies of weights. Not in the f64
 * build. */
#ifndef VM_ONEDNN_H
#define VM_ONEDNN_H
#include <oneapi/dnnl/dnnl.h>

#include "kernels/ops.h"

extern dnnl_engine_t dnn_engine; /* after dnn_start */
extern dnnl_stream_t dnn_stream;
bool dnn_start(vm_error *e);

/* --- layouts of memory ------------------------------------------------------------------------------------------- */
#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t dnn_layout;
static inline bool dnn_strided(dnn_layout *l, int nd, const dnnl_dims_t d, dnnl_data_type_t t, const dnnl_dims_t s) {
    return dnnl_memory_desc_create_with_strides(l, nd, d, t, s) == dnnl_success;
}
static inline bool dnn_any(dnn_layout *l, int nd, const dnnl_dims_t d, dnnl_data_type_t t) {
    return dnnl_memory_desc_create_with_tag(l, nd, d, t, dnnl_format_tag_any) == dnnl_success;
}
static inline bool dnn_copy(dnn_layout *to, const dnn_layout *from) {
    return dnnl_memory_desc_clone(to, *from) == dnnl_success;
}
static inline void dnn_layout_free(dnn_layout *l) { if (*l) dnnl_memory_desc_destroy(*l), *l = NULL; }
static inline size_t dnn_bytes(const dnn_layout *l) { return dnnl_memory_desc_get_size(*l); }
static inline bool dnn_equal(const dnn_layout *a, const dnn_layout *b) { return dnnl_memory_desc_equal(*a, *b); }
static inline bool dnn_query(const_dnnl_primitive_desc_t pd, dnnl_query_t what, dnn_layout *out) {
    const_dnnl_memory_desc_t md = dnnl_primitive_desc_query_md(pd, what, 0);
    return md && dnnl_memory_desc_clone(out, md) == dnnl_success;
}
static inline dnnl_status_t dnn_memory(dnnl_memory_t *m, const dnn_layout *l, void *p) {
    return dnnl_memory_create(m, *l, dnn_engine, p);
}
static inline dnnl_status_t dnn_reorder_pd(dnnl_primitive_desc_t *pd, const dnn_layout *from, const dnn_layout *to,
                                           dnnl_primitive_attr_t attr) {
    return dnnl_reorder_primitive_desc_create(pd, *from, dnn_engine, *to, dnn_engine, attr);
}
#define DNN_APPEND_ELTWISE(po, alg, a) dnnl_post_ops_append_eltwise(po, alg, a, 0)
#define DNN_APPEND_SUM(po, t) dnnl_post_ops_append_sum(po, 1.0f, 0, t)
#else
typedef dnnl_memory_desc_t dnn_layout;
static inline bool dnn_strided(dnn_layout *l, int nd, const dnnl_dims_t d, dnnl_data_type_t t, const dnnl_dims_t s) {
    return dnnl_memory_desc_init_by_strides(l, nd, d, t, s) == dnnl_success;
}
static inline bool dnn_any(dnn_layout *l, int nd, const dnnl_dims_t d, dnnl_data_type_t t) {
    return dnnl_memory_desc_init_by_tag(l, nd, d, t, dnnl_format_tag_any) == dnnl_success;
}
static inline bool dnn_copy(dnn_layout *to, const dnn_layout *from) { return *to = *from, true; }
static inline void dnn_layout_free(dnn_layout *l) { (void)l; }
static inline size_t dnn_bytes(const dnn_layout *l) { return dnnl_memory_desc_get_size(l); }
static inline bool dnn_equal(const dnn_layout *a, const dnn_layout *b) { return dnnl_memory_desc_equal(a, b); }
static inline bool dnn_query(const_dnnl_primitive_desc_t pd, dnnl_query_t what, dnn_layout *out) {
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(pd, what, 0);
    if (md) *out = *md;
    return md != NULL;
}
static inline dnnl_status_t dnn_memory(dnnl_memory_t *m, const dnn_layout *l, void *p) {
    return dnnl_memory_create(m, l, dnn_engine, p);
}
static inline dnnl_status_t dnn_reorder_pd(dnnl_primitive_desc_t *pd, const dnn_layout *from, const dnn_layout *to,
                                           dnnl_primitive_attr_t attr) {
    return dnnl_reorder_primitive_desc_create(pd, from, dnn_engine, to, dnn_engine, attr);
}
#define DNN_APPEND_ELTWISE(po, alg, a) dnnl_post_ops_append_eltwise(po, 1.0f, alg, a, 0)
#define DNN_APPEND_SUM(po, t) dnnl_post_ops_append_sum_v2(po, 1.0f, t)
#endif

static inline dnnl_data_type_t dnn_type(vm_type t) { return t == VM_BF16 ? dnnl_bf16 : dnnl_f32; }
static inline void dnn_memory_free(dnnl_memory_t m) { if (m) dnnl_memory_destroy(m); }

/* --- primitives --------------------------------------------------------------------------------------------------- */
typedef struct {
    dnnl_primitive_t prim;
    size_t scratch_bytes;
} dnn_product;

/* attr: alpha * result, then the activation, then onto what stands there (of type t) if add; scratch by the user. */
bool dnn_epilogue(dnnl_primitive_attr_t attr, float alpha, vm_unary_kind act, bool add, vm_type t);
int dnn_make(dnn_product *p, dnnl_primitive_desc_t pd); /* 0 or oneDNN's status */
/* args has room for one more; scratch: p->scratch_bytes of memory aligned to 64. */
int dnn_execute(const dnn_product *p, int n, dnnl_exec_arg_t *args, char *scratch);
void dnn_product_free(dnn_product *p);
/* One layout into another, converting; add: onto what stands there. */
int dnn_reorder(dnn_product *p, const dnn_layout *from, const dnn_layout *to, bool add);

/* The copy of parameter p, which stands in layout `from`, in layout `to`; kept with p until its version changes,
 * shared by all plans that want the same. NULL with oneDNN's status in *code, or with e set when memory is out. */
const void *dnn_pack(vm_param *p, const dnn_layout *from, const dnn_layout *to, int *code, vm_error *e);

#endif
