/* eval_model.c - see eval_model.h. */
#include "pipeline/eval_model.h"

#include <ctype.h>
#include <string.h>

#include "io/file.h"
#include "io/hash.h"
#include "kernels/philox.h"
#include "pipeline/run.h"

static const char *const built_in[] = {
    [EVAL_TOWERS] = "", [EVAL_RANDOM] = "random", [EVAL_ORACLE] = "oracle", [EVAL_CONSTANT] = "constant"
};

static const char scores_prefix[] = "scores:";

static eval_model_kind kind_of(const char *model) {
    if (!strncmp(model, scores_prefix, strlen(scores_prefix))) return EVAL_GIVEN;
    for (int k = 1; k < VM_LEN(built_in); k++)
        if (!strcmp(model, built_in[k])) return (eval_model_kind)k;
    return EVAL_TOWERS;
}

bool eval_model_is_built_in(const char *model) { return kind_of(model) != EVAL_TOWERS; }

static void set_name(eval_model *m, const char *name, size_t len) {
    size_t n = 0;
    snprintf(m->name, sizeof m->name, "%.*s", (int)len, name);
    for (; m->name[n] && n + 1 < sizeof m->slug; n++)
        m->slug[n] = isalnum((unsigned char)m->name[n]) || (n && strchr("-_.", m->name[n])) ? m->name[n] : '-';
}

/* The last part of a path that may end in slashes. */
static const char *folder_name(const char *dir, size_t *len) {
    const char *end = dir + strlen(dir), *from;
    while (end > dir + 1 && end[-1] == '/') end--;
    for (from = end; from > dir && from[-1] != '/';) from--;
    *len = (size_t)(end - from);
    return from;
}

static bool ends(const char *name, const char *with) {
    size_t n = strlen(name), w = strlen(with);
    return n > w && !strcmp(name + n - w, with);
}

static void take_digest(sha256 *s, char hex[65]) {
    uint8_t digest[32];
    sha256_end(s, digest);
    hex_text(hex, digest, sizeof digest);
}

/* Sums of the weights, and of all files that tokenizer, image processor and model are read from. */
vm_status eval_model_hash(eval_model *m, const char *dir, vm_error *e) {
    static const char *const kinds[] = { ".safetensors", ".json", ".txt", ".model" };
    char **names = NULL, sum[65], only[65] = "";
    int64_t n = 0, files = 0;
    sha256 weights, all;
    sha256_start(&weights), sha256_start(&all);
    if (dir_list(&names, &n, dir, e)) return e->status;
    for (int64_t i = 0; i < n && !e->status; i++) {
        int kind = 0;
        while (kind < VM_LEN(kinds) && !ends(names[i], kinds[kind])) kind++;
        if (kind == VM_LEN(kinds)) continue;
        char *path = path_join(dir, names[i]);
        if (!path) vm_nomem(e, 256, "a path");
        else if (!sha256_file(sum, path, e)) {
            sha256_add(&all, names[i], strlen(names[i]) + 1), sha256_add(&all, sum, 64);
            if (kind == 0) sha256_add(&weights, sum, 64), files++, memcpy(only, sum, sizeof only);
        }
        vm_free(path);
    }
    vm_free(names);
    take_digest(&all, m->files_sha256);
    if (files == 1) memcpy(m->weights_sha256, only, sizeof only);
    else if (files) take_digest(&weights, m->weights_sha256);
    return e->status;
}

vm_status eval_model_describe(eval_model *m, const char *name, const char *dir, const char *precision, vm_error *e) {
    size_t len = name ? strlen(name) : 0;
    *m = (eval_model){ .precision = precision };
    if (!name) name = folder_name(dir, &len);
    set_name(m, name, len);
    return dir ? eval_model_hash(m, dir, e) : VM_OK;
}

static void describe(eval_model *m, const char *precision) {
    static const char *const act[] = {
        [VM_GELU] = "gelu", [VM_GELU_TANH] = "gelu_tanh", [VM_QUICK_GELU] = "quick_gelu"
    };
    const towers *c = embedder_towers(m->x);
    m->precision = precision;
    if ((size_t)c->text_act < VM_LEN(act)) m->activation = act[c->text_act]; /* a ResNet's is no question */
    m->image_size = c->image_size, m->logit_scale = c->logit_scale ? towers_scale(c) : 0;
    m->head = c->family->match ? "itc" : NULL;
    /* who has learnt a bias has learnt a sigmoid */
    m->logit_bias = towers_bias(c), m->calibrated = c->logit_bias != NULL;
}

vm_status eval_model_wrap(eval_model **out, embedder *x, const char *name, const char *precision, vm_error *e) {
    eval_model *m = vm_calloc(1, sizeof *m);
    *out = m;
    if (!m) return vm_nomem(e, sizeof *m, "a model");
    set_name(m, name, strlen(name));
    m->x = x;
    describe(m, precision);
    return VM_OK;
}

