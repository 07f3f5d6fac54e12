/* quantised_files.c - the layouts of quantised safetensors, see quantised.h. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/quantised.h"

typedef enum { PLAIN, NF4, INT8, GPTQ, AWQ, NOW_NF4, NOW_INT8 } layout; /* NOW_: floats, quantised while loading */

typedef struct {
    layout how;
    const st_tensor *t; /* the tensor that gives the codes, or the plain one */
    char *base;         /* name before ".weight"'s parts; NULL for plain ones */
} entry;

struct quantised {
    const st_file *f;
    st_tensor *t; /* sorted by name, as the model sees them */
    entry *x;     /* beside them */
    int64_t n;
    layout stored, now; /* PLAIN = none */
    bool nested;        /* NOW_NF4: scales in 8 bits */
    json_value left_out; /* NOW_: parts of names that stay as they are */
    int64_t group;      /* gptq, awq; -1 = a whole row */
    int zero_shift;     /* gptq: what stored zeros lack */
};

/* --- parts of a tensor ----------------------------------------------------------------------------------------------- */
static const char *const parts[] = { ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".quant_state.bitsandbytes__nf4", ".SCB",
                                     ".weight_format", ".qzeros", ".scales", ".g_idx" };

static bool ends_in(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n > m && !strcmp(s + n - m, end);
}
static const st_tensor *part(const quantised *q, const entry *x, const char *what) {
    char name[320];
    snprintf(name, sizeof name, "%s%s", x->base, what);
    return st_find(q->f, name);
}

/* The part, with this many elements. */
static const st_tensor *need(const quantised *q, const entry *x, const char *what, int64_t n, vm_error *e) {
    const st_tensor *t = part(q, x, what);
    if (!t) vm_fail(e, VM_EMODEL, "%s: %s%s is missing", st_path(q->f, x->t), x->base, what);
    else if (t->len != n)
        vm_fail(e, VM_EMODEL, "%s: %s has %" PRId64 " elements, expected %" PRId64, st_path(q->f, t), t->name, t->len, n);
    return e->status ? NULL : t;
}

static int32_t *read_i32(const quantised *q, const st_tensor *t, vm_error *e) {
    int32_t *x = vm_alloc((size_t)t->len * sizeof *x + 1);
    if (t->dtype != ST_I32) vm_fail(e, VM_EMODEL, "%s: %s is %s, expected I32", st_path(q->f, t), t->name, st_dtype_name(t->dtype));
    else if (!x) vm_nomem(e, (size_t)t->len * sizeof *x, t->name);
    else memcpy(x, t->data, (size_t)t->len * sizeof *x);
    if (e->status) vm_free(x);
    return e->status ? NULL : x;
}

/* --- bitsandbytes ---------------------------------------------------------------------------------------------------- */
/* Scales of blocks first .. first + n - 1 in f32. */
static vm_status nf4_scales(const quantised *q, const entry *x, const float *map, const float *top, float offset, int64_t per_top, int64_t first, int64_t n,
                            float *out, vm_error *e) {
    const st_tensor *a = part(q, x, ".absmax");
    if (!map) return st_read_f32(q->f, a, first, n, out, e);
    for (int64_t i = 0; i < n; i++) out[i] = map[a->data[first + i]] * top[(first + i) / per_top] + offset;
    return VM_OK;
}

