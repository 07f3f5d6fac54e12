/* test_gguf.c - GGUF files: a written one read back, block formats against the formulas of llm_gguf.h, models (also of experts) from a file
 * against the same numbers in a folder, malformed files. */
#include <unistd.h>

#include "io/chat.h"
#include "io/file.h"
#include "io/spiece.h"
#include "io/tokenizer.h"
#include "models/llm_decode.h"
#include "models/llm_gguf.h"
#include "tests/test.h"

static char tmp[512];
static uint64_t state = 3;

/* --- a writer ------------------------------------------------------------------------------------------------------------ */
typedef struct {
    uint8_t *p;
    int64_t n, cap, data; /* data: bytes that tensors take so far */
} bytes;
static void put(bytes *b, const void *x, size_t n) {
    if (!vm_grow(&b->p, &b->cap, b->n + (int64_t)n, 1)) abort();
    memcpy(b->p + b->n, x, n), b->n += (int64_t)n;
}
static void put32(bytes *b, uint32_t x) { put(b, &x, 4); }
static void put64(bytes *b, uint64_t x) { put(b, &x, 8); }
static void put_text(bytes *b, const char *s) { put64(b, strlen(s)), put(b, s, strlen(s)); }
static void put_int(bytes *b, const char *key, uint32_t v) { put_text(b, key), put32(b, 4), put32(b, v); }
static void put_f32(bytes *b, const char *key, float v) { put_text(b, key), put32(b, 6), put(b, &v, 4); }
static void put_tensor(bytes *b, const char *name, uint32_t type, int nd, const int64_t *ne) {
    int64_t each, len = 1;
    size_t block;
    put_text(b, name), put32(b, (uint32_t)nd);
    for (int k = nd - 1; k >= 0; k--) {
        put64(b, (uint64_t)ne[k]);
        len = (int64_t)((uint64_t)len * (uint64_t)ne[k]); /* may overflow: a case of its own */
    }
    put32(b, type), put64(b, (uint64_t)b->data);
    gguf_type_size(type, &each, &block);
    b->data += (int64_t)((size_t)(len / each) * block + 31) / 32 * 32;
}
static void pad(bytes *b) {
    while (b->n % 32) put(b, "", 1);
}

/* --- blocks -------------------------------------------------------------------------------------------------------------- */
static float half(uint8_t *p, double lo, double hi) {
    float x = (float)(lo + (hi - lo) * (0.5 + 0.5 * test_uniform(&state)));
    st_from_f32(p, ST_F16, &x, 1), st_to_f32(&x, ST_F16, p, 1);
    return x;
}
/* One block of random codes and the numbers that it stands for, by the definition of its format alone. */
static void block(uint32_t type, uint8_t *p, float *y) {
    int64_t each;
    size_t n;
    gguf_type_size(type, &each, &n);
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)test_rand(&state);
    if (type == GGUF_Q4_0 || type == GGUF_Q4_1) {
        int head = type == GGUF_Q4_0 ? 2 : 4;
        float d = half(p, 0.004, 0.01), m = type == GGUF_Q4_1 ? half(p + 2, -0.09, -0.03) : -8 * d;
        for (int i = 0; i < 16; i++) y[i] = d * (float)(p[head + i] & 15) + m, y[i + 16] = d * (float)(p[head + i] >> 4) + m;
    } else if (type == GGUF_Q8_0) {
        float d = half(p, 0.0003, 0.001);
        for (int i = 0; i < 32; i++) y[i] = d * (float)(int8_t)p[2 + i];
    } else if (type == GGUF_Q4_K) {
        float d = half(p, 0.0001, 0.0003), least = half(p + 2, 0.0005, 0.002);
        if (test_rand(&state) % 4 == 0) p[4] = 0, p[12] &= 0xf0; /* a scale of 0 */
        for (int b = 0; b < 8; b++) {
            const uint8_t *s = p + 4;
            int scale = b < 4 ? s[b] & 63 : (s[b + 4] & 15) + (s[b - 4] >> 6) * 16, off = b < 4 ? s[b + 4] & 63 : (s[b + 4] >> 4) + (s[b] >> 6) * 16;
            for (int i = 0; i < 32; i++) {
                int code = b % 2 ? p[16 + b / 2 * 32 + i] >> 4 : p[16 + b / 2 * 32 + i] & 15;
                y[32 * b + i] = d * (float)scale * (float)code - least * (float)off;
            }
        }
    } else {
        float d = half(p + 208, 0.00001, 0.00003);
        for (int h = 0; h < 2; h++) /* as the format's own loop has it: four weights of each byte of high bits */
            for (int l = 0; l < 32; l++) {
                const uint8_t *low = p + 64 * h, *high = p + 128 + 32 * h;
                const int8_t *s = (const int8_t *)p + 192 + 8 * h;
                int q[4] = { (low[l] & 15) | (high[l] & 3) << 4, (low[l + 32] & 15) | (high[l] >> 2 & 3) << 4, low[l] >> 4 | (high[l] >> 4 & 3) << 4,
                             low[l + 32] >> 4 | high[l] >> 6 << 4 };
                for (int k = 0; k < 4; k++) y[128 * h + 32 * k + l] = d * (float)s[2 * k + l / 16] * (float)(q[k] - 32);
            }
    }
}

