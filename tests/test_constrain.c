/* test_constrain.c - texts of a given form: random texts from the masks are what the tokenizer decodes, fit their schema (a
 * check of its own, over parsed JSON), end within any number of tokens that is enough, and the masks are those of trying every
 * token; over vocabularies of byte pairs, of unigram models with and without pieces of bytes, and of WordPiece. */
#include <unistd.h>

#include "io/file.h"
#include "io/grammar.h"
#include "io/regex.h"
#include "io/tok_parts.h"
#include "io/utf8.h"
#include "models/constrain.h"
#include "tests/test.h"

static char tmp[512];
static tok *toy;
static token_trie *trie;

/* --- a vocabulary: all bytes, and tokens across whatever a grammar has -------------------------------------------- */
static const char *const words[] = {
    "{\"",      "\":\"",     "\",\"",        "\"}",        "\"}]",     "}]}",      "},{\"", "\":",   ",\"",
    "[{",       "[]",        "{}",           "[\"",        "\"]",      "null",     "true",  "fal",   "se",
    "\\n",      "\\u",       "\\\"",         "00",         "12",       "345",      "-1",    "0.",    "e+",
    "E-1",      "a",         "cat",          "ca",         " red",     " a red",   "the",   "dog\"", "x\",\"y",
    "\xc3\xa9", "\xe2\x82",  "\xe2\x82\xac", "\x82\xac\"", "\xf0\x9f", "\x98\x80", "\xc3",  "\xa9t", "object",
    "color",    "name\":\"", "\n",           "  ",         " {",       "yes",      "no",    "ab",    "abab",
    "((",       "))",        "1+",           "+1",
};
static void raw(json_writer *w, const char *key, const char *json) { json_put_raw(w, key, json, strlen(json)); }

typedef enum { PAIRS, PIECES_AND_BYTES, PIECES, WORDPIECE, VOCABULARIES } kind;
static struct { tok *t; token_trie *trie; } all[VOCABULARIES];
static void use(kind k) { toy = all[k].t, trie = all[k].trie; }

static void put_pairs(json_writer *w) {
    int id = 0;
    json_put_str(w, "type", "BPE");
    json_begin_object(w, "vocab");
    for (int b = 0; b < 256 + VM_LEN(words); b++) {
        char s[128];
        int n = 0;
        const char *word = b < 256 ? (char[]){ (char)b, 0 } : words[b - 256];
        if (b >= 256 && strlen(word) == 1) continue;
        for (size_t i = 0; i < (b < 256 ? 1 : strlen(word)); i++)
            n += uni_put(s + n, byte_char((unsigned char)word[i]));
        s[n] = 0;
        json_put_int(w, s, id++);
    }
    json_close_object(w);
    json_begin_array(w, "merges"), json_close_array(w);
}

/* The word with U+2581 for blanks. */
static const char *with_lines(const char *word, char out[128]) {
    int n = 0;
    for (; *word; word++) n += snprintf(out + n, 128 - (size_t)n, *word == ' ' ? "\xe2\x96\x81" : "%c", *word);
    return out;
}
static void put_piece(json_writer *w, const char *piece) {
    json_begin_array(w, NULL);
    json_put_str(w, NULL, piece), json_put_num(w, NULL, -1);
    json_close_array(w);
}
/* Without pieces of bytes: characters of ASCII, but for q, which only stands behind a blank. */
static void put_unigram(json_writer *w, bool bytes) {
    char s[128];
    json_put_str(w, "type", "Unigram"), json_put_int(w, "unk_id", 0), json_put_bool(w, "byte_fallback", bytes);
    json_begin_array(w, "vocab");
    put_piece(w, "<unk>");
    for (int b = 0; b < 256; b++) {
        if (bytes) snprintf(s, sizeof s, "<0x%02X>", (unsigned)b);
        else if (b > 126 || (b < ' ' && b != '\n') || b == 'q') continue;
        else with_lines((char[]){ (char)b, 0 }, s);
        put_piece(w, s);
    }
    put_piece(w, "\xe2\x96\x81q");
    for (int k = 0; k < VM_LEN(words); k++)
        if (utf8_bad(words[k], strlen(words[k])) == strlen(words[k]) && strlen(words[k]) > 1) put_piece(w, with_lines(words[k], s));
    json_close_array(w);
}
/* Characters and words that go on a word and that begin one; q only begins one. */
static void put_wordpiece(json_writer *w) {
    int id = 0;
    char s[128];
    json_put_str(w, "type", "WordPiece"), json_put_str(w, "unk_token", "[UNK]");
    json_put_str(w, "continuing_subword_prefix", "##"), json_put_int(w, "max_input_chars_per_word", 100);
    json_begin_object(w, "vocab");
    for (int k = 0; k < 127 + VM_LEN(words); k++) {
        const char *word = k < 127 ? (char[]){ (char)k, 0 } : words[k - 127];
        word += *word == ' ';
        if (!*word || (k < ' ' && k != '\n') || strchr(word, ' ') || utf8_bad(word, strlen(word)) != strlen(word)) continue;
        if (k >= 127 && strlen(word) == 1) continue;
        snprintf(s, sizeof s, "##%s", word);
        if (strcmp(word, "q")) json_put_int(w, s, id++);
        if (k < 127 || k % 2 == 0) json_put_int(w, word, id++);
    }
    json_put_int(w, "[UNK]", 401);
    json_close_object(w);
}

