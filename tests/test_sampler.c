/* test_sampler.c - samplers against tests/golden/sampler: times, levels and every step of diffusers; schedules and settings that cannot be. */
#include <unistd.h>

#include "io/file.h"
#include "models/sampler.h"
#include "tests/golden_check.h"

static char tmp[512];

TEST(goldens) {
    char out[600];
    int n_grads = 0, n_outs = 0;
    snprintf(out, sizeof out, "%s/out.safetensors", tmp);
    check_goldens("tests/golden/sampler", out, &n_grads, &n_outs);
    if (n_outs < 300) MISMATCH("%d outputs\n", n_outs);
    unlink(out);
}

static const char *refused(const char *config, int64_t N) {
    static char out[1100];
    char path[600];
    vm_error e = { 0 };
    sampler_config c;
    sampler *s = NULL;
    snprintf(path, sizeof path, "%s/scheduler_config.json", tmp);
    EXPECT(!file_write(path, config, strlen(config), &e));
    if (!sampler_config_read(&c, tmp, &e) && !sampler_new(&s, &c, 4, &e)) sampler_steps(s, N, 0, &e);
    sampler_free(s);
    unlink(path);
    snprintf(out, sizeof out, "%s", e.msg);
    return out;
}
TEST(settings) {
    EXPECT_STR(refused("{\"_class_name\":\"DDIMScheduler\",\"lambda_min_clipped\":-Infinity}", 50), "");
    EXPECT_HAS(refused("{\"_class_name\":\"HeunDiscreteScheduler\"}", 5), "\"HeunDiscreteScheduler\" is not supported");
    EXPECT_HAS(refused("{\"_class_name\":\"DDIMScheduler\",\"thresholding\":true}", 5), "thresholding: is not supported");
    EXPECT_HAS(refused("{\"_class_name\":\"DPMSolverMultistepScheduler\",\"algorithm_type\":\"dpmsolver\"}", 5), "\"dpmsolver\" is not supported");
    EXPECT_HAS(refused("{\"_class_name\":\"DDIMScheduler\"}", 0), "0 steps, 1 to 1000 are possible");
    EXPECT_HAS(refused("{\"_class_name\":\"DDIMScheduler\"}", 1001), "1001 steps, 1 to 1000 are possible");
    EXPECT_HAS(refused("{\"_class_name\":\"LCMScheduler\"}", 51), "51 steps, 1 to 50 are possible");
    EXPECT_HAS(refused("{\"_class_name\":\"PNDMScheduler\",\"skip_prk_steps\":true}", 1), "1 steps, 2 to 1000 are possible");
    EXPECT_HAS(refused("{\"_class_name\":\"EulerDiscreteScheduler\",\"beta_schedule\":\"sigmoid\"}", 5), "\"sigmoid\" is not supported");
}

int main(int argc, char **argv) {
    snprintf(tmp, sizeof tmp, "%s/sampler.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    RUN(goldens);
    RUN(settings);
    rmdir(tmp);
    return test_end();
}
