#!/bin/sh
# cli_resnet.sh - a CLIP with a ResNet through every command that takes a model: trained, stopped and resumed with the same
# bytes, embedded with, evaluated, shown, converted.
vismin=${VISMIN:-build/vismin}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_resnet.$1"; else echo "FAIL cli_resnet.$1"; cat "$dir/err" >&2; bad=1; fi
}
run() { "$vismin" "$@" > "$dir/out" 2> "$dir/err"; rc=$?; }

# the world's vocabulary with a small ResNet of open_clip's layout
run train clip --data world:plain --scratch world --out "$dir/seed" --batch 2 --steps 1 --quiet --dtype f32
m=$dir/seed/base
vocab=$(sed -n 's/.*"vocab_size": \([0-9]*\).*/\1/p' "$m/config.json")
rm "$m/config.json" "$m/preprocessor_config.json"
cat > "$m/open_clip_config.json" <<EOF
{ "model_cfg": { "embed_dim": 16, "quick_gelu": true,
    "vision_cfg": { "image_size": 64, "layers": [1, 1, 2, 1], "width": 4, "head_width": 32, "patch_size": null },
    "text_cfg": { "context_length": 32, "vocab_size": $vocab, "width": 32, "heads": 2, "layers": 2 } },
  "preprocess_cfg": { "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bicubic", "resize_mode": "shortest" } }
EOF
train() { # OUT OPTIONS...
    out=$1; shift
    run train clip --data world:pairs --scratch "$m" --out "$dir/$out" --batch 8 --steps 6 --lr 1e-3 --warmup 2 --save-every 3 --dtype f32 --threads 2 "$@"
}
train whole
check trains '[ $rc = 0 ] && [ -s "$dir/whole/model/open_clip_model.safetensors" ] && [ -s "$dir/whole/model/open_clip_config.json" ] &&
    [ ! -e "$dir/whole/model/model.safetensors" ] && [ ! -e "$dir/whole/model/config.json" ]'
check layers 'tr -d " \n" < "$dir/whole/model/open_clip_config.json" | grep -q "\"layers\":\[1,1,2,1\],\"width\":4,\"head_width\":32}"'
cp "$dir/whole/model/open_clip_model.safetensors" "$dir/undisturbed"
rm -r "$dir/whole/model" "$dir/whole/checkpoints/step-00000006"
train whole
check resumed 'grep -q "going on at step 3 of 6" "$dir/err" && cmp -s "$dir/undisturbed" "$dir/whole/model/open_clip_model.safetensors"'
train recomputed --recompute
check recomputed 'cmp -s "$dir/undisturbed" "$dir/recomputed/model/open_clip_model.safetensors"'
train given --freeze statistics
check frozen_statistics '[ $rc = 0 ] && ! cmp -s "$dir/undisturbed" "$dir/given/model/open_clip_model.safetensors"'

t=$dir/whole/model
printf 'BM\076\0\0\0\0\0\0\0\066\0\0\0\050\0\0\0\002\0\0\0\001\0\0\0\001\0\030\0\0\0\0\0\010\0\0\0' > "$dir/a.bmp"
printf '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\001\002\003\004\005\006\0\0' >> "$dir/a.bmp"
run embed "$t" "$dir/a.bmp" --texts "a red cube" --out "$dir/v.safetensors" --dtype f32
check embed '[ $rc = 0 ] && grep -aq "\"images\":{\"dtype\":\"F32\",\"shape\":\[1,16\]" "$dir/v.safetensors"'
run eval "$t" --data tests/golden/scene --json --dtype f32
check eval '[ $rc = 0 ] && grep -q "\"activation\": \"quick_gelu\"" "$dir/out"'
run info "$t"
check info '[ $rc = 0 ] && grep -q "^images       64 px: ResNet of 1+1+2+1 blocks, width 4, 4 heads$" "$dir/out"'
run info "$t" --json --plan
check info_json 'grep -q "\"blocks\":\[1,1,2,1\]" "$dir/out" && grep -q "\"plan\":{\"batch\":" "$dir/out"'

# weights alone: heads of 64 and sizes from shapes, but texts of width 32 need a configuration
cp "$t/open_clip_model.safetensors" "$dir/bare.safetensors"
run convert "$dir/bare.safetensors" "$dir/c" --arch "$t/open_clip_config.json"
check convert '[ $rc = 0 ] && cmp -s "$dir/c/open_clip_config.json" "$t/open_clip_config.json" && [ ! -e "$dir/c/config.json" ] &&
    grep -q "images 64 px: ResNet of 1+1+2+1 blocks, width 4, 4 heads" "$dir/err"'
run convert "$dir/bare.safetensors" "$dir/d" --act gelu
check convert_without 'grep -q "no multiples of 64; state it with --arch" "$dir/err" && [ $rc = 6 ] && [ ! -e "$dir/d" ]'
run convert "$t" "$dir/d" --layout hf
check convert_hf '[ $rc = 2 ] && grep -q "Hugging Face transformers has no CLIP with a ResNet; open_clip has" "$dir/err" && [ ! -e "$dir/d" ]'
exit $bad
