/* gemm.c - see gemm.h. */
#include "kernels/gemm.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "kernels/cpu.h"

vm_real vm_activation(double x, vm_unary_kind k) {
    switch (k) {
    case VM_RELU: return (vm_real)(x > 0 ? x : 0);
    case VM_QUICK_GELU: return (vm_real)(x / (1 + exp(-1.702 * x)));
    case VM_GELU: return (vm_real)(0.5 * x * (1 + erf(x * 0.70710678118654752440)));
    case VM_GELU_TANH: return (vm_real)(0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x))));
    case VM_SILU: return (vm_real)(x / (1 + exp(-x)));
    case VM_SIGMOID: return (vm_real)(1 / (1 + exp(-x)));
    case VM_TANH: return (vm_real)tanh(x);
    default: return (vm_real)x;
    }
}

vm_gemm *vm_gemm_node(vm_graph *g, vm_node *n, int k, vm_gemm_shape s) {
    vm_gemm **p = n->cache ? n->cache : (n->cache = vm_calloc(2, sizeof *p));
    if (!p) return vm_nomem(&g->err, 2 * sizeof *p, "a matrix product"), NULL;
    s.deterministic = g->deterministic;
    if (p[k] && vm_gemm_of(p[k])->add != s.add) vm_gemm_free(p[k]), p[k] = NULL;
    return p[k] ? p[k] : (p[k] = vm_gemm_new(&s, &g->err));
}

void vm_gemm_node_free(vm_node *n) {
    vm_gemm **p = n->cache;
    for (int k = 0; p && k < 2; k++) vm_gemm_free(p[k]);
    vm_free(p);
}

/* The shape with the leading dimensions of dense matrices in place of 0. */
static vm_gemm_shape with_strides(vm_gemm_shape s) {
    if (!s.lda) s.lda = s.ta ? s.M : s.K;
    if (!s.ldb) s.ldb = s.tb ? s.K : s.N;
    if (!s.ldc) s.ldc = s.N;
    return s;
}

#ifdef VM_F64_BUILD /* ------------------------------------------------------------------ plain loops in double */
struct vm_gemm { vm_gemm_shape s; };

vm_gemm *vm_gemm_new(const vm_gemm_shape *s, vm_error *e) {
    vm_gemm *m = vm_calloc(1, sizeof *m);
    if (m) m->s = with_strides(*s);
    else vm_nomem(e, sizeof *m, "a matrix product");
    return m;
}
void vm_gemm_free(vm_gemm *m) { vm_free(m); }

vm_status vm_gemm_run(vm_gemm *m, const void *a, const void *b, const float *bias, void *c, vm_error *e) {
    const vm_gemm_shape *s = &m->s;
    const vm_real *A = a, *B = b, *b0 = (const vm_real *)bias;
    for (int64_t z = 0; z < s->batch; z++)
        for (int64_t i = 0; i < s->M; i++)
            for (int64_t j = 0; j < s->N; j++) {
                vm_real sum = 0, *y = (vm_real *)c + z * s->sc + i * s->ldc + j;
                for (int64_t k = 0; k < s->K; k++)
                    sum += A[z * s->sa + (s->ta ? k * s->lda + i : i * s->lda + k)] *
                           B[z * s->sb + (s->tb ? j * s->ldb + k : k * s->ldb + j)];
                sum = vm_activation(s->alpha * sum + (b0 ? b0[j] : 0), s->act);
                *y = s->add ? *y + sum : sum;
            }
    return VM_OK;
}
const void *vm_gemm_pack(vm_gemm *m, vm_param *p, vm_error *e) { return vm_param_fetch(p, e) ? NULL : p->data; }
const vm_gemm_shape *vm_gemm_of(const vm_gemm *m) { return &m->s; }

#else /* ---------------------------------------------------------------------------------------------------- oneDNN */
#include "kernels/onednn.h"