/* --- a model ------------------------------------------------------------------------------------------------------------- */
enum { H = 256, V = 60, HS = 64, LENGTH = 12, EXPERTS = 3 };
typedef struct { const char *name, *hf; uint32_t type; int nd; int64_t ne[3]; bool turned; } line; /* hf: of a stack of experts with a %d */
static const line common[] = {
    { "token_embd.weight", "model.embed_tokens.weight", GGUF_F16, 2, { V, H }, false },
    { "blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight", GGUF_F32, 1, { H }, false },
    { "blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight", GGUF_Q4_K, 2, { H, H }, true },
    { "blk.0.attn_k.weight", "model.layers.0.self_attn.k_proj.weight", GGUF_F16, 2, { 2 * HS, H }, true },
    { "blk.0.attn_v.weight", "model.layers.0.self_attn.v_proj.weight", GGUF_Q8_0, 2, { 2 * HS, H }, false },
    { "blk.0.attn_output.weight", "model.layers.0.self_attn.o_proj.weight", GGUF_Q4_0, 2, { H, H }, false },
    { "blk.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight", GGUF_F32, 1, { H }, false },
    { "output_norm.weight", "model.norm.weight", GGUF_F32, 1, { H }, false },
    { "output.weight", "lm_head.weight", GGUF_Q6_K, 2, { V, H }, false },
};
static const line dense[] = {
    { "blk.0.ffn_gate.weight", "model.layers.0.mlp.gate_proj.weight", GGUF_Q4_1, 2, { 512, H }, false },
    { "blk.0.ffn_up.weight", "model.layers.0.mlp.up_proj.weight", GGUF_BF16, 2, { 512, H }, false },
    { "blk.0.ffn_down.weight", "model.layers.0.mlp.down_proj.weight", GGUF_Q4_K, 2, { H, 512 }, false },
};
#define MOE "model.layers.0.block_sparse_moe."
/* Mixtral: all experts of a layer in one tensor; and one tensor for each, as older files have them. */
static const line stacked[] = {
    { "blk.0.ffn_gate_inp.weight", MOE "gate.weight", GGUF_F32, 2, { EXPERTS, H }, false },
    { "blk.0.ffn_gate_exps.weight", MOE "experts.%d.w1.weight", GGUF_Q4_K, 3, { EXPERTS, 512, H }, false },
    { "blk.0.ffn_up_exps.weight", MOE "experts.%d.w3.weight", GGUF_F16, 3, { EXPERTS, 512, H }, false },
    { "blk.0.ffn_down_exps.weight", MOE "experts.%d.w2.weight", GGUF_Q6_K, 3, { EXPERTS, H, 512 }, false },
};
static const line apart[] = {
    { "blk.0.ffn_gate_inp.weight", MOE "gate.weight", GGUF_F32, 2, { EXPERTS, H }, false },
    { "blk.0.ffn_gate.0.weight", MOE "experts.0.w1.weight", GGUF_Q4_0, 2, { 512, H }, false },
    { "blk.0.ffn_gate.1.weight", MOE "experts.1.w1.weight", GGUF_Q4_0, 2, { 512, H }, false },
    { "blk.0.ffn_gate.2.weight", MOE "experts.2.w1.weight", GGUF_Q4_0, 2, { 512, H }, false },
    { "blk.0.ffn_up.0.weight", MOE "experts.0.w3.weight", GGUF_Q8_0, 2, { 512, H }, false },
    { "blk.0.ffn_up.1.weight", MOE "experts.1.w3.weight", GGUF_Q8_0, 2, { 512, H }, false },
    { "blk.0.ffn_up.2.weight", MOE "experts.2.w3.weight", GGUF_Q8_0, 2, { 512, H }, false },
    { "blk.0.ffn_down.0.weight", MOE "experts.0.w2.weight", GGUF_Q4_1, 2, { H, 512 }, false },
    { "blk.0.ffn_down.1.weight", MOE "experts.1.w2.weight", GGUF_Q4_1, 2, { H, 512 }, false },
    { "blk.0.ffn_down.2.weight", MOE "experts.2.w2.weight", GGUF_Q4_1, 2, { H, 512 }, false },
};

