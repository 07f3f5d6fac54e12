#!/bin/sh
# cli_blip.sh - `vismin eval` with the two heads of a BLIP: scores of transformers, batches, the picture cache, resume, usage.
vismin=${VISMIN:-build/vismin}
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
all=0 m=tests/golden/blip/hf
check() { if [ "$2" = "$3" ]; then echo "ok cli_blip.$1"; else echo "FAIL cli_blip.$1"; all=1; printf 'want %s\ngot  %s\n' "$2" "$3" >&2; fi; }
has() { case $3 in *"$2"*) echo "ok cli_blip.$1" ;; *) echo "FAIL cli_blip.$1"; all=1; printf '%s\nlacks %s\n' "$3" "$2" >&2 ;; esac; }
ev() { "$vismin" eval "$m" --dtype f32 --quiet "$@" 2>"$t/err"; }
# the number of scores of two tables that differ by more than 2e-5 (1 + |want|); rows by id, in any order
differ() {
    awk -F, 'function far(a, b) { d = a - b; if (d < 0) d = -d; if (b < 0) b = -b; return !(d <= 2e-5 * (1 + b)) }
        NR == FNR { for (k = 2; k <= 5; k++) want[$1, k] = $k; n++; next }
        $2 != "id" { for (k = 3; k <= 6; k++) bad += far($k, want[$2, k - 1]); n-- }
        END { print bad + 0, n }' "$1" "$2"
}
for head in itc itm; do
    ev --head $head --data tests/golden/scene --out "$t/$head" >"$t/table"; check ${head}_status 0 $?
    name=hf; [ $head = itm ] && name=hf-itm
    check ${head}_scores '0 0' "$(differ $m/$head.csv "$t/$head/vismin/$name/predictions.csv")"
    has ${head}_said "\"head\": \"$head\"" "$(cat "$t/$head/vismin/$name/results.json")"
    has ${head}_title "$name on vismin" "$(cat "$t/table")"
done
ev --data tests/golden/scene --out "$t/default" >/dev/null
check itc_is_the_default "$(cat "$t/itc/vismin/hf/predictions.csv")" "$(cat "$t/default/vismin/hf/predictions.csv")"

# more pictures than are kept, in blocks of many sizes, and some of them again
"$vismin" scene --out "$t/bench" --pairs 12 --quiet || exit 1
ev --head itm --data "$t/bench" --out "$t/one" --batch 1 >/dev/null
ev --head itm --data "$t/bench" --out "$t/many" --batch 48 >/dev/null
cut -d, -f2- "$t/one/vismin/hf-itm/predictions.csv" >"$t/want"
check batches '0 1' "$(differ "$t/want" "$t/many/vismin/hf-itm/predictions.csv")" # 1: the line of names

# an interrupted run goes on; scores of another head do not mix in
s=$t/many/vismin/hf-itm/samples.jsonl
head -20 "$s" >"$t/cut" && cp "$t/cut" "$s" && cp "$t/many/vismin/hf-itm/predictions.csv" "$t/before"
ev --head itm --data "$t/bench" --out "$t/many" --batch 5 >/dev/null; check resume_status 0 $?
tail -n +2 "$t/before" | cut -d, -f2- >"$t/want"
check resume '0 0' "$(differ "$t/want" "$t/many/vismin/hf-itm/predictions.csv")"
check resume_keeps "$(cat "$t/cut")" "$(head -20 "$s")"
ev --head itc --name hf-itm --data "$t/bench" --out "$t/many" >/dev/null; check other_head_status 3 $?
has other_head 'holds scores of another model or of other options' "$(cat "$t/err")"

# choices: the probabilities of itm give the numbers of VALSE that need one, cosines do not
mkdir "$t/valse" && cp -r tests/golden/scene/original_images "$t/valse/images"
printf '{"a":{"image_file":"object_0000.png","caption":"a red fish","foil":"a red ball","mturk":{"caption":3}},
"b":{"image_file":"attribute_0000.png","caption":"a tree","foil":"two trees","mturk":{"caption":3}}}' >"$t/valse/existence.json"
p_c() { grep -A1 '"name": "p_c"' "$1" | grep -o '"value": .*' | sort -u | tr '\n' ' '; }
ev --head itm --dataset valse_v2 --data "$t/valse" --json >"$t/json"; check valse_itm '"value": 0.5, ' "$(p_c "$t/json")"
ev --head itc --dataset valse_v2 --data "$t/valse" --json >"$t/json"; check valse_itc '"value": null, ' "$(p_c "$t/json")"

# a picture that cannot be read
printf junk >"$t/bench/edited_images/$(sed -n '2{s/.*,\([^,]*\.png\),.*/\1/;p;}' "$t/bench/object.csv")"
ev --head itm --data "$t/bench/object.csv" --json >"$t/json"; check broken_status 1 $?
has broken '"n_skipped": 1' "$(cat "$t/json")"

ev --head both --data "$t/bench" >/dev/null; check head_status 2 $?
has head_words 'expected itc or itm' "$(cat "$t/err")"
m=random; ev --head itm --data "$t/bench" >/dev/null; check random_status 2 $?
has random 'random is no model with heads' "$(cat "$t/err")"
exit $all
