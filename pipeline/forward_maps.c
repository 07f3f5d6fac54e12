/* forward_maps.c - what cases of `vismin forward` with feature maps share: their layout, the loss by a target, gradients of inputs. */
#include "kernels/ops.h"
#include "pipeline/forward.h"

/* (B,C,H,W) to (B,H,W,C), or back. */
static void turn(const float *x, float *y, int64_t B, int64_t C, int64_t HW, bool back) {
    for (int64_t b = 0; b < B; b++)
        for (int64_t k = 0; k < C; k++)
            for (int64_t i = 0; i < HW; i++) {
                int64_t in_file = (b * C + k) * HW + i, in_graph = (b * HW + i) * C + k;
                if (back) y[in_file] = x[in_graph];
                else y[in_graph] = x[in_file];
            }
}

float *forward_map_of(const forward_case *c, const st_tensor *t, vm_error *e) {
    float *x = vm_alloc((size_t)t->len * sizeof *x + 1), *y = vm_alloc((size_t)t->len * sizeof *y + 1);
    if (!x || !y) vm_nomem(e, (size_t)t->len * sizeof *x, t->name);
    else if (!st_read_f32(c->in, t, 0, t->len, x, e)) turn(x, y, t->shape[0], t->shape[1], t->shape[2] * t->shape[3], false);
    vm_free(x);
    if (e->status) vm_free(y), y = NULL;
    return y;
}

float *forward_map(const forward_case *c, const char *name, vm_error *e) {
    const st_tensor *t = forward_tensor(c, name);
    if (e->status) return NULL;
    if (!t) return forward_f32(c, name, e); /* says that it is missing */
    if (t->nd == 4) return forward_map_of(c, t, e);
    vm_fail(e, VM_EINPUT, "%s: %s/in.%s: expected maps [B,C,H,W]", st_path(c->in, NULL), c->name, name);
    return NULL;
}

vm_status forward_put_map(forward_case *c, const vm_graph *g, vm_val map, const char *name, vm_error *e) {
    if (!map) return VM_OK;
    int64_t n = vm_count(g, map), ne[] = { vm_dim(g, map, 0), vm_dim(g, map, 3), vm_dim(g, map, 1), vm_dim(g, map, 2) };
    float *x = vm_alloc((size_t)n * sizeof *x + 1), *y = vm_alloc((size_t)n * sizeof *y + 1);
    if (!x || !y) vm_nomem(e, (size_t)n * sizeof *x, name);
    else if (!g->be->download(g->be, x, vm_data(g, map), (size_t)n * sizeof *x, e)) {
        turn(x, y, ne[0], ne[1], ne[2] * ne[3], true);
        forward_put(c, name, 4, ne, y, e);
    }
    vm_free(x), vm_free(y);
    return e->status;
}

vm_val forward_distance(vm_graph *g, const forward_case *c, const char *name, vm_val map, float **data, vm_error *e) {
    char key[80];
    snprintf(key, sizeof key, "target.%s", name);
    const st_tensor *t = forward_tensor(c, key);
    if (!map) return 0;
    if (!t || t->nd != 4 || t->shape[0] != vm_dim(g, map, 0) || t->shape[1] != vm_dim(g, map, 3) || t->shape[2] != vm_dim(g, map, 1) || t->shape[3] != vm_dim(g, map, 2))
        return vm_fail(e, VM_EINPUT, "%s: %s/in.%s has not the shape of the map", st_path(c->in, NULL), c->name, key), 0;
    *data = forward_map(c, key, e);
    return vm_mean(g, vm_unary(g, vm_binary(g, map, vm_input(g, key, VM_F32, 4, g->v[map].ne), VM_SUB), VM_SQUARE, VM_F32));
}

void forward_backward(vm_graph *g, const weight_set *w, int n, const vm_val *inputs, vm_val loss, vm_error *e) {
    vm_val *wrt = vm_alloc((size_t)(w->n + n) * sizeof *wrt + 1);
    int64_t k = 0;
    if (!wrt) {
        vm_nomem(e, (size_t)(w->n + n) * sizeof *wrt, "gradients");
        return;
    }
    for (int64_t i = 0; i < w->n; i++)
        if (w->p[i]->trainable) wrt[k++] = vm_weight(g, w->p[i]);
    for (int i = 0; i < n; i++) wrt[k++] = inputs[i];
    vm_backward(g, 1, &loss, NULL, (int)k, wrt);
    for (int i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "gradin.%d", i);
        if (vm_grad(g, inputs[i])) vm_output(g, name, vm_grad(g, inputs[i]));
    }
    vm_free(wrt);
}
