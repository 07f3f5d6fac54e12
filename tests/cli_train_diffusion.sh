#!/bin/sh
# cli_train_diffusion.sh - `vismin train diffusion`: a run, killed and gone on with, the pipeline it writes, adapters, random weights, errors.
vismin=${VISMIN:-build/vismin}
sd=tests/golden/pipeline/sd xl=tests/golden/pipeline/xl
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_train_diffusion.$1"; else echo "FAIL cli_train_diffusion.$1"; bad=1; fi
}
"$vismin" scene --out "$dir/pool" --scenes 5 > /dev/null 2>&1
for i in 0 1 2 3 4; do printf '{"image":"00000%s.png","caption":"a red cat on the table"}\n' $i; done > "$dir/data.jsonl"
printf '{"image":"missing.png","caption":"a blue ball"}\n' >> "$dir/data.jsonl"
start() { # OUT ARGS...: in this process
    out=$1; shift
    exec "$vismin" train diffusion --data "$dir/data.jsonl" --images "$dir/pool/images" --out "$dir/$out" --size 32 --batch 2 --steps 12 --lr 1e-3 --warmup 0 --save-every 2 \
        --dtype f32 --deterministic --threads 1 --log-every 1 "$@"
}
run() { (start "$@"); }

run whole --init $xl --ema 0.9 --snr-gamma 5 --flip 0.5 > /dev/null 2> "$dir/err"; rc=$?
check runs '[ $rc = 0 ] && grep -q "pipeline in .*model-ema" "$dir/err" && grep -q "missing.png.*next picture takes its place" "$dir/err"'
check pipeline '[ -s "$dir/whole/model/model_index.json" ] && [ -s "$dir/whole/model/vae/config.json" ] && [ -s "$dir/whole/model/unet/diffusion_pytorch_model.safetensors" ]'
check log '[ "$(grep -c "\"error\":" "$dir/whole/log.jsonl")" = 12 ] && grep -q "\"bad_pictures\":[1-9]" "$dir/whole/log.jsonl"'
"$vismin" text2img --model "$dir/whole/model" --prompt "a red cat" --steps 2 --out "$dir/a.png" --quiet; rc=$?
check draws '[ $rc = 0 ] && [ -s "$dir/a.png" ]'
start killed --init $xl --ema 0.9 --snr-gamma 5 --flip 0.5 > /dev/null 2>&1 & pid=$!
while kill -0 $pid 2> /dev/null && ! ls "$dir/killed/checkpoints" 2> /dev/null | grep -q step; do sleep 0.05; done
kill -9 $pid; wait $pid 2> /dev/null
run killed --init $xl --ema 0.9 --snr-gamma 5 --flip 0.5 > /dev/null 2> "$dir/err"; rc=$?
check killed_same_bytes '[ $rc = 0 ] && cmp -s "$dir/killed/model/unet/diffusion_pytorch_model.safetensors" "$dir/whole/model/unet/diffusion_pytorch_model.safetensors" && cmp -s "$dir/killed/model-ema/unet/diffusion_pytorch_model.safetensors" "$dir/whole/model-ema/unet/diffusion_pytorch_model.safetensors"'
run again --init $xl --ema 0.9 --snr-gamma 5 --flip 0.5 --recompute > /dev/null 2> "$dir/err"; rc=$?
check recomputed_same_bytes '[ $rc = 0 ] && cmp -s "$dir/again/model/unet/diffusion_pytorch_model.safetensors" "$dir/whole/model/unet/diffusion_pytorch_model.safetensors"'

run dry --init $xl --ema 0.9 --dry-run > /dev/null 2> "$dir/err"; rc=$?
check dry_run '[ $rc = 0 ] && [ ! -e "$dir/dry" ] && grep -q "memory: weights [0-9.]* GB, gradients [0-9.]*, moments [0-9.]*, average [0-9.]*, autoencoder and texts [0-9.]*, activations [0-9.]*: [0-9.]* GB" "$dir/err"'

run lora --init $sd --lora 4,8 --val "$dir/data.jsonl" --steps 3 > /dev/null 2> "$dir/err"; rc=$?
check adapter '[ $rc = 0 ] && [ -s "$dir/lora/adapter/adapter_model.safetensors" ] && grep -q "validation: error" "$dir/err" && [ ! -e "$dir/lora/model" ]'
for k in "" "--adapter $dir/lora/adapter"; do "$vismin" text2img --model $sd $k --prompt "a red cat" --steps 2 --width 32 --height 32 --out "$dir/b$(echo $k | wc -w).png" --quiet --no-metadata; done
check adapter_draws '[ -s "$dir/b0.png" ] && [ -s "$dir/b2.png" ] && ! cmp -s "$dir/b0.png" "$dir/b2.png"'
cp -r $sd "$dir/bare"; rm "$dir/bare/unet/diffusion_pytorch_model.safetensors"
run scratch --scratch "$dir/bare" --steps 2 > /dev/null 2> "$dir/err"; rc=$?
check scratch '[ $rc = 0 ] && [ -s "$dir/scratch/model/unet/diffusion_pytorch_model.safetensors" ]'

# the autoencoder: killed and gone on with, recomputed; the pipeline draws with it
vae() { exec "$vismin" train vae --data "$dir/data.jsonl" --images "$dir/pool/images" --init $sd --out "$dir/$1" --size 32 --batch 2 --steps 30 --lr 3e-3 --warmup 0 --save-every 5 \
    --dtype f32 --deterministic --threads 1 --log-every 1 --val "$dir/data.jsonl" $2; }
