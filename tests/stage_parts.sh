# stage_parts.sh - what the tests of the stages share (sourced): a data set of the miniature world and canned answers to it.
# world_run DIR N: DIR/captions.jsonl of N scenes.  world_answers DIR FILE [DELAY_MS]: two answers for each of three tries of each caption: edits of its
# last word, garbage, a refusal, cut and empty ones, by the number of the caption.
# kill_at LINES PID PATTERN: kills the process as soon as the files of that pattern have so many lines together; one that has ended is waited for alone.
kill_at() {
    while kill -0 "$2" 2>/dev/null && [ "$(cat $3 2>/dev/null | wc -l)" -lt "$1" ]; do sleep 0.01; done
    kill -9 "$2" 2>/dev/null
    wait "$2" 2>/dev/null
}
world_run() { "$vismin" captions --world "$2" --out "$1/captions.jsonl" --quiet; }
keys_of() { # DIR: "key caption" of each line
    sed 's/.*"image_id":"\([^"]*\)","caption":"\([^"]*\)".*/\1 \2/' "$1/captions.jsonl" | while read -r id caption; do
        echo "$id:$(printf %s "$caption" | sha256sum | cut -c 1-8) $caption"
    done
}
world_answers() {
    keys_of "$1" | awk -v ms="${3:-0}" '
        function say(t, s, text, finish) { gsub(/"/, "\\\"", text)
            printf "{\"key\":\"%s\",\"try\":%d,\"sample\":%d,\"text\":\"%s\",\"finish\":\"%s\",\"delay_ms\":%d}\n", $1, t, s, text, finish, ms }
        function edits(a, b) { return "[{\"SelectedPhrase\":\"" $NF "\",\"EditedPhrase\":\"" a many "\"},{\"SelectedPhrase\":\"" $NF "\",\"EditedPhrase\":\"" b many "\"}]" }
        { many = $NF ~ /s$/ && $NF !~ /(ss|us|grass)$/ ? "s" : ""
          n = NR % 8
          for (t = 0; t < 3; t++) {
              if (n == 1 && t < 2) { say(t, 0, "xx {", "stop"); say(t, 1, "", "stop") }
              else if (n == 3) { say(t, 0, "I cannot help with that.", "refused"); say(t, 1, "I am sorry, no.", "stop") }
              else if (n == 5) { say(t, 0, "[{\"SelectedPhrase\":\"" $NF "\",\"Edi", "cut"); say(t, 1, "[{", "cut") }
              else { say(t, 0, edits(t ? "lamp" : "lantern", t ? "drum" : "chair"), "stop"); say(t, 1, edits("bottle", t ? "ladder" : "lantern"), "stop") }
          } }' >"$2"
}
