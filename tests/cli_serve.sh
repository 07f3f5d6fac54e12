#!/bin/sh
# cli_serve.sh - `vismin serve`: OpenAI's interface by curl: whole and streamed answers, forms, errors, keys, limits; answers that do not
# depend on the others; clients that go away; the end.
vismin=${VISMIN:-build/vismin}
t=$(mktemp -d) || exit 1
pid=
trap '[ -z "$pid" ] || kill -9 $pid 2>/dev/null; rm -rf "$t"' EXIT
all=0
check() { # NAME WANT GOT
    if [ "$2" = "$3" ]; then echo "ok cli_serve.$1"; else echo "FAIL cli_serve.$1"; all=1; printf 'want %s\ngot  %s\n' "$2" "$3" >&2; fi
}
has() { # NAME WORDS GOT
    case $3 in *"$2"*) echo "ok cli_serve.$1" ;; *) echo "FAIL cli_serve.$1"; all=1; printf '%.600s\nlacks %s\n' "$3" "$2" >&2 ;; esac
}
m=$t/model
mkdir "$m" && cp tests/golden/llm/llama/config.json tests/golden/llm/llama/model.safetensors "$m" && cp tests/golden/tokenizer/pieces_first/*.json "$m"
start() { # OPTIONS...
    : >"$t/url"
    "$vismin" serve "$m" --port 0 --threads 1 --deterministic "$@" >"$t/url" 2>"$t/err" &
    pid=$!
    for i in $(seq 100); do [ -s "$t/url" ] && break; sleep 0.1; done
    url=$(cat "$t/url")
}
stop() { # SIGNAL; the status is in $ended
    kill -"$1" $pid
    wait $pid
    ended=$? pid=
}
ask() { path=$1; shift; curl -sS -m 60 "$url$path" "$@" 2>&1; }
post() { ask "/v1/$1" -d "$2"; } # PATH JSON
code() { ask "$@" -o "$t/body" -w '%{http_code}'; }
texts() { grep -oE '"(text|content)":"([^"\\]|\\.)*"' | sed 's/^[^:]*://'; } # the texts of answers and chunks

start --chat-template chatml
has starts "http://127.0.0.1:" "$url"
has health '"status":"ok"' "$(ask /health)"
has models '{"object":"list","data":[{"id":"model","object":"model"' "$(ask /v1/models)"
has model '{"id":"model","object":"model"' "$(ask /v1/models/model)"
alone=$("$vismin" generate "$m" --threads 1 --deterministic --chat-template none --prompt "the red cube" --max-new 7 --temperature 0 2>/dev/null)
whole=$(post completions '{"model":"model","prompt":"the red cube","max_tokens":7,"temperature":0}')
check as_generate "\"$alone\"" "$(echo "$whole" | texts)"
has whole '"object":"text_completion"' "$whole"
has finish '"finish_reason":"length"' "$whole"
has usage '"completion_tokens":7,' "$whole"
post completions '{"prompt":"the red cube cube cube cube cube cube","max_tokens":1}' >"$t/body"
check shares 1 "$(post completions '{"prompt":"the red cube cube cube cube cube cube cube cube","max_tokens":1}' | sed 's/.*"cached_tokens":\([0-9]*\).*/\1/' | awk '{ print ($1 > 7) }')"
chat='{"messages":[{"role":"system","content":"be brief"},{"role":"user","content":[{"type":"text","text":"the "},{"type":"text","text":"cube"}]}],"max_tokens":9,"seed":4'
said=$(post chat/completions "$chat}")
has chat '"choices":[{"index":0,"message":{"role":"assistant","content":"' "$said"
part=$(post chat/completions "$chat,\"stream\":true,\"stream_options\":{\"include_usage\":true}}")
check stream_same "$(echo "$said" | texts)" "\"$(echo "$part" | texts | sed 's/^"//; s/"$//' | tr -d '\n')\""
check stream_done 'data: [DONE]' "$(echo "$part" | grep . | tail -1)"
has stream_usage '"choices":[],"usage":{"prompt_tokens"' "$part"
has stream_role '"delta":{"role":"assistant","content":""}' "$part"
has seeds "$(echo "$said" | texts)" "$(post chat/completions "$chat}")"
check copies 6 "$(post completions '{"prompt":["a","the"],"n":3,"max_tokens":3}' | grep -o '"index":[0-5]' | sort -u | wc -l)"
has logprobs '"top_logprobs":[{"token":"' "$(post chat/completions "$chat,\"logprobs\":true,\"top_logprobs\":2}")"
has logprobs_old '"token_logprobs":[-' "$(post completions '{"prompt":"a","max_tokens":2,"logprobs":1}')"
stopped=$(post completions '{"prompt":"the red cube","max_tokens":7,"temperature":0,"stop":[" cube cube"],"stream":true}')
check stop "\"$(echo "$alone" | sed 's/ cube cube.*//')\"" "\"$(echo "$stopped" | texts | sed 's/^"//; s/"$//' | tr -d '\n')\""
has stop_reason '"finish_reason":"stop"' "$stopped"

