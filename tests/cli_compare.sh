#!/bin/sh
# cli_compare.sh - `vismin compare`: counts against the samples, a model against itself, choices, published values, results
# that do not belong together.
vismin=${VISMIN:-build/vismin}
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
all=0
ok() { echo "ok cli_compare.$1"; }
bad() { echo "FAIL cli_compare.$1"; all=1; shift; printf '%s\n' "$@" >&2; }
check() { if [ "$2" = "$3" ]; then ok "$1"; else bad "$1" "want $2" "got  $3"; fi; } # NAME WANT GOT
has() { case $3 in *"$2"*) ok "$1" ;; *) bad "$1" "$3" "lacks $2" ;; esac; }         # NAME WORDS GOT
cmpr() { "$vismin" compare "$@" 2>"$t/err"; }
"$vismin" scene --out "$t/bench" --pairs 12 --quiet || exit 1
ev() { "$vismin" eval "$@" --data "$t/bench" --out "$t/r" --quiet >/dev/null 2>&1; }
ev random --seed 1 --name one; ev random --seed 2 --name two; ev oracle; ev constant
r=$t/r/vismin

cmpr "$r/one" "$r/two" >"$t/out"; check status 0 $?
# text, image, group of the lines of samples.jsonl, joined by their places: the same data in the same order
for m in one two; do sed -n '2,$s/.*"split":"\([a-z]*\)".*"text":\([a-z]*\),"image":\([a-z]*\),"group":\([a-z]*\).*/\1 \2 \3 \4/p' "$r/$m/samples.jsonl" >"$t/$m"; done
check lines 48 "$(wc -l <"$t/one" | tr -d ' ')"
want=$(paste -d' ' "$t/one" "$t/two" | awk '$1 == "object" { a += $2 == "true"; b += $6 == "true"; x += $2 == "true" && $6 != "true"; y += $6 == "true" && $2 != "true" }
    END { printf "%.2f %.2f %d %d", 100 * a / 12, 100 * b / 12, x, y }')
check counts "$want" "$(awk '$1 == "object" && $2 == "text" { print $4, $5, $(NF - 2), $(NF - 1) }' "$t/out")"
want=$(paste -d' ' "$t/one" "$t/two" | awk '$2 != $6 || $3 != $7 || $4 != $8' | wc -l | tr -d ' ')
has changed "$want items changed" "$(cat "$t/out")"
cmpr "$r/one" "$r/two" --json >"$t/json"; check json_changed "$want" "$(grep -c '"id"' "$t/json")"
cmpr "$r/two" "$r/one" >"$t/back"
check turned_round "$(awk '$2 == "group" && $1 == "counting" { print $4, $5, $(NF - 2), $(NF - 1) }' "$t/out")" \
    "$(awk '$2 == "group" && $1 == "counting" { print $5, $4, $(NF - 1), $(NF - 2) }' "$t/back")"
cmpr "$r/one" "$r/one" >"$t/out"
has itself '0 items changed' "$(cat "$t/out")"
has itself_difference '+0.00 [+0.0, +0.0]' "$(grep 'mean of splits' "$t/out" | head -1)"
cmpr "$r/constant" "$r/oracle" >"$t/out"
check extremes '12 0.00 100.00 0 12 0.00049' "$(awk '$1 == "relation" && $2 == "image" { print $3, $4, $5, $(NF - 2), $(NF - 1), $NF }' "$t/out")"
check extremes_all '+100.00' "$(awk '/^all items/ && $3 == "group" { print $7 }' "$t/out")"
check show_none 0 "$(cmpr "$r/constant" "$r/oracle" --show 0 | grep -c 'wrong')"

# --- items that only one has ---
mkdir "$t/part"; cp "$t/bench"/*.csv "$t/part/"; sed -i '3d' "$t/part/object.csv"; sed -i '2s/,a /,no /' "$t/part/relation.csv"
"$vismin" eval oracle --data "$t/part" --images "$t/bench" --out "$t/p" --quiet >/dev/null 2>&1
cmpr "$r/one" "$t/p/vismin/oracle" >"$t/out"
has left_out 'left out: 2 items that only A has, 1 that only B has' "$(cat "$t/out")"
check common 46 "$(sed -n 's/^vismin: \([0-9]*\) items.*/\1/p' "$t/out")"

# --- choices ---
printf '{"id":"a","image":"original_images/object_0000.png","captions":["x","y"],"label":0}\n{"id":"b","image":"original_images/object_0001.png","captions":["x","y"],"label":1}\n' >"$t/bench/c.jsonl"
for m in oracle constant; do "$vismin" eval $m --dataset choice --data "$t/bench/c.jsonl" --out "$t/c" --quiet >/dev/null 2>"$t/err" || cat "$t/err" >&2; done
cmpr "$t/c/choice/constant" "$t/c/choice/oracle" >"$t/out"; check choices 0 $?
check choices_row '2 0.00 100.00 0 2 0.5' "$(awk '$2 == "accuracy" { print $3, $4, $5, $(NF - 2), $(NF - 1), $NF }' "$t/out" | head -1)"

# --- published values ---
has list 'vismin-clip          winoground' "$(cmpr --expect list)"
cmpr "$r/oracle" --expect clip-b32 >"$t/out"; check off_status 1 $?
has off '0 of 12 values agree' "$(cat "$t/out")"
cmpr "$r/oracle" --expect clip-b32 --tolerance 100 >/dev/null; check wide 0 $?
printf 'dataset,split,metric,value\nvismin,object,text,99.5\nvismin,mean,group,100\nvismin,all,image,100\nother,x,y,1\n' >"$t/e.csv"
cmpr "$r/oracle" --expect "$t/e.csv" >"$t/out"; check table 0 $?
has table_agrees '3 of 3 values agree' "$(cat "$t/out")"
cmpr "$r/oracle" --expect "$t/e.csv" --tolerance 0.4 --json >"$t/json"; check narrow 1 $?
has narrow_json '"n_off": 1' "$(cat "$t/json")"
printf 'split,metric,value\ncolour,text,1\n' >"$t/e.csv"
cmpr "$r/oracle" --expect "$t/e.csv" >"$t/out"; check no_split 1 $?
has no_split_said 'not in the results' "$(cat "$t/out")"
printf 'split,metric,value\nobject,text,much\n' >"$t/e.csv"
cmpr "$r/oracle" --expect "$t/e.csv" >/dev/null; check bad_value 3 $?
has bad_value_said 'e.csv:2: value much: expected a number' "$(cat "$t/err")"
printf 'split,value\nobject,1\n' >"$t/e.csv"
cmpr "$r/oracle" --expect "$t/e.csv" >/dev/null; check no_column 3 $?
cmpr "$r/oracle" --expect clip-b33 >/dev/null; check no_name 2 $?
has no_name_said 'did you mean clip-b' "$(cat "$t/err")"

# --- what does not belong together ---
cmpr "$r/one" "$t/c/choice/oracle" >/dev/null; check other_data 2 $?
has other_data_said 'is of the data set vismin and' "$(cat "$t/err")"
ev oracle --metric mmvp --name pair
cmpr "$r/oracle" "$r/pair" >/dev/null; check other_metric 2 $?
has other_metric_said 'run eval with the same --metric' "$(cat "$t/err")"
cmpr "$r/one" >/dev/null; check one_folder 2 $?
cmpr "$r/one" "$t/bench" >/dev/null; check no_results 3 $?
cmpr "$r/one" "$r/two" --expect clip-b32 >/dev/null; check two_and_expect 2 $?
exit $all
