#!/bin/sh
# cli_eval.sh - `vismin eval`: the three built-in models, both layouts, kill and resume, broken data by message.
vismin=${VISMIN:-build/vismin}
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
all=0
ok() { echo "ok cli_eval.$1"; }
bad() { echo "FAIL cli_eval.$1"; all=1; shift; printf '%s\n' "$@" >&2; }
check() { if [ "$2" = "$3" ]; then ok "$1"; else bad "$1" "want $2" "got  $3"; fi; } # NAME WANT GOT
has() { case $3 in *"$2"*) ok "$1" ;; *) bad "$1" "$3" "lacks $2" ;; esac; }         # NAME WORDS GOT
ev() { "$vismin" eval "$@" 2>"$t/err"; } # rc is that of eval
timeless() { grep -v -e '"started"' -e '"wall_s"' -e '"command"' "$1/results.json"; }

"$vismin" scene --out "$t/bench" --pairs 40 --quiet || exit 1
n=160

# --- built-in models ---
ev oracle --data "$t/bench" --out "$t/r" >"$t/table"; check oracle_status 0 $?
check oracle 'object,,40,100.00,100.00,100.00 chance,,,25.00,25.00,16.67' \
    "$(sed -n -e 2p -e 8p "$t/r/vismin/oracle/table.csv" | tr '\n' ' ' | sed 's/ $//')"
has table 'all items                  160  100.00 [97.7, 100.0]' "$(cat "$t/table")"
check predictions "$((n + 1)) category,id,T0_I0,T0_I1,T1_I0,T1_I1" \
    "$(wc -l <"$t/r/vismin/oracle/predictions.csv") $(head -1 "$t/r/vismin/oracle/predictions.csv")"
check samples $((n + 1)) "$(wc -l <"$t/r/vismin/oracle/samples.jsonl")"
ev constant --data "$t/bench" --json >"$t/json"
check constant '"group": 0 "ties": 40' "$(grep -o -e '"ties": 40' -e '^      "group": 0' "$t/json" | sort -u | tr -s '\n ' ' ' | sed 's/ $//;s/^ //')"
ev random --data "$t/bench" --json --seed 5 >"$t/a"; ev random --data "$t/bench" --json --seed 5 --batch 7 >"$t/b"
check batch_does_not_count "$(grep -v -e started -e wall_s -e command "$t/a")" "$(grep -v -e started -e wall_s -e command "$t/b")"
ev random --data "$t/bench/pairs.json" --json --seed 5 >"$t/b"
check json_layout "$(grep -v -e started -e wall_s -e command -e '"data"' "$t/a")" "$(grep -v -e started -e wall_s -e command -e '"data"' "$t/b")"
has quiet_stdout '{' "$(head -1 "$t/a")"
ev oracle --data "$t/bench" --limit 3 --json >"$t/a"
check limit '"n": 3 "partial": true' "$(grep -o -e '^      "n": 3' -e '"partial": true' "$t/a" | sort -u | tr -s '\n ' ' ' | sed 's/ $//;s/^ //')"
ev oracle --data "$t/bench/counting.csv" --json >"$t/a"; has one_file '"counting"' "$(cat "$t/a")"

# --- resume ---
ev random --data "$t/bench" --out "$t/whole" --batch 4 >/dev/null
whole=$t/whole/vismin/random cut=$t/cut/vismin/random
same() { # NAME: the folder $cut holds what $whole does
    timeless "$whole" >"$t/a"; timeless "$cut" >"$t/b"
    for f in samples.jsonl predictions.csv table.md table.csv skipped.jsonl; do cmp -s "$whole/$f" "$cut/$f" || echo "$f" >>"$t/b"; done
    if cmp -s "$t/a" "$t/b"; then ok "$1"; else bad "$1" "$(diff "$t/a" "$t/b")"; fi
}
mkdir -p "$cut"; head -c 9000 "$whole/samples.jsonl" >"$cut/samples.jsonl" # ends inside a line
ev random --data "$t/bench" --out "$t/cut" --batch 4 >/dev/null; same resume_torn_line
# kill -9 while it works, again and again, then to the end
rm -rf "$t/cut" "$whole"; mkdir "$t/big"
"$vismin" scene --out "$t/big" --pairs 150 --quiet
ev random --data "$t/big" --out "$t/whole" --batch 4 >/dev/null
partial=0 rounds=0
while [ $rounds -lt 12 ]; do
    rounds=$((rounds + 1))
    "$vismin" eval random --data "$t/big" --out "$t/cut" --batch 4 >/dev/null 2>&1 &
    pid=$! before=$(cat "$cut/samples.jsonl" 2>/dev/null | wc -l) waited=0
    while [ $waited -lt 400 ] && kill -0 $pid 2>/dev/null; do
        [ "$(cat "$cut/samples.jsonl" 2>/dev/null | wc -l)" -gt $((before + 40)) ] && break
        waited=$((waited + 1)); sleep 0.01
    done
    kill -9 $pid 2>/dev/null; wait $pid 2>/dev/null
    [ -f "$cut/results.json" ] && break
    [ "$(wc -l <"$cut/samples.jsonl")" -gt 1 ] && partial=$((partial + 1))
