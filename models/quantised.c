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

/* The form of a parameter, its arrays mirrored in host memory. */
vm_status quant_read(const vm_param *p, int64_t first, int64_t n, float *out, vm_error *e) {
    const nn_quant *q = p->quant;
    vm_param *const part[] = { q->codes, q->scales, q->zeros, q->nested, q->order };
    vm_mirror m[5] = { { 0 } };
    bool open[5] = { 0 };
    for (int k = 0; k < 5 && !e->status; k++)
        if (part[k]) open[k] = !vm_mirror_open(&m[k], part[k]->be, part[k]->data, (size_t)vm_param_count(part[k]) * vm_type_size(part[k]->type), true, e);
    quant_form f = { .kind = (vm_quant_kind)q->kind, .N = p->ne[0], .K = p->ne[1], .block = q->block, .codes = m[0].host, .scales = m[1].host,
                     .scale_codes = m[1].host, .zeros = m[2].host, .nested = m[3].host, .order = m[4].host };
    if (!e->status) quant_form_numbers(&f, first, n, out);
    for (int k = 0; k < 5; k++)
        if (open[k]) vm_mirror_close(&m[k], false, NULL);
    return e->status;
}
