#!/bin/sh
# cli_data_check.sh - `vismin data check`: counts, missing pictures, malformed and degenerate records, sums, exit codes.
vismin=${VISMIN:-build/vismin}
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
all=0
ok() { echo "ok cli_data_check.$1"; }
bad() { echo "FAIL cli_data_check.$1"; all=1; shift; printf '%s\n' "$@" >&2; }
check() { if [ "$2" = "$3" ]; then ok "$1"; else bad "$1" "want $2" "got  $3"; fi; } # NAME WANT GOT
has() { case $3 in *"$2"*) ok "$1" ;; *) bad "$1" "$3" "lacks $2" ;; esac; }         # NAME WORDS GOT
dc() { "$vismin" data check "$@" 2>"$t/err"; }

# a data set without published numbers: what is there is all there is
mkdir "$t/images"; : >"$t/images/0.png"
row() { printf '{"id":%s,"image":"%s","captions":["%s","%s"],"label":0}\n' "$@"; }
row 1 0.png a b >"$t/choice.jsonl"; row 2 0.png a c >>"$t/choice.jsonl"
dc choice --data "$t" >"$t/out"; check good_status 0 $?
check good 'default 2 not known 0 0 0 ok' "$(sed -n 2p "$t/out" | tr -s ' ')"
has sums "$(sha256sum "$t/choice.jsonl" | cut -d' ' -f1)  $t/choice.jsonl" "$(cat "$t/out")"
row 3 1.png a b >>"$t/choice.jsonl"; row 4 0.png x x >>"$t/choice.jsonl"; row 1 0.png a b >>"$t/choice.jsonl"
echo '{"id":5,"image":"0.png","captions":["a"],"label":0}' >>"$t/choice.jsonl"
dc choice --data "$t" >"$t/out"; check bad_status 1 $?
check bad 'default 5 not known 1 1 1 off' "$(sed -n 2p "$t/out" | tr -s ' ')"
has missing_named 'choice.jsonl:3: id 3: picture 1.png not found' "$(cat "$t/err")"
has malformed_named 'choice.jsonl:6: found 1 captions and 1 pictures' "$(cat "$t/err")"
has twice 'warning: 1 records' "$(cat "$t/err")"
dc choice --data "$t" --json >"$t/out"; check json_status 1 $?
has json '"missing_pictures": 1,' "$(cat "$t/out")"
has json_unknown '"expected": null,' "$(cat "$t/out")"
has json_verdict '"ok": false' "$(tail -2 "$t/out")"

# published numbers: a folder lacks splits, a file alone does not; options choose the numbers
valse() { # VOTES...
    printf '{'; n=0
    for v in "$@"; do [ $n -gt 0 ] && printf ','; n=$((n + 1))
        printf '"%s":{"image_file":"0.png","caption":"c","foil":"f","mturk":{"caption":%s}}' $n "$v"; done; printf '}'
}
mkdir "$t/valse" "$t/valse/images"; : >"$t/valse/images/0.png"
valse 3 2 1 >"$t/valse/existence.json"
dc valse_v2 --data "$t/valse" >"$t/out"; check counts_status 1 $?
check counts 'existence 2 505 0 0 0 off' "$(sed -n 2p "$t/out" | tr -s ' ')"
has other_split 'foil_it                       0          943' "$(cat "$t/out")"
dc valse_v2 --data "$t/valse/existence.json" --option filter=strict >"$t/out"
check one_file 'existence 1 410 0 0 0 off' "$(sed -n 2,3p "$t/out" | tr -s ' \n' '  ' | sed 's/ $//')"
dc valse_v2 --data "$t/valse" --split existence --option filter=none >"$t/out"
check filter 'existence 3 534 0 0 0 off' "$(sed -n 2,3p "$t/out" | tr -s ' \n' '  ' | sed 's/ $//')"
# a number that is not confirmed is shown and decides nothing
mkdir "$t/ws" "$t/ws/images"; : >"$t/ws/images/a_on_b.jpeg"
echo '[{"image_path":"a_on_b.jpeg","caption_options":["on","x","y","z"]}]' >"$t/ws/controlled_images_dataset.json"
dc whatsup_controlled --data "$t/ws" >"$t/out"; check about_status 0 $?
check about 'default 1 about 412 0 0 0 ok' "$(sed -n 2p "$t/out" | tr -s ' ')"
# splits that are read on request only are expected on request only
mkdir "$t/vsr" "$t/vsr/random"; : >"$t/vsr/0.png"
echo '{"image":"0.png","caption":"A is on B.","relation":"on","label":1}' >"$t/vsr/random/dev.jsonl"
dc vsr --data "$t/vsr" >"$t/out"
check on_request 'random_dev 1 564 0 0 0 off' "$(sed -n 2,3p "$t/out" | tr -s ' \n' '  ' | sed 's/ $//')"
dc vsr --data "$t/vsr" --option task=truth >"$t/out"; has task '1097' "$(cat "$t/out")"

dc >/dev/null; check usage 2 $?
dc choice >/dev/null; check no_data 2 $?
dc choise --data "$t" >/dev/null; has near 'did you mean choice' "$(cat "$t/err")"
dc choice --data "$t/nowhere" >/dev/null; check no_folder 3 $?
exit $all
