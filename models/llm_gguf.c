/* llm_gguf.c - see llm_gguf.h. */
#include "models/llm_gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --- configuration ------------------------------------------------------------------------------------------------------- */
static const struct { const char *name; bool by_turns; } families[] = { { "llama", true }, { "qwen2", false } };

static void stop_at(llm_config *c, const gguf *g, const char *key, vm_error *e) {
    int64_t id = gguf_int(g, key, -1, 0, INT32_MAX, e);
    bool there = id < 0 || c->stops == LLM_STOPS;
    for (int k = 0; k < c->stops; k++) there |= c->stop[k] == id;
    if (!there) c->stop[c->stops++] = (int32_t)id;
}

/* rope_freqs: what each frequency is divided by (Llama 3's scaling, made into a table). */
static void read_rope(llm_config *c, const gguf *g, const char *arch, vm_error *e) {
    char key[96];
    vm_rope_kind *k = &c->rope;
#define KEY(what) (snprintf(key, sizeof key, "%s." what, arch), key)
    const gguf_tensor *table = gguf_find(g, "rope_freqs.weight");
    k->columns = (int)gguf_int(g, KEY("rope.dimension_count"), c->HS, 2, c->HS, e);
    k->base = gguf_num(g, KEY("rope.freq_base"), 10000, e);
    k->original = gguf_int(g, KEY("rope.scaling.original_context_length"), c->context, 1, 1 << 24, e);
    const char *type = gguf_str(g, KEY("rope.scaling.type"), "none", e);
    k->factor = gguf_num(g, KEY("rope.scaling.factor"), 1, e);
    if (e->status) return;
    if (table && (table->type != GGUF_F32 || table->len != k->columns / 2)) vm_fail(e, VM_EMODEL, "%s: rope_freqs.weight is no table of %d numbers", gguf_path(g), k->columns / 2);
    else if (table) {
        k->scaling = VM_ROPE_LONG, k->factor = k->attention = 1;
        c->short_divisors = vm_alloc(table->bytes + 1), c->long_divisors = vm_alloc(table->bytes + 1);
        if (!c->short_divisors || !c->long_divisors) vm_nomem(e, table->bytes, "frequencies");
        else memcpy(c->short_divisors, table->data, table->bytes), memcpy(c->long_divisors, table->data, table->bytes);
    } else if (!strcmp(type, "linear")) k->scaling = VM_ROPE_LINEAR;
    else if (!strcmp(type, "yarn")) k->scaling = VM_ROPE_YARN, k->low = 1, k->high = 32;
    else if (strcmp(type, "none")) vm_fail(e, VM_EMODEL, "%s: rope.scaling.type \"%s\" is not read; none, linear and yarn are", gguf_path(g), type);
}

vm_status llm_gguf_config(llm_config *c, const gguf *g, vm_error *e) {
    char key[96];
    const int64_t W = 1 << 20;
    const char *arch = gguf_str(g, "general.architecture", "", e);
    const gguf_tensor *embed = gguf_find(g, "token_embd.weight");
    int f = 0;
    *c = (llm_config){ .bos = -1, .pad = -1 };
    while (f < VM_LEN(families) && strcmp(families[f].name, arch)) f++;
    if (e->status) return e->status;
    if (f == VM_LEN(families)) return vm_fail(e, VM_EMODEL, "%s: architecture \"%s\" is not read from GGUF files; llama and qwen2 are. Use the model's folder", gguf_path(g), arch);
    if (!embed || embed->nd != 2) return vm_fail(e, VM_EMODEL, "%s: no tensor token_embd.weight (tokens, width)", gguf_path(g));
    c->vocab = embed->ne[0], c->width = gguf_int(g, KEY("embedding_length"), 0, 1, W, e);
    c->mlp = gguf_int(g, KEY("feed_forward_length"), 0, 1, W, e), c->layers = gguf_int(g, KEY("block_count"), 0, 1, 1000, e);
    c->NH = gguf_int(g, KEY("attention.head_count"), 0, 1, 4096, e), c->NKV = gguf_int(g, KEY("attention.head_count_kv"), c->NH, 1, 4096, e);
    c->HS = gguf_int(g, KEY("attention.key_length"), c->width / VM_MAX(c->NH, (int64_t)1), 2, 4096, e);
    c->context = gguf_int(g, KEY("context_length"), 4096, 1, 1 << 24, e);
    c->eps = (float)gguf_num(g, KEY("attention.layer_norm_rms_epsilon"), 1e-5, e);
    c->window = gguf_int(g, KEY("attention.sliding_window"), 0, 0, 1 << 24, e);
    c->act = VM_SILU, c->tied = !gguf_find(g, "output.weight"), c->qkv_bias = gguf_find(g, "blk.0.attn_q.bias") != NULL;
    if (!e->status && (!c->mlp || !c->layers || !c->NH || c->width != embed->ne[1] || c->NH % c->NKV || c->HS % 2))
        vm_fail(e, VM_EMODEL, "%s: its metadata describe no model: %" PRId64 " layers, %" PRId64 " heads (%" PRId64 " of keys) of %" PRId64 ", width %" PRId64, gguf_path(g),
                c->layers, c->NH, c->NKV, c->HS, c->width);
    c->experts = gguf_int(g, KEY("expert_count"), 0, 0, 4096, e);
    if (c->experts) c->chosen = gguf_int(g, KEY("expert_used_count"), 2, 1, c->experts, e);
    if (!e->status && c->experts && f != 0) vm_fail(e, VM_EMODEL, "%s: experts of the architecture \"%s\" are not read, those of llama are", gguf_path(g), arch);
    c->bos = (int32_t)gguf_int(g, "tokenizer.ggml.bos_token_id", -1, 0, INT32_MAX, e), c->pad = (int32_t)gguf_int(g, "tokenizer.ggml.padding_token_id", -1, 0, INT32_MAX, e);
    stop_at(c, g, "tokenizer.ggml.eos_token_id", e), stop_at(c, g, "tokenizer.ggml.eot_token_id", e), stop_at(c, g, "tokenizer.ggml.eom_token_id", e);
    if (!e->status) read_rope(c, g, arch, e);
    if (e->status) llm_config_free(c);
    return e->status;
}

