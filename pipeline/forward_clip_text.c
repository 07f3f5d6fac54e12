/* forward_clip_text.c - cases of `vismin forward` for the text encoder of a diffusion model: its states, and the loss of golden files, a
 * fixed weighting of them. */
#include <string.h>

#include "models/clip_text.h"
#include "pipeline/forward.h"

enum { STATES = 3 };

/* mean(x * in.weight.NAME), an input whose data the caller sets and frees. */
static vm_val weighted(vm_graph *g, const forward_case *c, const char *name, vm_val x, float **data, vm_error *e) {
    char key[64];
    snprintf(key, sizeof key, "weight.%s", name);
    if (!x || !(*data = forward_f32(c, key, e))) return 0;
    if (forward_tensor(c, key)->len != vm_count(g, x))
        return vm_fail(e, VM_EINPUT, "%s: %s/in.%s has not the shape of the state", st_path(c->in, NULL), c->name, key), 0;
    return vm_mean(g, vm_binary(g, x, vm_input(g, key, VM_F32, g->v[x].nd, g->v[x].ne), VM_MUL));
}

static vm_status run(forward_case *c, vm_error *e) {
    bool loss = !strcmp(c->kind, "loss"), grad = loss && c->grad;
    const st_tensor *t = forward_tensor(c, "input_ids");
    if (!t || t->nd != 2) return vm_fail(e, VM_EINPUT, "%s: case %s: in.input_ids (texts, tokens) is needed", st_path(c->in, NULL), c->name);
    int32_t *ids = forward_i32(c, "input_ids", e), *end = vm_calloc((size_t)t->shape[0] + 1, sizeof *end);
    float *weights[STATES] = { 0 };
    clip_text *m = NULL;
    vm_graph *g = NULL;
    if (!end) vm_nomem(e, (size_t)t->shape[0] * sizeof *end, "rows of end tokens");
    if (e->status || clip_text_open(&m, c->be, c->dir, grad, e)) goto done;
    if (!(g = vm_graph_new(c->be, c->dtype))) {
        vm_nomem(e, sizeof *g, "a graph");
        goto done;
    }
    g->training = grad;
    clip_text_end(&m->c, t->shape[0], t->shape[1], ids, end);
    clip_text_states s = clip_text_run(g, m, vm_input(g, "ids", VM_I32, 2, t->shape), vm_input(g, "end", VM_I32, 1, t->shape));
    const vm_val states[STATES] = { s.last, s.penultimate, s.pooled };
    const char *const names[STATES] = { "last_hidden_state", "penultimate_hidden_state", m->projection ? "text_embeds" : "pooler_output" };
    vm_val l = 0;
    for (int k = 0; k < STATES; k++) {
        vm_output(g, names[k], states[k]);
        vm_val part = loss ? weighted(g, c, names[k], states[k], &weights[k], e) : 0;
        l = l && part ? vm_binary(g, l, part, VM_ADD) : part;
    }
    if (loss) vm_output(g, "loss", l);
    if (grad && !e->status) forward_backward(g, &m->w, 0, NULL, l, e);
    if (e->status) goto done;
    vm_set(g, "ids", ids), vm_set(g, "end", end);
    for (int k = 0; k < STATES; k++) {
        char key[64];
        snprintf(key, sizeof key, "weight.%s", names[k]);
        if (weights[k]) vm_set(g, key, weights[k]);
    }
    if (vm_run(g)) *e = g->err;
    for (int k = 0; k < STATES && !e->status; k++) {
        char key[64];
        snprintf(key, sizeof key, "out.%s", names[k]);
        forward_put_output(c, g, names[k], key, e);
    }
    if (loss && !e->status) forward_put_output(c, g, "loss", "loss", e);
    if (grad && !e->status) forward_put_grads(c, &m->map, e);
done:
    for (int k = 0; k < STATES; k++) vm_free(weights[k]);
    vm_free(ids), vm_free(end);
    vm_graph_free(g);
    clip_text_free(m);
    return e->status;
}

const forward_family forward_clip_text = { .name = "clip text", .is = clip_text_is, .run = run };
