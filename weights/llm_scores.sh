#!/bin/sh
# llm_scores.sh VISMIN MODEL_DIR WORK_DIR [OPTION...] - what the small language model can do, as JSON on stdout: the stages on captions of held-out scenes
# at their own settings, counted by their rules; and verdicts on edits that are known to be right or wrong, the most likely answer each.
#   instructions     of the different ones that are proposed, how many break no rule V01 to V11: with answers held to a schema, and without
#   layouts, phrases, questions   the same for L01 to L14, M01 to M06, Q01 to Q05 (those that come twice aside)
#   judged           of the questions that pass, how many the model answers right twice
#   verdicts         accept or reject, as it is
set -e
vismin=$1 model=$2 work=$3
shift 3
rm -rf "$work" && mkdir -p "$work"
prompts=weights/tiny/llm/prompts n=300
stage() { # COMMAND RUN OPTION...
    c=$1 run=$2; shift 2
    "$vismin" "$c" "$run" --llm "native:$model" --prompt-dir "$prompts" --quiet --stats-json "$run/$c.json" "$@" > /dev/null
}
share() { # FILE CODES-THAT-COUNT-AS-TWICE: kept / (kept + rejected)
    tr -d ' \n' < "$1" | sed 's/.*"records":\([0-9]*\).*"rejected":{\([^}]*\)}.*/\1,\2/' | tr ',' '\n' |
        awk -F: -v twice="$2" 'NR == 1 { kept = $1; next } { gsub(/"/, "", $1); if (index(" " twice " ", " " $1 " ")) next; bad += $2 } END { printf "%.4f", kept / (kept + bad) }'
}
verdicts() { # TASK OPTION...: share of right ones
    task=$1; shift
    "$vismin" scene --out "$work/$task" --texts 500 --split test --task "$task" --quiet
    "$vismin" generate "$model" --prompts "$work/$task/texts.jsonl" --temperature 0 --max-new 120 --batch 32 --quiet "$@" > "$work/$task/answers.jsonl"
    for f in texts answers; do
        sed 's/.*\\"verdict\\":\\"\([a-z]*\)\\".*/\1/; t; s/.*/none/' "$work/$task/$f.jsonl" > "$work/$task/$f"
    done
    paste "$work/$task/texts" "$work/$task/answers" | awk '$1 == $2 { n++ } END { printf "%.4f", n / NR }'
}

for k in schema free; do
    mkdir -p "$work/$k" && "$vismin" captions --world $n --split test --out "$work/$k/captions.jsonl" --quiet 2> /dev/null
done
stage instruct "$work/schema" --categories all "$@"
stage instruct "$work/free" --categories all --no-schema "$@"
stage vet "$work/schema" "$@"
stage layout "$work/schema" --mode from-caption "$@"
stage magic "$work/schema" --of edits "$@"
stage ask "$work/schema" --of edits --llm-questions 4 "$@"
final() { # STAGE: of every unit the line that counts
    cat "$work/schema/$1"/part-*.jsonl | awk -F'"' '{ last[$4] = $0 } END { for (k in last) print last[k] }'
}
part() { # STAGE WORDS: of its units, how many say so
    final "$1" | awk -v words="$2" '{ n += index($0, words) > 0 } END { printf "%.4f", n / NR }'
}
asked=$(final ask_llm | grep -o '"Q0[0-9]":[0-9]*' | awk -F: '$1 !~ /Q06|Q07/ { bad += $2 } END { print bad + 0 }')
kept=$(final ask_llm | grep -o '"question":{' | wc -l)
cat <<END
{"captions":$n,"instructions":$(share "$work/schema/instruct.json" V12),"instructions_free":$(share "$work/free/instruct.json" V12),
"verdicts_object":$(verdicts vet.object "$@"),"verdicts_attribute":$(verdicts vet.attribute "$@"),"right_edits_accepted":$(part vet '"verdict":"accept"'),
"layouts":$(share "$work/schema/layout.json" L13),"phrases":$(share "$work/schema/magic.json" M05),
"questions":$(awk -v k="$kept" -v b="$asked" 'BEGIN { printf "%.4f", k / (k + b) }'),"questions_judged_right":$(part ask_judge '"keep":true')}
END
