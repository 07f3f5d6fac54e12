/* test_layout.c - layouts: the text grammar on what language models write, both JSON forms, geometry at its limits, one
 * broken layout for each rule, swaps and removals. */
#include "pipeline/layout.h"

#include "tests/test.h"

static char why[LAYOUT_WHY];
static vm_error err;

/* All layouts of a text, as "caption|n boxes|background|negative|category" or "!problem", joined by a line feed. */
static const char *read_all(const char *text, size_t bytes, bool ended) {
    static char out[8000];
    const char *p = text, *end = text + bytes;
    layout l;
    out[0] = 0;
    while (layout_next(&p, end, ended, &l, why)) {
        size_t n = strlen(out);
        if (why[0]) snprintf(out + n, sizeof out - n, "%s!%s", n ? "\n" : "", why);
        else
            snprintf(out + n, sizeof out - n, "%s%s|%d|%s|%s|%s", n ? "\n" : "", l.caption, l.n, l.background,
                     l.negative, l.category);
    }
    return out;
}
#define READ(text) read_all(text, strlen(text), false)

#define TAIL ", Background prompt: a lawn, Negative prompt: fog, Category: relation(left of)"
#define CAT "a cat left of a dog|2|a lawn|fog|relation(left of)"
#define BOXES "[('a cat', [20, 200, 150, 150]), ('a dog', [300, 200, 150, 150])]"

TEST(one_line) {
    EXPECT_STR(READ("9. Input: a cat left of a dog, Bounding boxes: " BOXES TAIL), CAT);
    EXPECT_STR(READ("Sure! Here:\n\n1. Input: a cat left of a dog, Bounding boxes: " BOXES TAIL
                    "\n2. Input: a cat left of a dog, Bounding boxes: " BOXES TAIL ".\n"),
               CAT "\n" CAT);
    EXPECT_STR(READ("```\n**Input:** a cat left of a dog.\n**Bounding boxes:** " BOXES
                    "\n**Background prompt:** a lawn\n**Negative prompt:** fog\n"
                    "**Category:** Relation (Left of)\n```"),
               CAT);
    EXPECT_STR(READ(" a cat left of a dog, Bounding boxes: " BOXES TAIL), CAT); /* the prompt ended with Input: */
    EXPECT_STR(READ("INPUT: a cat left of a dog, bounding boxes: " BOXES
                    ", background prompt: 'a lawn', negative prompt: \"fog\", category: relation(left)"),
               CAT);
}

TEST(lines) {
    EXPECT_STR(READ(BOXES "\nBackground prompt: a lawn\nNegative prompt: fog\nCategory: relation(left of)"),
               "|2|a lawn|fog|relation(left of)");
    EXPECT_STR(READ("Caption: a cat left of a dog\nObjects: " BOXES
                    "\nBackground prompt: a lawn.\nNegative prompt: None\nCategory: counting(2)\n"),
               "a cat left of a dog|2|a lawn||counting(two)");
    EXPECT_STR(READ("Caption: x\nObjects: " BOXES
                    "\nBackground prompt: a lawn\nNegative prompt: No cat. Category: attribute(color)."),
               "x|2|a lawn|No cat|attribute(color)");
    EXPECT_STR(READ("Caption:\n\n a cat left of a dog \nObjects: " BOXES
                    "\nBackground prompt: a lawn\nCategory: relation(under)"),
               "a cat left of a dog|2|a lawn||relation(under)");
    EXPECT_STR(READ("Caption: empty\nObjects: No objects\nBackground prompt: a lawn\nNegative prompt:\nCategory: "
                    "relation(left of)"),
               "empty|0|a lawn||relation(left of)");
    EXPECT_STR(READ(BOXES "\nBackground prompt: a\nCategory: x(y)\n\n[]\nBackground prompt: b\n" BOXES
                          "\nBackground prompt: c\nCategory: x(z)"),
               "|2|a||x(y)\n!no category\n|2|c||x(z)"); /* an empty list is nobody's beginning */
}

