/* detector_parts.h - what the files of detector.h share: the detector, its plans. */
#ifndef VM_DETECTOR_PARTS_H
#define VM_DETECTOR_PARTS_H
#include "io/tokenizer.h"
#include "kernels/plans.h"
#include "models/detector.h"
#include "models/preprocess.h"

enum { DETECTOR_PLANS = 12, DETECTOR_SIGHTS = 3 }; /* they share one arena */
/* The picture side for B pictures of one size: what it saw last is not looked at again for the next phrases. */
typedef struct {
    int64_t B, h, w;
    vm_graph *g;             /* NULL = free */
    vm_param *cells;
    uint8_t *px;             /* (B,h,w,3): the pictures of the cells */
    uint64_t version;        /* of the weights then; 0 = nothing was seen */
} detector_sight;

struct detector {
    vm_backend *be;
    vm_type dtype;
    gdino *m;
    bool owns;               /* m */
    tok *t;
    vm_preprocess pre;
    tok_ids ids;
    int32_t *label;          /* of each token: 0, or 1 + its phrase */
    char **phrase;
    int64_t n;
    float *rows;             /* (T,d): the text, as the picture side reads it */
    vm_plans plans, looks;   /* of the text side and of what reads cells; of the picture side */
    detector_sight sights[DETECTOR_SIGHTS]; /* of looks, by place */
    vm_arena arena;
};

void detector_plans_begin(detector *d); /* be, dtype and m are there */
/* The plan for the text of now, of the text side or (of) of what reads the cells of a sight. NULL: *e says why. */
vm_graph *detector_plan_for(detector *d, const detector_sight *of, vm_error *e);
/* The picture side for B pictures of h x w; NULL: *e says why. */
detector_sight *detector_sight_for(detector *d, int64_t B, int64_t h, int64_t w, vm_error *e);
/* The cells of its fitted pictures, numbers which[], unless they are there from the last time. */
vm_status detector_see(detector *d, detector_sight *s, const int64_t *which, const vm_image *fitted, vm_error *e);
void detector_plans_free(detector *d);
#endif
