/* sampler.h - the samplers of diffusion models, from scheduler_config.json: DDIM, PNDM, Euler, Euler ancestral, DPM-Solver++ (first to third
 * order, and its SDE form), DDPM, LCM, with all spacings of their steps.
 *
 *     sampler_new(&s, &config, elements, e);  sampler_steps(s, 20, 0, e);
 *     for (int i = 0; i < sampler_calls(s); i++) {
 *         sampler_input(s, x, scaled);                      what the network sees at sampler_time(s, i)
 *         ... out = network(scaled, sampler_time(s, i)) ...
 *         sampler_step(s, out, x, sampler_draws(s) ? noise : NULL);
 *     }
 *
 * Coefficients are double, samples f32. Sources: Song et al. 2021 (DDIM), Liu et al. 2022 (PNDM), Karras et al. 2022 (Euler, sigmas), Lu et al.
 * 2022 (DPM-Solver++), Ho et al. 2020 (DDPM), Luo et al. 2023 (LCM); which table entry belongs to which step as diffusers has it. */
#ifndef VM_SAMPLER_H
#define VM_SAMPLER_H
#include "io/json.h"

typedef enum { SAMPLER_DDIM, SAMPLER_PNDM, SAMPLER_EULER, SAMPLER_EULER_A, SAMPLER_DPM, SAMPLER_DDPM, SAMPLER_LCM } sampler_kind;
typedef enum { PREDICTS_NOISE, PREDICTS_V, PREDICTS_SAMPLE } sampler_predicts;
typedef struct {
    sampler_kind kind;
    sampler_predicts predicts;
    enum { SPACED_LEADING, SPACED_LINSPACE, SPACED_TRAILING } spacing;
    enum { BETAS_LINEAR, BETAS_SCALED, BETAS_COSINE } betas;
    int64_t T, offset;            /* training steps; steps_offset */
    double beta_start, beta_end, clip; /* clip: of the predicted sample; 0 = none */
    double eta;                   /* DDIM: 0 = no noise; not in the file */
    bool whole_first;             /* PNDM: of steps that begin in the middle, the one made twice is still the first of the whole schedule; not in the file */
    bool zero_snr, final_one, karras, prk, heun, sde, last_is_least, lower_final, euler_at_final, large_variance;
    int order;                    /* DPM */
    int64_t original;             /* LCM: original_inference_steps */
    double scaling;               /* LCM: timestep_scaling */
} sampler_config;
/* scheduler_config.json of a folder. VM_EMODEL for what is not done here (thresholding, other algorithms). */
vm_status sampler_config_read(sampler_config *c, const char *dir, vm_error *e);
/* Another sampler for the same network, which keeps noise levels, prediction and spacing: "ddim", "pndm", "euler", "euler_a", "dpm++_2m",
 * "dpm++_3m", "dpm++_sde", "ddpm", "lcm", those of "euler" and "dpm++" also with "_karras". VM_EUSAGE names them. */
vm_status sampler_by_name(sampler_config *c, const char *name, vm_error *e);
const char *sampler_name(const sampler_config *c); /* one of these */

typedef struct sampler sampler;
/* For samples of n elements. */
vm_status sampler_new(sampler **out, const sampler_config *c, int64_t n, vm_error *e);
void sampler_free(sampler *s); /* accepts NULL */
/* N steps; `first` of the calls are left out (image to image). Begins anew. VM_EUSAGE: more steps than the training had. */
vm_status sampler_steps(sampler *s, int64_t N, int64_t first, vm_error *e);
int64_t sampler_calls(const sampler *s);              /* of the network, those left out included */
double sampler_time(const sampler *s, int64_t call);
double sampler_noise_scale(const sampler *s);         /* of the noise that sampling from nothing begins with */
const float *sampler_sigmas(const sampler *s, int64_t *n); /* NULL for samplers without */
const float *sampler_alphas(const sampler *s);        /* cumulative products, T of them */
void sampler_input(const sampler *s, const float *x, float *scaled);
bool sampler_draws(const sampler *s);                 /* does the next step take noise? */
void sampler_step(sampler *s, const float *output, float *x, const float *noise);
/* Noise onto a clean sample as it stands at a time of the schedule; velocity: what a v network is trained to predict there. n elements. */
void sampler_add_noise(const sampler *s, double time, const float *clean, const float *noise, float *out, int64_t n);
/* The same as it stands at the next call; behind the last one it stays clean. */
void sampler_add_noise_next(const sampler *s, const float *clean, const float *noise, float *out, int64_t n);
void sampler_velocity(const sampler *s, double time, const float *clean, const float *noise, float *out, int64_t n);
#endif