static void header(bytes *b, int n_tensors, bool experts) {
    put(b, "GGUF", 4), put32(b, 3), put64(b, (uint64_t)n_tensors), put64(b, 12 + 2 * experts);
    if (experts) put_int(b, "llama.expert_count", EXPERTS), put_int(b, "llama.expert_used_count", 2);
    put_text(b, "general.architecture"), put32(b, 8), put_text(b, "llama");
    put_int(b, "llama.block_count", 1), put_int(b, "llama.context_length", 64), put_int(b, "llama.embedding_length", H);
    put_int(b, "llama.feed_forward_length", 512), put_int(b, "llama.attention.head_count", 4);
    put_text(b, "llama.attention.head_count_kv"), put32(b, 9), put32(b, 5), put64(b, 1), put32(b, 2); /* one for each layer */
    put_f32(b, "llama.attention.layer_norm_rms_epsilon", 1e-6f), put_f32(b, "llama.rope.freq_base", 5000);
    put_int(b, "tokenizer.ggml.bos_token_id", 1), put_int(b, "tokenizer.ggml.eos_token_id", 2), put_int(b, "tokenizer.ggml.eot_token_id", 7);
}

/* Under the folder's name: the tensor, or part k of a stack of experts. */
static const char *hf_name(const line *t, int k, char out[128]) {
    const char *at = strstr(t->hf, "%d");
    if (at) snprintf(out, 128, "%.*s%d%s", (int)(at - t->hf), t->hf, k, at + 2);
    else snprintf(out, 128, "%s", t->hf);
    return out;
}

