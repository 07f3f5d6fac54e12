#!/bin/sh
# cli_tokenize.sh - the command `vismin tokenize`: ids out of JSON strings, text out of ids, errors by line.
vismin=${VISMIN:-build/vismin}
g=tests/golden/tokenizer
all=0
check() { # NAME WANT GOT
    if [ "$2" = "$3" ]; then echo "ok cli_tokenize.$1"; else echo "FAIL cli_tokenize.$1"; all=1; printf 'want %s\ngot  %s\n' "$2" "$3" >&2; fi
}
has() { # NAME WORDS GOT
    case $3 in *"$2"*) echo "ok cli_tokenize.$1" ;; *) echo "FAIL cli_tokenize.$1"; all=1; printf '%s\nlacks %s\n' "$3" "$2" >&2 ;; esac
}
check ids '[741,256,742]
[741,742]' "$(printf '%s\n' '"!"' '""' | $vismin tokenize $g/hf)"
check escapes '[741,256,256,742]' "$(echo '"\u0021 !"' | $vismin tokenize $g/hf)"
check plain '[741,256,258,742]' "$(echo '! #' | $vismin tokenize $g/pair --plain)"
check max_length '[741,256,742]' "$(echo '"! ! !"' | $vismin tokenize $g/hf --max-length 3)"
check no_special '[256]' "$(echo '"!"' | $vismin tokenize $g/hf --no-special)"
check no_lines '' "$($vismin tokenize $g/hf < /dev/null)"
check round_trip '"a red cube"' "$(echo '"A red CUBE"' | $vismin tokenize $g/hf | $vismin tokenize $g/hf --decode)"
check keep_special '"<|startoftext|>! <|endoftext|>"' "$(echo '[741,256,742]' | $vismin tokenize $g/hf --decode --keep-special)"
out=$(printf '%s\n' '"a"' '"b' | $vismin tokenize $g/hf 2>&1 >/dev/null); rc=$?
check bad_line_status 3 $rc
has bad_line 'line 2' "$out"
out=$(echo '5' | $vismin tokenize $g/hf 2>&1); rc=$?
has not_a_string 'line 1' "$out"
out=$(echo '[99999]' | $vismin tokenize $g/hf --decode 2>&1); rc=$?
has unknown_id '99999' "$out"
out=$($vismin tokenize tests/golden < /dev/null 2>&1); rc=$?
check no_tokenizer_status 3 $rc
has no_tokenizer 'no tokenizer found' "$out"
exit $all