static vm_status nf4_form(const quantised *q, const st_tensor *as, const entry *x, int64_t row, int64_t rows, quant_form *out, vm_error *e) {
    const st_tensor *state = part(q, x, ".quant_state.bitsandbytes__nf4");
    const int64_t K = as->shape[1], first = row * K;
    json_doc *d = json_parse((const char *)state->data, state->bytes, state->name, 0, e);
    json_value root = json_root(d);
    int64_t block = json_int(root, "blocksize", 64, 1, 1 << 16, e), per_top = json_int(root, "nested_blocksize", 0, 0, 1 << 20, e);
    float offset = (float)json_num(root, "nested_offset", 0, -1e9, 1e9, e), table[16] = { 0 }, *map = NULL, *top = NULL;
    json_free(d);
    if (e->status) return e->status;
    int64_t blocks = (as->len + block - 1) / block, tops = per_top ? (blocks + per_top - 1) / per_top : 0;
    const st_tensor *codes = need(q, x, "", (as->len + 1) / 2, e), *a = codes ? need(q, x, ".absmax", blocks, e) : NULL;
    const st_tensor *m = a ? need(q, x, ".quant_map", 16, e) : NULL;
    if (!m || st_read_f32(q->f, m, 0, 16, table, e)) return e->status;
    for (int k = 0; k < 16; k++)
        if (fabsf(table[k] - vm_nf4[k]) > 1e-5f) return vm_fail(e, VM_EMODEL, "%s: %s is not the table of NF4", st_path(q->f, m), m->name);
    if (K % 2 || first % block)
        return vm_fail(e, VM_EMODEL, "%s: %s: rows of %" PRId64 " from %" PRId64 " on do not begin with a block of %" PRId64 " weights; use the model's weights in 16 bits",
                       st_path(q->f, codes), codes->name, K, row, block);
    if (per_top) {
        const st_tensor *tm = need(q, x, ".nested_quant_map", 256, e), *tt = tm ? need(q, x, ".nested_absmax", tops, e) : NULL;
        if (!tt) return e->status;
        float *all = vm_alloc((size_t)(VM_NESTED_TOP + tops) * sizeof *all);
        if (!all) return vm_nomem(e, (size_t)tops * sizeof *all, x->base);
        all[0] = offset, map = all + VM_NESTED_MAP, top = all + VM_NESTED_TOP;
        out->nested = all;
        if (st_read_f32(q->f, tm, 0, 256, map, e) || st_read_f32(q->f, tt, 0, tops, top, e)) return quant_form_free(out), e->status;
    }
    int64_t n = (rows * K + block - 1) / block;
    bool whole = row == 0 && rows == as->shape[0], nested = per_top == VM_NESTED_BLOCK && whole && a->dtype == ST_U8;
    float *keep = out->nested;
    *out = (quant_form){ .kind = VM_NF4, .N = rows, .K = K, .block = (int)block, .codes = codes->data + first / 2, .nested = nested ? keep : NULL };
    if (nested) out->scale_codes = vm_alloc((size_t)n + 1);
    else out->scales = vm_alloc((size_t)n * sizeof *out->scales + 1);
    if (!out->scale_codes && !out->scales) vm_nomem(e, (size_t)n * 4, x->base);
    else if (nested) memcpy(out->scale_codes, a->data, (size_t)n);
    else nf4_scales(q, x, map, top, offset, per_top, first / block, n, out->scales, e);
    if (!nested) vm_free(keep);
    if (e->status) quant_form_free(out);
    return e->status;
}

static vm_status int8_form(const quantised *q, const st_tensor *as, const entry *x, int64_t row, int64_t rows, quant_form *out, vm_error *e) {
    const int64_t K = as->shape[1];
    char scb[320];
    snprintf(scb, sizeof scb, "%.*sSCB", (int)(strlen(x->base) - 6), x->base); /* "….weight" */
    const st_tensor *s = st_find(q->f, scb);
    if (!s || s->len != as->shape[0]) return vm_fail(e, VM_EMODEL, "%s: %s is not a scale for each row of %s", st_path(q->f, x->t), scb, x->base);
    if (quant_form_make(out, VM_INT8, rows, K, 0, false, e) || st_read_f32(q->f, s, row, rows, out->scales, e)) return quant_form_free(out), e->status;
    for (int64_t i = 0; i < rows; i++) out->scales[i] /= 127;
    const uint8_t *from = x->t->data + row * K;
    for (int64_t i = 0; i < rows * K; i++) out->own[i] = from[i] ^ 0x80;
    return VM_OK;
}

