/* test_swin.c - Swin backbones against tests/golden/swin: feature maps, loss and all gradients of transformers (f32); configurations that
 * cannot be. */
#include <unistd.h>

#include "io/file.h"
#include "models/swin.h"
#include "tests/golden_check.h"

static char tmp[512];

TEST(goldens) {
    char out[600];
    int n_grads = 0, n_outs = 0;
    snprintf(out, sizeof out, "%s/out.safetensors", tmp);
    check_goldens("tests/golden/swin/variant", out, &n_grads, &n_outs);
    if (n_grads != 99 || n_outs != 2) MISMATCH("%d gradients, %d outputs\n", n_grads, n_outs);
    unlink(out);
}

static const char *refused(const char *config) {
    static char out[1100];
    vm_error e = { 0 };
    swin_config c;
    json_doc *d = json_parse(config, strlen(config), "config.json", 0, &e);
    swin_config_parse(&c, json_root(d), &e);
    json_free(d);
    snprintf(out, sizeof out, "%s", e.msg);
    return out;
}
TEST(configurations) {
    EXPECT_STR(refused("{}"), "");
    EXPECT_STR(refused("{\"out_indices\":[2,-1]}"), "");
    EXPECT_HAS(refused("{\"depths\":[]}"), "0 stages, 1 to 8 are possible");
    EXPECT_HAS(refused("{\"num_heads\":[5,6,12,24]}"), "stage 1: 2 blocks of 5 heads for width 96");
    EXPECT_HAS(refused("{\"num_heads\":[3]}"), "found an array of 1, expected an array of 4 numbers");
    EXPECT_HAS(refused("{\"out_features\":[\"stage5\"]}"), "is no stage of 4");
    EXPECT_HAS(refused("{\"out_features\":[\"stem\"]}"), "is no stage of 4");
    EXPECT_HAS(refused("{\"use_absolute_embeddings\":true}"), "is not supported");
    EXPECT_HAS(refused("{\"hidden_act\":\"mish\"}"), "activation \"mish\" is not known");
}

int main(int argc, char **argv) {
    snprintf(tmp, sizeof tmp, "%s/swin.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    RUN(goldens);
    RUN(configurations);
    rmdir(tmp);
    return test_end();
}
