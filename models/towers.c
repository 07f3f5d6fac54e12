/* towers.c - see towers.h. */
#include "models/towers.h"

#include <math.h>
#include <string.h>

#include "io/file.h"
#include "models/lora.h"

const towers_family *const towers_families[] = { &coca_family, &clip_family, &siglip_family, &blip_family, NULL };

enum { TEXT_STEP = 8 }; /* lengths of batches are multiples: few plans serve all */

/* --- opening -------------------------------------------------------------------------------------------------------- */
static const towers_family *family_of(const char *dir, vm_error *e) {
    static const char *const files[] = { "config.json", "open_clip_config.json" };
    const towers_family *found = NULL;
    if (file_exists(dir) && !file_is_dir(dir)) {
        vm_fail(e, VM_EMODEL, "%s: is a file; `vismin convert %s FOLDER` makes a model folder of weights, give that", dir, dir);
        return NULL;
    }
    for (int k = 0; k < VM_LEN(files) && !found && !e->status; k++) {
        char *path = path_join(dir, files[k]), known[200] = "";
        if (!path) return vm_nomem(e, 256, "a path"), NULL;
        json_doc *d = file_exists(path) ? json_open(path, e) : NULL;
        for (int i = 0; d && towers_families[i]; i++) {
            if (!found && towers_families[i]->is(json_root(d), k)) found = towers_families[i];
            snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", towers_families[i]->name);
        }
        vm_error none = { 0 };
        if (d && !found)
            vm_fail(e, VM_EMODEL, "%s: model_type \"%s\" is no model of pictures and texts; known are %s", path,
                    json_str(json_root(d), "model_type", "", &none), known);
        json_free(d);
        vm_free(path);
    }
    if (!found && !e->status) vm_fail(e, VM_EMODEL, "%s: no config.json and no open_clip_config.json; give the folder of a model", dir);
    return found;
}

vm_status towers_open(towers **out, vm_backend *be, const char *dir, const towers_options *o, vm_error *e) {
    *out = NULL;
    const towers_family *f = family_of(dir, e);
    towers *t = NULL;
    if (!f || f->open(&t, be, dir, o, e)) return e->status;
    if (o->activation != VM_NONE && t->text_act != o->activation)
        vm_fail(e, VM_EUSAGE, "--activation %s: %s states %s; leave the option out, or let `vismin convert` write a folder that states the other one",
                nn_activation_name(o->activation), dir, nn_activation_name(t->text_act));
    else if (t->act_assumed && !o->library_default && o->how != TOWERS_FRESH)
        vm_fail(e, VM_EUSAGE, "%s: states no activation, weights do not show it, and the wrong one changes every score: give --activation quick_gelu for "
                "OpenAI's CLIP and all that descends from it (VisMin-CLIP, NegCLIP, CE-CLIP), MetaCLIP and DFN, or --activation gelu for LAION, DataComp "
                "and CommonPool", dir);
    if (e->status) f->free(t);
    else *out = t;
    return e->status;
}

bool towers_is(const char *dir) {
    vm_error none = { 0 };
    return family_of(dir, &none) != NULL;
}

void towers_free(towers *t) {
    if (!t) return;
    lora_free(t->lora);
    t->family->free(t);
}

vm_status towers_adapt(towers *t, const lora_options *fresh, const char *dir, vm_error *e) {
    weight_map hf = { 0 };
    lora_options o = fresh ? *fresh : (lora_options){ 0 };
    o.usual = "q_proj,k_proj,v_proj,out_proj,fc1,fc2";
    t->family->map(t, true, &hf);
    if (hf.err.status) *e = hf.err;
    else if (dir) lora_open(&t->lora, t->w, &hf, dir, e);
    else lora_new(&t->lora, t->w, &hf, &o, e);
    weight_map_free(&hf);
    return e->status;
}

vm_unary_kind towers_activation(json_value config, const char *dflt, vm_error *e) {
    const char *name = json_str(config, "hidden_act", dflt, e);
    vm_unary_kind k = e->status ? VM_NONE : nn_activation(name);
    if (k == VM_NONE && !e->status)
        json_fail(json_get(config, "hidden_act"), e, "activation \"%s\" is not known; known are quick_gelu, gelu, gelu_pytorch_tanh, silu, relu", name);
    return k;
}

