#!/bin/sh
# bugs.sh BUILD_DIR - every injected bug (tests/emu/bugs/) in every lane, as a table: report, wrong numbers, crash or missed.
# Fails when a bug is missed by all lanes, or when a kernel without a bug fails in one.
b=${1:-build}
bad=0
fast() { # in all orders of threads: the first that catches it
    for s in forward/late reverse/late random:1/early random:2/random:2; do
        one "VISMIN_EMU_ORDER=${s%%/*}" "VISMIN_EMU_CPASYNC=${s#*/}" "$b/emu/tests/emu/bugs/bugs" "$1"
        [ "$r" = - ] || return
    done
}
one() { # sets r to what happened
    err=$(env "$1" "$2" "$3" "$4" 2>&1 >/dev/null); rc=$?
    case $rc in
    0) r=- ;;
    1) case $err in *Sanitizer*|*"runtime error"*) r=report ;; *) r=numbers ;; esac ;;
    86) r=report ;;
    *) r="crash $rc" ;;
    esac
}
row() { printf '%-62s %-9s %-9s %-9s %-9s\n' "$1" "$2" "$3" "$4" "$5"; }
row bug fast asan race "$([ -x "$b/emu-ptx80/tests/emu/bugs/bugs" ] && echo ptx)"
n=$("$b/emu/tests/emu/bugs/bugs" list | wc -l)
k=0
while [ $k -le "$n" ]; do
    what=$("$b/emu/tests/emu/bugs/bugs" list | sed -n "${k}p" 2>/dev/null)
    fast $k; f=$r
    one A=1 A=1 "$b/emu-asan/tests/emu/bugs/bugs" $k; a=$r
    one A=1 A=1 "$b/emu-race/tests/emu/bugs/bugs" $k; t=$r
    p=
    [ -x "$b/emu-ptx80/tests/emu/bugs/bugs" ] && { one A=1 A=1 "$b/emu-ptx80/tests/emu/bugs/bugs" $k; p=$r; }
    row "${what:-none}" "$f" "$a" "$t" "$p"
    if [ $k = 0 ]; then
        [ "$f$a$t${p:--}" = ---- ] && echo "ok bugs.none" || { echo "FAIL bugs.none: a kernel without a bug is reported"; bad=1; }
    else
        [ "$f$a$t${p:--}" = ---- ] && { echo "FAIL bugs.$k: no lane catches it"; bad=1; } || echo "ok bugs.$k"
    fi
    k=$((k + 1))
done
exit $bad