static const char *boxes(const char *text) {
    static char out[400];
    layout l = { 0 };
    const char *p = text;
    out[0] = 0;
    if (!layout_read_boxes(&p, text + strlen(text), &l, why)) return why;
    for (int i = 0; i < l.n; i++)
        snprintf(out + strlen(out), 200, "%s%s %d %d %d %d", i ? "; " : "", l.object[i].name, l.object[i].x,
                 l.object[i].y, l.object[i].w, l.object[i].h);
    return out;
}

TEST(box_lists) {
    static const char *const good[] = { "[('a', [1, 2, 3, 4])]",
                                        "[(\"a\", (1,2,3,4,)),]",
                                        "[['a',[1, 2, 3, 4]]]",
                                        "[{'name': 'a', 'bounding_box': [1,2,3,4]}]",
                                        "[{\"box\":[1,2,3,4],\"name\":\"a\"}]",
                                        "[ ( 'a' , [ 1.4 , 2.0 , 2.5 , 4 ] ) , ]",
                                        "[(\xe2\x80\x98"
                                        "a\xe2\x80\x99, [1, 2, 3, 4])]",
                                        "[\n  ('a',\n   [1, 2, 3, 4])\n]",
                                        "[('a.', [1, 2, 3, 4])]",
                                        "[('a': [1, 2, 3, 4])]",
                                        "[{'name': 'a', 'bbox': (1, 2, 3, 4),}]" };
    for (int i = 0; i < VM_LEN(good); i++)
        if (strcmp(boxes(good[i]), "a 1 2 3 4")) MISMATCH("%s: %s\n", good[i], boxes(good[i]));
    EXPECT_STR(boxes("[('a dog's toy', [-1, 2, 3, 4])]"), "a dog's toy -1 2 3 4");
    EXPECT_STR(boxes("[('a \\'b\\' \\\\ c', [1, 2, 3, 99999999999])]"), "a 'b' \\ c 1 2 3 1000000");
    EXPECT_STR(boxes("[(\"a\nb\\nc\", [1, 2, 3, 4])]"), "a b c 1 2 3 4");
    EXPECT_STR(boxes("[]"), ""); EXPECT_STR(boxes("No objects."), "");
    static const char *const bad[][2] = {
        { "[('a', [1, 2, 3])]", "expected four numbers" },
        { "[('a', [1, 2, 3, 4, 5])]", "end of the box after four numbers" },
        { "[('a', [1, 2, 3, x])]", "expected a number" },
        { "[('a', [1, 2, 3, 4]", "the text ends, expected the end of the object" },
        { "[('a', [1, 2, 3, 4])", "the text ends, expected a comma or the end of the list" },
        { "[('', [1, 2, 3, 4])]", "not empty" },
        { "[(a, [1, 2, 3, 4])]", "a name in quotes" },
        { "[('a' [1, 2, 3, 4])]", "end of the name" }, /* no comma: the quote ends nothing */
        { "[(\"a\", __import__('os').system('ls'))]", "expected a box" },
        { "[{'name': 'a'}]", "a name and a box" },
        { "[{'name': 'a', 'color': 'red'}]", "members name and box" },
        { "[('a', [1, 2, 3, 4]) ('b', [1, 2, 3, 4])]", "a comma or the end" },
        { "(1)", "a list of boxes" },
        { "[1, 2]", "expected an object" },
        { "", "the text ends" },
        { "[('a', [--1, 2, 3, 4])]", "a number" },
    };
    for (int i = 0; i < VM_LEN(bad); i++) {
        const char *got = boxes(bad[i][0]);
        if (!strstr(got, bad[i][1])) MISMATCH("%s: \"%s\" lacks \"%s\"\n", bad[i][0], got, bad[i][1]);
    }
}

