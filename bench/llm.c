/* llm.c - a language model of TinyLlama's shape (1.1 billion weights) with random numbers: tokens of a prompt, and further tokens of one
 * and of several texts, with weights in 16, 8 and 4 bits. One JSON line per row on stdout (measure.h); per_s counts tokens. Behind each
 * "decode b1" a line says how many GB of weights a token reads, their rate by CPU seconds, and that of plain reading in the same minute.
 *
 * Rows: "KIND prefill 512" "KIND decode b1" "KIND decode b8" "KIND decode b32", KIND one of f32, bf16, f16, int8, nf4, int4. Minutes long,
 * and only where it is named: "KIND shared prefix", 16 texts of 1,500 tokens in common and 60 of their own that are 128 tokens continued,
 * the common ones computed once, and by each text for itself; CPU seconds of all, and until a first token. Weights in codes are
 * multiplied by activations rounded to 8 bits, as generate does it, and the output head is in int8 then. */
#include "bench/measure.h"
#include "kernels/philox.h"
#include "models/llm_decode.h"
#include "models/quantised.h"

vm_status llm_make(llm **out, vm_backend *be, const llm_config *c, vm_error *e); /* models/llm.c */

static const struct { const char *name; vm_type type; vm_quant_kind kind; int block; } kinds[] = {
    { "f32", VM_F32, VM_INT8, -1 }, { "bf16", VM_BF16, VM_INT8, -1 }, { "f16", VM_F16, VM_INT8, -1 }, { "int8", VM_BF16, VM_INT8, 0 }, { "nf4", VM_BF16, VM_NF4, 64 }, { "int4", VM_BF16, VM_INT4, 128 } };

static llm_config shape(void) {
    return (llm_config){ .vocab = 32000, .width = 2048, .mlp = 5632, .layers = 22, .context = 2048, .NH = 32, .NKV = 4, .HS = 64, .eps = 1e-5f,
                         .act = VM_SILU, .rope = { .columns = 64, .base = 1e4 }, .bos = 1, .pad = -1 };
}

/* Random numbers of size 2^-7 to 2^-3 in 16 bits, up to 2^-5 in f32, or random codes; norms are 1. Returns the bytes. */
static double fill(llm *m, vm_param *p, int k, vm_rng *r) {
    vm_error e = { 0 };
    int64_t n = vm_param_count(p);
    if (kinds[k].block >= 0 && p->nd == 2 && p != m->embed) {
        quant_form q;
        const vm_quant_kind kind = p == m->head ? VM_INT8 : kinds[k].kind; /* as convert --quantize has it */
        if (quant_form_make(&q, kind, p->ne[0], p->ne[1], kind == VM_INT8 ? 0 : kinds[k].block, kind == VM_INT4, &e)) die(&e);
        int64_t bytes = n / (q.kind == VM_INT8 ? 1 : 2), scales = vm_quant_scales(q.kind, q.N, q.K, q.block);
        for (int64_t i = 0; i < bytes; i++) q.own[i] = (uint8_t)vm_rng_u32(r);
        for (int64_t i = 0; i < scales; i++) {
            q.scales[i] = q.kind == VM_INT8 ? 0.0005f : 0.03f;
            if (q.zeros) q.zeros[i] = 7.5f;
        }
        double all = (double)bytes + 4 * (double)scales * (q.zeros ? 2 : 1);
        if (quant_form_keep(&q, &m->w, p, &e)) die(&e);
        return all;
    }
    p->type = p->nd > 1 ? kinds[k].type : VM_F32;
    if (vm_param_alloc(p, &e)) die(&e);
    for (int64_t i = 0; i < n; i++) {
        if (p->type == VM_F32) ((float *)p->data)[i] = p->nd > 1 ? (float)(int32_t)vm_rng_u32(r) * 0x1p-36f : 1;
        else ((uint16_t *)p->data)[i] = (uint16_t)(vm_rng_u32(r) & (p->type == VM_BF16 ? 0x81ff : 0x8fff)) | (p->type == VM_BF16 ? 0x3c00 : 0x2000);
    }
    return p == m->embed ? 0 : (double)n * (double)vm_type_size(p->type); /* of the table one row is read */
}

typedef struct {
    llm_engine *en;
    llm_seq s[LLM_SLOTS], *all[LLM_SLOTS];
    int32_t ids[512];
    float *logits;
    int n;
} job;
static void decode(void *ctx) {
    job *j = ctx;
    vm_error e = { 0 };
    if (llm_decode(j->en, j->n, j->all, j->ids, j->logits, &e)) die(&e);
}
static void prefill(void *ctx) {
    job *j = ctx;
    vm_error e = { 0 };
    if (llm_prefill(j->en, &j->s[0], j->ids, 512, j->logits, &e)) die(&e);
    llm_seq_free(j->en, &j->s[0]);
}

/* Tokens and passes over memory by turns, the least CPU time of each. */
static void against_memory(job *j, const char *name, double gb) {
    enum { WORDS = 1 << 26 };
    uint64_t *p = vm_calloc(WORDS, 8), sum = 0;
    double best = 1e30, read = 1e30;
    memset(p, 1, (size_t)WORDS * 8);
    for (int r = 0; r < 12; r++) {
        double c = seconds(CLOCK_PROCESS_CPUTIME_ID);
        for (int64_t i = 0; i < WORDS; i++) sum += p[i];
        double d = seconds(CLOCK_PROCESS_CPUTIME_ID);
        decode(j);
        best = VM_MIN(best, seconds(CLOCK_PROCESS_CPUTIME_ID) - d), read = VM_MIN(read, d - c);
    }
    printf("{\"program\":\"vismin\",\"section\":\"llm\",\"name\":\"%s against memory\",\"gb\":%.3f,\"gb_per_cpu_s\":%.1f,\"read_gb_per_cpu_s\":%.1f,\"check\":%d}\n", name, gb,
           gb / best, WORDS * 8e-9 / read, (int)(sum & 1));
    fflush(stdout);
    vm_free(p);
}

