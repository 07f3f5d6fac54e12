/* convert.c - `vismin convert`: CLIP weights of any published form into one folder that open_clip and Hugging Face
 * transformers both load; any PyTorch checkpoint into a safetensors file; language models in 8 and 4 bits. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/json.h"
#include "io/log.h"
#include "models/clip.h"
#include "models/preprocess.h"
#include "pipeline/convert.h"
#include "pipeline/convert_ldm.h"
#include "pipeline/run.h"

/* --- what comes in ------------------------------------------------------------------------------------------------ */
typedef struct {
    st_file *st; /* one of the two */
    pt_file *pt;
    weight_source s;
    char *path; /* of the file with the weights */
} input;

static void close_input(input *in) {
    st_close(in->st);
    pt_close(in->pt);
    vm_free(in->path);
}

static vm_status open_weights(input *in, const char *path, vm_error *e) {
    if (pt_is(path) ? pt_open(&in->pt, path, e) : st_open(&in->st, path, e)) return e->status;
    in->s = in->pt ? weights_of_checkpoint(in->pt) : weights_of_safetensors(in->st);
    const char *file = in->pt ? pt_path(in->pt) : st_len(in->st) ? st_path(in->st, st_at(in->st, 0)) : path;
    return (in->path = vm_strdup(file)) ? VM_OK : vm_nomem(e, 256, "a path");
}

/* safetensors, else the pickled weights that folders had before them. */
static vm_status open_input(input *in, const char *path, vm_error *e) {
    static const char *const old[] = { "open_clip_pytorch_model.bin", "pytorch_model.bin" };
    vm_error none = { 0 };
    if (!file_is_dir(path)) return open_weights(in, path, e);
    if (!open_weights(in, path, &none)) return VM_OK;
    for (int k = 0; k < VM_LEN(old) && none.status == VM_EMODEL; k++) {
        char *file = path_join(path, old[k]);
        bool there = file && file_exists(file);
        vm_status st = there ? open_weights(in, file, e) : VM_OK;
        vm_free(file);
        if (there) return st;
    }
    return vm_fail(e, none.status, "%s", none.msg);
}

/* Only the tensors below the prefix: moments of an optimizer are no part of the model. */
static void narrow(weight_source *s, const char *prefix) {
    size_t len = strlen(prefix);
    while (s->n && strncmp(s->t[0].name, prefix, len)) s->t++, s->n--;
    while (s->n && strncmp(s->t[s->n - 1].name, prefix, len)) s->n--;
}

/* --- what it is --------------------------------------------------------------------------------------------------- */
static vm_status set_activation(clip_config *c, const char *from, const char *act, vm_error *e) {
    if (act) {
        vm_unary_kind k = !strcmp(act, "quick_gelu") ? VM_QUICK_GELU : !strcmp(act, "gelu") ? VM_GELU : VM_NONE;
        if (k == VM_NONE) return vm_fail(e, VM_EUSAGE, "--act %s: expected quick_gelu or gelu", act);
        if (c->text_act != VM_NONE && c->text_act != k)
            vm_warn("the configuration says %s; written as %s because of --act", nn_activation_name(c->text_act), act);
        clip_set_activation(c, k);
    }
    if (c->text_act != VM_NONE && c->vision_act != VM_NONE) return VM_OK;
    return vm_fail(e, VM_EUSAGE,
                   "%s: say --act quick_gelu or --act gelu: weights do not show their activation, and the wrong one "
                   "changes every score "
                   "without an error. OpenAI's CLIP and everything fine-tuned from it (VisMin-CLIP, NegCLIP, CE-CLIP) "
                   "is quick_gelu, so are "
                   "MetaCLIP and DFN; LAION-2B, DataComp and CommonPool models are gelu",
                   from);
}

