/* unet.c - the graph of unet.h. */
#include "models/unet.h"

vm_val unet_time(vm_graph *g, const unet *m, const unet_input *x) {
    const unet_config *c = &m->c;
    vm_sinusoid_kind k = { .C = (int)c->width[0], .shift = c->freq_shift, .layout = c->flip ? VM_COS_SIN : VM_SIN_COS };
    vm_scope(g, m->time1.w->name);
    vm_val t = nn_linear(g, vm_sinusoid(g, x->timestep, k, g->dtype), m->time1.w, m->time1.b, VM_SILU, 0, g->dtype);
    t = nn_linear(g, t, m->time2.w, m->time2.b, VM_NONE, 0, VM_F32);
    if (c->text_and_ids) {
        if (!x->text || !x->ids) return vm_bad(g, "this UNet needs pooled text embeddings and time ids"), 0;
        int64_t B = vm_dim(g, x->ids, 0), n = vm_dim(g, x->ids, 1), C = vm_dim(g, t, 1);
        k.C = (int)c->time_ids;
        vm_val ids = vm_reshape(g, vm_sinusoid(g, x->ids, k, VM_F32), 2, (int64_t[]){ B, n * c->time_ids });
        vm_val a = diffuse_act(g, vm_concat(g, 2, (vm_val[]){ x->text, ids }, 1));
        a = nn_linear(g, nn_linear(g, a, m->add1.w, m->add1.b, VM_SILU, 0, g->dtype), m->add2.w, m->add2.b, VM_NONE, 0, VM_F32);
        t = vm_dim(g, t, 0) == 1 ? vm_binary(g, a, vm_reshape(g, t, 1, &C), VM_ADD) : vm_binary(g, a, t, VM_ADD);
    }
    return vm_unary(g, t, VM_SILU, g->dtype);
}

/* Where a walk through the network stands: how many resnets and blocks lie behind it. */
typedef struct {
    vm_graph *g;
    const unet *m;
    const unet_input *in;
    vm_val t;
    int64_t resnets, kv;
    bool again; /* steps of the walk are computed again in the backward pass */
} walk;
static void begin(const walk *w) {
    if (w->again) vm_checkpoint_begin(w->g);
}
static vm_val end(const walk *w, vm_val x) {
    if (w->again) vm_checkpoint_end(w->g);
    return x;
}

/* Of x, or of x beside what was kept on the way down. */
static vm_val resnet(walk *w, const diffuse_resnet *r, vm_val x, vm_val beside) {
    vm_graph *g = w->g;
    vm_val time;
    if (w->in->memory) {
        vm_param *p = w->in->memory->time[w->resnets++];
        time = vm_embedding(g, vm_reshape(g, vm_weight(g, p), 2, p->ne + 1), w->in->row);
    } else time = diffuse_resnet_time(g, r, w->t);
    begin(w);
    if (beside) x = vm_concat(g, 2, (vm_val[]){ x, beside }, 3);
    return end(w, diffuse_resnet_run(g, r, x, time, (int)w->m->c.groups, w->m->c.eps));
}

static vm_val layer(walk *w, const unet_level *l, int k, vm_val x, vm_val beside) {
    const diffuse_transformer *t = &l->attn[k];
    diffuse_kv kv[DIFFUSE_BLOCKS];
    x = resnet(w, &l->resnet[k], x, beside);
    if (!t->block) return x;
    if (!w->in->memory) diffuse_transformer_kv(w->g, t, w->in->context, kv);
    else for (int64_t b = 0; b < t->n; b++) {
        vm_param *const *p = w->in->memory->kv + w->kv;
        kv[b] = (diffuse_kv){ vm_weight(w->g, p[0]), vm_weight(w->g, p[1]) };
        w->kv += 2;
    }
    return diffuse_transformer_run(w->g, t, x, kv, (int)w->m->c.groups, w->again);
}

static vm_val conv(walk *w, vm_val x, const diffuse_pair *c, int stride) {
    begin(w);
    return end(w, diffuse_conv_run(w->g, x, c, 3, stride, 0, VM_F32));
}

vm_val unet_run(vm_graph *g, const unet *m, const unet_input *in) {
    const unet_config *c = &m->c;
    vm_val skip[UNET_LEVELS * (UNET_LAYERS + 1) + 1];
    walk w = { .g = g, .m = m, .in = in, .t = in->memory ? 0 : unet_time(g, m, in), .again = m->recompute && g->training };
    int n = 0;
    vm_scope(g, m->conv_in.w->name);
    vm_val x = skip[n++] = conv(&w, in->sample, &m->conv_in, 1);
    for (int s = 0; s < c->levels; s++) {
        const unet_level *l = &m->down[s];
        for (int k = 0; k < l->n; k++) x = skip[n++] = layer(&w, l, k, x, 0);
        if (l->resample.w) x = skip[n++] = conv(&w, x, &l->resample, 2);
    }
    x = resnet(&w, &m->middle.resnet[1], layer(&w, &m->middle, 0, x, 0), 0);
    for (int s = 0; s < c->levels; s++) {
        const unet_level *l = &m->up[s];
        for (int k = 0; k < l->n; k++) x = layer(&w, l, k, x, skip[--n]);
        if (!l->resample.w || !skip[n - 1]) continue;
        begin(&w);
        x = end(&w, diffuse_up(g, x, &l->resample, vm_dim(g, skip[n - 1], 1), vm_dim(g, skip[n - 1], 2), VM_F32));
    }
    vm_scope(g, m->norm_out.w->name);
    begin(&w);
    x = diffuse_conv_run(g, diffuse_groupnorm(g, x, &m->norm_out, (int)c->groups, c->eps, VM_SILU, g->dtype), &m->conv_out, 3, 1, 0, VM_F32);
    return end(&w, x);
}
