/* test_grammar.c - schemas and grammars as what they read, text by text; phrases of a text; what cannot be. */
#include "io/grammar.h"
#include "io/grammar_walk.h"
#include "pipeline/text_out.h"
#include "tests/test.h"

static void raw(json_writer *w, const char *key, const char *json) { json_put_raw(w, key, json, strlen(json)); }

/* A grammar and its runs. */
typedef struct {
    grammar *g;
    grammar_walk *w;
    g_places at, next;
} reader;
static reader reader_of(const char *what, bool text) {
    reader r = { 0 };
    vm_error e = { 0 };
    g_tokens all = { .joined = { 0 } };
    memset(all.byte, 1, sizeof all.byte);
    if (text ? grammar_from_text(&r.g, what, strlen(what), "grammar", &e)
             : grammar_from_schema(&r.g, what, strlen(what), "schema", &e))
        MISMATCH("%s: %s\n", what, e.msg);
    else if (grammar_walk_new(&r.w, r.g, 16, &all, &e)) MISMATCH("%s\n", e.msg);
    return r;
}
static void reader_free(reader *r) {
    g_places_free(&r->at), g_places_free(&r->next);
    grammar_walk_free(r->w), grammar_free(r->g);
}

/* Whether a text is one of the grammar. */
static bool reads(reader *r, const char *text) {
    grammar_walk_start(r->w, &r->at);
    for (; *text; text++) {
        if (!grammar_walk_step(r->w, &r->at, (uint8_t)*text, &r->next)) return false;
        g_places swap = r->at;
        r->at = r->next, r->next = swap;
    }
    return r->at.done;
}
static void check_reads(const char *what, bool text, const char *const *yes, const char *const *no) {
    reader r = reader_of(what, text);
    for (; *yes && r.w; yes++)
        if (!reads(&r, *yes)) MISMATCH("%s: does not read %s\n", what, *yes);
    for (; *no && r.w; no++)
        if (reads(&r, *no)) MISMATCH("%s: reads %s\n", what, *no);
    reader_free(&r);
}
#define LIST(...) (const char *const[]){ __VA_ARGS__, NULL }

TEST(notation) {
    check_reads("root ::= \"a\"* (\"b\" | # either\n  \"\" )\n", true, LIST("", "aaa", "aab", "b"),
                LIST("ba", "bb", "c"));
    check_reads("root ::= x{2} x{1,} y{0,2}\nx ::= [0-9a-fx-]\ny ::= [^0-9\\n]", true,
                LIST("12-", "fff", "aaaaGG", "123\xe2\x82\xac"), LIST("12", "123GGG", "123\n", "12\xe2\x82"));
    check_reads("root ::= list\nlist ::= \"(\" (list |\n \"x\"?)* \")\" ", true, LIST("()", "(x(x)())"),
                LIST("(", "x", "(()"));
    check_reads("root ::= \"\\x41\\u00e9\\\"\\\\\" [\\]\\-a]? .", true,
                LIST("A\xc3\xa9\"\\z", "A\xc3\xa9\"\\]\xf0\x9f\x98\x80", "A\xc3\xa9\"\\--"),
                LIST("A\xc3\xa9\"\\b-", "A\xe9\"\\z"));
    check_reads("root   ::= object\nvalue  ::= object | list | string | number | (\"true\" | \"null\") ws\n\nobject "
                "::=\n  \"{\" ws (\n    string \":\" ws value\n"
                "    (\",\" ws string \":\" ws value)*\n  )? \"}\" ws\nlist ::= \"[\" ws (value (\",\" ws value)*)? "
                "\"]\" ws\nstring ::=\n  \"\\\"\" (\n    [^\"\\\\\\x7F\\x00-\\x1F] |\n"
                "    \"\\\\\" ([\"\\\\bfnrt] | \"u\" [0-9a-fA-F]{4}) # escapes\n  )* \"\\\"\" ws\nnumber ::= \"-\"? "
                "[0-9]+ ws\nws ::= | \" \" | \"\\n\" [ \\t]{0,20}",
                true, LIST("{}", "{\"a\": [1,2 ,\"\\u00e9\\\\\"],\n  \"\": {}}"),
                LIST("{\"a\":}", "[]", "{\"a\":1,}", "{\"\x7f\":1}"));
    check_reads("root ::= (\"a\" (\"b\"* | \"\"))* \"c\"", true, LIST("c", "ac", "abbac"), LIST("bc", "a"));
}

