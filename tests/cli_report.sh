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
"$vismin" report "$t/r" --control random --log "base=$t/log.jsonl" --pairs 2 --out "$t/report" 2>"$t/err"; check status 0 $?
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
cksum <"$t/report/index.html" >"$t/a"
"$vismin" report "$t/r" --control random --log "base=$t/log.jsonl" --pairs 2 --out "$t/report" --quiet
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
