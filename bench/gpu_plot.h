/* gpu_plot.h - the results of bench/gpu.c as a table, and as a roofline: FLOP/s over FLOP per byte, both on log axes. */
#ifndef VM_GPU_PLOT_H
#define VM_GPU_PLOT_H
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    char name[96], family[24];
    double gflop, gbytes, seconds, roof; /* roof: least time that the peaks allow */
    bool bf16;
} bench_point;

static inline void bench_table(FILE *f, const bench_point *p, int n) {
    fprintf(f, "%-11s %-48s %10s %10s %9s %6s\n", "family", "row", "us", "GFLOP/s", "GB/s", "roof");
    for (int k = 0; k < n; k++)
        fprintf(f, "%-11s %-48s %10.2f %10.1f %9.1f %5.0f%%\n", p[k].family, p[k].name, p[k].seconds * 1e6, p[k].gflop / p[k].seconds,
                p[k].gbytes / p[k].seconds, 100 * p[k].roof / p[k].seconds);
}

static inline int bench_roofline(const char *path, const bench_point *p, int n, double f32, double bf16, double copy) {
    enum { W = 900, H = 560, L = 70, B = 50 };
    static const char *const colours[] = { "#1b6ca8", "#c8553d", "#3a7d44", "#8e44ad", "#b8860b", "#555555", "#d81b60", "#00897b" };
    const char *family[8] = { 0 };
    double x0 = 0.01, x1 = 10000, y1 = 2 * (f32 > bf16 ? f32 : bf16), y0 = y1 * 1e-6;
    FILE *f = fopen(path, "w");
    if (!f) return -1;
#define X(v) (L + (W - L - 10) * log((v) / x0) / log(x1 / x0))
#define Y(v) (H - B - (H - B - 10) * log((v) / y0) / log(y1 / y0))
    fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\">\n"
               "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n", W, H);
    for (double x = x0; x <= x1 * 1.01; x *= 10)
        fprintf(f, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"10\" y2=\"%d\" stroke=\"#ddd\"/><text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>\n", X(x),
                X(x), H - B, X(x), H - B + 16, x);
    for (double y = pow(10, ceil(log10(y0))); y <= y1; y *= 10)
        fprintf(f, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", L, W - 10,
                Y(y), Y(y), L - 6, Y(y) + 4, y * 1e-9);
    fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">FLOP per byte</text><text x=\"14\" y=\"%d\" transform=\"rotate(-90 14 %d)\" "
               "text-anchor=\"middle\">GFLOP/s</text>\n", (W + L) / 2, H - 12, H / 2, H / 2);
    for (int k = 0; k < 2; k++) { /* the roofs: copy rate, then the largest product */
        double top = k ? bf16 : f32, ridge = top / copy;
        fprintf(f, "<polyline fill=\"none\" stroke=\"#000\" stroke-dasharray=\"%s\" points=\"%.1f,%.1f %.1f,%.1f %.1f,%.1f\"/>"
                   "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", k ? "none" : "6 3", X(x0), Y(fmax(copy * x0, y0)), X(ridge), Y(top), X(x1),
                Y(top), W - 14, Y(top) - 5, k ? "bf16" : "f32");
    }
    for (int k = 0; k < n; k++) {
        int c = 0;
        if (p[k].gflop <= 0) continue; /* ops that are counted in bytes only: the table has them */
        while (c < 7 && family[c] && strcmp(family[c], p[k].family)) c++;
        family[c] = p[k].family;
        double x = fmin(fmax(p[k].gflop / p[k].gbytes, x0), x1), y = fmax(p[k].gflop * 1e9 / p[k].seconds, y0);
        fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\" fill-opacity=\"%s\" stroke=\"%s\"><title>%s: %.1f us, %.0f %% of the roof</title>"
                   "</circle>\n", X(x), Y(y), colours[c], p[k].bf16 ? "1" : "0.2", colours[c], p[k].name, p[k].seconds * 1e6,
                100 * p[k].roof / p[k].seconds);
    }
    for (int c = 0; c < 8 && family[c]; c++)
        fprintf(f, "<circle cx=\"%d\" cy=\"%d\" r=\"5\" fill=\"%s\"/><text x=\"%d\" y=\"%d\">%s</text>\n", W - 120, H - B - 16 - 18 * c, colours[c],
                W - 110, H - B - 12 - 18 * c, family[c]);
    fprintf(f, "</svg>\n");
#undef X
#undef Y
    return fclose(f);
}
#endif