/* A folder's own configuration, --arch, or the shapes of the tensors. */
static vm_status find_config(clip_config *c, const char *from, const char *arch, clip_layout layout, const char *prefix,
                             const weight_source *s, vm_error *e) {
    size_t n = arch ? strlen(arch) : 0;
    if (n > 5 && !strcmp(arch + n - 5, ".json")) clip_config_file(c, arch, e);
    else if (arch) clip_config_named(c, arch, e);
    else if (file_is_dir(from)) {
        if (!clip_config_read(c, from, e) && c->act_assumed) clip_set_activation(c, VM_NONE); /* weights may be of the other one */
    } else if (!clip_config_infer(c, layout, prefix, s, e))
        vm_info("heads are %d and %d: width / 64%s, which weights do not show; --arch states others",
                (int)c->text.heads, (int)c->vision.heads,
                c->vision.heads * 64 == c->vision.width || clip_is_resnet(c) ? "" : " for texts and the published number for images");
    c->layout = layout;
    return e->status;
}

/* Folders with an image processor that the two written configurations cannot state are refused, not bent. */
static vm_status take_processor(clip_config *c, const char *dir, vm_error *e) {
    vm_preprocess p;
    vm_error none = { 0 };
    if (preprocess_load(&p, dir, &none)) return VM_OK; /* there is none: the usual one is written */
    bool usual = p.fit == FIT_SHORTEST && p.filter == RESIZE_BICUBIC && p.shortest == c->image_size &&
                 p.crop_h == c->image_size && p.crop_w == c->image_size;
    for (int k = 0; k < 3; k++) {
        if (p.mean[k] != (float)c->mean[k]) c->mean[k] = round(p.mean[k] * 1e8) * 1e-8;
        if (p.std[k] != (float)c->std[k]) c->std[k] = round(p.std[k] * 1e8) * 1e-8;
    }
    if (usual) return VM_OK;
    return vm_fail(e, VM_EMODEL,
                   "%s: its image processor is not CLIP's (shorter side to %d by bicubic filter, centre crop), and "
                   "only that one is written",
                   dir, (int)c->image_size);
}

/* --- what goes out ------------------------------------------------------------------------------------------------ */
typedef struct {
    const char *from, *out, *tokenizer;
    bool hf, open_clip;
    st_dtype type;
} target;

static bool has_entries(const char *dir) {
    char **names = NULL;
    int64_t n = 0;
    vm_error none = { 0 };
    bool any = file_exists(dir) && (dir_list(&names, &n, dir, &none) || n);
    vm_free(names);
    return any;
}

static vm_status write_folder(const clip_model *m, const target *o, vm_error *e) {
    char *tmp = NULL;
    const char *files = o->tokenizer ? o->tokenizer : file_is_dir(o->from) ? o->from : NULL;
    if (dir_begin(&tmp, o->out, e)) return e->status;
    if (o->hf && !m->resnet) clip_save_layout(m, tmp, CLIP_HF, o->type, e);
    if (!e->status && o->open_clip) clip_save_layout(m, tmp, CLIP_OPEN, o->type, e);
    if (!e->status && files) towers_copy_processors(files, tmp, false, e);
    if (!e->status) clip_save_processor(&m->c, tmp, e);
    if (!e->status) dir_commit(tmp, o->out, e);
    if (e->status) dir_abort(tmp);
    vm_free(tmp);
    return e->status;
}

static vm_status report(const vm_args *a, const clip_model *m, const target *o, vm_error *e) {
    const clip_config *c = &m->c;
    if (arg_flag(a, "json")) {
        json_writer w = json_to_stream(stdout, JSON_COMPACT);
        json_begin_object(&w, NULL);
        json_put_str(&w, "out", o->out);
        json_put_int(&w, "parameters", weight_count(&m->w));
        json_put_str(&w, "activation", nn_activation_name(c->text_act));
        json_put_str(&w, "dtype", st_dtype_name(o->type));
        json_put_str(&w, "source_sha256", m->source_sha256);
        json_close_object(&w);
        json_newline(&w);
        return json_end(&w, e);
    }
    char vision[160];
    vm_info("%s: %.2f M parameters, images %s; texts: %d layers of %d, %d heads; %s", o->out,
            (double)weight_count(&m->w) * 1e-6, clip_vision_text(c, vision), (int)c->text.layers, (int)c->text.width,
            (int)c->text.heads, nn_activation_name(c->text_act));
    return VM_OK;
}

