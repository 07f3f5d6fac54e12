/* clip_train.c - see clip_train.h. Plans are kept per batch shape; gradients and moments belong to the parameters, so all
 * plans share them. */
#include "models/clip_train.h"

#include <math.h>
#include <string.h>

#include "io/file.h"
#include "kernels/plans.h"
#include "models/lora.h"

enum { PLANS = 24 }; /* of up to ten lengths of captions; they share one arena */

/* What a plan computes: features of pictures, of captions, or both; and what from them. */
typedef enum { FORWARD, BACKWARD, WHOLE } tower_pass; /* features; gradients from given ones of features; all with the loss in between */
typedef struct {
    int64_t n_img, n_txt, T; /* 0 rows = without this tower */
    int64_t pass;            /* tower_pass */
} plan_key;

struct clip_trainer {
    towers *m;
    clip_train_config c;
    clip_head *head;
    clip_ranks *ranks;     /* NULL = one process */
    vm_plans plans;
    vm_arena arena;
    optimizer opt;
    vm_real *features[4];  /* of chunked steps: images, captions, their gradients */
    int64_t n_features;
    int32_t *same;         /* rows with equal captions */
    int64_t n_same;
    clip_rows rows;        /* of the step at hand, for the loss within a plan */
    clip_terms terms;
    double most_loss, most_norm; /* of a step that is taken */
};

static vm_status build(void *ctx, vm_graph *g, int place, const void *key, vm_error *e);

vm_status clip_trainer_new(clip_trainer **out, towers *m, const clip_train_config *c, vm_error *e) {
    clip_trainer *t = vm_calloc(1, sizeof *t);
    *out = t;
    if (!t) return vm_nomem(e, sizeof *t, "a trainer");
    t->opt = (optimizer){ .w = m->w, .c = { c->adam, c->clip_norm, c->ema } };
    t->m = m, t->c = *c, t->most_loss = t->most_norm = INFINITY;
    t->plans = (vm_plans){ .be = m->w->be, .dtype = c->dtype, .most = PLANS, .arena = &t->arena, .build = build, .ctx = t };
    if (c->comm && c->comm->size > 1 && clip_ranks_new(&t->ranks, c->comm, m, e)) return e->status;
    return clip_head_new(&t->head, m, &c->loss, c->deterministic, e);
}

void clip_trainer_free(clip_trainer *t) {
    if (!t) return;
    vm_plans_free(&t->plans);
    vm_arena_free(&t->arena);
    optimizer_free(&t->opt);
    clip_head_free(t->head);
    clip_ranks_free(t->ranks);
    for (int k = 0; k < 4; k++) vm_free(t->features[k]);
    vm_free(t->same);
    vm_free(t);
}

void clip_trainer_limit(clip_trainer *t, double loss, double grad_norm) { t->most_loss = loss, t->most_norm = grad_norm; }
clip_head *clip_trainer_head(const clip_trainer *t) { return t->head; }
int64_t clip_trainer_steps(const clip_trainer *t) { return t->opt.updates; }
const char *clip_trainer_way(const clip_trainer *t) { return t->ranks ? clip_ranks_way(t->ranks) : NULL; }
vm_graph *clip_trainer_graph(const clip_trainer *t) { return vm_plans_last(&t->plans); }

size_t clip_trainer_bytes(const clip_trainer *t) {
    return clip_head_bytes(t->head) + t->arena.bytes;
}

/* --- plans ------------------------------------------------------------------------------------------------------------ */
static vm_status loss_of(clip_trainer *t, const vm_real *img, const vm_real *txt, vm_real *d_img, vm_real *d_txt, vm_error *e) {
    int64_t n_img, n_txt;
    if (!t->ranks) return clip_head_run(t->head, &t->rows, img, txt, d_img, d_txt, &t->terms, e);
    if (clip_loss_rows(&t->c.loss, &t->rows, &n_img, &n_txt, e)) return e->status;
    return clip_ranks_run(t->ranks, t->head, &t->rows, n_img, n_txt, img, txt, d_img, d_txt, &t->terms, e);
}