TEST(nasty_completions) {
    static const char *const cases[][2] = {
        { "", "" },
        { "I am sorry, I cannot help with boxes.", "" },
        { "Input: a cat left of a dog", "!cut" },
        { "Input: a cat left of a dog, Bounding boxes: [('a cat', [20, 2", "!boxes: the text ends" },
        { "Input: a, Bounding boxes: " BOXES ", Background prompt: a lawn, Negative prompt: f", "!cut" },
        { "Input: a, Bounding boxes: " BOXES ", Background prompt: a lawn, Negative prompt: f, Category: relation(lef",
          "!cut" },
        { "Input: a, Bounding boxes: " BOXES ", Background prompt: b, Background prompt: c, Category: x(y)",
          "!background prompt stands there twice" },
        { "Input: a, Bounding boxes: " BOXES ", Negative prompt: c, Category: x(y)", "!no background prompt" },
        { "Input: a, Bounding boxes: " BOXES ", Background prompt: b\nInput: ", "!no category" },
        { "Input: a, Bounding boxes: " BOXES ", Background prompt: b, Category: \nInput: x", "!category" },
        { "Input: a\nInput: b, Bounding boxes: " BOXES TAIL, "!no bounding boxes\nb|2|" },
        { "Input: a, Bounding boxes: eval('1'), Background prompt: b, Category: x(y)\n2. Input: b, Bounding "
          "boxes: " BOXES TAIL,
          "!boxes: found \"eval('1')" },
        { "Objects: Objects: Objects:", "!boxes" },
        { "[[[[[[[[[[[[[[[[", "!boxes" },
        { "Input: \xff\xfe, Bounding boxes: " BOXES TAIL, "!caption" },
    };
    for (int i = 0; i < VM_LEN(cases); i++) {
        const char *got = READ(cases[i][0]);
        if (cases[i][1][0] ? !strstr(got, cases[i][1]) : got[0] != 0)
            MISMATCH("%s: \"%s\" lacks \"%s\"\n", cases[i][0], got, cases[i][1]);
    }
    const char *done = "Input: a, Bounding boxes: [], Background prompt: b, Category: x";
    EXPECT_STR(read_all(done, strlen(done), true), "a|0|b||x");
    EXPECT_HAS(read_all(done, strlen(done), false), "!cut");
    size_t n = 1 << 20;
    char *big = malloc(n);
    uint64_t s = 3;
    for (size_t i = 0; i < n; i++) big[i] = "Input: [('x', [1,2])] \n"[test_rand(&s) % 23];
    EXPECT(read_all(big, n, false) != NULL); /* ends */
    for (size_t i = 0; i < n; i++) big[i] = "Input: "[i % 7];
    EXPECT_HAS(read_all(big, n, false), "!no bounding boxes");
    memset(big, '[', n); EXPECT_HAS(read_all(big, n, false), "!boxes");
    free(big);
}

static layout pair(const char *caption, const char *category, const layout_object *a, const layout_object *b) {
    layout l = { .n = 2, .object = { *a, *b }, .background = "a lawn" };
    snprintf(l.caption, sizeof l.caption, "%s", caption);
    snprintf(l.category, sizeof l.category, "%s", category);
    return l;
}

TEST(printed_and_read_again) {
    char text[LAYOUT_PRINT];
    layout l = pair("A cat, black, left of a dog's \"bed\"", "relation(left of)",
                    &(layout_object){ "a cat", 1, 2, 3, 4 }, &(layout_object){ "a dog's \"bed\"", 5, 6, 7, 8 }),
           m;
    snprintf(l.negative, sizeof l.negative, "rain, fog");
    layout_print_line(text, &l);
    EXPECT_STR(text, "Input: A cat, black, left of a dog's \"bed\", Bounding boxes: [('a cat', [1, 2, 3, 4]), ('a "
                     "dog\\'s \"bed\"', [5, 6, 7, 8])], "
                     "Background prompt: a lawn, Negative prompt: rain, fog, Category: relation(left of)");
    const char *p = text;
    EXPECT(layout_next(&p, text + strlen(text), false, &m, why) && !why[0] && !memcmp(&l, &m, sizeof l));
    layout_print_lines(text, &l);
    EXPECT_STR(text, "[('a cat', [1, 2, 3, 4]), ('a dog\\'s \"bed\"', [5, 6, 7, 8])]\nBackground prompt: a "
                     "lawn\nNegative prompt: rain, fog\n"
                     "Category: relation(left of)");
    p = text, l.caption[0] = 0;
    memset(l.caption, 0, sizeof l.caption);
    EXPECT(layout_next(&p, text + strlen(text), false, &m, why) && !why[0] && !memcmp(&l, &m, sizeof l));
}