#if DNNL_VERSION_MAJOR >= 3
static dnnl_status_t matmul_create(dnnl_primitive_desc_t *pd, dnn_layout a, dnn_layout b, const dnn_layout *bias,
                                   dnn_layout c, dnnl_primitive_attr_t attr) {
    return dnnl_matmul_primitive_desc_create(pd, dnn_engine, a, b, bias ? *bias : NULL, c, attr);
}
#else
static dnnl_status_t matmul_create(dnnl_primitive_desc_t *pd, dnn_layout a, dnn_layout b, const dnn_layout *bias,
                                   dnn_layout c, dnnl_primitive_attr_t attr) {
    dnnl_matmul_desc_t d;
    dnnl_status_t st = dnnl_matmul_desc_init(&d, &a, &b, bias, &c);
    return st ? st : dnnl_primitive_desc_create(pd, &d, attr, dnn_engine, NULL);
}
#endif

/* Deterministic mode. A whole chunk must treat its rows alike: oneDNN's kernels for x86 do at 64; its portable ones go by 6
 * rows and sum what remains in another order. */
#ifdef __x86_64__
enum { CHUNK_M = 64, CHUNK_N = 512 };
#else
enum { CHUNK_M = 48, CHUNK_N = 512 };
#endif

struct vm_gemm {
    vm_gemm_shape s;
    dnn_product p[2][2];     /* [M tail][N tail]; p[0][0] alone unless deterministic */
    dnn_layout b_layout;     /* what p[0][0] wants for B */
    dnnl_memory_t a, b, bias, c;   /* of p[0][0] outside deterministic mode */
    char *scratch;
    size_t scratch_bytes;    /* per thread in deterministic mode */
    int threads;
};

/* [batch x] rows x cols with the strides of a stored matrix; nd is 2 or 3. The stride of a single row or
 * column counts nothing, but where it is the smaller one oneDNN 3.7 takes the other for dense. */
static bool matrix(dnn_layout *l, int nd, int64_t batch, int64_t rows, int64_t cols, bool trans, int64_t ld, int64_t step,
                   vm_type t, bool any) {
    dnnl_dims_t d = { batch, rows, cols }, s = { step, trans ? 1 : ld, trans ? ld : 1 };
    if (ld > 1 && rows == 1 && trans) s[1] = ld * cols;
    if (ld > 1 && cols == 1 && !trans) s[2] = ld * rows;
    const int64_t *dp = nd == 3 ? d : d + 1, *sp = nd == 3 ? s : s + 1;
    dnnl_dims_t dims = { 0 }, strides = { 0 };
    memcpy(dims, dp, (size_t)nd * sizeof *dp), memcpy(strides, sp, (size_t)nd * sizeof *sp);
    return any ? dnn_any(l, nd, dims, dnn_type(t)) : dnn_strided(l, nd, dims, dnn_type(t), strides);
}

/* The memory objects of one call; NULL data is filled in at the run. */
static bool operands(const vm_gemm_shape *s, int64_t M, int64_t N, dnn_layout *a, dnn_layout *b,
                     dnn_layout *bias, dnn_layout *c) {
    dnnl_dims_t bd = { 1, N }, bs = { N, 1 }, bd3 = { 1, 1, N }, bs3 = { N, N, 1 };
    bool batched = s->batch > 1;
    int nd = batched ? 3 : 2;
    return matrix(a, nd, s->batch, M, s->K, s->ta, s->lda, s->sa, s->a, false) &&
           matrix(b, nd, s->sb ? s->batch : 1, s->K, N, s->tb, s->ldb, s->sb ? s->sb : s->K * N, s->b, s->packed) &&
           matrix(c, nd, s->batch, M, N, false, s->ldc, s->sc, s->c, false) &&
           (!s->bias || dnn_strided(bias, batched ? 3 : 2, batched ? bd3 : bd, dnnl_f32, batched ? bs3 : bs));
}

static vm_status refuse(const vm_gemm_shape *s, vm_error *e, const char *what, int code) {
    return vm_fail(e, VM_EDEVICE,
                   "oneDNN refused %s of [%" PRId64 ",%" PRId64 ",%" PRId64
                   "] %s x %s -> %s (status %d); try --dtype f32",
                   what, s->M, s->N, s->K, vm_type_name(s->a), vm_type_name(s->b), vm_type_name(s->c), code);
}

