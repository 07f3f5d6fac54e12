#!/bin/sh
# cli_embed_cache.sh - vectors that outlive a run: found again, never of another model, safe against kill -9, damage and
# several runs at once; and that no score depends on the batch.
vismin=${VISMIN:-build/vismin}
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
all=0
ok() { echo "ok cli_embed_cache.$1"; }
bad() { echo "FAIL cli_embed_cache.$1"; all=1; shift; printf '%s\n' "$@" >&2; }
check() { if [ "$2" = "$3" ]; then ok "$1"; else bad "$1" "want $2" "got  $3"; fi; } # NAME WANT GOT
has() { case $3 in *"$2"*) ok "$1" ;; *) bad "$1" "$3" "lacks $2" ;; esac; }         # NAME WORDS GOT
timeless() { grep -v -e '"started"' -e '"wall_s"' -e '"command"' "$1/results.json"; }
"$vismin" train clip --scratch world --data world:plain --steps 1 --batch 4 --out "$t/run" --quiet 2>"$t/err" || { cat "$t/err" >&2; exit 1; }
"$vismin" scene --out "$t/bench" --pairs 10 --quiet || exit 1
m=$t/run/model pictures=80
ev() { "$vismin" eval "$m" --data "$t/bench" --dtype f32 --deterministic --name m "$@" 2>"$t/err"; } # rc is that of eval
embed() { "$vismin" embed "$m" "$t/bench/original_images/object_0000.png" --texts "a red cube" --texts "a red cube" --out - --dtype f32 "$@" 2>"$t/err"; }
same() { # NAME FOLDER: the results are those of the undisturbed run without cache
    a=$t/whole/vismin/m b=$t/$2/vismin/m
    timeless "$a" >"$t/a"; timeless "$b" >"$t/b"
    for f in samples.jsonl predictions.csv table.csv; do cmp -s "$a/$f" "$b/$f" || echo "$f" >>"$t/b"; done
    if cmp -s "$t/a" "$t/b"; then ok "$1"; else bad "$1" "$(diff "$t/a" "$t/b")"; fi
}