/* --- tensors ---------------------------------------------------------------------------------------------------------------- */
/* A tensor of the file, or one expert's part of it. */
typedef struct {
    gguf_tensor t; /* its name is the file's */
    int64_t HS;    /* heads whose rows stand by turns; 0 = in their order */
} piece;
struct llm_gguf {
    const gguf *g;
    st_tensor *t; /* sorted by name; part: which piece */
    piece *of;
    int64_t n;
};

static const char *const names[][2] = {
    { "attn_norm.", "input_layernorm." },  { "attn_q.", "self_attn.q_proj." },      { "attn_k.", "self_attn.k_proj." }, { "attn_v.", "self_attn.v_proj." },
    { "attn_output.", "self_attn.o_proj." }, { "ffn_norm.", "post_attention_layernorm." }, { "ffn_gate.", "mlp.gate_proj." }, { "ffn_up.", "mlp.up_proj." },
    { "ffn_down.", "mlp.down_proj." }, { "ffn_gate_inp.", "block_sparse_moe.gate." } };
static const char *const experts[][2] = { { "ffn_gate", "w1" }, { "ffn_up", "w3" }, { "ffn_down", "w2" } };

/* All experts of a layer in one tensor; older files have one for each, "ffn_gate.3.weight". */
static bool is_stack(const gguf_tensor *t) { return t->nd == 3 && strstr(t->name, "_exps.weight"); }

/* The name in Hugging Face's files, at: which expert of a stack; NULL: memory is out. */
static char *name_of(const char *name, int64_t at) {
    const char *dot = strncmp(name, "blk.", 4) ? NULL : strchr(name + 4, '.');
    const int layer = dot ? (int)(dot - name - 4) : 0;
    for (int k = 0; k < VM_LEN(experts) && dot; k++) {
        const char *rest = dot + 1 + strlen(experts[k][0]);
        if (strncmp(dot + 1, experts[k][0], strlen(experts[k][0]))) continue;
        int digits = rest[0] == '.' ? (int)strspn(rest + 1, "0123456789") : 0;
        if (digits) return vm_asprintf("model.layers.%.*s.block_sparse_moe.experts.%.*s.%s%s", layer, name + 4, digits, rest + 1, experts[k][1], rest + 1 + digits);
        if (!strcmp(rest, "_exps.weight"))
            return vm_asprintf("model.layers.%.*s.block_sparse_moe.experts.%" PRId64 ".%s.weight", layer, name + 4, at, experts[k][1]);
    }
    for (int k = 0; k < VM_LEN(names) && dot; k++)
        if (!strncmp(dot + 1, names[k][0], strlen(names[k][0])))
            return vm_asprintf("model.layers.%.*s.%s%s", layer, name + 4, names[k][1], dot + 1 + strlen(names[k][0]));
    if (!strcmp(name, "token_embd.weight")) return vm_strdup("model.embed_tokens.weight");
    if (!strcmp(name, "output_norm.weight")) return vm_strdup("model.norm.weight");
    if (!strcmp(name, "output.weight")) return vm_strdup("lm_head.weight");
    if (!strcmp(name, "rope_freqs.weight")) return vm_strdup("rotary_emb.inv_freq"); /* went into the configuration */
    return vm_strdup(name);
}

static int by_name(const void *a, const void *b) { return strcmp(((const st_tensor *)a)->name, ((const st_tensor *)b)->name); }

