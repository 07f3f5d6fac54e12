/* test_llm_queue.c - requests that join while others are worked on: the tokens of each are those that it gets alone,
 * whenever it comes, however small the cache is; what prompts share, who waits, who is dropped, whose error is
 * whose. */
#include "models/llm_batch.h"
#include "tests/test.h"

enum { V = 400, N = 8, LONGEST = 128 };
static llm *model;
static llm_engine *engine(int64_t tokens) {
    vm_error e = { 0 };
    llm_engine *en = NULL;
    if (!model && llm_open(&model, vm_backend_cpu(), "tests/golden/llm/mistral", false, &e)) MISMATCH("%s\n", e.msg);
    if (llm_engine_new(&en, model, VM_F32,
                       &(llm_engine_options){ .tokens = tokens, .longest = LONGEST, .deterministic = true }, &e))
        MISMATCH("%s\n", e.msg);
    return en;
}

static int32_t prompt[N][60];
/* Prompts of 20 to 55 tokens, the first 17 of which all share; 9 to 30 tokens each. */
static llm_request request(int i) {
    for (int t = 0; t < 60; t++) prompt[i][t] = t < 17 ? 3 + t * 7 : 3 + (t * 37 + i * 101 + t * t) % (V - 3);
    return (llm_request){ .ids = prompt[i],
                          .n = 20 + 5 * i,
                          .most = 9 + 3 * i,
                          .how = { .temperature = 1.5f, .seed = 5, .stream = (uint64_t)i } };
}

static int32_t alone[N][40];
static int64_t alone_n[N];
static void run_alone(void) {
    vm_error e = { 0 };
    for (int i = 0; i < N; i++) {
        llm_engine *en = engine(4000);
        llm_request r = request(i);
        if (llm_batch(en, model, 1, &r, 1, NULL, NULL, &e)) MISMATCH("%s\n", e.msg);
        memcpy(alone[i], r.out, (size_t)r.n_out * sizeof *r.out);
        alone_n[i] = r.n_out;
        vm_free(r.out);
        llm_engine_free(en);
    }
}
static void as_alone(const char *what, const llm_request *r, int i) {
    if (r->n_out != alone_n[i] || memcmp(r->out, alone[i], (size_t)r->n_out * sizeof *r->out))
        MISMATCH("%s: request %d has other tokens than alone\n", what, i);
}

static int done_n, most_busy;
static void on_done(llm_request *r) { done_n++; }

TEST(whenever_they_come) {
    static const int64_t rooms[] = { 4000, 300, 128 }; /* tokens of the cache: for all, for some, for one or two */
    for (int k = 0; k < VM_LEN(rooms); k++) {
        vm_error e = { 0 };
        llm_engine *en = engine(rooms[k]);
        llm_queue *q = NULL;
        llm_request r[N];
        done_n = most_busy = 0;
        EXPECT(!llm_queue_new(&q, en, model, 4, &e));
        for (int i = 0, step = 0; i < N || llm_queue_busy(q); step++) {
            if (i < N && step % 3 == 0) {
                r[i] = request(i), r[i].done = on_done;
                llm_queue_add(q, &r[i++]);
            }
            llm_queue_step(q);
            most_busy = VM_MAX(most_busy, (int)(llm_queue_busy(q) - llm_queue_waiting(q)));
        }
        EXPECT(done_n == N && most_busy <= 4 && (k == 2 ? most_busy < 4 : k || most_busy == 4));
        for (int i = 0; i < N; i++) as_alone(k ? "small cache" : "large cache", &r[i], i), vm_free(r[i].out);
        if (!k) EXPECT(llm_queue_counts(q)->shared >= 17 * (N - 1) && r[N - 1].shared >= 17 && r[0].shared == 0);
        llm_queue_free(q);
        EXPECT(llm_engine_room(en) / LLM_PAGE == (rooms[k] + LLM_PAGE - 1) / LLM_PAGE); /* every page came back */
        llm_engine_free(en);
    }
}

/* An ended text is there for one that goes on where it ended. */
TEST(what_has_ended_is_shared) {
    vm_error e = { 0 };
    llm_engine *en = engine(4000), *other = engine(4000);
    llm_queue *q = NULL;
    llm_request a = request(1), b, c;
    int32_t ids[60];
    EXPECT(!llm_queue_new(&q, en, model, 2, &e));
    llm_queue_add(q, &a);
    while (llm_queue_busy(q)) llm_queue_step(q);
    memcpy(ids, a.ids, (size_t)a.n * sizeof *ids), memcpy(ids + a.n, a.out, (size_t)a.n_out * sizeof *ids);
    b = c = (llm_request){ .ids = ids, .n = a.n + a.n_out, .most = 9 };
    llm_queue_add(q, &b);
    while (llm_queue_busy(q)) llm_queue_step(q);
    EXPECT(b.shared == a.n + a.n_out - 1);
    EXPECT(!llm_batch(other, model, 1, &c, 1, NULL, NULL, &e) && c.n_out == b.n_out &&
           !memcmp(b.out, c.out, (size_t)b.n_out * sizeof *b.out));
    llm_queue_free(q);
    vm_free(a.out), vm_free(b.out), vm_free(c.out);
    llm_engine_free(en), llm_engine_free(other);
}

static bool stops_here(llm_request *r, int32_t id) { return r->n_out == 4; }
static const float *seen;
static bool looks(llm_request *r, int32_t id) {
    seen = r->scores;
    for (int i = 0; i < V && seen; i++)
        if (r->how.temperature <= 0 && r->scores[i] > r->scores[id]) MISMATCH("token %d is likelier than %d\n", i, id);
    return false;
}
static vm_status no_start(llm_request *r, vm_error *e) { return vm_fail(e, VM_EINPUT, "not this one"); }

