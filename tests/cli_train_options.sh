#!/bin/sh
# cli_train_options.sh - losses, chunks, freezing, schedules and presets of `vismin train clip`, and what it refuses.
vismin=${VISMIN:-build/vismin}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_train_options.$1"; else echo "FAIL cli_train_options.$1"; bad=1; fi
}
"$vismin" train clip --data world:plain --scratch world --out "$dir/seed" --batch 2 --steps 1 --quiet --dtype f32
sed 's/"num_hidden_layers": [0-9]*/"num_hidden_layers": 2/' "$dir/seed/base/config.json" > "$dir/config"
mv "$dir/config" "$dir/seed/base/config.json"
train() { # OUT OPTIONS...
    out=$1; shift
    "$vismin" train clip --data world:pairs --scratch "$dir/seed/base" --out "$dir/$out" --batch 16 --dtype f32 --threads 2 "$@" 2> "$dir/err"
}
state() { cat "$dir/$1/checkpoints/latest/state.json"; }

# thresholds are part of the state: a run in two pieces has the bytes of one
ceclip='--loss itc-hn --hard-negatives text --imc-weight 0.3 --cmr-weight 0.2 --lr 1e-3 --warmup 2 --chunk 5 --steps 8 --save-every 3'
train whole $ceclip; rc=$?
check ceclip '[ $rc = 0 ] && grep -q "imc [0-9.]*  cmr [0-9.]*" "$dir/err" && state whole | grep -q "\"theta\": \[[0-9.]"'
cp "$dir/whole/model/model.safetensors" "$dir/undisturbed"
rm -r "$dir/whole/model" "$dir/whole/checkpoints/step-00000008"
train whole $ceclip; rc=$?
check ceclip_resumed '[ $rc = 0 ] && grep -q "going on at step 6 of 8" "$dir/err" &&
    cmp -s "$dir/undisturbed" "$dir/whole/model/model.safetensors"'

# a step in pieces is the step: after one step of either kind the models differ by roundings only
train one --lr 1e-3 --warmup 0 --steps 1; train accum --lr 1e-3 --warmup 0 --steps 1 --accum 4
a=$(sed -n 's/.*"loss":\([0-9.]*\).*/\1/p' "$dir/one/log.jsonl") b=$(sed -n 's/.*"loss":\([0-9.]*\).*/\1/p' "$dir/accum/log.jsonl")
check accum 'awk -v a="$a" -v b="$b" "BEGIN { exit !(a > 0 && (a - b < 1e-5) && (b - a < 1e-5)) }"'
train recompute --lr 1e-3 --warmup 0 --steps 1 --recompute
check recompute_same_bytes 'cmp -s "$dir/one/model/model.safetensors" "$dir/recompute/model/model.safetensors"'
train frozen --lr 1e-3 --steps 2 --freeze vision,embeddings --layer-decay 0.5 --schedule const-cooldown --cooldown 1 --warmup 1; rc=$?
check frozen '[ $rc = 0 ] && grep -q "step 2/2" "$dir/err"'

# presets: the command line wins; what was resolved is in the state
"$vismin" train clip --preset ce-clip --lr 1e-5 --show > "$dir/out"; rc=$?
check show '[ $rc = 0 ] && grep -q -e "--cmr-bound *10 *script of" "$dir/out" && grep -q "5e-6 .*; the command line says 1e-5" "$dir/out"'
"$vismin" train clip --show > "$dir/out"
check show_all '[ "$(grep -c "^[a-z].*: " "$dir/out")" = 7 ]'
train preset --preset ceclip-head --steps 2 --warmup 1; rc=$?
check preset '[ $rc = 0 ] && state preset | grep -q "\"imc\": \"ref-head\"" && state preset | grep -q "\"warmup\": 1," &&
    state preset | grep -q "\"cmr-reset\": true" && state preset | grep -q "\"batch\": 16,"'

# an adapter: its checkpoints hold it alone, a resumed run has its bytes, its merged model is one
base=$dir/one/model
adapter() { "$vismin" train clip --data world:pairs --init "$base" --out "$dir/$1" --batch 8 --dtype f32 --threads 2 --lora 2,4 --ema 0.9 --lr 1e-2 \
    --warmup 1 --steps 5 --save-every 2 2> "$dir/err"; }
adapter lora; rc=$?
check lora '[ $rc = 0 ] && grep -q "adapter: rank 2, alpha 4, 24 modules" "$dir/err" && [ ! -e "$dir/lora/model" ] &&
    [ -s "$dir/lora/adapter/adapter_config.json" ] && [ -s "$dir/lora/adapter-ema/adapter_model.safetensors" ] &&
    [ ! -e "$dir/lora/checkpoints/latest/model.safetensors" ]'
