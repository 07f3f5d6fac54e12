/* test_tok_unigram.c - ids of unigram tokenizers against transformers, tokenizers and open_clip (tests/golden/siglip/make.py):
 * spiece.model with the rules of SigLIP, tokenizer.json in two pipelines; lengths, decoding, broken files. */
#include "io/charsmap.h"
#include "io/spiece.h"
#include "io/unigram.h"
#include "tests/tok_cases.h"

#undef GOLDEN
#define GOLDEN "tests/golden/siglip/"
static const char cases[] = GOLDEN "cases.jsonl";

TEST(ids_of_spiece_model) { check_cases(GOLDEN "spiece", cases, "spiece", NULL); }
TEST(ids_of_a_file_by_name) { check_cases(GOLDEN "spiece/spiece.model", cases, "spiece", NULL); }
TEST(ids_of_tokenizer_json) { check_cases(GOLDEN "json", cases, "json", NULL); }
TEST(ids_of_words) { check_cases(GOLDEN "words", cases, "words", NULL); }
TEST(ids_of_open_clip) { check_cases(GOLDEN "open_clip", cases, "open_clip", NULL); }

static char *model_file(size_t *bytes) {
    vm_error e = {0};
    char *data = NULL;
    if (file_read(&data, bytes, GOLDEN "spiece/spiece.model", 0, &e)) MISMATCH("%s\n", e.msg);
    return data;
}

TEST(lengths_and_text) {
    vm_error e = {0};
    tok *t = open_tok(GOLDEN "spiece");
    const tok_info *info = tok_get_info(t);
    tok_ids ids = {0};
    char *text;
    EXPECT(info->vocab_len == 125 && info->eos == 1 && info->pad == 1 && info->unk == 2 && info->bos == -1 && info->context == 16);
    EXPECT(!tok_encode(t, "A red cat!", 10, TOK_PAD, 16, &ids, &e) && ids.n == 16 && ids.id[15] == 1);
    EXPECT(!tok_decode(t, ids.id, ids.n, false, &text, NULL, &e));
    EXPECT_STR(text, "a red cat");
    vm_free(text);
    EXPECT(!tok_encode(t, "the the the the", 15, 0, 3, &ids, &e) && ids.n == 3 && ids.id[2] == 1 && ids.id[1] == 5);
    EXPECT(!tok_encode(t, "the </s>", 8, 0, 0, &ids, &e) && ids.n == 2 && ids.id[1] == 1); /* not a second time */
    tok_ids_free(&ids);
    tok_free(t);
}

/* --- the model of languages -------------------------------------------------------------------------------------- */
/* All ways to write s, by trying them. */
static double best_by_trying(const unigram_piece *p, int n, const char *s, double unknown) {
    if (!*s) return 0;
    double best = -1e30;
    bool single = false;
    for (int i = 0; i < n; i++)
        if (!strncmp(s, p[i].s, p[i].bytes)) {
            double rest = p[i].score + best_by_trying(p, n, s + p[i].bytes, unknown);
            single |= p[i].bytes == 1;
            if (rest > best) best = rest;
        }
    double rest = single ? -1e30 : unknown + best_by_trying(p, n, s + 1, unknown);
    return rest > best ? rest : best;
}
TEST(the_best_of_all_ways) {
    static const unigram_piece pieces[] = { {"a", 1, 3, -3}, {"b", 1, 4, -4}, {"ab", 2, 5, -6.5}, {"ba", 2, 6, -5}, {"aba", 3, 7, -7.25},
                                            {"bab", 3, 8, -9}, {"abab", 4, 9, -12}, {"ca", 2, 10, -2} };
    unigram u = {.unk = 0};
    tok_ids ids = {0};
    for (int i = 0; i < VM_LEN(pieces); i++) EXPECT(unigram_add(&u, pieces[i].s, pieces[i].bytes, pieces[i].id, pieces[i].score));
    unigram_ready(&u, -12);
    for (int k = 0; k < 3 * 3 * 3 * 3 * 3 * 3 * 3; k++) {
        char s[8] = {0};
        double sum = 0;
        int unknowns = 0;
        for (int i = 0, x = k; i < 7; i++, x /= 3) s[i] = "abc"[x % 3];
        ids.n = 0;
        EXPECT(unigram_encode(&u, s, 7, &ids));
        size_t at = 0;
        for (int64_t i = 0; i < ids.n; i++) {
            if (!ids.id[i]) { /* a run of unknowns: up to where the next piece begins */
                do at++, sum += -22, unknowns++;
                while (s[at] && (i + 1 == ids.n || strncmp(s + at, pieces[ids.id[i + 1] - 3].s, pieces[ids.id[i + 1] - 3].bytes)));
                continue;
            }
            EXPECT(!strncmp(s + at, pieces[ids.id[i] - 3].s, pieces[ids.id[i] - 3].bytes));
            at += pieces[ids.id[i] - 3].bytes, sum += pieces[ids.id[i] - 3].score;
        }
        EXPECT(at == 7);
        EXPECT_NEAR(sum, best_by_trying(pieces, VM_LEN(pieces), s, -22), 1e-9);
    }
    tok_ids_free(&ids);
    unigram_free(&u);
}

