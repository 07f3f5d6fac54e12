/* test_inpaint.c - what becomes of edits when something fails: memory, numbers, the judge. The stage runs in this process. */
#include <stdlib.h>
#include <unistd.h>

#include "io/image.h"
#include "io/safetensors.h"
#include "kernels/graph.h"
#include "pipeline/command.h"
#include "pipeline/judge.h"
#include "tests/test.h"

extern const vm_command cmd_inpaint;
static char tmp[512];
static vm_error e;

static void shell(const char *fmt, const char *a, const char *b) {
    char cmd[2000];
    snprintf(cmd, sizeof cmd, fmt, a, b);
    EXPECT(system(cmd) == 0);
}

static void prepare(void) {
    char path[600];
    vm_image im;
    snprintf(path, sizeof path, "%s/p.png", tmp);
    EXPECT(!image_new(&im, 48, 40, 3, &e));
    for (int i = 0; i < 48 * 40 * 3; i++) im.px[i] = (uint8_t)(i * 7 + i / 144 * 5);
    EXPECT(!image_write_png(path, &im, NULL, 0, &e));
    image_free(&im);
    snprintf(path, sizeof path, "%s/edits.jsonl", tmp);
    FILE *f = fopen(path, "w");
    for (int k = 0; f && k < 2; k++)
        fprintf(f, "{\"edit_id\":\"e%d\",\"image_id\":\"p\",\"file\":\"p.png\",\"caption\":\"a red cat\",\"input_phrase\":\"a red cat\",\"edited_phrase\":\"a blue ball\","
                   "\"edited_caption\":\"a blue ball\",\"bounding_boxes\":[[0.2,0.2,0.7,0.7]]}\n", k);
    EXPECT(f && !fclose(f));
}

