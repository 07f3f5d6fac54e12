/* convolve.c - see convolve.h. */
#include "kernels/convolve.h"

#include <inttypes.h>
#include <string.h>

#include "kernels/cpu.h"
#include "kernels/gemm.h"

#ifdef VM_F64_BUILD /* ------------------------------------------------------------------ plain loops in double */
struct vm_convolve { vm_convolve_shape s; };

vm_convolve *vm_convolve_new(const vm_convolve_shape *s, vm_error *e) {
    vm_convolve *m = vm_calloc(1, sizeof *m);
    if (m) m->s = *s;
    else vm_nomem(e, sizeof *m, "a convolution");
    return m;
}
void vm_convolve_free(vm_convolve *m) { vm_free(m); }
size_t vm_convolve_scratch(const vm_convolve *m) { return 0; }
void *vm_convolve_pack(vm_convolve *m, vm_param *p, vm_error *e) { return vm_param_fetch(p, e) ? NULL : p->data; }

/* All products x w that belong to output (b,i,j,n): visits them with pointers, adds `d` times one to the other. */
static vm_real taps(const vm_convolve_shape *s, int64_t b, int64_t i, int64_t j, int64_t n, vm_real *x, vm_real *w,
                    vm_real d) {
    int64_t Cg = s->C / s->k.groups, c0 = n / (s->N / s->k.groups) * Cg;
    vm_real sum = 0;
    for (int64_t c = 0; c < Cg; c++)
        for (int64_t u = 0; u < s->k.KH; u++)
            for (int64_t v = 0; v < s->k.KW; v++) {
                int64_t r = i * s->k.stride[0] - s->k.pad[0] + u * s->k.dilation[0];
                int64_t q = j * s->k.stride[1] - s->k.pad[1] + v * s->k.dilation[1];
                if (r < 0 || r >= s->H || q < 0 || q >= s->W) continue;
                vm_real *px = x + ((b * s->H + r) * s->W + q) * s->C + c0 + c;
                vm_real *pw = w + ((n * Cg + c) * s->k.KH + u) * s->k.KW + v;
                if (s->what == CONVOLVE_Y) sum += *px * *pw;
                if (s->what == CONVOLVE_DX) *px += d * *pw;
                if (s->what == CONVOLVE_DW) *pw += d * *px;
            }
    return sum;
}

vm_status vm_convolve_run(vm_convolve *m, void *x, void *w, const float *bias, void *y, void *scratch, vm_error *e) {
    const vm_convolve_shape *s = &m->s;
    const vm_real *b0 = (const vm_real *)bias;
    int64_t nx = s->B * s->H * s->W * s->C, nw = s->N * (s->C / s->k.groups) * s->k.KH * s->k.KW;
    if (!s->add && s->what == CONVOLVE_DX && nx) memset(x, 0, (size_t)nx * sizeof(vm_real));
    if (!s->add && s->what == CONVOLVE_DW && nw) memset(w, 0, (size_t)nw * sizeof(vm_real));
    for (int64_t k = 0; k < s->B * s->OH * s->OW * s->N; k++) {
        vm_real *to = (vm_real *)y + k;
        int64_t n = k % s->N, j = k / s->N % s->OW, i = k / s->N / s->OW % s->OH, b = k / s->N / s->OW / s->OH;
        vm_real sum = taps(s, b, i, j, n, x, w, s->what == CONVOLVE_Y ? 0 : *to);
        if (s->what != CONVOLVE_Y) continue;
        sum = vm_activation((double)(sum + (b0 ? b0[n] : 0)), s->act);
        *to = s->add ? *to + sum : sum;
    }
    return VM_OK;
}

#else /* ---------------------------------------------------------------------------------------------------- oneDNN */
#include "kernels/onednn.h"

enum { MAX_GROUPS = 16 }; /* of images whose weight gradients are summed apart in deterministic mode */

struct vm_convolve {
    vm_convolve_shape s;
    int64_t images, calls;  /* images of a call; the last one has the rest */
    dnn_product p[2];       /* for that many, and for the rest where it is another number */
    dnn_layout plain, want; /* of the weights: as stored, as the primitives read or write them */
    dnn_product relay;      /* plain to want, or back for DW; none where they are equal or packed */
    bool empty;             /* nothing to sum */
    bool staged;            /* y or dx is made in the scratch, then added to the result */
    int threads;
    size_t w_bytes, at_stage, at_prim, at_relay, bytes; /* of the scratch: weights, staged result, primitives */
};