done
ev random --data "$t/big" --out "$t/cut" --batch 4 >/dev/null
if [ $partial -gt 0 ]; then ok killed_in_the_middle; else bad killed_in_the_middle "$rounds rounds, none of them partial"; fi
same kill_and_resume
before=$(cksum <"$cut/samples.jsonl")
ev random --data "$t/big" --out "$t/cut" >/dev/null
check nothing_twice "$before" "$(cksum <"$cut/samples.jsonl")"
"$vismin" eval random --data "$t/big" --out "$t/stop" --batch 1 >/dev/null 2>"$t/err" &
pid=$!; while [ ! -s "$t/stop/vismin/random/samples.jsonl" ] && kill -0 $pid 2>/dev/null; do sleep 0.01; done
kill -TERM $pid; wait $pid; rc=$?
check sigterm_status 143 $rc
has sigterm 'the same command goes on from there' "$(cat "$t/err")"
cut=$t/stop/vismin/random; ev random --data "$t/big" --out "$t/stop" >/dev/null; same sigterm_and_resume
ev random --data "$t/big" --out "$t/stop" --seed 2 >/dev/null; check other_seed_status 3 $?
has other_seed 'another --out or --name, or start anew with --fresh' "$(cat "$t/err")"
ev random --data "$t/big" --out "$t/stop" --seed 2 --fresh >/dev/null; check fresh 0 $?
sed -i '5s/"split"/"Split"/' "$cut/samples.jsonl"
ev random --data "$t/big" --out "$t/stop" --seed 2 >/dev/null; check damaged_status 3 $?
has damaged 'samples.jsonl:5' "$(cat "$t/err")"

# --- pictures ---
b=$t/bench
rm "$b/edited_images/object_0003.png"
mv "$b/original_images/object_0004.png" "$b/original_images/OBJECT_0004.PNG"
mv "$b/original_images/object_0005.png" "$b/original_images/object_0005.jpg"
printf 'version https://git-lfs' >"$b/edited_images/relation_0001.png"; : >"$b/edited_images/relation_0002.png"
head -c 3000 "$b/edited_images/relation_0000.png" >"$t/x"; mv "$t/x" "$b/edited_images/relation_0003.png"
ev oracle --data "$b" --out "$t/r2" >"$t/table"; check missing_status 1 $?
has missing 'object.csv:5: id object_0003: picture object_0003.png not found (looked in' "$(cat "$t/err")"
has counted 'object                   39/40' "$(cat "$t/table")"
has broken_pictures 'relation                 37/40' "$(cat "$t/table")"
has summary '4 of 160 records were not scored; listed in' "$(cat "$t/err")"
check listed '4 object_0003' "$(wc -l <"$t/r2/vismin/oracle/skipped.jsonl") $(head -1 "$t/r2/vismin/oracle/skipped.jsonl" | grep -o 'object_0003' | head -1)"
check skips_in_results '"n_skipped": 4' "$(grep -o '^  "n_skipped": [0-9]*' "$t/r2/vismin/oracle/results.json" | tr -s ' ' | sed 's/^ //')"
ev oracle --data "$b" --on-error fail >/dev/null; check fail_status 3 $?
ev oracle --data "$b" --max-skip 4 >/dev/null; check max_skip 0 $?
ev oracle --data "$b" --on-error wrong --json >"$t/a"; check wrong_status 1 $?
check wrong_counts '"text": 39 "text": 97.5' "$(grep -o -e '^        "text": 39' -e '^      "text": 97.5' "$t/a" | sort -u | tr -s '\n ' ' ' | sed 's/^ //;s/ $//')"
ev oracle --data "$b" --allow-truncated >"$t/table"; has allow_truncated 'relation                 38/40' "$(cat "$t/table")"
mkdir "$t/more"; cp "$b/edited_images/object_0002.png" "$t/more/object_0003.png"
ev oracle --data "$b" --images "$t/more" >"$t/table"; has images 'object                      40' "$(cat "$t/table")"
mkdir "$t/csv" "$t/coco"; cp "$t/more/object_0003.png" "$t/coco/a.png"
printf 'image_path,caption,edited_image_path,edited_caption\n/coco/a.png,x,/coco/a.png,y\n' >"$t/csv/object.csv"
ev oracle --data "$t/csv" --map "/coco=$t/coco" --json >"$t/a"; check map_status 0 $?
has degenerate '"n_degenerate": 1' "$(cat "$t/a")"
ev oracle --data "$t/csv" --map "/coco" >/dev/null; check map_form 2 $?

