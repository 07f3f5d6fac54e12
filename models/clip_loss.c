/* clip_loss.c - see clip_loss.h. */
#include "models/clip_loss.h"

#include <math.h>
#include <string.h>

struct clip_head {
    clip_loss_config c;
    const towers *m;
    bool deterministic;
    vm_graph *g;           /* of the shapes below */
    int64_t n_img, n_txt, n_orig, n_twins, K;
    bool hides, valid;
    int32_t *hide;         /* (n_orig + n_twins) */
    float *cell;           /* (n_twins): valid */
    vm_real *theta_cells;  /* (K,n') for the graph */
    vm_real *seen_g, *seen_d; /* of the last run */
    double theta[CLIP_THETA_MAX];
    int n_theta;
};

static bool wants_img(const clip_loss_config *c) { return c->kind != CLIP_ITC_HN || c->neg_img || c->twin_weight > 0; }
static bool wants_txt(const clip_loss_config *c) {
    return c->kind != CLIP_ITC_HN || c->neg_txt || c->twin_weight > 0 || c->imc_weight > 0 || c->cmr_weight > 0;
}

vm_status clip_loss_rows(const clip_loss_config *c, const clip_rows *r, int64_t *n_img, int64_t *n_txt, vm_error *e) {
    int64_t K = VM_MAX(r->K, (int64_t)1);
    if (r->n_twins % K || r->n_twins / K > r->n_orig)
        return vm_fail(e, VM_EUSAGE, "%lld changes do not make %lld columns of at most %lld originals", (long long)r->n_twins, (long long)K,
                       (long long)r->n_orig);
    if (r->n_twins && r->text_only && wants_img(c))
        return vm_fail(e, VM_EUSAGE, "the changes of this data have captions only; use itc-hn with hard negatives from text, and no twin term");
    if ((c->imc_weight > 0 || c->cmr_weight > 0) && !r->n_twins)
        return vm_fail(e, VM_EUSAGE, "the IMC and CMR terms need changed captions, and this data has none");
    if (c->cmr_weight > 0 && K > CLIP_THETA_MAX) return vm_fail(e, VM_EUSAGE, "CMR has at most %d columns of changes", CLIP_THETA_MAX);
    *n_img = r->n_orig + (wants_img(c) ? r->n_twins : 0);
    *n_txt = r->n_orig + (wants_txt(c) ? r->n_twins : 0);
    return VM_OK;
}

vm_status clip_head_new(clip_head **out, const towers *m, const clip_loss_config *c, bool deterministic, vm_error *e) {
    clip_head *h = vm_calloc(1, sizeof *h);
    *out = h;
    if (!h) return vm_nomem(e, sizeof *h, "the loss");
    if (c->kind == CLIP_SIGMOID && !m->logit_bias)
        return vm_fail(e, VM_EUSAGE, "the sigmoid loss is for models with a bias of logits, such as SigLIP; this one has none");
    h->c = *c, h->m = m, h->deterministic = deterministic;
    return VM_OK;
}

static void drop(clip_head *h) {
    vm_graph_free(h->g);
    vm_free(h->hide), vm_free(h->cell), vm_free(h->theta_cells), vm_free(h->seen_g), vm_free(h->seen_d);
    h->g = NULL, h->hide = NULL, h->cell = NULL, h->theta_cells = h->seen_g = h->seen_d = NULL;
}

void clip_head_free(clip_head *h) {
    if (!h) return;
    drop(h);
    vm_free(h);
}

/* --- the graph ------------------------------------------------------------------------------------------------------- */
static vm_val weighted(vm_graph *g, vm_val sum, const char *name, vm_val term, float weight) {
    if (term) vm_output(g, name, term);
    return vm_binary(g, sum, vm_scale(g, term, weight, 0), VM_ADD);
}

