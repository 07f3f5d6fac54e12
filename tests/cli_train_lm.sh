#!/bin/sh
# cli_train_lm.sh - texts of the miniature world and `vismin train lm` on them: killed at random moments, stopped by signals, packed rows, adapters, what is
# refused. The same command goes on, and the final model has the bytes of an undisturbed run.
vismin=${VISMIN:-build/vismin}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_train_lm.$1"; else echo "FAIL cli_train_lm.$1"; bad=1; fi
}

# --- texts ---
"$vismin" scene --out "$dir/t" --texts 400 --split train --model --curriculum --quiet; rc=$?
check texts '[ $rc = 0 ] && [ "$(wc -l < "$dir/t/texts.jsonl")" = 400 ] && [ "$(cut -d\" -f3- "$dir/t/texts.jsonl" | grep -c "completion")" = 400 ]'
"$vismin" scene --out "$dir/again" --texts 400 --split train --model --curriculum --quiet
check same_bytes 'cmp -s "$dir/t/texts.jsonl" "$dir/again/texts.jsonl" && cmp -s "$dir/t/model/tokenizer.json" "$dir/again/model/tokenizer.json"'
"$vismin" scene --out "$dir/one" --texts 20 --task vet.object --split val --quiet
check one_task '[ "$(grep -c "\"task\":\"vet.object\"" "$dir/one/texts.jsonl")" = 20 ]'
"$vismin" scene --out "$dir/one" --texts 20 --task vet --quiet 2> "$dir/err"; rc=$?
check unknown_task '[ $rc = 2 ] && grep -q "known are instruct.object, instruct.attribute" "$dir/err"'
# every word of a text is one token: the prompt "edit object : a red ball =>" has one for each word and mark
n=$(echo "edit object : a red ball =>" | "$vismin" tokenize "$dir/t/model" --plain | tr , ' ' | wc -w)
check words_are_tokens '[ "$n" = 7 ]'
mkdir "$dir/p" && for f in weights/tiny/llm/prompts/*.txt; do sed 's/{caption}/{title}/' "$f" > "$dir/p/${f##*/}"; done
"$vismin" scene --out "$dir/one" --texts 20 --prompt-dir "$dir/p" --quiet 2> "$dir/err"; rc=$?
check unknown_place '[ $rc = 3 ] && grep -q "nothing fills the place {title}" "$dir/err"'

# --- training, on texts of one task, which are short and of like length: what a size of a batch needs is made once ---
rm -rf "$dir/t" && "$vismin" scene --out "$dir/t" --texts 400 --split train --task ask.judge --model --quiet
sed 's/"num_hidden_layers": [0-9]*/"num_hidden_layers": 1/; s/"hidden_size": [0-9]*/"hidden_size": 48/' "$dir/t/model/config.json" > "$dir/c" && mv "$dir/c" "$dir/t/model/config.json"
start() { # OUT [OPTIONS]: the command under test in place of this shell
    out=$1; shift
    exec "$vismin" train lm --data "$dir/t/texts.jsonl" --val "$dir/one/texts.jsonl" --init-config "$dir/t/model" --batch 8 --accum 2 --steps 60 --lr 1e-3 \
        --warmup 5 --save-every 11 --val-every 20 --log-every 10 --threads 1 --dtype f32 --out "$out" "$@"
}
run() { (start "$@"); }
"$vismin" scene --out "$dir/one" --texts 20 --split val --task ask.judge --quiet
run "$dir/whole" 2> "$dir/err"; rc=$?
check undisturbed '[ $rc = 0 ] && [ -s "$dir/whole/model/model.safetensors" ] && [ -s "$dir/whole/model/tokenizer.json" ] && grep -q "step 60/60" "$dir/err"'
check log '[ "$(grep -c val_loss "$dir/whole/log.jsonl")" = 3 ] && grep -q "^{\"step\":60,\"loss\":.*\"tokens_per_s\"" "$dir/whole/log.jsonl" && [ -s "$dir/whole/report/index.html" ]'
check generates '"$vismin" generate "$dir/whole/model" --prompt "edit object : a red ball =>" --max-new 4 --temperature 0 --quiet > "$dir/out" && [ -s "$dir/out" ]'

