/* sampler_step.c - one step of each sampler of sampler.h. With a = alpha bar of the time, b = 1 - a:
 *
 *   x0 = (x - sqrt b e) / sqrt a;  of v:  x0 = sqrt a x - sqrt b v,  e = sqrt a v + sqrt b x;  of a sample: e = (x - sqrt a x0) / sqrt b
 *   DDIM   x = sqrt a' x0 + sqrt(1 - a' - s^2) e + s n,  s = eta sqrt((1-a')/(1-a) (1 - a/a'))
 *   PNDM   x = sqrt(a'/a) x - (a' - a) e / (a sqrt b' + sqrt(a b a')),  e of Adams and Bashforth over up to 4 outputs
 *   Euler  x += (x - x0)/sigma (sigma' - sigma);  ancestral: to sqrt(sigma'^2 - u^2), then u n
 *   DPM    in lambda = log(alpha/sigma), first to third order
 *   DDPM   the mean of the posterior, then its deviation times n;  LCM  x = sqrt a' (c_out x0 + c_skip x) + sqrt b' n */
#include <math.h>
#include <string.h>

#include "models/sampler_parts.h"

/* --- the network's output ------------------------------------------------------------------------------------------- */
typedef struct { double x0, e; } pair; /* the clean sample and the noise that an output stands for */
static pair read_output(const sampler_config *c, double a, double x, double o) {
    double ra = sqrt(a), rb = sqrt(1 - a);
    pair p = { 0 };
    switch (c->predicts) {
        case PREDICTS_NOISE: p.x0 = (x - rb * o) / ra, p.e = o; break;
        case PREDICTS_V: p.x0 = ra * x - rb * o, p.e = ra * o + rb * x; break;
        case PREDICTS_SAMPLE: p.x0 = o, p.e = (x - ra * o) / rb; break;
    }
    if (c->clip > 0) p.x0 = fmin(fmax(p.x0, -c->clip), c->clip);
    return p;
}

/* The alpha bar of a whole time; that of what comes after the last one. */
static double alpha(const sampler *s, double t) {
    if (t >= 0) return (double)s->alphas[VM_MIN((int64_t)t, s->c.T - 1)];
    return s->c.kind == SAMPLER_DDPM || s->c.final_one ? 1 : (double)s->alphas[0];
}

static void remember(sampler *s, const float *x) {
    float *oldest = s->past[SAMPLER_PAST - 1];
    memmove(s->past + 1, s->past, (SAMPLER_PAST - 1) * sizeof *s->past);
    memcpy(s->past[0] = oldest, x, (size_t)s->n * sizeof *x);
    s->n_past = VM_MIN(s->n_past + 1, SAMPLER_PAST);
}

/* --- the samplers ---------------------------------------------------------------------------------------------------- */
static void ddim(sampler *s, const float *o, float *x, const float *noise) {
    double t = s->time[s->at], a = alpha(s, t), next = alpha(s, t - (double)(s->c.T / s->N));
    double sd = s->c.eta * sqrt((1 - next) / (1 - a) * (1 - a / next));
    for (int64_t i = 0; i < s->n; i++) {
        pair p = read_output(&s->c, a, (double)x[i], (double)o[i]);
        x[i] = (float)(sqrt(next) * p.x0 + sqrt(1 - next - sd * sd) * p.e + (noise ? sd * (double)noise[i] : 0));
    }
}

/* From the sample `from` at time t to `to`; e: the combined output. */
static void pndm_update(const sampler *s, const float *from, const float *e, double t, double to, float *x) {
    double a = alpha(s, t), next = alpha(s, to), b = 1 - a;
    double denominator = a * sqrt(1 - next) + sqrt(a * b * next);
    for (int64_t i = 0; i < s->n; i++) {
        double y = (double)from[i], g = (double)e[i];
        if (s->c.predicts == PREDICTS_V) g = sqrt(a) * g + sqrt(b) * y;
        x[i] = (float)(sqrt(next / a) * y - (next - a) * g / denominator);
    }
}

static void pndm_group(sampler *s, const float *o, float *x) {
    static const double weight[] = { 1 / 6.0, 1 / 3.0, 1 / 3.0, 1 / 6.0 };
    int k = (int)(s->counter % 4);
    double to = s->time[s->at] - (s->counter % 2 ? 0 : (double)(s->c.T / s->N / 2)), t = s->time[s->counter / 4 * 4]; /* counted from the first call of all, as the reference has it */
    if (k == 0) remember(s, o), memcpy(s->start, x, (size_t)s->n * sizeof *x);
    for (int64_t i = 0; i < s->n; i++) s->sum[i] = (float)((k ? (double)s->sum[i] : 0) + weight[k] * (double)o[i]);
    pndm_update(s, s->start, k == 3 ? s->sum : o, t, to, x);
}