static bool make_tokenizer(kind k) {
    static const char metaspace[] = "{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":\"always\"}";
    json_writer w = json_to_memory(JSON_COMPACT);
    vm_error e = { 0 };
    json_begin_object(&w, NULL);
    json_begin_object(&w, "model");
    if (k == PAIRS) put_pairs(&w);
    else if (k == WORDPIECE) put_wordpiece(&w);
    else put_unigram(&w, k == PIECES_AND_BYTES);
    json_close_object(&w);
    if (k == PAIRS) raw(&w, "pre_tokenizer", "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"), raw(&w, "decoder", "{\"type\":\"ByteLevel\"}");
    else if (k == WORDPIECE) raw(&w, "pre_tokenizer", "{\"type\":\"BertPreTokenizer\"}"), raw(&w, "decoder", "{\"type\":\"WordPiece\",\"prefix\":\"##\"}");
    else if (k == PIECES) raw(&w, "pre_tokenizer", metaspace), raw(&w, "decoder", metaspace);
    else raw(&w, "pre_tokenizer", metaspace), raw(&w, "decoder", "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteFallback\"},{\"type\":\"Metaspace\"}]}");
    raw(&w, "added_tokens", k == WORDPIECE ? "[{\"id\":400,\"content\":\"</s>\",\"special\":true},{\"id\":401,\"content\":\"[UNK]\",\"special\":true}]"
                                           : k == PAIRS ? "[{\"id\":400,\"content\":\"</s>\",\"special\":true}]" : "[{\"id\":0,\"content\":\"<unk>\",\"special\":true}]");
    json_close_object(&w);
    if (json_save(&w, tmp, "tokenizer.json", &e) || tok_open(&all[k].t, tmp, &e) || token_trie_new(&all[k].trie, all[k].t, 450, &e))
        MISMATCH("vocabulary %d: %s\n", (int)k, e.msg);
    return !e.status;
}