static vm_status loss_between(void *ctx, int n_in, const void *const *in, int n_out, void *const *out, vm_error *e) {
    return loss_of(ctx, in[0], in[1], out[0], out[1], e);
}

static vm_status build(void *ctx, vm_graph *g, int place, const void *key, vm_error *e) {
    clip_trainer *t = ctx;
    const plan_key *k = key;
    const int64_t n[] = { k->n_img, k->n_txt };
    const char *names[] = { "img", "txt" }, *d_names[] = { "d_img", "d_txt" };
    vm_val f[2] = { 0 }, d[2] = { 0 };
    vm_shape shapes[2];
    g->training = true, g->deterministic = t->c.deterministic;
    const towers_stats stats = t->m->stats;
    if (k->pass == FORWARD && stats == TOWERS_TRACKED) t->m->stats = TOWERS_BATCH; /* a chunk counts once, going back */
    if (k->n_img) f[0] = towers_images(g, t->m, k->n_img);
    if (k->n_txt) f[1] = towers_texts(g, t->m, k->n_txt, k->T);
    t->m->stats = stats;
    for (int i = 0; i < 2; i++) {
        shapes[i] = (vm_shape){ VM_F32, 2, { n[i], t->m->embed } };
        if (k->pass == FORWARD && f[i]) vm_output(g, names[i], f[i]);
        if (k->pass == BACKWARD && f[i]) d[i] = vm_input(g, d_names[i], VM_F32, 2, shapes[i].ne);
    }
    if (k->pass == FORWARD || g->err.status) return g->err.status;
    vm_scope(g, "loss");
    if (k->pass == WHOLE && !vm_host(g, "the loss", loss_between, t, 2, f, 2, shapes, d)) return g->err.status;
    int first = f[0] ? 0 : 1, count = f[0] && f[1] ? 2 : 1;
    vm_backward(g, count, f + first, d + first, 0, NULL);
    return VM_OK;
}

static vm_graph *plan_for(clip_trainer *t, plan_key key, vm_error *e) { return vm_plans_get(&t->plans, &key, sizeof key, NULL, e); }

/* --- gradients of a batch --------------------------------------------------------------------------------------------- */
static vm_status failed(const vm_graph *g, vm_error *e) { return *e = g->err, e->status; }

/* Rows at.. of the batch into the inputs of a plan. */
static vm_status set_rows(vm_graph *g, const towers *m, const clip_batch *b, const plan_key *k, int64_t at) {
    const int64_t px = m->image_size * m->image_size * 3;
    if (k->n_img && vm_set(g, "pixels", b->pixels + at * px)) return g->err.status;
    if (k->n_txt && (vm_set(g, "ids", b->ids + at * b->T) || vm_set(g, "at", b->at + at) || vm_set(g, "mask", b->mask + at * b->T)))
        return g->err.status;
    return VM_OK;
}

static vm_status whole(clip_trainer *t, const clip_batch *b, int64_t n_img, int64_t n_txt, vm_error *e) {
    plan_key k = { n_img, n_txt, b->T, WHOLE };
    vm_graph *g = plan_for(t, k, e);
    if (!g) return e->status;
    return set_rows(g, t->m, b, &k, 0) || vm_run(g) ? failed(g, e) : VM_OK;
}

static vm_status feature_memory(clip_trainer *t, int64_t n, vm_error *e) {
    if (n <= t->n_features) return VM_OK;
    t->n_features = 0;
    size_t bytes = (size_t)(n * t->m->embed) * sizeof(vm_real);
    for (int k = 0; k < 4; k++) {
        vm_free(t->features[k]);
        if (!(t->features[k] = vm_alloc(bytes))) return vm_nomem(e, bytes, "features");
    }
    t->n_features = n;
    return VM_OK;
}

static bool has_gradients(const vm_graph *g) { /* none in a frozen tower */
    bool any = false;
    for (int64_t v = 1; v < g->n_v; v++) any |= g->v[v].kind == VM_GRAD;
    return any;
}

