/* clip_check.h - training files looked at before the first step: records that cannot be used, pictures that are
 * missing. */
#ifndef VM_CLIP_CHECK_H
#define VM_CLIP_CHECK_H
#include "io/samples.h"
#include "pipeline/media.h"

enum { CHECK_MISSING = 1000 /* so many missing pictures end the search */, CHECK_LISTED = 20 };

typedef struct {
    int64_t originals, changes[SAMPLE_CATEGORIES + 1]; /* the last: without a category */
    int64_t invalid;                                   /* changes that only fill their place (CE-CLIP) */
    int64_t pictures, missing, groups_missing;         /* looked for, not there; groups that lack one */
    bool cut;                                          /* the search ended early */
    char *listed[CHECK_LISTED];                        /* sentences about the first missing ones */
    char first[600];                                   /* the first fault of any kind; "" = none */
} clip_check;

vm_status clip_check_data(clip_check *c, const samples *s, const media_places *p, vm_error *e);
void clip_check_free(clip_check *c);
/* A table on stdout, or one JSON object. */
vm_status clip_check_print(const clip_check *c, const samples *s, bool json, vm_error *e);
#endif