vm_status towers_blend(towers *a, const towers *b, double alpha, vm_error *e) {
    bool fits = a->family == b->family && a->w->n == b->w->n && a->text_act == b->text_act && a->vision_act == b->vision_act;
    for (int64_t i = 0; fits && i < a->w->n; i++) {
        const vm_param *p = a->w->p[i], *q = b->w->p[i];
        fits = !strcmp(p->name, q->name) && vm_param_count(p) == vm_param_count(q) && p->nd == q->nd && p->ne[0] == q->ne[0];
    }
    if (!fits) return vm_fail(e, VM_EMODEL, "the two models are not of one family, size and activation; their weights cannot be averaged");
    for (int64_t i = 0; i < a->w->n; i++) {
        vm_param *p = a->w->p[i];
        const int64_t n = vm_param_count(p);
        vm_mirror to;
        float *y = vm_alloc((size_t)n * sizeof *y + 1);
        if (!y) return vm_nomem(e, (size_t)n * sizeof *y, p->name);
        if (!weight_read(b->w->p[i], 0, n, y, e) && !vm_mirror_open(&to, p->be, p->data, (size_t)n * sizeof(vm_real), true, e)) {
            vm_real *x = to.host;
            for (int64_t k = 0; k < n; k++) x[k] = (vm_real)((1 - alpha) * (double)x[k] + alpha * (double)y[k]);
            vm_mirror_close(&to, true, e);
        }
        vm_free(y);
        if (e->status) return e->status;
        vm_param_touch(p);
    }
    return VM_OK;
}

/* --- graphs --------------------------------------------------------------------------------------------------------- */
vm_val towers_images(vm_graph *g, const towers *t, int64_t n) {
    int64_t S = t->image_size;
    return towers_normalise(g, t, t->family->image(g, t, vm_input(g, "pixels", VM_F32, 4, (int64_t[]){ n, S, S, 3 })));
}

vm_val towers_texts(vm_graph *g, const towers *t, int64_t n, int64_t T) {
    vm_val ids = vm_input(g, "ids", VM_I32, 2, (int64_t[]){ n, T }), at = vm_input(g, "at", VM_I32, 1, &n);
    return towers_normalise(g, t, t->family->text(g, t, ids, at, vm_input(g, "mask", VM_I32, 2, (int64_t[]){ n, T })));
}

vm_val towers_normalise(vm_graph *g, const towers *t, vm_val features) { return vm_l2norm(g, features, t->norm_eps); }

vm_val towers_logits(vm_graph *g, const towers *t, vm_val a, vm_val b) {
    vm_val x = vm_matmul(g, a, b, false, true, 1, VM_F32);
    if (t->logit_scale) x = vm_binary(g, x, vm_unary(g, vm_weight(g, t->logit_scale), VM_EXP, VM_F32), VM_MUL);
    return t->logit_bias ? vm_binary(g, x, vm_weight(g, t->logit_bias), VM_ADD) : x;
}

float towers_scale(const towers *t) { return !t->logit_scale ? 1 : expf((float)weight_scalar(t->logit_scale)); }
float towers_bias(const towers *t) { return t->logit_bias ? (float)weight_scalar(t->logit_bias) : 0; }

/* --- texts ---------------------------------------------------------------------------------------------------------- */
vm_status towers_encode(const towers *t, tok *k, int64_t n, int64_t B, const char *const *texts, int32_t *ids, int32_t *at, int32_t *mask, int64_t *T, vm_error *e) {
    const int64_t L = t->context;
    tok_ids one = { 0 };
    for (int64_t i = 0; i < B * L; i++) ids[i] = t->pad;
    for (int64_t i = 0; i < n && !tok_encode(k, texts[i], strlen(texts[i]), 0, L, &one, e); i++)
        memcpy(ids + i * L, one.id, (size_t)one.n * sizeof *ids);
    tok_ids_free(&one);
    if (e->status) return e->status;
    int64_t used = t->family->text_rows(t, B, L, ids, NULL, at, mask);
    *T = used = VM_MIN(L, (used + TEXT_STEP - 1) / TEXT_STEP * TEXT_STEP);
    for (int64_t i = 0; i < B && used < L; i++) {
        memmove(ids + i * used, ids + i * L, (size_t)used * sizeof *ids);
        memmove(mask + i * used, mask + i * L, (size_t)used * sizeof *mask);
    }
    return VM_OK;
}

/* --- the files beside ----------------------------------------------------------------------------------------------- */
vm_status towers_copy_processors(const char *from, const char *to, bool images, vm_error *e) {
    static const char *const files[] = { "tokenizer.json", "spiece.model", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt", "vocab.txt", "added_tokens.json",
                                         "bpe_simple_vocab_16e6.txt.gz", "preprocessor_config.json", "processor_config.json" };
    for (int k = 0; k < VM_LEN(files) - (images ? 0 : 2) && !e->status; k++) file_copy_named(from, to, files[k], e);
    return e->status;
}