/* --- gptq and awq ---------------------------------------------------------------------------------------------------- */
/* Groups of columns that do not stand in a row: order[c] is the column at place c, so that each group's are together. */
static vm_status order_of(const quantised *q, const entry *x, int64_t K, int64_t group, int64_t G, int32_t **order, vm_error *e) {
    const st_tensor *t = q->stored == GPTQ ? part(q, x, ".g_idx") : NULL;
    int32_t *of = t ? read_i32(q, t, e) : NULL;
    *order = NULL;
    if (!of) return e->status;
    bool plain = t->len == K;
    for (int64_t k = 0; k < K && plain; k++) plain = of[k] == k / group;
    int32_t *to = plain ? NULL : vm_alloc((size_t)K * sizeof *to), *at = plain ? NULL : vm_calloc((size_t)G + 1, sizeof *at);
    if (!plain && (!to || !at)) vm_nomem(e, (size_t)K * sizeof *to, x->base);
    else if (!plain && t->len != K) vm_fail(e, VM_EMODEL, "%s: %s has %" PRId64 " entries for %" PRId64 " columns", st_path(q->f, t), t->name, t->len, K);
    for (int64_t k = 0; k < K && to && !e->status; k++) {
        int32_t g = of[k];
        if (g < 0 || g >= G || at[g] >= VM_MIN(group, K - g * group)) {
            vm_fail(e, VM_EMODEL, "%s: %s: the groups of its columns have not %" PRId64 " columns each", st_path(q->f, t), t->name, group);
            break;
        }
        to[g * group + at[g]++] = (int32_t)k;
    }
    vm_free(of), vm_free(at);
    if (e->status) vm_free(to);
    else *order = to;
    return e->status;
}

static int nibble(const int32_t *words, int64_t i) { return (int)((uint32_t)words[i / 8] >> 4 * (i % 8) & 15); }
/* Where in a word awq has row i of its eight. */
static int64_t awq_place(int64_t i) {
    static const int place[8] = { 0, 4, 1, 5, 2, 6, 3, 7 };
    return i / 8 * 8 + place[i % 8];
}

static vm_status groups_form(const quantised *q, const st_tensor *as, const entry *x, int64_t row, int64_t rows, quant_form *out, vm_error *e) {
    const int64_t N = as->shape[0], K = as->shape[1], group = q->group > 0 ? q->group : K, G = (K + group - 1) / group;
    const bool awq = q->stored == AWQ;
    const st_tensor *z = need(q, x, ".qzeros", G * N / 8, e), *s = z ? need(q, x, ".scales", G * N, e) : NULL;
    int32_t *order = NULL;
    if (!s || order_of(q, x, K, group, G, &order, e)) return e->status;
    int32_t *words = read_i32(q, x->t, e), *zeros = words ? read_i32(q, z, e) : NULL;
    float *scales = zeros ? vm_alloc((size_t)s->len * sizeof *scales + 1) : NULL;
    if (zeros && !scales) vm_nomem(e, (size_t)s->len * sizeof *scales, x->base);
    if (scales && !st_read_f32(q->f, s, 0, s->len, scales, e) && !quant_form_make(out, VM_INT4, rows, K, (int)group, true, e)) {
        bool middle = true;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t g = 0; g < G; g++) {
                int64_t n = row + i, at = g * N + n;
                int zero = nibble(zeros, awq ? g * N + awq_place(n) : at) + q->zero_shift;
                out->scales[i * G + g] = scales[at], out->zeros[i * G + g] = (float)zero;
                middle &= zero == 8;
            }
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t c = 0; c < K; c++) {
                int64_t n = row + i, k = order ? order[c] : c;
                int code = awq ? nibble(words, k * N + awq_place(n)) : (int)((uint32_t)words[k / 8 * N + n] >> 4 * (k % 8) & 15);
                out->own[(i * K + c) / 2] |= (uint8_t)(c % 2 ? code : code << 4);
            }
        if (middle) vm_free(out->zeros), out->zeros = NULL; /* symmetric: what vm_linear_q means without zeros */
        out->order = order, order = NULL;
    }
    vm_free(order), vm_free(words), vm_free(zeros), vm_free(scales);
    return e->status;
}

