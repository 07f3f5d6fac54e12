#!/bin/sh
# cli_stages.sh - the stages of a run directory when things go wrong: killed, stopped, shared, full of nonsense, changed in between.
vismin=${VISMIN:-build/vismin}
t=$(mktemp -d /dev/shm/cli_stages.XXXXXX 2>/dev/null || mktemp -d) || exit 1 # in memory where that is: disks that sync slowly are no part of the test
trap 'rm -rf "$t"' EXIT
. tests/stage_parts.sh
all=0
check() { # NAME WANT GOT
    if [ "$2" = "$3" ]; then echo "ok cli_stages.$1"; else echo "FAIL cli_stages.$1"; all=1; printf 'want %s\ngot  %s\n' "$2" "$3" >&2; cat "$t/err" >&2; fi
}
has() { # NAME WORDS GOT
    case $3 in *"$2"*) echo "ok cli_stages.$1" ;; *) echo "FAIL cli_stages.$1"; all=1; printf '%.900s\nlacks %s\n' "$3" "$2" >&2 ;; esac
}
err() { cat "$t/err"; }
ins() { run=$1; shift; "$vismin" instruct "$t/$run" --categories object "$@" 2>"$t/err"; }
start() { run=$1; shift; exec "$vismin" instruct "$t/$run" --categories object "$@" 2>"$t/err"; } # in place of this shell
new() { mkdir -p "$t/$1" && cp "$t/whole/captions.jsonl" "$t/$1/"; }
result() { "$vismin" export "$t/$1" instruct 2>"$t/err" | sha256sum; }
# the lines that count, without what the clock says
lines() { cp -r "$t/$1" "$t/c"; "$vismin" compact "$t/c" --quiet 2>>"$t/err"; cat "$t"/c/instruct/part-*.jsonl | sed 's/,"ms":.*//' | sort | sha256sum; rm -rf "$t/c"; }
wait_lines() { n=0; until [ "$(cat "$t/$1"/instruct/part-*.jsonl 2>/dev/null | wc -l)" -ge "$2" ] || [ $n -gt 500 ]; do sleep 0.01; n=$((n + 1)); done; }

mkdir "$t/whole" && world_run "$t/whole" 40 && world_answers "$t/whole" "$t/fast.jsonl"
sed 's/"delay_ms":0/"delay_ms":8/' "$t/fast.jsonl" >"$t/slow.jsonl"

# an undisturbed run
ins whole --llm "replay:$t/slow.jsonl" --stats-json "$t/stats.json" --explain >"$t/out"; check status 0 $?
has summary '40 units, 30 ok with 170 records, 10 void, 0 in error' "$(err)"
has codes '"refused": 5' "$(cat "$t/stats.json")"; has cut '"cut": 5' "$(cat "$t/stats.json")"
has rejected '"V12": ' "$(cat "$t/stats.json")"
has explain "V12$(printf '\t')" "$(cat "$t/out")"
check done_file "$(sed -n 's/.*"sha256": "\(.*\)".*/\1/p' "$t/whole/instruct/part-0000-of-0001.done")" "$(sha256sum <"$t/whole/instruct/part-0000-of-0001.jsonl" | cut -d' ' -f1)"
has rejects '"code":"refused","text":"I cannot help with that."' "$(cat "$t/whole/instruct/rejects-0000-of-0001.jsonl")"
want=$(result whole) want_lines=$(lines whole)
before=$(cat "$t/whole/instruct/part-0000-of-0001.jsonl" | wc -l); ins whole --llm "replay:$t/slow.jsonl" --json >"$t/out"
has json '"units":40,"ok":30,"void":10,"error":0,"records":170,' "$(cat "$t/out")"
check nothing_twice "$before" "$(cat "$t/whole/instruct/part-0000-of-0001.jsonl" | wc -l)"
"$vismin" check "$t/whole" >"$t/out" 2>"$t/err"; check whole 0 $?

# killed as soon as there are so many lines, once more in the middle of a line; n is wait_lines' own
new killed; kills=0 rc=137
for upto in 1 3 6 9 13 17 22 27 0; do
    start killed --llm "replay:$t/slow.jsonl" --quiet & pid=$!
    [ $upto = 0 ] || { wait_lines killed $upto; kill -9 $pid 2>/dev/null; }
    wait $pid 2>/dev/null; rc=$?
    [ $rc = 137 ] || break
    kills=$((kills + 1))
    [ $kills = 4 ] && [ -e "$t/killed/instruct/part-0000-of-0001.jsonl" ] && printf '{"k":"torn' >>"$t/killed/instruct/part-0000-of-0001.jsonl"
