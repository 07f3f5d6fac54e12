/* eval_score.c - `vismin eval score`: a submission to the VisMin benchmark against its solution file.
 *
 * Solutions: id,Text_Q0,Text_Q1,Image_Q0,Image_Q1,category (answers A, B, First, Second) and idx,Text,Image,category
 * (predicates over scores: "T0_I0 > T1_I0 & T1_I1 > T0_I1", operators > < =). A pair's text is right when both text
 * questions are (the predicate Text holds), image likewise, group when all are. Rows belong together by category and id;
 * a submission without categories must have the ids of the solution in its order. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/csv.h"
#include "io/log.h"
#include "pipeline/answer.h"
#include "pipeline/eval_files.h"
#include "pipeline/run.h"

/* Outcomes are judged here, row by row. Four independent binary answers: 1/4, 1/4, 1/16. */
static const eval_rule by_answers = { .name = "answers", .kind = EVAL_PAIR, .n = PAIR_METRICS, .given = true,
                                      .metric = { "text", "image", "group" },
                                      .chance = { 1.0 / 4, 1.0 / 4, 1.0 / 16 } };
static const eval_rule by_scores = { .name = "scores", .kind = EVAL_PAIR, .n = PAIR_METRICS, .given = true,
                                     .metric = { "text", "image", "group" },
                                     .chance = { 1.0 / 4, 1.0 / 4, 1.0 / 6 } };

static const char *const question[4][2] = {
    { "Text_Q0", "Pred_Q0" }, { "Text_Q1", "Pred_Q1" }, { "Image_Q0", "Pred_Q2" }, { "Image_Q1", "Pred_Q3" }
};
static const char *const score_name[4] = { "T0_I0", "T0_I1", "T1_I0", "T1_I1" };
static const char *const predicate_name[2] = { "Text", "Image" };

/* What the solution says of a pair. */
typedef struct {
    int8_t answer[4];        /* of the four questions: 0 A, First; 1 B, Second */
    const char *predicate[2];
} key;

typedef struct {
    const char *solution, *submission;
    eval_set *set;           /* one item per row of the solution */
    key *key;
    int64_t cap_key;
    bool scores;             /* predicates over scores, not answers */
    eval_result *r;
    keymap text;
    int64_t n_others, n_unparsed, n_answers, right_answers;
    int64_t n_decided;       /* pairs that state a matching, right or crossed */
} scorer;

static int64_t column(csv_reader *t, const char *a, const char *b) {
    int64_t k = csv_column(t, a);
    return k < 0 ? csv_column(t, b) : k;
}

/* --- predicates --------------------------------------------------------------------------------------------------- */
static const char *blanks(const char *s) { return s + strspn(s, " \t"); }

static int read_name(const char **s) {
    for (int k = 0; k < 4; k++)
        if (!strncmp(*s, score_name[k], 5)) return *s = blanks(*s + 5), k;
    return -1;
}

/* 1 holds, 0 does not, -1 is none: NAME (>|<|=) NAME, joined by &. s: the four scores. */
static int holds(const char *text, const float s[4]) {
    bool all = true;
    for (const char *p = blanks(text);; p = blanks(p + 1)) {
        int a = read_name(&p), op = a < 0 ? 0 : *p, b;
        if (op != '>' && op != '<' && op != '=') return -1;
        p = blanks(p + 1);
        if ((b = read_name(&p)) < 0) return -1;
        all &= op == '>' ? s[a] > s[b] : op == '<' ? s[a] < s[b] : s[a] == s[b];
        if (!*p) return all;
        if (*p != '&') return -1;
    }
}

/* --- the solution ------------------------------------------------------------------------------------------------- */
/* An item of the set: what the file says of its pictures and captions is its number only. */
static vm_status add_item(scorer *x, const char *category, const char *id, const char *where, vm_error *e) {
    const char *const captions[2] = { "caption 0", "caption 1" }, *const images[2] = { "image 0", "image 1" };
    const eval_record r = { .id = id, .n_captions = 2, .n_images = 2, .captions = captions, .images = images };
    int split = eval_set_split(x->set, category);
    int64_t before = x->set->n;
    if (split < 0) return vm_nomem(e, 64, "categories");
    if (!eval_set_add(x->set, split, EVAL_PAIR, &r, where, e) && x->set->n == before)
        return vm_fail(e, VM_EINPUT, "%s: %s %s stands twice", where, category, id);
    if (!e->status && !vm_grow(&x->key, &x->cap_key, x->set->n, sizeof *x->key)) return vm_nomem(e, 64, "the solution");
    return e->status;
}

