/* eval_detect.h - what the files of `vismin eval detect` share. */
#ifndef VM_EVAL_DETECT_H
#define VM_EVAL_DETECT_H
#include "models/detector.h"
#include "pipeline/box_bootstrap.h"
#include "pipeline/box_counts.h"
#include "pipeline/command.h"
#include "pipeline/eval_files.h"
#include "pipeline/media.h"

typedef struct {
    boxes_set set;
    boxes_item *found;
    int64_t n, cap;              /* of found */
    keymap faults;               /* pictures that could not be read, and why */
    eval_model m;                /* name and sums; of a file of results its name */
    bool ran;                    /* the model found the boxes, else they come from a file */
    double threshold, nms;
    box_scores phrases, pooled, *each;
    box_intervals sure[2];       /* of phrases, of pooled */
    box_counts counts, *each_count;
} eval_detect;

typedef struct {
    const media_places *places;  /* opened */
    detector_options how;
    const char *journal;         /* what was found so far: an interrupted run goes on; NULL = none */
    bool fresh;
    int64_t limit;               /* pictures; 0 = all */
} eval_detect_source;

/* Lets the model look for the phrases of all pictures. (eval_detect_run.c) */
vm_status eval_detect_run(eval_detect *x, detector *d, const eval_detect_source *src, vm_error *e);

/* results.json, table.md, table.csv, phrases.csv, skipped.jsonl and, of a model, detections.json. (eval_detect_files.c) */
vm_status eval_detect_write(const eval_detect *x, const vm_args *a, const eval_facts *f, const char *dir, vm_error *e);
void eval_detect_put(json_writer *w, const eval_detect *x, const vm_args *a, const eval_facts *f);
void eval_detect_print(const eval_detect *x, const char *data);
#endif
