/* convert_ldm.c - a single-file checkpoint of Stable Diffusion as a folder of diffusers' (convert_ldm.h). */
#include "pipeline/convert_ldm.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/log.h"

/* A tensor of a component: where it comes from. */
typedef struct {
    ldm_target to;
    const st_tensor *t;
    int nd;
    int64_t ne[ST_MAX_DIMS];
} part;
typedef struct {
    const weight_source *s;
    const ldm_shapes *c;
    st_dtype type; /* ST_UNKNOWN: as stored */
    part *p;
    int64_t n, cap, unused;
} job;

static vm_status add(job *j, const st_tensor *t, const ldm_target *to, vm_error *e) {
    if (!vm_grow(&j->p, &j->cap, j->n + 1, sizeof *j->p)) return vm_nomem(e, sizeof *j->p, "a list of tensors");
    part *p = &j->p[j->n++];
    *p = (part){ .to = *to, .t = t, .nd = to->flat ? 2 : t->nd };
    for (int k = 0; k < p->nd; k++) p->ne[k] = t->shape[k];
    if (to->rows) p->ne[0] = to->rows;
    if (to->transposed) p->ne[0] = t->shape[1], p->ne[1] = t->shape[0];
    if (to->flat && (t->shape[2] != 1 || t->shape[3] != 1)) return vm_fail(e, VM_EMODEL, "%s: %s is no convolution of 1 x 1", j->s->path, t->name);
    if (to->rows && t->shape[0] != 3 * to->rows) return vm_fail(e, VM_EMODEL, "%s: %s has %lld rows, %lld are needed", j->s->path, t->name, (long long)t->shape[0], (long long)(3 * to->rows));
    return VM_OK;
}

static vm_status plan(job *j, vm_error *e) {
    static const char *const ours[] = { "model.diffusion_model.", "first_stage_model." };
    for (int64_t i = 0; i < j->s->n && !e->status; i++) {
        const st_tensor *t = &j->s->t[i];
        ldm_target to[3];
        int n = ldm_targets(j->c, t, to);
        for (int k = 0; k < n && !e->status; k++) add(j, t, &to[k], e);
        for (int k = 0; k < VM_LEN(ours) && !n && !e->status; k++)
            if (!strncmp(t->name, ours[k], strlen(ours[k]))) vm_fail(e, VM_EMODEL, "%s: %s is no part of a UNet or autoencoder that is known", j->s->path, t->name);
        j->unused += !n;
    }
    return e->status;
}

static st_dtype type_of(const job *j, const part *p) {
    if (j->type != ST_UNKNOWN) return j->type;
    return p->t->dtype == ST_F16 || p->t->dtype == ST_BF16 ? p->t->dtype : ST_F32;
}

static vm_status copy(const job *j, const part *p, st_writer *w, vm_error *e) {
    int64_t len = 1, from = p->to.rows ? p->to.row * (p->t->len / p->t->shape[0]) : 0;
    for (int k = 0; k < p->nd; k++) len *= p->ne[k];
    float *x = vm_alloc((size_t)len * sizeof *x + 1), *y = p->to.transposed ? vm_alloc((size_t)len * sizeof *y + 1) : x;
    if (!x || !y) vm_nomem(e, (size_t)len * sizeof *x, p->t->name);
    else if (!j->s->read_f32(j->s->file, p->t, from, len, x, e)) {
        for (int64_t i = 0; i < len && p->to.transposed; i++) y[i] = x[i % p->ne[1] * p->ne[0] + i / p->ne[1]];
        st_writer_put_f32(w, p->to.name, y, e);
    }
    if (p->to.transposed) vm_free(y);
    vm_free(x);
    j->s->release(j->s->file, p->t);
    return e->status;
}

static vm_status write_weights(const job *j, ldm_component k, const char *dir, vm_error *e) {
    char *path = path_join(dir, ldm_file[k]);
    st_writer *w = NULL;
    if (!path) return vm_nomem(e, 256, "a path");
    if (!st_writer_open(&w, path, 0, e)) st_writer_meta(w, "format", "pt", e);
    for (int64_t i = 0; i < j->n && !e->status; i++)
        if (j->p[i].to.to == k) st_writer_add(w, j->p[i].to.name, type_of(j, &j->p[i]), j->p[i].nd, j->p[i].ne, e);
    for (int64_t i = 0; i < j->n && !e->status; i++)
        if (j->p[i].to.to == k) copy(j, &j->p[i], w, e);
    if (w && !e->status) st_writer_commit(w, e);
    else st_writer_abort(w);
    vm_free(path);
    return e->status;
}

static vm_status write_component(const job *j, ldm_component k, const char *out, int64_t size, vm_error *e) {
    char *dir = path_join(out, ldm_folder[k]);
    json_writer w = json_to_memory(JSON_PRETTY);
    ldm_put_config(&w, j->c, k, size);
    if (!dir) vm_nomem(e, 256, "a path");
    if (!e->status && !dir_make(dir, e) && !json_save(&w, dir, "config.json", e)) write_weights(j, k, dir, e);
    else vm_free(json_take(&w, NULL, &(vm_error){ 0 }));
    vm_free(dir);
    return e->status;
}

