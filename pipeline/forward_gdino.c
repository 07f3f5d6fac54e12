/* forward_gdino.c - cases of `vismin forward` for Grounding DINO: logits and boxes, with a threshold what is detected, and the loss of
 * boxes with labels. */
#include <math.h>
#include <string.h>

#include "io/json.h"
#include "io/tokenizer.h"
#include "models/grounding_dino.h"
#include "pipeline/forward.h"

/* The inputs of a case, whose memory is freed at its end. */
typedef struct {
    gdino_batch b;
    float *pixels;
    int32_t *real, *ids, *types, *mask;
    gdino_target *target;    /* of loss cases, B */
    int64_t most;            /* targets of a picture */
} inputs;

static void inputs_free(inputs *x) {
    for (int64_t k = 0; k < x->b.B && x->target; k++)
        vm_free((void *)(uintptr_t)x->target[k].label), vm_free((void *)(uintptr_t)x->target[k].box);
    vm_free(x->pixels), vm_free(x->real), vm_free(x->ids), vm_free(x->types), vm_free(x->mask), vm_free(x->target);
}

/* in.NAME where there is one, of n elements. */
static int32_t *optional(const forward_case *c, const char *name, int64_t n, vm_error *e) {
    const st_tensor *t = forward_tensor(c, name);
    if (!t || e->status) return NULL;
    if (t->len == n) return forward_i32(c, name, e);
    return vm_fail(e, VM_EINPUT, "%s: %s/in.%s has %lld elements, %lld are needed", st_path(c->in, NULL), c->name, name, (long long)t->len, (long long)n), NULL;
}

static vm_status read_targets(inputs *x, const forward_case *c, vm_error *e) {
    x->target = vm_calloc((size_t)x->b.B + 1, sizeof *x->target);
    if (!x->target) return vm_nomem(e, 1024, "targets");
    for (int64_t k = 0; k < x->b.B && !e->status; k++) {
        char label[64], box[64];
        snprintf(label, sizeof label, "labels.%d.class_labels", (int)k), snprintf(box, sizeof box, "labels.%d.boxes", (int)k);
        x->target[k].label = forward_i32(c, label, e);
        x->target[k].box = e->status ? NULL : forward_f32(c, box, e);
        if (e->status) break;
        x->target[k].n = forward_tensor(c, label)->len, x->most = VM_MAX(x->most, x->target[k].n);
        if (forward_tensor(c, box)->len != 4 * x->target[k].n)
            vm_fail(e, VM_EINPUT, "%s: %s/in.%s is not four numbers for each label", st_path(c->in, NULL), c->name, box);
    }
    return e->status;
}

static vm_status read_inputs(inputs *x, const forward_case *c, bool loss, vm_error *e) {
    const st_tensor *p = forward_tensor(c, "pixel_values"), *ids = forward_tensor(c, "input_ids");
    if (!(x->pixels = forward_pixels(c, "pixel_values", e))) return e->status;
    if (!ids || ids->nd != 2 || ids->shape[0] != p->shape[0])
        return vm_fail(e, VM_EINPUT, "%s: case %s: in.input_ids (texts, tokens) is needed, a text for each picture", st_path(c->in, NULL), c->name);
    x->b = (gdino_batch){ .B = p->shape[0], .H = p->shape[2], .W = p->shape[3], .T = ids->shape[1], .pixels = x->pixels };
    x->b.ids = x->ids = forward_i32(c, "input_ids", e);
    x->b.types = x->types = optional(c, "token_type_ids", ids->len, e), x->b.mask = x->mask = optional(c, "attention_mask", ids->len, e);
    x->b.real = x->real = optional(c, "pixel_mask", x->b.B * x->b.H * x->b.W, e);
    return loss && !e->status ? read_targets(x, c, e) : e->status;
}

/* --- results ---------------------------------------------------------------------------------------------------------- */
/* logits, padded to the longest text. */
static vm_status put_logits(forward_case *c, const gdino *m, const inputs *x, const float *logits, vm_error *e) {
    const int64_t n = gdino_tokens(&m->c, &x->b), L = m->c.text_len, rows = x->b.B * m->c.queries;
    float *all = vm_alloc((size_t)(rows * L) * sizeof *all + 1);
    if (!all) return vm_nomem(e, (size_t)(rows * L) * sizeof *all, "logits");
    for (int64_t i = 0; i < rows * L; i++) all[i] = i % L < n ? logits[i / L * n + i % L] : -INFINITY;
    forward_put(c, "out.logits", 3, (int64_t[]){ x->b.B, m->c.queries, L }, all, e);
    vm_free(all);
    return e->status;
}

