/* look.c - looking into a graph: DOT drawing, Chrome trace, profile per op against the roofline. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/graph.h"

void vm_dot(const vm_graph *g, FILE *f) {
    char shape[64];
    fprintf(f, "digraph vismin {\n  rankdir=TB; node [shape=box, fontname=\"monospace\", fontsize=10];\n");
    for (int64_t v = 1; v < g->n_v; v++)
        if (g->v[v].kind == VM_INPUT || g->v[v].kind == VM_PARAM)
            fprintf(f, "  v%" PRId64 " [label=\"%s\\n%s %s\", style=filled, fillcolor=%s];\n", v, g->v[v].name,
                    vm_type_name(g->v[v].type), vm_shape_text(g, (vm_val)v, shape),
                    g->v[v].kind == VM_INPUT ? "lightblue" : "lightgrey");
    for (int64_t i = 0; i < g->n_n; i++) {
        const vm_node *n = &g->n[i];
        if (n->dead) continue;
        fprintf(f, "  n%" PRId64 " [label=\"%s%s%s\"];\n", i, n->op->name, n->label ? "\\n" : "",
                n->label ? n->label : "");
        for (int k = 0; k < n->n_in; k++) {
            if (!n->in[k]) continue;
            const vm_value *x = &g->v[n->in[k]];
            fprintf(f, "  %s%d -> n%" PRId64 " [label=\"%s %s\"];\n", x->node >= 0 ? "n" : "v",
                    x->node >= 0 ? x->node : n->in[k], i, vm_type_name(x->type), vm_shape_text(g, n->in[k], shape));
        }
    }
    fprintf(f, "}\n");
}

void vm_trace_json(const vm_graph *g, FILE *f) {
    fprintf(f, "{\"traceEvents\":[");
    const char *sep = "";
    for (int64_t i = 0; i < g->n_trace; i++) {
        if (g->trace[2 * i + 1] <= 0) continue;
        const vm_node *n = &g->n[i];
        fprintf(f, "%s\n{\"name\":\"%s\",\"cat\":\"%s\",\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":%.3f,\"dur\":%.3f}",
                sep, n->op->name, n->label ? n->label : "", g->trace[2 * i] * 1e6,
                (g->trace[2 * i + 1] - g->trace[2 * i]) * 1e6);
        sep = ",";
    }
    fprintf(f, "\n]}\n");
}

typedef struct {
    const char *name;
    double t, flops, bytes, roof; /* roof: least time that the peaks allow */
    int64_t calls;
} row;

static int slowest_first(const void *a, const void *b) {
    const row *x = a, *y = b;
    return x->t < y->t ? 1 : x->t > y->t ? -1 : 0;
}

void vm_profile(const vm_graph *g, FILE *f, double peak_flops, double peak_bytes) {
    row *rows = vm_calloc((size_t)g->n_n + 1, sizeof *rows), all = { .name = "all" };
    int n_rows = 0;
    if (!rows) return;
    for (int64_t i = 0; i < g->n_n; i++) {
        const vm_node *n = &g->n[i];
        if (!n->t_n) continue;
        int r = 0;
        while (r < n_rows && strcmp(rows[r].name, n->op->name)) r++;
        if (r == n_rows) rows[n_rows++].name = n->op->name;
        double fl, by;
        vm_node_cost(g, n, &fl, &by);
        double t = n->t_sum, c = (double)n->t_n, roof = c * VM_MAX(fl / peak_flops, by / peak_bytes);
        for (int k = 0; k < 2; k++) {
            row *x = k ? &all : &rows[r];
            x->t += t, x->flops += c * fl, x->bytes += c * by, x->roof += roof, x->calls += n->t_n;
        }
    }
    qsort(rows, (size_t)n_rows, sizeof *rows, slowest_first);
    rows[n_rows++] = all;
    fprintf(f, "%-24s %8s %10s %6s %10s %9s %9s\n", "op", "calls", "ms", "%", "GFLOP/s", "GB/s", "roofline");
    for (int r = 0; r < n_rows; r++) {
        const row *x = &rows[r];
        fprintf(f, "%-24s %8" PRId64 " %10.3f %5.1f%% %10.1f %9.1f %8.0f%%\n", x->name, x->calls, x->t * 1e3,
                all.t > 0 ? 100 * x->t / all.t : 0, x->flops / VM_MAX(x->t, 1e-9) * 1e-9,
                x->bytes / VM_MAX(x->t, 1e-9) * 1e-9, 100 * x->roof / VM_MAX(x->t, 1e-9));
    }
    fprintf(f, "arena %.1f MB of %.1f MB of activations; %" PRId64 " nodes\n", (double)g->arena_bytes * 1e-6,
            (double)g->sum_bytes * 1e-6, g->n_n);
    vm_free(rows);
}