static size_t rounded(size_t n) { return (n + 63) & ~(size_t)63; }

static vm_status refuse(const vm_convolve_shape *s, vm_error *e, const char *what, int code) {
    return vm_fail(e, VM_EDEVICE,
                   "oneDNN refused %s of a convolution of [%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64
                   "] %s with %" PRId64 " kernels of %d x %d (status %d); try --dtype f32",
                   what, s->B, s->H, s->W, s->C, vm_type_name(s->x), s->N, s->k.KH, s->k.KW, code);
}

static bool picture(dnn_layout *l, int64_t B, int64_t H, int64_t W, int64_t C, vm_type t) {
    dnnl_dims_t d = { B, C, H, W }, strides = { H * W * C, 1, W * C, C };
    return dnn_strided(l, 4, d, dnn_type(t), strides);
}

static bool weights(dnn_layout *l, const vm_convolve_shape *s, vm_type t, bool any) {
    const int64_t G = s->k.groups, K = s->k.KH, L = s->k.KW, C = s->C / G, N = s->N / G;
    dnnl_dims_t d = { G, N, C, K, L }, one = { N, C, K, L };
    dnnl_dims_t st = { N * C * K * L, C * K * L, K * L, L, 1 }, one_st = { C * K * L, K * L, L, 1 };
    int nd = G > 1 ? 5 : 4;
    return any ? dnn_any(l, nd, G > 1 ? d : one, dnn_type(t))
               : dnn_strided(l, nd, G > 1 ? d : one, dnn_type(t), G > 1 ? st : one_st);
}

typedef struct {
    dnn_layout x, w, bias, y;
} operands;

static void operands_free(operands *o) {
    dnn_layout_free(&o->x), dnn_layout_free(&o->w), dnn_layout_free(&o->bias), dnn_layout_free(&o->y);
}

static bool operands_of(operands *o, const vm_convolve_shape *s, int64_t B) {
    dnnl_dims_t n = { s->N }, one = { 1 };
    vm_type product = s->what == CONVOLVE_DX ? s->y : s->x;
    return picture(&o->x, B, s->H, s->W, s->C, s->x) && picture(&o->y, B, s->OH, s->OW, s->N, s->y) &&
           weights(&o->w, s, s->what == CONVOLVE_DW ? VM_F32 : product, true) &&
           dnn_strided(&o->bias, 1, n, dnnl_f32, one);
}

/* One primitive for B images. Backward ones need the forward one as a hint. */
static int create(dnnl_primitive_desc_t *pd, const operands *o, const vm_convolve_shape *s,
                  dnnl_primitive_attr_t attr) {
    dnnl_dims_t st = { s->k.stride[0], s->k.stride[1] }, di = { s->k.dilation[0] - 1, s->k.dilation[1] - 1 };
    dnnl_dims_t p0 = { s->k.pad[0], s->k.pad[1] }, p1 = { s->k.pad[2], s->k.pad[3] };
    const bool y = s->what == CONVOLVE_Y;
    dnnl_primitive_desc_t hint = NULL;
    dnn_layout any = { 0 };
    int code = -1;
    if (!weights(&any, s, s->what == CONVOLVE_DX ? s->y : s->x, true)) return code;
#if DNNL_VERSION_MAJOR >= 3
    code = (int)dnnl_convolution_forward_primitive_desc_create(
        y ? pd : &hint, dnn_engine, y ? dnnl_forward_inference : dnnl_forward_training, dnnl_convolution_direct, o->x,
        any, y && s->bias ? o->bias : NULL, o->y, st, di, p0, p1, y ? attr : NULL);
    if (!code && s->what == CONVOLVE_DX)
        code = (int)dnnl_convolution_backward_data_primitive_desc_create(pd, dnn_engine, dnnl_convolution_direct, o->x,
                                                                         o->w, o->y, st, di, p0, p1, hint, attr);
    if (!code && s->what == CONVOLVE_DW)
        code = (int)dnnl_convolution_backward_weights_primitive_desc_create(
            pd, dnn_engine, dnnl_convolution_direct, o->x, o->w, NULL, o->y, st, di, p0, p1, hint, attr);
#else
    dnnl_convolution_desc_t d;
    if ((code = (int)dnnl_dilated_convolution_forward_desc_init(
             &d, y ? dnnl_forward_inference : dnnl_forward_training, dnnl_convolution_direct, &o->x, &any,
             y && s->bias ? &o->bias : NULL, &o->y, st, di, p0, p1)) ||
        (code = (int)dnnl_primitive_desc_create(y ? pd : &hint, &d, y ? attr : NULL, dnn_engine, NULL)) || y)
        goto done;
    code = s->what == CONVOLVE_DX
               ? (int)dnnl_dilated_convolution_backward_data_desc_init(&d, dnnl_convolution_direct, &o->x, &o->w, &o->y,
                                                                       st, di, p0, p1)
               : (int)dnnl_dilated_convolution_backward_weights_desc_init(&d, dnnl_convolution_direct, &o->x, &o->w,
                                                                          NULL, &o->y, st, di, p0, p1);
    if (!code) code = (int)dnnl_primitive_desc_create(pd, &d, attr, dnn_engine, hint);
done:
#endif
    if (hint) dnnl_primitive_desc_destroy(hint);
    dnn_layout_free(&any);
    return code;
}