TEST(ends_of_one_are_not_those_of_others) {
    vm_error e = { 0 };
    llm_engine *en = engine(4000);
    llm_queue *q = NULL;
    llm_request r[N];
    EXPECT(!llm_queue_new(&q, en, model, 3, &e));
    for (int i = 0; i < N; i++) r[i] = request(i);
    r[0].token = stops_here;
    r[1].start = no_start;
    r[2].ids = (int32_t[60]){ V + 5 };
    r[3].n = LONGEST + 1;
    r[4].how.temperature = 0, r[4].scored = true, r[4].token = looks;
    for (int i = 0; i < N; i++) llm_queue_add(q, &r[i]);
    for (int k = 0; k < 3; k++) llm_queue_step(q);
    llm_queue_drop(q, &r[7]);
    EXPECT(r[7].finish == LLM_INTERRUPTED && r[7].n_out == 0);
    llm_request again = request(7); /* behind one that was the last */
    llm_queue_add(q, &again);
    llm_queue_drop(q, &r[5]);
    EXPECT(r[5].finish == LLM_INTERRUPTED);
    llm_queue_drop(q, &r[5]); /* once more: nothing */
    while (llm_queue_busy(q)) llm_queue_step(q);
    EXPECT(r[0].finish == LLM_STOPPED && r[0].n_out == 4 && r[1].finish == LLM_FAILED && r[3].finish == LLM_FULL &&
           r[2].finish == LLM_FAILED && r[3].n_out == 0);
    EXPECT_STR(r[1].error.msg, "not this one");
    EXPECT_HAS(r[2].error.msg, "token 405, the model has 0 to 399");
    EXPECT(r[4].finish == LLM_LENGTH && seen && llm_queue_counts(q)->failed == 2);
    as_alone("beside errors", &r[6], 6), as_alone("behind one that left", &again, 7);
    vm_free(again.out);
    for (int i = 0; i < N; i++) vm_free(r[i].out);
    llm_request two[] = { request(1), { .ids = prompt[0], .most = 1 } };
    EXPECT(llm_batch(en, model, 2, two, 2, NULL, NULL, &e) == VM_EINPUT);
    EXPECT_HAS(e.msg, "an empty text has no next token");
    vm_free(two[0].out);
    llm_queue_free(q);
    llm_engine_free(en);
}

/* While a long prompt is read, others go on: a chunk of it a step. */
TEST(long_prompts_hold_nobody_up) {
    enum { LONG = 3 * LLM_CHUNK + 40 };
    vm_error e = { 0 };
    llm_engine *en = NULL;
    llm_queue *q = NULL;
    int64_t context = model->c.context;
    static int32_t ids[LONG];
    for (int i = 0; i < LONG; i++) ids[i] = 3 + (i * 31 + i * i) % (V - 3);
    llm_request small = request(7), large = { .ids = ids, .n = LONG, .most = 5 }, same;
    model->c.context = 2000;
    EXPECT(!llm_engine_new(&en, model, VM_F32, &(llm_engine_options){ .tokens = 6000, .deterministic = true }, &e) &&
           !llm_queue_new(&q, en, model, 4, &e));
    llm_queue_add(q, &small);
    llm_queue_step(q);
    same = large;
    llm_queue_add(q, &large), llm_queue_add(q, &same);
    for (int k = 0; k < 3; k++) llm_queue_step(q);
    EXPECT(small.n_out == 4 && large.n_out == 0 && llm_queue_counts(q)->prompt == small.n + 3 * LLM_CHUNK &&
           llm_queue_waiting(q) == 1);
    llm_queue_step(q);
    EXPECT(small.n_out == 5 && large.n_out == 1 && same.n_out == 1 && same.shared == LONG - 1);
    llm_queue_drop(q, &large);
    llm_request other = { .ids = ids + 1, .n = LONG - 1, .most = 5 };
    llm_queue_add(q, &other);
    llm_queue_step(q);
    llm_queue_drop(q, &other); /* in the middle of its prompt */
    EXPECT(other.finish == LLM_INTERRUPTED && llm_queue_busy(q) == 2);
    while (llm_queue_busy(q)) llm_queue_step(q);
    as_alone("beside a long one", &small, 7);
    EXPECT(same.n_out == 5 && large.finish == LLM_INTERRUPTED);
    vm_free(small.out), vm_free(large.out), vm_free(same.out);
    llm_queue_free(q), llm_engine_free(en);
    model->c.context = context;
}

/* A request of more tokens than the whole cache has room for ends at once, and those behind it go on. */
TEST(larger_than_the_cache) {
    vm_error e = { 0 };
    llm_engine *en = engine(64);
    llm_request r[2] = { request(7), request(0) };
    EXPECT(!llm_batch(en, model, 2, r, 2, NULL, NULL, &e));
    EXPECT(r[0].finish == LLM_FULL && r[0].n_out == 0 && r[1].finish != LLM_FULL);
    as_alone("behind a large one", &r[1], 0);
    vm_free(r[0].out), vm_free(r[1].out);
    llm_engine_free(en);
}

int main(void) {
    vm_threads(1);
    run_alone();
    RUN(whenever_they_come);
    RUN(what_has_ended_is_shared);
    RUN(ends_of_one_are_not_those_of_others);
    RUN(long_prompts_hold_nobody_up);
    RUN(larger_than_the_cache);
    llm_free(model);
    return test_end();
}
