#!/bin/sh
# run.sh BUILD_DIR "MODES" "TESTS" - the tests of kernels in every lane of the emulated device, in several orders of threads and
# times of cp.async, and for devices with less and more shared memory; the injected bugs. The last line is the verdict.
b=$1 modes=$2 tests=$3
passed=0 failed=0 skipped=
count() { # the output of run.sh
    printf '%s\n' "$1" | sed '$d'
    set -- $(printf '%s\n' "$1" | tail -n 1)
    passed=$((passed + $1)) failed=$((failed + $3))
}
lane() { # MODE ORDER CPASYNC ARCH
    case " $modes " in *" $1 "*) ;; *) skipped="$skipped $1"; return ;; esac
    echo "== $1, order $2, cp.async $3, sm_$4"
    count "$(VISMIN_EMU_ORDER=$2 VISMIN_EMU_CPASYNC=$3 VISMIN_EMU_ARCH=$4 sh tests/run.sh "$b" $(for t in $tests; do echo "$b/$1/tests/$t"; done))"
}
for s in 'forward late 80' 'forward early 86' 'reverse late 90' 'reverse early 80' 'random:1 random:1 80' 'random:2 random:2 120' 'random:3 late 100'; do
    lane emu $s
done
for s in 'forward late 80' 'reverse early 90'; do lane emu-asan $s; done
for s in 'forward late 80' 'reverse early 86' 'random:1 random:1 90'; do lane emu-race $s; done
lane emu-clang forward late 80
lane emu-asan-clang forward late 80
lane emu-ptx80 forward late 80
lane emu-ptx90a random:1 early 90
echo "== injected bugs"
sh tests/emu/bugs.sh "$b" >"$b/bugs.log" 2>&1
grep -v '^ok ' "$b/bugs.log"
passed=$((passed + $(grep -c '^ok ' "$b/bugs.log"))) failed=$((failed + $(grep -c '^FAIL ' "$b/bugs.log")))
case " $modes " in
*" emu-ptx80 "*) # filled by make emu
    echo "== bugs inside inline PTX; registers, stacks and spills"
    sh tests/emu/ptx/refuse.sh "$b" >>"$b/ptx.log"
    grep -v '^ok ' "$b/ptx.log"
    passed=$((passed + $(grep -c '^ok ' "$b/ptx.log"))) failed=$((failed + $(grep -c '^FAIL ' "$b/ptx.log")))
    grep -q '^ok ptxas\|^FAIL ptxas' "$b/ptx.log" || { echo "FAIL ptxas: did not run"; failed=$((failed + 1)); } ;;
*) skipped="$skipped ptx_bugs ptxas" ;;
esac
[ -z "$skipped" ] || echo "skipped, no compiler:$skipped"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
