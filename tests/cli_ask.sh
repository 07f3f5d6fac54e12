#!/bin/sh
# cli_ask.sh - the text stages in a row on canned answers: instruct, vet, magic, ask; the same bytes for the same seed, also after kills.
vismin=${VISMIN:-build/vismin}
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
. tests/stage_parts.sh
all=0
check() { # NAME WANT GOT
    if [ "$2" = "$3" ]; then echo "ok cli_ask.$1"; else echo "FAIL cli_ask.$1"; all=1; printf 'want %s\ngot  %s\n' "$2" "$3" >&2; cat "$t/err" >&2; fi
}
has() { # NAME WORDS GOT
    case $3 in *"$2"*) echo "ok cli_ask.$1" ;; *) echo "FAIL cli_ask.$1"; all=1; printf '%.900s\nlacks %s\n' "$3" "$2" >&2 ;; esac
}
err() { cat "$t/err"; }
journal() { cat "$t/$1"/"$2"/part-*.jsonl; }
# everything that the stages have made, without what the clock says
bytes() { for s in instruct vet magic ask_llm ask_judge ask; do sed 's/,"ms":.*//' "$t/$1/$s"/part-*.jsonl; done | sha256sum; }
records() { "$vismin" export "$t/$1" "$2" --format jsonl 2>>"$t/err"; }

mkdir "$t/run" && world_run "$t/run" 20 && world_answers "$t/run" "$t/instruct.jsonl"
"$vismin" instruct "$t/run" --categories object --llm "replay:$t/instruct.jsonl" --void-limit 1 --quiet 2>"$t/err"; check instruct 0 $?
"$vismin" magic "$t/run" --llm none 2>"$t/err"; check not_vetted 3 $?; has not_vetted_words 'have not been vetted; run `vismin vet`, or give --unvetted' "$(err)"
field() { sed "s/.*\"$1\":\"\\([^\"]*\\)\".*/\\1/"; }
records run instruct >"$t/edits"; n=$(wc -l <"$t/edits" | tr -d ' ')
records run instruct | field edit_id >"$t/ids"; records run instruct | field edited_phrase >"$t/phrases"; paste -d '|' "$t/ids" "$t/phrases" >"$t/list"
awk -F '|' '{ verdict = NR % 4 ? "accept\\\",\\\"violated\\\":[]" : "reject\\\",\\\"violated\\\":[\\\"similar\\\"]"
    printf "{\"key\":\"%s\",\"text\":\"{\\\"reason\\\":\\\"so\\\",\\\"verdict\\\":\\\"%s}\"}\n", $1, verdict }' "$t/list" >"$t/vet.jsonl"
"$vismin" vet "$t/run" --llm "replay:$t/vet.jsonl" --quiet 2>"$t/err"; check vet 0 $?
kept=$(records run vet | grep -c '"verdict":"accept"'); check some_rejected 1 $((kept < n && kept > 10))

# richer phrases: an object, a list alone, rules broken, nothing
awk -F '|' 'function say(s) { gsub(/"/, "\\\"", s); printf "{\"key\":\"%s\",\"text\":\"%s\"}\n", $1, s }
    { if (NR % 8 == 1) say("[\"a shiny " $2 "\", \"an old " $2 ".\"]")
      else if (NR % 8 == 2) say("I will not.")
      else if (NR % 8 == 3) say("{\"enhanced\":[\"three " $2 "\",\"a thing\",\"a bright " $2 "\",\"a Bright " $2 "\"]}")
      else say("Well:\\n```json\\n{\"enhanced\": [\"a bright " $2 "\", \"a " $2 " of worn brass\",]}\\n```") }' "$t/list" >"$t/magic.jsonl"
magic() { run=$1; shift; "$vismin" magic "$t/$run" --llm "replay:$t/magic.jsonl" --void-limit 1 "$@" 2>"$t/err"; }
cp -r "$t/run" "$t/base"
magic run --explain >"$t/out"; check magic 0 $?
has magic_units "$kept units" "$(err)"; for c in M02 M04 M05; do has magic_$c $c "$(cat "$t/out")"; done
has magic_void '"code":"garbage"' "$(journal run magic)$(cat "$t"/run/magic/rejects* | head -c 300)"
has magic_prompt ', a bright ' "$(records run magic)"; has magic_export '"enhanced":["a shiny ' "$(records run magic)"