/* The file m.gguf, and the same numbers as a folder "plain". mlp: lines beside the common ones. */
static char *write_model(const line *mlp, int n_mlp, bool experts) {
    static const char config[] = "{\"model_type\":\"%s\",\"vocab_size\":60,\"hidden_size\":256,\"intermediate_size\":512,\"num_hidden_layers\":1,\"num_attention_heads\":4,"
                                 "\"num_key_value_heads\":2,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-6,\"rope_theta\":5000,\"num_local_experts\":3}";
    bytes b = { 0 };
    vm_error e = { 0 };
    st_writer *w = NULL;
    char *path = path_join(tmp, "m.gguf"), *dir = path_join(tmp, "plain"), *a = path_join(dir, "config.json"), *to = path_join(dir, "model.safetensors"), text[400], name[128];
    snprintf(text, sizeof text, config, experts ? "mixtral" : "llama");
    if (dir_make(dir, &e) || file_write(a, text, strlen(text), &e) || st_writer_open(&w, to, 0, &e)) MISMATCH("%s\n", e.msg);
    const int n_lines = VM_LEN(common) + n_mlp;
    header(&b, n_lines, experts);
    for (int i = 0; i < n_lines; i++) {
        const line *t = i < VM_LEN(common) ? &common[i] : &mlp[i - VM_LEN(common)];
        const int stack = t->nd == 3;
        put_tensor(&b, t->name, t->type, t->nd, t->ne);
        for (int k = 0; k < (stack ? t->ne[0] : 1); k++) st_writer_add(w, hf_name(t, k, name), ST_F32, t->nd - stack, t->ne + stack, &e);
    }
    pad(&b);
    for (int l = 0; l < n_lines; l++) {
        const line *t = l < VM_LEN(common) ? &common[l] : &mlp[l - VM_LEN(common)];
        int64_t K = t->ne[t->nd - 1], N = t->nd == 1 ? 1 : t->ne[t->nd - 2] * (t->nd == 3 ? t->ne[0] : 1), each;
        const int parts = t->nd == 3 ? (int)t->ne[0] : 1;
        size_t n;
        float *y = vm_alloc((size_t)(N * K) * 4), *hf = vm_alloc((size_t)(N * K) * 4);
        gguf_type_size(t->type, &each, &n);
        for (int64_t i = 0; i < N * K; i += each) {
            uint8_t p[256];
            st_dtype type = t->type == GGUF_F32 ? ST_F32 : t->type == GGUF_F16 ? ST_F16 : ST_BF16;
            if (each > 1) block(t->type, p, y + i);
            else y[i] = (float)((N == 1) + 0.07 * test_uniform(&state)), st_from_f32(p, type, y + i, 1), st_to_f32(y + i, type, p, 1);
            put(&b, p, n);
        }
        pad(&b);
        for (int64_t r = 0; r < N; r++) { /* (heads, i, half) in the file, (heads, half, i) in the folder */
            int64_t h = r / HS, half_of = r % HS / (HS / 2), i = r % (HS / 2), from = t->turned ? h * HS + 2 * i + half_of : r;
            memcpy(hf + r * K, y + from * K, (size_t)K * 4);
        }
        for (int k = 0; k < parts; k++) st_writer_put(w, hf_name(t, k, name), hf + k * (N / parts) * K, &e);
        vm_free(y), vm_free(hf);
    }
    if (e.status || st_writer_commit(w, &e) || file_write(path, b.p, (size_t)b.n, &e)) MISMATCH("%s\n", e.msg);
    vm_free(b.p), vm_free(dir), vm_free(a), vm_free(to);
    return path;
}

static llm *open_model(const char *path, bool writable) {
    vm_error e = { 0 };
    llm *m = NULL;
    if (llm_open(&m, vm_backend_cpu(), path, writable, &e)) MISMATCH("%s\n", e.msg);
    if (m && m->unused) MISMATCH("%s\n", m->unused);
    return m;
}
static void logits(const llm *m, float out[V]) {
    vm_error e = { 0 };
    llm_engine *en = NULL;
    llm_seq s = { 0 };
    int32_t text[LENGTH];
    for (int i = 0; i < LENGTH; i++) text[i] = 3 + i * 11 % (V - 3);
    if (llm_engine_new(&en, m, VM_F32, &(llm_engine_options){ .tokens = 64, .longest = 64 }, &e) || llm_prefill(en, &s, text, LENGTH, out, &e)) MISMATCH("%s\n", e.msg);
    llm_seq_free(en, &s);
    llm_engine_free(en);
}