vm_status eval_model_open(eval_model **out, const char *model, const char *name, vm_backend *be, const towers_options *o,
                          vm_type dtype, bool deterministic, uint64_t seed, vm_error *e) {
    eval_model *m = vm_calloc(1, sizeof *m);
    *out = NULL;
    if (!m) return vm_nomem(e, sizeof *m, "a model");
    m->kind = kind_of(model), m->seed = seed;
    size_t len = name ? strlen(name) : 0;
    if (m->kind == EVAL_GIVEN) m->scores = model + strlen(scores_prefix);
    if (!name) name = folder_name(m->scores ? m->scores : model, &len);
    set_name(m, name, len);
    if (m->scores && sha256_file(m->weights_sha256, m->scores, e)) {
        eval_model_free(m);
        return e->status;
    }
    if (m->kind == EVAL_TOWERS) {
        if (embedder_open(&m->x, be, model, o, dtype, deterministic, e) || eval_model_hash(m, model, e)) {
            eval_model_free(m);
            return e->status;
        }
        m->owns_x = true, m->deterministic = deterministic;
        describe(m, dtype == VM_BF16 ? "bf16" : "f32");
    }
    *out = m;
    return VM_OK;
}

void eval_model_free(eval_model *m) {
    if (m && m->owns_x) embedder_free(m->x);
    vm_free(m);
}

vm_status eval_model_choose(eval_model *m, const char *head, bool named, vm_error *e) {
    bool itm = !strcmp(head, "itm");
    if (!itm && strcmp(head, "itc")) return vm_fail(e, VM_EUSAGE, "--head %s: expected itc or itm", head);
    if (!m->x) return vm_fail(e, VM_EUSAGE, "--head %s: %s is no model with heads", head, m->name);
    if (itm && !embedder_row_floats(m->x))
        return vm_fail(e, VM_EUSAGE, "--head itm: %s has no head that reads a text and a picture together", m->name);
    if (!m->head) return VM_OK; /* itc is all it has */
    m->head = itm ? "itm" : "itc";
    if (!itm) return VM_OK;
    m->logit_scale = 1, m->logit_bias = 0, m->calibrated = true;
    if (named) return VM_OK;
    char name[sizeof m->name + 4];
    set_name(m, name, (size_t)snprintf(name, sizeof name, "%s-itm", m->name));
    return VM_OK;
}

static bool reads_pairs(const eval_model *m) { return m->head && !strcmp(m->head, "itm"); }
int64_t eval_model_dim(const eval_model *m) { return m->x && !reads_pairs(m) ? embedder_dim(m->x) : 0; }
int64_t eval_model_row_floats(const eval_model *m) { return reads_pairs(m) ? embedder_row_floats(m->x) : 0; }

vm_status eval_model_embed_rows(const eval_model *m, int64_t n, const vm_image *const *images, float *out, vm_error *e) {
    return embedder_rows(m->x, n, images, out, e);
}

vm_status eval_model_match(const eval_model *m, const float *rows, int64_t n, const char *const *texts, float *out, bool *cut,
                           vm_error *e) {
    for (int64_t i = 0; i < n; i++)
        if (embedder_cuts(m->x, texts[i], &cut[i], e)) return e->status;
    return embedder_match(m->x, rows, n, texts, out, e);
}

vm_status eval_model_embed_images(const eval_model *m, int64_t n, const vm_image *const *images, float *out,
                                  vm_error *e) {
    return embedder_images(m->x, n, images, out, e);
}

vm_status eval_model_embed_texts(const eval_model *m, int64_t n, const char *const *texts, float *out, bool *cut,
                                 vm_error *e) {
    for (int64_t i = 0; i < n; i++)
        if (eval_model_cuts(m, texts[i], &cut[i], e)) return e->status;
    return embedder_texts(m->x, n, texts, out, e);
}

vm_status eval_model_cuts(const eval_model *m, const char *text, bool *cut, vm_error *e) {
    return embedder_cuts(m->x, text, cut, e);
}

vm_status eval_model_cache(const eval_model *m, const char *dir, embed_cache **out, vm_error *e) {
    *out = NULL;
    if (!dir || !m->x || !m->files_sha256[0]) return VM_OK;
    char *identity = vm_asprintf("vismin %s files %s %s %s%s", VM_VERSION, m->files_sha256, m->activation ? m->activation : "", m->precision,
                                 m->deterministic ? " deterministic" : "");
    if (!identity) return vm_nomem(e, 256, "a name");
    embed_cache_open(out, dir, identity, embedder_dim(m->x), e);
    vm_free(identity);
    return e->status;
}

float eval_model_score(const eval_model *m, const char *split, const char *id, int k, bool right) {
    uint32_t place = crc32c(crc32c(0, split, strlen(split) + 1), id, strlen(id)), word[4];
    if (m->kind == EVAL_ORACLE) return right;
    if (m->kind == EVAL_CONSTANT) return 0.5f;
    vm_philox(m->seed, place, (uint64_t)k, word);
    return vm_unit_f32(word[0]);
}