/* --- whether a value is what a schema says, written for this test ------------------------------------------------- */
static bool same(json_value a, json_value b) {
    json_writer x = json_to_memory(JSON_COMPACT), y = json_to_memory(JSON_COMPACT);
    json_put_value(&x, NULL, a), json_put_value(&y, NULL, b);
    char *s = json_take(&x, NULL, NULL), *t = json_take(&y, NULL, NULL);
    bool equal = s && t && !strcmp(s, t);
    vm_free(s), vm_free(t);
    return equal;
}
static int64_t characters(const char *s) {
    int64_t n = 0;
    for (; *s; s++) n += ((uint8_t)*s & 0xc0) != 0x80;
    return n;
}
static bool fits(json_value root, json_value s, json_value v);
static bool is_type(const char *t, json_value v) {
    if (!strcmp(t, "object")) return v.kind == JSON_OBJECT;
    if (!strcmp(t, "array")) return v.kind == JSON_ARRAY;
    if (!strcmp(t, "string")) return v.kind == JSON_STRING;
    if (!strcmp(t, "integer")) return v.kind == JSON_INT;
    if (!strcmp(t, "number")) return v.kind == JSON_INT || v.kind == JSON_DOUBLE;
    if (!strcmp(t, "boolean")) return v.kind == JSON_BOOL;
    return v.kind == JSON_NULL && !strcmp(t, "null");
}
static bool fits_object(json_value root, json_value s, json_value v) {
    json_value p = json_get(s, "properties");
    int64_t found = 0, last = -1;
    if (!json_len(p)) return json_has(json_get(s, "additionalProperties")) ? !json_len(v) : true;
    for (json_iter it = json_each(v); json_next(&it); found++) {
        int64_t at = 0, where = -1;
        for (json_iter q = json_each(p); json_next(&q); at++)
            if (!strcmp(q.key, it.key)) where = at;
        if (where <= last || !fits(root, json_get(p, it.key), it.value)) return false; /* also: the order */
        last = where;
    }
    for (json_iter q = json_each(json_get(s, "required")); json_next(&q);)
        if (json_get(v, json_as_str(q.value, NULL)).kind == JSON_MISSING) return false;
    return found == json_len(v);
}
static bool fits(json_value root, json_value s, json_value v) {
    vm_error e = { 0 };
    if (s.kind == JSON_BOOL || !json_len(s)) return v.kind != JSON_MISSING;
    const char *ref = json_str(s, "$ref", NULL, &e);
    if (ref) return fits(root, strlen(ref) == 1 ? root : json_get(json_get(root, "$defs"), ref + 8), v);
    for (int k = 0; k < 2; k++) {
        json_value any = json_get(s, k ? "oneOf" : "anyOf"), one = json_get(s, "enum");
        if (json_has(any)) {
            for (json_iter it = json_each(any); json_next(&it);)
                if (fits(root, it.value, v)) return true;
            return false;
        }
        if (!json_has(one)) continue;
        for (json_iter it = json_each(one); json_next(&it);)
            if (same(it.value, v)) return true;
        return false;
    }
    if (json_has(json_get(s, "const"))) return same(json_get(s, "const"), v);
    json_value type = json_get(s, "type");
    bool ok = type.kind == JSON_STRING && is_type(json_as_str(type, &e), v);
    for (json_iter it = json_each(type); type.kind == JSON_ARRAY && json_next(&it);)
        ok |= is_type(json_as_str(it.value, &e), v);
    if (!ok) return false;
    if (v.kind == JSON_OBJECT) return fits_object(root, s, v);
    if (v.kind == JSON_INT && json_has(json_get(s, "minimum")) &&
        json_as_int(v, INT64_MIN, INT64_MAX, &e) < json_int(s, "minimum", 0, INT64_MIN, INT64_MAX, &e))
        return false;
    if (v.kind == JSON_INT && json_has(json_get(s, "maximum")) &&
        json_as_int(v, INT64_MIN, INT64_MAX, &e) > json_int(s, "maximum", 0, INT64_MIN, INT64_MAX, &e))
        return false;
    if (v.kind == JSON_STRING) {
        int64_t n = characters(json_as_str(v, &e)); /* an error where it holds U+0000 */
        const char *pattern = json_str(s, "pattern", NULL, &e);
        if (e.status || n < json_int(s, "minLength", 0, 0, 1000, &e) ||
            n > json_int(s, "maxLength", 1 << 20, 0, 1 << 20, &e))
            return false;
        if (!pattern) return true;
        regex *r = NULL;
        size_t from, to;
        const char *t = json_as_str(v, &e);
        ok = !regex_new(&r, pattern, false, &e) && regex_find(r, t, strlen(t), 0, &from, &to) > 0;
        regex_free(r);
        return ok;
    }
    if (v.kind == JSON_ARRAY) {
        if (json_len(v) < json_int(s, "minItems", 0, 0, 1000, &e) ||
            json_len(v) > json_int(s, "maxItems", 1 << 20, 0, 1 << 20, &e))
            return false;
        for (json_iter it = json_each(v); json_next(&it);)
            if (json_has(json_get(s, "items")) && !fits(root, json_get(s, "items"), it.value)) return false;
    }
    return true;
}
static bool no_blanks(const char *s) {
    for (bool inside = false; *s; s++) {
        if (*s == '\\' && inside) s++;
        else if (*s == '"') inside = !inside;
        else if (!inside && strchr(" \t\r\n", *s)) return false;
    }
    return true;
}