/* One primitive for M x N; b_want receives the layout of B it asks for. */
static vm_status make_product(const vm_gemm_shape *s, int64_t M, int64_t N, dnn_product *p, dnn_layout *b_want,
                              vm_error *e) {
    dnn_layout a = { 0 }, b = { 0 }, bias = { 0 }, c = { 0 };
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    int code = -1;
    if (!operands(s, M, N, &a, &b, &bias, &c) || dnnl_primitive_attr_create(&attr) ||
        !dnn_epilogue(attr, s->alpha, s->act, s->add, s->c))
        goto done;
    if ((code = (int)matmul_create(&pd, a, b, s->bias ? &bias : NULL, c, attr))) goto done;
    if (b_want && !dnn_query(pd, dnnl_query_weights_md, b_want)) goto done;
    code = dnn_make(p, pd);
done:
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (attr) dnnl_primitive_attr_destroy(attr);
    dnn_layout_free(&a), dnn_layout_free(&b), dnn_layout_free(&bias), dnn_layout_free(&c);
    return code ? refuse(s, e, "a product", code) : VM_OK;
}

static bool bind(vm_gemm *m) {
    dnn_layout a = { 0 }, b = { 0 }, bias = { 0 }, c = { 0 };
    bool ok = operands(&m->s, m->s.M, m->s.N, &a, &b, &bias, &c) &&
              !dnn_memory(&m->a, &a, DNNL_MEMORY_NONE) &&
              !dnn_memory(&m->b, &m->b_layout, DNNL_MEMORY_NONE) &&
              !dnn_memory(&m->c, &c, DNNL_MEMORY_NONE) &&
              (!m->s.bias || !dnn_memory(&m->bias, &bias, DNNL_MEMORY_NONE));
    dnn_layout_free(&a), dnn_layout_free(&b), dnn_layout_free(&bias), dnn_layout_free(&c);
    return ok;
}

vm_gemm *vm_gemm_new(const vm_gemm_shape *s, vm_error *e) {
    vm_gemm *m = vm_calloc(1, sizeof *m);
    if (!m) return vm_nomem(e, sizeof *m, "a matrix product"), NULL;
    m->s = with_strides(*s);
    s = &m->s;
    m->threads = 1;
    if ((s->bias && s->alpha != 1) || s->a != s->b || (s->a == VM_F32 && s->c != VM_F32)) {
        vm_fail(e, VM_EMODEL, "a product %s x %s -> %s%s is not possible", vm_type_name(s->a), vm_type_name(s->b),
                vm_type_name(s->c), s->bias && s->alpha != 1 ? " with a bias and a factor" : "");
        goto fail;
    }
    if (s->M == 0 || s->N == 0 || s->batch == 0 || s->K == 0) {
        m->s.packed = false;
        return m;
    }
    if (!dnn_start(e)) goto fail;
    if (!s->deterministic) {
        if (make_product(s, s->M, s->N, &m->p[0][0], &m->b_layout, e)) goto fail;
        if (!bind(m)) {
            refuse(s, e, "the operands", 0);
            goto fail;
        }
        m->scratch_bytes = m->p[0][0].scratch_bytes;
    } else {
        m->s.packed = false;
        vm_gemm_shape one = m->s; /* a chunk is of one matrix of the batch, in the strides of the whole */
        one.batch = 1;
        int before = omp_get_max_threads();
        int64_t tm = s->ta ? s->M % CHUNK_M : 0; /* else rows of A are padded to a whole chunk */
        int64_t tn = s->N > CHUNK_N ? s->N % CHUNK_N : 0;
        omp_set_num_threads(1);
        vm_status st = VM_OK;
        for (int i = 0; i < 2 && !st; i++)
            for (int j = 0; j < 2 && !st; j++) {
                int64_t M = i ? tm : s->ta && s->M < CHUNK_M ? 0 : CHUNK_M, N = j ? tn : VM_MIN((int64_t)CHUNK_N, s->N);
                if (!M || !N) continue;
                st = make_product(&one, M, N, &m->p[i][j], NULL, e);
                m->scratch_bytes = VM_MAX(m->scratch_bytes, m->p[i][j].scratch_bytes);
            }
        omp_set_num_threads(before);
        if (st) goto fail;
        m->threads = before;
        if (!s->ta && s->M % CHUNK_M) m->scratch_bytes += (size_t)CHUNK_M * (size_t)(s->lda + s->ldc) * 4;
        m->scratch_bytes += 192;
        m->scratch_bytes = (m->scratch_bytes + 63) & ~(size_t)63;
    }
    if (!(m->scratch = vm_alloc(m->scratch_bytes * (size_t)m->threads + 1))) {
        vm_nomem(e, m->scratch_bytes, "a matrix product");
        goto fail;
    }
    return m;
fail:
    vm_gemm_free(m);
    return NULL;
}

