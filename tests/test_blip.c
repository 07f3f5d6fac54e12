/* test_blip.c - BLIP against tests/golden/blip: small random models with the outputs, losses and gradients of transformers (f32). */
#include <unistd.h>

#include "tests/golden_check.h"

static char tmp[512];
TEST(goldens) {
    char out[600];
    int n_grads = 0, n_outs = 0;
    snprintf(out, sizeof out, "%s/out.safetensors", tmp);
    check_goldens("tests/golden/blip/hf", out, &n_grads, &n_outs), check_goldens("tests/golden/blip/hf_variant", out, &n_grads, &n_outs);
    EXPECT(n_grads > 250 && n_outs == 15);
    unlink(out);
}
int main(int argc, char **argv) {
    snprintf(tmp, sizeof tmp, "%s/blip_XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    RUN(goldens);
    rmdir(tmp);
    return test_end();
}
