/* test_json_loose.c - what language models write for JSON. */
#include "io/json_loose.h"

#include "tests/test.h"

/* The objects in the text as strict JSON, joined by blanks; "+cut" behind them when something was dropped at the
 * end. */
static const char *read_all(const char *text, char open) {
    static char out[4096];
    static vm_error e;
    json_doc *d;
    json_loose s = json_loose_start(text, strlen(text));
    size_t n = 0;
    out[0] = 0, vm_error_clear(&e);
    while (json_loose_next(&s, open, &d, &e)) {
        json_writer w = json_to_memory(JSON_COMPACT);
        json_put_value(&w, NULL, json_root(d));
        char *one = json_take(&w, NULL, &e);
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%s", n ? " " : "", one ? one : "?");
        vm_free(one);
        json_free(d);
    }
    if (s.cut) snprintf(out + n, sizeof out - n, "%s+cut", n ? " " : "");
    return e.status ? e.msg : out;
}

TEST(strict_stays) {
    EXPECT_STR(read_all("{\"a\":[1,-2.5,true,null,\"x\\\"y\\u0041\"],\"b\":{}}", '{'),
               "{\"a\":[1,-2.5,true,null,\"x\\\"yA\"],\"b\":{}}");
}

TEST(strings) {
    EXPECT_STR(read_all("{'a': 'the dog\\'s', 'b': 'the dog's bone'}", '{'),
               "{\"a\":\"the dog's\",\"b\":\"the dog's bone\"}");
    EXPECT_STR(read_all("{\"a\": \"a \"big\" dog\", \"b\": 1}", '{'), "{\"a\":\"a \\\"big\\\" dog\",\"b\":1}");
    EXPECT_STR(read_all("{\xe2\x80\x9c"
                        "a\xe2\x80\x9d: \xe2\x80\x9cx\xe2\x80\x9d, \xe2\x80\x98"
                        "b\xe2\x80\x99: \xe2\x80\x98it\xe2\x80\x99s\xe2\x80\x99}",
                        '{'),
               "{\"a\":\"x\",\"b\":\"it\xe2\x80\x99s\"}");
    EXPECT_STR(read_all("{\"a\": \"two\nlines\tand a bad \\q escape\"}", '{'),
               "{\"a\":\"two\\nlines\\tand a bad \\\\q escape\"}");
    EXPECT_STR(read_all("{\"a\": \"\xff\xc3\xa9\"}", '{'), "{\"a\":\"\xef\xbf\xbd\xc3\xa9\"}");
    EXPECT_STR(read_all("{`a`: `x`}", '{'), "{\"a\":\"x\"}");
}

TEST(numbers_and_words) {
    EXPECT_STR(read_all("{a: +5, b: .5, c: 5., d: 007, e: 1e3, f: -0}", '{'),
               "{\"a\":5,\"b\":0.5,\"c\":5,\"d\":7,\"e\":1000,\"f\":-0}");
    EXPECT_STR(read_all("{a: None, b: True, c: False}", '{'), "{\"a\":null,\"b\":true,\"c\":false}");
    EXPECT_STR(read_all("{a: Maybe}", '{'), "");
}

TEST(brackets) {
    EXPECT_STR(read_all("[{\"a\":1,},{\"a\":2}{\"a\":3},]", '{'), "{\"a\":1} {\"a\":2} {\"a\":3}");
    EXPECT_STR(read_all("Sure! ```json\n{\"a\": 1}\n``` and {\"a\": 2} as well.", '{'), "{\"a\":1} {\"a\":2}");
    EXPECT_STR(read_all("[('a cat', [1, 2, 3, 4]), (\"dog\", [5])]", '['), "[[\"a cat\",[1,2,3,4]],[\"dog\",[5]]]");
    EXPECT_STR(read_all("{\"a\":[1 2 3]}", '{'), "{\"a\":[1,2,3]}");
    EXPECT_STR(read_all("{\"a\":1]", '{'), "");
}

TEST(cut_at_the_end) {
    EXPECT_STR(read_all("[{\"a\":1},{\"a\":\"x", '{'), "{\"a\":1} +cut");
    EXPECT_STR(read_all("{\"edits\":[{\"a\":1},{\"a\":2},{\"b", '{'), "{\"a\":1} {\"a\":2} +cut");
    EXPECT_STR(read_all("{", '{'), "+cut");
    EXPECT_STR(read_all("", '{'), "");
}

TEST(limits) {
    enum { BIG = 2 << 20 };
    char *text = malloc(BIG);
    vm_error e = { 0 };
    json_doc *d;
    const char *const fill[] = { "{", "{\"a ", "{\"a\":", "[[[[", "{a:{a:'", "\"{", "\\{\"" };
    for (int k = 0; k < 7; k++) {
        size_t n = strlen(fill[k]);
        for (size_t i = 0; i + n <= BIG; i += n) memcpy(text + i, fill[k], n);
        json_loose s = json_loose_start(text, BIG);
        EXPECT(!json_loose_next(&s, '{', &d, &e));
    }
    for (size_t i = 0; i + 7 <= BIG; i += 7) memcpy(text + i, "{\"a\":1}", 7);
    json_loose s = json_loose_start(text, BIG);
    int n = 0;
    for (; json_loose_next(&s, '{', &d, &e); n++) json_free(d);
    EXPECT(n == JSON_LOOSE_VALUES);
    EXPECT_STR(read_all("{a:[[[[[[[1]]]]]]]}", '{'), "{\"a\":[[[[[[[1]]]]]]]}");
    EXPECT_STR(read_all("{a:[[[[[[[[1]]]]]]]]}", '{'), "");
    EXPECT_STR(read_all("{a:1,a:2} {a:3,a:3}", '{'), "");
    free(text);
}

TEST(names) {
    vm_error e = { 0 };
    json_doc *d;
    char room[32];
    json_loose s = json_loose_start("{selected_phrase:'x', 'Edited Phrase':7, c:null}", 50);
    EXPECT(json_loose_next(&s, '{', &d, &e));
    EXPECT_STR(json_loose_text(json_loose_get(json_root(d), "SelectedPhrase"), room), "x");
    EXPECT_STR(json_loose_text(json_loose_get(json_root(d), "EditedPhrase"), room), "7");
    EXPECT(!json_loose_text(json_loose_get(json_root(d), "C"), room) &&
           !json_has(json_loose_get(json_root(d), "none")));
    EXPECT(s.from == 0 && s.to == 48);
    json_free(d);
}

int main(void) {
    RUN(strict_stays);
    RUN(strings);
    RUN(numbers_and_words);
    RUN(brackets);
    RUN(cut_at_the_end);
    RUN(limits);
    RUN(names);
    return test_end();
}
