/* test_magic.c - richer versions of a phrase: each rule broken once, the text for the diffusion model. */
#include "pipeline/magic_rules.h"

#include "tests/test.h"

static const char caption[] = "A green kite flies above two dogs on the beach.";

static int code(const char *text) {
    variants v = { .text = { "a long green kite" }, .n = 1 };
    return (int)magic_check(text, "green kite", caption, &v, NULL);
}

TEST(rules) {
    EXPECT(code("a vivid green kite") == M_OK && code("kites of thin silk") == M_OK &&
           code("an emerald kite with a long tail") == M_OK);
    EXPECT(code("") == M01 && code("a very very very very very nice green kite") == M01);
    EXPECT(code("a vivid green thing") == M02 && code("a kitesurfer") == M02);
    EXPECT(code("a green kite with a dog") == M03 && code("a kite at the Beach") == M03 &&
           code("a kite that flies") == M03);
    EXPECT(code("three green kites") == M04 && code("2 kites") == M04);
    EXPECT(code("The Long green kite!") == M05 && code("a green kite") == M05);
    EXPECT(code("a <b>green</b> kite") == M06 && code("a green\nkite") == M06 && code("kite http://x") == M06);
    variants none = { .n = 0 };
    EXPECT(magic_check("two small dogs", "two dogs", caption, &none, NULL) ==
           M_OK); /* the number of the phrase may stay */
}

TEST(kinds) { /* a retriever is a dog, and no kite */
    vm_error err = { 0 };
    magic_kinds *k = NULL;
    variants none = { .n = 0 };
    EXPECT(!magic_kinds_new(&k, "noun,also\ndog,retriever terrier\n", "k", &err));
    EXPECT(magic_check("a golden Retriever", "dog", caption, &none, k) == M_OK &&
           magic_check("two terriers", "two dogs", caption, &none, k) == M_OK);
    EXPECT(magic_check("a golden retriever", "kite", caption, &none, k) == M02 &&
           magic_check("a golden retriever", "dog", caption, &none, NULL) == M02);
    magic_kinds_free(k);
    EXPECT(magic_kinds_new(&k, "noun\ndog\n", "k", &err) == VM_EINPUT && !k && !vm_mem_used());
}

TEST(texts) {
    variants v = { .n = 0 };
    EXPECT(magic_add(&v, " A  vivid green kite. ", "green kite", caption, NULL) == M_OK &&
           magic_add(&v, "silk green kite", "green kite", caption, NULL) == M_OK);
    EXPECT(magic_add(&v, "a vivid green kite", "green kite", caption, NULL) == M05 && v.n == 2);
    EXPECT_STR(v.text[0], "a vivid green kite");
    magic_add(&v, "kite of paper", "green kite", caption, NULL),
        magic_add(&v, "old green kite", "green kite", caption, NULL);
    magic_add(&v, "round green kite", "green kite", caption, NULL),
        magic_add(&v, "tiny green kite", "green kite", caption, NULL);
    EXPECT(v.n == MAGIC_MOST);
    char *text = magic_prompt(&v, "green kite", caption);
    EXPECT_STR(text, "green kite, a vivid green kite, silk green kite, kite of paper. A green kite flies above two "
                     "dogs on the beach.");
    vm_free(text);
}

TEST(room) {
    vm_error err = { 0 };
    tok *t = NULL;
    int gone = -1;
    variants v = { .text = { "a vivid green kite", "a silk green kite", "a round green kite", "a tiny green kite" },
                   .n = 4 },
             w = v;
    EXPECT(!tok_open(&t, "weights/tiny/clip-plain", &err));
    EXPECT(!magic_fit(&v, "green kite", "A green kite.", t, 1000, &gone, &err) && gone == 0 && v.n == 4);
    tok_ids ids = { 0 };
    variants one = w;
    one.n = 1;
    char *text = magic_prompt(&one, "green kite", "A green kite.");
    EXPECT(!tok_encode(t, text, strlen(text), 0, 0, &ids, &err));
    EXPECT(!magic_fit(&w, "green kite", "A green kite.", t, ids.n, &gone, &err) && w.n == 1 && gone == 3);
    EXPECT(!magic_fit(&w, "green kite", "A green kite.", t, 3, &gone, &err) && w.n == 0 && gone == 1);
    vm_free(text), tok_ids_free(&ids), tok_free(t);
}

int main(void) {
    RUN(rules);
    RUN(kinds);
    RUN(texts);
    RUN(room);
    return test_end();
}
