/* test_towers.c - the activation of a CLIP whose files do not state it is asked for or read from the weights, never guessed. */
#include <unistd.h>

#include "io/file.h"
#include "models/clip.h"
#include "tests/test.h"

static const char unstated[] = "tests/golden/clip/open_clip", stated[] = "tests/golden/clip/open_clip_variant"; /* quick_gelu */
static char dir[512];

static const char *in_dir(const char *name) {
    static char path[2][700];
    static int k;
    k = !k;
    snprintf(path[k], sizeof path[k], "%s/%s", dir, name);
    return path[k];
}

/* The activation of both towers, or VM_NONE and the message. */
static vm_unary_kind opened(const char *from, const towers_options *o, vm_status want, char said[1024]) {
    vm_error e = { 0 };
    towers *t = NULL;
    EXPECT(towers_open(&t, vm_backend_cpu(), from, o, &e) == want && !t == (want != VM_OK));
    vm_unary_kind k = t ? t->text_act : VM_NONE;
    EXPECT(!t || (t->vision_act == k && ((clip_model *)t)->c.text_act == k && ((clip_model *)t)->c.vision_act == k));
    snprintf(said, 1024, "%s", e.msg);
    towers_free(t);
    return k;
}

TEST(not_stated) {
    char said[1024];
    opened(unstated, &(towers_options){ .how = TOWERS_READ }, VM_EUSAGE, said);
    EXPECT_HAS(said, "tests/golden/clip/open_clip: states no activation, weights do not show it, and the wrong one changes every score: give "
                     "--activation quick_gelu for OpenAI's CLIP and all that descends from it");
    opened(unstated, &(towers_options){ .how = TOWERS_TRAIN }, VM_EUSAGE, said);
    EXPECT(opened(unstated, &(towers_options){ .how = TOWERS_READ, .activation = VM_GELU }, VM_OK, said) == VM_GELU);
    EXPECT(opened(unstated, &(towers_options){ .how = TOWERS_TRAIN, .activation = VM_QUICK_GELU }, VM_OK, said) == VM_QUICK_GELU);
    EXPECT(opened(unstated, &(towers_options){ .how = TOWERS_READ, .library_default = true }, VM_OK, said) == VM_GELU);
    EXPECT(opened(unstated, &(towers_options){ .how = TOWERS_FRESH }, VM_OK, said) == VM_GELU); /* no weights that could be of the other one */
    EXPECT(opened(unstated, &(towers_options){ .how = TOWERS_FRESH, .activation = VM_QUICK_GELU }, VM_OK, said) == VM_QUICK_GELU);
}

TEST(a_file_is_no_folder) {
    char said[1024];
    opened("tests/golden/pt/clip.pt", &(towers_options){ .how = TOWERS_READ }, VM_EMODEL, said);
    EXPECT_STR(said, "tests/golden/pt/clip.pt: is a file; `vismin convert tests/golden/pt/clip.pt FOLDER` makes a model folder of weights, give that");
}

TEST(stated) {
    char said[1024];
    EXPECT(opened(stated, &(towers_options){ .how = TOWERS_READ }, VM_OK, said) == VM_QUICK_GELU);
    EXPECT(opened(stated, &(towers_options){ .how = TOWERS_READ, .activation = VM_QUICK_GELU }, VM_OK, said) == VM_QUICK_GELU);
    opened(stated, &(towers_options){ .how = TOWERS_READ, .activation = VM_GELU }, VM_EUSAGE, said);
    EXPECT_STR(said, "--activation gelu: tests/golden/clip/open_clip_variant states quick_gelu; leave the option out, or let `vismin convert` write a "
                     "folder that states the other one");
    /* Hugging Face's files leave out what is the default of the class */
    EXPECT(opened("tests/golden/clip/hf", &(towers_options){ .how = TOWERS_READ }, VM_OK, said) == VM_QUICK_GELU);
}

/* Weights that this program wrote carry the activation. */
TEST(said_by_the_weights) {
    vm_error e = { 0 };
    clip_model *m = NULL;
    char *text = NULL, *key, said[1024];
    size_t n = 0;
    EXPECT(!clip_open(&m, vm_backend_cpu(), stated, false, &e) && !clip_save_layout(m, dir, CLIP_OPEN, ST_F32, &e));
    clip_free(m);
    EXPECT(!file_read(&text, &n, in_dir("open_clip_config.json"), 0, &e) && (key = strstr(text, "\"quick_gelu\"")) != NULL);
    if (key) memcpy(key, "\"other_gelu\"", 12);
    EXPECT(!file_write(in_dir("open_clip_config.json"), text, n, &e));
    EXPECT(opened(dir, &(towers_options){ .how = TOWERS_READ }, VM_OK, said) == VM_QUICK_GELU);
    opened(dir, &(towers_options){ .how = TOWERS_READ, .activation = VM_GELU }, VM_EUSAGE, said);
    EXPECT_HAS(said, "states quick_gelu");
    if (key) memcpy(key, "\"quick_gelu\"", 12), key = strstr(key, "true"), memcpy(key, "null", 4);
    EXPECT(!file_write(in_dir("open_clip_config.json"), text, n, &e));
    EXPECT(opened(dir, &(towers_options){ .how = TOWERS_READ }, VM_OK, said) == VM_QUICK_GELU);
    if (key) memcpy(key, "  0 ", 4);
    EXPECT(!file_write(in_dir("open_clip_config.json"), text, n, &e));
    opened(dir, &(towers_options){ .how = TOWERS_READ }, VM_EINPUT, said); /* no number is a yes or no */
    vm_free(text);
    EXPECT(!file_read(&text, &n, "tests/golden/clip/open_clip_variant/open_clip_config.json", 0, &e));
    key = text ? strstr(text, "\"quick_gelu\": true") : NULL;
    EXPECT(key != NULL);
    if (key) memcpy(key, "\"quick_gelu\":false", 18);
    EXPECT(!file_write(in_dir("open_clip_config.json"), text, n, &e));
    opened(dir, &(towers_options){ .how = TOWERS_READ }, VM_EMODEL, said);
    EXPECT_HAS(said, "the weights say activation quick_gelu, the configuration gelu; correct the one that is wrong");
    vm_free(text);
}

int main(int argc, char **argv) {
    snprintf(dir, sizeof dir, "%s/towers.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(dir)) return 1;
    RUN(not_stated);
    RUN(a_file_is_no_folder);
    RUN(stated);
    RUN(said_by_the_weights);
    vm_error e = { 0 };
    dir_remove(dir, &e);
    return test_end();
}
