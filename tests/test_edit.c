/* test_edit.c - what language models write for edits (tests/golden/edits/nasty.jsonl), and the rules V01 to V12. */
#include "pipeline/edit.h"

#include "io/json_lines.h"
#include "tests/test.h"

/* "selected > edited = edited caption" of what passes, codes of what does not, in one line. */
static void summary(char *out, size_t size, const char *answer, const char *caption, const char *want, bool repair) {
    edits l;
    tally why = { 0 };
    vm_error e = { 0 };
    size_t n = 0;
    int good = 0;
    out[0] = 0;
    if (edit_parse(&l, answer, strlen(answer), caption, want, &why, &e)) return (void)snprintf(out, size, "%s", e.msg);
    for (int i = 0; i < l.n; i++) {
        const char *bad = edit_check(&l.e[i], caption, want, repair);
        if (bad) tally_add(&why, bad, 1);
        else if (++good <= 3)
            n += (size_t)snprintf(out + n, size - n, "%s%s > %s = %s [%s, %s]%s", n ? "; " : "", l.e[i].selected,
                                  l.e[i].edited, l.e[i].caption, l.e[i].region, l.e[i].category,
                                  l.e[i].repaired ? " repaired" : "");
    }
    if (good > 3) n += (size_t)snprintf(out + n, size - n, "; %d in all", good);
    for (int k = 0; k < why.used; k++)
        n += (size_t)snprintf(out + n, size - n, "%s%s %d", n ? "; " : "", why.name[k], (int)why.n[k]);
    if (l.none) n += (size_t)snprintf(out + n, size - n, "%snone", n ? "; " : "");
    if (l.cut) snprintf(out + n, size - n, "%scut", n ? "; " : "");
    edits_free(&l);
}

TEST(nasty_answers) {
    json_lines *r;
    json_doc *d;
    vm_error e = { 0 };
    char got[8192];
    int n = 0;
    bool print = getenv("PRINT_EDITS") != NULL;
    EXPECT(!json_lines_open(&r, "tests/golden/edits/nasty.jsonl", 0, &e));
    for (; !e.status && json_lines_next(r, &d, &e) > 0; n++) {
        json_value v = json_root(d);
        summary(got, sizeof got, json_str(v, "text", "", &e), json_str(v, "caption", "", &e),
                json_str(v, "want", "", &e), json_bool(v, "repair", false, &e));
        if (print) printf("%s\t%s\n", json_str(v, "name", "", &e), got);
        else if (strcmp(got, json_str(v, "result", "?", &e)))
            MISMATCH("%s: got \"%s\", want \"%s\"\n", json_str(v, "name", "", &e), got, json_str(v, "result", "?", &e));
        json_free(d);
    }
    EXPECT(n >= 60);
    json_lines_close(r);
}

/* The first rule that an edit breaks; "" = none. */
static const char *rule(const char *caption, const char *selected, const char *edited, const char *edited_caption,
                        const char *category) {
    edit x = { 0 };
    snprintf(x.selected, EDIT_TEXT, "%s", selected), snprintf(x.edited, EDIT_TEXT, "%s", edited),
        snprintf(x.caption, EDIT_TEXT, "%s", edited_caption);
    snprintf(x.category, sizeof x.category, "%s", category);
    const char *bad = edit_check(&x, caption, category[0] == 'o' ? "object" : "attribute", false);
    return bad ? bad : "";
}
#define OBJECT(want, caption, selected, edited, edited_caption)                                                        \
    EXPECT_STR(rule(caption, selected, edited, edited_caption, "object"), want)
#define ATTRIBUTE(want, caption, selected, edited)                                                                     \
    EXPECT_STR(rule(caption, selected, edited, "", "attribute(color)"), want)

TEST(phrase_in_caption) {
    OBJECT("", "A dog runs.", "Dog", "cat", "");
    OBJECT("V01", "A hotdog runs.", "dog", "cat", "");
    OBJECT("V01", "A dog sees a dog.", "dog", "cat", "");
    OBJECT("", "A dog sees a dog.", "dog", "cat", "A dog sees a cat.");
    OBJECT("", "A dog sees a dog.", "dog", "cat", "a cat sees a dog");
}

TEST(other_phrase) {
    OBJECT("V02", "A dog runs.", "dog", "The Dog!", "");
    OBJECT("V02", "Two dogs run.", "dogs", "dog", "");
    OBJECT("V02", "A dog runs.", "dog", "...", "");
    OBJECT("V06", "A dog runs.", "dog", "cat with a hat and a", "");
    OBJECT("V06", "A big dog from the old farm runs.", "big dog from the old farm",
           "big cat with nine lives under its left paw", "");
}

