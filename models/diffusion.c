/* diffusion.c - folders of diffusers' pipelines: which parts there are, and opening them. */
#include "models/diffusion_parts.h"

#include <string.h>

#include "io/file.h"

bool diffusion_is(const char *dir) {
    char *path = path_join(dir, "model_index.json");
    bool is = path && file_exists(path);
    vm_free(path);
    return is;
}

/* "unet": ["diffusers", "UNet2DConditionModel"]; [null, null] and absence: not there. */
static bool has(json_value index, const char *part) {
    json_value v = json_get(index, part);
    return v.kind == JSON_ARRAY && json_at(v, 1).kind == JSON_STRING;
}

static void check_class(json_value index, vm_error *e) {
    static const char *const known[] = { "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline", "StableDiffusionXLPipeline",
                                         "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline" };
    const char *name = json_str(index, "_class_name", "", e);
    for (int k = 0; k < VM_LEN(known); k++)
        if (!strcmp(name, known[k])) return;
    if (!e->status) json_fail(json_get(index, "_class_name"), e, "\"%s\" is no pipeline that is supported: Stable Diffusion 1, 2, XL, with their img2img and inpainting", name);
}

static void open_text(diffusion *d, json_value index, const char *dir, int k, vm_error *e) {
    static const char *const encoder[] = { "text_encoder", "text_encoder_2" }, *const words[] = { "tokenizer", "tokenizer_2" };
    if (!has(index, encoder[k])) return;
    char *model = path_join(dir, encoder[k]), *t = path_join(dir, words[k]);
    const int n = d->n_text++;
    if (!model || !t) vm_nomem(e, 256, "a path");
    else if (!clip_text_open(&d->text[n], d->be, model, false, e)) tok_open(&d->tok[n], t, e);
    vm_free(model), vm_free(t);
    if (!e->status && tok_get_info(d->tok[n])->vocab_len > d->text[n]->c.vocab)
        vm_fail(e, VM_EMODEL, "%s: the tokenizer has %lld entries, the text encoder %lld", dir, (long long)tok_get_info(d->tok[n])->vocab_len,
                (long long)d->text[n]->c.vocab);
}

/* Do the parts fit each other? */
static void check_parts(const diffusion *d, const char *dir, vm_error *e) {
    int64_t D = 0, in = d->unet->c.in, C = d->vae->c.latent;
    for (int k = 0; k < d->n_text; k++) D += d->text[k]->c.width;
    if (!d->n_text) vm_fail(e, VM_EMODEL, "%s: model_index.json names no text encoder", dir);
    else if (D != d->unet->c.context) vm_fail(e, VM_EMODEL, "%s: the text encoders give %lld columns, the UNet reads %lld", dir, (long long)D, (long long)d->unet->c.context);
    else if (d->xl && !d->text[d->n_text - 1]->projection) vm_fail(e, VM_EMODEL, "%s: the last text encoder has no projection, which this UNet needs", dir);
    else if (d->unet->c.out != C || (in != C && in != 2 * C + 1))
        vm_fail(e, VM_EMODEL, "%s: a UNet of %lld to %lld channels for latents of %lld; %lld or, with mask and masked picture, %lld are needed", dir, (long long)in,
                (long long)d->unet->c.out, (long long)C, (long long)C, (long long)(2 * C + 1));
}

static void open_parts(diffusion *d, const char *dir, json_value index, vm_error *e) {
    char *u = path_join(dir, "unet"), *v = path_join(dir, "vae"), *s = path_join(dir, "scheduler");
    check_class(index, e);
    if (!u || !v || !s) vm_nomem(e, 256, "a path");
    if (!e->status) d->o.scratch ? unet_fresh(&d->unet, d->be, u, d->o.seed, e) : unet_open(&d->unet, d->be, u, d->o.train, e);
    if (!e->status && !vae_open(&d->vae, d->be, d->o.vae ? d->o.vae : v, false, e) && !sampler_config_read(&d->sampler, s, e))
        for (int k = 0; k < DIFFUSION_TEXTS && !e->status; k++) open_text(d, index, dir, k, e);
    vm_free(u), vm_free(v), vm_free(s);
    if (!e->status && d->o.adapter && !lora_open(&d->adapter, &d->unet->w, &d->unet->map, d->o.adapter, e)) lora_refresh(d->adapter, e);
    if (e->status) return;
    d->xl = d->unet->c.text_and_ids > 0;
    d->zero_negative = d->xl && json_bool(index, "force_zeros_for_empty_prompt", true, e);
    check_parts(d, dir, e);
}

vm_status diffusion_open(diffusion **out, vm_backend *be, const char *dir, const diffusion_options *o, vm_error *e) {
    diffusion *d = vm_calloc(1, sizeof *d);
    *out = NULL;
    if (!d) return vm_nomem(e, sizeof *d, "a pipeline");
    d->be = be, d->o = *o;
    char *path = path_join(dir, "model_index.json");
    json_doc *index = NULL;
    if (!path) vm_nomem(e, 256, "a path");
    else if (!file_exists(path)) vm_fail(e, VM_EMODEL, "%s: no model_index.json; give the folder of a diffusers pipeline (single files: `vismin convert`)", dir);
    else if ((index = json_open(path, e))) open_parts(d, dir, json_root(index), e);
    json_free(index);
    vm_free(path);
    if (e->status) diffusion_free(d);
    else *out = d;
    return e->status;
}

void diffusion_free(diffusion *d) {
    if (!d) return;
    vm_graph_free(d->step.g), vm_graph_free(d->plan[0].g), vm_graph_free(d->plan[1].g);
    vm_arena_free(&d->arena);
    unet_memory_free(d->step.k);
    for (int k = 0; k < DIFFUSION_TEXTS; k++) clip_text_free(d->text[k]), tok_free(d->tok[k]);
    lora_free(d->adapter);
    unet_free(d->unet), vae_free(d->vae);
    vm_free(d->colour);
    vm_free(d);
}

bool diffusion_inpaints(const diffusion *d) { return d->unet->c.in != d->vae->c.latent; }
bool diffusion_is_xl(const diffusion *d) { return d->xl; }
int64_t diffusion_size(const diffusion *d) { return d->unet->c.sample * vae_factor(&d->vae->c); }
int64_t diffusion_multiple(const diffusion *d) { return vae_factor(&d->vae->c); }
sampler_config *diffusion_sampler(diffusion *d) { return &d->sampler; }

const char *diffusion_unused(const diffusion *d) {
    for (int k = 0; k < d->n_text; k++)
        if (d->text[k]->unused) return d->text[k]->unused;
    return d->unet->unused ? d->unet->unused : d->vae->unused;
}

vm_graph *diffusion_graph(diffusion *d, vm_type type, vm_error *e) {
    vm_graph *g = vm_graph_new(d->be, type);
    if (!g) return vm_nomem(e, sizeof *g, "a graph"), NULL;
    d->arena.be = d->be;
    g->shared = &d->arena, g->deterministic = d->o.deterministic;
    return g;
}
