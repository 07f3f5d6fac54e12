#!/bin/sh
# cli_embed.sh - `vismin embed`: vectors of pictures and texts in three forms, similarity, pictures that cannot be read.
vismin=${VISMIN:-build/vismin}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_embed.$1"; else echo "FAIL cli_embed.$1"; cat "$dir/err" >&2; bad=1; fi
}
run() { "$vismin" "$@" > "$dir/out" 2> "$dir/err"; rc=$?; }
"$vismin" train clip --scratch world --data world:plain --steps 1 --batch 4 --out "$dir/run" --quiet 2> "$dir/err" || { echo "FAIL cli_embed.model"; cat "$dir/err" >&2; exit 1; }
m=$dir/run/model
# bitmaps of 2x1 pixels
printf 'BM\076\0\0\0\0\0\0\0\066\0\0\0\050\0\0\0\002\0\0\0\001\0\0\0\001\0\030\0\0\0\0\0\010\0\0\0' > "$dir/head"
printf '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' >> "$dir/head"
{ cat "$dir/head"; printf '\001\002\003\004\005\006\0\0'; } > "$dir/a.bmp"
{ cat "$dir/head"; printf '\377\0\377\0\377\0\0\0'; } > "$dir/b.bmp"
printf 'a red cube\na blue ball\n\nlast' > "$dir/texts"

run embed "$m" "$dir/a.bmp" "$dir/b.bmp" --text "$dir/texts" --out "$dir/v.safetensors" --dtype f32
check runs '[ $rc = 0 ] && [ ! -s "$dir/out" ]'
check tensors 'grep -aq "\"images\":{\"dtype\":\"F32\",\"shape\":\[2,128\]" "$dir/v.safetensors" && grep -aq "\"texts\":{\"dtype\":\"F32\",\"shape\":\[4,128\]" "$dir/v.safetensors"'
check names 'grep -aq "a red cube.*,.*a blue ball.*,.*,.*last" "$dir/v.safetensors" && grep -aq "/a.bmp.*,.*/b.bmp" "$dir/v.safetensors" && grep -aq "\"dtype\":\"f32\"" "$dir/v.safetensors"'
run embed "$m" "$dir/a.bmp" --texts "a red cube" --texts "say \"x\"" --out - --dtype f32
check lines '[ "$(wc -l < "$dir/out")" = 3 ] && sed -n 2p "$dir/out" | grep -q "^{\"text\":\"a red cube\",\"embedding\":\[" && sed -n 3p "$dir/out" | grep -q "say ..x..\""'
check picture_line 'sed -n 1p "$dir/out" | grep -q "^{\"image\":\".*/a.bmp\",\"embedding\":\[" && [ "$(sed -n 1p "$dir/out" | tr -cd , | wc -c)" = 128 ]'
cp "$dir/out" "$dir/first"
run embed "$m" "$dir/a.bmp" --texts "a red cube" --texts "say \"x\"" --out "$dir/v.jsonl" --dtype f32
check lines_in_a_file 'cmp -s "$dir/v.jsonl" "$dir/first"'
printf 'a red cube' | "$vismin" embed "$m" --text - --out - --dtype f32 > "$dir/out" 2> "$dir/err"
check stdin '[ "$(cat "$dir/out")" = "$(sed -n 2p "$dir/first")" ]'

run embed "$m" "$dir/a.bmp" "$dir/b.bmp" --similarity --json --dtype f32
check similarity '[ $rc = 0 ] && grep -q "\"cosine\":\[\[\(1\|0.99999[0-9]*\|1.0000[0-9]*\)," "$dir/out"'
run embed "$m" "$dir/a.bmp" --texts one --texts two --similarity
check table 'grep -q "^\[2\] two$" "$dir/out" && tail -n 1 "$dir/out" | grep -q "a.bmp  *-*0\.[0-9]*  *-*0\.[0-9]*$"'

head -c 50 "$dir/a.bmp" > "$dir/cut.bmp"
run embed "$m" "$dir/a.bmp" "$dir/cut.bmp" "$dir/none.png" "$dir/b.bmp" --out "$dir/p.jsonl"
check bad_pictures '[ $rc = 1 ] && grep -q "cut.bmp" "$dir/err" && grep -q "none.png" "$dir/err" && grep -q "2 of 4 pictures" "$dir/err"'
check good_pictures_stay '[ "$(wc -l < "$dir/p.jsonl")" = 2 ] && sed -n 2p "$dir/p.jsonl" | grep -q "/b.bmp"'
run embed "$m" "$dir/none.png" --out "$dir/q.safetensors"
check no_good_picture '[ $rc = 1 ] && [ -s "$dir/q.safetensors" ]'

run embed "$m" --out "$dir/x.jsonl"
check nothing '[ $rc = 2 ] && grep -q "nothing to embed" "$dir/err"'
run embed "$m" "$dir/a.bmp"
check no_out '[ $rc = 2 ] && grep -q "is needed" "$dir/err"'
run embed "$m" "$dir/a.bmp" --out x.txt
check unknown_ending '[ $rc = 2 ] && grep -q "must end in" "$dir/err"'
run embed "$m" "$dir/a.bmp" --out - --similarity
check one_stdout '[ $rc = 2 ]'
printf 'a\0b\n' > "$dir/nul"
run embed "$m" --text "$dir/nul" --out -
check nul_in_a_text '[ $rc = 3 ] && grep -q "nul:1: a character U+0000" "$dir/err"'
run embed "$dir/none" --texts a --out -
check no_model '[ $rc = 3 ] && grep -q "none: no such file or folder" "$dir/err"'
mkdir "$dir/empty" && run embed "$dir/empty" --texts a --out -
check empty_model '[ $rc = 6 ] && grep -q "no config.json" "$dir/err"'

# SigLIP: texts without punctuation and capitals, padded to the context
s=$dir/siglip
mkdir "$s" && cp tests/golden/siglip/hf/config.json tests/golden/siglip/hf/model.safetensors tests/golden/siglip/hf/preprocessor_config.json \
    tests/golden/siglip/spiece/* "$s"
run embed "$s" "$dir/a.bmp" --texts "A red cube!" --texts "a red cube" --texts "a blue sphere" --similarity --json --dtype f32
check siglip '[ $rc = 0 ] && sed "s/.*cosine.:..//; s/\].*//" "$dir/out" | awk -F, "{ exit !(\$1 == \$2 && \$1 != \$3) }"'
run embed "$s" --texts a --out - --activation quick_gelu
check stated_activation '[ $rc = 2 ] && grep -q "states gelu_pytorch_tanh; leave the option out" "$dir/err"'
run embed tests/golden/clip/open_clip --texts a --out -
check activation_is_asked_for '[ $rc = 2 ] && grep -q "give --activation quick_gelu for" "$dir/err"'
run embed "$m" --texts a --out - --activation mish
check unknown_activation '[ $rc = 2 ] && grep -q "expected quick_gelu or gelu" "$dir/err"'
exit $bad