# --- pictures and captions that are odd ---
mkdir "$t/odd"; p=$t/odd; cp "$t/coco/a.png" "$p/a.png"
printf '<!DOCTYPE html><html>404</html>' >"$p/page.jpg"; printf 'GIF89a' >"$p/cut.gif"
long=$(printf 'dog %.0s' $(seq 200))
printf "image_path,caption,edited_image_path,edited_caption,edit_id\npage.jpg,x,a.png,y,1\ncut.gif,x,a.png,y,2\na.png,x,$p/a.png,y,3\na.png,,a.png,$long,4\n" >"$p/object.csv"
ev oracle --data "$p" >"$t/table"; check odd_status 1 $?
has web_page 'page.jpg: found a web page' "$(cat "$t/err")"; has cut_gif 'cut.gif:' "$(cat "$t/err")"
has absolute_refused 'not found (looked in' "$(cat "$t/err")"
ev oracle --data "$p" --allow-absolute >"$t/table"; has allow_absolute 'object                     2/4' "$(cat "$t/table")"
ev oracle --data "$p" --max-pixels 100 >/dev/null; has max_pixels 'at most 100 in all are read' "$(cat "$t/err")"
ev oracle --data "$p" --alpha pink >/dev/null; check alpha_status 2 $?; has alpha 'expected drop, white or black' "$(cat "$t/err")"

# --- a real model: the smallest that ships with the program ---
clip=$(dirname "$0")/../weights/tiny/clip-plain
ev "$clip" --data "$p" --allow-absolute --json >"$t/a"
has truncated_caption '"n_truncated": 1' "$(cat "$t/a")"; has empty_caption '"n_empty_caption": 1' "$(cat "$t/a")"
has truncated_caption_said '1 items have a caption that is longer than the model takes' "$(cat "$t/err")"
s=$t/small; "$vismin" scene --out "$s" --pairs 6 --quiet
ev "$clip" --data "$s" --out "$t/c1" --batch 1 >/dev/null; ev "$clip" --data "$s" --out "$t/c64" --batch 64 >/dev/null
check batch_same_decisions "$(cat "$t/c1/vismin/clip-plain/table.csv")" "$(cat "$t/c64/vismin/clip-plain/table.csv")"
check batch_same_scores '' "$(paste -d, "$t/c1/vismin/clip-plain/predictions.csv" "$t/c64/vismin/clip-plain/predictions.csv" |
    awk -F, 'NR > 1 { for (k = 3; k <= 6; k++) { d = $k - $(k + 6); if (d > 1e-4 || d < -1e-4) print } }')"