cp "$dir/lora/adapter/adapter_model.safetensors" "$dir/undisturbed" && cp "$dir/lora/adapter-ema/adapter_model.safetensors" "$dir/undisturbed-ema"
rm -r "$dir/lora/adapter" "$dir/lora/adapter-ema" "$dir/lora/checkpoints/step-00000005"
adapter lora; rc=$?
check lora_resumed '[ $rc = 0 ] && grep -q "going on at step 4 of 5" "$dir/err" &&
    cmp -s "$dir/undisturbed" "$dir/lora/adapter/adapter_model.safetensors" && cmp -s "$dir/undisturbed-ema" "$dir/lora/adapter-ema/adapter_model.safetensors"'
"$vismin" train clip --data world:pairs --init "$base" --out "$dir/more" --batch 8 --adapter "$dir/lora/adapter" --steps 1 2> "$dir/err"; rc=$?
check adapter_goes_on '[ $rc = 0 ] && [ -s "$dir/more/adapter/adapter_config.json" ]'
"$vismin" convert "$base" "$dir/merged" --merge "$dir/lora/adapter" 2> "$dir/err"; rc=$?
check merged '[ $rc = 0 ] && [ -s "$dir/merged/open_clip_model.safetensors" ] && [ -s "$dir/merged/tokenizer.json" ] &&
    ! cmp -s "$dir/merged/model.safetensors" "$base/model.safetensors"'
"$vismin" convert "$base" "$dir/half" --average "$dir/merged" --alpha 0 2> "$dir/err"; rc=$?
check average_of_one '[ $rc = 0 ] && cmp -s "$dir/half/model.safetensors" "$base/model.safetensors"'
"$vismin" convert "$base" "$dir/mean" --average "$dir/merged" --average "$dir/merged" 2> "$dir/err"; rc=$?
check average_of_three '[ $rc = 0 ] && grep -q "mean of 3 models" "$dir/err"'
"$vismin" convert "$base" "$dir/no" --average "$dir/merged" --average "$dir/merged" --alpha 0.5 2> "$dir/err"; rc=$?
check alpha_of_three '[ $rc = 2 ] && grep -q "alpha goes with one --average" "$dir/err" && [ ! -e "$dir/no" ]'
"$vismin" convert "$base" "$dir/merged" --merge "$dir/lora/adapter" 2> "$dir/err"; rc=$?
check merged_exists '[ $rc = 2 ] && grep -q "exists and is not empty" "$dir/err"'
"$vismin" convert "$base" "$dir/no" --average weights/tiny/clip-plain 2> "$dir/err"; rc=$?
check other_sizes '[ $rc = 6 ] && grep -q "average weights/tiny/clip-plain: the two models are not of one family" "$dir/err" && [ ! -e "$dir/no" ]'
train ema --lr 1e-3 --warmup 0 --steps 2 --ema 0.9
check ema '[ -s "$dir/ema/model-ema/model.safetensors" ] && ! cmp -s "$dir/ema/model/model.safetensors" "$dir/ema/model-ema/model.safetensors"'

train dry --steps 5 --dry-run; rc=$?
check dry_run '[ $rc = 0 ] && grep -q "memory: weights 0.0[0-9] GB, .*activations [0-9.]*, .*: [0-9.]* GB" "$dir/err" && [ ! -e "$dir/dry" ]'

refuse() { # NAME TEXT OPTIONS...
    name=$1 text=$2; shift 2
    train refused "$@"; rc=$?
    check "$name" '[ $rc = 2 ] && grep -q -e "$text" "$dir/err" && [ ! -e "$dir/refused/checkpoints" ]'
}
refuse unknown_loss "loss nce: known are itc, itc-hn, sigmoid" --loss nce --steps 1
refuse sigmoid_without_bias "models with a bias of logits, such as SigLIP" --loss sigmoid --steps 1
refuse unknown_preset "did you mean negclip?" --preset negclap --steps 1
refuse unknown_side "hard-negatives left: known are both, text, image" --loss itc-hn --hard-negatives left --steps 1
refuse side_without_loss "hard-negatives goes with --loss itc-hn" --hard-negatives text --steps 1
refuse threshold "cmr-threshold high: known are mean, max, and a number" --cmr-threshold high --steps 1
refuse chunk_and_accum "chunk and --accum say the same" --chunk 4 --accum 2 --steps 1
refuse steps_and_epochs "steps and --epochs say the same" --epochs 2 --steps 1
refuse cooldown "const-cooldown and --cooldown N go together" --cooldown 2 --steps 4
refuse freeze "freeze towers: known are vision, text, embeddings, scale, statistics" --freeze towers --steps 1
refuse all_frozen "everything is frozen" --freeze vision,text,scale --steps 1
refuse lora_rank "lora eight: a rank, or rank,alpha is needed" --lora eight --steps 1
refuse lora_targets "known are q_proj,k_proj" --lora 2 --lora-targets gate --steps 1
refuse lora_and_adapter "give one of them" --lora 2 --adapter x --steps 1
refuse layers "unlock-last-text 5: the text tower has 2 layers" --unlock-last-text 5 --steps 1
exit $bad
