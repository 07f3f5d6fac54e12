/* fuzz_eval_members.c - benchmarks whose annotations are one JSON object, a record for each name. */
#include "tests/fuzz/eval_input.h"

static const eval_target targets[] = {
    { "valse_v2", "existence.json", { NULL } },
    { "valse_v2", "existence.json", { "filter=none" } },
    { "sugarcrepe", "swap_obj.json", { NULL } },
    { "imagecode", "valid_data.json", { "task=full" } },
    { "eqben", "eqben_subset_10percent_final.json", { NULL } },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) { return eval_fuzz(targets, VM_LEN(targets), data, bytes); }
