/* test_lm_data.c - texts for the training of a language model: what of a line is learnt, in every layout; bad lines;
 * batches. */
#include <unistd.h>

#include "io/file.h"
#include "pipeline/lm_feed.h"
#include "tests/test.h"

static char tmp[] = "/tmp/test_lm_dataXXXXXX", path[600];
static vm_error err;
static tok *t;

static void put_lines(const char *lines) {
    snprintf(path, sizeof path, "%s/x.jsonl", tmp);
    vm_error_clear(&err);
    if (file_write(path, lines, strlen(lines), &err)) MISMATCH("%s\n", err.msg);
}

static vm_status read_lines(lm_data *d, const char *lines, const lm_options *o) {
    *d = (lm_data){ 0 };
    put_lines(lines);
    return lm_data_read(d, (const char *const[]){ path }, 1, t, o, &err);
}

/* The text of the tokens with the mark, of text i. */
static char *part(const lm_data *d, int64_t i, bool learnt) {
    int32_t ids[400];
    int64_t n = 0;
    char *text = NULL;
    for (int64_t k = d->text[i].at; k < d->text[i].at + d->text[i].n && n < 400; k++)
        if (d->learnt[k] == learnt) ids[n++] = d->id[k];
    if (tok_decode(t, ids, n, true, &text, NULL, &err)) MISMATCH("%s\n", err.msg);
    return text;
}

TEST(what_is_learnt) {
    lm_data d;
    const lm_options o = { .end = 2, .longest = 400 };
    EXPECT(!read_lines(&d, "{\"prompt\":\"a red\",\"completion\":\" ball\"}\n{\"text\":\"a cup\"}\n", &o));
    EXPECT(d.n == 2 && !d.bad && !d.cut && d.n_ids == d.text[0].n + d.text[1].n && strlen(d.digest) == 64);
    EXPECT(d.id[d.text[0].at + d.text[0].n - 1] == 2 && d.learnt[d.text[0].at + d.text[0].n - 1]); /* the end token */
    char *end = part(&d, 0, true);
    EXPECT(!strncmp(end, " ball", 5) || !strncmp(end, "ball", 4)); /* some decoders drop the blank at the start */
    vm_free(end);
    end = part(&d, 0, false);
    EXPECT_HAS(end, "a red");
    EXPECT(!strstr(end, "ball"));
    vm_free(end);
    end = part(&d, 1, false);
    EXPECT(!strstr(end, "cup")); /* nothing of a plain text is only given, but for a start token */
    vm_free(end);
    lm_data_free(&d);
    EXPECT(!read_lines(&d, "{\"prompt\":\"a red\",\"completion\":\" ball\"}\n",
                       &(lm_options){ .end = -1, .longest = 400 }));
    EXPECT(d.id[d.n_ids - 1] != 2); /* no end token is known */
    lm_data_free(&d);
}

/* " re" and "d" are one token together: the prompt stays as a model will get it. */
TEST(prompts_stay_whole) {
    lm_data d;
    tok_ids prompt = { 0 };
    EXPECT(
        !read_lines(&d, "{\"prompt\":\"the re\",\"completion\":\"d\"}\n", &(lm_options){ .end = -1, .longest = 400 }));
    EXPECT(!tok_encode(t, "the re", 6, 0, 0, &prompt, &err) && prompt.n < d.n_ids &&
           !memcmp(prompt.id, d.id, (size_t)prompt.n * sizeof *prompt.id));
    for (int64_t i = 0; i < d.n_ids; i++) EXPECT(d.learnt[i] == (i >= prompt.n));
    char *learnt = part(&d, 0, true);
    EXPECT_STR(learnt, "d");
    vm_free(learnt);
    tok_ids_free(&prompt);
    lm_data_free(&d);
}

TEST(conversations) {
    lm_data d;
    lm_options o = { .end = 2, .longest = 400, .chat = chat_by_name("chatml", &err) };
    const char *talk = "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"a?\"},{"
                       "\"role\":\"assistant\",\"content\":\"b!\"},"
                       "{\"role\":\"user\",\"content\":\"c?\"},{\"role\":\"assistant\",\"content\":\"d!\"},{\"role\":"
                       "\"user\",\"content\":\"e?\"}]}\n";
    EXPECT(!read_lines(&d, talk, &o) && d.n == 1);
    if (d.n) { /* the last question has no answer, and is left out */
        char *given = part(&d, 0, false), *learnt = part(&d, 0, true);
        EXPECT_HAS(given, "<|im_start|>user\na?<|im_end|>\n<|im_start|>assistant\n<|im_start|>user\nc?<|im_end|>\n<|im_"
                          "start|>assistant\n");
        EXPECT_STR(learnt, "b!<|im_end|>\nd!<|im_end|>\n");
        EXPECT(!strstr(given, "e?"));
        vm_free(given), vm_free(learnt);
    }
    lm_data_free(&d);
    o.chat = chat_by_name("raw", &err);
    EXPECT(!read_lines(
        &d, "{\"messages\":[{\"role\":\"user\",\"content\":\"a?\"},{\"role\":\"assistant\",\"content\":\"b!\"}]}\n",
        &o));
    EXPECT(d.id[d.n_ids - 1] == 2 && d.learnt[d.n_ids - 1]); /* no mark of its own: the end token */
    lm_data_free(&d);
}