# forms
schema='{"type":"object","properties":{"kind":{"enum":["cat","dog"]},"n":{"type":"integer","minimum":1,"maximum":9}},"required":["kind","n"]}'
form() { post "$1" "$2" | texts | grep -cE '^"\{\\"kind\\":\\"(cat|dog)\\",\\"n\\":[1-9]\}"$'; }
check schema 1 "$(form completions "{\"prompt\":\"a\",\"max_tokens\":40,\"temperature\":3,\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"schema\":$schema}}}")"
check schema_chat 1 "$(form chat/completions "$chat,\"max_completion_tokens\":40,\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":$schema}}}")"
check schema_field 1 "$(form completions "{\"prompt\":\"a\",\"max_tokens\":40,\"json_schema\":$schema}")"
check json_object 1 "$(post completions '{"prompt":"a","max_tokens":30,"temperature":3,"response_format":{"type":"json_object"}}' | texts | grep -c '^"{.*}"$')"
check grammar '"yes"' "$(post completions '{"prompt":"a","max_tokens":30,"grammar":"root ::= \"yes\""}' | texts)"

# errors
check bad_json 400 "$(code /v1/completions -d '{')"
has bad_json_words '"type":"invalid_request_error"' "$(cat "$t/body")"
check bad_type 400 "$(code /v1/completions -d '{"prompt":"a","temperature":"hot"}')"
has bad_type_param '"param":"temperature"' "$(cat "$t/body")"
check unknown_field 400 "$(code /v1/completions -d '{"prompt":"a","logit_bias":{"5":1}}')"
has unknown_field_words 'logit_bias: this field is not supported here' "$(cat "$t/body")"
check other_model 404 "$(code /v1/completions -d '{"prompt":"a","model":"gpt"}')"
has other_model_words '"code":"model_not_found"' "$(cat "$t/body")"
check bad_schema 400 "$(code /v1/completions -d '{"prompt":"a","json_schema":{"type":"string","format":"date"}}')"
has bad_schema_words 'format: this keyword is not supported' "$(cat "$t/body")"
check too_few 400 "$(code /v1/completions -d "{\"prompt\":\"a\",\"max_tokens\":4,\"json_schema\":$schema}")"
check too_long 400 "$(code /v1/completions -d "{\"prompt\":\"$(seq -s ' ' 400)\"}")"
has too_long_words '"code":"context_length_exceeded"' "$(cat "$t/body")"
check bad_turns 400 "$(code /v1/chat/completions -d '{"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]}')"
check pictures 400 "$(code /v1/chat/completions -d '{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"file:///x"}}]}]}')"
check no_path 404 "$(code /v1/embeddings -d '{}')"
check wrong_method 405 "$(code /v1/completions)"
check chunked 400 "$(code /v1/completions -H 'Transfer-Encoding: chunked' -d '{"prompt":"a"}')"
check other_host 421 "$(code /v1/models -H 'Host: example.com')"
check other_origin 403 "$(code /v1/models -H 'Origin: http://example.com')"
check own_origin 200 "$(code /v1/models -H "Origin: $url")"
check port_taken 4 "$("$vismin" serve "$m" --port "${url##*:}" --threads 1 2>/dev/null >&2; echo $?)"

# beside others as alone
req() { echo "{\"prompt\":\"a photo of the red cube, number $1\",\"max_tokens\":$((20 + $1)),\"seed\":$1,\"temperature\":1,\"n\":2}"; }
for i in 1 2 3 4 5 6 7 8 9; do post completions "$(req $i)" | texts >"$t/alone$i"; done
clients=
for i in 1 2 3 4 5 6 7 8 9; do { post completions "$(req $i)" | texts >"$t/beside$i"; } & clients="$clients $!"; done
wait $clients
check concurrent "$(cat "$t"/alone[1-9] | cksum)" "$(cat "$t"/beside[1-9] | cksum)"
check concurrent_lines 18 "$(cat "$t"/beside[1-9] | wc -l)"

# a client that goes away
long='{"prompt":["a","the","red","cube"],"max_tokens":500,"n":32,"grammar":"root ::= [a-z]*","temperature":2'
waits() { for i in $(seq 200); do ask /health | grep -q "\"requests\":$1," && break; sleep 0.02; done; } # until so many are there
: >"$t/cut"
curl -sN "$url/v1/completions" -d "$long,\"stream\":true}" >"$t/cut" &
client=$!
for i in $(seq 200); do [ "$(grep -c data: "$t/cut")" -gt 3 ] && break; sleep 0.02; done
kill $client
check left_early 1 "$(grep -c 'data:' "$t/cut" | awk '{ print ($1 > 3) }')"
waits 0
curl -s "$url/v1/completions" -d "$long}" >"$t/cut" &
client=$!
waits 1
kill $client
waits 0
has gone '"requests":0' "$(ask /health)"
stop TERM
check end_status 0 $ended
check gone_work 1 "$(sed -n 's/.*shared), \([0-9]*\) generated.*/\1/p' "$t/err" | awk '{ print ($1 > 500 && $1 < 60000) }')"

# keys, limits
NO= KEY=s3cret; export NO KEY
start --api-key-env KEY --max-body 1 --batch 1 --queue 0 --time-limit 1.5
check no_key 401 "$(code /v1/models)"
has no_key_words '"code":"invalid_api_key"' "$(cat "$t/body")"
check wrong_key 401 "$(code /v1/completions -H 'Authorization: Bearer s3cres' -d '{"prompt":"a"}')"
check short_key 401 "$(code /v1/completions -H 'Authorization: Bearer s3cre' -d '{"prompt":"a"}')"
check no_key_health 200 "$(code /health)"
auth='Authorization: Bearer s3cret'
check key 200 "$(code /v1/completions -H "$auth" -d '{"prompt":"a"}')"
check too_large 413 "$(code /v1/completions -H "$auth" -d "{\"prompt\":\"$(seq -s ' ' 600)\"}")"
ask /v1/completions -H "$auth" -o "$t/late" -w '%{http_code}' -d "$long}" >"$t/late_code" &
client=$!
waits 1
check queue_full 429 "$(code /v1/completions -H "$auth" -D "$t/head" -d '{"prompt":"a"}')"
has retry_after 'Retry-After: ' "$(cat "$t/head")"
wait $client
check late 504 "$(cat "$t/late_code")"
stop INT
check end_status_int 0 $ended
check key_unset 2 "$("$vismin" serve "$m" --api-key-env NO 2>/dev/null; echo $?)"
check needs_key 2 "$("$vismin" serve "$m" --host 0.0.0.0 --port 0 2>"$t/err"; echo $?)"
has needs_key_words 'beyond this machine only with a key' "$(cat "$t/err")"
check bad_host 2 "$("$vismin" serve "$m" --host example --port 0 2>/dev/null; echo $?)"

# the end: what is there is finished, nothing new is let in
start
{ post completions '{"prompt":"a","max_tokens":300,"n":24,"grammar":"root ::= [a-z]{280}"}' >"$t/last"; } &
client=$!
waits 1
kill -TERM $pid
sleep 0.2
check closed_door 1 "$(code /v1/completions -d '{"prompt":"a"}' | grep -cE '000|503')"
wait $client
check finished 24 "$(texts <"$t/last" | grep -cE '^"[a-z]{280}"$')"
wait $pid
check finished_status 0 $?
pid=
exit $all
