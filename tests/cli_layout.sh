#!/bin/sh
# cli_layout.sh - `vismin layout`: enumerated, by a model that writes all kinds of answers, from captions; killed, shared, changed; export and import.
vismin=${VISMIN:-build/vismin}
. tests/stage_parts.sh
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
all=0
check() { # NAME WANT GOT
    if [ "$2" = "$3" ]; then echo "ok cli_layout.$1"; else echo "FAIL cli_layout.$1"; all=1; printf 'want %s\ngot  %s\n' "$2" "$3" >&2; cat "$t/err" >&2; fi
}
has() { # NAME WORDS GOT
    case $3 in *"$2"*) echo "ok cli_layout.$1" ;; *) echo "FAIL cli_layout.$1"; all=1; printf '%.900s\nlacks %s\n' "$3" "$2" >&2 ;; esac
}
err() { cat "$t/err"; }
lay() { run=$1; shift; "$vismin" layout "$t/$run" "$@" 2>"$t/err"; }
result() { "$vismin" export "$t/$1" layout 2>>"$t/err" | sha256sum; }
part=layout/part-0000-of-0001.jsonl

# enumeration: no model, the same whatever happens
lay whole --quota 400 --seed 5; check status 0 $?
has summary '800 units, 800 ok with 800 records' "$(err)"; want=$(result whole)
check relations 400 "$(grep -c '"k":"relation:' "$t/whole/$part")"
has both_kinds '"category":"counting(' "$(cat "$t/whole/$part")"
lay more --quota 150 --seed 5; lay more --quota 400 --seed 5; check extended "$want" "$(result more)"
check nothing_twice 800 "$(wc -l <"$t/more/$part" | tr -d ' ')"
for i in 2 0 1; do lay parts --quota 400 --seed 5 --shard $i/3; done; check shards "$want" "$(result parts)"
lay any --quota 400 --seed 5 --shard any/4; check any_part "$want" "$(result any)"
for lines in 1 100 350; do
    "$vismin" layout "$t/killed" --quota 400 --seed 5 --quiet 2>/dev/null & pid=$!
    kill_at $lines $pid "$t/killed/layout/part-*.jsonl"
done
lay killed --quota 400 --seed 5; check killed "$want" "$(result killed)"
lay whole --quota 400 --seed 6; check changed 3 $?; has changed_words '"seed" was 5 and is 6 now' "$(err)"
lay whole --quota 400 --seed 5 --rule per_pair=5; has changed_rule '"rules" was {' "$(err)"
lay few --category relation --quota 9; check one_kind 9 "$(wc -l <"$t/few/$part" | tr -d ' ')"
"$vismin" check "$t/whole" >"$t/out" 2>"$t/err"; check whole 0 $?

# tables and rules of one's own
printf 'name,size_class,contexts,stackable\nowl,2,barn,no\nhay bale,2,barn,no\n' >"$t/objects.csv"; printf 'place,background,contexts\nin a barn,an old barn,barn\n' >"$t/scenes.csv"
lay own --objects "$t/objects.csv" --scenes "$t/scenes.csv" --category counting --quota 1000; has own_tables '"background":"an old barn"' "$(cat "$t/own/$part")"
has own_count 'the tables have 40 layouts' "$(err)"
echo 'owl,9,barn,no' >>"$t/objects.csv"; lay bad --objects "$t/objects.csv"; check bad_table 3 $?; has bad_table_words 'objects.csv:4: size_class: found "9"' "$(err)"
lay bad --rule big=3; check bad_rule 2 $?; has bad_rule_words 'with a name of clamp, margin' "$(err)"
lay bad --mode guess; check bad_mode 2 $?
lay tight --quota 3 --rule min_area=500; has no_room '"st":"void","code":"no_room"' "$(cat "$t/tight/$part")"

