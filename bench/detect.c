/* detect.c - Grounding DINO of the tiny shape (Swin-T, BERT base) with random weights at 800 x 1066. One JSON line per row on stdout (measure.h), a
 * second one with the seconds of each part of the network, and what the process had of memory at most beyond the weights and what it began with
 * (of one row alone).
 *
 * Rows: "tiny b1" "tiny b4": a text of 16 tokens of its own for each picture; "one prompt": a text of one phrase through the detector; "ten
 * prompts": ten such texts for one picture, one after the other; "ten joined": their phrases in one text. */
#include "bench/models.h"
#include "io/image.h"
#include "kernels/philox.h"
#include "models/detector.h"
#include "models/gdino_layouts.h"

enum { H = 800, W = 1066, T = 16, PHRASES = 10 };
static const char config[] = "{\"model_type\": \"grounding-dino\"}"; /* the class's defaults are this shape */
static double begun_mb; /* memory of the process before there was a model */

typedef struct {
    vm_graph *g;
    detector *d;
    vm_image picture;
    int64_t prompts, phrases; /* of each prompt */
} job;

static void run_graph(void *ctx) {
    job *j = ctx;
    if (vm_run(j->g)) die(&j->g->err);
}

static void show(const job *j, const gdino *m, const char *name, vm_type t) {
    static const char *const parts[] = { "swin.", "model.input_proj", "text.", "model.text", "model.encoder.", "" };
    double s[VM_LEN(parts)] = { 0 }, all = 0;
    for (int64_t i = 0; i < j->g->n_n; i++) {
        const vm_node *n = &j->g->n[i];
        int k = 0;
        while (strncmp(n->label ? n->label : "", parts[k], strlen(parts[k]))) k++;
        s[k] += n->t_sum, all += n->t_sum;
    }
    const double weights = (double)weight_count(&m->w) * (double)vm_type_size(t) / 1048576;
    printf("{\"program\":\"vismin\",\"section\":\"detect parts\",\"name\":\"%s\",\"dtype\":\"%s\",\"backbone\":%.3f,\"text\":%.3f,\"encoder\":%.3f,\"decoder\":%.3f,"
           "\"weights_mb\":%.0f,\"arena_mb\":%.0f,\"beyond_mb\":%.0f}\n", name, vm_type_name(t), (s[0] + s[1]) / all, (s[2] + s[3]) / all, s[4] / all, s[5] / all, weights, (double)j->g->arena_bytes / 1048576,
           peak_mb() - weights - begun_mb);
    fflush(stdout);
}

static void network(const gdino *m, vm_type t, int64_t B) {
    char name[16];
    vm_error e = { 0 };
    gdino_out o;
    snprintf(name, sizeof name, "tiny b%d", (int)B);
    if (!wanted(name)) return;
    int32_t ids[4 * T];
    float *pixels = vm_alloc((size_t)(B * H * W * 3) * sizeof *pixels);
    vm_rng r = vm_rng_at(1, 2);
    for (int64_t i = 0; pixels && i < B * H * W * 3; i++) pixels[i] = 4 * vm_rng_f32(&r) - 2;
    for (int64_t i = 0; i < B * T; i++) ids[i] = i % T == 0 ? 101 : i % T == T - 1 ? 102 : i % T % 5 == 0 ? 1012 : 2000 + (int32_t)i;
    gdino_batch b = { .B = B, .H = H, .W = W, .T = T, .pixels = pixels, .ids = ids };
    job j = { .g = vm_graph_new(vm_backend_cpu(), t) };
    if (!j.g || !pixels) vm_nomem(&e, 1024, "a graph"), die(&e);
    if (gdino_forward(j.g, m, &b, false, &o)) die(&j.g->err);
    vm_output(j.g, "logits", o.logits[m->c.dec_layers - 1]), vm_output(j.g, "boxes", o.boxes[m->c.dec_layers - 1]);
    if (vm_plan(j.g) || gdino_fill(j.g, m, &b, &e)) die(e.status ? &e : &j.g->err);
    vm_free(pixels);
    measure("detect", name, t, graph_gflop(j.g, NULL), B, run_graph, &j);
    j.g->profile = true;
    run_graph(&j);
    j.g->profile = false;
    show(&j, m, name, t);
    if (profile) bench_profile(j.g, name, run_graph, &j);
    vm_graph_free(j.g);
}