has logits '"logits":{"c0_i0"' "$(cat "$t/c1/vismin/clip-plain/samples.jsonl")"
ev "$clip" --data "$s" --out "$t/c2" --template 'a photo of {}, small' >/dev/null
if cmp -s "$t/c1/vismin/clip-plain/predictions.csv" "$t/c2/vismin/clip-plain/predictions.csv"; then bad template 'scores are the same'; else ok template; fi
ev "$clip" --data "$s" --out "$t/c2" --template 'a photo of {}' >/dev/null; check other_template_status 3 $?
# a picture that has changed is scored again
old=$(grep object,object_0000 "$t/c1/vismin/clip-plain/predictions.csv")
cp "$s/original_images/object_0001.png" "$s/original_images/object_0000.png"
ev "$clip" --data "$s" --out "$t/c1" >/dev/null
if [ "$old" = "$(grep object,object_0000 "$t/c1/vismin/clip-plain/predictions.csv")" ]; then bad changed_picture "$old"; else ok changed_picture; fi

# --- rescoring, parts, lists ---
ev "scores:$t/c64/vismin/clip-plain/samples.jsonl" --data "$s" --out "$t/c3" --name clip-plain >/dev/null; check scores_status 0 $?
check scores_of_samples "$(cat "$t/c64/vismin/clip-plain/table.csv")" "$(cat "$t/c3/vismin/clip-plain/table.csv")"
rm -r "$s/edited_images"
ev "scores:$t/c64/vismin/clip-plain/predictions.csv" --data "$s" --out "$t/c4" --name clip-plain >/dev/null
check scores_without_pictures "$(cat "$t/c64/vismin/clip-plain/table.csv")" "$(cat "$t/c4/vismin/clip-plain/table.csv")"
ev "scores:$t/none.csv" --data "$s" >/dev/null; check no_scores_status 3 $?
ev "scores:$t/c64/vismin/clip-plain/predictions.csv" --data "$s" --metric mmvp --limit 0.5 --json >"$t/a"
check share_of_items '"n": 3 "partial": true' "$(grep -o -e '^      "n": 3' -e '"partial": true' "$t/a" | sort -u | tr -s '\n ' ' ' | sed 's/ $//;s/^ //')"
has mmvp_template '"template": "a photo of {}"' "$(cat "$t/a")"
ev oracle --data "$t/csv/object.csv" --images "$t/coco" --limit 1.5 >/dev/null; check limit_form 2 $?
ev oracle --data "$t/big" --split relation --split counting --show 1 >"$t/table"
check two_splits 2 "$(grep -c -e '^relation .* 100.00 \[' -e '^counting .* 100.00 \[' "$t/table")"
has show 'caption 0  ' "$(cat "$t/table")"; check no_other_split 0 "$(grep -c '^object' "$t/table")"
ev oracle --data "$t/big" --split colour >/dev/null; check no_split_status 2 $?; has no_split '--split colour: vismin has no such split' "$(cat "$t/err")"
ev oracle --data "$t/big" --option a=b >/dev/null; check no_option_status 2 $?; has no_option 'vismin has no options' "$(cat "$t/err")"
ev oracle --data "$t/big" --limit 2 --predict-only --out "$t/only" >"$t/out"; check predict_only 'predictions.csv samples.jsonl skipped.jsonl 0' \
    "$(ls "$t/only/vismin/oracle" | grep -v lock | tr '\n' ' ')$(wc -c <"$t/out")"
ev oracle --data "$t/big" --predict-only >/dev/null; check predict_only_usage 2 $?
ev oracle --data "$t/big" --ties never >/dev/null; has ties 'expected wrong, half or first' "$(cat "$t/err")"
ev --list >"$t/out"; check list_status 0 $?; has list 'object:579 attribute:294 relation:622 counting:589' "$(cat "$t/out")"
ev --data "$t/big" >/dev/null; check no_model_usage 2 $?
# a full disk: no half-written results
(ulimit -f 16; ev oracle --data "$t/big" --out "$t/full" >/dev/null; echo $? >"$t/rc"); check full_disk_status 4 "$(cat "$t/rc")"
check full_disk '' "$(ls "$t/full/vismin/oracle" | grep -e results -e tmp)"
: >"$t/afile"; ev oracle --data "$t/big" --out "$t/afile" >/dev/null; check out_is_a_file 4 $?

