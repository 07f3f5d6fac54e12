/* clip_arch.c - the configuration of CLIP weights that come without one: from the shapes of the tensors, or from the
 * name of a published size. Both say nothing about the activation: weights trained with QuickGELU and with GELU look
 * alike. */
#include <inttypes.h>
#include <string.h>

#include "models/clip.h"

/* --- published sizes (open_clip's model_configs) ------------------------------------------------------------------ */
static const struct {
    const char *name;
    int image, patch, embed;
    int vision_layers, vision_width, vision_heads, vision_mlp;
    int text_layers, text_width;
} sizes[] = {
    { "ViT-S-32", 224, 32, 384, 12, 384, 6, 1536, 12, 384 },
    { "ViT-S-16", 224, 16, 384, 12, 384, 6, 1536, 12, 384 },
    { "ViT-M-32", 224, 32, 512, 12, 512, 8, 2048, 12, 512 },
    { "ViT-M-16", 224, 16, 512, 12, 512, 8, 2048, 12, 512 },
    { "ViT-B-32", 224, 32, 512, 12, 768, 12, 3072, 12, 512 },
    { "ViT-B-32-256", 256, 32, 512, 12, 768, 12, 3072, 12, 512 },
    { "ViT-B-16", 224, 16, 512, 12, 768, 12, 3072, 12, 512 },
    { "ViT-B-16-plus-240", 240, 16, 640, 12, 896, 14, 3584, 12, 640 },
    { "ViT-L-16", 224, 16, 768, 24, 1024, 16, 4096, 12, 768 },
    { "ViT-L-16-320", 320, 16, 768, 24, 1024, 16, 4096, 12, 768 },
    { "ViT-L-14", 224, 14, 768, 24, 1024, 16, 4096, 12, 768 },
    { "ViT-L-14-280", 280, 14, 768, 24, 1024, 16, 4096, 12, 768 },
    { "ViT-L-14-336", 336, 14, 768, 24, 1024, 16, 4096, 12, 768 },
    { "ViT-H-16", 224, 16, 1024, 32, 1280, 16, 5120, 24, 1024 },
    { "ViT-H-14", 224, 14, 1024, 32, 1280, 16, 5120, 24, 1024 },
    { "ViT-H-14-378", 378, 14, 1024, 32, 1280, 16, 5120, 24, 1024 },
    { "ViT-g-14", 224, 14, 1024, 40, 1408, 16, 6144, 24, 1024 },
    { "ViT-bigG-14", 224, 14, 1280, 48, 1664, 16, 8192, 32, 1280 },
};

static const struct {
    const char *name;
    int image, width, blocks[RESNET_STAGES], embed, text_layers, text_width;
} resnets[] = {
    { "RN50", 224, 64, { 3, 4, 6, 3 }, 1024, 12, 512 },
    { "RN101", 224, 64, { 3, 4, 23, 3 }, 512, 12, 512 },
    { "RN50x4", 288, 80, { 4, 6, 10, 6 }, 640, 12, 640 },
    { "RN50x16", 384, 96, { 6, 8, 18, 8 }, 768, 12, 768 },
    { "RN50x64", 448, 128, { 3, 15, 36, 10 }, 1024, 12, 1024 },
};

static void set_rest(clip_config *c) {
    c->bos = c->vocab - 2, c->eos = c->vocab - 1, c->pad = 0,
    c->pool_argmax = true; /* the end token is the largest id */
    c->text_eps = c->vision_eps = 1e-5f;
    c->text_act = VM_NONE, c->vision_act = clip_is_resnet(c) ? VM_RELU : VM_NONE;
}

/* The rest of a ResNet from width, blocks and size of its pictures. */
static void set_resnet(clip_config *c) {
    c->patch = RESNET_SHRINK;
    c->vision.heads = c->vision.width * 32 / 64;
    for (int k = 0; k < RESNET_STAGES; k++) c->vision.layers += c->blocks[k];
}

static bool sized(clip_config *c, const char *name, size_t len) {
    for (int k = 0; k < VM_LEN(sizes); k++) {
        if (strlen(sizes[k].name) != len || strncmp(sizes[k].name, name, len)) continue;
        c->image_size = sizes[k].image, c->patch = sizes[k].patch, c->embed = sizes[k].embed;
        c->vision =
            (clip_tower){ sizes[k].vision_width, sizes[k].vision_layers, sizes[k].vision_heads, sizes[k].vision_mlp };
        c->text.width = sizes[k].text_width, c->text.layers = sizes[k].text_layers;
        return true;
    }
    for (int k = 0; k < VM_LEN(resnets); k++) {
        if (strlen(resnets[k].name) != len || strncmp(resnets[k].name, name, len)) continue;
        c->image_size = resnets[k].image, c->embed = resnets[k].embed, c->vision.width = resnets[k].width;
        for (int s = 0; s < RESNET_STAGES; s++) c->blocks[s] = resnets[k].blocks[s];
        c->text.width = resnets[k].text_width, c->text.layers = resnets[k].text_layers;
        set_resnet(c);
        return true;
    }
    return false;
}

