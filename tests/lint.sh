#!/bin/sh
# lint.sh - the rules of the house that a machine can check: arrows between rooms, file sizes, forbidden calls.
bad=0
say() { echo "$1" >&2; bad=1; }
case_end() { [ $bad = 0 ] && echo "ok lint.$1" || { echo "FAIL lint.$1"; all=1; }; bad=0; }
all=0
inc() { grep -nE '^#include "'"$2"'/' $(find $1 -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh') 2>/dev/null; }
[ -z "$(inc kernels 'io|models|pipeline')" ] 2>/dev/null
for r in io models pipeline; do x=$(inc kernels $r); [ -n "$x" ] && say "kernels includes a room above it: $x"; done
for r in models pipeline; do x=$(inc io $r); [ -n "$x" ] && say "io includes a room above it: $x"; done
x=$(inc io kernels | grep -v 'kernels/base.h'); [ -n "$x" ] && say "io may include kernels/base.h only: $x"
x=$(inc models pipeline); [ -n "$x" ] && say "models includes pipeline: $x"
case_end arrows
for f in $(find kernels models io pipeline tests bench -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.cc'); do
    n=$(wc -l < "$f")
    [ "$n" -gt 600 ] && case $f in *_table.h) ;; *) say "$f: $n lines, at most 600" ;; esac
done
case_end sizes
x=$(grep -nE '(^|[^_a-zA-Z.>])(malloc|calloc|realloc|strdup|strcpy|strcat|sprintf|gets|exit|abort)[ ]*\(' \
    $(find kernels models io -name '*.c') | grep -v '^kernels/base.c:')
[ -n "$x" ] && say "forbidden call (memory goes through vm_alloc; libraries never exit): $x"
x=$(grep -nE '(^|[^_a-zA-Z.>])(printf|puts)[ ]*\(' $(find kernels models io -name '*.c'))
[ -n "$x" ] && say "library code does not print: $x"
case_end calls
# Kernels: what only nvcc knows stands in gpu.cuh, so that the emulated device runs the rest; names of kernels are global.
cu=$(find kernels tests -name '*.cu' -o -name '*.cuh' | grep -v '^kernels/gpu.cuh$')
x=$(grep -nE '(^|[^_a-zA-Z])(asm|__asm__|__asm)([^_a-zA-Z]|$)|<<<|__shared__|cooperative_groups|wmma|[^_a-zA-Z]cub(::|/)|__nv_|cuda_(fp16|bf16|fp8)|__half|__nv_bfloat' $cu)
[ -n "$x" ] && say "outside of gpu.cuh: $x"
x=$(grep -nE '#include <<?(cuda|cub|thrust|mma)' $cu)
[ -n "$x" ] && say "a header of the toolkit outside of gpu.cuh: $x"
for f in $cu; do
    first=$(grep -m1 '^#include' "$f")
    case $first in '#include "kernels/gpu.cuh"') ;; '#include "kernels/gpu_'*'.cuh"') ;; *) say "$f: its first include is gpu.cuh or a gpu_*.cuh" ;; esac
done
x=$(grep -nE 'static[^;(]*__global__|__global__[^;(]*static' $cu)
[ -n "$x" ] && say "a kernel is not static (the table of translated PTX names it): $x"
x=$(cat $(find kernels -name '*.cu' -o -name '*.cuh') | tr '\n' ' ' | sed 's/__launch_bounds__([^()]*\(([^()]*)[^()]*\)*)//g' |
    grep -oE '__global__ +void +[a-zA-Z_0-9]+' | sed 's/.* //' | sort | uniq -d)
[ -n "$x" ] && say "two kernels of one name: $x"
x=$(for f in $(find kernels -name '*.cu'); do
        tr '\n' ' ' <"$f" | sed 's/__launch_bounds__([^()]*\(([^()]*)[^()]*\)*)//g' | grep -oE '(static )?__device__[^;{}()=]*[ *]+[a-zA-Z_0-9]+\(' |
            grep -v static | sed 's/(//; s/.*[ *]//' | sort -u
    done | sort | uniq -d)
[ -n "$x" ] && say "functions of one name in two .cu files, which the host's linker would take for one (make them static): $x"
case_end kernels
# every test that ACCEPTANCE.md names is there: `FILE.NAME`, or `NAME` of the file before it
grep '^|' tests/ACCEPTANCE.md | grep -o '`[a-z]*[a-z0-9_.*]*`' | tr -d '`' | while read -r t; do
    case $t in test_*|cli_*|emu_cli.*|grad_*|mpi_*) file=${t%%.*} name=${t#"$file"} name=${name#.} ;; *) name=$t ;; esac
    case $file in grad_\*) continue ;; esac
    grep -qsE "(\(|check |has |said )${name%\*}" "tests/$file.c" "tests/$file.sh" || echo "tests/ACCEPTANCE.md: no test $file.$name"
done > "${TMPDIR:-/tmp}/lint.$$"
x=$(cat "${TMPDIR:-/tmp}/lint.$$"); rm -f "${TMPDIR:-/tmp}/lint.$$"
[ -n "$x" ] && say "$x"
case_end acceptance
exit $all