/* Numbers of type dtype from row r on, rows by turns brought to their order. */
static vm_status read_rows(const gguf *g, const gguf_tensor *t, int64_t HS, int64_t first, int64_t n, float *out, vm_error *e) {
    const int64_t K = HS && t->nd == 1 ? 1 : t->ne[t->nd - 1];
    const st_dtype type = t->type == GGUF_F32 ? ST_F32 : t->type == GGUF_F16 ? ST_F16 : ST_BF16;
    quant_form q = { 0 };
    if (t->type != GGUF_F32 && t->type != GGUF_F16 && t->type != GGUF_BF16) {
        if (gguf_form(g, t, HS, first / K, (first % K + n + K - 1) / K, &q, e)) return e->status;
        quant_form_numbers(&q, first % K, n, out);
        quant_form_free(&q);
        return VM_OK;
    }
    for (int64_t i = first, m; i < first + n; i += m, out += m) {
        m = VM_MIN(K - i % K, first + n - i);
        st_to_f32(out, type, t->data + (size_t)(gguf_row(i / K, HS) * K + i % K) * st_dtype_bytes(type), m);
    }
    return VM_OK;
}
static vm_status read_f32(const void *file, const st_tensor *t, int64_t first, int64_t n, float *out, vm_error *e) {
    const llm_gguf *s = file;
    const piece *p = &s->of[t->part];
    return n ? read_rows(s->g, &p->t, p->HS, first, n, out, e) : VM_OK;
}
static vm_status form(const void *file, const st_tensor *t, int64_t row, int64_t rows, quant_form *q, vm_error *e) {
    const llm_gguf *s = file;
    return gguf_form(s->g, &s->of[t->part].t, s->of[t->part].HS, row, rows, q, e);
}
static void release(const void *file, const st_tensor *t) {
    const llm_gguf *s = file;
    gguf_release(s->g, &s->of[t->part].t);
}

weight_source llm_gguf_source(const llm_gguf *s) { return (weight_source){ s, gguf_path(s->g), s->t, s->n, read_f32, release, form, false }; }

void llm_gguf_free(llm_gguf *s) {
    if (!s) return;
    for (int64_t i = 0; i < s->n; i++) vm_free((char *)(uintptr_t)s->t[i].name);
    vm_free(s->t), vm_free(s->of);
    vm_free(s);
}

/* Piece `at` of a tensor, under its name in Hugging Face's files. */
static vm_status add(llm_gguf *s, const gguf_tensor *from, int64_t at, int64_t HS, vm_error *e) {
    const int64_t pieces = is_stack(from) ? from->ne[0] : 1;
    piece *p = &s->of[s->n];
    st_tensor *t = &s->t[s->n];
    *p = (piece){ *from, HS };
    p->t.len /= pieces, p->t.bytes /= (size_t)pieces, p->t.data += (size_t)at * p->t.bytes;
    if (is_stack(from)) p->t.nd = 2, p->t.ne[0] = from->ne[1], p->t.ne[1] = from->ne[2];
    if (!(t->name = name_of(from->name, at))) return vm_nomem(e, 64, "a name");
    t->nd = p->t.nd, t->len = p->t.len, t->part = (int32_t)s->n++;
    memcpy(t->shape, p->t.ne, (size_t)t->nd * sizeof *t->shape);
    t->dtype = from->type == GGUF_F32 ? ST_F32 : from->type == GGUF_F16 ? ST_F16 : from->type == GGUF_BF16 ? ST_BF16 : ST_UNKNOWN;
    if (t->dtype != ST_UNKNOWN && !HS) t->data = p->t.data, t->bytes = p->t.bytes;
    return VM_OK;
}

vm_status llm_gguf_open(llm_gguf **out, const gguf *g, const llm_config *c, vm_error *e) {
    llm_gguf *s = vm_calloc(1, sizeof *s);
    bool by_turns = !strcmp(gguf_str(g, "general.architecture", "", e), families[0].name);
    int64_t n = 0;
    *out = NULL;
    if (!s) return vm_nomem(e, sizeof *s, "tensors");
    s->g = g;
    for (int64_t i = 0; i < gguf_len(g); i++) n += is_stack(gguf_at(g, i)) ? gguf_at(g, i)->ne[0] : 1;
    s->t = vm_calloc((size_t)n + 1, sizeof *s->t), s->of = vm_calloc((size_t)n + 1, sizeof *s->of);
    if (!s->t || !s->of) vm_nomem(e, (size_t)n * sizeof *s->t, "tensors");
    for (int64_t i = 0; i < gguf_len(g) && !e->status; i++) {
        const gguf_tensor *from = gguf_at(g, i);
        bool turned = by_turns && (strstr(from->name, ".attn_q.") || strstr(from->name, ".attn_k."));
        for (int64_t k = 0; k < (is_stack(from) ? from->ne[0] : 1) && !e->status; k++) add(s, from, k, turned ? c->HS : 0, e);
    }
    if (s->n && !e->status) qsort(s->t, (size_t)s->n, sizeof *s->t, by_name);
    if (e->status) llm_gguf_free(s);
    else *out = s;
    return e->status;
}