static int read_answer(const char *text, int q) { return q < 2 ? answer_letter(text, 2) : answer_order(text); }

static vm_status read_key(scorer *x, const csv_row *row, const int64_t *at, key *k, const char *where, vm_error *e) {
    static const float any[4] = { 0 };
    *k = (key){ .predicate = { NULL } };
    for (int q = 0; q < (x->scores ? 2 : 4); q++) {
        const char *text = row->field[at[q]];
        if (x->scores) {
            int64_t i = keymap_put_text(&x->text, text);
            if (i < 0) return vm_nomem(e, strlen(text), "the solution");
            k->predicate[q] = keymap_at(&x->text, i, NULL);
            if (holds(text, any) < 0)
                return vm_fail(e, VM_EINPUT, "%s: column %s: found \"%s\", expected comparisons such as T0_I0 > T1_I0, "
                                             "joined by &", where, predicate_name[q], text);
        } else if ((k->answer[q] = (int8_t)read_answer(text, q)) < 0) {
            return vm_fail(e, VM_EINPUT, "%s: column %s: found \"%s\", expected %s", where, question[q][0], text,
                           q < 2 ? "A or B" : "First or Second");
        }
    }
    return VM_OK;
}

/* The solution of the published benchmark: ids from 0 in every category, each pair A, B, First, Second, or the straight
 * matching. */
static vm_status constant_solution(scorer *x, vm_error *e) {
    static const struct {
        const char *category;
        int n;
    } parts[] = { { "object", 579 }, { "attribute", 294 }, { "relation", 622 }, { "counting", 589 } };
    const key right = { .answer = { 0, 1, 0, 1 },
                        .predicate = { "T0_I0 > T1_I0 & T1_I1 > T0_I1", "T0_I0 > T0_I1 & T1_I1 > T1_I0" } };
    csv_reader *t = NULL;
    if (csv_open(&t, x->submission, 0, CSV_HEADER, e)) return e->status;
    x->scores = csv_column(t, score_name[0]) >= 0;
    csv_close(t);
    for (int p = 0; p < VM_LEN(parts); p++)
        for (int i = 0; i < parts[p].n && !e->status; i++) {
            char id[16];
            snprintf(id, sizeof id, "%d", i);
            if (!add_item(x, parts[p].category, id, "the built-in solution", e)) x->key[x->set->n - 1] = right;
        }
    return e->status;
}

static vm_status read_solution(scorer *x, vm_error *e) {
    csv_reader *t = NULL;
    csv_row row;
    int64_t at[4], id, category;
    if (!strcmp(x->solution, "constant")) return constant_solution(x, e);
    if (csv_open(&t, x->solution, 0, CSV_HEADER, e)) return e->status;
    x->scores = csv_column(t, "Text") >= 0;
    for (int q = 0; q < (x->scores ? 2 : 4) && !e->status; q++)
        at[q] = csv_need_column(t, x->scores ? predicate_name[q] : question[q][0], e);
    if ((id = column(t, "id", "idx")) < 0) csv_need_column(t, "id", e);
    category = csv_need_column(t, "category", e);
    while (!e->status && csv_next(t, &row, e) > 0) {
        char where[512];
        snprintf(where, sizeof where, "%s:%" PRId64, x->solution, row.line);
        if (!add_item(x, row.field[category], row.field[id], where, e))
            read_key(x, &row, at, &x->key[x->set->n - 1], where, e);
    }
    csv_close(t);
    if (!e->status && !x->set->n) vm_fail(e, VM_EINPUT, "%s: no rows in it", x->solution);
    return e->status;
}

/* --- the submission ----------------------------------------------------------------------------------------------- */
static vm_status judge_answers(scorer *x, int64_t i, const csv_row *row, const int64_t *at) {
    bool right[4], text, image;
    int given[4];
    for (int q = 0; q < 4; q++) {
        given[q] = read_answer(row->field[at[q]], q);
        right[q] = given[q] == x->key[i].answer[q];
        x->n_unparsed += given[q] < 0, x->n_answers++, x->right_answers += right[q];
    }
    text = right[0] && right[1], image = right[2] && right[3];
    x->r->score[i].credit[PAIR_TEXT] = text, x->r->score[i].credit[PAIR_IMAGE] = image;
    x->r->score[i].credit[PAIR_GROUP] = text && image;
    x->n_decided += given[0] != given[1] && given[2] != given[3];
    return VM_OK;
}