/* One run; the text of its journal. */
static const char *run(const char *name, const char *model, const char *judge_dir, size_t memory, vm_status *st) {
    static char text[1 << 16];
    char dir[600], edits[600], part[700];
    snprintf(dir, sizeof dir, "%s/%s", tmp, name), snprintf(edits, sizeof edits, "%s/edits.jsonl", tmp), snprintf(part, sizeof part, "%s/inpaint/part-0000-of-0001.jsonl", dir);
    const char *argv[] = { dir, "--model", model, "--edits", edits, "--images", tmp, "--judge", judge_dir ? "clip" : "none", "--judge-model", judge_dir ? judge_dir : "x",
                           "--steps", "2", "--calls", "1", "--candidates", "2", "--dtype", "f32", "--quiet", "--device", "cpu" };
    vm_args *a = NULL;
    bool done;
    vm_error_clear(&e);
    EXPECT(!args_parse(&a, &cmd_inpaint, VM_LEN(argv), (char **)(uintptr_t)argv, &done, &e));
    if (memory) vm_mem_limit(vm_mem_used() + memory);
    *st = cmd_inpaint.run(a, &e);
    vm_mem_limit(0);
    args_free(a);
    FILE *f = fopen(part, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = 0;
    if (f) fclose(f);
    return text;
}

static const char xl[] = "tests/golden/pipeline/xl";

/* Less and less memory: the run ends well, then edits are out of memory and the run goes on, then the models find no room. */
TEST(out_of_memory) {
    bool oom = false, refused = false;
    vm_status st;
    for (double bytes = 13e6; bytes > 1e5 && !refused; bytes *= 0.9) {
        char name[32];
        snprintf(name, sizeof name, "oom-%d", (int)bytes);
        const char *text = run(name, xl, NULL, (size_t)bytes, &st);
        if (st == VM_EPARTIAL) {
            oom = true;
            EXPECT_HAS(text, "\"k\":\"e0\"");
            EXPECT_HAS(text, "\"code\":\"oom\"");
            EXPECT_HAS(text, "\"k\":\"e1\"");
            EXPECT_HAS(run(name, xl, NULL, 0, &st), "\"k\":\"e1\""); /* the same command, with memory */
            EXPECT(st == VM_OK);
        } else if (st) {
            refused = true;
            EXPECT(st == VM_EDEVICE);
        }
    }
    EXPECT(oom && refused);
}

/* Rewrites a file of weights as f32, all of one tensor of it as `value`. */
static void damage(const char *path, const char *tensor, float value) {
    st_file *f = NULL;
    st_writer *w = NULL;
    bool found = false;
    EXPECT(!st_open(&f, path, &e) && !st_writer_open(&w, path, 0, &e));
    for (int64_t i = 0; f && i < st_len(f); i++) EXPECT(!st_writer_add(w, st_at(f, i)->name, ST_F32, st_at(f, i)->nd, st_at(f, i)->shape, &e));
    for (int64_t i = 0; f && i < st_len(f); i++) {
        const st_tensor *t = st_at(f, i);
        float *x = vm_alloc((size_t)t->len * sizeof *x + 1);
        EXPECT(!st_read_f32(f, t, 0, t->len, x, &e));
        for (int64_t k = 0; !strcmp(t->name, tensor) && k < t->len; k++) x[k] = value, found = true;
        EXPECT(!st_writer_put_f32(w, t->name, x, &e));
        vm_free(x);
    }
    st_close(f);
    EXPECT(!st_writer_commit(w, &e) && found);
}

TEST(numbers_that_are_not_finite) {
    char model[600], path[700];
    vm_status st;
    snprintf(model, sizeof model, "%s/damaged", tmp), snprintf(path, sizeof path, "%s/vae/diffusion_pytorch_model.fp16.safetensors", model);
    shell("cp -r %s %s", xl, model);
    damage(path, "decoder.conv_out.bias", NAN);
    const char *text = run("nan", model, NULL, 0, &st);
    EXPECT(st == VM_EPARTIAL);
    EXPECT_HAS(text, "\"k\":\"e1\"");
    EXPECT_HAS(text, "\"code\":\"not_finite\"");
    damage(path, "decoder.conv_out.bias", -1e6f); /* a picture that is black is kept, and said to be no result */
    EXPECT_HAS(run("black", model, NULL, 0, &st), "\"accepted\":false,\"black\":true}],\"chosen\":0,\"accepted\":false");
    EXPECT(st == VM_OK);
}

TEST(a_judge_that_fails) {
    char model[600], path[700];
    vm_status st;
    snprintf(model, sizeof model, "%s/judge", tmp), snprintf(path, sizeof path, "%s/model.safetensors", model);
    shell("cp -r %s %s", "weights/tiny/clip-hn", model);
    const char *text = run("judged", xl, model, 0, &st);
    EXPECT(st == VM_OK);
    for (const char *p = strstr(text, "\"candidates\":"); p; p = strstr(p + 1, "\"candidates\":")) { /* of each edit the best score stays */
        double score[3];
        const char *q = p;
        for (int k = 0; k < 3; k++) q = strstr(q + 1, "\"score\":"), score[k] = q ? atof(q + 8) : 0; /* the last one: of the record */
        const char *chosen = strstr(p, "\"chosen\":");
        EXPECT(chosen && score[2] == fmax(score[0], score[1]) && score[atoi(chosen + 9) & 1] == score[2]);
        test_checks++;
    }
    damage(path, "visual_projection.weight", NAN);
    EXPECT_HAS(run("unjudged", xl, model, 0, &st), "\"code\":\"judge_error\"");
    EXPECT(st == VM_EPARTIAL);
    snprintf(path, sizeof path, "%s/unjudged/images/p/e1.candidate-1.png", tmp);
    EXPECT(access(path, R_OK) == 0); /* what was painted is kept */
}

TEST(crops) {
    int c[4];
    judge_crop((float[]){ 100, 100, 300, 200 }, 640, 480, c);
    EXPECT(c[0] == 80 && c[1] == 90 && c[2] == 320 && c[3] == 210); /* about its own centre */
    judge_crop((float[]){ 0, 0, 10, 10 }, 640, 480, c);
    EXPECT(c[0] == 0 && c[1] == 0 && c[2] == 64 && c[3] == 64);
    judge_crop((float[]){ 630, 470, 640, 480 }, 640, 480, c);
    EXPECT(c[0] == 576 && c[1] == 416 && c[2] == 640 && c[3] == 480);
    judge_crop((float[]){ 10, 10, 20, 20 }, 40, 30, c);
    EXPECT(c[0] == 0 && c[1] == 0 && c[2] == 40 && c[3] == 30);
}

int main(int argc, char **argv) {
    snprintf(tmp, sizeof tmp, "%s/inpaint.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    vm_threads(1); /* tiny networks: more would only wait for each other */
    prepare();
    RUN(crops);
    RUN(out_of_memory);
    RUN(numbers_that_are_not_finite);
    RUN(a_judge_that_fails);
    shell("rm -r %s%s", tmp, "");
    return test_end();
}