vm_status clip_config_named(clip_config *c, const char *name, vm_error *e) {
    static const char quick[] = "-quickgelu";
    size_t n = strlen(name), len = n;
    if (n > strlen(quick) && !strcmp(name + n - strlen(quick), quick)) len = n - strlen(quick);
    *c = clip_config_blank();
    if (sized(c, name, len)) {
        c->vocab = 49408, c->context = 77;
        c->text.heads = c->text.width / 64, c->text.mlp = 4 * c->text.width;
        set_rest(c);
        if (len < n) clip_set_activation(c, VM_QUICK_GELU);
        return VM_OK;
    }
    char known[400] = "";
    for (int k = 0; k < VM_LEN(sizes) + VM_LEN(resnets); k++) {
        const char *one = k < VM_LEN(sizes) ? sizes[k].name : resnets[k - VM_LEN(sizes)].name;
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", k ? ", " : "", one);
    }
    return vm_fail(e, VM_EUSAGE, "--arch %s: no file *.json and no known name; known are %s, each also with -quickgelu",
                   name, known);
}

/* --- from shapes -------------------------------------------------------------------------------------------------- */
static const struct {
    const char *patch, *pos, *proj, *layer, *tokens, *text_pos, *text_layer; /* layer: a format of the number */
} names[] = {
    [CLIP_HF] = { "vision_model.embeddings.patch_embedding.weight", "vision_model.embeddings.position_embedding.weight",
                  "visual_projection.weight", "vision_model.encoder.layers.%d.mlp.fc1.weight",
                  "text_model.embeddings.token_embedding.weight", "text_model.embeddings.position_embedding.weight",
                  "text_model.encoder.layers.%d.mlp.fc1.weight" },
    [CLIP_OPEN] = { "visual.conv1.weight", "visual.positional_embedding", "visual.proj",
                    "visual.transformer.resblocks.%d.mlp.c_fc.weight", "token_embedding.weight", "positional_embedding",
                    "transformer.resblocks.%d.mlp.c_fc.weight" },
};

typedef struct {
    const weight_source *s;
    const char *prefix;
    vm_error *e;
} shapes;

/* Open_clip's models with a separate text tower put "text." before its names. */
static const st_tensor *find(const shapes *x, const char *name) {
    char full[400];
    const st_tensor *t = NULL;
    for (int k = 0; k < 2 && !t; k++) {
        snprintf(full, sizeof full, "%s%s%s", x->prefix, k ? "text." : "", name);
        t = weight_find(x->s, full);
    }
    return t;
}

static const st_tensor *need(const shapes *x, const char *name, int nd) {
    static const st_tensor none = { .nd = 4, .shape = { 1, 1, 1, 1 } };
    const st_tensor *t = find(x, name);
    bool good = t && t->nd == nd;
    for (int k = 0; good && k < nd; k++) good = t->shape[k] >= 1 && t->shape[k] <= 1 << 24;
    if (good) return t;
    vm_fail(x->e, VM_EMODEL, "%s: the tensor %s%s %s", x->s->path, x->prefix, name,
            t ? "has not the shape that a CLIP has" : "is missing");
    return &none;
}

static clip_tower tower(const shapes *x, const char *layer, int64_t width) {
    clip_tower t = { .width = width, .heads = width / 64 };
    char name[128];
    const st_tensor *fc;
    while (t.layers < 1000) {
        snprintf(name, sizeof name, layer, (int)t.layers);
        if (!find(x, name)) break;
        t.layers++;
    }
    snprintf(name, sizeof name, layer, 0);
    fc = need(x, name, 2);
    t.mlp = fc->shape[0];
    return t;
}

