#!/bin/sh
# cli_convert.sh - `vismin convert`: checkpoints and folders into model folders, and what it refuses.
vismin=${VISMIN:-build/vismin}
pt=tests/golden/pt
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_convert.$1"; else echo "FAIL cli_convert.$1"; cat "$dir/err" >&2; bad=1; fi
}
run() { "$vismin" "$@" > "$dir/out" 2> "$dir/err"; rc=$?; }
says() { grep -q -- "$1" "$dir/err"; }

run convert $pt/clip.pt "$dir/a" --arch $pt/clip.json
check checkpoint '[ $rc = 0 ] && says "quick_gelu" && says "0.01 M parameters"'
check both_layouts '[ "$(ls "$dir/a" | tr "\n" " ")" = "config.json model.safetensors open_clip_config.json open_clip_model.safetensors preprocessor_config.json " ]'
check activation_in_configs 'grep -q "\"hidden_act\": \"quick_gelu\"" "$dir/a/config.json" && grep -q "\"quick_gelu\": true" "$dir/a/open_clip_config.json"'
sum=$(sha256sum $pt/clip.pt | cut -d" " -f1)
check source_hash 'grep -aq "\"source_sha256\":\"$sum\"" "$dir/a/model.safetensors" && grep -aq "$sum" "$dir/a/open_clip_model.safetensors"'
run convert $pt/clip.pt "$dir/oc" --arch $pt/clip.json --layout open_clip
check open_clip_alone '[ $rc = 0 ] && [ ! -e "$dir/oc/model.safetensors" ] && [ ! -e "$dir/oc/config.json" ] && [ -s "$dir/oc/open_clip_config.json" ]'
run forward "$dir/oc" --in $pt/clip_case.safetensors --out "$dir/o"
check open_clip_runs '[ $rc = 0 ] && grep -aq "c/out.logits_per_image" "$dir/o"'
check same_weights 'cmp -s "$dir/a/open_clip_model.safetensors" "$dir/oc/open_clip_model.safetensors"'
run convert $pt/clip.pt "$dir/hf" --arch $pt/clip.json --layout hf --dtype f16
check half 'grep -aq "\"dtype\":\"F16\"" "$dir/hf/model.safetensors" && [ ! -e "$dir/hf/open_clip_model.safetensors" ]'
run convert $pt/clip.pt "$dir/j" --arch $pt/clip.json --act gelu --json
check json 'grep -q "\"activation\":\"gelu\",\"dtype\":\"F32\",\"source_sha256\":\"$sum\"" "$dir/out"'
check act_against_arch 'says "the configuration says quick_gelu; written as gelu because of --act"'

# folders and safetensors files
printf 'x' > "$dir/a/vocab.json"
run convert "$dir/a" "$dir/b" --layout both
check folder '[ $rc = 0 ] && cmp -s "$dir/a/config.json" "$dir/b/config.json" && [ "$(cat "$dir/b/vocab.json")" = x ]'
check folder_weights '[ "$(tail -c 30000 "$dir/a/model.safetensors" | cksum)" = "$(tail -c 30000 "$dir/b/model.safetensors" | cksum)" ]'
run convert "$dir/a/open_clip_model.safetensors" "$dir/c" --arch $pt/clip.json --tokenizer "$dir/a"
check safetensors_file '[ $rc = 0 ] && cmp -s "$dir/a/config.json" "$dir/c/config.json" && [ -s "$dir/c/vocab.json" ]'
mkdir "$dir/old" && cp $pt/clip.pt "$dir/old/open_clip_pytorch_model.bin" && cp "$dir/a/open_clip_config.json" "$dir/old/"
run convert "$dir/old" "$dir/d"
check folder_with_bin '[ $rc = 0 ] && cmp -s "$dir/d/config.json" "$dir/a/config.json"'

# any checkpoint as it is
run convert $pt/views.pt "$dir/views.safetensors"
check plain '[ $rc = 0 ] && says "8 tensors" && grep -aq "\"transposed\":{\"dtype\":\"F32\",\"shape\":\[6,4\]" "$dir/views.safetensors"'
run convert $pt/types.pt "$dir/types.safetensors"
check plain_types 'grep -aq "\"bf16\":{\"dtype\":\"BF16\"" "$dir/types.safetensors" && grep -aq "\"i64\":{\"dtype\":\"I64\"" "$dir/types.safetensors"'
run convert "$dir/types.safetensors" "$dir/e.safetensors"
check nothing_to_convert '[ $rc = 2 ] && says "there is nothing to convert"'

# what it does not guess, and what it does not read
sed 's/"quick_gelu": true, //' $pt/clip.json > "$dir/no_act.json"
run convert $pt/clip.pt "$dir/x" --arch "$dir/no_act.json"
check activation_is_not_guessed '[ $rc = 2 ] && says "say --act quick_gelu or --act gelu" && says "OpenAI" && [ ! -e "$dir/x" ]'
run convert $pt/clip.pt "$dir/x" --act quick_gelu
check heads_are_not_guessed '[ $rc = 6 ] && says "the widths 16 and 16 are no multiples of 64" && [ ! -e "$dir/x" ]'
run convert $pt/clip.pt "$dir/x" --act quick_gelu --arch ViT-B-32
check another_size '[ $rc = 6 ] && says "of another shape" && [ ! -e "$dir/x" ]'
run convert $pt/clip.pt "$dir/x" --act relu --arch $pt/clip.json
check unknown_activation '[ $rc = 2 ] && says "expected quick_gelu or gelu"'
run convert $pt/clip.pt "$dir/x" --layout tf
check unknown_layout '[ $rc = 2 ] && says "expected both, hf or open_clip"'
run convert $pt/clip.pt "$dir/x" --dtype i8
check unknown_dtype '[ $rc = 2 ] && says "f32, f16 or bf16"'
run convert $pt/function.pt "$dir/x" --act gelu
check nothing_is_executed '[ $rc = 3 ] && says "__builtin__.getattr is refused" && [ ! -e "$dir/x" ]'
run convert $pt/views.pt "$dir/x" --act gelu
check no_clip '[ $rc = 6 ] && says "no CLIP among its 8 tensors"'
run convert $pt/none.pt "$dir/x" --act gelu
check no_file '[ $rc = 3 ] && says "none.pt"'
run convert $pt/clip.pt "$dir/a" --arch $pt/clip.json
check never_overwrites '[ $rc = 2 ] && says "is not empty" && [ -s "$dir/a/config.json" ]'
mkdir "$dir/empty"
run convert $pt/clip.pt "$dir/empty" --arch $pt/clip.json
check empty_folder '[ $rc = 0 ] && [ -s "$dir/empty/config.json" ]'
check no_leftovers '[ -z "$(ls -d "$dir"/*.tmp.* 2> /dev/null)" ]'
# the text half of a CLIP, for pipelines; from such a folder the same bytes come out
"$vismin" convert weights/tiny/clip-hn "$dir/half" --text-encoder 2> "$dir/err"; rc=$?
"$vismin" convert "$dir/half" "$dir/again" --text-encoder --quiet
check text_encoder '[ $rc = 0 ] && grep -q "CLIPTextModel" "$dir/half/config.json" && grep -q "\"model_type\": \"clip_text_model\"" "$dir/half/config.json" && cmp -s "$dir/half/model.safetensors" "$dir/again/model.safetensors" && ! grep -q vision "$dir/half/config.json"'
"$vismin" convert weights/tiny/clip-hn "$dir/half" --text-encoder 2> "$dir/err"; rc=$?
check text_encoder_in_the_way '[ $rc = 2 ] && grep -q "not empty" "$dir/err"'

exit $bad
