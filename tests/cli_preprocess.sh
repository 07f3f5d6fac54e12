#!/bin/sh
# cli_preprocess.sh - `vismin preprocess`: tensors by file name, and what it says when something is wrong.
vismin=${VISMIN:-build/vismin}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_preprocess.$1"; else echo "FAIL cli_preprocess.$1"; bad=1; fi
}

mkdir "$dir/model"
printf '{"image_processor_type": "BlipImageProcessor", "size": {"height": 4, "width": 6}, "resample": 3,
 "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}' > "$dir/model/preprocessor_config.json"
# a bitmap of 2x1 pixels
printf 'BM\076\0\0\0\0\0\0\0\066\0\0\0\050\0\0\0\002\0\0\0\001\0\0\0\001\0\030\0\0\0\0\0\010\0\0\0' > "$dir/a.bmp"
printf '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\001\002\003\004\005\006\0\0' >> "$dir/a.bmp"
cp "$dir/a.bmp" "$dir/b.png" # the bytes decide, not the name

"$vismin" preprocess "$dir/model" "$dir/a.bmp" "$dir/b.png" --out "$dir/o.safetensors" 2> "$dir/err"; rc=$?
check runs '[ $rc = 0 ] && [ ! -s "$dir/err" ]'
for n in a.bmp/pixel_values a.bmp/u8 b.png/pixel_values b.png/u8; do
    check "writes_$n" 'grep -aq "\"$n\"" "$dir/o.safetensors"'
done
check shapes 'grep -aq "\[3,4,6\]" "$dir/o.safetensors" && grep -aq "\[4,6,3\]" "$dir/o.safetensors"'

"$vismin" preprocess "$dir/model" "$dir/a.bmp" 2> "$dir/err"; rc=$?
check out_is_needed '[ $rc = 2 ] && grep -q -- "--out FILE is missing" "$dir/err"'
"$vismin" preprocess "$dir/model" "$dir/a.bmp" --out "$dir/p" --alpha pink 2> "$dir/err"; rc=$?
check alpha_is_checked '[ $rc = 2 ] && grep -q "expected drop or white" "$dir/err"'
"$vismin" preprocess "$dir" "$dir/a.bmp" --out "$dir/p" 2> "$dir/err"; rc=$?
check no_processor '[ $rc = 3 ] && grep -q "no preprocessor_config.json" "$dir/err" && [ ! -e "$dir/p" ]'
head -c 50 "$dir/a.bmp" > "$dir/cut.bmp"
"$vismin" preprocess "$dir/model" "$dir/a.bmp" "$dir/cut.bmp" --out "$dir/p" 2> "$dir/err"; rc=$?
check cut_picture '[ $rc = 3 ] && grep -q "cut.bmp: BMP: truncated" "$dir/err" && [ ! -e "$dir/p" ]'
"$vismin" preprocess "$dir/model" "$dir/none.png" --out "$dir/p" 2> "$dir/err"; rc=$?
check no_picture '[ $rc = 3 ] && grep -q "none.png" "$dir/err"'
mkdir "$dir/sub" && cp "$dir/a.bmp" "$dir/sub/a.bmp"
"$vismin" preprocess "$dir/model" "$dir/a.bmp" "$dir/sub/a.bmp" --out "$dir/p" 2> "$dir/err"; rc=$?
check two_files_of_one_name '[ $rc = 3 ] && grep -q "a.bmp" "$dir/err" && [ ! -e "$dir/p" ]'
exit $bad