vm_status clip_find(clip_layout *layout, char prefix[256], const weight_source *s, vm_error *e) {
    const char *found = NULL;
    size_t n = 0;
    bool several = false;
    for (int64_t i = 0; i < s->n; i++) {
        const char *name = s->t[i].name;
        size_t len = strlen(name);
        for (int k = 0; k < VM_LEN(names); k++) {
            size_t end = strlen(names[k].patch);
            if (len < end || strcmp(name + len - end, names[k].patch) || len - end >= 250 ||
                (len > end && name[len - end - 1] != '.'))
                continue;
            bool main = !strncmp(name, "state_dict.", 11), had_main = found && !strncmp(found, "state_dict.", 11);
            if (found && !main && had_main) continue;
            several = found && main == had_main;
            found = name, n = len - end, *layout = (clip_layout)k;
        }
    }
    if (found && !several) return snprintf(prefix, 256, "%.*s", (int)n, found), VM_OK;
    if (found) return vm_fail(e, VM_EMODEL, "%s: holds several CLIP models; keep one", s->path);
    return vm_fail(e, VM_EMODEL, "%s: no CLIP among its %" PRId64 " tensors (looked for visual.conv1.weight and %s)",
                   s->path, s->n, names[CLIP_HF].patch);
}

/* Pictures of a vision transformer: patches, class token, positions of a square grid. */
static void infer_vit(clip_config *c, const shapes *x) {
    const clip_layout layout = c->layout;
    const st_tensor *patch = need(x, names[layout].patch, 4), *pos = need(x, names[layout].pos, 2),
                    *proj = need(x, names[layout].proj, 2);
    c->patch = patch->shape[2];
    c->embed = proj->shape[layout == CLIP_HF ? 0 : 1];
    c->vision = tower(x, names[layout].layer, patch->shape[0]);
    const int64_t odd[] = { 1280, 1408, 1664, 1792 };
    for (int k = 0; k < VM_LEN(odd); k++)
        if (c->vision.width == odd[k]) c->vision.heads = 16;
    int64_t cells = pos->shape[0] - 1, side = 0;
    while ((side + 1) * (side + 1) <= cells) side++;
    c->image_size = side * c->patch;
    if (side < 1 || side * side != cells || patch->shape[3] != c->patch || c->image_size > 1 << 14)
        vm_fail(x->e, VM_EMODEL,
                "%s: %" PRId64 " image positions with patches of %" PRId64 " x %" PRId64
                " are no square picture with a class token",
                x->s->path, pos->shape[0], c->patch, patch->shape[3]);
}

static void infer_resnet(clip_config *c, const shapes *x) {
    char name[64];
    for (int s = 0; s < RESNET_STAGES; s++)
        for (; c->blocks[s] < 1000; c->blocks[s]++) {
            snprintf(name, sizeof name, "visual.layer%d.%d.conv1.weight", s + 1, (int)c->blocks[s]);
            if (!find(x, name)) break;
        }
    for (int s = 0; s < RESNET_STAGES; s++) {
        snprintf(name, sizeof name, "visual.layer%d.0.conv1.weight", s + 1);
        need(x, name, 4);
    }
    const st_tensor *first = need(x, "visual.layer1.0.conv1.weight", 4), *out = need(x, "visual.attnpool.c_proj.weight", 2),
                    *pos = need(x, "visual.attnpool.positional_embedding", 2);
    int64_t cells = pos->shape[0] - 1, side = 0;
    while ((side + 1) * (side + 1) <= cells) side++;
    c->vision.width = first->shape[0], c->embed = out->shape[0], c->image_size = side * RESNET_SHRINK;
    set_resnet(c);
    if (side < 1 || side * side != cells || c->image_size > 1 << 14 || c->vision.width % 2)
        vm_fail(x->e, VM_EMODEL, "%s: %" PRId64 " image positions and a width of %" PRId64 " are no ResNet for square pictures",
                x->s->path, pos->shape[0], c->vision.width);
}

vm_status clip_config_infer(clip_config *c, clip_layout layout, const char *prefix, const weight_source *s,
                            vm_error *e) {
    *c = clip_config_blank();
    c->layout = layout;
    shapes x = { s, prefix, e };
    if (find(&x, "visual.layer1.0.conv1.weight")) infer_resnet(c, &x);
    else infer_vit(c, &x);
    const st_tensor *tokens = need(&x, names[layout].tokens, 2), *text_pos = need(&x, names[layout].text_pos, 2);
    c->vocab = tokens->shape[0], c->context = text_pos->shape[0];
    c->text = tower(&x, names[layout].text_layer, tokens->shape[1]);
    set_rest(c);
    if (e->status) return e->status;
    if ((c->vision.width % 64 && !clip_is_resnet(c)) || c->text.width % 64)
        return vm_fail(
            e, VM_EMODEL,
            "%s: the number of attention heads cannot be seen in weights, and the widths %" PRId64 " and %" PRId64
            " are no multiples of 64; state it with --arch FILE.json (an open_clip or Hugging Face configuration)",
            s->path, c->vision.width, c->text.width);
    return VM_OK;
}
