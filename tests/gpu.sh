#!/bin/sh
# gpu.sh BUILD_DIR DEVICE - the tests of kernels on a real device: the programs of `make test` that look at VISMIN_TEST_DEVICE, a CLIP
# op by op against the processor, and the same once more under compute-sanitizer where it is installed. One verdict per program.
b=$1; export VISMIN_TEST_DEVICE="$2"
bad=0
"$b"/../vismin info --devices 2>/dev/null | grep -E '^(cuda|driver)' || true
programs=$(grep -lE 'tests/optest.h|VISMIN_TEST_DEVICE' tests/test_*.c | sed 's#.*/\(.*\)\.c#\1#')
verdict() { # name, exit code, log
    if [ "$2" = 0 ]; then echo "ok gpu.$1"; else echo "FAIL gpu.$1"; tail -n 15 "$3"; bad=1; fi
}
for p in $programs gpu_clip; do
    "$b/tests/$p" >"$b/gpu.log" 2>&1; verdict "$p" $? "$b/gpu.log"
done
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
if [ -z "$sanitizer" ]; then echo "compute-sanitizer is not installed: memcheck and racecheck were not run"; exit $bad; fi
for tool in memcheck racecheck; do
    for p in $programs; do
        "$sanitizer" --tool $tool --error-exitcode 99 "$b/tests/$p" >"$b/gpu.log" 2>&1; verdict "$tool.$p" $? "$b/gpu.log"
    done
done
exit $bad
