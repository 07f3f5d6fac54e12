/* constrain.c - the cost of a given form: microseconds of the process clock for the mask of each token and for taking
 * the token, over a vocabulary of 32,000 (all bytes, words with and without a blank before them, marks of JSON
 * together; or --tokenizer DIR). Texts are drawn uniformly from the masks. Rows: schemas of the text stages with one
 * form for all texts, and with a form of its own for each text (the phrases of a caption); a form within twice the
 * tokens that it needs, where ends are kept in sight; a grammar. "sample" is the draw itself, "decoding step" one of a
 * small model. */
#include "bench/measure.h"
#include "io/file.h"
#include "io/json.h"
#include "io/tok_parts.h"
#include "io/unicode.h"
#include "models/constrain.h"
#include "models/llm_decode.h"
#include "models/llm_sample.h"

enum { V = 32000 };
static const char *const marks[] = { "{\"",     "\":\"", "\",\"", "\":",  ",\"",    "\"}", "\"}]", "\"},", "},{\"",
                                     "},{",     "}]",    "[{\"",  "[{",   "[]",     "{}",  "[\"",  "\"]",  "\":[",
                                     "\":[{\"", "\\n",   "\\\"",  "\\u",  "\":{\"", "]}",  "\"]}", ".\"",  ".\",\"",
                                     " \"",     "\n\n",  "  ",    "    ", "\",",    "\" ", "null", "true", "false" };

static void add(json_writer *w, const char *word, int *id) {
    char s[256];
    int n = 0;
    for (; *word; word++) n += uni_put(s + n, byte_char((unsigned char)*word));
    s[n] = 0;
    json_put_int(w, s, (*id)++);
}

/* A tokenizer.json in a folder of its own. */
static void make_vocabulary(const char *dir) {
    static const char *const begin[] = { "b", "br", "c", "ch", "d", "f", "g",  "gr", "h",  "j",  "k", "l",
                                         "m", "n",  "p", "pl", "r", "s", "st", "t",  "th", "tr", "v", "w" };
    static const char *const end[] = { "a",  "e",  "i",   "o",  "u",  "an", "er", "ing", "on",  "ed",
                                       "es", "al", "ent", "ic", "um", "at", "ow", "ell", "ide", "ore" };
    json_writer w = json_to_memory(JSON_COMPACT);
    vm_error e = { 0 };
    int id = 0;
    enum { B = VM_LEN(begin), E = VM_LEN(end), S = B * E };
    json_begin_object(&w, NULL);
    json_begin_object(&w, "model");
    json_put_str(&w, "type", "BPE");
    json_begin_object(&w, "vocab");
    for (int b = 0; b < 256; b++) {
        char s[8];
        s[uni_put(s, byte_char(b))] = 0;
        json_put_int(&w, s, id++);
    }
    for (int k = 0; k < VM_LEN(marks); k++) add(&w, marks[k], &id);
    for (int k = 0; id < V - 1; k++) {
        char s[64];
        int x = k / 2, first = x % S, second = x / S * 7 % S;
        snprintf(s, sizeof s, "%s%s%s%s%s", k % 2 ? " " : "", begin[first / E], end[first % E],
                 x < S ? "" : begin[second / E], x < S ? "" : end[second % E]);
        if (strlen(s) > 1) add(&w, s, &id);
    }
    json_close_object(&w);
    json_begin_array(&w, "merges"), json_close_array(&w);
    json_close_object(&w);
    const char *pre = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}",
               *special = "[{\"id\":31999,\"content\":\"</s>\",\"special\":true}]";
    json_put_raw(&w, "pre_tokenizer", pre, strlen(pre));
    json_put_raw(&w, "decoder", "{\"type\":\"ByteLevel\"}", 20);
    json_put_raw(&w, "added_tokens", special, strlen(special));
    json_close_object(&w);
    if (json_save(&w, dir, "tokenizer.json", &e)) die(&e);
}

