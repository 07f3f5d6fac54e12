#!/bin/sh
# cli_vet.sh - `vismin vet`: votes, majorities, demonstrations near to the case; then export, import and check of edits and verdicts.
vismin=${VISMIN:-build/vismin}
t=$(mktemp -d /dev/shm/cli_vet.XXXXXX 2>/dev/null || mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
all=0
check() { # NAME WANT GOT
    if [ "$2" = "$3" ]; then echo "ok cli_vet.$1"; else echo "FAIL cli_vet.$1"; all=1; printf 'want %s\ngot  %s\n' "$2" "$3" >&2; cat "$t/err" >&2; fi
}
has() { # NAME WORDS GOT
    case $3 in *"$2"*) echo "ok cli_vet.$1" ;; *) echo "FAIL cli_vet.$1"; all=1; printf '%.900s\nlacks %s\n' "$3" "$2" >&2 ;; esac
}
# edits of the published layout, with ids of eight digits as there
cat >"$t/edits.json" <<'END'
{"10": {"A dog runs on the lawn.": [
   {"input_phrase": "dog", "edited_phrase": "cat", "edited_caption": "A cat runs on the lawn.", "edited_region_phrase": "A cat", "category": "object", "edit_id": "aaaaaaa1"},
   {"input_phrase": "dog", "edited_phrase": "puppy", "edited_caption": "A puppy runs on the lawn.", "edited_region_phrase": "A puppy", "category": "object", "edit_id": "aaaaaaa2"}]},
 "9": {"A red kite flies.": [
   {"input_phrase": "red kite", "edited_phrase": "blue kite", "edited_caption": "A blue kite flies.", "edited_region_phrase": "A blue kite", "category": "attribute(color)", "edit_id": "aaaaaaa3"},
   {"input_phrase": "red kite", "edited_phrase": "green kite", "edited_caption": "A green kite flies.", "edited_region_phrase": "A green kite", "category": "attribute(color)", "edit_id": "aaaaaaa4"},
   {"input_phrase": "red kite", "edited_phrase": "torn kite", "edited_caption": "A torn kite flies.", "edited_region_phrase": "A torn kite", "category": "attribute(state)", "edit_id": "aaaaaaa5"}]}}
END
"$vismin" import "$t/run" instruct "$t/edits.json" 2>"$t/err"; check import 0 $?
has imported '2 ok with 5 records' "$(cat "$t/err")"
"$vismin" export "$t/run" instruct >"$t/back.json" 2>"$t/err"; check round_trip 0 $?
for f in edits back; do tr -d ' \n' <"$t/$f.json" >"$t/$f.flat"; done; check same_edits "$(cat "$t/edits.flat")" "$(cat "$t/back.flat")"

# a1: nine times yes; a2: no; a3: five of nine and the rest nothing; a4: two thirds of those that say something; a5: mostly nothing
yes='{\"reason\":\"fine\",\"verdict\":\"accept\",\"violated\":[]}' no='Well: {"reason": "same thing", "verdict": "REJECT.", "violated": ["similar", "nonsense", "Count"]}'
no=$(printf %s "$no" | sed 's/"/\\"/g')
answer() { echo "{\"key\":\"$1\",\"try\":$2,\"sample\":$3,\"text\":\"$4\"}"; }
for p in 0 1 2; do for s in 0 1 2; do
    answer aaaaaaa1 $p $s "$yes"; answer aaaaaaa2 $p $s "$no"
    answer aaaaaaa3 $p $s "$([ $((3 * p + s)) -lt 5 ] && echo "$yes" || echo 'no idea')"
    answer aaaaaaa4 $p $s "$([ $s -lt 2 ] && echo "$yes" || echo "$no")"
    answer aaaaaaa5 $p $s "$([ $((3 * p + s)) -lt 4 ] && echo "$yes" || echo '{"verdict":"maybe"}')" | sed 's/{"verdict":"maybe"}/{\\"verdict\\":\\"maybe\\"}/'