# killed before the first checkpoint, then as soon as a further one is there
kills=0 rc=1
for upto in log.jsonl checkpoints/step-00000011 checkpoints/step-00000022 checkpoints/step-00000044 end; do
    start "$dir/killed" 2>> "$dir/killed.err" & pid=$!
    n=0; while [ $upto != end ] && [ ! -e "$dir/killed/$upto" ] && [ $n -lt 2000 ]; do sleep 0.005; n=$((n + 1)); done
    [ $upto = end ] || { kill -9 $pid 2> /dev/null && kills=$((kills + 1)); }
    wait $pid 2> /dev/null; rc=$?
    [ $rc = 0 ] && break
done
same() { cmp -s "$dir/whole/model/model.safetensors" "$1/model/model.safetensors"; }
check killed_same_bytes '[ $rc = 0 ] && [ $kills -ge 2 ] && same "$dir/killed"'
check killed_same_log '[ "$(grep -o "{\"step\":[0-9]*,\"[a-z_]*loss\":[0-9.e-]*" "$dir/killed/log.jsonl")" = "$(grep -o "{\"step\":[0-9]*,\"[a-z_]*loss\":[0-9.e-]*" "$dir/whole/log.jsonl")" ]'
start "$dir/TERM" 2> "$dir/err" & pid=$!
n=0; while [ ! -e "$dir/TERM/checkpoints/step-00000011" ] && [ $n -lt 1000 ]; do sleep 0.02; n=$((n + 1)); done
kill $pid; wait $pid; rc=$?
check stopped '[ $rc = 143 ] && grep -q "stopped at step [0-9]* of 60; the same command goes on" "$dir/err"'
run "$dir/TERM" 2> "$dir/err"; rc=$?
check resumed '[ $rc = 0 ] && grep -q "going on at step" "$dir/err" && same "$dir/TERM"'

# --- texts packed into rows: the same losses, fewer places, and a killed run has the bytes of an undisturbed one ---
run "$dir/packed" --packing 2> "$dir/err"; rc=$?
check packed '[ $rc = 0 ] && grep -q "a step has 2 pieces of 1 rows, up to [0-9]* tokens long, 9[0-9.]* % filled" "$dir/err"'
last() { grep -o "\"$2\":[0-9.e-]*" "$1/log.jsonl" | tail -n 1 | cut -d: -f2; }
near() { awk -v a="$(last "$dir/whole" "$1")" -v b="$(last "$dir/packed" "$1")" 'BEGIN { exit !(a > 0 && b > 0 && a - b < 2e-3 * a && b - a < 2e-3 * a) }'; }
check packed_same_losses 'near loss && near val_loss'
check packed_fill '[ "$(awk -v a="$(last "$dir/whole" fill)" -v b="$(last "$dir/packed" fill)" "BEGIN { print (b > 0.9 && b > a) }")" = 1 ]'
start "$dir/packed_killed" --packing 2> "$dir/err" & pid=$!
n=0; while [ ! -e "$dir/packed_killed/checkpoints/step-00000022" ] && [ $n -lt 2000 ]; do sleep 0.005; n=$((n + 1)); done
kill -9 $pid 2> /dev/null; wait $pid 2> /dev/null
run "$dir/packed_killed" --packing 2> "$dir/err"; rc=$?
check packed_goes_on '[ $rc = 0 ] && grep -q "going on at step" "$dir/err" && cmp -s "$dir/packed/model/model.safetensors" "$dir/packed_killed/model/model.safetensors"'

train() { "$vismin" train lm --threads 1 --dtype f32 --quiet "$@" 2> "$dir/err"; }
train --data "$dir/t/texts.jsonl" --init-config "$dir/t/model" --batch 8 --steps 60 --out "$dir/TERM"; rc=$?
check other_command '[ $rc = 3 ] && grep -q "was made by another command" "$dir/err" && same "$dir/TERM"'
head -n 200 "$dir/t/texts.jsonl" > "$dir/half.jsonl"

# --- adapters on a base in 16 bits: it stays, the file is PEFT's, generate reads it ---
train --data "$dir/half.jsonl" --init "$dir/whole/model" --batch 8 --steps 2 --save-dtype f16 --out "$dir/base"; rc=$?
check whole_again '[ $rc = 0 ] && grep -q "\"torch_dtype\": \"float16\"" "$dir/base/model/config.json"'
train --data "$dir/half.jsonl" --init "$dir/base/model" --lora 4,8 --lora-targets q_proj,v_proj --batch 8 --epochs 1 --lr 5e-3 --out "$dir/lora"; rc=$?
check adapter '[ $rc = 0 ] && [ -s "$dir/lora/adapter/adapter_model.safetensors" ] && grep -q "\"r\": 4" "$dir/lora/adapter/adapter_config.json" && [ ! -e "$dir/lora/model" ]'
check adapter_steps 'grep -q "^{\"step\":25," "$dir/lora/log.jsonl"'
check adapter_generates '"$vismin" generate "$dir/base/model" --adapter "$dir/lora/adapter" --prompt "edit object : a red ball =>" --max-new 4 --temperature 0 --quiet > "$dir/out2"'
train --data "$dir/half.jsonl" --init "$dir/base/model" --adapter "$dir/lora/adapter" --batch 8 --steps 3 --out "$dir/lora2"; rc=$?
check adapter_goes_on '[ $rc = 0 ] && [ -s "$dir/lora2/adapter/adapter_model.safetensors" ]'

