/* loss.c - see loss.h. */
#include "models/loss.h"

contrastive loss_info_nce(vm_graph *g, vm_val img, vm_val txt, vm_val scale, int64_t B, vm_val target) {
    contrastive c = { 0 };
    if (!img || !txt) return c;
    vm_val i = vm_dim(g, img, 0) == B ? img : vm_slice(g, img, 0, 0, B), t = vm_dim(g, txt, 0) == B ? txt : vm_slice(g, txt, 0, 0, B);
    c.i2t = vm_binary(g, vm_matmul(g, i, txt, false, true, 1, VM_F32), scale, VM_MUL);
    c.t2i = vm_binary(g, vm_matmul(g, t, img, false, true, 1, VM_F32), scale, VM_MUL);
    vm_val sum = vm_binary(g, vm_cross_entropy(g, c.i2t, target), vm_cross_entropy(g, c.t2i, target), VM_ADD);
    c.loss = vm_scale(g, sum, 0.5f, 0);
    return c;
}

static vm_val row_dots(vm_graph *g, vm_val a, vm_val b) { return vm_sum_axis(g, vm_binary(g, a, b, VM_MUL), 1, 1); }

vm_val loss_twins(vm_graph *g, vm_val img, vm_val txt, vm_val scale, int64_t n, int64_t at) {
    if (!img || !txt) return 0;
    vm_val i[2], t[2], s[2][2], sum = 0;
    for (int k = 0; k < 2; k++) i[k] = vm_slice(g, img, 0, k * at, n), t[k] = vm_slice(g, txt, 0, k * at, n);
    for (int a = 0; a < 2; a++)
        for (int b = 0; b < 2; b++) s[a][b] = vm_binary(g, row_dots(g, i[a], t[b]), scale, VM_MUL); /* image a, caption b */
    for (int k = 0; k < 2; k++)
        for (int other = 0; other < 2; other++) { /* the other caption, then the other image */
            vm_val wrong = other ? s[1 - k][k] : s[k][1 - k];
            vm_val term = vm_unary(g, vm_binary(g, wrong, s[k][k], VM_SUB), VM_SOFTPLUS, VM_F32);
            sum = sum ? vm_binary(g, sum, term, VM_ADD) : term;
        }
    return vm_scale(g, vm_mean(g, sum), 0.25f, 0);
}