static void build(clip_head *h, vm_graph *g) {
    const clip_loss_config *c = &h->c;
    const int64_t n = h->n_orig, B = c->kind != CLIP_ITC_HN ? n + h->n_twins : n, with = h->n_twins / h->K;
    const int64_t n_neg_txt = c->kind != CLIP_ITC_HN || c->neg_txt ? h->n_txt : n, n_neg_img = c->kind != CLIP_ITC_HN || c->neg_img ? h->n_img : n;
    g->training = true, g->deterministic = h->deterministic;
    vm_scope(g, "loss");
    vm_val img = vm_input(g, "img", VM_F32, 2, (int64_t[]){ h->n_img, h->m->embed }), txt = vm_input(g, "txt", VM_F32, 2, (int64_t[]){ h->n_txt, h->m->embed });
    vm_val t = vm_weight(g, h->m->logit_scale), scale = vm_unary(g, t, VM_EXP, VM_F32);
    vm_val hide = h->hides ? vm_input(g, "hide", VM_I32, 1, (int64_t[]){ n + h->n_twins }) : 0;
    vm_val valid = h->valid ? vm_input(g, "valid", VM_F32, 2, (int64_t[]){ h->K, with }) : 0;
    vm_val i = n_neg_img == h->n_img ? img : vm_slice(g, img, 0, 0, n_neg_img), x = n_neg_txt == h->n_txt ? txt : vm_slice(g, txt, 0, 0, n_neg_txt);
    vm_val hide_t = hide && n_neg_txt < n + h->n_twins ? vm_slice(g, hide, 0, 0, n_neg_txt) : hide;
    vm_val hide_i = hide && n_neg_img < n + h->n_twins ? vm_slice(g, hide, 0, 0, n_neg_img) : hide;
    vm_val bias = c->kind == CLIP_SIGMOID ? vm_weight(g, h->m->logit_bias) : 0, loss;
    if (bias) loss = loss_sigmoid(g, img, txt, scale, bias, hide, c->sigmoid_mean);
    else loss = loss_info_nce(g, i, x, scale, B, hide_t, hide_i);
    vm_output(g, "itc", loss);
    if (h->n_twins && c->twin_weight > 0)
        loss = weighted(g, loss, "twin", loss_twins(g, img, txt, scale, with, n, h->K, valid), c->twin_weight);
    if (c->imc_weight > 0 || c->cmr_weight > 0) {
        vm_val neg = vm_slice(g, txt, 0, n, h->n_twins), io = vm_slice(g, img, 0, 0, n), to = vm_slice(g, txt, 0, 0, n);
        vm_val hide_n = hide && c->imc == LOSS_IMC_POSITIVE ? vm_slice(g, hide, 0, n, h->n_twins) : 0; /* the old readings need column 0 */
        if (c->imc_weight > 0) loss = weighted(g, loss, "imc", loss_imc(g, io, to, neg, scale, hide_n, c->imc), c->imc_weight);
        if (c->cmr_weight > 0) {
            vm_val theta = vm_input(g, "theta", VM_F32, 2, (int64_t[]){ h->K, with });
            rank_loss r = loss_rank(g, io, to, neg, scale, theta, valid, with, h->K);
            vm_output(g, "g", r.g), vm_output(g, "d", r.d);
            loss = weighted(g, loss, "cmr", r.loss, c->cmr_weight);
        }
    }
    vm_output(g, "loss", loss);
    vm_val wrt[] = { img, txt, h->m->logit_scale->trainable ? t : 0, bias && h->m->logit_bias->trainable ? bias : 0 };
    vm_backward(g, 1, &loss, NULL, 4, wrt);
    const char *names[] = { "d_img", "d_txt" };
    for (int k = 0; k < 2; k++) {
        vm_val d = vm_grad(g, wrt[k]);
        if (d && c->feature_grad != 0 && c->feature_grad != 1) d = vm_scale(g, d, c->feature_grad, 0);
        if (d) vm_output(g, names[k], d);
    }
}

static vm_status rebuild(clip_head *h, const clip_rows *r, int64_t n_img, int64_t n_txt, bool hides, vm_error *e) {
    int64_t K = VM_MAX(r->K, (int64_t)1);
    bool valid = r->n_twins && r->valid;
    if (h->g && h->n_img == n_img && h->n_txt == n_txt && h->n_orig == r->n_orig && h->n_twins == r->n_twins && h->K == K && h->hides == hides &&
        h->valid == valid)
        return VM_OK;
    drop(h);
    h->n_img = n_img, h->n_txt = n_txt, h->n_orig = r->n_orig, h->n_twins = r->n_twins, h->K = K, h->hides = hides, h->valid = valid;
    size_t n = (size_t)(r->n_orig + r->n_twins) + 1;
    h->hide = vm_calloc(n, sizeof *h->hide), h->cell = vm_calloc(n, sizeof *h->cell), h->theta_cells = vm_calloc(n, sizeof *h->theta_cells);
    h->seen_g = vm_calloc(n, sizeof *h->seen_g), h->seen_d = vm_calloc(n, sizeof *h->seen_d);
    h->g = vm_graph_new(h->m->w->be, VM_F32);
    if (!h->hide || !h->cell || !h->theta_cells || !h->seen_g || !h->seen_d || !h->g) {
        drop(h);
        return vm_nomem(e, n * sizeof *h->cell, "the loss");
    }
    build(h, h->g);
    if (!vm_plan(h->g)) return VM_OK;
    *e = h->g->err;
    drop(h);
    return e->status;
}

