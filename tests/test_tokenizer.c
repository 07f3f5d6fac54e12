/* test_tokenizer.c - ids of both CLIP flavours against the reference libraries (tests/golden/tokenizer/make.py),
 * lengths, decoding, word vocabularies, malformed files, hostile texts. */
#include "tests/tok_cases.h"

static const char cases[] = GOLDEN "cases.jsonl";

TEST(ids_of_tokenizer_json) { check_cases(GOLDEN "hf", cases, "hf", "decoded"); }
TEST(ids_of_vocab_and_merges) { check_cases(GOLDEN "pair", cases, "hf", NULL); }
TEST(ids_of_a_file_by_name) { check_cases(GOLDEN "pair/merges.txt", cases, "hf", NULL); }
TEST(ids_with_stated_lengths) { check_cases(GOLDEN "cut", cases, "cut", NULL); }
TEST(ids_of_open_clip) { check_cases(GOLDEN "open_clip", cases, "open_clip", NULL); }

/* encodes and returns the ids as text "1 2 3" */
static const char *ids_text(tok *t, const char *text, int flags, int64_t max_len) {
    static char out[2000];
    tok_ids ids = {0};
    vm_error e = {0};
    int n = 0;
    EXPECT(!tok_encode(t, text, strlen(text), flags, max_len, &ids, &e));
    out[0] = 0;
    for (int64_t i = 0; i < ids.n && n < 1900; i++)
        n += snprintf(out + n, sizeof out - (size_t)n, i ? " %d" : "%d", ids.id[i]);
    tok_ids_free(&ids);
    return out;
}

TEST(lengths_keep_the_end_token) {
    tok *t = open_tok(GOLDEN "hf");
    const tok_info *info = tok_get_info(t);
    EXPECT(info->vocab_len == 743 && info->bos == 741 && info->eos == 742 && info->pad == 742 && info->unk == 742);
    EXPECT(info->context == 77);
    EXPECT_STR(ids_text(t, "! ! ! !", 0, 0), "741 256 256 256 256 742");
    EXPECT_STR(ids_text(t, "! ! ! !", 0, 5), "741 256 256 256 742");
    EXPECT_STR(ids_text(t, "! ! ! !", 0, 2), "741 742");
    EXPECT_STR(ids_text(t, "! ! ! !", 0, 1), "742");
    EXPECT_STR(ids_text(t, "!", TOK_PAD, 5), "741 256 742 742 742");
    EXPECT_STR(ids_text(t, "!", TOK_NO_SPECIAL, 0), "256");
    EXPECT_STR(ids_text(t, "! !", TOK_NO_SPECIAL, 1), "256");
    EXPECT_STR(ids_text(t, "", 0, 0), "741 742");
    tok_free(t);
    t = open_tok(GOLDEN "open_clip");
    EXPECT(tok_get_info(t)->context == 32 && tok_get_info(t)->pad == 0);
    EXPECT_STR(ids_text(t, "!", TOK_PAD, 5), "741 256 742 0 0");
    tok_free(t);
}

TEST(invalid_utf8_counts_as_replacement_characters) {
    static const char *const bad[][2] = {
        {"\xff", "\xef\xbf\xbd"},         {"a\xc3", "a\xef\xbf\xbd"},
        {"\xe2\x82z", "\xef\xbf\xbdz"},   {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf0\x9f\x98", "\xef\xbf\xbd"}, {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"}};
    static const char *const dirs[] = {GOLDEN "hf", GOLDEN "open_clip"};
    for (int d = 0; d < 2; d++) {
        tok *t = open_tok(dirs[d]);
        for (int i = 0; i < VM_LEN(bad); i++) {
            char want[2000];
            snprintf(want, sizeof want, "%s", ids_text(t, bad[i][1], 0, 0));
            EXPECT_STR(ids_text(t, bad[i][0], 0, 0), want);
        }
        tok_free(t);
    }
}