/* --- quantised now ---------------------------------------------------------------------------------------------------- */
static vm_status now_form(const quantised *q, const st_tensor *as, const entry *x, int64_t row, int64_t rows, quant_form *out, vm_error *e) {
    enum { BLOCK = 64 };
    const int64_t K = as->shape[1];
    const bool four = x->how == NOW_NF4;
    float *w = vm_alloc((size_t)(rows * K) * sizeof *w + 1);
    if (!w) return vm_nomem(e, (size_t)(rows * K) * sizeof *w, as->name);
    if (!st_read_f32(q->f, x->t, row * K, rows * K, w, e) && !quant_form_make(out, four ? VM_NF4 : VM_INT8, rows, K, four ? BLOCK : 0, false, e)) {
        if (four) vm_quantize_nf4(w, rows * K, BLOCK, out->own, out->scales);
        else vm_quantize_int8(w, rows, K, 0, out->own, out->scales);
        int64_t n = vm_quant_scales(VM_NF4, rows, K, BLOCK);
        if (four && q->nested) {
            out->scale_codes = vm_alloc((size_t)n + 1), out->nested = vm_alloc((size_t)vm_nested_len(n) * sizeof(float));
            if (!out->scale_codes || !out->nested) quant_form_free(out), vm_nomem(e, (size_t)n, as->name);
            else vm_quantize_scales(out->scales, n, out->scale_codes, out->nested);
        }
    }
    vm_free(w);
    st_release(q->f, x->t);
    return e->status;
}

/* --- as a source ------------------------------------------------------------------------------------------------------ */
static vm_status form(const void *file, const st_tensor *t, int64_t row, int64_t rows, quant_form *out, vm_error *e) {
    const quantised *q = file;
    const entry *x = &q->x[t - q->t];
    switch (x->how) {
    case NF4: return nf4_form(q, t, x, row, rows, out, e);
    case INT8: return int8_form(q, t, x, row, rows, out, e);
    case GPTQ:
    case AWQ: return groups_form(q, t, x, row, rows, out, e);
    default: return now_form(q, t, x, row, rows, out, e);
    }
}

static vm_status read_numbers(const void *file, const st_tensor *t, int64_t first, int64_t n, float *out, vm_error *e) {
    const quantised *q = file;
    const entry *x = &q->x[t - q->t];
    if (x->how == PLAIN || x->how >= NOW_NF4) return st_read_f32(q->f, x->t, first, n, out, e);
    quant_form f = { 0 };
    if (!n) return VM_OK;
    int64_t K = t->shape[1];
    if (form(q, t, 0, t->shape[0], &f, e)) return e->status;
    quant_form_numbers(&f, first, VM_MIN(n, t->shape[0] * K - first), out);
    quant_form_free(&f);
    return VM_OK;
}
static void release(const void *file, const st_tensor *t) {
    const quantised *q = file;
    st_release(q->f, q->x[t - q->t].t);
}

weight_source quantised_source(const quantised *q) {
    return (weight_source){ q, st_path(q->f, NULL), q->t, q->n, read_numbers, release, form, false };
}

void quantised_free(quantised *q) {
    if (!q) return;
    for (int64_t i = 0; i < q->n; i++) {
        if (q->x[i].base && !ends_in(q->x[i].base, ".weight")) vm_free((char *)(uintptr_t)q->t[i].name);
        vm_free(q->x[i].base);
    }
    vm_free(q->t), vm_free(q->x);
    vm_free(q);
}

