#!/bin/sh
# gate.sh BUILD_DIR PTXAS - tests/emu/ptxas.sh on kernels of which one has a stack frame, one too many registers, one is fine: the two are
# named, and an exception lets them pass.
b=$1/ptx-gate ptxas=$2 bad=0
rm -rf "$b" && mkdir -p "$b/build/emu-ptx80/kernels" "$b/kernels" "$b/tests/emu" && : >"$b/kernels/k.cu"
{
    printf '.version 8.0\n.target sm_80\n.address_size 64\n'
    printf '.visible .entry fine(.param .u64 a) {\n.reg .b64 %%rd<2>;\nld.param.u64 %%rd0, [a];\nst.global.u32 [%%rd0], 1;\nret;\n}\n'
    printf '.visible .entry frame(.param .u64 a) {\n.reg .b64 %%rd<9>; .reg .b32 %%r<9>; .local .align 4 .b8 d[64];\n'
    printf 'ld.param.u64 %%rd0, [a]; mov.u64 %%rd1, d; ld.global.u32 %%r0, [%%rd0]; and.b32 %%r0, %%r0, 60; cvt.u64.u32 %%rd2, %%r0;\n'
    printf 'add.s64 %%rd3, %%rd1, %%rd2; st.local.u32 [%%rd1], %%r0; st.local.u32 [%%rd1+4], 2; st.local.u32 [%%rd1+8], 3; ld.local.u32 %%r1, [%%rd3];\n'
    printf 'st.global.u32 [%%rd0], %%r1;\nret;\n}\n.visible .entry many(.param .u64 a) {\n.reg .b64 %%rd<2>; .reg .f32 %%f<300>;\nld.param.u64 %%rd0, [a];\n'
    k=0; while [ $k -lt 140 ]; do echo "ld.volatile.global.f32 %f$k, [%rd0+$((4 * k))];"; k=$((k + 1)); done
    echo 'bar.sync 0;'
    k=0; while [ $k -lt 140 ]; do echo "st.volatile.global.f32 [%rd0+$((4 * (139 - k)))], %f$k;"; k=$((k + 1)); done
    printf 'ret;\n}\n'
} >"$b/build/emu-ptx80/kernels/k.ptx"
cp tests/emu/ptxas.sh "$b/tests/emu/" && : >"$b/tests/emu/ptxas.txt"
cd "$b" || exit 1
out=$(sh tests/emu/ptxas.sh build "$ptxas" 80 2>&1) && bad=1
[ "$(echo "$out" | grep -c '^FAIL ptxas.sm_80: k.cu: ')" = 2 ] || bad=1
echo "$out" | grep -q 'k.cu: frame: .* 64 bytes of stack' || bad=1
echo "$out" | grep -q 'k.cu: many: 1[4-9][0-9] registers (at most 128), 0 bytes of stack' || bad=1
printf 'sm_*\tk.cu: frame\t128\t64\t0\ta test\nsm_80\tk.cu: m*\t255\t0\t0\ta test\n' >tests/emu/ptxas.txt
sh tests/emu/ptxas.sh build "$ptxas" 80 | grep -q '^ok ptxas: 3 kernels' || bad=1
[ $bad = 0 ] && echo "ok ptx.gate" || { echo "FAIL ptx.gate: $out"; exit 1; }
