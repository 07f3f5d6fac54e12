/* rope.c - rotary position embedding (Su et al. 2021): pairs of columns of every head are turned by an angle that
 * grows with the position, p_i = position f_i, so that products of queries and keys depend on distances:
 *
 *   (x1, x2) -> (x1 cos p - x2 sin p, x2 cos p + x1 sin p);  dx: dy turned by -p
 *
 * Pairs are columns i and i + n/2 (Llama and its kin) or 2i and 2i + 1 (interleaved), of the first n columns of a
 * head. Cosines and sines of a run are made once, in a table that all layers read. Frequencies f_i = base^(-2i/n),
 * then by scaling:
 *
 *   linear    f / factor
 *   dynamic   base (factor length / original - factor + 1)^(n/(n-2)) where length > original             (NTK-aware)
 *   llama3    wavelength 2 pi / f above original/low: f / factor; below original/high: f; between: their mix, linear in
 *             original / wavelength
 *   yarn      pairs that turn more than `high` times in `original` keep f, fewer than `low` times f / factor, between
 *             their mix, linear in i; table times 0.1 ln(factor) + 1                            (Peng et al. 2023)
 *   long      f / divisor[i]; table times sqrt(1 + ln(factor) / ln(original)) where factor > 1  (Ding et al. 2024)
 *
 * Computed in f32 as the published networks do, so that angles at far positions agree. Bound by memory: one read,
 * one write. */
#include <math.h>

#include "kernels/infer.h"
#include "kernels/ops.h"
#include "kernels/sinusoid.h"

VM_CPU_DECLARE(rope_cpu);
VM_CUDA_DECLARE(rope_cuda);

enum { WIDEST = 1024 }; /* columns of a head: a piece of the CPU kernel */

/* --- frequencies -------------------------------------------------------------------------------------------------- */
/* The pair, as a real number, that turns `times` times in the original length */
static double pair_of(const vm_rope_kind *k, double times) {
    return k->columns * log((double)k->original / (times * 2 * M_PI)) / (2 * log(k->base));
}
static void yarn_bounds(const vm_rope_kind *k, double *low, double *high) {
    *low = pair_of(k, k->high == 0 ? 32 : k->high), *high = pair_of(k, k->low == 0 ? 1 : k->low);
    if (!k->exact) *low = floor(*low), *high = ceil(*high);
    *low = fmax(*low, 0), *high = fmin(*high, k->columns - 1);
    if (*low == *high) *high += 0.001;
}
static float llama3(const vm_rope_kind *k, float f) {
    float wave = 2 * (float)M_PI / f, L = (float)k->original;
    if (wave < L / (float)k->high) return f;
    if (wave > L / (float)k->low) return f / (float)k->factor;
    float s = (L / wave - (float)k->low) / (float)(k->high - k->low);
    return (1 - s) * f / (float)k->factor + s * f;
}

void vm_rope_frequencies(const vm_rope_kind *k, float *f, double *amplitude) {
    int n = k->columns, half = n / 2;
    double base = k->base, low = 0, high = 1;
    if (k->scaling == VM_ROPE_DYNAMIC && k->length > k->original)
        base *= pow(k->factor * (double)k->length / (double)k->original - k->factor + 1, n / (double)(n - 2));
    if (k->scaling == VM_ROPE_YARN) yarn_bounds(k, &low, &high);
    for (int i = 0; i < half; i++) {
        float power = (float)pow(base, (double)((float)(2 * i) / (float)n)), keep;
        f[i] = 1.0f / power;
        switch (k->scaling) {
        case VM_ROPE_LINEAR: f[i] /= (float)k->factor; break;
        case VM_ROPE_LLAMA3: f[i] = llama3(k, f[i]); break;
        case VM_ROPE_YARN:
            keep = 1 - (float)fmin(fmax((i - low) / (high - low), 0), 1);
            f[i] = 1.0f / ((float)k->factor * power) * (1 - keep) + f[i] * keep;
            break;
        case VM_ROPE_LONG: f[i] = 1.0f / (k->divisors[i] * power); break;
        default: break;
        }
    }
    *amplitude = 1;
    if (k->scaling == VM_ROPE_YARN && k->factor > 1) *amplitude = 0.1 * log(k->factor) + 1;
    if (k->scaling == VM_ROPE_LONG && k->factor > 1) *amplitude = sqrt(1 + log(k->factor) / log((double)k->original));
    if (k->attention > 0) *amplitude = k->attention;
}

