#!/bin/sh
# cli_inpaint_run.sh - `vismin inpaint RUN`: codes of edits, resume, kill -9, shards, two workers, damaged journals, full disks, signals, dry run.
vismin=${VISMIN:-build/vismin}
. tests/stage_parts.sh
model=tests/golden/pipeline/xl
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_inpaint_run.$1"; else echo "FAIL cli_inpaint_run.$1"; bad=1; fi
}
"$vismin" scene --out "$dir/pool" --scenes 4 > /dev/null 2>&1
edit() { # ID IMAGE MORE
    printf '{"edit_id":"%s","image_id":"%s","file":"%s.png","caption":"a red cat","input_phrase":"a red cat","edited_phrase":"a blue ball","edited_caption":"a blue ball on the table","category":"object"%s}\n' "$1" "$2" "$2" "$3"
}
box=',"bounding_boxes":[[0.2,0.2,0.6,0.6],[0.7,0.7,0.9,0.9]]'
{
    for i in 0 1 2; do for k in a b; do edit "e$i$k" "00000$i" "$box"; done; done
    edit large 000000 ',"bounding_boxes":[[0,0,1,1]]'
    edit none 000001
    edit lost 999999 "$box"
    edit e0a 000000 "$box"
    printf '{"edit_id":"../e","image_id":"1"}\n{"edit_id":\n'
} > "$dir/edits.jsonl"
start() { # DIR ARGS...: in this process
    to=$1; shift
    exec "$vismin" inpaint "$dir/$to" --model $model --edits "$dir/edits.jsonl" --images "$dir/pool/images" --judge-model weights/tiny/clip-hn --steps 2 --calls 2 \
        --candidates 2 --dtype f32 --deterministic --threads 1 --seed 7 --accept 9 "$@"
}
run() { (start "$@"); }
# what became of the edits, without times: one line each, in order
records() { cat "$dir/$1"/inpaint/part-*.jsonl | sed 's/,"ms":[0-9]*,"crc":"[0-9a-f]*"}$//' | sort -t'"' -k4,4 -s; }
pictures() { (cd "$dir/$1" && find images -name '*.png' | sort | xargs cksum); }

run plain > "$dir/out" 2> "$dir/err"; rc=$?
check partial '[ $rc = 1 ] && grep -q "9 units, 6 ok with 6 records, 2 void, 1 in error" "$dir/err"'
check codes '[ "$(grep -o "\"code\":\"[a-z_]*\"" "$dir/plain/inpaint/part-0000-of-0001.jsonl" | sort | tr -d "\n")" = "\"code\":\"bad_image\"\"code\":\"box_too_large\"\"code\":\"no_box\"" ]'
check malformed_lines 'grep -q "edits.jsonl:11: input_caption" "$dir/err" && grep -q "2 lines are no edits" "$dir/err" && grep -q "1 edits stand in the list more than once" "$dir/err"'
check all_candidates '[ "$(grep -o "\"index\":3,\"seed\"" "$dir/plain/inpaint/part-0000-of-0001.jsonl" | wc -l)" = 6 ]'
check nothing_outside '[ "$(grep -o "\"changed\":0,\"most\":0" "$dir/plain/inpaint/part-0000-of-0001.jsonl" | wc -l)" = 6 ]'
check pictures '[ "$(find "$dir/plain/images" -name "*.png" | wc -l)" = 6 ] && grep -aq "\"record\":{\"edit_id\":\"e0a\"" "$dir/plain/images/000000/e0a.png"'
# lost: in error at each run
is_whole() { records "$1" | grep -v '"k":"lost"' | cmp -s - "$dir/want" && pictures "$1" | cmp -s - "$dir/want_px"; }
records plain | grep -v '"k":"lost"' > "$dir/want"; pictures plain > "$dir/want_px"
run plain > /dev/null 2> "$dir/err"; rc=$?
check error_again_others_not '[ $rc = 1 ] && grep -q "inpaint: 1 edits" "$dir/err" && [ "$(grep -c "\"k\":\"lost\"" "$dir/plain/inpaint/part-0000-of-0001.jsonl")" = 2 ]'
run plain --retry-failed > /dev/null 2> "$dir/err"
check retry_failed 'grep -q "inpaint: 3 edits" "$dir/err"'
run plain --guidance 3 > /dev/null 2> "$dir/err"; rc=$?
check other_configuration '[ $rc = 3 ] && grep -q "\"guidance\" was 0 and is 3 now" "$dir/err"'
run plain --dry-run > "$dir/out" 2> /dev/null
check dry_run '[ "$(wc -l < "$dir/out")" = 9 ] && grep -q "\"edit_id\":\"none\".*\"state\":\"void\"" "$dir/out" && grep -q "\"prompt\":\"a blue ball. a blue ball on the table\"" "$dir/out"'
run fresh --dry-run > "$dir/out" 2> /dev/null
check dry_run_writes_nothing '[ "$(grep -c "\"state\":\"new\"" "$dir/out")" = 9 ] && [ ! -e "$dir/fresh" ]'

