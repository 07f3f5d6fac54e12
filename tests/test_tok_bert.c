/* test_tok_bert.c - WordPiece against the reference library (tests/golden/tokenizer/make_bert.py): ids, decoding, both
 * kinds of files, lengths, hostile texts, malformed files. */
#include "tests/tok_cases.h"

static const char cases[] = GOLDEN "bert_cases.jsonl";
TEST(ids_of_tokenizer_json) { check_cases(GOLDEN "bert", cases, "bert", "decoded"); }
TEST(ids_of_vocab_txt) { check_cases(GOLDEN "bert_txt", cases, "bert_txt", NULL); }
TEST(ids_of_a_file_by_name) { check_cases(GOLDEN "bert_txt/vocab.txt", cases, "bert_txt", NULL); }

static const char *entry(tok *t, int32_t id) {
    static char text[64];
    size_t n = 0;
    const char *s = tok_entry(t, id, &n);
    snprintf(text, sizeof text, "%.*s", (int)n, s ? s : "");
    return text;
}

TEST(special_tokens_are_known) {
    static const char *const dirs[] = { GOLDEN "bert", GOLDEN "bert_txt" };
    for (int d = 0; d < 2; d++) {
        tok *t = open_tok(dirs[d]);
        const tok_info *i = tok_get_info(t);
        EXPECT_STR(entry(t, i->bos), "[CLS]");
        EXPECT_STR(entry(t, i->eos), "[SEP]");
        EXPECT_STR(entry(t, i->pad), "[PAD]");
        EXPECT_STR(entry(t, i->unk), "[UNK]");
        EXPECT(i->context == 40);
        EXPECT_STR(entry(t, (int32_t)i->vocab_len - 1), "[ENC]");
        EXPECT(tok_find(t, "[DEC]", 5) == i->vocab_len - 2);
        tok_free(t);
    }
}

TEST(lengths_keep_both_ends) {
    tok *t = open_tok(GOLDEN "bert");
    tok_ids ids = { 0 };
    vm_error e = { 0 };
    EXPECT(!tok_encode(t, "a b c d e f", 11, 0, 5, &ids, &e) && ids.n == 5);
    EXPECT(ids.id[0] == tok_get_info(t)->bos && ids.id[4] == tok_get_info(t)->eos);
    EXPECT_STR(entry(t, ids.id[3]), "c");
    EXPECT(!tok_encode(t, "a", 1, TOK_PAD, 6, &ids, &e) && ids.n == 6 && ids.id[5] == tok_get_info(t)->pad);
    EXPECT(!tok_encode(t, "a b", 3, TOK_NO_SPECIAL, 0, &ids, &e) && ids.n == 2);
    tok_ids_free(&ids);
    tok_free(t);
}

TEST(invalid_utf8_vanishes) {
    tok *t = open_tok(GOLDEN "bert");
    tok_ids ids = { 0 };
    vm_error e = { 0 };
    EXPECT(!tok_encode(t, "w\xff""alk\xe2\x82", 7, TOK_NO_SPECIAL, 0, &ids, &e) && ids.n == 1);
    EXPECT_STR(entry(t, ids.id[0]), "walk");
    tok_ids_free(&ids);
    tok_free(t);
}

/* Words of any length cost no more than their characters: only the first hundred may be cut into pieces. */
TEST(long_texts_are_taken) {
    enum { LEN = 1 << 20 };
    char *text = vm_alloc(LEN);
    tok *t = open_tok(GOLDEN "bert");
    tok_ids ids = { 0 };
    vm_error e = { 0 };
    memset(text, 'a', LEN);
    EXPECT(!tok_encode(t, text, LEN, TOK_NO_SPECIAL, 0, &ids, &e) && ids.n == 1 && ids.id[0] == tok_get_info(t)->unk);
    memset(text, '!', LEN);
    EXPECT(!tok_encode(t, text, LEN, TOK_NO_SPECIAL, 0, &ids, &e) && ids.n == LEN);
    tok_ids_free(&ids);
    tok_free(t);
    vm_free(text);
}

