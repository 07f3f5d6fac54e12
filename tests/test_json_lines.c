/* test_json_lines.c - JSON Lines: values one by one, bad lines by their number, a file that was cut off. */
#include "io/json_lines.h"
#include "tests/test.h"

#include <unistd.h>

/* Values as "a=1 " by line, bad lines as "!message ", "cut" when the last line has no line feed. */
static const char *read_all(const char *text) {
    static char out[2000];
    json_lines *r;
    json_doc *d;
    vm_error e = { 0 };
    size_t n = 0;
    out[0] = 0;
    EXPECT(!json_lines_open_text(&r, text, strlen(text), "t.jsonl", 0, &e));
    for (int rc; (rc = json_lines_next(r, &d, &e)); vm_error_clear(&e)) {
        if (rc > 0)
            n += (size_t)snprintf(out + n, sizeof out - n, "%lld@%lld ",
                                  (long long)json_int(json_root(d), "a", -1, -9, 9, &e), (long long)json_line(json_root(d)));
        if (e.status) n += (size_t)snprintf(out + n, sizeof out - n, "!%s ", e.msg);
        if (json_lines_cut(r)) n += (size_t)snprintf(out + n, sizeof out - n, "cut");
        json_free(d);
    }
    json_lines_close(r);
    EXPECT(vm_mem_used() == 0);
    return out;
}

TEST(values) {
    EXPECT_STR(read_all(""), "");
    EXPECT_STR(read_all("\n \n\r\n"), "");
    EXPECT_STR(read_all("{\"a\":1}\n{\"a\":2}\n"), "1@1 2@2 ");
    EXPECT_STR(read_all("\xef\xbb\xbf{\"a\":1}\r\n\r\n{\"a\":2,}"), "1@1 2@3 cut");
}

TEST(bad_lines_are_named_and_passed_over) {
    EXPECT_STR(read_all("{\"a\":1}\n{\"a\"\n{\"a\":3}\n"), "1@1 !t.jsonl:2:5: found the end, expected ':' 3@3 ");
    EXPECT_STR(read_all("{}\n\n{\"a\":10}\n"), "-1@1 -1@3 !t.jsonl:3: a: found 10, expected an integer from -9 to 9 ");
    EXPECT_HAS(read_all("{}\n\"\xff\"\n{\"a\":1}\n"), "!t.jsonl:2:2: byte 0xff is not UTF-8");
    EXPECT_STR(read_all("{\"a\":1}\n{\"a\":"), "1@1 !t.jsonl:2:6: found the end, expected a value cut");
}

TEST(files) {
    json_lines *r;
    json_doc *d;
    vm_error e = { 0 };
    EXPECT(json_lines_open(&r, "tests/no-such-file", 0, &e) == VM_EINPUT && !r);
    EXPECT_HAS(e.msg, "No such file");
    vm_error_clear(&e);
    char path[] = "/tmp/json_lines-XXXXXX";
    int fd = mkstemp(path);
    EXPECT(write(fd, "{\"a\":4}\n", 8) == 8);
    close(fd);
    EXPECT(!json_lines_open(&r, path, 0, &e) && json_lines_next(r, &d, &e) == 1 && json_int(json_root(d), "a", 0, 0, 9, &e) == 4);
    json_free(d);
    EXPECT(json_lines_next(r, &d, &e) == 0 && !d && !json_lines_cut(r));
    json_lines_close(r);
    unlink(path);
    EXPECT(vm_mem_used() == 0);
}

TEST(without_memory) {
    for (int64_t n = 0; n < 8; n++) {
        json_lines *r;
        json_doc *d = NULL;
        vm_error e = { 0 };
        vm_mem_fail_after(n);
        int rc = json_lines_open_text(&r, "{\"a\":1}\n", 8, "t", 0, &e) ? -1 : json_lines_next(r, &d, &e);
        vm_mem_fail_after(-1);
        EXPECT(rc == 1 || (rc == -1 && e.status == VM_EDEVICE));
        json_free(d), json_lines_close(r);
        EXPECT(vm_mem_used() == 0);
    }
}

int main(void) {
    RUN(values);
    RUN(bad_lines_are_named_and_passed_over);
    RUN(files);
    RUN(without_memory);
    return test_end();
}
