/* test_json.c - what is JSON, what is not and what the message says; getters; the writer. */
#include "io/json.h"
#include "tests/test.h"

#include <float.h>
#include <unistd.h>

static const char *folder;

/* The text read and written again, or "!message". */
static const char *again(const char *text, size_t bytes, int flags) {
    static char out[1100];
    vm_error e = { 0 };
    json_doc *d = json_parse(text, bytes, "t", flags, &e);
    if (!d) {
        snprintf(out, sizeof out, "!%s", e.msg);
        EXPECT(e.status == VM_EINPUT);
    } else {
        json_writer w = json_to_memory(JSON_COMPACT);
        json_put_value(&w, NULL, json_root(d));
        char *s = json_take(&w, NULL, &e);
        snprintf(out, sizeof out, "%s", s);
        vm_free(s);
    }
    json_free(d);
    return out;
}

typedef struct {
    const char *text, *want;
    size_t bytes;
} pair;
#define P(text, want) { text, want, sizeof(text) - 1 }

static void check(const pair *p, int n, int flags) {
    for (int i = 0; i < n; i++) EXPECT_STR(again(p[i].text, p[i].bytes, flags), p[i].want);
    EXPECT(vm_mem_used() == 0);
}

TEST(good) {
    static const pair p[] = {
        P("null", "null"),
        P(" true ", "true"),
        P("\t\r\nfalse", "false"),
        P("0", "0"),
        P("-0", "-0"),
        P("-12", "-12"),
        P("9223372036854775807", "9223372036854775807"),
        P("-9223372036854775808", "-9223372036854775808"),
        P("9223372036854775808", "9.223372036854776e+18"),
        P("18446744073709551616", "1.8446744073709552e+19"),
        P("1000000000000000019884624838656", "1e+30"),
        P("0.1", "0.1"),
        P("1e3", "1000"),
        P("-1.5E-3", "-0.0015"),
        P("4.9e-324", "4.94065645841247e-324"),
        P("\"\"", "\"\""),
        P("\"a\\\"\\\\\\/\\b\\f\\n\\r\\tz\"", "\"a\\\"\\\\/\\b\\f\\n\\r\\tz\""),
        P("\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"", "\"A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""),
        P("\"\\u0000\"", "\"\\u0000\""),
        P("\"\x7f\"", "\"\x7f\""),
        P("\"\xc3\xa4\xf4\x8f\xbf\xbf\"", "\"\xc3\xa4\xf4\x8f\xbf\xbf\""),
        P("[]", "[]"),
        P("[ ]", "[]"),
        P("{}", "{}"),
        P("[[],{},[[]]]", "[[],{},[[]]]"),
        P("{\"b\":1,\"a\":{\"c\":[1,2]}}", "{\"b\":1,\"a\":{\"c\":[1,2]}}"),
        P("{\"\":1}", "{\"\":1}"),
        P("{\"a\\u0062\" : 1}", "{\"ab\":1}"),
    };
    check(p, VM_LEN(p), 0);
    check(p, VM_LEN(p), JSON_STRICT);
}

TEST(tolerated) {
    static const pair p[] = {
        P("\xef\xbb\xbf[1]", "[1]"),   P("[1,]", "[1]"),
        P("[1 , ]", "[1]"),            P("{\"a\":1,}", "{\"a\":1}"),
        P("{\"a\":[1,{},],\r\n}\r\n", "{\"a\":[1,{}]}"),
        P("\"\\ud800\"", "\"\xef\xbf\xbd\""),
        P("\"\\udc00x\"", "\"\xef\xbf\xbdx\""),
        P("\"\\ud800\\u0041\"", "\"\xef\xbf\xbd" "A\""),
        P("\"\\ud800\\ud800\\udc00\"", "\"\xef\xbf\xbd\xf0\x90\x80\x80\""),
    };
    check(p, VM_LEN(p), 0);
    for (int i = 0; i < VM_LEN(p); i++) EXPECT(again(p[i].text, p[i].bytes, JSON_STRICT)[0] == '!');
}

TEST(lenient) {
    static const pair p[] = {
        P("// head\n[1, // one\n2] // end", "[1,2]"), P("//", "!t:1:3: found the end, expected a value"),
        P("[\"//\"]", "[\"//\"]"),                    P("[NaN,Infinity,-Infinity,-1]", "[null,null,null,-1]"),
        P("{\"a\":NaN,}", "{\"a\":null}"),            P("{\"a\":[1],\"b\":2,\"a\":[1]}", "{\"a\":[1],\"b\":2}"),
        P("{\"a\":{\"x\":1,\"x\":1},\"a\":{\"x\":1}}", "{\"a\":{\"x\":1}}"),
        P("{\"a\":1,\n\"a\":2}", "!t:2:2: the name \"a\" stands twice in one object, with different values"),
        P("{\"a\":1,\"a\":1,\"a\":2}", "!t:1:9: the name \"a\" stands twice in one object, with different values"),
        P("{\"a\":1,\"a\":1,", "!t:1:14: found the end, expected a name in double quotes"),
        P("[Nan]", "!t:1:2: found 'N', expected a value; not-a-number and infinity are written null"),
        P("[1 / 2]", "!t:1:4: found '/', expected ',' or ']'; JSON has no comments"),
    };
    check(p, VM_LEN(p), JSON_LENIENT);
    vm_error e = { 0 };
    json_doc *d = json_parse("[1,]//", 6, "t.json", JSON_LENIENT, &e);
    EXPECT(json_odd(d) == (JSON_ODD_COMMA | JSON_ODD_COMMENT));
    json_free(d), d = json_parse("{\"a\":NaN,\"a\":null}", 18, "t.json", JSON_LENIENT, &e);
    EXPECT(json_odd(d) == (JSON_ODD_NUMBER | JSON_ODD_TWICE));
    json_free(d), d = json_parse("[1]", 3, "t.json", JSON_LENIENT, &e);
    EXPECT(json_odd(d) == 0);
    json_free(d);
}

#define NO_CONTROL " no control character inside a string (write \\n, \\t or \\u00XX)"
TEST(malformed) {
    static const pair p[] = {
        P("", "!t:1:1: found the end, expected a value"),
        P("  \n ", "!t:2:2: found the end, expected a value"),
        P("[1] 2", "!t:1:5: found '2', expected nothing after the end of the text"),
        P("{}}", "!t:1:3: found '}', expected nothing after the end of the text"),
        P("1\0", "!t:1:2: found byte 0x00, expected nothing after the end of the text"),
        P("[", "!t:1:2: found the end, expected a value"),
        P("[1", "!t:1:3: found the end, expected ',' or ']'"),
        P("[1,", "!t:1:4: found the end, expected a value"),
        P("[,]", "!t:1:2: found ',', expected a value"),
        P("[1,,2]", "!t:1:4: found ',', expected a value"),
        P("[1,,]", "!t:1:4: found ',', expected a value"),
        P("[1 2]", "!t:1:4: found '2', expected ',' or ']'"),
        P("[1}", "!t:1:3: found '}', expected ',' or ']'"),
        P("[1,}", "!t:1:4: found '}', expected a value"),
        P("]", "!t:1:1: found ']', expected a value"),
        P(",", "!t:1:1: found ',', expected a value"),
        P("{", "!t:1:2: found the end, expected a name in double quotes"),
        P("{,}", "!t:1:2: found ',', expected a name in double quotes"),
        P("{\"a\"", "!t:1:5: found the end, expected ':'"),
        P("{\"a\":", "!t:1:6: found the end, expected a value"),
        P("{\"a\":}", "!t:1:6: found '}', expected a value"),
        P("{\"a\" 1}", "!t:1:6: found '1', expected ':'"),
        P("{\"a\"::1}", "!t:1:6: found ':', expected a value"),
        P("{\"a\":1", "!t:1:7: found the end, expected ',' or '}'"),
        P("{\"a\":1]", "!t:1:7: found ']', expected ',' or '}'"),
        P("{\"a\":1,,}", "!t:1:8: found ',', expected a name in double quotes"),
        P("{\"a\":1 \"b\":2}", "!t:1:8: found '\"', expected ',' or '}'"),
        P("{a:1}", "!t:1:2: found 'a', expected a name in double quotes"),
        P("{1:1}", "!t:1:2: found '1', expected a name in double quotes"),
        P("{\"a\":1,\"a\":2}", "!t:1:9: the name \"a\" stands twice in one object"),
        P("{\"a\":1,\"\\u0061\":2}", "!t:1:9: the name \"a\" stands twice in one object"),
        P("{\"\\u0000\":1}", "!t:1:3: a name holds the character U+0000"),
        P("{'a':1}", "!t:1:2: found ''', expected a name in double quotes; strings stand in double quotes"),
        P("['a']", "!t:1:2: found ''', expected a value; strings stand in double quotes"),
        P("// c\n1", "!t:1:1: found '/', expected a value; JSON has no comments"),
        P("[1, /* c */ 2]", "!t:1:5: found '/', expected a value; JSON has no comments"),
        P("# c\n1", "!t:1:1: found '#', expected a value; JSON has no comments"),
        P("NaN", "!t:1:1: found 'N', expected a value; not-a-number and infinity are written null"),
        P("[Infinity]", "!t:1:2: found 'I', expected a value; not-a-number and infinity are written null"),
        P("-Infinity", "!t:1:2: found 'I', expected a digit; not-a-number and infinity are written null"),
        P("nan", "!t:1:1: found 'n', expected a value"),
        P("tru", "!t:1:1: found 't', expected a value"),
        P("True", "!t:1:1: found 'T', expected a value"),
        P("nulll", "!t:1:5: found 'l', expected nothing after the end of the text"),
        P("01", "!t:1:2: found '1', expected nothing after the end of the text"),
        P("+1", "!t:1:1: found '+', expected a value"),
        P("-", "!t:1:2: found the end, expected a digit"),
        P("- 1", "!t:1:2: found byte 0x20, expected a digit"),
        P("1.", "!t:1:3: found the end, expected a digit after the point"),
        P(".5", "!t:1:1: found '.', expected a value"),
        P("1.e3", "!t:1:3: found 'e', expected a digit after the point"),
        P("1e", "!t:1:3: found the end, expected a digit of the exponent"),
        P("1e+", "!t:1:4: found the end, expected a digit of the exponent"),
        P("1e400", "!t:1:1: the number 1e400 is beyond the range of double numbers"),
        P("[-1e400]", "!t:1:2: the number -1e400 is beyond the range of double numbers"),
        P("0x10", "!t:1:2: found 'x', expected nothing after the end of the text"),
        P("1_000", "!t:1:2: found '_', expected nothing after the end of the text"),
        P("\"", "!t:1:2: found the end, expected the closing quote of a string"),
        P("\"a", "!t:1:3: found the end, expected the closing quote of a string"),
        P("\"a\\\"", "!t:1:5: found the end, expected the closing quote of a string"),
        P("\"a\\", "!t:1:4: found the end, expected one of \" \\ / b f n r t u after a backslash"),
        P("\"\\x41\"", "!t:1:3: found 'x', expected one of \" \\ / b f n r t u after a backslash"),
        P("\"\\u12\"", "!t:1:2: found '\\', expected four hexadecimal digits after \\u"),
        P("\"\\u12g4\"", "!t:1:2: found '\\', expected four hexadecimal digits after \\u"),
        P("\"\\u", "!t:1:2: found '\\', expected four hexadecimal digits after \\u"),
        P("\"a\nb\"", "!t:1:3: found byte 0x0a, expected" NO_CONTROL),
        P("\"a\tb\"", "!t:1:3: found byte 0x09, expected" NO_CONTROL),
        P("\"a\0b\"", "!t:1:3: found byte 0x00, expected" NO_CONTROL),
        P("[1,\n 2\n\n  x]", "!t:4:3: found 'x', expected ',' or ']'"),
        P("\"\x80\"", "!t:1:2: byte 0x80 is not UTF-8; save the file in UTF-8"),
        P("\"\xc3\"", "!t:1:2: byte 0xc3 is not UTF-8; save the file in UTF-8"),
        P("\"\xc0\xaf\"", "!t:1:2: byte 0xc0 is not UTF-8; save the file in UTF-8"),
        P("\"\xe0\x80\x80\"", "!t:1:2: byte 0xe0 is not UTF-8; save the file in UTF-8"),
        P("\"\xed\xa0\x80\"", "!t:1:2: byte 0xed is not UTF-8; save the file in UTF-8"),
        P("\"\xf4\x90\x80\x80\"", "!t:1:2: byte 0xf4 is not UTF-8; save the file in UTF-8"),
        P("\"\xf5\x80\x80\x80\"", "!t:1:2: byte 0xf5 is not UTF-8; save the file in UTF-8"),
        P("[1]\n\xff", "!t:2:1: byte 0xff is not UTF-8; save the file in UTF-8"),
        P("\xff\xfe[\0", "!t:1:1: byte 0xff is not UTF-8; save the file in UTF-8"),
        P("\xc2\xa0 1", "!t:1:1: found byte 0xc2, expected a value"),
    };
    check(p, VM_LEN(p), 0);
    for (int i = 0; i < VM_LEN(p); i++)
        EXPECT(again(p[i].text, p[i].bytes, JSON_STRICT)[0] == '!');
}

TEST(every_prefix_of_a_text_is_malformed) {
    const char *text = "{\"a\":[1,-2.5e3,\"\\ud83d\\ude00\xc3\xa4\",true,null],\"b\":{\"c\":{}}}";
    for (size_t n = 0; n < strlen(text); n++) {
        char *p = vm_strndup(text, n); /* the sanitizer sees reads beyond the end */
        EXPECT(again(p, n, 0)[0] == '!');
        vm_free(p);
    }
    EXPECT(again(text, strlen(text), 0)[0] == '{');
}

TEST(depth_and_length) {
    static char text[5000];
    memset(text, '[', 512), memset(text + 512, ']', 512);
    EXPECT(again(text, 1024, JSON_STRICT)[0] == '[');
    memset(text, '[', 513), memset(text + 513, ']', 513);
    EXPECT_STR(again(text, 1026, 0), "!t:1:513: found '[', expected at most 512 levels of nesting");
    memset(text, '[', 5000);
    EXPECT_STR(again(text, 5000, 0), "!t:1:513: found '[', expected at most 512 levels of nesting");
    memset(text, '1', 1023);
    EXPECT_HAS(again(text, 1023, 0), "is beyond the range of double numbers");
    memset(text, '1', 1024);
    EXPECT_STR(again(text, 1024, 0), "!t:1:1: found '1', expected a number of at most 1023 characters");
}

TEST(one_long_line) { /* takes minutes when something is searched from the line's start for each value */
    int64_t n = 500000;
    char *text = vm_alloc((size_t)n * 2 + 2);
    for (int64_t i = 0; i < n; i++) text[2 * i] = ',', text[2 * i + 1] = '1';
    text[0] = '[', text[2 * n] = ']', text[2 * n + 1] = 0;
    json_doc *d = json_parse(text, (size_t)n * 2 + 1, "t", JSON_STRICT, NULL);
    EXPECT(d && json_len(json_root(d)) == n);
    json_free(d);
    vm_free(text);
}

/* ---- getters ----------------------------------------------------------------------------------------------------- */
static const char config[] = "{\n"
                             " \"size\": 768, \"rate\": 1e-5, \"act\": \"gelu\", \"tie\": true, "
                             "\"none\": null, \"whole\": 3.0,\n"
                             " \"text_config\": {\n"
                             "  \"heads\": \"12\",\n"
                             "  \"layers\": [ {\"n\": 1}, {\"n\": -1} ],\n"
                             "  \"big\": 1e30, \"mean\": [0.5, 1, 2]\n"
                             " }, \"nul\": \"a\\u0000b\"\n"
                             "}\n";
static json_doc *doc;
static json_value root;
static vm_error err;

static const char *message(void) {
    static char text[1100];
    snprintf(text, sizeof text, "%d %s", (int)err.status, err.msg);
    vm_error_clear(&err);
    return text;
}

TEST(getters) {
    EXPECT(json_int(root, "size", 0, 1, 1000, &err) == 768);
    EXPECT(json_int(root, "whole", 0, 1, 1000, &err) == 3);
    EXPECT(json_int(root, "none", 7, 1, 1000, &err) == 7 && json_int(root, "absent", 8, 1, 1000, &err) == 8);
    EXPECT(json_num(root, "rate", 0, 0, 1, &err) == 1e-5 && json_num(root, "size", 0, 0, 1e9, &err) == 768);
    EXPECT_STR(json_str(root, "act", "x", &err), "gelu");
    EXPECT(json_str(root, "absent", NULL, &err) == NULL);
    EXPECT(json_bool(root, "tie", false, &err) && json_bool(root, "absent", true, &err));
    json_value text = json_get(root, "text_config");
    EXPECT(json_len(text) == 4 && json_len(json_get(text, "layers")) == 2 && json_len(json_get(root, "size")) == 0);
    EXPECT(json_as_int(json_get(json_at(json_get(text, "layers"), 1), "n"), -5, 5, &err) == -1);
    EXPECT(json_int(json_get(json_get(root, "vision_config"), "deeper"), "x", 5, 0, 9, &err) == 5);
    EXPECT(json_int(json_get(root, "none"), "x", 5, 0, 9, &err) == 5);
    EXPECT(!json_has(json_get(root, "none")) && !json_has(json_get(root, "absent")) && json_has(text));
    double mean[3];
    EXPECT(json_as_nums(json_get(text, "mean"), mean, 3, &err) == 3 && mean[0] == 0.5 && mean[2] == 2);
    EXPECT(json_as_nums(json_get(text, "mean"), mean, -3, &err) == 3);
    size_t n;
    EXPECT(!memcmp(json_as_text(json_get(root, "nul"), &n, &err), "a\0b", 4) && n == 3);
    EXPECT(json_need(root, "rate", JSON_DOUBLE, &err).kind == JSON_DOUBLE);
    EXPECT(json_need(root, "size", JSON_DOUBLE, &err).kind == JSON_INT);
    EXPECT_STR(message(), "0 ");
    EXPECT(json_root(NULL).kind == JSON_MISSING && json_int(json_root(NULL), "x", 4, 0, 9, &err) == 4);
}

TEST(messages_name_the_place) {
    json_value text = json_get(root, "text_config"), layers = json_get(text, "layers");
    int64_t i3[3];
    double d2[2];
    EXPECT(json_int(root, "size", 5, 1, 512, &err) == 5);
    EXPECT_STR(message(), "3 t.json:2: size: found 768, expected an integer from 1 to 512");
    EXPECT(json_int(text, "heads", 6, 1, INT64_MAX, &err) == 6);
    EXPECT_STR(message(), "3 t.json:4: text_config.heads: found \"12\", expected an integer of at least 1");
    EXPECT(json_int(root, "rate", 6, 1, 10, &err) == 6);
    EXPECT_STR(message(), "3 t.json:2: rate: found 1e-05, expected an integer from 1 to 10");
    json_as_int(json_get(text, "big"), INT64_MIN, INT64_MAX, &err);
    EXPECT_STR(message(), "3 t.json:6: text_config.big: found 1e+30, expected an integer");
    json_as_int(json_get(json_at(layers, 1), "n"), 0, 9, &err);
    EXPECT_STR(message(), "3 t.json:5: text_config.layers[1].n: found -1, expected an integer from 0 to 9");
    json_as_int(json_at(layers, 2), 0, 9, &err);
    EXPECT_STR(message(), "3 t.json:5: text_config.layers[2]: is missing, expected an integer from 0 to 9");
    json_num(root, "size", 0, 0, 1, &err);
    EXPECT_STR(message(), "3 t.json:2: size: found 768, expected a number from 0 to 1");
    json_as_num(json_get(root, "none"), &err);
    EXPECT_STR(message(), "3 t.json:1: none: found null, expected a finite number");
    json_str(root, "text_config", "", &err);
    EXPECT_STR(message(), "3 t.json:3: text_config: found an object, expected a string");
    json_str(root, "nul", "", &err);
    EXPECT_STR(message(), "3 t.json:7: nul: the string holds the character U+0000");
    json_bool(root, "size", true, &err);
    EXPECT_STR(message(), "3 t.json:2: size: found 768, expected true or false");
    json_need(root, "vision_config", JSON_OBJECT, &err);
    EXPECT_STR(message(), "3 t.json:1: vision_config: is missing, expected an object");
    json_as_str(json_get(json_get(root, "vision_config"), "deeper"), &err);
    EXPECT_STR(message(), "3 t.json:1: vision_config: is missing, expected a string");
    EXPECT(json_as_ints(json_get(text, "mean"), i3, 3, &err) == -1);
    EXPECT_STR(message(), "3 t.json:6: text_config.mean[0]: found 0.5, expected an integer");
    EXPECT(json_as_nums(json_get(text, "mean"), d2, 2, &err) == -1);
    EXPECT_STR(message(), "3 t.json:6: text_config.mean: found an array of 3, expected an array of 2 numbers");
    EXPECT(json_as_nums(json_get(text, "mean"), d2, -2, &err) == -1);
    EXPECT_STR(message(), "3 t.json:6: text_config.mean: found an array of 3, expected an array of at most 2 numbers");
    EXPECT(json_as_nums(json_get(root, "act"), d2, -2, &err) == -1);
    EXPECT_STR(message(), "3 t.json:2: act: found \"gelu\", expected an array of at most 2 numbers");
    json_fail(text, &err, "no %s", "good");
    EXPECT_STR(message(), "3 t.json:3: text_config: no good");
}

TEST(iteration) {
    char seen[200] = "";
    for (json_iter it = json_each(root); json_next(&it);) {
        strcat(seen, it.key);
        strcat(seen, " ");
    }
    EXPECT_STR(seen, "size rate act tie none whole text_config nul ");
    int64_t sum = 0;
    for (json_iter it = json_each(json_get(json_get(root, "text_config"), "layers")); json_next(&it);)
        sum = sum * 10 + json_int(it.value, "n", 0, -9, 9, &err) + (it.key ? 100 : 0);
    EXPECT(sum == 9);
    for (json_iter it = json_each(json_get(root, "size")); json_next(&it);) EXPECT(false);
    for (json_iter it = json_each(json_root(NULL)); json_next(&it);) EXPECT(false);
}

/* ---- writer ------------------------------------------------------------------------------------------------------ */
static void sample(json_writer *w) {
    json_begin_object(w, NULL);
    json_put_str(w, "s", "a\"\\\n\x01\xc3\xa4\xff\xed\xa0\x80z");
    json_put_str(w, "none", NULL);
    json_put_int(w, "i", INT64_MIN);
    json_begin_array(w, "box");
    for (int i = 0; i < 3; i++) json_put_num(w, NULL, i / 2.0);
    json_close_array(w);
    json_begin_array(w, "e");
    json_close_array(w);
    json_begin_array(w, "o");
    json_begin_object(w, NULL);
    json_put_bool(w, "t", true);
    json_close_object(w);
    json_begin_object(w, NULL);
    json_close_object(w);
    json_close_array(w);
    json_put_raw(w, "r", "[1]", 3);
    json_close_object(w);
}

TEST(written) {
    json_writer w = json_to_memory(JSON_COMPACT);
    size_t n;
    sample(&w);
    char *s = json_take(&w, &n, &err);
    const char *bad = "\xef\xbf\xbd";
    char want[400];
    snprintf(want, sizeof want,
             "{\"s\":\"a\\\"\\\\\\n\\u0001\xc3\xa4%s%s%s%sz\",\"none\":null,"
             "\"i\":-9223372036854775808,\"box\":[0,0.5,1],"
             "\"e\":[],\"o\":[{\"t\":true},{}],\"r\":[1]}",
             bad, bad, bad, bad);
    EXPECT_STR(s, want);
    EXPECT(n == strlen(want));
    vm_free(s);
    w = json_to_memory(JSON_PRETTY);
    sample(&w);
    s = json_take(&w, &n, &err);
    EXPECT_HAS(s, "{\n  \"s\": \"a");
    EXPECT_HAS(s, "  \"box\": [0, 0.5, 1],\n  \"e\": [],\n");
    EXPECT_HAS(s, "  \"o\": [\n    {\n      \"t\": true\n    },\n    {}\n  ],\n");
    EXPECT_HAS(s, "  \"r\": [1]\n}\n");
    EXPECT(again(s, n, JSON_STRICT)[0] == '{');
    vm_free(s);
}

TEST(numbers_read_back_bit_by_bit) {
    uint64_t seed = 3;
    for (int i = 0; i < 20000; i++) {
        uint64_t u = test_rand(&seed);
        uint32_t u4 = (uint32_t)(u >> 32);
        double d;
        float f;
        memcpy(&d, &u, 8), memcpy(&f, &u4, 4);
        json_writer w = json_to_memory(JSON_COMPACT);
        json_begin_array(&w, NULL);
        json_put_num(&w, NULL, d);
        json_put_f32(&w, NULL, f);
        json_put_int(&w, NULL, (int64_t)u);
        json_close_array(&w);
        size_t n;
        char *s = json_take(&w, &n, &err);
        json_doc *x = json_parse(s, n, "t", JSON_STRICT, &err);
        json_value v = json_root(x);
        if (isfinite(d)) EXPECT(json_as_num(json_at(v, 0), &err) == d);
        else EXPECT(json_at(v, 0).kind == JSON_NULL);
        if (isfinite(f)) EXPECT((float)json_as_num(json_at(v, 1), &err) == f);
        else EXPECT(json_at(v, 1).kind == JSON_NULL);
        EXPECT(json_as_int(json_at(v, 2), INT64_MIN, INT64_MAX, &err) == (int64_t)u);
        json_free(x);
        vm_free(s);
    }
    EXPECT_STR(message(), "0 ");
}

TEST(lines_to_a_file) {
    char path[600], *text;
    vm_out *o;
    snprintf(path, sizeof path, "%s/lines.jsonl", folder);
    EXPECT(vm_out_open(&o, path, &err) == VM_OK);
    json_writer w = json_to_out(o, JSON_COMPACT);
    for (int i = 0; i < 20000; i++) {
        json_begin_object(&w, NULL);
        json_put_int(&w, "i", i);
        json_close_object(&w);
        json_newline(&w);
    }
    EXPECT(json_end(&w, &err) == VM_OK && vm_out_commit(o, &err) == VM_OK);
    EXPECT(file_read(&text, NULL, path, 0, &err) == VM_OK);
    char *line = text;
    for (int i = 0; i < 20000; i++) {
        char want[32];
        int n = snprintf(want, sizeof want, "{\"i\":%d}\n", i);
        EXPECT(!strncmp(line, want, (size_t)n));
        line += n;
    }
    EXPECT(!*line);
    vm_free(text);
}

TEST(failing_streams_are_reported) {
    FILE *full = fopen("/dev/full", "w");
    json_writer w = json_to_stream(full, JSON_PRETTY);
    json_put_int(&w, NULL, 1);
    EXPECT(json_end(&w, &err) == VM_EIO);
    EXPECT_HAS(message(), "No space left");
    fclose(full);
}

TEST(files) {
    char path[600];
    snprintf(path, sizeof path, "%s/c.json", folder);
    EXPECT(file_write(path, config, sizeof config - 1, &err) == VM_OK);
    json_doc *d = json_open(path, &err);
    EXPECT(d != NULL);
    EXPECT_STR(json_name(d), path);
    json_free(d);
    EXPECT(json_open("tests/no.json", &err) == NULL);
    EXPECT_STR(message(), "3 tests/no.json: cannot be opened: No such file or directory");
}

TEST(without_memory) {
    for (int64_t i = 0; i < 12; i++) {
        vm_error e = { 0 };
        vm_mem_fail_after(i);
        json_doc *d = json_parse(config, sizeof config - 1, "t.json", 0, &e);
        EXPECT(d || e.status == VM_EDEVICE);
        json_writer w = json_to_memory(JSON_PRETTY);
        sample(&w);
        char *s = json_take(&w, NULL, &e);
        EXPECT(s || e.status == VM_EDEVICE);
        vm_mem_fail_after(-1);
        vm_free(s);
        json_free(d);
    }
}

int main(int argc, char **argv) {
    char dir[512];
    snprintf(dir, sizeof dir, "%s/json-XXXXXX", argc > 1 ? argv[1] : "/tmp");
    folder = mkdtemp(dir);
    RUN(good);
    RUN(tolerated);
    RUN(lenient);
    RUN(malformed);
    RUN(every_prefix_of_a_text_is_malformed);
    RUN(depth_and_length);
    RUN(one_long_line);
    doc = json_parse(config, sizeof config - 1, "t.json", 0, &err);
    root = json_root(doc);
    RUN(getters);
    RUN(messages_name_the_place);
    RUN(iteration);
    json_free(doc);
    RUN(written);
    RUN(numbers_read_back_bit_by_bit);
    RUN(lines_to_a_file);
    RUN(failing_streams_are_reported);
    RUN(files);
    RUN(without_memory);
    EXPECT(vm_mem_used() == 0);
    dir_remove(folder, NULL);
    return test_end();
}
