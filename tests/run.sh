#!/bin/sh
# run.sh BUILD_DIR PROGRAM... - runs the test programs one after the other and counts their cases.
# A program ends the count as one failure more when it dies or prints no case. The last line is the verdict.
build=$1; shift
log=$build/test.log
: > "$log"
passed=0 failed=0
for t in "$@"; do
    case $t in *.sh) sh=sh ;; *) sh= ;; esac
    out=$($sh "$t" "$build" 2>"$build/test.err"); rc=$?
    ok=$(printf '%s\n' "$out" | grep -c '^ok ')
    bad=$(printf '%s\n' "$out" | grep -c '^FAIL ')
    printf '%s\n' "== $t" "$out" >> "$log"; cat "$build/test.err" >> "$log"
    if [ "$bad" -gt 0 ] || [ $rc -ne 0 ] || [ "$ok" -eq 0 ]; then
        printf '%s\n' "$out" | grep '^FAIL '
        tail -n 20 "$build/test.err"
        [ "$bad" -eq 0 ] && bad=1 && echo "FAIL $t: exit status $rc, $ok cases passed"
    fi
    passed=$((passed + ok)) failed=$((failed + bad))
    printf '%-40s %4d passed, %d failed\n' "$(echo "${t#"$build"/}" | sed 's#tests/##')" "$ok" "$bad"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
