/* test_words.c - words and phrases in captions, articles, plurals, numbers. */
#include "io/words.h"
#include "tests/test.h"

static char out[WORDS_MAX];

static void words(const char *text, const char *want) { /* want: words joined by | */
    char got[400] = "";
    const char *p = text;
    for (word w; word_next(&p, &w);) snprintf(got + strlen(got), 300, "%s%.*s", got[0] ? "|" : "", w.len, w.at);
    EXPECT_STR(got, want);
}

TEST(words) {
    words("A dog's t-shirt, on - the 'top'!", "A|dog's|t-shirt|on|the|top");
    words("", ""), words(" .. - '", ""), words("caf\xc3\xa9-bar 3x", "caf\xc3\xa9-bar|3x"), words("a--b c-", "a|b|c");
    EXPECT(word_count("Two men, one dog.") == 4 && word_count("") == 0);
    const char *p = "Top";
    word w;
    EXPECT(word_next(&p, &w) && word_is(w, "top") && !word_is(w, "to") && !word_is(w, "tops"));
    EXPECT(word_any(w, (const char *const[]){ "left", "top" }, 2) == 1 &&
           word_any(w, (const char *const[]){ "left" }, 1) < 0);
}

static int place(const char *text, const char *phrase) {
    word w = phrase_find(text, phrase);
    return w.at ? (int)(w.at - text) * 100 + w.len : -1;
}

TEST(phrases) {
    EXPECT(place("A laptop on top of it", "top") == 1203);
    EXPECT(place("a red kite above a Red  Kite.", "Red kite") == 208 &&
           phrase_count("a red kite above a Red  Kite.", "red kite") == 2);
    EXPECT(place("a red, kite", "red kite") < 0 && place("dogs", "dog") < 0 && place("x", "") < 0 &&
           place("", "x") < 0);
    EXPECT(place("black and black and white", "black and white") == 1015);
    EXPECT(place("a red, white flag", "red, white") == 210); /* as in the phrase */
    EXPECT(phrase_count("a a a a", "a a") == 2);
    EXPECT_STR(phrase_bare("the dog"), "dog");
    EXPECT_STR(phrase_bare("A dog"), "dog");
    EXPECT_STR(phrase_bare("another"), "another");
    EXPECT_STR(phrase_bare("a"), "a");
    EXPECT_STR(phrase_bare("a-frame"), "a-frame");
    EXPECT_STR(phrase_bare(" an  owl"), "owl");
    phrase_key(out, "The red, Kite on AN oak."); EXPECT_STR(out, "red kite on oak");
    phrase_key(out, ""); EXPECT_STR(out, "");
}

TEST(articles) {
    static const char *const a[] = { "dog", "unicorn", "one-way street", "European flag", "used car",
                                     "utensil", "TV", "UFO", "7", "U-turn", "" };
    static const char *const an[] = { "apple",
                                      "hour",
                                      "honest man",
                                      "SUV",
                                      "LCD screen",
                                      "X-ray",
                                      "8",
                                      "18 wheeler",
                                      "umbrella",
                                      "unimportant note",
                                      "uninflated balloon",
                                      "MP3 player",
                                      "ORANGE" };
    for (int i = 0; i < VM_LEN(a); i++)
        if (strcmp(phrase_article(a[i]), "a")) MISMATCH("an %s\n", a[i]);
    for (int i = 0; i < VM_LEN(an); i++)
        if (strcmp(phrase_article(an[i]), "an")) MISMATCH("a %s\n", an[i]);
}

