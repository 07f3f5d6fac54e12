#!/bin/sh
# cli_captions.sh - `vismin captions`: COCO's file, VSR, lists of all kinds, the miniature world; what is left out, what is malformed.
vismin=${VISMIN:-build/vismin}
t=$(mktemp -d /dev/shm/cli_captions.XXXXXX 2>/dev/null || mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
all=0
check() { # NAME WANT GOT
    if [ "$2" = "$3" ]; then echo "ok cli_captions.$1"; else echo "FAIL cli_captions.$1"; all=1; printf 'want %s\ngot  %s\n' "$2" "$3" >&2; fi
}
has() { # NAME WORDS GOT
    case $3 in *"$2"*) echo "ok cli_captions.$1" ;; *) echo "FAIL cli_captions.$1"; all=1; printf '%.600s\nlacks %s\n' "$3" "$2" >&2 ;; esac
}
cap() { "$vismin" captions --out "$t/out.jsonl" "$@" 2>"$t/err"; }
texts() { sed 's/.*"image_id":"\([^"]*\)","caption":"\(\([^"\\]\|\\.\)*\)".*/\1=\2/' "$t/out.jsonl" | tr '\n' '|'; }

cat >"$t/coco.json" <<'END'
{"info":{"year":2017},"images":[{"id":7,"file_name":"000000000007.jpg","width":640,"height":480,"extra":[1,{"a":2}]},{"id":9,"file_name":"000000000009.jpg","width":1,"height":2}],
 "annotations":[{"image_id":9,"id":1,"caption":"  A  dog\nsits on a mat. "},{"image_id":7,"id":2,"caption":"Two cats \"play\" chess."},{"image_id":7,"id":3,"caption":"Two cats sit at a table and play."},
 {"image_id":7,"id":4,"caption":"Too short"},{"image_id":7,"id":6,"caption":"A caption with a NUL \u0000 inside of it."},{"image_id":8,"id":5,"caption":"Of a picture that is not there."}]}
END
cap --coco "$t/coco.json" --pick first --split val2017; check coco_status 1 $?
check coco_first '7=Two cats \"play\" chess.|9=A dog sits on a mat.|' "$(texts)"
has coco_fields '"caption_id":"2","file":"000000000007.jpg","width":640,"height":480,"source":"coco","split":"val2017"' "$(cat "$t/out.jsonl")"
has coco_raw '"caption_raw":"  A  dog\nsits on a mat. "' "$(cat "$t/out.jsonl")"
has coco_orphan 'annotation 5 is of picture 8, which is not listed; the line is left out' "$(cat "$t/err")"
cap --coco "$t/coco.json" --pick longest; check coco_longest '7=Two cats sit at a table and play.|9=A dog sits on a mat.|' "$(texts)"
cap --coco "$t/coco.json" --pick all; check coco_all '9=A dog sits on a mat.|7=Two cats \"play\" chess.|7=Two cats sit at a table and play.|' "$(texts)"
has coco_counts '3 captions; left out: 1 with fewer than 3 words, 0 with more than 60, 1 with control characters' "$(cat "$t/err")"
for s in 1 2 3 4 5 6 7 8; do cap --coco "$t/coco.json" --seed $s; texts; echo; done >"$t/seeds"
check coco_random 2 "$(cat "$t/seeds" | sort -u | wc -l)"
cap --coco "$t/coco.json" --seed 3; texts >"$t/a"; cap --coco "$t/coco.json" --seed 3; check coco_same "$(cat "$t/a")" "$(texts)"
cap --coco "$t/coco.json" --strict; check coco_strict 3 $?
echo '{"images":[],"annotations":{}}' >"$t/bad.json"; cap --coco "$t/bad.json"; check coco_bad 3 $?; has coco_bad_words 'expected an array' "$(cat "$t/err")"
echo '{"images":[{"id":1}],"annotations":[{"image_id":1,"bbox":[1]}]}' >"$t/bad.json"; cap --coco "$t/bad.json"; has coco_boxes 'is this a file of captions?' "$(cat "$t/err")"
printf '{"images":[{"id":1},{"id":1}],"annotations":[]}' >"$t/bad.json"; cap --coco "$t/bad.json"; has coco_twice 'picture 1 is listed twice' "$(cat "$t/err")"

cat >"$t/vsr.jsonl" <<'END'
{"image":"000000050403.jpg","image_link":"http://images.cocodataset.org/train2017/000000050403.jpg","caption":"The teddy bear is in the person.","label":1,"relation":"in"}
{"image":"000000050404.jpg","image_link":"http://images.cocodataset.org/val2017/000000050404.jpg","caption":"The cat is under the bed.","label":0,"relation":"under"}
{"image":"000000050405.jpg","image_link":"http://images.cocodataset.org/val2017/000000050405.jpg","caption":"The cat is on the bed.","label":true,"relation":"on"}
END
cap --vsr "$t/vsr.jsonl"; check vsr '000000050403=The teddy bear is in the person.|000000050405=The cat is on the bed.|' "$(texts)"
has vsr_split '"source":"vsr","split":"val2017"' "$(sed -n 2p "$t/out.jsonl")"

printf 'image\tcaption\na/b/x.jpg\tA "red" kite flies.\ny.png\tone two\n' >"$t/l.tsv"; cap --captions "$t/l.tsv"; check tsv 'x=A \"red\" kite flies.|' "$(texts)"
printf 'caption,image_id\n"A dog, a cat and an owl",12\n' >"$t/l.csv"; cap --captions "$t/l.csv"; check csv '12=A dog, a cat and an owl|' "$(texts)"
printf 'caption,name\nx,y\n' >"$t/l.csv"; cap --captions "$t/l.csv"; check csv_column 3 $?; has csv_names 'image' "$(cat "$t/err")"
printf '{"image_id":5,"caption":"A dog sits here."}\n{"image":"q.png"}\nnot json\n{"image":"q.png","caption":"The \360\237\220\266 dog \327\251\327\234\327\225\327\235 and \\"more\\" \\\\ here"}\n' >"$t/l.jsonl"
cap --captions "$t/l.jsonl"; check jsonl_status 1 $?
check jsonl "5=A dog sits here.|q=The $(printf '\360\237\220\266') dog $(printf '\327\251\327\234\327\225\327\235') and \\\"more\\\" \\\\ here|" "$(texts)"
has jsonl_line 'l.jsonl:2' "$(cat "$t/err")"; has jsonl_line3 'l.jsonl:3' "$(cat "$t/err")"
printf 'A dog sits here.\n\n  a red   kite flies \nbad \001 control char\n' >"$t/l.txt"; cap --captions "$t/l.txt"; check text 2 "$(wc -l <"$t/out.jsonl")"
has control '1 with control characters' "$(cat "$t/err")"
seq -s ' ' 61 >"$t/l.txt"; cap --captions "$t/l.txt"; check none 3 $?

cap --world 12; check world 12 "$(wc -l <"$t/out.jsonl")"; a=$(sed -n '4,6p' "$t/out.jsonl")
cap --world 3 --seed 3; check world_seed "$a" "$(cat "$t/out.jsonl")"
cap --world 3 --split nowhere; check world_split 2 $?
cap; check usage 2 $?
cap --world 3 --coco x; check two_sources 2 $?
exit $all