static const char *of_json(const char *text) {
    static char out[1000];
    layout l;
    json_doc *d = json_parse(text, strlen(text), "j", 0, &err);
    if (!layout_from_json(&l, json_root(d), why)) snprintf(out, sizeof out, "!%s", why);
    else {
        json_writer w = json_to_memory(JSON_COMPACT);
        layout_put_json(&w, NULL, &l);
        char *s = json_take(&w, NULL, &err);
        snprintf(out, sizeof out, "%s", s);
        vm_free(s);
    }
    json_free(d);
    return out;
}

TEST(json_forms) {
    const char *own = "{\"caption\":\"A paint brush is to the left of a palette\",\"objects\":[{\"name\":\"a paint "
                      "brush\",\"box\":[50,200,100,312]},"
                      "{\"name\":\"a palette\",\"box\":[362,150,150,362]}],\"background\":\"A realistic "
                      "scene\",\"negative\":\"\",\"category\":\"relation(left of)\"}";
    EXPECT_STR(of_json(own), own);
    EXPECT_STR(of_json("{\"prompt\":\"A paint brush is to the left of a palette.\",\"bounding_boxes\":[[\"a paint "
                       "brush\",[50,200,100,312]],[\"a palette\","
                       "[362,150.2,150,361.5]]],\"background_prompt\":\"A realistic scene\",\"category\":\"Relation(to "
                       "the left of)\"}"),
               own);
    EXPECT_STR(of_json("[]"), "!layout: expected an object");
    EXPECT_STR(of_json("{\"caption\":5}"), "!caption: expected a string");
    EXPECT_STR(of_json("{\"caption\":\"a\",\"background\":\"b\",\"category\":\"x(\"}"),
               "!category: expected relation(...) or counting(...)");
    EXPECT_STR(of_json("{\"caption\":\"a\",\"background\":\"b\",\"category\":\"x\"}"), "!objects: expected an array");
    EXPECT_STR(of_json("{\"caption\":\"a\",\"background\":\"b\",\"category\":\"x\",\"objects\":[{\"name\":\"a\","
                       "\"box\":[1,2,3]}]}"),
               "!objects: box: expected four numbers");
}

TEST(categories) {
    char out[LAYOUT_NAME];
    static const char *const cases[][2] = { { "Relation ( On Top Of )", "relation(on top of)" },
                                            { "relation(top)", "relation(on top of)" },
                                            { "counting(4)", "counting(four)" },
                                            { "counting(Seven)", "counting(seven)" },
                                            { "attribute(color)", "attribute(color)" },
                                            { "object", "object" },
                                            { "relation(above or below)", "relation(above or below)" },
                                            { "relation(in front of)", "relation(in front of)" } };
    for (int i = 0; i < VM_LEN(cases); i++) {
        EXPECT(layout_category(out, cases[i][0]));
        EXPECT_STR(out, cases[i][1]);
    }
    EXPECT(!layout_category(out, "relation(left") && !layout_category(out, "") && !layout_category(out, "  "));
}

TEST(subjects) {
    static const struct { const char *caption; relation r; int subject;
    } cases[] = {
        { "A cat is to the left of a dog", REL_LEFT, 0 },
        { "A dog with a cat on the left", REL_LEFT, 0 },
        { "A cat with a dog on the right side", REL_RIGHT, 1 },
        { "Above the dog there is a cat", REL_ABOVE, 0 },
        { "On the left of a dog sits a cat", REL_LEFT, 0 },
        { "A cat at the top with a dog at the bottom", REL_TOP, 0 },
        { "At the bottom a dog, at the top a cat", REL_BOTTOM, 1 },
        { "On top of the cat a dog", REL_TOP, 1 },
        { "A dog below a cat", REL_BELOW, 1 },
        { "A cat, a dog, left or right", REL_NONE, 0 },
        { "On the left a cat and a dog", REL_NONE, 0 },
        { "A cat and a dog left of it", REL_NONE, 0 },
        { "A cat beside a dog", REL_NONE, 0 },
        { "A cat above", REL_NONE, 0 },
    };
    for (int i = 0; i < VM_LEN(cases); i++) {
        int subject = -1;
        const char *wrong = "";
        relation r = relation_read(cases[i].caption, "a cat", "the dog", &subject, &wrong);
        if (r != cases[i].r || (r != REL_NONE && subject != cases[i].subject))
            MISMATCH("%s: %d %d %s\n", cases[i].caption, r, subject, wrong);
        if (r == REL_NONE) EXPECT(wrong[0]);
    }
}

