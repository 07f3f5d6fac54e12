/* unet.c - the graph of unet.h. */
#include "models/unet.h"

/* (B or 1, 4 c0), behind its silu, which every resnet begins with. */
static vm_val time_embedding(vm_graph *g, const unet *m, const unet_input *x) {
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

static vm_val layer(vm_graph *g, const unet *m, const unet_level *l, int k, vm_val x, vm_val t, vm_val context) {
    x = diffuse_resnet_run(g, &l->resnet[k], x, t, (int)m->c.groups, m->c.eps);
    return l->attn[k].block ? diffuse_transformer_run(g, &l->attn[k], x, context, (int)m->c.groups) : x;
}

vm_val unet_run(vm_graph *g, const unet *m, const unet_input *in) {
    const unet_config *c = &m->c;
    vm_val skip[UNET_LEVELS * (UNET_LAYERS + 1) + 1], t = time_embedding(g, m, in);
    int n = 0;
    vm_scope(g, m->conv_in.w->name);
    vm_val x = skip[n++] = diffuse_conv_run(g, in->sample, &m->conv_in, 3, 1, 0);
    for (int s = 0; s < c->levels; s++) {
        const unet_level *l = &m->down[s];
        for (int k = 0; k < l->n; k++) x = skip[n++] = layer(g, m, l, k, x, t, in->context);
        if (l->resample.w) x = skip[n++] = diffuse_conv_run(g, x, &l->resample, 3, 2, 0);
    }
    x = layer(g, m, &m->middle, 0, x, t, in->context);
    x = diffuse_resnet_run(g, &m->middle.resnet[1], x, t, (int)c->groups, c->eps);
    for (int s = 0; s < c->levels; s++) {
        const unet_level *l = &m->up[s];
        for (int k = 0; k < l->n; k++) x = layer(g, m, l, k, vm_concat(g, 2, (vm_val[]){ x, skip[--n] }, 3), t, in->context);
        if (l->resample.w && skip[n - 1]) x = diffuse_up(g, x, &l->resample, vm_dim(g, skip[n - 1], 1), vm_dim(g, skip[n - 1], 2));
    }
    vm_scope(g, m->norm_out.w->name);
    return diffuse_conv_run(g, diffuse_groupnorm(g, x, &m->norm_out, (int)c->groups, c->eps, VM_SILU, g->dtype), &m->conv_out, 3, 1, 0);
}
