#!/bin/sh
# inpaint.sh VISMIN WORK_DIR - trains the small inpainting model of weights/tiny/inpaint on scenes of the miniature world, from nothing: the autoencoder,
# then the UNet, conditioned on the text half of weights/tiny/clip-hn. Interrupt it at any time; the same command goes on. THREADS=N in the environment:
# so many threads. recipe.json in the folder has the commands, the oracle's scores on held-out edits, and the curves.
set -e
vismin=$1 work=$2 tiny=weights/tiny/inpaint
threads=${THREADS:+--threads "$THREADS"}
mkdir -p "$work"
vae="--data world --size 64 --batch 12 --lr 2e-3 --focus 5 --crowded 0.5 --holes 0.25 --chroma 1 --edges 0.3 --kl 1e-4 --beta1 0.9 --beta2 0.95 --wd 0.001
    --dtype f32 --steps 4500 --val world --val-every 500 --save-dtype f16"
"$vismin" train vae $vae --scratch $tiny $threads --out "$work/inpaint-vae"

base=$work/inpaint-base
[ -d "$base/text_encoder" ] || { mkdir -p "$base"; "$vismin" convert weights/tiny/clip-hn "$base/text_encoder" --text-encoder --dtype f16 --quiet; }
for f in model_index.json scheduler tokenizer unet; do cp -r $tiny/$f "$base/"; done
mkdir -p "$base/vae"
for f in config.json diffusion_pytorch_model.safetensors; do cp "$work/inpaint-vae/model/$f" "$base/vae/$f"; done
unet="--data world --size 64 --batch 16 --reuse 4 --outside 0.1 --lr 1e-3 --schedule const-cooldown --cooldown 5000 --wd 0.01 --beta1 0.9 --beta2 0.99
    --ema 0.999 --dtype f32 --steps 20000 --val world --val-every 1000 --save-every 1000 --log-every 50"
"$vismin" train diffusion $unet --scratch "$base" $threads --save-dtype f16 --out "$work/inpaint-unet"

model=$work/inpaint-unet/model-ema run=$work/inpaint-edits
[ -f "$run/edits.jsonl" ] || "$vismin" scene --out "$run" --edits 40 --split test --quiet
paint="--steps 20 --guidance 3 --size 64 --fit stretch --mask-grow 2 --feather 2 --max-boxes 6 --dtype f32"
"$vismin" inpaint "$run" --edits "$run/edits.jsonl" --images "$run" --model "$model" --judge-model weights/tiny/clip-hn --judge-on full --accept 1 $paint --quiet $threads
"$vismin" inpaint "$run/first" --edits "$run/edits.jsonl" --images "$run" --model "$model" --judge none --calls 1 --candidates 1 $paint --quiet $threads

for f in unet vae text_encoder; do cp "$model/$f/"*.json "$model/$f/"*.safetensors $tiny/$f/; done
{ printf '{"name":"inpaint","autoencoder":"vismin train vae %s","unet":"vismin train diffusion %s","edits":"vismin scene --edits 40 --split test; vismin inpaint %s",\n' \
    "$(echo $vae)" "$(echo $unet)" "$paint"
  printf '"best of six":'; "$vismin" scene --score "$run" --json
  printf ',"first candidate":'; "$vismin" scene --score "$run/first" --json
  for part in vae unet; do
    printf ',\n"%s":[\n' $part-curve
    grep -E '"val_(loss|distance)"|"step":([0-9]*[05]00|1),' "$work/inpaint-$part/log.jsonl" | sed 's/,"samples_per_s.*/}/; $!s/$/,/'
    printf ']'
  done
  printf '}\n'; } > "$tiny/recipe.json"
