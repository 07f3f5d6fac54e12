/* fuzz_eval_list.c - benchmarks whose annotations are a JSON list, and EqBen's nests of lists. */
#include "tests/fuzz/eval_input.h"

static const eval_target targets[] = {
    { "vismin", "train.json", { NULL } },
    { "eqben_all", "all_select.json", { NULL } },
    { "whatsup_controlled", "controlled_images_dataset.json", { NULL } },
    { "whatsup_controlled", "controlled_images_dataset.json", { "options=2" } },
    { "coco_spatial", "coco_qa_one_obj.json", { NULL } },
    { "gqa_spatial", "vg_qa_two_obj.json", { NULL } },
    { "spec_i2t", "count/image2text.json", { NULL } },
    { "spec_t2i", "count/text2image.json", { NULL } },
    { "imagecode", "valid_simple.json", { NULL } },
    { "countbench", "CountBench.json", { NULL } },
    { "countbench", "CountBench.json", { "foils=3" } },
    { "aro_vg_relation", "visual_genome_relation.json", { NULL } },
    { "aro_vg_attribution", "visual_genome_attribution.json", { NULL } },
    { "aro_coco_order", "aro_coco_order.json", { NULL } },
    { "pairs", "pairs.json", { NULL } },
    { "choice", "choice.json", { NULL } },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) { return eval_fuzz(targets, VM_LEN(targets), data, bytes); }
