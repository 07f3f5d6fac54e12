#!/bin/sh
# cli_retrieval.sh - `vismin eval retrieval`: ranks against sorting the cosines of `vismin embed`, four layouts of the same
# data, pictures that are missing or broken, malformed files by message.
vismin=${VISMIN:-build/vismin}
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
all=0
ok() { echo "ok cli_retrieval.$1"; }
bad() { echo "FAIL cli_retrieval.$1"; all=1; shift; printf '%s\n' "$@" >&2; }
check() { if [ "$2" = "$3" ]; then ok "$1"; else bad "$1" "want $2" "got  $3"; fi; } # NAME WANT GOT
has() { case $3 in *"$2"*) ok "$1" ;; *) bad "$1" "$3" "lacks $2" ;; esac; }         # NAME WORDS GOT
m=weights/tiny/clip-plain
"$vismin" scene --out "$t/bench" --pairs 6 --quiet || exit 1
mkdir "$t/p" "$t/p/val2014"
# twelve pictures with three captions each; one of these is the same for all
awk -F, 'FNR > 1 { print $1 "," $2; print $1 ",a picture of " $2; print $1 ",a scene" }' "$t/bench/object.csv" "$t/bench/counting.csv" >"$t/rows"
for f in $(cut -d, -f1 "$t/rows" | sort -u); do cp "$t/bench/original_images/$f" "$t/p/"; cp "$t/bench/original_images/$f" "$t/p/val2014/"; done
(echo image,caption; cat "$t/rows") >"$t/a.csv"
awk -F, '{ printf "{\"image\":\"%s\",\"caption\":\"%s\"}\n", $1, $2 }' "$t/rows" >"$t/a.jsonl"
awk -F, 'function flush() { if (p != "") printf "%s{\"filepath\":\"val2014\",\"filename\":\"%s\",\"split\":\"%s\",\"sentences\":[%s]}", n++ ? "," : "", p, "test", s }
    BEGIN { printf "{\"images\":[" } $1 != p { flush(); p = $1; s = "" } { s = s (s == "" ? "" : ",") "{\"raw\":\"" $2 "\"}" }
    END { flush(); printf ",{\"filename\":\"none.png\",\"split\":\"train\",\"sentences\":[{\"raw\":\"x\"}]}]}" }' "$t/rows" >"$t/karpathy.json"
awk -F, 'BEGIN { printf "{\"annotations\":[" } !($1 in id) { id[$1] = ++n; names = names ((n > 1) ? "," : "") "{\"id\":" n ",\"file_name\":\"" $1 "\"}" }
    { printf("%s{\"id\":%d,\"image_id\":%d,\"caption\":\"%s\"}", (NR > 1 ? "," : ""), NR, id[$1], $2) } END { printf "],\"images\":[%s]}", names }' "$t/rows" >"$t/coco.json"
rt() { "$vismin" eval retrieval "$m" --images "$t/p" --dtype f32 --deterministic "$@" 2>"$t/err"; }

rt --data "$t/a.csv" --out "$t/csv" >"$t/table"; check status 0 $?
r=$t/csv/retrieval/clip-plain
check queries '12 36' "$(grep -c '^image_to_text' "$r/ranks.csv") $(grep -c '^text_to_image' "$r/ranks.csv")"
has table 'image to text           12' "$(cat "$t/table")"
has table_row "$(sed -n 2p "$r/table.csv" | cut -d, -f3)" "$(cat "$t/table")"

# --- the definition: sort the cosines, ties by number ---
set --
while IFS= read -r line; do set -- "$@" --texts "${line#*,}"; done <"$t/rows"
pictures=$(cut -d, -f1 "$t/rows" | uniq | sed "s|^|$t/p/|")
"$vismin" embed "$m" $pictures "$@" --similarity --json --dtype f32 --deterministic >"$t/cosines" 2>"$t/err" || cat "$t/err" >&2
sed 's/.*"cosine":\[\[//; s/\]\].*//; s/\],\[/\n/g' "$t/cosines" | tr ',' ' ' >"$t/matrix"
check matrix '12 36' "$(grep -c '' "$t/matrix") $(head -1 "$t/matrix" | wc -w | tr -d ' ')"
awk '{ for (k = 1; k <= NF; k++) s[NR, k] = $k; n = NF } END {
    for (i = 1; i <= NR; i++) { best = 1e9; for (c = 3 * i - 2; c <= 3 * i; c++) { r = 1
        for (j = 1; j <= n; j++) if (s[i, j] > s[i, c] || (s[i, j] == s[i, c] && j < c)) r++
        if (r < best) best = r } print best }
    for (c = 1; c <= n; c++) { i = int((c + 2) / 3); r = 1
        for (j = 1; j <= NR; j++) if (s[j, c] > s[i, c] || (s[j, c] == s[i, c] && j < i)) r++
        print r } }' "$t/matrix" >"$t/want"
