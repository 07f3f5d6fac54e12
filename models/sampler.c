/* sampler.c - schedules of sampler.h: which noise levels and times the steps of a sampler have. Steps: sampler_step.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "models/sampler_parts.h"

/* --- configuration -------------------------------------------------------------------------------------------------- */
static int word_of(json_value v, const char *key, const char *dflt, const char *const *words, int n, vm_error *e) {
    const char *s = json_str(v, key, dflt, e);
    for (int k = 0; k < n && !e->status; k++)
        if (!strcmp(words[k], s)) return k;
    if (!e->status) json_fail(json_get(v, key), e, "\"%s\" is not supported", s);
    return 0;
}

static vm_status read_config(sampler_config *c, json_value v, vm_error *e) {
    static const char *const kinds[] = { "DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler",
                                         "DPMSolverMultistepScheduler", "DDPMScheduler", "LCMScheduler" };
    static const char *const predicts[] = { "epsilon", "v_prediction", "sample" }, *const spacings[] = { "leading", "linspace", "trailing" };
    static const char *const betas[] = { "linear", "scaled_linear", "squaredcos_cap_v2" }, *const algorithms[] = { "dpmsolver++", "sde-dpmsolver++" };
    static const char *const solvers[] = { "midpoint", "heun" }, *const ends[] = { "zero", "sigma_min" }, *const variances[] = { "fixed_small", "fixed_large" };
    static const char *const off[] = { "thresholding", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas", "use_dynamic_shifting" };
    *c = (sampler_config){ .kind = (sampler_kind)word_of(v, "_class_name", "", kinds, VM_LEN(kinds), e) };
    bool euler = c->kind == SAMPLER_EULER || c->kind == SAMPLER_EULER_A || c->kind == SAMPLER_DPM;
    c->predicts = (sampler_predicts)word_of(v, "prediction_type", "epsilon", predicts, 3, e);
    c->spacing = word_of(v, "timestep_spacing", euler ? "linspace" : "leading", spacings, 3, e);
    c->betas = word_of(v, "beta_schedule", c->kind == SAMPLER_LCM ? "scaled_linear" : "linear", betas, 3, e);
    c->T = json_int(v, "num_train_timesteps", 1000, 2, 1 << 20, e), c->offset = json_int(v, "steps_offset", 0, 0, 1 << 20, e);
    c->beta_start = json_num(v, "beta_start", 1e-4, 0, 1, e), c->beta_end = json_num(v, "beta_end", 0.02, 0, 1, e);
    bool clips = c->kind == SAMPLER_DDIM || c->kind == SAMPLER_DDPM || c->kind == SAMPLER_LCM;
    if (clips && json_bool(v, "clip_sample", c->kind != SAMPLER_LCM, e)) c->clip = json_num(v, "clip_sample_range", 1, 0, 1e9, e);
    c->zero_snr = json_bool(v, "rescale_betas_zero_snr", false, e);
    c->final_one = json_bool(v, "set_alpha_to_one", c->kind != SAMPLER_PNDM, e);
    c->karras = json_bool(v, "use_karras_sigmas", false, e);
    c->prk = !json_bool(v, "skip_prk_steps", false, e);
    if (c->kind == SAMPLER_DPM) {
        c->sde = word_of(v, "algorithm_type", "dpmsolver++", algorithms, 2, e) == 1, c->heun = word_of(v, "solver_type", "midpoint", solvers, 2, e) == 1;
        c->last_is_least = word_of(v, "final_sigmas_type", "zero", ends, 2, e) == 1;
        c->order = (int)json_int(v, "solver_order", 2, 1, 3, e);
        c->lower_final = json_bool(v, "lower_order_final", true, e), c->euler_at_final = json_bool(v, "euler_at_final", false, e);
        if (c->sde && c->order == 3 && !e->status) json_fail(json_get(v, "solver_order"), e, "3 is not supported with sde-dpmsolver++");
    }
    if (c->kind == SAMPLER_DDPM) c->large_variance = word_of(v, "variance_type", "fixed_small", variances, 2, e) == 1;
    c->original = json_int(v, "original_inference_steps", 50, 1, c->T, e), c->scaling = json_num(v, "timestep_scaling", 10, 0, 1e6, e);
    if (json_has(json_get(v, "trained_betas")) && !e->status) json_fail(json_get(v, "trained_betas"), e, "is not supported");
    for (int k = 0; k < VM_LEN(off) && !e->status; k++)
        if (json_bool(v, off[k], false, e)) json_fail(json_get(v, off[k]), e, "is not supported");
    return e->status;
}

vm_status sampler_config_read(sampler_config *c, const char *dir, vm_error *e) {
    char *path = path_join(dir, "scheduler_config.json"), *text = NULL;
    size_t bytes = 0;
    json_doc *d = NULL; /* lenient: -Infinity stands in published files */
    if (!path) vm_nomem(e, 256, "a path");
    else if (file_exists(path) && !file_read(&text, &bytes, path, 0, e)) d = json_parse(text, bytes, path, JSON_LENIENT, e);
    if (path && !d && !e->status) vm_fail(e, VM_EMODEL, "%s: no scheduler_config.json; give the scheduler's folder of a diffusion model", dir);
    if (d) read_config(c, json_root(d), e);
    json_free(d);
    vm_free(text), vm_free(path);
    return e->status;
}

static const struct { const char *name; sampler_kind kind; int order; bool karras, sde; } named[] = {
    { "ddim", SAMPLER_DDIM, 0, false, false }, { "pndm", SAMPLER_PNDM, 0, false, false }, { "euler", SAMPLER_EULER, 0, false, false },
    { "euler_karras", SAMPLER_EULER, 0, true, false }, { "euler_a", SAMPLER_EULER_A, 0, false, false }, { "dpm++_2m", SAMPLER_DPM, 2, false, false },
    { "dpm++_2m_karras", SAMPLER_DPM, 2, true, false }, { "dpm++_3m", SAMPLER_DPM, 3, false, false }, { "dpm++_3m_karras", SAMPLER_DPM, 3, true, false },
    { "dpm++_sde", SAMPLER_DPM, 2, false, true }, { "dpm++_sde_karras", SAMPLER_DPM, 2, true, true }, { "ddpm", SAMPLER_DDPM, 0, false, false },
    { "lcm", SAMPLER_LCM, 0, false, false } };

vm_status sampler_by_name(sampler_config *c, const char *name, vm_error *e) {
    for (int k = 0; k < VM_LEN(named); k++) {
        if (strcmp(named[k].name, name)) continue;
        c->kind = named[k].kind, c->karras = named[k].karras, c->sde = named[k].sde;
        c->prk = c->heun = c->last_is_least = c->euler_at_final = c->large_variance = false, c->lower_final = true;
        c->order = named[k].order;
        return VM_OK;
    }
    return vm_fail(e, VM_EUSAGE, "sampler \"%s\" is not known: ddim, pndm, euler, euler_karras, euler_a, dpm++_2m, dpm++_2m_karras, dpm++_3m, dpm++_3m_karras, dpm++_sde, dpm++_sde_karras, ddpm, lcm", name);
}

const char *sampler_name(const sampler_config *c) {
    for (int k = 0; k < VM_LEN(named); k++)
        if (named[k].kind == c->kind && named[k].karras == c->karras && named[k].sde == c->sde && (c->kind != SAMPLER_DPM || named[k].order == c->order)) return named[k].name;
    return "dpm++";
}

/* --- noise levels of the training ----------------------------------------------------------------------------------- */
static double cosine_bar(double t) {
    double x = cos((t + 0.008) / 1.008 * 1.57079632679489661923);
    return x * x;
}

/* f32 as the published tables have it: the middle is where counting from the other end begins. */
static float linspace(float from, float to, int64_t i, int64_t n) {
    float step = (to - from) / (float)(n - 1);
    return i < n / 2 ? from + step * (float)i : to - step * (float)(n - 1 - i);
}

static float beta_at(const sampler_config *c, int64_t i) {
    if (c->betas == BETAS_LINEAR) return linspace((float)c->beta_start, (float)c->beta_end, i, c->T);
    if (c->betas == BETAS_COSINE) return (float)fmin(1 - cosine_bar((double)(i + 1) / (double)c->T) / cosine_bar((double)i / (double)c->T), 0.999);
    float root = linspace((float)sqrt(c->beta_start), (float)sqrt(c->beta_end), i, c->T);
    return root * root;
}

/* The last level becomes pure noise and the first stays (Lin et al. 2024). */
static void zero_snr(float *alphas, int64_t T) {
    float first = sqrtf(alphas[0]), last = sqrtf(alphas[T - 1]), product = 1, before = 0;
    for (int64_t i = 0; i < T; i++) {
        float root = (sqrtf(alphas[i]) - last) * (first / (first - last)), bar = root * root;
        product *= 1 - (1 - (i ? bar / before : bar));
        before = bar, alphas[i] = product;
    }
}

vm_status sampler_new(sampler **out, const sampler_config *c, int64_t n, vm_error *e) {
    sampler *s = *out = vm_calloc(1, sizeof *s);
    if (!s) return vm_nomem(e, sizeof *s, "a sampler");
    s->c = *c, s->n = n;
    s->alphas = vm_alloc((size_t)c->T * sizeof *s->alphas);
    s->start = vm_alloc((size_t)n * sizeof *s->start + 1), s->sum = vm_calloc((size_t)n + 1, sizeof *s->sum);
    for (int k = 0; k < SAMPLER_PAST; k++) s->past[k] = vm_alloc((size_t)n * sizeof(float) + 1);
    if (!s->alphas || !s->start || !s->sum || !s->past[SAMPLER_PAST - 1] || !s->past[0]) {
        sampler_free(s), *out = NULL;
        return vm_nomem(e, (size_t)(n * SAMPLER_PAST) * sizeof(float), "a sampler");
    }
    float product = 1;
    for (int64_t i = 0; i < c->T; i++) s->alphas[i] = product *= 1 - beta_at(c, i);
    if (c->zero_snr) {
        zero_snr(s->alphas, c->T);
        if (c->kind == SAMPLER_EULER || c->kind == SAMPLER_EULER_A || c->kind == SAMPLER_DPM) s->alphas[c->T - 1] = 0x1p-24f; /* an infinite level would stop them */
    }
    return VM_OK;
}

void sampler_free(sampler *s) {
    if (!s) return;
    for (int k = 0; k < SAMPLER_PAST; k++) vm_free(s->past[k]);
    vm_free(s->alphas), vm_free(s->start), vm_free(s->sum), vm_free(s->time), vm_free(s->sigma);
    vm_free(s);
}

/* --- steps ---------------------------------------------------------------------------------------------------------- */
static double level(const sampler *s, int64_t t) { return sqrt((1 - (double)s->alphas[t]) / (double)s->alphas[t]); }

/* Sigma at a time between two of the table. */
static double level_at(const sampler *s, double t) {
    int64_t i = (int64_t)fmin(fmax(floor(t), 0), (double)(s->c.T - 1)), j = VM_MIN(i + 1, s->c.T - 1);
    double w = fmin(fmax(t - (double)i, 0), 1);
    return (1 - w) * (double)(float)level(s, i) + w * (double)(float)level(s, j);
}

/* The time whose level is sigma, by the logarithm of the table. */
static double time_of(const sampler *s, double sigma) {
    double x = log(fmax(sigma, 1e-10));
    int64_t low = 0;
    for (int64_t t = 0; t < s->c.T - 1; t++)
        if (log(level(s, t)) <= x) low = t;
    low = VM_MIN(low, s->c.T - 2);
    double a = log(level(s, low)), b = log(level(s, low + 1)), w = fmin(fmax((a - x) / (a - b), 0), 1);
    return (1 - w) * (double)low + w * (double)(low + 1);
}

/* N times from high to low, rounded unless fractions are kept. */
static void spaced(const sampler_config *c, int64_t N, bool fractions, double *t) {
    for (int64_t i = 0; i < N; i++) {
        int64_t up = N - 1 - i;
        if (c->spacing == SPACED_LINSPACE) t[i] = N > 1 ? (double)(c->T - 1) * (double)up / (double)(N - 1) : 0;
        else if (c->spacing == SPACED_LEADING) t[i] = (double)(up * (c->T / N) + c->offset);
        else t[i] = nearbyint((double)c->T - (double)i * ((double)c->T / (double)N)) - 1;
        t[i] = fractions ? (double)(float)t[i] : nearbyint(t[i]);
    }
}

static void spaced_dpm(const sampler_config *c, int64_t N, double *t) {
    for (int64_t i = 0; i < N; i++) {
        int64_t up = N - i; /* one more point, of which the lowest falls away */
        if (c->spacing == SPACED_LINSPACE) t[i] = nearbyint((double)(c->T - 1) * (double)up / (double)N);
        else if (c->spacing == SPACED_LEADING) t[i] = (double)(up * (c->T / (N + 1)) + c->offset);
        else t[i] = nearbyint((double)c->T - (double)i * ((double)c->T / (double)N)) - 1;
    }
}

/* PNDM calls the network for one time twice, or begins with three groups of Runge and Kutta. Returns the number of calls. */
static int64_t pndm_calls(sampler *s, int64_t N, int64_t first, const double *down, double *t) {
    int64_t n = 0;
    s->prk = s->c.prk ? 12 : 0;
    if (!s->c.prk) {
        for (int64_t i = 0; i < N; i++) {
            t[n++] = down[i];
            if (i == 1 + (s->c.whole_first ? 0 : first)) t[n++] = down[i];
        }
        return n;
    }
    /* the four highest times, each also half a step higher; of these eight, low to high, all but the last are doubled, and of the doubled ones
     * the first and the last fall away */
    double eight[8], half = (double)(s->c.T / N / 2);
    for (int k = 0; k < 8; k++) eight[k] = down[3 - k / 2] + (k % 2 ? half : 0);
    for (int k = 12; k >= 1; k--) t[n++] = eight[k / 2];
    for (int64_t i = 3; i < N; i++) t[n++] = down[i];
    return n;
}

/* Noise levels between the first and the last as Karras has them. */
static void karras(double *sigma, int64_t N, double most, double least) {
    double a = pow(most, 1 / 7.0), b = pow(least, 1 / 7.0);
    for (int64_t i = 0; i < N; i++) sigma[i] = pow(a + (N > 1 ? (double)i / (double)(N - 1) : 0) * (b - a), 7);
}

static void set_sigmas(sampler *s, int64_t N, double *sigma) {
    const sampler_config *c = &s->c;
    for (int64_t i = 0; i < N; i++) sigma[i] = level_at(s, s->time[i]);
    if (c->karras && c->kind == SAMPLER_DPM) karras(sigma, N, (double)(float)level(s, c->T - 1), (double)(float)level(s, 0));
    else if (c->karras) karras(sigma, N, sigma[0], sigma[N - 1]);
    for (int64_t i = 0; i < N && c->karras; i++) s->time[i] = c->kind == SAMPLER_DPM ? nearbyint(time_of(s, sigma[i])) : (double)(float)time_of(s, sigma[i]);
    for (int64_t i = 0; i < N; i++) s->sigma[i] = (float)sigma[i];
    s->sigma[N] = c->kind == SAMPLER_DPM && c->last_is_least ? (float)level(s, 0) : 0;
}

vm_status sampler_steps(sampler *s, int64_t N, int64_t first, vm_error *e) {
    const sampler_config *c = &s->c;
    const int64_t most = c->kind == SAMPLER_LCM ? c->original : c->T, least = c->kind == SAMPLER_PNDM ? (c->prk ? 4 : 2) : 1;
    if (N < least || N > most || first < 0 || first > N)
        return vm_fail(e, VM_EUSAGE, "%lld steps, %lld to %lld are possible with this sampler", (long long)N, (long long)least, (long long)most);
    double *room = vm_alloc((size_t)(2 * N + 16) * sizeof *room);
    vm_free(s->time), vm_free(s->sigma);
    s->time = vm_alloc((size_t)(N + 16) * sizeof *s->time), s->sigma = vm_alloc((size_t)(N + 1) * sizeof *s->sigma);
    if (!room || !s->time || !s->sigma) return vm_free(room), vm_nomem(e, (size_t)N * sizeof *room, "the steps of a sampler");
    s->N = s->calls = N, s->at = first, s->counter = 0, s->n_past = 0;
    memset(s->sum, 0, (size_t)s->n * sizeof *s->sum);
    if (c->kind == SAMPLER_DPM) spaced_dpm(c, N, s->time);
    else if (c->kind == SAMPLER_LCM)
        for (int64_t i = 0; i < N; i++) s->time[i] = (double)((c->original - i * c->original / N) * (c->T / c->original) - 1);
    else spaced(c, N, c->kind == SAMPLER_EULER || c->kind == SAMPLER_EULER_A, c->kind == SAMPLER_PNDM ? room : s->time);
    if (c->kind == SAMPLER_PNDM) s->calls = pndm_calls(s, N, first, room, s->time);
    if (c->kind == SAMPLER_EULER || c->kind == SAMPLER_EULER_A || c->kind == SAMPLER_DPM) set_sigmas(s, N, room);
    vm_free(room);
    return VM_OK;
}

int64_t sampler_calls(const sampler *s) { return s->calls; }
double sampler_time(const sampler *s, int64_t call) { return s->time[call]; }
const float *sampler_alphas(const sampler *s) { return s->alphas; }
static bool has_sigmas(const sampler *s) { return s->c.kind == SAMPLER_EULER || s->c.kind == SAMPLER_EULER_A || s->c.kind == SAMPLER_DPM; }
const float *sampler_sigmas(const sampler *s, int64_t *n) { return *n = has_sigmas(s) ? s->N + 1 : 0, has_sigmas(s) ? s->sigma : NULL; }

double sampler_noise_scale(const sampler *s) {
    if (s->c.kind != SAMPLER_EULER && s->c.kind != SAMPLER_EULER_A) return 1;
    double most = 0;
    for (int64_t i = 0; i < s->N; i++) most = fmax(most, (double)s->sigma[i]);
    return s->c.spacing == SPACED_LEADING ? sqrt(most * most + 1) : most;
}
