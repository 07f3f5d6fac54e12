/* quantised.c - see quantised.h: a matrix in codes and scales, in memory, as parameters, as numbers again. */
#include "models/quantised.h"

#include <string.h>

#include "kernels/dequant.h"

void quant_form_free(quant_form *q) {
    vm_free(q->own), vm_free(q->scales), vm_free(q->scale_codes), vm_free(q->zeros), vm_free(q->nested), vm_free(q->order);
    *q = (quant_form){ 0 };
}

vm_status quant_form_make(quant_form *q, vm_quant_kind kind, int64_t N, int64_t K, int block, bool zeros, vm_error *e) {
    size_t scales = (size_t)vm_quant_scales(kind, N, K, block), bytes = (size_t)(N * K) / (kind == VM_INT8 ? 1 : 2);
    *q = (quant_form){ .kind = kind, .N = N, .K = K, .block = block };
    q->codes = q->own = vm_calloc(bytes + 1, 1), q->scales = vm_calloc(scales + 1, sizeof *q->scales);
    if (zeros) q->zeros = vm_calloc(scales + 1, sizeof *q->zeros);
    if (!q->own || !q->scales || (zeros && !q->zeros)) return quant_form_free(q), vm_nomem(e, bytes, "a quantised weight");
    return VM_OK;
}

static vm_quant_weight weight_of(const quant_form *q) {
    return vm_quant_weight_of(q->kind, q->N, q->K, q->block, q->codes, q->nested ? (const void *)q->scale_codes : q->scales,
                              (const vm_real *)q->zeros, (const vm_real *)q->nested);
}

void quant_form_numbers(const quant_form *q, int64_t first, int64_t n, float *out) {
    vm_quant_weight w = weight_of(q);
    vm_quant_pairs pairs;
    vm_quant_pairs_make(&pairs, q->kind);
    for (int64_t i = first, m; i < first + n; i += m, out += m) {
        int64_t row = i / q->K, k = i % q->K;
        m = VM_MIN(first + n - i, q->K - k);
        if (!q->order) {
            vm_dequantize(&w, &pairs, row, k, m, (vm_real *)out);
            continue;
        }
        for (int64_t c = 0; c < q->K; c++) /* column c of the codes is order[c] of the matrix */
            if (q->order[c] >= k && q->order[c] < k + m) vm_dequantize(&w, &pairs, row, c, 1, (vm_real *)out + q->order[c] - k);
    }
}

/* --- as parameters --------------------------------------------------------------------------------------------------- */
/* A parameter of the set with these bytes: p's name and `part`. data is freed, unless it stays mapped on the processor. */
static vm_param *part_of(weight_set *set, const vm_param *p, const char *part, vm_type t, int nd, const int64_t *ne, void *data, bool mapped, vm_error *e) {
    vm_param *x = weight_state(set, nd, ne, "%s.%s", p->name, part);
    if (!x) *e = set->err;
    else {
        x->type = t;
        if (mapped && x->be->device == VM_CPU_DEV) x->data = data, x->borrowed = true, vm_param_touch(x);
        else if (!vm_param_alloc(x, e)) vm_param_write(x, data, e);
    }
    if (!mapped) vm_free(data);
    return x;
}

vm_status quant_form_keep(quant_form *q, weight_set *set, vm_param *p, vm_error *e) {
    nn_quant *to = vm_calloc(1, sizeof *to);
    int64_t per_byte = q->kind == VM_INT8 ? 1 : 2, scales = vm_quant_scales(q->kind, q->N, q->K, q->block), nested = vm_nested_len(scales);
    if (!to) return quant_form_free(q), vm_nomem(e, sizeof *to, p->name);
    p->quant = to, p->trainable = p->decay = false;
    to->kind = (int)q->kind, to->block = q->block;
    to->codes = part_of(set, p, "codes", VM_U8, 2, (int64_t[]){ q->N, q->K / per_byte }, q->own ? q->own : (void *)(uintptr_t)q->codes, !q->own, e);
    if (q->nested) {
        vm_free(q->scales); /* those that the codes of scales were made of, where that was now */
        to->scales = part_of(set, p, "scales", VM_U8, 1, &scales, q->scale_codes, false, e);
        to->nested = part_of(set, p, "nested", VM_F32, 1, &nested, q->nested, false, e);
    } else {
        to->scales = part_of(set, p, "scales", VM_F32, 1, &scales, q->scales, false, e);
    }
    if (q->zeros) to->zeros = part_of(set, p, "zeros", VM_F32, 1, &scales, q->zeros, false, e);
    if (q->order) to->order = part_of(set, p, "order", VM_I32, 1, &q->K, q->order, false, e);
    *q = (quant_form){ 0 };
    return e->status;
}