/* --- opening ----------------------------------------------------------------------------------------------------------- */
static vm_status read_config(quantised *q, json_value config, vm_error *e) {
    json_value c = json_get(config, "quantization_config");
    if (!json_has(c)) return VM_OK;
    const char *method = json_str(c, "quant_method", json_bool(c, "load_in_4bit", false, e) || json_bool(c, "load_in_8bit", false, e) ? "bitsandbytes" : "", e);
    if (e->status) return e->status;
    if (!strcmp(method, "bitsandbytes")) {
        bool four = json_bool(c, "load_in_4bit", false, e);
        const char *type = json_str(c, "bnb_4bit_quant_type", "nf4", e);
        if (!e->status && four && strcmp(type, "nf4")) return json_fail(json_get(c, "bnb_4bit_quant_type"), e, "\"%s\" is not read, \"nf4\" is", type);
        q->stored = four ? NF4 : INT8, q->now = four ? NOW_NF4 : NOW_INT8;
        q->nested = json_bool(c, "bnb_4bit_use_double_quant", false, e), q->left_out = json_get(c, "llm_int8_skip_modules");
        return e->status;
    }
    if (strcmp(method, "gptq") && strcmp(method, "awq"))
        return json_fail(json_get(c, "quant_method"), e, "\"%s\" is not read; bitsandbytes, gptq and awq are", method);
    int64_t bits = json_int(c, "bits", json_int(c, "w_bit", 4, 1, 64, e), 1, 64, e);
    const char *format = json_str(c, "checkpoint_format", json_str(c, "version", "gptq", e), e);
    q->stored = method[0] == 'g' ? GPTQ : AWQ;
    q->group = json_int(c, "group_size", json_int(c, "q_group_size", 128, -1, 1 << 20, e), -1, 1 << 20, e);
    if (e->status) return e->status;
    if (bits != 4) return json_fail(c, e, "%d bits are not read, 4 are", (int)bits);
    if (q->stored == AWQ && strcmp(format, "gemm") && strcmp(format, "gptq")) return json_fail(c, e, "version \"%s\" of awq is not read, \"gemm\" is", format);
    if (q->stored == GPTQ && strcmp(format, "gptq") && strcmp(format, "gptq_v2"))
        return json_fail(json_get(c, "checkpoint_format"), e, "\"%s\" is not read, gptq and gptq_v2 are", format);
    q->zero_shift = q->stored == GPTQ && strcmp(format, "gptq_v2") != 0;
    if (q->group == 0) return json_fail(json_get(c, "group_size"), e, "groups of 0 columns");
    return VM_OK;
}

/* Whether a tensor belongs to another one. */
static bool is_part(const quantised *q, const st_tensor *t) {
    for (int k = 0; k < VM_LEN(parts); k++) {
        if (!ends_in(t->name, parts[k])) continue;
        char base[320];
        snprintf(base, sizeof base, "%.*s", (int)(strlen(t->name) - strlen(parts[k])), t->name);
        size_t n = strlen(base);
        if (ends_in(t->name, ".SCB") || ends_in(t->name, ".weight_format")) { /* of a matrix in 8 bits, in any of the layouts */
            snprintf(base + n, sizeof base - n, ".weight");
            return st_find(q->f, base) != NULL;
        }
        if (q->stored == NF4) return st_find(q->f, base) != NULL;
        snprintf(base + n, sizeof base - n, "%s", q->stored == INT8 ? ".weight" : ".qweight");
        return st_find(q->f, base) != NULL;
    }
    return false;
}

bool quantised_can_be(const st_tensor *t) {
    const bool numbers = t->dtype == ST_F32 || t->dtype == ST_F16 || t->dtype == ST_BF16;
    return t->nd == 2 && numbers && strstr(t->name, "layers.") && ends_in(t->name, ".weight") && !ends_in(t->name, "moe.gate.weight") &&
           !ends_in(t->name, "mlp.gate.weight");
}