/* Numbers of a parameter against those of the plain folder. */
static void same_numbers(const vm_param *p, const vm_param *plain) {
    int64_t n = vm_param_count(plain);
    float *x = vm_alloc((size_t)n * 4);
    vm_error e = { 0 };
    EXPECT(!weight_read(p, 0, n, x, &e));
    for (int64_t i = 0; i < n; i++) EXPECT_NEAR((double)x[i], (double)((const float *)plain->data)[i], 2e-7);
    vm_free(x);
}

static void same_logits(const llm *m, const float want[V]) {
    float got[V];
    logits(m, got);
    for (int i = 0; i < V; i++) EXPECT_NEAR((double)got[i], (double)want[i], 2e-4);
}

TEST(a_model) {
    float want[V];
    char *path = write_model(dense, VM_LEN(dense), false), *dir = path_join(tmp, "plain");
    llm *plain = open_model(dir, false), *m = open_model(path, false), *whole = open_model(path, true);
    EXPECT(m->c.bos == 1 && m->c.stops == 2 && m->c.stop[0] == 2 && m->c.stop[1] == 7 && m->c.NKV == 2 && m->c.context == 64);
    logits(plain, want);
    same_logits(m, want);
    same_logits(whole, want);
    const llm_layer *l = &m->layer[0], *w = &whole->layer[0], *p = &plain->layer[0];
    EXPECT(l->q_w->quant && l->v_w->quant && l->o_w->quant && l->gate_w->quant && l->down_w->quant && m->head->quant && !m->embed->quant);
    EXPECT(l->k_w->type == VM_F16 && l->up_w->type == VM_BF16 && l->up_w->borrowed && m->embed->type == VM_F16);
    vm_param *const quants[][3] = { { l->q_w, w->q_w, p->q_w }, { l->k_w, w->k_w, p->k_w },          { l->v_w, w->v_w, p->v_w },     { l->o_w, w->o_w, p->o_w },
                                    { l->gate_w, w->gate_w, p->gate_w }, { l->up_w, w->up_w, p->up_w }, { l->down_w, w->down_w, p->down_w }, { m->head, whole->head, plain->head } };
    for (int k = 0; k < VM_LEN(quants); k++) same_numbers(quants[k][0], quants[k][2]), same_numbers(quants[k][1], quants[k][2]);
    llm_free(plain), llm_free(m), llm_free(whole);
    unlink(path);
    vm_free(path), vm_free(dir);
}

TEST(experts_of_both_layouts) {
    for (int one = 0; one < 2; one++) {
        float want[V];
        char *path = one ? write_model(stacked, VM_LEN(stacked), true) : write_model(apart, VM_LEN(apart), true), *dir = path_join(tmp, "plain");
        llm *plain = open_model(dir, false), *m = open_model(path, false), *whole = open_model(path, true);
        EXPECT(m->c.experts == EXPERTS && m->c.chosen == 2);
        logits(plain, want);
        same_logits(m, want);
        same_logits(whole, want);
        const llm_layer *l = &m->layer[0], *w = &whole->layer[0], *p = &plain->layer[0];
        EXPECT(l->gate_w->quant && l->down_w->quant && (one ? l->up_w->type == VM_F16 : l->up_w->quant != NULL) && !l->router->quant);
        same_numbers(l->gate_w, p->gate_w), same_numbers(l->up_w, p->up_w), same_numbers(l->down_w, p->down_w), same_numbers(l->router, p->router);
        same_numbers(w->gate_w, p->gate_w), same_numbers(w->up_w, p->up_w), same_numbers(w->down_w, p->down_w);
        llm_free(plain), llm_free(m), llm_free(whole);
        unlink(path);
        vm_free(path), vm_free(dir);
    }
}

/* --- tokenizers ------------------------------------------------------------------------------------------------------------ */
/* A list in the metadata: of n texts (8), i32 (5) or f32 (6). */
static void put_list(bytes *b, const char *key, uint32_t of, int64_t n) { put_text(b, key), put32(b, 9), put32(b, of), put64(b, (uint64_t)n); }
static void put_str(bytes *b, const char *key, const char *s) { put_text(b, key), put32(b, 8), put_text(b, s); }