done
check killed_status 0 $rc; [ $kills -gt 3 ]; check killed_often 0 $?
check killed_result "$want" "$(result killed)"; check killed_lines "$want_lines" "$(lines killed)"
"$vismin" check "$t/killed" >"$t/out" 2>"$t/err"; check killed_whole 0 $?

# stopped
for s in INT TERM; do
    new $s; start $s --llm "replay:$t/slow.jsonl" & pid=$!
    wait_lines $s 5; kill -$s $pid; wait $pid; check stopped_$s $([ $s = INT ] && echo 130 || echo 143) $?
    has hint_$s 'stopped; the same command goes on where it was' "$(err)"
    ins $s --llm "replay:$t/slow.jsonl"; check stopped_result_$s "$want" "$(result $s)"
done

# two workers on one shard
new two
"$vismin" instruct "$t/two" --categories object --llm "replay:$t/slow.jsonl" --quiet 2>"$t/err1" & pid=$!
wait_lines two 1; ins two --llm "replay:$t/slow.jsonl"; check locked 5 $?
has owner "part-0000-of-0001.jsonl: locked by host $(uname -n), process $pid, since 20" "$(err)"
kill -9 $pid; wait $pid 2>/dev/null; n0=$(cat "$t"/two/instruct/part-*.jsonl | wc -l); start two --llm "replay:$t/slow.jsonl" --quiet & pid=$!
wait_lines two $((n0 + 2)); "$vismin" instruct "$t/two" --categories object --llm "replay:$t/slow.jsonl" --wait 2>"$t/err1"; check waited 0 $?
has waiting 'waiting for it' "$(cat "$t/err1")"; wait $pid
check two_result "$want" "$(result two)"

# a file system without locks: what the lock of a worker that hangs would refuse
new nolock; start nolock --llm "replay:$t/slow.jsonl" --quiet & pid=$!; wait_lines nolock 2; kill -STOP $pid
ins nolock --llm "replay:$t/slow.jsonl"; check held 5 $?
ins nolock --llm "replay:$t/slow.jsonl" --no-lock; check no_lock 0 $?
has no_lock_said 'no-lock: two workers on one shard are not noticed' "$(err)"; check no_lock_once 1 "$(grep -c 'no-lock' "$t/err")"
"$vismin" compact "$t/nolock" >"$t/out" 2>"$t/err"; check compact_held 5 $?
"$vismin" compact "$t/nolock" --no-lock >"$t/out" 2>"$t/err"; check compact_no_lock 0 $?
kill -9 $pid; kill -CONT $pid 2>/dev/null; wait $pid 2>/dev/null; check no_lock_result "$want" "$(result nolock)"
ins nolock --llm none --no-lock --shard any/4; check no_lock_any 2 $?
ins nolock --llm none --no-lock --wait; check no_lock_wait 2 $?

# shards are the whole, and may be cut otherwise later
new parts; for i in 0 1 2; do ins parts --llm "replay:$t/fast.jsonl" --shard $i/3; done
check shards 3 "$(ls "$t/parts/instruct" | grep -c 'part-000.-of-0003.jsonl$')"; check shards_result "$want" "$(result parts)"
ins parts --llm "replay:$t/fast.jsonl"; check other_cut 0 "$(cat "$t/parts/instruct/part-0000-of-0001.jsonl" | wc -l)"
ins parts --llm none --shard 3/3; check shard_usage 2 $?
new anyone; "$vismin" instruct "$t/anyone" --categories object --llm "replay:$t/slow.jsonl" --shard any/4 2>"$t/err1" & pid=$!
ins anyone --llm "replay:$t/slow.jsonl" --shard any/4; check any 0 $?; wait $pid; check any_too 0 $?
ins anyone --llm "replay:$t/slow.jsonl" --shard any/4; check any_rest 0 $?; check any_result "$want" "$(result anyone)"
has any_busy 'parts are with other workers' "$(cat "$t/err1"; err)"; "$vismin" check "$t/anyone" >"$t/out" 2>"$t/err"; check any_whole 0 $?