/* --- walks -------------------------------------------------------------------------------------------------------- */
typedef struct {
    char text[4096];
    int32_t id[1024];
    int64_t n, tokens;
    bool done;
} walked;
static bool bit(const uint64_t *m, int32_t id) { return m[id / 64] >> id % 64 & 1; }

/* At most `most` tokens, each drawn from its mask; long: an end is not taken while more may come. */
static walked walk(constraint *c, int64_t most, bool linger, uint64_t *seed) {
    walked w = { 0 };
    vm_error e = { 0 };
    for (constraint_reset(c); w.tokens < most; w.tokens++) {
        const uint64_t *m = constraint_mask(c, most - w.tokens, &e);
        int32_t can[450], n = 0;
        if (!m) {
            MISMATCH("%s\n", e.msg);
            break;
        }
        for (int32_t id = 0; id < 450; id++)
            if (bit(m, id)) can[n++] = id;
        if (constraint_done(c) && (!n || (!linger && test_rand(seed) % 2))) break;
        if (!n || constraint_more(c) != (n > 0 || constraint_done(c))) {
            MISMATCH("after \"%s\": nothing may come, %d tokens left of %d\n", w.text, (int)(most - w.tokens),
                     (int)most);
            break;
        }
        int32_t id = can[test_rand(seed) % (uint64_t)n];
        if (linger && trie->at[id + 1] - trie->at[id] < 2)
            id = can[test_rand(seed) % (uint64_t)n]; /* longer tokens come more often */
        if (constraint_accept(c, id, &e)) MISMATCH("%s\n", e.msg);
        const char *s = trie->bytes + trie->at[id];
        int64_t len = trie->at[id + 1] - trie->at[id], drop = !w.tokens && trie->drops && *s == ' ';
        if (w.n + len < (int64_t)sizeof w.text) memcpy(w.text + w.n, s + drop, (size_t)(len - drop)), w.n += len - drop;
        w.id[w.tokens] = id;
    }
    w.done = constraint_done(c);
    char *text = NULL;
    if (w.done && w.n < (int64_t)sizeof w.text - 20 && (tok_decode(toy, w.id, w.tokens, false, &text, NULL, &e) || strcmp(text, w.text)))
        MISMATCH("\"%s\" is decoded as \"%s\"\n", w.text, text);
    vm_free(text);
    return w;
}

static constraint_form *form_of(const char *schema, bool text, grammar **g) {
    constraint_form *f = NULL;
    vm_error e = { 0 };
    if (text ? grammar_from_text(g, schema, strlen(schema), "grammar", &e)
             : grammar_from_schema(g, schema, strlen(schema), "schema", &e))
        MISMATCH("%s: %s\n", schema, e.msg);
    else if (constraint_form_new(&f, *g, trie, &e)) MISMATCH("%s\n", e.msg);
    return f;
}

static const char *const schemas[] = {
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":12},\"n\":{\"type\":\"integer\","
    "\"minimum\":0,\"maximum\":512}},\"required\":[\"name\",\"n\"],"
    "\"additionalProperties\":false}",
    "{\"type\":\"array\",\"minItems\":1,\"maxItems\":6,\"items\":{\"type\":\"object\",\"properties\":{"
    "\"SelectedPhrase\":{\"enum\":[\"a\",\"a red\",\"a red cat\",\"cat\",\"the \\\"dog\\\"\"]},"
    "\"Category\":{\"enum\":[\"object\",\"color\",\"count\",null,3]},\"why\":{\"type\":\"string\",\"minLength\":2,"
    "\"maxLength\":30}},\"required\":[\"SelectedPhrase\",\"Category\",\"why\"]}}",
    "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"boolean\"},\"b\":{\"type\":\"null\"},\"c\":{\"type\":["
    "\"string\",\"integer\"]},\"d\":{\"const\":[1,\"x\"]}},\"required\":[\"c\"]}",
    "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"boolean\"},\"b\":{\"type\":\"number\"}}}",
    "{\"$defs\":{\"tree\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\",\"minimum\":-17,\"maximum\":"
    "305},\"kids\":{\"type\":\"array\",\"maxItems\":3,"
    "\"items\":{\"$ref\":\"#/$defs/tree\"}}},\"required\":[\"v\",\"kids\"]}},\"$ref\":\"#/$defs/tree\"}",
    "{\"anyOf\":[{\"type\":\"string\",\"pattern\":\"^[a-c]{2,5}(-\\\\d+)?$\"},{\"type\":\"array\",\"items\":{\"type\":"
    "\"integer\",\"minimum\":95,\"maximum\":1203},\"minItems\":4,\"maxItems\":4},"
    "{\"oneOf\":[{\"const\":\"yes\"},{\"const\":\"no\"}]}]}",
    "{\"type\":\"object\"}",
    "{\"type\":\"string\"}",
    "{\"type\":\"string\",\"minLength\":3,\"maxLength\":3}",
    "{\"type\":\"string\",\"pattern\":\"^(ab)*[^a-z]?\\\\\\\\\\\"\\\\s$\"}",
    "{\"type\":\"array\",\"items\":{\"type\":\"array\",\"items\":{\"type\":\"array\",\"items\":{\"type\":\"boolean\"},"
    "\"maxItems\":2},\"minItems\":2}}",
    "{}",
};

