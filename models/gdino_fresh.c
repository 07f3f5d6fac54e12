/* gdino_fresh.c - random weights for a Grounding DINO that is trained from nothing.
 *
 * As its authors begin: matrices with the variance 2 / (rows + columns), biases 0, norms as they are; words and positions with a deviation
 * of .02, learnt queries and maps of 1; deformable attention looks in a ring of directions, 1, 2, ... cells far, with equal weights; the
 * last layers of the heads for boxes are 0, so that boxes begin where their cells are; fusion adds a ten-thousandth. */
#include <math.h>
#include <string.h>

#include "models/gdino_parts.h"

static bool ends(const char *name, const char *with) {
    const size_t n = strlen(name), w = strlen(with);
    return n >= w && !strcmp(name + n - w, with);
}

static vm_status fill(const gdino *m, vm_param *p, uint64_t seed, uint64_t stream, vm_error *e) {
    const bool table = p == m->bert.word || p == m->bert.position || p == m->bert.type || (!strncmp(p->name, "swin.", 5) && ends(p->name, ".relative"));
    if (p->nd == 1) return weight_fill(p, ends(p->name, ".weight") ? 1 : 0, e); /* of norms, and biases */
    if (p == m->level || p == m->query) return weight_normal(p, seed, stream, 1, e);
    return weight_normal(p, seed, stream, table ? 0.02 : sqrt(2 / (double)(p->ne[0] + p->ne[1])), e);
}

static vm_status zero(const gdino_pair *p, vm_error *e) { return weight_fill(p->w, 0, e) || weight_fill(p->b, 0, e) ? e->status : VM_OK; }

static vm_status fresh_deform(const gdino_deform *p, int64_t NH, int64_t L, int64_t P, vm_error *e) {
    vm_real *bias = vm_alloc((size_t)(NH * L * P * 2) * sizeof *bias);
    if (!bias) return vm_nomem(e, (size_t)(NH * L * P * 2) * sizeof *bias, "offsets");
    for (int64_t h = 0; h < NH; h++) {
        const double angle = (double)h * 2 * M_PI / (double)NH, x = cos(angle), y = sin(angle), most = fmax(fabs(x), fabs(y));
        for (int64_t i = 0; i < L * P; i++) {
            vm_real *at = bias + (h * L * P + i) * 2;
            at[0] = (vm_real)(x / most * (double)(i % P + 1)), at[1] = (vm_real)(y / most * (double)(i % P + 1));
        }
    }
    if (!zero(&p->offsets, e) && !zero(&p->weights, e)) vm_param_write(p->offsets.b, bias, e);
    vm_free(bias);
    return e->status;
}

static vm_status special(gdino *m, vm_error *e) {
    const gdino_config *c = &m->c;
    for (int64_t i = 0; i < c->enc_layers && !e->status; i++) {
        const gdino_encoder_layer *l = &m->enc[i];
        if (!weight_fill(l->vision_scale, 1e-4, e) && !weight_fill(l->text_scale, 1e-4, e)) fresh_deform(&l->deform, c->enc_heads, c->levels, c->enc_points, e);
    }
    for (int64_t i = 0; i < c->dec_layers && !e->status; i++)
        if (!fresh_deform(&m->dec[i].deform, c->dec_heads, c->levels, c->dec_points, e)) zero(&m->dec[i].box[2], e);
    return e->status ? e->status : zero(&m->pick_box[2], e);
}

vm_status gdino_fresh(gdino **out, vm_backend *be, const char *dir, uint64_t seed, vm_error *e) {
    if (gdino_new(out, be, dir, e)) return e->status;
    for (int64_t i = 0; i < (*out)->w.n && !e->status; i++) fill(*out, (*out)->w.p[i], seed, (uint64_t)i, e);
    if (!e->status && !special(*out, e)) return VM_OK;
    gdino_free(*out);
    *out = NULL;
    return e->status;
}
