#!/bin/sh
# cli_generate.sh - `vismin generate`: batches, shared beginnings, the same texts in any batch, stops, broken prompts.
vismin=${VISMIN:-build/vismin}
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
all=0
check() { # NAME WANT GOT
    if [ "$2" = "$3" ]; then echo "ok cli_generate.$1"; else echo "FAIL cli_generate.$1"; all=1; printf 'want %s\ngot  %s\n' "$2" "$3" >&2; fi
}
has() { # NAME WORDS GOT
    case $3 in *"$2"*) echo "ok cli_generate.$1" ;; *) echo "FAIL cli_generate.$1"; all=1; printf '%.600s\nlacks %s\n' "$3" "$2" >&2 ;; esac
}
m=$t/model
mkdir "$m" && cp tests/golden/llm/llama/config.json tests/golden/llm/llama/model.safetensors "$m" && cp tests/golden/tokenizer/pieces_first/*.json "$m"
gen() { "$vismin" generate "$m" --threads 1 "$@" 2>"$t/err"; }
for i in 1 2 3 4 5; do echo "{\"id\":\"q$i\",\"prompt\":\"a photo of the red cube, number $i\"}"; done >"$t/p.jsonl"
gen --prompts "$t/p.jsonl" --max-new 8 --n 2 --deterministic >"$t/a"; check status 0 $?
check lines 10 "$(wc -l <"$t/a")"
check order 'q1 q1 q2 q2 q3 q3 q4 q4 q5 q5' "$(sed 's/{"id":"\(q.\)".*/\1/' "$t/a" | tr '\n' ' ' | sed 's/ $//')"
gen --prompts "$t/p.jsonl" --max-new 8 --n 2 --batch 3 --deterministic >"$t/b"; check any_batch "$(cat "$t/a")" "$(cat "$t/b")"
check samples_differ 1 "$([ "$(sed -n 's/.*"text":\(.*\),"prompt.*/\1/p' "$t/a" | sort -u | wc -l)" -gt 5 ] && echo 1)"
has shared ' shared)' "$(cat "$t/err")"
check shared_counts 1 "$(sed -n 's/.*(\([0-9]*\) shared.*/\1/p' "$t/err" | awk '{ print ($1 > 50) }')"
gen --prompt "the red cube" --max-new 6 --temperature 0 >"$t/one"; check streams 0 $?
first=$(gen --prompt "the red cube" --max-new 6 --temperature 0 --json | sed 's/.*"text":"\(.*\)","prompt.*/\1/')
check greedy_twice "$(cat "$t/one")" "$(gen --prompt "the red cube" --max-new 6 --temperature 0)"
has json '"finish":"length"' "$(gen --prompt "the red cube" --max-new 6 --temperature 0 --json)"
gen --prompt "a" --max-new 100000 --temperature 0 --json >"$t/full"; has full_context '"finish":"context"' "$(cat "$t/full")"
gen --prompt x --chat-template phi3 --system be --show-prompt >"$t/shown"; check shown '<|system|>|be<|end|>|<|user|>|x<|end|>|<|assistant|>|' "$(tr '\n' '|' <"$t/shown" | sed 's/||$/|/')"
echo '{"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]}' >"$t/bad.jsonl"
gen --prompts "$t/bad.jsonl" --chat-template chatml; check turns_status 3 $?
has turns 'message 2 is from "user", expected "assistant"' "$(cat "$t/err")"
gen --prompts "$t/bad.jsonl"; has no_layout 'give --chat-template' "$(cat "$t/err")"
printf '{"prompt":"a"}\n{"prompt":5}\n' >"$t/bad.jsonl"; gen --prompts "$t/bad.jsonl"; check bad_line_status 3 $?
has bad_line 'bad.jsonl:2:1: prompt: found 5, expected a string' "$(cat "$t/err")"
: >"$t/none"; gen --prompts "$t/none"; has no_prompts 'no prompts, expected JSON lines' "$(cat "$t/err")"
gen; check usage 2 $?
gen --prompt x --system y; check system_status 2 $?
gen --prompt x --act-bits 12; check act_bits_status 2 $?
"$vismin" generate tests/golden/bert/hf --prompt x 2>"$t/err"; has other_family '"bert" is no language model' "$(cat "$t/err")"
schema='{"type":"object","properties":{"name":{"type":"string","maxLength":20},"kind":{"enum":["cat","dog"]},"n":{"type":"integer","minimum":0,"maximum":512}},"required":["name","kind","n"]}'
gen --prompts "$t/p.jsonl" --n 3 --max-new 40 --schema "$schema" --temperature 5 --top-k 0 >"$t/s"; check schema_status 0 $?
forms() { sed 's/^.*"text":"\(.*\)","prompt_tokens.*$/\1/; s/\\\(["\\]\)/\1/g' "$1" | grep -cE "$2"; }
check schema_forms 15 "$(forms "$t/s" '^{"name":".*","kind":"(cat|dog)","n":[0-9]{1,3}}$')"
check schema_ends 15 "$(grep -c '"finish":"stop"' "$t/s")"
echo "$schema" >"$t/schema.json"
check schema_file "$(cat "$t/s")" "$(gen --prompts "$t/p.jsonl" --n 3 --max-new 40 --schema "$t/schema.json" --temperature 5 --top-k 0)"
check schema_any_batch "$(cat "$t/s")" "$(gen --prompts "$t/p.jsonl" --n 3 --max-new 40 --schema "$schema" --temperature 5 --top-k 0 --batch 2)"
gen --prompt a --max-new 20 --grammar 'root ::= ("yes" | "no" " really"{3}) "!"' >"$t/g"; check grammar 1 "$(grep -cE '^(yes|no really really really)!$' "$t/g")"
w=$t/words; mkdir "$w" && cp tests/golden/llm/llama/config.json tests/golden/llm/llama/model.safetensors "$w" && cp tests/golden/tokenizer/bert/*.json "$w"
"$vismin" generate "$w" --threads 1 --prompt a --n 8 --max-new 30 --temperature 3 --grammar 'root ::= ("a" | "the") " very"? " " ("red" | "blue") " " [a-z]{2,4} "."' >"$t/g" 2>"$t/err"
check words_of_wordpiece 8 "$(grep -cE '"text":"(a|the)( very)? (red|blue) [a-z]{2,4}\."' "$t/g")"
"$vismin" generate "$w" --threads 1 --prompt a --schema '{"type":"object"}' >"$t/g" 2>"$t/err"; check no_json_of_words 3 $?
has why_no_json 'has not all the bytes that a text of this form needs' "$(cat "$t/err")"
printf '{"prompt":"a","schema":{"enum":["red"]}}\n{"prompt":"a","schema":{"const":17}}\n{"prompt":"a"}\n' >"$t/f.jsonl"
gen --prompts "$t/f.jsonl" --max-new 9 --json >"$t/f"; has line_schema '"text":"\"red\"","prompt_tokens"' "$(sed -n 1p "$t/f")"
has line_schema_2 '"text":"17","prompt_tokens"' "$(sed -n 2p "$t/f")"
has line_without '"finish":"length"' "$(sed -n 3p "$t/f")"
gen --prompt a --max-new 20 --schema "$schema"; check too_few_status 3 $?
has too_few 'a text of this form has at least' "$(cat "$t/err")"
printf '{"prompt":"a"}\n{"prompt":"a","schema":{"type":"string","format":"date"}}\n' >"$t/f.jsonl"; gen --prompts "$t/f.jsonl"; check bad_schema_status 3 $?
has bad_schema 'f.jsonl:2:1: format: this keyword is not supported' "$(cat "$t/err")"
gen --prompt a --schema '{}' --grammar 'root ::= "a"'; check two_forms_status 2 $?
gen --prompt a --max-new 30 --temperature 0 >"$t/long"; half=$(cut -c 5-8 "$t/long")
check stop_text "$(cut -c 1-4 "$t/long")" "$(gen --prompt a --max-new 30 --temperature 0 --stop "$half")"
gen --prompt a --schema "$t/absent.json"; check absent_schema 3 $?
has absent_schema_said 'absent.json: no such file, and no JSON schema itself' "$(cat "$t/err")"
gen --prompt a --max-tokens 3; check other_name 2 $?
has other_name_said 'did you mean --max-new?' "$(cat "$t/err")"
"$vismin" generate "$t/absent" --prompt a 2>"$t/err"; check no_model 3 $?
has no_model_said 'absent: no such file or folder' "$(cat "$t/err")"
exit $all
