/* test_diffusion.c - whole pipelines against tests/golden/pipeline: diffusers' pictures from the same seeds; batches, memory that does not last,
 * numbers that are not finite, long prompts. */
#include <unistd.h>

#include "models/diffusion_parts.h"
#include "tests/golden_check.h"

static char tmp[512];

static void goldens(const char *model, int outs) {
    char out[600];
    int n_grads = 0, n_outs = 0;
    snprintf(out, sizeof out, "%s/out.safetensors", tmp);
    check_goldens(model, out, &n_grads, &n_outs);
    if (n_outs != outs || n_grads) MISMATCH("%s: %d outputs, %d gradients\n", model, n_outs, n_grads);
    unlink(out);
}
TEST(sdxl_inpainting) { goldens("tests/golden/pipeline/xl", 2); } /* f16 variant, shards, two encoders */
TEST(sd_text_picture_mask) { goldens("tests/golden/pipeline/sd", 3); } /* PNDM; with and without guidance */

/* --- pictures from a text, 64 x 64, f32 ------------------------------------------------------------------------------------ */
enum { SIDE = 64, PX = SIDE * SIDE * 3, MANY = 2 };
static vm_error e;

static diffusion *open_sd(const char *dir, vm_type type, int64_t tile) {
    diffusion *d = NULL;
    vm_error_clear(&e);
    EXPECT(!diffusion_open(&d, vm_backend_cpu(), dir, &(diffusion_options){ .dtype = type, .deterministic = true, .tile = tile }, &e));
    return d;
}

static vm_status draw(diffusion *d, const char *prompt, bool truncate, int n, uint64_t seed, float *rgb, diffusion_report *r) {
    noise s[MANY];
    for (int k = 0; k < n; k++) s[k] = noise_begin(NOISE_CPU, seed + (uint64_t)k);
    vm_error_clear(&e);
    return diffusion_run(d, &(diffusion_call){ .prompt = prompt, .truncate = truncate, .width = SIDE, .height = SIDE, .steps = 2, .guidance = 5, .n = n, .noise = s }, rgb, r, &e);
}