TEST(long_texts_take_linear_time) {
    static const char *const unit[] = {"a", "ab", "e\xcc\x81\xcc\xa3", "\xcc\x81\xcc\xa3", "&amp;", "amp;", "&",
                                       "'", "<|", "\xce\xa3'"};
    static const char *const dirs[] = {GOLDEN "hf", GOLDEN "open_clip"};
    enum { BYTES = 60000 };
    char *text = vm_alloc(BYTES + 16);
    tok_ids ids = {0};
    vm_error e = {0};
    for (int d = 0; d < 2; d++) {
        tok *t = open_tok(dirs[d]);
        for (int u = 0; u < VM_LEN(unit); u++) {
            size_t n = 0, k = strlen(unit[u]);
            if (u == 5) text[n++] = '&';
            for (; n + k < BYTES; n += k) memcpy(text + n, unit[u], k);
            EXPECT(!tok_encode(t, text, n, 0, 0, &ids, &e) && ids.n >= 2);
        }
        tok_free(t);
    }
    tok_ids_free(&ids);
    vm_free(text);
}

TEST(stream_gives_the_text_of_the_whole) {
    tok *t = open_tok(GOLDEN "hf");
    const char *text = "a \xf0\x9f\xa6\x8a red caf\xc3\xa9 \xe4\xbd\xa0\xe5\xa5\xbd !";
    tok_ids ids = {0};
    vm_error e = {0};
    tok_stream st = {0};
    char whole[200] = "", *once;
    EXPECT(!tok_encode(t, text, strlen(text), 0, 0, &ids, &e));
    for (int64_t i = 0; i <= ids.n; i++) {
        const char *part;
        size_t n;
        EXPECT(!tok_decode_next(t, &st, i < ids.n ? ids.id[i] : -1, false, &part, &n, &e));
        EXPECT(n == strlen(part) && strlen(whole) + n < sizeof whole);
        EXPECT(!n || ((unsigned char)part[0] & 0xc0) != 0x80); /* never half a character */
        strcat(whole, part);
    }
    EXPECT_STR(whole, text);
    EXPECT(!tok_decode(t, ids.id, ids.n, true, &once, NULL, &e));
    EXPECT_HAS(once, "<|startoftext|>a ");
    vm_free(once);
    int32_t beyond = 743, half[] = {127, 741};
    EXPECT(tok_decode(t, &beyond, 1, false, &once, NULL, &e) == VM_EINPUT);
    EXPECT_HAS(e.msg, "token id 743");
    vm_error_clear(&e);
    EXPECT(!tok_decode(t, half, 1, false, &once, NULL, &e)); /* byte 0xc3 alone */
    EXPECT_STR(once, "\xef\xbf\xbd");
    vm_free(once);
    tok_ids_free(&ids);
    tok_free(t);
}

TEST(added_tokens_follow_their_flags) {
    tok *t = open_tok(GOLDEN "hf");
    char *file = NULL, *next = NULL;
    vm_error e = {0};
    tok_free(t);
    EXPECT(!file_read(&file, NULL, GOLDEN "hf/tokenizer.json", 0, &e));
    char *list = strstr(file, "\"added_tokens\": [");
    EXPECT(list != NULL);
    list += strlen("\"added_tokens\": [");
    next = vm_asprintf(
        "%.*s{\"id\":743,\"content\":\"<x>\"},{\"id\":744,\"content\":\"<xy\",\"lstrip\":true,\"rstrip\":true},"
        "{\"id\":745,\"content\":\"<x>y\"},{\"id\":746,\"content\":\"cat\",\"single_word\":true},"
        "{\"id\":747,\"content\":\"DoG\",\"normalized\":true},%s",
        (int)(list - file), file, list);
    EXPECT(!file_write(in("tokenizer.json"), next, strlen(next), &e));
    t = open_tok(folder);
    EXPECT_STR(ids_text(t, "<x>!<x>y", 0, 0), "741 743 256 745 742");
    EXPECT_STR(ids_text(t, "! <xy !<xy", 0, 0), "741 256 744 256 744 742");
    EXPECT_HAS(ids_text(t, "!cat!", 0, 0), "741 256 746 256 742");
    EXPECT(!strstr(ids_text(t, "concat cats", 0, 0), "746"));
    EXPECT_STR(ids_text(t, "!DOG!dog", 0, 0), "741 256 747 256 747 742");
    tok_free(t);
    unlink(in("tokenizer.json"));
    vm_free(file);
    vm_free(next);
}