static vm_status convert_clip(const vm_args *a, input *in, const target *o, vm_error *e) {
    clip_config c;
    clip_layout layout;
    clip_model *m = NULL;
    char prefix[256];
    if (clip_find(&layout, prefix, &in->s, e) ||
        find_config(&c, o->from, arg_str(a, "arch"), layout, prefix, &in->s, e) ||
        set_activation(&c, o->from, arg_str(a, "act"), e) || (file_is_dir(o->from) && take_processor(&c, o->from, e)) ||
        (clip_is_resnet(&c) && !o->open_clip &&
         vm_fail(e, VM_EUSAGE, "--layout hf: Hugging Face transformers has no CLIP with a ResNet; open_clip has")) ||
        clip_new(&m, vm_backend_cpu(), &c, e))
        return e->status;
    narrow(&in->s, prefix);
    if (!clip_load(m, &in->s, prefix, false, e) && !sha256_file(m->source_sha256, in->path, e)) {
        if (m->t.unused) vm_warn("%s", m->t.unused);
        if (!write_folder(m, o, e)) report(a, m, o, e);
    }
    clip_free(m);
    return e->status;
}

/* --- any checkpoint, as it is ------------------------------------------------------------------------------------- */
static vm_status copy_tensor(st_writer *w, const pt_file *f, const st_tensor *t, uint8_t *some, size_t most,
                             vm_error *e) {
    size_t each = st_dtype_bytes(t->dtype);
    int64_t step = (int64_t)(most / each);
    for (int64_t k = 0; k < t->len && !e->status; k += step) {
        int64_t n = VM_MIN(step, t->len - k);
        if (!pt_read(f, t, k, n, some, e)) st_writer_put_part(w, t->name, (size_t)k * each, some, (size_t)n * each, e);
    }
    if (!e->status && !t->len) st_writer_put(w, t->name, some, e);
    pt_release(f, t);
    return e->status;
}

static vm_status convert_plain(const pt_file *f, const char *out, vm_error *e) {
    enum { MOST = 1 << 20 };
    st_writer *w = NULL;
    char sum[65];
    uint8_t *some = vm_alloc(MOST);
    if (!some) vm_nomem(e, MOST, "copying");
    else if (!sha256_file(sum, pt_path(f), e) && !st_writer_open(&w, out, 0, e) &&
             !st_writer_meta(w, "format", "pt", e))
        st_writer_meta(w, "source_sha256", sum, e);
    for (int64_t i = 0; i < pt_len(f) && !e->status; i++)
        st_writer_add(w, pt_at(f, i)->name, pt_at(f, i)->dtype, pt_at(f, i)->nd, pt_at(f, i)->shape, e);
    for (int64_t i = 0; i < pt_len(f) && !e->status; i++) copy_tensor(w, f, pt_at(f, i), some, MOST, e);
    if (w && !e->status) st_writer_commit(w, e);
    else st_writer_abort(w);
    vm_free(some);
    if (!e->status) vm_info("%s: %" PRId64 " tensors", out, pt_len(f));
    return e->status;
}

