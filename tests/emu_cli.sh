#!/bin/sh
# emu_cli.sh - the ordinary program on the emulated device: training against the processor's, kill and resume, what else runs a
# model, and the sentences of devices that are not there. emu_cli.sh BUILD_DIR: the program is that of the emulated build there.
vismin=${1:-build}/emu/vismin
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok emu_cli.$1"; else echo "FAIL emu_cli.$1"; tail -n 3 "$dir/err" >&2; bad=1; fi
}
hf=tests/golden/clip/hf

# the world's configuration with towers of one layer
"$vismin" train clip --data world:plain --scratch world --out "$dir/seed" --batch 2 --steps 1 --quiet --dtype f32 --device cpu 2>"$dir/err" || exit 1
sed -i 's/"num_hidden_layers": [0-9]*/"num_hidden_layers": 1/' "$dir/seed/base/config.json"
train() { # OUT DEVICE OPTION...
    out=$1 on=$2; shift 2
    "$vismin" train clip --data world:pairs --scratch "$dir/seed/base" --out "$out" --twin-weight 1 --batch 4 --steps 3 --lr 1e-3 --warmup 2 \
        --log-every 1 --threads 2 --dtype f32 --device "$on" "$@" 2>"$dir/err"
}
# numbers of two logs that differ by more than 2e-5 of them (losses, temperature); steps stand in the same order
differ() {
    awk -F'[,:}]' 'function far(a, b) { d = a - b; if (d < 0) d = -d; return !(d <= 2e-5 * (1 + (b < 0 ? -b : b))) }
        NR == FNR { for (k = 2; k <= 8; k += 2) want[FNR, k] = $k; n++; next }
        { for (k = 2; k <= 8; k += 2) bad += far($k, want[FNR, k]); n-- }
        END { print bad + 0, n }' "$1" "$2"
}
both() { # NAME OPTION...: the same training on both
    name=$1; shift
    train "$dir/$name-cpu" cpu "$@" && train "$dir/$name-emu" emu "$@"; rc=$?
    check "train_$name" '[ $rc = 0 ] && [ "$(differ "$dir/$name-cpu/log.jsonl" "$dir/$name-emu/log.jsonl")" = "0 0" ]'
}
both whole
both chunks --chunk 2 --ema 0.9
both recomputed --recompute --dedup-captions
both adapter --lora 2
train "$dir/checked" emu --check; rc=$?
check train_checked '[ $rc = 0 ] && grep -q "agree with the processor" "$dir/err" && cmp -s "$dir/checked/log.jsonl" "$dir/whole-emu/log.jsonl" ||
    [ "$(differ "$dir/whole-emu/log.jsonl" "$dir/checked/log.jsonl")" = "0 0" ]'

# a detector's training: losses and norms of the gradients within 1e-4
close_to() { # NAME: of NAME-cpu and NAME-emu
    for d in cpu emu; do grep -o '"\(loss\|grad_norm\)":[0-9.e+-]*' "$dir/$1-$d/log.jsonl" | cut -d: -f2 >"$dir/$1-$d.numbers"; done
    paste "$dir/$1-cpu.numbers" "$dir/$1-emu.numbers" | awk 'function size(x) { return x < 0 ? -x : x } !(size($1 - $2) <= 1e-4 * size($1)) { bad++ } END { exit bad || NR < 4 }'
}
on_both() { # NAME COMMAND OPTION...
    name=$1 rc=0; shift
    for d in cpu emu; do
        "$vismin" train "$@" --data world --steps 2 --log-every 1 --threads 2 --dtype f32 --device $d --quiet --out "$dir/$name-$d" 2>"$dir/err" || rc=1
    done
    check "train_$name" '[ $rc = 0 ] && close_to "$name"'
}
on_both detect detect --scratch world --batch 1

# killed between checkpoints; the same command goes on to the same bytes
run() { exec "$vismin" train clip --data world:pairs --scratch "$dir/seed/base" --out "$1" --twin-weight 1 --batch 4 --steps 6 --lr 1e-3 --warmup 2 \
    --save-every 2 --log-every 1 --threads 2 --dtype f32 --device emu; }
(run "$dir/undisturbed") 2>"$dir/err"; rc=$?
run "$dir/killed" 2>"$dir/err" & pid=$!
n=0; while [ ! -e "$dir/killed/checkpoints/step-00000002" ] && [ $n -lt 1000 ]; do sleep 0.02; n=$((n + 1)); done
kill -9 $pid; wait $pid 2>/dev/null
check killed '[ ! -e "$dir/killed/model" ]'
(run "$dir/killed") 2>"$dir/err"; rc2=$?
check resumed_to_the_same_bytes '[ $rc = 0 ] && [ $rc2 = 0 ] && grep -q "going on at step" "$dir/err" &&
    cmp -s "$dir/undisturbed/model/model.safetensors" "$dir/killed/model/model.safetensors"'