# nonsense: counted, then too much of it
has final_void 'void","code":"garbage"' "$(grep '"t":0' "$t/whole/instruct/part-0000-of-0001.jsonl")"
sed 's/"text":"\([^"\\]\|\\.\)*"/"text":"la la la"/' "$t/fast.jsonl" >"$t/nonsense.jsonl"
new voids; ins voids --llm "replay:$t/nonsense.jsonl" --void-window 20; check too_many_voids 3 $?
check samples 3 "$(grep -c 'void answer: la la la' "$t/err")"; has void_words 'of the last 20 answers were void, the limit is 50 %' "$(err)"
new loops; sed 's/"text":"\([^"\\]\|\\.\)*"/"text":"[ a b c a b c a b c a b c a b c a b c a b c a b c a b c a b c a b c"/' "$t/fast.jsonl" >"$t/loop.jsonl"
ins loops --llm "replay:$t/loop.jsonl" --tries 1 --void-limit 1 --stats-json "$t/stats.json"; has loops '"loop": ' "$(cat "$t/stats.json")"

# servers that gave nothing: taken up again by the next run
new errors; sed '/"sample":0/s/"finish":"stop"/"finish":"failed"/' "$t/fast.jsonl" >"$t/failed.jsonl"
ins errors --llm "replay:$t/failed.jsonl" --tries 1 --void-limit 1; check error_status 1 $?
has in_error '30 in error' "$(err)"; a=$(cat "$t/errors/instruct/part-0000-of-0001.jsonl" | wc -l)
ins errors --llm "replay:$t/failed.jsonl" --tries 1 --void-limit 1; check taken_up $((a + 30)) "$(cat "$t/errors/instruct/part-0000-of-0001.jsonl" | wc -l)"

# no room in the context: demonstrations go, those farthest from the question first; then nothing is left to try
ins whole --show-prompt >"$t/full"; check all_shots 17 "$(grep -c '^Caption:' "$t/full")"
"$vismin" instruct "$t/whole" --categories object --llm "replay:$t/fast.jsonl" --llm-context 1400 --show-prompt >"$t/few" 2>"$t/err"
n=$(grep -c '^Caption:' "$t/few"); [ "$n" -gt 2 ] && [ "$n" -lt 17 ]; check fewer_shots 0 $?
check near_ones_stay "$(tail -n $((2 * n)) "$t/full" | sha256sum)" "$(tail -n $((2 * n)) "$t/few" | sha256sum)"
new small; ins small --llm "replay:$t/fast.jsonl" --llm-context 600; has too_long '40 void' "$(err)"
check too_long_code 40 "$(grep -c '"code":"too_long"' "$t/small/instruct/part-0000-of-0001.jsonl")"

# lines that are none, texts that could break lines
mkdir "$t/odd"; cat >"$t/odd/captions.jsonl" <<'END'
{"image_id":"1","caption":"A \"STOP\" sign by the \\ road."}
{"image_id":"2"}
not JSON
{"image_id":"3","caption":"A 🐶 dog and שלום on a sign."}
END
printf '{"text":"[{\\"SelectedPhrase\\":\\"sign\\",\\"EditedPhrase\\":\\"lamp\\"}]"}\n%.0s' 1 2 3 4 5 6 7 8 9 10 11 12 >"$t/any.jsonl"
ins odd --llm "replay:$t/any.jsonl"; check odd_status 1 $?
has odd_line 'captions.jsonl:2: caption: is missing' "$(err)"; has odd_line3 'captions.jsonl:3' "$(err)"
ins odd --llm "replay:$t/any.jsonl" --strict; check strict 3 $?
ins odd --show-prompt --shots 0 | tail -n 3 >"$t/out"; has escaped 'Caption: "A \"STOP\" sign by the \\ road."' "$(cat "$t/out")"
"$vismin" export "$t/odd" instruct >"$t/out"
has odd_exported '"A \"STOP\" sign by the \\ road.": [' "$(cat "$t/out")"; has odd_edited '"edited_caption": "A 🐶 dog and שלום on a lamp."' "$(cat "$t/out")"

# prompts that are edited between runs
mkdir "$t/prompts"; printf 'Swap one thing.\nCaption: {caption:json}\n' >"$t/prompts/instruct.object.txt"
ins whole --llm "replay:$t/slow.jsonl" --prompt-dir "$t/prompts"; check changed 3 $?; has changed_words '"prompts" was {"object":"' "$(err)"
cp -r "$t/whole" "$t/both"; ins both --llm "replay:$t/slow.jsonl" --prompt-dir "$t/prompts" --resume ignore-config; check ignored 0 $?
check ignored_lines "$before" "$(cat "$t/both/instruct/part-0000-of-0001.jsonl" | wc -l)"; check ignored_result "$want" "$(result both)"
ins whole --llm "replay:$t/slow.jsonl" --prompt-dir "$t/prompts" --new-run; check anew 0 $?
check anew_lines $((2 * before)) "$(cat "$t/whole/instruct/part-0000-of-0001.jsonl" | wc -l)"; check anew_result "$want" "$(result whole)"
printf '{"caption":"A dog runs.","answer":[{"SelectedPhrase":"dog","EditedPhrase":"puppy"}]}\n' >"$t/prompts/instruct.object.demos.jsonl"; printf '{demos}\n{caption}\n' >"$t/prompts/instruct.object.txt"
ins whole --prompt-dir "$t/prompts" --show-prompt; check bad_demo 3 $?; has bad_demo_words 'instruct.object.demos.jsonl:1: answer: the demonstration "dog" to "puppy" breaks V09' "$(err)"