/* --- the command -------------------------------------------------------------------------------------------------- */
static vm_status read_target(target *o, const vm_args *a, vm_error *e) {
    const char *layout = arg_str(a, "layout"), *type = arg_str(a, "dtype");
    *o = (target){ .from = arg_model(a, arg_pos(a, 0), e), .out = arg_pos(a, 1), .tokenizer = arg_str(a, "tokenizer") };
    o->hf = !strcmp(layout, "both") || !strcmp(layout, "hf"),
    o->open_clip = !strcmp(layout, "both") || !strcmp(layout, "open_clip");
    if (e->status) return e->status;
    if (!o->hf && !o->open_clip) return vm_fail(e, VM_EUSAGE, "--layout %s: expected both, hf or open_clip", layout);
    o->type = !strcmp(type, "auto") ? ST_F32 : st_dtype_of(type);
    if (o->type != ST_F32 && o->type != ST_F16 && o->type != ST_BF16)
        return vm_fail(e, VM_EUSAGE, "--dtype %s: weights are written as f32, f16 or bf16", type);
    if (o->tokenizer && !file_is_dir(o->tokenizer))
        return vm_fail(e, VM_EINPUT, "--tokenizer %s: no folder", o->tokenizer);
    return VM_OK;
}

static vm_status run(const vm_args *a, vm_error *e) {
    target o;
    input in = { 0 };
    if (read_target(&o, a, e)) return e->status;
    bool folders = arg_given(a, "merge") || arg_given(a, "average"), quantize = arg_given(a, "quantize"), text = arg_flag(a, "text-encoder");
    if ((folders || quantize || text) && has_entries(o.out)) return vm_fail(e, VM_EUSAGE, "%s: exists and is not empty; name a new folder", o.out);
    if (folders && !o.hf) return vm_fail(e, VM_EUSAGE, "--layout open_clip: --merge and --average write both layouts, or hf");
    if (folders && quantize) return vm_fail(e, VM_EUSAGE, "--quantize is a conversion of its own; make one after the other");
    if (text && (folders || quantize)) return vm_fail(e, VM_EUSAGE, "--text-encoder is a conversion of its own; make one after the other");
    if (text) return convert_text(o.from, o.out, o.type, e);
    if (quantize) return convert_quantize(a, o.from, o.out, e);
    if (arg_flag(a, "keep-head")) return vm_fail(e, VM_EUSAGE, "--keep-head goes with --quantize");
    if (arg_given(a, "group")) return vm_fail(e, VM_EUSAGE, "--group goes with --quantize int4");
    if (folders) return convert_towers(a, o.from, o.out, o.type, o.open_clip, e);
    if (arg_given(a, "alpha")) return vm_fail(e, VM_EUSAGE, "--alpha goes with --average");
    if (open_input(&in, o.from, e)) goto done;
    size_t n = strlen(o.out), prefix;
    if (n > 12 && !strcmp(o.out + n - 12, ".safetensors")) {
        if (in.pt) convert_plain(in.pt, o.out, e);
        else
            vm_fail(e, VM_EUSAGE,
                    "%s: is no PyTorch checkpoint, there is nothing to convert; name a folder to write a CLIP model",
                    o.from);
    } else if (has_entries(o.out)) {
        vm_fail(e, VM_EUSAGE, "%s: exists and is not empty; name a new folder", o.out);
    } else if (ldm_is(&in.s, &prefix)) convert_ldm(a, &in.s, prefix, o.out, arg_given(a, "dtype") ? o.type : ST_UNKNOWN, e);
    else if (convert_is_detect(&in.s)) convert_detect(a, &in.s, o.out, o.type, e);
    else convert_clip(a, &in, &o, e);
done:
    close_input(&in);
    return e->status;
}