TEST(geometry) {
    layout_object a = { "a", 0, 0, 100, 100 }, b = { "b", 50, 50, 100, 100 }, c = { "c", 104, 0, 10, 10 },
                  d = { "d", 100, 0, 10, 10 };
    EXPECT(layout_overlap(&a, &b) == 2500 && layout_overlap(&a, &c) == 0 && layout_overlap(&a, &a) == 10000);
    EXPECT(layout_gap(&a, &c) == 4 && layout_gap(&a, &d) == 0 && layout_gap(&a, &b) == -50);
    EXPECT(layout_iou_above(&a, &b, 14) && !layout_iou_above(&a, &b, 15)); /* 2500 / 17500 */
    EXPECT(layout_inside(&a) && layout_inside(&(layout_object){ "", 412, 412, 100, 100 }) &&
           !layout_inside(&(layout_object){ "", 413, 0, 100, 9 }) &&
           !layout_inside(&(layout_object){ "", 0, 0, 0, 9 }));
    layout_object out = { "", -8, 500, 50, 20 };
    EXPECT(layout_clamp(&out, 8) && out.x == 0 && out.w == 42 && out.y == 500 && out.h == 12);
    EXPECT(!layout_clamp(&(layout_object){ "", -9, 0, 50, 50 }, 8) &&
           !layout_clamp(&(layout_object){ "", 0, 471, 50, 50 }, 8));
    EXPECT(!layout_clamp(&(layout_object){ "", 0, 0, 1000000, 50 }, 8) &&
           !layout_clamp(&(layout_object){ "", 515, 0, 2, 50 }, 8));
}

static bool holds(relation r, int ax, int ay, int aw, int ah, int bx, int by, int bw, int bh) {
    const char *wrong = "";
    return layout_relation_holds(r, &(layout_object){ "", ax, ay, aw, ah }, &(layout_object){ "", bx, by, bw, bh },
                                 &wrong) != !!*wrong;
}
static bool not(relation r, const char *want, int ax, int ay, int aw, int ah, int bx, int by, int bw, int bh) {
    const char *wrong = "";
    return !layout_relation_holds(r, &(layout_object){ "", ax, ay, aw, ah }, &(layout_object){ "", bx, by, bw, bh },
                                  &wrong) &&
           strstr(wrong, want);
}

TEST(relations_at_their_limits) {
    EXPECT(holds(REL_LEFT, 20, 200, 100, 100, 150, 200, 100, 100) &&
           not(REL_RIGHT, "other way", 20, 200, 100, 100, 150, 200, 100, 100));
    EXPECT(holds(REL_LEFT, 20, 200, 60, 60, 82, 200, 60, 60) &&
           not(REL_LEFT, "12 %", 20, 200, 60, 60, 81, 200, 60, 60));
    EXPECT(holds(REL_LEFT, 20, 200, 60, 60, 140, 300, 60, 60) &&
           not(REL_LEFT, "other axis", 20, 200, 60, 60, 140, 301, 60, 60)); /* 120, 100 */
    EXPECT(holds(REL_LEFT, 0, 0, 100, 60, 85, 0, 100, 60) &&
           not(REL_LEFT, "overlap along", 0, 0, 100, 60, 84, 0, 100, 60));
    EXPECT(holds(REL_ABOVE, 0, 0, 60, 100, 0, 110, 60, 100) && holds(REL_BELOW, 0, 110, 60, 100, 0, 0, 60, 100) &&
           holds(REL_BOTTOM, 0, 110, 60, 100, 0, 0, 60, 100));
    EXPECT(holds(REL_TOP, 0, 0, 60, 100, 30, 132, 60, 100) &&
           not(REL_TOP, "over the other", 0, 0, 60, 100, 31, 132, 60, 100));
    EXPECT(not(REL_TOP, "does not stand", 0, 0, 60, 100, 0, 133, 60, 100) &&
           holds(REL_TOP, 0, 0, 60, 100, 0, 90, 60, 100) &&
           not(REL_TOP, "does not stand", 0, 0, 60, 100, 0, 89, 60, 100));
    EXPECT(holds(REL_UNDER, 0, 200, 60, 100, 30, 0, 60, 100) &&
           not(REL_UNDER, "over the other", 0, 200, 60, 100, 31, 0, 60, 100));
    EXPECT(not(REL_FRONT, "depth", 0, 0, 60, 60, 100, 100, 60, 60) &&
           not(REL_NONE, "depth", 0, 0, 60, 60, 100, 100, 60, 60));
}

