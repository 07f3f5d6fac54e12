/* sampler_parts.h - what sampler.c (schedules) and sampler_step.c (steps) share. Not for callers. */
#ifndef VM_SAMPLER_PARTS_H
#define VM_SAMPLER_PARTS_H
#include "models/sampler.h"

enum { SAMPLER_PAST = 4 }; /* outputs that a multistep method looks back on */

struct sampler {
    sampler_config c;
    int64_t n;              /* elements of a sample */
    float *alphas;          /* (T) cumulative products of 1 - beta */
    int64_t N, calls;
    double *time;           /* of each call */
    float *sigma;           /* (N+1) */
    int64_t at;             /* the next call */
    int64_t counter;        /* calls made */
    float *past[SAMPLER_PAST]; /* outputs, the newest first */
    int n_past;
    float *start, *sum;     /* PNDM: the sample that a group of calls began with; the weighted sum of a group */
    int64_t prk;            /* PNDM: calls of the Runge-Kutta groups */
};
#endif