(vae v1) > /dev/null 2> "$dir/err"; rc=$?
mean() { sed -n "$1p" "$dir/v1/log.jsonl" | sed 's/.*"distance":\([0-9.]*\).*/\1/' | awk '{ s += $1 } END { print int(1e6 * s / NR) }'; }
check vae '[ $rc = 0 ] && grep -q "autoencoder in .*, scale " "$dir/err" && [ "$(mean 26,30)" -lt "$(mean 1,5)" ]'
vae v2 > /dev/null 2>&1 & pid=$!
while kill -0 $pid 2> /dev/null && ! ls "$dir/v2/checkpoints" 2> /dev/null | grep -q step; do sleep 0.05; done
kill -9 $pid; wait $pid 2> /dev/null
(vae v2) > /dev/null 2>&1
check vae_killed '[ -s "$dir/v1/model/config.json" ] && cmp -s "$dir/v1/model/config.json" "$dir/v2/model/config.json" && cmp -s "$dir/v1/model/diffusion_pytorch_model.safetensors" "$dir/v2/model/diffusion_pytorch_model.safetensors"'
(vae dry_vae --dry-run) > /dev/null 2> "$dir/err"; rc=$?
check vae_dry_run '[ $rc = 0 ] && [ ! -e "$dir/dry_vae" ] && grep -q "memory: weights [0-9.]* GB, .*activations [0-9.]*: [0-9.]* GB" "$dir/err"'
(vae again_vae --recompute) > /dev/null 2>&1
check vae_recomputed_same_bytes 'cmp -s "$dir/v1/model/diffusion_pytorch_model.safetensors" "$dir/again_vae/model/diffusion_pytorch_model.safetensors"'
"$vismin" text2img --model $sd --vae "$dir/v1/model" --prompt "a red cat" --steps 2 --width 32 --height 32 --out "$dir/c.png" --quiet --no-metadata; rc=$?
check vae_draws '[ $rc = 0 ] && ! cmp -s "$dir/c.png" "$dir/b0.png"'
"$vismin" train vae --data "$dir/data.jsonl" --images "$dir/pool/images" --scratch $sd/vae --out "$dir/v3" --size 32 --batch 2 --steps 2 --loss l2 --quiet; rc=$?
check vae_scratch '[ $rc = 0 ] && [ -s "$dir/v3/model/diffusion_pytorch_model.safetensors" ]'

# scenes of the miniature world, with the edits that an inpainting model learns; killed and gone on with
world() { exec "$vismin" train diffusion --data world --scratch weights/tiny/inpaint --out "$dir/$1" --size 64 --batch 2 --steps 6 --reuse 2 --outside 0.1 --warmup 0 --save-every 2 \
    --dtype f32 --threads 1 --val world --val-every 6 --quiet; }
(world w1); rc=$?
check world '[ $rc = 0 ] && [ -s "$dir/w1/model/unet/diffusion_pytorch_model.safetensors" ] && grep -q "\"val_loss\":" "$dir/w1/log.jsonl"'
world w2 & pid=$!
while kill -0 $pid 2> /dev/null && ! ls "$dir/w2/checkpoints" 2> /dev/null | grep -q step; do sleep 0.05; done
kill -9 $pid; wait $pid 2> /dev/null
(world w2)
check world_killed 'cmp -s "$dir/w1/model/unet/diffusion_pytorch_model.safetensors" "$dir/w2/model/unet/diffusion_pytorch_model.safetensors"'
"$vismin" train vae --data world --scratch weights/tiny/inpaint --out "$dir/w3" --size 64 --batch 2 --steps 2 --focus 5 --chroma 1 --edges 0.3 --crowded 0.5 --holes 0.5 --quiet; rc=$?
check world_vae '[ $rc = 0 ] && [ -s "$dir/w3/model/diffusion_pytorch_model.safetensors" ]'
refused() { name=$1 words=$2; shift 2; "$vismin" train "$@" --out "$dir/none" > /dev/null 2> "$dir/err"; rc=$?; check "$name" '[ $rc = 2 ] && grep -q -- "$words" "$dir/err"'; }
refused world_alone "world stands alone" diffusion --data world --data "$dir/data.jsonl" --scratch weights/tiny/inpaint --size 64 --steps 1
refused world_size "64 x 64" vae --data world --scratch weights/tiny/inpaint --size 32 --steps 1
refused world_flip "left and right" diffusion --data world --scratch weights/tiny/inpaint --size 64 --flip 0.5 --steps 1
refused world_epochs "has no end" vae --data world --scratch weights/tiny/inpaint --size 64 --epochs 1
refused save_dtype "save-dtype f64" diffusion --data world --scratch weights/tiny/inpaint --size 64 --steps 1 --save-dtype f64
refused focus_of_files "knows the objects" vae --data "$dir/data.jsonl" --images "$dir/pool/images" --init $sd --size 32 --focus 2 --steps 1

run none --init $sd --scratch $sd > /dev/null 2> "$dir/err"; rc=$?
check one_start '[ $rc = 2 ] && grep -q "one of --init DIR" "$dir/err"'
run none --init $sd --size 33 > /dev/null 2> "$dir/err"; rc=$?
check size '[ $rc = 3 ] && grep -q "multiples of 2" "$dir/err"'
run whole --init $xl --lr 1e-2 > /dev/null 2> "$dir/err"; rc=$?
check other_options '[ $rc = 3 ] && grep -q "snr-gamma\|lr\|ema" "$dir/err"'
exit $bad