TEST(words_become_single_tokens) {
    static const char *const words[] = {"a red cube", "cylinder", "cylinders", "left", "of",
                                        "focus",      "cue",      "the dog's", "12 ,"};
    int64_t len = 0;
    vm_error e = {0};
    tok_ids ids = {0};
    EXPECT(!tok_write_word_vocab(folder, words, VM_LEN(words), &len, &e));
    EXPECT(len > 138 && len < 220);
    for (int pass = 0; pass < 2; pass++) { /* tokenizer.json, then vocab.json with merges.txt */
        tok *t = open_tok(folder);
        EXPECT(tok_get_info(t)->vocab_len == len && tok_get_info(t)->eos == len - 1 &&
               tok_get_info(t)->context == 77);
        for (int i = 0; i < VM_LEN(words); i++) {
            size_t n;
            int want = 1;
            for (const char *p = words[i]; *p; p++) want += *p == ' ' || *p == '\'' || (*p == '2');
            EXPECT(!tok_encode(t, words[i], strlen(words[i]), TOK_NO_SPECIAL, 0, &ids, &e) && ids.n == want);
            EXPECT(tok_entry(t, ids.id[0], &n) && n > 4);
        }
        char all[128] = {0};
        for (int c = 33; c < 127; c++) all[c - 33] = (char)c;
        EXPECT(!tok_encode(t, all, strlen(all), TOK_NO_SPECIAL, 0, &ids, &e));
        for (int64_t i = 0; i < ids.n; i++) EXPECT(ids.id[i] != tok_get_info(t)->unk);
        EXPECT(tok_find(t, "cylinders</w>", 13) > 0 && tok_find(t, "cylinders", 9) < 0);
        tok_free(t);
        EXPECT(!unlink(in("tokenizer.json")) || pass);
    }
    static const char *const foreign[] = {"caf\xc3\xa9"};
    EXPECT(tok_write_word_vocab(folder, foreign, 1, NULL, &e) == VM_EINPUT);
    EXPECT_HAS(e.msg, "caf\xc3\xa9");
    unlink(in("vocab.json"));
    unlink(in("merges.txt"));
    unlink(in("tokenizer_config.json"));
    unlink(in("special_tokens_map.json"));
    tok_ids_free(&ids);
}

#define VOCAB "{\"a\":0,\"b\":1,\"a</w>\":2,\"ab\":3,\"<|startoftext|>\":4,\"<|endoftext|>\":5}"
#define MODEL(x) "{\"model\":{\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\"," x "}}"
#define RULES(x)                                                                                                     \
    "{" x ",\"model\":{\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\",\"vocab\":" VOCAB ",\"merges\":[\"a b\"]}}"