# --- tables of broken files: NAME STATUS WORDS, the file on stdin ---
bad_csv() {
    cat >"$t/csv/object.csv"
    ev oracle --data "$t/csv" --images "$t/coco" >"$t/out"; rc=$?
    check "$1_status" "$2" $rc; has "$1" "$3" "$(cat "$t/err")"
}
h='image_path,caption,edited_image_path,edited_caption,edit_id'
printf 'image,caption,edited_image_path,edited_caption\na.png,x,a.png,y\n' | bad_csv no_column 3 'image_path'
printf "$h\na.png,x,a.png,y,1\na.png,x\na.png,x,a.png,z,2\n" | bad_csv ragged_row 3 'object.csv:3:'
ev oracle --data "$t/csv" --images "$t/coco" --on-error skip >"$t/out"; check ragged_row_skipped 1 $?
has ragged_row_rest 'object                     2/3' "$(cat "$t/out")"
printf "$h\na.png,x,a.png,y,1\na.png,x,a.png,z,1\n" | bad_csv id_twice 3 'object.csv:3: id 1 stands twice in object with different contents'
ev oracle --data "$t/csv" --images "$t/coco" --dup last --show 1 >"$t/out"; check dup_last_status 0 $?; has dup_last 'caption 1  z' "$(cat "$t/out")"
ev oracle --data "$t/csv" --images "$t/coco" --dup first --show 1 >"$t/out"; has dup_first 'caption 1  y' "$(cat "$t/out")"
printf "$h\na.png,x,a.png,y,1\na.png,x,a.png,y,1\n" | bad_csv same_twice 0 '1 records have an id that was there already; they count once'
printf "$h\n../coco/a.png,x,a.png,y,1\n" | bad_csv climbing 1 '".." in a name is refused'
printf "$h\n,x,a.png,y,1\n" | bad_csv empty_name 1 'the name of the picture is empty'
printf "image_path;caption;edited_image_path;edited_caption\na.png;x;a.png;y\n" | bad_csv semicolons 0 '1 items'
printf "$h\n" | bad_csv no_rows 3 'no records in it'
printf '' | bad_csv empty_file 3 'object.csv'
printf "$h\na.png,\"x\377\",a.png,y,1\n" | bad_csv no_utf8 0 'object.csv:2: byte 0xff is not UTF-8'
printf "\357\273\277$h\r\na.png,\"x, \"\"y\"\"\nz\",a.png,y,\r\n" | bad_csv bom_crlf_quotes 0 '1 items'
printf 'image_0,text_0,image_1,text_1,id,category\na.png,x,a.png,y,0,relation\na.png,x,a.png,y,0,object\n' | bad_csv other_names 0 '2 items'
bad_json() {
    cat >"$t/csv/bad.json"
    ev oracle --data "$t/csv/bad.json" --images "$t/coco" >"$t/out"; rc=$?
    check "$1_status" "$2" $rc; has "$1" "$3" "$(cat "$t/err")"
}
e='"negatives":[{"edited_image_path":"a.png","edited_caption":"y"},]'
printf '[{"image_path":"a.png","caption":"x",%s,},]' "$e" | bad_json trailing_commas 0 '1 items'
printf '[{"image_path":"a.png","caption":"x",%s' "$e" | bad_json cut_json 3 'bad.json:1:'
printf '{"image_path":"a.png"}' | bad_json no_list 3 'expected a list of records'
printf '[\n{"image_path":"a.png",%s},\n{"image_path":"a.png","caption":"x",%s}]' "$e" "$e" | bad_json no_caption 3 'bad.json:2:'
ev oracle --data "$t/csv/bad.json" --images "$t/coco" --on-error skip >"$t/out"; has no_caption_rest '1/2' "$(cat "$t/out")"
printf '[{"image_path":"a.png","caption":"x"}]' | bad_json no_negatives 3 'negatives'
printf '[{"image_path":5,"caption":"x",%s}]' "$e" | bad_json number_for_text 3 'image_path'
ev oracle --data "$t/coco" >/dev/null; check no_data_status 3 $?
has no_data 'none of the files object.csv, attribute.csv, relation.csv, counting.csv in this folder' "$(cat "$t/err")"
ev oracle --data "$t/nowhere" >/dev/null; check no_folder_status 3 $?
ev oracle >/dev/null; check usage 2 $?
ev oracle --data "$b" --dataset vismim >/dev/null; has near_dataset 'did you mean vismin' "$(cat "$t/err")"
ev "$t/coco" --data "$b" >/dev/null; check no_model_status 6 $?
exit $all