TEST(schemas_read) {
    check_reads("{\"type\":\"integer\",\"minimum\":-12,\"exclusiveMaximum\":206}", false,
                LIST("-12", "-1", "0", "7", "99", "199", "205"), LIST("-13", "206", "-0", "01", "1000", "", "-"));
    check_reads("{\"type\":\"number\"}", false, LIST("0", "-1.50", "3e5", "12E-02"),
                LIST("01", "1.", ".5", "+1", "1e", "NaN"));
    check_reads("{\"type\":\"string\",\"maxLength\":3}", false,
                LIST("\"\"", "\"\\u00e9\\n\xe2\x82\xac\"", "\"\\ud83d\\ude00ab\""),
                LIST("\"abcd\"", "\"\\u0000\"", "\"\\ud83d\"", "\"\\ude00\"", "\"\n\"", "\"\\x\"", "\"\xe2\x82\"",
                     "\"\xc0\x80\"", "\"\xed\xa0\x80\""));
    check_reads("{\"type\":\"object\",\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":2},\"c\":{\"const\":3}},"
                "\"required\":[\"b\"]}",
                false, LIST("{\"a\":1,\"b\":2,\"c\":3}", "{\"b\":2}", "{\"a\":1,\"b\":2}", "{\"b\":2,\"c\":3}"),
                LIST("{}", "{\"a\":1}", "{,\"b\":2}", "{\"b\":2,}", "{\"b\":2,\"a\":1}", "{\"b\":2 }"));
    check_reads("{\"type\":\"object\",\"additionalProperties\":false}", false, LIST("{}"), LIST("{\"a\":1}"));
    check_reads("{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"maxItems\":0}", false, LIST("[]"), LIST("[null]"));
    check_reads("{\"enum\":[\"caf\xc3\xa9\",\"a/b\",{\"k\":[1,2.5]},\"cafe\"],\"title\":\"x\"}", false,
                LIST("\"caf\xc3\xa9\"", "\"a/b\"", "{\"k\":[1,2.5]}", "\"cafe\""), LIST("\"caf\"", "\"\""));
}

/* Every integer around ranges whose ends have zeros, nines and other digits. */
TEST(integers) {
    static const int range[][2] = { { 17, 305 },   { -305, -17 }, { 100, 199 }, { 0, 512 },  { -9, 1000 },
                                    { 989, 1011 }, { 5, 5 },      { 0, 0 },     { -120, 99 } };
    for (int k = 0; k < VM_LEN(range); k++) {
        char schema[100], text[16];
        snprintf(schema, sizeof schema, "{\"type\":\"integer\",\"minimum\":%d,\"maximum\":%d}", range[k][0],
                 range[k][1]);
        reader r = reader_of(schema, false);
        for (int i = -1300; i <= 1300 && r.w; i++) {
            snprintf(text, sizeof text, "%d", i);
            if (reads(&r, text) != (i >= range[k][0] && i <= range[k][1])) MISMATCH("%s: %d\n", schema, i);
            test_checks++;
        }
        reader_free(&r);
    }
}

