#!/bin/sh
# soak.sh - kill -9 at SOAK_KILLS random moments (default 200) of `vismin train clip`, then of `vismin eval` and `vismin instruct`: the same
# command is given again until it is done, the results are compared with those of an undisturbed run, and a new run begins
# until the kills are used up (SOAK_VERBS names only some of them). Two cases per finished run; the last line is the verdict. Needs no network and about
# an hour of one core for 200; SOAK_SEED repeats a sequence of waiting times (not the moments that they hit).
vismin=${VISMIN:-build/vismin}
kills=${SOAK_KILLS:-200}
seed=${SOAK_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
dir=$(mktemp -d) || exit 1
pid=
trap 'rm -rf "$dir"' EXIT
trap '[ -n "$pid" ] && kill -9 $pid; exit 130' INT TERM
. tests/stage_parts.sh
passed=0 failed=0
check() { # NAME STATUS
    if [ "$2" = 0 ]; then echo "ok soak.$1"; passed=$((passed + 1)); else echo "FAIL soak.$1"; failed=$((failed + 1)); fi
}
die() { printf '%s\n' "$1" >&2; check "$2" 1; echo "$passed passed, $failed failed"; exit 1; }
now() { date +%s.%N; }
# sleeps for a random time below $1 seconds; a linear congruential generator is random enough for that
sleep_below() {
    seed=$(((seed % 2147483648 * 1103515245 + 12345) % 2147483648))
    sleep "$(echo "$seed $1" | awk '{ printf "%.3f", $1 / 2147483648 * $2 }')"
}

run_train() { # OUT, in place of this shell
    exec "$vismin" train clip --data world:plain --scratch world --out "$1" --batch 4 --steps 24 --lr 1e-3 --warmup 5 \
        --save-every 2 --log-every 1 --dtype f32 --threads 1 --seed 3
}
same_train() { # OUT: whatever depends on the clock is left out
    for f in model.safetensors open_clip_model.safetensors config.json tokenizer.json; do
        cmp "$dir/whole.train/model/$f" "$1/model/$f" || return 1
    done
    for d in "$dir/whole.train" "$1"; do sed 's/,"samples_per_s":[^,]*,"data_s":[^,]*//' "$d/log.jsonl" >"$d.log"; done
    cmp "$dir/whole.train.log" "$1.log" && [ "$(ls -A "$dir/whole.train/checkpoints")" = "$(ls -A "$1/checkpoints")" ]
}
run_eval() { # OUT
    exec "$vismin" eval "$dir/whole.train/model" --data "$dir/bench" --out "$1" --batch 8 --dtype f32 --threads 1
}
same_eval() { # OUT
    a=$(echo "$dir"/whole.eval/vismin/*) b=$(echo "$1"/vismin/*)
    for f in samples.jsonl predictions.csv table.csv table.md skipped.jsonl; do cmp "$a/$f" "$b/$f" || return 1; done
    for d in "$a" "$b"; do grep -v -e '"started"' -e '"wall_s"' -e '"command"' "$d/results.json" >"$d.timeless"; done
    cmp "$a.timeless" "$b.timeless" && rm "$a.timeless" "$b.timeless"
}

run_instruct() { # OUT: 300 captions, two answers for each of up to three tries
    mkdir -p "$1" && cp "$dir/captions/captions.jsonl" "$1/" || exit 1
    exec "$vismin" instruct "$1" --categories object --llm "replay:$dir/answers.jsonl"
}
same_instruct() { # OUT: the published file, and every line but for what the clock says
    for d in "$dir/whole.instruct" "$1"; do
        "$vismin" export "$d" instruct --out "$d.json" && "$vismin" check "$d" --quiet && cp -r "$d" "$d.compact" && "$vismin" compact "$d.compact" --quiet || return 1
        sed 's/,"ms":.*//' "$d.compact"/instruct/part-*.jsonl >"$d.log"
        rm -r "$d.compact"
    done
    cmp "$dir/whole.instruct.json" "$1.json" && cmp "$dir/whole.instruct.log" "$1.log"
}

# soak VERB: one undisturbed run, then killed ones
soak() {
    t0=$(now)
    ("run_$1" "$dir/whole.$1") >"$dir/out" 2>"$dir/err" || die "$(tail -n 5 "$dir/err")" "$1.undisturbed"
    half=$(echo "$(now) $t0" | awk '{ print ($1 - $2) / 2 }')
    n=0 runs=0 tries=0
    while :; do
        runs=$((runs + 1)) rc=137 out=$dir/killed.$1.$runs
        while [ $rc = 137 ]; do
            tries=$((tries + 1))
            [ $tries -gt $((20 * kills + 20)) ] && die "$tries starts, $n of $kills kills, and not done" "$1.progress"
            "run_$1" "$out" >"$dir/out" 2>"$dir/err" & pid=$!
            if [ $n -lt "$kills" ]; then
                sleep_below "$half"
                kill -9 $pid 2>/dev/null
            fi
            wait $pid 2>/dev/null; rc=$?; pid=
            [ $rc = 137 ] && n=$((n + 1))
        done
        [ $rc = 0 ]; check "$1.run$runs.finished" $?
        [ $rc = 0 ] || { tail -n 5 "$dir/err" >&2; break; }
        "same_$1" "$out" >&2; check "$1.run$runs.same_bytes" $?
        rm -rf "$out" "$out.log" "$out.json"
        [ $n -ge "$kills" ] && break
    done
    echo "$1: $n kills in $runs runs, $tries starts, seed $seed"
}
"$vismin" scene --out "$dir/bench" --pairs 30 --quiet || die "no benchmark" scene
mkdir "$dir/captions" && world_run "$dir/captions" 300 && world_answers "$dir/captions" "$dir/answers.jsonl" 1 || die "no captions" captions
for verb in ${SOAK_VERBS:-train eval instruct}; do soak $verb; done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
