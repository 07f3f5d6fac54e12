/* cublaslt.c - a stand-in for cuBLASLt for tests on the emulated device: the documented meaning of the calls that gpu_blas.c makes,
 * as plain loops over matrices stored by columns. Refuses what it does not know. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int32_t transposed[2], bias_type; uint32_t end; const float *bias; } product;
typedef struct { int type; uint64_t rows, cols; int64_t ld, stride; int32_t batch; } matrix;
typedef struct { size_t workspace; uint32_t aligned[4]; } preference;
typedef struct { uint64_t algo[8]; size_t workspace; int state; float waves; int reserved[4]; } found;
enum { BAD = 7 };

int cublasLtCreate(void **h);
int cublasLtMatmulDescCreate(void **d, int compute, int scale);
int cublasLtMatmulDescSetAttribute(product *d, int what, const void *x, size_t bytes);
int cublasLtMatmulDescDestroy(void *d);
int cublasLtMatrixLayoutCreate(void **m, int type, uint64_t rows, uint64_t cols, int64_t ld);
int cublasLtMatrixLayoutSetAttribute(matrix *m, int what, const void *x, size_t bytes);
int cublasLtMatrixLayoutDestroy(void *m);
int cublasLtMatmulPreferenceCreate(void **p);
int cublasLtMatmulPreferenceSetAttribute(preference *p, int what, const void *x, size_t bytes);
int cublasLtMatmulPreferenceDestroy(void *p);
int cublasLtMatmulAlgoGetHeuristic(void *h, product *d, matrix *a, matrix *b, matrix *c, matrix *out, preference *p, int asked, found *f, int *n);
int cublasLtMatmul(void *h, const product *d, const float *alpha, const void *a, const matrix *ma, const void *b, const matrix *mb, const float *beta,
                   const void *c, const matrix *mc, void *out, const matrix *mo, const void *algo, void *workspace, size_t bytes, void *stream);

static int new(void **to, size_t bytes) { return (*to = calloc(1, bytes)) ? 0 : 3; }
static int put(void *to, size_t room, const void *x, size_t bytes) { return bytes == room ? (memcpy(to, x, bytes), 0) : BAD; }
static int drop(void *x) { return free(x), 0; }

int cublasLtCreate(void **h) { return *h = &drop, 0; }
int cublasLtMatmulDescCreate(void **d, int compute, int scale) { return compute == 68 && scale == 0 ? new(d, sizeof(product)) : BAD; }
int cublasLtMatmulDescSetAttribute(product *d, int what, const void *x, size_t bytes) {
    switch (what) {
    case 3: case 4: return put(&d->transposed[what - 3], 4, x, bytes);
    case 7: return put(&d->end, 4, x, bytes);
    case 8: return put(&d->bias, sizeof d->bias, x, bytes);
    case 26: return put(&d->bias_type, 4, x, bytes) || d->bias_type ? BAD : 0;
    default: return BAD;
    }
}
int cublasLtMatmulDescDestroy(void *d) { return drop(d); }
int cublasLtMatrixLayoutCreate(void **m, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    if ((type != 0 && type != 2 && type != 14) || (uint64_t)ld < rows || new(m, sizeof(matrix))) return BAD;
    *(matrix *)*m = (matrix){ type, rows, cols, ld, 0, 1 };
    return 0;
}
int cublasLtMatrixLayoutSetAttribute(matrix *m, int what, const void *x, size_t bytes) {
    return what == 5 ? put(&m->batch, 4, x, bytes) : what == 6 ? put(&m->stride, 8, x, bytes) : BAD;
}
int cublasLtMatrixLayoutDestroy(void *m) { return drop(m); }
int cublasLtMatmulPreferenceCreate(void **p) {
    if (new(p, sizeof(preference))) return 3;
    for (int k = 0; k < 4; k++) ((preference *)*p)->aligned[k] = 256;
    return 0;
}
int cublasLtMatmulPreferenceSetAttribute(preference *p, int what, const void *x, size_t bytes) {
    return what == 1 ? put(&p->workspace, sizeof p->workspace, x, bytes) : what >= 5 && what < 9 ? put(&p->aligned[what - 5], 4, x, bytes) : BAD;
}
int cublasLtMatmulPreferenceDestroy(void *p) { return drop(p); }

static uint32_t promised[4]; /* by the last preference: what addresses are held against */
int cublasLtMatmulAlgoGetHeuristic(void *h, product *d, matrix *a, matrix *b, matrix *c, matrix *out, preference *p, int asked, found *f, int *n) {
    memcpy(promised, p->aligned, sizeof promised);
    if (asked < 1 || p->workspace < 64) return BAD;
    *f = (found){ .workspace = 64 };
    *n = 1;
    return 0;
}

