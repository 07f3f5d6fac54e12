#!/bin/sh
# cli_weights.sh - models by name in the cache that other programs share; `vismin weights list` and `verify`. Fetching is tested
# against a server of the test's own in test_hub.c.
vismin=${VISMIN:-build/vismin}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_weights.$1"; else echo "FAIL cli_weights.$1"; bad=1; fi
}
commit=0123456789abcdef0123456789abcdef01234567
repo=$dir/hub/models--tiny--clip.v1
export HF_HUB_CACHE="$dir/hub"
mkdir -p "$repo/refs" "$repo/snapshots/$commit" "$repo/blobs"
printf %s $commit > "$repo/refs/main"
cp weights/tiny/clip-plain/*.json weights/tiny/clip-plain/*.txt "$repo/snapshots/$commit/" # ordinary files in place of links
sum=$(sha256sum weights/tiny/clip-plain/model.safetensors | cut -c1-64)
cp weights/tiny/clip-plain/model.safetensors "$repo/blobs/$sum"
ln -s "../../blobs/$sum" "$repo/snapshots/$commit/model.safetensors"

"$vismin" info tiny/clip.v1 > "$dir/out" 2> "$dir/err"; rc=$?
check info_by_name '[ $rc = 0 ] && grep -q clip "$dir/out"'
printf '"a red ball"\n' | "$vismin" tokenize tiny/clip.v1@$commit > "$dir/out" 2> "$dir/err"; rc=$?
check tokenize_by_commit '[ $rc = 0 ] && grep -q "^\[" "$dir/out"'
"$vismin" scene --out "$dir/bench" --pairs 2 --split test --quiet
"$vismin" eval tiny/clip.v1 --data "$dir/bench" --out "$dir/results" --quiet > "$dir/out" 2> "$dir/err"; rc=$?
check eval_is_named_after_the_model '[ $rc = 0 ] && ls "$dir/results/vismin" | grep -q "^tiny-clip.v1$"'
"$vismin" info tiny/absent > /dev/null 2> "$dir/err"; rc=$?
check absent_names_the_command '[ $rc = 3 ] && grep -q "vismin weights get tiny/absent@main" "$dir/err"'
"$vismin" info tiny/clip.v1@nothing > /dev/null 2> "$dir/err"; rc=$?
check absent_revision '[ $rc = 3 ] && grep -q "weights get tiny/clip.v1@nothing" "$dir/err"'
echo garbage > "$repo/refs/odd"
"$vismin" info tiny/clip.v1@odd > /dev/null 2> "$dir/err"; rc=$?
check broken_ref '[ $rc = 3 ] && grep -q "refs/odd.*garbage" "$dir/err"'
"$vismin" weights list > "$dir/out"; rc=$?
check list '[ $rc = 0 ] && grep -q "tiny/clip.v1 .* 1 files" "$dir/out"'
"$vismin" weights verify > "$dir/out"; rc=$?
check verify '[ $rc = 0 ] && grep -q good "$dir/out"'
printf x >> "$repo/blobs/$sum"
"$vismin" weights verify tiny/clip.v1 > "$dir/out" 2> "$dir/err"; rc=$?
check verify_finds_damage '[ $rc = 6 ] && grep -q DAMAGED "$dir/out" && grep -q "$sum" "$dir/err"'
HF_ENDPOINT=http://127.0.0.1:9 "$vismin" weights get tiny/absent > /dev/null 2> "$dir/err"; rc=$?
check no_server '[ $rc = 4 ] && grep -q "127.0.0.1" "$dir/err"'
HF_HUB_OFFLINE=1 "$vismin" weights get tiny/absent > /dev/null 2> "$dir/err"; rc=$?
check offline '[ $rc = 2 ] && grep -q HF_HUB_OFFLINE "$dir/err"'
"$vismin" weights get ../x > /dev/null 2> "$dir/err"; rc=$?
check bad_name '[ $rc = 2 ]'
exit $bad