/* --- experts as one parameter ------------------------------------------------------------------------------------------ */
/* Numbers of one expert in each part; 0 = there is no such part. */
typedef struct { int64_t codes, scales, zeros, nested, order; } part_sizes;
static part_sizes sizes_of(const quant_form *q) {
    int64_t scales = vm_quant_scales(q->kind, q->N, q->K, q->block);
    return (part_sizes){ q->N * q->K / (q->kind == VM_INT8 ? 1 : 2), scales, q->zeros ? scales : 0, q->nested ? vm_nested_len(scales) : 0, q->order ? q->K : 0 };
}

/* A part for E experts, without numbers. */
static vm_param *part_for_all(weight_set *set, const vm_param *p, const char *part, vm_type t, int nd, const int64_t *ne, vm_error *e) {
    vm_param *x = weight_state(set, nd, ne, "%s.%s", p->name, part);
    if (!x) *e = set->err;
    else x->type = t, vm_param_alloc(x, e);
    return x;
}

/* Numbers at .. at + n of a part. */
static vm_status put_part(vm_param *x, int64_t at, const void *data, int64_t n, vm_error *e) {
    const size_t each = vm_type_size(x->type);
    vm_mirror m;
    if (vm_mirror_open(&m, x->be, (char *)x->data + (size_t)at * each, (size_t)n * each, false, e)) return e->status;
    memcpy(m.host, data, (size_t)n * each);
    vm_param_touch(x);
    return vm_mirror_close(&m, true, e);
}

/* Zeros or an order where other experts have some and this one has not, or the other way round: what their absence means. */
static vm_status make_usual(quant_form *q, const nn_quant *to, vm_error *e) {
    const int64_t scales = vm_quant_scales(q->kind, q->N, q->K, q->block);
    if (to->zeros && !q->zeros) {
        if (!(q->zeros = vm_alloc((size_t)scales * sizeof *q->zeros + 1))) return vm_nomem(e, (size_t)scales * sizeof *q->zeros, "zeros");
        for (int64_t i = 0; i < scales; i++) q->zeros[i] = 8;
    }
    if (to->order && !q->order) {
        if (!(q->order = vm_alloc((size_t)q->K * sizeof *q->order + 1))) return vm_nomem(e, (size_t)q->K * sizeof *q->order, "an order of columns");
        for (int64_t c = 0; c < q->K; c++) q->order[c] = (int32_t)c;
    }
    return VM_OK;
}
static vm_status usual_before(nn_quant *to, const quant_form *q, weight_set *set, const vm_param *p, int64_t before, vm_error *e) {
    const int64_t E = p->ne[0], scales = E * vm_quant_scales(q->kind, q->N, q->K, q->block), order[] = { E, q->K };
    quant_form same = { .kind = q->kind, .N = q->N, .K = q->K, .block = q->block };
    const bool zeros = q->zeros && !to->zeros, moved = q->order && !to->order;
    if (zeros) to->zeros = part_for_all(set, p, "zeros", VM_F32, 1, &scales, e);
    if (moved && !e->status) to->order = part_for_all(set, p, "order", VM_I32, 2, order, e);
    if ((zeros || moved) && !e->status) make_usual(&same, to, e);
    for (int64_t k = 0; k < before && !e->status; k++) {
        if (zeros) put_part(to->zeros, k * (scales / E), same.zeros, scales / E, e);
        if (moved && !e->status) put_part(to->order, k * q->K, same.order, q->K, e);
    }
    quant_form_free(&same);
    return e->status;
}

