#!/bin/sh
# cli_train_data.sh - `vismin train clip` on files: every layout and pairing, validation, and what each way of being bad is
# told: pictures, index, folders, shards, logs.
vismin=${VISMIN:-build/vismin}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_train_data.$1"; else echo "FAIL cli_train_data.$1"; sed 's/^/    /' "$dir/err" >&2; bad=1; fi
}
train() { # OUT OPTIONS...
    name=$1; shift
    "$vismin" train clip --scratch "$dir/base" --out "$dir/$name" --steps 3 --batch 8 --dtype f32 --threads 1 --log-every 1 "$@" \
        > "$dir/out" 2> "$dir/err"
    rc=$?
}
trained() { [ $rc = 0 ] && [ "$(grep -c '"loss":[0-9]' "$dir/$1/log.jsonl")" = 3 ]; }

# pictures of the miniature world, 16 originals with a change each; a small configuration
w=$dir/w
"$vismin" scene --out "$w" --pairs 4 --split train --quiet || exit 1
"$vismin" train clip --data world:plain --scratch world --out "$dir/seed" --batch 2 --steps 1 --quiet --dtype f32 || exit 1
mv "$dir/seed/base" "$dir/base"
sed 's/"num_hidden_layers": [0-9]*/"num_hidden_layers": 1/' "$dir/base/config.json" > "$dir/config" && mv "$dir/config" "$dir/base/config.json"

# --- layouts
train vismin --data "$w/pairs.json"
check vismin 'trained vismin && grep -q "VisMin JSON: 16 originals, 16 changes" "$dir/err" && grep -q "4 originals and 4 edits a step" "$dir/err"'
train two --data "$w/pairs.json" --edits 2 --batch 9
check several_edits 'trained two && grep -q "3 originals and 6 edits a step" "$dir/err"'
train rows --data "$w/pairs.json" --pairing scatter-ref --limit 10
check scatter 'trained rows && grep -q "8 originals and 0 edits a step" "$dir/err"'
train category --data "$w/pairs.json" --category object --category counting --sole-negative
check categories 'trained category && grep -q "16 originals, 8 changes" "$dir/err"'
{ printf 'image_path\tcaption\n'; for k in 0 1 2 3; do printf 'original_images/object_000%d.png\tA cup, red.\n' $k
  printf 'edited_images/object_000%d.png\tA cup, blue.\n' $k; done; } > "$w/object.tsv"
train table --data "$w/object.tsv" --pairing adjacent
check table 'trained table && grep -q "table: 8 originals, 0 changes" "$dir/err"'
for k in 0 1 2 3 4 5 6 7; do
    echo "{\"image_id\": $k, \"caption\": \"a red cup\", \"relation_aug_caption\": \"a cup red\", \"adj_aug_caption\": \"a blue cup\"," \
         "\"noun_aug_caption\": \"a red fish\", \"verb_aug_caption\": \"###\", \"valid_caption\": [1, 1, 1, 1, 0]}"
    cp "$w/original_images/object_000$((k % 4)).png" "$w/P_00000000000$k.png"
done > "$w/ce.jsonl"
train ce --data "$w/ce.jsonl" --image-name 'P_{}.png' --loss itc-hn --hard-negatives text --imc-weight 0.2 --cmr-weight 0.2 --batch 4
check ce_clip 'trained ce && grep -q "4 originals and 16 edits a step" "$dir/err" && grep -q "\"theta\":\[[0-9.e-]*,[0-9.e-]*,[0-9.e-]*,[0-9.e-]*\]" "$dir/ce/log.jsonl"'
mkdir "$dir/t"
for k in 0 1 2 3; do cp "$w/original_images/object_000$k.png" "$dir/t/$k.png"; echo "a cup $k" > "$dir/t/$k.txt"
    cp "$w/edited_images/object_000$k.png" "$dir/t/e$k.png"; echo "{\"caption\": \"a fish\"}" > "$dir/t/e$k.json"; done
(cd "$dir/t" && tar -cf ../s00.tar --sort=name [0-9]* && tar -cf ../s01.tar --sort=name e*)
train tar --data "$dir/s{00..01}.tar"
check shards 'trained tar && grep -q "tar: 8 originals, 0 changes" "$dir/err"'

# --- threads are not seen in what is learnt, and a run goes on with others
train threads --data "$w/pairs.json" --workers 0 --deterministic
train threads2 --data "$w/pairs.json" --workers 3 --deterministic --threads 2
check threads 'cmp -s "$dir/threads/model/model.safetensors" "$dir/threads2/model/model.safetensors"'
train options --data "$w/pairs.json" --workers 0 --log-every 3 --threads 2
train options --data "$w/pairs.json" --steps 3 --lr 1e-4
check other_options '[ $rc = 3 ] && grep -q "was made by another command: --lr was 5e-06 and is 0.0001 now" "$dir/err" &&
    grep -q "or --resume force" "$dir/err"'
train options --data "$w/pairs.json" --lr 1e-4 --resume force
check forced '[ $rc = 0 ] && grep -q "warning: .*--lr was" "$dir/err"'
train options --data "$w/pairs.json" --resume never
check never '[ $rc = 2 ] && grep -q "holds checkpoints and --resume never would mix two runs" "$dir/err"'
sed 's/striped/plain/' "$w/pairs.json" > "$w/other.json"
train vismin --data "$w/other.json"
check other_data '[ $rc = 3 ] && grep -q "the training data are not those it began with" "$dir/err"'

