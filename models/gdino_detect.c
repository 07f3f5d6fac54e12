/* gdino_detect.c - from logits and boxes of queries to boxes in pixels with phrases, as grounding_dino.h has them. */
#include <math.h>

#include "models/grounding_dino.h"

static float probability(float x) { return 1 / (1 + expf(-x)); }

int64_t gdino_detect(const float *logits, const float *boxes, int64_t Q, int64_t n, double threshold, double H, double W, gdino_box *found) {
    int64_t kept = 0;
    for (int64_t q = 0; q < Q; q++) {
        float best = -INFINITY, score;
        for (int64_t i = 0; i < n; i++) best = fmaxf(best, logits[q * n + i]);
        score = probability(best);
        if (!((double)score > threshold)) continue;
        const float *b = boxes + 4 * q, w = (float)W, h = (float)H;
        found[kept++] = (gdino_box){ { (b[0] - b[2] / 2) * w, (b[1] - b[3] / 2) * h, (b[0] + b[2] / 2) * w, (b[1] + b[3] / 2) * h }, score, q };
    }
    return kept;
}

int64_t gdino_phrase(const float *logits, int64_t n, int64_t text_len, double threshold, int32_t *index) {
    int64_t kept = 0;
    for (int64_t i = 1; i < VM_MIN(n, text_len - 1); i++) /* never the first, nor the last of the longest text */
        if ((double)probability(logits[i]) > threshold) index[kept++] = (int32_t)i;
    return kept;
}
