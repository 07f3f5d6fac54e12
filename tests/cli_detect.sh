#!/bin/sh
# cli_detect.sh - `vismin detect`: text, JSON lines, COCO results, frames and masks; what it says when something is wrong.
vismin=${VISMIN:-build/vismin}
model=tests/golden/grounding_dino/variant
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_detect.$1"; else echo "FAIL cli_detect.$1"; bad=1; fi
}
# a bitmap of 2x1 pixels, and one of 8x8 in black
printf 'BM\076\0\0\0\0\0\0\0\066\0\0\0\050\0\0\0\002\0\0\0\001\0\0\0\001\0\030\0\0\0\0\0\010\0\0\0' > "$dir/a.bmp"
printf '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\001\002\003\004\005\006\0\0' >> "$dir/a.bmp"
printf 'BM\366\0\0\0\0\0\0\0\066\0\0\0\050\0\0\0\010\0\0\0\010\0\0\0\001\0\030\0\0\0\0\0\300\0\0\0' > "$dir/val_000000000042.bmp"
head -c 208 /dev/zero >> "$dir/val_000000000042.bmp"
one=$dir/val_000000000042.bmp

"$vismin" detect $model "$one" "$dir/a.bmp" --phrase "a cat" --phrase "the dog" --box-threshold 0 --dtype f32 \
    --coco "$dir/coco.json" --annotated "$dir/frames" --masks "$dir/masks" > "$dir/out" 2> "$dir/err"; rc=$?
check runs '[ $rc = 0 ] && grep -q "boxes in 2 pictures, box threshold 0" "$dir/err"'
check text 'grep -q "000042.bmp: [0-9]* box" "$dir/out" && grep -Eq "^  [01][.][0-9]{3} .* (a cat|the dog)$" "$dir/out"'
check coco 'grep -Eq "^\[\{\"image_id\":42,\"category_id\":[12],\"bbox\":\[[0-9.,e-]*\],\"score\":0" "$dir/coco.json"'
check pictures '[ -s "$dir/frames/a.png" ] && [ -s "$dir/masks/a.png" ] && [ -s "$dir/masks/val_000000000042.png" ]'
"$vismin" detect $model "$one" --phrase "a cat. the dog" --box-threshold 0 --dtype f32 --json --max-boxes 2 > "$dir/json" 2> /dev/null
check json '[ "$(wc -l < "$dir/json")" = 1 ] && [ "$(grep -o "\"words\"" "$dir/json" | wc -l)" = 2 ] && grep -q "\"width\":8,\"height\":8" "$dir/json"'
check same_boxes '[ "$(grep -o "\"score\":[0-9.]*" "$dir/json" | head -1)" = "$(grep -o "\"score\":[0-9.]*" "$dir/coco.json" | head -1)" ]'
"$vismin" detect $model "$one" --phrase "a cat" --box-threshold 1 --masks "$dir/none" --coco "$dir/empty" > "$dir/out" 2> /dev/null
check nothing_found 'grep -q ": 0 boxes" "$dir/out" && [ "$(cat "$dir/empty")" = "[]" ] && [ -s "$dir/none/val_000000000042.png" ]'


# a status for every phrase and picture; nothing old is left where something went wrong
"$vismin" detect $model "$one" "$dir/gone.png" "$dir/a.bmp" --phrase "a cat" --phrase "the dog" --box-threshold 0 --dtype f32 --batch 2 --masks "$dir/masks" \
    --json > "$dir/json" 2> "$dir/err"; rc=$?
check others_go_on '[ $rc = 1 ] && [ "$(wc -l < "$dir/json")" = 3 ] && grep -q "1 of 3 pictures could not be read" "$dir/err"'
check ground_error 'sed -n 2p "$dir/json" | grep -q "\"status\":\"ground_error\",\"error\":\".*gone.png.*\",\"boxes\":\[\]}"'
check status_ok 'head -1 "$dir/json" | grep -Eq "\"phrase\":\"(a cat|the dog)\",\"status\":\"ok\",\"boxes\":[1-9]"'
cp "$dir/a.bmp" "$dir/gone.bmp"
"$vismin" detect $model "$dir/gone.bmp" --phrase cat --box-threshold 0 --masks "$dir/masks" --annotated "$dir/frames" > /dev/null 2>&1
check drawn '[ -s "$dir/masks/gone.png" ] && [ -s "$dir/frames/gone.png" ]'
echo broken > "$dir/gone.bmp"
"$vismin" detect $model "$dir/gone.bmp" "$one" --phrase cat --box-threshold 0 --masks "$dir/masks" --annotated "$dir/frames" > "$dir/out" 2> /dev/null; rc=$?
check nothing_old_is_left '[ $rc = 1 ] && [ ! -e "$dir/masks/gone.png" ] && [ ! -e "$dir/frames/gone.png" ] && grep -q "gone.bmp: ground_error: " "$dir/out"'
for s in no_box:--box-threshold=1 box_too_large:--max-area=0 box_too_small:--min-area=1 low_score:--min-box-score=1; do
    "$vismin" detect $model "$one" --phrase cat --box-threshold 0 ${s#*:} --masks "$dir/m" --json > "$dir/json" 2> "$dir/err"; rc=$?
    check "status_${s%%:*}" '[ $rc = 0 ] && grep -q "\"boxes\":\[\],\"phrases\":\[{\"phrase\":\"cat\",\"status\":\"${s%%:*}\",\"boxes\":0,\"best\":0[.]" "$dir/json"'
done
"$vismin" detect $model "$one" --phrase cat --box-threshold 1 2> /dev/null | grep -q "no_box  cat, best score 0" && said=1
check status_as_text '[ "$said" = 1 ]'

"$vismin" detect $model "$one" --phrase "a 😀" > /dev/null 2> "$dir/err"; rc=$?
check unknown_words '[ $rc = 0 ] && grep -q "vocabulary does not have all of its words" "$dir/err"'
"$vismin" detect $model "$one" --phrase cat --coco "$dir/none/below/p" > "$dir/out" 2> "$dir/err"; rc=$?
check coco_is_tried_first '[ $rc = 4 ] && [ ! -s "$dir/out" ] && grep -q "none/below/p: cannot be written" "$dir/err"'
"$vismin" detect $model "$one" 2> "$dir/err"; rc=$?
check phrase_is_needed '[ $rc = 2 ] && grep -q -- "--phrase TEXT is needed" "$dir/err"'
"$vismin" detect $model "$one" --phrase "." --coco "$dir/p" 2> "$dir/err"; rc=$?
check no_words '[ $rc = 3 ] && grep -q "no words to look for" "$dir/err" && [ ! -e "$dir/p" ]'
"$vismin" detect tests/golden/swin/variant "$one" --phrase cat 2> "$dir/err"; rc=$?
check other_model '[ $rc != 0 ] && grep -q "no Grounding DINO" "$dir/err"'
"$vismin" detect $model "$dir/none.png" --phrase cat --coco "$dir/p" 2> "$dir/err"; rc=$?
check no_picture '[ $rc = 3 ] && grep -q "none.png" "$dir/err" && [ ! -e "$dir/p" ]'
"$vismin" detect $model "$one" --phrase cat --nms 2 2> "$dir/err"; rc=$?
check ranges '[ $rc = 2 ] && grep -q -- "--nms" "$dir/err"'
exit $bad
