#!/bin/sh
# cli_scene.sh - `vismin scene`: the files of a set, the same bytes for the same seed, what it says to wrong options.
vismin=${VISMIN:-build/vismin}
golden=tests/golden/scene
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_scene.$1"; else echo "FAIL cli_scene.$1"; bad=1; fi
}

"$vismin" scene --out "$dir/a" --pairs 2 --chart --sheet --quiet 2> "$dir/err"; rc=$?
check pairs_run '[ $rc = 0 ] && [ ! -s "$dir/err" ]'
for f in object.csv attribute.csv relation.csv counting.csv pairs.json scenes.jsonl; do
    check "golden_$f" 'cmp -s "$dir/a/$f" "$golden/$f"'
done
check both_folders '[ "$(ls "$dir/a/original_images" | wc -l)" = 8 ] && [ "$(ls "$dir/a/edited_images" | wc -l)" = 8 ]'
check sheet_is_png 'head -c 4 "$dir/a/sheet.png" | grep -aq PNG'

"$vismin" scene --out "$dir/b" --pairs 2 --chart --sheet --quiet
check same_seed_same_bytes 'diff -r "$dir/a" "$dir/b"'
"$vismin" scene --out "$dir/c" --pairs 1 --seed 1 --quiet
check seed_is_the_number 'cmp -s "$dir/c/edited_images/counting_0001.png" "$dir/a/edited_images/counting_0001.png"'
"$vismin" scene --out "$dir/d" --pairs 2 --split val --quiet
check splits_differ '! cmp -s "$dir/d/object.csv" "$dir/a/object.csv"'

# edits with boxes for `vismin inpaint`, and what the oracle says of the pictures: those that nobody has painted are right in nothing
"$vismin" scene --out "$dir/e" --edits 2 --split val --quiet; rc=$?
check edits '[ $rc = 0 ] && [ "$(grep -c "\"bounding_boxes\":\[\[" "$dir/e/edits.jsonl")" = 6 ] && [ "$(grep -c "\"edited_phrase\":\"background\"" "$dir/e/edits.jsonl")" = 2 ]'
"$vismin" scene --score "$dir/e" > /dev/null 2> "$dir/err"; rc=$?
check nothing_painted '[ $rc = 3 ] && grep -q "no pictures" "$dir/err"'
"$vismin" inpaint "$dir/e" --edits "$dir/e/edits.jsonl" --images "$dir/e" --model tests/golden/pipeline/xl --judge none --steps 2 --calls 1 --candidates 1 --size 32 --fit stretch \
    --feather 0 --quiet 2> "$dir/err"; rc=$?
"$vismin" scene --score "$dir/e" --json > "$dir/out" 2>> "$dir/err"
check score '[ $rc = 0 ] && grep -q "\"pictures\":6,\"changed_outside\":0" "$dir/out" && grep -q "\"colour\":{\"right\":[0-4],\"of\":4},\"removal\":{\"right\":0,\"of\":2}" "$dir/out"'

"$vismin" scene --out "$dir/s" --scenes 5 --split train --max-objects 1 --json > "$dir/out" 2> /dev/null; rc=$?
check scenes_run '[ $rc = 0 ] && [ "$(wc -l < "$dir/s/scenes.jsonl")" = 5 ] && [ "$(ls "$dir/s/images" | wc -l)" = 5 ]'
check json_result 'grep -q "\"pictures\":5" "$dir/out"'
check one_object_each '[ "$(grep -o "\"box\"" "$dir/s/scenes.jsonl" | wc -l)" = 5 ]'

"$vismin" scene --pairs 2 2> "$dir/err"; rc=$?
check out_is_needed '[ $rc = 2 ] && grep -q -- "--out DIR is missing" "$dir/err"'
"$vismin" scene --out "$dir/x" 2> "$dir/err"; rc=$?
check something_to_do '[ $rc = 2 ] && grep -q -- "give --pairs N, --scenes N, --texts N, --edits N, --chart" "$dir/err"'
"$vismin" scene --out "$dir/x" --pairs 1 --scenes 1 2> "$dir/err"; rc=$?
check one_set_at_a_time '[ $rc = 2 ] && grep -q "are sets of their own" "$dir/err"'
"$vismin" scene --out "$dir/x" --pairs 1 --split tset 2> "$dir/err"; rc=$?
check split_is_checked '[ $rc = 2 ] && grep -q "expected train, source, test or val" "$dir/err"'
"$vismin" scene --out "$dir/x" --pairs 0 2> "$dir/err"; rc=$?
check numbers_are_checked '[ $rc = 2 ]'
"$vismin" scene --out "$dir/x" --pairs 1 --seed -1 2> "$dir/err"; rc=$?
check seed_is_checked '[ $rc = 2 ] && grep -q "expected 0 or more" "$dir/err"'
check nothing_was_written '[ ! -e "$dir/x" ]'
: > "$dir/file"
"$vismin" scene --out "$dir/file" --pairs 1 2> "$dir/err"; rc=$?
check out_must_be_a_folder '[ $rc = 4 ] || [ $rc = 3 ] && grep -q "$dir/file" "$dir/err"'
exit $bad