/* Of equal sums the piece that begins first stays; sums are those of the precision that the file's library has. */
TEST(equal_sums) {
    static const struct { double a, b, ab; bool f32, whole; } x[] = {
        {-1, -1, -2, false, true}, {-1, -1, -2, true, true}, {-1, -1, -2.5, true, false}, {-16777216, -3, -16777220, false, false},
        {-16777216, -3, -16777220, true, true}, /* f32 has no -16777219 */
    };
    for (int k = 0; k < VM_LEN(x); k++) {
        unigram u = {.unk = 0, .f32 = x[k].f32};
        tok_ids ids = {0};
        EXPECT(unigram_add(&u, "a", 1, 1, x[k].a) && unigram_add(&u, "b", 1, 2, x[k].b) && unigram_add(&u, "ab", 2, 3, x[k].ab));
        unigram_ready(&u, -20000000);
        EXPECT(unigram_encode(&u, "ab", 2, &ids) && ids.n == (x[k].whole ? 1 : 2));
        tok_ids_free(&ids);
        unigram_free(&u);
    }
}

/* --- broken files ------------------------------------------------------------------------------------------------ */
TEST(cut_off_anywhere) {
    size_t n = 0;
    char *data = model_file(&n);
    for (size_t k = 0; k < n; k++) {
        vm_error e = {0};
        spiece_file f;
        char *copy = vm_strndup(data, k); /* its end is the end of its memory */
        EXPECT(spiece_read(&f, copy, k, "x.model", &e) == VM_EINPUT && !strncmp(e.msg, "x.model: ", 9));
        spiece_free(&f);
        vm_free(copy);
    }
    vm_free(data);
}
TEST(any_byte_changed) { /* refused with a sentence, or a tokenizer that works */
    size_t n = 0;
    char *data = model_file(&n);
    vm_error e = {0};
    for (size_t k = 0; k < n; k += 7) {
        tok *t = NULL;
        tok_ids ids = {0};
        vm_error_clear(&e);
        char was = data[k];
        data[k] = (char)(was ^ (k % 3 ? 0x80 : 0x07));
        FILE *f = fopen(in("spiece.model"), "wb");
        EXPECT(f && fwrite(data, 1, n, f) == n && !fclose(f));
        data[k] = was;
        if (tok_open(&t, folder, &e)) {
            if (e.status != VM_EINPUT || strncmp(e.msg, folder, strlen(folder))) MISMATCH("byte %zu: %s\n", k, e.msg);
        }
        else EXPECT(!tok_encode(t, "The \xef\xac\x81ne dog's toy 12", 19, 0, 0, &ids, &e) && ids.n > 0);
        tok_ids_free(&ids);
        tok_free(t);
    }
    unlink(in("spiece.model"));
    vm_free(data);
}

static const char *model_message(size_t n, const char *bytes) {
    static vm_error e;
    spiece_file f;
    vm_error_clear(&e);
    char *copy = vm_strndup(bytes, n);
    EXPECT(spiece_read(&f, copy, n, "m", &e) == VM_EINPUT);
    spiece_free(&f);
    vm_free(copy);
    return e.msg;
}
TEST(messages_of_models) {
    EXPECT_STR(model_message(0, ""), "m: found no pieces, expected a SentencePiece model");
    EXPECT_STR(model_message(2, "\x0a\x7f"), "m: byte 2: the file is cut off, or a field states a wrong length, expected a SentencePiece model; fetch the file again");
    EXPECT_HAS(model_message(2, "\x0a\xff"), "byte 2: the file is cut off within a number");
    EXPECT_HAS(model_message(2, "\x02\x00"), "a field of number 0");
    EXPECT_HAS(model_message(1, "\x0b"), "a field of a kind that is not used");
    EXPECT_HAS(model_message(11, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "a number of more than 10 bytes");
    EXPECT_HAS(model_message(4, "\x0a\x02\x0a\x00"), "a piece without text");
    EXPECT_HAS(model_message(10, "\x0a\x08\x0a\x01x\x15\x00\x00\x80\x7f"), "a piece whose score is not a number");
    EXPECT_HAS(model_message(5, "\x0a\x03\x0a\x01x"), "found no rules behind 1 pieces, the file is cut off");
}

static const char *folder_message(size_t n, const char *bytes) {
    static vm_error e;
    tok *t = NULL;
    vm_error_clear(&e);
    EXPECT(!file_write(in("spiece.model"), bytes, n, &e));
    EXPECT(tok_open(&t, folder, &e) == VM_EINPUT && !t);
    unlink(in("spiece.model"));
    return e.msg;
}
/* pieces "</s>" (control), "x"; then rules */
#define END "\x0a\x08\x0a\x04</s>\x18\x03"
#define UNK "\x0a\x09\x0a\x05<unk>\x18\x02"
#define X "\x0a\x08\x0a\x01x\x15\x00\x00\x80\xbf"
#define RULES "\x12\x00\x1a\x00"
#define MODEL(text) folder_message(sizeof(text) - 1, text)
TEST(messages_of_folders) {
    EXPECT_HAS(MODEL(END X RULES), "spiece.model: none of the 2 pieces is the unknown one");
    EXPECT_HAS(MODEL(UNK X RULES), "found no end token </s> among the pieces");
    EXPECT_HAS(MODEL(UNK END X X RULES), "spiece.model: piece 3, \"x\", stands twice");
    EXPECT_HAS(MODEL(UNK END X "\x12\x02\x18\x02\x1a\x00"), "spiece.model: no unigram model, expected the unigram model of a SigLIP");
    EXPECT_HAS(MODEL(UNK END X "\x12\x03\xc0\x01\x01\x1a\x00"), "blanks stand behind words");
    EXPECT_HAS(MODEL(UNK END "\x0a\x05\x0a\x01x\x18\x04" RULES), "piece 2 is user-defined");
    EXPECT_HAS(MODEL(UNK END X "\x12\x00\x1a\x04\x12\x02zz"), "spiece.model: precompiled_charsmap of 2 bytes");
    EXPECT_HAS(MODEL(UNK END X "\x12\x00\x1a\x08\x12\x06\xff\xff\x00\x00zz"), "precompiled_charsmap states a trie of 65535 bytes");
    EXPECT_HAS(MODEL(UNK END X "\x12\x00\x1a\x08\x12\x06\x00\x00\x00\x00zz"), "the last replacement of precompiled_charsmap has no end");
    vm_error e = {0};
    EXPECT(!file_write(in("tokenizer_config.json"), "{\"tokenizer_class\":\"T5Tokenizer\"}", 33, &e));
    EXPECT_HAS(MODEL(UNK END X RULES), "T5Tokenizer is read from tokenizer.json, which is missing; spiece.model alone is read for SiglipTokenizer");
    unlink(in("tokenizer_config.json"));
}

#define JSON(normalizer, pre, vocab) \
    "{\"normalizer\":" normalizer ",\"pre_tokenizer\":" pre ",\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":" vocab "}}"