static void random_texts(kind vocabulary, int texts) {
    uint64_t seed = 7;
    use(vocabulary);
    for (int k = 0; k < VM_LEN(schemas); k++) {
        grammar *g = NULL;
        vm_error e = { 0 };
        constraint *c = NULL;
        constraint_form *f = form_of(schemas[k], false, &g);
        json_doc *schema = json_parse(schemas[k], strlen(schemas[k]), "schema", 0, &e);
        if (!f || constraint_new(&c, f, &e)) continue;
        int64_t least = constraint_needs(c, &e);
        EXPECT(least > 0 && least < 200);
        for (int i = 0; i < texts; i++) {
            int64_t most = i < texts / 5 ? least + i / 4 : least + (int64_t)(test_rand(&seed) % 300);
            walked w = walk(c, most, i % 2, &seed);
            if (!w.done) {
                MISMATCH("vocabulary %d, schema %d: \"%s\" is cut at %d tokens\n", (int)vocabulary, k, w.text, (int)most);
                continue;
            }
            json_doc *d =
                w.n < (int64_t)sizeof w.text - 20 ? json_parse(w.text, (size_t)w.n, "text", JSON_STRICT, &e) : NULL;
            if (d && (!fits(json_root(schema), json_root(schema), json_root(d)) || !no_blanks(w.text)))
                MISMATCH("schema %d: \"%s\" does not fit\n", k, w.text);
            if (e.status && !(strstr(e.msg, "stands twice") && strlen(schemas[k]) < 20))
                MISMATCH("schema %d: \"%s\": %s\n", k, w.text, e.msg);
            vm_error_clear(&e);
            json_free(d);
        }
        constraint_free(c), constraint_form_free(f), grammar_free(g), json_free(schema);
    }
}
TEST(random_texts_fit) { random_texts(PAIRS, 300); }
TEST(random_texts_of_other_vocabularies_fit) {
    random_texts(PIECES_AND_BYTES, 100);
    random_texts(PIECES, 100);
    random_texts(WORDPIECE, 100);
}

