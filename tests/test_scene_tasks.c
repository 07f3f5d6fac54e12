/* test_scene_tasks.c - questions about captions of the miniature world: their answers keep the rules that the stages
 * check. */
#include "models/scene_tasks.h"
#include "tests/test.h"

enum { MANY = 3000 };
static vm_error err;
static int counts[16];

static const char *field(const scene_exercise *q, const char *name) {
    for (int k = 0; k < q->n; k++)
        if (!strcmp(q->field[k].name, name)) return q->field[k].value;
    return "";
}
static json_doc *answer(scene_exercise *q, uint64_t i, scene_task task) {
    if (scene_task_make(q, scene_seed(SCENE_VAL, i), task, 0, &err)) MISMATCH("%s\n", err.msg);
    json_doc *d = json_parse(q->answer, strlen(q->answer), "answer", JSON_STRICT, &err);
    if (!d) MISMATCH("%s\n", err.msg);
    return d;
}
static void done(scene_exercise *q, json_doc *d) {
    json_free(d);
    vm_free(q->answer);
}

/* How often `phrase` stands in the text as whole words; *at: the first time. */
static int times(const char *text, const char *phrase, const char **at) {
    int n = 0;
    size_t len = strlen(phrase);
    for (const char *p = text; (p = strstr(p, phrase)); p++)
        if ((p == text || p[-1] == ' ') && (!p[len] || p[len] == ' ') && !n++) *at = p;
    return n;
}
static const char *last_word(const char *s) { return strrchr(s, ' ') ? strrchr(s, ' ') + 1 : s; }

/* The caption with that one phrase replaced, and the article before it made to fit. */
static void replaced(char out[400], const char *caption, const char *phrase, const char *by) {
    const char *at = caption;
    times(caption, phrase, &at);
    size_t n = (size_t)(at - caption);
    snprintf(out, 400, "%.*s", (int)n, caption);
    bool an = n >= 3 && !strcmp(out + n - 3, "an "),
         a = !an && n >= 2 && !strcmp(out + n - 2, "a ") && (n == 2 || out[n - 3] == ' ');
    if (a || an) snprintf(out + n - (an ? 3 : 2), 10, "%s ", strchr("aeiou", *by) ? "an" : "a");
    snprintf(out + strlen(out), 400 - strlen(out), "%s%s", by, at + strlen(phrase));
}

TEST(edits_are_minimal) {
    int empty = 0, two = 0;
    for (uint64_t i = 0; i < MANY; i++) {
        scene_exercise q;
        bool attribute = i & 1;
        json_doc *d = answer(&q, i, attribute ? TASK_EDIT_ATTRIBUTE : TASK_EDIT_OBJECT);
        const char *caption = field(&q, "caption"), *edited = "";
        int64_t n = json_len(json_root(d));
        scene_text t;
        empty += !n, two += n == 2;
        EXPECT(n <= 2 && (n || attribute) && scene_parse(caption, &t));
        for (json_iter it = json_each(json_root(d)); json_next(&it);) {
            const char *from = json_str(it.value, "SelectedPhrase", "", &err),
                       *to = json_str(it.value, "EditedPhrase", "", &err),
                       *region = json_str(it.value, "EditedRegionPhrase", "", &err),
                       *whole = json_str(it.value, "EditedCaption", "", &err),
                       *category = json_str(it.value, "Category", "", &err), *at;
            char want[400];
            replaced(want, caption, from, to);
            EXPECT_STR(whole, want);
            EXPECT(times(caption, from, &at) == 1 && strcmp(from, to) && strcmp(whole, caption) && strcmp(to, edited) &&
                   scene_parse(whole, &t));
            EXPECT(strlen(region) > strlen(to) && !strcmp(region + strlen(region) - strlen(to), to) &&
                   strstr(whole, region));
            EXPECT(attribute ? !strcmp(last_word(from), last_word(to)) &&
                                   (!strcmp(category, "attribute(color)") || !strcmp(category, "attribute(pattern)"))
                             : strcmp(last_word(from), last_word(to)) && !strcmp(category, "object"));
            edited = to;
        }
        done(&q, d);
    }
    EXPECT(empty < MANY / 8 && two > MANY / 10);
}

