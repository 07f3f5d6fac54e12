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
# the command: losses of every step as of one process; killed and started again, the same bytes
"$vismin" train clip --data world:plain --scratch world --out "$dir/seed" --batch 2 --steps 1 --quiet --dtype f32
sed 's/"num_hidden_layers": [0-9]*/"num_hidden_layers": 2/' "$dir/seed/base/config.json" > "$dir/config" && mv "$dir/config" "$dir/seed/base/config.json"
train() { # RANKS OUT [LR]
    ranks "$1" "$vismin" train clip --data world:pairs --scratch "$dir/seed/base" --out "$2" --twin-weight 1 --plain-share 0.25 --batch 16 --steps 12 \
        --lr ${3:-1e-3} --warmup 3 --save-every 4 --log-every 1 --threads 1 --dtype f32 --deterministic
}
losses() { sed 's/.*"loss":\([^,]*\),.*/\1/' "$1/log.jsonl"; }
train 1 "$dir/one" 2> "$dir/err1"
train 2 "$dir/two" 2> "$dir/err2"; rc=$?
losses "$dir/one" > "$dir/l1"; losses "$dir/two" > "$dir/l2"
check train_losses '[ $rc = 0 ] && [ "$(wc -l < "$dir/l2")" = 12 ] && paste "$dir/l1" "$dir/l2" | awk "{ d = \$1 - \$2; if (d < 0) d = -d; if (d > 1e-4 * \$1) bad = 1 } END { exit bad }"'
cp -r "$dir/two" "$dir/three" && rm -r "$dir/three/model" "$dir/three"/checkpoints/step-00000012
train 2 "$dir/three" 2e-3 2> "$dir/err3"; rc=$?
check train_options_are_part_of_the_run '[ $rc != 0 ] && grep -q "made by another command: --lr was 0.001 and is 0.002 now" "$dir/err3"'
rm -rf "$dir/three"; mv "$dir/two" "$dir/whole"
train 2 "$dir/two" 2> "$dir/err4" &
n=0
while [ ! -e "$dir/two/checkpoints/step-00000004" ] && [ $n -lt 500 ]; do sleep 0.02; n=$((n + 1)); done
pkill -9 -f "train clip .*--out $dir/two" -n
wait
train 2 "$dir/two" 2> "$dir/err5"; rc=$?
check train_goes_on_after_a_kill '[ $rc = 0 ] && cmp -s "$dir/whole/model/model.safetensors" "$dir/two/model/model.safetensors"'
train 3 "$dir/odd" 2> "$dir/err6"; rc=$?
check uneven_batch '[ $rc != 0 ] && grep -q "cannot be divided among 3 processes" "$dir/err6"'

# weights and losses of one process with the whole batch, within 1e-4 (sums in another order)
for n in 2 3; do
    ranks $n "$build/$mode/tests/mpi_train" > "$dir/out" 2> "$dir/err"
    check training_$n 'grep -q "$n ranks against one: equal" "$dir/out" || { cat "$dir/out" "$dir/err" >&2; false; }'
done
exit $bad