# numbers that are none
m=$t/model; mkdir "$m" && cp tests/golden/llm/llama/config.json tests/golden/llm/llama/model.safetensors "$m" && cp tests/golden/tokenizer/pieces_first/*.json "$m"
printf 'edit object : {caption} =>\n' >"$t/prompts/instruct.object.txt"
mkdir "$t/short"; printf '{demos}\n{caption}\n' >"$t/short/instruct.object.txt"; printf '{"caption":"A dog runs.","answer":[{"SelectedPhrase":"dog","EditedPhrase":"%s"}]}\n' cat owl >"$t/short/instruct.object.demos.jsonl"
ins whole --llm "native:$m" --chat-template phi3 --prompt-dir "$t/short" --turns --shots 2 --max-new 60 --show-prompt >"$t/out"; check turns '3 2' "$(grep -c '^<|user|>' "$t/out") $(grep -c '^\[{.*}\]<|end|>' "$t/out")"
ins whole --llm "native:$m" --turns --show-prompt; check turns_raw 2 $?
new nan; ins nan --llm "native:$m" --prompt-dir "$t/prompts" --max-new 60 --tries 1 --void-limit 1 --threads 1 --no-schema; check native 0 $?
# the same model behind HTTP
"$vismin" serve "$m" --port 0 --chat-template raw --threads 1 --quiet >"$t/url" 2>"$t/err1" & pid=$!
n=0; until grep -qs http "$t/url" || [ $n -gt 500 ]; do sleep 0.02; n=$((n + 1)); done
new http; ins http --llm "http:$(head -n 1 "$t/url")" --prompt-dir "$t/prompts" --max-new 200 --tries 1 --void-limit 1 --stats-json "$t/stats.json"; check http 0 $?
has http_tokens '"tokens_in": ' "$(grep -v '"tokens_in": 0' "$t/stats.json")"; has http_model '"model": "http:model"' "$(cat "$t/http/manifest.json")"
check http_schema 0 "$(grep -c '"code":"garbage"' "$t/http/instruct/part-0000-of-0001.jsonl")"
kill $pid; wait $pid; new http2; ins http2 --llm "http:$(head -n 1 "$t/url")" --prompt-dir "$t/prompts"; check http_gone 4 $?; has http_gone_words 'is the server running?' "$(err)"
n=$(wc -c <"$m/model.safetensors"); head -c 60000 /dev/zero | tr '\0' '\377' | dd of="$m/model.safetensors" bs=1 seek=$((n - 60000)) conv=notrunc 2>/dev/null
new nan2; ins nan2 --llm "native:$m" --prompt-dir "$t/prompts" --max-new 60 --tries 1 --threads 1 --no-schema; check nan 6 $?; has nan_words 'not numbers' "$(err)"

# what does not fit together
cp -r "$t/parts" "$t/broken"; p=$t/broken/instruct/part-0000-of-0003.jsonl
sed -i '2s/"st"/"sT"/' "$p"; "$vismin" check "$t/broken" >"$t/out" 2>"$t/err"; check damaged 1 $?; has damaged_line 'part-0000-of-0003.jsonl:2: the line is damaged' "$(cat "$t/out")"
ins broken --llm "replay:$t/fast.jsonl" --shard 0/3; check damaged_run 3 $?
"$vismin" compact "$t/broken" 2>"$t/err"; check salvaged 1 $?; has salvaged_words '1 damaged ones left out' "$(err)"
ins broken --llm "replay:$t/fast.jsonl" --shard 0/3; check salvaged_result "$want" "$(result broken)"
"$vismin" check "$t/broken" >"$t/out" 2>"$t/err"; check salvaged_whole 0 $?
ins none --llm none; check no_captions 3 $?; has no_captions_words 'write them with `vismin captions`' "$(err)"
new nobody; ins nobody --llm none; check no_model 2 $?; has no_model_words '--llm is none; give native:DIR' "$(err)"
ins nobody --llm carrier:pigeon; check other_model 2 $?
exit $all