/* CPU seconds of the texts; *first: until the first token of one, the common tokens being there if they are shared. */
static double texts(const llm *m, vm_type t, bool shared, double *first) {
    enum { TEXTS = 16, COMMON = 1500, OWN = 60, MADE = 128 };
    job j = { .n = TEXTS, .logits = vm_alloc((size_t)(LLM_SLOTS * m->c.vocab) * 4) };
    llm_seq base = { 0 };
    int32_t ids[COMMON + OWN];
    vm_error e = { 0 };
    llm_engine_options o = { .tokens = (TEXTS + 1) * 2048, .longest = 2048, .cache = t, .rounded = true };
    if (llm_engine_new(&j.en, m, t, &o, &e)) die(&e);
    for (int i = 0; i < COMMON + OWN; i++) ids[i] = 3 + i * 37 % 30000;
    double begin = seconds(CLOCK_PROCESS_CPUTIME_ID);
    if (shared && llm_prefill(j.en, &base, ids, COMMON, NULL, &e)) die(&e);
    double at = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < TEXTS; i++) {
        j.all[i] = &j.s[i], ids[COMMON] = 5 + i;
        if (shared && llm_seq_fork(j.en, &j.s[i], &base, COMMON, &e)) die(&e);
        if (llm_prefill(j.en, &j.s[i], shared ? ids + COMMON : ids, shared ? OWN : COMMON + OWN, j.logits, &e)) die(&e);
        if (i == 0) *first = seconds(CLOCK_PROCESS_CPUTIME_ID) - at;
    }
    for (int i = 0; i < MADE; i++) decode(&j);
    double all = seconds(CLOCK_PROCESS_CPUTIME_ID) - begin;
    for (int i = 0; i < TEXTS; i++) llm_seq_free(j.en, &j.s[i]);
    llm_seq_free(j.en, &base);
    llm_engine_free(j.en);
    vm_free(j.logits);
    return all;
}

static void shared_prefix(const llm *m, const char *name, vm_type t) {
    double first, first_alone, all = texts(m, t, true, &first), alone = texts(m, t, false, &first_alone);
    printf("{\"program\":\"vismin\",\"section\":\"llm\",\"name\":\"%s\",\"threads\":%d,\"cpu_s\":%.2f,\"cpu_s_each_for_itself\":%.2f,\"ratio\":%.2f,\"first_cpu_s\":%.3f,"
           "\"first_cpu_s_for_itself\":%.3f}\n", name, threads, all, alone, alone / all, first, first_alone);
    fflush(stdout);
}

static void run(const llm *m, const char *kind, double gb) {
    char name[64];
    vm_error e = { 0 };
    vm_type t = vm_cpu_has_bf16() && strcmp(kind, "f32") ? VM_BF16 : VM_F32;
    job j = { .logits = vm_alloc((size_t)(LLM_SLOTS * m->c.vocab) * 4) };
    if (llm_engine_new(&j.en, m, t, &(llm_engine_options){ .tokens = 8192, .longest = 2048, .cache = t, .rounded = true }, &e)) die(&e);
    for (int i = 0; i < 512; i++) j.ids[i] = 3 + i * 37 % 30000;
    for (int i = 0; i < LLM_SLOTS; i++) j.all[i] = &j.s[i];
    snprintf(name, sizeof name, "%s prefill 512", kind);
    double g = 2 * (double)weight_count(&m->w) * 1e-9;
    if (wanted(name)) measure("llm", name, t, 512 * g, 512, prefill, &j);
    for (int b = 1; b <= 32; b *= b == 1 ? 8 : 4) {
        snprintf(name, sizeof name, "%s decode b%d", kind, b);
        if (!wanted(name)) continue;
        j.n = b;
        for (int i = 0; i < b; i++)
            if (llm_prefill(j.en, &j.s[i], j.ids, 16, NULL, &e)) die(&e);
        measure("llm", name, t, b * g, b, decode, &j);
        if (b == 1 && threads == 1) against_memory(&j, name, gb);
        for (int i = 0; i < b; i++) llm_seq_free(j.en, &j.s[i]);
    }
    llm_engine_free(j.en);
    vm_free(j.logits);
    snprintf(name, sizeof name, "%s shared prefix", kind);
    if (n_rows && wanted(name)) shared_prefix(m, name, t);
}

static bool wanted_kind(const char *kind) {
    for (int k = 0; k < n_rows; k++)
        if (!strncmp(rows[k], kind, strlen(kind)) && rows[k][strlen(kind)] == ' ') return true;
    return n_rows == 0;
}

int main(int argc, char **argv) {
    const llm_config c = shape();
    bench_begin(argc, argv);
    for (int k = 0; k < VM_LEN(kinds); k++) {
        vm_error e = { 0 };
        llm *m;
        double bytes = 0;
        vm_rng r = vm_rng_at(1, 2);
        if (!wanted_kind(kinds[k].name)) continue;
        if (llm_make(&m, vm_backend_cpu(), &c, &e)) die(&e);
        for (int64_t i = 0, n = m->w.n; i < n; i++) bytes += fill(m, m->w.p[i], k, &r); /* codes come behind the n */
        run(m, kinds[k].name, bytes * 1e-9);
        llm_free(m);
    }
    return 0;
}