static double distance(const float *a, const float *b, int64_t n) {
    double most = 0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

static const char sd[] = "tests/golden/pipeline/sd";

TEST(each_picture_alone) {
    float *all = vm_alloc(MANY * PX * sizeof *all), *one = vm_alloc(PX * sizeof *one);
    diffusion_report r;
    diffusion *d = open_sd(sd, VM_F32, 0);
    EXPECT(!draw(d, "a red cat", false, MANY, 5, all, &r) && r.batch == MANY && r.calls == 3 && !r.tiled && !r.dropped);
    EXPECT(!draw(d, "a red cat", false, 1, 6, one, &r) && r.batch == 1);
    EXPECT(distance(all + PX, one, PX) == 0); /* whatever stands beside it */
    EXPECT(distance(all, one, PX) > 0.05);
    diffusion_free(d);
    vm_free(all), vm_free(one);
}

/* Less and less memory: fewer pictures at a time, then an error; the pictures stay the same. */
TEST(memory_of_batches) {
    float *want = vm_alloc(MANY * PX * sizeof *want), *got = vm_alloc(MANY * PX * sizeof *got);
    bool halved = false, failed = false;
    diffusion_report r;
    diffusion *d = open_sd(sd, VM_F32, 0);
    EXPECT(!draw(d, "a red cat", false, MANY, 5, want, &r));
    diffusion_free(d);
    for (double bytes = 11e6; bytes > 1e6 && !failed; bytes *= 0.85) {
        d = open_sd(sd, VM_F32, 0);
        vm_mem_limit(vm_mem_used() + (size_t)bytes);
        failed = draw(d, "a red cat", false, MANY, 5, got, &r) != VM_OK;
        vm_mem_limit(0);
        halved |= !failed && r.batch < MANY;
        if (!failed) EXPECT(distance(want, got, MANY * PX) == 0);
        else EXPECT(e.status == VM_EDEVICE);
        diffusion_free(d);
    }
    EXPECT(halved && failed);
    vm_free(want), vm_free(got);
}

/* The same for the autoencoder: first whole, then in tiles, then an error. */
TEST(memory_of_tiles) {
    enum { h = 64, px = 4 * h * h * 3 };
    float *z = vm_alloc(h * h * 4 * sizeof *z), *want = vm_alloc(px * sizeof *want), *got = vm_alloc(px * sizeof *got);
    bool tiled = false, failed = false;
    uint64_t seed = 1;
    diffusion_report r = { 0 };
    diffusion *d = open_sd(sd, VM_F32, 0);
    for (int i = 0; i < h * h * 4; i++) z[i] = (float)test_uniform(&seed);
    EXPECT(!diffusion_vae_decode(d, z, h, h, want, &r, &e) && !r.tiled);
    diffusion_free(d);
    for (double bytes = 12e6; bytes > 1e5 && !failed; bytes *= 0.7) {
        d = open_sd(sd, VM_F32, 0);
        r = (diffusion_report){ 0 };
        vm_mem_limit(vm_mem_used() + (size_t)bytes);
        failed = diffusion_vae_decode(d, z, h, h, got, &r, &e) != VM_OK;
        vm_mem_limit(0);
        tiled |= !failed && r.tiled;
        double sum = 0;
        for (int i = 0; i < px; i++) sum += fabs((double)want[i] - (double)got[i]) / px;
        if (!failed) EXPECT(r.tiled ? sum < 0.2 : sum == 0);
        else EXPECT(e.status == VM_EDEVICE);
        diffusion_free(d);
    }
    EXPECT(tiled && failed);
    vm_free(z), vm_free(want), vm_free(got);
}

TEST(tiles) {
    float *whole = vm_alloc(PX * sizeof *whole), *parts = vm_alloc(PX * sizeof *parts);
    diffusion_report r;
    for (int64_t tile = 16; tile <= 24; tile += 8) {
        diffusion *d = open_sd(sd, VM_F32, 0), *t = open_sd(sd, VM_F32, tile);
        EXPECT(!draw(d, "blue ball", false, 1, 1, whole, &r) && !r.tiled && !draw(t, "blue ball", false, 1, 1, parts, &r) && r.tiled);
        double sum = 0;
        for (int i = 0; i < PX; i++) sum += fabs((double)whole[i] - (double)parts[i]);
        EXPECT(sum / PX < 0.06 && sum > 0); /* norms see a tile instead of the whole picture */
        for (int i = 0; i < PX; i++) EXPECT(parts[i] >= 0 && parts[i] <= 1);
        diffusion_free(d), diffusion_free(t);
    }
    vm_free(whole), vm_free(parts);
}

/* The autoencoder with other numbers in one of its tensors. */
static void change(const char *dir, const char *tensor, float value, bool only_first, const char *also_zero) {
    char path[700];
    st_file *f = NULL;
    st_writer *w = NULL;
    snprintf(path, sizeof path, "%s/vae/diffusion_pytorch_model.safetensors", dir);
    EXPECT(!st_open(&f, path, &e) && !st_writer_open(&w, path, 0, &e));
    for (int64_t i = 0; f && i < st_len(f); i++) EXPECT(!st_writer_add(w, st_at(f, i)->name, ST_F32, st_at(f, i)->nd, st_at(f, i)->shape, &e));
    for (int64_t i = 0; f && i < st_len(f); i++) {
        const st_tensor *t = st_at(f, i);
        float *x = numbers(f, t);
        if (!strncmp(t->name, also_zero, strlen(also_zero))) x[0] = 0;
        int64_t step = only_first && t->nd == 4 ? t->shape[2] * t->shape[3] : 1, row = t->nd == 4 ? step * t->shape[1] : 1;
        if (!strcmp(t->name, tensor))
            for (int64_t k = 0; k < t->len; k++)
                if (!only_first || k % row < step) x[k] = value;
        EXPECT(!st_writer_put_f32(w, t->name, x, &e));
        vm_free(x);
    }
    st_close(f);
    EXPECT(!st_writer_commit(w, &e));
}

/* A weight that is infinite as bf16 on a channel that is always zero: in f32 it does nothing. */
TEST(not_finite) {
    char dir[600], cmd[1400];
    float *want = vm_alloc(PX * sizeof *want), *got = vm_alloc(PX * sizeof *got);
    diffusion_report r;
    snprintf(dir, sizeof dir, "%s/sd", tmp), snprintf(cmd, sizeof cmd, "cp -r %s %s && chmod -R u+w %s", sd, dir, dir);
    EXPECT(system(cmd) == 0);
    change(dir, "decoder.conv_out.weight", 3.402e38f, true, "decoder.conv_norm_out.");
    diffusion *d = open_sd(dir, VM_F32, 0);
    EXPECT(!draw(d, "a red cat", false, 1, 3, want, &r) && !r.redone);
    diffusion_free(d);
    if (vm_has_bf16(vm_backend_cpu())) {
        d = open_sd(dir, VM_BF16, 0);
        EXPECT(!draw(d, "a red cat", false, 1, 3, got, &r) && r.redone);
        EXPECT(distance(want, got, PX) < 0.2);
        diffusion_free(d);
    }
    change(dir, "decoder.conv_in.bias", NAN, false, "none");
    d = open_sd(dir, VM_F32, 0);
    EXPECT(draw(d, "a red cat", false, 1, 3, got, &r) == VM_EMODEL);
    EXPECT_HAS(e.msg, "the decoded picture is not finite");
    diffusion_free(d);
    snprintf(cmd, sizeof cmd, "rm -r %s", dir);
    EXPECT(system(cmd) == 0);
    vm_free(want), vm_free(got);
}

/* 14 tokens of a text fit between start and end. */
TEST(long_prompts) {
    static const char fits[] = "a red cat on the dog a red cat on the dog of a", more[] = "a red cat on the dog a red cat on the dog of a red cat";
    float *a = vm_alloc(PX * sizeof *a), *b = vm_alloc(PX * sizeof *b);
    diffusion_report r;
    diffusion *d = open_sd(sd, VM_F32, 0);
    EXPECT(!draw(d, fits, false, 1, 9, a, &r) && r.dropped == 0 && !draw(d, more, true, 1, 9, b, &r) && r.dropped == 2);
    EXPECT(distance(a, b, PX) == 0);
    EXPECT(!draw(d, more, false, 1, 9, b, &r) && r.dropped == 0 && distance(a, b, PX) > 1e-3);
    diffusion_free(d);
    vm_free(a), vm_free(b);
}

TEST(what_cannot_be) {
    diffusion *d = NULL;
    diffusion_report r;
    float one[3];
    noise s = noise_begin(NOISE_CPU, 0);
    vm_error_clear(&e);
    EXPECT(diffusion_open(&d, vm_backend_cpu(), "tests/golden/vae", &(diffusion_options){ .dtype = VM_F32 }, &e) == VM_EMODEL);
    EXPECT_HAS(e.msg, "no model_index.json");
    d = open_sd("tests/golden/pipeline/xl", VM_F32, 0);
    diffusion_call c = { .prompt = "a", .width = 32, .height = 32, .steps = 2, .guidance = 5, .n = 1, .noise = &s };
    EXPECT(diffusion_run(d, &c, one, &r, &e) == VM_EUSAGE);
    EXPECT_HAS(e.msg, "repaints what a mask marks");
    diffusion_free(d), d = open_sd(sd, VM_F32, 0);
    c.width = 33;
    EXPECT(diffusion_run(d, &c, one, &r, &e) == VM_EUSAGE);
    EXPECT_HAS(e.msg, "multiples of 2");
    vm_error_clear(&e);
    vm_image im = { 0 };
    c.width = 32, c.image = &im, c.strength = 0.3;
    EXPECT(diffusion_run(d, &c, one, &r, &e) == VM_EUSAGE);
    EXPECT_HAS(e.msg, "leaves none of 2 steps");
    vm_error_clear(&e);
    sampler_config *sc = diffusion_sampler(d);
    EXPECT(sampler_by_name(sc, "dpm++", &e) == VM_EUSAGE);
    vm_error_clear(&e);
    EXPECT(!sampler_by_name(sc, "dpm++_2m_karras", &e) && !strcmp(sampler_name(sc), "dpm++_2m_karras"));
    diffusion_free(d);
}

int main(int argc, char **argv) {
    snprintf(tmp, sizeof tmp, "%s/diffusion.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    vm_threads(1); /* tiny networks: more would only wait for each other */
    RUN(sdxl_inpainting);
    RUN(sd_text_picture_mask);
    RUN(each_picture_alone);
    RUN(memory_of_batches);
    RUN(memory_of_tiles);
    RUN(tiles);
    RUN(not_finite);
    RUN(long_prompts);
    RUN(what_cannot_be);
    rmdir(tmp);
    return test_end();
}