#define FIELD(name) "\"" name "\":{\"type\":\"string\",\"maxLength\":120}"
static const char
    edits[] = "{\"type\":\"array\",\"minItems\":1,\"maxItems\":6,\"items\":{\"type\":\"object\",\"properties\":{"
              "\"SelectedPhrase\":%s," FIELD("EditedPhrase") "," FIELD("EditedRegionPhrase") "," FIELD(
                  "EditedCaption") ",\"Category\":{\"enum\":[\"object\",\"attribute\"]}},\"required\":["
                                   "\"SelectedPhrase\",\"EditedPhrase\","
                                   "\"EditedRegionPhrase\",\"EditedCaption\",\"Category\"]}}",
    verdict[] = "{\"type\":\"object\",\"properties\":{\"reason\":{\"type\":\"string\",\"maxLength\":200},\"verdict\":{"
                "\"enum\":[\"accept\",\"reject\"]}},\"required\":[\"reason\","
                "\"verdict\"]}",
    sums[] = "root ::= sum\nsum ::= term ([+*] term)*\nterm ::= [0-9]{1,4} | \"(\" sum \")\" | [a-z]+",
    caption[] =
        "A man in a red jacket is riding a brown horse along the sandy beach while two small dogs run behind them";

typedef struct {
    double mask, accept, sample, forms;
    int64_t tokens, texts;
} spent;
static double since(double t) { return seconds(CLOCK_PROCESS_CPUTIME_ID) - t; }

static void text(constraint *c, int64_t most, llm_sampler *sampler, float *logits, spent *s) {
    vm_error e = { 0 };
    constraint_reset(c);
    for (int64_t n = 0; n < most && constraint_more(c); n++) {
        for (int i = 0; i < V; i++) logits[i] = (float)((i * 7919 + n * 104729) % 1000) * 1e-2f;
        double t = since(0);
        const uint64_t *m = constraint_mask(c, most - n, &e);
        s->mask += since(t);
        if (!m) die(&e);
        t = since(0);
        int32_t id = llm_sample(sampler, &(llm_sampling){ .temperature = 3, .top_k = 40, .seed = (uint64_t)s->texts },
                                logits, NULL, 0, (uint64_t)n, m);
        s->sample += since(t);
        if (id < 0) break;
        t = since(0);
        if (constraint_accept(c, id, &e)) die(&e);
        s->accept += since(t);
        s->tokens++;
    }
    s->texts++;
}

/* own: a form for each text. slack: tokens beyond those that the shortest text needs. */
static void row(const char *name, const token_trie *trie, const char *form, bool grammar_text, bool own, int64_t slack,
                llm_sampler *sampler, float *logits) {
    vm_error e = { 0 };
    spent s = { 0 };
    double start = seconds(CLOCK_MONOTONIC);
    grammar *g = NULL;
    constraint_form *f = NULL;
    constraint *c = NULL;
    if (!wanted(name)) return;
    while (s.texts < 3 || (seconds(CLOCK_MONOTONIC) - start < budget / 4 && s.texts < 200)) {
        double t = since(0);
        if (!c) {
            if (grammar_text) grammar_from_text(&g, form, strlen(form), name, &e);
            else grammar_from_schema(&g, form, strlen(form), name, &e);
            if (e.status || constraint_form_new(&f, g, trie, &e) || constraint_new(&c, f, &e)) die(&e);
        }
        s.forms += since(t);
        text(c, slack ? constraint_needs(c, &e) + slack : 512, sampler, logits, &s);
        if (own) {
            t = since(0);
            constraint_free(c), constraint_form_free(f), grammar_free(g);
            c = NULL;
            s.forms += since(t);
        }
    }
    if (c) constraint_free(c), constraint_form_free(f), grammar_free(g);
    double n = (double)s.tokens * 1e-6;
    printf("{\"bench\":\"constrain\",\"row\":\"%s\",\"threads\":%d,\"tokens\":%lld,\"mask_us\":%.2f,\"accept_us\":%.2f,"
           "\"form_us_a_text\":%.0f,\"all_us_a_token\":%.2f,\"sample_us\":%.2f}\n",
           name, threads, (long long)s.tokens, s.mask / n, s.accept / n, s.forms / (double)s.texts * 1e6,
           (s.mask + s.accept + s.forms) / n, s.sample / n);
    fflush(stdout);
}