awk -F, 'NR > 1 { print $3 }' "$r/ranks.csv" >"$t/got"
if cmp -s "$t/want" "$t/got"; then ok against_sorting; else bad against_sorting "$(diff "$t/want" "$t/got")"; fi
want=$(awk 'NR <= 12 { n += $1 <= 1; f += $1 <= 5; t += $1 <= 10 } END { printf "%.2f,%.2f,%.2f", 100 * n / 12, 100 * f / 12, 100 * t / 12 }' "$t/want")
check recalls "$want" "$(sed -n 2p "$r/table.csv" | cut -d, -f3-5)"
if grep -q '^[2-9]' "$t/want"; then ok some_are_wrong; else bad some_are_wrong "all ranks are 1: nothing was tested"; fi

# --- the other layouts ---
for x in a.jsonl karpathy.json coco.json; do
    rt --data "$t/$x" --out "$t/$x.out" $([ $x = karpathy.json ] && echo --split test) >/dev/null; check "$x" 0 $?
    sed 's|val2014/||g' "$t/$x.out/retrieval/clip-plain/ranks.csv" >"$t/b"
    if cmp -s "$r/ranks.csv" "$t/b"; then ok "$x.same"; else bad "$x.same" "$(diff "$r/ranks.csv" "$t/b" | head -5)"; fi
done
rt --data "$t/karpathy.json" --json >"$t/json"; check whole_karpathy 1 $? # the picture of train is missing
has missing 'picture none.png not found' "$(cat "$t/err")"
has counted '"n_skipped": 1' "$(cat "$t/json")"
has orphans '"n_skipped_captions": 1' "$(cat "$t/json")"
rt --data "$t/karpathy.json" --split val >/dev/null; check empty_split 3 $?
has empty_split_said 'none of the split val' "$(cat "$t/err")"
rt --data "$t/coco.json" --split test >/dev/null; check split_of_coco 2 $?
rt --data "$t/a.csv" --captions 1 --limit 5 --json >"$t/json"
check limits '"n": 5 "candidates": 5' "$(grep -o -e '"n": [0-9]*' -e '"candidates": [0-9]*' "$t/json" | head -2 | tr '\n' ' ' | sed 's/ $//')"
has partial '"partial": true' "$(cat "$t/json")"
rt --data "$t/a.csv" --out "$t/cached" --embed-cache "$t/cache" >/dev/null
rt --data "$t/a.csv" --out "$t/cached" --embed-cache "$t/cache" >/dev/null
has cache '37 vectors found, 0 added' "$(cat "$t/err")" # 12 pictures, 24 captions, "a scene"
check cache_same "$(cat "$r/ranks.csv")" "$(cat "$t/cached/retrieval/clip-plain/ranks.csv")"
rt --data "$t/a.csv" --template "see {}" --json >"$t/json"; has template '"template": "see {}"' "$(cat "$t/json")"

# --- pictures and files in bad shape ---
cp -r "$t/p" "$t/q"
rm "$t/q/object_0001.png"; : >"$t/q/object_0002.png"
qt() { "$vismin" eval retrieval "$m" --images "$t/q" --dtype f32 "$@" 2>"$t/err"; }
qt --data "$t/a.csv" --out "$t/bad" --json >"$t/json"; check bad_status 1 $?
check bad_counts '"n_pictures": 10 "n_captions": 30 "n_skipped": 2 "n_skipped_captions": 6' \
    "$(grep -o -e '"n_pictures": [0-9]*' -e '"n_captions": [0-9]*' -e '"n_skipped[a-z_]*": [0-9]*' "$t/json" | tr '\n' ' ' | sed 's/ $//')"
check bad_listed 2 "$(wc -l <"$t/bad/retrieval/clip-plain/skipped.jsonl")"
has bad_said '6 captions belong to pictures that cannot be used' "$(cat "$t/err")"
qt --data "$t/a.csv" --on-error fail >/dev/null; check on_error_fail 3 $?
bad_file() { # NAME STATUS WORDS, the file on stdin
    cat >"$t/x"
    rt --data "$t/x" >"$t/out"; rc=$?
    check "$1_status" "$2" $rc; has "$1" "$3" "$(cat "$t/err")"
}
printf 'picture,caption\na.png,x\n' | bad_file no_column 3 'no column is called'
printf '{"images":[{"filename":"object_0000.png"}]}' | bad_file no_sentences 3 'x:1:12: no caption'
printf '{"annotations":[{"image_id":1,"caption":"x"}],"images":[{"id":2,"file_name":"object_0000.png"}]}' | bad_file no_image 3 'no picture'
printf '{"image":"object_0000.png","caption":"x"}\n{"image":\n' | bad_file cut_lines 3 'x:2:'
printf '' | bad_file empty 3 'the file is empty'
printf 'image,caption\n../object_0000.png,x\n' | bad_file climbing 3 'no picture with a caption could be read'
has climbing_said '".." in a name is refused' "$(cat "$t/err")"
printf 'image,caption\nobject_0000.png,x\nobject_0000.png, \n' >"$t/x"
rt --data "$t/x" --on-error skip >/dev/null; check skip_status 1 $?
has skip 'the caption is empty' "$(cat "$t/err")"
rt >/dev/null; check no_data 2 $?
"$vismin" eval retrieval oracle --data "$t/a.csv" --images "$t/p" >/dev/null 2>"$t/err"; check oracle 2 $?
has oracle_said 'oracle has no vectors' "$(cat "$t/err")"
rt --data "$t/a.csv" --template x >/dev/null; check bad_template 2 $?
exit $all
