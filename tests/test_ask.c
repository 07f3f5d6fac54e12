/* test_ask.c - questions: their rules, both JSON forms, and what the templates ask about edits and layouts. */
#include "pipeline/ask_question.h"

#include "pipeline/layout_enum.h"
#include "tests/test.h"

static vm_error err;

/* All questions as lines "kind question [right] other ...". */
static const char *shown(const questions *l) {
    static char out[20000];
    size_t n = 0;
    out[0] = 0;
    for (int i = 0; i < l->n; i++) {
        const question *q = &l->q[i];
        n += (size_t)snprintf(out + n, sizeof out - n, "%s %s [%s]", ask_kind_name[q->kind], q->question,
                              q->choice[q->answer]);
        for (int k = 0; k < q->n; k++)
            if (k != q->answer) n += (size_t)snprintf(out + n, sizeof out - n, " %s", q->choice[k]);
        n += (size_t)snprintf(out + n, sizeof out - n, "\n");
    }
    return out;
}

static void edit(const ask_edit *x, const char *global_want, const char *local_want) {
    questions global = { 0 }, local = { 0 };
    EXPECT(!ask_of_edit(&global, &local, x, &err) && questions_balanced(&global) && questions_balanced(&local));
    EXPECT_STR(shown(&global), global_want);
    EXPECT_STR(shown(&local), local_want);
    questions_free(&global), questions_free(&local);
}

TEST(edits) {
    edit(&(ask_edit){ .caption = "A dog sits on a bench.",
                      .edited_caption = "An owl sits on a bench.",
                      .input_phrase = "dog",
                      .edited_phrase = "owl",
                      .region = "An owl",
                      .category = "object" },
         "identity Which description fits the picture? [An owl sits on a bench.] A dog sits on a bench.\n"
         "exist Does \"An owl sits on a bench.\" describe the picture? [yes] no\n"
         "absent Does \"A dog sits on a bench.\" describe the picture? [no] yes\n"
         "exist Does the picture contain an owl? [yes] no\n"
         "absent Does the picture contain a dog? [no] yes\n"
         "identity Which of these is in the picture? [an owl] a dog\n",
         "exist Is there an owl in this picture? [yes] no\n"
         "absent Is there a dog in this picture? [no] yes\n"
         "identity What does this picture show? [an owl] a dog\n"
         "identity Is this an owl rather than a dog? [yes] no\n"
         "exist Can you see an owl here? [yes] no\n"
         "absent Can you see a dog here? [no] yes\n");
    edit(&(ask_edit){ .caption = "Two red kites",
                      .edited_caption = "Two dark green kites",
                      .input_phrase = "red kites",
                      .edited_phrase = "dark green kites",
                      .category = "attribute(color)" },
         "identity Which description fits the picture? [Two dark green kites] Two red kites\n"
         "exist Does \"Two dark green kites\" describe the picture? [yes] no\n"
         "absent Does \"Two red kites\" describe the picture? [no] yes\n"
         "exist Does the picture contain dark green kites? [yes] no\n"
         "absent Does the picture contain red kites? [no] yes\n"
         "identity Which of these are in the picture? [dark green kites] red kites\n",
         "exist Are there dark green kites in this picture? [yes] no\n"
         "absent Are there red kites in this picture? [no] yes\n"
         "attribute Which word fits the kites in this picture? [dark green] red\n"
         "attribute Would you call the kites in this picture dark green? [yes] no\n"
         "attribute Would you call the kites in this picture red? [no] yes\n"
         "exist Can you see dark green kites here? [yes] no\n"
         "absent Can you see red kites here? [no] yes\n");
}

static const char *some(const char *phrase) {
    static char out[ASK_TEXT + 4];
    bool several;
    ask_some(out, phrase, &several);
    return several ? strcat(out, " +") : out;
}

TEST(some_of_it) {
    EXPECT_STR(some("dog"), "a dog");
    EXPECT_STR(some("An owl"), "an owl");
    EXPECT_STR(some("old man in a hat"), "an old man in a hat");
    EXPECT_STR(some("two dogs"), "two dogs +");
    EXPECT_STR(some("dogs"), "dogs +");
    EXPECT_STR(some("The dogs"), "the dogs +");
    EXPECT_STR(some("scissors"), "scissors +");
    EXPECT_STR(some("water"), "water");
    EXPECT_STR(some("one cup"), "one cup");
}

static const char *nouns[] = { "owl", "dog", NULL };

static question of(const char *text, ask_kind kind, int answer, int n, const char *const *choice) {
    question q = { 0 };
    ask_text(&q, kind, "%s", text);
    for (; q.n < n; q.n++) snprintf(q.choice[q.n], ASK_TEXT, "%s", choice[q.n]);
    q.answer = answer;
    return q;
}
#define Q(text, kind, answer, ...)                                                                                     \
    of(text, kind, answer, (int)(sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *)),                            \
       (const char *[]){ __VA_ARGS__ })