static const layout_object cat = { "a cat", 20, 200, 150, 150 }, dog = { "a dog", 300, 200, 150, 150 };

static const char *judge(layout l) {
    static char out[300];
    layout_code c = layout_check(&l, &layout_rules_default, why);
    snprintf(out, sizeof out, c ? "L%02d %s" : "ok%.0d %s", c, why);
    return out;
}
#define OF(caption, ...) judge(pair(caption, "relation(left of)", &cat, &(layout_object)__VA_ARGS__))

TEST(rules_of_pairs) {
    layout l = pair("A cat is to the left of a dog", "relation(left of)", &cat, &dog), m = l;
    EXPECT_STR(judge(l), "ok ");
    l.object[0].x = 2; EXPECT_HAS(judge(l), "ok a cat: nearer than 8 px");
    l.object[0].x = -9; EXPECT_HAS(judge(l), "L02");
    EXPECT_HAS(OF(m.caption, { "a dog", 300, 200, 20, 200 }), "L02 a dog: a box of 20 x 200");
    EXPECT_HAS(OF(m.caption, { "a dog", 300, 200, 50, 50 }), "L03");
    EXPECT_HAS(OF(m.caption, { "a dog", 0, 0, 512, 400 }), "L03");
    EXPECT_HAS(OF(m.caption, { "a dog", 300, 200, 100, 100 }), "L04 one box is less");
    EXPECT_HAS(OF(m.caption, { "two cats", 300, 200, 150, 150 }), "L04 both objects");
    EXPECT_HAS(OF(m.caption, { "a dog", 130, 200, 150, 150 }), "L05");
    l = m, l.n = 1; EXPECT_HAS(judge(l), "L04 1 boxes");
    l = m, l.object[0].x = 300, l.object[1].x = 20;
    EXPECT_HAS(judge(l), "L08 left of: the boxes stand the other way round");
    EXPECT_HAS(OF("A cat and a dog left of it", { "a dog", 300, 200, 150, 150 }), "L08 who is where");
    EXPECT_HAS(OF("A cat is left of a cat", { "a dog", 300, 200, 150, 150 }),
               "L09 \"cat\" stands in the caption 2 times");
    EXPECT_HAS(OF("A cat is left of an owl", { "a dog", 300, 200, 150, 150 }),
               "L09 \"dog\" stands in the caption 0 times");
    EXPECT_HAS(OF("A cat is left of a cat tree", { "a cat tree", 300, 200, 150, 150 }), "L09");
    EXPECT_HAS(OF("A cat beside a dog", { "a dog", 300, 200, 150, 150 }), "L10 no relation word");
    EXPECT_HAS(OF("A cat is above a dog", { "a dog", 300, 200, 150, 150 }),
               "L10 the caption says above, the category left of");
    EXPECT_HAS(OF("A cat left of a dog under a roof", { "a dog", 300, 200, 150, 150 }), "L10 several");
    l = pair("A cat in front of a dog", "relation(in front of)", &cat, &dog);
    EXPECT_HAS(judge(l), "L10 in front of cannot be swapped");
    l = m, l.background[0] = 0; EXPECT_HAS(judge(l), "L11");
    snprintf(l.background, sizeof l.background, "a lawn for dogs");
    EXPECT_HAS(judge(l), "L11 the background names the dog");
    l = m, snprintf(l.negative, sizeof l.negative, "cats");
    EXPECT_HAS(judge(l), "L11 the negative prompt names the cat");
    EXPECT_HAS(OF("A cat left of a dog. It rains", { "a dog", 300, 200, 150, 150 }), "L12 more than one sentence");
    EXPECT_HAS(OF("cat", { "a dog", 300, 200, 150, 150 }), "L12 a caption of 1 words");
    EXPECT_HAS(OF("A cat left of its dog", { "a dog", 300, 200, 150, 150 }), "L14 \"its\"");
    EXPECT_HAS(OF("A cat left of a larger dog", { "a dog", 300, 200, 150, 150 }), "L14");
    EXPECT_HAS(OF("A cat is left of dogs", { "dogs", 300, 200, 150, 150 }), "L14 one object is several");
    l = pair("A dog at the bottom and a cat at the top", "relation(on top of)",
             &(layout_object){ "a cat", 200, 40, 150, 150 }, &(layout_object){ "a dog", 200, 210, 150, 150 });
    EXPECT_STR(judge(l), "ok ");
    l = m, snprintf(l.category, sizeof l.category, "object"); EXPECT_HAS(judge(l), "L10 category object");
}

