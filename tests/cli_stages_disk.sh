#!/bin/sh
# cli_stages_disk.sh - a stage on a file system that fills up and is emptied again (a small tmpfs in a name space of its own): it ends with one line that
# names the file, nothing finished is lost, and the same command goes on to the result of an undisturbed run.
vismin=$(cd "$(dirname "${VISMIN:-build/vismin}")" && pwd)/vismin
if [ "$1" != inside ]; then
    if ! unshare -rm true 2>/dev/null; then
        echo "ok cli_stages_disk.left_out: mounting a small tmpfs is not permitted here (unshare -rm)"
        exit 0
    fi
    exec unshare -rm sh "$0" inside
fi
. tests/stage_parts.sh
top=$(mktemp -d) out=$(mktemp -d) || exit 1
trap 'umount "$top" 2>/dev/null; rmdir "$top"; rm -rf "$out"' EXIT
mount -t tmpfs -o size=1m tmpfs "$top" || { echo "ok cli_stages_disk.left_out: no tmpfs can be mounted here"; exit 0; }
all=0
check() { # NAME WANT GOT
    if [ "$2" = "$3" ]; then echo "ok cli_stages_disk.$1"; else echo "FAIL cli_stages_disk.$1"; all=1; printf 'want %s\ngot  %s\n' "$2" "$3" >&2; cat "$out/err" >&2; fi
}
has() { # NAME WORDS GOT
    case $3 in *"$2"*) echo "ok cli_stages_disk.$1" ;; *) echo "FAIL cli_stages_disk.$1"; all=1; printf '%.600s\nlacks %s\n' "$3" "$2" >&2 ;; esac
}
start() { exec "$vismin" instruct "$1" --categories object --llm "replay:$out/answers.jsonl" --quiet 2>"$out/err"; }
fill() { dd if=/dev/zero of="$top/filler" bs=4k 2>/dev/null; dd if=/dev/zero of="$top/filler2" bs=512 2>/dev/null; }
mkdir "$out/whole" "$top/run"
world_run "$out/whole" 60; cp "$out/whole/captions.jsonl" "$top/run/"; world_answers "$out/whole" "$out/answers.jsonl" 3
(start "$out/whole"); want=$("$vismin" export "$out/whole" instruct | sha256sum)

# too small from the beginning
dd if=/dev/zero of="$top/filler" bs=1k count=960 2>/dev/null
(start "$top/run"); check too_small 4 $?; has too_small_words 'MB are free and the records of instruct need about 0.1 MB; make room' "$(cat "$out/err")"
rm "$top/filler"

# full in the middle, three times
for k in 1 2 3; do
    start "$top/run" & pid=$!
    n=0; until [ "$(cat "$top"/run/instruct/part-*.jsonl 2>/dev/null | wc -l)" -ge $((20 * k)) ] || [ $n -gt 600 ]; do sleep 0.01; n=$((n + 1)); done
    kill -STOP $pid; lines=$(cat "$top"/run/instruct/part-*.jsonl | wc -l); fill; kill -CONT $pid; wait $pid; check full_$k 4 $?
    has full_words_$k "$top/run/instruct/" "$(cat "$out/err")"; has make_room_$k 'make room and run again' "$(cat "$out/err")"
    [ "$(cat "$top"/run/instruct/part-*.jsonl | wc -l)" -ge $lines ]; check kept_$k 0 $?
    rm "$top"/filler*
done
(start "$top/run"); check done 0 $?
check result "$want" "$("$vismin" export "$top/run" instruct | sha256sum)"
"$vismin" check "$top/run" --quiet >"$out/err"; check whole 0 $?
fill; "$vismin" export "$top/run" instruct --out "$top/edits.json" 2>"$out/err"; check export_full 4 $?; [ ! -e "$top/edits.json" ]; check no_half_file 0 $?
"$vismin" compact "$top/run" 2>"$out/err"; check compact_full 4 $?; rm "$top"/filler*
check after_all "$want" "$("$vismin" export "$top/run" instruct | sha256sum)"
exit $all
