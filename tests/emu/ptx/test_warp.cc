/* test_warp.cc - warp.ptx on the emulated device: fragments of products by the places that the PTX ISA gives them, warp operations. */
#include <stdio.h>
#include <string.h>

#include "tests/emu/ptx/lane.h"
#include "tests/emu/shim.h"

struct job {
    const lane_kernel *k;
    void *param[2];
};
static void run_job(const void *j) { ((const job *)j)->k->run((const unsigned char *)((const job *)j)->param); }

static bool run(const char *name, const void *in, size_t in_bytes, void *out, size_t out_bytes) {
    cudaStream_t s;
    void *din, *dout;
    job *j = new job{ lane_named(name), {} };
    if (!j->k || cudaStreamCreateWithFlags(&s, 0) || cudaMalloc(&din, in_bytes) || cudaMalloc(&dout, out_bytes)) return false;
    j->param[0] = din, j->param[1] = dout;
    cudaMemcpyAsync(din, in, in_bytes, cudaMemcpyHostToDevice, s);
    emu::queue_launch(name, __FILE__, __LINE__, { 1, 1, 1 }, { 32, 1, 1 }, 0, s, (const void *)run_job, run_job,
                      std::shared_ptr<void>(j, [](void *p) { delete (job *)p; }));
    cudaMemcpyAsync(out, dout, out_bytes, cudaMemcpyDeviceToHost, s);
    cudaStreamSynchronize(s);
    cudaFree(din), cudaFree(dout), cudaStreamDestroy(s);
    return true;
}

/* bits of a small whole number */
static uint32_t f32(int x) { float f = (float)x; uint32_t u; memcpy(&u, &f, 4); return u; }
static uint32_t bf16_(int x) { return f32(x) >> 16; }
static uint32_t f16_(int x) { /* |x| < 2048 */
    uint32_t u = f32(x);
    return x ? (u >> 16 & 0x8000) | (((u >> 23 & 255) - 112) << 10) | (u >> 13 & 0x3ff) : 0;
}
enum { TF32, S8, BF16, F16 };
static uint32_t element(int type, int x) { return type == TF32 ? f32(x) : type == S8 ? (uint8_t)x : type == BF16 ? bf16_(x) : f16_(x); }

static int product(const char *name, int type, int k, bool f16_sums) {
    int A[16][32], B[32][8], C[16][8], each = type == TF32 ? 1 : type == S8 ? 4 : 2, bits = 32 / each, bad = 0;
    uint32_t in[32][16], out[32][4], s = 1;
    memset(in, 0, sizeof in);
    for (auto &r : A) for (int &x : r) s = s * 1664525u + 1013904223u, x = (int)(s >> 24) % 15 - 7;
    for (auto &r : B) for (int &x : r) s = s * 1664525u + 1013904223u, x = type == S8 ? (int)(s >> 24) : (int)(s >> 24) % 15 - 7;
    for (auto &r : C) for (int &x : r) s = s * 1664525u + 1013904223u, x = (int)(s >> 24) % 100 - 50;
    for (int l = 0; l < 32; l++) {
        int g = l / 4, t = l % 4;
        for (int i = 0; i < each; i++)
            for (int r = 0; r < 4 && r / 2 * 4 * each < k; r++) {
                int column = t * each + i + r / 2 * 4 * each;
                in[l][r] |= element(type, A[g + r % 2 * 8][column]) << i * bits;
                if (r % 2 == 0) in[l][4 + r / 2] |= element(type, B[column][g]) << i * bits;
            }
        for (int i = 0; i < 4; i++) {
            int c = C[g + i / 2 * 8][2 * t + i % 2];
            if (f16_sums) in[l][8 + i / 2] |= f16_(c) << i % 2 * 16;
            else in[l][8 + i] = type == S8 ? (uint32_t)c : f32(c);
        }
    }
    if (!run(name, in, sizeof in, out, sizeof out)) return printf("FAIL ptx.%s: it did not run\n", name), 1;
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) {
            int row = l / 4 + i / 2 * 8, column = l % 4 * 2 + i % 2, want = C[row][column];
            for (int j = 0; j < k; j++) want += A[row][j] * B[j][column];
            uint32_t w = f16_sums ? f16_(want) : type == S8 ? (uint32_t)want : f32(want), got = f16_sums ? out[l][i / 2] >> i % 2 * 16 & 0xffff : out[l][i];
            if (got != w && bad++ < 3) fprintf(stderr, "%s: lane %d register %d: %x, want %x\n", name, l, i, got, w);
        }
    printf("%s ptx.%s\n", bad ? "FAIL" : "ok", name);
    return bad != 0;
}

static int together(void) {
    int32_t out[32][8], bad = 0;
    uint32_t in = 0;
    if (!run("together", &in, sizeof in, out, sizeof out)) return printf("FAIL ptx.together: it did not run\n"), 1;
    for (int l = 0; l < 32; l++) {
        int e = l % 8, column = l % 4 * 2, row = l / 4; /* element (row, column) of the tile in memory */
        int32_t want[8] = { e + 3 < 8 ? l + 103 : l, e - 3 >= 0 ? l + 97 : l, 0, 2, -9, l == 0 ? 50 : 0, 11, 1000 + column * 8 + row };
        for (int i = 0; i < 8; i++)
            if (out[l][i] != want[i] && bad++ < 8) fprintf(stderr, "together: lane %d number %d: %d, want %d\n", l, i, out[l][i], want[i]);
    }
    printf("%s ptx.together\n", bad ? "FAIL" : "ok");
    return bad != 0;
}

int main() {
    int bad = product("tf32_k8", TF32, 8, false) + product("s8_k32", S8, 32, false) + product("bf16_k8", BF16, 8, false) +
              product("f16_sums", F16, 16, true) + together();
    return bad != 0;
}
