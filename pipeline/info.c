/* info.c - `vismin info`: what a model folder or a file of weights holds, and (info_devices.c) what this
 * machine is. */
#include "pipeline/info.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "kernels/peak.h"
#include "pipeline/run.h"

/* --- tensors ------------------------------------------------------------------------------------------------------ */
typedef struct {
    st_file *st; /* one of the two */
    pt_file *pt;
    weight_source s;
    int64_t elements, of_type[ST_NDTYPES];
    size_t bytes;
} tensors;

static vm_status open_tensors(tensors *x, const char *path, vm_error *e) {
    if (!file_is_dir(path) && pt_is(path) ? pt_open(&x->pt, path, e) : st_open(&x->st, path, e)) return e->status;
    x->s = x->pt ? weights_of_checkpoint(x->pt) : weights_of_safetensors(x->st);
    for (int64_t i = 0; i < x->s.n; i++)
        x->elements += x->s.t[i].len, x->bytes += x->s.t[i].bytes, x->of_type[x->s.t[i].dtype] += x->s.t[i].len;
    return VM_OK;
}

static void close_tensors(tensors *x) {
    st_close(x->st);
    pt_close(x->pt);
}

static void print_text(const char *s) { /* names come from files: nothing of them may steer the terminal */
    for (; *s; s++) putchar((unsigned char)*s < 32 || *s == 127 ? '?' : *s);
}

static void print_tensors(const tensors *x) {
    printf("weights      %" PRId64 " tensors, %.2f M elements, %.1f MB:", x->s.n, (double)x->elements * 1e-6,
           (double)x->bytes * 1e-6);
    for (int t = 0; t < ST_NDTYPES; t++)
        if (x->of_type[t]) printf(" %s %.2f M", st_dtype_name((st_dtype)t), (double)x->of_type[t] * 1e-6);
    printf("\n");
    for (int64_t i = 0; i < x->s.n; i++) {
        const st_tensor *t = &x->s.t[i];
        printf("  %-7s [", st_dtype_name(t->dtype));
        for (int k = 0; k < t->nd; k++) printf("%s%" PRId64, k ? "," : "", t->shape[k]);
        printf("] ");
        print_text(t->name);
        printf("%s\n", t->data ? "" : " (strided)");
    }
}

static void put_tensors(const tensors *x, json_writer *w) {
    json_put_int(w, "elements", x->elements);
    json_put_int(w, "bytes", (int64_t)x->bytes);
    json_begin_object(w, "dtypes");
    for (int t = 0; t < ST_NDTYPES; t++)
        if (x->of_type[t]) json_put_int(w, st_dtype_name((st_dtype)t), x->of_type[t]);
    json_close_object(w);
    json_begin_array(w, "tensors");
    for (int64_t i = 0; i < x->s.n; i++) {
        const st_tensor *t = &x->s.t[i];
        json_begin_object(w, NULL);
        json_put_str(w, "name", t->name);
        json_put_str(w, "dtype", st_dtype_name(t->dtype));
        json_begin_array(w, "shape");
        for (int k = 0; k < t->nd; k++) json_put_int(w, NULL, t->shape[k]);
        json_close_array(w);
        json_put_int(w, "bytes", (int64_t)t->bytes);
        json_close_object(w);
    }
    json_close_array(w);
}

/* --- models ------------------------------------------------------------------------------------------------------- */
/* model_type of config.json, _class_name of a diffusers folder, "open_clip"; "" for none. */
static void family_of(const char *dir, char *out, size_t size) {
    static const struct {
        const char *file, *key;
    } where[] = { { "config.json", "model_type" },
                  { "config.json", "_class_name" },
                  { "model_index.json", "_class_name" },
                  { "adapter_config.json", "peft_type" } };
    out[0] = 0;
    for (int k = 0; k < VM_LEN(where) && !out[0]; k++) {
        vm_error none = { 0 };
        char *path = path_join(dir, where[k].file);
        json_doc *d = path && file_exists(path) ? json_open(path, &none) : NULL;
        if (d) snprintf(out, size, "%s", json_str(json_root(d), where[k].key, "", &none));
        json_free(d);
        vm_free(path);
    }
    char *path = path_join(dir, "open_clip_config.json");
    if (!out[0] && path && file_exists(path)) snprintf(out, size, "open_clip");
    vm_free(path);
}

