/* convert_quantize.c - a language model in 8 or 4 bits: the matrices of its layers as codes and scales, all else as it is, in layouts that
 * the published libraries read, and quantised.h again (the head in 8 bits beside another kind is read here alone):
 *
 *   nf4   bitsandbytes' 4 bits with double quantisation: blocks of 64 weights, NF4 codes, scales in 8 bits
 *   int8  bitsandbytes' 8 bits: W.weight I8 by rows, W.SCB their largest magnitudes
 *   int4  awq's "gemm": groups of columns with a scale in f16 and a zero of 4 bits, rounded to nearest (nothing is searched)
 *
 * One tensor at a time is in memory. A head of its own becomes int8 in each kind, unless it is to be kept: every token reads all of it.
 * Experts are matrices as others; where a layer has them in one tensor, they get the names of those that have tensors of their own. Routers
 * of experts and tables stay in 16 bits. */
#include <inttypes.h>
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "kernels/quant.h"
#include "models/llm.h"
#include "models/quantised.h"
#include "pipeline/convert.h"

enum { NF4_BLOCK = 64 };

typedef struct {
    vm_quant_kind kind;
    int64_t group; /* int4 */
    const st_file *f;
    st_writer *w;
    st_tensor *t;  /* those of the file, or parts of them, under the names that they get */
    int64_t n_t, cap;
    int64_t n, weights;
    bool head;     /* in 8 bits */
} job;

/* --- tensors -------------------------------------------------------------------------------------------------------------- */
/* Rows row .. row + rows of t as a matrix of `columns`, or (rows 0) all of it as it is, under another name. */
static void add(job *j, const st_tensor *t, int64_t row, int64_t rows, int64_t columns, char *name, vm_error *e) {
    if (e->status || !name || !vm_grow(&j->t, &j->cap, j->n_t + 1, sizeof *j->t)) {
        vm_free(name);
        if (!e->status) vm_nomem(e, sizeof *j->t, "the list of tensors");
        return;
    }
    st_tensor *to = &j->t[j->n_t++];
    *to = *t, to->name = name;
    if (!rows) return;
    to->nd = 2, to->shape[0] = rows, to->shape[1] = columns, to->len = rows * columns, to->bytes = (size_t)to->len * st_dtype_bytes(t->dtype);
    to->data += (size_t)(row * columns) * st_dtype_bytes(t->dtype);
}

static void add_experts(job *j, const st_tensor *t, const char *mlp, bool gate_up, vm_error *e) {
    const int64_t rows = gate_up ? t->shape[1] / 2 : t->shape[1], K = t->shape[2];
    for (int64_t i = 0; i < t->shape[0]; i++)
        for (int k = 0; k < 1 + gate_up; k++)
            add(j, t, (i * (1 + gate_up) + k) * rows, rows, K,
                vm_asprintf("%.*sblock_sparse_moe.experts.%" PRId64 ".w%d.weight", (int)(mlp - t->name), t->name, i, gate_up ? 1 + 2 * k : 2), e);
}

static void list_tensors(job *j, const llm_config *c, vm_error *e) {
    for (int64_t i = 0; i < st_len(j->f) && !e->status; i++) {
        const st_tensor *t = st_at(j->f, i);
        const char *mlp = c->experts ? strstr(t->name, "mlp.") : NULL;
        if (mlp && t->nd == 3 && !strcmp(mlp, "mlp.experts.gate_up_proj")) add_experts(j, t, mlp, true, e);
        else if (mlp && t->nd == 3 && !strcmp(mlp, "mlp.experts.down_proj")) add_experts(j, t, mlp, false, e);
        else if (mlp && !strcmp(mlp, "mlp.gate.weight")) add(j, t, 0, 0, 0, vm_asprintf("%.*sblock_sparse_moe.gate.weight", (int)(mlp - t->name), t->name), e);
        else add(j, t, 0, 0, 0, vm_strdup(t->name), e);
    }
}

/* --- which -------------------------------------------------------------------------------------------------------------- */
static bool ends_in(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n > m && !strcmp(s + n - m, end);
}
static bool is_head(const job *j, const st_tensor *t) {
    return j->head && t->nd == 2 && (t->dtype == ST_F32 || t->dtype == ST_F16 || t->dtype == ST_BF16) && !strcmp(t->name, "lm_head.weight");
}
static bool fits(const job *j, const st_tensor *t) {
    if (is_head(j, t)) return true;
    if (!quantised_can_be(t)) return false;
    return j->kind == VM_INT8 || (j->kind == VM_NF4 ? t->shape[1] % 2 == 0 : t->shape[0] % 8 == 0 && t->shape[1] % j->group == 0);
}

