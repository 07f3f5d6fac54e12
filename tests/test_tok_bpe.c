/* test_tok_bpe.c - the byte-pair tokenizers of language models against the tokenizers and sentencepiece libraries
 * (tests/golden/tokenizer/make_bpe.py); streams of ids, broken files, hostile texts. */
#include "tests/tok_cases.h"

static const char cases[] = GOLDEN "bpe_cases.jsonl";

TEST(byte_level) {
    check_cases(GOLDEN "bytes_llama3", cases, "bytes_llama3", "bytes_llama3_text");
    check_cases(GOLDEN "bytes_qwen2", cases, "bytes_qwen2", "bytes_qwen2_text");
    check_cases(GOLDEN "bytes_gpt2", cases, "bytes_gpt2", "bytes_gpt2_text");
}
TEST(pieces) {
    check_cases(GOLDEN "pieces_prepend", cases, "pieces_prepend", "pieces_prepend_text");
    check_cases(GOLDEN "pieces_first", cases, "pieces_first", "pieces_first_text");
    check_cases(GOLDEN "pieces_always", cases, "pieces_always", "pieces_always_text");
    check_cases(GOLDEN "pieces_split", cases, "pieces_split", "pieces_split_text");
}
TEST(model_file) { check_cases(GOLDEN "pieces_model", cases, "pieces_model", NULL); }

/* Text comes out as soon as its characters are whole, and never half a character. */
TEST(streams) {
    static const char text[] = "a caf\xc3\xa9 \xf0\x9f\x98\x80 \xe4\xbd\xa0\xe5\xa5\xbd";
    static const char *const dirs[] = { GOLDEN "bytes_llama3", GOLDEN "pieces_prepend" };
    for (int k = 0; k < 2; k++) {
        tok *t = open_tok(dirs[k]);
        tok_ids ids = { 0 };
        tok_stream st = { 0 };
        vm_error e = { 0 };
        char all[200] = "";
        int empty = 0;
        EXPECT(!tok_encode(t, text, strlen(text), 0, 0, &ids, &e));
        for (int64_t i = 0; i <= ids.n; i++) {
            const char *part;
            size_t n;
            EXPECT(!tok_decode_next(t, &st, i < ids.n ? ids.id[i] : -1, false, &part, &n, &e) && !strstr(part, "\xef\xbf\xbd"));
            empty += !n;
            strncat(all, part, n);
        }
        EXPECT_STR(all, text);
        EXPECT(empty > 3); /* of four bytes of a character three bring nothing yet */
        tok_ids_free(&ids);
        tok_free(t);
    }
}
TEST(invalid_utf8_counts_as_replacement_characters) {
    static const char *const dirs[] = { GOLDEN "bytes_llama3", GOLDEN "bytes_qwen2", GOLDEN "pieces_prepend", GOLDEN "pieces_split", GOLDEN "pieces_model" };
    for (int k = 0; k < VM_LEN(dirs); k++) {
        tok *t = open_tok(dirs[k]);
        tok_ids a = { 0 }, b = { 0 };
        vm_error e = { 0 };
        EXPECT(!tok_encode(t, "a\xff b\xc3", 5, 0, 0, &a, &e) && !tok_encode(t, "a\xef\xbf\xbd b\xef\xbf\xbd", 9, 0, 0, &b, &e));
        EXPECT(a.n == b.n && !memcmp(a.id, b.id, (size_t)a.n * sizeof *a.id));
        tok_ids_free(&a), tok_ids_free(&b);
        tok_free(t);
    }
}
TEST(long_texts_take_linear_time) {
    static const char *const dirs[] = { GOLDEN "bytes_llama3", GOLDEN "pieces_prepend", GOLDEN "pieces_split" }, *const unit[] = { "a", " ", "ab ", "\xcc\x81", "'", "\n ", "9" };
    enum { BYTES = 60000 };
    char *text = vm_alloc(BYTES);
    for (int k = 0; k < VM_LEN(dirs); k++) {
        tok *t = open_tok(dirs[k]);
        for (int u = 0; u < VM_LEN(unit); u++) {
            tok_ids ids = { 0 };
            vm_error e = { 0 };
            size_t len = strlen(unit[u]);
            for (size_t i = 0; i + len <= BYTES; i += len) memcpy(text + i, unit[u], len);
            EXPECT(!tok_encode(t, text, BYTES / len * len, 0, 0, &ids, &e) && ids.n > 100);
            tok_ids_free(&ids);
        }
        tok_free(t);
    }
    vm_free(text);
}