/* Of y or dx, whichever is made. */
static int64_t result_count(const vm_convolve_shape *s) {
    return s->what == CONVOLVE_Y ? s->B * s->OH * s->OW * s->N : s->B * s->H * s->W * s->C;
}
static vm_type result_type(const vm_convolve_shape *s) { return s->what == CONVOLVE_Y ? s->y : s->x; }

/* want: the layout of the weights, set by the first primitive; a second one must have the same. */
static int make(vm_convolve *m, int64_t B, dnn_product *p, bool first) {
    const vm_convolve_shape *s = &m->s;
    operands o = { 0 };
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    int code = -1;
    bool y = s->what == CONVOLVE_Y;
    if (!operands_of(&o, s, B) || dnnl_primitive_attr_create(&attr) ||
        !dnn_epilogue(attr, 1, y ? s->act : VM_NONE, y && s->add && !m->staged, s->y))
        goto done;
    if (!first) {
        dnn_layout_free(&o.w);
        if (!dnn_copy(&o.w, &m->want)) goto done;
    }
    if ((code = create(&pd, &o, s, attr))) goto done;
    if (first && !dnn_query(pd, s->what == CONVOLVE_DW ? dnnl_query_diff_weights_md : dnnl_query_weights_md, &m->want))
        code = -1;
    else code = dnn_make(p, pd);
done:
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (attr) dnnl_primitive_attr_destroy(attr);
    operands_free(&o);
    return code;
}