/* One tower (0 pictures, 1 captions) over all chunks: features, or gradients of weights. */
static vm_status chunks(clip_trainer *t, const clip_batch *b, int tower, int64_t n, tower_pass what, vm_error *e) {
    const int64_t E = t->m->embed, most = VM_MIN(t->c.chunk, n);
    for (int64_t at = 0; at < n; at += most) {
        int64_t rows = VM_MIN(most, n - at);
        plan_key k = { tower ? 0 : rows, tower ? rows : 0, tower ? b->T : 0, what };
        vm_graph *g = plan_for(t, k, e);
        if (!g) return e->status;
        if (what == BACKWARD && !has_gradients(g)) return VM_OK;
        g->accumulate = at > 0; /* gradients of the chunks add up */
        if (what == BACKWARD && vm_set(g, tower ? "d_txt" : "d_img", t->features[2 + tower] + at * E)) return failed(g, e);
        if (set_rows(g, t->m, b, &k, at) || vm_run(g)) return failed(g, e);
        if (what == FORWARD && vm_get(g, tower ? "txt" : "img", t->features[tower] + at * E)) return failed(g, e);
    }
    return VM_OK;
}

static vm_status chunked(clip_trainer *t, const clip_batch *b, int64_t n_img, int64_t n_txt, vm_error *e) {
    if (feature_memory(t, VM_MAX(n_img, n_txt), e) || chunks(t, b, 0, n_img, FORWARD, e) || chunks(t, b, 1, n_txt, FORWARD, e) ||
        loss_of(t, t->features[0], t->features[1], t->features[2], t->features[3], e))
        return e->status;
    return chunks(t, b, 0, n_img, BACKWARD, e) ? e->status : chunks(t, b, 1, n_txt, BACKWARD, e);
}

/* FNV-1a of a caption without its padding, which differs between ranks. */
static int32_t caption_hash(const clip_batch *b, int64_t row, int32_t pad) {
    const int32_t *ids = b->ids + row * b->T;
    int64_t n = b->T;
    uint32_t h = 2166136261u;
    while (n && ids[n - 1] == pad) n--;
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < 32; k += 8) h = (h ^ ((uint32_t)ids[i] >> k & 255)) * 16777619u;
    return (int32_t)h;
}

/* The first row with the same caption, for each row; with several ranks its hash. */
static vm_status find_same(clip_trainer *t, const clip_batch *b, vm_error *e) {
    int64_t n = b->n_orig + b->n_twins;
    if (n > t->n_same) {
        vm_free(t->same);
        t->n_same = 0;
        if (!(t->same = vm_alloc((size_t)n * sizeof *t->same))) return vm_nomem(e, (size_t)n * 4, "equal captions");
        t->n_same = n;
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t j = 0;
        if (t->ranks) {
            t->same[i] = caption_hash(b, i, t->m->pad);
            continue;
        }
        while (j < i && memcmp(b->ids + j * b->T, b->ids + i * b->T, (size_t)b->T * sizeof *b->ids)) j++;
        t->same[i] = (int32_t)j;
    }
    return VM_OK;
}

vm_status clip_trainer_gradients(clip_trainer *t, const clip_batch *b, clip_terms *out, vm_error *e) {
    int64_t n_img, n_txt;
    if (lora_refresh(t->m->lora, e)) return e->status;
    t->rows = (clip_rows){ b->n_orig, b->n_twins, b->K, b->text_only, b->valid, NULL };
    if (clip_loss_rows(&t->c.loss, &t->rows, &n_img, &n_txt, e) || (t->c.loss.dedup && find_same(t, b, e))) return e->status;
    if (t->c.loss.dedup) t->rows.same = t->same;
    bool pieces = t->c.chunk > 0 && t->c.chunk < VM_MAX(n_img, n_txt);
    if (pieces ? chunked(t, b, n_img, n_txt, e) : whole(t, b, n_img, n_txt, e)) return e->status;
    if (t->ranks && clip_ranks_sum_gradients(t->ranks, e)) return e->status;
    *out = t->terms;
    return VM_OK;
}