/* Every token is tried at places along random texts, with many and with few tokens left. */
static void try_all(kind vocabulary, int places) {
    uint64_t seed = 3;
    use(vocabulary);
    static const char *const grammars[] = { "root ::= (\"ab\" | \"abab\" | [^a]){2,4} \"((\" sum \"))\"\nsum ::= num "
                                            "(\"+\" num)*\nnum ::= [0-9]+ | \"(\" sum \")\"",
                                            "root ::= [\\u00e0-\\u20ff]* \"\\n\"? .{3}",
                                            "root ::= (\"a \" | \"the  \")+ \"queen\" \" q\"{0,3} \".\"?" };
    for (int k = 0; k < VM_LEN(schemas) + VM_LEN(grammars); k++) {
        grammar *g = NULL;
        vm_error e = { 0 };
        constraint *c = NULL, *other = NULL;
        constraint_form *f =
            k < VM_LEN(schemas) ? form_of(schemas[k], false, &g) : form_of(grammars[k - VM_LEN(schemas)], true, &g);
        if (!f || constraint_new(&c, f, &e) || constraint_new(&other, f, &e)) continue;
        for (int i = 0; i < places; i++) {
            int32_t past[40], n = 0, can[450], m;
            for (constraint_reset(c); n < (int32_t)(test_rand(&seed) % 40);) {
                const uint64_t *bits = constraint_mask(c, 1000, &e);
                for (int32_t id = m = 0; bits && id < 450; id++)
                    if (bit(bits, id)) can[m++] = id;
                if (!bits || !m || constraint_accept(c, past[n] = can[test_rand(&seed) % (uint64_t)m], &e)) break;
                n++;
            }
            int64_t needs = constraint_needs(c, &e), left[] = { 1000, needs, needs + 1, needs + 3 };
            for (int l = 0; l < VM_LEN(left); l++) {
                uint64_t bits[8];
                const uint64_t *now = constraint_mask(c, left[l], &e);
                if (now) memcpy(bits, now, 8 * sizeof *bits);
                else MISMATCH("%s\n", e.msg);
                for (int32_t id = 0; id < 450; id++) {
                    vm_error no = { 0 };
                    constraint_reset(other);
                    for (int t = 0; t < n; t++) constraint_accept(other, past[t], &e);
                    bool want = !constraint_accept(other, id, &no) && constraint_needs(other, &e) <= left[l] - 1;
                    if (want != bit(bits, id))
                        MISMATCH("grammar %d behind %d tokens, %d left: token %d is %d, want %d\n", k, n, (int)left[l],
                                 id, bit(bits, id), want);
                    test_checks++;
                }
            }
        }
        if (e.status) MISMATCH("%s\n", e.msg);
        constraint_free(c), constraint_free(other), constraint_form_free(f), grammar_free(g);
    }
}

TEST(masks_are_those_of_trying) { try_all(PAIRS, 12); }
TEST(masks_of_other_vocabularies_are_those_of_trying) {
    try_all(PIECES_AND_BYTES, 5);
    try_all(PIECES, 5);
    try_all(WORDPIECE, 5);
}

/* Blanks that come with the word behind them only: a text that needs one at its end cannot be, nor two in a row. The first token drops one: a
 * text begins with a blank only by a token of two. */
TEST(blanks_of_words) {
    static const struct { kind vocabulary; const char *grammar; int64_t needs; } cases[] = {
        { WORDPIECE, "root ::= \"the cat\"", 2 }, { WORDPIECE, "root ::= \"a a.\"", 3 },  { WORDPIECE, "root ::= \"red\"", 1 }, { WORDPIECE, "root ::= \"queen\"", 5 },
        { WORDPIECE, "root ::= \"cat \"", -1 },   { WORDPIECE, "root ::= \"a  a\"", -1 }, { WORDPIECE, "root ::= \"aq\"", -1 }, { WORDPIECE, "root ::= \"a .\"", -1 },
        { WORDPIECE, "root ::= \" a\"", -1 },     { WORDPIECE, "root ::= \"a\" \" \"? \"!\"", 2 }, { WORDPIECE, "root ::= (\"a\" | \" \"){2,9} \"q\"", 2 },
        { WORDPIECE, "root ::= \"a\" \" \"{0,3} \"q\"", 2 }, { PIECES, "root ::= \"the \"", 2 }, { PIECES, "root ::= \" red\"", 4 }, { PIECES, "root ::= \"red\"", 1 },
        { PIECES, "root ::= \"a\" \" \"{0,3} \"q\"", 2 }, { PIECES_AND_BYTES, "root ::= \"aq\"", 2 }, { PIECES, "root ::= \"aq\"", -1 } };
    for (int k = 0; k < VM_LEN(cases); k++) {
        grammar *g = NULL;
        constraint_form *f = NULL;
        constraint *c = NULL;
        vm_error e = { 0 };
        use(cases[k].vocabulary);
        EXPECT(!grammar_from_text(&g, cases[k].grammar, strlen(cases[k].grammar), "g", &e));
        if (constraint_form_new(&f, g, trie, &e) || constraint_new(&c, f, &e)) {
            if (cases[k].needs >= 0) MISMATCH("%s: %s\n", cases[k].grammar, e.msg);
            EXPECT_HAS(e.msg, "has not all the bytes that a text of this form needs, alone or behind a blank");
        } else if (constraint_needs(c, &e) != cases[k].needs) {
            MISMATCH("%s: %d tokens, want %d\n", cases[k].grammar, (int)constraint_needs(c, &e), (int)cases[k].needs);
        }
        constraint_free(c), constraint_form_free(f), grammar_free(g);
    }
}

