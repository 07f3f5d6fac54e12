/* forward_bert.c - cases of `vismin forward` for BERT: hidden states, the pooler, sentence vectors. */
#include <string.h>

#include "models/bert.h"
#include "pipeline/forward.h"

/* An i32 tensor of the file that has the shape of the ids, as a graph input; 0 when it is not there. */
static vm_val input(vm_graph *g, const forward_case *c, const char *name, const st_tensor *like, int32_t **data, vm_error *e) {
    const st_tensor *t = forward_tensor(c, name);
    if (!t || e->status) return 0;
    if (t->nd != 2 || t->shape[0] != like->shape[0] || t->shape[1] != like->shape[1]) {
        vm_fail(e, VM_EINPUT, "%s: %s/in.%s has not the shape of in.input_ids", st_path(c->in, NULL), c->name, name);
        return 0;
    }
    *data = forward_i32(c, name, e);
    return *data ? vm_input(g, name, VM_I32, 2, like->shape) : 0;
}

static vm_status run(forward_case *c, vm_error *e) {
    static const char *const names[] = { "input_ids", "attention_mask", "token_type_ids", "position_ids" };
    static const char *const outs[] = { "last_hidden_state", "pooler_output", "sentence_embedding" };
    bert_model *m = NULL;
    vm_graph *g = NULL;
    int32_t *data[VM_LEN(names)] = { 0 };
    float *ones = NULL;
    vm_val in[VM_LEN(names)] = { 0 };
    const st_tensor *ids = forward_tensor(c, names[0]);
    if (!ids || ids->nd != 2) return vm_fail(e, VM_EINPUT, "%s: case %s: in.input_ids (texts, tokens) is needed", st_path(c->in, NULL), c->name);
    if (strcmp(c->kind, "forward"))
        return vm_fail(e, VM_EINPUT, "%s: case %s: kind \"%s\" is not supported for a BERT; \"forward\" is", st_path(c->in, NULL), c->name, c->kind);
    if (bert_open(&m, c->be, c->dir, false, e)) return e->status;
    if (!(g = vm_graph_new(c->be, c->dtype))) {
        vm_nomem(e, sizeof *g, "a graph");
        goto done;
    }
    for (int k = 0; k < VM_LEN(names); k++) in[k] = input(g, c, names[k], ids, &data[k], e);
    if (!(ones = vm_alloc((size_t)ids->len * sizeof *ones + 1))) vm_nomem(e, (size_t)ids->len * sizeof *ones, "a mask");
    if (e->status) goto done;
    for (int64_t i = 0; i < ids->len; i++) ones[i] = !data[1] || data[1][i];
    bert_input x = { .ids = in[0], .key_mask = in[1], .types = in[2], .positions = in[3] };
    vm_val hidden = bert_hidden(g, &m->text, &x);
    vm_output(g, outs[0], hidden);
    if (m->text.pool_w && hidden)
        vm_output(g, outs[1], bert_pool(g, &m->text, vm_reshape(g, vm_slice(g, hidden, 1, 0, 1), 2, (int64_t[]){ ids->shape[0], m->text.c.width })));
    vm_output(g, outs[2], bert_sentence(g, hidden, vm_input(g, "mask", VM_F32, 2, ids->shape)));
    for (int k = 0; k < VM_LEN(names); k++)
        if (in[k]) vm_set(g, names[k], data[k]);
    vm_set(g, "mask", ones);
    if (vm_run(g)) *e = g->err;
    for (int k = 0; k < VM_LEN(outs) && !e->status; k++) {
        char name[64];
        snprintf(name, sizeof name, "out.%s", outs[k]);
        forward_put_output(c, g, outs[k], name, e);
    }
done:
    for (int k = 0; k < VM_LEN(names); k++) vm_free(data[k]);
    vm_free(ones);
    vm_graph_free(g);
    bert_free(m);
    return e->status;
}

const forward_family forward_bert = { .name = "bert", .is = bert_is_bert, .run = run };