static void pndm(sampler *s, const float *o, float *x) {
    static const double weight[4][4] = { { 1 }, { 1.5, -0.5 }, { 23 / 12.0, -16 / 12.0, 5 / 12.0 }, { 55 / 24.0, -59 / 24.0, 37 / 24.0, -9 / 24.0 } };
    double gap = (double)(s->c.T / s->N), t = s->time[s->at], to = t - gap;
    if (s->counter < s->prk) {
        pndm_group(s, o, x);
        return;
    }
    if (s->counter == 1) { /* the first step once more, with the mean of both outputs */
        for (int64_t i = 0; i < s->n; i++) s->sum[i] = (o[i] + s->past[0][i]) / 2;
        pndm_update(s, s->start, s->sum, t + gap, t, x);
        return;
    }
    remember(s, o);
    if (s->counter == 0) memcpy(s->start, x, (size_t)s->n * sizeof *x);
    for (int64_t i = 0; i < s->n; i++) {
        double e = 0;
        for (int k = 0; k < s->n_past; k++) e += weight[s->n_past - 1][k] * (double)s->past[k][i];
        s->sum[i] = (float)e;
    }
    pndm_update(s, x, s->sum, t, to, x);
}

static void euler(sampler *s, const float *o, float *x, const float *noise) {
    double from = (double)s->sigma[s->at], to = (double)s->sigma[s->at + 1], up = 0;
    if (s->c.kind == SAMPLER_EULER_A) {
        up = sqrt(to * to * (from * from - to * to) / (from * from));
        to = sqrt(to * to - up * up);
    }
    for (int64_t i = 0; i < s->n; i++) {
        double y = (double)x[i], g = (double)o[i], q = from * from + 1;
        double x0 = s->c.predicts == PREDICTS_NOISE ? y - from * g : s->c.predicts == PREDICTS_V ? g * (-from / sqrt(q)) + y / q : g;
        x[i] = (float)(y + (y - x0) / from * (to - from) + (noise ? up * (double)noise[i] : 0));
    }
}

typedef struct { double alpha, sigma, lambda; } dpm_level;
static dpm_level level_of(double sigma) {
    double a = 1 / sqrt(sigma * sigma + 1);
    return (dpm_level){ a, sigma * a, log(a) - log(sigma * a) };
}

static int dpm_order(const sampler *s) {
    bool few = s->c.lower_final && s->N < 15;
    if (s->c.order == 1 || s->n_past < 2 || (s->at == s->N - 1 && (s->c.euler_at_final || few || !s->c.last_is_least))) return 1;
    return s->c.order == 2 || s->n_past < 3 || (s->at == s->N - 2 && few) ? 2 : 3;
}

static void dpm(sampler *s, const float *o, float *x, const float *noise) {
    dpm_level l = level_of((double)s->sigma[s->at]), t = level_of((double)s->sigma[s->at + 1]);
    for (int64_t i = 0; i < s->n; i++) {
        double y = (double)x[i], g = (double)o[i];
        s->sum[i] = (float)(s->c.predicts == PREDICTS_NOISE ? (y - l.sigma * g) / l.alpha : s->c.predicts == PREDICTS_V ? l.alpha * y - l.sigma * g : g);
    }
    remember(s, s->sum);
    int order = dpm_order(s);
    double h = t.lambda - l.lambda, m = exp(-h) - 1, r0 = 1, r1 = 1, noisy = 0;
    double keep = t.sigma / l.sigma, d0 = -t.alpha * m, d1 = 0, d2 = 0;
    if (order > 1) r0 = (l.lambda - level_of((double)s->sigma[s->at - 1]).lambda) / h;
    if (order > 2) r1 = (level_of((double)s->sigma[s->at - 1]).lambda - level_of((double)s->sigma[s->at - 2]).lambda) / h;
    if (s->c.sde) {
        double q = 1 - exp(-2 * h);
        keep *= exp(-h), d0 = t.alpha * q, noisy = t.sigma * sqrt(q);
        if (order > 1) d1 = s->c.heun ? t.alpha * (q / (-2 * h) + 1) : 0.5 * t.alpha * q;
    } else if (order > 1) {
        d1 = s->c.heun || order > 2 ? t.alpha * (m / h + 1) : -0.5 * t.alpha * m;
        if (order > 2) d2 = -t.alpha * ((m + h) / (h * h) - 0.5);
    }
    for (int64_t i = 0; i < s->n; i++) {
        double m0 = (double)s->past[0][i], y = keep * (double)x[i] + d0 * m0;
        if (order > 1) {
            double m1 = (double)s->past[1][i], a = (m0 - m1) / r0;
            if (order > 2) {
                double b = (m1 - (double)s->past[2][i]) / r1;
                y += d1 * (a + r0 / (r0 + r1) * (a - b)) + d2 * (a - b) / (r0 + r1);
            } else y += d1 * a;
        }
        x[i] = (float)(y + (noise ? noisy * (double)noise[i] : 0));
    }
}

