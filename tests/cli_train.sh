#!/bin/sh
# cli_train.sh - `vismin train clip` killed at random moments, stopped by signals, disturbed by full disks: the same
# command goes on, and the final model has the bytes of an undisturbed run.
vismin=${VISMIN:-build/vismin}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_train.$1"; else echo "FAIL cli_train.$1"; bad=1; fi
}

# the world's configuration with towers of two layers: a step takes milliseconds
"$vismin" train clip --data world:plain --scratch world --out "$dir/seed" --batch 2 --steps 1 --quiet --dtype f32; rc=$?
check first_step '[ $rc = 0 ] && [ -s "$dir/seed/model/model.safetensors" ]'
sed 's/"num_hidden_layers": [0-9]*/"num_hidden_layers": 2/' "$dir/seed/base/config.json" > "$dir/config"
mv "$dir/config" "$dir/seed/base/config.json"
steps=40
start() { # OUT: the command under test in place of this shell: `start OUT &` and $! is the program
    exec "$vismin" train clip --data world:pairs --scratch "$dir/seed/base" --out "$1" --twin-weight 1 --batch 16 \
        --steps $steps --lr 1e-3 --warmup 5 --save-every 7 --log-every 10 --threads 2 --dtype f32
}
run() { (start "$1"); }
wait_for() { # FILE, at most 20 s
    n=0
    while [ ! -e "$1" ] && [ $n -lt 1000 ]; do sleep 0.02; n=$((n + 1)); done
}
same() { cmp -s "$dir/whole/model/model.safetensors" "$1/model/model.safetensors" &&
         cmp -s "$dir/whole/model/open_clip_model.safetensors" "$1/model/open_clip_model.safetensors"; }

run "$dir/whole" 2> "$dir/whole.err"; rc=$?
check undisturbed '[ $rc = 0 ] && [ -s "$dir/whole/model/model.safetensors" ] &&
    grep -q "step 40/40" "$dir/whole.err"'
check log '[ "$(wc -l < "$dir/whole/log.jsonl")" = 5 ] && grep -q "^{\"step\":40,\"loss\":" "$dir/whole/log.jsonl"'
check keeps_two '[ "$(ls "$dir/whole/checkpoints" | grep -c ^step-)" = 2 ] &&
    [ "$(readlink "$dir/whole/checkpoints/latest")" = step-00000040 ]'

# kill -9 after a random time, over and over; each try goes on where the last checkpoint stands
seed=$(date +%s) kills=0 tries=0 rc=1
while [ $rc != 0 ] && [ $tries -lt 40 ]; do
    tries=$((tries + 1))
    start "$dir/killed" 2>> "$dir/killed.err" & pid=$!
    if [ $kills -lt 5 ]; then
        seed=$(((seed * 1103515245 + 12345) % 2147483648))
        sleep 0.$(printf %02d $((5 + seed / 65536 % 25)))
        kill -9 $pid 2> /dev/null && kills=$((kills + 1))
    fi
    wait $pid 2> /dev/null; rc=$?
done
check killed_and_resumed '[ $rc = 0 ] && [ $kills -ge 1 ]'
check killed_same_bytes 'same "$dir/killed"'
check killed_same_log '[ "$(cut -d, -f1,2,3 "$dir/killed/log.jsonl")" = "$(cut -d, -f1,2,3 "$dir/whole/log.jsonl")" ]'
check no_rests '[ -z "$(ls -A "$dir/killed/checkpoints" | grep -v -e ^step- -e ^latest$)" ]'

# SIGTERM: saves, says so, exit status 143; SIGINT: 130
for sig in TERM INT; do
    out=$dir/$sig
    start "$out" 2> "$out.err" & pid=$!
    wait_for "$out/checkpoints/step-00000007"
    # a background job of a shell ignores SIGINT, unless the program asks for it, which it does
    kill -s $sig $pid; wait $pid; rc=$?
    want=143; [ $sig = INT ] && want=130
    check stopped_by_$sig '[ $rc = $want ] &&
    grep -q "stopped at step [0-9]* of 40; the same command goes on" "$out.err" && [ ! -e "$out/model" ]'
    run "$out" 2> "$out.err2"; rc=$?
    check resumed_after_$sig '[ $rc = 0 ] && grep -q "going on at step" "$out.err2" && same "$out"'
done

# other options for the same run are refused and harm nothing
"$vismin" train clip --data world:pairs --scratch "$dir/seed/base" --out "$dir/TERM" --batch 16 --steps 40 \
    2> "$dir/err"; rc=$?
check other_command '[ $rc = 3 ] && grep -q "was made by another command: --twin-weight was 1 and is 0 now" "$dir/err" && same "$dir/TERM"'

# a second process for the same run
start "$dir/two" 2> /dev/null & pid=$!
wait_for "$dir/two/log.jsonl"
run "$dir/two" 2> "$dir/err"; rc=$?
check locked '[ $rc = 5 ] && grep -q "$dir/two" "$dir/err"'
kill -9 $pid; wait $pid 2> /dev/null

# a full disk, played by a limit on file sizes: the run goes on, older checkpoints stay, it ends with 4
start "$dir/full" 2> /dev/null & pid=$!
wait_for "$dir/full/checkpoints/step-00000007"
kill -9 $pid; wait $pid 2> /dev/null
before=$(ls "$dir/full/checkpoints" | grep ^step- | tail -n 1)
at=$(echo "$before" | sed 's/step-0*//')
(ulimit -f 200; run "$dir/full" 2> "$dir/err"); rc=$?
check full_disk '[ $rc = 4 ] && grep -q "training goes on, the next checkpoint is tried at step" "$dir/err"'
check older_checkpoint_stays '[ -s "$dir/full/checkpoints/$before/manifest.json" ]'
run "$dir/full" 2> "$dir/err"; rc=$?
check after_full_disk '[ $rc = 0 ] && grep -q "going on at step $at of" "$dir/err" &&
    same "$dir/full"'

# a damaged checkpoint is passed over
rm -rf "$dir/full/model"
newest=$(ls "$dir/full/checkpoints" | grep ^step- | tail -n 1)
printf 'x' | dd of="$dir/full/checkpoints/$newest/optim.safetensors" bs=1 seek=5000 conv=notrunc 2> /dev/null
run "$dir/full" 2> "$dir/err"; rc=$?
check damaged_checkpoint '[ $rc = 0 ] && grep -q "$newest: damaged checkpoint passed over" "$dir/err" &&
    same "$dir/full"'
exit $bad