TEST(rules) {
    question q = Q("Is there an owl?", ASK_EXIST, 0, "yes", "no");
    EXPECT(question_check(&q, nouns) == Q_OK);
    q = Q("An owl is there", ASK_EXIST, 0, "yes", "no"); EXPECT(question_check(&q, nouns) == Q01);
    q = Q("Owl there?", ASK_EXIST, 0, "yes", "no"); EXPECT(question_check(&q, nouns) == Q01);
    q = Q("Is there an owl?", ASK_EXIST, 0, "yes"); EXPECT(question_check(&q, nouns) == Q02);
    q = Q("Which owl is it?", ASK_IDENTITY, 0, "the owl", "An owl!"); EXPECT(question_check(&q, nouns) == Q02);
    q = Q("Which owl is it?", ASK_IDENTITY, 0, "...", "b"); EXPECT(question_check(&q, nouns) == Q02);
    q = Q("Is there an owl?", ASK_EXIST, 2, "yes", "no"); EXPECT(question_check(&q, nouns) == Q03);
    q = Q("Is there a cat?", ASK_EXIST, 0, "yes", "no"); EXPECT(question_check(&q, nouns) == Q04);
    q = Q("What is it then?", ASK_IDENTITY, 0, "two dogs", "a cat"); EXPECT(question_check(&q, nouns) == Q_OK);
    q = Q("Is there an owl?", ASK_EXIST, 1, "yes", "no"); EXPECT(question_check(&q, nouns) == Q05);
    q = Q("Is there an owl?", ASK_ABSENT, 0, "yes", "no"); EXPECT(question_check(&q, nouns) == Q05);
    questions l = { 0 };
    q = Q("Is there an owl?", ASK_EXIST, 0, "yes", "no");
    EXPECT(questions_add(&l, &q, nouns, &err) == Q_OK && !questions_balanced(&l));
    q = Q("is there the OWL ?", ASK_EXIST, 1, "no", "yes"); EXPECT(questions_add(&l, &q, nouns, &err) == Q06);
    for (int i = 1; i < ASK_SCOPE; i++) {
        char text[40];
        snprintf(text, sizeof text, "Is there an owl %c?", 'a' + i);
        q = Q(text, ASK_ABSENT, 1, "yes", "no"); EXPECT(questions_add(&l, &q, nouns, &err) == Q_OK);
    }
    q = Q("Is there another owl?", ASK_EXIST, 0, "yes", "no"); EXPECT(questions_add(&l, &q, nouns, &err) == Q07);
    EXPECT(l.n == ASK_SCOPE && questions_balanced(&l));
    questions_free(&l);
    EXPECT(!vm_mem_used());
}

TEST(mixed_answers) { /* the right one is anywhere, and the same each time */
    int at[3] = { 0 };
    for (int i = 0; i < 600; i++) {
        question q = { 0 }, r;
        ask_text(&q, ASK_IDENTITY, "Which is number %d?", i);
        ask_choice(&q, "x"), ask_choice(&q, "y"), ask_choice(&q, "X"), ask_choice(&q, "z");
        EXPECT(q.n == 3);
        r = q;
        ask_mix(&q), ask_mix(&r);
        EXPECT(!strcmp(q.choice[q.answer], "x") && q.answer == r.answer && !strcmp(q.choice[0], r.choice[0]));
        at[q.answer]++;
    }
    for (int i = 0; i < 3; i++) EXPECT(at[i] > 150 && at[i] < 250);
}

static const char *json(const char *text) {
    static char out[2000];
    question q;
    const char *why = "";
    json_doc *d = json_parse(text, strlen(text), "q", 0, &err);
    if (!question_from_json(&q, json_root(d), ASK_IDENTITY, &why)) snprintf(out, sizeof out, "!%s", why);
    else {
        json_writer w = json_to_memory(JSON_COMPACT);
        question_put(&w, NULL, &q);
        char *s = json_take(&w, NULL, &err);
        snprintf(out, sizeof out, "%s", s);
        vm_free(s);
    }
    json_free(d);
    return out;
}