static layout apples(const char *caption, int n, const char *category) {
    layout l = { .background = "a table" };
    for (; l.n < n; l.n++)
        l.object[l.n] = (layout_object){ "an apple", 10 + 100 * (l.n % 4), 10 + 120 * (l.n / 4), 90, 90 };
    snprintf(l.caption, sizeof l.caption, "%s", caption);
    snprintf(l.category, sizeof l.category, "%s", category);
    return l;
}

TEST(rules_of_counts) {
    layout l = apples("Four ripe apples on a table", 4, "counting(four)");
    EXPECT_STR(judge(l), "ok ");
    l.object[1].x = 103; EXPECT_HAS(judge(l), "L06 boxes 1 and 2 are nearer than 4 px");
    EXPECT_HAS(judge(apples("An apple on a table", 1, "counting(one)")), "L06 1 boxes");
    EXPECT_HAS(judge(apples("Eleven apples on a table", 11, "counting(eleven)")), "L06 11 boxes");
    EXPECT_HAS(judge(apples("Four apples on a table", 5, "counting(four)")),
               "L07 5 boxes of \"apple\", the caption says 4");
    EXPECT_HAS(judge(apples("Some apples on a table", 5, "counting(five)")), "the caption says 0");
    EXPECT_HAS(judge(apples("Five apples on a table", 5, "counting(four)")), "L07 category counting(four)");
    EXPECT_HAS(judge(apples("Five apples in 2 rows on a table", 5, "counting(five)")), "L07 2 numbers");
    l = apples("Two apples and three small pears", 5, "counting(three)");
    for (int i = 2; i < 5; i++) snprintf(l.object[i].name, LAYOUT_NAME, "a pear");
    EXPECT_STR(judge(l), "ok ");
    snprintf(l.category, LAYOUT_NAME, "counting(five)"); EXPECT_HAS(judge(l), "L07 category");
}

TEST(seen_before) {
    layout_seen *s;
    layout_rules r = layout_rules_default;
    layout l = pair("A cat is to the left of a dog", "relation(left of)", &cat, &dog), m;
    EXPECT(!layout_seen_new(&s, &err) && layout_seen_add(s, &l, &r, why, &err) == L_OK &&
           layout_seen_add(s, &l, &r, why, &err) == L13);
    m = l, snprintf(m.caption, sizeof m.caption, "the Cat is to the left of the dog!");
    EXPECT(layout_seen_add(s, &m, &r, why, &err) == L13);
    r.per_pair = 2;
    snprintf(m.caption, sizeof m.caption, "A dog with a cat on the left"), m.object[0] = dog, m.object[1] = cat;
    EXPECT(layout_seen_add(s, &m, &r, why, &err) == L_OK);
    snprintf(m.caption, sizeof m.caption, "A dog right of a cat");
    EXPECT(layout_seen_add(s, &m, &r, why, &err) == L13);
    EXPECT_HAS(why, "2 captions of this pair");
    r.per_pair = 0, r.per_label = 2;
    EXPECT(layout_seen_add(s, &m, &r, why, &err) == L13);
    EXPECT_HAS(why, "2 captions of relation(left of)");
    r.per_label = 0;
    EXPECT(layout_seen_add(s, &m, &r, why, &err) == L_OK && !err.status);
    layout_seen_free(s);
    EXPECT(!vm_mem_used());
}