# questions: templates alone, then the model's as well
"$vismin" ask "$t/run" 2>"$t/err"; check templates 0 $?; has template_units "$kept units, $kept ok" "$(err)"
check balanced "$kept" "$(records run ask | grep '"global":.*"kind":"absent".*"local":.*"kind":"absent"' | wc -l | tr -d ' ')"
"$vismin" ask "$t/run" --llm-questions 2 2>"$t/err"; check needs_model 2 $?; has needs_model_words '--llm-questions 2: give a model with --llm' "$(err)"
awk -F '|' 'function say(scope, s) { gsub(/"/, "\\\"", s); printf "{\"key\":\"%s:%s\",\"text\":\"%s\"}\n", $1, scope, s }
    function q(text, right, wrong, kind) { return "{\"question\":\"" text "\",\"choices\":[\"" wrong "\",\"" right "\"],\"answer_index\":1,\"kind\":\"" kind "\"}" }
    { say("global", "[" q("Is some " $2 " to be seen anywhere?", "yes", "no", "exist") "," q("Which thing is new, " $2 " or stone?", $2, "stone", "identity") "," q("Is it raining?", "no", "yes", "absent") "]")
      if (NR % 6) say("local", "Here: " q("Would you say that this is a " $2 "?", "yes", "no", "exist") " and " q("Does a " $2 " look like that?", "yes", "no", "absent"))
      else say("local", "no idea") }' "$t/list" >"$t/ask.jsonl"
ask() { run=$1; shift; "$vismin" ask "$t/$run" --llm-questions 2 --void-limit 1 --llm "replay:$t/answers.jsonl" "$@" 2>"$t/err"; }
cp "$t/ask.jsonl" "$t/answers.jsonl"; cp -r "$t/base" "$t/keys"; ask keys --explain >"$t/out"; check asked 0 $?
for c in Q04 Q05; do has rejected_$c $c "$(cat "$t/out")"; done
# of every question: A to one order of the choices, B to the other: right twice where the right choice is A in the first
journal keys ask_judge | field k | sort -u | while read -r k; do
    printf '{"key":"%s","try":0,"text":"{\\"answer\\":\\"A\\"}"}\n{"key":"%s","try":1,"text":"B) that"}\n' "$k" "$k"
done >>"$t/answers.jsonl"
chain() { magic $1 "$2" --quiet && ask $1 "$2" --quiet; }
cp -r "$t/base" "$t/one"; cp -r "$t/base" "$t/two"
chain one --threads=1; check chain 0 $?; chain two --threads=1
want=$(bytes one); check same_bytes "$want" "$(bytes two)"
judged=$(records one ask_judge | wc -l) good=$(records one ask_judge | grep -c '"keep":true'); [ $((4 * good)) -gt "$judged" ] && [ $((4 * good)) -lt $((3 * judged)) ]; check judge_keeps_some 0 $?
check judged_once "$judged" "$(journal one ask_judge | grep '"why":{"inconsistent":1}' | wc -l | awk -v g="$good" '{ print $1 + g }')"
check asked_kept "$good" "$(records one ask | grep -o 'to be seen anywhere?\|Which thing is new\|Would you say that\|look like that' | wc -l | tr -d ' ')"
check at_most_8 0 "$(records one ask | sed 's/"local".*//' | awk '{ if (gsub(/"question":/, "") > 8) bad++ } END { print bad + 0 }')"

# killed in every stage
cp -r "$t/base" "$t/killed"; sed 's/}$/,"delay_ms":3}/' "$t/answers.jsonl" >"$t/slow.jsonl"
for lines in 1 2 4 6 9; do # of each journal
    "$vismin" magic "$t/killed" --llm "replay:$t/magic.jsonl" --void-limit 1 --quiet 2>/dev/null & pid=$!
    kill_at $lines $pid "$t/killed/magic/part-*.jsonl"
    "$vismin" ask "$t/killed" --llm-questions 2 --void-limit 1 --llm "replay:$t/slow.jsonl" --quiet 2>/dev/null & pid=$!
    kill_at $lines $pid "$t/killed/ask*/part-*.jsonl"