TEST(bad_lines) {
    lm_data d;
    const lm_options o = { .end = 2, .longest = 6 };
    EXPECT(!read_lines(&d,
                       "{\"prompt\":\"a\",\"completion\":\"b\"}\n{\"prompt\":1}\n{\n{\"prompt\":\"a\"}\n{\"text\":\"a "
                       "long text of many words and more\"}\n"
                       "{\"prompt\":\"many words before the answer that is too late\",\"completion\":\"x\"}\n"
                       "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}\n\n",
                       &o));
    EXPECT(d.n == 2 && d.bad == 4 && d.cut == 2 && d.empty == 1 && d.text[1].n == 6);
    EXPECT_HAS(d.first_bad, "x.jsonl:2");
    EXPECT(d.text[1].at + d.text[1].n == d.n_ids);
    lm_data_free(&d);
    EXPECT(read_lines(&d, "[]\n", &o) == VM_EINPUT);
    EXPECT_HAS(err.msg, "none of 1 lines can be used; the first:");
    lm_data_free(&d);
    EXPECT(read_lines(&d, "\n", &o) == VM_EINPUT);
    EXPECT_HAS(err.msg, "no text to learn from; expected JSON lines with prompt and completion, messages, or text");
    lm_data_free(&d);
    EXPECT(vm_mem_used() > 0); /* the tokenizer alone */
}

/* 40 texts of 1 to 40 learnt letters, half of them behind a prompt. */
static void many(lm_data *d) {
    static char lines[40000];
    char *p = lines;
    for (int i = 0; i < 40; i++) {
        p += sprintf(p, i & 1 ? "{\"prompt\":\"~ ~\",\"completion\":\"" : "{\"text\":\"");
        for (int k = 0; k <= (i * 17) % 40; k++) p += sprintf(p, "~ ");
        p += sprintf(p, "\"}\n");
    }
    EXPECT(!read_lines(d, lines, &(lm_options){ .end = 2, .longest = 400 }) && d->n == 40);
}

TEST(batches) {
    lm_data d;
    many(&d);
    lm_feed f = { .d = &d, .texts = 8, .pieces = 4, .seed = 3 };
    int seen[40] = { 0 };
    int64_t order[2][8];
    EXPECT(!lm_feed_new(&f, &err));
    for (int step = 0; step < 5; step++) { /* an epoch: each text once */
        EXPECT(!lm_feed_batch(&f, step, &err));
        int64_t last = INT64_MAX;
        for (int i = 0; i < 8; i++) seen[f.chosen[i]]++;
        for (int k = 0; k < 4; k++) {
            const llm_piece *p = &f.piece[k];
            EXPECT(p->B == 2 && p->T % 16 == 0 && p->T <= last);
            last = p->T;
            for (int64_t i = 0; i < 2; i++) {
                const lm_text *x = &d.text[f.chosen[2 * k + i]];
                EXPECT(x->n <= p->T && (i || p->T - x->n < 16)); /* as long as the longest of the piece */
                for (int64_t at = 0; at < p->T; at++) {
                    if (at < x->n) EXPECT(p->ids[i * p->T + at] == d.id[x->at + at]);
                    bool counts = at + 1 < x->n && d.learnt[x->at + at + 1];
                    EXPECT(p->targets[i * p->T + at] == (counts ? d.id[x->at + at + 1] : -100));
                }
            }
        }
    }
    for (int i = 0; i < 40; i++) EXPECT(seen[i] == 1);
    for (int k = 0; k < 2; k++) { /* the next epoch has another order; the same step is the same batch */
        EXPECT(!lm_feed_batch(&f, k ? 5 : 0, &err));
        memcpy(order[k], f.chosen, sizeof order[k]);
    }
    EXPECT(memcmp(order[0], order[1], sizeof order[0]));
    EXPECT(!lm_feed_batch(&f, 0, &err) && !memcmp(order[0], f.chosen, sizeof order[0]));
    f.in_order = true;
    EXPECT(!lm_feed_batch(&f, 6, &err)); /* texts 8 ... 15, longest first */
    int64_t sum = 0;
    for (int i = 0; i < 8; i++) sum += f.chosen[i];
    EXPECT(sum == 8 * 8 + 28);
    lm_feed_free(&f);
    f = (lm_feed){ .d = &d, .texts = 8, .pieces = 1 };
    EXPECT(!lm_feed_new(&f, &err) && !lm_feed_rows(&f, 36, &err) && f.chosen[3] >= 36 && f.chosen[4] == -1);
    for (int64_t i = 4 * f.piece[0].T; i < 8 * f.piece[0].T; i++) EXPECT(f.piece[0].targets[i] == -100);
    lm_feed_free(&f);
    lm_data_free(&d);
}