TEST(verdicts_are_balanced_and_right) {
    int accepted[2] = { 0 }, reasons = 0;
    for (uint64_t i = 0; i < MANY; i++) {
        scene_exercise q;
        bool attribute = i & 1;
        json_doc *d = answer(&q, i, attribute ? TASK_VET_ATTRIBUTE : TASK_VET_OBJECT);
        json_value root = json_root(d);
        bool accept = !strcmp(json_str(root, "verdict", "", &err), "accept");
        const char *reason = json_str(root, "reason", "", &err);
        scene_text a, b;
        EXPECT(scene_parse(field(&q, "caption"), &a) && scene_parse(field(&q, "edited_caption"), &b) && a.n == b.n);
        int classes = 0, looks = 0, others = a.relation != b.relation;
        for (int k = 0; k < a.n; k++) {
            const scene_phrase *x = &a.phrase[k], *y = &b.phrase[k];
            classes += x->class != y->class;
            for (int j = 0; j < k; j++) EXPECT(b.phrase[j].class != y->class);
            looks += (x->colour != y->colour) + (x->texture != y->texture);
            others += x->count != y->count || x->size != y->size ||
                      (x->colour == SCENE_UNSAID) != (y->colour == SCENE_UNSAID) ||
                      (x->texture == SCENE_UNSAID) != (y->texture == SCENE_UNSAID);
        }
        EXPECT(accept == (!others && (attribute ? looks == 1 && !classes : classes == 1 && !looks)));
        EXPECT(json_len(json_get(root, "violated")) == !accept && strlen(reason) < 200);
        accepted[attribute] += accept, reasons += strstr(reason, " becomes ") != NULL;
        done(&q, d);
    }
    for (int k = 0; k < 2; k++) EXPECT(abs(accepted[k] - MANY / 4) < MANY / 20);
    EXPECT(reasons > MANY * 8 / 10);
}

typedef struct {
    int64_t x, y, w, h;
} box;
static bool apart(const box *a, const box *b, int gap) {
    return a->x + a->w + gap <= b->x || b->x + b->w + gap <= a->x || a->y + a->h + gap <= b->y ||
           b->y + b->h + gap <= a->y;
}

TEST(layouts_are_true) {
    int mixed = 0; /* a group and another thing */
    for (uint64_t i = 0; i < MANY; i++) {
        scene_exercise q;
        json_doc *d = answer(&q, i, TASK_LAYOUT);
        json_value root = json_root(d);
        bool counting = !strncmp(json_str(root, "category", "", &err), "counting", 8);
        box b[7];
        scene_text t;
        int n = 0;
        char want[60];
        EXPECT(scene_parse(field(&q, "caption"), &t));
        EXPECT_STR(json_str(root, "caption", "", &err), field(&q, "caption"));
        for (json_iter it = json_each(json_get(root, "objects")); json_next(&it) && n < 7; n++) {
            json_value v = json_get(it.value, "box");
            int64_t *p = &b[n].x;
            for (int k = 0; k < 4; k++) p[k] = json_as_int(json_at(v, k), 0, 512, &err);
            EXPECT(b[n].x >= 8 && b[n].y >= 8 && b[n].w >= 24 && b[n].h >= 24 && b[n].x + b[n].w <= 504 &&
                   b[n].y + b[n].h <= 504);
            for (int k = 0; k < n; k++) EXPECT(apart(&b[n], &b[k], 4));
        }
        int group = t.n == 2 && t.phrase[1].count <= 5; /* the phrase with the number */
        EXPECT(n == (counting ? t.phrase[group].count + t.n - 1 : 2));
        mixed += counting && t.n == 2;
        if (counting) snprintf(want, sizeof want, "counting(%s)", scene_number_name[t.phrase[group].count]);
        else snprintf(want, sizeof want, "relation(%s)", scene_relation_name[t.relation]);
        EXPECT_STR(json_str(root, "category", "", &err), want);
        if (!counting) {
            int64_t dx = 2 * b[1].x + b[1].w - 2 * b[0].x - b[0].w,
                    dy = 2 * b[1].y + b[1].h - 2 * b[0].y - b[0].h; /* twice the centres' */
            bool upright = t.relation == SCENE_ABOVE || t.relation == SCENE_BELOW;
            int64_t main = upright ? dy : dx, other = upright ? dx : dy;
            EXPECT(t.relation == SCENE_LEFT || t.relation == SCENE_ABOVE ? main > 0 : main < 0);
            EXPECT(llabs(main) * 10 >= llabs(other) * 12 && llabs(main) >= 123 &&
                   2 * VM_MIN(b[0].w * b[0].h, b[1].w * b[1].h) >= VM_MAX(b[0].w * b[0].h, b[1].w * b[1].h));
        }
        done(&q, d);
    }
    EXPECT(mixed > MANY / 10);
}

TEST(questions_have_answers) {
    for (uint64_t i = 0; i < MANY; i++) {
        scene_exercise q;
        bool global = i & 1;
        json_doc *d = answer(&q, i, global ? TASK_ASK_GLOBAL : TASK_ASK_LOCAL);
        const char *is = field(&q, global ? "caption" : "phrase"), *was = field(&q, global ? "before" : "absent");
        EXPECT(json_len(json_root(d)) >= 3 && json_len(json_root(d)) <= 4 && strcmp(is, was));
        for (json_iter it = json_each(json_root(d)); json_next(&it);) {
            json_value choices = json_get(it.value, "choices");
            int64_t n = json_len(choices), k = json_int(it.value, "answer_index", -1, 0, n - 1, &err);
            const char *kind = json_str(it.value, "kind", "", &err), *text = json_str(it.value, "question", "", &err),
                       *right = json_as_str(json_at(choices, k), &err);
            char thing[200];
            snprintf(thing, sizeof thing, "%s",
                     strstr(text, "there a")  ? strchr(strstr(text, "there a"), ' ') + 3
                     : strstr(text, "there ") ? strstr(text, "there ") + 6
                                              : "");
            thing[strcspn(thing, "?")] = 0;
            const char *name = thing[0] == ' ' ? thing + 1 : thing; /* behind "an" */
            EXPECT(n >= 2 && n <= 5 && k >= 0 && strchr(text, '?'));
            if (!strcmp(kind, "exist")) EXPECT(strstr(is, name) && !strcmp(right, "yes"));
            else if (!strcmp(kind, "absent")) EXPECT(strstr(was, name) && !strcmp(right, "no"));
            else EXPECT(strstr(is, right) && (!strcmp(kind, "count") || strstr(text, right)));
        }
        done(&q, d);
    }
}

