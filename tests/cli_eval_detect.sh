#!/bin/sh
# cli_eval_detect.sh - `vismin eval detect`: results of a file, a model on the miniature world, resume, what is left out.
vismin=${VISMIN:-build/vismin}
golden=tests/golden/boxes model=tests/golden/grounding_dino/variant
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_eval_detect.$1"; else echo "FAIL cli_eval_detect.$1"; bad=1; fi
}
number() { # NAME FILE: of pycocotools
    sed -n "s/.*\"$1\": \([0-9.]*\).*/\1/p" "$2" | head -1
}

"$vismin" eval detect $golden/found.json --data $golden/truth.json --name mine --out "$dir/out" > "$dir/text" 2> "$dir/err"; rc=$?
check file_runs '[ $rc = 0 ] && [ ! -s "$dir/err" ] && grep -q "24 pictures, 4 phrases, 104 annotations" "$dir/text"'
got=$(sed -n 's/^ *"AP50": \([0-9.]*\).*/\1/p' "$dir/out/detect/mine/results.json" | head -1)
check as_pycocotools 'awk "BEGIN { d = $got - 100 * $(number AP50 $golden/expected.json); exit !(d * d < 1e-16) }"'
check intervals 'grep -q "95 % intervals, mean of phrases: AP \[[0-9.]*, [0-9.]*\], AP50 \[" "$dir/text" && [ "$(grep -c "\"AP50\": \[" "$dir/out/detect/mine/results.json")" = 2 ] && grep -q "^| pooled | [0-9.]* to [0-9.]* |" "$dir/out/detect/mine/table.md"'
"$vismin" eval detect $golden/found.json --data $golden/truth.json --resamples 0 > "$dir/text0"; rc=$?
check no_intervals '[ $rc = 0 ] && ! grep -q "95 % intervals" "$dir/text0"'
check files 'for f in table.md table.csv phrases.csv skipped.jsonl; do [ -e "$dir/out/detect/mine/$f" ] || exit 1; done'
check phrases 'grep -q "^9,a red kite,26,25.64," "$dir/out/detect/mine/phrases.csv" && grep -q "^11,nothing,0,-,-," "$dir/out/detect/mine/phrases.csv"'

"$vismin" scene --out "$dir/w" --scenes 6 --boxes --quiet
"$vismin" eval detect $model --data "$dir/w/boxes.json" --out "$dir/a" --json --dtype f32 > "$dir/a.json" 2> "$dir/err"; rc=$?
check world '[ $rc = 0 ] && grep -q "\"n_pictures\": 6" "$dir/a.json" && grep -q "\"task\": \"detect\"" "$dir/a.json"'
run=$dir/a/detect/variant
"$vismin" eval detect "$run/detections.json" --data "$dir/w/boxes.json" --json > "$dir/again.json" 2> /dev/null
check detections_score_the_same '[ "$(grep -m1 "\"AP\":" "$dir/again.json")" = "$(grep -m1 "\"AP\":" "$dir/a.json")" ] && [ "$(grep -c found "$run/found.jsonl")" = 6 ]'
cp "$run/detections.json" "$dir/whole.json"
head -n 3 "$run/found.jsonl" > "$dir/part" && mv "$dir/part" "$run/found.jsonl"
"$vismin" eval detect $model --data "$dir/w/boxes.json" --out "$dir/a" --dtype f32 > /dev/null 2> "$dir/err"; rc=$?
check resumes '[ $rc = 0 ] && cmp -s "$run/detections.json" "$dir/whole.json" && [ "$(grep -c found "$run/found.jsonl")" = 6 ]'
"$vismin" eval detect $model --data "$dir/w/boxes.json" --out "$dir/a" --dtype f32 --min-score 0.2 2> "$dir/err"; rc=$?
check other_options '[ $rc = 3 ] && grep -q "of other options" "$dir/err" && grep -q -- "--fresh" "$dir/err"'
rm "$dir/w/images/000002.png"
"$vismin" eval detect $model --data "$dir/w/boxes.json" --out "$dir/a" --fresh --dtype f32 --json > "$dir/b.json" 2> "$dir/err"; rc=$?
check left_out '[ $rc = 1 ] && grep -q "\"n_pictures\": 5" "$dir/b.json" && grep -q "\"n_skipped\": 1" "$dir/b.json" && grep -q "000002.png" "$run/skipped.jsonl"'
check left_out_is_said 'grep -q "1 pictures could not be read; they are left out with their annotations" "$dir/err"'
"$vismin" eval detect $model --data "$dir/w/boxes.json" --limit 2 --dtype f32 --json > "$dir/c.json" 2> /dev/null
check limit 'grep -q "\"n_pictures\": 2" "$dir/c.json" && grep -q "\"partial\": true" "$dir/c.json"'

# the committed detector on scenes that it has not seen
"$vismin" scene --out "$dir/v" --scenes 40 --split val --boxes --quiet
"$vismin" eval detect weights/tiny/grounding_dino --data "$dir/v/boxes.json" --json > "$dir/tiny.json" 2> /dev/null
ap=$(sed -n '/"pooled"/,/}/s/^ *"AP50": \([0-9.]*\).*/\1/p' "$dir/tiny.json")
check committed_weights 'awk "BEGIN { exit !(${ap:-0} > 75) }"'

"$vismin" eval detect $model 2> "$dir/err"; rc=$?
check data_is_needed '[ $rc = 2 ] && grep -q -- "--data FILE is needed" "$dir/err"'
printf '[{"image_id":1,"category_id":77,"bbox":[0,0,1,1],"score":1}]' > "$dir/odd.json"
"$vismin" eval detect "$dir/odd.json" --data $golden/truth.json 2> "$dir/err"; rc=$?
check unknown_category '[ $rc = 3 ] && grep -q "odd.json:1: .*no category has the id 77" "$dir/err"'
"$vismin" eval detect tests/golden/swin/variant --data "$dir/w/boxes.json" 2> "$dir/err"; rc=$?
check other_model '[ $rc != 0 ] && grep -q "no Grounding DINO" "$dir/err"'
"$vismin" scene --out "$dir/p" --pairs 1 --boxes 2> "$dir/err"; rc=$?
check boxes_need_scenes '[ $rc = 2 ] && grep -q -- "--boxes goes with --scenes" "$dir/err"'
exit $bad