/* The largest of the usual groups that all columns divide into. */
static vm_status find_group(job *j, int64_t asked, vm_error *e) {
    for (j->group = asked ? asked : 128; j->group >= (asked ? asked : 32); j->group /= 2) {
        bool all = true;
        for (int64_t i = 0; i < j->n_t && all; i++) all = !quantised_can_be(&j->t[i]) || j->t[i].shape[1] % j->group == 0;
        if (all) return VM_OK;
    }
    return vm_fail(e, VM_EUSAGE, "%s: columns of some matrices do not divide into groups of %d; give another --group, or --quantize nf4", st_path(j->f, NULL),
                   (int)(asked ? asked : 32));
}

/* --- parts ---------------------------------------------------------------------------------------------------------------- */
/* Declares (data NULL) or writes one part: the tensor's name, without `cut` at its end, and `what`. */
static void part(const job *j, const st_tensor *t, const char *cut, const char *what, st_dtype type, int nd, const int64_t *shape, const void *data, vm_error *e) {
    char name[320];
    if (e->status) return;
    snprintf(name, sizeof name, "%.*s%s", (int)(strlen(t->name) - strlen(cut)), t->name, what);
    if (data) st_writer_put(j->w, name, data, e);
    else st_writer_add(j->w, name, type, nd, shape, e);
}

static const char *torch_type(st_dtype t) { return t == ST_BF16 ? "bfloat16" : t == ST_F16 ? "float16" : "float32"; }

/* offset: of the nested scales. The text has one length for all of them, so that it can be declared before it is known. */
static void nf4_state(char text[256], const st_tensor *t, double offset) {
    snprintf(text, 256, "{\"quant_type\": \"nf4\", \"blocksize\": %d, \"dtype\": \"%s\", \"shape\": [%" PRId64 ", %" PRId64 "], \"nested_blocksize\": %d, "
             "\"nested_dtype\": \"float32\", \"nested_offset\": %.9e}", NF4_BLOCK, torch_type(t->dtype), t->shape[0], t->shape[1], VM_NESTED_BLOCK, offset);
}

/* w NULL: declares. */
static void nf4(const job *j, const st_tensor *t, const float *w, vm_error *e) {
    int64_t n = vm_quant_scales(VM_NF4, t->shape[0], t->shape[1], NF4_BLOCK), tops = vm_nested_len(n) - VM_NESTED_TOP;
    uint8_t *codes = w ? vm_alloc((size_t)t->len / 2 + 1) : NULL, *small = w ? vm_alloc((size_t)n + 1) : NULL;
    float *scales = w ? vm_alloc((size_t)n * sizeof *scales + 1) : NULL, *nested = w ? vm_alloc((size_t)vm_nested_len(n) * sizeof *nested) : NULL;
    char state[256];
    if (w && (!codes || !small || !scales || !nested)) vm_nomem(e, (size_t)t->len, t->name);
    else if (w) vm_quantize_nf4(w, t->len, NF4_BLOCK, codes, scales), vm_quantize_scales(scales, n, small, nested);
    nf4_state(state, t, nested ? (double)nested[0] : 0);
    int64_t length = (int64_t)strlen(state);
    part(j, t, "", "", ST_U8, 2, (int64_t[]){ t->len / 2, 1 }, codes, e);
    part(j, t, "", ".absmax", ST_U8, 1, &n, small, e);
    part(j, t, "", ".quant_map", ST_F32, 1, (int64_t[]){ 16 }, w ? vm_nf4 : NULL, e);
    part(j, t, "", ".nested_quant_map", ST_F32, 1, (int64_t[]){ 256 }, w ? nested + VM_NESTED_MAP : NULL, e);
    part(j, t, "", ".nested_absmax", ST_F32, 1, &tops, w ? nested + VM_NESTED_TOP : NULL, e);
    part(j, t, "", ".quant_state.bitsandbytes__nf4", ST_U8, 1, &length, w ? state : NULL, e);
    vm_free(codes), vm_free(small), vm_free(scales), vm_free(nested);
}

static void int8(const job *j, const st_tensor *t, const float *w, vm_error *e) {
    int64_t N = t->shape[0];
    uint8_t *codes = w ? vm_alloc((size_t)t->len + 1) : NULL;
    float *scales = w ? vm_alloc((size_t)N * sizeof *scales + 1) : NULL;
    if (w && (!codes || !scales)) vm_nomem(e, (size_t)t->len, t->name);
    else if (w) vm_quantize_int8(w, N, t->shape[1], 0, codes, scales);
    for (int64_t i = 0; w && !e->status && i < t->len; i++) codes[i] ^= 0x80;
    for (int64_t i = 0; w && !e->status && i < N; i++) scales[i] *= 127;
    part(j, t, "", "", ST_I8, 2, t->shape, codes, e);
    part(j, t, "weight", "SCB", ST_F32, 1, &N, scales, e);
    part(j, t, "", "_format", ST_U8, 0, NULL, w ? &(uint8_t){ 0 } : NULL, e); /* 0: rows as they are */
    vm_free(codes), vm_free(scales);
}