done; done >"$t/answers.jsonl"
vet() { "$vismin" vet "$t/run" --llm "replay:$t/answers.jsonl" "$@" 2>"$t/err"; }
vet --stats-json "$t/stats.json"; check status 0 $?
verdict() { grep "\"k\":\"$1\"" "$t/run/vet/part-0000-of-0001.jsonl" | tail -n 1 | sed "s/.*\"verdict\":\"\([a-z]*\)\".*\"votes\":\({[^}]*}\).*\"violated\":\(\[[^]]*\]\).*/\1 \2 \3/"; }
check accepted 'accept {"accept":9,"reject":0,"void":0} []' "$(verdict aaaaaaa1)"
check rejected 'reject {"accept":0,"reject":3,"void":0} ["count","similar"]' "$(verdict aaaaaaa2)"
check voids_abstain 'accept {"accept":5,"reject":0,"void":4} []' "$(verdict aaaaaaa3)"
check below 'reject {"accept":6,"reject":3,"void":0} ["count","similar"]' "$(verdict aaaaaaa4)"
check undecided 'undecided {"accept":4,"reject":0,"void":5} []' "$(verdict aaaaaaa5)"
has early '"reason":"same thing"' "$(grep aaaaaaa2 "$t/run/vet/part-0000-of-0001.jsonl" | tail -n 1)"
check settled_early 1 "$(grep -c '"k":"aaaaaaa2"' "$t/run/vet/part-0000-of-0001.jsonl")"
has stats '"void": 1' "$(cat "$t/stats.json")"
vet --accept-if 0.66; check other_threshold 3 $?; has other_threshold_words '"accept_if" was 0.67 and is 0.66 now' "$(cat "$t/err")"
vet --accept-if 0.66 --new-run; check lower_threshold 'accept {"accept":6,"reject":3,"void":0} ["count","similar"]' "$(verdict aaaaaaa4)"
vet --new-run; check again 0 $?
"$vismin" export "$t/run" vet | tr -d ' \n' >"$t/out"
check published '{"10":{"aaaaaaa1":{"reject":"NO","output":"fine"},"aaaaaaa2":{"reject":"YES","output":"samething"}},"9":{"aaaaaaa3":{"reject":"NO","output":"fine"},"aaaaaaa4":{"reject":"YES","output":"samething"}}}' "$(cat "$t/out")"
"$vismin" export "$t/run" vet --out "$t/vet.json" && "$vismin" import "$t/other" instruct "$t/edits.json" --quiet && "$vismin" import "$t/other" vet "$t/vet.json" --quiet
"$vismin" export "$t/other" vet | cmp -s - "$t/vet.json"; check verdicts_round_trip 0 $?
"$vismin" check "$t/other" >"$t/out" 2>"$t/err"; check whole 0 $?

# demonstrations: as many of both verdicts, near to the case, other ones and another order for another try
"$vismin" vet "$t/run" --show-prompt >"$t/shown" 2>"$t/err"
sed -n '/Answer with one JSON object/q;p' "$t/shown" >/dev/null
check balanced '8 8' "$(grep -c '"verdict":"accept"' "$t/shown") $(grep -c '"verdict":"reject"' "$t/shown")"
has near 'A red kite flies above the beach.' "$(cat "$t/shown")"

# what leads nowhere
sed 's/aaaaaaa1/bbbbbbb1/' "$t/vet.json" >"$t/orphan.json"; "$vismin" import "$t/lost" instruct "$t/edits.json" --quiet; "$vismin" import "$t/lost" vet "$t/orphan.json" --quiet
"$vismin" check "$t/lost" >"$t/out" 2>"$t/err"; check orphan 1 $?; has orphan_words 'vet: bbbbbbb1 of unit bbbbbbb1 is of no record that there is' "$(cat "$t/out")"
has check_json '"problems":["vet: bbbbbbb1' "$("$vismin" check "$t/lost" --json 2>"$t/err")"
echo '{"image_id":"10","caption":"A dog runs on the lawn."}' >"$t/run/captions.jsonl"; "$vismin" check "$t/run" >"$t/out" 2>"$t/err"; has no_picture 'aaaaaaa3 is of picture 9, which has no caption' "$(cat "$t/out")"
"$vismin" import "$t/run" instruct "$t/vet.json" 2>"$t/err"; check other_import 3 $?
echo '{"1":[]}' >"$t/bad.json"; "$vismin" import "$t/bad" instruct "$t/bad.json" 2>"$t/err"; check bad_import 3 $?; has bad_import_words 'bad.json:1: 1: found no object' "$(cat "$t/err")"
"$vismin" export "$t/run" nothing 2>"$t/err"; check export_usage 2 $?; "$vismin" export "$t/bad2" vet 2>"$t/err"; check export_nothing 3 $?
"$vismin" vet "$t/bad" --llm none 2>"$t/err"; check no_edits 3 $?
"$vismin" check "$t" 2>"$t/err"; check no_run 3 $?
exit $all
