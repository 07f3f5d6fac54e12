#!/bin/sh
# cli_info.sh - `vismin info`: folders, files, plans, the machine.
vismin=${VISMIN:-build/vismin}
pt=tests/golden/pt
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_info.$1"; else echo "FAIL cli_info.$1"; cat "$dir/out" "$dir/err" >&2; bad=1; fi
}
run() { "$vismin" "$@" > "$dir/out" 2> "$dir/err"; rc=$?; }
says() { grep -q -- "$1" "$dir/out"; }

run info --devices
check devices '[ $rc = 0 ] && says "^cpu  " && says "^kernels  " && says "^threads  " && says "oneDNN [0-9]" && says "^cuda[: ].*\(sm_[0-9]\|built without CUDA\|cuda:0: \)"'
run info --devices --json
check devices_json 'says "\"bf16\":\(true\|false\)" && says "\"cuda\":\(true\|false\)" && says "\"cuda_devices\":\["'

"$vismin" convert $pt/clip.pt "$dir/m" --arch $pt/clip.json 2> /dev/null
run info "$dir/m"
check family '[ $rc = 0 ] && says "^family       clip$"'
check sizes 'says "16 px in patches of 8: 2 layers of 16, 2 heads, mlp 64, quick_gelu" && says "8 tokens of 40: 1 layers of 16"'
check tensors 'says "^  F32     \[12,16\] visual_projection.weight$" && says "^  F32     \[\] logit_scale$"'
run info "$dir/m" --json
check json 'says "\"family\":\"clip\"" && says "\"image_size\":16" && says "{\"name\":\"logit_scale\",\"dtype\":\"F32\",\"shape\":\[\],\"bytes\":4}"'
run info "$dir/m" --plan --batch 2 --dtype f32
check plan '[ $rc = 0 ] && says "2 pictures and 2 texts, f32 products: [0-9]* nodes" && says "arena"'
run info "$dir/m" --plan --json --dtype f32
check plan_json 'says "\"plan\":{\"batch\":8,\"dtype\":\"f32\",\"nodes\":[0-9]*,\"arena_bytes\":[0-9]*"'
run info "$dir/m" --dot "$dir/g.dot" --trace "$dir/t.json" --profile --batch 1 --dtype f32
check profile '[ $rc = 0 ] && says "measured peaks" && says "^linear  " && says "^attention  "'
check drawing 'grep -q "^digraph" "$dir/g.dot" && grep -q "attention" "$dir/g.dot"'
check trace 'grep -q "\"traceEvents\"" "$dir/t.json" && grep -q "\"name\":\"linear\"" "$dir/t.json"'
rm "$dir/m/"*.safetensors
run info "$dir/m"
check configuration_alone '[ $rc = 0 ] && says "^weights      none"'
run info "$dir/m" --plan --dtype f32
check plan_without_weights '[ $rc = 0 ] && says "^plan "'
run info "$dir/m" --profile
check profile_needs_weights '[ $rc = 6 ] && grep -q "holds no weights" "$dir/err"'

run info $pt/views.pt
check checkpoint '[ $rc = 0 ] && says "^  F32     \[6,4\] transposed (strided)$" && says "8 tensors"'
run info $pt/training.pt --json
check checkpoint_json 'says "{\"name\":\"state_dict.module.weight\",\"dtype\":\"F32\",\"shape\":\[2,3\],\"bytes\":24}"'
run info $pt/views.pt --plan
check plan_of_a_file '[ $rc = 2 ] && grep -q "need the folder of a CLIP model" "$dir/err"'
run info $pt/function.pt
check refused '[ $rc = 3 ] && grep -q "is refused" "$dir/err" && [ ! -s "$dir/out" ]'
run info
check no_argument '[ $rc = 2 ] && grep -q "name a model folder" "$dir/err"'
run info "$dir/none"
check no_file '[ $rc = 3 ] && grep -q "none" "$dir/err"'
mkdir "$dir/e" && printf '{"model_type": "t5"}' > "$dir/e/config.json"
run info "$dir/e"
check no_weights '[ $rc = 6 ] && grep -q "holds no weights" "$dir/err"'
exit $bad