vm_convolve *vm_convolve_new(const vm_convolve_shape *shape, vm_error *e) {
    vm_convolve *m = vm_calloc(1, sizeof *m);
    if (!m) return vm_nomem(e, sizeof *m, "a convolution"), NULL;
    m->s = *shape;
    const vm_convolve_shape *s = &m->s;
    const bool dw = s->what == CONVOLVE_DW;
    int code = 0, before = omp_get_max_threads();
    m->empty = s->B == 0 || s->C == 0 || s->N == 0;
    if (m->empty) return m;
    if (!dnn_start(e)) goto fail;
    /* Gradients of inputs cannot add; nor can oneDNN 2.6 with groups of odd channels on processors without AVX2 (it
     * crashes on addresses that are not aligned). */
    m->staged = s->add && (s->what == CONVOLVE_DX || (s->what == CONVOLVE_Y && s->k.groups > 1 && s->N % 16));
    m->threads = s->deterministic ? before : 1;
    m->images = !s->deterministic ? s->B : dw ? (s->B + MAX_GROUPS - 1) / MAX_GROUPS : 1;
    m->calls = (s->B + m->images - 1) / m->images;
    int64_t rest = s->B - (m->calls - 1) * m->images;
    if (s->deterministic) omp_set_num_threads(1);
    if (!weights(&m->plain, s, s->w, false)) code = -1;
    if (!code) code = make(m, m->images, &m->p[0], true);
    if (!code && rest != m->images) code = make(m, rest, &m->p[1], false);
    if (s->deterministic) omp_set_num_threads(before);
    if (code) {
        refuse(s, e, s->what == CONVOLVE_Y ? "" : dw ? "the weight gradient" : "the input gradient", code);
        goto fail;
    }
    if (dw && (m->calls > 1 || s->add || !dnn_equal(&m->plain, &m->want)))
        code = dnn_reorder(&m->relay, &m->want, &m->plain, s->add);
    if (!dw && !s->packed && !dnn_equal(&m->plain, &m->want)) code = dnn_reorder(&m->relay, &m->plain, &m->want, false);
    if (code) {
        refuse(s, e, "the weights", code);
        goto fail;
    }
    m->w_bytes = m->relay.prim ? rounded(dnn_bytes(&m->want)) : 0;
    m->at_stage = m->w_bytes * (size_t)(dw ? m->calls : 1);
    m->at_prim = m->at_stage + (m->staged ? rounded((size_t)result_count(s) * vm_type_size(result_type(s))) : 0);
    m->at_relay = m->at_prim + (size_t)m->threads * rounded(VM_MAX(m->p[0].scratch_bytes, m->p[1].scratch_bytes));
    m->bytes = m->at_relay + m->relay.scratch_bytes;
    return m;
fail:
    vm_convolve_free(m);
    return NULL;
}

void vm_convolve_free(vm_convolve *m) {
    if (!m) return;
    dnn_product_free(&m->p[0]), dnn_product_free(&m->p[1]), dnn_product_free(&m->relay);
    dnn_layout_free(&m->plain), dnn_layout_free(&m->want);
    vm_free(m);
}

size_t vm_convolve_scratch(const vm_convolve *m) { return m->bytes; }

void *vm_convolve_pack(vm_convolve *m, vm_param *p, vm_error *e) {
    int code = 0;
    if (m->empty) return p->data;
    const void *w = dnn_pack(p, &m->plain, &m->want, &code, e);
    if (!w && code) refuse(&m->s, e, "the weights", code);
    return (void *)(uintptr_t)w;
}

/* Sums over nothing. */
static void run_empty(const vm_convolve_shape *s, void *x, void *w, const float *bias, void *y) {
    int64_t n = s->B * s->OH * s->OW * s->N;
    size_t nw = (size_t)(s->N * (s->C / s->k.groups)) * (size_t)s->k.KH * (size_t)s->k.KW;
    size_t nx = (size_t)(s->B * s->H * s->W * s->C);
    if (s->what == CONVOLVE_DX && !s->add && nx) memset(x, 0, nx * vm_type_size(s->x));
    if (s->what == CONVOLVE_DW && !s->add && nw) memset(w, 0, nw * sizeof(float));
    for (int64_t k = 0; s->what == CONVOLVE_Y && k < n; k++) {
        float v = vm_activation(bias ? (double)bias[k % s->N] : 0, s->act), *f = (float *)y + k;
        uint16_t *h = (uint16_t *)y + k;
        if (s->y == VM_BF16) *h = vm_f32_to_bf16(s->add ? v + vm_bf16_to_f32(*h) : v);
        else *f = s->add ? v + *f : v;
    }
}

static int relay(vm_convolve *m, const dnn_layout *from, void *src, const dnn_layout *to, void *dst, char *scratch) {
    dnnl_memory_t a = NULL, b = NULL;
    int code = (int)dnn_memory(&a, from, src);
    if (!code) code = (int)dnn_memory(&b, to, dst);
    dnnl_exec_arg_t args[3] = { { DNNL_ARG_FROM, a }, { DNNL_ARG_TO, b } };
    if (!code) code = dnn_execute(&m->relay, 2, args, scratch);
    dnn_memory_free(a), dnn_memory_free(b);
    return code;
}