/* A matrix of floats that is quantised while it is loaded. */
static bool is_quantised_now(const quantised *q, const st_tensor *t) {
    bool yes = q->now && quantised_can_be(t) && t->shape[1] % 2 == 0;
    for (json_iter it = json_each(q->left_out); json_next(&it);) yes &= it.value.kind != JSON_STRING || !strstr(t->name, json_as_str(it.value, NULL));
    return yes;
}

/* How tensor t is to be seen: its name and shape without the quantisation. */
static vm_status see(quantised *q, const st_tensor *t, st_tensor *as, entry *x, vm_error *e) {
    char name[320];
    *as = *t, *x = (entry){ PLAIN, t, NULL };
    snprintf(name, sizeof name, "%s.quant_state.bitsandbytes__nf4", t->name);
    const st_tensor *state = q->stored == NF4 ? st_find(q->f, name) : NULL;
    size_t n = strlen(t->name);
    if (state) {
        json_doc *d = json_parse((const char *)state->data, state->bytes, state->name, 0, e);
        x->how = NF4, as->nd = 2;
        json_as_ints(json_get(json_root(d), "shape"), as->shape, 2, e);
        json_free(d);
    } else if (t->dtype == ST_I8 && t->nd == 2 && ends_in(t->name, ".weight")) {
        x->how = INT8;
    } else if ((q->stored == GPTQ || q->stored == AWQ) && t->nd == 2 && ends_in(t->name, ".qweight")) {
        x->how = q->stored, as->nd = 2;
        as->shape[0] = q->stored == GPTQ ? t->shape[1] : t->shape[1] * 8, as->shape[1] = q->stored == GPTQ ? t->shape[0] * 8 : t->shape[0];
    } else if (is_quantised_now(q, t)) {
        x->how = q->now;
    }
    if (e->status || x->how == PLAIN) return e->status;
    x->base = x->how == GPTQ || x->how == AWQ ? vm_strndup(t->name, n - strlen(".qweight")) : vm_strdup(t->name);
    as->name = x->base && (x->how == GPTQ || x->how == AWQ) ? vm_asprintf("%s.weight", x->base) : t->name;
    if (!x->base || !as->name) return vm_nomem(e, n, t->name);
    as->dtype = ST_UNKNOWN, as->data = NULL, as->len = as->shape[0] * as->shape[1];
    return VM_OK;
}

static int by_name(const void *a, const void *b) { return strcmp(((const st_tensor *)a)->name, ((const st_tensor *)b)->name); }

vm_status quantised_open(quantised **out, const st_file *f, json_value config, vm_error *e) {
    quantised *q = vm_calloc(1, sizeof *q);
    *out = NULL;
    if (!q) return vm_nomem(e, sizeof *q, "quantised weights");
    q->f = f;
    if (read_config(q, config, e) || q->stored == PLAIN) return quantised_free(q), e->status;
    q->t = vm_calloc((size_t)st_len(f) + 1, sizeof *q->t), q->x = vm_calloc((size_t)st_len(f) + 1, sizeof *q->x);
    if (!q->t || !q->x) vm_nomem(e, (size_t)st_len(f) * sizeof *q->t, "quantised weights");
    for (int64_t i = 0; i < st_len(f) && !e->status; i++)
        if (!is_part(q, st_at(f, i))) see(q, st_at(f, i), &q->t[q->n], &q->x[q->n], e), q->n++;
    /* names have changed, and with them their order: entries follow their tensors by way of part, which is not needed here */
    for (int64_t i = 0; i < q->n; i++) q->t[i].part = (int32_t)i;
    if (q->n && !e->status) qsort(q->t, (size_t)q->n, sizeof *q->t, by_name);
    entry *x = e->status ? NULL : vm_calloc((size_t)q->n + 1, sizeof *x);
    if (!e->status && !x) vm_nomem(e, (size_t)q->n * sizeof *x, "quantised weights");
    if (e->status) return quantised_free(q), e->status;
    for (int64_t i = 0; i < q->n; i++) x[i] = q->x[q->t[i].part];
    vm_free(q->x);
    q->x = x;
    *out = q;
    return VM_OK;
}
