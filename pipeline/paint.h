/* paint.h - what the commands that draw with a diffusion model share: their options, the opened model, pictures by seeds, what is written into their
 * files. */
#ifndef VM_PAINT_H
#define VM_PAINT_H
#include "models/diffusion.h"
#include "models/edit_mask.h"
#include "pipeline/run.h"

typedef struct {
    const vm_args *a;
    diffusion *d;
    const char *dir;       /* of the model */
    char hash[65];         /* SHA-256 of the UNet's weights; "" when it is not wanted */
    vm_type dtype;
    noise_kind rng;
    const char *what;      /* the command, for progress */
    bool quiet;            /* no progress of its own */
} paint;
vm_status paint_open(paint *p, const char *what, const vm_args *a, vm_error *e);
void paint_close(paint *p);

/* A call with the options as they are; prompt, picture and sizes are the caller's. */
diffusion_call paint_call(const paint *p);
/* n pictures for n seeds, out[n] (image_free). Previews, progress; VM_ESTOP between two steps after a signal. */
vm_status paint_run(paint *p, diffusion_call *c, const uint64_t *seeds, vm_image *out, diffusion_report *r, vm_error *e);

/* How a picture was made. */
typedef struct {
    const diffusion_call *c;
    const diffusion_report *r;
    uint64_t seed;
    const char *more;      /* further members of the JSON object, "\"a\":1,\"b\":2"; NULL = none */
} paint_record;
void paint_put(const paint *p, const paint_record *x, json_writer *w); /* members of an object */
/* The picture as a PNG file whose texts are "parameters" (as web interfaces write and read it) and "vismin" (JSON). */
vm_status paint_save(const paint *p, const char *path, const vm_image *im, const paint_record *x, vm_error *e);
/* The names under --out can be written: before the work. */
vm_status paint_check_out(const vm_args *a, vm_error *e);
/* All pictures of a single call under --out (NAME-0.png, ... when there are several), and with --json a line for each. */
vm_status paint_save_all(const paint *p, const vm_image *im, const uint64_t *seeds, const diffusion_call *c, const diffusion_report *r, const char *const *more, vm_error *e);
uint64_t *paint_seeds(const paint *p, int64_t *n, vm_error *e); /* --seed and those after it, --count of them; vm_free */

/* How an edit goes onto a canvas and back. */
typedef struct {
    edit_fit fit;
    int size;              /* of the canvas; 0 = the model's */
    int only_masked;       /* below 0 = the whole picture */
    int twice;             /* above 0: first onto a canvas of this side, as the original did */
    int feather;
    bool composite;        /* the picture itself outside the mask */
} paint_edit;
vm_status paint_edit_read(paint_edit *how, const paint *p, vm_error *e);
/* im repainted where the mask is white, n times. changes[n] may be NULL. */
vm_status paint_inpaint(paint *p, const paint_edit *how, const vm_image *im, const vm_image *mask, diffusion_call *c, const uint64_t *seeds, vm_image *out,
                        edit_change *changes, diffusion_report *r, vm_error *e);

#define PAINT_OPTS                                                                                                                            \
    { "model", OPT_STR, NULL, "DIR", "folder of a diffusers pipeline, or org/name in the cache", 0, 0 },                                       \
        { "vae", OPT_STR, NULL, "DIR", "folder of another autoencoder", 0, 0 },                                                               \
        { "adapter", OPT_STR, NULL, "DIR", "a low-rank adapter of the UNet, a PEFT directory", 0, 0 },                                        \
        { "negative", OPT_STR, NULL, "TEXT", "what the picture should not be", 0, 0 },                                                        \
        { "sampler", OPT_STR, NULL, "NAME", "ddim, pndm, euler, euler_a, dpm++_2m, dpm++_3m, dpm++_sde (each with _karras), ddpm, lcm; default: the model's", 0, 0 }, \
        { "steps", OPT_INT, NULL, "N", "steps of the sampler (30)", 1, 1000 },                                                                \
        { "guidance", OPT_FLOAT, NULL, "G", "how much more the prompt counts than the negative one (7.5); at most 1: it alone", 0, 1000 },       \
        { "rescale", OPT_FLOAT, "0", "P", "part to which the guided result keeps the deviation of the unguided one", 0, 1 },                   \
        { "truncate", OPT_FLAG, NULL, NULL, "cut prompts at the encoder's context instead of reading on in chunks", 0, 0 },                    \
        { "rng", OPT_STR, "cpu", "NAME", "noise of a seed as torch draws it: cpu, philox (on CUDA devices)", 0, 0 },                           \
        { "batch", OPT_INT, "0", "N", "pictures at a time; 0 = all, fewer when memory is out", 0, 64 },                                       \
        { "vae-tile", OPT_INT, "0", "N", "side of the autoencoder's tiles in latents; 0 = whole while memory lasts", 0, 4096 },                \
        { "no-metadata", OPT_FLAG, NULL, NULL, "write no texts into PNG files", 0, 0 }
#define PAINT_SINGLE_OPTS                                                                                                                     \
    { "prompt", OPT_STR, NULL, "TEXT", "what the picture should be", 0, 0 },                                                                 \
        { "out", OPT_STR, NULL, "FILE.png", "where the picture goes", 0, 0 },                                                                \
        { "count", OPT_INT, "1", "N", "pictures, of seeds --seed, --seed + 1, ...", 1, 4096 },                                                \
        { "preview", OPT_STR, NULL, "FILE.png", "a rough picture of what the first one is by now", 0, 0 },                                    \
        { "preview-every", OPT_INT, "5", "N", "steps between two previews", 1, 1000 }
#define PAINT_EDIT_OPTS                                                                                                                       \
    { "fit", OPT_STR, "bucket", "HOW", "the picture as the model sees it: bucket (its shape), pad, stretch (a square)", 0, 0 },                \
        { "size", OPT_INT, "0", "N", "side of that square, or of one as large; 0 = the model's", 0, 8192 },                                   \
        { "only-masked", OPT_INT, "-1", "PX", "work on a window around the mask, so many pixels wider", -1, 1 << 14 },                        \
        { "mask-grow", OPT_INT, "0", "PX", "pixels by which the mask grows on every side", 0, 1 << 12 },                                      \
        { "feather", OPT_INT, "6", "PX", "pixels over which the repainted part fades into the picture", 0, 1 << 10 },                         \
        { "composite", OPT_STR, "on", "on|off", "put the original pixels back outside the mask", 0, 0 },                                      \
        { "strength", OPT_FLOAT, "0.99", "P", "part of the steps that are made; below 1 a trace of the picture stays", 0, 1 }
#endif