/* What a step of a small model costs beside it: 12 layers of 768, 134 M parameters, f32, one text. */
static void decode_row(const char *dir) {
    static const char config[] =
        "{\"model_type\":\"llama\",\"vocab_size\":32000,\"hidden_size\":768,\"intermediate_size\":2048,"
        "\"num_hidden_layers\":12,\"num_attention_heads\":12,\"max_position_embeddings\":512}";
    enum { STEPS = 24 };
    char path[64];
    vm_error e = { 0 };
    llm_config c;
    llm *m = NULL;
    llm_engine *en = NULL;
    llm_seq s = { 0 };
    float *logits = vm_alloc(V * sizeof *logits);
    int32_t ids[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    if (!wanted("decoding step")) return;
    snprintf(path, sizeof path, "%s/config.json", dir);
    if (file_write(path, config, strlen(config), &e) || llm_config_read(&c, dir, &e)) die(&e);
    remove(path);
    if (llm_new(&m, vm_backend_cpu(), &c, 1, &e) ||
        llm_engine_new(&en, m, VM_F32, &(llm_engine_options){ .tokens = 512 }, &e) ||
        llm_prefill(en, &s, ids, 8, logits, &e) || llm_decode(en, 1, (llm_seq *[]){ &s }, ids, logits, &e))
        die(&e);
    double t = since(0);
    for (int k = 0; k < STEPS; k++)
        if (llm_decode(en, 1, (llm_seq *[]){ &s }, ids, logits, &e)) die(&e);
    printf("{\"bench\":\"constrain\",\"row\":\"decoding step\",\"threads\":%d,\"parameters\":134105856,\"us\":%.0f}\n",
           threads, since(t) / STEPS * 1e6);
    llm_seq_free(en, &s);
    llm_engine_free(en), llm_free(m), vm_free(logits);
}

int main(int argc, char **argv) {
    const char *given = NULL;
    for (int k = 1; k + 1 < argc; k++)
        if (!strcmp(argv[k], "--tokenizer")) given = argv[k + 1], argc = k;
    bench_begin(argc, argv);
    char dir[] = "/tmp/bench.XXXXXX", path[64];
    vm_error e = { 0 };
    tok *t = NULL;
    token_trie *trie = NULL;
    if (!mkdtemp(dir)) return 1;
    decode_row(dir);
    if (!given) make_vocabulary(dir);
    if (tok_open(&t, given ? given : dir, &e)) die(&e);
    double from = since(0);
    if (token_trie_new(&trie, t, V, &e)) die(&e);
    printf("{\"bench\":\"constrain\",\"row\":\"vocabulary\",\"entries\":%d,\"nodes\":%lld,\"plain_nodes_less\":%lld,"
           "\"ms\":%.1f}\n",
           V, (long long)trie->all.n, (long long)trie->others.n, since(from) * 1e3);
    json_writer w = json_to_memory(JSON_COMPACT);
    grammar_put_spans(&w, NULL, caption, 8);
    char *spans = json_take(&w, NULL, &e), *any = vm_asprintf(edits, "{\"type\":\"string\",\"maxLength\":60}"),
         *held = spans ? vm_asprintf(edits, spans) : NULL;
    llm_sampler *sampler = llm_sampler_new(V);
    float *logits = vm_alloc(V * sizeof *logits);
    if (!any || !held || !sampler || !logits) return 1;
    row("edits", trie, any, false, false, 0, sampler, logits);
    row("edits, a form for each text", trie, any, false, true, 0, sampler, logits);
    row("edits of a caption, a form for each", trie, held, false, true, 0, sampler, logits);
    row("edits, few tokens", trie, any, false, false, 60, sampler, logits);
    row("verdict", trie, verdict, false, false, 0, sampler, logits);
    row("any object", trie, "{\"type\":\"object\"}", false, false, 0, sampler, logits);
    row("sums", trie, sums, true, false, 0, sampler, logits);
    vm_free(spans), vm_free(any), vm_free(held), vm_free(logits);
    llm_sampler_free(sampler), token_trie_free(trie), tok_free(t);
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    remove(path), remove(dir);
    return 0;
}
