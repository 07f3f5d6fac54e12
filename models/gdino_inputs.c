/* gdino_inputs.c - what the graph of grounding_dino.h is given for a batch: phrases of the texts, and for each cell of each map whether it
 * is in the picture, its position, where it lies in the other maps, and the box that it proposes. All is f32 arithmetic in the order of
 * the reference, so that cells at a border fall on the same side. */
#include <math.h>

#include "models/gdino_parts.h"

int64_t gdino_tokens(const gdino_config *c, const gdino_batch *b) { return VM_MIN(b->T, c->text_len); }

static vm_status set(vm_graph *g, const char *name, const void *data, vm_error *e) {
    if (!e->status && vm_set(g, name, data)) *e = g->err;
    return e->status;
}

/* --- text ----------------------------------------------------------------------------------------------------------- */
vm_status gdino_fill_text(vm_graph *g, const gdino *m, const gdino_batch *b, vm_error *e) {
    const int64_t n = gdino_tokens(&m->c, b), all = b->B * n;
    int32_t *ints = vm_calloc((size_t)(4 * all) + 1, sizeof *ints), *ids = ints, *types = ids + all, *mask = types + all, *position = mask + all;
    float *bias = vm_alloc((size_t)(all * n + all) * sizeof *bias + 1), *hide = bias + all * n;
    uint8_t *sees = vm_alloc((size_t)(n * n) + 1);
    if (!ints || !bias || !sees) vm_nomem(e, (size_t)(all * n) * sizeof *bias, "masks of texts");
    for (int64_t k = 0; k < b->B && !e->status; k++) {
        const int64_t text = b->shared ? 0 : k * b->T;
        gdino_phrases(b->ids + text, b->T, n, sees, position + k * n);
        for (int64_t i = 0; i < n * n; i++) bias[k * n * n + i] = sees[i] ? 0 : -1e30f;
        for (int64_t i = 0; i < n; i++) {
            ids[k * n + i] = b->ids[text + i];
            if (b->types) types[k * n + i] = b->types[text + i];
            mask[k * n + i] = !b->mask || b->mask[k * b->T + i];
            hide[k * n + i] = mask[k * n + i] ? 0 : -INFINITY;
        }
    }
    set(g, "gdino.positions", position, e), set(g, "gdino.phrases", bias, e);
    if (b->shared) set(g, "gdino.rows", b->rows, e);
    else set(g, "gdino.ids", ids, e);
    if (b->types && !b->shared) set(g, "gdino.types", types, e);
    if (b->mask) set(g, "gdino.text_mask", mask, e), set(g, "gdino.text_hide", hide, e);
    vm_free(ints), vm_free(bias), vm_free(sees);
    return e->status;
}

/* --- picture -------------------------------------------------------------------------------------------------------- */
typedef struct {
    int64_t B, S, P;
    int L;
    int64_t level[GDINO_LEVELS][2], from[GDINO_LEVELS]; /* from: its first cell */
    int32_t *cells, *of;                                /* (B,S); (S): the cell's map */
    float *kept, *yx, *at, *size, *ratio, *box, *use;
} cells;

/* The pixel that cell i of n reads: as the reference's resizing to the nearest. */
static int64_t nearest(int64_t i, int64_t n, int64_t pixels) {
    return VM_MIN((int64_t)floorf((float)i * ((float)pixels / (float)n)), pixels - 1);
}

static void mask_map(cells *x, const gdino_batch *b, int64_t k, int l) {
    const int64_t H = x->level[l][0], W = x->level[l][1];
    for (int64_t r = 0; r < H; r++)
        for (int64_t c = 0; c < W; c++) {
            int64_t s = x->from[l] + r * W + c, pixel = (k * b->H + nearest(r, H, b->H)) * b->W + nearest(c, W, b->W);
            x->cells[k * x->S + s] = !b->real || b->real[pixel] != 0;
            x->of[s] = l;
        }
}

/* Positions from 0 to 2 pi by the count of real cells so far, along column (axis 0) or row (axis 1). */
static void count_map(cells *x, int64_t k, int l, int axis) {
    const int64_t H = x->level[l][0], W = x->level[l][1], n = axis ? W : H, lines = axis ? H : W, step = axis ? 1 : W;
    for (int64_t line = 0; line < lines; line++) {
        int64_t first = k * x->S + x->from[l] + line * (axis ? W : 1);
        float total = 0, so_far = 0;
        for (int64_t i = 0; i < n; i++) total += (float)x->cells[first + i * step];
        for (int64_t i = 0; i < n; i++) {
            so_far += (float)x->cells[first + i * step];
            x->yx[2 * (first + i * step) + axis] = so_far / (total + 1e-6f) * 6.2831853071795864f;
        }
    }
}

/* The box around a cell: its middle, and a twentieth of the picture that doubles from map to map. */
static void propose(cells *x, int64_t k, int l, const float valid[2]) {
    const int64_t H = x->level[l][0], W = x->level[l][1];
    for (int64_t i = 0; i < H * W; i++) {
        int64_t s = k * x->S + x->from[l] + i;
        float side = 0.05f * (float)(1 << l), p[4] = { ((float)(i % W) + 0.5f) / valid[0], ((float)(i / W) + 0.5f) / valid[1], side, side };
        bool ok = x->cells[s];
        for (int j = 0; j < 4; j++) ok = ok && p[j] > 0.01f && p[j] < 0.99f;
        for (int j = 0; j < 4; j++) x->box[4 * s + j] = ok ? logf(p[j] / (1 - p[j])) : INFINITY;
        x->use[s] = ok, x->kept[s] = (float)x->cells[s];
    }
}

