/* test_diffusion.c - whole pipelines against tests/golden/pipeline: diffusers' pictures from the same seeds. */
#include <unistd.h>

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

int main(int argc, char **argv) {
    snprintf(tmp, sizeof tmp, "%s/diffusion.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    RUN(sdxl_inpainting);
    RUN(sd_text_picture_mask);
    rmdir(tmp);
    return test_end();
}