/* "LIST, PHRASE" as JSON, spaced as Python does; LIST is freed. */
static char *with_phrase(char *list, tok *t, const int32_t *id, int64_t n, vm_error *e) {
    char *text = NULL, *quoted = NULL, *all = NULL;
    json_writer w = json_to_memory(JSON_COMPACT);
    if (!e->status) tok_decode(t, id, n, true, &text, NULL, e);
    json_put_str(&w, NULL, text);
    quoted = json_take(&w, NULL, e);
    if (!e->status && !(all = vm_asprintf("%s%s%s", list ? list : "", list ? ", " : "", quoted))) vm_nomem(e, 1024, "phrases");
    vm_free(text), vm_free(quoted), vm_free(list);
    return all;
}

/* The phrases of boxes as a JSON list; of no boxes it is [""], as the reference has it. */
static vm_status put_phrases(forward_case *c, const gdino *m, const inputs *x, tok *t, const float *logits, int64_t k, const gdino_box *found, int64_t N,
                             double threshold, vm_error *e) {
    const int64_t n = gdino_tokens(&m->c, &x->b);
    int32_t *id = vm_alloc((size_t)n * sizeof *id + 1);
    char *list = NULL, name[64];
    if (!id) return vm_nomem(e, (size_t)n * sizeof *id, "phrases");
    for (int64_t i = 0; i < VM_MAX(N, (int64_t)1) && !e->status; i++) {
        int64_t words = N ? gdino_phrase(logits + found[i].query * n, n, m->c.text_len, threshold, id) : 0;
        for (int64_t j = 0; j < words; j++) id[j] = x->ids[k * x->b.T + id[j]];
        list = with_phrase(list, t, id, words, e);
    }
    char *all = list ? vm_asprintf("[%s]", list) : NULL;
    snprintf(name, sizeof name, "out.text_labels.%d", (int)k);
    if (!e->status && !all) vm_nomem(e, 1024, "phrases");
    if (!e->status) forward_put_string(c, name, all, e);
    vm_free(id), vm_free(list), vm_free(all);
    return e->status;
}

/* Of picture k: boxes, scores and phrases. */
static vm_status put_found(forward_case *c, const gdino *m, const inputs *x, tok *t, const float *logits, const float *boxes, int64_t k,
                           const float *size, const double *threshold, vm_error *e) {
    const int64_t n = gdino_tokens(&m->c, &x->b), Q = m->c.queries;
    gdino_box *found = vm_alloc((size_t)Q * sizeof *found);
    float *flat = vm_alloc((size_t)Q * 5 * sizeof *flat);
    char name[64];
    if (!found || !flat) vm_nomem(e, (size_t)Q * sizeof *found, "boxes");
    int64_t N = e->status ? 0 : gdino_detect(logits, boxes, Q, n, threshold[0], (double)size[0], (double)size[1], found);
    for (int64_t i = 0; i < N; i++) memcpy(flat + 4 * i, found[i].box, sizeof found[i].box), flat[4 * Q + i] = found[i].score;
    snprintf(name, sizeof name, "out.boxes.%d", (int)k);
    if (!e->status) forward_put(c, name, 2, (int64_t[]){ N, 4 }, flat, e);
    snprintf(name, sizeof name, "out.scores.%d", (int)k);
    if (!e->status) forward_put(c, name, 1, &N, flat + 4 * Q, e);
    if (!e->status) put_phrases(c, m, x, t, logits, k, found, N, threshold[1], e);
    vm_free(found), vm_free(flat);
    return e->status;
}

static vm_status put_detections(forward_case *c, const gdino *m, const inputs *x, const float *logits, const float *boxes, vm_error *e) {
    const int64_t n = gdino_tokens(&m->c, &x->b), Q = m->c.queries;
    float *box = forward_f32(c, "threshold", e), *word = e->status ? NULL : forward_f32(c, "text_threshold", e);
    float *sizes = e->status ? NULL : forward_f32(c, "target_sizes", e);
    tok *t = NULL;
    if (!e->status && forward_tensor(c, "target_sizes")->len != 2 * x->b.B)
        vm_fail(e, VM_EINPUT, "%s: %s/in.target_sizes is not height and width of each picture", st_path(c->in, NULL), c->name);
    if (!e->status) tok_open(&t, c->dir, e);
    for (int64_t k = 0; k < x->b.B && !e->status; k++)
        put_found(c, m, x, t, logits + k * Q * n, boxes + k * Q * 4, k, sizes + 2 * k, (double[]){ (double)*box, (double)*word }, e);
    tok_free(t);
    vm_free(box), vm_free(word), vm_free(sizes);
    return e->status;
}

