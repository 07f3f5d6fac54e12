/* test_llm_rounded.c - what rounding activations to 8 bits (llm_engine_options.rounded) costs a language model in 8 and 4 bits: the small
 * model of weights/tiny/llm, its layers quantised here, on texts that it writes itself before that. Perplexity and the
 * likeliest tokens are compared with those of the same codes times unrounded activations; what the codes themselves cost stands beside. */
#include <math.h>
#include <stdlib.h>

#include "io/tokenizer.h"
#include "models/llm_decode.h"
#include "models/quantised.h"
#include "tests/test.h"

#define MODEL "weights/tiny/llm"
enum { TEXTS = 6, LENGTH = 60, N = TEXTS * LENGTH };

static int32_t text[TEXTS][LENGTH];
static int known[TEXTS];
static int64_t V;

static void give_up(const vm_error *e) {
    MISMATCH("%s\n", e->msg);
    exit(1);
}

/* The model with the matrices of its layers in codes; block < 0: as they are. */
static llm *open_model(vm_quant_kind kind, int block) {
    vm_error e = { 0 };
    llm *m = NULL;
    if (llm_open(&m, vm_backend_cpu(), MODEL, true, &e)) give_up(&e);
    for (int64_t i = 0, n = m->w.n; i < n && block >= 0; i++) {
        vm_param *p = m->w.p[i];
        quant_form q;
        if (p->nd != 2 || p == m->embed || p == m->head) continue;
        if (quant_form_make(&q, kind, p->ne[0], p->ne[1], block, kind == VM_INT4, &e)) give_up(&e);
        const float *w = p->data;
        if (kind == VM_INT8) vm_quantize_int8(w, q.N, q.K, block, q.own, q.scales);
        else if (kind == VM_INT4) vm_quantize_int4(w, q.N, q.K, block, q.own, q.scales, q.zeros);
        else vm_quantize_nf4(w, q.N * q.K, block, q.own, q.scales);
        if (quant_form_keep(&q, &m->w, p, &e)) give_up(&e);
    }
    return m;
}

/* Logits (TEXTS,LENGTH,V) before each token of the texts; draw: these are drawn on the way, behind the first `known` ones. */
static float *logits_of(const llm *m, bool rounded, bool draw) {
    vm_error e = { 0 };
    llm_engine *en = NULL;
    float *all = vm_calloc((size_t)(N * V), sizeof *all);
    uint64_t state = 3;
    if (llm_engine_new(&en, m, VM_F32, &(llm_engine_options){ .tokens = 2 * LENGTH, .longest = LENGTH, .rounded = rounded }, &e)) MISMATCH("%s\n", e.msg);
    for (int k = 0; k < TEXTS && !e.status; k++) {
        llm_seq s = { 0 }, *one = &s;
        for (int i = 0; i + 1 < LENGTH && !e.status; i++) {
            float *to = all + (k * LENGTH + i + 1) * V;
            llm_decode(en, 1, &one, &text[k][i], to, &e);
            if (draw && i + 1 >= known[k]) {
                double most = -1e30, sum = 0, u = 0.5 + 0.5 * test_uniform(&state);
                for (int64_t v = 0; v < V; v++) most = fmax(most, (double)to[v]);
                for (int64_t v = 0; v < V; v++) sum += exp((double)to[v] - most);
                int32_t id = 0;
                for (u *= sum; id < V - 1 && (u -= exp((double)to[id] - most)) > 0;) id++;
                text[k][i + 1] = id;
            }
        }
        llm_seq_free(en, &s);
    }
    if (e.status) MISMATCH("%s\n", e.msg);
    llm_engine_free(en);
    return all;
}

/* Against the model's own logits: perplexity of the texts, how many likeliest tokens are the same, mean Kullback-Leibler divergence. */
typedef struct { double perplexity, same, divergence; } quality;
static quality compare(const float *a, const float *own) {
    double nats = 0, same = 0, divergence = 0;
    int n = 0;
    for (int k = 0; k < TEXTS; k++)
        for (int i = 1; i < LENGTH; i++, n++) {
            const float *x = a + (k * LENGTH + i) * V, *y = own + (k * LENGTH + i) * V;
            double sx = 0, sy = 0, d = 0;
            int64_t bx = 0, by = 0;
            for (int64_t v = 0; v < V; v++) {
                sx += exp((double)x[v]), sy += exp((double)y[v]);
                bx = x[v] > x[bx] ? v : bx, by = y[v] > y[by] ? v : by;
            }
            for (int64_t v = 0; v < V; v++) d += exp((double)y[v]) / sy * ((double)y[v] - log(sy) - (double)x[v] + log(sx));
            nats += log(sx) - (double)x[text[k][i]], same += bx == by, divergence += d;
        }
    return (quality){ exp(nats / n), same / n, divergence / n };
}

TEST(quality_of_rounding) {
    static const char *const begin[TEXTS] = { "edit object : a red circle to the left of a blue square =>", "edit attribute : two green triangles =>",
                                              "layout : three yellow stars above a large circle =>", "edit object : a small purple star =>",
                                              "check object : a red square | a blue square =>", "edit attribute : a black circle below a white square =>" };
    static const struct { const char *name; vm_quant_kind kind; int block; } kinds[] = { { "int8", VM_INT8, 0 }, { "int4", VM_INT4, 64 }, { "nf4", VM_NF4, 64 } };
    vm_error e = { 0 };
    tok *t = NULL;
    llm *m = open_model(VM_INT8, -1);
    V = m->c.vocab;
    if (tok_open(&t, MODEL, &e)) give_up(&e);
    for (int k = 0; k < TEXTS; k++) {
        tok_ids ids = { 0 };
        if (tok_encode(t, begin[k], strlen(begin[k]), 0, 0, &ids, &e)) give_up(&e);
        known[k] = (int)VM_MIN(ids.n, (int64_t)LENGTH);
        memcpy(text[k], ids.id, (size_t)known[k] * sizeof *text[k]);
        tok_ids_free(&ids);
    }
    float *own = logits_of(m, false, true);
    quality q = compare(own, own);
    printf("as it is: perplexity %.4f\n", q.perplexity);
    llm_free(m);
    for (int k = 0; k < VM_LEN(kinds); k++) {
        llm *c = open_model(kinds[k].kind, kinds[k].block);
        float *plain = logits_of(c, false, false), *rounded = logits_of(c, true, false);
        quality p = compare(plain, own), r = compare(rounded, own), both = compare(rounded, plain);
        printf("%s: perplexity %.4f, rounded %.4f; divergence of codes %.5f, with rounding %.5f, of rounding alone %.5f; same token %.3f, %.3f, %.3f\n", kinds[k].name,
               p.perplexity, r.perplexity, p.divergence, r.divergence, both.divergence, p.same, r.same, both.same);
        EXPECT(both.divergence > 0); /* it does round */
        EXPECT(both.divergence < 2e-3 && both.same > 0.97);
        EXPECT(fabs(r.perplexity / p.perplexity - 1) < 0.01);
        vm_free(plain), vm_free(rounded);
        llm_free(c);
    }
    vm_free(own);
    tok_free(t);
}

int main(void) {
    vm_threads(1); /* products so small gain nothing from more */
    RUN(quality_of_rounding);
    return test_end();
}