static vm_status judge_scores(scorer *x, int64_t i, const csv_row *row, const int64_t *at, vm_error *e) {
    static const int crossed_of[4] = { 2, 3, 0, 1 }; /* captions exchanged */
    float s[4], crossed[4];
    eval_score *y = &x->r->score[i];
    bool right[2], other[2];
    for (int k = 0; k < 4; k++) {
        const char *text = row->field[at[k]];
        char *end;
        s[k] = strtof(text, &end);
        if (end == text || *blanks(end))
            return vm_fail(e, VM_EINPUT, "%s:%" PRId64 ": column %s: found \"%s\", expected a number", x->submission,
                           row->line, score_name[k], text);
        y->invalid |= !isfinite(s[k]);
    }
    for (int k = 0; k < 4; k++) crossed[k] = s[crossed_of[k]];
    y->tie = !y->invalid && pair_judge(s).tie;
    for (int q = 0; q < 2; q++) {
        right[q] = !y->invalid && holds(x->key[i].predicate[q], s);
        other[q] = !y->invalid && holds(x->key[i].predicate[q], crossed);
        y->credit[q] = right[q];
    }
    y->credit[PAIR_GROUP] = right[0] && right[1];
    x->n_decided += (right[0] && right[1]) || (other[0] && other[1]);
    return VM_OK;
}

/* The item of a row: by category and id, else the next one, whose id must be the same. -1: none. */
static int64_t item_of(scorer *x, const csv_row *row, int64_t number, int64_t id, int64_t category, vm_error *e) {
    if (category >= 0) return eval_set_find(x->set, row->field[category], row->field[id]);
    if (number >= x->set->n) return -1;
    if (id >= 0 && strcmp(row->field[id], x->set->item[number].id)) {
        vm_fail(e, VM_EINPUT, "%s:%" PRId64 ": id %s where the solution has %s %s; without a column category the rows "
                              "must be those of the solution, in its order", x->submission, row->line, row->field[id],
                eval_split_name(x->set, x->set->item[number].split), x->set->item[number].id);
        return -1;
    }
    return number;
}

static vm_status read_submission(scorer *x, vm_error *e) {
    csv_reader *t = NULL;
    csv_row row;
    int64_t at[4], id, category, number = 0;
    if (csv_open(&t, x->submission, 0, CSV_HEADER, e)) return e->status;
    for (int q = 0; q < 4 && !e->status; q++) {
        at[q] = x->scores ? csv_column(t, score_name[q]) : column(t, question[q][0], question[q][1]);
        if (at[q] < 0) csv_need_column(t, x->scores ? score_name[q] : question[q][0], e);
    }
    id = column(t, "id", "idx"), category = csv_column(t, "category");
    if (category >= 0 && id < 0) csv_need_column(t, "id", e);
    for (; !e->status && csv_next(t, &row, e) > 0; number++) {
        int64_t i = item_of(x, &row, number, id, category, e);
        if (i < 0 && ++x->n_others) continue;
        if (x->r->score[i].scored)
            vm_fail(e, VM_EINPUT, "%s:%" PRId64 ": %s %s stands twice", x->submission, row.line,
                    eval_split_name(x->set, x->set->item[i].split), x->set->item[i].id);
        else if (x->scores) judge_scores(x, i, &row, at, e);
        else judge_answers(x, i, &row, at);
        x->r->score[i].scored = true;
    }
    csv_close(t);
    return e->status;
}

/* Rows of the solution that the submission lacks: an error, or wrong. */
static vm_status check_missing(const scorer *x, bool wrong, vm_error *e) {
    int64_t missing = 0, first = -1;
    for (int64_t i = 0; i < x->set->n; i++)
        if (!x->r->score[i].scored && !missing++) first = i;
    if (!missing) return VM_OK;
    if (wrong) {
        vm_warn("%s: %" PRId64 " of %" PRId64 " rows of the solution are missing; they count as wrong", x->submission,
                missing, x->set->n);
        return VM_OK;
    }
    return vm_fail(e, VM_EINPUT, "%s: %" PRId64 " of %" PRId64 " rows of the solution are missing, the first one is %s "
                                 "%s; is the file cut off? (--missing wrong counts them as wrong)", x->submission, missing,
                   x->set->n, eval_split_name(x->set, x->set->item[first].split), x->set->item[first].id);
}