static const char *refused(const char *what, bool text) {
    static char out[1100];
    vm_error e = { 0 };
    grammar *g = NULL;
    if (text) grammar_from_text(&g, what, strlen(what), "g.gbnf", &e);
    else grammar_from_schema(&g, what, strlen(what), "s.json", &e);
    EXPECT(!g == (e.status != VM_OK));
    grammar_free(g);
    snprintf(out, sizeof out, "%s", e.msg);
    return out;
}
TEST(what_cannot_be) {
    EXPECT_HAS(refused("{\"type\":\"string\",\n\"format\":\"date\"}", false),
               "s.json:2: format: this keyword is not supported");
    EXPECT_HAS(refused("{\"type\":\"number\",\"minimum\":1}", false), "a number (not an integer) cannot be limited");
    EXPECT_HAS(refused("{\"type\":\"integer\",\"minLength\":1}", false),
               "minLength: this keyword says nothing about the types");
    EXPECT_HAS(refused("{\"type\":\"object\",\"properties\":{\"a\":{}},\"additionalProperties\":true}", false),
               "further properties are not supported");
    EXPECT_HAS(refused("{\"type\":\"object\",\"properties\":{\"a\":{}},\"required\":[\"b\"]}", false),
               "this required property is not among");
    EXPECT_HAS(refused("{\"type\":\"array\",\"uniqueItems\":true}", false), "uniqueItems: this is not supported");
    EXPECT_HAS(refused("{\"type\":\"array\",\"minItems\":3,\"maxItems\":2}", false), "minItems 3 is above maxItems 2");
    EXPECT_HAS(refused("{\"type\":\"integer\",\"minimum\":3,\"maximum\":2}", false), "no integer is from 3 to 2");
    EXPECT_HAS(refused("{\"type\":\"strin\"}", false), "\"strin\" is no type");
    EXPECT_HAS(refused("{\"properties\":{}}", false), "needs \"type\": \"object\"");
    EXPECT_HAS(refused("{\"type\":\"string\",\"pattern\":\"abc\"}", false), "is not anchored");
    EXPECT_HAS(refused("{\"type\":\"string\",\"pattern\":\"^a\\\\$\"}", false), "is not anchored");
    EXPECT_HAS(refused("{\"type\":\"string\",\"pattern\":\"^(?=a)$\"}", false), "(?= is not supported");
    EXPECT_HAS(refused("{\"type\":\"string\",\"pattern\":\"^a+?$\"}", false), "lazy repetitions");
    EXPECT_HAS(refused("{\"type\":\"string\",\"pattern\":\"^\\\\bx$\"}", false), "");
    EXPECT_HAS(refused("{\"type\":\"string\",\"pattern\":\"^(a$\"}", false), "a group ( without its )");
    EXPECT_HAS(refused("{\"type\":\"string\",\"pattern\":\"^a$\",\"maxLength\":3}", false),
               "a pattern is not supported beside minLength");
    EXPECT_HAS(refused("{\"$ref\":\"#/x\"}", false), "references are");
    EXPECT_HAS(refused("{\"$ref\":\"#/$defs/x\"}", false), "is not in the schema");
    EXPECT_HAS(refused("{\"$ref\":\"#\"}", false), "never comes to an end");
    EXPECT_HAS(refused("{\"anyOf\":[{}],\"type\":\"string\"}", false),
               "beside \"anyOf\" this keyword is not supported");
    EXPECT_HAS(refused("{\"enum\":[]}", false), "a list of values that is not empty");
    EXPECT_HAS(refused("{\"enum\":[1],\"type\":\"string\"}", false), "none of the values is of the type");
    EXPECT_HAS(refused("{\"enum\":[\"a\"],\"maxLength\":1,\"type\":\"string\"}", false),
               "beside \"enum\" this keyword is not supported");
    EXPECT_HAS(refused("false", false), "expected a schema");
    EXPECT_HAS(refused("{", false), "s.json:1");
    EXPECT_HAS(refused("root ::= a\na ::= \"x\" | a \"y\"", true), "rule \"a\" begins with itself");
    EXPECT_HAS(refused("root ::= \"\" b root | \"x\"\nb ::= \"b\"?", true), "rule \"root\" begins with itself");
    EXPECT_HAS(refused("root ::= \"x\" root", true), "rule \"root\" never comes to an end");
    EXPECT_HAS(refused("root ::= \"x\"\n\nroot ::= y", true), "g.gbnf:3: rule \"root\" is there already");
    EXPECT_HAS(refused("root ::= \"x\"\n  y z", true), "g.gbnf:2: rule \"y\": expected ::=");
    EXPECT_HAS(refused("root ::= y", true), "g.gbnf:1: rule \"y\" is not defined");
    EXPECT_HAS(refused("x ::= \"y\"", true), "no rule \"root\"");
    EXPECT_HAS(refused("root ::= (\"y\"", true), "a group ( without its )");
    EXPECT_HAS(refused("root ::= \"y\")", true), "a ) without its (");
    EXPECT_HAS(refused("root ::= \"y", true), "a literal without its closing \"");
    EXPECT_HAS(refused("root ::= [a", true), "a class [ without its ]");
    EXPECT_HAS(refused("root ::= [z-a]", true), "a range in a class");
    EXPECT_HAS(refused("root ::= [a]{3,2}", true), "a count from 3 to 2");
    EXPECT_HAS(refused("root ::= [a]{x}", true), "a count \"{x}\"");
    EXPECT_HAS(refused("root ::= \"\\q\"", true), "an escape \\q");
    EXPECT_HAS(refused("root ::= \"\\ud800\"", true), "\\u names no character");
    EXPECT_HAS(refused("root ::= ([a]?){2,4}", true), "a counted repetition of something that may be empty");
    EXPECT_HAS(refused("root ::= *", true), "found \"*\", expected a name");
}

