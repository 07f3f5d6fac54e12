/* llm.c - a language model of TinyLlama's shape (1.1 billion weights) with random numbers: tokens of a prompt, and further tokens of one
 * and of several texts, with weights in 16, 8 and 4 bits. One JSON line per row on stdout (measure.h); per_s counts tokens.
 *
 * Rows: "KIND prefill 512" "KIND decode b1" "KIND decode b8" "KIND decode b32", KIND one of bf16, f16, int8, nf4, int4. */
#include "bench/measure.h"
#include "kernels/philox.h"
#include "models/llm_decode.h"

vm_status llm_make(llm **out, vm_backend *be, const llm_config *c, vm_error *e); /* models/llm.c */

static llm_config shape(void) {
    return (llm_config){ .vocab = 32000, .width = 2048, .mlp = 5632, .layers = 22, .context = 2048, .NH = 32, .NKV = 4, .HS = 64, .eps = 1e-5f,
                         .act = VM_SILU, .rope = { .columns = 64, .base = 1e4 }, .bos = 1, .pad = -1 };
}

static void random_numbers(vm_param *p, vm_type t, vm_rng *r) {
    vm_error e = { 0 };
    p->type = p->nd > 1 ? t : VM_F32;
    if (vm_param_alloc(p, &e)) die(&e);
    for (int64_t i = 0; i < vm_param_count(p); i++) {
        if (p->type == VM_F32) ((float *)p->data)[i] = 1;
        else ((uint16_t *)p->data)[i] = (uint16_t)(vm_rng_u32(r) & (t == VM_BF16 ? 0x81ff : 0x83ff)) | (t == VM_BF16 ? 0x3c00 : 0x2400); /* of size 1/64 to 1/16 */
    }
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

static void run(const llm *m, const char *kind) {
    char name[64];
    vm_error e = { 0 };
    vm_type t = vm_cpu_has_bf16() ? VM_BF16 : VM_F32;
    job j = { .logits = vm_alloc((size_t)(LLM_SLOTS * m->c.vocab) * 4) };
    if (llm_engine_new(&j.en, m, t, &(llm_engine_options){ .tokens = 8192, .longest = 2048, .cache = t }, &e)) die(&e);
    for (int i = 0; i < 512; i++) j.ids[i] = 3 + i * 37 % 30000;
    for (int i = 0; i < LLM_SLOTS; i++) j.all[i] = &j.s[i];
    snprintf(name, sizeof name, "%s prefill 512", kind);
    double g = 2 * (double)weight_count(&m->w) * 1e-9;
    if (wanted(name)) measure("llm", name, t, 512 * g, 512, prefill, &j);
    for (int b = 1; b <= 32; b *= b == 1 ? 8 : 4) {
        j.n = b;
        snprintf(name, sizeof name, "%s decode b%d", kind, b);
        for (int i = 0; i < b; i++)
            if (llm_prefill(j.en, &j.s[i], j.ids, 16, NULL, &e)) die(&e);
        if (wanted(name)) measure("llm", name, t, b * g, b, decode, &j);
        for (int i = 0; i < b; i++) llm_seq_free(j.en, &j.s[i]);
    }
    llm_engine_free(j.en);
    vm_free(j.logits);
}

int main(int argc, char **argv) {
    const llm_config c = shape();
    bench_begin(argc, argv);
    for (int t = VM_BF16; t <= VM_F16; t++) {
        vm_error e = { 0 };
        llm *m;
        vm_rng r = vm_rng_at(1, 2);
        if (llm_make(&m, vm_backend_cpu(), &c, &e)) die(&e);
        for (int64_t i = 0; i < m->w.n; i++) random_numbers(m->w.p[i], (vm_type)t, &r);
        run(m, vm_type_name((vm_type)t));
        llm_free(m);
    }
    return 0;
}
