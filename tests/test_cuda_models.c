/* test_cuda_models.c - small models on a CUDA device against the published implementations: what `vismin forward --grad` writes for
 * every committed golden, within its tolerances. Emulated builds run it on the emulated device, others on VISMIN_TEST_DEVICE. */
#include <unistd.h>

#include "io/file.h"
#include "tests/golden_check.h"

static char out[64];

static void models(const char *family, const char *const *names, int least_grads, int least_outs) {
    int n_grads = 0, n_outs = 0;
    for (; *names; names++) {
        char dir[200];
        snprintf(dir, sizeof dir, "tests/golden/%s/%s", family, *names);
        check_goldens(dir, out, &n_grads, &n_outs);
    }
    EXPECT(n_grads >= least_grads && n_outs >= least_outs);
}
#define MODELS(...) (const char *const[]){ __VA_ARGS__, NULL }

TEST(clip) { models("clip", MODELS("hf", "hf_variant", "open_clip", "open_clip_variant"), 100, 8); }
TEST(siglip) { models("siglip", MODELS("hf", "variant"), 50, 4); }
TEST(resnet) { models("resnet", MODELS("open_clip", "open_clip_variant"), 50, 2); }
TEST(blip) { models("blip", MODELS("hf", "hf_variant"), 1, 2); }
TEST(coca) { models("coca", MODELS("open_clip", "open_clip_variant"), 0, 2); }
TEST(bert) { models("bert", MODELS("hf", "old"), 0, 1); }
TEST(language_models) { models("llm", MODELS("llama", "mistral", "phi3", "qwen2", "lora"), 50, 5); }
TEST(swin) { models("swin", MODELS("variant"), 20, 1); }
TEST(grounding_dino) { models("grounding_dino", MODELS("variant"), 300, 10); }

int main(void) {
#ifdef VM_EMU
    setenv("VISMIN_TEST_DEVICE", "emu", 0);
#endif
    if (!getenv("VISMIN_TEST_DEVICE")) return printf("ok test_cuda_models.no_device\n"), 0;
    snprintf(out, sizeof out, "/tmp/vismin-models-%d.safetensors", (int)getpid());
    RUN(clip);
    RUN(siglip);
    RUN(resnet);
    RUN(blip);
    RUN(coca);
    RUN(bert);
    RUN(language_models);
    RUN(swin);
    RUN(grounding_dino);
    unlink(out);
    return test_end();
}