# the rest that runs models
"$vismin" forward $hf --in $hf/golden.safetensors --out "$dir/out" --device emu --check 2>"$dir/err"; rc=$?
check forward_checked '[ $rc = 0 ] && grep -q "agree with the processor" "$dir/err"'
"$vismin" forward $hf --in $hf/golden.safetensors --out "$dir/out" --device emu --dtype bf16 --grad 2>"$dir/err"; rc=$?
check forward_bf16 '[ $rc = 0 ] && [ -s "$dir/out" ]'
m=$dir/whole-cpu/model
"$vismin" scene --out "$dir/bench" --pairs 1 --quiet
for d in cpu emu; do
    "$vismin" embed "$m" --texts "a red ball" --texts "a blue box" --similarity --device $d --dtype f32 2>"$dir/err" >"$dir/embed-$d"
    "$vismin" eval "$m" --data "$dir/bench" --out "$dir/eval-$d" --device $d --dtype f32 --quiet 2>"$dir/err" >"$dir/table-$d"
done
check embed '[ -s "$dir/embed-cpu" ] && cmp -s "$dir/embed-cpu" "$dir/embed-emu"' # cosines of four digits
check eval '[ -s "$dir/table-cpu" ] && cmp -s "$dir/table-cpu" "$dir/table-emu"'
l=$dir/llama
mkdir "$l" && cp tests/golden/llm/llama/config.json tests/golden/llm/llama/model.safetensors "$l" && cp tests/golden/tokenizer/pieces_first/*.json "$l"
for i in 1 2 3; do echo "{\"prompt\":\"a photo of the red cube, number $i\"}"; done >"$dir/prompts"
for d in cpu emu; do # prompts with a shared beginning, through the paged cache
    "$vismin" generate "$l" --prompts "$dir/prompts" --max-new 6 --temperature 0 --dtype f32 --device $d 2>"$dir/err" >"$dir/text-$d"
done
check generate '[ "$(wc -l <"$dir/text-cpu")" = 3 ] && cmp -s "$dir/text-cpu" "$dir/text-emu"'
# a mixture of experts in 8 and 4 bits: prompts, token by token, and an adapter's training on the codes
"$vismin" scene --out "$dir/t" --texts 24 --split train --task ask.judge --model --quiet
sed -i 's/LlamaForCausalLM/MixtralForCausalLM/; s/"llama"/"mixtral"/; s/"hidden_size": [0-9]*/"hidden_size": 64, "num_local_experts": 4, "num_experts_per_tok": 2/
    s/"intermediate_size": [0-9]*/"intermediate_size": 96/; s/_layers": [0-9]*/_layers": 2/; s/_attention_heads": [0-9]*/_attention_heads": 4/
    s/_value_heads": [0-9]*/_value_heads": 2/' "$dir/t/model/config.json"
"$vismin" train lm --data "$dir/t/texts.jsonl" --init-config "$dir/t/model" --out "$dir/moe" --batch 8 --steps 30 --lr 1e-2 --warmup 2 --threads 2 --dtype f32 \
    --device cpu --quiet 2>"$dir/err"
head -n 3 "$dir/t/texts.jsonl" | sed 's/,"completion.*/}/' >"$dir/prompts"
for kind in int8 int4 nf4; do
    "$vismin" convert "$dir/moe/model" "$dir/$kind" --quantize $kind --quiet 2>"$dir/err"
    for d in cpu emu; do
        "$vismin" generate "$dir/$kind" --prompts "$dir/prompts" --max-new 12 --temperature 0 --dtype f32 --device $d --quiet 2>"$dir/err" >"$dir/text-$d"
    done
    check "experts_$kind" '[ "$(wc -l <"$dir/text-cpu")" = 3 ] && cmp -s "$dir/text-cpu" "$dir/text-emu"'
    rc=0
    for d in cpu emu; do
        "$vismin" train lm --data "$dir/t/texts.jsonl" --init "$dir/$kind" --lora 2 --batch 4 --steps 2 --log-every 1 --lr 1e-3 --warmup 1 --threads 2 --dtype f32 \
            --device $d --quiet --out "$dir/lora_$kind-$d" 2>"$dir/err" || rc=1
    done
    check "experts_${kind}_adapter" '[ $rc = 0 ] && close_to "lora_$kind"'
done
"$vismin" train lm --data "$dir/t/texts.jsonl" --init "$dir/nf4" --lora 2 --batch 4 --steps 1 --dtype bf16 --device emu --check --out "$dir/lora_checked" 2>"$dir/err"; rc=$?
check experts_checked '[ $rc = 0 ] && grep -q "agree with the processor" "$dir/err"'
"$vismin" info "$m" --profile --batch 2 --device emu --dtype f32 >"$dir/out" 2>"$dir/err"; rc=$?
check profile '[ $rc = 0 ] && grep -q "measured peaks of emu" "$dir/out" && grep -q "^attention " "$dir/out"'
"$vismin" info --devices >"$dir/out" 2>"$dir/err"
check devices 'grep -q "^cuda:0 " "$dir/out"'

# what is not there, or not asked for
"$vismin" forward $hf --in $hf/golden.safetensors --out "$dir/out" --device cuda 2>"$dir/err"; rc=$?
check no_cuda_here '[ $rc = 7 ] && grep -q "use --device emu" "$dir/err"'
"$vismin" forward $hf --in $hf/golden.safetensors --out "$dir/out" --check 2>"$dir/err"; rc=$?
check nothing_to_compare '[ $rc = 2 ] && grep -q "give --device cuda" "$dir/err"'
exit $bad
