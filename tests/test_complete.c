/* test_complete.c - answers of language models: texts that go round in circles, canned ones, a small model on the
 * engine. */
#include "pipeline/complete_parts.h"

#include "io/file.h"
#include "tests/test.h"

/* Tokens until a loop is seen; 0 = never. */
static int loops_at(int n, int period, int jump) {
    loop_watch w = { 0 };
    int at = 0;
    for (int i = 0; i < n && !at; i++)
        if (loop_step(&w, i < 10 ? 1000 + i : i % period + jump * (i / period))) at = i + 1;
    loop_free(&w);
    return at;
}

TEST(loops) {
    EXPECT(loops_at(200, 1, 0) == 10 + 1 + 3 + 11);    /* one token: three turns and eleven more behind the first */
    EXPECT(loops_at(200, 20, 0) == 10 + 20 + 60 + 11); /* twenty: four turns and eleven more */
    EXPECT(loops_at(200, 20, 1) == 0);                 /* lists whose entries differ are none */
    EXPECT(loops_at(60, 20, 0) == 0);
}

static const vm_opt opts[] = { COMPLETE_OPTS, { 0 } };
static const vm_command command = { .name = "test", .usage = "", .opts = opts };

static completer *open_it(const char *where, vm_error *e) {
    bool done;
    vm_args *a;
    completer *c = NULL;
    char *argv[] = { "--llm", (char *)where, "--threads", "1", "--dtype", "f32" };
    *e = (vm_error){ 0 };
    if (!args_parse(&a, &command, 6, argv, &done, e)) complete_open(&c, a, e), args_free(a);
    return c;
}

TEST(replay) {
    vm_error e = { 0 };
    const char *lines = "{\"text\":\"first\"}\n{\"key\":\"b\",\"try\":1,\"text\":\"of "
                        "b\",\"finish\":\"cut\"}\n{\"text\":\"second END and more\"}\n"
                        "{\"key\":\"b\",\"sample\":1,\"text\":\"sample of b\"}\n";
    EXPECT(!file_write("/dev/shm/test_complete.jsonl", lines, strlen(lines), &e));
    completer *c = open_it("replay:/dev/shm/test_complete.jsonl", &e);
    completion x[] = { { .key = "a" },
                       { .key = "b", .t = 1 },
                       { .key = "b", .t = 0, .sample = 1 },
                       { .key = "b", .t = 0 },
                       { .key = "z" } };
    const char *const want[] = { "first", "of b", "sample of b", "second ", "" };
    for (int k = 0; k < 5; k++) x[k].how.stop = "END";
    EXPECT(c && !complete(c, x, 5, &e));
    for (int k = 0; k < 5; k++) {
        EXPECT_STR(x[k].text, want[k]);
        vm_free(x[k].text);
    }
    EXPECT(x[1].end == COMPLETE_CUT && x[3].end == COMPLETE_STOP);
    complete_close(c);
    remove("/dev/shm/test_complete.jsonl");
    EXPECT(!open_it("replay:/nowhere", &e) && e.status == VM_EINPUT);
    EXPECT(!open_it("none", &e) && !e.status);
}

static char model[] = "/dev/shm/test_complete.XXXXXX";
static void copy(const char *from, const char *name) {
    vm_error e = { 0 };
    char *data = NULL, *path = path_join(model, name), *source = path_join(from, name);
    size_t n;
    EXPECT(!file_read(&data, &n, source, 0, &e) && !file_write(path, data, n, &e));
    vm_free(data), vm_free(path), vm_free(source);
}

static int dones;
static void on_done(completion *x) { dones++; }

TEST(native) {
    enum { N = 6 };
    vm_error e = { 0 };
    char where[64];
    completion x[N],
        again = { .key = "k", .prompt = "the red cube is", .seed = 3, .how = { .max_new = 12, .temperature = 1 } };
    snprintf(where, sizeof where, "native:%s", model);
    completer *c = open_it(where, &e);
    EXPECT_STR(e.msg, "");
    for (int k = 0; k < N; k++) {
        x[k] = again;
        x[k].seed = (uint64_t)k, x[k].done = on_done;
        if (k == 4)
            x[k].schema = "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"boolean\"}},\"required\":[\"a\"]}";
        if (k == 5) x[k].prompt = "</s></s></s></s></s></s></s></s>", x[k].how.max_new = 1;
    }
    EXPECT(!complete(c, x, N, &e) && dones == N);
    EXPECT(!complete(c, &again, 1, &e));
    EXPECT_STR(x[3].text, again.text); /* the same seed, alone or among others */
    EXPECT(strcmp(x[0].text, x[1].text));
    EXPECT(!strcmp(x[4].text, "{\"a\":true}") || !strcmp(x[4].text, "{\"a\":false}"));
    EXPECT(x[5].in > 16); /* marks in a prompt are text */
    EXPECT(complete_fits(c, "a", 500) && !complete_fits(c, "a", 512) && complete_spans(c) > 1000);
    EXPECT_HAS(complete_id(c), "native:test_complete.");
    for (int k = 0; k < N; k++) vm_free(x[k].text);
    vm_free(again.text);
    complete_close(c);
}

int main(void) {
    vm_error e = { 0 };
    if (!mkdtemp(model)) return 1;
    copy("tests/golden/llm/llama", "config.json"), copy("tests/golden/llm/llama", "model.safetensors");
    copy("tests/golden/tokenizer/pieces_first", "tokenizer.json"),
        copy("tests/golden/tokenizer/pieces_first", "tokenizer_config.json");
    RUN(loops);
    RUN(replay);
    RUN(native);
    dir_remove(model, &e);
    return test_end();
}
