#!/bin/sh
# clip.sh VISMIN WORK_DIR - trains the small CLIP models of weights/tiny on the miniature world, from nothing:
#   clip-plain    ordinary captions only, to its plateau
#   clip-hn       clip-plain, long fine-tuning on minimal pairs with hard negatives
#   clip-control  clip-plain, as many steps as the demo's live run, on ordinary captions; only its scores are kept
# Interrupt it at any time; the same command goes on. Each folder gets recipe.json: commands, scores, curve.
set -e
vismin=$1 work=$2 tiny=weights/tiny
mkdir -p "$work" "$tiny"
[ -f "$work/bench/relation.csv" ] || "$vismin" scene --out "$work/bench" --pairs 250 --split test --quiet

common="--wd 0.05 --clip-norm 1 --log-every 50 --save-every 250 --save-dtype f16"
plain="--data world:plain --scratch world --batch 192 --steps 6000 --lr 1e-3 --warmup 100 --curriculum"
hn="--data world:pairs --init $tiny/clip-plain --batch 192 --steps 3000 --lr 6e-4 --warmup 50 --twin-weight 1 --plain-share 0.2 --mix 1:0.8:1:1.5"
# the demo's live run with ordinary captions in place of pairs (pipeline/demo.c)
control="--data world:plain --init $tiny/clip-plain --batch 160 --steps 320 --lr 6e-4 --warmup 20"

keep() { # NAME: the model's files in the published layout
    mkdir -p "$tiny/$1"
    for f in config.json model.safetensors tokenizer.json tokenizer_config.json special_tokens_map.json vocab.json merges.txt preprocessor_config.json; do
        cp "$work/$1/model/$f" "$tiny/$1/$f"
    done
}
recipe() { # NAME OPTIONS: what was run and what came out
    "$vismin" eval "$work/$1/model" --name "$1" --data "$work/bench" --json --quiet > "$work/$1/scores.json"
    mkdir -p "$tiny/$1"
    # names within the folder of the work, not where that stood
    sed -i "s|$(cd "$work" && pwd)/||g; s|$work/||g" "$work/$1/scores.json"
    { printf '{"name":"%s","command":"vismin train clip %s %s","benchmark":"vismin scene --pairs 250 --split test",\n"scores":' "$1" "$2" "$common"
      cat "$work/$1/scores.json"
      printf ',\n"curve":[\n'
      grep -E '"step":([0-9]*[05]00|1),' "$work/$1/log.jsonl" | sed 's/,"samples_per_s.*/}/; $!s/$/,/'
      printf ']}\n'; } > "$tiny/$1/recipe.json"
}

"$vismin" train clip $plain $common --out "$work/clip-plain"
keep clip-plain; recipe clip-plain "$plain"
"$vismin" train clip $control $common --out "$work/clip-control"
recipe clip-control "$control"
"$vismin" eval "$work/clip-control/model" --name clip-control --data "$work/bench" --out "$work/control" --fresh --quiet > /dev/null
cp "$work/control/vismin/clip-control/predictions.csv" "$tiny/clip-control/"
"$vismin" train clip $hn $common --out "$work/clip-hn"
keep clip-hn; recipe clip-hn "$hn"