train --data "$dir/half.jsonl" --init "$dir/base/model" --lora 4,8 --dora --batch 8 --steps 20 --lr 5e-3 --out "$dir/dora"; rc=$?
check magnitudes '[ $rc = 0 ] && grep -q "\"use_dora\": true" "$dir/dora/adapter/adapter_config.json" && grep -aq lora_magnitude_vector "$dir/dora/adapter/adapter_model.safetensors"'

# --- a base in 4 bits: adapters learn on it, a whole training makes numbers of it ---
"$vismin" convert "$dir/base/model" "$dir/nf4" --quantize nf4 --quiet 2> "$dir/err"; rc=$?
train --data "$dir/half.jsonl" --init "$dir/nf4" --lora 4 --dora --batch 8 --steps 3 --out "$dir/qlora"; rc=$?
check four_bits '[ $rc = 0 ] && "$vismin" generate "$dir/nf4" --adapter "$dir/qlora/adapter" --prompt "edit object : a red ball =>" --max-new 4 --temperature 0 --quiet > "$dir/out3"'
train --data "$dir/half.jsonl" --init "$dir/nf4" --batch 8 --steps 2 --out "$dir/dense"; rc=$?
check four_bits_whole '[ $rc = 0 ] && ! grep -q quantization_config "$dir/dense/model/config.json" && grep -q quantization_config "$dir/nf4/config.json"'

# --- what is refused ---
train --data "$dir/t/texts.jsonl" --batch 8 --steps 3 --out "$dir/x"; rc=$?
check no_model '[ $rc = 2 ] && grep -q "one of --init DIR (weights to start from) and --init-config DIR" "$dir/err"'
train --init-config "$dir/t/model" --steps 3 --out "$dir/x"; rc=$?
check no_data '[ $rc = 2 ] && grep -q -e "--data FILE is needed" "$dir/err"'
train --data "$dir/t/texts.jsonl" --init-config "$dir/t/model" --batch 8 --accum 3 --steps 3 --out "$dir/x"; rc=$?
check uneven '[ $rc = 2 ] && grep -q -e "--batch 8 is no multiple of --accum 3" "$dir/err"'
{ cat "$dir/half.jsonl"; for i in 1 2 3 4; do echo '{"prompt":"a"}'; done; } > "$dir/torn.jsonl"
train --data "$dir/torn.jsonl" --init-config "$dir/t/model" --batch 8 --steps 3 --out "$dir/x"; rc=$?
check bad_lines '[ $rc = 3 ] && grep -q "4 of 204 lines cannot be used, more than --max-bad 1 %; the first: .*torn.jsonl:201" "$dir/err"'
train --data "$dir/torn.jsonl" --init-config "$dir/t/model" --batch 8 --steps 3 --max-bad 5 --out "$dir/x"; rc=$?
check bad_lines_allowed '[ $rc = 0 ]'
echo '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}' > "$dir/talk.jsonl"
train --data "$dir/talk.jsonl" --init-config "$dir/t/model" --batch 1 --steps 1 --out "$dir/y"; rc=$?
check no_layout '[ $rc = 3 ] && grep -q "give --chat-template" "$dir/err"'
train --data "$dir/talk.jsonl" --init-config "$dir/t/model" --chat-template raw --batch 1 --steps 1 --out "$dir/y"; rc=$?
check layout '[ $rc = 0 ]'
"$vismin" train lm --data "$dir/t/texts.jsonl" --init-config "$dir/t/model" --batch 8 --steps 3 --out "$dir/z" --dry-run 2> "$dir/err"; rc=$?
check dry_run '[ $rc = 0 ] && grep -q "memory: weights" "$dir/err" && [ ! -e "$dir/z" ]'
exit $bad
