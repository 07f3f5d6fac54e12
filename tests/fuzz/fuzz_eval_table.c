/* fuzz_eval_table.c - benchmarks whose annotations are CSV. */
#include "tests/fuzz/eval_input.h"

static const eval_target targets[] = {
    { "vismin", "object.csv", { NULL } },
    { "mmvp", "Questions.csv", { NULL } },
    { "mmvp", "Questions.csv", { "captions=raw" } },
    { "winoground", "data.csv", { NULL } },
    { "pairs", "pairs.csv", { NULL } },
    { "choice", "choice.csv", { NULL } },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) { return eval_fuzz(targets, VM_LEN(targets), data, bytes); }