TEST(json_forms) {
    const char *own =
        "{\"question\":\"Is there a dog?\",\"choices\":[\"yes\",\"no\"],\"answer_index\":1,\"kind\":\"absent\"}";
    EXPECT_STR(json(own), own);
    EXPECT_STR(
        json("{\"Question\":\" Is  there a dog?\",\"choices\":[\"Yes\",\"No\"],\"answer\":\"no\",\"kind\":\"Absent\"}"),
        own);
    EXPECT_STR(json("{\"question\":\"How many?\",\"choices\":[1,2],\"answer\":\"2\"}"),
               "{\"question\":\"How many?\",\"choices\":[\"1\",\"2\"],\"answer_index\":1,\"kind\":\"identity\"}");
    EXPECT_STR(json("{\"choices\":[1,2],\"answer\":\"2\"}"), "!question");
    EXPECT_STR(json("{\"question\":\"a?\",\"choices\":[1,2,3,4,5,6],\"answer\":\"2\"}"), "!choices");
    EXPECT_STR(json("{\"question\":\"a?\",\"choices\":[1,[]],\"answer\":\"2\"}"), "!choices");
    EXPECT_STR(json("{\"question\":\"a?\",\"choices\":[1,2],\"answer\":\"3\"}"), "!answer");
    EXPECT_STR(json("{\"question\":\"a?\",\"choices\":[1,2],\"answer_index\":2}"), "!answer");
    EXPECT_STR(json("{\"question\":\"a?\",\"choices\":[1,2],\"answer_index\":1,\"kind\":\"other\"}"), "!kind");
}

TEST(layouts) {
    questions l = { 0 };
    layout x = { .caption = "A dog with a cat on the left",
                 .category = "relation(left of)",
                 .n = 2,
                 .object = { { .name = "a dog" }, { .name = "a cat" } } };
    EXPECT(!ask_of_layout(&l, &x, &err));
    EXPECT_STR(shown(&l), "relation Is the cat to the left of the dog? [yes] no\n"
                          "relation Is the dog to the left of the cat? [no] yes\n"
                          "relation Where is the cat, seen from the dog? [on the left] on the right\n"
                          "relation Which of the two is on the left? [cat] dog\n"
                          "exist Is there a dog in the picture? [yes] no\n"
                          "exist Is there a cat in the picture? [yes] no\n");
    questions_free(&l);
    EXPECT(!ask_of_object(&l, &x, 1, &err));
    EXPECT_STR(shown(&l), "exist Is there a cat in this picture? [yes] no\n"
                          "exist Can you see a cat here? [yes] no\n"
                          "identity What does this picture show? [a cat] a dog\n"
                          "absent Is there a dog in this picture? [no] yes\n"
                          "absent Can you see a dog here? [no] yes\n"
                          "count How many cats does this picture show? [1] 0 3 2\n"
                          "count Is there more than one cat in this picture? [no] yes\n");
    questions_free(&l);
    x = (layout){ .caption = "Two apples on a table",
                  .category = "counting(two)",
                  .n = 2,
                  .object = { { .name = "an apple" }, { .name = "apple" } } };
    EXPECT(!ask_of_layout(&l, &x, &err) && questions_balanced(&l));
    EXPECT_HAS(shown(&l), "count How many apples are there in the picture? [2]");
    EXPECT_HAS(shown(&l), "count Are there exactly 2 apples in the picture? [yes] no\ncount Are there exactly 3 apples "
                          "in the picture? [no] yes\n");
    questions_free(&l);
    EXPECT(!ask_of_object(&l, &x, 0, &err) && l.n == 5 && questions_balanced(&l));
    questions_free(&l);
}

static char *table(const char *path) {
    char *text = NULL;
    EXPECT(!file_read(&text, NULL, path, 0, &err));
    return text;
}

TEST(every_enumerated_layout) { /* at least four questions of each object, six of the whole, a "no" in every list */
    char *objects = table("pipeline/tables/objects.csv"), *scenes = table("pipeline/tables/scenes.csv");
    layout_world *w = NULL;
    layout l;
    EXPECT(!layout_world_new(&w, objects, "o", scenes, "s", &err));
    for (int i = 0; i < 600; i++) {
        questions q = { 0 };
        EXPECT(!layout_world_make(w, (layout_kind)(i % 2), &layout_rules_default, 5, i, &l, &err));
        EXPECT(!ask_of_layout(&q, &l, &err) && questions_balanced(&q));
        if (q.n < (i % 2 ? 5 : 6)) MISMATCH("%s:\n%s", l.caption, shown(&q));
        questions_free(&q);
        for (int k = 0; k < l.n; k++) {
            EXPECT(!ask_of_object(&q, &l, k, &err) && questions_balanced(&q));
            if (q.n < 4) MISMATCH("%s:\n%s", l.object[k].name, shown(&q));
            questions_free(&q);
        }
    }
    layout_world_free(w);
    vm_free(objects), vm_free(scenes);
    EXPECT(!vm_mem_used());
}

int main(void) {
    RUN(edits);
    RUN(some_of_it);
    RUN(rules);
    RUN(mixed_answers);
    RUN(json_forms);
    RUN(layouts);
    RUN(every_enumerated_layout);
    return test_end();
}
