/* test_prompt.c - templates and demonstrations: what is filled in, sets, what is refused. */
#include "pipeline/prompt.h"

#include <sys/stat.h>
#include <unistd.h>

#include "io/file.h"
#include "tests/test.h"

static char dir[] = "/tmp/test_prompt.XXXXXX";

static void put(const char *name, const char *text) {
    vm_error e = { 0 };
    char *path = path_join(dir, name);
    EXPECT(!file_write(path, text, strlen(text), &e));
    vm_free(path);
}

static void drop(const char *name) {
    char *path = path_join(dir, name);
    EXPECT(!unlink(path));
    vm_free(path);
}

static vm_status odd_is_bad(json_value demo, void *ctx, vm_error *e) {
    const char *c = json_str(demo, "caption", "", e);
    return strstr(c, "bad") ? json_fail(json_get(demo, "caption"), e, "breaks the rule of this test") : VM_OK;
}

static prompt *open_it(int shots, uint64_t seed, vm_error *e) {
    prompt *p;
    *e = (vm_error){ 0 };
    prompt_open(&p,
                &(prompt_options){ .stage = "s",
                                   .category = "c",
                                   .dir = dir,
                                   .fields = "caption more",
                                   .shots = shots,
                                   .seed = seed,
                                   .check = odd_is_bad,
                                   .balance = "kind" },
                e);
    return p;
}

TEST(fills_in) {
    vm_error e;
    put("s.c.txt", "Rules {not a place} {\"json\":1}.\n{demos}\nCaption: {caption:json} ({more})\nAnswer:\n");
    put("s.c.demos.jsonl", "{\"caption\":\"a \\\"b\\\"\",\"more\":\"m\",\"answer\":[1, {\"x\": 2}]}\n");
    prompt *p = open_it(4, 0, &e);
    EXPECT_STR(e.msg, "");
    char *text = NULL;
    prompt_field f[] = { { "caption", "red\\ \"fox\"\nand {caption} \xf0\x9f\xa6\x8a" }, { "more", "x\ny" } };
    EXPECT(!prompt_text(&text, p, 3, 4, NULL, f, 2, &e));
    EXPECT_STR(text, "Rules {not a place} {\"json\":1}.\nCaption: \"a \\\"b\\\"\" (m)\nAnswer:\n[1,{\"x\":2}]\n"
                     "Caption: \"red\\\\ \\\"fox\\\"\\nand {caption} \xf0\x9f\xa6\x8a\" (x y)\nAnswer:\n");
    vm_free(text);
    EXPECT(!prompt_text(&text, p, 3, 0, NULL, f, 2, &e));
    EXPECT_STR(text, "Rules {not a place} {\"json\":1}.\nCaption: \"red\\\\ \\\"fox\\\"\\nand {caption} "
                     "\xf0\x9f\xa6\x8a\" (x y)\nAnswer:\n");
    vm_free(text);
    EXPECT(!prompt_text(&text, p, 3, 4, "|", f, 2, &e));
    EXPECT_HAS(text, "(m)\nAnswer:|[1,{\"x\":2}]|Caption: \"red");
    EXPECT(text[strlen(text) - 1] == ':');
    vm_free(text);
    prompt_free(p);
}

TEST(without_demonstrations) {
    vm_error e;
    put("s.c.txt", "edit : {caption} =>\n");
    prompt *p = open_it(4, 0, &e);
    char *text = NULL;
    EXPECT(p && prompt_shots(p) == 0);
    EXPECT(!prompt_text(&text, p, 5, 4, NULL, &(prompt_field){ "caption", "a dog" }, 1, &e));
    EXPECT_STR(text, "edit : a dog =>");
    vm_free(text);
    prompt_free(p);
}

static void many_demos(void) {
    char demos[4096] = "";
    size_t n = 0;
    for (int k = 0; k < 20; k++)
        n += (size_t)snprintf(demos + n, sizeof demos - n, "{\"caption\":\"c%02d\",\"kind\":\"%s\",\"answer\":%d}\n", k,
                              k < 15 ? "x" : "y", k);
    put("s.c.txt", "{demos}\n{caption}\n");
    put("s.c.demos.jsonl", demos);
}

