/* eval_result.h - scores of the items of a set by one model, and what they are worth: counts per split and tag, shares
 * with intervals, differences of two models. */
#ifndef VM_EVAL_RESULT_H
#define VM_EVAL_RESULT_H
#include "pipeline/eval_set.h"

/* How items are judged: which numbers a table shows. */
enum { EVAL_METRICS = PAIR_METRICS };
typedef struct {
    const char *name;     /* --metric; "vismin", "mmvp", "accuracy" */
    eval_kind kind;
    int n;                /* metrics */
    const char *metric[EVAL_METRICS];
    double chance[EVAL_METRICS]; /* of independent continuous scores; NaN: 1/K, item by item */
    const char *template; /* of captions; NULL = as they are */
    bool given;           /* outcomes are there without scores */
} eval_rule;
/* The rule of that name (NULL: the usual one) for items of the kind; NULL and VM_EUSAGE. */
const eval_rule *eval_find_rule(eval_kind kind, const char *name, vm_error *e);

typedef struct {
    bool scored, invalid, tie;
    bool truncated;             /* the model does not see the end of a caption */
    float credit[EVAL_METRICS]; /* 1 right, 0 wrong, between them with TIES_HALF */
    bool match;                 /* pairs: the group match */
    double rank, margin;        /* choices, see choice_judge */
} eval_score;

/* Of the items of one split, or of one tag in it. */
typedef struct {
    int split, tag;                  /* tag -1: all of the split; split -1: all items */
    int64_t n;                       /* what shares are taken of: n_scored, and n_skipped with --on-error wrong */
    int64_t n_scored, n_skipped;     /* skipped: bad record, picture missing or broken */
    int64_t n_invalid, ties;         /* of the scored: a score is not a number; an undecided comparison */
    int64_t n_degenerate;            /* of the scored: two captions are equal, or two pictures */
    int64_t n_truncated, n_empty;    /* of the scored: a caption is longer than the model takes; a caption is empty */
    double correct[EVAL_METRICS], chance[EVAL_METRICS]; /* sums */
    int64_t match;                   /* pairs */
    int64_t n_margin, n_long, within_1, within_5; /* choices: margins; of those with 5 options or more: ranks */
    double margin, reciprocal;       /* choices: sums of margins, of 1 / rank */
} eval_tally;

struct eval_result {
    char *model;        /* name */
    const eval_set *set;
    eval_set *own_set;  /* freed with the result; NULL = the set belongs to somebody else */
    const eval_rule *rule;
    tie_rule ties;
    float *s;           /* scores of item x: s[x->at + n_images * caption + image] */
    eval_score *score;  /* one per item */
    eval_tally *tally;  /* one per split */
    int n_splits;
    eval_tally *tag;    /* one per tag of a split that occurs, split by split */
    int64_t n_tags, cap_tags;
    eval_tally all;     /* all items */
    eval_fault *fault;  /* pictures that could not be read; the set's own faults are in the set */
    int64_t n_faults, cap_faults;
    keymap text;
    /* Probabilities that a caption fits a picture are 1 / (1 + exp(-(scale * score + bias))) when the model has learnt
     * them so. */
    bool calibrated;
    float scale, bias;  /* logit = scale * score + bias; scale 0: the model has none */
    float temperature;  /* of the softmax over the options of a choice; 0: 1 / scale */
    eval_extras extras; /* further numbers, filled by eval_result_extras */
};

eval_result *eval_result_new(const eval_set *set, const eval_rule *rule, const char *model, vm_error *e);
void eval_result_free(eval_result *r); /* accepts NULL */
static inline const float *eval_scores(const eval_result *r, const eval_item *x) { return r->s + x->at; }
/* The probability that score number k of the item stands for, NaN when the model gives none. */
float eval_probability(const eval_result *r, const eval_item *x, int k);
/* Fills the outcome of an item from its scores. */
void eval_judge(const eval_result *r, const eval_item *x, eval_score *y);
/* Judges every item that is scored, and counts. */
vm_status eval_result_tally(eval_result *r, vm_error *e);
/* The further numbers of the kind (pairs: group match; choices: mean reciprocal rank, recall, margin), then those of the
 * data set (d may be NULL). After eval_result_tally. */
vm_status eval_result_extras(eval_result *r, const eval_dataset *d, vm_error *e);

/* The share of one metric: of t, one of the tallies above. */
estimate eval_share(const eval_result *r, const eval_tally *t, int metric);
/* Chance in t. */
double eval_chance(const eval_tally *t, int metric);
/* The mean over the tags of a split (-1: over the tags of all splits); no interval. NaN without tags. */
double eval_mean_of_tags(const eval_result *r, int split, int metric);

/* Means over splits of one metric of r, minus the same of control (NULL: nothing is taken off) on the items that both
 * have scored. each: one estimate per split of r, or NULL. leave_out: name of a split that does not count in the mean,
 * or NULL. */
vm_status eval_difference(const eval_result *r, const eval_result *control, int metric, const char *leave_out,
                          uint64_t seed, estimate *each, estimate *mean, vm_error *e);
#endif