/* Entry i of a row of words of eight in awq's order. */
static void put_awq(uint32_t *row, int64_t i, uint32_t code) {
    static const int place[8] = { 0, 4, 1, 5, 2, 6, 3, 7 };
    row[i / 8] |= code << 4 * place[i % 8];
}

static void int4(const job *j, const st_tensor *t, const float *w, vm_error *e) {
    const int64_t N = t->shape[0], K = t->shape[1], G = K / j->group, words = N / 8;
    uint8_t *codes = w ? vm_alloc((size_t)t->len / 2 + 1) : NULL;
    float *scales = w ? vm_alloc((size_t)(N * G) * 2 * sizeof *scales + 1) : NULL, *zeros = scales ? scales + N * G : NULL;
    uint32_t *q = w ? vm_calloc((size_t)(K * words) + 1, sizeof *q) : NULL, *qz = w ? vm_calloc((size_t)(G * words) + 1, sizeof *qz) : NULL;
    uint16_t *half = w ? vm_alloc((size_t)(N * G) * sizeof *half + 1) : NULL;
    if (w && (!codes || !scales || !q || !qz || !half)) vm_nomem(e, (size_t)t->len, t->name);
    else if (w) {
        vm_quantize_int4(w, N, K, j->group, codes, scales, zeros);
        for (int64_t n = 0; n < N; n++) {
            for (int64_t k = 0; k < K; k++) put_awq(q + k * words, n, codes[(n * K + k) / 2] >> (k % 2 ? 0 : 4) & 15);
            for (int64_t g = 0; g < G; g++) {
                put_awq(qz + g * words, n, (uint32_t)zeros[n * G + g]);
                st_from_f32(half + g * N + n, ST_F16, &scales[n * G + g], 1);
            }
        }
    }
    part(j, t, "weight", "qweight", ST_I32, 2, (int64_t[]){ K, words }, q, e);
    part(j, t, "weight", "qzeros", ST_I32, 2, (int64_t[]){ G, words }, qz, e);
    part(j, t, "weight", "scales", ST_F16, 2, (int64_t[]){ G, N }, half, e);
    vm_free(codes), vm_free(scales), vm_free(q), vm_free(qz), vm_free(half);
}

static void put(const job *j, const st_tensor *t, const float *w, vm_error *e) {
    (j->kind == VM_INT8 || is_head(j, t) ? int8 : j->kind == VM_NF4 ? nf4 : int4)(j, t, w, e);
}

/* --- the folder ----------------------------------------------------------------------------------------------------------- */
static vm_status write_weights(job *j, const char *dir, vm_error *e) {
    char *path = path_join(dir, "model.safetensors");
    if (!path) return vm_nomem(e, 256, "a path");
    if (!st_writer_open(&j->w, path, 0, e)) st_writer_meta(j->w, "format", "pt", e);
    for (int64_t i = 0; i < j->n_t && !e->status; i++) {
        const st_tensor *t = &j->t[i];
        if (fits(j, t)) put(j, t, NULL, e), j->n++, j->weights += t->len;
        else st_writer_add(j->w, t->name, t->dtype, t->nd, t->shape, e);
    }
    if (!e->status && !j->n) vm_fail(e, VM_EINPUT, "%s: no matrices of layers in f32, f16 or bf16", st_path(j->f, NULL));
    for (int64_t i = 0; i < j->n_t && !e->status; i++) {
        const st_tensor *t = &j->t[i];
        if (!fits(j, t)) {
            st_writer_put(j->w, t->name, t->data, e);
            continue;
        }
        float *w = vm_alloc((size_t)t->len * sizeof *w + 1);
        if (!w) vm_nomem(e, (size_t)t->len * sizeof *w, t->name);
        else if (!st_read_f32(j->f, t, 0, t->len, w, e)) put(j, t, w, e);
        vm_free(w);
        st_release(j->f, t);
    }
    if (j->w && !e->status) st_writer_commit(j->w, e);
    else st_writer_abort(j->w);
    vm_free(path);
    return e->status;
}

/* Matrices that stay in 16 bits, by their whole names: what all versions of the libraries understand. */
static void put_left_out(const job *j, json_writer *w, const char *key) {
    json_begin_array(w, key);
    if (!j->head) json_put_str(w, NULL, "lm_head");
    for (int64_t i = 0; i < j->n_t; i++) {
        char name[320];
        snprintf(name, sizeof name, "%.*s", (int)strlen(j->t[i].name) - 7, j->t[i].name);
        if (ends_in(j->t[i].name, "moe.gate.weight")) json_put_str(w, NULL, name);
    }
    json_close_array(w);
}