static void same_tokens(const char *dir, const char *path) {
    static const char *const texts[] = { "a red cube", " two  lines\nof text, it's 1234567 here", "caf\xc3\xa9 \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80!",
                                         "e\xcc\x81 <|eot_id|> and <|im_end|> </s>x", "", "\t\tif (a == b) {\r\n}", "the the the" };
    vm_error e = { 0 };
    tok *want = NULL, *got = NULL;
    tok_ids a = { 0 }, b = { 0 };
    if (tok_open(&want, dir, &e) || tok_open(&got, path, &e)) MISMATCH("%s: %s\n", dir, e.msg);
    for (int k = 0; k < VM_LEN(texts) && got; k++) {
        char *x = NULL, *y = NULL;
        EXPECT(!tok_encode(want, texts[k], strlen(texts[k]), 0, 0, &a, &e) && !tok_encode(got, texts[k], strlen(texts[k]), 0, 0, &b, &e));
        if (a.n != b.n || memcmp(a.id, b.id, (size_t)a.n * sizeof *a.id)) MISMATCH("%s: text %d has other tokens\n", dir, k);
        EXPECT(!tok_decode(want, a.id, a.n, false, &x, NULL, &e) && !tok_decode(got, a.id, a.n, false, &y, NULL, &e) && !strcmp(x, y));
        vm_free(x), vm_free(y);
    }
    if (got) EXPECT(tok_get_info(want)->bos == tok_get_info(got)->bos && tok_get_info(want)->vocab_len == tok_get_info(got)->vocab_len);
    tok_ids_free(&a), tok_ids_free(&b);
    tok_free(want), tok_free(got);
}

/* tokenizer.json's entries, merges and added tokens as metadata. */
static void pairs_case(const char *name, const char *pre, bool begins) {
    bytes b = { 0 };
    vm_error e = { 0 };
    char *dir = vm_asprintf("tests/golden/tokenizer/%s", name), *from = path_join(dir, "tokenizer.json"), *path = path_join(tmp, "pairs.gguf"), *text_of[500] = { 0 };
    json_doc *d = json_open(from, &e);
    json_value model = json_get(json_root(d), "model"), merges = json_get(model, "merges"), added = json_get(json_root(d), "added_tokens");
    int64_t n = json_len(json_get(model, "vocab")) + json_len(added), bos = json_as_int(json_get(json_at(added, 0), "id"), 0, 1000, &e);
    for (json_iter it = json_each(json_get(model, "vocab")); json_next(&it);) text_of[json_as_int(it.value, 0, 499, &e)] = vm_strdup(it.key);
    for (json_iter it = json_each(added); json_next(&it);)
        text_of[json_as_int(json_get(it.value, "id"), 0, 499, &e)] = vm_strdup(json_as_str(json_get(it.value, "content"), &e));
    put(&b, "GGUF", 4), put32(&b, 3), put64(&b, 0), put64(&b, 7);
    put_str(&b, "tokenizer.ggml.model", "gpt2"), put_str(&b, "tokenizer.ggml.pre", pre), put_int(&b, begins ? "tokenizer.ggml.bos_token_id" : "x", (uint32_t)bos);
    put_str(&b, "tokenizer.chat_template", "{{ '<|im_start|>' }}");
    put_list(&b, "tokenizer.ggml.tokens", 8, n);
    for (int64_t i = 0; i < n; i++) put_text(&b, text_of[i]), vm_free(text_of[i]);
    put_list(&b, "tokenizer.ggml.token_type", 5, n);
    for (int64_t i = 0; i < n; i++) put32(&b, i < n - json_len(added) ? 1 : i < n - 2 ? 3 : 4);
    put_list(&b, "tokenizer.ggml.merges", 8, json_len(merges));
    for (json_iter it = json_each(merges); json_next(&it);) {
        char both[200];
        if (it.value.kind == JSON_STRING) put_text(&b, json_as_str(it.value, &e));
        else snprintf(both, sizeof both, "%s %s", json_as_str(json_at(it.value, 0), &e), json_as_str(json_at(it.value, 1), &e)), put_text(&b, both);
    }
    if (e.status || file_write(path, b.p, (size_t)b.n, &e)) MISMATCH("%s\n", e.msg);
    same_tokens(dir, path);
    const chat_layout *chat = NULL;
    EXPECT(!chat_of(&chat, path, &e) && chat && !strcmp(chat_name(chat), "chatml"));
    json_free(d);
    vm_free(b.p), vm_free(dir), vm_free(from), vm_free(path);
}
TEST(byte_level_pairs) {
    pairs_case("bytes_llama3", "llama-bpe", true);
    pairs_case("bytes_qwen2", "qwen2", false);
}