TEST(numbers_of_nouns) {
    static const char *const both[][2] = {
        { "dog", "dogs" },
        { "bus", "buses" },
        { "box", "boxes" },
        { "knife", "knives" },
        { "person", "people" },
        { "policeman", "policemen" },
        { "human", "humans" },
        { "mouse", "mice" },
        { "berry", "berries" },
        { "toy", "toys" },
        { "cookie", "cookies" },
        { "toothbrush", "toothbrushes" },
        { "wine glass", "wine glasses" },
        { "cup of tea", "cups of tea" },
        { "red tie", "red ties" },
        { "shoe", "shoes" },
        { "potato", "potatoes" },
        { "piano", "pianos" },
        { "sheep", "sheep" },
        { "goldfish", "goldfish" },
        { "bookshelf", "bookshelves" },
        { "vase", "vases" },
        { "horse", "horses" },
        { "watch", "watches" },
        { "Child", "children" },
        { "city", "cities" },
        { "man in a hat", "men in a hat" },
        { "pizza", "pizzas" },
        { "scissors", "scissors" },
        { "pair of skis", "pairs of skis" },
        { "mattress", "mattresses" },
        { "price", "prices" },
    };
    for (int i = 0; i < VM_LEN(both); i++) {
        phrase_plural(out, both[i][0]); EXPECT_STR(out, both[i][1]);
        char again[WORDS_MAX];
        phrase_plural(again, out); EXPECT(strlen(again) >= strlen(out)); /* ends */
        phrase_singular(out, both[i][1]);
        if (strcmp(out, both[i][0]) && strcmp(both[i][0], "Child")) MISMATCH("%s became %s\n", both[i][1], out);
        phrase_singular(out, both[i][0]); EXPECT_STR(out, both[i][0]);
    }
    phrase_head(out, "two Cups of hot tea"); EXPECT_STR(out, "cup");
    phrase_head(out, "the red Wine Glasses"); EXPECT_STR(out, "glass");
    phrase_head(out, "a pair of glasses"); EXPECT_STR(out, "pair");
    phrase_head(out, "glasses"); EXPECT_STR(out, "glasses");
    phrase_head(out, ""); EXPECT_STR(out, "");
    EXPECT(phrase_mentions("Is there a knife? Knives!", "knife") && phrase_mentions("two mice", "mouse") &&
           phrase_mentions("two wine glasses", "glass") && !phrase_mentions("a laptop", "top") &&
           !phrase_mentions("", "x") && phrase_mentions("skis", "skis"));
    EXPECT(noun_is_pair("red scissors") && !noun_is_pair("wine glasses") && !noun_is_pair("dogs"));
}

TEST(long_texts) { /* cut at a character, never beyond the buffer */
    char big[4 * WORDS_MAX];
    for (size_t i = 0; i + 2 < sizeof big; i += 2) memcpy(big + i, "\xc3\xa9", 2);
    big[sizeof big - 2] = 0;
    phrase_plural(out, big); EXPECT(strlen(out) < WORDS_MAX && strlen(out) % 2 == 0);
    phrase_head(out, big); EXPECT(strlen(out) < WORDS_MAX);
    phrase_key(out, big); EXPECT_STR(out, "");
    memset(big, 'x', sizeof big - 1), big[sizeof big - 1] = 0, big[900] = ' ';
    phrase_singular(out, big); EXPECT(strlen(out) == WORDS_MAX - 1);
    phrase_key(out, big); EXPECT(strlen(out) == 900);
}

TEST(numbers) {
    static const struct {
        const char *text;
        int n;
    } cases[] = { { "Three", 3 }, { "no", 0 },     { "ten", 10 }, { "12", 12 }, { "999", 999 },
                  { "1000", -1 }, { "tenth", -1 }, { "3x", -1 },  { "zero", 0 } };
    for (int i = 0; i < VM_LEN(cases); i++) {
        const char *p = cases[i].text;
        word w;
        EXPECT(word_next(&p, &w) && word_number(w) == cases[i].n);
    }
    EXPECT_STR(number_word(3), "three"); EXPECT(!number_word(13) && !number_word(-1));
}

int main(void) {
    RUN(words); RUN(phrases); RUN(articles); RUN(numbers_of_nouns); RUN(long_texts); RUN(numbers);
    return test_end();
}