done
magic killed --quiet; "$vismin" ask "$t/killed" --llm-questions 2 --void-limit 1 --llm "replay:$t/slow.jsonl" --quiet 2>"$t/err"; check killed_status 0 $?
for s in magic ask_llm ask; do check killed_$s "$(records one $s | sha256sum)" "$(records killed $s | sha256sum)"; done
cp -r "$t/base" "$t/parts"; magic parts --quiet; for i in 1 0; do ask parts --shard $i/2 --quiet; done
for s in ask_llm ask; do check shards_$s "$(records one $s | sha256sum)" "$(records parts $s | sha256sum)"; done
cp -r "$t/base" "$t/any"; ask any --shard any/3 --quiet; check any_part "$(records one ask | sha256sum)" "$(records any ask | sha256sum)"
"$vismin" check "$t/one" >"$t/out" 2>"$t/err"; check whole 0 $?

# another configuration; other questions are other results
magic one --shots 3; check changed_magic 3 $?; has changed_magic_words '"decoding" was ' "$(err)"
"$vismin" ask "$t/one" 2>"$t/err"; check changed_ask 3 $?; has changed_ask_words '"questions" was 2 and is 0 now' "$(err)"
"$vismin" ask "$t/one" --new-run 2>"$t/err"; check anew 0 $?; check anew_templates "$(records run ask | sha256sum)" "$(records one ask | sha256sum)"

# the published layouts and back
for s in magic ask; do
    "$vismin" export "$t/two" $s --out "$t/$s.json" 2>"$t/err"; "$vismin" import "$t/back" $s "$t/$s.json" 2>"$t/err"; check import_$s 0 $?
    "$vismin" export "$t/back" $s --out "$t/$s.again" 2>"$t/err"; check round_trip_$s "$(sha256sum <"$t/$s.json")" "$(sha256sum <"$t/$s.again")"
done
has published_questions '"generated_questions_region_caption":[{"question":"' "$(cat "$t/ask.json")"; has published_answer '"answer":"' "$(cat "$t/ask.json")"

# layouts: by name, and what has room in the text encoder
"$vismin" layout "$t/plans" --quota 5 --seed 2 --quiet; "$vismin" ask "$t/plans" --quiet 2>"$t/err"; check of_layouts 10 "$(journal plans ask | wc -l | tr -d ' ')"
has of_relations '"kind":"relation"' "$(journal plans ask)"; has of_objects '"objects":[{"name":"' "$(journal plans ask)"
"$vismin" ask "$t/plans" --of edits 2>"$t/err"; check no_edits 3 $?
"$vismin" layout "$t/plans" --quota 5 --seed 2 --quiet
records plans layout | sed 's/.*"layout_id":"\([^"]*\)".*"name":"\([^"]*\)".*/\1:\2|\2/' | awk -F '|' '{ print }' >"$t/names"
awk -F '|' '{ b = $2; sub(/^an? /, "", b); printf "{\"key\":\"%s\",\"text\":\"{\\\"enhanced\\\":[\\\"a fine %s\\\",\\\"a rather large %s\\\"]}\"}\n", $1, b, b }' "$t/names" >"$t/named.jsonl"
fit() { rm -rf "$t/plans/magic"; "$vismin" magic "$t/plans" --llm "replay:$t/named.jsonl" --void-limit 1 --new-run "$@" 2>"$t/err"; }
fit; has named '"name":"' "$(records plans magic)"; check two_versions 0 "$(records plans magic | grep -vc ', a fine .*, a rather large ')"
fit --tokenizer weights/tiny/clip-plain --tokens 15 --explain >"$t/out"; has no_room 'no_room' "$(cat "$t/out")"
check bad_tokenizer 3 "$(fit --tokenizer "$t/none" >/dev/null; echo $?)"
exit $all
