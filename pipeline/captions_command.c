/* captions_command.c - `vismin captions`: captions from where they are to captions.jsonl, with which the other stages
 * begin. */
#include <stdio.h>
#include <string.h>

#include "io/log.h"
#include "pipeline/captions.h"
#include "pipeline/run.h"

static vm_status read_source(captions *l, const vm_args *a, vm_error *e) {
    static const char *const picks[] = { "random", "first", "longest", "all" };
    const char *coco = arg_str(a, "coco"), *vsr = arg_str(a, "vsr"), *list = arg_str(a, "captions"),
               *pick = arg_str(a, "pick"), *split = arg_str(a, "split");
    const char *mode = arg_str(a, "world-captions");
    bool world = arg_given(a, "world"), specific = !strcmp(mode, "specific");
    int k = 0;
    if ((coco != NULL) + (vsr != NULL) + (list != NULL) + world != 1)
        return vm_fail(e, VM_EUSAGE,
                       "captions: give one source: --coco FILE, --vsr FILE, --captions FILE or --world N");
    while (k < VM_LEN(picks) && strcmp(picks[k], pick)) k++;
    if (k == VM_LEN(picks)) return vm_fail(e, VM_EUSAGE, "--pick %s: expected random, first, longest or all", pick);
    if (!specific && strcmp(mode, "ordinary"))
        return vm_fail(e, VM_EUSAGE, "--world-captions %s: expected specific or ordinary", mode);
    if (coco) return captions_coco(l, coco, (captions_pick)k, (uint64_t)arg_int(a, "seed"), split, e);
    if (vsr) return captions_vsr(l, vsr, e);
    if (list) return captions_table(l, list, split, e);
    if (arg_int(a, "seed") < 0)
        return vm_fail(e, VM_EUSAGE, "--seed %lld: the first scene's number is 0 or more",
                       (long long)arg_int(a, "seed"));
    return captions_world(l, arg_int(a, "seed"), arg_int(a, "world"), split ? split : "source", specific, e);
}

static vm_status run(const vm_args *a, vm_error *e) {
    captions l = { .strict = arg_flag(a, "strict") };
    const char *out = arg_str(a, "out");
    if (!read_source(&l, a, e)) {
        char *dir = path_dir(out);
        if (!dir) vm_nomem(e, 256, "a path");
        else if (!dir_make(dir, e)) captions_write(&l, out, e);
        vm_free(dir);
    }
    if (!e->status)
        vm_info("%lld captions; left out: %lld with fewer than %d words, %lld with more than %d, %lld with control "
                "characters, %lld malformed lines",
                (long long)l.n, (long long)l.too_short, CAPTION_LEAST, (long long)l.too_long, CAPTION_MOST,
                (long long)l.control, (long long)l.malformed);
    bool bad = l.malformed > 0;
    if (!e->status && !l.n) vm_fail(e, VM_EINPUT, "%s: no captions in it", out);
    captions_free(&l);
    return e->status ? e->status : bad ? VM_EPARTIAL : VM_OK;
}

static const vm_opt opts[] = {
    { "coco", OPT_STR, NULL, "FILE", "COCO's captions_train2017.json or captions_val2017.json", 0, 0 },
    { "pick", OPT_STR, "random", "WHICH", "of COCO's captions of a picture: random (by --seed), first, longest or all",
      0, 0 },
    { "vsr", OPT_STR, NULL, "FILE", "VSR's JSON lines: the statements that are true", 0, 0 },
    { "captions", OPT_STR, NULL, "FILE",
      "a list: .jsonl, .csv or .tsv with image and caption; any other name: a caption a line", 0, 0 },
    { "world", OPT_INT, NULL, "N", "captions of N scenes of the miniature world, from number --seed on", 1, 1e7 },
    { "world-captions", OPT_STR, "specific", "MODE", "specific (number, colour, texture, relation stated) or ordinary",
      0, 0 },
    { "split", OPT_STR, NULL, "NAME",
      "noted with each caption; of the world: train, source, test or val (default source)", 0, 0 },
    { "strict", OPT_FLAG, NULL, NULL, "a malformed line is an error", 0, 0 },
    { "out", OPT_STR, "captions.jsonl", "FILE", "where they go", 0, 0 },
    { 0 },
};

const vm_command cmd_captions = {
    .name = "captions",
    .summary = "captions of COCO, VSR, lists or the miniature world, for the stages that follow",
    .usage = "--coco FILE | --vsr FILE | --captions FILE | --world N [options]",
    .about = "Writes JSON lines with image_id and caption. Blanks are put in order (the original stays as "
             "caption_raw); captions with fewer than 3 or\n"
             "more than 60 words or with control characters are left out and counted.\n\n"
             "  vismin captions --coco annotations/captions_train2017.json --out run/captions.jsonl\n"
             "  vismin captions --world 48 --out run/captions.jsonl",
    .opts = opts,
    .max_pos = 0,
    .run = run,
};
