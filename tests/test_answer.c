/* Answers in words: one option or none. */
#include "tests/test.h"

#include "pipeline/answer.h"

static void letter(const char *text, int want) {
    test_checks++;
    if (answer_letter(text, 2) != want) MISMATCH("\"%s\": %d, want %d\n", text, answer_letter(text, 2), want);
}

static void order(const char *text, int want) {
    test_checks++;
    if (answer_order(text) != want) MISMATCH("\"%s\": %d, want %d\n", text, answer_order(text), want);
}

TEST(letters) {
    letter("A", 0), letter("B", 1), letter(" b\n", 1), letter("a", 0), letter("B.", 1), letter("A:", 0);
    letter("(B) a man on a horse", 1);
    letter("B. a man", 1); /* the article is no second answer */
    letter("B) The dog", 1);
    letter("The answer is A.", 0), letter("Answer: b", -1), letter("answer: (b)", 1), letter("The correct option is (A)", 0);
    letter("The answer accurately says B", 1);
    letter("I think (left) is B", 1);
    letter("**B**", 1), letter("  (B)  ", 1), letter("\"A\"", 0);
    letter("Not (A). The answer is (B).", 1); /* the option named before the pick */
    letter("A man rides a horse", -1), letter("A is right", 0);
}

TEST(letters_that_are_none) {
    letter("foo) bar", -1), letter("", -1), letter("()", -1), letter("C", -1), letter("1", -1);
    letter("Answer", -1), letter("Best", -1), letter("notice", -1), letter("A or B", -1), letter("(A) or (B)", -1);
    letter("it's a dog", -1);
    EXPECT(answer_letter("(D)", 4) == 3 && answer_letter("E", 4) == -1);
}

TEST(orders) {
    order("First", 0), order("second", 1), order("The second image.", 1), order("Image 2", 1), order("1st", 0);
    order("The answer is First, not the second", 0), order("**Second**", 1);
    order("The first image is better than the second", -1), order("Second\nFirst", -1), order("firstly", -1), order("", -1);
}

int main(void) {
    RUN(letters);
    RUN(letters_that_are_none);
    RUN(orders);
    return test_end();
}
