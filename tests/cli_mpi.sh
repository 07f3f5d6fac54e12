#!/bin/sh
# cli_mpi.sh BUILD - two processes: the collectives, and training with two ranks against one. Without MPI the cases are named as
# skipped, and a program that several processes of a launcher run must say that it was built without.
vismin=${VISMIN:-build/vismin} build=${1:-build}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_mpi.$1"; else echo "FAIL cli_mpi.$1"; bad=1; fi
}
case $vismin in */asan/*) mode=asan ;; *) mode=release ;; esac
ranks() { # N PROGRAM...
    n=$1; shift
    # leaks of the MPI library itself are not ours to find
    ASAN_OPTIONS=detect_leaks=0 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
        OMPI_MCA_btl_vader_single_copy_mechanism=none timeout 120 mpirun -n "$n" "$@"
}

program=$build/$mode/tests/mpi_comm
if ! ldd "$program" | grep -q libmpi || ! command -v mpirun > /dev/null; then
    OMPI_COMM_WORLD_SIZE=2 "$program" 2> "$dir/err"; rc=$?
    check says_that_mpi_is_missing '[ $rc != 0 ] && grep -q "built without MPI" "$dir/err"'
    echo "skipped: cli_mpi collectives, training (no MPI)" >&2
    exit $bad
fi
for n in 1 2 3; do
    ranks $n "$program" > "$dir/out" 2> "$dir/err"
    check collectives_$n 'grep -q "$n ranks: 0 wrong" "$dir/out" || { [ $n = 1 ] && grep -q "0 wrong" "$dir/out"; }'
done
# weights and losses of one process with the whole batch, within 1e-4 (sums in another order)
for n in 2 3; do
    ranks $n "$build/$mode/tests/mpi_train" > "$dir/out" 2> "$dir/err"
    check training_$n 'grep -q "$n ranks against one: equal" "$dir/out" || { cat "$dir/out" "$dir/err" >&2; false; }'
done
exit $bad