void vm_gemm_free(vm_gemm *m) {
    if (!m) return;
    for (int i = 0; i < 4; i++) dnn_product_free(&m->p[i / 2][i % 2]);
    dnn_memory_free(m->a), dnn_memory_free(m->b), dnn_memory_free(m->bias), dnn_memory_free(m->c);
    dnn_layout_free(&m->b_layout);
    vm_free(m->scratch);
    vm_free(m);
}

const vm_gemm_shape *vm_gemm_of(const vm_gemm *m) { return &m->s; }

/* K = 0 or nothing to write: act(bias) [+ C] */
static void run_empty(const vm_gemm_shape *s, const float *bias, void *c) {
    for (int64_t z = 0; z < s->batch; z++)
        for (int64_t i = 0; i < s->M; i++)
            for (int64_t j = 0; j < s->N; j++) {
                int64_t at = z * s->sc + i * s->ldc + j;
                float y = vm_activation(bias ? (double)bias[j] : 0, s->act), *f = (float *)c + at;
                uint16_t *h = (uint16_t *)c + at;
                if (s->c == VM_BF16) *h = vm_f32_to_bf16(s->add ? y + vm_bf16_to_f32(*h) : y);
                else *f = s->add ? y + *f : y;
            }
}

static int execute(dnn_product *p, dnnl_memory_t a, dnnl_memory_t b, dnnl_memory_t bias, dnnl_memory_t c, char *scratch) {
    dnnl_exec_arg_t args[5] = { { DNNL_ARG_SRC, a }, { DNNL_ARG_WEIGHTS, b }, { DNNL_ARG_DST, c } };
    int n = 3;
    if (bias) args[n++] = (dnnl_exec_arg_t){ DNNL_ARG_BIAS, bias };
    return dnn_execute(p, n, args, scratch);
}