/* Schemas and grammars as large and as deep as a request can have them: read, or refused with a sentence. */
static void put_nested(json_writer *w, int depth, int properties) {
    json_begin_object(w, NULL);
    json_put_str(w, "type", "object");
    json_begin_object(w, "properties");
    for (int i = 0; i < properties; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%d", i);
        if (depth > 1 && i == properties - 1) {
            json_writer inside = json_to_memory(JSON_COMPACT);
            put_nested(&inside, depth - 1, properties);
            size_t n;
            char *s = json_take(&inside, &n, NULL);
            json_put_raw(w, name, s, n);
            vm_free(s);
        } else raw(w, name, depth % 2 ? "{}" : "{\"type\":\"boolean\"}");
    }
    json_close_object(w);
    if (depth % 2) {
        json_begin_array(w, "required");
        for (int i = 0; i < properties; i++) {
            char name[16];
            snprintf(name, sizeof name, "p%d", i);
            json_put_str(w, NULL, name);
        }
        json_close_array(w);
    }
    json_close_object(w);
}
static const char *refused_nested(int depth, int properties) {
    json_writer w = json_to_memory(JSON_COMPACT);
    put_nested(&w, depth, properties);
    char *s = json_take(&w, NULL, NULL);
    const char *why = s ? refused(s, false) : "memory";
    vm_free(s);
    return why;
}
TEST(large_and_deep) {
    EXPECT_STR(refused_nested(200, 30), "");
    EXPECT_STR(refused_nested(15, 1000), "");
    EXPECT_HAS(refused_nested(1, 1025), "more than 1024 properties of one object");
    EXPECT_HAS(refused_nested(60, 1000), "the schema has more than 16384 parts");
    text_out rules = { 0 };
    for (int i = 0; i < 17000; i++) {
        char line[64];
        snprintf(line, sizeof line, "%s%d ::= r%d \"x\"?\n", i ? "r" : "root ::= r1\nr", i, i + 1);
        text_put(&rules, line);
    }
    EXPECT_HAS(refused(rules.s, true), "more than 16384 rules");
    rules.n = 0;
    for (int i = 0; i < 3000; i++) {
        char line[64];
        snprintf(line, sizeof line, "%s%d ::= r%d? \"x\"?\n", i ? "r" : "root ::= r1\nr", i, i + 1);
        text_put(&rules, line);
    }
    text_put(&rules, "r3000 ::= \"y\"");
    EXPECT_STR(refused(rules.s, true), "");
    vm_free(rules.s);
}

TEST(phrases) {
    json_writer w = json_to_memory(JSON_COMPACT);
    vm_error e = { 0 };
    grammar_put_spans(&w, NULL, "A caf\xc3\xa9, (very) old -  a man's caf\xc3\xa9!", 2);
    char *s = json_take(&w, NULL, &e);
    EXPECT_STR(s, "{\"type\":\"string\",\"enum\":[\"A\",\"A caf\xc3\xa9\",\"caf\xc3\xa9\",\"caf\xc3\xa9, "
                  "(very\",\"very\",\"very) old\",\"old\",\"a\",\"a man's\",\"man's\",\"man's caf\xc3\xa9\"]}");
    vm_free(s);
    w = json_to_memory(JSON_COMPACT);
    grammar_put_spans(&w, NULL, " - ", 8);
    EXPECT_STR(s = json_take(&w, NULL, &e), "{\"type\":\"string\",\"enum\":[]}");
    vm_free(s);
}

int main(void) {
    RUN(notation);
    RUN(schemas_read);
    RUN(integers);
    RUN(what_cannot_be);
    RUN(large_and_deep);
    RUN(phrases);
    return test_end();
}