#define VOCAB "{\"[UNK]\":0,\"[CLS]\":1,\"[SEP]\":2,\"a\":3,\"@b\":4}"
#define JSON(rules, model) "{" rules "\"model\":{\"type\":\"WordPiece\"," model "}}"
TEST(broken_files_are_named) {
    EXPECT_HAS(MESSAGE("vocab.txt", ""), "vocab.txt: found no entries");
    EXPECT_HAS(MESSAGE("vocab.txt", "[CLS]\n[SEP]\na\n"), "found no [UNK]");
    EXPECT_HAS(MESSAGE("vocab.txt", "[UNK]\n[SEP]\na\n"), "found no [CLS]");
    EXPECT_HAS(MESSAGE("vocab.txt", "[UNK]\n[CLS]\na\n"), "found no [SEP]");
    EXPECT_HAS(MESSAGE("vocab.txt", "[UNK]\n[CLS]\n[SEP]\n", "tokenizer_config.json", "{\"do_lower_case\":3}"), "do_lower_case");
    EXPECT_HAS(MESSAGE("vocab.txt", "[UNK]\n[CLS]\n[SEP]\n", "tokenizer_config.json", "{\"added_tokens_decoder\":{\"x\":{}}}"), "expected an id");
    EXPECT_HAS(MESSAGE("vocab.txt", "[UNK]\n[CLS]\n[SEP]\n", "tokenizer_config.json", "{\"added_tokens_decoder\":{\"1\":{\"content\":\"q\"}}}"),
               "the same id 1");
    EXPECT_HAS(MESSAGE("vocab.txt", "[UNK]\n[CLS]\n[SEP]\n", "tokenizer_config.json", "{\"added_tokens_decoder\":[]}"), "expected an object of ids");
    EXPECT_HAS(MESSAGE("vocab.txt", "[UNK]\n[CLS]\n[SEP]\n", "added_tokens.json", "{\"[DEC]\":-1}"), "added_tokens.json:1");
    EXPECT_HAS(MESSAGE("vocab.txt", "[UNK]\n[CLS]\n[SEP]\n", "added_tokens.json", "[]"), "expected an object of tokens");
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("", "\"x\":1")), "vocab");
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("", "\"vocab\":{\"a\":0}")), "found no [UNK]");
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("\"normalizer\":{\"type\":\"NFC\"},", "\"vocab\":" VOCAB)), "BertNormalizer");
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("\"pre_tokenizer\":{\"type\":\"Whitespace\"},", "\"vocab\":" VOCAB)), "BertPreTokenizer");
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("", "\"vocab\":" VOCAB ",\"max_input_chars_per_word\":0")), "max_input_chars_per_word");
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("", "\"vocab\":" VOCAB ",\"continuing_subword_prefix\":\"0123456789abcdef\"")), "at most 15 bytes");
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"[CLS]\",1],\"sep\":[\"[SEP]\",5]},", "\"vocab\":" VOCAB)),
               "a token that post_processor adds has id 5, but the vocabulary ends at 4");
    EXPECT_HAS(MESSAGE("tokenizer.json", JSON("\"padding\":{\"strategy\":\"BatchLongest\",\"pad_id\":9},", "\"vocab\":" VOCAB)), "the padding token has id 9");
}

/* Another mark of continuation, no special tokens around a text, and a shorter limit: all from the file. */
TEST(rules_come_from_the_file) {
    static const char json[] = JSON("\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},",
                                    "\"vocab\":" VOCAB ",\"continuing_subword_prefix\":\"@\",\"max_input_chars_per_word\":3");
    vm_error e = { 0 };
    tok_ids ids = { 0 };
    EXPECT(!file_write(in("tokenizer.json"), json, strlen(json), &e));
    tok *t = open_tok(folder);
    EXPECT(!tok_encode(t, "abb abbb A", 10, 0, 0, &ids, &e) && ids.n == 5);
    static const int32_t want[] = { 3, 4, 4, 0, 0 };
    for (int i = 0; i < 5 && ids.n == 5; i++) EXPECT(ids.id[i] == want[i]);
    tok_free(t);
    tok_ids_free(&ids);
    unlink(in("tokenizer.json"));
}

TEST(memory_runs_out_politely) {
    size_t before = vm_mem_used();
    static const char *const dirs[] = { GOLDEN "bert", GOLDEN "bert_txt" };
    int failed = 0;
    for (int d = 0; d < 2; d++)
        for (int k = 0; k < 120; k += 1 + k / 8) {
            vm_error e = { 0 };
            tok *t;
            tok_ids ids = { 0 };
            vm_mem_fail_after(k);
            vm_status s = tok_open(&t, dirs[d], &e);
            if (!s) s = tok_encode(t, "caf\xc3\xa9 \xe4\xb8\xad [DEC] \xce\xa3\xce\x91", 20, 0, 0, &ids, &e);
            vm_mem_fail_after(-1);
            EXPECT(s == VM_OK || (s == VM_EDEVICE && e.msg[0]));
            failed += s != VM_OK;
            tok_ids_free(&ids);
            tok_free(t);
        }
    EXPECT(failed > 20);
    EXPECT(vm_mem_used() == before);
}

int main(int argc, char **argv) {
    snprintf(folder, sizeof folder, "%s/tok_bert_XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(folder)) return 1;
    RUN(ids_of_tokenizer_json);
    RUN(ids_of_vocab_txt);
    RUN(ids_of_a_file_by_name);
    RUN(special_tokens_are_known);
    RUN(lengths_keep_both_ends);
    RUN(invalid_utf8_vanishes);
    RUN(long_texts_are_taken);
    RUN(broken_files_are_named);
    RUN(rules_come_from_the_file);
    RUN(memory_runs_out_politely);
    rmdir(folder);
    return test_end();
}