/* One chunk of deterministic mode: rows i0.., columns j0.. */
static int run_chunk(vm_gemm *m, int64_t z, int64_t i0, int64_t j0, const char *a, const char *b, const float *bias,
                     char *c, char *scratch) {
    vm_gemm_shape s = m->s;
    size_t ea = vm_type_size(s.a), eb = vm_type_size(s.b), ec = vm_type_size(s.c);
    int64_t rows = VM_MIN((int64_t)CHUNK_M, s.M - i0), cols = VM_MIN((int64_t)CHUNK_N, s.N - j0);
    bool pad = !s.ta && rows < CHUNK_M;
    dnn_product *p = &m->p[s.ta && rows < CHUNK_M][j0 > 0 && cols < CHUNK_N];
    a += (size_t)(z * s.sa + (s.ta ? i0 : i0 * s.lda)) * ea;
    b += (size_t)(z * s.sb + (s.tb ? j0 * s.ldb : j0)) * eb;
    c += (size_t)(z * s.sc + i0 * s.ldc + j0) * ec;
    /* Rows that do not fill a chunk are copied to one of the same strides: the same kernel, the same bits. */
    size_t ra = (size_t)s.lda * ea, rc = (size_t)s.ldc * ec, n = (size_t)rows;
    char *pa = scratch + ((p->scratch_bytes + 63) & ~(size_t)63),
         *pc = pa + (((size_t)CHUNK_M * ra + 63) & ~(size_t)63);
    if (pad) {
        memset(pa, 0, (size_t)(pc - pa));
        for (size_t i = 0; i < n; i++) memcpy(pa + i * ra, a + i * ra, (size_t)s.K * ea);
        for (size_t i = 0; i < n && s.add; i++) memcpy(pc + i * rc, c + i * rc, (size_t)cols * ec);
    }
    s.batch = 1;
    dnn_layout la = { 0 }, lb = { 0 }, lbias = { 0 }, lc = { 0 };
    dnnl_memory_t ma = NULL, mb = NULL, mbias = NULL, mc = NULL;
    int code = -1;
    if (operands(&s, s.ta ? rows : CHUNK_M, cols, &la, &lb, &lbias, &lc) &&
        !dnn_memory(&ma, &la, pad ? pa : (char *)(uintptr_t)a) &&
        !dnn_memory(&mb, &lb, (char *)(uintptr_t)b) && !dnn_memory(&mc, &lc, pad ? pc : c) &&
        (!s.bias || !dnn_memory(&mbias, &lbias, (float *)(uintptr_t)bias + j0)))
        code = execute(p, ma, mb, mbias, mc, scratch);
    for (size_t i = 0; pad && i < n; i++) memcpy(c + i * rc, pc + i * rc, (size_t)cols * ec);
    dnn_memory_free(ma), dnn_memory_free(mb), dnn_memory_free(mc), dnn_memory_free(mbias);
    dnn_layout_free(&la), dnn_layout_free(&lb), dnn_layout_free(&lbias), dnn_layout_free(&lc);
    return code;
}

static int run_deterministic(vm_gemm *m, const void *a, const void *b, const float *bias, void *c) {
    const vm_gemm_shape *s = &m->s;
    int64_t nm = (s->M + CHUNK_M - 1) / CHUNK_M, nn = (s->N + CHUNK_N - 1) / CHUNK_N;
    int code = 0;
#pragma omp parallel for schedule(dynamic) num_threads(m->threads)
    for (int64_t x = 0; x < s->batch * nm * nn; x++) {
        int r = run_chunk(m, x / (nm * nn), x / nn % nm * CHUNK_M, x % nn * CHUNK_N, a, b, bias, c,
                          m->scratch + (size_t)omp_get_thread_num() * m->scratch_bytes);
        if (r)
#pragma omp atomic write
            code = r;
    }
    return code;
}

vm_status vm_gemm_run(vm_gemm *m, const void *a, const void *b, const float *bias, void *c, vm_error *e) {
    if (!m->p[0][0].prim && !m->p[1][0].prim) {
        run_empty(&m->s, bias, c);
        return VM_OK;
    }
    int code;
    if (m->s.deterministic) {
        code = run_deterministic(m, a, b, bias, c);
    } else {
        dnnl_memory_set_data_handle(m->a, (void *)(uintptr_t)a);
        dnnl_memory_set_data_handle(m->b, (void *)(uintptr_t)b);
        dnnl_memory_set_data_handle(m->c, c);
        if (m->bias) dnnl_memory_set_data_handle(m->bias, (void *)(uintptr_t)bias);
        code = execute(&m->p[0][0], m->a, m->b, m->bias, m->c, m->scratch);
    }
    return code ? refuse(&m->s, e, "to run a product", code) : VM_OK;
}

/* --- packed weights ---------------------------------------------------------------------------------------------- */
const void *vm_gemm_pack(vm_gemm *m, vm_param *p, vm_error *e) {
    const vm_gemm_shape *s = &m->s;
    dnn_layout from = { 0 };
    int code = -1;
    const void *data = NULL;
    if (!s->packed) return p->data;
    if (matrix(&from, 2, 1, s->K, s->N, s->tb, s->ldb, 0, p->type, false)) data = dnn_pack(p, &from, &m->b_layout, &code, e);
    dnn_layout_free(&from);
    if (!data && code) refuse(s, e, "to pack a weight", code);
    return data;
}
#endif