TEST(pieces_with_scores) {
    bytes b = { 0 };
    vm_error e = { 0 };
    char *data = NULL, *path = path_join(tmp, "pieces.gguf");
    size_t n = 0;
    spiece_file f = { 0 };
    if (file_read(&data, &n, "tests/golden/tokenizer/pieces_model/tokenizer.model", 0, &e) || spiece_read(&f, data, n, "model", &e)) MISMATCH("%s\n", e.msg);
    put(&b, "GGUF", 4), put32(&b, 2), put64(&b, 0), put64(&b, 6);
    put_str(&b, "tokenizer.ggml.model", "llama"), put_int(&b, "tokenizer.ggml.bos_token_id", 1), put_int(&b, "tokenizer.ggml.eos_token_id", 2);
    put_list(&b, "tokenizer.ggml.tokens", 8, f.n);
    for (int64_t i = 0; i < f.n; i++) put64(&b, f.piece[i].bytes), put(&b, f.piece[i].text, f.piece[i].bytes);
    put_list(&b, "tokenizer.ggml.scores", 6, f.n);
    for (int64_t i = 0; i < f.n; i++) put(&b, &f.piece[i].score, 4);
    put_list(&b, "tokenizer.ggml.token_type", 5, f.n);
    for (int64_t i = 0; i < f.n; i++) put32(&b, (uint32_t)f.piece[i].kind);
    if (file_write(path, b.p, (size_t)b.n, &e)) MISMATCH("%s\n", e.msg);
    same_tokens("tests/golden/tokenizer/pieces_model", path);
    spiece_free(&f);
    vm_free(data), vm_free(b.p), vm_free(path);
}

TEST(tokenizers_that_are_not_read) {
    static const char *const words[] = { "words are cut as \"viking\"", "its tokenizer is a \"bert\"", "has no tokenizer in its metadata" };
    char *path = path_join(tmp, "bad.gguf");
    for (int k = 0; k < 3; k++) {
        bytes b = { 0 };
        vm_error e = { 0 };
        tok *t = NULL;
        put(&b, "GGUF", 4), put32(&b, 3), put64(&b, 0), put64(&b, k == 2 ? 0 : 3);
        put_str(&b, "tokenizer.ggml.model", k ? "bert" : "gpt2"), put_str(&b, "tokenizer.ggml.pre", "viking");
        put_list(&b, "tokenizer.ggml.tokens", 8, 2), put_text(&b, "a"), put_text(&b, "b");
        EXPECT(!file_write(path, b.p, (size_t)b.n, &e) && tok_open(&t, path, &e) == VM_EINPUT && !t);
        EXPECT_HAS(e.msg, words[k]);
        vm_free(b.p);
    }
    vm_free(path);
}

