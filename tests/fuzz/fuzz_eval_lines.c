/* fuzz_eval_lines.c - benchmarks whose annotations are JSON Lines. */
#include "tests/fuzz/eval_input.h"

static const eval_target targets[] = {
    { "vsr", "random/dev.jsonl", { NULL } },
    { "vsr", "random/dev.jsonl", { "task=truth" } },
    { "vsr", "random/dev.jsonl", { "negation=original" } },
    { "winoground", "examples.jsonl", { NULL } },
    { "vismin", "data.jsonl", { NULL } },
    { "countbench", "data.jsonl", { NULL } },
    { "pairs", "pairs.jsonl", { NULL } },
    { "choice", "choice.jsonl", { NULL } },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) { return eval_fuzz(targets, VM_LEN(targets), data, bytes); }