/* --- a run ------------------------------------------------------------------------------------------------------------ */
static double term(clip_head *h, const char *name) {
    vm_real x = 0;
    return vm_find(h->g, name) && !vm_get(h->g, name, &x) ? (double)x : 0;
}

/* Row numbers to leave out of softmaxes: of fillers -1, of equal captions one number, of all others numbers of their own. */
static void fill_hide(clip_head *h, const clip_rows *r) {
    for (int64_t k = 0; k < r->n_orig + r->n_twins; k++) {
        bool filler = !h->c.ref_invalid && k >= r->n_orig && r->valid && r->valid[k - r->n_orig] == 0;
        h->hide[k] = filler ? -1 : h->c.dedup && r->same ? r->same[k] : (int32_t)k;
    }
}

static vm_status set_inputs(clip_head *h, const clip_rows *r, const vm_real *img, const vm_real *txt, vm_error *e) {
    vm_graph *g = h->g;
    if (vm_set(g, "img", img) || vm_set(g, "txt", txt)) return *e = g->err, e->status;
    if (h->hides) {
        fill_hide(h, r);
        if (vm_set(g, "hide", h->hide)) return *e = g->err, e->status;
    }
    if (vm_find(g, "valid") && h->valid) {
        vm_real *cells = h->theta_cells; /* as vm_real */
        for (int64_t k = 0; k < r->n_twins; k++) cells[k] = (vm_real)(h->cell[k] = r->valid[k]);
        if (vm_set(g, "valid", cells)) return *e = g->err, e->status;
    }
    if (h->c.cmr_weight <= 0) return VM_OK;
    for (; h->n_theta < (int)h->K; h->n_theta++) h->theta[h->n_theta] = h->c.theta == LOSS_THETA_FIXED ? h->c.theta_fixed : 0;
    for (int64_t k = 0; k < r->n_twins; k++) h->theta_cells[k] = (vm_real)h->theta[k / (r->n_twins / h->K)];
    if (vm_set(g, "theta", h->theta_cells)) return *e = g->err, e->status;
    return VM_OK;
}

vm_status clip_head_plan(clip_head *h, const clip_rows *r, vm_error *e) {
    int64_t n_img, n_txt;
    bool fillers = r->valid && !h->c.ref_invalid && r->n_twins;
    return clip_loss_rows(&h->c, r, &n_img, &n_txt, e) ? e->status : rebuild(h, r, n_img, n_txt, fillers || (h->c.dedup && r->same), e);
}

vm_status clip_head_run(clip_head *h, const clip_rows *r, const vm_real *img, const vm_real *txt, vm_real *d_img, vm_real *d_txt,
                        clip_terms *out, vm_error *e) {
    if (clip_head_plan(h, r, e) || set_inputs(h, r, img, txt, e)) return e->status;
    vm_graph *g = h->g;
    if (vm_run(g) || vm_get(g, "d_img", d_img) || vm_get(g, "d_txt", d_txt)) return *e = g->err, e->status;
    if (h->c.cmr_weight > 0 && (vm_get(g, "g", h->seen_g) || vm_get(g, "d", h->seen_d))) return *e = g->err, e->status;
    *out = (clip_terms){ term(h, "loss"), term(h, "itc"), term(h, "twin"), term(h, "imc"), term(h, "cmr") };
    return VM_OK;
}

void clip_head_commit(clip_head *h) {
    if (!h->g || h->c.cmr_weight <= 0) return;
    for (int64_t k = 0; h->valid && k < h->n_twins; k++) h->theta_cells[k] = (vm_real)h->cell[k];
    loss_theta(h->theta, h->c.theta, h->c.theta_upper, h->n_twins / h->K, h->K, h->seen_g, h->seen_d, h->valid ? h->theta_cells : NULL);
}

int clip_head_theta(const clip_head *h, double theta[CLIP_THETA_MAX]) {
    memcpy(theta, h->theta, sizeof h->theta);
    return h->n_theta;
}
void clip_head_set_theta(clip_head *h, int n, const double *theta) {
    h->n_theta = VM_MIN(n, CLIP_THETA_MAX);
    if (n) memcpy(h->theta, theta, (size_t)h->n_theta * sizeof *theta);
}
size_t clip_head_bytes(const clip_head *h) { return h->g ? h->g->arena_bytes : 0; }