vm_val vm_rope_table(vm_graph *g, vm_val pos, const vm_rope_kind *k) {
    bool scaled = k->scaling != VM_ROPE_PLAIN, far = scaled && k->scaling != VM_ROPE_LINEAR;
    if (!pos || g->err.status) return 0;
    if (g->v[pos].type != VM_I32)
        return vm_bad(g, "rope: positions are %s, i32 is needed", vm_type_name(g->v[pos].type)), 0;
    if (k->columns < 2 || k->columns % 2 || k->columns > 2 * VM_FREQUENCIES)
        return vm_bad(g, "rope: %d rotated columns, an even number up to %d is needed", k->columns,
                      2 * VM_FREQUENCIES), 0;
    if (!(k->base > 1)) return vm_bad(g, "rope: a base of %g, above 1 is needed", k->base), 0;
    if (scaled && !(k->factor > 0)) return vm_bad(g, "rope: a factor of %g, above 0 is needed", k->factor), 0;
    if (far && k->original < 2) return vm_bad(g, "rope: this scaling needs the original length"), 0;
    if (k->scaling == VM_ROPE_LLAMA3 && !(k->low > 0 && k->high > k->low))
        return vm_bad(g, "rope: frequency factors %g and %g, 0 < low < high is needed", k->low, k->high), 0;
    if (k->scaling == VM_ROPE_DYNAMIC && k->columns < 4) return vm_bad(g, "rope: dynamic scaling needs 4 columns"), 0;
    if (k->scaling == VM_ROPE_LONG && !k->divisors) return vm_bad(g, "rope: no divisors of the frequencies"), 0;
    vm_frequencies q = { .n = k->columns / 2, .scale = 1 };
    double amplitude;
    vm_rope_frequencies(k, q.f, &amplitude);
    q.amplitude = (vm_real)amplitude;
    return vm_sinusoid_of(g, pos, k->columns, VM_COS_SIN, &q, VM_F32);
}

/* --- rotation: in x, table; out y; i[0] type of y, i[1] heads, i[2] those turned, i[3] interleaved; f[0] sign ------- */
static vm_status infer(vm_graph *g, vm_node *n) {
    char a[64], b[64];
    if (!n->in[1]) return vm_bad(g, "rope: no table");
    if (!vm_check_float(g, n, 0) || !vm_check_type(g, n, 1, VM_F32)) return VM_EMODEL;
    int64_t C = vm_cols(g, n->in[0]), R = vm_rows(g, n->in[0]), RT = vm_rows(g, n->in[1]), cols = vm_cols(g, n->in[1]);
    if (n->i[1] < 1 || C % n->i[1] || n->i[2] < 0 || n->i[2] > n->i[1])
        return vm_bad(g, "rope: %lld of %lld heads in %lld columns", (long long)n->i[2], (long long)n->i[1],
                      (long long)C);
    if (C && (cols > C / n->i[1] || C / n->i[1] > WIDEST))
        return vm_bad(g, "rope: %lld rotated columns of heads of %lld, at most %d", (long long)cols,
                      (long long)(C / n->i[1]), WIDEST);
    if (RT ? R % RT : R)
        return vm_bad(g, "rope: a table %s for x %s", vm_shape_text(g, n->in[1], b), vm_shape_text(g, n->in[0], a));
    vm_out_like(g, n, (vm_type)n->i[0], n->in[0]);
    return VM_OK;
}
static void grad(vm_graph *g, const vm_node *n);
static const vm_op rope = { .name = "rope", .infer = infer, .grad = grad, .cpu = VM_CPU(rope_cpu),
                            .cuda = VM_CUDA(rope_cuda), .acc_outs = 1 };

static void grad(vm_graph *g, const vm_node *n) {
    vm_val x = n->in[0], in[] = { vm_dy(g, n, 0), n->in[1] };
    if (!vm_wants(g, x)) return;
    vm_node init = { .i = { g->v[x].type, n->i[1], n->i[2], n->i[3] }, .f = { -n->f[0] } };
    vm_add_grad(g, x, vm_append1(g, &rope, 2, in, &init));
}

vm_val vm_rope(vm_graph *g, vm_val x, vm_val table, int NH, int turned, bool interleaved, vm_type out) {
    vm_node init = { .i = { out, NH, turned, interleaved }, .f = { 1 } };
    return vm_append1(g, &rope, 2, (vm_val[]){ x, table }, &init);
}