"$vismin" export "$dir/plain" inpaint --out "$dir/export" 2> "$dir/err"; rc=$?
check original_layout '[ $rc = 0 ] && cmp -s "$dir/export/000001/e1b.png" "$dir/plain/images/000001/e1b.png" && [ "$(grep -c "tifa_score" "$dir/export/000001/annotations.json")" = 2 ] && grep -q "\"num_inference_steps\": 2" "$dir/export/000001/annotations.json"'
"$vismin" export "$dir/plain" inpaint 2> "$dir/err"; rc=$?
check export_needs_a_folder '[ $rc = 2 ] && grep -q -- "--out DIR is needed" "$dir/err"'
# edits of the stages before, those that vet accepted
cat > "$dir/instruct.json" <<'EOF'
{"000000": {"a red cat": [{"input_phrase": "a red cat", "edited_phrase": "a dog", "edited_caption": "a dog", "category": "object", "edit_id": "i1"},
                          {"input_phrase": "a red cat", "edited_phrase": "a box", "edited_caption": "a box", "category": "object", "edit_id": "i2"}]},
 "000001": {"a red cat": [{"input_phrase": "a red cat", "edited_phrase": "a ball", "edited_caption": "a ball", "category": "object", "edit_id": "i3"}]}}
EOF
echo '{"000000": {"i1": {"reject": "NO", "output": ""}, "i2": {"reject": "YES", "output": ""}}}' > "$dir/vet.json"
"$vismin" import "$dir/chain" instruct "$dir/instruct.json" > /dev/null 2>&1 && "$vismin" import "$dir/chain" vet "$dir/vet.json" > /dev/null 2>&1
"$vismin" inpaint "$dir/chain" --images "$dir/pool/images" --dry-run > "$dir/out" 2> "$dir/err"
check accepted_by_vet '[ "$(cat "$dir/out" | wc -l)" = 1 ] && grep -q "\"edit_id\":\"i1\".*000000.png" "$dir/out" && grep -q "1 of 3 edits were accepted by vet" "$dir/err"'
# killed again and again; then as if nothing had been
for lines in 1 2 3 4; do
    start killed > /dev/null 2>&1 & pid=$!
    kill_at $lines $pid "$dir/killed/inpaint/part-*.jsonl"