TEST(sets) {
    vm_error e;
    char *text[PROMPT_SETS], *other = NULL;
    int differ = 0;
    prompt_field f = { "caption", "?" };
    many_demos();
    prompt *p = open_it(6, 1, &e), *q = open_it(6, 1, &e), *r = open_it(6, 2, &e);
    EXPECT(p && prompt_shots(p) == 6 && prompt_demos(p) == 20);
    for (int k = 0; k < PROMPT_SETS; k++) {
        int ys = 0, seen[20] = { 0 }, n = 0;
        EXPECT(!prompt_text(&text[k], p, k, 6, NULL, &f, 1, &e) && !prompt_text(&other, q, k, 6, NULL, &f, 1, &e));
        EXPECT_STR(text[k], other); /* the same seed, the same sets */
        vm_free(other);
        for (const char *c = text[k]; (c = strchr(c, 'c')); c++) ys += atoi(c + 1) >= 15, n++, seen[atoi(c + 1)]++;
        for (int i = 0; i < 20; i++) EXPECT(seen[i] <= 1);
        EXPECT(n == 6 && ys == 3); /* both kinds in turn */
        for (int i = 0; i < k; i++) differ += strcmp(text[i], text[k]) != 0;
    }
    EXPECT(differ == PROMPT_SETS * (PROMPT_SETS - 1) / 2);
    EXPECT(!prompt_text(&other, r, 0, 6, NULL, &f, 1, &e) && strcmp(other, text[0]));
    vm_free(other);
    EXPECT(!prompt_text(&other, p, 0, 2, NULL, &f, 1, &e)); /* fewer: those next to the question stay */
    EXPECT(strlen(text[0]) > strlen(other) && !strcmp(text[0] + strlen(text[0]) - strlen(other), other));
    vm_free(other);
    EXPECT(prompt_set(p, "unit", 1) == (prompt_set(p, "unit", 0) + 1) % PROMPT_SETS);
    EXPECT_STR(prompt_hash(p), prompt_hash(r));
    for (int k = 0; k < PROMPT_SETS; k++) vm_free(text[k]);
    prompt_free(p), prompt_free(q), prompt_free(r);
}

TEST(refused) {
    vm_error e;
    put("s.c.txt", "one\n{demos}\n{capton}\n");
    EXPECT(!open_it(2, 0, &e) && e.status == VM_EINPUT);
    EXPECT_HAS(e.msg, "s.c.txt:3: nothing fills the place {capton}");
    put("s.c.txt", "{demos}\n{caption}\n");
    put("s.c.demos.jsonl", "{\"caption\":\"x\",\"answer\":1}\n{\"caption\":\"bad\",\"answer\":1}\n");
    EXPECT(!open_it(2, 0, &e));
    EXPECT_HAS(e.msg, "s.c.demos.jsonl:2: caption: breaks the rule of this test");
    put("s.c.demos.jsonl", "{\"caption\":\"x\"}\n");
    EXPECT(!open_it(2, 0, &e));
    EXPECT_HAS(e.msg, "needs a member \"answer\"");
    put("s.c.demos.jsonl", "\n");
    EXPECT(!open_it(2, 0, &e));
    EXPECT_HAS(e.msg, "no demonstrations");
    drop("s.c.demos.jsonl");
    EXPECT(!open_it(2, 0, &e));
    EXPECT_HAS(e.msg, "there is no s.c.demos.jsonl");
    drop("s.c.txt");
    EXPECT(!open_it(2, 0, &e));
    EXPECT_HAS(e.msg, "s.c.txt: there is no such prompt");
}

int main(void) {
    vm_error e = { 0 };
    if (!mkdtemp(dir)) return 1;
    RUN(fills_in);
    RUN(without_demonstrations);
    RUN(sets);
    RUN(refused);
    dir_remove(dir, &e);
    return test_end();
}
