#!/bin/sh
# refuse.sh BUILD_DIR - what the translator does not know stops it, with file, line and opcode, and leaves no output.
b=$1 d=$1/ptx-refuse bad=0
mkdir -p "$d"
refuse() { # LINE_OF_PTX EXPECTED_IN_THE_MESSAGE
    printf '.version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 a) {\n.reg .b32 %%r<4>; .reg .b64 %%rd<4>; .reg .b16 %%h<4>; .reg .pred %%p<4>;\n%s\nret;\n}\n' "$1" >"$d/x.ptx"
    rm -f "$d/x.c"
    if "$b/ptx2c" "$d/x.ptx" "$d/x.c" 2>"$d/err" || [ -e "$d/x.c" ] || ! grep -qF "x.ptx:6: $2" "$d/err"; then
        echo "FAIL ptx.refuses: $1: $(cat "$d/err")"; bad=1
    fi
}
refuse 'wgmma.fence.sync.aligned;' 'wgmma.fence.sync.aligned: the translator does not know this instruction'
refuse 'add.rn.u32 %r0, %r1, %r2;' 'add.rn.u32: the translator does not know .rn here'
refuse 'ld.global.evict.u32 %r0, [%rd0];' 'ld.global.evict.u32: the translator does not know .evict here'
refuse 'mul.foo %r0, %r1, %r2;' 'mul.foo: '
refuse 'mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%rd0}, {%rd1}, {%rd2}, {%rd3};' 'mma.sync.aligned.m8n8k4'
refuse 'bar.sync 1, 64;' 'bar.sync: barriers but'
refuse 'cvt.rn.satfinite.e4m3x2.f32 %h0, %r0, %r1;' 'cvt.rn.satfinite.e4m3x2.f32: '
refuse 'shfl.bfly.b32 %r0, %r1, 1, 31;' 'shfl.bfly.b32: '
refuse 'mov.b32 %r0, %q1;' "mov.b32: '%q1' is not declared"
refuse 'add.u64 %rd0, %r1, %rd1;' "add.u64: '%r1' is narrower"
refuse 'bra Nowhere;' "bra: no label 'Nowhere'"
refuse 'call nobody, ();' 'call: '
refuse 'cp.async.bulk.shared.global [%r0], [%rd0], 16, [%r1];' 'cp.async.bulk.shared.global: '
refuse 'ld.shared.u32 %r0, [%rd0;' "expected ']'"
[ $bad = 0 ] && echo "ok ptx.refuses"
exit $bad
