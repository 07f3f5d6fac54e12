/* box_bootstrap.c - see box_bootstrap.h. */
#include "pipeline/box_bootstrap.h"

#include <math.h>
#include <string.h>

#include "kernels/philox.h"

enum { AP, AP50, AP75, NUMBERS };

/* Mean precision of a list at overlap t, every box and annotation counting as often as its picture was drawn. Copies of a box stand
 * together, where only the last of them matters to the curve. room: twice as many numbers as there are boxes. */
static double precision_of(const box_verdict *v, int64_t n, double wanted, int t, const int32_t *times, double *room) {
    double *r = room, *p = room + n, right = 0, wrong = 0;
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        const int32_t k = times[v[i].image];
        if (!k || v[i].ignored >> t & 1) continue;
        *(v[i].right >> t & 1 ? &right : &wrong) += k;
        r[kept] = right / wanted, p[kept++] = right / (right + wrong);
    }
    return box_mean_precision(r, p, kept);
}

/* The numbers of one resample; NaN: no annotations in it. */
static void resample(const box_verdicts *j, const int32_t *times, double *room, double out[NUMBERS]) {
    int64_t lists = 0;
    double sum[NUMBERS] = { 0 };
    for (int64_t l = 0; l < j->lists; l++) {
        double wanted = 0, ap[BOX_OVERLAPS];
        for (int64_t i = j->first_truth[l]; i < j->first_truth[l + 1]; i++) wanted += times[j->truth[i]];
        if (wanted <= 0) continue;
        for (int t = 0; t < BOX_OVERLAPS; t++) {
            ap[t] = precision_of(j->v + j->first[l], j->first[l + 1] - j->first[l], wanted, t, times, room);
            sum[AP] += ap[t] / BOX_OVERLAPS;
        }
        sum[AP50] += ap[0], sum[AP75] += ap[5], lists++;
    }
    for (int k = 0; k < NUMBERS; k++) out[k] = lists ? sum[k] / (double)lists : NAN;
}

/* Pictures that are asked for anything. */
static int64_t list_pictures(const boxes_set *s, int64_t *picture) {
    int64_t n = 0;
    for (int64_t i = 0; i < s->n_images; i++)
        if (!s->image[i].left_out) picture[n++] = i;
    return n;
}

vm_status box_bootstrap(const boxes_set *s, const boxes_item *found, int64_t n, bool pooled, const box_scores *scores, int64_t resamples, uint64_t seed,
                        box_intervals *out, vm_error *e) {
    box_verdicts j = { 0 };
    double *draws = vm_alloc((size_t)(resamples * NUMBERS) * sizeof *draws + 1);
    int64_t *picture = vm_alloc((size_t)s->n_images * sizeof *picture + 1), n_pictures = picture ? list_pictures(s, picture) : 0;
    bool full = !draws || !picture;
    *out = (box_intervals){ { scores->ap[0], NAN, NAN }, { scores->ap50, NAN, NAN }, { scores->ap75, NAN, NAN } };
    if (full) vm_nomem(e, (size_t)resamples * sizeof *draws, "a bootstrap");
    if (!full && n_pictures && resamples > 0 && !box_judge(s, found, n, pooled, &j, e)) {
#pragma omp parallel
        {
            int32_t *times = vm_alloc((size_t)s->n_images * sizeof *times + 1);
            double *room = vm_alloc((size_t)(2 * n) * sizeof *room + 1);
            if (!times || !room) {
#pragma omp atomic write
                full = true;
            }
#pragma omp for schedule(dynamic)
            for (int64_t r = 0; r < resamples; r++) {
                vm_rng rng = vm_rng_at(seed, (uint64_t)r);
                if (!times || !room) continue;
                memset(times, 0, (size_t)s->n_images * sizeof *times);
                for (int64_t i = 0; i < n_pictures; i++) times[picture[vm_rng_below(&rng, (uint32_t)n_pictures)]]++;
                double x[NUMBERS];
                resample(&j, times, room, x);
                for (int k = 0; k < NUMBERS; k++) draws[k * resamples + r] = x[k];
            }
            vm_free(times), vm_free(room);
        }
        if (full) vm_nomem(e, (size_t)n * sizeof *draws, "a bootstrap");
        else
            *out = (box_intervals){ percentile_interval(scores->ap[0], draws + AP * resamples, resamples), percentile_interval(scores->ap50, draws + AP50 * resamples, resamples),
                                    percentile_interval(scores->ap75, draws + AP75 * resamples, resamples) };
    }
    box_verdicts_free(&j);
    vm_free(draws), vm_free(picture);
    return e->status;
}
