/* grad_attention.c - gradients of attention: packed and apart, grouped heads, causal, windowed, masked, biased, with lengths,
 * with a cap of scores, with several texts in a row; rows that see nothing, one token, no token, several tiles of queries and keys. */
#include "tests/gradcheck.h"

static vm_attn attn;
static bool masked, biased, with_lengths, with_first;

static int build_packed(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_attn a = attn;
    int k = 1;
    if (masked) a.key_mask = in[k++];
    if (biased) a.bias = in[k++];
    if (with_lengths) a.lengths = in[k++];
    if (with_first) a.first = in[k++];
    out[0] = vm_attention_packed(g, in[0], a);
    return 1;
}
static int build(vm_graph *g, const vm_val *in, vm_val *out) {
    vm_attn a = attn;
    int k = 3;
    if (masked) a.key_mask = in[k++];
    if (biased) a.bias = in[k++];
    if (with_lengths) a.lengths = in[k++];
    if (with_first) a.first = in[k++];
    out[0] = vm_attention(g, in[0], in[1], in[2], a);
    return 1;
}

typedef struct {
    int B, Tq, Tk, NH, NKV, HS, causal, window, masked, biased, lengths;
    float cap;
    int texts;
} shape; /* Tk 0 = packed; biased: axes, - = 1 head */

static void check(shape s) {
    static int32_t mask[4096];
    bool packed = s.Tk < 0;
    int Tk = packed ? s.Tq : s.Tk, n = 0;
    static const int32_t lengths[] = { 5, 0, 3 };
    gc_in in[7];
    attn = (vm_attn){ .NH = s.NH, .NKV = s.NKV, .causal = s.causal, .window = s.window, .scale = s.HS == 3 ? 0.9f : 0 };
    attn.softcap = s.cap;
    masked = s.masked, biased = s.biased != 0, with_lengths = s.lengths, with_first = s.texts;
    if (packed) {
        in[n++] = (gc_in){ "qkv", .nd = 3, .ne = { s.B, s.Tq, (s.NH + 2 * s.NKV) * s.HS } };
    } else {
        in[n++] = (gc_in){ "q", .nd = 3, .ne = { s.B, s.Tq, s.NH * s.HS } };
        in[n++] = (gc_in){ "k", .nd = 3, .ne = { s.B, Tk, s.NKV * s.HS } };
        in[n++] = (gc_in){ "v", .nd = 3, .ne = { s.B, Tk, s.NKV * s.HS } };
    }
    if (masked) {
        for (int i = 0; i < s.B * Tk; i++) mask[i] = i >= Tk && i * 7 % 5 > 1; /* the first batch sees nothing */
        in[n++] = (gc_in){ "mask", .nd = 2, .ne = { s.B, Tk }, .ids = mask };
    }
    int heads = s.biased < 0 ? 1 : s.NH;
    if (abs(s.biased) == 3) in[n++] = (gc_in){ "bias", .nd = 3, .ne = { heads, s.Tq, Tk } };
    if (abs(s.biased) == 4) in[n++] = (gc_in){ "bias", .nd = 4, .ne = { s.B, heads, s.Tq, Tk } };
    if (s.lengths) in[n++] = (gc_in){ "lengths", .nd = 1, .ne = { s.B }, .ids = lengths };
    if (s.texts) {
        static int32_t first[512];
        for (int i = 0; i < s.B * s.Tq; i++) first[i] = i % s.Tq * s.texts / s.Tq * (Tk / s.texts); /* texts of like size */
        in[n++] = (gc_in){ "first", .nd = 2, .ne = { s.B, s.Tq }, .ids = first };
    }
    gradcheck(packed ? build_packed : build, n, in);
}

TEST(packed) {
    check((shape){ 2, 5, -1, 2, 2, 3, .causal = 0 });
    check((shape){ 2, 7, -1, 4, 2, 4, .causal = 1 });
    check((shape){ 2, 5, -1, 2, 1, 5, .masked = 1 });
    check((shape){ 1, 1, -1, 1, 1, 1, .causal = 1 });
    check((shape){ 1, 13, -1, 1, 1, 17, .causal = 1, .window = 4 });
}
TEST(apart) {
    check((shape){ 2, 3, 7, 2, 2, 5, .causal = 1 });
    check((shape){ 2, 7, 3, 2, 1, 5, .causal = 1 }); /* the first four queries see nothing */
    check((shape){ 2, 9, 4, 3, 3, 2, .window = 3 });
    check((shape){ 1, 1, 19, 2, 2, 8, .masked = 0 });
    check((shape){ 3, 4, 6, 4, 2, 3, .masked = 1, .causal = 1 });
}
TEST(bias) {
    check((shape){ 2, 5, -1, 2, 2, 3, .biased = 3 });
    check((shape){ 2, 5, -1, 2, 2, 3, .biased = -3, .causal = 1 });
    check((shape){ 2, 3, 7, 4, 2, 3, .biased = 4, .masked = 1 });
    check((shape){ 2, 3, 7, 2, 2, 3, .biased = -4 });
}
TEST(lengths) {
    check((shape){ 3, 4, 7, 2, 1, 3, .lengths = 1 });
    check((shape){ 3, 4, 7, 2, 2, 4, .lengths = 1, .causal = 1 });
    check((shape){ 3, 6, -1, 2, 1, 3, .lengths = 1, .causal = 1, .window = 3 });
    check((shape){ 3, 3, 6, 2, 2, 3, .lengths = 1, .biased = 3 });
    check((shape){ 1, 70, 150, 1, 1, 2, .lengths = 1 });
}
TEST(caps) {
    check((shape){ 2, 5, -1, 2, 2, 3, .cap = 0.5f });
    check((shape){ 2, 5, 8, 4, 2, 5, .cap = 1, .causal = 1, .biased = -3 });
    check((shape){ 3, 5, 8, 2, 2, 5, .cap = 2, .masked = 1, .lengths = 1, .biased = 4 });
}
TEST(texts) {
    check((shape){ 2, 8, -1, 2, 1, 3, .causal = 1, .texts = 3 });
    check((shape){ 1, 9, -1, 2, 2, 2, .texts = 2, .window = 3 });
    check((shape){ 3, 4, 7, 2, 1, 3, .texts = 3, .lengths = 1, .biased = 3 });
    check((shape){ 1, 133, -1, 1, 1, 2, .causal = 1, .texts = 4, .cap = 1 });
}
TEST(several_tiles) {
    check((shape){ 1, 133, -1, 1, 1, 2, .causal = 1 });
    check((shape){ 1, 35, 50, 2, 1, 511, .causal = 1 });
    check((shape){ 1, 40, 35, 1, 1, 300, .window = 9, .biased = 3 });
}
TEST(empty) {
    check((shape){ 0, 5, -1, 2, 2, 3, .causal = 0 });
    check((shape){ 2, 0, -1, 2, 2, 3, .causal = 1 });
    check((shape){ 2, 3, 0, 2, 2, 3, .causal = 1 });
    check((shape){ 2, 0, 3, 2, 2, 3, .biased = 3 });
    check((shape){ 2, 3, 0, 2, 2, 3, .biased = 4 });
}

int main(void) {
    RUN(packed);
    RUN(apart);
    RUN(bias);
    RUN(lengths);
    RUN(caps);
    RUN(texts);
    RUN(several_tiles);
    RUN(empty);
    return test_end();
}
