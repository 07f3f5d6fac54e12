#!/bin/sh
# cli_train_disk.sh - `vismin train clip` on a file system that fills up and is emptied again (a small tmpfs in a name space of its
# own), and stopped in the middle: nothing finished is lost, and the weights are those of an undisturbed run.
vismin=$(cd "$(dirname "${VISMIN:-build/vismin}")" && pwd)/vismin
if [ "$1" != inside ]; then
    if ! unshare -rm true 2> /dev/null; then
        echo "ok cli_train_disk.left_out: mounting a small tmpfs is not permitted here (unshare -rm)"
        exit 0
    fi
    exec unshare -rm sh "$0" inside
fi
top=$(mktemp -d) || exit 1
trap 'umount "$top" 2> /dev/null; rmdir "$top"' EXIT
mount -t tmpfs -o size=48m tmpfs "$top" || { echo "ok cli_train_disk.left_out: no tmpfs can be mounted here"; exit 0; }
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_train_disk.$1"; else echo "FAIL cli_train_disk.$1"; sed 's/^/    /' "$top/err" >&2; bad=1; fi
}
dir=$top
"$vismin" train clip --data world:plain --scratch world --out "$dir/seed" --batch 2 --steps 1 --quiet --dtype f32 || exit 1
sed 's/"num_hidden_layers": [0-9]*/"num_hidden_layers": 1/' "$dir/seed/base/config.json" > "$dir/config"
mv "$dir/seed/base" "$dir/base" && mv "$dir/config" "$dir/base/config.json" && rm -r "$dir/seed"
steps=60
start() { # OUT OPTIONS... : in place of this shell
    out=$1; shift
    exec "$vismin" train clip --data world:pairs --scratch "$dir/base" --out "$dir/$out" --batch 8 --steps $steps --lr 1e-3 \
        --save-every 10 --keep-last 1 --log-every 1 --threads 1 --workers 1 --dtype f32 "$@"
}
wait_for() { # CONDITION, at most 30 s
    n=0
    until eval "$1" || [ $n -ge 1500 ]; do sleep 0.02; n=$((n + 1)); done
}
fill() { dd if=/dev/zero of="$dir/filler" bs=64k 2> /dev/null; dd if=/dev/zero of="$dir/filler2" bs=512 2> /dev/null; }
empty() { rm -f "$dir/filler" "$dir/filler2"; }

(start whole) 2> "$dir/err"; rc=$?
check undisturbed '[ $rc = 0 ]'
cp "$dir/whole/model/model.safetensors" "$dir/want" && rm -r "$dir/whole"

dd if=/dev/zero of="$dir/filler" bs=1M count=36 2> /dev/null
(start small) 2> "$dir/err"; rc=$?
check too_small '[ $rc = 4 ] && grep -q "small: [0-9.]* MB are free and checkpoints of 6.[0-9] MB need 1[0-9.]* MB; make room or give another --out" "$dir/err"'
rm -rf "$dir/small"; empty

# full in the middle: training goes on without checkpoints, says so at every line, and writes one when there is room
start full > /dev/null 2> "$dir/err" & pid=$!
wait_for '[ -e "$dir/full/checkpoints/step-00000010" ]'
kill -STOP $pid; fill; kill -CONT $pid
wait_for 'grep -q "training goes on, the next checkpoint is tried at step" "$dir/err"'
check goes_on 'kill -0 $pid && [ -d "$dir/full/checkpoints/step-00000010" ] || grep -q "step 60/60" "$dir/err"'
wait_for 'grep -q "warning: the newest checkpoint is that of step" "$dir/err"'
kill -STOP $pid; empty; kill -CONT $pid
wait $pid; rc=$?
check room_again '[ $rc = 0 ] && [ -e "$dir/full/checkpoints/step-00000060" ] && cmp -s "$dir/want" "$dir/full/model/model.safetensors" &&
    grep -q "the newest checkpoint is that of step [0-9]*: the last one could not be written" "$dir/err"'
rm -rf "$dir/full"

# full at the end: status 4, the old checkpoint stays, and the same command finishes it
start last > /dev/null 2> "$dir/err" & pid=$!
wait_for '[ -e "$dir/last/checkpoints/step-00000010" ]'
kill -STOP $pid; fill; kill -CONT $pid
wait $pid; rc=$?
check full_at_the_end '[ $rc = 4 ] && grep -q "writing stopped\|no room" "$dir/err" && [ -n "$(ls "$dir/last/checkpoints" | grep ^step-)" ]'
check no_rests '[ -z "$(ls -A "$dir/last/checkpoints" | grep -v -e ^step- -e ^latest$)" ]'
empty
(start last) 2> "$dir/err"; rc=$?
check finished_later '[ $rc = 0 ] && grep -q "going on at step" "$dir/err" && cmp -s "$dir/want" "$dir/last/model/model.safetensors"'
rm -rf "$dir/last"

# full, and told to wait
start pause --on-enospc pause > /dev/null 2> "$dir/err" & pid=$!
wait_for '[ -e "$dir/pause/checkpoints/step-00000010" ]'
kill -STOP $pid; fill; kill -CONT $pid
wait_for 'grep -q "the training waits for room in" "$dir/err"'
before=$(wc -l < "$dir/err"); sleep 0.3
check waits 'kill -0 $pid && [ "$(wc -l < "$dir/err")" = $before ]'
empty
wait $pid; rc=$?
check went_on '[ $rc = 0 ] && cmp -s "$dir/want" "$dir/pause/model/model.safetensors"'
rm -rf "$dir/pause"

# Slurm's warning, then its patience ends
start usr1 > /dev/null 2> "$dir/err" & pid=$!
wait_for '[ -e "$dir/usr1/checkpoints/step-00000010" ]'
kill -USR1 $pid; wait $pid; rc=$?
check usr1 '[ $rc = 143 ] && grep -q "stopped at step [0-9]* of 60; the same command goes on" "$dir/err"'
start usr1 --on-enospc pause > /dev/null 2> "$dir/err" & pid=$!
wait_for 'grep -q "going on at step" "$dir/err"'
kill -STOP $pid; fill; kill -CONT $pid
wait_for 'grep -q "the training waits for room in" "$dir/err"'
kill -TERM $pid; wait $pid; rc=$?
check stopped_while_waiting '[ $rc = 4 ]'
empty
start usr1 > /dev/null 2> "$dir/err" & pid=$!
wait_for 'grep -q "going on at step" "$dir/err"'
kill -STOP $pid; kill -TERM $pid; kill -INT $pid; kill -CONT $pid; wait $pid; rc=$?
check second_signal '[ $rc = 130 ] || [ $rc = 143 ]'
(start usr1) 2> "$dir/err"; rc=$?
check after_all '[ $rc = 0 ] && cmp -s "$dir/want" "$dir/usr1/model/model.safetensors"'
exit $bad