static vm_status write_config(const job *j, const char *from, const char *dir, vm_error *e) {
    json_doc *d = json_config(from, "a language model", e);
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    for (json_iter it = json_each(json_root(d)); json_next(&it);) json_put_value(&w, it.key, it.value);
    json_begin_object(&w, "quantization_config");
    if (j->kind == VM_INT4) {
        json_put_str(&w, "quant_method", "awq");
        json_put_int(&w, "bits", 4), json_put_int(&w, "group_size", j->group);
        json_put_bool(&w, "zero_point", true), json_put_str(&w, "version", "gemm");
        put_left_out(j, &w, "modules_to_not_convert");
    } else {
        json_put_str(&w, "quant_method", "bitsandbytes");
        json_put_bool(&w, "load_in_4bit", j->kind == VM_NF4), json_put_bool(&w, "load_in_8bit", j->kind == VM_INT8);
        json_put_str(&w, "bnb_4bit_quant_type", "nf4"), json_put_bool(&w, "bnb_4bit_use_double_quant", true);
        json_put_str(&w, "bnb_4bit_compute_dtype", "bfloat16"), json_put_str(&w, "bnb_4bit_quant_storage", "uint8");
        json_put_raw(&w, "llm_int8_threshold", "6.0", 3); /* a whole number is refused there */
        put_left_out(j, &w, "llm_int8_skip_modules");
    }
    json_close_object(&w), json_close_object(&w);
    json_free(d);
    return json_save(&w, dir, "config.json", e);
}

/* Tokenizer, templates, generation settings: every file beside the weights. */
static vm_status copy_rest(const char *from, const char *to, vm_error *e) {
    static const char *const not[] = { ".safetensors", ".index.json", ".bin", ".pt", ".pth", ".gguf" };
    char **names = NULL;
    int64_t n = 0;
    dir_list(&names, &n, from, e);
    for (int64_t i = 0; i < n && !e->status; i++) {
        char *src = path_join(from, names[i]), *dst = path_join(to, names[i]), *data = NULL;
        size_t bytes = 0;
        bool leave = !strcmp(names[i], "config.json") || (src && file_is_dir(src));
        for (int k = 0; k < VM_LEN(not); k++) leave |= ends_in(names[i], not[k]);
        if (!src || !dst) vm_nomem(e, 256, "a path");
        else if (!leave && !file_read(&data, &bytes, src, 0, e)) file_write(dst, data, bytes, e);
        vm_free(data), vm_free(src), vm_free(dst);
    }
    vm_free(names);
    return e->status;
}

vm_status convert_quantize(const vm_args *a, const char *from, const char *out, vm_error *e) {
    const char *kind = arg_str(a, "quantize");
    llm_config c = { 0 };
    job j = { .kind = !strcmp(kind, "nf4") ? VM_NF4 : !strcmp(kind, "int8") ? VM_INT8 : VM_INT4 };
    st_file *f = NULL;
    char *tmp = NULL;
    if (j.kind == VM_INT4 && strcmp(kind, "int4")) return vm_fail(e, VM_EUSAGE, "--quantize %s: expected int4, int8 or nf4", kind);
    if (j.kind != VM_INT4 && arg_given(a, "group")) return vm_fail(e, VM_EUSAGE, "--group goes with --quantize int4");
    if (!file_is_dir(from) || !llm_is_llm(from)) return vm_fail(e, VM_EUSAGE, "%s: --quantize starts from the folder of a language model", from);
    if (llm_config_read(&c, from, e) || st_open(&f, from, e)) return llm_config_free(&c), e->status;
    j.f = f, j.head = !arg_flag(a, "keep-head") && !c.tied;
    list_tensors(&j, &c, e);
    llm_config_free(&c);
    if (!e->status && (j.kind != VM_INT4 || !find_group(&j, arg_int(a, "group"), e)) && !dir_begin(&tmp, out, e)) {
        if (!write_weights(&j, tmp, e) && !write_config(&j, from, tmp, e) && !copy_rest(from, tmp, e)) dir_commit(tmp, out, e);
        if (e->status) dir_abort(tmp);
        else vm_info("%s: %" PRId64 " matrices of %.3g million weights in %s", out, j.n, (double)j.weights * 1e-6, kind);
    }
    for (int64_t i = 0; i < j.n_t; i++) vm_free((char *)(uintptr_t)j.t[i].name);
    vm_free(j.t), vm_free(tmp);
    st_close(f);
    return e->status;
}