TEST(edited_captions) {
    OBJECT("", "The dog is near a tree.", "dog", "owl", "The owl is near a tree");
    OBJECT("V03", "The dog is near a tree.", "dog", "owl", "The fox is near a tree.");
    OBJECT("V04", "The dog is near a tree.", "dog", "owl", "The owl is near the tree.");
    OBJECT("V04", "The dog is near a tree.", "dog", "owl", "The owl sits near a tree.");
    OBJECT("V04", "The dog, wet, is near a tree.", "dog", "owl", "The owl wet is near a tree.");
    OBJECT("", "The scissors are on a desk.", "scissors", "knife", "The knife is on a desk.");
    OBJECT("", "A dog is here now.", "dog", "owl", "An owl is here now.");
    OBJECT("", "A loaf is here now.", "loaf", "scissors", "Scissors are here now.");
    OBJECT("", "Bread is here now.", "bread", "loaf", "A loaf is here now.");
    OBJECT("V04", "He has a dog.", "dog", "cat", "He has one cat.");
    OBJECT("V04", "A dog runs.", "dog", "cat", "A cat runs and a dog runs.");
}

TEST(categories) {
    OBJECT("V07", "A red kite flies.", "red kite", "green kite", "");
    ATTRIBUTE("", "A red kite flies.", "red kite", "green kite");
    ATTRIBUTE("V07", "A red kite flies.", "red kite", "red drone");
    EXPECT_STR(rule("A red kite flies.", "red kite", "loud kite", "", "attribute(sound)"), "V07");
    EXPECT_STR(rule("A red kite flies.", "red kite", "green kite", "", "action"), "V07");
    OBJECT("V10", "A cake stands here.", "cake", "birthday cake", "");
    OBJECT("V10", "A birthday cake stands here.", "birthday cake", "cake", "");
}

TEST(numbers_sizes_relations) {
    OBJECT("V08", "Two dogs run home.", "Two dogs", "three cats", "");
    OBJECT("", "Two dogs run home.", "Two dogs", "two cats", "");
    OBJECT("V08", "A dog runs home.", "dog", "several cats", "");
    OBJECT("V08", "Dogs run home now.", "dogs", "cat", "");
    OBJECT("V08", "A small dog runs.", "small dog", "large cat", "");
    OBJECT("", "A small dog runs.", "small dog", "small cat", "");
    ATTRIBUTE("V08", "A small dog runs.", "small dog", "big dog");
    OBJECT("V08", "A cup on a table stands.", "cup on a table", "pot under a table", "");
    ATTRIBUTE("V08", "The left door opens.", "left door", "right door");
}

TEST(synonyms) {
    OBJECT("V09", "A couch stands here.", "couch", "sofa", "");
    OBJECT("V09", "Two dogs run home.", "dogs", "puppies", "");
    OBJECT("V09", "An old couch stands here.", "old couch", "old sofa", "");
    ATTRIBUTE("V09", "A gray wall is there.", "gray wall", "grey wall");
    OBJECT("", "A couch stands here.", "couch", "cat", "");
}

TEST(residue) {
    OBJECT("V11", "A dog runs.", "dog", "cat www.x.org", "");
    OBJECT("V11", "A dog runs.", "dog", "cat", "A cat runs. InputCaption");
    OBJECT("V11", "A dog runs.", "dog",
           "c\x01"
           "t",
           "");
    OBJECT("V11", "A dog runs.", "dog",
           "\xe2\x80\xae"
           "cat",
           ""); /* turns the direction of writing */
    OBJECT("V11", "A dog runs.", "dog", "<b>cat</b> x", "");
}

TEST(names_stay) {
    edit x = { .selected = "dog", .edited = "cat", .caption = "A cat.", .category = "object" };
    char id[17], other[17];
    edit_id(id, "1", "A dog.", &x);
    edit_id(other, "1", "A dog.", &x);
    EXPECT(strlen(id) == 16);
    EXPECT_STR(id, other);
    edit_id(other, "2", "A dog.", &x);
    EXPECT(strcmp(id, other));
}

TEST(schema) {
    vm_error e = { 0 };
    char *s = edit_schema("A \"red\" kite", "attribute", 100, &e);
    json_doc *d = s ? json_parse(s, strlen(s), "schema", JSON_STRICT, &e) : NULL;
    json_value of = json_get(json_get(json_root(d), "items"), "properties");
    EXPECT_STR(e.msg, "");
    EXPECT(json_len(json_get(json_get(of, "SelectedPhrase"), "enum")) == 6 &&
           json_len(json_get(json_get(of, "Category"), "enum")) == EDIT_ATTRIBUTES);
    EXPECT(json_int(json_root(d), "minItems", -1, 0, 9, &e) == 0 &&
           json_int(json_root(d), "maxItems", -1, 0, 9, &e) == 6);
    json_free(d);
    vm_free(s);
}

int main(void) {
    RUN(nasty_answers);
    RUN(phrase_in_caption);
    RUN(other_phrase);
    RUN(edited_captions);
    RUN(categories);
    RUN(numbers_sizes_relations);
    RUN(synonyms);
    RUN(residue);
    RUN(names_stay);
    RUN(schema);
    return test_end();
}