TEST(letters_are_right) {
    int where[4] = { 0 };
    for (uint64_t i = 0; i < MANY; i++) {
        scene_exercise q;
        json_doc *d = answer(&q, i, TASK_ASK_JUDGE);
        const char *text = field(&q, "text"), *question = field(&q, "question"), *choices = field(&q, "choices"),
                   *letter = json_str(json_root(d), "answer", "", &err);
        char mark[4], right[40];
        snprintf(mark, sizeof mark, "%s) ", letter);
        const char *at = strstr(choices, mark);
        EXPECT(at && strlen(letter) == 1);
        snprintf(right, sizeof right, "%.*s", at ? (int)strcspn(at + 3, " ") : 0, at ? at + 3 : "");
        bool there = !strncmp(question, "is there", 8) || !strncmp(question, "are there", 9);
        if (there) { /* the head noun and what is said of it */
            char name[200];
            snprintf(name, sizeof name, "%s", strstr(question, "there ") + 6);
            name[strcspn(name, "?")] = 0;
            const char *rest = !strncmp(name, "a ", 2) ? name + 2 : !strncmp(name, "an ", 3) ? name + 3 : name, *p;
            EXPECT(!strcmp(right, times(text, rest, &p) ? "yes" : "no"));
        } else if (strcmp(right, "yes") && strcmp(right, "no")) EXPECT(strstr(text, right));
        else {
            scene_text t;
            char rel[40] = "";
            EXPECT(scene_parse(text, &t));
            for (int k = 0; k < SCENE_NO_RELATION; k++)
                if (strstr(question, scene_relation_name[k])) snprintf(rel, sizeof rel, "%s", scene_relation_name[k]);
            EXPECT(!strcmp(right, !strcmp(rel, scene_relation_name[t.relation]) ? "yes" : "no"));
        }
        where[(letter[0] - 'A') & 3]++;
        done(&q, d);
    }
    EXPECT(abs(where[0] - where[1]) < MANY / 12 && where[2] > 0);
}

TEST(questions_about_layouts) {
    for (uint64_t i = 0; i < MANY; i++) {
        scene_exercise q;
        json_doc *d = answer(&q, i, TASK_ASK_LAYOUT);
        scene_text t;
        int no = 0;
        EXPECT(scene_parse(field(&q, "caption"), &t) && json_len(json_root(d)) == (t.n == 1 ? 3 : 4) &&
               strlen(field(&q, "things")) > 4);
        for (json_iter it = json_each(json_root(d)); json_next(&it);) {
            const char *kind = json_str(it.value, "kind", "", &err), *text = json_str(it.value, "question", "", &err);
            const char *right = json_as_str(
                json_at(json_get(it.value, "choices"), json_int(it.value, "answer_index", 0, 0, 2, &err)), &err);
            no += !strcmp(right, "no");
            if (!strcmp(kind, "count")) EXPECT_STR(right, scene_number_name[t.phrase[0].count]);
            if (!strcmp(kind, "relation"))
                EXPECT((strstr(text, scene_relation_name[t.relation]) != NULL) == !strcmp(right, "yes"));
        }
        EXPECT(no >= 1);
        done(&q, d);
    }
}

TEST(the_same_seed_is_the_same_question) {
    for (uint64_t i = 0; i < 300; i++) {
        scene_exercise a, b;
        scene_task task = scene_task_pick(i);
        counts[task]++;
        EXPECT(!scene_task_make(&a, i, task, (int)(i % 3), &err) && !scene_task_make(&b, i, task, (int)(i % 3), &err) &&
               !strcmp(a.answer, b.answer));
        vm_free(a.answer), vm_free(b.answer);
    }
    for (int k = 0; k < SCENE_TASKS; k++) EXPECT(counts[k] > 0);
    EXPECT(vm_mem_used() == 0);
}

int main(void) {
    RUN(edits_are_minimal);
    RUN(verdicts_are_balanced_and_right);
    RUN(layouts_are_true);
    RUN(questions_have_answers);
    RUN(letters_are_right);
    RUN(questions_about_layouts);
    RUN(the_same_seed_is_the_same_question);
    return test_end();
}