/* CLIP's words of another folder; what pads is another token in open_clip's models. */
static vm_status write_tokenizer(const ldm_text *x, const char *from, const char *out, const char *name, vm_error *e) {
    static const char *const files[] = { "vocab.json", "merges.txt" };
    char *dir = path_join(out, name);
    json_writer w = json_to_memory(JSON_PRETTY);
    json_begin_object(&w, NULL);
    json_put_str(&w, "tokenizer_class", "CLIPTokenizer"), json_put_int(&w, "model_max_length", x->context);
    json_put_str(&w, "bos_token", "<|startoftext|>"), json_put_str(&w, "eos_token", "<|endoftext|>"), json_put_str(&w, "unk_token", "<|endoftext|>");
    json_put_str(&w, "pad_token", x->open_clip ? "!" : "<|endoftext|>");
    json_close_object(&w);
    if (!dir) vm_nomem(e, 256, "a path");
    for (int k = 0; k < 2 && !e->status; k++) {
        char *there = path_join(from, files[k]);
        if (!there) vm_nomem(e, 256, "a path");
        else if (!file_exists(there)) vm_fail(e, VM_EINPUT, "--tokenizer %s: no %s in it; take the tokenizer folder of a CLIP model", from, files[k]);
        else if (!dir_make(dir, e)) file_copy_named(from, dir, files[k], e);
        vm_free(there);
    }
    if (!e->status) json_save(&w, dir, "tokenizer_config.json", e);
    else vm_free(json_take(&w, NULL, &(vm_error){ 0 }));
    vm_free(dir);
    return e->status;
}

static vm_status write_rest(const job *j, const char *out, const char *prediction, vm_error *e) {
    char *dir = path_join(out, "scheduler");
    json_writer s = json_to_memory(JSON_PRETTY), w = json_to_memory(JSON_PRETTY);
    ldm_put_scheduler(&s, j->c, prediction), ldm_put_index(&w, j->c);
    if (!dir) vm_nomem(e, 256, "a path");
    else if (!dir_make(dir, e)) json_save(&s, dir, "scheduler_config.json", e);
    json_save(&w, out, "model_index.json", e);
    vm_free(dir);
    return e->status;
}

static vm_status write_all(const job *j, const char *out, const char *words, const char *prediction, vm_error *e) {
    const ldm_shapes *c = j->c;
    int64_t size = c->xl ? 128 : !strcmp(prediction, "v_prediction") ? 96 : 64;
    for (int k = LDM_UNET; k < LDM_COMPONENTS && !e->status; k++)
        if (k < LDM_TEXT || c->text[k - LDM_TEXT].prefix) write_component(j, (ldm_component)k, out, size, e);
    for (int k = 0; k < 2 && !e->status; k++)
        if (c->text[k].prefix) write_tokenizer(&c->text[k], words, out, k ? "tokenizer_2" : "tokenizer", e);
    return e->status ? e->status : write_rest(j, out, prediction, e);
}

/* The tensors behind the prefix of a training checkpoint, under their own names; vm_free. They stay sorted. */
static st_tensor *without_prefix(const weight_source *s, size_t n, int64_t *kept, vm_error *e) {
    st_tensor *t = vm_alloc((size_t)s->n * sizeof *t + 1);
    const char *prefix = NULL;
    if (!t) return vm_nomem(e, (size_t)s->n * sizeof *t, "a list of tensors"), NULL;
    for (int64_t i = *kept = 0; i < s->n; i++)
        if (strlen(s->t[i].name) > n && !strncmp(s->t[i].name + n, "model.diffusion_model.", 22)) prefix = s->t[i].name;
    for (int64_t i = 0; i < s->n; i++) {
        if (strncmp(s->t[i].name, prefix, n)) continue;
        t[*kept] = s->t[i];
        t[(*kept)++].name += n;
    }
    return t;
}

vm_status convert_ldm(const vm_args *a, const weight_source *given, size_t prefix, const char *out, st_dtype type, vm_error *e) {
    const char *words = arg_str(a, "tokenizer"), *prediction = arg_str(a, "prediction");
    ldm_shapes c;
    char *tmp = NULL;
    weight_source own = *given, *s = &own;
    if (strcmp(prediction, "epsilon") && strcmp(prediction, "v_prediction")) return vm_fail(e, VM_EUSAGE, "--prediction %s: epsilon or v_prediction", prediction);
    if (!words) return vm_fail(e, VM_EUSAGE, "a checkpoint of Stable Diffusion has no words: --tokenizer DIR, the tokenizer folder of a CLIP model, is needed");
    st_tensor *t = without_prefix(given, prefix, &own.n, e);
    own.t = t;
    job j = { .s = s, .c = &c, .type = type };
    if (t && !ldm_shapes_read(&c, s, e) && !plan(&j, e) && !dir_begin(&tmp, out, e)) {
        if (!write_all(&j, tmp, words, prediction, e)) dir_commit(tmp, out, e);
        if (e->status) dir_abort(tmp);
        else
            vm_info("%s: Stable Diffusion %s%s, %" PRId64 " channels, %s; %" PRId64 " tensors of the checkpoint are no part of it", out, c.xl ? "XL" : c.linear ? "2" : "1",
                    c.refiner ? " refiner" : "", c.in, prediction, j.unused);
        if (!e->status && c.linear && !c.xl && c.in == c.latent && !arg_given(a, "prediction"))
            vm_info("models of Stable Diffusion 2 for 768 x 768 need --prediction v_prediction, which weights do not show");
    }
    vm_free(tmp), vm_free(j.p), vm_free(t);
    return e->status;
}
