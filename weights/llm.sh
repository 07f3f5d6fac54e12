#!/bin/sh
# llm.sh VISMIN WORK_DIR [OPTION...] - trains the small language model of weights/tiny/llm on texts of the miniature world, from nothing: instructions,
# checks, layouts, richer phrases, questions (models/scene_tasks.h), with the prompts of weights/tiny/llm/prompts.
# Interrupt it at any time; the same command goes on. Options such as --threads 1 (on a busy machine: so small a model gains little by two) go
# to the training. The folder gets recipe.json: commands, scores, curve.
set -e
vismin=$1 work=$2 tiny=weights/tiny/llm
shift 2
mkdir -p "$work" "$tiny"
texts="--texts 576000 --split train --curriculum --model"
[ -f "$work/llm-texts/texts.jsonl" ] || "$vismin" scene --out "$work/llm-texts" $texts --quiet
[ -f "$work/llm-val/texts.jsonl" ] || "$vismin" scene --out "$work/llm-val" --texts 1000 --split val --quiet
train="--batch 64 --accum 4 --in-order --steps 9000 --lr 2e-3 --warmup 200 --wd 0.05 --beta2 0.95 --eps 1e-8 --clip-norm 1
    --log-every 50 --save-every 250 --val-every 500 --save-dtype f16"
"$vismin" train lm --data "$work/llm-texts/texts.jsonl" --val "$work/llm-val/texts.jsonl" --init-config "$work/llm-texts/model" $train --out "$work/llm" "$@"

for f in config.json model.safetensors tokenizer.json tokenizer_config.json; do cp "$work/llm/model/$f" "$tiny/$f"; done
{ printf '{"name":"llm","texts":"vismin scene %s","command":"vismin train lm %s",\n"scores":' "$texts" "$(echo $train)"
  sh weights/llm_scores.sh "$vismin" "$tiny" "$work/llm-scores" "$@"
  printf ',\n"curve":[\n'
  grep -E '"val_loss"|"step":([0-9]*[05]00|1),' "$work/llm/log.jsonl" | sed 's/,"samples_per_s.*/}/; $!s/$/,/'
  printf ']}\n'; } > "$work/recipe.json"
cp "$work/recipe.json" "$tiny/recipe.json"