static double half(uint16_t h) {
    int e = h >> 10 & 31;
    double x = e ? ldexp(1024 + (h & 1023), e - 25) : ldexp(h & 1023, -24);
    return h >> 15 ? -x : x;
}
static double load(const void *p, int type, int64_t i) {
    union { uint32_t u; float f; } x;
    if (type == 0) return (double)((const float *)p)[i];
    if (type == 2) return half(((const uint16_t *)p)[i]);
    x.u = (uint32_t)((const uint16_t *)p)[i] << 16;
    return (double)x.f;
}
static void store(void *p, int type, int64_t i, double v) {
    union { uint32_t u; float f; } x = { .f = (float)v };
    if (type == 0) ((float *)p)[i] = (float)v;
    else if (type == 14) ((uint16_t *)p)[i] = (uint16_t)((x.u + 0x7fffu + (x.u >> 16 & 1)) >> 16);
    else { /* f16, normal numbers: rounded to nearest even */
        int e;
        double m = frexp(v, &e), s = nearbyint(fabs(ldexp(m, 11)));
        uint32_t bits = v == 0 ? 0 : (uint32_t)((e + 13) << 10) + (uint32_t)s;
        ((uint16_t *)p)[i] = (uint16_t)((v < 0) << 15 | bits);
    }
}
static double ended(double x, uint32_t end) {
    if (end & 2) return x > 0 ? x : 0;
    return end & 32 ? 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))) : x;
}

int cublasLtMatmul(void *h, const product *d, const float *alpha, const void *a, const matrix *ma, const void *b, const matrix *mb, const float *beta,
                   const void *c, const matrix *mc, void *out, const matrix *mo, const void *algo, void *workspace, size_t bytes, void *stream) {
    const void *const at[] = { a, b, c, out };
    const int64_t M = (int64_t)mo->rows, N = (int64_t)mo->cols, K = (int64_t)(d->transposed[0] ? ma->rows : ma->cols);
    const uint64_t rows = d->transposed[0] ? ma->cols : ma->rows, cols = d->transposed[1] ? mb->rows : mb->cols, inner = d->transposed[1] ? mb->cols : mb->rows;
    for (int k = 0; k < 4; k++)
        if ((uintptr_t)at[k] % promised[k]) return BAD;
    if (rows != mo->rows || cols != mo->cols || inner != (uint64_t)K || mc->rows != mo->rows || !workspace || bytes < 64 || ma->batch != mo->batch ||
        mb->batch != mo->batch || (d->end & 4 ? !d->bias : d->bias != NULL))
        return BAD;
    for (int64_t z = 0; z < mo->batch; z++)
        for (int64_t j = 0; j < N; j++)
            for (int64_t i = 0; i < M; i++) {
                double s = 0;
                for (int64_t k = 0; k < K; k++)
                    s += load(a, ma->type, z * ma->stride + (d->transposed[0] ? k + i * ma->ld : i + k * ma->ld)) *
                         load(b, mb->type, z * mb->stride + (d->transposed[1] ? j + k * mb->ld : k + j * mb->ld));
                int64_t o = z * mo->stride + i + j * mo->ld;
                s = (double)*alpha * s + (*beta != 0 ? (double)*beta * load(c, mc->type, z * mc->stride + i + j * mc->ld) : 0);
                store(out, mo->type, o, ended(s + (d->bias ? (double)d->bias[i] : 0), d->end));
            }
    return 0;
}
