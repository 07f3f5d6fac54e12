#!/bin/sh
# detect.sh VISMIN WORK_DIR - trains the small Grounding DINO of weights/tiny on the miniature world, from nothing: scenes of one object, then
# of two, then all; phrases of which some are absent. Interrupt it at any time; the same command goes on. recipe.json in the folder has
# the command, the scores on held-out scenes and the curve.
set -e # THREADS=N in the environment: so many threads
vismin=$1 work=$2 tiny=weights/tiny name=grounding_dino
mkdir -p "$work"
[ -f "$work/scenes-val/boxes.json" ] || "$vismin" scene --out "$work/scenes-val" --scenes 200 --split val --boxes --quiet
[ -f "$work/scenes-test/boxes.json" ] || "$vismin" scene --out "$work/scenes-test" --scenes 500 --split test --boxes --quiet

options="--data world --scratch world --curriculum 420,1260 --batch 16 --steps 4700 --lr 5e-4 --lr-vision 1 --lr-text 1 --warmup 100 --clip-norm 1 --ema 0.998"
schedule="--schedule const-cooldown --cooldown 1300 --cooldown-end 2e-5 --flip 0.5 --dtype f32"
"$vismin" train detect $options $schedule ${THREADS:+--threads "$THREADS"} --val "$work/scenes-val/boxes.json" --val-every 500 --keep-best --log-every 50 --save-every 250 \
    --save-dtype f16 --out "$work/$name"

# from there on once more, all scenes: phrases that are absent are learnt last
more="--data world --batch 16 --steps 6000 --lr 3e-4 --lr-vision 1 --lr-text 1 --warmup 100 --clip-norm 1 --ema 0.998 --flip 0.5 --dtype f32"
"$vismin" train detect $more --init "$work/$name/model-ema" ${THREADS:+--threads "$THREADS"} --val "$work/scenes-val/boxes.json" --val-every 1000 --log-every 50 \
    --save-every 500 --save-dtype f16 --out "$work/$name-more"

model=$work/$name-more/model-ema
"$vismin" eval detect "$model" --name "$name" --data "$work/scenes-test/boxes.json" --json --quiet > "$work/$name/scores.json"
mkdir -p "$tiny/$name"
for f in config.json model.safetensors vocab.txt tokenizer_config.json preprocessor_config.json; do cp "$model/$f" "$tiny/$name/$f"; done
sed -i "s|$(cd "$work" && pwd)/||g; s|$work/||g" "$work/$name/scores.json" # names within the folder of the work
curve() { grep -E '"step":([0-9]*[05]00|1),' "$work/$1/log.jsonl" | sed 's/,"samples_per_s.*}/}/; $!s/$/,/'; }
{ printf '{"name":"%s","command":"vismin train detect %s %s","more":"vismin train detect %s","scenes":"vismin scene --scenes 500 --split test --boxes",\n"scores":' "$name" "$options" \
    "$schedule" "$more"
  cat "$work/$name/scores.json"
  printf ',\n"curve":[\n'; curve "$name"
  printf '],\n"curve of more":[\n'; curve "$name-more"
  printf ']}\n'; } > "$tiny/$name/recipe.json"