/* The same texts in few rows: each stands whole in one of them, knows where it begins, and next to nothing is empty. */
TEST(packing) {
    lm_data d;
    many(&d);
    lm_feed f = { .d = &d, .texts = 10, .pieces = 2, .seed = 3, .packs = true }, apart = f;
    int64_t B, T, most = 0;
    apart.packs = false;
    EXPECT(!lm_feed_new(&f, &err) && !lm_feed_new(&apart, &err));
    EXPECT(f.width == 1); /* five texts of some 25 tokens */
    double fill = lm_feed_fill(&f, 1000, &B, &T), before = lm_feed_fill(&apart, 1000, &(int64_t){ 0 }, &(int64_t){ 0 });
    EXPECT(B == 1 && fill > 0.9 && fill > before);
    for (int step = 0; step < 4; step++) {
        int64_t tokens = 0, held = 0;
        EXPECT(!lm_feed_batch(&apart, step, &err) && !lm_feed_batch(&f, step, &err));
        EXPECT(!memcmp(f.chosen, apart.chosen, 10 * sizeof *f.chosen) && f.tokens == apart.tokens);
        for (int i = 0; i < 10; i++) {
            const lm_text *x = &d.text[f.chosen[i]];
            const llm_piece *p = &f.piece[f.row[i]];
            tokens += x->n;
            for (int64_t j = 0, at = f.at[i]; j < x->n; j++, at++) {
                EXPECT(at < p->T && p->ids[at] == d.id[x->at + j] && p->first[at] == f.at[i]);
                EXPECT(p->targets[at] == (j + 1 < x->n && d.learnt[x->at + j + 1] ? d.id[x->at + j + 1] : -100));
            }
        }
        for (int k = 0; k < 2; k++)
            for (int64_t at = 0; at < f.piece[k].T; at++) {
                bool holds = at < f.filled[k]; /* what is empty is a text of its own */
                held += holds;
                if (!holds) EXPECT(f.piece[k].first[at] == at && f.piece[k].targets[at] == -100);
            }
        EXPECT(tokens == held && tokens == f.tokens);
        EXPECT(f.filled[0] - f.filled[1] < 40 && f.filled[1] - f.filled[0] < 40); /* rows of like length */
        most = VM_MAX(most, VM_MAX(f.piece[0].T, f.piece[1].T));
    }
    EXPECT(T == most);
    EXPECT(!lm_feed_rows(&f, 36, &err) && f.tokens == d.text[36].n + d.text[37].n + d.text[38].n + d.text[39].n);
    lm_feed_free(&f);
    f = (lm_feed){ .d = &d, .texts = 400, .pieces = 1, .packs = true };
    EXPECT(!lm_feed_new(&f, &err) && f.width == 400 / 40 * d.n_ids / 1024); /* many texts: several rows */
    EXPECT(!lm_feed_batch(&f, 1, &err) && f.piece[0].B == f.width && f.tokens == 10 * d.n_ids);
    lm_feed_free(&f), lm_feed_free(&apart);
    lm_data_free(&d);
}

/* Long texts have few sizes, and no less than they need. */
TEST(sizes) {
    lm_data d = { 0 };
    static int32_t id[3000];
    static uint8_t learnt[3000];
    lm_text text = { 0, 0 };
    int sizes = 0;
    int64_t last = 0;
    d.text = &text, d.n = 1, d.id = id, d.learnt = learnt;
    lm_feed f = { .d = &d, .texts = 1, .pieces = 1, .in_order = true };
    EXPECT(!lm_feed_new(&f, &err));
    for (text.n = 2; text.n <= 2048; text.n++) {
        EXPECT(!lm_feed_batch(&f, 0, &err));
        int64_t T = f.piece[0].T;
        EXPECT(T >= text.n && T >= last && (T - text.n < 16 || 4 * (T - text.n) < T));
        sizes += T != last, last = T;
    }
    EXPECT(sizes == 24);
    lm_feed_free(&f);
}

int main(void) {
    if (!mkdtemp(tmp) || tok_open(&t, "tests/golden/tokenizer/bytes_qwen2", &err))
        return fprintf(stderr, "%s\n", err.msg), 1;
    RUN(what_is_learnt);
    RUN(prompts_stay_whole);
    RUN(conversations);
    RUN(bad_lines);
    RUN(batches);
    RUN(packing);
    RUN(sizes);
    tok_free(t);
    EXPECT(vm_mem_used() == 0);
    dir_remove(tmp, &err);
    return test_end();
}