TEST(rules_by_name) {
    layout_rules r = layout_rules_default;
    EXPECT(!layout_rule_set(&r, "margin=3", &err) && r.margin == 3 && !layout_rule_set(&r, "per_pair=0", &err) &&
           !r.per_pair);
    EXPECT(layout_rule_set(&r, "margins=3", &err) == VM_EUSAGE);
    EXPECT_HAS(err.msg, "rule \"margins=3\": expected NAME=NUMBER with a name of clamp, margin,");
    vm_error_clear(&err);
    EXPECT(layout_rule_set(&r, "margin=-1", &err) == VM_EUSAGE);
    EXPECT_HAS(err.msg, "rule margin: found \"-1\"");
    vm_error_clear(&err);
}

static const char *swapped(const char *caption, const char *a, const char *b) {
    static layout out;
    layout l = { .n = 2 }, back;
    snprintf(l.caption, sizeof l.caption, "%s", caption);
    l.object[0] = (layout_object){ .x = 20, .y = 200, .w = 151, .h = 150 },
    l.object[1] = (layout_object){ .x = 300, .y = 180, .w = 130, .h = 161 };
    snprintf(l.object[0].name, LAYOUT_NAME, "%s", a), snprintf(l.object[1].name, LAYOUT_NAME, "%s", b);
    if (!layout_swap(&out, &l)) return "no";
    EXPECT(layout_swap(&back, &out) && !memcmp(back.object, l.object, sizeof l.object));
    EXPECT_STR(back.caption, l.caption);
    EXPECT(out.object[0].w == 151 && out.object[0].x == 300 + 65 - 75 && out.object[1].y == 200 + 75 - 80);
    return out.caption;
}

TEST(swaps) {
    EXPECT_STR(swapped("A cat is left of an old dog.", "a cat", "an old dog"), "An old dog is left of a cat.");
    EXPECT_STR(swapped("There is a cat left of the dog", "the dog", "cat"), "There is the dog left of a cat");
    EXPECT_STR(swapped("The TV above a cat", "a TV", "a cat"), "A cat above the TV");
    EXPECT_STR(swapped("Cats left of dogs", "cats", "dogs"), "Dogs left of cats");
    EXPECT_STR(swapped("A cat left of a cat", "a cat", "a dog"), "no");
}

static const char *recounted(const char *caption, int from, int to) {
    static char out[LAYOUT_TEXT];
    return layout_recount(out, caption, "apple", from, to) ? out : "no";
}

TEST(removals) {
    EXPECT_STR(recounted("Four ripe apples on a table", 4, 3), "Three ripe apples on a table");
    EXPECT_STR(recounted("There are 2 apples, red", 2, 1), "There is 1 apple, red");
    EXPECT_STR(recounted("Three apples are there", 3, 1), "One apple is there");
    EXPECT_STR(recounted("A box with two apples", 2, 1), "A box with one apple");
    EXPECT_STR(recounted("An apple on a table", 1, 2), "Two apples on a table");
    EXPECT_STR(recounted("Three pears", 3, 2), "no"); EXPECT_STR(recounted("Three apples", 4, 2), "no");
    layout l = apples("Four apples on a table", 4, "counting(four)"), m;
    int which[LAYOUT_OBJECTS] = { 0 };
    EXPECT(layout_isolated(&l, 100, which) == 4 && layout_isolated(&l, 101, which) == 0);
    which[0] = 1, which[1] = 3;
    EXPECT(layout_remove(&m, &l, which, 2) && m.n == 2 && m.object[0].x == 10 && m.object[1].x == 210);
    EXPECT_STR(m.caption, "Two apples on a table"); EXPECT_STR(m.category, "counting(two)");
    EXPECT(!layout_remove(&m, &l, which, 0) && !layout_remove(&m, &l, (int[]){ 0, 1, 2, 3 }, 4) &&
           !layout_remove(&m, &l, (int[]){ 1, 1 }, 2));
}

int main(void) {
    RUN(one_line);
    RUN(lines);
    RUN(box_lists);
    RUN(nasty_completions);
    RUN(printed_and_read_again);
    RUN(json_forms);
    RUN(categories);
    RUN(subjects);
    RUN(geometry);
    RUN(relations_at_their_limits);
    RUN(rules_of_pairs);
    RUN(rules_of_counts);
    RUN(seen_before);
    RUN(rules_by_name);
    RUN(swaps);
    RUN(removals);
    return test_end();
}
