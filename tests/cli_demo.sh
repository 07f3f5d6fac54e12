#!/bin/sh
# cli_demo.sh - `vismin demo`, made as small as it goes: every stage runs, the page has all its parts, the same seed gives the same pictures.
vismin=${VISMIN:-build/vismin}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_demo.$1"; else echo "FAIL cli_demo.$1"; bad=1; fi
}
small="--captions 3 --edits 3 --pairs 2 --steps 1 --batch 8 --dtype f32 --quiet"
"$vismin" demo --out "$dir/a" $small > "$dir/out" 2> "$dir/err"; rc=$?
check runs '[ $rc = 0 ] && [ -s "$dir/a/index.html" ]'
check sections 'for s in texts painted scores differences training pairs boxes meaning; do grep -q "id=\"$s\"" "$dir/a/index.html" || exit 1; done'
check painted 'grep -Eq "^4 edits painted: class right .*; 0 changed outside the mask" "$dir/out"'
check pictures '[ "$(find "$dir/a/pictures/images" -name "*.png" -path "*/*/*/*" | wc -l)" -ge 4 ] && [ -s "$dir/a/pictures/painted.png" ]'
check score_again '"$vismin" scene --score "$dir/a/pictures" | grep -q "0 of 4 pictures changed outside"'
"$vismin" demo --out "$dir/b" $small > /dev/null 2>&1
check same_pictures 'cmp -s "$dir/a/pictures/painted.png" "$dir/b/pictures/painted.png"'
"$vismin" demo --out "$dir/c" $small --weights "$dir/none" > /dev/null 2> "$dir/err"; rc=$?
check no_weights '[ $rc != 0 ] && grep -q "$dir/none" "$dir/err"'
exit $bad