TEST(broken_files_are_named) {
    EXPECT_HAS(message((const char *const[]){NULL}), "no tokenizer found");
    EXPECT_HAS(MESSAGE("vocab.json", VOCAB), "merges.txt");
    EXPECT_HAS(MESSAGE("vocab.json", "[1]", "merges.txt", "a b\n"), "expected an object");
    EXPECT_HAS(MESSAGE("vocab.json", "{}", "merges.txt", "a b\n"), "no entries");
    EXPECT_HAS(MESSAGE("vocab.json", "{\"a\":-1}", "merges.txt", "a b\n"), "expected an id from 0");
    EXPECT_HAS(MESSAGE("vocab.json", "{\"a\":99999999}", "merges.txt", "a b\n"), "99999999");
    EXPECT_HAS(MESSAGE("vocab.json", "{\"a\":\"0\"}", "merges.txt", "a b\n"), "expected an id");
    EXPECT_HAS(MESSAGE("vocab.json", "{\"a\":0,\"b\":0}", "merges.txt", "a b\n"), "the same id 0");
    EXPECT_HAS(MESSAGE("vocab.json", "{\"a\":0", "merges.txt", "a b\n"), "vocab.json:1");
    EXPECT_HAS(MESSAGE("vocab.json", VOCAB "x", "merges.txt", "a b\n"), "vocab.json:1");
    EXPECT_HAS(MESSAGE("vocab.json", VOCAB, "merges.txt", "#version: 0.2\n"), "no merge rules");
    EXPECT_HAS(MESSAGE("vocab.json", VOCAB, "merges.txt", "#version: 0.2\nab\n"), "merges.txt:2");
    EXPECT_HAS(MESSAGE("vocab.json", VOCAB, "merges.txt", "#version: 0.2\na b c\n"), "expected two symbols");
    EXPECT_HAS(MESSAGE("vocab.json", VOCAB, "merges.txt", "a b\nb a\n"), "\"ba\" is not in the vocabulary");
    EXPECT_HAS(MESSAGE("vocab.json", "{\"a\":0,\"b\":1,\"ab\":3}", "merges.txt", "a b\n"), "no entry \"a</w>\"");
    EXPECT_HAS(MESSAGE("vocab.json", "{\"a\":0,\"b\":1,\"ab\":3,\"a</w>\":2}", "merges.txt", "a b\n"),
               "no start token");
    EXPECT_HAS(MESSAGE("bpe_simple_vocab_16e6.txt.gz", "\x1f\x8b\x08"), "gzip");
    EXPECT_HAS(MESSAGE("tokenizer.json", ""), "tokenizer.json");
    EXPECT_HAS(MESSAGE("tokenizer.json", "[]"), "expected an object");
    EXPECT_HAS(MESSAGE("tokenizer.json", "{}"), "model");
    EXPECT_HAS(MESSAGE("tokenizer.json", "{\"model\":3}"), "model");
    EXPECT_HAS(MESSAGE("tokenizer.json", "{\"model\":{\"type\":\"WordLevel\",\"vocab\":[]}}"), "WordLevel");
    EXPECT_HAS(MESSAGE("tokenizer.json", MODEL("\"merges\":[]")), "vocab");
    EXPECT_HAS(MESSAGE("tokenizer.json", MODEL("\"vocab\":[],\"merges\":[]")), "vocab");
    EXPECT_HAS(MESSAGE("tokenizer.json", MODEL("\"vocab\":" VOCAB)), "merges");
    EXPECT_HAS(MESSAGE("tokenizer.json", MODEL("\"vocab\":" VOCAB ",\"merges\":{}")), "merges");
    EXPECT_HAS(MESSAGE("tokenizer.json", MODEL("\"vocab\":" VOCAB ",\"merges\":[\"a b\",7]")), "merge 1");
    EXPECT_HAS(MESSAGE("tokenizer.json", MODEL("\"vocab\":" VOCAB ",\"merges\":[[\"a\"]]")), "merge 0");
    EXPECT_HAS(MESSAGE("tokenizer.json", MODEL("\"vocab\":" VOCAB ",\"merges\":[[\"a\",\"b\",\"c\"]]")), "merge 0");
    EXPECT_HAS(MESSAGE("tokenizer.json", MODEL("\"vocab\":" VOCAB ",\"merges\":[[\"a\",\"z\"]]")), "\"z\" is not in");
    EXPECT_HAS(MESSAGE("tokenizer.json", MODEL("\"vocab\":" VOCAB ",\"merges\":[\"ab\"]")), "merge 0");
    EXPECT_HAS(MESSAGE("tokenizer.json", RULES("\"normalizer\":{\"type\":\"NFKC\"}")), "NFKC");
    EXPECT_HAS(MESSAGE("tokenizer.json", RULES("\"normalizer\":[]")), "normalizer");
    EXPECT_HAS(
        MESSAGE("tokenizer.json", RULES("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x\"}}")),
        "pattern \"x\"");
    EXPECT_HAS(MESSAGE("tokenizer.json", RULES("\"post_processor\":{\"type\":\"Odd\"}")), "Odd");
    EXPECT_HAS(MESSAGE("tokenizer.json",
                       RULES("\"post_processor\":{\"type\":\"RobertaProcessing\",\"cls\":[\"a\"],\"sep\":[]}")),
               "cls");
    EXPECT_HAS(MESSAGE("tokenizer.json", RULES("\"truncation\":{\"max_length\":-4}")), "max_length");
    EXPECT_HAS(MESSAGE("tokenizer.json", RULES("\"added_tokens\":[{\"id\":9,\"content\":\"\"}]")), "empty content");
    EXPECT_HAS(MESSAGE("tokenizer.json", RULES("\"added_tokens\":[{\"id\":0,\"content\":\"q\"}]")), "the same id 0");
    EXPECT_HAS(MESSAGE("tokenizer.json", RULES("\"added_tokens\":{}")), "added_tokens");
    EXPECT_HAS(MESSAGE("tokenizer_config.json", "{\"bos_token\":7}", "vocab.json", VOCAB, "merges.txt", "a b\n"),
               "bos_token");
    EXPECT_HAS(MESSAGE("open_clip_config.json", "{\"model_cfg\":{\"text_cfg\":{\"context_length\":0}}}"),
               "context_length");
}