/* Tokens that drop a blank at the start of a text; long repetitions and many strings stay small. */
TEST(first_tokens_and_large_grammars) {
    tok *t = NULL;
    token_trie *own = NULL;
    grammar *g = NULL, *large = NULL;
    constraint_form *f = NULL;
    constraint *c = NULL;
    vm_error e = { 0 };
    EXPECT(!tok_open(&t, "tests/golden/tokenizer/pieces_first", &e) &&
           !token_trie_new(&own, t, tok_get_info(t)->vocab_len, &e) && own->drops == 1);
    EXPECT(!grammar_from_text(&g, "root ::= \"the \" \"the\"", 21, "g", &e) && !constraint_form_new(&f, g, own, &e) &&
           !constraint_new(&c, f, &e));
    if (e.status) MISMATCH("%s\n", e.msg);
    int32_t the = tok_find(t, "\xe2\x96\x81the", 6), line = tok_find(t, "\xe2\x96\x81", 3);
    const uint64_t *m = c ? constraint_mask(c, 100, &e) : NULL;
    EXPECT(the >= 0 && line >= 0 && m && bit(m, the) && !bit(m, line) && !constraint_accept(c, the, &e));
    m = c ? constraint_mask(c, 100, &e) : NULL;
    EXPECT(m && bit(m, the) && bit(m, line) && !constraint_accept(c, the, &e) && constraint_done(c) &&
           !constraint_more(c));
    EXPECT(constraint_accept(c, the, &e) == VM_EINPUT);
    vm_error_clear(&e);
    size_t before = vm_mem_used();
    const char *counts = "root ::= ([a-z]{0,1000000} \"\\n\"){0,1000000}";
    EXPECT(!grammar_from_text(&large, counts, strlen(counts), "g", &e) && vm_mem_used() - before < 4096);
    constraint_free(c), constraint_form_free(f), grammar_free(g), grammar_free(large), token_trie_free(own),
        tok_free(t);
    EXPECT(!tok_open(&t, "tests/golden/tokenizer/hf", &e) && token_trie_new(&own, t, 100, &e) == VM_EINPUT);
    EXPECT_HAS(e.msg, "need a tokenizer whose tokens are the bytes of a text");
    tok_free(t);
}

TEST(memory_runs_out) {
    use(PAIRS);
    int told = 0;
    for (int64_t k = 0; k < 400; k++) {
        grammar *g = NULL;
        constraint_form *f = NULL;
        constraint *c = NULL;
        vm_error e = { 0 };
        size_t before = vm_mem_used();
        vm_mem_fail_after(k);
        bool ok = !grammar_from_schema(&g, schemas[1], strlen(schemas[1]), "s", &e) &&
                  !constraint_form_new(&f, g, trie, &e) && !constraint_new(&c, f, &e) && constraint_mask(c, 80, &e) &&
                  constraint_needs(c, &e) >= 0 && !constraint_accept(c, '[' - 0, &e);
        vm_mem_fail_after(-1);
        EXPECT(ok || e.status);
        told += !ok;
        constraint_free(c), constraint_form_free(f), grammar_free(g);
        EXPECT(vm_mem_used() == before);
        if (ok) break;
    }
    EXPECT(told > 20);
}

int main(int argc, char **argv) {
    snprintf(tmp, sizeof tmp, "%s/constrain.XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(tmp)) return 1;
    for (kind k = PAIRS; k < VOCABULARIES; k++)
        if (!make_tokenizer(k)) return 1;
    RUN(random_texts_fit);
    RUN(random_texts_of_other_vocabularies_fit);
    RUN(masks_are_those_of_trying);
    RUN(masks_of_other_vocabularies_are_those_of_trying);
    RUN(blanks_of_words);
    RUN(first_tokens_and_large_grammars);
    RUN(memory_runs_out);
    for (kind k = PAIRS; k < VOCABULARIES; k++) token_trie_free(all[k].trie), tok_free(all[k].t);
    char path[600];
    snprintf(path, sizeof path, "%s/tokenizer.json", tmp);
    unlink(path), rmdir(tmp);
    return test_end();
}