#define VOCAB "[[\"<unk>\",0],[\"a\",-1.5]]"
TEST(broken_json_is_named) {
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("null", "null", "{}")), "vocab");
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("null", "null", "[]")), "found 0 entries, expected more than the unk_id 0");
    EXPECT_HAS(MESSAGE("tokenizer.json", "{\"model\":{\"type\":\"Unigram\",\"vocab\":" VOCAB "}}"), "unk_id");
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("null", "null", "[[\"a\",-1],[\"b\"]]")), "entry 1: expected [\"piece\", score]");
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("null", "null", "[[\"a\",1e999]]")), "entry 0: expected [\"piece\", score]");
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("{\"type\":\"NFKD\"}", "null", VOCAB)), "normalizer NFKD is none of Precompiled");
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(a\"},\"content\":\"\"}", "null", VOCAB)),
               "pattern \"(a\", character 2: missing closing parenthesis");
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"[a\"},\"content\":\"\"}", "null", VOCAB)),
               "pattern \"[a\", character 2: missing terminating ]");
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AA*A\"}", "null", VOCAB)), "character 2 is no Base64");
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////w==\"}", "null", VOCAB)),
               "precompiled_charsmap states a trie of 4294967295 bytes");
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("null", "{\"type\":\"ByteLevel\"}", VOCAB)), "pre_tokenizer ByteLevel is none of WhitespaceSplit, Metaspace");
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("null", "{\"type\":\"Metaspace\",\"prepend_scheme\":\"first\"}", VOCAB)), "expected always or never");
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("null", "{\"type\":\"Metaspace\",\"replacement\":\"_\"}", VOCAB)), "expected U+2581");
}

TEST(memory_runs_out_politely) {
    vm_error e = {0};
    static const char *const dirs[] = {GOLDEN "spiece", GOLDEN "json"};
    for (int d = 0; d < 2; d++) {
        bool done = false;
        for (int64_t k = 0; k < 4000 && !done; k++) {
            tok *t = NULL;
            tok_ids ids = {0};
            vm_error_clear(&e);
            vm_mem_fail_after(k);
            if (!tok_open(&t, dirs[d], &e)) tok_encode(t, "The caf\xc3\xa9 \xef\xac\x81", 13, 0, 0, &ids, &e);
            vm_mem_fail_after(-1);
            done = !e.status;
            EXPECT(done || e.status == VM_EDEVICE);
            tok_ids_free(&ids);
            tok_free(t);
        }
        EXPECT(done && !vm_mem_used());
    }
}

int main(int argc, char **argv) {
    snprintf(folder, sizeof folder, "%s/unigram.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(folder)) return 1;
    RUN(ids_of_spiece_model);
    RUN(ids_of_a_file_by_name);
    RUN(ids_of_tokenizer_json);
    RUN(ids_of_words);
    RUN(ids_of_open_clip);
    RUN(lengths_and_text);
    RUN(the_best_of_all_ways);
    RUN(equal_sums);
    RUN(cut_off_anywhere);
    RUN(any_byte_changed);
    RUN(messages_of_models);
    RUN(messages_of_folders);
    RUN(broken_json_is_named);
    RUN(memory_runs_out_politely);
    rmdir(folder);
    return test_end();
}
