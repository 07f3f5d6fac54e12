/* gpu_blas.c - matrix products by NVIDIA's cuBLASLt. See gpu_choice.h.
 *
 * The library stores matrices by columns. A row-major C (M,N) is by columns its transpose (N,M), and C^T = op(B)^T op(A)^T: so B is
 * the library's first operand, A its second, and a bias of N entries runs along the rows of its result, as the library wants it.
 *
 * Its interface is declared here, in the numbers of its documented ABI, so that builds without its header have the same code; a
 * build with the header compares them. */
#include "kernels/gpu_choice.h"

#ifdef VM_HAVE_CUDA
#include <dlfcn.h>
#include <stddef.h>

#include "kernels/backend_cuda.h"

enum { LT_32F = 0, LT_16F = 2, LT_16BF = 14, LT_COMPUTE_32F = 68 };                          /* cudaDataType, cublasComputeType_t */
enum { LT_TRANSA = 3, LT_TRANSB = 4, LT_EPILOGUE = 7, LT_BIAS = 8, LT_BIAS_TYPE = 26 };      /* of a product */
enum { LT_BATCH = 5, LT_STRIDE = 6 };                                                        /* of a matrix */
enum { LT_WORKSPACE = 1, LT_ALIGN_A = 5 };                                                   /* of a preference; then B, C, D */
enum { LT_END = 1, LT_END_RELU = 2, LT_END_BIAS = 4, LT_END_GELU = 32 };
enum { WORKSPACE = 32 << 20, DEVICES = 64 };
typedef struct { uint64_t data[8]; } lt_algo;
typedef struct {
    lt_algo algo;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
} lt_found;

