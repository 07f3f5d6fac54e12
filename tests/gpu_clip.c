/* gpu_clip.c - every op of a CLIP, forward and backward, on a device and on the processor (vm_check), in f32 and bf16: the sizes of
 * ViT-B/32 and ViT-L/14 with random weights on a GPU, small ones on the emulated device. The device: VISMIN_TEST_DEVICE. */
#include "kernels/philox.h"
#include "models/clip.h"
#include "models/loss.h"
#include "tests/optest.h"

enum { PICTURES = 3 };

static clip_config sizes(bool large) {
    clip_config c = { .text = { 512, 12, 8, 2048 }, .vision = { 768, 12, 12, 3072 }, .vocab = 49408, .context = 77, .image_size = 224, .patch = 32,
                      .embed = 512, .bos = 49406, .eos = 49407, .pad = 1, .text_act = VM_QUICK_GELU, .vision_act = VM_QUICK_GELU,
                      .text_eps = 1e-5f, .vision_eps = 1e-5f };
    if (large) c.text = (clip_tower){ 768, 12, 12, 3072 }, c.vision = (clip_tower){ 1024, 24, 16, 4096 }, c.patch = 14, c.embed = 768;
    if (strcmp(op_device(), "emu")) return c;
    c.text = (clip_tower){ 32, 1 + large, 2, 64 }, c.vision = (clip_tower){ 48, 1 + large, 3, 80 }, c.vocab = 99, c.context = 11, c.bos = 97, c.eos = 98;
    c.image_size = 24, c.patch = large ? 6 : 8, c.embed = 24;
    return c;
}

static void set_inputs(vm_graph *g, const clip_config *c) {
    const int64_t px = PICTURES * c->image_size * c->image_size * 3, T = c->context;
    vm_rng r = vm_rng_at(3, 0);
    float *pixels = vm_alloc((size_t)px * sizeof *pixels);
    int32_t *ids = vm_alloc((size_t)(PICTURES * T) * sizeof *ids), *mask = vm_alloc((size_t)(PICTURES * T) * sizeof *mask), at[PICTURES];
    for (int64_t i = 0; i < px; i++) pixels[i] = 2 * vm_rng_f32(&r) - 1;
    for (int64_t i = 0; i < PICTURES * T; i++) ids[i] = i % T == T - 1 - i / T ? (int32_t)c->eos : (int32_t)vm_rng_below(&r, (uint32_t)c->vocab - 2);
    clip_text_rows(c, PICTURES, T, ids, NULL, at, mask);
    EXPECT(!vm_set(g, "pixels", pixels) && !vm_set(g, "ids", ids) && !vm_set(g, "at", at) && !vm_set(g, "mask", mask));
    vm_free(pixels), vm_free(ids), vm_free(mask);
}

static void check(bool large, vm_type t) {
    vm_backend *be = op_backend();
    vm_error e = { 0 };
    const clip_config c = sizes(large);
    vm_check found = { 0 };
    clip_model *m = NULL;
    EXPECT(!clip_new(&m, be, &c, &e) && !clip_init(m, 1, &e));
    vm_graph *g = vm_graph_new(be, t);
    g->training = true;
    vm_val img = towers_images(g, &m->t, PICTURES), txt = towers_texts(g, &m->t, PICTURES, c.context);
    vm_val loss = loss_info_nce(g, img, txt, vm_unary(g, vm_weight(g, m->t.logit_scale), VM_EXP, VM_F32), PICTURES, 0, 0);
    vm_output(g, "loss", loss);
    vm_backward(g, 1, &loss, NULL, 0, NULL);
    set_inputs(g, &c);
    be->check = &found;
    if (vm_run(g) || vm_wait(g)) MISMATCH("%s\n", g->err.msg);
    be->check = NULL;
    fprintf(stderr, "%s %s: %lld ops, %lld results compared, the largest difference is %.2g of what is allowed (%s)\n", large ? "L/14" : "B/32",
            vm_type_name(t), (long long)found.ops, (long long)found.values, found.worst, found.worst_op);
    EXPECT(found.ops > 0);
    vm_graph_free(g);
    clip_free(m);
}

TEST(vit_b32) { check(false, VM_F32), check(false, VM_BF16); }
TEST(vit_l14) { check(true, VM_F32), check(true, VM_BF16); }

int main(void) {
    if (!op_on_device()) return fprintf(stderr, "VISMIN_TEST_DEVICE names the device\n"), 2;
    RUN(vit_b32);
    RUN(vit_l14);
    return test_end();
}
