#!/bin/sh
# cli_report.sh - `vismin report`: pages of results, captions that would like to be markup, folders without results.
vismin=${VISMIN:-build/vismin}
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
all=0
check() { # NAME WANT GOT
    if [ "$2" = "$3" ]; then echo "ok cli_report.$1"; else echo "FAIL cli_report.$1"; all=1; printf 'want %s\ngot  %s\n' "$2" "$3" >&2; fi
}
has() { # NAME WORDS GOT
    case $3 in *"$2"*) echo "ok cli_report.$1" ;; *) echo "FAIL cli_report.$1"; all=1; printf '%.600s\nlacks %s\n' "$3" "$2" >&2 ;; esac
}
"$vismin" scene --out "$t/bench" --pairs 4 --quiet
sed -i '2s/,a /,"a <script>alert(1)<\/script> \& ""b"" /;2s/,object_0000.png,/",object_0000.png,/' "$t/bench/object.csv"
for m in oracle random constant; do "$vismin" eval $m --data "$t/bench" --out "$t/r" --quiet >/dev/null; done
printf '{"step":1,"loss":5}\n{"step":2,"loss":3}\n' >"$t/log.jsonl"
"$vismin" report "$t/r" --control random --log "base=$t/log.jsonl" --items 2 --out "$t/report" 2>"$t/err"; check status 0 $?
html=$(cat "$t/report/index.html")
check pairs 8 "$(grep -c '<article' "$t/report/index.html")"
check no_script 0 "$(grep -c '<script' "$t/report/index.html")"
has escaped '&lt;script&gt;alert(1)&lt;/script&gt;' "$html"
has differences 'Against the control' "$html"
has curves '>Loss<' "$html"
has control_first 'The control is random' "$html"
check nothing_from_outside '' "$(grep -o 'https*://[^" ]*' "$t/report/index.html" | grep -v www.w3.org/2000/svg)"
missing=$(grep -o 'src="[^"]*"' "$t/report/index.html" | sed 's/src="//;s/"//' | sort -u | while read -r f; do [ -s "$t/report/$f" ] || echo "$f"; done)
check pictures '' "$missing"
"$vismin" report "$t/r/vismin/oracle" --out "$t/one" --quiet; check one_model 0 $?
check one_model_page 0 "$(grep -c 'Against the control' "$t/one/index.html")"
# --- worst first: each evaluation brings such a page, choices as well ---
one=$t/r/vismin/random/report/index.html
check eval_page 16 "$(grep -c '<article' "$one")"
"$vismin" eval random --data "$t/bench" --out "$t/w" --worst 2 --quiet >/dev/null
awk -F, 'NR > 1 { m = $3 - $5; if ($6 - $4 < m) m = $6 - $4; if ($3 - $4 < m) m = $3 - $4; if ($6 - $5 < m) m = $6 - $5
    if (!($1 in low) || m < low[$1]) { low[$1] = m; at[$1] = $3 } } END { for (c in at) printf "%.3f\n", at[c] }' "$t/w/vismin/random/predictions.csv" | sed 's/0\././' | sort >"$t/want"
tr '<' '\n' <"$t/w/vismin/random/report/index.html" | awk '/^summary/ { first = 1 } /^td class="own">/ && first { sub(/.*>/, ""); print; first = 0 }' | sort >"$t/got"
check worst_first "$(cat "$t/want")" "$(cat "$t/got")"
"$vismin" eval random --data "$t/bench" --out "$t/w0" --worst 0 --quiet >/dev/null; check no_page '' "$(ls "$t/w0/vismin/random" | grep report)"
awk 'BEGIN { for (i = 0; i < 3; i++) printf "{\"id\":\"c%d\",\"image\":\"object_000%d.png\",\"captions\":[\"a cat & a <b>dog</b>\",\"a cat and a cow\",\"rain\"],\"label\":0}\n", i, i }' >"$t/choice.jsonl"
printf '{"id":"p","images":["object_0000.png","object_0001.png"],"caption":"this one","label":1}\n' >"$t/pick.jsonl"
for m in oracle random; do "$vismin" eval $m --dataset choice --data "$t/choice.jsonl" --images "$t/bench/original_images" --out "$t/c" --quiet >/dev/null; done
"$vismin" report "$t/c" --control random --out "$t/choices" --order worst --quiet; check choices_status 0 $?
html=$(cat "$t/choices/index.html")
check choices 3 "$(grep -c '<article' "$t/choices/index.html")"
has choices_marked '<span class="y">✓</span> a cat <mark>&amp;' "$html"
"$vismin" eval oracle --dataset choice --data "$t/pick.jsonl" --images "$t/bench/original_images" --out "$t/p" --quiet >/dev/null
has pictures_chosen 'picture 1, the right one' "$(cat "$t/p/choice/oracle/report/index.html")"
"$vismin" report "$t/r" --order best --out "$t/x" 2>"$t/err"; check order_status 2 $?
has order_said 'expected differing or worst' "$(cat "$t/err")"
cksum <"$t/report/index.html" >"$t/a"
"$vismin" report "$t/r" --control random --log "base=$t/log.jsonl" --items 2 --out "$t/report" --quiet
check same_again "$(cat "$t/a")" "$(cksum <"$t/report/index.html")"
vismin=$(realpath "$vismin")
(cd "$t" && "$vismin" eval oracle --data bench --out relative --quiet >/dev/null)
"$vismin" report "$t/relative" --out "$t/elsewhere" --quiet
check paths_mean_the_same_anywhere 0 "$(grep -c 'cannot be read' "$t/elsewhere/index.html")"
rm -r "$t/bench/edited_images"
"$vismin" report "$t/r" --out "$t/gone" --quiet; check pictures_gone 0 $?
has pictures_gone_said 'picture cannot be read' "$(cat "$t/gone/index.html")"
"$vismin" report "$t/bench" --out "$t/x" 2>"$t/err"; check no_results_status 3 $?
has no_results 'no results.json here' "$(cat "$t/err")"
"$vismin" report "$t/r" --control nobody --out "$t/x" 2>"$t/err"; check no_control_status 2 $?
has no_control 'no such model' "$(cat "$t/err")"
"$vismin" report "$t/r" --log "x=$t/none" --out "$t/y" 2>"$t/err"; check no_log_status 3 $?
check no_half_page 0 "$(ls "$t/y" | grep -c index)"
sed -i '3d' "$t/r/vismin/oracle/samples.jsonl"
"$vismin" report "$t/r" --out "$t/x" 2>"$t/err"; check missing_sample_status 3 $?
has missing_sample '1 of its records are not in samples.jsonl' "$(cat "$t/err")"
exit $all
