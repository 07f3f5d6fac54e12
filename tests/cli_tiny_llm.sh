#!/bin/sh
# cli_tiny_llm.sh - the small language model of weights/tiny/llm does the work of the text stages on captions of held-out scenes: most of what it
# proposes passes the rules, with answers held to a schema and without; it loads, resumes and answers like any other model.
vismin=${VISMIN:-build/vismin}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0
check() { # NAME CONDITION
    if eval "$2"; then echo "ok cli_tiny_llm.$1"; else echo "FAIL cli_tiny_llm.$1"; bad=1; fi
}
model=weights/tiny/llm
stage() { # COMMAND RUN OPTION...
    c=$1 run=$2; shift 2
    "$vismin" "$c" "$run" --llm native:$model --prompt-dir $model/prompts --threads 1 --quiet --stats-json "$run/$c.json" "$@" > /dev/null 2> "$run/err"
}
number() { # FILE KEY: the first one; 0 when there is none
    tr -d ' \n' < "$1" | grep -o "\"$2\":[0-9]*" | head -n 1 | cut -d: -f2 | grep . || echo 0
}
passes() { # FILE PERCENT: kept records against those that a rule but V12 rejected
    tr -d ' \n' < "$1" | sed 's/.*"records":\([0-9]*\).*"rejected":{\([^}]*\)}.*/\1,\2/' | tr ',' '\n' |
        awk -F: -v want="$2" 'NR == 1 { kept = $1; next } $1 !~ /V12/ { lost += $2 } END { exit !(kept > 50 && 100 * kept >= want * (kept + lost)) }'
}

says() { # STAGE-DIR WORDS: how many units say so in the line that counts
    cat "$1"/part-*.jsonl | awk -F'"' -v words="$2" '{ last[$4] = $0 } END { for (k in last) n += index(last[k], words) > 0; print n + 0 }'
}

check size '[ "$(wc -c < $model/model.safetensors)" -lt 8000000 ] && [ -s $model/recipe.json ] && [ -s $model/tokenizer.json ]'
mkdir "$dir/a" "$dir/b"
"$vismin" captions --world 40 --split test --out "$dir/a/captions.jsonl" --quiet 2> /dev/null && cp "$dir/a/captions.jsonl" "$dir/b"
stage instruct "$dir/a" --categories all --tries 1; rc=$?
check instructions '[ $rc = 0 ] && passes "$dir/a/instruct.json" 95'
stage instruct "$dir/b" --categories all --tries 1 --no-schema; rc=$?
check without_schema '[ $rc = 0 ] && passes "$dir/b/instruct.json" 70'
stage vet "$dir/a"; rc=$?
check most_are_accepted '[ $rc = 0 ] && [ $((10 * $(says "$dir/a/vet" "\"verdict\":\"accept\""))) -gt $((7 * $(number "$dir/a/vet.json" records))) ]'
stage ask "$dir/a" --llm-questions 3; rc=$?
check questions '[ $rc = 0 ] && [ "$(number "$dir/a/ask.json" void)" = 0 ] && [ "$(says "$dir/a/ask_judge" "\"keep\":true")" -gt 20 ]'
# the same again: nothing is left to do
stage instruct "$dir/a" --categories all --tries 1; rc=$?
check nothing_left '[ $rc = 0 ] && ! tr -d " \n" < "$dir/a/instruct.json" | grep -q "\"run\":{[^}]*\"ok\":[1-9]"'
exit $bad
