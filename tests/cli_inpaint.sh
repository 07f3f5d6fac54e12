#!/bin/sh
# cli_inpaint.sh - `vismin inpaint` of one picture, `text2img`, `img2img`: seeds, what outside the mask stays, texts of the files, errors.
vismin=${VISMIN:-build/vismin}
xl=tests/golden/pipeline/xl sd=tests/golden/pipeline/sd
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_inpaint.$1"; else echo "FAIL cli_inpaint.$1"; bad=1; fi
}
same() { cmp -s "$dir/$1" "$dir/$2"; }
"$vismin" scene --out "$dir/pool" --scenes 2 > /dev/null 2>&1
one=$(find "$dir/pool" -name '*.png' | sort | head -1)
inpaint() { "$vismin" inpaint --model $xl --image "$one" --prompt "a red cat" --steps 3 --dtype f32 --deterministic --threads 1 "$@"; }

inpaint --box 10,12,30,40 --count 2 --seed 5 --out "$dir/a.png" --preview "$dir/p.png" --preview-every 1 --json > "$dir/json" 2> "$dir/err"; rc=$?
check runs '[ $rc = 0 ] && [ -s "$dir/a-0.png" ] && [ -s "$dir/a-1.png" ] && ! same a-0.png a-1.png'
check nothing_outside '[ "$(grep -c "\"changed\":0,\"most\":0" "$dir/json")" = 2 ] && grep -q "seed 6: 0 of [0-9]* pixels outside" "$dir/err"'
check preview '[ -s "$dir/p.png" ]'
check parameters 'grep -aq "Steps: 3, Sampler: Euler, CFG scale: 7.5, Seed: 5, Size: 64x64, Model hash: [0-9a-f]\{10\}, Model: xl, Denoising strength: 0.99" "$dir/a-0.png"'
check json_of_the_file 'grep -aq "\"seed\":5,\"rng\":\"cpu\",\"prompt\":\"a red cat\"" "$dir/a-0.png"'
inpaint --box 10,12,30,40 --seed 6 --out "$dir/b.png" 2> /dev/null
check each_seed_alone 'same a-1.png b.png'
inpaint --box 10,12,30,40 --seed 6 --out "$dir/c.png" --rng philox 2> /dev/null
check other_noise '! same c.png b.png && grep -aq "RNG: GPU" "$dir/c.png"'
inpaint --box 10,12,30,40 --seed 6 --out "$dir/d.png" --composite off --no-metadata --json > "$dir/json" 2> /dev/null
check composite_off '! grep -q "\"changed\":0," "$dir/json" && ! grep -aq Steps "$dir/d.png"'
"$vismin" img2img --model $sd --image "$one" --prompt "blue ball" --steps 2 --strength 0.5 --out "$dir/m.png" --quiet 2> "$dir/err"; rc=$?
check img2img '[ $rc = 0 ] && grep -aq "Sampler: PLMS" "$dir/m.png"'
inpaint --mask "$dir/m.png" --only-masked 4 --fit stretch --mask-grow 2 --feather 0 --out "$dir/e.png" 2> "$dir/err"; rc=$?
check mask_file '[ $rc = 0 ] && grep -q "seed 0: 0 of" "$dir/err"'
for s in ddim euler euler_karras euler_a dpm++_2m_karras dpm++_3m dpm++_sde ddpm lcm; do
    "$vismin" text2img --model $sd --prompt "a ball of the größe ünd" --sampler $s --threads 1 --steps 3 --width 32 --height 24 --out "$dir/$s.png" --quiet || echo $s >> "$dir/failed"
done
check samplers '[ ! -e "$dir/failed" ] && ! same ddim.png euler.png && grep -aq "größe ünd" "$dir/ddim.png"'
"$vismin" text2img --model $xl --prompt "a red cat" --steps 2 --out "$dir/t.png" --quiet; rc=$?
check all_repainted '[ $rc = 0 ] && grep -aq "Size: 32x32" "$dir/t.png"'

"$vismin" text2img --model $xl --prompt "a red cat" --steps 2 --count 2 --out "$dir/none/t.png" 2> "$dir/err"; rc=$?
check out_is_tried_first '[ $rc = 4 ] && grep -q "none/t-0.png: cannot be written" "$dir/err" && ! grep -q steps "$dir/err"'
inpaint --out "$dir/f.png" 2> "$dir/err"; rc=$?
check mask_is_needed '[ $rc = 2 ] && grep -q -- "--mask FILE or --box" "$dir/err"'
inpaint --box 1,2,3 --out "$dir/f.png" 2> "$dir/err"; rc=$?
check box_form '[ $rc = 2 ] && grep -q "expected X0,Y0,X1,Y1" "$dir/err"'
inpaint --box 80,80,90,90 --out "$dir/f.png" 2> "$dir/err"; rc=$?
check box_outside '[ $rc = 3 ] && grep -q "mask is empty" "$dir/err"'
"$vismin" text2img --model tests/golden/vae --prompt a --out "$dir/f.png" 2> "$dir/err"; rc=$?
check no_pipeline '[ $rc = 6 ] && grep -q "no model_index.json" "$dir/err"'
"$vismin" text2img --model $sd --prompt a --sampler eular --out "$dir/f.png" 2> "$dir/err"; rc=$?
check sampler_name '[ $rc = 2 ] && grep -q "euler_karras" "$dir/err"'
inpaint --box 1,1,20,20 --out "$dir/no/such/f.png" 2> "$dir/err"; rc=$?
check no_folder '[ $rc != 0 ] && grep -q "no/such" "$dir/err"'
"$vismin" text2img --model $sd --prompt a --threads 1 --steps 900 --width 128 --height 128 --out "$dir/g.png" --quiet & pid=$!
sleep 1; kill -INT $pid; wait $pid; rc=$?
check interrupted '[ $rc = 130 ] && [ ! -e "$dir/g.png" ]'
[ ! -e "$dir/f.png" ] || { echo "FAIL cli_inpaint.no_file_after_errors"; bad=1; }
exit $bad