/* A vocabulary with the published ids of what ends phrases, and a processor of this size. */
static void write_reader(const char *dir, vm_error *e) {
    char *path = vm_asprintf("%s/vocab.txt", dir);
    FILE *f = path ? fopen(path, "w") : NULL;
    if (!f) vm_fail(e, VM_EINPUT, "%s: cannot be written", dir);
    for (int i = 0; f && i < 3000; i++) {
        if (i == 0 || i == 100 || i == 101 || i == 102 || i == 103) fprintf(f, "%s\n", i == 0 ? "[PAD]" : i == 100 ? "[UNK]" : i == 101 ? "[CLS]" : i == 102 ? "[SEP]" : "[MASK]");
        else if (i == 1012 || i == 1029) fprintf(f, "%s\n", i == 1012 ? "." : "?");
        else fprintf(f, "w%d\n", i);
    }
    if (f) fclose(f);
    vm_free(path);
    gdino_processor_save(dir, H, e);
}

static void ask(job *j, const char *const *phrase, int64_t n) {
    vm_error e = { 0 };
    const detector_options o = { .threshold = 0.25, .text_threshold = 0.25, .nms = 1, .max_area = 1 };
    const vm_image *rgb = &j->picture;
    detector_found f;
    if (detector_ask(j->d, phrase, n, &e) || detector_run_many(j->d, 1, &rgb, &o, &f, &e)) die(&e);
    detector_found_free(&f);
}
static void run_prompts(void *ctx) {
    job *j = ctx;
    static const char *const phrase[PHRASES] = { "w2000 w2001", "w2002 w2003", "w2004 w2005", "w2006 w2007", "w2008 w2009", "w2010 w2011", "w2012 w2013", "w2014 w2015", "w2016 w2017", "w2018 w2019" };
    for (int64_t k = 0; k < j->prompts; k++) ask(j, phrase + k, j->phrases);
    j->picture.px[0]++; /* the next time it is another picture */
}

static void prompts(gdino *m, vm_type t) {
    static const struct { const char *name; int64_t prompts, phrases; } kinds[] = { { "one prompt", 1, 1 }, { "ten prompts", PHRASES, 1 }, { "ten joined", 1, PHRASES } };
    vm_error e = { 0 };
    job j = { 0 };
    if (!wanted(kinds[0].name) && !wanted(kinds[1].name) && !wanted(kinds[2].name)) return;
    char dir[] = "/tmp/vismin-bench.XXXXXX";
    if (!mkdtemp(dir)) vm_fail(&e, VM_EINPUT, "no folder for a tokenizer");
    else write_reader(dir, &e);
    if (e.status || detector_wrap(&j.d, m, t, dir, &e) || image_new(&j.picture, W, H, 3, &e)) die(&e);
    vm_rng r = vm_rng_at(1, 3);
    for (int64_t i = 0; i < H * W * 3; i++) j.picture.px[i] = (uint8_t)vm_rng_u32(&r);
    for (int k = 0; k < VM_LEN(kinds); k++) {
        j.prompts = kinds[k].prompts, j.phrases = kinds[k].phrases;
        if (wanted(kinds[k].name)) measure("detect", kinds[k].name, t, 0, j.prompts * j.phrases, run_prompts, &j);
    }
    detector_free(j.d);
    image_free(&j.picture);
    bench_remove(dir, "vocab.txt"), bench_remove(dir, "preprocessor_config.json"), rmdir(dir);
}

int main(int argc, char **argv) {
    vm_error e = { 0 };
    bool fresh;
    gdino *m;
    bench_begin(argc, argv);
    begun_mb = status_mb("VmRSS");
    char *dir = bench_folder("gdino", config, &fresh);
    if (fresh ? gdino_fresh(&m, vm_backend_cpu(), dir, 1, &e) : gdino_open(&m, vm_backend_cpu(), dir, false, &e)) die(&e);
    for (int t = VM_F32; t <= VM_BF16; t++) {
        if (!wanted_dtype((vm_type)t)) continue;
        network(m, (vm_type)t, 1), network(m, (vm_type)t, 4);
        prompts(m, (vm_type)t);
    }
    gdino_free(m);
    bench_folder_free(dir, fresh);
    return 0;
}