static const vm_opt opts[] = {
    { "act", OPT_STR, NULL, "NAME", "activation, where no configuration states it: quick_gelu or gelu", 0, 0 },
    { "arch", OPT_STR, NULL, "NAME", "size by name (ViT-L-14, RN50-quickgelu, ...) or a configuration FILE.json", 0,
      0 },
    { "layout", OPT_STR, "both", "NAME", "files of open_clip, of Hugging Face (hf), or both", 0, 0 },
    { "merge", OPT_STR, NULL, "DIR", "IN is a model folder: add this adapter (a PEFT directory) to its weights", 0, 0 },
    { "average", OPT_LIST, NULL, "DIR", "IN is a model folder: mean of its weights and those of this one (repeatable)", 0, 0 },
    { "alpha", OPT_FLOAT, NULL, "X", "with one --average: (1 - X) IN + X DIR", 0, 1 },
    { "quantize", OPT_STR, NULL, "KIND", "IN is the folder of a language model: matrices of its layers in int4, int8 or nf4", 0, 0 },
    { "group", OPT_INT, NULL, "N", "with --quantize int4: columns that share a scale (128, or 64 or 32 where that does not divide)", 8, 65536 },
    { "keep-head", OPT_FLAG, NULL, NULL, "with --quantize: the output head stays as it is, not in int8 (other libraries read no head in 8 bits)", 0, 0 },
    { "text-encoder", OPT_FLAG, NULL, NULL, "IN is a CLIP folder: its text half alone, as Stable Diffusion's folder text_encoder", 0, 0 },
    { "tokenizer", OPT_STR, NULL, "DIR", "copy tokenizer and image processor files from this folder", 0, 0 },
    { "prediction", OPT_STR, "epsilon", "WHAT", "what a Stable Diffusion checkpoint predicts: epsilon, v_prediction", 0, 0 },
    { 0 },
};

const vm_command cmd_convert = {
    .name = "convert",
    .summary = "CLIP weights of any form into one folder for both libraries; single files of Stable Diffusion into folders; checkpoints into safetensors",
    .usage = "IN OUT [--act NAME] [options]",
    .about = "IN is a PyTorch checkpoint (.pt, .pth, .bin: bare weights, or those in a training checkpoint), a "
             "safetensors file, or a model\n"
             "folder. A checkpoint is read, never executed. OUT becomes a folder with model.safetensors and "
             "config.json (Hugging Face) and\n"
             "open_clip_model.safetensors and open_clip_config.json (open_clip), in f32 or by --dtype f16 or bf16. "
             "ResNets (RN50 to\n"
             "RN50x64) are written for open_clip alone. Sizes are seen in the weights; the activation is not and must be "
             "said: --act\n"
             "quick_gelu for OpenAI's weights and all their descendants.\n"
             "When OUT ends in .safetensors, all tensors of a checkpoint are written there as they are, under their "
             "own names.\n"
             "Checkpoints of Grounding DINO, by their names: IDEA-Research's (.pth) and MMDetection's mm-grounding-dino become folders of\n"
             "transformers; --tokenizer gives the files of bert-base-uncased.\n"
             "--quantize writes a language model whose layers take 8 or 4 bits a weight, in layouts that the usual libraries read: nf4 and\n"
             "int8 as bitsandbytes, int4 as AWQ (rounded to nearest, without a search). An output head of its own takes 8 bits (--keep-head).\n"
             "A single-file checkpoint of Stable Diffusion 1, 2, XL or the refiner becomes a folder of diffusers', in the types that it has.\n\n"
             "  vismin convert model.pt vismin-clip/ --act quick_gelu --tokenizer clip-vit-large-patch14/\n"
             "  vismin convert pytorch_model.bin model.safetensors\n"
             "  vismin convert v1-5-pruned.ckpt stable-diffusion-1-5/ --tokenizer clip-vit-large-patch14/\n"
             "  vismin convert groundingdino_swint_ogc.pth grounding-dino-tiny/ --tokenizer bert-base-uncased/\n"
             "  vismin convert clip-vit-large-patch14/ merged/ --merge run/adapter\n"
             "  vismin convert clip-vit-large-patch14/ wise/ --average run/model --alpha 0.5\n"
             "  vismin convert clip-vit-large-patch14/ pipeline/text_encoder --text-encoder --dtype f16\n"
             "  vismin convert mistral-7b/ mistral-7b-4bit/ --quantize nf4",
    .opts = opts,
    .min_pos = 2,
    .max_pos = 2,
    .run = run,
};