/* --- malformed files ------------------------------------------------------------------------------------------------------ */
TEST(cut_files) {
    bytes b = { 0 };
    gguf *g = NULL;
    header(&b, 1, false);
    put_tensor(&b, "token_embd.weight", GGUF_F32, 2, (int64_t[]){ 4, H });
    int64_t head = b.n;
    pad(&b);
    while (b.n < head + 32 + 4 * H * 4) put(&b, "", 1);
    int64_t n = (head + 31) / 32 * 32 + 4 * H * 4;
    for (int64_t k = 0; k <= n; k += k > 40 && k < head - 40 ? 7 : 1) {
        vm_error e = { 0 };
        uint8_t *copy = vm_alloc((size_t)k + 1); /* of its own, so that a read behind its end is seen */
        memcpy(copy, b.p, (size_t)k);
        vm_status st = gguf_open_memory(&g, copy, (size_t)k, "x.gguf", &e);
        EXPECT(k == n ? !st && gguf_len(g) == 1 && gguf_find(g, "token_embd.weight")->ne[1] == H : st == VM_EINPUT && !g && strstr(e.msg, "x.gguf"));
        gguf_close(g);
        vm_free(copy);
    }
    vm_free(b.p);
}

static const char *refused(const bytes *b) {
    static char out[1100];
    vm_error e = { 0 };
    gguf *g = NULL;
    llm_config c;
    if (!gguf_open_memory(&g, b->p, (size_t)b->n, "x.gguf", &e) && !llm_gguf_config(&c, g, &e)) llm_config_free(&c);
    gguf_close(g);
    snprintf(out, sizeof out, "%s", e.msg);
    return out;
}
TEST(what_is_not_read) {
    bytes b = { 0 };
    put(&b, "GGUX", 4), put32(&b, 3), put64(&b, 0), put64(&b, 0);
    EXPECT_HAS(refused(&b), "x.gguf: is no GGUF file");
    memcpy(b.p, "GGUF\1", 5);
    EXPECT_HAS(refused(&b), "version 1 of GGUF, 2 and 3 are read");
    memcpy(b.p, "GGUF\3", 5);
    EXPECT_HAS(refused(&b), "architecture \"\" is not read");
    b.n = 16, put64(&b, 1), put_text(&b, "k"), put32(&b, 77);
    EXPECT_HAS(refused(&b), "k has a value of type 77");
    b.n = 16, put64(&b, 1), put_text(&b, "k"), put32(&b, 9), put32(&b, 4), put64(&b, UINT64_MAX / 2);
    EXPECT_HAS(refused(&b), "more than the file has bytes");
    b.n = 16, put64(&b, 1), put_text(&b, "general.alignment"), put32(&b, 8), put_text(&b, "x");
    EXPECT_HAS(refused(&b), "general.alignment is no number");
    b.n = 8, put64(&b, 1), put64(&b, 0), put_tensor(&b, "t", GGUF_Q4_K, 2, (int64_t[]){ 2, 300 });
    EXPECT_HAS(refused(&b), "rows of 300 are no whole blocks of Q4_K");
    b.n = 8, put64(&b, 1), put64(&b, 0), put_tensor(&b, "t", GGUF_F32, 2, (int64_t[]){ INT64_MAX / 2, 8 });
    EXPECT_HAS(refused(&b), "the product of its sizes overflows");
    b.n = 8, put64(&b, 1), put64(&b, 1), put_text(&b, "general.architecture"), put32(&b, 8), put_text(&b, "falcon");
    b.data = 0, put_tensor(&b, "t", GGUF_F32, 1, (int64_t[]){ 0 }), pad(&b);
    EXPECT_HAS(refused(&b), "architecture \"falcon\" is not read from GGUF files; llama and qwen2 are");
    vm_free(b.p);
}

int main(int argc, char **argv) {
    snprintf(tmp, sizeof tmp, "%s/gguf.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    RUN(a_model);
    RUN(experts_of_both_layouts);
    RUN(byte_level_pairs);
    RUN(pieces_with_scores);
    RUN(tokenizers_that_are_not_read);
    RUN(cut_files);
    RUN(what_is_not_read);
    vm_error e = { 0 };
    EXPECT(!dir_remove(tmp, &e));
    return test_end();
}
