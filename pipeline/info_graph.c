/* info_graph.c - plan, drawing, profile and trace of CLIP's graph. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "kernels/peak.h"
#include "kernels/philox.h"
#include "pipeline/info.h"
#include "pipeline/run.h"

enum { PROFILE_RUNS = 3 };

static vm_val image_tower(vm_graph *g, const clip_model *m, int64_t n) {
    const int64_t S = m->c.image_size;
    return towers_normalise(g, &m->t, clip_image_features(g, m, vm_input(g, "pixels", VM_F32, 4, (int64_t[]){ n, S, S, 3 })));
}

static vm_val text_tower(vm_graph *g, const clip_model *m, int64_t n) {
    const int64_t T = m->c.context;
    vm_val ids = vm_input(g, "ids", VM_I32, 2, (int64_t[]){ n, T }), at = vm_input(g, "at", VM_I32, 1, &n);
    return towers_normalise(g, &m->t, clip_text_features(g, m, ids, at, vm_input(g, "mask", VM_I32, 2, (int64_t[]){ n, T })));
}

size_t info_arena(const clip_config *c, bool text, int64_t n, vm_type dtype, vm_error *e) {
    clip_model *m = NULL;
    if (clip_new(&m, vm_backend_cpu(), c, e)) return 0;
    vm_graph *g = vm_graph_new(vm_backend_cpu(), dtype);
    if (g) vm_output(g, "features", text ? text_tower(g, m, n) : image_tower(g, m, n));
    if (!g) vm_nomem(e, sizeof *g, "a graph");
    else if (vm_plan(g)) *e = g->err;
    size_t bytes = e->status ? 0 : g->arena_bytes;
    vm_graph_free(g);
    clip_free(m);
    return bytes;
}

/* --- what is asked for -------------------------------------------------------------------------------------------- */
static vm_status save(const vm_graph *g, const char *path, void (*print)(const vm_graph *, FILE *), vm_error *e) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *f = open_memstream(&text, &bytes);
    if (!f) return vm_nomem(e, 4096, path);
    print(g, f);
    if (fclose(f)) vm_nomem(e, bytes, path);
    else file_write(path, text, bytes, e);
    free(text); /* of open_memstream */
    return e->status;
}

static void figures(const vm_graph *g, int64_t batch, json_writer *w) {
    double flops = 0;
    int64_t nodes = 0;
    for (int64_t i = 0; i < g->n_n; i++) {
        double f, b;
        if (g->n[i].dead) continue;
        vm_node_cost(g, &g->n[i], &f, &b);
        flops += f, nodes += !g->n[i].op->view;
    }
    if (w) {
        json_begin_object(w, "plan");
        json_put_int(w, "batch", batch);
        json_put_str(w, "dtype", vm_type_name(g->dtype));
        json_put_int(w, "nodes", nodes);
        json_put_int(w, "arena_bytes", (int64_t)g->arena_bytes);
        json_put_int(w, "activation_bytes", (int64_t)g->sum_bytes);
        json_put_num(w, "flops", flops);
        json_close_object(w);
        return;
    }
    printf("plan         %lld pictures and %lld texts, %s products: %lld nodes, %.2f GFLOP; arena %.1f MB for %.1f MB "
           "of activations\n",
           (long long)batch, (long long)batch, vm_type_name(g->dtype), (long long)nodes, flops * 1e-9,
           (double)g->arena_bytes * 1e-6, (double)g->sum_bytes * 1e-6);
}

static vm_status fill_inputs(vm_graph *g, const clip_config *c, int64_t n, uint64_t seed, vm_error *e) {
    const int64_t px = n * c->image_size * c->image_size * 3, T = c->context;
    vm_rng r = vm_rng_at(seed, 0);
    float *pixels = vm_alloc((size_t)px * sizeof *pixels);
    int32_t *ids = vm_calloc((size_t)(n * T), 3 * sizeof *ids), *mask = ids ? ids + n * T : NULL,
            *at = ids ? ids + 2 * n * T : NULL;
    if (!pixels || !ids) vm_nomem(e, (size_t)px * sizeof *pixels, "random pictures");
    for (int64_t i = 0; !e->status && i < px; i++) pixels[i] = 2 * vm_rng_f32(&r) - 1;
    for (int64_t i = 0; !e->status && i < n * T; i++)
        ids[i] = (int32_t)(i % T == T - 1 ? c->eos : vm_rng_below(&r, (uint32_t)VM_MAX(c->vocab - 2, (int64_t)1)));
    if (!e->status) {
        clip_text_rows(c, n, T, ids, NULL, at, mask);
        if (vm_set(g, "pixels", pixels) || vm_set(g, "ids", ids) || vm_set(g, "at", at) || vm_set(g, "mask", mask))
            *e = g->err;
    }
    vm_free(pixels);
    vm_free(ids);
    return e->status;
}

/* One run to pack weights and make primitives, then those that count. */
static vm_status run_profiled(vm_graph *g, const clip_config *c, const vm_args *a, FILE *f, vm_error *e) {
    if (fill_inputs(g, c, arg_int(a, "batch"), (uint64_t)arg_int(a, "seed"), e)) return e->status;
    for (int k = 0; k <= PROFILE_RUNS && !e->status && !run_stopping(); k++) {
        g->profile = k > 0;
        if (vm_run(g)) *e = g->err;
    }
    if (e->status || !arg_flag(a, "profile")) return e->status;
    double flops = vm_peak_flops_on(g->be, g->dtype), read = vm_peak_read_on(g->be);
    fprintf(f, "measured peaks of %s with %d threads: %.1f GFLOP/s in %s, %.1f GB/s from memory; %d runs\n", g->be->name,
            vm_num_threads(), flops * 1e-9, vm_type_name(g->dtype), read * 1e-9, PROFILE_RUNS);
    vm_profile(g, f, flops, read);
    return VM_OK;
}

vm_status info_graph(const clip_config *c, const char *dir, const vm_args *a, json_writer *w, vm_error *e) {
    const char *dot = arg_str(a, "dot"), *trace = arg_str(a, "trace");
    const bool runs = arg_flag(a, "profile") || trace;
    const int64_t batch = arg_int(a, "batch");
    clip_model *m = NULL;
    vm_graph *g = NULL;
    vm_type dtype;
    vm_backend *be = run_backend(a, e);
    if (!be || run_dtype(a, true, &dtype, e)) return e->status;
    if (runs ? clip_open(&m, be, dir, false, e) : clip_new(&m, be, c, e)) return e->status;
    if (!(g = vm_graph_new(be, dtype))) {
        vm_nomem(e, sizeof *g, "a graph");
        goto done;
    }
    g->deterministic = arg_flag(a, "deterministic");
    vm_val images = image_tower(g, m, batch), texts = text_tower(g, m, batch);
    vm_output(g, "logits", towers_logits(g, &m->t, images, texts));
    if (vm_plan(g)) {
        *e = g->err;
        goto done;
    }
    figures(g, batch, w);
    if (dot && save(g, dot, vm_dot, e)) goto done;
    if (runs && run_profiled(g, &m->c, a, w ? stderr : stdout, e)) goto done;
    if (trace) save(g, trace, vm_trace_json, e);
done:
    vm_graph_free(g);
    clip_free(m);
    return e->status;
}