static vm_status put_results(forward_case *c, vm_graph *g, const gdino *m, const inputs *x, vm_error *e) {
    const int64_t rows = x->b.B * m->c.queries, n = gdino_tokens(&m->c, &x->b);
    float *logits = vm_alloc((size_t)(rows * n) * sizeof *logits + 1), *boxes = vm_alloc((size_t)(rows * 4) * sizeof *boxes + 1);
    if (!logits || !boxes) vm_nomem(e, (size_t)(rows * n) * sizeof *logits, "logits");
    else if (vm_get(g, "logits", logits) || vm_get(g, "pred_boxes", boxes)) *e = g->err;
    else if (forward_tensor(c, "threshold")) put_detections(c, m, x, logits, boxes, e);
    else if (!put_logits(c, m, x, logits, e)) forward_put(c, "out.pred_boxes", 3, (int64_t[]){ x->b.B, m->c.queries, 4 }, boxes, e);
    vm_free(logits), vm_free(boxes);
    return e->status;
}

/* --- the loss ----------------------------------------------------------------------------------------------------------- */
static vm_status put_losses(forward_case *c, const vm_graph *g, vm_error *e) {
    for (int64_t k = 0; k < g->n_named && !e->status; k++)
        if (!strncmp(g->named[k].name, "loss", 4)) forward_put_output(c, g, g->named[k].name, g->named[k].name, e);
    return e->status;
}

/* Gradients of all weights, and of the pixels as an output. */
static vm_status backward(vm_graph *g, const gdino *m, vm_val pixels, vm_val loss, vm_error *e) {
    vm_val *wrt = vm_alloc((size_t)(m->w.n + 1) * sizeof *wrt);
    if (!wrt) return vm_nomem(e, (size_t)m->w.n * sizeof *wrt, "gradients");
    for (int64_t i = 0; i < m->w.n; i++) wrt[i] = vm_weight(g, m->w.p[i]);
    wrt[m->w.n] = pixels;
    vm_backward(g, 1, &loss, NULL, (int)m->w.n + 1, wrt);
    vm_output(g, "gradin", vm_permute(g, vm_grad(g, pixels), (const int[]){ 0, 3, 1, 2 }));
    vm_free(wrt);
    return VM_OK;
}

static vm_status put_gradients(forward_case *c, const vm_graph *g, const gdino *m, vm_error *e) {
    weight_map map = { 0 };
    gdino_map(m, &map);
    if (map.err.status) *e = map.err;
    else if (!forward_put_output(c, g, "gradin", "gradin.pixel_values", e)) forward_put_grads(c, &map, e);
    weight_map_free(&map);
    return e->status;
}

static vm_status run_graph(forward_case *c, gdino *m, const inputs *x, bool loss, vm_error *e) {
    const int64_t last = m->c.dec_layers - 1;
    gdino_out o;
    gdino_loss l;
    vm_graph *g = vm_graph_new(c->be, c->dtype);
    if (!g) return vm_nomem(e, sizeof *g, "a graph");
    g->training = loss && c->grad;
    gdino_forward(g, m, &x->b, loss && m->c.auxiliary, &o);
    vm_output(g, "logits", o.logits[last]), vm_output(g, "pred_boxes", o.boxes[last]);
    if (loss) {
        vm_val sum = gdino_loss_of(g, m, &x->b, &o, x->most, &l);
        vm_output(g, "loss", sum);
        if (c->grad) backward(g, m, o.pixels, sum, e);
    }
    if (!e->status && !gdino_fill(g, m, &x->b, e) && (!loss || !gdino_loss_fill(g, &x->b, x->target, &l, e))) {
        if (vm_run(g)) *e = g->err;
        else if (!put_results(c, g, m, x, e) && loss && !put_losses(c, g, e) && c->grad) put_gradients(c, g, m, e);
    }
    vm_graph_free(g);
    return e->status;
}

static vm_status run(forward_case *c, vm_error *e) {
    bool loss = !strcmp(c->kind, "loss");
    const char *which = forward_string(c, "loss");
    gdino *m = NULL;
    inputs x = { 0 };
    if (loss && strcmp(which ? which : "", "grounding_dino"))
        return vm_fail(e, VM_EINPUT, "%s: case %s: in.loss is not \"grounding_dino\", the only loss of this model", st_path(c->in, NULL), c->name);
    if (!read_inputs(&x, c, loss, e) && !gdino_open(&m, c->be, c->dir, loss && c->grad, e)) run_graph(c, m, &x, loss, e);
    inputs_free(&x);
    gdino_free(m);
    return e->status;
}

const forward_family forward_gdino = { .name = "Grounding DINO", .is = gdino_is_gdino, .run = run };