TEST(equal_pairs_merge_from_the_left) {
    static const char model[] =
        "{\"model\":{\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\",\"vocab\":{\"a\":0,\"a</w>\":1,\"aa\":2,"
        "\"aaa</w>\":3,\"<|startoftext|>\":4,\"<|endoftext|>\":5},\"merges\":[\"a a\",\"aa a</w>\"]}}";
    vm_error e = {0};
    EXPECT(!file_write(in("tokenizer.json"), model, strlen(model), &e));
    tok *t = open_tok(folder);
    EXPECT_STR(ids_text(t, "a aa aaa aaaa aaaaaa", TOK_NO_SPECIAL, 0), "1 0 1 3 2 0 1 2 2 0 1");
    tok_free(t);
    unlink(in("tokenizer.json"));
}

TEST(memory_runs_out_politely) {
    size_t before = vm_mem_used();
    static const char *const dirs[] = {GOLDEN "hf", GOLDEN "pair", GOLDEN "open_clip"};
    int failed = 0;
    for (int d = 0; d < 3; d++) {
        for (int k = 0; k < 120; k += 1 + k / 8) {
            vm_error e = {0};
            tok *t;
            tok_ids ids = {0};
            vm_mem_fail_after(k);
            vm_status s = tok_open(&t, dirs[d], &e);
            if (!s) s = tok_encode(t, "caf\xc3\xa9 &amp; \xce\xa3\xce\x91", 13, 0, 0, &ids, &e);
            vm_mem_fail_after(-1);
            EXPECT(s == VM_OK || (s == VM_EDEVICE && e.msg[0]));
            failed += s != VM_OK;
            tok_ids_free(&ids);
            tok_free(t);
        }
    }
    EXPECT(failed > 20);
    EXPECT(vm_mem_used() == before);
}

int main(int argc, char **argv) {
    snprintf(folder, sizeof folder, "%s/tokenizer_XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(folder)) return 1;
    RUN(ids_of_tokenizer_json);
    RUN(ids_of_vocab_and_merges);
    RUN(ids_of_a_file_by_name);
    RUN(ids_with_stated_lengths);
    RUN(ids_of_open_clip);
    RUN(lengths_keep_the_end_token);
    RUN(invalid_utf8_counts_as_replacement_characters);
    RUN(long_texts_take_linear_time);
    RUN(stream_gives_the_text_of_the_whole);
    RUN(added_tokens_follow_their_flags);
    RUN(words_become_single_tokens);
    RUN(broken_files_are_named);
    RUN(equal_pairs_merge_from_the_left);
    RUN(memory_runs_out_politely);
    rmdir(folder);
    return test_end();
}
