/* test_ops.c - the translator and ops.h against values worked out by hand from the PTX ISA.
 *
 *   test_ops --ptx > F.ptx     writes the cases, one kernel each; F.ptx is translated, compiled and linked in
 *   test_ops                   runs them
 *
 * A case sees its inputs a, b, c, d as %la (64 bits), %ra (32), %ha (16) and %pa (not 0), fills the results it names (%r0 %r1
 * %l0 ... %p1, zero before), and has 64 bytes of memory at %lm. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef WRITER
#include "tests/emu/ptx/lane.h"
#endif

static const struct test_case {
    const char *code, *results;
    uint64_t in[4], out[2];
} cases[] = {
#include "tests/emu/ptx/cases_int.h"
#include "tests/emu/ptx/cases_float.h"
};
enum { N = sizeof cases / sizeof *cases };

#ifdef WRITER
static void results(const char *r) { /* "r0 p1" -> stores to [%lout] and [%lout+8] */
    for (int k = 0; *r; k++, r += r[2] ? 3 : 2) {
        switch (r[0]) {
        case 'l': printf("    mov.b64 %%lx, %%l%c;\n", r[1]); break;
        case 'r': printf("    cvt.u64.u32 %%lx, %%r%c;\n", r[1]); break;
        case 'h': printf("    cvt.u64.u16 %%lx, %%h%c;\n", r[1]); break;
        default: printf("    selp.b64 %%lx, 1, 0, %%p%c;\n", r[1]); break;
        }
        printf("    st.global.b64 [%%lout+%d], %%lx;\n", 8 * k);
    }
}
int main(void) {
    puts(".version 8.0\n.target sm_90\n.address_size 64\n"
         ".const .align 4 .f32 weights[2] = {0f40000000, 1.0};\n"
         ".global .align 2 .b8 numbers[4] = {1, 2, 3, 4};\n"
         ".global .align 8 .u64 pointer = generic(numbers);\n"
         ".func (.param .b32 r) factorial(.param .b32 n);\n"
         ".func (.param .b32 r) combine(.param .b32 a, .param .align 8 .b8 s[16]) {\n"
         "    .reg .b32 %x<2>; .reg .b64 %y;\n"
         "    ld.param.b32 %x0, [a]; ld.param.b64 %y, [s+8]; cvt.u32.u64 %x1, %y; add.u32 %x0, %x0, %x1; st.param.b32 [r], %x0; ret;\n}\n"
         ".func (.param .b32 r) factorial(.param .b32 n) {\n"
         "    .reg .b32 %x<3>; .reg .pred %q;\n"
         "    ld.param.b32 %x0, [n]; mov.b32 %x2, 1; setp.le.u32 %q, %x0, 1; @%q bra End;\n"
         "    sub.u32 %x1, %x0, 1;\n"
         "    { .param .b32 p; .param .b32 b; st.param.b32 [p], %x1; call (b), factorial, (p); ld.param.b32 %x1, [b]; }\n"
         "    mul.lo.u32 %x2, %x0, %x1;\nEnd: st.param.b32 [r], %x2; ret;\n}\n");
    for (int i = 0; i < N; i++) {
        printf(".visible .entry case_%d(.param .u64 .ptr .global .align 8 out, .param .u64 in, .param .u64 mem) {\n", i);
        puts("    .reg .b64 %l<2>, %la, %lb, %lc, %ld, %lm, %lin, %lout, %lx;\n    .reg .b32 %r<2>, %ra, %rb, %rc, %rd;\n"
             "    .reg .b16 %h<2>, %ha, %hb, %hc, %hd;\n    .reg .pred %p<2>, %pa, %pb, %pc, %pd;\n"
             "    ld.param.u64 %lout, [out]; ld.param.u64 %lin, [in]; ld.param.u64 %lm, [mem];\n"
             "    mov.b64 %l0, 0; mov.b64 %l1, 0; mov.b32 %r0, 0; mov.b32 %r1, 0; mov.b16 %h0, 0; mov.b16 %h1, 0;\n"
             "    mov.pred %p0, 0; mov.pred %p1, 0;");
        for (int k = 0; k < 4; k++)
            printf("    ld.global.b64 %%l%c, [%%lin+%d]; cvt.u32.u64 %%r%c, %%l%c; cvt.u16.u64 %%h%c, %%l%c; setp.ne.u64 %%p%c, %%l%c, 0;\n",
                   'a' + k, 8 * k, 'a' + k, 'a' + k, 'a' + k, 'a' + k, 'a' + k, 'a' + k);
        printf("    %s\n", cases[i].code);
        results(cases[i].results);
        puts("    ret;\n}");
    }
    return 0;
}
#else
int main(void) {
    int bad = 0;
    for (int i = 0; i < N; i++) {
        char name[32];
        snprintf(name, sizeof name, "case_%d", i);
        const lane_kernel *k = lane_named(name);
        static uint64_t out[2];
        static unsigned char mem[64] __attribute__((aligned(16))); /* not on the stack: that is local memory */
        memset(out, 0, sizeof out);
        for (int j = 0; j < 64; j++) mem[j] = (unsigned char)(0x80 + j);
        uint64_t param[3] = { (uintptr_t)out, (uintptr_t)cases[i].in, (uintptr_t)mem };
        if (!k || k->param_bytes != sizeof param) {
            printf("FAIL ptx.ops: %s is missing\n", name);
            return 1;
        }
        k->run((const unsigned char *)param);
        if (!memcmp(out, cases[i].out, sizeof out)) continue;
        if (bad++ < 20)
            fprintf(stderr, "%s (a %llx, b %llx, c %llx): %llx %llx, expected %llx %llx\n", cases[i].code, (unsigned long long)cases[i].in[0],
                    (unsigned long long)cases[i].in[1], (unsigned long long)cases[i].in[2], (unsigned long long)out[0],
                    (unsigned long long)out[1], (unsigned long long)cases[i].out[0], (unsigned long long)cases[i].out[1]);
    }
    printf("%s ptx.ops: %d instructions\n", bad ? "FAIL" : "ok", (int)N);
    return bad != 0;
}
#endif