ev --out "$t/whole" >/dev/null; check whole 0 $?
texts=$(cut -d, -f1-99 "$t/bench"/*.csv | wc -l) # an upper bound; the exact number is what the first run adds
ev --out "$t/one" --embed-cache "$t/c" >/dev/null; check first 0 $?
same first_same one
added=$(sed -n 's/.* \([0-9]*\) added.*/\1/p' "$t/err")
if [ "$added" -gt $((pictures / 2)) ] && [ "$added" -le $((pictures + 2 * texts)) ]; then ok adds; else bad adds "$(cat "$t/err")"; fi
ev --out "$t/two" --embed-cache "$t/c" >/dev/null; same second_same two
has second_finds "$added vectors found, 0 added" "$(cat "$t/err")"
check one_file 1 "$(ls "$t/c" | wc -l)"

embed >"$t/a"; embed --embed-cache "$t/c" >"$t/b"
check embed_same "$(cat "$t/a")" "$(cat "$t/b")"
has embed_adds '0 vectors found, 2 added' "$(cat "$t/err")" # not deterministic: another file
check two_files 2 "$(ls "$t/c" | wc -l)"
embed --embed-cache "$t/c" >"$t/b"
check embed_again "$(cat "$t/a")" "$(cat "$t/b")"
has embed_finds '2 vectors found, 0 added' "$(cat "$t/err")"
cp -r "$m" "$t/other"
printf ' ' >>"$t/other/config.json"
"$vismin" embed "$t/other" --texts "a red cube" --out - --dtype f32 --embed-cache "$t/c" >/dev/null 2>"$t/err"
has other_model_apart '0 vectors found, 1 added' "$(cat "$t/err")"

# --- damage ---
file=$(ls -S "$t/c"/* | head -1)
printf 'XXXX' | dd of="$file" bs=1 seek=1000 conv=notrunc 2>/dev/null
ev --out "$t/damaged" --embed-cache "$t/c" >/dev/null; check damaged_status 0 $?
has damaged "1 of $added vectors are damaged" "$(cat "$t/err")"
check damaged_once 1 "$(grep -c 'warning' "$t/err")"
same damaged_same damaged
printf 'XXXX' | dd of="$file" bs=1 seek=20 conv=notrunc 2>/dev/null
ev --out "$t/foreign" --embed-cache "$t/c" >/dev/null; check foreign_status 0 $?
has foreign 'it is ignored' "$(cat "$t/err")"
check foreign_once 1 "$(grep -c 'warning' "$t/err")"
same foreign_same foreign
: >"$t/no_folder"
ev --embed-cache "$t/no_folder" >/dev/null; check no_folder 4 $?

# --- kill -9 while it fills the cache, again and again; no journal, so that only the cache is left ---
"$vismin" scene --out "$t/big" --pairs 60 --quiet
kills=0 rounds=0
while [ $rounds -lt 4 ]; do
    rounds=$((rounds + 1)) size=$(cat "$t/k"/* 2>/dev/null | wc -c) waited=0
    "$vismin" eval "$m" --data "$t/big" --dtype f32 --deterministic --embed-cache "$t/k" >/dev/null 2>&1 &
    pid=$!
    while [ $waited -lt 600 ] && kill -0 $pid 2>/dev/null; do
        [ "$(cat "$t/k"/* 2>/dev/null | wc -c)" -gt $((size + 20000)) ] && break
        waited=$((waited + 1)); sleep 0.01
    done
    kill -9 $pid 2>/dev/null && kills=$((kills + 1)); wait $pid 2>/dev/null
done
if [ $kills -gt 0 ]; then ok killed; else bad killed "$rounds rounds, none of them killed"; fi
"$vismin" eval "$m" --data "$t/big" --dtype f32 --deterministic --name m --out "$t/kb" --embed-cache "$t/k" >/dev/null 2>"$t/err"
check after_kills 0 $?
found=$(sed -n 's/.*: \([0-9]*\) vectors found.*/\1/p' "$t/err")
if [ "$found" -ge 32 ]; then ok goes_on; else bad goes_on "$(cat "$t/err")"; fi
check no_warning 0 "$(grep -c 'warning' "$t/err")"
"$vismin" eval "$m" --data "$t/big" --dtype f32 --deterministic --name m --out "$t/ka" >/dev/null 2>&1
check kills_same "$(cat "$t/ka/vismin/m/predictions.csv")" "$(cat "$t/kb/vismin/m/predictions.csv")"

# --- two at once ---
rm -rf "$t/c"
"$vismin" eval "$m" --data "$t/bench" --dtype f32 --deterministic --name m --out "$t/p1" --embed-cache "$t/c" --threads 1 >/dev/null 2>&1 &
ev --out "$t/p2" --embed-cache "$t/c" --threads 1 >/dev/null; check together_status 0 $?
wait
same together_first p1; same together_second p2
ev --out "$t/p3" --embed-cache "$t/c" >/dev/null
has together_all "$added vectors found, 0 added" "$(cat "$t/err")"

# --- the batch: equal decisions, cosines within 1e-4 ---
for b in 1 64; do
    "$vismin" eval "$m" --data "$t/bench" --dtype f32 --name m --out "$t/b$b" --batch $b >/dev/null 2>&1
done
check batch_decisions "$(cat "$t/b1/vismin/m/table.csv")" "$(cat "$t/b64/vismin/m/table.csv")"
far=$(paste -d, "$t/b1/vismin/m/predictions.csv" "$t/b64/vismin/m/predictions.csv" | awk -F, 'NR > 1 {
    if ($1 != $7 || $2 != $8) n++
    for (k = 3; k <= 6; k++) { d = $k - $(k + 6); if (d > 1e-4 || d < -1e-4) n++ } } END { print n + 0, NR }')
check batch_cosines "0 41" "$far"
exit $all