#if !defined(VM_EMU) && defined(__has_include)
#if __has_include(<cublasLt.h>)
#include <cublasLt.h>
#define SAME(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #theirs)
SAME(LT_32F, CUDA_R_32F);
SAME(LT_16F, CUDA_R_16F);
SAME(LT_16BF, CUDA_R_16BF);
SAME(LT_COMPUTE_32F, CUBLAS_COMPUTE_32F);
SAME(LT_TRANSA, CUBLASLT_MATMUL_DESC_TRANSA);
SAME(LT_TRANSB, CUBLASLT_MATMUL_DESC_TRANSB);
SAME(LT_EPILOGUE, CUBLASLT_MATMUL_DESC_EPILOGUE);
SAME(LT_BIAS, CUBLASLT_MATMUL_DESC_BIAS_POINTER);
SAME(LT_BIAS_TYPE, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE);
SAME(LT_BATCH, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT);
SAME(LT_STRIDE, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET);
SAME(LT_WORKSPACE, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
SAME(LT_ALIGN_A, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
SAME(LT_END, CUBLASLT_EPILOGUE_DEFAULT);
SAME(LT_END_RELU | LT_END_BIAS, CUBLASLT_EPILOGUE_RELU_BIAS);
SAME(LT_END_GELU | LT_END_BIAS, CUBLASLT_EPILOGUE_GELU_BIAS);
SAME(sizeof(lt_found), sizeof(cublasLtMatmulHeuristicResult_t));
SAME(offsetof(lt_found, state), offsetof(cublasLtMatmulHeuristicResult_t, state));
#endif
#endif

static struct {
    void *file;
    int (*create)(void **);
    int (*desc)(void **, int compute, int scale);
    int (*desc_set)(void *, int, const void *, size_t);
    int (*desc_free)(void *);
    int (*layout)(void **, int type, uint64_t rows, uint64_t cols, int64_t ld);
    int (*layout_set)(void *, int, const void *, size_t);
    int (*layout_free)(void *);
    int (*preference)(void **);
    int (*preference_set)(void *, int, const void *, size_t);
    int (*preference_free)(void *);
    int (*heuristic)(void *, void *, void *, void *, void *, void *, void *, int, lt_found *, int *);
    int (*matmul)(void *, void *, const void *alpha, const void *a, void *, const void *b, void *, const void *beta, const void *c, void *, void *d,
                  void *, const lt_algo *, void *workspace, size_t, void *stream);
    void *handle[DEVICES]; /* one per device, for the life of the process */
} lt;

vm_status vm_gpu_blas_open(const char *file, vm_error *e) {
    static const char *const usual[] = { "libcublasLt.so.13", "libcublasLt.so.12" };
    const struct { void *to; const char *name; } f[] = {
        { &lt.create, "cublasLtCreate" }, { &lt.desc, "cublasLtMatmulDescCreate" }, { &lt.desc_set, "cublasLtMatmulDescSetAttribute" },
        { &lt.desc_free, "cublasLtMatmulDescDestroy" }, { &lt.layout, "cublasLtMatrixLayoutCreate" },
        { &lt.layout_set, "cublasLtMatrixLayoutSetAttribute" }, { &lt.layout_free, "cublasLtMatrixLayoutDestroy" },
        { &lt.preference, "cublasLtMatmulPreferenceCreate" }, { &lt.preference_set, "cublasLtMatmulPreferenceSetAttribute" },
        { &lt.preference_free, "cublasLtMatmulPreferenceDestroy" }, { &lt.heuristic, "cublasLtMatmulAlgoGetHeuristic" }, { &lt.matmul, "cublasLtMatmul" }
    };
    if (lt.file) return VM_OK;
    void *lib = file ? dlopen(file, RTLD_NOW | RTLD_LOCAL) : NULL;
    for (int k = 0; k < VM_LEN(usual) && !lib && !file; k++) lib = dlopen(usual[k], RTLD_NOW | RTLD_LOCAL);
    if (!lib) return vm_fail(e, VM_EDEVICE, "cuBLASLt cannot be opened: %s", dlerror());
    for (int k = 0; k < VM_LEN(f); k++)
        if (!(*(void **)f[k].to = dlsym(lib, f[k].name))) return vm_fail(e, VM_EDEVICE, "cuBLASLt has no %s", f[k].name);
    lt.file = lib;
    return VM_OK;
}

/* The library's GELU is that with tanh; its bias has the type of the result; what is added comes before an activation, ours behind. */
bool vm_gpu_blas_can(const vm_gpu_product *p) {
    const bool act = p->act == VM_NONE || ((p->act == VM_RELU || p->act == VM_GELU_TANH) && !p->add);
    return act && (p->type == VM_F32 || p->type == VM_BF16 || p->type == VM_F16) && (!p->bias || p->c_type == VM_F32) && p->M && p->N && p->K && p->batch;
}

/* --- one product ---------------------------------------------------------------------------------------------------------- */
static int type_of(vm_type t) { return t == VM_F32 ? LT_32F : t == VM_BF16 ? LT_16BF : LT_16F; }

/* A row-major matrix (rows, cols), by columns its transpose. */
static int matrix(void **out, vm_type t, int64_t rows, int64_t cols, int64_t batch, int64_t stride) {
    int32_t n = (int32_t)batch;
    int code = lt.layout(out, type_of(t), (uint64_t)cols, (uint64_t)rows, cols);
    if (!code) code = lt.layout_set(*out, LT_BATCH, &n, sizeof n);
    return code ? code : lt.layout_set(*out, LT_STRIDE, &stride, sizeof stride);
}

static int describe(void **desc, const vm_gpu_product *p) {
    const int32_t first = !p->tb ? 0 : 1, second = !p->ta ? 0 : 1; /* stored as op wants them: by columns transposed already */
    const uint32_t end = (p->act == VM_RELU ? LT_END_RELU : p->act == VM_GELU_TANH ? LT_END_GELU : p->bias ? 0u : LT_END) | (p->bias ? LT_END_BIAS : 0u);
    const int32_t f32 = LT_32F;
    int code = lt.desc(desc, LT_COMPUTE_32F, LT_32F);
    if (!code) code = lt.desc_set(*desc, LT_TRANSA, &first, sizeof first);
    if (!code) code = lt.desc_set(*desc, LT_TRANSB, &second, sizeof second);
    if (!code) code = lt.desc_set(*desc, LT_EPILOGUE, &end, sizeof end);
    if (!code && p->bias) code = lt.desc_set(*desc, LT_BIAS, &p->bias, sizeof p->bias);
    return !code && p->bias ? lt.desc_set(*desc, LT_BIAS_TYPE, &f32, sizeof f32) : code;
}

/* How much memory it may have, and how our addresses are aligned: buffers to 64 bytes, views to less. */
static int prefer(void **preference, const vm_gpu_product *p) {
    const void *const at[] = { p->b, p->a, p->c, p->c };
    const size_t most = WORKSPACE;
    int code = lt.preference(preference);
    if (!code) code = lt.preference_set(*preference, LT_WORKSPACE, &most, sizeof most);
    for (int k = 0; k < VM_LEN(at) && !code; k++) {
        const uintptr_t x = (uintptr_t)at[k] | 256;
        const uint32_t aligned = (uint32_t)(x & -x);
        code = lt.preference_set(*preference, LT_ALIGN_A + k, &aligned, sizeof aligned);
    }
    return code;
}

vm_status vm_gpu_blas_run(vm_graph *g, const vm_gpu_product *p) {
    void **handle = &lt.handle[gpu_of(g)->device], *desc = NULL, *a = NULL, *b = NULL, *c = NULL, *preference = NULL;
    const float alpha = p->alpha, beta = p->add ? 1 : 0;
    lt_found found = { .state = -1 };
    int n = 0, code = *handle ? 0 : lt.create(handle);
    if (!code) code = describe(&desc, p);
    if (!code) code = p->tb ? matrix(&b, p->type, p->N, p->K, p->batch, p->sb) : matrix(&b, p->type, p->K, p->N, p->batch, p->sb);
    if (!code) code = p->ta ? matrix(&a, p->type, p->K, p->M, p->batch, p->sa) : matrix(&a, p->type, p->M, p->K, p->batch, p->sa);
    if (!code) code = matrix(&c, p->c_type, p->M, p->N, p->batch, p->sc);
    if (!code) code = prefer(&preference, p);
    if (!code) code = lt.heuristic(*handle, desc, b, a, c, c, preference, 1, &found, &n);
    if (!code && (n < 1 || found.state)) code = found.state ? found.state : -1;
    void *workspace = !code && found.workspace ? vm_scratch(g, WORKSPACE) : NULL;
    if (!code && (workspace || !found.workspace))
        code = lt.matmul(*handle, desc, &alpha, p->b, b, p->a, a, &beta, p->c, c, p->c, c, &found.algo, workspace, found.workspace, gpu_stream(g));
    if (desc) lt.desc_free(desc);
    if (a) lt.layout_free(a);
    if (b) lt.layout_free(b);
    if (c) lt.layout_free(c);
    if (preference) lt.preference_free(preference);
    return code && !g->err.status ? vm_fail(&g->err, VM_EDEVICE, "cuBLASLt: a product of %lld x %lld x %lld failed with status %d", (long long)p->M,
                                            (long long)p->N, (long long)p->K, code) : g->err.status;
}
#else
vm_status vm_gpu_blas_open(const char *file, vm_error *e) { return vm_fail(e, VM_EDEVICE, "this program was built without CUDA"); }
bool vm_gpu_blas_can(const vm_gpu_product *p) { return false; }
vm_status vm_gpu_blas_run(vm_graph *g, const vm_gpu_product *p) { return vm_gpu_blas_open(NULL, &g->err); }
#endif