static nn_quant *quant_of_all(const quant_form *q, weight_set *set, vm_param *p, vm_error *e) {
    const int64_t E = p->ne[0], per_byte = q->kind == VM_INT8 ? 1 : 2;
    const part_sizes n = sizes_of(q);
    nn_quant *to = p->quant = vm_calloc(1, sizeof *to);
    if (!to) return vm_nomem(e, sizeof *to, p->name), NULL;
    p->trainable = p->decay = false;
    to->kind = (int)q->kind, to->block = q->block;
    to->codes = part_for_all(set, p, "codes", VM_U8, 3, (int64_t[]){ E, q->N, q->K / per_byte }, e);
    if (!e->status) to->scales = part_for_all(set, p, "scales", q->nested ? VM_U8 : VM_F32, 1, (int64_t[]){ E * n.scales }, e);
    if (q->nested && !e->status) to->nested = part_for_all(set, p, "nested", VM_F32, 1, (int64_t[]){ E * n.nested }, e);
    return e->status ? NULL : to;
}

vm_status quant_form_keep_expert(quant_form *q, weight_set *set, vm_param *p, int64_t at, vm_error *e) {
    nn_quant *to = p->quant ? p->quant : quant_of_all(q, set, p, e);
    if (to && (to->kind != (int)q->kind || to->block != q->block || !to->nested != !q->nested || q->N != p->ne[1] || q->K != p->ne[2]))
        vm_fail(e, VM_EMODEL, "expert %d of %s is quantised in another way than those before it; use the model's weights in 16 bits", (int)at, p->name);
    if (!e->status && !usual_before(to, q, set, p, at, e) && !make_usual(q, to, e)) {
        const part_sizes n = sizes_of(q);
        const struct { vm_param *to; const void *from; int64_t n; } part[] = {
            { to->codes, q->codes, n.codes }, { to->scales, q->nested ? (const void *)q->scale_codes : q->scales, n.scales }, { to->zeros, q->zeros, n.zeros },
            { to->nested, q->nested, n.nested }, { to->order, q->order, n.order } };
        for (int k = 0; k < VM_LEN(part) && !e->status; k++)
            if (part[k].n) put_part(part[k].to, at * part[k].n, part[k].from, part[k].n, e);
    }
    quant_form_free(q);
    return e->status;
}

/* --- as numbers --------------------------------------------------------------------------------------------------------- */
/* One matrix after another of a parameter, its arrays mirrored in host memory. */
vm_status quant_read(const vm_param *p, int64_t first, int64_t n, float *out, vm_error *e) {
    const nn_quant *q = p->quant;
    vm_param *const part[] = { q->codes, q->scales, q->zeros, q->nested, q->order };
    vm_mirror m[5] = { { 0 } };
    bool open[5] = { 0 };
    for (int k = 0; k < 5 && !e->status; k++)
        if (part[k]) open[k] = !vm_mirror_open(&m[k], part[k]->be, part[k]->data, (size_t)vm_param_count(part[k]) * vm_type_size(part[k]->type), true, e);
    const int64_t N = p->ne[p->nd - 2], K = p->ne[p->nd - 1], each = N * K;
    for (int64_t i = first, now; i < first + n && !e->status; i += now, out += now) {
        const int64_t at = i / each;
        now = VM_MIN(first + n - i, each - i % each);
        quant_form f = { .kind = (vm_quant_kind)q->kind, .N = N, .K = K, .block = q->block, .zeros = m[2].host, .nested = m[3].host, .order = m[4].host };
        const part_sizes s = sizes_of(&f);
        f.codes = (const uint8_t *)m[0].host + at * s.codes;
        if (f.nested) f.scale_codes = (uint8_t *)m[1].host + at * s.scales;
        else f.scales = (float *)m[1].host + at * s.scales;
        if (f.zeros) f.zeros += at * s.zeros;
        if (f.nested) f.nested += at * s.nested;
        if (f.order) f.order += at * s.order;
        quant_form_numbers(&f, i % each, now, out);
    }
    for (int k = 0; k < 5; k++)
        if (open[k]) vm_mirror_close(&m[k], false, NULL);
    return e->status;
}
