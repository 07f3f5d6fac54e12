#!/bin/sh
# cli_classify.sh - `vismin eval classify`: against the definition computed from the vectors of `vismin embed`; folders by
# name, key and order; tables; templates; pictures and files in bad shape.
vismin=${VISMIN:-build/vismin}
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
all=0
ok() { echo "ok cli_classify.$1"; }
bad() { echo "FAIL cli_classify.$1"; all=1; shift; printf '%s\n' "$@" >&2; }
check() { if [ "$2" = "$3" ]; then ok "$1"; else bad "$1" "want $2" "got  $3"; fi; } # NAME WANT GOT
has() { case $3 in *"$2"*) ok "$1" ;; *) bad "$1" "$3" "lacks $2" ;; esac; }         # NAME WORDS GOT
"$vismin" train clip --scratch world --data world:plain --steps 1 --batch 4 --out "$t/run" --quiet 2>"$t/err" || { cat "$t/err" >&2; exit 1; }
m=$t/run/model # knows nothing, so that all ranks occur
"$vismin" scene --out "$t/s" --scenes 40 --max-objects 1 --quiet || exit 1
mkdir "$t/d"
sed 's/.*"image_path":"\([^"]*\)".*"class":"\([a-z]*\)".*/\1 \2/' "$t/s/scenes.jsonl" >"$t/list"
while read -r f c; do mkdir -p "$t/d/$c"; cp "$t/s/$f" "$t/d/$c/"; done <"$t/list"
cut -d' ' -f2 "$t/list" | sort -u >"$t/names"
printf 'a large red {}\na small {}\n\na {}\n' >"$t/prompts"
n=$(wc -l <"$t/list" | tr -d ' ') k=$(wc -l <"$t/names" | tr -d ' ')
cl() { "$vismin" eval classify "$m" --dtype f32 --deterministic "$@" 2>"$t/err"; }

cl --data "$t/d" --classes "$t/names" --templates "$t/prompts" --out "$t/r" >"$t/table"; check status 0 $?
r=$t/r/classification/model
check predictions $((n + 1)) "$(wc -l <"$r/predictions.csv" | tr -d ' ')"
check confusion_all "$n" "$(tail -n +2 "$r/confusion.csv" | cut -d, -f2- | tr ',' '\n' | awk '{ n += $1 } END { print n }')"
check confusion_square "$((k + 1)) $((k + 1))" "$(wc -l <"$r/confusion.csv" | tr -d ' ') $(head -1 "$r/confusion.csv" | tr ',' '\n' | wc -l | tr -d ' ')"
has table "top-1                         $n" "$(cat "$t/table")"
has weakest 'weakest classes' "$(cat "$t/table")"

# --- the definition ---
set --
while read -r c; do while read -r p; do [ "$p" ] && set -- "$@" --texts "$(echo "$p" | sed "s/{}/$c/")"; done <"$t/prompts"; done <"$t/names"
"$vismin" embed "$m" $(cut -d, -f1 "$r/predictions.csv" | tail -n +2) "$@" --out - --dtype f32 --deterministic 2>/dev/null |
    sed 's/.*"embedding":\[//; s/\]}//' | tr ',' ' ' >"$t/v"
tail -n +2 "$r/predictions.csv" | cut -d, -f2 | awk 'NR == FNR { at[$1] = NR; next } { print at[$1] }' "$t/names" - >"$t/labels"
awk -v n="$n" -v k="$k" 'FILENAME ~ /labels$/ { label[FNR] = $1; next }
    FNR <= n { for (d = 1; d <= NF; d++) p[FNR, d] = $d; E = NF; next }
    { c = int((FNR - n - 1) / 3) + 1; for (d = 1; d <= NF; d++) s[c, d] += $d }
    END { for (c = 1; c <= k; c++) { q = 0; for (d = 1; d <= E; d++) q += s[c, d] ^ 2; for (d = 1; d <= E; d++) s[c, d] /= sqrt(q) }
        for (i = 1; i <= n; i++) { for (c = 1; c <= k; c++) { x[c] = 0; for (d = 1; d <= E; d++) x[c] += p[i, d] * s[c, d] }
            r = 1; for (c = 1; c <= k; c++) if (x[c] > x[label[i]] || (x[c] == x[label[i]] && c < label[i])) r++
            print r; one += r == 1; five += r <= 5; of[label[i]]++; right[label[i]] += r == 1 }
        for (c = 1; c <= k; c++) if (of[c]) { mean += right[c] / of[c]; classes++ }
        printf "%.2f %.2f %.2f\n", 100 * one / n, 100 * five / n, 100 * mean / classes }' "$t/labels" "$t/v" >"$t/want"
check ranks "$(sed '$d' "$t/want" | tr '\n' ' ')" "$(tail -n +2 "$r/predictions.csv" | cut -d, -f4 | tr '\n' ' ')"
check shares "$(tail -1 "$t/want")" "$(sed -n '3,5s/.* \([0-9.]*\) |$/\1/p' "$r/table.md" | tr '\n' ' ' | sed 's/ $//')"
if sed '$d' "$t/want" | grep -qv '^1$'; then ok some_are_wrong; else bad some_are_wrong "all ranks are 1: nothing was tested"; fi