vm_status clip_trainer_step(clip_trainer *t, const clip_batch *b, double lr, clip_step *out, vm_error *e) {
    *out = (clip_step){ 0 };
    if (clip_trainer_gradients(t, b, &out->terms, e) || optimizer_norm(&t->opt, &out->grad_norm, e)) return e->status;
    out->scale = exp((double)weight_scalar(t->m->logit_scale));
    out->skipped = !isfinite(out->terms.loss) || !isfinite(out->grad_norm) || out->terms.loss > t->most_loss || out->grad_norm > t->most_norm;
    if (t->ranks && vm_comm_any(t->c.comm, &out->skipped, e)) return e->status;
    if (out->skipped) return VM_OK;
    if (optimizer_update(&t->opt, lr, out->grad_norm, e)) return e->status;
    if (t->c.loss.kind != CLIP_SIGMOID) {
        const vm_real s = weight_scalar(t->m->logit_scale), kept = VM_MIN(VM_MAX(s, 0), (vm_real)t->c.max_logit_scale);
        if (kept != s && vm_param_write(t->m->logit_scale, &kept, e)) return e->status;
    }
    clip_head_commit(t->head);
    return optimizer_average(&t->opt, e);
}

/* --- memory ----------------------------------------------------------------------------------------------------------- */
static size_t plan_bytes(clip_trainer *t, plan_key key, vm_error *e) {
    if (e->status || key.n_img + key.n_txt == 0) return 0;
    return vm_plans_bytes(&t->plans, &key, sizeof key, e);
}

vm_status clip_trainer_memory(clip_trainer *t, const clip_rows *r, clip_memory *out, vm_error *e) {
    const int64_t T = t->m->context, W = t->c.comm ? t->c.comm->size : 1;
    int64_t n_img, n_txt, rows = r->n_orig + r->n_twins;
    clip_rows all = *r; /* of all ranks */
    *out = (clip_memory){ 0 };
    if (clip_loss_rows(&t->c.loss, r, &n_img, &n_txt, e)) return e->status;
    optimizer_bytes own = optimizer_memory(&t->opt);
    out->weights = own.weights, out->gradients = own.gradients, out->moments = own.moments, out->average = own.average;
    if (t->c.chunk > 0 && t->c.chunk < VM_MAX(n_img, n_txt)) {
        int64_t i = VM_MIN(t->c.chunk, n_img), x = VM_MIN(t->c.chunk, n_txt);
        for (int p = FORWARD; p <= BACKWARD; p++) {
            out->activations = VM_MAX(out->activations, plan_bytes(t, (plan_key){ i, 0, 0, p }, e));
            out->activations = VM_MAX(out->activations, plan_bytes(t, (plan_key){ 0, x, T, p }, e));
        }
        out->features = 4 * (size_t)(VM_MAX(n_img, n_txt) * t->m->embed) * sizeof(vm_real);
    } else {
        out->activations = plan_bytes(t, (plan_key){ n_img, n_txt, T, WHOLE }, e);
    }
    all.n_orig *= W, all.n_twins *= W, all.valid = NULL;
    if (e->status || clip_head_plan(t->head, &all, e)) return e->status;
    out->loss = clip_head_bytes(t->head);
    out->batch = (size_t)(rows * t->m->image_size * t->m->image_size * 3) * sizeof(float) + (size_t)(rows * (2 * T + 1)) * sizeof(int32_t);
    return VM_OK;
}

/* --- state on disk -------------------------------------------------------------------------------------------------- */
vm_status clip_trainer_save(const clip_trainer *t, const char *dir, vm_error *e) {
    vm_status st = t->m->lora ? lora_save(t->m->lora, dir, NULL, e) : t->m->family->save(t->m, dir, ST_F32, false, e);
    return st ? st : optimizer_save(&t->opt, dir, e);
}

vm_status clip_trainer_load(clip_trainer *t, const char *dir, int64_t steps, vm_error *e) {
    vm_status st = t->m->lora ? lora_load(t->m->lora, dir, e) : t->m->family->load(t->m, dir, e);
    return st ? st : optimizer_load(&t->opt, dir, steps, e);
}
