/* train_detect.h - the training of a detector as a function, for the command and for tests. */
#ifndef VM_TRAIN_DETECT_H
#define VM_TRAIN_DETECT_H
#include "models/gdino_train.h"
#include "pipeline/detect_data.h"
#include "pipeline/train_loop.h"

typedef struct {
    train_options run;
    gdino_train_config train;
    detect_augment augment;
    const char *val;           /* annotations to validate on; NULL = none */
    const media_places *val_places;
    int64_t val_limit;         /* pictures; 0 = all */
    double max_bad;            /* share of the pictures that may be unreadable */
    bool dry_run;              /* says what memory it takes, and ends */
    const char *dir;           /* tokenizer and image processor */
} train_detect_options;

/* Trains m in place, as train_loop_run says. */
vm_status train_detect_run(gdino *m, detect_source *source, tok *t, const vm_preprocess *pp, const train_detect_options *o, vm_error *e);
#endif