# a model: JSON, in fences, as one line, broken, out of the canvas, off the subject, the same again
one='{"caption":"A cup CAP","objects":[{"name":"a cup","box":[40,200,150,150]},{"name":"a plate","box":[300,200,150,150]}],"background":"a table","negative":"","category":"relation(left of)"}'
awk -v one="$one" 'function say(i, s, text) { gsub(/\\/, "\\\\", text); gsub(/"/, "\\\"", text); gsub(/\n/, "\\n", text); printf "{\"key\":\"relation:%08d\",\"sample\":%d,\"text\":\"%s\"}\n", i, s, text }
    BEGIN { for (i = 0; i < 128; i++) {
        a = one; sub(/CAP/, "number-" i " to the left of a plate", a); sub(/A cup number/, "A photo of a cup and to the left of a plate, number", a)
        b = one; sub(/A cup CAP/, "picture-" i " of a cup to the left of a plate", b)
        wrong = b; sub(/\[300,200/, "[400,200", wrong)
        line = "1. Input: scene-" i " of a cup to the left of a plate, Bounding boxes: [(\x27a cup\x27, [40, 200, 150, 150]), (\x27a plate\x27, [300, 200, 150, 150])], Background prompt: a table, Negative prompt: , Category: relation(left of)\n2. Input: cut, Bound"
        if (i % 8 == 0) { say(i, 0, "Sure!\n```json\n" b "\n```"); say(i, 1, b) }
        else if (i % 8 == 1) { say(i, 0, line); say(i, 1, "") }
        else if (i % 8 == 2) { say(i, 0, wrong); say(i, 1, "{\"caption\": 5}") }
        else if (i % 8 == 3) { say(i, 0, "I cannot do that."); say(i, 1, "I am sorry.") }
        else if (i % 8 == 4) { c = b; gsub(/"/, "\x27", c); sub(/picture-[0-9]+/, "picture-0", c); say(i, 0, c); say(i, 1, a) }
        else if (i % 8 == 5) { c = b; sub(/relation\(left of\)/, "counting(two)", c); say(i, 0, c); say(i, 1, "nothing") }
        else { say(i, 0, b); say(i, 1, wrong) } } }' >"$t/boot.jsonl"
boot() { run=$1; shift; lay "$run" --mode bootstrap --category relation --quota 50 --units 100 --rule per_pair=0 --void-limit 1 --tries 1 --llm "replay:$t/boot.jsonl" "$@"; }
boot boot --stats-json "$t/stats.json" --explain >"$t/out"; check bootstrap 0 $?
has block_two '100 units, ' "$(err)" # 64 of the first block gave too few, then what is missing
has enough 'relation: 50 layouts, 50 were wanted' "$(err)"
for c in L01 L02 L09 L13 other_category; do has rejected_$c "$c" "$(cat "$t/out")"; done
has refused '"refused": ' "$(cat "$t/stats.json")"; has rejected_units '"rejected": ' "$(cat "$t/stats.json")"
want=$(result boot)
check no_duplicates 1 "$("$vismin" export "$t/boot" layout | grep -c 'picture-0 of')"
sed 's/}$/,"delay_ms":4}/' "$t/boot.jsonl" >"$t/slow.jsonl"
for lines in 1 9 20; do
    "$vismin" layout "$t/bkilled" --mode bootstrap --category relation --quota 50 --units 100 --rule per_pair=0 --void-limit 1 --tries 1 --llm "replay:$t/slow.jsonl" --quiet 2>/dev/null & pid=$!
    kill_at $lines $pid "$t/bkilled/layout/part-*.jsonl"
done
run=bkilled; "$vismin" layout "$t/bkilled" --mode bootstrap --category relation --quota 50 --units 100 --rule per_pair=0 --void-limit 1 --tries 1 --llm "replay:$t/slow.jsonl" 2>"$t/err"; check resumed 0 $?
check resumed_result "$want" "$(result bkilled)"
lay shown --mode bootstrap --category counting --show-prompt >"$t/out"; has shown_number 'Number: ' "$(cat "$t/out")"; has shown_things 'Choose one of: a' "$(tail -n 3 "$t/out")"
check no_run '' "$(ls "$t/shown" 2>/dev/null)"
lay none --mode bootstrap; check no_model 2 $?
mkdir "$t/prompts" && cp pipeline/prompts/layout.relation.txt "$t/prompts/" && echo "{\"label\":\"left of\",\"things\":\"a\",\"answer\":$one}" >"$t/prompts/layout.relation.demos.jsonl"
lay demo --mode bootstrap --prompt-dir "$t/prompts" --show-prompt --category relation; check bad_demo 3 $?; has bad_demo_words 'layout.relation.demos.jsonl:1: answer: the demonstration breaks L09' "$(err)"

# a model without sense, held to the schema: every answer is a layout, none of them is a good one
m=$t/model; mkdir "$m" && cp tests/golden/llm/llama/config.json tests/golden/llm/llama/model.safetensors "$m" && cp tests/golden/tokenizer/pieces_first/*.json "$m"
printf 'layout %s %s\n' '{label}' '{things}' >"$t/prompts/layout.relation.txt"; printf 'layout %s %s\n' '{number}' '{things}' >"$t/prompts/layout.counting.txt"
lay native --mode bootstrap --quota 1 --units 4 --llm "native:$m" --prompt-dir "$t/prompts" --max-new 450 --samples 1 --tries 1 --void-limit 1 --threads 1 --temperature 4 --top-k 0 --explain >"$t/out"
check native 0 $?; check well_formed 8 "$(grep -c '"text":"{\\"caption\\":\\".*\\"category\\":\\"[a-z]*([a-z ]*)\\"}"' "$t/native/layout/rejects-0000-of-0001.jsonl")"
has legend 'L08  relation: boxes stand as the caption says' "$(err)"

# from captions: those with one relation or one number
cat >"$t/captions.jsonl" <<'END'
{"image_id":"7","caption":"A dog sits to the left of a red car."}
{"image_id":"8","caption":"Three owls on a branch."}
{"image_id":"9","caption":"A man with a hat."}
{"image_id":"10","caption":"A cat on top of a box, left of a lamp."}
END
k7="7:$(printf 'A dog sits to the left of a red car.' | sha256sum | cut -c 1-16)" k8="8:$(printf 'Three owls on a branch.' | sha256sum | cut -c 1-16)"
cat >"$t/cap.jsonl" <<END
{"key":"$k7","sample":0,"text":"{\"caption\":\"A dog sits to the left of a car\",\"objects\":[],\"background\":\"a\",\"category\":\"relation(left of)\"}"}
{"key":"$k7","sample":1,"text":"{\"caption\":\"a dog sits to the left of a red car.\",\"objects\":[{\"name\":\"a dog\",\"box\":[40,200,150,150]},{\"name\":\"a red car\",\"box\":[250,200,200,150]}],\"background\":\"a street\",\"category\":\"relation(left of)\"}"}
{"key":"$k8","text":"{\"caption\":\"Three owls on a branch\",\"objects\":[{\"name\":\"an owl\",\"box\":[20,200,100,150]},{\"name\":\"an owl\",\"box\":[200,200,100,150]},{\"name\":\"an owl\",\"box\":[350,200,100,150]}],\"background\":\"a wood\",\"category\":\"counting(three)\"}"}
END
lay cap --mode from-caption --captions "$t/captions.jsonl" --llm "replay:$t/cap.jsonl" --explain >"$t/out"; check from_caption 0 $?
has usable '2 of 4 captions have one relation or one number' "$(err)"; has taken '2 units, 2 ok with 2 records' "$(err)"
has other_caption 'other_caption' "$(cat "$t/out")"; has kept '"from":"7","caption":"A dog sits to the left of a red car","objects"' "$(cat "$t/cap/$part")"
lay cap --mode from-caption --captions "$t/captions.jsonl" --llm "replay:$t/cap.jsonl" --show-prompt >"$t/out"; has shown_caption 'Caption: "' "$(tail -n 3 "$t/out")"

# the published layout, and back
"$vismin" export "$t/whole" layout --out "$t/a.json" 2>"$t/err"; has exported '"bounding_boxes": [' "$(cat "$t/a.json")"
"$vismin" import "$t/back" layout "$t/a.json" 2>"$t/err"; check imported 0 $?
"$vismin" export "$t/back" layout --out "$t/b.json" 2>"$t/err"
for f in a b; do tr -d '\n' <"$t/$f.json" | sed 's/  "\([0-9a-f]\{16\}\)": {/\n&/g' | sed 's/[ ,}]*$//' | sort >"$t/$f.txt"; done; check round_trip 0 "$(cmp "$t/a.txt" "$t/b.txt" >/dev/null; echo $?)"
printf '{"x1":{"prompt":"A cat left of a dog","bounding_boxes":[["a cat",[20,200,100,100]],["a dog",[20,200,100,100]]],"background_prompt":"b","negative_prompt":"","category":"relation(left of)"}}' >"$t/c.json"
"$vismin" import "$t/bad2" layout "$t/c.json" 2>"$t/err"; has import_rejects '"st":"void","code":"rejected"' "$(cat "$t/bad2/$part")"; has import_code '"why":{"L05":1}' "$(cat "$t/bad2/$part")"
printf '{"A cat is left of a dog.":["[(\\"a cat\\", [20, 200, 150, 150]), (\\"a dog\\", [300, 200, 150, 150])]\\nBackground prompt: A lawn\\nNegative prompt: No fence. Category: relation(left of)","[(","nothing"]}' >"$t/d.json"
"$vismin" import "$t/lines" layout "$t/d.json" 2>"$t/err"; check import_lines 0 $?
has lines_kept '"caption":"A cat is left of a dog","objects"' "$(cat "$t/lines/$part")"; has lines_counted '"why":{"L01":2}' "$(cat "$t/lines/$part")"
exit $all
