#!/bin/sh
# cli_train_detect.sh - `vismin train detect`: going on has the same bits, files of annotations, what cannot be read, what is exported.
vismin=${VISMIN:-build/vismin}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_train_detect.$1"; else echo "FAIL cli_train_detect.$1"; bad=1; fi
}
train() { # OUT OPTIONS...
    out=$1; shift
    "$vismin" train detect --batch 2 --lr 1e-3 --warmup 2 --log-every 1 --dtype f32 --deterministic --out "$dir/$out" "$@" > /dev/null 2> "$dir/err"; rc=$?
}
world="--data world --scratch world --curriculum 2,4 --steps 6 --denoise 16 --dropout 0.1 --fusion-drop 0.1 --drop-path 0.1 --ema 0.9 --crop 0.5"

train whole $world
check trains '[ $rc = 0 ] && [ "$(grep -c "\"pick_ce\"" "$dir/whole/log.jsonl")" = 6 ] && grep -q "\"noised\"" "$dir/whole/log.jsonl"'
train parts $world --save-every 3
rm -r "$dir/parts/checkpoints/step-00000006" "$dir/parts/model" "$dir/parts/model-ema"
train parts $world --save-every 3
check goes_on '[ $rc = 0 ] && grep -q "going on at step 3 of 6" "$dir/err"'
check same_bits 'for m in model model-ema; do cmp "$dir/whole/$m/model.safetensors" "$dir/parts/$m/model.safetensors" || exit 1; done'
check averages_differ '! cmp -s "$dir/whole/model/model.safetensors" "$dir/whole/model-ema/model.safetensors"'
check whole_folder 'for f in config.json vocab.txt preprocessor_config.json tokenizer_config.json; do cmp "$dir/whole/base/$f" "$dir/whole/model/$f" || exit 1; done'
train parts $world --save-every 3 --label-noise 0.1
check other_options '[ $rc = 3 ] && grep -q -- "--label-noise was 0.25 and is 0.1 now" "$dir/err"'

train dry $world --lr-vision 0.5 --lr-text 0 --dry-run
check dry_run '[ $rc = 0 ] && [ ! -e "$dir/dry" ] && grep -q "6 steps of 2 pictures" "$dir/err" && grep -q "memory: weights [0-9.]* GB, .* activations 0.0[1-9] for the largest of the first batches, 2 pictures of [0-9]* x [0-9]* with [0-9]* tokens" "$dir/err"'
check dry_run_groups 'grep -q "backbone: 0.[0-9]* M parameters, of which 0.[0-9]* M learn, at 0.0005$" "$dir/err" && grep -q "text encoder: 0.[0-9]* M parameters, of which 0.00 M learn, at 0$" "$dir/err" && grep -q "encoder, decoder and heads: .* at 0.001$" "$dir/err"'

"$vismin" scene --out "$dir/w" --scenes 12 --boxes --quiet
files="--data $dir/w/boxes.json --init $dir/whole/model --steps 3 --val $dir/w/boxes.json --val-limit 3 --scales 64,96"
train files $files --lr-text 0
check files '[ $rc = 0 ] && grep -q "\"val_ap50\"" "$dir/files/log.jsonl" && grep -q "validation: AP50" "$dir/err"'
"$vismin" detect "$dir/files/model" "$dir/w/images/000003.png" --phrase "red ball" --json > "$dir/json" 2> /dev/null; rc=$?
check used_by_detect '[ $rc = 0 ] && grep -q "\"phrase\":\"red ball\"" "$dir/json"'
echo broken > "$dir/w/images/000004.png"
train broken $files --epochs 2 --max-bad 50
check epochs_and_steps '[ $rc = 2 ] && grep -q -- "--steps and --epochs" "$dir/err"'
train broken --data "$dir/w/boxes.json" --init "$dir/whole/model" --epochs 1 --max-bad 50
check unreadable '[ $rc = 0 ] && [ "$(grep -c 000004.png "$dir/broken/bad_samples.jsonl")" = 1 ] && [ "$(wc -l < "$dir/broken/log.jsonl")" = 6 ]'
train strict --data "$dir/w/boxes.json" --init "$dir/whole/model" --epochs 1 --max-bad 1
check too_many_unreadable '[ $rc = 3 ]'

train none --data world --steps 1
check start_is_needed '[ $rc = 2 ] && grep -q -- "--init DIR" "$dir/err"'
train none --scratch world --steps 1
check data_is_needed '[ $rc = 2 ] && grep -q -- "--data FILE is needed" "$dir/err"'
train none --data world --scratch world
check steps_are_needed '[ $rc = 2 ] && grep -q "no steps" "$dir/err"'
train none --data world --scratch world --steps 1 --scales 64,x
check scales '[ $rc = 2 ] && grep -q -- "--scales 64,x" "$dir/err"'
train none --data world --scratch world --steps 1 --curriculum 5
check curriculum '[ $rc = 2 ] && grep -q -- "--curriculum 5: expected two steps" "$dir/err"'
train none --data world --scratch world --steps 1 --val-every 1
check val_is_needed '[ $rc = 2 ] && grep -q -- "--val FILE" "$dir/err"'
exit $bad