/* --- the command -------------------------------------------------------------------------------------------------- */
/* Answers that state a matching nearly always, and the right one half of the time, are those to other questions. */
static void suspect_key(const scorer *x) {
    double n = (double)x->r->all.n, text = x->r->all.correct[PAIR_TEXT] / n, image = x->r->all.correct[PAIR_IMAGE] / n;
    if (n >= 100 && (double)x->n_decided >= 0.8 * n && fabs(text - 0.5) < 0.1 && fabs(image - 0.5) < 0.1)
        vm_warn("nearly all pairs are decided, and half of them against the solution: is it that of another revision of "
                "the benchmark?");
}

static vm_status score(scorer *x, const vm_args *a, vm_error *e) {
    bool wrong = !strcmp(arg_str(a, "missing"), "wrong");
    eval_options o = { 0 };
    eval_source source = { .data = x->submission };
    eval_facts f = { .data = x->submission, .command = arg_line(a), .options = &o, .source = &source };
    eval_model *m = NULL;
    char *given = NULL;
    double from = run_seconds();
    if (!wrong && strcmp(arg_str(a, "missing"), "fail"))
        return vm_fail(e, VM_EUSAGE, "eval score: --missing %s: expected fail or wrong", arg_str(a, "missing"));
    if (!(x->set = eval_set_new("vismin", e)) || read_solution(x, e)) return e->status;
    if (wrong) x->set->on_error = EVAL_WRONG;
    if (!(given = vm_asprintf("scores:%s", x->submission))) return vm_nomem(e, 256, "a path");
    if (eval_model_open(&m, given, arg_str(a, "name"), NULL, NULL, VM_F32, false, 0, e) ||
        !(x->r = eval_result_new(x->set, x->scores ? &by_scores : &by_answers, m->name, e)) || read_submission(x, e) ||
        check_missing(x, wrong, e) || eval_result_tally(x->r, e))
        goto done;
    if (!x->scores)
        eval_extra_add(&x->r->extras, "overall", "question_accuracy",
                       share_estimate((double)x->right_answers, x->n_answers), x->n_answers, e);
    if (x->n_others) vm_warn("%s: %" PRId64 " rows are not in the solution", x->submission, x->n_others);
    if (x->n_unparsed) vm_warn("%s: %" PRId64 " answers name no option, or two; they are wrong", x->submission, x->n_unparsed);
    suspect_key(x);
    eval_facts_start(&f);
    f.wall_s = run_seconds() - from;
    if (!e->status && arg_flag(a, "json")) {
        json_writer w = json_to_stream(stdout, JSON_PRETTY);
        eval_put_json(&w, x->r, m, &f);
        json_end(&w, e);
    } else if (!e->status) {
        eval_print_table(stdout, x->r);
    }
done:
    eval_model_free(m);
    vm_free(given);
    return e->status;
}

static vm_status run(const vm_args *a, vm_error *e) {
    scorer x = { .solution = arg_str(a, "solution"), .submission = arg_str(a, "submission") };
    if (!x.submission) return vm_fail(e, VM_EUSAGE, "eval score: --submission FILE is needed");
    score(&x, a, e);
    eval_result_free(x.r);
    eval_set_free(x.set);
    keymap_free(&x.text);
    vm_free(x.key);
    return e->status;
}

static const vm_opt opts[] = {
    { "solution", OPT_STR, "constant", "FILE",
      "vqa_solution.csv or sim_solution.csv of the same revision of the benchmark as the questions; constant: A, B, First, "
      "Second throughout, as published", 0, 0 },
    { "submission", OPT_STR, NULL, "FILE", "answers (Text_Q0 or Pred_Q0, ...) or scores (T0_I0, ...), with id and category",
      0, 0 },
    { "missing", OPT_STR, "fail", "POLICY", "rows of the solution that the submission lacks: fail, or wrong", 0, 0 },
    { "name", OPT_STR, NULL, "NAME", "the model's name in the table (default: the file's)", 0, 0 },
    { 0 },
};

const vm_command cmd_eval_score = {
    .name = "eval score",
    .summary = "score a submission to the VisMin benchmark",
    .usage = "--submission FILE [--solution FILE]",
    .about =
        "Text: both text questions of a pair are answered right (or the comparisons of the scores hold); image: both\n"
        "image questions; group: all four. Rows belong together by category and id, in any order; a submission without\n"
        "categories must have the rows of the solution in its order. Answers may be whole sentences that name one option.\n\n"
        "  vismin eval score --solution vqa_solution.csv --submission answers.csv\n"
        "  vismin eval score --solution sim_solution.csv --submission results/vismin/ViT-B-32/predictions.csv --json",
    .opts = opts,
    .max_pos = 0,
    .run = run,
};