done
run killed > /dev/null 2>&1
check killed_same 'is_whole killed'
# a line is lost between the picture and the journal: taken from the picture, not painted again
cp -r "$dir/plain" "$dir/torn"; rm "$dir/torn/inpaint/"*; touch -d 2001-01-01 "$dir/torn/images"/*/*.png
run torn > /dev/null 2>&1
check record_of_the_picture 'is_whole torn && [ "$(find "$dir/torn/images" -name "*.png" -newermt 2002-01-01 | wc -l)" = 0 ]'
# a damaged line in the middle
sed -i '2s/a red cat/a red bat/' "$dir/torn/inpaint/part-0000-of-0001.jsonl"
run torn > /dev/null 2> "$dir/err"; rc=$?
check damaged_journal '[ $rc = 1 ] && grep -q "1 damaged lines" "$dir/err" && [ -s "$dir/torn/inpaint/part-0000-of-0001.jsonl.bad" ] && is_whole torn'

# two shards at once are what one run is; two workers on one shard are not
start both --shard 0/2 > /dev/null 2>&1 & one=$!
run both --shard 1/2 > /dev/null 2>&1; wait $one
check shards 'is_whole both'
run free --shard any/3 > /dev/null 2>&1
check any_shard 'is_whole free && [ "$(ls "$dir/free/inpaint" | grep -c "done$")" = 3 ]'
start twice > /dev/null 2>&1 & one=$!
while [ ! -s "$dir/twice/manifest.json" ]; do sleep 0.05; done
run twice > /dev/null 2> "$dir/err"; rc=$?
wait $one
check two_workers '[ $rc = 5 ] && grep -q "part-0000" "$dir/err" && is_whole twice'

# a full disk: exit 4, the journal is whole, the run goes on
(ulimit -f 8; run full > /dev/null 2> "$dir/err"); rc=$?
check full_disk '[ $rc = 4 ]'
run full > /dev/null 2>&1
check after_full_disk 'is_whole full && [ -z "$(find "$dir/full" -name "*.tmp.*")" ]'
start stopped > /dev/null 2> "$dir/err" & pid=$!
while ! grep -qs e0b "$dir/stopped/inpaint/part-0000-of-0001.jsonl"; do sleep 0.05; done
kill -INT $pid; wait $pid; rc=$?
run stopped > /dev/null 2>&1
check interrupted '[ $rc = 130 ] && grep -q "same command goes on" "$dir/err" && is_whole stopped'

# boxes of a detector; masks of files; a phrase that cannot be looked for spoils nothing
{ edit d0 000000; edit d1 000001 | sed 's/"input_phrase":"a red cat"/"input_phrase":"."/'; edit d2 000001; } > "$dir/edits.jsonl"
run found --detector tests/golden/grounding_dino/variant --box-threshold 0 --max-boxes 2 --candidates 1 --calls 1 > /dev/null 2> "$dir/err"; rc=$?
check detector '[ $rc = 1 ] && [ "$(grep -c "\"box_source\":\"detect\".*\"box_scores\":\[" "$dir/found/inpaint/part-0000-of-0001.jsonl")" = 2 ] && grep -q "\"k\":\"d1\".*\"code\":\"ground_error\"" "$dir/found/inpaint/part-0000-of-0001.jsonl"'
mkdir "$dir/masks"; cp "$dir/pool/images/000002.png" "$dir/masks/000000.png"; cp "$dir/pool/images/000002.png" "$dir/masks/d2.png"
run masked --masks "$dir/masks" --judge none --candidates 1 > /dev/null 2> "$dir/err"; rc=$?
check masks '[ $rc = 0 ] && [ "$(grep -c "\"box_source\":\"mask\",\"bounding_boxes\":\[\],\"mask\":{\"rule\":\"file\"" "$dir/masked/inpaint/part-0000-of-0001.jsonl")" = 2 ] && grep -q "\"k\":\"d1\".*no_box" "$dir/masked/inpaint/part-0000-of-0001.jsonl"'
edit d3 000002 "$box" > "$dir/edits.jsonl"
run parity --parity all --calls 1 > /dev/null 2> "$dir/err"; rc=$?
check parity '[ $rc = 0 ] && grep -q "\"tokens_dropped\":[1-9]" "$dir/parity/inpaint/part-0000-of-0001.jsonl" && grep -q "\"tokens_dropped\":0" "$dir/plain/inpaint/part-0000-of-0001.jsonl" && ! grep -q "\"changed\":0," "$dir/parity/inpaint/part-0000-of-0001.jsonl"'
edit d4 000002 "$box" | sed 's|"file":"|"file":"images/|' > "$dir/edits.jsonl"
run named_twice --candidates 1 --calls 1 > /dev/null 2> "$dir/err"; rc=$?
check folder_named_twice '[ $rc = 0 ] && [ -s "$dir/named_twice/images/000002/d4.png" ]'
edit large 000000 ',"bounding_boxes":[[0,0,1,1]]' > "$dir/edits.jsonl"
run nothing > /dev/null 2>&1
"$vismin" export "$dir/nothing" inpaint --out "$dir/export_nothing" 2> "$dir/err"; rc=$?
check export_of_nothing '[ $rc = 3 ] && grep -q "has made no pictures" "$dir/err"'
run plain --parity box 2> "$dir/err"; rc=$?
check parity_names '[ $rc = 2 ] && grep -q "known are boxes, geometry" "$dir/err"'
run plain --prompt x 2> "$dir/err"; rc=$?
check single_options '[ $rc = 2 ] && grep -q -- "--prompt is for one picture" "$dir/err"'
exit $bad
