#!/bin/sh
# bugs.sh BUILD_DIR NVCC ARCH - bugs inside the inline PTX of kernels/gpu.cuh, one at a time in a copy under BUILD_DIR/ptx-bugs/,
# against tests/emu/ptx/probe.cu: what nvcc makes of it, translated and run. The host's compilers do not see them. A table: report,
# wrong numbers, or missed. Fails when one is missed, or does not apply any more, or the probe fails without any.
# Uses BUILD_DIR/emu-ptx$ARCH/tests/emu/ptx/probe.host.o and libvismin.a, which the Makefile has made; CC, PTX_CFLAGS from there.
b=$1 nvcc=$2 arch=$3
d=$b/emu-ptx$arch
bad=0 k=0
run() { # NAME SED
    k=$((k + 1))
    w=$b/ptx-bugs/$arch/$k
    mkdir -p "$w/kernels"
    sed -E "$2" kernels/gpu.cuh >"$w/wrappers"
    if [ -n "$2" ] && cmp -s kernels/gpu.cuh "$w/wrappers"; then
        printf '%-66s %s\n' "$1" "does not apply"
        echo "FAIL ptx_bugs.$arch.$k: '$1' changes nothing in kernels/gpu.cuh"; bad=1
        return
    fi
    cmp -s "$w/wrappers" "$w/kernels/gpu.cuh" || cp "$w/wrappers" "$w/kernels/gpu.cuh" # the translation is kept while the wrappers are the same
    if [ ! "$w/probe" -nt "$w/kernels/gpu.cuh" ] || [ ! "$w/probe" -nt "$d/tests/emu/ptx/probe.host.o" ] || [ ! "$w/probe" -nt "$b/ptx2c" ]; then
        if ! { "$nvcc" -std=c++17 -O3 -I"$w" -I. -lineinfo -DVM_HAVE_CUDA -diag-suppress 177 -arch=sm_$arch -ptx tests/emu/ptx/probe.cu -o "$w/probe.ptx" &&
               "$b/ptx2c" "$w/probe.ptx" "$w/probe.c" probe.ptx && $CC $PTX_CFLAGS -c "$w/probe.c" -o "$w/probe.o" &&
               $CC -fopenmp "$d/tests/emu/ptx/probe.host.o" "$w/probe.o" "$d/libvismin.a" -o "$w/probe" $LIBS; } >"$w/log" 2>&1; then
            r="does not build"
            tail -n 3 "$w/log" >&2
            printf '%-66s %s\n' "$1" "$r"; echo "FAIL ptx_bugs.$arch.$k: see $w/log"; bad=1
            return
        fi
    fi
    VISMIN_EMU_CPASYNC=late timeout 60 "$w/probe" >"$w/out" 2>&1; rc=$?
    case $rc in 0) r=- ;; 1) r=numbers ;; 86) r=report ;; *) r="crash $rc" ;; esac
    printf '%-66s %s\n' "$1" "$r"
    if [ -z "$2" ]; then
        [ $rc = 0 ] && echo "ok ptx_bugs.$arch.none" || { echo "FAIL ptx_bugs.$arch.none: the probe fails without a bug"; cat "$w/out" >&2; bad=1; }
    elif [ $rc = 0 ]; then echo "FAIL ptx_bugs.$arch.$k: not caught"; bad=1
    else echo "ok ptx_bugs.$arch.$k"; fi
}
run "none" ''
run "mma bf16: registers of B swapped" '/f32\.bf16\.bf16\.f32 /s/\{%8,%9\}/{%9,%8}/'
run "mma bf16: registers 1 and 2 of A swapped" '/f32\.bf16\.bf16\.f32 /s/\{%4,%5,%6,%7\}/{%4,%6,%5,%7}/'
run "mma bf16: results 1 and 2 swapped" '/f32\.bf16\.bf16\.f32 /s/\.f32 \{%0,%1,%2,%3\}/.f32 {%0,%2,%1,%3}/'
run "mma bf16: adds to other registers than it writes" '/f32\.bf16\.bf16\.f32 /s/\{%0,%1,%2,%3\};/{%1,%0,%3,%2};/'
run "mma f16: registers of B swapped" '/f32\.f16\.f16\.f32 /s/\{%8,%9\}/{%9,%8}/'
run "mma f16: reads its operands as bf16" 's/f32\.f16\.f16\.f32 /f32.bf16.bf16.f32 /'
run "ldmatrix x4: results swapped" '/x4\.shared/s/\{%0,%1,%2,%3\}/{%0,%2,%1,%3}/'
run "ldmatrix x4: transposes" 's/x4\.shared/x4.trans.shared/'
run "ldmatrix x4 trans: does not transpose" 's/x4\.trans\.shared/x4.shared/'
run "ldmatrix x4 trans: results swapped" '/x4\.trans\.shared/s/\{%0,%1,%2,%3\}/{%2,%3,%0,%1}/'
run "ldmatrix x2: results swapped" '/x2\.shared/s/\{%0,%1\}/{%1,%0}/'
run "ldmatrix x2 trans: does not transpose" 's/x2\.trans\.shared/x2.shared/'
run "cp.async: waits for one group less" 's/cp\.async\.wait_group %0;(.*)"n"\(N\)/cp.async.wait_group %0;\1"n"(N + 1)/'
run "cp.async: the wait's constant is always 7" 's/cp\.async\.wait_group %0;/cp.async.wait_group 7; \/\/ %0/'
run "cp.async: no wait" 's/cp\.async\.wait_group %0;/\/\/ %0/'
run "cp.async: groups are not closed" 's/cp\.async\.commit_group;//'
run "cp.async: no zeros behind src_bytes" 's/\[%1\], 16, %2;/[%1], 16; \/\/ %2/'
run "cp.async: copies 8 bytes" 's/cp\.async\.cg\.shared\.global \[%0\], \[%1\], 16, %2;/cp.async.ca.shared.global [%0], [%1], 8; \/\/ %2/'
run "cp.async: source and size of another register" 's/\[%1\], 16, %2;/[%1+4], 16, %2;/'
run "from_f32<bf16>: rounds towards zero" 's/cvt\.rn\.bf16\.f32/cvt.rz.bf16.f32/'
run "from_f32<f16>: rounds towards zero" 's/cvt\.rn\.f16\.f32/cvt.rz.f16.f32/'
run "to_f32(f16): reads an integer" 's/cvt\.f32\.f16/cvt.rn.f32.u16/'
run "fast_exp2: is a logarithm" 's/ex2\.approx\.ftz/lg2.approx.ftz/'
exit $bad
