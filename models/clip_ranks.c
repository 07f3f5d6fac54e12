/* clip_ranks.c - see clip_ranks.h. */
#include "models/clip_ranks.h"

#include <string.h>

struct clip_ranks {
    vm_comm *c;
    vm_comm *device;      /* the same ranks on their GPUs (NCCL); NULL = through the host */
    const towers *m;
    float *gathered;      /* blocks of rows as they come from the ranks */
    vm_real *img, *txt, *d_img, *d_txt;
    float *valid;
    int32_t *same;
    int64_t cap;          /* rows that all of them have room for */
};

vm_status clip_ranks_new(clip_ranks **out, vm_comm *c, const towers *m, vm_error *e) {
    clip_ranks *x = vm_calloc(1, sizeof *x);
    *out = x;
    if (!x) return vm_nomem(e, sizeof *x, "the ranks");
    x->c = c, x->m = m;
    void *stream = vm_backend_stream(m->w->be);
    vm_error none = { 0 }; /* where NCCL is missing sums go through the host: slower, and as right */
    bool without = !stream;
    if (vm_comm_any(c, &without, e) || without) return e->status;
    without = vm_comm_nccl(&x->device, c, stream, &none) != VM_OK;
    if (vm_comm_any(c, &without, e) || !without) return e->status;
    vm_comm_close(x->device);
    x->device = NULL;
    return VM_OK;
}

const char *clip_ranks_way(const clip_ranks *x) { return x->device ? x->device->name : x->c->name; }

static void release(clip_ranks *x) {
    vm_free(x->gathered), vm_free(x->img), vm_free(x->txt), vm_free(x->d_img), vm_free(x->d_txt), vm_free(x->valid), vm_free(x->same);
    x->cap = 0;
}

void clip_ranks_free(clip_ranks *x) {
    if (!x) return;
    release(x);
    vm_comm_close(x->device);
    vm_free(x);
}

static vm_status room(clip_ranks *x, int64_t rows, vm_error *e) {
    size_t n = (size_t)rows, wide = n * (size_t)VM_MAX(x->m->embed, (int64_t)4);
    if (rows <= x->cap) return VM_OK;
    release(x);
    x->gathered = vm_alloc(wide * sizeof(float)), x->valid = vm_alloc(n * sizeof(float)), x->same = vm_alloc(n * sizeof(int32_t));
    x->img = vm_alloc(wide * sizeof(vm_real)), x->txt = vm_alloc(wide * sizeof(vm_real));
    x->d_img = vm_alloc(wide * sizeof(vm_real)), x->d_txt = vm_alloc(wide * sizeof(vm_real));
    if (!x->gathered || !x->valid || !x->same || !x->img || !x->txt || !x->d_img || !x->d_txt) return vm_nomem(e, 5 * wide * sizeof(float), "features of all ranks");
    x->cap = rows;
    return VM_OK;
}

/* --- the order of rows ---------------------------------------------------------------------------------------------- */
/* Rows of a rank fall into sections: originals with changes, originals without, columns of changes. Section s of the whole batch is
 * section s of all ranks, one after the other. */
typedef struct {
    int64_t n, at; /* rows of one rank; where they begin there */
} section;

static int sections(section *s, const clip_rows *r, int64_t rows) {
    int64_t K = VM_MAX(r->K, (int64_t)1), with = r->n_twins / K;
    int n = 0;
    s[n++] = (section){ with, 0 }, s[n++] = (section){ r->n_orig - with, with };
    if (rows > r->n_orig) s[n++] = (section){ with, r->n_orig }; /* all columns: their order in the whole batch is column by column */
    return n;
}

/* Calls copy for every run of rows: `from` of a rank's block stands at `to` of the whole batch. */
typedef void (*mover)(void *whole, void *block, int64_t to, int64_t from, int64_t n, size_t row);
static void move_rows(const clip_rows *r, int64_t rows, int W, int rank, void *whole, void *block, size_t row, mover move) {
    section s[3];
    int n = sections(s, r, rows);
    int64_t K = VM_MAX(r->K, (int64_t)1), begin = 0;
    for (int k = 0; k < n; k++) {
        for (int64_t column = 0; column < (k == 2 ? K : 1); column++, begin += W * s[k].n)
            move(whole, block, begin + rank * s[k].n, s[k].at + column * s[k].n, s[k].n, row);
    }
}
static void into_whole(void *whole, void *block, int64_t to, int64_t from, int64_t n, size_t row) {
    memcpy((char *)whole + (size_t)to * row, (char *)block + (size_t)from * row, (size_t)n * row);
}
static void out_of_whole(void *whole, void *block, int64_t to, int64_t from, int64_t n, size_t row) {
    memcpy((char *)block + (size_t)from * row, (char *)whole + (size_t)to * row, (size_t)n * row);
}