#define MODEL(more, pre) "{\"pre_tokenizer\":" pre ",\"model\":{\"type\":\"BPE\"," more "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}"
TEST(broken_files_are_named) {
    EXPECT_HAS(MESSAGE("tokenizer.json", MODEL("\"end_of_word_suffix\":\"@\",", "null")), "end_of_word_suffix \"@\" is not supported");
    EXPECT_HAS(MESSAGE("tokenizer.json", MODEL("\"continuing_subword_prefix\":\"@\",", "null")), "continuing_subword_prefix \"@\" is not supported");
    EXPECT_HAS(MESSAGE("tokenizer.json", MODEL("", "{\"type\":\"Punctuation\"}")), "pre_tokenizer Punctuation is none of Split, Metaspace, Digits, ByteLevel");
    EXPECT_HAS(MESSAGE("tokenizer.json", MODEL("", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(x\"},\"behavior\":\"Isolated\"}")), "missing closing parenthesis");
    EXPECT_HAS(MESSAGE("tokenizer.json", MODEL("", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x\"},\"behavior\":\"Contiguous\"}")), "behavior \"Contiguous\" is not supported");
    EXPECT_HAS(MESSAGE("tokenizer.json", MODEL("", "{\"type\":\"Metaspace\",\"prepend_scheme\":\"last\"}")), "prepend_scheme \"last\", expected first, always or never");
    EXPECT_HAS(MESSAGE("tokenizer.json", MODEL("", "{\"type\":\"ByteLevel\"}")), "no entry for byte 0, expected one for each byte or an unk_token");
    EXPECT_HAS(MESSAGE("tokenizer.json", "{\"decoder\":{\"type\":\"CTC\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}"), "decoder CTC is none of");
    EXPECT_HAS(MESSAGE("tokenizer.model", "nonsense"), "tokenizer.model");
}
/* Without an unknown token, in a list of ids that holds nothing yet. */
TEST(parts_that_nothing_stands_for_are_dropped) {
    static const char json[] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}";
    vm_error e = {0};
    tok_ids ids = {0};
    EXPECT(!file_write(in("tokenizer.json"), json, strlen(json), &e));
    tok *t = open_tok(folder);
    EXPECT(t && !tok_encode(t, "bc", 2, 0, 0, &ids, &e) && ids.n == 0);
    EXPECT(t && !tok_encode(t, "bab", 3, 0, 0, &ids, &e) && ids.n == 1 && ids.id[0] == 0);
    tok_free(t);
    tok_ids_free(&ids);
    unlink(in("tokenizer.json"));
}

TEST(memory_runs_out_politely) {
    static const char *const dirs[] = { GOLDEN "bytes_llama3", GOLDEN "pieces_split", GOLDEN "pieces_model" };
    vm_error e = { 0 };
    for (int d = 0; d < VM_LEN(dirs); d++) {
        bool done = false;
        for (int64_t k = 0; k < 4000 && !done; k++) {
            tok *t = NULL;
            tok_ids ids = { 0 };
            vm_error_clear(&e);
            vm_mem_fail_after(k);
            if (!tok_open(&t, dirs[d], &e)) tok_encode(t, "The caf\xc3\xa9 12 \xef\xac\x81", 16, 0, 0, &ids, &e);
            vm_mem_fail_after(-1);
            done = !e.status;
            if (!done && e.status != VM_EDEVICE) MISMATCH("%s\n", e.msg);
            tok_ids_free(&ids);
            tok_free(t);
        }
        EXPECT(done && !vm_mem_used());
    }
}

/* Inside of a plain span a special token is text; the same outside is one, and both decode to what was written. */
TEST(special_tokens_in_what_people_say) {
    vm_error e = { 0 };
    tok *t = NULL;
    tok_ids ids = { 0 };
    const char *text = "<|eot_id|>say <|eot_id|> here<|eot_id|>";
    char *back = NULL;
    EXPECT(!tok_open(&t, "tests/golden/tokenizer/bytes_llama3", &e));
    int32_t eot = tok_find(t, "<|eot_id|>", 10);
    for (int plain = 0; plain < 2; plain++) {
        int64_t n = 0;
        EXPECT(!tok_encode_plain(t, text, strlen(text), TOK_NO_SPECIAL, 0, &(tok_span){ 10, 29 }, plain, &ids, &e));
        for (int64_t i = 0; i < ids.n; i++) n += ids.id[i] == eot;
        EXPECT(n == (plain ? 2 : 3) && ids.id[0] == eot && ids.id[ids.n - 1] == eot);
    }
    EXPECT(!tok_decode(t, ids.id, ids.n, true, &back, NULL, &e));
    EXPECT_STR(back, text);
    vm_free(back), tok_ids_free(&ids), tok_free(t);
}

int main(int argc, char **argv) {
    snprintf(folder, sizeof folder, "%s/bpe.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(folder)) return 1;
    RUN(byte_level);
    RUN(pieces);
    RUN(model_file);
    RUN(streams);
    RUN(invalid_utf8_counts_as_replacement_characters);
    RUN(long_texts_take_linear_time);
    RUN(parts_that_nothing_stands_for_are_dropped);
    RUN(broken_files_are_named);
    RUN(special_tokens_in_what_people_say);
    RUN(memory_runs_out_politely);
    rmdir(folder);
    return test_end();
}