static void fill_map(cells *x, int64_t k, int l) {
    const int64_t H = x->level[l][0], W = x->level[l][1], first = k * x->S + x->from[l];
    float valid[2] = { 0 }, *ratio = x->ratio + (k * x->L + l) * 4; /* width, height */
    for (int64_t c = 0; c < W; c++) valid[0] += (float)x->cells[first + c];
    for (int64_t r = 0; r < H; r++) valid[1] += (float)x->cells[first + r * W];
    ratio[0] = ratio[2] = valid[0] / (float)W, ratio[1] = ratio[3] = valid[1] / (float)H;
    count_map(x, k, l, 0), count_map(x, k, l, 1);
    propose(x, k, l, valid);
}

static void place_in_maps(cells *x, int64_t k, int l) {
    const int64_t H = x->level[l][0], W = x->level[l][1];
    const float *ratio = x->ratio + k * x->L * 4;
    for (int64_t i = 0; i < H * W; i++) {
        float *at = x->at + (k * x->S + x->from[l] + i) * x->L * 2;
        float u = ((float)(i % W) + 0.5f) / (ratio[4 * l] * (float)W), v = ((float)(i / W) + 0.5f) / (ratio[4 * l + 1] * (float)H);
        for (int to = 0; to < x->L; to++) at[2 * to] = u * ratio[4 * to], at[2 * to + 1] = v * ratio[4 * to + 1];
    }
}

static vm_status set_cells(vm_graph *g, const gdino_batch *b, const cells *x, vm_error *e) {
    const float limits[] = { 1e-5f, -(1 - 1e-5f) };
    if (b->real) set(g, "gdino.cells", x->cells, e), set(g, "gdino.kept", x->kept, e);
    set(g, "gdino.yx", x->yx, e), set(g, "gdino.level", x->of, e), set(g, "gdino.at", x->at, e), set(g, "gdino.size", x->size, e);
    set(g, "gdino.ratio", x->ratio, e), set(g, "gdino.cell_box", x->box, e), set(g, "gdino.cell_use", x->use, e);
    return set(g, "gdino.limits", limits, e);
}

static vm_status fill_vision(vm_graph *g, const gdino_config *c, const gdino_batch *b, vm_error *e) {
    cells x = { .B = b->B, .L = (int)c->levels, .P = c->enc_points };
    x.S = gdino_levels(c, b->H, b->W, x.level);
    for (int l = 1; l < x.L; l++) x.from[l] = x.from[l - 1] + x.level[l - 1][0] * x.level[l - 1][1];
    const int64_t BS = x.B * x.S;
    x.cells = vm_alloc((size_t)(BS + x.S) * sizeof(int32_t) + 1), x.of = x.cells ? x.cells + BS : NULL;
    float *room = vm_alloc((size_t)(BS * (8 + 2 * x.L) + 2 * x.L * x.P + 4 * x.B * x.L) * sizeof *room + 1);
    if (!x.cells || !room) vm_nomem(e, (size_t)BS * (size_t)(9 + 2 * x.L) * sizeof *room, "positions of cells");
    else {
        x.kept = room, x.use = x.kept + BS, x.yx = x.use + BS, x.box = x.yx + 2 * BS, x.at = x.box + 4 * BS;
        x.size = x.at + 2 * x.L * BS, x.ratio = x.size + 2 * x.L * x.P;
        for (int l = 0; l < x.L; l++)
            for (int64_t p = 0; p < x.P; p++) x.size[2 * (l * x.P + p)] = (float)x.level[l][1], x.size[2 * (l * x.P + p) + 1] = (float)x.level[l][0];
        for (int64_t k = 0; k < x.B; k++) {
            for (int l = 0; l < x.L; l++) mask_map(&x, b, k, l), fill_map(&x, k, l);
            for (int l = 0; l < x.L; l++) place_in_maps(&x, k, l);
        }
        set_cells(g, b, &x, e);
    }
    vm_free(x.cells), vm_free(room);
    return e->status;
}

vm_status gdino_fill(vm_graph *g, const gdino *m, const gdino_batch *b, vm_error *e) {
    if (g->err.status) return *e = g->err, e->status;
    if (gdino_fill_text(g, m, b, e) || fill_vision(g, &m->c, b, e) || b->cells || swin_constants(g, &m->swin, e)) return e->status;
    return set(g, "gdino.pixels", b->pixels, e);
}

vm_status gdino_fill_seen(vm_graph *g, const gdino *m, const gdino_batch *b, vm_error *e) {
    if (g->err.status) return *e = g->err, e->status;
    int32_t *ends = vm_calloc((size_t)(2 * b->B) + 1, sizeof *ends);
    if (!ends) return vm_nomem(e, (size_t)b->B * sizeof *ends, "a batch");
    for (int64_t k = 0; k < b->B; k++) ends[b->B + k] = (int32_t)b->cells->ne[1];
    if (!swin_constants(g, &m->swin, e) && !set(g, "gdino.from", ends, e) && !set(g, "gdino.to", ends + b->B, e)) set(g, "gdino.pixels", b->pixels, e);
    vm_free(ends);
    return e->status;
}