typedef struct {
    size_t weights, one, many;
    vm_type dtype;
    int64_t parameters;
} memory;

enum { MANY = 32 }; /* as the embedder takes them */

/* Weights as f32 (a bf16 copy of the matrices beside them) and the activations of the larger tower. */
static vm_status measure(memory *m, const clip_config *c, vm_type dtype, vm_error *e) {
    clip_model *x = NULL;
    if (clip_new(&x, vm_backend_cpu(), c, e)) return e->status;
    m->dtype = dtype, m->parameters = weight_count(&x->w);
    m->weights = (size_t)m->parameters * (dtype == VM_BF16 ? 6 : 4);
    clip_free(x);
    m->one = VM_MAX(info_arena(c, false, 1, dtype, e), info_arena(c, true, 1, dtype, e));
    m->many = VM_MAX(info_arena(c, false, MANY, dtype, e), info_arena(c, true, MANY, dtype, e));
    return e->status;
}

static void print_clip(const clip_config *c, const memory *m) {
    char vision[160];
    printf("images       %s", clip_vision_text(c, vision));
    if (!clip_is_resnet(c)) printf(", mlp %d, %s", (int)c->vision.mlp, nn_activation_name(c->vision_act));
    putchar('\n');
    printf("texts        %d tokens of %d: %d layers of %d, %d heads, mlp %d, %s\n", (int)c->context, (int)c->vocab,
           (int)c->text.layers, (int)c->text.width, (int)c->text.heads, (int)c->text.mlp,
           nn_activation_name(c->text_act));
    if (c->act_assumed) printf("activation   not stated; open_clip takes it for gelu, other commands ask for --activation\n");
    printf("features     %d; %.2f M parameters\n", (int)c->embed, (double)m->parameters * 1e-6);
    printf("memory       %s: %.0f MB of weights, activations %.1f MB for one picture or text, %.1f MB for %d\n",
           vm_type_name(m->dtype), (double)m->weights * 1e-6, (double)m->one * 1e-6, (double)m->many * 1e-6, MANY);
}

static void put_tower(json_writer *w, const char *key, const clip_tower *t, vm_unary_kind act) {
    json_begin_object(w, key);
    json_put_int(w, "width", t->width);
    json_put_int(w, "layers", t->layers);
    json_put_int(w, "heads", t->heads);
    json_put_int(w, "mlp", t->mlp);
    json_put_str(w, "activation", nn_activation_name(act));
    json_close_object(w);
}

static void put_clip(const clip_config *c, const memory *m, json_writer *w) {
    json_put_str(w, "layout", c->layout == CLIP_HF ? "hf" : "open_clip");
    json_put_int(w, "parameters", m->parameters);
    json_put_int(w, "embed", c->embed);
    json_put_int(w, "image_size", c->image_size);
    json_put_int(w, "patch", c->patch);
    json_put_int(w, "context", c->context);
    json_put_int(w, "vocab", c->vocab);
    json_put_bool(w, "activation_stated", !c->act_assumed);
    put_tower(w, "vision", &c->vision, c->vision_act);
    if (clip_is_resnet(c)) json_begin_array(w, "blocks");
    for (int k = 0; k < RESNET_STAGES && clip_is_resnet(c); k++) json_put_int(w, NULL, c->blocks[k]);
    if (clip_is_resnet(c)) json_close_array(w);
    put_tower(w, "text", &c->text, c->text_act);
    json_begin_object(w, "memory");
    json_put_str(w, "dtype", vm_type_name(m->dtype));
    json_put_int(w, "weights", (int64_t)m->weights);
    json_put_int(w, "activations_1", (int64_t)m->one);
    json_put_int(w, "activations_32", (int64_t)m->many);
    json_close_object(w);
}

