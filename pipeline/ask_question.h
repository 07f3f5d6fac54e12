/* ask_question.h - questions about a picture with known answers: the record, its rules, and those that need no language
 * model.
 *
 *     {"question":"Is there a dog in the picture?","choices":["yes","no"],"answer_index":0,"kind":"exist"}
 *
 * Global questions are about a whole picture after an edit, local ones about a crop of what was changed. Kinds: exist
 * and absent (yes or no), identity (what is it), attribute, count, relation. The template questions are written out in
 * ask_edit.c and ask_layout.c; where the right answer stands among the choices is drawn from the text, so that no place
 * is better than another. */
#ifndef VM_ASK_QUESTION_H
#define VM_ASK_QUESTION_H
#include "pipeline/layout.h"

enum { ASK_TEXT = 1280, ASK_CHOICES = 5, ASK_SCOPE = 8 /* questions of a scope */, ASK_MOST = 64 };

typedef enum { ASK_EXIST, ASK_ABSENT, ASK_IDENTITY, ASK_ATTRIBUTE, ASK_COUNT, ASK_RELATION, ASK_KINDS } ask_kind;
extern const char *const ask_kind_name[ASK_KINDS];

typedef struct {
    char question[ASK_TEXT], choice[ASK_CHOICES][ASK_TEXT];
    int n, answer;
    ask_kind kind;
} question;

typedef struct {
    question *q; /* vm_free */
    int n;
    int64_t cap;
} questions;
void questions_free(questions *l);

/* The first rule that a question breaks, or Q_OK. nouns: heads of what the scope is about, ended by NULL. */
typedef enum { Q_OK, Q01, Q02, Q03, Q04, Q05, Q06, Q07, Q_CODES } ask_code;
extern const char *const ask_code_rule[Q_CODES]; /* one line each */
ask_code question_check(const question *q, const char *const *nouns);
/* Q06: is one that asks the same in the list? */
bool questions_have(const questions *l, const question *q);
/* Adds q when it is good, new, and the list is shorter than ASK_SCOPE; the code says why not (Q06 the same, Q07 full).
 * VM_EDEVICE by e. */
ask_code questions_add(questions *l, const question *q, const char *const *nouns, vm_error *e);
/* Is there a question whose right answer is no? */
bool questions_balanced(const questions *l);

/* ---- JSON (ask_json.c) ---- */
void question_put(json_writer *w, const char *key, const question *q);
void questions_put(json_writer *w, const char *key, const questions *l);
/* An object as above; of the published files: "answer", one of the choices, instead of answer_index, and no kind (then
 * dflt). False: *why says what is wrong with it. */
bool question_from_json(question *q, json_value v, ask_kind dflt, const char **why);

/* ---- building (ask_question.c) ---- */
/* The next place of the list, to be filled; NULL and e when memory is out. */
question *questions_next(questions *l, vm_error *e);
/* printf into the question. */
void ask_text(question *q, ask_kind kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Choices yes and no. */
void ask_yes_no(question *q, bool yes);
/* One more choice; the first one given is the right one until ask_mix. Choices that are there already are left out. */
void ask_choice(question *q, const char *text);
/* Puts the choices into an order drawn from the question's text. */
void ask_mix(question *q);

/* Both add a question to a list when it passes the rules: one that is answered yes or no; one with two choices. */
void ask_whether(questions *l, const char *const *nouns, ask_kind kind, bool yes, vm_error *e, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
void ask_which(questions *l, const char *const *nouns, ask_kind kind, const char *right, const char *wrong, vm_error *e,
               const char *fmt, ...) __attribute__((format(printf, 7, 8)));

/* "a dog", "two dogs", "the dog", "some water": a phrase as it stands after "there is"; *several: are there. */
void ask_some(char out[ASK_TEXT], const char *phrase, bool *several);

/* ---- templates ---- */
typedef struct {
    const char *caption, *edited_caption, *input_phrase, *edited_phrase, *region; /* region may be NULL */
    const char *category; /* object, attribute(color), ... */
} ask_edit;
/* Questions on an edit: global on the edited picture, local on the crop. Both lists pass the rules and have a "no". */
vm_status ask_of_edit(questions *global, questions *local, const ask_edit *x, vm_error *e);
/* Questions on a layout's whole picture. */
vm_status ask_of_layout(questions *global, const layout *l, vm_error *e);
/* Questions on the crop of object i; of layouts with one kind of object the same for all of them. */
vm_status ask_of_object(questions *local, const layout *l, int i, vm_error *e);
#endif