static void ddpm(sampler *s, const float *o, float *x, const float *noise) {
    double a = alpha(s, s->time[s->at]), next = alpha(s, s->at + 1 < s->N ? s->time[s->at + 1] : -1), b = 1 - a;
    double step = a / next, beta = 1 - step, var = fmax((1 - next) / b * beta, 1e-20);
    if (s->c.large_variance) var = beta;
    for (int64_t i = 0; i < s->n; i++) {
        double y = (double)x[i];
        pair p = read_output(&s->c, a, y, (double)o[i]);
        x[i] = (float)(sqrt(next) * beta / b * p.x0 + sqrt(step) * (1 - next) / b * y + (noise ? sqrt(var) * (double)noise[i] : 0));
    }
}

static void lcm(sampler *s, const float *o, float *x, const float *noise) {
    double t = s->time[s->at], a = alpha(s, t), next = alpha(s, s->at + 1 < s->N ? s->time[s->at + 1] : t);
    double u = t * s->c.scaling, skip = 0.25 / (u * u + 0.25), out = u / sqrt(u * u + 0.25);
    for (int64_t i = 0; i < s->n; i++) {
        double y = (double)x[i], clean = out * read_output(&s->c, a, y, (double)o[i]).x0 + skip * y;
        x[i] = (float)(noise ? sqrt(next) * clean + sqrt(1 - next) * (double)noise[i] : clean);
    }
}

/* --- for callers ------------------------------------------------------------------------------------------------------ */
void sampler_input(const sampler *s, const float *x, float *scaled) {
    double by = 1;
    if (s->c.kind == SAMPLER_EULER || s->c.kind == SAMPLER_EULER_A) by = 1 / sqrt((double)s->sigma[s->at] * (double)s->sigma[s->at] + 1);
    for (int64_t i = 0; i < s->n; i++) scaled[i] = (float)((double)x[i] * by);
}

bool sampler_draws(const sampler *s) {
    switch (s->c.kind) {
        case SAMPLER_DDIM: return s->c.eta > 0;
        case SAMPLER_EULER_A: return true;
        case SAMPLER_DPM: return s->c.sde;
        case SAMPLER_DDPM: return s->time[s->at] > 0;
        case SAMPLER_LCM: return s->at + 1 < s->N;
        default: return false;
    }
}

void sampler_step(sampler *s, const float *output, float *x, const float *noise) {
    switch (s->c.kind) {
        case SAMPLER_DDIM: ddim(s, output, x, noise); break;
        case SAMPLER_PNDM: pndm(s, output, x); break;
        case SAMPLER_EULER:
        case SAMPLER_EULER_A: euler(s, output, x, noise); break;
        case SAMPLER_DPM: dpm(s, output, x, noise); break;
        case SAMPLER_DDPM: ddpm(s, output, x, noise); break;
        case SAMPLER_LCM: lcm(s, output, x, noise); break;
    }
    s->at++, s->counter++;
}

/* The call that stands at a time; where two do, the second one. */
static int64_t call_at(const sampler *s, double time) {
    int64_t found = -1, times = 0;
    for (int64_t i = 0; i < s->N && times < 2; i++)
        if (fabs(s->time[i] - time) < 1e-3) found = i, times++;
    return found < 0 ? s->N - 1 : found;
}

static void mix(double keep, double add, const float *clean, const float *noise, float *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = (float)(keep * (double)clean[i] + add * (double)noise[i]);
}

/* call: where levels are by call; time: where they are by time. */
static void noise_at(const sampler *s, int64_t call, double time, const float *clean, const float *noise, float *out, int64_t n) {
    if (s->c.kind == SAMPLER_EULER || s->c.kind == SAMPLER_EULER_A) mix(1, (double)s->sigma[call], clean, noise, out, n);
    else if (s->c.kind == SAMPLER_DPM) {
        dpm_level l = level_of((double)s->sigma[call]);
        mix(l.alpha, l.sigma, clean, noise, out, n);
    } else {
        double a = alpha(s, time);
        mix(sqrt(a), sqrt(1 - a), clean, noise, out, n);
    }
}

void sampler_add_noise(const sampler *s, double time, const float *clean, const float *noise, float *out, int64_t n) {
    noise_at(s, s->sigma ? call_at(s, time) : 0, time, clean, noise, out, n);
}

void sampler_add_noise_next(const sampler *s, const float *clean, const float *noise, float *out, int64_t n) {
    if (s->at >= s->calls) memcpy(out, clean, (size_t)n * sizeof *out);
    else noise_at(s, s->at, s->time[s->at], clean, noise, out, n);
}

void sampler_velocity(const sampler *s, double time, const float *clean, const float *noise, float *out, int64_t n) {
    double a = alpha(s, time);
    for (int64_t i = 0; i < n; i++) out[i] = (float)(sqrt(a) * (double)noise[i] - sqrt(1 - a) * (double)clean[i]);
}