/* Call k of m->calls. */
static int run_part(vm_convolve *m, int64_t k, char *x, void *w, const float *bias, char *y, char *scratch) {
    const vm_convolve_shape *s = &m->s;
    static const int arg[3][3] = { { DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST },
                                   { DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST },
                                   { DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST } };
    int64_t b = k * m->images, n = VM_MIN(m->images, s->B - b);
    operands o = { 0 };
    dnnl_memory_t mx = NULL, mw = NULL, my = NULL, mb = NULL;
    int code = -1;
    x += (size_t)(b * s->H * s->W * s->C) * vm_type_size(s->x);
    y += (size_t)(b * s->OH * s->OW * s->N) * vm_type_size(s->y);
    if (operands_of(&o, s, n) && !dnn_memory(&mx, &o.x, x) && !dnn_memory(&mw, &m->want, w) &&
        !dnn_memory(&my, &o.y, y) && !dnn_memory(&mb, &o.bias, (float *)(uintptr_t)bias)) {
        dnnl_exec_arg_t args[5] = { { arg[s->what][0], mx }, { arg[s->what][1], mw }, { arg[s->what][2], my } };
        if (s->bias) args[3] = (dnnl_exec_arg_t){ DNNL_ARG_BIAS, mb };
        code = dnn_execute(&m->p[n != m->images], s->bias ? 4 : 3, args, scratch);
    }
    dnn_memory_free(mx), dnn_memory_free(mw), dnn_memory_free(my), dnn_memory_free(mb);
    operands_free(&o);
    return code;
}

/* y += x */
static void add(void *y, const void *x, vm_type t, int64_t n) {
    vm_bf16 *restrict h = y;
    float *restrict f = y;
    const vm_bf16 *restrict xh = x;
    const float *restrict xf = x;
    if (t == VM_BF16)
#pragma omp parallel for simd schedule(static) if (n > VM_PAR_MIN)
        for (int64_t i = 0; i < n; i++) h[i] = vm_f32_to_bf16(vm_bf16_to_f32(h[i]) + vm_bf16_to_f32(xh[i]));
    else
#pragma omp parallel for simd schedule(static) if (n > VM_PAR_MIN)
        for (int64_t i = 0; i < n; i++) f[i] += xf[i];
}

vm_status vm_convolve_run(vm_convolve *m, void *x, void *w, const float *bias, void *y, void *scratch, vm_error *e) {
    const vm_convolve_shape *s = &m->s;
    const bool dw = s->what == CONVOLVE_DW;
    char *room = scratch;
    int code = 0;
    if (m->empty) {
        run_empty(s, x, w, bias, y);
        return VM_OK;
    }
    if (m->relay.prim && !dw) {
        code = relay(m, &m->plain, w, &m->want, room, room + m->at_relay);
        w = room;
    }
    char *to_w = dw && m->relay.prim ? room : w, *stage = room + m->at_stage;
    char *to_x = m->staged && s->what == CONVOLVE_DX ? stage : x,
         *to_y = m->staged && s->what == CONVOLVE_Y ? stage : y;
    size_t each = rounded(VM_MAX(m->p[0].scratch_bytes, m->p[1].scratch_bytes));
    if (m->calls == 1 && !s->deterministic && !code) {
        code = run_part(m, 0, to_x, to_w, bias, to_y, room + m->at_prim);
    } else if (!code) {
#pragma omp parallel for schedule(dynamic) num_threads(m->threads)
        for (int64_t k = 0; k < m->calls; k++) {
            int r = run_part(m, k, to_x, to_w + (dw ? (size_t)k * m->w_bytes : 0), bias, to_y,
                             room + m->at_prim + (size_t)omp_get_thread_num() * each);
            if (r)
#pragma omp atomic write
                code = r;
        }
    }
    if (code) return refuse(s, e, "to run", code);
    for (int64_t k = 1; dw && k < m->calls; k++)
        add(to_w, to_w + (size_t)k * m->w_bytes, VM_F32, (int64_t)(dnn_bytes(&m->want) / sizeof(float)));
    if (dw && m->relay.prim) code = relay(m, &m->want, to_w, &m->plain, w, room + m->at_relay);
    if (m->staged) add(s->what == CONVOLVE_Y ? y : x, stage, result_type(s), result_count(s));
    return code ? refuse(s, e, "the weights", code) : VM_OK;
}
#endif

const vm_convolve_shape *vm_convolve_of(const vm_convolve *m) { return &m->s; }