# --- other ways to say the same ---
core() { tail -n +2 "$1/classification/model/predictions.csv" | cut -d, -f1,4,5,6 | sed 's|.*/||' | sort; }
core "$t/r" >"$t/core"
same() { core "$2" >"$t/x"; if cmp -s "$t/core" "$t/x"; then ok "$1"; else bad "$1" "$(diff "$t/core" "$t/x" | head -5)"; fi; } # NAME OUT
cl --data "$t/d" --templates "$t/prompts" --out "$t/r2" >/dev/null; same without_classes "$t/r2"
mkdir "$t/o"; i=10
while read -r c; do i=$((i + 1)); cp -r "$t/d/$c" "$t/o/n$i"; printf 'n%d\t%s\n' $i "$c"; done <"$t/names" >"$t/keys"
cl --data "$t/o" --classes "$t/names" --templates "$t/prompts" --out "$t/r3" >/dev/null; same by_order "$t/r3"
has by_order_said 'taken in the order of their names' "$(cat "$t/err")"
sort -r "$t/keys" >"$t/keys_r"
cl --data "$t/o" --classes "$t/keys_r" --templates "$t/prompts" --out "$t/r4" >/dev/null; same by_key "$t/r4"
awk 'BEGIN { printf "[" } { printf "%s\"%s\"", (NR > 1 ? "," : ""), $1 } END { print "]" }' "$t/names" >"$t/names.json"
cl --data "$t/d" --classes "$t/names.json" --template 'a large red {}' --template 'a small {}' --template 'a {}' --out "$t/r5" >/dev/null
same json_classes "$t/r5"
(echo image,label; sed 's|original_images/||; s/ /,/' "$t/list") >"$t/a.csv"
cl --data "$t/a.csv" --images "$t/s" --images "$t/s/$(head -1 "$t/list" | sed 's|/.*||')" --classes "$t/names" --templates "$t/prompts" --out "$t/r6" >/dev/null
same table_by_name "$t/r6"
(echo file_name,target; awk 'NR == FNR { at[$1] = NR - 1; next } { print $1 "," at[$2] }' "$t/names" "$t/list") >"$t/b.csv"
cl --data "$t/b.csv" --images "$t/s" --classes "$t/names" --templates "$t/prompts" --out "$t/r7" >/dev/null; same table_by_number "$t/r7"
cl --data "$t/a.csv" --images "$t/s" --templates "$t/prompts" --out "$t/r8" >/dev/null; same table_without_classes "$t/r8"
cl --data "$t/d" --limit 1 --json >"$t/json"; check limit "$k" "$(sed -n 's/^  "n": \([0-9]*\),/\1/p' "$t/json")"
has default_template '"a photo of a {}."' "$(cat "$t/json")"
cl --data "$t/d" --embed-cache "$t/c" >/dev/null; cl --data "$t/d" --embed-cache "$t/c" >/dev/null
has cache "$((n + k)) vectors found, 0 added" "$(cat "$t/err")"
# two classes of one name tie: the first one is predicted, so nothing of the second is right
sed "2s/.*/$(head -1 "$t/names")/" "$t/names" >"$t/twins"
cl --data "$t/o" --classes "$t/twins" --out "$t/tw" >/dev/null
check twins 0.00 "$(sed -n 3p "$t/tw/classification/model/table.csv" | cut -d, -f3)"

# --- bad shape ---
cp -r "$t/d" "$t/e"; first=$(ls "$t/e" | head -1); : >"$t/e/$first/zero.png"; echo x >"$t/e/$first/readme.txt"
cl --data "$t/e" --out "$t/r9" >"$t/table"; check broken_status 1 $?
has broken 'zero.png' "$(cat "$t/err")"
has broken_count "top-1                         $n" "$(cat "$t/table")"
cl --data "$t/e" --on-error fail >/dev/null; check on_error_fail 3 $?
bad_classes() { # NAME STATUS WORDS, the file on stdin
    cat >"$t/x"; cl --data "$t/d" --classes "$t/x" >/dev/null; rc=$?
    check "$1_status" "$2" $rc; has "$1" "$3" "$(cat "$t/err")"
}
head -3 "$t/names" | bad_classes too_few 3 'is called so, and'
printf 'one\n' | bad_classes one_class 3 '1 classes, expected at least two'
printf 'a\n\nb\n' | bad_classes empty_line 3 'x:2: an empty name'
printf 'k\ta\nb\n' | bad_classes some_keys 3 'some lines have a key'
printf 'k\ta\nk\tb\n' | bad_classes key_twice 3 'the class k stands twice'
printf '["a", 5]' | bad_classes no_text 3 'x:1:'
cl --data "$t/d" --template 'a photo' >/dev/null; check no_hole 2 $?
has no_hole_said 'has no {} for the class' "$(cat "$t/err")"
printf 'image,label\nx.png,none\n' >"$t/x.csv"
cl --data "$t/x.csv" --classes "$t/names" >/dev/null; check no_label 3 $?
has no_label_said 'x.csv:2: label none is no class' "$(cat "$t/err")"
printf 'image,label\nx.png,fish\n' >"$t/x.csv"
cl --data "$t/x.csv" --classes "$t/names" >/dev/null; check none_there 3 $?
has none_there_said 'picture x.png not found' "$(cat "$t/err")"
printf 'image,kind\nx.png,fish\n' >"$t/x.csv"
cl --data "$t/x.csv" --classes "$t/names" >/dev/null; has no_column 'no column is called label' "$(cat "$t/err")"
mkdir "$t/none"; cl --data "$t/none" >/dev/null; check no_folders 3 $?
cl >/dev/null; check no_data 2 $?
exit $all