/* The rows (n, width) of all ranks, in the order of the whole batch. */
static vm_status gather(clip_ranks *x, const clip_rows *r, int64_t n, int64_t width, const void *mine, void *whole, vm_error *e) {
    if (x->c->all_gather(x->c, mine, n * width, x->gathered, e)) return e->status;
    for (int rank = 0; rank < x->c->size; rank++)
        move_rows(r, n, x->c->size, rank, whole, x->gathered + rank * n * width, (size_t)width * sizeof(float), into_whole);
    return VM_OK;
}

/* Numbers of equal captions are local: a caption is known to other ranks by its hash. */
static vm_status gather_same(clip_ranks *x, const clip_rows *r, int64_t n, const int32_t *hash, int64_t total, vm_error *e) {
    if (gather(x, r, n, 1, hash, x->same, e)) return e->status;
    for (int64_t i = total - 1; i >= 0; i--) {
        int64_t j = 0;
        while (j < i && x->same[j] != x->same[i]) j++;
        x->gathered[i] = (float)j; /* exact: fewer rows than 2^24 */
    }
    for (int64_t i = 0; i < total; i++) x->same[i] = (int32_t)x->gathered[i];
    return VM_OK;
}

vm_status clip_ranks_run(clip_ranks *x, clip_head *h, const clip_rows *r, int64_t n_img, int64_t n_txt, const vm_real *img, const vm_real *txt,
                         vm_real *d_img, vm_real *d_txt, clip_terms *out, vm_error *e) {
    const int64_t E = x->m->embed, W = x->c->size, n = r->n_orig + r->n_twins;
    const size_t row = (size_t)E * sizeof(vm_real);
    if (sizeof(vm_real) != sizeof(float)) return vm_fail(e, VM_EUSAGE, "several processes exchange f32; this is the double-precision build");
    if (room(x, W * n, e)) return e->status;
    clip_rows all = { W * r->n_orig, W * r->n_twins, r->K, r->text_only, NULL, NULL };
    clip_rows changes = { 0, r->n_twins, r->K, r->text_only, NULL, NULL };
    if (r->valid && r->n_twins) { /* (K, with): columns of all ranks one after the other */
        if (x->c->all_gather(x->c, r->valid, r->n_twins, x->gathered, e)) return e->status;
        int64_t K = VM_MAX(changes.K, (int64_t)1), with = r->n_twins / K;
        for (int64_t rank = 0; rank < W; rank++)
            for (int64_t k = 0; k < K; k++)
                memcpy(x->valid + (k * W + rank) * with, x->gathered + rank * r->n_twins + k * with, (size_t)with * sizeof(float));
        all.valid = x->valid;
    }
    if (r->same) {
        if (gather_same(x, r, n, r->same, W * n, e)) return e->status;
        all.same = x->same;
    }
    if (gather(x, r, n_img, E, img, x->img, e) || gather(x, r, n_txt, E, txt, x->txt, e)) return e->status;
    if (clip_head_run(h, &all, x->img, x->txt, x->d_img, x->d_txt, out, e)) return e->status;
    move_rows(r, n_img, (int)W, x->c->rank, x->d_img, d_img, row, out_of_whole);
    move_rows(r, n_txt, (int)W, x->c->rank, x->d_txt, d_txt, row, out_of_whole);
    return VM_OK;
}

vm_status clip_ranks_sum_gradients(clip_ranks *x, vm_error *e) {
    const weight_set *w = x->m->w;
    for (int64_t i = 0; i < w->n && !e->status; i++) {
        const vm_param *p = w->p[i];
        if (!p->trainable || !p->grad || p == x->m->logit_scale || p == x->m->logit_bias) continue;
        if (x->device) { /* in the order of the stream: nobody waits here */
            x->device->all_reduce(x->device, (float *)p->grad, vm_param_count(p), VM_COMM_SUM, e);
            continue;
        }
        vm_mirror at;
        if (vm_mirror_open(&at, p->be, p->grad, (size_t)vm_param_count(p) * sizeof *p->grad, true, e)) break;
        x->c->all_reduce(x->c, at.host, vm_param_count(p), VM_COMM_SUM, e);
        vm_mirror_close(&at, !e->status, e);
    }
    return e->status;
}