# --- validation
train val --data "$w/pairs.json" --val "$w/object.tsv" --val-bench "$w" --val-every 2 --save-every 1 --keep-last 1 --lr 1e-3
check validation 'trained val && [ "$(grep -c "\"val_loss\":[0-9].*\"val_i2t_r10\":.*\"val_t2i_mean_rank\":.*\"bench_group\":[0-9]" "$dir/val/log.jsonl")" = 2 ] &&
    grep -q "validation of 8 pairs" "$dir/err"'
best=$(readlink "$dir/val/checkpoints/best")
check keep_best '[ -s "$dir/val/checkpoints/$best/model.safetensors" ] && [ "$(readlink "$dir/val/checkpoints/latest")" = step-00000003 ]'
check report '[ "$(grep -c "<svg" "$dir/val/report/index.html")" -ge 6 ] && grep -q "Validation" "$dir/val/report/index.html"'
train val2 --data "$w/pairs.json" --val-every 2
check val_of_what '[ $rc = 2 ] && grep -q -e "--val FILE or --val-bench DIR says what to validate on" "$dir/err"'

# --- data that are bad
train check --data "$w/pairs.json" --check-data
check checked_first 'trained check'
"$vismin" train clip --data "$w/pairs.json" --check-data > "$dir/out" 2> "$dir/err"; rc=$?
check check_good '[ $rc = 0 ] && grep -q "^originals  *16$" "$dir/out" && grep -q "^pictures looked for  *32$" "$dir/out" && grep -q "^pictures missing  *0$" "$dir/out"'
cp -r "$w" "$dir/b"
echo "no picture" > "$dir/b/original_images/object_0001.png"
rm "$dir/b/edited_images/object_0002.png"
"$vismin" train clip --data "$dir/b/pairs.json" --check-data --max-bad 10 > "$dir/out" 2> "$dir/err"; rc=$?
check check_missing '[ $rc = 1 ] && grep -q "picture edited_images/object_0002.png not found" "$dir/out" && grep -q "1 of 16 records cannot be used" "$dir/err"'
"$vismin" train clip --data "$dir/b/pairs.json" --check-data --json > "$dir/out" 2> "$dir/err"; rc=$?
check check_too_many '[ $rc = 3 ] && grep -q "more than --max-bad 1 %" "$dir/err" && grep -q "\"pictures missing\": 1" "$dir/out"'
train corrupt --data "$dir/b/pairs.json" --max-bad 20 --steps 6
check corrupt_picture '[ $rc = 0 ] && grep -q "passed over: .*object_0001.png: found bytes" "$dir/err" &&
    [ "$(wc -l < "$dir/corrupt/bad_samples.jsonl")" = 2 ] && grep -q "object_0002.png not found" "$dir/corrupt/bad_samples.jsonl"'
train strict --data "$dir/b/pairs.json" --steps 6
check too_many_bad '[ $rc = 3 ] && grep -q "1 of 16 samples are unreadable, more than --max-bad 1 %" "$dir/err"'
rm "$dir/b/original_images/"*
train row --data "$dir/b/pairs.json" --max-bad 100 --max-bad-row 5
check bad_in_a_row '[ $rc = 3 ] && grep -q "step 0: 5 unreadable samples one after the other" "$dir/err"'
train root --data "$w/pairs.json" --images "$dir/nowhere"
check missing_root '[ $rc = 3 ] && grep -q -e "--images $dir/nowhere: no such folder" "$dir/err"'
head -c 700 "$w/pairs.json" > "$dir/cut.json"
train cut --data "$dir/cut.json"
check cut_index '[ $rc = 3 ] && grep -q "cut.json:[0-9]*:[0-9]*: found the end, expected" "$dir/err"'
sed 's/"caption": "/"caption": "" , "was": "/;s/"attribute"/"colour"/' "$w/pairs.json" > "$dir/faults.json"
train faults --data "$dir/faults.json"
check corrupt_index '[ $rc = 3 ] && grep -q "records cannot be used, more than --max-bad 1 %; the first: $dir/faults.json:[0-9]*:[0-9]*: the caption is empty" "$dir/err"'
head -c 700 "$w/ce.jsonl" > "$w/torn.jsonl"
train torn --data "$w/torn.jsonl" --image-name 'P_{}.png' --loss itc-hn --hard-negatives text --batch 2 --max-bad 50
check torn_lines 'trained torn && grep -q "1 of 4 records are left out" "$dir/err" && grep -q "torn.jsonl:4:[0-9]*: found the end" "$dir/err"'
head -c 3000 "$dir/s00.tar" > "$dir/short.tar"
train short --data "$dir/short.tar"
check cut_shard '[ $rc = 3 ] && grep -q "short.tar: byte [0-9]*: the archive is cut off" "$dir/err"'
train nothing
check no_data '[ $rc = 2 ] && grep -q -e "--data FILE or --data world:KIND is needed" "$dir/err"'
exit $bad