static vm_status describe(const vm_args *a, const char *path, json_writer *w, vm_error *e) {
    tensors x = { 0 };
    clip_config c;
    memory m = { 0 };
    vm_type dtype;
    char family[128] = "";
    const bool graph = arg_flag(a, "plan") || arg_given(a, "dot") || arg_flag(a, "profile") || arg_given(a, "trace");
    const bool dir = file_is_dir(path);
    if (run_dtype(a, true, &dtype, e)) return e->status;
    if (dir) family_of(path, family, sizeof family);
    const bool clip = dir && clip_is_clip(path);
    if (graph && !clip)
        return vm_fail(e, VM_EUSAGE, "%s: --plan, --dot, --profile and --trace need the folder of a CLIP model", path);
    if (clip && (clip_config_read(&c, path, e) || measure(&m, &c, dtype, e))) return e->status;
    if (open_tensors(&x, path, e) &&
        !(clip && e->status == VM_EMODEL && !arg_flag(a, "profile") && !arg_given(a, "trace")))
        goto done;
    const bool bare = e->status != 0; /* a configuration without weights, to be trained from scratch */
    if (bare) vm_error_clear(e);
    if (w) {
        json_put_str(w, "path", path);
        json_put_str(w, "family", family[0] ? family : NULL);
        if (clip) put_clip(&c, &m, w);
        if (!bare) put_tensors(&x, w);
    } else {
        printf("%-12s %s\n", dir ? "model" : "file", path);
        if (dir) printf("family       "), print_text(family[0] ? family : "not stated"), printf("\n");
        if (clip) print_clip(&c, &m);
        if (bare) printf("weights      none\n");
        if (!bare && !graph) print_tensors(&x);
    }
    if (graph) info_graph(&c, path, a, w, e);
done:
    close_tensors(&x);
    return e->status;
}

static vm_status run(const vm_args *a, vm_error *e) {
    const char *path = arg_model(a, arg_pos(a, 0), e);
    if (arg_flag(a, "devices")) return info_devices(a, e);
    if (e->status) return e->status;
    if (!path) return vm_fail(e, VM_EUSAGE, "info: name a model folder or a file of weights, or ask for --devices");
    if (!arg_flag(a, "json")) return describe(a, path, NULL, e);
    json_writer w = json_to_memory(JSON_COMPACT);
    size_t bytes = 0;
    json_begin_object(&w, NULL);
    describe(a, path, &w, e);
    json_close_object(&w);
    json_newline(&w);
    vm_error own = { 0 };
    char *text = json_take(&w, &bytes, &own);
    if (!e->status && !text) *e = own;
    if (!e->status) fwrite(text, 1, bytes, stdout); /* main checks stdout */
    vm_free(text);
    return e->status;
}

static const vm_opt opts[] = {
    { "devices", OPT_FLAG, NULL, NULL, "processor, CUDA devices and libraries, and what this build makes of them", 0, 0 },
    { "plan", OPT_FLAG, NULL, NULL, "CLIP: nodes, FLOPs and memory of its graph", 0, 0 },
    { "batch", OPT_INT, "8", "N", "pictures and texts of that graph", 1, 4096 },
    { "dot", OPT_STR, NULL, "FILE", "the graph as a Graphviz drawing", 0, 0 },
    { "profile", OPT_FLAG, NULL, NULL, "run it on random input; time per op against the measured peaks", 0, 0 },
    { "trace", OPT_STR, NULL, "FILE", "the same run as a Chrome trace (chrome://tracing)", 0, 0 },
    { 0 },
};

const vm_command cmd_info = {
    .name = "info",
    .summary = "look into a model, a file of weights or this machine",
    .usage = "[DIR|FILE] [--devices] [--plan] [options]",
    .about = "Prints family, sizes, activation, memory and all tensors of a model folder, a safetensors file or a "
             "PyTorch checkpoint.\n\n"
             "  vismin info clip-vit-base-patch32/\n"
             "  vismin info model.pt --json\n"
             "  vismin info clip/ --profile --batch 32 --trace trace.json\n"
             "  vismin info --devices",
    .opts = opts,
    .max_pos = 1,
    .run = run,
};
